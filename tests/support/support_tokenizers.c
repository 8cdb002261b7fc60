// support_tokenizers: golden rows compared field by field, saving and reading again, and random text the slow way against the fast.
#include "tests/support/support_tokenizers.h"

#include "core/base/rng.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *golden_file(const char *name, const char *file)
{
    static char path[1024];
    snprintf(path, sizeof path, HS_TESTS_DIR "/golden/tokenizers/%s%s%s", name, file[0] ? "/" : "", file);
    return path;
}

hs_tokenizer *golden_tokenizer(const char *name)
{
    hs_tokenizer *t;
    OK(hs_tokenizer_load(&t, golden_file(name, "")));
    return t;
}

static int number(const json_t *object, const char *key) { return (int)json_integer_value(json_object_get(object, key)); }

// A golden row is [ids, types, spans in characters, words, sequences, special, attention].
static void same_row(const hs_row *r, const json_t *want, const char *where)
{
    const int64_t n = (int64_t)json_array_size(json_array_get(want, 0));
    if (r->n != n)
        fail_msg("%s: %d ids, wanted %d", where, (int)r->n, (int)n);
    for (int64_t i = 0; i < n; i++) {
        const json_t *span = json_array_get(json_array_get(want, 2), (size_t)i);
        const int64_t got[] = { r->id[i],      r->type[i],   r->word[i],        r->sequence[i],
                                r->special[i], r->attend[i], r->chars[i].start, r->chars[i].end };
        static const size_t column[] = { 0, 1, 3, 4, 5, 6 };
        for (int k = 0; k < 8; k++) {
            const json_t *v = k < 6 ? json_array_get(json_array_get(want, column[k]), (size_t)i) : json_array_get(span, (size_t)k - 6);
            if (got[k] != json_integer_value(v))
                fail_msg("%s: id %d, fact %d: %d, wanted %d", where, (int)i, k, (int)got[k], (int)json_integer_value(v));
        }
    }
}

static void is_first_row(const hs_row *r, const hs_row *of)
{
    assert_int_equal(r->n, of->n);
    for (int64_t i = 0; i < r->n; i++) {
        assert_int_equal(r->id[i], of->id[i]);
        assert_int_equal(r->type[i], of->type[i]);
        assert_int_equal(r->word[i], of->word[i]);
        assert_memory_equal(&r->chars[i], &of->chars[i], sizeof r->chars[i]);
    }
}

// Who wants one row gets that of all of them, though the text was not read to its end.
static void first_alone(const hs_tokenizer *t, const char *s, size_t bytes, const char *pair, size_t pair_bytes, hs_row_opts o)
{
    hs_rows all, one;
    o.stride = 0;
    o.pad = o.pad == HS_PAD_LONGEST ? HS_PAD_NONE : o.pad;
    OK(hs_tokenizer_rows(t, s, bytes, pair, pair_bytes, &o, &all));
    o.overflow = HS_OVERFLOW_DROP;
    OK(hs_tokenizer_rows(t, s, bytes, pair, pair_bytes, &o, &one));
    assert_int_equal(one.n, 1);
    is_first_row(&one.row[0], &all.row[0]);
    assert_int_equal(one.more, all.n > 1);
    hs_rows_free(&one);
    o.overflow = HS_OVERFLOW_REFUSE;
    OK(hs_tokenizer_rows(t, s, bytes, pair, pair_bytes, &o, &one));
    assert_int_equal(one.more, all.n > 1);
    assert_int_equal(one.n, all.n == 1);
    if (one.n)
        is_first_row(&one.row[0], &all.row[0]);
    hs_rows_free(&one);
    hs_rows_free(&all);
}

static void one_case(const hs_tokenizer *t, const json_t *c, const char *where)
{
    const json_t *text = json_object_get(c, "text"), *pair = json_object_get(c, "pair"), *o = json_object_get(c, "options");
    const json_t *want = json_object_get(c, "rows"), *ids = json_object_get(c, "ids");
    const char *s = json_string_value(text);
    if (ids) {
        int32_t *got;
        int64_t n;
        OK(hs_tokenizer_encode(t, s, json_string_length(text), &got, &n));
        assert_int_equal(n, json_array_size(ids));
        for (int64_t i = 0; i < n; i++)
            assert_int_equal(got[i], json_integer_value(json_array_get(ids, (size_t)i)));
        free(got);
        return;
    }
    const hs_row_opts opts = { .max_length = number(o, "max_length"),
                               .stride = number(o, "stride"),
                               .truncate_left = json_is_true(json_object_get(o, "truncate_left")),
                               .pad = (hs_pad)number(o, "pad"),
                               .pad_length = number(o, "pad_length") };
    hs_rows rows;
    OK(hs_tokenizer_rows(t, s, json_string_length(text), json_string_value(pair), pair ? json_string_length(pair) : 0, &opts, &rows));
    assert_int_equal(rows.n, number(c, "n_rows"));
    for (size_t i = 0; i < json_array_size(want); i++) {
        char at[160];
        snprintf(at, sizeof at, "%s, row %zu", where, i);
        same_row(&rows.row[i], json_array_get(want, i), at);
    }
    hs_rows_free(&rows);
    first_alone(t, s, json_string_length(text), json_string_value(pair), pair ? json_string_length(pair) : 0, opts);
}

static json_t *load_json(const char *name, const char *file)
{
    json_error_t e;
    json_t *j = json_load_file(golden_file(name, file), JSON_ALLOW_NUL, &e);
    if (!j)
        fail_msg("%s: %s", golden_file(name, file), e.text);
    return j;
}

void golden_cases(const hs_tokenizer *t, const char *name)
{
    json_t *cases = load_json(name, "cases.json"), *c;
    size_t i;
    assert_true(json_array_size(cases) > 50);
    json_array_foreach(cases, i, c)
    {
        char where[64];
        snprintf(where, sizeof where, "%s case %zu", name, i);
        one_case(t, c, where);
    }
    json_decref(cases);
}

void golden_saved(const hs_tokenizer *t)
{
    hs_tokenizer *back;
    OK(hs_tokenizer_save(t, scratch_path("")));
    OK(hs_tokenizer_load(&back, scratch_path("")));
    assert_string_equal(hs_tokenizer_kind(back), hs_tokenizer_kind(t));
    assert_int_equal(hs_tokenizer_vocab(back), hs_tokenizer_vocab(t));
    assert_true(hs_tokenizer_hash(back) == hs_tokenizer_hash(t));
    hs_tokenizer_free(back);
    remove(scratch_path("tokenizer.json")); // the older form alone: the same tokens, though not the same added ones
    if (strcmp(hs_tokenizer_kind(t), "wordpiece-google") == 0)
        OK(hs_tokenizer_load_google(&back, scratch_path("")));
    else
        OK(hs_tokenizer_load(&back, scratch_path("")));
    for (int32_t id = 0; id < hs_tokenizer_vocab(back); id++) {
        size_t a, b;
        const char *x = hs_tokenizer_piece(t, id, &a), *y = hs_tokenizer_piece(back, id, &b);
        assert_int_equal(a, b);
        assert_memory_equal(x, y, a);
    }
    hs_tokenizer_free(back);
    remove(scratch_path("vocab.txt"));
    remove(scratch_path("merges.txt"));
    remove(scratch_path("vocab.json"));
}

static char *random_text(size_t bytes, uint64_t seed)
{
    static const char *const some[] = { "the",
                                        "The",
                                        "hello",
                                        " ",
                                        " ",
                                        " ",
                                        "  ",
                                        "\n",
                                        "'s",
                                        "'ll",
                                        "'",
                                        "don't",
                                        ",",
                                        "...",
                                        "1",
                                        "2024",
                                        "x9",
                                        "\t",
                                        "\r\n",
                                        "\v",
                                        "\x01",
                                        "\xC3\xA9",
                                        "\xCE\xA3",
                                        "\xCE\x91",
                                        "\xE6\xB0\xB4",
                                        "\xCC\x81",
                                        "\xC2\xA0",
                                        "\xE3\x80\x80",
                                        "antidisestablishmentarianism",
                                        "\xF0\x9F\x98\x80",
                                        "\xFF",
                                        "\xE3\x80\xAE",
                                        "[MASK]" };
    char *text = malloc(bytes + 64);
    size_t n = 0;
    for (uint64_t i = 0; n < bytes; i++) {
        const uint64_t r = hs_mix2(seed, i);
        // long stretches of ASCII, so that blocks are filled, with something else now and then
        const char *s = r % 8 ? some[(r >> 8) % 17] : some[(r >> 8) % HS_COUNT(some)];
        memcpy(text + n, s, strlen(s));
        n += strlen(s);
    }
    text[bytes] = 0;
    return text;
}

static void some_are_first(const hs_tokenizer *t, const char *text, size_t bytes, const int32_t *ids, int64_t n)
{
    enum { LONGEST_WORD = 4096 };
    for (int64_t most = 1; most < 2 * n + 8; most = 3 * most + 1) {
        int32_t *some;
        int64_t k;
        OK(hs_tokenizer_encode_most(t, text, bytes, most, &some, &k));
        assert_in_range(k, most < n ? most + 1 : n, most + LONGEST_WORD < n ? most + LONGEST_WORD : n);
        assert_memory_equal(some, ids, (size_t)k * sizeof *ids);
        free(some);
        assert_true(n > most || !hs_tokenizer_exceeds(t, bytes, most));
    }
    // a bound is known of bytes that all stand for ids, and only of those
    const bool tiles = strcmp(hs_tokenizer_kind(t), "bpe") == 0 && hs_tokenizer_role(t, HS_TOKEN_MASK) < 0; // which takes blanks along
    assert_int_equal(hs_tokenizer_exceeds(t, (size_t)1 << 40, 1), tiles);
    for (int64_t length = 8; length < 12; length++)
        for (size_t k = 1; k <= 4; k++) {
            const size_t second = bytes * k / 5;
            const hs_row_opts o = { .max_length = length, .truncate_left = k == 4 };
            first_alone(t, text, bytes - second, text + bytes - second, second, o);
            first_alone(t, text, second, NULL, 0, o);
        }
}

void fast_is_slow(const hs_tokenizer *t, size_t bytes, uint64_t seed)
{
    char *text = random_text(bytes, seed);
    int32_t *ids;
    int64_t n;
    hs_rows rows;
    OK(hs_tokenizer_encode(t, text, bytes, &ids, &n));
    OK(hs_tokenizer_rows(t, text, bytes, NULL, 0, &(hs_row_opts){ .no_special = true }, &rows));
    assert_int_equal(rows.n, 1);
    const hs_row *r = rows.row;
    assert_int_equal(n, r->n);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(ids[i], r->id[i]);
        assert_true(r->bytes[i].start <= r->bytes[i].end && r->bytes[i].end <= (int64_t)bytes);
        assert_true(r->chars[i].start <= r->chars[i].end && r->chars[i].end <= r->bytes[i].end);
        assert_true(i == 0 || r->word[i] == r->word[i - 1] || r->word[i] == r->word[i - 1] + 1);
    }
    hs_rows_free(&rows);
    if (bytes < 2000)
        some_are_first(t, text, bytes, ids, n);
    free(ids);
    free(text);
}

void golden_refused(const char *name, const char *member, const char *json, hs_status want, const char *part)
{
    json_t *root = load_json(name, "tokenizer.json"), *at = root;
    char path[128], *rest = path, *key;
    snprintf(path, sizeof path, "%s", member);
    while ((key = strsep(&rest, ".")) && rest)
        at = json_object_get(at, key);
    json_object_set_new(at, key, json_loads(json, JSON_DECODE_ANY, NULL));
    char *text = json_dumps(root, 0);
    scratch_write("tokenizer.json", text, strlen(text));
    free(text);
    json_decref(root);
    hs_tokenizer *t;
    expect_error(hs_tokenizer_load(&t, scratch_path("")), want, part, member, 0);
    assert_null(t);
    remove(scratch_path("tokenizer.json"));
}

static void each(const golden *list, void (*test)(hs_tokenizer *t, const golden *g))
{
    for (; list->name; list++) {
        hs_tokenizer *t = golden_tokenizer(list->name);
        test(t, list);
        hs_tokenizer_free(t);
    }
}

static void rows(hs_tokenizer *t, const golden *g)
{
    assert_string_equal(hs_tokenizer_kind(t), g->kind);
    golden_cases(t, g->name);
    golden_cases(t, g->name); // from the cache
}

static void fast_way(hs_tokenizer *t, const golden *g)
{
    (void)g;
    for (uint64_t seed = 0; seed < 60; seed++)
        fast_is_slow(t, 40 + (size_t)seed * 37, seed);
    fast_is_slow(t, 200000, 99);
}

static void saved(hs_tokenizer *t, const golden *g)
{
    (void)g;
    golden_saved(t);
}

void golden_rows_test(void **list) { each(*list, rows); }
void golden_fast_way_test(void **list) { each(*list, fast_way); }
void golden_saved_test(void **list) { each(*list, saved); }
