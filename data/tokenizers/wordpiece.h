// wordpiece: BERT's text to words, and words to pieces, in Google's way and in Hugging Face's.
//
//                        google                                 hf
//   longest word         200 code points                        max_input_chars_per_word, 100
//   accents              lower, then NFD, then drop Mn          NFD, drop Mn, then lower
//   lower case           of a string: final sigma               of each code point
//   dropped              Cc, Cf, U+0000, U+FFFD                 Cc, Cf, Co of Unicode 8.0, U+0000, U+FFFD
//   punctuation, Mn      of Unicode 15.0                        of Unicode 8.0
//   ideographs           2B820-2CEAF stand alone                2B920-2CEAF
//   accents and case     one switch                             two
// (Google: bert/tokenization.py. Hugging Face: tokenizers 0.23. Bytes that are not UTF-8 are dropped in both.
// Where canonical order moves a mark that is kept, its span is its own; Hugging Face names the place where it went.)
#ifndef HS_DATA_WORDPIECE_H
#define HS_DATA_WORDPIECE_H
#include "data/tokenizers/tok_subword.h"

typedef struct hs_wordpiece_rules {
    bool google;
    bool clean_text, ideographs, strip_accents, lowercase;
    int max_chars; // of a word; longer ones are unknown
} hs_wordpiece_rules;

typedef enum hs_wordpiece_what { // of a code point
    HS_WP_PLAIN,                 // its text goes into the word
    HS_WP_DROP,
    HS_WP_SPACE,
    HS_WP_ALONE,    // a word of its own
    HS_WP_REORDERS, // plain, and its place among neighbours follows from its combining class
    HS_WP_SIGMA,    // lower case depends on its place
} hs_wordpiece_what;
typedef struct hs_wordpiece_char {
    uint8_t what, n; // bytes of text
    char text[14];
} hs_wordpiece_char;

bool hs_wordpiece_drops(const hs_wordpiece_rules *r, uint32_t c); // control characters and the like, in cleaning
hs_wordpiece_char hs_wordpiece_char_of(const hs_wordpiece_rules *r, uint32_t c);
// Calls word(with, its normalized text, bytes) for each word of s, what stands alone too; words of more than max_chars are left out. The
// first error of word ends it.
hs_status hs_wordpiece_words(const hs_wordpiece_rules *r, const char *s, size_t bytes,
                             hs_status (*word)(void *with, const char *text, size_t bytes), void *with);

#endif
