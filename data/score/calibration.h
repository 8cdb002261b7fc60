// calibration: how sure a model is against how often it is right, and how often it is wrong by length. Sums that examples are added to.
#ifndef HS_DATA_CALIBRATION_H
#define HS_DATA_CALIBRATION_H
#include <stdbool.h>
#include <stdint.h>

// Bin b holds confidences in (b / 15, (b + 1) / 15], the first one 0 too (Guo et al. 2017).
enum { HS_CALIBRATION_BINS = 15 };
typedef struct hs_calibration {
    struct hs_calibration_bin {
        int64_t n, right;
        double confidence; // sum
    } bin[HS_CALIBRATION_BINS];
    int64_t n;
} hs_calibration; // {0} at first
void hs_calibration_add(hs_calibration *c, double confidence, bool right);
double hs_calibration_confidence(const hs_calibration *c, int bin); // means; 0 of an empty bin
double hs_calibration_accuracy(const hs_calibration *c, int bin);
double hs_calibration_error(const hs_calibration *c);   // ECE: sum n_b / n |accuracy - confidence|; NaN: nothing was added
double hs_calibration_largest(const hs_calibration *c); // MCE: the largest of these differences

// Bins of lengths 0, 1, 2, 3 to 4, 5 to 8, ...: each twice as wide as the one before.
enum { HS_LENGTH_BINS = 34 };
typedef struct hs_length_errors {
    struct hs_length_bin {
        int64_t n;
        double error; // sum
    } bin[HS_LENGTH_BINS];
} hs_length_errors;
void hs_length_add(hs_length_errors *e, int64_t length, int64_t n, double error); // n of them, with this sum of errors
int64_t hs_length_from(int bin);
int64_t hs_length_to(int bin);

#endif
