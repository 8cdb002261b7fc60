// opfacts: what shape rules and tables share.
#include "core/graph/op.h"

void hs_shape_set(hs_tensor *out, hs_dtype d, hs_ext ext, int n_dims, const int64_t *dim)
{
    out->dtype = d;
    out->ext = ext;
    out->n_dims = (uint8_t)n_dims;
    for (int i = 0; i < HS_MAX_DIMS; i++)
        out->dim[i] = i < n_dims ? dim[i] : 0;
}

void hs_shape_like(hs_tensor *out, const hs_tensor *in) { hs_shape_set(out, HS_F32, in->ext, in->n_dims, in->dim); }

void hs_shape_rows(hs_tensor *out, const hs_tensor *rows_of, int64_t cols)
{
    hs_shape_set(out, HS_F32, rows_of->ext, cols ? 2 : 1, (const int64_t[]){ rows_of->dim[0], cols });
}

static int count(const hs_operand *operand, int max)
{
    int n = 0;
    while (n < max && operand[n].name)
        n++;
    return n;
}

int hs_op_n_in(const hs_op *op) { return count(op->in, HS_MAX_IN); }
int hs_op_n_out(const hs_op *op) { return count(op->out, HS_MAX_OUT); }
