// weights_adapter: the tensors of an adapter's folder, in front of those of its base, and pairs merged into the weights beside them.
#include "data/checkpoint/peft.h"
#include "data/checkpoint/weights.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- opening

static hs_status check_file(const char *dir, const char *path)
{
    char pickle[HS_PATH];
    if (hs_is_file(path))
        return HS_OK;
    HS_TRY(hs_path_join(pickle, "%s/adapter_model.bin", dir));
    if (hs_is_file(pickle))
        return HS_FAIL(UNSUPPORTED, "%s: a pickle, which runs code when it is read: load the adapter with peft and save it again", pickle);
    return HS_FAIL(USAGE, "%s: no such file, beside " HS_PEFT_CONFIG, path);
}

static hs_status take_names(hs_weights *w, int first)
{
    static const char prefix[] = HS_PEFT_PREFIX;
    for (int i = first; i < w->n; i++) {
        const char *name = w->weight[i].name;
        if (strncmp(name, prefix, sizeof prefix - 1) != 0)
            return HS_FAIL(UNSUPPORTED, "%s/" HS_PEFT_WEIGHTS ": tensor \"%.120s\" does not begin with \"%s\"", w->dir, name, prefix);
        w->weight[i].name = name + sizeof prefix - 1;
    }
    return HS_OK;
}

static hs_status open_both(hs_weights *w, const char *dir, hs_peft *peft)
{
    char path[HS_PATH];
    HS_TRY(hs_peft_read(peft, dir));
    HS_TRY(hs_path_join(path, "%s/" HS_PEFT_WEIGHTS, dir));
    HS_TRY(check_file(dir, path));
    HS_TRY(hs_weights_open(w, peft->base));
    const int base = w->n;
    w->dir = dir;
    hs_status st = hs_weights_add_file(w, path);
    w->adapter = w->n_files;
    if (st == HS_OK)
        st = take_names(w, base);
    if (st == HS_OK)
        st = hs_weights_sort(w);
    if (st != HS_OK)
        hs_weights_close(w);
    return st;
}

hs_status hs_weights_open_adapted(hs_weights *w, const char *dir)
{
    hs_peft *peft = calloc(1, sizeof *peft);
    *w = (hs_weights){ .dir = dir };
    if (peft == NULL)
        return HS_FAIL(MEMORY, "%s: no memory to open it", dir);
    const hs_status st = open_both(w, dir, peft);
    if (st == HS_OK) {
        w->peft = peft;
        return HS_OK;
    }
    hs_peft_free(peft);
    free(peft);
    return hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_weights_have(const char *model_dir, const hs_model_files *files, const char *ours, bool *have)
{
    hs_name_piece piece[HS_NAME_PIECES];
    hs_weights w;
    int n;
    HS_TRY(hs_name_pieces(files->name, files->n_names, ours, 1, piece, &n));
    HS_TRY(hs_weights_open(&w, model_dir));
    w.files = files;
    *have = hs_weights_lookup(&w, piece->name) != NULL;
    hs_weights_close(&w);
    return HS_OK;
}

// ---- pairs

typedef struct pair {
    hs_weight *a, *b; // both, or neither
} pair;

static pair pair_of(const hs_weights *w, const hs_name_piece *piece)
{
    const size_t n = strlen(piece->name), end = strlen(".weight");
    char name[HS_NAME_BYTES + 32];
    pair p = { NULL, NULL };
    if (w->adapter == 0 || n <= end || strcmp(piece->name + n - end, ".weight") != 0)
        return p;
    snprintf(name, sizeof name, "%.*s.lora_A.weight", (int)(n - end), piece->name);
    p.a = hs_weights_lookup(w, name);
    snprintf(name, sizeof name, "%.*s.lora_B.weight", (int)(n - end), piece->name);
    p.b = hs_weights_lookup(w, name);
    return p.a != NULL && p.b != NULL ? p : (pair){ NULL, NULL };
}

void hs_weights_expect_pair(hs_weights *w, const hs_param *p, const hs_name_piece *piece)
{
    const pair found = pair_of(w, piece);
    char line[400];
    if (found.a == NULL)
        return;
    const hs_st_entry *a = found.a->entry, *b = found.b->entry;
    const int64_t out = piece->part > 0 ? p->logical[0] / p->parts : p->logical[0], in = p->logical[1];
    found.a->used = found.b->used = true;
    if (!w->peft->ranks && a->n_dims == 2 && a->dim[0] != w->peft->rank) {
        snprintf(line, sizeof line, "\"%.120s\" is of rank %lld, \"r\" in " HS_PEFT_CONFIG " is %lld", a->name, (long long)a->dim[0],
                 (long long)w->peft->rank);
        hs_weights_note(w, line);
        return;
    }
    if (p->n_dims == 2 && a->n_dims == 2 && b->n_dims == 2 && a->dim[1] == in && b->dim[0] == out && a->dim[0] == b->dim[1] &&
        a->dim[0] > 0 && hs_dtype_is_float(a->dtype) && hs_dtype_is_float(b->dtype))
        return;
    snprintf(line, sizeof line, "\"%.120s\" is [%lld,%lld], its partner [%lld,%lld], and the weight [%lld,%lld]", a->name,
             (long long)a->dim[0], (long long)(a->n_dims > 1 ? a->dim[1] : 1), (long long)b->dim[0],
             (long long)(b->n_dims > 1 ? b->dim[1] : 1), (long long)out, (long long)in);
    hs_weights_note(w, line);
}

bool hs_weights_merges(const hs_weights *w, const hs_params *ps, const hs_param *p, const hs_name_piece *piece)
{
    char name[320];
    const char *end = strrchr(p->name, '.');
    if (pair_of(w, piece).a == NULL)
        return false;
    snprintf(name, sizeof name, "%.*s.lora_a", (int)(end != NULL ? end - p->name : 0), p->name);
    const hs_param *apart = hs_params_find(ps, name);
    const int bit = piece->part > 0 ? piece->part - 1 : 0;
    return apart == NULL || !(apart->pair_mask >> bit & 1);
}

// Elements [first, first + n) as f32.
static void read_row(const hs_st_entry *e, int64_t first, int64_t n, float *to, void *aligned)
{
    const size_t width = hs_dtype_bytes(e->dtype);
    memcpy(aligned, (const char *)e->data + (size_t)first * width, (size_t)n * width);
    hs_convert(to, HS_F32, aligned, e->dtype, n);
}

hs_status hs_weights_merge(const hs_weights *w, const hs_name_piece *piece, const hs_rect *at, float *values)
{
    const pair found = pair_of(w, piece);
    const hs_st_entry *a = found.a->entry, *b = found.b->entry;
    const int64_t rank = a->dim[0], in = a->dim[1], cols = at->cols, most = cols > rank ? cols : rank;
    const float scale = (float)hs_adapter_scale(w->peft->alpha, rank, w->peft->rslora);
    float *first = malloc((size_t)(rank * cols) * sizeof *first), *row = malloc((size_t)(rank + cols) * sizeof *row);
    double *aligned = malloc((size_t)most * sizeof *aligned);
    hs_status st = first && row && aligned ? HS_OK : HS_FAIL(MEMORY, "no memory for a pair of rank %lld", (long long)rank);
    float *sum = row ? row + rank : NULL;
    for (int64_t r = 0; r < rank && st == HS_OK; r++)
        read_row(a, r * in + at->col, cols, first + r * cols, aligned);
    for (int64_t o = 0; o < at->rows && st == HS_OK; o++) { // the sum by itself, as PEFT has it: small numbers are not lost one by one
        read_row(b, (at->row + o) * rank, rank, row, aligned);
        memset(sum, 0, (size_t)cols * sizeof *sum);
        for (int64_t r = 0; r < rank; r++)
            for (int64_t i = 0; i < cols; i++)
                sum[i] += row[r] * first[r * cols + i];
        for (int64_t i = 0; i < cols; i++)
            values[o * cols + i] += scale * sum[i];
    }
    free(first);
    free(row);
    free(aligned);
    return st;
}
