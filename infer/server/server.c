// server: the door. Tokens, routes, counting, and the order in which things end.
#include "infer/server/server.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "data/base/json_util.h"
#include "infer/server/ensemble.h"
#include "infer/server/routes.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static const hs_route *const hs_routes[] = {
    hs_routes_stats, hs_routes_oip,    hs_routes_repository, hs_routes_infer,  hs_routes_embed,    hs_routes_metrics, hs_routes_page,
    hs_routes_task,  hs_routes_tokens, hs_routes_masks,      hs_routes_openai, hs_routes_generate, hs_routes_trace,
    hs_routes_tei,
};

// ---- requests

// Of equal length in constant time; a length is no secret.
static bool same_secret(const char *a, const char *b)
{
    const size_t n = strlen(a);
    unsigned differs = 0;
    if (n != strlen(b))
        return false;
    for (size_t i = 0; i < n; i++)
        differs |= (unsigned)(a[i] ^ b[i]);
    return !differs;
}

static bool allowed(const hs_server *s, const hs_call *c)
{
    const char *given = hs_http_header(c->http, "Authorization");
    bool ok = s->o.n_tokens == 0;
    if (given && strncasecmp(given, "Bearer ", 7) == 0)
        for (int i = 0; i < s->o.n_tokens; i++)
            ok |= same_secret(given + 7, s->o.token[i]);
    return ok;
}

static void on_request(hs_http_request *r, void *user)
{
    hs_server *s = user;
    hs_call c = { .server = s, .http = r };
    const char *id = hs_http_header(r, "X-Request-Id");
    if (id && strlen(id) < 128)
        hs_http_add_header(r, "X-Request-Id", id);
    const hs_route *route = hs_route_find(hs_routes, HS_COUNT(hs_routes), &c);
    if (!route)
        return;
    const bool open = route->open || (route->metrics && s->o.open_metrics);
    if (!open && !allowed(s, &c)) {
        hs_http_add_header(r, "WWW-Authenticate", "Bearer");
        hs_call_fail(&c, 401, "a bearer token of this server is wanted");
        return;
    }
    size_t bytes;
    hs_http_body(r, &bytes);
    if (bytes < HS_HEAVY_BYTES || !hs_heavy_add(s->heavy, route, &c))
        route->run(&c);
}

// A client may send any bytes; a line is JSON all the same.
static void add_said(hs_text *line, const char *said)
{
    hs_text clean = { 0 };
    hs_text_utf8(&clean, said, strlen(said));
    line->failed |= clean.failed;
    hs_text_quote(line, clean.p ? clean.p : "", clean.n);
    hs_text_free(&clean);
}

// A line for each request, whole in one write.
static void on_seen(const hs_http_seen *x, void *user)
{
    const hs_server *s = user;
    struct timespec t;
    struct tm tm;
    char when[40];
    hs_text line = { 0 };
    if (!s->o.access_log)
        return;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    hs_text_add(&line, "{\"time\": \"%s.%03ldZ\", \"client\": \"%s\", \"method\": ", when, t.tv_nsec / 1000000, x->client);
    add_said(&line, x->method);
    hs_text_add(&line, ", \"path\": ");
    add_said(&line, x->path);
    hs_text_add(&line, ", \"status\": %d, \"received\": %zu, \"sent\": %zu, \"ms\": %.3f", x->status, x->received, x->sent,
                (double)x->ns / 1e6);
    if (x->id) {
        hs_text_add(&line, ", \"id\": ");
        add_said(&line, x->id);
    }
    hs_text_add(&line, "}\n");
    if (!line.failed) {
        fwrite(line.p, 1, line.n, stdout);
        fflush(stdout);
    }
    hs_text_free(&line);
}

static void on_noted(void *note, const hs_http_times *t, void *user)
{
    (void)user;
    hs_traced *r = note;
    hs_traced_at(r, HS_TRACE_HTTP_RECV_START, t->arrived);
    hs_traced_at(r, HS_TRACE_HTTP_RECV_END, t->handed);
    hs_traced_at(r, HS_TRACE_HTTP_SEND_START, t->answered);
    hs_traced_at(r, HS_TRACE_HTTP_SEND_END, t->over);
    if (t->status >= 400 && t->status < 500)
        hs_traced_refused(r);
    hs_traced_end(r);
}

bool hs_call_trace(hs_call *c, const hs_served *m, const json_t *body)
{
    if (c->inner || c->counted)
        return false;
    c->counted = true;
    if (!(c->trace = hs_tracer_sample(c->server->tracer, m->name, m->version)))
        return false;
    const char *id = json_string_value(json_object_get(body, "id"));
    hs_traced_request_id(c->trace, id ? id : hs_http_header(c->http, "X-Request-Id"));
    hs_http_set_note(c->http, c->trace);
    return true;
}

bool hs_server_ready(const hs_server *s) { return atomic_load(&s->loaded) && !atomic_load(&s->leaving); }

size_t hs_server_most_answer(const hs_server *s) { return s->o.most_answer ? s->o.most_answer : HS_SERVER_ANSWER; }

hs_served *hs_call_model(const hs_call *c, const char *name, int version, unsigned does)
{
    hs_served *m = hs_hub_find(c->server->hub, name, version, does);
    if (m && m->does & does)
        return m;
    if (!m) {
        if (atomic_load(&c->server->over))
            hs_call_fail(c, 503, "the server stops");
        else if (name && name[0] && version)
            hs_call_fail(c, 404, "there is no version %d of a model '%s' here", version, name);
        else if (name && name[0])
            hs_call_fail(c, 404, "there is no model '%s' here", name);
        else
            hs_call_fail(c, 404, "no model here does that");
        return NULL;
    }
    const bool tei = !hs_call_of_openai(c) && strncmp(hs_http_path(c->http), "/v2", 3) != 0; // which has 424 for it
    hs_call_fail(c, tei ? 424 : 400, "'%s' is not a model that does that", m->name);
    hs_served_let_go(m);
    return NULL;
}

// ---- life

hs_status hs_server_start(hs_server *s, const hs_server_opts *o)
{
    struct timespec t;
    *s = (hs_server){ .o = *o };
    clock_gettime(CLOCK_REALTIME, &t);
    s->began = t.tv_sec * 1000 + t.tv_nsec / 1000000;
    s->o.http.handler = on_request, s->o.http.seen = on_seen, s->o.http.noted = on_noted, s->o.http.user = s;
    HS_TRY(hs_tracer_new(&s->tracer, &o->trace));
    if (o->cache_bytes)
        HS_TRY(hs_row_cache_new(&s->cache, o->cache_bytes));
    s->o.served.cache = s->cache;
    HS_TRY(hs_heavy_new(&s->heavy, o->http.threads));
    HS_TRY(hs_hub_new(&s->hub, &s->o.served));
    HS_TRY(hs_http_start(&s->http, &s->o.http));
    for (int i = 0; i < o->n_models; i++) {
        HS_TRY(hs_hub_load_now(s->hub, o->model[i].name, o->model[i].path));
        hs_served *m = hs_hub_find(s->hub, o->model[i].name, 0, 0);
        if (m) // no client has unloaded it
            hs_info("%s: ready after %.0f ms", m->name, 1e3 * m->load_seconds);
        hs_served_let_go(m);
    }
    for (int i = 0; i < o->served.n_steps; i++) {
        const char *name = o->served.step[i].ensemble;
        int first = 0;
        while (strcmp(o->served.step[first].ensemble, name) != 0)
            first++;
        if (first == i)
            HS_TRY(hs_hub_load_now(s->hub, name, "ensemble"));
    }
    atomic_store(&s->loaded, true);
    return HS_OK;
}

static const double QUIET_SECONDS = 0.5; // of a draining server: as long as a client takes between an answer and its next request

static void nap(void) { nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL); }

static bool hurries(const hs_server *s) { return s->o.hurry && atomic_load(s->o.hurry); }

static void linger(const hs_server *s)
{
    for (const double end = hs_now() + s->o.linger_seconds; hs_now() < end && !hurries(s);)
        nap();
}

// For all that was handed over to be answered. A client that keeps its connection may be between two requests: it has been told nothing
// yet, so that there is an end only where no connection lives, or nobody has asked for so long. quiet 0: all are being answered with 503,
// which takes no time that could be saved.
static void wait_for_answers(const hs_server *s, double seconds, double quiet)
{
    const double end = hs_now() + seconds;
    uint64_t taken = hs_http_taken(s->http);
    for (double last = hs_now(), now = last; now < end; nap(), now = hs_now()) {
        if (quiet > 0 && hurries(s))
            return;
        const uint64_t n = hs_http_taken(s->http);
        if (hs_http_under_way(s->http) > 0 || n != taken)
            last = now, taken = n;
        else if (!hs_http_connections(s->http) || now - last >= quiet)
            break;
    }
}

void hs_server_stop(hs_server *s, int64_t *left)
{
    atomic_store(&s->leaving, true);
    *left = 0;
    if (s->http) {
        linger(s);
        hs_http_quiesce(s->http);
        wait_for_answers(s, s->o.drain_seconds, QUIET_SECONDS);
        *left = hs_http_under_way(s->http);
    }
    atomic_store(&s->over, true);
    if (s->hub)
        hs_hub_close(s->hub); // ends what still waits; connections that live go on asking
    if (s->http)
        wait_for_answers(s, 1, 0); // the last ones go out
    hs_heavy_stop(s->heavy);
    hs_http_stop(s->http);
    hs_heavy_free(s->heavy);
    hs_hub_free(s->hub);
    hs_tracer_free(s->tracer);
    hs_row_cache_free(s->cache);
    s->http = NULL, s->heavy = NULL, s->hub = NULL, s->cache = NULL, s->tracer = NULL;
}
