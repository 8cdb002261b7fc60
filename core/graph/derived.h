// derived: other copies of a parameter's value, laid out as a kernel walks them - a weight packed for products.
//
// Made by a kernel from the value as products read it (master or low), once per change of the values (hs_params.version): by the first
// run of a model that submits after a load, the initial draw or an update, in a segment of its own (hs_model_refresh). Kernels only
// read them. Plans over one hs_params share them. Never saved, never counted as parameters.
#ifndef HS_CORE_DERIVED_H
#define HS_CORE_DERIVED_H
#include "core/graph/op.h"
#include "core/graph/params.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hs_derived { // hs_params.derived
    hs_param *param;
    hs_derived *next; // of the same parameter
    int id;           // index in hs_params.derived
    hs_dtype dtype;   // of the value it is made from
    hs_kernel *make;  // hs_derive.forward or .backward: the layout
    hs_kernel *turn;  // makes the same of the turned value; NULL: nothing does
    const void *attr; // that the layout depends on, attr_bytes of them: its own; NULL: on none
    size_t attr_bytes;
    size_t bytes;
    char *p;      // NULL until hs_derived_alloc
    char *k;      // as kernels get it
    size_t block; // of memory that begins with it; 0: it lies behind others
};

// The copy of that parameter, type, layout and attributes: added on first use.
hs_status hs_derived_get(hs_params *ps, const hs_derived *want, hs_derived **out);
hs_status hs_derived_alloc(hs_params *ps); // bytes of all that have none yet
size_t hs_derived_bytes(const hs_params *ps);
void hs_derived_free(const hs_params *ps, hs_derived *d);

#ifdef __cplusplus
}
#endif
#endif
