// Writing checkpoints. A snapshot is copied while the caller waits; one thread turns it into a folder under a temporary name and
// publishes it by rename. Whatever goes wrong before that rename leaves no trace but a message.
#include "core/base/log.h"
#include "core/base/threads.h"
#include "data/checkpoint/ckpt_parts.h"
#include "data/checkpoint/hf_task.h"
#include "data/checkpoint/new_folder.h"
#include "data/checkpoint/peft.h"
#include "data/checkpoint/weights.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct copied { // a slab and the room for a copy of it, of hs_params_alloc_host
    const hs_slab *slab;
    char *copy;
} copied;

struct hs_ckpt {
    char dir[HS_PATH];
    const hs_io *io;
    int keep;
    const hs_params *ps;
    copied *snapshot; // values first, then what an optimizer keeps
    int n_snapshots;
    hs_st_sources model, second, optimizer; // second: of a network that is trained beside the model; empty: there is none
    bool adapter;                           // the parameters wear pairs: their base is named and summed, and not written
    char base[HS_PATH];
    hs_manifest of_base;
    // of the save in flight
    hs_train_state state;
    hs_model_info info;
    const hs_tokenizer *tok;
    char *config_yaml;
    bool is_best;

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool busy, quit; // under lock, and so is the outcome of the last write
    hs_status outcome;
    char message[1024];
};

// In the type of the slab; of one that has a number per tensor, those.
static void as_slab_has_it(hs_st_source *s, const hs_slab *slab, const hs_param *p)
{
    s->t.dtype = slab->spec.dtype;
    if (!slab->spec.per_tensor)
        return;
    s->t.n_dims = 1, s->t.dim[0] = p->parts;
    s->param = NULL;
}

// What an optimizer keeps, as SLAB.PARAMETER under our own names, as it lies here.
static hs_status optimizer_sources(hs_st_sources *out, const hs_params *ps, const copied *c, int n)
{
    hs_status st = HS_OK;
    HS_TRY(hs_st_sources_alloc(out, n * ps->n_params));
    for (int i = 0; i < n * ps->n_params && st == HS_OK; i++) {
        const copied *from = &c[i % n];
        const hs_param *p = ps->param[i / n];
        hs_name_piece piece = { .part = 0 };
        if (!hs_slab_has(from->slab, p))
            continue;
        if (snprintf(piece.name, sizeof piece.name, "%s.%s", from->slab->spec.name, p->name) >= (int)sizeof piece.name)
            st = HS_FAIL(USAGE, "parameter name of more than %d bytes: %.80s...", HS_NAME_BYTES - 16, p->name);
        else
            st = hs_st_sources_add(out, p, hs_slab_in(from->slab, from->copy, p), &piece, 1);
        if (st == HS_OK)
            as_slab_has_it(&out->s[out->n - 1], from->slab, p);
    }
    if (st != HS_OK)
        hs_st_sources_free(out);
    return st;
}

static hs_status make_dir(const hs_io *io, const char *path)
{
    return io->mkdir(path, 0777) == 0 ? HS_OK : HS_FAIL(SYSTEM, "%s: %s", path, strerror(errno));
}

static bool writes_texts(const hs_model_files *f)
{
    for (int i = 0; i < f->n_keys; i++)
        if (f->key[i].type == HS_FILE_END)
            return true;
    return false;
}

static hs_status put_adapter(hs_ckpt_dir *to, const hs_ckpt *c)
{
    const hs_model_files *f = c->info.files;
    hs_text t = { 0 };
    const hs_status st =
        hs_peft_json(&t, c->ps, &(hs_ckpt_opts){ .files = f, .base = c->base }, hs_file_task(f, c->info.settings.bytes), writes_texts(f));
    if (st != HS_OK) {
        hs_text_free(&t);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_ckpt_put_text(to, HS_PEFT_CONFIG, &t));
    for (int i = 0; i < c->of_base.n_base; i++)
        HS_TRY(hs_manifest_add_base(&to->manifest, c->of_base.base[i].name, &c->of_base.base[i]));
    return hs_ckpt_put_tensors(to, HS_PEFT_WEIGHTS, &c->model);
}

static hs_status put_model(hs_ckpt_dir *to, const hs_ckpt *c)
{
    HS_TRY(hs_ckpt_put_beside(to, &c->info, c->tok, HS_F32));
    return c->adapter ? put_adapter(to, c) : hs_ckpt_put_tensors(to, "model.safetensors", &c->model);
}

// A model directory of its own, whose files the manifest lists too.
static hs_status put_second(hs_ckpt_dir *to, const hs_ckpt *c)
{
    const hs_second_files *s = &c->info.files->second;
    char dir[HS_PATH], name[sizeof to->manifest.file->name];
    hs_model_info info = { .files = c->info.files, .end = c->info.end };
    if (c->second.n == 0)
        return HS_OK;
    HS_TRY(hs_path_join(dir, "%s/%s", to->dir, s->folder));
    HS_TRY(make_dir(to->io, dir));
    if (!s->settings(&c->info.settings, &info.settings))
        return HS_FAIL(INTERNAL, "%s: a model of these settings has no second network", s->folder);
    hs_ckpt_dir own = { .io = to->io, .dir = dir };
    hs_status st = hs_ckpt_put_beside(&own, &info, c->tok, HS_F32);
    if (st == HS_OK)
        st = hs_ckpt_put_tensors(&own, "model.safetensors", &c->second);
    for (int i = 0; i < own.manifest.n && st == HS_OK; i++) {
        snprintf(name, sizeof name, "%.60s/%.180s", s->folder, own.manifest.file[i].name);
        st = hs_manifest_add(&to->manifest, name, &own.manifest.file[i]);
    }
    hs_manifest_free(&own.manifest);
    return st == HS_OK ? hs_sync_path(to->io, dir) : st;
}

static hs_status put_train(hs_ckpt_dir *to, const hs_ckpt *c)
{
    char train[HS_PATH];
    hs_text state = { 0 }, yaml = { 0 }, manifest = { 0 };
    HS_TRY(hs_path_join(train, "%s/train", to->dir));
    HS_TRY(make_dir(to->io, train));
    HS_TRY(hs_ckpt_put_tensors(to, "train/optimizer.safetensors", &c->optimizer));
    hs_state_json(&state, &c->state);
    HS_TRY(hs_ckpt_put_text(to, "train/state.json", &state));
    hs_text_add(&yaml, "%s", c->config_yaml);
    HS_TRY(hs_ckpt_put_text(to, "train/config.yaml", &yaml));
    hs_manifest_json(&manifest, &to->manifest, c->state.step);
    HS_TRY(hs_ckpt_put_text(to, "train/manifest.json", &manifest));
    return hs_sync_path(to->io, train);
}

// ---- publishing
static hs_status publish(hs_ckpt *c, const char *tmp, const char *name)
{
    char path[HS_PATH];
    HS_TRY(hs_path_join(path, "%s/%s", c->dir, name));
    HS_TRY(hs_sync_path(c->io, tmp));
    HS_TRY(hs_move_into_place(c->io, tmp, path));
    HS_TRY(hs_sync_path(c->io, c->dir));
    if (c->is_best)
        HS_TRY(hs_put_pointer(c->io, c->dir, "BEST", name));
    return hs_put_pointer(c->io, c->dir, "LATEST", name);
}

static hs_status write_checkpoint(hs_ckpt *c)
{
    char name[HS_STEP_NAME], tmp[HS_PATH];
    hs_step_name(name, c->state.step);
    HS_TRY(hs_path_join(tmp, "%s/%s.tmp-%ld", c->dir, name, (long)getpid()));
    hs_remove_tree(c->io, tmp); // of a save that failed and could not be removed then
    hs_ckpt_dir to = { .io = c->io, .dir = tmp };
    hs_status st = make_dir(c->io, tmp);
    if (st == HS_OK)
        st = put_model(&to, c);
    if (st == HS_OK)
        st = put_second(&to, c);
    if (st == HS_OK)
        st = put_train(&to, c);
    if (st == HS_OK)
        st = publish(c, tmp, name);
    hs_manifest_free(&to.manifest);
    hs_remove_tree(c->io, tmp); // there after an error, and after an exchange
    if (st == HS_OK)
        hs_folder_rotate(c->io, c->dir, c->keep, &c->state);
    return st;
}

// ---- the thread
static void *writer(void *arg)
{
    hs_ckpt *c = arg;
    setpriority(PRIO_PROCESS, (id_t)gettid(), 10); // Linux: of this thread. Training goes first
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->busy && !c->quit)
            pthread_cond_wait(&c->changed, &c->lock);
        if (!c->busy)
            break;
        pthread_mutex_unlock(&c->lock);
        const hs_status st = write_checkpoint(c);
        pthread_mutex_lock(&c->lock);
        if (st != HS_OK) {
            c->outcome = st;
            snprintf(c->message, sizeof c->message, "checkpoint of step %lld is not saved: %s", (long long)c->state.step, hs_error());
        }
        c->busy = false;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static hs_status start_thread(hs_ckpt *c)
{
    HS_TRY(hs_thread_start(&c->thread, writer, c, "the thread that writes checkpoints"));
    c->started = true;
    return HS_OK;
}

hs_status hs_ckpt_wait(hs_ckpt *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->busy)
        pthread_cond_wait(&c->changed, &c->lock);
    const hs_status st = c->outcome;
    c->outcome = HS_OK;
    pthread_mutex_unlock(&c->lock);
    return st == HS_OK ? HS_OK : hs_fail_at(st, __FILE__, __LINE__, "%s", c->message);
}

// ---- set-up
hs_status hs_ckpt_check_params(const hs_params *ps)
{
    if (!ps->allocated)
        return HS_FAIL(INTERNAL, "parameters are saved before they are laid out");
    if (ps->tp_size != 1)
        return HS_FAIL(UNSUPPORTED, "checkpoints of %d tensor-parallel ranks need parallel/ to gather them", ps->tp_size);
    return HS_OK;
}

size_t hs_ckpt_bytes(const hs_params *ps)
{
    const hs_params_bytes b = hs_params_bytes_of(ps);
    return b.master + b.saved;
}

// Pages are taken now: a save never runs out of memory.
static hs_status add_snapshot(hs_ckpt *c, const hs_slab *slab)
{
    void *copy;
    if (!hs_dtype_is_float(slab->spec.dtype) || slab->spec.bytes != NULL)
        return HS_FAIL(UNSUPPORTED, "slab %s: checkpoints hold tensors of floats only", slab->spec.name);
    if (hs_params_alloc_host(c->ps, slab->bytes, &copy) != HS_OK)
        return HS_FAIL(MEMORY, "no memory for a snapshot of slab %s: %zu bytes", slab->spec.name, slab->bytes);
    memset(copy, 0, slab->bytes);
    c->snapshot[c->n_snapshots++] = (copied){ slab, copy };
    return HS_OK;
}

static hs_status make_snapshots(hs_ckpt *c, const hs_params *ps)
{
    if (ps->master->adopted)
        return HS_FAIL(INTERNAL, "values that are adopted are not snapshots' to copy: hs_ckpt_export writes them");
    c->snapshot = calloc((size_t)ps->n_slabs, sizeof *c->snapshot);
    if (c->snapshot == NULL)
        return HS_FAIL(MEMORY, "no memory for a list of %d slabs", ps->n_slabs);
    HS_TRY(add_snapshot(c, ps->master));
    for (int i = 0; i < ps->n_slabs; i++)
        if (ps->slab[i]->spec.saved)
            HS_TRY(add_snapshot(c, ps->slab[i]));
    if (c->n_snapshots == 1)
        return HS_FAIL(INTERNAL, "parameters without an optimizer's slabs cannot be resumed from: hs_ckpt_export writes them");
    return HS_OK;
}

// Once: what an adapter is trained beside does not change meanwhile.
static hs_status find_base(hs_ckpt *c, const hs_ckpt_opts *o, const hs_params *ps)
{
    hs_weights w;
    char path[HS_PATH];
    c->adapter = hs_params_adapter(ps) != NULL && o->files != NULL;
    if (!c->adapter)
        return HS_OK;
    if (o->base == NULL || !realpath(o->base, c->base))
        return HS_FAIL(USAGE, "%s: no such folder: the model that an adapter is trained beside", o->base != NULL ? o->base : "");
    HS_TRY(hs_weights_open(&w, c->base));
    hs_status st = HS_OK;
    for (int i = 0; i < w.n_files && st == HS_OK; i++) {
        hs_file_sum sum;
        st = hs_path_join(path, "%s/%s", c->base, w.file_name[i]);
        if (st == HS_OK)
            st = hs_hash_file(path, &sum);
        if (st == HS_OK)
            st = hs_manifest_add_base(&c->of_base, w.file_name[i], &sum);
    }
    hs_weights_close(&w);
    return st;
}

static hs_status init(hs_ckpt *c, const hs_ckpt_opts *o, const hs_params *ps)
{
    HS_TRY(hs_ckpt_check_params(ps));
    HS_TRY(hs_path_join(c->dir, "%s", o->dir));
    HS_TRY(hs_make_dirs(c->io, c->dir));
    if (access(c->dir, W_OK | X_OK) != 0) // now, not after the first thousand steps
        return HS_FAIL(SYSTEM, "%s: checkpoints cannot be written here: %s", c->dir, strerror(errno));
    hs_folder_clean(c->io, c->dir);
    HS_TRY(make_snapshots(c, ps));
    HS_TRY(find_base(c, o, ps));
    HS_TRY(hs_st_sources_model(&c->model, ps, o, c->snapshot[0].copy));
    if (hs_ckpt_has_second(o->files, ps))
        HS_TRY(hs_st_sources_second(&c->second, ps, o, c->snapshot[0].copy));
    HS_TRY(optimizer_sources(&c->optimizer, ps, c->snapshot + 1, c->n_snapshots - 1));
    return start_thread(c);
}

hs_status hs_ckpt_new_with(hs_ckpt **out, const hs_ckpt_opts *o, const hs_params *ps, const hs_io *io)
{
    hs_ckpt *c = calloc(1, sizeof *c);
    if (c == NULL)
        return HS_FAIL(MEMORY, "no memory for the checkpoint writer");
    c->io = io, c->ps = ps;
    c->keep = o->keep;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    const hs_status st = init(c, o, ps);
    if (st != HS_OK) {
        hs_ckpt_free(c);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = c;
    return HS_OK;
}

hs_status hs_ckpt_new(hs_ckpt **out, const hs_ckpt_opts *o, const hs_params *ps) { return hs_ckpt_new_with(out, o, ps, &hs_io_system); }

void hs_ckpt_free(hs_ckpt *c)
{
    if (c == NULL)
        return;
    if (c->started) {
        pthread_mutex_lock(&c->lock);
        c->quit = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
        if (c->outcome != HS_OK)
            hs_warn("%s", c->message); // nobody asked
    }
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    for (int i = 0; i < c->n_snapshots; i++)
        hs_params_free_host(c->ps, c->snapshot[i].copy);
    free(c->snapshot);
    hs_st_sources_free(&c->model);
    hs_st_sources_free(&c->second);
    hs_st_sources_free(&c->optimizer);
    hs_manifest_free(&c->of_base);
    free(c->config_yaml);
    free(c);
}

hs_status hs_ckpt_save(hs_ckpt *c, const hs_params *ps, const hs_train_state *t, const hs_model_info *m, const hs_tokenizer *tok,
                       const char *config_yaml, bool is_best)
{
    char *yaml = strdup(config_yaml != NULL ? config_yaml : "");
    if (yaml == NULL) // what became of the one before is still to be told
        return HS_FAIL(MEMORY, "no memory for the configuration");
    const hs_status before = hs_ckpt_wait(c);
    for (int i = 0; i < c->n_snapshots; i++) {
        const hs_slab *slab = hs_params_slab(ps, c->snapshot[i].slab->spec.name);
        hs_params_read_slab(ps, slab, c->snapshot[i].copy);
    }
    free(c->config_yaml);
    c->config_yaml = yaml, c->state = *t, c->info = *m, c->tok = tok, c->is_best = is_best;
    pthread_mutex_lock(&c->lock);
    c->busy = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return before == HS_OK ? HS_OK : hs_frame_at(before, __FILE__, __LINE__);
}

hs_status hs_ckpt_go_on(hs_ckpt *c, const hs_train_state *t)
{
    char name[HS_STEP_NAME];
    int64_t now = -1;
    hs_pointer_read(c->dir, "BEST", &now);
    if (now == t->best_step || !hs_folder_has_best(c->dir, t))
        return HS_OK;
    hs_step_name(name, t->best_step);
    return hs_put_pointer(c->io, c->dir, "BEST", name);
}
