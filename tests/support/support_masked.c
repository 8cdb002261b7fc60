#include "tests/support/support_masked.h"

#include "core/base/rng.h"
#include "data/text/store_writer.h"
#include <stdlib.h>
#include <string.h>

const hs_mask_ids masked_ids = { .cls = CLS, .sep = SEP, .mask = MASK, .pad = PAD, .special = { UNK }, .n_special = 1 };

hs_token_store *counting_store(const char *name, int documents, int most_sentences, int least, int most, uint64_t key, bool table)
{
    hs_store_writer *w;
    hs_token_store *s;
    OK(hs_store_writer_open(&w, scratch_path(name), 1 << 22, 7, table));
    int32_t next = FIRST_ID;
    for (int d = 0; d < documents; d++) {
        const int n = (int)(hs_mix2(key, (uint64_t)d) % (uint64_t)(most_sentences + 1));
        for (int i = 0; i < n; i++) {
            const int tokens = least + (int)(hs_mix2(hs_mix2(key, (uint64_t)d), (uint64_t)i + 1) % (uint64_t)(most - least + 1));
            for (int t = 0; t < tokens; t++, next++)
                OK(hs_store_writer_ids(w, &next, 1));
            OK(hs_store_writer_sentence(w));
        }
        OK(hs_store_writer_document(w));
    }
    OK(hs_store_writer_commit(w));
    OK(hs_token_store_open(&s, scratch_path(name)));
    return s;
}

hs_text_part whole(const hs_token_store *s) { return (hs_text_part){ { s, 0, hs_token_store_info_of(s).n_tokens }, 1 }; }

hs_masked_opts masked_opts(const hs_text_part *part, const hs_objective *objective, int n_objectives, int64_t length)
{
    return (hs_masked_opts){ .parts = part,
                             .n_parts = 1,
                             .length = length,
                             .objective = objective,
                             .n_objectives = n_objectives,
                             .ids = masked_ids,
                             .types = true,
                             .seed = 5 };
}

void read_sequence(const hs_batch *b, int64_t k, sequence *s)
{
    const int32_t *starts = hs_batch_i32(b, HS_PAIR_STARTS), *picks = hs_batch_i32(b, HS_PAIR_PICKS),
                  *where = hs_batch_i32(b, HS_PAIR_WHERE);
    const hs_column *keys = hs_batch_find(b, "keys"), *tasks = hs_batch_find(b, "task_types"), *order = hs_batch_find(b, "order_targets");
    memset(s, 0, sizeof *s);
    s->first = starts[k], s->n = starts[k + 1] - starts[k];
    if (keys) {
        const int32_t *key = (const int32_t *)keys->p + 3 * k;
        assert_true(key[0] == s->first && key[1] <= s->n && key[2] == 0);
        s->n = key[1];
    }
    s->slot = where[2 * s->first];
    for (int64_t i = 0; i < s->n; i++) {
        s->ids[i] = s->masked[i] = hs_batch_i32(b, HS_PAIR_IDS)[s->first + i];
        s->types[i] = hs_batch_i32(b, HS_PAIR_TYPES)[s->first + i];
    }
    for (int64_t i = 0; i < starts[k + 1] - starts[k]; i++) { // pads too
        assert_int_equal(where[2 * (s->first + i)], s->slot);
        assert_int_equal(where[2 * (s->first + i) + 1], i);
    }
    for (int64_t i = 0; i < b->n[HS_COUNT_PICKS]; i++)
        if (picks[i] >= s->first && picks[i] < starts[k + 1]) {
            assert_in_range(picks[i], s->first + 1, s->first + s->n - 1);
            s->picks[s->n_picks] = picks[i] - (int32_t)s->first;
            s->targets[s->n_picks] = hs_batch_i32(b, HS_PAIR_PICK_TARGETS)[i];
            s->ids[s->picks[s->n_picks]] = s->targets[s->n_picks];
            s->n_picks++;
        }
    s->pair = hs_batch_i32(b, HS_PAIR_TARGETS)[k];
    s->order = order ? ((const int32_t *)order->p)[k] : -1;
    s->task = tasks ? ((const int32_t *)tasks->p)[s->first] : 0;
}

void assert_same_sequence(const sequence *a, const sequence *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_picks, b->n_picks);
    assert_memory_equal(a->masked, b->masked, sizeof a->masked);
    assert_memory_equal(a->types, b->types, sizeof a->types);
    assert_memory_equal(a->picks, b->picks, sizeof a->picks);
    assert_memory_equal(a->targets, b->targets, sizeof a->targets);
    assert_true(a->pair == b->pair && a->order == b->order && a->task == b->task);
}
