// xent_rows: softmax, loss and gradient of one row of logits, which xent and linear_xent share.
//
// e^(x - max) is made once: the first pass over a row keeps it in f32, block by block beside the maximum known then, and the
// second scales it into the gradient. Written twice by a polynomial it cost more than both passes over memory.
#ifndef HS_OPS_XENT_ROWS_H
#define HS_OPS_XENT_ROWS_H
#include "core/cpu/rows.h"
#include "core/cpu/vmath.h"
#include "ops/ops.h"

static const hs_attr xent_attrs[] = { HS_ATTR(hs_xent_attr, classes), HS_ATTR(hs_xent_attr, ignore), HS_ATTR(hs_xent_attr, loss),
                                      HS_ATTR(hs_xent_attr, smoothing) };

typedef struct xent_work { // in a member's scratch, for rows of V columns; unused, so NULL, where no gradient is made
    float *exp;            // [V] e^(x - shift)
    float *shift;          // [blocks] what was the largest so far
} xent_work;

static inline int64_t xent_blocks(int64_t V) { return (V + HS_BLOCK - 1) / HS_BLOCK; }
static inline size_t xent_work_bytes(int64_t V) { return hs_row_bytes(V) + hs_row_bytes(xent_blocks(V)); }
static inline xent_work xent_work_at(char *scratch, int64_t V)
{
    return (xent_work){ (float *)scratch, (float *)(scratch + hs_row_bytes(V)) };
}

// What one pass over a row finds: the largest, the sum of e^(x - max), the plain sum.
typedef struct xent_sums {
    float max, exp, plain;
} xent_sums;

// Block after block while it is in the first-level cache; a new maximum rescales what was summed before.
static inline xent_sums xent_read(const hs_ref *logits, int64_t first, int64_t K, bool plain, const xent_work *w)
{
    xent_sums s = { -INFINITY, 0, 0 };
    float wide[HS_BLOCK], here[HS_BLOCK];
    for (int64_t c0 = 0; c0 < K; c0 += HS_BLOCK) {
        const int64_t k = K - c0 < HS_BLOCK ? K - c0 : HS_BLOCK;
        const float *x = hs_load(logits, first + c0, k, wide);
        const float max = hs_max(x, k, s.max), shift = max > -INFINITY ? max : 0; // all -Inf so far: e^-Inf, not NaN
        float sum = 0, *restrict e = w->exp ? w->exp + c0 : here;
        HS_SIMD_SUM(sum)
        for (int64_t c = 0; c < k; c++) {
            e[c] = hs_expf_below(x[c] - shift);
            sum += e[c];
        }
        if (w->shift)
            w->shift[c0 / HS_BLOCK] = shift;
        s.exp = s.exp * hs_expf_below(s.max - shift) + sum;
        s.max = max;
        if (plain)
            s.plain += hs_sum(x, k);
    }
    return s;
}

// k * e^(x - max) - base over the first K columns, 0 over the rest.
static inline void xent_write(const hs_ref *logits, int64_t first, int64_t K, float max, float k, float base, const xent_work *w)
{
    const int64_t V = logits->cols;
    float buf[HS_BLOCK];
    for (int64_t c0 = 0; c0 < V; c0 += HS_BLOCK) {
        const int64_t n = V - c0 < HS_BLOCK ? V - c0 : HS_BLOCK, live = k == 0 || K < c0 ? 0 : K - c0 < n ? K - c0 : n;
        float *restrict d = hs_dest(logits, first + c0, buf);
        const float *e = w->exp + c0, factor = live ? k * hs_expf_below(w->shift[c0 / HS_BLOCK] - max) : 0;
        HS_SIMD
        for (int64_t c = 0; c < live; c++)
            d[c] = e[c] * factor - base;
        memset(d + live, 0, (size_t)(n - live) * sizeof(float));
        hs_store(logits, first + c0, n, d);
    }
}

// inv_count * S: what the gradient of every loss is multiplied by
static inline float xent_factor(const hs_args *a, const hs_xent_attr *at) { return a->step->inv_count[at->loss] * a->state->scale; }

// The loss of the row of logits that begins at cell `first`; where there is work space its gradient takes the row's bytes.
static inline float xent_row(const hs_ref *logits, int64_t first, int32_t t, const hs_xent_attr *at, float factor, const xent_work *w)
{
    const int64_t K = at->classes;
    const float e = at->smoothing;
    float one;
    if (t == at->ignore) {
        if (w->exp)
            xent_write(logits, first, K, 0, 0, 0, w);
        return 0;
    }
    const xent_sums s = xent_read(logits, first, K, e > 0, w);
    const bool inside = t >= 0 && t < K;
    const float lse = s.max + logf(s.exp), x_t = inside ? *hs_load(logits, first + t, 1, &one) : NAN;
    if (w->exp) {
        // Divided by the sum, not by e^lse: near 10 the rounding of lse alone is 5e-7 of every p.
        xent_write(logits, first, K, inside ? s.max : NAN, factor / s.exp, factor * e / (float)K, w);
        // The target's own cell anew, in f32: a low type would have rounded p before 1 is taken away.
        if (inside)
            hs_store(logits, first + t, 1, &(float){ factor * (hs_expf_below(x_t - s.max) / s.exp - (1 - e) - e / (float)K) });
    }
    return lse - (1 - e) * x_t - e * (s.plain / (float)K);
}

#endif
