// grad_histogram: one row for each scope - a parameter's name without its last component.
#include "recipes/train/grad_histogram.h"
#include "data/report/exponents.h"
#include "data/report/metrics.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct rows {
    hs_exponents *row; // as many as there are parameters, at most
    int n;
    char *stored;   // of one parameter
    float *logical; // without the padding
} rows;

static hs_exponents *row_of(rows *all, const char *name)
{
    char scope[HS_EXPONENT_SCOPE];
    const char *dot = strrchr(name, '.');
    int i = 0;
    snprintf(scope, sizeof scope, "%.*s", dot ? (int)(dot - name) : (int)strlen(name), name);
    while (i < all->n && strcmp(all->row[i].scope, scope) != 0)
        i++;
    if (i == all->n)
        memcpy(all->row[all->n++].scope, scope, sizeof scope);
    return &all->row[i];
}

static hs_status rows_alloc(rows *all, const hs_params *ps)
{
    size_t most = 1;
    for (int i = 0; i < ps->n_params; i++)
        most = ps->param[i]->n > most ? ps->param[i]->n : most;
    *all = (rows){ calloc((size_t)ps->n_params + 1, sizeof *all->row), 0, malloc(most * sizeof(float)), malloc(most * sizeof(float)) };
    return all->row && all->stored && all->logical ? HS_OK : HS_FAIL(MEMORY, "no memory for a gradient of %zu elements", most);
}

static void read_gradients(rows *all, const hs_run *run, const hs_params *ps)
{
    const bool *made = hs_run_made(run);
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        if (!made[i] || !hs_slab_has(ps->grad, p))
            continue;
        const int64_t n = hs_param_elements(p);
        const bool whole = ps->tp_size == 1;
        hs_params_read(ps, ps->grad, p, all->stored);
        if (whole)
            hs_param_export(p, (const float *)all->stored, all->logical);
        hs_exponents_add(row_of(all, p->name), whole ? all->logical : (const float *)all->stored, whole ? n : (int64_t)p->n);
    }
}

static hs_status write_files(const rows *all, const char *dir, const hs_exponents_of *of)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/gradients", dir);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return HS_FAIL(SYSTEM, "%s: %s", path, strerror(errno));
    snprintf(path, sizeof path, "%s/gradients/%08lld.json", dir, (long long)of->step);
    HS_TRY(hs_exponents_json(path, of, all->row, all->n));
    if (!hs_plot_available())
        return HS_OK;
    snprintf(path, sizeof path, "%s/gradients/%08lld.png", dir, (long long)of->step);
    return hs_exponents_png(path, of, all->row, all->n);
}

hs_status hs_grad_histogram(hs_run *run, const char *dir, int64_t step)
{
    const hs_params *ps = hs_run_model(run)->params;
    rows all;
    HS_TRY(hs_run_wait(run));
    hs_status st = rows_alloc(&all, ps);
    if (st == HS_OK) {
        read_gradients(&all, run, ps);
        st = write_files(&all, dir, &(hs_exponents_of){ "gradients", step, (double)hs_run_state(run)->scale });
    }
    free(all.row), free(all.stored), free(all.logical);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
