// GGUF: blocks of ggml's types, files written and read back, tokenizers to keys and back; every damage is told, and no byte of a file makes
// the reader look where it must not (test_fuzz has more of that).
#include "tests/support/support_files.h"

#include "core/graph/coding.h"
#include "data/formats/gguf.h"
#include "data/tokenizers/tok_gguf.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- blocks
static void blocks(void **state)
{
    (void)state;
    float x[64], y[64];
    uint8_t q[68], four[18] = { 0x00, 0x3c };
    for (int i = 0; i < 64; i++)
        x[i] = i < 32 ? (float)(i - 16) : 0;
    hs_ggml_from_f32(HS_GGML_Q8_0, x, q, 64);
    uint16_t d;
    memcpy(&d, q, 2);
    assert_int_equal(d, hs_f32_f16(16.0f / 127));
    assert_int_equal((int8_t)q[2], -127);
    assert_int_equal((int8_t)q[2 + 31], 119); // 15 * 127 / 16 = 119.06
    memcpy(&d, q + 34, 2);
    assert_int_equal(d, 0); // a block of zeros
    hs_ggml_to_f32(HS_GGML_Q8_0, q, y, 64);
    for (int i = 0; i < 64; i++)
        assert_true(fabsf(y[i] - x[i]) <= 16.0f / 127 / 2 + 16.0f / 127 * 127 / 2048);
    for (int i = 0; i < 16; i++)
        four[2 + i] = (uint8_t)(i | (15 - i) << 4); // value i of 0 to 15, and the other way round behind it
    hs_ggml_to_f32(HS_GGML_Q4_0, four, y, 32);
    for (int i = 0; i < 16; i++) {
        assert_true(y[i] == (float)(i - 8));
        assert_true(y[16 + i] == (float)(7 - i));
    }
    const uint16_t half[2] = { 0x3c00, 0xc000 };
    uint8_t odd[5];
    memcpy(odd + 1, half, 4);
    hs_ggml_to_f32(HS_GGML_F16, odd + 1, y, 2); // at an odd address
    assert_true(y[0] == 1 && y[1] == -2);
    assert_string_equal(hs_ggml_name(12), "Q4_K");
    int64_t values;
    size_t bytes;
    assert_false(hs_ggml_known(13, &values, &bytes));
    assert_null(hs_ggml_name(99));
}

// What ggml's own quantize_row_q4_K_ref makes of x (scripts/check_export.py compares where llama.cpp's package is).
static float pattern(int i) { return (float)((i * 37) % 64 + (i * i * 11) % 61 + (i * i * i) % 59 - 92) / 256; }

static const uint8_t ggml_q4_k[144] = {
    0xc5, 0x10, 0xb4, 0x1d, 0xbd, 0xff, 0xf9, 0xf9, 0xbf, 0xaf, 0xb2, 0xaf, 0x9a, 0xbb, 0x23, 0x62, 0x70, 0x15, 0x67, 0x9c, 0xc8,
    0x9a, 0x7b, 0x5b, 0x6c, 0x48, 0x4c, 0xab, 0x6f, 0x28, 0xa6, 0x5a, 0x85, 0x68, 0xdb, 0x39, 0x38, 0x7b, 0xaa, 0xc6, 0x7e, 0xfd,
    0xbc, 0x3b, 0x34, 0x0c, 0x78, 0x5e, 0xb3, 0x3d, 0xb8, 0x7b, 0x68, 0x9f, 0x99, 0x70, 0x4a, 0x8a, 0x58, 0xb6, 0x3b, 0x59, 0xb1,
    0x6a, 0x57, 0xa8, 0xe6, 0xa9, 0x7a, 0xcb, 0x5c, 0x87, 0x6a, 0x98, 0x29, 0x07, 0xc2, 0x99, 0xe8, 0x6d, 0x88, 0x3e, 0xa4, 0x2a,
    0x83, 0x7e, 0x7d, 0x22, 0x6c, 0x65, 0x3a, 0xc9, 0xbd, 0x33, 0x90, 0x7e, 0xe8, 0x2d, 0x78, 0x7f, 0x4f, 0x79, 0x09, 0x75, 0x68,
    0xd9, 0x79, 0xa9, 0x91, 0x4f, 0xac, 0x7e, 0x61, 0x03, 0x44, 0x3f, 0x63, 0x49, 0x9a, 0xa0, 0xb2, 0xc2, 0x48, 0xf5, 0x3b, 0x21,
    0x51, 0x4c, 0x99, 0x4c, 0xe2, 0x77, 0x1a, 0x54, 0xa7, 0xb2, 0x88, 0x98, 0x83, 0x4b, 0x97, 0x4a, 0x93, 0x7c,
};

static void four_bits(void **state)
{
    (void)state;
    float x[256], y[256], most = 0;
    uint8_t q[144], q0[18];
    for (int i = 0; i < 256; i++)
        x[i] = pattern(i), most = fmaxf(most, fabsf(x[i]));
    hs_ggml_from_f32(HS_GGML_Q4_K, x, q, 256);
    assert_memory_equal(q, ggml_q4_k, sizeof q);
    hs_ggml_to_f32(HS_GGML_Q4_K, q, y, 256);
    for (int i = 0; i < 256; i++)
        assert_true(fabsf(y[i] - x[i]) <= most * 2 / 15);
    for (int i = 0; i < 256; i++)
        x[i] = 0;
    hs_ggml_from_f32(HS_GGML_Q4_K, x, q, 256);
    for (int i = 0; i < 144; i++)
        assert_int_equal(q[i], 0);
    for (int i = 0; i < 32; i++)
        x[i] = (float)(i % 16 - 8) * 0.5f;
    hs_ggml_from_f32(HS_GGML_Q4_0, x, q0, 32);
    hs_ggml_to_f32(HS_GGML_Q4_0, q0, y, 32);
    assert_memory_equal(x, y, 32 * sizeof *x);
}

static void six_bits(void **state)
{
    (void)state;
    uint8_t p[210] = { 0 };
    float y[256];
    p[208] = 0x00, p[209] = 0x3c; // 1
    for (int k = 0; k < 16; k++)
        p[192 + k] = (uint8_t)(k % 2 ? -k : k);
    p[0] = 0x5a, p[128] = 0xe4; // values 0, 32, 64 and 96: low halves a (0, bits 0), 0 (bits 1), 5 (bits 2), 0 (bits 3)
    hs_ggml_to_f32(HS_GGML_Q6_K, p, y, 256);
    assert_true(y[0] == 0 * (0x0a - 32) && y[32] == 2 * (0x10 - 32) && y[64] == 4 * (0x25 - 32) && y[96] == 6 * (0x30 - 32));
    assert_true(y[16] == -1 * -32 && y[255] == -15 * -32);
}

// Blocks of ours as ggml's: the same values to the bit.
static void own_codes(void **state)
{
    (void)state;
    const uint16_t scales[2] = { hs_f32_f16(0.01f), hs_f32_f16(-0.25f) };
    uint8_t codes[64], blocks[68];
    float want[64], got[64];
    for (int i = 0; i < 64; i++)
        codes[i] = (uint8_t)(i * 41 + 7);
    for (int c = HS_CODING_I8_BLOCKS; c <= HS_CODING_I4_BLOCKS; c++) {
        hs_ggml_type type;
        assert_true(hs_ggml_of_coding((hs_coding)c, &type));
        hs_coded_values((hs_coding)c, codes, scales, 1, 64, want);
        hs_ggml_from_codes((hs_coding)c, codes, scales, blocks, 64);
        hs_ggml_to_f32(type, blocks, got, 64);
        assert_memory_equal(want, got, sizeof want);
    }
    hs_ggml_type none;
    assert_false(hs_ggml_of_coding(HS_CODING_I8, &none));
}

// ---- a file of every part
typedef struct made {
    hs_params *ps;
    hs_gguf *g;
    hs_st_source source[2];
} made;

static void small_file(made *m) // sources point into it
{
    hs_param *w, *b;
    float values[4 * 32], bias[4] = { 1, -2, 3, -4 };
    OK(hs_params_new(&m->ps, 1, 0, 1));
    OK(hs_params_get(m->ps, &(hs_param_spec){ .name = "w", .role = HS_WEIGHT, .n_dims = 2, .dim = { 4, 32 } }, &w));
    OK(hs_params_get(m->ps, &(hs_param_spec){ .name = "b", .role = HS_BIAS, .n_dims = 1, .dim = { 4 } }, &b));
    OK(hs_params_alloc(m->ps, NULL, false));
    for (int i = 0; i < HS_COUNT(values); i++)
        values[i] = (float)(i % 32 - 16) * (float)(1 + i / 32);
    OK(hs_params_import(m->ps, m->ps->master, w, values));
    OK(hs_params_import(m->ps, m->ps->master, b, bias));
    m->source[0] = (hs_st_source){ { "w", HS_F32, 2, { 4, 32 }, NULL }, w, false, 0, m->ps, false };
    m->source[1] = (hs_st_source){ { "b", HS_F32, 1, { 4 }, NULL }, b, false, 0, m->ps, false };
    OK(hs_gguf_new(&m->g));
    hs_gguf_put_text(m->g, "general.architecture", "test");
    hs_gguf_put_int(m->g, "test.count", HS_GGUF_U32, 7);
    hs_gguf_put_int(m->g, "test.below", HS_GGUF_I32, -7);
    hs_gguf_put_int(m->g, "test.long", HS_GGUF_U64, 1ll << 40);
    hs_gguf_put_int(m->g, "test.flag", HS_GGUF_BOOL, 1);
    hs_gguf_put_f32(m->g, "test.real", 0.5f);
    hs_gguf_put_i32s(m->g, "test.list", (const int32_t[]){ 3, -1, 4 }, 3);
    hs_gguf_put_texts(m->g, "test.words", (const hs_gguf_text[]){ { "a", 1 }, { "", 0 }, { "\xc3\xa9t\xc3\xa9", 5 } }, 3);
    OK(hs_gguf_add_tensor(m->g, "w8", HS_GGML_Q8_0, &m->source[0]));
    OK(hs_gguf_add_tensor(m->g, "w16", HS_GGML_F16, &m->source[0]));
    OK(hs_gguf_add_tensor(m->g, "wb", HS_GGML_BF16, &m->source[0]));
    OK(hs_gguf_add_tensor(m->g, "b", HS_GGML_F32, &m->source[1]));
}

static void free_file(made *m)
{
    hs_gguf_close(m->g);
    hs_params_free(m->ps);
}

static void round_trip(void **state)
{
    (void)state;
    made m;
    hs_gguf *g;
    hs_gguf_text text;
    int64_t v;
    double real;
    float y[128];
    small_file(&m);
    FAILS(USAGE, "rows of 4, no multiple of the 32 values in a block of Q8_0", hs_gguf_add_tensor(m.g, "b8", HS_GGML_Q8_0, &m.source[1]));
    FAILS(USAGE, "names of less than 64 bytes",
          hs_gguf_add_tensor(m.g, "a-name-that-is-much-longer-than-any-that-llama-cpp-has-a-place-for-in-it", HS_GGML_F32, &m.source[1]));
    OK(hs_gguf_write(&hs_io_system, scratch_path("small.gguf"), m.g));
    FAILS(SYSTEM, "File exists", hs_gguf_write(&hs_io_system, scratch_path("small.gguf"), m.g));
    OK(hs_gguf_open(&g, scratch_path("small.gguf")));
    assert_true(hs_gguf_string(g, "general.architecture", &text) && text.n == 4 && memcmp(text.p, "test", 4) == 0);
    assert_true(hs_gguf_int(g, "test.count", &v) && v == 7);
    assert_true(hs_gguf_int(g, "test.below", &v) && v == -7);
    assert_true(hs_gguf_int(g, "test.long", &v) && v == 1ll << 40);
    assert_true(hs_gguf_int(g, "test.flag", &v) && v == 1);
    assert_true(hs_gguf_real(g, "test.real", &real) && real == 0.5);
    assert_false(hs_gguf_int(g, "test.real", &v) || hs_gguf_real(g, "test.count", &real) || hs_gguf_int(g, "test.none", &v));
    const hs_gguf_pair *list = hs_gguf_find(g, "test.list"), *words = hs_gguf_find(g, "test.words");
    assert_true(list->n == 3 && hs_gguf_int_at(list, 1) == -1 && hs_gguf_int_at(list, 3) == 0);
    assert_true(words->n == 3 && words->texts[1].n == 0 && words->texts[2].n == 5 && memcmp(words->texts[2].p, "\xc3\xa9", 2) == 0);
    assert_int_equal(g->n_tensors, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(((const char *)g->tensor[i].data - g->file.data) % 32, 0);
    const hs_gguf_tensor *w = hs_gguf_tensor_of(g, "w16");
    assert_true(w->n_dims == 2 && w->dim[0] == 4 && w->dim[1] == 32 && w->type == HS_GGML_F16);
    for (int k = 0; k < 3; k++) {
        hs_ggml_to_f32(g->tensor[k].type, g->tensor[k].data, y, 128);
        for (int i = 0; i < 128; i++) {
            const float want = (float)(i % 32 - 16) * (float)(1 + i / 32);
            assert_true(fabsf(y[i] - want) <= (k == 0 ? 0.05f * 16 : 0)); // whole numbers of few bits are what they are
        }
    }
    hs_gguf_close(g);
    free_file(&m);
}

// ---- damage
static void damage(void **state)
{
    (void)state;
    made m;
    hs_gguf *g;
    size_t bytes;
    small_file(&m);
    OK(hs_gguf_write(&hs_io_system, scratch_path("whole.gguf"), m.g));
    free_file(&m);
    char *data = scratch_read("whole.gguf", &bytes);
    for (size_t n = 1; n + 32 < bytes; n++) { // what pads the end may be missing
        scratch_write("cut.gguf", data, n);
        assert_int_not_equal(hs_gguf_open(&g, scratch_path("cut.gguf")), HS_OK);
        assert_true(strstr(hs_error(), "cut.gguf") && !strchr(hs_error(), '\n'));
    }
    for (size_t at = 0; at < bytes; at++)
        for (int bit = 0; bit < 8; bit++) {
            data[at] = (char)(data[at] ^ 1 << bit);
            scratch_write("bit.gguf", data, bytes);
            if (hs_gguf_open(&g, scratch_path("bit.gguf")) == HS_OK)
                hs_gguf_close(g);
            data[at] = (char)(data[at] ^ 1 << bit);
        }
    const struct {
        size_t at;
        const char *bytes;
        size_t n;
        hs_status want;
        const char *part;
    } cases[] = {
        { 0, "GGML", 4, HS_CORRUPT, "is no GGUF file" },
        { 4, "\1\0\0\0", 4, HS_UNSUPPORTED, "GGUF version 1, read here are 2 and 3" },
        { 4, "\0\0\0\3", 4, HS_UNSUPPORTED, "big-endian" },
        { 8, "\xff\xff\xff\xff\xff", 5, HS_CORRUPT, "its header promises" },
        { 16, "\xff\xff\xff\xff\xff", 5, HS_CORRUPT, "its header promises" },
        { 24, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, HS_CORRUPT, "a text goes beyond" },
    };
    for (int i = 0; i < HS_COUNT(cases); i++) {
        char *copy = malloc(bytes);
        memcpy(copy, data, bytes);
        memcpy(copy + cases[i].at, cases[i].bytes, cases[i].n);
        scratch_write("bad.gguf", copy, bytes);
        expect_error(hs_gguf_open(&g, scratch_path("bad.gguf")), cases[i].want, cases[i].part, __FILE__, __LINE__);
        free(copy);
    }
    free(data);
}

// ---- tokenizers
static void same_ids(const hs_tokenizer *a, const hs_tokenizer *b, const char *text)
{
    int32_t *x, *y;
    int64_t n, k;
    OK(hs_tokenizer_encode(a, text, strlen(text), &x, &n));
    OK(hs_tokenizer_encode(b, text, strlen(text), &y, &k));
    assert_int_equal(n, k);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
}

static void tokenizers(void **state)
{
    (void)state;
    static const char *const names[] = { "bpe", "wordpiece" };
    for (int i = 0; i < HS_COUNT(names); i++) {
        char dir[512];
        hs_tokenizer *t, *back;
        hs_gguf *g, *read;
        hs_gguf_text model;
        snprintf(dir, sizeof dir, HS_TESTS_DIR "/golden/tokenizers/%s", names[i]);
        OK(hs_tokenizer_load(&t, dir));
        OK(hs_gguf_new(&g));
        OK(hs_gguf_put_tokenizer(g, t, hs_tokenizer_vocab(t) + 3)); // rows without a token
        remove(scratch_path("tok.gguf"));
        OK(hs_gguf_write(&hs_io_system, scratch_path("tok.gguf"), g));
        OK(hs_gguf_open(&read, scratch_path("tok.gguf")));
        assert_true(hs_gguf_string(read, "tokenizer.ggml.model", &model) && memcmp(model.p, i ? "bert" : "gpt2", 4) == 0);
        OK(hs_gguf_get_tokenizer(read, "tok.gguf", &back));
        assert_non_null(back);
        assert_string_equal(hs_tokenizer_kind(back), hs_tokenizer_kind(t));
        same_ids(t, back, "The quick brown fox, unaffable and 12 others; it's naïve!\n  2 spaces");
        assert_int_equal(hs_tokenizer_end(back), hs_tokenizer_end(t));
        for (int role = 0; role < HS_TOKEN_ROLES; role++)
            assert_int_equal(hs_tokenizer_role(back, (hs_token_role)role), hs_tokenizer_role(t, (hs_token_role)role));
        hs_gguf *few;
        OK(hs_gguf_new(&few));
        FAILS(UNSUPPORTED, "GGUF needs a row for every token", hs_gguf_put_tokenizer(few, t, hs_tokenizer_vocab(t) - 1));
        hs_gguf_close(few);
        hs_tokenizer_free(back);
        hs_gguf_close(read);
        hs_gguf_close(g);
        hs_tokenizer_free(t);
    }
    hs_tokenizer *t, *none;
    hs_gguf *g;
    OK(hs_gguf_new(&g));
    OK(hs_tokenizer_load(&t, HS_TESTS_DIR "/golden/tokenizers/wordpiece-cased"));
    FAILS(UNSUPPORTED, "keeps the case", hs_gguf_put_tokenizer(g, t, hs_tokenizer_vocab(t)));
    hs_tokenizer_free(t);
    OK(hs_tokenizer_char_from_text(&t, "abc", 3));
    FAILS(UNSUPPORTED, "(char) is a kind that llama.cpp does not have", hs_gguf_put_tokenizer(g, t, hs_tokenizer_vocab(t)));
    hs_tokenizer_free(t);
    hs_gguf_put_no_tokenizer(g);
    OK(hs_gguf_get_tokenizer(g, "memory", &none));
    assert_null(none);
    hs_gguf_close(g);
    OK(hs_gguf_new(&g));
    hs_gguf_put_text(g, "tokenizer.ggml.model", "llama");
    FAILS(UNSUPPORTED, "a tokenizer of type \"llama\"", hs_gguf_get_tokenizer(g, "memory", &none));
    hs_gguf_close(g);
}

// Of every tokenizer that is refused, the one thing that is wrong with it.
typedef struct keys {
    const char *model, *pre;
    hs_gguf_text token[3], merge; // merge.p NULL: the key is missing
    int n_tokens, n_types;        // n_types -1: the key is missing
    const char *special;          // its id is 9
    hs_status st;
    const char *part;
} keys;
#define TEXT(s)                                                                                                                            \
    {                                                                                                                                      \
        s, sizeof(s) - 1                                                                                                                   \
    }
#define ABC                                                                                                                                \
    {                                                                                                                                      \
        TEXT("a"), TEXT("b"), TEXT("ab")                                                                                                   \
    }

static hs_gguf *with_keys(const keys *k)
{
    static const int32_t types[] = { 1, 1, 1 };
    hs_gguf *g;
    OK(hs_gguf_new(&g));
    hs_gguf_put_text(g, "tokenizer.ggml.model", k->model);
    if (k->pre)
        hs_gguf_put_text(g, "tokenizer.ggml.pre", k->pre);
    if (k->n_tokens)
        hs_gguf_put_texts(g, "tokenizer.ggml.tokens", k->token, k->n_tokens);
    if (k->n_types >= 0)
        hs_gguf_put_i32s(g, "tokenizer.ggml.token_type", types, k->n_types);
    if (k->merge.p)
        hs_gguf_put_texts(g, "tokenizer.ggml.merges", &k->merge, 1);
    if (k->special)
        hs_gguf_put_int(g, k->special, HS_GGUF_U32, 9);
    return g;
}

static void refused_tokenizers(void **state)
{
    (void)state;
    static const keys rows[] = {
        { "llama", NULL, ABC, TEXT("a b"), 3, -1, NULL, HS_UNSUPPORTED,
          "a tokenizer of type \"llama\": read here are \"gpt2\" and \"bert\"" },
        { "gpt2", "llama-bpe", ABC, TEXT("a b"), 3, -1, NULL, HS_UNSUPPORTED, "cut as \"llama-bpe\" does before merging" },
        { "gpt2", "gpt-2", ABC, TEXT("a b"), 0, -1, NULL, HS_CORRUPT, "\"tokenizer.ggml.tokens\" is missing" },
        { "gpt2", "gpt-2", ABC, TEXT("a b"), 3, 2, NULL, HS_CORRUPT, "\"tokenizer.ggml.token_type\" has 2 numbers for 3 tokens" },
        { "gpt2", "gpt-2", ABC, { NULL, 0 }, 3, 3, NULL, HS_CORRUPT, "\"tokenizer.ggml.merges\" is missing" },
        { "gpt2", "gpt-2", ABC, TEXT("a \xff"), 3, 3, NULL, HS_CORRUPT, "merge 0 is no text of UTF-8" },
        { "gpt2", "gpt-2", { TEXT("a"), TEXT("\xc3"), TEXT("b") }, TEXT("a b"), 3, 3, NULL, HS_CORRUPT, "token 1 is no text of UTF-8" },
        { "bert", NULL, { TEXT("a"), TEXT("b\0c"), TEXT("d") }, { NULL, 0 }, 3, 3, NULL, HS_CORRUPT, "token 1 is no text of UTF-8" },
        { "bert", NULL, { TEXT("a"), TEXT("b"), TEXT("a") }, { NULL, 0 }, 3, 3, NULL, HS_CORRUPT, "token \"##a\" is there twice" },
        { "bert",
          NULL,
          ABC,
          { NULL, 0 },
          3,
          3,
          "tokenizer.ggml.mask_token_id",
          HS_CORRUPT,
          "\"tokenizer.ggml.mask_token_id\" is 9, and there are 3 tokens" },
    };
    for (int i = 0; i < HS_COUNT(rows); i++) {
        hs_gguf *g = with_keys(&rows[i]);
        hs_tokenizer *t;
        expect_error(hs_gguf_get_tokenizer(g, "memory", &t), rows[i].st, rows[i].part, __FILE__, __LINE__);
        assert_null(t);
        hs_gguf_close(g);
    }
    keys whole = rows[0];
    hs_tokenizer *t;
    whole.model = "gpt2";
    hs_gguf *g = with_keys(&whole);
    OK(hs_gguf_get_tokenizer(g, "memory", &t));
    assert_int_equal(hs_tokenizer_vocab(t), 3);
    hs_tokenizer_free(t);
    hs_gguf_close(g);
    OK(hs_tokenizer_load(&t, HS_TESTS_DIR "/golden/tokenizers/bpe-roberta"));
    OK(hs_gguf_new(&g));
    FAILS(UNSUPPORTED, "puts a space in front", hs_gguf_put_tokenizer(g, t, hs_tokenizer_vocab(t)));
    hs_tokenizer_free(t);
    hs_gguf_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(blocks),     cmocka_unit_test(four_bits),         cmocka_unit_test(six_bits),
                                        cmocka_unit_test(own_codes),  cmocka_unit_test(round_trip),        cmocka_unit_test(damage),
                                        cmocka_unit_test(tokenizers), cmocka_unit_test(refused_tokenizers) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
