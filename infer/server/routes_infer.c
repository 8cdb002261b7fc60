// routes_infer: tensors or texts in, tensors out - the Open Inference Protocol's inference of encoders. Padding is left out on the way in
// and put back on the way out: what a row gives does not depend on it.
#include "core/base/clock.h"
#include "infer/server/ensemble.h"
#include "infer/server/infer_ask.h"
#include "infer/server/routes.h"
#include "infer/server/routes_oip.h"
#include "infer/server/text_work.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct infer { // hs_text_work.own, and what it points to behind it in the same block
    const char *id;    // of w->body
    int64_t rows, seq;
    int n_out;
    const hs_oip_tensor *about[HS_OIP_TENSORS];
    hs_infer_value out[HS_OIP_TENSORS];
    hs_oip_model model;
    bool task;
    int64_t *at; // [rows] where in its padded row a row's first token stands
    int32_t *id_of, *mask, *type;
} infer;

// ---- what came out, on the batcher's thread

static hs_status check_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return HS_FAIL(NONFINITE, "the model's outputs are not finite numbers");
    return HS_OK;
}

static hs_status take_task(const hs_text_work *w, const hs_wanted_row *r, int row)
{
    const infer *e = w->own;
    const int64_t columns = hs_head_columns(w->model->head);
    int64_t n = r->row->n;
    float *logits = malloc((size_t)(n * columns) * sizeof *logits);
    if (!logits)
        return HS_FAIL(MEMORY, "no memory for logits");
    hs_status st = hs_wanted_floats(r, 0, logits, &n);
    if (st == HS_OK)
        st = check_finite(logits, n * columns);
    for (int k = 0; k < e->n_out && st == HS_OK; k++)
        hs_oip_place(e->about[k], (float *)(uintptr_t)e->out[k].value, row, row * e->seq + e->at[row], logits, n, columns);
    free(logits);
    return st;
}

// Of an encoder wants are its outputs.
static hs_status take(hs_text_work *w, const hs_wanted_row *r, int row)
{
    const infer *e = w->own;
    int64_t n;
    if (e->task)
        return take_task(w, r, row);
    for (int k = 0; k < e->n_out; k++) {
        const hs_infer_value *v = &e->out[k];
        const int64_t width = v->dim[v->n_dims - 1];
        float *to = (float *)(uintptr_t)v->value;
        to += (e->about[k]->what == HS_OIP_VECTOR ? row : row * e->seq + e->at[row]) * width;
        HS_TRY(hs_wanted_floats(r, k, to, &n));
        HS_TRY(check_finite(to, n * width));
    }
    return HS_OK;
}

static void find_wants(hs_text_work *w)
{
    const infer *e = w->own;
    const hs_sentence *how = &w->model->sentence;
    for (int k = 0; k < e->n_out && !e->task; k++)
        w->want[w->n_wants++] = e->about[k]->what == HS_OIP_VECTOR
                                    ? (hs_want){ .what = HS_WANT_VECTOR, .pooling = how->pooling, .normalize = how->normalize }
                                    : (hs_want){ .what = HS_WANT_HIDDEN };
    if (e->task)
        w->want[w->n_wants++] = (hs_want){ .what = HS_WANT_LOGITS };
}

void hs_infer_send(const hs_call *c, const hs_infer_answer *a)
{
    hs_traced_outputs(c->trace, a->out, a->n_out);
    char *body, head_text[24];
    size_t bytes;
    int64_t head;
    const hs_status st = hs_infer_write(a, &body, &bytes, &head);
    if (st != HS_OK) {
        hs_call_fail_status(c, st);
        return;
    }
    if (head >= 0) {
        snprintf(head_text, sizeof head_text, "%lld", (long long)head);
        hs_http_add_header(c->http, "Inference-Header-Content-Length", head_text);
    }
    hs_http_answer(c->http, 200, head >= 0 ? "application/octet-stream" : "application/json", body, bytes);
}

static void answer(hs_text_work *w)
{
    const infer *e = w->own;
    if (w->call.inner)
        w->call.inner->values(w->call.inner, e->out, e->n_out);
    else
        hs_infer_send(&w->call, &(hs_infer_answer){
                                    .model = w->model->name, .version = w->model->version, .id = e->id, .out = e->out, .n_out = e->n_out });
}

// ---- what was asked for

enum { WHATS = HS_OIP_CONTINUED + 1, MOST_PADDED = 4 };
typedef struct asked {
    hs_infer_request r;
    hs_oip_model model;
    const hs_labels *labels;
    int64_t context;
    const hs_infer_tensor *in[WHATS]; // by what they are; NULL: not there
    const hs_infer_tensor *first;     // tokens, or texts: its rows are the request's
} asked;

static hs_status check_rows(const asked *a, const hs_infer_tensor *t, bool tokens)
{
    if (t->n_dims != 2 && (tokens || t->n_dims != 1))
        return HS_FAIL(USAGE, "input '%s' must have the shape %s", t->name, tokens ? "[batch, tokens]" : "[batch] or [batch, 1]");
    if (!tokens && t->n_dims == 2 && t->dim[1] != 1)
        return HS_FAIL(USAGE, "input '%s' has %lld texts in a row: its shape must be [batch] or [batch, 1]", t->name, (long long)t->dim[1]);
    if (t->dim[0] > a->model.most_batch)
        return HS_FAIL(USAGE, "input '%s' has %lld rows, at most %lld are taken at once", t->name, (long long)t->dim[0],
                       (long long)a->model.most_batch);
    if (tokens && t->dim[1] > MOST_PADDED * a->context)
        return HS_FAIL(USAGE, "input '%s' has rows of %lld tokens: %d times the model's context of %lld are read, padding included",
                       t->name, (long long)t->dim[1], MOST_PADDED, (long long)a->context);
    if (t->dim[0] != a->first->dim[0] || (tokens && t->dim[1] != a->first->dim[1]))
        return HS_FAIL(USAGE, "input '%s' has another shape than '%s'", t->name, a->first->name);
    return HS_OK;
}

static hs_status find_inputs(asked *a)
{
    for (int i = 0; i < a->r.n_in; i++) {
        const hs_oip_tensor *t = hs_oip_find(a->model.in, a->model.n_in, a->r.in[i].name);
        if (!t)
            return HS_FAIL(USAGE, "the model has no input '%.64s'", a->r.in[i].name);
        a->in[t->what] = &a->r.in[i];
    }
    const bool tokens = a->in[HS_OIP_IDS], texts = a->in[HS_OIP_TEXT];
    a->first = tokens ? a->in[HS_OIP_IDS] : a->in[HS_OIP_TEXT];
    if (!tokens && !texts)
        return HS_FAIL(USAGE, "the request has neither input_ids nor text");
    for (int what = 0; what < WHATS; what++) {
        const bool of_tokens = what <= HS_OIP_SEGMENTS;
        if (a->in[what] && of_tokens != tokens)
            return HS_FAIL(USAGE, "input '%s' does not go with '%s'", a->in[what]->name, a->first->name);
        if (a->in[what])
            HS_TRY(check_rows(a, a->in[what], of_tokens));
    }
    return HS_OK;
}

static hs_status add_output(const asked *a, infer *e, const hs_oip_tensor *t, const hs_infer_output *how)
{
    const hs_infer_value v = { .name = t->name,
                               .binary = how && how->binary >= 0 ? how->binary : a->r.binary,
                               .classes = how ? how->classes : 0,
                               .labels = t->what == HS_OIP_LOGITS ? a->labels : NULL,
                               .n_dims = t->n_dims };
    if (v.classes && (t->n_dims != 2 || t->dim[1] < 1))
        return HS_FAIL(USAGE, "output '%s' has no classes", t->name);
    e->about[e->n_out] = t, e->out[e->n_out++] = v;
    return HS_OK;
}

static hs_status find_outputs(const asked *a, infer *e)
{
    for (int i = 0; i < a->r.n_out; i++) {
        const hs_oip_tensor *t = hs_oip_find(e->model.out, e->model.n_out, a->r.out[i].name);
        if (!t)
            return HS_FAIL(USAGE, "the model has no output '%.64s'", a->r.out[i].name);
        HS_TRY(add_output(a, e, t, &a->r.out[i]));
    }
    for (int i = 0; i < e->model.n_out && a->r.n_out == 0; i++)
        HS_TRY(add_output(a, e, &e->model.out[i], NULL));
    return HS_OK;
}

// ---- tokens

// The tokens of a row stand together, with padding on either side.
static hs_status add_row(hs_text_work *w, int row)
{
    infer *e = w->own;
    const int32_t *mask = e->mask ? e->mask + row * e->seq : NULL;
    int64_t first = 0, end = e->seq;
    while (mask && first < e->seq && !mask[first])
        first++;
    while (mask && end > first && !mask[end - 1])
        end--;
    for (int64_t i = first; mask && i < end; i++)
        if (!mask[i])
            return HS_FAIL(USAGE, "attention_mask has a hole in row %d at %lld: padding stands in front of tokens or behind them", row,
                           (long long)i);
    if (first == end)
        return HS_FAIL(USAGE, "row %d has no tokens", row);
    if (end - first > w->model->session.context)
        return HS_FAIL(USAGE, "row %d has %lld tokens, and the model's context is %lld", row, (long long)(end - first),
                       (long long)w->model->session.context);
    e->at[row] = first;
    hs_text_work_add_row(w, &(hs_encode_row){ .id = e->id_of + row * e->seq + first,
                                              .type = e->type ? e->type + row * e->seq + first : NULL,
                                              .n = end - first });
    return HS_OK;
}

static hs_status read_tokens(hs_text_work *w, const asked *a)
{
    infer *e = w->own;
    HS_TRY(hs_infer_whole(a->in[HS_OIP_IDS], 0, w->model->session.vocab - 1, e->id_of));
    if (e->mask)
        HS_TRY(hs_infer_whole(a->in[HS_OIP_MASK], 0, 1, e->mask));
    if (e->type)
        HS_TRY(hs_infer_whole(a->in[HS_OIP_SEGMENTS], 0, INT32_MAX, e->type));
    for (int i = 0; i < e->rows; i++)
        HS_TRY(add_row(w, i));
    return HS_OK;
}

// ---- texts. False: it is answered, and w is gone

static bool add_texts(hs_text_work *w, const asked *a, const hs_infer_text *text, const hs_infer_text *second)
{
    infer *e = w->own;
    const bool embed = !e->task;
    const hs_text_cut cut = { .max_length = embed ? w->model->sentence.max_length : 0,
                              .refuse = !a->r.truncate,
                              .prompt = embed ? w->model->sentence.prompt : NULL };
    for (int i = 0; i < e->rows; i++) {
        if (!hs_text_work_add(w, text[i].p, text[i].n, second ? second[i].p : NULL, second ? second[i].n : 0, &cut))
            return false;
        const int64_t n = w->rows[i].row[0].n;
        e->seq = n > e->seq ? n : e->seq;
    }
    return true;
}

static bool read_texts(hs_text_work *w, const asked *a)
{
    hs_infer_text *text = NULL, *second = NULL;
    hs_status st = hs_infer_texts(a->in[HS_OIP_TEXT], &text);
    if (st == HS_OK && a->in[HS_OIP_SECOND])
        st = hs_infer_texts(a->in[HS_OIP_SECOND], &second);
    bool ok = st == HS_OK;
    if (ok)
        ok = add_texts(w, a, text, second);
    else
        hs_text_work_fail_status(w, st);
    free(text), free(second);
    return ok;
}

// ---- room, once it is known how much

static infer *new_infer(const asked *a)
{
    const hs_infer_tensor *t = a->first;
    const bool tokens = a->in[HS_OIP_IDS];
    const size_t rows = (size_t)t->dim[0], each = tokens ? (size_t)t->n : 0;
    infer *e = calloc(1, sizeof *e + rows * sizeof *e->at + 3 * each * sizeof *e->id_of);
    if (!e)
        return NULL;
    e->rows = t->dim[0], e->seq = tokens ? t->dim[1] : 0;
    e->model = a->model;
    e->at = (int64_t *)(void *)(e + 1);
    int32_t *next = (int32_t *)(void *)(e->at + rows);
    e->id_of = next;
    e->mask = a->in[HS_OIP_MASK] ? next + each : NULL;
    e->type = a->in[HS_OIP_SEGMENTS] ? next + 2 * each : NULL;
    return e;
}

static hs_status make_room(hs_text_work *w)
{
    infer *e = w->own;
    int64_t all = 0, n[HS_OIP_TENSORS];
    const size_t most = hs_server_most_answer(w->call.server);
    for (int k = 0; k < e->n_out; k++)
        all += n[k] = hs_oip_shape(e->about[k], e->rows, e->seq, e->out[k].dim);
    if ((uint64_t)all * sizeof(float) > most)
        return HS_FAIL(USAGE, "the answer would have %lld numbers, at most %zu are given: ask for fewer outputs, or fewer rows at once",
                       (long long)all, most / sizeof(float));
    w->vector = calloc((size_t)all, sizeof *w->vector);
    if (!w->vector)
        return HS_FAIL(MEMORY, "no memory for the answer");
    for (int k = 0; k < e->n_out; k++) {
        e->out[k].value = w->vector + (all - n[k]);
        all -= n[k];
    }
    return HS_OK;
}

// ---- the request

// The input that a body without JSON is.
static const char *only_text(const hs_served *m)
{
    hs_oip_model o;
    int i = 0;
    hs_oip_model_of(&o, m);
    while (i + 1 < o.n_in && o.in[i].type != HS_OIP_BYTES)
        i++;
    return o.in[i].name;
}

static hs_status read_request(const hs_call *c, const hs_served *m, hs_infer_request *r)
{
    size_t bytes;
    const char *body = hs_http_body(c->http, &bytes), *head = hs_http_header(c->http, "Inference-Header-Content-Length");
    const size_t digits = head ? strspn(head, "0123456789") : 0;
    if (head && (digits == 0 || head[digits] || digits > 18))
        return HS_FAIL(USAGE, "Inference-Header-Content-Length is not a number");
    if (head && strtoll(head, NULL, 10) == 0)
        hs_infer_read_raw(r, only_text(m), body, bytes);
    else
        HS_TRY(hs_infer_read(r, body, bytes, head ? strtoll(head, NULL, 10) : -1));
    return HS_OK;
}

static void refuse(const hs_call *c, hs_served *m, hs_status st)
{
    hs_served_count_failure(m, HS_REASON_OTHER, hs_now_ns() - hs_call_began(c));
    hs_call_fail_status(c, st);
    hs_served_let_go(m);
}

static void begin(const hs_call *c, hs_served *m, asked *a)
{
    json_t *head = a->r.head;
    a->r.head = NULL; // w's from here on
    hs_text_work *w = hs_text_work_new(c, m, head, (int)a->first->dim[0]);
    if (!w)
        return;
    infer *e = w->own = new_infer(a);
    hs_status st = e ? HS_OK : HS_FAIL(MEMORY, "no memory for a request");
    if (st == HS_OK) {
        e->id = a->r.id, e->task = m->does & HS_DOES_TASK;
        st = find_outputs(a, e);
    }
    if (st == HS_OK && a->in[HS_OIP_IDS])
        st = read_tokens(w, a);
    else if (st == HS_OK && !read_texts(w, a))
        return;
    if (st == HS_OK)
        st = make_room(w);
    if (st != HS_OK) {
        hs_text_work_fail_status(w, st);
        return;
    }
    find_wants(w);
    hs_text_work_rank(w, a->r.priority, a->r.timeout);
    hs_text_work_go(w, e->task ? m->task : m->embed, take, answer);
}

// Of the request that is read, as an encoder takes it.
static void ask_encoder(const hs_call *c, hs_served *m, hs_infer_request *r)
{
    asked a = { .r = *r, .labels = &m->session.info.labels, .context = m->session.context };
    r->head = NULL;
    hs_oip_model_of(&a.model, m);
    hs_status st = r->sequence ? HS_FAIL(UNSUPPORTED,
                                         "sequence_id, sequence_start, sequence_end: this model keeps nothing from one request to the next")
                               : HS_OK;
    if (st == HS_OK)
        st = find_inputs(&a);
    if (st == HS_OK)
        begin(c, m, &a); // takes m over
    else
        refuse(c, m, st);
    hs_infer_free(&a.r);
}

void hs_infer_ask(const hs_call *from, hs_served *m, hs_infer_request *r)
{
    hs_call c = *from;
    hs_call_trace(&c, m, r->head);
    hs_traced_inputs(c.trace, r->in, r->n_in);
    (m->does & HS_DOES_ENSEMBLE ? hs_ensemble_ask : m->does & HS_DOES_TEXT ? hs_infer_ask_text : ask_encoder)(&c, m, r);
}

static void run(hs_call *c)
{
    hs_infer_request r = { .n_in = 0 };
    hs_served *m = hs_call_oip_model(c);
    if (!m)
        return;
    const hs_status st = read_request(c, m, &r);
    if (st == HS_OK)
        hs_infer_ask(c, m, &r);
    else
        refuse(c, m, st);
    hs_infer_free(&r);
}

const hs_route hs_routes_infer[] = {
    { .method = "POST", .pattern = "/v2/models/{}/infer", .run = run },
    { .method = "POST", .pattern = "/v2/models/{}/versions/{}/infer", .run = run },
    { 0 },
};
