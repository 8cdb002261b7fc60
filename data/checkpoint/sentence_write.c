// sentence_write: sentence-transformers' small files, in the form that all of its versions read.
#include "data/base/hf_folder.h"
#include "data/checkpoint/ckpt_parts.h"
#include "data/checkpoint/new_folder.h"
#include "data/checkpoint/sentence_folder.h"
#include "data/text/token_store.h"
#include <string.h>

static hs_status put_modules(hs_ckpt_dir *to, const hs_sentence *s)
{
    static const struct {
        const char *type, *path;
    } rows[] = { { "Transformer", "" }, { "Pooling", "1_Pooling" }, { "Normalize", "2_Normalize" } };
    hs_text t = { 0 };
    for (int i = 0; i < (s->normalize ? 3 : 2); i++)
        hs_text_add(&t, "%s\n  {\"idx\": %d, \"name\": \"%d\", \"path\": \"%s\", \"type\": \"sentence_transformers.models.%s\"}",
                    i ? "," : "[", i, i, rows[i].path, rows[i].type);
    hs_text_add(&t, "\n]\n");
    return hs_ckpt_put_text(to, "modules.json", &t);
}

static hs_status put_pooling(const hs_ckpt_dir *beside, const hs_sentence *s, int64_t width)
{
    static const char *const modes[] = { "mean_tokens",          "cls_token",           "max_tokens",
                                         "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken" };
    char dir[HS_PATH];
    hs_text t = { 0 };
    HS_TRY(hs_path_join(dir, "%s/1_Pooling", beside->dir));
    HS_TRY(hs_make_dirs(beside->io, dir));
    hs_ckpt_dir to = { .io = beside->io, .dir = dir };
    hs_text_add(&t, "{\n  \"word_embedding_dimension\": %lld,\n", (long long)width);
    for (int i = 0; i < HS_COUNT(modes); i++) // the first are the hs_poolings
        hs_text_add(&t, "  \"pooling_mode_%s\": %s,\n", modes[i], i == (int)s->pooling ? "true" : "false");
    hs_text_add(&t, "  \"include_prompt\": %s\n}\n", s->prompt_pooled ? "true" : "false");
    const hs_status st = hs_ckpt_put_text(&to, "config.json", &t);
    hs_manifest_free(&to.manifest);
    return st == HS_OK ? hs_sync_path(beside->io, dir) : st;
}

static hs_status put_limits(hs_ckpt_dir *to, const hs_sentence *s)
{
    hs_text t = { 0 };
    hs_text_add(&t, "{\n");
    if (s->max_length)
        hs_text_add(&t, "  \"max_seq_length\": %lld,\n", (long long)s->max_length);
    hs_text_add(&t, "  \"do_lower_case\": %s\n}\n", s->lower_case ? "true" : "false");
    return hs_ckpt_put_text(to, "sentence_bert_config.json", &t);
}

// Prompts, and what similarity is meant.
static hs_status put_prompts(hs_ckpt_dir *to, const char *from)
{
    static const char name[] = "config_sentence_transformers.json";
    char path[HS_PATH];
    hs_file f;
    hs_text t = { 0 };
    if (!hs_hf_exists(from, name, path, sizeof path))
        return HS_OK;
    HS_TRY(hs_file_map(&f, path));
    hs_text_add(&t, "%.*s", (int)(f.bytes < INT32_MAX ? f.bytes : INT32_MAX), f.data);
    hs_file_unmap(&f);
    return hs_ckpt_put_text(to, name, &t);
}

hs_status hs_sentence_write(const hs_sentence *s, const char *from, const char *dir, int64_t width)
{
    hs_ckpt_dir to = { .io = &hs_io_system, .dir = dir };
    if (!hs_sentence_whole(s))
        return HS_OK;
    hs_status st = put_modules(&to, s);
    if (st == HS_OK)
        st = put_pooling(&to, s, width);
    if (st == HS_OK)
        st = put_limits(&to, s);
    if (st == HS_OK)
        st = put_prompts(&to, from);
    hs_manifest_free(&to.manifest);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_sentence_export(const char *dir, const hs_export_opts *e, const hs_ckpt_opts *o, const hs_params *ps, const hs_model_info *m,
                             const hs_tokenizer *tok, const hs_sentence *s, const char *from, int64_t width)
{
    hs_new_folder f;
    if (!hs_sentence_whole(s))
        return hs_ckpt_export_as(dir, e, o, ps, m, tok);
    HS_TRY(hs_new_folder_begin(&f, dir, e->overwrite));
    hs_status st = hs_ckpt_export_as(f.tmp, e, o, ps, m, tok);
    if (st == HS_OK)
        st = hs_sentence_write(s, from, f.tmp, width);
    if (st == HS_OK)
        return hs_new_folder_commit(&f);
    hs_new_folder_discard(&f);
    return hs_frame_at(st, __FILE__, __LINE__);
}
