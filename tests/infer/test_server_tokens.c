// server: vectors of tokens, guesses at masks and a tokenizer over HTTP are what the library gives for the same texts, to the last digit;
// all routes of one model share its batches.
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"

#include "infer/encode/texts.h"
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS = 6, WIDTH = 32, TOP = 3, MOST = 24 };
static const char *const text[TEXTS] = { "the cat [MASK] the bad", "[MASK] of [MASK] .", "a b c [MASK]", "[MASK]",
                                         "bed and [MASK] bad",     "the end [MASK] ." };
static hs_server server;
static int port;

// ---- what the library gives

static float hidden[TEXTS][MOST][WIDTH];
static int64_t tokens[TEXTS], n_masks[TEXTS];
static hs_guess guess[TEXTS][2][TOP];

static hs_status keep_hidden(const hs_text_out *out, void *user)
{
    (void)user;
    tokens[out->number] = hs_row_reader_length(out->reader, out->index);
    assert_true(tokens[out->number] <= MOST);
    return hs_row_reader_hidden(out->reader, out->index, hidden[out->number][0]);
}

static hs_status keep_guesses(const hs_text_out *out, void *user)
{
    (void)user;
    int64_t n;
    n_masks[out->number] = out->n_masks;
    for (int64_t m = 0; m < out->n_masks; m++)
        OK(hs_row_reader_guess(out->reader, out->index, m, TOP, guess[out->number][m], &n));
    return HS_OK;
}

static void ask_library(bool masks)
{
    hs_session s;
    hs_texts *t;
    const hs_policy fp32 = { .low = HS_F32 };
    OK(hs_session_open(&s, scratch_path("one"), 0, hs_families, "cpu", 2));
    const hs_arch_shape shape = hs_texts_shape(&s, masks);
    OK(hs_session_load(&s, &fp32, &(hs_session_plans){ .eval = &shape }));
    OK(hs_texts_new(&t, &(hs_texts_opts){ .session = &s, .masks = masks, .done = masks ? keep_guesses : keep_hidden }));
    for (int i = 0; i < TEXTS; i++)
        OK(hs_texts_add(t, text[i], strlen(text[i])));
    OK(hs_texts_finish(t));
    hs_texts_free(t);
    hs_session_close(&s);
}

static void two_instances(hs_server_opts *o) { o->served.instances = o->served.threads = 2; }

static int begin(void **state)
{
    static const char *const names[] = { "one" };
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    ask_library(false);
    ask_library(true);
    serve_start(&server, names, 1, two_instances);
    port = hs_http_port(server.http);
    return 0;
}

static int end(void **state)
{
    serve_stop(&server);
    return scratch_close(state);
}

// ---- requests

// NULL: another status than 200.
static json_t *get(const char *path, const char *body)
{
    http_reply r = http_post(port, path, body);
    json_t *v = r.status == 200 ? json_loadb(r.body, r.bytes, 0, NULL) : NULL;
    if (!v)
        print_error("%s %s: %d %s\n", path, body, r.status, r.body);
    http_reply_free(&r);
    return v;
}

static char *body_of(int first, int n, const char *more)
{
    char *body = malloc(4096), *p = body + sprintf(body, "{\"inputs\": %s", n ? "[" : "");
    for (int i = 0; i < (n ? n : 1); i++)
        p += sprintf(p, "%s\"%s\"", i ? ", " : "", text[(first + i) % TEXTS]);
    sprintf(p, "%s%s}", n ? "]" : "", more);
    return body;
}

static bool same_hidden(const json_t *v, int i)
{
    bool same = (int64_t)json_array_size(v) == tokens[i];
    for (size_t t = 0; same && t < (size_t)tokens[i]; t++) {
        const json_t *row = json_array_get(v, t);
        same = json_array_size(row) == WIDTH;
        for (size_t k = 0; same && k < WIDTH; k++)
            same = (float)json_number_value(json_array_get(row, k)) == hidden[i][t][k];
    }
    return same;
}

static bool embed_all(int first, int n)
{
    char *body = body_of(first, n, "");
    json_t *v = get("/embed_all", body);
    const size_t want = n ? (size_t)n : 1;
    bool same = json_array_size(v) == want;
    for (size_t i = 0; same && i < want; i++)
        same = same_hidden(json_array_get(v, i), (first + (int)i) % TEXTS);
    json_decref(v);
    free(body);
    return same;
}

static bool same_guesses(const json_t *v, int i)
{
    bool same = (int64_t)json_array_size(v) == n_masks[i];
    for (size_t m = 0; same && m < (size_t)n_masks[i]; m++)
        for (size_t k = 0; same && k < TOP; k++) {
            const json_t *g = json_array_get(json_array_get(v, m), k);
            same = json_integer_value(json_object_get(g, "id")) == guess[i][m][k].id &&
                   json_number_value(json_object_get(g, "score")) == guess[i][m][k].score && json_is_string(json_object_get(g, "token"));
        }
    return same;
}

static bool fill_mask(int first, int n)
{
    char *body = body_of(first, n, ", \"top_k\": 3");
    json_t *v = get("/models/one/fill-mask", body);
    bool same = n == 0 ? same_guesses(v, first % TEXTS) : json_array_size(v) == (size_t)n;
    for (int i = 0; same && i < n; i++)
        same = same_guesses(json_array_get(v, (size_t)i), (first + i) % TEXTS);
    json_decref(v);
    free(body);
    return same;
}

static void same_as_library(void **state)
{
    (void)state;
    for (int i = 0; i < TEXTS; i++) {
        assert_true(embed_all(i, 0));
        assert_true(fill_mask(i, 0));
    }
    assert_true(embed_all(0, TEXTS));
    assert_true(fill_mask(0, TEXTS));
    assert_true(embed_all(1, 30)); // more than a batch
    assert_true(fill_mask(2, 30));
}

typedef struct client {
    int number;
    atomic_int *wrong;
} client;

static void *ask_often(void *arg)
{
    const client *c = arg;
    for (int i = 0; i < 20; i++)
        if (!(i & 1 ? embed_all : fill_mask)(c->number + i, (c->number * i) % 7))
            atomic_fetch_add(c->wrong, 1);
    return NULL;
}

static void together(void **state)
{
    (void)state;
    enum { CLIENTS = 6 };
    pthread_t thread[CLIENTS];
    client c[CLIENTS];
    atomic_int wrong = 0;
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = (client){ i, &wrong };
        assert_int_equal(pthread_create(&thread[i], NULL, ask_often, &c[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
}

// ---- a tokenizer

static void tokens_of_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t start, stop;
    } want[] = { { "[CLS]", -1, -1 }, { "The", 0, 3 }, { "c", 4, 5 },  { "a", 5, 6 },
                 { "t", 6, 7 },       { "é", 8, 9 },   { ".", 9, 10 }, { "[SEP]", -1, -1 } };
    json_t *v = get("/tokenize", "{\"inputs\": [\"The cat é.\", \"a\"]}");
    const json_t *list = json_array_get(v, 0);
    assert_int_equal(json_array_size(v), 2);
    assert_int_equal(json_array_size(json_array_get(v, 1)), 3);
    assert_int_equal(json_array_size(list), HS_COUNT(want));
    for (size_t i = 0; i < (size_t)HS_COUNT(want); i++) {
        const json_t *x = json_array_get(list, i), *start = json_object_get(x, "start");
        assert_string_equal(json_string_value(json_object_get(x, "text")), want[i].text);
        assert_int_equal(json_is_true(json_object_get(x, "special")), want[i].start < 0);
        assert_int_equal(json_is_null(start) ? -1 : json_integer_value(start), want[i].start);
        if (want[i].start >= 0)
            assert_int_equal(json_integer_value(json_object_get(x, "stop")), want[i].stop);
    }
    json_decref(v);
    v = get("/models/one/tokenize", "{\"inputs\": \"the end\", \"add_special_tokens\": false}");
    assert_int_equal(json_array_size(json_array_get(v, 0)), 4); // the e ##n ##d
    json_decref(v);
}

static void decoded(void **state)
{
    (void)state;
    json_t *v = get("/tokenize", "{\"inputs\": \"the cat of .\"}"), *ids = json_array();
    size_t i;
    json_t *x;
    json_array_foreach(json_array_get(v, 0), i, x) json_array_append(ids, json_object_get(x, "id"));
    json_t *request = json_pack("{s:o}", "ids", ids);
    char *body = json_dumps(request, 0);
    json_t *got = get("/decode", body);
    assert_string_equal(json_string_value(json_array_get(got, 0)), "the cat of.");
    json_decref(got);
    free(body);
    json_object_set_new(request, "skip_special_tokens", json_false());
    json_object_set_new(request, "ids", json_pack("[O, O]", ids, ids));
    body = json_dumps(request, 0);
    got = get("/decode", body);
    assert_int_equal(json_array_size(got), 2);
    assert_string_equal(json_string_value(json_array_get(got, 1)), "[CLS] the cat of. [SEP]");
    json_decref(got);
    free(body);
    json_decref(request);
    json_decref(v);
}

// ---- answers that are too long

static void small(hs_server_opts *o) { o->most_answer = 8 * WIDTH * sizeof(float); }

static void too_long(void **state)
{
    (void)state;
    static const char *const names[] = { "one" };
    static const struct {
        const char *path, *body, *part;
        int status;
    } cases[] = { { "/embed_all", "{\"inputs\": \"a b c d e f\"}", NULL, 200 },
                  { "/embed_all", "{\"inputs\": \"a b c d e f g\"}", "at most 256 numbers", 413 },
                  { "/fill-mask", "{\"inputs\": \"[MASK]\", \"top_k\": 3}", NULL, 200 },
                  { "/fill-mask", "{\"inputs\": \"[MASK]\", \"top_k\": 50}", "longer than the 1024 bytes", 400 } };
    hs_server s;
    serve_start(&s, names, 1, small);
    for (int i = 0; i < HS_COUNT(cases); i++) {
        http_reply r = http_post(hs_http_port(s.http), cases[i].path, cases[i].body);
        if (r.status != cases[i].status || (cases[i].part && !strstr(r.body, cases[i].part)))
            fail_msg("%s: %d %s", cases[i].body, r.status, r.body);
        http_reply_free(&r);
    }
    serve_stop(&s);
}

// ---- what is refused

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body;
        int status;
        const char *part;
    } cases[] = {
        { "/fill-mask", "{\"inputs\": \"the cat\"}", 400, "write [MASK] where" },
        { "/fill-mask", "{\"inputs\": [\"[MASK]\", \"the cat\"]}", 400, "text 2 has nothing to fill" },
        { "/fill-mask", "{\"inputs\": \"[MASK]\", \"top_k\": \"3\"}", 422, "top_k must be" },
        { "/fill-mask", "{}", 422, "inputs must be" },
        { "/fill-mask", "{\"inputs\": \"[MASK] a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a\"}",
          413, "longer than" },
        { "/predict", "{\"inputs\": \"a\"}", 404, "no model here does that" },
        { "/models/one/predict", "{\"inputs\": \"a\"}", 424, "'one' is not a model that does that" },
        { "/embed_all", "{\"inputs\": []}", 422, "inputs is empty" },
        { "/tokenize", "{\"inputs\": 1}", 422, "inputs must be" },
        { "/tokenize", "{\"inputs\": \"a\", \"add_special_tokens\": \"no\"}", 422, "add_special_tokens" },
        { "/decode", "{}", 422, "ids is missing" },
        { "/decode", "{\"ids\": []}", 422, "ids is empty" },
        { "/decode", "{\"ids\": 3}", 422, "ids must be" },
        { "/decode", "{\"ids\": [1, 61]}", 422, "from 0 to 60" },
        { "/decode", "{\"ids\": [1, -1]}", 422, "element 1" },
        { "/decode", "{\"ids\": [[1], 2]}", 422, "element 1 is not a list" },
        { "/decode", "{\"ids\": [1.5]}", 422, "element 0" },
    };
    for (int i = 0; i < HS_COUNT(cases); i++) {
        json_decref(http_refused(port, cases[i].path, cases[i].body, cases[i].status, cases[i].part));
    }
    assert_true(fill_mask(0, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_as_library), cmocka_unit_test(together), cmocka_unit_test(tokens_of_text),
                                        cmocka_unit_test(decoded),         cmocka_unit_test(too_long), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, begin, end);
}
