// What clients of text-embeddings-inference ask for beside vectors and scores: /info, /ping, "/", prompts, the side that is cut, te_*;
// and OpenAI's embeddings of ids.
#include "data/base/json_util.h"
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include "tests/support/support_oip.h"
#include <math.h>
#include <string.h>

enum { WIDTH = 32 };
static const char *const names[] = { "one", "judge" };
static const char prompts[] = "{\"prompts\": {\"query\": \"the cat \", \"passage\": \"\"}}";
static const char words[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\n"; // of judge, 21
static hs_server server;
static int port;

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert"), serve_folder("judge", "heads/bert-sequence");
    scratch_write("one/config_sentence_transformers.json", prompts, sizeof prompts - 1);
    scratch_write("judge/vocab.txt", words, sizeof words - 1);
    serve_start(&server, names, 2, NULL);
    port = hs_http_port(server.http);
    return 0;
}

static int end(void **state)
{
    serve_stop(&server);
    return scratch_close(state);
}

static json_t *post(const char *path, const char *body) { return http_ask_json(port, "POST", path, body, 200); }

static void same(json_t *a, json_t *b, bool wanted)
{
    assert_true(json_array_size(a) > 0 && json_equal(a, b) == wanted);
    json_decref(a), json_decref(b);
}

static void info(void **state)
{
    (void)state;
    json_t *v = http_ask_json(port, "GET", "/info", NULL, 200);
    assert_string_equal(json_string_value(json_object_get(v, "model_id")), "one");
    assert_string_equal(json_string_value(json_object_get(v, "model_dtype")), "float32");
    assert_string_equal(json_string_value(json_object_get(json_object_get(json_object_get(v, "model_type"), "embedding"), "pooling")), "mean");
    assert_int_equal(json_integer_value(json_object_get(v, "max_input_length")), 20);
    assert_int_equal(json_integer_value(json_object_get(v, "max_client_batch_size")), 64);
    json_decref(v);
    v = http_ask_json(port, "GET", "/models/judge/info", NULL, 200);
    const json_t *labels = json_object_get(json_object_get(json_object_get(v, "model_type"), "classifier"), "id2label");
    assert_true(json_object_size(labels) > 1);
    json_decref(v);
    http_expect(port, "GET", "/ping", NULL, 200, "");
}

static void at_the_root(void **state)
{
    (void)state;
    same(post("/", "{\"inputs\": \"the cat\"}"), post("/embed", "{\"inputs\": \"the cat\"}"), true);
    same(post("/", "{\"inputs\": \"the cat\", \"model\": \"judge\"}"), post("/predict", "{\"inputs\": \"the cat\"}"), true);
    json_t *a = post("/embeddings", "{\"input\": \"the cat\"}"), *b = post("/v1/embeddings", "{\"input\": \"the cat\"}");
    assert_true(json_equal(a, b));
    json_decref(a), json_decref(b);
    http_expect(port, "POST", "/embed", "{\"inputs\": \"a\", \"model\": \"judge\"}", 424, "does that");
    json_decref(http_ask_json(port, "POST", "/v1/embeddings", "{\"input\": \"a\", \"model\": \"judge\"}", 400));
}

static void length_one(void **state)
{
    (void)state;
    for (int raw = 0; raw < 2; raw++) {
        json_t *v = post("/embed", raw ? "{\"inputs\": \"the cat\", \"normalize\": false}" : "{\"inputs\": \"the cat\"}");
        double sum = 0;
        for (size_t i = 0; i < WIDTH; i++)
            sum += pow(json_number_value(json_array_get(json_array_get(v, 0), i)), 2);
        assert_true((fabs(sum - 1) < 1e-5) == !raw);
        json_decref(v);
    }
}

static void prompt(void **state)
{
    (void)state;
    same(post("/embed", "{\"inputs\": \"of a dab\", \"prompt_name\": \"query\"}"), post("/embed", "{\"inputs\": \"the cat of a dab\"}"), true);
    same(post("/embed", "{\"inputs\": \"of a dab\", \"prompt_name\": \"passage\"}"), post("/embed", "{\"inputs\": \"of a dab\"}"), true);
    http_expect(port, "POST", "/embed", "{\"inputs\": \"a\", \"prompt_name\": \"queries\"}", 422, "no prompt 'queries'; one that it has is 'query'");
    http_expect(port, "POST", "/embed", "{\"inputs\": \"a\", \"prompt_name\": 1}", 422, "must be a name");
}

// With two words more eighteen, beside [CLS] and [SEP].
#define WORDS16 "a b c d e f g h i j k a b c d e"
static void side(void **state)
{
    (void)state;
    same(post("/embed", "{\"inputs\": \"the cat the cat " WORDS16 " of and\", \"truncate\": true, \"truncation_direction\": \"Left\"}"),
         post("/embed", "{\"inputs\": \"" WORDS16 " of and\"}"), true);
    same(post("/embed", "{\"inputs\": \"of and " WORDS16 " the cat the cat\", \"truncate\": true, \"truncation_direction\": \"Right\"}"),
         post("/embed", "{\"inputs\": \"of and " WORDS16 "\"}"), true);
}

static void ids(void **state)
{
    (void)state;
    json_t *tokens = post("/tokenize", "{\"inputs\": [\"the cat\", \"of a dab\"], \"model\": \"one\"}"), *rows = json_array();
    for (size_t i = 0; i < 2; i++) {
        json_t *row = json_array();
        for (size_t k = 0; k < json_array_size(json_array_get(tokens, i)); k++)
            json_array_append(row, json_object_get(json_array_get(json_array_get(tokens, i), k), "id"));
        json_array_append_new(rows, row);
    }
    json_t *texts = post("/v1/embeddings", "{\"input\": [\"the cat\", \"of a dab\"], \"dimensions\": 32}");
    for (int one = 0; one < 2; one++) {
        json_t *body = json_pack("{s:O}", "input", one ? json_array_get(rows, 0) : rows);
        char *text = json_dumps(body, 0);
        json_t *v = post("/v1/embeddings", text);
        const json_t *got = json_object_get(v, "data"), *want = json_object_get(texts, "data");
        assert_int_equal(json_array_size(got), one ? 1 : 2);
        for (size_t i = 0; i < json_array_size(got); i++)
            assert_true(json_equal(json_array_get(got, i), json_array_get(want, i)));
        json_decref(v), json_decref(body), free(text);
    }
    json_decref(texts), json_decref(rows), json_decref(tokens);
}

static double metric(const char *page, const char *line)
{
    const char *at = strstr(page, line);
    if (!at)
        fail_msg("/metrics has no %s", line);
    return strtod(at + strlen(line), NULL);
}

static void metrics(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "te_request_count{model=\"one\",version=\"1\",method=\"single\"} ",
        "te_request_count{model=\"one\",version=\"1\",method=\"batch\"} ",
        "te_request_success{model=\"one\",version=\"1\",method=\"single\"} ",
        "te_request_success{model=\"one\",version=\"1\",method=\"batch\"} ",
        "te_request_failure{model=\"one\",version=\"1\",err=\"validation\"} ",
        "te_request_duration_count{model=\"one\",version=\"1\"} ",
        "te_request_tokenization_duration_count{model=\"one\",version=\"1\"} ",
        "te_request_queue_duration_count{model=\"one\",version=\"1\"} ",
        "te_request_inference_duration_bucket{model=\"one\",version=\"1\",le=\"+Inf\"} ",
        "te_request_input_length_count{model=\"one\",version=\"1\"} ",
        "te_request_input_length_sum{model=\"one\",version=\"1\"} ",
        "te_batch_next_size_sum{model=\"one\",version=\"1\"} ",
        "te_batch_next_tokens_sum{model=\"one\",version=\"1\"} ",
        "te_batch_next_tokens_bucket{model=\"one\",version=\"1\",le=\"8\"} ",
    };
    // one text of 6 tokens, two of 6 and 7, and one that is too long
    static const double more[] = { 2, 1, 1, 1, 1, 2, 2, 2, 2, 3, 19, 3, 19, 1 };
    double before[HS_COUNT(lines)];
    for (int again = 0; again < 2; again++) {
        http_reply r = http_get(port, "/metrics");
        for (int i = 0; i < HS_COUNT(lines); i++) {
            const double now = metric(r.body, lines[i]);
            if (again && more[i] > 0 && now - before[i] != more[i])
                fail_msg("%s%g, and %g before", lines[i], now, before[i]);
            before[i] = now;
        }
        assert_int_equal(metric(r.body, "te_queue_size{model=\"one\",version=\"1\"} "), 0);
        http_reply_free(&r);
        if (again)
            break;
        json_decref(post("/embed", "{\"inputs\": \"the cat\"}")), json_decref(post("/embed", "{\"inputs\": [\"the cat\", \"of a dab\"]}"));
        http_expect(port, "POST", "/embed", "{\"inputs\": \"" WORDS16 " a a a a\"}", 413, "longer");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(info), cmocka_unit_test(at_the_root), cmocka_unit_test(length_one),
                                        cmocka_unit_test(prompt), cmocka_unit_test(side), cmocka_unit_test(ids), cmocka_unit_test(metrics) };
    return cmocka_run_group_tests_name("what clients of TEI ask for", tests, begin, end);
}
