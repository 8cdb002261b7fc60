// text_stream: plain, gzip and Zstandard behind one table of functions, chosen by the first bytes.
#include "data/text/text_stream.h"
#include "data/base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HS_HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef HS_HAVE_ZSTD
#include <zstd.h>
#endif

#ifndef HS_TEXT_RAW_BYTES
#define HS_TEXT_RAW_BYTES (1 << 18) // fuzzers build with less: a quarter of the time goes to clearing it, and refills are reached
#endif
#ifndef HS_TEXT_WINDOW_LOG
#define HS_TEXT_WINDOW_LOG 27 // what zstd --ultra -22 writes: a frame's header may ask for 128 MiB at once, and for no more
#endif
enum { RAW_BYTES = HS_TEXT_RAW_BYTES, MAGIC_BYTES = 4 };

typedef struct packing packing;
struct hs_text_stream {
    int fd;
    char *path;
    const packing *packing;
    void *state; // of the packing
    bool ended;  // the file
    bool open;   // a member or frame has begun and not ended
    bool begun;  // there was one
    int64_t raw_read;
    size_t at, end; // of raw
    char *head;     // what was looked at, unpacked, and is yet to be read
    size_t head_at, head_end;
    hs_text_decoder decoder; // code.unit above 1: in use
    char *decoded;
    size_t decoded_at, decoded_end;
    bool decoded_all;
    unsigned char raw[RAW_BYTES];
};
enum { DECODE_BYTES = 1 << 15 }; // at once
struct packing {
    const char *name, *option;
    unsigned char magic[MAGIC_BYTES];
    int magic_bytes;
    hs_status (*begin)(hs_text_stream *s);
    // Takes from raw[at, end) and gives *n bytes; may give none while there is more to take.
    hs_status (*unpack)(hs_text_stream *s, void *to, size_t room, size_t *n);
    void (*finish)(hs_text_stream *s);
};

// ---- gzip
#ifdef HS_HAVE_ZLIB
static hs_status begin_gzip(hs_text_stream *s)
{
    z_stream *z = s->state = calloc(1, sizeof *z);
    if (!z || inflateInit2(z, 15 + 16) != Z_OK) // 16: gzip's frame
        return HS_FAIL(MEMORY, "%s: no memory to unpack it", s->path);
    return HS_OK;
}

static hs_status unpack_gzip(hs_text_stream *s, void *to, size_t room, size_t *n)
{
    z_stream *z = s->state;
    const size_t most = 1u << 30;
    *n = 0;
    while (!s->open && s->begun && s->at < s->end && s->raw[s->at] == 0) // what tapes and block devices leave behind a member
        s->at++;
    if (s->at == s->end)
        return HS_OK;
    s->begun = true;
    z->next_in = s->raw + s->at, z->avail_in = (uInt)(s->end - s->at);
    z->next_out = to, z->avail_out = (uInt)(room < most ? room : most);
    const uInt had = z->avail_out;
    if (!s->open && inflateReset(z) != Z_OK)
        return HS_FAIL(CORRUPT, "%s: gzip cannot go on", s->path);
    const int rc = inflate(z, Z_NO_FLUSH);
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return HS_FAIL(CORRUPT, "%s: damaged gzip near byte %lld: %s", s->path, (long long)(s->raw_read - (int64_t)(s->end - s->at)),
                       z->msg ? z->msg : "unknown");
    s->at = s->end - z->avail_in;
    s->open = rc != Z_STREAM_END;
    *n = had - z->avail_out;
    return HS_OK;
}

static void finish_gzip(hs_text_stream *s)
{
    if (s->state)
        inflateEnd(s->state);
    free(s->state);
}
#endif

// ---- Zstandard
#ifdef HS_HAVE_ZSTD
static hs_status begin_zstd(hs_text_stream *s)
{
    s->state = ZSTD_createDStream();
    const bool bounded = s->state && !ZSTD_isError(ZSTD_DCtx_setParameter(s->state, ZSTD_d_windowLogMax, HS_TEXT_WINDOW_LOG));
    return bounded ? HS_OK : HS_FAIL(MEMORY, "%s: no memory to unpack it", s->path);
}

static hs_status unpack_zstd(hs_text_stream *s, void *to, size_t room, size_t *n)
{
    ZSTD_inBuffer in = { .src = s->raw + s->at, .size = s->end - s->at };
    ZSTD_outBuffer out = { .dst = to, .size = room };
    const size_t rc = ZSTD_decompressStream(s->state, &out, &in);
    if (ZSTD_isError(rc))
        return HS_FAIL(CORRUPT, "%s: damaged Zstandard near byte %lld: %s", s->path, (long long)(s->raw_read - (int64_t)(s->end - s->at)),
                       ZSTD_getErrorName(rc));
    s->at += in.pos;
    s->open = rc != 0;
    *n = out.pos;
    return HS_OK;
}

static void finish_zstd(hs_text_stream *s) { ZSTD_freeDStream(s->state); }
#endif

static const packing packings[] = {
    { .name = "gzip",
      .option = "zlib",
      .magic = { 0x1F, 0x8B },
      .magic_bytes = 2,
#ifdef HS_HAVE_ZLIB
      .begin = begin_gzip,
      .unpack = unpack_gzip,
      .finish = finish_gzip
#endif
    },
    { .name = "Zstandard",
      .option = "libzstd",
      .magic = { 0x28, 0xB5, 0x2F, 0xFD },
      .magic_bytes = 4,
#ifdef HS_HAVE_ZSTD
      .begin = begin_zstd,
      .unpack = unpack_zstd,
      .finish = finish_zstd
#endif
    },
};

// ---- any

// More raw bytes behind those that are there; `ended` at the end of the file.
static hs_status fill(hs_text_stream *s)
{
    memmove(s->raw, s->raw + s->at, s->end - s->at);
    s->end -= s->at, s->at = 0;
    ssize_t n;
    do
        n = read(s->fd, s->raw + s->end, RAW_BYTES - s->end);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return HS_FAIL(SYSTEM, "cannot read %s: %s", s->path, strerror(errno));
    s->end += (size_t)n, s->raw_read += n;
    s->ended = n == 0;
    return HS_OK;
}

static const packing *packing_of(const void *head, size_t bytes)
{
    for (int i = 0; i < HS_COUNT(packings); i++)
        if (bytes >= (size_t)packings[i].magic_bytes && memcmp(head, packings[i].magic, (size_t)packings[i].magic_bytes) == 0)
            return &packings[i];
    return NULL;
}

const char *hs_text_packed(const void *head, size_t bytes)
{
    const packing *p = packing_of(head, bytes);
    return p ? p->name : NULL;
}

static hs_status begin(hs_text_stream *s)
{
    while (s->end < MAGIC_BYTES && !s->ended)
        HS_TRY(fill(s));
    const packing *p = packing_of(s->raw, s->end);
    if (!p)
        return HS_OK;
    if (!p->begin)
        return HS_FAIL(UNSUPPORTED, "%s is packed with %s, and this build has no %s", s->path, p->name, p->option);
    s->packing = p;
    return p->begin(s);
}

hs_status hs_text_stream_open(hs_text_stream **out, const char *path, struct stat *st)
{
    *out = NULL;
    struct stat own;
    const bool is_stdin = strcmp(path, "-") == 0;
    hs_text_stream *s = malloc(sizeof *s);
    if (s)
        *s = (hs_text_stream){ .fd = -1 };
    if (!s || !(s->path = strdup(is_stdin ? "standard input" : path))) {
        free(s);
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    }
    hs_status result;
    HS_TRY_GOTO(result, hs_file_open(is_stdin ? "/dev/stdin" : path, &s->fd, st ? st : &own), failed);
    HS_TRY_GOTO(result, begin(s), failed);
    *out = s;
    return HS_OK;
failed:
    hs_text_stream_close(s);
    return result;
}

static hs_status read_packed(hs_text_stream *s, void *to, size_t room, size_t *n)
{
    while (*n == 0) {
        if (s->at == s->end && !s->ended)
            HS_TRY(fill(s));
        if (s->at == s->end && !s->open)
            return HS_OK;
        const size_t before = s->at;
        HS_TRY(s->packing->unpack(s, to, room, n));
        if (*n == 0 && s->at == before && s->open && s->ended)
            return HS_FAIL(CORRUPT, "%s: its %s ends in the middle: truncated", s->path, s->packing->name);
        if (*n == 0 && s->at == before && !s->ended) // an end cut by the buffer's: more must come in
            HS_TRY(fill(s));
    }
    return HS_OK;
}

static hs_status read_unpacked(hs_text_stream *s, void *to, size_t room, size_t *n)
{
    *n = 0;
    if (s->head_at < s->head_end) {
        *n = s->head_end - s->head_at < room ? s->head_end - s->head_at : room;
        memcpy(to, s->head + s->head_at, *n);
        s->head_at += *n;
        return HS_OK;
    }
    if (s->packing)
        return read_packed(s, to, room, n);
    if (s->at == s->end && !s->ended)
        HS_TRY(fill(s));
    *n = s->end - s->at < room ? s->end - s->at : room;
    memcpy(to, s->raw + s->at, *n);
    s->at += *n;
    return HS_OK;
}

static hs_status decode_some(hs_text_stream *s)
{
    char in[DECODE_BYTES];
    size_t n;
    HS_TRY(read_unpacked(s, in, sizeof in, &n));
    s->decoded_at = 0;
    s->decoded_end = hs_text_decode(&s->decoder, in, n, n == 0, s->decoded);
    s->decoded_all = n == 0;
    return HS_OK;
}

hs_status hs_text_stream_read(hs_text_stream *s, void *to, size_t room, size_t *n)
{
    if (s->decoder.code.unit < 2)
        return read_unpacked(s, to, room, n);
    while (s->decoded_at == s->decoded_end && !s->decoded_all)
        HS_TRY(decode_some(s));
    *n = s->decoded_end - s->decoded_at < room ? s->decoded_end - s->decoded_at : room;
    memcpy(to, s->decoded + s->decoded_at, *n);
    s->decoded_at += *n;
    return HS_OK;
}

// ---- what it is

static hs_status decode_head(hs_text_stream *s, hs_text_format format, hs_text_kind *kind)
{
    hs_text_decoder d = s->decoder;
    char *text = malloc(HS_TEXT_DECODED * HS_TEXT_HEAD + 8);
    s->decoded = malloc(HS_TEXT_DECODED * DECODE_BYTES + 8);
    if (!text || !s->decoded) {
        free(text);
        return HS_FAIL(MEMORY, "%s: no memory to read it", s->path);
    }
    const size_t n = hs_text_decode(&d, s->head + s->head_at, s->head_end - s->head_at, false, text);
    *kind = hs_text_kind_of(text, n, format);
    free(text);
    return HS_OK;
}

hs_status hs_text_stream_look(hs_text_stream *s, hs_text_format format, hs_text_kind *kind)
{
    size_t n;
    char *head = malloc(HS_TEXT_HEAD);
    if (!head)
        return HS_FAIL(MEMORY, "%s: no memory to read it", s->path);
    size_t end = 0;
    hs_status st;
    do
        st = read_unpacked(s, head + end, HS_TEXT_HEAD - end, &n);
    while (st == HS_OK && (end += n) < HS_TEXT_HEAD && n);
    s->head = head, s->head_end = end;
    HS_TRY(st);
    HS_TRY(hs_text_refuse(s->path, head, end));
    s->decoder.code = hs_text_code_of(head, end);
    if (s->decoder.code.unit > 1) {
        s->head_at = (size_t)s->decoder.code.mark;
        HS_TRY(decode_head(s, format, kind));
    } else {
        *kind = hs_text_kind_of(head, end, format);
    }
    kind->unit = s->decoder.code.unit;
    return HS_OK;
}

hs_status hs_text_stream_skip(hs_text_stream *s, int64_t bytes)
{
    if (!s->packing && s->decoder.code.unit < 2 && lseek(s->fd, bytes, SEEK_SET) == bytes) {
        s->at = s->end = s->head_at = s->head_end = 0, s->raw_read = bytes, s->ended = false;
        return HS_OK;
    }
    char *block = malloc(RAW_BYTES);
    hs_status st = block ? HS_OK : HS_FAIL(MEMORY, "%s: no memory to read it", s->path);
    for (size_t n; bytes > 0 && st == HS_OK; bytes -= (int64_t)n) {
        st = hs_text_stream_read(s, block, bytes < RAW_BYTES ? (size_t)bytes : RAW_BYTES, &n);
        if (st == HS_OK && n == 0)
            st = HS_FAIL(USAGE, "%s is %lld bytes shorter than it was", s->path, (long long)bytes);
    }
    free(block);
    return st;
}

int64_t hs_text_stream_raw(const hs_text_stream *s) { return s->raw_read - (int64_t)(s->end - s->at); }

void hs_text_stream_close(hs_text_stream *s)
{
    if (!s)
        return;
    if (s->packing)
        s->packing->finish(s);
    if (s->fd >= 0)
        close(s->fd);
    free(s->head);
    free(s->decoded);
    free(s->path);
    free(s);
}
