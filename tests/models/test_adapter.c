// adapter: low-rank pairs beside a model's weights - merged into them they give the same outputs, at first they add nothing, nothing else
// is trained, bits do not depend on threads or modes, wrong targets are told by name.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/graph/adapter.h"
#include "models/encoder/encoder.h"
#include "models/gpt/gpt.h"
#include "tests/support/support_comm.h"
#include "tests/support/support_encoder.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { RANK = 5 }; // no multiple of 8: pairs are padded
#define SPEC .rank = RANK, .alpha = 1.5 * RANK, .name = "adapter.targets"
static const hs_adapter_spec spec = { SPEC, .targets = "q,attn.qkv.v,attn.out,ff.up|mlp.up,ff.d*n" };
static const hs_adapter_spec gpt_spec = { SPEC, .targets = "attn.qkv,attn.proj,mlp.up,h?.mlp.down", .whole = true };

static hs_optim_config adamw(void)
{
    hs_optim_config c = hs_optim_preset(HS_PRESET_ADAMW);
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-2, .power = 1, .steps = 1000 };
    return c;
}

static hs_engine *encoder_with(tiny_encoder *t, const hs_family *f, encoder_opts o)
{
    hs_engine *e;
    OK(encoder_engine(&e, t, f, &o));
    return e;
}

static float *values_of(const hs_engine *e, const hs_param *p)
{
    float *v = malloc(p->n * sizeof *v);
    hs_params_read(e->params, e->params->master, p, v);
    return v;
}

static void set_values(hs_engine *e, const hs_param *p, const float *v)
{
    OK(hs_params_write(e->params, e->params->master, p, v));
    hs_params_refresh_low(e->params);
    hs_params_changed(e->params);
}

static bool is_pair(const hs_param *p)
{
    char scope[256];
    return hs_adapter_part_of(p->name, scope) != 0;
}

// Second matrices begin at 0: these are drawn, padding stays 0.
static void draw_second(hs_engine *e)
{
    char scope[256];
    for (int i = 0; i < e->params->n_params; i++) {
        const hs_param *p = e->params->param[i];
        if (hs_adapter_part_of(p->name, scope) != 'b')
            continue;
        const int64_t n = p->logical[0] * p->logical[1];
        float *logical = malloc((size_t)n * sizeof *logical);
        hs_random_normal(logical, n, hs_hash_string(p->name), 0, 0, 0.1f);
        OK(hs_params_import(e->params, e->params->master, p, logical));
        free(logical);
    }
    hs_params_refresh_low(e->params);
    hs_params_changed(e->params);
}

// w += scale b^T a, by parts, in double. mask: of the parts that the pair is for.
static void merge_into(const hs_engine *from, const hs_param *a, const hs_param *b, unsigned mask, int parts, const hs_param *w, float *v)
{
    const int64_t in = w->logical[1], out = w->logical[0] / parts;
    const int used = __builtin_popcount(mask);
    const int64_t rank = a->logical[0] / used;
    float *la = malloc((size_t)(a->logical[0] * in) * sizeof *la), *lb = malloc((size_t)(b->logical[0] * out) * sizeof *lb);
    hs_params_export(from->params, from->params->master, a, la);
    hs_params_export(from->params, from->params->master, b, lb);
    for (int p = 0, u = 0; p < parts; p++) {
        if (!(mask >> p & 1))
            continue;
        for (int64_t o = 0; o < out; o++)
            for (int64_t i = 0; i < in; i++) {
                double sum = 0;
                for (int64_t r = 0; r < rank; r++)
                    sum += (double)lb[(u * rank + r) * out + o] * la[(u * rank + r) * in + i];
                v[(p * out + o) * in + i] += (float)(1.5 * sum);
            }
        u++;
    }
    free(la);
    free(lb);
}

static void merge_all(const hs_engine *from, hs_engine *to)
{
    int pairs = 0;
    for (int i = 0; i < to->params->n_params; i++) {
        const hs_param *w = to->params->param[i];
        char scope[256], name[300];
        float *v = values_of(from, hs_params_find(from->params, w->name));
        snprintf(scope, sizeof scope, "%.*s", (int)(strrchr(w->name, '.') - w->name), w->name);
        snprintf(name, sizeof name, "%s.lora_a", scope);
        const hs_param *a = strcmp(strrchr(w->name, '.'), ".weight") == 0 ? hs_params_find(from->params, name) : NULL;
        if (a) {
            const bool stacked = a->parts == 2; // q and v of three
            snprintf(name, sizeof name, "%s.lora_b", scope);
            merge_into(from, a, hs_params_find(from->params, name), stacked ? 5 : 1, stacked ? 3 : 1, w, v);
            pairs++;
        }
        set_values(to, w, v);
        free(v);
    }
    assert_int_equal(pairs, 2 * 4);
}

// ---- outputs

static const encoder_batch batch = { .n = 4, .slot = { 0, 1, 2, 3 }, .length = { 7, 12, 1, 24 }, .key = 5 };
static const int gpt_lengths[] = { 7, 12, 1, 24, 0 };

static float *encoder_rows(hs_engine *e, int64_t *n)
{
    *n = encoder_first(&batch, batch.n) * ENCODER_WIDTH;
    float *rows = malloc((size_t)*n * sizeof *rows);
    OK(encoder_fill(e, HS_EVAL, &batch));
    OK(hs_engine_run(e, HS_EVAL, 0));
    OK(hs_run_read(e->run, e->plan[HS_EVAL], 0, 0, *n / ENCODER_WIDTH, rows));
    return rows;
}

static float *gpt_rows(hs_engine *e, int64_t *n)
{
    enum { PADDED = 64 };
    const int64_t tokens = tiny_fill(e, HS_EVAL, gpt_lengths, 5, 0);
    *n = tokens * PADDED;
    float *rows = malloc((size_t)*n * sizeof *rows);
    OK(hs_engine_run(e, HS_EVAL, 0));
    OK(hs_run_read(e->run, e->plan[HS_EVAL], 0, 0, tokens, rows));
    return rows;
}

static double difference(const float *a, const float *b, int64_t n)
{
    double most = 0, largest = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - b[i])), largest = fmax(largest, fabs((double)a[i]));
    return most / largest;
}

// base: the model without; both have the same base weights. Before the second matrices are drawn they are the same model, to the bit.
static void compare(hs_engine *with, hs_engine *base, float *(*rows)(hs_engine *, int64_t *))
{
    int64_t n;
    float *first = rows(with, &n), *plain = rows(base, &n);
    assert_memory_equal(first, plain, (size_t)n * sizeof *first);
    draw_second(with);
    merge_all(with, base);
    float *apart = rows(with, &n), *merged = rows(base, &n);
    const double off = difference(apart, merged, n), moved = difference(apart, plain, n);
    if (!(off <= 1e-6) || !(moved > 1e-2))
        fail_msg("merged and apart differ by %g, pairs moved the outputs by %g", off, moved);
    free(first);
    free(plain);
    free(apart);
    free(merged);
    hs_engine_free(with);
    hs_engine_free(base);
}

static void merged_is_apart(void **state)
{
    (void)state;
    tiny_encoder t, u;
    tiny_gpt v, w;
    compare(encoder_with(&t, &hs_bert_family, (encoder_opts){ .hidden = true, .adapter = &spec }),
            encoder_with(&u, &hs_bert_family, (encoder_opts){ .hidden = true }), encoder_rows);
    compare(tiny_engine(&v, &(tiny_opts){ .adapter = &gpt_spec }), tiny_engine(&w, &(tiny_opts){ 0 }), gpt_rows);
}

// ---- training

enum { STEPS = 6 };
typedef struct trained {
    double loss[STEPS];
    uint64_t values; // of all parameters
    int moved, kept;
} trained;

static trained train(const hs_family *f, encoder_opts o)
{
    const hs_optim_config optim = adamw();
    trained r = { 0 };
    tiny_encoder t;
    o.optim = &optim;
    hs_engine *e = encoder_with(&t, f, o);
    float *before[512];
    assert_true(e->params->n_params < 512);
    for (int i = 0; i < e->params->n_params; i++)
        before[i] = values_of(e, e->params->param[i]);
    for (int s = 0; s < STEPS; s++) {
        OK(encoder_fill(e, HS_TRAIN, &batch));
        OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
        OK(hs_run_update(e->run));
        r.loss[s] = encoder_loss(e, HS_TRAIN);
    }
    for (int i = 0; i < e->params->n_params; i++) {
        const hs_param *p = e->params->param[i];
        float *after = values_of(e, p);
        const bool same = memcmp(before[i], after, p->n * sizeof *after) == 0;
        if (p->frozen != !is_pair(p) || same != p->frozen)
            fail_msg("%s is %s, and %s", p->name, p->frozen ? "frozen" : "trained", same ? "stayed" : "moved");
        same ? r.kept++ : r.moved++;
        for (size_t k = 0; k < p->n; k++) {
            uint32_t bits;
            memcpy(&bits, &after[k], 4);
            r.values = hs_mix2(r.values, bits);
        }
        free(before[i]);
        free(after);
    }
    hs_engine_free(e);
    return r;
}

static void bits_and_frozen(void **state)
{
    (void)state;
    hs_adapter_spec dropping = spec;
    dropping.dropout = 0.1f;
    const encoder_opts one = { .adapter = &dropping, .dropout = "0.1", .mode = HS_SUBMIT_STEP };
    const trained want = train(&hs_bert_family, one);
    assert_true(want.moved == 2 * 4 * 2 && want.kept > 20);
    assert_true(want.loss[STEPS - 1] < want.loss[0]);
    for (int threads = 1; threads <= 3; threads++) {
        encoder_opts o = one;
        o.threads = threads, o.mode = HS_SUBMIT_BULK;
        const trained got = train(&hs_bert_family, o);
        assert_memory_equal(&got, &want, sizeof got);
    }
    dropping.dropout = 0;
    const trained other = train(&hs_bert_family, one);
    assert_true(other.loss[0] == want.loss[0] && other.values != want.values); // of the first step the second matrices are 0
    encoder_opts low = one;
    low.policy = "bf16";
    train(&hs_bert_family, low);
}

// ---- tensor parallelism

static hs_status rank_work(const hs_grid *grid, void *arg, int rank)
{
    double(*loss)[STEPS] = arg;
    const hs_optim_config optim = adamw();
    hs_adapter_spec dropping = spec;
    tiny_encoder t;
    hs_engine *e;
    dropping.dropout = 0.1f;
    HS_TRY(encoder_engine(&e, &t, &hs_bert_family,
                          &(encoder_opts){ .optim = &optim, .mode = HS_SUBMIT_BULK, .grid = grid, .adapter = &dropping }));
    for (int s = 0; s < STEPS; s++) {
        HS_TRY(encoder_fill(e, HS_TRAIN, &batch));
        HS_TRY(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
        HS_TRY(hs_run_update(e->run));
        loss[rank][s] = encoder_loss(e, HS_TRAIN);
    }
    hs_engine_free(e);
    return HS_OK;
}

static void on_ranks(void **state)
{
    (void)state;
    double one[1][STEPS], some[4][STEPS];
    OK(ranks_run(1, rank_work, one, NULL));
    for (int size = 2; size <= 4; size *= 2) {
        OK(ranks_run(size, rank_work, some, NULL));
        for (int s = 0; s < STEPS; s++)
            for (int r = 0; r < size; r++)
                if (!(fabs(some[r][s] / one[0][s] - 1) <= 1e-6) || some[r][s] != some[0][s])
                    fail_msg("%d ranks, step %d: loss %.9g, of one rank %.9g", size, s, some[r][s], one[0][s]);
    }
}

// ---- what is refused

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *targets, *message;
    } wrong[] = {
        { "q,qv", "adapter.targets: \"qv\" fits none of the model's weights" },
        { "attn.outt", "nearest is attn.out: " },
        { "q,,v", "a name of it is empty" },
        { "", "a name of it is empty" },
    };
    for (int i = 0; i < HS_COUNT(wrong); i++) {
        hs_adapter_spec s = spec;
        tiny_encoder t;
        hs_engine *e = NULL;
        s.targets = wrong[i].targets;
        assert_int_equal(encoder_engine(&e, &t, &hs_bert_family, &(encoder_opts){ .hidden = true, .adapter = &s }), HS_USAGE);
        if (!strstr(hs_error(), wrong[i].message))
            fail_msg("\"%s\" is not in: %s", wrong[i].message, hs_error());
    }
    hs_adapter_spec s = { SPEC, .targets = "pooler", .dropout = 0.1f };
    const hs_optim_config optim = adamw();
    tiny_encoder t;
    hs_engine *e = NULL;
    assert_int_equal(encoder_engine(&e, &t, &hs_bert_family, &(encoder_opts){ .optim = &optim, .adapter = &s }), HS_UNSUPPORTED);
    assert_non_null(strstr(hs_error(), "a pair's dropout needs rows of tokens"));
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = { cmocka_unit_test(merged_is_apart), cmocka_unit_test(bits_and_frozen), cmocka_unit_test(on_ranks),
                                        cmocka_unit_test(refused) };
    return cmocka_run_group_tests_name("adapter", tests, NULL, NULL);
}
