// verify_resume: a run to its end, and one that goes on from its middle: their last checkpoints, byte for byte.
#include "data/base/file.h"
#include "data/checkpoint/ckpt_parts.h"
#include "recipes/train/verify.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hs_status train(const hs_verify_opts *o, const char *name, const char *resume)
{
    char dir[PATH_MAX];
    hs_config *c = malloc(sizeof *c);
    if (!c)
        return HS_FAIL(MEMORY, "no memory for the settings of a run");
    snprintf(dir, sizeof dir, "%s/%s", o->out, name);
    hs_status st = hs_config_phase(c, o->config, 0);
    const struct {
        const char *key;
        int64_t value;
    } set[] = { { "train.steps", 2 * o->steps }, { "checkpoint.every", o->steps }, { "checkpoint.keep", 2 }, { "train.eval_every", 0 } };
    for (int i = 0; i < HS_COUNT(set) && st == HS_OK; i++)
        st = hs_config_set_int(c, set[i].key, set[i].value, "verify");
    c->train.epochs = 0;
    if (st == HS_OK)
        st = hs_train(&(hs_train_opts){ .config = c, .dir = dir, .resume = resume, .parallel = o->parallel, .quiet = true });
    free(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static void step_dir(const hs_verify_opts *o, const char *run, int64_t step, char *buf, size_t size)
{
    char name[HS_STEP_NAME];
    hs_step_name(name, step);
    snprintf(buf, size, "%s/%s/checkpoints/%s", o->out, run, name);
}

// One file of both: how many bytes differ, as a row.
static hs_status compare_file(const hs_verify_opts *o, const char *name, hs_verify_row *row)
{
    static const char *const runs[] = { "whole", "resumed" };
    char dir[PATH_MAX], path[2][PATH_MAX + 64], *text[2] = { 0 };
    size_t bytes[2];
    hs_status st = HS_OK;
    for (int i = 0; i < 2 && st == HS_OK; i++) {
        step_dir(o, runs[i], 2 * o->steps, dir, sizeof dir);
        snprintf(path[i], sizeof path[i], "%s/%s", dir, name);
        st = hs_file_read(path[i], &text[i], &bytes[i]);
    }
    *row = (hs_verify_row){ 0 };
    snprintf(row->name, sizeof row->name, "%s", name);
    if (st == HS_OK) {
        const size_t n = bytes[0] < bytes[1] ? bytes[0] : bytes[1];
        for (size_t i = 0; i < n; i++)
            row->ulp += text[0][i] != text[1][i];
        row->ulp += (double)(bytes[0] + bytes[1] - 2 * n);
        row->relative = row->rms = row->ulp;
    }
    free(text[0]), free(text[1]);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status compare_files(const hs_verify_opts *o, hs_verify_result *out)
{
    static const char *const names[] = { "model.safetensors", "adapter_model.safetensors", "train/optimizer.safetensors",
                                         "train/states.safetensors", "train/state.json" };
    char dir[PATH_MAX], path[PATH_MAX + 64];
    out->row = calloc(HS_COUNT(names), sizeof *out->row);
    if (!out->row)
        return HS_FAIL(MEMORY, "no memory for what files differ by");
    step_dir(o, "whole", 2 * o->steps, dir, sizeof dir);
    hs_train_state s;
    snprintf(path, sizeof path, "%s/train/state.json", dir);
    HS_TRY(hs_state_read(path, &s));
    out->applied = s.step_state.applied, out->skipped = s.step_state.skipped;
    out->passed = out->applied > 0;
    for (int i = 0; i < HS_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (access(path, F_OK) != 0)
            continue;
        HS_TRY(compare_file(o, names[i], &out->row[out->n]));
        out->passed = out->passed && out->row[out->n++].ulp == 0;
    }
    return HS_OK;
}

// What the first rank has found.
static hs_status tell_all(hs_comm *world, hs_verify_result *out)
{
    const struct {
        void *p;
        size_t bytes;
    } fields[] = { { &out->passed, sizeof out->passed }, { &out->applied, sizeof out->applied }, { &out->n, sizeof out->n } };
    world->about = "what differs";
    for (int i = 0; i < HS_COUNT(fields); i++)
        world->broadcast(world, NULL, fields[i].p, fields[i].bytes, 0);
    if (!out->row)
        out->row = calloc((size_t)out->n + 1, sizeof *out->row);
    if (!out->row)
        return HS_FAIL(MEMORY, "no memory for what files differ by");
    world->broadcast(world, NULL, out->row, (size_t)out->n * sizeof *out->row, 0);
    return HS_OK;
}

hs_status hs_verify_resume(const hs_verify_opts *o, hs_verify_result *out)
{
    char middle[PATH_MAX];
    const bool first = !o->parallel || hs_parallel_world(o->parallel)->rank == 0;
    HS_TRY(hs_verify_folder(o));
    out->same_scaler = out->same_samples = true;
    HS_TRY(train(o, "whole", "none"));
    step_dir(o, "whole", o->steps, middle, sizeof middle);
    HS_TRY(train(o, "resumed", middle));
    if (first)
        HS_TRY(compare_files(o, out));
    if (first && out->passed && !hs_remove_tree(&hs_io_system, o->out))
        return HS_FAIL(SYSTEM, "cannot remove %s", o->out);
    return o->parallel ? tell_all(hs_parallel_world(o->parallel), out) : HS_OK;
}
