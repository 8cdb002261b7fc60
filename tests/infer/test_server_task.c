// server: models with a task over HTTP say what `predict` says of the same texts, to the last digit, alone, in one request, and together
// with many others; what is no request is refused by name.
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_http.h"

#include "core/base/rng.h"
#include "infer/heads/prediction_json.h"
#include "infer/heads/predictor.h"
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS = 24 };
static char text[2][TEXTS][400];
static hs_server server;
static int port;

// ---- what predict says, as the server would write it

typedef struct kind {
    const char *model, *path, *first, *second; // keys of a file of examples
    hs_about about;
    const char *more; // members of a request
    hs_span_opts span;
    int top;
} kind;

static const kind kinds[] = {
    { "bert-sequence", "predict", "text", NULL, HS_ABOUT_SEQUENCE, "\"truncate\": true", { 0 }, 0 },
    { "bert-sequence", "predict", "sentence1", "sentence2", HS_ABOUT_SEQUENCE, "\"truncate\": true", { 0 }, 0 },
    { "bert-sequence-multi_label_classification",
      "predict",
      "text",
      NULL,
      HS_ABOUT_MULTILABEL,
      "\"truncate\": true, \"top_k\": 2",
      { 0 },
      2 },
    { "bert-sequence-regression1", "predict", "text", NULL, HS_ABOUT_REGRESSION, "\"truncate\": true", { 0 }, 0 },
    { "bert-tokens", "ner", "text", NULL, HS_ABOUT_TOKENS, "\"truncate\": false", { 0 }, 0 },
    { "bert-span",
      "answer",
      "question",
      "context",
      HS_ABOUT_SPAN,
      "\"truncate\": true, \"top_k\": 3",
      { .n_best = 20, .max_answer = 30 },
      3 },
    { "bert-span",
      "answer",
      "question",
      "context",
      HS_ABOUT_SPAN,
      "\"truncate\": true, \"top_k\": 21, \"no_answer\": true, \"max_answer\": 3",
      { .n_best = 21, .max_answer = 3, .none = true },
      21 },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct wanted {
    const kind *k;
    hs_prediction_json json;
    char *of[TEXTS];
    int n;
} wanted;
static wanted want[KINDS];

static void write_scores(wanted *w, hs_text *t, const hs_prediction *x)
{
    const int n = hs_prediction_best(&w->json, x, w->k->top);
    for (int i = 0; i < n; i++) {
        hs_text_add(t, i ? ",{\"score\":" : "[{\"score\":");
        hs_text_f32(t, x->score[w->json.order[i]]);
        hs_text_add(t, ",\"label\":");
        hs_text_string(t, w->json.labels->name[w->json.order[i]]);
        hs_text_add(t, "}");
    }
    hs_text_add(t, "]");
}

static hs_status keep(const hs_prediction *x, void *user)
{
    static const hs_places places = { .type = "label", .bytes = true };
    wanted *w = user;
    hs_text t = { 0 };
    if (x->tag)
        hs_prediction_spans(&w->json, &t, x, &places);
    else if (x->score)
        write_scores(w, &t, x);
    else
        hs_prediction_answers(&t, x, w->k->top, &places);
    w->of[w->n++] = t.p;
    return HS_OK;
}

static void write_file(const kind *k)
{
    FILE *f = fopen(scratch_path("texts.jsonl"), "wb");
    assert_non_null(f);
    for (int i = 0; i < TEXTS; i++) {
        json_t *line = json_pack("{s:s}", k->first, text[0][i]);
        if (k->second)
            json_object_set_new(line, k->second, json_string(text[1][i]));
        json_dumpf(line, f, 0);
        fputc('\n', f);
        json_decref(line);
    }
    assert_int_equal(fclose(f), 0);
}

static void ask_library(const kind *k, wanted *w)
{
    hs_session s = { 0 };
    hs_predictor *p;
    const hs_policy fp32 = { .low = HS_F32 };
    const hs_examples_opts e = { .about = k->about, .labels_optional = true, .format = HS_LABEL_JSON };
    write_file(k);
    OK(hs_session_open(&s, scratch_path(k->model), 0, hs_families, "cpu", 2));
    const hs_arch_shape shape = hs_head_shape(&s);
    OK(hs_session_load(&s, &fp32, &(hs_session_plans){ .eval = &shape }));
    *w = (wanted){ .k = k };
    OK(hs_prediction_json_open(&w->json, k->about, &s.info.labels));
    OK(hs_predictor_open(
        &p, &(hs_predictor_opts){
                .session = &s, .examples = &e, .span = k->span, .path = scratch_path("texts.jsonl"), .done = keep, .user = w }));
    OK(hs_predictor_run(p));
    assert_int_equal(w->n, TEXTS);
    hs_predictor_close(p);
    hs_prediction_json_close(&w->json);
    hs_session_close(&s);
}

// A tokenizer without special tokens, of letters and a space, in the place of the one that is there.
static void write_letters(const char *folder)
{
    static const char vocab[] = "{\"a\": 0, \"b\": 1, \"c\": 2, \"\\u0120\": 3}", merges[] = "#version: 0.2\n";
    char file[1200];
    snprintf(file, sizeof file, "%s/vocab.txt", folder);
    assert_int_equal(remove(file), 0);
    scratch_write("gpt2-sequence/vocab.json", vocab, sizeof vocab - 1);
    scratch_write("gpt2-sequence/merges.txt", merges, sizeof merges - 1);
}

static void two_instances(hs_server_opts *o) { o->served.instances = o->served.threads = 2; }

static int begin(void **state)
{
    static const char *const names[] = { "bert-sequence",
                                         "bert-sequence-multi_label_classification",
                                         "bert-sequence-regression1",
                                         "gpt2-sequence",
                                         "bert-sequence2",
                                         "bert-tokens",
                                         "bert-span" };
    scratch_open(state);
    for (int i = 0; i < TEXTS; i++)
        for (int k = 0; k < 2; k++)
            heads_text(text[k][i], i, k, 14);
    heads_folder("bert-sequence", NULL, 0);
    heads_folder("bert-sequence", "multi_label_classification", 0);
    heads_folder("bert-sequence", "regression", 1);
    heads_folder("bert-sequence", NULL, 2);
    write_letters(heads_folder("gpt2-sequence", NULL, 0));
    heads_folder("bert-tokens", NULL, 0);
    heads_folder("bert-span", NULL, 0);
    for (int i = 0; i < KINDS; i++)
        ask_library(&kinds[i], &want[i]);
    serve_start(&server, names, HS_COUNT(names), two_instances);
    port = hs_http_port(server.http);
    return 0;
}

static int end(void **state)
{
    serve_stop(&server);
    for (int i = 0; i < KINDS; i++)
        for (int k = 0; k < want[i].n; k++)
            free(want[i].of[k]);
    return scratch_close(state);
}

// ---- requests

static json_t *input_of(const kind *k, int i, bool list)
{
    if (k->about == HS_ABOUT_SPAN)
        return json_pack("{s:s, s:s}", "question", text[0][i], "context", text[1][i]);
    if (k->second)
        return json_pack("[s, s]", text[0][i], text[1][i]);
    return list && k->about != HS_ABOUT_TOKENS ? json_pack("[s]", text[0][i]) : json_string(text[0][i]);
}

// Of texts [first, first + n) modulo TEXTS; n 0: of the first alone, without a list.
static char *body_of(const kind *k, int first, int n)
{
    json_t *inputs = n ? json_array() : input_of(k, first % TEXTS, false);
    for (int i = 0; i < n; i++)
        json_array_append_new(inputs, input_of(k, (first + i) % TEXTS, true));
    char *all = json_dumps(inputs, JSON_COMPACT | JSON_ENCODE_ANY), *body = malloc(strlen(all) + 400);
    sprintf(body, "{\"inputs\": %s, \"model\": \"%s\", %s}", all, k->model, k->more);
    free(all);
    json_decref(inputs);
    return body;
}

static bool same(const wanted *w, int first, int n, const http_reply *r)
{
    hs_text t = { 0 };
    for (int i = 0; i < n; i++)
        hs_text_add(&t, "%s%s", i ? "," : "[", w->of[(first + i) % TEXTS]);
    if (n)
        hs_text_add(&t, "]");
    else
        hs_text_add(&t, "%s", w->of[first % TEXTS]);
    const bool ok = r->status == 200 && strcmp(t.p, r->body) == 0;
    if (!ok)
        print_error("%s: wanted %s\ngot %d %s\n", w->k->model, t.p, r->status, r->body);
    hs_text_free(&t);
    return ok;
}

// by_name: the model is in the path.
static bool ask(const wanted *w, int first, int n, bool by_name)
{
    char path[200];
    char *body = body_of(w->k, first, n);
    snprintf(path, sizeof path, "%s%s/%s", by_name ? "/models/" : "", by_name ? w->k->model : "", w->k->path);
    http_reply r = http_post(port, path, body);
    const bool ok = same(w, first, n, &r);
    http_reply_free(&r);
    free(body);
    return ok;
}

static void same_as_predict(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        for (int i = 0; i < TEXTS; i++)
            assert_true(ask(&want[k], i, 0, i % 2));
        assert_true(ask(&want[k], 0, TEXTS, false));
        assert_true(ask(&want[k], 5, 40, true)); // more than a batch
        assert_true(ask(&want[k], 3, 1, true));
    }
}

// ---- many at once, of all models and tasks

typedef struct client {
    int number;
    atomic_int *wrong;
} client;

static void *ask_often(void *arg)
{
    const client *c = arg;
    for (int i = 0; i < 21; i++)
        if (!ask(&want[(c->number + i) % KINDS], 3 * i + c->number, (i * c->number) % 6, i & 1))
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

// ---- what the forms mean

static json_t *get(const char *path, const char *body)
{
    http_reply r = http_post(port, path, body);
    if (r.status != 200)
        fail_msg("%s %s: %d %s", path, body, r.status, r.body);
    json_t *v = json_loadb(r.body, r.bytes, 0, NULL);
    http_reply_free(&r);
    assert_non_null(v);
    return v;
}

static double number(const json_t *v, size_t i, const char *key) { return json_number_value(json_object_get(json_array_get(v, i), key)); }

// Raw scores are what the probabilities are made of.
static void raw_scores(void **state)
{
    (void)state;
    json_t *p = get("/models/bert-sequence/predict", "{\"inputs\": \"a b\"}");
    json_t *raw = get("/models/bert-sequence/predict", "{\"inputs\": \"a b\", \"raw_scores\": true}");
    double sum = 0;
    assert_int_equal(json_array_size(p), 3);
    for (size_t i = 0; i < 3; i++) {
        sum += exp(number(raw, i, "score"));
        assert_string_equal(json_string_value(json_object_get(json_array_get(p, i), "label")),
                            json_string_value(json_object_get(json_array_get(raw, i), "label")));
        assert_true(i == 0 || number(p, i, "score") <= number(p, i - 1, "score"));
    }
    for (size_t i = 0; i < 3; i++)
        assert_true(fabs(exp(number(raw, i, "score")) / sum - number(p, i, "score")) < 1e-6);
    json_decref(p);
    json_decref(raw);
}

// Places count characters and bytes of the text that was sent.
static void places(void **state)
{
    (void)state;
    static const char sent[] = "é zz, (é) hf é";
    json_t *v = get("/ner", "{\"inputs\": \"é zz, (é) hf é\"}");
    assert_true(json_array_size(v) > 0);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *x = json_array_get(v, i);
        const char *found = json_string_value(json_object_get(x, "text"));
        const size_t from = (size_t)json_integer_value(json_object_get(x, "start_byte")),
                     to = (size_t)json_integer_value(json_object_get(x, "end_byte"));
        size_t characters = 0;
        assert_true(from < to && to < sizeof sent && strlen(found) == to - from && memcmp(sent + from, found, to - from) == 0);
        for (size_t k = 0; k < from; k++)
            characters += ((unsigned char)sent[k] & 0xC0) != 0x80;
        assert_int_equal(json_integer_value(json_object_get(x, "start")), characters);
        for (size_t k = from; k < to; k++)
            characters += ((unsigned char)sent[k] & 0xC0) != 0x80;
        assert_int_equal(json_integer_value(json_object_get(x, "end")), characters);
        assert_true(number(v, i, "score") > 0 && number(v, i, "score") <= 1 && json_is_string(json_object_get(x, "label")));
    }
    json_decref(v);
}

static void check_ranks(const char *model, bool two)
{
    char path[100], body[600];
    snprintf(path, sizeof path, "/models/%s/rerank", model);
    json_t *v = get(path, "{\"query\": \"a b\", \"texts\": [\"c\", \"zz é\", \"d e f\", \"c\"], \"return_text\": true}");
    json_t *raw = get(path, "{\"query\": \"a b\", \"texts\": [\"c\", \"zz é\", \"d e f\", \"c\"], \"raw_scores\": true}");
    static const char *const texts[] = { "c", "zz é", "d e f", "c" };
    bool seen[4] = { false };
    assert_int_equal(json_array_size(v), 4);
    for (size_t i = 0; i < 4; i++) {
        const int index = (int)number(v, i, "index");
        assert_true(index >= 0 && index < 4 && !seen[index]);
        seen[index] = true;
        assert_string_equal(json_string_value(json_object_get(json_array_get(v, i), "text")), texts[index]);
        assert_int_equal(number(raw, i, "index"), index);
        assert_null(json_object_get(json_array_get(raw, i), "text"));
        assert_true(fabs(1 / (1 + exp(-number(raw, i, "score"))) - number(v, i, "score")) < 1e-6);
        assert_true(i == 0 || number(v, i, "score") < number(v, i - 1, "score") ||
                    (number(v, i, "score") == number(v, i - 1, "score") && index > (int)number(v, i - 1, "index")));
        snprintf(path, sizeof path, "/models/%s/predict", model); // of the pair
        snprintf(body, sizeof body, "{\"inputs\": [\"a b\", \"%s\"]}", texts[index]);
        json_t *p = get(path, body);
        for (size_t k = 0; k < json_array_size(p); k++) // of two labels the second one's probability, else the number
            if (!two || strcmp(json_string_value(json_object_get(json_array_get(p, k), "label")), "label 1") == 0)
                assert_true(number(p, k, "score") == number(two ? v : raw, i, "score"));
        json_decref(p);
    }
    json_decref(v);
    json_decref(raw);
}

static void ranks(void **state)
{
    (void)state;
    check_ranks("bert-sequence-regression1", false);
    check_ranks("bert-sequence2", true);
}

// A text without a token asks the model nothing; it is answered in its place.
static void empty(void **state)
{
    (void)state;
    const char *path = "/models/gpt2-sequence/predict";
    json_t *one = get(path, "{\"inputs\": \"a b\"}"), *none = get(path, "{\"inputs\": \"\"}");
    json_t *many = get(path, "{\"inputs\": [[\"\"], [\"a b\"], [\"\"], [\"\"], [\"a b\"], [\"\"]]}");
    static const bool full[] = { false, true, false, false, true, false };
    for (size_t i = 0; i < 3; i++)
        assert_true((float)number(none, i, "score") == 1 / 3.0f && number(one, i, "score") != number(none, i, "score"));
    assert_int_equal(json_array_size(many), HS_COUNT(full));
    for (size_t i = 0; i < (size_t)HS_COUNT(full); i++)
        assert_true(json_equal(json_array_get(many, i), full[i] ? one : none));
    json_decref(one);
    json_decref(none);
    json_decref(many);
    http_reply r = http_post(port, path, "{\"inputs\": [[\"a\"], [\"abx\"]]}");
    assert_true(r.status == 400 && strstr(r.body, "text 2: ")); // a letter that the tokenizer lacks
    http_reply_free(&r);
}

// An answer that grows beyond what the server gives ends its request, and nothing else.
static void small(hs_server_opts *o) { o->most_answer = 600; }

static void too_long(void **state)
{
    (void)state;
    static const char *const names[] = { "bert-span" };
    hs_server s;
    serve_start(&s, names, 1, small);
    const int own = hs_http_port(s.http);
    const char *path = "/answer";
    http_reply r = http_post(own, path, "{\"question\": \"a\", \"context\": \"b c d e f\", \"top_k\": 20}");
    assert_true(r.status == 400 && strstr(r.body, "longer than the 600 bytes"));
    http_reply_free(&r);
    r = http_post(own, path, "{\"question\": \"a\", \"context\": \"b c d e f\", \"top_k\": 2}");
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
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
        { "/predict", "{\"inputs\": \"a\"", 400, "not JSON" },
        { "/predict", "", 400, "empty" },
        { "/predict", "{\"inputs\": \"\xff\"}", 400, "not JSON" },
        { "/predict", "[\"a\"]", 422, "must be a JSON object" },
        { "/predict", "{}", 422, "inputs is missing" },
        { "/predict", "{\"inputs\": []}", 422, "inputs is empty" },
        { "/predict", "{\"inputs\": 3}", 422, "inputs must be" },
        { "/predict", "{\"inputs\": [\"a\", \"b\", \"c\"]}", 422, "a batch [[text]" },
        { "/predict", "{\"inputs\": [\"a\", 3]}", 422, "inputs must be" },
        { "/predict", "{\"inputs\": [[\"a\"], \"b\"]}", 422, "element 1" },
        { "/predict", "{\"inputs\": [[\"a\"], []]}", 422, "element 1" },
        { "/predict", "{\"inputs\": [[\"a\", \"b\", \"c\"]]}", 422, "element 0" },
        { "/predict", "{\"inputs\": \"a\", \"truncate\": 1}", 422, "truncate must be true or false" },
        { "/predict", "{\"inputs\": \"a\", \"top_k\": 0}", 422, "top_k must be" },
        { "/predict", "{\"inputs\": \"a\", \"topk\": 1}", 422, "'topk' is none of inputs" },
        { "/predict", "{\"inputs\": \"a\", \"truncate\": true, \"truncation_direction\": \"Left\"}", 422, "cut at their end" },
        { "/models/bert-sequence2/rerank", "{\"query\": \"a\", \"texts\": [\"b\"], \"top_n\": 0}", 422, "top_n" },
        { "/predict", "{\"inputs\": \"a\", \"model\": 1}", 422, "model must be a name" },
        { "/predict", "{\"inputs\": \"a\", \"model\": \"none\"}", 404, "no model 'none'" },
        { "/predict", "{\"inputs\": \"a\", \"model\": \"bert-tokens\"}", 424, "bert-tokens" },
        { "/predict", "{\"inputs\": \"a b c d e f g h a b c d e f\", \"model\": \"bert-sequence\"}", 413, "longer than the 12 tokens" },
        { "/models/bert-sequence/predict", "{\"inputs\": \"a\", \"model\": \"bert-span\"}", 422, "the path says 'bert-sequence'" },
        { "/models/none/predict", "{\"inputs\": \"a\"}", 404, "no model 'none'" },
        { "/models/bert-sequence/rerank", "{\"query\": \"a\", \"texts\": [\"b\"]}", 424, "3 labels" },
        { "/models/bert-sequence2/rerank", "{\"texts\": [\"b\"]}", 422, "query is missing" },
        { "/models/bert-sequence2/rerank", "{\"query\": 1, \"texts\": [\"b\"]}", 422, "query must be a text" },
        { "/models/bert-sequence2/rerank", "{\"query\": \"a\"}", 422, "texts is missing" },
        { "/models/bert-sequence2/rerank", "{\"query\": \"a\", \"texts\": \"b\"}", 422, "texts must be a list" },
        { "/models/bert-sequence2/rerank", "{\"query\": \"a\", \"texts\": []}", 422, "texts is empty" },
        { "/models/bert-sequence2/rerank", "{\"query\": \"a\", \"texts\": [\"b\", null]}", 422, "element 1" },
        { "/ner", "{\"inputs\": [\"a\", {}]}", 422, "element 1" },
        { "/answer", "{\"question\": \"a\"}", 422, "question and context" },
        { "/answer", "{\"inputs\": [{\"question\": \"a\", \"context\": \"b\"}, {}]}", 422, "element 1" },
        { "/answer", "{\"question\": \"a\", \"context\": \"b\", \"top_k\": 1001}", 422, "top_k" },
        { "/answer", "{\"question\": \"a b c d e f g h\", \"context\": \"b\"}", 413, "longer" },
    };
    for (int i = 0; i < HS_COUNT(cases); i++) {
        json_t *v = http_refused(port, cases[i].path, cases[i].body, cases[i].status, cases[i].part);
        assert_string_equal(json_string_value(json_object_get(v, "error_type")), cases[i].status == 424 ? "Backend" : "Validation");
        json_decref(v);
    }
    char *many = malloc(4096), *p = many + sprintf(many, "{\"inputs\": [[\"a\"]"); // one more than are taken
    for (int i = 0; i < 64; i++)
        p += sprintf(p, ",[\"a\"]");
    sprintf(p, "]}");
    http_reply r = http_post(port, "/predict", many);
    assert_int_equal(r.status, 413);
    http_reply_free(&r);
    r = http_get(port, "/predict");
    assert_int_equal(r.status, 405);
    http_reply_free(&r);
    free(many);
    assert_true(ask(&want[0], 0, 3, true)); // and it goes on
}

// Requests with a few bytes of another: each is answered, and what is right still is.
static void any_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body;
    } seeds[] = { { "/predict", "{\"inputs\": [[\"a\"], [\"b\", \"c\"]], \"truncate\": true, \"top_k\": 2}" },
                  { "/models/bert-sequence2/rerank", "{\"query\": \"a\", \"texts\": [\"b\", \"c\"], \"return_text\": true}" },
                  { "/ner", "{\"inputs\": [\"a b, c\", \"\\u00e9 zz\"], \"model\": \"bert-tokens\"}" },
                  { "/answer", "{\"inputs\": [{\"question\": \"a\", \"context\": \"b c\"}], \"top_k\": 3, \"no_answer\": true}" },
                  { "/tokenize", "{\"inputs\": [\"a\", \"b\"], \"add_special_tokens\": false}" },
                  { "/decode", "{\"ids\": [[1, 2], [3]], \"skip_special_tokens\": false}" } };
    static const char pieces[][8] = { "null", "{}", "[]", "[", "\"", "1e9", "-1", "\\u0000", "true", "\xff", "9", "" };
    for (uint64_t i = 0; i < 1500; i++) {
        char body[400];
        const int k = (int)(i % HS_COUNT(seeds));
        size_t n = strlen(seeds[k].body);
        memcpy(body, seeds[k].body, n);
        for (uint64_t edit = 0; edit < 1 + i % 3; edit++) {
            const uint64_t random = hs_mix2(i, edit);
            const char *piece = pieces[random % HS_COUNT(pieces)];
            const size_t at = (random >> 8) % n, cut = (random >> 32) % 4, add = strlen(piece), rest = n - at > cut ? n - at - cut : 0;
            memmove(body + at + add, body + at + (n - at - rest), rest);
            memcpy(body + at, piece, add);
            n = at + add + rest;
            n += n == 0;
        }
        http_reply r = http_ask(port, "POST", seeds[k].path, "", body, n);
        if (r.status != 200 && r.status != 400 && r.status != 404 && r.status != 413 && r.status != 422)
            fail_msg("%s %.*s: %d %s", seeds[k].path, (int)n, body, r.status, r.body);
        json_t *v = json_loadb(r.body, r.bytes, 0, NULL);
        assert_non_null(v);
        json_decref(v);
        http_reply_free(&r);
    }
    for (int k = 0; k < KINDS; k++)
        assert_true(ask(&want[k], k, 3, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_as_predict), cmocka_unit_test(together), cmocka_unit_test(raw_scores),
                                        cmocka_unit_test(places),          cmocka_unit_test(ranks),    cmocka_unit_test(empty),
                                        cmocka_unit_test(too_long),        cmocka_unit_test(refused),  cmocka_unit_test(any_bytes) };
    return cmocka_run_group_tests(tests, begin, end);
}
