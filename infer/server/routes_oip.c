// routes_oip: the Open Inference Protocol v2, as Triton serves it.
#include "infer/server/routes.h"
#include "infer/server/server.h"

static bool is_ready(const hs_server *s) { return !atomic_load(&s->leaving) && hs_hub_ready(s->hub); }

static void live(hs_call *c) { hs_call_json(c, 200, json_pack("{s:b}", "live", 1)); }

static void ready(hs_call *c)
{
    const bool yes = is_ready(c->server);
    hs_call_json(c, yes ? 200 : 503, json_pack("{s:b}", "ready", yes));
}

static void metadata(hs_call *c)
{
    hs_call_json(c, 200, json_pack("{s:s, s:s, s:[]}", "name", "halfstep", "version", c->server->o.version, "extensions"));
}

const hs_route hs_routes_oip[] = {
    { .method = "GET", .pattern = "/v2/health/live", .run = live, .open = true },
    { .method = "GET", .pattern = "/v2/health/ready", .run = ready, .open = true },
    { .method = "GET", .pattern = "/health", .run = ready, .open = true },
    { .method = "GET", .pattern = "/v2", .run = metadata },
    { 0 },
};
