// routes: every table of them. A new one: its file, its line here, and its line in server.c's list.
#ifndef HS_INFER_ROUTES_H
#define HS_INFER_ROUTES_H
#include "infer/server/route.h"

// An empty row is behind the last of each.
extern const hs_route hs_routes_stats[];
extern const hs_route hs_routes_oip[];
extern const hs_route hs_routes_repository[];
extern const hs_route hs_routes_infer[];
extern const hs_route hs_routes_embed[];
extern const hs_route hs_routes_metrics[];
extern const hs_route hs_routes_page[];
extern const hs_route hs_routes_task[];

#endif
