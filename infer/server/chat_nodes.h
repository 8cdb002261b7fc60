// chat_nodes: a template as it is between chat_template.c and chat_expression.c, which parse it, and chat_render.c, which runs it.
#ifndef HS_INFER_CHAT_NODES_H
#define HS_INFER_CHAT_NODES_H
#include "infer/server/chat_template.h"
#include <stdint.h>

typedef enum chat_kind {
    // statements; `next` is the one behind it
    CHAT_TEXT,  // s
    CHAT_PRINT, // a
    CHAT_FOR,   // variable i in a: b
    CHAT_IF,    // if a: b, else c
    CHAT_SET,   // variable i = a
    // expressions
    CHAT_STRING,    // s
    CHAT_CONSTANT,  // value of type `op`, i
    CHAT_VARIABLE,  // i
    CHAT_KEY,       // a.s
    CHAT_ITEM,      // a[b]
    CHAT_SLICE,     // a[b:c], either may be none
    CHAT_BINARY,    // a op b
    CHAT_NOT,       // a
    CHAT_NEGATIVE,  // 0 op a
    CHAT_CHOICE,    // a if b else c
    CHAT_CHANGE,    // filter or method `op` on a, with argument b
    CHAT_TEST,      // a is [not: i] op
    CHAT_EXCEPTION, // a
} chat_kind;

typedef enum chat_op {
    CHAT_OR,
    CHAT_AND,
    CHAT_EQ,
    CHAT_NE,
    CHAT_LE,
    CHAT_GE,
    CHAT_LT,
    CHAT_GT,
    CHAT_IN,
    CHAT_NOT_IN,
    CHAT_ADD,
    CHAT_SUB,
    CHAT_JOIN,
    CHAT_MUL,
    CHAT_MOD,
} chat_op;
typedef enum chat_change {
    CHAT_TRIM,
    CHAT_LTRIM,
    CHAT_RTRIM,
    CHAT_LENGTH,
    CHAT_UPPER,
    CHAT_LOWER,
    CHAT_CAPITALIZE,
    CHAT_STARTS,
    CHAT_ENDS,
} chat_change;
typedef enum chat_type { CHAT_UNDEFINED, CHAT_NONE, CHAT_BOOL, CHAT_INT, CHAT_TEXT_VALUE, CHAT_MESSAGE, CHAT_LIST, CHAT_LOOP } chat_type;

typedef struct chat_node {
    chat_kind kind;
    int op, a, b, c, next; // nodes; -1: none
    int line;
    int64_t i;
    const char *s; // [n]
    size_t n;
} chat_node;

enum { CHAT_VARIABLES = 32, CHAT_NAME = 48, CHAT_DEEP = 64 };
enum {
    CHAT_MESSAGES,
    CHAT_BOS,
    CHAT_EOS,
    CHAT_UNK,
    CHAT_PAD,
    CHAT_PROMPT,
    CHAT_LOOP_NAME,
    CHAT_TOOLS,
    CHAT_DOCUMENTS,
    CHAT_KNOWN
}; // variables that are there

struct hs_chat_template {
    char *what, *text; // text: strings of nodes lie in it, escapes resolved in place
    char *token[4];    // bos, eos, unk, pad
    chat_node *node;
    int n, room, first;
    char variable[CHAT_VARIABLES][CHAT_NAME];
    int n_variables;
};
#endif
