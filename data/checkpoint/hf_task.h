// hf_task: what config.json says of a model with a task, by the rows HS_FILE_TASK, HS_FILE_LABELS and HS_FILE_LABEL_IDS of its family.
#ifndef HS_DATA_HF_TASK_H
#define HS_DATA_HF_TASK_H
#include "data/checkpoint/ckpt_parts.h"

int hs_file_task(const hs_model_files *f, const void *settings); // hs_task; HS_TASK_NONE of families without tasks
// The class that is written, up to a "|"; NULL: the model has no task.
const char *hs_file_task_class(const hs_model_files *f, const void *settings);
bool hs_file_task_writes(const hs_model_files *f, const void *settings, const hs_file_key *k); // is there anything to write of that row
hs_status hs_file_task_write(hs_text *t, const hs_file_key *k, const hs_model_info *m);        // its value
// Task, number of labels and their names. CORRUPT: a label without a name, or two of one; UNSUPPORTED: a problem_type that is none.
hs_status hs_file_task_read(const hs_json *j, hs_model_info *m);
// What a folder without config.json of its own says (an adapter beside a base): how many outputs its head has (0: there is none), and the
// task, put into what the base's config.json said: the class, and labels without names where the base has not as many.
struct hs_weights;
int64_t hs_file_task_outputs(const hs_model_files *f, const struct hs_weights *w);
hs_status hs_file_task_put(json_t *config, const hs_model_files *f, int task, int64_t labels);

#endif
