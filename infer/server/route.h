// route: from a request to the function that answers it, by tables of method and pattern.
//
//   const hs_route hs_routes_health[] = { { "GET", "/v2/health/live", live }, { "POST", "/v2/models/{}/infer", infer }, { 0 } };
//
// A segment of {} matches any one segment, and is an argument. Method and path that no table has are 405 (with Allow) and 404.
#ifndef HS_INFER_ROUTE_H
#define HS_INFER_ROUTE_H
#include "data/base/json_util.h"
#include "infer/server/http.h"
#include <jansson.h>
#include <stdbool.h>

struct hs_server;
struct hs_infer_value;
struct hs_traced;
enum { HS_ROUTE_ARGS = 3, HS_ROUTE_ARG_BYTES = 128 };

// Who takes what comes of a call within a request, instead of the client: one of the two, once. Borrowed for the call.
typedef struct hs_call_inner hs_call_inner;
struct hs_call_inner {
    int64_t began; // hs_now_ns
    void (*values)(hs_call_inner *i, const struct hs_infer_value *v, int n);
    void (*failed)(hs_call_inner *i, int http, const char *why);
};

typedef struct hs_call { // the handler's copy: it may be kept by value
    struct hs_server *server;
    hs_http_request *http;
    char arg[HS_ROUTE_ARGS][HS_ROUTE_ARG_BYTES];
    hs_call_inner *inner;    // NULL: the client
    struct hs_traced *trace; // NULL: it is not traced. Not touched any more once it is answered
    bool counted;            // among the requests of which some are traced
} hs_call;

typedef struct hs_route {
    const char *method, *pattern;
    void (*run)(hs_call *c); // answers, or hands on to who will
    bool open;               // also without the server's token: probes
    bool metrics;            // that too, where the server's open_metrics says so
} hs_route;

int64_t hs_call_began(const hs_call *c); // hs_now_ns, its body there
// The route of a request, its arguments in c; or NULL, and it is answered.
const hs_route *hs_route_find(const hs_route *const *tables, int n, hs_call *c);

bool hs_call_of_openai(const hs_call *c); // below /v1, and /embeddings

// ---- answers. An error has the form that clients of that path know: of OpenAI, of Triton below /v2, else of TEI.
void hs_call_fail(const hs_call *c, int http, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
// hs_error of this thread: USAGE and NONFINITE are the request's fault (400, 422), the others the server's.
void hs_call_fail_status(const hs_call *c, hs_status st);
// 200 with a text that was built up, which is empty then; 503 where memory was short. type: of hs_http_answer.
void hs_call_send(const hs_call *c, const char *type, hs_text *t);
json_t *hs_call_quoted(const char *s);                        // a string of it, whatever bytes were quoted in it
void hs_call_json(const hs_call *c, int http, json_t *value); // takes it over
// The body as a JSON value; duplicates of keys, depth and what follows it are refused. NULL: it is answered.
json_t *hs_call_body(const hs_call *c);

// What any request may say of itself in its head, where its body does not: X-Request-Priority, 1 (the highest) to 1,000,000, and
// X-Request-Timeout-Ms, how long it may wait for the model. What is not there leaves *priority and *timeout_us as they are. USAGE.
hs_status hs_call_rank(const hs_call *c, int64_t *priority, int64_t *timeout_us);

// A browser says which page asks (Origin); true also where nobody does. For what changes the server: any page may post to any address.
bool hs_call_of_own_page(const hs_call *c);

#endif
