// server: the tensors of traces - whichever route asks, and by whichever model's steps, what went in and what came out stands in the file.
#include "infer/server/ensemble.h"
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = { "one", "bert-sequence", "talks" };
static const hs_ensemble_step steps[] = { { "both", "bert-sequence", "text=TEXT", "logits=TOPIC" },
                                          { "both", "one", "text=TEXT", "sentence_embedding=VECTOR" } };
static hs_server server;
static int port;

static hs_tracer_opts asked;
static void change(hs_server_opts *o)
{
    o->served.step = steps, o->served.n_steps = HS_COUNT(steps);
    o->http.threads = 2;
    o->trace = asked;
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
    serve_folder("talks", "gpt2-lm");
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
    trace_expect_tensor(all, 2, 1, TRACE_OUT, "text_output", "1", "BYTES"), assert_string_equal(trace_data(all, 2, 1), quoted);
    json_decref(all), json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_tensors), cmocka_unit_test(test_ensemble), cmocka_unit_test(test_texts) };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}
