// text_work: a request's texts on their way through a batcher - tokens, waiting, the model, an answer or an error, and what is counted of
// it. Rows that the server's cache has do not go through the batcher; a request of those alone is answered at once.
//
//   hs_text_work_new -> hs_text_work_add, for each text -> hs_text_work_go -> w->take for each row, in their order, then w->answer
#ifndef HS_INFER_TEXT_WORK_H
#define HS_INFER_TEXT_WORK_H
#include "data/base/json_util.h"
#include "infer/server/row_trace.h"
#include "infer/server/server.h"
#include "infer/server/wanted_row.h"

typedef struct hs_text_work hs_text_work;
struct hs_text_work {
    hs_work work; // text_work's
    hs_call call;
    hs_served *model;   // held
    hs_rows *rows;      // [n] tokens of each text
    hs_encode_row *row; // [n] the same, as they are read
    int n, room;
    hs_want want[HS_WANTS]; // of each row: set before `go`
    int n_wants;
    int64_t tokens;
    int64_t began;                   // hs_now_ns when the request was there
    bool cut;                        // a text was longer than the model takes, and cut
    json_t *body;                    // of the request; may be NULL. Freed with it
    int texts;                       // of the request, where they are not its rows
    void *own;                       // the caller's, free()d with it
    float *vector;                   // the caller's, free()d with it
    void (*forget)(hs_text_work *w); // (optional) before `own` is freed
    // On the batcher's thread, or within `go`: of each row what is wanted; and when each was taken: it answers.
    hs_status (*take)(hs_text_work *w, const hs_wanted_row *r, int row);
    void (*answer)(hs_text_work *w);
    // text_work's
    hs_wanted_row *found; // [n] with a cache
    int *missing;         // [work.n] rows that were not found
    int taken;            // rows
    bool counted;         // among those that asked
    int64_t cache_ns;        // in the cache
    bool traces;             // what it gives; else nobody does, or whoever asks
    hs_row_trace *row_trace; // from the first row on
};

// Takes over model and body, also where it fails: NULL, and it is answered. Its rank is what its head says (hs_call_rank).
hs_text_work *hs_text_work_new(const hs_call *c, hs_served *model, json_t *body, int texts);
// 0: as it is. priority: 1 is the highest; timeout_us: from when the request was there until its model begins with it.
void hs_text_work_rank(hs_text_work *w, int64_t priority, int64_t timeout_us);
typedef struct hs_text_cut {
    int64_t max_length; // tokens of a row; 0: the model's context
    bool refuse;        // what is longer is an error, else it is cut
    bool left;          // at its beginning
    const char *prompt; // put before the text; NULL: nothing
} hs_text_cut;
// A text, or a pair of them (second NULL: none). False: it is answered, and w is gone.
bool hs_text_work_add(hs_text_work *w, const char *text, size_t bytes, const char *second, size_t second_bytes, const hs_text_cut *cut);
void hs_text_work_add_row(hs_text_work *w, const hs_encode_row *row); // tokens that are there; borrowed until w is gone
// What it was asked for, to its trace: a string or a list of its n, as `text`; NULL: its rows, as `input_ids`.
void hs_text_work_trace(const hs_text_work *w, const json_t *texts);
// Into the batcher's queue of reader `reader`; answered with 429 where that is full. w may be gone from here on.
void hs_text_work_go(hs_text_work *w, int reader, hs_status (*take)(hs_text_work *w, const hs_wanted_row *r, int row),
                     void (*answer)(hs_text_work *w));
// Answers with an error and frees it; before `go` alone.
void hs_text_work_fail_status(hs_text_work *w, hs_status st); // as hs_call_fail_status
void hs_text_work_fail(hs_text_work *w, int http, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// USAGE: a request of so many tokens is more than may ever wait for a model: 413, once that is known.
hs_status hs_check_tokens(const hs_served *model, int64_t tokens);
// USAGE: an answer that is written bit by bit has become longer than the server gives.
hs_status hs_check_answer(const hs_call *c, const hs_text *answer);

// Texts of a request: a string, or a list of 1 to most_texts strings. -1: it is answered. i-th of them: hs_texts_at.
int hs_texts_count_of(const hs_call *c, const json_t *value, const char *name, int64_t most);
const char *hs_texts_at(const json_t *value, int i, size_t *bytes);

#endif
