// vectors: rows of numbers out, in four forms.
#include "recipes/program/vectors.h"
#include "data/base/file.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NPY_HEADER = 128, DIGITS = 16 }; // DIGITS: "-1.23456789e-12,"

struct hs_vectors {
    hs_vector_format format;
    int64_t width, rows;
    hs_file_out file;
    char *line; // of stdout
};

// Its length is fixed, so that the rows are counted in at the end.
static void npy_header(char header[NPY_HEADER], int64_t rows, int64_t width)
{
    static const unsigned char magic[10] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, NPY_HEADER - 10, 0 };
    memset(header, ' ', NPY_HEADER);
    memcpy(header, magic, sizeof magic);
    char text[NPY_HEADER];
    const int n =
        snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }", (long long)rows, (long long)width);
    memcpy(header + sizeof magic, text, (size_t)n);
    header[NPY_HEADER - 1] = '\n';
}

hs_status hs_vectors_open(hs_vectors **out, const char *path, hs_vector_format format, int64_t width)
{
    char header[NPY_HEADER];
    hs_vectors *v = *out = calloc(1, sizeof *v);
    if (!v)
        return HS_FAIL(MEMORY, "no memory for vectors");
    v->format = format, v->width = width;
    if (path) {
        HS_TRY(hs_file_create(&v->file, path));
        npy_header(header, 0, width);
        return format == HS_VECTORS_NPY ? hs_file_write(&v->file, header, sizeof header) : HS_OK;
    }
    v->line = malloc((size_t)width * DIGITS + 32);
    return v->line ? HS_OK : HS_FAIL(MEMORY, "no memory for a line of %lld numbers", (long long)width);
}

// Nine digits of a number, as "%.9g" writes it: of a vector's hundreds of numbers that would take as long as a tenth of the model. What is
// scaled here may be off by one in the last digit, which still reads back to the same float: between two of those lie at least six.
static char *put_number(char *p, float v)
{
    static const double ten[] = { 1e8, 1e9, 1e10, 1e11, 1e12 }; // [k] brings 10^-k to 9 digits
    const double size = fabs((double)v);
    if (!(size >= 1e-4 && size < 10)) // others are rare
        return p + sprintf(p, "%.9g", (double)v);
    int k = 0;
    while (size * ten[k] < 1e8)
        k++;
    int64_t n = (int64_t)(size * ten[k] + 0.5);
    if (n >= 1000000000) { // rounded up to the next power
        if (k == 0)
            return p + sprintf(p, "%.9g", (double)v);
        n /= 10, k--;
    }
    if (v < 0)
        *p++ = '-';
    char digits[9];
    for (int i = 8; i >= 0; i--, n /= 10)
        digits[i] = (char)('0' + n % 10);
    int last = 8;
    while (last > 0 && digits[last] == '0')
        last--;
    *p++ = k == 0 ? digits[0] : '0';
    if (k > 0 || last > 0)
        *p++ = '.';
    for (int i = 1; i < k; i++)
        *p++ = '0';
    for (int i = k == 0; i <= last; i++)
        *p++ = digits[i];
    return p;
}

static void put_line(hs_vectors *v, const float *row)
{
    const bool json = v->format == HS_VECTORS_JSON;
    char *p = v->line;
    p += sprintf(p, "%s", json ? "{\"embedding\":[" : "");
    for (int64_t i = 0; i < v->width; i++) {
        if (i > 0)
            *p++ = json ? ',' : ' ';
        p = put_number(p, row[i]);
    }
    p += sprintf(p, "%s\n", json ? "]}" : "");
    fwrite(v->line, 1, (size_t)(p - v->line), stdout);
}

hs_status hs_vectors_put(hs_vectors *v, const float *row)
{
    v->rows++;
    if (v->file.f)
        return hs_file_write(&v->file, row, (size_t)v->width * sizeof *row);
    put_line(v, row);
    return HS_OK;
}

hs_status hs_vectors_commit(hs_vectors *v)
{
    char header[NPY_HEADER];
    if (!v->file.f) {
        fflush(stdout);
        return HS_OK;
    }
    if (v->format == HS_VECTORS_NPY) {
        npy_header(header, v->rows, v->width);
        if (fseek(v->file.f, 0, SEEK_SET) != 0)
            return HS_FAIL(SYSTEM, "%s cannot be written at its beginning: %s", v->file.path, strerror(errno));
        HS_TRY(hs_file_write(&v->file, header, sizeof header));
    }
    return hs_file_commit(&v->file);
}

void hs_vectors_close(hs_vectors *v)
{
    if (!v)
        return;
    hs_file_discard(&v->file);
    free(v->line);
    free(v);
}
