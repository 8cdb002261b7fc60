// support_oip: questions and answers in JSON.
#include "tests/support/support_oip.h"
#include "tests/support/support_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *json_inside(json_t *v, const char *path)
{
    char part[64];
    while (*path) {
        const size_t n = strcspn(path, "/");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        v = json_is_array(v) ? json_array_get(v, strtoul(part, NULL, 10)) : json_object_get(v, part);
        path += n + (path[n] == '/');
    }
    return v;
}
const char *json_text_in(json_t *v, const char *path)
{
    const char *s = json_string_value(json_inside(v, path));
    return s ? s : "?";
}
int64_t json_number_in(json_t *v, const char *path)
{
    const json_t *x = json_inside(v, path);
    return json_is_integer(x) ? json_integer_value(x) : -999;
}

json_t *http_ask_json(int port, const char *method, const char *path, const char *body, int status)
{
    http_reply r = http_ask(port, method, path, "", body, body ? strlen(body) : 0);
    if (r.status != status)
        fail_msg("%s %s: %d instead of %d: %s", method, path, r.status, status, r.body ? r.body : "");
    json_t *v = r.bytes ? json_loadb(r.body, r.bytes, 0, NULL) : json_null();
    assert_non_null(v);
    http_reply_free(&r);
    return v;
}
void http_expect(int port, const char *method, const char *path, const char *body, int status, const char *says)
{
    json_t *v = http_ask_json(port, method, path, body, status);
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!strstr(text, says))
        fail_msg("%s %s: '%s' does not say '%s'", method, path, text, says);
    if (status >= 400 && status != 503)
        assert_true(json_is_string(json_object_get(v, "error")));
    free(text);
    json_decref(v);
}
