// support_http: a client of raw bytes, that can be as rude as it likes, and a server of tiny models.
#ifndef HS_TESTS_SUPPORT_HTTP_H
#define HS_TESTS_SUPPORT_HTTP_H
#include "infer/server/server.h"
#include <stddef.h>

typedef struct http_reply {
    int status; // 0: the connection ended without an answer
    char *head; // status line and headers
    char *body; // NUL behind; chunks put together
    size_t bytes;
} http_reply;
void http_reply_free(http_reply *r);
const char *http_reply_header(const http_reply *r, const char *name, char buf[256]); // NULL: none

int http_connect(int port);                          // a socket; asserts
void http_send(int fd, const void *bytes, size_t n); // whole, errors are not minded
bool http_read(int fd, http_reply *r);               // the next answer of a connection; false: it ended
// A connection of its own. headers: lines ending in \r\n, or "". body NULL: none.
http_reply http_ask(int port, const char *method, const char *path, const char *headers, const void *body, size_t bytes);
http_reply http_post(int port, const char *path, const char *json);
http_reply http_get(int port, const char *path);

// A request that is refused: status, and "error" says part; returns the answer, which is the caller's.
json_t *http_refused(int port, const char *path, const char *json, int status, const char *part);

// A folder "FOLDER/name" in the scratch folder: a model of tests/golden with a tokenizer of as many words as it has.
const char *serve_folder(const char *name, const char *golden);
// Of those folders, each under its name; o is changed to what a test wants, or NULL. Asserts.
void serve_start(hs_server *s, const char *const *name, int n, void (*change)(hs_server_opts *o));
hs_status serve_try(hs_server *s, const char *const *name, int n, void (*change)(hs_server_opts *o)); // the same, that may fail

void serve_stop(hs_server *s); // nothing is left under way

#endif
