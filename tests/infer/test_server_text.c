// the server, asked for text: what comes is what a decoder gives alone, in one piece or as a stream, whatever it was batched with; what is
// wrong is said by its name; who leaves costs nothing more.
#include "infer/decode/generate.h"
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROMPTS = 6, NEW = 10 };
static const char *const prompt[PROMPTS] = { "a", "the cat of the bad", "and", "cab . dab", "of of of", "the cat of" };
static const char *const names[] = { "talks" };
static char *want[2][PROMPTS]; // greedy, and drawn with seed 7
static const char chat_template[] =
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}{% if add_generation_prompt %}the{% endif %}";

static char *generated(hs_session *s, const char *text, hs_sampling how)
{
    hs_generated g;
    int32_t *ids;
    int64_t n;
    char *out;
    size_t bytes;
    OK(hs_tokenizer_encode(s->tokenizer, text, strlen(text), &ids, &n));
    const hs_generate_opts o = { .run = s->run,
                                 .plan = s->decode,
                                 .context = s->context,
                                 .vocab = s->vocab,
                                 .cache_rows = s->decode_shape.cache_rows,
                                 .page_rows = s->decode_shape.page_rows,
                                 .max_tokens = NEW,
                                 .sampling = how,
                                 .drawable = s->drawable };
    OK(hs_generate(&o, &(hs_prompt){ ids, n }, 1, &g));
    // as text behind the prompt
    char *all;
    size_t all_bytes;
    OK(hs_tokenizer_decode(s->tokenizer, g.ids, g.n, &all, &all_bytes));
    OK(hs_tokenizer_decode(s->tokenizer, g.ids, g.n_prompt, &out, &bytes));
    memmove(all, all + bytes, all_bytes - bytes + 1);
    free(out), free(ids);
    hs_generated_free(&g, 1);
    return all;
}

static int begin(void **state)
{
    scratch_open(state);
    hs_session s;
    const hs_policy fp32 = { .low = HS_F32 };
    OK(hs_session_open(&s, serve_folder("talks", "gpt2-lm"), 0, hs_families, "cpu", 1));
    const hs_arch_shape shape = hs_session_decode_shape(&s, 64, 1, hs_cache_pages(s.context, HS_CACHE_PAGE));
    OK(hs_session_load(&s, &fp32, &(hs_session_plans){ .decode = &shape }));
    for (int i = 0; i < PROMPTS; i++) {
        want[0][i] = generated(&s, prompt[i], (hs_sampling){ .temperature = 0, .top_p = 1 });
        want[1][i] = generated(&s, prompt[i], (hs_sampling){ .temperature = 1, .top_p = 1, .seed = 7 });
    }
    hs_session_close(&s);
    scratch_write("talks/chat_template.jinja", chat_template, sizeof chat_template - 1);
    return 0;
}

static int end(void **state)
{
    for (int i = 0; i < 2 * PROMPTS; i++)
        free(want[i / PROMPTS][i % PROMPTS]);
    return scratch_close(state);
}

static void few(hs_server_opts *o) { o->served.slots = 3, o->served.step_tokens = 5, o->served.beside_tokens = 2; }

static json_t *ask(int port, const char *path, int status, const char *fmt, ...)
{
    char body[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(body, sizeof body, fmt, args);
    va_end(args);
    http_reply r = http_post(port, path, body);
    json_error_t e;
    json_t *v = json_loadb(r.body, r.bytes, 0, &e);
    if (r.status != status || !v)
        fail_msg("%s %s: %d %s", path, body, r.status, r.body);
    http_reply_free(&r);
    return v;
}

static const char *text_at(const json_t *v, size_t i)
{
    return json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), i), "text"));
}
static const char *finish_at(const json_t *v, size_t i)
{
    return json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), i), "finish_reason"));
}
static int usage(const json_t *v, const char *key) { return (int)json_integer_value(json_object_get(json_object_get(v, "usage"), key)); }

static void as_generate_gives_it(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, few);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < PROMPTS; i++)
        for (int k = 0; k < 2; k++) {
            json_t *v = ask(port, "/v1/completions", 200,
                            "{\"model\":\"talks\",\"prompt\":\"%s\",\"max_tokens\":%d,\"temperature\":%d,\"seed\":7,\"ignore_eos\":true}",
                            prompt[i], NEW, k);
            assert_string_equal(text_at(v, 0), want[k][i]);
            assert_string_equal(finish_at(v, 0), "length");
            assert_int_equal(usage(v, "completion_tokens"), NEW);
            json_decref(v);
            v = ask(port, "/v2/models/talks/generate", 200,
                    "{\"text_input\":\"%s\",\"parameters\":{\"max_tokens\":%d,\"temperature\":%d,\"seed\":7,\"ignore_eos\":true}}",
                    prompt[i], NEW, k);
            assert_string_equal(json_string_value(json_object_get(v, "text_output")), want[k][i]);
            assert_string_equal(json_string_value(json_object_get(v, "model_version")), "1");
            json_decref(v);
        }
    // several prompts, several texts for each, the prompt given back
    json_t *v = ask(port, "/v1/completions", 200,
                    "{\"prompt\":[\"%s\",\"%s\"],\"n\":3,\"max_tokens\":%d,\"seed\":7,\"echo\":true,\"ignore_eos\":true}", prompt[1],
                    prompt[2], NEW);
    assert_int_equal(json_array_size(json_object_get(v, "choices")), 6);
    for (size_t i = 0; i < 6; i++) {
        const char *p = prompt[1 + i / 3], *t = text_at(v, i);
        assert_memory_equal(t, p, strlen(p));
        assert_int_equal(strcmp(t + strlen(p), want[1][1 + i / 3]) == 0, i % 3 == 0); // others draw otherwise
    }
    assert_int_equal(usage(v, "completion_tokens"), 6 * NEW);
    json_decref(v);
    // tokens as they are, and what they are cut off by
    json_t *one =
        ask(port, "/v1/completions", 200, "{\"prompt\":[5,9,3],\"max_tokens\":4,\"temperature\":0,\"logprobs\":2,\"ignore_eos\":true}");
    const json_t *places = json_object_get(json_array_get(json_object_get(one, "choices"), 0), "logprobs");
    assert_int_equal(json_array_size(json_object_get(places, "tokens")), 4);
    assert_int_equal(json_array_size(json_object_get(places, "token_logprobs")), 4);
    assert_int_equal(json_object_size(json_array_get(json_object_get(places, "top_logprobs"), 3)), 2);
    assert_true(json_number_value(json_array_get(json_object_get(places, "token_logprobs"), 0)) < 0);
    char all[400] = "";
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(json_integer_value(json_array_get(json_object_get(places, "text_offset"), i)), strlen(all));
        strcat(all, json_string_value(json_array_get(json_object_get(places, "tokens"), i)));
    }
    assert_string_equal(all, text_at(one, 0));
    const char *second = json_string_value(json_array_get(json_object_get(places, "tokens"), 1));
    v = ask(port, "/v1/completions", 200, "{\"prompt\":[5,9,3],\"max_tokens\":4,\"temperature\":0,\"ignore_eos\":true,\"stop\":[\"%s\"]}",
            second);
    assert_string_equal(finish_at(v, 0), "stop");
    const char *at = strstr(text_at(one, 0), second);
    assert_int_equal(strlen(text_at(v, 0)), at - text_at(one, 0));
    json_decref(v), json_decref(one);
    serve_stop(&s);
}

// Puts the texts of a stream's events together: member `key` of choices[0], or of choices[0].delta, or of the event.
static void joined(const char *body, const char *key, const char *within, char *out, int *events, bool *done, bool *used)
{
    *out = 0, *events = 0, *done = *used = false;
    for (const char *p = body; (p = strstr(p, "data: ")) != NULL;) {
        p += 6;
        const char *line_end = strstr(p, "\n\n");
        assert_non_null(line_end);
        assert_false(*done); // nothing follows
        if (!strncmp(p, "[DONE]", 6)) {
            *done = true;
            continue;
        }
        json_t *v = json_loadb(p, (size_t)(line_end - p), 0, NULL);
        assert_non_null(v);
        const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *from = within   ? json_object_get(choice, within)
                                                                                         : choice ? choice
                                                                                                  : v;
        const char *text = json_string_value(json_object_get(from, key));
        strcat(out, text ? text : "");
        *used |= json_is_object(json_object_get(v, "usage"));
        ++*events;
        json_decref(v);
    }
}

static void in_a_stream(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, few);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < PROMPTS; i++) {
        char body[512], got[2000];
        int events;
        bool done, used;
        sprintf(body,
                "{\"prompt\":\"%s\",\"max_tokens\":%d,\"seed\":7,\"ignore_eos\":true,\"stream\":true,\"stream_options\":{\"include_usage\":"
                "%s}}",
                prompt[i], NEW, i % 2 ? "true" : "false");
        http_reply r = http_post(port, "/v1/completions", body);
        assert_int_equal(r.status, 200);
        char type[256];
        assert_string_equal(http_reply_header(&r, "Content-Type", type), "text/event-stream; charset=utf-8");
        joined(r.body, "text", NULL, got, &events, &done, &used);
        assert_string_equal(got, want[1][i]);
        assert_true(done && used == i % 2 && events >= NEW / 2);
        http_reply_free(&r);
        sprintf(body, "{\"text_input\":\"%s\",\"max_tokens\":%d,\"seed\":7,\"ignore_eos\":true}", prompt[i], NEW);
        r = http_post(port, "/v2/models/talks/generate_stream", body);
        joined(r.body, "text_output", NULL, got, &events, &done, &used);
        assert_string_equal(got, want[1][i]);
        assert_false(done);
        http_reply_free(&r);
    }
    serve_stop(&s);
}

static void conversations(void **state)
{
    (void)state;
    static const char talk[] =
        "\"messages\":[{\"role\":\"a\",\"content\":\"cat\"},{\"role\":\"b\",\"content\":[{\"type\":\"text\",\"text\":\"of\"},"
        "{\"type\":\"text\",\"text\":\" the\"}]}],\"temperature\":0,\"max_tokens\":6,\"ignore_eos\":true";
    hs_server s;
    char got[2000], body[1000];
    int events;
    bool done, used;
    serve_start(&s, names, 1, few);
    const int port = hs_http_port(s.http);
    json_t *plain =
        ask(port, "/v1/completions", 200, "{\"prompt\":\"a cat b of the the\",\"temperature\":0,\"max_tokens\":6,\"ignore_eos\":true}");
    json_t *v = ask(port, "/v1/chat/completions", 200, "{%s,\"logprobs\":true,\"top_logprobs\":2}", talk);
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *message = json_object_get(choice, "message");
    assert_string_equal(json_string_value(json_object_get(message, "content")), text_at(plain, 0));
    assert_string_equal(json_string_value(json_object_get(message, "role")), "assistant");
    const json_t *places = json_object_get(json_object_get(choice, "logprobs"), "content");
    assert_int_equal(json_array_size(places), 6);
    assert_int_equal(json_array_size(json_object_get(json_array_get(places, 5), "top_logprobs")), 2);
    assert_int_equal(usage(v, "prompt_tokens"), usage(plain, "prompt_tokens"));
    json_decref(v);
    sprintf(body, "{%s,\"stream\":true}", talk);
    http_reply r = http_post(port, "/v1/chat/completions", body);
    joined(r.body, "content", "delta", got, &events, &done, &used);
    assert_string_equal(got, text_at(plain, 0));
    assert_true(done);
    http_reply_free(&r);
    json_decref(plain);
    r = http_get(port, "/v1/models");
    assert_non_null(strstr(r.body, "\"id\":\"talks\""));
    http_reply_free(&r);
    r = http_get(port, "/v1/models/talks");
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    r = http_get(port, "/v1/models/walks");
    assert_int_equal(r.status, 404);
    http_reply_free(&r);
    serve_stop(&s);
}

static void what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body, *param, *message;
    } rows[] = {
        { "/v1/completions", "{\"prompt\":\"a\",\"temperature\":3}", "temperature", "temperature is 3, allowed 0 to 2" },
        { "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":\"x\"}", "max_tokens", "max_tokens must be an integer" },
        { "/v1/completions", "{\"prompt\":\"a\",\"frobnicate\":1}", "frobnicate", "there is no parameter 'frobnicate' here" },
        { "/v1/completions", "{\"prompt\":\"a\",\"suffix\":\"x\"}", "suffix", "suffix is not supported" },
        { "/v1/completions", "{\"prompt\":\"a\",\"best_of\":3}", "best_of", "best_of other than n is not supported" },
        { "/v1/completions", "{\"prompt\":\"a\",\"echo\":true,\"logprobs\":1}", "echo",
          "echo with logprobs is not supported: a prompt's tokens have none here" },
        { "/v1/completions", "{\"prompt\":\"a\",\"stop\":[\"\"]}", "stop", "stop must be a text or a list of texts, none of them empty" },
        { "/v1/completions", "{\"prompt\":\"a\",\"logit_bias\":{\"x\":1}}", "logit_bias",
          "logit_bias: 'x' must be a token id with a number from -100 to 100" },
        { "/v1/completions", "{\"prompt\":[1,-2]}", "prompt", NULL },
        { "/v1/completions", "{\"prompt\":{}}", "prompt", "prompt must be a text, a list of token ids, or a list of either" },
        { "/v1/completions", "{}", "prompt", NULL },
        { "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":100000}", NULL, NULL },
        { "/v1/chat/completions", "{\"messages\":[]}", "messages", "messages must be a list of messages, at least one" },
        { "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "messages", NULL },
        { "/v1/chat/completions", "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\"}]}]}", "messages",
          "message 1 has tool_calls, which is not supported" },
        { "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{}]}", "tools",
          "tools is not supported" },
        { "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"top_logprobs\":1}", "top_logprobs",
          "top_logprobs needs logprobs: true" },
    };
    hs_server s;
    serve_start(&s, names, 1, few);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < HS_COUNT(rows); i++) {
        json_t *v = ask(port, rows[i].path, 400, "%s", rows[i].body);
        const json_t *error = json_object_get(v, "error");
        const char *param = json_string_value(json_object_get(error, "param"));
        assert_true(rows[i].param ? param && !strcmp(param, rows[i].param) : !param);
        if (rows[i].message)
            assert_string_equal(json_string_value(json_object_get(error, "message")), rows[i].message);
        assert_string_equal(json_string_value(json_object_get(error, "type")), "invalid_request_error");
        json_decref(v);
    }
    json_decref(ask(port, "/v1/completions", 404, "{\"model\":\"walks\",\"prompt\":\"a\"}"));
    json_decref(ask(port, "/v2/models/talks/generate", 400, "{\"text_input\":\"a\",\"stream\":true}"));
    json_decref(ask(port, "/v2/models/talks/generate", 400, "{\"text_input\":7}"));
    // names of the client's own, Triton's, and a slip
    json_decref(ask(port, "/v2/models/talks/generate", 200,
                    "{\"text_input\":\"a\",\"tenant\":\"x\",\"parameters\":{\"colour\":3,\"triton_enable_empty_final_response\":true}}"));
    json_decref(ask(port, "/v2/models/talks/infer", 200,
                    "{\"parameters\":{\"colour\":\"red\",\"triton_final_response\":false},\"inputs\":[{\"name\":\"text_input\","
                    "\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}]}"));
    json_t *slip = ask(port, "/v2/models/talks/generate", 400, "{\"text_input\":\"a\",\"parameters\":{\"temprature\":0}}");
    assert_non_null(strstr(json_string_value(json_object_get(slip, "error")), "did you mean temperature?"));
    json_decref(slip);
    json_decref(ask(port, "/v2/models/talks/generate", 400, "{\"text_input\":\"a\",\"parameters\":{\"colour\":{}}}"));
    json_decref(ask(port, "/v2/models/talks/versions/2/generate", 404, "{\"text_input\":\"a\"}"));
    json_decref(ask(port, "/v2/models/talks/versions/1/generate", 200, "{\"text_input\":\"a\",\"max_tokens\":2}"));
    json_decref(ask(port, "/v2/models/talks/generate", 504, "{\"text_input\":\"a\",\"parameters\":{\"timeout\":1}}"));
    static const char said[] = "{\"prompt\":\"a\",\"max_tokens\":2}";
    for (int i = 0; i < 3; i++) { // the same in the head of any request
        http_reply r = http_ask(port, "POST", "/v1/completions",
                                i == 0   ? "X-Request-Timeout-Ms: 0.001\r\n"
                                : i == 1 ? "X-Request-Timeout-Ms: 60000\r\nX-Request-Priority: 3\r\n"
                                         : "X-Request-Priority: high\r\n",
                                said, sizeof said - 1);
        assert_int_equal(r.status, i == 0 ? 504 : i == 1 ? 200 : 400);
        http_reply_free(&r);
    }
    json_t *v =
        ask(port, "/v1/completions", 200,
            "{\"prompt\":\"a\",\"tools\":null,\"user\":\"me\",\"min_tokens\":0,\"response_format\":{\"type\":\"text\"},\"max_tokens\":1}");
    json_decref(v);
    serve_stop(&s);
}

// ---- many at once, and some that leave

typedef struct crowd {
    int port, first;
    atomic_int *wrong;
} crowd;

static void *ask_often(void *arg)
{
    const crowd *c = arg;
    for (int i = 0; i < 12; i++) {
        const int p = (c->first + i) % PROMPTS, k = (c->first + i / 2) % 2;
        char body[512], got[2000];
        int events;
        bool done, used;
        const bool stream = (c->first * 3 + i) % 3 == 0;
        sprintf(body, "{\"prompt\":\"%s\",\"max_tokens\":%d,\"temperature\":%d,\"seed\":7,\"ignore_eos\":true,\"stream\":%s}", prompt[p],
                NEW, k, stream ? "true" : "false");
        if ((c->first + i) % 5 == 0) { // somebody who does not wait
            char head[800];
            const int fd = http_connect(c->port);
            sprintf(head, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
            http_send(fd, head, strlen(head));
            close(fd);
        }
        http_reply r = http_post(c->port, "/v1/completions", body);
        if (r.status == 200 && stream)
            joined(r.body, "text", NULL, got, &events, &done, &used);
        else if (r.status == 200) {
            json_t *v = json_loadb(r.body, r.bytes, 0, NULL);
            snprintf(got, sizeof got, "%s", text_at(v, 0));
            json_decref(v);
        }
        if (r.status != 200 || strcmp(got, want[k][p]) != 0)
            atomic_fetch_add(c->wrong, 1);
        http_reply_free(&r);
    }
    return NULL;
}

static void ask_in_a_crowd(hs_server *s, void (*change)(hs_server_opts *o))
{
    enum { CROWD = 6 };
    atomic_int wrong = 0;
    pthread_t thread[CROWD];
    crowd c[CROWD];
    serve_start(s, names, 1, change);
    const int port = hs_http_port(s->http);
    for (int i = 0; i < CROWD; i++) {
        c[i] = (crowd){ port, i, &wrong };
        assert_int_equal(pthread_create(&thread[i], NULL, ask_often, &c[i]), 0);
    }
    for (int i = 0; i < CROWD; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
    for (int i = 0; i < 1000 && hs_http_under_way(s->http) > 0; i++) // those that left
        usleep(5000);
    http_reply r = http_get(port, "/metrics");
    assert_non_null(strstr(r.body, "halfstep_texts_running{model=\"talks\",version=\"1\"} 0\n"));
    assert_non_null(strstr(r.body, "halfstep_cache_pages_held{model=\"talks\",version=\"1\"} 0\n"));
    assert_null(strstr(r.body, "halfstep_new_tokens_total{model=\"talks\",version=\"1\"} 0\n"));
    assert_null(strstr(r.body, "halfstep_request_seconds_count{model=\"talks\",version=\"1\",stage=\"first_token\"} 0\n"));
    http_reply_free(&r);
}

static void whatever_beside(void **state)
{
    (void)state;
    hs_server s;
    ask_in_a_crowd(&s, few);
    serve_stop(&s);
}

static void few_twice(hs_server_opts *o)
{
    few(o);
    o->served.instances = o->served.threads = 2;
}

static void whichever_instance(void **state)
{
    (void)state;
    hs_server s;
    ask_in_a_crowd(&s, few_twice);
    hs_served *m = hs_hub_find(s.hub, "talks", 0, 0);
    for (int i = 0; i < 2; i++) {
        hs_scheduler_stats x;
        hs_scheduler_look(hs_schedulers_at(m->schedulers, i), &x);
        assert_true(x.new_tokens > 0);
    }
    assert_null(hs_schedulers_at(m->schedulers, 2));
    hs_served_let_go(m);
    serve_stop(&s);
}

static void narrow(hs_server_opts *o) { o->served.slots = 1, o->served.queue_works = 2; }

// More texts than may ever wait: the request is refused before any of them begins, and not to come again.
static void too_much(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, narrow);
    const int port = hs_http_port(s.http);
    json_t *v = ask(port, "/v1/completions", 400, "{\"prompt\":[\"a\",\"of\"],\"n\":60,\"max_tokens\":2,\"ignore_eos\":true}");
    assert_non_null(strstr(json_string_value(json_object_get(json_object_get(v, "error"), "message")), "at most 3 may"));
    json_decref(v);
    hs_served *m = hs_hub_find(s.hub, "talks", 0, 0);
    hs_scheduler_stats x;
    hs_schedulers_look(m->schedulers, &x);
    assert_int_equal(x.steps, 0);
    assert_int_equal(x.waiting + x.running, 0);
    hs_served_let_go(m);
    v = ask(port, "/v1/completions", 200, "{\"prompt\":\"a\",\"n\":3,\"max_tokens\":2,\"ignore_eos\":true}");
    json_decref(v);
    serve_stop(&s);
}

static void many_wait(hs_server_opts *o)
{
    o->served.slots = 1, o->served.queue_works = 40;
    o->served.instances = o->served.threads = 2;
}

// The queue is that of all instances: a request that may wait in it is accepted by whichever has it.
static void one_queue(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, many_wait);
    json_decref(ask(hs_http_port(s.http), "/v1/completions", 200, "{\"prompt\":\"a\",\"n\":%d,\"max_tokens\":20,\"ignore_eos\":true}", 41));
    serve_stop(&s);
}

static void short_of_time(hs_server_opts *o) { o->served.slots = 1, o->drain_seconds = 0.02; }

static void *ask_much(void *port)
{
    http_reply *r = malloc(sizeof *r);
    *r = http_post(*(int *)port, "/v1/completions",
                   "{\"prompt\":[\"a\",\"and\",\"of\",\"the\",\"cat\"],\"n\":50,\"max_tokens\":20,\"ignore_eos\":true}");
    return r;
}

// What is not done when the time to drain is over is told so, and holds nobody up.
static void at_the_end(void **state)
{
    (void)state;
    hs_server s;
    pthread_t thread;
    void *reply;
    int64_t left;
    serve_start(&s, names, 1, short_of_time);
    int port = hs_http_port(s.http);
    assert_int_equal(pthread_create(&thread, NULL, ask_much, &port), 0);
    while (hs_http_under_way(s.http) == 0)
        usleep(500);
    hs_server_stop(&s, &left);
    pthread_join(thread, &reply);
    http_reply *r = reply;
    if (left) { // a machine may be that fast
        assert_int_equal(r->status, 503);
        assert_non_null(strstr(r->body, "the server stops"));
    } else
        assert_int_equal(r->status, 200);
    http_reply_free(r);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_generate_gives_it),
                                        cmocka_unit_test(in_a_stream),
                                        cmocka_unit_test(conversations),
                                        cmocka_unit_test(what_is_wrong),
                                        cmocka_unit_test(whatever_beside),
                                        cmocka_unit_test(whichever_instance),
                                        cmocka_unit_test(too_much),
                                        cmocka_unit_test(one_queue),
                                        cmocka_unit_test(at_the_end) };
    return cmocka_run_group_tests_name("server_text", tests, begin, end);
}
