// chat_template: from its text to nodes. Precedence is a table; what a statement may be is told by its first word.
#include "infer/server/chat_template.h"
#include "infer/server/chat_nodes.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef enum token_kind { T_END, T_NAME, T_STRING, T_NUMBER, T_SIGN } token_kind; // T_END: "}}" or "%}"

typedef struct parser {
    hs_chat_template *t;
    char *p, *end;
    bool in_block;                     // within "{%"
    bool stripped, line_begins, trims; // behind the last tag: "-" was there; a line begins; one newline is dropped
    token_kind kind;
    char *s; // the token
    size_t n;
    int deep, line;
    hs_status status;
} parser;

static int refuse(parser *p, const char *what, const char *s, size_t n)
{
    if (p->status == HS_OK)
        p->status = HS_FAIL(UNSUPPORTED, "%s: line %d: %s%s%.*s%s", p->t->what, p->line, what, n ? " '" : "", (int)(n < 60 ? n : 60), s,
                            n ? "' is not supported" : "");
    p->kind = T_END;
    p->p = p->end;
    return -1;
}

static int add(parser *p, chat_node node)
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

static bool closes(const parser *p, const char *s)
{
    const char *close = p->in_block ? "%}" : "}}";
    return s + 2 <= p->end && s[0] == close[0] && s[1] == close[1];
}

static void close_tag(parser *p)
{
    const bool minus = *p->p == '-', plus = *p->p == '+';
    p->p += 2 + minus + plus;
    p->kind = T_END;
    p->stripped = minus, p->trims = p->in_block && !plus;
}

static void read_string(parser *p)
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
                refuse(p, "the escape", p->p - 1, 2);
                return;
            }
            c = is[at - from], p->p++;
        }
        *to++ = c;
    }
    p->n = (size_t)(to - p->s);
    if (p->p == p->end)
        refuse(p, "a string has no end", "", 0);
    else
        p->p++;
}

static void next(parser *p)
{
    static const char *const two[] = { "==", "!=", "<=", ">=", "//", "**" };
    if (p->status != HS_OK)
        return;
    while (p->p < p->end && isspace((unsigned char)*p->p))
        p->line += *p->p++ == '\n';
    if (p->p == p->end) {
        refuse(p, "a tag has no end", "", 0);
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

static bool is(const parser *p, token_kind kind, const char *s)
{
    return p->kind == kind && p->n == strlen(s) && memcmp(p->s, s, p->n) == 0;
}

static bool take(parser *p, token_kind kind, const char *s)
{
    if (!is(p, kind, s))
        return false;
    next(p);
    return true;
}

static int unexpected(parser *p) { return p->kind == T_END ? refuse(p, "a tag ends too early", "", 0) : refuse(p, "here", p->s, p->n); }

static void want(parser *p, token_kind kind, const char *s)
{
    if (p->status == HS_OK && !take(p, kind, s))
        unexpected(p);
}

// ---- expressions

static int expression(parser *p);

static int variable(parser *p, const char *s, size_t n)
{
    hs_chat_template *t = p->t;
    for (int i = 0; i < t->n_variables; i++)
        if (strlen(t->variable[i]) == n && memcmp(t->variable[i], s, n) == 0)
            return i;
    if (t->n_variables == CHAT_VARIABLES || n >= CHAT_NAME)
        return refuse(p, "one name more:", s, n);
    memcpy(t->variable[t->n_variables], s, n);
    return t->n_variables++;
}

static int constant(parser *p, chat_type type, int64_t i)
{
    next(p);
    return add(p, (chat_node){ .kind = CHAT_CONSTANT, .op = (int)type, .i = i });
}

static int name(parser *p)
{
    static const struct {
        const char *word;
        chat_type type;
        int64_t i;
    } words[] = { { "true", CHAT_BOOL, 1 },  { "True", CHAT_BOOL, 1 }, { "false", CHAT_BOOL, 0 },
                  { "False", CHAT_BOOL, 0 }, { "none", CHAT_NONE, 0 }, { "None", CHAT_NONE, 0 } };
    for (int i = 0; i < HS_COUNT(words); i++)
        if (is(p, T_NAME, words[i].word))
            return constant(p, words[i].type, words[i].i);
    const char *s = p->s;
    const size_t n = p->n;
    next(p);
    if (!is(p, T_SIGN, "(")) {
        const int i = variable(p, s, n);
        return add(p, (chat_node){ .kind = CHAT_VARIABLE, .i = i });
    }
    if (n != 15 || memcmp(s, "raise_exception", 15) != 0)
        return refuse(p, "the function", s, n);
    next(p);
    const int a = expression(p);
    want(p, T_SIGN, ")");
    return add(p, (chat_node){ .kind = CHAT_EXCEPTION, .a = a });
}

static int primary(parser *p)
{
    if (p->kind == T_NAME)
        return name(p);
    if (p->kind == T_STRING) {
        const chat_node node = { .kind = CHAT_STRING, .s = p->s, .n = p->n };
        next(p);
        return add(p, node);
    }
    if (p->kind == T_NUMBER)
        return p->n > 9 ? refuse(p, "the number", p->s, p->n) : constant(p, CHAT_INT, strtoll(p->s, NULL, 10));
    if (!take(p, T_SIGN, "("))
        return unexpected(p);
    const int a = expression(p);
    want(p, T_SIGN, ")");
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

static const word_op *row_of(const word_op *row, const parser *p)
{
    while (row->word && !is(p, T_NAME, row->word))
        row++;
    return row->word ? row : NULL;
}

static int method(parser *p, int a, char *s, size_t n)
{
    parser of = *p;
    of.s = s, of.n = n, of.kind = T_NAME;
    const word_op *row = row_of(methods, &of);
    if (!row)
        return refuse(p, "the method", s, n);
    next(p);
    const int b = row->argument ? expression(p) : -1;
    want(p, T_SIGN, ")");
    return add(p, (chat_node){ .kind = CHAT_CHANGE, .op = row->op, .a = a, .b = b });
}

static int key(parser *p, int a)
{
    if (p->kind != T_NAME)
        return unexpected(p);
    char *s = p->s;
    const size_t n = p->n;
    next(p);
    return is(p, T_SIGN, "(") ? method(p, a, s, n) : add(p, (chat_node){ .kind = CHAT_KEY, .a = a, .s = s, .n = n });
}

static int item(parser *p, int a)
{
    int from = -1, to = -1;
    bool slice = false;
    if (!is(p, T_SIGN, ":"))
        from = expression(p);
    if (take(p, T_SIGN, ":")) {
        slice = true;
        if (!is(p, T_SIGN, "]"))
            to = expression(p);
    }
    want(p, T_SIGN, "]");
    return add(p, (chat_node){ .kind = slice ? CHAT_SLICE : CHAT_ITEM, .a = a, .b = from, .c = to });
}

static int test(parser *p, int a)
{
    const bool negated = take(p, T_NAME, "not");
    const word_op *row = row_of(tests, p);
    if (!row)
        return p->kind == T_NAME ? refuse(p, "the test", p->s, p->n) : unexpected(p);
    next(p);
    return add(p, (chat_node){ .kind = CHAT_TEST, .op = row->op, .a = a, .i = negated != row->argument });
}

static int filter(parser *p, int a)
{
    const word_op *row = row_of(filters, p);
    if (!row)
        return p->kind == T_NAME ? refuse(p, "the filter", p->s, p->n) : unexpected(p);
    next(p);
    return add(p, (chat_node){ .kind = CHAT_CHANGE, .op = row->op, .a = a, .b = -1 });
}

static int unary(parser *p)
{
    if (take(p, T_SIGN, "-")) {
        if (++p->deep > CHAT_DEEP)
            return refuse(p, "it is nested too deep", "", 0);
        const int a = unary(p);
        p->deep--;
        return add(p, (chat_node){ .kind = CHAT_NEGATIVE, .a = a });
    }
    int a = primary(p);
    while (p->status == HS_OK) {
        if (take(p, T_SIGN, "."))
            a = key(p, a);
        else if (take(p, T_SIGN, "["))
            a = item(p, a);
        else if (take(p, T_SIGN, "|"))
            a = filter(p, a);
        else if (take(p, T_NAME, "is"))
            a = test(p, a);
        else
            break;
    }
    return a;
}

// From loose to tight; Jinja's. NULL behind the last of a level.
static const struct level {
    token_kind kind;
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

static int operator_of(parser *p, int level)
{
    for (int i = 0; levels[level].word[i]; i++)
        if (take(p, levels[level].kind, levels[level].word[i]))
            return (int)levels[level].op[i];
    if (level != LEVEL_COMPARE)
        return -1;
    if (take(p, T_NAME, "in"))
        return CHAT_IN;
    if (!take(p, T_NAME, "not"))
        return -1;
    want(p, T_NAME, "in");
    return CHAT_NOT_IN;
}

static int binary(parser *p, int level)
{
    if (level == HS_COUNT(levels))
        return unary(p);
    if (level == LEVEL_NOT && take(p, T_NAME, "not")) {
        if (++p->deep > CHAT_DEEP)
            return refuse(p, "it is nested too deep", "", 0);
        const int a = binary(p, level);
        p->deep--;
        return add(p, (chat_node){ .kind = CHAT_NOT, .a = a });
    }
    int a = binary(p, level + 1);
    for (int op; p->status == HS_OK && level != LEVEL_NOT && (op = operator_of(p, level)) >= 0;) {
        const int b = binary(p, level + 1);
        a = add(p, (chat_node){ .kind = CHAT_BINARY, .op = op, .a = a, .b = b });
    }
    return a;
}

static int expression(parser *p)
{
    if (++p->deep > CHAT_DEEP)
        return refuse(p, "it is nested too deep", "", 0);
    int a = binary(p, 0);
    if (take(p, T_NAME, "if")) {
        const int b = binary(p, 0), c = take(p, T_NAME, "else") ? expression(p) : -1;
        a = add(p, (chat_node){ .kind = CHAT_CHOICE, .a = a, .b = b, .c = c });
    }
    p->deep--;
    return a;
}

// ---- text and statements

// What ends a statement is not what it should be. word "": nothing does.
static int wrong_end(parser *p, const char *within, const char *no_end, const char *word)
{
    return word[0] ? refuse(p, within, word, strlen(word)) : refuse(p, no_end, "", 0);
}

// Text up to the next tag, without what the tags on both sides drop. At a tag: it is behind its opening sign.
static int text(parser *p, char *kind)
{
    char *from = p->p, *to = from;
    while (to < p->end && !(to[0] == '{' && to + 1 < p->end && strchr("{%#", to[1])))
        to++;
    *kind = to < p->end ? to[1] : 0;
    p->p = to < p->end ? to + 2 : to;
    bool begins = p->line_begins;
    for (char *s = from; s < to; s++)
        p->line += *s == '\n';
    if (p->trims && !p->stripped && from < to && *from == '\n')
        from++, begins = true;
    while (p->stripped && from < to && isspace((unsigned char)*from))
        begins = *from++ == '\n';
    const bool minus = p->p < p->end && *p->p == '-', plus = p->p < p->end && *p->p == '+';
    if (*kind && (minus || plus))
        p->p++;
    if (*kind && minus)
        while (to > from && isspace((unsigned char)to[-1]))
            to--;
    else if ((*kind == '%' || *kind == '#') && !plus) {
        char *back = to;
        while (back > from && (back[-1] == ' ' || back[-1] == '\t'))
            back--;
        if (back > from ? back[-1] == '\n' : begins)
            to = back;
    }
    if (!*kind && to > from && to[-1] == '\n') // one at the very end
        to--;
    p->line_begins = p->stripped = p->trims = false;
    return to > from ? add(p, (chat_node){ .kind = CHAT_TEXT, .s = from, .n = (size_t)(to - from) }) : -1;
}

static void skip_comment(parser *p)
{
    while (p->p + 1 < p->end && !(p->p[0] == '#' && p->p[1] == '}'))
        p->line += *p->p++ == '\n';
    if (p->p + 1 >= p->end) {
        refuse(p, "a comment has no end", "", 0);
        return;
    }
    p->stripped = p->p[-1] == '-', p->trims = p->p[-1] != '+';
    p->p += 2;
}

static int statements(parser *p, char word[CHAT_NAME]);

static int read_for(parser *p)
{
    char word[CHAT_NAME];
    if (p->kind != T_NAME)
        return unexpected(p);
    const int i = variable(p, p->s, p->n);
    next(p);
    want(p, T_NAME, "in");
    const int a = binary(p, 0);
    if (p->status == HS_OK && p->kind != T_END)
        return unexpected(p);
    const int b = statements(p, word);
    if (p->status == HS_OK && strcmp(word, "endfor") != 0)
        return wrong_end(p, "within a for", "a for has no end", word);
    return add(p, (chat_node){ .kind = CHAT_FOR, .i = i, .a = a, .b = b });
}

static int read_if(parser *p)
{
    char word[CHAT_NAME];
    int c = -1;
    if (++p->deep > CHAT_DEEP)
        return refuse(p, "it is nested too deep", "", 0);
    const int a = expression(p);
    if (p->status == HS_OK && p->kind != T_END)
        return unexpected(p);
    const int b = statements(p, word);
    if (strcmp(word, "elif") == 0)
        c = read_if(p);
    else if (strcmp(word, "else") == 0) {
        c = statements(p, word);
        if (p->status == HS_OK && strcmp(word, "endif") != 0)
            return wrong_end(p, "within an else", "an else has no end", word);
    } else if (p->status == HS_OK && strcmp(word, "endif") != 0)
        return wrong_end(p, "within an if", "an if has no end", word);
    p->deep--;
    return add(p, (chat_node){ .kind = CHAT_IF, .a = a, .b = b, .c = c });
}

static int read_set(parser *p)
{
    if (p->kind != T_NAME)
        return unexpected(p);
    const int i = variable(p, p->s, p->n);
    next(p);
    if (!is(p, T_SIGN, "="))
        return unexpected(p);
    next(p);
    const int a = expression(p);
    if (p->status == HS_OK && p->kind != T_END)
        return unexpected(p);
    return add(p, (chat_node){ .kind = CHAT_SET, .i = i, .a = a });
}

// The statement behind "{%"; -1 and its word where it ends what is around it.
static int statement(parser *p, char word[CHAT_NAME])
{
    static const struct {
        const char *word;
        int (*read)(parser *p); // NULL: ends something
        bool bare;              // nothing stands behind the word
    } rows[] = { { "for", read_for, false }, { "if", read_if, false }, { "set", read_set, false }, { "elif", NULL, false },
                 { "else", NULL, true },     { "endif", NULL, true },  { "endfor", NULL, true } };
    p->in_block = true;
    next(p);
    if (p->status != HS_OK || p->kind != T_NAME)
        return unexpected(p);
    for (int i = 0; i < HS_COUNT(rows); i++) {
        if (!is(p, T_NAME, rows[i].word))
            continue;
        next(p);
        if (rows[i].read)
            return rows[i].read(p);
        if (rows[i].bare && p->kind != T_END)
            return unexpected(p);
        strcpy(word, rows[i].word);
        return -1;
    }
    return refuse(p, "the statement", p->s, p->n);
}

// Everything up to a statement that ends it, whose word it gives; "": the template's end.
static int statements(parser *p, char word[CHAT_NAME])
{
    int first = -1, last = -1;
    char kind = 1;
    word[0] = 0;
    if (++p->deep > CHAT_DEEP)
        return refuse(p, "it is nested too deep", "", 0);
    while (p->status == HS_OK && kind && !word[0]) {
        int node[2] = { text(p, &kind), -1 };
        if (kind == '#')
            skip_comment(p);
        else if (kind == '%')
            node[1] = statement(p, word);
        else if (kind == '{') {
            p->in_block = false;
            next(p);
            const int a = expression(p);
            if (p->status == HS_OK && p->kind != T_END)
                return unexpected(p);
            node[1] = add(p, (chat_node){ .kind = CHAT_PRINT, .a = a });
        }
        for (int i = 0; p->status == HS_OK && i < 2; i++)
            if (node[i] >= 0) {
                *(last < 0 ? &first : &p->t->node[last].next) = node[i];
                last = node[i];
            }
    }
    p->deep--;
    return first;
}

static char *copy(const char *s, size_t n)
{
    char *c = malloc(n + 1);
    if (c)
        memcpy(c, s, n), c[n] = 0;
    return c;
}

hs_status hs_chat_template_parse(hs_chat_template **out, const char *source, size_t bytes, const hs_chat_tokens *tokens, const char *what)
{
    static const char *const known[CHAT_KNOWN] = { "messages", "bos_token", "eos_token", "unk_token", "pad_token", "add_generation_prompt",
                                                   "loop",     "tools",     "documents" };
    const char *const token[4] = { tokens->bos, tokens->eos, tokens->unk, tokens->pad };
    char word[CHAT_NAME];
    *out = NULL;
    hs_chat_template *t = calloc(1, sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for a chat template");
    bool whole = (t->what = copy(what, strlen(what))) && (t->text = copy(source, bytes));
    for (int i = 0; i < 4; i++)
        whole = whole && (!token[i] || (t->token[i] = copy(token[i], strlen(token[i]))));
    for (int i = 0; i < CHAT_KNOWN; i++)
        strcpy(t->variable[i], known[i]);
    t->n_variables = CHAT_KNOWN;
    parser p = { .t = t, .p = t->text, .end = t->text + bytes, .line_begins = true, .line = 1 };
    if (!whole)
        p.status = HS_FAIL(MEMORY, "no memory for a chat template");
    else
        t->first = statements(&p, word);
    if (p.status == HS_OK && word[0])
        refuse(&p, "without a beginning", word, strlen(word));
    if (p.status != HS_OK) {
        hs_chat_template_free(t);
        return hs_frame_at(p.status, __FILE__, __LINE__);
    }
    *out = t;
    return HS_OK;
}

void hs_chat_template_free(hs_chat_template *t)
{
    if (!t)
        return;
    for (int i = 0; i < 4; i++)
        free(t->token[i]);
    free(t->what), free(t->text), free(t->node);
    free(t);
}
