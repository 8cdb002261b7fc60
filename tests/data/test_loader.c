// loader: the sampler is a permutation; a stream does not depend on threads, ranks, accumulation or where it was taken up; evaluation
// predicts each token once.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/batches/loader.h"
#include "data/batches/sampler.h"
#include "data/batches/windows.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Token i of the text is i: a window tells where it came from.
static hs_token_store *counting_text(int64_t n)
{
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)i;
    hs_token_store *s;
    OK(hs_token_store_from_ids(&s, ids, n, n, 0));
    return s;
}

// ---- sampler

// One epoch: every token a target at most once, every window inside, W different windows on one grid.
static void check_epoch(const hs_sampler *s, uint64_t epoch)
{
    char *target = calloc((size_t)s->n_tokens, 1);
    int64_t sum = 0;
    for (int64_t p = 0; p < s->per_epoch; p++) {
        const int64_t start = hs_sampler_start(s, epoch * (uint64_t)s->per_epoch + (uint64_t)p);
        assert_true(start >= 0 && start + s->window + 1 <= s->n_tokens);
        for (int64_t i = start + 1; i <= start + s->window; i++) {
            assert_int_equal(target[i], 0);
            target[i] = 1;
        }
    }
    for (int64_t i = 0; i < s->n_tokens; i++)
        sum += target[i];
    assert_int_equal(sum, s->per_epoch * s->window);
    free(target);
}

static void each_token_at_most_once(void **state)
{
    (void)state;
    static const int64_t size[][2] = { { 2, 1 },    { 3, 1 },    { 65, 64 },  { 66, 64 },   { 127, 64 },  { 128, 64 },  { 129, 64 },
                                       { 192, 64 }, { 1000, 1 }, { 1000, 7 }, { 4097, 16 }, { 4096, 16 }, { 9999, 10 }, { 5, 4 } };
    for (int i = 0; i < HS_COUNT(size); i++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            hs_sampler s;
            OK(hs_sampler_init(&s, size[i][0], size[i][1], seed));
            assert_true(s.per_epoch >= 1);
            assert_true((s.per_epoch + 2) * s.window >= s.n_tokens); // at most two windows' worth is left out
            for (uint64_t epoch = 0; epoch < 6; epoch++)
                check_epoch(&s, epoch);
            check_epoch(&s, 1000000007);
        }
}

static void epochs_and_seeds_differ(void **state)
{
    (void)state;
    hs_sampler a, b;
    OK(hs_sampler_init(&a, 100000, 32, 1));
    OK(hs_sampler_init(&b, 100000, 32, 2));
    int same_epoch = 0, same_seed = 0, neighbours = 0, offsets = 0;
    const uint64_t W = (uint64_t)a.per_epoch;
    for (uint64_t p = 0; p + 1 < W; p++) {
        same_epoch += hs_sampler_start(&a, p) / 32 == hs_sampler_start(&a, W + p) / 32;
        same_seed += hs_sampler_start(&a, p) / 32 == hs_sampler_start(&b, p) / 32;
        neighbours += hs_sampler_start(&a, p) + 32 == hs_sampler_start(&a, p + 1);
    }
    // A random permutation of 3124 agrees with another in 1 place and has 1 pair in a row, on average.
    assert_in_range(same_epoch, 0, 12);
    assert_in_range(same_seed, 0, 12);
    assert_in_range(neighbours, 0, 12);
    for (uint64_t e = 1; e < 100; e++)
        offsets += hs_sampler_start(&a, e * W) % 32 != hs_sampler_start(&a, 0) % 32;
    assert_in_range(offsets, 85, 99);
}

static void short_texts(void **state)
{
    (void)state;
    hs_sampler s;
    FAILS(USAGE, "text of 64 tokens is shorter than a context of 64 + 1", hs_sampler_init(&s, 64, 64, 0));
    FAILS(USAGE, "text of 0 tokens", hs_sampler_init(&s, 0, 64, 0));
    FAILS(USAGE, "window of 0", hs_sampler_init(&s, 10, 0, 0));
    OK(hs_sampler_init(&s, 65, 64, 0));
    assert_int_equal(hs_sampler_start(&s, 12345), 0);
}

// ---- loader

enum { TEXT = 5000, S = 16 };

typedef struct stream {
    hs_windows_opts text;
    hs_loader_opts ring;
} stream;

static stream opts(const hs_token_store *store, int64_t batch, int n_micro)
{
    return (stream){ .text = { .range = { store, 100, TEXT - 100 }, .window = S, .seed = 5 },
                     .ring = { .batch = batch, .n_micro = n_micro, .size = 1, .depth = n_micro + 2 } };
}

static hs_status open_stream(hs_loader **out, const stream *o)
{
    hs_source *source;
    *out = NULL;
    HS_TRY(hs_windows_new(&source, &o->text));
    return hs_loader_new(out, source, &o->ring);
}

// A micro-batch is what the sampler says, shifted by one for targets, with its places.
static void check_batch(const hs_batch *b, const stream *o, uint64_t first_sample)
{
    hs_sampler s;
    OK(hs_sampler_init(&s, o->text.range.end - o->text.range.first, o->text.window, o->text.seed));
    const int64_t share = o->ring.batch / o->ring.size;
    const int32_t *ids = hs_batch_i32(b, HS_TEXT_IDS), *targets = hs_batch_i32(b, HS_TEXT_TARGETS),
                  *starts = hs_batch_i32(b, HS_TEXT_STARTS), *where = hs_batch_i32(b, HS_TEXT_WHERE);
    assert_int_equal(b->n[HS_COUNT_SEQS], share);
    assert_int_equal(b->n[HS_COUNT_TOKENS], share * S);
    assert_int_equal(b->labels[0], share * S);
    assert_int_equal(b->first_sample, first_sample);
    assert_int_equal(starts[0], 0);
    for (int64_t q = 0; q < share; q++) {
        const uint64_t sample = first_sample + (uint64_t)(o->ring.rank * share + q);
        const int64_t start = o->text.range.first + hs_sampler_start(&s, sample);
        assert_int_equal(starts[q + 1], (q + 1) * S);
        for (int64_t i = 0; i < S; i++) {
            const int64_t at = q * S + i;
            assert_int_equal(ids[at], start + i);
            assert_int_equal(targets[at], start + i + 1);
            assert_int_equal(where[2 * at], sample % (uint64_t)(o->ring.batch * o->ring.n_micro));
            assert_int_equal(where[2 * at + 1], i);
        }
    }
}

static void stream_from_anywhere(void **state)
{
    (void)state;
    hs_token_store *text = counting_text(TEXT);
    static const uint64_t from[] = { 0, 1, 12, 299, 300, 123456789012ull };
    for (int i = 0; i < HS_COUNT(from); i++) {
        stream o = opts(text, 12, 2);
        o.ring.first_sample = from[i];
        hs_loader *l;
        OK(open_stream(&l, &o));
        for (uint64_t k = 0; k < 60; k++) { // over the end of an epoch of 292
            const hs_batch *b;
            OK(hs_loader_next(l, &b));
            check_batch(b, &o, from[i] + 12 * k);
            hs_loader_release(l);
        }
        assert_true(hs_loader_wait_seconds(l) >= 0);
        hs_loader_free(l);
    }
    hs_token_store_close(text);
}

static void ranks_share_a_micro_batch(void **state)
{
    (void)state;
    hs_token_store *text = counting_text(TEXT);
    hs_loader *l[4];
    stream o = opts(text, 12, 1);
    o.ring.size = 4;
    for (o.ring.rank = 0; o.ring.rank < 4; o.ring.rank++)
        OK(open_stream(&l[o.ring.rank], &o));
    for (uint64_t k = 0; k < 20; k++)
        for (o.ring.rank = 0; o.ring.rank < 4; o.ring.rank++) {
            const hs_batch *b;
            OK(hs_loader_next(l[o.ring.rank], &b));
            check_batch(b, &o, 12 * k);
            hs_loader_release(l[o.ring.rank]);
        }
    for (int r = 0; r < 4; r++)
        hs_loader_free(l[r]);
    hs_token_store_close(text);
}

// 1 x 8 and 4 x 2 are the same samples in the same slots of the same steps.
static void accumulation_keeps_slots(void **state)
{
    (void)state;
    hs_token_store *text = counting_text(TEXT);
    hs_loader *whole, *parts;
    const stream a = opts(text, 8, 1), c = opts(text, 2, 4);
    OK(open_stream(&whole, &a));
    OK(open_stream(&parts, &c));
    for (int step = 0; step < 50; step++) {
        const hs_batch *w, *p[4];
        OK(hs_loader_next(whole, &w));
        for (int m = 0; m < 4; m++)
            OK(hs_loader_next(parts, &p[m])); // all of a step's may be held at once
        for (int m = 0; m < 4; m++) {
            const size_t n = 2 * S * sizeof(int32_t);
            assert_memory_equal(hs_batch_i32(p[m], HS_TEXT_IDS), hs_batch_i32(w, HS_TEXT_IDS) + m * 2 * S, n);
            assert_memory_equal(hs_batch_i32(p[m], HS_TEXT_TARGETS), hs_batch_i32(w, HS_TEXT_TARGETS) + m * 2 * S, n);
            assert_memory_equal(hs_batch_i32(p[m], HS_TEXT_WHERE), hs_batch_i32(w, HS_TEXT_WHERE) + m * 4 * S, 2 * n);
            hs_loader_release(parts);
        }
        hs_loader_release(whole);
    }
    hs_loader_free(whole);
    hs_loader_free(parts);
    hs_token_store_close(text);
}

static void holding_all_is_an_error(void **state)
{
    (void)state;
    hs_token_store *text = counting_text(TEXT);
    stream o = opts(text, 2, 1);
    o.ring.depth = 2;
    hs_loader *l;
    const hs_batch *b;
    OK(open_stream(&l, &o));
    hs_loader_release(l); // nothing held: nothing happens
    OK(hs_loader_next(l, &b));
    OK(hs_loader_next(l, &b));
    FAILS(INTERNAL, "all 2 batches", hs_loader_next(l, &b));
    hs_loader_release(l);
    OK(hs_loader_next(l, &b));
    check_batch(b, &o, 4);
    hs_loader_free(l); // with two still held
    hs_token_store_close(text);
}

// Freed at any moment: at once, while it fills, when its ring is full.
static void free_never_hangs(void **state)
{
    (void)state;
    hs_token_store *text = counting_text(TEXT);
    for (int i = 0; i < 200; i++) {
        const stream o = opts(text, 8, 1 + i % 3);
        hs_loader *l;
        OK(open_stream(&l, &o));
        for (int k = 0; k < i % 5; k++) {
            const hs_batch *b;
            OK(hs_loader_next(l, &b));
            hs_loader_release(l);
        }
        if (i % 20 == 0)
            usleep(500);
        hs_loader_free(l);
    }
    hs_loader_free(NULL);
    hs_token_store_close(text);
}

// A signal must reach the thread that waits for it, not the loader's.
static volatile sig_atomic_t caught_by_main;
static pthread_t main_thread;
static void catch_signal(int sig)
{
    (void)sig;
    caught_by_main += pthread_equal(pthread_self(), main_thread) != 0;
}

static void signals_go_to_main(void **state)
{
    (void)state;
    main_thread = pthread_self();
    signal(SIGUSR1, catch_signal);
    hs_token_store *text = counting_text(TEXT);
    const stream o = opts(text, 2, 1);
    hs_loader *l;
    OK(open_stream(&l, &o));
    sigset_t one, before;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &one, &before); // main would refuse it: a thread that does not would take it now
    kill(getpid(), SIGUSR1);
    usleep(2000);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(caught_by_main, 1);
    hs_loader_free(l);
    hs_token_store_close(text);
    signal(SIGUSR1, SIG_DFL);
}

static void bad_options(void **state)
{
    (void)state;
    hs_token_store *text = counting_text(TEXT);
    hs_loader *l;
    stream o = opts(text, 8, 1);
    o.text.range.end = TEXT + 1;
    FAILS(USAGE, "tokens 100 to 5001 of a store of 5000", open_stream(&l, &o));
    o = opts(text, 8, 1), o.text.range.end = 110;
    FAILS(USAGE, "text of 10 tokens is shorter than a context of 16 + 1", open_stream(&l, &o));
    o = opts(text, 8, 1), o.ring.size = 3;
    FAILS(USAGE, "batch of 8 windows does not divide", open_stream(&l, &o));
    o = opts(text, 8, 4), o.ring.depth = 4;
    FAILS(USAGE, "a ring of 4 micro-batches, at least 5", open_stream(&l, &o));
    o = opts(text, 0, 1);
    FAILS(USAGE, "batch of 0", open_stream(&l, &o));
    o = opts(text, 1ll << 30, 1);
    FAILS(USAGE, "more tokens than an int32", open_stream(&l, &o));
    assert_null(l);
    hs_token_store_close(text);
}

// ---- what is wrong with a store shows at the batch concerned, with its file

static void ids_beyond_the_vocabulary(void **state)
{
    (void)state;
    hs_token_store *text = counting_text(TEXT);
    stream o = opts(text, 2, 1);
    const hs_batch *b;
    hs_loader *l;
    o.text.vocab = TEXT - 1000; // the model's: windows before token 4000 are fine
    OK(open_stream(&l, &o));
    hs_status st = HS_OK;
    for (int k = 0; k < 200 && st == HS_OK; k++) {
        st = hs_loader_next(l, &b);
        for (int64_t i = 0; st == HS_OK && i < b->n[HS_COUNT_TOKENS]; i++)
            assert_true(hs_batch_i32(b, HS_TEXT_IDS)[i] < 4000 && hs_batch_i32(b, HS_TEXT_TARGETS)[i] < 4000);
        hs_loader_release(l);
    }
    FAILS(CORRUPT, "(text in memory): id 4", st);
    assert_non_null(strstr(hs_error(), "is outside the vocabulary of 4000"));
    FAILS(CORRUPT, "at token 4", hs_loader_next(l, &b)); // and from then on
    hs_loader_free(l);
    hs_token_store_close(text);
}

static void changed_files(void **state)
{
    (void)state;
    static int32_t ids[TEXT];
    hs_token_store *text;
    const hs_batch *b;
    hs_loader *l;
    for (int kind = 0; kind < 3; kind++) { // longer; other ids; the same bytes again
        const char *path = scratch_path("changing.bin");
        OK(hs_token_store_write(path, ids, TEXT, NULL, 1, 10, 0));
        OK(hs_token_store_open(&text, path));
        const stream o = opts(text, 2, 1);
        OK(open_stream(&l, &o));
        OK(hs_loader_next(l, &b));
        usleep(20000); // a later time for the file
        FILE *f = fopen(path, "r+b");
        fseek(f, kind == 0 ? 0 : 64 + 2 * 700, kind == 0 ? SEEK_END : SEEK_SET);
        fwrite(kind == 1 ? "\1" : "\0", 1, 1, f);
        fclose(f);
        hs_status st = HS_OK;
        for (int k = 0; k < 50 && st == HS_OK; k++) {
            hs_loader_release(l);
            st = hs_loader_next(l, &b);
        }
        if (kind == 0)
            FAILS(CORRUPT, "must not change while it is read", st);
        else if (kind == 1)
            FAILS(CORRUPT, "checksum", st);
        else
            OK(st);
        hs_loader_free(l);
        hs_token_store_close(text);
    }
}

// A billion tokens in a million documents, a sparse file: taken up anywhere at the cost of one window.
static void a_billion_tokens(void **state)
{
    (void)state;
    enum { DOCUMENTS = 1000000 };
    const int64_t n = 1000000000, each = n / DOCUMENTS;
    const char *path = scratch_path("billion.bin");
    uint64_t header[8] = { 0, 2, 50257, 0, (uint64_t)n, DOCUMENTS, 0, 0 };
    memcpy(header, "HSTOKEN1", 8);
    FILE *f = fopen(path, "wb");
    fwrite(header, sizeof header, 1, f);
    fseek(f, 64 + 2 * n, SEEK_SET);
    for (int64_t d = 0; d <= DOCUMENTS; d++)
        fwrite(&(uint64_t){ (uint64_t)(d * each) }, 8, 1, f);
    fclose(f);
    for (int packing = 0; packing <= 1; packing++)
        for (uint64_t from = 0; from < 4; from++) {
            hs_token_store *text;
            hs_loader *l;
            const hs_batch *b;
            OK(hs_token_store_open(&text, path));
            OK(open_stream(&l, &(stream){ { .range = { text, 0, n }, .packing = (hs_packing)packing, .window = 1024 },
                                          { .batch = 4, .n_micro = 1, .size = 1, .first_sample = from * 12345678901ull, .depth = 2 } }));
            OK(hs_loader_next(l, &b));
            assert_int_equal(b->n[HS_COUNT_TOKENS], 4096);
            hs_loader_free(l);
            hs_token_store_close(text);
        }
}

// ---- evaluation

static void each_token_but_the_first_once(void **state)
{
    (void)state;
    hs_token_store *text = counting_text(TEXT);
    static const int64_t lengths[] = { 0, 1, 2, 15, 16, 17, 18, 32, 33, 34, 160, 161, 1000 };
    for (int i = 0; i < HS_COUNT(lengths); i++)
        for (int64_t max_windows = 1; max_windows <= 5; max_windows += 2) {
            const hs_token_range r = { text, 50, 50 + lengths[i] };
            hs_batch b;
            hs_source *source;
            OK(hs_eval_windows_new(&source, &r, S));
            OK(hs_source_batch(source, max_windows, &b));
            int64_t window = 0, expected = 51, got;
            for (; window < source->n_samples; window += got) {
                got = source->n_samples - window < max_windows ? source->n_samples - window : max_windows;
                OK(hs_source_fill(source, &b, (uint64_t)window, got));
                assert_int_equal(b.first_sample, window);
                assert_int_equal(got, b.n[HS_COUNT_SEQS]);
                assert_int_equal(b.labels[0], b.n[HS_COUNT_TOKENS]);
                for (int64_t t = 0; t < b.n[HS_COUNT_TOKENS]; t++, expected++) {
                    assert_int_equal(hs_batch_i32(&b, HS_TEXT_TARGETS)[t], expected);
                    assert_int_equal(hs_batch_i32(&b, HS_TEXT_IDS)[t], expected - 1);
                }
                for (int64_t q = 0; q < got; q++) {
                    const int64_t n = hs_batch_i32(&b, HS_TEXT_STARTS)[q + 1] - hs_batch_i32(&b, HS_TEXT_STARTS)[q];
                    assert_true(n == S || (q == got - 1 && n >= 1 && n < S &&
                                           hs_batch_i32(&b, HS_TEXT_TARGETS)[b.n[HS_COUNT_TOKENS] - 1] == r.end - 1));
                    assert_int_equal(hs_batch_i32(&b, HS_TEXT_WHERE)[2 * hs_batch_i32(&b, HS_TEXT_STARTS)[q]], q);
                    assert_int_equal(hs_batch_i32(&b, HS_TEXT_WHERE)[2 * (hs_batch_i32(&b, HS_TEXT_STARTS)[q + 1] - 1) + 1], n - 1);
                }
                for (int64_t t = b.n[HS_COUNT_TOKENS]; t < max_windows * S; t++)
                    assert_true(hs_batch_i32(&b, HS_TEXT_IDS)[t] == 0 && hs_batch_i32(&b, HS_TEXT_TARGETS)[t] == HS_TARGET_IGNORE);
                for (int64_t q = got; q <= max_windows; q++)
                    assert_int_equal(hs_batch_i32(&b, HS_TEXT_STARTS)[q], b.n[HS_COUNT_TOKENS]);
            }
            assert_int_equal(expected, lengths[i] < 2 ? 51 : r.end);
            FAILS(INTERNAL, "window", hs_source_fill(source, &b, (uint64_t)source->n_samples, 1)); // none behind the last
            hs_batch_free(&b);
            hs_source_free(source);
        }
    hs_token_store_close(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_token_at_most_once),
        cmocka_unit_test(epochs_and_seeds_differ),
        cmocka_unit_test(short_texts),
        cmocka_unit_test(stream_from_anywhere),
        cmocka_unit_test(ranks_share_a_micro_batch),
        cmocka_unit_test(accumulation_keeps_slots),
        cmocka_unit_test(holding_all_is_an_error),
        cmocka_unit_test(free_never_hangs),
        cmocka_unit_test(signals_go_to_main),
        cmocka_unit_test(bad_options),
        cmocka_unit_test(ids_beyond_the_vocabulary),
        cmocka_unit_test(changed_files),
        cmocka_unit_test(a_billion_tokens),
        cmocka_unit_test(each_token_but_the_first_once),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
