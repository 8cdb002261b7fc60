// chat_template: a conversation written as the text that a model was trained on, by the template that lies beside its tokenizer, which is
// Jinja. Here is what templates of chats need of it, and nothing that could reach out of one:
//
//   {{ expression }}   {% for x in list %} {% endfor %}   {% if %} {% elif %} {% else %} {% endif %}   {% set x = expression %}   {# #}
//   strings, integers, true, false, none, names, x.key, x['key'], x[0], x[1:], + - * % ~, == != < <= > >=, in, not in, and, or, not,
//   a if b else c, x is [not] defined|undefined|none|string, x | trim|length|upper|lower|capitalize, x.strip() lstrip() rstrip()
//   startswith(s) endswith(s) upper() lower(), raise_exception(s); loop.index, index0, first, last, length; "-" and "+" beside tags
//
// with messages, bos_token, eos_token, unk_token, pad_token, add_generation_prompt, and tools and documents, which are none; a name that
// nobody has set is undefined. Newlines behind tags and blanks in front of them are dropped, as transformers does it. Anything else is
// refused by its name when it is parsed.
#ifndef HS_INFER_CHAT_TEMPLATE_H
#define HS_INFER_CHAT_TEMPLATE_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct hs_chat_template hs_chat_template;
typedef struct hs_chat_tokens { // NULL: undefined
    const char *bos, *eos, *unk, *pad;
} hs_chat_tokens;
typedef struct hs_chat_message {
    const char *role, *content;
} hs_chat_message;

// what: for messages, as the first words ("DIR/chat_template.jinja"). UNSUPPORTED: "WHAT: line 3: the filter 'tojson' is not supported".
hs_status hs_chat_template_parse(hs_chat_template **out, const char *text, size_t bytes, const hs_chat_tokens *tokens, const char *what);
// chat_template.jinja, or chat_template of tokenizer_config.json (of a list the one called "default"), with its tokens. *out NULL: there is
// none.
hs_status hs_chat_template_read(hs_chat_template **out, const char *dir);
void hs_chat_template_free(hs_chat_template *t);

// *text: malloc'd, NUL behind. From any thread. USAGE: the template's own words (raise_exception), or a value of another kind than it
// takes.
hs_status hs_chat_template_render(const hs_chat_template *t, const hs_chat_message *message, int n, bool add_generation_prompt, char **text,
                                  size_t *bytes);

#endif
