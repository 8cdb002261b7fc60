// bpe: rows as Hugging Face's, from golden files; the fast way is the slow way; long parts as if merged by hand; any bytes come back.
#include "tests/support/support_tokenizers.h"

#include "core/base/rng.h"
#include "data/tokenizers/bpe.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static golden list[] = { { "bpe", "bpe" }, { "bpe-roberta", "bpe" }, { NULL, NULL } };

// Merging by the definition: the pair of lowest rank, leftmost first, one at a time.
static size_t by_definition(const hs_bpe_merges *m, int32_t *symbol, size_t n)
{
    while (true) {
        int64_t best = m->n;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (int64_t r = 0; r < best; r++)
                if (m->pair[r].left == symbol[i] && m->pair[r].right == symbol[i + 1])
                    best = r, at = i;
        if (best == m->n)
            return n;
        symbol[at] = m->made[best];
        memmove(symbol + at + 1, symbol + at + 2, (n - at - 2) * sizeof *symbol);
        n--;
    }
}

// Merges over few letters, with tokens that two merges make, and runs of one letter.
static void any_length_by_definition(void **state)
{
    (void)state;
    static const hs_bpe_pair pair[] = { { 0, 0 },   { 256, 256 }, { 0, 1 },   { 257, 0 }, { 1, 1 },
                                        { 258, 2 }, { 1, 2 },     { 0, 262 }, { 260, 1 }, { 261, 261 } };
    static const int32_t made[] = { 256, 257, 258, 259, 260, 261, 262, 261, 263, 264 };
    hs_bpe_merges m = { .n = HS_COUNT(pair) };
    m.pair = malloc(sizeof pair);
    m.made = malloc(sizeof made);
    memcpy(m.pair, pair, sizeof pair);
    memcpy(m.made, made, sizeof made);
    for (int b = 0; b < 256; b++)
        m.byte_id[b] = b;
    OK(hs_bpe_merges_index(&m));
    hs_bpe_scratch w;
    OK(hs_bpe_scratch_init(&w, &m));
    for (uint64_t seed = 0; seed < 400; seed++) {
        unsigned char s[200];
        int32_t want[200], got[200];
        const size_t bytes = 1 + hs_mix2(seed, 1000) % 200;
        for (size_t i = 0; i < bytes; i++) {
            s[i] = (unsigned char)(hs_mix2(seed, i) % (2 + seed % 3));
            want[i] = s[i];
        }
        const size_t n_want = by_definition(&m, want, bytes);
        size_t n;
        OK(hs_bpe_merge(&m, &w, s, bytes, got, &n));
        assert_int_equal(n, n_want);
        assert_memory_equal(got, want, n * sizeof *got);
    }
    hs_bpe_scratch_free(&w);
    hs_bpe_merges_free(&m);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    hs_tokenizer *t = golden_tokenizer("bpe");
    for (uint64_t seed = 0; seed < 100; seed++) {
        char text[600], *back;
        const size_t bytes = hs_mix2(seed, 7) % sizeof text;
        for (size_t i = 0; i < bytes; i++)
            text[i] = (char)(hs_mix2(seed, i) >> (seed % 2 ? 8 : 33));
        int32_t *ids;
        int64_t n;
        size_t back_bytes;
        OK(hs_tokenizer_encode(t, text, bytes, &ids, &n));
        OK(hs_tokenizer_decode(t, ids, n, &back, &back_bytes));
        assert_int_equal(back_bytes, bytes);
        assert_memory_equal(back, text, bytes);
        free(back);
        free(ids);
    }
    hs_tokenizer_free(t);
}

static void giants(void **state)
{
    (void)state;
    hs_tokenizer *t = golden_tokenizer("bpe");
    const size_t bytes = 1000000;
    char *text = malloc(bytes);
    static const char fill[] = { 'a', ' ', '\n', '\'', '!', '\xCC' };
    for (int k = 0; k < HS_COUNT(fill); k++) {
        int32_t *ids;
        int64_t n;
        char *back;
        size_t back_bytes;
        memset(text, fill[k], bytes);
        OK(hs_tokenizer_encode(t, text, bytes, &ids, &n));
        OK(hs_tokenizer_decode(t, ids, n, &back, &back_bytes));
        assert_int_equal(back_bytes, bytes);
        assert_memory_equal(back, text, bytes);
        free(back);
        free(ids);
    }
    free(text);
    hs_tokenizer_free(t);
}

static void refusals(void **state)
{
    (void)state;
    golden_refused("bpe", "normalizer", "{\"type\":\"NFC\"}", HS_UNSUPPORTED, "normalizer of type NFC");
    golden_refused("bpe", "pre_tokenizer", "{\"type\":\"Metaspace\"}", HS_UNSUPPORTED, "pre_tokenizer of type Metaspace");
    golden_refused("bpe", "pre_tokenizer.use_regex", "false", HS_UNSUPPORTED, "use_regex");
    golden_refused("bpe", "decoder", "{\"type\":\"BPEDecoder\"}", HS_UNSUPPORTED, "decoder of type BPEDecoder");
    golden_refused("bpe", "model.dropout", "0.1", HS_UNSUPPORTED, "dropout");
    golden_refused("bpe", "model.byte_fallback", "true", HS_UNSUPPORTED, "byte_fallback");
    golden_refused("bpe", "model.end_of_word_suffix", "\"</w>\"", HS_UNSUPPORTED, "end_of_word_suffix");
    golden_refused("bpe", "model.merges", "[\"a\"]", HS_CORRUPT, "merge 0 is no pair");
    golden_refused("bpe", "model.merges", "[[\"a\",\"q\"]]", HS_CORRUPT, "merge 0 has a token that is not in the vocabulary");
    golden_refused("bpe", "model.merges", "[\"t h\",\"t h\"]", HS_CORRUPT, "merge 1 is merge 0 again");
    golden_refused("bpe", "model.merges", "[\"\\u0120t he\"]", HS_CORRUPT, "merge 0 uses a token that no earlier merge makes");
    golden_refused("bpe", "model.merges", "null", HS_CORRUPT, "no merges");
    golden_refused("bpe", "model.vocab", "{\"\xE2\x96\x81\":0}", HS_UNSUPPORTED, "stands for no byte");
    hs_tokenizer *t;
    remove(scratch_path("added_tokens.json"));
    remove(scratch_path("special_tokens_map.json"));
    remove(scratch_path("tokenizer_config.json"));
    scratch_write("merges.txt", "#version: 0.2\n", 14);
    FAILS(USAGE, "vocab.json: no such file, beside merges.txt", hs_tokenizer_load(&t, scratch_path("")));
    scratch_write("vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}", 20);
    scratch_write("merges.txt", "#version: 0.2\na b\n", 18);
    OK(hs_tokenizer_load(&t, scratch_path("")));
    int32_t *ids;
    int64_t n;
    OK(hs_tokenizer_encode(t, "abba", 4, &ids, &n));
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 2);
    free(ids);
    FAILS(USAGE, "byte 0x63 at byte offset 2 is not in the tokenizer's vocabulary of 3", hs_tokenizer_encode(t, "abc", 3, &ids, &n));
    hs_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(golden_rows_test, list),
        cmocka_unit_test_prestate(golden_fast_way_test, list),
        cmocka_unit_test_prestate(golden_saved_test, list),
        cmocka_unit_test(any_length_by_definition),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(giants),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
