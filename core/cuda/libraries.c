// libraries: what a GPU has beside the plug-in's own kernels.
#include "core/base/log.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/cudnn_sdpa.h"
#include "core/cuda/cusparselt.h"
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ~/.cache/halfstep/LIBRARY-GPU: what of the library is fastest is looked for once per machine. False: there is no such place.
static bool cache_file(const hs_gpu *g, const char *library, char *path, size_t size)
{
    const struct passwd *user = getpwuid(getuid());
    const char *home = getenv("HOME");
    home = home && *home ? home : user ? user->pw_dir : NULL;
    if (!home || snprintf(path, size, "%s/.cache", home) >= (int)size)
        return false;
    mkdir(path, 0755); // there already, or the next call says why not
    if (snprintf(path, size, "%s/.cache/halfstep", home) >= (int)size)
        return false;
    mkdir(path, 0755);
    if (access(path, W_OK) || snprintf(path, size, "%s/.cache/halfstep/%s-%s", home, library, g->name) >= (int)size)
        return false;
    for (char *p = strrchr(path, '/') + 1; *p; p++)
        *p = *p == ' ' || *p == '/' ? '_' : *p;
    return true;
}

void hs_gpu_open_libraries(hs_gpu *g)
{
    char path[4096];
    const bool kept = cache_file(g, "cublaslt", path, sizeof path);
    if (hs_lt_open(&g->lt, g->name, kept ? path : NULL) == HS_OK)
        hs_info("device cuda: products by cuBLASLt %zu%s", hs_lt_version(g->lt), kept ? "" : ", untried: there is no ~/.cache to keep what was timed");
    else
        hs_warn("device cuda: products by kernels of Halfstep's own, which are slower, those of fp8 layers in bf16: %s", hs_error());
    if (hs_dnn_open(&g->dnn, g->index) == HS_OK)
        hs_info("device cuda: attention by cuDNN %d, with dropout where exec.attention_masks is library", hs_dnn_version(g->dnn));
    else
        hs_warn("device cuda: attention by kernels of Halfstep's own, which are slower: %s", hs_error());
    if (hs_sp_new(&g->sp, g->name, cache_file(g, "cusparselt", path, sizeof path) ? path : NULL) != HS_OK) // says what it is when it is asked for
        hs_warn("device cuda: 2:4 weights read in full: %s", hs_error());
}

void hs_gpu_close_libraries(hs_gpu *g)
{
    hs_lt_close(g->lt);
    g->lt = NULL;
    hs_dnn_close(g->dnn);
    g->dnn = NULL;
    hs_sp_free(g->sp);
    g->sp = NULL;
}
