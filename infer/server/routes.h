// routes: every table of them. A new one: its file, its line here, and its line in server.c's list.
#ifndef HS_INFER_ROUTES_H
#define HS_INFER_ROUTES_H
#include "infer/server/route.h"

// A route that a model is chosen for by "model" in the body, or by /models/NAME in front of it (hs_body_model).
#define HS_HERE_AND_BY_NAME(path, function)                                                                                                \
    { .method = "POST", .pattern = path, .run = function }, { .method = "POST", .pattern = "/models/{}" path, .run = function }

// An empty row is behind the last of each.
extern const hs_route hs_routes_stats[];
extern const hs_route hs_routes_oip[];
extern const hs_route hs_routes_repository[];
extern const hs_route hs_routes_infer[];
extern const hs_route hs_routes_embed[];
extern const hs_route hs_routes_metrics[];
extern const hs_route hs_routes_page[];
extern const hs_route hs_routes_task[];
extern const hs_route hs_routes_tokens[];
extern const hs_route hs_routes_masks[];
extern const hs_route hs_routes_openai[];
extern const hs_route hs_routes_generate[];
extern const hs_route hs_routes_trace[];
extern const hs_route hs_routes_tei[];

// What "/" and "/embeddings" answer with too.
void hs_route_embed(hs_call *c);
void hs_route_openai_embeddings(hs_call *c);
void hs_route_predict(hs_call *c);
void hs_route_rerank(hs_call *c);

#endif
