// Reading checkpoints: which one, is it whole, and back into the slabs.
#include "data/checkpoint/checkpoint.h"
#include "core/base/log.h"
#include "core/graph/coding.h"
#include "data/base/file.h"
#include "data/base/hf_folder.h"
#include "data/checkpoint/peft.h"
#include "data/checkpoint/weights.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool has(const char *dir, const char *name)
{
    char path[HS_PATH];
    const int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n < (int)sizeof path && hs_is_file(path);
}

bool hs_ckpt_has_train(const char *model_dir) { return has(model_dir, "train/state.json"); }

// ---- is it whole?
// What people edit, and can see whether it still is what they want.
static bool is_side_file(const char *name)
{
    const size_t n = strlen(name), end = strlen(".safetensors");
    return strcmp(name, "train/state.json") != 0 && (n < end || strcmp(name + n - end, ".safetensors") != 0);
}

typedef struct look {
    int want;           // HS_CKPT_TRAIN, ...
    hs_agreement *beat; // of ranks that wait meanwhile; NULL: none
} look;

static hs_status verify_file(const char *dir, const hs_file_sum *expected, look l)
{
    char path[HS_PATH];
    hs_file_sum sum;
    const bool side = is_side_file(expected->name);
    HS_TRY(hs_path_join(path, "%s/%s", dir, expected->name));
    const bool needed = !side || strcmp(expected->name, "config.json") == 0;
    bool found;
    HS_TRY(hs_find_file(path, &found));
    if (!found && !needed && l.want & HS_CKPT_EDITED) {
        hs_warn("%s: is missing, accepted without it", path);
        return HS_OK;
    }
    if (!found)
        return HS_FAIL(CORRUPT, "%s: is missing%s", path, needed ? "" : ": --accept-edited goes on without it");
    HS_TRY(hs_hash_file(path, &sum, l.beat));
    const bool longer = sum.bytes != expected->bytes;
    if (!longer && sum.hash == expected->hash)
        return HS_OK;
    if (side && l.want & HS_CKPT_EDITED) {
        hs_warn("%s: not as it was saved, accepted as it is", path);
        return HS_OK;
    }
    const char *way = side ? ": --accept-edited takes it as it is" : l.want & HS_CKPT_EDITED ? ": edited weights are never accepted" : "";
    if (longer)
        return HS_FAIL(CORRUPT, "%s: %shas %llu bytes, the manifest says %llu%s", path,
                       side ? "was edited since it was saved, or is damaged: it " : "", (unsigned long long)sum.bytes,
                       (unsigned long long)expected->bytes, way);
    return HS_FAIL(CORRUPT, "%s: %schecksum is %016llx, the manifest says %016llx%s", path,
                   side ? "was edited since it was saved, or is damaged: its " : "", (unsigned long long)sum.hash,
                   (unsigned long long)expected->hash, way);
}

// What only a run that goes on reads, two thirds of all bytes.
static bool only_for_training(const char *name)
{
    return strcmp(name, "train/optimizer.safetensors") == 0 || strcmp(name, "train/states.safetensors") == 0;
}

static bool is_listed(const hs_manifest *m, const char *name)
{
    for (int k = 0; k < m->n; k++)
        if (strcmp(m->file[k].name, name) == 0)
            return true;
    return false;
}

// The base that an adapter was trained beside is not in its folder: is it the same still?
static hs_status verify_base(const char *dir, const hs_manifest *m, look l)
{
    char base[HS_PATH], path[HS_PATH];
    hs_file_sum sum;
    if (m->n_base == 0)
        return HS_OK;
    HS_TRY(hs_peft_base(dir, base));
    for (int i = 0; i < m->n_base; i++) {
        HS_TRY(hs_path_join(path, "%s/%s", base, m->base[i].name));
        HS_TRY(hs_hash_file(path, &sum, l.beat));
        if (sum.bytes != m->base[i].bytes || sum.hash != m->base[i].hash)
            return HS_FAIL(CORRUPT, "%s: not the file that %s was trained beside: its checksum is %016llx, the manifest says %016llx", path,
                           dir, (unsigned long long)sum.hash, (unsigned long long)m->base[i].hash);
    }
    return HS_OK;
}

static hs_status verify_manifest(const char *dir, const hs_manifest *m, look l)
{
    static const char *const needed[] = { "config.json", "model.safetensors", "train/optimizer.safetensors", "train/state.json" };
    const bool adapter = is_listed(m, HS_PEFT_CONFIG);
    for (int i = 0; i < HS_COUNT(needed); i++) {
        const char *name = adapter && i == 1 ? HS_PEFT_WEIGHTS : needed[i];
        if (!is_listed(m, name))
            return HS_FAIL(CORRUPT, "%s/train/manifest.json: does not list %s", dir, name);
    }
    for (int i = 0; i < m->n; i++)
        if (l.want & HS_CKPT_TRAIN || !only_for_training(m->file[i].name))
            HS_TRY(verify_file(dir, &m->file[i], l));
    return verify_base(dir, m, l);
}

static hs_status verify_ours(const char *dir, look l)
{
    char path[HS_PATH];
    hs_manifest m;
    bool found;
    HS_TRY(hs_path_join(path, "%s/train/manifest.json", dir));
    HS_TRY(hs_find_file(path, &found));
    if (!found)
        return HS_FAIL(CORRUPT, "%s: is missing", path);
    HS_TRY(hs_manifest_read(&m, path));
    const hs_status st = verify_manifest(dir, &m, l);
    hs_manifest_free(&m);
    return st;
}

static hs_status verify(const char *model_dir, look l)
{
    char folder[HS_PATH];
    HS_TRY(hs_path_join(folder, "%s/train", model_dir));
    return hs_is_dir(folder) ? verify_ours(model_dir, l) : HS_OK; // a folder of someone else's
}

hs_status hs_ckpt_verify(const char *model_dir) { return verify(model_dir, (look){ .want = HS_CKPT_TRAIN }); }

// ---- which one?
static hs_status give(char *out, size_t size, const char *dir)
{
    return (size_t)snprintf(out, size, "%s", dir) < size
               ? HS_OK
               : HS_FAIL(USAGE, "path of %zu bytes, room for %zu: %.80s...", strlen(dir), size, dir);
}

static hs_status resolve_model_dir(const char *dir, look l, char *out, size_t size)
{
    HS_TRY(verify(dir, l));
    if (l.want & HS_CKPT_TRAIN && !hs_ckpt_has_train(dir))
        return HS_FAIL(USAGE, "%s: has no train/ folder: it can start a run (train.init_from), not resume one", dir);
    return give(out, size, dir);
}

// Candidates in the order of trust: what LATEST names, then older ones, newest first; last those beyond LATEST, which a run that went
// back left behind.
static void order_steps(int64_t *out, const int64_t *ascending, int n, int64_t latest)
{
    int at = 0;
    for (int beyond = 0; beyond < 2; beyond++)
        for (int i = n - 1; i >= 0; i--)
            if ((ascending[i] > latest) == (beyond == 1))
                out[at++] = ascending[i];
}

static hs_status resolve_steps(const char *dir, const int64_t *steps, int n, int64_t latest, look l, char *out, size_t size)
{
    if (latest == INT64_MAX)
        hs_warn("%s/LATEST: is missing or damaged; looking for the newest whole checkpoint", dir);
    else if (steps[0] != latest)
        hs_warn("%s/LATEST: names step %lld, which is missing; looking for an older one", dir, (long long)latest);
    for (int i = 0; i < n; i++) {
        char name[HS_STEP_NAME], path[HS_PATH];
        hs_step_name(name, steps[i]);
        HS_TRY(hs_path_join(path, "%s/%s", dir, name));
        if (verify_ours(path, l) == HS_OK) {
            if (i > 0)
                hs_warn("%s: used instead", path);
            return give(out, size, path);
        }
        hs_warn("%s: damaged, passed over: %s", name, hs_error());
    }
    return HS_FAIL(CORRUPT, "%s: none of %d checkpoint%s is whole; the last one: %.400s", dir, n, hs_plural(n), hs_error());
}

static hs_status nothing_here(const char *asked)
{
    HS_TRY(hs_hf_foreign(asked));
    return HS_FAIL(USAGE, "%s: no checkpoint here: neither config.json nor step-... folders", asked);
}

static hs_status resolve_folder(const char *dir, const char *asked, look l, char *out, size_t size)
{
    int64_t *steps;
    int n;
    HS_TRY(hs_steps_list(dir, &steps, &n));
    int64_t latest = INT64_MAX, *order = malloc(((size_t)n + 1) * sizeof *order);
    hs_status st;
    if (order == NULL)
        st = HS_FAIL(MEMORY, "%s: no memory for %d names", dir, n);
    else if (n == 0)
        st = nothing_here(asked);
    else {
        hs_pointer_read(dir, "LATEST", &latest);
        order_steps(order, steps, n, latest);
        st = resolve_steps(dir, order, n, latest, l, out, size);
    }
    free(order);
    free(steps);
    return st;
}

// A path to LATEST or BEST itself.
static hs_status resolve_pointer(const char *path, look l, char *out, size_t size)
{
    int64_t step;
    char name[HS_STEP_NAME], dir[HS_PATH], target[HS_PATH];
    if (!hs_pointer_read(path, "", &step)) {
        HS_TRY(hs_hf_foreign(path));
        return HS_FAIL(USAGE, "%s: is a file; a checkpoint is a folder", path);
    }
    hs_step_name(name, step);
    HS_TRY(hs_path_join(dir, "%s", path));
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        *slash = 0;
    HS_TRY(hs_path_join(target, "%s/%s", slash != NULL ? dir : ".", name));
    return resolve_model_dir(target, l, out, size);
}

static hs_status no_checkpoint(const char *path)
{
    struct stat is;
    if (stat(path, &is) != 0)
        return HS_FAIL(USAGE, "%s: no such checkpoint: %s", path, strerror(errno));
    return HS_FAIL(USAGE, "%s: is %s; a checkpoint is a folder", path, hs_file_kind(is.st_mode));
}

static hs_status resolve(const char *path, look l, char *out, size_t size)
{
    char inner[HS_PATH];
    if (hs_is_file(path))
        return resolve_pointer(path, l, out, size);
    if (!hs_is_dir(path))
        return no_checkpoint(path);
    HS_TRY(hs_path_join(inner, "%s/train", path));
    if (has(path, "config.json") || has(path, HS_PEFT_CONFIG) || hs_is_dir(inner))
        return resolve_model_dir(path, l, out, size);
    HS_TRY(hs_path_join(inner, "%s/checkpoints", path));
    return resolve_folder(hs_is_dir(inner) ? inner : path, path, l, out, size);
}

hs_status hs_ckpt_resolve(const char *path, int want, char *out, size_t size) { return resolve(path, (look){ .want = want }, out, size); }

hs_status hs_ckpt_resolve_on(hs_comm *world, const char *path, int want, char *out, size_t size)
{
    if (world == NULL || world->size == 1)
        return hs_ckpt_resolve(path, want, out, size);
    hs_agreement a = hs_agree_begin(world, 1);
    struct {
        int32_t st;
        char text[HS_PATH]; // what was found, or why nothing was
    } answer = { .text = "" };
    world->about = "which checkpoint is loaded";
    if (world->rank == 0 && (answer.st = (int32_t)resolve(path, (look){ want, &a }, answer.text, sizeof answer.text)) != HS_OK)
        snprintf(answer.text, sizeof answer.text, "%s", hs_error());
    HS_TRY(hs_agree_end(&a, HS_OK));
    world->broadcast(world, NULL, &answer, sizeof answer, 0);
    HS_TRY(world->poll(world));
    return answer.st == HS_OK ? give(out, size, answer.text) : hs_fail_at((hs_status)answer.st, __FILE__, __LINE__, "%s", answer.text);
}

// ---- back into the slabs
static hs_status check_params(const hs_params *ps)
{
    return ps->allocated ? HS_OK : HS_FAIL(INTERNAL, "parameters are loaded before they are laid out");
}

static hs_status theirs(const hs_param *p, const void *user, hs_name_piece *piece, int *n)
{
    const hs_ckpt_opts *o = user;
    return hs_ckpt_pieces(o, p, piece, n);
}

struct hs_ckpt_map {
    hs_ckpt_opts opts;
    hs_weights w;
    char dir[]; // weights borrow it
};

hs_status hs_ckpt_map_open(hs_ckpt_map **out, const char *model_dir, const hs_ckpt_opts *o, const hs_params *ps)
{
    *out = NULL;
    hs_ckpt_map *m = calloc(1, sizeof *m + strlen(model_dir) + 1);
    if (m == NULL)
        return HS_FAIL(MEMORY, "%s: no memory to open it", model_dir);
    m->opts = *o;
    strcpy(m->dir, model_dir);
    hs_status st;
    HS_TRY_GOTO(st, hs_weights_open(&m->w, m->dir), failed);
    if (hs_ckpt_has_second(o->files, ps))
        HS_TRY_GOTO(st, hs_weights_add_second(&m->w, m->dir, o->files->second.folder), failed);
    m->w.files = o->files, m->w.heads_open = o->heads_open, m->w.fresh = o->fresh;
    HS_TRY_GOTO(st, hs_weights_unwrap(&m->w, ps, theirs, &m->opts), failed);
    HS_TRY_GOTO(st, hs_weights_expect(&m->w, ps, theirs, &m->opts), failed);
    HS_TRY_GOTO(st, hs_weights_fit(&m->w), failed);
    *out = m;
    return HS_OK;
failed:
    hs_ckpt_map_close(m);
    return st;
}

void hs_ckpt_map_close(hs_ckpt_map *m)
{
    if (m != NULL)
        hs_weights_close(&m->w);
    free(m);
}

static void tell_adopted(const hs_ckpt_map *m, const hs_params *ps)
{
    const hs_params_bytes b = hs_params_bytes_of(ps);
    const hs_slab *codes = hs_params_coded(ps, HS_VIEW_CODES);
    int n = 0;
    for (int i = 0; i < ps->n_params; i++)
        n += hs_slab_adopted(ps->master, ps->param[i]) || (codes != NULL && hs_slab_adopted(codes, ps->param[i]));
    hs_debug("%s: %d of %d parameters are served from the file, %.1f of %.1f MiB", m->dir, n, ps->n_params, (double)b.adopted / 0x1p20,
             (double)(b.adopted + b.all) / 0x1p20);
}

// turns: which values do as well turned.
static hs_status adopt_values(const hs_ckpt_map *m, hs_params *ps, struct hs_device *device, const bool *turns, const void **host,
                              bool *turned)
{
    for (int i = 0; i < ps->n_params; i++) {
        HS_TRY(hs_weights_as_stored(&m->w, ps, ps->param[i], theirs, &m->opts, &host[i], &turned[i]));
        if (turned[i] && !(turns != NULL && turns[i]))
            host[i] = NULL;
    }
    HS_TRY(hs_params_adopt(ps, ps->master, device, host));
    hs_params_turned(ps, turned);
    return HS_OK;
}

static hs_status adopt_codes(const hs_ckpt_map *m, hs_params *ps, struct hs_device *device, const void **host)
{
    for (int i = 0; i < ps->n_params; i++)
        HS_TRY(hs_weights_codes_as_stored(&m->w, ps->param[i], theirs, &m->opts, &host[i]));
    return hs_params_adopt(ps, hs_params_coded(ps, HS_VIEW_CODES), device, host);
}

hs_status hs_ckpt_map_adopt(const hs_ckpt_map *m, hs_params *ps, struct hs_device *device, const bool *turns)
{
    const void **host = calloc((size_t)ps->n_params + 1, sizeof *host);
    bool *turned = calloc((size_t)ps->n_params + 1, sizeof *turned);
    hs_status st = host != NULL && turned != NULL ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for %d addresses", m->dir, ps->n_params);
    if (st == HS_OK)
        st = adopt_values(m, ps, device, turns, host, turned);
    if (st == HS_OK && hs_params_coded(ps, HS_VIEW_CODES) != NULL)
        st = adopt_codes(m, ps, device, host);
    if (st == HS_OK)
        tell_adopted(m, ps);
    free(host);
    free(turned);
    return st;
}

void hs_ckpt_map_forget(hs_ckpt_map *m)
{
    for (int i = 0; i < m->w.n_files; i++)
        hs_safetensors_forget(m->w.file[i]);
}

typedef struct loaded {
    hs_params *ps;
    hs_ckpt_loaded *then;
    void *user;
} loaded;

static hs_status value_is_there(const hs_param *p, void *user)
{
    const loaded *l = user;
    hs_params_refresh_low_of(l->ps, p);
    return l->then(p, l->user);
}

hs_status hs_ckpt_map_load(hs_ckpt_map *m, hs_params *ps, hs_ckpt_loaded *then, void *user)
{
    loaded each = { ps, then, user };
    HS_TRY(check_params(ps));
    m->w.loaded = then ? value_is_there : NULL, m->w.loaded_user = &each;
    if (m->w.n_fresh > 0) {
        if (m->w.n_fresh > m->w.n_pairs)
            hs_info("%s: %d tensors of heads begin anew", m->dir, m->w.n_fresh - m->w.n_pairs);
        if (!ps->master->adopted) // pairs of a session are 0 until it puts one on
            HS_TRY(hs_params_init_values(ps));
    }
    if (m->w.n_passed > 0)
        hs_info("%s: has %d tensors of heads that the model has not: they are left out", m->dir, m->w.n_passed);
    HS_TRY(hs_weights_copy(&m->w, ps, theirs, &m->opts, ps->master));
    HS_TRY(hs_weights_copy_coded(&m->w, ps, theirs, &m->opts));
    m->w.loaded = NULL, m->w.loaded_user = NULL;
    if (!then)
        hs_params_refresh_low(ps);
    hs_params_changed(ps);
    hs_ckpt_map_forget(m);
    return HS_OK;
}

// ---- parameters that are kept as codes

struct hs_ckpt_codes {
    hs_ckpt_opts opts;
    hs_weights w;
    hs_weights_coder coder;
    char dir[];
};

hs_status hs_ckpt_codes_open(hs_ckpt_codes **out, const char *model_dir, const hs_ckpt_opts *o)
{
    *out = NULL;
    hs_ckpt_codes *c = calloc(1, sizeof *c + strlen(model_dir) + 1);
    if (c == NULL)
        return HS_FAIL(MEMORY, "%s: no memory to open it", model_dir);
    c->opts = *o;
    strcpy(c->dir, model_dir);
    const hs_status st = hs_weights_open(&c->w, c->dir);
    if (st != HS_OK) {
        free(c);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    c->w.files = o->files;
    c->coder = (hs_weights_coder){ &c->w, theirs, &c->opts };
    *out = c;
    return HS_OK;
}

hs_coder hs_ckpt_codes_coder(const hs_ckpt_codes *c)
{
    return (hs_coder){ c != NULL ? hs_weights_coding : NULL, c != NULL ? &c->coder : NULL };
}

void hs_ckpt_codes_close(hs_ckpt_codes *c)
{
    if (c != NULL)
        hs_weights_close(&c->w);
    free(c);
}

hs_status hs_ckpt_load_params(const char *model_dir, const hs_ckpt_opts *o, hs_params *ps)
{
    hs_ckpt_map *m;
    HS_TRY(check_params(ps));
    HS_TRY(hs_ckpt_map_open(&m, model_dir, o, ps));
    const hs_status st = hs_ckpt_map_load(m, ps, NULL, NULL);
    hs_ckpt_map_close(m);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_ckpt_count(const char *model_dir, int64_t *n)
{
    hs_weights w;
    HS_TRY(hs_weights_open(&w, model_dir));
    *n = 0;
    for (int i = 0; i < w.n; i++) {
        const hs_st_entry *e = w.weight[i].entry;
        const int packed = e->dtype == HS_I32 ? 8 : 1; // codes of 4 bits, eight a word
        *n += (int64_t)(e->bytes / hs_dtype_bytes(e->dtype)) * packed;
    }
    hs_weights_close(&w);
    return HS_OK;
}

// ---- what an optimizer keeps

// What slabs were called in the files of 0.1 and before.
static const struct {
    const char *slab, *before;
} renamed[] = { { "adam.m", "m" }, { "adam.v", "v" } };

typedef struct slab_names {
    const hs_weights *w;
    const hs_slab *slab;
} slab_names;

static hs_status kept(const hs_param *p, const void *user, hs_name_piece *piece, int *n)
{
    const slab_names *in = user;
    *n = 1;
    *piece = (hs_name_piece){ .part = 0 };
    snprintf(piece->name, sizeof piece->name, "%s.%s", in->slab->spec.name, p->name);
    for (int i = 0; i < HS_COUNT(renamed) && hs_weights_find(in->w, piece->name) == NULL; i++)
        if (strcmp(renamed[i].slab, in->slab->spec.name) == 0)
            snprintf(piece->name, sizeof piece->name, "%s.%s", renamed[i].before, p->name);
    return HS_OK;
}

// Is a tensor of that slab in the file?
static hs_weight *find_kept(const slab_names *in, const hs_param *p)
{
    hs_name_piece piece;
    int n;
    return kept(p, in, &piece, &n) == HS_OK ? hs_weights_find(in->w, piece.name) : NULL;
}

// A slab that has a number per tensor lies in the file as a vector of them.
static hs_param vector_of(const hs_param *p)
{
    hs_param v = { .name = p->name, .parts = 1, .n_dims = 1, .id = p->id, .n = (size_t)p->parts };
    v.logical[0] = v.dim[0] = p->parts;
    return v;
}

static hs_status load_vectors(hs_weights *w, hs_params *ps, hs_slab *slab)
{
    const slab_names names = { w, slab };
    const size_t width = hs_dtype_bytes(slab->spec.dtype);
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const hs_weight *tensor = hs_slab_has(slab, p) ? find_kept(&names, p) : NULL;
        size_t first, n;
        if (!tensor)
            continue;
        hs_slab_range(slab, p, &first, &n);
        double in[HS_NAME_PIECES], out[HS_NAME_PIECES]; // of any type; parts have a name each
        if (p->parts > HS_NAME_PIECES || tensor->entry->bytes > sizeof in)
            return HS_FAIL(INTERNAL, "%s has %d parts", p->name, p->parts);
        memcpy(in, tensor->entry->data, tensor->entry->bytes);
        hs_convert(out, slab->spec.dtype, in, tensor->entry->dtype, p->parts);
        HS_TRY(hs_params_write(ps, slab, p, memcpy(in, (const char *)out + first * width, n * width)));
    }
    return HS_OK;
}

typedef struct tally { // of parameters, in all slabs
    int n, fresh, dropped;
    const hs_param *first; // of the fresh ones
} tally;

// A parameter that was frozen when the file was written starts at zero; one that is frozen now leaves behind what the file has.
static hs_status expect_slab(hs_weights *w, const hs_params *ps, const hs_slab *slab, tally *t)
{
    const slab_names names = { w, slab };
    int found = 0;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const hs_param vector = vector_of(p);
        hs_weight *tensor = find_kept(&names, p);
        found += tensor != NULL;
        if (tensor != NULL && hs_slab_keeps(slab, p))
            HS_TRY(hs_weights_expect_one(w, slab->spec.per_tensor ? &vector : p, kept, &names));
        else if (tensor != NULL)
            tensor->used = true, t->dropped++;
        else if (hs_slab_keeps(slab, p))
            t->first = t->first ? t->first : p, t->fresh++;
    }
    if (found == 0)
        return HS_FAIL(USAGE,
                       "%s: holds nothing of %s, which this run's optimizer keeps (optim.name); another optimizer starts from the weights "
                       "(train.init_from)",
                       w->dir, slab->spec.name);
    t->n++;
    return HS_OK;
}

static hs_status load_slabs(hs_weights *w, hs_params *ps)
{
    tally t = { 0 };
    for (int i = 0; i < ps->n_slabs; i++)
        if (ps->slab[i]->spec.saved)
            HS_TRY(expect_slab(w, ps, ps->slab[i], &t));
    HS_TRY(hs_weights_fit(w));
    for (int i = 0; i < ps->n_slabs; i++)
        if (ps->slab[i]->spec.saved && ps->slab[i]->spec.per_tensor)
            HS_TRY(load_vectors(w, ps, ps->slab[i]));
        else if (ps->slab[i]->spec.saved)
            HS_TRY(hs_weights_copy(w, ps, kept, &(slab_names){ w, ps->slab[i] }, ps->slab[i]));
    if (t.fresh || t.dropped)
        hs_warn("%s: not of the parameters that are trained now (train.freeze): moments of %d start at zero%s%s%s, those of %d are dropped",
                w->dir, t.fresh / t.n, t.fresh ? " (" : "", t.fresh ? t.first->name : "", t.fresh ? ", ...)" : "", t.dropped / t.n);
    return HS_OK;
}

hs_status hs_ckpt_load_train(const char *model_dir, hs_params *ps, hs_train_state *t)
{
    char optimizer[HS_PATH], state[HS_PATH];
    hs_weights w;
    HS_TRY(check_params(ps));
    bool any = false;
    for (int i = 0; i < ps->n_slabs; i++)
        any = any || ps->slab[i]->spec.saved;
    if (!any)
        return HS_FAIL(INTERNAL, "parameters without an optimizer's slabs cannot resume");
    HS_TRY(hs_path_join(state, "%s/train/state.json", model_dir));
    HS_TRY(hs_path_join(optimizer, "%s/train/optimizer.safetensors", model_dir));
    HS_TRY(hs_weights_open_file(&w, optimizer));
    const hs_status st = load_slabs(&w, ps);
    hs_weights_close(&w);
    HS_TRY(st);
    return hs_state_read(state, t);
}
