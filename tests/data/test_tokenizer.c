// tokenizer: any bytes come back; ids in the promised order; saved and loaded the same; foreign files refused by name.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/tokenizers/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void round_trip(const hs_tokenizer *t, const char *text, size_t bytes)
{
    int32_t *ids;
    int64_t n;
    OK(hs_tokenizer_encode(t, text, bytes, &ids, &n));
    char *back;
    size_t back_bytes, piece_bytes, at = 0;
    OK(hs_tokenizer_decode(t, ids, n, &back, &back_bytes));
    assert_int_equal(back_bytes, bytes);
    assert_memory_equal(back, text, bytes);
    assert_int_equal(back[bytes], 0);
    for (int64_t i = 0; i < n; i++) { // the pieces in a row are the text too
        const char *piece = hs_tokenizer_piece(t, ids[i], &piece_bytes);
        assert_memory_equal(piece, text + at, piece_bytes);
        at += piece_bytes;
    }
    assert_int_equal(at, bytes);
    free(back);
    free(ids);
}

static void byte_level(void **state)
{
    (void)state;
    hs_tokenizer *t;
    OK(hs_tokenizer_byte(&t));
    assert_string_equal(hs_tokenizer_kind(t), "byte");
    assert_int_equal(hs_tokenizer_vocab(t), 256);
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    int32_t *ids;
    int64_t n;
    OK(hs_tokenizer_encode(t, all, 256, &ids, &n));
    assert_int_equal(n, 256);
    for (int i = 0; i < 256; i++)
        assert_int_equal(ids[i], i);
    free(ids);
    round_trip(t, all, 256);
    round_trip(t, "", 0);
    hs_tokenizer_free(t);
}

static void ids_are_sorted(void **state)
{
    (void)state;
    // z, an emoji, e acute, a stray lead byte, A, a stray continuation byte, NUL
    const char text[] = "z\xF0\x9F\x98\x80\xC3\xA9\xFF"
                        "A\x80\0z";
    static const char *const order[] = { "", "A", "z", "\xC3\xA9", "\xF0\x9F\x98\x80", "\x80", "\xFF" };
    hs_tokenizer *t;
    OK(hs_tokenizer_char_from_text(&t, text, sizeof text - 1));
    assert_int_equal(hs_tokenizer_vocab(t), HS_COUNT(order));
    for (int i = 0; i < HS_COUNT(order); i++) {
        size_t n;
        const char *piece = hs_tokenizer_piece(t, i, &n);
        assert_int_equal(n, i == 0 ? 1 : strlen(order[i]));
        assert_memory_equal(piece, order[i], n);
    }
    size_t n;
    assert_null(hs_tokenizer_piece(t, -1, &n));
    assert_null(hs_tokenizer_piece(t, HS_COUNT(order), &n));
    round_trip(t, text, sizeof text - 1);
    hs_tokenizer_free(t);
}

// What is no shortest-form UTF-8 is bytes: overlong forms, surrogates, beyond U+10FFFF, cut sequences.
static void invalid_utf8_is_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int bytes, vocab;
    } c[] = {
        { "\xC0\xAF", 2, 2 },         { "\xE0\x80\xAF", 3, 3 },     { "\xED\xA0\x80", 3, 3 },
        { "\xF4\x90\x80\x80", 4, 3 }, { "\xF0\x8F\xBF\xBF", 4, 3 }, { "\xC3", 1, 1 },
        { "\xE2\x82", 2, 2 },         { "\xF0\x9F\x98", 3, 3 },     { "\xC3(", 2, 2 },
        { "\xED\x9F\xBF", 3, 1 },     { "\xF4\x8F\xBF\xBF", 4, 1 }, { "\xEF\xBF\xBF", 3, 1 },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        hs_tokenizer *t;
        OK(hs_tokenizer_char_from_text(&t, c[i].text, (size_t)c[i].bytes));
        assert_int_equal(hs_tokenizer_vocab(t), c[i].vocab);
        round_trip(t, c[i].text, (size_t)c[i].bytes);
        hs_tokenizer_free(t);
    }
}

// Text that mixes valid characters of every length with noise. The same for a seed.
static size_t noise(char *buf, size_t room, uint64_t seed)
{
    static const char *const some[] = { "a", " ", "\n", "\xC3\xA9", "\xE6\x97\xA5", "\xF0\x9F\x98\x80", "\"", "\\" };
    size_t n = 0;
    for (uint64_t i = 0; n + 4 < room; i++) {
        const uint64_t r = hs_mix2(seed, i);
        if (r % 3) {
            const char *s = some[(r >> 8) % HS_COUNT(some)];
            memcpy(buf + n, s, strlen(s));
            n += strlen(s);
        } else {
            buf[n++] = (char)(r >> 32);
        }
    }
    return n;
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    char text[3000];
    for (uint64_t seed = 0; seed < 200; seed++) {
        const size_t n = noise(text, 8 + seed * 14, seed);
        hs_tokenizer *t;
        OK(hs_tokenizer_char_from_text(&t, text, n));
        round_trip(t, text, n);
        hs_tokenizer_free(t);
    }
}

static void saved_and_loaded(void **state)
{
    (void)state;
    char text[4000];
    const size_t n = noise(text, sizeof text, 99);
    text[17] = 0; // no jansson key, so it has a name of its own
    hs_tokenizer *made[3], *back;
    OK(hs_tokenizer_byte(&made[0]));
    OK(hs_tokenizer_char_from_text(&made[1], text, n));
    OK(hs_tokenizer_char_from_text(&made[2], "First Citizen:\n", 15));
    for (int i = 0; i < 3; i++) {
        OK(hs_tokenizer_save(made[i], scratch_path("")));
        OK(hs_tokenizer_load(&back, scratch_path("")));
        assert_string_equal(hs_tokenizer_kind(back), hs_tokenizer_kind(made[i]));
        assert_int_equal(hs_tokenizer_vocab(back), hs_tokenizer_vocab(made[i]));
        assert_true(hs_tokenizer_hash(back) == hs_tokenizer_hash(made[i]));
        if (i < 2)
            round_trip(back, text, n);
        for (int j = 0; j < i; j++)
            assert_true(hs_tokenizer_hash(made[j]) != hs_tokenizer_hash(made[i]));
        hs_tokenizer_free(back);
    }
    assert_int_equal(scratch_count(), 2); // tokenizer.json, tokenizer_config.json
    for (int i = 0; i < 3; i++)
        hs_tokenizer_free(made[i]);
}

static void errors(void **state)
{
    (void)state;
    hs_tokenizer *t;
    FAILS(USAGE, "the text is empty", hs_tokenizer_char_from_text(&t, "", 0));
    OK(hs_tokenizer_char_from_text(&t, "abc", 3));
    int32_t *ids;
    int64_t n;
    char *text;
    size_t bytes;
    FAILS(USAGE, "U+00E9 '\xC3\xA9' at byte offset 2 is not in the tokenizer's vocabulary of 3",
          hs_tokenizer_encode(t, "ab\xC3\xA9", 4, &ids, &n));
    FAILS(USAGE, "U+000A at byte offset 1 ", hs_tokenizer_encode(t, "a\nb", 3, &ids, &n));
    FAILS(USAGE, "byte 0xFE at byte offset 0", hs_tokenizer_encode(t, "\xFE", 1, &ids, &n));
    FAILS(USAGE, "id 3 at position 1 is outside the tokenizer's vocabulary, 0 to 2",
          hs_tokenizer_decode(t, (int32_t[]){ 0, 3 }, 2, &text, &bytes));
    FAILS(USAGE, "id -1 at position 0", hs_tokenizer_decode(t, (int32_t[]){ -1 }, 1, &text, &bytes));
    FAILS(SYSTEM, "No such file", hs_tokenizer_save(t, scratch_path("absent")));
    hs_tokenizer_free(t);
}

static void refused_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        hs_status st;
        const char *part;
    } c[] = {
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", HS_CORRUPT, "no vocabulary" },
        { "{\"model\":{\"type\":\"BPE\",\"halfstep\":\"word\"}}", HS_UNSUPPORTED,
          "of type word: not supported; this version reads byte, char, WordPiece" },
        { "{\"version\":\"1.0\"}", HS_CORRUPT, "names no tokenizer type" },
        { "[1,2]", HS_CORRUPT, "names no tokenizer type" },
        { "{\"model\":{\n\"type\":", HS_CORRUPT, "tokenizer.json:2: " },
        { "", HS_CORRUPT, "tokenizer.json:" },
        { "{\"model\":{\"halfstep\":\"char\"}}", HS_CORRUPT, "no vocabulary" },
        { "{\"model\":{\"halfstep\":\"char\",\"vocab\":{\"a\":0,\"b\":2}}}", HS_CORRUPT, "\"b\" has an id outside" },
        { "{\"model\":{\"halfstep\":\"char\",\"vocab\":{\"a\":0,\"b\":0}}}", HS_CORRUPT, "\"b\" has the id of another" },
        { "{\"model\":{\"halfstep\":\"char\",\"vocab\":{\"ab\":0}}}", HS_CORRUPT, "\"ab\" is not one character" },
        { "{\"model\":{\"halfstep\":\"char\",\"vocab\":{\"\":0}}}", HS_CORRUPT, "\"\" is not one character" },
        { "{\"model\":{\"halfstep\":\"char\",\"vocab\":{\"a\":\"0\"}}}", HS_CORRUPT, "\"a\" has an id outside" },
    };
    hs_tokenizer *t;
    for (int i = 0; i < HS_COUNT(c); i++) {
        scratch_write("tokenizer.json", c[i].text, strlen(c[i].text));
        expect_error(hs_tokenizer_load(&t, scratch_path("")), c[i].st, c[i].part, __FILE__, __LINE__);
        assert_null(t);
    }
    FAILS(USAGE, "no such file", hs_tokenizer_load(&t, scratch_path("absent")));
    remove(scratch_path("tokenizer.json"));
    mkdir(scratch_path("tokenizer.json"), 0777);
    FAILS(USAGE, "is a folder", hs_tokenizer_load(&t, scratch_path("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level),          cmocka_unit_test(ids_are_sorted),   cmocka_unit_test(invalid_utf8_is_bytes),
        cmocka_unit_test(any_bytes_come_back), cmocka_unit_test(saved_and_loaded), cmocka_unit_test(errors),
        cmocka_unit_test(refused_files),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
