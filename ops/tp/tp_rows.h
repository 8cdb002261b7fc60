// tp_rows: rows of tokens that tensor-parallel ranks divide (sequence parallelism, Korthikanti et al. 2022, arXiv:2205.05198) - which rows
// are whose, and the two ways over the ranks that they take. Rank r has the rows from hs_share_first on; their numbers differ where they
// must.
#ifndef HS_OPS_TP_ROWS_H
#define HS_OPS_TP_ROWS_H
#include "core/cpu/rows.h"
#include "core/graph/comm.h"
#include "ops/attrs.h"

enum { TP_RANKS = 1024 };

typedef struct tp_parts {
    int64_t n, first, mine; // cells of all live rows, of those before this rank's, of this rank's
    int64_t of[TP_RANKS];
} tp_parts;

// whole: an operand of all rows.
static inline void tp_parts_of(tp_parts *p, const hs_args *a, const hs_ref *whole)
{
    const int64_t rows = hs_ref_rows(a, whole), C = whole->cols;
    const int rank = a->comm->rank, ranks = a->comm->size;
    for (int r = 0; r < ranks; r++)
        p->of[r] = (hs_share_first(rows, r + 1, ranks) - hs_share_first(rows, r, ranks)) * C;
    p->n = rows * C, p->first = hs_share_first(rows, rank, ranks) * C, p->mine = p->of[rank];
}

// This member's cells of n.
static inline void tp_copy_cells(const hs_lane *lane, char *dst, const char *src, int64_t n, hs_dtype d)
{
    int64_t i0, i1;
    hs_part_unit(lane, n, HS_BLOCK, &i0, &i1);
    const size_t each = hs_dtype_bytes(d);
    memcpy(dst + (size_t)i0 * each, src + (size_t)i0 * each, (size_t)(i1 - i0) * each);
}

// dst cells = (or +=) src cells from `from` on, n of them, this member's.
static inline void tp_store_cells(const hs_lane *lane, const hs_ref *dst, const hs_ref *src, int64_t from, int64_t n)
{
    int64_t i0, i1;
    hs_part_unit(lane, n, HS_BLOCK, &i0, &i1);
    for (int64_t i = i0; i < i1; i += HS_BLOCK) {
        const int64_t k = i1 - i < HS_BLOCK ? i1 - i : HS_BLOCK;
        float wide[HS_BLOCK];
        hs_store(dst, i, k, hs_load(src, from + i, k, wide));
    }
}

// whole = the rows of all ranks, of which `own` are this one's. By way of the scratch where it is added to or stored as another type.
static inline void tp_gather_parts(const hs_args *a, hs_lane *lane, const hs_ref *own, const hs_ref *whole)
{
    tp_parts p;
    tp_parts_of(&p, a, whole);
    const bool straight = !whole->add && own->dtype == whole->dtype;
    const hs_ref all = { .p = straight ? whole->p : a->scratch, .dtype = own->dtype };
    tp_copy_cells(lane, all.p + (size_t)p.first * hs_dtype_bytes(all.dtype), own->p, p.mine, all.dtype);
    hs_sync(lane);
    if (lane->id == 0)
        a->comm->gather_parts(a->comm, lane, all.p, p.of, all.dtype);
    hs_sync(lane);
    if (!straight)
        tp_store_cells(lane, whole, &all, 0, p.n);
}

// own = this rank's rows of the sum over ranks of `whole`, which is added up in its own type.
static inline void tp_reduce_parts(const hs_args *a, hs_lane *lane, const hs_ref *whole, const hs_ref *own)
{
    tp_parts p;
    tp_parts_of(&p, a, whole);
    const hs_ref sum = { .p = a->scratch, .dtype = whole->dtype };
    tp_copy_cells(lane, sum.p, whole->p, p.n, sum.dtype);
    hs_sync(lane);
    if (lane->id == 0)
        a->comm->reduce_parts(a->comm, lane, sum.p, p.of, sum.dtype);
    hs_sync(lane);
    tp_store_cells(lane, own, &sum, p.first, p.mine);
}

// ---- shapes: the two of them
static inline const char *tp_refuse(const hs_node *n, hs_ext ext)
{
    const hs_tp_rows_attr *at = n->attr;
    if (n->in[0]->ext != ext)
        return ext == HS_EXT_SHARE ? "x must have a rank's share of the tokens as rows" : "x must have the tokens as rows";
    if (at->ranks < 1 || at->ranks > TP_RANKS)
        return "there must be from 1 to 1024 ranks";
    return NULL;
}
static inline const char *tp_own_shape(hs_node *n)
{
    const hs_tensor *x = n->in[0];
    const int ranks = (int)((const hs_tp_rows_attr *)n->attr)->ranks;
    const char *why = tp_refuse(n, HS_EXT_TOKENS);
    if (why)
        return why;
    int64_t dim[HS_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[0] = hs_share_rows(dim[0], ranks);
    hs_shape_set(n->out[0], x->dtype == HS_I32 ? HS_I32 : HS_F32, HS_EXT_SHARE, x->n_dims, dim);
    return NULL;
}
static inline const char *tp_whole_shape(hs_node *n)
{
    const hs_tensor *x = n->in[0];
    const hs_tp_rows_attr *at = n->attr;
    const char *why = tp_refuse(n, HS_EXT_SHARE);
    if (why)
        return why;
    if (x->n_dims != 2)
        return "x must have rows and one width";
    const int64_t rows = at->rows ? at->rows : at->ranks * x->dim[0];
    if (x->dim[0] != hs_share_rows(rows, (int)at->ranks))
        return "x has another number of rows than a rank's share";
    hs_shape_set(n->out[0], HS_F32, HS_EXT_TOKENS, 2, (const int64_t[]){ rows, x->dim[1] });
    return NULL;
}

static inline hs_scratch tp_rows_scratch(const hs_tensor *whole) { return (hs_scratch){ .shared = (size_t)hs_tensor_count(whole) * 4 }; }

static const hs_attr tp_rows_attrs[] = { HS_ATTR(hs_tp_rows_attr, rows), HS_ATTR(hs_tp_rows_attr, ranks) };

#endif
