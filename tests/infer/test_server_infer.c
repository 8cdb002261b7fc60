// server_infer: the Open Inference Protocol's inference - tensors and texts in every form against the library, to the bit.
#include "tests/support/support_files.h"
#include "tests/support/support_oip.h"

#include "core/base/dtype.h"
#include "data/base/json_util.h"
#include "infer/encode/texts.h"
#include "infer/heads/head.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = { "one", "class", "tags", "span" };

// ---- what the library gives for rows of tokens

enum { ROWS = 5, CONTEXT = 20, WIDTH = 32, VOCAB = 21, MOST_LABELS = 64 };
static int32_t token[ROWS][CONTEXT];
static int64_t length[ROWS] = { 3, 12, 1, 7, 11 };
typedef struct truth {
    int64_t columns; // of a task
    float hidden[ROWS][CONTEXT][WIDTH], vector[ROWS][WIDTH], logits[ROWS][CONTEXT][MOST_LABELS];
} truth;
static truth of[4]; // by names

static void read_truth(int k)
{
    hs_session s;
    hs_row_reader *r;
    const hs_policy fp32 = { .low = HS_F32 };
    OK(hs_session_open(&s, scratch_path(names[k]), 0, hs_families, "cpu", 1));
    const hs_arch_shape shape = k ? hs_head_shape(&s) : hs_texts_shape(&s, false);
    OK(hs_session_load(&s, &fp32, &(hs_session_plans){ .eval = &shape }));
    OK(hs_session_reader(&r, &s, s.run));
    assert_true(s.context >= 12 && s.context <= CONTEXT);
    const int64_t width = hs_row_reader_width(r);
    assert_true(k ? width <= MOST_LABELS : width == WIDTH);
    of[k].columns = k ? width : 0;
    for (int i = 0; i < ROWS; i++) { // each by itself
        int index;
        int64_t n;
        static float logits[CONTEXT * MOST_LABELS];
        OK(hs_row_reader_add(r, &(hs_encode_row){ .id = token[i], .n = length[i] }, &index));
        OK(hs_row_reader_run(r));
        if (k == 0) {
            OK(hs_row_reader_hidden(r, index, of[k].hidden[i][0]));
            OK(hs_row_reader_vector(r, index, HS_POOLING_MEAN, false, of[k].vector[i]));
            continue;
        }
        OK(hs_row_reader_task(r, index, logits, &n));
        for (int64_t t = 0; t < n; t++)
            memcpy(of[k].logits[i][t], logits + t * width, (size_t)width * sizeof(float));
    }
    hs_row_reader_free(r);
    hs_session_close(&s);
}

static void small_vocab(const char *name)
{
    static const char words[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\nd\ne\nf\ng\nh\n##a\n##b\n##c\n##d\n##e\n##f\n,\n.\nthe\n";
    char path[256];
    snprintf(path, sizeof path, "%s/vocab.txt", name);
    scratch_write(path, words, sizeof words - 1);
}

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    serve_folder("class", "heads/bert-sequence");
    serve_folder("tags", "heads/bert-tokens");
    serve_folder("span", "heads/bert-span");
    for (int k = 1; k < 4; k++)
        small_vocab(names[k]);
    for (int i = 0; i < ROWS; i++)
        for (int t = 0; t < CONTEXT; t++)
            token[i][t] = (int32_t)((i * 17 + t * 5 + i * t) % VOCAB);
    for (int k = 0; k < 4; k++)
        read_truth(k);
    return 0;
}

// ---- requests

typedef struct request {
    hs_text json;
    char raw[1 << 16];
    size_t n_raw;
    bool any; // inputs
} request;

typedef enum form { FLAT, NESTED, RAW } form;

// A tensor of whole numbers: `way` says in which form, of which type.
static void add_input(request *q, const char *name, const char *type, int64_t rows, int64_t columns, const int64_t *v, form way)
{
    hs_text_add(&q->json, "%s{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[%lld,%lld]", q->any ? "," : "", name, type, (long long)rows,
                (long long)columns);
    q->any = true;
    if (way == RAW) {
        const size_t before = q->n_raw;
        for (int64_t i = 0; i < rows * columns; i++) {
            static const struct {
                const char *name;
                hs_dtype d;
            } types[] = { { "INT64", HS_I64 }, { "INT32", HS_I32 }, { "FP32", HS_F32 }, { "FP64", HS_F64 }, { "FP16", HS_F16 },
                          { "BF16", HS_BF16 }, { "BOOL", HS_BOOL }, { "UINT8", HS_U8 }, { "INT8", HS_I8 } };
            for (int k = 0; k < HS_COUNT(types); k++)
                if (strcmp(type, types[k].name) == 0) {
                    hs_convert(q->raw + q->n_raw, types[k].d, &v[i], HS_I64, 1);
                    q->n_raw += hs_dtype_bytes(types[k].d);
                }
        }
        hs_text_add(&q->json, ",\"parameters\":{\"binary_data_size\":%zu}}", q->n_raw - before);
        return;
    }
    hs_text_add(&q->json, ", \"data\" : [");
    for (int64_t i = 0; i < rows * columns; i++) {
        if (way == NESTED && i % columns == 0)
            hs_text_add(&q->json, "%s", i ? "], [" : "[");
        else if (i)
            hs_text_add(&q->json, ",\n");
        if (strcmp(type, "BOOL") == 0)
            hs_text_add(&q->json, v[i] ? "true" : "false");
        else
            hs_text_add(&q->json, strcmp(type, "FP32") == 0 ? "%lld.0e0" : "%lld", (long long)v[i]);
    }
    hs_text_add(&q->json, way == NESTED ? "]]}" : "]}");
}

typedef struct response {
    http_reply r;
    json_t *v;
    const char *raw; // the next output's
} response;

static response send_request(int port, const char *model, request *q, const char *rest)
{
    char path[256], head[256] = "";
    response a = { 0 };
    hs_text all = { 0 };
    hs_text_add(&all, "{\"inputs\":[%s]%s}", q->json.p, rest);
    if (q->n_raw)
        snprintf(head, sizeof head, "Inference-Header-Content-Length: %zu\r\nContent-Type: application/octet-stream\r\n", all.n);
    const size_t n = all.n;
    char *body = malloc(n + q->n_raw);
    memcpy(body, all.p, n);
    memcpy(body + n, q->raw, q->n_raw);
    snprintf(path, sizeof path, "/v2/models/%s/infer", model);
    a.r = http_ask(port, "POST", path, head, body, n + q->n_raw);
    const char *told = http_reply_header(&a.r, "Inference-Header-Content-Length", head);
    const size_t json = told ? strtoul(told, NULL, 10) : a.r.bytes;
    assert_true(json <= a.r.bytes);
    a.v = json_loadb(a.r.body, json, 0, NULL);
    a.raw = a.r.body + json;
    assert_non_null(a.v);
    if (a.r.status != 200)
        fail_msg("%s: %d: %s", model, a.r.status, a.r.body);
    free(body);
    hs_text_free(&all), hs_text_free(&q->json);
    q->n_raw = 0, q->any = false;
    return a;
}
static void end_response(response *a)
{
    json_decref(a->v);
    http_reply_free(&a->r);
}

// Numbers of output number i, which must be `name`, in whichever form they came.
static int64_t read_output(response *a, int i, const char *name, float *to)
{
    json_t *o = json_array_get(json_object_get(a->v, "outputs"), (size_t)i);
    int64_t n = 1, bytes;
    assert_string_equal(json_text_in(o, "name"), name);
    assert_string_equal(json_text_in(o, "datatype"), "FP32");
    for (size_t k = 0; k < json_array_size(json_inside(o, "shape")); k++)
        n *= json_integer_value(json_array_get(json_inside(o, "shape"), k));
    if ((bytes = json_number_in(o, "parameters/binary_data_size")) >= 0) {
        assert_null(json_inside(o, "data"));
        assert_int_equal(bytes, n * 4);
        memcpy(to, a->raw, (size_t)bytes);
        a->raw += bytes;
        return n;
    }
    assert_int_equal(json_array_size(json_inside(o, "data")), n);
    for (int64_t k = 0; k < n; k++)
        to[k] = (float)json_number_value(json_array_get(json_inside(o, "data"), (size_t)k));
    return n;
}

// Rows padded to `seq`, on the left or on the right.
typedef struct padded {
    int64_t ids[ROWS * 32], mask[ROWS * 32], seq;
    int64_t at[ROWS];
} padded;
static padded pad(int64_t seq, bool left)
{
    padded p = { .seq = seq };
    for (int i = 0; i < ROWS; i++) {
        p.at[i] = left ? seq - length[i] : 0;
        for (int64_t t = 0; t < length[i]; t++) {
            p.ids[i * seq + p.at[i] + t] = token[i][t];
            p.mask[i * seq + p.at[i] + t] = 1;
        }
    }
    return p;
}

static float got[ROWS * 32 * MOST_LABELS];

static void same_hidden(const padded *p)
{
    for (int i = 0; i < ROWS; i++)
        for (int64_t t = 0; t < p->seq; t++)
            for (int c = 0; c < WIDTH; c++) {
                const int64_t own = t - p->at[i];
                const float want = own >= 0 && own < length[i] ? of[0].hidden[i][own][c] : 0;
                if (got[(i * p->seq + t) * WIDTH + c] != want)
                    fail_msg("row %d, token %lld, column %d: %g, want %g", i, (long long)t, c, (double)got[(i * p->seq + t) * WIDTH + c],
                             (double)want);
            }
}

static const struct {
    const char *ids, *mask;
    form ids_as, mask_as;
} forms[] = {
    { "INT64", "INT64", FLAT, NESTED }, { "INT32", "INT32", NESTED, FLAT }, { "INT64", "INT64", RAW, RAW }, { "INT32", "BOOL", RAW, RAW },
    { "UINT8", "BOOL", RAW, NESTED },   { "INT64", "FP32", FLAT, RAW },     { "FP32", "BF16", FLAT, RAW },  { "FP64", "FP16", RAW, RAW },
    { "INT8", "FP32", RAW, NESTED },    { "FP32", "INT8", RAW, RAW },
};

static void test_tensors_as_library(void **state)
{
    (void)state;
    hs_server s;
    request q = { 0 };
    serve_start(&s, names, 4, NULL);
    const int port = hs_http_port(s.http);
    for (int k = 0; k < HS_COUNT(forms); k++) {
        const padded p = pad(20 + k % 3, k % 2);
        static const char *const outputs[] = {
            ",\"id\":\"q\\u00e9\\\"7\",\"parameters\":{\"binary_data_output\":true,\"priority\":2,\"timeout\":60000000,\"my_own\":\"x\"}",
            ",\"outputs\":[{\"name\":\"last_hidden_state\",\"parameters\":{\"binary_data\":true}},{\"name\":\"sentence_embedding\"}]",
            ",\"outputs\":[{\"name\":\"last_hidden_state\"},{\"name\":\"sentence_embedding\",\"parameters\":{\"binary_data\":true}}]",
            "",
        };
        add_input(&q, "input_ids", forms[k].ids, ROWS, p.seq, p.ids, forms[k].ids_as);
        add_input(&q, "attention_mask", forms[k].mask, ROWS, p.seq, p.mask, forms[k].mask_as);
        response a = send_request(port, "one", &q, outputs[k % 4]);
        assert_string_equal(json_text_in(a.v, "model_name"), "one");
        assert_string_equal(json_text_in(a.v, "model_version"), "1");
        assert_string_equal(json_text_in(a.v, "id"), k % 4 ? "?" : "q\u00e9\"7");
        assert_int_equal(read_output(&a, 0, "last_hidden_state", got), ROWS * p.seq * WIDTH);
        same_hidden(&p);
        assert_int_equal(read_output(&a, 1, "sentence_embedding", got), ROWS * WIDTH);
        assert_memory_equal(got, of[0].vector, sizeof of[0].vector);
        assert_ptr_equal(a.raw, a.r.body + a.r.bytes); // nothing is left
        end_response(&a);
    }
    serve_stop(&s);
}

// One row, without a mask; token types that are given, and change what comes out.
static void test_without_mask(void **state)
{
    (void)state;
    hs_server s;
    request q = { 0 };
    int64_t v[CONTEXT];
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    const char *vector = ",\"outputs\":[{\"name\":\"sentence_embedding\"}]";
    for (int i = 0; i < ROWS; i++)
        for (int types = 0; types < 3; types++) {
            for (int64_t t = 0; t < length[i]; t++)
                v[t] = token[i][t];
            add_input(&q, "input_ids", "INT64", 1, length[i], v, FLAT);
            for (int64_t t = 0; t < length[i]; t++)
                v[t] = types - 1;
            if (types)
                add_input(&q, "token_type_ids", "INT64", 1, length[i], v, RAW);
            response a = send_request(port, "one", &q, vector);
            assert_int_equal(read_output(&a, 0, "sentence_embedding", got), WIDTH);
            assert_true((memcmp(got, of[0].vector[i], sizeof of[0].vector[i]) == 0) == (types < 2));
            end_response(&a);
        }
    serve_stop(&s);
}

static void test_tasks_as_library(void **state)
{
    (void)state;
    hs_server s;
    request q = { 0 };
    serve_start(&s, names, 4, NULL);
    const int port = hs_http_port(s.http);
    const padded p = pad(24, true);
    for (int k = 1; k < 4; k++) {
        hs_served *m = hs_hub_find(s.hub, names[k], 0, 0);
        const int64_t labels = m->session.info.labels.n;
        add_input(&q, "input_ids", "INT64", ROWS, p.seq, p.ids, RAW);
        add_input(&q, "attention_mask", "INT64", ROWS, p.seq, p.mask, RAW);
        response a = send_request(port, names[k], &q, "");
        for (int out = 0; out < (k == 3 ? 2 : 1); out++) {
            const int64_t n = read_output(&a, out, k < 3 ? "logits" : out ? "end_logits" : "start_logits", got);
            const int64_t seq = k == 1 ? 1 : p.seq, columns = k == 3 ? 1 : labels;
            assert_int_equal(n, ROWS * seq * columns);
            for (int64_t i = 0; i < n; i++) {
                const int64_t row = i / columns / seq, t = k == 1 ? 0 : i / columns % seq - p.at[row], c = k == 3 ? out : i % columns;
                const bool real = k == 1 || (t >= 0 && t < length[row]);
                assert_true(got[i] == (real ? of[k].logits[row][t][c] : 0));
            }
        }
        end_response(&a);
        hs_served_let_go(m);
    }
    serve_stop(&s);
}

// ---- classes

static void test_classification(void **state)
{
    (void)state;
    hs_server s;
    request q = { 0 };
    serve_start(&s, names, 2, NULL);
    const int port = hs_http_port(s.http);
    const padded p = pad(20, false);
    hs_served *m = hs_hub_find(s.hub, "class", 0, 0);
    const hs_labels *labels = &m->session.info.labels;
    for (int raw = 0; raw < 2; raw++)
        for (int k = 1; k < 5; k++) {
            char rest[200], want[64];
            snprintf(rest, sizeof rest, ",\"outputs\":[{\"name\":\"logits\",\"parameters\":{\"classification\":%d,\"binary_data\":%s}}]", k,
                     raw ? "true" : "false");
            add_input(&q, "input_ids", "INT64", ROWS, p.seq, p.ids, RAW);
            add_input(&q, "attention_mask", "INT64", ROWS, p.seq, p.mask, RAW);
            response a = send_request(port, "class", &q, rest);
            const int64_t each = k < labels->n ? k : labels->n;
            assert_string_equal(json_text_in(a.v, "outputs/0/datatype"), "BYTES");
            assert_int_equal(json_number_in(a.v, "outputs/0/shape/1"), each);
            for (int i = 0; i < ROWS; i++) {
                const float *x = of[1].logits[i][0];
                double before = 1e30;
                for (int64_t j = 0; j < each; j++) {
                    char one[64] = "";
                    uint32_t n;
                    if (raw) {
                        memcpy(&n, a.raw, 4);
                        memcpy(one, a.raw + 4, n);
                        a.raw += 4 + n;
                    } else
                        snprintf(one, sizeof one, "%s",
                                 json_string_value(json_array_get(json_inside(a.v, "outputs/0/data"), (size_t)(i * each + j))));
                    const long c = strtol(strchr(one, ':') + 1, NULL, 10);
                    assert_true(c >= 0 && c < labels->n && (double)x[c] <= before);
                    before = (double)x[c];
                    snprintf(want, sizeof want, "%f:%ld:%s", (double)x[c], c, labels->name[c]);
                    assert_string_equal(one, want);
                }
            }
            assert_ptr_equal(a.raw, a.r.body + a.r.bytes);
            end_response(&a);
        }
    hs_served_let_go(m);
    serve_stop(&s);
}

// ---- texts

static void test_texts(void **state)
{
    (void)state;
    hs_server s;
    request q = { 0 };
    serve_start(&s, names, 2, NULL);
    const int port = hs_http_port(s.http);
    json_t *tei = http_ask_json(port, "POST", "/embed",
                                "{\"normalize\": false, \"inputs\": [\"the cat\", \"of \\u00e9 and\", \"a\"]}", 200);
    static const char text[] = "\7\0\0\0the cat\11\0\0\0of \303\251 and\1\0\0\0a";
    for (int way = 0; way < 3; way++) {
        if (way == 0)
            hs_text_add(&q.json,
                        "{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[3],\"data\":[\"the cat\",\"of \\u00e9 and\",\"a\"]}");
        else if (way == 1)
            hs_text_add(
                &q.json,
                "{\"data\":[[\"the cat\"],[\"of \303\251 and\"] , [\"a\"] ],\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[3,1]}");
        else {
            memcpy(q.raw, text, q.n_raw = sizeof text - 1);
            hs_text_add(&q.json, "{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[3,1],\"parameters\":{\"binary_data_size\":%zu}}",
                        q.n_raw);
        }
        response a = send_request(port, "one", &q, "");
        assert_int_equal(json_number_in(a.v, "outputs/0/shape/1"), 6); // [CLS] the c ##a ##t [SEP]
        read_output(&a, 0, "last_hidden_state", got);
        assert_int_equal(read_output(&a, 1, "sentence_embedding", got), 3 * WIDTH);
        for (int i = 0; i < 3 * WIDTH; i++)
            assert_true(got[i] == (float)json_number_value(json_array_get(json_array_get(tei, (size_t)(i / WIDTH)), (size_t)(i % WIDTH))));
        end_response(&a);
    }
    // the whole body is the text
    http_reply r = http_ask(port, "POST", "/v2/models/one/infer", "Inference-Header-Content-Length: 0\r\n", "the cat", 7);
    char head[256];
    assert_int_equal(r.status, 200);
    const size_t n = strtoul(http_reply_header(&r, "Inference-Header-Content-Length", head), NULL, 10);
    memcpy(got, r.body + r.bytes - WIDTH * sizeof(float), WIDTH * sizeof(float));
    assert_true(n > 0 && got[0] == (float)json_number_value(json_array_get(json_array_get(tei, 0), 0)));
    http_reply_free(&r);
    json_decref(tei);
    // pairs, and texts that are too long
    const char *long_text = "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a a a a a a a a a a a a a a "
                            "a a a a a a a a\"]}]%s}";
    char body[512];
    snprintf(body, sizeof body, long_text, "");
    http_expect(port, "POST", "/v2/models/one/infer", body, 413, "longer");
    snprintf(body, sizeof body, long_text, ",\"parameters\":{\"truncate\":true}");
    http_expect(port, "POST", "/v2/models/one/infer", body, 200, "\"shape\":[1,20,32]");
    http_expect(port, "POST", "/v2/models/class/infer",
                "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a b\"]},"
                "{\"name\":\"text_pair\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"c\"]}]}",
                200, "\"logits\"");
    serve_stop(&s);
}

// ---- many at once, of any priority, while the model is loaded anew and asked about

typedef struct crowd {
    int port, first;
    int wrong;
} crowd;

static void *ask_often(void *arg)
{
    crowd *c = arg;
    for (int k = 0; k < 30; k++) {
        const int i = (c->first + k) % ROWS;
        char json[512], headers[64];
        int64_t ids[CONTEXT];
        for (int64_t t = 0; t < length[i]; t++)
            ids[t] = token[i][t];
        const size_t raw = (size_t)length[i] * sizeof *ids;
        const int n = snprintf(json, sizeof json,
                               "{\"inputs\":[{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,%lld],\"parameters\":{"
                               "\"binary_data_size\":%zu}}],\"parameters\":{\"priority\":%d,\"binary_data_output\":true}}",
                               (long long)length[i], raw, k % 4);
        char *body = malloc((size_t)n + raw);
        memcpy(body, json, (size_t)n);
        memcpy(body + n, ids, raw);
        snprintf(headers, sizeof headers, "Inference-Header-Content-Length: %d\r\n", n);
        http_reply r = http_ask(c->port, "POST", "/v2/models/one/infer", headers, body, (size_t)n + raw);
        const size_t vector = sizeof of[0].vector[i], hidden = (size_t)length[i] * WIDTH * sizeof(float);
        c->wrong += r.status != 200 || r.bytes < vector + hidden || memcmp(r.body + r.bytes - vector, of[0].vector[i], vector) != 0 ||
                    memcmp(r.body + r.bytes - vector - hidden, of[0].hidden[i], hidden) != 0;
        http_reply_free(&r);
        free(body);
    }
    return NULL;
}

static void controlled(hs_server_opts *o) { o->control = true; }
static void test_crowd(void **state)
{
    (void)state;
    enum { CROWD = 4 };
    hs_server s;
    pthread_t thread[CROWD];
    crowd c[CROWD];
    serve_start(&s, names, 1, controlled);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < CROWD; i++) {
        c[i] = (crowd){ .port = port, .first = i };
        assert_int_equal(pthread_create(&thread[i], NULL, ask_often, &c[i]), 0);
    }
    for (int i = 0; i < 10; i++) {
        http_expect(port, "POST", "/v2/repository/models/one/load", "{}", 200, "null");
        http_expect(port, "GET", "/v2/models/one/stats", NULL, 200, "\"execution_count\"");
        http_expect(port, "POST", "/v2/repository/index", "", 200, "READY");
    }
    for (int i = 0; i < CROWD; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(c[i].wrong, 0);
    }
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors_as_library), cmocka_unit_test(test_without_mask), cmocka_unit_test(test_tasks_as_library),
        cmocka_unit_test(test_classification),     cmocka_unit_test(test_texts),        cmocka_unit_test(test_crowd),
    };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}
