// What a plug-in and the program must agree on to the byte. Compiled by the C compiler and by nvcc, and compared.
#ifndef HS_TESTS_PLUGIN_FACTS_H
#define HS_TESTS_PLUGIN_FACTS_H
#include "core/run/device.h"
#include <stddef.h>

//   X(type)              sizeof
//   Y(type, field)       offsetof
#define HS_PLUGIN_FACTS(X, Y)                                                                                                              \
    X(hs_args)                                                                                                                             \
    X(hs_ref)                                                                                                                              \
    X(hs_tensor) X(hs_node) X(hs_kernels) X(hs_scratch) X(hs_step_in) X(hs_step_state) X(hs_thunk) X(hs_segment) X(hs_device)              \
        X(hs_device_opts) X(hs_core_kernels) X(hs_op) X(hs_status) X(hs_dtype) X(bool) Y(hs_args, out) Y(hs_args, din) Y(hs_args, dout)    \
            Y(hs_args, attr) Y(hs_args, thread_bytes) Y(hs_args, step) Y(hs_args, state) Y(hs_args, site) Y(hs_ref, cols) Y(hs_ref, dtype) \
                Y(hs_ref, ext) Y(hs_ref, add) Y(hs_ref, t) Y(hs_kernels, fwd_part) Y(hs_kernels, syncs_first) Y(hs_kernels, scratch)       \
                    Y(hs_kernels, decline) Y(hs_tensor, dim) Y(hs_tensor, from) Y(hs_node, in) Y(hs_node, site) Y(hs_step_in, seed)        \
                        Y(hs_step_in, inv_count) Y(hs_step_state, scale) Y(hs_step_state, loss) Y(hs_device, submit) Y(hs_thunk, args)     \
                            Y(hs_thunk, part)

typedef struct hs_plugin_fact {
    const char *name;
    size_t bytes;
} hs_plugin_fact;
#define HS_PLUGIN_SIZE(type)          { "sizeof " #type, sizeof(type) },
#define HS_PLUGIN_OFFSET(type, field) { #type "." #field, offsetof(type, field) },

#ifdef __cplusplus
extern "C" {
#endif

extern const hs_plugin_fact hs_plugin_facts[];
extern const int hs_plugin_n_facts;
extern const hs_kernels hs_plugin_scale; // one op's entry as a plug-in fills it

#ifdef __cplusplus
}
#endif
#endif
