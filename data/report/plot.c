// plot: curves over axes with round ticks and a legend, as PNG.
#include "data/report/canvas.h"
#include "data/report/metrics.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1000, HEIGHT = 600, LEFT = 100, RIGHT = 970, TOP = 64, BOTTOM = 520 };

static const hs_color white = { 255, 255, 255 }, black = { 40, 44, 52 }, grey = { 110, 116, 126 }, light = { 228, 231, 236 };
static const hs_color hues[] = { { 64, 124, 194 }, { 226, 112, 40 }, { 56, 150, 86 }, { 160, 84, 176 }, { 196, 60, 72 } };

typedef struct axis {
    double lo, hi, step; // values at the ends; distance of ticks
    double from, to;     // pixels
} axis;

static double place(const axis *a, double v) { return a->from + (v - a->lo) / (a->hi - a->lo) * (a->to - a->from); }

// Beyond it differences overflow; no loss is that large and finite.
static bool drawable(double v) { return fabs(v) < 1e300; }

// The largest of 1, 2, 5 times a power of ten that gives at least `least` ticks.
static double round_step(double range, int least)
{
    const double power = pow(10, floor(log10(range / least))), times = range / least / power;
    return power * (times >= 5 ? 5 : times >= 2 ? 2 : 1);
}

static void extend(axis *a, double v)
{
    a->lo = fmin(a->lo, v);
    a->hi = fmax(a->hi, v);
}

static void finish(axis *a, double margin, int least_ticks)
{
    if (!(a->hi - a->lo > 1e-9 * fmax(fabs(a->lo), fabs(a->hi)))) { // one point, or a flat curve
        const double pad = a->lo == 0 ? 1 : 0.1 * fabs(a->lo);
        a->lo -= pad, a->hi += pad;
    }
    const double pad = margin * (a->hi - a->lo);
    a->lo -= pad, a->hi += pad;
    a->step = round_step(a->hi - a->lo, least_ticks);
}

// "1.8e-4": %g would write 0.00018.
static void exponent_label(char buf[32], double v)
{
    const int power = (int)floor(log10(fabs(v)) + 1e-9);
    snprintf(buf, 32, "%.3ge%d", v / pow(10, power), power);
}

static void tick_label(char buf[32], const axis *a, double v)
{
    const double largest = fmax(fabs(a->lo), fabs(a->hi));
    const double unit = largest >= 1e6 ? 1e6 : largest >= 1e5 ? 1e3 : 1;
    const int digits = (int)fmax(0, -floor(log10(a->step / unit) + 1e-9));
    if (fabs(v) < a->step / 2)
        snprintf(buf, 32, "0");
    else if (digits > 3 || largest >= 1e10)
        exponent_label(buf, v);
    else
        snprintf(buf, 32, "%.*f%s", digits, v / unit, unit == 1e6 ? "M" : unit == 1e3 ? "k" : "");
}

static void draw_axes(hs_canvas *c, const axis *x, const axis *y)
{
    char label[32];
    for (int pass = 0; pass < 2; pass++) { // all grid lines, then all numbers: one colour at a time
        for (double v = ceil(x->lo / x->step) * x->step; v <= x->hi; v += x->step) {
            const double at = place(x, v);
            tick_label(label, x, v);
            if (pass == 0)
                hs_canvas_line(c, at, TOP, at, BOTTOM, 1);
            else
                hs_canvas_text(c, label, at, BOTTOM + 26, 12, 0.5, false);
        }
        for (double v = ceil(y->lo / y->step) * y->step; v <= y->hi; v += y->step) {
            const double at = place(y, v);
            tick_label(label, y, v);
            if (pass == 0)
                hs_canvas_line(c, LEFT, at, RIGHT, at, 1);
            else
                hs_canvas_text(c, label, LEFT - 12, at + 6, 12, 1, false);
        }
        hs_canvas_paint(c, pass == 0 ? light : grey, 1);
    }
    hs_canvas_line(c, LEFT, TOP, LEFT, BOTTOM, 1.5);
    hs_canvas_line(c, LEFT, BOTTOM, RIGHT, BOTTOM, 1.5);
    hs_canvas_paint(c, grey, 1);
}

static void draw_dots(hs_canvas *c, const hs_curve *k, const axis *x, const axis *y, double width)
{
    for (int64_t i = 0; i < k->n; i++)
        if (drawable(k->x[i]) && drawable(k->y[i])) {
            const double px = place(x, k->x[i]), py = place(y, k->y[i]);
            hs_canvas_line(c, px, py, px, py, width);
        }
}

// The first curve is thin (a loss at every few steps), further ones are thick with a dot for each point.
static void draw_curve(hs_canvas *c, const hs_curve *k, const axis *x, const axis *y, bool thick, hs_color color)
{
    double px = 0, py = 0;
    int64_t drawn = 0;
    for (int64_t i = 0; i < k->n; i++) {
        if (!drawable(k->x[i]) || !drawable(k->y[i]))
            continue;
        const double qx = place(x, k->x[i]), qy = place(y, k->y[i]);
        if (drawn++ == 0)
            px = qx, py = qy;
        hs_canvas_line(c, px, py, qx, qy, thick ? 2.8 : 1.4);
        px = qx, py = qy;
    }
    if (drawn == 1)
        hs_canvas_line(c, px, py, px, py, 5); // a line of one point could not be seen
    hs_canvas_paint(c, color, thick ? 1 : 0.9);
    if (!thick || drawn * 12 > RIGHT - LEFT) // no room for dots
        return;
    draw_dots(c, k, x, y, 9);
    hs_canvas_paint(c, color, 1);
    draw_dots(c, k, x, y, 4.5);
    hs_canvas_paint(c, white, 1);
}

// ---- legend: in the corner where it hides least

static int64_t painted(const hs_canvas *c, int x0, int y0, int w, int h)
{
    int64_t n = 0;
    for (int y = y0; y < y0 + h; y++)
        for (int x = x0; x < x0 + w; x++) {
            const unsigned char *p = c->rgb + 3 * ((size_t)y * WIDTH + (size_t)x);
            n += abs(p[0] - p[2]) > 24; // neither paper nor grid, which are grey
        }
    return n;
}

static void draw_legend(hs_canvas *c, const hs_curve *curve, int n)
{
    enum { ROW = 26, PAD = 14, SAMPLE = 34, GAP = 12 };
    double widest = 0;
    for (int i = 0; i < n; i++)
        widest = fmax(widest, hs_canvas_text_width(curve[i].label, 13));
    const int w = (int)fmin(2 * PAD + SAMPLE + GAP + widest + 1, RIGHT - LEFT - 40), h = 2 * PAD + ROW * (n - 1) + 13;
    const int spot[4][2] = {
        { RIGHT - w - 14, TOP + 14 }, { RIGHT - w - 14, BOTTOM - h - 14 }, { LEFT + 14, BOTTOM - h - 14 }, { LEFT + 14, TOP + 14 }
    };
    int best = 0;
    int64_t least = INT64_MAX;
    for (int i = 0; i < 4; i++) {
        const int64_t hides = painted(c, spot[i][0], spot[i][1], w, h);
        if (hides < least)
            least = hides, best = i;
    }
    const double x0 = spot[best][0], y0 = spot[best][1], x1 = x0 + w, y1 = y0 + h;
    hs_canvas_box(c, x0, y0, x1, y1);
    hs_canvas_paint(c, white, 0.9);
    const double corner[5][2] = { { x0, y0 }, { x1, y0 }, { x1, y1 }, { x0, y1 }, { x0, y0 } };
    for (int i = 0; i < 4; i++)
        hs_canvas_line(c, corner[i][0], corner[i][1], corner[i + 1][0], corner[i + 1][1], 1);
    hs_canvas_paint(c, light, 1);
    for (int i = 0; i < n; i++) {
        const double base = y0 + PAD + ROW * i + 13, middle = base - 6;
        hs_canvas_line(c, x0 + PAD, middle, x0 + PAD + SAMPLE, middle, i ? 3 : 2);
        hs_canvas_paint(c, hues[i % HS_COUNT(hues)], 1);
        hs_canvas_text(c, curve[i].label, x0 + PAD + SAMPLE + GAP, base, 13, 0, false);
        hs_canvas_paint(c, black, 1);
    }
}

// ---- the picture

hs_status hs_plot_png(const char *path, const char *title, const char *x_label, const char *y_label, const hs_curve *curve, int n_curves)
{
    if (!hs_plot_available())
        return HS_FAIL(UNSUPPORTED, "%s: this build has no libpng", path);
    axis x = { INFINITY, -INFINITY, 0, LEFT, RIGHT }, y = { INFINITY, -INFINITY, 0, BOTTOM, TOP };
    for (int k = 0; k < n_curves; k++)
        for (int64_t i = 0; i < curve[k].n; i++)
            if (drawable(curve[k].x[i]) && drawable(curve[k].y[i])) {
                extend(&x, curve[k].x[i]);
                extend(&y, curve[k].y[i]);
            }
    if (!(x.lo <= x.hi))
        return HS_FAIL(USAGE, "%s: no point to draw in %d curves", path, n_curves);
    finish(&x, 0.01, 6);
    finish(&y, 0.05, 5);
    hs_canvas c;
    HS_TRY(hs_canvas_new(&c, WIDTH, HEIGHT, white));
    draw_axes(&c, &x, &y);
    for (int k = 0; k < n_curves; k++)
        draw_curve(&c, &curve[k], &x, &y, k > 0, hues[k % HS_COUNT(hues)]);
    if (n_curves > 0)
        draw_legend(&c, curve, n_curves);
    hs_canvas_text(&c, title, (LEFT + RIGHT) / 2.0, TOP - 24, 17, 0.5, false);
    hs_canvas_text(&c, x_label, (LEFT + RIGHT) / 2.0, HEIGHT - 18, 13, 0.5, false);
    hs_canvas_text(&c, y_label, 26, (TOP + BOTTOM) / 2.0, 13, 0.5, true);
    hs_canvas_paint(&c, black, 1);
    const hs_status st = hs_canvas_write_png(&c, path);
    hs_canvas_free(&c);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- from metrics.jsonl

typedef struct series {
    double *x, *y;
    int64_t n, room;
} series;

static bool append(series *s, double x, double y)
{
    if (s->n == s->room) {
        s->room = s->room ? 2 * s->room : 256;
        double *xs = realloc(s->x, (size_t)s->room * sizeof *xs);
        s->x = xs ? xs : s->x;
        double *ys = realloc(s->y, (size_t)s->room * sizeof *ys);
        s->y = ys ? ys : s->y;
        if (!xs || !ys)
            return false;
    }
    s->x[s->n] = x, s->y[s->n++] = y;
    return true;
}

static const char *const wanted[2] = { "loss", "val_loss" };

// Lines that are no JSON (the last one, after a crash) are passed over.
static bool read_series(FILE *f, series s[2])
{
    char *line = NULL;
    size_t room = 0;
    bool enough = true;
    while (enough && getline(&line, &room, f) > 0) {
        json_t *j = json_loads(line, 0, NULL), *step = json_object_get(j, "step");
        for (int k = 0; k < 2 && json_is_integer(step); k++) {
            json_t *v = json_object_get(j, wanted[k]);
            if (json_is_number(v))
                enough = append(&s[k], (double)json_integer_value(step), json_number_value(v)) && enough;
        }
        json_decref(j);
    }
    free(line);
    return enough;
}

static hs_status draw_series(const char *png_path, const char *title, const series s[2])
{
    char label[2][64];
    hs_curve curve[2];
    int n = 0;
    if (s[0].n > 0)
        snprintf(label[0], 64, "training, last %.4g", s[0].y[s[0].n - 1]);
    else
        snprintf(label[0], 64, "training");
    curve[n++] = (hs_curve){ label[0], s[0].x, s[0].y, s[0].n };
    if (s[1].n > 0) {
        int64_t best = 0;
        for (int64_t i = 1; i < s[1].n; i++)
            best = s[1].y[i] < s[1].y[best] ? i : best;
        snprintf(label[1], 64, "validation, best %.4g at %.0f", s[1].y[best], s[1].x[best]);
        curve[n++] = (hs_curve){ label[1], s[1].x, s[1].y, s[1].n };
    }
    HS_TRY(hs_plot_png(png_path, title, "step", "loss", curve, n));
    return HS_OK;
}

hs_status hs_plot_metrics(const char *png_path, const char *jsonl_path, const char *title)
{
    FILE *f = fopen(jsonl_path, "r");
    if (!f)
        return HS_FAIL(USAGE, "%s: cannot be read", jsonl_path);
    series s[2] = { { 0 } };
    const bool enough = read_series(f, s);
    fclose(f);
    const hs_status st = enough ? draw_series(png_path, title, s) : HS_FAIL(MEMORY, "%s: no memory for its points", jsonl_path);
    for (int k = 0; k < 2; k++) {
        free(s[k].x);
        free(s[k].y);
    }
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}
