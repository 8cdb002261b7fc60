// safetensors: round trips, files of the reference writer's shape, every way a header can lie, and random damage.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "data/checkpoint/ckpt_io.h"
#include "tests/support/support_ckpt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

static char dir[CKPT_PATH], path[2 * CKPT_PATH];

static int open_dir(void **state)
{
    (void)state;
    ckpt_temp_dir(dir);
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    return 0;
}
static int remove_dir(void **state)
{
    (void)state;
    ckpt_remove(dir);
    return 0;
}

static char *slurp(size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    char *p = malloc(*bytes + 1);
    assert_int_equal(fread(p, 1, *bytes, f), *bytes);
    fclose(f);
    return p;
}

static void spill(const void *p, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, bytes, f), bytes);
    fclose(f);
}

// A file with this header and so many bytes of data behind it.
static void put(const char *header, size_t data)
{
    const size_t n = strlen(header);
    char *p = calloc(1, 8 + n + data);
    for (int i = 0; i < 8; i++)
        p[i] = (char)(n >> (8 * i));
    memcpy(p + 8, header, n);
    spill(p, 8 + n + data);
    free(p);
}

// ---- what is written can be read
static void round_trips_every_type(void **state)
{
    (void)state;
    static const char bytes[64] = "some bytes, whatever they mean; sixty-four of them, at the most";
    hs_st_tensor t[HS_N_DTYPES + 3];
    char names[HS_N_DTYPES][32];
    int n = 0;
    for (; n < HS_N_DTYPES; n++) {
        snprintf(names[n], sizeof names[n], "tensor.%s", hs_dtype_name((hs_dtype)n));
        t[n] = (hs_st_tensor){ .name = names[n], .dtype = (hs_dtype)n, .n_dims = 2, .dim = { 2, n % 3 + 1 }, .data = bytes };
    }
    t[n++] = (hs_st_tensor){ .name = "scalar", .dtype = HS_F32, .n_dims = 0, .data = bytes };
    t[n++] = (hs_st_tensor){ .name = "empty", .dtype = HS_F64, .n_dims = 2, .dim = { 0, 7 }, .data = bytes };
    t[n++] = (hs_st_tensor){ .name = "odd \"name\"\n\\ \xc3\xa4", .dtype = HS_U8, .n_dims = 4, .dim = { 1, 3, 1, 1 }, .data = bytes };
    uint64_t hash;
    OK(hs_safetensors_write(path, t, n, &hash));
    size_t size;
    char *whole = slurp(&size);
    assert_true(hash == XXH3_64bits(whole, size));
    uint64_t header;
    memcpy(&header, whole, sizeof header);
    assert_int_equal((sizeof header + header) % 64, 0);
    free(whole);
    hs_safetensors *f;
    OK(hs_safetensors_open(&f, path));
    assert_int_equal(hs_safetensors_count(f), n);
    for (int i = 0; i < n; i++) {
        const hs_st_entry *e = hs_safetensors_find(f, t[i].name);
        assert_non_null(e);
        assert_int_equal(e->dtype, t[i].dtype);
        assert_int_equal(e->n_dims, t[i].n_dims);
        size_t want = hs_dtype_bytes(e->dtype);
        for (int k = 0; k < e->n_dims; k++) {
            assert_int_equal(e->dim[k], t[i].dim[k]);
            want *= (size_t)e->dim[k];
        }
        assert_int_equal(e->bytes, want);
        assert_memory_equal(e->data, bytes, want);
        assert_int_equal((uintptr_t)e->data % hs_dtype_bytes(e->dtype), 0);
    }
    for (int i = 1; i < n; i++)
        assert_true((const char *)hs_safetensors_at(f, i)->data >= (const char *)hs_safetensors_at(f, i - 1)->data);
    assert_null(hs_safetensors_find(f, "none"));
    assert_null(hs_safetensors_at(f, n));
    assert_null(hs_safetensors_at(f, -1));
    hs_safetensors_close(f);
    hs_safetensors_close(NULL);
    OK(hs_safetensors_write(path, NULL, 0, NULL)); // replaces it
    OK(hs_safetensors_open(&f, path));
    assert_int_equal(hs_safetensors_count(f), 0);
    hs_safetensors_close(f);
    assert_int_equal(ckpt_count_leftovers(dir), 0);
}

static void turns_any_shape(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {
        { 1, 1 }, { 3, 5 }, { 16, 16 }, { 17, 33 }, { 1, 4096 }, { 4096, 1 }, { 700, 1531 }, { 1100000, 2 }
    };
    for (int i = 0; i < HS_COUNT(shapes); i++) {
        const int64_t out = shapes[i][0], in = shapes[i][1];
        hs_params *ps;
        hs_param *p;
        OK(hs_params_new(&ps, 1, 0, 1));
        OK(hs_params_get(ps, &(hs_param_spec){ .name = "w", .n_dims = 2, .dim = { out, in }, .pad_rows = 8 }, &p));
        OK(hs_params_alloc(ps, NULL, true));
        float *values = hs_slab_at(ps->master, p);
        for (int64_t k = 0; k < out * in; k++)
            values[k] = (float)k;
        const hs_st_source s = { { "w", HS_F32, 2, { in, out }, values }, p, true, 0, NULL, false };
        unlink(path);
        OK(hs_safetensors_write_from(&hs_io_system, path, &s, 1, NULL));
        hs_safetensors *f;
        OK(hs_safetensors_open(&f, path));
        const float *back = hs_safetensors_at(f, 0)->data;
        bool same = true;
        for (int64_t o = 0; o < out; o++)
            for (int64_t k = 0; k < in; k++)
                same = same && back[k * out + o] == (float)(o * in + k);
        assert_true(same);
        hs_safetensors_close(f);
        hs_params_free(ps);
    }
}

// Files of other writers: any order, any spelling, no alignment.
static void reads_what_others_write(void **state)
{
    (void)state;
    put(" {}", 0);
    hs_safetensors *f;
    assert_int_equal(hs_safetensors_open(&f, path), HS_CORRUPT); // must begin with the brace
    put("{}      ", 0);
    OK(hs_safetensors_open(&f, path));
    hs_safetensors_close(f);
    // header order is not data order; metadata anywhere; escapes; data at an odd address
    put("{\"b\":{\"shape\":[1],\"data_offsets\":[3,7],\"dtype\":\"F32\"},\"__metadata__\":{\"a\":\"b\",\"c\":\"d\"},"
        "\"\\u0061\\u00e4\\ud83d\\ude00\\n\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}",
        7);
    OK(hs_safetensors_open(&f, path));
    assert_int_equal(hs_safetensors_count(f), 2);
    assert_string_equal(hs_safetensors_at(f, 0)->name, "a\xc3\xa4\xf0\x9f\x98\x80\n");
    assert_string_equal(hs_safetensors_at(f, 1)->name, "b");
    hs_safetensors_close(f);
}

// ---- what lies is refused
#define T(name, rest) "\"" name "\":{" rest "}"
#define A4            "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"

static void refuses_malformed_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } bad[] = {
        { "[]", 0, "does not begin with '{'" },
        { "{ ", 0, "'\"' is missing" },
        { "{}x", 0, "more text behind the end" },
        { "{}{}", 0, "more text" },
        { "{\"a\"}", 0, "':' is missing" },
        { "{\"a\":1}", 0, "'{' is missing" },
        { "{\"a\":{}}", 0, "tensor \"a\"" },
        { "{" T("a", A4) ",}", 4, "'\"' is missing" },
        { "{" T("a", A4) "", 4, "'}' is missing" },
        { "{" T("a", A4) "}", 3, "outside the file's 3 bytes" },
        { "{" T("a", A4) "}", 5, "1 bytes behind the last tensor" },
        { "{" T("a", A4) "," T("a", A4) "}", 4, "overlap" },
        { "{" T("a", A4) "," T("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]") "}", 8, "\"a\" is given twice" },
        { "{" T("a", A4) "," T("b", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[5,9]") "}", 9, "1 bytes of nothing" },
        { "{" T("a", A4) "," T("b", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[3,7]") "}", 7, "1 bytes overlap" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]") "}", 5, "of nothing" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]") "}", 4, "do not hold its shape in F32" },
        { "{" T("a", "\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]") "}", 4, "type \"F33\"" },
        { "{" T("a", "\"dtype\":\"F8_E4M3FNUZ_AND_MORE\",\"shape\":[1],\"data_offsets\":[0,4]") "}", 4, "type \"F8_E4M3FNUZ_AND" },
        { "{" T("a", "\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]") "}", 4, "type \"f32\"" },
        { "{" T("a", "\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]") "}", 4, "'\"' is missing" },
        { "{" T("a", "\"shape\":[1],\"data_offsets\":[0,4]") "}", 4, "is missing" },
        { "{" T("a", "\"dtype\":\"F32\",\"data_offsets\":[0,4]") "}", 4, "is missing" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1]") "}", 4, "is missing" },
        { "{" T("a", A4 ",\"dtype\":\"F32\"") "}", 4, "\"dtype\" is given twice" },
        { "{" T("a", A4 ",\"extra\":\"F32\"") "}", 4, "unknown key \"extra\"" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]") "}", 4, "whole number" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]") "}", 4, "whole number" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]") "}", 4, "whole number" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]") "}", 4, "whole number" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[null],\"data_offsets\":[0,4]") "}", 4, "whole number" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1,],\"data_offsets\":[0,4]") "}", 4, "whole number" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]") "}", 4, "more than 8" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,4]") "}", 4, "larger than 2^64" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[18446744073709551615],\"data_offsets\":[0,4]") "}", 4, "dimension 0" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[4611686018427387904,1],\"data_offsets\":[0,0]") "}", 0, "do not hold" },
        { "{" T("a", "\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]") "}", 0, "do not hold" },
        { "{" T("a", "\"dtype\":\"U8\",\"shape\":[4294967296,4294967297],\"data_offsets\":[0,4]") "}", 4, "do not hold" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]") "}", 4, "outside" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[18446744073709551612,18446744073709551615]") "}", 4, "outside" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]") "}", 4, "more than 2" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]") "}", 4, "has 1 numbers" },
        { "{" T("a", "\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]") "}", 4, "'[' is missing" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "'\"' is missing" },
        { "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "'\"' is missing" },
        { "{\"__metadata__\":[]}", 0, "'{' is missing" },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "given twice" },
        { "{\"a", 0, "does not end" },
        { "{\"a\\", 0, "bad escape" },
        { "{\"a\\x\":{}}", 0, "bad escape" },
        { "{\"a\\u12\":{}}", 0, "bad escape" },
        { "{\"a\\u0000\":{}}", 0, "no character" },
        { "{\"a\\ud800\":{}}", 0, "no character" },
        { "{\"a\\udc00\":{}}", 0, "no character" },
        { "{\"a\\ud800\\u0041\":{}}", 0, "no character" },
        { "{\"a\n\":{}}", 0, "byte 0x0a" },
        { "{\"\xff\":{}}", 0, "byte 0xff" },
        { "{\"\xc0\xaf\":{}}", 0, "byte 0xc0" },
        { "{\"\xe0\x80\xaf\":{}}", 0, "byte 0xe0" },
        { "{\"\xed\xa0\x80\":{}}", 0, "byte 0xed" },
        { "{\"\xf4\x90\x80\x80\":{}}", 0, "byte 0xf4" },
        { "{\"\xe2\x82", 0, "byte 0xe2" },
    };
    for (int i = 0; i < HS_COUNT(bad); i++) {
        hs_safetensors *f = NULL;
        put(bad[i].header, bad[i].data);
        assert_int_equal(hs_safetensors_open(&f, path), HS_CORRUPT);
        assert_null(f);
        assert_non_null(strstr(hs_error(), path));
        if (strstr(hs_error(), bad[i].message) == NULL)
            fail_msg("%s: %s, expected \"%s\"", bad[i].header, hs_error(), bad[i].message);
    }
}

static void refuses_false_sizes(void **state)
{
    (void)state;
    hs_safetensors *f;
    static const unsigned char sizes[][8] = {
        { 3 }, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, { 0, 0, 0, 0, 0, 0, 0, 0x80 }, { 1, 0xe1, 0xf5, 5 }, { 0 }, { 1 },
    };
    for (int i = 0; i < HS_COUNT(sizes); i++) {
        char whole[10] = "........{}";
        memcpy(whole, sizes[i], 8);
        spill(whole, sizeof whole);
        assert_int_equal(hs_safetensors_open(&f, path), HS_CORRUPT);
    }
    spill("", 0);
    assert_int_equal(hs_safetensors_open(&f, path), HS_CORRUPT);
    spill("\2\0\0\0\0\0\0\0{", 9);
    assert_int_equal(hs_safetensors_open(&f, path), HS_CORRUPT);
    assert_int_equal(hs_safetensors_open(&f, dir), HS_USAGE);
    unlink(path);
    assert_int_equal(hs_safetensors_open(&f, path), HS_SYSTEM);
    assert_non_null(strstr(hs_error(), "No such file"));
}

// ---- random damage: refused, or a table whose every byte lies inside the file
static uint64_t draws;
static uint32_t draw(uint32_t below)
{
    draws++;
    return hs_random(20260, (uint32_t)draws, (uint32_t)(draws >> 32), 0, 0).v[0] % below;
}

static unsigned touch(const hs_safetensors *f, size_t file_bytes)
{
    unsigned sum = 0;
    size_t total = 0;
    for (int i = 0; i < hs_safetensors_count(f); i++) {
        const hs_st_entry *e = hs_safetensors_at(f, i);
        assert_ptr_equal(hs_safetensors_find(f, e->name), e);
        for (size_t k = 0; k < e->bytes; k++)
            sum += ((const unsigned char *)e->data)[k];
        total += e->bytes;
    }
    assert_true(total < file_bytes);
    return sum;
}

static void survives_mutations(void **state)
{
    (void)state;
    static const float data[64];
    static const char *const words[] = { "\"", "{", "}",   "[",   "]",     ",",   ":", "18446744073709551615",
                                         "-1", "0", "\\u", "F32", "shape", "\xc3" };
    const hs_st_tensor t[] = {
        { "alpha", HS_F32, 2, { 4, 4 }, data }, { "beta", HS_BF16, 1, { 7 }, data }, { "gamma", HS_I64, 3, { 2, 1, 3 }, data },
        { "delta", HS_F32, 0, { 0 }, data },    { "empty", HS_U8, 1, { 0 }, data },
    };
    OK(hs_safetensors_write(path, t, HS_COUNT(t), NULL));
    size_t size, header;
    char *good = slurp(&size);
    header = (unsigned char)good[0] + 256u * (unsigned char)good[1];
    int opened = 0;
    char *p = malloc(size + 64);
    for (int round = 0; round < 6000; round++) {
        size_t n = size;
        memcpy(p, good, n);
        for (uint32_t k = draw(3) + 1; k > 0; k--) {
            const size_t at = draw(8) == 0 ? draw((uint32_t)n) : draw((uint32_t)(header + 8));
            const char *word = words[draw(HS_COUNT(words))];
            const uint32_t how = draw(5);
            if (how == 0)
                p[at] ^= (char)(1 << draw(8));
            else if (how == 1)
                p[at] = (char)draw(256);
            else if (how == 2 && at + strlen(word) <= n)
                memcpy(p + at, word, strlen(word));
            else if (how == 3 && at >= 8)
                p[at] = (char)('0' + draw(10));
            else if (how == 4)
                n = draw((uint32_t)n) + 1;
            if (how == 4)
                break;
        }
        spill(p, n);
        hs_safetensors *f = NULL;
        const hs_status st = hs_safetensors_open(&f, path);
        if (st == HS_OK) {
            opened++;
            touch(f, n);
            hs_safetensors_close(f);
        } else
            assert_int_equal(st, HS_CORRUPT);
    }
    assert_true(opened > 50 && opened < 3000); // damage in names and data goes unseen here: that is what checksums are for
    free(p);
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trips_every_type, open_dir, remove_dir),
        cmocka_unit_test_setup_teardown(turns_any_shape, open_dir, remove_dir),
        cmocka_unit_test_setup_teardown(reads_what_others_write, open_dir, remove_dir),
        cmocka_unit_test_setup_teardown(refuses_malformed_headers, open_dir, remove_dir),
        cmocka_unit_test_setup_teardown(refuses_false_sizes, open_dir, remove_dir),
        cmocka_unit_test_setup_teardown(survives_mutations, open_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
