// kept_file: read as far as it is right, written beside its place and put there, one at a time.
#include "core/base/kept_file.h"
#include "core/base/log.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

void hs_kept_read(const hs_kept_file *k)
{
    char line[256];
    FILE *f = k->path ? fopen(k->path, "r") : NULL;
    if (!f)
        return;
    if (fgets(line, sizeof line, f) && !strcmp(line, k->head))
        while (k->read(f, k->user)) {
        }
    fclose(f);
}

// A lock on the folder, which leaves nothing there; -1: none is to be had, and what two write at once one may write over.
static int lock_folder(const char *path)
{
    char folder[4096];
    const char *end = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", end ? (int)(end - path) + 1 : 1, end ? path : ".");
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        flock(fd, LOCK_EX);
    return fd;
}

static bool write_all(const hs_kept_file *k, const char *name, int n)
{
    FILE *f = fopen(name, "w");
    if (!f)
        return false;
    bool ok = fputs(k->head, f) >= 0;
    for (int i = 0; i < n && ok; i++)
        ok = k->write(f, k->user, i);
    return !fclose(f) && ok;
}

void hs_kept_write(const hs_kept_file *k, const int *n)
{
    char name[4096];
    if (!k->path || snprintf(name, sizeof name, "%s.%d", k->path, (int)getpid()) >= (int)sizeof name)
        return;
    const int lock = lock_folder(k->path);
    hs_kept_read(k);
    if (!write_all(k, name, *n) || rename(name, k->path)) {
        hs_debug("%s: %s cannot be written: what was timed is not kept", k->what, k->path);
        unlink(name);
    }
    if (lock >= 0)
        close(lock);
}
