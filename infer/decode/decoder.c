// decoder: slots, their pages, and the batch that each step makes of them.
#include "infer/decode/decoder.h"
#include "infer/decode/page_pool.h"
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot { // one sequence
    bool used;
    hs_stop stop;        // HS_STOP_NONE: under way
    hs_sequence s;       // ids: its row of hs_decoder.ids
    int32_t *ids, *page; // [context] | [pages of a context]
    int64_t n, goal;     // tokens known | at which it ends
    hs_stop at_goal;     // and why
    int64_t cached;      // tokens whose keys and values are in the cache
    int64_t n_pages;
    int64_t n_known;     // pages at its beginning that others may hold, too
    hs_page_place place; // behind them
    bool alone;          // its pages are nobody else's
    int64_t reused;      // tokens that others had computed
    int64_t fed, pick;   // of the step being built: tokens, and its row among the logits (-1: none)
    bool waits;          // and whether it found no page
} slot;

typedef struct batch { // what a step writes into the static inputs of the plan
    int32_t *ids, *starts, *where, *keys, *rows, *picks, *pages;
    int64_t max_tokens, max_seqs, n_tokens, n_seqs, n_picks;
} batch;

// Name, where a batch has it, and how many numbers of it are live: per token, sequence and pick, and one more.
static const struct input {
    const char *name;
    size_t at; // offset of int32_t *
    int tokens, seqs, picks, more;
} inputs[] = {
    { "ids", offsetof(batch, ids), 1, 0, 0, 0 },     { "starts", offsetof(batch, starts), 0, 1, 0, 1 },
    { "where", offsetof(batch, where), 2, 0, 0, 0 }, { "keys", offsetof(batch, keys), 0, 3, 0, 0 },
    { "rows", offsetof(batch, rows), 1, 0, 0, 0 },   { "picks", offsetof(batch, picks), 0, 0, 1, 0 },
    { "pages", offsetof(batch, pages), 0, 0, 0, 0 }, // its width times sequences
};
static int32_t **numbers(batch *b, int i) { return (int32_t **)((char *)b + inputs[i].at); }

struct hs_decoder {
    hs_decoder_opts o;
    slot *slot;           // [max_slots]
    int32_t *ids, *table; // of all slots
    int64_t table_cols;
    hs_page_pool *pool;
    int64_t n_pages;
    uint64_t version; // of the values that known pages were made by
    int first;        // slot that the next step begins with: the first that found no room in the last
    batch b;
    float *logits;  // [columns of the output]
    float *raw;     // [vocab] the same before they were changed
    int32_t *order; // [vocab]
    int32_t *times; // [vocab] that a token was drawn; all 0 between calls
    hs_decoded *out;
    hs_logprob *top; // [max_slots][HS_TOP_LOGPROBS]
};

const char *hs_stop_text(hs_stop stop)
{
    static const char *const text[] = { "it goes on",     "as many tokens as asked for", "the context of the model is full",
                                        "the stop token", "stopped by the caller",       "the model's logits are not numbers" };
    return text[stop];
}

// ---- birth

static hs_status find_inputs(hs_decoder *d)
{
    const hs_decoder_opts *o = &d->o;
    batch *b = &d->b;
    const hs_exec *exec = hs_run_exec(o->run, o->plan);
    hs_ref logits;
    for (int i = 0; i < HS_COUNT(inputs); i++) {
        const hs_tensor *t = exec ? hs_exec_input_tensor(exec, inputs[i].name) : NULL;
        if (!t)
            return HS_FAIL(INTERNAL, "the decode plan has no input %s", inputs[i].name);
        if (!(*numbers(b, i) = calloc(1, hs_tensor_bytes(t))))
            return HS_FAIL(MEMORY, "no memory for %s of a step", inputs[i].name);
    }
    if (!hs_run_output(o->run, o->plan, 0, &logits) || logits.cols < o->vocab)
        return HS_FAIL(INTERNAL, "the decode plan does not keep logits of %lld columns", (long long)o->vocab);
    d->logits = malloc((size_t)logits.cols * sizeof *d->logits);
    if (!d->logits)
        return HS_FAIL(MEMORY, "no memory for %lld logits", (long long)logits.cols);
    b->max_tokens = hs_exec_input_tensor(exec, "ids")->dim[0];
    b->max_seqs = hs_exec_input_tensor(exec, "keys")->dim[0];
    const int64_t cols = hs_exec_input_tensor(exec, "pages")->dim[1];
    if (cols != d->table_cols) // rows of the table are copied
        return HS_FAIL(INTERNAL, "the decode plan has tables of %lld pages, a context of %lld tokens in pages of %lld is %lld",
                       (long long)cols, (long long)o->context, (long long)o->page_rows, (long long)d->table_cols);
    return HS_OK;
}

static hs_status build(hs_decoder *d)
{
    const hs_decoder_opts *o = &d->o;
    const size_t slots = (size_t)o->max_slots;
    d->slot = calloc(slots, sizeof *d->slot);
    d->ids = malloc(slots * (size_t)o->context * sizeof *d->ids);
    d->table = malloc(slots * (size_t)d->table_cols * sizeof *d->table);
    d->order = malloc((size_t)o->vocab * sizeof *d->order);
    d->raw = malloc((size_t)o->vocab * sizeof *d->raw);
    d->times = calloc((size_t)o->vocab, sizeof *d->times);
    d->out = malloc(slots * sizeof *d->out);
    d->top = malloc(slots * HS_TOP_LOGPROBS * sizeof *d->top);
    if (!d->slot || !d->ids || !d->table || !d->order || !d->raw || !d->times || !d->out || !d->top)
        return HS_FAIL(MEMORY, "no memory to decode %d sequences of up to %lld tokens", o->max_slots, (long long)o->context);
    for (int i = 0; i < o->max_slots; i++) {
        d->slot[i].ids = d->ids + (size_t)i * (size_t)o->context;
        d->slot[i].page = d->table + (size_t)i * (size_t)d->table_cols;
    }
    HS_TRY(hs_page_pool_new(&d->pool, d->n_pages, o->page_rows, o->share));
    HS_TRY(find_inputs(d));
    if (o->step_tokens > 0 && o->step_tokens < d->b.max_tokens)
        d->b.max_tokens = o->step_tokens;
    return HS_OK;
}

hs_status hs_decoder_new(hs_decoder **out, const hs_decoder_opts *o)
{
    *out = NULL;
    if (o->page_rows < 1 || o->context < 1 || o->vocab < 1 || o->max_slots < 1)
        return HS_FAIL(INTERNAL, "a decoder of %d slots, pages of %lld rows, context %lld and %lld tokens of vocabulary", o->max_slots,
                       (long long)o->page_rows, (long long)o->context, (long long)o->vocab);
    hs_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return HS_FAIL(MEMORY, "no memory for a decoder");
    d->o = *o;
    d->table_cols = hs_cache_pages(o->context, o->page_rows);
    d->n_pages = o->cache_rows / o->page_rows;
    const hs_status st = build(d);
    if (st != HS_OK) {
        hs_decoder_free(d);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = d;
    return HS_OK;
}

void hs_decoder_free(hs_decoder *d)
{
    if (!d)
        return;
    for (int i = 0; i < HS_COUNT(inputs); i++)
        free(*numbers(&d->b, i));
    free(d->slot);
    free(d->ids);
    free(d->table);
    hs_page_pool_free(d->pool);
    free(d->logits);
    free(d->raw);
    free(d->order);
    free(d->times);
    free(d->out);
    free(d->top);
    free(d);
}

static bool under_way(const slot *s) { return s->used && s->stop == HS_STOP_NONE; }

// ---- pages

static void grow(hs_decoder *d, slot *s, int64_t tokens)
{
    s->n_pages = hs_page_pool_take(d->pool, s->page, s->n_pages, hs_cache_pages(tokens, d->o.page_rows));
}

static void give_back(hs_decoder *d, slot *s)
{
    hs_page_pool_give_back(d->pool, s->page, s->n_pages);
    s->n_pages = 0;
}

// Takes pages of its next tokens that somebody has computed. The newest token stays: it has to run, so that its logits are there.
static void reuse(hs_decoder *d, slot *s)
{
    const int64_t rows = d->o.page_rows;
    while (!s->alone && s->n_known == s->n_pages && s->cached == s->n_known * rows && s->cached + rows < s->n) {
        const int32_t page = hs_page_pool_find(d->pool, &s->place, s->ids + s->cached);
        if (page < 0)
            return;
        s->page[s->n_pages++] = page;
        s->n_known++;
        s->cached += rows, s->reused += rows;
    }
}

// Pages that a step has filled are there for others.
static void make_known(hs_decoder *d, slot *s)
{
    for (const int64_t rows = d->o.page_rows; !s->alone && s->n_pages && (s->n_known + 1) * rows <= s->cached; s->n_known++)
        s->page[s->n_known] = hs_page_pool_know(d->pool, &s->place, s->ids + s->n_known * rows, s->page[s->n_known]);
}

// Pages were made by values that are no longer there: nobody takes over what lies in them, nor what sequences under way add to it.
static void forget_old_values(hs_decoder *d)
{
    const uint64_t version = hs_run_model(d->o.run)->params->version;
    if (version == d->version)
        return;
    d->version = version;
    hs_page_pool_forget(d->pool);
    for (int i = 0; i < d->o.max_slots; i++)
        d->slot[i].alone = d->slot[i].cached > 0;
}

// ---- sequences

hs_status hs_decoder_check(const hs_decoder *d, const hs_sequence *s)
{
    const int which = s->number + 1;
    HS_TRY(hs_sampling_check(&s->sampling));
    if (s->max_tokens < 0)
        return HS_FAIL(USAGE, "max-tokens is %lld, must be 0 or more", (long long)s->max_tokens);
    if (s->n < 1)
        return HS_FAIL(USAGE, "prompt %d is empty: the model needs at least one token to continue", which);
    if (s->n > d->o.context)
        return HS_FAIL(USAGE, "prompt %d has %lld tokens, the model's context holds %lld", which, (long long)s->n, (long long)d->o.context);
    for (int64_t i = 0; i < s->n; i++)
        if (s->ids[i] < 0 || s->ids[i] >= d->o.vocab)
            return HS_FAIL(USAGE, "prompt %d: token %lld is %d, the model's vocabulary is 0 to %lld", which, (long long)i + 1, s->ids[i],
                           (long long)d->o.vocab - 1);
    for (int i = 0; i < s->n_bias; i++)
        if (s->bias[i].id < 0 || s->bias[i].id >= d->o.vocab)
            return HS_FAIL(USAGE, "prompt %d: a bias for token %d, the model's vocabulary is 0 to %lld", which, s->bias[i].id,
                           (long long)d->o.vocab - 1);
    if (s->n_top < 0 || s->n_top > HS_TOP_LOGPROBS)
        return HS_FAIL(USAGE, "prompt %d: %d likeliest tokens of each place, allowed 0 to %d", which, s->n_top, HS_TOP_LOGPROBS);
    return HS_OK;
}

static void end(hs_decoder *d, slot *s, hs_stop why)
{
    s->stop = why;
    give_back(d, s);
}

hs_status hs_decoder_add(hs_decoder *d, const hs_sequence *q, int *out)
{
    *out = -1;
    HS_TRY(hs_decoder_check(d, q));
    int i = 0;
    while (i < d->o.max_slots && d->slot[i].used)
        i++;
    if (i == d->o.max_slots)
        return HS_FAIL(MEMORY, "all %d slots are taken", d->o.max_slots);
    const int64_t room = d->o.context - q->n, goal = q->n + (q->max_tokens < room ? q->max_tokens : room);
    const int64_t pages = goal > q->n ? hs_cache_pages(goal - 1, d->o.page_rows) : 0; // the last token is drawn, not read
    if (pages > d->n_pages)
        return HS_FAIL(MEMORY, "%lld tokens need %lld cache pages, %lld are all there are", (long long)goal, (long long)pages,
                       (long long)d->n_pages);
    slot *s = &d->slot[i];
    *s = (slot){ .used = true, .s = *q, .ids = s->ids, .page = s->page, .n = q->n, .goal = goal, .pick = -1 };
    s->at_goal = q->max_tokens > room ? HS_STOP_CONTEXT : HS_STOP_MAX_TOKENS;
    memcpy(s->ids, q->ids, (size_t)q->n * sizeof *s->ids);
    s->s.ids = s->ids;
    forget_old_values(d);
    if (goal > q->n)
        reuse(d, s);
    const int64_t more = pages - s->n_pages;
    if (q->reserve && more > hs_page_pool_left(d->pool)) {
        hs_decoder_drop(d, i);
        return HS_FAIL(MEMORY, "%lld tokens need %lld cache pages, %lld are free", (long long)goal, (long long)more,
                       (long long)hs_page_pool_left(d->pool));
    }
    if (q->reserve)
        grow(d, s, goal - 1);
    if (goal == q->n)
        end(d, s, s->at_goal);
    *out = i;
    return HS_OK;
}

void hs_decoder_stop(hs_decoder *d, int i)
{
    slot *s = &d->slot[i];
    if (s->used && s->stop == HS_STOP_NONE)
        end(d, s, HS_STOP_CALLER);
}

void hs_decoder_drop(hs_decoder *d, int i)
{
    slot *s = &d->slot[i];
    if (s->used)
        give_back(d, s);
    s->used = false;
}

const int32_t *hs_decoder_ids(const hs_decoder *d, int i, int64_t *n)
{
    const slot *s = &d->slot[i];
    *n = s->used ? s->n : 0;
    return s->used ? s->ids : NULL;
}

int hs_decoder_free_slots(const hs_decoder *d)
{
    int n = 0;
    for (int i = 0; i < d->o.max_slots; i++)
        n += !d->slot[i].used;
    return n;
}

int64_t hs_decoder_free_pages(const hs_decoder *d) { return hs_page_pool_left(d->pool); }
int64_t hs_decoder_kept_pages(const hs_decoder *d) { return hs_page_pool_kept(d->pool); }

bool hs_decoder_idle(const hs_decoder *d)
{
    for (int i = 0; i < d->o.max_slots; i++)
        if (under_way(&d->slot[i]))
            return false;
    return true;
}

hs_slot_state hs_decoder_slot(const hs_decoder *d, int i)
{
    const slot *s = &d->slot[i];
    if (!s->used)
        return (hs_slot_state){ 0 };
    return (hs_slot_state){ .fed = s->fed, .waits = s->waits, .pages = s->n_pages, .cached = s->cached, .reused = s->reused };
}

int64_t hs_decoder_needs(const hs_decoder *d, const int32_t *ids, int64_t n)
{
    return hs_cache_pages(n + 1, d->o.page_rows) - hs_page_pool_shared(d->pool, ids, n - 1);
}

int64_t hs_decoder_owed(const hs_decoder *d)
{
    int64_t owed = 0;
    for (int i = 0; i < d->o.max_slots; i++) {
        const slot *s = &d->slot[i];
        const int64_t all = s->n + 1 < s->goal ? s->n + 1 : s->goal - 1, want = hs_cache_pages(all, d->o.page_rows);
        owed += under_way(s) && want > s->n_pages ? want - s->n_pages : 0;
    }
    return owed;
}

// ---- a step

static void feed(hs_decoder *d, int index, int64_t n)
{
    batch *b = &d->b;
    slot *s = &d->slot[index];
    const int64_t page_rows = d->o.page_rows;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = b->n_tokens + i, position = s->cached + i;
        b->ids[at] = s->ids[position];
        b->where[2 * at] = index;
        b->where[2 * at + 1] = (int32_t)position;
        b->rows[at] = (int32_t)(s->page[position / page_rows] * page_rows + position % page_rows);
    }
    int32_t *keys = b->keys + 3 * b->n_seqs;
    keys[0] = 0; // pages say where
    keys[1] = (int32_t)(s->cached + n);
    keys[2] = (int32_t)s->cached;
    memcpy(b->pages + b->n_seqs * d->table_cols, s->page, (size_t)s->n_pages * sizeof *s->page);
    b->n_tokens += n;
    b->starts[++b->n_seqs] = (int32_t)b->n_tokens;
    s->fed = n;
    if (s->cached + n == s->n) { // all known tokens are in: what comes next is wanted
        b->picks[b->n_picks] = (int32_t)b->n_tokens - 1;
        s->pick = b->n_picks++;
    }
}

// Sequences that only need their newest token go first: a long prompt being read must not hold them up. How many wait for a page.
static int build_batch(hs_decoder *d)
{
    batch *b = &d->b;
    int waiting = 0;
    b->n_tokens = b->n_seqs = b->n_picks = 0;
    b->starts[0] = 0;
    for (int i = 0; i < d->o.max_slots; i++)
        d->slot[i].fed = 0, d->slot[i].pick = -1, d->slot[i].waits = false;
    int left_out = -1;
    int64_t most = b->max_tokens;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && b->n_seqs && d->o.beside_tokens && b->n_tokens + d->o.beside_tokens < most)
            most = b->n_tokens + d->o.beside_tokens;
        for (int k = 0; k < d->o.max_slots; k++) {
            const int i = (d->first + k) % d->o.max_slots;
            slot *s = &d->slot[i];
            if (!under_way(s) || (s->n - s->cached > 1) != (pass == 1))
                continue;
            if (pass == 1)
                reuse(d, s);
            const int64_t left = s->n - s->cached, room = most - b->n_tokens;
            if (room <= 0 || b->n_seqs >= b->max_seqs) {
                left_out = left_out < 0 ? i : left_out;
                continue;
            }
            const int64_t want = left < room ? left : room;
            grow(d, s, s->cached + want);
            const int64_t held = s->n_pages * d->o.page_rows - s->cached;
            if (held > 0)
                feed(d, i, held < want ? held : want);
            else
                s->waits = true, waiting++;
        }
    }
    d->first = left_out < 0 ? 0 : left_out;
    return waiting;
}

// The first token whose logit is not a number; vocab: all are.
static int64_t first_bad(const hs_decoder *d)
{
    int64_t i = 0;
    while (i < d->o.vocab && isfinite(d->logits[i]))
        i++;
    return i;
}

static bool is_stop(const hs_sequence *s, int32_t id)
{
    for (int i = 0; i < s->n_stops; i++)
        if (s->stop_ids[i] == id)
            return true;
    return false;
}

// Bias, and penalties of what was drawn.
static void change_logits(hs_decoder *d, const slot *s)
{
    for (int i = 0; i < s->s.n_bias; i++)
        d->logits[s->s.bias[i].id] += s->s.bias[i].bias;
    if (s->s.presence == 0 && s->s.frequency == 0)
        return;
    const int32_t *drawn = s->ids + s->s.n - s->s.drawn, *end = s->ids + s->n;
    for (const int32_t *p = drawn; p < end; p++)
        d->times[*p]++;
    for (const int32_t *p = drawn; p < end; p++)
        if (d->times[*p]) {
            d->logits[*p] = (float)((double)d->logits[*p] - s->s.presence - s->s.frequency * d->times[*p]);
            d->times[*p] = 0;
        }
}

static void tell_logprobs(hs_decoder *d, const slot *s, hs_decoded *out)
{
    hs_logprob *top = d->top + (size_t)out->slot * HS_TOP_LOGPROBS;
    const double sum = hs_log_sum(d->raw, d->o.vocab);
    out->logprob = (float)((double)d->raw[out->id] - sum);
    for (int64_t i = 0; s->s.n_top && i < d->o.vocab; i++)
        d->order[i] = (int32_t)i;
    const int64_t n = s->s.n_top ? hs_best_of(d->raw, d->order, d->o.vocab, s->s.n_top) : 0;
    for (; out->n_top < n && isfinite(d->raw[d->order[out->n_top]]); out->n_top++)
        top[out->n_top] = (hs_logprob){ d->order[out->n_top], (float)((double)d->raw[d->order[out->n_top]] - sum) };
    out->top = top;
}

static hs_status take_token(hs_decoder *d, int index, hs_decoded *out)
{
    slot *s = &d->slot[index];
    HS_TRY(hs_run_read(d->o.run, d->o.plan, 0, s->pick, 1, d->logits));
    *out = (hs_decoded){ .slot = index, .id = (int32_t)first_bad(d), .stop = HS_STOP_NONFINITE };
    if (out->id == d->o.vocab) {
        for (int64_t i = 0; d->o.drawable && i < d->o.vocab; i++)
            d->logits[i] = d->o.drawable[i] ? d->logits[i] : -INFINITY;
        if (s->s.logprobs)
            memcpy(d->raw, d->logits, (size_t)d->o.vocab * sizeof *d->raw);
        change_logits(d, s);
        out->id = hs_sample(d->logits, d->o.vocab, &s->s.sampling, s->s.number, s->n, d->order);
        if (s->s.logprobs)
            tell_logprobs(d, s, out);
        s->ids[s->n++] = out->id;
        out->stop = is_stop(&s->s, out->id) ? HS_STOP_TOKEN : s->n == s->goal ? s->at_goal : HS_STOP_NONE;
    }
    return HS_OK;
}

static hs_status write_batch(hs_decoder *d)
{
    batch *b = &d->b;
    for (int i = 0; i < HS_COUNT(inputs); i++) {
        const struct input *in = &inputs[i];
        const int64_t width = *numbers(b, i) == b->pages ? d->table_cols : in->seqs;
        const int64_t n = in->tokens * b->n_tokens + width * b->n_seqs + in->picks * b->n_picks + in->more;
        HS_TRY(hs_run_write(d->o.run, d->o.plan, in->name, *numbers(b, i), (size_t)n * sizeof(int32_t)));
    }
    return HS_OK;
}

static hs_status run_batch(hs_decoder *d, int *n)
{
    hs_step_live(hs_run_in(d->o.run), d->b.n_tokens, d->b.n_seqs, d->b.n_picks);
    HS_TRY(write_batch(d));
    HS_TRY(hs_run_forward(d->o.run, d->o.plan));
    for (int i = 0; i < d->o.max_slots; i++)
        if (d->slot[i].pick >= 0)
            HS_TRY(take_token(d, i, &d->out[(*n)++]));
    return HS_OK;
}

hs_status hs_decoder_step(hs_decoder *d, const hs_decoded **out, int *n)
{
    int drawn = 0;
    *out = d->out, *n = 0;
    forget_old_values(d);
    const int waiting = build_batch(d);
    if (!d->b.n_tokens && waiting)
        return HS_FAIL(MEMORY, "all %lld cache pages are taken, and %d sequences wait for one: drop one of them", (long long)d->n_pages,
                       waiting);
    if (!d->b.n_tokens)
        return HS_OK;
    HS_TRY(run_batch(d, &drawn));
    for (int i = 0; i < d->o.max_slots; i++) {
        d->slot[i].cached += d->slot[i].fed;
        make_known(d, &d->slot[i]);
    }
    for (int k = 0; k < drawn; k++)
        if (d->out[k].stop != HS_STOP_NONE)
            end(d, &d->slot[d->out[k].slot], d->out[k].stop);
    *n = drawn;
    return HS_OK;
}
