// routes_oip: the Open Inference Protocol v2, as Triton serves it - whether it answers, and what models there are.
#include "infer/server/routes_oip.h"
#include "infer/server/ensemble.h"
#include "infer/server/routes.h"
#include <stdlib.h>
#include <string.h>

// ---- the server

static void live(hs_call *c) { hs_call_json(c, 200, json_pack("{s:b}", "live", 1)); }

static void ready(hs_call *c)
{
    const bool yes = hs_server_ready(c->server);
    hs_call_json(c, yes ? 200 : 503, json_pack("{s:b}", "ready", yes));
}

static void metadata(hs_call *c)
{
    static const char *const extensions[] = { "classification",     "sequence",   "schedule_policy", "model_configuration",
                                              "binary_tensor_data", "parameters", "statistics",      "trace" };
    json_t *list = json_array();
    for (int i = 0; i < HS_COUNT(extensions); i++)
        json_array_append_new(list, json_string(extensions[i]));
    if (c->server->o.control) {
        json_array_append_new(list, json_string("model_repository"));
        json_array_append_new(list, json_string("model_repository(unload_dependents)"));
    }
    hs_call_json(c, 200, json_pack("{s:s, s:s, s:o}", "name", "halfstep", "version", c->server->o.version, "extensions", list));
}

// ---- a model

hs_served *hs_call_oip_model(const hs_call *c)
{
    const char *version = c->arg[1];
    char *end;
    const long n = version[0] ? strtol(version, &end, 10) : 0;
    if (version[0] && (*end || n < 1 || n > INT32_MAX || version[0] < '1' || version[0] > '9')) {
        hs_call_fail(c, 404, "there is no version '%s' of a model here: they are numbers from 1 on", version);
        return NULL;
    }
    return hs_call_model(c, c->arg[0], (int)n, ~0U);
}

static void model_ready(hs_call *c)
{
    const bool known = hs_hub_knows(c->server->hub, c->arg[0]);
    hs_served *m = known && !c->arg[1][0] ? hs_hub_find(c->server->hub, c->arg[0], 0, ~0U) : hs_call_oip_model(c);
    if (!m && (!known || c->arg[1][0]))
        return; // answered
    const bool yes = m && !atomic_load(&c->server->leaving);
    hs_call_json(c, yes ? 200 : 503, json_pack("{s:s, s:b}", "name", c->arg[0], "ready", yes));
    hs_served_let_go(m);
}

static const char *platform_of(const hs_served *m) { return m->ensemble ? "ensemble" : "halfstep"; }

static json_t *dims(const hs_oip_tensor *t, int from)
{
    json_t *list = json_array();
    for (int i = from; i < t->n_dims; i++)
        json_array_append_new(list, json_integer(t->dim[i]));
    return list;
}

static json_t *tensors(const hs_oip_tensor *t, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o}", "name", t[i].name, "datatype", hs_oip_type_names[t[i].type], "shape", dims(&t[i], 0)));
    return list;
}

static void model_metadata(hs_call *c)
{
    hs_oip_model o;
    hs_served *m = hs_call_oip_model(c);
    if (!m)
        return;
    hs_oip_model_of(&o, m);
    hs_call_json(c, 200,
                 json_pack("{s:s, s:[o], s:s, s:o, s:o}", "name", m->name, "versions", json_sprintf("%d", m->version), "platform",
                           platform_of(m), "inputs", tensors(o.in, o.n_in), "outputs", tensors(o.out, o.n_out)));
    hs_served_let_go(m);
}

// ---- its configuration, in the words of Triton's ModelConfig

static json_t *config_tensors(const hs_oip_model *o, const hs_oip_tensor *t, int n, bool input)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_t *one =
            json_pack("{s:s, s:o, s:o, s:b}", "name", t[i].name, "data_type",
                      t[i].type == HS_OIP_BYTES ? json_string("TYPE_STRING") : json_sprintf("TYPE_%s", hs_oip_type_names[t[i].type]),
                      "dims", dims(&t[i], o->most_batch > 0), "is_shape_tensor", 0);
        if (input) // tokens or texts: one of them
            json_object_update_new(
                one, json_pack("{s:s, s:b, s:b}", "format", "FORMAT_NONE", "allow_ragged_batch", 0, "optional", t[i].what < HS_OIP_PROMPT));
        else
            json_object_set_new(one, "label_filename", json_string(""));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *config_map(const struct hs_ensemble *e, const hs_mapped *map, int n)
{
    json_t *v = json_object();
    for (int i = 0; i < n; i++)
        json_object_set_new(v, map[i].name, json_string(e->tensor[map[i].tensor].name));
    return v;
}

static json_t *config_steps(const struct hs_ensemble *e)
{
    json_t *list = json_array();
    for (int i = 0; i < e->n_parts; i++) {
        const hs_ensemble_part *p = &e->part[i];
        json_array_append_new(list, json_pack("{s:s, s:i, s:o, s:o}", "model_name", p->model, "model_version", -1, "input_map",
                                              config_map(e, p->in, p->n_in), "output_map", config_map(e, p->out, p->n_out)));
    }
    return list;
}

// What a directory of a model says: not of ensembles.
static void add_parameters(json_t *v, const hs_served *m)
{
    json_t *p = json_pack("{s:{s:s}, s:{s:o}, s:{s:o}}", "family", "string_value", m->session.arch.family->name, "context", "string_value",
                          json_sprintf("%lld", (long long)m->session.context), "vocabulary", "string_value",
                          json_sprintf("%lld", (long long)m->session.vocab));
    if (m->sequences)
        json_object_update_new(p, json_pack("{s:{s:o}, s:{s:o}}", "max_candidate_sequences", "string_value",
                                            json_sprintf("%lld", (long long)hs_served_sequences(m->o)), "max_sequence_idle_microseconds",
                                            "string_value", json_sprintf("%.0f", 1e6 * hs_served_sequence_idle(m->o))));
    json_object_set_new(v, "parameters", p);
}

static void model_config(hs_call *c)
{
    hs_oip_model o;
    hs_served *m = hs_call_oip_model(c);
    if (!m)
        return;
    hs_oip_model_of(&o, m);
    json_t *v =
        json_pack("{s:s, s:s, s:s, s:{s:{s:i}}, s:I, s:o, s:o}", "name", m->name, "platform", platform_of(m), "backend",
                  m->ensemble ? "" : "halfstep", "version_policy", "latest", "num_versions", 1, "max_batch_size", (json_int_t)o.most_batch,
                  "input", config_tensors(&o, o.in, o.n_in, true), "output", config_tensors(&o, o.out, o.n_out, false));
    json_object_update_new(v, json_pack("{s:[{s:s, s:s, s:i}], s:{s:b}, s:{s:b}}", "instance_group", "name", m->name, "kind",
                                        strncmp(m->o->device, "cpu", 3) == 0 ? "KIND_CPU" : "KIND_GPU", "count",
                                        m->instances > m->parts ? m->instances - m->parts : 1, "response_cache", "enable", m->o->cache && m->batcher,
                                        "model_transaction_policy", "decoupled", (m->does & HS_DOES_TEXT) != 0));
    if (m->ensemble)
        json_object_set_new(v, "ensemble_scheduling", json_pack("{s:o}", "step", config_steps(m->ensemble)));
    else
        add_parameters(v, m);
    if (o.most_batch)
        json_object_set_new(v, "dynamic_batching",
                            json_pack("{s:[], s:i, s:b, s:i, s:{s:s, s:i, s:b, s:I}}", "preferred_batch_size",
                                      "max_queue_delay_microseconds", 0, "preserve_ordering", 0, "priority_levels", 0,
                                      "default_queue_policy", "timeout_action", "REJECT", "default_timeout_microseconds", 0,
                                      "allow_timeout_override", 1, "max_queue_size", (json_int_t)m->o->queue_works));
    hs_call_json(c, 200, v);
    hs_served_let_go(m);
}

const hs_route hs_routes_oip[] = {
    { .method = "GET", .pattern = "/v2/health/live", .run = live, .open = true },
    { .method = "GET", .pattern = "/v2/health/ready", .run = ready, .open = true },
    { .method = "GET", .pattern = "/health", .run = ready, .open = true },
    { .method = "GET", .pattern = "/v2", .run = metadata },
    { .method = "GET", .pattern = "/v2/models/{}/ready", .run = model_ready },
    { .method = "GET", .pattern = "/v2/models/{}/versions/{}/ready", .run = model_ready },
    { .method = "GET", .pattern = "/v2/models/{}/config", .run = model_config },
    { .method = "GET", .pattern = "/v2/models/{}/versions/{}/config", .run = model_config },
    { .method = "GET", .pattern = "/v2/models/{}", .run = model_metadata }, // behind /v2/models/stats, in another table
    { .method = "GET", .pattern = "/v2/models/{}/versions/{}", .run = model_metadata },
    { 0 },
};
