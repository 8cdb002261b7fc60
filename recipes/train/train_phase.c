// train_phase: what belongs to one phase of a run - its data, plans, loader - and the step from one to the next.
#include "core/base/log.h"
#include "core/run/feed.h"
#include "data/checkpoint/peft.h"
#include "data/checkpoint/weights.h"
#include "infer/session/session.h"
#include "models/nn/task_head.h"
#include "recipes/program/budget.h"
#include "recipes/program/peak.h"
#include "recipes/train/resumed.h"
#include "recipes/train/trainer.h"
#include "recipes/train/weights_from.h"
#include "recipes/train/x_scales.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

// ---- where a run stands
void hs_trainer_move_on(const hs_trainer *t, hs_train_state *s)
{
    const int phase = (int)s->phase;
    if (phase + 1 >= hs_config_n_phases(t->whole) || s->phase_step < hs_config_phase_steps(t->whole, phase))
        return;
    s->phase++, s->phase_step = 0;
    s->next_sample = 0, s->step_state.applied = 0;
    s->best_val_loss = -1, s->best_step = 0; // another text or length has other losses
}

int64_t hs_trainer_steps(const hs_trainer *t)
{
    int64_t n = t->at.step - t->at.phase_step;
    for (int p = (int)t->at.phase; p < hs_config_n_phases(t->whole); p++)
        n += hs_config_phase_steps(t->whole, p);
    return n;
}

// ---- settings and data
// Before a tokenizer is known: what settings alone can say of the model may have changed with train.init_from.
static hs_status phase_config(hs_trainer *t, hs_config *c, int phase)
{
    HS_TRY(hs_config_phase(c, t->whole, phase));
    const hs_status st = hs_config_check_batches(c);
    return st == HS_OK ? HS_OK : hs_config_in_phase(st, t->whole, phase);
}

// Whose tokenizer goes with the text: that of the checkpoint where the text is another than the one it came from.
static const char *tokenizer_folder(const hs_trainer *t, const char *weights)
{
    int64_t size;
    const bool theirs = t->run.from[0] && (t->at.phase > 0 || hs_config_wordpiece(t->whole, &size));
    return theirs ? t->run.from : weights;
}

static hs_status open_corpus(hs_trainer *t)
{
    const char *weights = NULL;
    if (!t->tokenizer)
        HS_TRY(hs_weights_take(t->whole, &t->run, &weights));
    HS_TRY(phase_config(t, t->c, (int)t->at.phase));
    hs_labels_free(&t->classes);
    if (hs_config_labelled(t->c))
        HS_TRY(hs_weights_classes(t->c, &t->run, &t->classes));
    const bool taught = hs_config_labelled(t->c) && !t->classes.n;
    if (taught)
        HS_TRY(hs_teacher_classes(t->c, &t->classes));
    const hs_status st = hs_corpus_open(&t->corpus, &(hs_corpus_from){ .config = t->c,
                                                                       .run_dir = t->run.dir,
                                                                       .tokenizer_dir = tokenizer_folder(t, weights),
                                                                       .given = t->tokenizer,
                                                                       .labels = &t->classes,
                                                                       .labels_of = taught           ? t->c->distill.teacher
                                                                                    : t->run.from[0] ? t->run.from
                                                                                                     : t->run.init });
    if (st != HS_OK)
        return hs_config_in_phase(st, t->whole, (int)t->at.phase);
    if (!t->tokenizer) // goes on to the next phase
        t->tokenizer = t->corpus.tokenizer, t->corpus.borrowed = true;
    return HS_OK;
}

// The rows of shards have as much room as in the run before, and they are the same ones: then they fit.
static bool same_rows(const hs_trainer *t, int phase)
{
    static const char *const paths[] = { "data.train", "data.val" };
    hs_config *c = t->before && phase < hs_config_n_phases(t->before) ? calloc(2, sizeof *c) : NULL; // then and now
    bool same = c && hs_config_phase(c, t->before, phase) == HS_OK && hs_config_phase(c + 1, t->whole, phase) == HS_OK;
    for (int i = 0; i < HS_COUNT(paths) && same; i++)
        same = strcmp(hs_config_field(c, paths[i]), hs_config_field(c + 1, paths[i])) == 0;
    if (same) {
        const hs_feed then = hs_feed_of(c), now = hs_feed_of(c + 1);
        same = now.length >= then.length && now.predictions >= then.predictions;
    }
    free(c);
    return same;
}

// Of a run that goes on: samples there are, as there were; rows of shards may have less room than before.
static hs_status check_again(hs_trainer *t)
{
    if (t->corpus.shards.n && t->saved_step < 0 && !same_rows(t, (int)t->at.phase)) // else the border of phases of this process
        HS_TRY(hs_corpus_read_shards(&t->corpus));
    return hs_feed_check_shards(&t->feed, &t->corpus);
}

// Numbers of a head are those of the data; a span has a start and an end.
static hs_status settle_labels(hs_trainer *t)
{
    const hs_examples *e = t->corpus.labelled.all;
    if (!e || e->about == HS_ABOUT_SPAN || e->about == HS_ABOUT_LM)
        return HS_OK;
    HS_TRY(hs_weights_labels(t->whole, e->about == HS_ABOUT_REGRESSION ? e->n_values : e->labels.n));
    return hs_teacher_check_labels(t->whole);
}

hs_status hs_phase_settle(hs_trainer *t)
{
    HS_TRY(open_corpus(t));
    HS_TRY(hs_weights_vocabulary(t->whole, hs_tokenizer_vocab(t->tokenizer)));
    HS_TRY(hs_weights_pad(t->whole, t->tokenizer));
    HS_TRY(hs_teacher_check_tokenizer(t->whole, t->tokenizer));
    HS_TRY(settle_labels(t));
    HS_TRY(hs_config_phase(t->c, t->whole, (int)t->at.phase));
    t->arch = hs_config_arch(t->c);
    HS_TRY(hs_arch_check(t->arch));
    t->feed = hs_feed_of(t->c);
    t->feed.ranks = t->ranks.dp;
    HS_TRY(hs_trainer_settle_epochs(t));
    const hs_model_ends end = t->info.end; // of the run
    const hs_sparsity sparsity = t->info.sparsity;
    t->info = hs_config_info(t->c);
    t->info.end = end, t->info.sparsity = sparsity;
    if (t->corpus.labelled.all)
        t->info.labels = t->corpus.labelled.all->labels; // borrowed
    if (!t->run.from[0])
        hs_feed_tell(&t->feed, &t->corpus, t->c->data.n_objectives > 0, &t->told);
    hs_status st = t->run.from[0] ? check_again(t) : hs_feed_check(&t->feed, &t->corpus);
    if (st == HS_OK)
        st = hs_trainer_judge(t);
    return st == HS_OK ? HS_OK : hs_config_in_phase(st, t->whole, (int)t->at.phase);
}

// ---- the phases behind
// The key that a phase's data are named by: its own, or the run's.
static const char *key_of(const hs_trainer *t, int phase, const char *own, const char *of, char buf[HS_KEY_NAME])
{
    snprintf(buf, HS_KEY_NAME, "phases.%d.%s", phase, own);
    return strcmp(hs_config_where(t->whole, buf), hs_config_where(t->whole, of)) == 0 ? of : buf;
}

static hs_status check_file(const char *key, const char *path)
{
    if (!path[0] || strcmp(path, "-") == 0 || strpbrk(path, "*?[") || access(path, R_OK) == 0)
        return HS_OK;
    return HS_FAIL(USAGE, "%s: %s: %s", key, path, strerror(errno));
}

static hs_status check_files(hs_trainer *t, const hs_config *c, int phase)
{
    hs_data_part part[HS_MIX_SOURCES];
    char key[HS_KEY_NAME], *end;
    int n;
    HS_TRY(hs_config_sources(c, part, &n));
    for (int i = 0; i < n; i++)
        HS_TRY(check_file(key_of(t, phase, "train", c->data.n_sources ? "data.sources.0.path" : "data.train", key), part[i].path));
    strtod(c->data.val, &end);
    return *end ? check_file(key_of(t, phase, "val", "data.val", key), c->data.val) : HS_OK;
}

static hs_status check_plans(hs_trainer *t, const hs_config *c)
{
    hs_engine *e;
    HS_TRY(
        hs_budget_engine(&e, c, &t->policy, c->train.batch / t->ranks.dp, t->device, &t->ranks.grid, true, hs_ckpt_codes_coder(t->codes)));
    const hs_status st = hs_budget_check(e, c, &t->policy, hs_parallel_here(t->ranks.parallel));
    hs_engine_free(e);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status check_phase(hs_trainer *t, hs_config *c, int phase)
{
    hs_corpus corpus;
    HS_TRY(phase_config(t, c, phase));
    HS_TRY(check_files(t, c, phase));
    hs_feed feed = hs_feed_of(c);
    feed.ranks = t->ranks.dp;
    hs_status st =
        hs_corpus_open(&corpus, &(hs_corpus_from){ .config = c,
                                                   .run_dir = t->run.from[0] ? NULL : t->run.dir, // read through by the first start
                                                   .given = t->tokenizer });
    if (st == HS_OK) {
        if (!t->run.from[0])
            hs_feed_tell(&feed, &corpus, c->data.n_objectives > 0, &t->told);
        if (t->run.from[0] && !same_rows(t, phase))
            st = hs_corpus_read_shards(&corpus);
        if (st == HS_OK)
            st = hs_feed_check(&feed, &corpus);
        hs_corpus_close(&corpus);
    }
    if (st == HS_OK)
        st = check_plans(t, c);
    return st == HS_OK ? HS_OK : hs_config_in_phase(st, t->whole, phase);
}

// All of it is trained at last.
static hs_status check_unfrozen(hs_trainer *t)
{
    hs_config *c = malloc(sizeof *c);
    if (!c)
        return HS_FAIL(MEMORY, "no memory for the settings of a run");
    *c = *t->c;
    c->train.trained_from = 0;
    const hs_status st = check_plans(t, c);
    free(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_phase_check_later(hs_trainer *t)
{
    if (t->c->train.unfreeze > 0)
        HS_TRY(check_unfrozen(t));
    hs_status st = HS_OK;
    hs_config *c = malloc(sizeof *c);
    if (!c)
        return HS_FAIL(MEMORY, "no memory for the settings of a phase");
    for (int p = (int)t->at.phase + 1; p < hs_config_n_phases(t->whole) && st == HS_OK; p++)
        st = check_phase(t, c, p);
    free(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- engine and weights
const char *hs_trainer_weights(const hs_trainer *t) { return t->run.from[0] ? t->run.from : t->run.init; }

// An adapter stands beside weights; a pooler that they lack is drawn, and trained like a head.
static hs_status settle_adapter(hs_trainer *t)
{
    char base[HS_PATH];
    bool pooler;
    if (!t->c->adapter.rank)
        return HS_OK;
    HS_TRY(hs_peft_base(hs_trainer_weights(t), base));
    HS_TRY(hs_weights_have(base, t->info.files, "pooler.weight", &pooler));
    t->c->adapter.pooler = !pooler;
    return HS_OK;
}

// Weights that are kept as codes are read as they are, and not trained: an adapter stands beside them.
static hs_status open_codes(hs_trainer *t)
{
    hs_model_info info = { 0 };
    const hs_family *family;
    const char *weights = hs_trainer_weights(t);
    if (!weights[0] || t->codes)
        return HS_OK;
    hs_status st = hs_session_info(t->whole->table->families, weights, &info, &family);
    if (st == HS_OK && info.coded && !t->c->adapter.rank)
        st = HS_FAIL(USAGE, "%s is quantized: its weights are not trained; --adapter.rank 8 trains an adapter beside them", weights);
    if (st == HS_OK && info.coded && t->ranks.tp > 1)
        st = HS_FAIL(UNSUPPORTED, "%s is quantized, and parallel.tp is %d: such weights are not divided", weights, t->ranks.tp);
    if (st == HS_OK && info.coded)
        st = hs_ckpt_codes_open(&t->codes, weights, &(hs_ckpt_opts){ .files = t->info.files });
    hs_model_info_free(&info);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status read_state(void *run, int id, void *to) { return hs_run_states_read(run, id, to); }
static hs_status write_state(void *run, int id, const void *from) { return hs_run_states_write(run, id, from); }
static hs_ckpt_states states_of(const hs_trainer *t)
{
    return (hs_ckpt_states){ t->engine->model->states, read_state, write_state, t->engine->run };
}

static hs_status load_weights(hs_trainer *t)
{
    const hs_ckpt_opts names = { .files = t->info.files }, start = { .files = t->info.files,
                                                                     .heads_open = true,
                                                                     .fresh = t->c->task.head == HS_HEAD_NEW ? HS_TASK_SCOPES : NULL };
    hs_engine *e = t->engine;
    if (!t->run.from[0] && !t->run.init[0])
        return t->teacher ? hs_teacher_begin(t->teacher, t->c, e->params) : HS_OK;
    if (!t->run.from[0])
        return hs_ckpt_load_params(t->run.init, &start, e->params);
    HS_TRY(hs_ckpt_load_params(t->run.from, &names, e->params));
    HS_TRY(hs_ckpt_load_train(t->run.from, e->params, &t->at));
    const hs_ckpt_states states = states_of(t);
    HS_TRY(hs_ckpt_load_states(t->run.from, &states));
    if (t->at.seed != (uint64_t)t->c->train.seed)
        return HS_FAIL(USAGE, "train.seed is %lld, but %s was begun with %llu; --resume none --overwrite starts anew",
                       (long long)t->c->train.seed, t->run.from, (unsigned long long)t->at.seed);
    hs_trainer_move_on(t, &t->at);
    hs_resumed_scale(t->c, t->before, &t->at.step_state);
    hs_run_set_state(e->run, &t->at.step_state);
    memcpy(t->last.loss, t->at.step_state.loss, sizeof t->last.loss); // of a run that has nothing left to do
    hs_run_begin(e->run, (uint64_t)t->at.step);
    return HS_OK;
}

// A folder may say that it is pruned after another tool has trained it on without minding.
static hs_status check_zeros(const hs_trainer *t)
{
    const hs_params *ps = t->engine->params;
    enum { CUT = 16 }; // of groups at the ends of a share
    if (strcmp(t->info.sparsity.pattern, "2:4") != 0)
        return HS_OK;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        size_t first, n, zeros = 0;
        if (!p->keeps_zeros || p->frozen)
            continue;
        hs_params_value_range(ps, p, &first, &n);
        float *w = malloc(n * sizeof *w + 1);
        if (!w)
            return HS_FAIL(MEMORY, "no memory for %zu values of %s", n, p->name);
        hs_params_fetch(ps, p, first, w, n);
        for (size_t k = 0; k < n; k++)
            zeros += w[k] == 0;
        free(w);
        if (2 * zeros + CUT < n)
            return HS_FAIL(USAGE,
                           "%s says that %s is pruned 2:4, but %zu of %zu values are zero: it was trained on without keeping them; "
                           "--train.keep_zeros=none takes it as it is",
                           hs_trainer_weights(t), p->name, zeros, n);
    }
    return HS_OK;
}

// The text of the plan that backward and update stand on, as a number.
static hs_status same_plan(const hs_trainer *t)
{
    char *text = NULL, hash[32];
    size_t n = 0;
    if (t->ranks.size == 1)
        return HS_OK;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return HS_FAIL(MEMORY, "no memory for the plan as text");
    hs_graph_write(hs_plan_graph(hs_engine_plan(t->engine, HS_TRAIN)), f);
    fclose(f);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)XXH3_64bits(text, n));
    free(text);
    return hs_ranks_same(&t->ranks, t->ranks.host.dp, "the plan's hash", hash); // of tp ranks each has a place of its own in it
}

static hs_status open_tied(hs_trainer *t)
{
    const hs_tied_opts o = { .every = t->c->ipq.every,
                             .step = t->at.step,
                             .steps = hs_trainer_steps(t),
                             .products = hs_config_products(t->c),
                             .files = t->info.files };
    return hs_tied_new(&t->tied, t->engine, &o);
}

hs_status hs_phase_engine(hs_trainer *t)
{
    if (t->c->optim.warmup >= t->c->train.steps)
        hs_warn("optim.warmup is %lld steps, train.steps %lld: the learning rate never gets to optim.lr", (long long)t->c->optim.warmup,
                (long long)t->c->train.steps);
    t->c->train.trained_from = hs_trainer_stage(t);
    HS_TRY(settle_adapter(t));
    HS_TRY(open_codes(t));
    hs_status st = hs_budget_engine(&t->engine, t->c, &t->policy, hs_feed_share(&t->feed), t->device, &t->ranks.grid,
                                    t->run.from[0] || t->run.init[0], hs_ckpt_codes_coder(t->codes));
    if (st != HS_OK)
        return hs_budget_explain(st, t->c, &t->policy, t->device);
    HS_TRY(hs_ranks_meet(&t->ranks, "what memory is free")); // all have given back what the phase before had
    HS_TRY(hs_budget_check(t->engine, t->c, &t->policy, hs_parallel_here(t->ranks.parallel)));
    HS_TRY(same_plan(t)); // and none takes memory before all have looked at what is free
    HS_TRY(hs_engine_start(t->engine));
    HS_TRY(hs_trainer_rates(t));
    t->at = (hs_train_state){ .seed = (uint64_t)t->c->train.seed, .best_val_loss = -1 };
    if (hs_config_learns(t->c) && !t->teacher)
        HS_TRY(hs_teacher_open(&t->teacher, t->c, &t->feed, t->engine->model));
    HS_TRY(load_weights(t));
    HS_TRY(check_zeros(t));
    if (t->teacher)
        HS_TRY(hs_teacher_settle(t->teacher));
    t->saved_step = hs_run_dir_holds(&t->run, t->run.from) ? t->at.step : -1;
    return t->c->ipq.every ? open_tied(t) : HS_OK;
}

// ---- what reads and writes beside it
static hs_status find_best(hs_trainer *t)
{
    HS_TRY(hs_ckpt_go_on(t->ckpt, &t->at));
    if (t->at.best_val_loss >= 0 && !hs_folder_has_best(t->run.checkpoints, &t->at))
        hs_info("the best checkpoint so far, of step %lld, is not in %s: BEST will name the first that is better",
                (long long)t->at.best_step, t->run.checkpoints);
    return HS_OK;
}

static hs_status write_cache(void *arg)
{
    hs_trainer *t = arg;
    return hs_corpus_cache(&t->corpus, t->run.dir);
}

// The first rank writes the cache of the text, the others read it.
static hs_status share_cache(hs_trainer *t)
{
    HS_TRY(hs_ranks_first_does(&t->ranks, "the cache of the text", write_cache, t));
    return hs_ranks_first(&t->ranks) ? HS_OK : hs_corpus_cached_by_other(&t->corpus, t->run.dir);
}

hs_status hs_phase_writer(hs_trainer *t)
{
    char base[HS_PATH] = "";
    if (t->c->adapter.rank)
        HS_TRY(hs_peft_base(hs_trainer_weights(t), base));
    const hs_ckpt_opts opts = { .dir = t->run.checkpoints,
                                .keep = (int)t->c->checkpoint.keep,
                                .files = t->info.files,
                                .base = base,
                                .grid = &t->ranks.grid,
                                .world = t->ranks.world,
                                .comm = t->ranks.files,
                                .states = states_of(t) };
    HS_TRY(share_cache(t));
    HS_TRY(hs_ckpt_new(&t->ckpt, &opts, t->engine->params));
    return t->run.from[0] ? find_best(t) : HS_OK;
}

// An evaluation reads the batches, which draws no masks.
static hs_status look_at_scales(hs_trainer *t, hs_source *source)
{
    hs_feed masked = t->feed;
    hs_source *own;
    if (!masked.masks_later)
        return hs_trainer_x_scales(t, source);
    masked.masks_later = false;
    HS_TRY(hs_feed_train(&own, &masked, &t->corpus));
    const hs_status st = hs_trainer_x_scales(t, own);
    hs_source_free(own);
    return st;
}

hs_status hs_phase_loader(hs_trainer *t)
{
    hs_source *source;
    if (hs_corpus_has_val(&t->corpus))
        HS_TRY(hs_feed_eval(&t->validation, &t->feed, &t->corpus));
    HS_TRY(hs_step_open(t));
    HS_TRY(hs_feed_train(&source, &t->feed, &t->corpus));
    const hs_status st = look_at_scales(t, source);
    if (st != HS_OK) {
        hs_source_free(source);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    return hs_loader_new(&t->loader, source,
                         &(hs_loader_opts){ .batch = t->c->train.batch,
                                            .n_micro = (int)t->c->train.accumulate,
                                            .rank = t->ranks.grid.dp->rank,
                                            .size = t->ranks.dp,
                                            .first_sample = t->at.next_sample,
                                            .memory = hs_device_batches(t->device),
                                            .depth = (int)(t->c->train.accumulate + t->c->train.prefetch) });
}

// Tokens that attention sees: a window, or a document of mean length (that is the least they can see: longer ones count for more).
static int64_t attended(const hs_trainer *t)
{
    const int64_t window = t->feed.length, mean = hs_corpus_mean_document(&t->corpus);
    return t->c->data.packing == HS_PACKING_NONE || mean > window ? window : mean;
}

// Of the whole model the family's figure, which attention makes smaller in packed rows; where parts are frozen the plan's, of whole
// windows.
static double flops_per_token(const hs_trainer *t)
{
    const hs_plan_info *info = hs_plan_info_of(hs_engine_plan(t->engine, HS_TRAIN));
    if (t->c->train.freeze[0] || t->c->train.trained_from > 0 || t->c->adapter.rank)
        return t->ranks.tp * (info->flops_forward + info->flops_backward - info->flops_again) /
               (double)hs_feed_setup(&t->feed, hs_feed_share(&t->feed)).shape.max_tokens;
    return hs_feed_flops_per_token(&t->feed, (double)attended(t));
}

hs_status hs_phase_progress(hs_trainer *t)
{
    hs_policy policy = t->policy;
    policy.n_overrides = 0, policy.quant = (hs_quant_policy){ 0 }; // the peak is the machine's, not the model's
    hs_progress *p = &t->progress;
    p->steps = hs_trainer_steps(t), p->flops_per_token = flops_per_token(t);
    p->n = p->at = 0;
    if (p->peak_flops > 0 || t->o->dry)
        return HS_OK;
    HS_TRY(hs_measure_peak(t->device, &policy, 0.1, &t->peak_flops));
    t->peak_flops *= hs_ranks_cores(&t->ranks, t->device->team) / t->device->team; // it is that of threads with a core each
    p->peak_flops = t->peak_flops;
    return hs_ranks_sum(&t->ranks, "the peak of all ranks", &p->peak_flops, 1);
}

void hs_phase_close(hs_trainer *t)
{
    hs_loader_free(t->loader);
    hs_judge_free(t->judge);
    hs_source_free(t->validation);
    hs_profile_free(t->profile);
    hs_ckpt_free(t->ckpt);
    hs_tied_free(t->tied);
    hs_engine_free(t->engine);
    hs_ckpt_codes_close(t->codes);
    hs_teacher_free(t->teacher);
    hs_corpus_close(&t->corpus);
    t->codes = NULL, t->teacher = NULL, t->loader = NULL, t->validation = NULL, t->judge = NULL, t->profile = NULL, t->ckpt = NULL,
    t->engine = NULL, t->tied = NULL;
}

// ---- from one to the next
// What was saved at the border.
static hs_status go_on_from_saved(hs_trainer *t)
{
    HS_TRY(hs_ckpt_wait(t->ckpt));
    return hs_ckpt_resolve_on(t->ranks.world, t->run.checkpoints, HS_CKPT_TRAIN, t->run.from, sizeof t->run.from);
}

// The engine goes: what a profile has of its steps is told; one that has none yet waits for the next engine's.
static hs_status leave_profile(hs_trainer *t, bool *waits)
{
    const hs_profile *p = t->profile;
    *waits = p && !p->n;
    if (p && p->n)
        hs_info("--profile: %d of %d steps were taken: a trace ends with its phase, or where more is trained", p->n, p->wanted);
    if (!*waits)
        return hs_trainer_tell_profile(t);
    hs_profile_free(t->profile);
    t->profile = NULL;
    return HS_OK;
}

// The engine alone is another one: data, what was read ahead and where it stands go on.
hs_status hs_trainer_next_stage(hs_trainer *t)
{
    bool profiles;
    HS_TRY(go_on_from_saved(t));
    HS_TRY(leave_profile(t, &profiles));
    hs_ckpt_free(t->ckpt);
    hs_engine_free(t->engine);
    t->ckpt = NULL, t->engine = NULL;
    HS_TRY(hs_phase_engine(t));
    HS_TRY(profiles ? hs_phase_profile(t) : HS_OK);
    HS_TRY(hs_phase_writer(t));
    HS_TRY(hs_phase_progress(t));
    hs_progress_say(&t->progress, "step %lld: %zu of %zu parameters are trained from here on (train.unfreeze)", (long long)t->at.step,
                    hs_params_count_trained(t->engine->params), hs_params_count(t->engine->params));
    return HS_OK;
}

hs_status hs_trainer_next_phase(hs_trainer *t)
{
    bool profiles;
    HS_TRY(go_on_from_saved(t));
    HS_TRY(leave_profile(t, &profiles));
    hs_phase_close(t);
    hs_trainer_move_on(t, &t->at);
    const int phase = (int)t->at.phase;
    HS_TRY(hs_phase_settle(t));
    HS_TRY(hs_phase_engine(t));
    if (t->at.phase != phase || t->at.phase_step)
        return HS_FAIL(INTERNAL, "%s is of phase %lld, step %lld; phase %d was to begin", t->run.from, (long long)t->at.phase,
                       (long long)t->at.phase_step, phase);
    HS_TRY(profiles ? hs_phase_profile(t) : HS_OK);
    HS_TRY(hs_phase_writer(t));
    HS_TRY(hs_phase_loader(t));
    return hs_phase_progress(t);
}
