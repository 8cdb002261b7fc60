// infer_elements: numbers and texts out of either form of a tensor.
#include "core/base/dtype.h"
#include "infer/server/infer_request.h"
#include "infer/server/infer_scan.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- elements of JSON text

typedef struct elements {
    const hs_infer_tensor *t;
    hs_scan s;
    bool flat; // one list, else lists of lists as the shape has them
    hs_status (*take)(struct elements *e);
    int64_t n; // that were taken
    // of whole numbers
    int64_t least, most;
    int32_t *number;
    // of texts
    hs_infer_text *text;
    char *bytes; // free ones
} elements;

static hs_status wrong_shape(const hs_infer_tensor *t)
{
    return HS_FAIL(USAGE, "input '%.64s': data are not what its shape says, neither nested nor flat", t->name);
}

static hs_status take_list(elements *e, int level)
{
    const hs_infer_tensor *t = e->t;
    const bool last = e->flat || level == t->n_dims - 1;
    const int64_t want = e->flat ? t->n : t->dim[level];
    int64_t n = 0;
    if (!hs_scan_take(&e->s, '['))
        return wrong_shape(t);
    do {
        if (n++ == want)
            return wrong_shape(t);
        HS_TRY(last ? e->take(e) : take_list(e, level + 1));
    } while (hs_scan_take(&e->s, ','));
    return hs_scan_take(&e->s, ']') && n == want ? HS_OK : wrong_shape(t);
}

static hs_status take_elements(elements *e)
{
    hs_scan s = e->s = (hs_scan){ e->t->data, e->t->data + e->t->bytes };
    e->flat = hs_scan_take(&s, '[') && !hs_scan_at(&s, '[');
    return take_list(e, 0);
}

// ---- whole numbers

static hs_status keep_whole(elements *e, bool whole, int64_t v)
{
    const long long i = (long long)e->n;
    if (!whole)
        return HS_FAIL(USAGE, "input '%.64s': element %lld is not a whole number", e->t->name, i);
    if (v < e->least || v > e->most)
        return HS_FAIL(USAGE, "input '%.64s': element %lld is %lld, allowed are %lld to %lld", e->t->name, i, (long long)v,
                       (long long)e->least, (long long)e->most);
    e->number[e->n++] = (int32_t)v;
    return HS_OK;
}

static bool whole_of(double x, int64_t *v)
{
    const bool whole = x >= -9e18 && x <= 9e18 && x == floor(x);
    *v = whole ? (int64_t)x : 0;
    return whole;
}

static bool read_digits(const char *p, size_t n, int64_t *v)
{
    enum { SAFE = 18 }; // digits
    const bool minus = n > 0 && p[0] == '-';
    size_t i = minus;
    *v = 0;
    if (n == i || n - i > SAFE || (p[i] == '0' && n - i > 1))
        return false;
    for (; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *v = 10 * *v + (p[i] - '0');
    }
    *v = minus ? -*v : *v;
    return true;
}

static bool read_real(const char *p, size_t n, int64_t *v)
{
    char text[64], *end;
    if (n == 0 || n >= sizeof text || (p[0] != '-' && (p[0] < '0' || p[0] > '9')))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!strchr("0123456789+-.eE", p[i]) || !p[i])
            return false;
        text[i] = p[i];
    }
    text[n] = 0;
    const double x = strtod(text, &end);
    return *end == 0 && whole_of(x, v);
}

static hs_status take_number(elements *e)
{
    (void)hs_scan_at(&e->s, 0);
    const char *p = e->s.p;
    const size_t n = hs_scan_word(&e->s);
    int64_t v = 0;
    bool whole;
    if (e->t->type == HS_OIP_BOOL) {
        v = n == 4 && memcmp(p, "true", n) == 0;
        whole = v || (n == 5 && memcmp(p, "false", n) == 0);
    } else
        whole = read_digits(p, n, &v) || ((e->t->type == HS_OIP_FP32 || e->t->type == HS_OIP_FP64) && read_real(p, n, &v));
    return keep_whole(e, whole, v);
}

hs_oip_number hs_infer_number(const hs_infer_tensor *t, int64_t i)
{
    static const hs_dtype real[HS_OIP_TYPES] = {
        [HS_OIP_FP16] = HS_F16, [HS_OIP_BF16] = HS_BF16, [HS_OIP_FP32] = HS_F32, [HS_OIP_FP64] = HS_F64
    };
    const int bytes = hs_oip_type_bytes[t->type], above = 64 - 8 * bytes;
    uint64_t bits = 0; // little-endian, as all that this builds for
    hs_oip_number x;
    memcpy(&bits, t->data + i * bytes, (size_t)bytes);
    switch (hs_oip_type_kinds[t->type]) {
    case HS_OIP_KIND_REAL:
        hs_convert(&x.f, HS_F64, &bits, real[t->type], 1);
        break;
    case HS_OIP_KIND_SIGNED:
        x.i = (int64_t)(bits << above) >> above;
        break;
    default:
        x.u = t->type == HS_OIP_BOOL ? bits != 0 : bits;
    }
    return x;
}

static bool raw_whole(const hs_infer_tensor *t, int64_t i, int64_t *v)
{
    const hs_oip_number x = hs_infer_number(t, i);
    const hs_oip_kind kind = hs_oip_type_kinds[t->type];
    if (kind == HS_OIP_KIND_REAL)
        return whole_of(x.f, v);
    *v = kind == HS_OIP_KIND_SIGNED ? x.i : x.u > INT64_MAX ? INT64_MAX : (int64_t)x.u;
    return true;
}

hs_status hs_infer_whole(const hs_infer_tensor *t, int64_t least, int64_t most, int32_t *dst)
{
    elements e = { .t = t, .take = take_number, .least = least, .most = most, .number = dst };
    if (t->type == HS_OIP_BYTES)
        return HS_FAIL(USAGE, "input '%.64s' is BYTES, and numbers are wanted", t->name);
    if (!t->raw)
        return take_elements(&e);
    for (int64_t i = 0; i < t->n; i++) {
        int64_t v = 0;
        const bool whole = raw_whole(t, i, &v);
        HS_TRY(keep_whole(&e, whole, v));
    }
    return HS_OK;
}

// ---- texts

static void keep_text(elements *e, const char *p, size_t n)
{
    memcpy(e->bytes, p, n);
    e->text[e->n++] = (hs_infer_text){ e->bytes, n };
    e->bytes += n;
}

static hs_status take_text(elements *e)
{
    json_error_t error;
    (void)hs_scan_at(&e->s, '"');
    const char *from = e->s.p;
    if (!hs_scan_string(&e->s))
        return HS_FAIL(USAGE, "input '%.64s': element %lld is not a text", e->t->name, (long long)e->n);
    json_t *v = json_loadb(from, (size_t)(e->s.p - from), JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!v)
        return HS_FAIL(USAGE, "input '%.64s': element %lld: %s", e->t->name, (long long)e->n, error.text);
    keep_text(e, json_string_value(v), json_string_length(v));
    json_decref(v);
    return HS_OK;
}

hs_status hs_infer_texts(const hs_infer_tensor *t, hs_infer_text **out)
{
    *out = NULL;
    if (t->type != HS_OIP_BYTES)
        return HS_FAIL(USAGE, "input '%.64s' is %s, and BYTES are wanted", t->name, hs_oip_type_names[t->type]);
    char *block = malloc((size_t)t->n * sizeof(hs_infer_text) + t->bytes + 1); // n is at most bytes, whichever the form
    if (!block)
        return HS_FAIL(MEMORY, "no memory for %lld texts", (long long)t->n);
    elements e = { .t = t, .take = take_text, .text = (hs_infer_text *)(void *)block };
    e.bytes = block + (size_t)t->n * sizeof(hs_infer_text);
    hs_status st = HS_OK;
    const char *p = t->data;
    if (t->whole)
        keep_text(&e, p, t->bytes);
    else if (!t->raw)
        st = take_elements(&e);
    else
        for (int64_t i = 0; i < t->n; i++) {
            uint32_t n;
            memcpy(&n, p, sizeof n);
            keep_text(&e, p + sizeof n, n);
            p += sizeof n + n;
        }
    if (st == HS_OK)
        *out = (hs_infer_text *)(void *)block;
    else
        free(block);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
