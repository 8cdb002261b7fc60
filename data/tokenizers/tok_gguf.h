// tok_gguf: a tokenizer as the keys tokenizer.ggml.* of a GGUF file, and back.
//
//   "bert"    WordPiece: "##ing" is "ing", "in" is "\u2581in"; always lower case and without accents, whatever the folder says
//   "gpt2"    byte-level BPE with tokenizer.ggml.pre "gpt-2": tokens and merges as vocab.json and merges.txt have them
#ifndef HS_DATA_TOK_GGUF_H
#define HS_DATA_TOK_GGUF_H
#include "data/formats/gguf.h"
#include "data/tokenizers/tokenizer.h"

// vocab: the model's rows; those that have no token are "[PAD7]", unused. UNSUPPORTED, with why: a kind of tokenizer that llama.cpp has not
// (characters; WordPiece that keeps the case), or a token beyond the model's rows.
hs_status hs_gguf_put_tokenizer(hs_gguf *g, const hs_tokenizer *t, int64_t vocab);
// Without a tokenizer: texts are lists of ids.
void hs_gguf_put_no_tokenizer(hs_gguf *g);
// *out NULL: the file has none. UNSUPPORTED: of another kind.
hs_status hs_gguf_get_tokenizer(const hs_gguf *g, const char *path, hs_tokenizer **out);

#endif
