// support_values: see the header.
#include "tests/support/support_values.h"
#include "tests/support/support_files.h"

void open_values(hs_export_model *m, const char *dir)
{
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_graph *g;
    OK(hs_export_model_open(m, dir, 0, hs_families));
    OK(hs_export_model_trace(m, HS_EVAL, &eval, &g));
    hs_graph_free(g);
    OK(hs_export_model_load(m));
}
