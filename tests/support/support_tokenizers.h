// support_tokenizers: the golden files of tests/golden/tokenizers (scripts/check_tokenizers.py writes them), and what holds of any text.
#ifndef HS_TESTS_SUPPORT_TOKENIZERS_H
#define HS_TESTS_SUPPORT_TOKENIZERS_H
#include "tests/support/support_files.h"

#include "data/tokenizers/tokenizer.h"

// Tests of every tokenizer of a list, which is their state (cmocka_unit_test_prestate) and ends with a name NULL.
typedef struct golden {
    const char *name, *kind; // kind: hs_tokenizer_kind
} golden;
void golden_rows_test(void **list);
void golden_fast_way_test(void **list);
void golden_saved_test(void **list);

hs_tokenizer *golden_tokenizer(const char *name);           // caller frees
void golden_cases(const hs_tokenizer *t, const char *name); // rows with all their arrays
void golden_saved(const hs_tokenizer *t);                   // written and read again, in each form, it is the same
// The fast way (ids alone) gives what the slow way (rows) gives, on random text of `bytes`; spans are ascending and inside the text.
void fast_is_slow(const hs_tokenizer *t, size_t bytes, uint64_t seed);
// The tokenizer.json of a golden with one member replaced ("pre_tokenizer", "{...}"; dots go deeper) is refused with `part`.
void golden_refused(const char *name, const char *member, const char *json, hs_status want, const char *part);

#endif
