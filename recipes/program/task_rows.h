// task_rows: how examples become rows of a checkpoint's model: as it was trained, where the checkpoint says so.
#ifndef HS_RECIPES_TASK_ROWS_H
#define HS_RECIPES_TASK_ROWS_H
#include "infer/heads/head.h"
#include "recipes/program/config.h"

// max_length (0: the model's context), stride, max_query, context and prefix_space; the rest is 0.
hs_status hs_task_rows(const hs_config_table *table, const hs_session *s, hs_rows_opts *rows);

#endif
