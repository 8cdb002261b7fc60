// row_reader: a batch under construction in the columns of a masked family, and what is read of the outputs.
#include "infer/encode/row_reader.h"
#include "infer/decode/sample.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IDS, TYPES, STARTS, WHERE, PICKS, TARGETS, COLUMNS };
static const hs_column columns[COLUMNS] = {
    [IDS] = { .name = "ids", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [TYPES] = { .name = "token_types", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [STARTS] = { .name = "starts", .dtype = HS_I32, .ext = HS_EXT_STARTS },
    [WHERE] = { .name = "where", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .row = { 2 } },
    [PICKS] = { .name = "picks", .dtype = HS_I32, .ext = HS_EXT_PICKS },
    [TARGETS] = { .name = "pick_targets", .dtype = HS_I32, .ext = HS_EXT_PICKS }, // none counts: nobody knows what is right
};

struct hs_row_reader {
    hs_row_reader_opts o;
    hs_batch b;
    int64_t most[HS_N_COUNTERS]; // of the plan
    int64_t *first_pick;         // [most seqs + 1] of each row, among the batch's
    bool ran;                    // the batch is of the last run
    bool logits;                 // of the plan; else hidden states, or what a task's head makes of them
    bool whole;                  // a row of output 0 is a sequence
    int64_t cols;                // of its first output
    float *line;                 // [cols] a row of it
    double *sum;                 // [cols]
    int32_t *order;              // [vocab]
};

// ---- birth
static int64_t rows_of(const hs_exec *exec, const char *input)
{
    const hs_tensor *t = hs_exec_input_tensor(exec, input);
    return t ? t->dim[0] : 0;
}

static hs_status prepare(hs_row_reader *e)
{
    const hs_exec *exec = hs_run_exec(e->o.run, e->o.plan);
    hs_ref out;
    if (!exec || !hs_run_output(e->o.run, e->o.plan, 0, &out))
        return HS_FAIL(INTERNAL, "an encoder needs an evaluation plan that is bound and keeps something");
    e->most[HS_COUNT_TOKENS] = rows_of(exec, "ids");
    e->most[HS_COUNT_SEQS] = rows_of(exec, "starts") - 1;
    e->most[HS_COUNT_PICKS] = rows_of(exec, "picks");
    e->cols = out.cols;
    e->whole = hs_ext_counter(out.ext) == HS_COUNT_SEQS;
    e->logits = e->most[HS_COUNT_PICKS] > 0;
    if (e->most[HS_COUNT_TOKENS] < 1 || e->most[HS_COUNT_SEQS] < 1 || (e->logits && e->cols < e->o.vocab))
        return HS_FAIL(INTERNAL, "this plan is not an encoder's");
    e->first_pick = calloc((size_t)e->most[HS_COUNT_SEQS] + 1, sizeof *e->first_pick);
    e->line = malloc((size_t)e->cols * sizeof *e->line);
    e->sum = malloc((size_t)e->cols * sizeof *e->sum);
    e->order = e->logits ? malloc((size_t)e->o.vocab * sizeof *e->order) : NULL;
    if (!e->first_pick || !e->line || !e->sum || (e->logits && !e->order))
        return HS_FAIL(MEMORY, "no memory for a reader of rows of %lld columns", (long long)e->cols);
    return hs_batch_new(&e->b, columns, COLUMNS, e->most);
}

hs_status hs_row_reader_new(hs_row_reader **out, const hs_row_reader_opts *o)
{
    hs_row_reader *e = *out = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for a reader of rows");
    e->o = *o;
    const hs_status st = prepare(e);
    if (st == HS_OK)
        return HS_OK;
    hs_row_reader_free(e);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_row_reader_free(hs_row_reader *e)
{
    if (!e)
        return;
    hs_batch_free(&e->b);
    free(e->first_pick);
    free(e->line);
    free(e->sum);
    free(e->order);
    free(e);
}

// ---- batches
static hs_status check(const hs_row_reader *e, const hs_encode_row *r)
{
    const int64_t most = e->o.context < e->most[HS_COUNT_TOKENS] ? e->o.context : e->most[HS_COUNT_TOKENS];
    if (r->n < 1)
        return HS_FAIL(USAGE, "a row without tokens");
    if (r->n > most)
        return HS_FAIL(USAGE, "a row of %lld tokens; the model's context is %lld", (long long)r->n, (long long)most);
    if (r->n_picks > e->most[HS_COUNT_PICKS])
        return HS_FAIL(USAGE, "a row of %lld predictions; at most %lld are made at once", (long long)r->n_picks,
                       (long long)e->most[HS_COUNT_PICKS]);
    for (int64_t i = 0; i < r->n; i++) {
        if (r->id[i] < 0 || r->id[i] >= e->o.vocab)
            return HS_FAIL(USAGE, "token %lld has id %d, and the model's vocabulary ends at %lld: is the tokenizer another model's?",
                           (long long)i, r->id[i], (long long)e->o.vocab - 1);
        if (r->type && (r->type[i] < 0 || (r->type[i] > 0 && r->type[i] >= e->o.types)))
            return HS_FAIL(USAGE, "token %lld has token type %d, and the model has %lld", (long long)i, r->type[i], (long long)e->o.types);
    }
    for (int64_t i = 0; i < r->n_picks; i++)
        if (r->pick[i] < 0 || r->pick[i] >= r->n)
            return HS_FAIL(USAGE, "prediction %lld is at position %lld of a row of %lld tokens", (long long)i, (long long)r->pick[i],
                           (long long)r->n);
    return HS_OK;
}

hs_status hs_row_reader_add(hs_row_reader *e, const hs_encode_row *r, int *index)
{
    hs_batch *b = &e->b;
    int64_t *n = b->n;
    *index = -1;
    HS_TRY(check(e, r));
    if (e->ran)
        hs_batch_clear(b, 0);
    e->ran = false;
    if (n[HS_COUNT_TOKENS] + r->n > e->most[HS_COUNT_TOKENS] || n[HS_COUNT_SEQS] + 1 > e->most[HS_COUNT_SEQS] ||
        n[HS_COUNT_PICKS] + r->n_picks > e->most[HS_COUNT_PICKS])
        return HS_OK;
    const int64_t at = n[HS_COUNT_TOKENS], row = n[HS_COUNT_SEQS];
    int32_t *where = hs_batch_i32(b, WHERE) + 2 * at;
    memcpy(hs_batch_i32(b, IDS) + at, r->id, (size_t)r->n * sizeof *r->id);
    for (int64_t i = 0; i < r->n; i++) {
        hs_batch_i32(b, TYPES)[at + i] = r->type ? r->type[i] : 0;
        where[2 * i] = (int32_t)row, where[2 * i + 1] = (int32_t)i;
    }
    for (int64_t i = 0; i < r->n_picks; i++) {
        hs_batch_i32(b, PICKS)[n[HS_COUNT_PICKS] + i] = (int32_t)(at + r->pick[i]);
        hs_batch_i32(b, TARGETS)[n[HS_COUNT_PICKS] + i] = -1;
    }
    hs_batch_i32(b, STARTS)[row] = (int32_t)at;
    hs_batch_i32(b, STARTS)[row + 1] = (int32_t)(at + r->n);
    e->first_pick[row] = n[HS_COUNT_PICKS];
    n[HS_COUNT_TOKENS] += r->n, n[HS_COUNT_SEQS]++, n[HS_COUNT_PICKS] += r->n_picks;
    e->first_pick[row + 1] = n[HS_COUNT_PICKS];
    *index = (int)row;
    return HS_OK;
}

int64_t hs_row_reader_most_rows(const hs_row_reader *e) { return e->most[HS_COUNT_SEQS]; }

int hs_row_reader_rows(const hs_row_reader *e) { return (int)e->b.n[HS_COUNT_SEQS]; }

hs_status hs_row_reader_run(hs_row_reader *e)
{
    if (e->ran || hs_row_reader_rows(e) == 0)
        return HS_OK;
    hs_step_in *in = hs_run_in(e->o.run);
    HS_TRY(hs_run_feed(e->o.run, e->o.plan, &e->b));
    in->n_micro = 1;
    memset(in->inv_count, 0, sizeof in->inv_count);
    HS_TRY(hs_run_forward(e->o.run, e->o.plan));
    HS_TRY(hs_run_wait(e->o.run));
    e->ran = true;
    return HS_OK;
}

void hs_row_reader_clear(hs_row_reader *e)
{
    hs_batch_clear(&e->b, 0);
    e->ran = false;
}

// ---- what came out
int64_t hs_row_reader_width(const hs_row_reader *e) { return e->logits ? 0 : e->cols; }

static int64_t first_token(const hs_row_reader *e, int index) { return hs_batch_i32(&e->b, STARTS)[index]; }

int64_t hs_row_reader_length(const hs_row_reader *e, int index) { return first_token(e, index + 1) - first_token(e, index); }

static hs_status check_index(const hs_row_reader *e, int index, bool logits)
{
    if (!e->ran || index < 0 || index >= hs_row_reader_rows(e) || logits != e->logits)
        return HS_FAIL(INTERNAL, "row %d of %d, of a run that %s", index, hs_row_reader_rows(e),
                       !e->ran     ? "was not made"
                       : e->logits ? "made logits"
                                   : "made hidden states");
    return HS_OK;
}

hs_status hs_row_reader_hidden(const hs_row_reader *e, int index, float *dst)
{
    HS_TRY(check_index(e, index, false));
    return hs_run_read(e->o.run, e->o.plan, 0, first_token(e, index), hs_row_reader_length(e, index), dst);
}

int64_t hs_row_reader_task_rows(const hs_row_reader *e, int index) { return e->whole ? 1 : hs_row_reader_length(e, index); }

hs_status hs_row_reader_task(const hs_row_reader *e, int index, float *dst, int64_t *rows)
{
    HS_TRY(check_index(e, index, false));
    *rows = hs_row_reader_task_rows(e, index);
    return hs_run_read(e->o.run, e->o.plan, 0, e->whole ? index : first_token(e, index), *rows, dst);
}

static void normalize(float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    const double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] * scale);
}

hs_status hs_row_reader_vector(const hs_row_reader *e, int index, hs_pooling pooling, bool unit, float *dst)
{
    HS_TRY(check_index(e, index, false));
    const int64_t first = first_token(e, index), n = pooling == HS_POOLING_CLS ? 1 : hs_row_reader_length(e, index), width = e->cols;
    bool finite = true;
    for (int64_t t = 0; t < n; t++) {
        HS_TRY(hs_run_read(e->o.run, e->o.plan, 0, first + t, 1, e->line));
        for (int64_t c = 0; c < width; c++) {
            const double x = (double)e->line[c];
            e->sum[c] = t == 0 ? x : pooling == HS_POOLING_MAX ? fmax(e->sum[c], x) : e->sum[c] + x;
            finite &= isfinite(e->line[c]) != 0;
        }
    }
    if (!finite)
        return HS_FAIL(NONFINITE, "the model's hidden states are not finite numbers");
    for (int64_t c = 0; c < width; c++)
        dst[c] = (float)(pooling == HS_POOLING_MEAN ? e->sum[c] / (double)n : e->sum[c]);
    if (unit)
        normalize(dst, width);
    return HS_OK;
}

hs_status hs_row_reader_guess(const hs_row_reader *e, int index, int64_t pick, int64_t k, hs_guess *dst, int64_t *n)
{
    HS_TRY(check_index(e, index, true));
    const int64_t row = e->first_pick[index] + pick, vocab = e->o.vocab;
    if (pick < 0 || row >= e->first_pick[index + 1])
        return HS_FAIL(INTERNAL, "row %d has no prediction %lld", index, (long long)pick);
    HS_TRY(hs_run_read(e->o.run, e->o.plan, 0, row, 1, e->line));
    float top = -INFINITY;
    int64_t drawable = 0;
    for (int64_t i = 0; i < vocab; i++) {
        if (!isfinite(e->line[i]))
            return HS_FAIL(NONFINITE, "the model's logits are not finite numbers");
        top = e->line[i] > top ? e->line[i] : top;
        if (!e->o.drawable || e->o.drawable[i])
            e->order[drawable++] = (int32_t)i;
    }
    double total = 0;
    for (int64_t i = 0; i < vocab; i++)
        total += exp((double)e->line[i] - (double)top);
    *n = hs_best_of(e->line, e->order, drawable, k);
    for (int64_t i = 0; i < *n; i++)
        dst[i] = (hs_guess){ e->order[i], exp((double)e->line[e->order[i]] - (double)top) / total };
    return HS_OK;
}
