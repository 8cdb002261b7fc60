// emu_test: the emulator finds what it is there for - every mistake of bugs.cu, by the message it should have - and nothing in the same
// kernels without the mistake. Built with the fast build, which must say what it can say, and with the checking build.
#include "tests/emu/bugs.h"
#include "tests/emu/emu_impl.h"
#include <stdio.h>
#include <string.h>

static const char *const orders[] = { "first to last", "last to first", "at random" };

// Runs it in one order. NULL: nothing is wrong; "": values are; else what was said.
static const char *said(int (*run)(void), int order)
{
    emu_forget();
    emu_schedule((emu_order)order, 7);
    const int wrong = run();
    const char *verdict = emu_verdict();
    return verdict ? verdict : wrong ? "" : NULL;
}

static bool expected(const char *got, const char *want) { return got && (*want ? strstr(got, want) != NULL : !*got); }

int main(void)
{
    const bool checks = emu_touch != NULL;
    int failed = 0, found = 0;
    for (int i = 0; i < emu_n_bugs; i++) {
        const emu_bug *b = &emu_bugs[i];
        for (int order = 0; order < 3; order++) {
            const char *got = said(b->right, order);
            if (got)
                printf("without '%s', %s: %s\n", b->what, orders[order], *got ? got : "wrong values"), failed++;
        }
        const char *want = checks ? b->check : b->fast;
        if (!want || (b->spares && !checks))
            continue;
        bool seen = false;
        char last[1024] = "nothing";
        for (int order = 0; order < (checks ? 1 : 3); order++) {
            const char *got = said(b->wrong, order);
            seen |= expected(got, want);
            if (got)
                snprintf(last, sizeof last, "%s", *got ? got : "wrong values");
        }
        printf("%s%s: %s\n", seen ? "" : "NOT FOUND: ", b->what, last);
        found += seen, failed += !seen;
    }
    printf("%d of %d mistakes found, %d failures\n", found, emu_n_bugs, failed);
    return failed > 0;
}
