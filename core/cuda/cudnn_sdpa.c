// cudnn_sdpa: the library, plans by problem, and running one.
#include "core/cuda/cudnn_sdpa.h"
#include "core/base/log.h"
#include "core/cuda/cudnn_impl.h"
#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLDEST = 90800 }; // before it there is no description of a GPU to plan for (CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR)

static const char *const pass_names[] = { "inference", "forward", "backward" };

typedef struct said { // to the log
    hs_sdpa_problem problem;
    char why[sizeof((hs_sdpa_plan *)0)->why];
} said;

struct hs_dnn {
    void *library;
    hs_dnn_calls calls;
    cudnnHandle_t handle; // NULL: of a GPU that is not here
    cudnnBackendDescriptor_t device;
    pthread_mutex_t lock; // of all that follows, and of the handle: it has one stream at a time
    hs_sdpa_plan **plan;
    int n_plans, room;
    said *said;
    int n_said, said_room;
};

// ---- the library

static hs_status load(hs_dnn *dnn)
{
    dnn->library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (!dnn->library)
        return HS_FAIL(UNSUPPORTED, "cuDNN: %s", dlerror());
#define FIND(f)                                                                                                                            \
    if (!(*(void **)&dnn->calls.f = dlsym(dnn->library, #f)))                                                                              \
        return HS_FAIL(UNSUPPORTED, "cuDNN: its library has no %s", #f);
    HS_DNN_CALLS(FIND)
#undef FIND
    const int version = hs_dnn_version(dnn);
    if (version < OLDEST)
        return HS_FAIL(UNSUPPORTED, "cuDNN: version %d.%d, needs %d.%d or newer, which plans for a GPU's description", version / 10000,
                       version / 100 % 100, OLDEST / 10000, OLDEST / 100 % 100);
    return HS_OK;
}

const hs_dnn_calls *hs_dnn_calls_of(const hs_dnn *dnn) { return &dnn->calls; }
int hs_dnn_version(const hs_dnn *dnn) { return (int)dnn->calls.cudnnGetVersion(); }

static cudnnStatus_t open_device(hs_dnn *dnn, int32_t index, const char *described)
{
    const hs_dnn_calls *c = &dnn->calls;
    cudnnStatus_t st = described ? CUDNN_STATUS_SUCCESS : c->cudnnCreate(&dnn->handle);
    if (st == CUDNN_STATUS_SUCCESS)
        st = c->cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &dnn->device);
    if (st == CUDNN_STATUS_SUCCESS)
        st = described ? c->cudnnBackendSetAttribute(dnn->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                                     (int64_t)strlen(described), described)
                       : c->cudnnBackendSetAttribute(dnn->device, CUDNN_ATTR_DEVICEPROP_DEVICE_ID, CUDNN_TYPE_INT32, 1, &index);
    return st == CUDNN_STATUS_SUCCESS ? c->cudnnBackendFinalize(dnn->device) : st;
}

// As a test can be told of it (tests/golden/gpu).
static void say_device(const hs_dnn *dnn)
{
    char described[4096];
    int64_t n = 0;
    if (hs_log_get() >= HS_LOG_DEBUG &&
        dnn->calls.cudnnBackendGetAttribute(dnn->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, sizeof described - 1,
                                            &n, described) == CUDNN_STATUS_SUCCESS) {
        described[n < (int64_t)sizeof described ? n : 0] = 0;
        hs_debug("cuDNN %d plans for %s", hs_dnn_version(dnn), described);
    }
}

static hs_status open_with(hs_dnn **out, int index, const char *described)
{
    *out = NULL;
    hs_dnn *dnn = calloc(1, sizeof *dnn);
    if (!dnn)
        return HS_FAIL(MEMORY, "no memory for cuDNN");
    pthread_mutex_init(&dnn->lock, NULL);
    hs_status st;
    HS_TRY_GOTO(st, load(dnn), failed);
    const cudnnStatus_t opened = open_device(dnn, index, described);
    if (opened != CUDNN_STATUS_SUCCESS) {
        st = HS_FAIL(SYSTEM, "cuDNN does not open %s: %s", described ? "for the GPU that is described" : "on this GPU",
                     dnn->calls.cudnnGetErrorString(opened));
        goto failed;
    }
    say_device(dnn);
    *out = dnn;
    return HS_OK;
failed:
    hs_dnn_close(dnn);
    return st;
}

hs_status hs_dnn_open(hs_dnn **out, int device) { return open_with(out, device, NULL); }
hs_status hs_dnn_open_described(hs_dnn **out, const char *device) { return open_with(out, 0, device); }

static void free_plan(const hs_dnn_calls *c, hs_sdpa_plan *plan)
{
    if (plan && plan->graph)
        hs_sdpa_forget(c, plan->graph);
    free(plan ? plan->graph : NULL);
    free(plan);
}

void hs_dnn_close(hs_dnn *dnn)
{
    if (!dnn)
        return;
    for (int i = 0; i < dnn->n_plans; i++)
        free_plan(&dnn->calls, dnn->plan[i]);
    if (dnn->device)
        dnn->calls.cudnnBackendDestroyDescriptor(dnn->device);
    if (dnn->handle)
        dnn->calls.cudnnDestroy(dnn->handle);
    if (dnn->library)
        dlclose(dnn->library);
    pthread_mutex_destroy(&dnn->lock);
    free(dnn->plan);
    free(dnn->said);
    free(dnn);
}

// ---- workspace

static size_t whole(size_t bytes) { return (bytes + HS_SDPA_ALIGN - 1) / HS_SDPA_ALIGN * HS_SDPA_ALIGN; }
static int64_t up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

hs_sdpa_room hs_sdpa_room_of(const hs_sdpa_problem *p)
{
    const bool backward = p->pass == HS_SDPA_BACKWARD;
    const size_t rows = (size_t)(p->b * p->h * p->s), f32 = sizeof(float);
    hs_sdpa_room r = { 0 };
    r.dq_sum = r.delta + (backward ? whole(rows * f32) : 0);
    r.kernel = r.dq_sum + (backward && !p->repeats ? whole(rows * (size_t)p->d * f32) : 0);
    return r;
}

// The kernel's own: maps of each sequence's rows for the copy engines of sm_90; where bits repeat ds, in tiles; else, below sm_90, one more
// sum of dq.
static size_t kernel_room(const hs_sdpa_problem *p)
{
    const size_t maps = ((size_t)64 << 10) + 512 * (size_t)p->b;
    if (p->pass != HS_SDPA_BACKWARD)
        return whole(maps);
    if (p->repeats)
        return whole(maps + (size_t)(p->b * p->h * up(p->s, 64) * up(p->s, 128)) * 2);
    return whole(maps + (size_t)(p->b * p->h * p->s * p->d) * sizeof(float));
}

size_t hs_sdpa_workspace(const hs_sdpa_problem *p) { return hs_sdpa_room_of(p).kernel + kernel_room(p); }

// ---- plans

// What cuDNN does not have, and what is known to be wrong in some of its versions.
static const char *declines(const hs_dnn *dnn, const hs_sdpa_problem *p)
{
    const int version = hs_dnn_version(dnn);
    if (p->dtype != HS_BF16 && p->dtype != HS_F16)
        return "cuDNN attends in bf16 and f16";
    if (p->b < 1 || p->h < 1 || p->s < 1 || p->d < 8 || p->d % 8 || p->d > 256)
        return "heads are a multiple of 8 wide, and at most 256";
    if (p->rows == HS_SDPA_FULL && p->s % 128)
        return "cuDNN is wrong where no row is padding and sequences are no multiple of 128 long"; // gradients of NaN: cudnn-frontend 160
    if (version == 91000 || version == 91001)
        return "cuDNN 9.10.0 and 9.10.1 are wrong"; // as TransformerEngine has it, these two
    if (version == 91400 && !p->causal && p->s > 1024)
        return "cuDNN 9.14.0 is wrong";
    return NULL;
}

static int64_t number_of(const hs_dnn_calls *c, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name)
{
    int64_t n = 0, value = -1;
    return c->cudnnBackendGetAttribute(d, name, CUDNN_TYPE_INT64, 1, &n, &value) == CUDNN_STATUS_SUCCESS && n == 1 ? value : -1;
}

typedef struct engine { // cuDNN's, of a proposal
    int64_t number;     // -1: it does not say
    bool repeats;       // as far as it says: the same bits each time
} engine;

static bool notes_repeat(const hs_dnn_calls *c, cudnnBackendDescriptor_t d)
{
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t n = 0;
    if (c->cudnnBackendGetAttribute(d, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, HS_COUNT(note), &n, note) !=
        CUDNN_STATUS_SUCCESS)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            return false;
    return true;
}

static engine engine_of(const hs_dnn_calls *c, cudnnBackendDescriptor_t proposal)
{
    engine e = { .number = -1 };
    cudnnBackendDescriptor_t d = NULL;
    int64_t n = 0;
    if (c->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &d) != CUDNN_STATUS_SUCCESS)
        return e;
    if (c->cudnnBackendGetAttribute(proposal, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &d) ==
        CUDNN_STATUS_SUCCESS)
        e = (engine){ number_of(c, d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX), notes_repeat(c, d) };
    c->cudnnBackendDestroyDescriptor(d);
    return e;
}

// How cuDNN would do it: its proposals, each of which it has checked.
static void propose(const hs_dnn *dnn, hs_sdpa_graph *g)
{
    const hs_dnn_calls *c = &dnn->calls;
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    cudnnBackendDescriptor_t h = hs_dnn_make(c, g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    hs_dnn_set(c, g, h, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->ops);
    hs_dnn_set(c, g, h, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    hs_dnn_set(c, g, h, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &dnn->device);
    hs_dnn_finish(c, g, h);
    for (int i = 0; i < HS_SDPA_PROPOSALS; i++)
        g->proposal[i] = hs_dnn_make(c, g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (g->status == CUDNN_STATUS_SUCCESS &&
        c->cudnnBackendGetAttribute(h, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, HS_SDPA_PROPOSALS, &g->n_proposals,
                                    g->proposal) != CUDNN_STATUS_SUCCESS)
        g->n_proposals = 0;
}

// Takes proposal i, unless its kernel wants more than there is, or its bits do not repeat where they have to.
static bool take(const hs_dnn *dnn, hs_sdpa_plan *plan, int64_t i)
{
    const hs_dnn_calls *c = &dnn->calls;
    const hs_sdpa_problem *p = &plan->problem;
    const engine e = engine_of(c, plan->graph->proposal[i]);
    const int64_t bytes = number_of(c, plan->graph->proposal[i], CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE);
    if (e.number < 0 || bytes < 0)
        return false;
    if (!e.repeats && (p->pass != HS_SDPA_BACKWARD || p->repeats)) {
        snprintf(plan->why, sizeof plan->why, "cuDNN says of its kernel %lld that its bits do not repeat", (long long)e.number);
        return false;
    }
    if ((size_t)bytes > kernel_room(&plan->problem)) {
        snprintf(plan->why, sizeof plan->why, "cuDNN's kernel asks for %lld bytes, planned are %zu", (long long)bytes,
                 kernel_room(&plan->problem));
        return false;
    }
    plan->engine = (int)e.number, plan->workspace_bytes = (size_t)bytes;
    plan->why[0] = 0;
    return true;
}

static hs_sdpa_plan *make(const hs_dnn *dnn, const hs_sdpa_problem *p)
{
    hs_sdpa_plan *plan = calloc(1, sizeof *plan);
    hs_sdpa_graph *g = plan ? calloc(1, sizeof *g) : NULL;
    if (!g) {
        free(plan);
        return NULL;
    }
    plan->problem = *p;
    plan->graph = g;
    const char *why = declines(dnn, p);
    snprintf(plan->why, sizeof plan->why, "%s", why ? why : "cuDNN has no kernel for it on this GPU");
    if (why)
        return plan;
    hs_sdpa_describe(&dnn->calls, p, g);
    propose(dnn, g);
    if (g->status != CUDNN_STATUS_SUCCESS)
        snprintf(plan->why, sizeof plan->why, "cuDNN: %s", g->why);
    for (int64_t i = 0; i < g->n_proposals && !take(dnn, plan, i); i++) {}
    return plan;
}

// The first proposal that compiles.
static void compile(const hs_dnn *dnn, hs_sdpa_plan *plan)
{
    const hs_dnn_calls *c = &dnn->calls;
    hs_sdpa_graph *g = plan->graph;
    for (int64_t i = 0; i < g->n_proposals && !g->plan; i++) {
        if (!take(dnn, plan, i))
            continue;
        g->status = CUDNN_STATUS_SUCCESS; // of one before it
        cudnnBackendDescriptor_t d = hs_dnn_make(c, g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        hs_dnn_set(c, g, d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->proposal[i]);
        hs_dnn_set(c, g, d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &dnn->device);
        hs_dnn_finish(c, g, d);
        if (g->status == CUDNN_STATUS_SUCCESS &&
            number_of(c, d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) <= (int64_t)plan->workspace_bytes)
            g->plan = d;
    }
    const hs_sdpa_problem *p = &plan->problem;
    if (g->plan)
        hs_debug("attention of %lld x %lld x %lld x %lld, %s: engine %d of cuDNN's, %zu bytes", (long long)p->b, (long long)p->h,
                 (long long)p->s, (long long)p->d, pass_names[p->pass], plan->engine, plan->workspace_bytes);
    else if (!plan->why[0])
        snprintf(plan->why, sizeof plan->why, "cuDNN does not compile its kernel: %s", g->why);
    plan->compiled = true;
}

static bool is_same(const hs_sdpa_problem *x, const hs_sdpa_problem *y)
{
    return x->b == y->b && x->h == y->h && x->s == y->s && x->d == y->d && x->row_in == y->row_in && x->row_out == y->row_out &&
           x->dtype == y->dtype && x->rows == y->rows && x->pass == y->pass && x->causal == y->causal && x->repeats == y->repeats &&
           x->dropout == y->dropout;
}

// items with room for one more.
static bool grow(void **items, int n, int *room, size_t size)
{
    if (n < *room)
        return true;
    const int more = *room ? 2 * *room : 16;
    void *p = realloc(*items, (size_t)more * size);
    if (p)
        *items = p, *room = more;
    return p != NULL;
}

static hs_sdpa_plan *plan_of(hs_dnn *dnn, const hs_sdpa_problem *p, bool compiled)
{
    hs_sdpa_plan *plan = NULL;
    for (int i = 0; i < dnn->n_plans && !plan; i++)
        plan = is_same(&dnn->plan[i]->problem, p) ? dnn->plan[i] : NULL;
    if (!plan) {
        if (!grow((void **)&dnn->plan, dnn->n_plans, &dnn->room, sizeof *dnn->plan) || !(plan = make(dnn, p)))
            return NULL;
        dnn->plan[dnn->n_plans++] = plan;
    }
    if (compiled && !plan->compiled && !plan->why[0])
        compile(dnn, plan);
    return plan;
}

const hs_sdpa_plan *hs_sdpa_plan_of(hs_dnn *dnn, const hs_sdpa_problem *p, bool compiled)
{
    pthread_mutex_lock(&dnn->lock);
    const hs_sdpa_plan *plan = plan_of(dnn, p, compiled);
    pthread_mutex_unlock(&dnn->lock);
    return plan;
}

// ---- running

static void say_why(hs_dnn *dnn, const hs_sdpa_problem *p, const char *why)
{
    for (int i = 0; i < dnn->n_said; i++)
        if (is_same(&dnn->said[i].problem, p) && !strcmp(dnn->said[i].why, why))
            return;
    if (!grow((void **)&dnn->said, dnn->n_said, &dnn->said_room, sizeof *dnn->said))
        return;
    said *s = &dnn->said[dnn->n_said++];
    s->problem = *p;
    snprintf(s->why, sizeof s->why, "%s", why);
    hs_info("attention of %lld sequence%s, %lld head%s of %lld, %s, is not cuDNN's: %s", (long long)p->b, hs_plural(p->b), (long long)p->h,
            hs_plural(p->h), (long long)p->d, pass_names[p->pass], why);
}

bool hs_sdpa_ready(hs_lane *lane, const hs_sdpa_problem *p, const char *why)
{
    hs_dnn *dnn = lane->gpu->dnn;
    if (!dnn)
        return false; // said when the device was opened
    pthread_mutex_lock(&dnn->lock);
    const hs_sdpa_plan *plan = why ? NULL : plan_of(dnn, p, true);
    why = why ? why : !plan ? "no memory for a plan" : plan->why[0] ? plan->why : NULL;
    if (why)
        say_why(dnn, p, why);
    pthread_mutex_unlock(&dnn->lock);
    return !why;
}

static const struct bound {
    const char *name;
    size_t at; // in hs_sdpa_operands
} bound[HS_SDPA_TENSORS] = {
#define AT(x) offsetof(hs_sdpa_operands, x)
    [HS_SDPA_Q] = { "q", AT(q) },
    [HS_SDPA_K] = { "k", AT(k) },
    [HS_SDPA_V] = { "v", AT(v) },
    [HS_SDPA_Y] = { "y", AT(y) },
    [HS_SDPA_LSE] = { "lse", AT(lse) },
    [HS_SDPA_DY] = { "dy", AT(dy) },
    [HS_SDPA_DQ] = { "dq", AT(dq) },
    [HS_SDPA_DK] = { "dk", AT(dk) },
    [HS_SDPA_DV] = { "dv", AT(dv) },
    [HS_SDPA_LEN_Q] = { "len_q", AT(len_q) },
    [HS_SDPA_LEN_KV] = { "len_kv", AT(len_kv) },
    [HS_SDPA_AT_Q] = { "at_in", AT(at_in) },
    [HS_SDPA_AT_K] = { "at_in", AT(at_in) },
    [HS_SDPA_AT_V] = { "at_in", AT(at_in) },
    [HS_SDPA_AT_OUT] = { "at_out", AT(at_out) },
    [HS_SDPA_AT_LSE] = { "at_lse", AT(at_lse) },
    [HS_SDPA_SEED] = { "seed", AT(seed) },
    [HS_SDPA_OFFSET] = { "offset", AT(offset) },
    [HS_SDPA_DELTA] = { "workspace", AT(workspace) },
    [HS_SDPA_DQ_SUM] = { "workspace", AT(workspace) },
#undef AT
};

static void *address_of(const hs_sdpa_problem *p, int t, const hs_sdpa_operands *o, const float *values)
{
    const hs_sdpa_room room = hs_sdpa_room_of(p);
    void *at;
    if (t >= HS_SDPA_SCALE)
        return (void *)(uintptr_t)&values[t];
    if (t == HS_SDPA_DELTA || t == HS_SDPA_DQ_SUM)
        return o->workspace ? (char *)o->workspace + (t == HS_SDPA_DELTA ? room.delta : room.dq_sum) : NULL;
    memcpy(&at, (const char *)o + bound[t].at, sizeof at);
    return at;
}

cudnnStatus_t hs_sdpa_pack(const hs_dnn_calls *c, const hs_sdpa_problem *p, hs_sdpa_graph *g, const hs_sdpa_operands *o,
                           const float values[HS_SDPA_TENSORS], cudnnBackendDescriptor_t *out)
{
    int64_t id[HS_SDPA_TENSORS];
    void *at[HS_SDPA_TENSORS], *workspace = o->workspace ? (char *)o->workspace + hs_sdpa_room_of(p).kernel : NULL;
    int n = 0;
    *out = NULL;
    for (int t = HS_SDPA_Q; t < HS_SDPA_TENSORS; t++)
        if (g->tensor[t]) {
            id[n] = t, at[n] = address_of(p, t, o, values);
            if (!at[n++]) {
                snprintf(g->why, sizeof g->why, "no address for %s", bound[t].name);
                return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
            }
        }
    cudnnStatus_t st = c->cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, out);
    if (st == CUDNN_STATUS_SUCCESS)
        st = c->cudnnBackendSetAttribute(*out, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, id);
    if (st == CUDNN_STATUS_SUCCESS)
        st = c->cudnnBackendSetAttribute(*out, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, at);
    if (st == CUDNN_STATUS_SUCCESS)
        st = c->cudnnBackendSetAttribute(*out, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (st == CUDNN_STATUS_SUCCESS)
        st = c->cudnnBackendFinalize(*out);
    if (st != CUDNN_STATUS_SUCCESS)
        snprintf(g->why, sizeof g->why, "%.90s", c->cudnnGetErrorString(st));
    return st;
}

static cudnnStatus_t execute(const hs_dnn *dnn, hs_sdpa_plan *plan, const hs_sdpa_operands *o)
{
    const hs_dnn_calls *c = &dnn->calls;
    // what older versions make of infinities is not a number
    const float masked = hs_dnn_version(dnn) < 91000 ? -FLT_MAX : -INFINITY;
    const double kept = 1 - (double)plan->problem.dropout;
    const float values[HS_SDPA_TENSORS] = { [HS_SDPA_SCALE] = o->scale,
                                            [HS_SDPA_KEPT] = (float)kept,
                                            [HS_SDPA_UNKEPT] = (float)(1 / kept),
                                            [HS_SDPA_NOT_COUNTED] = masked,
                                            [HS_SDPA_NOT_SEEN] = masked };
    cudnnBackendDescriptor_t pack;
    plan->graph->why[0] = 0;
    cudnnStatus_t st = hs_sdpa_pack(c, &plan->problem, plan->graph, o, values, &pack);
    if (st == CUDNN_STATUS_SUCCESS)
        st = c->cudnnBackendExecute(dnn->handle, plan->graph->plan, pack);
    if (pack)
        c->cudnnBackendDestroyDescriptor(pack);
    return st;
}

void hs_sdpa_run(hs_lane *lane, const hs_sdpa_problem *p, const hs_sdpa_operands *o)
{
    hs_dnn *dnn = lane->gpu->dnn;
    pthread_mutex_lock(&dnn->lock);
    hs_sdpa_plan *plan = plan_of(dnn, p, false);
    const bool planned = plan && plan->graph->plan;
    cudnnStatus_t st = planned ? dnn->calls.cudnnSetStream(dnn->handle, lane->stream) : CUDNN_STATUS_NOT_INITIALIZED;
    if (st == CUDNN_STATUS_SUCCESS)
        st = execute(dnn, plan, o);
    if (st != CUDNN_STATUS_SUCCESS && !lane->failed[0])
        snprintf(lane->failed, sizeof lane->failed, "cuDNN's attention: %.100s",
                 !planned              ? "it was not planned"
                 : plan->graph->why[0] ? plan->graph->why
                                       : dnn->calls.cudnnGetErrorString(st));
    pthread_mutex_unlock(&dnn->lock);
}
