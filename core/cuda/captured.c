// captured: segments as graphs. What may not be captured stands between two of them.
#include "core/base/log.h"
#include "core/cuda/captured_impl.h"
#include <pthread.h>
#include <stdlib.h>

enum { COMMS = 2 };       // that calls of a segment are over: dp and tp
typedef struct piece {    // thunks behind each other that are captured, or are not
    cudaGraphExec_t exec; // NULL: they are not
    struct {
        hs_comm *comm;
        int64_t from, to; // of the calls that were captured over it
    } calls[COMMS];
    int n_comms;
} piece;

typedef struct graph { // a segment that was submitted before, and its capture
    const hs_thunk *thunk;
    int n;
    bool warm;    // it ran once
    piece *piece; // [n_pieces]
    int n_pieces;
} graph;

struct hs_captured {
    pthread_mutex_t lock;
    graph *graph;
    int n_graphs, graph_room;
};

// Between ranks the host has a part in it, unless the backend says that its calls may be captured.
static bool is_captured(const hs_thunk *t)
{
    const hs_comm *c = t->args.comm;
    return t->part != HS_PART_HOST && (!c || c->size == 1 || c->captures);
}

static int piece_end(const hs_segment *s, int i)
{
    const bool captured = is_captured(&s->thunk[i]);
    while (i < s->n && is_captured(&s->thunk[i]) == captured)
        i++;
    return i;
}

static bool moves(const hs_comm *c) { return c && (c->size > 1 || c->captures); }

// A graph neither waits for what was started before it nor leaves anything on its way: what is captured once is replayed behind
// whatever came before.
static void finish_started(hs_lane *lane, const hs_thunk *t, int n)
{
    for (int i = 0; i < n; i++)
        if (moves(t[i].args.comm))
            hs_comm_finish(t[i].args.comm, lane);
}

static hs_status find_comms(piece *p, const hs_thunk *t, int n)
{
    for (int i = 0; i < n; i++) {
        hs_comm *c = t[i].args.comm;
        int k = 0;
        while (k < p->n_comms && p->calls[k].comm != c)
            k++;
        if (!moves(c) || k < p->n_comms)
            continue;
        if (k == COMMS)
            return HS_FAIL(INTERNAL, "device cuda: calls over more than %d comms in a segment", COMMS);
        p->calls[k].comm = c, p->calls[k].from = c->captured(c);
        p->n_comms++;
    }
    return HS_OK;
}

// Of this thread alone: loaders and writers may call CUDA meanwhile, but not wait for these streams.
static hs_status capture_stream(hs_lane *lane, const hs_thunk *t, int n, cudaGraph_t *g)
{
    CUDA_TRY(cudaStreamBeginCapture(lane->stream, cudaStreamCaptureModeThreadLocal), 0);
    const hs_status st = hs_gpu_submit(lane, t, n);
    finish_started(lane, t, n);
    const cudaError_t e = cudaStreamEndCapture(lane->stream, g);
    if (st != HS_OK || e != cudaSuccess) {
        if (*g)
            cudaGraphDestroy(*g);
        return st != HS_OK ? st : hs_gpu_told(e, "cudaStreamEndCapture", 0);
    }
    return HS_OK;
}

static hs_status capture(hs_lane *lane, const hs_thunk *t, int n, piece *p)
{
    cudaGraph_t g = NULL;
    HS_TRY(find_comms(p, t, n));
    finish_started(lane, t, n);
    pthread_mutex_lock(&lane->gpu->streams);
    const hs_status st = capture_stream(lane, t, n, &g);
    pthread_mutex_unlock(&lane->gpu->streams);
    if (st != HS_OK)
        return hs_frame_at(st, __FILE__, __LINE__);
    for (int k = 0; k < p->n_comms; k++)
        p->calls[k].to = p->calls[k].comm->captured(p->calls[k].comm);
    const cudaError_t made = cudaGraphInstantiate(&p->exec, g, 0);
    cudaGraphDestroy(g);
    return made == cudaSuccess ? HS_OK : hs_gpu_told(made, "cudaGraphInstantiate", 0);
}

static hs_status replay(hs_lane *lane, const piece *p)
{
    CUDA_TRY(cudaGraphLaunch(p->exec, lane->stream), 0);
    for (int k = 0; k < p->n_comms; k++)
        if (p->calls[k].to > p->calls[k].from)
            p->calls[k].comm->replayed(p->calls[k].comm, lane, p->calls[k].from, p->calls[k].to);
    return HS_OK;
}

static void drop(graph *g)
{
    for (int i = 0; i < g->n_pieces; i++)
        if (g->piece[i].exec)
            cudaGraphExecDestroy(g->piece[i].exec);
    free(g->piece);
    *g = (graph){ 0 };
}

static hs_status capture_all(hs_lane *lane, const hs_segment *s, graph *g)
{
    const hs_thunk *first = &s->thunk[0];
    hs_debug("device cuda: captured from %s on, %d kernels of ops", first->node ? first->node->scope : first->name, s->n);
    g->piece = calloc((size_t)s->n, sizeof *g->piece);
    if (!g->piece)
        return HS_FAIL(MEMORY, "no memory for %d graphs", s->n);
    for (int i = 0, end; i < s->n; i = end) {
        end = piece_end(s, i);
        piece *p = &g->piece[g->n_pieces++];
        if (is_captured(&s->thunk[i]))
            HS_TRY(capture(lane, &s->thunk[i], end - i, p));
    }
    return HS_OK;
}

// The entry of this segment; NULL: no memory for one.
static graph *entry_of(hs_captured *g, const hs_segment *s)
{
    for (int i = 0; i < g->n_graphs; i++)
        if (g->graph[i].thunk == s->thunk && g->graph[i].n == s->n)
            return &g->graph[i];
    if (g->n_graphs == g->graph_room) {
        const int room = g->graph_room ? 2 * g->graph_room : 16;
        graph *more = realloc(g->graph, (size_t)room * sizeof *more);
        if (!more)
            return NULL;
        g->graph = more, g->graph_room = room;
    }
    g->graph[g->n_graphs] = (graph){ .thunk = s->thunk, .n = s->n };
    return &g->graph[g->n_graphs++];
}

hs_status hs_captured_submit(hs_captured *g, hs_lane *lane, const hs_segment *s)
{
    pthread_mutex_lock(&g->lock);
    graph *e = entry_of(g, s);
    graph now = e ? *e : (graph){ .thunk = NULL };
    if (e)
        e->warm = true;
    pthread_mutex_unlock(&g->lock);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for a captured graph");
    if (!now.warm) {
        const hs_status st = hs_gpu_submit(lane, s->thunk, s->n);
        finish_started(lane, s->thunk, s->n);
        return st;
    }
    if (!now.piece) {
        const hs_status st = capture_all(lane, s, &now);
        if (st != HS_OK) {
            drop(&now);
            return hs_frame_at(st, __FILE__, __LINE__);
        }
        pthread_mutex_lock(&g->lock);
        *entry_of(g, s) = now;
        pthread_mutex_unlock(&g->lock);
    }
    for (int i = 0, k = 0, end; i < s->n; i = end, k++) {
        end = piece_end(s, i);
        HS_TRY(now.piece[k].exec ? replay(lane, &now.piece[k]) : hs_gpu_submit(lane, &s->thunk[i], end - i));
    }
    return HS_OK;
}

void hs_captured_forget(hs_captured *g, const hs_thunk *first)
{
    pthread_mutex_lock(&g->lock);
    for (int i = 0; i < g->n_graphs;)
        if (g->graph[i].thunk == first) {
            drop(&g->graph[i]);
            g->graph[i] = g->graph[--g->n_graphs];
        } else
            i++;
    pthread_mutex_unlock(&g->lock);
}

hs_status hs_captured_new(hs_captured **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return HS_FAIL(MEMORY, "no memory for captured graphs");
    pthread_mutex_init(&(*out)->lock, NULL);
    return HS_OK;
}

void hs_captured_free(hs_captured *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->n_graphs; i++)
        drop(&g->graph[i]);
    pthread_mutex_destroy(&g->lock);
    free(g->graph);
    free(g);
}
