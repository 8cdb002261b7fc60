// judge_tags: a class of each word, by itself or as a chain.
#include "infer/heads/viterbi.h"
#include "recipes/train/judge_task.h"
#include <stdlib.h>

// Of the values that are there now: an evaluation later they are others.
hs_status hs_judge_tags_chain(hs_judge *j, const hs_params *ps)
{
    static const char *const names[] = { "crf.next", "crf.first", "crf.last" };
    j->has_chain = true;
    for (int i = 0; i < HS_COUNT(names); i++) {
        const hs_param *p = hs_params_find(ps, names[i]);
        if (!p)
            return HS_OK;
        if (!j->chain[i])
            j->chain[i] = malloc((size_t)j->width * (size_t)j->width * sizeof *j->chain[i]);
        if (!j->chain[i])
            return HS_FAIL(MEMORY, "no memory for a chain of %d tags", j->width);
        HS_TRY(hs_params_values(ps, p, j->chain[i]));
    }
    return HS_OK;
}

static hs_status take_chain(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols)
{
    const hs_chain c = { j->width, j->chain[0], j->chain[1], j->chain[2] };
    int64_t n = 0;
    int32_t *at = realloc(j->chain_row, ((size_t)row->n + 1) * sizeof *at);
    j->chain_row = at ? at : j->chain_row;
    int32_t *tag = realloc(j->chain_tag, ((size_t)row->n + 1) * sizeof *tag);
    j->chain_tag = tag ? tag : j->chain_tag;
    if (!at || !tag)
        return HS_FAIL(MEMORY, "no memory for a chain of %lld words", (long long)row->n);
    for (int64_t t = 0; t < row->n; t++)
        if (row->word[t] >= 0)
            at[n++] = (int32_t)t;
    HS_TRY(hs_viterbi(&c, logits, cols, at, n, tag, NULL));
    for (int64_t i = 0; i < n; i++)
        j->pred[j->starts[row->example] + row->word[at[i]]] = tag[i];
    return HS_OK;
}

hs_status hs_judge_tags_take(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols)
{
    if (j->chain[0])
        return take_chain(j, row, logits, cols);
    for (int64_t t = 0; t < row->n; t++)
        if (row->word[t] >= 0)
            j->pred[j->starts[row->example] + row->word[t]] = hs_judge_best(logits + t * cols, j->width);
    return HS_OK;
}

static hs_tokens_input tags_of(const hs_judge *j)
{
    return (hs_tokens_input){
        .tags = &j->examples->labels, .sentences = j->examples->n, .starts = j->starts, .gold = j->gold, .pred = j->pred
    };
}

hs_status hs_judge_tags_score(hs_judge *j, hs_scores *out)
{
    const hs_tokens_input in = tags_of(j);
    return j->chunks ? hs_score_tokens(&in, out) : hs_judge_score_class(j, out);
}

hs_status hs_judge_tags_facts(hs_judge *j, hs_judge_facts *f)
{
    const hs_tokens_input in = tags_of(j);
    for (int64_t s = 0; s < j->examples->n; s++) {
        int64_t wrong = 0, words = 0;
        for (int64_t w = j->starts[s]; w < j->starts[s + 1]; w++)
            words += j->gold[w] >= 0, wrong += j->gold[w] >= 0 && j->gold[w] != j->pred[w];
        if (words)
            hs_length_add(&f->length, j->starts[s + 1] - j->starts[s], words, (double)wrong);
    }
    f->report.length = &f->length, f->report.length_unit = "words", f->report.error_name = "wrong tags";
    HS_TRY(hs_judge_count(j, f));
    if (!j->chunks)
        return HS_OK;
    HS_TRY(hs_count_entities(&in, &f->entities));
    f->classes = f->entities.types;
    f->report.by_class = f->entities.of_type, f->report.class_word = "type";
    return HS_OK;
}
