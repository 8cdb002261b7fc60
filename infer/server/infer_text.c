// infer_text: inference of models that continue texts. A client's request is one within itself: what a text_request gives, as tensors.
#include "core/base/clock.h"
#include "data/base/utf8.h"
#include "infer/server/infer_ask.h"
#include "infer/server/text_request.h"
#include <stdlib.h>
#include <string.h>

typedef struct client { // who asks by HTTP
    hs_call_inner inner;
    hs_call call;
    hs_served *m; // held
    char *id;
    hs_infer_output how;
    bool binary;
} client;

static void free_client(client *x)
{
    hs_served_let_go(x->m);
    free(x->id), free(x);
}

static void on_values(hs_call_inner *inner, const hs_infer_value *v, int n)
{
    client *x = (client *)inner;
    hs_infer_value out = v[0];
    out.binary = x->how.binary >= 0 ? x->how.binary : x->binary;
    hs_infer_send(&x->call, &(hs_infer_answer){ .model = x->m->name, .version = x->m->version, .id = x->id, .out = &out, .n_out = n });
    free_client(x);
}

static void on_failed(hs_call_inner *inner, int http, const char *why)
{
    client *x = (client *)inner;
    hs_call_fail(&x->call, http, "%s", why);
    free_client(x);
}

static client *new_client(const hs_call *c, hs_served *m, const hs_infer_request *r)
{
    client *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (client){ .inner = { .began = hs_http_arrived(c->http), .values = on_values, .failed = on_failed },
                   .call = *c,
                   .binary = r->binary,
                   .how = { .binary = -1 } };
    if (r->n_out)
        x->how = r->out[0];
    x->m = hs_served_hold(m);
    x->id = r->id ? strdup(r->id) : NULL;
    return x;
}

// ---- the request

static hs_status check(const hs_infer_request *r)
{
    for (int i = 0; i < r->n_in; i++)
        if (strcmp(r->in[i].name, "text_input") != 0)
            return HS_FAIL(USAGE, "the model has no input '%.64s'", r->in[i].name);
    for (int i = 0; i < r->n_out; i++)
        if (strcmp(r->out[i].name, "text_output") != 0)
            return HS_FAIL(USAGE, "the model has no output '%.64s'", r->out[i].name);
    if (r->in[0].n != 1)
        return HS_FAIL(USAGE, "input 'text_input' has %lld texts: one is continued at a time", (long long)r->in[0].n);
    return r->n_out && r->out[0].classes ? HS_FAIL(USAGE, "output 'text_output' has no classes") : HS_OK;
}

// It may be given back in JSON, and as a string.
static hs_status check_text(const hs_infer_text *t)
{
    const size_t bad = hs_utf8_find_bad(t->p, t->n, 0);
    return bad == t->n ? HS_OK : HS_FAIL(USAGE, "input 'text_input' is not UTF-8, or has a NUL, at byte %zu", bad);
}

static hs_status read_params(hs_text_request *q)
{
    static const char *const skip[] = { "binary_data_output", "headers", "truncate", NULL }; // not the text's
    const json_t *p = json_object_get(q->body, "parameters");
    if (json_is_object(p))
        HS_TRY(hs_text_params_read(&q->p, p, HS_TEXT_GENERATE, skip));
    return q->p.stream ? HS_FAIL(USAGE, "infer gives one answer: generate_stream streams") : HS_OK;
}

static const hs_protocol form = { .of = HS_TEXT_GENERATE, .id = "" };

void hs_infer_ask_text(const hs_call *c, hs_served *m, hs_infer_request *r)
{
    hs_infer_text *text = NULL;
    hs_call within = *c;
    hs_status st = check(r);
    client *x = NULL;
    if (st == HS_OK)
        st = hs_infer_texts(&r->in[0], &text);
    if (st == HS_OK)
        st = check_text(text);
    if (st == HS_OK && !c->inner) {
        x = new_client(c, m, r);
        st = x ? HS_OK : HS_FAIL(MEMORY, "no memory for a request");
        within.inner = x ? &x->inner : NULL;
    }
    if (st != HS_OK) {
        hs_served_count_failure(m, HS_REASON_OTHER, hs_now_ns() - hs_call_began(c));
        hs_call_fail_status(c, st);
        hs_served_let_go(m);
        free(text);
        return;
    }
    json_t *head = r->head;
    r->head = NULL; // the text_request's from here on
    hs_text_request *q = hs_text_request_new(&within, m, head, &form, 1);
    if (q && (st = read_params(q)) != HS_OK)
        hs_text_request_fail(q, st == HS_USAGE ? 400 : 503, NULL, "%s", hs_error());
    else if (q && hs_text_request_text(q, text->p, text->n))
        hs_text_request_go(q);
    free(text);
}
