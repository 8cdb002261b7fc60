// Writing GGUF: keys and the list of tensors from memory, then their bytes, one after the other, from where the values lie.
#include "core/graph/coding.h"
#include "data/formats/gguf.h"
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 32 };

static hs_status put(hs_out *o, size_t width, uint64_t v)
{
    uint8_t b[8];
    for (size_t i = 0; i < width; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    return hs_out_write(o, b, width);
}

static hs_status put_text(hs_out *o, hs_gguf_text t)
{
    HS_TRY(put(o, 8, t.n));
    return hs_out_write(o, t.p, t.n);
}

static hs_status put_pair(hs_out *o, const hs_gguf_pair *p)
{
    HS_TRY(put_text(o, p->key));
    HS_TRY(put(o, 4, p->type));
    if (p->type == HS_GGUF_TEXT)
        return put_text(o, p->text);
    if (p->type != HS_GGUF_ARRAY)
        return hs_out_write(o, p->data, (size_t)hs_gguf_width(p->type));
    HS_TRY(put(o, 4, p->of));
    HS_TRY(put(o, 8, p->n));
    for (uint64_t i = 0; p->of == HS_GGUF_TEXT && i < p->n; i++)
        HS_TRY(put_text(o, p->texts[i]));
    return p->of == HS_GGUF_TEXT ? HS_OK : hs_out_write(o, p->data, (size_t)p->n * (size_t)hs_gguf_width(p->of));
}

static uint64_t aligned(uint64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

static hs_status put_entry(hs_out *o, const hs_gguf_tensor *t, uint64_t *offset)
{
    HS_TRY(put_text(o, (hs_gguf_text){ t->name, strlen(t->name) }));
    HS_TRY(put(o, 4, (uint64_t)t->n_dims));
    for (int i = t->n_dims - 1; i >= 0; i--)
        HS_TRY(put(o, 8, (uint64_t)t->dim[i]));
    HS_TRY(put(o, 4, t->type));
    HS_TRY(put(o, 8, *offset));
    *offset = aligned(*offset + t->bytes);
    return HS_OK;
}

static hs_status pad(hs_out *o)
{
    static const uint8_t zeros[ALIGN];
    return hs_out_write(o, zeros, (size_t)(aligned(o->bytes) - o->bytes));
}

static hs_status put_blocks(hs_out *o, const hs_gguf_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->dim[i];
    float *values = malloc((size_t)(n > 0 ? n : 1) * sizeof *values);
    void *blocks = malloc(t->bytes > 0 ? t->bytes : 1);
    hs_status st = values && blocks ? hs_st_source_values(t->source, values)
                                    : HS_FAIL(MEMORY, "%s: no memory for %lld numbers of \"%s\"", o->path, (long long)n, t->name);
    if (st == HS_OK) {
        hs_ggml_from_f32(t->type, values, blocks, n);
        st = hs_out_write(o, blocks, t->bytes);
    }
    free(values);
    free(blocks);
    return st;
}

static bool same_codes(const hs_gguf_tensor *t)
{
    const hs_st_source *s = t->source;
    hs_ggml_type same;
    return s->param && s->values && !s->transposed && hs_ggml_of_coding(s->param->coding, &same) && same == t->type;
}

static hs_status put_rows(hs_out *o, const hs_gguf_tensor *t, char *codes, char *scales, char *row)
{
    const hs_param *p = t->source->param;
    const hs_params *ps = t->source->values;
    const size_t code = hs_coding_bytes(p, HS_VIEW_CODES) / (size_t)p->dim[0],
                 scale = hs_coding_bytes(p, HS_VIEW_SCALES) / (size_t)p->dim[0];
    const int64_t first = t->source->part > 0 ? (t->source->part - 1) * (p->dim[0] / p->parts) : 0;
    hs_params_read(ps, hs_params_coded(ps, HS_VIEW_CODES), p, codes);
    hs_params_read(ps, hs_params_coded(ps, HS_VIEW_SCALES), p, scales);
    for (int64_t r = first; r < first + t->dim[0]; r++) {
        hs_ggml_from_codes(p->coding, codes + (size_t)r * code, scales + (size_t)r * scale, row, t->dim[1]);
        HS_TRY(hs_out_write(o, row, t->bytes / (size_t)t->dim[0]));
    }
    return HS_OK;
}

static hs_status put_codes(hs_out *o, const hs_gguf_tensor *t)
{
    const hs_param *p = t->source->param;
    char *codes = malloc(hs_coding_bytes(p, HS_VIEW_CODES) + 1), *scales = malloc(hs_coding_bytes(p, HS_VIEW_SCALES) + 1);
    char *row = malloc(t->bytes / (size_t)(t->dim[0] > 0 ? t->dim[0] : 1) + 1);
    const hs_status st = !codes || !scales || !row ? HS_FAIL(MEMORY, "%s: no memory for the codes of \"%s\"", o->path, t->name)
                         : p->parts > 1 && p->dim[0] != p->logical[0]
                             ? HS_FAIL(UNSUPPORTED, "%s: stacked, padded and kept as codes", p->name)
                             : put_rows(o, t, codes, scales, row);
    free(codes);
    free(scales);
    free(row);
    return st;
}

static hs_status put_data(hs_out *o, const hs_gguf_tensor *t)
{
    hs_st_source s = *t->source;
    if (same_codes(t))
        return put_codes(o, t);
    if (hs_ggml_in_blocks(t->type))
        return put_blocks(o, t);
    s.t.dtype = t->type == HS_GGML_F16 ? HS_F16 : t->type == HS_GGML_BF16 ? HS_BF16 : HS_F32;
    return hs_st_source_write(o, &s);
}

static hs_status put_all(hs_out *o, const hs_gguf *g)
{
    uint64_t offset = 0;
    HS_TRY(hs_out_write(o, "GGUF", 4));
    HS_TRY(put(o, 4, 3));
    HS_TRY(put(o, 8, (uint64_t)g->n_tensors));
    HS_TRY(put(o, 8, (uint64_t)g->n_pairs));
    for (int i = 0; i < g->n_pairs; i++)
        HS_TRY(put_pair(o, &g->pair[i]));
    for (int i = 0; i < g->n_tensors; i++)
        HS_TRY(put_entry(o, &g->tensor[i], &offset));
    HS_TRY(pad(o));
    for (int i = 0; i < g->n_tensors; i++) {
        HS_TRY(put_data(o, &g->tensor[i]));
        HS_TRY(pad(o));
    }
    return HS_OK;
}

hs_status hs_gguf_write(const hs_io *io, const char *path, const hs_gguf *g)
{
    hs_out o;
    if (g->failed)
        return HS_FAIL(MEMORY, "%s: no memory for its keys", path);
    HS_TRY(hs_out_open(&o, io, path));
    const hs_status st = put_all(&o, g);
    if (st == HS_OK)
        return hs_out_close(&o, NULL);
    hs_out_abort(&o);
    return hs_frame_at(st, __FILE__, __LINE__);
}
