// ckpt_export: a model directory of its own - weights in one file or in shards, in the type that is asked for.
#include "data/checkpoint/ckpt_parts.h"
#include "data/checkpoint/new_folder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bytes_of(const hs_st_source *s)
{
    uint64_t n = hs_dtype_bytes(s->t.dtype);
    for (int i = 0; i < s->t.n_dims; i++)
        n *= (uint64_t)s->t.dim[i];
    return n;
}

// How many of the tensors from `first` on fit into one file; at least one.
static int shard_of(const hs_st_sources *all, int first, uint64_t most)
{
    uint64_t n = 0;
    int i = first;
    for (; i < all->n; i++) {
        n += bytes_of(&all->s[i]);
        if (n > most && i > first)
            break;
    }
    return i - first;
}

enum { SHARD_NAME = 64 };
static void name_of(char name[SHARD_NAME], int i, int n) { snprintf(name, SHARD_NAME, "model-%05d-of-%05d.safetensors", i + 1, n); }

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const hs_st_source *const *)a)->t.name, (*(const hs_st_source *const *)b)->t.name);
}

// {"metadata": {"total_size": bytes}, "weight_map": {"transformer.wte.weight": "model-00001-of-00002.safetensors", ...}}
static hs_status put_index(hs_ckpt_dir *to, const hs_st_sources *all, uint64_t most, int shards)
{
    const hs_st_source **order = malloc(((size_t)all->n + 1) * sizeof *order);
    int *shard = malloc(((size_t)all->n + 1) * sizeof *shard), first = 0;
    hs_text t = { 0 };
    uint64_t total = 0;
    if (order == NULL || shard == NULL) {
        free(order);
        free(shard);
        return HS_FAIL(MEMORY, "%s: no memory for an index of %d tensors", to->dir, all->n);
    }
    for (int k = 0; k < shards; k++)
        for (int n = shard_of(all, first, most); n > 0; n--)
            shard[first++] = k;
    for (int i = 0; i < all->n; i++) {
        order[i] = &all->s[i];
        total += bytes_of(order[i]);
    }
    qsort(order, (size_t)all->n, sizeof *order, by_name);
    hs_text_add(&t, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {", (unsigned long long)total);
    for (int i = 0; i < all->n; i++) {
        char name[SHARD_NAME];
        name_of(name, shard[order[i] - all->s], shards);
        hs_text_add(&t, "%s\n    ", i ? "," : "");
        hs_text_string(&t, order[i]->t.name);
        hs_text_add(&t, ": \"%s\"", name);
    }
    hs_text_add(&t, "\n  }\n}\n");
    free(order);
    free(shard);
    return hs_ckpt_put_text(to, "model.safetensors.index.json", &t);
}

static hs_status put_weights(hs_ckpt_dir *to, const hs_st_sources *all, uint64_t most)
{
    int shards = 0;
    for (int first = 0; first < all->n; first += shard_of(all, first, most))
        shards++;
    if (shards <= 1)
        return hs_ckpt_put_tensors(to, "model.safetensors", all);
    for (int i = 0, first = 0; i < shards; i++) {
        char name[SHARD_NAME];
        const hs_st_sources some = { .s = all->s + first, .n = shard_of(all, first, most) };
        name_of(name, i, shards);
        HS_TRY(hs_ckpt_put_tensors(to, name, &some));
        first += some.n;
    }
    return put_index(to, all, most, shards);
}

static hs_status put_all(const char *dir, const hs_export_opts *e, const hs_st_sources *model, const hs_model_info *m,
                         const hs_tokenizer *tok)
{
    hs_ckpt_dir to = { .io = &hs_io_system, .dir = dir };
    hs_status st = hs_ckpt_put_beside(&to, m, tok, e->dtype);
    if (st == HS_OK)
        st = put_weights(&to, model, e->shard_bytes ? e->shard_bytes : UINT64_MAX);
    hs_manifest_free(&to.manifest);
    return st;
}

// Where there are codes, config.json says so.
static hs_status put_coded(const char *dir, const hs_export_opts *e, const hs_ckpt_opts *o, const hs_params *ps, const hs_st_sources *model,
                           const hs_model_info *m, const hs_tokenizer *tok)
{
    hs_text t = { 0 };
    hs_model_info info = *m;
    if (hs_coded_bytes(ps) == 0 && !o->n_products)
        return put_all(dir, e, model, m, tok);
    hs_status st = HS_OK;
    if (o->n_products)
        hs_text_add(&t, "{\n    \"block\": %d,\n    \"centroids\": %d,\n    \"format\": \"product\",\n    \"quant_method\": \"%s\"\n  }",
                    o->product->block, o->product->centroids, HS_PRODUCT_METHOD);
    else
        st = hs_quantization_json(&t, ps, o);
    if (st == HS_OK && t.failed)
        st = HS_FAIL(MEMORY, "%s: no memory for its quantization_config", dir);
    info.quantization = t.p;
    if (st == HS_OK)
        st = put_all(dir, e, model, &info, tok);
    hs_text_free(&t);
    return st;
}

hs_status hs_ckpt_export_as(const char *dir, const hs_export_opts *e, const hs_ckpt_opts *o, const hs_params *ps, const hs_model_info *m,
                            const hs_tokenizer *tok)
{
    hs_new_folder f;
    hs_st_sources model;
    if (!ps->allocated)
        return HS_FAIL(INTERNAL, "parameters are exported before they are laid out");
    if (ps->tp_size != 1)
        return HS_FAIL(UNSUPPORTED, "%s: one of %d tensor-parallel ranks has not all of the model: save a checkpoint, and export that", dir,
                       ps->tp_size);
    HS_TRY(hs_new_folder_begin(&f, dir, e->overwrite));
    hs_status st = hs_st_sources_model(&model, ps, o, NULL);
    if (st == HS_OK) {
        for (int i = 0; i < model.n; i++)
            if (model.s[i].param != NULL)
                model.s[i].t.dtype = e->dtype;
        st = put_coded(f.tmp, e, o, ps, &model, m, tok);
        hs_st_sources_free(&model);
    }
    if (st == HS_OK)
        return hs_new_folder_commit(&f);
    hs_new_folder_discard(&f);
    return hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_ckpt_export(const char *dir, const hs_ckpt_opts *o, const hs_params *ps, const hs_model_info *m, const hs_tokenizer *tok)
{
    return hs_ckpt_export_as(dir, &(hs_export_opts){ .dtype = HS_F32 }, o, ps, m, tok);
}
