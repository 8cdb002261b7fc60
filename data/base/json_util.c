// json_util: text that grows, numbers in the shortest form that reads back, and members read with their range and file in the message.
#include "data/base/json_util.h"
#include "data/base/side_file.h"
#include "data/base/utf8.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(hs_text *t, size_t more)
{
    if (t->failed)
        return false;
    if (t->n + more + 1 <= t->capacity)
        return true;
    const size_t capacity = 2 * (t->n + more + 1);
    char *p = realloc(t->p, capacity);
    if (p == NULL) {
        t->failed = true;
        return false;
    }
    t->p = p, t->capacity = capacity;
    return true;
}

void hs_text_add(hs_text *t, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        t->failed = true;
    else if (reserve(t, (size_t)n)) {
        vsnprintf(t->p + t->n, (size_t)n + 1, fmt, again);
        t->n += (size_t)n;
    }
    va_end(again);
    va_end(ap);
}

void hs_text_bytes(hs_text *t, const char *p, size_t n)
{
    if (!reserve(t, n))
        return;
    if (n)
        memcpy(t->p + t->n, p, n);
    t->n += n;
    t->p[t->n] = 0;
}

void hs_text_quote(hs_text *t, const char *p, size_t n)
{
    size_t from = 0; // of what needs no escape
    hs_text_bytes(t, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)p[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        hs_text_bytes(t, p + from, i - from);
        from = i + 1;
        hs_text_add(t, c < 0x20 ? "\\u%04x" : "\\%c", c);
    }
    hs_text_bytes(t, p + from, n - from);
    hs_text_bytes(t, "\"", 1);
}

void hs_text_utf8(hs_text *t, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        const size_t length = (size_t)hs_utf8_length((const unsigned char *)bytes + i, n - i);
        hs_text_bytes(t, length ? bytes + i : "\xEF\xBF\xBD", length ? length : 3);
        i += length ? length : 1;
    }
}

void hs_text_string(hs_text *t, const char *s) { hs_text_quote(t, s, strlen(s)); }

static void add_number(hs_text *t, const char *digits)
{
    char buf[48];
    snprintf(buf, sizeof buf, "%s", digits);
    for (char *p = buf; *p; p++) // the program's locale may write a decimal comma
        if (strchr("0123456789+-e", *p) == NULL)
            *p = '.';
    hs_text_add(t, "%s%s", buf, strpbrk(buf, ".e") != NULL ? "" : ".0"); // "-0" would be read as an integer
}

static bool add_non_finite(hs_text *t, double v)
{
    if (isfinite(v))
        return false;
    hs_text_add(t, "%s", isnan(v) ? "\"nan\"" : v > 0 ? "\"inf\"" : "\"-inf\"");
    return true;
}

void hs_text_f64(hs_text *t, double v)
{
    if (add_non_finite(t, v))
        return;
    char buf[48];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    add_number(t, buf);
}

// Shortest digits without printing and reading: m digits times a power of ten that a double has exactly is one rounding away from what
// strtod makes of them, and what printf makes of a value is its product with one rounded, but where that is nearly half way. Of vectors and
// logits all but a few take this way, at a thirtieth of the time.
static const double power_of_ten[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9, 1e10,
                                       1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20 };
enum { DIGITS_F32 = 9 };

typedef struct decimal { // m * 10^(exponent - digits + 1)
    uint64_t m;
    int digits, exponent;
} decimal;

typedef enum fits { FITS_NOT, FITS, FITS_UNKNOWN } fits; // UNKNOWN: for exact arithmetic to say

// v rounded to so many digits: does it read back as v?
static fits round_to(double v, int digits, int exponent, decimal *out)
{
    const int k = digits - 1 - exponent;
    const double x = k >= 0 ? v * power_of_ten[k] : v / power_of_ten[-k], whole = floor(x), part = x - whole;
    if (fabs(part - 0.5) < 1e-5)
        return FITS_UNKNOWN;
    const double m = whole + (part > 0.5), back = k >= 0 ? m / power_of_ten[k] : m * power_of_ten[-k];
    if ((float)back != (float)v)
        return FITS_NOT;
    *out = (decimal){ (uint64_t)m, digits, exponent };
    if (m == power_of_ten[digits])
        out->m /= 10, out->exponent++;
    return FITS;
}

static bool shortest(double v, decimal *out)
{
    enum { USUAL = 8 };
    int exponent = 0, binary;
    if (!(v >= 1e-9 && v < 1e8))
        return false;
    while (exponent >= 0 && v >= power_of_ten[exponent + 1])
        exponent++;
    while (v * power_of_ten[exponent < 0 ? -exponent : 0] < 1)
        exponent--;
    // What fits with n digits fits with more, but beside a power of two, where the values above are further apart than those below.
    const bool even = frexp(v, &binary) != 0.5;
    int digits = even ? USUAL : 1;
    fits f = round_to(v, digits, exponent, out);
    while (f == FITS_NOT && digits < DIGITS_F32)
        f = round_to(v, ++digits, exponent, out);
    if (f != FITS || !even || digits > USUAL)
        return f == FITS;
    while (f == FITS && digits > 1) {
        decimal fewer;
        f = round_to(v, --digits, exponent, &fewer);
        if (f == FITS)
            *out = fewer;
    }
    return f != FITS_UNKNOWN;
}

// As "%.*g" writes it, and ".0" behind what would be read as an integer. How many characters.
static size_t write_decimal(char *to, bool minus, const decimal *d)
{
    char digit[DIGITS_F32 + 1], *p = to;
    int n = d->digits;
    const int e = d->exponent;
    uint32_t m = (uint32_t)d->m;
    for (int i = n; i-- > 0; m /= 10)
        digit[i] = (char)('0' + m % 10);
    while (n > 1 && digit[n - 1] == '0')
        n--;
    if (minus)
        *p++ = '-';
    if (e < -4 || e >= d->digits) {
        *p++ = digit[0];
        if (n > 1)
            *p++ = '.';
        for (int i = 1; i < n; i++)
            *p++ = digit[i];
        return (size_t)(p - to) + (size_t)sprintf(p, "e%c%02d", e < 0 ? '-' : '+', abs(e));
    }
    if (e < 0) {
        *p++ = '0', *p++ = '.';
        for (int i = -1; i > e; i--)
            *p++ = '0';
    }
    for (int i = 0; i < n || i <= e + 1; i++) {
        if (i == e + 1 && e >= 0)
            *p++ = '.';
        *p++ = i < n ? digit[i] : '0';
        if (e < 0 && i + 1 >= n)
            break;
    }
    return (size_t)(p - to);
}

void hs_text_f32(hs_text *t, float v)
{
    char buf[48];
    decimal d;
    if (add_non_finite(t, (double)v))
        return;
    if (shortest(fabs((double)v), &d)) {
        hs_text_bytes(t, buf, write_decimal(buf, v < 0, &d));
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, (double)v);
        if ((float)strtod(buf, NULL) == v) // as it is read: by way of a double
            break;
    }
    add_number(t, buf);
}

void hs_text_free(hs_text *t)
{
    free(t->p);
    *t = (hs_text){ 0 };
}

hs_status hs_json_open(hs_json *j, const char *path)
{
    *j = (hs_json){ NULL, path };
    HS_TRY(hs_side_json(path, &j->root));
    if (!json_is_object(j->root)) {
        hs_json_close(j);
        return HS_FAIL(CORRUPT, "%s: not a JSON object", path);
    }
    return HS_OK;
}

void hs_json_close(hs_json *j)
{
    json_decref(j->root);
    j->root = NULL;
}

static hs_status member(const hs_json *j, const char *key, const json_t **v)
{
    *v = json_object_get(j->root, key);
    return *v != NULL ? HS_OK : HS_FAIL(CORRUPT, "%s: \"%s\" is missing", j->path, key);
}

hs_status hs_json_i64(const hs_json *j, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const json_t *v;
    HS_TRY(member(j, key, &v));
    if (!json_is_integer(v))
        return HS_FAIL(CORRUPT, "%s: \"%s\" is not an integer", j->path, key);
    const int64_t i = json_integer_value(v);
    if (i < min || i > max)
        return HS_FAIL(CORRUPT, "%s: \"%s\" is %lld, allowed %lld to %lld", j->path, key, (long long)i, (long long)min, (long long)max);
    *out = i;
    return HS_OK;
}

hs_status hs_json_value_u64(const hs_json *j, const char *key, const json_t *v, uint64_t *out)
{
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *out = (uint64_t)json_integer_value(v);
        return HS_OK;
    }
    const char *s = json_string_value(v);
    if (s != NULL && *s >= '0' && *s <= '9') {
        char *end;
        errno = 0;
        const unsigned long long u = strtoull(s, &end, 10);
        if (errno == 0 && *end == 0) {
            *out = u;
            return HS_OK;
        }
    }
    return HS_FAIL(CORRUPT, "%s: \"%s\" is not an integer from 0 to 2^64-1", j->path, key);
}

hs_status hs_json_u64(const hs_json *j, const char *key, uint64_t *out)
{
    const json_t *v;
    HS_TRY(member(j, key, &v));
    return hs_json_value_u64(j, key, v, out);
}

hs_status hs_json_value_f64(const hs_json *j, const char *key, const json_t *v, double *out)
{
    const char *s = json_string_value(v);
    if (json_is_number(v))
        *out = json_number_value(v);
    else if (s != NULL && strcmp(s, "nan") == 0)
        *out = (double)NAN;
    else if (s != NULL && strcmp(s, "inf") == 0)
        *out = (double)INFINITY;
    else if (s != NULL && strcmp(s, "-inf") == 0)
        *out = -(double)INFINITY;
    else
        return HS_FAIL(CORRUPT, "%s: \"%s\" is not a number", j->path, key);
    return HS_OK;
}

hs_status hs_json_f64(const hs_json *j, const char *key, double *out)
{
    const json_t *v;
    HS_TRY(member(j, key, &v));
    return hs_json_value_f64(j, key, v, out);
}

const char *hs_json_text(const hs_json *j, const char *key) { return json_string_value(json_object_get(j->root, key)); }
