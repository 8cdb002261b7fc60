// export_model: see the header.
#include "infer/export/export_model.h"
#include "data/checkpoint/peft.h"
#include "infer/session/session.h"
#include <stdio.h>
#include <string.h>

hs_status hs_export_model_open(hs_export_model *m, const char *path, int want, const hs_family *const *families)
{
    *m = (hs_export_model){ 0 };
    HS_TRY(hs_ckpt_resolve(path, want, m->dir, sizeof m->dir));
    HS_TRY(hs_session_info(families, m->dir, &m->info, &m->arch.family));
    m->arch.settings = m->info.settings.bytes;
    char dir[HS_PATH];
    HS_TRY(hs_peft_tokenizer(m->dir, dir));
    if (hs_tokenizer_load(&m->tokenizer, dir) != HS_OK) {
        m->tokenizer = NULL;
        snprintf(m->tokenizer_error, sizeof m->tokenizer_error, "%s", hs_error());
    }
    HS_TRY(hs_path_join(m->path, "%s", path));
    if (hs_is_dir(path) && hs_sentence_read(path, &m->sentence) != HS_OK) {
        m->sentence = (hs_sentence){ 0 };
        snprintf(m->sentence_error, sizeof m->sentence_error, "%s", hs_error());
    }
    m->states = hs_states_new();
    if (!m->states)
        return HS_FAIL(MEMORY, "no memory to open %s", m->dir);
    HS_TRY(hs_params_new(&m->params, 0, 0, 1));
    if (!m->info.coded)
        return HS_OK;
    HS_TRY(hs_ckpt_codes_open(&m->codes, m->dir, &(hs_ckpt_opts){ .files = m->info.files }));
    return hs_params_code(m->params, hs_ckpt_codes_coder(m->codes));
}

hs_status hs_export_model_trace(hs_export_model *m, hs_mode mode, const hs_arch_shape *shape, hs_graph **out)
{
    const hs_grid grid = hs_grid_self();
    const hs_arch_setup setup = { m->arch, *shape };
    *out = NULL;
    HS_TRY(hs_graph_new(out, m->params, m->states, mode, &grid));
    hs_arch_trace(*out, &setup);
    const hs_status st = hs_graph_status(*out);
    if (st != HS_OK) {
        hs_graph_free(*out);
        *out = NULL;
    }
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_export_model_load(hs_export_model *m)
{
    HS_TRY(hs_params_alloc(m->params, NULL, false));
    return hs_ckpt_load_params(m->dir, &(hs_ckpt_opts){ .files = m->info.files }, m->params);
}

void hs_export_model_close(hs_export_model *m)
{
    hs_params_free(m->params);
    hs_ckpt_codes_close(m->codes);
    hs_states_free(m->states);
    hs_tokenizer_free(m->tokenizer);
    hs_model_info_free(&m->info);
    *m = (hs_export_model){ 0 };
}

hs_status hs_export_pieces(const hs_export_model *m, const hs_param *p, hs_name_piece piece[HS_NAME_PIECES], int *n)
{
    return hs_name_pieces(m->info.files->name, m->info.files->n_names, p->name, p->parts, piece, n);
}
