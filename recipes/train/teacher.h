// teacher: the model that a run's own is held against - what its files say, checked against the student, and a second run beside the
// trainer's: forward only, without gradients or moments, its outputs passed into the student's inputs.
#ifndef HS_RECIPES_TEACHER_H
#define HS_RECIPES_TEACHER_H
#include "core/run/run.h"
#include "recipes/program/config.h"
#include "recipes/train/train_feed.h"

// Reads what distill.teacher is and settles what follows from it: its folder, model.vocab where that is open, distill.other_*. Once the
// student's family and shape are known; nothing where there is no teacher. USAGE, by name: another kind of model, another vocabulary or
// task, no head that has the logits, widths or layers that do not go together.
hs_status hs_teacher_take(hs_config *c);
// Is the tokenizer that the run has the teacher's, by what it does? USAGE.
hs_status hs_teacher_check_tokenizer(const hs_config *c, const hs_tokenizer *t);
// The classes of a task, in the teacher's order; none where its file does not name them. To be freed.
hs_status hs_teacher_classes(const hs_config *c, hs_labels *out);

hs_status hs_teacher_check_labels(const hs_config *c); // as many as model.labels, once those are known

typedef struct hs_teacher hs_teacher;
// Plans for micro-batches of training and of evaluation of that feed, weights; on the device, in the policy and on the ranks of the
// student, whose plans are made. USAGE: sequences longer than it has positions for.
hs_status hs_teacher_open(hs_teacher **out, const hs_config *c, const hs_feed *f, const hs_model *student);
// What that will take, without taking any; 0 where there is no teacher.
hs_status hs_teacher_bytes(const hs_config *c, const hs_feed *f, const hs_model *student, size_t *bytes);
void hs_teacher_free(hs_teacher *t); // takes NULL
// distill.layers: the student's parameters become those of the teacher's layers, embeddings and heads those of the same name. USAGE naming
// one that has another shape; nothing is changed then.
hs_status hs_teacher_begin(const hs_teacher *t, const hs_config *c, hs_params *student);
// Behind hs_teacher_begin, which it leaves without values: gives back those that its plans do not read. More than once does no harm.
hs_status hs_teacher_settle(hs_teacher *t);
// The batch through the teacher, and what it says into the student's plan of that mode, which was fed already.
hs_status hs_teacher_show(hs_teacher *t, hs_mode mode, const hs_batch *batch, hs_run *student, int plan);
const hs_model *hs_teacher_model(const hs_teacher *t);

#endif
