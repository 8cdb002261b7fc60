// new_folder: a folder of files that appears under its name complete or not at all: made beside it under a temporary name, synced, renamed.
#ifndef HS_DATA_NEW_FOLDER_H
#define HS_DATA_NEW_FOLDER_H
#include "data/checkpoint/ckpt_io.h"

typedef struct hs_new_folder {
    char path[HS_PATH], tmp[HS_PATH]; // tmp: where its files are made; "" where there is none
} hs_new_folder;

// dir: not there (the folders it lies in are made), or empty. With `overwrite` it may also hold files, all of the very names
// that exports write (config.json, model.safetensors, ...), which the new ones take the place of. USAGE, before any work is done: anything
// else.
hs_status hs_new_folder_begin(hs_new_folder *f, const char *dir, bool overwrite);
// USAGE: dir is the folder that `source` lies in, or source itself, under whatever name. source NULL or "", or not there: fine.
hs_status hs_new_folder_apart(const char *dir, const char *source);
hs_status hs_new_folder_commit(hs_new_folder *f); // in any case the end: after an error nothing is left
void hs_new_folder_discard(hs_new_folder *f);     // gives up before commit; harmless after it

// Renames a folder; one that is there is exchanged and then lies under the name `from`.
hs_status hs_move_into_place(const hs_io *io, const char *from, const char *to);

#endif
