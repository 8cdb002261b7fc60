#include "core/plan_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void *hs_plan_grow(void *array, int n, int *capacity, size_t item)
{
    if (n < *capacity)
        return array;
    *capacity = *capacity ? 2 * *capacity : 64;
    void *p = realloc(array, (size_t)*capacity * item);
    if (!p)
        abort();
    return p;
}

int hs_plan_buf(hs_plan *p, size_t bytes)
{
    p->buf = hs_plan_grow(p->buf, p->n_bufs, &p->cap_bufs, sizeof *p->buf);
    p->buf[p->n_bufs] = (hs_buf){ .bytes = bytes };
    return p->n_bufs++;
}

hs_run *hs_plan_run(hs_plan *p, const hs_node *node, const char *name)
{
    p->run = hs_plan_grow(p->run, p->n_runs, &p->cap_runs, sizeof *p->run);
    p->run[p->n_runs] = (hs_run){ .node = node, .name = name };
    return &p->run[p->n_runs++];
}

void hs_plan_note_cast(hs_plan *p, const hs_node *n, const char *from_op, hs_dtype from, hs_dtype to, size_t bytes, bool backward)
{
    p->cast = hs_plan_grow(p->cast, p->n_casts, &p->cap_casts, sizeof *p->cast);
    p->cast[p->n_casts++] = (hs_cast_info){ n->scope, from_op, from, to, bytes, backward };
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void totals(hs_plan *p)
{
    hs_plan_info *info = &p->info;
    for (int i = 0; i < p->n_runs; i++) {
        *(p->run[i].backward ? &info->flops_backward : &info->flops_forward) += p->run[i].cost.flops;
        info->traffic_bytes += p->run[i].cost.bytes;
    }
    info->n_nodes = p->graph->n_nodes;
    info->n_thunks = p->n_runs;
    info->n_casts = p->n_casts;
    info->cast = p->cast;
}

hs_status hs_plan_new(hs_plan **out, hs_graph *g, hs_device *dev, const hs_plan_opts *o)
{
    const double start = seconds();
    hs_plan *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->graph = g, p->dev = dev;
    p->opts = *o;
    hs_status st;
    HS_TRY_GOTO(st, hs_graph_status(g), fail);
    HS_TRY_GOTO(st, hs_plan_amp(p), fail);
    HS_TRY_GOTO(st, hs_plan_autodiff(p), fail);
    hs_plan_place(p);
    hs_plan_barriers(p);
    totals(p);
    p->info.trace_plan_seconds = seconds() - start;
    *out = p;
    return HS_OK;
fail:
    hs_plan_free(p);
    return st;
}

void hs_plan_free(hs_plan *p)
{
    if (!p)
        return;
    hs_graph_free(p->graph);
    free(p->run);
    free(p->buf);
    free(p->cast);
    free(p);
}

size_t hs_plan_bytes(const hs_plan *p) { return p->total_bytes; }
const hs_plan_info *hs_plan_info_of(const hs_plan *p) { return &p->info; }
const hs_graph *hs_plan_graph(const hs_plan *p) { return p->graph; }
