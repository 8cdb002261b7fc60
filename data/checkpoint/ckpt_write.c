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

struct hs_ckpt {
    char dir[HS_PATH];
    const hs_io *io;
    int keep;
    const hs_params *ps;
    hs_comm *comm; // of all ranks, where there are several; the writer's thread alone calls it
    double beat;
    hs_snapshots snapshots;
    hs_st_sources model, second, optimizer; // second: of a network that is trained beside the model; empty: there is none
    hs_state_copies states;
    bool adapter;                           // the parameters wear pairs: their base is named and summed, and not written
    char base[HS_PATH], base_path[HS_PATH]; // base_path: as seen from a checkpoint's folder
    hs_manifest of_base;
    hs_text quantization; // config.json's, where parameters are kept as codes
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
    s->is_f32 = false;
    if (!slab->spec.per_tensor)
        return;
    s->t.n_dims = 1, s->t.dim[0] = p->parts;
    s->param = NULL;
}

// What an optimizer keeps, as SLAB.PARAMETER under our own names, as it lies here.
static hs_status optimizer_sources(hs_st_sources *out, const hs_params *ps, const hs_snapshot *s, int n)
{
    hs_status st = HS_OK;
    HS_TRY(hs_st_sources_alloc(out, n * ps->n_params));
    for (int i = 0; i < n * ps->n_params && st == HS_OK; i++) {
        const hs_snapshot *from = &s[i % n];
        const hs_param *p = ps->param[i / n];
        hs_name_piece piece = { .part = 0 };
        if (!hs_slab_keeps(from->slab, p))
            continue;
        if (snprintf(piece.name, sizeof piece.name, "%s.%s", from->slab->spec.name, p->name) >= (int)sizeof piece.name)
            st = HS_FAIL(USAGE, "parameter name of more than %d bytes: %.80s...", HS_NAME_BYTES - 16, p->name);
        else
            st = hs_st_sources_add(out, p, &from->stored[p->id], &piece, 1);
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

static hs_status make_inner(const hs_ckpt_dir *to, const char *path) { return to->written ? HS_OK : make_dir(to->io, path); }

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
    to->manifest.base_path = c->base_path;
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
    HS_TRY(make_inner(to, dir));
    if (!s->settings(&c->info.settings, &info.settings))
        return HS_FAIL(INTERNAL, "%s: a model of these settings has no second network", s->folder);
    hs_ckpt_dir own = { .io = to->io, .dir = dir, .written = to->written, .beat = to->beat };
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

// All ranks have them alike: by whoever publishes, also where the other files are written by all.
static hs_status put_states(hs_ckpt_dir *to, const hs_ckpt *c)
{
    const bool written = to->written;
    if (c->states.sources.n == 0)
        return HS_OK;
    to->written = false;
    const hs_status st = hs_ckpt_put_tensors(to, "train/states.safetensors", &c->states.sources);
    to->written = written;
    return st;
}

static hs_status put_train(hs_ckpt_dir *to, const hs_ckpt *c)
{
    char train[HS_PATH];
    hs_text state = { 0 }, yaml = { 0 }, manifest = { 0 };
    HS_TRY(hs_path_join(train, "%s/train", to->dir));
    HS_TRY(make_inner(to, train));
    HS_TRY(hs_ckpt_put_tensors(to, "train/optimizer.safetensors", &c->optimizer));
    HS_TRY(put_states(to, c));
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

// Everything but the tensors' files, where those are there, and then its name.
static hs_status fill_and_publish(hs_ckpt *c, hs_ckpt_dir *to)
{
    char name[HS_STEP_NAME];
    hs_step_name(name, c->state.step);
    hs_status st = put_model(to, c);
    if (st == HS_OK)
        st = put_second(to, c);
    if (st == HS_OK)
        st = put_train(to, c);
    if (st == HS_OK)
        st = publish(c, to->dir, name);
    hs_manifest_free(&to->manifest);
    return st;
}

static hs_status make_tmp(const hs_ckpt *c, const char *tmp)
{
    hs_remove_tree(c->io, tmp); // of a save that failed and could not be removed then
    return make_dir(c->io, tmp);
}

static void clean_up(const hs_ckpt *c, const char *tmp, hs_status st)
{
    hs_remove_tree(c->io, tmp); // there after an error, and after an exchange
    if (st == HS_OK)
        hs_folder_rotate(c->io, c->dir, c->keep, &c->state);
}

static hs_status tmp_name(const hs_ckpt *c, long pid, char tmp[HS_PATH])
{
    char name[HS_STEP_NAME];
    hs_step_name(name, c->state.step);
    return hs_path_join(tmp, "%s/%s.tmp-%ld", c->dir, name, pid);
}

static hs_status write_alone(hs_ckpt *c)
{
    char tmp[HS_PATH];
    HS_TRY(tmp_name(c, (long)getpid(), tmp));
    hs_ckpt_dir to = { .io = c->io, .dir = tmp };
    hs_status st = make_tmp(c, tmp);
    if (st == HS_OK)
        st = fill_and_publish(c, &to);
    clean_up(c, tmp, st);
    return st;
}

// ---- by many ranks: the first makes folders and files of their full length, each writes its slices, the first sums and publishes
typedef struct tensors {
    char path[HS_PATH];
    const hs_st_sources *sources;
} tensors;

static hs_status list_tensors(const hs_ckpt *c, const char *tmp, tensors t[3], int *n)
{
    *n = 0;
    HS_TRY(hs_path_join(t[*n].path, "%s/%s", tmp, c->adapter ? HS_PEFT_WEIGHTS : "model.safetensors"));
    t[(*n)++].sources = &c->model;
    if (c->second.n > 0) {
        HS_TRY(hs_path_join(t[*n].path, "%s/%s/model.safetensors", tmp, c->info.files->second.folder));
        t[(*n)++].sources = &c->second;
    }
    HS_TRY(hs_path_join(t[*n].path, "%s/train/optimizer.safetensors", tmp));
    t[(*n)++].sources = &c->optimizer;
    return HS_OK;
}

typedef hs_status phase(hs_ckpt *c, const char *tmp, hs_agreement *beat);

static hs_status make_files(hs_ckpt *c, const char *tmp, hs_agreement *beat)
{
    tensors *t = calloc(3, sizeof *t);
    int n = 0;
    hs_status st = t != NULL ? make_tmp(c, tmp) : HS_FAIL(MEMORY, "no memory for names of files");
    if (st == HS_OK)
        st = list_tensors(c, tmp, t, &n);
    for (int i = 0; i < n && st == HS_OK; i++) {
        char folder[HS_PATH];
        memcpy(folder, t[i].path, sizeof folder);
        *strrchr(folder, '/') = 0;
        if (i > 0)
            st = make_dir(c->io, folder);
        if (st == HS_OK)
            st = hs_agree_tick(beat);
        if (st == HS_OK)
            st = hs_safetensors_make(c->io, t[i].path, t[i].sources->s, t[i].sources->n);
    }
    free(t);
    return st;
}

static hs_status put_slices(hs_ckpt *c, const char *tmp, hs_agreement *beat)
{
    tensors *t = calloc(3, sizeof *t);
    int n = 0;
    hs_status st = t != NULL ? list_tensors(c, tmp, t, &n) : HS_FAIL(MEMORY, "no memory for names of files");
    for (int i = 0; i < n && st == HS_OK; i++) {
        const hs_st_sources *s = t[i].sources;
        st = hs_safetensors_put_slices(c->io, t[i].path, s->s, s->held, s->n, c->ps->tp_rank, beat);
    }
    free(t);
    return st;
}

static hs_status sum_and_publish(hs_ckpt *c, const char *tmp, hs_agreement *beat)
{
    hs_ckpt_dir to = { .io = c->io, .dir = tmp, .written = true, .beat = beat };
    return fill_and_publish(c, &to);
}

static hs_status go_through(hs_ckpt *c, phase *f, bool all, const char *tmp)
{
    hs_agreement a = hs_agree_begin(c->comm, c->beat);
    const hs_status st = all || c->comm->rank == 0 ? f(c, tmp, &a) : HS_OK;
    return hs_agree_end(&a, st);
}

// Of rank 0's process, for the temporary name; and the step is the same everywhere.
static hs_status settle_name(hs_ckpt *c, char tmp[HS_PATH])
{
    double x[3] = { c->comm->rank == 0 ? (double)getpid() : 0, (double)c->state.step, -(double)c->state.step };
    c->comm->about = "a checkpoint";
    c->comm->all_reduce(c->comm, NULL, x, HS_COUNT(x), HS_F64, HS_REDUCE_MAX);
    HS_TRY(c->comm->poll(c->comm));
    if (x[1] != -x[2])
        return HS_FAIL(INTERNAL, "ranks save steps from %.0f to %.0f", -x[2], x[1]);
    return tmp_name(c, (long)x[0], tmp);
}

static hs_status write_together(hs_ckpt *c)
{
    char tmp[HS_PATH];
    HS_TRY(settle_name(c, tmp));
    hs_status st = go_through(c, make_files, false, tmp);
    if (st == HS_OK)
        st = go_through(c, put_slices, true, tmp);
    if (st == HS_OK)
        st = go_through(c, sum_and_publish, false, tmp);
    if (c->comm->rank == 0)
        clean_up(c, tmp, st);
    return st;
}

static hs_status write_checkpoint(hs_ckpt *c) { return c->comm != NULL ? write_together(c) : write_alone(c); }

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
// The way from a folder in `dir` to `to`; both are absolute and without links.
static hs_status way_to(const char *dir, const char *to, char out[HS_PATH])
{
    size_t same = 0;
    while (dir[same] && dir[same] == to[same])
        same++;
    if ((dir[same] && dir[same] != '/') || (to[same] && to[same] != '/'))
        while (same > 0 && dir[--same] != '/')
            ;
    hs_text t = { 0 };
    hs_text_add(&t, "..");
    for (const char *p = dir + same; *p; p++)
        if (*p == '/' && p[1])
            hs_text_add(&t, "/..");
    hs_text_add(&t, "%s", to + same);
    const hs_status st = t.failed ? HS_FAIL(MEMORY, "%s: no memory for a path", to) : hs_path_join(out, "%s", t.p);
    hs_text_free(&t);
    return st;
}

// Once: what an adapter is trained beside does not change meanwhile.
static hs_status find_base(hs_ckpt *c, const hs_ckpt_opts *o, hs_agreement *beat)
{
    hs_weights w;
    char path[HS_PATH];
    if (!c->adapter)
        return HS_OK;
    if (o->base == NULL || !realpath(o->base, c->base))
        return HS_FAIL(USAGE, "%s: no such folder: the model that an adapter is trained beside", o->base != NULL ? o->base : "");
    if (!realpath(c->dir, path))
        return HS_FAIL(SYSTEM, "%s: %s", c->dir, strerror(errno));
    HS_TRY(way_to(path, c->base, c->base_path));
    HS_TRY(hs_weights_open(&w, c->base));
    hs_status st = HS_OK;
    for (int i = 0; i < w.n_files && st == HS_OK; i++) {
        hs_file_sum sum;
        st = hs_path_join(path, "%s/%s", c->base, w.file_name[i]);
        if (st == HS_OK)
            st = hs_hash_file(path, &sum, beat);
        if (st == HS_OK)
            st = hs_manifest_add_base(&c->of_base, w.file_name[i], &sum);
    }
    hs_weights_close(&w);
    return st;
}

// By the first rank.
static hs_status prepare_folder(hs_ckpt *c, const hs_ckpt_opts *o, hs_agreement *beat)
{
    HS_TRY(hs_make_dirs(c->io, c->dir));
    hs_folder_clean(c->io, c->dir);
    return find_base(c, o, beat);
}

static hs_status check(const hs_ckpt_opts *o, const hs_params *ps)
{
    const int ranks = o->comm != NULL ? o->comm->size : 1, world = o->world != NULL ? o->world->size : 1;
    const int dp = o->grid != NULL ? o->grid->dp->size : 1, tp = o->grid != NULL ? o->grid->tp->size : 1;
    if (!ps->allocated)
        return HS_FAIL(INTERNAL, "parameters are saved before they are laid out");
    if (ranks != world || ranks != dp * tp || tp != ps->tp_size)
        return HS_FAIL(INTERNAL, "checkpoints of %d tensor-parallel ranks by %d x %d ranks, of %d and %d", ps->tp_size, dp, tp, ranks,
                       world);
    return HS_OK;
}

static hs_status sources_of(hs_ckpt *c, const hs_ckpt_opts *o, const hs_params *ps)
{
    const hs_snapshot *s = c->snapshots.s;
    HS_TRY(hs_st_sources_model(&c->model, ps, o, s->stored));
    if (hs_ckpt_has_second(o->files, ps))
        HS_TRY(hs_st_sources_second(&c->second, ps, o, s->stored));
    return optimizer_sources(&c->optimizer, ps, s + 1, c->snapshots.n - 1);
}

static hs_status init(hs_ckpt *c, const hs_ckpt_opts *o, const hs_params *ps)
{
    HS_TRY(check(o, ps));
    HS_TRY(hs_path_join(c->dir, "%s", o->dir));
    c->comm = o->comm != NULL && o->comm->size > 1 ? o->comm : NULL;
    c->adapter = hs_params_adapter(ps) != NULL && o->files != NULL;
    hs_agreement a = hs_agree_begin(o->world, c->beat);
    HS_TRY(hs_agree_end(&a, c->comm == NULL || c->comm->rank == 0 ? prepare_folder(c, o, &a) : HS_OK));
    hs_status st = HS_OK;
    if (access(c->dir, W_OK | X_OK) != 0) // now, not after the first thousand steps
        st = HS_FAIL(SYSTEM, "%s: checkpoints cannot be written here: %s", c->dir, strerror(errno));
    if (st == HS_OK)
        st = hs_snapshots_list(&c->snapshots, ps);
    HS_TRY(hs_agree(o->world, st)); // none is missing in what follows
    st = hs_snapshots_make(&c->snapshots, ps, o);
    if (st == HS_OK)
        st = sources_of(c, o, ps);
    if (st == HS_OK)
        st = hs_state_copies_new(&c->states, &o->states);
    if (st == HS_OK && c->states.own && c->comm != NULL)
        st = HS_FAIL(UNSUPPORTED, "state %s is another on each of %d ranks: checkpoints hold those of one process, or that all ranks share",
                     c->states.own, c->comm->size);
    if (st == HS_OK)
        st = start_thread(c);
    return hs_agree(o->world, st);
}

hs_status hs_ckpt_new_with(hs_ckpt **out, const hs_ckpt_opts *o, const hs_params *ps, const hs_io *io)
{
    hs_ckpt *c = calloc(1, sizeof *c);
    if (c == NULL)
        return HS_FAIL(MEMORY, "no memory for the checkpoint writer");
    c->io = io, c->ps = ps;
    c->keep = o->keep, c->beat = 1;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    hs_status st = hs_coded_bytes(ps) ? hs_quantization_json(&c->quantization, ps, o) : HS_OK;
    if (st == HS_OK && c->quantization.failed)
        st = HS_FAIL(MEMORY, "no memory for a quantization_config");
    if (st == HS_OK)
        st = init(c, o, ps);
    if (st != HS_OK) {
        hs_ckpt_free(c);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = c;
    return HS_OK;
}

void hs_ckpt_set_beat(hs_ckpt *c, double seconds) { c->beat = seconds; }

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
    hs_snapshots_free(&c->snapshots, c->ps);
    hs_st_sources_free(&c->model);
    hs_st_sources_free(&c->second);
    hs_st_sources_free(&c->optimizer);
    hs_state_copies_free(&c->states);
    hs_manifest_free(&c->of_base);
    hs_text_free(&c->quantization);
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
    hs_snapshots_take(&c->snapshots, ps);
    const hs_status states = hs_state_copies_take(&c->states);
    if (states != HS_OK) {
        free(yaml);
        return hs_frame_at(states, __FILE__, __LINE__);
    }
    free(c->config_yaml);
    c->config_yaml = yaml, c->state = *t, c->info = *m, c->tok = tok, c->is_best = is_best;
    c->info.quantization = c->quantization.p;
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
    if (c->comm != NULL && c->comm->rank > 0)
        return HS_OK;
    hs_pointer_read(c->dir, "BEST", &now);
    if (now == t->best_step || !hs_folder_has_best(c->dir, t))
        return HS_OK;
    hs_step_name(name, t->best_step);
    return hs_put_pointer(c->io, c->dir, "BEST", name);
}
