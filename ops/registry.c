// registry: every op of this library in the order of ops.list, the kernel tables of each ISA tier, and the device that runs them.
#include "core/base/log.h"
#include "core/cpu/device_cpu.h"
#include "core/run/plugin.h"
#include "ops/dense/peak_loops.h"
#include "ops/ops.h"
#include <string.h>

const hs_op *const hs_ops[HS_N_OPS] = {
#define HS_OP_ITEM(name) &hs_op_##name##_portable,
#include "ops/ops.list"
#undef HS_OP_ITEM
};

// ---- kernel tables. What is not compiled in is NULL.
extern const hs_kernels *const hs_kernels_table_portable[HS_N_OPS];
extern const hs_peak_loops hs_peak_loops_portable;
#define PORTABLE      hs_kernels_table_portable
#define PORTABLE_PEAK &hs_peak_loops_portable
#ifdef HS_HAVE_TIER_AVX2
extern const hs_kernels *const hs_kernels_table_avx2[HS_N_OPS];
extern const hs_peak_loops hs_peak_loops_avx2;
#define AVX2      hs_kernels_table_avx2
#define AVX2_PEAK &hs_peak_loops_avx2
#else
#define AVX2      NULL
#define AVX2_PEAK NULL
#endif
#ifdef HS_HAVE_TIER_AVX512
extern const hs_kernels *const hs_kernels_table_avx512[HS_N_OPS];
extern const hs_peak_loops hs_peak_loops_avx512;
#define AVX512      hs_kernels_table_avx512
#define AVX512_PEAK &hs_peak_loops_avx512
#else
#define AVX512      NULL
#define AVX512_PEAK NULL
#endif
#ifdef HS_HAVE_TIER_AVX512BF16
extern const hs_kernels *const hs_kernels_table_avx512bf16[HS_N_OPS];
extern const hs_peak_loops hs_peak_loops_avx512bf16;
#define AVX512BF16      hs_kernels_table_avx512bf16
#define AVX512BF16_PEAK &hs_peak_loops_avx512bf16
#else
#define AVX512BF16      NULL
#define AVX512BF16_PEAK NULL
#endif
#ifdef HS_HAVE_TIER_AMX
extern const hs_kernels *const hs_kernels_table_amx[HS_N_OPS]; // of products and what is made of them alone: avx512bf16 has the others
extern const hs_peak_loops hs_peak_loops_amx;
#define AMX      hs_kernels_table_amx
#define AMX_PEAK &hs_peak_loops_amx
#else
#define AMX      NULL
#define AMX_PEAK NULL
#endif
#ifdef HS_HAVE_ONEDNN
extern const hs_kernels *const hs_kernels_table_onednn[HS_N_OPS], *const hs_kernels_table_onednn_always[HS_N_OPS];
#define ONEDNN        hs_kernels_table_onednn
#define ONEDNN_ALWAYS hs_kernels_table_onednn_always
#else
#define ONEDNN        NULL
#define ONEDNN_ALWAYS NULL
#endif

// The tables of a choice in order, ended by NULL; in static storage, because a device borrows them.
typedef struct table_list {
    const hs_kernels *const *table[5];
    const char *name[5];
} table_list;
// HS_ONEDNN_FASTER: README.md has the table. With AVX2 and more oneDNN was nowhere faster for a linear layer as a whole.
#define TIER(table, name)                                                                                                                  \
    {                                                                                                                                      \
        { { table, PORTABLE }, { name, "portable" } }, { { table, PORTABLE }, { name, "portable" } },                                      \
        {                                                                                                                                  \
            { ONEDNN_ALWAYS, table, PORTABLE }, { "onednn", name, "portable" }                                                             \
        }                                                                                                                                  \
    }
static const table_list lists[HS_N_ISA][3] = {
    // by hs_onednn
    [HS_ISA_PORTABLE] = { { { PORTABLE }, { "portable" } },
                          { { ONEDNN, PORTABLE }, { "onednn", "portable" } },
                          { { ONEDNN_ALWAYS, PORTABLE }, { "onednn", "portable" } } },
    [HS_ISA_AVX2] = TIER(AVX2, "avx2"),
    [HS_ISA_AVX512] = TIER(AVX512, "avx512"),
    [HS_ISA_AVX512BF16] = TIER(AVX512BF16, "avx512bf16"),
    [HS_ISA_AMX] = { { { AMX, AVX512BF16, PORTABLE }, { "amx", "avx512bf16", "portable" } },
                     { { AMX, AVX512BF16, PORTABLE }, { "amx", "avx512bf16", "portable" } },
                     { { ONEDNN_ALWAYS, AMX, AVX512BF16, PORTABLE }, { "onednn", "amx", "avx512bf16", "portable" } } },
};

const hs_peak_loops *hs_peak_loops_of(hs_isa isa)
{
    static const hs_peak_loops *const loops[HS_N_ISA] = {
        [HS_ISA_PORTABLE] = PORTABLE_PEAK,     [HS_ISA_AVX2] = AVX2_PEAK, [HS_ISA_AVX512] = AVX512_PEAK,
        [HS_ISA_AVX512BF16] = AVX512BF16_PEAK, [HS_ISA_AMX] = AMX_PEAK,
    };
    return (unsigned)isa < HS_N_ISA ? loops[isa] : NULL;
}

bool hs_isa_built(hs_isa isa) { return (unsigned)isa < HS_N_ISA && lists[isa][0].table[0] != NULL; }

static unsigned built_tiers(void)
{
    unsigned built = 0;
    for (int i = 0; i < HS_N_ISA; i++)
        built |= (unsigned)hs_isa_built((hs_isa)i) << i;
    return built;
}

const char *hs_2of4_declines(const hs_device *d)
{
    return d->isa == HS_ISA_PORTABLE ? "tier portable has no loops for halves" : NULL;
}

hs_status hs_isa_of_option(const char *name, hs_isa *out) { return hs_isa_choose(name, built_tiers(), out); }

// ---- devices of plug-ins

static hs_status same_ops(const hs_plugin *p)
{
    if (p->n_ops != HS_N_OPS)
        return HS_FAIL(UNSUPPORTED, "device %s: its plug-in has %d ops, this library %d", p->name, p->n_ops, HS_N_OPS);
    for (int i = 0; i < HS_N_OPS; i++)
        if (strcmp(p->op_names[i], hs_ops[i]->name))
            return HS_FAIL(UNSUPPORTED, "device %s: op %d of its plug-in is %s, of this library %s", p->name, i, p->op_names[i],
                           hs_ops[i]->name);
    return HS_OK;
}

static hs_status open_plugin(hs_device **out, const char *name, int index, int bulk_size)
{
    const hs_plugin *p;
    HS_TRY(hs_plugin_load(name, &p));
    HS_TRY(same_ops(p));
    const hs_device_opts o = { .bulk_size = bulk_size,
                               .ops = hs_ops,
                               .n_ops = HS_N_OPS,
                               .tables = p->tables,
                               .table_names = p->table_names,
                               .core = p->core,
                               .optim = p->optim,
                               .comm_open = p->comm_open,
                               .index = index };
    HS_TRY(hs_device_open(out, p->backend, &o));
    return HS_OK;
}

bool hs_is_gpu(const char *device)
{
    static const char *const gpus[] = { "cuda", "cuda-emu", "cuda-emu-lt", "cuda-emu-dnn" };
    for (int i = 0; device && i < HS_COUNT(gpus); i++)
        if (!strcmp(device, gpus[i]))
            return true;
    return false;
}

hs_status hs_open_device(hs_device **out, const char *name, int threads, const char *isa, int bulk_size, hs_onednn onednn)
{
    return hs_open_device_at(out, name, 0, threads, isa, bulk_size, onednn);
}

hs_status hs_open_device_at(hs_device **out, const char *name, int index, int threads, const char *isa, int bulk_size, hs_onednn onednn)
{
    *out = NULL;
    if (hs_is_gpu(name))
        return hs_frame_at(open_plugin(out, name, index, bulk_size), __FILE__, __LINE__);
    const bool fenced = name && !strcmp(name, "cpu-fenced");
    if (name && strcmp(name, "cpu") && !fenced)
        return HS_FAIL(UNSUPPORTED, "device \"%s\" is not in this library; it has cpu, cpu-fenced and cuda", name);
    hs_isa tier;
    HS_TRY(hs_isa_of_option(isa, &tier));
    const table_list *list = &lists[tier][onednn];
    if (onednn && !hs_onednn_version())
        return HS_FAIL(UNSUPPORTED, "oneDNN is not compiled into this library");
    if (onednn == HS_ONEDNN_FASTER)
        hs_info("oneDNN %s: %s", hs_onednn_version(),
                tier == HS_ISA_PORTABLE ? "does fp32 products of 256 rows and more, the built-in ones do the others"
                                        : "not used, the built-in products of this tier were measured to be as fast or faster");
    const hs_device_opts o = { .threads = threads,
                               .isa = tier,
                               .bulk_size = bulk_size,
                               .ops = hs_ops,
                               .n_ops = HS_N_OPS,
                               .tables = list->table,
                               .table_names = list->name };
    HS_TRY(hs_device_open(out, fenced ? hs_backend_cpu_fenced : hs_backend_cpu, &o));
    return HS_OK;
}
