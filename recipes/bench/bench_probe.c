// bench_probe: one op planned as in training, between an embedding and a loss, so that its kernels are timed in the plan they run in.
#include "recipes/bench/bench.h"
#include <stdlib.h>
#include <string.h>

enum { TABLE_ROWS = 64 }; // of the embeddings: few, so that they stay in cache

hs_tensor *hs_probe_x(hs_graph *g, const hs_batch_in *in, const char *name, int64_t cols)
{
    hs_tensor *table = hs_param_get(
        g, &(hs_param_spec){ .name = name, .role = HS_EMBED, .init = HS_INIT_NORMAL, .std = 1, .n_dims = 2, .dim = { TABLE_ROWS, cols } });
    return hs_embedding(g, table, in->ids, NULL, NULL);
}

typedef struct traced {
    const hs_probe_spec *spec;
    int *node; // of the op measured, in the trace
} traced;

static void trace(hs_graph *g, const void *config)
{
    const hs_probe_spec *s = ((const traced *)config)->spec;
    const hs_batch_in in = hs_nn_batch(g, &(hs_arch_shape){ .max_tokens = s->rows, .max_seqs = s->seqs });
    hs_tensor *y = s->build(g, &in, s);
    if (y == g->poison)
        return;
    *((const traced *)config)->node = y->from->id;
    if (y->from->op->flags & HS_OP_LOSS)
        return;
    if (y->from->op->out[0].flags & HS_BWD_READS)
        y = hs_scale(g, y, 0.5f); // the loss overwrites what it reads
    if (s->out_low && s->low != HS_F32)
        y = hs_cast(g, y, s->low);
    hs_xent(g, y, in.targets, (hs_xent_attr){ .classes = (int32_t)s->out, .ignore = -1 });
}

static void fill(hs_probe *p, const hs_probe_spec *s)
{
    int32_t *ids = hs_run_input(p->run, 0, "ids"), *targets = hs_run_input(p->run, 0, "targets");
    int32_t *starts = hs_run_input(p->run, 0, "starts"), *where = hs_run_input(p->run, 0, "where");
    const int64_t length = s->rows / s->seqs;
    for (int64_t i = 0; i < s->rows; i++) {
        ids[i] = (int32_t)(i * 7 % TABLE_ROWS), targets[i] = (int32_t)(i * 13 % s->out);
        where[2 * i] = (int32_t)(i / length), where[2 * i + 1] = (int32_t)(i % length);
    }
    for (int64_t i = 0; i <= s->seqs; i++)
        starts[i] = (int32_t)(i * length);
    hs_step_live(hs_run_in(p->run), s->rows, s->seqs, 0);
    hs_run_in(p->run)->inv_count[0] = hs_inv_count(s->rows);
}

static hs_status make(hs_probe *p, hs_device *d, const hs_probe_spec *s)
{
    const hs_policy policy = { .low = s->low };
    int node = -1, plan;
    HS_TRY(hs_model_new(&p->model, &(hs_model_opts){ .device = d, .policy = &policy, .micro_steps = s->packed ? 2 : 0, .seed = 1 }));
    HS_TRY(hs_model_plan(p->model, HS_TRAIN, trace, &(traced){ s, &node }, &plan));
    const hs_graph *g = hs_plan_graph(p->model->plan[plan]);
    for (int i = 0; i < g->n_nodes; i++)
        if (g->node[i]->trace == node)
            p->node = g->node[i];
    HS_TRY(hs_model_alloc(p->model, true));
    HS_TRY(hs_run_new(&p->run, p->model, &(hs_run_opts){ .mode = HS_SUBMIT_STEP }));
    fill(p, s);
    return HS_OK;
}

hs_status hs_probe_new(hs_probe **out, hs_device *d, const hs_probe_spec *spec)
{
    hs_probe *p = *out = calloc(1, sizeof *p);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for a probe");
    const hs_status st = make(p, d, spec);
    if (st == HS_OK)
        return HS_OK;
    hs_probe_free(p);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_probe_free(hs_probe *p)
{
    if (!p)
        return;
    hs_run_free(p->run);
    hs_model_free(p->model);
    free(p);
}

// A split backward runs parameters first, without the gradient of the first input.
static void note(const hs_thunk *t, double seconds, void *user)
{
    hs_probe *p = user;
    if (t->node != p->node || strcmp(t->name, p->node->op->name) != 0)
        return;
    const bool params = t->backward && p->node->op->flags & HS_OP_SPLIT_BWD && !t->args.din[0].p;
    p->seconds[params ? HS_PROBE_PARAMS : t->backward ? HS_PROBE_BACKWARD : HS_PROBE_FORWARD] += seconds;
}

hs_status hs_probe_run(hs_probe *p)
{
    hs_device *d = hs_run_device(p->run);
    memset(p->seconds, 0, sizeof p->seconds);
    d->hook = note, d->hook_user = p;
    hs_run_begin(p->run, 0);
    const hs_status st = hs_run_micro(p->run, 0, true);
    d->hook = NULL;
    return st;
}

// ---- tables

static hs_status measure(hs_bench_run *r, const hs_probe_spec *spec, hs_probe_column *c, int n)
{
    for (int i = 0; i < n; i++) {
        hs_probe_spec typed = *spec;
        typed.low = c[i].dtype, typed.packed = c[i].packed;
        HS_TRY(hs_probe_new(&c[i].probe, c[i].device, &typed));
        HS_TRY(hs_probe_run(c[i].probe)); // touches every page
    }
    const double start = hs_now();
    for (int round = 0; !hs_bench_enough(r, round, start); round++)
        for (int i = 0; i < n; i++) {
            double peak;
            HS_TRY(hs_peak_once(c[i].device, c[i].dtype, &peak));
            HS_TRY(hs_probe_run(c[i].probe));
            hs_samples_add(&c[i].peak, peak);
            for (int t = 0; t < HS_PROBE_TIMES; t++)
                hs_samples_add(&c[i].time[t], c[i].probe->seconds[t]);
        }
    return HS_OK;
}

static int columns_of(const hs_bench_run *r, hs_probe_column *c)
{
    hs_dtype types[2];
    int n = 0;
    const int n_types = hs_bench_dtypes(r, types);
    for (int i = 0; i < n_types; i++) {
        for (int packed = 0; packed <= (int)r->o->packed; packed++)
            c[n++] = (hs_probe_column){ .device = r->device, .kernels = r->device->table_names[0], .packed = packed, .dtype = types[i] };
        if (r->onednn && types[i] == HS_F32)
            c[n++] = (hs_probe_column){ .device = r->onednn, .kernels = r->onednn->table_names[0], .dtype = types[i] };
    }
    return n;
}

hs_status hs_probe_table(hs_bench_run *r, hs_probe_spec (*spec)(const int64_t *dim),
                         void (*report)(hs_bench_run *r, const int64_t *dim, hs_probe_column *c))
{
    hs_status st = HS_OK;
    for (int s = 0; s < r->sizes.n && st == HS_OK; s++) {
        const int64_t *dim = r->sizes.dim[s];
        hs_probe_column c[2 * 3];
        const int n = columns_of(r, c);
        const hs_probe_spec of_size = spec(dim);
        st = measure(r, &of_size, c, n);
        for (int i = 0; i < n; i++) {
            if (st == HS_OK)
                report(r, dim, &c[i]);
            hs_probe_free(c[i].probe);
        }
    }
    return st;
}
