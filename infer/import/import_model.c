// import_model: see the header. Tensors go through the same door as those of safetensors files: everything that is missing, left over or of
// another shape is named in one line.
#include "infer/import/import_model.h"
#include "core/base/ending.h"
#include "core/base/grow.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/checkpoint/sentence_folder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hs_status hs_import_begin(hs_import_model *m, const char *path, const hs_family *const *families, const hs_import_opts *o)
{
    *m = (hs_import_model){ .path = path, .families = families, .opts = o };
    for (; families[m->n_known]; m->n_known++) {
        if (m->n_known == HS_FAMILIES)
            return HS_FAIL(INTERNAL, "a table of more than %d families", HS_FAMILIES);
        m->known[m->n_known] = &families[m->n_known]->files;
    }
    return HS_OK;
}

void hs_import_end(hs_import_model *m)
{
    for (int i = 0; i < m->n_own; i++)
        free(m->own[i]);
    free(m->own);
    free(m->entry);
    hs_map_free(m->index);
    hs_tokenizer_free(m->tokenizer);
    hs_model_info_free(&m->info);
    *m = (hs_import_model){ 0 };
}

void *hs_import_keep(hs_import_model *m, size_t bytes)
{
    void *p = hs_grow(&m->own, m->n_own, &m->cap_own, sizeof *m->own) ? malloc(bytes > 0 ? bytes : 1) : NULL;
    if (p)
        m->own[m->n_own++] = p;
    return p;
}

static hs_status no_memory(const hs_import_model *m, const char *name)
{
    return HS_FAIL(MEMORY, "%s: no memory for tensor \"%.200s\"", m->path, name);
}

const hs_st_entry *hs_import_find(const hs_import_model *m, const char *name)
{
    const int i = m->index ? hs_map_get(m->index, hs_hash_string(name)) : 0;
    return i > 0 && strcmp(m->entry[i - 1].name, name) == 0 ? &m->entry[i - 1] : NULL;
}

hs_status hs_import_add(hs_import_model *m, const char *name, hs_dtype dtype, int n_dims, const int64_t *dim, const void *data)
{
    hs_st_entry e = { .dtype = dtype, .n_dims = n_dims, .data = data, .bytes = hs_dtype_bytes(dtype) };
    for (int i = 0; i < n_dims; i++) {
        e.dim[i] = dim[i];
        e.bytes *= (size_t)dim[i];
    }
    const hs_st_entry *old = hs_import_find(m, name);
    if (old) {
        if (old->bytes == e.bytes && old->n_dims == n_dims && memcmp(old->dim, e.dim, sizeof e.dim) == 0 &&
            memcmp(old->data, data, e.bytes) == 0)
            return HS_OK;
        return HS_FAIL(CORRUPT, "%s: tensor \"%.200s\" is there twice, with other values", m->path, name);
    }
    int *at = hs_map_at(&m->index, hs_hash_string(name));
    char *copy = hs_import_keep(m, strlen(name) + 1);
    if (!at || !copy || !hs_grow(&m->entry, m->n, &m->capacity, sizeof *m->entry))
        return no_memory(m, name);
    strcpy(copy, name);
    e.name = copy;
    m->entry[m->n++] = e;
    *at = m->n;
    return HS_OK;
}

hs_status hs_import_family(hs_import_model *m, int index)
{
    m->family = m->families[index];
    hs_model_info_free(&m->info);
    m->info = (hs_model_info){ .files = m->known[index] };
    HS_TRY(hs_arch_defaults(m->family, &m->info.settings));
    for (const char *p = m->family->heads; p && *p; p += strcspn(p, "|"), p += *p == '|') {
        char key[HS_KEY_NAME];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(p, "|"), p);
        const hs_key *k = hs_schema_find(m->family->settings, NULL, key).key;
        if (k && k->type == HS_KEY_BOOL)
            HS_TRY(hs_schema_set(m->family->settings, m->info.settings.bytes, NULL, key, "false", NULL));
    }
    return HS_OK;
}

hs_status hs_import_tokenizer(hs_import_model *m, const char *const *dirs)
{
    if (m->opts->tokenizer && m->opts->tokenizer[0]) {
        hs_tokenizer_free(m->tokenizer);
        return hs_tokenizer_load(&m->tokenizer, m->opts->tokenizer);
    }
    for (; !m->tokenizer && *dirs; dirs++)
        if (hs_tokenizer_found(*dirs))
            return hs_tokenizer_load(&m->tokenizer, *dirs);
    return HS_OK;
}

// ---- into the slabs

// Names of the file's tensors. They stand as [out, in] here, whatever the family's own files do.
static hs_status pieces(const hs_param *p, const void *user, hs_name_piece piece[HS_NAME_PIECES], int *n)
{
    const hs_import_model *m = user;
    HS_TRY(hs_name_pieces(m->rule ? m->rule : m->info.files->name, m->rule ? m->n_rules : m->info.files->n_names, p->name, p->parts, piece,
                          n));
    for (int i = 0; i < *n; i++)
        piece[i].transposed = false;
    return HS_OK;
}

hs_status hs_import_params(const hs_import_model *m, hs_params **ps)
{
    const hs_grid grid = hs_grid_self();
    const hs_arch_setup setup = { { m->family, m->info.settings.bytes },
                                  { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true } };
    hs_graph *g;
    HS_TRY(hs_params_new(ps, 0, 0, 1));
    HS_TRY(hs_graph_new(&g, *ps, NULL, HS_EVAL, &grid));
    hs_arch_trace(g, &setup);
    const hs_status st = hs_graph_status(g);
    hs_graph_free(g);
    return st;
}

hs_status hs_import_check_size(const hs_import_model *m, int64_t have)
{
    const int64_t promised = m->family->count(m->info.settings.bytes);
    return promised / 2 <= have ? HS_OK
                                : HS_FAIL(CORRUPT, "%s: its settings describe %lld parameters, its weights are %lld", m->path,
                                          (long long)promised, (long long)have);
}

static int64_t elements(const hs_import_model *m)
{
    int64_t n = 0;
    for (int i = 0; i < m->n; i++)
        n += (int64_t)(m->entry[i].bytes / hs_dtype_bytes(m->entry[i].dtype));
    return n;
}

static hs_status copy_values(const hs_import_model *m, hs_params *ps)
{
    hs_model_files names = m->rule ? (hs_model_files){ .alias = m->alias, .n_aliases = m->n_aliases } : *m->info.files;
    hs_weights w;
    hs_status st = hs_weights_of(&w, m->path, m->entry, m->n);
    w.files = &names;
    if (st == HS_OK)
        st = hs_weights_unwrap(&w, ps, pieces, m);
    if (st == HS_OK)
        st = hs_weights_expect(&w, ps, pieces, m);
    if (st == HS_OK)
        st = hs_weights_fit(&w);
    if (st == HS_OK)
        st = hs_weights_copy(&w, ps, pieces, m, ps->master);
    hs_weights_close(&w);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status check_vocab(const hs_import_model *m)
{
    const int64_t rows = hs_arch_int((hs_arch){ m->family, m->info.settings.bytes }, "model.vocab");
    if (!m->tokenizer || hs_tokenizer_vocab(m->tokenizer) <= rows)
        return HS_OK;
    return HS_FAIL(USAGE, "%s: the model has %lld rows for tokens, the tokenizer ids up to %lld: it is another model's", m->path,
                   (long long)rows, (long long)hs_tokenizer_vocab(m->tokenizer) - 1);
}

// Heads of a task are named alike in all of them: what a graph is for stands in config.json alone.
static hs_status name_config(hs_status st)
{
    char said[800];
    snprintf(said, sizeof said, "%s", hs_error());
    return hs_fail_at(st, __FILE__, __LINE__, "%s; it came without config.json: --config FILE says what it is for", said);
}

// What a folder of sentence-transformers says, where the file lies in one, or in the folder "onnx" of one; one that is not understood is
// none.
static void read_sentence(const char *path, hs_sentence *how, char from[HS_PATH])
{
    const char *slash = strrchr(path, '/');
    snprintf(from, HS_PATH, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (hs_ends_with(from, "/onnx"))
        from[strlen(from) - strlen("/onnx")] = 0;
    if (hs_sentence_read(from, how) != HS_OK)
        *how = (hs_sentence){ 0 };
}

hs_status hs_import_write(hs_import_model *m, const char *dir, hs_import_said *said)
{
    const hs_arch arch = { m->family, m->info.settings.bytes };
    const hs_export_opts e = { .dtype = HS_F32, .overwrite = m->opts->overwrite };
    char from[HS_PATH];
    hs_sentence how;
    hs_params *ps = NULL;
    read_sentence(m->path, &how, from);
    HS_TRY(hs_arch_check_file(arch, m->path));
    HS_TRY(check_vocab(m));
    HS_TRY(hs_import_check_size(m, elements(m)));
    hs_status st = hs_import_params(m, &ps);
    if (st == HS_OK)
        st = hs_params_alloc(ps, NULL, false);
    if (st == HS_OK)
        st = copy_values(m, ps);
    if (st == HS_USAGE && m->deduced)
        st = name_config(st);
    if (st == HS_OK)
        st = hs_sentence_export(dir, &e, &(hs_ckpt_opts){ .files = m->info.files }, ps, &m->info, m->tokenizer, &how, from,
                                hs_arch_int(arch, "model.width"));
    if (st == HS_OK) {
        said->parameters = (int64_t)hs_params_count(ps);
        said->tokenizer = m->tokenizer != NULL;
        snprintf(said->title, sizeof said->title, "%s", m->family->title);
        hs_arch_describe(arch, said->what, sizeof said->what);
    }
    hs_params_free(ps);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
