// train_feed: three kinds of batches, each a row of functions.
#include "recipes/train/train_feed.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/batches/mask_turns.h"
#include "data/batches/shard_set.h"
#include "recipes/train/feed_labelled.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EVAL_SEED = 1 }; // evaluation is the same whatever a run's seed is

typedef struct kind {
    const char *unit;
    hs_arch_shape (*shape)(const hs_feed *f, int64_t samples);
    int64_t (*row_logits)(const hs_feed *f); // rows of logits over the vocabulary that a sample has
    int64_t token_columns;                   // cells of i32 a token has in a batch
    hs_status (*random)(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key);
    hs_status (*train)(hs_source **out, const hs_feed *f, hs_corpus *corpus);
    hs_status (*eval)(hs_source **out, const hs_feed *f, hs_corpus *corpus);
} kind;

// ---- running text
static hs_arch_shape text_shape(const hs_feed *f, int64_t samples)
{
    return (hs_arch_shape){ .max_tokens = samples * f->length,
                            .max_seqs = hs_windows_max_seqs(f->packing, samples, f->length),
                            .longest = f->length,
                            .full = !f->packing };
}

static int64_t text_rows(const hs_feed *f) { return f->length; }

// Full sequences in slots of their own: starts and where.
static void lay_out(hs_batch *b, int starts_column, int where_column, int64_t samples, int64_t length)
{
    int32_t *where = hs_batch_i32(b, where_column), *starts = hs_batch_i32(b, starts_column);
    for (int64_t i = 0; i < samples * length; i++)
        where[2 * i] = (int32_t)(i / length), where[2 * i + 1] = (int32_t)(i % length);
    for (int64_t s = 0; s <= samples; s++)
        starts[s] = (int32_t)(s * length);
    b->n[HS_COUNT_SEQS] = samples, b->n[HS_COUNT_TOKENS] = samples * length;
}

static hs_status text_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key)
{
    const int64_t tokens = samples * f->length;
    const uint32_t vocab = (uint32_t)hs_arch_int(f->arch, "model.vocab");
    HS_TRY(hs_windows_batch(out, samples, tokens));
    lay_out(out, HS_TEXT_STARTS, HS_TEXT_WHERE, samples, f->length);
    for (int64_t i = 0; i < tokens; i++) {
        const hs_u32x4 r = hs_random(key, (uint32_t)i, 0, 0, 0);
        hs_batch_i32(out, HS_TEXT_IDS)[i] = (int32_t)(r.v[0] % vocab);
        hs_batch_i32(out, HS_TEXT_TARGETS)[i] = (int32_t)(r.v[1] % vocab);
    }
    out->labels[HS_LOSS_TOKENS] = tokens;
    return HS_OK;
}

static hs_status text_train(hs_source **out, const hs_feed *f, hs_corpus *corpus)
{
    return hs_windows_new(
        out, &(hs_windows_opts){
                 .parts = corpus->source, .n_parts = corpus->n_sources, .packing = f->packing, .window = f->length, .seed = f->seed });
}

static hs_status text_eval(hs_source **out, const hs_feed *f, hs_corpus *corpus)
{
    return hs_eval_windows_new(out, &corpus->val, f->length);
}

// ---- sequences with masked tokens
static hs_arch_shape masked_shape(const hs_feed *f, int64_t samples)
{
    return (hs_arch_shape){ .max_tokens = samples * f->length,
                            .max_seqs = samples,
                            .longest = f->length,
                            .full = f->layout == HS_SEQ_PADDED,
                            .max_picks = samples * f->predictions,
                            .padded = f->layout != HS_SEQ_UNPADDED,
                            .draws_masks = f->masks_later };
}

static int64_t masked_rows(const hs_feed *f) { return f->predictions; }

// As many predictions of each sequence, of any of its tokens.
static void draw_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key)
{
    for (int64_t s = 0; s < samples; s++) {
        int32_t *row = hs_batch_i32(out, HS_MASKED_DRAWS) + s * HS_DRAW_CELLS;
        row[HS_DRAW_TOKENS] = (int32_t)f->length, row[HS_DRAW_PICKS] = (int32_t)f->predictions;
        hs_draw_put(row + HS_DRAW_KEY, key);
        hs_draw_put(row + HS_DRAW_SAMPLE, (uint64_t)s);
        hs_draw_put(row + HS_DRAW_MASKED, hs_draw_values(f->objective[0].masked));
        hs_draw_put(row + HS_DRAW_CHANGED, hs_draw_values(f->objective[0].masked + f->objective[0].random));
        row[HS_DRAW_MASK_ID] = 0, row[HS_DRAW_VOCAB] = (int32_t)hs_arch_int(f->arch, "model.vocab");
    }
    for (int i = 0; i < HS_DRAW_SPECIAL; i++)
        hs_batch_i32(out, HS_MASKED_SPECIAL)[i] = INT32_MAX;
}

static hs_status masked_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key)
{
    const int64_t n = f->length, p = f->predictions, tokens = samples * n,
                  most[HS_N_COUNTERS] = { [HS_COUNT_TOKENS] = tokens, [HS_COUNT_SEQS] = samples, [HS_COUNT_PICKS] = samples * p };
    const uint32_t vocab = (uint32_t)hs_arch_int(f->arch, "model.vocab");
    HS_TRY(hs_batch_new(out, hs_masked_columns, HS_MASKED_COLUMNS, most));
    lay_out(out, HS_PAIR_STARTS, HS_PAIR_WHERE, samples, n);
    for (int64_t i = 0; i < tokens; i++) {
        hs_batch_i32(out, HS_PAIR_IDS)[i] = (int32_t)(hs_random(key, (uint32_t)i, 0, 0, 0).v[0] % vocab);
        hs_batch_i32(out, HS_PAIR_TYPES)[i] = i % n >= n / 2 && hs_arch_wears(f->arch, HS_LOSS_NEXT);
    }
    for (int64_t i = 0; i < samples * p; i++) { // spread evenly over the sequence
        hs_batch_i32(out, HS_PAIR_PICKS)[i] = (int32_t)(i / p * n + i % p * n / p);
        hs_batch_i32(out, HS_PAIR_PICK_TARGETS)[i] = (int32_t)(hs_random(key, (uint32_t)i, 1, 0, 0).v[0] % vocab);
    }
    const bool next = hs_arch_wears(f->arch, HS_LOSS_NEXT), order = hs_arch_wears(f->arch, HS_LOSS_ORDER);
    for (int64_t s = 0; s < samples; s++) {
        hs_batch_i32(out, HS_PAIR_TARGETS)[s] = next ? (int32_t)(s % 2) : HS_TARGET_IGNORE;
        hs_batch_i32(out, HS_MASKED_ORDER_TARGETS)[s] = order ? (int32_t)(s % 2) : HS_TARGET_IGNORE;
    }
    if (f->masks_later)
        draw_random(out, f, samples, key);
    out->n[HS_COUNT_PICKS] = out->labels[HS_LOSS_TOKENS] = samples * p;
    out->labels[HS_LOSS_NEXT] = next ? samples : 0, out->labels[HS_LOSS_ORDER] = order ? samples : 0;
    return HS_OK;
}

// What a source of sequences needs of the tokenizer. continues is the caller's to free.
static hs_status special_ids(const hs_corpus *corpus, hs_mask_ids *ids, uint8_t **continues)
{
    *continues = NULL;
    if (!corpus->tokenizer) {
        *ids = (hs_mask_ids){ .cls = 0, .sep = 1, .mask = 2, .pad = 3 };
        return HS_OK;
    }
    HS_TRY(hs_masked_ids_of(corpus->tokenizer, ids));
    *continues = malloc((size_t)hs_tokenizer_vocab(corpus->tokenizer));
    if (!*continues)
        return HS_FAIL(MEMORY, "no memory for marks of %lld tokens", (long long)hs_tokenizer_vocab(corpus->tokenizer));
    hs_masked_continues_of(corpus->tokenizer, *continues);
    return HS_OK;
}

static hs_status masked_of_parts(hs_source **out, const hs_feed *f, const hs_corpus *corpus, const hs_text_part *parts, int n, bool frozen)
{
    uint8_t *continues;
    hs_mask_ids ids;
    HS_TRY(special_ids(corpus, &ids, &continues));
    hs_masked_opts o = { .parts = parts,
                         .n_parts = n,
                         .length = f->length,
                         .predictions = f->predictions,
                         .vocab = corpus->tokenizer ? hs_tokenizer_vocab(corpus->tokenizer) : 0,
                         .objective = f->objective,
                         .n_objectives = f->n_objectives,
                         .counted = corpus->n_sources ? corpus->source : NULL, // validation masks what training does
                         .n_counted = corpus->n_sources,
                         .ids = ids,
                         .types = hs_arch_int(f->arch, "model.types") > 1,
                         .continues = continues,
                         .short_share = 0.1,
                         .seed = frozen ? EVAL_SEED : f->seed,
                         .frozen = frozen,
                         .later = f->masks_later && !frozen,
                         .layout = frozen ? HS_SEQ_UNPADDED : f->layout,
                         .batch = f->batch,
                         .ranks = f->ranks };
    const hs_status st = hs_masked_new(out, &o);
    free(continues);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status masked_of_shards(hs_source **out, const hs_feed *f, const hs_text_inputs *shards, uint64_t seed)
{
    const char **path = malloc((size_t)shards->n * sizeof *path);
    if (!path)
        return HS_FAIL(MEMORY, "no memory for the names of %d shards", shards->n);
    for (int i = 0; i < shards->n; i++)
        path[i] = shards->input[i].path;
    const hs_status st = hs_shard_set_new(out, &(hs_shard_set_opts){ .path = path,
                                                                     .n = shards->n,
                                                                     .vocab = hs_arch_int(f->arch, "model.vocab"),
                                                                     .seed = seed,
                                                                     .length = f->length,
                                                                     .predictions = f->predictions });
    free(path);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// Layouts of shards are wrapped around them; masked sources do it themselves.
static hs_status laid_out(hs_source **out, hs_source *plain, const hs_feed *f, const hs_corpus *corpus)
{
    hs_mask_ids ids;
    *out = NULL;
    const hs_status st = hs_masked_ids_of(corpus->tokenizer, &ids);
    if (st != HS_OK) {
        hs_source_free(plain);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    return hs_seq_layout_new(
        out, plain,
        &(hs_seq_layout_opts){
            .layout = f->layout, .length = f->length, .batch = f->batch, .ranks = f->ranks, .pad = ids.pad, .seed = f->seed });
}

static hs_status masked_train(hs_source **out, const hs_feed *f, hs_corpus *corpus)
{
    if (!corpus->shards.n)
        return masked_of_parts(out, f, corpus, corpus->source, corpus->n_sources, false);
    hs_source *plain;
    if (f->masks_later)
        return HS_FAIL(USAGE, "data.masking is device, but %s has its masks drawn: data.masking: loader", corpus->shards.input[0].path);
    HS_TRY(masked_of_shards(&plain, f, &corpus->shards, f->seed));
    return laid_out(out, plain, f, corpus);
}

// Unpadded whatever training's layout is.
static hs_status masked_eval(hs_source **out, const hs_feed *f, hs_corpus *corpus)
{
    if (corpus->val_shards.n)
        return masked_of_shards(out, f, &corpus->val_shards, EVAL_SEED);
    return masked_of_parts(out, f, corpus, &(hs_text_part){ corpus->val, 1 }, 1, true);
}

static const kind kinds[] = {
    [HS_BATCH_TEXT] = { "window", text_shape, text_rows, 4, text_random, text_train, text_eval },
    [HS_BATCH_MASKED] = { "sequence", masked_shape, masked_rows, 5, masked_random, masked_train, masked_eval },
    [HS_BATCH_LABELLED] = { "example", hs_labelled_shape, hs_labelled_logits, 5, hs_labelled_random, hs_labelled_train, hs_labelled_eval },
};
static const kind *kind_of(const hs_feed *f) { return &kinds[f->kind]; }

// ---- settings
// The task that a model's heads are for.
static hs_objective usual_objective(hs_arch m)
{
    const bool judged = hs_arch_wears(m, HS_LOSS_REPLACED);
    return (hs_objective){ .segments = hs_arch_wears(m, HS_LOSS_NEXT)    ? HS_SEGMENTS_NEXT
                                       : hs_arch_wears(m, HS_LOSS_ORDER) ? HS_SEGMENTS_ORDER
                                                                         : HS_SEGMENTS_FULL,
                           .unit = HS_MASK_TOKEN,
                           .probability = 0.15,
                           .masked = judged ? 0.85 : 0.8, // ELECTRA keeps the others
                           .random = judged ? 0 : 0.1,
                           .weight = 1,
                           .ngram = 3 };
}

static int64_t usual_predictions(const hs_feed *f)
{
    double most = 0;
    for (int i = 0; i < f->n_objectives; i++)
        most = fmax(most, f->objective[i].probability);
    return (int64_t)ceil(most * (double)f->length - 1e-9);
}

hs_feed hs_feed_of_arch(hs_arch m)
{
    hs_feed f = { .arch = m, .kind = hs_arch_batch(m), .length = hs_arch_int(m, "model.context"), .batch = 1, .ranks = 1 };
    for (int i = 0; i < HS_LOSSES; i++)
        f.loss_weight[i] = 1; // of what is evaluated without a run's settings
    if (f.kind == HS_BATCH_LABELLED)
        hs_labelled_of_arch(&f);
    if (f.kind == HS_BATCH_MASKED) {
        f.objective[0] = usual_objective(m), f.n_objectives = 1;
        f.predictions = usual_predictions(&f);
    }
    return f;
}

void hs_feed_take(hs_feed *f, const hs_config *c)
{
    if (hs_config_labelled(c))
        hs_labelled_take(f, c);
    if (f->kind != HS_BATCH_MASKED)
        return;
    if (c->data.length && c->data.length < f->length)
        f->length = c->data.length;
    if (c->data.n_objectives)
        memcpy(f->objective, c->data.objective, sizeof f->objective), f->n_objectives = c->data.n_objectives;
    f->predictions = c->data.predictions ? c->data.predictions : usual_predictions(f);
}

hs_feed hs_feed_of(const hs_config *c)
{
    hs_feed f = hs_feed_of_arch(hs_config_arch(c));
    hs_feed_take(&f, c);
    f.packing = (hs_packing)c->data.packing;
    f.layout = (hs_seq_layout)c->data.layout;
    f.masks_later = c->data.masking == HS_MASKING_DEVICE;
    f.seed = (uint64_t)c->train.seed;
    f.batch = c->train.batch;
    f.library_masks = c->exec.attention_masks == HS_MASKS_LIBRARY, f.any_order = !c->exec.deterministic;
    f.distill = hs_config_distill(c);
    for (int i = 0; i < HS_LOSSES; i++)
        f.loss_weight[i] = hs_config_loss_weight(c, (hs_loss)i);
    return f;
}

// ---- losses
bool hs_feed_has(const hs_feed *f, hs_loss which)
{
    const bool own[HS_LOSSES] = { [HS_LOSS_SOFT] = f->distill.tap[HS_TAP_LOGITS],
                                  [HS_LOSS_COSINE] = f->distill.cosine,
                                  [HS_LOSS_HIDDEN] = f->distill.square,
                                  [HS_LOSS_RELATION] = f->distill.tap[HS_TAP_QKV] };
    return own[which] || hs_arch_wears(f->arch, which);
}

int64_t hs_feed_labels(const hs_feed *f, const hs_batch *b, hs_loss which)
{
    if (which < HS_LOSS_REPLACED)
        return b->labels[which];
    if (!hs_feed_has(f, which))
        return 0;
    const hs_task task = hs_arch_task(f->arch);
    switch (which) {
    case HS_LOSS_SOFT: // a teacher has numbers and answers also for those of which the data have none
        return task == HS_TASK_SPAN                                       ? 2 * b->n[HS_COUNT_SEQS]
               : task == HS_TASK_REGRESSION || task == HS_TASK_MULTILABEL ? b->n[HS_COUNT_SEQS]
               : task                                                     ? b->labels[HS_LOSS_TASK]
               : f->distill.every_row && f->kind == HS_BATCH_MASKED       ? b->n[HS_COUNT_TOKENS]
                                                                          : b->labels[HS_LOSS_TOKENS];
    case HS_LOSS_RELATION:
        return b->n[HS_COUNT_SEQS];
    case HS_LOSS_COSINE:
    case HS_LOSS_HIDDEN:
        return f->distill.n_states * b->n[HS_COUNT_TOKENS];
    default:
        return b->n[HS_COUNT_TOKENS];
    }
}

double hs_feed_counted(const hs_feed *f, const hs_batch *b, hs_loss which)
{
    return b->weights[which] > 0 ? b->weights[which] : (double)hs_feed_labels(f, b, which);
}

void hs_feed_set_length(hs_feed *f, int64_t length)
{
    if (length == f->length)
        return;
    f->length = length;
    f->predictions = f->predictions ? usual_predictions(f) : 0;
}

// ---- capacities
hs_arch_setup hs_feed_setup(const hs_feed *f, int64_t samples)
{
    hs_arch_setup s = { f->arch, kind_of(f)->shape(f, samples) };
    s.shape.distill = f->distill;
    s.shape.library_masks = f->library_masks, s.shape.any_order = f->any_order;
    return s;
}

int64_t hs_feed_eval_samples(const hs_feed *f)
{
    enum { LOGITS = 1 << 25, TOKENS = 4096 };
    const int64_t each = kind_of(f)->row_logits(f), rows = LOGITS / hs_arch_int(f->arch, "model.vocab"), by_tokens = TOKENS / f->length,
                  samples = each && rows / each < by_tokens ? rows / each : by_tokens;
    return samples < 1 ? 1 : samples;
}

hs_arch_setup hs_feed_eval_setup(const hs_feed *f)
{
    hs_feed plain = *f;
    plain.packing = HS_PACKING_NONE, plain.layout = HS_SEQ_UNPADDED;
    plain.class_weights = HS_WEIGHTS_NONE, plain.label_smoothing = 0; // what it loses is judged, not how it is taught
    return hs_feed_setup(&plain, hs_feed_eval_samples(f));
}

double hs_feed_flops_per_token(const hs_feed *f, double attended)
{
    const hs_family *family = f->arch.family;
    const double body = family->flops_per_token(f->arch.settings, attended);
    return f->predictions ? body + 3 * family->head_flops(f->arch.settings) * (double)f->predictions / (double)f->length : body;
}

size_t hs_feed_bytes(const hs_feed *f, int64_t samples)
{
    const hs_arch_shape s = hs_feed_setup(f, samples).shape;
    const int64_t per_sequence = s.max_picks ? s.padded ? 6 : 3 : 1;
    return (size_t)(kind_of(f)->token_columns * s.max_tokens + per_sequence * s.max_seqs + 1 + 2 * s.max_picks) * sizeof(int32_t);
}

const char *hs_feed_unit(const hs_feed *f) { return kind_of(f)->unit; }

// ---- batches and sources
hs_status hs_feed_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key)
{
    return kind_of(f)->random(out, f, samples, key);
}
hs_status hs_feed_train(hs_source **out, const hs_feed *f, hs_corpus *corpus) { return kind_of(f)->train(out, f, corpus); }
hs_status hs_feed_eval(hs_source **out, const hs_feed *f, hs_corpus *corpus) { return kind_of(f)->eval(out, f, corpus); }

hs_status hs_feed_turns(hs_source **out, const hs_feed *f, const hs_corpus *corpus)
{
    hs_mask_turns_opts o = { .range = corpus->val, .length = f->length, .vocab = hs_arch_int(f->arch, "model.vocab") };
    if (!corpus->val.store)
        return HS_FAIL(USAGE, "pseudo-perplexity is of a text or a token store: shards have their masks already");
    HS_TRY(hs_masked_ids_of(corpus->tokenizer, &o.ids));
    return hs_mask_turns_new(out, &o);
}

// Rows of shards have a room of their own.
static hs_status check_shards(const hs_feed *f, const hs_text_inputs *shards)
{
    hs_h5_file *h;
    if (!shards->n)
        return HS_OK;
    HS_TRY(hs_h5_open(&h, shards->input[0].path, hs_arch_int(f->arch, "model.vocab")));
    const hs_h5_info info = hs_h5_info_of(h);
    hs_h5_close(h);
    if (info.length > f->length)
        return HS_FAIL(USAGE, "%s: rows of %lld tokens, but sequences have at most %lld (data.length, else model.context)",
                       shards->input[0].path, (long long)info.length, (long long)f->length);
    if (info.predictions > f->predictions)
        return HS_FAIL(USAGE, "%s: rows of %lld predictions, but data.predictions is %lld", shards->input[0].path,
                       (long long)info.predictions, (long long)f->predictions);
    return HS_OK;
}

// Of layouts that know it row by row.
static hs_status check_rows(const hs_feed *f, const hs_corpus *corpus)
{
    const hs_shard_row *r = &corpus->longest;
    if (r->n > f->length)
        return HS_FAIL(USAGE, "%s: row %lld has %lld tokens, but sequences have at most %lld (data.length, else model.context)", r->path,
                       (long long)r->row, (long long)r->n, (long long)f->length);
    r = &corpus->fullest;
    if (r->n > f->predictions)
        return HS_FAIL(USAGE, "%s: row %lld has %lld predictions, but data.predictions is %lld", r->path, (long long)r->row,
                       (long long)r->n, (long long)f->predictions);
    return HS_OK;
}

// Where the end of a text is too little, what is cut off may be more.
static hs_status in_validation(hs_status st)
{
    char message[1024];
    snprintf(message, sizeof message, "%s", hs_error());
    return st == HS_USAGE ? HS_FAIL(USAGE, "the validation text, %s (or a larger data.val, another file, or 0 for none)", message)
                          : hs_frame_at(st, __FILE__, __LINE__);
}

// A head that no sample has a label for is trained by nobody.
static void tell_idle_heads(const hs_feed *f, const hs_corpus *corpus, unsigned *told)
{
    static const char *const heads[HS_LOSSES] = { [HS_LOSS_NEXT] = "next sentences", [HS_LOSS_ORDER] = "the order of sentences" };
    bool labelled[HS_LOSSES] = { [HS_LOSS_NEXT] = corpus->shards.n > 0 };
    for (int i = 0; i < f->n_objectives && !corpus->shards.n; i++) {
        labelled[HS_LOSS_NEXT] |= f->objective[i].segments == HS_SEGMENTS_NEXT;
        labelled[HS_LOSS_ORDER] |= f->objective[i].segments == HS_SEGMENTS_ORDER;
    }
    for (int h = HS_LOSS_NEXT; h <= HS_LOSS_ORDER; h++) {
        if (!hs_arch_wears(f->arch, (hs_loss)h) || labelled[h] || *told & 1u << h)
            continue;
        hs_warn("the model's head for %s is not trained: %s", heads[h],
                corpus->shards.n ? "HDF5 shards have no labels of that" : "none of data.objectives has labels of that");
        *told |= 1u << h;
    }
}

void hs_feed_tell(const hs_feed *f, const hs_corpus *corpus, bool objectives_set, unsigned *told)
{
    enum { OBJECTIVES = 1u << HS_LOSSES };
    if (hs_arch_batch(f->arch) == HS_BATCH_MASKED)
        tell_idle_heads(f, corpus, told);
    if (!objectives_set || !corpus->shards.n || *told & OBJECTIVES)
        return;
    hs_warn("data.objectives are not used: %s has its masks and pairs drawn", corpus->shards.input[0].path);
    *told |= OBJECTIVES;
}

hs_status hs_feed_check_shards(const hs_feed *f, const hs_corpus *corpus)
{
    HS_TRY(check_shards(f, &corpus->shards));
    HS_TRY(check_shards(f, &corpus->val_shards));
    return check_rows(f, corpus);
}

hs_status hs_feed_check(const hs_feed *f, hs_corpus *corpus)
{
    HS_TRY(hs_feed_check_shards(f, corpus));
    hs_source *s;
    HS_TRY(hs_feed_train(&s, f, corpus));
    hs_source_free(s);
    if (!hs_corpus_has_val(corpus))
        return HS_OK;
    const hs_status st = hs_feed_eval(&s, f, corpus);
    if (st != HS_OK)
        return in_validation(st);
    hs_source_free(s);
    return HS_OK;
}
