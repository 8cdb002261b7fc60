// route: patterns by segments; errors in the words of each protocol.
#include "infer/server/server.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// ---- patterns

static bool matches(const char *pattern, const char *path, hs_call *c)
{
    int n = 0;
    while (*pattern && *path) {
        if (pattern[0] == '{' && pattern[1] == '}') {
            const size_t length = strcspn(path, "/");
            if (length == 0 || length >= HS_ROUTE_ARG_BYTES || n == HS_ROUTE_ARGS)
                return false;
            memcpy(c->arg[n], path, length);
            c->arg[n++][length] = 0;
            pattern += 2, path += length;
        } else if (*pattern++ != *path++)
            return false;
    }
    for (; n < HS_ROUTE_ARGS; n++) // of another pattern, that matched in part
        c->arg[n][0] = 0;
    return *pattern == 0 && (*path == 0 || (path[0] == '/' && path[1] == 0));
}

const hs_route *hs_route_find(const hs_route *const *tables, int n, hs_call *c)
{
    const char *method = hs_http_method(c->http), *path = hs_http_path(c->http);
    char allow[64] = "";
    for (int t = 0; t < n; t++)
        for (const hs_route *r = tables[t]; r->method; r++) {
            if (!matches(r->pattern, path, c))
                continue;
            if (strcmp(method, r->method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0))
                return r;
            if (!strstr(allow, r->method) && strlen(allow) + strlen(r->method) + 3 < sizeof allow)
                strcat(strcat(allow, allow[0] ? ", " : ""), r->method);
        }
    if (allow[0]) {
        hs_http_add_header(c->http, "Allow", allow);
        hs_call_fail(c, 405, "%s takes %s, not %s", path, allow, method);
    } else
        hs_call_fail(c, 404, "there is no %s here", path);
    return NULL;
}

// ---- answers

void hs_call_json(const hs_call *c, int http, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    if (!text) {
        hs_http_answer(c->http, 500, NULL, NULL, 0);
        return;
    }
    hs_http_answer(c->http, http, "application/json", text, strlen(text));
}

// TEI's error_type, as it spells them: the names of an enum.
static const char *tei_word(int http)
{
    return http == 429 ? "Overloaded" : http == 503 ? "Unhealthy" : http >= 500 || http == 424 ? "Backend" : "Validation";
}

static const char *openai_word(int http)
{
    static const struct {
        int http;
        const char *word;
    } words[] = {
        { 400, "invalid_request_error" },
        { 401, "authentication_error" },
        { 404, "not_found_error" },
        { 405, "invalid_request_error" },
        { 413, "invalid_request_error" },
        { 422, "invalid_request_error" },
        { 424, "backend" },
        { 429, "overloaded" },
        { 499, "cancelled" },
        { 500, "server_error" },
        { 503, "service_unavailable" },
        { 504, "timeout" },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].http == http)
            return words[i].word;
    return http < 500 ? "invalid_request_error" : "server_error";
}

json_t *hs_call_quoted(const char *s)
{
    hs_text clean = { 0 };
    hs_text_utf8(&clean, s, strlen(s)); // a name that was cut may end within a character
    json_t *text = clean.failed ? NULL : json_stringn(clean.p ? clean.p : "", clean.n);
    hs_text_free(&clean);
    return text;
}

bool hs_call_of_openai(const hs_call *c)
{
    const char *path = hs_http_path(c->http);
    return strncmp(path, "/v1/", 4) == 0 || strcmp(path, "/embeddings") == 0;
}

int64_t hs_call_began(const hs_call *c) { return c->inner ? c->inner->began : hs_http_handed(c->http); }

void hs_call_fail(const hs_call *c, int http, const char *fmt, ...)
{
    char why[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    if (c->inner) {
        c->inner->failed(c->inner, http, why);
        return;
    }
    const char *path = hs_http_path(c->http);
    if (http == 429 || http == 503)
        hs_http_add_header(c->http, "Retry-After", "1");
    json_t *text = hs_call_quoted(why);
    json_t *value = hs_call_of_openai(c)
                        ? json_pack("{s:{s:o, s:s, s:n, s:n}}", "error", "message", text, "type", openai_word(http), "param", "code")
                    : strncmp(path, "/v2", 3) == 0 ? json_pack("{s:o}", "error", text)
                                                   : json_pack("{s:o, s:s}", "error", text, "error_type", tei_word(http));
    hs_call_json(c, http, value);
}

void hs_call_send(const hs_call *c, const char *type, hs_text *t)
{
    if (t->failed)
        hs_call_fail(c, 503, "no memory for the answer");
    else {
        hs_http_answer(c->http, 200, type, t->p, t->n);
        *t = (hs_text){ 0 };
    }
    hs_text_free(t);
}

void hs_call_fail_status(const hs_call *c, hs_status st)
{
    static const int http[HS_N_STATUS] = { [HS_USAGE] = 400, [HS_UNSUPPORTED] = 501, [HS_MEMORY] = 503, [HS_NONFINITE] = 422 };
    hs_call_fail(c, http[st] ? http[st] : 500, "%s", hs_error());
}

// Of a JSON text, about: one for each comma and bracket outside of strings.
static int64_t count_values(const char *text, size_t bytes)
{
    int64_t n = 1;
    bool string = false;
    for (size_t i = 0; i < bytes; i++) {
        if (string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            string = !string;
        else if (!string)
            n += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    return n;
}

json_t *hs_call_body(const hs_call *c)
{
    size_t bytes;
    json_error_t e;
    const char *text = hs_http_body(c->http, &bytes);
    const int64_t most = c->server->o.most_values ? c->server->o.most_values : HS_SERVER_VALUES;
    if (bytes > (size_t)most && count_values(text, bytes) > most) { // a value takes more memory than the two bytes it may stand in
        hs_call_fail(c, 413, "the body has more than %lld JSON values (--values)", (long long)most);
        return NULL;
    }
    json_t *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    if (!value && bytes)
        hs_call_fail(c, 400, "the body is not JSON: line %d, column %d: %s", e.line, e.column, e.text);
    else if (!value)
        hs_call_fail(c, 400, "the body is empty: JSON is wanted");
    return value;
}

hs_status hs_call_rank(const hs_call *c, int64_t *priority, int64_t *timeout_us)
{
    const char *rank = hs_http_header(c->http, "X-Request-Priority"), *ms = hs_http_header(c->http, "X-Request-Timeout-Ms");
    char *end;
    if (rank) {
        *priority = strtoll(rank, &end, 10);
        if (end == rank || *end || *priority < 1 || *priority > 1000000)
            return HS_FAIL(USAGE, "X-Request-Priority is '%.32s', must be a whole number from 1 to 1000000", rank);
    }
    if (ms) {
        const double wanted = strtod(ms, &end);
        if (end == ms || *end || !(wanted >= 0.001 && wanted <= 1e9))
            return HS_FAIL(USAGE, "X-Request-Timeout-Ms is '%.32s', must be a number from 0.001 to 1000000000", ms);
        *timeout_us = (int64_t)(1000 * wanted);
    }
    return HS_OK;
}

bool hs_call_of_own_page(const hs_call *c)
{
    const char *origin = hs_http_header(c->http, "Origin"), *host = hs_http_header(c->http, "Host");
    const char *page = origin ? strstr(origin, "://") : NULL;
    return !origin || (page && host && strcasecmp(page + 3, host) == 0);
}
