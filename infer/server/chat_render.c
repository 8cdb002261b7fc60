// chat_render: a template run over messages. Values are small; strings that are made on the way live as long as the run.
#include "data/base/json_util.h"
#include "infer/server/chat_nodes.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct value {
    chat_type type;
    int64_t i, j;  // bool, int | number of a message | list: messages [i, j) | loop: its index, of j
    const char *s; // [n]
    size_t n;
} value;

typedef struct made { // a string that was made
    struct made *next;
    char s[];
} made;

enum { MOST_STEPS = 1000000, MOST_BYTES = 64 << 20 };

typedef struct render {
    const hs_chat_template *t;
    const hs_chat_message *message;
    value variable[CHAT_VARIABLES];
    hs_text out;
    made *made;
    int64_t steps;
    int depth;    // of expressions within each other
    size_t bytes; // that were made
    hs_status status;
} render;

static const char *const type_names[] = { "undefined", "none", "a truth value", "a number", "a text", "a message", "a list", "loop" };

static value wrong(render *r, const chat_node *n, const char *what, const char *of)
{
    if (r->status == HS_OK)
        r->status = HS_FAIL(USAGE, "%s: line %d: %s %s", r->t->what, n->line, what, of);
    return (value){ 0 };
}

static value of_bool(bool b) { return (value){ .type = CHAT_BOOL, .i = b }; }
static value of_int(int64_t i) { return (value){ .type = CHAT_INT, .i = i }; }
static value of_text(const char *s, size_t n) { return (value){ .type = CHAT_TEXT_VALUE, .s = s, .n = n }; }

static char *room(render *r, const chat_node *n, size_t bytes)
{
    r->bytes += bytes;
    made *m = r->bytes <= MOST_BYTES ? malloc(sizeof *m + bytes + 1) : NULL;
    if (!m) {
        wrong(r, n, "no memory for", "what it makes");
        return NULL;
    }
    m->next = r->made, r->made = m;
    return m->s;
}

static value evaluate(render *r, int i);

static bool is_true(value v)
{
    switch (v.type) {
    case CHAT_BOOL:
    case CHAT_INT:
        return v.i != 0;
    case CHAT_TEXT_VALUE:
        return v.n > 0;
    case CHAT_LIST:
        return v.j > v.i;
    case CHAT_MESSAGE:
    case CHAT_LOOP:
        return true;
    default:
        return false;
    }
}

// As Python's str() writes it.
static value as_text(render *r, const chat_node *n, value v)
{
    if (v.type == CHAT_TEXT_VALUE)
        return v;
    if (v.type == CHAT_UNDEFINED)
        return of_text("", 0);
    if (v.type == CHAT_NONE)
        return of_text("None", 4);
    if (v.type == CHAT_BOOL)
        return v.i ? of_text("True", 4) : of_text("False", 5);
    if (v.type != CHAT_INT)
        return wrong(r, n, "it writes", type_names[v.type]);
    char *s = room(r, n, 24);
    return s ? of_text(s, (size_t)sprintf(s, "%lld", (long long)v.i)) : (value){ 0 };
}

static bool is_word(const chat_node *n, const char *word) { return n->n == strlen(word) && memcmp(n->s, word, n->n) == 0; }

static value key_of(render *r, const chat_node *n, value a, const char *s, size_t length)
{
    const chat_node key = { .s = s, .n = length };
    if (a.type == CHAT_MESSAGE) {
        const hs_chat_message *m = &r->message[a.i];
        const char *found = is_word(&key, "role") ? m->role : is_word(&key, "content") ? m->content : NULL;
        return found ? of_text(found, strlen(found)) : (value){ 0 };
    }
    if (a.type != CHAT_LOOP)
        return wrong(r, n, "it looks for a member of", type_names[a.type]);
    const struct {
        const char *word;
        value v;
    } of_loop[] = { { "index", of_int(a.i + 1) },        { "index0", of_int(a.i) }, { "first", of_bool(a.i == 0) },
                    { "last", of_bool(a.i + 1 == a.j) }, { "length", of_int(a.j) }, { "revindex", of_int(a.j - a.i) } };
    for (int i = 0; i < HS_COUNT(of_loop); i++)
        if (is_word(&key, of_loop[i].word))
            return of_loop[i].v;
    return (value){ 0 };
}

static value item_of(render *r, const chat_node *n, value a, value b)
{
    if (b.type == CHAT_TEXT_VALUE)
        return key_of(r, n, a, b.s, b.n);
    if (a.type != CHAT_LIST || b.type != CHAT_INT)
        return wrong(r, n, "it takes an item of", type_names[a.type]);
    const int64_t length = a.j - a.i, at = b.i < 0 ? length + b.i : b.i;
    return at >= 0 && at < length ? (value){ .type = CHAT_MESSAGE, .i = a.i + at } : (value){ 0 };
}

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

static value slice_of(render *r, const chat_node *n, value a)
{
    const value from = n->b >= 0 ? evaluate(r, n->b) : of_int(0);
    if (a.type != CHAT_LIST || from.type != CHAT_INT)
        return wrong(r, n, "it takes a part of", type_names[a.type]);
    const int64_t length = a.j - a.i;
    const value to = n->c >= 0 ? evaluate(r, n->c) : of_int(length);
    if (to.type != CHAT_INT)
        return wrong(r, n, "it takes a part to", type_names[to.type]);
    const int64_t i = clamp(from.i < 0 ? length + from.i : from.i, 0, length), j = clamp(to.i < 0 ? length + to.i : to.i, i, length);
    return (value){ .type = CHAT_LIST, .i = a.i + i, .j = a.i + j };
}

static value change(render *r, const chat_node *n, value a)
{
    if (n->op == CHAT_LENGTH && a.type == CHAT_LIST)
        return of_int(a.j - a.i);
    if (n->op == CHAT_TRIM && a.type != CHAT_TEXT_VALUE) // a filter takes anything
        a = as_text(r, n, a);
    if (a.type != CHAT_TEXT_VALUE)
        return wrong(r, n, "a method of texts is called on", type_names[a.type]);
    switch (n->op) {
    case CHAT_LENGTH: { // characters
        int64_t count = 0;
        for (size_t i = 0; i < a.n; i++)
            count += ((unsigned char)a.s[i] & 0xC0) != 0x80;
        return of_int(count);
    }
    case CHAT_STARTS:
    case CHAT_ENDS: {
        const value b = evaluate(r, n->b);
        if (b.type != CHAT_TEXT_VALUE)
            return wrong(r, n, "a text is compared with", type_names[b.type]);
        return of_bool(b.n <= a.n && memcmp(n->op == CHAT_STARTS ? a.s : a.s + a.n - b.n, b.s, b.n) == 0);
    }
    case CHAT_UPPER:
    case CHAT_LOWER:
    case CHAT_CAPITALIZE: { // of ASCII
        char *s = room(r, n, a.n);
        for (size_t i = 0; s && i < a.n; i++) {
            const bool up = n->op == CHAT_UPPER || (n->op == CHAT_CAPITALIZE && i == 0);
            s[i] = (char)(up ? toupper((unsigned char)a.s[i]) : tolower((unsigned char)a.s[i]));
        }
        return s ? of_text(s, a.n) : (value){ 0 };
    }
    default:
        while (n->op != CHAT_RTRIM && a.n && isspace((unsigned char)*a.s))
            a.s++, a.n--;
        while (n->op != CHAT_LTRIM && a.n && isspace((unsigned char)a.s[a.n - 1]))
            a.n--;
        return a;
    }
}

// ---- two operands

static value join(render *r, const chat_node *n, value a, value b)
{
    char *s = room(r, n, a.n + b.n);
    if (!s)
        return (value){ 0 };
    if (a.n)
        memcpy(s, a.s, a.n);
    if (b.n)
        memcpy(s + a.n, b.s, b.n);
    return of_text(s, a.n + b.n);
}

static bool is_number(value v) { return v.type == CHAT_INT || v.type == CHAT_BOOL; }

static bool equal(value a, value b)
{
    if (is_number(a) && is_number(b))
        return a.i == b.i;
    if (a.type != b.type)
        return false;
    return a.type == CHAT_TEXT_VALUE ? a.n == b.n && memcmp(a.s, b.s, a.n) == 0 : a.i == b.i && a.j == b.j;
}

static value contains(render *r, const chat_node *n, value a, value b)
{
    if (b.type == CHAT_MESSAGE && a.type == CHAT_TEXT_VALUE)
        return of_bool(key_of(r, n, b, a.s, a.n).type != CHAT_UNDEFINED);
    if (a.type != CHAT_TEXT_VALUE || b.type != CHAT_TEXT_VALUE)
        return wrong(r, n, "it looks into", type_names[b.type]);
    return of_bool(a.n == 0 || (b.n && memmem(b.s, b.n, a.s, a.n)));
}

static value compare(render *r, const chat_node *n, value a, value b)
{
    int64_t d;
    if (a.type == CHAT_TEXT_VALUE && b.type == CHAT_TEXT_VALUE) {
        const int c = memcmp(a.s, b.s, a.n < b.n ? a.n : b.n);
        d = c ? c : (int64_t)a.n - (int64_t)b.n;
    } else if (is_number(a) && is_number(b))
        d = (a.i > b.i) - (a.i < b.i);
    else
        return wrong(r, n, "it compares with", type_names[b.type]);
    return of_bool(n->op == CHAT_LE ? d <= 0 : n->op == CHAT_GE ? d >= 0 : n->op == CHAT_LT ? d < 0 : d > 0);
}

static value calculate(render *r, const chat_node *n, value a, value b)
{
    if (n->op == CHAT_ADD && a.type == CHAT_TEXT_VALUE && b.type == CHAT_TEXT_VALUE)
        return join(r, n, a, b);
    if (!is_number(a) || !is_number(b))
        return wrong(r, n, "it calculates with", type_names[is_number(a) ? b.type : a.type]);
    if (n->op == CHAT_MOD && b.i == 0)
        return wrong(r, n, "it divides by", "0");
    int64_t x = 0;
    const bool bad = n->op == CHAT_ADD   ? __builtin_add_overflow(a.i, b.i, &x)
                     : n->op == CHAT_SUB ? __builtin_sub_overflow(a.i, b.i, &x)
                     : n->op == CHAT_MUL ? __builtin_mul_overflow(a.i, b.i, &x)
                                         : false;
    if (bad)
        return wrong(r, n, "a number is", "too large");
    if (n->op == CHAT_MOD && b.i != -1) { // the divisor's sign
        x = a.i % b.i;
        x += x && (x < 0) != (b.i < 0) ? b.i : 0;
    }
    return of_int(x);
}

static value binary(render *r, const chat_node *n)
{
    const value a = evaluate(r, n->a);
    if (n->op == CHAT_OR || n->op == CHAT_AND)
        return is_true(a) == (n->op == CHAT_OR) ? a : evaluate(r, n->b);
    const value b = evaluate(r, n->b);
    if (r->status != HS_OK)
        return (value){ 0 };
    switch (n->op) {
    case CHAT_EQ:
    case CHAT_NE:
        return of_bool(equal(a, b) == (n->op == CHAT_EQ));
    case CHAT_IN:
        return contains(r, n, a, b);
    case CHAT_NOT_IN:
        return of_bool(!contains(r, n, a, b).i);
    case CHAT_JOIN:
        return join(r, n, as_text(r, n, a), as_text(r, n, b));
    case CHAT_ADD:
    case CHAT_SUB:
    case CHAT_MUL:
    case CHAT_MOD:
        return calculate(r, n, a, b);
    default:
        return compare(r, n, a, b);
    }
}

static value evaluate_node(render *r, const chat_node *n)
{
    switch (n->kind) {
    case CHAT_STRING:
        return of_text(n->s, n->n);
    case CHAT_CONSTANT:
        return (value){ .type = (chat_type)n->op, .i = n->i };
    case CHAT_VARIABLE:
        return r->variable[n->i];
    case CHAT_KEY:
        return key_of(r, n, evaluate(r, n->a), n->s, n->n);
    case CHAT_ITEM: {
        const value a = evaluate(r, n->a);
        return item_of(r, n, a, evaluate(r, n->b));
    }
    case CHAT_SLICE:
        return slice_of(r, n, evaluate(r, n->a));
    case CHAT_BINARY:
        return binary(r, n);
    case CHAT_NOT:
        return of_bool(!is_true(evaluate(r, n->a)));
    case CHAT_NEGATIVE: {
        const value a = evaluate(r, n->a);
        return is_number(a) ? calculate(r, n, of_int(0), a) : wrong(r, n, "it negates", type_names[a.type]);
    }
    case CHAT_CHOICE:
        return is_true(evaluate(r, n->b)) ? evaluate(r, n->a) : n->c >= 0 ? evaluate(r, n->c) : (value){ 0 };
    case CHAT_CHANGE:
        return change(r, n, evaluate(r, n->a));
    case CHAT_TEST:
        return of_bool((evaluate(r, n->a).type == (chat_type)n->op) != (n->i != 0));
    default: { // CHAT_EXCEPTION
        const value a = as_text(r, n, evaluate(r, n->a));
        if (r->status == HS_OK)
            r->status = HS_FAIL(USAGE, "the chat template refuses this: %.*s", (int)(a.n < 300 ? a.n : 300), a.s);
        return (value){ 0 };
    }
    }
}

static value evaluate(render *r, int i)
{
    enum { DEEPEST = 1000 }; // a + a + ... is as deep as it is long
    const chat_node *n = &r->t->node[i];
    if (r->status != HS_OK)
        return (value){ 0 };
    if (++r->steps > MOST_STEPS)
        return wrong(r, n, "it takes", "too long");
    if (r->depth == DEEPEST)
        return wrong(r, n, "expressions within each other:", "more than 1000");
    r->depth++;
    const value v = evaluate_node(r, n);
    r->depth--;
    return v;
}

// ---- statements

static void run(render *r, int first);

static void run_for(render *r, const chat_node *n)
{
    const value list = evaluate(r, n->a);
    value kept[CHAT_VARIABLES];
    if (r->status != HS_OK)
        return;
    if (list.type != CHAT_LIST) {
        wrong(r, n, "a for goes through", type_names[list.type]);
        return;
    }
    memcpy(kept, r->variable, sizeof kept);
    for (int64_t i = list.i; i < list.j && r->status == HS_OK; i++) {
        r->variable[n->i] = (value){ .type = CHAT_MESSAGE, .i = i };
        r->variable[CHAT_LOOP_NAME] = (value){ .type = CHAT_LOOP, .i = i - list.i, .j = list.j - list.i };
        if (++r->steps > MOST_STEPS)
            wrong(r, n, "it takes", "too long");
        run(r, n->b);
        memcpy(r->variable, kept, sizeof kept); // what is set within stays within
    }
}

static void run(render *r, int first)
{
    for (int i = first; i >= 0 && r->status == HS_OK; i = r->t->node[i].next) {
        const chat_node *n = &r->t->node[i];
        if (++r->steps > MOST_STEPS)
            wrong(r, n, "it takes", "too long");
        else if (n->kind == CHAT_TEXT)
            hs_text_bytes(&r->out, n->s, n->n);
        else if (n->kind == CHAT_PRINT) {
            const value v = as_text(r, n, evaluate(r, n->a));
            if (r->status == HS_OK && v.n)
                hs_text_bytes(&r->out, v.s, v.n);
        } else if (n->kind == CHAT_FOR)
            run_for(r, n);
        else if (n->kind == CHAT_SET)
            r->variable[n->i] = evaluate(r, n->a);
        else
            run(r, is_true(evaluate(r, n->a)) ? n->b : n->c);
        if (r->out.n > MOST_BYTES)
            wrong(r, n, "it writes", "too much");
    }
}

hs_status hs_chat_template_render(const hs_chat_template *t, const hs_chat_message *message, int n, bool add_generation_prompt, char **text,
                                  size_t *bytes)
{
    render r = { .t = t, .message = message };
    r.variable[CHAT_MESSAGES] = (value){ .type = CHAT_LIST, .i = 0, .j = n };
    for (int i = 0; i < 4; i++)
        if (t->token[i])
            r.variable[CHAT_BOS + i] = of_text(t->token[i], strlen(t->token[i]));
    r.variable[CHAT_TOOLS].type = r.variable[CHAT_DOCUMENTS].type = CHAT_NONE;
    r.variable[CHAT_PROMPT] = of_bool(add_generation_prompt);
    *text = NULL, *bytes = 0;
    hs_text_bytes(&r.out, "", 0);
    run(&r, t->first);
    while (r.made) {
        made *next = r.made->next;
        free(r.made);
        r.made = next;
    }
    if (r.status == HS_OK && r.out.failed)
        r.status = HS_FAIL(MEMORY, "no memory for the text of a conversation");
    if (r.status == HS_OK) {
        *text = r.out.p ? r.out.p : calloc(1, 1), *bytes = r.out.n;
        return *text ? HS_OK : HS_FAIL(MEMORY, "no memory for the text of a conversation");
    }
    hs_text_free(&r.out);
    return hs_frame_at(r.status, __FILE__, __LINE__);
}
