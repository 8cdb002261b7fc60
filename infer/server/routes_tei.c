// routes_tei: what text-embeddings-inference answers beside its routes for vectors, scores and tokens: what it serves, whether it is there,
// and at "/" whatever its model is for.
#include "infer/server/request_body.h"
#include "infer/server/routes.h"
#include <stdio.h>
#include <string.h>

enum { CAN = HS_DOES_EMBED | HS_DOES_SCORES };

static bool is_reranker(const hs_served *m) { return m->does & HS_DOES_SCORES && hs_arch_int(m->session.arch, "model.labels") == 1; }

static json_t *type_of(const hs_served *m)
{
    static const char *const pooling[HS_POOLINGS] = { [HS_POOLING_MEAN] = "mean", [HS_POOLING_CLS] = "cls", [HS_POOLING_MAX] = "max" };
    if (m->does & HS_DOES_EMBED)
        return json_pack("{s:{s:s}}", "embedding", "pooling", pooling[m->sentence.pooling]);
    const hs_labels *labels = &m->session.info.labels;
    json_t *names = json_object(), *numbers = json_object();
    for (int i = 0; i < labels->n; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        json_object_set_new(names, number, hs_call_quoted(hs_labels_name(labels, i)));
        json_object_set_new(numbers, hs_labels_name(labels, i), json_integer(i));
    }
    return json_pack("{s:{s:o, s:o}}", is_reranker(m) ? "reranker" : "classifier", "id2label", names, "label2id", numbers);
}

static const char *dtype_of(const hs_served *m)
{
    const hs_dtype low = m->session.policy.low;
    return low == HS_BF16 ? "bfloat16" : low == HS_F16 ? "float16" : "float32";
}

static void info(hs_call *c)
{
    hs_served *m = hs_call_model(c, c->arg[0], 0, CAN);
    if (!m)
        return;
    const int64_t cut = m->does & HS_DOES_EMBED ? m->sentence.max_length : m->rows.max_length, context = m->session.context;
    json_t *v = json_pack("{s:o, s:n, s:s, s:o}", "model_id", hs_call_quoted(m->name), "model_sha", "model_dtype", dtype_of(m), "model_type",
                          type_of(m));
    json_object_set_new(v, "max_concurrent_requests", json_integer(m->o->queue_works));
    json_object_set_new(v, "max_input_length", json_integer(cut > 0 && cut < context ? cut : context));
    json_object_set_new(v, "max_batch_tokens", json_integer(m->o->batch_tokens));
    json_object_set_new(v, "max_batch_requests", json_null());
    json_object_set_new(v, "max_client_batch_size", json_integer(m->o->most_texts));
    json_object_set_new(v, "auto_truncate", json_false());
    json_object_set_new(v, "tokenization_workers", json_integer(c->server->o.http.threads));
    json_object_set_new(v, "version", json_string(c->server->o.version));
    hs_call_json(c, 200, v);
    hs_served_let_go(m);
}

static void ping(hs_call *c)
{
    if (hs_server_ready(c->server))
        hs_call_json(c, 200, json_object());
    else
        hs_call_fail(c, 503, "models are being loaded, or the server stops");
}

static void whatever(hs_call *c)
{
    json_t *body = hs_body_object(c);
    hs_served *m = body ? hs_body_model(c, body, CAN) : NULL;
    json_decref(body);
    if (!m)
        return;
    void (*run)(hs_call *) = m->does & HS_DOES_EMBED ? hs_route_embed : is_reranker(m) ? hs_route_rerank : hs_route_predict;
    hs_served_let_go(m);
    run(c);
}

const hs_route hs_routes_tei[] = {
    { .method = "GET", .pattern = "/info", .run = info },
    { .method = "GET", .pattern = "/models/{}/info", .run = info },
    { .method = "GET", .pattern = "/ping", .run = ping, .open = true },
    { .method = "POST", .pattern = "/", .run = whatever },
    { .method = "POST", .pattern = "/embeddings", .run = hs_route_openai_embeddings },
    { 0 },
};
