// new_folder: see the header.
#include "data/checkpoint/new_folder.h"
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

hs_status hs_move_into_place(const hs_io *io, const char *from, const char *to)
{
    if (io->rename(from, to, 0) == 0)
        return HS_OK;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return HS_FAIL(SYSTEM, "%s: %s", to, strerror(errno));
    // This step was saved before: the two change places in one call, and the old one goes under the temporary name.
    if (io->rename(from, to, RENAME_EXCHANGE) == 0)
        return HS_OK;
    char old[HS_PATH];
    HS_TRY(hs_path_join(old, "%s.old-%ld", to, (long)getpid()));
    if (io->rename(to, old, 0) != 0) // file systems that cannot exchange: for a moment there are only the older ones
        return HS_FAIL(SYSTEM, "%s: %s", to, strerror(errno));
    if (io->rename(from, to, 0) != 0) {
        const hs_status st = HS_FAIL(SYSTEM, "%s: %s", to, strerror(errno));
        io->rename(old, to, 0);
        return st;
    }
    hs_remove_tree(io, old);
    return HS_OK;
}

// ---- what may be there
// Names that exports write, and those alone: any other file is somebody's own.
static const char *const exported[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].safetensors",
    "model.onnx",
    "model.onnx_data",
    "model.gguf",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
};

// The one folder in a folder that they write.
static bool is_pooling(const char *path, const char *name)
{
    DIR *d = strcmp(name, "1_Pooling") == 0 ? opendir(path) : NULL;
    bool alone = d != NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        alone = alone &&
                (e->d_name[0] == '.' ? strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 : strcmp(e->d_name, "config.json") == 0);
    if (d)
        closedir(d);
    return alone;
}

static bool is_exported(const char *path, const char *name)
{
    bool known = false;
    for (int i = 0; i < HS_COUNT(exported); i++)
        known = known || fnmatch(exported[i], name, FNM_PERIOD) == 0;
    return known ? hs_is_file(path) : is_pooling(path, name);
}

hs_status hs_new_folder_apart(const char *dir, const char *source)
{
    char *to = realpath(dir, NULL), *from = source && *source ? realpath(source, NULL) : NULL;
    const size_t n = to ? strlen(to) : 0;
    const bool inside = to && from && strncmp(from, to, n) == 0 && (from[n] == 0 || from[n] == '/');
    free(to);
    free(from);
    return inside ? HS_FAIL(USAGE, "%s: %s is read from there: what is written goes into another folder", dir, source) : HS_OK;
}

// rename replaces an empty folder and nothing else: said before the work is done.
static hs_status check_free(const char *dir, bool overwrite)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return errno == ENOENT ? HS_OK : HS_FAIL(SYSTEM, "%s: %s", dir, strerror(errno));
    hs_status st = HS_OK;
    for (struct dirent *e; st == HS_OK && (e = readdir(d)) != NULL;) {
        char path[HS_PATH];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (!overwrite)
            st = HS_FAIL(USAGE, "%s: is not empty; export into a new folder", dir);
        else if ((st = hs_path_join(path, "%s/%s", dir, e->d_name)) == HS_OK && !is_exported(path, e->d_name))
            st = HS_FAIL(USAGE, "%s: holds \"%s\", which no export writes: a folder like that is not replaced", dir, e->d_name);
    }
    closedir(d);
    return st;
}

hs_status hs_new_folder_begin(hs_new_folder *f, const char *dir, bool overwrite)
{
    const hs_io *io = &hs_io_system;
    f->tmp[0] = 0;
    HS_TRY(hs_path_join(f->path, "%s", dir));
    for (size_t n = strlen(f->path); n > 1 && f->path[n - 1] == '/'; n--)
        f->path[n - 1] = 0;
    HS_TRY(check_free(f->path, overwrite));
    char tmp[HS_PATH];
    HS_TRY(hs_path_join(tmp, "%s.tmp-%ld", f->path, (long)getpid()));
    hs_remove_tree(io, tmp); // of a process of that number that died
    char *slash = strrchr(tmp, '/');
    if (slash && slash > tmp) {
        *slash = 0;
        HS_TRY(hs_make_dirs(io, tmp));
        *slash = '/';
    }
    if (io->mkdir(tmp, 0777) != 0)
        return HS_FAIL(SYSTEM, "%s: %s", tmp, strerror(errno));
    memcpy(f->tmp, tmp, sizeof tmp);
    return HS_OK;
}

hs_status hs_new_folder_commit(hs_new_folder *f)
{
    hs_status st = hs_sync_path(&hs_io_system, f->tmp);
    if (st == HS_OK)
        st = hs_move_into_place(&hs_io_system, f->tmp, f->path);
    hs_new_folder_discard(f); // there after an error, and after an exchange
    return st == HS_OK ? hs_sync_parent(&hs_io_system, f->path) : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_new_folder_discard(hs_new_folder *f)
{
    if (f->tmp[0])
        hs_remove_tree(&hs_io_system, f->tmp);
    f->tmp[0] = 0;
}
