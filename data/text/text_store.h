// text_store: texts to a token store in memory, with documents and sentences: what `prepare` makes of them on disk.
#ifndef HS_DATA_TEXT_STORE_H
#define HS_DATA_TEXT_STORE_H
#include "data/text/sentence.h"
#include "data/text/text_source.h"
#include "data/text/token_store.h"

// As hs_documents; auto: at blank lines where the first MiB has any, else every line is one (of standard input always at blank lines).
enum { HS_TEXT_DOCUMENTS_AUTO = HS_DOCUMENTS_LINE + 1 };
// Records of JSON are documents. Those without text are left out. USAGE: a file that is no text, a character outside the vocabulary (with
// its file and line), no text at all.
hs_status hs_text_store(hs_token_store **out, const hs_tokenizer *t, const hs_text_inputs *inputs, int documents, hs_sentences sentences);

#endif
