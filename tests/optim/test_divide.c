// divided optimizers: after ten steps every value, moment, loss and norm has the bits that it has where each rank keeps all - whatever the
// optimizer, the low type, the number of ranks, the size of buckets, accumulation, tensor parallelism, an overflow; each rank has its
// share.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/divide.h"
#include "ops/ops.h"
#include "tests/support/support_comm.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"
#include <math.h>
#include <stdlib.h>

enum { STEPS = 10, SEQS = 8, LENGTH = 7, BAD_STEP = 4, SLABS = 4, SMALL = 64 << 10 };
static const char *const slab_names[SLABS] = { "master", "low", "adam.m", "adam.v" };

typedef struct way {
    const char *policy, *optim;
    int dp, tp, micro;
    hs_divide divide;
    size_t bucket_bytes; // 0: all in one
    bool single;         // gradients among the activations
    bool sequence;       // sequence parallelism
    const char *freeze;
    bool small_moments; // in bf16
    hs_masters masters;
    double clip;
    int threads;
} way;

typedef struct outcome {
    float *slab[SLABS]; // as parameters are stored, what this rank has
    uint8_t *has[SLABS];
    size_t n;
    hs_params_bytes bytes;
    hs_step_record record[STEPS];
    int awaits; // thunks of a micro-step that wait for values
    int64_t applied, skipped;
} outcome;

typedef struct job {
    way w;
    outcome of[MAX_RANKS];
    comm_calls calls[RANKS_COMMS];
} job;

// ---- a job

static const char *slab_of(const way *w, int i)
{
    const bool adam = !strcmp(w->optim, "sgd") || !strcmp(w->optim, "lars") || !strcmp(w->optim, "novograd") ? false : true;
    return i < 2 || adam ? slab_names[i] : i == 3 ? "none" : !strcmp(w->optim, "novograd") ? "novograd.m" : "sgd.m";
}

static void keep_values(outcome *o, const hs_params *ps)
{
    for (int k = 0; k < ps->n_params; k++) {
        const hs_param *p = ps->param[k];
        size_t first, n;
        hs_params_value_range(ps, p, &first, &n);
        if (n)
            hs_params_fetch(ps, p, first, o->slab[0] + flat_at(ps, p) + first, n);
        memset(o->has[0] + flat_at(ps, p) + first, 1, n);
    }
}

static void keep(outcome *o, const way *w, const hs_params *ps)
{
    o->n = flat_count(ps);
    for (int i = 0; i < SLABS; i++) {
        const hs_slab *s = hs_params_slab(ps, slab_of(w, i));
        o->slab[i] = calloc(o->n + 1, sizeof *o->slab[i]), o->has[i] = calloc(o->n + 1, 1);
        if (i == 0)
            keep_values(o, ps);
        for (int k = 0; s && i > 0 && k < ps->n_params; k++) {
            const hs_param *p = ps->param[k];
            size_t first, n;
            hs_slab_range(s, p, &first, &n);
            if (!n)
                continue;
            void *stored = malloc(s->place[k].bytes);
            hs_params_read(ps, s, p, stored);
            hs_convert(o->slab[i] + flat_at(ps, p) + first, HS_F32, stored, s->spec.dtype, (int64_t)n);
            memset(o->has[i] + flat_at(ps, p) + first, 1, n);
            free(stored);
        }
    }
    o->bytes = hs_params_bytes_of(ps);
}

static hs_status steps(const way *w, hs_run *run, int plan, const hs_grid *grid, outcome *o)
{
    const int own = SEQS / w->dp / w->micro, here = grid->dp->rank;
    int lengths[SEQS + 1] = { 0 };
    for (int i = 0; i < own; i++)
        lengths[i] = LENGTH + (i & 1);
    for (int step = 0; step < STEPS; step++) {
        for (int micro = 0; micro < w->micro; micro++) {
            tiny_fill_run(run, plan, lengths, (uint64_t)step + 1, (here * w->micro + micro) * own);
            hs_run_in(run)->n_micro = w->micro;
            hs_run_in(run)->inv_count[0] = step == BAD_STEP && here == w->dp - 1 ? INFINITY : 1.0f / (SEQS * LENGTH);
            HS_TRY(hs_run_micro(run, plan, micro == w->micro - 1));
        }
        HS_TRY(hs_run_update(run)); // nobody waits: the next step does for values where it reads them
    }
    for (int step = 0; step < STEPS; step++) {
        const hs_step_record *r = hs_run_read_record(run);
        if (!r)
            return hs_run_wait(run);
        o->record[step] = *r;
    }
    o->applied = hs_run_state(run)->applied, o->skipped = hs_run_state(run)->skipped;
    return HS_OK;
}

static hs_status work(const hs_grid *grid, void *arg, int rank)
{
    job *j = arg;
    const way *w = &j->w;
    const hs_policy policy = policy_named(w->policy);
    tiny_gpt tiny = tiny_gpt_of(&(tiny_opts){ .dropout = 0.1f, .max_seqs = SEQS, .max_tokens = 80 });
    tiny.config.heads = 4, tiny.config.width = 64;
    hs_optim_config c = optim_named(w->optim);
    hs_device *dev;
    hs_model *m;
    hs_run *run;
    hs_optim *optim;
    int plan;
    c.scaler = hs_scaler_preset(HS_SCALER_AUTO, policy.low);
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 3e-3 };
    c.moments = w->small_moments ? HS_BF16 : HS_F32, c.masters = w->masters, c.clip = w->clip;
    HS_TRY(hs_open_device(&dev, test_device, w->threads ? w->threads : 1, NULL, 0, HS_ONEDNN_NO));
    HS_TRY(hs_model_new(&m, &(hs_model_opts){ .device = dev,
                                              .policy = &policy,
                                              .micro_steps = w->single ? 1 : 2,
                                              .seed = 5,
                                              .grid = *grid,
                                              .bucket_bytes = w->bucket_bytes,
                                              .divide = w->divide,
                                              .masters = w->masters,
                                              .sequence = w->sequence }));
    HS_TRY(hs_params_freeze(m->params, w->freeze, "freeze"));
    HS_TRY(hs_model_plan(m, HS_TRAIN, tiny_gpt_model, &tiny, &plan));
    HS_TRY(hs_optim_declare(&c, m->params));
    HS_TRY(hs_model_alloc(m, true));
    HS_TRY(hs_run_new(&run, m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }));
    HS_TRY(hs_optim_new(&optim, &c, m->params, grid, dev));
    HS_TRY(hs_run_set_update(run, hs_optim_segment(optim)));
    hs_step_state begin;
    hs_optim_init_state(&c, &begin);
    hs_run_set_state(run, &begin);
    const hs_segment *s = hs_exec_micro(hs_run_exec(run, plan), HS_MICRO_FIRST);
    for (int i = 0; i < s->n; i++)
        j->of[rank].awaits += !strcmp(s->thunk[i].name, "values await");
    HS_TRY(steps(w, run, plan, grid, &j->of[rank]));
    keep(&j->of[rank], w, m->params);
    hs_run_free(run);
    hs_optim_free(optim);
    hs_model_free(m);
    hs_device_close(dev);
    return HS_OK;
}

static void job_run(job *j, way w)
{
    *j = (job){ .w = w };
    if (ranks_run_grid(w.dp, w.tp, work, j, j->calls) != HS_OK)
        fail_msg("%s %s %d x %d: %s", w.policy, w.optim, w.dp, w.tp, hs_error());
}

static void job_free(job *j)
{
    for (int r = 0; r < MAX_RANKS; r++)
        for (int i = 0; i < SLABS; i++)
            free(j->of[r].slab[i]), free(j->of[r].has[i]);
}

// ---- against a job whose ranks have all

static void same_bits(const job *whole, const job *parts)
{
    const way *w = &parts->w;
    for (int t = 0; t < w->tp; t++) {
        const outcome *all = &whole->of[t];
        for (int i = 0; i < SLABS; i++)
            for (size_t k = 0; k < all->n; k++) {
                int have = 0;
                for (int d = 0; d < w->dp; d++) {
                    const outcome *o = &parts->of[d * w->tp + t];
                    have += o->has[i][k];
                    if (o->has[i][k] && memcmp(&o->slab[i][k], &all->slab[i][k], sizeof(float)) != 0)
                        fail_msg("%s %s %d x %d: %s, element %zu: %g, not %g", w->policy, w->optim, w->dp, w->tp, slab_of(w, i), k,
                                 (double)o->slab[i][k], (double)all->slab[i][k]);
                }
                assert_int_equal(have > 0, all->has[i][k]); // somebody has it
                if (have && i == 1)
                    assert_int_equal(have, w->dp); // low copies: everybody
                if (have && i > 1)
                    assert_true(have == 1 || w->divide == HS_DIVIDE_NONE);
            }
    }
    for (int r = 0; r < w->dp * w->tp; r++) {
        const outcome *o = &parts->of[r], *all = &whole->of[r % w->tp];
        assert_memory_equal(o->record, all->record, sizeof o->record);
        assert_int_equal(o->applied, STEPS - 1);
        assert_int_equal(o->skipped, 1);
    }
}

// About an even part; chunks are dealt, and a parameter's place is rounded up to 64 elements, which counts in a small model.
static void even_part(size_t part, size_t whole, int dp) { assert_true((double)part < (double)whole * (1.0 / dp + 0.2)); }

static void compare(way w)
{
    job whole, parts;
    w.clip = w.clip ? w.clip : optim_named(w.optim).clip;
    const hs_divide divide = w.divide ? w.divide : HS_DIVIDE_STATES;
    w.divide = HS_DIVIDE_NONE;
    job_run(&whole, w);
    w.divide = divide;
    job_run(&parts, w);
    same_bits(&whole, &parts);
    for (int d = 0; d < w.dp; d++)
        even_part(parts.of[d * w.tp].bytes.saved, whole.of[0].bytes.saved, w.dp);
    for (int d = 0; d < w.dp && w.divide == HS_DIVIDE_GRADIENTS; d++)
        even_part(parts.of[d * w.tp].bytes.grad, whole.of[0].bytes.grad, w.dp);
    assert_true(whole.calls[RANKS_DP].reduce_parts == 0 && parts.calls[RANKS_DP].reduce_parts > 0);
    assert_true(whole.calls[RANKS_DP].gather_parts == 0 && parts.calls[RANKS_DP].gather_parts > 0);
    job_free(&whole);
    job_free(&parts);
}

static void every_optimizer(void **state)
{
    (void)state;
    static const char *const optims[] = { "adamw", "electra",   "lamb", "nvlamb", "apex-nvlamb", "albert",
                                          "mxnet", "deepspeed", "sgd",  "lars",   "novograd" };
    for (int i = 0; i < HS_COUNT(optims); i++)
        compare((way){ .policy = "bf16", .optim = optims[i], .dp = 2, .tp = 1, .micro = 1, .bucket_bytes = SMALL });
}

static void every_low_type(void **state)
{
    (void)state;
    static const char *const policies[] = { "fp32", "bf16", "fp16" };
    for (int i = 0; i < HS_COUNT(policies); i++)
        for (int dp = 2; dp <= 4; dp *= 2) {
            compare((way){ .policy = policies[i], .optim = "lamb", .dp = dp, .tp = 1, .micro = 1, .single = true });
            compare((way){ .policy = policies[i], .optim = "adamw", .dp = dp, .tp = 1, .micro = 2, .bucket_bytes = SMALL, .clip = 0.1 });
        }
}

static void accumulation(void **state)
{
    (void)state;
    compare((way){ .policy = "bf16", .optim = "lamb", .dp = 2, .tp = 1, .micro = 4, .bucket_bytes = SMALL });
    compare((way){ .policy = "fp16", .optim = "adamw", .dp = 2, .tp = 1, .micro = 4, .threads = 2 });
}

static void beside_tensor_parallelism(void **state)
{
    (void)state;
    compare((way){ .policy = "bf16", .optim = "lamb", .dp = 2, .tp = 2, .micro = 1, .bucket_bytes = SMALL });
    compare((way){ .policy = "fp32", .optim = "adamw", .dp = 2, .tp = 2, .micro = 2, .clip = 0.5 });
    compare((way){ .policy = "fp16", .optim = "nvlamb", .dp = 4, .tp = 2, .micro = 2, .bucket_bytes = SMALL });
    compare((way){ .policy = "bf16", .optim = "lamb", .dp = 2, .tp = 2, .micro = 2, .bucket_bytes = SMALL, .sequence = true });
    compare((way){ .policy = "fp32",
                   .optim = "adamw",
                   .dp = 2,
                   .tp = 2,
                   .micro = 1,
                   .bucket_bytes = SMALL,
                   .sequence = true,
                   .divide = HS_DIVIDE_GRADIENTS });
}

static void frozen_parameters(void **state)
{
    (void)state;
    compare((way){ .policy = "bf16", .optim = "lamb", .dp = 2, .tp = 1, .micro = 1, .bucket_bytes = SMALL, .freeze = "h0,wte.weight" });
    compare((way){ .policy = "fp32", .optim = "adamw", .dp = 4, .tp = 1, .micro = 1, .freeze = "*.mlp.up.weight" });
}

static void moments_in_bf16(void **state) // random bits are an element's own
{
    (void)state;
    compare((way){ .policy = "bf16", .optim = "adamw", .dp = 2, .tp = 1, .micro = 1, .bucket_bytes = SMALL, .small_moments = true });
    compare((way){ .policy = "bf16", .optim = "lamb", .dp = 4, .tp = 1, .micro = 1, .small_moments = true });
}

// Values in halves, or in bf16 alone: divided they have the bits of undivided ones; and those in halves the bits of f32.
static void masters(void **state)
{
    (void)state;
    static const char *const optims[] = { "adamw", "lamb", "novograd" };
    for (int i = 0; i < HS_COUNT(optims); i++) {
        way w = { .policy = "bf16", .optim = optims[i], .dp = 2, .tp = 1, .micro = 1, .bucket_bytes = SMALL, .clip = 1 };
        w.masters = HS_MASTERS_NONE;
        compare(w);
        w.masters = HS_MASTERS_SPLIT, w.tp = 1 + i % 2, w.freeze = i ? "wte.weight" : NULL;
        compare(w);
        w.divide = i == 2 ? HS_DIVIDE_GRADIENTS : HS_DIVIDE_STATES;
        job split, whole;
        job_run(&split, w);
        w.masters = HS_MASTERS_F32;
        job_run(&whole, w);
        for (int r = 0; r < w.dp * w.tp; r++) {
            const outcome *a = &split.of[r], *b = &whole.of[r];
            for (int k = 0; k < SLABS; k++) {
                assert_memory_equal(a->has[k], b->has[k], a->n);
                assert_memory_equal(a->slab[k], b->slab[k], a->n * sizeof(float));
            }
            assert_memory_equal(a->record, b->record, sizeof a->record);
            assert_true(a->bytes.master < b->bytes.master);
        }
        job_free(&split);
        job_free(&whole);
    }
}

// One micro-step: the same sums. More of them: over ranks first, then over micro-steps, which rounds otherwise.
static void gradients_too(void **state)
{
    (void)state;
    const hs_divide both = HS_DIVIDE_GRADIENTS;
    compare((way){ .policy = "bf16", .optim = "lamb", .dp = 2, .tp = 1, .micro = 1, .bucket_bytes = SMALL, .divide = both });
    compare(
        (way){ .policy = "fp32", .optim = "adamw", .dp = 4, .tp = 1, .micro = 1, .bucket_bytes = SMALL, .divide = both, .single = true });
    compare((way){ .policy = "fp16", .optim = "novograd", .dp = 2, .tp = 2, .micro = 1, .divide = both, .threads = 2 });
    compare((way){ .policy = "bf16", .optim = "adamw", .dp = 2, .tp = 1, .micro = 1, .divide = both, .freeze = "h0.mlp*,wpe.weight" });
    job whole, parts;
    way w = { .policy = "fp32", .optim = "lamb", .dp = 2, .tp = 1, .micro = 4, .bucket_bytes = SMALL, .clip = 1 };
    job_run(&whole, w);
    w.divide = both;
    job_run(&parts, w);
    double off = 0, size = 0;
    for (size_t k = 0; k < whole.of[0].n; k++) {
        const double x = (double)parts.of[1].slab[0][k], y = (double)whole.of[0].slab[0][k];
        off += (x - y) * (x - y), size += y * y;
    }
    assert_true(sqrt(off / size) < 1e-5);
    for (int step = 0; step < STEPS; step++)
        if (step != BAD_STEP)
            assert_float_equal(parts.of[0].record[step].loss[0][0], whole.of[0].record[step].loss[0][0], 1e-5);
    assert_true(parts.of[0].skipped == 1 && parts.of[1].record[BAD_STEP].skipped);
    assert_memory_equal(parts.of[0].record, parts.of[1].record, sizeof parts.of[0].record);
    job_free(&whole);
    job_free(&parts);
}

// The size of a bucket is no bit's business.
static void buckets(void **state)
{
    (void)state;
    job one, many;
    for (int divide = HS_DIVIDE_NONE; divide <= HS_DIVIDE_STATES; divide++) {
        way w = { .policy = "bf16", .optim = "lamb", .dp = 2, .tp = 1, .micro = 1, .divide = (hs_divide)divide, .clip = 1 };
        job_run(&one, w);
        w.bucket_bytes = SMALL, w.single = true;
        job_run(&many, w);
        const int64_t calls[] = { one.calls[RANKS_DP].all_reduces + one.calls[RANKS_DP].reduce_parts,
                                  many.calls[RANKS_DP].all_reduces + many.calls[RANKS_DP].reduce_parts };
        assert_true(calls[1] > calls[0]);
        assert_true(divide ? one.of[0].awaits == 1 && many.of[0].awaits > 3 : one.of[0].awaits + many.of[0].awaits == 0);
        for (int r = 0; r < 2; r++)
            assert_memory_equal(one.of[r].record, many.of[r].record, sizeof one.of[r].record);
        for (size_t k = 0; k < one.of[0].n; k++)
            assert_true(one.of[0].slab[1][k] == many.of[1].slab[1][k]);
        job_free(&one);
        job_free(&many);
    }
}

// ---- tables, without running anything

static void shares_are_ranges_of_chunks(void **state)
{
    (void)state;
    enum { RANKS = 3 };
    hs_params *ps[RANKS];
    const hs_optim_config c = optim_named("adamw");
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(hs_params_new(&ps[r], 1, 0, 1), HS_OK);
        assert_int_equal(hs_params_divide(ps[r], HS_DIVIDE_STATES, r, RANKS, 100 << 10), HS_OK);
        assert_int_equal(hs_params_declare_low(ps[r], HS_BF16), HS_OK);
        assert_int_equal(hs_params_declare_grad(ps[r]), HS_OK);
        assert_int_equal(hs_optim_declare(&c, ps[r]), HS_OK);
        for (int i = 0; i < 40; i++) {
            char name[16];
            hs_param *p;
            snprintf(name, sizeof name, "w%d", i);
            const hs_param_spec spec = { .name = name,
                                         .init = i % 7 == 6 ? HS_INIT_ZERO : HS_INIT_NORMAL,
                                         .std = 1,
                                         .n_dims = 1,
                                         .parts = i % 4 == 3 ? 3 : 1,
                                         .dim = { 3 * (int64_t)(i * i * i + 1) } };
            assert_int_equal(hs_params_get(ps[r], &spec, &p), HS_OK);
            if (i % 5 == 0)
                assert_int_equal(hs_params_read_f32(ps[r], p), HS_OK);
        }
        assert_int_equal(hs_params_alloc(ps[r], NULL, true), HS_OK);
        assert_int_equal(hs_params_read_f32(ps[r], ps[r]->param[3]), HS_INTERNAL);
        assert_non_null(strstr(hs_error(), "w3 is read in f32"));
    }
    size_t elements[RANKS] = { 0 };
    for (int i = 0; i < ps[0]->n_params; i++) {
        size_t next = 0;
        for (int r = 0; r < RANKS; r++) { // behind each other, all of it, the same for moments and values
            const hs_param *p = ps[r]->param[i];
            size_t first, n, of, has;
            hs_slab_range(hs_params_slab(ps[r], "adam.v"), p, &first, &n);
            assert_true(!n || first == next);
            assert_true(first % (p->n / (size_t)p->parts) % HS_CHUNK == 0 || !n);
            next += n, elements[r] += n;
            hs_slab_range(ps[r]->master, p, &of, &has);
            assert_int_equal(has, i % 5 == 0 ? p->n : n);
            assert_true(i % 5 == 0 ? of == 0 : of == first);
            assert_int_equal(ps[r]->low->place[i].bytes, p->n * 2);
        }
        assert_int_equal(next, ps[0]->param[i]->n);
    }
    const size_t all = flat_count(ps[0]);
    for (int r = 0; r < RANKS; r++) {
        assert_true(fabs((double)elements[r] / (double)all - 1.0 / RANKS) < 0.02);
        for (int k = 0; k < ps[r]->n_chunks; k++) { // a chunk is one rank's
            const hs_chunk *chunk = &ps[r]->chunk[k];
            size_t first, n;
            hs_param_share(ps[r], ps[r]->param[chunk->param], hs_chunk_rank(ps[r], chunk), &first, &n);
            assert_true(chunk->first >= first && chunk->first + (size_t)chunk->n <= first + n);
        }
        const hs_slab *const slab[] = { ps[r]->grad, ps[r]->low, ps[r]->master };
        for (int s = 0; s < HS_COUNT(slab); s++) { // every whole parameter is of one run, whose parts come to all of it
            hs_share_run run = { .last = -1 };
            int found = 0;
            while (hs_share_run_next(ps[r], slab[s], run.last + 1, &run)) {
                int64_t parts[RANKS], sum = 0;
                hs_share_parts(ps[r], slab[s], &run, parts);
                for (int k = 0; k < RANKS; k++)
                    assert_true(parts[k] >= 0), sum += parts[k];
                assert_int_equal(sum, run.n);
                for (int i = run.first; i <= run.last; i++)
                    found += !hs_slab_divides(ps[r], slab[s], ps[r]->param[i]);
            }
            assert_int_equal(found, s == 2 ? 8 : 40);
        }
        memset(ps[r]->low->p, 17 + r, ps[r]->low->bytes); // drawn once more: low copies are whole, zeros too
        assert_int_equal(hs_params_init_values(ps[r]), HS_OK);
        size_t value = 0; // bytes of values that every rank gets behind an update: all low ones, and what is read in f32
        for (int i = 0; i < ps[r]->n_params; i++) {
            const hs_param *p = ps[r]->param[i];
            assert_memory_equal(hs_slab_at(ps[r]->low, p), hs_slab_at(ps[0]->low, p), p->n * sizeof(uint16_t));
            value += p->n * (i % 5 == 0 ? 6 : 2);
        }
        assert_true(hs_share_move_bytes(ps[r]) >= value && hs_share_move_bytes(ps[r]) < value + 40 * 6 * HS_SLAB_ALIGN);
    }
    for (int r = 0; r < RANKS; r++)
        hs_params_free(ps[r]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_ranges_of_chunks),
        cmocka_unit_test(every_optimizer),
        cmocka_unit_test(every_low_type),
        cmocka_unit_test(accumulation),
        cmocka_unit_test(buckets),
        cmocka_unit_test(beside_tensor_parallelism),
        cmocka_unit_test(gradients_too),
        cmocka_unit_test(frozen_parameters),
        cmocka_unit_test(moments_in_bf16),
        cmocka_unit_test(masters),
    };
    test_takes_device(argc, argv);
    return cmocka_run_group_tests_name("divided optimizers", tests, NULL, NULL);
}
