// shard_set: every row once an epoch at any number of ranks, the same stream at all of them, resumed anywhere; errors of the thread come
// out.
#include "tests/support/support_files.h"
#include "tests/support/support_shards.h"

#include "data/batches/loader.h"
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

static hs_loader *open_set(hs_shard_set_opts o, hs_loader_opts ring, char names[FILES][1024])
{
    const char *path[FILES];
    hs_source *source;
    hs_loader *l;
    for (int i = 0; i < FILES; i++)
        path[i] = names[i];
    o.path = path, o.n = FILES;
    OK(hs_shard_set_new(&source, &o));
    assert_int_equal(source->n_samples, TOTAL);
    OK(hs_loader_new(&l, source, &ring));
    return l;
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

// Sequence k of a batch as the row it came from.
static void row_of(hs_pair_rows *r, const hs_batch *b, int64_t k)
{
    const int32_t *starts = hs_batch_i32(b, HS_PAIR_STARTS), *where = hs_batch_i32(b, HS_PAIR_WHERE),
                  *picks = hs_batch_i32(b, HS_PAIR_PICKS);
    OK(hs_pair_rows_alloc(r, 1, 24, 4, 1));
    for (int32_t i = 0, t = starts[k]; t < starts[k + 1]; i++, t++) {
        r->ids[i] = hs_batch_i32(b, HS_PAIR_IDS)[t];
        r->segments[i] = (int8_t)hs_batch_i32(b, HS_PAIR_TYPES)[t];
        r->mask[i] = 1;
        assert_int_equal(where[2 * t + 1], i);
    }
    for (int64_t p = 0; p < b->n[HS_COUNT_PICKS]; p++)
        if (picks[p] >= starts[k] && picks[p] < starts[k + 1]) {
            r->positions[r->part_labels[0]] = picks[p] - starts[k];
            r->labels[r->part_labels[0]++] = hs_batch_i32(b, HS_PAIR_PICK_TARGETS)[p];
        }
    r->part_tokens[0] = starts[k + 1] - starts[k];
    r->next[0] = (int8_t)hs_batch_i32(b, HS_PAIR_TARGETS)[k];
}

// The first ids of the samples of a batch, which say which rows they are, at their places of the whole stream.
static void collect(hs_loader *l, int n_batches, uint64_t from, int64_t batch, int rank, int size, int *stream)
{
    for (int n = 0; n < n_batches; n++) {
        const hs_batch *b;
        OK(hs_loader_next(l, &b));
        assert_int_equal(b->n[HS_COUNT_SEQS], (batch - rank + size - 1) / size);
        assert_int_equal(b->labels[0], b->n[HS_COUNT_PICKS]);
        assert_int_equal(b->labels[1], b->n[HS_COUNT_SEQS]);
        for (int64_t k = 0; k < b->n[HS_COUNT_SEQS]; k++) {
            hs_pair_rows want, have;
            row_of(&have, b, k);
            const int row = have.ids[0] - 5;
            const uint64_t sample = b->first_sample + (uint64_t)(rank + k * size);
            int *place = &stream[sample - from];
            assert_int_equal(*place, -1);
            *place = row;
            assert_int_equal(hs_batch_i32(b, HS_PAIR_WHERE)[2 * hs_batch_i32(b, HS_PAIR_STARTS)[k]], sample % (uint64_t)batch);
            some_rows(&want, row, 1, 24, 4, 1, 1000);
            same_row(&want, 0, &have, 0);
            hs_pair_rows_free(&want);
            hs_pair_rows_free(&have);
        }
        hs_loader_release(l);
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
                hs_loader *l = open_set((hs_shard_set_opts){ .vocab = 1000, .seed = 3, .length = 24, .predictions = 4 },
                                        (hs_loader_opts){ .batch = BATCH, .n_micro = 1, .rank = rank, .size = size, .depth = 4 }, names);
                collect(l, BATCHES, 0, BATCH, rank, size, stream);
                hs_loader_free(l);
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
        hs_loader *l =
            open_set((hs_shard_set_opts){ .vocab = 1000, .seed = 3, .length = 24, .predictions = 4 },
                     (hs_loader_opts){ .batch = BATCH, .n_micro = 1, .first_sample = 391, .rank = rank, .size = 3, .depth = 2 }, names);
        collect(l, 10, 391, BATCH, rank, 3, rest);
        hs_loader_free(l);
    }
    assert_memory_equal(rest, reference + 391, sizeof rest);
}

static hs_status read_on(hs_loader *l)
{
    const hs_batch *b;
    hs_status st;
    while ((st = hs_loader_next(l, &b)) == HS_OK)
        hs_loader_release(l);
    return st;
}

static void refused(void **state)
{
    (void)state;
    static char names[FILES][1024];
    const char *path[3];
    hs_source *s;
    hs_loader *l;
    write_all(HS_H5_FIXED, names);
    path[0] = names[0], path[1] = names[1], path[2] = names[2];
    write_shard(names[1], HS_H5_FIXED, 0, 5, 32, 4, 1000);
    const hs_shard_set_opts o = { .path = path, .n = 3, .vocab = 1000 };
    FAILS(CORRUPT, "s1.hdf5: input_ids: fixed rows of 32 tokens with 4 predictions, but", hs_shard_set_new(&s, &o));
    write_shard(names[1], HS_H5_VARLEN, 0, 5, 24, 4, 1000);
    FAILS(CORRUPT, "s1.hdf5: input_ids: varlen rows", hs_shard_set_new(&s, &o));
    scratch_write("s1.hdf5", "nothing", 7);
    FAILS(CORRUPT, "s1.hdf5 is no HDF5 file", hs_shard_set_new(&s, &o));
    path[1] = scratch_path("absent.hdf5");
    FAILS(USAGE, "absent.hdf5: no such file", hs_shard_set_new(&s, &o));
    FAILS(USAGE, "0 shards", hs_shard_set_new(&s, &(hs_shard_set_opts){ .path = path }));
    OK(hs_shard_set_new(&s, &(hs_shard_set_opts){ .path = path, .n = 1 }));
    FAILS(USAGE, "each rank needs a row", hs_loader_new(&l, s, &(hs_loader_opts){ .batch = 2, .n_micro = 1, .size = 3, .depth = 4 }));
    // An id beyond the vocabulary is found when its row is read.
    path[1] = names[0];
    OK(hs_shard_set_new(&s, &(hs_shard_set_opts){ .path = path, .n = 3, .vocab = 500 }));
    OK(hs_loader_new(&l, s, &(hs_loader_opts){ .batch = 8, .n_micro = 1, .size = 1, .depth = 4 }));
    FAILS(CORRUPT, "is outside the vocabulary of 500", read_on(l));
    FAILS(CORRUPT, "is outside the vocabulary of 500", read_on(l)); // and stays so
    hs_loader_free(l);
    // A file that another one replaces, while the set is at work. Only two files are open at a time.
    const hs_loader_opts ring = { .batch = 3, .n_micro = 1, .size = 1, .depth = 2 };
    write_all(HS_H5_FIXED, names);
    l = open_set((hs_shard_set_opts){ .vocab = 1000, .lanes = 1 }, ring, names);
    for (int i = 0; i < FILES; i++)
        write_shard(names[i], HS_H5_FIXED, 0, rows[i] + 1, 24, 4, 1000);
    FAILS(CORRUPT, "changed while it was read", read_on(l));
    hs_loader_free(l);
    // Freed while the thread is waiting.
    write_all(HS_H5_VARLEN, names);
    FAILS(USAGE, "the room of a row must be given",
          hs_shard_set_new(&s, &(hs_shard_set_opts){ .path = (const char *[]){ names[0] }, .n = 1 }));
    l = open_set((hs_shard_set_opts){ .vocab = 1000, .length = 10, .predictions = 4 }, ring, names);
    FAILS(USAGE, "there is room for 10, 4, 1", read_on(l));
    hs_loader_free(l);
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
