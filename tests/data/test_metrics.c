// metrics: numbers read back as they were, a torn line and the steps behind a resume point are cut, and the curve is a picture.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/report/metrics.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_steps(const char *name, int64_t resume, int64_t from, int64_t to)
{
    hs_metrics *m;
    OK(hs_metrics_open(&m, scratch_path(name), resume));
    for (int64_t s = from; s <= to; s++) {
        const hs_metric v[] = { { "loss", 1.0 / (double)(s + 2) }, { "lr", 0.001 } };
        OK(hs_metrics_write(m, s, v, 2));
    }
    OK(hs_metrics_sync(m));
    hs_metrics_close(m);
}

static void same_bytes(const char *a, const char *b)
{
    size_t na, nb;
    char *x = scratch_read(a, &na), *y = scratch_read(b, &nb);
    assert_string_equal(x, y);
    assert_int_equal(na, nb);
    free(x);
    free(y);
}

static void numbers_read_back(void **state)
{
    (void)state;
    hs_metrics *m;
    OK(hs_metrics_open(&m, scratch_path("n.jsonl"), -1));
    double values[2000];
    for (int i = 0; i < 2000; i++) {
        const uint64_t r = hs_mix((uint64_t)i);
        const double x = ldexp((double)(r >> 11), (int)(r % 200) - 150);
        values[i] = i % 3 == 0 ? x : i % 3 == 1 ? (double)(float)x : (double)(r % 1000000);
        OK(hs_metrics_write(m, i, &(hs_metric){ "v", values[i] }, 1));
    }
    OK(hs_metrics_write(m, 2000, (hs_metric[]){ { "a", 0.1 }, { "b", 1e-5 }, { "c", 131072 }, { "d", NAN }, { "e", -INFINITY } }, 5));
    hs_metrics_close(m);
    size_t n;
    char *text = scratch_read("n.jsonl", &n), *line = strtok(text, "\n");
    for (int i = 0; i < 2000; i++, line = strtok(NULL, "\n")) {
        char start[32], *end;
        const int at = snprintf(start, sizeof start, "{\"step\":%d,\"v\":", i);
        assert_memory_equal(line, start, (size_t)at);
        assert_true(strtod(line + at, &end) == values[i]);
        assert_string_equal(end, "}");
    }
    assert_string_equal(line, "{\"step\":2000,\"a\":0.1,\"b\":1e-05,\"c\":131072,\"d\":null,\"e\":null}");
    free(text);
}

static void resume_cuts(void **state)
{
    (void)state;
    write_steps("whole.jsonl", -1, 1, 100);
    write_steps("resumed.jsonl", -1, 1, 70);
    size_t n;
    char *text = scratch_read("resumed.jsonl", &n);
    for (size_t torn = 0; torn < 60; torn += 7) { // killed within a line
        scratch_write("resumed.jsonl", text, n - torn);
        write_steps("resumed.jsonl", 50, 51, 100);
        same_bytes("whole.jsonl", "resumed.jsonl");
    }
    free(text);

    // Without a resume point only the torn line goes.
    write_steps("a.jsonl", -1, 1, 20);
    text = scratch_read("a.jsonl", &n);
    scratch_write("a.jsonl", text, n - 3);
    free(text);
    write_steps("a.jsonl", -1, 20, 30);
    write_steps("b.jsonl", -1, 1, 30);
    same_bytes("a.jsonl", "b.jsonl");

    // Lines that are not ours stay; of several lines of one step all stay.
    const char kept[] = "# note\n{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1}\n{\"step\":2,\"val_loss\":1}\n",
               cut[] = "{\"step\":3,\"loss\":1}\n{\"step\":1";
    char both[256];
    snprintf(both, sizeof both, "%s%s", kept, cut);
    scratch_write("c.jsonl", both, strlen(both));
    scratch_write("d.jsonl", kept, strlen(kept));
    write_steps("c.jsonl", 2, 1, 0);
    same_bytes("c.jsonl", "d.jsonl");
    write_steps("c.jsonl", 0, 1, 0);
    scratch_write("d.jsonl", kept, 7);
    same_bytes("c.jsonl", "d.jsonl");
}

static void refused(void **state)
{
    (void)state;
    hs_metrics *m;
    FAILS(SYSTEM, "cannot write", hs_metrics_open(&m, scratch_path("absent/m.jsonl"), -1));
    assert_null(m);
    FAILS(SYSTEM, "cannot write", hs_metrics_open(&m, scratch_path(""), -1));
    OK(hs_metrics_open(&m, "/dev/full", -1));
    FAILS(SYSTEM, "No space left", hs_metrics_write(m, 1, &(hs_metric){ "loss", 1 }, 1));
    OK(hs_metrics_sync(m));
    hs_metrics_close(m);
    hs_metrics_close(NULL);
}

static void picture(void **state)
{
    (void)state;
    const hs_curve none = { "none", NULL, NULL, 0 };
    if (!hs_plot_available()) {
        FAILS(UNSUPPORTED, "libpng", hs_plot_png(scratch_path("x.png"), "t", "x", "y", &none, 1));
        skip();
    }
    FAILS(USAGE, "no point to draw", hs_plot_png(scratch_path("x.png"), "t", "x", "y", &none, 1));
    static const double series[][3] = { { 1, 2, 3 },          { 5, 5, 5 },           { 0, 0, 0 },       { NAN, 1, INFINITY },
                                        { -1e290, 0, 1e290 }, { 1e-300, 2e-300, 0 }, { 1e15, 2e15, -1 } };
    for (int i = 0; i < HS_COUNT(series); i++) {
        const double *x = series[i], *y = series[(i + 2) % HS_COUNT(series)];
        const hs_curve two[] = { { "\xC3\xA9 first", x, y, 3 }, { "", y, y, 3 } };
        OK(hs_plot_png(scratch_path("p.png"), "", "x", "y", two, 2));
    }
    write_steps("p.jsonl", -1, 1, 300);
    FILE *f = fopen(scratch_path("p.jsonl"), "a");
    fputs("{\"step\":100,\"val_loss\":0.2}\n{\"step\":200,\"val_loss\":0.1}\n{\"step\":3", f);
    fclose(f);
    OK(hs_plot_metrics(scratch_path("p.png"), scratch_path("p.jsonl"), "a title"));
    size_t n;
    char *png = scratch_read("p.png", &n);
    assert_memory_equal(png, "\x89PNG\r\n\x1A\n", 8);
    assert_memory_equal(png + n - 8, "IEND", 4); // complete
    free(png);
    FAILS(USAGE, "cannot be read", hs_plot_metrics(scratch_path("q.png"), scratch_path("absent"), "t"));
    FAILS(SYSTEM, "cannot write", hs_plot_metrics(scratch_path("absent/q.png"), scratch_path("p.jsonl"), "t"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(numbers_read_back), cmocka_unit_test(resume_cuts), cmocka_unit_test(refused),
                                        cmocka_unit_test(picture) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
