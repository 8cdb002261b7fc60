// support_labelled: files of a few lines, and the examples that they hold.
#ifndef HS_TESTS_SUPPORT_LABELLED_H
#define HS_TESTS_SUPPORT_LABELLED_H
#include "tests/support/support_tokenizers.h"

#include "data/batches/labelled.h"
#include <string.h>

static inline const char *file(const char *name, const char *text)
{
    scratch_write(name, text, strlen(text));
    return scratch_path(name);
}

static inline hs_examples *open_as(hs_about about, const char *name, const char *text)
{
    hs_examples *e;
    const char *path = file(name, text);
    OK(hs_examples_open(&e, &(hs_examples_opts){ .about = about, .path = &path, .n_paths = 1 }));
    return e;
}

#endif
