// bugs: kernels with one mistake each, that the emulator must find (emu_test.c).
#ifndef HS_TESTS_EMU_BUGS_H
#define HS_TESTS_EMU_BUGS_H
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emu_bug {
    const char *what;
    int (*right)(void), (*wrong)(void); // the kernel without and with the mistake: launch it, return how many values are wrong
    const char *fast;  // what the fast build says in one of the orders: part of a line, "" for wrong values, NULL for nothing
    const char *check; // what the checking build says in the first order, likewise
    bool spares;       // the fast build does not run it: it might destroy what is the test's own
} emu_bug;
extern const emu_bug emu_bugs[];
extern const int emu_n_bugs;

#ifdef __cplusplus
}
#endif
#endif
