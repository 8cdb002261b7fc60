// cluster: what a machine room says of itself, from CLUSTER.yaml - devices and the links between them - and how long a collective takes
// there.
#ifndef HS_RECIPES_CLUSTER_H
#define HS_RECIPES_CLUSTER_H
#include "core/graph/comm.h"
#include "core/plan/plan.h"
#include "core/settings/schema.h"

enum { HS_CLUSTER_CPU, HS_CLUSTER_CUDA }; // words of hs_cluster.device
enum { HS_CLUSTER_KEYS = 32 };
typedef struct hs_cluster_rate {
    double tflops, fraction; // of products in registers alone; what a training step gets of that. tflops 0: not said
} hs_cluster_rate;
typedef struct hs_cluster_link {
    double gb_per_second, latency_us; // of one device, in one direction; of one message
} hs_cluster_link;
typedef struct hs_cluster {
    char name[HS_KEY_STRING_BYTES], source[HS_KEY_STRING_BYTES];
    int device;
    int64_t nodes, devices;                 // devices of a node
    double memory_gb, memory_gb_per_second; // of a device
    hs_cluster_rate fp32, bf16, fp16;
    hs_cluster_link inside, between; // of a node; between nodes: a device's share of the node's ports
    bool overlap;                    // collectives take none of a device's time
    char path[HS_KEY_STRING_BYTES];  // no key: of the file; "": this machine
    hs_origin origin[HS_CLUSTER_KEYS];
} hs_cluster;

// A file, or a shipped one by its name ("dgx-h100"). USAGE, with file:line: an unknown key, a value out of range, a link or a memory that
// is missing.
hs_status hs_cluster_load(hs_cluster *c, const char *name);
// FLOP/s of a device in that type. USAGE: the file does not say.
hs_status hs_cluster_rate_of(const hs_cluster *c, hs_dtype low, double *flops_per_second);
static inline double hs_cluster_memory(const hs_cluster *c) { return 1e9 * c->memory_gb; } // bytes

// Ranks of a collective: every `stride`-th of the job's, which fill nodes one after the other.
typedef struct hs_ring {
    int n, stride;
} hs_ring;
// Bytes/s of one rank of a ring among them, and seconds of one time around it. Of ranks in several nodes each has its share of the ports,
// and those of one node make rings together.
void hs_cluster_ring(const hs_cluster *c, hs_ring r, double *bytes_per_second, double *latency);
// Of `calls` calls with `bytes` in all, whole buffers: all-reduce 2 (p-1)/p bytes / rate + 2 (p-1) latency a call; a reduce-scatter or an
// all-gather half of it.
double hs_cluster_seconds(const hs_cluster *c, hs_ring r, hs_collective_kind kind, double calls, double bytes);

#endif
