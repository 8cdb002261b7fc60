// judge: what a model with a task makes of labelled examples, held against their labels - in training after each epoch, and in
// `halfstep eval`.
//
// Batches of an evaluation are added as they come (hs_judge_batch); what they say of each example is kept, and scored at the end. Examples
// that no batch had are not scored; of sentences the words that are in no row (cut, or without a token) are taken for O, or the first
// class.
#ifndef HS_RECIPES_JUDGE_H
#define HS_RECIPES_JUDGE_H
#include "core/run/run.h"
#include "data/score/score.h"
#include "recipes/train/train_feed.h"

typedef struct hs_judge hs_judge;
// Of the validation data of the corpus, whose source (hs_feed_eval) is there; all borrowed. *out is NULL for what has no scores (lm).
hs_status hs_judge_new(hs_judge **out, const hs_feed *f, const hs_corpus *corpus);
void hs_judge_free(hs_judge *j); // takes NULL
// The scores there will be, without values: NULL behind the last. What one of them is called decides nothing but its name.
const char *const *hs_judge_names(hs_judge *j);
const char *hs_judge_usual(const hs_judge *j); // the one a task is judged by where nobody says otherwise
bool hs_judge_lower_is_better(const char *score);

void hs_judge_begin(hs_judge *j);
// Samples [first, first + n) of the source went through an evaluation plan; behind hs_run_wait.
hs_status hs_judge_batch(hs_judge *j, hs_run *run, int plan, uint64_t first, int64_t n);
hs_status hs_judge_scores(hs_judge *j, hs_scores *out);
// A report of it (data/score/score_report.h) into a folder, which is made. title: what was judged.
hs_status hs_judge_report(hs_judge *j, const char *dir, const char *title);
// The same as text; malloc'd.
hs_status hs_judge_text(hs_judge *j, const char *title, char **out);

#endif
