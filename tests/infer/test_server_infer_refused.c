// server_infer_refused: inference requests that are wrong, each told by its name; what is counted of them.
#include "tests/support/support_files.h"
#include "tests/support/support_oip.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = { "one" };

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    return 0;
}

#define IDS                       "{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,2],\"data\":[1,2]}"
#define MASK(data)                IDS ",{\"name\":\"attention_mask\",\"datatype\":\"INT64\",\"shape\":[1,2],\"data\":" data "}"
#define TENSOR(type, shape, data) "{\"name\":\"input_ids\",\"datatype\":\"" type "\",\"shape\":" shape ",\"data\":" data "}"
#define BINARY(type, shape, bytes)                                                                                                         \
    "{\"name\":\"input_ids\",\"datatype\":\"" type "\",\"shape\":" shape ",\"parameters\":{\"binary_data_size\":" bytes "}}"

static const struct {
    const char *inputs, *rest;
    int status;
    const char *says;
} refused[] = {
    { IDS, "", 200, "" },
    { IDS, ",\"id\":null,\"outputs\":null,\"parameters\":null", 200, "" },
    { "{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,2],\"parameters\":null,\"data\":[1,2]}", "", 200, "" },
    { "{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,2],\"data\":null}", "", 400, "has no data" },
    { "", "", 400, "no inputs" },
    { IDS "," IDS, "", 400, "there twice" },
    { "{\"name\":\"pixels\",\"datatype\":\"INT64\",\"shape\":[1,2],\"data\":[1,2]}", "", 400, "no input 'pixels'" },
    { "{\"datatype\":\"INT64\",\"shape\":[1,2],\"data\":[1,2]}", "", 400, "no name" },
    { "{\"name\":\"attention_mask\",\"datatype\":\"INT64\",\"shape\":[1,2],\"data\":[1,2]}", "", 400, "neither input_ids nor text" },
    { IDS ",{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}", "", 400, "does not go with" },
    { IDS ",{\"name\":\"attention_mask\",\"datatype\":\"INT64\",\"shape\":[2,1],\"data\":[1,1]}", "", 400, "another shape" },
    { MASK("[0,0]"), "", 400, "row 0 has no tokens" },
    { MASK("[1,2]"), "", 400, "allowed are 0 to 1" },
    { MASK("[1,null]"), "", 400, "not a whole number" },
    { "{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,3],\"data\":[1,2,3]},"
      "{\"name\":\"attention_mask\",\"datatype\":\"INT64\",\"shape\":[1,3],\"data\":[1,0,1]}",
      "", 400, "a hole in row 0" },
    { TENSOR("INT64", "[1,2]", "[1,61]"), "", 400, "element 1 is 61, allowed are 0 to 60" },
    { TENSOR("INT64", "[1,2]", "[-1,1]"), "", 400, "element 0 is -1" },
    { TENSOR("INT64", "[1,2]", "[1,4294967297]"), "", 400, "4294967297" },
    { TENSOR("INT64", "[1,2]", "[1,99999999999999999999]"), "", 400, "not a whole number" },
    { TENSOR("INT64", "[1,2]", "[NaN,1]"), "", 400, "not a whole number" },
    { TENSOR("FP32", "[1,2]", "[NaN,1]"), "", 400, "not a whole number" },
    { TENSOR("FP32", "[1,2]", "[1e999,1]"), "", 400, "not a whole number" },
    { TENSOR("FP32", "[1,2]", "[0x1p2,1]"), "", 400, "not a whole number" },
    { TENSOR("FP32", "[1,2]", "[1.5,1]"), "", 400, "not a whole number" },
    { TENSOR("INT64", "[1,2]", "[1.0,1]"), "", 400, "not a whole number" },
    { TENSOR("INT64", "[1,2]", "[01,1]"), "", 400, "not a whole number" },
    { TENSOR("INT64", "[1,2]", "[\"1\",1]"), "", 400, "not a whole number" },
    { TENSOR("BOOL", "[1,2]", "[1,1]"), "", 400, "not a whole number" },
    { TENSOR("INT64", "[1,2]", "[1]"), "", 400, "fewer elements" },
    { TENSOR("INT64", "[1,2]", "[1,2,3]"), "", 400, "neither nested nor flat" },
    { TENSOR("INT64", "[1,2]", "[[1],[2]]"), "", 400, "neither nested nor flat" },
    { TENSOR("INT64", "[2,2]", "[[1,2],[3,4,5]]"), "", 400, "neither nested nor flat" },
    { TENSOR("INT64", "[1,2]", "[[1,2]"), "", 400, "" },
    { TENSOR("INT64", "[1,2]", "[1,2}"), "", 400, "" },
    { TENSOR("INT64", "[1,2]", "{\"a\":1}"), "", 400, "neither nested nor flat" },
    { TENSOR("INT64", "[1,2]", "0"), "", 400, "fewer elements" },
    { TENSOR("INT64", "[1,2]", "12345678"), "", 400, "neither nested nor flat" },
    { TENSOR("INT64", "[2]", "[1,2]"), "", 400, "[batch, tokens]" },
    { TENSOR("INT64", "[]", "[1,2]"), "", 400, "a shape of 1 to" },
    { TENSOR("INT64", "\"x\"", "[1,2]"), "", 400, "a shape of 1 to" },
    { TENSOR("INT64", "[1,1,1,1,1,1,1,1,2]", "[1,2]"), "", 400, "a shape of 1 to" },
    { TENSOR("INT64", "[-1,2]", "[1,2]"), "", 400, "dimension 0" },
    { TENSOR("INT64", "[1,0]", "[]"), "", 400, "dimension 1" },
    { TENSOR("INT64", "[1,2.0]", "[1,2]"), "", 400, "dimension 1" },
    { TENSOR("INT64", "[4294967296,4294967296]", "[1,2]"), "", 400, "more elements than can be counted" },
    { TENSOR("INT64", "[1,1000000000000]", "[1,2]"), "", 400, "fewer elements" },
    { TENSOR("INT64", "[65,1]",
             "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
             "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"),
      "", 400, "at most 64" },
    { TENSOR("INT64", "[1,21]", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"), "", 400, "context is 20" },
    { TENSOR("INT65", "[1,2]", "[1,2]"), "", 400, "'INT65' is not a datatype" },
    { TENSOR("FP16", "[1,2]", "[1,2]"), "", 400, "no form in JSON" },
    { TENSOR("BF16", "[1,2]", "[1,2]"), "", 400, "no form in JSON" },
    { TENSOR("BYTES", "[1,2]", "[\"a\",\"b\"]"), "", 400, "numbers are wanted" },
    { "{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,2]}", "", 400, "has no data" },
    { "{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,2],\"d\\u0061ta\":[1,2]}", "", 400, "is not a list" },
    { "{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,2],\"data\":[1,2],\"data\":[1,2]}", "", 400, "uplicate" },
    { "{\"name\":\"text\",\"datatype\":\"INT64\",\"shape\":[1],\"data\":[1]}", "", 400, "BYTES are wanted" },
    { "{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[1]}", "", 400, "not a text" },
    { "{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"\\ud800\"]}", "", 400, "element 0" },
    { "{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1,2],\"data\":[\"a\",\"b\"]}", "", 400, "2 texts in a row" },
    { "{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]},"
      "{\"name\":\"text_pair\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}",
      "", 400, "no input 'text_pair'" },
    { BINARY("INT64", "[1,2]", "16"), "", 400, "no header" },
    { "{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,2],\"parameters\":{\"shared_memory_region\":\"r\"}}", "", 501,
      "shared memory" },
    { IDS, ",\"outputs\":[{\"name\":\"pooled\"}]", 400, "no output 'pooled'" },
    { IDS, ",\"outputs\":[{\"name\":\"sentence_embedding\"},{\"name\":\"sentence_embedding\"}]", 400, "asked for twice" },
    { IDS, ",\"outputs\":{}", 400, "outputs must be a list" },
    { IDS, ",\"outputs\":[{}]", 400, "no name" },
    { IDS, ",\"outputs\":[{\"name\":\"last_hidden_state\",\"parameters\":{\"classification\":2}}]", 400, "no classes" },
    { IDS, ",\"outputs\":[{\"name\":\"sentence_embedding\",\"parameters\":{\"classification\":-2}}]", 400, "classification" },
    { IDS, ",\"id\":7", 400, "id must be text" },
    { IDS, ",\"parameters\":[]", 400, "not an object" },
    { IDS, ",\"parameters\":{\"x\":{}}", 400, "'x'" },
    { IDS, ",\"parameters\":{\"priority\":-1}", 400, "priority" },
    { IDS, ",\"parameters\":{\"timeout\":\"1\"}", 400, "timeout" },
    { IDS, ",\"parameters\":{\"binary_data_output\":1}", 400, "binary_data_output" },
    { IDS, ",\"parameters\":{\"sequence_id\":7}", 501, "sequence_id" },
    { IDS, ",\"parameters\":{\"sequence_start\":true}", 501, "sequence_start" },
    { IDS, ",\"parameters\":{\"sequence_id\":\"\",\"sequence_end\":true}", 501, "sequence_end" },
    { IDS, ",\"parameters\":{\"sequence_id\":0,\"sequence_start\":false,\"sequence_end\":false}", 200, "" },
    { IDS, ",\"parameters\":{\"timeout\":1}", 504, "longer than it was given" },
};

static void test_refusals(void **state)
{
    (void)state;
    hs_server s;
    char body[4096];
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < HS_COUNT(refused); i++) {
        snprintf(body, sizeof body, "{\"inputs\":[%s]%s}", refused[i].inputs, refused[i].rest);
        http_expect(port, "POST", "/v2/models/one/infer", body, refused[i].status, refused[i].says);
    }
    http_expect(port, "POST", "/v2/models/one/infer", "", 400, "not a JSON object");
    http_expect(port, "POST", "/v2/models/one/infer", "[]", 400, "not a JSON object");
    http_expect(port, "POST", "/v2/models/one/infer", "{\"inputs\":[" IDS "]} {}", 400, "wrong at byte");
    http_expect(port, "POST", "/v2/models/one/infer", "{\"inputs\":" IDS "}", 400, "must be a list");
    http_expect(port, "POST", "/v2/models/one/versions/1/infer", "{\"inputs\":[" IDS "]}", 200, "");
    http_expect(port, "POST", "/v2/models/one/versions/2/infer", "{\"inputs\":[" IDS "]}", 404, "version 2");
    http_expect(port, "POST", "/v2/models/two/infer", "{\"inputs\":[" IDS "]}", 404, "'two'");
    http_expect(port, "GET", "/v2/models/one/infer", NULL, 405, "POST");
    serve_stop(&s);
}

static void raw_refused(int port, const char *head, const char *json, const char *raw, size_t n, int status, const char *says)
{
    char body[1024], headers[128];
    const size_t at = (size_t)snprintf(body, sizeof body, "{\"inputs\":[%s]}", json);
    memcpy(body + at, raw, n);
    snprintf(headers, sizeof headers, "Inference-Header-Content-Length: %s\r\n", head);
    if (strcmp(head, "") == 0)
        snprintf(headers, sizeof headers, "Inference-Header-Content-Length: %zu\r\n", at);
    http_reply r = http_ask(port, "POST", "/v2/models/one/infer", headers, body, at + n);
    if (r.status != status || !strstr(r.body, says))
        fail_msg("%s: %d instead of %d: '%s' does not say '%s'", json, r.status, status, r.body, says);
    http_reply_free(&r);
}

static void test_raw_refusals(void **state)
{
    (void)state;
    hs_server s;
    const int64_t ids[3] = { 1, 2, 3 };
    const char *raw = (const char *)ids;
    const float nan[2] = { NAN, 1 };
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    raw_refused(port, "", BINARY("INT64", "[1,2]", "16"), raw, 16, 200, "");
    raw_refused(port, "", BINARY("INT64", "[1,2]", "16"), raw, 15, 400, "15 bytes are left");
    raw_refused(port, "", BINARY("INT64", "[1,2]", "16"), raw, 24, 400, "8 bytes of the body belong to no input");
    raw_refused(port, "", BINARY("INT64", "[1,2]", "24"), raw, 24, 400, "2 elements of INT64, and 24 bytes");
    raw_refused(port, "", BINARY("INT64", "[1,3]", "16"), raw, 16, 400, "3 elements of INT64, and 16 bytes");
    raw_refused(port, "", BINARY("INT64", "[1,2305843009213693952]", "0"), raw, 0, 400, "and 0 bytes");
    raw_refused(port, "", BINARY("INT64", "[1,2]", "-1"), raw, 16, 400, "binary_data_size");
    raw_refused(port, "", BINARY("INT64", "[1,2]", "18446744073709551615"), raw, 16, 400, "");
    raw_refused(port, "", BINARY("INT64", "[1,2]", "9223372036854775807"), raw, 16, 400, "16 bytes are left");
    raw_refused(port, "", BINARY("FP32", "[1,2]", "8"), (const char *)nan, 8, 400, "not a whole number");
    raw_refused(port, "", BINARY("BYTES", "[1,2]", "16"), raw, 16, 400, "lengths");
    raw_refused(port, "", TENSOR("INT64", "[1,2]", "[1,2]"), raw, 1, 400, "belong to no input");
    raw_refused(port, "1000000", IDS, raw, 16, 400, "1000000");
    raw_refused(port, "x", IDS, raw, 16, 400, "not a number");
    raw_refused(port, "-1", IDS, raw, 16, 400, "not a number");
    raw_refused(port, "99999999999999999999", IDS, raw, 16, 400, "not a number");
    raw_refused(port, "5", IDS, raw, 16, 400, "not JSON");
    raw_refused(port, "0", IDS, raw, 16, 413, "longer"); // all of it is one text
    serve_stop(&s);
}

static void small_answers(hs_server_opts *o) { o->most_answer = 1000; }
static void test_answer_too_long(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, small_answers);
    const int port = hs_http_port(s.http);
    const char *seven = "{\"inputs\":[" TENSOR("INT64", "[1,7]", "[1,1,1,1,1,1,1]") "]}",
               *six = "{\"inputs\":[" TENSOR("INT64", "[1,6]", "[1,1,1,1,1,1]") "]}";
    http_expect(port, "POST", "/v2/models/one/infer", seven, 400, "at most 250");
    http_expect(port, "POST", "/v2/models/one/infer", six, 200, "");
    hs_served *m = hs_hub_find(s.hub, "one", 0, 0);
    assert_int_equal(m->count->failure[HS_REASON_OTHER], 1);
    assert_int_equal(m->count->failed.count, 1);
    assert_int_equal(m->count->success, 1);
    hs_served_let_go(m);
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_raw_refusals),
        cmocka_unit_test(test_answer_too_long),
    };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}
