// example_blocks: a ring of few blocks between two threads. With a context of neighbour sentences a block begins and ends with copies of
// sentences that are the next ones' and the last ones'.
#include "infer/heads/example_blocks.h"
#include "core/base/threads.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 3, EXAMPLES = 256, BYTES = 1 << 15 };

typedef struct waiting { // an example that was read
    hs_example example;
    hs_slice raw;
    int64_t raw_line;
    const hs_slice *gold;
    int n_gold;
} waiting;

// Examples in a row. Those before `next` have their rows and are there for their neighbours' context.
typedef struct window {
    waiting *at;
    int64_t n, room, next;
} window;

struct hs_example_blocks {
    hs_example_blocks_opts o;
    hs_label_reader *reader;
    hs_row_maker *maker;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    hs_block *ring[RING]; // between the threads, under the lock
    int first, n;
    bool ended, stop;
    hs_status status;
    char error[1024];
    // the thread's own
    int64_t documents;
    bool read_all;
};

static hs_status no_memory(void) { return HS_FAIL(MEMORY, "no memory for a block of examples"); }

void hs_block_free(hs_block *block)
{
    if (!block)
        return;
    hs_arena_free(&block->arena);
    free(block->item);
    free(block);
}

// ---- an example

static bool copy_slices(hs_arena *a, const hs_slice *from, int n, const hs_slice **to)
{
    hs_slice *s = hs_arena_take(a, (size_t)n * sizeof *s);
    for (int i = 0; s && i < n; i++) {
        s[i] = (hs_slice){ hs_arena_text(a, from[i].p, from[i].bytes), from[i].bytes };
        if (!s[i].p)
            return false;
    }
    *to = s;
    return s != NULL;
}

static bool copy_words(hs_arena *a, const hs_span *word, const int32_t *line, int n, hs_example *x)
{
    x->n = n;
    x->word = hs_arena_copy(a, word, (size_t)n, sizeof *word);
    x->word_line = hs_arena_copy(a, line, (size_t)n, sizeof *line);
    return x->word && x->word_line;
}

static hs_status take_entry(hs_example_blocks *b, hs_arena *a, const hs_label_entry *e, waiting *w)
{
    *w = (waiting){ .raw = { hs_arena_text(a, e->raw.p, e->raw.bytes), e->raw.bytes }, .raw_line = e->raw_line };
    hs_example *x = &w->example;
    b->documents += e->document;
    *x = (hs_example){ .line = e->line, .document = b->documents, .label = -1 };
    bool fine = w->raw.p != NULL;
    for (int i = 0; i < 2; i++)
        if (e->text[i].p) {
            x->bytes[i] = e->text[i].bytes;
            fine &= (x->text[i] = hs_arena_text(a, e->text[i].p, e->text[i].bytes)) != NULL;
        }
    if (e->id.p)
        fine &= (x->id = hs_arena_text(a, e->id.p, e->id.bytes)) != NULL;
    if (b->o.examples->about == HS_ABOUT_TOKENS)
        fine &= copy_words(a, e->word, e->word_line, e->n_words, x);
    if (e->labelled)
        fine &= copy_slices(a, e->label, e->n_labels, &w->gold);
    w->n_gold = w->gold ? e->n_labels : 0;
    return fine ? HS_OK : no_memory();
}

// Of one that another block has, what its neighbours look at.
static hs_status copy_neighbour(hs_arena *a, const waiting *from, waiting *to)
{
    *to = *from;
    hs_example *x = &to->example;
    x->text[0] = hs_arena_text(a, x->text[0], x->bytes[0]);
    to->raw = (hs_slice){ 0 };
    x->word = NULL, x->word_line = NULL, x->id = NULL;
    return x->text[0] ? HS_OK : no_memory();
}

static hs_status copy_whole(hs_arena *a, const waiting *from, waiting *to)
{
    const hs_example *own = &from->example;
    HS_TRY(copy_neighbour(a, from, to));
    hs_example *x = &to->example;
    to->raw = (hs_slice){ hs_arena_text(a, from->raw.p, from->raw.bytes), from->raw.bytes };
    bool fine = to->raw.p && copy_words(a, own->word, own->word_line, own->n, x);
    if (own->id)
        fine &= (x->id = hs_arena_text(a, own->id, strlen(own->id))) != NULL;
    if (from->gold)
        fine &= copy_slices(a, from->gold, from->n_gold, &to->gold);
    return fine ? HS_OK : no_memory();
}

static hs_status push(window *w, waiting **out)
{
    if (w->n == w->room) {
        const int64_t room = w->room ? 2 * w->room : 2 * EXAMPLES;
        waiting *at = realloc(w->at, (size_t)room * sizeof *at);
        if (!at)
            return no_memory();
        w->at = at, w->room = room;
    }
    *out = &w->at[w->n++];
    return HS_OK;
}

// ---- a block

// Reads until the window holds a block's examples, and `context` more behind them.
static hs_status read_window(hs_example_blocks *b, hs_arena *a, window *w)
{
    const hs_label_entry *e;
    waiting *to = NULL;
    size_t bytes = 0;
    for (int64_t behind = 0; !b->read_all;) {
        const bool full = w->n - w->next - behind >= EXAMPLES || bytes >= BYTES;
        if (full && behind == b->o.rows.context)
            break;
        HS_TRY(hs_label_reader_next(b->reader, &e));
        b->read_all = !e;
        if (!e)
            break;
        behind += full;
        bytes += e->text[0].bytes + e->text[1].bytes;
        HS_TRY(push(w, &to));
        w->n--; // of one that fails nothing is there
        HS_TRY(take_entry(b, a, e, to));
        w->n++;
    }
    return HS_OK;
}

static hs_status place_of(const hs_example_blocks *b, const hs_example *x)
{
    char what[512];
    snprintf(what, sizeof what, "%s", hs_error());
    return HS_FAIL(USAGE, "%s:%lld: %s", hs_label_reader_name(b->reader), (long long)x->line, what);
}

// Rows of the window's examples [next, end).
static hs_status make_block(hs_example_blocks *b, hs_block *block, window *w, int64_t end)
{
    hs_example *all = hs_arena_take(&block->arena, (size_t)w->n * sizeof *all);
    block->item = calloc((size_t)(end - w->next) + 1, sizeof *block->item);
    if (!all || !block->item)
        return no_memory();
    for (int64_t i = 0; i < w->n; i++)
        all[i] = w->at[i].example;
    for (int64_t i = w->next; i < end; i++) {
        const hs_example_row *row;
        int64_t n;
        hs_block_item *item = &block->item[block->n];
        *item = (hs_block_item){
            .example = &all[i], .raw = w->at[i].raw, .raw_line = w->at[i].raw_line, .gold = w->at[i].gold, .n_gold = w->at[i].n_gold
        };
        const hs_status st = hs_row_maker_rows(b->maker, all, w->n, i, &row, &n);
        HS_TRY(st == HS_USAGE ? place_of(b, &all[i]) : st);
        HS_TRY(hs_example_rows_keep(&block->arena, row, n, &item->row));
        item->n_rows = n;
        block->n++;
    }
    return HS_OK;
}

// What the next block needs of this one's window: neighbours in front, and what was read and has no rows yet.
static hs_status carry(hs_example_blocks *b, const window *w, int64_t end, hs_block *next, window *out)
{
    const int64_t context = b->o.rows.context, first = end - context > 0 ? end - context : 0;
    out->n = out->next = 0;
    for (int64_t i = first; i < w->n; i++) {
        waiting *to = NULL;
        HS_TRY(push(out, &to));
        HS_TRY(i < end ? copy_neighbour(&next->arena, &w->at[i], to) : copy_whole(&next->arena, &w->at[i], to));
    }
    out->next = end - first;
    return HS_OK;
}

// ---- the thread

// False: nobody wants more.
static bool hand_over(hs_example_blocks *b, hs_block *block)
{
    pthread_mutex_lock(&b->lock);
    while (b->n == RING && !b->stop)
        pthread_cond_wait(&b->changed, &b->lock);
    const bool wanted = !b->stop;
    if (wanted)
        b->ring[(b->first + b->n++) % RING] = block;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (!wanted)
        hs_block_free(block);
    return wanted;
}

static hs_status run_blocks(hs_example_blocks *b, window w[2], hs_block **now)
{
    int k = 0;
    hs_block *next = NULL;
    hs_status st = HS_OK;
    while (st == HS_OK) {
        if (!*now && !(*now = calloc(1, sizeof **now)))
            return no_memory();
        st = read_window(b, &(*now)->arena, &w[k]);
        // what was read before an error is done before it is told
        const int64_t left = w[k].n - w[k].next, context = b->o.rows.context, ready = b->read_all || st != HS_OK ? left : left - context;
        const int64_t end = w[k].next + (ready > 0 ? ready : 0);
        if (left == 0)
            return st;
        char error[1024] = "";
        if (st != HS_OK)
            snprintf(error, sizeof error, "%s", hs_error());
        const hs_status made = make_block(b, *now, &w[k], end);
        HS_TRY(made);
        if (!(next = calloc(1, sizeof *next)))
            return no_memory();
        const hs_status carried = carry(b, &w[k], end, next, &w[1 - k]);
        hs_block *done = *now;
        *now = next, k = 1 - k;
        if (!hand_over(b, done))
            return HS_OK;
        HS_TRY(carried);
        if (error[0])
            return hs_fail_at(st, __FILE__, __LINE__, "%s", error);
    }
    return st;
}

static void *work(void *arg)
{
    hs_example_blocks *b = arg;
    window w[2] = { { 0 }, { 0 } };
    hs_block *now = NULL;
    const hs_status st = run_blocks(b, w, &now);
    hs_block_free(now);
    free(w[0].at);
    free(w[1].at);
    pthread_mutex_lock(&b->lock);
    b->ended = true, b->status = st;
    snprintf(b->error, sizeof b->error, "%s", st == HS_OK ? "" : hs_error());
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

hs_status hs_example_blocks_open(hs_example_blocks **out, const hs_example_blocks_opts *o)
{
    *out = NULL;
    hs_example_blocks *b = calloc(1, sizeof *b);
    if (!b)
        return no_memory();
    b->o = *o;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    hs_status st = hs_label_reader_open(&b->reader, o->path, o->examples);
    if (st == HS_OK)
        st = hs_row_maker_new(&b->maker, o->examples->about, &o->rows);
    if (st == HS_OK)
        st = hs_thread_start(&b->thread, work, b, "the thread that reads and tokenizes");
    b->running = st == HS_OK;
    if (st != HS_OK) {
        hs_example_blocks_close(b);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = b;
    return HS_OK;
}

void hs_example_blocks_close(hs_example_blocks *b)
{
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (b->running)
        pthread_join(b->thread, NULL);
    for (int i = 0; i < b->n; i++)
        hs_block_free(b->ring[(b->first + i) % RING]);
    hs_row_maker_free(b->maker);
    hs_label_reader_close(b->reader);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
    free(b);
}

const hs_label_reader *hs_example_blocks_reader(const hs_example_blocks *b) { return b->reader; }

hs_status hs_example_blocks_next(hs_example_blocks *b, hs_block **block)
{
    *block = NULL;
    pthread_mutex_lock(&b->lock);
    while (b->n == 0 && !b->ended)
        pthread_cond_wait(&b->changed, &b->lock);
    if (b->n > 0) {
        *block = b->ring[b->first];
        b->first = (b->first + 1) % RING, b->n--;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    if (*block || b->status == HS_OK)
        return HS_OK;
    return hs_fail_at(b->status, __FILE__, __LINE__, "%s", b->error);
}
