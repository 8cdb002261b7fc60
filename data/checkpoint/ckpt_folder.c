// The folder of checkpoints: names of steps, LATEST and BEST, what may be deleted.
#include "core/base/log.h"
#include "data/checkpoint/ckpt_parts.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void hs_step_name(char name[HS_STEP_NAME], int64_t step) { snprintf(name, HS_STEP_NAME, "step-%08lld", (long long)step); }

bool hs_step_name_parse(const char *name, int64_t *step)
{
    const char *digits = name + 5;
    if (strncmp(name, "step-", 5) != 0 || strlen(digits) < 8 || strlen(digits) > 18 || strspn(digits, "0123456789") != strlen(digits))
        return false;
    *step = strtoll(digits, NULL, 10);
    char again[HS_STEP_NAME];
    hs_step_name(again, *step);
    return strcmp(again, name) == 0; // one name a step
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

hs_status hs_steps_list(const char *dir, int64_t **steps, int *n)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return HS_FAIL(SYSTEM, "%s: %s", dir, strerror(errno));
    int64_t *list = NULL, step;
    int count = 0, capacity = 0;
    hs_status st = HS_OK;
    for (struct dirent *e; st == HS_OK && (e = readdir(d)) != NULL;) {
        if (!hs_step_name_parse(e->d_name, &step))
            continue;
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            int64_t *more = realloc(list, (size_t)capacity * sizeof *more);
            if (more == NULL)
                st = HS_FAIL(MEMORY, "%s: no memory for %d names", dir, capacity);
            else
                list = more;
        }
        if (st == HS_OK)
            list[count++] = step;
    }
    closedir(d);
    if (st != HS_OK) {
        free(list);
        return st;
    }
    if (count > 0)
        qsort(list, (size_t)count, sizeof *list, ascending);
    *steps = list, *n = count;
    return HS_OK;
}

bool hs_pointer_read(const char *dir, const char *which, int64_t *step)
{
    char path[HS_PATH], line[HS_STEP_NAME + 1];
    const int n = snprintf(path, sizeof path, "%s%s%s", dir, *which ? "/" : "", which);
    FILE *f = n < (int)sizeof path ? fopen(path, "re") : NULL;
    if (f == NULL)
        return false;
    const bool ok = fgets(line, sizeof line, f) != NULL;
    fclose(f);
    if (!ok)
        return false;
    line[strcspn(line, "\r\n")] = 0;
    return hs_step_name_parse(line, step);
}

static bool is_leftover(const char *name) // "step-00000200.tmp-77", "LATEST.tmp-77", "step-00000200.old-77"
{
    const char *dot = strchr(name, '.');
    char stem[HS_STEP_NAME];
    int64_t step;
    if (dot == NULL || (strncmp(dot, ".tmp-", 5) != 0 && strncmp(dot, ".old-", 5) != 0) || (size_t)(dot - name) >= sizeof stem)
        return false;
    snprintf(stem, sizeof stem, "%.*s", (int)(dot - name), name);
    return strcmp(stem, "LATEST") == 0 || strcmp(stem, "BEST") == 0 || hs_step_name_parse(stem, &step);
}

void hs_folder_clean(const hs_io *io, const char *dir)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char *path = NULL;
        if (!is_leftover(e->d_name) || asprintf(&path, "%s/%s", dir, e->d_name) < 0)
            continue;
        if (hs_remove_tree(io, path))
            hs_debug("%s: left by an interrupted save, removed", path);
        else
            hs_warn("%s: left by an interrupted save, cannot be removed: %s", path, strerror(errno));
        free(path);
    }
    closedir(d);
}

// Renamed before it is taken apart: whoever looks at the folder in between sees a whole checkpoint or none.
static void delete_step(const hs_io *io, const char *dir, int64_t step)
{
    char name[HS_STEP_NAME], *from = NULL, *to = NULL;
    hs_step_name(name, step);
    if (asprintf(&from, "%s/%s", dir, name) < 0 || asprintf(&to, "%s/%s.old-%ld", dir, name, (long)getpid()) < 0)
        hs_warn("%s/%s: no memory to delete it", dir, name);
    else if (io->rename(from, to, 0) != 0)
        hs_warn("%s: cannot be deleted: %s", from, strerror(errno));
    else if (!hs_remove_tree(io, to))
        hs_warn("%s: cannot be deleted: %s", to, strerror(errno));
    free(from);
    free(to);
}

bool hs_folder_has_best(const char *dir, const hs_train_state *t)
{
    char name[HS_STEP_NAME], path[HS_PATH];
    hs_train_state theirs;
    if (t->best_val_loss < 0)
        return false;
    hs_step_name(name, t->best_step);
    return snprintf(path, sizeof path, "%s/%s/train/state.json", dir, name) < (int)sizeof path && access(path, F_OK) == 0 &&
           hs_state_read(path, &theirs) == HS_OK && theirs.best_step == t->best_step && theirs.best_val_loss == t->best_val_loss;
}

void hs_folder_rotate(const hs_io *io, const char *dir, int keep, const hs_train_state *t)
{
    int64_t *steps, latest = -1, best = -1;
    const int64_t newest = t->step, ours = t->best_val_loss < 0 ? -1 : t->best_step;
    int n, kept = 0;
    if (keep < 1)
        return;
    if (hs_steps_list(dir, &steps, &n) != HS_OK) {
        hs_warn("old checkpoints are not deleted: %s", hs_error());
        return;
    }
    hs_pointer_read(dir, "LATEST", &latest);
    hs_pointer_read(dir, "BEST", &best);
    for (int i = n - 1; i >= 0; i--) {
        if (steps[i] > newest) // of a run that went further before this one went back: not ours to judge
            continue;
        if (kept++ >= keep && steps[i] != latest && steps[i] != best && steps[i] != ours)
            delete_step(io, dir, steps[i]);
    }
    free(steps);
}
