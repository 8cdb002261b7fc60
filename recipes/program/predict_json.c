// predict_json: predictions as members of a record, as lines of their own, and as SQuAD's script writes them.
#include "data/base/utf8.h"
#include "recipes/program/predict_write.h"
#include <stdlib.h>
#include <string.h>

static void add_text(hs_text *t, const char *s) { hs_predict_add_bytes(t, s, strlen(s)); }

// A string of so many bytes. NUL, which a text may have, ends no string here.
static void add_string(hs_text *t, const char *s, size_t bytes)
{
    add_text(t, "\"");
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            hs_text_add(t, "\\%c", c);
        else if (c < 0x20)
            hs_text_add(t, "\\u%04x", c);
        else
            hs_predict_add_bytes(t, s + i, 1);
    }
    add_text(t, "\"");
}

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

static int64_t characters(const char *s, int64_t bytes)
{
    int64_t n = 0;
    for (int64_t i = 0; i < bytes; i++)
        n += ((unsigned char)s[i] & 0xC0) != 0x80;
    return n;
}

// ---- labels

// The labels with the largest scores, the lower among equals.
static int best_labels(hs_predict_out *p, const hs_prediction *x)
{
    const int most = p->o.top && p->o.top < x->n_labels ? p->o.top : x->n_labels;
    int n = 0;
    for (int i = 0; i < x->n_labels; i++) {
        if (n == most && !(x->score[i] > x->score[p->order[n - 1]]))
            continue;
        int at = n < most ? n++ : n - 1;
        for (; at > 0 && x->score[i] > x->score[p->order[at - 1]]; at--)
            p->order[at] = p->order[at - 1];
        p->order[at] = i;
    }
    return n;
}

static void add_scores(hs_predict_out *p, const hs_prediction *x)
{
    begin_member(p, "scores");
    add_text(&p->text, "{");
    const int n = best_labels(p, x);
    for (int i = 0; i < n; i++) {
        add_text(&p->text, i ? ", " : "");
        hs_text_string(&p->text, hs_predict_label(p, p->order[i]));
        add_text(&p->text, ": ");
        hs_text_f32(&p->text, x->score[p->order[i]]);
    }
    add_text(&p->text, "}");
}

static void add_class(hs_predict_out *p, const hs_prediction *x)
{
    begin_member(p, "label");
    hs_text_string(&p->text, hs_predict_label(p, x->label));
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
            hs_text_string(&p->text, hs_predict_label(p, i));
        }
    add_text(&p->text, "]");
    add_scores(p, x);
}

static void add_numbers(hs_predict_out *p, const hs_prediction *x)
{
    begin_member(p, "score");
    add_text(&p->text, x->n_labels > 1 ? "[" : "");
    for (int i = 0; i < x->n_labels; i++) {
        add_text(&p->text, i ? ", " : "");
        hs_text_f32(&p->text, x->score[i]);
    }
    add_text(&p->text, x->n_labels > 1 ? "]" : "");
}

// ---- words

static void add_entities(hs_predict_out *p, const hs_prediction *x)
{
    const hs_example *e = x->example;
    const hs_tag_span *span;
    int n;
    if (hs_tag_spans_of(p->spans, x->tag, x->tag_score, e->n, &span, &n) != HS_OK) {
        p->text.failed = true;
        return;
    }
    begin_member(p, "entities");
    add_text(&p->text, "[");
    for (int i = 0; i < n; i++) {
        const int64_t start = e->word[span[i].first].start, end = e->word[span[i].end - 1].end;
        add_text(&p->text, i ? ", {\"type\": " : "{\"type\": ");
        hs_text_string(&p->text, hs_tag_spans_types(p->spans)->name[span[i].type]);
        add_text(&p->text, ", \"text\": ");
        add_string(&p->text, e->text[0] + start, (size_t)(end - start));
        hs_text_add(&p->text, ", \"start\": %lld, \"end\": %lld, \"score\": ", (long long)characters(e->text[0], start),
                    (long long)characters(e->text[0], end));
        hs_text_f32(&p->text, (float)span[i].score);
        add_text(&p->text, "}");
    }
    add_text(&p->text, "]");
}

static void add_tags(hs_predict_out *p, const hs_prediction *x)
{
    const int32_t n = x->example->n;
    begin_member(p, "tags");
    for (int32_t k = 0; k < n; k++) {
        add_text(&p->text, k ? ", " : "[");
        hs_text_string(&p->text, hs_predict_label(p, x->tag[k]));
    }
    add_text(&p->text, n ? "]" : "[]");
    begin_member(p, "scores");
    for (int32_t k = 0; k < n; k++) {
        add_text(&p->text, k ? ", " : "[");
        hs_text_f32(&p->text, x->tag_score[k]);
    }
    add_text(&p->text, n ? "]" : "[]");
    add_entities(p, x);
}

// ---- answers

static void add_answer_text(hs_text *t, const hs_prediction *x, const hs_span_guess *g)
{
    if (!g || g->none)
        add_text(t, "\"\"");
    else
        add_string(t, x->example->text[1] + g->start, (size_t)(g->end - g->start));
}

// In characters, as SQuAD counts; null: no answer.
static void add_place(hs_text *t, const char *context, const hs_span_guess *g, int64_t at)
{
    if (!g || g->none)
        add_text(t, "null");
    else
        hs_text_add(t, "%lld", (long long)characters(context, at));
}

static double probability_of(const hs_prediction *x)
{
    for (int i = 0; i < x->span.n; i++)
        if (x->span.answer ? &x->span.guess[i] == x->span.answer : x->span.guess[i].none)
            return x->span.guess[i].probability;
    return 0;
}

static void add_answers(hs_predict_out *p, const hs_prediction *x)
{
    hs_text *t = &p->text;
    const char *context = x->example->text[1];
    const hs_span_guess *answer = x->span.answer;
    begin_member(p, "answer");
    add_answer_text(t, x, answer);
    begin_member(p, "start");
    add_place(t, context, answer, answer ? answer->start : 0);
    begin_member(p, "end");
    add_place(t, context, answer, answer ? answer->end : 0);
    begin_member(p, "score");
    hs_text_f32(t, (float)probability_of(x));
    begin_member(p, "nbest");
    for (int i = 0; i < x->span.n; i++) {
        const hs_span_guess *g = &x->span.guess[i];
        add_text(t, i ? ", {\"text\": " : "[{\"text\": ");
        add_answer_text(t, x, g);
        add_text(t, ", \"start\": ");
        add_place(t, context, g, g->start);
        add_text(t, ", \"end\": ");
        add_place(t, context, g, g->end);
        add_text(t, ", \"score\": ");
        hs_text_f32(t, (float)g->probability);
        add_text(t, "}");
    }
    add_text(t, x->span.n ? "]" : "[]");
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
        add_string(&p->text, e->text[0] + e->word[k].start, (size_t)(e->word[k].end - e->word[k].start));
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
        add_string(&p->text, e->id, strlen(e->id));
    }
    begin_member(p, span ? "question" : "text");
    add_string(&p->text, e->text[0], e->bytes[0]);
    if (e->text[1] && !span) {
        begin_member(p, "text2");
        add_string(&p->text, e->text[1], e->bytes[1]);
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
    hs_predict_add_bytes(&p->text, raw.p + begin, n - begin);
    hs_predict_members(p, x);
    add_text(&p->text, p->found->list ? "}" : "}\n");
    return HS_OK;
}

// ---- SQuAD

static hs_status begin_answer(hs_predict_out *p, const hs_prediction *x)
{
    hs_text *t = &p->text;
    add_text(t, p->written ? ",\n    " : "{\n    ");
    add_string(t, x->example->id, strlen(x->example->id));
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
        add_answer_text(t, x, g);
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
    add_answer_text(&p->text, x, x->span.answer);
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
