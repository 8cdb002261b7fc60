// mpi_transport: the transport over MPI, a library of its own (libhalfstep_mpi.so) and the only file that knows MPI. Each channel is a
// communicator. Everything after opening is a nonblocking call between two ranks, so that who waits decides how, and can stop waiting.
#include "parallel/parallel.h" // only for its types
#include "parallel/transport_impl.h"
#include <limits.h>
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_CHANNELS = 16 };
static MPI_Comm channels[MAX_CHANNELS];
static int n_open;

static void library(char *name, size_t size)
{
    char line[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int n;
    MPI_Get_library_version(line, &n);
    line[strcspn(line, ",\n")] = 0;
    snprintf(name, size, "%s", strncmp(line, "Open MPI v", 10) ? line : "");
    if (!*name)
        snprintf(name, size, "Open MPI %s", line + 10);
}

static int open_channels(int n)
{
    for (; n_open < n; n_open++) {
        const int error = MPI_Comm_dup(MPI_COMM_WORLD, &channels[n_open]);
        if (error)
            return error;
    }
    return 0;
}

// Open MPI reads messages out of the sender's memory where the kernel lets it, and complains at every message where it does not.
static void check_kernel(void)
{
    char from = 1, to = 0;
    const struct iovec here = { &to, 1 }, there = { &from, 1 };
    if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != 1)
        setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
}

static int open_world(int n, int *rank, int *size)
{
    int provided, error;
    check_kernel();
    sigset_t all, before; // threads of the library get no signals: they are the business of the thread that calls
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return error;
    if (provided < MPI_THREAD_MULTIPLE)
        return MPI_ERR_OTHER;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); // those made of it inherit it
    MPI_Comm_rank(MPI_COMM_WORLD, rank);
    MPI_Comm_size(MPI_COMM_WORLD, size);
    return n > MAX_CHANNELS ? MPI_ERR_ARG : open_channels(n);
}

static void close_world(void)
{
    while (n_open > 0)
        MPI_Comm_free(&channels[--n_open]);
    MPI_Finalize();
}

static void __attribute__((noreturn)) end(int exit_code)
{
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    _Exit(exit_code);
}

static void explain(int error, char *line, size_t size)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n;
    if (MPI_Error_string(error, text, &n))
        snprintf(text, sizeof text, "MPI error %d", error);
    snprintf(line, size, "%s", text);
}

_Static_assert(sizeof(MPI_Request) <= sizeof(((hs_wire *)0)->handle), "a request fits a wire");
static void keep(hs_wire *w, MPI_Request r) { memcpy(&w->handle, &r, sizeof r), w->busy = 1; }

static int send(int channel, int rank, int tag, const void *from, size_t bytes, hs_wire *w)
{
    MPI_Request r;
    if (bytes > INT_MAX)
        return MPI_ERR_COUNT;
    const int error = MPI_Isend(from, (int)bytes, MPI_BYTE, rank, tag, channels[channel], &r);
    if (!error)
        keep(w, r);
    return error;
}

static int receive(int channel, int rank, int tag, void *to, size_t bytes, hs_wire *w)
{
    MPI_Request r;
    if (bytes > INT_MAX)
        return MPI_ERR_COUNT;
    const int error = MPI_Irecv(to, (int)bytes, MPI_BYTE, rank == HS_ANY_RANK ? MPI_ANY_SOURCE : rank, tag, channels[channel], &r);
    if (!error)
        keep(w, r);
    return error;
}

static int test(hs_wire *w, int *through, int *rank, size_t *bytes)
{
    *through = 1;
    if (!w->busy)
        return 0;
    MPI_Request r;
    MPI_Status status;
    memcpy(&r, &w->handle, sizeof r);
    const int error = MPI_Test(&r, through, &status);
    if (error)
        return error;
    memcpy(&w->handle, &r, sizeof r);
    if (!*through)
        return 0;
    w->busy = 0;
    int n = 0;
    if (rank)
        *rank = status.MPI_SOURCE;
    if (bytes)
        MPI_Get_count(&status, MPI_BYTE, &n), *bytes = (size_t)n;
    return 0;
}

static int raw(int kind, const void *in, void *out, int64_t n)
{
    if (n > INT_MAX)
        return MPI_ERR_COUNT;
    const void *from = in == out ? MPI_IN_PLACE : in;
    if (kind == HS_RAW_ALL_REDUCE)
        return MPI_Allreduce(from, out, (int)n, MPI_FLOAT, MPI_SUM, channels[0]);
    if (kind == HS_RAW_REDUCE_SCATTER)
        return MPI_Reduce_scatter_block(from, out, (int)n, MPI_FLOAT, MPI_SUM, channels[0]);
    return MPI_Allgather(from, (int)n, MPI_FLOAT, out, (int)n, MPI_FLOAT, channels[0]);
}

extern const hs_transport hs_transport_table;
const hs_transport hs_transport_table = {
    .version = HS_TRANSPORT_VERSION,
    .library = library,
    .open = open_world,
    .close = close_world,
    .end = end,
    .explain = explain,
    .send = send,
    .receive = receive,
    .test = test,
    .raw = raw,
};
