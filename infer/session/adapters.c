// adapters: pairs of several folders in the same parameters, one after the other.
#include "infer/session/adapters.h"
#include "data/checkpoint/peft.h"
#include "data/checkpoint/weights.h"
#include "models/lora.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct adapter {
    char dir[HS_PATH];
    hs_peft peft;
    hs_model_info info;
} adapter;

typedef struct hs_adapters hs_adapters;
struct hs_adapters {
    adapter *at;
    int n;
    char base[HS_PATH];
    char targets[HS_LORA_TEXT], text[HS_LORA_TEXT];
    bool *kept; // by hs_param.id: some adapter has it whole
};

void hs_adapters_free(hs_adapters *a)
{
    if (!a)
        return;
    for (int i = 0; i < a->n; i++) {
        hs_peft_free(&a->at[i].peft);
        hs_model_info_free(&a->at[i].info);
    }
    free(a->at);
    free(a->kept);
    free(a);
}

static hs_status open_one(hs_adapters *a, adapter *to, const char *dir, const hs_family *const *families, const hs_session *s)
{
    const hs_family *family;
    char mine[HS_PATH], first[HS_PATH];
    HS_TRY(hs_ckpt_resolve(dir, 0, to->dir, sizeof to->dir));
    if (!hs_peft_is(to->dir))
        return HS_FAIL(USAGE, "%s: is no adapter", to->dir);
    HS_TRY(hs_peft_read(&to->peft, to->dir));
    HS_TRY(hs_session_info(families, to->dir, &to->info, &family));
    if (!to->peft.targets)
        return HS_FAIL(UNSUPPORTED, "%s: its targets are an expression: they have to be names beside other adapters", to->dir);
    if (!realpath(to->peft.base, mine) || !realpath(a->base, first) || strcmp(mine, first) != 0)
        return HS_FAIL(USAGE, "%s: is beside %s, others are beside %s", to->dir, to->peft.base, a->base);
    if (family != s->arch.family || memcmp(&to->info.settings, &s->info.settings, sizeof s->info.settings) != 0)
        return HS_FAIL(USAGE, "%s: its head is of another task or width than that of %s", to->dir, s->dir);
    const size_t used = strlen(a->targets);
    if (snprintf(a->targets + used, sizeof a->targets - used, "%s%s", used ? "," : "", to->peft.targets) >= (int)(sizeof a->targets - used))
        return HS_FAIL(USAGE, "%s: more targets than there is room for", to->dir);
    return HS_OK;
}

hs_status hs_session_adapters(hs_session *s, const char *const *dir, int n, const hs_family *const *families)
{
    hs_adapters *a = calloc(1, sizeof *a);
    if (!a || !(a->at = calloc((size_t)n, sizeof *a->at))) {
        free(a);
        return HS_FAIL(MEMORY, "no memory for %d adapters", n);
    }
    hs_adapters_free(s->adapters);
    s->adapters = a;
    HS_TRY(hs_peft_base(s->dir, a->base));
    while (a->n < n) { // counted before it is opened: what is half open is closed too
        const int i = a->n++;
        HS_TRY(open_one(a, &a->at[i], dir[i], families, s));
    }
    return HS_OK;
}

const hs_model_info *hs_session_adapter_info(const hs_session *s, int which) { return &s->adapters->at[which].info; }

// Each target once: of two adapters both have most of them.
static void without_twins(char *list)
{
    char *to = list;
    for (char *p = list, *next; p; p = next) {
        next = strchr(p, ',');
        if (next)
            *next++ = '\0';
        bool twin = false;
        for (const char *q = list; q < to && !twin; q += strlen(q) + 1)
            twin = strcmp(q, p) == 0;
        if (!twin) {
            const size_t n = strlen(p) + 1;
            memmove(to, p, n);
            to += n;
        }
    }
    for (char *p = list; p + 1 < to; p++)
        if (!*p)
            *p = ',';
}

hs_status hs_adapters_begin(hs_session *s)
{
    hs_adapters *a = s->adapters;
    hs_adapter_spec spec;
    hs_lora lora = { .targets = a->targets };
    for (int i = 0; i < a->n; i++)
        lora.rank = a->at[i].peft.rank > lora.rank ? a->at[i].peft.rank : lora.rank;
    lora.alpha = (double)lora.rank; // a scale of 1: each adapter's own goes into its lora_b
    without_twins(a->targets);
    HS_TRY(hs_lora_spec(&spec, &lora, s->arch, a->text));
    return hs_params_adapt(s->model->params, &spec);
}

// ---- values

typedef struct wanted {
    const hs_adapters *a;
    hs_ckpt_opts opts;
} wanted;

// Of parameters that some adapter keeps whole; no tensors of others.
static hs_status kept_pieces(const hs_param *p, const void *user, hs_name_piece *piece, int *n)
{
    const wanted *w = user;
    *n = 0;
    return w->a->kept[p->id] ? hs_ckpt_pieces(&w->opts, p, piece, n) : HS_OK;
}

static float at(const hs_st_entry *e, int64_t i)
{
    float v;
    const size_t width = hs_dtype_bytes(e->dtype);
    double aligned;
    memcpy(&aligned, (const char *)e->data + (size_t)i * width, width);
    hs_convert(&v, HS_F32, &aligned, e->dtype, 1);
    return v;
}

static hs_status wear_pair(hs_params *ps, const hs_param *p, const hs_weights *w, const hs_peft *peft, const hs_ckpt_opts *o)
{
    hs_name_piece piece[HS_NAME_PIECES];
    char scope[256];
    const bool second = hs_adapter_part_of(p->name, scope) == 'b';
    const int64_t rank = p->logical[0] / p->parts, width = p->logical[1];
    int n;
    HS_TRY(hs_peft_pieces(o, p, piece, &n));
    float *values = calloc((size_t)(p->logical[0] * width), sizeof *values);
    if (!values)
        return HS_FAIL(MEMORY, "no memory for %s", p->name);
    hs_status st = HS_OK;
    for (int k = 0; k < n && w && st == HS_OK; k++) {
        const hs_weight *found = hs_weights_lookup(w, piece[k].name);
        const hs_st_entry *e = found ? found->entry : NULL;
        const int64_t theirs = e && e->n_dims == 2 ? e->dim[second] : 0;
        if (!e)
            continue;
        if (theirs > rank || theirs < 1 || e->dim[!second] != width || !hs_dtype_is_float(e->dtype)) {
            st = HS_FAIL(USAGE, "%s: tensor \"%.160s\" does not fit the model", w->dir, e->name);
            break;
        }
        const float scale = second ? (float)hs_adapter_scale(peft->alpha, theirs, peft->rslora) : 1;
        for (int64_t r = 0; r < theirs; r++)
            for (int64_t i = 0; i < width; i++)
                values[(k * rank + r) * width + i] = scale * at(e, second ? i * theirs + r : r * width + i);
    }
    if (st == HS_OK)
        st = hs_params_import(ps, ps->master, p, values);
    free(values);
    return st;
}

static hs_status wear(hs_session *s, const char *dir, const hs_peft *peft)
{
    hs_params *ps = s->model->params;
    const wanted of = { s->adapters, { .files = s->info.files } };
    hs_weights w;
    HS_TRY(hs_weights_open(&w, dir));
    w.files = s->info.files;
    hs_status st = peft ? hs_weights_copy(&w, ps, kept_pieces, &of, ps->master) : HS_OK;
    for (int i = 0; i < ps->n_params && st == HS_OK; i++)
        if (ps->param[i]->pair_parts)
            st = wear_pair(ps, ps->param[i], peft ? &w : NULL, peft, &of.opts);
    hs_weights_close(&w);
    hs_params_refresh_low(ps);
    hs_params_changed(ps);
    return st;
}

hs_status hs_session_wear(hs_session *s, int which)
{
    const hs_adapters *a = s->adapters;
    if (!a || which < -1 || which >= a->n)
        return HS_FAIL(USAGE, "adapter %d of %d", which, a ? a->n : 0);
    return wear(s, which < 0 ? a->base : a->at[which].dir, which < 0 ? NULL : &a->at[which].peft);
}

static hs_status find_kept(hs_session *s)
{
    hs_adapters *a = s->adapters;
    const hs_params *ps = s->model->params;
    const hs_ckpt_opts o = { .files = s->info.files };
    hs_name_piece piece[HS_NAME_PIECES];
    a->kept = calloc((size_t)ps->n_params + 1, sizeof *a->kept);
    if (!a->kept)
        return HS_FAIL(MEMORY, "no memory for marks of %d parameters", ps->n_params);
    for (int i = 0; i < a->n; i++) {
        hs_weights w;
        HS_TRY(hs_weights_open(&w, a->at[i].dir));
        w.files = s->info.files;
        hs_status st = HS_OK;
        for (int k = 0; k < ps->n_params && st == HS_OK; k++) {
            int n;
            if (ps->param[k]->pair_parts)
                continue;
            st = hs_ckpt_pieces(&o, ps->param[k], piece, &n);
            for (int m = 0; m < n && st == HS_OK; m++) {
                const hs_weight *t = hs_weights_lookup(&w, piece[m].name);
                a->kept[k] |= t && hs_weight_of_adapter(&w, t);
            }
        }
        hs_weights_close(&w);
        HS_TRY(st);
    }
    return HS_OK;
}

hs_status hs_adapters_load(hs_session *s)
{
    HS_TRY(hs_params_check_adapter(s->model->params));
    HS_TRY(hs_model_alloc(s->model, false));
    HS_TRY(hs_run_new(&s->run, s->model, &(hs_run_opts){ .mode = hs_submit_mode_of(s->device) }));
    HS_TRY(hs_ckpt_load_params(s->adapters->base, &(hs_ckpt_opts){ .files = s->info.files, .heads_open = true }, s->model->params));
    HS_TRY(find_kept(s));
    return hs_session_wear(s, 0);
}
