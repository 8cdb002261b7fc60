// feed_labelled: rows of examples as samples. Their tokens are made once for a corpus, whoever reads them.
#include "recipes/train/feed_labelled.h"
#include "core/base/log.h"
#include "data/batches/whole_epochs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USUAL_LENGTH = 128, USUAL_SPAN_LENGTH = 384 }; // as the field fine-tunes: GLUE's and SQuAD's scripts

hs_arch_shape hs_labelled_shape(const hs_feed *f, int64_t samples)
{
    return (hs_arch_shape){ .max_tokens = samples * f->length,
                            .max_seqs = samples,
                            .longest = f->length,
                            .weighted = f->class_weights != HS_WEIGHTS_NONE,
                            .label_smoothing = (float)f->label_smoothing };
}

int64_t hs_labelled_logits(const hs_feed *f) { return f->about == HS_ABOUT_LM ? f->length : 0; }

hs_status hs_labelled_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key)
{
    (void)out, (void)samples, (void)key;
    return HS_FAIL(USAGE,
                   "this %s has a head for a task, whose batches are labelled examples: it is measured without one (model.task none)",
                   f->arch.family->name);
}

// What the later tokens of a word are taught: I-X where the word begins an X.
static hs_status later_of(int32_t **out, const hs_labels *l)
{
    char inside[512];
    int32_t *later = *out ? *out : malloc((size_t)l->n * sizeof *later + 1);
    if (!later)
        return HS_FAIL(MEMORY, "no memory for %d classes", l->n);
    for (int i = 0; i < l->n; i++) {
        snprintf(inside, sizeof inside, "I%s", l->name[i] + (l->name[i][0] == 'B'));
        const int at = l->name[i][0] == 'B' && l->name[i][1] == '-' ? hs_labels_find(l, inside) : -1;
        later[i] = at < 0 ? i : at;
    }
    *out = later;
    return HS_OK;
}

static hs_status check_weights(const hs_feed *f, const hs_labels *l, bool trains)
{
    char list[256] = "";
    if (!trains || f->class_weights != HS_WEIGHTS_LIST || f->n_weights == l->n)
        return HS_OK;
    for (int i = 0; i < l->n && strlen(list) < 200; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%.40s", i ? ", " : "", l->name[i]);
    return HS_FAIL(USAGE, "task.weights has %d number%s, but there are %d classes: %s", f->n_weights, hs_plural(f->n_weights), l->n, list);
}

static hs_status rows_of(hs_source **rows, const hs_feed *f, hs_corpus *corpus, const hs_examples *examples, bool trains)
{
    hs_labelled_opts o = { .examples = examples,
                           .rows = f->rows,
                           .n_labels = (int)hs_arch_int(f->arch, "model.labels"),
                           .weights = trains ? f->class_weights : HS_WEIGHTS_NONE,
                           .weight = f->weight,
                           .seed = f->seed,
                           .frozen = !trains };
    if (*rows)
        return HS_OK;
    HS_TRY(check_weights(f, &examples->labels, trains));
    if (f->rows.all_subtokens)
        HS_TRY(later_of(&corpus->labelled.later, &examples->labels));
    o.rows.later = corpus->labelled.later;
    o.rows.tokenizer = corpus->tokenizer;
    o.rows.max_length = f->length;
    o.rows.vocab = hs_arch_int(f->arch, "model.vocab");
    o.rows.drop = trains && f->rows.drop; // what is asked of validation is asked
    return hs_labelled_new(rows, &o);
}

hs_status hs_labelled_train(hs_source **out, const hs_feed *f, hs_corpus *corpus)
{
    *out = NULL;
    HS_TRY(rows_of(&corpus->labelled.rows[0], f, corpus, &corpus->labelled.train, true));
    return hs_whole_epochs_new(out, corpus->labelled.rows[0], f->batch);
}

hs_status hs_labelled_eval(hs_source **out, const hs_feed *f, hs_corpus *corpus)
{
    *out = NULL;
    HS_TRY(rows_of(&corpus->labelled.rows[1], f, corpus, &corpus->labelled.val, false));
    return hs_whole_epochs_new(out, corpus->labelled.rows[1], 1);
}

static int64_t usual_length(const hs_feed *f)
{
    const int64_t context = hs_arch_int(f->arch, "model.context"), usual = f->about == HS_ABOUT_SPAN ? USUAL_SPAN_LENGTH
                                                                           : f->about == HS_ABOUT_LM ? context
                                                                                                     : USUAL_LENGTH;
    return usual < context ? usual : context;
}

void hs_labelled_take(hs_feed *f, const hs_config *c)
{
    f->kind = HS_BATCH_LABELLED;
    f->about = hs_config_about(c);
    f->predictions = 0;
    f->length = c->data.length ? c->data.length : usual_length(f);
    f->rows = (hs_rows_opts){ .stride = c->task.stride,
                              .max_query = c->task.max_query,
                              .all_subtokens = c->task.all_subtokens,
                              .context = c->task.context,
                              .drop = c->task.drop,
                              .prefix_space = (hs_prefix_space)c->task.prefix_space };
    f->class_weights = (hs_class_weights)c->task.class_weights;
    f->weight = c->task.weights.v, f->n_weights = c->task.weights.n;
    f->label_smoothing = c->task.label_smoothing;
    f->span = (hs_span_opts){ .n_best = (int)c->task.n_best, .max_answer = c->task.max_answer, .threshold = c->task.null_threshold };
}

void hs_labelled_of_arch(hs_feed *f)
{
    static const hs_about about[HS_TASKS] = { [HS_TASK_SEQUENCE] = HS_ABOUT_SEQUENCE,
                                              [HS_TASK_REGRESSION] = HS_ABOUT_REGRESSION,
                                              [HS_TASK_MULTILABEL] = HS_ABOUT_MULTILABEL,
                                              [HS_TASK_TOKENS] = HS_ABOUT_TOKENS,
                                              [HS_TASK_SPAN] = HS_ABOUT_SPAN };
    f->about = about[hs_arch_task(f->arch)];
    f->span = (hs_span_opts){ .n_best = 20, .max_answer = 30 };
    f->length = usual_length(f);
}
