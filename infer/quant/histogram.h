// histogram: what a tensor held over all of the calibration data, in one pass and in constant memory: counts of |x| in bins of one width,
// the range, and, where asked for, mean and largest |x| of every channel. A scale is made of it by infer/quant/calibrate.h.
//
//   bin i counts  i w <= |x| < (i + 1) w;  the last, n - 1, |x| = n w as well
//
// w is 1 / 2,048 of the largest |x| of the first batch that is not all zeros, as in TensorRT's pytorch-quantization. A later batch that
// goes beyond n w adds whole bins of the same width. Where they would be more than HS_HISTOGRAM_MOST (an |x| 16 times that of the first
// batch), neighbours are joined and w doubles, until they are not: memory stays bounded whatever comes. Which bin a value falls in is
// exact, so counts are the same on every machine, and in whatever order rows of one batch come.
#ifndef HS_INFER_HISTOGRAM_H
#define HS_INFER_HISTOGRAM_H
#include "core/base/status.h"
#include <stdint.h>

enum { HS_HISTOGRAM_BINS = 2048, HS_HISTOGRAM_MOST = 16 * HS_HISTOGRAM_BINS };

typedef struct hs_histogram {
    double width;          // w; 0: all values so far are zero, and bin 0 has them
    int n_bins;            // HS_HISTOGRAM_BINS at first
    uint64_t *bin;         // [n_bins]
    uint64_t count;        // of values; bins add up to it
    float lowest, highest; // of x, signed; 0 while there are none
    int64_t channels;      // 0: not asked for
    uint64_t rows;         // of which channels are: mean |x| of channel c is channel_sum[c] / rows
    double *channel_sum;   // [channels] of |x|
    float *channel_max;    // [channels] of |x|
    // its own
    uint32_t *scratch;
    int room; // bins that there is memory for
} hs_histogram;

// channels: columns that are looked at one by one, too; 0: none. MEMORY.
hs_status hs_histogram_new(hs_histogram **out, int64_t channels);
void hs_histogram_free(hs_histogram *h); // NULL: nothing

// One batch: x [rows][cols], cols == channels where there are any. A batch of no values is none.
// NONFINITE: the first NaN or Inf, by `name` (of the tensor, for messages), row and column; nothing of the batch is counted then.
// USAGE: cols is not channels. MEMORY.
hs_status hs_histogram_add(hs_histogram *h, const float *x, int64_t rows, int64_t cols, const char *name);

// What another one saw is seen by this one, too (of another rank, another thread). Of two widths the larger stays, and a bin of the other
// is counted where its centre falls; at equal widths - all ranks began with the same batch - it is exactly what one would have counted that
// saw both. USAGE: other channels. MEMORY.
hs_status hs_histogram_merge(hs_histogram *into, const hs_histogram *from);

// The largest |x|: exact, not a bin's edge.
float hs_histogram_most(const hs_histogram *h);

#endif
