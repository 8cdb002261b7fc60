// weights: one file or shards behind one sorted list of names, read by blocks: beside the slabs there is room for one logical tensor.
#include "data/checkpoint/weights.h"
#include "core/base/log.h"
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- opening
static int by_name(const void *a, const void *b)
{
    return strcmp(((const hs_weight *)a)->entry->name, ((const hs_weight *)b)->entry->name);
}

static hs_status add_file(hs_weights *w, const char *path)
{
    hs_safetensors **files = realloc(w->file, ((size_t)w->n_files + 1) * sizeof *files);
    if (files == NULL)
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    w->file = files;
    HS_TRY(hs_safetensors_open(&w->file[w->n_files], path));
    const hs_safetensors *f = w->file[w->n_files++];
    const int n = hs_safetensors_count(f);
    hs_weight *all = realloc(w->weight, (size_t)(w->n + n + 1) * sizeof *all);
    if (all == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for %d tensors", path, n);
    w->weight = all;
    for (int i = 0; i < n; i++)
        w->weight[w->n++] = (hs_weight){ hs_safetensors_at(f, i), false };
    return HS_OK;
}

static hs_status sort_names(hs_weights *w)
{
    qsort(w->weight, (size_t)w->n, sizeof *w->weight, by_name);
    for (int i = 1; i < w->n; i++)
        if (by_name(&w->weight[i], &w->weight[i - 1]) == 0)
            return HS_FAIL(CORRUPT, "%s: tensor \"%.200s\" is in two files", w->dir, w->weight[i].entry->name);
    return HS_OK;
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
        char path[HS_PATH];
        const char *file = json_string_value(value);
        if (st != HS_OK)
            break;
        if (file == NULL || *file == 0 || strchr(file, '/') != NULL)
            st = HS_FAIL(CORRUPT, "%s: file of tensor \"%.120s\" is not a plain name", j->path, name);
        else if (json_object_get(seen, file) == NULL) {
            st = hs_path_join(path, "%s/%s", w->dir, file);
            if (st == HS_OK)
                st = add_file(w, path);
            json_object_set_new(seen, file, json_true());
        }
    }
    if (st == HS_OK)
        st = sort_names(w);
    if (st == HS_OK)
        json_object_foreach(map, name, value) if (st == HS_OK && hs_weights_find(w, name) == NULL) st =
            HS_FAIL(CORRUPT, "%s: tensor \"%.120s\" is not in %.120s", j->path, name, json_string_value(value));
    json_decref(seen);
    return st;
}

hs_status hs_weights_open_file(hs_weights *w, const char *path)
{
    *w = (hs_weights){ .dir = path };
    hs_status st = add_file(w, path);
    if (st == HS_OK)
        st = sort_names(w);
    if (st != HS_OK)
        hs_weights_close(w);
    return st;
}

hs_status hs_weights_open(hs_weights *w, const char *model_dir)
{
    char single[HS_PATH], index[HS_PATH];
    HS_TRY(hs_path_join(single, "%s/model.safetensors", model_dir));
    HS_TRY(hs_path_join(index, "%s/model.safetensors.index.json", model_dir));
    if (hs_is_file(single) || !hs_is_file(index)) {
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

void hs_weights_close(hs_weights *w)
{
    for (int i = 0; i < w->n_files; i++)
        hs_safetensors_close(w->file[i]);
    free(w->file);
    free(w->weight);
    hs_text_free(&w->findings);
    *w = (hs_weights){ 0 };
}

hs_weight *hs_weights_find(const hs_weights *w, const char *name)
{
    const hs_st_entry probe = { .name = name };
    const hs_weight key = { &probe, false };
    return w->n > 0 ? bsearch(&key, w->weight, (size_t)w->n, sizeof key, by_name) : NULL;
}

// ---- what does not fit
enum { LISTED = 8 };

static void find(hs_weights *w, const char *line)
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

// ---- one tensor into its slab
enum { BLOCK = 1 << 18 }; // floats

static void read_f32(const hs_st_entry *e, int64_t first, int64_t n, float *dst, char *aligned)
{
    const size_t width = hs_dtype_bytes(e->dtype);
    const char *from = (const char *)e->data + (size_t)first * width;
    if (e->dtype == HS_F32) {
        memcpy(dst, from, (size_t)n * width);
        return;
    }
    for (int64_t i = 0; i < n; i += BLOCK) { // the file may hold them at odd addresses
        const int64_t piece = n - i < BLOCK ? n - i : BLOCK;
        memcpy(aligned, from + (size_t)i * width, (size_t)piece * width);
        hs_convert(dst + i, HS_F32, aligned, e->dtype, piece);
    }
}

typedef struct buffers {
    float *logical, *rows; // one logical tensor; some rows of the file
    char *aligned;
} buffers;

// File [in, out] to logical [out, in].
static void read_turned(const hs_st_entry *e, buffers *b)
{
    const int64_t in = e->dim[0], out = e->dim[1];
    const int64_t high = out < BLOCK ? BLOCK / (out > 0 ? out : 1) : 1, wide = out < BLOCK ? out : BLOCK;
    for (int64_t i = 0; i < in; i += high)
        for (int64_t o = 0; o < out; o += wide) {
            const int64_t n_in = in - i < high ? in - i : high, n_out = out - o < wide ? out - o : wide;
            read_f32(e, i * out + o, n_in * n_out, b->rows, b->aligned);
            hs_turn_f32(b->logical + o * in + i, in, b->rows, n_out, n_in, n_out);
        }
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
    }
    find(w, t.p != NULL ? t.p : piece->name);
    hs_text_free(&t);
}

// Files of a bare model lack the prefix.
static hs_weight *lookup(const hs_weights *w, const char *name)
{
    hs_weight *found = hs_weights_find(w, name);
    const char *prefix = w->files != NULL ? w->files->prefix : NULL;
    const size_t n = prefix != NULL ? strlen(prefix) : 0;
    return found == NULL && n > 0 && strncmp(name, prefix, n) == 0 ? hs_weights_find(w, name + n) : found;
}

hs_status hs_weights_expect_one(hs_weights *w, const hs_param *p, hs_weight_pieces *pieces, const void *user)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    HS_TRY(pieces(p, user, piece, &n));
    for (int k = 0; k < n; k++) {
        hs_weight *found = lookup(w, piece[k].name);
        const hs_st_entry *e = found != NULL ? found->entry : NULL;
        if (piece[k].transposed && p->n_dims != 2)
            return HS_FAIL(INTERNAL, "a name rule transposes \"%s\" of %d dimensions", p->name, p->n_dims);
        if (found != NULL)
            found->used = true;
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

static hs_status buffers_alloc(buffers *b, const hs_params *ps, const char *dir)
{
    size_t most = 1;
    for (int i = 0; i < ps->n_params; i++)
        most = ps->param[i]->n > most ? ps->param[i]->n : most;
    *b = (buffers){ malloc(most * sizeof(float)), malloc(BLOCK * sizeof(float)), malloc(BLOCK * sizeof(double)) };
    return b->logical && b->rows && b->aligned ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for a tensor of %zu elements", dir, most);
}

static hs_status read_param(const hs_weights *w, hs_params *ps, const hs_param *p, hs_weight_pieces *pieces, const void *user, buffers *b,
                            hs_slab *slab)
{
    hs_name_piece piece[HS_NAME_PIECES];
    float *const whole = b->logical;
    int n, found = 0;
    HS_TRY(pieces(p, user, piece, &n));
    for (int k = 0; k < n; k++) {
        const hs_weight *tensor = lookup(w, piece[k].name);
        if (tensor == NULL)
            continue;
        const hs_st_entry *e = tensor->entry;
        const int64_t elements = (int64_t)(e->bytes / hs_dtype_bytes(e->dtype));
        b->logical = whole + (piece[k].part > 0 ? (piece[k].part - 1) * elements : 0);
        if (piece[k].transposed)
            read_turned(e, b);
        else
            read_f32(e, 0, elements, b->logical, b->aligned);
        found++;
    }
    b->logical = whole;
    if (found == n)
        hs_params_import(ps, slab, p, whole);
    return HS_OK;
}

hs_status hs_weights_copy(const hs_weights *w, hs_params *ps, hs_weight_pieces *pieces, const void *user, hs_slab *slab)
{
    buffers b;
    hs_status st = buffers_alloc(&b, ps, w->dir);
    for (int i = 0; i < ps->n_params && st == HS_OK; i++)
        if (hs_slab_has(slab, ps->param[i]))
            st = read_param(w, ps, ps->param[i], pieces, user, &b, slab);
    free(b.logical);
    free(b.rows);
    free(b.aligned);
    return st;
}

// ---- what is left over
static const hs_alias *alias_of(const hs_model_files *files, const char *name)
{
    for (int i = 0; files != NULL && i < files->n_aliases; i++)
        if (fnmatch(files->alias[i].pattern, name, 0) == 0)
            return &files->alias[i];
    return NULL;
}

static void check_left_over(hs_weights *w, const hs_st_entry *e)
{
    const hs_alias *alias = alias_of(w->files, e->name);
    const hs_weight *same = alias != NULL && alias->same_as != NULL ? lookup(w, alias->same_as) : NULL;
    char line[400];
    if (same != NULL) {
        const hs_st_entry *t = same->entry;
        if (t->dtype == e->dtype && t->bytes == e->bytes && memcmp(t->data, e->data, e->bytes) == 0)
            return;
        snprintf(line, sizeof line, "\"%.120s\" differs from \"%.120s\", to which it is tied", e->name, t->name);
    } else if (alias != NULL)
        return;
    else
        snprintf(line, sizeof line, "\"%.120s\" is unexpected", e->name);
    find(w, line);
}

hs_status hs_weights_check(hs_weights *w)
{
    for (int i = 0; i < w->n; i++)
        if (!w->weight[i].used)
            check_left_over(w, w->weight[i].entry);
    return w->n_findings == 0 ? HS_OK
                              : HS_FAIL(USAGE, "%s: %d of the tensors do not fit the model: %s", w->dir, w->n_findings,
                                        w->findings.p != NULL ? w->findings.p : "");
}
