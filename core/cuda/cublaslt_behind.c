// cublaslt_behind: a product with what stands behind it, or both apart.
#include "core/cuda/cublaslt_behind.h"
#include "core/base/grow.h"
#include "core/base/kept_file.h"
#include "core/base/log.h"
#include "core/cuda/stopwatch.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct verdict { // a line of the file, where it is kept
    hs_lt_product of;
    bool together, kept;
} verdict;

struct hs_lt_verdicts {
    pthread_mutex_t lock;
    verdict *verdict;
    int n, room;
    char *where, head[256];
};

static verdict *verdict_of(const hs_lt_verdicts *v, const hs_lt_product *key)
{
    for (int i = 0; i < v->n; i++)
        if (!memcmp(&v->verdict[i].of, key, sizeof *key))
            return &v->verdict[i];
    return NULL;
}

// In the place of one for the same, but for what only this process knows.
static bool add(hs_lt_verdicts *v, const hs_lt_product *of, bool together, bool kept)
{
    verdict *to = verdict_of(v, of);
    if (to && !to->kept)
        return true;
    if (!to && !hs_grow(&v->verdict, v->n, &v->room, sizeof *v->verdict))
        return false;
    to = to ? to : &v->verdict[v->n++];
    memcpy(&to->of, of, sizeof *of); // padding included
    to->together = together, to->kept = kept;
    return true;
}

// ---- the file: what is behind, m n k, leading dimensions, types, flags, scale, verdict

static bool read_line(FILE *f, void *user)
{
    long long n[7];
    int behind, type[4], flag[4];
    float scale;
    if (fscanf(f, "%d %lld %lld %lld %lld %lld %lld %lld %d %d %d %d %d %d %d %f %d\n", &behind, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6],
               &type[0], &type[1], &type[2], &type[3], &flag[0], &flag[1], &flag[2], &scale, &flag[3]) != 17)
        return false;
    const hs_lt_product p = { .m = n[0], .n = n[1], .k = n[2], .lda = n[3], .ldb = n[4], .ldd = n[5], .ld_aux = n[6],
                              .a = (hs_dtype)type[0], .b = (hs_dtype)type[1], .d = (hs_dtype)type[2], .bias = (hs_dtype)type[3],
                              .behind = (hs_lt_behind)behind, .ta = flag[0], .tb = flag[1], .add = flag[2], .scale = scale };
    hs_lt_product key;
    hs_lt_key(&key, &p);
    return add(user, &key, flag[3], true);
}

static bool write_line(FILE *f, const void *user, int i)
{
    const verdict *v = &((const hs_lt_verdicts *)user)->verdict[i];
    const hs_lt_product *p = &v->of;
    return !v->kept ||
           fprintf(f, "%d %lld %lld %lld %lld %lld %lld %lld %d %d %d %d %d %d %d %a %d\n", p->behind, (long long)p->m, (long long)p->n,
                   (long long)p->k, (long long)p->lda, (long long)p->ldb, (long long)p->ldd, (long long)p->ld_aux, p->a, p->b, p->d, p->bias,
                   p->ta, p->tb, p->add, (double)p->scale, v->together) > 0;
}

static hs_kept_file file_of(hs_lt_verdicts *v) { return (hs_kept_file){ "cuBLASLt", v->where, v->head, read_line, write_line, v }; }

hs_status hs_lt_verdicts_new(hs_lt_verdicts **out, const char *gpu, size_t version, const char *where)
{
    hs_lt_verdicts *v = *out = calloc(1, sizeof *v);
    if (!v)
        return HS_FAIL(MEMORY, "no memory for cuBLASLt");
    pthread_mutex_init(&v->lock, NULL);
    snprintf(v->head, sizeof v->head, "halfstep-cublaslt-behind 1 %zu %.128s\n", version, gpu);
    const size_t bytes = where ? strlen(where) + sizeof "-behind" : 0;
    v->where = where ? malloc(bytes) : NULL;
    if (where && !v->where)
        return HS_FAIL(MEMORY, "no memory for cuBLASLt");
    if (where)
        snprintf(v->where, bytes, "%s-behind", where);
    return HS_OK;
}

void hs_lt_verdicts_free(hs_lt_verdicts *v)
{
    if (!v)
        return;
    pthread_mutex_destroy(&v->lock);
    free(v->verdict);
    free(v->where);
    free(v);
}

// ---- verdicts

// The first one stands, whoever else was looking.
static bool settle(hs_lt_verdicts *v, const hs_lt_product *key, bool together, bool kept)
{
    pthread_mutex_lock(&v->lock);
    const hs_kept_file f = file_of(v);
    if (!verdict_of(v, key) && add(v, key, together, kept) && kept)
        hs_kept_write(&f, &v->n);
    const verdict *now = verdict_of(v, key);
    together = now ? now->together : together;
    pthread_mutex_unlock(&v->lock);
    return together;
}

// By this process or, meanwhile, another.
static bool is_settled(hs_lt_verdicts *v, const hs_lt_product *key, bool *together)
{
    pthread_mutex_lock(&v->lock);
    const hs_kept_file f = file_of(v);
    if (!verdict_of(v, key))
        hs_kept_read(&f);
    const verdict *was = verdict_of(v, key);
    if (was)
        *together = was->together;
    pthread_mutex_unlock(&v->lock);
    return was != NULL;
}

typedef struct trial {
    void (*way)(const void *given, hs_lane *lane);
    const void *given;
} trial;

static bool run_trial(const void *given, hs_lane *lane)
{
    const trial *t = given;
    t->way(t->given, lane);
    return !lane->failed[0];
}

// What could not be timed goes apart, and is asked again by another run.
static bool try_both(hs_lt_verdicts *v, hs_lane *lane, const hs_lt_product *key, const hs_lt_ways *w)
{
    static const char *const what[] = { [HS_LT_GELU] = "GELU", [HS_LT_DGELU] = "the gradient of GELU", [HS_LT_SUMS] = "sums of columns" };
    const trial apart_trial = { w->apart, w->given }, joint_trial = { w->together, w->given };
    hs_stopwatch watch;
    if (lane->failed[0] || !hs_stopwatch_open(&watch))
        return settle(v, key, false, false);
    const float apart = hs_stopwatch_least(&watch, lane, run_trial, &apart_trial),
                together = apart < 0 ? (float)HS_UNTIMED : hs_stopwatch_least(&watch, lane, run_trial, &joint_trial);
    if (apart >= 0 && together < 0)
        lane->failed[0] = '\0'; // it goes the other way
    hs_stopwatch_close(&watch);
    hs_debug("device cuda: %s behind a product of %lld x %lld x %lld: %.4f ms in its kernel, %.4f ms apart", what[key->behind], (long long)key->m,
             (long long)key->n, (long long)key->k, (double)together, (double)apart);
    return settle(v, key, together >= 0 && together <= apart, apart >= 0);
}

bool hs_lt_is_faster(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o, const hs_lt_ways *ways)
{
    hs_lt_verdicts *v = hs_lt_verdicts_of(lane->gpu->lt);
    hs_lt_product key, written;
    bool together = false;
    hs_lt_key(&key, p);
    memcpy(&written, &key, sizeof key);
    written.add = false;
    if (!hs_lt_has(lane, &key, o))
        return false;
    if (is_settled(v, &key, &together))
        return together;
    if (!v->where)
        return settle(v, &key, true, false);
    if (!key.add)
        return try_both(v, lane, &key, ways);
    is_settled(v, &written, &together);
    return settle(v, &key, together, true);
}
