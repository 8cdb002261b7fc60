// import_llmc: llm.c's checkpoint has parameters one behind the other, layer by layer of each kind. Their shapes follow from its header.
#include "data/formats/llmc_model.h"
#include "infer/import/import_model.h"
#include <stdio.h>
#include <string.h>

static void close_llmc(void *file) { hs_llmc_model_close(file); }

// Its names are our own.
static const hs_name_rule own[1] = { { "", "", false, 0 } };

// The next parameter of the file. rows: as they lie there, where more than the model has.
static hs_status add(hs_import_model *m, const hs_llmc_model *f, const hs_param *p, int64_t rows, size_t *at)
{
    size_t bytes = hs_dtype_bytes(f->dtype);
    for (int i = 0; i < p->n_dims; i++)
        bytes *= (size_t)(i == 0 && rows ? rows : p->logical[i]);
    if (bytes > f->bytes - *at)
        return HS_FAIL(CORRUPT, "%s: %s ends behind the file's %zu bytes: truncated, or not of the sizes its header says", m->path, p->name,
                       f->file.bytes);
    HS_TRY(hs_import_add(m, p->name, f->dtype, p->n_dims, p->logical, f->data + *at));
    *at += bytes;
    return HS_OK;
}

static hs_status add_all(hs_import_model *m, const hs_llmc_model *f, const hs_params *ps)
{
    const char *const *pattern = m->info.files->llmc->param;
    size_t at = 0;
    for (int k = 0; pattern[k]; k++) {
        const char *layer = strstr(pattern[k], "%d");
        const hs_param *p;
        char name[HS_NAME_BYTES];
        for (int i = 0;; i++) {
            snprintf(name, sizeof name, "%.*s", layer ? (int)(layer - pattern[k]) : (int)strlen(pattern[k]), pattern[k]);
            if (layer)
                snprintf(name + strlen(name), sizeof name - strlen(name), "%d%s", i, layer + 2);
            if (!(p = hs_params_find(ps, name)))
                break;
            HS_TRY(add(m, f, p, k == 0 ? f->vocab_rows : 0, &at));
            if (!layer)
                break;
        }
    }
    return at == f->bytes ? HS_OK
                          : HS_FAIL(CORRUPT, "%s: %zu bytes stand behind the last parameter: not of the sizes its header says", m->path,
                                    f->bytes - at);
}

hs_status hs_import_llmc(hs_import_model *m, hs_import_file *keep)
{
    hs_llmc_model *f;
    hs_params *ps = NULL;
    int index = 0;
    HS_TRY(hs_llmc_model_open(&f, m->path));
    *keep = (hs_import_file){ f, close_llmc };
    while (index < m->n_known && !m->known[index]->llmc)
        index++;
    if (index == m->n_known)
        return HS_FAIL(UNSUPPORTED, "%s is a checkpoint of llm.c, and no family here has such files", m->path);
    HS_TRY(hs_import_family(m, index));
    for (int i = 0; i < HS_LLMC_SIZES; i++)
        *(int64_t *)(m->info.settings.bytes + m->info.files->llmc->size[i]) = f->size[i];
    m->rule = own, m->n_rules = 0;
    HS_TRY(hs_arch_check_file((hs_arch){ m->family, m->info.settings.bytes }, m->path));
    HS_TRY(hs_import_check_size(m, (int64_t)(f->bytes / hs_dtype_bytes(f->dtype))));
    hs_status st = hs_import_params(m, &ps);
    if (st == HS_OK)
        st = add_all(m, f, ps);
    hs_params_free(ps);
    HS_TRY(st);
    return hs_import_tokenizer(m, (const char *const[]){ NULL });
}
