// masked: every objective against its definition, counted; no token lost or doubled in an epoch; a sample is its address's alone, at any
// number of ranks; what cannot be is refused by name.
#include "tests/support/support_masked.h"

#include "core/base/rng.h"
#include "data/batches/loader.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 64, MILLION = 1000000 };
static const hs_objective next_sentence = { HS_SEGMENTS_NEXT, HS_MASK_TOKEN, 0.15, 0.8, 0.1, 1, 0, 0 };
static const hs_objective sentence_order = { HS_SEGMENTS_ORDER, HS_MASK_TOKEN, 0.15, 0.8, 0.1, 1, 0, 0 };
static const hs_objective full_sentences = { HS_SEGMENTS_FULL, HS_MASK_TOKEN, 0.15, 0.8, 0.1, 1, 0, 0 };

static void near(double got, double want, double trials) // five standard deviations of a share
{
    assert_true(fabs(got / trials - want) < 5 * sqrt(want * (1 - want) / trials) + 1e-12);
}

static int64_t document_of(const hs_token_store *s, int32_t id) { return hs_token_store_document_at(s, id - FIRST_ID); }

// [first, end) of the text in s->ids[from, to): consecutive, of one document.
static void one_run(const hs_token_store *store, const sequence *s, int64_t from, int64_t to, int64_t *first, int64_t *end)
{
    assert_true(to > from && s->ids[from] >= FIRST_ID);
    for (int64_t i = from; i < to; i++)
        assert_int_equal(s->ids[i], s->ids[from] + (int32_t)(i - from));
    *first = s->ids[from] - FIRST_ID, *end = *first + to - from;
    assert_int_equal(document_of(store, s->ids[from]), document_of(store, s->ids[to - 1]));
}

typedef struct pair_text {
    int64_t a, a_end, b, b_end;
} pair_text;

// [CLS] A [SEP] B [SEP], with types.
static pair_text read_pair(const hs_token_store *store, const sequence *s)
{
    pair_text p;
    int64_t sep = 1;
    while (s->ids[sep] != SEP)
        sep++;
    assert_int_equal(s->ids[0], CLS);
    assert_int_equal(s->ids[s->n - 1], SEP);
    for (int64_t i = 0; i < s->n; i++)
        assert_int_equal(s->types[i], i > sep);
    one_run(store, s, 1, sep, &p.a, &p.a_end);
    one_run(store, s, sep + 1, s->n - 1, &p.b, &p.b_end);
    return p;
}

typedef struct counted {
    hs_source *source;
    hs_batch b;
    uint64_t next;
} counted;

static counted open_counted(const hs_masked_opts *o)
{
    counted c = { 0 };
    OK(hs_masked_new(&c.source, o));
    OK(hs_source_batch(c.source, AT_ONCE, &c.b));
    return c;
}

static void close_counted(counted *c)
{
    hs_batch_free(&c->b);
    hs_source_free(c->source);
}

// The next samples, up to `end`; how many.
static int64_t more(counted *c, uint64_t end)
{
    const int64_t n = end - c->next < AT_ONCE ? (int64_t)(end - c->next) : AT_ONCE;
    OK(hs_source_fill(c->source, &c->b, c->next, n));
    c->next += (uint64_t)n;
    return n;
}

// Sentences that fill samples exactly, so that nothing is cut: each token of an epoch stands in one sample's own text, but those of
// documents of a single one.
static void next_loses_and_doubles_nothing(void **state)
{
    (void)state;
    for (int table = 0; table < 2; table++) {
        hs_token_store *store = counting_store("exact.bin", 300, 40, 4, 4, 11, table);
        const hs_text_part part = whole(store);
        hs_masked_opts o = masked_opts(&part, &next_sentence, 1, 35);
        o.sentence = 4;
        counted c = open_counted(&o);
        const int64_t tokens = hs_token_store_info_of(store).n_tokens, samples = c.source->n_samples;
        int64_t other_epoch = 0;
        for (int epoch = 0; epoch < 3; epoch++) {
            uint8_t *seen = calloc((size_t)tokens, 1);
            int64_t random = 0;
            for (int64_t n; (n = more(&c, (uint64_t)((epoch + 1) * samples))) > 0;)
                for (int64_t k = 0; k < n; k++) {
                    sequence s;
                    read_sequence(&c.b, k, &s);
                    const pair_text p = read_pair(store, &s);
                    const int64_t a_doc = hs_token_store_document_at(store, p.a), b_doc = hs_token_store_document_at(store, p.b);
                    random += s.pair;
                    assert_int_equal(s.order, -1);
                    assert_true(s.pair ? a_doc != b_doc : p.b == p.a_end);
                    for (int64_t t = p.a; t < (s.pair ? p.a_end : p.b_end); t++)
                        assert_int_equal(seen[t]++, 0);
                    other_epoch += epoch > 0 && s.pair;
                }
            for (int64_t t = 0; t < tokens; t++)
                assert_int_equal(seen[t], 1);
            assert_true(llabs(2 * random - samples) <= 2); // half, exactly
            free(seen);
        }
        assert_true(other_epoch > 0);
        close_counted(&c);
        hs_token_store_close(store);
    }
}

// 10^6 samples of sentences of any length: shares, lengths, truncation, B uniform over the text.
static void next_statistics(void **state)
{
    (void)state;
    enum { LENGTH = 24, PARTS = 20 };
    hs_token_store *store = counting_store("next.bin", 2000, 30, 1, 14, 3, true);
    const hs_text_part part = whole(store);
    hs_masked_opts o = masked_opts(&part, &next_sentence, 1, LENGTH);
    o.short_share = 0.1;
    counted c = open_counted(&o);
    const int64_t tokens = hs_token_store_info_of(store).n_tokens, samples = c.source->n_samples;
    const int64_t all = MILLION / samples * samples; // whole epochs
    int64_t random = 0, from[PARTS] = { 0 }, cut_front = 0, cut = 0;
    for (int64_t n; (n = more(&c, (uint64_t)all)) > 0;) {
        assert_int_equal(c.b.labels[1], n);
        assert_int_equal(c.b.labels[2], 0);
        for (int64_t k = 0; k < n; k++) {
            sequence s;
            read_sequence(&c.b, k, &s);
            const pair_text p = read_pair(store, &s);
            assert_true(s.n <= LENGTH);
            random += s.pair;
            if (s.pair)
                from[p.b * PARTS / tokens]++;
            else if (p.b >= p.a_end && p.b > p.a_end)
                cut_front++;
            cut += s.n == LENGTH;
            assert_true(s.pair ? hs_token_store_document_at(store, p.a) != hs_token_store_document_at(store, p.b) : p.b >= p.a_end);
        }
    }
    assert_true(fabs((double)random / (double)all - 0.5) < 1e-3); // exact up to one chunk an epoch
    assert_true(cut > all / 4 && cut_front > all / 100);          // most are full, and cut at either end
    for (int i = 0; i < PARTS; i++)                               // uniform over the text, but for where a sentence begins
        assert_true(fabs((double)from[i] / (double)random * PARTS - 1) < 0.05);
    close_counted(&c);
    hs_token_store_close(store);
}

static void order_statistics(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("order.bin", 500, 60, 1, 14, 4, true);
    const hs_text_part part = whole(store);
    hs_masked_opts o = masked_opts(&part, &sentence_order, 1, 32);
    counted c = open_counted(&o);
    int64_t swapped = 0;
    for (int64_t n; (n = more(&c, MILLION)) > 0;) {
        assert_int_equal(c.b.labels[2], n);
        assert_int_equal(c.b.labels[1], 0);
        for (int64_t k = 0; k < n; k++) {
            sequence s;
            read_sequence(&c.b, k, &s);
            const pair_text p = read_pair(store, &s);
            swapped += s.order;
            assert_int_equal(s.pair, -1);
            assert_true(s.order ? p.a >= p.b_end : p.b >= p.a_end);
            assert_int_equal(hs_token_store_document_at(store, p.a), hs_token_store_document_at(store, p.b));
        }
    }
    near((double)swapped, 0.5, MILLION);
    close_counted(&c);
    hs_token_store_close(store);
}

// Sentences of one token: a chunk has exactly as many as were wanted.
static void short_sequences(void **state)
{
    (void)state;
    enum { LENGTH = 19, ROOM = LENGTH - 3, DOCUMENT = 20000 };
    hs_token_store *store = counting_store("short.bin", 40, DOCUMENT, 1, 1, 8, true);
    const hs_text_part part = whole(store);
    hs_masked_opts o = masked_opts(&part, &sentence_order, 1, LENGTH);
    o.short_share = 0.1;
    counted c = open_counted(&o);
    int64_t by_length[LENGTH + 1] = { 0 }, all = c.source->n_samples;
    for (int64_t n; (n = more(&c, (uint64_t)all)) > 0;)
        for (int64_t k = 0; k < n; k++) {
            const int32_t *starts = hs_batch_i32(&c.b, HS_PAIR_STARTS);
            by_length[starts[k + 1] - starts[k]]++;
        }
    assert_true(all > 20000);
    for (int i = 2; i < ROOM; i++)
        assert_true(fabs((double)by_length[i + 3] / (double)all - 0.1 / (ROOM - 1)) < 5 * sqrt(0.1 / (ROOM - 1) / (double)all) + 0.001);
    close_counted(&c);
    hs_token_store_close(store);
}

// Full sentences: each token once an epoch, a [SEP] where a document ends inside, never a word of the next sentence that fits not.
static void full_covers_everything(void **state)
{
    (void)state;
    enum { LENGTH = 40 };
    hs_token_store *store = counting_store("full.bin", 400, 6, 1, 30, 6, true);
    const hs_text_part part = whole(store);
    hs_masked_opts o = masked_opts(&part, &full_sentences, 1, LENGTH);
    o.short_share = 0.1; // not of these
    counted c = open_counted(&o);
    const int64_t tokens = hs_token_store_info_of(store).n_tokens, samples = c.source->n_samples;
    uint8_t *seen = calloc((size_t)tokens, 1);
    int64_t crossed = 0, most = 0;
    for (int64_t n; (n = more(&c, (uint64_t)samples)) > 0;)
        for (int64_t k = 0; k < n; k++) {
            sequence s;
            read_sequence(&c.b, k, &s);
            assert_true(s.n <= LENGTH && s.ids[0] == CLS && s.ids[s.n - 1] == SEP && s.pair == -1 && s.order == -1);
            int64_t last = -1;
            for (int64_t i = 1; i + 1 < s.n; i++) {
                const int64_t t = s.ids[i] - FIRST_ID;
                assert_int_equal(s.types[i], 0);
                if (s.ids[i] == SEP) {
                    crossed++;
                    assert_true(s.ids[i - 1] >= FIRST_ID && s.ids[i + 1] == s.ids[i - 1] + 1);
                    assert_true(document_of(store, s.ids[i - 1]) < document_of(store, s.ids[i + 1]));
                    continue;
                }
                assert_int_equal(seen[t]++, 0);
                if (s.ids[i - 1] >= FIRST_ID)
                    assert_int_equal(document_of(store, s.ids[i]), document_of(store, s.ids[i - 1]));
                last = t;
            }
            // what comes next would have been too much: the sample is as full as whole sentences make it
            if (last + 1 < tokens) {
                int64_t first, end;
                OK(hs_token_store_sentence(store, hs_token_store_sentence_at(store, last + 1), &first, &end));
                const bool same = hs_token_store_document_at(store, last) == hs_token_store_document_at(store, last + 1);
                assert_int_equal(first, last + 1);
                assert_true(s.n + (end - first) + !same > LENGTH);
            }
            most = s.n > most ? s.n : most;
        }
    for (int64_t t = 0; t < tokens; t++)
        assert_int_equal(seen[t], 1);
    assert_true(crossed > 50 && most == LENGTH);
    free(seen);
    close_counted(&c);
    hs_token_store_close(store);
}

// 15 % of the tokens, of them 80/10/10, over more than 10^6 predictions; specials never; anew in each epoch.
static void masks(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("masks.bin", 300, 40, 2, 20, 9, true);
    const hs_text_part part = whole(store);
    hs_masked_opts o = masked_opts(&part, &next_sentence, 1, 128);
    counted c = open_counted(&o);
    int64_t picks = 0, masked = 0, kept = 0, tokens = 0;
    while (picks < MILLION) {
        const int64_t n = more(&c, UINT64_MAX / 2);
        for (int64_t k = 0; k < n; k++) {
            sequence s;
            read_sequence(&c.b, k, &s);
            assert_int_equal(s.n_picks, (int64_t)fmax(1, rint(0.15 * (double)s.n)));
            for (int64_t i = 0; i < s.n_picks; i++) {
                assert_true(s.targets[i] >= FIRST_ID);
                const int32_t now = s.masked[s.picks[i]];
                masked += now == MASK, kept += now == s.targets[i];
                assert_true(now == MASK || now >= FIRST_ID); // a special one is never drawn
            }
            picks += s.n_picks, tokens += s.n;
        }
        assert_int_equal(c.b.labels[0], c.b.n[HS_COUNT_PICKS]);
    }
    assert_true(fabs((double)picks / (double)tokens - 0.15) < 0.002); // rounded in each sample
    near((double)masked, 0.8, (double)picks);
    near((double)kept, 0.1, (double)picks);
    // the same sample in two epochs: other picks
    const uint64_t per_epoch = (uint64_t)c.source->n_samples;
    assert_int_equal(c.source->most[HS_COUNT_PICKS], 19);
    o.frozen = true;
    counted f = open_counted(&o);
    int same = 0;
    for (uint64_t i = 0; i < 20; i++) {
        static sequence a, b;
        c.next = i, more(&c, i + 1), read_sequence(&c.b, 0, &a);
        f.next = i + per_epoch, more(&f, i + per_epoch + 1), read_sequence(&f.b, 0, &b);
        assert_same_sequence(&a, &b); // evaluation: epoch 0 for ever
        c.next = i + per_epoch, more(&c, i + per_epoch + 1), read_sequence(&c.b, 0, &b);
        same += a.n_picks == b.n_picks && memcmp(a.picks, b.picks, sizeof a.picks) == 0;
    }
    assert_true(same < 3);
    close_counted(&f);
    close_counted(&c);
    hs_token_store_close(store);
}

// Words by marks of the vocabulary: no word is taken in part.
static void whole_words(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("words.bin", 60, 20, 2, 20, 10, true);
    const hs_text_part part = whole(store);
    const int64_t vocab = FIRST_ID + hs_token_store_info_of(store).n_tokens;
    uint8_t *continues = calloc((size_t)vocab, 1);
    for (int64_t i = FIRST_ID; i < vocab; i++)
        continues[i] = hs_mix((uint64_t)i) % 3 == 0;
    for (int unit = HS_MASK_WORD; unit <= HS_MASK_SPAN; unit++) {
        hs_objective k = next_sentence;
        k.unit = (hs_mask_unit)unit;
        hs_masked_opts o = masked_opts(&part, &k, 1, 96);
        o.continues = continues, o.vocab = vocab;
        counted c = open_counted(&o);
        int64_t picks = 0, tokens = 0;
        for (int64_t n; (n = more(&c, 2000)) > 0;)
            for (int64_t q = 0; q < n; q++) {
                sequence s;
                read_sequence(&c.b, q, &s);
                uint8_t is[1024] = { 0 };
                for (int64_t i = 0; i < s.n_picks; i++)
                    is[s.picks[i]] = 1;
                for (int64_t i = 1; i < s.n; i++)
                    if (s.ids[i] >= FIRST_ID && continues[s.ids[i]] && s.ids[i - 1] >= FIRST_ID)
                        assert_int_equal(is[i], is[i - 1]);
                picks += s.n_picks, tokens += s.n;
            }
        assert_true(fabs((double)picks / (double)tokens - 0.15) < 0.01);
        close_counted(&c);
    }
    free(continues);
    hs_token_store_close(store);
}

// Three objectives by weight: exact counts over 10^6 samples, each with its own targets.
static void mixture(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("mixed.bin", 100, 12, 1, 9, 12, true);
    const hs_text_part part = whole(store);
    hs_objective k[] = { next_sentence, sentence_order, full_sentences };
    k[0].weight = 5, k[1].weight = 3, k[2].weight = 2, k[2].unit = HS_MASK_SPAN;
    const hs_masked_opts o = masked_opts(&part, k, 3, 16);
    counted c = open_counted(&o);
    int64_t of[3] = { 0 }, labels[3] = { 0 };
    for (int64_t n; (n = more(&c, MILLION)) > 0;) {
        const int32_t *starts = hs_batch_i32(&c.b, HS_PAIR_STARTS), *task = hs_batch_i32(&c.b, HS_MASKED_TASK_TYPES);
        for (int64_t q = 0; q < n; q++) {
            const int32_t t = task[starts[q]];
            of[t]++;
            assert_true((hs_batch_i32(&c.b, HS_PAIR_TARGETS)[q] >= 0) == (t == 0));
            assert_true((hs_batch_i32(&c.b, HS_MASKED_ORDER_TARGETS)[q] >= 0) == (t == 1));
        }
        for (int i = 0; i < 3; i++)
            labels[i] += c.b.labels[i];
    }
    assert_true(of[0] == MILLION / 2 && of[1] == 3 * MILLION / 10 && of[2] == MILLION / 5);
    assert_true(labels[1] == of[0] && labels[2] == of[1]);
    close_counted(&c);
    hs_token_store_close(store);
}

// Readers of pairs read both.
static void columns_of_pairs(void **state)
{
    (void)state;
    for (int i = 0; i < HS_PAIR_COLUMNS; i++) {
        const hs_column *a = &hs_pair_columns[i], *b = &hs_masked_columns[i];
        assert_string_equal(a->name, b->name);
        assert_true(a->dtype == b->dtype && a->ext == b->ext && a->tail == b->tail && hs_column_cols(a) == hs_column_cols(b));
    }
}

// Two separators, one type; a range that begins and ends inside of sentences.
static void forms(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("forms.bin", 50, 12, 1, 12, 13, true);
    const hs_text_part part = { { store, 101, hs_token_store_info_of(store).n_tokens - 57 }, 0 };
    hs_masked_opts o = masked_opts(&part, &next_sentence, 1, 40);
    o.ids.double_sep = true, o.types = false;
    counted c = open_counted(&o);
    for (int64_t n; (n = more(&c, 2 * (uint64_t)c.source->n_samples)) > 0;)
        for (int64_t k = 0; k < n; k++) {
            sequence s;
            int seps = 0;
            read_sequence(&c.b, k, &s);
            assert_true(s.n <= 40);
            for (int64_t i = 0; i < s.n; i++) {
                assert_int_equal(s.types[i], 0);
                seps += s.ids[i] == SEP;
                if (s.ids[i] >= FIRST_ID)
                    assert_in_range(s.ids[i] - FIRST_ID, part.range.first, part.range.end - 1);
                if (s.ids[i] == SEP && i + 1 < s.n && seps == 1)
                    assert_int_equal(s.ids[i + 1], SEP);
            }
            assert_int_equal(seps, 3);
        }
    close_counted(&c);
    hs_token_store_close(store);
}

// The stream at any number of ranks and any depth of the ring, taken up anywhere, is that of one.
static void ranks_and_depth(void **state)
{
    (void)state;
    enum { BATCH = 8, BATCHES = 12 };
    hs_token_store *store = counting_store("ranks.bin", 100, 12, 1, 12, 14, true);
    const hs_text_part part = whole(store);
    const hs_masked_opts o = masked_opts(&part, &next_sentence, 1, 32);
    static sequence want, got;
    counted c = open_counted(&o);
    static const struct {
        int size, depth, from;
    } rows[] = { { 1, 2, 0 }, { 2, 5, 0 }, { 4, 3, 5 }, { 8, 9, 11 } };
    for (int i = 0; i < HS_COUNT(rows); i++)
        for (int rank = 0; rank < rows[i].size; rank++) {
            hs_source *source;
            hs_loader *l;
            OK(hs_masked_new(&source, &o));
            OK(hs_loader_new(&l, source,
                             &(hs_loader_opts){ .batch = BATCH,
                                                .n_micro = 1,
                                                .rank = rank,
                                                .size = rows[i].size,
                                                .first_sample = (uint64_t)(rows[i].from * BATCH),
                                                .depth = rows[i].depth }));
            for (int64_t m = rows[i].from; m < BATCHES; m++) {
                const hs_batch *b;
                const int64_t n = BATCH / rows[i].size;
                OK(hs_loader_next(l, &b));
                assert_int_equal(b->n[HS_COUNT_SEQS], n);
                OK(hs_source_fill(c.source, &c.b, (uint64_t)(m * BATCH), BATCH));
                for (int64_t k = 0; k < n; k++) {
                    read_sequence(&c.b, rank * n + k, &want);
                    read_sequence(b, k, &got);
                    assert_same_sequence(&want, &got);
                    assert_int_equal(want.slot, got.slot);
                }
                hs_loader_release(l);
            }
            hs_loader_free(l);
        }
    close_counted(&c);
    hs_token_store_close(store);
}

static void refuse(const hs_masked_opts *o, const char *why)
{
    hs_source *s;
    FAILS(USAGE, why, hs_masked_new(&s, o));
    assert_null(s);
}

static void bad_input(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("bad.bin", 50, 12, 1, 12, 15, true), *one;
    hs_text_part part = whole(store);
    hs_objective k = next_sentence;
    hs_masked_opts o = masked_opts(&part, &k, 1, 32);
    o.length = 7, refuse(&o, "sequences of 7 tokens, allowed 8"), o.length = 32;
    o.predictions = 33, refuse(&o, "33 predictions in a sequence of 32"), o.predictions = 0;
    o.ids.mask = 1 << 22, refuse(&o, "[MASK] is id 4194304, outside the vocabulary"), o.ids.mask = MASK;
    o.n_objectives = 0, refuse(&o, "1 texts under 0 objectives"), o.n_objectives = 1;
    k.probability = 0, refuse(&o, "objective 1 (next sentence) masks 0 of the tokens"), k.probability = 0.15;
    k.masked = 0.95, refuse(&o, "0.95 of them by the mask"), k.masked = 0.8;
    part.range.end = part.range.first, refuse(&o, "hold no document");
    part = whole(store), part.range.end++, refuse(&o, "of a store of"), part.range.end--;
    // one document: no text of another one
    int32_t *ids = malloc(100 * sizeof *ids);
    for (int i = 0; i < 100; i++)
        ids[i] = SEP;
    ids[99] = 77;
    OK(hs_token_store_from_ids(&one, ids, 100, 100, 0));
    part = whole(one), refuse(&o, "are of one document");
    k.segments = HS_SEGMENTS_FULL;
    part.range.end = 99, refuse(&o, "each of tokens 0 to 99 is a special one");
    part.range.end = 100;
    // a sample without anything to guess has no predictions, and one with an id that the model lacks is an error with its place
    counted c = open_counted(&o);
    int64_t picks = 0;
    for (int64_t n; (n = more(&c, (uint64_t)c.source->n_samples)) > 0;)
        picks += c.b.n[HS_COUNT_PICKS];
    assert_int_equal(picks, 1);
    close_counted(&c);
    o.vocab = 50;
    c = open_counted(&o);
    hs_status st = HS_OK;
    for (int64_t i = 0; i < c.source->n_samples && st == HS_OK; i++)
        st = hs_source_fill(c.source, &c.b, (uint64_t)i, 1);
    FAILS(CORRUPT, "id 77 at token 99 is outside the vocabulary of 50, the model's", st);
    close_counted(&c);
    hs_token_store_close(one);
    hs_token_store_close(store);
}

// ---- tokenizers

static hs_tokenizer *golden(const char *name)
{
    char path[1024];
    hs_tokenizer *t;
    snprintf(path, sizeof path, HS_TESTS_DIR "/golden/tokenizers/%s", name);
    OK(hs_tokenizer_load(&t, path));
    return t;
}

static void is_piece(const hs_tokenizer *t, int32_t id, const char *text)
{
    size_t bytes;
    const char *piece = hs_tokenizer_piece(t, id, &bytes);
    assert_non_null(piece);
    assert_true(bytes == strlen(text) && memcmp(piece, text, bytes) == 0);
}

static void ids_of_tokenizers(void **state)
{
    (void)state;
    hs_mask_ids ids;
    hs_tokenizer *t = golden("wordpiece");
    OK(hs_masked_ids_of(t, &ids));
    is_piece(t, ids.cls, "[CLS]"), is_piece(t, ids.sep, "[SEP]"), is_piece(t, ids.mask, "[MASK]"), is_piece(t, ids.pad, "[PAD]");
    assert_false(ids.double_sep);
    hs_tokenizer_free(t);
    t = golden("bpe-roberta");
    OK(hs_masked_ids_of(t, &ids));
    is_piece(t, ids.cls, "<s>"), is_piece(t, ids.sep, "</s>"), is_piece(t, ids.mask, "<mask>");
    is_piece(t, ids.pad, "</s>"); // it has no pad
    assert_true(ids.double_sep && ids.n_special >= 1);
    hs_tokenizer_free(t);
    t = golden("bpe"); // GPT-2's
    FAILS(USAGE, "the tokenizer (bpe, ", hs_masked_ids_of(t, &ids));
    FAILS(USAGE, "has no token that masks: [MASK] or <mask>", hs_masked_ids_of(t, &ids));
    hs_tokenizer_free(t);
    OK(hs_tokenizer_byte(&t));
    FAILS(USAGE, "the tokenizer (byte, 256 tokens) has no token that begins a text", hs_masked_ids_of(t, &ids));
    hs_tokenizer_free(t);
}

// Marks against the words of the tokenizers themselves: a token begins one where its text follows a space.
static void words_of_tokenizers(void **state)
{
    (void)state;
    static const char text[] = "unbelievable sentences about the tokenizers";
    static const char *const names[] = { "wordpiece", "bpe-roberta" };
    for (int k = 0; k < HS_COUNT(names); k++) {
        hs_tokenizer *t = golden(names[k]);
        uint8_t *continues = malloc((size_t)hs_tokenizer_vocab(t));
        int32_t *ids;
        int64_t n, words = 0;
        hs_masked_continues_of(t, continues);
        OK(hs_tokenizer_encode(t, text, sizeof text - 1, &ids, &n));
        for (int64_t i = 0; i < n; i++)
            words += i == 0 || !continues[ids[i]];
        assert_int_equal(words, 5);
        assert_true(n > 5);
        hs_mask_ids special;
        OK(hs_masked_ids_of(t, &special));
        assert_true(!continues[special.cls] && !continues[special.sep] && !continues[special.mask]);
        free(ids);
        free(continues);
        hs_tokenizer_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_loses_and_doubles_nothing),
        cmocka_unit_test(next_statistics),
        cmocka_unit_test(order_statistics),
        cmocka_unit_test(short_sequences),
        cmocka_unit_test(full_covers_everything),
        cmocka_unit_test(masks),
        cmocka_unit_test(whole_words),
        cmocka_unit_test(mixture),
        cmocka_unit_test(columns_of_pairs),
        cmocka_unit_test(forms),
        cmocka_unit_test(ranks_and_depth),
        cmocka_unit_test(bad_input),
        cmocka_unit_test(ids_of_tokenizers),
        cmocka_unit_test(words_of_tokenizers),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
