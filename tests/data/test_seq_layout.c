// seq_layout: the same samples in every layout, where each says they lie, at any number of ranks; of texts and of shards.
#include "tests/support/support_masked.h"
#include "tests/support/support_shards.h"

#include "core/base/rng.h"
#include "data/batches/loader.h"
#include "data/batches/shard_set.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 32, BATCH = 12, BATCHES = 80 };
static const hs_objective objective = { HS_SEGMENTS_NEXT, HS_MASK_TOKEN, 0.15, 0.8, 0.1, 1, 0, 0 };

// A source of a text, or of shards, in a layout.
typedef struct subject {
    const hs_text_part *part;
    char (*shard)[1024];
} subject;
enum { SHARDS = 3, ROW = 24 };

static hs_source *open_source(const subject *u, hs_seq_layout layout, int ranks, bool frozen)
{
    hs_source *s;
    if (u->part) {
        hs_masked_opts o = masked_opts(u->part, &objective, 1, LENGTH);
        o.short_share = 0.3, o.layout = layout, o.batch = BATCH, o.ranks = ranks, o.frozen = frozen;
        OK(hs_masked_new(&s, &o));
        return s;
    }
    const char *path[SHARDS];
    for (int i = 0; i < SHARDS; i++)
        path[i] = u->shard[i];
    OK(hs_shard_set_new(&s, &(hs_shard_set_opts){ .path = path, .n = SHARDS, .vocab = 1000, .seed = 3 }));
    OK(hs_seq_layout_new(&s, s, &(hs_seq_layout_opts){ .layout = layout, .length = LENGTH, .batch = BATCH, .ranks = ranks }));
    return s;
}

// Batch m of rank r of R, whole, at any depth.
static hs_loader *open_loader(const subject *u, hs_seq_layout layout, int rank, int size, int64_t from)
{
    hs_loader *l;
    OK(hs_loader_new(&l, open_source(u, layout, size, false),
                     &(hs_loader_opts){
                         .batch = BATCH, .n_micro = 2, .rank = rank, .size = size, .depth = 4, .first_sample = (uint64_t)(from * BATCH) }));
    return l;
}

static int by_slot(const void *a, const void *b)
{
    const sequence *x = *(sequence *const *)a, *y = *(sequence *const *)b;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

// The sequences of batches [from, from + n) of all ranks, those of each batch in the order of their slots.
static sequence **read_all(const subject *u, hs_seq_layout layout, int size, int64_t from, int64_t n, void (*look)(const hs_batch *b))
{
    sequence **all = calloc((size_t)(n * BATCH), sizeof *all);
    int64_t *filled = calloc((size_t)n, sizeof *filled), picks = 0, labels = 0;
    for (int rank = 0; rank < size; rank++) {
        hs_loader *l = open_loader(u, layout, rank, size, from);
        for (int64_t m = 0; m < n; m++) {
            const hs_batch *b;
            OK(hs_loader_next(l, &b));
            look(b);
            for (int64_t k = 0; k < b->n[HS_COUNT_SEQS]; k++) {
                sequence *s = malloc(sizeof *s);
                read_sequence(b, k, s);
                picks += s->n_picks;
                all[m * BATCH + filled[m]++] = s;
            }
            labels += b->labels[0];
            assert_int_equal(b->labels[1], b->n[HS_COUNT_SEQS]);
            hs_loader_release(l);
        }
        hs_loader_free(l);
    }
    assert_int_equal(picks, labels);
    for (int64_t m = 0; m < n; m++) {
        assert_int_equal(filled[m], BATCH);
        qsort(all + m * BATCH, BATCH, sizeof *all, by_slot);
    }
    free(filled);
    return all;
}

static void free_all(sequence **all, int64_t n)
{
    for (int64_t i = 0; i < n * BATCH; i++)
        free(all[i]);
    free(all);
}

// ---- where sequences lie

static const int32_t *keys_of(const hs_batch *b) { return hs_batch_find(b, "keys")->p; }

static void pads_are_pads(const hs_batch *b)
{
    const int32_t *starts = hs_batch_i32(b, HS_PAIR_STARTS), *ids = hs_batch_i32(b, HS_PAIR_IDS), *types = hs_batch_i32(b, HS_PAIR_TYPES);
    assert_true(starts[0] == 0 && starts[b->n[HS_COUNT_SEQS]] == b->n[HS_COUNT_TOKENS]);
    for (int64_t k = 0; k < b->n[HS_COUNT_SEQS]; k++)
        for (int32_t i = starts[k] + keys_of(b)[3 * k + 1]; i < starts[k + 1]; i++)
            assert_true(ids[i] == PAD && types[i] == 0);
}

static void unpadded(const hs_batch *b) { assert_null(hs_batch_find(b, "keys")); }

static void padded(const hs_batch *b)
{
    pads_are_pads(b);
    for (int64_t k = 0; k <= b->n[HS_COUNT_SEQS]; k++)
        assert_int_equal(hs_batch_i32(b, HS_PAIR_STARTS)[k], k * LENGTH);
}

static int64_t bucket_pads, bucket_batches;
static void bucketed(const hs_batch *b)
{
    const int32_t *starts = hs_batch_i32(b, HS_PAIR_STARTS), rows = starts[1];
    pads_are_pads(b);
    for (int64_t k = 0; k < b->n[HS_COUNT_SEQS]; k++) {
        assert_int_equal(starts[k + 1], (k + 1) * rows);
        bucket_pads += rows - keys_of(b)[3 * k + 1];
    }
    bucket_batches++;
}

// No sequence crosses a row's end, and two rows that would fit into one are one.
static int64_t rows_used, packed_batches;
static void packed(const hs_batch *b)
{
    const int32_t *starts = hs_batch_i32(b, HS_PAIR_STARTS);
    int64_t used[BATCH] = { 0 }, n = b->n[HS_COUNT_TOKENS] / LENGTH;
    pads_are_pads(b);
    assert_int_equal(b->n[HS_COUNT_TOKENS] % LENGTH, 0);
    for (int64_t k = 0; k < b->n[HS_COUNT_SEQS]; k++) {
        assert_int_equal(starts[k] / LENGTH, (starts[k + 1] - 1) / LENGTH);
        used[starts[k] / LENGTH] += keys_of(b)[3 * k + 1];
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            assert_true(used[i] + used[j] > LENGTH);
    rows_used += n, packed_batches++;
}

static void (*const looks[])(const hs_batch *b) = { unpadded, padded, bucketed, packed };

// ---- the same samples

static int by_content(const void *a, const void *b)
{
    const sequence *x = *(sequence *const *)a, *y = *(sequence *const *)b;
    return memcmp(x->masked, y->masked, sizeof x->masked);
}

static void check_layouts(const subject *u)
{
    const int sizes[] = { 1, 3 };
    sequence **want = read_all(u, HS_SEQ_UNPADDED, 1, 0, BATCHES, unpadded);
    for (int k = 0; k < HS_COUNT(sizes); k++)
        for (int layout = HS_SEQ_UNPADDED; layout <= HS_SEQ_PACKED; layout++) {
            if (layout == HS_SEQ_BUCKETED)
                continue;
            sequence **got = read_all(u, (hs_seq_layout)layout, sizes[k], 0, BATCHES, looks[layout]);
            for (int64_t i = 0; i < BATCHES * BATCH; i++) {
                assert_same_sequence(want[i], got[i]);
                assert_int_equal(want[i]->slot, got[i]->slot);
            }
            free_all(got, BATCHES);
        }
    // buckets: the same 64 batches' samples, in another order that ranks agree on
    enum { WINDOW = 64 };
    sequence **one = read_all(u, HS_SEQ_BUCKETED, 1, 0, WINDOW, bucketed), **three = read_all(u, HS_SEQ_BUCKETED, 3, 0, WINDOW, bucketed),
             **later = read_all(u, HS_SEQ_BUCKETED, 1, WINDOW - 7, 7, bucketed);
    for (int64_t i = 0; i < WINDOW * BATCH; i++)
        assert_same_sequence(one[i], three[i]);
    for (int64_t i = 0; i < 7 * BATCH; i++)
        assert_same_sequence(one[(WINDOW - 7) * BATCH + i], later[i]);
    qsort(one, WINDOW * BATCH, sizeof *one, by_content);
    qsort(want, WINDOW * BATCH, sizeof *want, by_content);
    for (int64_t i = 0; i < WINDOW * BATCH; i++)
        assert_same_sequence(one[i], want[i]);
    free_all(one, WINDOW), free_all(three, WINDOW), free_all(later, 7);
    free_all(want, BATCHES);
}

static void texts(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("layout.bin", 400, 20, 1, 20, 21, true);
    const hs_text_part part = whole(store);
    bucket_pads = bucket_batches = rows_used = packed_batches = 0;
    check_layouts(&(subject){ .part = &part });
    assert_true((double)bucket_pads / (double)(bucket_batches * BATCH) < 1); // of 32
    assert_true((double)rows_used / (double)(packed_batches * BATCH) < 0.9); // of a batch, or of a third of one
    hs_token_store_close(store);
}

static void shards(void **state)
{
    (void)state;
    static char names[SHARDS][1024];
    for (int i = 0; i < SHARDS; i++) {
        char name[32];
        snprintf(name, sizeof name, "l%d.hdf5", i);
        snprintf(names[i], sizeof names[i], "%s", scratch_path(name));
        write_shard(names[i], HS_H5_FIXED, 400 * i, 400, ROW, 4, 1000);
    }
    check_layouts(&(subject){ .shard = names });
}

// Evaluation ends with the last sample, whatever the layout.
static void evaluation(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("eval.bin", 60, 20, 1, 20, 22, true);
    const hs_text_part part = whole(store);
    const subject u = { .part = &part };
    sequence **want = NULL;
    for (int layout = HS_SEQ_UNPADDED; layout <= HS_SEQ_PACKED; layout++) {
        hs_source *s = open_source(&u, (hs_seq_layout)layout, 1, true);
        const int64_t n = s->n_samples;
        sequence **got = calloc((size_t)n, sizeof *got);
        hs_batch b;
        OK(hs_source_batch(s, BATCH, &b));
        assert_true(n % BATCH != 0);
        for (int64_t i = 0, at = 0; i < n; i += BATCH) {
            OK(hs_source_fill(s, &b, (uint64_t)i, n - i < BATCH ? n - i : BATCH));
            looks[layout](&b);
            for (int64_t k = 0; k < b.n[HS_COUNT_SEQS]; k++)
                read_sequence(&b, k, got[at++] = malloc(sizeof **got));
        }
        qsort(got, (size_t)n, sizeof *got, by_content);
        for (int64_t i = 0; want && i < n; i++)
            assert_same_sequence(want[i], got[i]);
        for (int64_t i = 0; want && i < n; i++)
            free(got[i]);
        if (want)
            free(got);
        else
            want = got;
        hs_batch_free(&b);
        hs_source_free(s);
        if (layout == HS_SEQ_PACKED) {
            for (int64_t i = 0; i < n; i++)
                free(want[i]);
            free(want);
        }
    }
    hs_token_store_close(store);
}

static void refused(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("refused.bin", 40, 20, 1, 20, 23, true);
    const hs_text_part part = whole(store);
    hs_masked_opts o = masked_opts(&part, &objective, 1, LENGTH);
    hs_source *s;
    o.layout = HS_SEQ_PACKED;
    FAILS(USAGE, "batches of 0 sequences over 0 ranks", hs_masked_new(&s, &o));
    o.batch = 10, o.ranks = 3;
    FAILS(USAGE, "batches of 10 sequences over 3 ranks", hs_masked_new(&s, &o));
    o.layout = HS_SEQ_UNPADDED;
    OK(hs_masked_new(&s, &o));
    FAILS(USAGE, "rows of 31 tokens for sequences of up to 32",
          hs_seq_layout_new(&s, s, &(hs_seq_layout_opts){ .layout = HS_SEQ_PADDED, .length = LENGTH - 1 }));
    assert_null(s);
    OK(hs_windows_new(&s, &(hs_windows_opts){ .range = part.range, .window = 8 }));
    FAILS(INTERNAL, "windows have no columns of pairs",
          hs_seq_layout_new(&s, s, &(hs_seq_layout_opts){ .layout = HS_SEQ_PADDED, .length = 8 }));
    hs_token_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(shards),
        cmocka_unit_test(evaluation),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
