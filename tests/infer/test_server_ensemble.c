// server: an ensemble gives what its models give one by one, to the bit; steps run in the order that their tensors ask for; what is wrong
// with one is said in a line, and what goes wrong in a step by its name.
#include "infer/server/ensemble.h"
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_oip.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = { "one", "bert-sequence", "talks" }; // in their folders, and bert-sequence2 beside them
static const hs_ensemble_step steps[] = {
    { "both", "bert-sequence", "text=TEXT", "logits=TOPIC" },
    { "both", "one", " text = TEXT ", "sentence_embedding=VECTOR, last_hidden_state=HIDDEN" },
    // told backwards: what is said comes out of the last
    { "says", "one", "text=SAID", "sentence_embedding=VECTOR" },
    { "says", "bert-sequence", "text=SAID,text_pair=OTHER", "logits=TOPIC" },
    { "says", "talks", "text_input=PROMPT", "text_output=SAID" },
    { "tokens", "one", "input_ids=IDS,attention_mask=MASK", "sentence_embedding=VECTOR" },
};
enum { ROWS = 64, MOST_ANSWER = ROWS * (3 + 1) * 32 * 4 }; // what `one` gives of so many texts of three tokens, and no byte more
static hs_server server;
static int port;

static void change(hs_server_opts *o)
{
    o->served.step = steps, o->served.n_steps = HS_COUNT(steps);
    o->control = true;
    o->most_answer = MOST_ANSWER;
    o->http.threads = 2;
}

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    heads_folder("bert-sequence", NULL, 0);
    heads_folder("bert-sequence", NULL, 2);
    serve_folder("talks", "gpt2-lm");
    serve_start(&server, names, HS_COUNT(names), change);
    port = hs_http_port(server.http);
    return 0;
}
static int end(void **state)
{
    serve_stop(&server);
    return scratch_close(state);
}

// ---- asking

static json_t *infer(const char *model, int status, const char *fmt, ...)
{
    char path[100], body[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(body, sizeof body, fmt, args);
    va_end(args);
    snprintf(path, sizeof path, "/v2/models/%s/infer", model);
    return http_ask_json(port, "POST", path, body, status);
}
static const json_t *output(const json_t *v, const char *name)
{
    size_t i;
    const json_t *o;
    json_array_foreach(json_object_get(v, "outputs"), i, o) if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0) return o;
    fail_msg("no output %s", name);
    return NULL;
}
static void same(const json_t *v, const char *name, const json_t *of, const char *own)
{
    static const char *const key[] = { "datatype", "shape", "data" };
    for (int i = 0; i < 3; i++)
        assert_true(json_equal(json_object_get(output(v, name), key[i]), json_object_get(output(of, own), key[i])));
}

#define TEXTS3 "{\"name\":\"%s\",\"datatype\":\"BYTES\",\"shape\":[3],\"data\":[\"a b\",\"h\",\"the cab of\"]}"
#define TEXT1  "{\"name\":\"%s\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"%s\"]}"

static void test_fan_out(void **state)
{
    (void)state;
    json_t *topic = infer("bert-sequence", 200, "{\"inputs\":[" TEXTS3 "]}", "text");
    json_t *vector = infer("one", 200, "{\"inputs\":[" TEXTS3 "]}", "text");
    json_t *v = infer("both", 200, "{\"id\":\"x\",\"inputs\":[" TEXTS3 "]}", "TEXT");
    assert_string_equal(json_text_in(v, "model_name"), "both");
    assert_string_equal(json_text_in(v, "id"), "x");
    assert_int_equal(json_array_size(json_object_get(v, "outputs")), 3);
    same(v, "TOPIC", topic, "logits"), same(v, "VECTOR", vector, "sentence_embedding"), same(v, "HIDDEN", vector, "last_hidden_state");
    json_decref(v);
    // some of them, in another order
    v = infer("both", 200, "{\"inputs\":[" TEXTS3 "],\"outputs\":[{\"name\":\"VECTOR\"},{\"name\":\"TOPIC\"}]}", "TEXT");
    assert_string_equal(json_text_in(v, "outputs/0/name"), "VECTOR");
    assert_int_equal(json_array_size(json_object_get(v, "outputs")), 2);
    same(v, "TOPIC", topic, "logits"), same(v, "VECTOR", vector, "sentence_embedding");
    json_decref(v);
    json_decref(topic), json_decref(vector);
}

#define CLASSES "{\"inputs\":[" TEXTS3 "],\"outputs\":[{\"name\":\"%s\",\"parameters\":{\"classification\":%d}}]}"

// With the labels of the model that they come from, as that itself gives them.
static void test_classes(void **state)
{
    (void)state;
    for (int k = 1; k <= 3; k++) {
        json_t *topic = infer("bert-sequence", 200, CLASSES, "text", "logits", k), *of = infer("both", 200, CLASSES, "TEXT", "TOPIC", k);
        assert_string_equal(json_text_in(of, "outputs/0/datatype"), "BYTES");
        same(of, "TOPIC", topic, "logits");
        const char *one = json_text_in(of, "outputs/0/data/0");
        assert_ptr_not_equal(strchr(one, ':'), strrchr(one, ':')); // value:column:label
        json_decref(topic), json_decref(of);
    }
    json_t *v = infer("both", 200, CLASSES, "TEXT", "VECTOR", 2); // columns of no head
    const char *first = json_text_in(v, "outputs/0/data/0");
    assert_ptr_equal(strchr(first, ':'), strrchr(first, ':'));
    json_decref(v);
}

// Raw tensors behind the JSON, and a body that is the text.
static void test_binary(void **state)
{
    (void)state;
    char value[256];
    json_t *want = infer("one", 200, "{\"inputs\":[" TEXT1 "],\"outputs\":[{\"name\":\"sentence_embedding\"}]}", "text", "cab");
    http_reply r = http_ask(port, "POST", "/v2/models/both/infer", "Inference-Header-Content-Length: 0\r\n", "cab", 3);
    assert_int_equal(r.status, 200);
    const size_t head = strtoul(http_reply_header(&r, "Inference-Header-Content-Length", value), NULL, 10);
    json_t *v = json_loadb(r.body, head, 0, NULL);
    const char *at = r.body + head;
    for (size_t i = 0; i < 3; i++) {
        const json_t *o = json_array_get(json_object_get(v, "outputs"), i);
        const size_t bytes = (size_t)json_number_in((json_t *)(uintptr_t)o, "parameters/binary_data_size");
        for (size_t k = 0; strcmp(json_text_in((json_t *)(uintptr_t)o, "name"), "VECTOR") == 0 && k < bytes / 4; k++) {
            float x;
            memcpy(&x, at + 4 * k, 4);
            assert_true(x == (float)json_number_value(json_array_get(json_inside(want, "outputs/0/data"), k)));
        }
        at += bytes;
    }
    assert_ptr_equal(at, r.body + r.bytes);
    json_decref(v), json_decref(want);
    http_reply_free(&r);
}

static const char how[] = "\"parameters\":{\"max_tokens\":3,\"temperature\":0,\"ignore_eos\":true}";

static void test_one_behind_the_other(void **state)
{
    (void)state;
    json_t *said = infer("talks", 200, "{\"inputs\":[" TEXT1 "],%s}", "text_input", "the cat", how);
    const char *text = json_text_in(said, "outputs/0/data/0");
    json_t *direct = http_ask_json(port, "POST", "/v2/models/talks/generate",
                                   "{\"text_input\":\"the cat\",\"max_tokens\":3,\"temperature\":0,\"ignore_eos\":true}", 200);
    assert_string_equal(text, json_text_in(direct, "text_output"));
    json_t *vector = infer("one", 200, "{\"inputs\":[" TEXT1 "]}", "text", text);
    json_t *topic = infer("bert-sequence", 200, "{\"inputs\":[" TEXT1 "," TEXT1 "]}", "text", text, "text_pair", "a b");
    json_t *v = infer("says", 200, "{\"inputs\":[" TEXT1 "," TEXT1 "],%s}", "OTHER", "a b", "PROMPT", "the cat", how);
    same(v, "SAID", said, "text_output"), same(v, "VECTOR", vector, "sentence_embedding"), same(v, "TOPIC", topic, "logits");
    json_decref(v), json_decref(said), json_decref(direct), json_decref(vector), json_decref(topic);
    // tokens through it
    v = infer("tokens", 200,
              "{\"inputs\":[{\"name\":\"IDS\",\"datatype\":\"INT32\",\"shape\":[1,4],\"data\":[2,5,3,0]},{\"name\":\"MASK\",\"datatype\":"
              "\"BOOL\",\"shape\":[1,4],\"data\":[true,true,true,false]}]}");
    vector = infer("one", 200, "{\"inputs\":[" TEXT1 "]}", "text", "a");
    same(v, "VECTOR", vector, "sentence_embedding");
    json_decref(v), json_decref(vector);
}

// ---- what goes wrong

static void says(json_t *v, const char *part)
{
    if (!strstr(json_text_in(v, "error"), part))
        fail_msg("'%s' does not say '%s'", json_text_in(v, "error"), part);
    json_decref(v);
}

static void test_failures(void **state)
{
    (void)state;
    const char *longer = "a b c d e f g h a b c d"; // than one model takes, and not the other
    says(infer("both", 413, "{\"inputs\":[" TEXT1 "]}", "TEXT", longer), "step 1 ('bert-sequence'): text 1 is longer than the 12 tokens");
    json_decref(infer("both", 200, "{\"inputs\":[" TEXT1 "],\"parameters\":{\"truncate\":true}}", "TEXT", longer));
    says(infer("says", 400, "{\"inputs\":[" TEXT1 "," TEXT1 "],\"parameters\":{\"max_tokens\":900}}", "OTHER", "a", "PROMPT", "a"),
         "step 3 ('talks'): the prompt has 1 tokens");
    says(infer("both", 400, "{\"inputs\":[" TEXT1 "]}", "text", "a"), "no input 'text'");
    says(infer("says", 400, "{\"inputs\":[" TEXT1 "]}", "PROMPT", "a"), "the request has no input 'OTHER'");
    says(infer("both", 400, "{\"inputs\":[" TEXT1 "],\"outputs\":[{\"name\":\"logits\"}]}", "TEXT", "a"), "no output 'logits'");
    says(infer("both", 400, "{\"inputs\":[" TEXT1 "],\"outputs\":[{\"name\":\"HIDDEN\",\"parameters\":{\"classification\":1}}]}", "TEXT",
               "a"),
         "'HIDDEN' has no classes");
    char rows[400] = "\"a\"";
    for (int i = 1; i < ROWS; i++)
        strcat(rows, ",\"a\"");
    json_decref(infer("one", 200, "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[%d],\"data\":[%s]}]}", ROWS, rows));
    says(infer("both", 400, "{\"inputs\":[{\"name\":\"TEXT\",\"datatype\":\"BYTES\",\"shape\":[%d],\"data\":[%s]}]}", ROWS, rows),
         "what the steps put out is more than the 32768 bytes");
    says(infer("both", 501, "{\"inputs\":[" TEXT1 "],\"parameters\":{\"sequence_start\":true}}", "TEXT", "a"), "sequence_start");
    says(infer("both", 501, "{\"inputs\":[" TEXT1 "],\"parameters\":{\"sequence_id\":1}}", "TEXT", "a"), "sequence_id");
    http_expect(port, "POST", "/v2/models/both/generate", "{\"text_input\":\"a\"}", 400, "not a model that does that");
    http_expect(port, "POST", "/tokenize", "{\"inputs\":\"a\"}", 200, "[CLS]"); // not the ensemble's
}

// What is wrong with a configuration, in one line.
static hs_served *find(const char *name, void *user)
{
    (void)user;
    return hs_hub_find(server.hub, name, 0, 0);
}
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        hs_ensemble_step step[2];
        const char *why;
    } bad[] = {
        { { { "x", "nobody", "text=T", "logits=L" } }, "ensemble 'x': step 1 ('nobody'): there is no such model" },
        { { { "x", "both", "text=T", "logits=L" } }, "step 1 ('both'): an ensemble is no step of another one" },
        { { { "x", "one", "texts=T", "sentence_embedding=L" } }, "step 1 ('one'): the model has no input 'texts'" },
        { { { "x", "one", "text=T", "logits=L" } }, "step 1 ('one'): the model has no output 'logits'" },
        { { { "x", "one", "text=T", "" } }, "output_map is empty" },
        { { { "x", "one", "text", "sentence_embedding=L" } }, "input_map: 'text' is not NAME=NAME" },
        { { { "x", "one", "text=", "sentence_embedding=L" } }, "a tensor's name has 1 to 63 bytes" },
        { { { "x", "one", "text=T,text=U", "sentence_embedding=L" } }, "input_map has 'text' twice" },
        { { { "x", "bert-sequence", "text_pair=T", "logits=L" } }, "input_map has none of text, input_ids and text_input" },
        { { { "x", "one", "text=T", "sentence_embedding=L" }, { "x", "bert-sequence", "text=T", "logits=L" } },
          "step 2 ('bert-sequence'): 'L' comes out of step 1, too" },
        { { { "x", "one", "text=T", "sentence_embedding=L" }, { "x", "bert-sequence", "text=L", "logits=M" } },
          "step 2 ('bert-sequence'): its input 'text' is BYTES, and 'L' is FP32" },
        { { { "x", "one", "text=T", "sentence_embedding=L" }, { "x", "bert-sequence", "input_ids=T", "logits=M" } },
          "step 2 ('bert-sequence'): its input 'input_ids' is INT64, and 'T' is BYTES" },
        { { { "x", "talks", "text_input=A", "text_output=B" }, { "x", "talks", "text_input=B", "text_output=A" } },
          "step 1 ('talks') waits for itself, or for one that does" },
        { { { "x", "talks", "text_input=A", "text_output=A" } }, "step 1 ('talks') waits for itself" },
    };
    for (int i = 0; i < HS_COUNT(bad); i++) {
        struct hs_ensemble *e;
        const hs_served_opts o = { .step = bad[i].step, .n_steps = bad[i].step[1].ensemble ? 2 : 1, .find = find };
        assert_int_equal(hs_ensemble_open(&e, "x", &o), HS_USAGE);
        if (!strstr(hs_error(), bad[i].why) || strchr(hs_error(), '\n'))
            fail_msg("'%s' does not say '%s'", hs_error(), bad[i].why);
        assert_null(e);
    }
}

// ---- what is told

static long counter(const char *metrics, const char *name)
{
    const char *at = strstr(metrics, name);
    assert_non_null(at);
    return strtol(at + strlen(name), NULL, 10);
}

static void test_told(void **state)
{
    (void)state;
    json_t *v = http_ask_json(port, "GET", "/v2/models/says", NULL, 200);
    assert_string_equal(json_text_in(v, "platform"), "ensemble");
    assert_int_equal(json_array_size(json_object_get(v, "inputs")), 2);
    assert_string_equal(json_text_in(v, "inputs/0/name"), "OTHER");
    assert_string_equal(json_text_in(v, "inputs/1/name"), "PROMPT");
    assert_string_equal(json_text_in(v, "inputs/1/datatype"), "BYTES");
    assert_int_equal(json_array_size(json_object_get(v, "outputs")), 3);
    json_decref(v);
    v = http_ask_json(port, "GET", "/v2/models/both/config", NULL, 200);
    assert_string_equal(json_text_in(v, "ensemble_scheduling/step/1/model_name"), "one");
    assert_string_equal(json_text_in(v, "ensemble_scheduling/step/1/input_map/text"), "TEXT");
    assert_string_equal(json_text_in(v, "ensemble_scheduling/step/0/output_map/logits"), "TOPIC");
    json_decref(v);
    http_expect(port, "POST", "/v2/repository/index", "{}", 200, "{\"name\":\"both\",\"version\":\"1\",\"state\":\"READY\"");
    http_expect(port, "GET", "/v2/models/both/ready", NULL, 200, "true");
    json_t *before = http_ask_json(port, "GET", "/v2/models/both/stats", NULL, 200);
    json_decref(infer("both", 200, "{\"inputs\":[" TEXTS3 "]}", "TEXT"));
    json_decref(infer("both", 400, "{\"inputs\":[" TEXT1 "]}", "text", "a"));
    v = http_ask_json(port, "GET", "/v2/models/both/stats", NULL, 200);
    static const char *const counts[] = { "inference_stats/success/count", "inference_stats/fail/count", "inference_count",
                                          "execution_count" };
    static const int64_t more[] = { 1, 1, 3, 1 };
    for (int i = 0; i < 4; i++)
        assert_int_equal(json_number_in(json_inside(v, "model_stats/0"), counts[i]) -
                             json_number_in(json_inside(before, "model_stats/0"), counts[i]),
                         more[i]);
    assert_true(json_number_in(v, "model_stats/0/last_inference") > 0);
    json_decref(v), json_decref(before);
    http_reply r = http_get(port, "/metrics");
    assert_int_equal(counter(r.body, "nv_inference_exec_count{model=\"both\",version=\"1\"} "),
                     counter(r.body, "nv_inference_request_success{model=\"both\",version=\"1\"} "));
    assert_true(counter(r.body, "halfstep_held_bytes ") >= 0);
    http_reply_free(&r);
}

// ---- many at once, while a model is loaded anew

static atomic_int wrong;
static void *ask_often(void *arg)
{
    const int number = *(const int *)arg;
    for (int i = 0; i < 25; i++) {
        char text[20];
        snprintf(text, sizeof text, "a%c b", 'a' + (number * 7 + i) % 8);
        json_t *vector = infer("one", 200, "{\"inputs\":[" TEXT1 "]}", "text", text);
        json_t *v = infer("both", 200,
                          "{\"inputs\":[" TEXT1 "],\"outputs\":[{\"name\":\"VECTOR\"},{\"name\":\"TOPIC\","
                          "\"parameters\":{\"classification\":1}}]}",
                          "TEXT", text);
        json_t *topic =
            infer("bert-sequence", 200,
                  "{\"inputs\":[" TEXT1 "],\"outputs\":[{\"name\":\"logits\",\"parameters\":{\"classification\":1}}]}", "text", text);
        if (!json_equal(json_object_get(output(v, "VECTOR"), "data"), json_object_get(output(vector, "sentence_embedding"), "data")))
            atomic_fetch_add(&wrong, 1);
        if (!json_equal(json_object_get(output(v, "TOPIC"), "data"), json_object_get(output(topic, "logits"), "data")))
            atomic_fetch_add(&wrong, 1);
        json_decref(v), json_decref(vector), json_decref(topic);
    }
    return NULL;
}
static void test_crowd(void **state)
{
    (void)state;
    pthread_t thread[4];
    int number[4];
    for (int i = 0; i < 4; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, ask_often, &number[i]), 0);
    }
    static const char *const anew[] = { "one", "both", "bert-sequence", "one" };
    for (int i = 0; i < HS_COUNT(anew); i++)
        OK(hs_hub_load_now(server.hub, anew[i], NULL));
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
    http_expect(port, "GET", "/v2/models/both", NULL, 200, "\"versions\":[\"2\"]");
}

// A model that is loaded anew with other tensors has its ensembles say so, and no more of them are loaded than have changed.
static void test_followed(void **state)
{
    (void)state;
    const hs_server *s = &server;
    hs_served *was = hs_hub_find(s->hub, "tokens", 0, 0), *both = hs_hub_find(s->hub, "both", 0, 0);
    const int version = both->version, version_of_tokens = was->version;
    hs_served_let_go(was), hs_served_let_go(both);
    OK(hs_hub_load_now(s->hub, "bert-sequence", NULL)); // the same
    both = hs_hub_find(s->hub, "both", 0, 0);
    assert_int_equal(both->version, version);
    hs_served_let_go(both);
    char before[64], path[4096];
    snprintf(path, sizeof path, "%s", scratch_path("bert-sequence"));
    snprintf(before, sizeof before, "\"name\":\"TOPIC\",\"datatype\":\"FP32\",\"shape\":[-1,2]");
    OK(hs_hub_load_now(s->hub, "bert-sequence", scratch_path("bert-sequence2")));
    http_expect(port, "GET", "/v2/models/both", NULL, 200, before);
    json_decref(infer("both", 200, "{\"inputs\":[" TEXT1 "]}", "TEXT", "a"));
    both = hs_hub_find(s->hub, "both", 0, 0), was = hs_hub_find(s->hub, "tokens", 0, 0);
    assert_int_equal(both->version, version + 1);
    assert_int_equal(was->version, version_of_tokens);
    hs_served_let_go(was), hs_served_let_go(both);
    // one that does not fit any more is said once, and the ensemble stays
    OK(hs_hub_load_now(s->hub, "bert-sequence", scratch_path("one")));
    http_expect(port, "POST", "/v2/repository/index", "{}", 200, "the model has no output 'logits'");
    OK(hs_hub_load_now(s->hub, "bert-sequence", path));
    json_decref(infer("both", 200, "{\"inputs\":[" TEXT1 "]}", "TEXT", "a"));
}

static void test_unloaded(void **state)
{
    (void)state;
    http_ask_json(port, "POST", "/v2/repository/models/one/unload", "{}", 200);
    says(infer("both", 503, "{\"inputs\":[" TEXT1 "]}", "TEXT", "a"), "step 2 ('one'): the model is not loaded");
    atomic_store(&server.over, true);
    says(infer("both", 503, "{\"inputs\":[" TEXT1 "]}", "TEXT", "a"), "step 2 ('one'): the server stops");
    atomic_store(&server.over, false);
    http_expect(port, "POST", "/v2/repository/models/both/load", "{}", 400, "step 2 ('one'): there is no such model");
    http_ask_json(port, "POST", "/v2/repository/models/one/load", "{}", 200);
    json_decref(infer("both", 200, "{\"inputs\":[" TEXT1 "]}", "TEXT", "a"));
    http_ask_json(port, "POST", "/v2/repository/models/both/unload", "{\"parameters\":{\"unload_dependents\":true}}", 200);
    static const char *const gone[] = { "both", "one", "bert-sequence" };
    for (int i = 0; i < 3; i++) {
        hs_served *m = hs_hub_find(server.hub, gone[i], 0, 0);
        assert_null(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fan_out),  cmocka_unit_test(test_classes),
        cmocka_unit_test(test_binary),   cmocka_unit_test(test_one_behind_the_other),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_told),     cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_followed), cmocka_unit_test(test_unloaded),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
