// tok_files: the older forms of a tokenizer's folder, as the tokenizer.json they stand for; and those forms written.
//
//   vocab.txt                  BERT: a token a line, its id the line's number from 0; tokenizer_config.json says do_lower_case (true),
//                              strip_accents (as the former), tokenize_chinese_chars (true)
//   vocab.json + merges.txt    GPT-2, also under OpenAI's names encoder.json + vocab.bpe; tokenizer_config.json: add_prefix_space (false).
//                              RoBERTa, where tokenizer_class says so, or says nothing and the vocabulary has <s>, </s> and <mask>
//
// Neither form tells whose it is, but tokenizer_config.json may: another tokenizer_class, or a setting that only the class could act on, is
// refused by its name. Beside tokenizer.json it must not say otherwise of these settings.
#ifndef HS_DATA_TOK_FILES_H
#define HS_DATA_TOK_FILES_H
#include "core/base/status.h"
#include <jansson.h>

// The first file of a tokenizer in the folder, whether this version reads it or not; NULL: none.
const char *hs_tok_files_find(const char *dir);
// Of tokenizer.json if there is one, with the tokens that the files beside it add. path: [room], the file to name in messages. The caller
// decrefs root and beside (hs_tok_beside_read).
hs_status hs_tok_files_read(const char *dir, json_t **root, json_t **beside, char *path, size_t room);
// From tokenizer.json's root: vocab.txt, or vocab.json and merges.txt, or nothing.
hs_status hs_tok_files_write(const char *dir, const json_t *root);
// tokenizer.json of those forms; NULL: no memory. config: as tokenizer_config.json, may be NULL.
json_t *hs_tok_files_bert(json_t *vocab, const json_t *config);
json_t *hs_tok_files_gpt2(json_t *vocab, json_t *merges, const json_t *config);
json_t *hs_tok_files_roberta(json_t *vocab, json_t *merges, const json_t *config);
hs_status hs_tok_files_save_json(const char *dir, const char *name, json_t *j, size_t flags); // takes j over; NULL: no memory

#endif
