// seq_rows: which rows are a sequence's, for kernels on CUDA; the same as seq_rows.h.
#ifndef HS_OPS_SEQ_ROWS_CUDA_H
#define HS_OPS_SEQ_ROWS_CUDA_H
#include "core/cuda/gpu.cuh"

struct seq_rows {
    const int32_t *starts, *keys; // keys: NULL where rows are not padded
    // Rows of sequence b among the live rows of x: [first, first + n), of which keys may say that fewer are real. false: they lie outside
    // x.
    __device__ bool of(int64_t b, int64_t live, int64_t &first, int64_t &n) const
    {
        first = starts[b], n = starts[b + 1] - first;
        if (first < 0 || n < 0 || first + n > live)
            return false;
        if (keys && keys[3 * b + 1] < n)
            n = keys[3 * b + 1] > 0 ? keys[3 * b + 1] : 0;
        return true;
    }
    // The sequence that row n is of: the last of `seqs` that begins at n or before; -1: none does.
    __device__ int64_t with(int64_t row, int64_t seqs) const
    {
        int64_t lo = 0, hi = seqs;
        while (lo < hi) {
            const int64_t mid = (lo + hi) / 2;
            if (starts[mid] <= row)
                lo = mid + 1;
            else
                hi = mid;
        }
        return lo - 1;
    }
};

#endif
