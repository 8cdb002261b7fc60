// device: where a plan runs. One small table per backend and an ordered list of kernel tables; the CPU in core/cpu, CUDA in the plug-in.
#ifndef HS_CORE_DEVICE_H
#define HS_CORE_DEVICE_H
#include "core/cpu/cpu.h"
#include "core/graph/op.h"
#include "core/run/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_thunk {
    hs_kernel *fn;
    hs_args args;
    const hs_node *node; // NULL: optimizer and other thunks without a node
    const char *name;    // "linear", "adamw.norms": profile and messages
    bool backward;
    bool sync;    // barrier before it: set where bytes conflict
    uint8_t part; // hs_part_kind
    hs_cost cost; // at capacity
} hs_thunk;

typedef struct hs_segment { // no point inside at which the host must look
    hs_thunk *thunk;
    int n;
} hs_segment;

typedef enum hs_submit_mode { HS_SUBMIT_STEP, HS_SUBMIT_BULK, HS_SUBMIT_GRAPH } hs_submit_mode;

// Called in step mode after each thunk, with the region closed.
typedef void hs_step_hook(const hs_thunk *t, double seconds, void *user);

typedef struct hs_device {
    const char *name;        // "cpu"
    const hs_op *const *ops; // the registry
    int n_ops;
    const hs_kernels *const *const *tables; // ordered; the first entry that is not NULL and does not decline; NULL-terminated
    const char *const *table_names;
    int team; // members of the team: scratch is per member
    hs_isa isa;
    hs_status (*alloc)(size_t bytes, void **out); // 64-byte aligned (4 KiB for large ones), not cleared
    void (*release)(void *p);
    void (*copy)(struct hs_device *d, void *dst, const void *src, size_t bytes);
    void (*fill)(struct hs_device *d, void *dst, int byte, size_t bytes);
    hs_status (*submit)(struct hs_device *d, const hs_segment *s, hs_submit_mode mode);
    hs_status (*wait)(struct hs_device *d);
    void (*close)(struct hs_device *d);
    int bulk_size; // thunks per region in bulk mode; 0: the whole segment
    hs_step_hook *hook;
    void *hook_user;
    hs_trace *trace; // NULL: none is taken; borrowed. Of as many members as the team; the CPU's
    void *impl;
} hs_device;

typedef struct hs_device_opts {
    int threads; // 0: the cores this process may use (affinity, cgroup)
    hs_isa isa;  // the tier of the CPU kernels in `tables`: hs_isa_choose
    int bulk_size;
    const hs_op *const *ops; // registry and kernel tables: hs_open_device of ops/ops.h brings its own; borrowed, as the device is
    int n_ops;
    const hs_kernels *const *const *tables;
    const char *const *table_names;
} hs_device_opts;

// A backend fills the table; `ops` to `bulk_size` are there already. It fails with USAGE or UNSUPPORTED and the reason, holding nothing.
typedef hs_status hs_backend(hs_device *d, const hs_device_opts *o);
hs_status hs_device_open(hs_device **out, hs_backend *backend, const hs_device_opts *o); // the CPU's: core/cpu/device_cpu.h
void hs_device_close(hs_device *d);

const hs_op *hs_device_op(const hs_device *d, const char *name); // NULL if unknown
int hs_device_op_index(const hs_device *d, const char *name);
// The kernels that will run node n: the first table that has them and does not decline. A decline is logged at debug level.
const hs_kernels *hs_device_kernels(const hs_device *d, const hs_node *n);

hs_status hs_submit_mode_parse(const char *s, const hs_device *d, hs_submit_mode *out); // "graph" on a CPU is refused by name

#ifdef __cplusplus
}
#endif
#endif
