// token store: a text as ids on disk, memory-mapped, with document boundaries and, where flag 1 is set, those of sentences.
//
// File: 64-byte header {magic "HSTOKEN1", u32 bytes per id (2 or 4), u32 flags, u64 vocab, u64 tokenizer hash, u64 n_tokens, u64
// n_documents, u64 xxh3 of all that follows, u64 n_sentences}, then ids, padding to 8, then n_documents+1 u64 starts, then with flag 1
// n_sentences+1 u64 starts. No sentence is empty, and every document begins one. Written to a temporary name and renamed
// (data/text/store_writer.h streams it).
#ifndef HS_DATA_TOKEN_STORE_H
#define HS_DATA_TOKEN_STORE_H
#include "data/tokenizers/tokenizer.h"

typedef struct hs_token_store hs_token_store;

typedef struct hs_token_store_info {
    int64_t n_tokens, n_documents, n_sentences, vocab; // n_sentences 0: not known
    uint64_t tokenizer_hash, content_hash;
} hs_token_store_info;

// starts: [n_documents + 1], NULL for one document; 2 bytes an id where vocab <= 65536. CORRUPT, SYSTEM or USAGE name the file.
hs_status hs_token_store_write(const char *path, const int32_t *ids, int64_t n, const int64_t *starts, int64_t n_documents, int64_t vocab,
                               uint64_t tokenizer_hash);
hs_status hs_token_store_open(hs_token_store **out, const char *path); // checks magic, sizes, that starts ascend
hs_status hs_token_store_from_ids(hs_token_store **out, int32_t *ids, int64_t n, int64_t vocab,
                                  uint64_t tokenizer_hash); // takes ids over (freed on error too); one document
// The same of several documents and their sentences, whose tables are taken over too: starts [n_documents + 1], sentences [n_sentences +
// 1].
hs_status hs_token_store_from_documents(hs_token_store **out, int32_t *ids, int64_t n, uint64_t *starts, int64_t n_documents,
                                        uint64_t *sentences, int64_t n_sentences, int64_t vocab, uint64_t tokenizer_hash);
hs_status hs_token_store_save(const hs_token_store *s, const char *path); // any store, as a file
void hs_token_store_close(hs_token_store *s);
bool hs_token_store_is(const char *path); // a regular file that begins as one does
const char *hs_token_store_path(const hs_token_store *s);
hs_status hs_token_store_call(hs_token_store *s, const char *name); // what messages call one that has no file; MEMORY
hs_token_store_info hs_token_store_info_of(const hs_token_store *s);
hs_status hs_token_store_verify(const hs_token_store *s); // checksum, every id < vocab, every sentence
void hs_token_store_read(const hs_token_store *s, int64_t first, int64_t n, int32_t *out);
// What was read from token `first` on, against a vocabulary: CORRUPT names the token.
hs_status hs_token_store_check(const hs_token_store *s, const int32_t *ids, int64_t first, int64_t n, int64_t vocab);
// Has somebody written to the file since it was opened? *seen: the caller's memory of it, 0 at first. A store replaced by another file of
// its name is not: the map keeps the old one. CORRUPT: another size, or other contents. Costs 1 us, or a verify after a write that changed
// nothing.
hs_status hs_token_store_unchanged(const hs_token_store *s, int64_t *seen);
void hs_token_store_document(const hs_token_store *s, int64_t document, int64_t *first, int64_t *end);
// Sentences [first, end) of a document, none where the store has no table of them; tokens [first, end) of a sentence. CORRUPT: a table that
// does not ascend.
hs_status hs_token_store_sentences(const hs_token_store *s, int64_t document, int64_t *first, int64_t *end);
hs_status hs_token_store_sentence(const hs_token_store *s, int64_t sentence, int64_t *first, int64_t *end);
// The document, and the sentence, of a token; the store has one, and a table of sentences.
int64_t hs_token_store_document_at(const hs_token_store *s, int64_t token);
int64_t hs_token_store_sentence_at(const hs_token_store *s, int64_t token);

// A contiguous part [first, end) of a store: the training or the validation text. Borrows the store.
typedef struct hs_token_range {
    const hs_token_store *store;
    int64_t first, end;
} hs_token_range;

// Whole file into memory (mmap'd, read-only). Empty or missing: USAGE with the path. hs_file_unmap frees.
typedef struct hs_file {
    const char *data;
    size_t bytes;
} hs_file;
hs_status hs_file_map(hs_file *out, const char *path);
void hs_file_unmap(hs_file *f);

#endif
