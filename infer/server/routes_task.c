// routes_task: what models with a task are asked - /predict and /rerank as TEI is, /ner and /answer in the words of halfstep predict.
#include "infer/server/request_body.h"
#include "infer/server/routes.h"
#include "infer/server/task_work.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// A body, and a model for it; or it is answered.
static hs_served *begin(const hs_call *c, unsigned does, json_t **body)
{
    hs_served *m = NULL;
    if ((*body = hs_body_object(c)) != NULL && !(m = hs_body_model(c, *body, does)))
        json_decref(*body);
    return m;
}

// Examples are cut as they were when the model was trained, which is at their end.
static bool may_cut(const hs_call *c, const json_t *body, int *truncate)
{
    int left = 0;
    if (!hs_body_flag(c, body, "truncate", truncate) || !hs_body_side(c, body, "truncation_direction", &left))
        return false;
    if (left && *truncate)
        hs_call_fail(c, 422, "truncation_direction: texts of a task are cut at their end, Right");
    return !left || !*truncate;
}

static void give_up(hs_served *m, json_t *body)
{
    json_decref(body);
    hs_served_let_go(m);
}

static bool add_text(hs_task_work *t, const json_t *text, const json_t *second)
{
    return hs_task_work_add(t, json_string_value(text), json_string_length(text), json_string_value(second), json_string_length(second));
}

// ---- /predict: [{"score": 0.9, "label": "positive"}, ...], the likeliest first

static void write_scores(hs_task_work *t, int example, const hs_prediction *x)
{
    (void)example;
    hs_prediction p = *x;
    p.score = t->raw ? x->logit : x->score;
    const int n = hs_prediction_best(&t->json, &p, t->top);
    for (int i = 0; i < n; i++) {
        const int32_t label = t->json.order[i];
        hs_text_add(&t->out, i ? ",{\"score\":" : "[{\"score\":");
        hs_text_f32(&t->out, p.score[label]);
        hs_text_add(&t->out, ",\"label\":");
        hs_text_string(&t->out, hs_labels_name(t->json.labels, label));
        hs_text_add(&t->out, "}");
    }
    hs_text_add(&t->out, "]");
}

// A text; a list of one or two texts, which is a text, or a pair; or a list of such lists, which is a batch.
static bool are_texts(const json_t *list)
{
    const size_t n = json_array_size(list);
    return (n == 1 || n == 2) && json_is_string(json_array_get(list, 0)) && (n == 1 || json_is_string(json_array_get(list, 1)));
}

static int count_inputs(const hs_call *c, const json_t *inputs, int64_t most, bool *list)
{
    const size_t n = json_array_size(inputs);
    *list = json_is_array(json_array_get(inputs, 0));
    if (json_is_string(inputs) || (!*list && are_texts(inputs)))
        return 1;
    if (!inputs || json_is_null(inputs))
        hs_call_fail(c, 422, "inputs is missing");
    else if (json_is_array(inputs) && n == 0)
        hs_call_fail(c, 422, "inputs is empty");
    else if (!*list)
        hs_call_fail(c, 422, "inputs must be a text, a pair [text, text], or a batch [[text], [text, text], ...]");
    else if (n > (size_t)most)
        hs_call_fail(c, 413, "inputs has %zu texts, at most %lld are taken at once", n, (long long)most);
    else {
        for (size_t i = 0; i < n; i++)
            if (!are_texts(json_array_get(inputs, i))) {
                hs_call_fail(c, 422, "inputs: element %zu is not [text] or [text, text]", i);
                return -1;
            }
        return (int)n;
    }
    return -1;
}

void hs_route_predict(hs_call *c)
{
    json_t *body;
    hs_served *m = begin(c, HS_DOES_SCORES, &body);
    const json_t *inputs = m ? json_object_get(body, "inputs") : NULL;
    int raw = 0, truncate = 0;
    int64_t top = 0;
    bool list = false;
    if (!m)
        return;
    static const char *const keys[] = { "inputs", "raw_scores", "truncate", "truncation_direction", "top_k", "model", NULL };
    if (!hs_body_known(c, body, keys) || !hs_body_flag(c, body, "raw_scores", &raw) || !may_cut(c, body, &truncate) ||
        !hs_body_int(c, body, "top_k", 1, INT32_MAX, &top)) {
        give_up(m, body);
        return;
    }
    const int n = count_inputs(c, inputs, m->o->most_texts, &list);
    if (n < 0) {
        give_up(m, body);
        return;
    }
    hs_task_work *t = hs_task_work_new(c, m, body, NULL);
    if (!t)
        return;
    t->list = list, t->raw = raw, t->truncate = truncate, t->top = (int)top, t->write = write_scores;
    for (int i = 0; i < n; i++) {
        const json_t *x = list ? json_array_get(inputs, (size_t)i) : inputs;
        const bool texts = json_is_array(x);
        if (!add_text(t, texts ? json_array_get(x, 0) : x, texts ? json_array_get(x, 1) : NULL))
            return;
    }
    hs_task_work_go(t);
}

// ---- /rerank: [{"index": 3, "score": 0.9}, ...], the best first

typedef struct ranks { // hs_task_work.own
    bool text;
    struct rank {
        int index;
        float score;
    } of[];
} ranks;

// The log of the odds that a text is right: a model's only number, or of two classes the second one's.
static void keep_rank(hs_task_work *t, int example, const hs_prediction *x)
{
    ranks *r = t->own;
    const double odds = x->n_labels == 1 ? (double)x->logit[0] : (double)x->logit[1] - (double)x->logit[0];
    const float p = x->n_labels == 2 ? x->score[1] : (float)(1 / (1 + exp(-odds)));
    r->of[example] = (struct rank){ example, t->raw ? (float)odds : p };
}

static int better(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : x->index - y->index;
}

static void write_ranks(hs_task_work *t)
{
    ranks *r = t->own;
    qsort(r->of, (size_t)t->examples.n, sizeof *r->of, better);
    hs_text_add(&t->out, "[");
    for (int i = 0; i < t->examples.n && (!t->top || i < t->top); i++) {
        const hs_example *x = &t->examples.at[r->of[i].index].example;
        hs_text_add(&t->out, "%s{\"index\":%d,\"score\":", i ? "," : "", r->of[i].index);
        hs_text_f32(&t->out, r->of[i].score);
        if (r->text) {
            hs_text_add(&t->out, ",\"text\":");
            hs_text_quote(&t->out, x->text[1], x->bytes[1]);
        }
        hs_text_add(&t->out, "}");
    }
    hs_text_add(&t->out, "]");
}

static bool can_rank(const hs_call *c, const hs_served *m)
{
    const int64_t labels = hs_arch_int(m->session.arch, "model.labels");
    if (labels == 1 || (labels == 2 && hs_head_about(m->head) == HS_ABOUT_SEQUENCE))
        return true;
    hs_call_fail(c, 424, "'%s' is no re-ranker: it has %lld labels", m->name, (long long)labels);
    return false;
}

void hs_route_rerank(hs_call *c)
{
    json_t *body;
    hs_served *m = begin(c, HS_DOES_SCORES, &body);
    if (!m)
        return;
    const json_t *query = json_object_get(body, "query"), *texts = json_object_get(body, "texts");
    int raw = 0, truncate = 0, text = 0, n = -1;
    int64_t best = 0;
    size_t bytes;
    static const char *const keys[] = { "query", "texts", "raw_scores", "return_text", "truncate", "truncation_direction", "top_n", "model", NULL };
    if (can_rank(c, m) && hs_body_known(c, body, keys) && hs_body_flag(c, body, "raw_scores", &raw) && may_cut(c, body, &truncate) &&
        hs_body_flag(c, body, "return_text", &text) && hs_body_int(c, body, "top_n", 1, INT32_MAX, &best) && hs_body_text(c, body, "query", &bytes))
        n = json_is_array(texts) ? hs_texts_count_of(c, texts, "texts", m->o->most_texts) : 0;
    if (n == 0)
        hs_call_fail(c, 422, texts ? "texts must be a list of texts" : "texts is missing");
    else if (n > 0 && (size_t)n * bytes > c->server->o.http.most_body) { // it is made to tokens with each of them
        hs_call_fail(c, 413, "a query of %zu bytes beside %d texts is more than the %zu bytes that a request may have", bytes, n,
                     c->server->o.http.most_body);
        n = -1;
    }
    if (n <= 0) {
        give_up(m, body);
        return;
    }
    hs_task_work *t = hs_task_work_new(c, m, body, NULL);
    if (!t)
        return;
    ranks *r = t->own = malloc(sizeof *r + (size_t)n * sizeof *r->of);
    if (!r) {
        hs_task_work_fail(t, 503, "no memory for %d texts", n);
        return;
    }
    r->text = text;
    t->raw = raw, t->truncate = truncate, t->top = (int)best, t->write = keep_rank, t->end = write_ranks;
    for (int i = 0; i < n; i++)
        if (!add_text(t, query, json_array_get(texts, (size_t)i)))
            return;
    hs_task_work_go(t);
}

// ---- /ner: spans of a text with their places

static const hs_places places = { .type = "label", .bytes = true };

static void write_spans(hs_task_work *t, int example, const hs_prediction *x)
{
    (void)example;
    hs_prediction_spans(&t->json, &t->out, x, &places);
}

static void ner(hs_call *c)
{
    json_t *body;
    hs_served *m = begin(c, HS_DOES_TAGS, &body);
    if (!m)
        return;
    const json_t *inputs = json_object_get(body, "inputs");
    int truncate = 0;
    static const char *const keys[] = { "inputs", "truncate", "truncation_direction", "model", NULL };
    const int n = hs_body_known(c, body, keys) && may_cut(c, body, &truncate) ? hs_texts_count_of(c, inputs, "inputs", m->o->most_texts) : -1;
    if (n < 0) {
        give_up(m, body);
        return;
    }
    hs_task_work *t = hs_task_work_new(c, m, body, NULL);
    if (!t)
        return;
    t->list = json_is_array(inputs), t->truncate = truncate, t->write = write_spans;
    for (int i = 0; i < n; i++)
        if (!add_text(t, t->list ? json_array_get(inputs, (size_t)i) : inputs, NULL))
            return;
    hs_task_work_go(t);
}

// ---- /answer: answers of a context with their places, the likeliest first

enum { BEST = 20, MOST_BEST = 1000, LONGEST_ANSWER = 30 }; // halfstep predict's

static void write_answers(hs_task_work *t, int example, const hs_prediction *x)
{
    (void)example;
    hs_prediction_answers(&t->out, x, t->top, &places);
}

static bool is_question(const json_t *x)
{
    return json_is_string(json_object_get(x, "question")) && json_is_string(json_object_get(x, "context"));
}

// {"question", "context"} as inputs, or a list of them as inputs.
static int count_questions(const hs_call *c, const json_t *inputs, int64_t most)
{
    const size_t n = json_is_array(inputs) ? json_array_size(inputs) : 1;
    if (n == 0)
        hs_call_fail(c, 422, "inputs is empty");
    else if (n > (size_t)most)
        hs_call_fail(c, 413, "inputs has %zu questions, at most %lld are taken at once", n, (long long)most);
    else {
        size_t i = 0;
        while (i < n && is_question(json_is_array(inputs) ? json_array_get(inputs, i) : inputs))
            i++;
        if (i == n)
            return (int)n;
        hs_call_fail(c, 422, "%s %zu: question and context must be texts", json_is_array(inputs) ? "element" : "question", i);
    }
    return -1;
}

static void answers(hs_call *c)
{
    json_t *body;
    hs_served *m = begin(c, HS_DOES_ANSWERS, &body);
    if (!m)
        return;
    const json_t *given = json_object_get(body, "inputs"), *inputs = given ? given : body;
    int64_t top = 1, longest = LONGEST_ANSWER;
    int none = 0, truncate = 0, n = -1;
    static const char *const keys[] = { "inputs",    "question", "context",              "top_k", "max_answer",
                                        "no_answer", "truncate", "truncation_direction", "model", NULL };
    if (hs_body_known(c, body, keys) && hs_body_int(c, body, "top_k", 1, MOST_BEST, &top) && hs_body_int(c, body, "max_answer", 1, 65536, &longest) &&
        hs_body_flag(c, body, "no_answer", &none) && may_cut(c, body, &truncate))
        n = count_questions(c, inputs, m->o->most_texts);
    if (n < 0) {
        give_up(m, body);
        return;
    }
    hs_task_work *t =
        hs_task_work_new(c, m, body, &(hs_span_opts){ .n_best = top > BEST ? (int)top : BEST, .max_answer = longest, .none = none });
    if (!t)
        return;
    t->list = json_is_array(inputs), t->top = (int)top, t->truncate = truncate, t->write = write_answers;
    for (int i = 0; i < n; i++) {
        const json_t *x = t->list ? json_array_get(inputs, (size_t)i) : inputs;
        if (!add_text(t, json_object_get(x, "question"), json_object_get(x, "context")))
            return;
    }
    hs_task_work_go(t);
}

const hs_route hs_routes_task[] = {
    HS_HERE_AND_BY_NAME("/predict", hs_route_predict),
    HS_HERE_AND_BY_NAME("/rerank", hs_route_rerank),
    HS_HERE_AND_BY_NAME("/ner", ner),
    HS_HERE_AND_BY_NAME("/answer", answers),
    { 0 },
};
