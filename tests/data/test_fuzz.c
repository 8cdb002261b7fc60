// fuzz: the corpora of the fuzz targets, replayed.
#include "tests/support/support_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

typedef int fuzz_target(const uint8_t *data, size_t bytes);
fuzz_target hs_fuzz_tokenizer, hs_fuzz_text, hs_fuzz_formats, hs_fuzz_labelled, hs_fuzz_peft, hs_fuzz_coded, hs_fuzz_infer;

static void replay(const char *folder, fuzz_target *target)
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
    replay(HS_TESTS_DIR "/golden/fuzz/tokenizer", hs_fuzz_tokenizer);
}

static void text(void **state)
{
    (void)state;
    replay(HS_TESTS_DIR "/golden/fuzz/text", hs_fuzz_text);
}

static void formats(void **state)
{
    (void)state;
    replay(HS_TESTS_DIR "/golden/fuzz/formats", hs_fuzz_formats);
}

static void labelled(void **state)
{
    (void)state;
    replay(HS_TESTS_DIR "/golden/fuzz/labelled", hs_fuzz_labelled);
}

static void peft(void **state)
{
    (void)state;
    replay(HS_TESTS_DIR "/golden/fuzz/peft", hs_fuzz_peft);
}

static void coded(void **state)
{
    (void)state;
    replay(HS_TESTS_DIR "/golden/fuzz/coded", hs_fuzz_coded);
}

static void infer(void **state)
{
    (void)state;
    replay(HS_TESTS_DIR "/golden/fuzz/infer", hs_fuzz_infer);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(tokenizer), cmocka_unit_test(text), cmocka_unit_test(formats),
                                        cmocka_unit_test(labelled),  cmocka_unit_test(peft), cmocka_unit_test(coded),
                                        cmocka_unit_test(infer) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
