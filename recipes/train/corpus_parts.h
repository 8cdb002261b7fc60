// corpus_parts: what the files of corpus share.
#ifndef HS_RECIPES_CORPUS_PARTS_H
#define HS_RECIPES_CORPUS_PARTS_H
#include "recipes/program/plain_text.h"
#include "recipes/train/corpus.h"

// Texts: read, tokenized, from the cache where it has them; running text, or with documents and sentences.
hs_status hs_corpus_from_text(hs_corpus *c, const hs_corpus_from *from, const char *path);
hs_status hs_corpus_from_sequences(hs_corpus *c, const hs_corpus_from *from, const char *path);
hs_token_store *hs_corpus_cached(const hs_corpus *c, uint64_t key, const char *run_dir, bool *known); // NULL: not there, or damaged
// Token stores, used where they lie.
hs_status hs_corpus_from_stores(hs_corpus *c, const hs_corpus_from *from, const hs_data_part *part, int n);
// Labelled files, read whole.
hs_status hs_corpus_from_labelled(hs_corpus *c, const hs_corpus_from *from, const hs_data_part *part, int n);
void hs_corpus_note_labelled(const hs_corpus *c, FILE *f); // their names
void hs_labelled_data_free(hs_labelled_data *d);
// HDF5 shards, likewise.
hs_status hs_corpus_note(const hs_corpus *c, const char *run_dir); // the names of what was prepared, beside the run
hs_status hs_corpus_folder_tokenizer(hs_corpus *c, const hs_corpus_from *from, const char *path, const char *what, const char **name);
bool hs_corpus_is_char(const hs_config *config);
bool hs_corpus_is_shards(const char *path); // a file, or a folder or pattern of which the first file is one
hs_status hs_corpus_from_shards(hs_corpus *c, const hs_corpus_from *from, const hs_data_part *part, int n);
hs_status hs_corpus_shards_of(hs_text_inputs *out, const hs_data_part *part, int n);

// Ids mean nothing without the vocabulary they were made with. path, name: for the message.
hs_status hs_corpus_check_tokenizer(const char *path, const hs_token_store *s, const hs_tokenizer *t, const char *name);
hs_status hs_corpus_encode_text(hs_token_store **out, const hs_tokenizer *t, const char *path); // a running text, as one document

void hs_corpus_cache_path(const hs_corpus *c, uint64_t key, const char *run_dir, char *buf, size_t size);
// Where the validation text begins: `first_file` behind the training file, at the fraction of its tokens, or in a store of its own.
typedef struct hs_corpus_split {
    const char *path; // of data.train
    bool has_val_file;
    double fraction; // of train that is validation text, where it is no file
} hs_corpus_split;
hs_status hs_corpus_split_at(hs_corpus *c, const hs_config *config, const hs_corpus_split *s);

#endif
