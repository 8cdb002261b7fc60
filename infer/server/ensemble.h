// ensemble: several models in one call, as Triton's ensembles - steps, each a model with names for what goes in and comes out. A tensor of
// the ensemble comes with the request, or out of a step; a step begins when all it takes is there, so that steps which do not wait for each
// other run at the same time.
#ifndef HS_INFER_ENSEMBLE_H
#define HS_INFER_ENSEMBLE_H
#include "infer/server/oip_model.h"
#include "infer/server/route.h"

enum { HS_ENSEMBLE_STEPS = 64, HS_ENSEMBLE_TENSORS = 32, HS_ENSEMBLE_NAME = 64 };
typedef struct hs_ensemble_step { // as it is configured
    const char *ensemble, *model;
    const char *input_map, *output_map; // "text=TEXT,text_pair=OTHER": the model's name, and the ensemble's
} hs_ensemble_step;

typedef struct hs_mapped {
    char name[HS_ENSEMBLE_NAME]; // the model's
    int tensor;                  // of the ensemble
} hs_mapped;
typedef struct hs_ensemble_part { // a step that was read
    char model[HS_SERVED_NAME];
    hs_mapped in[HS_INFER_TENSORS], out[HS_INFER_TENSORS];
    int n_in, n_out;
} hs_ensemble_part;
typedef struct hs_ensemble_tensor {
    char name[HS_ENSEMBLE_NAME];
    int step;            // that puts it out; -1: it comes with the request
    hs_oip_tensor about; // its name is the one above
} hs_ensemble_tensor;
struct hs_ensemble {
    hs_ensemble_part part[HS_ENSEMBLE_STEPS];
    int n_parts;
    hs_ensemble_tensor tensor[HS_ENSEMBLE_TENSORS];
    int n_tensors;
};

bool hs_ensemble_known(const hs_served_opts *o, const char *name);
// Its steps are those of o->step that say so. Models are looked up (o->find): USAGE, in one line, where one is not there, a tensor is not
// the model's or of another type than what takes it, or steps wait for each other.
hs_status hs_ensemble_open(struct hs_ensemble **out, const char *name, const hs_served_opts *o);
bool hs_ensemble_has(const struct hs_ensemble *e, const char *model);            // one of its steps is that
bool hs_ensemble_same(const struct hs_ensemble *e, const struct hs_ensemble *f); // their tensors are
int hs_ensemble_find(const struct hs_ensemble *e, const char *name);             // a tensor of that name, each has its own; -1: none
void hs_ensemble_oip(const struct hs_ensemble *e, hs_oip_model *o); // inputs: what no step puts out; outputs: all that steps do

// An inference request about it. Takes m over, and r's head; answers, or c->inner does.
void hs_ensemble_ask(const hs_call *c, hs_served *m, hs_infer_request *r);

#endif
