// support_oip: questions to a server and answers in JSON, each held against a status.
#ifndef HS_TESTS_SUPPORT_OIP_H
#define HS_TESTS_SUPPORT_OIP_H
#include "tests/support/support_http.h"
#include <jansson.h>

// A path into JSON: members by name, elements by number, "/" between. NULL: there is none.
json_t *json_inside(json_t *v, const char *path);
const char *json_text_in(json_t *v, const char *path); // "?": there is none
int64_t json_number_in(json_t *v, const char *path);   // -999: there is none

// The JSON of an answer that must have this status; of an empty one null.
json_t *http_ask_json(int port, const char *method, const char *path, const char *body, int status);
// And must say this; errors in Triton's form.
void http_expect(int port, const char *method, const char *path, const char *body, int status, const char *says);

#endif
