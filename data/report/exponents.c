// exponents: counting exponents, and the two files of it.
#include "data/report/exponents.h"
#include "core/base/dtype.h"
#include "data/report/canvas.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FP16_LEAST = -24, FP16_NORMAL = -14, FP16_MOST = 15 }; // exponents: of its smallest number, its smallest normal one, its largest

// ---- counts
static int exponent_of(uint32_t magnitude) // not of 0
{
    const int biased = (int)(magnitude >> 23);
    return biased ? biased - 127 : HS_EXPONENT_LEAST + 31 - __builtin_clz(magnitude);
}

void hs_exponents_add(hs_exponents *e, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t magnitude = hs_f32_bits(x[i]) & 0x7FFFFFFFu;
        int64_t *count = magnitude == 0             ? &e->zeros
                         : magnitude >= 0x7F800000u ? &e->nonfinite
                                                    : &e->n[exponent_of(magnitude) - HS_EXPONENT_LEAST];
        ++*count;
    }
}

void hs_exponents_join(hs_exponents *to, const hs_exponents *from)
{
    for (int i = 0; i < HS_EXPONENTS; i++)
        to->n[i] += from->n[i];
    to->zeros += from->zeros, to->nonfinite += from->nonfinite;
}

int64_t hs_exponents_count(const hs_exponents *e, int from, int to)
{
    int64_t n = 0;
    for (int i = from; i <= to; i++)
        n += e->n[i - HS_EXPONENT_LEAST];
    return n;
}

static int64_t elements(const hs_exponents *e)
{
    return e->zeros + e->nonfinite + hs_exponents_count(e, HS_EXPONENT_LEAST, HS_EXPONENT_MOST);
}

// Exponents from the first to the last that any row has; first > last: none has.
static void range_of(const hs_exponents *row, int n, int *first, int *last)
{
    *first = HS_EXPONENT_MOST + 1, *last = HS_EXPONENT_LEAST - 1;
    for (int r = 0; r < n; r++)
        for (int e = HS_EXPONENT_LEAST; e <= HS_EXPONENT_MOST; e++)
            if (row[r].n[e - HS_EXPONENT_LEAST]) {
                *first = e < *first ? e : *first;
                *last = e > *last ? e : *last;
            }
}

// ---- JSON
static json_t *scope_json(const hs_exponents *e)
{
    json_t *counts = json_array();
    int first, last;
    range_of(e, 1, &first, &last);
    for (int i = first; i <= last; i++)
        json_array_append_new(counts, json_integer(e->n[i - HS_EXPONENT_LEAST]));
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:o}", "scope", e->scope, "elements", (json_int_t)elements(e), "zeros",
                     (json_int_t)e->zeros, "nonfinite", (json_int_t)e->nonfinite, "below_fp16",
                     (json_int_t)hs_exponents_count(e, HS_EXPONENT_LEAST, FP16_LEAST - 1), "above_fp16",
                     (json_int_t)hs_exponents_count(e, FP16_MOST + 1, HS_EXPONENT_MOST), "first", first <= last ? first : 0, "counts",
                     counts);
}

hs_status hs_exponents_json(const char *path, const hs_exponents_of *of, const hs_exponents *row, int n)
{
    json_t *scopes = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(scopes, scope_json(&row[i]));
    json_t *all = json_pack("{s:s, s:I, s:f, s:{s:i, s:i, s:i}, s:o}", "what", of->what, "step", (json_int_t)of->step, "scale", of->scale,
                            "fp16", "least", FP16_LEAST, "normal", FP16_NORMAL, "most", FP16_MOST, "scopes", scopes);
    if (!all)
        return HS_FAIL(MEMORY, "%s: no memory for its text", path);
    const int failed = json_dump_file(all, path, JSON_COMPACT);
    json_decref(all);
    return failed ? HS_FAIL(SYSTEM, "%s: %s", path, strerror(errno)) : HS_OK;
}

// ---- rows that fit
enum { MOST_ROWS = 100 };

static void shorten(char scope[HS_EXPONENT_SCOPE], int depth)
{
    for (char *p = scope; *p; p++)
        if (*p == '.' && --depth == 0)
            *p = 0, p--;
}

// Rows joined by the first `depth` components of their scopes, in the order they come; returns how many are left.
static int join(hs_exponents *to, const hs_exponents *row, int n, int depth)
{
    int left = 0;
    for (int i = 0; i < n; i++) {
        char scope[HS_EXPONENT_SCOPE];
        int k = 0;
        memcpy(scope, row[i].scope, sizeof scope);
        shorten(scope, depth);
        while (k < left && strcmp(to[k].scope, scope) != 0)
            k++;
        if (k == left) {
            to[left] = (hs_exponents){ .zeros = 0 };
            memcpy(to[left++].scope, scope, sizeof scope);
        }
        hs_exponents_join(&to[k], &row[i]);
    }
    return left;
}

// ---- the picture
enum { LEFT = 180, RIGHT = 24, TOP = 84, BOTTOM = 58, CELL = 12, ROW = 14, GAP = 8, LEVELS = 12 };
static const hs_color white = { 255, 255, 255 }, black = { 40, 44, 52 }, grey = { 110, 116, 126 }, blue = { 24, 78, 160 },
                      red = { 196, 60, 72 }, pale = { 250, 235, 236 };

typedef struct picture {
    hs_canvas canvas;
    const hs_exponents *row;
    int n, first, last;
    double height; // of the rows
} picture;

static double column_of(const picture *p, int exponent) { return LEFT + CELL + GAP + (double)CELL * (exponent - p->first); }
static double zero_column(const picture *p) { return (void)p, LEFT; }
static double nonfinite_column(const picture *p) { return column_of(p, p->last + 1) + GAP; }

// How dark: shares of a row's elements, as roots, so that a tail of a thousandth still shows. 0: there is nothing.
static int level_of(int64_t n, int64_t all) { return n ? (int)ceil(LEVELS * sqrt((double)n / (double)all)) : 0; }

static void cell(picture *p, double x, int r, int64_t n, int level)
{
    if (level_of(n, elements(&p->row[r])) == level)
        hs_canvas_box(&p->canvas, x, TOP + (double)ROW * r, x + CELL - 1, TOP + (double)ROW * (r + 1) - 1);
}

static void draw_cells(picture *p)
{
    for (int level = 1; level <= LEVELS; level++) {
        for (int r = 0; r < p->n; r++) {
            cell(p, zero_column(p), r, p->row[r].zeros, level);
            for (int e = p->first; e <= p->last; e++)
                cell(p, column_of(p, e), r, p->row[r].n[e - HS_EXPONENT_LEAST], level);
        }
        hs_canvas_paint(&p->canvas, blue, (double)level / LEVELS);
        for (int r = 0; r < p->n; r++)
            cell(p, nonfinite_column(p), r, p->row[r].nonfinite, level);
        hs_canvas_paint(&p->canvas, red, 0.3 + 0.7 * (double)level / LEVELS);
    }
}

static void mark(picture *p, int exponent, const char *label, double align)
{
    const double x = column_of(p, exponent) - 0.5;
    hs_canvas_line(&p->canvas, x, TOP - 6, x, TOP + p->height + 4, 1.2);
    hs_canvas_text(&p->canvas, label, x, TOP - 10, 8, align, false);
}

static void draw_fp16(picture *p)
{
    if (p->first < FP16_LEAST)
        hs_canvas_box(&p->canvas, column_of(p, p->first), TOP, column_of(p, FP16_LEAST), TOP + p->height);
    if (p->last > FP16_MOST)
        hs_canvas_box(&p->canvas, column_of(p, FP16_MOST + 1), TOP, column_of(p, p->last + 1), TOP + p->height);
    hs_canvas_paint(&p->canvas, pale, 1); // below the cells
}

static void draw_marks(picture *p)
{
    mark(p, FP16_LEAST, "fp16 from", 0.5);
    mark(p, FP16_NORMAL, "normal from", 0.5);
    mark(p, FP16_MOST + 1, "fp16 to", 0.5);
    hs_canvas_paint(&p->canvas, red, 1);
}

static void draw_labels(picture *p, const hs_exponents_of *of)
{
    char text[160];
    snprintf(text, sizeof text, "%s of step %lld", of->what, (long long)of->step);
    hs_canvas_text(&p->canvas, text, 16, 26, 12, 0, false);
    hs_canvas_paint(&p->canvas, black, 1);
    if (of->scale != 1)
        snprintf(text, sizeof text, "columns: floor(log2 |x|), as stored: times the loss scale 2^%g; darker: more of the scope",
                 log2(of->scale));
    else
        snprintf(text, sizeof text, "columns: floor(log2 |x|); darker: more of the scope");
    hs_canvas_text(&p->canvas, text, 16, 48, 9, 0, false);
    for (int r = 0; r < p->n; r++) {
        snprintf(text, sizeof text, "%.24s", p->row[r].scope);
        hs_canvas_text(&p->canvas, text, LEFT - 8, TOP + (double)ROW * (r + 1) - 4, 7.5, 1, false);
    }
    const double below = TOP + p->height + 18;
    hs_canvas_text(&p->canvas, "zero", zero_column(p) + CELL / 2.0, below, 8, 0.5, false);
    for (int e = p->first; e <= p->last; e++)
        if (e % 8 == 0) {
            snprintf(text, sizeof text, "%d", e);
            hs_canvas_text(&p->canvas, text, column_of(p, e) + CELL / 2.0, below, 8, 0.5, false);
        }
    hs_canvas_text(&p->canvas, "inf", nonfinite_column(p) + CELL / 2.0, below, 8, 0.5, false);
    hs_canvas_paint(&p->canvas, grey, 1);
}

static hs_status draw(const char *path, const hs_exponents_of *of, const hs_exponents *row, int n)
{
    picture p = { .row = row, .n = n, .height = (double)ROW * n };
    range_of(row, n, &p.first, &p.last);
    p.first = p.first < FP16_LEAST - 2 ? p.first : FP16_LEAST - 2;
    p.last = p.last > FP16_MOST + 2 ? p.last : FP16_MOST + 2;
    const double width = nonfinite_column(&p) + CELL + RIGHT;
    HS_TRY(hs_canvas_new(&p.canvas, (int)(width < 640 ? 640 : width), TOP + ROW * n + BOTTOM, white));
    draw_fp16(&p);
    draw_cells(&p);
    draw_marks(&p);
    draw_labels(&p, of);
    const hs_status st = hs_canvas_write_png(&p.canvas, path);
    hs_canvas_free(&p.canvas);
    return st;
}

hs_status hs_exponents_png(const char *path, const hs_exponents_of *of, const hs_exponents *row, int n)
{
    hs_exponents *joined = malloc(((size_t)n + 1) * sizeof *joined);
    if (!joined)
        return HS_FAIL(MEMORY, "no memory for %d rows of exponents", n);
    int depth = 8, left = join(joined, row, n, depth);
    while (left > MOST_ROWS && depth > 1)
        left = join(joined, row, n, --depth);
    const hs_status st = draw(path, of, joined, left);
    free(joined);
    return st;
}
