// prepare: the threads. Each takes a batch from the source, one at a time and in order, encodes it, and whoever finds the next batch in
// order done adds it to the part that is growing. So nobody waits for a reader or a writer, and at most a window of batches is in memory.
#include "data/text/prepare.h"
#include "core/base/clock.h"
#include "core/base/threads.h"
#include "data/checkpoint/ckpt_io.h"
#include "data/text/prep_part.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH_BYTES = 1 << 20 };

typedef struct slot {
    hs_text_batch batch;
    hs_prep encoded;
    int64_t raw_bytes; // of the inputs up to the batch's end
    bool done;
} slot;

typedef struct run {
    const hs_prepare_opts *o;
    const hs_text_inputs *inputs;
    hs_prep_dir *dir;
    hs_text_source *source;
    hs_prepare_result *result;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // under the lock
    slot *slot; // [window]: batch k is in k % window
    int64_t window, next, written;
    bool reading, writing, ended, stop;
    int64_t error_at; // of the batch; the earliest counts, so that the message is the same at any number of threads
    hs_status error;
    char message[1024];
    // of who is writing
    hs_prep part;
    int64_t part_number;
    double start, last_shown;
} run;

// ---- under the lock

static void keep_error(run *r, int64_t batch, hs_status st)
{
    if (!r->stop || batch < r->error_at) {
        r->error_at = batch, r->error = st;
        snprintf(r->message, sizeof r->message, "%s", hs_error());
    }
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
}

// The number of a batch to read, alone; -1: there are no more.
static int64_t take(run *r)
{
    while (!r->stop && !r->ended && (r->reading || r->next == r->written + r->window))
        pthread_cond_wait(&r->changed, &r->lock);
    if (r->stop || r->ended)
        return -1;
    r->reading = true;
    return r->next++;
}

// ---- without it

static hs_status read_batch(run *r, slot *s)
{
    const int64_t want = r->o->part_bytes < BATCH_BYTES ? r->o->part_bytes : BATCH_BYTES;
    HS_TRY(hs_text_source_next(r->source, &s->batch, (size_t)want));
    s->raw_bytes = hs_text_source_raw(r->source);
    return HS_OK;
}

static void show(run *r, int64_t raw_bytes)
{
    const double now = hs_now();
    if (!r->o->progress || now - r->last_shown < 0.2)
        return;
    r->last_shown = now;
    r->o->progress(&(hs_prepare_progress){ .raw_bytes = raw_bytes, .text_bytes = r->result->encoded_bytes, .seconds = now - r->start },
                   r->o->user);
}

static hs_status add_to_part(run *r, const slot *s)
{
    const bool last = s->batch.last;
    HS_TRY(hs_prep_append(&r->part, &s->encoded, r->dir->id_bytes, r->dir->sketches));
    r->result->encoded_bytes += s->encoded.text_bytes;
    show(r, s->raw_bytes);
    if (r->part.text_bytes < r->o->part_bytes && !last)
        return HS_OK;
    if (last)
        HS_TRY(hs_text_inputs_unchanged(r->inputs));
    HS_TRY(hs_prep_part_write(r->dir, r->part_number, &r->part, &s->batch.after, s->raw_bytes, last));
    r->part_number++;
    hs_prep_clear(&r->part);
    return HS_OK;
}

// Called and left with the lock held.
static void write_in_order(run *r)
{
    if (r->writing)
        return;
    r->writing = true;
    for (slot *s; (s = &r->slot[r->written % r->window])->done && !r->stop;) {
        pthread_mutex_unlock(&r->lock);
        const hs_status st = add_to_part(r, s);
        pthread_mutex_lock(&r->lock);
        s->done = false;
        if (st != HS_OK)
            keep_error(r, r->written, st);
        r->written++;
        pthread_cond_broadcast(&r->changed);
    }
    r->writing = false;
}

static void *work(void *arg)
{
    run *r = arg;
    hs_prep_scratch scratch = { 0 };
    pthread_mutex_lock(&r->lock);
    for (int64_t k; (k = take(r)) >= 0;) {
        slot *s = &r->slot[k % r->window];
        pthread_mutex_unlock(&r->lock);
        hs_status st = read_batch(r, s);
        pthread_mutex_lock(&r->lock);
        r->reading = false;
        r->ended = r->ended || st != HS_OK || s->batch.last;
        pthread_cond_broadcast(&r->changed);
        if (st == HS_OK) {
            pthread_mutex_unlock(&r->lock);
            st = hs_prep_encode(r->o, r->inputs, &s->batch, &scratch, &s->encoded);
            pthread_mutex_lock(&r->lock);
        }
        if (st != HS_OK)
            keep_error(r, k, st);
        s->done = st == HS_OK;
        write_in_order(r);
    }
    pthread_mutex_unlock(&r->lock);
    hs_prep_scratch_free(&scratch);
    return NULL;
}

static int start_threads(run *r, pthread_t *thread, int n)
{
    int started = 0;
    while (started < n && hs_thread_start(&thread[started], work, r, "a thread that tokenizes") == HS_OK)
        started++;
    return started;
}

static hs_status run_threads(run *r)
{
    const int others = r->o->threads > 1 ? r->o->threads - 1 : 0;
    pthread_t *thread = calloc((size_t)others + 1, sizeof *thread);
    if (!thread)
        return HS_FAIL(MEMORY, "no memory for %d threads", others + 1);
    const int started = start_threads(r, thread, others); // fewer than asked for do the same
    work(r);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    free(thread);
    return HS_OK;
}

// ---- from part to part

// The place behind the last whole part.
static bool find_parts(run *r, hs_text_at *from)
{
    hs_prep_part part;
    bool last = false;
    while (!last && hs_prep_part_open(r->dir, r->part_number, &part, true)) {
        *from = part.after;
        last = part.last;
        r->part_number++;
        hs_prep_part_close(&part);
    }
    r->result->parts_found = r->part_number;
    return last;
}

static hs_status encode_all(run *r)
{
    hs_text_at from = { .line = 1 };
    if (find_parts(r, &from))
        return HS_OK;
    r->window = 2 * (r->o->threads > 1 ? r->o->threads : 1) + 2;
    r->slot = calloc((size_t)r->window, sizeof *r->slot);
    if (!r->slot)
        return HS_FAIL(MEMORY, "no memory for %lld batches", (long long)r->window);
    HS_TRY(hs_text_source_open(&r->source, r->inputs, &r->o->read, &from));
    HS_TRY(run_threads(r));
    return r->stop ? hs_fail_at(r->error, __FILE__, __LINE__, "%s", r->message) : HS_OK;
}

static void close_run(run *r)
{
    hs_text_source_close(r->source);
    for (int64_t i = 0; i < r->window && r->slot; i++) {
        hs_text_batch_free(&r->slot[i].batch);
        hs_prep_free(&r->slot[i].encoded);
    }
    free(r->slot);
    hs_prep_free(&r->part);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
}

static hs_status encode(const hs_prepare_opts *o, const hs_text_inputs *inputs, hs_prep_dir *d, hs_prepare_result *out)
{
    run r = { .o = o, .inputs = inputs, .dir = d, .result = out, .start = hs_now() };
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.changed, NULL);
    const hs_status st = encode_all(&r);
    out->parts = r.part_number;
    out->encode_seconds = hs_now() - r.start;
    close_run(&r);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- all of it

void hs_prep_output_path(const hs_prepare_opts *o, int i, char *buf, size_t size)
{
    static const char *const names[] = { "-train", "-val", "-test" };
    snprintf(buf, size, "%s%s.bin", o->output, o->n_splits ? names[i] : "");
}

// Where parts lie, a call before this one was on its way, and the stores are its own.
static hs_status check_outputs(const hs_prepare_opts *o)
{
    char path[HS_PATH];
    HS_TRY(hs_path_join(path, "%s.parts/manifest", o->output));
    if (o->overwrite || access(path, F_OK) == 0)
        return HS_OK;
    for (int i = 0; i < (o->n_splits ? o->n_splits : 1); i++) {
        hs_prep_output_path(o, i, path, sizeof path);
        if (access(path, F_OK) == 0)
            return HS_FAIL(USAGE, "%s exists; --overwrite replaces it", path);
    }
    return HS_OK;
}

hs_status hs_prepare(const hs_prepare_opts *o, const hs_text_inputs *inputs, hs_prepare_result *out)
{
    *out = (hs_prepare_result){ 0 };
    hs_prep_dir d;
    HS_TRY(check_outputs(o));
    HS_TRY(hs_text_inputs_check(inputs));
    HS_TRY(hs_prep_dir_open(&d, o, inputs));
    bool useless = false; // parts that no call could make a store of
    hs_status st = encode(o, inputs, &d, out);
    if (st == HS_OK) {
        const double start = hs_now();
        if (o->progress)
            o->progress(&(hs_prepare_progress){ .merging = true }, o->user);
        st = hs_prep_merge(o, &d, out->parts, out);
        useless = st == HS_USAGE;
        out->merge_seconds = hs_now() - start;
    }
    hs_prep_dir_close(&d, st == HS_OK || out->parts == 0 || useless); // nothing in it is nothing to go on with
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
