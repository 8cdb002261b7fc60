// server: a sequence of requests says what one request for all of it says, greedy, to the last token; what is no sequence is refused in
// Triton's words.
#include "core/base/rng.h"
#include "data/base/file.h"
#include "infer/decode/generate.h"
#include "tests/support/support_files.h"
#include "tests/support/support_oip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONTEXT = 256, NEW = 16 };
static const char *const names[] = { "talks" };
static hs_session session; // the library's
static hs_server server;
static int port;

// ---- a GPT whose context is long enough for pages to be full, and whose tokens depend on what stands before: positions are drawn, and
// matrices larger than they were

static void enlarge(const char *key, char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(float); i++) {
        float x;
        memcpy(&x, data + 4 * i, sizeof x);
        if (strstr(key, "wpe"))
            x = (float)(hs_random(5, (uint32_t)i, 0, 0, 0).v[0] % 2001) * 0.001f - 1;
        else if (strstr(key, "weight") && !strstr(key, "ln_"))
            x *= 4;
        memcpy(data + 4 * i, &x, sizeof x);
    }
}

static void lengthen(const char *name)
{
    char file[300], *bytes, *out;
    size_t n;
    snprintf(file, sizeof file, "%s/config.json", name);
    json_t *config = json_load_file(scratch_path(file), 0, NULL);
    const int64_t before = json_number_in(config, "n_positions");
    json_object_set_new(config, "n_positions", json_integer(CONTEXT));
    json_object_set_new(config, "n_ctx", json_integer(CONTEXT));
    assert_int_equal(json_dump_file(config, scratch_path(file), 0), 0);
    json_decref(config);

    snprintf(file, sizeof file, "%s/model.safetensors", name);
    OK(hs_file_read(scratch_path(file), &bytes, &n));
    uint64_t head, at = 0;
    memcpy(&head, bytes, sizeof head);
    json_t *tensors = json_loadb(bytes + 8, head, 0, NULL), *t;
    const char *key;
    char *data = calloc(1, n * CONTEXT), *to = data;
    json_object_foreach(tensors, key, t)
    {
        if (strcmp(key, "__metadata__") == 0)
            continue;
        const size_t from = (size_t)json_number_in(t, "data_offsets/0"), size = (size_t)json_number_in(t, "data_offsets/1") - from;
        const bool positions = strstr(key, "wpe");
        const size_t whole = positions ? size / (size_t)before * CONTEXT : size;
        for (size_t i = 0; i < whole; i += size)
            memcpy(to + i, bytes + 8 + head + from, whole - i < size ? whole - i : size);
        enlarge(key, to, whole);
        if (positions)
            json_array_set_new(json_object_get(t, "shape"), 0, json_integer(CONTEXT));
        json_object_set_new(t, "data_offsets", json_pack("[I, I]", (json_int_t)at, (json_int_t)(at + whole)));
        at += whole, to += whole;
    }
    char *text = json_dumps(tensors, JSON_COMPACT);
    head = strlen(text);
    out = malloc(8 + head + at);
    memcpy(out, &head, 8), memcpy(out + 8, text, head), memcpy(out + 8 + head, data, at);
    scratch_write(file, out, 8 + head + at);
    json_decref(tensors);
    free(text), free(out), free(data), free(bytes);
}

static void change(hs_server_opts *o)
{
    o->served.slots = 4, o->served.step_tokens = 16, o->served.cache_tokens = 1024;
    o->served.sequences = 6;
    o->control = true;
}

static int begin(void **state)
{
    scratch_open(state);
    const hs_policy fp32 = { .low = HS_F32 };
    serve_folder("talks", "gpt2-lm");
    lengthen("talks");
    OK(hs_session_open(&session, scratch_path("talks"), 0, hs_families, "cpu", 1));
    const hs_arch_shape shape = hs_session_decode_shape(&session, 64, 1, hs_cache_pages(session.context, HS_CACHE_PAGE));
    OK(hs_session_load(&session, &fp32, &(hs_session_plans){ .decode = &shape }));
    serve_start(&server, names, 1, change);
    port = hs_http_port(server.http);
    return 0;
}
static int end(void **state)
{
    serve_stop(&server);
    hs_session_close(&session);
    return scratch_close(state);
}

// ---- what is expected: all tokens so far, asked at once

typedef struct talk {
    int32_t ids[CONTEXT];
    int64_t n;
} talk;

// Puts the text behind what stands, and what the library says behind that; which is returned, the caller's.
static char *say(talk *t, const char *text, int most)
{
    hs_generated g;
    int32_t *ids;
    int64_t n;
    char *all, *before;
    size_t bytes, all_bytes;
    OK(hs_tokenizer_encode(session.tokenizer, text, strlen(text), &ids, &n));
    assert_true(t->n + n + most <= CONTEXT);
    memcpy(t->ids + t->n, ids, (size_t)n * sizeof *ids);
    free(ids);
    t->n += n;
    const hs_generate_opts o = { .run = session.run,
                                 .plan = session.decode,
                                 .context = session.context,
                                 .vocab = session.vocab,
                                 .cache_rows = session.decode_shape.cache_rows,
                                 .page_rows = session.decode_shape.page_rows,
                                 .max_tokens = most,
                                 .sampling = { .temperature = 0, .top_p = 1 },
                                 .drawable = session.drawable };
    OK(hs_generate(&o, &(hs_prompt){ t->ids, t->n }, 1, &g));
    OK(hs_tokenizer_decode(session.tokenizer, g.ids, g.n, &all, &all_bytes));
    OK(hs_tokenizer_decode(session.tokenizer, g.ids, g.n_prompt, &before, &bytes));
    memmove(all, all + bytes, all_bytes - bytes + 1);
    memcpy(t->ids, g.ids, (size_t)g.n * sizeof *g.ids);
    t->n = g.n;
    free(before);
    hs_generated_free(&g, 1);
    return all;
}

// ---- asking

#define GREEDY "\"temperature\":0,\"ignore_eos\":true"
// more: members of `parameters`.
static http_reply post(const char *route, const char *text, int most, const char *more)
{
    char path[100], body[2048];
    snprintf(path, sizeof path, "/v2/models/talks/%s", route);
    snprintf(body, sizeof body, "{\"text_input\":\"%s\",\"parameters\":{\"max_tokens\":%d," GREEDY "%s}}", text, most, more);
    return http_post(port, path, body);
}
static char *text_of(const char *bytes, size_t n)
{
    json_t *v = json_loadb(bytes, n, 0, NULL);
    char *text = strdup(json_text_in(v, "text_output"));
    json_decref(v);
    return text;
}
static char *generate(const char *text, int most, const char *more)
{
    http_reply r = post("generate", text, most, more);
    if (r.status != 200)
        fail_msg("%s%s: %d %s", text, more, r.status, r.body);
    char *said = text_of(r.body, r.bytes);
    http_reply_free(&r);
    return said;
}
static char *streamed(const char *text, int most, const char *more)
{
    http_reply r = post("generate_stream", text, most, more);
    char *all = calloc(1, r.bytes + 1);
    assert_int_equal(r.status, 200);
    for (const char *p = r.body; (p = strstr(p, "data: ")) != NULL;) {
        p += 6;
        char *one = text_of(p, strcspn(p, "\n"));
        strcat(all, one);
        free(one);
    }
    http_reply_free(&r);
    return all;
}
static void refused(const char *text, int most, const char *more, int status, const char *part)
{
    http_reply r = post("generate", text, most, more);
    if (r.status != status || !strstr(r.body, part))
        fail_msg("%s%s: %d %s", text, more, r.status, r.body);
    http_reply_free(&r);
}
static void same(char *got, char *want)
{
    assert_string_equal(got, want);
    free(got), free(want);
}

static uint64_t reused(void)
{
    hs_scheduler_stats s;
    hs_served *m = hs_hub_find(server.hub, "talks", 0, 0);
    hs_schedulers_look(m->schedulers, &s);
    hs_served_let_go(m);
    return s.reused_tokens;
}
static hs_sequence_stats sequences(void)
{
    hs_served *m = hs_hub_find(server.hub, "talks", 0, 0);
    const hs_sequence_stats s = hs_sequence_table_look(m->sequences);
    hs_served_let_go(m);
    return s;
}

// ---- tests

static const char *const lines[] = { "the cat of the bad and the bed", "and",      "cab . dab of the end", "a", "",
                                     "of of of the zap zip zop",       "the x y z" };

// Two at once, a number and a text that look alike, in one piece and as streams.
static void test_as_one_request(void **state)
{
    (void)state;
    talk one = { .n = 0 }, two = { .n = 0 };
    const uint64_t before = reused();
    for (int i = 0; i < HS_COUNT(lines); i++) {
        char more[100];
        const char *first = i ? "" : ",\"sequence_start\":true", *last = i + 1 < HS_COUNT(lines) ? "" : ",\"sequence_end\":true";
        snprintf(more, sizeof more, ",\"sequence_id\":7%s%s", first, last);
        same((i % 2 ? streamed : generate)(lines[i], NEW, more), say(&one, lines[i], NEW));
        snprintf(more, sizeof more, ",\"sequence_id\":\"7\"%s%s", first, last);
        const char *other = lines[(i + 3) % 4];
        same(generate(other, NEW - 2, more), say(&two, other, NEW - 2));
    }
    talk alone = { .n = 0 };
    char *answer = say(&alone, lines[0], NEW), *again = say(&alone, lines[0], NEW);
    assert_string_not_equal(answer, again); // what stands before makes a difference
    free(answer), free(again);
    assert_true(one.n > 2 * HS_CACHE_PAGE);
    assert_true(reused() - before >= 2 * HS_CACHE_PAGE); // what is computed is what is new
    assert_int_equal(sequences().live, 0);
    refused("a", 1, ",\"sequence_id\":7", 400, "sequence 7 to model 'talks' must specify the START flag on the first request");
    refused("a", 1, ",\"sequence_id\":\"7\"", 400, "sequence '7' to model 'talks' must specify the START flag");
    // what is beside `parameters` counts, too
    json_t *v =
        http_ask_json(port, "POST", "/v2/models/talks/generate",
                      "{\"text_input\":\"a\",\"sequence_id\":\"x\",\"sequence_start\":true,\"sequence_end\":true,\"max_tokens\":2}", 200);
    json_decref(v);
    assert_int_equal(sequences().live, 0);
}

static void test_begins_anew(void **state)
{
    (void)state;
    talk t = { .n = 0 };
    free(generate("the end", 3, ",\"sequence_id\":1,\"sequence_start\":true"));
    same(generate("a b", 3, ",\"sequence_id\":1,\"sequence_start\":true"), say(&t, "a b", 3));
    same(generate("c", 3, ",\"sequence_id\":1,\"sequence_end\":true"), say(&t, "c", 3));
}

// As tensors, in JSON and raw.
static void test_infer(void **state)
{
    (void)state;
    talk t = { .n = 0 };
    char body[600], value[256];
    for (int i = 0; i < 3; i++) {
        snprintf(body, sizeof body,
                 "{\"id\":\"q\",\"inputs\":[{\"name\":\"text_input\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"%s\"]}],"
                 "\"parameters\":{\"max_tokens\":5," GREEDY ",\"sequence_id\":\"s\",\"sequence_start\":%s,\"sequence_end\":%s,"
                 "\"binary_data_output\":%s,\"priority\":1}}",
                 lines[i], i ? "false" : "true", i == 2 ? "true" : "false", i ? "true" : "false");
        http_reply r = http_post(port, "/v2/models/talks/infer", body);
        assert_int_equal(r.status, 200);
        const char *told = http_reply_header(&r, "Inference-Header-Content-Length", value);
        const size_t head = told ? strtoul(told, NULL, 10) : r.bytes;
        json_t *v = json_loadb(r.body, head, 0, NULL);
        char *want = say(&t, lines[i], 5);
        assert_string_equal(json_text_in(v, "id"), "q");
        assert_string_equal(json_text_in(v, "outputs/0/name"), "text_output");
        assert_string_equal(json_text_in(v, "outputs/0/datatype"), "BYTES");
        assert_int_equal(json_number_in(v, "outputs/0/shape/0"), 1);
        assert_true((told != NULL) == (i > 0));
        if (told) {
            assert_int_equal(json_number_in(v, "outputs/0/parameters/binary_data_size"), strlen(want) + 4);
            assert_int_equal(r.bytes - head, strlen(want) + 4);
            assert_memory_equal(r.body + head + 4, want, strlen(want));
        } else
            assert_string_equal(json_text_in(v, "outputs/0/data/0"), want);
        free(want);
        json_decref(v);
        http_reply_free(&r);
    }
    static const char *const bad[][2] = {
        { "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}]}", "no input 'text'" },
        { "{\"inputs\":[{\"name\":\"text_input\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"a\",\"b\"]}]}", "has 2 texts" },
        { "{\"inputs\":[{\"name\":\"text_input\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}],\"outputs\":[{\"name\":"
          "\"x\"}]}",
          "no output 'x'" },
        { "{\"inputs\":[{\"name\":\"text_input\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}],\"parameters\":{\"stream\":"
          "true}}",
          "infer gives one answer" },
        { "{\"inputs\":[{\"name\":\"text_input\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}],\"parameters\":{\"sequence_id\":"
          "\"s\"}}",
          "must specify the START flag" },
    };
    for (int i = 0; i < HS_COUNT(bad); i++)
        http_expect(port, "POST", "/v2/models/talks/infer", bad[i][0], 400, bad[i][1]);
    static const char *const no_text[] = { "a\xff", "a\0b" };
    for (int i = 0; i < HS_COUNT(no_text); i++) {
        http_reply r = http_ask(port, "POST", "/v2/models/talks/infer", "Inference-Header-Content-Length: 0\r\n", no_text[i], i ? 3 : 2);
        assert_int_equal(r.status, 400);
        assert_non_null(strstr(r.body, "'text_input' is not UTF-8, or has a NUL, at byte 1"));
        http_reply_free(&r);
    }
    http_expect(port, "GET", "/v2/models/talks/config", NULL, 200, "\"max_sequence_idle_microseconds\":{\"string_value\":\"60000000\"}");
    http_expect(port, "GET", "/v2", NULL, 200, "\"sequence\"");
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *more, *part;
    } bad[] = {
        { ",\"sequence_id\":5", "must specify the START flag on the first request of the sequence: it was not started with version 1" },
        { ",\"sequence_start\":true", "sequence_start: the request must specify a non-zero or non-empty sequence_id" },
        { ",\"sequence_id\":0,\"sequence_end\":true", "sequence_end: the request must specify a non-zero or non-empty sequence_id" },
        { ",\"sequence_id\":\"\",\"sequence_start\":true", "non-zero or non-empty" },
        { ",\"sequence_id\":-1", "sequence_id must be a text, or a whole number" },
        { ",\"sequence_id\":1.5", "sequence_id must be a text, or a whole number" },
        { ",\"sequence_id\":1,\"sequence_start\":1", "sequence_start must be true or false" },
    };
    char id[200] = ",\"sequence_id\":\"", *said;
    for (int i = 0; i < HS_COUNT(bad); i++)
        refused("a", 2, bad[i].more, 400, bad[i].part);
    memset(id + strlen(id), 'x', 129);
    refused("a", 2, strcat(id, "\""), 400, "has 129 bytes, at most 128");
    refused("a", 2, ",\"sequence_id\":0", 200, "text_output"); // is none
    // one that cannot be: what stood before it stands
    talk t = { .n = 0 };
    refused("a", 1000, ",\"sequence_id\":2,\"sequence_start\":true", 400, "context");
    refused("a", 2, ",\"sequence_id\":2", 400, "START flag");
    same(generate("of", 3, ",\"sequence_id\":2,\"sequence_start\":true"), say(&t, "of", 3));
    refused("b", 253, ",\"sequence_id\":2", 400, "with 253 new ones that is more than the model's context of 256");
    same(said = generate("c", 3, ",\"sequence_id\":2,\"sequence_end\":true"), say(&t, "c", 3));
    assert_int_equal(sequences().live, 0);
    // nobody else has such parameters
    http_reply r = http_post(port, "/v1/completions", "{\"prompt\":\"a\",\"sequence_id\":1}");
    assert_true(r.status == 400 && strstr(r.body, "no parameter 'sequence_id'"));
    http_reply_free(&r);
}

// What a stop string cuts off was not said.
static void test_stop(void **state)
{
    (void)state;
    talk probe = { .n = 0 }, t = { .n = 0 };
    char more[200], stop[8], *whole = say(&probe, "the cat of", NEW);
    const size_t at = strlen(whole) / 2;
    snprintf(stop, sizeof stop, "%.2s", whole + at);
    whole[strstr(whole, stop) - whole] = 0;
    snprintf(more, sizeof more, ",\"sequence_id\":3,\"sequence_start\":true,\"stop\":\"%s\"", stop);
    same(generate("the cat of", NEW, more), strdup(whole));
    // the library: the text, and what was said, as tokens
    for (int k = 0; k < 2; k++) {
        int32_t *ids;
        int64_t n;
        const char *part = k ? whole : "the cat of";
        OK(hs_tokenizer_encode(session.tokenizer, part, strlen(part), &ids, &n));
        memcpy(t.ids + t.n, ids, (size_t)n * sizeof *ids);
        t.n += n;
        free(ids);
    }
    same(generate("and", NEW, ",\"sequence_id\":3,\"sequence_end\":true"), say(&t, "and", NEW));
    free(whole);
}

// A connection with a request on it that the server has taken.
static int send_taken(const char *route, const char *text, int most, const char *more)
{
    char head[200], body[600];
    const uint64_t before = hs_http_taken(server.http);
    const int fd = http_connect(port);
    snprintf(body, sizeof body, "{\"text_input\":\"%s\",\"parameters\":{\"max_tokens\":%d," GREEDY "%s}}", text, most, more);
    snprintf(head, sizeof head, "POST /v2/models/talks/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", route, strlen(body));
    http_send(fd, head, strlen(head)), http_send(fd, body, strlen(body));
    for (int i = 0; i < 10000 && hs_http_taken(server.http) == before; i++)
        nanosleep(&(struct timespec){ 0, 100000 }, NULL);
    assert_int_equal(hs_http_taken(server.http), before + 1);
    return fd;
}

// They go one after the other, each behind all before it, whether those are answered or not.
static void test_order(void **state)
{
    (void)state;
    enum { N = 10, FAILS = 4 };
    int fd[N];
    char text[20], more[100];
    talk t = { .n = 0 };
    for (int i = 0; i < N; i++) {
        sprintf(text, "%c of", 'a' + i);
        sprintf(more, ",\"sequence_id\":9%s%s", i ? "" : ",\"sequence_start\":true",
                i == FAILS   ? ",\"timeout\":1"
                : i + 1 == N ? ",\"sequence_end\":true"
                             : "");
        fd[i] = send_taken("generate", text, 12, more);
    }
    for (int i = 0; i < N; i++) {
        http_reply r;
        assert_true(http_read(fd[i], &r));
        assert_int_equal(r.status, i == FAILS ? 504 : 200);
        sprintf(text, "%c of", 'a' + i);
        if (i != FAILS)
            same(text_of(r.body, r.bytes), say(&t, text, 12));
        http_reply_free(&r);
        close(fd[i]);
    }
}

// While another one has its turn: what cannot be is refused at once, and who waits has no more time for it. A failed end is none.
static void on_turn(hs_sequence_turn *t, const int32_t *ids, int64_t n) { (void)t, (void)ids, (void)n; }
static void test_waits(void **state)
{
    (void)state;
    hs_served *m = hs_hub_find(server.hub, "talks", 0, 0);
    hs_sequence_turn first = { .id = "8", .start = true, .go = on_turn };
    int32_t *ids = malloc(sizeof *ids);
    http_reply r;
    OK(hs_sequence_come(m->sequences, &first));
    refused("a", 256, ",\"sequence_id\":8", 400, "the prompt has 1 tokens, with 256 new ones that is more than the model's context of 256");
    const int fd = send_taken("generate", "a", 2, ",\"sequence_id\":8,\"sequence_end\":true,\"timeout\":100000");
    nanosleep(&(struct timespec){ 0, 150000000 }, NULL);
    ids[0] = 1;
    hs_sequence_done(m->sequences, &first, ids, 1);
    assert_true(http_read(fd, &r));
    assert_int_equal(r.status, 504);
    http_reply_free(&r);
    close(fd);
    free(generate("a", 2, ",\"sequence_id\":8,\"sequence_end\":true"));
    assert_int_equal(sequences().live, 0);
    hs_served_let_go(m);
}

static uint64_t cancelled(void)
{
    hs_served *m = hs_hub_find(server.hub, "talks", 0, 0);
    const uint64_t n = m->count->failure[HS_REASON_CANCELED];
    hs_served_let_go(m);
    return n;
}

// Who leaves, or has no more time, while another one has its turn is answered then, and not only when his own would have come.
static void test_leaves_while_waiting(void **state)
{
    (void)state;
    hs_served *m = hs_hub_find(server.hub, "talks", 0, 0);
    hs_sequence_turn first = { .id = "12", .start = true, .go = on_turn };
    http_reply r;
    OK(hs_sequence_come(m->sequences, &first));
    for (int i = 0; i < 10000 && hs_http_under_way(server.http) > 0; i++)
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    const uint64_t before = cancelled();
    const int leaves = send_taken("generate", "a", 2, ",\"sequence_id\":12"),
              late = send_taken("generate", "b", 2, ",\"sequence_id\":12,\"timeout\":1"),
              stays = send_taken("generate_stream", "c", 2, ",\"sequence_id\":12");
    close(leaves);
    for (int i = 0; i < 10000 && hs_http_under_way(server.http) > 1; i++) {
        hs_sequence_look_behind(m->sequences, &first);
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    }
    assert_int_equal(hs_http_under_way(server.http), 1);
    assert_int_equal(cancelled(), before + 1);
    assert_true(http_read(late, &r));
    assert_int_equal(r.status, 504);
    http_reply_free(&r);
    int32_t *ids = malloc(sizeof *ids);
    ids[0] = 1;
    hs_sequence_done(m->sequences, &first, ids, 1);
    assert_true(http_read(stays, &r));
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    close(late), close(stays);
    free(generate("a", 2, ",\"sequence_id\":12,\"sequence_end\":true"));
    assert_int_equal(sequences().live, 0);
    hs_served_let_go(m);
}

// Who hangs up before the end has not asked. Where the end came first, once more.
static void test_client_leaves(void **state)
{
    (void)state;
    bool left = false;
    for (int i = 0; i < 50 && !left; i++) {
        char byte, *said;
        talk t = { .n = 0 };
        const uint64_t before = cancelled();
        same(generate("a cat", 4, ",\"sequence_id\":4,\"sequence_start\":true"), say(&t, "a cat", 4));
        const int fd = send_taken("generate_stream", "the", 230, ",\"sequence_id\":4");
        if (i % 2 == 0)
            assert_int_equal(read(fd, &byte, 1), 1);
        close(fd);
        said = generate("of", 4, ",\"sequence_id\":4,\"sequence_end\":true"); // waits for its turn
        left = cancelled() > before;
        if (left)
            same(said, say(&t, "of", 4));
        else
            free(said);
    }
    assert_true(left);
}

static void test_as_many_as_may(void **state)
{
    (void)state;
    char more[100];
    const uint64_t started = sequences().started;
    for (int i = 0; i < 7; i++) {
        snprintf(more, sizeof more, ",\"sequence_id\":%d,\"sequence_start\":true", 50 + i);
        refused("a", 1, more, i < 6 ? 200 : 429, i < 6 ? "text_output" : "as many sequences are under way as may: 6");
    }
    http_reply r = http_get(port, "/metrics");
    assert_non_null(strstr(r.body, "halfstep_sequences{model=\"talks\",version=\"1\"} 6\n"));
    assert_int_equal(sequences().started - started, 6);
    http_reply_free(&r);
    // a version that is loaded anew has none of them
    r = http_post(port, "/v2/repository/models/talks/load", "{}");
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    refused("a", 1, ",\"sequence_id\":50", 400,
            "must specify the START flag on the first request of the sequence: it was not started with version 2");
    refused("a", 1, ",\"sequence_id\":50,\"sequence_start\":true,\"sequence_end\":true", 200, "text_output");
}

static void hurry(hs_server_opts *o) { o->served.sequence_idle = 0.05; }

static void test_idle(void **state)
{
    (void)state;
    hs_server s;
    const int kept = port;
    serve_start(&s, names, 1, hurry);
    port = hs_http_port(s.http);
    free(generate("a", 2, ",\"sequence_id\":1,\"sequence_start\":true"));
    nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
    refused("a", 2, ",\"sequence_id\":1", 400, "or was idle for more than 0.05 s");
    http_reply r = http_get(port, "/metrics");
    assert_non_null(strstr(r.body, "halfstep_sequences_idle_total{model=\"talks\",version=\"1\"} 1\n"));
    http_reply_free(&r);
    port = kept;
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_one_request), cmocka_unit_test(test_begins_anew),   cmocka_unit_test(test_infer),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_stop),          cmocka_unit_test(test_order),
        cmocka_unit_test(test_waits),          cmocka_unit_test(test_client_leaves), cmocka_unit_test(test_leaves_while_waiting),
        cmocka_unit_test(test_as_many_as_may), cmocka_unit_test(test_idle),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
