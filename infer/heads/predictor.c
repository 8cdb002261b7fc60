// predictor: rows of examples wait for their batch in order; behind each run they are decoded in that order, and an example whose last row
// was decoded is done.
#include "infer/heads/predictor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct waiting { // a row, or an example without one
    hs_block *block;
    int64_t item, row; // row -1: none
    int index;         // in the reader
} waiting;

struct hs_predictor {
    hs_predictor_opts o;
    hs_example_blocks *blocks;
    hs_row_reader *reader;
    hs_head *head;
    hs_head_decoder *decoder;
    waiting *wait;
    int64_t n_wait, wait_room;
    float *logits; // [max_length][columns] of a row
    int32_t *type; // [max_length]
    hs_predictor_count count;
};

static hs_status no_memory(void) { return HS_FAIL(MEMORY, "no memory for predictions"); }

// ---- birth

static hs_status prepare(hs_predictor *p)
{
    const hs_session *s = p->o.session;
    if (!s->tokenizer)
        return HS_FAIL(USAGE, "texts need a tokenizer: %s", s->tokenizer_error);
    if (!p->o.run)
        p->o.run = s->run;
    p->o.rows.tokenizer = s->tokenizer, p->o.rows.vocab = s->vocab;
    if (p->o.rows.max_length == 0 || p->o.rows.max_length > s->context)
        p->o.rows.max_length = s->context;
    p->count.max_length = p->o.rows.max_length;
    HS_TRY(hs_head_new(&p->head, s, p->o.run, p->o.examples->about));
    HS_TRY(hs_session_reader(&p->reader, s, p->o.run));
    p->logits = malloc((size_t)(p->o.rows.max_length * hs_head_columns(p->head)) * sizeof *p->logits);
    p->type = malloc((size_t)p->o.rows.max_length * sizeof *p->type);
    if (!p->logits || !p->type)
        return no_memory();
    HS_TRY(
        hs_example_blocks_open(&p->blocks, &(hs_example_blocks_opts){ .examples = p->o.examples, .rows = p->o.rows, .path = p->o.path }));
    if (p->o.span.ask)
        p->o.span.none = hs_label_reader_found(hs_example_blocks_reader(p->blocks))->impossible;
    return hs_head_decoder_new(&p->decoder, p->head, &p->o.span);
}

hs_status hs_predictor_open(hs_predictor **out, const hs_predictor_opts *o)
{
    *out = NULL;
    hs_predictor *p = calloc(1, sizeof *p);
    if (!p)
        return no_memory();
    p->o = *o;
    const hs_status st = prepare(p);
    if (st != HS_OK) {
        hs_predictor_close(p);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = p;
    return HS_OK;
}

static void drop_wait(hs_predictor *p, int64_t i)
{
    if (--p->wait[i].block->in_use == 0)
        hs_block_free(p->wait[i].block);
}

void hs_predictor_close(hs_predictor *p)
{
    if (!p)
        return;
    hs_example_blocks_close(p->blocks);
    for (int64_t i = 0; i < p->n_wait; i++)
        drop_wait(p, i);
    hs_row_reader_free(p->reader);
    hs_head_decoder_free(p->decoder);
    hs_head_free(p->head);
    free(p->wait), free(p->logits), free(p->type);
    free(p);
}

const hs_label_reader *hs_predictor_reader(const hs_predictor *p) { return hs_example_blocks_reader(p->blocks); }
hs_predictor_count hs_predictor_counted(const hs_predictor *p) { return p->count; }

// ---- batches

static hs_status take_row(hs_predictor *p, const hs_example_row *row, int index)
{
    int64_t rows;
    HS_TRY(hs_row_reader_task(p->reader, index, p->logits, &rows));
    return hs_head_decoder_take(p->decoder, row, p->logits, rows);
}

static hs_status decode(hs_predictor *p, const waiting *w)
{
    const hs_block_item *item = &w->block->item[w->item];
    hs_prediction out;
    if (w->row <= 0)
        HS_TRY(hs_head_decoder_begin(p->decoder, item->example));
    if (w->row >= 0)
        HS_TRY(take_row(p, &item->row[w->row], w->index));
    if (w->row + 1 < item->n_rows)
        return HS_OK;
    HS_TRY(hs_head_decoder_end(p->decoder, &out));
    out.number = p->count.examples++, out.item = item;
    return p->o.done(&out, p->o.user);
}

static hs_status flush(hs_predictor *p)
{
    hs_status st = hs_row_reader_run(p->reader);
    for (int64_t i = 0; i < p->n_wait; i++) {
        if (st == HS_OK)
            st = decode(p, &p->wait[i]);
        drop_wait(p, i);
    }
    p->n_wait = 0;
    return st;
}

static hs_status wait_for(hs_predictor *p, hs_block *block, int64_t item, int64_t row, int index)
{
    if (p->n_wait == p->wait_room) {
        const int64_t room = p->wait_room ? 2 * p->wait_room : 256;
        waiting *more = realloc(p->wait, (size_t)room * sizeof *more);
        if (!more)
            return no_memory();
        p->wait = more, p->wait_room = room;
    }
    p->wait[p->n_wait++] = (waiting){ block, item, row, index };
    block->in_use++;
    return HS_OK;
}

static hs_status add_row(hs_predictor *p, hs_block *block, int64_t item, int64_t number)
{
    const hs_example_row *r = &block->item[item].row[number];
    int index;
    for (int64_t i = 0; i < r->n; i++)
        p->type[i] = r->type[i];
    const hs_encode_row row = { .id = r->id, .type = p->type, .n = r->n };
    HS_TRY(hs_row_reader_add(p->reader, &row, &index));
    if (index < 0) {
        HS_TRY(flush(p));
        HS_TRY(hs_row_reader_add(p->reader, &row, &index));
    }
    p->count.rows++, p->count.tokens += r->n;
    return wait_for(p, block, item, number, index);
}

static hs_status add_block(hs_predictor *p, hs_block *block)
{
    for (int64_t i = 0; i < block->n; i++) {
        const hs_block_item *item = &block->item[i];
        bool cut = false;
        if (item->n_rows == 0)
            HS_TRY(wait_for(p, block, i, -1, -1));
        for (int64_t k = 0; k < item->n_rows; k++) {
            cut |= item->row[k].cut;
            HS_TRY(add_row(p, block, i, k));
        }
        p->count.cut += cut;
    }
    return HS_OK;
}

hs_status hs_predictor_run(hs_predictor *p)
{
    hs_block *block;
    char why[1024];
    for (;;) {
        const hs_status st = hs_example_blocks_next(p->blocks, &block);
        if (st != HS_OK) { // what stood before it is done first
            snprintf(why, sizeof why, "%s", hs_error());
            HS_TRY(flush(p));
            return hs_fail_at(st, __FILE__, __LINE__, "%s", why);
        }
        if (!block)
            return flush(p);
        block->in_use = 1;
        const hs_status added = add_block(p, block);
        if (--block->in_use == 0)
            hs_block_free(block);
        HS_TRY(added);
    }
}
