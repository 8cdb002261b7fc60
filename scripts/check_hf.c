// The C half of check_hf.py: reads a model directory and writes it again, once exported and once as a checkpoint of a run.
//   check_hf IN OUT     OUT/model, OUT/checkpoints/step-00000001
//   check_hf IN OUT     where OUT/batch.safetensors is (i32 ids [N], token_types [N], where [N, 2], starts [B + 1]):
//   OUT/hidden.safetensors,
//                       the last hidden state of IN's encoder, and pooled first tokens where it has a pooler
//   with picks [P], pick_targets [P] (-1: nothing is replaced) in the batch: of an IN that ELECTRA's pretraining wrote, the logits of its
//   generator at the picks, and of the discriminator at every token
#include "core/run/run.h"
#include "data/checkpoint/checkpoint.h"
#include "models/family.h"
#include "ops/ops.h"
#include "optim/optim.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hs_status add_model(hs_params *ps, hs_arch m)
{
    const hs_grid grid = hs_grid_self();
    hs_graph *g;
    HS_TRY(hs_graph_new(&g, ps, NULL, HS_EVAL, &grid));
    m.family->trace(g, m.settings, &(hs_arch_shape){ .max_tokens = 8, .max_seqs = 1, .hidden = true });
    const hs_status st = hs_graph_status(g);
    hs_graph_free(g);
    HS_TRY(st);
    const hs_optim_config adamw = hs_optim_preset(HS_PRESET_ADAMW);
    HS_TRY(hs_optim_declare(&adamw, ps));
    return hs_params_alloc(ps, NULL, false);
}

static hs_status find(const char *in, char *dir, size_t size, hs_model_info *info, hs_arch *m)
{
    const hs_model_files *known[HS_FAMILIES];
    int n = 0, at = 0;
    for (; hs_families[n]; n++)
        known[n] = &hs_families[n]->files;
    HS_TRY(hs_ckpt_resolve(in, false, dir, size));
    HS_TRY(hs_ckpt_read_info(dir, known, n, info));
    while (known[at] != info->files)
        at++;
    *m = (hs_arch){ hs_families[at], info->settings.bytes };
    return HS_OK;
}

static hs_status copy(const char *in, const char *out)
{
    char found[4096], model[4096], run[4096];
    hs_model_info info;
    hs_arch m;
    hs_params *ps;
    hs_ckpt *c;
    hs_tokenizer *tok;
    hs_ckpt_opts o = { .dir = run, .keep = 1 };
    snprintf(model, sizeof model, "%s/model", out);
    snprintf(run, sizeof run, "%s/checkpoints", out);
    HS_TRY(find(in, found, sizeof found, &info, &m));
    o.files = info.files;
    HS_TRY(hs_params_new(&ps, 1, 0, 1));
    HS_TRY(add_model(ps, m));
    HS_TRY(hs_ckpt_load_params(found, &o, ps));
    HS_TRY(hs_tokenizer_byte(&tok));
    HS_TRY(hs_ckpt_export(model, &o, ps, &info, tok));
    HS_TRY(hs_ckpt_new(&c, &o, ps));
    HS_TRY(hs_ckpt_save(c, ps, &(hs_train_state){ .step = 1 }, &info, tok, "", true));
    HS_TRY(hs_ckpt_wait(c));
    hs_ckpt_free(c);
    hs_tokenizer_free(tok);
    hs_params_free(ps);
    hs_model_info_free(&info);
    return HS_OK;
}

// ---- what it computes
static hs_status feed(hs_run *r, const hs_safetensors *batch)
{
    for (int i = 0; i < hs_safetensors_count(batch); i++) {
        const hs_st_entry *e = hs_safetensors_at(batch, i);
        if (hs_run_input(r, 0, e->name))
            HS_TRY(hs_run_write(r, 0, e->name, e->data, e->bytes));
    }
    return HS_OK;
}

static hs_status keep(hs_run *r, const char *path, const char *const names[2], const int64_t rows[2])
{
    hs_st_tensor out[2];
    int n = 0;
    hs_ref ref;
    for (; n < 2 && hs_run_output(r, 0, n, &ref); n++) {
        const int64_t k = rows[n];
        float *x = malloc((size_t)(k * ref.cols) * sizeof *x);
        HS_TRY(hs_run_read(r, 0, n, 0, k, x));
        out[n] = (hs_st_tensor){ .name = names[n], .dtype = HS_F32, .n_dims = 2, .dim = { k, ref.cols }, .data = x };
    }
    return hs_safetensors_write(path, out, n, NULL);
}

// What a run's settings say of the generator, from the generator's own folder.
static hs_status take_generator(const char *dir, hs_model_info *info, hs_arch m)
{
    static const char *const keys[][2] = { { "model.generator", "model.width" }, { "model.generator_heads", "model.heads" } };
    char folder[4200], found[4200];
    hs_model_info theirs;
    hs_arch small;
    snprintf(folder, sizeof folder, "%s/generator", dir);
    HS_TRY(find(folder, found, sizeof found, &theirs, &small));
    for (int i = 0; i < 2; i++)
        HS_TRY(hs_arch_set(m.family, &info->settings, keys[i][0], hs_arch_int(small, keys[i][1])));
    hs_model_info_free(&theirs);
    return HS_OK;
}

static hs_status hidden(const char *in, const char *out)
{
    static const char *const names[][2] = { { "hidden", "pooled" }, { "generator", "discriminator" } };
    char found[4096], path[4200];
    hs_model_info info;
    hs_arch_setup setup;
    hs_device *d;
    hs_model *m;
    hs_run *r;
    hs_safetensors *batch;
    int plan;
    snprintf(path, sizeof path, "%s/batch.safetensors", out);
    HS_TRY(hs_safetensors_open(&batch, path));
    const int64_t n = hs_safetensors_find(batch, "ids")->dim[0], seqs = hs_safetensors_find(batch, "starts")->dim[0] - 1;
    HS_TRY(find(in, found, sizeof found, &info, &setup.arch));
    const hs_st_entry *picks = hs_safetensors_find(batch, "picks");
    const int64_t rows[][2] = { { n, seqs }, { picks ? picks->dim[0] : 0, n } };
    if (picks)
        HS_TRY(take_generator(found, &info, setup.arch));
    setup.shape = (hs_arch_shape){ .max_tokens = n, .max_seqs = seqs, .max_picks = rows[1][0], .hidden = !picks, .logits = picks != NULL };
    HS_TRY(hs_open_device(&d, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
    HS_TRY(hs_model_new(&m, &(hs_model_opts){ .device = d, .micro_steps = HS_VALUES_STAY }));
    HS_TRY(hs_model_plan(m, HS_EVAL, hs_arch_trace, &setup, &plan));
    HS_TRY(hs_model_alloc(m, false));
    HS_TRY(hs_ckpt_load_params(found, &(hs_ckpt_opts){ .files = info.files }, m->params));
    HS_TRY(hs_run_new(&r, m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }));
    HS_TRY(feed(r, batch));
    hs_step_live(hs_run_in(r), n, seqs, rows[1][0]);
    HS_TRY(hs_run_forward(r, plan));
    snprintf(path, sizeof path, "%s/hidden.safetensors", out);
    return keep(r, path, names[picks != NULL], rows[picks != NULL]);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: check_hf IN OUT\n");
        return 2;
    }
    char batch[4200];
    snprintf(batch, sizeof batch, "%s/batch.safetensors", argv[2]);
    if ((access(batch, F_OK) == 0 ? hidden : copy)(argv[1], argv[2]) == HS_OK)
        return 0;
    fprintf(stderr, "check_hf: %s (%s)\n", hs_error(), hs_error_frames());
    return 1;
}
