// weights: one file or shards behind one sorted list of names, and what of it fits.
#include "data/checkpoint/weights.h"
#include "core/base/log.h"
#include "data/base/hf_folder.h"
#include "data/checkpoint/peft.h"
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- opening
static int by_name(const void *a, const void *b)
{
    const hs_weight *x = a, *y = b;
    const int c = strcmp(x->name, y->name);
    return c ? c : (x->file > y->file) - (x->file < y->file);
}

hs_status hs_weights_add_file(hs_weights *w, const char *path)
{
    hs_safetensors **files = realloc(w->file, ((size_t)w->n_files + 1) * sizeof *files);
    w->file = files != NULL ? files : w->file;
    char(*names)[256] = realloc(w->file_name, ((size_t)w->n_files + 1) * sizeof *names);
    w->file_name = names != NULL ? names : w->file_name;
    if (files == NULL || names == NULL)
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    HS_TRY(hs_safetensors_open(&w->file[w->n_files], path));
    const char *slash = strrchr(path, '/');
    snprintf(w->file_name[w->n_files], sizeof *names, "%s", slash != NULL ? slash + 1 : path);
    const hs_safetensors *f = w->file[w->n_files++];
    const int n = hs_safetensors_count(f);
    hs_weight *all = realloc(w->weight, (size_t)(w->n + n + 1) * sizeof *all);
    if (all == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for %d tensors", path, n);
    w->weight = all;
    for (int i = 0; i < n; i++) {
        const hs_st_entry *e = hs_safetensors_at(f, i);
        w->weight[w->n++] = (hs_weight){ .entry = e, .name = e->name, .file = w->n_files - 1 };
    }
    return HS_OK;
}

static bool same_tensor(const hs_st_entry *a, const hs_st_entry *b)
{
    return a->dtype == b->dtype && a->n_dims == b->n_dims && memcmp(a->dim, b->dim, (size_t)a->n_dims * sizeof *a->dim) == 0 &&
           a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

// A tensor in two shards, as tools that split a tied model leave it, is one where both hold the same.
hs_status hs_weights_sort(hs_weights *w)
{
    int kept = 0;
    if (w->n > 0)
        qsort(w->weight, (size_t)w->n, sizeof *w->weight, by_name);
    for (int i = 0; i < w->n; i++) {
        const hs_weight *now = &w->weight[i], *last = kept > 0 ? &w->weight[kept - 1] : NULL;
        if (last == NULL || strcmp(last->name, now->name) != 0)
            w->weight[kept++] = *now;
        else if (hs_weight_of_adapter(w, now))
            w->weight[kept - 1] = *now;
        else if (!same_tensor(last->entry, now->entry))
            return HS_FAIL(CORRUPT, "%s: tensor \"%.200s\" is in %s and in %s, with other values: one of the files is of another model",
                           w->dir, now->name, w->file_name[last->file], w->file_name[now->file]);
    }
    w->n = kept;
    return HS_OK;
}

static int count_in(json_t *map, const char *file)
{
    const char *name;
    json_t *value;
    int n = 0;
    json_object_foreach(map, name, value) n += json_is_string(value) && strcmp(json_string_value(value), file) == 0;
    return n;
}

static hs_status add_shard(hs_weights *w, const hs_json *j, json_t *map, const char *file)
{
    char path[HS_PATH];
    HS_TRY(hs_path_join(path, "%s/%s", w->dir, file));
    if (!hs_is_file(path)) {
        const char *index = strrchr(j->path, '/');
        return HS_FAIL(USAGE, "%s: no such file, but %s puts %d of %zu tensors into it: it was not downloaded, or not copied", path,
                       index != NULL ? index + 1 : j->path, count_in(map, file), json_object_size(map));
    }
    return hs_weights_add_file(w, path);
}

// {"weight_map": {"transformer.wte.weight": "model-00001-of-00002.safetensors", ...}}
static hs_status open_shards(hs_weights *w, const hs_json *j)
{
    json_t *map = json_object_get(j->root, "weight_map"), *seen = json_object();
    const char *name;
    json_t *value;
    hs_status st = json_is_object(map) && seen != NULL ? HS_OK : HS_FAIL(CORRUPT, "%s: \"weight_map\" is missing", j->path);
    json_object_foreach(map, name, value)
    {
        const char *file = json_string_value(value);
        if (st != HS_OK)
            break;
        if (file == NULL || *file == 0 || strchr(file, '/') != NULL)
            st = HS_FAIL(CORRUPT, "%s: file of tensor \"%.120s\" is not a plain name", j->path, name);
        else if (json_object_get(seen, file) == NULL) {
            st = add_shard(w, j, map, file);
            json_object_set_new(seen, file, json_true());
        }
    }
    if (st == HS_OK)
        st = hs_weights_sort(w);
    if (st == HS_OK)
        json_object_foreach(map, name, value) if (st == HS_OK && hs_weights_find(w, name) == NULL) st =
            HS_FAIL(CORRUPT, "%s: tensor \"%.120s\" is not in %.120s", j->path, name, json_string_value(value));
    json_decref(seen);
    return st;
}

hs_status hs_weights_open_file(hs_weights *w, const char *path)
{
    *w = (hs_weights){ .dir = path };
    hs_status st = hs_weights_add_file(w, path);
    if (st == HS_OK)
        st = hs_weights_sort(w);
    if (st != HS_OK)
        hs_weights_close(w);
    return st;
}

hs_status hs_weights_of(hs_weights *w, const char *path, const hs_st_entry *entry, int n)
{
    *w = (hs_weights){ .dir = path, .weight = calloc((size_t)n + 1, sizeof *w->weight), .n = n };
    if (w->weight == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for %d tensors", path, n);
    for (int i = 0; i < n; i++)
        w->weight[i] = (hs_weight){ .entry = &entry[i], .name = entry[i].name };
    qsort(w->weight, (size_t)n, sizeof *w->weight, by_name);
    for (int i = 1; i < n; i++)
        if (strcmp(w->weight[i].name, w->weight[i - 1].name) == 0)
            return HS_FAIL(CORRUPT, "%s: tensor \"%.200s\" is there twice", path, w->weight[i].name);
    return HS_OK;
}

static hs_status open_tensors(hs_weights *w, const char *model_dir)
{
    char single[HS_PATH], index[HS_PATH];
    if (hs_peft_is(model_dir))
        return hs_weights_open_adapted(w, model_dir);
    HS_TRY(hs_path_join(single, "%s/model.safetensors", model_dir));
    HS_TRY(hs_path_join(index, "%s/model.safetensors.index.json", model_dir));
    if (!hs_hf_exists(model_dir, "model.safetensors", single, sizeof single) && !hs_is_file(index))
        return hs_hf_no_weights(model_dir);
    if (!hs_is_file(index) || hs_is_file(single)) {
        HS_TRY(hs_weights_open_file(w, single));
        w->dir = model_dir;
        return HS_OK;
    }
    *w = (hs_weights){ .dir = model_dir };
    hs_json j;
    HS_TRY(hs_json_open(&j, index));
    const hs_status st = open_shards(w, &j);
    hs_json_close(&j);
    if (st != HS_OK)
        hs_weights_close(w);
    return st;
}

hs_status hs_weights_open(hs_weights *w, const char *model_dir)
{
    HS_TRY(open_tensors(w, model_dir));
    const hs_status st = hs_weights_find_products(w);
    if (st != HS_OK)
        hs_weights_close(w);
    return st;
}

hs_status hs_weights_add_second(hs_weights *w, const char *model_dir, const char *folder)
{
    char path[HS_PATH];
    const int before = w->n;
    HS_TRY(hs_path_join(path, "%s/%s/model.safetensors", model_dir, folder));
    if (!hs_is_file(path))
        return HS_OK;
    HS_TRY(hs_weights_add_file(w, path));
    size_t bytes = 0;
    for (int i = before; i < w->n; i++)
        bytes += strlen(folder) + strlen(w->weight[i].name) + 2;
    char *at = w->second = malloc(bytes + 1);
    if (at == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for the names of %d tensors", path, w->n - before);
    for (int i = before; i < w->n; i++) {
        const int n = sprintf(at, "%s/%s", folder, w->weight[i].name);
        w->weight[i].name = at, w->weight[i].used = true;
        at += n + 1;
    }
    return hs_weights_sort(w);
}

void hs_weights_close(hs_weights *w)
{
    free(w->second);
    free(w->made);
    for (int i = 0; i < w->n_files; i++)
        hs_safetensors_close(w->file[i]);
    free(w->file);
    free(w->file_name);
    free(w->weight);
    hs_text_free(&w->findings);
    if (w->peft != NULL)
        hs_peft_free(w->peft);
    free(w->peft);
    *w = (hs_weights){ 0 };
}

hs_weight *hs_weights_find(const hs_weights *w, const char *name)
{
    int low = 0, high = w->n;
    while (low < high) {
        const int mid = low + (high - low) / 2, c = strcmp(name, w->weight[mid].name);
        if (c == 0)
            return &w->weight[mid];
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

// ---- what does not fit
enum { LISTED = 8 };

void hs_weights_note(hs_weights *w, const char *line)
{
    if (w->n_findings < LISTED)
        hs_text_add(&w->findings, "%s%.200s", w->n_findings ? "; " : "", line);
    else if (w->n_findings == LISTED) {
        hs_text_add(&w->findings, "; and more");
        hs_warn("%s: more than %d tensors do not fit:", w->dir, LISTED);
    }
    if (w->n_findings >= LISTED)
        hs_warn("%s", line);
    w->n_findings++;
}

static void add_shape(hs_text *t, int n_dims, const int64_t *dim)
{
    hs_text_add(t, "[");
    for (int i = 0; i < n_dims; i++)
        hs_text_add(t, "%s%lld", i ? "," : "", (long long)dim[i]);
    hs_text_add(t, "]");
}

// Dimensions of a piece as the file has them.
static void dims_of(const hs_param *p, const hs_name_piece *piece, int64_t dim[HS_MAX_DIMS])
{
    for (int i = 0; i < p->n_dims; i++)
        dim[i] = i == 0 && piece->part > 0 ? p->logical[0] / p->parts : p->logical[i];
    if (piece->transposed) {
        const int64_t out = dim[0];
        dim[0] = dim[1], dim[1] = out;
    }
}

static bool shape_fits(const hs_param *p, const hs_name_piece *piece, const hs_st_entry *e)
{
    int64_t dim[HS_MAX_DIMS];
    dims_of(p, piece, dim);
    return e->n_dims == p->n_dims && memcmp(e->dim, dim, (size_t)p->n_dims * sizeof *dim) == 0;
}

static void note_misfit(hs_weights *w, const hs_param *p, const hs_name_piece *piece, const hs_st_entry *e)
{
    hs_text t = { 0 };
    hs_text_add(&t, "\"%.120s\" ", piece->name);
    if (e == NULL)
        hs_text_add(&t, "is missing");
    else if (!hs_dtype_is_float(e->dtype))
        hs_text_add(&t, "holds %s, not floats", hs_dtype_name(e->dtype));
    else {
        int64_t dim[HS_MAX_DIMS];
        dims_of(p, piece, dim);
        hs_text_add(&t, "is ");
        add_shape(&t, e->n_dims, e->dim);
        hs_text_add(&t, ", the model needs ");
        add_shape(&t, p->n_dims, dim);
        if (p->n_dims == 2 && e->n_dims == 2 && e->dim[0] == dim[1] && e->dim[1] == dim[0])
            hs_text_add(&t, " (as nn.Linear has it: turned, as nanoGPT's checkpoints are)");
    }
    hs_weights_note(w, t.p != NULL ? t.p : piece->name);
    hs_text_free(&t);
}

// Of before 2019 "LayerNorm.gamma" and "LayerNorm.beta".
static hs_weight *lookup_norm(const hs_weights *w, const char *name)
{
    static const char *const renamed[][2] = { { "LayerNorm.weight", "gamma" }, { "LayerNorm.bias", "beta" } };
    hs_weight *found = hs_weights_find(w, name);
    const size_t all = strlen(name);
    for (int i = 0; found == NULL && i < HS_COUNT(renamed); i++) {
        const size_t n = strlen(renamed[i][0]);
        char old[HS_NAME_BYTES];
        if (all >= n && all < sizeof old && strcmp(name + all - n, renamed[i][0]) == 0) {
            snprintf(old, sizeof old, "%.*sLayerNorm.%s", (int)(all - n), name, renamed[i][1]);
            found = hs_weights_find(w, old);
        }
    }
    return found;
}

// Files of a bare model lack the prefix.
static hs_weight *lookup_as(const hs_weights *w, const char *name)
{
    hs_weight *found = lookup_norm(w, name);
    const char *prefix = w->files != NULL ? w->files->prefix : NULL;
    const size_t n = prefix != NULL ? strlen(prefix) : 0;
    hs_weight *bare = n > 0 && strncmp(name, prefix, n) == 0 ? lookup_norm(w, name + n) : NULL;
    if (found != NULL && bare != NULL && hs_weight_of_adapter(w, bare)) { // of a bare model, over a base that has the prefix
        found->used = true;
        return bare;
    }
    if (found != NULL && bare != NULL && hs_weight_of_adapter(w, found))
        bare->used = true;
    return found != NULL ? found : bare;
}

// Of tied tensors a file may hold either: safetensors stores one of them.
hs_weight *hs_weights_lookup(const hs_weights *w, const char *name)
{
    hs_weight *found = lookup_as(w, name);
    for (int i = 0; found == NULL && w->files != NULL && i < w->files->n_aliases; i++)
        if (w->files->alias[i].same_as != NULL && strcmp(w->files->alias[i].same_as, name) == 0)
            found = lookup_as(w, w->files->alias[i].pattern);
    return found;
}

// ---- names behind a prefix
static const struct wrapper {
    const char *prefix, *of;
} wrappers[] = {
    { "_orig_mod.", "torch.compile" },
    { "module.", "DistributedDataParallel" },
    { "_fsdp_wrapped_module.", "FSDP" },
    { "model.", "a module around the model, as Lightning's" },
};

static hs_status any_found(const hs_weights *w, const hs_params *ps, hs_weight_pieces *pieces, const void *user, bool *any)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    *any = false;
    for (int i = 0; i < ps->n_params && !*any; i++) {
        HS_TRY(pieces(ps->param[i], user, piece, &n));
        for (int k = 0; k < n; k++)
            *any = *any || hs_weights_lookup(w, piece[k].name) != NULL;
    }
    return HS_OK;
}

static int with_prefix(const hs_weights *w, const char *prefix)
{
    int n = 0;
    for (int i = 0; i < w->n; i++)
        n += strncmp(w->weight[i].name, prefix, strlen(prefix)) == 0;
    return n;
}

static const char *wrapper_of(const char *prefix)
{
    for (int k = 0; k < HS_COUNT(wrappers); k++)
        if (strcmp(wrappers[k].prefix, prefix) == 0)
            return wrappers[k].of;
    return "a module around the model";
}

hs_status hs_weights_unwrap(hs_weights *w, const hs_params *ps, hs_weight_pieces *pieces, const void *user)
{
    size_t cut = 0;
    char part[128] = "";
    bool any;
    HS_TRY(any_found(w, ps, pieces, user, &any));
    while (!any && w->n > 0) { // "module." may stand in "_orig_mod."
        const char *name = w->weight[0].name, *dot = strchr(name, '.');
        if (dot == NULL || dot[1] == 0 || (size_t)(dot - name) + 2 > sizeof part)
            break;
        snprintf(part, sizeof part, "%.*s", (int)(dot - name + 1), name);
        if (with_prefix(w, part) < w->n)
            break;
        cut += strlen(part);
        for (int i = 0; i < w->n; i++)
            w->weight[i].name = w->weight[i].entry->name + cut;
        HS_TRY(any_found(w, ps, pieces, user, &any));
    }
    if (any && cut > 0)
        hs_info("%s: all names of tensors begin with \"%.*s\" (%s): read without it", w->dir, (int)cut, w->weight[0].entry->name,
                wrapper_of(part));
    for (int i = 0; !any && i < w->n; i++)
        w->weight[i].name = w->weight[i].entry->name;
    return HS_OK;
}

// Is a parameter of ours in one of the scopes "mlm|next"? NULL: there are none.
static bool in_scopes(const char *scopes, const char *ours)
{
    for (const char *p = scopes; p != NULL && *p; p += strcspn(p, "|"), p += *p == '|') {
        const size_t n = strcspn(p, "|");
        if (strncmp(ours, p, n) == 0 && ours[n] == '.')
            return true;
    }
    return false;
}

static bool is_head(const hs_weights *w, const char *ours) { return w->files != NULL && in_scopes(w->files->heads, ours); }

// A head that the file lacks, one of other labels, or one that is wanted anew.
bool hs_weights_begin_anew(const hs_weights *w, const hs_param *p, const hs_name_piece *piece, const hs_st_entry *e)
{
    return w->heads_open && is_head(w, p->name) && (e == NULL || !shape_fits(p, piece, e) || in_scopes(w->fresh, p->name));
}

hs_status hs_weights_expect_one(hs_weights *w, const hs_param *p, hs_weight_pieces *pieces, const void *user)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    HS_TRY(pieces(p, user, piece, &n));
    for (int k = 0; k < n && p->coding; k++)
        hs_weights_expect_coded(w, p, &piece[k]);
    for (int k = 0; k < n && !p->coding; k++) {
        hs_weight *found = hs_weights_lookup(w, piece[k].name);
        const hs_st_entry *e = found != NULL ? found->entry : NULL;
        if (piece[k].transposed && p->n_dims != 2)
            return HS_FAIL(INTERNAL, "a name rule transposes \"%s\" of %d dimensions", p->name, p->n_dims);
        if (found != NULL)
            found->used = true;
        hs_weights_expect_pair(w, p, &piece[k]);
        if (hs_weights_begin_anew(w, p, &piece[k], e)) {
            w->n_fresh++;
            continue;
        }
        if (e == NULL && p->pair_parts > 0 && w->adapter == 0) { // an adapter that begins
            w->n_fresh++, w->n_pairs++;
            continue;
        }
        if (e == NULL || !shape_fits(p, &piece[k], e) || !hs_dtype_is_float(e->dtype))
            note_misfit(w, p, &piece[k], e);
    }
    return HS_OK;
}

hs_status hs_weights_expect(hs_weights *w, const hs_params *ps, hs_weight_pieces *pieces, const void *user)
{
    for (int i = 0; i < ps->n_params; i++)
        HS_TRY(hs_weights_expect_one(w, ps->param[i], pieces, user));
    return HS_OK;
}

static bool same_shape(const hs_st_entry *e, const hs_param *p, bool turned)
{
    if (turned)
        return e->n_dims == 2 && p->n_dims == 2 && e->dim[0] == p->dim[1] && e->dim[1] == p->dim[0];
    return e->n_dims == p->n_dims && memcmp(e->dim, p->dim, (size_t)p->n_dims * sizeof *p->dim) == 0;
}

hs_status hs_weights_as_stored(const hs_weights *w, const hs_params *ps, const hs_param *p, hs_weight_pieces *pieces, const void *user,
                               const void **out, bool *turned)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    *out = NULL, *turned = false;
    if (p->coding)
        return HS_OK;
    HS_TRY(pieces(p, user, piece, &n));
    const hs_weight *found = n == 1 && piece->part == 0 ? hs_weights_lookup(w, piece->name) : NULL;
    const hs_st_entry *e = found != NULL && !hs_weights_merges(w, ps, p, piece) ? found->entry : NULL;
    if (e != NULL && e->dtype == HS_F32 && same_shape(e, p, piece->transposed) && (uintptr_t)e->data % sizeof(float) == 0)
        *out = e->data, *turned = piece->transposed;
    return HS_OK;
}

// ---- what is left over
static const hs_alias *alias_of(const hs_model_files *files, const char *name)
{
    for (int i = 0; files != NULL && i < files->n_aliases; i++)
        if (fnmatch(files->alias[i].pattern, name, 0) == 0)
            return &files->alias[i];
    return NULL;
}

// A tensor of a head that the model does not wear.
static bool of_a_head(const hs_weights *w, const char *name)
{
    const hs_model_files *f = w->files;
    const size_t prefix = f != NULL && f->prefix != NULL ? strlen(f->prefix) : 0;
    for (int i = 0; f != NULL && i < f->n_names; i++) {
        const char *theirs = f->name[i].theirs;
        if (is_head(w, f->name[i].ours) &&
            (strcmp(theirs, name) == 0 || (prefix > 0 && strncmp(theirs, f->prefix, prefix) == 0 && strcmp(theirs + prefix, name) == 0)))
            return true;
    }
    return false;
}

static void check_left_over(hs_weights *w, const hs_weight *left)
{
    const hs_st_entry *e = left->entry;
    const hs_alias *alias = alias_of(w->files, left->name);
    const hs_weight *same = alias != NULL && alias->same_as != NULL ? hs_weights_lookup(w, alias->same_as) : NULL;
    char line[400];
    if (same != NULL) {
        const hs_st_entry *t = same->entry;
        if (t->dtype == e->dtype && t->bytes == e->bytes && t->data != NULL && memcmp(t->data, e->data, e->bytes) == 0)
            return;
        snprintf(line, sizeof line, "\"%.120s\" differs from \"%.120s\", to which it is tied", e->name, t->name);
    } else if (alias != NULL)
        return;
    else if (w->heads_open && of_a_head(w, left->name)) {
        w->n_passed++;
        return;
    } else if (w->adapter > 0 && !hs_weight_of_adapter(w, left) && of_a_head(w, left->name)) // another task's, of the base
        return;
    else
        snprintf(line, sizeof line, "\"%.120s\" is unexpected", e->name);
    hs_weights_note(w, line);
}

// Some names behind a wrapper's prefix, others not: two models in one file, or one that was renamed half.
static hs_status mixed_names(const hs_weights *w)
{
    for (int k = 0; k < HS_COUNT(wrappers); k++) {
        const int n = with_prefix(w, wrappers[k].prefix);
        for (int i = 0; n > 0 && n < w->n && i < w->n; i++)
            if (strncmp(w->weight[i].name, wrappers[k].prefix, strlen(wrappers[k].prefix)) != 0)
                return HS_FAIL(
                    USAGE,
                    "%s: %d of %d names of tensors begin with \"%s\" (%s), \"%.80s\" does not: which are meant is not certain; save "
                    "the state_dict of the model inside, without the prefix",
                    w->dir, n, w->n, wrappers[k].prefix, wrappers[k].of, w->weight[i].name);
    }
    return HS_OK;
}

hs_status hs_weights_fit(hs_weights *w)
{
    for (int i = 0; i < w->n; i++)
        if (!w->weight[i].used)
            check_left_over(w, &w->weight[i]);
    if (w->n_findings > 0)
        HS_TRY(mixed_names(w));
    return w->n_findings == 0 ? HS_OK
                              : HS_FAIL(USAGE, "%s: %d of the tensors do not fit the model: %s", w->dir, w->n_findings,
                                        w->findings.p != NULL ? w->findings.p : "");
}
