// token_text: what comes out is whole characters, never past what may begin a stop string, and all of it together is what one look at the
// whole text gives, however tokens cut it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "data/base/utf8.h"
#include "infer/decode/token_text.h"
#include "tests/support/support_tokenizers.h"
#include <stdlib.h>
#include <string.h>

enum { MOST = 400, STOPS = 3 };

// Pieces that random texts and stop strings are made of: characters of one to four bytes, broken ones, and what stop strings share.
static const char *const parts[] = { "a", "b", "ab", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\n", " x" };
static const char *const broken[] = { "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\x80", "\xFF", "\xED\xA0\x80" };

static void mix(char *out, uint64_t key, int n, bool sound)
{
    *out = 0;
    for (int i = 0; i < n; i++) {
        const hs_u32x4 q = hs_random(key, (uint32_t)i, 0, 0, 0);
        strcat(out, !sound && q.v[0] % 6 == 0 ? broken[q.v[1] % HS_COUNT(broken)] : parts[q.v[1] % HS_COUNT(parts)]);
    }
}

// The same by looking at all of it at once. Returns which stop string it met.
static int expected(const char *bytes, const char *const *stop, int n_stops, char *out)
{
    const size_t all = strlen(bytes);
    size_t n = 0;
    for (size_t at = 0; at < all;) {
        const unsigned char *s = (const unsigned char *)bytes + at;
        const int length = hs_utf8_length(s, all - at);
        size_t cut = 0; // of a character that ends early: one U+FFFD where the text ends within it, one for each byte elsewhere
        if (!length && s[0] >= 0xC2 && s[0] <= 0xF4) {
            const size_t want = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
            for (cut = 1; at + cut < all && cut < want && (s[cut] & 0xC0) == 0x80; cut++)
                ;
            cut = at + cut == all && cut < want ? cut : 0;
        }
        memcpy(out + n, length ? (const char *)s : "\xEF\xBF\xBD", length ? (size_t)length : 3);
        n += length ? (size_t)length : 3, at += length ? (size_t)length : cut ? cut : 1;
    }
    out[n] = 0;
    for (size_t end = 1; end <= n; end++) {
        int met = -1;
        for (int i = 0; i < n_stops; i++) {
            const size_t k = strlen(stop[i]);
            if (k <= end && !memcmp(out + end - k, stop[i], k) && (met < 0 || k > strlen(stop[met])))
                met = i;
        }
        if (met >= 0) {
            out[end - strlen(stop[met])] = 0;
            return met;
        }
    }
    return -1;
}

// What came so far ends on a character, is a beginning of `want`, and where the text goes on as a stop string, that is not in it.
static void check_piece(const char *got, size_t before, size_t n, const char *want)
{
    for (size_t at = before; at < n;) {
        const int length = hs_utf8_length((const unsigned char *)got + at, n - at);
        assert_true(length > 0);
        at += (size_t)length;
    }
    assert_true(n <= strlen(want));
    assert_memory_equal(got, want, n);
}

static void check_text(const hs_tokenizer *tok, const char *bytes, const char *const *stop, int n_stops)
{
    char want[4 * MOST], got[4 * MOST];
    const int met = expected(bytes, stop, n_stops, want);
    hs_token_text *t;
    int32_t *ids;
    int64_t n_ids;
    const char *text;
    size_t n = 0, more;
    assert_int_equal(hs_token_text_new(&t, &(hs_token_text_opts){ .tokenizer = tok, .stop = stop, .n_stops = n_stops }), HS_OK);
    assert_int_equal(hs_tokenizer_encode(tok, bytes, strlen(bytes), &ids, &n_ids), HS_OK);
    for (int64_t i = 0; i <= n_ids; i++) {
        assert_int_equal(i < n_ids ? hs_token_text_put(t, ids[i], &text, &more) : hs_token_text_end(t, &text, &more), HS_OK);
        if (more)
            memcpy(got + n, text, more);
        check_piece(got, n, n + more, want);
        n += more;
    }
    assert_int_equal(n, strlen(want));
    assert_int_equal(hs_token_text_stop(t), met);
    hs_token_text_free(t);
    free(ids);
}

static void whatever_the_cuts(void **state)
{
    (void)state;
    hs_tokenizer *of_bytes, *bpe = golden_tokenizer("bpe");
    assert_int_equal(hs_tokenizer_byte(&of_bytes), HS_OK);
    int stopped = 0;
    for (uint64_t key = 1; key <= 3000; key++) {
        char bytes[MOST], stop[STOPS][64];
        const char *stops[STOPS];
        const hs_u32x4 q = hs_random(key, 1000, 0, 0, 0);
        const int n_stops = (int)(q.v[0] % (STOPS + 1));
        mix(bytes, key, (int)(q.v[1] % 30), key % 2);
        for (int i = 0; i < n_stops; i++) {
            mix(stop[i], key + 7000 * (uint64_t)(i + 1), 1 + (int)((q.v[2] >> 8 * i) % 4), true);
            stops[i] = stop[i];
        }
        char want[4 * MOST];
        stopped += expected(bytes, stops, n_stops, want) >= 0;
        check_text(of_bytes, bytes, stops, n_stops);
        check_text(bpe, bytes, stops, n_stops);
    }
    assert_in_range(stopped, 500, 2500);
    hs_tokenizer_free(of_bytes);
    hs_tokenizer_free(bpe);
}

static void held_no_longer_than_it_may(void **state)
{
    (void)state;
    static const char *const stop[] = { "\n\n", "aab" };
    static const char tokens[] = "x\n"
                                 "y\n"
                                 "aaab";
    static const char *const shown[] = { "x", "", "\ny", "", "\n", "", "a", "", "" }; // by token
    hs_tokenizer *tok;
    hs_token_text *t;
    const char *text;
    size_t n;
    assert_int_equal(hs_tokenizer_byte(&tok), HS_OK);
    assert_int_equal(hs_token_text_new(&t, &(hs_token_text_opts){ .tokenizer = tok, .stop = stop, .n_stops = 2 }), HS_OK);
    for (size_t i = 0; i < sizeof tokens - 1; i++) {
        assert_int_equal(hs_token_text_put(t, tokens[i], &text, &n), HS_OK);
        const char *want = i < HS_COUNT(shown) ? shown[i] : "";
        assert_int_equal(n, strlen(want));
        assert_true(!n || !memcmp(text, want, n));
    }
    assert_int_equal(hs_token_text_stop(t), 1);
    assert_int_equal(hs_token_text_put(t, 'z', &text, &n), HS_OK);
    assert_int_equal(n, 0);
    assert_int_equal(hs_token_text_end(t, &text, &n), HS_OK);
    assert_int_equal(n, 0);
    hs_token_text_free(t);
    assert_int_equal(hs_token_text_new(&t, &(hs_token_text_opts){ .tokenizer = tok, .stop = (const char *[]){ "a", "" }, .n_stops = 2 }),
                     HS_USAGE);
    assert_string_equal(hs_error(), "stop string 2 is empty");
    assert_null(t);
    hs_tokenizer_free(tok);
}

// Kinds that write a space between tokens: none at the beginning of a text, one behind what was there.
static void at_the_beginning(void **state)
{
    (void)state;
    hs_tokenizer *tok = golden_tokenizer("wordpiece");
    int32_t *ids;
    int64_t n_ids;
    assert_int_equal(hs_tokenizer_encode(tok, "the", 3, &ids, &n_ids), HS_OK);
    assert_true(n_ids >= 1);
    for (int behind = 0; behind < 2; behind++) {
        hs_token_text *t;
        const char *text;
        size_t n;
        assert_int_equal(hs_token_text_new(&t, &(hs_token_text_opts){ .tokenizer = tok, .behind = behind }), HS_OK);
        assert_int_equal(hs_token_text_put(t, ids[0], &text, &n), HS_OK);
        assert_true(n > 0);
        assert_int_equal(text[0] == ' ', behind);
        assert_int_equal(hs_token_text_put(t, 1 << 30, &text, &n), HS_OK); // no token has that id
        assert_true(n == 3 && !memcmp(text, "\xEF\xBF\xBD", 3));
        hs_token_text_free(t);
    }
    free(ids);
    hs_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(whatever_the_cuts), cmocka_unit_test(held_no_longer_than_it_may),
                                        cmocka_unit_test(at_the_beginning) };
    return cmocka_run_group_tests_name("token_text", tests, NULL, NULL);
}
