// bench op: any op of the table by the kernels that training runs, at sizes its entry names (or its largest case scaled), beside what this
// machine does in registers and in memory. A new op is measured without a line here.
#include "core/base/log.h"
#include "recipes/bench/bench.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const hs_op_sizes rows_and_cols = { .form = "ROWSxCOLS", .usual = "768x128,1Kx768,4Kx768,4Kx3072" };

static const hs_op_sizes *forms_of(const hs_op *op, int *n)
{
    *n = op->bench.sizes ? op->bench.n_sizes : 1;
    return op->bench.sizes ? op->bench.sizes : &rows_and_cols;
}

static const hs_op_sizes *form_with(const hs_op *op, int numbers) // NULL: it has none of so many
{
    int n;
    const hs_op_sizes *f = forms_of(op, &n);
    for (int i = 0; i < n; i++)
        if (hs_bench_form_dims(f[i].form) == numbers)
            return &f[i];
    return NULL;
}

// ---- the case of a size

static const hs_case *largest_case(const hs_op *op)
{
    const hs_case *best = NULL;
    int64_t most = 0;
    for (int i = 0; i < op->n_cases; i++) {
        const int64_t *dim = op->cases[i].in[0];
        if (!dim[0] || !dim[1] || dim[2] || dim[0] == dim[1] || dim[0] * dim[1] <= most)
            continue;
        best = &op->cases[i], most = dim[0] * dim[1];
    }
    return best;
}

// The largest case with other rows and columns, wherever an input has them.
static hs_status scale_case(const hs_op *op, const int64_t *to, hs_case *c, void *attr)
{
    const hs_case *base = largest_case(op);
    if (!base)
        return HS_FAIL(UNSUPPORTED, "%s: no case of it has rows and columns, and its entry names no sizes", op->name);
    const int64_t rows = base->in[0][0], cols = base->in[0][1];
    *c = *base;
    memset(c->live, 0, sizeof c->live);
    for (int i = 0; i < hs_op_n_in(op); i++) {
        int64_t *dim = c->in[i];
        const bool vector = !dim[1];
        if (dim[0] == rows)
            dim[0] = to[0];
        else if (vector && dim[0] == cols)
            dim[0] = to[1];
        if (dim[1] == cols)
            dim[1] = to[1];
    }
    if (base->attr)
        memcpy(attr, base->attr, op->attr_bytes);
    return HS_OK;
}

static hs_status spec_of(const hs_op *op, const hs_op_sizes *form, const int64_t *dim, void *attr, hs_probe_spec *s)
{
    const bool no_gradient = op->out[0].amp == HS_AMP_NONE; // of a result that is no float
    *s = (hs_probe_spec){ .op = op, .attr = attr, .forward_only = form->forward_only || no_gradient };
    if (!form->make)
        return scale_case(op, dim, &s->c, attr);
    form->make(dim, &s->c, attr);
    return HS_OK;
}

// ---- measuring: every type, with --packed also with weights packed before, with --onednn also by oneDNN, in turns

typedef struct column {
    hs_device *device;
    const char *kernels; // the table they are from: "avx512", "onednn"
    bool packed;         // weights stay packed from one run to the next
    const hs_op *op;     // NULL: the one that is asked for; else that in whose place it would stand
    hs_dtype dtype;
    hs_probe *probe;
    hs_samples time[HS_PROBE_TIMES];   // seconds
    hs_samples peak, adds, read, copy; // FLOP/s and integer additions/s in registers, bytes/s of as many bytes: taken beside each
} column;

enum { LEAST_BYTES = 4096, MOST_BYTES = 256 << 20, TRAFFIC = 2 << 20 }; // TRAFFIC: small sets are passed over several times

static hs_cost cost_of(const hs_node *n) // of what runs: in training, some losses have no forward
{
    const hs_cost c = n->op->cost(n, false);
    return n->mode == HS_TRAIN && n->op->flags & HS_OP_LOSS && n->op->cpu.bwd ? n->op->cost(n, true) : c;
}

static int64_t floats_of(const column *c) // as many bytes as one run moves
{
    const double bytes = cost_of(c->probe->node).bytes;
    return (int64_t)fmin(fmax(bytes, LEAST_BYTES), MOST_BYTES) / 128 * 32; // halves begin with a cache line
}

// The type that its products are of.
static hs_dtype products_of(const column *c)
{
    const hs_op *op = c->probe->node->op;
    for (int i = 0; i < hs_op_n_in(op) && c->device->is_cpu; i++)
        if (op->in[i].flags & HS_BYTES)
            return HS_I8;
    return c->dtype;
}

// The loops of this library are a CPU's; another device copies.
static hs_status sample_memory(column *c, float *memory)
{
    const int64_t n = floats_of(c), passes = c->device->is_cpu ? TRAFFIC / (4 * n) + 1 : 1;
    const double moved = 4 * (double)n * (double)passes;
    double adds = NAN, read, copy;
    if (c->device->is_cpu) {
        const hs_peak_loops *loops = hs_peak_loops_of(c->device->isa);
        HS_TRY(hs_adds_once(c->device, &adds));
        HS_TRY(hs_stream_time(c->device, &(hs_stream_job){ .loop = loops->read, .a = memory, .n = n, .passes = passes }, &read));
        HS_TRY(hs_stream_time(
            c->device, &(hs_stream_job){ .loop = loops->copy, .to = memory, .a = memory + n / 2, .n = n / 2, .passes = passes }, &copy));
    } else {
        HS_TRY(hs_copy_time(c->device, (char *)memory, 2 * (size_t)n, &copy));
        read = copy;
    }
    hs_samples_add(&c->adds, adds);
    hs_samples_add(&c->read, moved / read);
    hs_samples_add(&c->copy, moved / copy);
    return HS_OK;
}

static hs_status sample(column *c, float *memory)
{
    double peak;
    HS_TRY(hs_peak_once(c->device, products_of(c), &peak));
    HS_TRY(sample_memory(c, memory));
    HS_TRY(hs_probe_run(c->probe));
    hs_samples_add(&c->peak, peak > 0 ? peak : NAN); // nobody knows: memory alone is a limit
    for (int t = 0; t < HS_PROBE_TIMES; t++)
        hs_samples_add(&c->time[t], c->probe->seconds[t]);
    return HS_OK;
}

static hs_status measure(hs_bench_run *r, const hs_probe_spec *spec, column *c, int n)
{
    int64_t floats = 0;
    for (int i = 0; i < n; i++) {
        hs_probe_spec typed = *spec;
        typed.low = c[i].dtype, typed.packed = c[i].packed;
        if (c[i].op)
            typed.op = c[i].op;
        HS_TRY(hs_probe_new(&c[i].probe, c[i].device, &typed));
        HS_TRY(hs_probe_run(c[i].probe)); // touches every page
        floats = floats_of(&c[i]) > floats ? floats_of(&c[i]) : floats;
    }
    const size_t bytes = (size_t)floats * sizeof(float);
    void *memory;
    HS_TRY(r->device->alloc(r->device, bytes, &memory));
    r->device->fill(r->device, memory, 0, bytes);
    const double start = hs_now();
    hs_status st = HS_OK;
    for (int round = 0; st == HS_OK && !hs_bench_enough(r, round, start); round++)
        for (int i = 0; i < n && st == HS_OK; i++)
            st = sample(&c[i], hs_device_bind(r->device, memory));
    r->device->release(r->device, memory, bytes);
    return st;
}

static bool by_onednn(const hs_bench_run *r, int id) { return r->onednn && r->onednn->tables[0][id]; }
static bool also_packed(const hs_bench_run *r, int id) { return r->o->packed && hs_ops[id]->cpu.derive.bytes; }

static int columns_of(const hs_bench_run *r, int id, column *c)
{
    hs_dtype types[2];
    int n = 0;
    const int n_types = hs_bench_dtypes(r, types);
    for (int i = 0; i < n_types; i++) {
        for (int packed = 0; packed <= (int)also_packed(r, id); packed++)
            c[n++] = (column){ .device = r->device, .kernels = r->device->table_names[0], .packed = packed, .dtype = types[i] };
        if (by_onednn(r, id) && types[i] == HS_F32)
            c[n++] = (column){ .device = r->onednn, .kernels = r->onednn->table_names[0], .dtype = types[i] };
        if (hs_ops[id]->bench.instead_of)
            c[n++] = (column){
                .device = r->device, .kernels = r->device->table_names[0], .dtype = types[i], .op = hs_ops[id]->bench.instead_of
            };
    }
    return n;
}

// ---- the row of a column

static double rate(double amount, double seconds) { return seconds > 0 ? amount / seconds / 1e9 : NAN; }

static double whole_time(column *c)
{
    double sum = 0;
    for (int t = 0; t < HS_PROBE_TIMES; t++)
        sum += hs_median(&c->time[t]);
    return sum;
}

typedef struct filled { // columns for people that some op of this invocation fills; they are the same in every row
    bool split, instead;
} filled;

// other: of the op that c's stands in the place of, as it is measured in the same rounds; NULL: of none.
static void report(hs_bench_run *r, const filled *any, const char *form, const hs_bench_size *size, column *c, column *other)
{
    const hs_node *n = c->probe->node;
    const bool split = n->op->flags & HS_OP_SPLIT_BWD;
    const hs_cost fwd = n->op->cost(n, false), bwd = n->op->cost(n, true);
    const double peak = hs_median(&c->peak), read = hs_median(&c->read), copy = hs_median(&c->copy), memory = fmax(read, copy);
    const double forward = hs_median(&c->time[HS_PROBE_FORWARD]), params = hs_median(&c->time[HS_PROBE_PARAMS]);
    const double dx = hs_median(&c->time[HS_PROBE_BACKWARD]), backward = dx + params;
    // what the machine needs at least for that which ran
    const double least =
        (forward > 0 ? fmax(fwd.flops / peak, fwd.bytes / memory) : 0) + (backward > 0 ? fmax(bwd.flops / peak, bwd.bytes / memory) : 0);
    const bool variants = r->o->packed || r->o->onednn;
    char text[128];
    const hs_cell cells[] = {
        { .key = "size", .text = hs_bench_size_text(size, text, sizeof text), .width = 16 },
        { .key = "form", .text = form, .json_only = true },
        { .key = "dtype", .text = hs_bench_dtype_name(c->dtype) },
        { .key = "kernels", .text = c->kernels, .width = 10, .json_only = !variants },
        { .key = "weights", .text = c->packed ? "packed before" : "as they lie", .width = 13, .json_only = !variants },
        { .key = "forward_us", .value = forward > 0 ? 1e6 * forward : NAN, .digits = 1 },
        { .key = "backward_us", .value = backward > 0 ? 1e6 * backward : NAN, .digits = 1 },
        { .key = "forward_gflops", .value = rate(fwd.flops, forward), .digits = 1 },
        { .key = "backward_gflops", .value = rate(bwd.flops, backward), .digits = 1 },
        { .key = "dx_gflops", .value = split ? rate(bwd.flops / 2, dx) : NAN, .digits = 1, .json_only = !any->split }, // one size
        { .key = "dw_gflops", .value = split ? rate(bwd.flops / 2, params) : NAN, .digits = 1, .json_only = !any->split },
        { .key = "forward_gbps", .value = rate(fwd.bytes, forward), .digits = 1 },
        { .key = "backward_gbps", .value = rate(bwd.bytes, backward), .digits = 1 },
        { .key = "ceiling", .text = hs_peak_name(c->device, products_of(c)), .width = 8 },
        { .key = "ceiling_gflops", .value = peak / 1e9 },
        { .key = "adds_per_core", .value = hs_median(&c->adds) / 1e9, .digits = 1 }, // G/s
        { .key = "read_gbps", .value = read / 1e9, .digits = 1 },
        { .key = "copy_gbps", .value = copy / 1e9, .digits = 1 },
        { .key = "share", .value = least / (forward + backward), .digits = 2 },
        { .key = "op", .text = n->op->name, .width = 10, .json_only = !any->instead },
        { .key = "times_faster", .value = other ? whole_time(other) / whole_time(c) : NAN, .digits = 2, .json_only = !any->instead },
        { .key = "pays",
          .text = !other                              ? "-"
                  : whole_time(c) < whole_time(other) ? "yes"
                                                      : "no",
          .json_only = !any->instead },
    };
    HS_BENCH_ROW(r, cells);
}

// ---- which ops, which sizes

static hs_status measure_size(hs_bench_run *r, const filled *any, int id, const hs_op_sizes *form, const hs_bench_size *size)
{
    _Alignas(16) char attr[256] = { 0 };
    column c[2 * 4];
    hs_probe_spec spec;
    const int n = columns_of(r, id, c);
    hs_status st = spec_of(hs_ops[id], form, size->dim, attr, &spec);
    if (st == HS_OK)
        st = measure(r, &spec, c, n);
    for (int i = 0; i < n; i++) {
        if (st == HS_OK)
            report(r, any, form->form, size, &c[i], i + 1 < n && c[i + 1].op ? &c[i + 1] : NULL);
        hs_probe_free(c[i].probe);
    }
    return st;
}

static hs_status measure_op(hs_bench_run *r, const filled *any, int id)
{
    const hs_op *op = hs_ops[id];
    for (int i = 0; i < r->sizes.n; i++) {
        const hs_op_sizes *form = form_with(op, r->sizes.at[i].n);
        if (form)
            HS_TRY(measure_size(r, any, id, form, &r->sizes.at[i]));
    }
    int n;
    const hs_op_sizes *forms = forms_of(op, &n);
    for (int f = 0; f < n && !r->sizes.n; f++) {
        hs_bench_sizes usual;
        HS_TRY(hs_bench_sizes_parse(&usual, forms[f].usual, forms[f].form, forms[f].usual));
        for (int i = 0; i < usual.n; i++)
            HS_TRY(measure_size(r, any, id, &forms[f], &usual.at[i]));
    }
    return HS_OK;
}

static hs_status no_op(const char *name)
{
    const char *names[HS_N_OPS];
    for (int i = 0; i < HS_N_OPS; i++)
        names[i] = hs_ops[i]->name;
    const char *near = hs_nearest_word(name, names, HS_N_OPS);
    return HS_FAIL(USAGE, "bench op: there is no operation '%s'%s%s (`halfstep ops` lists them; all: every one)", name,
                   near ? "; nearest is " : "", near ? near : "");
}

static hs_status pick(const char *list, bool wanted[HS_N_OPS])
{
    for (const char *p = list;; p++) {
        char name[64];
        bool found = false;
        const size_t n = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        for (int i = 0; i < HS_N_OPS; i++)
            if (strcmp(name, "all") == 0 || strcmp(name, hs_ops[i]->name) == 0)
                wanted[i] = found = true;
        if (!found)
            return no_op(name);
        p += n;
        if (!*p)
            return HS_OK;
    }
}

static void forms_text(const hs_op *op, char *buf, size_t size)
{
    int n;
    const hs_op_sizes *f = forms_of(op, &n);
    size_t at = 0;
    for (int i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? " or " : "", f[i].form);
}

// Every size is of a form that an op here has, and every op has one.
static hs_status check_sizes(const hs_bench_run *r, const bool wanted[HS_N_OPS])
{
    char forms[160], size[128];
    bool taken[HS_BENCH_SIZES] = { false };
    int first = -1;
    for (int i = 0; i < HS_N_OPS && r->sizes.n; i++) {
        bool any = false;
        for (int k = 0; k < r->sizes.n && wanted[i]; k++)
            if (form_with(hs_ops[i], r->sizes.at[k].n))
                any = taken[k] = true;
        if (!wanted[i])
            continue;
        first = first < 0 ? i : first;
        forms_text(hs_ops[i], forms, sizeof forms);
        if (!any)
            return HS_FAIL(USAGE, "sizes: '%s' is not %s of %s", hs_bench_size_text(&r->sizes.at[0], size, sizeof size), forms,
                           hs_ops[i]->name);
    }
    for (int k = 0; k < r->sizes.n; k++)
        if (!taken[k]) {
            forms_text(hs_ops[first], forms, sizeof forms);
            return HS_FAIL(USAGE, "sizes: '%s' is not %s of %s", hs_bench_size_text(&r->sizes.at[k], size, sizeof size), forms,
                           hs_ops[first]->name);
        }
    return HS_OK;
}

// An option that none of the ops would heed is refused.
static hs_status check_variants(const hs_bench_run *r, const bool wanted[HS_N_OPS])
{
    bool onednn = !r->o->onednn, packed = !r->o->packed;
    for (int i = 0; i < HS_N_OPS; i++)
        onednn |= wanted[i] && by_onednn(r, i), packed |= wanted[i] && also_packed(r, i);
    return onednn && packed ? HS_OK
                            : HS_FAIL(USAGE, "bench op %s does not take --%s: there are no such kernels of it", r->cli->arg[1],
                                      onednn ? "packed" : "onednn");
}

static hs_status run(hs_bench_run *r)
{
    bool wanted[HS_N_OPS] = { false };
    const bool all = strcmp(r->cli->arg[1], "all") == 0;
    filled any = { 0 };
    HS_TRY(pick(r->cli->arg[1], wanted));
    HS_TRY(check_variants(r, wanted));
    if (*r->o->sizes)
        HS_TRY(hs_bench_sizes_parse(&r->sizes, r->o->sizes, NULL, "1Kx768x3072"));
    HS_TRY(check_sizes(r, wanted));
    for (int i = 0; i < HS_N_OPS; i++)
        any.split |= wanted[i] && hs_ops[i]->flags & HS_OP_SPLIT_BWD, any.instead |= wanted[i] && hs_ops[i]->bench.instead_of;
    for (int i = 0; i < HS_N_OPS; i++) {
        const hs_status st = wanted[i] ? measure_op(r, &any, i) : HS_OK;
        if (st != HS_OK && !(all && st == HS_UNSUPPORTED))
            return hs_frame_at(st, __FILE__, __LINE__);
        if (st != HS_OK)
            hs_warn("%s", hs_error());
    }
    return HS_OK;
}

const hs_bench hs_bench_op = {
    .name = "op",
    .summary = "GFLOP/s and GB/s of operations, forward and backward, beside registers and memory",
    .takes = "onednn packed sizes",
    .argument = "NAME[,NAME...]|all",
    .run = run,
};
