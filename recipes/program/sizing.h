// sizing: one rank of a layout - its memory, what it sends, how long its step takes - from its plan and from what the cluster says of
// itself. Nothing is allocated or run.
//
// A step is compute + what collectives it waits for + the update:
//   compute    the plan's FLOPs / rate of a device
//   tp         every call of a micro-step; products wait for it
//   dp         gradients in buckets, beside the backward of the last micro-step where the cluster overlaps: what is left of them behind it,
//              the last bucket at least. Sharded: half of that (a reduce-scatter), and values gathered beside the next forward.
//              Maxima of states, in front of the update, of this axis and of tp: nothing is beside them
//   update     bytes of masters, moments and gradients, read and written, / memory's rate
#ifndef HS_RECIPES_SIZING_H
#define HS_RECIPES_SIZING_H
#include "recipes/program/budget.h"
#include "recipes/program/cluster.h"

typedef struct hs_wire { // one kind of collective over one axis, of a rank's optimizer step
    const char *axis;    // "dp", "tp"
    hs_collective_kind kind;
    hs_reduce op; // of an all-reduce
    double calls, bytes, longest; // bytes: whole buffers, of all calls, and of the longest
    double end;                   // and of the one that nothing is left beside: the last one's, of values that are gathered the first one's
    double seconds, exposed;      // exposed: that the rank waits
} hs_wire;
enum { HS_WIRES = 8 };

typedef struct hs_sizing {
    int dp, tp;
    int64_t samples;   // of a rank's micro-batch
    hs_comm absent[2]; // of the grid that it is planned in
    hs_engine *engine; // planned only
    hs_budget budget;  // of the first rank, which has the most
    size_t bytes;      // of the device: of cuda without what the host keeps (loader, snapshot) and what only CPU kernels take
    hs_wire wire[HS_WIRES];
    int n_wires;
    double flops;                          // of the rank and a step
    double compute, waiting, update, step; // seconds; waiting: the sum of exposed
    double alone;                          // one rank would take for the same step, were its memory large enough
} hs_sizing;

// c: of one phase. cluster: NULL: memory and messages alone. USAGE: train.batch does not divide over parallel.dp, or the model over
// parallel.tp; the cluster does not say how fast the type is.
hs_status hs_sizing_of(hs_sizing *s, const hs_config *c, const hs_policy *policy, const hs_cluster *cluster, hs_device *dev);
void hs_sizing_free(hs_sizing *s);
static inline int hs_sizing_ranks(const hs_sizing *s) { return s->dp * s->tp; }
static inline double hs_sizing_efficiency(const hs_sizing *s) { return s->alone / (hs_sizing_ranks(s) * s->step); }
// What of a rank's budget must fit into a device of the cluster; NULL: all.
static inline hs_budget_counts *hs_cluster_counts(const hs_cluster *c)
{
    return c && c->device == HS_CLUSTER_CUDA ? hs_budget_on_gpu : NULL;
}
const char *hs_wire_word(const hs_wire *w); // "all-reduce", "all-reduce max", ...

// This machine as a cluster of one node with so many ranks: what a micro-step of c reaches here, on all cores of dev, and what memory does.
// Takes some seconds. MEMORY: not even one sample of c fits.
hs_status hs_cluster_here(hs_cluster *out, const hs_config *c, const hs_policy *policy, hs_device *dev, int ranks);

// ---- layouts
typedef struct hs_layout {
    int dp, tp, shard; // shard: parallel.shard_optimizer
    bool sequence;
    int64_t batch, accumulate;
    size_t bytes;
    double step, efficiency;
} hs_layout;
enum { HS_LAYOUTS = 512, HS_LAYOUT_WHY = 256 };
typedef struct hs_layouts {
    hs_layout fits[HS_LAYOUTS]; // the fastest first
    int n;
    struct {
        int dp, tp;
        char why[HS_LAYOUT_WHY];
    } refused[64]; // tp for which there is none
    int n_refused;
    int tried;
} hs_layouts;
// All layouts of c on so many devices that keep its global batch, train.batch x train.accumulate: of each dp x tp, sharding and sequence
// parallelism the largest micro-batch that fits.
hs_status hs_layouts_find(hs_layouts *out, const hs_config *c, const hs_policy *policy, const hs_cluster *cluster, int devices,
                          hs_device *dev);

#endif
