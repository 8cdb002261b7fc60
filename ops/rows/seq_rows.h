// seq_rows: which rows are a sequence's, and how cases lay sequences out - for ops that walk one sequence after the other.
#ifndef HS_OPS_SEQ_ROWS_H
#define HS_OPS_SEQ_ROWS_H
#include "core/cpu/rows.h"

// Rows of sequence b among the live rows of x: [*first, *first + *n), of which keys (absent: NULL) may say that fewer are real. false: they
// lie outside x.
static inline bool seq_rows(const hs_args *a, const hs_ref *x, const int32_t *starts, const int32_t *keys, int64_t b, int64_t *first,
                            int64_t *n)
{
    *first = starts[b], *n = starts[b + 1] - *first;
    if (*first < 0 || *n < 0 || *first + *n > hs_ref_rows(a, x))
        return false;
    if (keys && keys[3 * b + 1] < *n)
        *n = keys[3 * b + 1] > 0 ? keys[3 * b + 1] : 0;
    return true;
}

// NULL, or what is wrong with starts and keys (may be NULL).
static inline const char *seq_refuse(const hs_tensor *starts, const hs_tensor *keys)
{
    if (starts->dtype != HS_I32 || starts->n_dims != 1 || starts->dim[0] < 2)
        return "starts must be i32 [sequences + 1]";
    if (keys && (keys->dtype != HS_I32 || keys->n_dims != 2 || keys->dim[0] != starts->dim[0] - 1 || keys->dim[1] != 3))
        return "keys must be i32 [sequences, 3]";
    return NULL;
}
// What counts sequences where starts has one more.
static inline hs_ext seq_ext(const hs_tensor *starts)
{
    return starts->ext == HS_EXT_FIXED ? HS_EXT_FIXED : HS_EXT(hs_ext_counter(starts->ext), 1, 0);
}

// ---- cases
static inline void seq_starts_packed(int32_t *starts, int64_t n, int64_t rows) // 1 row, then more and more of what is left
{
    starts[0] = 0, starts[n - 1] = (int32_t)rows;
    for (int64_t b = 1; b < n - 1; b++)
        starts[b] = (int32_t)(b * b * (rows - n) / ((n - 1) * (n - 1)) + b);
}
static inline void seq_starts_padded(int32_t *starts, int64_t n, int64_t rows) // equal rows
{
    for (int64_t b = 0; b < n; b++)
        starts[b] = (int32_t)(b * (rows / (n - 1)));
}
static inline void seq_keys_padded(int32_t *keys, int64_t seqs, int64_t rows) // of them 1, 3, 5, ... are real
{
    for (int64_t b = 0; b < seqs; b++)
        keys[3 * b] = (int32_t)(b * (rows / seqs)), keys[3 * b + 1] = (int32_t)((2 * b) % (rows / seqs) + 1), keys[3 * b + 2] = 0;
}

#endif
