// The host in training on the emulated GPU: the thread that trains waits for the device where a line of the log or a checkpoint is due, and
// in no step between, and what it trains on are the batches that it would have if it waited for everything.
//   test_cuda_feeds
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/family.h"
#include "recipes/program/cli.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/halfstep-feeds-XXXXXX";

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_texts(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chdir(folder))
        return -1;
    FILE *f = fopen("docs.txt", "w");
    if (!f)
        return -1;
    static const char *const who[] = { "cat", "dog", "bird", "fish", "horse" }, *const what[] = { "bread", "milk", "grass", "seeds" };
    for (int d = 0; d < 120; d++) {
        for (int s = 0; s < 5; s++)
            fprintf(f, "The %s sees the %s in field %d. ", who[(d + 2 * s) % 5], what[(d * s + s) % 4], d % 7);
        fputs("\n\n", f);
    }
    fclose(f);
    write_file("gpt.yaml", "model: { layers: 1, heads: 2, width: 32, context: 16, vocab: 64, dropout: 0.1 }\n"
                           "data: { train: docs.txt, val: 0 }\n"
                           "train: { batch: 2 }\n");
    write_file("bert.yaml", "model: { type: bert, layers: 1, heads: 2, width: 32, context: 32, dropout: 0.1 }\n"
                            "data: { train: docs.txt, val: 0, tokenizer: \"wordpiece:120\", length: 24 }\n"
                            "train: { batch: 2 }\n");
    return 0;
}

static int remove_texts(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return chdir("/") || system(command);
}

// In the child: the whole program, and the waits of the thread that trained.
static int train(const char *model, int steps, int log_every, const char *const more[], const char *out, long *waits)
{
    char set_steps[64], set_log[64], set_out[64];
    const char *argv[16] = { "halfstep", "pretrain", model,     "--device", "cuda-emu", "--dtype",
                             "bf16",     "--quiet",  set_steps, set_log,    set_out };
    int n = 11;
    snprintf(set_steps, sizeof set_steps, "--train.steps=%d", steps);
    snprintf(set_log, sizeof set_log, "--train.log_every=%d", log_every);
    snprintf(set_out, sizeof set_out, "--out=%s", out);
    for (int i = 0; more[i]; i++)
        argv[n++] = more[i];
    if (!freopen("/dev/null", "w", stdout))
        return -1;
    const int rc = hs_program(n, (char **)argv, hs_families);
    void *library = dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD);
    long (*count)(void) = NULL;
    if (library)
        *(void **)&count = dlsym(library, "hs_emu_waits");
    *waits = count ? count() : -1;
    return rc;
}

static long waits(const char *model, int steps, int log_every, const char *const more[], const char *out)
{
    int ends[2], status = 0;
    long n = -1;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        const int rc = train(model, steps, log_every, more, out, &n);
        const bool told = write(ends[1], &n, sizeof n) == sizeof n;
        _exit(rc || !told);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(read(ends[0], &n, sizeof n), sizeof n);
    close(ends[0]), close(ends[1]);
    assert_true(n > 0);
    return n;
}

static void only_to_log(const char *model, int steps, const char *const more[])
{
    static int number;
    char out[3][32];
    for (int i = 0; i < 3; i++)
        snprintf(out[i], sizeof out[i], "run-%d", number++);
    const long few = waits(model, steps / 4, steps / 4, more, out[0]), many = waits(model, steps, steps, more, out[1]),
               logged = waits(model, steps, steps / 4, more, out[2]);
    if (many != few)
        fail_msg("%s: %ld waits in %d steps, %ld in %d", model, few, steps / 4, many, steps);
    if (logged <= many) // or nothing was counted
        fail_msg("%s: %ld waits with one line of the log, %ld with four", model, many, logged);
}

// Losses of a run, as it wrote them.
static int read_losses(const char *run, char loss[64][32])
{
    char path[64], line[4096];
    int n = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (n < 64 && fgets(line, sizeof line, f)) {
        const char *at = strstr(line, "\"loss\":");
        if (at)
            snprintf(loss[n++], sizeof loss[0], "%.*s", (int)strcspn(at + 7, ",}"), at + 7);
    }
    fclose(f);
    return n;
}

// In step mode every submission is waited for: no batch can be filled again too early, and none be read too late.
static void same_batches(const char *model, const char *const more[])
{
    static int number;
    char out[2][32], loss[2][64][32];
    const char *args[2][8] = { { "--exec.mode=step" }, { "--exec.mode=bulk" } };
    for (int i = 0; i < 2; i++) {
        snprintf(out[i], sizeof out[i], "same-%d", number++);
        for (int k = 0; more[k]; k++)
            args[i][k + 1] = more[k];
        waits(model, 10, 2, args[i], out[i]);
    }
    const int n = read_losses(out[0], loss[0]);
    assert_int_equal(read_losses(out[1], loss[1]), n);
    assert_true(n >= 5);
    for (int i = 0; i < n; i++)
        if (strcmp(loss[0][i], loss[1][i]))
            fail_msg("%s, line %d: loss %s step by step, %s in bulks", model, i, loss[0][i], loss[1][i]);
}

static void a_gpt(void **state)
{
    (void)state;
    only_to_log("gpt.yaml", 24, (const char *const[]){ "--exec.mode=graph", NULL });
    only_to_log("gpt.yaml", 16, (const char *const[]){ "--exec.mode=bulk", "--train.accumulate=3", NULL });
}

// Inputs with defaults, and live counts that change.
static void an_encoder(void **state)
{
    (void)state;
    only_to_log("bert.yaml", 16, (const char *const[]){ "--exec.mode=graph", NULL });
    only_to_log("bert.yaml", 16, (const char *const[]){ "--exec.mode=bulk", "--train.accumulate=2", "--model.types=1", NULL });
    only_to_log("bert.yaml", 16, (const char *const[]){ "--exec.mode=graph", "--data.masking=device", NULL });
}

static void the_same_batches(void **state)
{
    (void)state;
    same_batches("gpt.yaml", (const char *const[]){ "--train.prefetch=1", NULL });
    same_batches("bert.yaml", (const char *const[]){ "--train.prefetch=3", "--train.accumulate=2", NULL });
    same_batches("bert.yaml", (const char *const[]){ "--data.masking=device", NULL });
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_gpt), cmocka_unit_test(an_encoder), cmocka_unit_test(the_same_batches) };
    return cmocka_run_group_tests_name("waits of the thread that trains", tests, make_texts, remove_texts);
}
