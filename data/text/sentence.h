// sentence: where sentences end.
//
// HS_SENTENCES_RULE: behind . ! ? or … (and quotes or brackets that close) before white space; behind 。 ！ ？ (the same) anywhere; at a
// blank line. Not behind a single full stop whose word is one letter or a known abbreviation ("Mr.", "e.g.", data/text/sentence.c lists
// them), unless a quote or bracket closes there, and not before a small letter. HS_SENTENCES_LINE: at every line feed, and nowhere else.
//
// The white space between two sentences belongs to the second, as a word's space does in GPT-2's tokens; one of nothing but white space
// belongs to the one before it. So the tokens of the sentences are those of the text, but for byte-level BPE where a CJK full stop is
// directly followed by other punctuation, which it would join.
#ifndef HS_DATA_SENTENCE_H
#define HS_DATA_SENTENCE_H
#include <stddef.h>

typedef enum hs_sentences { HS_SENTENCES_NONE, HS_SENTENCES_RULE, HS_SENTENCES_LINE } hs_sentences;

// The end of the sentence that begins at text[from), from < bytes: above from, at most bytes.
size_t hs_sentence_end(const char *text, size_t bytes, size_t from, hs_sentences how);

#endif
