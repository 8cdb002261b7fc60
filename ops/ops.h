// ops: the builders. Each emits one node; none can fail where it stands (hs_graph keeps the first error).
//
// Dimension letters: B sequences, S positions, N tokens, V vocabulary, C width, H heads, D = C/H, F feed-forward width.
// Activations are token-major [N, C]. Floats may be f32 or low precision as the AMP policy decides; sums are f32 inside.
#ifndef HS_OPS_OPS_H
#define HS_OPS_OPS_H
#include "core/graph/coding.h"
#include "core/graph/graph.h"
#include "core/run/device.h"

// The registry in the order of ops.list, and the CPU kernel tables for a tier (NULL-terminated: [provider,] tier, portable).
enum {
#define HS_OP_ITEM(name) HS_ID_##name,
#include "ops/ops.list"
#undef HS_OP_ITEM
    HS_N_OPS
};
extern const hs_op *const hs_ops[HS_N_OPS];
#define HS_OP_ITEM(name) extern const hs_op hs_op_##name##_portable;
#include "ops/ops.list"
#undef HS_OP_ITEM
// Opens the CPU (or says why the plug-in of another device cannot be used) with every op of this library.
// name: "cpu", "cpu-fenced" (memory that only kernels may touch: a debugging aid) or "cuda"; threads 0: the cores of this process; isa
// NULL: the best tier.
typedef enum hs_onednn {
    HS_ONEDNN_NO,
    HS_ONEDNN_FASTER, // where it was measured to be faster: tier and rows (ops/README.md). Says so in one line of the log
    HS_ONEDNN_ALWAYS, // every product it can do: benches, cross-checks
} hs_onednn;
bool hs_is_gpu(const char *device); // of these names: is it a plug-in's, and asks nothing of this CPU
hs_status hs_open_device(hs_device **out, const char *name, int threads, const char *isa, int bulk_size, hs_onednn onednn);
// index: as hs_device_opts has it; the CPU is one.
hs_status hs_open_device_at(hs_device **out, const char *name, int index, int threads, const char *isa, int bulk_size, hs_onednn onednn);
bool hs_isa_built(hs_isa isa);                             // is that tier compiled into this library
hs_status hs_isa_of_option(const char *name, hs_isa *out); // hs_isa_choose among those that are
const char *hs_onednn_version(void);                       // NULL: built without
// Why on a CPU a decoding plan's `linear` reads all of a weight that has two zeros in every four; NULL: it reads what stays (dense/gemm_2of4.c).
const char *hs_2of4_declines(const hs_device *d);

// ---- products
// y[N, O] = x[N, C] w[O, C]^T + bias[O].  bias may be NULL. cols_used: as 0 (all).
hs_tensor *hs_linear(hs_graph *g, hs_tensor *x, hs_tensor *w, hs_tensor *bias);
// The same with x and w in E4M3, and dy in E5M2 in backward, by scales of whole tensors; widths multiples of 16. amax: a state
// [2, history], or NULL: scales of the tensors at hand. The AMP pass puts it in the place of linear (hs_policy.fp8).
hs_tensor *hs_linear_fp8(hs_graph *g, hs_tensor *x, hs_tensor *w, hs_tensor *bias, hs_tensor *amax, int margin);
// y[N, O] = (i8(x) codes^T) * (scale of x * scales) + bias, sums exact: the same bits everywhere (ops/quant/i8_round.h). codes: i8 [O, C] in
// [-127, 127]; scales f32 [O]; bias f32 [O] or NULL; x_scale: f32 [1], of all of x, or NULL: each row has its own. C up to 133,144. Of the
// gradients only that of x is made.
hs_tensor *hs_linear_i8(hs_graph *g, hs_tensor *x, hs_tensor *codes, hs_tensor *scales, hs_tensor *bias, hs_tensor *x_scale);
// In evaluation also: gelu of that, and by y_scale, f32 [1], a result in i8, [-127, 127] and -128 where it is not finite; x may be such a
// result, x_scale then is what it was rounded by. y_scale NULL: y is float.
typedef enum hs_i8_act { HS_I8_PLAIN, HS_I8_GELU_ERF, HS_I8_GELU_TANH } hs_i8_act;
typedef struct hs_linear_i8_attr {
    int32_t act; // hs_i8_act
} hs_linear_i8_attr;
typedef struct hs_linear_i8_in {
    hs_tensor *x, *codes, *scales, *bias, *x_scale, *y_scale;
} hs_linear_i8_in;
hs_tensor *hs_linear_i8_fused(hs_graph *g, hs_linear_i8_in in, hs_linear_i8_attr attr);
// y[N, O] = q8(x) w^T + bias, both in blocks of 32 along C: of x's rows, as they come, and w = codes * scales (ops/quant/block_products.h has the order
// of sums, which is the same everywhere). codes: i8 [O, C] in [-127, 127], or u8 [O, C / 2] with two of 4 bits a byte, the even one low, each
// plus 8; scales f16 [O, C / 32]; bias f32 [O] or NULL. Of the gradients only that of x is made, dy w.
hs_tensor *hs_linear_blocks(hs_graph *g, hs_tensor *x, hs_tensor *codes, hs_tensor *scales, hs_tensor *bias);
// y = x [N, C] rounded to what its codes would stand for, straight through in backward but for what is clipped (ops/quant/fake_round.h).
// scale: f32 [1], of HS_FAKE_TENSOR; else NULL. share: of a weight's blocks of 8 that are rounded, drawn each step; 1: all. Blocks of a scale
// are 32 of the width.
hs_tensor *hs_fake_quant(hs_graph *g, hs_tensor *x, hs_tensor *scale, hs_fake_form form, double share);
// y = x + scale u b in the parts of x that mask has bits for (part 0: bit 0): u [N, used * R], b [used * R, O], x [N, parts * O]; R and O
// multiples of 8. LoRA's pairs, arXiv:2106.09685.
typedef struct hs_low_rank_attr {
    int32_t parts, mask;
    float scale;
} hs_low_rank_attr;
hs_tensor *hs_low_rank(hs_graph *g, hs_tensor *x, hs_tensor *u, hs_tensor *b, hs_low_rank_attr attr);
// c[..., M, K'] = op(a) op(b), batched over equal leading dims; ta, tb: transpose the last two dims of a, b.
typedef struct hs_matmul_attr {
    bool ta, tb;
    float scale;
} hs_matmul_attr; // scale 0 means 1
hs_tensor *hs_matmul(hs_graph *g, hs_tensor *a, hs_tensor *b, hs_matmul_attr attr);

// ---- attention
// Softmax(scale * q k^T + mask) v per sequence and head; memory linear in sequence length; causal blocks skipped.
//   qkv    [N, 3C] packed q|k|v rows, each C = H*D wide; or [N, C] queries only (then kv is required)
//   starts i32 [B+1], ext STARTS: query rows of sequence b are [starts[b], starts[b+1])
//   keys   i32 [B, 3], ext SEQS, or NULL: {first key row, number of keys, position of the first query}; absent: keys are the
//          sequence's own rows and the first query is at position 0. A shorter key count masks padding.
//   kv     [R, 2C] keys|values from elsewhere (KV cache, encoder), or NULL; key rows index it; with a [N, 3C] qkv its k, v are ignored
//   pages  i32 [B, P], ext SEQS, or NULL: page_rows keys each, in kv. Key j of sequence b is at row pages[b][j / page_rows] * page_rows +
//          j % page_rows, whatever keys says of the first; what no key needs is not read. The bits are those of keys that lie together.
//   where  i32 [N, 2] {global sample slot, position}: keys attention dropout; required if dropout > 0
// Causal: query at position p sees keys j with j <= p, j counted from the first key.
// out [N, C]; saved lse [N, H].
typedef struct hs_attention_attr {
    int heads;
    bool causal;
    float dropout, scale; // scale 0 means 1/sqrt(D)
    int first_head;       // of the whole model's, where a tensor-parallel rank has a share of them: keys dropout
    int page_rows;        // with pages: a multiple of 8
    int longest;          // 0, or a promise: no sequence has more rows, and keys, where they are given, are the first of its own
    bool full;            // and sequence b has rows [b * longest, (b + 1) * longest); those that are not live may be written
    // What a device's library may do, where there is one that does it faster. Both passes of a node are asked the same.
    bool library_masks; // drop by masks of its own instead of core/graph/drop.h's: of (seed, site, step, slot of the first row), but no
                        // longer the same at every layout, packing and device
    bool any_order;     // add up gradients in another order each time
} hs_attention_attr;
typedef struct hs_attention_in {
    hs_tensor *qkv, *starts, *keys, *kv, *where, *pages;
} hs_attention_in;
hs_tensor *hs_attention(hs_graph *g, hs_attention_in in, hs_attention_attr attr);
// Copies columns [first, first + cache.cols) of x's rows into rows[n] of the cache state; returns the cache.
// cache [R, 2C] state, x [N, W], rows i32 [N] (negative: skip that row).
hs_tensor *hs_cache_append(hs_graph *g, hs_tensor *cache, hs_tensor *x, hs_tensor *rows, int64_t first);

// The same two with a cache [R, 2C + 8 heads] i8: codes with a scale for each head of k and of v (attention/attention.h has the layout and
// the rule), by which a value is off by at most 1/254 of the largest of its token's head. qkv [N, 3C] (its k, v are ignored) or [N, C];
// starts, keys, pages as above. Heads are multiples of 8 wide. No gradients, no dropout.
HS_INLINE int64_t hs_cache_i8_cols(int64_t width, int64_t heads) { return 2 * width + 8 * heads; }
HS_INLINE int64_t hs_cache_i8_width(int64_t cols, int64_t heads) { return (cols - 8 * heads) / 2; }
typedef struct hs_attention_i8_attr {
    int heads;
    bool causal;
    float scale;   // 0 means 1/sqrt(D)
    int page_rows; // with pages: a multiple of 8
} hs_attention_i8_attr;
typedef struct hs_attention_i8_in {
    hs_tensor *qkv, *starts, *keys, *cache, *pages; // pages: NULL where keys say which rows
} hs_attention_i8_in;
hs_tensor *hs_attention_i8(hs_graph *g, hs_attention_i8_in in, hs_attention_i8_attr attr);
hs_tensor *hs_cache_append_i8(hs_graph *g, hs_tensor *cache, hs_tensor *x, hs_tensor *rows, int64_t first, int heads);

// ---- row-wise
hs_tensor *hs_layernorm(hs_graph *g, hs_tensor *x, hs_tensor *gamma, hs_tensor *beta, float eps);
hs_tensor *hs_softmax(hs_graph *g, hs_tensor *x); // over the last dim
typedef enum hs_gelu_kind { HS_GELU_ERF, HS_GELU_TANH } hs_gelu_kind;
hs_tensor *hs_gelu(hs_graph *g, hs_tensor *x, hs_gelu_kind kind);
hs_tensor *hs_bias_gelu(hs_graph *g, hs_tensor *x, hs_tensor *bias, hs_gelu_kind kind); // gelu(x + bias)
hs_tensor *hs_bias_add(hs_graph *g, hs_tensor *x, hs_tensor *bias);
hs_tensor *hs_tanh(hs_graph *g, hs_tensor *x);
hs_tensor *hs_relu(hs_graph *g, hs_tensor *x);
// p = 0, or a graph that does not train: x itself. where: i32 [N, 2] {global sample slot, position}.
hs_tensor *hs_dropout(hs_graph *g, hs_tensor *x, hs_tensor *where, float p);
// The same where x has channels [first, ...) of rows that tensor-parallel ranks share: its slice of the whole mask. first: a multiple of 8.
hs_tensor *hs_dropout_slice(hs_graph *g, hs_tensor *x, hs_tensor *where, float p, int64_t first);
// The same where x's rows are sequences, [B, C]: each has the mask of its first token, where[starts[b]]. starts: i32 [B + 1].
hs_tensor *hs_dropout_seqs(hs_graph *g, hs_tensor *x, hs_tensor *where, hs_tensor *starts, float p);
// layernorm(residual + dropout(x + bias)); bias and where may be NULL (where only if p = 0). Two outputs: y and, in ->from->out[1], the sum
// before the norm.
hs_tensor *hs_bias_dropout_residual_layernorm(hs_graph *g, hs_tensor *x, hs_tensor *bias, hs_tensor *residual, hs_tensor *gamma,
                                              hs_tensor *beta, hs_tensor *where, float p, float eps);
hs_tensor *hs_add(hs_graph *g, hs_tensor *a, hs_tensor *b); // mixed float types: the widest; same shape
hs_tensor *hs_mul(hs_graph *g, hs_tensor *a, hs_tensor *b);
hs_tensor *hs_scale(hs_graph *g, hs_tensor *x, float s);
hs_tensor *hs_cast(hs_graph *g, hs_tensor *x, hs_dtype d);          // usually the AMP pass's; forward honours out[0].add
hs_tensor *hs_transpose(hs_graph *g, hs_tensor *x, int d0, int d1); // swaps two dims
hs_tensor *hs_mean(hs_graph *g, hs_tensor *x);                      // over the last dim: [N, C] -> [N, 1]

// ---- rows
// y[n] = table[ids[n]] (+ pos_table[where[n][1]]). ids i32 [N]; pos_table and where may be NULL together.
hs_tensor *hs_embedding(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where);
// The same of pos_table[first_position + where[n][1]].
hs_tensor *hs_embedding_from(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where, int64_t first_position);
// The same of rows [first, first + rows of table) of a table of `rows`: 0 for an id of another slice, its position left out too, so that
// the sum over slices (tp_reduce) is exact. pos_table is whole, and gets its whole gradient from every slice.
hs_tensor *hs_embedding_slice(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where, int64_t first_position,
                              int64_t first, int64_t rows);
struct hs_embedding_attr;
// The same of a table in codes: i8 [rows, C] by scales f32 [rows], or as those of hs_linear_blocks by scales f16 [rows, C / 32]. A value is
// code * scale, rounded once. attr: that of embedding (ops/attrs.h). No gradients.
hs_tensor *hs_embedding_coded(hs_graph *g, hs_tensor *codes, hs_tensor *scales, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where,
                              const struct hs_embedding_attr *attr);
hs_tensor *hs_gather_rows(hs_graph *g, hs_tensor *x, hs_tensor *rows); // y[p] = x[rows[p]]; rows i32 [P]; its ext is rows' ext
// y[b] = the first, the last, the mean or column by column the largest of a sequence's rows: x [N, C], ext TOKENS, gives [B, C], ext SEQS.
// starts i32 [B+1] and keys i32 [B, 3] or NULL are those of attention: of padded rows the first keys[b][1] count. A sequence of no rows
// gives zeros.
typedef enum hs_pool_kind { HS_POOL_FIRST, HS_POOL_MEAN, HS_POOL_MAX, HS_POOL_LAST } hs_pool_kind;
hs_tensor *hs_pool(hs_graph *g, hs_tensor *x, hs_tensor *starts, hs_tensor *keys, hs_pool_kind kind);
// y[n], i32: the column of the largest of the first `classes` of x [N, V]; of equal ones the first. No gradient.
hs_tensor *hs_argmax(hs_graph *g, hs_tensor *x, int32_t classes);
// y[p], i32: a class of the first `classes`, drawn with the probabilities softmax(x[p]), by the slot and position of the token picks[p] of
// where i32 [N, 2]; frozen: the same each time, whatever seed and step are. No gradient. x [P, V], picks i32 [P].
hs_tensor *hs_draw(hs_graph *g, hs_tensor *x, hs_tensor *picks, hs_tensor *where, int32_t classes, bool frozen);
// ids i32 [N] with drawn[p] at the places picks[p]; *label: f32 [N, 1], 1 where that is another than target[p], which stood there. A target
// below 0 leaves its place alone. picks, drawn, target i32 [P].
hs_tensor *hs_replace(hs_graph *g, hs_tensor *ids, hs_tensor *picks, hs_tensor *drawn, hs_tensor *target, hs_tensor **label);
// BERT's masks, as the loader draws them (core/graph/mask_draw.h): ids i32 [N] of which some are the mask or another token; *picks i32
// [most]: those places, ascending, sequence by sequence; *targets i32 [most]: what stood there. starts i32 [B + 1]; draws i32 [B,
// HS_DRAW_CELLS], a row for each sequence; special i32 [S]. Picks of a row beyond what may be chosen are 0, target -1. No gradient.
hs_tensor *hs_mask_tokens(hs_graph *g, hs_tensor *ids, hs_tensor *starts, hs_tensor *draws, hs_tensor *special, int64_t most,
                          hs_tensor **picks, hs_tensor **targets);

// ---- losses
// loss[n] = -log softmax(logits[n])[target[n]] over the first `classes` columns, 0 where target is `ignore`.
// smoothing e: (1-e) * nll + e * mean over classes of -log p. In a training graph the logits become their own gradient,
// (p - y) * inv_count[loss] * scale, in place; columns >= classes get 0.
typedef struct hs_xent_attr {
    int32_t classes, ignore, loss;
    float smoothing;
} hs_xent_attr; // loss: which inv_count
hs_tensor *hs_xent(hs_graph *g, hs_tensor *logits, hs_tensor *target, hs_xent_attr attr);
// Each row's loss times weight[n], f32 [N]; weight NULL: 1.
hs_tensor *hs_xent_weighted(hs_graph *g, hs_tensor *logits, hs_tensor *target, hs_tensor *weight, hs_xent_attr attr);
// The same of logits = x[N, C] w[V, C]^T + bias[V], of which only a chunk of 1,024 rows ever exists. In a training graph loss, dx, dw and
// dbias are made together, where backward begins. bias may be NULL.
hs_tensor *hs_linear_xent(hs_graph *g, hs_tensor *x, hs_tensor *w, hs_tensor *bias, hs_tensor *target, hs_xent_attr attr);
// Losses of rows of numbers: the mean over the first `labels` columns of x, of which each has a target; target f32 [N, labels or more];
// weight as above, NULL: 1. Gradients as xent's, in place.
typedef struct hs_label_attr {
    int32_t labels, loss;
} hs_label_attr;
hs_tensor *hs_mse(hs_graph *g, hs_tensor *x, hs_tensor *target, hs_tensor *weight, hs_label_attr attr); // (x - target)^2
// -target log p - (1 - target) log(1 - p) of p = 1 / (1 + e^-x): x are logits, targets lie in [0, 1].
hs_tensor *hs_bce(hs_graph *g, hs_tensor *x, hs_tensor *target, hs_tensor *weight, hs_label_attr attr);
// Where a span begins and ends among the tokens of its sequence: logits [N, 2 or more], columns 0 and 1 of the start and of the end, each a
// cross-entropy over the sequence's own rows; loss[b] is their sum. target i32 [B, 2], counted from the sequence's first row: one outside
// of it is ignored. starts, keys (NULL: none): as attention has them; rows behind keys[b][1] are nobody's. Gradient as xent's, in place.
typedef struct hs_span_attr {
    int32_t loss;
} hs_span_attr;
hs_tensor *hs_span_xent(hs_graph *g, hs_tensor *logits, hs_tensor *target, hs_tensor *starts, hs_tensor *keys, hs_span_attr attr);
// Linear-chain conditional random field over the tokens of a sequence that have a target (>= 0), one after the other:
//   score(y) = first[y_1] + sum_t x[t, y_t] + sum_t next[y_t-1, y_t] + last[y_n]         loss[b] = log sum_y e^score(y) - score(target)
// x [N, labels or more], target i32 [N] (below 0: not of the chain), starts i32 [B + 1], next [labels, labels] from row to column, first
// and last [labels]. A sequence without targets: 0. Gradients are made with the loss, where backward begins.
hs_tensor *hs_crf(hs_graph *g, hs_tensor *x, hs_tensor *target, hs_tensor *starts, hs_tensor *next, hs_tensor *first, hs_tensor *last,
                  hs_label_attr attr);
// What another network said of the same rows, which gets no gradient from it.
// loss[n] = T^2 KL(softmax(teacher[n] / T) || softmax(logits[n] / T)) over the first `classes` columns, 0 where target is below 0 (NULL:
// every row counts). teacher f32, of the shape of the logits, whose bytes the gradient takes as xent's does.
typedef struct hs_soft_attr {
    int32_t classes, loss;
    float temperature;
} hs_soft_attr;
hs_tensor *hs_soft_targets(hs_graph *g, hs_tensor *logits, hs_tensor *teacher, hs_tensor *target, hs_soft_attr attr);
// The same of labels that are judged each by itself: T^2 x the mean over them of KL(sigmoid(teacher / T) || sigmoid(logits / T)).
hs_tensor *hs_soft_labels(hs_graph *g, hs_tensor *logits, hs_tensor *teacher, hs_tensor *target, hs_soft_attr attr);
// The same of a span: loss[b] is T^2 x the KL of where sequence b's starts, plus that of where it ends, each over its own rows; starts and
// keys (NULL: none) as span_xent has them.
typedef struct hs_soft_span_attr {
    int32_t loss;
    float temperature;
} hs_soft_span_attr;
hs_tensor *hs_soft_span(hs_graph *g, hs_tensor *logits, hs_tensor *teacher, hs_tensor *starts, hs_tensor *keys, hs_soft_span_attr attr);
// Rows that go on to other nodes, x and teacher [N, C]: 1 - the cosine of both; the mean over the columns of (x - teacher)^2.
typedef struct hs_match_attr {
    int32_t loss;
} hs_match_attr;
hs_tensor *hs_row_cosine(hs_graph *g, hs_tensor *x, hs_tensor *teacher, hs_match_attr attr);
hs_tensor *hs_row_square(hs_graph *g, hs_tensor *x, hs_tensor *teacher, hs_match_attr attr);
// loss[b] = mean over pairs, heads and rows of KL(teacher's || student's) softmax(a b^T / sqrt(d)) within sequence b, where a and b are
// query, key or value, cut into `heads` of d channels each: MiniLM's relations. qkv [N, 3C], teacher [N, 3C'], starts i32 [B + 1].
enum { HS_RELATION_QQ = 1, HS_RELATION_KK = 2, HS_RELATION_VV = 4, HS_RELATION_QK = 8 };
typedef struct hs_relation_attr {
    int32_t heads, pairs, loss; // heads: of a tensor-parallel rank's share; pairs: of the above, one or more
    int32_t ranks;              // that have a share; the builder knows
} hs_relation_attr;
hs_tensor *hs_relations(hs_graph *g, hs_tensor *qkv, hs_tensor *teacher, hs_tensor *starts, hs_relation_attr attr);

// ---- tensor parallelism: each pair is the other backwards. At size 1 the first three return x and emit nothing.
hs_tensor *hs_tp_copy(hs_graph *g, hs_tensor *x);   // y = x; backward: all-reduce. In front of what is sharded by columns
hs_tensor *hs_tp_reduce(hs_graph *g, hs_tensor *x); // all-reduce; backward: identity. Behind what is sharded by rows, before its bias
hs_tensor *hs_tp_gather(hs_graph *g, hs_tensor *x); // every rank's columns side by side; backward: this rank's
// linear_xent where w and bias have rows [first, ...) of the classes; attr.classes: of all ranks. x is every rank's (behind tp_copy), and
// so is the loss.
hs_tensor *hs_tp_linear_xent(hs_graph *g, hs_tensor *x, hs_tensor *w, hs_tensor *bias, hs_tensor *target, hs_xent_attr attr, int64_t first);
// Sequence parallelism: between the products each rank has its share of the tokens (HS_EXT_SHARE). In place of tp_reduce and tp_copy:
hs_tensor *hs_tp_reduce_rows(hs_graph *g, hs_tensor *x); // reduce-scatter of rows; backward: all-gather
hs_tensor *hs_tp_gather_rows(hs_graph *g, hs_tensor *x); // all-gather of rows; backward: reduce-scatter
hs_tensor *hs_tp_whole_rows(hs_graph *g, hs_tensor *x);  // all-gather of rows; backward: this rank's. In front of what all ranks do alike
hs_tensor *hs_tp_own_rows(hs_graph *g, hs_tensor *x);    // i32, this rank's rows; one node, however often it is asked for
hs_tensor *hs_tp_rows_like(hs_graph *g, hs_tensor *rows, const hs_tensor *x); // the same where x has a share; else rows. NULL: NULL
// Of x, a small parameter that ranks have whole, this rank's share of each of `parts` blocks of columns.
hs_tensor *hs_tp_own_cols(hs_graph *g, hs_tensor *x, int parts);
int64_t hs_tp_tokens(const hs_graph *g); // the graph's capacity in tokens

#endif
