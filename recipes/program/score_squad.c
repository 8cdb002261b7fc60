// score_squad: SQuAD's files by their parts, each with the line it stands in.
#include "recipes/program/score_squad.h"
#include "core/base/grow.h"
#include "core/base/log.h"
#include "data/base/file.h"
#include "data/base/json_tree.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct file { // one JSON file, value by value
    const char *path;
    char *text;
    size_t bytes, at; // at: of the value that is parsed
    hs_json_tree tree;
    hs_score_questions *out;
    int room, lengths;
    int64_t context_words;
} file;

// ---- places

static hs_status fail_at(const file *f, size_t byte, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static hs_status fail_at(const file *f, size_t byte, const char *fmt, ...)
{
    char what[600];
    int64_t line = 1;
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (byte >= f->bytes) // it ends too early: that is where its last character stands
        for (byte = f->bytes; byte > 0 && strchr(" \t\r\n", f->text[byte - 1]);)
            byte--;
    for (size_t i = 0; i < byte; i++)
        line += f->text[i] == '\n';
    for (char *p = what; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return HS_FAIL(USAGE, "%s:%lld: %s", f->path, (long long)line, what);
}

static size_t place(const file *f, int node) { return f->at + f->tree.node[node].begin; }
static int kind(const file *f, int node) { return f->tree.node[node].kind; }
static int get(const file *f, int object, const char *key)
{
    return kind(f, object) == HS_JSON_OBJECT ? hs_json_tree_get(&f->tree, object, key, NULL) : 0;
}

static hs_status text_of(file *f, int node, const char *what, const char **out)
{
    const char *wrong;
    if (kind(f, node) != HS_JSON_STRING)
        return fail_at(f, place(f, node), "%s is %s, not a string", what, hs_json_kind_names[kind(f, node)]);
    const size_t bytes = f->tree.node[node].end - f->tree.node[node].begin;
    char *to = hs_arena_take(&f->out->arena, bytes + bytes / 2 + 5);
    if (!to)
        return HS_FAIL(MEMORY, "no memory for a text of %zu bytes", bytes);
    hs_json_tree_string(&f->tree, node, to, &wrong);
    if (wrong)
        return fail_at(f, place(f, node), "%s has %s", what, wrong);
    *out = to;
    return HS_OK;
}

static hs_status number_of(file *f, int node, const char *what, double *out)
{
    *out = kind(f, node) == HS_JSON_NUMBER ? hs_json_tree_number(&f->tree, node) : NAN;
    return isnan(*out) ? fail_at(f, place(f, node), "%s is no number", what) : HS_OK;
}

static int64_t words_in(const char *s)
{
    int64_t n = 0;
    for (bool in = false; *s; s++) {
        n += (unsigned char)*s > ' ' && !in;
        in = (unsigned char)*s > ' ';
    }
    return n;
}

// ---- values of a file, whose objects `take` gets one by one

typedef hs_status taker(file *f, int node);

static hs_status each(file *f, int list, const char *what, taker *take)
{
    if (kind(f, list) != HS_JSON_LIST)
        return fail_at(f, place(f, list), "%s is %s, not a list", what, hs_json_kind_names[kind(f, list)]);
    for (int i = hs_json_first(list); i < f->tree.node[list].behind; i = f->tree.node[i].behind)
        HS_TRY(take(f, i));
    return HS_OK;
}

static hs_status each_value(file *f, taker *take)
{
    hs_status st = HS_OK;
    size_t n = 0;
    for (f->at = 0; st == HS_OK; f->at += f->tree.end, n++) {
        f->at += strspn(f->text + f->at, " \t\r\n");
        if (f->at >= f->bytes)
            return n ? HS_OK : HS_FAIL(USAGE, "%s: is empty", f->path);
        if (!hs_json_tree_parse(&f->tree, f->text + f->at, f->bytes - f->at))
            return f->tree.wrong ? fail_at(f, f->at + f->tree.wrong_at, "not JSON: %s", f->tree.wrong)
                                 : HS_FAIL(MEMORY, "%s: no memory for its JSON", f->path);
        st = take(f, 0);
    }
    return st;
}

static hs_status read_file(hs_score_questions *out, const char *path, taker *take)
{
    file f = { .path = path, .out = out };
    hs_status st = hs_file_read(path, &f.text, &f.bytes);
    f.at = st == HS_OK && f.bytes >= 3 && memcmp(f.text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    if (f.at) // a byte order mark says nothing here
        memset(f.text, ' ', 3);
    if (st == HS_OK)
        st = each_value(&f, take);
    free(f.text);
    hs_json_tree_free(&f.tree);
    return st;
}

// ---- gold

static hs_status question_id(file *f, int object, const char **id)
{
    const int node = get(f, object, "id");
    if (node == 0)
        return fail_at(f, place(f, object), "a question without \"id\"");
    if (kind(f, node) == HS_JSON_NUMBER) {
        *id = hs_arena_text(&f->out->arena, f->tree.text + f->tree.node[node].begin, f->tree.node[node].end - f->tree.node[node].begin);
        return *id ? HS_OK : HS_FAIL(MEMORY, "no memory for an id");
    }
    return text_of(f, node, "\"id\"", id);
}

// [{"text": ".."}], [".."] or {"text": [".."]}.
static hs_status answers_of(file *f, int node, hs_span_answer *a)
{
    if (node && kind(f, node) == HS_JSON_OBJECT)
        node = get(f, node, "text");
    if (node == 0 || kind(f, node) != HS_JSON_LIST)
        return fail_at(f, place(f, node), "question %s has no list of \"answers\"", a->id);
    const char **gold = hs_arena_take(&f->out->arena, ((size_t)f->tree.node[node].n + 1) * sizeof *gold);
    if (!gold)
        return HS_FAIL(MEMORY, "no memory for answers");
    for (int i = hs_json_first(node); i < f->tree.node[node].behind; i = f->tree.node[i].behind) {
        const int text = kind(f, i) == HS_JSON_OBJECT ? get(f, i, "text") : i;
        if (text == 0 && kind(f, i) == HS_JSON_OBJECT)
            return fail_at(f, place(f, i), "an answer without \"text\"");
        HS_TRY(text_of(f, text, "an answer", &gold[a->n_gold++]));
    }
    a->gold = gold;
    return HS_OK;
}

static hs_status take_question(file *f, int node)
{
    hs_score_questions *q = f->out;
    const int context = get(f, node, "context");
    const char *text;
    int index;
    if (kind(f, node) != HS_JSON_OBJECT)
        return fail_at(f, place(f, node), "a question is %s, not an object", hs_json_kind_names[kind(f, node)]);
    if (!hs_grow(&q->answer, (int)q->n, &f->room, sizeof *q->answer) || !hs_grow(&q->length, (int)q->n, &f->lengths, sizeof *q->length))
        return HS_FAIL(MEMORY, "no memory for %lld questions", (long long)q->n + 1);
    hs_span_answer *a = &q->answer[q->n];
    *a = (hs_span_answer){ 0 };
    HS_TRY(question_id(f, node, &a->id));
    HS_TRY(answers_of(f, get(f, node, "answers"), a));
    HS_TRY(hs_labels_add(&q->id, a->id, &index));
    if (index != q->n)
        return fail_at(f, place(f, node), "a second question with id %s", a->id);
    if (context) {
        HS_TRY(text_of(f, context, "\"context\"", &text));
        f->context_words = words_in(text);
    }
    q->version_2 |= a->n_gold == 0;
    q->length[q->n++] = f->context_words;
    return HS_OK;
}

static hs_status take_paragraph(file *f, int node)
{
    const int context = get(f, node, "context"), qas = get(f, node, "qas");
    const char *text;
    f->context_words = 0;
    if (context) {
        HS_TRY(text_of(f, context, "\"context\"", &text));
        f->context_words = words_in(text);
    }
    return qas ? each(f, qas, "\"qas\"", take_question) : fail_at(f, place(f, node), "a paragraph without \"qas\"");
}

static hs_status take_article(file *f, int node)
{
    const int paragraphs = get(f, node, "paragraphs");
    return paragraphs ? each(f, paragraphs, "\"paragraphs\"", take_paragraph) : take_question(f, node);
}

static hs_status take_gold(file *f, int node)
{
    const int data = get(f, node, "data");
    if (kind(f, node) == HS_JSON_LIST)
        return each(f, node, "the file", take_question);
    return data ? each(f, data, "\"data\"", take_article) : take_question(f, node);
}

// ---- predictions and odds

static int question_of(const file *f, const char *id)
{
    const int i = hs_labels_find(&f->out->id, id);
    if (i < 0)
        f->out->unknown++;
    return i;
}

static hs_status set_pred(file *f, int node, int index, const char *text)
{
    hs_span_answer *a = &f->out->answer[index];
    if (a->pred)
        return fail_at(f, place(f, node), "a second prediction for question %s", a->id);
    a->pred = text;
    a->odds = NAN;
    return HS_OK;
}

static hs_status take_record(file *f, int node)
{
    static const char *const keys[] = { "prediction_text", "prediction", "answer", "predicted" };
    static const char *const odds[] = { "no_answer_probability", "null_odds", "na_prob" };
    const char *id = "", *text = "";
    int answer = 0, at = 0;
    for (int i = 0; i < HS_COUNT(keys) && !answer; i++)
        answer = get(f, node, keys[i]);
    for (int i = 0; i < HS_COUNT(odds) && !at; i++)
        at = get(f, node, odds[i]);
    if (!answer)
        return fail_at(f, place(f, node), "a record without \"prediction_text\"");
    HS_TRY(question_id(f, node, &id));
    HS_TRY(text_of(f, answer, "a prediction", &text));
    const int index = question_of(f, id);
    if (index < 0)
        return HS_OK;
    HS_TRY(set_pred(f, node, index, text));
    f->out->answer[index].order = index;
    return at ? number_of(f, at, "\"no_answer_probability\"", &f->out->answer[index].odds) : HS_OK;
}

// {"id": ".."}
static hs_status take_map(file *f, int node)
{
    for (int i = hs_json_first(node); i < f->tree.node[node].behind; i = f->tree.node[i + 1].behind) {
        const char *id = "", *text = "";
        HS_TRY(text_of(f, i, "an id", &id));
        HS_TRY(text_of(f, i + 1, id, &text));
        const int index = question_of(f, id);
        if (index >= 0)
            HS_TRY(set_pred(f, i, index, text));
    }
    return HS_OK;
}

static hs_status take_pred(file *f, int node)
{
    if (kind(f, node) == HS_JSON_LIST)
        return each(f, node, "the file", take_record);
    if (kind(f, node) != HS_JSON_OBJECT)
        return fail_at(f, place(f, node), "predictions are an object of answers by id, or records");
    return get(f, node, "id") ? take_record(f, node) : take_map(f, node);
}

static hs_status take_odds(file *f, int node)
{
    int64_t order = 0;
    if (kind(f, node) != HS_JSON_OBJECT)
        return fail_at(f, place(f, node), "odds are an object of numbers by id");
    for (int i = hs_json_first(node); i < f->tree.node[node].behind; i = f->tree.node[i + 1].behind) {
        const char *id = "";
        double v;
        HS_TRY(text_of(f, i, "an id", &id));
        HS_TRY(number_of(f, i + 1, id, &v));
        const int index = question_of(f, id);
        if (index >= 0)
            f->out->answer[index].odds = v, f->out->answer[index].order = order++;
    }
    return HS_OK;
}

static hs_status check_odds(hs_score_questions *q, const char *path)
{
    int64_t n = 0, missing = -1;
    for (int64_t i = 0; i < q->n; i++) {
        n += q->answer[i].pred && !isnan(q->answer[i].odds);
        if (q->answer[i].pred && isnan(q->answer[i].odds))
            missing = i;
    }
    q->odds = n > 0 && missing < 0;
    if (missing >= 0 && path)
        return HS_FAIL(USAGE, "%s: has no odds of question %s", path, q->answer[missing].id);
    for (int64_t i = 0; i < q->n && !q->odds; i++)
        q->answer[i].odds = 0, q->answer[i].order = 0;
    return HS_OK;
}

hs_status hs_score_questions_read(hs_score_questions *out, const char *gold, const char *pred, const char *odds)
{
    *out = (hs_score_questions){ 0 };
    HS_TRY(read_file(out, gold, take_gold));
    HS_TRY(read_file(out, pred, take_pred));
    if (odds)
        HS_TRY(read_file(out, odds, take_odds));
    if (out->unknown)
        hs_warn("%s: %lld prediction%s of questions that %s has not", pred, (long long)out->unknown, hs_plural(out->unknown), gold);
    return check_odds(out, odds);
}

void hs_score_questions_free(hs_score_questions *q)
{
    free(q->answer);
    free(q->length);
    hs_labels_free(&q->id);
    hs_arena_free(&q->arena);
    *q = (hs_score_questions){ 0 };
}
