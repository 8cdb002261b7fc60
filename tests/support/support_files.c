// support_files: see the header.
#include "tests/support/support_files.h"
#include <dirent.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[512];

int scratch_open(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/halfstep-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int scratch_close(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(const char *name)
{
    static char path[8][1024];
    static int k;
    char *p = path[k++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

void scratch_write(const char *name, const void *data, size_t bytes)
{
    FILE *f = fopen(scratch_path(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

// Like the program's recipes: where they were put beside it, none of the source folder's are taken.
static const char *golden_root(void)
{
    static char beside[PATH_MAX + 32];
    char self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    snprintf(beside, sizeof beside, "%s/../share/halfstep/golden", dirname(self));
    return access(beside, F_OK) ? HS_TESTS_DIR "/golden" : beside;
}

const char *golden_path(const char *name)
{
    static char path[8][PATH_MAX + 64];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", golden_root(), name);
    return p;
}

char *scratch_read(const char *name, size_t *bytes)
{
    FILE *f = fopen(scratch_path(name), "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, f), *bytes);
    data[*bytes] = 0;
    fclose(f);
    return data;
}

int scratch_count(void)
{
    DIR *d = opendir(folder);
    assert_non_null(d);
    int n = 0;
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

void expect_ok(hs_status st, const char *file, int line)
{
    if (st != HS_OK) {
        print_error("%s:%d: %s: %s\n", file, line, hs_status_name(st), hs_error());
        _fail(file, line);
    }
}

void expect_error(hs_status st, hs_status want, const char *part, const char *file, int line)
{
    if (st == want && strstr(hs_error(), part) && !strchr(hs_error(), '\n'))
        return;
    print_error("%s:%d: wanted %s with \"%s\", got %s: %s\n", file, line, hs_status_name(want), part, hs_status_name(st),
                st == HS_OK ? "" : hs_error());
    _fail(file, line);
}
