// gguf_export: values and settings of a model under llama.cpp's names. Matrices take the type that is asked for; what llama.cpp adds up
// or looks up by position stays f32, as its own converter leaves it.
#include "data/checkpoint/new_folder.h"
#include "data/formats/gguf_model.h"
#include "data/tokenizers/tok_gguf.h"
#include "infer/export/export.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    hs_ggml_type type;
    int file_type; // general.file_type
} types[] = { [HS_EXPORT_F32] = { HS_GGML_F32, 0 },   [HS_EXPORT_BF16] = { HS_GGML_BF16, 32 }, [HS_EXPORT_F16] = { HS_GGML_F16, 1 },
              [HS_EXPORT_Q8_0] = { HS_GGML_Q8_0, 7 }, [HS_EXPORT_Q4_0] = { HS_GGML_Q4_0, 2 },  [HS_EXPORT_Q4_K] = { HS_GGML_Q4_K, 14 } };

static bool stays_f32(const hs_param *p, const char *name)
{
    return p->n_dims < 2 || strcmp(name, "position_embd.weight") == 0 || strcmp(name, "token_types.weight") == 0;
}

static hs_ggml_type type_of(const hs_param *p, const char *name, const hs_export_gguf_opts *o, hs_export_said *said)
{
    enum { SUPER = 256 }; // values in a block of Q4_K
    const hs_ggml_type wanted = types[o->type].type;
    hs_ggml_type codes;
    if (stays_f32(p, name))
        return HS_GGML_F32;
    if (o->codes && hs_ggml_of_coding(p->coding, &codes))
        return codes;
    if (wanted != HS_GGML_Q4_K || hs_param_cols(p) % SUPER == 0)
        return wanted;
    said->narrow++;
    return HS_GGML_Q4_0;
}

// One tensor of a parameter, with its source in the file's memory.
static hs_status add_tensor(hs_gguf *g, const hs_export_model *m, const hs_param *p, const hs_name_piece *piece, hs_ggml_type type)
{
    hs_st_source *s = hs_gguf_keep(g, sizeof *s);
    if (!s)
        return HS_OK;
    *s = (hs_st_source){ .param = p, .values = m->params, .part = piece->part, .transposed = piece->transposed };
    s->t = (hs_st_tensor){ .name = p->name, .dtype = HS_F32, .n_dims = p->n_dims };
    for (int i = 0; i < p->n_dims; i++)
        s->t.dim[i] = i == 0 && piece->part > 0 ? p->logical[0] / p->parts : p->logical[i];
    if (piece->transposed) {
        const int64_t out = s->t.dim[0];
        s->t.dim[0] = s->t.dim[1], s->t.dim[1] = out;
    }
    return hs_gguf_add_tensor(g, piece->name, type, s);
}

static hs_status add_tensors(hs_gguf *g, const hs_export_model *m, const hs_export_gguf_opts *o, hs_export_said *said)
{
    const hs_gguf_files *f = m->info.files->gguf;
    for (int i = 0; i < m->params->n_params; i++) {
        const hs_param *p = m->params->param[i];
        hs_name_piece piece[HS_NAME_PIECES];
        char name[HS_NAME_BYTES];
        int n;
        if (!hs_name_to_theirs(f->name, f->n_names, p->name, name, sizeof name, NULL)) {
            said->left_out++;
            continue;
        }
        HS_TRY(hs_name_pieces(f->name, f->n_names, p->name, p->parts, piece, &n));
        for (int k = 0; k < n; k++)
            HS_TRY(add_tensor(g, m, p, &piece[k], type_of(p, piece[k].name, o, said)));
    }
    return HS_OK;
}

// What a folder of sentence-transformers says of how tokens become a vector.
static void put_pooling(hs_gguf *g, const hs_export_model *m, hs_export_said *said)
{
    static const int pooling[HS_POOLINGS] = { [HS_POOLING_MEAN] = 1, [HS_POOLING_CLS] = 2 }; // 0: none
    char key[96];
    if (m->arch.family->batch != HS_BATCH_MASKED)
        return;
    snprintf(key, sizeof key, "%s.pooling_type", m->info.files->gguf->architecture);
    said->pooling = hs_sentence_whole(&m->sentence) && pooling[m->sentence.pooling];
    if (said->pooling)
        hs_gguf_put_int(g, key, HS_GGUF_U32, pooling[m->sentence.pooling]);
}

static hs_status put_tokenizer(hs_gguf *g, const hs_export_model *m, hs_export_said *said)
{
    const int64_t vocab = hs_arch_int(m->arch, "model.vocab"), types_ = hs_arch_int(m->arch, "model.types");
    char key[96];
    if (types_ > 0)
        hs_gguf_put_int(g, "tokenizer.ggml.token_type_count", HS_GGUF_U32, types_);
    if (m->tokenizer) {
        const hs_status st = hs_gguf_put_tokenizer(g, m->tokenizer, vocab);
        if (st != HS_UNSUPPORTED)
            return st;
        snprintf(said->tokenizer, sizeof said->tokenizer, "%s", hs_error());
    } else
        snprintf(said->tokenizer, sizeof said->tokenizer, "the checkpoint has none");
    hs_gguf_put_no_tokenizer(g);
    snprintf(key, sizeof key, "%s.vocab_size", m->info.files->gguf->architecture);
    hs_gguf_put_int(g, key, HS_GGUF_U32, vocab);
    return HS_OK;
}

// What most of it is: of codes that stay, theirs.
static int type_of_file(const hs_export_model *m, const hs_export_gguf_opts *o)
{
    hs_ggml_type codes;
    for (int i = 0; o->codes && i < m->params->n_params; i++)
        if (hs_ggml_of_coding(m->params->param[i]->coding, &codes))
            return codes == HS_GGML_Q4_0 ? HS_EXPORT_Q4_0 : HS_EXPORT_Q8_0;
    return o->type;
}

static hs_status fill(hs_gguf *g, const hs_export_model *m, const hs_export_gguf_opts *o, hs_export_said *said)
{
    hs_gguf_put_model(g, m->info.files->gguf, m->arch.settings);
    const int type = type_of_file(m, o);
    hs_gguf_put_int(g, "general.file_type", HS_GGUF_U32, types[type].file_type);
    if (hs_ggml_in_blocks(types[type].type))
        hs_gguf_put_int(g, "general.quantization_version", HS_GGUF_U32, 2);
    put_pooling(g, m, said);
    HS_TRY(put_tokenizer(g, m, said));
    return add_tensors(g, m, o, said);
}

static hs_status check(const hs_export_model *m)
{
    const hs_gguf_files *f = m->info.files->gguf;
    if (!f)
        return HS_FAIL(UNSUPPORTED, "%s: model_type %s has no form in GGUF here", m->dir, m->info.files->model_type);
    const char *why = f->cannot ? f->cannot(m->arch.settings) : NULL;
    return why ? HS_FAIL(UNSUPPORTED, "%s has no form in GGUF: %s", m->dir, why) : HS_OK;
}

static hs_status export_into(hs_export_model *m, const char *tmp, const hs_export_gguf_opts *o, hs_export_said *said)
{
    const hs_arch_shape shape = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    char file[HS_PATH];
    hs_graph *trace;
    hs_gguf *g;
    HS_TRY(hs_path_join(file, "%s/model.gguf", tmp));
    HS_TRY(hs_export_model_trace(m, HS_EVAL, &shape, &trace));
    hs_graph_free(trace);
    HS_TRY(hs_export_model_load(m));
    HS_TRY(hs_gguf_new(&g));
    hs_status st = fill(g, m, o, said);
    if (st == HS_OK)
        st = hs_gguf_write(&hs_io_system, file, g);
    hs_gguf_close(g);
    return st;
}

hs_status hs_export_gguf(hs_export_model *m, const char *dir, const hs_export_gguf_opts *o, hs_export_said *said)
{
    hs_new_folder f;
    *said = (hs_export_said){ 0 };
    HS_TRY(check(m));
    HS_TRY(hs_new_folder_begin(&f, dir, o->overwrite));
    const hs_status st = export_into(m, f.tmp, o, said);
    if (st == HS_OK)
        return hs_new_folder_commit(&f);
    hs_new_folder_discard(&f);
    return hs_frame_at(st, __FILE__, __LINE__);
}
