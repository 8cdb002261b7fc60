// text_request: generations of a request, counted down to its answer. All callbacks are the scheduler's thread's, so only what `go` touches
// beside them is atomic: it takes back those that found no room, while others may already be at their ends.
#include "infer/server/text_request.h"
#include "core/base/clock.h"
#include "core/base/rng.h"
#include "infer/server/infer_answer.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void free_request(hs_text_request *r)
{
    for (int i = 0; i < r->n_choices; i++) {
        hs_text_free(&r->choice[i].text), hs_text_free(&r->choice[i].ids);
        for (int k = 0; k < HS_COUNT(r->choice[i].places); k++)
            hs_text_free(&r->choice[i].places[k]);
    }
    for (int i = 0; i < r->n_prompts; i++)
        free(r->prompt[i].ids), free(r->prompt[i].text);
    free(r->prompt), free(r->choice);
    hs_text_free(&r->said);
    if (r->turn.of)
        hs_sequence_done(r->model->sequences, &r->turn, NULL, 0);
    hs_text_params_free(&r->p);
    json_decref(r->body);
    hs_served_let_go(r->model);
    free(r);
}

static void answer_error(hs_text_request *r, int http, const char *param, const char *why)
{
    hs_served_count_failure(r->model, hs_served_reason_of(http), hs_now_ns() - r->began);
    if (param && param[0] && r->form->of != HS_TEXT_GENERATE)
        hs_call_json(&r->call, http,
                     json_pack("{s:{s:o, s:s, s:o, s:n}}", "error", "message", hs_call_quoted(why), "type", "invalid_request_error",
                               "param", hs_call_quoted(param), "code"));
    else
        hs_call_fail(&r->call, http, "%s", why);
    free_request(r);
}

void hs_text_request_fail(hs_text_request *r, int http, const char *param, const char *fmt, ...)
{
    char why[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    answer_error(r, http, param, why);
}

hs_text_request *hs_text_request_new(const hs_call *c, hs_served *model, json_t *body, const hs_protocol *form, int n_prompts)
{
    static _Atomic uint64_t number;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    hs_text_request *r = calloc(1, sizeof *r);
    if (r)
        r->prompt = calloc((size_t)n_prompts, sizeof *r->prompt);
    if (!r || !r->prompt) {
        hs_call_fail(c, 503, "no memory for a request");
        json_decref(body);
        hs_served_let_go(model);
        free(r);
        return NULL;
    }
    r->call = *c, r->model = model, r->body = body, r->form = form;
    r->created = t.tv_sec, r->began = c->inner ? c->inner->began : hs_http_arrived(c->http);
    const hs_u32x4 q = hs_random((uint64_t)hs_now_ns(), (uint32_t)atomic_fetch_add(&number, 1), (uint32_t)t.tv_nsec, 0, 0);
    snprintf(r->id, sizeof r->id, "%s%08x%08x%08x", form->id, q.v[0], q.v[1], q.v[2]);
    hs_text_params_default(&r->p, form->of);
    r->tells = hs_call_trace(&r->call, model, body) && hs_traced_tensors(r->call.trace);
    r->traces = hs_traced_tensors(r->call.trace);
    return r;
}

// ---- prompts

bool hs_text_request_text(hs_text_request *r, const char *text, size_t bytes)
{
    const hs_session *s = &r->model->session;
    hs_text_prompt *p = &r->prompt[r->n_prompts++];
    const bool surely = hs_tokenizer_exceeds(s->tokenizer, bytes, s->context);
    if (!surely && hs_tokenizer_encode_most(s->tokenizer, text, bytes, s->context, &p->ids, &p->n) != HS_OK) {
        hs_text_request_fail(r, 400, "prompt", "%s", hs_error());
        return false;
    }
    if (surely || p->n > s->context) {
        hs_text_request_fail(r, 400, "prompt", "the prompt has more tokens than the model's context of %" PRId64, s->context);
        return false;
    }
    if (p->n == 0 && s->begin >= 0 && !r->p.sequence[0]) { // a text that begins
        free(p->ids);
        if (!(p->ids = malloc(sizeof *p->ids))) {
            hs_text_request_fail(r, 503, NULL, "no memory for a prompt");
            return false;
        }
        p->ids[p->n++] = s->begin;
    }
    if (!(p->text = malloc(bytes + 1))) {
        hs_text_request_fail(r, 503, NULL, "no memory for a prompt");
        return false;
    }
    memcpy(p->text, text, bytes);
    p->text[bytes] = 0;
    return true;
}

bool hs_text_request_ids(hs_text_request *r, const json_t *ids)
{
    hs_text_prompt *p = &r->prompt[r->n_prompts++];
    const size_t n = json_array_size(ids);
    size_t bytes;
    r->by_ids = true;
    p->ids = malloc((n + 1) * sizeof *p->ids);
    for (size_t i = 0; p->ids && i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= r->model->session.vocab) {
            hs_text_request_fail(r, 400, "prompt", "prompt: element %zu is no token id, the model's vocabulary is 0 to %" PRId64, i,
                                 r->model->session.vocab - 1);
            return false;
        }
        p->ids[p->n++] = (int32_t)json_integer_value(id);
    }
    if (!p->ids || (r->p.echo && hs_tokenizer_decode(r->model->session.tokenizer, p->ids, p->n, &p->text, &bytes) != HS_OK)) {
        hs_text_request_fail(r, p->ids ? 400 : 503, "prompt", "%s", p->ids ? hs_error() : "no memory for a prompt");
        return false;
    }
    return true;
}

// ---- the scheduler's thread

// An event, or several, whole.
static void send(hs_text_request *r, hs_text *t)
{
    if (!r->streams)
        hs_http_stream_begin(r->call.http, 200, "text/event-stream; charset=utf-8");
    r->streams = true;
    if (t->failed || !hs_http_stream_add(r->call.http, t->p ? t->p : "", t->n))
        atomic_store(&r->abandoned, true);
    hs_text_free(t);
}

// Also of a stream, where it is for the trace alone.
static bool keeps_text(const hs_text_request *r) { return !r->p.stream || r->tells; }

static bool echoes(const hs_choice *c)
{
    const hs_text_params *p = &c->r->p;
    return c->prompt->text && (p->echo || (c->r->form->of == HS_TEXT_GENERATE && !p->exclude_input));
}

static void send_text(hs_choice *c, const char *text, size_t n, hs_finish finish)
{
    hs_text t = { 0 }, joined = { 0 };
    if (!c->begun && echoes(c)) {
        hs_text_bytes(&joined, c->prompt->text, strlen(c->prompt->text));
        hs_text_bytes(&joined, text ? text : "", n);
        text = joined.p, n = joined.n;
    }
    hs_text_add(&t, "data: ");
    c->r->form->event(&t, c, text ? text : "", n, finish);
    hs_text_add(&t, "\n\n");
    t.failed |= joined.failed;
    hs_text_free(&joined);
    c->begun = true;
    send(c->r, &t);
}

static bool is_end(const hs_generation *g, int32_t id)
{
    int i = 0;
    while (i < g->n_stop_ids && g->stop_ids[i] != id)
        i++;
    return i < g->n_stop_ids;
}

// A token that ends a text is no part of it, as it is none of the answer.
static void add_to_sequence(hs_text_request *r, const hs_generation *g, const hs_piece *piece)
{
    if (is_end(g, piece->id))
        return;
    r->cut = piece->finish == HS_FINISH_STOP;
    r->prompt[0].ids[r->n_ids++] = piece->id;
    if (g->n_stops)
        hs_text_bytes(&r->said, piece->text ? piece->text : "", piece->n_text);
}

static void on_token(hs_generation *g, const hs_piece *piece)
{
    hs_choice *c = g->user;
    if (c->r->turn.of)
        add_to_sequence(c->r, g, piece);
    if (c->r->p.logprobs && c->r->form->place && !is_end(g, piece->id))
        c->r->form->place(c, piece);
    if (c->r->traces)
        hs_text_bytes(&c->ids, (const char *)&piece->id, sizeof piece->id);
    if (piece->n_text && keeps_text(c->r))
        hs_text_bytes(&c->text, piece->text, piece->n_text);
    if (piece->n_text && c->r->p.stream)
        send_text(c, piece->text, piece->n_text, HS_FINISH_NONE);
}

static const char has_left[] = "the client has left", is_late[] = "the request took longer than it was given";

static double deadline_of(const hs_text_request *r)
{
    return r->p.timeout ? 1e-9 * (double)hs_http_handed(r->call.http) + 1e-6 * (double)r->p.timeout : 0;
}

// Asked in every step: those that wait behind it in its sequence are looked after by the way.
static bool is_gone(hs_generation *g)
{
    hs_text_request *r = ((hs_choice *)g->user)->r;
    if (r->turn.of)
        hs_sequence_look_behind(r->model->sequences, &r->turn);
    return atomic_load(&r->abandoned) || hs_http_gone(r->call.http);
}

hs_text_usage hs_text_request_usage(const hs_text_request *r)
{
    hs_text_usage u = { 0 };
    for (int i = 0; i < r->n_prompts; i++)
        u.prompt += r->prompt[i].n;
    for (int i = 0; i < r->n_choices; i++) {
        u.fresh += r->choice[i].g.n_new;
        if (r->choice[i].g.number == 0)
            u.cached += r->choice[i].g.n_reused;
    }
    return u;
}

const char *hs_choice_token(const hs_choice *c, int32_t id, size_t *n, bool *space)
{
    const char *piece = hs_tokenizer_spoken(c->r->model->session.tokenizer, id, false, n, space);
    return piece ? piece : "";
}

static void count_success(const hs_text_request *r)
{
    hs_served_count *n = r->model->count;
    double most = 0;
    hs_served_count_success(r->model, r->n_choices);
    for (int i = 0; i < r->n_choices; i++)
        most = r->choice[i].g.seconds[1] > most ? r->choice[i].g.seconds[1] : most;
    hs_latency_add(&n->infer, (int64_t)(most * 1e9));
    hs_latency_add(&n->request, hs_now_ns() - r->began);
}

static void answer(hs_text_request *r)
{
    hs_text t = { 0 };
    count_success(r);
    if (r->call.inner) {
        const hs_text *text = &r->choice[0].text;
        if (text->failed)
            hs_call_fail(&r->call, 503, "no memory for the answer");
        else
            r->call.inner->values(
                r->call.inner,
                &(hs_infer_value){ .name = "text_output", .n_dims = 1, .dim = { 1 }, .text = text->p ? text->p : "", .n_text = text->n },
                1);
    } else if (r->p.stream) {
        r->form->end(&t, r);
        send(r, &t);
        hs_http_stream_end(r->call.http);
    } else {
        r->form->answer(&t, r);
        hs_call_send(&r->call, "application/json", &t);
    }
    free_request(r);
}

// Of a text that a stop string has cut off a sequence keeps what was said, not the tokens of what was not.
static hs_status keep_said(hs_text_request *r, const hs_generation *g)
{
    hs_text_prompt *p = &r->prompt[0];
    int32_t *ids;
    int64_t n;
    hs_text_bytes(&r->said, g->tail ? g->tail : "", g->n_tail);
    if (r->said.failed)
        return HS_FAIL(MEMORY, "no memory for a sequence");
    HS_TRY(hs_tokenizer_encode(r->model->session.tokenizer, r->said.p, r->said.n, &ids, &n));
    int32_t *all = realloc(p->ids, (size_t)(p->n + n + 1) * sizeof *all);
    if (all) {
        memcpy(all + p->n, ids, (size_t)n * sizeof *ids);
        p->ids = all, r->n_ids = p->n + n;
    }
    free(ids);
    return all ? HS_OK : HS_FAIL(MEMORY, "no memory for a sequence");
}

// Before its answer: who has that asks on.
static void hand_on(hs_text_request *r)
{
    const hs_status st = r->cut ? keep_said(r, &r->choice[0].g) : HS_OK;
    if (st != HS_OK) {
        r->http = st == HS_MEMORY ? 503 : 500;
        snprintf(r->why, sizeof r->why, "%s", hs_error());
        return;
    }
    int32_t *ids = r->prompt[0].ids;
    r->prompt[0].ids = NULL;
    hs_sequence_done(r->model->sequences, &r->turn, ids, r->n_ids);
}

// A text goes through the model again and again: its first token and its last tell when.
static void trace_times(const hs_text_request *r)
{
    const hs_generation *first = &r->choice[0].g;
    double end = 0;
    for (int i = 0; i < r->n_choices; i++)
        end = r->choice[i].g.seconds[1] > end ? r->choice[i].g.seconds[1] : end;
    const int64_t begun = first->waited > 0 ? r->queued + (int64_t)(first->waited * 1e9) : 0, ended = r->queued + (int64_t)(end * 1e9);
    hs_traced_at(r->call.trace, HS_TRACE_QUEUE_START, r->queued);
    hs_traced_at(r->call.trace, HS_TRACE_COMPUTE_START, begun);
    hs_traced_at(r->call.trace, HS_TRACE_COMPUTE_INPUT_END, begun);
    hs_traced_at(r->call.trace, HS_TRACE_FIRST_TOKEN, first->seconds[0] > 0 ? r->queued + (int64_t)(first->seconds[0] * 1e9) : 0);
    hs_traced_at(r->call.trace, HS_TRACE_COMPUTE_OUTPUT_START, begun ? ended : 0);
    hs_traced_at(r->call.trace, HS_TRACE_COMPUTE_END, begun ? ended : 0);
    hs_traced_at(r->call.trace, HS_TRACE_REQUEST_END, hs_now_ns());
}

// ---- its trace

static const char *prompt_at(const void *request, int i, size_t *bytes)
{
    const hs_text_prompt *p = &((const hs_text_request *)request)->prompt[i];
    *bytes = p->text ? strlen(p->text) : 0;
    return p->text ? p->text : "";
}

static const char *said_at(const void *request, int i, size_t *bytes)
{
    const hs_text *t = &((const hs_text_request *)request)->choice[i].text;
    *bytes = t->p ? t->n : 0;
    return t->p ? t->p : "";
}

static const int32_t *prompt_ids(const void *request, int i, int64_t *n)
{
    const hs_text_prompt *p = &((const hs_text_request *)request)->prompt[i];
    *n = p->n;
    return p->ids;
}

static const int32_t *drawn_ids(const void *request, int i, int64_t *n)
{
    const hs_text *t = &((const hs_text_request *)request)->choice[i].ids;
    *n = t->failed ? 0 : (int64_t)(t->n / sizeof(int32_t));
    return (const int32_t *)(const void *)t->p;
}

static void trace_prompts(const hs_text_request *r)
{
    if (r->by_ids)
        hs_traced_ids(r->call.trace, HS_TRACE_INPUT, "input_ids", r->n_prompts, prompt_ids, r);
    else
        hs_traced_texts(r->call.trace, HS_TRACE_INPUT, "text_input", r->n_prompts, prompt_at, r);
}

static void trace_outputs(const hs_text_request *r)
{
    if (r->traces)
        hs_traced_ids(r->call.trace, HS_TRACE_OUTPUT, "output_ids", r->n_choices, drawn_ids, r);
    if (r->tells)
        hs_traced_texts(r->call.trace, HS_TRACE_OUTPUT, "text_output", r->n_choices, said_at, r);
}

// ---- the end

// All that was accepted is done.
static void conclude(hs_text_request *r)
{
    hs_text t = { 0 };
    if (r->call.trace)
        trace_times(r);
    if (r->turn.of && !r->refused && !r->http)
        hand_on(r);
    const int http = r->refused ? r->refused : r->http; // what was refused took the others with it
    const char *why = r->refused ? r->why_refused : r->why;
    if (!http) {
        trace_outputs(r);
        answer(r);
        return;
    }
    if (!r->streams) {
        answer_error(r, http, NULL, why);
        return;
    }
    hs_served_count_failure(r->model, hs_served_reason_of(http), hs_now_ns() - r->began);
    r->form->wrong(&t, why);
    send(r, &t);
    hs_http_stream_end(r->call.http);
    free_request(r);
}

static void less(hs_text_request *r, int n)
{
    if (atomic_fetch_sub(&r->left, n) == n)
        conclude(r);
}

static int http_of(const hs_generation *g)
{
    if (g->finish == HS_FINISH_CANCELLED)
        return g->error[0] ? 503 : 499;
    return g->finish == HS_FINISH_DEADLINE ? 504 : 500;
}

static void on_done(hs_generation *g)
{
    static const char *const words[HS_FINISHES] = { [HS_FINISH_CANCELLED] = has_left, [HS_FINISH_DEADLINE] = is_late };
    hs_choice *c = g->user;
    hs_text_request *r = c->r;
    if (g->finish == HS_FINISH_STOP || g->finish == HS_FINISH_LENGTH) {
        if (g->n_tail && keeps_text(r))
            hs_text_bytes(&c->text, g->tail, g->n_tail);
        if (r->p.stream)
            send_text(c, g->tail, g->n_tail, g->finish);
    } else {
        atomic_store(&r->abandoned, true); // one that fails ends all
        if (!r->http)
            snprintf(r->why, sizeof r->why, "%s", g->error[0] || !words[g->finish] ? g->error : words[g->finish]);
        r->http = r->http ? r->http : http_of(g);
    }
    less(r, 1);
}

// ---- on its way

static void set_up(hs_choice *c, int k, uint64_t seed)
{
    const hs_text_params *p = &c->r->p;
    const hs_session *s = &c->r->model->session;
    const int64_t room = s->context - c->prompt->n;
    c->g = (hs_generation){ .ids = c->prompt->ids,
                            .n = c->prompt->n,
                            .max_tokens = p->max_tokens < 0 ? (room > 1 ? room : 1) : p->max_tokens,
                            .sampling = { .temperature = p->temperature, .top_k = p->top_k, .top_p = p->top_p, .seed = seed },
                            .number = k,
                            .stop_ids = s->ends.id,
                            .n_stop_ids = p->ignore_eos ? 0 : s->ends.n,
                            .bias = p->bias,
                            .n_bias = p->n_bias,
                            .presence = p->presence,
                            .frequency = p->frequency,
                            .logprobs = p->logprobs,
                            .n_top = p->places > 0 ? (int)p->places : 0,
                            .stop = p->stop,
                            .n_stops = p->n_stops,
                            .priority = (int)p->priority,
                            .deadline = deadline_of(c->r),
                            .gone = is_gone,
                            .on_token = on_token,
                            .done = on_done,
                            .user = c };
    if (echoes(c) && keeps_text(c->r))
        hs_text_bytes(&c->text, c->prompt->text, strlen(c->prompt->text));
}

// Room behind the prompt of a sequence for what is drawn.
static bool make_room(hs_text_request *r)
{
    hs_choice *c = &r->choice[0];
    const int64_t context = r->model->session.context, most = c->g.max_tokens < context ? c->g.max_tokens : context; // more is refused
    int32_t *ids = realloc(r->prompt[0].ids, (size_t)(r->prompt[0].n + most) * sizeof *ids);
    if (ids)
        c->g.ids = r->prompt[0].ids = ids, r->n_ids = r->prompt[0].n;
    return ids != NULL;
}

static const int http_of_status[HS_N_STATUS] = { [HS_USAGE] = 400, [HS_MEMORY] = 429, [HS_STOPPED] = 503 };

// What can be known before any text takes memory.
static hs_status check(const hs_text_request *r, hs_scheduler *scheduler)
{
    for (int i = 0; i < r->n_prompts; i++)
        HS_TRY(hs_scheduler_check_length(scheduler, r->prompt[i].n, r->p.max_tokens < 0 ? 1 : r->p.max_tokens));
    return hs_scheduler_check_room(scheduler, (int64_t)r->n_prompts * r->p.n);
}

static void set_off(hs_text_request *r)
{
    const int all = r->n_prompts * (int)r->p.n;
    hs_scheduler *scheduler = hs_schedulers_pick(r->model->schedulers, r->prompt[0].ids, r->prompt[0].n, all);
    hs_status st = check(r, scheduler);
    if (st != HS_OK) {
        hs_text_request_fail(r, http_of_status[st], NULL, "%s", hs_error());
        return;
    }
    const uint64_t seed = r->p.seed >= 0 ? (uint64_t)r->p.seed : (uint64_t)hs_now_ns() * 0x9E3779B97F4A7C15u >> 11;
    if (!(r->choice = calloc((size_t)all, sizeof *r->choice))) {
        hs_text_request_fail(r, 503, NULL, "no memory for %d texts", all);
        return;
    }
    r->n_choices = all;
    for (int i = 0; i < all; i++) {
        r->choice[i] = (hs_choice){ .r = r, .index = i, .prompt = &r->prompt[i / (int)r->p.n] };
        set_up(&r->choice[i], i % (int)r->p.n, seed);
    }
    if (r->turn.of && !make_room(r)) {
        hs_text_request_fail(r, 503, NULL, "no memory for a sequence");
        return;
    }
    r->queued = hs_now_ns();
    atomic_store(&r->left, all + 1); // one for this function: nobody concludes before it is through
    hs_latency_add(&r->model->count->input, hs_now_ns() - r->began);
    int added = 0;
    while (added < all && (st = hs_scheduler_add(scheduler, &r->choice[added].g)) == HS_OK)
        added++;
    if (st != HS_OK && added == 0) {
        hs_text_request_fail(r, http_of_status[st] ? http_of_status[st] : 500, NULL, "%s", hs_error());
        return;
    }
    if (st != HS_OK) { // those that run end soon
        snprintf(r->why_refused, sizeof r->why_refused, "%s", hs_error());
        r->refused = http_of_status[st] ? http_of_status[st] : 500;
        atomic_store(&r->abandoned, true);
    }
    less(r, all - added + 1);
}

// ---- sequences

static hs_text_request *request_of(hs_sequence_turn *t) { return (hs_text_request *)((char *)t - offsetof(hs_text_request, turn)); }

// In Triton's words.
static void fail_unknown(hs_text_request *r)
{
    hs_text_request_fail(r, 400, NULL,
                         "inference request for sequence %s to model '%s' must specify the START flag on the first request of the "
                         "sequence: it was not started with version %d, has ended, or was idle for more than %g s",
                         r->p.sequence, r->model->name, r->model->version, hs_served_sequence_idle(r->model->o));
}

static bool is_over(const hs_text_request *r)
{
    const double deadline = deadline_of(r);
    return deadline && hs_now() >= deadline;
}

static bool turn_is_gone(hs_sequence_turn *t) { return is_over(request_of(t)) || hs_http_gone(request_of(t)->call.http); }

static void on_missed(hs_sequence_turn *t)
{
    hs_text_request *r = request_of(t);
    if (is_over(r))
        hs_text_request_fail(r, 504, NULL, "%s", is_late);
    else if (hs_http_gone(r->call.http))
        hs_text_request_fail(r, 499, NULL, "%s", has_left);
    else
        fail_unknown(r);
}

static void on_turn(hs_sequence_turn *t, const int32_t *ids, int64_t n)
{
    hs_text_request *r = request_of(t);
    hs_text_prompt *p = &r->prompt[0];
    const int32_t begin = r->model->session.begin;
    const bool begins = n + p->n == 0 && begin >= 0; // a text that begins
    int32_t *all = malloc((size_t)(n + p->n + 1) * sizeof *all);
    if (!all) {
        hs_text_request_fail(r, 503, NULL, "no memory for a sequence");
        return;
    }
    if (n)
        memcpy(all, ids, (size_t)n * sizeof *all);
    if (p->n)
        memcpy(all + n, p->ids, (size_t)p->n * sizeof *all);
    if (begins)
        all[0] = begin;
    free(p->ids);
    p->ids = all, p->n += n + begins;
    set_off(r);
}

void hs_text_request_go(hs_text_request *r)
{
    hs_text_params *p = &r->p;
    int64_t priority = p->priority, timeout = p->timeout;
    if (hs_call_rank(&r->call, &priority, &timeout) != HS_OK) {
        hs_text_request_fail(r, 400, NULL, "%s", hs_error());
        return;
    }
    p->priority = p->priority ? p->priority : priority, p->timeout = p->timeout ? p->timeout : timeout;
    if (!p->sequence[0] && (p->sequence_start || p->sequence_end)) {
        hs_text_request_fail(r, 400, NULL, "%s: the request must specify a non-zero or non-empty sequence_id with it",
                             p->sequence_start ? "sequence_start" : "sequence_end");
        return;
    }
    if (r->tells)
        trace_prompts(r);
    if (!p->sequence[0]) {
        set_off(r);
        return;
    }
    // before it waits: what waits is small
    if (hs_schedulers_check_length(r->model->schedulers, r->prompt[0].n, p->max_tokens < 0 ? 1 : p->max_tokens) != HS_OK) {
        hs_text_request_fail(r, 400, NULL, "%s", hs_error());
        return;
    }
    r->turn = (hs_sequence_turn){
        .id = p->sequence, .start = p->sequence_start, .end = p->sequence_end, .go = on_turn, .missed = on_missed, .gone = turn_is_gone
    };
    hs_served *model = hs_served_hold(r->model); // r may be gone, and its hold with it, before this is through
    const hs_status st = hs_sequence_come(model->sequences, &r->turn);
    if (st == HS_USAGE)
        fail_unknown(r);
    else if (st != HS_OK)
        hs_text_request_fail(r, 429, NULL, "%s", hs_error());
    hs_served_let_go(model);
}
