// run_io: what goes into a run's inputs and out of its outputs, behind what still reads or writes them.
#include "core/run/feed.h"
#include "core/run/run_impl.h"
#include <string.h>

hs_exec *hs_run_exec(hs_run *r, int plan) { return hs_run_is_bound(r, plan) ? r->plan[plan].exec : NULL; }

int hs_run_n_inputs(const hs_run *r, int plan) { return hs_run_is_bound(r, plan) ? hs_plan_graph(hs_run_plan(r, plan))->n_inputs : 0; }

void *hs_run_input_at(hs_run *r, int plan, int i, const hs_tensor **tensor)
{
    if (i < 0 || i >= hs_run_n_inputs(r, plan))
        return NULL;
    const hs_tensor *t = hs_plan_graph(hs_run_plan(r, plan))->input[i];
    if (tensor)
        *tensor = t;
    return hs_exec_input(r->plan[plan].exec, t->name);
}

void *hs_run_input(hs_run *r, int plan, const char *name)
{
    return hs_run_is_bound(r, plan) ? hs_exec_input(r->plan[plan].exec, name) : NULL;
}

void hs_run_note_use(hs_run *r, hs_bound *b)
{
    const int slot = hs_exec_slot(b->exec);
    r->device->record(r->device, b->used[slot], r->lane);
    b->is_used[slot] = true;
}

void hs_run_await_fed(hs_run *r, hs_bound *b)
{
    const int slot = hs_exec_slot(b->exec);
    if (b->is_fed[slot])
        r->device->await(r->device, r->lane, b->fed[slot]);
    b->is_fed[slot] = false;
}

// What the host writes into the slot comes behind what still reads it.
static void claim(hs_run *r, hs_bound *b)
{
    const int slot = hs_exec_slot(b->exec);
    if (b->is_used[slot])
        r->device->await(r->device, r->feed, b->used[slot]);
}

// Whoever fills the batch again comes behind this, and behind what other runs were fed with it before.
static void note_read(hs_run *r, const hs_batch *batch)
{
    r->device->await(r->device, r->feed, batch->read);
    r->device->record(r->device, batch->read, r->feed);
}

hs_status hs_run_feed(hs_run *r, int plan, const hs_batch *batch)
{
    if (!hs_run_is_bound(r, plan))
        return HS_FAIL(INTERNAL, "plan %d is not bound", plan);
    hs_bound *b = &r->plan[plan];
    if (b->was_read)
        hs_exec_turn(b->exec);
    b->was_read = false;
    claim(r, b);
    const hs_status st = hs_exec_feed(b->exec, batch, r->feed, &r->blocks.in);
    const int slot = hs_exec_slot(b->exec);
    r->device->record(r->device, b->fed[slot], r->feed);
    b->is_fed[slot] = true;
    if (batch->memory.of == r->device)
        note_read(r, batch);
    else
        HS_TRY(r->device->wait(r->device, r->feed)); // the batch is its owner's again
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_run_write(hs_run *r, int plan, const char *input, const void *src, size_t bytes)
{
    const hs_tensor *t = hs_run_is_bound(r, plan) ? hs_exec_input_tensor(r->plan[plan].exec, input) : NULL;
    if (!t || bytes > hs_tensor_bytes(t))
        return t ? HS_FAIL(INTERNAL, "input %s has room for %zu bytes, is given %zu", input, hs_tensor_bytes(t), bytes)
                 : HS_FAIL(INTERNAL, "plan %d has no input %s", plan, input);
    claim(r, &r->plan[plan]);
    r->device->copy_async(r->device, r->feed, hs_run_input(r, plan, input), src, bytes);
    return r->device->wait(r->device, r->feed);
}

hs_status hs_run_read(hs_run *r, int plan, int output, int64_t row, int64_t n, float *dst)
{
    hs_ref ref;
    const char *p = hs_run_output(r, plan, output, &ref);
    if (!p || row < 0 || n < 0 || row + n > ref.rows || !hs_dtype_is_float(ref.dtype) || ref.dtype == HS_F64)
        return HS_FAIL(INTERNAL, "plan %d has no rows %lld to %lld of an output %d of floats", plan, (long long)row, (long long)(row + n),
                       output);
    HS_TRY(hs_run_wait(r));
    const size_t element = hs_dtype_bytes(ref.dtype), count = (size_t)(n * ref.cols);
    char *end = (char *)(dst + count); // narrow elements arrive at the end of the room, and widen from the front
    r->device->copy(r->device, end - count * element, p + (size_t)(row * ref.cols) * element, count * element);
    float wide[256];
    for (size_t at = 0; ref.dtype != HS_F32 && at < count; at += HS_COUNT(wide)) {
        const size_t k = count - at < HS_COUNT(wide) ? count - at : HS_COUNT(wide);
        hs_convert(wide, HS_F32, end - (count - at) * element, ref.dtype, (int64_t)k);
        memcpy(dst + at, wide, k * sizeof *wide);
    }
    return HS_OK;
}

hs_status hs_run_read_i32(hs_run *r, int plan, int output, int64_t row, int64_t n, int32_t *dst)
{
    hs_ref ref;
    const char *p = hs_run_output(r, plan, output, &ref);
    if (!p || row < 0 || n < 0 || row + n > ref.rows || ref.dtype != HS_I32)
        return HS_FAIL(INTERNAL, "plan %d has no rows %lld to %lld of an output %d of i32", plan, (long long)row, (long long)(row + n),
                       output);
    HS_TRY(hs_run_wait(r));
    r->device->copy(r->device, dst, p + (size_t)(row * ref.cols) * sizeof *dst, (size_t)(n * ref.cols) * sizeof *dst);
    return HS_OK;
}

void *hs_run_output(hs_run *r, int plan, int index, hs_ref *ref)
{
    return hs_run_is_bound(r, plan) ? hs_exec_output(r->plan[plan].exec, index, ref) : NULL;
}

hs_status hs_run_pass(hs_run *to, int plan, const char *input, hs_run *from, int from_plan, int output)
{
    hs_ref ref;
    const hs_tensor *t = hs_run_is_bound(to, plan) ? hs_exec_input_tensor(to->plan[plan].exec, input) : NULL;
    const char *src = hs_run_output(from, from_plan, output, &ref);
    char a[64], b[64];
    if (!t || !src)
        return HS_FAIL(USAGE, "plan %d has no input %s, or plan %d no output %d", plan, input, from_plan, output);
    if (t->dtype != ref.dtype || t->dim[0] != ref.rows || hs_tensor_cols(t) != ref.cols)
        return HS_FAIL(USAGE, "input %s is %s %s, what is passed to it %s %s", input, hs_dtype_name(t->dtype),
                       hs_tensor_shape(t, a, sizeof a), hs_dtype_name(ref.dtype), hs_tensor_shape(ref.t, b, sizeof b));
    const int64_t rows = hs_ext_rows(ref.ext, from->blocks.sent.n, ref.rows);
    const size_t bytes = (size_t)(rows * ref.cols) * hs_dtype_bytes(ref.dtype);
    char *dst = hs_run_input(to, plan, input);
    if (dst < src + bytes && src < dst + bytes)
        return HS_FAIL(USAGE, "input %s lies where output %d of plan %d does: give that plan a run of its own", input, output, from_plan);
    if (to->device == from->device) {
        from->device->record(from->device, from->done, from->lane);
        to->device->await(to->device, to->lane, from->done);
        to->device->copy_async(to->device, to->lane, dst, src, bytes);
        to->device->record(to->device, to->done, to->lane); // from's next submission writes over what is copied
        from->device->await(from->device, from->lane, to->done);
        hs_run_note_use(to, &to->plan[plan]);
        return HS_OK;
    }
    HS_TRY(from->device->wait(from->device, from->lane));
    to->device->copy(to->device, dst, src, bytes);
    return HS_OK;
}

// ---- states

static hs_status check_state(const hs_run *r, int id)
{
    return id >= 0 && id < r->n_states ? HS_OK : HS_FAIL(INTERNAL, "a run of %d states has no state %d", r->n_states, id);
}

hs_status hs_run_states_read(hs_run *r, int id, void *to)
{
    HS_TRY(check_state(r, id));
    HS_TRY(hs_run_wait(r));
    r->device->copy(r->device, to, r->states[id], r->model->states->state[id]->bytes);
    return HS_OK;
}

hs_status hs_run_states_write(hs_run *r, int id, const void *from)
{
    HS_TRY(check_state(r, id));
    HS_TRY(hs_run_wait(r));
    r->device->copy(r->device, r->states[id], from, r->model->states->state[id]->bytes);
    return HS_OK;
}
