// fuzz: the corpora of the fuzz targets, replayed.
#include "tests/support_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int hs_fuzz_text(const uint8_t *data, size_t bytes);

static void replay(const char *folder, int (*target)(const uint8_t *data, size_t bytes))
{
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) {
        char path[1024];
        static uint8_t data[1 << 16];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        const size_t bytes = fread(data, 1, sizeof data, f);
        fclose(f);
        target(data, bytes);
        n++;
    }
    closedir(d);
    assert_true(n > 10);
}

static void tokenizer(void **state)
{
    (void)state;
    replay(HS_TESTS_DIR "/golden/fuzz/tokenizer", LLVMFuzzerTestOneInput);
}

static void text(void **state)
{
    (void)state;
    replay(HS_TESTS_DIR "/golden/fuzz/text", hs_fuzz_text);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(tokenizer), cmocka_unit_test(text) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
