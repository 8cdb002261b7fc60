// plugin: finding and checking one.
#include "core/run/plugin.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

hs_status hs_plugin_load(const char *name, const hs_plugin **out)
{
    static const size_t layout[HS_PLUGIN_SIZES] = HS_PLUGIN_LAYOUT;
    Dl_info here; // it lies beside this library
    char path[4096];
    const char *slash = dladdr((void *)(uintptr_t)hs_plugin_load, &here) && here.dli_fname ? strrchr(here.dli_fname, '/') : NULL;
    *out = NULL;
    snprintf(path, sizeof path, "%.*slibhalfstep_%s.so", slash ? (int)(slash + 1 - here.dli_fname) : 0, slash ? here.dli_fname : "", name);
    if (slash && access(path, F_OK))
        return HS_FAIL(UNSUPPORTED, "device %s: the plug-in libhalfstep_%s.so is not beside the library%s", name, name,
                       strcmp(name, "cuda") ? "" : "; where nvcc is, `cmake --build` of all makes it");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return HS_FAIL(UNSUPPORTED, "device %s: %s", name, dlerror());
    hs_plugin_entry_fn *entry;
    *(void **)&entry = dlsym(library, HS_PLUGIN_SYMBOL);
    const hs_plugin *p = entry ? entry() : NULL;
    if (!p || p->version != HS_PLUGIN_VERSION || memcmp(p->layout, layout, sizeof layout)) {
        dlclose(library);
        return HS_FAIL(UNSUPPORTED, "device %s: %s does not belong to this version of the library", name, path);
    }
    *out = p;
    return HS_OK;
}
