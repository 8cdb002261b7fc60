// run_impl: the insides of hs_run, shared by run.c (binding, steps), run_io.c (inputs, outputs) and run_ranks.c
// (what ranks have between them).
#ifndef HS_CORE_RUN_IMPL_H
#define HS_CORE_RUN_IMPL_H
#include "core/run/blocks.h"
#include "core/run/run.h"

typedef struct hs_run_memory { // of the device's memory
    void *p;
    size_t bytes;
} hs_run_memory;

typedef struct hs_bound { // a plan of the model, by its number
    hs_exec *exec;        // NULL: not bound
    bool *writes;         // [n_params] of a training plan: gradients it makes
    bool reduces;
    int32_t micro;                          // micro-steps of it since the last update
    hs_run_memory inputs;                   // HS_INPUT_SLOTS of them
    hs_event *used[HS_INPUT_SLOTS];         // the last that the lane did with a slot, if anything
    hs_event *fed[HS_INPUT_SLOTS];          // the last that was fed into it
    bool is_used[HS_INPUT_SLOTS], is_fed[HS_INPUT_SLOTS]; // is_fed: by what no submission awaits yet
    bool was_read;                                        // a submission had this slot since it was turned to
} hs_bound;

struct hs_run {
    hs_model *model;
    hs_device *device;
    hs_lane *lane;  // all of it is submitted to
    hs_lane *feed;  // what the host writes into inputs goes by
    hs_event *done; // of hs_run_pass
    hs_submit_mode mode;
    bool queued; // something was submitted that nobody has waited for
    hs_blocks blocks;
    hs_bound *plan;
    int n_plans, cap_plans;
    hs_run_memory *workspace; // [0] of the largest plan at birth; others of plans that came later and did not fit
    size_t first_bytes, more_bytes, input_bytes;
    int n_workspaces, cap_workspaces;
    void **states; // by hs_state.id
    int n_states, cap_states;
    size_t state_bytes;
    hs_run_memory *largest; // what the states of that kind lie in: one piece, and one more wherever plans came later
    int n_largest, cap_largest;
    bool *written;        // [n_params]: gradients made since the last update
    int pending;          // micro-steps since then
    bool reduced;         // the last of them reduced over dp
    hs_segment reduction; // up to n_params + 1 thunks, where plans reduce: of what the last plan of a step did not make
    hs_move *move;        // of those thunks, where shares are divided ...
    int64_t *parts;       // ... and theirs
    hs_segment front;     // of an update: hs_run_make_front, of n_parts gradients and of front_largest pieces of states
    int n_parts, front_largest;
    bool trains; // it holds the model's gradients
    hs_segment update;
    bool moves_values; // it leaves values on their way
    hs_thunk arrival;  // waits for them, in this segment, where a micro-step does not
    hs_segment arrivals;
    hs_step_log *log;  // written by the last thunk of an update, read by the host
    int64_t n_updates, n_read;
};

static inline const hs_plan *hs_run_plan(const hs_run *r, int plan) { return r->model->plan[plan]; }
static inline bool hs_run_is_bound(const hs_run *r, int plan) { return plan >= 0 && plan < r->n_plans && r->plan[plan].exec; }

void hs_run_note_use(hs_run *r, hs_bound *b);  // the lane is done with the slot of its inputs up to here
void hs_run_await_fed(hs_run *r, hs_bound *b); // what the lane is given from now on comes behind what was fed into it

void hs_run_drop(hs_run *r, hs_segment *s); // frees its thunks, of which the device keeps nothing; all was waited for

// A thunk of its own: of what this run asks the ranks of comm for.
static inline hs_thunk hs_run_on(const hs_run *r, hs_comm *comm, hs_kernel *fn, const char *name)
{
    return (hs_thunk){ .fn = fn,
                       .args = { .comm = comm, .step = r->blocks.bound_in, .state = r->blocks.bound_state },
                       .name = name,
                       .backward = true,
                       .sync = true,
                       .part = HS_PART_SOLO };
}

// One that begins a sum, or (m) another move, over a run of the gradient slab.
static inline hs_thunk hs_run_begin_move(const hs_run *r, hs_comm *comm, const char *name, const hs_share_run *run, const hs_move *m)
{
    static const hs_move sum = { .kind = HS_ALL_REDUCE };
    const hs_params *ps = r->model->params;
    hs_thunk t = hs_run_on(r, comm, r->device->core->begin, name);
    t.args.attr = m ? m : &sum;
    t.args.out[0] = (hs_ref){ .p = hs_slab_bound(ps->grad, ps->param[run->first]), .rows = run->n, .cols = 1, .dtype = HS_F32 };
    return t;
}

// run_ranks.c
void hs_run_count_share(hs_run *r);      // of the tokens in the step block
hs_status hs_run_make_front(hs_run *r); // front: what ranks settle before an update; empty: nothing

#endif
