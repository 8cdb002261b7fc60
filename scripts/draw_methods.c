// The tables of scripts/bench_quantize.sh as a picture: for each method a dot where its score is beside f32's, with the deviation over seeds,
// and bars of its size and speed.
//   cc -std=gnu11 -D_GNU_SOURCE -I. scripts/draw_methods.c -o draw_methods -Lbuild/recipes -lhalfstep -Wl,-rpath,build/recipes -lm
//   cat TABLE... | ./draw_methods OUT.png
#include "data/report/canvas.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1000, MOST = 96, NAME = 48, LEFT = 250, ROW = 22, HEAD = 54, TOP = 20, FOOT = 20, TEXT = 9 };
enum { SCORE_LEFT = LEFT + 20, SCORE_RIGHT = 600, SIZE_LEFT = 680, SIZE_RIGHT = 790, SPEED_LEFT = 850, SPEED_RIGHT = 950 };
static const hs_color white = { 255, 255, 255 }, black = { 40, 44, 52 }, grey = { 110, 116, 126 }, light = { 228, 231, 236 }, hue = { 64, 124, 194 };

typedef struct row {
    char name[NAME], metric[NAME];
    bool head;                                // name: of the table
    double score, points, spread, size, rate; // rate: NAN where it was not measured
} row;
typedef struct scale {
    double lo, hi, from, to;
} scale;

static double place(const scale *s, double v) { return s->from + (v - s->lo) / (s->hi - s->lo) * (s->to - s->from); }

static void words(hs_canvas *c, const char *text, double x, double y, double size, double align, hs_color color)
{
    hs_canvas_text(c, text, x, y, size, align, false);
    hs_canvas_paint(c, color, 1);
}

static int read_rows(FILE *f, row *r)
{
    char line[512];
    int n = 0;
    while (n < MOST && fgets(line, sizeof line, f)) {
        char rate[32];
        memset(&r[n], 0, sizeof r[n]);
        if (sscanf(line, "| %47[^|]| %lf (%*f) | %lf (%lf) | %lf | %31s |", r[n].name, &r[n].score, &r[n].points, &r[n].spread, &r[n].size, rate) == 6)
            r[n].rate = strcmp(rate, "-") == 0 ? NAN : atof(rate);
        else if (strstr(line, "points from f32") && sscanf(line, "| %47[^|]| %47[^|]|", r[n].name, r[n].metric) == 2)
            r[n].head = true;
        else
            continue;
        n++;
    }
    return n;
}

static void draw_bar(hs_canvas *c, double from, double to, double y, double value, const char *form)
{
    char text[32];
    if (isnan(value))
        return;
    snprintf(text, sizeof text, form, value);
    hs_canvas_box(c, from, y + 4, to, y + ROW - 5);
    hs_canvas_paint(c, hue, 0.55);
    words(c, text, to + 6, y + 14, TEXT, 0, grey);
}

static void draw_row(hs_canvas *c, const row *r, const scale *points, double size, double rate, double y)
{
    char text[32];
    const double x = place(points, r->points);
    words(c, r->name, LEFT, y + 14, TEXT, 1, black);
    hs_canvas_line(c, place(points, r->points - r->spread), y + ROW / 2, place(points, r->points + r->spread), y + ROW / 2, 2);
    hs_canvas_paint(c, hue, 0.5);
    hs_canvas_line(c, x, y + ROW / 2, x, y + ROW / 2, 8);
    hs_canvas_paint(c, hue, 1);
    snprintf(text, sizeof text, "%.2f", r->score);
    words(c, text, SCORE_RIGHT + 46, y + 14, TEXT, 1, grey);
    draw_bar(c, SIZE_LEFT, SIZE_LEFT + r->size / size * (SIZE_RIGHT - SIZE_LEFT), y, r->size, "%.1f");
    draw_bar(c, SPEED_LEFT, SPEED_LEFT + r->rate / rate * (SPEED_RIGHT - SPEED_LEFT), y, r->rate, "%.0f");
}

// One table: its head and n rows behind it.
static void draw_table(hs_canvas *c, const row *r, int n, double top)
{
    scale points = { .lo = 0, .hi = 0, .from = SCORE_LEFT, .to = SCORE_RIGHT };
    double size = 0, rate = 0;
    char text[2 * NAME];
    for (int i = 1; i <= n; i++) {
        points.lo = fmin(points.lo, r[i].points - r[i].spread), points.hi = fmax(points.hi, r[i].points + r[i].spread);
        size = fmax(size, r[i].size), rate = fmax(rate, isnan(r[i].rate) ? 0 : r[i].rate);
    }
    points.lo = floor(points.lo), points.hi = ceil(fmax(points.hi, points.lo + 1e-9));
    snprintf(text, sizeof text, "%s", r->name);
    words(c, text, 20, top + 16, 13, 0, black);
    words(c, "points from f32, deviation over seeds", (SCORE_LEFT + SCORE_RIGHT) / 2.0, top + 18, TEXT, 0.5, grey);
    words(c, r->metric, SCORE_RIGHT + 50, top + 18, TEXT, 1, grey);
    words(c, "MB", SIZE_LEFT, top + 18, TEXT, 0, grey);
    if (rate > 0)
        words(c, "examples/s", SPEED_LEFT, top + 18, TEXT, 0, grey);
    const double step = points.hi - points.lo > 12 ? 5 : points.hi - points.lo > 6 ? 2 : 1, bottom = top + HEAD + ROW * n;
    for (double v = ceil(points.lo / step) * step; v <= points.hi; v += step) {
        hs_canvas_line(c, place(&points, v), top + HEAD - 4, place(&points, v), bottom, v == 0 ? 2 : 1);
        hs_canvas_paint(c, v == 0 ? grey : light, 1);
        snprintf(text, sizeof text, "%+.0f", v);
        words(c, v == 0 ? "0" : text, place(&points, v), top + HEAD - 10, TEXT, 0.5, grey);
    }
    for (int i = 1; i <= n; i++)
        draw_row(c, &r[i], &points, size, rate, top + HEAD + ROW * (i - 1));
}

int main(int argc, char **argv)
{
    static row r[MOST];
    const int n = argc == 2 ? read_rows(stdin, r) : 0;
    int height = FOOT;
    for (int i = 0; i < n; i++)
        height += r[i].head ? TOP + HEAD : ROW;
    if (n < 2 || !r[0].head)
        return fprintf(stderr, "usage: cat TABLE... | draw_methods OUT.png, tables as bench_quantize.sh prints them\n"), 2;
    hs_canvas c;
    hs_status st = hs_canvas_new(&c, WIDTH, height, white);
    for (int i = 0, top = 0, rows; i < n && st == HS_OK; i += 1 + rows, top += TOP + HEAD + ROW * rows) {
        for (rows = 0; i + 1 + rows < n && !r[i + 1 + rows].head;)
            rows++;
        draw_table(&c, &r[i], rows, top + TOP);
    }
    if (st == HS_OK)
        st = hs_canvas_write_png(&c, argv[1]);
    if (st != HS_OK)
        fprintf(stderr, "draw_methods: %s: %s\n", argv[1], hs_error());
    hs_canvas_free(&c);
    return st != HS_OK;
}
