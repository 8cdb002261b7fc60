// routes_stats: what was counted of each model, in the words of Triton's statistics extension. Its clients read all members without asking
// whether they are there.
#include "infer/server/routes.h"
#include "infer/server/routes_oip.h"

static json_t *pair(uint64_t count, uint64_t ns) { return json_pack("{s:I, s:I}", "count", (json_int_t)count, "ns", (json_int_t)ns); }

static json_t *latency(const hs_latency *l)
{
    return pair(atomic_load_explicit(&l->count, memory_order_relaxed), atomic_load_explicit(&l->sum_ns, memory_order_relaxed));
}

// Batches of this version by how many rows they had.
static json_t *batches(const hs_served *m)
{
    json_t *list = json_array();
    const hs_batcher_count *b = m->batcher ? hs_batcher_counted(m->batcher) : NULL;
    for (int64_t i = 1; b && i <= b->most_rows; i++) {
        const uint64_t count = atomic_load_explicit(&b->of_rows[i].count, memory_order_relaxed);
        if (count)
            json_array_append_new(
                list, json_pack("{s:I, s:o, s:o, s:o}", "batch_size", (json_int_t)i, "compute_input",
                                pair(count, atomic_load_explicit(&b->of_rows[i].fill_ns, memory_order_relaxed)), "compute_infer",
                                pair(count, atomic_load_explicit(&b->of_rows[i].model_ns, memory_order_relaxed)), "compute_output",
                                pair(count, atomic_load_explicit(&b->of_rows[i].take_ns, memory_order_relaxed))));
    }
    return list;
}

static json_t *memory(const hs_served *m)
{
    if (!m->session.model) // an ensemble
        return json_array();
    const hs_model_bytes b = hs_model_bytes_of(m->session.model);
    size_t all = b.slabs.all + b.derived + b.workspace + b.states + b.inputs;
    for (int i = 1; i < m->instances; i++)
        all += hs_run_bytes(m->run[i]);
    return json_pack("[{s:s, s:i, s:I}]", "type", strncmp(m->o->device, "cpu", 3) == 0 ? "CPU" : "GPU", "id", 0, "byte_size",
                     (json_int_t)all);
}

static json_t *stats_of(const hs_served *m, const hs_served_sums *sums)
{
    const hs_served_count *c = m->count;
    json_t *success = pair(atomic_load(&c->success), atomic_load(&c->request.sum_ns));
    const uint64_t executed = m->ensemble ? atomic_load(&c->success) : sums->batches;
    json_t *inference =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "success", success, "fail", latency(&c->failed), "queue", latency(&c->queue),
                  "compute_input", latency(&c->input), "compute_infer", latency(&c->infer), "compute_output", latency(&c->output),
                  "cache_hit", latency(&c->cache_hit), "cache_miss", latency(&c->cache_miss));
    return json_pack("{s:s, s:o, s:I, s:I, s:I, s:o, s:{}, s:o, s:o}", "name", m->name, "version", json_sprintf("%d", m->version),
                     "last_inference", (json_int_t)atomic_load(&c->last), "inference_count", (json_int_t)atomic_load(&c->texts),
                     "execution_count", (json_int_t)executed, "inference_stats", inference, "response_stats", "batch_stats", batches(m),
                     "memory_usage", memory(m));
}

static void model_stats(hs_call *c)
{
    hs_served *m = hs_call_oip_model(c);
    if (!m)
        return;
    const hs_served_sums sums = hs_hub_sums(c->server->hub, m->name);
    hs_call_json(c, 200, json_pack("{s:[o]}", "model_stats", stats_of(m, &sums)));
    hs_served_let_go(m);
}

static void add(const hs_hub_entry *e, void *list)
{
    if (e->served)
        json_array_append_new(list, stats_of(e->served, &e->sums));
}

static void all_stats(hs_call *c)
{
    json_t *list = json_array();
    hs_hub_each(c->server->hub, add, list);
    hs_call_json(c, 200, json_pack("{s:o}", "model_stats", list));
}

const hs_route hs_routes_stats[] = {
    { .method = "GET", .pattern = "/v2/models/stats", .run = all_stats },
    { .method = "GET", .pattern = "/v2/models/{}/stats", .run = model_stats },
    { .method = "GET", .pattern = "/v2/models/{}/versions/{}/stats", .run = model_stats },
    { 0 },
};
