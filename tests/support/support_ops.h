// support_ops: what the generic op tests share - a node built from a case of the table, its values in f64, the reference and
// its derivatives, and runs of kernels in buffers between guard zones. Nothing here knows any op by name.
#ifndef HS_TESTS_SUPPORT_OPS_H
#define HS_TESTS_SUPPORT_OPS_H
#include "ops/ops.h"

// ---- what is tested
// (optional) What looks on while a kernel runs. begin, then all that the kernel may touch, then the kernel, then end.
typedef struct op_watch {
    void (*begin)(void);
    void (*operand)(const char *name, const void *p, size_t bytes, bool writable);
    const char *(*end)(void); // NULL, or what was wrong, one line
} op_watch;
typedef struct op_registry {
    const hs_op *const *ops;
    int n;
    const hs_kernels *const *table; // NULL: those of every device this machine has, by the order of `ops`. Ops without kernels are left out
    const char *table_name;
    bool no_team; // its kernels divide their work themselves: lanes, parts and promises to the plan mean nothing to them, and how a
                  // product over rows is divided follows from the capacity
    bool emulated;      // each run takes long: of f16, for which kernels are the source that they are for bf16, some are enough
    bool accesses_only; // what its kernels touch is looked at, in f32 and bf16, in one of several runs that touch the same; what they compute, and
                        // f16, is another program's
    double most_flops;  // of a case, forward and backward; those beyond are left out. 0: none is
    double slope_flops; // that the finite differences of a case may take in f32, a tenth of it in low types. 0: 3e7
    bool clears_dead, bits_by_capacity; // as hs_device has them, which says so where one is opened
    const op_watch *watch;
    const char *only;                   // (optional) the one op whose cases are tried
    hs_status (*open)(
        hs_device **out); // (optional) a device whose kernels run in its own order, on memory of alloc_host: table is its first
} op_registry;
extern op_registry hs_tested; // of the program; only setup_devices and tests_take_op change it
void tests_take_op(int argc, char **argv); // PROGRAM [OP]: the op that is tried by itself; ends the program where there is none of that name

// ---- a node made from a case
typedef struct op_types { // how every operand is stored in one run
    hs_dtype in[HS_MAX_IN], din[HS_MAX_IN], out[HS_MAX_OUT], dout[HS_MAX_OUT];
    hs_dtype low; // the policy's low type; F32: none
} op_types;

typedef struct probe {
    const hs_op *op;
    int op_id, case_id;
    const hs_case *c;
    hs_params *params;
    hs_graph *g;
    hs_node *n; // NULL: refused, hs_graph_status(g) says why
    op_types types;
    hs_dtype traced[HS_MAX_OUT]; // the outputs' types as the shape rule left them
    double *raw[HS_MAX_IN];      // float inputs as drawn
    double *x[HS_MAX_IN];        // the same exactly as the kernels see them: rounded to their types
    int32_t *ids[HS_MAX_IN];     // integer inputs
    double *dy[HS_MAX_OUT];      // gradients of the outputs that have one, rounded likewise
    hs_step_in step;             // n[]: all rows live
    hs_step_state state;
} probe;

probe *probe_new(int op_id, int case_id, hs_mode mode); // NULL: left out, or refused (a failure)
// The same with every input cut to what is live at `live` units of each counter, and the values of `like`.
probe *probe_cut(const probe *like, const int64_t live[HS_N_COUNTERS]);
// The case with that many units of a counter, more or fewer than it has; and rows [first, first + units) of it as a node of their own.
probe *probe_rows(int op_id, int case_id, hs_mode mode, int counter, int64_t units);
probe *probe_slice(const probe *like, int counter, int64_t first, int64_t units);
void probe_free(probe *p);
void probe_set_types(probe *p, const op_types *t); // rounds x and dy, sets the dtypes of the node's tensors
op_types probe_f32(const probe *p);
enum { MAX_TYPES = 128 };
// Every combination the AMP classes allow for values, all that can be low first; with_gradients: each with the types its
// gradients may have (an identity passes the type of a gradient on, so it need not be that of the value).
int probe_low(const probe *p, hs_dtype low, bool with_gradients, op_types out[MAX_TYPES]);

int64_t live_rows(const probe *p, const hs_tensor *t);
int64_t live_count(const probe *p, const hs_tensor *t);
bool is_float_input(const probe *p, int i);
hs_dtype stored_type(const probe *p, int i); // of an input as kernels get it; `ids` are i32 here whatever it is
bool has_gradient(const probe *p, int i); // through the backward kernel, or through the loss's own output
bool has_dy(const probe *p, int o);       // out[o] passes a gradient on
int loss_gradient(const hs_op *op);       // index of the output that is the gradient of input 0, or -1
double type_eps(hs_dtype d);              // distance from 1 to the next value
double probe_eps(const probe *p);         // the coarsest of all float operands

// ---- reference in f64. x, y: arrays of the operands' full size; y is not cleared
void probe_ref(const probe *p, double *const x[HS_MAX_IN], double *const y[HS_MAX_OUT]);
double *const *probe_outputs(const probe *p, double *y[HS_MAX_OUT]); // allocates them; free_outputs
void free_outputs(double *y[HS_MAX_OUT]);
// want[o] and how much it moves when every input moves by a relative 1 at random: the natural scale of rounding errors.
void probe_want(const probe *p, double *want[HS_MAX_OUT], double *scale[HS_MAX_OUT]);

typedef struct slope { // derivative of sum(dy * y) along one direction of one input, by central differences
    int input;
    int64_t at; // one element; -1: dense, every element +-1 by slope_sign(key, j)
    uint64_t key;
    double want;
    double scale; // sqrt(sum((dy * derivative of y)^2)), which does not cancel, and how much `want` moves with the inputs
    double noise; // rounding of the differences themselves
} slope;
double slope_sign(uint64_t key, int64_t j);
// By ref_bwd where the op has one, else by finite differences. Dense directions and single elements of every input with a gradient; all
// elements where `budget` (flops) allows.
int probe_slopes(const probe *p, double budget, slope **out);
// The derivative of output o along a direction must be the direction itself: worst difference.
double identity_error(const probe *p, int input);

// ---- runs of a kernel
typedef struct guarded { // bytes between two zones of one value
    char *base, *p;
    size_t bytes;
    int zone;
} guarded;
enum { ALL_INPUTS = 63, MAX_LANES = 4 };

typedef struct op_run {
    const hs_kernels *k;
    const char *table;
    int lanes;
    int tail;              // byte in all dead rows and in scratch: 0xFF (NaN), or 0
    bool in_place;         // forward: out[0] takes the bytes of in[0]
    bool add_out;          // forward: onto initial_din, as the plan has cast do it with gradients
    bool no_loss_gradient; // evaluation: the output HS_IS_INPUT_0 of a loss is absent
    unsigned wanted, add;  // backward: bits of inputs
    unsigned dead;         // backward: outputs nobody has a gradient for
    bool derived;          // with the copy that the kernels ask for (hs_derive), if they do
    int shared_din[2];     // backward: din[b] has the bytes of din[a]; {0, 0}: none
    // results
    guarded in[HS_MAX_IN], out[HS_MAX_OUT], din[HS_MAX_IN], dout[HS_MAX_OUT], shared, members, copy;
    bool ok; // guards whole, inputs unchanged
} op_run;
void run_forward(const probe *p, op_run *r);
void run_backward(const probe *p, op_run *r, const op_run *forward); // twice, parameters first, for HS_OP_SPLIT_BWD
void run_free(op_run *r);
double value_at(const guarded *b, hs_dtype d, int64_t i);
double initial_din(int input, int64_t j, hs_dtype d); // what din holds before a backward that adds

bool runs_open(hs_device *d); // from now on runs are by that device; false: it has no memory
void runs_close(void);        // of whatever runs took

// HS_PART_ROWS, forward or (with the forward run it needs) backward. Every lane gets operands of its own in which only its
// rows are alive; what HS_WHOLE operands and scratch hold is shared. A kernel that keeps its promise gives the bits of
// `expect` and leaves the other rows alone. A kernel that syncs first may divide otherwise if it also syncs last.
void check_part_rows(const probe *p, const op_run *expect, const op_run *forward);
// Member 1 arrives late, and only then do the operands that are not HS_WHOLE get their values (hs_kernels.syncs_first).
void check_late_operands(const probe *p, const op_run *expect);

// ---- kernel tables: every tier this machine runs, and providers
typedef struct kernel_set {
    const char *name; // NULL ends the list
    const hs_kernels *const *table;
} kernel_set;
const kernel_set *kernel_sets(void);
const hs_kernels *set_kernels(const kernel_set *s, const probe *p); // NULL: none, declines, or those of an earlier table
bool left_out(const probe *p); // beyond hs_tested.most_flops; counted for teardown_devices, which says what was not run
int setup_devices(void **state);
int teardown_devices(void **state);

// ---- verdicts. Each prints one line with op, case, types, table and lanes; a test ends with assert_no_failures
void op_fail(const probe *p, const op_run *r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void case_fail(int op_id, int case_id, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void assert_no_failures(void);
void check_forward(const probe *p, const op_run *r, double *const want[], double *const scale[]);
void check_slopes(const probe *p, const op_run *forward, const op_run *backward, const slope *s, int n);
bool same_outputs(const probe *p, const op_run *a, const op_run *b, const char *what); // live rows, all bits
bool same_gradients(const probe *p, const op_run *a, const op_run *b, unsigned inputs, const char *what);

#define for_each_probe(p, mode) /* frees what it made */                                                                                   \
    for (int op_ = 0; op_ < hs_tested.n; op_++)                                                                                            \
        for (int case_ = 0; case_ < hs_tested.ops[op_]->n_cases; case_++)                                                                  \
            for (probe *p = probe_new(op_, case_, mode); p; probe_free(p), p = NULL)
#define for_each_set(s, k, p) /* tables that have kernels of their own for the node as it is typed now */                                  \
    for (const kernel_set *s = kernel_sets(); s->name; s++)                                                                                \
        for (const hs_kernels *k = set_kernels(s, p); k; k = NULL)

#endif
