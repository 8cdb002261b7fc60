// chat_parse: what chat_template.c, which reads texts and statements, and chat_expression.c, which reads what stands in a tag, share.
#ifndef HS_INFER_CHAT_PARSE_H
#define HS_INFER_CHAT_PARSE_H
#include "infer/server/chat_nodes.h"

typedef enum chat_token { T_END, T_NAME, T_STRING, T_NUMBER, T_SIGN } chat_token; // T_END: "}}" or "%}"

typedef struct chat_parser {
    hs_chat_template *t;
    char *p, *end;
    bool in_block;                     // within "{%"
    bool stripped, line_begins, trims; // behind the last tag: "-" was there; a line begins; one newline is dropped
    chat_token kind;
    char *s; // the token
    size_t n;
    int deep, line;
    hs_status status;
} chat_parser;

// Each gives a node, or -1 behind the first that is refused; nothing is read from there on.
int hs_chat_refuse(chat_parser *p, const char *what, const char *s, size_t n); // n 0: "LINE: what", else "LINE: what 's' is not supported"
int hs_chat_add(chat_parser *p, chat_node node);
int hs_chat_unexpected(chat_parser *p);                        // the token cannot stand here
int hs_chat_variable(chat_parser *p, const char *s, size_t n); // its number
int hs_chat_expression(chat_parser *p);
int hs_chat_operand(chat_parser *p); // without an "if" of its own

void hs_chat_next(chat_parser *p); // the token behind this one
bool hs_chat_is(const chat_parser *p, chat_token kind, const char *s);
bool hs_chat_take(chat_parser *p, chat_token kind, const char *s); // and the next, where it is
void hs_chat_want(chat_parser *p, chat_token kind, const char *s); // and the next; else it is refused

#endif
