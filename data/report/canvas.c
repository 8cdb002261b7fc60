// canvas: a small RGB picture with anti-aliased lines, dots and text, and its way to a PNG file.
#include "data/report/canvas.h"
#include "data/base/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef HS_HAVE_PNG
#include <png.h>
#endif

// ASCII 32 to 126: five columns of eight dots, bit 0 on top, the eighth below the base line.
// clang-format off
static const unsigned char font[95][5] = {
    { 0x00, 0x00, 0x00, 0x00, 0x00 }, { 0x00, 0x00, 0x5F, 0x00, 0x00 }, { 0x00, 0x07, 0x00, 0x07, 0x00 }, { 0x14, 0x7F, 0x14, 0x7F, 0x14 }, //  !"#
    { 0x24, 0x2A, 0x7F, 0x2A, 0x12 }, { 0x23, 0x13, 0x08, 0x64, 0x62 }, { 0x36, 0x49, 0x56, 0x20, 0x50 }, { 0x00, 0x00, 0x07, 0x00, 0x00 }, // $%&'
    { 0x00, 0x1C, 0x22, 0x41, 0x00 }, { 0x00, 0x41, 0x22, 0x1C, 0x00 }, { 0x2A, 0x1C, 0x7F, 0x1C, 0x2A }, { 0x08, 0x08, 0x3E, 0x08, 0x08 }, // ()*+
    { 0x00, 0x80, 0x60, 0x00, 0x00 }, { 0x08, 0x08, 0x08, 0x08, 0x08 }, { 0x00, 0x00, 0x40, 0x00, 0x00 }, { 0x20, 0x10, 0x08, 0x04, 0x02 }, // ,-./
    { 0x3E, 0x41, 0x41, 0x41, 0x3E }, { 0x00, 0x42, 0x7F, 0x40, 0x00 }, { 0x42, 0x61, 0x51, 0x49, 0x46 }, { 0x22, 0x41, 0x49, 0x49, 0x36 }, // 0123
    { 0x18, 0x14, 0x12, 0x7F, 0x10 }, { 0x27, 0x45, 0x45, 0x45, 0x39 }, { 0x3C, 0x4A, 0x49, 0x49, 0x30 }, { 0x01, 0x71, 0x09, 0x05, 0x03 }, // 4567
    { 0x36, 0x49, 0x49, 0x49, 0x36 }, { 0x06, 0x49, 0x49, 0x29, 0x1E }, { 0x00, 0x00, 0x24, 0x00, 0x00 }, { 0x00, 0x80, 0x64, 0x00, 0x00 }, // 89:;
    { 0x00, 0x08, 0x14, 0x22, 0x41 }, { 0x14, 0x14, 0x14, 0x14, 0x14 }, { 0x41, 0x22, 0x14, 0x08, 0x00 }, { 0x02, 0x01, 0x59, 0x09, 0x06 }, // <=>?
    { 0x3E, 0x41, 0x5D, 0x55, 0x1E }, { 0x7C, 0x12, 0x11, 0x12, 0x7C }, { 0x7F, 0x49, 0x49, 0x49, 0x36 }, { 0x3E, 0x41, 0x41, 0x41, 0x22 }, // @ABC
    { 0x7F, 0x41, 0x41, 0x41, 0x3E }, { 0x7F, 0x49, 0x49, 0x49, 0x41 }, { 0x7F, 0x09, 0x09, 0x09, 0x01 }, { 0x3E, 0x41, 0x49, 0x49, 0x3A }, // DEFG
    { 0x7F, 0x08, 0x08, 0x08, 0x7F }, { 0x00, 0x41, 0x7F, 0x41, 0x00 }, { 0x20, 0x40, 0x40, 0x40, 0x3F }, { 0x7F, 0x08, 0x14, 0x22, 0x41 }, // HIJK
    { 0x7F, 0x40, 0x40, 0x40, 0x40 }, { 0x7F, 0x02, 0x0C, 0x02, 0x7F }, { 0x7F, 0x04, 0x08, 0x10, 0x7F }, { 0x3E, 0x41, 0x41, 0x41, 0x3E }, // LMNO
    { 0x7F, 0x09, 0x09, 0x09, 0x06 }, { 0x3E, 0x41, 0x51, 0x21, 0x5E }, { 0x7F, 0x09, 0x19, 0x29, 0x46 }, { 0x26, 0x49, 0x49, 0x49, 0x32 }, // PQRS
    { 0x01, 0x01, 0x7F, 0x01, 0x01 }, { 0x3F, 0x40, 0x40, 0x40, 0x3F }, { 0x1F, 0x20, 0x40, 0x20, 0x1F }, { 0x3F, 0x40, 0x38, 0x40, 0x3F }, // TUVW
    { 0x63, 0x14, 0x08, 0x14, 0x63 }, { 0x03, 0x04, 0x78, 0x04, 0x03 }, { 0x61, 0x51, 0x49, 0x45, 0x43 }, { 0x00, 0x7F, 0x41, 0x41, 0x00 }, // XYZ[
    { 0x02, 0x04, 0x08, 0x10, 0x20 }, { 0x00, 0x41, 0x41, 0x7F, 0x00 }, { 0x04, 0x02, 0x01, 0x02, 0x04 }, { 0x80, 0x80, 0x80, 0x80, 0x80 }, // backslash ]^_
    { 0x00, 0x01, 0x02, 0x00, 0x00 }, { 0x20, 0x54, 0x54, 0x54, 0x78 }, { 0x7F, 0x48, 0x44, 0x44, 0x38 }, { 0x38, 0x44, 0x44, 0x44, 0x28 }, // `abc
    { 0x38, 0x44, 0x44, 0x48, 0x7F }, { 0x38, 0x54, 0x54, 0x54, 0x18 }, { 0x00, 0x04, 0x7E, 0x05, 0x00 }, { 0x18, 0xA4, 0xA4, 0xA4, 0x7C }, // defg
    { 0x7F, 0x08, 0x04, 0x04, 0x78 }, { 0x00, 0x44, 0x7D, 0x40, 0x00 }, { 0x40, 0x80, 0x84, 0x7D, 0x00 }, { 0x00, 0x7F, 0x10, 0x28, 0x44 }, // hijk
    { 0x00, 0x41, 0x7F, 0x40, 0x00 }, { 0x7C, 0x04, 0x78, 0x04, 0x78 }, { 0x7C, 0x08, 0x04, 0x04, 0x78 }, { 0x38, 0x44, 0x44, 0x44, 0x38 }, // lmno
    { 0xFC, 0x24, 0x24, 0x24, 0x18 }, { 0x18, 0x24, 0x24, 0x24, 0xFC }, { 0x00, 0x7C, 0x08, 0x04, 0x04 }, { 0x48, 0x54, 0x54, 0x54, 0x24 }, // pqrs
    { 0x04, 0x3F, 0x44, 0x44, 0x20 }, { 0x3C, 0x40, 0x40, 0x20, 0x7C }, { 0x1C, 0x20, 0x40, 0x20, 0x1C }, { 0x3C, 0x40, 0x30, 0x40, 0x3C }, // tuvw
    { 0x44, 0x28, 0x10, 0x28, 0x44 }, { 0x1C, 0xA0, 0xA0, 0xA0, 0x7C }, { 0x44, 0x64, 0x54, 0x4C, 0x44 }, { 0x00, 0x08, 0x36, 0x41, 0x00 }, // xyz{
    { 0x00, 0x00, 0x7F, 0x00, 0x00 }, { 0x00, 0x41, 0x36, 0x08, 0x00 }, { 0x08, 0x04, 0x08, 0x10, 0x08 }, // |}~
};
// clang-format on

hs_status hs_canvas_new(hs_canvas *c, int width, int height, hs_color paper)
{
    *c = (hs_canvas){ .width = width, .height = height };
    const size_t n = (size_t)width * (size_t)height;
    c->rgb = malloc(n * 3);
    c->ink = calloc(n, 1);
    if (!c->rgb || !c->ink) {
        hs_canvas_free(c);
        return HS_FAIL(MEMORY, "no memory for a picture of %d x %d", width, height);
    }
    for (size_t i = 0; i < n; i++)
        memcpy(c->rgb + 3 * i, (unsigned char[]){ paper.r, paper.g, paper.b }, 3);
    return HS_OK;
}

void hs_canvas_free(hs_canvas *c)
{
    free(c->rgb);
    free(c->ink);
    *c = (hs_canvas){ 0 };
}

static int clamp_to(double v, int limit) { return v < 0 ? 0 : v > limit ? limit : (int)v; }

// A stroke is all points within width / 2 of the segment; its edge fades over one pixel.
void hs_canvas_line(hs_canvas *c, double x0, double y0, double x1, double y1, double width)
{
    const double r = width / 2, dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy;
    const int left = clamp_to(fmin(x0, x1) - r - 1, c->width), right = clamp_to(fmax(x0, x1) + r + 2, c->width);
    const int top = clamp_to(fmin(y0, y1) - r - 1, c->height), bottom = clamp_to(fmax(y0, y1) + r + 2, c->height);
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) {
            const double px = x + 0.5 - x0, py = y + 0.5 - y0;
            const double t = length2 > 0 ? fmin(fmax((px * dx + py * dy) / length2, 0), 1) : 0;
            const double far = hypot(px - t * dx, py - t * dy), cover = fmin(fmax(r + 0.5 - far, 0), 1) * fmin(width, 1);
            unsigned char *ink = &c->ink[(size_t)y * (size_t)c->width + (size_t)x];
            const int level = (int)(cover * 255 + 0.5);
            if (level > *ink) // overlapping joints of one curve do not darken
                *ink = (unsigned char)level;
        }
}

void hs_canvas_box(hs_canvas *c, double x0, double y0, double x1, double y1)
{
    for (int y = clamp_to(y0, c->height); y < clamp_to(y1, c->height); y++)
        for (int x = clamp_to(x0, c->width); x < clamp_to(x1, c->width); x++)
            c->ink[(size_t)y * (size_t)c->width + (size_t)x] = 255;
}

void hs_canvas_paint(hs_canvas *c, hs_color color, double opacity)
{
    const size_t n = (size_t)c->width * (size_t)c->height;
    const unsigned char to[3] = { color.r, color.g, color.b };
    for (size_t i = 0; i < n; i++) {
        if (!c->ink[i])
            continue;
        const double a = opacity * c->ink[i] / 255;
        for (int k = 0; k < 3; k++)
            c->rgb[3 * i + k] = (unsigned char)(c->rgb[3 * i + k] * (1 - a) + to[k] * a + 0.5);
        c->ink[i] = 0;
    }
}

// ---- text

static bool dot(const unsigned char *glyph, int x, int y) { return x >= 0 && x < 5 && y >= 0 && y < 8 && (glyph[x] >> y & 1); }

// Dots that touch are joined by strokes, diagonals only where no corner joins them already: a round pen instead of squares.
static void draw_glyph(hs_canvas *c, const unsigned char *glyph, double x, double y, double ux, double uy, double pen)
{
    static const int step[4][2] = { { 1, 0 }, { 0, 1 }, { 1, 1 }, { -1, 1 } };
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 5; i++) {
            if (!dot(glyph, i, j))
                continue;
            const double px = x + i * ux - j * uy, py = y + i * uy + j * ux;
            hs_canvas_line(c, px, py, px, py, pen);
            for (int k = 0; k < 4; k++) {
                const int di = step[k][0], dj = step[k][1];
                const bool corner = di && dj && (dot(glyph, i + di, j) || dot(glyph, i, j + dj));
                if (dot(glyph, i + di, j + dj) && !corner)
                    hs_canvas_line(c, px, py, px + di * ux - dj * uy, py + di * uy + dj * ux, pen);
            }
        }
}

// Proportional: a glyph is as wide as the columns it uses, a blank as two.
static const unsigned char *glyph_of(char letter, int *first, int *n)
{
    const unsigned char *glyph = font[letter >= 32 && letter < 127 ? letter - 32 : '?' - 32];
    int last = 4;
    *first = 0;
    while (*first < 4 && !glyph[*first])
        ++*first;
    while (last > *first && !glyph[last])
        last--;
    *n = letter == ' ' ? 2 : last - *first + 1;
    return glyph;
}

enum { LETTER_GAP = 1 };

static double text_columns(const char *text)
{
    int columns = 0, first, n;
    for (; *text; text++) {
        glyph_of(*text, &first, &n);
        columns += n + LETTER_GAP;
    }
    return columns ? columns - LETTER_GAP : 0;
}

double hs_canvas_text_width(const char *text, double size) { return text_columns(text) * size / 7; }

void hs_canvas_text(hs_canvas *c, const char *text, double x, double y, double size, double align, bool upwards)
{
    const double unit = size / 7, ux = upwards ? 0 : unit, uy = upwards ? -unit : 0, back = align * text_columns(text);
    // (x, y) is on the base line, the seventh row's lower edge.
    x += (0.5 - back) * ux + 6.5 * uy;
    y += (0.5 - back) * uy - 6.5 * ux;
    for (; *text; text++) {
        int first, n;
        const unsigned char *glyph = glyph_of(*text, &first, &n);
        draw_glyph(c, glyph, x - first * ux, y - first * uy, ux, uy, 0.85 * unit);
        x += (n + LETTER_GAP) * ux;
        y += (n + LETTER_GAP) * uy;
    }
}

// ---- PNG

bool hs_plot_available(void)
{
#ifdef HS_HAVE_PNG
    return true;
#else
    return false;
#endif
}

hs_status hs_canvas_write_png(const hs_canvas *c, const char *path)
{
#ifdef HS_HAVE_PNG
    hs_file_out o;
    HS_TRY(hs_file_create(&o, path));
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = (png_uint_32)c->width, .height = (png_uint_32)c->height, .format = PNG_FORMAT_RGB
    };
    if (!png_image_write_to_stdio(&image, o.f, 0, c->rgb, 0, NULL)) {
        const hs_status st = HS_FAIL(SYSTEM, "cannot write %s: %s", path, image.message);
        hs_file_discard(&o);
        return st;
    }
    HS_TRY(hs_file_commit(&o));
    return HS_OK;
#else
    (void)c;
    return HS_FAIL(UNSUPPORTED, "%s: this build has no libpng", path);
#endif
}
