// routes: every table of them. A new one: its file, its line here, and its line in server.c's list.
#ifndef HS_INFER_ROUTES_H
#define HS_INFER_ROUTES_H
#include "infer/server/route.h"

extern const hs_route hs_routes_oip[], hs_routes_stats[], hs_routes_repository[], hs_routes_infer[], hs_routes_embed[],
    hs_routes_metrics[], hs_routes_page[]; // an empty row behind the last of each

#endif
