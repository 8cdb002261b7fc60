// Reading GGUF: keys and tensors into lists of ours; values and texts stay in the mapped file.
#include "core/base/grow.h"
#include "data/base/file.h"
#include "data/formats/gguf.h"
#include <stdlib.h>
#include <string.h>

typedef struct scan {
    hs_gguf *g;
    const char *at, *end;
    uint64_t align;
} scan;

static size_t left(const scan *s) { return (size_t)(s->end - s->at); }

static hs_status cut_off(const scan *s, const char *what)
{
    return HS_FAIL(CORRUPT, "%s: byte %lld: %s goes beyond the file's %zu bytes: truncated", s->g->path,
                   (long long)(s->at - (const char *)s->g->file.data), what, s->g->file.bytes);
}

static hs_status number(scan *s, size_t width, uint64_t *v)
{
    *v = 0;
    if (left(s) < width)
        return cut_off(s, "a number");
    for (size_t i = 0; i < width; i++)
        *v |= (uint64_t)(uint8_t)*s->at++ << (8 * i);
    return HS_OK;
}

static hs_status text(scan *s, hs_gguf_text *out)
{
    uint64_t n;
    HS_TRY(number(s, 8, &n));
    if (n > left(s))
        return cut_off(s, "a text");
    *out = (hs_gguf_text){ s->at, (size_t)n };
    s->at += n;
    return HS_OK;
}

static hs_status no_memory(const scan *s) { return HS_FAIL(MEMORY, "%s: no memory to read it", s->g->path); }

// ---- keys
static hs_status array(scan *s, hs_gguf_pair *p)
{
    uint64_t of, least;
    HS_TRY(number(s, 4, &of));
    HS_TRY(number(s, 8, &p->n));
    if (of >= HS_GGUF_TYPES || of == HS_GGUF_ARRAY)
        return HS_FAIL(UNSUPPORTED, "%s: key \"%.*s\" is a list of type %llu", s->g->path, (int)p->key.n, p->key.p, (unsigned long long)of);
    p->of = (hs_gguf_type)of;
    least = p->of == HS_GGUF_TEXT ? 8 : (uint64_t)hs_gguf_width(p->of);
    if (p->n > left(s) / least)
        return cut_off(s, "a list");
    p->data = s->at;
    if (p->of != HS_GGUF_TEXT) {
        s->at += p->n * least;
        return HS_OK;
    }
    p->texts = hs_gguf_keep(s->g, (size_t)p->n * sizeof *p->texts);
    if (!p->texts)
        return no_memory(s);
    for (uint64_t i = 0; i < p->n; i++)
        HS_TRY(text(s, &p->texts[i]));
    return HS_OK;
}

static hs_status pair(scan *s, hs_gguf_pair *p)
{
    uint64_t type;
    *p = (hs_gguf_pair){ .n = 1 };
    HS_TRY(text(s, &p->key));
    HS_TRY(number(s, 4, &type));
    if (type >= HS_GGUF_TYPES)
        return HS_FAIL(CORRUPT, "%s: key \"%.*s\" is of type %llu", s->g->path, (int)(p->key.n < 80 ? p->key.n : 80), p->key.p,
                       (unsigned long long)type);
    p->type = (hs_gguf_type)type;
    if (p->type == HS_GGUF_TEXT)
        return text(s, &p->text);
    if (p->type == HS_GGUF_ARRAY)
        return array(s, p);
    const size_t width = (size_t)hs_gguf_width(p->type);
    if (left(s) < width)
        return cut_off(s, "a value");
    p->data = s->at;
    s->at += width;
    return HS_OK;
}

// ---- tensors
static hs_status shape(scan *s, hs_gguf_tensor *t, uint64_t *count)
{
    uint64_t n, d;
    HS_TRY(number(s, 4, &n));
    if (n < 1 || n > HS_GGUF_DIMS)
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\" has %llu dimensions", s->g->path, t->name, (unsigned long long)n);
    t->n_dims = (int)n;
    *count = 1;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        HS_TRY(number(s, 8, &d));
        if (d > INT64_MAX || __builtin_mul_overflow(*count, d, count) || *count > INT64_MAX / 64)
            return HS_FAIL(CORRUPT, "%s: tensor \"%s\" has more elements than can be counted", s->g->path, t->name);
        t->dim[i] = (int64_t)d;
    }
    return HS_OK;
}

static hs_status known(const scan *s, const hs_gguf_tensor *t, uint64_t type)
{
    int64_t values = 1;
    size_t bytes;
    if (type > INT32_MAX || !hs_ggml_known((int)type, &values, &bytes)) {
        const char *name = type > INT32_MAX ? NULL : hs_ggml_name((int)type);
        return HS_FAIL(UNSUPPORTED, "%s: tensor \"%s\" is of type %s%s (%llu), read here are F32, F16, BF16, Q8_0 and Q4_0", s->g->path,
                       t->name, name ? name : "", name ? "" : "unknown", (unsigned long long)type);
    }
    if (t->dim[t->n_dims - 1] % values)
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\" has rows of %lld, no multiple of the %lld values in a block of %s", s->g->path, t->name,
                       (long long)t->dim[t->n_dims - 1], (long long)values, hs_ggml_name((int)type));
    return HS_OK;
}

// offset: of the data's first byte; where that is, is known when all of them are read.
static hs_status tensor(scan *s, hs_gguf_tensor *t, uint64_t *offset)
{
    hs_gguf_text name;
    uint64_t count = 0, type = 0;
    int64_t values = 1;
    size_t bytes = 0;
    *t = (hs_gguf_tensor){ .name = "" };
    HS_TRY(text(s, &name));
    char *copy = hs_gguf_keep(s->g, name.n + 1);
    if (!copy)
        return no_memory(s);
    memcpy(copy, name.p, name.n);
    copy[name.n] = 0;
    t->name = copy;
    if (name.n > 255 || strlen(copy) != name.n)
        return HS_FAIL(CORRUPT, "%s: a tensor's name of %zu bytes, or with a zero byte in it", s->g->path, name.n);
    HS_TRY(shape(s, t, &count));
    HS_TRY(number(s, 4, &type));
    HS_TRY(number(s, 8, offset));
    HS_TRY(known(s, t, type));
    hs_ggml_known((int)type, &values, &bytes);
    t->type = (hs_ggml_type)type;
    t->bytes = (size_t)(count / (uint64_t)values) * bytes;
    return HS_OK;
}

static hs_status place(const scan *s, uint64_t data, const uint64_t *offset)
{
    hs_gguf *g = s->g;
    for (int i = 0; i < g->n_tensors; i++) {
        hs_gguf_tensor *t = &g->tensor[i];
        if (offset[i] % s->align)
            return HS_FAIL(CORRUPT, "%s: tensor \"%s\" begins at %llu, no multiple of %llu", g->path, t->name,
                           (unsigned long long)offset[i], (unsigned long long)s->align);
        if (data > g->file.bytes || offset[i] > g->file.bytes - data || t->bytes > g->file.bytes - data - offset[i])
            return HS_FAIL(CORRUPT, "%s: tensor \"%s\" takes %zu bytes beyond what the file has: truncated", g->path, t->name, t->bytes);
        t->data = (const char *)g->file.data + data + offset[i];
    }
    return HS_OK;
}

static hs_status alignment(scan *s)
{
    int64_t v = 32;
    hs_gguf_int(s->g, "general.alignment", &v);
    if (v < 1 || v > 1 << 20 || (v & (v - 1)))
        return HS_FAIL(CORRUPT, "%s: general.alignment is %lld, no power of two up to 1048576", s->g->path, (long long)v);
    s->align = (uint64_t)v;
    return HS_OK;
}

static hs_status tensors(scan *s, uint64_t n)
{
    hs_gguf *g = s->g;
    uint64_t *offset = malloc((size_t)(n + 1) * sizeof *offset);
    hs_status st = offset ? HS_OK : no_memory(s);
    for (uint64_t i = 0; i < n && st == HS_OK; i++) {
        if (!hs_grow(&g->tensor, g->n_tensors, &g->cap_tensors, sizeof *g->tensor))
            st = no_memory(s);
        else if ((st = tensor(s, &g->tensor[g->n_tensors], &offset[i])) == HS_OK)
            g->n_tensors++;
    }
    const uint64_t read = (uint64_t)(s->at - (const char *)g->file.data);
    if (st == HS_OK)
        st = place(s, (read + s->align - 1) / s->align * s->align, offset);
    free(offset);
    return st;
}

static hs_status read_all(hs_gguf *g)
{
    enum { LEAST_PAIR = 13, LEAST_TENSOR = 32 }; // bytes of a key or a tensor's entry: nothing is allocated that the file does not pay for
    scan s = { .g = g, .at = g->file.data, .end = (const char *)g->file.data + g->file.bytes };
    uint64_t version, n_tensors, n_pairs;
    if (left(&s) < 8 || memcmp(s.at, "GGUF", 4) != 0)
        return HS_FAIL(CORRUPT, "%s is no GGUF file", g->path);
    s.at += 4;
    HS_TRY(number(&s, 4, &version));
    if (version != 3 && version != 2) // 2 has the same layout
        return HS_FAIL(UNSUPPORTED, "%s: GGUF version %llu, read here are 2 and 3%s", g->path, (unsigned long long)version,
                       version > 0xFFFF ? " (big-endian?)" : "");
    HS_TRY(number(&s, 8, &n_tensors));
    HS_TRY(number(&s, 8, &n_pairs));
    if (n_pairs > left(&s) / LEAST_PAIR || n_tensors > left(&s) / LEAST_TENSOR)
        return HS_FAIL(CORRUPT, "%s: its header promises %llu keys and %llu tensors, the file has %zu bytes: truncated", g->path,
                       (unsigned long long)n_pairs, (unsigned long long)n_tensors, g->file.bytes);
    for (uint64_t i = 0; i < n_pairs; i++) {
        if (!hs_grow(&g->pair, g->n_pairs, &g->cap_pairs, sizeof *g->pair))
            return no_memory(&s);
        HS_TRY(pair(&s, &g->pair[g->n_pairs]));
        g->n_pairs++;
    }
    HS_TRY(alignment(&s));
    return tensors(&s, n_tensors);
}

hs_status hs_gguf_open(hs_gguf **out, const char *path)
{
    hs_gguf *g;
    *out = NULL;
    HS_TRY(hs_gguf_new(&g));
    g->path = strdup(path);
    hs_status st = g->path ? hs_file_map(&g->file, path) : HS_FAIL(MEMORY, "%s: no memory to open it", path);
    if (st == HS_OK)
        st = read_all(g);
    if (st != HS_OK) {
        hs_gguf_close(g);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = g;
    return HS_OK;
}
