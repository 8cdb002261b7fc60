// support_golden: checkpoints of tests/golden through an engine, and their distances.
#include "tests/support/support_golden.h"
#include "data/checkpoint/ckpt_parts.h"
#include "ops/ops.h"
#include "tests/support/support_files.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const hs_st_entry *golden_stored(const golden *s, const char *name)
{
    const hs_st_entry *t = hs_safetensors_find(s->values, name);
    if (!t)
        fail_msg("%s: golden.safetensors has no %s", s->dir, name);
    return t;
}
bool golden_has(const golden *s, const char *name) { return hs_safetensors_find(s->values, name) != NULL; }

void golden_open(golden *s, const hs_family *f, const char *folder, const hs_arch_shape *shape)
{
    char path[1024];
    const hs_model_files *const known[] = { &f->files };
    *s = (golden){ .family = f };
    snprintf(s->dir, sizeof s->dir, "%s", golden_path(folder));
    snprintf(path, sizeof path, "%s/golden.safetensors", s->dir);
    OK(hs_safetensors_open(&s->values, path));
    OK(hs_ckpt_read_info(s->dir, known, 1, &s->info));
    s->train = s->eval = (hs_arch_setup){ { f, s->info.settings.bytes }, *shape };
    s->eval.shape.logits = true;
}

void golden_close(golden *s)
{
    hs_safetensors_close(s->values);
    hs_model_info_free(&s->info);
}

const int32_t *golden_row(const golden *s, const char *name, int batch, int64_t *n)
{
    const hs_st_entry *t = golden_stored(s, name);
    *n = t->dim[1];
    return (const int32_t *)t->data + batch * *n;
}

hs_engine *golden_engine(const golden *s, const char *isa, const hs_optim_config *optim)
{
    hs_device *device;
    hs_engine *e;
    OK(hs_open_device(&device, test_device, 2, isa, 0, HS_ONEDNN_NO));
    OK(hs_engine_new(&e, &(hs_engine_opts){ .model = hs_arch_trace,
                                            .config = &s->train,
                                            .eval_config = &s->eval,
                                            .optim = optim,
                                            .adapter = s->adapter,
                                            .eval = true,
                                            .seed = 1,
                                            .device = device,
                                            .mode = HS_SUBMIT_BULK }));
    e->owns_device = true;
    OK(hs_ckpt_load_params(s->dir, &(hs_ckpt_opts){ .files = &s->family->files }, e->params));
    return e;
}

void golden_put(hs_engine *e, hs_mode mode, const char *name, const void *p, int64_t n)
{
    if (hs_run_input(e->run, e->plan[mode], name))
        OK(hs_run_write(e->run, e->plan[mode], name, p, (size_t)n * sizeof(int32_t)));
}

void golden_put_texts(const golden *s, hs_engine *e, hs_mode mode, int batch)
{
    static const struct {
        const char *input, *stored;
    } columns[] = { { "ids", "ids" }, { "token_types", "types" }, { "task_types", "tasks" } };
    const hs_st_entry *starts = golden_stored(s, "starts");
    const int64_t B = starts->dim[0] - 1;
    const int32_t *at = starts->data;
    int32_t where[128], zero[64] = { 0 };
    int64_t n, N = 0;
    for (int i = 0; i < HS_COUNT(columns); i++) {
        if (!golden_has(s, columns[i].stored))
            continue;
        const int32_t *row = golden_row(s, columns[i].stored, batch, &n);
        golden_put(e, mode, columns[i].input, row, n);
        N = n;
    }
    for (int64_t b = 0; b < B; b++)
        for (int32_t i = at[b]; i < at[b + 1]; i++)
            where[2 * i] = (int32_t)b, where[2 * i + 1] = i - at[b];
    golden_put(e, mode, "where", where, 2 * N);
    golden_put(e, mode, "starts", at, B + 1);
    golden_put(e, mode, "only_type", zero, N);
    hs_step_live(e->in, N, B, 0);
    e->in->n_micro = 1;
}

void golden_check_output(const golden *s, hs_engine *e, int output, const char *name, const char *isa)
{
    const hs_st_entry *t = golden_stored(s, name);
    hs_ref got;
    assert_non_null(hs_run_output(e->run, e->plan[HS_EVAL], output, &got));
    assert_int_equal(got.dtype, HS_F32);
    float *rows = malloc((size_t)(t->dim[0] * got.cols) * sizeof *rows);
    OK(hs_run_read(e->run, e->plan[HS_EVAL], output, 0, t->dim[0], rows));
    double worst = 0, largest = 0;
    for (int64_t n = 0; n < t->dim[0]; n++)
        for (int64_t v = 0; v < t->dim[1]; v++) {
            const double want = (double)((const float *)t->data)[n * t->dim[1] + v];
            worst = fmax(worst, fabs((double)rows[n * got.cols + v] - want));
            largest = fmax(largest, fabs(want));
        }
    free(rows);
    if (!(worst <= 1e-5 * largest))
        fail_msg("%s, %s: %s is off by %g, allowed %g", s->dir, isa, name, worst, 1e-5 * largest);
}

typedef struct distance { // squared 2-norms
    double off, want;
} distance;

// *pieces, *stored: how many tensors of theirs it is, and how many of them are stored.
static distance gradient_distance(const golden *s, const hs_engine *e, const hs_param *p, const char *prefix, int *pieces, int *stored)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    OK(hs_ckpt_pieces(&(hs_ckpt_opts){ .files = &s->family->files }, p, piece, &n));
    *pieces = *stored = 0;
    if (p->frozen)
        return (distance){ 0, 0 };
    int64_t all = 1;
    for (int i = 0; i < p->n_dims; i++)
        all *= p->logical[i];
    float *got = malloc((size_t)all * sizeof *got), *turned = malloc((size_t)all * sizeof *turned);
    hs_params_export(e->params, e->params->grad, p, got);
    distance d = { 0 };
    *pieces = n;
    for (int k = 0; k < n; k++) {
        char name[HS_NAME_BYTES + 64];
        snprintf(name, sizeof name, "%.60s%.319s", prefix, piece[k].name);
        if (!golden_has(s, name))
            continue;
        const hs_st_entry *t = golden_stored(s, name);
        const int64_t size = all / n, out = piece[k].transposed ? t->dim[1] : 0;
        const float *want = t->data;
        assert_int_equal((int64_t)t->bytes, size * 4);
        for (int64_t i = 0; i < size && piece[k].transposed; i++) // [in, out] to ours
            turned[i % out * (size / out) + i / out] = want[i];
        want = piece[k].transposed ? turned : want;
        for (int64_t i = 0; i < size; i++)
            d.off += pow((double)got[k * size + i] - (double)want[i], 2), d.want += (double)want[i] * (double)want[i];
        ++*stored;
    }
    free(got);
    free(turned);
    return d;
}

void golden_check_gradients(const golden *s, const hs_engine *e, const char *prefix, bool all, const char *isa)
{
    const hs_params *ps = e->params;
    double sum = 0;
    int found = 0, ours = 0, known = 0, pieces, stored;
    for (int i = 0; i < ps->n_params; i++) {
        sum += gradient_distance(s, e, ps->param[i], prefix, &pieces, &stored).want;
        found += stored, ours += pieces;
    }
    for (int i = 0; i < hs_safetensors_count(s->values); i++)
        known += strncmp(hs_safetensors_at(s->values, i)->name, prefix, strlen(prefix)) == 0;
    assert_int_equal(found, known); // no parameter of theirs is left out
    assert_true(found > 0 && (!all || found == ours));
    for (int i = 0; i < ps->n_params; i++) {
        const distance d = gradient_distance(s, e, ps->param[i], prefix, &pieces, &stored);
        const double bound = 1e-4 * sqrt(d.want) + 1e-7 * sqrt(sum);
        if (stored && !(sqrt(d.off) <= bound))
            fail_msg("%s, %s: %s of %s is off by %g, allowed %g", s->dir, isa, prefix, ps->param[i]->name, sqrt(d.off), bound);
    }
}
