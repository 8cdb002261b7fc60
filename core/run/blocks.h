// blocks: step block and step state of a run. Kernels have theirs in the device's memory; the host writes a copy of the one, which goes
// there before a submission where it changed, and reads a copy of the other, which is fetched when somebody asks.
#ifndef HS_CORE_BLOCKS_H
#define HS_CORE_BLOCKS_H
#include "core/run/device.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HS_BLOCKS_RING = 64 }; // submissions that the host is ahead of the device at most
typedef struct hs_blocks {
    hs_step_in in;              // the host's, to be written
    hs_step_in sent;            // what the last submission had
    char *p;                    // the device's address: block, state, room for losses that are added up
    const hs_step_in *bound_in; // what kernels get
    hs_step_state *bound_state;
    char *bound_totals; // room of core->loss_total
    // its own
    hs_device *device;
    hs_lane *lane;
    hs_step_in *ring;               // on their way, in memory that both sides see
    hs_event *read[HS_BLOCKS_RING]; // up to where each was
    int64_t n_sent;
    hs_step_state state; // as last read
    bool is_old;         // it may have changed since
} hs_blocks;

hs_status hs_blocks_open(hs_blocks *b, hs_device *d, hs_lane *lane); // device and lane are borrowed
void hs_blocks_close(hs_blocks *b);                                  // also of what did not open, or was all 0; the lane was waited for
size_t hs_blocks_bytes(void);                                        // of the device's memory

hs_status hs_blocks_send(hs_blocks *b);             // before a submission: `in`, in the lane's order, if it is not what is there
void hs_blocks_submitted(hs_blocks *b);             // behind it: the state is no longer what was read
const hs_step_state *hs_blocks_state(hs_blocks *b); // behind all that was submitted
void hs_blocks_set_state(hs_blocks *b, const hs_step_state *state);

#ifdef __cplusplus
}
#endif
#endif
