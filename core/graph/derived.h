// derived: other copies of a parameter's value, laid out as a kernel walks them - a weight packed for products.
//
// Made by a kernel from the value as products read it (master or low), once per change of the values: before the first run
// that follows a load, the initial draw or an applied step (hs_params.version), by all members of the team. Plans over one
// hs_params share them. Never saved, never counted as parameters.
#ifndef HS_CORE_DERIVED_H
#define HS_CORE_DERIVED_H
#include "core/graph/op.h"
#include "core/graph/params.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hs_derived { // hs_params.derived
    const hs_param *param;
    hs_dtype dtype;  // of the value it is made from
    hs_kernel *make; // hs_derive.forward or .backward: the layout
    size_t bytes;
    char *p; // NULL until hs_derived_alloc
    int members;
    uint64_t *made; // [members]: of which version (and team) each member's share is
};

// The copy of that parameter, type and layout: added on first use. members: of the largest team that will make it.
hs_status hs_derived_get(hs_params *ps, const hs_derived *want, hs_derived **out);
hs_status hs_derived_alloc(hs_params *ps); // bytes of all that have none yet
size_t hs_derived_bytes(const hs_params *ps);
void hs_derived_free(hs_derived *d);

// What of these copies is older than the values is made again. A thunk: each member compares and makes its own share, so nobody
// waits; a kernel that reads a copy syncs first. Values change only between regions that hold it.
typedef struct hs_derived_list {
    const hs_params *params;
    hs_derived **item;
    int n, capacity;
} hs_derived_list;
void hs_kernel_derive(const hs_args *a, hs_lane *lane); // attr: hs_derived_list

#ifdef __cplusplus
}
#endif
#endif
