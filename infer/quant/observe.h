// observe: what products of a model multiply, while calibration data run through it - a histogram of x for each weight, and where it is
// asked for the magnitudes of x by channel and X^T X. One pass, memory that does not grow with the data.
//
//   hs_observer_new -> hs_observer_watch(o, device): runs of the device in HS_SUBMIT_STEP are seen -> hs_observer_of(o, param id)
//
// The model is one whose products read values (not codes), on a device whose memory the host reads through hs_device.copy.
#ifndef HS_INFER_OBSERVE_H
#define HS_INFER_OBSERVE_H
#include "core/graph/params.h"
#include "core/run/device.h"
#include "infer/quant/gram.h"
#include "infer/quant/histogram.h"

typedef struct hs_observed { // of the x that one weight [out, in] multiplies, over all products that read it
    hs_histogram *x;         // with `in` channels where they are asked for
    int64_t in;
    hs_gram *gram; // X^T X; NULL: not asked for
    float shrink;  // the largest |x| as it is now over that in the histogram: 1, unless channels were folded (fold.h)
} hs_observed;

typedef struct hs_observer_opts {
    bool gram;     // X^T X (GPTQ, AWQ): 4 in^2 bytes for each weight
    bool channels; // mean and largest |x| of every channel (SmoothQuant, AWQ)
} hs_observer_opts;

typedef struct hs_observer hs_observer;
hs_status hs_observer_new(hs_observer **out, const hs_params *ps, const hs_observer_opts *o); // ps: borrowed
void hs_observer_free(hs_observer *o);
void hs_observer_watch(hs_observer *o, hs_device *d);           // sets the device's hook; NULL: watches no more
hs_status hs_observer_end(const hs_observer *o);                // what went wrong while it watched: a value that is no number, no memory
hs_observed *hs_observer_at(hs_observer *o, const hs_param *p); // the same, to be changed
const hs_observed *hs_observer_of(const hs_observer *o, const hs_param *p); // NULL: no product has read it

#endif
