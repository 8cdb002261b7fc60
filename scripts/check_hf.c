// The C half of check_hf.py: reads a model directory and writes it again, once exported and once as a checkpoint of a run.
//   check_hf IN OUT     OUT/model, OUT/checkpoints/step-00000001
#include "data/checkpoint/checkpoint.h"
#include "models/family.h"
#include "optim/optim.h"
#include <stdio.h>

static hs_status add_model(hs_params *ps, hs_arch m)
{
    const hs_grid grid = hs_grid_self();
    hs_graph *g;
    HS_TRY(hs_graph_new(&g, ps, NULL, HS_EVAL, &grid));
    m.family->trace(g, m.settings, &(hs_arch_shape){ .max_tokens = 8, .max_seqs = 1 });
    const hs_status st = hs_graph_status(g);
    hs_graph_free(g);
    HS_TRY(st);
    const hs_optim_config adamw = hs_optim_preset(HS_PRESET_ADAMW);
    HS_TRY(hs_optim_declare(&adamw, ps));
    return hs_params_alloc(ps, NULL, false);
}

static hs_status copy(const char *in, const char *out)
{
    char found[4096], model[4096], run[4096];
    hs_model_info info;
    hs_params *ps;
    hs_ckpt *c;
    hs_tokenizer *tok;
    hs_ckpt_opts o = { .dir = run, .keep = 1 };
    snprintf(model, sizeof model, "%s/model", out);
    snprintf(run, sizeof run, "%s/checkpoints", out);
    HS_TRY(hs_ckpt_resolve(in, false, found, sizeof found));
    const hs_model_files *known[HS_FAMILIES];
    int n = 0, at = 0;
    for (; hs_families[n]; n++)
        known[n] = &hs_families[n]->files;
    HS_TRY(hs_ckpt_read_info(found, known, n, &info));
    while (known[at] != info.files)
        at++;
    o.files = info.files;
    HS_TRY(hs_params_new(&ps, 1, 0, 1));
    HS_TRY(add_model(ps, (hs_arch){ hs_families[at], info.settings.bytes }));
    HS_TRY(hs_ckpt_load_params(found, &o, ps));
    HS_TRY(hs_tokenizer_byte(&tok));
    HS_TRY(hs_ckpt_export(model, &o, ps, &info, tok));
    HS_TRY(hs_ckpt_new(&c, &o, ps));
    HS_TRY(hs_ckpt_save(c, ps, &(hs_train_state){ .step = 1 }, &info, tok, "", true));
    HS_TRY(hs_ckpt_wait(c));
    hs_ckpt_free(c);
    hs_tokenizer_free(tok);
    hs_params_free(ps);
    return HS_OK;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: check_hf IN OUT\n");
        return 2;
    }
    if (copy(argv[1], argv[2]) == HS_OK)
        return 0;
    fprintf(stderr, "check_hf: %s (%s)\n", hs_error(), hs_error_frames());
    return 1;
}
