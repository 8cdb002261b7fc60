// generate: the loop over steps of a decode plan - who feeds how many rows, whose logits are read, who is done.
#include "infer/decode/generate.h"
#include <math.h>
#include <stdlib.h>

typedef struct run { // one prompt under way
    hs_generated *out;
    int64_t cached;    // tokens whose keys and values are in the cache
    int64_t first_row; // of its range of the cache
    int64_t goal;      // tokens, with the prompt, at which it ends
    int64_t fed;       // tokens it has in the step being built
    int64_t pick;      // its row among this step's logits; -1: none
    bool done;
} run;

typedef struct batch { // static inputs of the plan
    int32_t *ids, *starts, *where, *keys, *rows, *picks;
    int64_t max_tokens, max_seqs, n_tokens, n_seqs, n_picks;
} batch;

typedef struct generation {
    const hs_generate_opts *o;
    run *runs;
    int n_runs;
    batch b;
    float *logits;  // [vocab]
    int32_t *order; // [vocab]
} generation;

const char *hs_stop_text(hs_stop stop)
{
    static const char *const text[] = { "as many tokens as asked for", "the context of the model is full", "the stop token",
                                        "stopped by the caller" };
    return text[stop];
}

// ---- checks

static hs_status check_sampling(const hs_generate_opts *o)
{
    const hs_sampling *s = &o->sampling;
    if (!(s->temperature >= 0 && s->temperature <= 1e3))
        return HS_FAIL(USAGE, "temperature is %g, allowed 0 (greedy) to 1000", s->temperature);
    if (s->top_k < 0)
        return HS_FAIL(USAGE, "top-k is %lld, must be 0 (all) or more", (long long)s->top_k);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return HS_FAIL(USAGE, "top-p is %g, must be above 0 and at most 1 (all)", s->top_p);
    if (o->max_tokens < 0)
        return HS_FAIL(USAGE, "max-tokens is %lld, must be 0 or more", (long long)o->max_tokens);
    return HS_OK;
}

static hs_status check_prompt(const hs_generate_opts *o, const hs_prompt *p, int index)
{
    if (p->n < 1)
        return HS_FAIL(USAGE, "prompt %d is empty: the model needs at least one token to continue", index + 1);
    if (p->n > o->context)
        return HS_FAIL(USAGE, "prompt %d has %lld tokens, the model's context holds %lld", index + 1, (long long)p->n,
                       (long long)o->context);
    for (int64_t i = 0; i < p->n; i++)
        if (p->ids[i] < 0 || p->ids[i] >= o->vocab)
            return HS_FAIL(USAGE, "prompt %d: token %lld is %d, allowed 0 to %lld", index + 1, (long long)i + 1, p->ids[i],
                           (long long)o->vocab - 1);
    return HS_OK;
}

// ---- set-up

static hs_status find_inputs(batch *b, const hs_generate_opts *o)
{
    const struct {
        const char *name;
        int32_t **at;
    } inputs[] = { { "ids", &b->ids },   { "starts", &b->starts }, { "where", &b->where },
                   { "keys", &b->keys }, { "rows", &b->rows },     { "picks", &b->picks } };
    for (int i = 0; i < HS_COUNT(inputs); i++) {
        *inputs[i].at = hs_run_input(o->run, o->plan, inputs[i].name);
        if (!*inputs[i].at)
            return HS_FAIL(INTERNAL, "the decode plan has no input %s", inputs[i].name);
    }
    hs_exec *exec = hs_run_exec(o->run, o->plan);
    b->max_tokens = hs_exec_input_tensor(exec, "ids")->dim[0];
    b->max_seqs = hs_exec_input_tensor(exec, "keys")->dim[0];
    return HS_OK;
}

static hs_status begin_runs(generation *g, const hs_prompt *prompt, hs_generated *out)
{
    const hs_generate_opts *o = g->o;
    int64_t rows = 0;
    for (int i = 0; i < g->n_runs; i++) {
        HS_TRY(check_prompt(o, &prompt[i], i));
        const int64_t room = o->context - prompt[i].n, goal = prompt[i].n + (o->max_tokens < room ? o->max_tokens : room);
        g->runs[i] = (run){ .out = &out[i], .first_row = rows, .goal = goal, .done = goal == prompt[i].n };
        rows += goal;
        out[i] = (hs_generated){ .n_prompt = prompt[i].n,
                                 .n = prompt[i].n,
                                 .stop = o->max_tokens > room ? HS_STOP_CONTEXT : HS_STOP_MAX_TOKENS };
        out[i].ids = malloc((size_t)goal * sizeof *out[i].ids);
        if (!out[i].ids)
            return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)goal);
        memcpy(out[i].ids, prompt[i].ids, (size_t)prompt[i].n * sizeof *out[i].ids);
    }
    if (rows > o->cache_rows)
        return HS_FAIL(USAGE, "%d prompts with their continuations need %lld cache rows, there are %lld", g->n_runs, (long long)rows,
                       (long long)o->cache_rows);
    return HS_OK;
}

// ---- a step

static void feed(generation *g, int index, int64_t n)
{
    batch *b = &g->b;
    run *r = &g->runs[index];
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = b->n_tokens + i, position = r->cached + i;
        b->ids[at] = r->out->ids[position];
        b->where[2 * at] = index;
        b->where[2 * at + 1] = (int32_t)position;
        b->rows[at] = (int32_t)(r->first_row + position);
    }
    int32_t *keys = b->keys + 3 * b->n_seqs;
    keys[0] = (int32_t)r->first_row;
    keys[1] = (int32_t)(r->cached + n);
    keys[2] = (int32_t)r->cached;
    b->n_tokens += n;
    b->starts[++b->n_seqs] = (int32_t)b->n_tokens;
    r->fed = n;
    if (r->cached + n == r->out->n) { // all known tokens are in: what comes next is wanted
        b->picks[b->n_picks] = (int32_t)b->n_tokens - 1;
        r->pick = b->n_picks++;
    }
}

// Prompts that only need their newest token go first: a long prompt being read must not hold them up.
static void build(generation *g)
{
    batch *b = &g->b;
    b->n_tokens = b->n_seqs = b->n_picks = 0;
    b->starts[0] = 0;
    for (int i = 0; i < g->n_runs; i++)
        g->runs[i].fed = 0, g->runs[i].pick = -1;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < g->n_runs; i++) {
            const run *r = &g->runs[i];
            const int64_t left = r->out->n - r->cached, room = b->max_tokens - b->n_tokens;
            if (!r->done && (left > 1) == (pass == 1) && room > 0 && b->n_seqs < b->max_seqs)
                feed(g, i, left < room ? left : room);
        }
}

static hs_status read_logits(generation *g, int64_t row)
{
    hs_ref ref;
    const char *p = hs_run_output(g->o->run, g->o->plan, 0, &ref);
    if (!p || ref.cols < g->o->vocab)
        return HS_FAIL(INTERNAL, "the decode plan does not keep logits of %lld columns", (long long)g->o->vocab);
    hs_convert(g->logits, HS_F32, p + (size_t)(row * ref.cols) * hs_dtype_bytes(ref.dtype), ref.dtype, g->o->vocab);
    for (int64_t i = 0; i < g->o->vocab; i++)
        if (!isfinite(g->logits[i]))
            return HS_FAIL(NONFINITE, "the model's logit of token %lld is not a finite number", (long long)i);
    return HS_OK;
}

static hs_status take_token(generation *g, int index)
{
    const hs_generate_opts *o = g->o;
    run *r = &g->runs[index];
    HS_TRY(read_logits(g, r->pick));
    const int32_t id = hs_sample(g->logits, o->vocab, &o->sampling, index, r->out->n, g->order);
    r->out->ids[r->out->n++] = id;
    r->done = r->out->n == r->goal;
    if (o->stop_id >= 0 && id == o->stop_id)
        r->out->stop = HS_STOP_TOKEN, r->done = true;
    if (o->on_token && !o->on_token(index, id, o->user))
        r->out->stop = HS_STOP_CALLER, r->done = true;
    return HS_OK;
}

static hs_status step(generation *g)
{
    const hs_generate_opts *o = g->o;
    hs_step_live(hs_run_in(o->run), g->b.n_tokens, g->b.n_seqs, g->b.n_picks);
    HS_TRY(hs_run_forward(o->run, o->plan));
    for (int i = 0; i < g->n_runs; i++) {
        g->runs[i].cached += g->runs[i].fed;
        if (g->runs[i].pick >= 0)
            HS_TRY(take_token(g, i));
    }
    return HS_OK;
}

static hs_status generate(generation *g, const hs_prompt *prompt, hs_generated *out)
{
    HS_TRY(check_sampling(g->o));
    HS_TRY(find_inputs(&g->b, g->o));
    g->runs = calloc((size_t)g->n_runs + 1, sizeof *g->runs);
    g->logits = malloc((size_t)g->o->vocab * sizeof *g->logits);
    g->order = malloc((size_t)g->o->vocab * sizeof *g->order);
    if (!g->runs || !g->logits || !g->order)
        return HS_FAIL(MEMORY, "no memory to generate with %d prompts and %lld tokens of vocabulary", g->n_runs, (long long)g->o->vocab);
    HS_TRY(begin_runs(g, prompt, out));
    for (build(g); g->b.n_tokens; build(g))
        HS_TRY(step(g));
    return HS_OK;
}

hs_status hs_generate(const hs_generate_opts *o, const hs_prompt *prompt, int n_prompts, hs_generated *out)
{
    generation g = { .o = o, .n_runs = n_prompts };
    memset(out, 0, (size_t)n_prompts * sizeof *out);
    const hs_status st = generate(&g, prompt, out);
    free(g.runs);
    free(g.logits);
    free(g.order);
    if (st == HS_OK)
        return HS_OK;
    hs_generated_free(out, n_prompts);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_generated_free(hs_generated *out, int n)
{
    for (int i = 0; i < n; i++) {
        free(out[i].ids);
        out[i] = (hs_generated){ 0 };
    }
}
