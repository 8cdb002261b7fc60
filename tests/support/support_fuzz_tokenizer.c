// support_fuzz_tokenizer: what reads a tokenizer's files, and encoders, on any bytes.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_tokenizer CORPUS tests/golden/fuzz/tokenizer
// The first byte says what the rest is: J tokenizer.json, V vocab.txt, M merges.txt, W vocab.json, C and G
// tokenizer_config.json beside BERT's and GPT-2's files, A added_tokens.json, S special_tokens_map.json, T a text. test_fuzz.c replays the folder.
#include "data/tokenizers/tok_files.h"
#include "data/tokenizers/tok_subword.h"
#include "tests/support/support_fuzz.h"

int hs_fuzz_tokenizer(const uint8_t *data, size_t bytes);

// Ids alone and with spans are the same ids.
static void encode(const hs_tokenizer *t, const char *text, size_t bytes)
{
    int32_t *ids;
    int64_t n;
    hs_rows rows;
    const hs_status st = hs_tokenizer_encode(t, text, bytes, &ids, &n);
    const hs_status other = hs_tokenizer_rows(t, text, bytes, NULL, 0, &(hs_row_opts){ .no_special = true }, &rows);
    must(st == other);
    if (st != HS_OK)
        return;
    must(rows.n == 1 && rows.row[0].n == n);
    must(n == 0 || memcmp(rows.row[0].id, ids, (size_t)n * sizeof *ids) == 0);
    for (int64_t i = 0; i < n; i++)
        must(ids[i] >= 0 && ids[i] < hs_tokenizer_vocab(t) && rows.row[0].bytes[i].end <= (int64_t)bytes);
    hs_rows_free(&rows);
    free(ids);
}

// What was read can be used and written.
static void use(hs_tokenizer *t)
{
    static const char text[] = "To be, or not to be: that's [MASK] \xC3\xA9t\xC3\xA9 <|endoftext|> 42";
    json_t *root = t->kind->json(t);
    must(root != NULL);
    json_decref(root);
    encode(t, text, strlen(text));
    hs_tokenizer_free(t);
}

static void read_json(const char *text, size_t bytes)
{
    static const hs_tok_kind *const kinds[] = { &hs_tok_byte, &hs_tok_char, &hs_tok_wordpiece, &hs_tok_wordpiece_google, &hs_tok_bpe };
    json_error_t e;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    hs_tokenizer *t;
    for (int i = 0; root && i < HS_COUNT(kinds); i++)
        if (kinds[i]->load(&t, "fuzz", root) == HS_OK)
            use(t);
    json_decref(root);
}

// One file of a folder is made of these bytes; the others, if it needs any, are fixed. In memory where that can be.
static void read_folder(char kind, const char *text, size_t bytes)
{
    static const struct {
        char kind;
        const char *fuzzed, *name[2], *text[2];
    } folders[] = {
        { 'V', "vocab.txt", { NULL }, { NULL } },
        { 'M', "merges.txt", { "vocab.json" }, { "{\"a\":0,\"b\":1,\"ab\":2,\"aba\":3,\"\\u0120\":4,\"\\u0120a\":5}" } },
        { 'W', "vocab.json", { "merges.txt" }, { "a b\nab a\n" } },
        { 'C', "tokenizer_config.json", { "vocab.txt" }, { "[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\nto\nbe\n##e\n" } },
        { 'G', "tokenizer_config.json", { "vocab.json", "merges.txt" }, { "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}", "a b\n" } },
        { 'A', "added_tokens.json", { "vocab.json", "merges.txt" }, { "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}", "a b\n" } },
        { 'S', "special_tokens_map.json", { "vocab.json", "merges.txt" }, { "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}", "a b\n" } },
    };
    char dir[FUZZ_FOLDER], path[3][64] = { "" };
    fuzz_folder(dir);
    int k = 0;
    while (folders[k].kind != kind)
        k++;
    fuzz_put(path[0], dir, folders[k].fuzzed, text, bytes);
    for (int i = 0; i < 2 && folders[k].name[i]; i++)
        fuzz_put(path[1 + i], dir, folders[k].name[i], folders[k].text[i], strlen(folders[k].text[i]));
    hs_tokenizer *t;
    if (hs_tokenizer_load(&t, dir) == HS_OK)
        use(t);
    for (int i = 0; i < 3; i++)
        if (path[i][0])
            unlink(path[i]);
    rmdir(dir);
}

static void read_text(const char *text, size_t bytes)
{
    static const char *const names[] = { "wordpiece", "wordpiece-cased", "wordpiece-google", "bpe", "bpe-roberta" };
    static hs_tokenizer *t[HS_COUNT(names)];
    for (int i = 0; i < HS_COUNT(names); i++) {
        char path[1024];
        snprintf(path, sizeof path, HS_TESTS_DIR "/golden/tokenizers/%s", names[i]);
        must(t[i] || hs_tokenizer_load(&t[i], path) == HS_OK);
        encode(t[i], text, bytes);
    }
}

int hs_fuzz_tokenizer(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data + 1;
    switch (bytes ? data[0] : 0) {
    case 'J':
        read_json(text, bytes - 1);
        break;
    case 'V':
    case 'M':
    case 'W':
    case 'C':
    case 'G':
    case 'A':
    case 'S':
        read_folder((char)data[0], text, bytes - 1);
        break;
    case 'T':
        read_text(text, bytes - 1);
        break;
    }
    return 0;
}

HS_FUZZ_TARGET(tokenizer)
