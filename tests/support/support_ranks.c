// support_ranks: walks over stored parameters by their marks.
#include "tests/support/support_ranks.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <string.h>

double relative(const distance *d) { return sqrt(d->off / d->size); }

bool compare_shard(distance *d, const hs_params *ps, const float *slab, const hs_params *one, const float *whole)
{
    bool same = true;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i], *q = one->param[i];
        const int64_t rows = p->dim[0] / p->parts, cols = p->n_dims > 1 ? p->dim[1] : 1;
        const int64_t all_rows = p->logical[0] / p->parts, all_cols = p->n_dims > 1 ? p->logical[1] : 1, q_rows = q->dim[0] / q->parts;
        const size_t at = flat_at(ps, p), from = flat_at(one, q);
        for (int64_t part = 0; part < p->parts; part++)
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < cols; c++) {
                    const int64_t row = p->shard == HS_SHARD_COL ? ps->tp_rank * rows + r : r;
                    const int64_t col = p->shard == HS_SHARD_ROW ? ps->tp_rank * cols + c : c;
                    const float x = slab[at + (size_t)((part * rows + r) * cols + c)];
                    const float y = row < all_rows ? whole[from + (size_t)((part * q_rows + row) * all_cols + col)] : 0;
                    same &= x == y;
                    if (p->parts == 3 && p->role == HS_BIAS && part == 1)
                        continue;
                    d->off += pow((double)x - (double)y, 2), d->size += pow((double)y, 2);
                }
    }
    return same;
}

void sum_shares(const hs_params *ps, float *const *grad, int ranks)
{
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const size_t at = flat_at(ps, p);
        for (size_t k = at; p->grad_of == HS_GRAD_PART && k < at + p->n; k++) {
            double sum = 0;
            for (int r = 0; r < ranks; r++)
                sum += (double)grad[r][k];
            for (int r = 0; r < ranks; r++)
                grad[r][k] = (float)sum;
        }
    }
}

const char *differs(const hs_params *ps, const float *a, const float *b)
{
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const size_t at = flat_at(ps, p);
        if (p->shard == HS_SHARD_NONE && memcmp(a + at, b + at, p->n * sizeof *a))
            return p->name;
    }
    return NULL;
}
