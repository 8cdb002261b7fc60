// store_format: the header of a token store, for what reads and what writes one (the format is told in data/text/token_store.h).
#ifndef HS_DATA_STORE_FORMAT_H
#define HS_DATA_STORE_FORMAT_H
#include <stddef.h>
#include <stdint.h>

typedef struct hs_store_header {
    char magic[8];
    uint32_t id_bytes, flags;
    uint64_t vocab, tokenizer_hash, n_tokens, n_documents, content_hash, n_sentences;
} hs_store_header;
_Static_assert(sizeof(hs_store_header) == 64, "the header is part of the file format");

#define HS_STORE_MAGIC "HSTOKEN1"
enum { HS_STORE_SENTENCES = 1 }; // a flag

static inline uint32_t hs_store_id_bytes(int64_t vocab) { return vocab <= 65536 ? 2 : 4; }
static inline size_t hs_store_padded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

#endif
