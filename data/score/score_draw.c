// score_draw: the pictures of a report.
#include "data/report/canvas.h"
#include "data/score/score_report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const hs_color white = { 255, 255, 255 }, black = { 40, 44, 52 }, grey = { 110, 116, 126 }, light = { 228, 231, 236 },
                      blue = { 24, 78, 160 }, orange = { 226, 112, 40 };

// What the font has of a name, cut to so many letters.
static void short_name(char *buf, size_t size, const char *name, int letters) { snprintf(buf, size, "%.*s", letters, name); }

static void draw_title(hs_canvas *c, const char *title)
{
    hs_canvas_text(c, title, 16, 28, 12, 0, false);
    hs_canvas_paint(c, black, 1);
}

// ---- confusion: darker is a larger share of the gold class

enum { CELL_LEFT = 190, CELL_TOP = 170, LETTERS = 18, SHADES = 10 };

static int64_t row_sum(const hs_confusion *c, int i)
{
    int64_t sum = 0;
    for (int k = 0; k < c->names.n; k++)
        sum += hs_confusion_at(c, i, k);
    return sum;
}

static void shade_cells(hs_canvas *canvas, const hs_confusion *c, double cell)
{
    for (int shade = 1; shade <= SHADES; shade++) {
        for (int i = 0; i < c->names.n; i++)
            for (int k = 0; k < c->names.n; k++) {
                const int64_t n = hs_confusion_at(c, i, k);
                if (n && (int)ceil(SHADES * (double)n / (double)row_sum(c, i)) == shade)
                    hs_canvas_box(canvas, CELL_LEFT + k * cell, CELL_TOP + i * cell, CELL_LEFT + (k + 1) * cell - 1,
                                  CELL_TOP + (i + 1) * cell - 1);
            }
        hs_canvas_paint(canvas, blue, 0.08 + 0.92 * shade / SHADES);
    }
}

static void write_counts(hs_canvas *canvas, const hs_confusion *c, double cell)
{
    char text[24];
    for (int dark = 0; dark < 2; dark++) {
        for (int i = 0; i < c->names.n; i++)
            for (int k = 0; k < c->names.n; k++) {
                const int64_t n = hs_confusion_at(c, i, k);
                if (!n || (2 * n > row_sum(c, i)) != dark)
                    continue;
                snprintf(text, sizeof text, "%lld", (long long)n);
                hs_canvas_text(canvas, text, CELL_LEFT + (k + 0.5) * cell, CELL_TOP + (i + 0.5) * cell + 4, 8, 0.5, false);
            }
        hs_canvas_paint(canvas, dark ? white : black, 1);
    }
}

hs_status hs_draw_confusion(const char *path, const char *title, const hs_confusion *c)
{
    const int n = c->names.n, cell = n <= 6 ? 80 : n <= 12 ? 52 : 22;
    hs_canvas canvas;
    char name[LETTERS * 4 + 1];
    HS_TRY(hs_canvas_new(&canvas, CELL_LEFT + (n * cell > 400 ? n * cell : 400) + 30, CELL_TOP + n * cell + 50, white));
    draw_title(&canvas, title);
    hs_canvas_box(&canvas, CELL_LEFT - 1, CELL_TOP - 1, CELL_LEFT + n * cell, CELL_TOP + n * cell);
    hs_canvas_paint(&canvas, light, 0.5);
    shade_cells(&canvas, c, cell);
    if (cell > 40)
        write_counts(&canvas, c, cell);
    for (int i = 0; i < n; i++) {
        short_name(name, sizeof name, c->names.name[i], LETTERS);
        hs_canvas_text(&canvas, name, CELL_LEFT - 8, CELL_TOP + (i + 0.5) * cell + 4, 8, 1, false);
        hs_canvas_text(&canvas, name, CELL_LEFT + (i + 0.5) * cell + 4, CELL_TOP - 8, 8, 0, true);
    }
    hs_canvas_text(&canvas, "rows: gold, columns: predicted; darker: more of the row", CELL_LEFT, CELL_TOP + n * cell + 28, 9, 0, false);
    hs_canvas_paint(&canvas, grey, 1);
    const hs_status st = hs_canvas_write_png(&canvas, path);
    hs_canvas_free(&canvas);
    return st;
}

// ---- calibration: right answers against confidence, beside what would be perfect

hs_status hs_draw_calibration(const char *path, const char *title, const hs_calibration *c)
{
    double x[HS_CALIBRATION_BINS], y[HS_CALIBRATION_BINS];
    char label[80];
    int n = 0;
    for (int b = 0; b < HS_CALIBRATION_BINS; b++)
        if (c->bin[b].n)
            x[n] = hs_calibration_confidence(c, b), y[n++] = hs_calibration_accuracy(c, b);
    snprintf(label, sizeof label, "right (expected error %.4f)", hs_calibration_error(c));
    return hs_plot_png(path, title, "confidence", "right",
                       (hs_curve[]){ { "as sure as right", (double[]){ 0, 1 }, (double[]){ 0, 1 }, 2 }, { label, x, y, n } }, 2);
}

// ---- errors by length: a bar for each bin, how many are in it below

enum { WIDTH = 1000, HEIGHT = 500, LEFT = 90, RIGHT = 970, TOP = 64, BOTTOM = 410 };

static void draw_bars(hs_canvas *c, const hs_length_errors *e, int first, int last, double most)
{
    const double step = (double)(RIGHT - LEFT) / (last - first + 1);
    char text[64];
    for (int b = first; b <= last; b++)
        if (e->bin[b].n) {
            const double height = (BOTTOM - TOP) * e->bin[b].error / (double)e->bin[b].n / most, at = LEFT + (b - first) * step;
            hs_canvas_box(c, at + 0.12 * step, BOTTOM - height, at + 0.88 * step, BOTTOM);
        }
    hs_canvas_paint(c, orange, 1);
    for (int b = first; b <= last; b++) {
        const double middle = LEFT + (b - first + 0.5) * step;
        const long long from = hs_length_from(b), to = hs_length_to(b);
        snprintf(text, sizeof text, from == to ? "%lld" : "%lld-%lld", from, to);
        hs_canvas_text(c, text, middle, BOTTOM + 20, 8, 0.5, false);
        snprintf(text, sizeof text, "n %lld", (long long)e->bin[b].n);
        hs_canvas_text(c, text, middle, BOTTOM + 38, 8, 0.5, false);
        if (e->bin[b].n) {
            const double error = e->bin[b].error / (double)e->bin[b].n;
            snprintf(text, sizeof text, "%.3g", error);
            hs_canvas_text(c, text, middle, BOTTOM - (BOTTOM - TOP) * error / most - 6, 8, 0.5, false);
        }
    }
    hs_canvas_paint(c, grey, 1);
}

hs_status hs_draw_length(const char *path, const char *title, const hs_length_errors *e, const char *unit, const char *error_name)
{
    int first = HS_LENGTH_BINS, last = 0;
    double most = 0;
    for (int b = 0; b < HS_LENGTH_BINS; b++)
        if (e->bin[b].n) {
            first = b < first ? b : first, last = b;
            most = fmax(most, e->bin[b].error / (double)e->bin[b].n);
        }
    if (first > last)
        return HS_FAIL(USAGE, "%s: no length to draw", path);
    hs_canvas c;
    HS_TRY(hs_canvas_new(&c, WIDTH, HEIGHT, white));
    draw_title(&c, title);
    draw_bars(&c, e, first, last, most > 0 ? 1.05 * most : 1);
    hs_canvas_line(&c, LEFT, BOTTOM, RIGHT, BOTTOM, 1.5);
    hs_canvas_text(&c, error_name, 40, (TOP + BOTTOM) / 2.0, 12, 0.5, true);
    hs_canvas_text(&c, unit, (LEFT + RIGHT) / 2.0, HEIGHT - 20, 12, 0.5, false);
    hs_canvas_paint(&c, grey, 1);
    const hs_status st = hs_canvas_write_png(&c, path);
    hs_canvas_free(&c);
    return st;
}
