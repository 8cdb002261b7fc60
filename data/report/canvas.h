// canvas: a small RGB picture with anti-aliased lines, dots and text. What the loss curve is drawn with.
//
// Drawing is in two steps: strokes collect as ink (each pixel keeps its largest coverage, so a curve that crosses itself stays even), then
// hs_canvas_paint lays all of it down in one colour. Coordinates are pixels, y downwards; anything outside is cut off.
#ifndef HS_DATA_CANVAS_H
#define HS_DATA_CANVAS_H
#include "core/base/status.h"
#include <stdbool.h>

typedef struct hs_color {
    unsigned char r, g, b;
} hs_color;
typedef struct hs_canvas {
    int width, height;
    unsigned char *rgb; // [height][width][3]
    unsigned char *ink; // [height][width]
} hs_canvas;

hs_status hs_canvas_new(hs_canvas *c, int width, int height, hs_color paper);
void hs_canvas_free(hs_canvas *c);
void hs_canvas_line(hs_canvas *c, double x0, double y0, double x1, double y1, double width); // round ends; a dot where both ends meet
void hs_canvas_box(hs_canvas *c, double x0, double y0, double x1, double y1);
// Printable ASCII ('?' for the rest) with capitals `size` pixels high. (x, y): base line, at `align` of the width (0 left, 0.5 middle, 1
// right).
void hs_canvas_text(hs_canvas *c, const char *text, double x, double y, double size, double align, bool upwards);
double hs_canvas_text_width(const char *text, double size);
void hs_canvas_paint(hs_canvas *c, hs_color color, double opacity);  // and clears the ink
hs_status hs_canvas_write_png(const hs_canvas *c, const char *path); // UNSUPPORTED without libpng; SYSTEM

#endif
