// support_params: what tests ask of parameters, slab by slab.
#include "tests/support/support_params.h"
#include <stdlib.h>
#include <string.h>

const char *test_device = "cpu";

void test_takes_device(int argc, char **argv)
{
    if (argc > 1)
        test_device = argv[1];
}

size_t flat_count(const hs_params *ps)
{
    size_t n = 0;
    for (int i = 0; i < ps->n_params; i++)
        n += ps->param[i]->n;
    return n;
}

size_t flat_at(const hs_params *ps, const hs_param *p)
{
    size_t at = 0;
    for (int i = 0; i < p->id; i++)
        at += ps->param[i]->n;
    return at;
}

void flat_read(const hs_params *ps, const char *slab, float *values)
{
    const hs_slab *s = hs_params_slab(ps, slab);
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        if (s == ps->master && hs_param_masters(ps, p) != HS_MASTERS_F32)
            hs_params_fetch(ps, p, 0, values, p->n);
        else if (hs_slab_has(s, p)) {
            void *stored = malloc(s->place[i].bytes);
            hs_params_read(ps, s, p, stored);
            hs_convert(values, HS_F32, stored, s->spec.dtype, (int64_t)p->n);
            free(stored);
        } else
            memset(values, 0, p->n * sizeof *values);
        values += p->n;
    }
}

float *flat_copy(const hs_params *ps, const char *slab)
{
    float *values = malloc((flat_count(ps) + 1) * sizeof *values);
    if (!values)
        abort();
    flat_read(ps, slab, values);
    return values;
}

void flat_write(hs_params *ps, const char *slab, const float *values)
{
    hs_slab *s = hs_params_slab(ps, slab);
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        if (s == ps->master && hs_param_masters(ps, p) != HS_MASTERS_F32)
            hs_params_put(ps, s, p, 0, values, p->n);
        else if (hs_slab_has(s, p) && hs_params_write(ps, s, p, values) != HS_OK)
            abort();
        values += p->n;
    }
}

float flat_get(const hs_params *ps, const char *slab, const hs_param *p, size_t i)
{
    float *stored = malloc(p->n * sizeof *stored);
    hs_params_read(ps, hs_params_slab(ps, slab), p, stored);
    const float value = stored[i];
    free(stored);
    return value;
}

void flat_set(hs_params *ps, const char *slab, const hs_param *p, size_t i, float value)
{
    float *stored = malloc(p->n * sizeof *stored);
    hs_params_read(ps, hs_params_slab(ps, slab), p, stored);
    stored[i] = value;
    if (hs_params_write(ps, hs_params_slab(ps, slab), p, stored) != HS_OK)
        abort();
    free(stored);
}

bool flat_equal(const hs_params *a, const hs_params *b, const char *slab)
{
    float *x = flat_copy(a, slab), *y = flat_copy(b, slab);
    const bool same = flat_count(a) == flat_count(b) && !memcmp(x, y, flat_count(a) * sizeof *x);
    free(x), free(y);
    return same;
}
