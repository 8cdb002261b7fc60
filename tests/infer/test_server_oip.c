// server_oip: the Open Inference Protocol - what models say of themselves, what is counted of them, models that come and go.
#include "tests/support/support_files.h"
#include "tests/support/support_oip.h"

#include <stdio.h>
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

// ---- what they say of themselves

static void test_metadata(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 4, NULL);
    const int port = hs_http_port(s.http);
    http_expect(port, "GET", "/v2/health/live", NULL, 200, "{\"live\":true}");
    http_expect(port, "GET", "/v2/health/ready", NULL, 200, "{\"ready\":true}");
    http_expect(port, "GET", "/v2", NULL, 200, "\"binary_tensor_data\"");
    http_expect(port, "GET", "/v2/models/one/ready", NULL, 200, "{\"name\":\"one\",\"ready\":true}");
    http_expect(port, "GET", "/v2/models/one/versions/1/ready", NULL, 200, "true");
    http_expect(port, "GET", "/v2/models/one/versions/2/ready", NULL, 404, "version 2");
    http_expect(port, "GET", "/v2/models/one/versions/x/ready", NULL, 404, "'x'");
    http_expect(port, "GET", "/v2/models/one/versions/01", NULL, 404, "'01'");
    http_expect(port, "GET", "/v2/models/one/versions/99999999999999999999", NULL, 404, "9999");
    http_expect(port, "GET", "/v2/models/two/ready", NULL, 404, "'two'");
    http_expect(port, "GET", "/v2/models/two", NULL, 404, "'two'");
    http_expect(port, "GET", "/v2/models/one/nothing", NULL, 404, "no /v2");
    http_expect(port, "POST", "/v2/models/one/config", "{}", 405, "GET");
    json_t *v = http_ask_json(port, "GET", "/v2/models/one", NULL, 200);
    assert_string_equal(json_text_in(v, "name"), "one");
    assert_string_equal(json_text_in(v, "versions/0"), "1");
    assert_string_equal(json_text_in(v, "inputs/0/name"), "input_ids");
    assert_string_equal(json_text_in(v, "inputs/0/datatype"), "INT64");
    assert_int_equal(json_number_in(v, "inputs/0/shape/1"), -1);
    assert_int_equal(json_number_in(v, "outputs/1/shape/1"), 32);
    json_decref(v);
    v = http_ask_json(port, "GET", "/v2/models/tags/versions/1", NULL, 200);
    assert_string_equal(json_text_in(v, "outputs/0/name"), "logits");
    assert_int_equal(json_array_size(json_inside(v, "outputs/0/shape")), 3);
    json_decref(v);
    v = http_ask_json(port, "GET", "/v2/models/span", NULL, 200);
    assert_string_equal(json_text_in(v, "outputs/1/name"), "end_logits");
    json_decref(v);
    serve_stop(&s);
}

// What perf_analyzer reads without asking whether it is there.
static void test_config(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 2, NULL);
    const int port = hs_http_port(s.http);
    json_t *m = http_ask_json(port, "GET", "/v2/models/class", NULL, 200),
           *v = http_ask_json(port, "GET", "/v2/models/class/config", NULL, 200);
    assert_int_equal(json_number_in(v, "max_batch_size"), 64);
    assert_true(json_is_false(json_inside(v, "response_cache/enable")));
    assert_true(json_is_false(json_inside(v, "model_transaction_policy/decoupled")));
    assert_true(json_is_object(json_inside(v, "dynamic_batching")));
    assert_null(json_inside(v, "sequence_batching"));
    assert_null(json_inside(v, "ensemble_scheduling"));
    static const char *const lists[][2] = { { "input", "inputs" }, { "output", "outputs" } };
    for (int k = 0; k < 2; k++) {
        json_t *list = json_inside(v, lists[k][0]), *told = json_inside(m, lists[k][1]);
        assert_true(json_array_size(list) > 0);
        assert_int_equal(json_array_size(list), json_array_size(told));
        for (size_t i = 0; i < json_array_size(list); i++) {
            json_t *one = json_array_get(list, i), *other = json_array_get(told, i);
            assert_string_equal(json_text_in(one, "name"), json_text_in(other, "name"));
            assert_int_equal(json_array_size(json_inside(one, "dims")) + 1,
                             json_array_size(json_inside(other, "shape"))); // without the batch
            assert_true(json_is_boolean(json_inside(one, k ? "is_shape_tensor" : "optional")));
            assert_int_equal(strncmp(json_text_in(one, "data_type"), "TYPE_", 5), 0);
        }
    }
    json_decref(m), json_decref(v);
    serve_stop(&s);
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
        http_expect(port, "POST", "/embed", "{\"inputs\": [\"a\", \"b c\", \"the\"]}", 200, "[[");
    http_expect(port, "POST", "/embed", "{\"inputs\": [\"a a a a a a a a a a a a a a a a a a a a a a a a a\"]}", 413, "longer");
    json_t *v = NULL;
    for (int i = 0; i < 200; i++) { // the last answer's own time is counted when it is out
        json_decref(v);
        v = http_ask_json(port, "GET", "/v2/models/one/stats", NULL, 200);
        if (json_number_in(v, "model_stats/0/inference_stats/compute_output/count") == 5)
            break;
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    }
    json_t *one = json_inside(v, "model_stats/0");
    assert_string_equal(json_text_in(one, "name"), "one");
    assert_string_equal(json_text_in(one, "version"), "1");
    assert_int_equal(json_number_in(one, "inference_count"), 15);
    const int64_t runs = json_number_in(one, "execution_count");
    assert_int_equal(runs, 5); // one after the other
    assert_true(json_number_in(one, "last_inference") > 1600000000000);
    for (int i = 0; i < HS_COUNT(stages); i++) {
        json_t *x = json_object_get(json_inside(one, "inference_stats"), stages[i]);
        const int64_t ns = json_number_in(x, "ns");
        assert_int_equal(json_number_in(x, "count"), i == 1 ? 1 : i < 6 ? 5 : 0);
        assert_true(i < 6 ? ns > 0 && ns < 10000000000 : ns == 0);
    }
    json_t *batches = json_inside(one, "batch_stats");
    int64_t rows = 0, n = 0;
    for (size_t i = 0; i < json_array_size(batches); i++) {
        json_t *b = json_array_get(batches, i);
        rows += json_number_in(b, "batch_size") * json_number_in(b, "compute_infer/count");
        n += json_number_in(b, "compute_infer/count");
        assert_true(json_number_in(b, "compute_infer/ns") > 0 && json_number_in(b, "compute_output/ns") > 0);
    }
    assert_int_equal(rows, 15);
    assert_int_equal(n, runs);
    assert_true(json_number_in(one, "memory_usage/0/byte_size") > 10000);
    assert_true(json_is_object(json_inside(one, "response_stats")));
    json_decref(v);
    v = http_ask_json(port, "GET", "/v2/models/stats", NULL, 200);
    assert_int_equal(json_array_size(json_inside(v, "model_stats")), 2);
    assert_int_equal(json_number_in(v, "model_stats/1/inference_count"), 0);
    json_decref(v);
    http_expect(port, "GET", "/v2/models/one/versions/1/stats", NULL, 200, "\"success\"");
    http_expect(port, "GET", "/v2/models/one/versions/3/stats", NULL, 404, "version 3");
    serve_stop(&s);
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
    http_expect(port, "GET", "/v2", NULL, 200, "\"model_repository\"");
    json_t *v = http_ask_json(port, "POST", "/v2/repository/index", "", 200);
    assert_int_equal(json_array_size(v), 4); // three are not loaded
    assert_string_equal(json_text_in(v, "0/name"), "one");
    assert_string_equal(json_text_in(v, "0/state"), "READY");
    assert_string_equal(json_text_in(v, "0/version"), "1");
    assert_string_equal(json_text_in(v, "1/state"), "UNAVAILABLE");
    json_decref(v);
    http_expect(port, "POST", "/v2/repository/index", "{\"ready\": true}", 200,
                "[{\"name\":\"one\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"}]");
    http_expect(port, "POST", "/v2/repository/index", "[]", 400, "object");
    http_expect(port, "GET", "/v2/models/class", NULL, 404, "'class'");
    http_expect(port, "POST", LOAD("class"), "{}", 200, "null");
    http_expect(port, "GET", "/v2/models/class", NULL, 200, "\"versions\":[\"1\"]");
    http_expect(port, "POST", LOAD("class"), "", 200, "null"); // anew
    http_expect(port, "GET", "/v2/models/class", NULL, 200, "\"versions\":[\"2\"]");
    http_expect(port, "GET", "/v2/models/class/versions/1", NULL, 404, "version 1");
    http_expect(port, "POST", UNLOAD("class"), "{\"parameters\": {\"unload_dependents\": true}}", 200, "null");
    http_expect(port, "GET", "/v2/models/class", NULL, 404, "'class'");
    http_expect(port, "GET", "/v2/models/class/ready", NULL, 503, "{\"name\":\"class\",\"ready\":false}");
    http_expect(port, "GET", "/v2/health/ready", NULL, 200, "true"); // as it was asked for
    http_expect(port, "POST", "/v2/repository/index", "{}", 200, "\"reason\":\"unloaded\"");
    // what is not there, or none of the client's business
    http_expect(port, "POST", LOAD("empty"), "{}", 404, "'empty'");
    http_expect(port, "POST", LOAD("nothing"), "{}", 404, "'nothing'");
    http_expect(port, "POST", LOAD(".."), "{}", 404, "'..'");
    http_expect(port, "POST", LOAD("%2e%2e"), "{}", 404, "'..'");
    http_expect(port, "POST", LOAD("..%2Fone"), "{}", 404, "no /v2");
    http_expect(port, "POST", LOAD("one%00"), "{}", 404, "no");
    http_expect(port, "POST", UNLOAD("nothing"), "{}", 404, "'nothing'");
    http_expect(port, "POST", LOAD("one"), "{\"parameters\": {\"config\": \"{}\"}}", 501, "'config'");
    http_expect(port, "POST", LOAD("one"), "{\"parameters\": {\"file:1/model.safetensors\": \"AAAA\"}}", 501, "'file:1/");
    http_expect(port, "POST", LOAD("one"), "{\"parameters\": []}", 400, "object");
    http_expect(port, "POST", LOAD("one"), "{\"parameters\": {", 400, "JSON");
    // a folder that is no model: nothing changes but what the index says
    scratch_write("one/config.json", "{}", 2);
    http_expect(port, "POST", LOAD("one"), "{}", 400, "one: ");
    http_expect(port, "GET", "/v2/models/one/ready", NULL, 200, "true");
    serve_folder("one", "encoders/bert");
    serve_stop(&s);
}

static void test_no_control(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    json_t *v = http_ask_json(port, "GET", "/v2", NULL, 200);
    for (size_t i = 0; i < json_array_size(json_inside(v, "extensions")); i++)
        assert_null(strstr(json_string_value(json_array_get(json_inside(v, "extensions"), i)), "repository"));
    json_decref(v);
    http_expect(port, "POST", LOAD("one"), "{}", 403, "--control");
    http_expect(port, "POST", UNLOAD("one"), "{}", 403, "--control");
    http_expect(port, "POST", "/v2/repository/index", "{}", 200, "READY");
    serve_stop(&s);
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
        serve_stop(&s);
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
