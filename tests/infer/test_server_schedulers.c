// server: a model of two schedulers that is loaded anew, unloaded, and told to end while clients read streams: each stream that was begun
// comes whole and says what it says alone, what a version held is given back, and what is counted is of both schedulers together.
#include "core/base/clock.h"
#include "tests/support/support_files.h"
#include "tests/support/support_oip.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROMPTS = 4, NEW = 16, CROWD = 6, PATIENCE = 20 }; // seconds
static const char *const names[] = { "talks" };
static const char *const prompt[PROMPTS] = { "a", "the cat", "and", "of of . of" };
static int prompt_tokens[PROMPTS];
static char *want[PROMPTS];

static void wait_ms(int ms) { nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL); }

static void two(hs_server_opts *o)
{
    o->served.instances = o->served.threads = 2;
    o->served.slots = CROWD / 2; // by one thread of HTTP, as each that makes tokens has a cache of its own in each version
}

static void body_of(char body[512], int p, bool stream)
{
    snprintf(body, 512, "{\"model\":\"talks\",\"prompt\":\"%s\",\"max_tokens\":%d,\"temperature\":0,\"ignore_eos\":true,\"stream\":%s}",
             prompt[p], NEW, stream ? "true" : "false");
}

// What a model of one scheduler says, to one client, in one piece.
static int begin(void **state)
{
    hs_server s;
    char body[512];
    scratch_open(state);
    serve_folder("talks", "gpt2-lm");
    serve_start(&s, names, 1, NULL);
    for (int p = 0; p < PROMPTS; p++) {
        body_of(body, p, false);
        json_t *v = http_ask_json(hs_http_port(s.http), "POST", "/v1/completions", body, 200);
        want[p] = strdup(json_text_in(v, "choices/0/text"));
        prompt_tokens[p] = (int)json_number_in(v, "usage/prompt_tokens");
        assert_int_equal(json_number_in(v, "usage/completion_tokens"), NEW);
        json_decref(v);
    }
    serve_stop(&s);
    return 0;
}

static int end(void **state)
{
    for (int p = 0; p < PROMPTS; p++)
        free(want[p]);
    return scratch_close(state);
}

// ---- clients, each with a connection that it keeps

typedef struct crowd {
    int port, each;   // each: requests of a client; 0: until enough
    bool may_be_gone; // the model: 404 is an answer
    bool may_end;     // the server: it hangs up between two requests
    atomic_bool enough;
    atomic_int answers, refused, wrong, number;
    pthread_t thread[CROWD];
} crowd;

// Events to their end: "data: {...}", the last of a text with a reason, then [DONE] and nothing behind it.
static bool is_whole(const char *body, const char *text)
{
    char got[2048] = "";
    bool ended = false;
    for (const char *at = body; strncmp(at, "data: ", 6) == 0;) {
        const char *line_end = strstr(at += 6, "\n\n");
        if (strcmp(at, "[DONE]\n\n") == 0)
            return ended && strcmp(got, text) == 0;
        json_t *v = line_end ? json_loadb(at, (size_t)(line_end - at), 0, NULL) : NULL;
        if (!v)
            break;
        strcat(got, ended ? "more" : json_text_in(v, "choices/0/text"));
        ended = strcmp(json_text_in(v, "choices/0/finish_reason"), "length") == 0;
        json_decref(v);
        at = line_end + 2;
    }
    return false;
}

static void judge(crowd *c, const http_reply *r, int p)
{
    const bool gone = c->may_be_gone && r->status == 404 && strstr(r->body, "no model 'talks'");
    if (r->status == 200 && is_whole(r->body, want[p]))
        atomic_fetch_add(&c->answers, 1);
    else
        atomic_fetch_add(gone ? &c->refused : &c->wrong, 1);
}

static void *read_streams(void *arg)
{
    crowd *c = arg;
    const int fd = http_connect(c->port), number = atomic_fetch_add(&c->number, 1);
    for (int i = 0; c->each ? i < c->each : !atomic_load(&c->enough); i++) {
        const int p = (number + i) % PROMPTS;
        char body[512], request[1024];
        http_reply r;
        body_of(body, p, true);
        const int n = snprintf(request, sizeof request, "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s",
                               strlen(body), body);
        http_send(fd, request, (size_t)n);
        if (!http_read(fd, &r)) {
            atomic_fetch_add(&c->wrong, !c->may_end);
            break;
        }
        judge(c, &r, p);
        http_reply_free(&r);
    }
    close(fd);
    return NULL;
}

static void gather(crowd *c)
{
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&c->thread[i], NULL, read_streams, c), 0);
}
static void disperse(crowd *c)
{
    atomic_store(&c->enough, true);
    for (int i = 0; i < CROWD; i++)
        pthread_join(c->thread[i], NULL);
    assert_int_equal(c->wrong, 0);
}

// Until so many more were answered.
static void wait_for(atomic_int *count, int more)
{
    const int from = atomic_load(count);
    for (const double until = hs_now() + PATIENCE; hs_now() < until && atomic_load(count) < from + more;)
        wait_ms(1);
    assert_true(atomic_load(count) >= from + more);
}

// ---- what versions hold

static int mappings(void) // of weights
{
    char line[4096];
    int n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        n += strstr(line, "model.safetensors") != NULL;
    fclose(f);
    return n;
}

static int64_t heap(void)
{
    const struct mallinfo2 m = mallinfo2();
    return (int64_t)(m.uordblks + m.hblkhd);
}

// Whoever held it last has it given back by another thread.
static void wait_for_memory(int maps, int64_t bytes)
{
    for (const double until = hs_now() + PATIENCE; hs_now() < until && (mappings() > maps || heap() > bytes);)
        wait_ms(1);
    assert_int_equal(mappings(), maps);
    assert_true(heap() <= bytes);
}

static int64_t bytes_of_version(int port) // by its own account, of both runs
{
    json_t *v = http_ask_json(port, "GET", "/v2/models/talks/stats", NULL, 200);
    const int64_t bytes = json_number_in(v, "model_stats/0/memory_usage/0/byte_size");
    json_decref(v);
    assert_true(bytes > 1 << 20);
    return bytes;
}

static void expect_both_worked(const hs_server *s, int version)
{
    hs_served *m = hs_hub_find(s->hub, "talks", version, 0);
    assert_non_null(m);
    for (int i = 0; i < 2; i++) {
        hs_scheduler_stats x;
        hs_scheduler_look(hs_schedulers_at(m->schedulers, i), &x);
        assert_true(x.new_tokens > 0);
    }
    hs_served_let_go(m);
}

static void loaded_anew(void **state)
{
    (void)state;
    enum { LOADS = 6 };
    hs_server s;
    serve_start(&s, names, 1, two);
    crowd c = { .port = hs_http_port(s.http) };
    const int64_t each = bytes_of_version(c.port);
    const int maps = mappings();
    assert_true(maps > 0);
    gather(&c);
    wait_for(&c.answers, CROWD);
    const int64_t before = heap();
    for (int i = 0; i < LOADS; i++) {
        OK(hs_hub_load_now(s.hub, "talks", NULL));
        wait_for_memory(maps, before + each / 2); // the streams of the old one are over, by themselves
        wait_for(&c.answers, 2 * CROWD);
    }
    expect_both_worked(&s, 1 + LOADS);
    disperse(&c);
    serve_stop(&s);
    assert_int_equal(mappings(), 0);
}

static atomic_int changes;
static void on_changed(hs_status st, const char *why, void *user)
{
    (void)why, (void)user;
    atomic_fetch_add(&changes, st == HS_OK ? 1 : 1000);
}

// Who comes while it is not there is told so; who came before gets all of his stream.
static void unloaded(void **state)
{
    (void)state;
    enum { ROUNDS = 3 };
    hs_server s;
    serve_start(&s, names, 1, two);
    crowd c = { .port = hs_http_port(s.http), .may_be_gone = true };
    const int64_t each = bytes_of_version(c.port), with = heap();
    const bool sanitized = with < each; // it has a malloc of its own, and finds for itself what is left
    atomic_store(&changes, 0);
    gather(&c);
    for (int i = 0; i < ROUNDS; i++) {
        wait_for(&c.answers, CROWD);
        hs_hub_unload(s.hub, "talks", on_changed, NULL);
        wait_for(&c.refused, CROWD);
        wait_for_memory(0, sanitized ? with + each : with - each / 2);
        hs_hub_load(s.hub, "talks", NULL, on_changed, NULL);
    }
    wait_for(&c.answers, 2 * CROWD);
    expect_both_worked(&s, 1 + ROUNDS);
    disperse(&c);
    for (const double until = hs_now() + PATIENCE;
         hs_now() < until && atomic_load(&changes) < 2 * ROUNDS;) // it answers before that is told
        wait_ms(1);
    assert_int_equal(changes, 2 * ROUNDS);
    serve_stop(&s);
}

// Who goes on asking over a connection that he has is answered to the last, and hung up on behind it.
static void told_to_end(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        hs_server s;
        serve_start(&s, names, 1, two);
        crowd c = { .port = hs_http_port(s.http), .may_end = true };
        gather(&c);
        wait_for(&c.answers, CROWD * (1 + round));
        while (hs_http_under_way(s.http) == 0) // streams
            wait_ms(1);
        const int before = atomic_load(&c.answers);
        serve_stop(&s); // nothing is left
        assert_true(atomic_load(&c.answers) > before);
        disperse(&c);
        assert_int_equal(mappings(), 0);
    }
}

// ---- what is counted

static int64_t metric(const char *metrics, const char *name)
{
    char line[256];
    const int n = snprintf(line, sizeof line, "\n%s%s", name, strchr(name, '{') ? "} " : "{model=\"talks\",version=\"1\"} ");
    const char *at = strstr(metrics, line);
    if (!at)
        fail_msg("no metric %s", line + 1);
    return strtoll(at + n, NULL, 10);
}

static void counted(void **state)
{
    (void)state;
    enum { EACH = 2 * PROMPTS, ALL = CROWD * EACH };
    hs_server s;
    int tokens = 0;
    serve_start(&s, names, 1, two);
    crowd c = { .port = hs_http_port(s.http), .each = EACH };
    gather(&c);
    disperse(&c);
    assert_int_equal(c.answers, ALL);
    json_decref(http_ask_json(c.port, "POST", "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1000}", 400));
    for (int p = 0; p < PROMPTS; p++)
        tokens += prompt_tokens[p] * ALL / PROMPTS;

    hs_scheduler_stats x[2], sum;
    hs_served *m = hs_hub_find(s.hub, "talks", 1, 0);
    for (int i = 0; i < 2; i++) {
        hs_scheduler_look(hs_schedulers_at(m->schedulers, i), &x[i]);
        assert_true(x[i].new_tokens > 0 && x[i].steps > 0 && x[i].finished[HS_FINISH_LENGTH] * NEW == x[i].new_tokens);
    }
    hs_schedulers_look(m->schedulers, &sum);
    hs_served_let_go(m);
    assert_int_equal(sum.slots, CROWD);
    assert_int_equal(sum.finished[HS_FINISH_LENGTH], ALL);
    assert_int_equal(sum.new_tokens, ALL * NEW);
    assert_int_equal(sum.prompt_tokens, tokens);

    json_t *v = http_ask_json(c.port, "GET", "/v2/models/talks/stats", NULL, 200), *stats = json_inside(v, "model_stats/0");
    assert_int_equal(json_number_in(stats, "inference_count"), ALL);
    assert_int_equal(json_number_in(stats, "inference_stats/success/count"), ALL);
    assert_int_equal(json_number_in(stats, "inference_stats/fail/count"), 1);
    assert_int_equal(json_number_in(stats, "inference_stats/queue/count"), ALL);
    assert_int_equal(json_number_in(stats, "execution_count"), x[0].steps + x[1].steps);
    json_decref(v);

    const struct {
        const char *name;
        uint64_t value;
    } is[] = {
        { "nv_inference_request_success", ALL },
        { "nv_inference_request_failure{model=\"talks\",version=\"1\",reason=\"OTHER\"", 1 },
        { "nv_inference_count", ALL },
        { "nv_inference_exec_count", x[0].steps + x[1].steps },
        { "nv_inference_pending_request_count", 0 },
        { "halfstep_tokens_total", x[0].step_tokens + x[1].step_tokens },
        { "halfstep_prompt_tokens_total", (uint64_t)tokens },
        { "halfstep_new_tokens_total", ALL * NEW },
        { "halfstep_reused_tokens_total", x[0].reused_tokens + x[1].reused_tokens },
        { "halfstep_texts_running", 0 },
        { "halfstep_texts_waiting", 0 },
        { "halfstep_cache_pages", (uint64_t)(x[0].pages + x[1].pages) },
        { "halfstep_cache_pages_held", 0 },
        { "halfstep_cache_pages_kept", (uint64_t)(x[0].pages_kept + x[1].pages_kept) },
        { "halfstep_request_seconds_count{model=\"talks\",version=\"1\",stage=\"first_token\"", ALL },
        { "halfstep_request_seconds_count{model=\"talks\",version=\"1\",stage=\"next_token\"", ALL * (NEW - 1) },
        { "halfstep_request_seconds_count{model=\"talks\",version=\"1\",stage=\"queue\"", ALL },
    };
    http_reply r = http_get(c.port, "/metrics");
    for (int i = 0; i < HS_COUNT(is); i++)
        if (metric(r.body, is[i].name) != (int64_t)is[i].value)
            fail_msg("%s is %lld, not %lld", is[i].name, (long long)metric(r.body, is[i].name), (long long)is[i].value);
    http_reply_free(&r);
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(loaded_anew), cmocka_unit_test(unloaded), cmocka_unit_test(told_to_end),
                                        cmocka_unit_test(counted) };
    return cmocka_run_group_tests_name("server_schedulers", tests, begin, end);
}
