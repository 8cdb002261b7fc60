// read_squad: questions with their answers, as records and in SQuAD's articles.
#include "core/base/grow.h"
#include "data/base/utf8.h"
#include "data/labelled/read_json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- answers

// Bytes of the first so many characters; *there: the text has them.
static size_t bytes_of(hs_slice text, double characters, bool *there)
{
    const unsigned char *s = (const unsigned char *)text.p;
    size_t at = 0;
    int n;
    for (; characters > 0 && at < text.bytes; characters--) {
        hs_utf8_next(s + at, text.bytes - at, &n);
        at += (size_t)n;
    }
    *there = characters <= 0;
    return at;
}

static hs_status take_answer(hs_label_reader *r, int text, int start)
{
    const hs_slice context = r->entry.text[1];
    hs_slice s;
    bool there;
    HS_TRY(hs_record_string(r, text, "an answer", &s));
    if (start == 0 || hs_record_kind(r, start) != HS_JSON_NUMBER)
        return hs_label_fail(r, hs_record_line(r, hs_record_place(r, text)), "an answer without a number as its answer_start");
    if (s.bytes == 0)
        return hs_label_fail(r, hs_record_line(r, hs_record_place(r, text)),
                             "an answer without text; a question without an answer has an empty list");
    const double at = hs_json_tree_number(&r->tree, start);
    if (at != floor(at))
        return hs_label_fail(r, hs_record_line(r, hs_record_place(r, start)), "answer_start is %g, not a whole number of characters", at);
    const size_t begin = at >= 0 ? bytes_of(context, at, &there) : 0;
    if (!(at >= 0) || !there || context.bytes - begin < s.bytes || memcmp(context.p + begin, s.p, s.bytes) != 0)
        return hs_label_fail(r, hs_record_line(r, hs_record_place(r, text)), "the answer \"%.*s\" is not in its context at character %.0f",
                             (int)(s.bytes < 80 ? s.bytes : 80), s.p, at);
    if (!hs_grow(&r->answer, r->n_answers, &r->answer_room, sizeof *r->answer))
        return HS_FAIL(MEMORY, "no memory for %d answers", r->n_answers + 1);
    r->answer[r->n_answers++] = (hs_answer){ (int64_t)begin, (int64_t)(begin + s.bytes) };
    return HS_OK;
}

// {"text": [..], "answer_start": [..]}
static hs_status take_answer_lists(hs_label_reader *r, int answers)
{
    int texts, starts;
    HS_TRY(hs_record_get(r, answers, "text", &texts));
    HS_TRY(hs_record_get(r, answers, "answer_start", &starts));
    if (hs_record_is_null(r, texts) || hs_record_is_null(r, starts))
        return hs_record_missing(r, answers, texts ? "answer_start" : "text");
    if (hs_record_kind(r, texts) == HS_JSON_STRING)
        return take_answer(r, texts, starts);
    if (hs_record_kind(r, texts) != HS_JSON_LIST || hs_record_kind(r, starts) != HS_JSON_LIST)
        return hs_record_wrong_kind(r, hs_record_kind(r, texts) != HS_JSON_LIST ? texts : starts, "text or answer_start of answers",
                                    "a list");
    if (r->tree.node[texts].n != r->tree.node[starts].n)
        return hs_label_fail(r, hs_record_line(r, hs_record_place(r, answers)), "%d answers and %d starts", r->tree.node[texts].n,
                             r->tree.node[starts].n);
    for (int i = hs_json_first(texts), k = hs_json_first(starts); i < r->tree.node[texts].behind;
         i = r->tree.node[i].behind, k = r->tree.node[k].behind)
        HS_TRY(take_answer(r, i, k));
    return HS_OK;
}

static hs_status take_answers(hs_label_reader *r, int object)
{
    int answers, impossible, text, start;
    HS_TRY(hs_record_get(r, object, r->o->label && r->o->label[0] ? r->o->label : "answers", &answers));
    HS_TRY(hs_record_get(r, object, "is_impossible", &impossible));
    r->entry.labelled = !hs_record_is_null(r, answers) || !hs_record_is_null(r, impossible);
    if (!r->entry.labelled)
        return r->o->labels_optional ? HS_OK : hs_record_missing(r, object, "answers");
    if ((impossible && hs_record_kind(r, impossible) == HS_JSON_TRUE) || hs_record_is_null(r, answers))
        return HS_OK;
    if (hs_record_kind(r, answers) == HS_JSON_OBJECT)
        return take_answer_lists(r, answers);
    if (hs_record_kind(r, answers) != HS_JSON_LIST)
        return hs_record_wrong_kind(r, answers, "what has the answers", "a list");
    for (int i = hs_json_first(answers); i < r->tree.node[answers].behind; i = r->tree.node[i].behind) {
        if (hs_record_kind(r, i) != HS_JSON_OBJECT)
            return hs_record_wrong_kind(r, i, "an answer", "an object");
        HS_TRY(hs_record_get(r, i, "text", &text));
        HS_TRY(hs_record_get(r, i, "answer_start", &start));
        if (text == 0)
            return hs_record_missing(r, i, "text");
        HS_TRY(take_answer(r, text, start));
    }
    return HS_OK;
}

static hs_status take_question(hs_label_reader *r, int object)
{
    int question, id;
    const char *key = r->o->text && r->o->text[0] ? r->o->text : "question";
    HS_TRY(hs_record_get(r, object, key, &question));
    HS_TRY(hs_record_get(r, object, r->o->id && r->o->id[0] ? r->o->id : "id", &id));
    if (question == 0)
        return hs_record_missing(r, object, key);
    HS_TRY(hs_record_string(r, question, "the question", &r->entry.text[0]));
    HS_TRY(hs_record_id(r, id));
    return take_answers(r, object);
}

hs_status hs_record_span(hs_label_reader *r, int object)
{
    int context;
    const char *key = r->o->text2 && r->o->text2[0] ? r->o->text2 : "context";
    HS_TRY(hs_record_get(r, object, key, &context));
    if (context == 0)
        return hs_record_missing(r, object, key);
    HS_TRY(hs_record_string(r, context, "the context", &r->entry.text[1]));
    return take_question(r, object);
}

// ---- SQuAD

hs_status hs_squad_begin(hs_label_reader *r, const hs_label_head *head)
{
    r->found.impossible = memmem(head->p, head->bytes, "\"is_impossible\"", 15) != NULL;
    return r->o->about == HS_ABOUT_SPAN ? HS_OK : hs_label_fail(r, 1, "SQuAD is answers to questions: its task is span");
}

static hs_status get_list(hs_label_reader *r, int object, const char *key, int *list)
{
    if (hs_record_kind(r, object) != HS_JSON_OBJECT)
        return hs_record_wrong_kind(r, object, "a part of SQuAD", "an object");
    HS_TRY(hs_record_get(r, object, key, list));
    if (*list == 0)
        return hs_record_missing(r, object, key);
    return hs_record_kind(r, *list) == HS_JSON_LIST ? HS_OK : hs_record_wrong_kind(r, *list, key, "a list");
}

static hs_status begin_paragraph(hs_label_reader *r)
{
    int context, questions;
    const char *wrong;
    HS_TRY(get_list(r, r->paragraph, "qas", &questions));
    HS_TRY(hs_record_get(r, r->paragraph, "context", &context));
    if (context == 0)
        return hs_record_missing(r, r->paragraph, "context");
    if (hs_record_kind(r, context) != HS_JSON_STRING)
        return hs_record_wrong_kind(r, context, "the context", "a string");
    const size_t room = 2 * (r->tree.node[context].end - r->tree.node[context].begin) + 8;
    char *text = malloc(room);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for a context of %zu bytes", room);
    free(r->context);
    r->context = text;
    r->context_bytes = hs_json_tree_string(&r->tree, context, text, &wrong);
    if (wrong)
        return hs_label_fail(r, hs_record_line(r, hs_record_place(r, context)), "the context has %s", wrong);
    r->entry.text_number++;
    r->questions = questions;
    r->question = hs_json_first(questions);
    return HS_OK;
}

static hs_status begin_article(hs_label_reader *r)
{
    HS_TRY(get_list(r, r->article, "paragraphs", &r->paragraphs));
    r->paragraph = hs_json_first(r->paragraphs);
    r->document = true;
    return HS_OK;
}

static hs_status open_squad(hs_label_reader *r)
{
    HS_TRY(hs_record_read_all(r));
    if (!r->record.p)
        return HS_OK;
    HS_TRY(hs_record_parse(r, 0));
    if (!hs_is_blank(r->record.p + r->tree.end, r->record.bytes - r->tree.end))
        return hs_label_fail(r, hs_record_line(r, r->tree.end), "not JSON: more behind the end of its value");
    HS_TRY(get_list(r, 0, "data", &r->articles));
    r->article = hs_json_first(r->articles);
    return HS_OK;
}

// Predictions are found by it.
static hs_status check_id(hs_label_reader *r)
{
    const hs_slice id = r->entry.id;
    int index;
    if (!id.p)
        return HS_OK;
    char *name = strndup(id.p, id.bytes);
    const int before = r->ids.n;
    const hs_status st = name ? hs_labels_add(&r->ids, name, &index) : HS_FAIL(MEMORY, "no memory for an id");
    free(name);
    HS_TRY(st);
    return index < before
               ? hs_label_fail(r, r->entry.line, "a second question with id \"%.*s\"", (int)(id.bytes < 80 ? id.bytes : 80), id.p)
               : HS_OK;
}

static bool is_done(const hs_label_reader *r, int list, int at) { return list == 0 || at >= r->tree.node[list].behind; }

hs_status hs_squad_next(hs_label_reader *r, bool *end)
{
    if (!r->record.p)
        HS_TRY(open_squad(r));
    while (is_done(r, r->questions, r->question)) {
        if (r->questions)
            r->paragraph = r->tree.node[r->paragraph].behind, r->questions = 0;
        if (is_done(r, r->paragraphs, r->paragraph)) {
            if (r->paragraphs)
                r->article = r->tree.node[r->article].behind, r->paragraphs = 0;
            *end = is_done(r, r->articles, r->article);
            if (*end)
                return HS_OK;
            HS_TRY(begin_article(r));
            continue;
        }
        HS_TRY(begin_paragraph(r));
    }
    const int node = r->question;
    r->question = r->tree.node[node].behind;
    r->pool_at = 0;
    r->entry.line = hs_record_line(r, hs_record_place(r, node));
    r->entry.raw = (hs_slice){ r->tree.text + r->tree.node[node].begin, r->tree.node[node].end - r->tree.node[node].begin };
    r->entry.text[1] = (hs_slice){ r->context, r->context_bytes };
    if (hs_record_kind(r, node) != HS_JSON_OBJECT)
        return hs_record_wrong_kind(r, node, "a question", "an object");
    HS_TRY(take_question(r, node));
    return check_id(r);
}
