// trained_scales: states of a run (train/states.safetensors) by the names that core/plan/faked.c gives them.
#include "infer/quant/trained_scales.h"
#include "core/graph/coding.h"
#include "data/checkpoint/checkpoint.h"
#include "data/checkpoint/ckpt_io.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hs_status take(const hs_safetensors *f, const char *path, const hs_params *ps, float *scale, int *n)
{
    char name[384];
    for (int i = 0; i < ps->n_params; i++) {
        snprintf(name, sizeof name, HS_X_SCALE_STATE "%s", ps->param[i]->name);
        const hs_st_entry *e = hs_safetensors_find(f, name);
        if (!e)
            continue;
        if (e->dtype != HS_F32 || e->n_dims != 1 || e->dim[0] != 1)
            return HS_FAIL(CORRUPT, "%s: %s is no number of f32", path, name);
        memcpy(&scale[i], e->data, sizeof scale[i]);
        if (!isfinite(scale[i]) || scale[i] <= 0)
            return HS_FAIL(CORRUPT, "%s: %s is %g, which is no scale", path, name, (double)scale[i]);
        ++*n;
    }
    return HS_OK;
}

hs_status hs_trained_scales(const char *dir, const hs_params *ps, float **scale, int *n)
{
    char path[HS_PATH];
    bool found;
    hs_safetensors *f;
    *scale = calloc((size_t)ps->n_params + 1, sizeof **scale), *n = 0;
    if (!*scale)
        return HS_FAIL(MEMORY, "no memory for the scales of %d parameters", ps->n_params);
    HS_TRY(hs_path_join(path, "%s/train/states.safetensors", dir));
    HS_TRY(hs_find_file(path, &found));
    if (!found)
        return HS_OK;
    HS_TRY(hs_safetensors_open(&f, path));
    const hs_status st = take(f, path, ps, *scale, n);
    hs_safetensors_close(f);
    return st;
}
