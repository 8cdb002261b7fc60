// lt_double: what cuBLASLt's double says of itself beside the library's calls, found by name where hs_lt_open has loaded it.
#ifndef HS_TESTS_EMU_LT_DOUBLE_H
#define HS_TESTS_EMU_LT_DOUBLE_H
extern "C" {
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
}
#include <dlfcn.h>

template <class F> static F *of_double(const char *name)
{
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_NOLOAD);
    F *f = reinterpret_cast<F *>(dlsym(library, name));
    dlclose(library);
    assert_non_null(f);
    return f;
}

#endif
