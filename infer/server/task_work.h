// task_work: the examples of a request on their way through a model with a task, and what it says of them written as JSON, example by
// example: text_work for heads.
//
//   hs_task_work_new -> hs_task_work_add, for each example -> hs_task_work_go -> t->write for each, on the batcher's thread -> the answer
#ifndef HS_INFER_TASK_WORK_H
#define HS_INFER_TASK_WORK_H
#include "infer/heads/prediction_json.h"
#include "infer/heads/text_examples.h"
#include "infer/server/text_work.h"

typedef struct hs_task_work hs_task_work;
struct hs_task_work {
    hs_call call;
    hs_served *model; // held
    json_t *body;
    hs_text_examples examples;
    hs_prediction_json json;
    hs_text out; // the answer so far
    bool list;   // inputs are a list, and so is the answer; else it is what `write` writes
    bool truncate;
    // the route's
    void (*write)(hs_task_work *t, int example, const hs_prediction *x);
    void (*end)(hs_task_work *t); // (optional) behind the last one, in front of the bracket that closes
    bool raw;                     // logits instead of probabilities
    int top;                      // so many at most; 0: all
    void *own;                    // free()d with it
    // under way
    hs_head_decoder *decoder;
    float *logits; // [longest row][columns]
    int example;
    int64_t row;
};

// Takes over model and body, also where it fails: NULL, and it is answered. span: of SPAN, else not looked at.
hs_task_work *hs_task_work_new(const hs_call *c, hs_served *model, json_t *body, const hs_span_opts *span);
// False: it is answered, and t is gone. Texts too long for the model are refused (413), or cut where t->truncate says so.
bool hs_task_work_add(hs_task_work *t, const char *text, size_t bytes, const char *second, size_t second_bytes);
void hs_task_work_go(hs_task_work *t); // t is the batcher's from here on
void hs_task_work_fail(hs_task_work *t, int http, const char *fmt, ...) __attribute__((format(printf, 3, 4))); // before `go`; frees it

#endif
