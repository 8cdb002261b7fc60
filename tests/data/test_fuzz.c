// fuzz: the corpora of the fuzz targets, replayed.
#include "tests/support/support_files.h"
#include "tests/support/support_fuzz.h"

#define TARGETS(of) of(tokenizer) of(text) of(formats) of(labelled) of(peft) of(coded) of(infer) of(chat) of(params) of(unpack)

#define REPLAY(name)                                                                                                                       \
    fuzz_target hs_fuzz_##name;                                                                                                            \
    static void name(void **state)                                                                                                         \
    {                                                                                                                                      \
        (void)state;                                                                                                                       \
        assert_true(fuzz_replay(HS_TESTS_DIR "/golden/fuzz/" #name, hs_fuzz_##name) > 10);                                                 \
    }
TARGETS(REPLAY)

int main(void)
{
#define TEST(name) cmocka_unit_test(name),
    const struct CMUnitTest tests[] = { TARGETS(TEST) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
