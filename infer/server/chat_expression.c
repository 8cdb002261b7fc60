// chat_expression: tokens and expressions of a chat template. Precedence is a table.
#include "infer/server/chat_parse.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int hs_chat_refuse(chat_parser *p, const char *what, const char *s, size_t n)
{
    if (p->status == HS_OK)
        p->status = HS_FAIL(UNSUPPORTED, "%s: line %d: %s%s%.*s%s", p->t->what, p->line, what, n ? " '" : "", (int)(n < 60 ? n : 60), s,
                            n ? "' is not supported" : "");
    p->kind = T_END;
    p->p = p->end;
    return -1;
}

int hs_chat_add(chat_parser *p, chat_node node)
{
    hs_chat_template *t = p->t;
    if (p->status != HS_OK)
        return -1;
    if (t->n == t->room) {
        const int room = 2 * t->room + 64;
        chat_node *grown = realloc(t->node, (size_t)room * sizeof *grown);
        if (!grown) {
            p->status = HS_FAIL(MEMORY, "no memory for a chat template");
            return -1;
        }
        t->node = grown, t->room = room;
    }
    node.line = p->line, node.next = -1;
    t->node[t->n] = node;
    return t->n++;
}

// ---- tokens of an expression

static bool closes(const chat_parser *p, const char *s)
{
    const char *close = p->in_block ? "%}" : "}}";
    return s + 2 <= p->end && s[0] == close[0] && s[1] == close[1];
}

static void close_tag(chat_parser *p)
{
    const bool minus = *p->p == '-', plus = *p->p == '+';
    p->p += 2 + minus + plus;
    p->kind = T_END;
    p->stripped = minus, p->trims = p->in_block && !plus;
}

static void read_string(chat_parser *p)
{
    const char quote = *p->p;
    char *to = ++p->p;
    p->s = to, p->kind = T_STRING;
    while (p->p < p->end && *p->p != quote) {
        char c = *p->p++;
        p->line += c == '\n';
        if (c == '\\' && p->p < p->end) {
            static const char from[] = "ntr\\'\"", is[] = "\n\t\r\\'\"";
            const char *at = memchr(from, *p->p, sizeof from - 1);
            if (!at) {
                hs_chat_refuse(p, "the escape", p->p - 1, 2);
                return;
            }
            c = is[at - from], p->p++;
        }
        *to++ = c;
    }
    p->n = (size_t)(to - p->s);
    if (p->p == p->end)
        hs_chat_refuse(p, "a string has no end", "", 0);
    else
        p->p++;
}

void hs_chat_next(chat_parser *p)
{
    static const char *const two[] = { "==", "!=", "<=", ">=", "//", "**" };
    if (p->status != HS_OK)
        return;
    while (p->p < p->end && isspace((unsigned char)*p->p))
        p->line += *p->p++ == '\n';
    if (p->p == p->end) {
        hs_chat_refuse(p, "a tag has no end", "", 0);
        return;
    }
    if (closes(p, p->p) || ((*p->p == '-' || *p->p == '+') && closes(p, p->p + 1))) {
        close_tag(p);
        return;
    }
    if (*p->p == '\'' || *p->p == '"') {
        read_string(p);
        return;
    }
    p->s = p->p++;
    if (isalpha((unsigned char)*p->s) || *p->s == '_') {
        while (p->p < p->end && (isalnum((unsigned char)*p->p) || *p->p == '_'))
            p->p++;
        p->kind = T_NAME;
    } else if (isdigit((unsigned char)*p->s)) {
        while (p->p < p->end && isdigit((unsigned char)*p->p))
            p->p++;
        p->kind = T_NUMBER;
    } else {
        for (int i = 0; i < HS_COUNT(two); i++)
            if (p->p < p->end && *p->s == two[i][0] && *p->p == two[i][1]) {
                p->p++;
                break;
            }
        p->kind = T_SIGN;
    }
    p->n = (size_t)(p->p - p->s);
}

bool hs_chat_is(const chat_parser *p, chat_token kind, const char *s)
{
    return p->kind == kind && p->n == strlen(s) && memcmp(p->s, s, p->n) == 0;
}

bool hs_chat_take(chat_parser *p, chat_token kind, const char *s)
{
    if (!hs_chat_is(p, kind, s))
        return false;
    hs_chat_next(p);
    return true;
}

int hs_chat_unexpected(chat_parser *p)
{
    return p->kind == T_END ? hs_chat_refuse(p, "a tag ends too early", "", 0) : hs_chat_refuse(p, "here", p->s, p->n);
}

void hs_chat_want(chat_parser *p, chat_token kind, const char *s)
{
    if (p->status == HS_OK && !hs_chat_take(p, kind, s))
        hs_chat_unexpected(p);
}

// ---- expressions

int hs_chat_variable(chat_parser *p, const char *s, size_t n)
{
    hs_chat_template *t = p->t;
    for (int i = 0; i < t->n_variables; i++)
        if (strlen(t->variable[i]) == n && memcmp(t->variable[i], s, n) == 0)
            return i;
    if (t->n_variables == CHAT_VARIABLES || n >= CHAT_NAME)
        return hs_chat_refuse(p, "one name more:", s, n);
    memcpy(t->variable[t->n_variables], s, n);
    return t->n_variables++;
}

static int constant(chat_parser *p, chat_type type, int64_t i)
{
    hs_chat_next(p);
    return hs_chat_add(p, (chat_node){ .kind = CHAT_CONSTANT, .op = (int)type, .i = i });
}

static int name(chat_parser *p)
{
    static const struct {
        const char *word;
        chat_type type;
        int64_t i;
    } words[] = { { "true", CHAT_BOOL, 1 },  { "True", CHAT_BOOL, 1 }, { "false", CHAT_BOOL, 0 },
                  { "False", CHAT_BOOL, 0 }, { "none", CHAT_NONE, 0 }, { "None", CHAT_NONE, 0 } };
    for (int i = 0; i < HS_COUNT(words); i++)
        if (hs_chat_is(p, T_NAME, words[i].word))
            return constant(p, words[i].type, words[i].i);
    const char *s = p->s;
    const size_t n = p->n;
    hs_chat_next(p);
    if (!hs_chat_is(p, T_SIGN, "(")) {
        const int i = hs_chat_variable(p, s, n);
        return hs_chat_add(p, (chat_node){ .kind = CHAT_VARIABLE, .i = i });
    }
    if (n != 15 || memcmp(s, "raise_exception", 15) != 0)
        return hs_chat_refuse(p, "the function", s, n);
    hs_chat_next(p);
    const int a = hs_chat_expression(p);
    hs_chat_want(p, T_SIGN, ")");
    return hs_chat_add(p, (chat_node){ .kind = CHAT_EXCEPTION, .a = a });
}

static int primary(chat_parser *p)
{
    if (p->kind == T_NAME)
        return name(p);
    if (p->kind == T_STRING) {
        const chat_node node = { .kind = CHAT_STRING, .s = p->s, .n = p->n };
        hs_chat_next(p);
        return hs_chat_add(p, node);
    }
    if (p->kind == T_NUMBER)
        return p->n > 9 ? hs_chat_refuse(p, "the number", p->s, p->n) : constant(p, CHAT_INT, strtoll(p->s, NULL, 10));
    if (!hs_chat_take(p, T_SIGN, "("))
        return hs_chat_unexpected(p);
    const int a = hs_chat_expression(p);
    hs_chat_want(p, T_SIGN, ")");
    return a;
}

typedef struct word_op {
    const char *word;
    int op;
    bool argument;
} word_op;
static const word_op filters[] = { { "trim", CHAT_TRIM, false },
                                   { "length", CHAT_LENGTH, false },
                                   { "count", CHAT_LENGTH, false },
                                   { "upper", CHAT_UPPER, false },
                                   { "lower", CHAT_LOWER, false },
                                   { "capitalize", CHAT_CAPITALIZE, false },
                                   { NULL, 0, false } };
static const word_op methods[] = {
    { "strip", CHAT_TRIM, false },       { "lstrip", CHAT_LTRIM, false }, { "rstrip", CHAT_RTRIM, false },
    { "upper", CHAT_UPPER, false },      { "lower", CHAT_LOWER, false },  { "capitalize", CHAT_CAPITALIZE, false },
    { "startswith", CHAT_STARTS, true }, { "endswith", CHAT_ENDS, true }, { NULL, 0, false }
};
static const word_op tests[] = { { "defined", CHAT_UNDEFINED, true },
                                 { "undefined", CHAT_UNDEFINED, false },
                                 { "none", CHAT_NONE, false },
                                 { "string", CHAT_TEXT_VALUE, false },
                                 { NULL, 0, false } };

static const word_op *row_of(const word_op *row, const chat_parser *p)
{
    while (row->word && !hs_chat_is(p, T_NAME, row->word))
        row++;
    return row->word ? row : NULL;
}

static int method(chat_parser *p, int a, char *s, size_t n)
{
    chat_parser of = *p;
    of.s = s, of.n = n, of.kind = T_NAME;
    const word_op *row = row_of(methods, &of);
    if (!row)
        return hs_chat_refuse(p, "the method", s, n);
    hs_chat_next(p);
    const int b = row->argument ? hs_chat_expression(p) : -1;
    hs_chat_want(p, T_SIGN, ")");
    return hs_chat_add(p, (chat_node){ .kind = CHAT_CHANGE, .op = row->op, .a = a, .b = b });
}

static int key(chat_parser *p, int a)
{
    if (p->kind != T_NAME)
        return hs_chat_unexpected(p);
    char *s = p->s;
    const size_t n = p->n;
    hs_chat_next(p);
    return hs_chat_is(p, T_SIGN, "(") ? method(p, a, s, n) : hs_chat_add(p, (chat_node){ .kind = CHAT_KEY, .a = a, .s = s, .n = n });
}

static int item(chat_parser *p, int a)
{
    int from = -1, to = -1;
    bool slice = false;
    if (!hs_chat_is(p, T_SIGN, ":"))
        from = hs_chat_expression(p);
    if (hs_chat_take(p, T_SIGN, ":")) {
        slice = true;
        if (!hs_chat_is(p, T_SIGN, "]"))
            to = hs_chat_expression(p);
    }
    hs_chat_want(p, T_SIGN, "]");
    return hs_chat_add(p, (chat_node){ .kind = slice ? CHAT_SLICE : CHAT_ITEM, .a = a, .b = from, .c = to });
}

static int test(chat_parser *p, int a)
{
    const bool negated = hs_chat_take(p, T_NAME, "not");
    const word_op *row = row_of(tests, p);
    if (!row)
        return p->kind == T_NAME ? hs_chat_refuse(p, "the test", p->s, p->n) : hs_chat_unexpected(p);
    hs_chat_next(p);
    return hs_chat_add(p, (chat_node){ .kind = CHAT_TEST, .op = row->op, .a = a, .i = negated != row->argument });
}

static int filter(chat_parser *p, int a)
{
    const word_op *row = row_of(filters, p);
    if (!row)
        return p->kind == T_NAME ? hs_chat_refuse(p, "the filter", p->s, p->n) : hs_chat_unexpected(p);
    hs_chat_next(p);
    return hs_chat_add(p, (chat_node){ .kind = CHAT_CHANGE, .op = row->op, .a = a, .b = -1 });
}

static int unary(chat_parser *p)
{
    if (hs_chat_take(p, T_SIGN, "-")) {
        if (++p->deep > CHAT_DEEP)
            return hs_chat_refuse(p, "it is nested too deep", "", 0);
        const int a = unary(p);
        p->deep--;
        return hs_chat_add(p, (chat_node){ .kind = CHAT_NEGATIVE, .op = CHAT_SUB, .a = a });
    }
    int a = primary(p);
    while (p->status == HS_OK) {
        if (hs_chat_take(p, T_SIGN, "."))
            a = key(p, a);
        else if (hs_chat_take(p, T_SIGN, "["))
            a = item(p, a);
        else if (hs_chat_take(p, T_SIGN, "|"))
            a = filter(p, a);
        else if (hs_chat_take(p, T_NAME, "is"))
            a = test(p, a);
        else
            break;
    }
    return a;
}

// From loose to tight; Jinja's. NULL behind the last of a level.
static const struct level {
    chat_token kind;
    const char *word[9];
    chat_op op[8];
} levels[] = {
    { T_NAME, { "or" }, { CHAT_OR } },
    { T_NAME, { "and" }, { CHAT_AND } },
    { T_NAME, { "not" }, { 0 } },                                                                               // in front
    { T_SIGN, { "==", "!=", "<=", ">=", "<", ">" }, { CHAT_EQ, CHAT_NE, CHAT_LE, CHAT_GE, CHAT_LT, CHAT_GT } }, // and: in, not in
    { T_SIGN, { "+", "-" }, { CHAT_ADD, CHAT_SUB } },
    { T_SIGN, { "~" }, { CHAT_JOIN } },
    { T_SIGN, { "*", "%" }, { CHAT_MUL, CHAT_MOD } },
};
enum { LEVEL_NOT = 2, LEVEL_COMPARE = 3 };

static int operator_of(chat_parser *p, int level)
{
    for (int i = 0; levels[level].word[i]; i++)
        if (hs_chat_take(p, levels[level].kind, levels[level].word[i]))
            return (int)levels[level].op[i];
    if (level != LEVEL_COMPARE)
        return -1;
    if (hs_chat_take(p, T_NAME, "in"))
        return CHAT_IN;
    if (!hs_chat_take(p, T_NAME, "not"))
        return -1;
    hs_chat_want(p, T_NAME, "in");
    return CHAT_NOT_IN;
}

static int binary(chat_parser *p, int level)
{
    if (level == HS_COUNT(levels))
        return unary(p);
    if (level == LEVEL_NOT && hs_chat_take(p, T_NAME, "not")) {
        if (++p->deep > CHAT_DEEP)
            return hs_chat_refuse(p, "it is nested too deep", "", 0);
        const int a = binary(p, level);
        p->deep--;
        return hs_chat_add(p, (chat_node){ .kind = CHAT_NOT, .a = a });
    }
    int a = binary(p, level + 1);
    for (int op; p->status == HS_OK && level != LEVEL_NOT && (op = operator_of(p, level)) >= 0;) {
        const int b = binary(p, level + 1);
        a = hs_chat_add(p, (chat_node){ .kind = CHAT_BINARY, .op = op, .a = a, .b = b });
    }
    return a;
}

int hs_chat_operand(chat_parser *p) { return binary(p, 0); }

int hs_chat_expression(chat_parser *p)
{
    if (++p->deep > CHAT_DEEP)
        return hs_chat_refuse(p, "it is nested too deep", "", 0);
    int a = binary(p, 0);
    if (hs_chat_take(p, T_NAME, "if")) {
        const int b = binary(p, 0), c = hs_chat_take(p, T_NAME, "else") ? hs_chat_expression(p) : -1;
        a = hs_chat_add(p, (chat_node){ .kind = CHAT_CHOICE, .a = a, .b = b, .c = c });
    }
    p->deep--;
    return a;
}
