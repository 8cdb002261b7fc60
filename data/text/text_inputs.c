// text_inputs: names on a command line to a list of files (see data/text/text_source.h).
#include "core/base/ending.h"
#include "core/base/grow.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/text/text_source.h"
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t mtime_ns(const struct stat *st) { return st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec; }

static hs_status add(hs_text_inputs *in, const char *path, const struct stat *st)
{
    if (in->n == in->room) {
        const int room = 2 * in->room + 64;
        hs_text_input *more = realloc(in->input, (size_t)room * sizeof *more);
        if (!more)
            return HS_FAIL(MEMORY, "no memory for the names of %d files", room);
        in->input = more, in->room = room;
    }
    const bool regular = st && S_ISREG(st->st_mode);
    hs_text_input *i = &in->input[in->n];
    *i = (hs_text_input){ .path = strdup(path), .bytes = regular ? st->st_size : -1, .mtime_ns = regular ? mtime_ns(st) : -1 };
    if (!i->path)
        return HS_FAIL(MEMORY, "no memory for the name %s", path);
    in->n++;
    return HS_OK;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int not_hidden(const struct dirent *e) { return e->d_name[0] != '.'; }

typedef struct listing {
    hs_text_inputs *in;
    hs_map *seen; // folders below the argument that is being listed
} listing;

static hs_status add_path(listing *l, const char *path, bool below);

static hs_status add_folder(listing *l, const char *path)
{
    struct dirent **entry;
    const int n = scandir(path, &entry, not_hidden, by_bytes);
    if (n < 0)
        return HS_FAIL(SYSTEM, "cannot read the folder %s: %s", path, strerror(errno));
    hs_status st = HS_OK;
    for (int i = 0; i < n; i++) {
        char *name = NULL;
        const char *slash = hs_ends_with(path, "/") ? "" : "/";
        if (st == HS_OK && asprintf(&name, "%s%s%s", path, slash, entry[i]->d_name) < 0)
            st = HS_FAIL(MEMORY, "no memory for a name in %s", path);
        else if (st == HS_OK)
            st = add_path(l, name, true);
        free(name);
        free(entry[i]);
    }
    free(entry);
    return st;
}

// A folder that links lead to twice would be read twice, and one that they lead back to for ever.
static hs_status add_folder_once(listing *l, const char *path, const struct stat *st)
{
    int *seen = hs_map_at(&l->seen, hs_mix2((uint64_t)st->st_dev, (uint64_t)st->st_ino));
    if (!seen)
        return HS_FAIL(MEMORY, "no memory for the folder %s", path);
    if ((*seen)++ == 0)
        return add_folder(l, path);
    hs_warn("%s leads to a folder that was read already; it is left out", path);
    return HS_OK;
}

static hs_status no_such(const char *path, const char *what)
{
    char to[4096];
    const ssize_t n = readlink(path, to, sizeof to);
    if (n < 0)
        return HS_FAIL(USAGE, "%s: no such file or %s", path, what);
    return HS_FAIL(USAGE, "%s is a link to %.*s, and nothing is there; remove it, or bring that back", path, (int)n, to);
}

static const char *special(const struct stat *st)
{
    return S_ISFIFO(st->st_mode) ? "a pipe" : S_ISSOCK(st->st_mode) ? "a socket" : S_ISREG(st->st_mode) ? NULL : "a device";
}

static hs_status add_path(listing *l, const char *path, bool below)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? no_such(path, "folder")
               : errno == ELOOP                    ? HS_FAIL(USAGE, "%s is a link that leads to itself; remove it", path)
                                                   : HS_FAIL(SYSTEM, "cannot open %s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return add_folder_once(l, path, &st);
    if (below && special(&st)) {
        hs_warn("%s is %s; it is left out", path, special(&st));
        return HS_OK;
    }
    return add(l->in, path, &st);
}

static hs_status add_pattern(listing *l, const char *pattern)
{
    glob_t found;
    const int rc = glob(pattern, 0, NULL, &found); // sorted by bytes: the program sets no locale
    hs_status st = HS_OK;
    if (rc == GLOB_NOMATCH)
        return HS_FAIL(USAGE, "%s matches no file", pattern);
    if (rc != 0)
        return HS_FAIL(SYSTEM, "%s: cannot list what it matches", pattern);
    for (size_t i = 0; i < found.gl_pathc && st == HS_OK; i++)
        st = add_path(l, found.gl_pathv[i], false);
    globfree(&found);
    return st;
}

static hs_status add_argument(listing *l, const char *arg)
{
    struct stat st;
    hs_text_inputs *in = l->in;
    const int before = in->n;
    if (strcmp(arg, "-") == 0) {
        for (int i = 0; i < in->n; i++)
            if (strcmp(in->input[i].path, "-") == 0)
                return HS_FAIL(USAGE, "standard input (-) is named twice");
        return add(in, arg, NULL);
    }
    const bool pattern = lstat(arg, &st) != 0 && strpbrk(arg, "*?[");
    HS_TRY(pattern ? add_pattern(l, arg) : add_path(l, arg, false));
    if (in->n == before)
        return HS_FAIL(USAGE, "%s: no files in %s (hidden names do not count)", arg, pattern ? "what it matches" : "this folder");
    return HS_OK;
}

hs_status hs_text_inputs_expand(hs_text_inputs *out, const char *const *arg, int n)
{
    *out = (hs_text_inputs){ 0 };
    for (int i = 0; i < n; i++) {
        listing l = { .in = out };
        const hs_status st = add_argument(&l, arg[i]);
        hs_map_free(l.seen);
        if (st != HS_OK) {
            hs_text_inputs_free(out);
            return hs_frame_at(st, __FILE__, __LINE__);
        }
    }
    return HS_OK;
}

hs_status hs_text_inputs_unchanged(const hs_text_inputs *inputs)
{
    for (int i = 0; i < inputs->n; i++) {
        const hs_text_input *in = &inputs->input[i];
        struct stat st;
        if (in->bytes < 0)
            continue;
        if (stat(in->path, &st) != 0)
            return HS_FAIL(USAGE, "%s is gone, and was %lld bytes when this began", in->path, (long long)in->bytes);
        if (st.st_size != in->bytes || mtime_ns(&st) != in->mtime_ns)
            return HS_FAIL(USAGE, "%s changed while it was read: %lld bytes, %lld when this began", in->path, (long long)st.st_size,
                           (long long)in->bytes);
    }
    return HS_OK;
}

void hs_text_inputs_free(hs_text_inputs *inputs)
{
    for (int i = 0; i < inputs->n; i++)
        free(inputs->input[i].path);
    free(inputs->input);
    *inputs = (hs_text_inputs){ 0 };
}
