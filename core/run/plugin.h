// plugin: a device of another library, loaded where somebody asks for it. It is linked against libhalfstep, lies beside it, and has one
// symbol of its own: a function that says what it brings.
#ifndef HS_CORE_PLUGIN_H
#define HS_CORE_PLUGIN_H
#include "core/run/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// Sizes of what both sides look into. A plug-in that was built from other headers is refused.
enum { HS_PLUGIN_VERSION = 2, HS_PLUGIN_SIZES = 11 };
#define HS_PLUGIN_LAYOUT                                                                                                                   \
    {                                                                                                                                      \
        sizeof(hs_args), sizeof(hs_ref), sizeof(hs_tensor), sizeof(hs_node), sizeof(hs_kernels), sizeof(hs_thunk), sizeof(hs_step_in),     \
            sizeof(hs_step_state), sizeof(hs_device), sizeof(hs_device_opts), sizeof(hs_comm)                                              \
    }

typedef struct hs_plugin {
    int version; // HS_PLUGIN_VERSION
    size_t layout[HS_PLUGIN_SIZES];
    const char *name; // "cuda"
    hs_backend *backend;
    const char *const *op_names; // [n_ops], in the order of every table
    int n_ops;
    const hs_kernels *const *const *tables; // as hs_device has them
    const char *const *table_names;
    const hs_core_kernels *core;
    const struct hs_optim_tier *optim;
    hs_comm_open *comm_open;      // (optional) as hs_device has it
    const char *(*library)(void); // "CUDA 13.0", or with what it is missing; needs no device
} hs_plugin;

#define HS_PLUGIN_SYMBOL "hs_plugin_entry"
typedef const hs_plugin *hs_plugin_entry_fn(void);

// libhalfstep_NAME.so, which stays loaded. UNSUPPORTED where it is not there or does not belong to this library.
hs_status hs_plugin_load(const char *name, const hs_plugin **out);

#ifdef __cplusplus
}
#endif
#endif
