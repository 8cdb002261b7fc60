// chat_template: from its text to nodes. What a statement may be is told by its first word.
#include "infer/server/chat_template.h"
#include "infer/server/chat_parse.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// ---- text and statements

// What ends a statement is not what it should be. word "": nothing does.
static int wrong_end(chat_parser *p, const char *within, const char *no_end, const char *word)
{
    return word[0] ? hs_chat_refuse(p, within, word, strlen(word)) : hs_chat_refuse(p, no_end, "", 0);
}

// Text up to the next tag, without what the tags on both sides drop. At a tag: it is behind its opening sign.
static int text(chat_parser *p, char *kind)
{
    char *from = p->p, *to = from;
    while (to < p->end && !(to[0] == '{' && to + 1 < p->end && memchr("{%#", to[1], 3)))
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
    return to > from ? hs_chat_add(p, (chat_node){ .kind = CHAT_TEXT, .s = from, .n = (size_t)(to - from) }) : -1;
}

static void skip_comment(chat_parser *p)
{
    while (p->p + 1 < p->end && !(p->p[0] == '#' && p->p[1] == '}'))
        p->line += *p->p++ == '\n';
    if (p->p + 1 >= p->end) {
        hs_chat_refuse(p, "a comment has no end", "", 0);
        return;
    }
    p->stripped = p->p[-1] == '-', p->trims = p->p[-1] != '+';
    p->p += 2;
}

static int statements(chat_parser *p, char word[CHAT_NAME]);

static int read_for(chat_parser *p)
{
    char word[CHAT_NAME];
    if (p->kind != T_NAME)
        return hs_chat_unexpected(p);
    const int i = hs_chat_variable(p, p->s, p->n);
    hs_chat_next(p);
    hs_chat_want(p, T_NAME, "in");
    const int a = hs_chat_operand(p);
    if (p->status == HS_OK && p->kind != T_END)
        return hs_chat_unexpected(p);
    const int b = statements(p, word);
    if (p->status == HS_OK && strcmp(word, "endfor") != 0)
        return wrong_end(p, "within a for", "a for has no end", word);
    return hs_chat_add(p, (chat_node){ .kind = CHAT_FOR, .i = i, .a = a, .b = b });
}

static int read_if(chat_parser *p)
{
    char word[CHAT_NAME];
    int c = -1;
    if (++p->deep > CHAT_DEEP)
        return hs_chat_refuse(p, "it is nested too deep", "", 0);
    const int a = hs_chat_expression(p);
    if (p->status == HS_OK && p->kind != T_END)
        return hs_chat_unexpected(p);
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
    return hs_chat_add(p, (chat_node){ .kind = CHAT_IF, .a = a, .b = b, .c = c });
}

static int read_set(chat_parser *p)
{
    if (p->kind != T_NAME)
        return hs_chat_unexpected(p);
    const int i = hs_chat_variable(p, p->s, p->n);
    hs_chat_next(p);
    if (!hs_chat_is(p, T_SIGN, "="))
        return hs_chat_unexpected(p);
    hs_chat_next(p);
    const int a = hs_chat_expression(p);
    if (p->status == HS_OK && p->kind != T_END)
        return hs_chat_unexpected(p);
    return hs_chat_add(p, (chat_node){ .kind = CHAT_SET, .i = i, .a = a });
}

// The statement behind "{%"; -1 and its word where it ends what is around it.
static int statement(chat_parser *p, char word[CHAT_NAME])
{
    static const struct {
        const char *word;
        int (*read)(chat_parser *p); // NULL: ends something
        bool bare;                   // nothing stands behind the word
    } rows[] = { { "for", read_for, false }, { "if", read_if, false }, { "set", read_set, false }, { "elif", NULL, false },
                 { "else", NULL, true },     { "endif", NULL, true },  { "endfor", NULL, true } };
    p->in_block = true;
    hs_chat_next(p);
    if (p->status != HS_OK || p->kind != T_NAME)
        return hs_chat_unexpected(p);
    for (int i = 0; i < HS_COUNT(rows); i++) {
        if (!hs_chat_is(p, T_NAME, rows[i].word))
            continue;
        hs_chat_next(p);
        if (rows[i].read)
            return rows[i].read(p);
        if (rows[i].bare && p->kind != T_END)
            return hs_chat_unexpected(p);
        strcpy(word, rows[i].word);
        return -1;
    }
    return hs_chat_refuse(p, "the statement", p->s, p->n);
}

// Everything up to a statement that ends it, whose word it gives; "": the template's end.
static int statements(chat_parser *p, char word[CHAT_NAME])
{
    int first = -1, last = -1;
    char kind = 1;
    word[0] = 0;
    if (++p->deep > CHAT_DEEP)
        return hs_chat_refuse(p, "it is nested too deep", "", 0);
    while (p->status == HS_OK && kind && !word[0]) {
        int node[2] = { text(p, &kind), -1 };
        if (kind == '#')
            skip_comment(p);
        else if (kind == '%')
            node[1] = statement(p, word);
        else if (kind == '{') {
            p->in_block = false;
            hs_chat_next(p);
            const int a = hs_chat_expression(p);
            if (p->status == HS_OK && p->kind != T_END)
                return hs_chat_unexpected(p);
            node[1] = hs_chat_add(p, (chat_node){ .kind = CHAT_PRINT, .a = a });
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
    chat_parser p = { .t = t, .p = t->text, .end = t->text + bytes, .line_begins = true, .line = 1 };
    if (!whole)
        p.status = HS_FAIL(MEMORY, "no memory for a chat template");
    else
        t->first = statements(&p, word);
    if (p.status == HS_OK && word[0])
        hs_chat_refuse(&p, "without a beginning", word, strlen(word));
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
