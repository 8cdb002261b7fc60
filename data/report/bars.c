// bars: named values as horizontal bars, as PNG.
#include "data/report/canvas.h"
#include "data/report/metrics.h"
#include <math.h>
#include <stdio.h>

enum { WIDTH = 1000, LEFT = 330, RIGHT = 880, TOP = 70, ROW = 22, TEXT = 9 };
static const hs_color white = { 255, 255, 255 }, black = { 40, 44, 52 }, grey = { 110, 116, 126 }, hue = { 64, 124, 194 },
                      red = { 196, 60, 72 };

static void words(hs_canvas *c, const char *text, double x, double y, double size, double align, hs_color color)
{
    hs_canvas_text(c, text, x, y, size, align, false);
    hs_canvas_paint(c, color, 1);
}

hs_status hs_bars_png(const char *path, const char *title, const char *unit, const hs_bar *bar, int n)
{
    hs_canvas c;
    double lo = 0, hi = 0;
    for (int i = 0; i < n; i++)
        if (isfinite(bar[i].value))
            lo = fmin(lo, bar[i].value), hi = fmax(hi, bar[i].value);
    if (!(hi > lo))
        hi = lo + 1;
    HS_TRY(hs_canvas_new(&c, WIDTH, TOP + ROW * (n + 2), white));
    words(&c, title, 20, 32, 13, 0, black);
    const double zero = LEFT - lo / (hi - lo) * (RIGHT - LEFT);
    for (int i = 0; i < n; i++) {
        const double y = TOP + ROW * i, x = zero + bar[i].value / (hi - lo) * (RIGHT - LEFT);
        char value[64];
        words(&c, bar[i].label, LEFT - 60, y + 13, TEXT, 1, black);
        if (!isfinite(bar[i].value))
            continue;
        hs_canvas_box(&c, fmin(zero, x), y + 3, fmax(zero, x) + 0.5, y + ROW - 5);
        hs_canvas_paint(&c, bar[i].marked ? red : hue, 1);
        snprintf(value, sizeof value, "%.4g", bar[i].value);
        words(&c, value, fmax(zero, x) + 8, y + 13, TEXT, 0, grey);
    }
    words(&c, unit, zero, TOP + ROW * (n + 1), TEXT, 0, grey);
    const hs_status st = hs_canvas_write_png(&c, path);
    hs_canvas_free(&c);
    return st;
}
