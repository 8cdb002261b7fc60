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
    const struct hs_thunk *then; // the call that this one's kernel does too (hs_join), and does not come again; NULL: none
} hs_thunk;

typedef struct hs_segment { // no point inside at which the host must look
    hs_thunk *thunk;
    int n;
} hs_segment;

typedef enum hs_submit_mode { HS_SUBMIT_STEP, HS_SUBMIT_BULK, HS_SUBMIT_GRAPH } hs_submit_mode;

// Called in step mode after each thunk, with the region closed. It may copy from the device.
typedef void hs_step_hook(const hs_thunk *t, double seconds, void *user);

// The kernels that core asks for by itself, beside those of ops. As with ops, attributes are values and everything else is an operand.
typedef struct hs_core_kernels {
    hs_kernel *loss_sum;   // SOLO. attr: hs_loss_sum. Adds the live rows of in[0], f32, times inv_count to state->loss; micro 0: from 0,
                           // but where another has begun it
    hs_kernel *loss_total; // SOLO. state->loss of the sets that step->ran names becomes its sum over comm. out[0]: room for all sets, f64
    hs_kernel *begin;      // SOLO. attr: hs_move. Starts that collective over comm, in out[0]: nobody's bytes until
    hs_kernel *finish;     // SOLO. ... this has waited for all that was started over comm; attr: hs_left, but for so many (NULL: 0)
    hs_kernel *keep;       // FREE. out[0] = in[0], or += where it adds; f32. No rows: nothing
    hs_kernel *record;     // SOLO. Writes what step and state say as the next record of out[0], a hs_step_log
} hs_core_kernels;

// begin and finish for any backend: all they do is to ask the comm.
void hs_begin_move(const hs_args *a, hs_lane *lane);
void hs_finish_moves(const hs_args *a, hs_lane *lane);

typedef struct hs_move { // of hs_comm_start
    hs_collective_kind kind;
    const int64_t *parts; // the host's, as hs_collective has them; of HS_ALL_REDUCE: NULL
    hs_reduce op;         // of HS_ALL_REDUCE
} hs_move;

typedef struct hs_left {
    int64_t left;
} hs_left;

typedef struct hs_loss_sum {
    int32_t set, loss; // of hs_step_state.loss
    bool goes_on;      // another node of the plan has begun this loss
} hs_loss_sum;

typedef struct hs_event hs_event; // a point in what a lane was given

struct hs_device;
// Collectives over d's memory between the ranks of host, each of which calls this with a device of the same kind. UNSUPPORTED, on all of
// them, with the reason: not between these. timeout: seconds in which all must have come; 0: for ever.
typedef hs_status hs_comm_open(hs_comm **out, struct hs_device *d, hs_comm *host, double timeout);

// One backend. What is not "(optional)" is required; hs_device_open refuses a table without it by its name, and fills the defaults in, so
// that core calls every member without asking. A lane is an order: what it is given happens one after the other, as of the host. A NULL
// lane is the device's first, which it always has.
typedef struct hs_device {
    const char *name; // "cpu", "cpu-fenced"
    bool is_cpu;      // (optional) lanes are core/cpu/lane.h's, so that the kernels of this library run on it; defaults to no

    // what it runs
    const hs_op *const *ops; // the registry
    int n_ops;
    const hs_kernels *const *const *tables; // ordered; the first entry that is not NULL and does not decline; NULL-terminated
    const char *const *table_names;         // (optional) for messages; defaults to none
    const hs_core_kernels *core;
    const struct hs_optim_tier *optim; // (optional) its optimizers (optim/update.h); defaults to those of `isa` on a CPU, elsewhere to none
    int team;                          // (optional) scratch per thread is for so many; defaults to 1
    hs_isa isa;                        // (optional) of the CPU's kernels, chosen once, when it is opened; defaults to portable

    // memory: addresses that the host passes on, to copy and fill, and never follows; bind makes of them what kernels get. copy and fill
    // take the host's own addresses as well, and those that bind made
    hs_status (*alloc)(struct hs_device *d, size_t bytes, void **out); // 64-byte aligned (4 KiB for large ones), zeroed
    void (*release)(struct hs_device *d, void *p, size_t bytes);       // as they were asked for; NULL: nothing
    void (*trim)(struct hs_device *d, void *p, size_t bytes); // (optional) part of an allocation that nobody wants any more: it may read
                                                              // as zeros; defaults to keeping it
    // (optional) what kernels get for an address inside of what alloc, alloc_host or adopt gave; NULL for any other. Defaults to the same,
    // of whatever
    void *(*bind)(const struct hs_device *d, const void *p);
    hs_status (*alloc_host)(struct hs_device *d, size_t bytes,
                            void **out);             // (optional) zeroed, 64-byte aligned, for host and kernels alike
    void (*free_host)(struct hs_device *d, void *p); // (pinned). NULL: nothing; both default to the host's own memory
    // (optional) an address for bytes of the host's (a mapped file's) that stay where they are and as they are until it is let go: copy
    // and kernels read them there, nobody writes. At any address that the elements allow. Defaults to NULL: who asks copies instead
    hs_status (*adopt)(struct hs_device *d, const void *host, size_t bytes, void **out);
    void (*disown)(struct hs_device *d, void *p, size_t bytes); // (optional) lets go of what adopt gave; defaults to nothing
    size_t (*free_bytes)(struct hs_device *d); // (optional) that alloc may still hand out; defaults to SIZE_MAX: nobody knows
    void (*copy)(struct hs_device *d, void *dst, const void *src, size_t bytes); // behind all that was submitted; done when it returns
    void (*fill)(struct hs_device *d, void *dst, int byte, size_t bytes);        // likewise
    void (*copy_async)(struct hs_device *d, hs_lane *lane, void *dst, const void *src, size_t bytes); // (optional) in the lane's order;
                                                                                                      // defaults to copy

    // lanes and events, (optional) all seven together; they default to one lane, in whose order everything happens anyway. One that was
    // waited for may be closed while other lanes still await it: for them it has happened. So has one that was never recorded
    hs_status (*lane_open)(struct hs_device *d, hs_lane **out);
    void (*lane_close)(struct hs_device *d, hs_lane *lane); // NULL: nothing
    hs_status (*event_open)(struct hs_device *d, hs_event **out);
    void (*event_close)(struct hs_device *d, hs_event *e);           // NULL: nothing
    void (*record)(struct hs_device *d, hs_event *e, hs_lane *lane); // e: the end of what the lane was given so far
    void (*await)(struct hs_device *d, hs_lane *lane, hs_event *e);  // what the lane is given from now on comes behind e
    hs_status (*arrive)(struct hs_device *d, hs_event *e); // the host comes behind e, in any thread; defaults to a wait for the one lane

    hs_status (*submit)(struct hs_device *d, hs_lane *lane, const hs_segment *s, hs_submit_mode mode); // s stays as it is until wait
    hs_status (*wait)(struct hs_device *d, hs_lane *lane);      // for all the lane was given; its errors
    void (*forget)(struct hs_device *d, const hs_thunk *first); // (optional) no segment out of this table of thunks comes again, and what
                                                                // it points to goes; all was waited for. Defaults to nothing
    void (*close)(struct hs_device *d);                         // (optional) gives back what the backend opened; defaults to nothing
    bool captures;                                              // (optional) can HS_SUBMIT_GRAPH; defaults to no
    int tracks;                                                 // (optional) members of a trace it takes; defaults to 0: it takes none
    hs_status (*collect)(struct hs_device *d); // (optional) for all that any lane was given: done, and in the trace; defaults to nothing
    // (optional) facts of a device whose products are a library's; default to no
    bool clears_dead;      // kernels may write zeros into dead rows of what they read, which are nobody's
    bool bits_by_capacity; // who makes a value follows from capacities: its bits are the same at any live count of a plan, not in two plans
    hs_comm_open *comm_open; // (optional) NULL: what moves between ranks goes through the host's memory
    // (optional) of a device that is not the CPU: FLOP/s of a large product of that type; defaults to 0: nobody knows
    hs_status (*peak)(struct hs_device *d, hs_dtype low, double *flops_per_second);
    // (optional) of a device that is not the CPU: makes ready to press weights that keep two zeros in every four (hs_param.keeps_zeros).
    // UNSUPPORTED and why: they are read in full, and nobody need mark them; defaults to that
    hs_status (*presses)(struct hs_device *d);

    // set by whoever watches
    int bulk_size; // thunks per region in bulk mode; 0: the whole segment
    hs_step_hook *hook;
    void *hook_user;
    hs_trace *trace; // NULL: none is taken; borrowed. Of `tracks` members, the device's own kind of them
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
    const hs_core_kernels *core; // of a backend that is a plug-in's (core/run/plugin.h), like the optimizers: the CPU has its own
    const struct hs_optim_tier *optim;
    hs_comm_open *comm_open;
    int index; // of the devices of this kind: this one, modulo how many there are; 0: the first
} hs_device_opts;

// A backend fills the table; `ops` to `bulk_size` are there already. It fails with USAGE or UNSUPPORTED and the reason, holding nothing.
typedef hs_status hs_backend(hs_device *d, const hs_device_opts *o);
hs_status hs_device_open(hs_device **out, hs_backend *backend, const hs_device_opts *o); // the CPU's: core/cpu/device_cpu.h
void hs_device_close(hs_device *d);

// NULL: this is not the device's memory (on a device that can tell).
static inline void *hs_device_bind(const hs_device *d, const void *p) { return d->bind ? d->bind(d, p) : (void *)(uintptr_t)p; }

const hs_op *hs_device_op(const hs_device *d, const char *name); // NULL if unknown
int hs_device_op_index(const hs_device *d, const char *name);
// The kernels that will run node n: the first table that has them and does not decline. A decline is logged at debug level.
const hs_kernels *hs_device_kernels(const hs_device *d, const hs_node *n);

hs_status hs_submit_mode_check(hs_submit_mode mode, const hs_device *d); // graph is refused where nothing is captured
hs_submit_mode hs_submit_mode_of(const hs_device *d);                    // graph where segments are captured, else bulk

#ifdef __cplusplus
}
#endif
#endif
