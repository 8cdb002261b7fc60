// The C half of check_hf.py: reads a model directory and writes it again, once exported and once as a checkpoint of a run.
//   check_hf IN OUT     OUT/model, OUT/checkpoints/step-00000001
#include "data/checkpoint/checkpoint.h"
#include "models/gpt/gpt.h"
#include "optim/optim.h"
#include <stdio.h>

static hs_status add(hs_params *ps, const char *name, int parts, int pad, int64_t rows, int64_t cols)
{
    hs_param *p;
    return hs_params_get(
        ps, &(hs_param_spec){ .name = name, .parts = parts, .pad_rows = pad, .n_dims = cols ? 2 : 1, .dim = { rows, cols } }, &p);
}

static hs_status add_model(hs_params *ps, const hs_model_info *m)
{
    static const struct {
        const char *name;
        int parts, rows, cols;
    } block[] = {
        // in widths
        { "ln_1.weight", 1, 1, 0 },      { "ln_1.bias", 1, 1, 0 },      { "attn.qkv.weight", 3, 3, 1 }, { "attn.qkv.bias", 3, 3, 0 },
        { "attn.proj.weight", 1, 1, 1 }, { "attn.proj.bias", 1, 1, 0 }, { "ln_2.weight", 1, 1, 0 },     { "ln_2.bias", 1, 1, 0 },
        { "mlp.up.weight", 1, 4, 1 },    { "mlp.up.bias", 1, 4, 0 },    { "mlp.down.weight", 1, 1, 4 }, { "mlp.down.bias", 1, 1, 0 },
    };
    HS_TRY(add(ps, "wte.weight", 1, 64, m->vocab, m->width));
    HS_TRY(add(ps, "wpe.weight", 1, 0, m->context, m->width));
    for (int layer = 0; layer < m->layers; layer++)
        for (int i = 0; i < HS_COUNT(block); i++) {
            char name[64];
            snprintf(name, sizeof name, "h%d.%s", layer, block[i].name);
            HS_TRY(add(ps, name, block[i].parts, 0, block[i].rows * m->width, block[i].cols * m->width));
        }
    HS_TRY(add(ps, "ln_f.weight", 1, 0, m->width, 0));
    HS_TRY(add(ps, "ln_f.bias", 1, 0, m->width, 0));
    hs_optim_config adamw;
    HS_TRY(hs_optim_preset(&adamw, "adamw"));
    HS_TRY(hs_optim_declare(&adamw, ps));
    return hs_params_alloc(ps, false);
}

static hs_status copy(const char *in, const char *out)
{
    char found[4096], model[4096], run[4096];
    hs_model_info info;
    hs_params *ps;
    hs_ckpt *c;
    hs_tokenizer *tok;
    hs_ckpt_opts o = { .dir = run, .keep = 1, .rules = hs_gpt_names, .n_rules = hs_gpt_n_names };
    snprintf(model, sizeof model, "%s/model", out);
    snprintf(run, sizeof run, "%s/checkpoints", out);
    HS_TRY(hs_ckpt_resolve(in, false, found, sizeof found));
    HS_TRY(hs_ckpt_read_info(found, &info));
    HS_TRY(hs_params_new(&ps, 1, 0, 1));
    HS_TRY(add_model(ps, &info));
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
