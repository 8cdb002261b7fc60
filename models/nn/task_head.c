// task_head: one row for each task - what its targets are, and which loss they meet.
#include "models/nn/task_head.h"
#include "models/nn/taps.h"

enum { LABEL_UNIT = 8 }; // stored rows of the last product: whole vectors

typedef struct scene { // of one trace
    hs_graph *g;
    const hs_task_head *head;
    const hs_arch_shape *shape;
    hs_tensor *logits, *target, *weight, *starts, *keys;
    hs_tensor *chain[3]; // of tags
} scene;

static hs_tensor *classes(const scene *s)
{
    const hs_xent_attr attr = {
        .classes = (int32_t)s->head->labels, .ignore = -1, .loss = HS_LOSS_TASK, .smoothing = s->shape->label_smoothing
    };
    return hs_xent_weighted(s->g, s->logits, s->target, s->weight, attr);
}

static hs_tensor *numbers(const scene *s)
{
    return hs_mse(s->g, s->logits, s->target, s->weight, (hs_label_attr){ (int32_t)s->head->labels, HS_LOSS_TASK });
}

static hs_tensor *several(const scene *s)
{
    return hs_bce(s->g, s->logits, s->target, s->weight, (hs_label_attr){ (int32_t)s->head->labels, HS_LOSS_TASK });
}

static hs_tensor *chain_param(hs_graph *g, const char *name, int n_dims, int64_t labels)
{
    return hs_param_get(g, &(hs_param_spec){ .name = name,
                                             .role = HS_WEIGHT,
                                             .init = HS_INIT_NORMAL,
                                             .std = 0.02f,
                                             .n_dims = n_dims,
                                             .dim = { labels, n_dims > 1 ? labels : 0 } });
}

static void chain_params(hs_graph *g, int64_t labels, hs_tensor *p[3])
{
    const size_t mark = hs_push(g, "crf");
    p[0] = chain_param(g, "next", 2, labels);
    p[1] = chain_param(g, "first", 1, labels);
    p[2] = chain_param(g, "last", 1, labels);
    hs_pop(g, mark);
}

static hs_tensor *tags(const scene *s)
{
    hs_tensor *const *p = s->chain;
    if (!s->head->crf)
        return classes(s);
    if (s->weight || s->shape->label_smoothing > 0)
        return hs_graph_fail(s->g, HS_USAGE, "model.crf is true: a chain of tags has neither class weights nor label smoothing");
    return hs_crf(s->g, s->logits, s->target, s->starts, p[0], p[1], p[2], (hs_label_attr){ (int32_t)s->head->labels, HS_LOSS_TASK });
}

static hs_tensor *start_and_end(const scene *s)
{
    if (s->weight || s->shape->label_smoothing > 0)
        return hs_graph_fail(s->g, HS_USAGE, "model.task is span: it has neither class weights nor label smoothing");
    return hs_span_xent(s->g, s->logits, s->target, s->starts, s->keys, (hs_span_attr){ HS_LOSS_TASK });
}

// ---- what a teacher says
static hs_tensor *said(const scene *s) { return hs_nn_tapped_input(s->g, HS_TAP_LOGITS, s->logits, s->logits->dim[1]); }

// Of a chain of tags too: what a token says by itself; how tags follow one another is learned from their targets.
static void soft_classes(const scene *s) { hs_nn_tap_logits(s->g, s->shape, s->logits, s->head->labels, s->target); }

static void soft_numbers(const scene *s)
{
    hs_mse(s->g, s->logits, said(s), NULL, (hs_label_attr){ (int32_t)s->head->labels, HS_LOSS_SOFT });
}

static void soft_several(const scene *s)
{
    const hs_soft_attr attr = { .classes = (int32_t)s->head->labels, .loss = HS_LOSS_SOFT, .temperature = s->shape->distill.temperature };
    hs_soft_labels(s->g, s->logits, said(s), NULL, attr);
}

static void soft_start_and_end(const scene *s)
{
    const hs_soft_span_attr attr = { .loss = HS_LOSS_SOFT, .temperature = s->shape->distill.temperature };
    hs_soft_span(s->g, s->logits, said(s), s->starts, s->keys, attr);
}

static const struct {
    const char *scope, *target; // of the last product; the column
    hs_dtype dtype;
    bool tokens, each; // a target for each token, else for each sequence; for each label
    int64_t cols;      // numbers of a target; 0: one, or with each as many as labels
    hs_tensor *(*loss)(const scene *s);
    void (*soft)(const scene *s); // of a student
} rows[HS_TASKS] = {
    [HS_TASK_SEQUENCE] = { "class.out", "class_targets", HS_I32, false, false, 0, classes, soft_classes },
    [HS_TASK_REGRESSION] = { "class.out", "value_targets", HS_F32, false, true, 0, numbers, soft_numbers },
    [HS_TASK_MULTILABEL] = { "class.out", "label_targets", HS_F32, false, true, 0, several, soft_several },
    [HS_TASK_TOKENS] = { "tags", "tag_targets", HS_I32, true, false, 0, tags, soft_classes },
    [HS_TASK_SPAN] = { "span", "span_targets", HS_I32, false, false, 2, start_and_end, soft_start_and_end },
};

bool hs_task_is_class(const hs_task_head *h) { return h->task && !rows[h->task].tokens && h->task != HS_TASK_SPAN; }
int64_t hs_task_outputs(const hs_task_head *h) { return h->task == HS_TASK_SPAN ? 2 : h->labels; }

static const char *const words[HS_TASKS] = { "none", "sequence", "regression", "multilabel", "tokens", "span" };

hs_status hs_task_check(const hs_task_head *h)
{
    if (h->labels < 0 || h->labels > 1 << 24)
        return HS_FAIL(USAGE, "model.labels is %lld, allowed 0 to %d", (long long)h->labels, 1 << 24);
    if (h->labels && (!h->task || h->task == HS_TASK_SPAN))
        return HS_FAIL(USAGE, "model.labels is %lld, but model.task is %s: %s", (long long)h->labels, words[h->task],
                       h->task ? "it has a start and an end, and no labels" : "it has no labels");
    if (h->crf && h->task != HS_TASK_TOKENS)
        return HS_FAIL(USAGE, "model.crf is true, but model.task is %s: only tags of tokens are a chain", words[h->task]);
    if (!(h->dropout == -1 || (h->dropout >= 0 && h->dropout < 1)))
        return HS_FAIL(USAGE, "model.task_dropout is %g, allowed 0 to below 1, or -1", h->dropout);
    return HS_OK;
}

int64_t hs_task_count(const hs_task_head *h, int64_t width, bool bias)
{
    const int64_t L = hs_task_outputs(h);
    return h->task ? L * (width + bias) + (h->crf ? L * L + 2 * L : 0) : 0;
}

static bool known(hs_graph *g, const hs_task_head *h)
{
    if (hs_task_outputs(h) < 1)
        hs_graph_fail(g, HS_USAGE, "model.labels is 0: how many labels the model tells apart is not known");
    return g->status == HS_OK;
}

hs_tensor *hs_nn_task_logits(hs_graph *g, const hs_task_head *h, hs_tensor *x, int64_t width, bool bias)
{
    if (!known(g, h))
        return g->poison;
    x = hs_nn_linear(g, x, rows[h->task].scope, width, hs_task_outputs(h), .pad_rows = LABEL_UNIT, .no_bias = !bias);
    return hs_cast(g, x, HS_F32); // sinks into the product
}

static hs_tensor *target_of(const scene *s)
{
    const int64_t n = rows[s->head->task].tokens ? s->shape->max_tokens : s->shape->max_seqs;
    const int64_t cols = rows[s->head->task].each ? s->head->labels : rows[s->head->task].cols;
    const hs_dtype dtype = rows[s->head->task].dtype;
    const hs_ext ext = rows[s->head->task].tokens ? HS_EXT_TOKENS : HS_EXT_SEQS;
    hs_tensor *t = hs_input(s->g, rows[s->head->task].target, dtype, ext, cols ? 2 : 1, (int64_t[]){ n, cols });
    if (s->g->mode == HS_EVAL)
        hs_input_default(s->g, t, dtype == HS_F32 ? 0 : -1);
    return t;
}

static hs_tensor *weight_of(const scene *s)
{
    const int64_t n = rows[s->head->task].tokens ? s->shape->max_tokens : s->shape->max_seqs;
    if (!s->shape->weighted)
        return NULL;
    hs_tensor *t = hs_input(s->g, "target_weights", HS_F32, rows[s->head->task].tokens ? HS_EXT_TOKENS : HS_EXT_SEQS, 1, &n);
    hs_input_default(s->g, t, 1);
    return t;
}

// Two losses read the logits, and each writes its gradient over what it reads.
static void learn(scene *s, hs_tensor *logits)
{
    s->logits = hs_scale(s->g, logits, 1);
    rows[s->head->task].soft(s);
    s->logits = hs_scale(s->g, logits, 1);
}

hs_tensor *hs_nn_task_loss(hs_graph *g, const hs_task_head *h, const hs_arch_shape *shape, hs_tensor *logits, hs_tensor *starts,
                           hs_tensor *keys)
{
    scene s = { .g = g, .head = h, .shape = shape, .logits = logits, .starts = starts, .keys = keys };
    if (!known(g, h))
        return g->poison;
    if (hs_nn_teaches(shape)) {
        hs_nn_tap_logits(g, shape, logits, h->labels, NULL);
        return logits;
    }
    if (shape->lean && g->mode == HS_EVAL && !h->crf) {
        hs_output(g, logits);
        return logits;
    }
    s.target = target_of(&s);
    s.weight = weight_of(&s);
    if (h->crf)
        chain_params(g, h->labels, s.chain);
    if (g->mode == HS_EVAL)
        hs_output(g, logits);
    const size_t mark = hs_push(g, "task");
    if (hs_nn_learns(shape, HS_TAP_LOGITS))
        learn(&s, logits);
    hs_tensor *y = shape->distill.no_hard && g->mode == HS_TRAIN ? logits : rows[h->task].loss(&s);
    hs_pop(g, mark);
    return y;
}

void hs_nn_task_params(hs_graph *g, const hs_task_head *h, int64_t width, bool bias)
{
    hs_tensor *w, *b, *p[3];
    if (!known(g, h))
        return;
    hs_nn_linear_params(g, rows[h->task].scope, width, hs_task_outputs(h), (hs_linear_opts){ .pad_rows = LABEL_UNIT, .no_bias = !bias }, &w,
                        &b);
    if (h->crf)
        chain_params(g, h->labels, p);
}
