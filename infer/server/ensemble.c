// ensemble: steps as they are configured, held against the models that they name.
#include "infer/server/ensemble.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct hs_ensemble hs_ensemble;

bool hs_ensemble_known(const hs_served_opts *o, const char *name)
{
    for (int i = 0; i < o->n_steps; i++)
        if (strcmp(o->step[i].ensemble, name) == 0)
            return true;
    return false;
}

// ---- names

int hs_ensemble_find(const hs_ensemble *e, const char *name)
{
    int i = 0;
    while (i < e->n_tensors && strcmp(e->tensor[i].name, name) != 0)
        i++;
    return i < e->n_tensors ? i : -1;
}

static hs_status add_tensor(hs_ensemble *e, const char *name, int *at)
{
    if ((*at = hs_ensemble_find(e, name)) >= 0)
        return HS_OK;
    if (e->n_tensors == HS_ENSEMBLE_TENSORS)
        return HS_FAIL(USAGE, "more than %d tensors", HS_ENSEMBLE_TENSORS);
    hs_ensemble_tensor *t = &e->tensor[ *at = e->n_tensors++];
    *t = (hs_ensemble_tensor){ .step = -1 };
    snprintf(t->name, sizeof t->name, "%s", name);
    return HS_OK;
}

static hs_status take_name(const char *from, size_t n, char to[HS_ENSEMBLE_NAME])
{
    while (n && *from == ' ')
        from++, n--;
    while (n && from[n - 1] == ' ')
        n--;
    if (n == 0 || n >= HS_ENSEMBLE_NAME)
        return HS_FAIL(USAGE, "a tensor's name has 1 to %d bytes", HS_ENSEMBLE_NAME - 1);
    memcpy(to, from, n);
    to[n] = 0;
    return HS_OK;
}

// "text=TEXT,text_pair=OTHER"
static hs_status read_map(hs_ensemble *e, const char *what, const char *map, hs_mapped *list, int *n)
{
    for (const char *at = map, *end; *at; at = *end ? end + 1 : end) {
        char own[HS_ENSEMBLE_NAME];
        end = at + strcspn(at, ",");
        const char *equals = memchr(at, '=', (size_t)(end - at));
        if (!equals)
            return HS_FAIL(USAGE, "%s: '%.*s' is not NAME=NAME, the model's tensor and the ensemble's", what, (int)(end - at), at);
        if (*n == HS_INFER_TENSORS)
            return HS_FAIL(USAGE, "%s has more than %d tensors", what, HS_INFER_TENSORS);
        hs_mapped *m = &list[(*n)++];
        HS_TRY(take_name(at, (size_t)(equals - at), m->name));
        HS_TRY(take_name(equals + 1, (size_t)(end - equals - 1), own));
        for (int i = 0; i < *n - 1; i++)
            if (strcmp(list[i].name, m->name) == 0)
                return HS_FAIL(USAGE, "%s has '%s' twice", what, m->name);
        HS_TRY(add_tensor(e, own, &m->tensor));
    }
    return *n ? HS_OK : HS_FAIL(USAGE, "%s is empty", what);
}

// ---- what the models say of them

static const hs_oip_tensor *about_of(const hs_oip_model *o, const hs_ensemble_part *p, bool out, int k)
{
    return hs_oip_find(out ? o->out : o->in, out ? o->n_out : o->n_in, (out ? p->out : p->in)[k].name);
}

static hs_status check_tensors(const hs_oip_model *o, const hs_ensemble_part *p)
{
    bool feeds = false;
    for (int k = 0; k < p->n_in; k++) {
        const hs_oip_tensor *t = about_of(o, p, false, k);
        if (!t)
            return HS_FAIL(USAGE, "the model has no input '%s'", p->in[k].name);
        feeds |= t->what == HS_OIP_TEXT || t->what == HS_OIP_IDS || t->what == HS_OIP_PROMPT;
    }
    for (int k = 0; k < p->n_out; k++)
        if (!about_of(o, p, true, k))
            return HS_FAIL(USAGE, "the model has no output '%s'", p->out[k].name);
    return feeds ? HS_OK : HS_FAIL(USAGE, "input_map has none of text, input_ids and text_input");
}

static void tell(hs_ensemble_tensor *t, const hs_oip_tensor *about)
{
    t->about = *about;
    t->about.name = t->name, t->about.what = HS_OIP_OF_STEPS;
}

static hs_status put_out(hs_ensemble *e, const hs_oip_model *o, int step)
{
    const hs_ensemble_part *p = &e->part[step];
    for (int k = 0; k < p->n_out; k++) {
        hs_ensemble_tensor *t = &e->tensor[p->out[k].tensor];
        if (t->step >= 0)
            return HS_FAIL(USAGE, "'%s' comes out of step %d, too", t->name, t->step + 1);
        t->step = step;
        tell(t, about_of(o, p, true, k));
    }
    return HS_OK;
}

static hs_status take_in(hs_ensemble *e, const hs_oip_model *o, int step)
{
    const hs_ensemble_part *p = &e->part[step];
    for (int k = 0; k < p->n_in; k++) {
        hs_ensemble_tensor *t = &e->tensor[p->in[k].tensor];
        const hs_oip_tensor *about = about_of(o, p, false, k);
        if (!t->about.name || (t->step < 0 && t->about.type == about->type && about->n_dims < t->about.n_dims))
            tell(t, about); // of several that take it the one that takes less
        else if (t->about.type != about->type)
            return HS_FAIL(USAGE, "its input '%s' is %s, and '%s' is %s", p->in[k].name, hs_oip_type_names[about->type], t->name,
                           hs_oip_type_names[t->about.type]);
    }
    return HS_OK;
}

typedef hs_status hold_step(hs_ensemble *e, const hs_oip_model *o, int step);
static hs_status check_step(hs_ensemble *e, const hs_oip_model *o, int step) { return check_tensors(o, &e->part[step]); }

static hs_status with_models(hs_ensemble *e, const hs_served_opts *o, hold_step *hold)
{
    for (int i = 0; i < e->n_parts; i++) {
        const char *name = e->part[i].model;
        hs_served *m = o->find(name, o->find_user);
        hs_oip_model about;
        hs_status st;
        if (m)
            hs_oip_model_of(&about, m);
        if (!m)
            st = HS_FAIL(USAGE, "there is no such model");
        else if (m->does & HS_DOES_ENSEMBLE)
            st = HS_FAIL(USAGE, "an ensemble is no step of another one");
        else
            st = hold(e, &about, i);
        hs_served_let_go(m);
        if (st != HS_OK)
            return HS_FAIL(USAGE, "step %d ('%s'): %s", i + 1, name, hs_error());
    }
    return HS_OK;
}

// Steps that can begin, until there are no more: the others wait for each other.
static hs_status check_order(const hs_ensemble *e)
{
    bool done[HS_ENSEMBLE_STEPS] = { false };
    int n = 0;
    for (bool any = true; any;) {
        any = false;
        for (int i = 0; i < e->n_parts; i++) {
            bool ready = !done[i];
            for (int k = 0; k < e->part[i].n_in && ready; k++) {
                const int from = e->tensor[e->part[i].in[k].tensor].step;
                ready = from < 0 || done[from];
            }
            if (ready)
                done[i] = any = true, n++;
        }
    }
    for (int i = 0; i < e->n_parts && n < e->n_parts; i++)
        if (!done[i])
            return HS_FAIL(USAGE, "step %d ('%s') waits for itself, or for one that does", i + 1, e->part[i].model);
    return HS_OK;
}

static hs_status read_steps(hs_ensemble *e, const char *name, const hs_served_opts *o)
{
    for (int i = 0; i < o->n_steps; i++) {
        const hs_ensemble_step *s = &o->step[i];
        if (strcmp(s->ensemble, name) != 0)
            continue;
        hs_ensemble_part *p = &e->part[e->n_parts++];
        snprintf(p->model, sizeof p->model, "%s", s->model);
        hs_status st = read_map(e, "input_map", s->input_map, p->in, &p->n_in);
        if (st == HS_OK)
            st = read_map(e, "output_map", s->output_map, p->out, &p->n_out);
        if (st != HS_OK)
            return HS_FAIL(USAGE, "step %d ('%s'): %s", e->n_parts, s->model, hs_error());
    }
    return HS_OK;
}

static hs_status open_it(hs_ensemble *e, const char *name, const hs_served_opts *o)
{
    int in = 0, out = 0;
    HS_TRY(read_steps(e, name, o));
    HS_TRY(with_models(e, o, check_step));
    HS_TRY(with_models(e, o, put_out));
    HS_TRY(with_models(e, o, take_in));
    HS_TRY(check_order(e));
    for (int i = 0; i < e->n_tensors; i++)
        (*(e->tensor[i].step < 0 ? &in : &out))++;
    if (in == 0 || in > HS_OIP_TENSORS || out > HS_OIP_TENSORS)
        return HS_FAIL(USAGE, "%d inputs and %d outputs: there must be 1 to %d of each", in, out, HS_OIP_TENSORS);
    return HS_OK;
}

hs_status hs_ensemble_open(hs_ensemble **out, const char *name, const hs_served_opts *o)
{
    hs_ensemble *e = *out = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for an ensemble");
    const hs_status st = open_it(e, name, o);
    if (st == HS_OK)
        return HS_OK;
    free(e);
    *out = NULL;
    return HS_FAIL(USAGE, "ensemble '%s': %s", name, hs_error());
}

bool hs_ensemble_has(const hs_ensemble *e, const char *model)
{
    for (int i = 0; i < e->n_parts; i++)
        if (strcmp(e->part[i].model, model) == 0)
            return true;
    return false;
}

bool hs_ensemble_same(const hs_ensemble *e, const hs_ensemble *f)
{
    bool same = e->n_tensors == f->n_tensors;
    for (int i = 0; i < e->n_tensors && same; i++) {
        const hs_ensemble_tensor *a = &e->tensor[i], *b = &f->tensor[i];
        same = strcmp(a->name, b->name) == 0 && a->step == b->step && a->about.type == b->about.type && a->about.n_dims == b->about.n_dims;
        for (int k = 0; k < a->about.n_dims && same; k++)
            same = a->about.dim[k] == b->about.dim[k];
    }
    return same;
}

void hs_ensemble_oip(const hs_ensemble *e, hs_oip_model *o)
{
    for (int i = 0; i < e->n_tensors; i++) {
        const hs_ensemble_tensor *t = &e->tensor[i];
        *(t->step < 0 ? &o->in[o->n_in++] : &o->out[o->n_out++]) = t->about;
    }
}
