// formats: Megatron's and llm.c's files come back as written, damaged ones are refused; any format streams into any other; rows made for
// BERT follow their rules.
#include "tests/support/support_files.h"
#include "tests/support/support_shards.h"

#include "core/base/rng.h"
#include "data/base/file.h"
#include "data/formats/llmc.h"
#include "data/formats/megatron.h"
#include "data/text/pair_make.h"
#include "data/text/store_writer.h"
#include "data/text/token_file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- a text: documents of sentences, some documents empty

enum { DOCUMENTS = 40 };
static int n_sentences(int d) { return d % 7 == 3 ? 0 : 1 + (int)(hs_mix((uint64_t)d) % 9); }
static int n_tokens(int d, int s) { return 1 + (int)(hs_mix2((uint64_t)d, (uint64_t)s) % 40); }
static int32_t token(int d, int s, int t, int64_t vocab)
{
    return (int32_t)(2 + hs_mix2(hs_mix2((uint64_t)d, (uint64_t)s), (uint64_t)t) % (uint64_t)(vocab - 2));
}

static void put_text(hs_token_sink to, int64_t vocab)
{
    for (int d = 0; d < DOCUMENTS; d++) {
        for (int s = 0; s < n_sentences(d); s++) {
            int32_t ids[64];
            for (int t = 0; t < n_tokens(d, s); t++)
                ids[t] = token(d, s, t, vocab);
            OK(to.ids(to.ctx, ids, n_tokens(d, s)));
            OK(to.sentence(to.ctx));
        }
        OK(to.document(to.ctx));
    }
}

static void write_text(const char *path, hs_token_format format, int64_t vocab, bool sentences)
{
    hs_token_out *w;
    OK(hs_token_out_open(
        &w, path,
        &(hs_token_out_opts){ .format = format, .vocab = vocab, .document_token = 1, .tokenizer_hash = 5, .sentences = sentences }));
    put_text(hs_token_out_sink(w), vocab);
    OK(hs_token_out_commit(w));
}

// Compares a stream with the text.
typedef struct reader {
    int64_t vocab;
    int document, sentence, token, ended; // ended: sentences told
} reader;

static hs_status on_ids(void *ctx, const int32_t *ids, int64_t n)
{
    reader *r = ctx;
    for (int64_t i = 0; i < n; i++) {
        if (r->token == n_tokens(r->document, r->sentence))
            r->sentence++, r->token = 0;
        assert_int_equal(ids[i], token(r->document, r->sentence, r->token++, r->vocab));
    }
    return HS_OK;
}
static hs_status on_sentence(void *ctx)
{
    reader *r = ctx;
    assert_int_equal(r->token, n_tokens(r->document, r->sentence));
    r->ended++;
    return HS_OK;
}
static hs_status on_document(void *ctx)
{
    reader *r = ctx;
    assert_int_equal(r->sentence, n_sentences(r->document) ? n_sentences(r->document) - 1 : 0);
    r->document++, r->sentence = r->token = 0;
    return HS_OK;
}

static void same_text(const char *path, hs_token_format format, int64_t vocab, bool sentences)
{
    hs_token_file *f;
    reader r = { .vocab = vocab };
    int all = 0;
    OK(hs_token_file_open(&f, path, &(hs_token_file_opts){ .vocab = vocab, .document_token = 1 }));
    assert_int_equal(hs_token_file_info_of(f).format, format);
    OK(hs_token_file_stream(f, true, &(hs_token_sink){ &r, on_ids, on_sentence, on_document }));
    assert_int_equal(r.document, DOCUMENTS);
    for (int d = 0; d < DOCUMENTS; d++)
        all += n_sentences(d);
    assert_int_equal(r.ended, sentences ? all : 0);
    hs_token_file_close(f);
}

static void every_format(void **state)
{
    (void)state;
    static const struct {
        hs_token_format format;
        const char *name;
    } cases[] = { { HS_TOKENS_STORE, "a.tokens" }, { HS_TOKENS_MEGATRON, "a.bin" }, { HS_TOKENS_LLMC, "a.llmc" } };
    static const int64_t vocabs[] = { 300, 65499, 65500, 200000 };
    for (int i = 0; i < HS_COUNT(cases); i++)
        for (int v = 0; v < HS_COUNT(vocabs); v++) {
            const bool sentences = cases[i].format != HS_TOKENS_LLMC;
            write_text(scratch_path(cases[i].name), cases[i].format, vocabs[v], sentences);
            same_text(scratch_path(cases[i].name), cases[i].format, vocabs[v], sentences);
        }
    hs_token_file *f;
    const hs_token_file_opts o = { .vocab = 100, .document_token = -1 };
    FAILS(USAGE, "has a vocabulary of 200000, not of 100", hs_token_file_open(&f, scratch_path("a.tokens"), &o));
    scratch_write("x", "what is this", 12);
    FAILS(CORRUPT, "x is no token store, HDF5 shard, Megatron index or llm.c file", hs_token_file_open(&f, scratch_path("x"), &o));
    FAILS(USAGE, "no such file", hs_token_file_open(&f, scratch_path("absent"), &o));
    OK(hs_token_file_open(&f, scratch_path("a.llmc"), &o));
    reader r = { .vocab = 200000 };
    FAILS(CORRUPT, "is outside the vocabulary of 100",
          hs_token_file_stream(f, false, &(hs_token_sink){ &r, on_ids, on_sentence, on_document }));
    hs_token_file_close(f);
}

// ---- damage

static void index_says(const char *part, hs_status st, const char *good, size_t n, size_t at, int64_t value, size_t bytes)
{
    char *bad = malloc(n);
    hs_megatron *m;
    memcpy(bad, good, n);
    memcpy(bad + at, &value, bytes);
    scratch_write("m.idx", bad, n);
    free(bad);
    expect_error(hs_megatron_open(&m, scratch_path("m.idx")), st, part, __FILE__, __LINE__);
}

static void damaged_megatron(void **state)
{
    (void)state;
    size_t n, n_bin;
    hs_megatron *m;
    write_text(scratch_path("m"), HS_TOKENS_MEGATRON, 300, true);
    char *idx = scratch_read("m.idx", &n), *bin = scratch_read("m.bin", &n_bin);
    int64_t sequences;
    memcpy(&sequences, idx + 18, 8);
    const size_t pointers = 34 + 4 * (size_t)sequences, boundaries = pointers + 8 * (size_t)sequences;
    index_says("does not begin with MMIDIDX", HS_CORRUPT, idx, n, 0, 0, 1);
    index_says("version 2", HS_UNSUPPORTED, idx, n, 9, 2, 8);
    index_says("type code 7, float32", HS_CORRUPT, idx, n, 17, 7, 1);
    index_says("type code 200", HS_CORRUPT, idx, n, 17, 200, 1);
    index_says("do not fit", HS_CORRUPT, idx, n, 18, INT64_MAX, 8);
    index_says("do not fit", HS_CORRUPT, idx, n, 26, -1, 8);
    index_says("its header promises", HS_CORRUPT, idx, n, 18, sequences - 1, 8);
    index_says("sequence 1 has -5 tokens", HS_CORRUPT, idx, n, 38, -5, 4);
    index_says("sequence 1 begins at byte 0, inside what ends at", HS_CORRUPT, idx, n, pointers + 8, 0, 8);
    index_says("m.bin: ", HS_CORRUPT, idx, n, pointers + 8 * (size_t)(sequences - 1), INT64_MAX, 8);
    index_says("document boundary 0 is 1, allowed 0 to 0", HS_CORRUPT, idx, n, boundaries, 1, 8);
    index_says("document boundary 2 is -1", HS_CORRUPT, idx, n, boundaries + 16, -1, 8);
    index_says("documents end at sequence", HS_CORRUPT, idx, n, n - 8, sequences - 1, 8);
    for (size_t cut = 1; cut < n; cut += 37) {
        scratch_write("m.idx", idx, cut);
        assert_int_equal(hs_megatron_open(&m, scratch_path("m.idx")), HS_CORRUPT);
    }
    scratch_write("m.idx", idx, n);
    scratch_write("m.bin", bin, n_bin - 1);
    FAILS(CORRUPT, "m.bin: ", hs_megatron_open(&m, scratch_path("m")));
    assert_non_null(strstr(hs_error(), ": truncated"));
    free(idx);
    free(bin);
    FAILS(USAGE, "no tokens to write",
          (hs_megatron_create((hs_megatron_out **)&m, scratch_path("e"), 10), hs_megatron_commit((hs_megatron_out *)m)));
}

static void damaged_llmc(void **state)
{
    (void)state;
    size_t n;
    hs_llmc *m;
    hs_llmc_out *w;
    write_text(scratch_path("l"), HS_TOKENS_LLMC, 300, false);
    char *good = scratch_read("l", &n);
    scratch_write("l", good, n - 1);
    FAILS(CORRUPT, ": truncated", hs_llmc_open(&m, scratch_path("l")));
    scratch_write("l", good, 6);
    FAILS(UNSUPPORTED, "version 0", (good[4] = 0, scratch_write("l", good, n), hs_llmc_open(&m, scratch_path("l"))));
    good[0]++;
    scratch_write("l", good, n);
    FAILS(CORRUPT, "is no token file of llm.c (magic ", hs_llmc_open(&m, scratch_path("l")));
    free(good);
    OK(hs_llmc_create(&w, scratch_path("l"), 10));
    FAILS(USAGE, "token 2: id 10 is outside", hs_llmc_ids(w, (int32_t[]){ 1, 2, 10 }, 3));
    FAILS(USAGE, "no tokens to write", hs_llmc_commit(w));
}

// ---- rows for BERT

enum { VOCAB = 300, CLS = 297, SEP = 298, MASK = 299, LENGTH = 48, LABELS = 7 };

// The place of a text in the store, -1: nowhere.
static int64_t find(const int32_t *all, int64_t n, const int32_t *part, int64_t k)
{
    for (int64_t i = 0; i + k <= n; i++)
        if (memcmp(all + i, part, (size_t)k * sizeof *part) == 0)
            return i;
    return -1;
}

static void check_row(const hs_pair_rows *r, int64_t i, const int32_t *all, int64_t n, int64_t *masks, int64_t *kept, int64_t *labels)
{
    const int64_t tokens = hs_pair_row_tokens(r, i), k = hs_pair_row_labels(r, i);
    int32_t *ids = r->ids + i * LENGTH;
    const double want = rint(0.15 * (double)tokens);
    assert_int_equal(k, want < 1 ? 1 : want > LABELS ? LABELS : want);
    for (int64_t j = 0; j < k; j++) {
        const int32_t at = r->positions[i * LABELS + j], label = r->labels[i * LABELS + j];
        *masks += ids[at] == MASK, *kept += ids[at] == label, *labels += 1;
        assert_true(label < CLS); // no special token is ever predicted
        ids[at] = label;
    }
    int64_t b = 1;
    while (r->segments[i * LENGTH + b] == 0)
        b++;
    assert_int_equal(ids[0], CLS);
    assert_int_equal(ids[b - 1], SEP);
    assert_int_equal(ids[tokens - 1], SEP);
    const int64_t at_a = find(all, n, ids + 1, b - 2), at_b = find(all, n, ids + b, tokens - 1 - b);
    assert_true(b > 2 && tokens - 1 > b && at_a >= 0 && at_b >= 0);
}

static void rows_for_bert(void **state)
{
    (void)state;
    for (int sentences = 0; sentences < 2; sentences++) {
        hs_token_store *s;
        hs_pair_plan *p, *again;
        write_text(scratch_path("s"), HS_TOKENS_STORE, CLS, sentences);
        OK(hs_token_store_open(&s, scratch_path("s")));
        const int64_t n = hs_token_store_info_of(s).n_tokens;
        int32_t *all = malloc((size_t)n * sizeof *all);
        hs_token_store_read(s, 0, n, all);
        hs_pair_make_opts o = { .store = s,
                                .length = LENGTH,
                                .predictions = LABELS,
                                .copies = 6,
                                .cut = 10,
                                .mask_share = 0.15,
                                .short_share = 0.1,
                                .seed = 4,
                                .cls = 5,
                                .sep = 6,
                                .mask = 7 };
        o.mask = CLS; // one beyond
        FAILS(USAGE, "outside the vocabulary of 297", hs_pair_plan_new(&p, &o));
        hs_token_store_close(s);
        // The same ids over a vocabulary that has the special tokens.
        hs_token_out *w;
        OK(hs_token_out_open(&w, scratch_path("s"),
                             &(hs_token_out_opts){ .format = HS_TOKENS_STORE, .vocab = VOCAB, .sentences = sentences }));
        put_text(hs_token_out_sink(w), CLS);
        OK(hs_token_out_commit(w));
        OK(hs_token_store_open(&s, scratch_path("s")));
        o.store = s, o.cls = CLS, o.sep = SEP, o.mask = MASK;
        FAILS(USAGE, "rows of 7 tokens", (o.length = 7, hs_pair_plan_new(&p, &o)));
        o.length = LENGTH;
        OK(hs_pair_plan_new(&p, &o));
        OK(hs_pair_plan_new(&again, &o));
        const int64_t rows = hs_pair_plan_rows(p);
        assert_true(rows > 6 * n / LENGTH && rows == hs_pair_plan_rows(again));
        hs_pair_rows a, b;
        OK(hs_pair_rows_alloc(&a, rows, LENGTH, LABELS, 1));
        OK(hs_pair_rows_alloc(&b, 1, LENGTH, LABELS, 1));
        hs_pair_plan_fill(p, 0, &a);
        OK(hs_pair_rows_check(&a, "rows", 0, VOCAB));
        hs_pair_plan_fill(again, rows - 1, &b); // a row is a function of its index
        same_row(&a, rows - 1, &b, 0);
        int64_t masks = 0, kept = 0, labels = 0, random = 0;
        for (int64_t i = 0; i < rows; i++) {
            random += a.next[i];
            check_row(&a, i, all, n, &masks, &kept, &labels);
        }
        assert_true(fabs((double)masks / (double)labels - 0.8) < 0.04 && fabs((double)kept / (double)labels - 0.1) < 0.03);
        assert_true(random > rows * 4 / 10 && random < rows * 8 / 10);
        hs_pair_rows_free(&a);
        hs_pair_rows_free(&b);
        hs_pair_plan_free(p);
        hs_pair_plan_free(again);
        hs_token_store_close(s);
        free(all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format),
        cmocka_unit_test(damaged_megatron),
        cmocka_unit_test(damaged_llmc),
        cmocka_unit_test(rows_for_bert),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
