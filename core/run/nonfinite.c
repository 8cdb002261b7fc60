// nonfinite: what step mode asks after each thunk - are there infinities or NaNs in what it wrote? Read through the device, in pieces.
#include "core/base/dtype.h"
#include "core/plan/plan.h"
#include <math.h>

enum { PIECE = 8192 };

static int64_t nonfinite(hs_device *d, const int64_t *live, const hs_ref *r)
{
    if (!r->p || !hs_dtype_is_float(r->dtype) || r->dtype == HS_F64)
        return 0;
    char bytes[PIECE * sizeof(float)];
    float wide[PIECE];
    int64_t bad = 0;
    const size_t element = hs_dtype_bytes(r->dtype);
    const int64_t n = hs_ext_rows(r->ext, live, r->rows) * r->cols;
    for (int64_t i = 0, k; i < n; i += k) {
        k = n - i < PIECE ? n - i : PIECE;
        d->copy(d, bytes, r->p + (size_t)i * element, (size_t)k * element);
        hs_convert(wide, HS_F32, bytes, r->dtype, k);
        for (int64_t c = 0; c < k; c++)
            bad += !isfinite(wide[c]);
    }
    return bad;
}

int64_t hs_thunk_nonfinite(hs_device *d, const int64_t *live, const hs_thunk *t, const char **operand)
{
    if (!t->node)
        return 0;
    const hs_op *op = t->node->op;
    const int first = t->args.alone; // what lies between it and t->then, operand 0, need not have been written
    const bool own = t->backward && t->args.out[0].p && !t->args.dout[0].p; // a gradient copy and a loss write out[0]
    for (int i = first; i < HS_MAX_IN; i++) {
        const int64_t bad = t->backward ? nonfinite(d, live, &t->args.din[i]) : 0;
        if (bad) {
            *operand = op->in[i].name;
            return bad;
        }
    }
    for (int i = first; i < HS_MAX_OUT && (!t->backward || own); i++) {
        const int64_t bad = op->out[i].flags & HS_SCRATCH ? 0 : nonfinite(d, live, &t->args.out[i]);
        if (bad) {
            *operand = op->out[i].name;
            return bad;
        }
    }
    return 0;
}
