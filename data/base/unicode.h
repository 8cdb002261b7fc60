// unicode: what tokenizers ask of the character database, version 15.0.0 (scripts/gen_unicode.py makes the tables).
#ifndef HS_DATA_UNICODE_H
#define HS_DATA_UNICODE_H
#include <stdbool.h>
#include <stdint.h>

typedef enum hs_uni_category {
    HS_CN,
    HS_LU,
    HS_LL,
    HS_LT,
    HS_LM,
    HS_LO,
    HS_MN,
    HS_MC,
    HS_ME,
    HS_ND,
    HS_NL,
    HS_NO,
    HS_PC,
    HS_PD,
    HS_PS,
    HS_PE,
    HS_PI,
    HS_PF,
    HS_PO,
    HS_SM,
    HS_SC,
    HS_SK,
    HS_SO,
    HS_ZS,
    HS_ZL,
    HS_ZP,
    HS_CC,
    HS_CF,
    HS_CS,
    HS_CO
} hs_uni_category;

enum {                     // bits of hs_uni_props; the lowest five are the category
    HS_UNI_SPACE = 1 << 5, // White_Space
    HS_UNI_CASED = 1 << 6,
    HS_UNI_CASE_IGNORABLE = 1 << 7,
    HS_UNI_PUNCT_8 = 1 << 8, // category P, Mn, or one of Cc, Cf, Co in Unicode 8.0, where Hugging Face's BERT normalizer stands
    HS_UNI_MN_8 = 1 << 9,
    HS_UNI_CONTROL_8 = 1 << 10,
    HS_UNI_REORDERS = 1 << 11, // canonical combining class is not 0
};
uint32_t hs_uni_props(uint32_t c); // c < 0x110000
static inline hs_uni_category hs_uni_category_of(uint32_t props) { return (hs_uni_category)(props & 31); }
static inline bool hs_uni_is_letter(uint32_t props) { return (props & 31) >= HS_LU && (props & 31) <= HS_LO; }
static inline bool hs_uni_is_number(uint32_t props) { return (props & 31) >= HS_ND && (props & 31) <= HS_NO; }
static inline bool hs_uni_is_punct(uint32_t props) { return (props & 31) >= HS_PC && (props & 31) <= HS_PO; }

enum { HS_UNI_MOST = 4 };                                    // code points that one gives, at most
int hs_uni_lower(uint32_t c, uint32_t out[2]);               // full mapping without context: 2 for U+0130, else 1
int hs_uni_decompose(uint32_t c, uint32_t out[HS_UNI_MOST]); // canonically, all the way; c itself if it has none
int hs_uni_combining_class(uint32_t c);

#endif
