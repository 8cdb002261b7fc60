// predictor: rows of examples wait for their batch in order; behind each run they are decoded in that order, and an example whose last row
// was decoded is done.
#include "infer/heads/predictor.h"
#include "infer/heads/viterbi.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 1024 }; // of a batch: products reach their speed

typedef struct waiting { // a row, or an example without one
    hs_block *block;
    int64_t item, row; // row -1: none
    int index;         // in the reader
} waiting;

typedef struct task {
    hs_status (*begin)(hs_predictor *p, const hs_block_item *item);
    hs_status (*take)(hs_predictor *p, const hs_example_row *row, int64_t rows); // p->logits [rows][cols]
    hs_status (*end)(hs_predictor *p, const hs_block_item *item, hs_prediction *out);
} task;

struct hs_predictor {
    hs_predictor_opts o;
    const task *task;
    hs_example_blocks *blocks;
    hs_row_reader *reader;
    int64_t cols;
    int labels;
    int32_t outside; // class of words that have none
    waiting *wait;
    int64_t n_wait, wait_room;
    float *score, *prob; // [labels]
    // of a row, of an example; they grow
    float *logits, *tag_score, *chain_score;
    int32_t *tag, *type, *chain_row, *chain_tag;
    struct {
        size_t logits, tag_score, chain_score, tag, type, chain_row, chain_tag;
    } room;
    float *crf[3]; // NULL: tags are judged one by one
    hs_span_decoder *span;
    hs_predictor_count count;
};

hs_arch_shape hs_predictor_shape(const hs_session *s)
{
    const int64_t tokens = s->context > TOKENS ? s->context : TOKENS;
    return (hs_arch_shape){ .max_tokens = tokens, .max_seqs = tokens / 4 + 1, .longest = s->context, .logits = true };
}

// *p with room for n items; what was in it is lost.
static bool room_for(void *p, size_t *room, size_t n, size_t item)
{
    void *old, *more;
    if (*room >= n)
        return true;
    memcpy(&old, p, sizeof old);
    free(old);
    more = malloc(2 * n * item);
    memcpy(p, &more, sizeof more);
    *room = more ? 2 * n : 0;
    return more;
}

#define ROOM(p, member, n) room_for(&(p)->member, &(p)->room.member, n, sizeof *(p)->member)

static hs_status no_memory(void) { return HS_FAIL(MEMORY, "no memory for predictions"); }

static hs_status check_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return HS_FAIL(NONFINITE, "the model's logits are not finite numbers");
    return HS_OK;
}

// ---- probabilities

static int32_t softmax(const float *x, int n, float *p)
{
    int32_t best = 0;
    double sum = 0;
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[best]);
    for (int i = 0; i < n; i++)
        p[i] = (float)(exp((double)x[i] - (double)x[best]) / sum);
    return best;
}

// Of the likeliest alone.
static float sure_of(const float *x, int n, int32_t *best)
{
    double sum = 0;
    *best = 0;
    for (int i = 1; i < n; i++)
        *best = x[i] > x[*best] ? i : *best;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[*best]);
    return (float)(1 / sum);
}

// ---- one class, numbers, any labels

static hs_status begin_scores(hs_predictor *p, const hs_block_item *item)
{
    (void)item;
    memset(p->score, 0, (size_t)p->labels * sizeof *p->score);
    return HS_OK;
}

static hs_status take_scores(hs_predictor *p, const hs_example_row *row, int64_t rows)
{
    (void)row, (void)rows;
    HS_TRY(check_finite(p->logits, p->labels));
    memcpy(p->score, p->logits, (size_t)p->labels * sizeof *p->score);
    return HS_OK;
}

static hs_status end_numbers(hs_predictor *p, const hs_block_item *item, hs_prediction *out)
{
    (void)item;
    out->score = p->score, out->n_labels = p->labels;
    return HS_OK;
}

static hs_status end_class(hs_predictor *p, const hs_block_item *item, hs_prediction *out)
{
    (void)item;
    out->label = softmax(p->score, p->labels, p->prob);
    out->score = p->prob, out->n_labels = p->labels;
    return HS_OK;
}

static hs_status end_labels(hs_predictor *p, const hs_block_item *item, hs_prediction *out)
{
    (void)item;
    for (int i = 0; i < p->labels; i++)
        p->prob[i] = (float)(1 / (1 + exp(-(double)p->score[i])));
    out->score = p->prob, out->n_labels = p->labels;
    return HS_OK;
}

// ---- a class of each word

static hs_status begin_words(hs_predictor *p, const hs_block_item *item)
{
    const int32_t n = item->example->n;
    if (!ROOM(p, tag, (size_t)n + 1) || !ROOM(p, tag_score, (size_t)n + 1))
        return no_memory();
    for (int32_t k = 0; k < n; k++)
        p->tag[k] = p->outside, p->tag_score[k] = 0;
    return HS_OK;
}

static hs_status take_chain(hs_predictor *p, const hs_example_row *row)
{
    int64_t n = 0;
    const size_t most = (size_t)row->n;
    if (!ROOM(p, chain_row, most) || !ROOM(p, chain_tag, most) || !ROOM(p, chain_score, most))
        return no_memory();
    for (int64_t t = 0; t < row->n; t++)
        if (row->word[t] >= 0)
            p->chain_row[n++] = (int32_t)t;
    const hs_chain c = { p->labels, p->crf[0], p->crf[1], p->crf[2] };
    HS_TRY(hs_viterbi(&c, p->logits, p->cols, p->chain_row, n, p->chain_tag, p->chain_score));
    for (int64_t i = 0; i < n; i++) {
        const int32_t word = row->word[p->chain_row[i]];
        p->tag[word] = p->chain_tag[i], p->tag_score[word] = p->chain_score[i];
    }
    return HS_OK;
}

static hs_status take_words(hs_predictor *p, const hs_example_row *row, int64_t rows)
{
    for (int64_t t = 0; t < rows; t++)
        if (row->word[t] >= 0)
            HS_TRY(check_finite(p->logits + t * p->cols, p->labels));
    if (p->crf[0])
        return take_chain(p, row);
    for (int64_t t = 0; t < rows; t++)
        if (row->word[t] >= 0)
            p->tag_score[row->word[t]] = sure_of(p->logits + t * p->cols, p->labels, &p->tag[row->word[t]]);
    return HS_OK;
}

static hs_status end_words(hs_predictor *p, const hs_block_item *item, hs_prediction *out)
{
    (void)item;
    out->tag = p->tag, out->tag_score = p->tag_score, out->n_labels = p->labels;
    return HS_OK;
}

// ---- spans

static hs_status begin_span(hs_predictor *p, const hs_block_item *item)
{
    (void)item;
    hs_span_decoder_begin(p->span);
    return HS_OK;
}

static hs_status take_span(hs_predictor *p, const hs_example_row *row, int64_t rows)
{
    (void)rows;
    return hs_span_decoder_add(p->span, row, p->logits, p->cols);
}

static hs_status end_span(hs_predictor *p, const hs_block_item *item, hs_prediction *out)
{
    return hs_span_decoder_end(p->span, item->example->text[1], &out->span);
}

static const task tasks[HS_ABOUTS] = {
    [HS_ABOUT_SEQUENCE] = { begin_scores, take_scores, end_class },     [HS_ABOUT_PAIR] = { begin_scores, take_scores, end_class },
    [HS_ABOUT_REGRESSION] = { begin_scores, take_scores, end_numbers }, [HS_ABOUT_MULTILABEL] = { begin_scores, take_scores, end_labels },
    [HS_ABOUT_TOKENS] = { begin_words, take_words, end_words },         [HS_ABOUT_SPAN] = { begin_span, take_span, end_span },
};

// ---- birth

// As f32, from whichever slab has it.
static hs_status read_param(const hs_params *ps, const hs_param *param, int64_t n, float *dst)
{
    static const char *const slabs[] = { "master", "low" };
    for (int i = 0; i < 2; i++) {
        const hs_slab *s = hs_params_slab(ps, slabs[i]);
        if (!hs_slab_at(s, param))
            continue;
        void *stored = malloc((size_t)n * sizeof(double));
        if (!stored)
            return no_memory();
        hs_params_read(ps, s, param, stored);
        hs_convert(dst, HS_F32, stored, s->spec.dtype, n);
        free(stored);
        return HS_OK;
    }
    return HS_FAIL(INTERNAL, "%s has no values", param->name);
}

static hs_status read_chain(hs_predictor *p)
{
    static const char *const names[] = { "crf.next", "crf.first", "crf.last" };
    const hs_params *ps = p->o.session->model->params;
    for (int i = 0; i < 3; i++) {
        const hs_param *param = hs_params_find(ps, names[i]);
        const int64_t n = i ? p->labels : (int64_t)p->labels * p->labels;
        if (!param)
            return HS_OK;
        if (!(p->crf[i] = malloc((size_t)n * sizeof(float))))
            return no_memory();
        HS_TRY(read_param(ps, param, n, p->crf[i]));
    }
    return HS_OK;
}

static hs_status prepare(hs_predictor *p)
{
    const hs_session *s = p->o.session;
    const hs_about about = p->o.examples->about;
    hs_ref out;
    if (!s->tokenizer)
        return HS_FAIL(USAGE, "texts need a tokenizer: %s", s->tokenizer_error);
    if (!tasks[about].take)
        return HS_FAIL(INTERNAL, "a model of language has no head to predict with");
    p->task = &tasks[about];
    if (!p->o.run)
        p->o.run = s->run;
    p->o.rows.tokenizer = s->tokenizer, p->o.rows.vocab = s->vocab;
    if (p->o.rows.max_length == 0 || p->o.rows.max_length > s->context)
        p->o.rows.max_length = s->context;
    p->count.max_length = p->o.rows.max_length;
    HS_TRY(hs_session_reader(&p->reader, s, p->o.run));
    if (!hs_run_output(p->o.run, s->eval, 0, &out))
        return HS_FAIL(INTERNAL, "this plan keeps no logits");
    p->cols = out.cols;
    p->labels = about == HS_ABOUT_SPAN ? 2 : (int)hs_arch_int(s->arch, "model.labels");
    if (p->labels < 1 || p->labels > p->cols)
        return HS_FAIL(INTERNAL, "%d labels in logits of %lld columns", p->labels, (long long)p->cols);
    p->outside = hs_labels_find(&s->info.labels, "O");
    p->outside = p->outside < 0 ? 0 : p->outside;
    p->score = calloc((size_t)p->labels, sizeof *p->score);
    p->prob = calloc((size_t)p->labels, sizeof *p->prob);
    if (!p->score || !p->prob)
        return no_memory();
    if (about == HS_ABOUT_TOKENS)
        HS_TRY(read_chain(p));
    HS_TRY(
        hs_example_blocks_open(&p->blocks, &(hs_example_blocks_opts){ .examples = p->o.examples, .rows = p->o.rows, .path = p->o.path }));
    if (p->o.span.ask)
        p->o.span.none = hs_label_reader_found(hs_example_blocks_reader(p->blocks))->impossible;
    return about == HS_ABOUT_SPAN ? hs_span_decoder_new(&p->span, &p->o.span) : HS_OK;
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
    hs_span_decoder_free(p->span);
    free(p->wait), free(p->logits), free(p->score), free(p->tag_score), free(p->prob), free(p->tag), free(p->type);
    free(p->chain_row), free(p->chain_tag), free(p->chain_score);
    for (int i = 0; i < 3; i++)
        free(p->crf[i]);
    free(p);
}

const hs_label_reader *hs_predictor_reader(const hs_predictor *p) { return hs_example_blocks_reader(p->blocks); }
hs_predictor_count hs_predictor_counted(const hs_predictor *p) { return p->count; }

// ---- batches

static hs_status decode(hs_predictor *p, const waiting *w)
{
    const hs_block_item *item = &w->block->item[w->item];
    hs_prediction out = { .number = p->count.examples, .item = item, .empty = item->n_rows == 0 };
    if (w->row <= 0)
        HS_TRY(p->task->begin(p, item));
    if (w->row >= 0) {
        const hs_example_row *row = &item->row[w->row];
        int64_t rows;
        if (!ROOM(p, logits, (size_t)(row->n * p->cols)))
            return no_memory();
        HS_TRY(hs_row_reader_task(p->reader, w->index, p->logits, &rows));
        HS_TRY(p->task->take(p, row, rows));
    }
    if (w->row + 1 < item->n_rows)
        return HS_OK;
    HS_TRY(p->task->end(p, item, &out));
    p->count.examples++;
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
    if (!ROOM(p, type, (size_t)r->n))
        return no_memory();
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
