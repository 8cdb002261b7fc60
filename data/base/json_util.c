// json_util: text that grows, numbers in the shortest form that reads back, and members read with their range and file in the message.
#include "data/base/json_util.h"
#include "data/base/side_file.h"
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

// ---- the fewest digits of a float, by integers: vectors are thousands of them

enum { MOST_DIGITS = 9 };                      // that a float needs
static const float least = 1e-5f, most = 1e9f; // of those that are written here: what comes up on the way fits 128 bits
typedef unsigned __int128 wide;

static const uint64_t tens[] = { 1,        10,        100,        1000,        10000,        100000,        1000000,
                                 10000000, 100000000, 1000000000, 10000000000, 100000000000, 1000000000000, 10000000000000 };

// v = m 2^e to an integer of 10^-k, ties to even: what printf does.
static uint64_t rounded(uint32_t m, int e, int k)
{
    const wide up = (wide)m * tens[k > 0 ? k : 0] << (e > 0 ? e : 0);
    const wide down = (wide)tens[k < 0 ? -k : 0] << (e < 0 ? -e : 0);
    const wide whole = k < 0 ? up / down : up >> (e < 0 ? -e : 0), twice = 2 * (up - whole * down);
    return (uint64_t)whole + (twice > down || (twice == down && whole % 2 == 1));
}

// digits 10^(x - n + 1), as %.ng writes it
static void write_number(hs_text *t, bool negative, uint64_t digits, int n, int x)
{
    char d[24], buf[48], *p = buf;
    const int precision = n;
    while (n > 1 && digits % 10 == 0)
        digits /= 10, n--;
    snprintf(d, sizeof d, "%llu", (unsigned long long)digits);
    *p = '-';
    p += negative;
    if (x < -4 || x >= precision)
        p += sprintf(p, "%c%s%se%c%02d", d[0], n > 1 ? "." : "", d + 1, x < 0 ? '-' : '+', abs(x));
    else if (x < 0)
        p += sprintf(p, "0.%.*s%s", -x - 1, "0000", d);
    else if (n > x + 1)
        p += sprintf(p, "%.*s.%s", x + 1, d, d + x + 1);
    else
        p += sprintf(p, "%s%.*s.0", d, x + 1 - n, "000000000");
    hs_text_bytes(t, buf, (size_t)(p - buf));
}

// Reading is one exact division, or product, as strtod does where it can. A float that is no power of ten is so far from one that the
// logarithm tells on which side.
static void write_shortest(hs_text *t, float v, bool negative)
{
    int e;
    const uint32_t m = (uint32_t)ldexpf(frexpf(v, &e), 24);
    const int x = (int)floor(log10((double)v)); // of the first digit
    e -= 24;
    for (int n = 1;; n++) {
        const int k = n - 1 - x;
        uint64_t digits = rounded(m, e, k);
        const double read = k < 0 ? (double)(digits * tens[-k]) : (double)digits / (double)tens[k];
        if ((float)read != v && n < MOST_DIGITS)
            continue;
        const bool carried = digits == tens[n];
        write_number(t, negative, carried ? digits / 10 : digits, n, x + carried);
        return;
    }
}

void hs_text_f32(hs_text *t, float v)
{
    if (add_non_finite(t, (double)v))
        return;
    if (fabsf(v) >= least && fabsf(v) < most) {
        write_shortest(t, fabsf(v), v < 0);
        return;
    }
    char buf[48];
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
