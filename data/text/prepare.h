// prepare: texts to token stores, in parallel, restartable.
//
// The texts are read in order and encoded by threads, batch by batch. What comes out is kept in OUTPUT.parts/, one file for about
// part_bytes of text, with the place where the next one goes on: after any end, the same call goes on behind the last whole part. When all
// text is encoded, the parts are put together: duplicates, splits, end-of-text tokens. The stores are the same bytes at any number of
// threads, size of parts and number of restarts. Until then the disk holds the ids twice.
#ifndef HS_DATA_PREPARE_H
#define HS_DATA_PREPARE_H
#include "data/text/sentence.h"
#include "data/text/text_record.h"
#include "data/tokenizers/tokenizer.h"

// NEAR keeps the first of each cluster of near-duplicates (data/text/near.h), EXACT of equal texts; GROUP keeps all and puts
// near-duplicates in one split.
typedef enum hs_dedup { HS_DEDUP_NONE, HS_DEDUP_EXACT, HS_DEDUP_NEAR, HS_DEDUP_GROUP } hs_dedup;

enum { HS_PREPARE_SPLITS = 3 };
typedef struct hs_prepare_progress {
    int64_t raw_bytes, text_bytes; // of the inputs as they lie on disk, up to here; of their text, encoded by this call
    double seconds;
    bool merging;
} hs_prepare_progress;

typedef struct hs_prepare_opts {
    const char *output; // OUTPUT.bin; with splits OUTPUT-train.bin, OUTPUT-val.bin, OUTPUT-test.bin
    const hs_tokenizer *tokenizer;
    hs_text_read read;
    hs_text_rules rules;
    hs_sentences sentences;
    hs_dedup dedup;
    int32_t eot;                     // appended to each document; -1: nothing is
    double split[HS_PREPARE_SPLITS]; // by the hash of a document's text, so that other documents do not move it
    int n_splits;                    // 0: one store
    int threads;
    int64_t part_bytes;
    bool overwrite;                                             // stores that exist, and parts of other settings or texts
    void (*progress)(const hs_prepare_progress *p, void *user); // or NULL; from any thread, one at a time, a few times a second
    void *user;
} hs_prepare_opts;

typedef struct hs_prepare_output {
    char path[4096];
    int64_t documents, tokens, sentences; // 0: nothing fell into this split, and no file was written
} hs_prepare_output;
typedef struct hs_prepare_result {
    int64_t text_bytes, raw_bytes;                  // of all inputs
    int64_t encoded_bytes;                          // of text, by this call: the rest came from parts
    int64_t documents, empty, duplicates, replaced; // read; of them left out: without text, duplicates; replaced: characters
    hs_bad_count bad;                               // records, which are no documents where they are left out
    int64_t parts, parts_found;
    double encode_seconds, merge_seconds;
    hs_prepare_output output[HS_PREPARE_SPLITS];
    int n_outputs;
} hs_prepare_result;

// USAGE, CORRUPT: a bad input, with its name and line; a store that exists; parts of other settings or of texts that changed since.
hs_status hs_prepare(const hs_prepare_opts *o, const hs_text_inputs *inputs, hs_prepare_result *out);

#endif
