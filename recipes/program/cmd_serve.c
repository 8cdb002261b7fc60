// serve: model directories behind HTTP.
#include "core/base/clock.h"
#include "core/base/log.h"
#include "data/base/yaml.h"
#include "infer/server/server.h"
#include "recipes/program/cli_session.h"
#include "recipes/program/commands.h"
#include "recipes/program/serve_options.h"
#include "recipes/program/serve_tokens.h"
#include "recipes/program/task_rows.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- what a model computes in: as predict and embed choose it, and generate for models that continue texts

static hs_status settle(const hs_session *s, hs_policy *policy, void *user) { return hs_cli_policy(user, s, policy); }
static hs_status rows(const hs_session *s, hs_rows_opts *rows, void *user) { return hs_task_rows(((const hs_cli *)user)->table, s, rows); }

// ---- NAME=DIR, or a directory that is called as its last part is

static hs_status parse_model(const char *arg, char name[HS_SERVED_NAME], hs_server_model *m)
{
    const char *equals = strchr(arg, '='), *slash = strchr(arg, '/');
    size_t n;
    const char *from = arg;
    if (equals && (!slash || equals < slash))
        n = (size_t)(equals - arg), m->path = equals + 1;
    else {
        size_t end = strlen(arg);
        while (end > 1 && arg[end - 1] == '/')
            end--;
        size_t begin = end;
        while (begin > 0 && arg[begin - 1] != '/')
            begin--;
        from = arg + begin, n = end - begin, m->path = arg;
    }
    if (n == 0 || n >= HS_SERVED_NAME || m->path[0] == 0 || memcmp(from, "..", n > 2 ? 2 : n) == 0)
        return HS_FAIL(USAGE, "'%s' is no model: write DIR or NAME=DIR, with a name of 1 to %d characters", arg, HS_SERVED_NAME - 1);
    memcpy(name, from, n);
    name[n] = 0, m->name = name;
    return HS_OK;
}

// Those of the configuration's `serve` first. list is changed: models' paths lie in it.
static hs_status parse_models(const hs_cli *cli, char *list, char (*name)[HS_SERVED_NAME], hs_server_model *model, int *n)
{
    const char *arg[2 * HS_SERVER_MODELS];
    int n_args = 0;
    for (char *save, *t = strtok_r(list, ",", &save); t && n_args < HS_SERVER_MODELS; t = strtok_r(NULL, ",", &save))
        arg[n_args++] = t + strspn(t, " ");
    for (int i = 0; i < cli->n_args; i++)
        arg[n_args++] = cli->arg[i];
    if (n_args > HS_SERVER_MODELS)
        return HS_FAIL(USAGE, "%d models; at most %d are served", n_args, HS_SERVER_MODELS);
    for (*n = 0; *n < n_args; ++*n) {
        HS_TRY(parse_model(arg[*n], name[*n], &model[*n]));
        for (int k = 0; k < *n; k++)
            if (strcmp(name[*n], name[k]) == 0)
                return HS_FAIL(USAGE, "two models are called '%s': write NAME=DIR for one of them", name[k]);
    }
    return HS_OK;
}

static hs_status take_steps(const hs_serve_options *o, const hs_server_model *model, int n_models, hs_ensemble_step *step)
{
    for (int i = 0; i < o->n_steps; i++) {
        const hs_serve_step *s = &o->step[i];
        step[i] = (hs_ensemble_step){ .ensemble = s->name, .model = s->model, .input_map = s->input_map, .output_map = s->output_map };
        if (!s->name[0] || strlen(s->name) >= HS_SERVED_NAME || strchr(s->name, '/'))
            return HS_FAIL(USAGE, "ensembles.%d.name is '%s': a model's name has 1 to %d characters, and no /", i, s->name,
                           HS_SERVED_NAME - 1);
        for (int k = 0; k < n_models; k++)
            if (strcmp(model[k].name, s->name) == 0)
                return HS_FAIL(USAGE, "ensembles.%d.name: there is a model '%s', too", i, s->name);
    }
    return HS_OK;
}

static hs_status read_trace(const hs_serve_options *o, hs_tracer_opts *t)
{
    hs_string list;
    bool any = false;
    *t = (hs_tracer_opts){
        .file = o->trace_file[0] ? o->trace_file : NULL,
        .most = o->trace_bytes << 20,
        .settings.of = { [HS_TRACE_RATE] = o->trace_rate, [HS_TRACE_COUNT] = o->trace_count, [HS_TRACE_FREQUENCY] = o->trace_log_frequency }
    };
    memcpy(list, o->trace_level, sizeof list);
    for (char *save, *p = strtok_r(list, ", ", &save); p; p = strtok_r(NULL, ", ", &save), any = true)
        if (!hs_trace_level_add(&t->settings.of[HS_TRACE_LEVEL], any, p))
            return HS_FAIL(USAGE, "--trace-level is %s, must be OFF, TIMESTAMPS, TENSORS, or TIMESTAMPS,TENSORS", o->trace_level);
    if (t->settings.of[HS_TRACE_LEVEL] && !t->file)
        return HS_FAIL(USAGE, "--trace-level %s needs a file for traces: --trace-file", o->trace_level);
    return HS_OK;
}

// ---- signals: whoever is told to stop drains; told again, it does not; and a third time it is gone

static int stop_pipe[2] = { -1, -1 };
static atomic_bool serves, hurry;
static volatile sig_atomic_t again; // the second
static _Atomic int64_t pressed;     // hs_now_ns of the last; 0: none. A terminal and a launcher may both send one

static void press_again(int n, int64_t now)
{
    if (!atomic_load(&serves) || again)
        _exit(128 + n);
    again = n;
    atomic_store(&pressed, now);
    atomic_store(&hurry, true);
}

static void on_signal(int n)
{
    const int kept = errno;
    const int64_t now = hs_now_ns();
    int64_t last = 0;
    if (atomic_compare_exchange_strong(&pressed, &last, now))
        (void)!write(stop_pipe[1], &(char){ (char)n }, 1);
    else if (now - last > 300000000)
        press_again(n, now);
    errno = kept;
}

static hs_status catch_signals(void)
{
    struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, ignore = { .sa_handler = SIG_IGN };
    sigaddset(&a.sa_mask, SIGTERM), sigaddset(&a.sa_mask, SIGINT);
    if (pipe(stop_pipe) != 0)
        return HS_FAIL(SYSTEM, "no pipe: %s", strerror(errno));
    sigaction(SIGTERM, &a, NULL), sigaction(SIGINT, &a, NULL), sigaction(SIGPIPE, &ignore, NULL);
    return HS_OK;
}

static void wait_for_signal(void)
{
    struct pollfd p = { .fd = stop_pipe[0], .events = POLLIN };
    while (poll(&p, 1, -1) < 0) // not read: a sanitizer keeps the signal until that is over
        ;
}

#ifdef HS_HAVE_MICROHTTPD
static hs_status serve(const hs_cli *cli, const hs_server_opts *o)
{
    hs_server server;
    int64_t left = 0;
    HS_TRY(catch_signals());
    const hs_status st = hs_server_start(&server, o);
    if (st == HS_OK) {
        atomic_store(&serves, true);
        hs_info("listening at http%s://%s:%d", o->http.cert ? "s" : "", o->http.host, hs_http_port(server.http));
        if (hs_cli_common(cli)->json) {
            printf("{\"host\": \"%s\", \"port\": %d}\n", o->http.host, hs_http_port(server.http));
            fflush(stdout);
        }
        wait_for_signal();
        hs_info("stopping: requests under way have %g s; told once more, it ends at once", o->drain_seconds);
    }
    hs_server_stop(&server, &left);
    if (left > 0 && again)
        hs_warn("%lld request%s not answered: it was told to stop twice", (long long)left, left == 1 ? " was" : "s were");
    else if (left > 0)
        hs_warn("%lld request%s not answered after %g s", (long long)left, left == 1 ? " was" : "s were", o->drain_seconds);
    if (st == HS_OK && again) {
        fflush(stdout);
        _exit(128 + again);
    }
    return st;
}
#else
#include "recipes/hs_left_out.h"
static hs_status serve(const hs_cli *cli, const hs_server_opts *o)
{
    (void)cli, (void)o, (void)catch_signals, (void)wait_for_signal;
    return HS_FAIL(UNSUPPORTED, "this build has no server: libmicrohttpd: %s", HS_WHY_NO_MICROHTTPD);
}
#endif

// A file of options; what stands on the command line goes before it.
static hs_status read_config(const hs_cli *cli)
{
    hs_serve_options *o = cli->options, *file = malloc(sizeof *file);
    char value[HS_KEY_STRING_BYTES], name[HS_KEY_NAME];
    if (!file)
        return HS_FAIL(MEMORY, "no memory for options");
    hs_status st = hs_schema_defaults(&hs_serve_schema, file, NULL);
    if (st == HS_OK)
        st = hs_yaml_load(o->config, &hs_serve_schema, file, NULL);
    hs_key_at at;
    for (int i = 0; st == HS_OK && (at = hs_schema_row(&hs_serve_schema, o, i)).key; i++)
        if (hs_cli_given(cli, hs_schema_name(at, name))) {
            hs_schema_format(&hs_serve_schema, o, at, value, sizeof value);
            st = hs_schema_set(&hs_serve_schema, file, NULL, name, value, "the command line");
        }
    if (st == HS_OK)
        *o = *file;
    free(file);
    return st;
}

static hs_status run_serve(const hs_cli *cli)
{
    hs_serve_options *o = cli->options;
    if (o->config[0])
        HS_TRY(read_config(cli));
    int n_models = 0;
    char name[HS_SERVER_MODELS][HS_SERVED_NAME];
    hs_server_model model[HS_SERVER_MODELS];
    hs_ensemble_step step[HS_ENSEMBLE_STEPS];
    const char *token[HS_SERVER_TOKENS];
    char *tokens = NULL;
    int n_tokens = 0;
    if (!o->cert[0] != !o->key[0])
        return HS_FAIL(USAGE, "--tls-cert and --tls-key go together");
    if (o->held < o->body || o->held < o->answer)
        return HS_FAIL(USAGE, "--held is %lld MiB, which is less than one %s of --%s %lld MiB", (long long)o->held,
                       o->held < o->body ? "body" : "answer", o->held < o->body ? "body" : "answer",
                       (long long)(o->held < o->body ? o->body : o->answer));
    HS_TRY(parse_models(cli, o->serve, name, model, &n_models));
    HS_TRY(take_steps(o, model, n_models, step));
    if (n_models == 0 && !o->models[0])
        return HS_FAIL(USAGE, "serve: which models? DIR or NAME=DIR, or --models and a folder of them");
    hs_tracer_opts trace;
    HS_TRY(read_trace(o, &trace));
    hs_status st = hs_serve_tokens(o->token_file, &tokens, token, &n_tokens);
    const hs_server_opts server = {
        .http = { .host = o->host,
                  .port = (int)o->port,
                  .cert = o->cert[0] ? o->cert : NULL,
                  .key = o->key[0] ? o->key : NULL,
                  .threads = (int)o->http_threads,
                  .most_connections = o->connections,
                  .most_per_client = o->connections_per_client,
                  .most_head = (size_t)o->head << 10,
                  .most_body = (size_t)o->body << 20,
                  .most_held = (size_t)o->held << 20,
                  .idle_seconds = o->idle,
                  .body_seconds = o->body_timeout,
                  .least_rate = (size_t)o->least_rate << 10 },
        .served = { .families = cli->table->families,
                    .device = o->common.device,
                    .threads = (int)o->common.threads,
                    .instances = (int)o->instances,
                    .pin = o->pin,
                    .warm_up = o->warm_up,
                    .want = o->common.accept_edited ? HS_CKPT_EDITED : 0,
                    .settle = settle,
                    .rows = rows,
                    .user = (void *)(uintptr_t)cli,
                    .batch_tokens = o->batch_tokens,
                    .queue_works = o->queue,
                    .queue_tokens = o->queue_tokens,
                    .slots = o->slots,
                    .step_tokens = o->step_tokens,
                    .beside_tokens = o->beside_tokens,
                    .cache_tokens = o->cache_tokens,
                    .cache_i8 = o->kv == HS_KV_INT8,
                    .step = step,
                    .n_steps = o->n_steps,
                    .sequences = o->sequences,
                    .sequence_idle = o->sequence_idle,
                    .most_texts = o->texts,
                    .most_rows = o->rows },
        .model = model,
        .n_models = n_models,
        .token = token,
        .n_tokens = n_tokens,
        .open_metrics = o->open_metrics,
        .cache_bytes = (size_t)o->cache_bytes,
        .most_answer = (size_t)o->answer << 20,
        .most_values = o->values,
        .control = o->control || o->models[0],
        .models = o->models[0] ? o->models : NULL,
        .access_log = o->access_log,
        .drain_seconds = o->drain,
        .linger_seconds = o->linger,
        .hurry = &hurry,
        .trace = trace,
        .version = HS_VERSION,
    };
    if (st == HS_OK)
        st = serve(cli, &server);
    free(tokens);
    return st;
}

const hs_command hs_cmd_serve = {
    .name = "serve",
    .arguments = "[DIR|NAME=DIR...]",
    .summary = "answer requests over HTTP",
    .examples = "halfstep serve models/all-MiniLM-L6-v2\n"
                "halfstep serve embed=models/all-MiniLM-L6-v2 sentiment=runs/sst2 --port 8000\n"
                "curl -s localhost:8000/embed -d '{\"inputs\": \"a short text\"}'\n"
                "curl -s localhost:8000/models/sentiment/predict -d '{\"inputs\": [[\"good\"], [\"bad\"]]}'\n"
                "curl -s localhost:8000/v1/completions -d '{\"prompt\": \"Once upon a time\"}'        # of a model that continues texts",
    .notes =
        "Models are what predict, embed, fill-mask and generate open. Texts of all requests for a model share its batches, without "
        "padding;\n"
        "what a text gives does not depend on the others, to the last bit.\n"
        "Texts go to /embed, /embed_all, /predict, /rerank, /ner, /answer, /fill-mask, /tokenize and /decode, a model's own below "
        "/models/NAME.\n"
        "SIGTERM or SIGINT (Ctrl-C): it takes no new connections, finishes what was accepted, and ends. A second one ends that at once\n"
        "(what is left is answered with 503) with exit code 128 + the signal's number; a third one the program.",
    .options = &hs_serve_schema,
    .min_args = 0,
    .max_args = HS_SERVER_MODELS,
    .run = run_serve,
};
