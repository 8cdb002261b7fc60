// plain_tokenizer: a tokenizer that is learned on plain texts when a run first starts, as `halfstep tokenizer train` would.
#ifndef HS_DATA_PLAIN_TOKENIZER_H
#define HS_DATA_PLAIN_TOKENIZER_H
#include "data/text/text_source.h"
#include "data/tokenizers/tokenizer.h"

enum { HS_PLAIN_VOCAB = 8000, HS_PLAIN_PAD = 0 }; // tokens unless told otherwise; the id of [PAD]
// Whether `name` is "wordpiece" (HS_PLAIN_VOCAB tokens) or "wordpiece:N"; *vocab: N, -1 where it is no number.
bool hs_plain_tokenizer_named(const char *name, int64_t *vocab);

// inputs: files, folders and patterns, as `halfstep prepare` takes them, packed ones and JSON records among them; no pipes, for they are
// read twice. Lower-case WordPiece of at most `vocab` tokens. USAGE.
hs_status hs_plain_tokenizer_train(hs_tokenizer **out, const char *const *input, int n, int64_t vocab);

#endif
