// support_fuzz: what the fuzz targets share. Each tests/support/support_fuzz_NAME.c has hs_fuzz_NAME(data, bytes) and ends with
// HS_FUZZ_TARGET(NAME); so does tests/infer/fuzz_serve.c.
#ifndef HS_TESTS_SUPPORT_FUZZ_H
#define HS_TESTS_SUPPORT_FUZZ_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void must(bool ok)
{
    if (!ok)
        abort();
}

// A folder for the time of one input, in memory where that can be. Not a memfd: libhdf5 opens no name without a place.
enum { FUZZ_FOLDER = 32 };
static inline void fuzz_folder(char dir[FUZZ_FOLDER])
{
    strcpy(dir, "/dev/shm/halfstep-fuzz-XXXXXX");
    if (mkdtemp(dir))
        return;
    strcpy(dir, "/tmp/halfstep-fuzz-XXXXXX");
    must(mkdtemp(dir) != NULL);
}

static inline void fuzz_put(char path[64], const char *dir, const char *name, const void *data, size_t bytes)
{
    snprintf(path, 64, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    must(f && fwrite(data, 1, bytes, f) == bytes && fclose(f) == 0);
}

typedef int fuzz_target(const uint8_t *data, size_t bytes);
int fuzz_replay(const char *folder, fuzz_target *target); // of all files in it, of 64 KiB at most; how many there are

#ifdef HS_FUZZ
#define HS_FUZZ_TARGET(name)                                                                                                               \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);                                                                         \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) { return hs_fuzz_##name(data, bytes); }
#else
#define HS_FUZZ_TARGET(name)
#endif

#endif
