// score_squad: questions with their gold answers, and what was predicted for each, out of SQuAD's files.
//
// Gold: SQuAD's {"data": [{"paragraphs": [{"qas": [{"id", "answers": [{"text"}]}]}]}]}, or records {"id", "answers"} in a list, in "data"
// or a line each; answers as {"text": [..]} or [{"text"}]. Predicted: {"id": "answer", ..}, or records {"id", "prediction_text"} (or
// "prediction", "answer"), with "no_answer_probability" where that is known. Odds: {"id": number, ..}, of null_odds.json.
#ifndef HS_RECIPES_SCORE_SQUAD_H
#define HS_RECIPES_SCORE_SQUAD_H
#include "data/base/arena.h"
#include "data/score/score.h"

typedef struct hs_score_questions {
    hs_span_answer *answer; // [n]
    int64_t n;
    int64_t *length; // words of each context; 0 where the file has none
    bool version_2;  // some question has no answer
    bool odds;       // every question has some
    int64_t unknown; // predictions for questions that the gold file has not
    hs_labels id;
    hs_arena arena;
} hs_score_questions;

// odds: a file, or NULL. USAGE and CORRUPT with file:line. hs_score_questions_free in any case.
hs_status hs_score_questions_read(hs_score_questions *out, const char *gold, const char *pred, const char *odds);
void hs_score_questions_free(hs_score_questions *q);

#endif
