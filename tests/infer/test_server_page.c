// The page at "/": whole, its own and nobody else's script, and nothing behind it without the server's token.
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include <stdlib.h>
#include <string.h>

static const char *const names[] = { "one" };

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    return 0;
}

// The number that script and style carry, which must be the one of the policy.
static void number_of(const http_reply *r, char number[33])
{
    char policy[256], wanted[64];
    assert_int_equal(r->status, 200);
    assert_non_null(http_reply_header(r, "Content-Security-Policy", policy));
    const char *at = strstr(policy, "script-src 'nonce-");
    assert_non_null(at);
    memcpy(number, at + 18, 32);
    number[32] = 0;
    assert_int_equal(strspn(number, "0123456789abcdef"), 32);
    assert_ptr_equal(strstr(policy, "default-src 'none'; "), policy);
    assert_null(strstr(policy, "unsafe"));
    for (int i = 0; i < 2; i++) {
        snprintf(wanted, sizeof wanted, "<%s nonce=\"%s\">", i ? "style" : "script", number);
        assert_non_null(strstr(r->body, wanted));
    }
}

static void page(void **state)
{
    hs_server s;
    char first[33], second[33], value[256];
    (void)state;
    serve_start(&s, names, 1, NULL);
    http_reply r = http_get(hs_http_port(s.http), "/");
    number_of(&r, first);
    assert_non_null(http_reply_header(&r, "Content-Type", value));
    assert_string_equal(value, "text/html; charset=utf-8");
    assert_null(strstr(r.body, "@@@@"));
    assert_string_equal(r.body + r.bytes - 8, "</html>\n");
    // nothing of elsewhere: the one address is the name of a kind of XML; nothing that the policy forbids
    for (const char *at = r.body; (at = strstr(at, "//")) != NULL; at += 2)
        assert_true(at[-1] != ':' || strncmp(at, "//www.w3.org/2000/svg'", 22) == 0);
    static const char *const forbidden[] = { "src=", "@import", "url(", " style=", " onclick=", "innerHTML", "eval(" };
    for (int i = 0; i < HS_COUNT(forbidden); i++)
        assert_null(strstr(r.body, forbidden[i]));
    http_reply_free(&r);
    r = http_get(hs_http_port(s.http), "/");
    number_of(&r, second);
    assert_string_not_equal(first, second);
    http_reply_free(&r);
    r = http_post(hs_http_port(s.http), "/", "{}");
    assert_int_equal(r.status, 422); // TEI's: it wants inputs
    http_reply_free(&r);
    serve_stop(&s);
}

static const char *const tokens[] = { "sesame" };
static void with_token(hs_server_opts *o) { o->token = tokens, o->n_tokens = 1; }

static void locked(void **state)
{
    hs_server s;
    char number[33];
    (void)state;
    serve_start(&s, names, 1, with_token);
    http_reply r = http_get(hs_http_port(s.http), "/");
    number_of(&r, number);
    http_reply_free(&r);
    static const char *const asked[] = { "/v2", "/v2/models/stats", "/metrics" }; // what it shows
    for (int i = 0; i < HS_COUNT(asked); i++) {
        r = http_get(hs_http_port(s.http), asked[i]);
        assert_int_equal(r.status, 401);
        http_reply_free(&r);
        r = http_ask(hs_http_port(s.http), "GET", asked[i], "Authorization: Bearer sesame\r\n", NULL, 0);
        assert_int_equal(r.status, 200);
        http_reply_free(&r);
    }
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(page), cmocka_unit_test(locked) };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}
