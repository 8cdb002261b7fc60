// hdf5: shards of all three layouts come back as they were written; damaged and foreign ones are refused by file and dataset.
#include "data/base/file.h"
#include "tests/support/support_files.h"
#include "tests/support/support_shards.h"
#ifdef HS_HAVE_HDF5
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

static const struct layout_case {
    hs_h5_layout layout;
    int64_t rows, length, predictions, vocab;
} cases[] = {
    { HS_H5_FIXED, 2500, 128, 20, 30522 }, { HS_H5_FIXED, 7, 512, 76, 30522 },   { HS_H5_FIXED, 1, 5, 1, 100 },
    { HS_H5_VARLEN, 700, 128, 20, 30522 }, { HS_H5_VARLEN, 300, 64, 9, 119547 }, { HS_H5_PACKED, 600, 384, 60, 30522 },
};

static void round_trips(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(cases); i++) {
        const struct layout_case *c = &cases[i];
        hs_h5_file *f;
        write_shard(scratch_path("a.hdf5"), c->layout, 0, c->rows, c->length, c->predictions, c->vocab);
        assert_true(hs_h5_is(scratch_path("a.hdf5")));
        OK(hs_h5_open(&f, scratch_path("a.hdf5"), c->vocab));
        const hs_h5_info info = hs_h5_info_of(f);
        assert_int_equal(info.layout, c->layout);
        assert_int_equal(info.rows, c->rows);
        for (int64_t at = 0; at < c->rows; at += 333) { // never aligned with chunks
            hs_pair_rows got, want;
            const int64_t n = c->rows - at < 333 ? c->rows - at : 333;
            OK(hs_h5_read(f, at, n, &got));
            some_rows(&want, at, n, c->length, c->predictions, c->layout == HS_H5_PACKED ? 3 : 1, c->vocab);
            for (int64_t k = 0; k < n; k++)
                same_row(&want, k, &got, k);
            hs_pair_rows_free(&got);
            hs_pair_rows_free(&want);
        }
        hs_pair_rows none;
        FAILS(USAGE, "rows", hs_h5_read(f, c->rows, 1, &none));
        hs_h5_close(f);
    }
    assert_int_equal(scratch_count(), 1); // no temporary file is left
}

static void writer_refuses(void **state)
{
    (void)state;
    hs_h5_out *w;
    hs_pair_rows r;
    const hs_h5_out_opts o = { .layout = HS_H5_FIXED, .rows = 10, .length = 32, .predictions = 4, .vocab = 50, .gzip = 4 };
    FAILS(SYSTEM, "cannot write", hs_h5_create(&w, scratch_path("absent/x.hdf5"), &o));
    OK(hs_h5_create(&w, scratch_path("x.hdf5"), &o));
    some_rows(&r, 0, 11, 32, 4, 1, 50);
    FAILS(USAGE, "more than the 10 rows announced", hs_h5_append(w, &r));
    r.n = 5;
    OK(hs_h5_append(w, &r));
    r.ids[32 * 3 + 2] = 50;
    FAILS(CORRUPT, "input_ids: row 8, column 2: id 50 is outside the vocabulary of 50", hs_h5_append(w, &r));
    hs_pair_rows_free(&r);
    FAILS(USAGE, "5 rows written, 10 announced", hs_h5_commit(w));
    FAILS(USAGE, "no such file", hs_h5_open(&(hs_h5_file *){ NULL }, scratch_path("x.hdf5"), 0)); // and nothing appeared
    OK(hs_h5_create(&w, scratch_path("x.hdf5"), &(hs_h5_out_opts){ .layout = HS_H5_FIXED, .rows = 1, .length = 16, .predictions = 2 }));
    some_rows(&r, 0, 1, 32, 4, 1, 50);
    FAILS(USAGE, "rows of 32 tokens with 4 predictions", hs_h5_append(w, &r));
    hs_pair_rows_free(&r);
    hs_h5_discard(w);
}

// ---- foreign files, made with the library itself

typedef struct spec {
    const char *name;
    hid_t type;
    int n_dims;
    hsize_t dim[2];
} spec;
enum { ROWS = 6, S = 16, P = 4 };

// NVIDIA's six datasets, all zero but one token a row; `change` replaces the one of its name, or takes it away where n_dims is 0.
static void make(const char *path, const spec *change)
{
    const spec all[] = { { "input_ids", H5T_STD_I32LE, 2, { ROWS, S } },     { "input_mask", H5T_STD_I8LE, 2, { ROWS, S } },
                         { "segment_ids", H5T_STD_I8LE, 2, { ROWS, S } },    { "masked_lm_positions", H5T_STD_I32LE, 2, { ROWS, P } },
                         { "masked_lm_ids", H5T_STD_I32LE, 2, { ROWS, P } }, { "next_sentence_labels", H5T_STD_I8LE, 1, { ROWS } } };
    const hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    int32_t ones[ROWS * S] = { 0 };
    for (int i = 0; i < ROWS; i++)
        ones[i * S] = 1;
    for (int i = 0; i < HS_COUNT(all); i++) {
        const spec *s = change && strcmp(change->name, all[i].name) == 0 ? change : &all[i];
        if (s->n_dims == 0)
            continue;
        const hid_t space = H5Screate_simple(s->n_dims, s->dim, NULL);
        const hid_t set = H5Dcreate2(f, s->name, s->type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (strcmp(s->name, "input_mask") == 0)
            H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, ones);
        H5Dclose(set);
        H5Sclose(space);
    }
    H5Fclose(f);
}

static void refuses(hs_status st, const char *part, const spec *change)
{
    hs_h5_file *f;
    make(scratch_path("bad.hdf5"), change);
    expect_error(hs_h5_open(&f, scratch_path("bad.hdf5"), 100), st, part, __FILE__, __LINE__);
    assert_null(f);
    assert_non_null(strstr(hs_error(), "bad.hdf5"));
}

static void foreign_files(void **state)
{
    (void)state;
    hs_h5_file *f;
    hs_pair_rows r;
    make(scratch_path("bad.hdf5"), NULL); // the pattern itself is read: contiguous, never written parts
    OK(hs_h5_open(&f, scratch_path("bad.hdf5"), 100));
    OK(hs_h5_read(f, 0, ROWS, &r));
    assert_int_equal(r.part_tokens[5], 1);
    hs_pair_rows_free(&r);
    hs_h5_close(f);
    refuses(HS_CORRUPT, "masked_lm_ids: no such dataset", &(spec){ .name = "masked_lm_ids" });
    refuses(HS_CORRUPT, "input_ids: no such dataset", &(spec){ .name = "input_ids" });
    refuses(HS_CORRUPT, "segment_ids: its type is no integer", &(spec){ "segment_ids", H5T_IEEE_F32LE, 2, { ROWS, S } });
    refuses(HS_CORRUPT, "segment_ids: 5 rows, input_ids has 6", &(spec){ "segment_ids", H5T_STD_I8LE, 2, { 5, S } });
    refuses(HS_CORRUPT, "masked_lm_ids: rows of 5, masked_lm_positions has rows of 4",
            &(spec){ "masked_lm_ids", H5T_STD_I8LE, 2, { ROWS, 5 } });
    refuses(HS_CORRUPT, "next_sentence_labels: 2 dimensions, 1 wanted", &(spec){ "next_sentence_labels", H5T_STD_I8LE, 2, { ROWS, 1 } });
    refuses(HS_CORRUPT, "input_mask: 1 dimensions, 2 wanted", &(spec){ "input_mask", H5T_STD_I8LE, 1, { ROWS } });
    refuses(HS_CORRUPT, "input_ids: 4000000 x 4000000 integers, more than a file of",
            &(spec){ "input_ids", H5T_STD_I32LE, 2, { 4000000, 4000000 } });
    // Other integer types are read as well.
    make(scratch_path("bad.hdf5"), &(spec){ "input_ids", H5T_STD_U16BE, 2, { ROWS, S } });
    OK(hs_h5_open(&f, scratch_path("bad.hdf5"), 100));
    OK(hs_h5_read(f, 1, 3, &r));
    hs_pair_rows_free(&r);
    hs_h5_close(f);
}

static void refuses_row(const char *name, int64_t at, int32_t value, const char *part)
{
    hs_h5_file *f;
    hs_pair_rows r;
    int32_t v[ROWS * S];
    write_shard(scratch_path("row.hdf5"), HS_H5_FIXED, 0, ROWS, S, P, 100);
    const hid_t h = H5Fopen(scratch_path("row.hdf5"), H5F_ACC_RDWR, H5P_DEFAULT), set = H5Dopen2(h, name, H5P_DEFAULT);
    H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, v);
    v[at] = value;
    H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, v);
    H5Dclose(set);
    H5Fclose(h);
    OK(hs_h5_open(&f, scratch_path("row.hdf5"), 100));
    FAILS(CORRUPT, part, hs_h5_read(f, 0, ROWS, &r));
    assert_null(r.ids);
    hs_h5_close(f);
}

static void wrong_values(void **state)
{
    (void)state;
    refuses_row("input_ids", 2 * S + 3, 100, "row.hdf5: input_ids: row 2, column 3: id 100 is outside the vocabulary of 100");
    refuses_row("input_ids", 0, -1, "input_ids: row 0, column 0: id -1");
    refuses_row("input_mask", S + 2, 0, "input_mask: row 1, column 2: a token behind padding");
    refuses_row("input_mask", S + 2, 7, "input_mask: row 1, column 2: 7, allowed 0 and 1");
    refuses_row("segment_ids", 0, 2, "segment_ids: row 0, column 0: 2, allowed 0 and 1");
    refuses_row("masked_lm_positions", 0, 15, "masked_lm_positions: row 0, column 0: position 15, allowed 1 to");
    refuses_row("masked_lm_positions", P + 3, 2, "masked_lm_positions: row 1, column ");
    refuses_row("masked_lm_ids", 1, 1000, "masked_lm_ids: row 0, column 1: id 1000");
    refuses_row("next_sentence_labels", 5, 3, "next_sentence_labels: row 5, column 0: 3, allowed 0 and 1");
}

static void not_hdf5(void **state)
{
    (void)state;
    hs_h5_file *f;
    size_t n;
    scratch_write("t.hdf5", "just a text, and no shard", 25);
    FAILS(CORRUPT, "t.hdf5 is no HDF5 file", hs_h5_open(&f, scratch_path("t.hdf5"), 0));
    scratch_write("t.hdf5", "", 0);
    FAILS(USAGE, "is empty", hs_h5_open(&f, scratch_path("t.hdf5"), 0));
    write_shard(scratch_path("good.hdf5"), HS_H5_FIXED, 0, 500, 32, 4, 100);
    char *good = scratch_read("good.hdf5", &n);
    for (size_t cut = 8; cut < n; cut += n / 40) {
        scratch_write("t.hdf5", good, cut);
        const hs_status st = hs_h5_open(&f, scratch_path("t.hdf5"), 100);
        assert_int_equal(st, HS_CORRUPT);
        assert_non_null(strstr(hs_error(), "t.hdf5: "));
    }
    assert_non_null(strstr(hs_error(), "truncated file"));
    free(good);
    assert_false(hs_h5_is(scratch_path("absent")));
}

// Bytes of the chunks themselves are damaged: gzip's own checksum finds it.
static void damaged_chunk(void **state)
{
    (void)state;
    size_t n;
    int refused = 0, read = 0;
    write_shard(scratch_path("good.hdf5"), HS_H5_FIXED, 0, 400, 32, 4, 100);
    char *good = scratch_read("good.hdf5", &n);
    for (size_t at = 20000; at < n; at += 997) { // in front of it: little but free space
        hs_h5_file *f;
        hs_pair_rows r;
        good[at] ^= 0x10;
        scratch_write("t.hdf5", good, n);
        good[at] ^= 0x10;
        if (hs_h5_open(&f, scratch_path("t.hdf5"), 100) != HS_OK)
            continue;
        if (hs_h5_read(f, 0, 400, &r) == HS_OK)
            read++, hs_pair_rows_free(&r);
        else
            refused++;
        hs_h5_close(f);
    }
    free(good);
    assert_true(refused > 10 * read);
}

// What h5py wrote (scripts/check_formats.py --golden): gzip over rows and columns; lists in shuffled chunks; behind a user's block, with
// integers the other way round, checksums, and datasets without chunks.
static void same_rows_by_h5py(const char *path)
{
    hs_h5_file *f;
    hs_pair_rows r;
    OK(hs_h5_open(&f, path, 100));
    OK(hs_h5_read(f, 0, 50, &r));
    assert_int_equal(r.length, 24);
    assert_int_equal(r.predictions, 4);
    for (int i = 0; i < 50; i++) {
        const int n = 8 + i % 17, labels = 1 + i % 4;
        assert_int_equal(r.part_tokens[i], n);
        assert_int_equal(r.part_labels[i], labels);
        assert_int_equal(r.next[i], i % 2);
        for (int j = 0; j < 24; j++) {
            assert_int_equal(r.ids[i * 24 + j], j < n ? (7 * i + 13 * j) % 97 + 3 : 0);
            assert_int_equal(r.mask[i * 24 + j], j < n);
            assert_int_equal(r.segments[i * 24 + j], j < n && j >= n / 2);
        }
        for (int k = 0; k < 4; k++) {
            assert_int_equal(r.positions[i * 4 + k], k < labels ? 1 + 2 * k : 0);
            assert_int_equal(r.labels[i * 4 + k], k < labels ? (i + k) % 100 : 0);
        }
    }
    hs_pair_rows_free(&r);
    hs_h5_close(f);
}

static void written_by_h5py(void **state)
{
    (void)state;
    same_rows_by_h5py(HS_TESTS_DIR "/golden/shards/nvidia.hdf5");
    same_rows_by_h5py(HS_TESTS_DIR "/golden/shards/lists.hdf5");
    same_rows_by_h5py(HS_TESTS_DIR "/golden/shards/odd.hdf5");
}

// Chunks without filters that an index calls shorter than they are: what is missing must not be whatever memory held.
static void short_chunks(void **state)
{
    (void)state;
    hs_h5_file *f;
    char *file;
    size_t n;
    int changed = 0;
    OK(hs_file_read(HS_TESTS_DIR "/golden/shards/fill.hdf5", &file, &n));
    for (size_t i = 0; i + 28 <= n; i++)
        if (memcmp(file + i, "TREE\1", 5) == 0 && file[i + 24] == 32)
            file[i + 24] = 16, changed++;
    assert_int_equal(changed, 1);
    scratch_write("s.hdf5", file, n);
    FAILS(CORRUPT, "s.hdf5: input_ids: its chunks are not of 32 bytes each", hs_h5_open(&f, scratch_path("s.hdf5"), 100));
    free(file);
}

// A chunk in the middle, and whole datasets with and without chunks.
static void never_written(void **state)
{
    (void)state;
    hs_h5_file *f;
    hs_pair_rows r;
    OK(hs_h5_open(&f, HS_TESTS_DIR "/golden/shards/fill.hdf5", 100));
    OK(hs_h5_read(f, 1, 4, &r));
    for (int i = 0; i < 4 * 8; i++) {
        assert_int_equal(r.ids[i], i < 8 ? 7 : i < 24 ? 9 : 8);
        assert_int_equal(r.mask[i], 1);
        assert_int_equal(r.segments[i], 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(r.next[i], 1);
    hs_pair_rows_free(&r);
    hs_h5_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_written), cmocka_unit_test(round_trips),     cmocka_unit_test(writer_refuses),
        cmocka_unit_test(foreign_files), cmocka_unit_test(wrong_values),    cmocka_unit_test(not_hdf5),
        cmocka_unit_test(damaged_chunk), cmocka_unit_test(written_by_h5py), cmocka_unit_test(short_chunks),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

#else
static void refused(void **state)
{
    (void)state;
    hs_h5_file *f;
    FAILS(UNSUPPORTED, "this build has no libhdf5", hs_h5_open(&f, "x.hdf5", 0));
}
int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
