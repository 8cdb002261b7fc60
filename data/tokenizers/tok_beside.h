// tok_beside: what lies beside a vocabulary - added_tokens.json, special_tokens_map.json, tokenizer_config.json, chat_template.jinja - read
// as Hugging Face's transformers 5 does, and written into new folders.
//
//   added_tokens_decoder of tokenizer_config.json    {"527": {"content": "<|im_start|>", "lstrip": false, ...}}; its flags go before
//   others' added_tokens.json                                {"<|im_start|>": 527}; special where a name below is theirs
//   special_tokens_map.json, tokenizer_config.json   names: eos_token, pad_token, ..., additional_special_tokens; the map goes first, and
//                                                    counts for nothing where there is an added_tokens_decoder
//
// A token that is named and that no file gives an id has the next free one. Two ids for one token are refused.
#ifndef HS_DATA_TOK_BESIDE_H
#define HS_DATA_TOK_BESIDE_H
#include "data/tokenizers/tok_subword.h"

hs_status hs_tok_beside_config(const char *dir, json_t **config); // tokenizer_config.json, or an empty object; the caller decrefs
// Puts all that into root.added_tokens. fallback: names of bos, eos, unk, sep, pad, cls and mask (NULL: none) where the files name none and
// the vocabulary has them; may be NULL. *beside: what hs_tok_beside_attach and the writer want; the caller decrefs.
hs_status hs_tok_beside_read(const char *dir, const json_t *config, const char *const *fallback, json_t *root, json_t **beside);
void hs_tok_beside_attach(hs_subword *s, json_t *beside); // takes a reference; settles the ids of names
// root: tokenizer.json as it is written; config: tokenizer_config.json, which gets names and added_tokens_decoder. Writes the other files,
// and removes those that another tokenizer left.
hs_status hs_tok_beside_write(const hs_tokenizer *t, const char *dir, const json_t *root, json_t *config);

#endif
