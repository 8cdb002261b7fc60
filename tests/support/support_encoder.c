// support_encoder: batches of a masked family that say the same of a sequence wherever it stands.
#include "tests/support/support_encoder.h"
#include "core/base/rng.h"
#include "ops/ops.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"
#include <string.h>

hs_status wear_task(const hs_family *f, hs_settings *s, hs_task task, bool crf)
{
    static const char *const words[HS_TASKS] = { "none", "sequence", "regression", "multilabel", "tokens", "span" };
    for (int i = 0; i < f->settings->n; i++) {
        const hs_key *k = &f->settings->key[i];
        if (k->type == HS_KEY_BOOL && hs_family_wears(f, k->name))
            HS_TRY(hs_schema_set(f->settings, s->bytes, NULL, k->name, crf && strcmp(k->name, "model.crf") == 0 ? "true" : "false", NULL));
    }
    HS_TRY(hs_schema_set(f->settings, s->bytes, NULL, "model.task", words[task], NULL));
    return hs_arch_set(f, s, "model.labels", task == HS_TASK_SPAN ? 0 : ENCODER_LABELS);
}

static hs_status settle(const hs_family *f, hs_settings *s, const encoder_opts *o)
{
    static const struct {
        const char *key;
        int64_t value;
    } sizes[] = { { "model.layers", 2 },
                  { "model.heads", 4 },
                  { "model.width", ENCODER_WIDTH },
                  { "model.context", ENCODER_CONTEXT },
                  { "model.vocab", ENCODER_VOCAB },
                  { "model.embed_width", 32 } };
    HS_TRY(hs_arch_defaults(f, s));
    for (int i = 0; i < HS_COUNT(sizes); i++)
        if (hs_schema_find(f->settings, NULL, sizes[i].key).key)
            HS_TRY(hs_arch_set(f, s, sizes[i].key, sizes[i].value));
    if (o->generator > 0) {
        HS_TRY(hs_schema_set(f->settings, s->bytes, NULL, "model.mlm", "false", NULL)); // the generator's
        HS_TRY(hs_arch_set(f, s, "model.generator", o->generator));
        HS_TRY(hs_arch_set(f, s, "model.generator_heads", 4));
    }
    static const char *const dropouts[] = { "model.dropout", "model.attention_dropout", "model.task_dropout" };
    for (int i = 0; i < HS_COUNT(dropouts); i++)
        if (hs_schema_find(f->settings, NULL, dropouts[i]).key)
            HS_TRY(hs_schema_set(f->settings, s->bytes, NULL, dropouts[i], o->dropout ? o->dropout : "0", NULL));
    return o->task ? wear_task(f, s, o->task, o->crf) : HS_OK;
}

hs_status encoder_engine(hs_engine **out, tiny_encoder *t, const hs_family *f, const encoder_opts *o)
{
    const hs_policy policy = policy_named(o->policy ? o->policy : "fp32");
    const int64_t tokens = o->max_tokens ? o->max_tokens : 128;
    hs_device *dev;
    HS_TRY(settle(f, &t->settings, o));
    t->train = (hs_arch_setup){ { f, t->settings.bytes },
                                { .max_tokens = tokens, .max_seqs = ENCODER_SEQS, .max_picks = tokens, .padded = o->padded } };
    if (o->distill)
        t->train.shape.distill = *o->distill;
    if (o->attention) {
        t->train.shape.longest = o->attention->longest, t->train.shape.full = o->attention->full;
        t->train.shape.library_masks = o->attention->library_masks, t->train.shape.any_order = o->attention->any_order;
    }
    t->eval = t->train;
    t->eval.shape.hidden = o->hidden, t->eval.shape.logits = !o->hidden && !o->distill;
    HS_TRY(hs_open_device(&dev, test_device, o->threads ? o->threads : 1, o->isa, 0, HS_ONEDNN_NO));
    const hs_engine_opts opts = { .model = hs_arch_trace,
                                  .config = &t->train,
                                  .eval_config = &t->eval,
                                  .policy = &policy,
                                  .optim = o->optim,
                                  .adapter = o->adapter,
                                  .eval = true,
                                  .micro_steps = o->micro_steps,
                                  .seed = o->seed ? o->seed : 3,
                                  .device = dev,
                                  .mode = o->mode,
                                  .grid = o->grid ? *o->grid : (hs_grid){ 0 },
                                  .bucket_bytes = 1 << 16,
                                  .divide = o->divide,
                                  .sequence = o->sequence,
                                  .recompute = o->recompute };
    const hs_status st = hs_engine_new(out, &opts);
    if (st != HS_OK) {
        hs_device_close(dev);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    (*out)->owns_device = true;
    return HS_OK;
}

static int32_t draw(uint64_t key, int slot, int i, int which, int32_t below)
{
    return (int32_t)(hs_random(key, (uint32_t)slot, (uint32_t)i, (uint32_t)which, 0).v[0] % (uint32_t)below);
}

int64_t encoder_first(const encoder_batch *b, int sequence)
{
    int64_t n = 0;
    for (int i = 0; i < sequence; i++)
        n += b->row ? b->row : b->length[i];
    return n;
}

static hs_status put(hs_engine *e, hs_mode mode, const char *name, const int32_t *p, int64_t n)
{
    if (!hs_run_input(e->run, e->plan[mode], name))
        return HS_OK;
    return hs_run_write(e->run, e->plan[mode], name, p, (size_t)n * sizeof *p);
}

hs_status encoder_fill(hs_engine *e, hs_mode mode, const encoder_batch *b)
{
    enum { ROWS = 256 };
    int32_t ids[ROWS] = { 0 }, types[ROWS] = { 0 }, tasks[ROWS] = { 0 }, where[2 * ROWS] = { 0 }, starts[ENCODER_SEQS + 1], picks[ROWS];
    int32_t targets[ROWS], next[ROWS], pair[ENCODER_SEQS], keys[3 * ENCODER_SEQS], class[ENCODER_SEQS], tags[ROWS], spans[2 * ENCODER_SEQS];
    int32_t numbers[ENCODER_LABELS * ENCODER_SEQS], several[ENCODER_LABELS * ENCODER_SEQS]; // the bits of floats
    int64_t n = 0, p = 0, tagged = 0;
    for (int s = 0; s < b->n; s++) {
        const int slot = b->slot[s], length = b->length[s], rows = b->row ? b->row : length;
        starts[s] = (int32_t)n;
        keys[3 * s] = (int32_t)n, keys[3 * s + 1] = length, keys[3 * s + 2] = 0;
        pair[s] = draw(b->key, slot, 0, 4, 2);
        class[s] = draw(b->key, slot, 0, 5, ENCODER_LABELS);
        spans[2 * s] = draw(b->key, slot, 0, 6, length), spans[2 * s + 1] = draw(b->key, slot, 1, 6, length);
        for (int i = 0; i < ENCODER_LABELS; i++) {
            const float number = (float)draw(b->key, slot, i, 7, 100) / 50 - 1, one = (float)draw(b->key, slot, i, 8, 2);
            memcpy(&numbers[s * ENCODER_LABELS + i], &number, sizeof number);
            memcpy(&several[s * ENCODER_LABELS + i], &one, sizeof one);
        }
        for (int i = 0; i < rows; i++, n++) {
            next[n] = i + 1 < length ? 5 + draw(b->key, slot, i + 1, 0, ENCODER_VOCAB - 5) : -1;
            where[2 * n] = slot, where[2 * n + 1] = i, tags[n] = -1;
            if (i >= length)
                continue;
            ids[n] = 5 + draw(b->key, slot, i, 0, ENCODER_VOCAB - 5);
            types[n] = 2 * i > length, tasks[n] = slot % 3;
            if (i % 4 != 2)
                tags[n] = draw(b->key, slot, i, 9, ENCODER_LABELS), tagged++;
            if (i % 3 == 1)
                picks[p] = (int32_t)n, targets[p++] = draw(b->key, slot, i, 1, ENCODER_VOCAB);
        }
    }
    starts[b->n] = (int32_t)n;
    const struct {
        const char *name;
        const int32_t *p;
        int64_t n;
    } columns[] = { { "ids", ids, n },
                    { "token_types", types, n },
                    { "task_types", tasks, n },
                    { "where", where, 2 * n },
                    { "picks", picks, p },
                    { "pick_targets", targets, p },
                    { "targets", next, n },
                    { "starts", starts, b->n + 1 },
                    { "keys", keys, 3 * b->n },
                    { "pair_targets", pair, b->n },
                    { "order_targets", pair, b->n },
                    { "class_targets", class, b->n },
                    { "value_targets", numbers, ENCODER_LABELS * b->n },
                    { "label_targets", several, ENCODER_LABELS * b->n },
                    { "tag_targets", tags, n },
                    { "span_targets", spans, 2 * b->n } };
    for (int i = 0; i < HS_COUNT(columns); i++)
        HS_TRY(put(e, mode, columns[i].name, columns[i].p, columns[i].n));
    hs_step_live(e->in, n, b->n, p);
    e->in->n_micro = 1;
    e->in->inv_count[HS_LOSS_TOKENS] = hs_inv_count(p);
    e->in->inv_count[HS_LOSS_NEXT] = e->in->inv_count[HS_LOSS_ORDER] = hs_inv_count(b->n);
    e->in->inv_count[HS_LOSS_REPLACED] = e->in->inv_count[HS_LOSS_COSINE] = e->in->inv_count[HS_LOSS_HIDDEN] = hs_inv_count(n);
    e->in->inv_count[HS_LOSS_SOFT] = hs_inv_count(p), e->in->inv_count[HS_LOSS_RELATION] = hs_inv_count(b->n);
    e->in->inv_count[HS_LOSS_TASK] = hs_inv_count(hs_run_input(e->run, e->plan[mode], "tag_targets")    ? tagged
                                                  : hs_run_input(e->run, e->plan[mode], "span_targets") ? 2 * b->n
                                                                                                        : b->n);
    return HS_OK;
}

double encoder_loss(const hs_engine *e, hs_mode mode)
{
    const double *l = hs_run_losses(e->run, e->plan[mode]);
    double sum = 0;
    for (int i = 0; i < HS_LOSSES; i++)
        sum += l[i];
    return sum;
}
