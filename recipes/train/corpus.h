// corpus: the text of a run - read, tokenized, split into training and validation, cached as ids beside the run. Or token stores that
// were prepared before, used where they lie. Or labelled examples, kept as they were read.
#ifndef HS_RECIPES_CORPUS_H
#define HS_RECIPES_CORPUS_H
#include "data/batches/labelled.h"
#include "data/batches/mixing.h"
#include "data/batches/windows.h"
#include "data/text/text_source.h"
#include "recipes/program/config.h"

typedef struct hs_shard_row {
    int64_t n, row;   // n 0: none was read
    const char *path; // borrowed from the corpus's shards
} hs_shard_row;

typedef struct hs_labelled_data {
    hs_examples *all;       // of the files of training and validation; NULL: the corpus is another one
    hs_example *picked;     // of the two below
    hs_examples train, val; // views of it, that own nothing; val.n 0: no validation
    hs_source *rows[2];     // of either, once somebody asked for them (train_feed.c)
    int32_t *later;         // hs_rows_opts.later of them; NULL: not asked for
} hs_labelled_data;

typedef struct hs_corpus {
    hs_tokenizer *tokenizer;
    bool borrowed;  // it is another's
    bool sequences; // of a family of masked batches: stores have documents and sentences
    hs_token_store *store;
    hs_token_store *val_store;            // of a data.val that is a store of its own; else NULL
    hs_token_store *more[HS_MIX_SOURCES]; // the second source and those behind it
    hs_text_part source[HS_MIX_SOURCES];  // what training draws from; the first is `train`
    int n_sources;
    hs_labelled_data labelled;         // of task.kind, in place of all of the text below
    hs_token_range train, val;         // val is empty (first == end) where there is no validation text
    hs_text_inputs shards, val_shards; // HDF5 shards, in place of all of that
    hs_shard_row longest, fullest;     // of all shards, where they were read through: by tokens, by predictions
    int64_t first_file;                // tokens of the first source; behind them those of a validation file
    uint64_t val_key;                  // of a validation text of sequences, which has a cache of its own; 0: none
    uint64_t key;                      // of texts and tokenizer, of stores also weights and packing: names the cache file
    bool known;                        // a cache of these very texts lies there, whole or not
    bool cached;                       // the ids came from the cache, or there is nothing to cache
    bool prepared;                     // the sources are token stores
} hs_corpus;

typedef struct hs_corpus_from { // what a corpus is opened with
    const hs_config *config;
    const char *run_dir;       // where a cache may lie; NULL: none
    const char *tokenizer_dir; // folder whose tokenizer to use instead of data.tokenizer (a checkpoint); NULL: none; data.tokenizer auto is
                               // char then
    hs_tokenizer *given;       // a tokenizer that goes before both and stays the caller's; NULL: none
    const hs_labels *labels;   // of labelled data: the classes there are, those of a head that goes on; NULL: task.labels, else the data's
    const char *labels_of;     // whose they are, for messages
} hs_corpus_from;
// Reads and checks everything and writes nothing. USAGE names the file and what is wrong with it.
hs_status hs_corpus_open(hs_corpus *c, const hs_corpus_from *from);
hs_status hs_corpus_read_shards(hs_corpus *c); // reads every row, as the first start of a run does; without shards nothing
// That of data.tokenizer where it names one: byte, or a folder. auto and char are made of a text.
hs_status hs_corpus_named_tokenizer(hs_tokenizer **out, const hs_config *config);
// Whether the run in run_dir began with these very texts.
bool hs_corpus_known(const hs_corpus *c, const char *run_dir);
// Writes the ids to run_dir/tokens-KEY.bin unless they came from there, and maps that file in place of memory. Of prepared stores it writes
// their names, to run_dir/tokens-KEY.txt.
hs_status hs_corpus_cache(hs_corpus *c, const char *run_dir);
// The same where another process has written it: maps the file and writes nothing.
hs_status hs_corpus_cached_by_other(hs_corpus *c, const char *run_dir);
static inline bool hs_corpus_has_val(const hs_corpus *c) { return c->val.end - c->val.first >= 2 || c->val_shards.n || c->labelled.val.n; }
int64_t hs_corpus_mean_document(const hs_corpus *c); // tokens, of the stores that training draws from
int64_t hs_corpus_train_tokens(const hs_corpus *c);  // of all sources
// Removes what other texts left beside the run: of one that begins anew, none of them will be asked for again.
void hs_corpus_clean(const hs_corpus *c, const char *run_dir);
void hs_corpus_close(hs_corpus *c);

// One text file encoded, one token store, or shards, as its validation data. The tokenizer stays the caller's. On failure too:
// hs_corpus_close.
hs_status hs_corpus_open_file(hs_corpus *c, const char *path, hs_tokenizer *tokenizer, hs_batch_kind kind, int documents);
// Labelled examples of one file, as its validation data; of from.config only task.* is looked at. On failure too: hs_corpus_close.
hs_status hs_corpus_open_labelled(hs_corpus *c, const hs_corpus_from *from, const char *path);

#endif
