// server: models, routes and HTTP put together, from the first connection to the last answer.
//
//   hs_server_start -> (requests) -> hs_server_stop
#ifndef HS_INFER_SERVER_H
#define HS_INFER_SERVER_H
#include "infer/server/heavy.h"
#include "infer/server/hub.h"
#include "infer/server/route.h"
#include "infer/server/tracer.h"

enum { HS_SERVER_MODELS = 64, HS_SERVER_TOKENS = 16, HS_SERVER_ANSWER = 64 << 20, HS_SERVER_VALUES = 1 << 18 };
typedef struct hs_server_model {
    const char *name, *path;
} hs_server_model;
typedef struct hs_server_opts { // borrowed
    hs_http_opts http;          // handler, seen and user are the server's
    hs_served_opts served;
    const hs_server_model *model; // [n_models] to begin with
    int n_models;
    const char *const *token; // [n_tokens] any of which a client must bring (Authorization: Bearer); none: nobody is asked
    int n_tokens;
    bool open_metrics;        // /metrics needs none
    size_t cache_bytes;       // of what encoders gave, kept for who asks again; 0: nothing is
    size_t most_answer;       // bytes of an answer, of its numbers as f32; 0: HS_SERVER_ANSWER
    int64_t most_values;      // of JSON in a body, where all of it is read as such; 0: HS_SERVER_VALUES
    bool control;             // clients may have models loaded, loaded anew, and unloaded
    const char *models;       // (optional) a folder whose folders may be loaded by their names
    bool access_log;          // a line of JSON on stdout for each request
    double drain_seconds;     // how long requests under way may take once the server stops
    double linger_seconds;    // how long it goes on answering before that, while it says that it is not ready
    const atomic_bool *hurry; // (optional) once it is true, hs_server_stop is done with both
    hs_tracer_opts trace;
    const char *version; // of the program
} hs_server_opts;

typedef struct hs_server {
    hs_server_opts o;
    hs_http *http;
    hs_hub *hub;
    hs_row_cache *cache; // NULL: none
    hs_tracer *tracer;
    hs_heavy *heavy;
    atomic_bool loaded;  // all that it begins with are there
    atomic_bool leaving; // not ready any more
    atomic_bool over;    // time to drain is over: what is left, and who still asks, is answered with 503
    int64_t began;       // ms since 1970
} hs_server;

// Listens, then loads the models: live at once, ready when all are there. A model that does not load ends it.
hs_status hs_server_start(hs_server *s, const hs_server_opts *o);
// Says that it is not ready, lingers, takes no more connections, waits for what is under way. *left: requests that were still not answered
// when drain_seconds were over (they are 503 then). On failure of hs_server_start too.
void hs_server_stop(hs_server *s, int64_t *left);

// ---- for routes
bool hs_server_ready(const hs_server *s); // of what clients have loaded later each says for itself whether it is
size_t hs_server_most_answer(const hs_server *s); // bytes of an answer
// The model that a request is about, held; or NULL, and it is answered: 404 where there is none of that name (version 0: any; name NULL or
// "": the first that does one of `does`), 424 where it does none of `does` (400 below /v1 and /v2).
hs_served *hs_call_model(const hs_call *c, const char *name, int version, unsigned does);
// c->trace, where it is the client's, was not asked for it yet, and its turn has come. body: of the request, for its id; may be NULL.
// Before it is answered, by whoever is told which model it is about. True: it is traced from here on, and whoever asks tells its tensors.
bool hs_call_trace(hs_call *c, const hs_served *m, const json_t *body);

#endif
