// slabs: who lies where in each slab, and the memory for it. A table grows with the list of parameters and with the list of slabs,
// whichever comes later, so that bytes are known before any are taken.
#include "core/base/grow.h"
#include "core/cpu/cpu.h"
#include "core/graph/divide.h"
#include "core/graph/params_impl.h"
#include "core/run/device.h"
#include <stdlib.h>
#include <string.h>

static size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// ---- memory

hs_status hs_params_take(const hs_params *ps, size_t bytes, void **p, void **k)
{
    *p = *k = NULL;
    if (ps->device)
        HS_TRY(ps->device->alloc(ps->device, bytes, p));
    else if (!(*p = hs_cpu_alloc(bytes)))
        return HS_FAIL(MEMORY, "no memory for %zu bytes", bytes);
    *k = ps->device ? hs_device_bind(ps->device, *p) : *p;
    return HS_OK;
}

void hs_params_give_back(const hs_params *ps, void *p, size_t bytes)
{
    if (ps->device)
        ps->device->release(ps->device, p, bytes);
    else
        hs_cpu_release(p, bytes);
}

static hs_status take(hs_params *ps, hs_slab *s)
{
    void *p, *k;
    if (hs_params_take(ps, s->bytes, &p, &k) != HS_OK)
        return HS_FAIL(MEMORY, "no memory for slab %s of %.1f MiB", s->spec.name, (double)s->bytes / 0x1p20);
    s->p = p, s->k = k;
    return HS_OK;
}

static void give_back(hs_params *ps, hs_slab *s)
{
    if (!s->lent)
        hs_params_give_back(ps, s->p, s->bytes);
    s->p = s->k = NULL, s->lent = false;
}

hs_status hs_slabs_alloc(hs_params *ps)
{
    for (int i = 0; i < ps->n_slabs; i++)
        if (!ps->slab[i]->p && !ps->slab[i]->lent)
            HS_TRY(take(ps, ps->slab[i]));
    return HS_OK;
}

void hs_slabs_give_back(hs_params *ps)
{
    for (int i = 0; i < ps->n_slabs; i++)
        if (!ps->slab[i]->lent)
            give_back(ps, ps->slab[i]);
}

hs_status hs_params_lend(hs_params *ps, hs_slab *s, void *p, size_t bytes)
{
    if (bytes < s->bytes)
        return HS_FAIL(INTERNAL, "slab %s needs %zu bytes, is lent %zu", s->spec.name, s->bytes, bytes);
    void *k = ps->device ? hs_device_bind(ps->device, p) : p;
    if (!k)
        return HS_FAIL(INTERNAL, "slab %s is lent bytes outside the memory of device %s", s->spec.name, ps->device->name);
    give_back(ps, s);
    s->p = p, s->k = k, s->lent = true;
    return HS_OK;
}

void hs_params_leave_out(hs_params *ps, hs_slab *s)
{
    give_back(ps, s);
    s->lent = true;
}

// ---- bytes that lie elsewhere

static hs_status adopt(const hs_params *ps, hs_slab *s, const hs_param *p, const void *host)
{
    hs_place *at = &s->place[p->id];
    void *bytes = (void *)(uintptr_t)host;
    if ((uintptr_t)host % hs_dtype_bytes(s->spec.dtype))
        return HS_FAIL(INTERNAL, "values of %s at an odd address", p->name);
    if (ps->device)
        HS_TRY(ps->device->adopt(ps->device, host, at->bytes, &bytes));
    at->p = bytes, at->k = ps->device ? hs_device_bind(ps->device, bytes) : bytes;
    return at->k ? HS_OK : HS_FAIL(INTERNAL, "device %s adopts bytes of %s that it does not know then", ps->device->name, p->name);
}

static void disown(const hs_params *ps, hs_slab *s)
{
    for (int i = 0; s->adopted && i < ps->n_params; i++) {
        if (s->place[i].p && ps->device)
            ps->device->disown(ps->device, s->place[i].p, s->place[i].bytes);
        s->place[i].p = s->place[i].k = NULL;
    }
    s->adopted = 0;
}

// What is adopted takes no room, what passes has one place together, at the front.
static void lay_out(const hs_params *ps, hs_slab *s)
{
    const size_t unit = HS_SLAB_ALIGN * hs_dtype_bytes(s->spec.dtype);
    s->bytes = s->adopted = 0;
    for (int i = 0; i < ps->n_params; i++) {
        const size_t bytes = s->place[i].passes ? round_up(s->place[i].bytes, unit) : 0;
        s->bytes = bytes > s->bytes ? bytes : s->bytes;
    }
    for (int i = 0; i < ps->n_params; i++) {
        hs_place *at = &s->place[i];
        at->offset = at->passes ? 0 : s->bytes;
        if (at->p)
            s->adopted += at->bytes;
        else if (!at->passes)
            s->bytes += round_up(at->bytes, unit);
    }
}

void hs_params_turned(hs_params *ps, const bool *turned)
{
    for (int i = 0; i < ps->n_params; i++) {
        ps->master->place[i].turned = turned[i] && ps->master->place[i].p;
        if (ps->low)
            ps->low->place[i].turned = ps->master->place[i].turned;
    }
}

void hs_params_pass(hs_params *ps, hs_slab *s, const bool *passes)
{
    for (int i = 0; i < ps->n_params; i++)
        s->place[i].passes = passes[i] && !s->place[i].p;
    lay_out(ps, s);
}

hs_status hs_params_adopt(hs_params *ps, hs_slab *s, hs_device *device, const void *const *host)
{
    if (ps->allocated || ps->grad || s->adopted)
        return HS_FAIL(INTERNAL, "values are adopted before parameters are laid out, once, and for a model that is not trained");
    if (device && !device->adopt)
        return HS_OK;
    ps->device = device;
    hs_status st = HS_OK;
    for (int i = 0; i < ps->n_params && st == HS_OK; i++)
        if (host[i] && hs_slab_has(s, ps->param[i]))
            st = adopt(ps, s, ps->param[i], host[i]);
    lay_out(ps, s);
    return st;
}

static hs_status check_own(const hs_slab *s, const hs_param *p)
{
    if (hs_slab_adopted(s, p))
        return HS_FAIL(INTERNAL, "%s of parameter %s is adopted: it is only read", s->spec.name, p->name);
    return HS_OK;
}

static void slab_free(hs_params *ps, hs_slab *s)
{
    disown(ps, s);
    give_back(ps, s);
    free(s->place);
    free(s);
}

void hs_slabs_free(hs_params *ps)
{
    for (int i = 0; i < ps->n_slabs; i++)
        slab_free(ps, ps->slab[i]);
    free(ps->slab);
}

void hs_params_trim(hs_params *ps, const hs_slab *s, const hs_param *p)
{
    void *at = hs_slab_at(s, p);
    if (!at || s->lent || hs_slab_adopted(s, p))
        return;
    if (ps->device && ps->device->trim)
        ps->device->trim(ps->device, at, s->place[p->id].bytes);
    else if (!ps->device)
        hs_cpu_trim(at, s->place[p->id].bytes);
}

// ---- the host's way in and out

void hs_params_copy(const hs_params *ps, void *dst, const void *src, size_t bytes)
{
    hs_params_land(ps);
    if (ps->device)
        ps->device->copy(ps->device, dst, src, bytes);
    else
        memcpy(dst, src, bytes);
}

void hs_params_read(const hs_params *ps, const hs_slab *s, const hs_param *p, void *dst)
{
    hs_params_copy(ps, dst, hs_slab_at(s, p), s->place[p->id].bytes);
}

hs_status hs_params_write_front(hs_params *ps, hs_slab *s, const hs_param *p, const void *src, size_t bytes)
{
    HS_TRY(check_own(s, p));
    hs_params_copy(ps, hs_slab_at(s, p), src, bytes);
    return HS_OK;
}

hs_status hs_params_write(hs_params *ps, hs_slab *s, const hs_param *p, const void *src)
{
    return hs_params_write_front(ps, s, p, src, s->place[p->id].bytes);
}

hs_status hs_params_alloc_host(const hs_params *ps, size_t bytes, void **out)
{
    *out = NULL;
    if (ps->device)
        HS_TRY(ps->device->alloc_host(ps->device, bytes, out));
    else if (!(*out = calloc(bytes + 1, 1)))
        return HS_FAIL(MEMORY, "no memory for %zu bytes", bytes);
    return HS_OK;
}

void hs_params_free_host(const hs_params *ps, void *p)
{
    if (ps->device)
        ps->device->free_host(ps->device, p);
    else
        free(p);
}

void hs_params_read_slab(const hs_params *ps, const hs_slab *s, void *dst) { hs_params_copy(ps, dst, s->p, s->bytes); }

hs_status hs_params_clear(hs_params *ps, hs_slab *s, const hs_param *p)
{
    HS_TRY(check_own(s, p));
    if (!hs_slab_has(s, p))
        return HS_OK;
    hs_params_land(ps);
    if (ps->device)
        ps->device->fill(ps->device, hs_slab_at(s, p), 0, s->place[p->id].bytes);
    else
        memset(hs_slab_at(s, p), 0, s->place[p->id].bytes);
    return HS_OK;
}

// ---- tables

static hs_status make_room(hs_slab *s, const hs_param *p)
{
    if (!hs_grow(&s->place, p->id, &s->cap_places, sizeof *s->place))
        return HS_FAIL(MEMORY, "no memory for %d places in slab %s", p->id + 1, s->spec.name);
    return HS_OK;
}

static void add_place(const hs_params *ps, hs_slab *s, const hs_param *p)
{
    const hs_masters masters = s == ps->master ? hs_param_masters(ps, p) : HS_MASTERS_F32;
    const size_t wide = hs_dtype_bytes(s->spec.dtype), element = masters == HS_MASTERS_SPLIT ? sizeof(uint16_t) : wide;
    size_t bytes = s->spec.bytes ? s->spec.bytes(p, s->spec.user) : (s->spec.per_tensor ? (size_t)p->parts : p->n) * element, first = 0;
    if (s->spec.coded != (p->coding != HS_CODING_NONE) || (p->frozen && s->spec.trainable_only) || masters == HS_MASTERS_NONE)
        bytes = 0;
    else if (hs_slab_divides(ps, s, p)) {
        hs_param_share(ps, p, ps->shares->rank, &first, &bytes);
        bytes *= element;
    }
    s->place[p->id] = (hs_place){ .offset = s->bytes, .bytes = bytes, .first = first, .width = element };
    s->bytes += round_up(bytes, HS_SLAB_ALIGN * wide);
}

// What every rank has whole comes first, so that it lies in one piece where shares are between.
void hs_slabs_lay_out(hs_params *ps)
{
    for (int k = 0; k < ps->n_slabs; k++) {
        hs_slab *s = ps->slab[k];
        s->bytes = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i < ps->n_params; i++)
                if (hs_slab_divides(ps, s, ps->param[i]) == pass)
                    add_place(ps, s, ps->param[i]);
    }
}

hs_status hs_slabs_add_param(hs_params *ps, const hs_param *p)
{
    for (int i = 0; i < ps->n_slabs; i++) // in all or in none: a parameter that found no room may be asked for again
        HS_TRY(make_room(ps->slab[i], p));
    for (int i = 0; i < ps->n_slabs; i++)
        add_place(ps, ps->slab[i], p);
    return HS_OK;
}

hs_slab *hs_params_slab(const hs_params *ps, const char *name)
{
    for (int i = 0; i < ps->n_slabs; i++)
        if (!strcmp(ps->slab[i]->spec.name, name))
            return ps->slab[i];
    return NULL;
}

static hs_status fill(hs_params *ps, hs_slab *s)
{
    for (int i = 0; i < ps->n_params; i++) {
        HS_TRY(make_room(s, ps->param[i]));
        add_place(ps, s, ps->param[i]);
    }
    return ps->allocated ? take(ps, s) : HS_OK;
}

hs_status hs_params_declare(hs_params *ps, const hs_slab_spec *spec)
{
    const hs_slab *known = hs_params_slab(ps, spec->name);
    if (known && known->spec.dtype != spec->dtype)
        return HS_FAIL(INTERNAL, "slab %s holds %s and is now asked for with %s", spec->name, hs_dtype_name(known->spec.dtype),
                       hs_dtype_name(spec->dtype));
    if (known)
        return HS_OK;
    hs_slab *s = calloc(1, sizeof *s);
    if (!s || !hs_grow(&ps->slab, ps->n_slabs, &ps->cap_slabs, sizeof *ps->slab)) {
        free(s);
        return HS_FAIL(MEMORY, "no memory for the table of slab %s", spec->name);
    }
    s->spec = *spec;
    const hs_status st = fill(ps, s);
    if (st != HS_OK) {
        slab_free(ps, s);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    ps->slab[ps->n_slabs++] = s;
    ps->master = hs_params_slab(ps, "master"), ps->low = hs_params_slab(ps, "low"), ps->grad = hs_params_slab(ps, "grad");
    return HS_OK;
}

hs_status hs_params_declare_low(hs_params *ps, hs_dtype low)
{
    return hs_dtype_is_low(low) ? hs_params_declare(ps, &(hs_slab_spec){ .name = "low", .dtype = low }) : HS_OK;
}

hs_status hs_params_set_masters(hs_params *ps, hs_masters masters)
{
    if (masters == ps->masters)
        return HS_OK;
    if (ps->allocated || ps->master->adopted)
        return HS_FAIL(INTERNAL, "how values are kept is settled before they are laid out");
    if (masters != HS_MASTERS_F32 && (!ps->low || ps->low->spec.dtype != HS_BF16))
        return HS_FAIL(USAGE, "values are kept in less than f32 only beside bf16 (amp.policy bf16), not beside %s",
                       ps->low ? hs_dtype_name(ps->low->spec.dtype) : "f32 alone");
    ps->masters = masters;
    HS_TRY(hs_params_settle(ps));
    hs_slabs_lay_out(ps);
    return HS_OK;
}

hs_masters hs_param_masters(const hs_params *ps, const hs_param *p)
{
    return p->id >= ps->n_settled || hs_params_reads_f32(ps, p) ? HS_MASTERS_F32 : ps->masters;
}

hs_status hs_params_declare_grad(hs_params *ps)
{
    if (ps->master->adopted)
        return HS_FAIL(INTERNAL, "values that are adopted are not trained");
    return hs_params_declare(ps, &(hs_slab_spec){ .name = "grad",
                                                  .dtype = HS_F32,
                                                  .trainable_only = true,
                                                  .divides = ps->shares && ps->shares->what == HS_DIVIDE_GRADIENTS });
}

size_t hs_params_tp_sum_bytes(const hs_params *ps)
{
    size_t bytes = 0;
    for (int i = 0; ps->grad && i < ps->n_params; i++)
        bytes += ps->param[i]->grad_of == HS_GRAD_PART ? ps->grad->place[i].bytes : 0;
    return bytes;
}

hs_params_bytes hs_params_bytes_of(const hs_params *ps)
{
    hs_params_bytes b = { 0 };
    for (int i = 0; i < ps->n_slabs; i++) {
        const hs_slab *s = ps->slab[i];
        size_t *kind = s == ps->master ? &b.master : s == ps->low ? &b.low : s == ps->grad ? &b.grad : s->spec.saved ? &b.saved : &b.other;
        *kind += s->bytes, b.all += s->bytes, b.adopted += s->adopted;
    }
    return b;
}
