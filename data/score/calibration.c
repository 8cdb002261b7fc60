// calibration: bins of confidences and of lengths.
#include "data/score/calibration.h"
#include <math.h>

void hs_calibration_add(hs_calibration *c, double confidence, bool right)
{
    const double at = ceil(confidence * HS_CALIBRATION_BINS) - 1;
    struct hs_calibration_bin *b = &c->bin[(int)fmin(fmax(at, 0), HS_CALIBRATION_BINS - 1)];
    b->n++, b->right += right, b->confidence += confidence;
    c->n++;
}

static double mean(double sum, int64_t n) { return n ? sum / (double)n : 0; }
double hs_calibration_confidence(const hs_calibration *c, int bin) { return mean(c->bin[bin].confidence, c->bin[bin].n); }
double hs_calibration_accuracy(const hs_calibration *c, int bin) { return mean((double)c->bin[bin].right, c->bin[bin].n); }

static double gap(const hs_calibration *c, int bin) { return fabs(hs_calibration_accuracy(c, bin) - hs_calibration_confidence(c, bin)); }

double hs_calibration_error(const hs_calibration *c)
{
    double sum = 0;
    for (int b = 0; b < HS_CALIBRATION_BINS; b++)
        sum += (double)c->bin[b].n * gap(c, b);
    return c->n ? sum / (double)c->n : NAN;
}

double hs_calibration_largest(const hs_calibration *c)
{
    double most = 0;
    for (int b = 0; b < HS_CALIBRATION_BINS; b++)
        most = fmax(most, gap(c, b));
    return c->n ? most : NAN;
}

int64_t hs_length_from(int bin) { return bin < 2 ? bin : ((int64_t)1 << (bin - 2)) + 1; }
int64_t hs_length_to(int bin) { return bin < 2 ? bin : (int64_t)1 << (bin - 1); }

void hs_length_add(hs_length_errors *e, int64_t length, int64_t n, double error)
{
    int bin = 0;
    while (bin + 1 < HS_LENGTH_BINS && length > hs_length_to(bin))
        bin++;
    e->bin[bin].n += n, e->bin[bin].error += error;
}
