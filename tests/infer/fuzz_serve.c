// fuzz_serve: requests of any bytes to a whole server of tiny models - an encoder with masks and prompts, labels of texts, of words and of
// answers, one that continues texts and chats, an ensemble - whose HTTP is fake_http. Each is answered once, never with "our fault", and
// what says it is JSON is.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_serve CORPUS tests/golden/fuzz/serve
// In other builds test_fuzz_serve replays the folder.
#include "core/base/log.h"
#include "infer/server/ensemble.h"
#include "tests/infer/fake_http.h"
#include "tests/support/support_files.h"
#include "tests/support/support_fuzz.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_http.h"

int hs_fuzz_serve(const uint8_t *data, size_t bytes);

static const char prompts[] = "{\"prompts\": {\"query\": \"the cat \", \"passage\": \"\"}}";
static const char chat[] =
    "{% for m in messages %}{{ m.role }} {{ m.content | trim }} {% endfor %}{% if add_generation_prompt %}the{% endif %}";
static const char *const names[] = { "one", "bert-sequence", "bert-tokens", "bert-span", "talks" };
static const hs_ensemble_step steps[] = {
    { "both", "bert-sequence", "text=TEXT", "logits=TOPIC" },
    { "both", "one", "text=TEXT", "sentence_embedding=VECTOR" },
};

static void change(hs_server_opts *o)
{
    static const char *const token[] = { "k" };
    o->token = token, o->n_tokens = 1;
    o->served.slots = 2, o->served.step_tokens = 16, o->served.cache_tokens = 256;
    o->served.sequences = 4, o->cache_bytes = 1 << 16;
    o->served.step = steps, o->served.n_steps = HS_COUNT(steps);
}

static hs_server *server(void)
{
    static hs_server s;
    static bool runs;
    if (runs)
        return &s;
    runs = true;
    hs_log_set(HS_LOG_QUIET, NULL, NULL);
    must(scratch_open(NULL) == 0);
    serve_folder("one", "encoders/bert"), serve_folder("talks", "gpt2-lm");
    for (int i = 1; i < 4; i++)
        heads_folder(names[i], NULL, 0);
    scratch_write("one/config_sentence_transformers.json", prompts, sizeof prompts - 1);
    scratch_write("talks/chat_template.jinja", chat, sizeof chat - 1);
    must(serve_try(&s, names, HS_COUNT(names), change) == HS_OK);
    must(scratch_close(NULL) == 0); // it holds what it reads open
    return &s;
}

static bool is_json(const char *p, size_t n)
{
    json_t *v = json_loadb(p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_decref(v);
    return v != NULL;
}

// data: JSON, or [DONE], and an empty line behind each.
static void look_at_events(const char *p)
{
    while (*p) {
        const char *end = strstr(p, "\n\n");
        must(end && strncmp(p, "data: ", 6) == 0);
        p += 6;
        must(is_json(p, (size_t)(end - p)) || strncmp(p, "[DONE]\n\n", 8) == 0);
        p = end + 2;
    }
}

int hs_fuzz_serve(const uint8_t *data, size_t bytes)
{
    fake_answer a;
    fake_http_ask(server()->http, data, bytes, &a);
    must(a.status != 500 && a.status != 502);
    if (a.stream)
        look_at_events(a.body);
    else if (strcmp(a.type, "application/json") == 0)
        must(is_json(a.body, a.bytes));
    must(a.status < 400 || a.bytes > 0);
    fake_answer_free(&a);
    return 0;
}

HS_FUZZ_TARGET(serve)

#ifndef HS_FUZZ
static void serve(void **state)
{
    int64_t left;
    (void)state;
    assert_true(fuzz_replay(HS_TESTS_DIR "/golden/fuzz/serve", hs_fuzz_serve) > 10);
    hs_server_stop(server(), &left);
    assert_int_equal(left, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(serve) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
