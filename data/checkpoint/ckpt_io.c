// ckpt_io: a file is whole and on the disk before anything names it, and a name changes by a rename: a kill between any two calls leaves
// the old state or the new one.
#include "data/checkpoint/ckpt_io.h"
#include "data/base/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static int system_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }
static int system_rename(const char *from, const char *to, unsigned flags)
{
    return flags == 0 ? rename(from, to) : renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

const hs_io hs_io_system = { system_open, write, fsync, close, system_rename, mkdir, unlink, rmdir, pwrite, ftruncate };

#define FAIL_AT(path) HS_FAIL(SYSTEM, "%s: %s", path, strerror(errno))

hs_status hs_path_join(char out[HS_PATH], const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(out, HS_PATH, fmt, ap);
    va_end(ap);
    return n >= 0 && n < HS_PATH ? HS_OK : HS_FAIL(USAGE, "path of %d bytes, allowed up to %d: %.80s...", n, HS_PATH - 1, out);
}

bool hs_is_dir(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}
bool hs_is_file(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

hs_status hs_find_file(const char *path, bool *found)
{
    struct stat s;
    *found = false;
    if (stat(path, &s) != 0)
        return errno == ENOENT || errno == ENOTDIR ? HS_OK : FAIL_AT(path);
    if (!S_ISREG(s.st_mode))
        return HS_FAIL(CORRUPT, "%s: is %s, a file is wanted", path, hs_file_kind(s.st_mode));
    *found = true;
    return HS_OK;
}

// ---- one new file
hs_status hs_out_open(hs_out *o, const hs_io *io, const char *path)
{
    *o = (hs_out){ .io = io, .fd = -1 };
    HS_TRY(hs_path_join(o->path, "%s", path));
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for its checksum", path);
    XXH3_64bits_reset(hash);
    do
        o->fd = io->open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    while (o->fd < 0 && errno == EINTR);
    if (o->fd < 0) {
        const hs_status st = FAIL_AT(path);
        XXH3_freeState(hash);
        return st;
    }
    o->hash = hash;
    return HS_OK;
}

// Hashed and written in pieces that stay in cache between the two.
enum { PIECE = 1 << 20 };

hs_status hs_out_write(hs_out *o, const void *p, size_t bytes)
{
    const char *at = p;
    while (bytes > 0) {
        const size_t piece = bytes < PIECE ? bytes : PIECE;
        XXH3_64bits_update(o->hash, at, piece);
        for (size_t done = 0; done < piece;) {
            const ssize_t n = o->io->write(o->fd, at + done, piece - done);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0) {
                errno = n == 0 ? ENOSPC : errno;
                return FAIL_AT(o->path);
            }
            done += (size_t)n;
        }
        at += piece, bytes -= piece, o->bytes += piece;
    }
    return HS_OK;
}

void hs_out_abort(hs_out *o)
{
    if (o->fd >= 0) {
        o->io->close(o->fd);
        o->io->unlink(o->path);
    }
    XXH3_freeState(o->hash);
    *o = (hs_out){ .fd = -1 };
}

hs_status hs_out_close(hs_out *o, hs_file_sum *sum)
{
    if (sum != NULL)
        sum->bytes = o->bytes, sum->hash = XXH3_64bits_digest(o->hash);
    if (o->io->fsync(o->fd) != 0) {
        const hs_status st = FAIL_AT(o->path);
        hs_out_abort(o);
        return st;
    }
    const int fd = o->fd;
    o->fd = -1;
    hs_status st = HS_OK;
    if (o->io->close(fd) != 0 && errno != EINTR) {
        st = FAIL_AT(o->path);
        o->io->unlink(o->path);
    }
    hs_out_abort(o);
    return st;
}

hs_status hs_put_file(const hs_io *io, const char *path, const char *text, size_t bytes, hs_file_sum *sum)
{
    hs_out o;
    HS_TRY(hs_out_open(&o, io, path));
    const hs_status st = hs_out_write(&o, text, bytes);
    if (st != HS_OK) {
        hs_out_abort(&o);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    return hs_out_close(&o, sum);
}

hs_status hs_put_pointer(const hs_io *io, const char *dir, const char *name, const char *text)
{
    char path[HS_PATH], tmp[HS_PATH], line[256];
    HS_TRY(hs_path_join(path, "%s/%s", dir, name));
    HS_TRY(hs_path_join(tmp, "%s/%s.tmp-%ld", dir, name, (long)getpid()));
    const int n = snprintf(line, sizeof line, "%s\n", text);
    io->unlink(tmp); // of an earlier try that could not even clean up
    HS_TRY(hs_put_file(io, tmp, line, (size_t)n, NULL));
    if (io->rename(tmp, path, 0) != 0) {
        const hs_status st = FAIL_AT(path);
        io->unlink(tmp);
        return st;
    }
    return hs_sync_path(io, dir);
}

// ---- folders
hs_status hs_sync_path(const hs_io *io, const char *path)
{
    const int fd = io->open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return FAIL_AT(path);
    const hs_status st = io->fsync(fd) == 0 ? HS_OK : FAIL_AT(path);
    io->close(fd);
    return st;
}

hs_status hs_sync_parent(const hs_io *io, const char *path)
{
    char parent[HS_PATH];
    HS_TRY(hs_path_join(parent, "%s", path));
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent] = 0;
    return hs_sync_path(io, slash != NULL ? parent : ".");
}

hs_status hs_make_dirs(const hs_io *io, const char *path)
{
    char part[HS_PATH];
    HS_TRY(hs_path_join(part, "%s", path));
    for (char *end = part + 1;; end++) {
        if (*end != '/' && *end != 0)
            continue;
        const char was = *end;
        *end = 0;
        if (!hs_is_dir(part)) {
            if (io->mkdir(part, 0777) != 0 && errno != EEXIST)
                return FAIL_AT(part);
            HS_TRY(hs_sync_parent(io, part));
        }
        *end = was;
        if (was == 0)
            break;
    }
    return hs_is_dir(path) ? HS_OK : HS_FAIL(SYSTEM, "%s: exists and is not a folder", path);
}

static bool remove_entries(const hs_io *io, const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL)
        return false;
    bool ok = true;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *child = NULL; // on the heap: this recurses
        if (asprintf(&child, "%s/%s", path, e->d_name) < 0)
            ok = false;
        else {
            ok = hs_remove_tree(io, child) && ok;
            free(child);
        }
    }
    closedir(d);
    return ok;
}

bool hs_remove_tree(const hs_io *io, const char *path)
{
    struct stat s;
    if (lstat(path, &s) != 0)
        return errno == ENOENT;
    if (!S_ISDIR(s.st_mode))
        return io->unlink(path) == 0;
    return remove_entries(io, path) && io->rmdir(path) == 0;
}

// ---- checksums
static hs_status hash_fd(int fd, const char *path, XXH3_state_t *hash, char *buf, hs_file_sum *sum, hs_agreement *beat)
{
    sum->bytes = 0;
    for (;;) {
        HS_TRY(hs_agree_tick(beat));
        const ssize_t n = read(fd, buf, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return FAIL_AT(path);
        if (n == 0)
            break;
        XXH3_64bits_update(hash, buf, (size_t)n);
        sum->bytes += (uint64_t)n;
    }
    sum->hash = XXH3_64bits_digest(hash);
    return HS_OK;
}

hs_status hs_hash_file(const char *path, hs_file_sum *sum, hs_agreement *beat)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL_AT(path);
    XXH3_state_t *hash = XXH3_createState();
    char *buf = malloc(PIECE);
    hs_status st;
    if (hash == NULL || buf == NULL)
        st = HS_FAIL(MEMORY, "%s: no memory for its checksum", path);
    else {
        XXH3_64bits_reset(hash);
        st = hash_fd(fd, path, hash, buf, sum, beat);
    }
    XXH3_freeState(hash);
    free(buf);
    close(fd);
    return st;
}
