// server: with a response cache every answer is the one without, byte by byte; what was found is not computed; a version that is loaded
// anew finds nothing of the one before.
#include "data/base/file.h"
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_oip.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const names[] = { "one", "bert-sequence", "bert-sequence2", "bert-tokens", "bert-span" };
enum { MODELS = HS_COUNT(names) };
static hs_server plain, kept; // without a cache, and with one
static int plain_port, port;

static void with_cache(hs_server_opts *o) { o->cache_bytes = 1 << 20, o->control = true; }

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    heads_folder("bert-sequence", NULL, 0);
    heads_folder("bert-sequence", NULL, 2);
    heads_folder("bert-tokens", NULL, 0);
    heads_folder("bert-span", NULL, 0);
    serve_start(&plain, names, MODELS, NULL);
    serve_start(&kept, names, MODELS, with_cache);
    plain_port = hs_http_port(plain.http), port = hs_http_port(kept.http);
    return 0;
}
static int end(void **state)
{
    int64_t left[2];
    hs_server_stop(&plain, &left[0]), hs_server_stop(&kept, &left[1]);
    return left[0] || left[1] ? -1 : scratch_close(state);
}

typedef struct counts {
    uint64_t hits, misses, success, texts, rows, queued;
} counts;
static counts counted(const char *name)
{
    hs_served *m = hs_hub_find(kept.hub, name, 0, 0);
    const counts c = { m->count->cache_hit.count, m->count->cache_miss.count,           m->count->success,
                       m->count->texts,           hs_batcher_counted(m->batcher)->rows, m->count->queue.count };
    hs_served_let_go(m);
    return c;
}

static char *ask(int where, const char *path, const char *body)
{
    http_reply r = http_post(where, path, body);
    if (r.status != 200)
        fail_msg("%s %s: %d %s", path, body, r.status, r.body);
    free(r.head);
    return r.body;
}

// ---- the same answer, whether it is found or computed

static const struct {
    const char *model, *path, *body;
    int found; // all of it by what those in front of it left
} asked[] = {
    { "one", "/models/one/embed", "{\"inputs\": [\"the cat\", \"a bad cab\"], \"normalize\": false}", 0 },
    { "one", "/v1/embeddings", "{\"model\": \"one\", \"input\": \"a bad cab\"}", 1 },
    { "one", "/v1/embeddings", "{\"model\": \"one\", \"input\": [\"the cat\"], \"encoding_format\": \"base64\"}", 1 },
    { "one", "/models/one/embed", "{\"inputs\": [\"the cat\"], \"normalize\": true}", 0 },
    { "one", "/v2/models/one/infer",
      "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"a bad cab\",\"the cat\"]}],\"outputs\":[{\"name\":"
      "\"sentence_embedding\"}]}",
      1 },
    { "one", "/models/one/embed_all", "{\"inputs\": [\"the cat\", \"a\"]}", 0 },
    { "one", "/v2/models/one/infer", "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1,1],\"data\":[\"the cat\"]}]}",
      1 },
    { "one", "/models/one/fill-mask", "{\"inputs\": [\"the [MASK] [MASK] a\", \"[MASK]\"]}", 0 },
    { "one", "/models/one/fill-mask", "{\"inputs\": \"[MASK]\", \"top_k\": 5}", 1 },
    { "one", "/models/one/fill-mask", "{\"inputs\": \"[MASK]\", \"top_k\": 2}", 0 },
    { "bert-sequence", "/models/bert-sequence/predict", "{\"inputs\": [[\"a b c\"], [\"a\", \"b c\"]]}", 0 },
    { "bert-sequence", "/models/bert-sequence/predict", "{\"inputs\": [\"a\", \"b c\"], \"raw_scores\": true, \"top_k\": 1}", 1 },
    { "bert-sequence", "/v2/models/bert-sequence/infer",
      "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a b c\"]}]}", 1 },
    { "bert-sequence2", "/models/bert-sequence2/rerank", "{\"query\": \"a\", \"texts\": [\"b c\", \"c\", \"a\"]}", 0 },
    { "bert-sequence2", "/models/bert-sequence2/predict", "{\"inputs\": [\"a\", \"c\"]}", 1 },
    { "bert-tokens", "/models/bert-tokens/ner", "{\"inputs\": [\"a b c d\", \"b\"]}", 0 },
    { "bert-tokens", "/models/bert-tokens/ner", "{\"inputs\": \"b\"}", 1 },
    // a context of several rows, found and computed among each other
    { "bert-span", "/models/bert-span/answer", "{\"question\": \"a\", \"context\": \"b c d e f g h a b c d e f g h a c e\", \"top_k\": 3}",
      0 },
    { "bert-span", "/models/bert-span/answer",
      "{\"inputs\": [{\"question\": \"a\", \"context\": \"h h\"}, {\"question\": \"a\", \"context\": \"b c d e f g h a b c d e f g h a c "
      "e\"}, {\"question\": \"c\", \"context\": \"h h\"}], \"top_k\": 3}",
      0 },
};

static void test_same_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(asked); i++) {
        char *want = ask(plain_port, asked[i].path, asked[i].body);
        for (int again = 0; again < 2; again++) {
            const counts before = counted(asked[i].model);
            char *got = ask(port, asked[i].path, asked[i].body);
            const counts after = counted(asked[i].model);
            const bool found = again || asked[i].found;
            assert_string_equal(got, want);
            if (after.hits - before.hits != found || after.misses - before.misses != !found)
                fail_msg("%s, time %d: %s", asked[i].body, again, found ? "not found" : "found");
            assert_int_equal(after.success - before.success, 1);
            assert_true((after.rows > before.rows) == !found && (after.texts > before.texts) == !found);
            assert_true((after.queued > before.queued) == !found);
            free(got);
        }
        free(want);
    }
}

// Tokens with a padding and a mask are those of the text.
static void test_tokens_of_text(void **state)
{
    (void)state;
    static const char *const ids =
        "{\"inputs\":[{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[1,6],\"data\":[%d,%d,%d,%d,0,0]},"
        "{\"name\":\"attention_mask\",\"datatype\":\"INT64\",\"shape\":[1,6],\"data\":[1,1,1,1,0,0]},"
        "{\"name\":\"token_type_ids\",\"datatype\":\"INT64\",\"shape\":[1,6],\"data\":[0,0,%d,0,0,0]}]}";
    char body[1024], *got = ask(port, "/models/one/embed_all", "{\"inputs\": \"of and\"}");
    free(got);
    free(ask(port, "/models/one/embed", "{\"inputs\": \"of and\", \"normalize\": false}"));
    for (int type = 0; type < 2; type++) {
        snprintf(body, sizeof body, ids, 2, 58, 59, 3, type); // [CLS] of and [SEP]
        const counts before = counted("one");
        char *want = ask(plain_port, "/v2/models/one/infer", body);
        got = ask(port, "/v2/models/one/infer", body);
        assert_string_equal(got, want);
        assert_int_equal(counted("one").hits - before.hits, type == 0);
        free(got), free(want);
    }
}

// Of a request only what nobody has asked before is computed, wherever it stands.
static void test_part(void **state)
{
    (void)state;
    char body[400], *want;
    free(ask(port, "/models/one/embed", "{\"inputs\": [\"b\", \"d\", \"f\", \"h\"]}"));
    for (int first = 0; first < 2; first++) {
        const counts before = counted("one");
        snprintf(body, sizeof body, "{\"inputs\": [%s\"b\", \"k%c\", \"d\", \"d\", \"m%c\", \"h\", \"f\"]}", first ? "\"o\", " : "",
                 'a' + first, 'a' + first);
        want = ask(plain_port, "/models/one/embed", body);
        char *got = ask(port, "/models/one/embed", body);
        const counts after = counted("one");
        assert_string_equal(got, want);
        assert_int_equal(after.rows - before.rows, first ? 3 : 2);
        assert_int_equal(after.misses - before.misses, 1);
        free(got), free(want);
    }
}

// ---- a version finds nothing of the one before

static void test_reload(void **state)
{
    (void)state;
    const char *body = "{\"inputs\": [[\"c d e\"]]}", *path = "/models/bert-sequence/predict";
    char *want = ask(plain_port, path, body);
    for (int version = 0; version < 3; version++) {
        const counts before = counted("bert-sequence"); // of the name, whatever version
        for (int again = 0; again < 2; again++) {
            char *got = ask(port, path, body);
            assert_string_equal(got, want);
            free(got);
        }
        const counts c = counted("bert-sequence");
        assert_true(c.hits >= 1 && c.misses >= 1);
        if (version)
            assert_true(c.hits == before.hits + 1 && c.misses == before.misses + 1);
        http_reply r = http_post(port, "/v2/repository/models/bert-sequence/load", "{}");
        assert_int_equal(r.status, 200);
        http_reply_free(&r);
    }
    free(want);
    for (int i = 0; i < MODELS; i++) {
        char unload[100];
        snprintf(unload, sizeof unload, "/v2/repository/models/%s/unload", names[i]);
        http_reply r = http_post(port, unload, "{}");
        assert_int_equal(r.status, 200);
        http_reply_free(&r);
    }
    for (int i = 0; i < 1000 && hs_row_cache_look(kept.cache).entries; i++) // closed by a thread of its own
        nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    assert_int_equal(hs_row_cache_look(kept.cache).entries, 0);
    assert_int_equal(hs_row_cache_look(kept.cache).bytes, 0);
    for (int i = 0; i < MODELS; i++)
        OK(hs_hub_load_now(kept.hub, names[i], NULL));
}

// ---- what is told

static void says(int where, const char *path, const char *part, bool yes)
{
    http_reply r = http_get(where, path);
    if ((strstr(r.body, part) != NULL) != yes)
        fail_msg("%s %s '%s': %s", path, yes ? "does not say" : "says", part, r.body);
    http_reply_free(&r);
}

static void test_told(void **state)
{
    (void)state;
    char line[200];
    const counts before = counted("bert-tokens");
    for (int i = 0; i < 3; i++)
        free(ask(port, "/models/bert-tokens/ner", "{\"inputs\": \"e f\"}"));
    const counts c = counted("bert-tokens");
    json_t *v = http_ask_json(port, "GET", "/v2/models/bert-tokens/stats", NULL, 200);
    json_t *stats = json_inside(v, "model_stats/0/inference_stats");
    assert_int_equal(json_number_in(stats, "cache_hit/count"), c.hits);
    assert_int_equal(json_number_in(stats, "cache_miss/count"), c.misses);
    assert_true(c.hits == before.hits + 2 && c.misses == before.misses + 1);
    assert_int_equal(json_number_in(stats, "success/count"), before.success + 3);
    assert_int_equal(json_number_in(stats, "queue/count"), before.queued + 1);
    assert_true(json_number_in(stats, "cache_hit/ns") > 0 && json_number_in(stats, "cache_miss/ns") > 0);
    assert_int_equal(json_number_in(v, "model_stats/0/inference_count"), before.texts + 1);
    json_decref(v);
    snprintf(line, sizeof line, "nv_cache_num_hits_per_model{model=\"bert-tokens\",version=\"2\"} %llu\n", (unsigned long long)c.hits);
    says(port, "/metrics", line, true);
    snprintf(line, sizeof line, "nv_cache_num_misses_per_model{model=\"bert-tokens\",version=\"2\"} %llu\n", (unsigned long long)c.misses);
    says(port, "/metrics", line, true);
    says(port, "/metrics", "nv_cache_hit_duration_per_model{model=\"one\"", true);
    says(port, "/metrics", "nv_cache_miss_duration_per_model{model=\"one\"", true);
    says(port, "/metrics", "nv_cache_util 0.0", true);
    says(plain_port, "/metrics", "nv_cache_util", false);
    says(port, "/v2/models/one/config", "\"response_cache\":{\"enable\":true}", true);
    says(plain_port, "/v2/models/one/config", "\"response_cache\":{\"enable\":false}", true);
}

// ---- a crowd, and room for some of what it asks

static atomic_int wrong;
static int crowded;
typedef struct pair {
    char *body, *want;
} pair;
static pair crowd[12];

static void *ask_often(void *arg)
{
    const int number = *(const int *)arg;
    for (int i = 0; i < 60; i++) {
        const pair *p = &crowd[(number * 5 + i * i) % HS_COUNT(crowd)];
        char *got = ask(crowded, "/embed", p->body);
        if (strcmp(got, p->want) != 0)
            atomic_fetch_add(&wrong, 1);
        free(got);
    }
    return NULL;
}

static void with_little(hs_server_opts *o) { o->cache_bytes = 3000, o->served.instances = 2, o->served.threads = 2; }

static void test_crowd(void **state)
{
    (void)state;
    hs_server s;
    pthread_t thread[4];
    int number[4];
    serve_start(&s, names, 1, with_little);
    crowded = hs_http_port(s.http);
    for (int i = 0; i < HS_COUNT(crowd); i++) {
        char body[200];
        snprintf(body, sizeof body, "{\"inputs\": [\"%c b\", \"x %c\", \"%c\"]}", 'a' + i, 'a' + i / 2, 'a' + i / 4);
        crowd[i].body = strdup(body);
        crowd[i].want = ask(plain_port, "/models/one/embed", body);
    }
    for (int i = 0; i < 4; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, ask_often, &number[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
    const hs_row_cache_stats now = hs_row_cache_look(s.cache);
    assert_true(now.bytes <= 3000 && now.entries > 0 && now.evicted > 0);
    for (int i = 0; i < HS_COUNT(crowd); i++)
        free(crowd[i].body), free(crowd[i].want);
    serve_stop(&s);
}

// ---- a row of which one thing that is wanted is not a number: the other is not held behind the request

static void test_not_finite(void **state)
{
    (void)state;
    static const char *const name[] = { "nan" };
    static const char file[] = "nan/model.safetensors";
    hs_server s;
    char *bytes;
    size_t n;
    uint64_t head;
    serve_folder(name[0], "encoders/bert");
    OK(hs_file_read(scratch_path(file), &bytes, &n));
    memcpy(&head, bytes, sizeof head);
    memset(bytes + sizeof head + head, 0xff, n - sizeof head - head);
    scratch_write(file, bytes, n);
    free(bytes);
    serve_start(&s, name, 1, with_cache);
    const int where = hs_http_port(s.http);
    http_expect(where, "POST", "/v2/models/nan/infer",
                "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}],\"outputs\":[{\"name\":"
                "\"last_hidden_state\"},{\"name\":\"sentence_embedding\"}]}",
                422, "not finite");
    assert_int_equal(hs_row_cache_look(s.cache).entries, 1);
    http_expect(where, "POST", "/v2/repository/models/nan/unload", "{}", 200, "");
    for (int i = 0; i < 1000 && hs_row_cache_look(s.cache).entries; i++)
        nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    assert_int_equal(hs_row_cache_look(s.cache).bytes, 0);
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_tokens_of_text), cmocka_unit_test(test_part),
        cmocka_unit_test(test_crowd),      cmocka_unit_test(test_reload),         cmocka_unit_test(test_told),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
