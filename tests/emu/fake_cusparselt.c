// fake_cusparselt: a double of the calls of cuSPARSELt 0.8 that core/cuda/cusparselt.c makes, as libcusparseLt.so.0. It refuses, with a
// line on stderr, what the library would or may: sizes that are no multiples, leading dimensions, alignments, types, the structured operand
// elsewhere than as A; an object that was destroyed, that another one still points to, or that changed behind its plan; bytes that were
// pressed as another weight, or not at all. Products are naive, of what was pressed.
#include "core/base/dtype.h"
#include <dlfcn.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct CUstream_st *cudaStream_t;
#include "core/cuda/cusparselt_abi.h"

#ifndef FAKE_MINOR
#define FAKE_MINOR SP_MINOR
#endif
enum { LAST = 2, WORKSPACE = 4096, MOST_PRESSED = 1024 };
enum { HANDLE = 0x5A01, MATRIX, MATMUL, CHOICE, PLAN }; // what an object says that it is; 0: it is destroyed

typedef struct matrix {
    int is;
    int64_t rows, cols, ld;
    int type, order;
    bool structured;
} matrix;
typedef struct matmul {
    int is, op_a, op_b;
    const matrix *a, *b, *d;
    const void *bias;
} matmul;
typedef struct choice {
    int is;
    const matmul *of;
    int32_t algorithm;
} choice;
typedef struct planned {
    int is;
    const matmul *of;
    const choice *by;
    const void *bias; // as it was then
    int32_t algorithm;
} planned;
typedef struct pressed {
    const void *at;
    int64_t rows, cols;
    int type;
} pressed;

static struct {
    const struct planned *plan_of[64]; // that live
    pressed pressed[MOST_PRESSED];
    int n_pressed;
    long products, refused;
    int live; // objects that have an end, and have not come to it
} all;

static int refuse(const char *why)
{
    fprintf(stderr, "cuSPARSELt's double: %s\n", why);
    all.refused++;
    return SP_NOT_SUPPORTED;
}
#define WANT(what)                                                                                                                         \
    if (!(what))                                                                                                                           \
    return refuse("not " #what)
#define CALL(name, ...)           int cusparseLt##name(__VA_ARGS__)
#define DECLARE(name, parameters) int cusparseLt##name parameters;
SP_CALLS(DECLARE)

static bool is(const void *object, int what) { return object && *(const int *)object == what; }
static int begin(void *object, int what) { return *(int *)object = what, all.live++, SP_OK; }
static int end(const void *object) { return *(int *)(uintptr_t)object = 0, all.live--, SP_OK; }

int cusparseLtGetProperty(int which, int *value) { return *value = which == 0 ? SP_MAJOR : which == 1 ? FAKE_MINOR : 1, SP_OK; }
int cusparseLtInit(sp_handle *h) { return begin(h, HANDLE); }
int cusparseLtDestroy(const sp_handle *h)
{
    WANT(is(h, HANDLE) && all.live == 1);
    return end(h);
}

// ---- what is described

static int describe(sp_matrix *to, const matrix *m, uint32_t aligned)
{
    const int64_t unit = m->structured ? 16 : 8; // of 16-bit types
    WANT(m->type == SP_BF16 || m->type == SP_F16);
    WANT(m->order == SP_ROWS || m->order == SP_COLS);
    WANT(m->rows > 0 && m->cols > 0 && m->rows % unit == 0 && m->cols % unit == 0 && m->ld % unit == 0);
    WANT(m->ld >= (m->order == SP_ROWS ? m->cols : m->rows));
    WANT(aligned == SP_ALIGNED);
    memset(to, 0, sizeof *to);
    memcpy(to, m, sizeof *m);
    return begin(to, MATRIX);
}
int cusparseLtDenseDescriptorInit(const sp_handle *h, sp_matrix *m, int64_t rows, int64_t cols, int64_t ld, uint32_t aligned, int type,
                                  int order)
{
    WANT(is(h, HANDLE));
    return describe(m, &(matrix){ MATRIX, rows, cols, ld, type, order, false }, aligned);
}
int cusparseLtStructuredDescriptorInit(const sp_handle *h, sp_matrix *m, int64_t rows, int64_t cols, int64_t ld, uint32_t aligned, int type,
                                       int order, int sparsity)
{
    WANT(is(h, HANDLE) && sparsity == SP_HALF_ZERO);
    return describe(m, &(matrix){ MATRIX, rows, cols, ld, type, order, true }, aligned);
}
int cusparseLtMatDescriptorDestroy(const sp_matrix *m)
{
    WANT(is(m, MATRIX));
    for (int i = 0; i < 64; i++) {
        const matmul *p = all.plan_of[i] ? all.plan_of[i]->of : NULL;
        WANT(!p || ((const void *)p->a != m && (const void *)p->b != m && (const void *)p->d != m));
    }
    return end(m);
}

int cusparseLtMatmulDescriptorInit(const sp_handle *h, sp_matmul *p, int op_a, int op_b, const sp_matrix *a, const sp_matrix *b,
                                   const sp_matrix *c, const sp_matrix *d, int sums)
{
    WANT(is(h, HANDLE) && is(a, MATRIX) && is(b, MATRIX) && is(d, MATRIX) && c == d && sums == SP_SUMS_F32);
    const matmul m = { MATMUL, op_a, op_b, (const matrix *)a, (const matrix *)b, (const matrix *)d, NULL };
    WANT(m.a->structured && !m.b->structured && !m.d->structured);
    WANT(m.a->type == m.b->type && m.a->type == m.d->type);
    WANT(op_a == SP_KEEP && m.a->order == SP_ROWS); // k of a structured operand lies in a row
    WANT(op_b == SP_KEEP || op_b == SP_TURN);
    const int64_t k = op_b == SP_TURN ? m.b->cols : m.b->rows, n = op_b == SP_TURN ? m.b->rows : m.b->cols;
    WANT(m.a->cols == k && m.a->rows == m.d->rows && n == m.d->cols);
    memset(p, 0, sizeof *p);
    memcpy(p, &m, sizeof m);
    return SP_OK;
}
int cusparseLtMatmulDescSetAttribute(const sp_handle *h, sp_matmul *p, int which, const void *value, size_t bytes)
{
    WANT(is(h, HANDLE) && is(p, MATMUL) && which == SP_BIAS_POINTER && bytes == sizeof(void *));
    memcpy(&((matmul *)p)->bias, value, bytes);
    return SP_OK;
}

int cusparseLtMatmulAlgSelectionInit(const sp_handle *h, sp_choice *c, const sp_matmul *p, int which)
{
    WANT(is(h, HANDLE) && is(p, MATMUL) && which == SP_CHOICE_DEFAULT);
    memset(c, 0, sizeof *c);
    *(choice *)c = (choice){ CHOICE, (const matmul *)p, 0 };
    return begin(c, CHOICE);
}
int cusparseLtMatmulAlgSelectionDestroy(const sp_choice *c)
{
    WANT(is(c, CHOICE));
    for (int i = 0; i < 64; i++)
        WANT(!all.plan_of[i] || all.plan_of[i]->by != (const choice *)c);
    return end(c);
}
int cusparseLtMatmulAlgSetAttribute(const sp_handle *h, sp_choice *c, int which, const void *value, size_t bytes)
{
    WANT(is(h, HANDLE) && is(c, CHOICE) && which == SP_ALGORITHM && bytes == 4);
    const int32_t number = *(const int32_t *)value;
    WANT(number >= 0 && number <= LAST);
    ((choice *)c)->algorithm = number;
    return SP_OK;
}
int cusparseLtMatmulAlgGetAttribute(const sp_handle *h, const sp_choice *c, int which, void *value, size_t bytes)
{
    WANT(is(h, HANDLE) && is(c, CHOICE) && which == SP_LAST_ALGORITHM && bytes == 4);
    *(int32_t *)value = LAST;
    return SP_OK;
}

// The last algorithm is not there for weights that are narrow.
int cusparseLtMatmulPlanInit(const sp_handle *h, sp_plan *p, const sp_matmul *m, const sp_choice *c)
{
    const choice *by = (const choice *)c;
    const matmul *of = (const matmul *)m;
    WANT(is(h, HANDLE) && is(m, MATMUL) && is(c, CHOICE) && by->of == of);
    if (by->algorithm == LAST && of->a->cols < 64)
        return SP_NOT_SUPPORTED;
    int free_at = 0;
    while (free_at < 64 && all.plan_of[free_at])
        free_at++;
    WANT(free_at < 64);
    all.plan_of[free_at] = (const planned *)p;
    memset(p, 0, sizeof *p);
    *(planned *)p = (planned){ PLAN, of, by, of->bias, by->algorithm };
    return begin(p, PLAN);
}
int cusparseLtMatmulPlanDestroy(const sp_plan *p)
{
    WANT(is(p, PLAN));
    int at = 0;
    while (at < 64 && all.plan_of[at] != (const planned *)p)
        at++;
    WANT(at < 64);
    all.plan_of[at] = NULL;
    return end(p);
}
int cusparseLtMatmulGetWorkspace(const sp_handle *h, const sp_plan *p, size_t *bytes)
{
    WANT(is(h, HANDLE) && is(p, PLAN));
    *bytes = ((const planned *)p)->algorithm ? WORKSPACE : 0;
    return SP_OK;
}

// ---- streams: in the order of one of the emulator's, where the program has some; NULL: at once

typedef void call(void *);
typedef void enqueue_fn(cudaStream_t, call *, call *, void *);
static enqueue_fn *enqueue;
void fake_cusparselt_streams(enqueue_fn *f);
long fake_cusparselt_products(void);
long fake_cusparselt_left(void);
void fake_cusparselt_streams(enqueue_fn *f) { enqueue = f; }       // of a plug-in, which exports no symbol
long fake_cusparselt_products(void) { return all.products; }       // that were called for
long fake_cusparselt_left(void) { return all.refused + all.live; } // 0: every rule was kept, and every object has come to its end

static int put(cudaStream_t s, call *run, const void *what, size_t bytes)
{
    if (!s) {
        run((void *)(uintptr_t)what);
        return SP_OK;
    }
    if (!enqueue)
        *(void **)&enqueue = dlsym(RTLD_DEFAULT, "hs_emu_enqueue");
    WANT(enqueue);
    void *kept = malloc(bytes);
    memset(kept, 0, malloc_usable_size(kept)); // for who looks for addresses in it
    memcpy(kept, what, bytes);
    enqueue(s, run, free, kept);
    return SP_OK;
}

// ---- pressing: of each four values two, behind all of them two bits for where each stood

typedef struct pressing {
    int64_t rows, cols, ld;
    const uint16_t *dense;
    char *to;
    int *wrong;
} pressing;

static bool counts(uint16_t v) { return (v & 0x7FFF) != 0; }

static void look(void *given)
{
    const pressing *p = given;
    int wrong = 0;
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t c = 0; c < p->cols; c += 4) {
            int n = 0;
            for (int i = 0; i < 4; i++)
                n += counts(p->dense[r * p->ld + c + i]);
            wrong |= n > 2;
        }
    *p->wrong = wrong;
}

static void press(void *given)
{
    const pressing *p = given;
    uint16_t *kept = (uint16_t *)p->to;
    uint8_t *places = (uint8_t *)p->to + p->rows * p->cols;
    memset(places, 0, (size_t)(p->rows * p->cols / 8));
    for (int64_t g = 0; g < p->rows * p->cols / 4; g++) {
        const uint16_t *four = p->dense + g * 4 / p->cols * p->ld + g * 4 % p->cols;
        int at[2] = { 0, 1 }, n = 0;
        for (int i = 0; i < 4 && n < 2; i++)
            if (counts(four[i]))
                at[n++] = i;
        if (n == 1)
            at[1] = at[0] == 3 ? 2 : 3;
        for (int i = 0; i < 2; i++) {
            kept[2 * g + i] = four[at[i]];
            places[g / 2] |= (uint8_t)(at[i] << (g % 2 * 4 + 2 * i));
        }
    }
}

static int press_check(const sp_handle *h, const matrix *m, int is_a, int op, const void *dense)
{
    WANT(is(h, HANDLE) && is(m, MATRIX) && m->structured && is_a && op == SP_KEEP && m->order == SP_ROWS);
    WANT(dense && (uintptr_t)dense % 16 == 0);
    return SP_OK;
}
int cusparseLtSpMMAPruneCheck2(const sp_handle *h, const sp_matrix *given, int is_a, int op, const void *dense, int *wrong, cudaStream_t s)
{
    const matrix *m = (const matrix *)given;
    if (press_check(h, m, is_a, op, dense) != SP_OK)
        return SP_NOT_SUPPORTED;
    WANT(wrong && (uintptr_t)wrong % 4 == 0);
    const pressing p = { m->rows, m->cols, m->ld, dense, NULL, wrong };
    return put(s, look, &p, sizeof p);
}
int cusparseLtSpMMACompressedSize2(const sp_handle *h, const sp_matrix *given, size_t *bytes, size_t *room)
{
    const matrix *m = (const matrix *)given;
    WANT(is(h, HANDLE) && is(m, MATRIX) && m->structured);
    *bytes = (size_t)(m->rows * m->cols) * 9 / 8, *room = 1024;
    return SP_OK;
}
int cusparseLtSpMMACompress2(const sp_handle *h, const sp_matrix *given, int is_a, int op, const void *dense, void *to, void *room,
                             cudaStream_t s)
{
    const matrix *m = (const matrix *)given;
    if (press_check(h, m, is_a, op, dense) != SP_OK)
        return SP_NOT_SUPPORTED;
    WANT(to && (uintptr_t)to % 16 == 0 && to != dense && room && (uintptr_t)room % 16 == 0);
    int i = 0;
    while (i < all.n_pressed && all.pressed[i].at != to)
        i++;
    WANT(i < MOST_PRESSED);
    all.n_pressed += i == all.n_pressed;
    all.pressed[i] = (pressed){ to, m->rows, m->cols, m->type };
    const pressing p = { m->rows, m->cols, m->ld, dense, to, NULL };
    return put(s, press, &p, sizeof p);
}

// ---- products

typedef struct product {
    matrix a, b, d;
    bool turned;
    const char *pressed;
    const uint16_t *x, *bias;
    uint16_t *y;
} product;

static float get(uint16_t v, int type) { return type == SP_BF16 ? hs_bf16_f32(v) : hs_f16_f32(v); }
static int64_t cell(const matrix *m, int64_t row, int64_t col) { return m->order == SP_ROWS ? row * m->ld + col : col * m->ld + row; }

static void multiply(void *given)
{
    const product *p = given;
    const int64_t ins = p->a.cols;
    const uint8_t *places = (const uint8_t *)p->pressed + p->a.rows * ins;
    for (int64_t i = 0; i < p->d.rows; i++)
        for (int64_t j = 0; j < p->d.cols; j++) {
            float sum = 0;
            for (int64_t e = 0; e < ins / 2; e++) {
                const int64_t g = i * ins / 4 + e / 2, k = e / 2 * 4 + (places[g / 2] >> (g % 2 * 4 + e % 2 * 2) & 3);
                sum += get(((const uint16_t *)p->pressed)[2 * g + e % 2], p->a.type) *
                       get(p->x[p->turned ? cell(&p->b, j, k) : cell(&p->b, k, j)], p->b.type);
            }
            sum += p->bias ? get(p->bias[i], p->d.type) : 0;
            p->y[cell(&p->d, i, j)] = p->d.type == SP_BF16 ? hs_f32_bf16(sum) : hs_f32_f16(sum);
        }
}

static int check_plan(const planned *p)
{
    WANT(is(p, PLAN) && is(p->of, MATMUL) && is(p->by, CHOICE));
    WANT(is(p->of->a, MATRIX) && is(p->of->b, MATRIX) && is(p->of->d, MATRIX));
    WANT(p->bias == p->of->bias && p->algorithm == p->by->algorithm); // nothing changed behind the plan
    return SP_OK;
}
static int check_pressed(const matrix *a, const void *at)
{
    int i = 0;
    while (i < all.n_pressed && all.pressed[i].at != at)
        i++;
    WANT(i < all.n_pressed);
    const pressed *w = &all.pressed[i];
    WANT(w->rows == a->rows && w->cols == a->cols && w->type == a->type);
    return SP_OK;
}
int cusparseLtMatmul(const sp_handle *h, const sp_plan *given, const void *alpha, const void *a, const void *b, const void *beta,
                     const void *c, void *d, void *workspace, cudaStream_t *streams, int32_t n_streams)
{
    const planned *plan = (const planned *)given;
    WANT(is(h, HANDLE) && streams && n_streams == 1);
    if (check_plan(plan) != SP_OK || check_pressed(plan->of->a, a) != SP_OK)
        return SP_NOT_SUPPORTED;
    WANT(*(const float *)alpha == 1 && *(const float *)beta == 0 && c == d);
    WANT(b && d && (uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0 && (uintptr_t)d % 16 == 0 && (uintptr_t)plan->bias % 16 == 0);
    WANT(!plan->algorithm || (workspace && (uintptr_t)workspace % 16 == 0));
    all.products++;
    const matmul *m = plan->of;
    const product p = { *m->a, *m->b, *m->d, m->op_b == SP_TURN, a, b, plan->bias, d };
    return put(*streams, multiply, &p, sizeof p);
}
