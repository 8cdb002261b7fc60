// text_inputs: names on a command line to a list of files (see data/text/text_source.h).
#include "data/text/text_source.h"
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool ends_with(const char *s, size_t n, const char *end)
{
    const size_t m = strlen(end);
    return n >= m && memcmp(s + n - m, end, m) == 0;
}

static bool is_json_name(const char *path)
{
    size_t n = strlen(path);
    n -= ends_with(path, n, ".gz") ? 3 : ends_with(path, n, ".zst") ? 4 : 0;
    return ends_with(path, n, ".jsonl") || ends_with(path, n, ".ndjson");
}

static int64_t mtime_ns(const struct stat *st) { return st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec; }

static hs_status add(hs_text_inputs *in, const char *path, const struct stat *st, bool json)
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
    *i = (hs_text_input){ .path = strdup(path),
                          .json = json || is_json_name(path),
                          .bytes = regular ? st->st_size : -1,
                          .mtime_ns = regular ? mtime_ns(st) : -1 };
    if (!i->path)
        return HS_FAIL(MEMORY, "no memory for the name %s", path);
    in->n++;
    return HS_OK;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int not_hidden(const struct dirent *e) { return e->d_name[0] != '.'; }

static hs_status add_path(hs_text_inputs *in, const char *path, bool json, bool below);

// Links to folders are followed where they are named, not below: they could lead around in circles.
static hs_status add_folder(hs_text_inputs *in, const char *path, bool json)
{
    struct dirent **entry;
    const int n = scandir(path, &entry, not_hidden, by_bytes);
    if (n < 0)
        return HS_FAIL(SYSTEM, "cannot read the folder %s: %s", path, strerror(errno));
    hs_status st = HS_OK;
    for (int i = 0; i < n; i++) {
        char *name = NULL;
        const char *slash = ends_with(path, strlen(path), "/") ? "" : "/";
        if (st == HS_OK && asprintf(&name, "%s%s%s", path, slash, entry[i]->d_name) < 0)
            st = HS_FAIL(MEMORY, "no memory for a name in %s", path);
        else if (st == HS_OK)
            st = add_path(in, name, json, true);
        free(name);
        free(entry[i]);
    }
    free(entry);
    return st;
}

static hs_status add_path(hs_text_inputs *in, const char *path, bool json, bool below)
{
    struct stat st, link;
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? HS_FAIL(USAGE, "%s: no such file or folder", path)
                                                   : HS_FAIL(SYSTEM, "cannot open %s: %s", path, strerror(errno));
    if (below && !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) // a pipe or socket that happens to lie there
        return HS_OK;
    if (!S_ISDIR(st.st_mode))
        return add(in, path, &st, json);
    return below && lstat(path, &link) == 0 && S_ISLNK(link.st_mode) ? HS_OK : add_folder(in, path, json);
}

static hs_status add_pattern(hs_text_inputs *in, const char *pattern, bool json)
{
    glob_t found;
    const int rc = glob(pattern, 0, NULL, &found); // sorted by bytes: the program sets no locale
    hs_status st = HS_OK;
    if (rc == GLOB_NOMATCH)
        return HS_FAIL(USAGE, "%s matches no file", pattern);
    if (rc != 0)
        return HS_FAIL(SYSTEM, "%s: cannot list what it matches", pattern);
    for (size_t i = 0; i < found.gl_pathc && st == HS_OK; i++)
        st = add_path(in, found.gl_pathv[i], json, false);
    globfree(&found);
    return st;
}

static hs_status add_argument(hs_text_inputs *in, const char *arg, bool json)
{
    struct stat st;
    const int before = in->n;
    if (strcmp(arg, "-") == 0) {
        for (int i = 0; i < in->n; i++)
            if (strcmp(in->input[i].path, "-") == 0)
                return HS_FAIL(USAGE, "standard input (-) is named twice");
        return add(in, arg, NULL, json);
    }
    if (stat(arg, &st) != 0 && strpbrk(arg, "*?["))
        return add_pattern(in, arg, json);
    HS_TRY(add_path(in, arg, json, false));
    if (in->n == before)
        return HS_FAIL(USAGE, "%s: no files in this folder", arg);
    return HS_OK;
}

hs_status hs_text_inputs_expand(hs_text_inputs *out, const char *const *arg, int n, bool all_json)
{
    *out = (hs_text_inputs){ 0 };
    for (int i = 0; i < n; i++) {
        const hs_status st = add_argument(out, arg[i], all_json);
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
