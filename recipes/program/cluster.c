// cluster: a table of settings like any other, and the ring model of collectives (Thakur et al. 2005; what NCCL and MPI do for long
// messages). A ring is as fast as its slowest link.
#include "recipes/program/cluster.h"
#include "data/base/yaml.h"
#include "recipes/program/config.h"
#include <string.h>

#define REAL(key, field, def, lo, hi, ...)                                                                                                 \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_REAL, .offset = offsetof(hs_cluster, field), .value = def, .min = lo, .max = hi, __VA_ARGS__           \
    }
#define INT(key, field, def, lo, hi, ...)                                                                                                  \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_INT, .offset = offsetof(hs_cluster, field), .value = def, .min = lo, .max = hi, __VA_ARGS__            \
    }
#define TEXT(key, field, ...)                                                                                                              \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_STRING, .offset = offsetof(hs_cluster, field), .value = "", __VA_ARGS__                                \
    }
#define RATE(type)                                                                                                                         \
    REAL("rates." #type ".tflops", type.tflops, "0", 0, 1e9, .unit = "TFLOP/s",                                                            \
         .help = "of one device at most, products in " #type "; 0: not said"),                                                             \
        REAL("rates." #type ".fraction", type.fraction, "0.4", 1e-3, 1, .help = "what a training step gets of that")
#define LINK(of, what)                                                                                                                     \
    REAL("links." #of ".gb_per_second", of.gb_per_second, "0", 0, 1e9, .unit = "GB/s", .help = what),                                      \
        REAL("links." #of ".latency_us", of.latency_us, "10", 0, 1e9, .unit = "us", .help = "of one message there")

static const hs_key keys[] = {
    TEXT("name", name, .help = "for people"),
    TEXT("source", source, .help = "where the figures are from"),
    { .name = "device",
      .type = HS_KEY_CHOICE,
      .offset = offsetof(hs_cluster, device),
      .value = "cuda",
      .choices = "cpu|cuda",
      .help = "what ranks run on; of cuda packed copies of weights take nothing, and checkpoints are written from the host's memory" },
    INT("nodes", nodes, "1", 1, 1e6, .help = "machines"),
    INT("devices", devices, "1", 1, 1e4, .help = "of a node: GPUs, or ranks of a CPU"),
    REAL("memory_gb", memory_gb, "0", 0, 1e6, .unit = "GB", .help = "of a device"),
    REAL("memory_gb_per_second", memory_gb_per_second, "0", 0, 1e6, .unit = "GB/s", .help = "at which a device reads or writes it"),
    RATE(fp32),
    RATE(bf16),
    RATE(fp16),
    LINK(inside, "between two devices of a node, one direction"),
    LINK(between, "a device's share of the ports of its node, one direction"),
    { .name = "overlap",
      .type = HS_KEY_BOOL,
      .offset = offsetof(hs_cluster, overlap),
      .value = "true",
      .help = "collectives go on beside products and take none of their time" },
};
static const hs_schema schema = HS_SCHEMA(keys, hs_cluster);
_Static_assert(HS_COUNT(keys) <= HS_CLUSTER_KEYS, "origins of a cluster's settings");

// What there is no usual value of.
static hs_status need(const hs_cluster *c, const char *key, double value)
{
    const hs_key_at at = hs_schema_find(&schema, c, key);
    const char *where = c->origin[hs_schema_origin(&schema, at)].text;
    const bool set = strcmp(where, "default") != 0;
    return value > 0
               ? HS_OK
               : HS_FAIL(USAGE, "%s: %s is %s, must be above 0 (%s)", set ? where : c->path, key, set ? "0" : "not there", at.key->help);
}

hs_status hs_cluster_load(hs_cluster *c, const char *name)
{
    char path[HS_KEY_STRING_BYTES];
    HS_TRY(hs_config_find_cluster(name, path, sizeof path));
    HS_TRY(hs_schema_defaults(&schema, c, c->origin));
    HS_TRY(hs_yaml_load(path, &schema, c, c->origin));
    memcpy(c->path, path, sizeof path);
    HS_TRY(need(c, "memory_gb", c->memory_gb));
    HS_TRY(need(c, "memory_gb_per_second", c->memory_gb_per_second));
    if (c->devices > 1)
        HS_TRY(need(c, "links.inside.gb_per_second", c->inside.gb_per_second));
    if (c->nodes > 1)
        HS_TRY(need(c, "links.between.gb_per_second", c->between.gb_per_second));
    return HS_OK;
}

hs_status hs_cluster_rate_of(const hs_cluster *c, hs_dtype low, double *flops_per_second)
{
    const hs_cluster_rate *r = low == HS_BF16 ? &c->bf16 : low == HS_F16 ? &c->fp16 : &c->fp32;
    *flops_per_second = 1e12 * r->tflops * r->fraction;
    if (r->tflops > 0)
        return HS_OK;
    return HS_FAIL(USAGE, "%s: rates.%s.tflops is not there, and this run's products are in %s", c->path,
                   low == HS_BF16  ? "bf16"
                   : low == HS_F16 ? "fp16"
                                   : "fp32",
                   hs_dtype_name(low));
}

void hs_cluster_ring(const hs_cluster *c, hs_ring r, double *bytes_per_second, double *latency)
{
    const int64_t span = (int64_t)(r.n - 1) * r.stride + 1, in_node = r.stride < c->devices ? c->devices / r.stride : 1;
    const int64_t members = in_node < r.n ? in_node : r.n, crossings = span > c->devices ? (r.n + members - 1) / members : 0;
    *bytes_per_second = 1e9 * c->inside.gb_per_second;
    *latency = 1e-6 * ((double)(r.n - crossings) * c->inside.latency_us + (double)crossings * c->between.latency_us);
    const double across = 1e9 * c->between.gb_per_second * (double)members;
    if (crossings && (members == 1 || across < *bytes_per_second))
        *bytes_per_second = across;
}

double hs_cluster_seconds(const hs_cluster *c, hs_ring r, hs_collective_kind kind, double calls, double bytes)
{
    double rate, around;
    if (r.n < 2)
        return 0;
    hs_cluster_ring(c, r, &rate, &around);
    const double share = (double)(r.n - 1) / (double)r.n, half = share * (bytes / rate + calls * around);
    return kind == HS_ALL_REDUCE ? 2 * half : half;
}
