// server: the tensors of traces - whichever route asks, and by whichever model's steps, what went in and what came out stands in the file.
#include "infer/server/ensemble.h"
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = { "one", "bert-sequence", "talks", "bert-sequence2", "bert-tokens", "bert-span" };
static const hs_ensemble_step steps[] = { { "both", "bert-sequence", "text=TEXT", "logits=TOPIC" },
                                          { "both", "one", "text=TEXT", "sentence_embedding=VECTOR" } };
static const char chat_template[] = "{% for m in messages %}{{ m.content }} {% endfor %}";
static hs_server server;
static int port;

static hs_tracer_opts asked;
static size_t cache_bytes; // of a test
static void change(hs_server_opts *o)
{
    o->served.step = steps, o->served.n_steps = HS_COUNT(steps);
    o->http.threads = 2;
    o->trace = asked, o->cache_bytes = cache_bytes;
}

static void start(const char *name, int64_t rate, int64_t frequency)
{
    static char file[256];
    snprintf(file, sizeof file, "%s", scratch_path(name));
    asked = (hs_tracer_opts){ .file = file, .settings.of = { HS_TRACE_TIMESTAMPS | HS_TRACE_TENSORS, rate, -1, frequency } };
    serve_start(&server, names, HS_COUNT(names), change);
    port = hs_http_port(server.http);
}

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    heads_folder("bert-sequence", NULL, 0);
    heads_folder("bert-sequence", NULL, 2);
    heads_folder("bert-tokens", NULL, 0), heads_folder("bert-span", NULL, 0);
    serve_folder("talks", "gpt2-lm");
    scratch_write("talks/chat_template.jinja", chat_template, sizeof chat_template - 1);
    return 0;
}

// A tensor's data, as they stand in an answer of JSON, in one line.
static char *flat(json_t *data)
{
    char *all = json_dumps(data, JSON_COMPACT), *line = strdup(all + 1);
    line[strlen(line) - 1] = 0;
    free(all);
    return line;
}

static void test_tensors(void **state)
{
    (void)state;
    start("tensors.json", 1, 0);
    json_t *v = http_ask_json(
        port, "POST", "/v2/models/one/infer",
        "{\"id\":\"se\\\"ven\",\"inputs\":[{\"name\":\"input_ids\",\"shape\":[2,2],\"datatype\":\"INT32\",\"data\":[ [5, 6],[7,8]]},"
        "{\"name\":\"attention_mask\",\"shape\":[2,2],\"datatype\":\"BOOL\",\"data\":[true, true,true,false]}],"
        "\"outputs\":[{\"name\":\"sentence_embedding\"}]}",
        200);
    char *vector = flat(json_inside(v, "outputs/0/data"));
    json_decref(v);
    // raw: two FP64 numbers
    const double ids[2] = { 5, 6 };
    char body[512];
    const int head = snprintf(body, sizeof body,
                              "{\"inputs\":[{\"name\":\"input_ids\",\"shape\":[1,2],\"datatype\":\"FP64\","
                              "\"parameters\":{\"binary_data_size\":16}}],\"outputs\":[{\"name\":\"sentence_embedding\"}]}");
    memcpy(body + head, ids, sizeof ids);
    char headers[128];
    snprintf(headers, sizeof headers, "Inference-Header-Content-Length: %d\r\nX-Request-Id: by header\r\n", head);
    http_reply r = http_ask(port, "POST", "/v2/models/one/infer", headers, body, (size_t)head + sizeof ids);
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    json_decref(http_ask_json(port, "POST", "/v2/models/bert-sequence/infer",
                              "{\"inputs\":[{\"name\":\"text\",\"shape\":[2],\"datatype\":\"BYTES\",\"data\":[\"a\",\"say \\\"b\\\"\"]}]}",
                              200));
    http_expect(port, "POST", "/v2/models/one/infer",
                "{\"inputs\":[{\"name\":\"pixels\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1]}]}", 400, "no input");
    serve_stop(&server);
    json_t *all = trace_read("tensors.json");
    assert_int_equal(trace_count(all, "model_name"), 4);
    json_t *about = trace_part(all, 1, "model_name", 0);
    assert_string_equal(json_text_in(about, "model_name"), "one");
    assert_int_equal(json_number_in(about, "model_version"), 1);
    assert_string_equal(json_text_in(about, "request_id"), "se\"ven");
    assert_null(json_object_get(about, "parent_id"));
    trace_expect_points(all, 1, trace_whole, HS_COUNT(trace_whole));
    trace_expect_tensor(all, 1, 0, TRACE_IN, "input_ids", "2,2", "INT32"), assert_string_equal(trace_data(all, 1, 0), "5,6,7,8");
    trace_expect_tensor(all, 1, 1, TRACE_IN, "attention_mask", "2,2", "BOOL"), assert_string_equal(trace_data(all, 1, 1), "1,1,1,0");
    trace_expect_tensor(all, 1, 2, TRACE_OUT, "sentence_embedding", "2,32", "FP32");
    const char *at = trace_data(all, 1, 2), *want = vector; // the same numbers, in other digits
    for (int i = 0; i < 64; i++) {
        char *end, *end_want;
        assert_true(strtof(at, &end) == strtof(want, &end_want));
        assert_true(i == 63 ? *end == 0 : *end == ',');
        at = end + 1, want = end_want + 1;
    }
    assert_null(trace_part(all, 1, "tensor", 3));
    assert_string_equal(json_text_in(trace_part(all, 2, "model_name", 0), "request_id"), "by header");
    trace_expect_tensor(all, 2, 0, TRACE_IN, "input_ids", "1,2", "FP64"), assert_string_equal(trace_data(all, 2, 0), "5,6");
    assert_null(json_object_get(trace_part(all, 3, "model_name", 0), "request_id"));
    trace_expect_tensor(all, 3, 0, TRACE_IN, "text", "2", "BYTES"), assert_string_equal(trace_data(all, 3, 0), "\"a\",\"say \"b\"\"");
    trace_expect_tensor(all, 3, 1, TRACE_OUT, "logits", "2,3", "FP32");
    static const char *const refused[] = { "HTTP_RECV_START", "HTTP_RECV_END",   "REQUEST_START",
                                           "REQUEST_END",     "HTTP_SEND_START", "HTTP_SEND_END" };
    trace_expect_points(all, 4, refused, HS_COUNT(refused));
    assert_null(trace_part(all, 4, "tensor", 0));
    json_decref(all);
    free(vector);
}

static void test_ensemble(void **state)
{
    (void)state;
    start("ensemble.json", 2, 1);
    for (int i = 0; i < 2; i++)
        json_decref(http_ask_json(port, "POST", "/v2/models/both/infer",
                                  "{\"id\":\"x\",\"inputs\":[{\"name\":\"TEXT\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"cab\"]}]}",
                                  200));
    serve_stop(&server);
    json_t *all = trace_read("ensemble.json.0"); // steps are no requests of their own
    assert_int_equal(trace_count(all, "model_name"), 3);
    static const char *const mine[] = { "HTTP_RECV_START", "HTTP_RECV_END",   "REQUEST_START",
                                        "REQUEST_END",     "HTTP_SEND_START", "HTTP_SEND_END" };
    const int64_t id = json_number_in(trace_part(all, 0, "model_name", 0), "id");
    assert_string_equal(json_text_in(trace_part(all, id, "model_name", 0), "model_name"), "both");
    trace_expect_points(all, id, mine, HS_COUNT(mine));
    trace_expect_tensor(all, id, 0, TRACE_IN, "TEXT", "1", "BYTES");
    trace_expect_tensor(all, id, 1, TRACE_OUT, "TOPIC", "1,3", "FP32");
    for (int i = 1; i < 3; i++) {
        json_t *step = trace_part(all, 0, "model_name", i);
        const int64_t own = json_number_in(step, "id");
        const bool topic = strcmp(json_text_in(step, "model_name"), "bert-sequence") == 0;
        assert_int_equal(json_number_in(step, "parent_id"), id);
        trace_expect_points(all, own, trace_whole + 2, 7);
        trace_expect_tensor(all, own, 0, TRACE_IN, "text", "1", "BYTES"), assert_string_equal(trace_data(all, own, 0), "\"cab\"");
        trace_expect_tensor(all, own, 1, TRACE_OUT, topic ? "logits" : "sentence_embedding", topic ? "1,3" : "1,32", "FP32");
        assert_string_equal(trace_data(all, own, 1), trace_data(all, id, topic ? 1 : 2));
    }
    json_decref(all);
}

static void test_texts(void **state)
{
    (void)state;
    start("texts.json", 1, 0);
    http_expect(port, "POST", "/v2/models/talks/generate",
                "{\"id\":\"g\",\"text_input\":\"a b\",\"parameters\":{\"max_tokens\":3,\"temperature\":0}}", 200, "text_output");
    json_t *v = http_ask_json(port, "POST", "/v2/models/talks/infer",
                              "{\"inputs\":[{\"name\":\"text_input\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"a b\"]}],"
                              "\"parameters\":{\"max_tokens\":3,\"temperature\":0}}",
                              200);
    const char *const stream = "{\"text_input\":\"a\",\"max_tokens\":2}";
    http_reply r = http_post(port, "/v2/models/talks/generate_stream", stream);
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    http_expect(port, "POST", "/v1/completions", "{\"model\":\"talks\",\"prompt\":\"a\",\"max_tokens\":2,\"n\":3}", 200, "choices");
    serve_stop(&server);
    json_t *all = trace_read("texts.json");
    static const char *const points[] = { "HTTP_RECV_START", "HTTP_RECV_END",     "REQUEST_START",   "QUEUE_START",
                                          "COMPUTE_START",   "COMPUTE_INPUT_END", "FIRST_TOKEN",     "COMPUTE_OUTPUT_START",
                                          "COMPUTE_END",     "REQUEST_END",       "HTTP_SEND_START", "HTTP_SEND_END" };
    assert_int_equal(trace_count(all, "model_name"), 4);
    assert_string_equal(json_text_in(trace_part(all, 1, "model_name", 0), "request_id"), "g");
    trace_expect_points(all, 1, points, HS_COUNT(points));
    trace_expect_points(all, 2, points, HS_COUNT(points));
    trace_expect_points(all, 4, points, HS_COUNT(points));
    assert_int_equal(json_array_size(json_object_get(trace_part(all, 3, "timestamps", 0), "timestamps")),
                     HS_COUNT(points)); // it is sent as it is made
    trace_expect_tensor(all, 2, 0, TRACE_IN, "text_input", "1", "BYTES"), assert_string_equal(trace_data(all, 2, 0), "\"a b\"");
    char quoted[256];
    snprintf(quoted, sizeof quoted, "\"%s\"", json_text_in(v, "outputs/0/data/0"));
    trace_expect_tensor(all, 2, 1, TRACE_OUT, "output_ids", "1,3", "INT32");
    trace_expect_tensor(all, 2, 2, TRACE_OUT, "text_output", "1", "BYTES"), assert_string_equal(trace_data(all, 2, 2), quoted);
    json_decref(all), json_decref(v);
}

// ---- whichever route asks

static void ask(const char *path, const char *body) { json_decref(http_ask_json(port, "POST", path, body, 200)); }

// Tensors of two traces, all of them the same.
static void expect_same(const json_t *all, int64_t a, int64_t b, const char *why)
{
    int i = 0;
    for (;; i++) {
        const json_t *x = json_object_get(trace_part(all, a, "tensor", i), "tensor"),
                     *y = json_object_get(trace_part(all, b, "tensor", i), "tensor");
        if (!x && !y)
            break;
        if (!json_equal(x, y))
            fail_msg("%s: tensor %d is %s, not %s", why, i, x ? json_dumps(x, 0) : "missing", y ? json_dumps(y, 0) : "missing");
    }
    assert_true(i >= 2);
}

#define INFER(texts, shape) "{\"inputs\":[{\"name\":\"text\",\"shape\":[" shape "],\"datatype\":\"BYTES\",\"data\":" texts "}]"
#define INFER_PAIRS(texts, seconds, shape)                                                                                                 \
    "{\"inputs\":[{\"name\":\"text\",\"shape\":[" shape "],\"datatype\":\"BYTES\",\"data\":" texts "},"                                    \
    "{\"name\":\"text_pair\",\"shape\":[" shape "],\"datatype\":\"BYTES\",\"data\":" seconds "}]}"
#define VECTORS ",\"outputs\":[{\"name\":\"sentence_embedding\"}]}"

// A route's tensors are those that the same is by `infer`.
static void test_as_infer(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body, *model, *infer;
    } is[] = {
        { "/models/one/embed", "{\"inputs\":\"a b\",\"normalize\":false}", "one", INFER("[\"a b\"]", "1") VECTORS },
        { "/models/one/embed", "{\"inputs\":[\"a b\",\"the cab of\",\"a\"],\"normalize\":false}", "one",
          INFER("[\"a b\",\"the cab of\",\"a\"]", "3") VECTORS },
        { "/v1/embeddings", "{\"model\":\"one\",\"input\":[\"a b\",\"h\"]}", "one", INFER("[\"a b\",\"h\"]", "2") VECTORS },
        { "/models/one/embed_all", "{\"inputs\":[\"a\",\"the cab of\"]}", "one",
          INFER("[\"a\",\"the cab of\"]", "2") ",\"outputs\":[{\"name\":\"last_hidden_state\"}]}" },
        { "/models/bert-sequence/predict", "{\"inputs\":\"a \\\"b\\\"\"}", "bert-sequence", INFER("[\"a \\\"b\\\"\"]", "1") "}" },
        { "/models/bert-sequence/predict", "{\"inputs\":[[\"a b\",\"h\"],[\"c\",\"d e\"]]}", "bert-sequence",
          INFER_PAIRS("[\"a b\",\"c\"]", "[\"h\",\"d e\"]", "2") },
        { "/models/bert-sequence2/rerank", "{\"query\":\"a b\",\"texts\":[\"h\",\"d e\"]}", "bert-sequence2",
          INFER_PAIRS("[\"a b\",\"a b\"]", "[\"h\",\"d e\"]", "2") },
        { "/models/bert-tokens/ner", "{\"inputs\":[\"a b\",\"c\"]}", "bert-tokens", INFER("[\"a b\",\"c\"]", "2") "}" },
        { "/models/bert-span/answer", "{\"question\":\"a\",\"context\":\"b c d\"}", "bert-span",
          INFER_PAIRS("[\"a\"]", "[\"b c d\"]", "1") },
    };
    start("as_infer.json", 1, 0);
    for (int i = 0; i < HS_COUNT(is); i++) {
        char path[64];
        snprintf(path, sizeof path, "/v2/models/%s/infer", is[i].model);
        ask(is[i].path, is[i].body);
        ask(path, is[i].infer);
    }
    serve_stop(&server);
    json_t *all = trace_read("as_infer.json");
    assert_int_equal(trace_count(all, "model_name"), 2 * HS_COUNT(is));
    for (int i = 0; i < HS_COUNT(is); i++) {
        expect_same(all, 2 * i + 1, 2 * i + 2, is[i].path);
        trace_expect_points(all, 2 * i + 1, trace_whole, HS_COUNT(trace_whole));
    }
    json_decref(all);
}

// Rows that were kept from before are told as those that were computed.
static void test_asked_again(void **state)
{
    (void)state;
    cache_bytes = 1 << 20;
    start("again.json", 1, 0);
    cache_bytes = 0;
    for (int i = 0; i < 2; i++)
        ask("/models/one/embed", "{\"inputs\":[\"a b\",\"h\"]}");
    ask("/models/one/embed", "{\"inputs\":[\"a b\",\"c\"]}"); // one of them
    ask("/models/one/embed", "{\"inputs\":[\"a b\",\"c\"]}");
    serve_stop(&server);
    json_t *all = trace_read("again.json");
    expect_same(all, 1, 2, "found");
    expect_same(all, 3, 4, "found in part");
    json_decref(all);
}

// Ids in place of texts.
static void test_vectors_of_ids(void **state)
{
    (void)state;
    start("vectors.json", 1, 0);
    ask("/v1/embeddings", "{\"model\":\"one\",\"input\":[[5,6,7],[8]]}");
    ask("/v1/embeddings", "{\"model\":\"one\",\"input\":[8]}");
    serve_stop(&server);
    json_t *all = trace_read("vectors.json");
    trace_expect_tensor(all, 1, 0, TRACE_IN, "input_ids", "2,3", "INT32"), assert_string_equal(trace_data(all, 1, 0), "5,6,7,8,-1,-1");
    trace_expect_tensor(all, 1, 1, TRACE_OUT, "sentence_embedding", "2,32", "FP32");
    trace_expect_tensor(all, 2, 0, TRACE_IN, "input_ids", "1,1", "INT32"), assert_string_equal(trace_data(all, 2, 0), "8");
    assert_non_null(strstr(trace_data(all, 1, 1), trace_data(all, 2, 1))); // the second of them
    json_decref(all);
}

static void test_masks(void **state)
{
    (void)state;
    start("masks.json", 1, 0);
    json_t *v = http_ask_json(port, "POST", "/models/one/fill-mask", "{\"inputs\":[\"a [MASK] [MASK]\",\"[MASK]\"],\"top_k\":2}", 200);
    serve_stop(&server);
    json_t *all = trace_read("masks.json");
    trace_expect_tensor(all, 1, 0, TRACE_IN, "text", "2", "BYTES");
    trace_expect_tensor(all, 1, 1, TRACE_OUT, "ids", "3,2", "INT32");
    trace_expect_tensor(all, 1, 2, TRACE_OUT, "scores", "3,2", "FP64");
    assert_null(trace_part(all, 1, "tensor", 3));
    const char *ids = trace_data(all, 1, 1), *scores = trace_data(all, 1, 2);
    for (int i = 0; i < 6; i++) {
        char *end, at[16];
        snprintf(at, sizeof at, "%d/%d/%d", i / 4, i % 4 / 2, i % 2);
        json_t *guess = json_inside(v, at);
        assert_int_equal(strtol(ids, &end, 10), json_number_in(guess, "id"));
        ids = end + 1;
        assert_true(strtod(scores, &end) == json_number_value(json_object_get(guess, "score")));
        scores = end + 1;
    }
    json_decref(all), json_decref(v);
}

// ---- texts that go on

#define HOW "\"temperature\":0,\"ignore_eos\":true"

static void stream(const char *path, const char *body)
{
    http_reply r = http_post(port, path, body);
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
}

static void test_text_routes(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        { "/v2/models/talks/infer", "{\"inputs\":[{\"name\":\"text_input\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"a b \"]}],"
                                    "\"parameters\":{\"max_tokens\":4," HOW "}}" },
        { "/v2/models/talks/generate", "{\"text_input\":\"a b \",\"max_tokens\":4," HOW "}" },
        { "/v1/completions", "{\"model\":\"talks\",\"prompt\":\"a b \",\"max_tokens\":4," HOW "}" },
        { "/v1/completions", "{\"model\":\"talks\",\"prompt\":[\"a b \"],\"max_tokens\":4," HOW "}" },
        { "/v1/chat/completions", "{\"model\":\"talks\",\"messages\":[{\"role\":\"user\",\"content\":\"a b\"}],\"max_tokens\":4," HOW "}" },
    };
    static const char *const streams[][2] = {
        { "/v2/models/talks/generate_stream", "{\"text_input\":\"a b \",\"max_tokens\":4," HOW "}" },
        { "/v1/completions", "{\"model\":\"talks\",\"prompt\":\"a b \",\"max_tokens\":4,\"stream\":true," HOW "}" },
    };
    start("routes.json", 1, 0);
    for (int i = 0; i < HS_COUNT(same); i++)
        ask(same[i][0], same[i][1]);
    for (int i = 0; i < HS_COUNT(streams); i++)
        stream(streams[i][0], streams[i][1]);
    json_t *v = http_ask_json(port, "POST", same[1][0], same[1][1], 200);
    const char *said = json_text_in(v, "text_output");
    char body[256]; // what may begin a stop string is held back to the end
    snprintf(body, sizeof body, "{\"text_input\":\"a b \",\"max_tokens\":4,\"stop\":[\"%s~\"]," HOW "}", said + strlen(said) - 1);
    ask(same[1][0], body);
    stream(streams[0][0], body);
    json_decref(v);
    serve_stop(&server);
    json_t *all = trace_read("routes.json");
    trace_expect_tensor(all, 1, 0, TRACE_IN, "text_input", "1", "BYTES");
    trace_expect_tensor(all, 1, 1, TRACE_OUT, "output_ids", "1,4", "INT32");
    trace_expect_tensor(all, 1, 2, TRACE_OUT, "text_output", "1", "BYTES");
    for (int id = 2; id <= HS_COUNT(same) + HS_COUNT(streams) + 3; id++)
        expect_same(all, 1, id, "a route");
    json_decref(all);
}

// Ids in and out: what was drawn goes on as it went on.
static void test_ids(void **state)
{
    (void)state;
    start("ids.json", 1, 0);
    ask("/v1/completions", "{\"model\":\"talks\",\"prompt\":[[5,9,3],[7,8]],\"n\":2,\"max_tokens\":6,\"echo\":true," HOW "}");
    ask("/v1/completions", "{\"model\":\"talks\",\"prompt\":[\"a\",\"h\"],\"max_tokens\":2," HOW "}");
    ask("/v1/completions", "{\"model\":\"talks\",\"prompt\":[[5],\"a\"],\"max_tokens\":2," HOW "}"); // as ids, all of them
    json_t *end = http_ask_json(port, "POST", "/v2/models/talks/generate", "{\"text_input\":\"a\",\"timeout\":1," HOW "}", 504);
    json_decref(end);
    serve_stop(&server);
    json_t *all = trace_read("ids.json");
    trace_expect_tensor(all, 1, 0, TRACE_IN, "input_ids", "2,3", "INT32"), assert_string_equal(trace_data(all, 1, 0), "5,9,3,7,8,-1");
    trace_expect_tensor(all, 1, 1, TRACE_OUT, "output_ids", "4,6", "INT32");
    trace_expect_tensor(all, 1, 2, TRACE_OUT, "text_output", "4", "BYTES");
    trace_expect_tensor(all, 2, 0, TRACE_IN, "text_input", "2", "BYTES"), assert_string_equal(trace_data(all, 2, 0), "\"a\",\"h\"");
    trace_expect_tensor(all, 3, 0, TRACE_IN, "input_ids", "2,1", "INT32");
    trace_expect_tensor(all, 4, 0, TRACE_IN, "text_input", "1", "BYTES");
    assert_null(trace_part(all, 4, "tensor", 1)); // nothing came of it
    int drawn[24];
    const char *at = trace_data(all, 1, 1);
    for (int i = 0; i < 24; i++, at++)
        drawn[i] = (int)strtol(at, (char **)(uintptr_t)&at, 10);
    assert_memory_equal(drawn, drawn + 6, 6 * sizeof *drawn); // greedy: both texts of a prompt
    char body[256], rest[64];
    snprintf(body, sizeof body, "{\"model\":\"talks\",\"prompt\":[5,9,3,%d,%d],\"max_tokens\":4," HOW "}", drawn[0], drawn[1]);
    snprintf(rest, sizeof rest, "%d,%d,%d,%d", drawn[2], drawn[3], drawn[4], drawn[5]);
    json_decref(all);
    start("ids2.json", 1, 0);
    ask("/v1/completions", body);
    serve_stop(&server);
    all = trace_read("ids2.json");
    assert_string_equal(trace_data(all, 1, 1), rest);
    json_decref(all);
}

// A request that fails keeps what went in, and has its room back.
static void test_given_up(void **state)
{
    (void)state;
    hs_tracer *t;
    static char file[256];
    snprintf(file, sizeof file, "%s", scratch_path("given_up.json"));
    OK(hs_tracer_new(&t, &(hs_tracer_opts){ .file = file, .settings.of = { HS_TRACE_TENSORS, 1, -1, 0 } }));
    hs_traced *r = hs_tracer_sample(t, "m", 1);
    const int64_t big = HS_TRACER_BYTES / 4 - 1024, two = 2;
    for (int i = 0; i < 3; i++) { // each time as if it were the first
        assert_non_null(hs_traced_numbers(r, HS_TRACE_OUTPUT, "big", HS_OIP_FP32, 1, &big));
        assert_non_null(hs_traced_numbers(r, HS_TRACE_INPUT, "in", HS_OIP_INT8, 1, &two));
        hs_traced_no_outputs(r);
    }
    int64_t *last = hs_traced_numbers(r, HS_TRACE_OUTPUT, "out", HS_OIP_INT64, 1, &two);
    last[1] = 7;
    hs_traced_end(r);
    hs_tracer_free(t);
    json_t *all = trace_read("given_up.json");
    for (int i = 0; i < 3; i++)
        trace_expect_tensor(all, 1, i, TRACE_IN, "in", "2", "INT8"), assert_string_equal(trace_data(all, 1, i), "0,0");
    trace_expect_tensor(all, 1, 3, TRACE_OUT, "out", "2", "INT64"), assert_string_equal(trace_data(all, 1, 3), "0,7");
    assert_int_equal(trace_count(all, "tensor"), 4);
    json_decref(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_tensors),     cmocka_unit_test(test_ensemble),
                                        cmocka_unit_test(test_texts),       cmocka_unit_test(test_as_infer),
                                        cmocka_unit_test(test_asked_again), cmocka_unit_test(test_vectors_of_ids),
                                        cmocka_unit_test(test_masks),       cmocka_unit_test(test_text_routes),
                                        cmocka_unit_test(test_ids),         cmocka_unit_test(test_given_up) };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}
