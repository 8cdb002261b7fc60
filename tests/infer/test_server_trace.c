// server: traces of requests - settings that stand behind one another, whose turn it is, what stands in the files, and that no request is
// lost by any of it.
#include "core/base/log.h"
#include "infer/server/ensemble.h"
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_oip.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const names[] = { "one", "bert-sequence", "talks" };
static const hs_ensemble_step steps[] = { { "both", "bert-sequence", "text=TEXT", "logits=TOPIC" },
                                          { "both", "one", "text=TEXT", "sentence_embedding=VECTOR" } };
static hs_server server;
static int port;

static char file[256];
static hs_tracer_opts asked;
static int64_t most_bytes; // of a test; 0: as ever

static void change(hs_server_opts *o)
{
    o->served.step = steps, o->served.n_steps = HS_COUNT(steps);
    o->http.threads = 2;
    o->trace = asked;
}

static void start(const char *name, int64_t level, int64_t rate, int64_t count, int64_t frequency)
{
    snprintf(file, sizeof file, "%s", name[0] == '/' ? name : scratch_path(name));
    asked = (hs_tracer_opts){ .file = file, .settings.of = { level, rate, count, frequency }, .most = most_bytes };
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

// ---- what stands in a file, once the server is over

static json_t *traces(const char *name)
{
    size_t bytes;
    json_error_t e;
    char *text = scratch_read(name, &bytes);
    json_t *v = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_array(v))
        fail_msg("%s: %s at %d:%d", name, e.text, e.line, e.column);
    free(text);
    return v;
}

// i-th object with that member, of the trace id (0: of any).
static json_t *part(const json_t *all, int64_t id, const char *member, int i)
{
    size_t k;
    json_t *v;
    json_array_foreach(all, k, v) if (json_object_get(v, member) && (!id || json_number_in(v, "id") == id) && i-- == 0) return v;
    return NULL;
}
static int count(const json_t *all, const char *member)
{
    int n = 0;
    while (part(all, 0, member, n))
        n++;
    return n;
}

static const char *const whole[] = { "HTTP_RECV_START", "HTTP_RECV_END",     "REQUEST_START",        "QUEUE_START",
                                     "COMPUTE_START",   "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END",
                                     "REQUEST_END",     "HTTP_SEND_START",   "HTTP_SEND_END" };

// Those and no others, and none before the one in front of it.
static void expect_points(const json_t *all, int64_t id, const char *const *name, int n)
{
    json_t *list = json_object_get(part(all, id, "timestamps", 0), "timestamps");
    int64_t last = 1;
    for (int i = 0; i < n; i++) {
        json_t *p = json_array_get(list, (size_t)i);
        assert_string_equal(json_text_in(p, "name"), name[i]);
        if (json_number_in(p, "ns") < last)
            fail_msg("%s is before what was before it", name[i]);
        last = json_number_in(p, "ns");
    }
    assert_int_equal(json_array_size(list), n);
}

static void ask(const char *text)
{
    char body[256];
    snprintf(body, sizeof body, "{\"inputs\": \"%s\"}", text);
    http_expect(port, "POST", "/models/one/embed", body, 200, "[[");
}

// ---- settings

static void expect_settings(const char *model, const char *level, const char *rate, const char *most, const char *frequency)
{
    char path[128];
    snprintf(path, sizeof path, model ? "/v2/models/%s/trace/setting" : "/v2/trace/setting", model);
    json_t *v = http_ask_json(port, "GET", path, NULL, 200), *levels = json_object_get(v, "trace_level");
    char *text = json_dumps(levels, JSON_COMPACT);
    assert_string_equal(text, level);
    assert_string_equal(json_text_in(v, "trace_rate"), rate);
    assert_string_equal(json_text_in(v, "trace_count"), most);
    assert_string_equal(json_text_in(v, "log_frequency"), frequency);
    assert_string_equal(json_text_in(v, "trace_file"), file);
    assert_int_equal(json_object_size(v), 6);
    free(text);
    json_decref(v);
}
#define ALL "/v2/trace/setting"
#define ONE "/v2/models/one/trace/setting"
static void set(const char *path, const char *body) { json_decref(http_ask_json(port, "POST", path, body, 200)); }

static void test_settings(void **state)
{
    (void)state;
    start("settings.json", 0, 1000, -1, 0);
    http_expect(port, "GET", "/v2", NULL, 200, "\"trace\"");
    expect_settings(NULL, "[\"OFF\"]", "1000", "-1", "0");
    expect_settings("one", "[\"OFF\"]", "1000", "-1", "0");
    // what a change answers is what there is then
    http_expect(port, "POST", ALL, "{\"trace_level\":[\"TIMESTAMPS\"],\"trace_rate\":\"7\"}", 200, "\"trace_rate\":\"7\"");
    expect_settings("one", "[\"TIMESTAMPS\"]", "7", "-1", "0");
    // a model's own stay, the others follow
    set(ONE, "{\"trace_level\":[\"TENSORS\",\"TIMESTAMPS\"],\"trace_count\":5,\"log_frequency\":\"2\"}");
    expect_settings("one", "[\"TIMESTAMPS\",\"TENSORS\"]", "7", "5", "2");
    expect_settings(NULL, "[\"TIMESTAMPS\"]", "7", "-1", "0");
    set(ALL, "{\"trace_rate\":11,\"trace_count\":\"9\"}");
    expect_settings("one", "[\"TIMESTAMPS\",\"TENSORS\"]", "11", "5", "2");
    expect_settings("talks", "[\"TIMESTAMPS\"]", "11", "9", "0");
    // null: back to what stands behind it
    set(ONE, "{\"trace_level\":null,\"trace_count\":null}");
    expect_settings("one", "[\"TIMESTAMPS\"]", "11", "9", "2");
    set(ALL, "{\"trace_level\":null,\"trace_rate\":null,\"trace_count\":null}");
    expect_settings(NULL, "[\"OFF\"]", "1000", "-1", "0");
    expect_settings("one", "[\"OFF\"]", "1000", "-1", "2");
    set(ONE, "{\"log_frequency\":null}");
    set(ALL, "{\"log_frequency\":3}");
    expect_settings("one", "[\"OFF\"]", "1000", "-1", "3");
    set("/v2/models/one/versions/1/trace/setting", "{}"); // nothing
    expect_settings("one", "[\"OFF\"]", "1000", "-1", "3");
    serve_stop(&server);
    assert_int_not_equal(access(file, F_OK), 0); // nothing was traced
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *body, *says[3];
    } bad[] = {
        { "{\"trace_rate\":\"0\"}", { "trace_rate is 0", "1 to 4294967295" } },
        { "{\"trace_rate\":\"4294967296\"}", { "trace_rate is 4294967296" } },
        { "{\"trace_rate\":\"99999999999999999999\"}", { "trace_rate is 99999" } },
        { "{\"trace_rate\":\"1x\"}", { "1x", "whole number" } },
        { "{\"trace_rate\":\"\"}", { "whole number" } },
        { "{\"trace_rate\":1.5}", { "trace_rate is 1.5" } },
        { "{\"trace_rate\":true}", { "trace_rate is true" } },
        { "{\"trace_count\":-2}", { "trace_count is -2", "-1 to 2147483647" } },
        { "{\"log_frequency\":\"-1\"}", { "log_frequency is -1", "0 to 4294967295" } },
        { "{\"trace_level\":\"MAX\"}", { "trace_level is \"MAX\"", "TENSORS" } },
        { "{\"trace_level\":[]}", { "trace_level is []" } },
        { "{\"trace_level\":3}", { "trace_level is 3" } },
        { "{\"trace_level\":[1]}", { "trace_level is [1]" } },
        { "{\"trace_level\":[\"OFF\",\"TENSORS\"]}", { "[\"OFF\",\"TENSORS\"]" } },
        { "{\"trace_level\":[\"TENSORS\",\"OFF\"]}", { "[\"TENSORS\",\"OFF\"]" } },
        { "{\"trace_file\":\"/tmp/x\"}", { "trace_file is not set by clients", "--trace-file" } },
        { "{\"trace_file\":null}", { "trace_file is not set by clients" } },
        { "{\"trace_rat\":1}", { "'trace_rat'", "did you mean 'trace_rate'?" } },
        { "{\"colour\":1}", { "'colour'" } },
        { "[]", { "object" } },
        { "", { "empty" } },
    };
    start("refused.json", 0, 5, -1, 0);
    for (int i = 0; i < HS_COUNT(bad); i++)
        for (int k = 0; k < 2; k++)
            for (int j = 0; bad[i].says[j]; j++)
                json_decref(http_refused(port, k ? ONE : ALL, bad[i].body, 400, bad[i].says[j]));
    // one of them is wrong: none is taken
    json_decref(http_refused(port, ALL, "{\"trace_level\":[\"TENSORS\"],\"trace_rate\":9,\"trace_count\":-7}", 400, "trace_count is -7"));
    expect_settings(NULL, "[\"OFF\"]", "5", "-1", "0");
    http_expect(port, "GET", "/v2/models/nobody/trace/setting", NULL, 404, "'nobody'");
    http_expect(port, "POST", "/v2/models/nobody/trace/setting", "{\"trace_rate\":1}", 404, "'nobody'");
    http_expect(port, "GET", "/v2/models/one/versions/4/trace/setting", NULL, 404, "version 4");
    http_expect(port, "DELETE", ALL, NULL, 405, "GET, POST");
    const char *const body = "{\"trace_level\":[\"TENSORS\"]}"; // a page of somebody else
    http_reply r = http_ask(port, "POST", ALL, "Origin: http://elsewhere\r\n", body, strlen(body));
    assert_int_equal(r.status, 403);
    http_reply_free(&r);
    serve_stop(&server);
}

static void test_no_file(void **state)
{
    (void)state;
    hs_tracer *t;
    hs_tracer_opts o = { .settings.of = { HS_TRACE_TENSORS, 1, -1, 0 } };
    assert_int_equal(hs_tracer_new(&t, &o), HS_USAGE);
    assert_null(t);
    o = (hs_tracer_opts){ .file = scratch_path("no/where.json"), .settings.of = { 0, 1, -1, 0 } };
    assert_int_equal(hs_tracer_new(&t, &o), HS_USAGE);
    assert_non_null(strstr(hs_error(), "No such"));
    o.file = scratch_path("one");
    assert_int_equal(hs_tracer_new(&t, &o), HS_USAGE);
    assert_non_null(strstr(hs_error(), "is no file"));
    asked = (hs_tracer_opts){ .settings.of = { 0, 1, -1, 0 } };
    serve_start(&server, names, HS_COUNT(names), change);
    port = hs_http_port(server.http);
    file[0] = 0;
    json_decref(http_refused(port, ALL, "{\"trace_level\":[\"TIMESTAMPS\"]}", 400, "--trace-file"));
    json_decref(http_refused(port, ONE, "{\"trace_level\":[\"TIMESTAMPS\"]}", 400, "--trace-file"));
    set(ALL, "{\"trace_level\":[\"OFF\"],\"trace_rate\":\"3\"}");
    ask("a");
    expect_settings(NULL, "[\"OFF\"]", "3", "-1", "0");
    serve_stop(&server);
}

// ---- whose turn it is

static void test_rate_and_count(void **state)
{
    (void)state;
    start("rate.json", HS_TRACE_TIMESTAMPS, 3, 2, 0);
    for (int i = 0; i < 5; i++)
        ask("a b");
    expect_settings(NULL, "[\"TIMESTAMPS\"]", "3", "1", "0"); // the third, and the sixth is still to come
    for (int i = 0; i < 10; i++)
        ask("a b");
    expect_settings(NULL, "[\"TIMESTAMPS\"]", "3", "0", "0");
    set(ONE, "{\"trace_rate\":1,\"trace_count\":3}"); // of this model alone, and from new
    for (int i = 0; i < 5; i++)
        ask("a b");
    http_expect(port, "POST", "/models/bert-sequence/predict", "{\"inputs\":\"a\"}", 200, "score");
    set(ONE, "{\"trace_level\":[\"OFF\"],\"trace_count\":3}");
    ask("a b");
    serve_stop(&server);
    json_t *first = traces("rate.json.0"), *second = traces("rate.json.1"), *other = first;
    if (count(first, "model_name") == 3) // which was written to first is nobody's promise
        first = second, second = other;
    assert_int_equal(count(first, "model_name"), 2);
    assert_int_equal(count(second, "model_name"), 3);
    for (int i = 1; i <= 5; i++)
        expect_points(i < 3 ? first : second, i, whole, HS_COUNT(whole));
    assert_null(part(first, 0, "tensor", 0));
    assert_int_not_equal(access(scratch_path("rate.json"), F_OK), 0);
    assert_int_not_equal(access(scratch_path("rate.json.2"), F_OK), 0);
    json_decref(first), json_decref(second);
}

// A request is one, whichever way it takes.
static void test_rate_of_each(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body;
    } ask_of[] = {
        { "/v2/models/one/infer", "{\"inputs\":[{\"name\":\"text\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"a\"]}]}" },
        { "/v2/models/one/infer", "{\"inputs\":[{\"name\":\"input_ids\",\"shape\":[1,2],\"datatype\":\"INT32\",\"data\":[5,6]}]}" },
        { "/v2/models/bert-sequence/infer", "{\"inputs\":[{\"name\":\"text\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"a\"]}]}" },
        { "/v2/models/both/infer", "{\"inputs\":[{\"name\":\"TEXT\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"a\"]}]}" },
        { "/v2/models/talks/infer", "{\"inputs\":[{\"name\":\"text_input\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"a\"]}],"
                                    "\"parameters\":{\"max_tokens\":2}}" },
        { "/v2/models/talks/generate", "{\"text_input\":\"a\",\"max_tokens\":2}" },
        { "/v1/completions", "{\"model\":\"talks\",\"prompt\":\"a\",\"max_tokens\":2}" },
        { "/v1/embeddings", "{\"model\":\"one\",\"input\":\"a\"}" },
        { "/models/one/embed", "{\"inputs\":\"a\"}" },
        { "/models/bert-sequence/predict", "{\"inputs\":\"a\"}" },
    };
    start("each.json", 0, 1, -1, 0);
    for (int i = 0; i < HS_COUNT(ask_of); i++) {
        set(ALL, "{\"trace_level\":[\"TIMESTAMPS\"],\"trace_rate\":2,\"trace_count\":9}");
        for (int k = 0; k < 5; k++)
            json_decref(http_ask_json(port, "POST", ask_of[i].path, ask_of[i].body, 200));
        expect_settings(NULL, "[\"TIMESTAMPS\"]", "2", "7", "0"); // the second and the fourth
    }
    serve_stop(&server);
}

static void test_log_frequency(void **state)
{
    (void)state;
    static const int n[] = { 2, 2, 1 };
    scratch_write("often.json.0", "what was there before", 21);
    start("often.json", HS_TRACE_TIMESTAMPS, 1, -1, 2);
    for (int i = 0; i < 5; i++)
        ask("h");
    serve_stop(&server);
    unsigned ids = 0;
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "often.json.%d", i);
        json_t *v = traces(name);
        assert_int_equal(count(v, "model_name"), n[i]);
        for (int k = 0; k < n[i]; k++)
            ids |= 1U << json_number_in(part(v, 0, "model_name", k), "id"); // in the order in which their answers were out
        json_decref(v);
    }
    assert_int_equal(ids, 0x3e);
}

// ---- what is written

// A tensor's data, as they stand in an answer of JSON, in one line.
static char *flat(json_t *data)
{
    char *all = json_dumps(data, JSON_COMPACT), *line = strdup(all + 1);
    line[strlen(line) - 1] = 0;
    free(all);
    return line;
}

static void expect_tensor(const json_t *all, int64_t id, int i, const char *activity, const char *name, const char *shape, const char *type)
{
    json_t *v = part(all, id, "tensor", i);
    assert_string_equal(json_text_in(v, "activity"), activity);
    assert_string_equal(json_text_in(v, "tensor/name"), name);
    assert_string_equal(json_text_in(v, "tensor/shape"), shape);
    assert_string_equal(json_text_in(v, "tensor/dtype"), type);
}
static const char *data(const json_t *all, int64_t id, int i) { return json_text_in(part(all, id, "tensor", i), "tensor/data"); }

#define IN  "TENSOR_QUEUE_INPUT"
#define OUT "TENSOR_BACKEND_OUTPUT"

static void test_tensors(void **state)
{
    (void)state;
    start("tensors.json", HS_TRACE_TIMESTAMPS | HS_TRACE_TENSORS, 1, -1, 0);
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
    json_t *all = traces("tensors.json");
    assert_int_equal(count(all, "model_name"), 4);
    json_t *about = part(all, 1, "model_name", 0);
    assert_string_equal(json_text_in(about, "model_name"), "one");
    assert_int_equal(json_number_in(about, "model_version"), 1);
    assert_string_equal(json_text_in(about, "request_id"), "se\"ven");
    assert_null(json_object_get(about, "parent_id"));
    expect_points(all, 1, whole, HS_COUNT(whole));
    expect_tensor(all, 1, 0, IN, "input_ids", "2,2", "INT32"), assert_string_equal(data(all, 1, 0), "5,6,7,8");
    expect_tensor(all, 1, 1, IN, "attention_mask", "2,2", "BOOL"), assert_string_equal(data(all, 1, 1), "1,1,1,0");
    expect_tensor(all, 1, 2, OUT, "sentence_embedding", "2,32", "FP32");
    const char *at = data(all, 1, 2), *want = vector; // the same numbers, in other digits
    for (int i = 0; i < 64; i++) {
        char *end, *end_want;
        assert_true(strtof(at, &end) == strtof(want, &end_want));
        assert_true(i == 63 ? *end == 0 : *end == ',');
        at = end + 1, want = end_want + 1;
    }
    assert_null(part(all, 1, "tensor", 3));
    assert_string_equal(json_text_in(part(all, 2, "model_name", 0), "request_id"), "by header");
    expect_tensor(all, 2, 0, IN, "input_ids", "1,2", "FP64"), assert_string_equal(data(all, 2, 0), "5,6");
    assert_null(json_object_get(part(all, 3, "model_name", 0), "request_id"));
    expect_tensor(all, 3, 0, IN, "text", "2", "BYTES"), assert_string_equal(data(all, 3, 0), "\"a\",\"say \"b\"\"");
    expect_tensor(all, 3, 1, OUT, "logits", "2,3", "FP32");
    static const char *const refused[] = { "HTTP_RECV_START", "HTTP_RECV_END",   "REQUEST_START",
                                           "REQUEST_END",     "HTTP_SEND_START", "HTTP_SEND_END" };
    expect_points(all, 4, refused, HS_COUNT(refused));
    assert_null(part(all, 4, "tensor", 0));
    json_decref(all);
    free(vector);
}

static void test_ensemble(void **state)
{
    (void)state;
    start("ensemble.json", HS_TRACE_TIMESTAMPS | HS_TRACE_TENSORS, 2, -1, 1);
    for (int i = 0; i < 2; i++)
        json_decref(http_ask_json(port, "POST", "/v2/models/both/infer",
                                  "{\"id\":\"x\",\"inputs\":[{\"name\":\"TEXT\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"cab\"]}]}",
                                  200));
    serve_stop(&server);
    json_t *all = traces("ensemble.json.0"); // steps are no requests of their own
    assert_int_equal(count(all, "model_name"), 3);
    static const char *const mine[] = { "HTTP_RECV_START", "HTTP_RECV_END",   "REQUEST_START",
                                        "REQUEST_END",     "HTTP_SEND_START", "HTTP_SEND_END" };
    const int64_t id = json_number_in(part(all, 0, "model_name", 0), "id");
    assert_string_equal(json_text_in(part(all, id, "model_name", 0), "model_name"), "both");
    expect_points(all, id, mine, HS_COUNT(mine));
    expect_tensor(all, id, 0, IN, "TEXT", "1", "BYTES");
    expect_tensor(all, id, 1, OUT, "TOPIC", "1,3", "FP32");
    for (int i = 1; i < 3; i++) {
        json_t *step = part(all, 0, "model_name", i);
        const int64_t own = json_number_in(step, "id");
        const bool topic = strcmp(json_text_in(step, "model_name"), "bert-sequence") == 0;
        assert_int_equal(json_number_in(step, "parent_id"), id);
        expect_points(all, own, whole + 2, 7);
        expect_tensor(all, own, 0, IN, "text", "1", "BYTES"), assert_string_equal(data(all, own, 0), "\"cab\"");
        expect_tensor(all, own, 1, OUT, topic ? "logits" : "sentence_embedding", topic ? "1,3" : "1,32", "FP32");
        assert_string_equal(data(all, own, 1), data(all, id, topic ? 1 : 2));
    }
    json_decref(all);
}

static void test_texts(void **state)
{
    (void)state;
    start("texts.json", HS_TRACE_TIMESTAMPS | HS_TRACE_TENSORS, 1, -1, 0);
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
    json_t *all = traces("texts.json");
    static const char *const points[] = { "HTTP_RECV_START", "HTTP_RECV_END",     "REQUEST_START",   "QUEUE_START",
                                          "COMPUTE_START",   "COMPUTE_INPUT_END", "FIRST_TOKEN",     "COMPUTE_OUTPUT_START",
                                          "COMPUTE_END",     "REQUEST_END",       "HTTP_SEND_START", "HTTP_SEND_END" };
    assert_int_equal(count(all, "model_name"), 4);
    assert_string_equal(json_text_in(part(all, 1, "model_name", 0), "request_id"), "g");
    expect_points(all, 1, points, HS_COUNT(points));
    expect_points(all, 2, points, HS_COUNT(points));
    expect_points(all, 4, points, HS_COUNT(points));
    assert_int_equal(json_array_size(json_object_get(part(all, 3, "timestamps", 0), "timestamps")),
                     HS_COUNT(points)); // it is sent as it is made
    expect_tensor(all, 2, 0, IN, "text_input", "1", "BYTES"), assert_string_equal(data(all, 2, 0), "\"a b\"");
    char quoted[256];
    snprintf(quoted, sizeof quoted, "\"%s\"", json_text_in(v, "outputs/0/data/0"));
    expect_tensor(all, 2, 1, OUT, "text_output", "1", "BYTES"), assert_string_equal(data(all, 2, 1), quoted);
    json_decref(all), json_decref(v);
}

// ---- no request is lost

static atomic_int warned;
static void on_line(hs_log_level level, const char *line, void *user)
{
    (void)user;
    if (level == HS_LOG_WARN && strstr(line, "trace"))
        atomic_fetch_add(&warned, 1);
}

static void test_full_disk(void **state)
{
    (void)state;
    atomic_store(&warned, 0);
    hs_log_set(HS_LOG_WARN, on_line, NULL);
    start("/dev/full", HS_TRACE_TIMESTAMPS, 1, -1, 0);
    for (int i = 0; i < 4; i++)
        ask("a b");
    serve_stop(&server);
    hs_log_set(HS_LOG_WARN, NULL, NULL);
    assert_int_equal(atomic_load(&warned), 1);
}

// What stands where a file will be and is none is not waited for, and what a link leads to is not written over.
static void test_no_files(void **state)
{
    (void)state;
    char to[256];
    atomic_store(&warned, 0);
    hs_log_set(HS_LOG_WARN, on_line, NULL);
    assert_int_equal(mkfifo(scratch_path("odd.json.0"), 0600), 0);
    scratch_write("mine", "mine", 4);
    snprintf(to, sizeof to, "%s", scratch_path("mine"));
    assert_int_equal(symlink(to, scratch_path("odd.json.1")), 0);
    start("odd.json", HS_TRACE_TIMESTAMPS, 1, -1, 1);
    for (int i = 0; i < 3; i++)
        ask("a b");
    serve_stop(&server);
    size_t bytes;
    char *text = scratch_read("mine", &bytes);
    assert_int_equal(bytes, 4);
    assert_memory_equal(text, "mine", 4);
    free(text);
    json_t *v = traces("odd.json.2");
    assert_int_equal(count(v, "model_name"), 1);
    json_decref(v);
    start("late.json", HS_TRACE_TIMESTAMPS, 1, -1, 0);
    assert_int_equal(mkfifo(file, 0600), 0);
    ask("a b");
    serve_stop(&server);
    hs_log_set(HS_LOG_WARN, NULL, NULL);
    assert_int_equal(atomic_load(&warned), 2); // one of each server
}

// More than may wait: the largest are left out, and the others are written.
static void test_bounded(void **state)
{
    (void)state;
    enum { N = HS_TRACER_BYTES / 4 };
    hs_tracer *t;
    hs_traced *r[3];
    float *big = calloc(N / 2, sizeof *big);
    snprintf(file, sizeof file, "%s", scratch_path("bounded.json"));
    atomic_store(&warned, 0);
    hs_log_set(HS_LOG_WARN, on_line, NULL);
    OK(hs_tracer_new(&t, &(hs_tracer_opts){ .file = file, .settings.of = { HS_TRACE_TENSORS, 1, -1, 0 } }));
    for (int i = 0; i < 3; i++) {
        r[i] = hs_tracer_sample(t, "m", 2);
        assert_non_null(r[i]);
        hs_traced_outputs(r[i], &(hs_infer_value){ .name = "x", .n_dims = 1, .dim = { N / 2 }, .value = big }, 1);
    }
    for (int i = 0; i < 3; i++)
        hs_traced_end(r[i]);
    hs_tracer_free(t);
    hs_log_set(HS_LOG_WARN, NULL, NULL);
    json_t *all = traces("bounded.json");
    assert_int_equal(count(all, "model_name"), 3);
    assert_int_equal(count(all, "tensor"), 1); // half of the room, and as much again does not go beside the traces
    assert_int_equal(atomic_load(&warned), 1);
    json_decref(all);
    free(big);
}

// Files have what they may: nothing is traced any more, whatever is set.
static void test_most_bytes(void **state)
{
    (void)state;
    atomic_store(&warned, 0);
    hs_log_set(HS_LOG_WARN, on_line, NULL);
    most_bytes = 3 * HS_TRACER_FILE; // two files with a trace, and no third
    start("most.json", HS_TRACE_TIMESTAMPS, 1, -1, 1);
    most_bytes = 0;
    for (int i = 0; i < 5; i++)
        ask("a b");
    while (atomic_load(&warned) == 0)
        usleep(500);
    expect_settings(NULL, "[\"TIMESTAMPS\"]", "1", "-1", "1");
    set(ALL, "{\"trace_level\":[\"TIMESTAMPS\"],\"log_frequency\":0}");
    expect_settings(NULL, "[\"TIMESTAMPS\"]", "1", "-1", "0");
    ask("a b");
    serve_stop(&server);
    hs_log_set(HS_LOG_WARN, NULL, NULL);
    assert_int_equal(atomic_load(&warned), 1);
    for (int i = 0; i < 2; i++) {
        json_t *v = traces(i ? "most.json.1" : "most.json.0");
        assert_int_equal(count(v, "model_name"), 1);
        json_decref(v);
    }
    assert_int_not_equal(access(scratch_path("most.json.2"), F_OK), 0);
    assert_int_not_equal(access(file, F_OK), 0);
}

// Bytes that are no text, in place of numbers.
static void test_no_text(void **state)
{
    (void)state;
    hs_tracer *t;
    snprintf(file, sizeof file, "%s", scratch_path("bytes.json"));
    OK(hs_tracer_new(&t, &(hs_tracer_opts){ .file = file, .settings.of = { HS_TRACE_TENSORS, 1, -1, 0 } }));
    hs_traced *r = hs_tracer_sample(t, "m", 1);
    const char *const sent = "[\"\xff\xfe\", 7]";
    hs_traced_inputs(
        r, &(hs_infer_tensor){ .name = "x", .type = HS_OIP_INT64, .n_dims = 1, .dim = { 2 }, .n = 2, .data = sent, .bytes = strlen(sent) },
        1);
    hs_traced_end(r);
    hs_tracer_free(t);
    json_t *all = traces("bytes.json");
    assert_string_equal(data(all, 1, 0), "\"\xEF\xBF\xBD\xEF\xBF\xBD\",7");
    json_decref(all);
}

// Raw numbers of each type, as text and as the whole numbers that ids and masks are.
static void test_every_type(void **state)
{
    (void)state;
    static const struct {
        hs_oip_type type;
        uint64_t bits[2];
        const char *text;
        long long whole[2]; // -999: it is none
    } is[] = {
        { HS_OIP_BOOL, { 0, 7 }, "0,1", { 0, 1 } },
        { HS_OIP_UINT8, { 0, 0xff }, "0,255", { 0, 255 } },
        { HS_OIP_UINT16, { 1, 0xffff }, "1,65535", { 1, 65535 } },
        { HS_OIP_UINT32, { 1, 0xffffffff }, "1,4294967295", { 1, -999 } },
        { HS_OIP_UINT64, { 1, UINT64_MAX }, "1,18446744073709551615", { 1, -999 } },
        { HS_OIP_INT8, { 0x7f, 0x80 }, "127,-128", { 127, -128 } },
        { HS_OIP_INT16, { 0x7fff, 0x8000 }, "32767,-32768", { 32767, -32768 } },
        { HS_OIP_INT32, { 0x7fffffff, 0x80000000 }, "2147483647,-2147483648", { INT32_MAX, INT32_MIN } },
        { HS_OIP_INT64, { INT64_MAX, (uint64_t)1 << 63 }, "9223372036854775807,-9223372036854775808", { -999, -999 } },
        { HS_OIP_FP16, { 0xc500, 0x3800 }, "-5,0.5", { -5, -999 } },
        { HS_OIP_BF16, { 0xc0a0, 0x3f00 }, "-5,0.5", { -5, -999 } },
        { HS_OIP_FP32, { 0x40a00000, 0x3dcccccd }, "5,0.100000001", { 5, -999 } },
        { HS_OIP_FP64, { 0x4014000000000000, 0x3fb999999999999a }, "5,0.10000000000000001", { 5, -999 } },
    };
    hs_tracer *t;
    snprintf(file, sizeof file, "%s", scratch_path("types.json"));
    OK(hs_tracer_new(&t, &(hs_tracer_opts){ .file = file, .settings.of = { HS_TRACE_TENSORS, 1, -1, 0 } }));
    hs_traced *r = hs_tracer_sample(t, "m", 1);
    for (int i = 0; i < HS_COUNT(is); i++) {
        char raw[16];
        const size_t bytes = (size_t)hs_oip_type_bytes[is[i].type];
        for (size_t k = 0; k < 2; k++)
            memcpy(raw + k * bytes, &is[i].bits[k], bytes);
        hs_infer_tensor x = {
            .name = "x", .type = is[i].type, .n_dims = 1, .dim = { 2 }, .n = 2, .raw = true, .data = raw, .bytes = 2 * bytes
        };
        hs_traced_inputs(r, &x, 1);
        x.n = 1;
        for (int k = 0; k < 2; k++, x.data += bytes) {
            int32_t whole = -999;
            const hs_status st = hs_infer_whole(&x, INT32_MIN, INT32_MAX, &whole);
            assert_int_equal(st, is[i].whole[k] == -999 ? HS_USAGE : HS_OK);
            assert_int_equal(whole, is[i].whole[k]);
        }
    }
    hs_traced_end(r);
    hs_tracer_free(t);
    json_t *all = traces("types.json");
    for (int i = 0; i < HS_COUNT(is); i++)
        assert_string_equal(data(all, 1, i), is[i].text);
    json_decref(all);
}

enum { CLIENTS = 4, EACH = 40 };
static void *client(void *arg)
{
    const int number = *(int *)arg;
    for (int i = 0; i < EACH; i++) {
        if (number == 0)
            set(i % 2 ? ONE : ALL, i % 4 < 2
                                       ? "{\"trace_rate\":1,\"log_frequency\":3,\"trace_level\":[\"TENSORS\",\"TIMESTAMPS\"]}"
                                       : "{\"trace_rate\":2,\"log_frequency\":null,\"trace_level\":[\"TIMESTAMPS\"],\"trace_count\":5}");
        else if (number == 1) {
            const char *const gone = "POST /v2/models/talks/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 35\r\n\r\n"
                                     "{\"text_input\":\"a\",\"max_tokens\": 300}";
            const int fd = http_connect(port);
            http_send(fd, gone, strlen(gone));
            close(fd);
        } else
            http_expect(port, "POST", number == 2 ? "/v2/models/one/infer" : "/v2/models/both/infer",
                        number == 2 ? "{\"inputs\":[{\"name\":\"text\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"a b\"]}]}"
                                    : "{\"inputs\":[{\"name\":\"TEXT\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"a b\"]}]}",
                        200, "outputs");
    }
    return NULL;
}

static void test_crowd(void **state)
{
    (void)state;
    pthread_t thread[CLIENTS];
    int number[CLIENTS];
    start("crowd.json", HS_TRACE_TIMESTAMPS, 1, -1, 0);
    ask("a");
    for (int i = 0; i < CLIENTS; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, client, &number[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(thread[i], NULL);
    serve_stop(&server);
    json_t *all = traces("crowd.json");
    assert_true(count(all, "model_name") >= 1);
    json_decref(all);
    char name[64];
    for (int i = 0;; i++) { // each of them is whole
        snprintf(name, sizeof name, "crowd.json.%d", i);
        if (access(scratch_path(name), F_OK) != 0) {
            assert_true(i > 0);
            break;
        }
        json_t *v = traces(name);
        assert_true(count(v, "model_name") >= 1);
        json_decref(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),       cmocka_unit_test(test_refused),      cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_rate_and_count), cmocka_unit_test(test_rate_of_each), cmocka_unit_test(test_log_frequency),
        cmocka_unit_test(test_tensors),        cmocka_unit_test(test_ensemble),     cmocka_unit_test(test_texts),
        cmocka_unit_test(test_full_disk),      cmocka_unit_test(test_bounded),      cmocka_unit_test(test_no_text),
        cmocka_unit_test(test_every_type),     cmocka_unit_test(test_no_files),     cmocka_unit_test(test_most_bytes),
        cmocka_unit_test(test_crowd),
    };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}
