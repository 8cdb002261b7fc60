// file: whole files in and out (see data/base/file.h and hs_file_map in data/text/token_store.h).
#include "data/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// ---- in

const char *hs_file_kind(unsigned mode)
{
    return S_ISREG(mode)    ? "a file"
           : S_ISDIR(mode)  ? "a folder"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

// SYSTEM only where the machine is to blame: a name that is not there, or a folder, is the user's.
hs_status hs_file_open(const char *path, int *fd, struct stat *st)
{
    *fd = -1;
    const int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return errno == ENOENT || errno == ENOTDIR ? HS_FAIL(USAGE, "%s: no such file", path)
                                                   : HS_FAIL(SYSTEM, "cannot open %s: %s", path, strerror(errno));
    if (fstat(f, st) != 0) {
        const int why = errno;
        close(f);
        return HS_FAIL(SYSTEM, "cannot open %s: %s", path, strerror(why));
    }
    if (S_ISDIR(st->st_mode)) {
        close(f);
        return HS_FAIL(USAGE, "%s is a folder, a file is wanted", path);
    }
    // /dev/zero would be read until memory is gone. /dev/null ends at once, and so does a terminal when its user says so.
    const bool harmless = S_ISCHR(st->st_mode) && (st->st_rdev == makedev(1, 3) || isatty(f));
    if ((S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) && !harmless) {
        close(f);
        return HS_FAIL(USAGE, "%s is a device, a file is wanted", path);
    }
    *fd = f;
    return HS_OK;
}

size_t hs_file_head(const char *path, void *buf, size_t n) { return hs_file_part(path, 0, buf, n); }

size_t hs_file_part(const char *path, int64_t at, void *buf, size_t n)
{
    struct stat st;
    const int fd = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    const ssize_t got = pread(fd, buf, n, at);
    close(fd);
    return got > 0 ? (size_t)got : 0;
}

// 0 at the end of the file, -1 with errno.
static ssize_t read_some(int fd, void *to, size_t room)
{
    ssize_t n;
    do
        n = read(fd, to, room);
    while (n < 0 && errno == EINTR);
    return n;
}

// Pipes and devices cannot be mapped: read them into anonymous pages, which unmap the same way.
static hs_status map_stream(hs_file *out, int fd, const char *path)
{
    size_t room = 1 << 20, used = 0;
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return HS_FAIL(MEMORY, "%s: cannot get %zu bytes", path, room);
    for (;;) {
        if (used == room) {
            char *larger = mremap(p, room, 2 * room, MREMAP_MAYMOVE);
            if (larger == MAP_FAILED) {
                munmap(p, room);
                return HS_FAIL(MEMORY, "%s: cannot get %zu bytes", path, 2 * room);
            }
            p = larger, room *= 2;
        }
        const ssize_t n = read_some(fd, p + used, room - used);
        if (n < 0) {
            const int why = errno;
            munmap(p, room);
            return HS_FAIL(SYSTEM, "cannot read %s: %s", path, strerror(why));
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    if (used == 0) {
        munmap(p, room);
        return HS_FAIL(USAGE, "%s is empty", path);
    }
    // Unmapping by `used` must free every page, so the tail goes now.
    p = mremap(p, room, used, 0);
    *out = (hs_file){ .data = p, .bytes = used };
    return HS_OK;
}

hs_status hs_file_map(hs_file *out, const char *path)
{
    *out = (hs_file){ 0 };
    int fd;
    struct stat st;
    HS_TRY(hs_file_open(path, &fd, &st));
    hs_status result = HS_OK;
    if (!S_ISREG(st.st_mode)) {
        result = map_stream(out, fd, path);
    } else if (st.st_size == 0) {
        result = HS_FAIL(USAGE, "%s is empty", path);
    } else {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            result = HS_FAIL(SYSTEM, "cannot map %s: %s", path, strerror(errno));
        else
            *out = (hs_file){ .data = p, .bytes = (size_t)st.st_size };
    }
    close(fd);
    return result;
}

void hs_file_unmap(hs_file *f)
{
    if (!f || !f->data)
        return;
    munmap((void *)f->data, f->bytes);
    *f = (hs_file){ 0 };
}

hs_status hs_file_read(const char *path, char **out, size_t *bytes)
{
    *out = NULL, *bytes = 0;
    int fd;
    struct stat st;
    HS_TRY(hs_file_open(path, &fd, &st));
    size_t room = S_ISREG(st.st_mode) ? (size_t)st.st_size + 2 : 4096, used = 0;
    char *p = malloc(room);
    ssize_t n = 0;
    while (p && (n = read_some(fd, p + used, room - used - 1)) > 0) {
        used += (size_t)n;
        if (used + 1 < room)
            continue;
        char *larger = realloc(p, 2 * room);
        if (!larger)
            free(p);
        p = larger, room *= 2;
    }
    const int why = errno;
    close(fd);
    if (!p)
        return HS_FAIL(MEMORY, "%s: cannot get %zu bytes", path, room);
    if (n < 0) {
        free(p);
        return HS_FAIL(SYSTEM, "cannot read %s: %s", path, strerror(why));
    }
    p[used] = 0;
    *out = p, *bytes = used;
    return HS_OK;
}

// ---- out

static hs_status cannot_write(const char *path, int why) { return HS_FAIL(SYSTEM, "cannot write %s: %s", path, strerror(why)); }

static void forget(hs_file_out *o)
{
    free(o->path);
    free(o->temporary);
    *o = (hs_file_out){ 0 };
}

// A rename over a device would put a file in its place: root would be left without /dev/null.
static hs_status check_replaceable(const char *path)
{
    struct stat st;
    char to[8] = "";
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return HS_FAIL(USAGE, "cannot write %s: it is %s, a file is wanted", path, hs_file_kind(st.st_mode));
    if (readlink(path, to, sizeof to - 1) > 0 && strncmp(to, "/proc/", 6) == 0) // /dev/stdout
        return HS_FAIL(USAGE, "cannot write %s: it is a link to %s..., a file is wanted", path, to);
    return HS_OK;
}

hs_status hs_file_create(hs_file_out *o, const char *path)
{
    *o = (hs_file_out){ 0 };
    HS_TRY(check_replaceable(path));
    *o = (hs_file_out){ .path = strdup(path) };
    const size_t room = strlen(path) + 48;
    o->temporary = malloc(room);
    if (!o->path || !o->temporary) {
        forget(o);
        return HS_FAIL(MEMORY, "%s: no memory for its name", path);
    }
    int fd = -1;
    for (int k = 0; fd < 0 && k < 1000; k++) { // a name may be taken by another thread, or left by a killed process with our id
        snprintf(o->temporary, room, "%s.tmp-%ld-%d", path, (long)getpid(), k);
        fd = open(o->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd >= 0 && (o->f = fdopen(fd, "wb")))
        return HS_OK;
    const int why = errno;
    if (fd >= 0) {
        close(fd);
        unlink(o->temporary);
    }
    forget(o);
    return cannot_write(path, why);
}

hs_status hs_file_write(hs_file_out *o, const void *data, size_t bytes)
{
    return bytes == 0 || fwrite(data, 1, bytes, o->f) == bytes ? HS_OK : cannot_write(o->path, errno);
}

void hs_file_discard(hs_file_out *o)
{
    if (!o->path)
        return;
    if (o->f)
        fclose(o->f);
    unlink(o->temporary);
    forget(o);
}

// A rename is safe from a power failure only when the folder is on the disk too. Some file systems refuse that: not an error.
static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    const int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}

static hs_status commit(hs_file_out *o, bool sync)
{
    bool done = fflush(o->f) == 0 && !ferror(o->f) && (!sync || fsync(fileno(o->f)) == 0);
    int why = errno;
    if (fclose(o->f) != 0 && done)
        done = false, why = errno;
    o->f = NULL;
    if (done && rename(o->temporary, o->path) != 0)
        done = false, why = errno;
    if (!done) {
        const hs_status st = cannot_write(o->path, why);
        hs_file_discard(o);
        return st;
    }
    if (sync)
        sync_folder_of(o->path);
    forget(o);
    return HS_OK;
}

hs_status hs_file_commit(hs_file_out *o) { return commit(o, true); }
hs_status hs_file_commit_unsynced(hs_file_out *o) { return commit(o, false); }

hs_status hs_file_save(const char *path, const void *data, size_t bytes)
{
    hs_file_out o;
    HS_TRY(hs_file_create(&o, path));
    const hs_status st = hs_file_write(&o, data, bytes);
    if (st != HS_OK) {
        hs_file_discard(&o);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_file_commit(&o));
    return HS_OK;
}
