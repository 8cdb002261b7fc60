// cusparselt: pressed weights, plans by shape, and whether they are faster than whole ones.
//
// A weight is the structured operand A, as its rows lie; rows of x are B, turned; D's columns are rows of y. PyTorch calls it the same way
// for its linear layers, so these forms are known to be there.
#include "core/cuda/cusparselt.h"
#include "core/base/grow.h"
#include "core/base/kept_file.h"
#include "core/base/log.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/cusparselt_abi.h"
#include "core/cuda/stopwatch.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    int64_t rows, outs, ins;
    int32_t type, bias; // bias: there is one
} shape;

typedef struct plan { // by itself in memory: the library's objects point to each other
    struct plan *next;
    shape of;
    const void *bias; // its own: it is part of what is planned
    bool taken;       // else products are by the whole weight
    sp_matrix a, b, d;
    sp_matmul matmul;
    sp_choice choice;
    sp_plan plan;
    int made; // how many of these six are
    size_t workspace;
} plan;

typedef struct pressed {
    const void *at;
    int64_t outs, ins;
    hs_dtype type;
    bool is;
} pressed;

typedef struct kept { // a line of the file
    shape of;
    int taken, algorithm;
} kept;

enum state { UNTRIED, LOADED, MISSING };

struct hs_sp {
    enum state state;
    void *library;
#define MEMBER(name, parameters) int(*name) parameters;
    SP_CALLS(MEMBER)
#undef MEMBER
    sp_handle handle;
    bool has_handle;
    pthread_mutex_t lock; // of all that follows
    plan *plans;
    pressed *pressed;
    int n_pressed, cap_pressed;
    kept *kept;
    int n_kept, cap_kept;
    char why[512]; // it is MISSING
    bool said;     // why something is not pressed, or not multiplied so
    char *where, gpu[128];
    int version;
};

// ---- the library

static hs_status find_calls(hs_sp *sp)
{
#define FIND(name, parameters)                                                                                                             \
    if (!(*(void **)&sp->name = dlsym(sp->library, "cusparseLt" #name)))                                                                   \
        return HS_FAIL(UNSUPPORTED, "cuSPARSELt: its library has no cusparseLt%s", #name);
    SP_CALLS(FIND)
#undef FIND
    return HS_OK;
}

static hs_status load(hs_sp *sp)
{
    int version[3] = { 0 };
    sp->library = dlopen("libcusparseLt.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!sp->library)
        return HS_FAIL(UNSUPPORTED, "cuSPARSELt: %s", dlerror());
    *(void **)&sp->GetProperty = dlsym(sp->library, "cusparseLtGetProperty");
    for (int i = 0; i < 3; i++)
        if (!sp->GetProperty || sp->GetProperty(i, &version[i]) != SP_OK)
            return HS_FAIL(UNSUPPORTED, "cuSPARSELt: its library does not say of which version it is");
    if (version[0] != SP_MAJOR || version[1] != SP_MINOR)
        return HS_FAIL(UNSUPPORTED, "cuSPARSELt: its library is %d.%d.%d, known is %d.%d", version[0], version[1], version[2], SP_MAJOR,
                       SP_MINOR);
    sp->version = 10000 * version[0] + 100 * version[1] + version[2];
    HS_TRY(find_calls(sp));
    const int st = sp->Init(&sp->handle);
    if (st != SP_OK)
        return HS_FAIL(UNSUPPORTED, "cuSPARSELt: it does not open on this GPU: status %d", st);
    sp->has_handle = true;
    return HS_OK;
}

static void say(hs_sp *sp, const char *why)
{
    if (!sp->said)
        hs_warn("device cuda: 2:4 weights read in full: %s", why);
    sp->said = true;
}

// ---- what was found before

static kept *kept_of(const hs_sp *sp, const shape *of)
{
    for (int i = 0; i < sp->n_kept; i++)
        if (!memcmp(&sp->kept[i].of, of, sizeof *of))
            return &sp->kept[i];
    return NULL;
}

static bool keep(hs_sp *sp, const kept *k)
{
    kept *before = kept_of(sp, &k->of);
    if (before)
        return *before = *k, true;
    if (!hs_grow(&sp->kept, sp->n_kept, &sp->cap_kept, sizeof *sp->kept))
        return false;
    sp->kept[sp->n_kept++] = *k;
    return true;
}

static bool read_line(FILE *f, void *user)
{
    long long rows, outs, ins;
    kept k;
    memset(&k, 0, sizeof k);
    if (fscanf(f, "%lld %lld %lld %d %d %d %d\n", &rows, &outs, &ins, &k.of.type, &k.of.bias, &k.taken, &k.algorithm) != 7)
        return false;
    k.of.rows = rows, k.of.outs = outs, k.of.ins = ins;
    return keep(user, &k);
}

static bool write_line(FILE *f, const void *user, int i)
{
    const kept *k = &((const hs_sp *)user)->kept[i];
    return fprintf(f, "%lld %lld %lld %d %d %d %d\n", (long long)k->of.rows, (long long)k->of.outs, (long long)k->of.ins, k->of.type,
                   k->of.bias, k->taken, k->algorithm) > 0;
}

static hs_kept_file file_of(hs_sp *sp, char head[256])
{
    snprintf(head, 256, "halfstep-cusparselt 1 %d %s\n", sp->version, sp->gpu);
    return (hs_kept_file){ "cuSPARSELt", sp->where, head, read_line, write_line, sp };
}

// By this process or, meanwhile, another.
static const kept *found_before(hs_sp *sp, const shape *of)
{
    char head[256];
    const hs_kept_file f = file_of(sp, head);
    if (sp->where && !kept_of(sp, of))
        hs_kept_read(&f);
    return kept_of(sp, of);
}

// Of several that found something the first is right.
static void keep_for_all(hs_sp *sp, kept *now)
{
    char head[256];
    const hs_kept_file f = file_of(sp, head);
    if (!keep(sp, now))
        return;
    hs_kept_write(&f, &sp->n_kept);
    *now = *kept_of(sp, &now->of);
}

// ---- opening

hs_status hs_sp_new(hs_sp **out, const char *gpu, const char *where)
{
    hs_sp *sp = *out = calloc(1, sizeof *sp);
    if (!sp)
        return HS_FAIL(MEMORY, "no memory for cuSPARSELt");
    pthread_mutex_init(&sp->lock, NULL);
    snprintf(sp->gpu, sizeof sp->gpu, "%s", gpu);
    sp->where = where ? strdup(where) : NULL;
    return HS_OK;
}

// In the order in which they were made, backwards.
static void drop(hs_sp *sp, plan *p, int down_to)
{
    for (; p->made > down_to; p->made--)
        switch (p->made) {
        case 6:
            sp->MatmulPlanDestroy(&p->plan);
            break;
        case 5:
            sp->MatmulAlgSelectionDestroy(&p->choice);
            break;
        case 3:
        case 2:
        case 1:
            sp->MatDescriptorDestroy(p->made == 3 ? &p->d : p->made == 2 ? &p->b : &p->a);
            break;
        default: // a matmul's description has no end of its own
            break;
        }
}

void hs_sp_free(hs_sp *sp)
{
    if (!sp)
        return;
    for (plan *p = sp->plans, *next; p; p = next) {
        next = p->next;
        drop(sp, p, 0);
        free(p);
    }
    if (sp->has_handle)
        sp->Destroy(&sp->handle);
    if (sp->library)
        dlclose(sp->library);
    pthread_mutex_destroy(&sp->lock);
    free(sp->pressed), free(sp->kept), free(sp->where);
    free(sp);
}

static bool is_loaded(hs_sp *sp)
{
    if (sp->state == UNTRIED) {
        sp->state = load(sp) == HS_OK ? LOADED : MISSING;
        if (sp->state == LOADED) {
            hs_info("device cuda: 2:4 weights by cuSPARSELt %d.%d.%d", sp->version / 10000, sp->version / 100 % 100, sp->version % 100);
            char head[256];
            const hs_kept_file f = file_of(sp, head);
            hs_kept_read(&f);
        } else
            snprintf(sp->why, sizeof sp->why, "%s", hs_error());
    }
    return sp->state == LOADED;
}

hs_status hs_sp_open(hs_sp *sp)
{
    if (!sp)
        return HS_FAIL(UNSUPPORTED, "there is no cuSPARSELt");
    pthread_mutex_lock(&sp->lock);
    const bool loaded = is_loaded(sp);
    pthread_mutex_unlock(&sp->lock);
    return loaded ? HS_OK : HS_FAIL(UNSUPPORTED, "%s", sp->why);
}

// ---- pressing

enum { UNIT_PRESSED = 16, UNIT_DENSE = 8 }; // of 16-bit types: rows and columns are multiples

const char *hs_sp_declines(int64_t outs, int64_t ins, hs_dtype type)
{
    if (type != HS_BF16 && type != HS_F16)
        return "values are not of 16 bits";
    return outs % UNIT_PRESSED || ins % UNIT_PRESSED ? "widths are no multiple of 16" : NULL;
}

// Two of four values, and two bits for where each of them stood.
size_t hs_sp_bytes(int64_t outs, int64_t ins) { return (size_t)(outs * ins) * 9 / 8; }

static int type_of(hs_dtype d) { return d == HS_BF16 ? SP_BF16 : SP_F16; }

static int weight_matrix(hs_sp *sp, sp_matrix *m, int64_t outs, int64_t ins, int type)
{
    return sp->StructuredDescriptorInit(&sp->handle, m, outs, ins, ins, SP_ALIGNED, type, SP_ROWS, SP_HALF_ZERO);
}

// The host learns whether the values are 2:4 by the first word of `to`, which is written behind that.
static const char *press_as(hs_sp *sp, hs_lane *lane, const sp_matrix *m, const hs_ref *w, void *to, size_t bytes)
{
    size_t most = 0, room = 0;
    void *room_at = NULL;
    int wrong = 1;
    if (sp->SpMMAPruneCheck2(&sp->handle, m, true, SP_KEEP, w->p, to, lane->stream) != SP_OK ||
        cudaMemcpyAsync(&wrong, to, sizeof wrong, cudaMemcpyDefault, lane->stream) != cudaSuccess ||
        cudaStreamSynchronize(lane->stream) != cudaSuccess)
        return "cuSPARSELt does not look at it";
    if (wrong)
        return "it has not two zeros in every four values";
    if (sp->SpMMACompressedSize2(&sp->handle, m, &most, &room) != SP_OK || most > bytes)
        return "cuSPARSELt wants more bytes for it than 9/16";
    if (room && cudaMalloc(&room_at, room) != cudaSuccess) {
        cudaGetLastError(); // or the lane's wait fails by it
        return "there is no memory to press it in";
    }
    const bool ok = sp->SpMMACompress2(&sp->handle, m, true, SP_KEEP, w->p, to, room_at, lane->stream) == SP_OK &&
                    cudaStreamSynchronize(lane->stream) == cudaSuccess;
    if (room_at)
        cudaFree(room_at);
    return ok ? NULL : "cuSPARSELt does not press it";
}

static const char *press(hs_sp *sp, hs_lane *lane, const hs_ref *w, void *to, size_t bytes)
{
    const char *why = hs_sp_declines(w->rows, w->cols, w->dtype);
    sp_matrix m;
    if (why)
        return why;
    if (weight_matrix(sp, &m, w->rows, w->cols, type_of(w->dtype)) != SP_OK)
        return "cuSPARSELt does not describe it";
    why = press_as(sp, lane, &m, w, to, bytes);
    sp->MatDescriptorDestroy(&m);
    return why;
}

static pressed *pressed_at(hs_sp *sp, const void *at)
{
    for (int i = 0; i < sp->n_pressed; i++)
        if (sp->pressed[i].at == at)
            return &sp->pressed[i];
    return NULL;
}

void hs_sp_press(hs_lane *lane, const hs_ref *w, void *to, size_t bytes)
{
    hs_sp *sp = lane->gpu->sp;
    char line[256];
    if (!sp)
        return;
    pthread_mutex_lock(&sp->lock);
    pressed *p = pressed_at(sp, to);
    if (!p && hs_grow(&sp->pressed, sp->n_pressed, &sp->cap_pressed, sizeof *sp->pressed))
        p = &sp->pressed[sp->n_pressed++];
    if (p) {
        *p = (pressed){ .at = to, .outs = w->rows, .ins = w->cols, .type = w->dtype };
        if (is_loaded(sp)) {
            const char *why = press(sp, lane, w, to, bytes);
            p->is = !why;
            snprintf(line, sizeof line, "one of %lld x %lld: %s", (long long)w->rows, (long long)w->cols, why ? why : "");
            if (why)
                say(sp, line);
        } else
            say(sp, sp->why);
    }
    pthread_mutex_unlock(&sp->lock);
}

// ---- a plan

// With the algorithm of that number; what of it was made before stays.
static int describe(hs_sp *sp, plan *p)
{
    const shape *s = &p->of;
    int st = SP_OK;
#define MAKE(number, call)                                                                                                                 \
    if (st == SP_OK && p->made < (number) && (st = (call)) == SP_OK)                                                                       \
    p->made = (number)
    MAKE(1, weight_matrix(sp, &p->a, s->outs, s->ins, s->type));
    MAKE(2, sp->DenseDescriptorInit(&sp->handle, &p->b, s->rows, s->ins, s->ins, SP_ALIGNED, s->type, SP_ROWS));
    MAKE(3, sp->DenseDescriptorInit(&sp->handle, &p->d, s->outs, s->rows, s->outs, SP_ALIGNED, s->type, SP_COLS));
    MAKE(4, sp->MatmulDescriptorInit(&sp->handle, &p->matmul, SP_KEEP, SP_TURN, &p->a, &p->b, &p->d, &p->d, SP_SUMS_F32));
    if (st == SP_OK && s->bias)
        st = sp->MatmulDescSetAttribute(&sp->handle, &p->matmul, SP_BIAS_POINTER, &p->bias, sizeof p->bias);
    return st;
}

static int choose_algorithm(hs_sp *sp, plan *p, int algorithm)
{
    const int32_t number = algorithm;
    int st = SP_OK;
    drop(sp, p, 4);
    MAKE(5, sp->MatmulAlgSelectionInit(&sp->handle, &p->choice, &p->matmul, SP_CHOICE_DEFAULT));
    if (st == SP_OK)
        st = sp->MatmulAlgSetAttribute(&sp->handle, &p->choice, SP_ALGORITHM, &number, sizeof number);
    MAKE(6, sp->MatmulPlanInit(&sp->handle, &p->plan, &p->matmul, &p->choice));
#undef MAKE
    return st == SP_OK ? sp->MatmulGetWorkspace(&sp->handle, &p->plan, &p->workspace) : st;
}

static int last_algorithm(hs_sp *sp, const plan *p)
{
    int32_t last = 0;
    return sp->MatmulAlgGetAttribute(&sp->handle, &p->choice, SP_LAST_ALGORITHM, &last, sizeof last) == SP_OK ? last : 0;
}

static int multiply(hs_sp *sp, hs_lane *lane, const plan *p, const hs_sp_product *o)
{
    const float alpha = 1, beta = 0;
    size_t bytes;
    void *workspace = hs_lt_workspace(lane, &bytes);
    if (!workspace || p->workspace > bytes)
        return SP_NOT_SUPPORTED;
    return sp->Matmul(&sp->handle, &p->plan, &alpha, o->pressed, o->x, &beta, o->y, o->y, workspace, &lane->stream, 1);
}

// ---- is it faster

typedef struct trial {
    hs_sp *sp;
    hs_lane *lane;
    const plan *plan; // NULL: by the whole weight
    const hs_sp_product *product;
    const hs_sp_ways *ways;
    hs_stopwatch watch;
} trial;

static bool run_trial(const void *given, hs_lane *lane)
{
    const trial *t = given;
    hs_sp_step *const step = t->plan ? t->ways->before : t->ways->whole;
    if (step)
        step(t->ways->given, lane);
    return !t->plan || multiply(t->sp, lane, t->plan, t->product) == SP_OK;
}

static float time_of(const trial *t) { return hs_stopwatch_least(&t->watch, t->lane, run_trial, t); }

// Whether both were timed; else the first algorithm that runs is taken, and none where none does.
static bool time_all(trial *t, plan *p, kept *k)
{
    float best = HS_UNTIMED;
    k->taken = false;
    for (int i = 0, last = last_algorithm(t->sp, p); i <= last; i++) {
        const float ms = choose_algorithm(t->sp, p, i) == SP_OK ? (t->plan = p, time_of(t)) : (float)HS_NOT_RUN;
        if (ms >= HS_UNTIMED && (!k->taken || (ms >= 0 && (best < 0 || ms < best))))
            best = ms, k->algorithm = i, k->taken = true;
    }
    t->plan = NULL;
    const float whole = best >= 0 ? time_of(t) : (float)HS_UNTIMED;
    if (whole < 0)
        return false;
    k->taken = best < whole;
    hs_info("device cuda: 2:4 weights of %lld x %lld for %lld rows: %.1f us, in full %.1f us", (long long)p->of.outs,
            (long long)p->of.ins, (long long)p->of.rows, 1e3 * (double)best, 1e3 * (double)whole);
    return true;
}

// Whether it is known now which is faster. Errors are read: the lane's wait would fail by them.
static bool compare(hs_sp *sp, hs_lane *lane, plan *p, const hs_sp_product *o, const hs_sp_ways *ways, kept *k)
{
    trial t = { .sp = sp, .lane = lane, .product = o, .ways = ways };
    bool known = false;
    if (hs_stopwatch_open(&t.watch)) {
        known = time_all(&t, p, k);
        hs_stopwatch_close(&t.watch);
    }
    if (!known)
        cudaGetLastError();
    return known;
}

// False: it has no algorithm that runs.
static bool settle(hs_sp *sp, hs_lane *lane, plan *p, const hs_sp_product *o, const hs_sp_ways *ways)
{
    kept now = { .of = p->of, .taken = true };
    bool known = false;
    if (describe(sp, p) != SP_OK || choose_algorithm(sp, p, 0) != SP_OK)
        return false;
    const kept *before = found_before(sp, &p->of);
    if (before)
        now = *before, known = true;
    else if (sp->where) {
        known = compare(sp, lane, p, o, ways, &now);
        if (known)
            keep_for_all(sp, &now);
    }
    p->taken = now.taken && choose_algorithm(sp, p, now.algorithm) == SP_OK;
    if (p->taken && sp->where && !known)
        hs_warn("device cuda: 2:4 weights of %lld x %lld for %lld rows: taken untimed: the GPU gave no times", (long long)o->outs,
                (long long)o->ins, (long long)o->rows);
    return p->taken || (known && !now.taken);
}

static shape shape_of(const hs_sp_product *o)
{
    return (shape){ .rows = o->rows, .outs = o->outs, .ins = o->ins, .type = type_of(o->type), .bias = o->bias != NULL };
}

static plan *find(const hs_sp *sp, const hs_sp_product *o)
{
    const shape of = shape_of(o);
    plan *p = sp->plans;
    while (p && (memcmp(&p->of, &of, sizeof of) || p->bias != o->bias))
        p = p->next;
    return p;
}

static plan *plan_for(hs_sp *sp, hs_lane *lane, const hs_sp_product *o, const hs_sp_ways *ways)
{
    char line[200];
    plan *p = find(sp, o);
    if (p || !(p = calloc(1, sizeof *p)))
        return p;
    p->next = sp->plans, p->of = shape_of(o), p->bias = o->bias;
    sp->plans = p;
    snprintf(line, sizeof line, "cuSPARSELt has no product of %lld x %lld x %lld", (long long)o->outs, (long long)o->rows,
             (long long)o->ins);
    if (o->rows % UNIT_DENSE)
        say(sp, "rows of x are no multiple of 8");
    else if (!settle(sp, lane, p, o, ways))
        say(sp, line);
    if (!p->taken)
        drop(sp, p, 0);
    return p;
}

bool hs_sp_has(hs_lane *lane, const hs_sp_product *o, const hs_sp_ways *ways)
{
    hs_sp *sp = lane->gpu->sp;
    bool has = false;
    if (!sp)
        return false;
    pthread_mutex_lock(&sp->lock);
    const pressed *w = pressed_at(sp, o->pressed);
    if (!w)
        say(sp, "another device of this GPU has pressed them");
    if (w && w->is && w->outs == o->outs && w->ins == o->ins && w->type == o->type) {
        const plan *p = plan_for(sp, lane, o, ways);
        has = p && p->taken;
    }
    pthread_mutex_unlock(&sp->lock);
    return has;
}

void hs_sp_multiply(hs_lane *lane, const hs_sp_product *o)
{
    hs_sp *sp = lane->gpu->sp;
    pthread_mutex_lock(&sp->lock);
    const plan *p = find(sp, o);
    const int st = p && p->taken ? multiply(sp, lane, p, o) : SP_NOT_SUPPORTED;
    pthread_mutex_unlock(&sp->lock);
    if (st != SP_OK && !lane->failed[0])
        snprintf(lane->failed, sizeof lane->failed, "cuSPARSELt: a product of %lld x %lld x %lld: status %d", (long long)o->outs,
                 (long long)o->rows, (long long)o->ins, st);
}
