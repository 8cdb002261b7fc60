// task: what a model with a head of its own is asked, beyond what it was pretrained for. models/ makes the heads, data/ the targets.
#ifndef HS_CORE_TASK_H
#define HS_CORE_TASK_H
#include <stdbool.h>
#include <stdint.h>

typedef enum hs_task {
    HS_TASK_NONE,
    HS_TASK_SEQUENCE,   // one class of a sequence, or of a pair
    HS_TASK_REGRESSION, // numbers of a sequence, or of a pair
    HS_TASK_MULTILABEL, // any of the labels, each judged by itself
    HS_TASK_TOKENS,     // a class of each token
    HS_TASK_SPAN,       // from where to where: an answer in its context
    HS_TASKS
} hs_task;
#define HS_TASK_WORDS "none|sequence|regression|multilabel|tokens|span"

typedef struct hs_task_head { // settings of a model that may have a task
    int task;                 // hs_task
    int64_t labels;           // classes, numbers; 0: not known yet, and of span, which has a start and an end
    double dropout;           // in front of the head's products while training; -1: what transformers' class of the family takes
    bool crf;                 // of tokens: their classes are judged as one chain
} hs_task_head;

#endif
