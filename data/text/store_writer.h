// store_writer: a token store written from front to end, in memory that does not grow with the text: ids go to the file, the starts of
// documents and sentences to unnamed files beside it until their turn comes. The store appears under its name when it is complete and on
// the disk.
//
//   hs_store_writer_ids(w, ids, n); hs_store_writer_sentence(w); ... hs_store_writer_document(w); ... hs_store_writer_commit(w);
#ifndef HS_DATA_STORE_WRITER_H
#define HS_DATA_STORE_WRITER_H
#include "data/text/token_store.h"

typedef struct hs_store_writer hs_store_writer;

// sentences: the store has a table of them. USAGE: vocab outside 1 to 2^31 - 1; SYSTEM.
hs_status hs_store_writer_open(hs_store_writer **out, const char *path, int64_t vocab, uint64_t tokenizer_hash, bool sentences);
hs_status hs_store_writer_ids(hs_store_writer *w, const int32_t *ids, int64_t n); // of the current document; USAGE: an id beyond vocab
hs_status hs_store_writer_sentence(hs_store_writer *w);                           // ends here; nothing where it has no ids
hs_status hs_store_writer_document(hs_store_writer *w);                           // ends here, and its last sentence with it; may be empty
int64_t hs_store_writer_tokens(const hs_store_writer *w);
int64_t hs_store_writer_documents(const hs_store_writer *w); // ended ones, and below
int64_t hs_store_writer_sentences(const hs_store_writer *w);
// In any case the end of w. Ids behind the last document are one more. USAGE: no tokens at all.
hs_status hs_store_writer_commit(hs_store_writer *w);
void hs_store_writer_discard(hs_store_writer *w); // NULL: nothing

#endif
