// server: traces of requests - settings that stand behind one another, whose turn it is, what stands in the files, and that no request is
// lost by any of it.
#include "core/base/log.h"
#include "infer/server/ensemble.h"
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_trace.h"

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
    json_t *first = trace_read("rate.json.0"), *second = trace_read("rate.json.1"), *other = first;
    if (trace_count(first, "model_name") == 3) // which was written to first is nobody's promise
        first = second, second = other;
    assert_int_equal(trace_count(first, "model_name"), 2);
    assert_int_equal(trace_count(second, "model_name"), 3);
    for (int i = 1; i <= 5; i++)
        trace_expect_points(i < 3 ? first : second, i, trace_whole, HS_COUNT(trace_whole));
    assert_null(trace_part(first, 0, "tensor", 0));
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
        json_t *v = trace_read(name);
        assert_int_equal(trace_count(v, "model_name"), n[i]);
        for (int k = 0; k < n[i]; k++)
            ids |= 1U << json_number_in(trace_part(v, 0, "model_name", k), "id"); // in the order in which their answers were out
        json_decref(v);
    }
    assert_int_equal(ids, 0x3e);
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
    json_t *v = trace_read("odd.json.2");
    assert_int_equal(trace_count(v, "model_name"), 1);
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
    json_t *all = trace_read("bounded.json");
    assert_int_equal(trace_count(all, "model_name"), 3);
    assert_int_equal(trace_count(all, "tensor"), 1); // half of the room, and as much again does not go beside the traces
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
        json_t *v = trace_read(i ? "most.json.1" : "most.json.0");
        assert_int_equal(trace_count(v, "model_name"), 1);
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
    json_t *all = trace_read("bytes.json");
    assert_string_equal(trace_data(all, 1, 0), "\"\xEF\xBF\xBD\xEF\xBF\xBD\",7");
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
    json_t *all = trace_read("types.json");
    for (int i = 0; i < HS_COUNT(is); i++)
        assert_string_equal(trace_data(all, 1, i), is[i].text);
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
    json_t *all = trace_read("crowd.json");
    assert_true(trace_count(all, "model_name") >= 1);
    json_decref(all);
    char name[64];
    for (int i = 0;; i++) { // each of them is whole
        snprintf(name, sizeof name, "crowd.json.%d", i);
        if (access(scratch_path(name), F_OK) != 0) {
            assert_true(i > 0);
            break;
        }
        json_t *v = trace_read(name);
        assert_true(trace_count(v, "model_name") >= 1);
        json_decref(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),       cmocka_unit_test(test_refused),      cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_rate_and_count), cmocka_unit_test(test_rate_of_each), cmocka_unit_test(test_log_frequency),
        cmocka_unit_test(test_full_disk),      cmocka_unit_test(test_bounded),      cmocka_unit_test(test_no_text),
        cmocka_unit_test(test_every_type),     cmocka_unit_test(test_no_files),     cmocka_unit_test(test_most_bytes),
        cmocka_unit_test(test_crowd),
    };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}
