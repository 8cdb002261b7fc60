// support_optim: an optimizer over a small model's worth of parameters, without a model: gradients are drawn, its segment is submitted.
#ifndef HS_TESTS_SUPPORT_OPTIM_H
#define HS_TESTS_SUPPORT_OPTIM_H
#include "core/run/device.h"
#include "optim/update.h"

enum { RIG_PARAMS = 4 }; // wte.weight, qkv.weight, qkv.bias, ln.weight; qkv in three parts

struct rig;
// Whose optimizers a rig has. A test of others defines one of its own.
typedef struct rig_device {
    const hs_optim_tier *tier;          // NULL: those of the CPU's tier that it asks for. Else threads and tier mean nothing
    void (*begin)(const struct rig *r); // (optional) before its first kernel
    const char *(*end)(void);           // (optional) behind the last: NULL, or what was wrong
    bool accesses_only;                 // every access is looked at, and a few steps have all of them; what many steps come to is another program's
} rig_device;
extern const rig_device rig_on;

typedef struct rig { // parameters, an optimizer, and a step of it without a run
    hs_params *ps;
    hs_device *dev;
    hs_optim *o;
    hs_step_in in;
    hs_step_state state;
    hs_thunk thunk[8]; // of the segment, with this step block and state
    hs_segment update;
    int order[RIG_PARAMS];
    const rig_device *on;
} rig;

enum { RIG_TIERS = 4 };
extern const char *const rig_tiers[RIG_TIERS]; // of the CPU
bool rig_tier_runs(int tier);                  // here; of another device's optimizers: one of them, for all
hs_schedule rig_schedule(void);                // of 20 steps
hs_optim_config preset(const char *name);      // with it
void rig_open(rig *r, const hs_optim_config *c, hs_dtype low, int threads, const char *isa);
void rig_open_frozen(rig *r, const hs_optim_config *c, hs_dtype low, int threads, const char *isa, const char *frozen);
void rig_open_keep(rig *r, const hs_optim_config *c, hs_dtype low, int threads, const char *isa, const char *keep); // zeros of these
void rig_open_on(rig *r, const hs_optim_config *c, hs_dtype low, const hs_grid *grid);                              // two threads
void rig_open_cpu(rig *r, const hs_optim_config *c, hs_dtype low); // the portable tier, whatever rig_on says
void rig_open_tp(rig *r, const hs_optim_config *c, hs_dtype low, int tp_rank, int tp_size); // whose updates ask no other rank: clip 0, no norms
void rig_close(rig *r);
void fill_gradients(hs_params *ps, int t, double size, float scale); // of step t, times `scale`; zero in the padding, as the ops leave them
void rig_step(rig *r, int t, double size);

// Values, low copies and moments of any optimizer, one after the other; malloc'd.
float *rig_slabs(const hs_params *ps);
size_t rig_slab_bytes(const hs_params *ps);

#endif
