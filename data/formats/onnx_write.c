// Writing ONNX: everything but the weights is made in memory, so that lengths are known; weights follow from where they lie.
#include "data/formats/onnx.h"
#include "data/formats/protobuf.h"
#include <stdio.h>
#include <string.h>

enum { LARGE = 1024, PAGE = 4096 }; // bytes of a tensor that goes into the file beside, and where each begins there, for whoever maps it
static const uint64_t MOST = (1ull << 31) - (1 << 20);

uint64_t hs_onnx_bytes(const hs_onnx *m)
{
    uint64_t n = 0;
    for (int i = 0; i < m->n_inits; i++)
        n += m->init[i].bytes;
    return n;
}

// ---- messages
static void put_attr(hs_pb_out *o, const hs_onnx_attr *a)
{
    hs_pb_out m = { 0 };
    hs_pb_put_text(&m, 1, a->name);
    if (a->kind == HS_ONNX_FLOAT)
        hs_pb_put_f32(&m, 2, a->f);
    else if (a->kind == HS_ONNX_INT)
        hs_pb_put_varint(&m, 3, (uint64_t)a->i);
    for (int i = 0; a->kind == HS_ONNX_INTS && i < a->n; i++) // not packed: as onnx.proto of proto2 has them
        hs_pb_put_varint(&m, 8, (uint64_t)a->ints[i]);
    hs_pb_put_varint(&m, 20, a->kind);
    hs_pb_put_message(o, 5, &m);
    hs_pb_out_free(&m);
}

static void put_node(hs_pb_out *o, const hs_onnx_node *n)
{
    hs_pb_out m = { 0 };
    for (int i = 0; i < n->n_in; i++)
        hs_pb_put_text(&m, 1, n->in[i]);
    for (int i = 0; i < n->n_out; i++)
        hs_pb_put_text(&m, 2, n->out[i]);
    hs_pb_put_text(&m, 3, n->name);
    hs_pb_put_text(&m, 4, n->op);
    for (int i = 0; i < n->n_attrs; i++)
        put_attr(&m, &n->attr[i]);
    if (*n->domain)
        hs_pb_put_text(&m, 7, n->domain);
    hs_pb_put_message(o, 1, &m);
    hs_pb_out_free(&m);
}

static void put_value(hs_pb_out *o, uint32_t number, const hs_onnx_value *v)
{
    hs_pb_out shape = { 0 }, tensor = { 0 }, type = { 0 }, m = { 0 };
    for (int i = 0; i < v->n_dims; i++) {
        hs_pb_out dim = { 0 };
        if (v->dim[i].symbol)
            hs_pb_put_text(&dim, 2, v->dim[i].symbol);
        else
            hs_pb_put_varint(&dim, 1, (uint64_t)v->dim[i].n);
        hs_pb_put_message(&shape, 1, &dim);
        hs_pb_out_free(&dim);
    }
    hs_pb_put_varint(&tensor, 1, v->type);
    hs_pb_put_message(&tensor, 2, &shape);
    hs_pb_put_message(&type, 1, &tensor);
    hs_pb_put_text(&m, 1, v->name);
    hs_pb_put_message(&m, 2, &type);
    hs_pb_put_message(o, number, &m);
    hs_pb_out_free(&shape);
    hs_pb_out_free(&tensor);
    hs_pb_out_free(&type);
    hs_pb_out_free(&m);
}

static void put_outside(hs_pb_out *o, const char *key, const char *value)
{
    hs_pb_out m = { 0 };
    hs_pb_put_text(&m, 1, key);
    hs_pb_put_text(&m, 2, value);
    hs_pb_put_message(o, 13, &m);
    hs_pb_out_free(&m);
}

static bool goes_beside(const hs_onnx_tensor *t, const char *beside) { return beside && t->bytes >= LARGE; }

// An initializer without its bytes: its field of the graph's, and up to where they follow. *at: where it begins in the file beside.
static void put_init(hs_pb_out *o, const hs_onnx_tensor *t, const char *beside, uint64_t *at)
{
    hs_pb_out m = { 0 };
    hs_pb_put_packed(&m, 1, t->dim, t->n_dims);
    hs_pb_put_varint(&m, 2, t->type);
    hs_pb_put_text(&m, 8, t->name);
    if (goes_beside(t, beside)) {
        char number[24];
        put_outside(&m, "location", beside);
        snprintf(number, sizeof number, "%llu", (unsigned long long)*at);
        put_outside(&m, "offset", number);
        snprintf(number, sizeof number, "%zu", t->bytes);
        put_outside(&m, "length", number);
        hs_pb_put_varint(&m, 14, 1);
        *at = (*at + t->bytes + PAGE - 1) / PAGE * PAGE;
        hs_pb_put_message(o, 5, &m);
    } else {
        hs_pb_put_head(&m, 9, t->bytes);
        hs_pb_put_head(o, 5, m.n + t->bytes);
        hs_pb_put_raw(o, m.p, m.n);
        o->failed = o->failed || m.failed;
    }
    hs_pb_out_free(&m);
}

static void put_opsets(hs_pb_out *o, const hs_onnx *x)
{
    for (int i = 0; i < x->n_opsets; i++) {
        hs_pb_out m = { 0 };
        hs_pb_put_text(&m, 1, x->opset[i].domain);
        hs_pb_put_varint(&m, 2, (uint64_t)x->opset[i].version);
        hs_pb_put_message(o, 8, &m);
        hs_pb_out_free(&m);
    }
}

// ---- the files
typedef struct parts { // of a file, in order: model's head with the graph's, initializers, graph's tail, model's tail
    hs_pb_out head, nodes, init, tail, opsets;
} parts;

static void parts_free(parts *p)
{
    hs_pb_out *all[] = { &p->head, &p->nodes, &p->init, &p->tail, &p->opsets };
    for (int i = 0; i < HS_COUNT(all); i++)
        hs_pb_out_free(all[i]);
}

static hs_status put_data(hs_out *o, const hs_onnx_tensor *t)
{
    return t->source ? hs_st_source_write(o, t->source) : hs_out_write(o, t->data, t->bytes);
}

static uint64_t graph_bytes(const hs_onnx *x, const char *beside, parts *p)
{
    uint64_t n = p->nodes.n + p->tail.n, at = 0;
    for (int i = 0; i < x->n_inits; i++) {
        hs_pb_out m = { 0 };
        put_init(&m, &x->init[i], beside, &at);
        n += m.n + (goes_beside(&x->init[i], beside) ? 0 : x->init[i].bytes);
        p->init.failed = p->init.failed || m.failed;
        hs_pb_out_free(&m);
    }
    return n;
}

static hs_status make_parts(const hs_onnx *x, const char *path, const char *beside, parts *p)
{
    for (int i = 0; i < x->n_nodes; i++)
        put_node(&p->nodes, &x->node[i]);
    hs_pb_put_text(&p->nodes, 2, x->graph_name);
    for (int i = 0; i < x->n_ins; i++)
        put_value(&p->tail, 11, &x->in[i]);
    for (int i = 0; i < x->n_outs; i++)
        put_value(&p->tail, 12, &x->out[i]);
    put_opsets(&p->opsets, x);
    const uint64_t graph = graph_bytes(x, beside, p);
    hs_pb_put_varint(&p->head, 1, (uint64_t)x->ir_version);
    hs_pb_put_text(&p->head, 2, x->producer);
    hs_pb_put_text(&p->head, 3, x->producer_version);
    hs_pb_put_head(&p->head, 7, graph);
    if (x->failed || p->head.failed || p->nodes.failed || p->init.failed || p->tail.failed || p->opsets.failed)
        return HS_FAIL(MEMORY, "%s: no memory for the graph", path);
    if (graph > MOST)
        return HS_FAIL(USAGE, "%s: a file of ONNX has at most 2 GB, these are %.1f GB: weights must go into a file beside it", path,
                       (double)graph * 1e-9);
    return HS_OK;
}

static hs_status put_inits(hs_out *o, const hs_onnx *x, const char *beside)
{
    uint64_t at = 0;
    hs_status st = HS_OK;
    for (int i = 0; i < x->n_inits && st == HS_OK; i++) {
        hs_pb_out m = { 0 };
        put_init(&m, &x->init[i], beside, &at);
        st = m.failed ? HS_FAIL(MEMORY, "%s: no memory for a tensor's head", o->path) : hs_out_write(o, m.p, m.n);
        if (st == HS_OK && !goes_beside(&x->init[i], beside))
            st = put_data(o, &x->init[i]);
        hs_pb_out_free(&m);
    }
    return st;
}

static hs_status put_file(hs_out *o, const hs_onnx *x, const char *beside, const parts *p)
{
    HS_TRY(hs_out_write(o, p->head.p, p->head.n));
    HS_TRY(hs_out_write(o, p->nodes.p, p->nodes.n));
    HS_TRY(put_inits(o, x, beside));
    HS_TRY(hs_out_write(o, p->tail.p, p->tail.n));
    return hs_out_write(o, p->opsets.p, p->opsets.n);
}

static hs_status put_beside(hs_out *o, const hs_onnx *x, const char *beside)
{
    static const uint8_t zeros[PAGE];
    for (int i = 0; i < x->n_inits; i++) {
        if (!goes_beside(&x->init[i], beside))
            continue;
        if (o->bytes % PAGE)
            HS_TRY(hs_out_write(o, zeros, PAGE - o->bytes % PAGE));
        HS_TRY(put_data(o, &x->init[i]));
    }
    return HS_OK;
}

static hs_status end(hs_out *o, hs_status st)
{
    if (st == HS_OK)
        return hs_out_close(o, NULL);
    hs_out_abort(o);
    return hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status write_beside(const hs_io *io, const char *path, const hs_onnx *x, const char *beside)
{
    char other[HS_PATH];
    hs_out o;
    const char *slash = strrchr(path, '/');
    HS_TRY(hs_path_join(other, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, beside));
    HS_TRY(hs_out_open(&o, io, other));
    return end(&o, put_beside(&o, x, beside));
}

hs_status hs_onnx_write(const hs_io *io, const char *path, const hs_onnx *x, const char *beside)
{
    parts p = { 0 };
    hs_out o;
    hs_status st = make_parts(x, path, beside, &p);
    if (st == HS_OK && beside)
        st = write_beside(io, path, x, beside);
    if (st == HS_OK && (st = hs_out_open(&o, io, path)) == HS_OK)
        st = end(&o, put_file(&o, x, beside, &p));
    parts_free(&p);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
