// weights_same: a file of weights that is another one on one rank would make replicas that never meet again, and nothing would look wrong.
#include "core/graph/agree.h"
#include "data/checkpoint/ckpt_io.h"
#include "data/checkpoint/peft.h"
#include "recipes/train/weights_from.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct walk {
    const char *dir; // the model directory; names are relative to it
    bool train;
    hs_agreement *beat;
    uint64_t hash; // of names and contents so far
    int n;         // files
} walk;

static int holds_weights(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return dot && (strcmp(dot, ".safetensors") == 0 || strcmp(e->d_name, "state.json") == 0);
}

static int not_hidden(const struct dirent *e) { return e->d_name[0] != '.'; }

static hs_status take_file(walk *w, const char *name)
{
    char path[HS_PATH];
    hs_file_sum sum;
    HS_TRY(hs_path_join(path, "%s/%s", w->dir, name));
    HS_TRY(hs_hash_file(path, &sum, w->beat));
    w->hash = XXH3_64bits_withSeed(name, strlen(name), w->hash ^ sum.hash);
    w->n++;
    return HS_OK;
}

// What is in a folder of it, in the order of names.
static hs_status take_all(walk *w, const char *folder, int (*wanted)(const struct dirent *), hs_status (*take)(walk *, const char *))
{
    char path[HS_PATH];
    struct dirent **found;
    HS_TRY(hs_path_join(path, "%s/%s", w->dir, folder));
    const int n = scandir(path, &found, wanted, alphasort);
    hs_status st = HS_OK;
    for (int i = 0; i < n; i++) {
        if (st == HS_OK)
            st = hs_path_join(path, "%s%s%s", folder, *folder ? "/" : "", found[i]->d_name);
        if (st == HS_OK)
            st = take(w, path);
        free(found[i]);
    }
    if (n >= 0)
        free(found);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status take_folder(walk *w, const char *name)
{
    char path[HS_PATH];
    HS_TRY(hs_path_join(path, "%s/%s", w->dir, name));
    return !hs_is_dir(path) || (strcmp(name, "train") == 0 && !w->train) ? HS_OK : take_all(w, name, holds_weights, take_file);
}

static hs_status read_through(walk *w)
{
    char base[HS_PATH];
    HS_TRY(take_all(w, "", holds_weights, take_file));
    HS_TRY(take_all(w, "", not_hidden, take_folder));
    if (!w->n)
        return HS_FAIL(USAGE, "%s has no weights here: no file of safetensors", w->dir);
    if (!hs_peft_is(w->dir))
        return HS_OK;
    HS_TRY(hs_peft_base(w->dir, base));
    walk beside = { .dir = base, .beat = w->beat, .hash = w->hash };
    HS_TRY(take_all(&beside, "", holds_weights, take_file));
    w->hash = beside.hash;
    return HS_OK;
}

hs_status hs_weights_same(const hs_ranks *r, const char *key, const char *dir, bool train)
{
    char text[32], what[HS_KEY_STRING_BYTES + 64];
    if (r->size == 1)
        return HS_OK;
    r->world->about = "files of weights";
    hs_agreement a = hs_agree_begin(r->world, 1);
    walk w = { .dir = dir, .train = train, .beat = &a };
    HS_TRY(hs_agree_end(&a, read_through(&w)));
    snprintf(text, sizeof text, "%016llx", (unsigned long long)w.hash);
    snprintf(what, sizeof what, "what %s holds, as a hash,", key);
    return hs_ranks_same(r, r->world, what, text);
}
