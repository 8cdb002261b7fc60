// tensorboard: an event file, appended a record at a time. Five messages need no protobuf library.
#include "data/report/tensorboard.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct hs_tensorboard {
    int fd;
    int64_t bytes; // whole records in the file
    char *path;
    uint8_t *record; // room bytes, for the next one
    size_t room;
};

static const char file_start[] = "events.out.tfevents.", file_version[] = "brain.Event:2";

// ---- checksum

// Four bits a step: a record has a few hundred bytes, and there is one every few training steps.
uint32_t hs_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    static const uint32_t table[16] = { 0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
                                        0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75 };
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static uint32_t masked_crc(const void *data, size_t bytes)
{
    const uint32_t c = hs_crc32c(0, data, bytes);
    return (c >> 15 | c << 17) + 0xA282EAD8;
}

// ---- encoding: each appends at p and returns the place behind

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };
#define KEY(field, wire) ((uint8_t)((field) << 3 | (wire)))
enum { HEADER = 12, FOOTER = 4, MAX_FIXED = 64 }; // MAX_FIXED: more than an event takes without its values

static uint8_t *put_le(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *p++ = (uint8_t)(v >> 8 * i);
    return p;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        *p++ = (uint8_t)(v | 128);
    *p++ = (uint8_t)v;
    return p;
}

static size_t varint_bytes(uint64_t v)
{
    size_t n = 1;
    for (; v >= 128; v >>= 7)
        n++;
    return n;
}

static uint8_t *put_text(uint8_t *p, int field, const char *text)
{
    const size_t n = strlen(text);
    *p++ = KEY(field, LENGTH);
    p = put_varint(p, n);
    memcpy(p, text, n);
    return p + n;
}

// What every event has. A step of 0 is the default, which the format leaves out.
static uint8_t *put_event(uint8_t *p, int64_t step)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    const double wall_time = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    uint64_t bits;
    memcpy(&bits, &wall_time, sizeof bits);
    *p++ = KEY(1, FIXED64);
    p = put_le(p, bits, 8);
    if (step != 0) {
        *p++ = KEY(2, VARINT);
        p = put_varint(p, (uint64_t)step);
    }
    return p;
}

static bool fits(const hs_metric *v) { return isfinite((float)v->value); }

static size_t value_bytes(const hs_metric *v)
{
    const size_t n = strlen(v->name);
    return 1 + varint_bytes(n) + n + 5;
}

static uint8_t *put_value(uint8_t *p, const hs_metric *v)
{
    const float f = (float)v->value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    *p++ = KEY(1, LENGTH);
    p = put_varint(p, value_bytes(v));
    p = put_text(p, 1, v->name);
    *p++ = KEY(2, FIXED32);
    return put_le(p, bits, 4);
}

// ---- writing

static hs_status reserve(hs_tensorboard *w, size_t bytes)
{
    if (bytes <= w->room)
        return HS_OK;
    uint8_t *p = realloc(w->record, bytes);
    if (!p)
        return HS_FAIL(MEMORY, "%s: no memory for a record of %zu bytes", w->path, bytes);
    w->record = p, w->room = bytes;
    return HS_OK;
}

// Frames the event that ends at `end` and appends it whole or not at all: readers stop at a torn record.
static hs_status append(hs_tensorboard *w, uint8_t *end)
{
    const uint8_t *event = w->record + HEADER;
    const size_t event_bytes = (size_t)(end - event);
    put_le(w->record, event_bytes, 8);
    put_le(w->record + 8, masked_crc(w->record, 8), 4);
    end = put_le(end, masked_crc(event, event_bytes), FOOTER);
    for (const uint8_t *p = w->record; p < end;) {
        const ssize_t k = write(w->fd, p, (size_t)(end - p));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            const int why = errno;
            if (ftruncate(w->fd, w->bytes) != 0 && p > w->record)
                return HS_FAIL(SYSTEM, "cannot write %s: %s; its last record is incomplete", w->path, strerror(why));
            return HS_FAIL(SYSTEM, "cannot write %s: %s", w->path, strerror(why));
        }
        p += k;
    }
    w->bytes += end - w->record;
    return HS_OK;
}

hs_status hs_tensorboard_write(hs_tensorboard *w, int64_t step, const hs_metric *v, int n)
{
    size_t summary = 0, values = 0;
    for (int i = 0; i < n; i++)
        if (fits(&v[i])) {
            const size_t bytes = value_bytes(&v[i]);
            summary += 1 + varint_bytes(bytes) + bytes;
            values++;
        }
    if (values == 0)
        return HS_OK;
    HS_TRY(reserve(w, HEADER + MAX_FIXED + summary + FOOTER));
    uint8_t *p = put_event(w->record + HEADER, step);
    *p++ = KEY(5, LENGTH);
    p = put_varint(p, summary);
    for (int i = 0; i < n; i++)
        if (fits(&v[i]))
            p = put_value(p, &v[i]);
    return append(w, p);
}

static hs_status write_start(hs_tensorboard *w, int64_t first_step)
{
    HS_TRY(reserve(w, HEADER + MAX_FIXED + FOOTER));
    HS_TRY(append(w, put_text(put_event(w->record + HEADER, 0), 3, file_version)));
    uint8_t *p = put_event(w->record + HEADER, first_step);
    const uint8_t start[] = { KEY(7, LENGTH), 2, KEY(1, VARINT), 1 };
    memcpy(p, start, sizeof start);
    return append(w, p + sizeof start);
}

hs_status hs_tensorboard_sync(hs_tensorboard *w)
{
    if (fsync(w->fd) != 0 && errno != EINVAL && errno != EROFS)
        return HS_FAIL(SYSTEM, "cannot sync %s: %s", w->path, strerror(errno));
    return HS_OK;
}

// ---- the file

// TIME of a name: ten digits, beyond which names would no longer sort by time. -1: not an event file's.
static int64_t time_of(const char *name)
{
    long long t;
    int end = 0;
    if (strncmp(name, file_start, sizeof file_start - 1) != 0 || sscanf(name + sizeof file_start - 1, "%10lld.%n", &t, &end) != 1)
        return -1;
    return end == 11 && t < 9999999999 ? t : -1;
}

static hs_status pick_time(const char *dir, int64_t *out)
{
    *out = (int64_t)time(NULL);
    DIR *d = opendir(dir);
    if (!d)
        return HS_FAIL(SYSTEM, "cannot write event files into %s: %s", dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));)
        if (time_of(e->d_name) >= *out)
            *out = time_of(e->d_name) + 1;
    closedir(d);
    return HS_OK;
}

static void host_name(char host[64])
{
    if (gethostname(host, 64) != 0 || !host[0])
        strcpy(host, "localhost");
    host[63] = 0;
    for (char *p = host; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
            *p = '-';
}

static hs_status create(hs_tensorboard *w, const char *run_dir)
{
    char host[64];
    int64_t when;
    HS_TRY(pick_time(run_dir, &when));
    host_name(host);
    const size_t room = strlen(run_dir) + sizeof file_start + sizeof host + 64;
    if (!(w->path = malloc(room)))
        return HS_FAIL(MEMORY, "%s: no memory for an event file's name", run_dir);
    for (int k = 0; w->fd < 0 && k < 1000; k++) { // another thread may have taken the name since
        snprintf(w->path, room, "%s/%s%010lld.%s.%ld.%d", run_dir, file_start, (long long)when, host, (long)getpid(), k);
        w->fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST)
            break;
    }
    return w->fd >= 0 ? HS_OK : HS_FAIL(SYSTEM, "cannot write %s: %s", w->path, strerror(errno));
}

hs_status hs_tensorboard_open(hs_tensorboard **out, const char *run_dir, int64_t resume_step)
{
    *out = NULL;
    hs_tensorboard *w = calloc(1, sizeof *w);
    if (!w)
        return HS_FAIL(MEMORY, "%s: no memory for an event file", run_dir);
    w->fd = -1;
    hs_status st;
    HS_TRY_GOTO(st, create(w, run_dir), failed);
    HS_TRY_GOTO(st, write_start(w, resume_step + 1), failed);
    *out = w;
    return HS_OK;
failed:
    if (w->fd >= 0)
        unlink(w->path);
    hs_tensorboard_close(w);
    return st;
}

void hs_tensorboard_close(hs_tensorboard *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    free(w->path);
    free(w->record);
    free(w);
}
