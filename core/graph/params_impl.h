// params_impl: the insides of hs_params, shared by params.c (the list), param_values.c (values), slabs.c (tables, memory) and freeze.c
// (patterns of names).
#ifndef HS_CORE_PARAMS_IMPL_H
#define HS_CORE_PARAMS_IMPL_H
#include "core/graph/params.h"

static inline int64_t hs_columns(const int64_t *dim, int n_dims) // of a tensor as rows: the first dimension
{
    int64_t n = 1;
    for (int i = 1; i < n_dims; i++)
        n *= dim[i];
    return n;
}

hs_status hs_slabs_add_param(hs_params *ps, const hs_param *p); // a place in every slab, behind those before
hs_status hs_slabs_alloc(hs_params *ps);                        // of those without memory
void hs_slabs_give_back(hs_params *ps);                         // what that took
void hs_slabs_lay_out(hs_params *ps);                           // again, by the shares that are settled; none has memory
void hs_slabs_free(hs_params *ps);
hs_status hs_params_take(const hs_params *ps, size_t bytes, void **p, void **k);    // zeroed; p: the address, k: what kernels get for it
void hs_params_give_back(const hs_params *ps, void *p, size_t bytes);               // NULL: nothing
void hs_params_copy(const hs_params *ps, void *dst, const void *src, size_t bytes); // the device's, or the host's where there is none

static inline bool hs_params_reads_f32(const hs_params *ps, const hs_param *p) { return p->id < ps->cap_f32 && ps->f32[p->id]; }

void hs_adapter_free(struct hs_adapter *a); // NULL: nothing
bool hs_adapter_freezes(const struct hs_adapter *a, const hs_param_spec *s);
hs_coding hs_params_coding(const hs_params *ps, const hs_param_spec *s);
bool hs_params_freezes(const hs_params *ps, const hs_param_spec *s); // will a parameter of this spec be frozen?
bool hs_params_keeps(const hs_params *ps, const hs_param_spec *s);   // or keep its zeros?

#endif
