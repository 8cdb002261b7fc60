// head: a way of decoding for each task.
#include "infer/heads/head.h"
#include "infer/heads/viterbi.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 1024 }; // of a batch: products reach their speed

typedef struct task {
    hs_status (*begin)(hs_head_decoder *d);
    hs_status (*take)(hs_head_decoder *d, const hs_example_row *row, const float *logits, int64_t rows);
    hs_status (*end)(hs_head_decoder *d, hs_prediction *out);
} task;

struct hs_head {
    hs_about about;
    const task *task;
    int64_t columns;
    int labels;
    int32_t outside; // class of words that have none
    float *crf[3];   // NULL: tags are judged one by one
};

struct hs_head_decoder {
    const hs_head *h;
    const hs_example *example;
    bool any;            // a row was taken
    float *score, *prob; // [labels]
    // of a row, of an example; they grow
    float *tag_score, *chain_score;
    int32_t *tag, *chain_row, *chain_tag;
    struct {
        size_t tag_score, chain_score, tag, chain_row, chain_tag;
    } room;
    hs_span_decoder *span;
};

hs_about hs_about_of_task(hs_task of)
{
    static const hs_about about[HS_TASKS] = { [HS_TASK_NONE] = HS_ABOUT_LM,
                                              [HS_TASK_SEQUENCE] = HS_ABOUT_SEQUENCE,
                                              [HS_TASK_REGRESSION] = HS_ABOUT_REGRESSION,
                                              [HS_TASK_MULTILABEL] = HS_ABOUT_MULTILABEL,
                                              [HS_TASK_TOKENS] = HS_ABOUT_TOKENS,
                                              [HS_TASK_SPAN] = HS_ABOUT_SPAN };
    return about[of];
}

hs_arch_shape hs_head_shape(const hs_session *s)
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

#define ROOM(d, member, n) room_for(&(d)->member, &(d)->room.member, n, sizeof *(d)->member)

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

static hs_status begin_scores(hs_head_decoder *d)
{
    memset(d->score, 0, (size_t)d->h->labels * sizeof *d->score);
    return HS_OK;
}

static hs_status take_scores(hs_head_decoder *d, const hs_example_row *row, const float *logits, int64_t rows)
{
    (void)row, (void)rows;
    HS_TRY(check_finite(logits, d->h->labels));
    memcpy(d->score, logits, (size_t)d->h->labels * sizeof *d->score);
    return HS_OK;
}

static hs_status end_numbers(hs_head_decoder *d, hs_prediction *out)
{
    out->score = out->logit = d->score;
    return HS_OK;
}

static hs_status end_class(hs_head_decoder *d, hs_prediction *out)
{
    out->label = softmax(d->score, d->h->labels, d->prob);
    out->score = d->prob, out->logit = d->score;
    return HS_OK;
}

static hs_status end_labels(hs_head_decoder *d, hs_prediction *out)
{
    for (int i = 0; i < d->h->labels; i++)
        d->prob[i] = (float)(1 / (1 + exp(-(double)d->score[i])));
    out->score = d->prob, out->logit = d->score;
    return HS_OK;
}

// ---- a class of each word

static hs_status begin_words(hs_head_decoder *d)
{
    const int32_t n = d->example->n;
    if (!ROOM(d, tag, (size_t)n + 1) || !ROOM(d, tag_score, (size_t)n + 1))
        return no_memory();
    for (int32_t k = 0; k < n; k++)
        d->tag[k] = d->h->outside, d->tag_score[k] = 0;
    return HS_OK;
}

static hs_status take_chain(hs_head_decoder *d, const hs_example_row *row, const float *logits)
{
    const hs_head *h = d->h;
    int64_t n = 0;
    const size_t most = (size_t)row->n;
    if (!ROOM(d, chain_row, most) || !ROOM(d, chain_tag, most) || !ROOM(d, chain_score, most))
        return no_memory();
    for (int64_t t = 0; t < row->n; t++)
        if (row->word[t] >= 0)
            d->chain_row[n++] = (int32_t)t;
    const hs_chain c = { h->labels, h->crf[0], h->crf[1], h->crf[2] };
    HS_TRY(hs_viterbi(&c, logits, h->columns, d->chain_row, n, d->chain_tag, d->chain_score));
    for (int64_t i = 0; i < n; i++) {
        const int32_t word = row->word[d->chain_row[i]];
        d->tag[word] = d->chain_tag[i], d->tag_score[word] = d->chain_score[i];
    }
    return HS_OK;
}

static hs_status take_words(hs_head_decoder *d, const hs_example_row *row, const float *logits, int64_t rows)
{
    const hs_head *h = d->h;
    for (int64_t t = 0; t < rows; t++)
        if (row->word[t] >= 0)
            HS_TRY(check_finite(logits + t * h->columns, h->labels));
    if (h->crf[0])
        return take_chain(d, row, logits);
    for (int64_t t = 0; t < rows; t++)
        if (row->word[t] >= 0)
            d->tag_score[row->word[t]] = sure_of(logits + t * h->columns, h->labels, &d->tag[row->word[t]]);
    return HS_OK;
}

static hs_status end_words(hs_head_decoder *d, hs_prediction *out)
{
    out->tag = d->tag, out->tag_score = d->tag_score;
    return HS_OK;
}

// ---- spans

static hs_status begin_span(hs_head_decoder *d)
{
    hs_span_decoder_begin(d->span, d->example->text[1]);
    return HS_OK;
}

static hs_status take_span(hs_head_decoder *d, const hs_example_row *row, const float *logits, int64_t rows)
{
    (void)rows;
    return hs_span_decoder_add(d->span, row, logits, d->h->columns);
}

static hs_status end_span(hs_head_decoder *d, hs_prediction *out) { return hs_span_decoder_end(d->span, &out->span); }

static const task tasks[HS_ABOUTS] = {
    [HS_ABOUT_SEQUENCE] = { begin_scores, take_scores, end_class },     [HS_ABOUT_PAIR] = { begin_scores, take_scores, end_class },
    [HS_ABOUT_REGRESSION] = { begin_scores, take_scores, end_numbers }, [HS_ABOUT_MULTILABEL] = { begin_scores, take_scores, end_labels },
    [HS_ABOUT_TOKENS] = { begin_words, take_words, end_words },         [HS_ABOUT_SPAN] = { begin_span, take_span, end_span },
};

// ---- what stands in the model

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

static hs_status read_chain(hs_head *h, const hs_params *ps)
{
    static const char *const names[] = { "crf.next", "crf.first", "crf.last" };
    for (int i = 0; i < 3; i++) {
        const hs_param *param = hs_params_find(ps, names[i]);
        const int64_t n = i ? h->labels : (int64_t)h->labels * h->labels;
        if (!param)
            return HS_OK;
        if (!(h->crf[i] = malloc((size_t)n * sizeof(float))))
            return no_memory();
        HS_TRY(read_param(ps, param, n, h->crf[i]));
    }
    return HS_OK;
}

static hs_status read_head(hs_head *h, const hs_session *s, hs_run *run)
{
    hs_ref out;
    if (!h->task->take)
        return HS_FAIL(INTERNAL, "a model of language has no head to predict with");
    if (!hs_run_output(run, s->eval, 0, &out))
        return HS_FAIL(INTERNAL, "this plan keeps no logits");
    h->columns = out.cols;
    h->labels = h->about == HS_ABOUT_SPAN ? 2 : (int)hs_arch_int(s->arch, "model.labels");
    if (h->labels < 1 || h->labels > h->columns)
        return HS_FAIL(INTERNAL, "%d labels in logits of %lld columns", h->labels, (long long)h->columns);
    h->outside = hs_labels_find(&s->info.labels, "O");
    h->outside = h->outside < 0 ? 0 : h->outside;
    return h->about == HS_ABOUT_TOKENS ? read_chain(h, s->model->params) : HS_OK;
}

hs_status hs_head_new(hs_head **out, const hs_session *s, hs_run *run, hs_about about)
{
    hs_head *h = *out = calloc(1, sizeof *h);
    if (!h)
        return no_memory();
    h->about = about, h->task = &tasks[about];
    const hs_status st = read_head(h, s, run);
    if (st == HS_OK)
        return HS_OK;
    hs_head_free(h);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_head_free(hs_head *h)
{
    if (!h)
        return;
    for (int i = 0; i < 3; i++)
        free(h->crf[i]);
    free(h);
}

hs_about hs_head_about(const hs_head *h) { return h->about; }
int64_t hs_head_columns(const hs_head *h) { return h->columns; }

// ---- an example

hs_status hs_head_decoder_new(hs_head_decoder **out, const hs_head *h, const hs_span_opts *span)
{
    hs_head_decoder *d = *out = calloc(1, sizeof *d);
    if (!d)
        return no_memory();
    d->h = h;
    d->score = calloc((size_t)h->labels, sizeof *d->score);
    d->prob = calloc((size_t)h->labels, sizeof *d->prob);
    hs_status st = d->score && d->prob ? HS_OK : no_memory();
    if (st == HS_OK && h->about == HS_ABOUT_SPAN)
        st = hs_span_decoder_new(&d->span, span);
    if (st == HS_OK)
        return HS_OK;
    hs_head_decoder_free(d);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_head_decoder_free(hs_head_decoder *d)
{
    if (!d)
        return;
    hs_span_decoder_free(d->span);
    free(d->score), free(d->prob), free(d->tag), free(d->tag_score);
    free(d->chain_row), free(d->chain_tag), free(d->chain_score);
    free(d);
}

hs_status hs_head_decoder_begin(hs_head_decoder *d, const hs_example *x)
{
    d->example = x, d->any = false;
    return d->h->task->begin(d);
}

hs_status hs_head_decoder_take(hs_head_decoder *d, const hs_example_row *row, const float *logits, int64_t rows)
{
    d->any = true;
    return d->h->task->take(d, row, logits, rows);
}

hs_status hs_head_decoder_end(hs_head_decoder *d, hs_prediction *out)
{
    *out = (hs_prediction){ .example = d->example, .empty = !d->any };
    if (d->h->about != HS_ABOUT_SPAN)
        out->n_labels = d->h->labels;
    return d->h->task->end(d, out);
}
