// token_file: any file of token ids (token store, HDF5 shard, Megatron's pair, llm.c's) as a stream of ids, sentences and documents, and a
// stream into any of them but HDF5 (data/text/pair_make.h makes those rows). What a file is, is told by its contents.
#ifndef HS_DATA_TOKEN_FILE_H
#define HS_DATA_TOKEN_FILE_H
#include "data/formats/hdf5_shard.h"
#include "data/text/token_store.h"

typedef enum hs_token_format { HS_TOKENS_STORE, HS_TOKENS_HDF5, HS_TOKENS_MEGATRON, HS_TOKENS_LLMC } hs_token_format;
extern const char *const hs_token_format_names[]; // "store", "hdf5", "megatron", "llmc"

typedef struct hs_token_file_opts {
    int64_t vocab;          // 0: the file's own, if it tells; ids beyond it are refused while they are read
    int64_t document_token; // llm.c: a document begins at each of these, which are not part of it; -1: the file is one document
} hs_token_file_opts;

typedef struct hs_token_file_info {
    hs_token_format format;
    const char *type;                           // of its ids: "uint16"; of HDF5 the layout
    int64_t n_tokens, n_documents, n_sentences; // HDF5: n_documents rows, n_tokens -1 (not known without reading); sentences 0: not told
    int64_t vocab;                              // 0: not told
    uint64_t tokenizer_hash;                    // 0: not told
    hs_h5_info rows;                            // of HDF5
} hs_token_file_info;

bool hs_token_file_is(const char *path, hs_token_format *format); // begins as one of them does
typedef struct hs_token_file hs_token_file;
hs_status hs_token_file_open(hs_token_file **out, const char *path, const hs_token_file_opts *o); // CORRUPT: none of the formats
void hs_token_file_close(hs_token_file *f);
hs_token_file_info hs_token_file_info_of(const hs_token_file *f);
const hs_token_store *hs_token_file_store(const hs_token_file *f); // NULL: another format
hs_h5_file *hs_token_file_hdf5(const hs_token_file *f);            // NULL: another format

// What a stream is given to, from front to end. Not OK from any of them ends it with that status.
typedef struct hs_token_sink {
    void *ctx;
    hs_status (*ids)(void *ctx, const int32_t *ids, int64_t n); // of the current sentence, in pieces; borrowed
    hs_status (*sentence)(void *ctx);                           // ends; only where the file tells
    hs_status (*document)(void *ctx);                           // ends, and its last sentence with it
} hs_token_sink;
// HDF5 gives its rows' texts with masks undone and without [CLS] and [SEP]: A and B are sentences of one document, two documents where B is
// random. Every other check a format has (checksums) comes first where `check` is set.
hs_status hs_token_file_stream(const hs_token_file *f, bool check, const hs_token_sink *to);

// One document without what stands before it, of whose ids at most `most` are handed to `to->ids`. *n: its ids; HS_TOKENS_MORE: more than were
// looked at for its end (llm.c); HS_TOKENS_NONE: there are c->document documents, and this is none of them. c: of the caller, zeros at first;
// it spares a file without a table what was looked at before, where documents are asked for in order. UNSUPPORTED: HDF5, which has rows.
enum { HS_TOKENS_MORE = -1, HS_TOKENS_NONE = -2 };
typedef struct hs_token_cursor {
    int64_t document, at;
    bool begun;
} hs_token_cursor;
hs_status hs_token_file_document(const hs_token_file *f, hs_token_cursor *c, int64_t document, int64_t most, const hs_token_sink *to,
                                 int64_t *n);

typedef struct hs_token_out hs_token_out;
typedef struct hs_token_out_opts {
    hs_token_format format; // not HDF5
    int64_t vocab, document_token;
    uint64_t tokenizer_hash;
    bool sentences;
} hs_token_out_opts;
hs_status hs_token_out_open(hs_token_out **out, const char *path, const hs_token_out_opts *o);
hs_token_sink hs_token_out_sink(hs_token_out *w);
hs_status hs_token_out_commit(hs_token_out *w); // in any case the end of w
void hs_token_out_discard(hs_token_out *w);     // NULL: nothing

#endif
