// gate: what a model that was made smaller may lose, as a line of conditions, and whether measured values meet it.
//
//   "accuracy>=0.87"   "loss<=0.36"   "accuracy drop<=0.005"   "f1>=0.8,loss drop<=0.02"
//
// Names are those of eval's line (--json). A drop is how much worse than the original: of loss and perplexity how much higher, of all else
// how much lower.
#ifndef HS_RECIPES_GATE_H
#define HS_RECIPES_GATE_H
#include "core/base/status.h"
#include <jansson.h>
#include <stdbool.h>

enum { HS_GATE_MOST = 8 };
typedef struct hs_gate_item {
    char name[64];
    bool drop, least; // drop: compared with the original; least: >=, else <=
    double bound;
} hs_gate_item;
typedef struct hs_gate {
    hs_gate_item item[HS_GATE_MOST];
    int n;
} hs_gate;

hs_status hs_gate_parse(hs_gate *g, const char *text); // USAGE: what it is not
// USAGE: eval measured nothing of that name. *miss: 0 where all is met, else by how much the worst condition is missed, in units of its
// bound; why: the first that is not met, in words.
hs_status hs_gate_judge(const hs_gate *g, const json_t *original, const json_t *now, double *miss, char *why, size_t size);
double hs_gate_drop(const char *name, double was, double is);

#endif
