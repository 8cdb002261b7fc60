// support_fuzz_unpack: a body of any bytes that says it is packed; and any bytes, packed.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_unpack CORPUS tests/golden/fuzz/unpack
// A u16, the most bytes that may come of it; then the body. test_fuzz.c replays the folder.
#include "infer/server/http_unpack.h"
#include "tests/support/support_fuzz.h"
#ifdef HS_HAVE_ZLIB
#include <zlib.h>
#endif

int hs_fuzz_unpack(const uint8_t *data, size_t bytes);

static bool widen(hs_unpacked *u, size_t room)
{
    must(room > u->room && room <= *(const size_t *)u->user + 2);
    char *p = realloc(u->bytes, room);
    must(p != NULL);
    u->bytes = p, u->room = room;
    return true;
}

// 0, 400 or 413; *u is the caller's to free.
static int unpack(hs_unpacked *u, const void *packed, size_t bytes, size_t *most)
{
    *u = (hs_unpacked){ .widen = widen, .user = most };
    const int http = hs_http_unpack(u, packed, bytes, *most);
    must(http == 400 || http == 413 || (http == 0 && u->n <= *most && u->n < u->room));
    return http;
}

// What is packed comes back as it was, where there is room for it.
static void there_and_back(const uint8_t *data, size_t bytes, size_t *most)
{
#ifdef HS_HAVE_ZLIB
    enum { SMALL = 9, GZIP = 16 };
    z_stream z = { 0 };
    hs_unpacked u;
    must(deflateInit2(&z, 1, Z_DEFLATED, SMALL + (bytes % 2 ? GZIP : 0), 1, Z_DEFAULT_STRATEGY) == Z_OK);
    const size_t room = deflateBound(&z, bytes) + 64;
    unsigned char *packed = malloc(room);
    must(packed != NULL);
    z.next_in = (z_const Bytef *)data, z.avail_in = (uInt)bytes, z.next_out = packed, z.avail_out = (uInt)room;
    must(deflate(&z, Z_FINISH) == Z_STREAM_END);
    const size_t n = z.total_out;
    deflateEnd(&z);
    const int http = unpack(&u, packed, n, most);
    must(http == (bytes > *most ? 413 : 0));
    must(http || (u.n == bytes && (bytes == 0 || memcmp(u.bytes, data, bytes) == 0)));
    free(u.bytes);
    free(packed);
#else
    (void)data, (void)bytes, (void)most;
#endif
}

int hs_fuzz_unpack(const uint8_t *data, size_t bytes)
{
    hs_unpacked u;
    if (bytes < 2)
        return 0;
    size_t most = (size_t)(data[0] | data[1] << 8);
    unpack(&u, data + 2, bytes - 2, &most);
    free(u.bytes);
    there_and_back(data + 2, bytes - 2, &most);
    return 0;
}

HS_FUZZ_TARGET(unpack)
