// train/state.json and train/manifest.json.
#include "data/checkpoint/ckpt_parts.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- state: one table for both directions. Values come back with the bits they had.
enum { STATE_VERSION = 1, MANIFEST_VERSION = 1 };
typedef enum kind { I32, I64, U64, F32, F64 } kind;
typedef struct field {
    const char *name;
    kind kind;
    size_t offset;
    int n;         // 0: a value; else an array of n, of which older files have the first alone
    bool optional; // older files do not have it
} field;

#define FIELD(kind, name, member, n)                                                                                                       \
    {                                                                                                                                      \
        name, kind, offsetof(hs_train_state, member), n, false                                                                             \
    }
static const field fields[] = {
    FIELD(I64, "step", step, 0),
    { "phase", I64, offsetof(hs_train_state, phase), 0, true },
    { "phase_step", I64, offsetof(hs_train_state, phase_step), 0, true },
    FIELD(U64, "seed", seed, 0),
    FIELD(U64, "next_sample", next_sample, 0),
    FIELD(I64, "tokens_seen", tokens_seen, 0),
    FIELD(F64, "best_val_loss", best_val_loss, 0),
    FIELD(I64, "best_step", best_step, 0),
    { "best_score", F64, offsetof(hs_train_state, best_score), 0, true },
    { "worse", I64, offsetof(hs_train_state, worse), 0, true },
    FIELD(I64, "applied", step_state.applied, 0),
    FIELD(F32, "scale", step_state.scale, 0),
    FIELD(I32, "growth", step_state.growth, 0),
    FIELD(I32, "hysteresis", step_state.hysteresis, 0),
    FIELD(I32, "found_inf", step_state.found_inf, 0),
    FIELD(I32, "skipped_in_row", step_state.skipped_in_row, 0),
    FIELD(I64, "skipped", step_state.skipped, 0),
    FIELD(F32, "lr", step_state.lr, 0),
    FIELD(F32, "grad_norm", step_state.grad_norm, 0),
    FIELD(F64, "loss", step_state.loss[0], HS_N_LOSS),
    FIELD(I32, "bad_param", step_state.bad_param, 0),
    FIELD(I64, "bad_count", step_state.bad_count, 0),
    FIELD(I32, "bad_micro", step_state.bad_micro, 0),
};
// A new member of either struct belongs into the table above, unless the next step writes it anew: losses of other plans than the first,
// step_scale. Then these sizes change.
_Static_assert(sizeof(hs_step_state) == 1608 && sizeof(hs_train_state) == 1688, "list the new member in fields[]");

static size_t size_of(kind k) { return k == I32 || k == F32 ? 4 : 8; }

static void add_value(hs_text *t, kind k, const void *p)
{
    switch (k) {
    case I32:
        hs_text_add(t, "%d", *(const int32_t *)p);
        break;
    case I64:
        hs_text_add(t, "%lld", (long long)*(const int64_t *)p);
        break;
    case U64:
        hs_text_add(t, "\"%llu\"", (unsigned long long)*(const uint64_t *)p);
        break; // many readers know only doubles
    case F32:
        hs_text_f32(t, *(const float *)p);
        break;
    case F64:
        hs_text_f64(t, *(const double *)p);
        break;
    }
}

void hs_state_json(hs_text *t, const hs_train_state *s)
{
    hs_text_add(t, "{\n  \"version\": %d", STATE_VERSION);
    for (int i = 0; i < HS_COUNT(fields); i++) {
        const field *f = &fields[i];
        const char *p = (const char *)s + f->offset;
        hs_text_add(t, ",\n  \"%s\": %s", f->name, f->n ? "[" : "");
        add_value(t, f->kind, p);
        for (int k = 1; k < f->n; k++) {
            hs_text_add(t, ", ");
            add_value(t, f->kind, p + (size_t)k * size_of(f->kind));
        }
        hs_text_add(t, "%s", f->n ? "]" : "");
    }
    hs_text_add(t, "\n}\n");
}

static hs_status read_value(const hs_json *j, const field *f, const json_t *v, void *p)
{
    double real;
    if (f->kind == U64)
        return hs_json_value_u64(j, f->name, v, p);
    if (f->kind == F32 || f->kind == F64) {
        HS_TRY(hs_json_value_f64(j, f->name, v, &real));
        if (f->kind == F64)
            *(double *)p = real;
        else
            *(float *)p = (float)real;
        return HS_OK;
    }
    const int64_t i = json_integer_value(v);
    if (!json_is_integer(v) || (f->kind == I32 && (i < INT32_MIN || i > INT32_MAX)))
        return HS_FAIL(CORRUPT, "%s: \"%s\" is not an integer of %s bits", j->path, f->name, f->kind == I32 ? "32" : "64");
    if (f->kind == I32)
        *(int32_t *)p = (int32_t)i;
    else
        *(int64_t *)p = i;
    return HS_OK;
}

static hs_status read_state(const hs_json *j, hs_train_state *s)
{
    int64_t version;
    s->phase_step = -1;
    HS_TRY(hs_json_i64(j, "version", 1, STATE_VERSION, &version));
    for (int i = 0; i < HS_COUNT(fields); i++) {
        const field *f = &fields[i];
        const json_t *v = json_object_get(j->root, f->name);
        char *p = (char *)s + f->offset;
        if (v == NULL && f->optional)
            continue;
        if (v == NULL)
            return HS_FAIL(CORRUPT, "%s: \"%s\" is missing", j->path, f->name);
        const int has = json_is_array(v) ? (int)json_array_size(v) : 0;
        if (f->n && (!json_is_array(v) || has < 1 || has > f->n))
            return HS_FAIL(CORRUPT, "%s: \"%s\" is not a list of 1 to %d numbers", j->path, f->name, f->n);
        if (!f->n)
            HS_TRY(read_value(j, f, v, p));
        for (int k = 0; k < has && f->n; k++)
            HS_TRY(read_value(j, f, json_array_get(v, (size_t)k), p + (size_t)k * size_of(f->kind)));
    }
    if (s->phase_step < 0)
        s->phase_step = s->step;
    return HS_OK;
}

hs_status hs_state_read(const char *path, hs_train_state *s)
{
    hs_json j;
    HS_TRY(hs_json_open(&j, path));
    hs_train_state read = { 0 };
    const hs_status st = read_state(&j, &read);
    hs_json_close(&j);
    HS_TRY(st);
    *s = read;
    return HS_OK;
}

// ---- manifest
static hs_status add_sum(hs_file_sum **list, int *n, int *room, const char *name, const hs_file_sum *sum)
{
    if (*n == *room) {
        const int capacity = *room ? 2 * *room : 16;
        hs_file_sum *more = realloc(*list, (size_t)capacity * sizeof *more);
        if (more == NULL)
            return HS_FAIL(MEMORY, "no memory for a manifest of %d files", capacity);
        *list = more, *room = capacity;
    }
    hs_file_sum *f = &(*list)[*n];
    *f = *sum;
    if (strlen(name) >= sizeof f->name)
        return HS_FAIL(USAGE, "file name of %zu bytes, allowed up to %zu: %.80s...", strlen(name), sizeof f->name - 1, name);
    memset(f->name, 0, sizeof f->name);
    memcpy(f->name, name, strlen(name));
    ++*n;
    return HS_OK;
}

hs_status hs_manifest_add(hs_manifest *m, const char *name, const hs_file_sum *sum)
{
    return add_sum(&m->file, &m->n, &m->capacity, name, sum);
}

hs_status hs_manifest_add_base(hs_manifest *m, const char *name, const hs_file_sum *sum)
{
    return add_sum(&m->base, &m->n_base, &m->cap_base, name, sum);
}

void hs_manifest_free(hs_manifest *m)
{
    free(m->file);
    free(m->base);
    *m = (hs_manifest){ 0 };
}

static void add_sums(hs_text *t, const hs_file_sum *f, int n)
{
    for (int i = 0; i < n; i++) {
        hs_text_add(t, "%s\n    {\"name\": ", i ? "," : "");
        hs_text_string(t, f[i].name);
        hs_text_add(t, ", \"bytes\": %llu, \"xxh3_64\": \"%016llx\"}", (unsigned long long)f[i].bytes, (unsigned long long)f[i].hash);
    }
}

void hs_manifest_json(hs_text *t, const hs_manifest *m, int64_t step)
{
    hs_text_add(t, "{\n  \"version\": %d,\n  \"step\": %lld,\n  \"files\": [", MANIFEST_VERSION, (long long)step);
    add_sums(t, m->file, m->n);
    if (m->n_base > 0) {
        hs_text_add(t, "\n  ],\n  \"base\": [");
        add_sums(t, m->base, m->n_base);
    }
    hs_text_add(t, "\n  ]");
    if (m->n_base > 0 && m->base_path != NULL) {
        hs_text_add(t, ",\n  \"base_path\": ");
        hs_text_string(t, m->base_path);
    }
    hs_text_add(t, "\n}\n");
}

static bool stays_inside(const char *name) // no way out of the folder
{
    return *name != 0 && *name != '/' && strncmp(name, "../", 3) != 0 && strstr(name, "/../") == NULL;
}

static hs_status read_entry(hs_manifest *m, const hs_json *j, json_t *entry, bool base)
{
    const hs_json e = { entry, j->path };
    hs_file_sum sum = { 0 };
    const char *name = hs_json_text(&e, "name"), *hex = hs_json_text(&e, "xxh3_64");
    if (name == NULL || hex == NULL || strlen(hex) != 16 || strspn(hex, "0123456789abcdef") != 16 || !stays_inside(name))
        return HS_FAIL(CORRUPT, "%s: a file's name or checksum is malformed", j->path);
    HS_TRY(hs_json_u64(&e, "bytes", &sum.bytes));
    sum.hash = strtoull(hex, NULL, 16);
    return base ? hs_manifest_add_base(m, name, &sum) : hs_manifest_add(m, name, &sum);
}

hs_status hs_manifest_read(hs_manifest *m, const char *path)
{
    hs_json j;
    *m = (hs_manifest){ 0 };
    HS_TRY(hs_json_open(&j, path));
    int64_t version;
    hs_status st = hs_json_i64(&j, "version", 1, MANIFEST_VERSION, &version);
    json_t *files = json_object_get(j.root, "files");
    if (st == HS_OK && !json_is_array(files))
        st = HS_FAIL(CORRUPT, "%s: \"files\" is not a list", path);
    for (size_t i = 0; st == HS_OK && i < json_array_size(files); i++)
        st = read_entry(m, &j, json_array_get(files, i), false);
    json_t *base = json_object_get(j.root, "base");
    for (size_t i = 0; st == HS_OK && i < json_array_size(base); i++)
        st = read_entry(m, &j, json_array_get(base, i), true);
    hs_json_close(&j);
    if (st != HS_OK)
        hs_manifest_free(m);
    return st;
}

bool hs_manifest_base_path(const char *model_dir, char out[HS_PATH])
{
    char path[HS_PATH];
    hs_json j;
    if (snprintf(path, sizeof path, "%s/train/manifest.json", model_dir) >= (int)sizeof path || !hs_is_file(path) ||
        hs_json_open(&j, path) != HS_OK)
        return false;
    const char *base = hs_json_text(&j, "base_path");
    const bool found = base != NULL && *base != 0 && snprintf(out, HS_PATH, "%s/%s", model_dir, base) < HS_PATH;
    hs_json_close(&j);
    return found;
}
