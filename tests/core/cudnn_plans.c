// What cuDNN itself says to the attentions that models have, about GPUs that it is told of: whether it has a kernel, how much workspace
// that asks for, and whether it compiles. Then what goes into a run: where the descriptors say that elements are, which addresses a pack
// holds. Nothing is run: there is no GPU, and the driver is a double (cuda_driver.c).
//
//   cudnn_plans DRIVER FOLDER    the double of libcuda.so.1; where descriptions of GPUs are. 77: no cuDNN, or one older than what was tried
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/cuda/cudnn_impl.h"

enum { TRIED = 91900, SKIPPED = 77 };

typedef struct gpu {
    const char *name;
    bool like_another;   // kernels are those of the one before: some models are enough
    bool repeats_ragged; // else cuDNN has nothing for gradients whose bits repeat, where rows are ragged
    hs_dnn *dnn;
} gpu;
static gpu gpus[] = { { .name = "h100", .repeats_ragged = true }, { .name = "h200", .like_another = true, .repeats_ragged = true }, { .name = "a100" } };

static void shape(hs_sdpa_problem *p, int64_t b, int64_t h, int64_t s, int64_t d)
{
    p->b = b, p->h = h, p->s = s, p->d = d;
    p->row_in = 3 * h * d, p->row_out = h * d;
}

// ---- support

static const struct model {
    const char *name;
    int64_t b, h, s;
    bool causal, every; // on every GPU, in f16 too
} models[] = {
    { "gpt2 124M", 16, 12, 1024, true, true },         { "gpt2 355M", 16, 16, 1024, true, false },
    { "gpt2 774M", 8, 20, 1024, true, false },         { "gpt2 1558M", 8, 25, 1024, true, false },
    { "bert base, 128", 256, 12, 128, false, false },  { "bert base, 512", 64, 12, 512, false, true },
    { "bert large, 128", 256, 16, 128, false, false }, { "bert large, 512", 64, 16, 512, false, false },
};
static const char *const rows_names[] = { "full", "padded", "ragged" };

// A row of the table: the engines of its passes; how many there are none for.
static int ask(const gpu *g, hs_sdpa_problem p, const char *name)
{
    static const struct {
        hs_sdpa_pass pass;
        bool repeats;
        const char *name;
    } column[] = { { HS_SDPA_INFERENCE, false, "inference" },
                   { HS_SDPA_FORWARD, false, "forward" },
                   { HS_SDPA_BACKWARD, false, "backward" },
                   { HS_SDPA_BACKWARD, true, "repeating" } };
    int lost = 0;
    printf("%s  %-16s %-7s %-4s %-7s", g->name, name, rows_names[p.rows], p.dtype == HS_BF16 ? "bf16" : "f16", p.dropout > 0 ? "dropout" : "");
    for (int i = 0; i < HS_COUNT(column); i++) {
        p.pass = column[i].pass, p.repeats = column[i].repeats;
        const hs_sdpa_plan *plan = hs_sdpa_plan_of(g->dnn, &p, false);
        assert_non_null(plan);
        if (!plan->why[0])
            printf("  %s %d", column[i].name, plan->engine);
        else
            printf("  %s -", column[i].name);
        if (plan->why[0] && (g->repeats_ragged || !p.repeats || p.rows != HS_SDPA_RAGGED)) {
            printf(" (%s)", plan->why);
            lost++;
        }
    }
    printf("\n");
    return lost;
}
static int ask_both(const gpu *g, hs_sdpa_problem p, const char *name) // without dropout and with BERT's
{
    const int lost = ask(g, p, name);
    p.dropout = 0.1f;
    return lost + ask(g, p, name);
}

static void test_support(void **state)
{
    (void)state;
    int lost = 0;
    for (int g = 0; g < HS_COUNT(gpus); g++)
        for (int m = 0; m < HS_COUNT(models); m++)
            for (int r = HS_SDPA_FULL; r <= HS_SDPA_RAGGED; r++)
                for (int f16 = 0; f16 <= models[m].every; f16++) {
                    const struct model *x = &models[m];
                    if (!x->every && gpus[g].like_another)
                        continue;
                    hs_sdpa_problem p = { .causal = x->causal, .rows = (hs_sdpa_rows)r, .dtype = f16 ? HS_F16 : HS_BF16 };
                    shape(&p, x->b, x->h, x->s, 64);
                    lost += ask_both(&gpus[g], p, x->name);
                }
    assert_int_equal(lost, 0);
}

// Lengths that are no multiple of anything, heads of other widths, a sequence of one row, many short ones.
static void test_other_shapes(void **state)
{
    (void)state;
    static const int64_t sizes[][4] = { { 7, 25, 1000, 64 }, { 3, 5, 1, 64 },  { 8, 12, 96, 32 },
                                        { 4, 4, 77, 128 },   { 2, 3, 33, 40 }, { 2048, 4, 16, 64 } };
    int lost = 0;
    for (int i = 0; i < HS_COUNT(sizes); i++)
        for (int r = HS_SDPA_PADDED; r <= HS_SDPA_RAGGED; r++)
            for (int causal = 0; causal < 2; causal++) {
                char name[64];
                hs_sdpa_problem p = { .causal = causal, .rows = (hs_sdpa_rows)r, .dtype = HS_BF16 };
                shape(&p, sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
                snprintf(name, sizeof name, "%lld x %lld x %lld", (long long)p.b, (long long)p.s, (long long)p.d);
                lost += ask_both(&gpus[0], p, name);
            }
    assert_int_equal(lost, 0);
}

// ---- compiling

static void all_kinds(hs_sdpa_problem p, void (*body)(const hs_sdpa_plan *plan), bool compiled)
{
    for (int r = HS_SDPA_FULL; r <= HS_SDPA_RAGGED; r++)
        for (int pass = HS_SDPA_INFERENCE; pass <= HS_SDPA_BACKWARD; pass++)
            for (int how = 0; how < (pass == HS_SDPA_BACKWARD ? 4 : 2); how++) {
                p.rows = (hs_sdpa_rows)r, p.pass = (hs_sdpa_pass)pass, p.dropout = how % 2 ? 0.1f : 0, p.repeats = how / 2;
                const hs_sdpa_plan *plan = hs_sdpa_plan_of(gpus[0].dnn, &p, compiled);
                assert_non_null(plan);
                assert_string_equal(plan->why, "");
                body(plan);
            }
}

static void is_compiled(const hs_sdpa_plan *plan)
{
    assert_true(plan->compiled);
    assert_non_null(plan->graph->plan);
    assert_true(hs_sdpa_room_of(&plan->problem).kernel + plan->workspace_bytes <= hs_sdpa_workspace(&plan->problem));
    assert_ptr_equal(hs_sdpa_plan_of(gpus[0].dnn, &plan->problem, true), plan);
}

static hs_sdpa_problem usual(bool causal)
{
    hs_sdpa_problem p = { .causal = causal, .dtype = HS_BF16 };
    shape(&p, 4, 12, 256, 64);
    return p;
}

static void test_compiles(void **state)
{
    (void)state;
    all_kinds(usual(true), is_compiled, true);
}

// ---- where elements are: what cuDNN is told, since it does not say it back

typedef struct told {
    cudnnBackendDescriptor_t d;
    int64_t dim[4], stride[4], id, align;
} told;
static told tensors[HS_SDPA_MADE];
static int n_tensors;
static struct {
    int64_t id[2 * HS_SDPA_TENSORS], n, n_at;
    void *at[2 * HS_SDPA_TENSORS], *workspace;
} packed;

static told *told_of(cudnnBackendDescriptor_t d)
{
    for (int i = 0; i < n_tensors; i++)
        if (tensors[i].d == d)
            return &tensors[i];
    assert_true(n_tensors < HS_COUNT(tensors));
    tensors[n_tensors] = (told){ .d = d };
    return &tensors[n_tensors++];
}

static cudnnStatus_t listen(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n,
                            const void *values)
{
    const size_t bytes = (size_t)n * sizeof(int64_t);
    switch ((int)name) {
    case CUDNN_ATTR_TENSOR_DIMENSIONS:
        memcpy(told_of(d)->dim, values, bytes);
        break;
    case CUDNN_ATTR_TENSOR_STRIDES:
        memcpy(told_of(d)->stride, values, bytes);
        break;
    case CUDNN_ATTR_TENSOR_UNIQUE_ID:
        memcpy(&told_of(d)->id, values, bytes);
        break;
    case CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT:
        memcpy(&told_of(d)->align, values, bytes);
        break;
    case CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS:
        memcpy(packed.id, values, bytes);
        packed.n = n;
        break;
    case CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS:
        memcpy(packed.at, values, bytes);
        packed.n_at = n;
        break;
    case CUDNN_ATTR_VARIANT_PACK_WORKSPACE:
        memcpy(&packed.workspace, values, bytes);
        break;
    }
    return hs_dnn_calls_of(gpus[0].dnn)->cudnnBackendSetAttribute(d, name, type, n, values);
}

static void heard(const hs_sdpa_problem *p, void (*body)(const hs_dnn_calls *c, const hs_sdpa_problem *p, hs_sdpa_graph *g))
{
    hs_dnn_calls c = *hs_dnn_calls_of(gpus[0].dnn);
    hs_sdpa_graph g = { 0 };
    c.cudnnBackendSetAttribute = listen;
    n_tensors = 0;
    hs_sdpa_describe(&c, p, &g);
    assert_int_equal(g.status, CUDNN_STATUS_SUCCESS);
    body(&c, p, &g);
    hs_sdpa_forget(&c, &g);
}

// Element c of head h of row i of sequence b, in a matrix of whole rows, as the op has it; rows of ragged sequences begin at `first`.
static void check_rows(const hs_sdpa_problem *p, const hs_sdpa_graph *g, hs_sdpa_tensor t, int64_t row, int64_t width, bool turned)
{
    if (!g->tensor[t])
        return;
    const told f = *told_of(g->tensor[t]);
    const int s_dim = turned ? 3 : 2, d_dim = turned ? 2 : 3;
    assert_int_equal(f.dim[0], p->b);
    assert_int_equal(f.dim[1], p->h);
    assert_int_equal(f.dim[s_dim], p->s);
    assert_int_equal(f.dim[d_dim], width);
    for (int64_t b = 0; b < p->b; b++)
        for (int64_t h = 0; h < p->h; h++)
            for (int64_t i = 0; i < p->s; i += p->s - 1)
                for (int64_t c = 0; c<width; c += width> 1 ? width - 1 : 1) {
                    const bool ragged = p->rows == HS_SDPA_RAGGED;
                    const int64_t first = ragged ? 3 * b : b * p->s; // row; any will do where sequences are ragged
                    const int64_t begins = ragged ? first * row : b * f.stride[0];
                    assert_int_equal(begins + h * f.stride[1] + i * f.stride[s_dim] + c * f.stride[d_dim],
                                     (first + i) * row + h * width + c);
                }
}

static void check_layout(const hs_dnn_calls *c, const hs_sdpa_problem *p, hs_sdpa_graph *g)
{
    (void)c;
    static const hs_sdpa_tensor in[] = { HS_SDPA_Q, HS_SDPA_DQ, HS_SDPA_DK, HS_SDPA_DV };
    const bool backward = p->pass == HS_SDPA_BACKWARD;
    for (int i = 0; i < HS_COUNT(in); i++)
        check_rows(p, g, in[i], p->row_in, p->d, false);
    check_rows(p, g, HS_SDPA_K, p->row_in, p->d, true);
    check_rows(p, g, HS_SDPA_V, p->row_in, p->d, backward);
    check_rows(p, g, HS_SDPA_Y, p->row_out, p->d, false);
    check_rows(p, g, HS_SDPA_DY, p->row_out, p->d, false);
    check_rows(p, g, HS_SDPA_LSE, p->h, 1, false);
    // 16 bytes are promised: rows, heads, and k and v behind q
    assert_int_equal(p->row_in * 2 % 16 | p->row_out * 2 % 16 | p->d * 2 % 16 | p->h * p->d * 2 % 16, 0);
    for (int i = 0; i < n_tensors; i++) {
        assert_int_equal(tensors[i].align, 16);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(tensors[i].id, tensors[k].id);
    }
    // what is there at all, under its own number
    const bool lens = p->rows != HS_SDPA_FULL, offsets = p->rows == HS_SDPA_RAGGED, lse = p->pass != HS_SDPA_INFERENCE,
               drops = p->dropout > 0;
    const bool has[HS_SDPA_TENSORS] = {
        [HS_SDPA_Q] = true,
        [HS_SDPA_K] = true,
        [HS_SDPA_V] = true,
        [HS_SDPA_Y] = true,
        [HS_SDPA_LSE] = lse,
        [HS_SDPA_DY] = backward,
        [HS_SDPA_DQ] = backward,
        [HS_SDPA_DK] = backward,
        [HS_SDPA_DV] = backward,
        [HS_SDPA_DELTA] = backward,
        [HS_SDPA_DQ_SUM] = backward && !p->repeats,
        [HS_SDPA_LEN_Q] = lens,
        [HS_SDPA_LEN_KV] = lens,
        [HS_SDPA_AT_Q] = offsets,
        [HS_SDPA_AT_K] = offsets,
        [HS_SDPA_AT_V] = offsets,
        [HS_SDPA_AT_OUT] = offsets,
        [HS_SDPA_AT_LSE] = offsets && lse,
        [HS_SDPA_SEED] = drops,
        [HS_SDPA_OFFSET] = drops,
        [HS_SDPA_SCALE] = true,
        [HS_SDPA_KEPT] = backward,
        [HS_SDPA_UNKEPT] = drops,
        [HS_SDPA_NOT_COUNTED] = lens,
        [HS_SDPA_NOT_SEEN] = p->causal,
    };
    for (int t = HS_SDPA_Q; t < HS_SDPA_TENSORS; t++) {
        assert_int_equal(has[t], g->tensor[t] != NULL);
        if (has[t])
            assert_int_equal(told_of(g->tensor[t])->id, t);
    }
}

static void layout_of(const hs_sdpa_plan *plan) { heard(&plan->problem, check_layout); }

static void test_layout(void **state)
{
    (void)state;
    all_kinds(usual(true), layout_of, false);
    all_kinds(usual(false), layout_of, false);
}

// ---- packs

static int64_t blocks[17][64]; // stand for device memory: addresses count

static hs_sdpa_operands some_operands(void)
{
    return (hs_sdpa_operands){ .q = blocks[0],
                               .k = blocks[1],
                               .v = blocks[2],
                               .y = blocks[3],
                               .lse = (float *)blocks[4],
                               .dy = blocks[5],
                               .dq = blocks[6],
                               .dk = blocks[7],
                               .dv = blocks[8],
                               .len_q = (int32_t *)blocks[9],
                               .len_kv = (int32_t *)blocks[10],
                               .at_in = (int32_t *)blocks[11],
                               .at_out = (int32_t *)blocks[12],
                               .at_lse = (int32_t *)blocks[13],
                               .workspace = blocks[14],
                               .seed = blocks[15],
                               .offset = blocks[16],
                               .scale = 0.125f };
}

static const float values[HS_SDPA_TENSORS] = { [HS_SDPA_SCALE] = 0.125f, [HS_SDPA_KEPT] = 1 };

// Every tensor of the graph once, at its own address, and nothing else; cuDNN takes it.
static void check_pack(const hs_dnn_calls *c, const hs_sdpa_problem *p, hs_sdpa_graph *g)
{
    const hs_sdpa_operands o = some_operands();
    const hs_sdpa_room room = hs_sdpa_room_of(p);
    const void *own[HS_SDPA_TENSORS] = {
        [HS_SDPA_Q] = o.q,
        [HS_SDPA_K] = o.k,
        [HS_SDPA_V] = o.v,
        [HS_SDPA_Y] = o.y,
        [HS_SDPA_LSE] = o.lse,
        [HS_SDPA_DY] = o.dy,
        [HS_SDPA_DQ] = o.dq,
        [HS_SDPA_DK] = o.dk,
        [HS_SDPA_DV] = o.dv,
        [HS_SDPA_LEN_Q] = o.len_q,
        [HS_SDPA_LEN_KV] = o.len_kv,
        [HS_SDPA_AT_Q] = o.at_in,
        [HS_SDPA_AT_K] = o.at_in,
        [HS_SDPA_AT_V] = o.at_in,
        [HS_SDPA_AT_OUT] = o.at_out,
        [HS_SDPA_AT_LSE] = o.at_lse,
        [HS_SDPA_SEED] = o.seed,
        [HS_SDPA_OFFSET] = o.offset,
        [HS_SDPA_DELTA] = (char *)o.workspace + room.delta,
        [HS_SDPA_DQ_SUM] = (char *)o.workspace + room.dq_sum,
    };
    bool seen[HS_SDPA_TENSORS] = { false };
    cudnnBackendDescriptor_t pack;
    assert_int_equal(hs_sdpa_pack(c, p, g, &o, values, &pack), CUDNN_STATUS_SUCCESS);
    assert_int_equal(packed.n, packed.n_at);
    for (int64_t i = 0; i < packed.n; i++) {
        const int64_t t = packed.id[i];
        assert_in_range(t, HS_SDPA_Q, HS_SDPA_TENSORS - 1);
        assert_false(seen[t]);
        seen[t] = true;
        assert_ptr_equal(packed.at[i], t >= HS_SDPA_SCALE ? (const void *)&values[t] : own[t]);
    }
    for (int t = 0; t < HS_SDPA_TENSORS; t++)
        assert_int_equal(seen[t], g->tensor[t] != NULL);
    assert_ptr_equal(packed.workspace, (char *)o.workspace + room.kernel);
    c->cudnnBackendDestroyDescriptor(pack);
}

static void pack_of(const hs_sdpa_plan *plan) { heard(&plan->problem, check_pack); }

// Pieces of the workspace behind one another.
static void check_room(const hs_sdpa_plan *plan)
{
    const hs_sdpa_problem *p = &plan->problem;
    const hs_sdpa_room r = hs_sdpa_room_of(p);
    const size_t rows = (size_t)(p->b * p->h * p->s) * sizeof(float);
    assert_int_equal(r.delta % HS_SDPA_ALIGN | r.dq_sum % HS_SDPA_ALIGN | r.kernel % HS_SDPA_ALIGN, 0);
    assert_true(r.dq_sum - r.delta >= (plan->graph->tensor[HS_SDPA_DELTA] ? rows : 0));
    assert_true(r.kernel - r.dq_sum >= (plan->graph->tensor[HS_SDPA_DQ_SUM] ? rows * (size_t)p->d : 0));
    assert_true(hs_sdpa_workspace(p) >= r.kernel + plan->workspace_bytes);
}

static void test_packs(void **state)
{
    (void)state;
    all_kinds(usual(true), pack_of, false);
    all_kinds(usual(true), check_room, false);
    // what is missing is named
    hs_sdpa_problem p = usual(true);
    p.rows = HS_SDPA_RAGGED, p.pass = HS_SDPA_BACKWARD;
    const hs_sdpa_plan *plan = hs_sdpa_plan_of(gpus[0].dnn, &p, false);
    hs_sdpa_operands o = some_operands();
    cudnnBackendDescriptor_t pack;
    o.at_lse = NULL;
    assert_int_not_equal(hs_sdpa_pack(hs_dnn_calls_of(gpus[0].dnn), &p, plan->graph, &o, values, &pack), CUDNN_STATUS_SUCCESS);
    assert_null(pack);
    assert_string_equal(plan->graph->why, "no address for at_lse");
}

// ---- what is declined, and what the log says

static char line[512];
static int lines;
static void keep_line(hs_log_level level, const char *text, void *user)
{
    (void)level, (void)user;
    snprintf(line, sizeof line, "%s", text);
    lines++;
}

static void test_declines(void **state)
{
    (void)state;
    hs_gpu one = { .dnn = gpus[0].dnn };
    hs_lane lane = { .gpu = &one };
    const hs_sdpa_problem good = usual(true);
    static const struct {
        hs_dtype dtype;
        int64_t s, d;
        hs_sdpa_rows rows;
        const char *why;
    } bad[] = { { HS_F32, 256, 64, HS_SDPA_FULL, "bf16 and f16" },
                { HS_BF16, 256, 264, HS_SDPA_FULL, "at most 256" },
                { HS_BF16, 256, 12, HS_SDPA_PADDED, "multiple of 8" },
                { HS_F16, 200, 64, HS_SDPA_FULL, "multiple of 128" } };
    hs_log_set(HS_LOG_INFO, keep_line, NULL);
    for (int i = 0; i < HS_COUNT(bad); i++) {
        hs_sdpa_problem p = good;
        p.dtype = bad[i].dtype, p.rows = bad[i].rows;
        shape(&p, 4, 12, bad[i].s, bad[i].d);
        for (int again = 0; again < 2; again++)
            assert_false(hs_sdpa_ready(&lane, &p, NULL));
        assert_int_equal(lines, i + 1); // once
        assert_non_null(strstr(line, bad[i].why));
    }
    // a reason of the caller's, and another one
    for (int i = 0; i < 2; i++)
        assert_false(hs_sdpa_ready(&lane, &good, "it drops"));
    assert_int_equal(lines, HS_COUNT(bad) + 1);
    assert_string_equal(line, "attention of 4 sequences, 12 heads of 64, inference, is not cuDNN's: it drops");
    assert_false(hs_sdpa_ready(&lane, &good, "it adds"));
    assert_int_equal(lines, HS_COUNT(bad) + 2);
    // nothing is said of what is taken, nor where there is no cuDNN
    assert_true(hs_sdpa_ready(&lane, &good, NULL));
    one.dnn = NULL;
    assert_false(hs_sdpa_ready(&lane, &good, NULL));
    assert_int_equal(lines, HS_COUNT(bad) + 2);
    hs_log_set(HS_LOG_WARN, NULL, NULL);
}

// There is no GPU to run on: the lane keeps what went wrong, the first of it.
static void test_failures(void **state)
{
    (void)state;
    hs_gpu one = { .dnn = gpus[0].dnn };
    hs_lane lane = { .gpu = &one };
    hs_sdpa_problem p = usual(true);
    const hs_sdpa_operands o = some_operands();
    p.b = 5; // of which nobody has asked
    hs_sdpa_run(&lane, &p, &o);
    assert_string_equal(lane.failed, "cuDNN's attention: it was not planned");
    hs_sdpa_run(&lane, &p, &o);
    assert_string_equal(lane.failed, "cuDNN's attention: it was not planned");
    lane.failed[0] = 0;
    assert_true(hs_sdpa_ready(&lane, &p, NULL));
    hs_sdpa_run(&lane, &p, &o);
    assert_non_null(strstr(lane.failed, "cuDNN's attention: CUDNN_STATUS_"));
}

// A problem that differs in anything is another plan.
static void test_keys(void **state)
{
    (void)state;
    const hs_sdpa_problem p = {
        .b = 2, .h = 4, .s = 128, .d = 64, .row_in = 768, .row_out = 256, .dtype = HS_BF16, .pass = HS_SDPA_BACKWARD
    };
    hs_sdpa_problem other[] = { p, p, p, p, p, p, p, p, p, p, p, p };
    other[0].b++, other[1].h++, other[2].s += 128, other[3].d += 8, other[4].row_in += 8, other[5].row_out += 8;
    other[6].dtype = HS_F16, other[7].rows = HS_SDPA_RAGGED, other[8].pass = HS_SDPA_FORWARD, other[9].causal = true,
    other[10].repeats = true, other[11].dropout = 0.1f;
    const hs_sdpa_plan *plan = hs_sdpa_plan_of(gpus[0].dnn, &p, false);
    assert_ptr_equal(hs_sdpa_plan_of(gpus[0].dnn, &p, false), plan);
    for (int i = 0; i < HS_COUNT(other); i++) {
        const hs_sdpa_plan *another = hs_sdpa_plan_of(gpus[0].dnn, &other[i], false);
        assert_ptr_not_equal(another, plan);
        assert_memory_equal(&another->problem, &other[i], sizeof other[i]);
    }
}

// ---- opening

static void read_file(const char *folder, const char *name, char *to, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.json", folder, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    const size_t n = fread(to, 1, size - 1, f);
    to[n] = 0;
    fclose(f);
}

static void test_described(void **state)
{
    (void)state;
    hs_dnn *dnn;
    assert_int_equal(hs_dnn_open_described(&dnn, "{ \"deviceName\": 1 }"), HS_SYSTEM);
    assert_null(dnn);
    assert_non_null(strstr(hs_error(), "the GPU that is described"));
    assert_int_equal(hs_dnn_open(&dnn, 0), HS_SYSTEM);
    assert_null(dnn);
    assert_non_null(strstr(hs_error(), "on this GPU"));
}

int main(int argc, char **argv)
{
    assert_int_equal(argc, 3);
    if (!dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL)) { // before cuDNN asks for one of its name
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    for (int g = 0; g < HS_COUNT(gpus); g++) {
        char described[4096];
        read_file(argv[2], gpus[g].name, described, sizeof described);
        const hs_status st = hs_dnn_open_described(&gpus[g].dnn, described);
        if (st == HS_UNSUPPORTED || (st == HS_OK && hs_dnn_version(gpus[g].dnn) < TRIED)) {
            printf("skipped: %s\n", st == HS_OK ? "a cuDNN older than 9.19" : hs_error());
            return SKIPPED;
        }
        if (st != HS_OK) {
            fprintf(stderr, "%s\n", hs_error());
            return 1;
        }
    }
    printf("cuDNN %d\n", hs_dnn_version(gpus[0].dnn));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_support),  cmocka_unit_test(test_other_shapes), cmocka_unit_test(test_layout),
        cmocka_unit_test(test_packs),    cmocka_unit_test(test_declines),     cmocka_unit_test(test_failures),
        cmocka_unit_test(test_compiles), cmocka_unit_test(test_keys),         cmocka_unit_test(test_described),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int g = 0; g < HS_COUNT(gpus); g++)
        hs_dnn_close(gpus[g].dnn);
    return failed;
}
