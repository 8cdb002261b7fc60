// judge_span: answers to questions. The rows of a question come one behind the other; what they say is settled when the next one comes.
#include "recipes/train/judge_task.h"
#include <stdlib.h>
#include <string.h>

static hs_status no_memory(const hs_judge *j) { return HS_FAIL(MEMORY, "no memory to judge %lld answers", (long long)j->n); }

static hs_status fill_golds(hs_judge *j)
{
    for (int64_t i = 0; i < j->n; i++) {
        const hs_example *e = &j->examples->example[i];
        const char **gold = hs_arena_take(&j->golds, ((size_t)e->n + 1) * sizeof *gold);
        if (!gold)
            return no_memory(j);
        for (int32_t k = 0; k < e->n; k++) {
            gold[k] = hs_arena_text(&j->golds, e->text[1] + e->answer[k].start, (size_t)(e->answer[k].end - e->answer[k].start));
            if (!gold[k])
                return no_memory(j);
        }
        j->answer[i] = (hs_span_answer){ .id = e->id ? e->id : "", .gold = gold, .n_gold = e->n, .pred = "" };
    }
    return HS_OK;
}

hs_status hs_judge_span_open(hs_judge *j)
{
    j->answer = calloc((size_t)j->n + 1, sizeof *j->answer);
    j->each = calloc((size_t)j->n + 1, sizeof *j->each);
    if (!j->answer || !j->each)
        return no_memory(j);
    HS_TRY(hs_span_decoder_new(&j->decoder, &j->span));
    j->at = -1;
    return fill_golds(j);
}

void hs_judge_span_free(hs_judge *j)
{
    hs_span_decoder_free(j->decoder);
    hs_arena_free(&j->golds);
    hs_arena_free(&j->guesses);
    free(j->answer);
    free(j->each);
}

void hs_judge_span_begin(hs_judge *j)
{
    hs_arena_clear(&j->guesses);
    for (int64_t i = 0; i < j->n; i++)
        j->answer[i].pred = "", j->answer[i].odds = 0;
    j->at = -1;
}

void hs_judge_span_gold(hs_judge *j)
{
    for (int64_t i = 0; i < j->n; i++)
        j->answer[i].pred = j->answer[i].n_gold ? j->answer[i].gold[0] : "";
}

// Of the question whose rows are all there.
static hs_status settle(hs_judge *j)
{
    hs_span_found found;
    if (j->at < 0)
        return HS_OK;
    const char *context = j->examples->example[j->at].text[1];
    hs_span_answer *a = &j->answer[j->at];
    HS_TRY(hs_span_decoder_end(j->decoder, &found));
    a->odds = found.odds;
    if (found.answer)
        a->pred = hs_arena_text(&j->guesses, context + found.answer->start, (size_t)(found.answer->end - found.answer->start));
    j->at = -1;
    return a->pred ? HS_OK : no_memory(j);
}

hs_status hs_judge_span_take(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols)
{
    if (row->example != j->at) {
        HS_TRY(settle(j));
        hs_span_decoder_begin(j->decoder, j->examples->example[row->example].text[1]);
        j->at = row->example;
    }
    return hs_span_decoder_add(j->decoder, row, logits, cols);
}

hs_status hs_judge_span_score(hs_judge *j, hs_scores *out)
{
    HS_TRY(settle(j));
    const hs_span_input all = { .n = j->n, .answers = j->answer, .version_2 = j->span.none, .odds = j->span.none, .threshold = 1e300 };
    HS_TRY(hs_score_answers(&all, j->each));
    int64_t *draw = malloc(((size_t)j->n + 1) * sizeof *draw), n = 0;
    if (!draw)
        return no_memory(j);
    for (int64_t i = 0; i < j->n; i++)
        if (j->seen[i])
            draw[n++] = i;
    hs_span_input seen = all;
    seen.each = j->each;
    if (n < j->n) // a part of the questions is scored as if there were no others
        seen.n = n, seen.draw = draw;
    const hs_status st = hs_score_span(&seen, out);
    free(draw);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_judge_span_facts(hs_judge *j, hs_judge_facts *f)
{
    for (int64_t i = 0; i < j->n; i++)
        if (j->seen[i])
            hs_length_add(&f->length, (int64_t)j->examples->example[i].bytes[1], 1, 1 - j->each[i].f1);
    f->report.length = &f->length, f->report.length_unit = "bytes of context", f->report.error_name = "1 - F1";
    return HS_OK;
}
