// divide: which of a parameter's elements each data-parallel rank has alone (ZeRO): its share.
//
// Trained parameters come in groups, in their order: about as many as fill a bucket of gradients. The chunks of a group are dealt to the
// ranks in order and evenly, so that wherever a group lies in one piece the shares lie behind each other: one reduction, one gather. A
// parameter's share is one range, maybe empty. Groups stay as they are when parameters follow; shares of the last one do not, so that what
// depends on them is settled behind hs_params_alloc.
//
// Divided are slabs that say so (hs_slab_spec.divides: moments) and, where there is a low copy, values that no kernel reads in f32, in
// whatever way they are kept (hs_masters).
#ifndef HS_CORE_DIVIDE_H
#define HS_CORE_DIVIDE_H
#include "core/graph/params.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HS_BUCKET_BYTES ((size_t)25 << 20) // of gradients that move together, where nobody says otherwise

typedef enum hs_divide {
    HS_DIVIDE_NONE,
    HS_DIVIDE_STATES,    // moments, and f32 values where kernels read a low copy
    HS_DIVIDE_GRADIENTS, // gradients too
} hs_divide;

typedef struct hs_shares { // of hs_params_divide; to be read by id of a parameter
    hs_divide what;
    int rank, size;
    size_t bucket_bytes;
    // settled for the first n_params
    int *group;   // -1: not trained
    int64_t *cut; // [n_params][size + 1]: rank r has elements [cut[r], cut[r + 1]) of the stored parameter
    int n_params, n_groups;
    struct hs_comm *moving; // over which values are still on their way to this rank, group by group; NULL: none are
} hs_shares;

// Before there are parameters. size 1 or NONE: nothing is divided. bucket_bytes 0: HS_BUCKET_BYTES.
hs_status hs_params_divide(hs_params *ps, hs_divide what, int rank, int size, size_t bucket_bytes);
void hs_shares_free(hs_shares *s);
// A kernel reads p's values in f32: every rank has all of them, as f32. INTERNAL: p is laid out otherwise.
hs_status hs_params_read_f32(hs_params *ps, const hs_param *p);
// Groups and shares of all parameters there are, how their values are kept, and slabs laid out by that: plans do it, and hs_params_alloc.
hs_status hs_params_settle(hs_params *ps);

// Does this rank have its share alone of p in that slab (in which another rank's may be all of it)?
bool hs_slab_divides(const hs_params *ps, const hs_slab *s, const hs_param *p);
static inline int hs_param_group(const hs_params *ps, const hs_param *p) { return ps->shares ? ps->shares->group[p->id] : 0; }
// Of rank r, settled or not yet: all of it where nothing is divided.
void hs_param_share(const hs_params *ps, const hs_param *p, int r, size_t *first, size_t *n);
int hs_chunk_rank(const hs_params *ps, const hs_chunk *c); // whose share it is of; 0 where nothing is divided

// Neighbours in a slab, of one group: those that every rank has whole there, or those that somebody takes.
typedef struct hs_share_run {
    int first, last; // ids; those between that are not of the group or not taken do not count
    size_t at;       // elements from the front of the slab
    int64_t n;       // elements, with what is between two
} hs_share_run;
// The first run that begins at parameter `from` or behind it; false: there is none.
typedef bool hs_run_takes(const void *user, int param);
bool hs_slab_run_next(const hs_params *ps, const hs_slab *s, int from, hs_run_takes *takes, const void *user, hs_share_run *out); // of any
bool hs_share_run_next(const hs_params *ps, const hs_slab *s, int from, hs_share_run *out);
// How many elements of the run each rank has, in order ([size], of hs_collective). s NULL: of a run that lies as in a slab which has all of
// what is trained.
void hs_share_parts(const hs_params *ps, const hs_slab *s, const hs_share_run *run, int64_t *parts);

// Values go to all ranks behind an update, group by group, in each the runs of the low copies, then those of "master": how many runs
// that are of the groups before `group`.
int hs_share_moves(const hs_params *ps, int group);
size_t hs_share_move_bytes(const hs_params *ps); // of all of them, whole buffers; 0: nothing is divided
// Waits for values that are on their way. Whatever of the host's reads or writes a slab does it by itself.
void hs_params_land(const hs_params *ps);

#ifdef __cplusplus
}
#endif
#endif
