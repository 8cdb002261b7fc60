// read_json: records of JSON by their keys - a line each, in a list, or one behind the other - by what each task takes of them.
#include "data/labelled/read_json.h"
#include "core/base/grow.h"
#include "core/base/log.h"
#include <stdlib.h>
#include <string.h>

// ---- places and values

int64_t hs_record_line(hs_label_reader *r, size_t at)
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

hs_status hs_record_parse(hs_label_reader *r, size_t at)
{
    if (hs_json_tree_parse(&r->tree, r->record.p + at, r->record.bytes - at))
        return HS_OK;
    if (!r->tree.wrong)
        return HS_FAIL(MEMORY, "%s: no memory for its JSON", hs_label_reader_name(r));
    size_t wrong = at + r->tree.wrong_at;
    if (wrong >= r->record.bytes) // it ends too early: that is where its last character stands
        for (wrong = r->record.bytes; wrong > at && hs_is_blank(r->record.p + wrong - 1, 1);)
            wrong--;
    return hs_label_fail(r, hs_record_line(r, wrong), "not JSON: %s", r->tree.wrong);
}

hs_status hs_record_wrong_kind(hs_label_reader *r, int node, const char *what, const char *wanted)
{
    return hs_label_fail(r, hs_record_line(r, hs_record_place(r, node)), "%s is %s, not %s", what,
                         hs_json_kind_names[hs_record_kind(r, node)], wanted);
}

hs_status hs_record_string(hs_label_reader *r, int node, const char *what, hs_slice *out)
{
    const char *wrong;
    if (hs_record_kind(r, node) != HS_JSON_STRING)
        return hs_record_wrong_kind(r, node, what, "a string");
    const size_t raw = r->tree.node[node].end - r->tree.node[node].begin;
    HS_TRY(hs_label_room(r, raw + raw / 2 + 5));
    char *to = r->pool + r->pool_at;
    const size_t n = hs_json_tree_string(&r->tree, node, to, &wrong);
    if (wrong)
        return hs_label_fail(r, hs_record_line(r, hs_record_place(r, node)), "%s has %s", what, wrong);
    r->pool_at += n + 1;
    *out = (hs_slice){ to, n };
    return HS_OK;
}

// A string, a number as it is written, true, false.
static hs_status take_scalar(hs_label_reader *r, int node, const char *what, hs_slice *out)
{
    const hs_json_node *v = &r->tree.node[node];
    if (v->kind == HS_JSON_STRING)
        return hs_record_string(r, node, what, out);
    if (v->kind == HS_JSON_LIST || v->kind == HS_JSON_OBJECT || v->kind == HS_JSON_NULL)
        return hs_record_wrong_kind(r, node, what, "a string or a number");
    *out = (hs_slice){ r->tree.text + v->begin, v->end - v->begin };
    return HS_OK;
}

// The value of a key that stands once; 0: there is none.
hs_status hs_record_get(hs_label_reader *r, int object, const char *key, int *out)
{
    bool twice;
    *out = hs_json_tree_get(&r->tree, object, key, &twice);
    return twice ? hs_label_fail(r, hs_record_line(r, hs_record_place(r, *out)), "the key \"%s\" stands twice", key) : HS_OK;
}

static hs_status get_any(hs_label_reader *r, int object, const char *given, const char *const *keys, int n, int *out)
{
    *out = 0;
    if (given && given[0])
        return hs_record_get(r, object, given, out);
    for (int i = 0; i < n && *out == 0; i++)
        HS_TRY(hs_record_get(r, object, keys[i], out));
    return HS_OK;
}

hs_status hs_record_missing(hs_label_reader *r, int object, const char *what)
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
    return hs_label_fail(r, hs_record_line(r, hs_record_place(r, object)), "no key \"%s\"; it has: %s", what, buf);
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
    const int kind = hs_record_kind(r, node);
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
        HS_TRY(hs_record_get(r, object, name, &node));
        if (node == 0 && !r->o->labels_optional)
            return hs_record_missing(r, object, name);
        if (hs_record_is_null(r, node)) {
            if (!r->o->labels_optional)
                return hs_label_fail(r, e->line, "the label \"%s\" is null", name);
            continue;
        }
        e->labelled = true;
        if (r->roles.indicator) {
            HS_TRY(take_indicator(r, node, name));
        } else if (several && hs_record_kind(r, node) == HS_JSON_LIST) {
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
        const int kind = hs_record_kind(r, i + 1);
        HS_TRY_GOTO(st, hs_record_string(r, i, "a key", &s), done);
        if (!(r->name[r->n_names] = strndup(s.p, s.bytes))) {
            st = HS_FAIL(MEMORY, "no memory for %d keys", n);
            goto done;
        }
        const double v = kind == HS_JSON_NUMBER ? hs_json_tree_number(&r->tree, i + 1) : 0;
        bits[r->n_names++] = kind == HS_JSON_TRUE || kind == HS_JSON_FALSE || (kind == HS_JSON_NUMBER && (v == 0 || v == 1));
        HS_TRY_GOTO(st, hs_slices_add(&names, s), done);
    }
    if (st == HS_OK)
        st = hs_label_roles_by_name(r, hs_record_line(r, hs_record_place(r, object)), names.at, bits, names.n);
    r->begun = st == HS_OK;
done:
    free(bits);
    free(names.at);
    return st;
}

hs_status hs_record_id(hs_label_reader *r, int node)
{
    return hs_record_is_null(r, node) || hs_record_kind(r, node) > HS_JSON_STRING ? HS_OK : take_scalar(r, node, "the id", &r->entry.id);
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
        HS_TRY(hs_record_get(r, object, name, &node));
        if (node == 0)
            return hs_record_missing(r, object, name);
        if (i == 0 && r->o->label_is_text && hs_record_kind(r, node) != HS_JSON_STRING)
            r->entry.text[i] = (hs_slice){ "", 0 };
        else
            HS_TRY(hs_record_string(r, node, name, &r->entry.text[i]));
    }
    if (r->roles.id >= 0) {
        HS_TRY(hs_record_get(r, object, r->name[r->roles.id], &node));
        HS_TRY(hs_record_id(r, node));
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
    HS_TRY(hs_record_get(r, object, r->o->id && r->o->id[0] ? r->o->id : "id", &id));
    HS_TRY(hs_record_id(r, id));
    if (words == 0)
        return hs_record_missing(r, object, r->o->text && r->o->text[0] ? r->o->text : "tokens");
    if (hs_record_is_null(r, tags) && !r->o->labels_optional)
        return hs_record_missing(r, object, r->o->label && r->o->label[0] ? r->o->label : "tags");
    if (hs_record_kind(r, words) == HS_JSON_STRING && hs_record_is_null(r, tags)) {
        HS_TRY(hs_record_string(r, words, "the text", &r->entry.text[0]));
        return hs_label_plain_words(r);
    }
    if (hs_record_kind(r, words) != HS_JSON_LIST)
        return hs_record_wrong_kind(r, words, "what has the words", "a list");
    r->field.n = 0;
    for (int i = hs_json_first(words); i < r->tree.node[words].behind; i = r->tree.node[i].behind) {
        hs_slice s;
        HS_TRY(hs_record_string(r, i, "a word", &s));
        HS_TRY(hs_slices_add(&r->field, s));
    }
    for (int i = 0; i < r->field.n; i++) // texts behind all words: these stand in the pool already
        HS_TRY(hs_label_add_word(r, r->field.at[i], 0));
    if (r->n_words == 0)
        r->entry.text[0] = (hs_slice){ "", 0 };
    if (hs_record_is_null(r, tags))
        return HS_OK;
    if (hs_record_kind(r, tags) != HS_JSON_LIST)
        return hs_record_wrong_kind(r, tags, "what has the tags", "a list");
    r->entry.labelled = true;
    return take_list(r, tags, "a tag");
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
    if (hs_record_kind(r, message) != HS_JSON_OBJECT)
        return hs_record_wrong_kind(r, message, "a message", "an object");
    HS_TRY(get_any(r, message, NULL, role_keys, HS_COUNT(role_keys), &role));
    HS_TRY(get_any(r, message, NULL, content_keys, HS_COUNT(content_keys), &content));
    if (role == 0 || content == 0)
        return hs_record_missing(r, message, role ? "content" : "role");
    HS_TRY(hs_record_string(r, role, "a role", &who));
    HS_TRY(hs_record_string(r, content, "a message", &what));
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
    if (hs_record_kind(r, list) != HS_JSON_LIST)
        return hs_record_wrong_kind(r, list, "what has the messages", "a list");
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
        HS_TRY(hs_record_get(r, object, "input", &input));
        if (!hs_record_is_null(r, input))
            HS_TRY(hs_record_string(r, input, "the input", &more));
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
    [HS_ABOUT_SPAN] = hs_record_span,
    [HS_ABOUT_LM] = take_turns,
};

static hs_status take_object(hs_label_reader *r, int node)
{
    const hs_json_node *n = &r->tree.node[node];
    r->entry.line = hs_record_line(r, hs_record_place(r, node));
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
    HS_TRY(hs_record_parse(r, 0));
    if (!hs_is_blank(r->record.p + r->tree.end, r->record.bytes - r->tree.end))
        return hs_label_fail(r, r->record.line, "not JSON: more behind the end of its value");
    HS_TRY(take_object(r, 0));
    r->entry.raw = (hs_slice){ r->record.p, r->record.bytes };
    return HS_OK;
}

hs_status hs_record_read_all(hs_label_reader *r)
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
        HS_TRY(hs_record_read_all(r));
    while (r->item == 0) {
        size_t at = r->value_at;
        while (at < r->record.bytes && (hs_is_blank(r->record.p + at, 1) || r->record.p[at] == 0x1E || (at > 0 && r->record.p[at] == ',')))
            at++;
        *end = at >= r->record.bytes;
        if (*end)
            return HS_OK;
        HS_TRY(hs_record_parse(r, at));
        r->value_at = at + r->tree.end;
        if (hs_record_kind(r, 0) != HS_JSON_LIST)
            return take_object(r, 0);
        r->item = r->tree.node[0].n ? hs_json_first(0) : 0;
    }
    const int item = r->item;
    r->item = r->tree.node[item].behind < r->tree.node[0].behind ? r->tree.node[item].behind : 0;
    return take_object(r, item);
}

hs_status hs_jsonl_next(hs_label_reader *r, bool *end) { return r->found.list ? next_value(r, end) : next_line(r, end); }
