// task_rows: see the header.
#include "recipes/program/task_rows.h"
#include <stdlib.h>

hs_status hs_task_rows(const hs_config_table *table, const hs_session *s, hs_rows_opts *rows)
{
    hs_config *c;
    HS_TRY(hs_config_of_checkpoint(&c, table, s->dir));
    const bool trained = c && hs_config_labelled(c), span = hs_about_of_task(hs_arch_task(s->arch)) == HS_ABOUT_SPAN;
    *rows = (hs_rows_opts){ .max_length = c && c->data.length ? c->data.length
                                          : span              ? 384
                                          : trained           ? 128
                                                              : 0 }; // as the field fine-tunes
    if (trained) {
        rows->stride = c->task.stride, rows->max_query = c->task.max_query, rows->context = c->task.context;
        rows->prefix_space = (hs_prefix_space)c->task.prefix_space;
    }
    free(c);
    return HS_OK;
}
