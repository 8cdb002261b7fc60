// read_json: records of JSON by their keys - a line each, in a list, or one behind the other - and SQuAD's articles.
#include "core/base/grow.h"
#include "core/base/log.h"
#include "data/base/utf8.h"
#include "data/labelled/label_reader_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- places and values

static int64_t line_of(hs_label_reader *r, size_t at)
{
    const char *text = r->record.p;
    if (at < r->counted_to)
        r->counted_to = 0, r->counted = 0;
    for (const char *p; r->counted_to < at && (p = memchr(text + r->counted_to, '\n', at - r->counted_to)) != NULL;) {
        r->counted++;
        r->counted_to = (size_t)(p - text) + 1;
    }
    return r->record.line + r->counted;
}

// Of a node: where it stands in the record.
static size_t place_of(const hs_label_reader *r, int node) { return (size_t)(r->tree.text - r->record.p) + r->tree.node[node].begin; }
static int kind_of(const hs_label_reader *r, int node) { return r->tree.node[node].kind; }
static bool is_null(const hs_label_reader *r, int node) { return node == 0 || kind_of(r, node) == HS_JSON_NULL; }

static hs_status parse(hs_label_reader *r, size_t at)
{
    if (hs_json_tree_parse(&r->tree, r->record.p + at, r->record.bytes - at))
        return HS_OK;
    if (!r->tree.wrong)
        return HS_FAIL(MEMORY, "%s: no memory for its JSON", hs_label_reader_name(r));
    size_t wrong = at + r->tree.wrong_at;
    if (wrong >= r->record.bytes) // it ends too early: that is where its last character stands
        for (wrong = r->record.bytes; wrong > at && hs_is_blank(r->record.p + wrong - 1, 1);)
            wrong--;
    return hs_label_fail(r, line_of(r, wrong), "not JSON: %s", r->tree.wrong);
}

static hs_status wrong_kind(hs_label_reader *r, int node, const char *what, const char *wanted)
{
    return hs_label_fail(r, line_of(r, place_of(r, node)), "%s is %s, not %s", what, hs_json_kind_names[kind_of(r, node)], wanted);
}

static hs_status take_string(hs_label_reader *r, int node, const char *what, hs_slice *out)
{
    const char *wrong;
    if (kind_of(r, node) != HS_JSON_STRING)
        return wrong_kind(r, node, what, "a string");
    const size_t raw = r->tree.node[node].end - r->tree.node[node].begin;
    HS_TRY(hs_label_room(r, raw + raw / 2 + 5));
    char *to = r->pool + r->pool_at;
    const size_t n = hs_json_tree_string(&r->tree, node, to, &wrong);
    if (wrong)
        return hs_label_fail(r, line_of(r, place_of(r, node)), "%s has %s", what, wrong);
    r->pool_at += n + 1;
    *out = (hs_slice){ to, n };
    return HS_OK;
}

// A string, a number as it is written, true, false.
static hs_status take_scalar(hs_label_reader *r, int node, const char *what, hs_slice *out)
{
    const hs_json_node *v = &r->tree.node[node];
    if (v->kind == HS_JSON_STRING)
        return take_string(r, node, what, out);
    if (v->kind == HS_JSON_LIST || v->kind == HS_JSON_OBJECT || v->kind == HS_JSON_NULL)
        return wrong_kind(r, node, what, "a string or a number");
    *out = (hs_slice){ r->tree.text + v->begin, v->end - v->begin };
    return HS_OK;
}

// The value of a key that stands once; 0: there is none.
static hs_status get(hs_label_reader *r, int object, const char *key, int *out)
{
    bool twice;
    *out = hs_json_tree_get(&r->tree, object, key, &twice);
    return twice ? hs_label_fail(r, line_of(r, place_of(r, *out)), "the key \"%s\" stands twice", key) : HS_OK;
}

static hs_status get_any(hs_label_reader *r, int object, const char *given, const char *const *keys, int n, int *out)
{
    *out = 0;
    if (given && given[0])
        return get(r, object, given, out);
    for (int i = 0; i < n && *out == 0; i++)
        HS_TRY(get(r, object, keys[i], out));
    return HS_OK;
}

static hs_status missing(hs_label_reader *r, int object, const char *what)
{
    char buf[400];
    size_t at = 0;
    buf[0] = 0;
    for (int i = hs_json_first(object); i < r->tree.node[object].behind && at + 60 < sizeof buf; i = r->tree.node[i + 1].behind) {
        const hs_json_node *key = &r->tree.node[i];
        const size_t n = key->end - key->begin < 40 ? key->end - key->begin : 40;
        if (at)
            memcpy(buf + at, ", ", 2), at += 2;
        memcpy(buf + at, r->tree.text + key->begin, n);
        buf[at += n] = 0;
    }
    return hs_label_fail(r, line_of(r, place_of(r, object)), "no key \"%s\"; it has: %s", what, buf);
}

// ---- labels

static hs_status take_list(hs_label_reader *r, int list, const char *what)
{
    for (int i = hs_json_first(list); i < r->tree.node[list].behind; i = r->tree.node[i].behind) {
        hs_slice s;
        HS_TRY(take_scalar(r, i, what, &s));
        HS_TRY(hs_label_add_tag(r, s));
    }
    return HS_OK;
}

static hs_status take_indicator(hs_label_reader *r, int node, const char *name)
{
    const int kind = kind_of(r, node);
    const double v = kind == HS_JSON_NUMBER ? hs_json_tree_number(&r->tree, node) : kind == HS_JSON_TRUE;
    if (kind > HS_JSON_NUMBER || kind == HS_JSON_NULL || (v != 0 && v != 1))
        return hs_label_fail(r, r->entry.line, "\"%s\" is a label with a key of its own, which is 0 or 1", name);
    return v == 1 ? hs_label_add_tag(r, (hs_slice){ name, strlen(name) }) : HS_OK;
}

static hs_status take_label(hs_label_reader *r, int object)
{
    hs_label_entry *e = &r->entry;
    const bool several = r->o->about == HS_ABOUT_MULTILABEL || r->o->about == HS_ABOUT_REGRESSION;
    for (int i = 0; i < r->roles.n_labels; i++) {
        const char *name = r->name[r->roles.label[i]];
        int node;
        hs_slice s;
        HS_TRY(get(r, object, name, &node));
        if (node == 0 && !r->o->labels_optional)
            return missing(r, object, name);
        if (is_null(r, node)) {
            if (!r->o->labels_optional)
                return hs_label_fail(r, e->line, "the label \"%s\" is null", name);
            continue;
        }
        e->labelled = true;
        if (r->roles.indicator) {
            HS_TRY(take_indicator(r, node, name));
        } else if (several && kind_of(r, node) == HS_JSON_LIST) {
            HS_TRY(take_list(r, node, "a label"));
        } else {
            HS_TRY(take_scalar(r, node, "the label", &s));
            HS_TRY(hs_label_add_tag(r, s));
        }
    }
    return HS_OK;
}

// ---- texts

static hs_status learn_roles(hs_label_reader *r, int object)
{
    const int n = r->tree.node[object].n;
    hs_slices names = { 0 };
    bool *bits = calloc((size_t)n + 1, sizeof *bits);
    r->name = calloc((size_t)n + 1, sizeof *r->name);
    hs_status st = bits && r->name ? HS_OK : HS_FAIL(MEMORY, "no memory for %d keys", n);
    for (int i = hs_json_first(object); st == HS_OK && i < r->tree.node[object].behind; i = r->tree.node[i + 1].behind) {
        hs_slice s;
        const int kind = kind_of(r, i + 1);
        HS_TRY_GOTO(st, take_string(r, i, "a key", &s), done);
        if (!(r->name[r->n_names] = strndup(s.p, s.bytes))) {
            st = HS_FAIL(MEMORY, "no memory for %d keys", n);
            goto done;
        }
        const double v = kind == HS_JSON_NUMBER ? hs_json_tree_number(&r->tree, i + 1) : 0;
        bits[r->n_names++] = kind == HS_JSON_TRUE || kind == HS_JSON_FALSE || (kind == HS_JSON_NUMBER && (v == 0 || v == 1));
        HS_TRY_GOTO(st, hs_slices_add(&names, s), done);
    }
    if (st == HS_OK)
        st = hs_label_roles_by_name(r, line_of(r, place_of(r, object)), names.at, bits, names.n);
    r->begun = st == HS_OK;
done:
    free(bits);
    free(names.at);
    return st;
}

static hs_status take_id(hs_label_reader *r, int node)
{
    return is_null(r, node) || kind_of(r, node) > HS_JSON_STRING ? HS_OK : take_scalar(r, node, "the id", &r->entry.id);
}

static hs_status take_by_roles(hs_label_reader *r, int object)
{
    int node;
    if (!r->begun)
        HS_TRY(learn_roles(r, object));
    for (int i = 0; i < 2; i++) {
        if (r->roles.text[i] < 0)
            continue;
        const char *name = r->name[r->roles.text[i]];
        HS_TRY(get(r, object, name, &node));
        if (node == 0)
            return missing(r, object, name);
        if (i == 0 && r->o->label_is_text && kind_of(r, node) != HS_JSON_STRING)
            r->entry.text[i] = (hs_slice){ "", 0 };
        else
            HS_TRY(take_string(r, node, name, &r->entry.text[i]));
    }
    if (r->roles.id >= 0) {
        HS_TRY(get(r, object, r->name[r->roles.id], &node));
        HS_TRY(take_id(r, node));
    }
    return HS_OK;
}

static hs_status take_sequence(hs_label_reader *r, int object)
{
    HS_TRY(take_by_roles(r, object));
    return take_label(r, object);
}

// ---- words

static hs_status take_tokens(hs_label_reader *r, int object)
{
    static const char *const word_keys[] = { "tokens", "words", "sentence", "text" };
    static const char *const tag_keys[] = { "ner_tags", "tags", "labels", "ner", "label", "pos_tags", "pos" };
    int words, tags, id;
    HS_TRY(get_any(r, object, r->o->text, word_keys, HS_COUNT(word_keys), &words));
    HS_TRY(get_any(r, object, r->o->label, tag_keys, HS_COUNT(tag_keys), &tags));
    HS_TRY(get(r, object, r->o->id && r->o->id[0] ? r->o->id : "id", &id));
    HS_TRY(take_id(r, id));
    if (words == 0)
        return missing(r, object, r->o->text && r->o->text[0] ? r->o->text : "tokens");
    if (is_null(r, tags) && !r->o->labels_optional)
        return missing(r, object, r->o->label && r->o->label[0] ? r->o->label : "tags");
    if (kind_of(r, words) == HS_JSON_STRING && is_null(r, tags)) {
        HS_TRY(take_string(r, words, "the text", &r->entry.text[0]));
        return hs_label_plain_words(r);
    }
    if (kind_of(r, words) != HS_JSON_LIST)
        return wrong_kind(r, words, "what has the words", "a list");
    r->field.n = 0;
    for (int i = hs_json_first(words); i < r->tree.node[words].behind; i = r->tree.node[i].behind) {
        hs_slice s;
        HS_TRY(take_string(r, i, "a word", &s));
        HS_TRY(hs_slices_add(&r->field, s));
    }
    for (int i = 0; i < r->field.n; i++) // texts behind all words: these stand in the pool already
        HS_TRY(hs_label_add_word(r, r->field.at[i], 0));
    if (r->n_words == 0)
        r->entry.text[0] = (hs_slice){ "", 0 };
    if (is_null(r, tags))
        return HS_OK;
    if (kind_of(r, tags) != HS_JSON_LIST)
        return wrong_kind(r, tags, "what has the tags", "a list");
    r->entry.labelled = true;
    return take_list(r, tags, "a tag");
}

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
    HS_TRY(take_string(r, text, "an answer", &s));
    if (start == 0 || kind_of(r, start) != HS_JSON_NUMBER)
        return hs_label_fail(r, line_of(r, place_of(r, text)), "an answer without a number as its answer_start");
    if (s.bytes == 0)
        return hs_label_fail(r, line_of(r, place_of(r, text)), "an answer without text; a question without an answer has an empty list");
    const double at = hs_json_tree_number(&r->tree, start);
    if (at != floor(at))
        return hs_label_fail(r, line_of(r, place_of(r, start)), "answer_start is %g, not a whole number of characters", at);
    const size_t begin = at >= 0 ? bytes_of(context, at, &there) : 0;
    if (!(at >= 0) || !there || context.bytes - begin < s.bytes || memcmp(context.p + begin, s.p, s.bytes) != 0)
        return hs_label_fail(r, line_of(r, place_of(r, text)), "the answer \"%.*s\" is not in its context at character %.0f",
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
    HS_TRY(get(r, answers, "text", &texts));
    HS_TRY(get(r, answers, "answer_start", &starts));
    if (is_null(r, texts) || is_null(r, starts))
        return missing(r, answers, texts ? "answer_start" : "text");
    if (kind_of(r, texts) == HS_JSON_STRING)
        return take_answer(r, texts, starts);
    if (kind_of(r, texts) != HS_JSON_LIST || kind_of(r, starts) != HS_JSON_LIST)
        return wrong_kind(r, kind_of(r, texts) != HS_JSON_LIST ? texts : starts, "text or answer_start of answers", "a list");
    if (r->tree.node[texts].n != r->tree.node[starts].n)
        return hs_label_fail(r, line_of(r, place_of(r, answers)), "%d answers and %d starts", r->tree.node[texts].n,
                             r->tree.node[starts].n);
    for (int i = hs_json_first(texts), k = hs_json_first(starts); i < r->tree.node[texts].behind;
         i = r->tree.node[i].behind, k = r->tree.node[k].behind)
        HS_TRY(take_answer(r, i, k));
    return HS_OK;
}

static hs_status take_answers(hs_label_reader *r, int object)
{
    int answers, impossible, text, start;
    HS_TRY(get(r, object, r->o->label && r->o->label[0] ? r->o->label : "answers", &answers));
    HS_TRY(get(r, object, "is_impossible", &impossible));
    r->entry.labelled = !is_null(r, answers) || !is_null(r, impossible);
    if (!r->entry.labelled)
        return r->o->labels_optional ? HS_OK : missing(r, object, "answers");
    if ((impossible && kind_of(r, impossible) == HS_JSON_TRUE) || is_null(r, answers))
        return HS_OK;
    if (kind_of(r, answers) == HS_JSON_OBJECT)
        return take_answer_lists(r, answers);
    if (kind_of(r, answers) != HS_JSON_LIST)
        return wrong_kind(r, answers, "what has the answers", "a list");
    for (int i = hs_json_first(answers); i < r->tree.node[answers].behind; i = r->tree.node[i].behind) {
        if (kind_of(r, i) != HS_JSON_OBJECT)
            return wrong_kind(r, i, "an answer", "an object");
        HS_TRY(get(r, i, "text", &text));
        HS_TRY(get(r, i, "answer_start", &start));
        if (text == 0)
            return missing(r, i, "text");
        HS_TRY(take_answer(r, text, start));
    }
    return HS_OK;
}

static hs_status take_question(hs_label_reader *r, int object)
{
    int question, id;
    const char *key = r->o->text && r->o->text[0] ? r->o->text : "question";
    HS_TRY(get(r, object, key, &question));
    HS_TRY(get(r, object, r->o->id && r->o->id[0] ? r->o->id : "id", &id));
    if (question == 0)
        return missing(r, object, key);
    HS_TRY(take_string(r, question, "the question", &r->entry.text[0]));
    HS_TRY(take_id(r, id));
    return take_answers(r, object);
}

static hs_status take_span(hs_label_reader *r, int object)
{
    int context;
    const char *key = r->o->text2 && r->o->text2[0] ? r->o->text2 : "context";
    HS_TRY(get(r, object, key, &context));
    if (context == 0)
        return missing(r, object, key);
    HS_TRY(take_string(r, context, "the context", &r->entry.text[1]));
    return take_question(r, object);
}

// ---- turns

static void add_text(hs_label_reader *r, const char *p, size_t bytes)
{
    hs_slice *text = &r->entry.text[0];
    memcpy((char *)text->p + text->bytes, p, bytes);
    text->bytes += bytes;
}

// {"role": "user", "content": "..."}: "user: ...", a line feed behind it; what an assistant says is learned.
static hs_status take_message(hs_label_reader *r, int message)
{
    static const char *const role_keys[] = { "role", "from" }, *const content_keys[] = { "content", "value" };
    int role, content;
    hs_slice who, what;
    if (kind_of(r, message) != HS_JSON_OBJECT)
        return wrong_kind(r, message, "a message", "an object");
    HS_TRY(get_any(r, message, NULL, role_keys, HS_COUNT(role_keys), &role));
    HS_TRY(get_any(r, message, NULL, content_keys, HS_COUNT(content_keys), &content));
    if (role == 0 || content == 0)
        return missing(r, message, role ? "content" : "role");
    HS_TRY(take_string(r, role, "a role", &who));
    HS_TRY(take_string(r, content, "a message", &what));
    const bool learned = (who.bytes == 9 && memcmp(who.p, "assistant", 9) == 0) || (who.bytes == 3 && memcmp(who.p, "gpt", 3) == 0);
    const int64_t begin = (int64_t)r->entry.text[0].bytes;
    add_text(r, who.p, who.bytes);
    add_text(r, ": ", 2);
    const int64_t middle = (int64_t)r->entry.text[0].bytes;
    add_text(r, what.p, what.bytes);
    const int64_t end = (int64_t)r->entry.text[0].bytes;
    if (!learned) {
        add_text(r, "\n", 1);
        return hs_label_add_turn(r, begin, end + 1, false);
    }
    HS_TRY(hs_label_add_turn(r, begin, middle, false));
    return hs_label_add_turn(r, middle, end, true);
}

// As many bytes as a record has can be said by its messages, and as much again where they are put together.
static hs_status take_messages(hs_label_reader *r, int list)
{
    if (kind_of(r, list) != HS_JSON_LIST)
        return wrong_kind(r, list, "what has the messages", "a list");
    char *text = malloc(2 * (r->tree.node[list].end - r->tree.node[list].begin) + 64);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for messages");
    free(r->context); // the text of all turns
    r->context = text;
    r->entry.text[0] = (hs_slice){ text, 0 };
    for (int i = hs_json_first(list); i < r->tree.node[list].behind; i = r->tree.node[i].behind)
        HS_TRY(take_message(r, i));
    return HS_OK;
}

static hs_status take_turns(hs_label_reader *r, int object)
{
    static const char *const keys[] = { "messages", "conversations" };
    int list, input;
    HS_TRY(get_any(r, object, NULL, keys, HS_COUNT(keys), &list));
    if (list)
        return take_messages(r, list);
    HS_TRY(take_by_roles(r, object));
    hs_slice more = { 0 };
    if (strcmp(r->name[r->roles.text[0]], "instruction") == 0) { // Alpaca's
        HS_TRY(get(r, object, "input", &input));
        if (!is_null(r, input))
            HS_TRY(take_string(r, input, "the input", &more));
    }
    return hs_label_join_turns(r, more);
}

// ---- records

static hs_status (*const takes[HS_ABOUTS])(hs_label_reader *r, int object) = {
    [HS_ABOUT_SEQUENCE] = take_sequence,
    [HS_ABOUT_PAIR] = take_sequence,
    [HS_ABOUT_REGRESSION] = take_sequence,
    [HS_ABOUT_MULTILABEL] = take_sequence,
    [HS_ABOUT_TOKENS] = take_tokens,
    [HS_ABOUT_SPAN] = take_span,
    [HS_ABOUT_LM] = take_turns,
};

static hs_status take_object(hs_label_reader *r, int node)
{
    const hs_json_node *n = &r->tree.node[node];
    r->entry.line = line_of(r, place_of(r, node));
    r->entry.raw = (hs_slice){ r->tree.text + n->begin, n->end - n->begin };
    if (n->kind != HS_JSON_OBJECT)
        return hs_label_fail(r, r->entry.line, "%s, not a JSON object", hs_json_kind_names[n->kind]);
    r->pool_at = 0;
    return takes[r->o->about](r, node);
}

hs_status hs_jsonl_begin(hs_label_reader *r, const hs_label_head *head)
{
    r->found.list = hs_text_kind_of(head->p, head->bytes, HS_FORMAT_AUTO).form == HS_TEXT_JSON_VALUES;
    r->found.impossible = memmem(head->p, head->bytes, "\"is_impossible\"", 15) != NULL;
    hs_label_say(r, r->found.list ? " in a list" : " (a line each)");
    return HS_OK;
}

static hs_status next_line(hs_label_reader *r, bool *end)
{
    do {
        HS_TRY(hs_label_records_next(r->records, HS_CUT_LINE, 0, &r->record));
        r->counted_to = 0, r->counted = 0;
        *end = !r->record.p;
        if (*end)
            return HS_OK;
    } while (hs_is_blank(r->record.p, r->record.bytes));
    HS_TRY(hs_label_pool(r, r->record.bytes));
    HS_TRY(parse(r, 0));
    if (!hs_is_blank(r->record.p + r->tree.end, r->record.bytes - r->tree.end))
        return hs_label_fail(r, r->record.line, "not JSON: more behind the end of its value");
    HS_TRY(take_object(r, 0));
    r->entry.raw = (hs_slice){ r->record.p, r->record.bytes };
    return HS_OK;
}

static hs_status read_whole(hs_label_reader *r)
{
    HS_TRY(hs_label_records_next(r->records, HS_CUT_ALL, 0, &r->record));
    if (!r->record.p)
        return HS_OK;
    r->begun = false;
    return hs_label_pool(r, r->record.bytes);
}

// Values one behind the other, each a record or a list of them. article: where the next value begins, when `item` is none.
static hs_status next_value(hs_label_reader *r, bool *end)
{
    if (!r->record.p)
        HS_TRY(read_whole(r));
    while (r->item == 0) {
        size_t at = r->value_at;
        while (at < r->record.bytes && (hs_is_blank(r->record.p + at, 1) || r->record.p[at] == 0x1E || (at > 0 && r->record.p[at] == ',')))
            at++;
        *end = at >= r->record.bytes;
        if (*end)
            return HS_OK;
        HS_TRY(parse(r, at));
        r->value_at = at + r->tree.end;
        if (kind_of(r, 0) != HS_JSON_LIST)
            return take_object(r, 0);
        r->item = r->tree.node[0].n ? hs_json_first(0) : 0;
    }
    const int item = r->item;
    r->item = r->tree.node[item].behind < r->tree.node[0].behind ? r->tree.node[item].behind : 0;
    return take_object(r, item);
}

hs_status hs_jsonl_next(hs_label_reader *r, bool *end) { return r->found.list ? next_value(r, end) : next_line(r, end); }

// ---- SQuAD

hs_status hs_squad_begin(hs_label_reader *r, const hs_label_head *head)
{
    r->found.impossible = memmem(head->p, head->bytes, "\"is_impossible\"", 15) != NULL;
    return r->o->about == HS_ABOUT_SPAN ? HS_OK : hs_label_fail(r, 1, "SQuAD is answers to questions: its task is span");
}

static hs_status get_list(hs_label_reader *r, int object, const char *key, int *list)
{
    if (kind_of(r, object) != HS_JSON_OBJECT)
        return wrong_kind(r, object, "a part of SQuAD", "an object");
    HS_TRY(get(r, object, key, list));
    if (*list == 0)
        return missing(r, object, key);
    return kind_of(r, *list) == HS_JSON_LIST ? HS_OK : wrong_kind(r, *list, key, "a list");
}

static hs_status begin_paragraph(hs_label_reader *r)
{
    int context, questions;
    const char *wrong;
    HS_TRY(get_list(r, r->paragraph, "qas", &questions));
    HS_TRY(get(r, r->paragraph, "context", &context));
    if (context == 0)
        return missing(r, r->paragraph, "context");
    if (kind_of(r, context) != HS_JSON_STRING)
        return wrong_kind(r, context, "the context", "a string");
    const size_t room = 2 * (r->tree.node[context].end - r->tree.node[context].begin) + 8;
    char *text = malloc(room);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for a context of %zu bytes", room);
    free(r->context);
    r->context = text;
    r->context_bytes = hs_json_tree_string(&r->tree, context, text, &wrong);
    if (wrong)
        return hs_label_fail(r, line_of(r, place_of(r, context)), "the context has %s", wrong);
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
    HS_TRY(read_whole(r));
    if (!r->record.p)
        return HS_OK;
    HS_TRY(parse(r, 0));
    if (!hs_is_blank(r->record.p + r->tree.end, r->record.bytes - r->tree.end))
        return hs_label_fail(r, line_of(r, r->tree.end), "not JSON: more behind the end of its value");
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
    r->entry.line = line_of(r, place_of(r, node));
    r->entry.raw = (hs_slice){ r->tree.text + r->tree.node[node].begin, r->tree.node[node].end - r->tree.node[node].begin };
    r->entry.text[1] = (hs_slice){ r->context, r->context_bytes };
    if (kind_of(r, node) != HS_JSON_OBJECT)
        return wrong_kind(r, node, "a question", "an object");
    HS_TRY(take_question(r, node));
    return check_id(r);
}
