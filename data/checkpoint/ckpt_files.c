// ckpt_files: the files of a checkpoint's folder, one by one: config.json and what belongs to it, tensors under their names, the
// tokenizer's.
#include "data/checkpoint/ckpt_parts.h"
#include "data/checkpoint/peft.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- tensors
void hs_st_sources_free(hs_st_sources *s)
{
    free(s->s);
    free(s->held);
    free(s->names);
    free(s->coded);
    *s = (hs_st_sources){ 0 };
}

hs_status hs_st_sources_alloc(hs_st_sources *s, int most)
{
    *s = (hs_st_sources){ .s = calloc((size_t)most + 1, sizeof *s->s),
                          .held = calloc((size_t)most + 1, sizeof *s->held),
                          .names = malloc(((size_t)most + 1) * HS_NAME_BYTES) };
    if (s->s != NULL && s->held != NULL && s->names != NULL)
        return HS_OK;
    hs_st_sources_free(s);
    return HS_FAIL(MEMORY, "no memory for the names of %d tensors", most);
}

static void source_of(hs_st_source *s, const hs_param *p, const hs_st_stored *stored, const hs_name_piece *piece)
{
    int64_t dim[HS_MAX_DIMS] = { 0 };
    for (int i = 0; i < p->n_dims; i++)
        dim[i] = i == 0 && piece->part > 0 ? p->logical[0] / p->parts : p->logical[i];
    s->t.dtype = HS_F32;
    s->t.n_dims = p->n_dims;
    for (int i = 0; i < p->n_dims; i++)
        s->t.dim[i] = dim[piece->transposed ? 1 - i : i];
    s->t.data = stored != NULL ? stored->at : NULL;
    s->is_f32 = true;
    s->param = p;
    s->transposed = piece->transposed;
    s->part = piece->part;
}

hs_status hs_st_sources_add(hs_st_sources *out, const hs_param *p, const hs_st_stored *stored, const hs_name_piece *piece, int n)
{
    for (int i = 0; i < n; i++) {
        if (piece[i].transposed && p->n_dims != 2)
            return HS_FAIL(INTERNAL, "a name rule transposes \"%s\" of %d dimensions", p->name, p->n_dims);
        hs_st_source *s = &out->s[out->n];
        out->held[out->n] = stored != NULL ? (hs_st_held){ stored->first, stored->n } : (hs_st_held){ 0, p->n };
        char *name = out->names + (size_t)out->n++ * HS_NAME_BYTES;
        memcpy(name, piece[i].name, HS_NAME_BYTES);
        s->t.name = name;
        source_of(s, p, stored, &piece[i]);
    }
    return HS_OK;
}

bool hs_slab_keeps(const hs_slab *s, const hs_param *p) { return !(s->spec.trainable_only && p->frozen); }

// ---- a second network's
static bool in_scope(const char *name, const char *scope)
{
    const size_t n = strlen(scope);
    return strncmp(name, scope, n) == 0 && name[n] == '.';
}

bool hs_ckpt_is_second(const hs_model_files *f, const char *name)
{
    return f != NULL && f->second.scope != NULL && in_scope(name, f->second.scope);
}

bool hs_ckpt_has_second(const hs_model_files *f, const hs_params *ps)
{
    for (int i = 0; i < ps->n_params; i++)
        if (hs_ckpt_is_second(f, ps->param[i]->name))
            return true;
    return false;
}

// Its name there: without the scope, or as it is where both have it. NULL: it is none of that network's.
static const char *name_in_second(const hs_model_files *f, const hs_params *ps, const char *name)
{
    char own[HS_NAME_BYTES];
    if (hs_ckpt_is_second(f, name))
        return name + strlen(f->second.scope) + 1;
    snprintf(own, sizeof own, "%s.%s", f->second.scope, name);
    for (const char *p = f->second.shared; p != NULL && *p; p += strcspn(p, "|"), p += *p == '|') {
        char scope[HS_NAME_BYTES];
        snprintf(scope, sizeof scope, "%.*s", (int)strcspn(p, "|"), p);
        if (in_scope(name, scope))
            return hs_params_find(ps, own) == NULL ? name : NULL;
    }
    return NULL;
}

// Values are saved as f32, and as bf16 where that is all there is of them.
static void as_kept(hs_st_sources *out, int from, const hs_params *ps, const hs_param *p)
{
    for (int i = from; i < out->n; i++)
        out->s[i].t.dtype = hs_param_masters(ps, p) == HS_MASTERS_NONE ? HS_BF16 : HS_F32;
}

// "FOLDER/name": what the reader has it under.
static hs_status second_pieces(const hs_model_files *f, const hs_param *p, hs_name_piece piece[HS_NAME_PIECES], int *n)
{
    char name[HS_NAME_BYTES];
    HS_TRY(hs_name_pieces(f->name, f->n_names, p->name + strlen(f->second.scope) + 1, p->parts, piece, n));
    for (int i = 0; i < *n; i++) {
        if (snprintf(name, sizeof name, "%s/%s", f->second.folder, piece[i].name) >= (int)sizeof name)
            return HS_FAIL(USAGE, "parameter name of more than %d bytes: %.80s...", HS_NAME_BYTES, piece[i].name);
        memcpy(piece[i].name, name, sizeof name);
    }
    return HS_OK;
}

hs_status hs_st_sources_second(hs_st_sources *out, const hs_params *ps, const hs_ckpt_opts *o, const hs_st_stored *stored)
{
    const hs_model_files *f = o->files;
    hs_name_piece piece[HS_NAME_PIECES];
    hs_status st = HS_OK;
    int n;
    HS_TRY(hs_st_sources_alloc(out, ps->n_params * HS_NAME_PIECES));
    for (int i = 0; i < ps->n_params && st == HS_OK; i++) {
        const hs_param *p = ps->param[i];
        const char *name = name_in_second(f, ps, p->name);
        const int from = out->n;
        if (name == NULL)
            continue;
        st = hs_name_pieces(f->name, f->n_names, name, p->parts, piece, &n);
        if (st == HS_OK)
            st = hs_st_sources_add(out, p, &stored[p->id], piece, n);
        as_kept(out, from, ps, p);
    }
    if (st != HS_OK)
        hs_st_sources_free(out);
    return st;
}

hs_status hs_ckpt_pieces(const hs_ckpt_opts *o, const hs_param *p, hs_name_piece piece[HS_NAME_PIECES], int *n)
{
    const hs_model_files *f = o->files;
    if (p->pair_parts > 0 && f != NULL)
        return hs_peft_pieces(o, p, piece, n);
    if (hs_ckpt_is_second(f, p->name))
        return second_pieces(f, p, piece, n);
    return hs_name_pieces(f != NULL ? f->name : NULL, f != NULL ? f->n_names : 0, p->name, p->parts, piece, n);
}

// "bert.pooler.dense.weight" as an adapter's file has it.
static hs_status add_prefix(hs_name_piece *piece, int n)
{
    char name[HS_NAME_BYTES];
    for (int i = 0; i < n; i++) {
        if (snprintf(name, sizeof name, "%s%s", HS_PEFT_PREFIX, piece[i].name) >= (int)sizeof name)
            return HS_FAIL(USAGE, "parameter name of more than %d bytes: %.80s...", HS_NAME_BYTES, piece[i].name);
        memcpy(piece[i].name, name, sizeof name);
    }
    return HS_OK;
}

enum { MOST_OF_CODED = 4 }; // tensors of a piece: codes, scales, the shape or the scale of inputs

hs_status hs_st_sources_model(hs_st_sources *out, const hs_params *ps, const hs_ckpt_opts *o, const hs_st_stored *stored)
{
    hs_name_piece piece[HS_NAME_PIECES];
    const bool adapter = hs_params_adapter(ps) != NULL && o->files != NULL;
    hs_status st = HS_OK;
    int total = 0, n;
    for (int i = 0; i < ps->n_params; i++) {
        HS_TRY(hs_ckpt_pieces(o, ps->param[i], piece, &n));
        total += ps->param[i]->coding || o->n_products ? MOST_OF_CODED * n : n;
    }
    HS_TRY(hs_st_sources_alloc(out, total));
    out->coded = malloc(hs_coded_bytes(ps) + hs_product_source_bytes(o) + 16 * (size_t)total + 1);
    if (out->coded == NULL) {
        hs_st_sources_free(out);
        return HS_FAIL(MEMORY, "no memory for %zu bytes of codes", hs_coded_bytes(ps) + hs_product_source_bytes(o));
    }
    for (int i = 0; i < ps->n_params && st == HS_OK; i++) {
        if ((adapter && !hs_peft_keeps(ps->param[i])) || hs_ckpt_is_second(o->files, ps->param[i]->name))
            continue;
        const int from = out->n;
        st = hs_ckpt_pieces(o, ps->param[i], piece, &n);
        if (st == HS_OK && adapter)
            st = add_prefix(piece, n);
        if (st == HS_OK && ps->param[i]->coding) {
            st = hs_st_sources_coded(out, ps, ps->param[i], piece, n);
            continue;
        }
        if (st == HS_OK && hs_product_of_piece(o, ps->param[i], piece->part)) {
            for (int k = 0; k < n && st == HS_OK; k++)
                st = hs_st_sources_product(out, hs_product_of_piece(o, ps->param[i], piece[k].part), &piece[k]);
            continue;
        }
        if (st == HS_OK)
            st = hs_st_sources_add(out, ps->param[i], stored ? &stored[i] : NULL, piece, n);
        as_kept(out, from, ps, ps->param[i]);
    }
    for (int i = 0; i < out->n && !stored && st == HS_OK; i++)
        out->s[i].values = out->s[i].param != NULL ? ps : NULL;
    if (st != HS_OK)
        hs_st_sources_free(out);
    return st;
}

// ---- the files of one folder
hs_status hs_ckpt_put_text(hs_ckpt_dir *to, const char *name, hs_text *t)
{
    char path[HS_PATH];
    hs_file_sum sum;
    hs_status st = t->failed ? HS_FAIL(MEMORY, "%s/%s: no memory for its text", to->dir, name) : hs_path_join(path, "%s/%s", to->dir, name);
    if (st == HS_OK)
        st = hs_put_file(to->io, path, t->p != NULL ? t->p : "", t->n, &sum);
    hs_text_free(t);
    HS_TRY(st);
    return hs_manifest_add(&to->manifest, name, &sum);
}

hs_status hs_ckpt_put_tensors(hs_ckpt_dir *to, const char *name, const hs_st_sources *s)
{
    char path[HS_PATH];
    hs_file_sum sum;
    HS_TRY(hs_path_join(path, "%s/%s", to->dir, name));
    HS_TRY(to->written ? hs_hash_file(path, &sum, to->beat) : hs_safetensors_write_from(to->io, path, s->s, s->n, &sum));
    return hs_manifest_add(&to->manifest, name, &sum);
}

static bool is_listed(const hs_manifest *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (strcmp(m->file[i].name, name) == 0)
            return true;
    return false;
}

static bool is_tensors(const char *name)
{
    const size_t n = strlen(name), end = strlen(".safetensors");
    return n >= end && strcmp(name + n - end, ".safetensors") == 0;
}

// The tokenizer writes its own files: whatever is new in the folder is synced and summed here.
static hs_status put_tokenizer(hs_ckpt_dir *to, const hs_tokenizer *tok)
{
    HS_TRY(hs_tokenizer_save(tok, to->dir));
    DIR *d = opendir(to->dir);
    if (d == NULL)
        return HS_FAIL(SYSTEM, "%s: %s", to->dir, strerror(errno));
    hs_status st = HS_OK;
    for (struct dirent *e; st == HS_OK && (e = readdir(d)) != NULL;) {
        char path[HS_PATH];
        hs_file_sum sum;
        if ((st = hs_path_join(path, "%s/%s", to->dir, e->d_name)) != HS_OK || !hs_is_file(path) || is_tensors(e->d_name) ||
            is_listed(&to->manifest, e->d_name))
            continue;
        if ((st = hs_sync_path(to->io, path)) == HS_OK && (st = hs_hash_file(path, &sum, NULL)) == HS_OK)
            st = hs_manifest_add(&to->manifest, e->d_name, &sum);
    }
    closedir(d);
    return st;
}

static hs_model_ends ends_of(const hs_model_info *info, const hs_tokenizer *tok)
{
    hs_model_ends e = info->end;
    const int32_t end = tok != NULL ? hs_tokenizer_end(tok) : -1;
    e.begin = tok != NULL ? hs_tokenizer_begin(tok) : -1;
    e.tokens = tok;
    if (e.n == 0 && end >= 0)
        e.id[e.n++] = end;
    return e;
}

hs_status hs_ckpt_put_beside(hs_ckpt_dir *to, const hs_model_info *info, const hs_tokenizer *tok, hs_dtype dtype)
{
    hs_text config = { 0 }, generation = { 0 };
    const hs_model_ends end = ends_of(info, tok);
    const hs_status st = hs_config_json(&config, info, &end, dtype);
    if (st != HS_OK) {
        hs_text_free(&config);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_ckpt_put_text(to, "config.json", &config));
    if (hs_generation_json(&generation, info->files, &end))
        HS_TRY(hs_ckpt_put_text(to, "generation_config.json", &generation));
    return tok != NULL ? put_tokenizer(to, tok) : HS_OK;
}
