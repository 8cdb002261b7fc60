// metrics_text: lines of Prometheus' text format, for whoever writes some of /metrics.
#ifndef HS_INFER_METRICS_TEXT_H
#define HS_INFER_METRICS_TEXT_H
#include "data/base/json_util.h"
#include "infer/server/hub.h"

void hs_metrics_begin(hs_text *t, const char *name, const char *type, const char *help);
void hs_metrics_labels(hs_text *t, const hs_served *m); // `{model="NAME",version="1"`: open, for more of them
// Of a model; more: labels behind its own, as `,stage="all"`, or "".
void hs_metrics_seconds(hs_text *t, const char *name, const hs_served *m, const char *more, const hs_latency *l);
void hs_metrics_amounts(hs_text *t, const char *name, const hs_served *m, const char *more, const hs_amounts *a);

// Of encoders, under the names and with the words of text-embeddings-inference; its own server has one model, ours says which.
void hs_metrics_tei(hs_text *t, hs_hub *hub);

#endif
