// import_gguf: tensors of llama.cpp's file, blocks of small integers as f32; settings and tokenizer of its keys.
#include "data/formats/gguf_model.h"
#include "data/tokenizers/tok_gguf.h"
#include "infer/import/import_model.h"

static void close_gguf(void *file) { hs_gguf_close(file); }

static hs_dtype plain(hs_ggml_type t)
{
    return t == HS_GGML_F32 ? HS_F32 : t == HS_GGML_F16 ? HS_F16 : t == HS_GGML_BF16 ? HS_BF16 : HS_N_DTYPES;
}

static hs_status add(hs_import_model *m, const hs_gguf_tensor *t)
{
    int64_t n = 1;
    if (plain(t->type) != HS_N_DTYPES)
        return hs_import_add(m, t->name, plain(t->type), t->n_dims, t->dim, t->data);
    for (int i = 0; i < t->n_dims; i++)
        n *= t->dim[i];
    float *values = hs_import_keep(m, (size_t)n * sizeof *values);
    if (!values)
        return HS_FAIL(MEMORY, "%s: no memory for %lld numbers of \"%s\"", m->path, (long long)n, t->name);
    hs_ggml_to_f32(t->type, t->data, values, n);
    return hs_import_add(m, t->name, HS_F32, t->n_dims, t->dim, values);
}

hs_status hs_import_gguf(hs_import_model *m, hs_import_file *keep)
{
    hs_gguf *g;
    int index = 0;
    HS_TRY(hs_gguf_open(&g, m->path));
    *keep = (hs_import_file){ g, close_gguf };
    HS_TRY(hs_gguf_find_model(g, m->path, m->known, m->n_known, &index));
    HS_TRY(hs_import_family(m, index));
    const hs_gguf_files *f = m->info.files->gguf;
    m->rule = f->name, m->n_rules = f->n_names;
    m->alias = f->alias, m->n_aliases = f->n_aliases;
    HS_TRY(hs_gguf_get_model(g, m->path, f, &m->info.settings));
    for (int i = 0; i < g->n_tensors; i++)
        HS_TRY(add(m, &g->tensor[i]));
    if (!m->opts->tokenizer || !m->opts->tokenizer[0])
        HS_TRY(hs_gguf_get_tokenizer(g, m->path, &m->tokenizer));
    return hs_import_tokenizer(m, (const char *const[]){ NULL });
}
