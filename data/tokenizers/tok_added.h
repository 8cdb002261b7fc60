// tok_added: tokens that are found in the text before any model sees it, special ones among them.
//
// Leftmost, then longest. Tokens that are not `normalized` are looked for in the text itself; the others in what is left between them.
#ifndef HS_DATA_TOK_ADDED_H
#define HS_DATA_TOK_ADDED_H
#include "data/tokenizers/tok_vocab.h"
#include <stdbool.h>

typedef struct hs_tok_added_token {
    char *text; // owned
    size_t bytes;
    int32_t id;
    bool special, normalized;
    bool single_word;    // only where no letter, mark, digit or connector touches it
    bool lstrip, rstrip; // takes the white space beside it along
} hs_tok_added_token;

typedef struct hs_tok_added {
    hs_tok_added_token *token; // [n]
    int n;
    uint8_t *has; // [most_id + 1]: the id is one of them
    int32_t most_id;
    bool unmatched; // known by name and id, but not looked for
    struct hs_tok_finder {
        hs_tok_trie trie;
        int n;            // tokens in it
        int first;        // their first byte if it is the same for all, else -1
        bool begins[256]; // a token begins with this byte
    } finder[2];          // [1]: the normalized ones
} hs_tok_added;

typedef struct hs_tok_match {
    size_t start, end; // of the text taken
    int index;         // of the token
} hs_tok_match;

// Adds one; text is copied. Call hs_tok_added_ready after the last.
hs_status hs_tok_added_add(hs_tok_added *a, hs_tok_added_token token);
hs_status hs_tok_added_ready(hs_tok_added *a);
void hs_tok_added_free(hs_tok_added *a);
static inline bool hs_tok_added_has(const hs_tok_added *a, int32_t id) { return a->n > 0 && id <= a->most_id && a->has[id]; }
// The next match of finder[which] in s[from, to); what lies before `from` was matched already. False: none.
bool hs_tok_added_next(const hs_tok_added *a, int which, const char *s, size_t begin, size_t from, size_t to, hs_tok_match *m);
// White space at the ends of s[start, end): bytes and characters.
void hs_tok_added_blanks(const char *s, size_t start, size_t end, int64_t leading[2], int64_t trailing[2]);

#endif
