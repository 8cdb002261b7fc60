// mask_2of4: two in every four values along the input.
#include "infer/prune/prune.h"
#include <math.h>

// The pairs that may stay, in the order in which the first of equal ones is taken.
static const uint8_t pairs[6][2] = { { 0, 1 }, { 0, 2 }, { 0, 3 }, { 1, 2 }, { 1, 3 }, { 2, 3 } };

// In double: a sum of two f32 is exact there wherever it decides.
static int best_pair(const float *w)
{
    double best = -1;
    int which = 0;
    for (int k = 0; k < 6; k++) {
        const double sum = fabs((double)w[pairs[k][0]]) + fabs((double)w[pairs[k][1]]);
        if (sum > best)
            best = sum, which = k;
    }
    return which;
}

void hs_prune_2of4(float *w, int64_t rows, int64_t cols, double *magnitude, double *kept)
{
    for (int64_t i = 0; i < rows * cols; i += 4) {
        const uint8_t *stays = pairs[best_pair(w + i)];
        for (int j = 0; j < 4; j++) {
            *magnitude += fabs((double)w[i + j]);
            if (j == stays[0] || j == stays[1])
                *kept += fabs((double)w[i + j]);
            else
                w[i + j] = 0;
        }
    }
}
