// http_unpack: a body that came packed, by gzip or deflate.
#ifndef HS_INFER_HTTP_UNPACK_H
#define HS_INFER_HTTP_UNPACK_H
#include <stdbool.h>
#include <stddef.h>

bool hs_http_unpacks(const char *coding); // a Content-Encoding; none is, where this build has no zlib

typedef struct hs_unpacked {
    char *bytes; // [room] of which n are there
    size_t n, room;
    // Makes room for `room` bytes, as realloc does. False: there is none.
    bool (*widen)(struct hs_unpacked *u, size_t room);
    void *user;
} hs_unpacked;
// 0; or a status of HTTP: 400 what came is not what it should be, 413 it is more than `most`, 503 there is no room. A byte is left behind
// the last. u->bytes are the caller's, also then.
int hs_http_unpack(hs_unpacked *u, const char *packed, size_t bytes, size_t most);

#endif
