// Writing safetensors: header, then the tensors one after the other, straight from where they lie. What has to be turned or cut
// goes through one bounded buffer.
#include "data/base/json_util.h"
#include "data/checkpoint/ckpt_io.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TURN = 16, BLOCK = 1 << 20 }; // floats: a tile of 16 x 16 is 16 cache lines on either side; 4 MiB of buffer
enum { ALIGN = 64 };                 // where the data begin: tensors of whole cache lines lie on them, for whoever maps the file

void hs_turn_f32(float *restrict dst, int64_t dst_width, const float *restrict src, int64_t src_width, int64_t rows, int64_t cols)
{
    for (int64_t r0 = 0; r0 < rows; r0 += TURN)
        for (int64_t c0 = 0; c0 < cols; c0 += TURN) {
            const int64_t r1 = r0 + TURN < rows ? r0 + TURN : rows, c1 = c0 + TURN < cols ? c0 + TURN : cols;
            for (int64_t c = c0; c < c1; c++)
                for (int64_t r = r0; r < r1; r++)
                    dst[c * dst_width + r] = src[r * src_width + c];
        }
}

static hs_status bytes_of(const hs_st_tensor *t, uint64_t *bytes)
{
    uint64_t n = hs_dtype_bytes(t->dtype);
    for (int i = 0; i < t->n_dims; i++)
        if (t->dim[i] < 0 || __builtin_mul_overflow(n, (uint64_t)t->dim[i], &n))
            return HS_FAIL(INTERNAL, "tensor \"%s\": dimension %d is %lld", t->name, i, (long long)t->dim[i]);
    *bytes = n;
    return HS_OK;
}

// Widest elements first, so that every tensor is aligned; then by name.
static int by_alignment(const void *a, const void *b)
{
    const hs_st_tensor *x = &(*(const hs_st_source *const *)a)->t, *y = &(*(const hs_st_source *const *)b)->t;
    const size_t bx = hs_dtype_bytes(x->dtype), by = hs_dtype_bytes(y->dtype);
    return bx != by ? (bx < by) - (bx > by) : strcmp(x->name, y->name);
}

static hs_status add_entry(hs_text *h, const hs_st_tensor *t, uint64_t *offset)
{
    uint64_t bytes = 0;
    HS_TRY(bytes_of(t, &bytes));
    hs_text_add(h, ",");
    hs_text_string(h, t->name);
    hs_text_add(h, ":{\"dtype\":\"%s\",\"shape\":[", hs_dtype_safetensors(t->dtype));
    for (int i = 0; i < t->n_dims; i++)
        hs_text_add(h, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    hs_text_add(h, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*offset, (unsigned long long)(*offset + bytes));
    *offset += bytes;
    return HS_OK;
}

// The size of the header's text, 8 bytes, and the text.
static hs_status make_header(hs_st_layout *l, const char *path, int n)
{
    hs_text *h = &l->header;
    uint64_t offset = 0;
    hs_text_add(h, "%8s{\"__metadata__\":{\"format\":\"pt\"}", ""); // transformers refuses a file without it
    for (int i = 0; i < n; i++) {
        if (i > 0 && strcmp(l->order[i]->t.name, l->order[i - 1]->t.name) == 0)
            return HS_FAIL(INTERNAL, "%s: tensor \"%s\" is given twice", path, l->order[i]->t.name);
        l->at[i] = offset;
        HS_TRY(add_entry(h, &l->order[i]->t, &offset));
    }
    hs_text_add(h, "}");
    while (h->n % ALIGN != 0 && !h->failed)
        hs_text_add(h, " ");
    if (h->failed)
        return HS_FAIL(MEMORY, "%s: no memory for the header", path);
    for (int i = 0; i < 8; i++)
        h->p[i] = (char)((uint64_t)(h->n - 8) >> (8 * i));
    for (int i = 0; i < n; i++)
        l->at[i] += h->n;
    l->bytes = h->n + offset;
    return HS_OK;
}

void hs_st_layout_free(hs_st_layout *l)
{
    hs_text_free(&l->header);
    free(l->order);
    free(l->at);
    *l = (hs_st_layout){ 0 };
}

hs_status hs_st_layout_make(hs_st_layout *l, const char *path, const hs_st_source *s, int n)
{
    *l = (hs_st_layout){ .order = malloc(((size_t)n + 1) * sizeof *l->order), .at = malloc(((size_t)n + 1) * sizeof *l->at) };
    hs_status st = l->order && l->at ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for %d tensors", path, n);
    for (int i = 0; i < n && st == HS_OK; i++)
        l->order[i] = &s[i];
    if (st == HS_OK) {
        qsort(l->order, (size_t)n, sizeof *l->order, by_alignment);
        st = make_header(l, path, n);
    }
    if (st != HS_OK)
        hs_st_layout_free(l);
    return st;
}

// n elements, in the file's type.
static hs_status put(hs_out *o, const hs_st_source *s, const void *p, int64_t n)
{
    enum { AT_ONCE = 8192 };
    const hs_dtype have = hs_st_source_dtype(s);
    const size_t width = hs_dtype_bytes(have);
    double block[AT_ONCE];
    if (have == s->t.dtype)
        return hs_out_write(o, p, (size_t)n * width);
    for (int64_t i = 0; i < n; i += AT_ONCE) {
        const int64_t piece = n - i < AT_ONCE ? n - i : AT_ONCE;
        hs_convert(block, s->t.dtype, (const char *)p + (size_t)i * width, have, piece);
        HS_TRY(hs_out_write(o, block, (size_t)piece * hs_dtype_bytes(s->t.dtype)));
    }
    return HS_OK;
}

// The file's row i is column i of src [out, in].
static hs_status put_turned(hs_out *o, const hs_st_source *s, const float *src, int64_t out, int64_t in, float *block)
{
    const int64_t wide = out < BLOCK ? out : BLOCK, high = wide > 0 ? BLOCK / wide : 1;
    for (int64_t i0 = 0; i0 < in; i0 += high)
        for (int64_t o0 = 0; o0 < out; o0 += wide) { // more than once only where one row fills the block
            const int64_t n_in = i0 + high < in ? high : in - i0, n_out = o0 + wide < out ? wide : out - o0;
            hs_turn_f32(block, n_out, src + o0 * in + i0, in, n_out, n_in);
            HS_TRY(put(o, s, block, n_in * n_out));
        }
    return HS_OK;
}

static hs_status put_param(hs_out *o, const hs_st_source *s, float *block)
{
    const hs_param *p = s->param;
    const char *value = s->t.data;
    char *cut = NULL;
    uint64_t bytes = 0;
    HS_TRY(bytes_of(&s->t, &bytes));
    const int64_t count = (int64_t)(bytes / hs_dtype_bytes(s->t.dtype));
    bytes = (uint64_t)count * hs_dtype_bytes(hs_st_source_dtype(s));
    bool tail_only = !s->values && (p->parts <= 1 || p->logical[0] == p->dim[0]); // then the logical rows are the first ones as they lie
    for (int i = 1; i < p->n_dims; i++)
        tail_only = tail_only && p->logical[i] == p->dim[i];
    const int pieces = s->part > 0 ? p->parts : 1;
    if (!tail_only) {
        cut = malloc(bytes > 0 ? bytes * (uint64_t)pieces : 1);
        if (cut == NULL)
            return HS_FAIL(MEMORY, "%s: no memory for %llu bytes of \"%s\"", o->path, (unsigned long long)bytes, p->name);
        if (s->values)
            hs_params_export(s->values, s->values->master, p, (float *)cut);
        else
            hs_param_export_as(p, hs_st_source_dtype(s), s->t.data, cut);
        value = cut;
    }
    if (s->part > 0)
        value += (size_t)(s->part - 1) * bytes;
    const hs_status st =
        s->transposed ? put_turned(o, s, (const float *)value, p->logical[0] / pieces, p->logical[1], block) : put(o, s, value, count);
    free(cut);
    return st;
}

hs_status hs_st_source_write(hs_out *o, const hs_st_source *s)
{
    uint64_t bytes = 0;
    if (s->param == NULL) {
        HS_TRY(bytes_of(&s->t, &bytes));
        return hs_out_write(o, s->t.data, bytes);
    }
    float *block = s->transposed ? malloc(BLOCK * sizeof *block) : NULL;
    if (s->transposed && block == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for %zu bytes", o->path, BLOCK * sizeof *block);
    const hs_status st = put_param(o, s, block);
    free(block);
    return st;
}

hs_status hs_st_source_values(const hs_st_source *s, float *dst)
{
    const hs_param *p = s->param;
    const int pieces = s->part > 0 ? p->parts : 1;
    if (s->values == NULL)
        return HS_FAIL(INTERNAL, "tensor \"%s\" is not read out of parameters", s->t.name);
    const int64_t all = hs_param_elements(p);
    float *whole = malloc((size_t)(all > 0 ? all : 1) * sizeof *whole);
    if (whole == NULL)
        return HS_FAIL(MEMORY, "no memory for %lld numbers of \"%s\"", (long long)all, p->name);
    hs_params_export(s->values, s->values->master, p, whole);
    const float *part = whole + (s->part > 0 ? s->part - 1 : 0) * (all / pieces);
    if (s->transposed)
        hs_turn_f32(dst, p->logical[0] / pieces, part, p->logical[1], p->logical[0] / pieces, p->logical[1]);
    else
        memcpy(dst, part, (size_t)(all / pieces) * sizeof *dst);
    free(whole);
    return HS_OK;
}

static hs_status write_all(hs_out *o, const hs_st_layout *l, int n)
{
    HS_TRY(hs_out_write(o, l->header.p, l->header.n));
    for (int i = 0; i < n; i++)
        HS_TRY(hs_st_source_write(o, l->order[i]));
    return HS_OK;
}

hs_status hs_safetensors_write_from(const hs_io *io, const char *path, const hs_st_source *s, int n, hs_file_sum *sum)
{
    hs_st_layout l;
    hs_out o;
    HS_TRY(hs_st_layout_make(&l, path, s, n));
    hs_status st = hs_out_open(&o, io, path);
    if (st == HS_OK) {
        st = write_all(&o, &l, n);
        if (st == HS_OK)
            st = hs_out_close(&o, sum);
        else
            hs_out_abort(&o);
    }
    hs_st_layout_free(&l);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_safetensors_write(const char *path, const hs_st_tensor *t, int n, uint64_t *hash)
{
    char tmp[HS_PATH];
    HS_TRY(hs_path_join(tmp, "%s.tmp-%ld", path, (long)getpid()));
    hs_st_source *s = calloc((size_t)(n > 0 ? n : 1), sizeof *s);
    if (s == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for %d tensors", path, n);
    for (int i = 0; i < n; i++)
        s[i].t = t[i];
    hs_file_sum sum;
    unlink(tmp); // of a process of that number that died
    const hs_status st = hs_safetensors_write_from(&hs_io_system, tmp, s, n, &sum);
    free(s);
    HS_TRY(st);
    if (rename(tmp, path) != 0) {
        const hs_status failed = HS_FAIL(SYSTEM, "%s: %s", path, strerror(errno));
        unlink(tmp);
        return failed;
    }
    if (hash != NULL)
        *hash = sum.hash;
    return hs_sync_parent(&hs_io_system, path);
}
