// http_unpack: zlib within bounds. What is packed may be a thousand times what it looks like.
#include "infer/server/http_unpack.h"
#ifdef HS_HAVE_ZLIB
#include <strings.h>
#include <zlib.h>

bool hs_http_unpacks(const char *coding)
{
    return strcasecmp(coding, "gzip") == 0 || strcasecmp(coding, "x-gzip") == 0 || strcasecmp(coding, "deflate") == 0;
}

static int inflate_all(z_stream *z, hs_unpacked *u, size_t most)
{
    const size_t widest = most + 2; // one byte too many, and the one behind
    for (int state = Z_OK; state != Z_STREAM_END;) {
        const size_t wider = u->room ? 2 * u->room : 4 * (size_t)z->avail_in + 1024;
        if (u->n + 1 >= u->room && !u->widen(u, wider < widest ? wider : widest))
            return 503;
        z->next_out = (Bytef *)u->bytes + u->n, z->avail_out = (uInt)(u->room - 1 - u->n);
        state = inflate(z, Z_NO_FLUSH);
        u->n = u->room - 1 - z->avail_out;
        if (u->n > most)
            return 413;
        if (state != Z_OK && state != Z_STREAM_END)
            return 400;
    }
    return z->avail_in ? 400 : 0;
}

int hs_http_unpack(hs_unpacked *u, const char *packed, size_t bytes, size_t most)
{
    enum { EITHER = 15 + 32 }; // gzip or zlib, by its first bytes
    z_stream z = { .next_in = (z_const Bytef *)packed, .avail_in = (uInt)bytes };
    if (inflateInit2(&z, EITHER) != Z_OK)
        return 503;
    const int http = inflate_all(&z, u, most);
    inflateEnd(&z);
    return http;
}
#else
bool hs_http_unpacks(const char *coding)
{
    (void)coding;
    return false;
}

int hs_http_unpack(hs_unpacked *u, const char *packed, size_t bytes, size_t most)
{
    (void)u, (void)packed, (void)bytes, (void)most;
    return 400;
}
#endif
