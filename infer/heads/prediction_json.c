// prediction_json: see the header. A text's bytes are copied as they are: UTF-8 came in.
#include "infer/heads/prediction_json.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_prediction_json_open(hs_prediction_json *j, hs_about about, const hs_labels *labels)
{
    *j = (hs_prediction_json){ .labels = labels, .order = calloc((size_t)labels->n + 1, sizeof *j->order) };
    if (!j->order)
        return HS_FAIL(MEMORY, "no memory for %d labels", labels->n);
    return about == HS_ABOUT_TOKENS ? hs_tag_spans_new(&j->spans, labels) : HS_OK;
}

void hs_prediction_json_close(hs_prediction_json *j)
{
    hs_tag_spans_free(j->spans);
    free(j->order);
    *j = (hs_prediction_json){ 0 };
}

static void add_text(hs_text *t, const char *s) { hs_text_bytes(t, s, strlen(s)); }

static int64_t characters(const char *s, int64_t bytes)
{
    int64_t n = 0;
    for (int64_t i = 0; i < bytes; i++)
        n += ((unsigned char)s[i] & 0xC0) != 0x80;
    return n;
}

// ---- labels

int hs_prediction_best(hs_prediction_json *j, const hs_prediction *x, int top)
{
    const int most = top && top < x->n_labels ? top : x->n_labels;
    int n = 0;
    for (int i = 0; i < x->n_labels; i++) {
        if (n == most && !(x->score[i] > x->score[j->order[n - 1]]))
            continue;
        int at = n < most ? n++ : n - 1;
        for (; at > 0 && x->score[i] > x->score[j->order[at - 1]]; at--)
            j->order[at] = j->order[at - 1];
        j->order[at] = i;
    }
    return n;
}

void hs_prediction_scores(hs_prediction_json *j, hs_text *t, const hs_prediction *x, int top)
{
    const int n = hs_prediction_best(j, x, top);
    add_text(t, "{");
    for (int i = 0; i < n; i++) {
        add_text(t, i ? ", " : "");
        hs_text_string(t, hs_labels_name(j->labels, j->order[i]));
        add_text(t, ": ");
        hs_text_f32(t, x->score[j->order[i]]);
    }
    add_text(t, "}");
}

void hs_prediction_numbers(hs_text *t, const hs_prediction *x)
{
    add_text(t, x->n_labels > 1 ? "[" : "");
    for (int i = 0; i < x->n_labels; i++) {
        add_text(t, i ? ", " : "");
        hs_text_f32(t, x->score[i]);
    }
    add_text(t, x->n_labels > 1 ? "]" : "");
}

// ---- places

static void add_places(hs_text *t, const char *text, int64_t start, int64_t end, const hs_places *how)
{
    const int64_t first = characters(text, start);
    hs_text_add(t, ", \"start\": %lld, \"end\": %lld", (long long)first, (long long)(first + characters(text + start, end - start)));
    if (how->bytes)
        hs_text_add(t, ", \"start_byte\": %lld, \"end_byte\": %lld", (long long)start, (long long)end);
}

void hs_prediction_spans(hs_prediction_json *j, hs_text *t, const hs_prediction *x, const hs_places *how)
{
    const hs_example *e = x->example;
    const hs_tag_span *span;
    int n;
    if (hs_tag_spans_of(j->spans, x->tag, x->tag_score, e->n, &span, &n) != HS_OK) {
        t->failed = true;
        return;
    }
    add_text(t, "[");
    for (int i = 0; i < n; i++) {
        const int64_t start = e->word[span[i].first].start, end = e->word[span[i].end - 1].end;
        hs_text_add(t, "%s{\"%s\": ", i ? ", " : "", how->type);
        hs_text_string(t, hs_tag_spans_types(j->spans)->name[span[i].type]);
        add_text(t, ", \"text\": ");
        hs_text_quote(t, e->text[0] + start, (size_t)(end - start));
        add_places(t, e->text[0], start, end, how);
        add_text(t, ", \"score\": ");
        hs_text_f32(t, (float)span[i].score);
        add_text(t, "}");
    }
    add_text(t, "]");
}

// ---- answers

void hs_prediction_answer_text(hs_text *t, const hs_prediction *x, const hs_span_guess *g)
{
    if (!g || g->none)
        add_text(t, "\"\"");
    else
        hs_text_quote(t, x->example->text[1] + g->start, (size_t)(g->end - g->start));
}

void hs_prediction_place(hs_text *t, const hs_prediction *x, const hs_span_guess *g, int64_t at)
{
    if (!g || g->none)
        add_text(t, "null");
    else
        hs_text_add(t, "%lld", (long long)characters(x->example->text[1], at));
}

double hs_prediction_answer_score(const hs_prediction *x)
{
    for (int i = 0; i < x->span.n; i++)
        if (x->span.answer ? &x->span.guess[i] == x->span.answer : x->span.guess[i].none)
            return x->span.guess[i].probability;
    return 0;
}

void hs_prediction_answers(hs_text *t, const hs_prediction *x, int top, const hs_places *how)
{
    const int n = top && top < x->span.n ? top : x->span.n;
    add_text(t, "[");
    for (int i = 0; i < n; i++) {
        const hs_span_guess *g = &x->span.guess[i];
        add_text(t, i ? ", {\"text\": " : "{\"text\": ");
        hs_prediction_answer_text(t, x, g);
        if (g->none)
            add_text(t, how->bytes ? ", \"start\": null, \"end\": null, \"start_byte\": null, \"end_byte\": null"
                                   : ", \"start\": null, \"end\": null");
        else
            add_places(t, x->example->text[1], g->start, g->end, how);
        add_text(t, ", \"score\": ");
        hs_text_f32(t, (float)g->probability);
        add_text(t, "}");
    }
    add_text(t, "]");
}
