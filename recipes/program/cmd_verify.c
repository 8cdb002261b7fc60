// verify: is what a layout of ranks trains what one process trains; is what goes on what would not have stopped.
#include "parallel/parallel.h"
#include "recipes/program/commands.h"
#include "recipes/train/verify.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct verify_options {
    hs_common common;
    hs_string out, then;
    int64_t steps;
} verify_options;

static const char *const words[] = { "tp", "dp", "shard", "resume" };

static hs_status parse_what(const char *word, hs_verify_what *what)
{
    for (int i = 0; i < HS_COUNT(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *what = (hs_verify_what)i;
            return HS_OK;
        }
    const char *near = hs_nearest_word(word, words, HS_COUNT(words));
    return HS_FAIL(USAGE, "halfstep verify takes " HS_VERIFY_WORDS ", not '%s'%s%s", word, near ? "; nearest is " : "", near ? near : "");
}

// "4x1" is dp x tp.
static hs_status parse_then(const char *text, hs_verify_opts *o)
{
    int used = 0;
    if (!text[0])
        return HS_OK;
    if (o->what != HS_VERIFY_RESUME)
        return HS_FAIL(USAGE, "--then is of a run that goes on: halfstep verify resume");
    if (sscanf(text, "%dx%d%n", &o->then_dp, &o->then_tp, &used) != 2 || text[used] || o->then_dp < 1 || o->then_tp < 1 ||
        o->then_dp > 65536 || o->then_tp > 1024)
        return HS_FAIL(USAGE, "--then is '%s', not a layout as 4x1: parallel.dp x parallel.tp", text);
    return HS_OK;
}

// ---- what is printed
static void print_row(const hs_verify_row *r, bool exact)
{
    static const char *const verdict[] = { [HS_VERIFY_FINE] = "ok", [HS_VERIFY_ALL_NOISE] = "noise", [HS_VERIFY_FAILS] = "FAILS" };
    char bound[32];
    snprintf(bound, sizeof bound, exact ? "0" : "%.1e", r->bound);
    printf("%-36s %11.0f %10.1e %10.1e %9s  %s\n", r->name, r->ulp, r->relative, r->rms, bound, verdict[hs_verify_judge(r)]);
}

static int n_noise(const hs_verify_result *r)
{
    int n = 0;
    for (int i = 0; i < r->n; i++)
        n += hs_verify_judge(&r->row[i]) == HS_VERIFY_ALL_NOISE;
    return n;
}

static void print_layout(const hs_verify_opts *o, const hs_verify_result *r)
{
    const bool exact = hs_verify_exact(o);
    printf("%-36s %22s %20s\n%-36s %11s %10s %10s %9s\n", "", "largest difference", "all differences", "tensor", "ulp", "of largest", "rms",
           "bound");
    for (int i = 0; i < r->n; i++)
        print_row(&r->row[i], exact);
    printf("loss of each step: %.1e apart at most, bound %.1e: %s\n", r->loss, r->loss_bound,
           isfinite(r->loss_bound) && r->loss <= r->loss_bound ? "ok" : "FAILS");
    printf("loss scale and skipped steps (%lld): %s\n", (long long)r->skipped, r->same_scaler ? "the same" : "DIFFER");
    printf("samples and tokens seen: %s\n", r->same_samples ? "the same" : "DIFFER");
    printf("tensors that several ranks have: %d of %d bit-identical%s%s\n", r->n_replicated - r->n_differ, r->n_replicated,
           r->n_differ ? ", first DIFFERS " : "", r->differs);
    if (n_noise(r))
        printf("noise: %d of %d tensors may differ by as much as they are, rounding alone does that to them; nothing is said of these\n",
               n_noise(r), r->n);
    if (exact)
        printf("bound: none, as the same sums are made in the same order\n");
    else
        printf(
            "bound: %d times the rms by which one process differs from itself when each weight begins half a unit in the last place away,\n"
            "the largest of as many tries as there are ranks\n",
            HS_VERIFY_NOISE);
}

static void print_resume(const hs_verify_result *r)
{
    for (int i = 0; i < r->n; i++)
        printf("%-40s %s\n", r->row[i].name, r->row[i].ulp == 0 ? "the same bytes" : "DIFFERS");
}

static void print_json(const hs_verify_opts *o, const hs_verify_result *r)
{
    json_t *rows = json_array();
    for (int i = 0; i < r->n; i++)
        json_array_append_new(rows, json_pack("{s:s, s:o, s:o, s:o}", "name", r->row[i].name, "ulp", hs_line_real(r->row[i].ulp),
                                              "relative", hs_line_real(r->row[i].relative), "bound", hs_line_real(r->row[i].bound)));
    hs_line_print(json_pack("{s:s, s:s, s:i, s:b, s:o, s:o, s:b, s:b, s:I, s:i, s:i, s:s, s:o}", "event", "verify", "what", words[o->what],
                            "steps", o->steps, "passed", r->passed, "loss", hs_line_real(r->loss), "loss_bound",
                            hs_line_real(r->loss_bound), "same_scaler", r->same_scaler, "same_samples", r->same_samples, "skipped",
                            (json_int_t)r->skipped, "replicated", r->n_replicated, "differ", r->n_differ, "differs", r->differs, "rows",
                            rows));
}

static void print(const hs_verify_opts *o, const hs_verify_result *r, bool json)
{
    if (json)
        print_json(o, r);
    else if (o->what == HS_VERIFY_RESUME && !o->then_dp)
        print_resume(r);
    else
        print_layout(o, r);
}

// ---- the command
static hs_status verify(const hs_cli *cli, hs_config *config)
{
    const verify_options *o = cli->options;
    hs_verify_opts opts = { .config = config, .parallel = cli->parallel, .steps = (int)o->steps, .out = o->out };
    hs_verify_result r;
    char dir[HS_KEY_STRING_BYTES + 32], why[512];
    HS_TRY(parse_what(cli->arg[0], &opts.what));
    HS_TRY(parse_then(o->then, &opts));
    HS_TRY(hs_cli_config(cli, cli->arg[1], config));
    if (!o->out[0]) {
        snprintf(dir, sizeof dir, "runs/verify-%s", config->train.name);
        opts.out = dir;
    }
    hs_status st = hs_verify(&opts, &r);
    const bool first = hs_parallel_world(cli->parallel)->rank == 0;
    if (st == HS_OK && first)
        print(&opts, &r, o->common.json);
    if (st == HS_OK && !r.passed) {
        hs_verify_why(&r, why, sizeof why);
        st = HS_FAIL(INTERNAL, "verify %s: %s", words[opts.what], why);
    }
    if (st == HS_OK && first && !o->common.json)
        printf("passed\n");
    hs_verify_free(&r);
    return st;
}

static hs_status run_verify(const hs_cli *cli)
{
    hs_config *config = calloc(1, sizeof *config);
    const hs_status st = config ? verify(cli, config) : HS_FAIL(MEMORY, "no memory for the configuration");
    free(config);
    return st;
}

static const hs_key keys[] = {
    { .name = "steps",
      .type = HS_KEY_INT,
      .offset = offsetof(verify_options, steps),
      .value = "10",
      .min = 1,
      .max = 1000000,
      .unit = "steps",
      .help = "of both runs; of resume before and behind the stop" },
    { .name = "out",
      .type = HS_KEY_STRING,
      .offset = offsetof(verify_options, out),
      .value = "",
      .help =
          "folder for runs that have to save - resume, phases, train.unfreeze -, removed where all is well (default runs/verify-NAME of "
          "the configuration)" },
    { .name = "then",
      .type = HS_KEY_STRING,
      .offset = offsetof(verify_options, then),
      .value = "",
      .help = "of resume: parallel.dp x parallel.tp that go on, as 4x1 or 1x1; against one process that never stopped" },
    HS_COMPUTE_KEYS(verify_options),
    HS_COMMON_KEYS(verify_options),
};
static const hs_schema schema = HS_SCHEMA(keys, verify_options);

const hs_command hs_cmd_verify = {
    .name = "verify",
    .arguments = HS_VERIFY_WORDS " CONFIG.yaml",
    .summary = "hold what several ranks train, or a run that goes on, against one process and a run that never stopped",
    .examples = "mpirun -np 2 --bind-to none halfstep verify dp shakespeare-char\n"
                "mpirun -np 2 --bind-to none halfstep verify tp bert-tiny --data.train=book.txt --parallel.tp=2 --steps 20\n"
                "mpirun -np 4 --bind-to none halfstep verify shard my.yaml --parallel.tp=2 --parallel.shard_optimizer=states\n"
                "halfstep verify resume shakespeare-char --dtype bf16\n"
                "mpirun -np 4 --bind-to none halfstep verify resume my.yaml --parallel.tp=2 --then 1x4",
    .notes =
        "tp and dp train the same steps on the ranks that were started and on one process (each rank alone, at once), and print the\n"
        "largest difference of each tensor, the worst first. The bound is measured: so many times the rms by which the one process\n"
        "differs from itself when each weight begins half a unit in the last place away, in the type that products read (dp: in f32).\n"
        "(Single elements say little: where a gradient is nothing but rounding, Adam makes whole steps of it.) shard compares with the "
        "same ranks that do not divide the optimizer: no bit may differ. resume trains on from the middle of a run\n"
        "and compares the bytes of the last checkpoints; with --then another layout trains on, and is held against one process that never\n"
        "stopped. Exit code 0: passed; 70: it differs.",
    .options = &schema,
    .min_args = 2,
    .max_args = 2,
    .takes_config = true,
    .many = hs_cli_many,
    .run = run_verify,
};
