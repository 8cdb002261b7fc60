// predict_json: predictions as members of a record, as lines of their own, and as SQuAD's script writes them.
#include "recipes/program/predict_write.h"
#include <stdlib.h>
#include <string.h>

static void add_text(hs_text *t, const char *s) { hs_text_bytes(t, s, strlen(s)); }

static bool taken(const hs_predict_out *p, const char *key) { return p->tree.n > 0 && hs_json_tree_get(&p->tree, 0, key, NULL) > 0; }

// The first member stands behind others, or behind the bracket that opens.
static void begin_member(hs_predict_out *p, const char *key)
{
    hs_text *t = &p->text;
    char name[64];
    if (t->n && t->p[t->n - 1] != '{')
        add_text(t, ", ");
    hs_text_add(t, "\"%s\": ", hs_predict_name(p, taken, key, name));
}

// ---- what each task says

static void add_scores(hs_predict_out *p, const hs_prediction *x)
{
    begin_member(p, "scores");
    hs_prediction_scores(&p->json, &p->text, x, p->o.top);
}

static void add_class(hs_predict_out *p, const hs_prediction *x)
{
    begin_member(p, "label");
    hs_text_string(&p->text, hs_labels_name(p->o.labels, x->label));
    add_scores(p, x);
}

static void add_labels(hs_predict_out *p, const hs_prediction *x)
{
    int n = 0;
    begin_member(p, "labels");
    add_text(&p->text, "[");
    for (int i = 0; i < x->n_labels; i++)
        if ((double)x->score[i] >= p->o.threshold) {
            add_text(&p->text, n++ ? ", " : "");
            hs_text_string(&p->text, hs_labels_name(p->o.labels, i));
        }
    add_text(&p->text, "]");
    add_scores(p, x);
}

static void add_numbers(hs_predict_out *p, const hs_prediction *x)
{
    begin_member(p, "score");
    hs_prediction_numbers(&p->text, x);
}

static const hs_places places = { .type = "type" };

static void add_tags(hs_predict_out *p, const hs_prediction *x)
{
    const int32_t n = x->example->n;
    begin_member(p, "tags");
    for (int32_t k = 0; k < n; k++) {
        add_text(&p->text, k ? ", " : "[");
        hs_text_string(&p->text, hs_labels_name(p->o.labels, x->tag[k]));
    }
    add_text(&p->text, n ? "]" : "[]");
    begin_member(p, "scores");
    for (int32_t k = 0; k < n; k++) {
        add_text(&p->text, k ? ", " : "[");
        hs_text_f32(&p->text, x->tag_score[k]);
    }
    add_text(&p->text, n ? "]" : "[]");
    begin_member(p, "entities");
    hs_prediction_spans(&p->json, &p->text, x, &places);
}

static void add_answers(hs_predict_out *p, const hs_prediction *x)
{
    hs_text *t = &p->text;
    const hs_span_guess *answer = x->span.answer;
    begin_member(p, "answer");
    hs_prediction_answer_text(t, x, answer);
    begin_member(p, "start");
    hs_prediction_place(t, x, answer, answer ? answer->start : 0);
    begin_member(p, "end");
    hs_prediction_place(t, x, answer, answer ? answer->end : 0);
    begin_member(p, "score");
    hs_text_f32(t, (float)hs_prediction_answer_score(x));
    begin_member(p, "nbest");
    hs_prediction_answers(t, x, 0, &places);
}

void hs_predict_members(hs_predict_out *p, const hs_prediction *x)
{
    switch (p->o.about) {
    case HS_ABOUT_REGRESSION:
        add_numbers(p, x);
        break;
    case HS_ABOUT_MULTILABEL:
        add_labels(p, x);
        break;
    case HS_ABOUT_TOKENS:
        add_tags(p, x);
        break;
    case HS_ABOUT_SPAN:
        add_answers(p, x);
        break;
    default:
        add_class(p, x);
    }
}

// ---- lines of --json

static void add_words(hs_predict_out *p, const hs_example *e)
{
    begin_member(p, "words");
    for (int32_t k = 0; k < e->n; k++) {
        add_text(&p->text, k ? ", " : "[");
        hs_text_quote(&p->text, e->text[0] + e->word[k].start, (size_t)(e->word[k].end - e->word[k].start));
    }
    add_text(&p->text, e->n ? "]" : "[]");
}

hs_status hs_predict_json_line(hs_predict_out *p, const hs_prediction *x)
{
    const hs_example *e = x->example;
    const bool span = p->o.about == HS_ABOUT_SPAN;
    p->tree.n = 0;
    hs_text_add(&p->text, "{\"line\": %lld", (long long)e->line);
    if (e->id) {
        begin_member(p, "id");
        hs_text_quote(&p->text, e->id, strlen(e->id));
    }
    begin_member(p, span ? "question" : "text");
    hs_text_quote(&p->text, e->text[0], e->bytes[0]);
    if (e->text[1] && !span) {
        begin_member(p, "text2");
        hs_text_quote(&p->text, e->text[1], e->bytes[1]);
    }
    if (p->o.about == HS_ABOUT_TOKENS)
        add_words(p, e);
    hs_predict_members(p, x);
    add_text(&p->text, "}\n");
    return HS_OK;
}

// ---- records

hs_status hs_predict_json_record(hs_predict_out *p, const hs_prediction *x)
{
    const hs_slice raw = x->item->raw;
    if (!hs_json_tree_parse(&p->tree, raw.p, raw.bytes))
        return HS_FAIL(INTERNAL, "a record that was read is none");
    if (p->found->list)
        add_text(&p->text, p->written ? ",\n" : "[\n");
    size_t n = p->tree.node[0].end - 1; // the bracket that closes
    while (n > 0 && strchr(" \t\r\n", raw.p[n - 1]))
        n--;
    const size_t begin = p->tree.node[0].begin;
    hs_text_bytes(&p->text, raw.p + begin, n - begin);
    hs_predict_members(p, x);
    add_text(&p->text, p->found->list ? "}" : "}\n");
    return HS_OK;
}

// ---- SQuAD

static hs_status begin_answer(hs_predict_out *p, const hs_prediction *x)
{
    hs_text *t = &p->text;
    add_text(t, p->written ? ",\n    " : "{\n    ");
    hs_text_quote(t, x->example->id, strlen(x->example->id));
    add_text(t, ": ");
    return HS_OK;
}

static hs_status write_to(hs_predict_out *p, hs_predict_file *f)
{
    if (p->text.failed)
        return HS_FAIL(MEMORY, "no memory for a prediction");
    const hs_status st = hs_predict_write(f, p->text.p, p->text.n);
    p->text.n = 0;
    return st;
}

static hs_status put_nbest(hs_predict_out *p, const hs_prediction *x)
{
    hs_text *t = &p->text;
    HS_TRY(begin_answer(p, x));
    add_text(t, "[");
    for (int i = 0; i < x->span.n; i++) {
        const hs_span_guess *g = &x->span.guess[i];
        add_text(t, i ? ",\n        {\"text\": " : "\n        {\"text\": ");
        hs_prediction_answer_text(t, x, g);
        add_text(t, ", \"probability\": ");
        hs_text_f64(t, g->probability);
        add_text(t, ", \"start_logit\": ");
        hs_text_f32(t, (float)g->start_logit);
        add_text(t, ", \"end_logit\": ");
        hs_text_f32(t, (float)g->end_logit);
        add_text(t, "}");
    }
    add_text(t, "\n    ]");
    return write_to(p, &p->nbest);
}

hs_status hs_predict_squad(hs_predict_out *p, const hs_prediction *x)
{
    const hs_example *e = x->example;
    if (!e->id)
        return HS_FAIL(USAGE, "%s:%lld: a question without an id, which its answer is found by", hs_label_reader_name(p->reader),
                       (long long)e->line);
    if (p->nbest.f)
        HS_TRY(put_nbest(p, x));
    if (p->odds.f) {
        HS_TRY(begin_answer(p, x));
        hs_text_f64(&p->text, x->span.odds);
        HS_TRY(write_to(p, &p->odds));
    }
    HS_TRY(begin_answer(p, x));
    hs_prediction_answer_text(&p->text, x, x->span.answer);
    return HS_OK;
}

hs_status hs_predict_json_end(hs_predict_out *p)
{
    const bool squad = p->found->format == HS_LABEL_SQUAD, none = p->written == 0;
    if (!squad && !p->found->list)
        return HS_OK;
    const char *end = squad ? none ? "{}\n" : "\n}\n" : none ? "[]\n" : "\n]\n";
    if (p->nbest.f)
        HS_TRY(hs_predict_write(&p->nbest, end, strlen(end)));
    if (p->odds.f)
        HS_TRY(hs_predict_write(&p->odds, end, strlen(end)));
    add_text(&p->text, end);
    return HS_OK;
}
