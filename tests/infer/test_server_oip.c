// server_oip: the Open Inference Protocol - what models say of themselves, tensors in and out against the library, models that come and go,
// what is refused.
#include "../support/support_files.h"
#include "../support/support_http.h"
#include "infer/server/oip_model.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const names[] = { "one", "class", "tags", "span" };

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    serve_folder("class", "heads/bert-sequence");
    serve_folder("tags", "heads/bert-tokens");
    serve_folder("span", "heads/bert-span");
    return 0;
}

static void stop(hs_server *s)
{
    int64_t left;
    hs_server_stop(s, &left);
    assert_int_equal(left, 0);
}

// A path into JSON: members by name, elements by number, "/" between.
static json_t *inside(json_t *v, const char *path)
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
static const char *text_in(json_t *v, const char *path)
{
    const char *s = json_string_value(inside(v, path));
    return s ? s : "?";
}
static int64_t number_in(json_t *v, const char *path)
{
    const json_t *x = inside(v, path);
    return json_is_integer(x) ? json_integer_value(x) : -999;
}

// The JSON of an answer that must have this status.
static json_t *ask(int port, const char *method, const char *path, const char *body, int status)
{
    http_reply r = http_ask(port, method, path, "", body, body ? strlen(body) : 0);
    if (r.status != status)
        fail_msg("%s %s: %d instead of %d: %s", method, path, r.status, status, r.body ? r.body : "");
    json_t *v = r.bytes ? json_loadb(r.body, r.bytes, 0, NULL) : json_null();
    assert_non_null(v);
    http_reply_free(&r);
    return v;
}
static void expect(int port, const char *method, const char *path, const char *body, int status, const char *says)
{
    json_t *v = ask(port, method, path, body, status);
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!strstr(text, says))
        fail_msg("%s %s: '%s' does not say '%s'", method, path, text, says);
    if (status >= 400 && status != 503)
        assert_true(json_is_string(json_object_get(v, "error")));
    free(text);
    json_decref(v);
}

// ---- what they say of themselves

static void test_metadata(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 4, NULL);
    const int port = hs_http_port(s.http);
    expect(port, "GET", "/v2/health/live", NULL, 200, "{\"live\":true}");
    expect(port, "GET", "/v2/health/ready", NULL, 200, "{\"ready\":true}");
    expect(port, "GET", "/v2", NULL, 200, "\"binary_tensor_data\"");
    expect(port, "GET", "/v2/models/one/ready", NULL, 200, "{\"name\":\"one\",\"ready\":true}");
    expect(port, "GET", "/v2/models/one/versions/1/ready", NULL, 200, "true");
    expect(port, "GET", "/v2/models/one/versions/2/ready", NULL, 404, "version 2");
    expect(port, "GET", "/v2/models/one/versions/x/ready", NULL, 404, "'x'");
    expect(port, "GET", "/v2/models/one/versions/01", NULL, 404, "'01'");
    expect(port, "GET", "/v2/models/one/versions/99999999999999999999", NULL, 404, "9999");
    expect(port, "GET", "/v2/models/two/ready", NULL, 404, "'two'");
    expect(port, "GET", "/v2/models/two", NULL, 404, "'two'");
    expect(port, "GET", "/v2/models/one/nothing", NULL, 404, "no /v2");
    expect(port, "POST", "/v2/models/one/config", "{}", 405, "GET");
    json_t *v = ask(port, "GET", "/v2/models/one", NULL, 200);
    assert_string_equal(text_in(v, "name"), "one");
    assert_string_equal(text_in(v, "versions/0"), "1");
    assert_string_equal(text_in(v, "inputs/0/name"), "input_ids");
    assert_string_equal(text_in(v, "inputs/0/datatype"), "INT64");
    assert_int_equal(number_in(v, "inputs/0/shape/1"), -1);
    assert_int_equal(number_in(v, "outputs/1/shape/1"), 32);
    json_decref(v);
    v = ask(port, "GET", "/v2/models/tags/versions/1", NULL, 200);
    assert_string_equal(text_in(v, "outputs/0/name"), "logits");
    assert_int_equal(json_array_size(inside(v, "outputs/0/shape")), 3);
    json_decref(v);
    v = ask(port, "GET", "/v2/models/span", NULL, 200);
    assert_string_equal(text_in(v, "outputs/1/name"), "end_logits");
    json_decref(v);
    stop(&s);
}

// What perf_analyzer reads without asking whether it is there.
static void test_config(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 2, NULL);
    const int port = hs_http_port(s.http);
    json_t *m = ask(port, "GET", "/v2/models/class", NULL, 200), *v = ask(port, "GET", "/v2/models/class/config", NULL, 200);
    assert_int_equal(number_in(v, "max_batch_size"), 64);
    assert_true(json_is_false(inside(v, "response_cache/enable")));
    assert_true(json_is_false(inside(v, "model_transaction_policy/decoupled")));
    assert_true(json_is_object(inside(v, "dynamic_batching")));
    assert_null(inside(v, "sequence_batching"));
    assert_null(inside(v, "ensemble_scheduling"));
    static const char *const lists[][2] = { { "input", "inputs" }, { "output", "outputs" } };
    for (int k = 0; k < 2; k++) {
        json_t *list = inside(v, lists[k][0]), *told = inside(m, lists[k][1]);
        assert_true(json_array_size(list) > 0);
        assert_int_equal(json_array_size(list), json_array_size(told));
        for (size_t i = 0; i < json_array_size(list); i++) {
            json_t *one = json_array_get(list, i), *other = json_array_get(told, i);
            assert_string_equal(text_in(one, "name"), text_in(other, "name"));
            assert_int_equal(json_array_size(inside(one, "dims")) + 1, json_array_size(inside(other, "shape"))); // without the batch
            assert_true(json_is_boolean(inside(one, k ? "is_shape_tensor" : "optional")));
            assert_int_equal(strncmp(text_in(one, "data_type"), "TYPE_", 5), 0);
        }
    }
    json_decref(m), json_decref(v);
    stop(&s);
}

// ---- what was counted

static const char *const stages[] = { "success",       "fail",           "queue",     "compute_input",
                                      "compute_infer", "compute_output", "cache_hit", "cache_miss" };

static void test_stats(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 2, NULL);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < 5; i++)
        expect(port, "POST", "/embed", "{\"inputs\": [\"a\", \"b c\", \"the\"]}", 200, "[[");
    expect(port, "POST", "/embed", "{\"inputs\": [\"a a a a a a a a a a a a a a a a a a a a a a a a a\"]}", 413, "longer");
    json_t *v = NULL;
    for (int i = 0; i < 200; i++) { // the last answer's own time is counted when it is out
        json_decref(v);
        v = ask(port, "GET", "/v2/models/one/stats", NULL, 200);
        if (number_in(v, "model_stats/0/inference_stats/compute_output/count") == 5)
            break;
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    }
    json_t *one = inside(v, "model_stats/0");
    assert_string_equal(text_in(one, "name"), "one");
    assert_string_equal(text_in(one, "version"), "1");
    assert_int_equal(number_in(one, "inference_count"), 15);
    const int64_t runs = number_in(one, "execution_count");
    assert_int_equal(runs, 5); // one after the other
    assert_true(number_in(one, "last_inference") > 1600000000000);
    for (int i = 0; i < HS_COUNT(stages); i++) {
        json_t *x = json_object_get(inside(one, "inference_stats"), stages[i]);
        const int64_t ns = number_in(x, "ns");
        assert_int_equal(number_in(x, "count"), i == 1 ? 1 : i < 6 ? 5 : 0);
        assert_true(i < 6 ? ns > 0 && ns < 10000000000 : ns == 0);
    }
    json_t *batches = inside(one, "batch_stats");
    int64_t rows = 0, n = 0;
    for (size_t i = 0; i < json_array_size(batches); i++) {
        json_t *b = json_array_get(batches, i);
        rows += number_in(b, "batch_size") * number_in(b, "compute_infer/count");
        n += number_in(b, "compute_infer/count");
        assert_true(number_in(b, "compute_infer/ns") > 0 && number_in(b, "compute_output/ns") > 0);
    }
    assert_int_equal(rows, 15);
    assert_int_equal(n, runs);
    assert_true(number_in(one, "memory_usage/0/byte_size") > 10000);
    assert_true(json_is_object(inside(one, "response_stats")));
    json_decref(v);
    v = ask(port, "GET", "/v2/models/stats", NULL, 200);
    assert_int_equal(json_array_size(inside(v, "model_stats")), 2);
    assert_int_equal(number_in(v, "model_stats/1/inference_count"), 0);
    json_decref(v);
    expect(port, "GET", "/v2/models/one/versions/1/stats", NULL, 200, "\"success\"");
    expect(port, "GET", "/v2/models/one/versions/3/stats", NULL, 404, "version 3");
    stop(&s);
}

// ---- models that come and go

static char root[4096];
static void with_root(hs_server_opts *o)
{
    snprintf(root, sizeof root, "%s", scratch_path("one"));
    *strrchr(root, '/') = 0;
    o->models = root, o->control = true;
}

#define LOAD(name)   "/v2/repository/models/" name "/load"
#define UNLOAD(name) "/v2/repository/models/" name "/unload"

static void test_repository(void **state)
{
    (void)state;
    hs_server s;
    scratch_write("empty", "", 0);
    serve_start(&s, names, 1, with_root);
    const int port = hs_http_port(s.http);
    expect(port, "GET", "/v2", NULL, 200, "\"model_repository\"");
    json_t *v = ask(port, "POST", "/v2/repository/index", "", 200);
    assert_int_equal(json_array_size(v), 4); // three are not loaded
    assert_string_equal(text_in(v, "0/name"), "one");
    assert_string_equal(text_in(v, "0/state"), "READY");
    assert_string_equal(text_in(v, "0/version"), "1");
    assert_string_equal(text_in(v, "1/state"), "UNAVAILABLE");
    json_decref(v);
    expect(port, "POST", "/v2/repository/index", "{\"ready\": true}", 200,
           "[{\"name\":\"one\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"}]");
    expect(port, "POST", "/v2/repository/index", "[]", 400, "object");
    expect(port, "GET", "/v2/models/class", NULL, 404, "'class'");
    expect(port, "POST", LOAD("class"), "{}", 200, "null");
    expect(port, "GET", "/v2/models/class", NULL, 200, "\"versions\":[\"1\"]");
    expect(port, "POST", LOAD("class"), "", 200, "null"); // anew
    expect(port, "GET", "/v2/models/class", NULL, 200, "\"versions\":[\"2\"]");
    expect(port, "GET", "/v2/models/class/versions/1", NULL, 404, "version 1");
    expect(port, "POST", UNLOAD("class"), "{\"parameters\": {\"unload_dependents\": true}}", 200, "null");
    expect(port, "GET", "/v2/models/class", NULL, 404, "'class'");
    expect(port, "GET", "/v2/models/class/ready", NULL, 503, "{\"name\":\"class\",\"ready\":false}");
    expect(port, "GET", "/v2/health/ready", NULL, 200, "true"); // as it was asked for
    expect(port, "POST", "/v2/repository/index", "{}", 200, "\"reason\":\"unloaded\"");
    // what is not there, or none of the client's business
    expect(port, "POST", LOAD("empty"), "{}", 404, "'empty'");
    expect(port, "POST", LOAD("nothing"), "{}", 404, "'nothing'");
    expect(port, "POST", LOAD(".."), "{}", 404, "'..'");
    expect(port, "POST", LOAD("%2e%2e"), "{}", 404, "'..'");
    expect(port, "POST", LOAD("..%2Fone"), "{}", 404, "no /v2");
    expect(port, "POST", LOAD("one%00"), "{}", 404, "no");
    expect(port, "POST", UNLOAD("nothing"), "{}", 404, "'nothing'");
    expect(port, "POST", LOAD("one"), "{\"parameters\": {\"config\": \"{}\"}}", 501, "'config'");
    expect(port, "POST", LOAD("one"), "{\"parameters\": {\"file:1/model.safetensors\": \"AAAA\"}}", 501, "'file:1/");
    expect(port, "POST", LOAD("one"), "{\"parameters\": []}", 400, "object");
    expect(port, "POST", LOAD("one"), "{\"parameters\": {", 400, "JSON");
    // a folder that is no model: nothing changes but what the index says
    scratch_write("one/config.json", "{}", 2);
    expect(port, "POST", LOAD("one"), "{}", 400, "one: ");
    expect(port, "GET", "/v2/models/one/ready", NULL, 200, "true");
    serve_folder("one", "encoders/bert");
    stop(&s);
}

static void test_no_control(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    json_t *v = ask(port, "GET", "/v2", NULL, 200);
    for (size_t i = 0; i < json_array_size(inside(v, "extensions")); i++)
        assert_null(strstr(json_string_value(json_array_get(inside(v, "extensions"), i)), "repository"));
    json_decref(v);
    expect(port, "POST", LOAD("one"), "{}", 403, "--control");
    expect(port, "POST", UNLOAD("one"), "{}", 403, "--control");
    expect(port, "POST", "/v2/repository/index", "{}", 200, "READY");
    stop(&s);
}

// A model that is on its way when the server ends is let go of, too.
static void test_end_while_loading(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        hs_server s;
        serve_start(&s, names, 1, with_root);
        for (int k = 0; k < 3; k++)
            hs_hub_load(s.hub, "one", NULL, NULL, NULL);
        stop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata),   cmocka_unit_test(test_config),     cmocka_unit_test(test_stats),
        cmocka_unit_test(test_repository), cmocka_unit_test(test_no_control), cmocka_unit_test(test_end_while_loading),
    };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}
