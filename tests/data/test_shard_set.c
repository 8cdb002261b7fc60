// shard_set: every row once an epoch at any number of ranks, the same stream at all of them, resumed anywhere; errors of the thread come
// out.
#include "tests/support/support_files.h"
#include "tests/support/support_shards.h"

#include "data/batches/shard_set.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t rows[] = { 17, 1, 130, 64, 40, 99, 8 }, blocks[] = { 5, 8, 32, 64, 7, 128, 1 };
enum { FILES = 7, TOTAL = 359, AWAY = 200 };

static void order_is_a_permutation(void **state)
{
    (void)state;
    for (int64_t lanes = 1; lanes < 12; lanes++) {
        hs_shard_order o;
        int same = 0;
        OK(hs_shard_order_init(&o, rows, blocks, FILES, lanes, 7));
        assert_int_equal(o.total, TOTAL);
        for (int e = 0; e < 4; e++) {
            bool seen[FILES][AWAY] = { { false } };
            static int first[TOTAL];
            for (int i = 0; i < TOTAL; i++) {
                int file;
                int64_t row;
                hs_shard_order_at(&o, (uint64_t)(e * TOTAL + i), &file, &row);
                assert_in_range(file, 0, FILES - 1);
                assert_in_range(row, 0, rows[file] - 1);
                assert_false(seen[file][row]);
                seen[file][row] = true;
                const int id = file * AWAY + (int)row;
                same += e > 0 && first[i] == id;
                first[i] = id;
            }
        }
        assert_true(same < 3 * TOTAL / 10); // epochs are shuffled apart
        hs_shard_order_free(&o);
    }
    hs_shard_order o;
    FAILS(USAGE, "0 rows", hs_shard_order_init(&o, (int64_t[]){ 0 }, blocks, 1, 1, 7));
}

static hs_shard_set *open_set(hs_shard_set_opts o, char names[FILES][1024])
{
    const char *path[FILES];
    hs_shard_set *s;
    for (int i = 0; i < FILES; i++)
        path[i] = names[i];
    o.path = path, o.n = FILES;
    OK(hs_shard_set_new(&s, &o));
    return s;
}

static void write_all(hs_h5_layout layout, char names[FILES][1024])
{
    int64_t first = 0;
    for (int i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "s%d.hdf5", i);
        snprintf(names[i], sizeof names[i], "%s", scratch_path(name));
        write_shard(names[i], layout, first, rows[i], 24, 4, 1000);
        first += rows[i];
    }
}

// The first ids of the samples of a batch, which say which rows they are, at their places of the whole stream.
static void collect(hs_shard_set *s, int n_batches, uint64_t from, int rank, int size, int *stream)
{
    for (int b = 0; b < n_batches; b++) {
        const hs_shard_batch *batch;
        OK(hs_shard_set_next(s, &batch));
        for (int64_t k = 0; k < batch->rows.n; k++) {
            hs_bert_rows want;
            const int row = batch->rows.ids[k * batch->rows.length] - 5;
            int *place = &stream[batch->first_sample - from + (uint64_t)(rank + k * size)];
            assert_int_equal(*place, -1);
            *place = row;
            some_rows(&want, row, 1, 24, 4, 1, 1000);
            same_row(&want, 0, &batch->rows, k);
            hs_bert_rows_free(&want);
        }
        hs_shard_set_release(s);
    }
}

// Ranks 1 to 5, a batch that none but 1 and 13 divide: the stream is whole, without duplicates, and the same.
static void any_number_of_ranks(void **state)
{
    (void)state;
    enum { BATCH = 13, BATCHES = 60, N = BATCH * BATCHES };
    static char names[FILES][1024];
    static int reference[N], stream[N];
    for (int layout = HS_H5_FIXED; layout <= HS_H5_VARLEN; layout++) {
        write_all((hs_h5_layout)layout, names);
        for (int size = 1; size <= 5; size++) {
            memset(stream, 0xFF, sizeof stream);
            for (int rank = 0; rank < size; rank++) {
                hs_shard_set *s = open_set(
                    (hs_shard_set_opts){
                        .vocab = 1000, .seed = 3, .batch = BATCH, .rank = rank, .size = size, .length = 24, .predictions = 4 },
                    names);
                assert_int_equal(hs_shard_set_rows(s), TOTAL);
                collect(s, BATCHES, 0, rank, size, stream);
                hs_shard_set_free(s);
            }
            if (size == 1)
                memcpy(reference, stream, sizeof stream);
            assert_memory_equal(stream, reference, sizeof stream);
            for (int e = 0; e < N / TOTAL; e++) {
                bool seen[TOTAL] = { false };
                for (int i = 0; i < TOTAL; i++) {
                    const int row = stream[e * TOTAL + i];
                    assert_in_range(row, 0, TOTAL - 1);
                    assert_false(seen[row]);
                    seen[row] = true;
                }
            }
        }
    }
    // From any sample on, at another number of ranks.
    static int rest[10 * BATCH];
    memset(rest, 0xFF, sizeof rest);
    for (int rank = 0; rank < 3; rank++) {
        hs_shard_set *s = open_set((hs_shard_set_opts){ .vocab = 1000,
                                                        .seed = 3,
                                                        .batch = BATCH,
                                                        .first_sample = 391,
                                                        .rank = rank,
                                                        .size = 3,
                                                        .length = 24,
                                                        .predictions = 4,
                                                        .depth = 1 },
                                   names);
        collect(s, 10, 391, rank, 3, rest);
        hs_shard_set_free(s);
    }
    assert_memory_equal(rest, reference + 391, sizeof rest);
}

static void refused(void **state)
{
    (void)state;
    static char names[FILES][1024];
    const char *path[3];
    hs_shard_set *s;
    const hs_shard_batch *b;
    write_all(HS_H5_FIXED, names);
    path[0] = names[0], path[1] = names[1], path[2] = names[2];
    write_shard(names[1], HS_H5_FIXED, 0, 5, 32, 4, 1000);
    const hs_shard_set_opts o = { .path = path, .n = 3, .vocab = 1000, .batch = 8, .size = 1 };
    FAILS(CORRUPT, "s1.hdf5: input_ids: fixed rows of 32 tokens with 4 predictions, but", hs_shard_set_new(&s, &o));
    write_shard(names[1], HS_H5_VARLEN, 0, 5, 24, 4, 1000);
    FAILS(CORRUPT, "s1.hdf5: input_ids: varlen rows", hs_shard_set_new(&s, &o));
    scratch_write("s1.hdf5", "nothing", 7);
    FAILS(CORRUPT, "s1.hdf5 is no HDF5 file", hs_shard_set_new(&s, &o));
    path[1] = scratch_path("absent.hdf5");
    FAILS(USAGE, "absent.hdf5: no such file", hs_shard_set_new(&s, &o));
    FAILS(USAGE, "each rank needs a row", hs_shard_set_new(&s, &(hs_shard_set_opts){ .path = path, .n = 1, .batch = 2, .size = 3 }));
    // An id beyond the vocabulary is found when its row is read.
    path[1] = names[0];
    OK(hs_shard_set_new(&s, &(hs_shard_set_opts){ .path = path, .n = 3, .vocab = 500, .batch = 8, .size = 1 }));
    hs_status st;
    while ((st = hs_shard_set_next(s, &b)) == HS_OK)
        hs_shard_set_release(s);
    assert_int_equal(st, HS_CORRUPT);
    assert_non_null(strstr(hs_error(), "is outside the vocabulary of 500"));
    FAILS(CORRUPT, "is outside the vocabulary of 500", hs_shard_set_next(s, &b)); // and stays so
    hs_shard_set_free(s);
    // A file that another one replaces, while the set is at work. Only two files are open at a time.
    write_all(HS_H5_FIXED, names);
    s = open_set((hs_shard_set_opts){ .vocab = 1000, .batch = 3, .size = 1, .lanes = 1, .depth = 1 }, names);
    for (int i = 0; i < FILES; i++)
        write_shard(names[i], HS_H5_FIXED, 0, rows[i] + 1, 24, 4, 1000);
    while ((st = hs_shard_set_next(s, &b)) == HS_OK)
        hs_shard_set_release(s);
    assert_int_equal(st, HS_CORRUPT);
    assert_non_null(strstr(hs_error(), "changed while it was read"));
    hs_shard_set_free(s);
    // Freed while batches are held and the thread is waiting.
    write_all(HS_H5_VARLEN, names);
    FAILS(USAGE, "the room of a row must be given",
          hs_shard_set_new(&s, &(hs_shard_set_opts){ .path = (const char *[]){ names[0] }, .n = 1, .batch = 2, .size = 1 }));
    s = open_set((hs_shard_set_opts){ .vocab = 1000, .batch = 3, .size = 1, .length = 10, .predictions = 4 }, names);
    while ((st = hs_shard_set_next(s, &b)) == HS_OK)
        hs_shard_set_release(s);
    assert_int_equal(st, HS_USAGE);
    assert_non_null(strstr(hs_error(), "there is room for 10, 4, 1"));
    hs_shard_set_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_a_permutation),
        cmocka_unit_test(any_number_of_ranks),
        cmocka_unit_test(refused),
    };
    const struct CMUnitTest order_alone[] = { cmocka_unit_test(order_is_a_permutation) };
    hs_h5_file *f;
    if (hs_h5_open(&f, "absent", 0) == HS_UNSUPPORTED)
        return cmocka_run_group_tests(order_alone, NULL, NULL);
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
