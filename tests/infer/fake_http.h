// fake_http: infer/server/http.h without sockets. A request is bytes in memory, and whoever asks waits for its answer. What the server is
// linked with to be fuzzed.
#ifndef HS_TESTS_INFER_FAKE_HTTP_H
#define HS_TESTS_INFER_FAKE_HTTP_H
#include "infer/server/http.h"

typedef struct fake_answer {
    int status;
    char type[64]; // "": none
    char *body;    // NUL behind; of a stream all its pieces
    size_t bytes;
    bool stream;
} fake_answer;

// "METHOD PATH", then lines of "NAME: VALUE", an empty line, and the body: lines end with a line feed. Aborts where http.h's rules are
// broken: two answers, a header that would begin another line. The client leaves once it was looked for FAKE_PATIENCE times.
enum { FAKE_PATIENCE = 60 };
void fake_http_ask(hs_http *h, const void *text, size_t bytes, fake_answer *a);
void fake_answer_free(fake_answer *a);

#endif
