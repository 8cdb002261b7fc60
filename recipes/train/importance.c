// importance: see the header. The steps are a trainer's, with a rate of 0.
#include "recipes/train/importance.h"
#include "recipes/train/trainer.h"
#include <math.h>
#include <stdlib.h>

struct hs_importance {
    hs_train_opts opts;
    hs_trainer *t;
    float **worth; // by the trainer's hs_param.id; NULL: no gradient
    int n;
    int64_t examples;
};

static hs_status settle(hs_config *c)
{
    static const char *const zero[] = { "model.dropout", "model.attention_dropout" };
    const hs_arch m = hs_config_arch(c);
    HS_TRY(hs_config_set(c, "optim.lr", "0", "movement"));
    HS_TRY(hs_config_set(c, "optim.min_lr", "0", "movement"));
    for (int i = 0; i < HS_COUNT(zero); i++)
        if (hs_schema_find(m.family->settings, NULL, zero[i]).key)
            HS_TRY(hs_config_set(c, zero[i], "0", "movement"));
    return HS_OK;
}

static hs_status add_param(hs_importance *i, const hs_params *ps, const hs_param *p)
{
    const size_t n = (size_t)hs_param_elements(p);
    float **to = &i->worth[p->id], *stored = malloc(p->n * sizeof *stored), *w = malloc(n * sizeof *w), *g = malloc(n * sizeof *g);
    *to = *to ? *to : calloc(n, sizeof **to);
    const bool room = stored && w && g && *to;
    if (room) {
        hs_params_read(ps, ps->grad, p, stored);
        hs_param_export(p, stored, g);
        hs_params_export(ps, ps->master, p, w);
        for (size_t k = 0; k < n; k++)
            (*to)[k] += fabsf(w[k] * g[k]);
    }
    free(stored), free(w), free(g);
    return room ? HS_OK : HS_FAIL(MEMORY, "no memory for what %s is worth", p->name);
}

static hs_status add_step(hs_importance *i)
{
    const hs_params *ps = i->t->engine->params;
    hs_run *run = i->t->engine->run;
    const hs_step_record *r;
    bool skipped = false;
    HS_TRY(hs_run_wait(run));
    while ((r = hs_run_read_record(run)))
        skipped |= r->skipped;
    for (int k = 0; k < ps->n_params && !skipped; k++)
        if (ps->has_grad[k] && hs_slab_has(ps->grad, ps->param[k]))
            HS_TRY(add_param(i, ps, ps->param[k]));
    return HS_OK;
}

static hs_status measure(hs_importance *i, int64_t examples)
{
    HS_TRY(hs_trainer_open(i->t, &i->opts));
    i->n = i->t->engine->params->n_params;
    i->worth = calloc((size_t)i->n + 1, sizeof *i->worth);
    if (!i->worth)
        return HS_FAIL(MEMORY, "no memory for what %d parameters are worth", i->n);
    const int64_t batch = i->t->c->train.batch * i->t->c->train.accumulate;
    while (i->examples < examples && i->t->at.step < hs_trainer_steps(i->t)) {
        HS_TRY(hs_step_run(i->t));
        HS_TRY(add_step(i));
        i->examples += batch;
    }
    return HS_OK;
}

hs_status hs_importance_new(hs_importance **out, hs_config *config, int64_t examples)
{
    *out = NULL;
    HS_TRY(settle(config));
    hs_importance *i = calloc(1, sizeof *i);
    hs_trainer *t = calloc(1, sizeof *t);
    if (!i || !t) {
        free(i), free(t);
        return HS_FAIL(MEMORY, "no memory for a trainer");
    }
    *i = (hs_importance){ .opts = { .config = config, .dir = "/dev/null", .resume = "none", .quiet = true, .dry = true }, .t = t };
    const hs_status st = measure(i, examples);
    if (st == HS_OK) {
        *out = i;
        return HS_OK;
    }
    hs_trainer_fail(t, st);
    hs_importance_free(i);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_importance_free(hs_importance *i)
{
    if (!i)
        return;
    for (int k = 0; i->worth && k < i->n; k++)
        free(i->worth[k]);
    free(i->worth);
    hs_trainer_close(i->t);
    free(i->t);
    free(i);
}

int64_t hs_importance_examples(const hs_importance *i) { return i->examples; }

hs_status hs_importance_worth(void *user, const hs_param *p, float *logical)
{
    const hs_importance *i = user;
    const hs_param *own = hs_params_find(i->t->engine->params, p->name);
    if (!own || hs_param_elements(own) != hs_param_elements(p) || !i->worth[own->id])
        return HS_FAIL(INTERNAL, "nobody has measured what %s is worth", p->name);
    for (int64_t k = 0; k < hs_param_elements(p); k++)
        logical[k] = i->worth[own->id][k];
    return HS_OK;
}
