// nccl_alone: NCCL between one GPU and itself, which is all that a machine with one can do: the library is found, a communicator comes up
// without blocking, calls go through streams, side streams and captured graphs in their order, are heard of, and it parts in peace.
//   nccl_alone [DEVICE]     cuda-emu (a double of NCCL) where none is named
#include "ops/ops.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 1 << 20, STEPS = 6, CALLS = 3 };

static void sum_kernel(const hs_args *a, hs_lane *lane)
{
    a->comm->all_reduce(a->comm, lane, a->out[0].p, a->out[0].rows, HS_F32, HS_REDUCE_SUM);
}

// Two sums beside each other and one behind them.
static hs_status submit(hs_device *d, hs_comm *c, char *there, hs_submit_mode mode)
{
    static const hs_move move = { .kind = HS_ALL_REDUCE };
    const hs_ref x = { .p = there, .rows = N / 2, .cols = 1, .dtype = HS_F32 };
    hs_ref y = x;
    y.p += N / 2 * sizeof(float);
    hs_thunk t[] = {
        { .fn = d->core->begin, .name = "begin x", .args = { .out[0] = x, .attr = &move, .comm = c } },
        { .fn = sum_kernel, .name = "y", .args = { .out[0] = y, .comm = c } },
        { .fn = d->core->finish, .name = "finish", .args = { .comm = c } },
        { .fn = sum_kernel, .name = "x", .args = { .out[0] = x, .comm = c } },
    };
    for (int i = 0; i < STEPS; i++)
        HS_TRY(d->submit(d, NULL, &(hs_segment){ t, HS_COUNT(t) }, mode));
    HS_TRY(d->wait(d, NULL));
    d->forget(d, t);
    return c->poll(c);
}

static hs_status is_over(hs_comm *c, int64_t number)
{
    hs_comm_call told = { 0 };
    for (int i = 0; i < 5000 && !(c->calls(c, &told, 1) == 1 && told.ended); i++)
        usleep(1000);
    if (told.number != number || !told.ended)
        return HS_FAIL(INTERNAL, "call %lld is told, %s; %lld were made", (long long)told.number, told.ended ? "over" : "on its way",
                       (long long)number);
    return HS_OK;
}

static hs_status run(const char *device)
{
    hs_device *d;
    hs_comm *c;
    void *there;
    float *x = malloc(2 * N * sizeof *x), *y = x + N;
    HS_TRY(hs_open_device(&d, device, 1, NULL, 0, HS_ONEDNN_NO));
    if (!d->comm_open)
        return HS_FAIL(UNSUPPORTED, "device %s was built without NCCL", device);
    HS_TRY(d->comm_open(&c, d, &hs_comm_self_dp, 60));
    HS_TRY(d->alloc(d, N * sizeof *x, &there));
    for (int i = 0; i < N; i++)
        x[i] = (float)(i % 1013);
    d->copy(d, there, x, N * sizeof *x);
    HS_TRY(submit(d, c, there, HS_SUBMIT_BULK));
    HS_TRY(is_over(c, STEPS * CALLS));
    HS_TRY(submit(d, c, there, HS_SUBMIT_GRAPH));
    HS_TRY(is_over(c, 2 * STEPS * CALLS));
    d->copy(d, y, there, N * sizeof *x);
    if (memcmp(x, y, N * sizeof *x))
        return HS_FAIL(INTERNAL, "sums over one rank are not what they were");
    hs_comm_close(c);
    d->release(d, there, N * sizeof *x);
    hs_device_close(d);
    free(x);
    return HS_OK;
}

int main(int argc, char **argv)
{
    const hs_status st = run(argc > 1 ? argv[1] : "cuda-emu");
    if (st != HS_OK)
        fprintf(stderr, "nccl_alone: %s\n", hs_error());
    else
        printf("NCCL alone: %d calls\n", 2 * STEPS * CALLS);
    return hs_status_exit(st);
}
