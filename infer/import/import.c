// import: which file it is, by what it begins with.
#include "infer/import/import.h"
#include "core/base/ending.h"
#include "data/base/file.h"
#include "data/base/hf_folder.h"
#include "data/base/side_file.h"
#include "data/checkpoint/new_folder.h"
#include "data/checkpoint/peft.h"
#include "data/formats/llmc_model.h"
#include "infer/import/import_model.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_gguf(const char *path)
{
    char magic[4];
    return hs_file_head(path, magic, sizeof magic) == sizeof magic && memcmp(magic, "GGUF", sizeof magic) == 0;
}

// A protobuf message begins with a tag: of ir_version, or of what others put first. Names decide.
static bool is_onnx(const char *path)
{
    return hs_ends_with(path, ".onnx");
}

static const struct format {
    const char *name;
    bool (*is)(const char *path);
    hs_status (*read)(hs_import_model *m, hs_import_file *keep);
} formats[] = { { "GGUF", is_gguf, hs_import_gguf }, { "llm.c", hs_llmc_model_is, hs_import_llmc }, { "ONNX", is_onnx, hs_import_onnx } };

static const struct format *format_of(const char *path)
{
    for (int i = 0; i < HS_COUNT(formats); i++)
        if (formats[i].is(path))
            return &formats[i];
    return NULL;
}

// The only file of a format in a folder, or in its folder "onnx".
static hs_status find_in(const char *dir, char out[HS_PATH], int *found)
{
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? HS_OK : HS_FAIL(SYSTEM, "%s: %s", dir, strerror(errno));
    hs_status st = HS_OK;
    for (struct dirent *e; st == HS_OK && (e = readdir(d));) {
        char path[HS_PATH];
        st = hs_path_join(path, "%s/%s", dir, e->d_name);
        if (st != HS_OK || !hs_is_file(path) || !format_of(path))
            continue;
        if (++*found == 1)
            memcpy(out, path, sizeof path);
        else
            st = HS_FAIL(USAGE, "%s has several models, %.200s and %.200s among them: name one", dir, strrchr(out, '/') + 1, e->d_name);
    }
    closedir(d);
    return st;
}

// A run, or an adapter: what resolves to a folder with weights of the kind.
static bool is_ours(const char *path)
{
    char dir[HS_PATH], weights[HS_PATH];
    if (hs_ckpt_resolve(path, 0, dir, sizeof dir) != HS_OK || hs_path_join(weights, "%s/model.safetensors", dir) != HS_OK)
        return false;
    return hs_is_file(weights) || hs_peft_is(dir);
}

static hs_status find(const char *path, char out[HS_PATH])
{
    char sub[HS_PATH];
    int found = 0;
    if (!hs_is_dir(path))
        return hs_path_join(out, "%s", path);
    HS_TRY(find_in(path, out, &found));
    HS_TRY(hs_path_join(sub, "%s/onnx", path));
    if (!found)
        HS_TRY(find_in(sub, out, &found));
    if (found)
        return HS_OK;
    HS_TRY(hs_path_join(sub, "%s/model.safetensors", path));
    if (!hs_is_file(sub) && is_ours(path))
        return HS_FAIL(USAGE, "%s is a checkpoint already; `halfstep export %s --to safetensors` writes it as a directory of transformers",
                       path, path);
    if (hs_is_file(sub))
        return HS_FAIL(USAGE, "%s is a directory of transformers already; `halfstep export --to safetensors` writes it anew", path);
    return hs_hf_no_weights(path);
}

// What it is instead.
static hs_status refuse(const char *path)
{
    char head[64];
    const size_t n = hs_file_head(path, head, sizeof head);
    bool there;
    HS_TRY(hs_find_file(path, &there));
    if (!there)
        return HS_FAIL(USAGE, "%s: no such file", path);
    HS_TRY(hs_side_foreign(path, head, n, "model that is imported"));
    return HS_FAIL(UNSUPPORTED, "%s is none of the files that are imported: GGUF, ONNX (NAME.onnx), a checkpoint of llm.c", path);
}

hs_status hs_import(const char *path, const char *dir, const hs_family *const *families, const hs_import_opts *o, hs_import_said *said)
{
    char file[HS_PATH];
    hs_import_model m;
    hs_import_file keep = { 0 };
    *said = (hs_import_said){ 0 };
    HS_TRY(hs_new_folder_apart(dir, path));
    HS_TRY(find(path, file));
    HS_TRY(hs_new_folder_apart(dir, file));
    HS_TRY(hs_new_folder_apart(dir, o->config));
    HS_TRY(hs_new_folder_apart(dir, o->tokenizer));
    const struct format *f = format_of(file);
    if (!f)
        return refuse(file);
    if (o->config && o->config[0] && f->read != hs_import_onnx)
        return HS_FAIL(USAGE, "%s: --config is of ONNX; a file of %s says itself what it is", file, f->name);
    HS_TRY(hs_import_begin(&m, file, families, o));
    snprintf(said->from, sizeof said->from, "%s", f->name);
    hs_status st = f->read(&m, &keep);
    if (st == HS_OK)
        st = hs_import_write(&m, dir, said);
    hs_import_end(&m);
    if (keep.close)
        keep.close(keep.file);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
