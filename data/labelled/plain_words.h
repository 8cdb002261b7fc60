// plain_words: the words of a text that nobody has split: runs of characters that are neither blank nor punctuation nor a symbol, and each
// of those two alone. What a model of tags is asked of a text.
#ifndef HS_DATA_PLAIN_WORDS_H
#define HS_DATA_PLAIN_WORDS_H
#include "data/tokenizers/tokenizer.h" // hs_span

// Behind the *n words that are there; word [*room] grows (core/base/grow.h). Bytes of the text; one that is no UTF-8 stands alone. MEMORY.
hs_status hs_plain_words(const char *text, size_t bytes, hs_span **word, int *n, int *room);

#endif
