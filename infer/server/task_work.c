// task_work: rows come back in the order they were added in, so that examples are decoded one behind the other by one decoder.
#include "infer/server/task_work.h"
#include "core/base/clock.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What is not handed on to a text_work.
static void free_own(hs_task_work *t)
{
    hs_text_examples_close(&t->examples);
    hs_prediction_json_close(&t->json);
    hs_head_decoder_free(t->decoder);
    hs_text_free(&t->out);
    free(t->logits), free(t->own);
    free(t);
}

static void free_whole(hs_task_work *t)
{
    json_decref(t->body);
    hs_served_let_go(t->model);
    free_own(t);
}

static void forget(hs_text_work *w)
{
    free_own(w->own);
    w->own = NULL;
}

void hs_task_work_fail(hs_task_work *t, int http, const char *fmt, ...)
{
    char why[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    hs_served_count_failure(t->model, HS_REASON_OTHER, hs_now_ns() - hs_http_handed(t->call.http));
    hs_call_fail(&t->call, http, "%s", why);
    free_whole(t);
}

static hs_status open_task(hs_task_work *t, const hs_span_opts *span)
{
    const hs_head *head = t->model->head;
    const hs_about about = hs_head_about(head);
    HS_TRY(hs_text_examples_open(&t->examples, about, &t->model->rows));
    HS_TRY(hs_prediction_json_open(&t->json, about, &t->model->session.info.labels));
    return hs_head_decoder_new(&t->decoder, head, span);
}

hs_task_work *hs_task_work_new(const hs_call *c, hs_served *model, json_t *body, const hs_span_opts *span)
{
    hs_task_work *t = calloc(1, sizeof *t);
    if (!t) {
        hs_call_fail(c, 503, "no memory for a request");
        json_decref(body);
        hs_served_let_go(model);
        return NULL;
    }
    t->call = *c, t->model = model, t->body = body;
    if (open_task(t, span) == HS_OK)
        return t;
    hs_task_work_fail(t, 500, "%s", hs_error());
    return NULL;
}

bool hs_task_work_add(hs_task_work *t, const char *text, size_t bytes, const char *second, size_t second_bytes)
{
    const int number = t->examples.n + 1;
    const hs_status st = hs_text_examples_add(&t->examples, text, bytes, second, second_bytes);
    const int64_t most_rows = t->model->o->most_rows;
    if (st != HS_OK && hs_row_maker_over(t->examples.maker))
        hs_task_work_fail(t, 413, "text %d: %s (--rows)", number, hs_error());
    else if (st != HS_OK)
        hs_task_work_fail(t, st == HS_USAGE ? 400 : 500, "text %d: %s", number, hs_error());
    else if (most_rows && t->examples.rows > most_rows)
        hs_task_work_fail(t, 413, "the texts take more than %lld rows of tokens (--rows): ask for fewer at once", (long long)most_rows);
    else if (hs_check_tokens(t->model, t->examples.tokens) != HS_OK)
        hs_task_work_fail(t, 413, "%s", hs_error());
    else if (t->examples.at[number - 1].cut && !t->truncate)
        hs_task_work_fail(t, 413, "text %d is longer than the %lld tokens this model takes", number, (long long)t->model->rows.max_length);
    else
        return true;
    return false;
}

// ---- on the batcher's thread

static hs_status write_example(hs_task_work *t)
{
    hs_prediction x;
    HS_TRY(hs_head_decoder_end(t->decoder, &x));
    if (t->list && t->example > 0)
        hs_text_bytes(&t->out, ",", 1);
    t->write(t, t->example++, &x);
    t->row = 0;
    return hs_check_answer(&t->call, &t->out);
}

// Examples without a row, up to the next one that has some.
static hs_status pass_empty(hs_task_work *t)
{
    while (t->example < t->examples.n && t->examples.at[t->example].n_rows == 0) {
        HS_TRY(hs_head_decoder_begin(t->decoder, &t->examples.at[t->example].example));
        HS_TRY(write_example(t));
    }
    return HS_OK;
}

static hs_status take(hs_text_work *w, const hs_wanted_row *r, int number)
{
    (void)number;
    hs_task_work *t = w->own;
    int64_t rows;
    HS_TRY(pass_empty(t));
    const hs_text_example *x = &t->examples.at[t->example];
    if (t->row == 0)
        HS_TRY(hs_head_decoder_begin(t->decoder, &x->example));
    HS_TRY(hs_wanted_floats(r, 0, t->logits, &rows));
    HS_TRY(hs_head_decoder_take(t->decoder, &x->row[t->row], t->logits, rows));
    if (++t->row < x->n_rows)
        return HS_OK;
    HS_TRY(write_example(t));
    return pass_empty(t);
}

static void send_answer(const hs_call *c, hs_task_work *t)
{
    if (t->end)
        t->end(t);
    if (t->list)
        hs_text_bytes(&t->out, "]", 1);
    hs_call_send(c, "application/json", &t->out);
}

static void answer(hs_text_work *w) { send_answer(&w->call, w->own); }

// ---- into the queue

static hs_status add_rows(hs_task_work *t, hs_text_work *w)
{
    int64_t longest = 1;
    for (int i = 0; i < t->examples.n; i++)
        for (int64_t k = 0; k < t->examples.at[i].n_rows; k++) {
            const hs_example_row *row = &t->examples.at[i].row[k];
            int32_t *type = hs_arena_take(&t->examples.arena, (size_t)row->n * sizeof *type);
            if (!type)
                return HS_FAIL(MEMORY, "no memory for a row of %lld tokens", (long long)row->n);
            for (int64_t j = 0; j < row->n; j++)
                type[j] = row->type[j];
            hs_text_work_add_row(w, &(hs_encode_row){ .id = row->id, .type = type, .n = row->n });
            longest = row->n > longest ? row->n : longest;
        }
    t->logits = malloc((size_t)(longest * hs_head_columns(t->model->head)) * sizeof *t->logits);
    return t->logits ? HS_OK : HS_FAIL(MEMORY, "no memory for logits of %lld tokens", (long long)longest);
}

static const char *text_at(const void *task, int i, size_t *bytes)
{
    const hs_example *x = &((const hs_task_work *)task)->examples.at[i].example;
    *bytes = x->bytes[0];
    return x->text[0];
}

static const char *second_at(const void *task, int i, size_t *bytes)
{
    const hs_example *x = &((const hs_task_work *)task)->examples.at[i].example;
    *bytes = x->text[1] ? x->bytes[1] : 0;
    return x->text[1] ? x->text[1] : "";
}

static void trace_texts(const hs_task_work *t, hs_traced *r)
{
    const int n = t->examples.n;
    int pairs = 0;
    for (int i = 0; i < n; i++)
        pairs += t->examples.at[i].example.text[1] != NULL;
    hs_traced_texts(r, HS_TRACE_INPUT, "text", n, text_at, t);
    if (pairs)
        hs_traced_texts(r, HS_TRACE_INPUT, "text_pair", n, second_at, t);
}

// Nothing for the model to look at.
static void answer_at_once(hs_task_work *t)
{
    if (pass_empty(t) != HS_OK) {
        hs_task_work_fail(t, 500, "%s", hs_error());
        return;
    }
    send_answer(&t->call, t);
    free_whole(t);
}

void hs_task_work_go(hs_task_work *t)
{
    if (t->list)
        hs_text_bytes(&t->out, "[", 1);
    if (t->examples.rows == 0) {
        answer_at_once(t);
        return;
    }
    hs_text_work *w = hs_text_work_new(&t->call, t->model, t->body, (int)t->examples.rows);
    if (!w) {
        free_own(t);
        return;
    }
    trace_texts(t, w->call.trace);
    w->own = t, w->forget = forget, w->texts = t->examples.n;
    w->want[w->n_wants++] = (hs_want){ .what = HS_WANT_LOGITS };
    if (add_rows(t, w) == HS_OK)
        hs_text_work_go(w, t->model->task, take, answer);
    else
        hs_text_work_fail(w, 503, "%s", hs_error());
}
