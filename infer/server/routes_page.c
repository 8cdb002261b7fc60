// routes_page: a page for people at "/", of what the other routes tell. It loads nothing from elsewhere, and the browser is told to hold it
// to that: script and style are those that carry this answer's number, connections go to this server alone.
#include "infer/server/page_bytes.h"
#include "infer/server/routes.h"
#include "infer/server/server.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char blank[] = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@"; // where the number goes
enum { NUMBER = sizeof blank - 1 };

static bool draw_number(char number[NUMBER + 1])
{
    unsigned char bytes[NUMBER / 2];
    if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != (ssize_t)sizeof bytes)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(number + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

static void page(hs_call *c)
{
    char number[NUMBER + 1], policy[400];
    char *text = malloc(sizeof hs_page_bytes + 1);
    if (!text || !draw_number(number)) {
        free(text);
        hs_call_fail(c, 503, "no memory for the page");
        return;
    }
    memcpy(text, hs_page_bytes, sizeof hs_page_bytes);
    text[sizeof hs_page_bytes] = 0;
    for (char *at = text; (at = strstr(at, blank)) != NULL; at += NUMBER)
        memcpy(at, number, NUMBER);
    snprintf(policy, sizeof policy,
             "default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
             "frame-ancestors 'none'",
             number, number);
    hs_http_add_header(c->http, "Content-Security-Policy", policy);
    hs_http_add_header(c->http, "X-Content-Type-Options", "nosniff");
    hs_http_add_header(c->http, "Referrer-Policy", "no-referrer");
    hs_http_add_header(c->http, "Cache-Control", "no-store");
    hs_http_answer(c->http, 200, "text/html; charset=utf-8", text, sizeof hs_page_bytes);
}

const hs_route hs_routes_page[] = {
    { .method = "GET", .pattern = "/", .run = page, .open = true }, // it tells nothing by itself
    { 0 },
};
