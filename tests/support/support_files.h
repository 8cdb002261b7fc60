// support_files: a scratch folder for a test program, files in it, and the expectation of an error.
#ifndef HS_TESTS_SUPPORT_FILES_H
#define HS_TESTS_SUPPORT_FILES_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/status.h"
#include <stdbool.h>

int scratch_open(void **state);  // group set-up: makes the folder
int scratch_close(void **state); // group tear-down: removes it and all that is in it
// "FOLDER/name": one of eight rotating buffers.
const char *scratch_path(const char *name);
// Of ../share/halfstep/golden from the test program where there is such a folder, else of tests/golden: one of eight rotating buffers.
const char *golden_path(const char *name);
void scratch_write(const char *name, const void *data, size_t bytes);
char *scratch_read(const char *name, size_t *bytes); // NUL behind; caller frees
int scratch_count(void);                             // files in the folder: nothing half-written may be left

void expect_ok(hs_status st, const char *file, int line);
void expect_error(hs_status st, hs_status want, const char *part, const char *file, int line); // message contains part, one line
#define OK(expr)                expect_ok((expr), __FILE__, __LINE__)
#define FAILS(code, part, expr) expect_error((expr), HS_##code, (part), __FILE__, __LINE__)

#endif
