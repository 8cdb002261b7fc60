// text_store: a text in memory to a token store in memory, with documents and sentences: what `prepare` does with files of any size.
#ifndef HS_DATA_TEXT_STORE_H
#define HS_DATA_TEXT_STORE_H
#include "data/text/sentence.h"
#include "data/text/text_source.h"
#include "data/text/token_store.h"

// As hs_documents; auto: at blank lines where the first MiB has any, else every line is one.
enum { HS_TEXT_DOCUMENTS_AUTO = HS_DOCUMENTS_LINE + 1 };
// Documents without text are left out. USAGE: a character outside the vocabulary, with its line; no text at all.
hs_status hs_text_store(hs_token_store **out, const hs_tokenizer *t, const char *text, size_t bytes, int documents, hs_sentences sentences);

#endif
