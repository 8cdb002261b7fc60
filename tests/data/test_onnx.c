// ONNX files: written and read back, in one file and with weights beside it; the ways other tools write the same; every damage is told, and
// no byte of a file makes the reader look where it must not (test_fuzz has more of that).
#include "tests/support/support_files.h"

#include "data/formats/onnx.h"
#include "data/formats/protobuf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- the wire format
static void varints(void **state)
{
    (void)state;
    const uint64_t numbers[] = { 0, 1, 127, 128, 300, UINT32_MAX, (uint64_t)-1, 1ull << 63 };
    hs_pb_out o = { 0 };
    for (int i = 0; i < HS_COUNT(numbers); i++)
        hs_pb_put_varint(&o, (uint32_t)i + 1, numbers[i]);
    hs_pb_put_f32(&o, 99, -1.5f);
    hs_pb_put_text(&o, 1000, "text");
    hs_pb_put_packed(&o, 7, (const int64_t[]){ 3, -1 }, 2);
    hs_pb m = hs_pb_of("memory", o.p, o.n);
    hs_pb_field f;
    bool more;
    uint64_t v;
    for (int i = 0; i < HS_COUNT(numbers); i++) {
        OK(hs_pb_next(&m, &f, &more));
        assert_true(more && f.number == (uint32_t)i + 1 && f.kind == HS_PB_VARINT && f.value == numbers[i]);
    }
    OK(hs_pb_next(&m, &f, &more));
    assert_true(f.number == 99 && f.kind == HS_PB_FIXED32 && f.value == 0xBFC00000u);
    OK(hs_pb_next(&m, &f, &more));
    assert_true(f.number == 1000 && f.kind == HS_PB_BYTES && hs_pb_left(&f.message) == 4 && memcmp(f.message.at, "text", 4) == 0);
    OK(hs_pb_next(&m, &f, &more));
    OK(hs_pb_varint(&f.message, &v));
    assert_true(v == 3);
    OK(hs_pb_varint(&f.message, &v));
    assert_true(v == (uint64_t)-1 && hs_pb_left(&f.message) == 0);
    OK(hs_pb_next(&m, &f, &more));
    assert_false(more);
    hs_pb_out_free(&o);
}

static void bad_wire(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *part;
    } cases[] = {
        { "\x08", 1, "ends in the middle" },
        { "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "more than 64 bits" },
        { "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "more than 64 bits" },
        { "\x0a\x05"
          "abc",
          5, "a field of 5 bytes, 3 are left: truncated" },
        { "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "truncated" },
        { "\x0d\x01\x02", 3, "ends in the middle" },
        { "\x09\x01\x02", 3, "ends in the middle" },
        { "\x0b", 1, "not in use" },
        { "\x02\x01", 2, "no field has that number" },
    };
    for (int i = 0; i < HS_COUNT(cases); i++) {
        hs_pb m = hs_pb_of("memory", cases[i].bytes, cases[i].n);
        hs_pb_field f;
        bool more;
        FAILS(CORRUPT, cases[i].part, hs_pb_next(&m, &f, &more));
    }
}

// ---- a model of every part
static const float weights[12] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
static float large[600];
static const int64_t axes[2] = { 0, -1 };

static hs_onnx *small_model(void)
{
    hs_onnx *m;
    OK(hs_onnx_new(&m));
    m->ir_version = 8;
    m->producer = "test", m->producer_version = "1", m->graph_name = "g";
    hs_onnx_add_opset(m, "", 17);
    hs_onnx_add_opset(m, "com.microsoft", 1);
    for (int i = 0; i < HS_COUNT(large); i++)
        large[i] = (float)i / 7;
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = "w", .type = HS_ONNX_F32, .n_dims = 2, .dim = { 3, 4 }, .data = weights });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = "axes", .type = HS_ONNX_I64, .n_dims = 1, .dim = { 2 }, .data = axes });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = "one", .type = HS_ONNX_F32, .data = weights });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = "none", .type = HS_ONNX_F32, .n_dims = 1, .dim = { 0 }, .data = weights });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = "large", .type = HS_ONNX_F32, .n_dims = 2, .dim = { 20, 30 }, .data = large });
    const char *in[] = { "x", "w", NULL }, *out[] = { "y" };
    hs_onnx_node *n = hs_onnx_add_node(m, "MatMul", "product", in, 3, out, 1);
    hs_onnx_set_int(m, n, "axis", -1);
    hs_onnx_set_f32(m, n, "epsilon", 1e-5f);
    hs_onnx_set_ints(m, n, "perm", (const int64_t[]){ 1, 0, -3 }, 3);
    hs_onnx_value v = { .name = "x", .type = HS_ONNX_F32, .n_dims = 2, .dim = { { 0, "batch_size" }, { 3, NULL } } };
    hs_onnx_add_input(m, &v);
    v.name = "y", v.dim[1].n = 4;
    hs_onnx_add_output(m, &v);
    return m;
}

static void same_model(const hs_onnx *m)
{
    assert_true(m->ir_version == 8 && strcmp(m->producer, "test") == 0 && strcmp(m->graph_name, "g") == 0);
    assert_true(m->n_opsets == 2 && m->opset[0].version == 17 && strcmp(m->opset[1].domain, "com.microsoft") == 0);
    assert_true(m->n_nodes == 1 && m->n_inits == 5 && m->n_ins == 1 && m->n_outs == 1);
    const hs_onnx_node *n = &m->node[0];
    assert_true(strcmp(n->op, "MatMul") == 0 && strcmp(n->name, "product") == 0 && n->n_in == 3 && !*n->in[2] && n->n_out == 1);
    assert_true(hs_onnx_int(n, "axis", 7) == -1 && hs_onnx_int(n, "other", 7) == 7 && hs_onnx_attr_of(n, "epsilon")->f == 1e-5f);
    const hs_onnx_attr *perm = hs_onnx_attr_of(n, "perm");
    assert_true(perm->kind == HS_ONNX_INTS && perm->n == 3 && perm->ints[0] == 1 && perm->ints[2] == -3);
    assert_true(m->init[0].bytes == 48 && memcmp(m->init[0].data, weights, 48) == 0 && m->init[0].dim[1] == 4);
    assert_true(memcmp(m->init[1].data, axes, 16) == 0 && m->init[2].n_dims == 0 && hs_onnx_count(&m->init[2]) == 1 &&
                m->init[3].bytes == 0);
    assert_true(memcmp(m->init[4].data, large, sizeof large) == 0);
    assert_true(strcmp(m->in[0].dim[0].symbol, "batch_size") == 0 && !m->in[0].dim[1].symbol && m->in[0].dim[1].n == 3 &&
                m->out[0].type == HS_ONNX_F32);
}

static void round_trip(void **state)
{
    (void)state;
    hs_onnx *m = small_model(), *back;
    assert_int_equal(hs_onnx_bytes(m), 48 + 16 + 4 + sizeof large);
    OK(hs_onnx_write(&hs_io_system, scratch_path("one.onnx"), m, NULL));
    OK(hs_onnx_write(&hs_io_system, scratch_path("two.onnx"), m, "two.onnx_data"));
    FAILS(SYSTEM, "File exists", hs_onnx_write(&hs_io_system, scratch_path("one.onnx"), m, NULL));
    OK(hs_onnx_open(&back, scratch_path("one.onnx")));
    same_model(back);
    assert_int_equal(back->n_beside, 0);
    hs_onnx_close(back);
    OK(hs_onnx_open(&back, scratch_path("two.onnx")));
    same_model(back);
    assert_int_equal(back->n_beside, 1);
    hs_onnx_close(back);

    size_t bytes;
    char *data = scratch_read("two.onnx_data", &bytes);
    assert_int_equal(bytes, sizeof large); // what is small stays
    scratch_write("two.onnx_data", data, bytes - 1);
    FAILS(CORRUPT, "tensor \"large\" ends at byte 2400 of two.onnx_data, which has 2399: truncated",
          hs_onnx_open(&back, scratch_path("two.onnx")));
    free(data);
    remove(scratch_path("two.onnx_data"));
    FAILS(USAGE, "two.onnx_data", hs_onnx_open(&back, scratch_path("two.onnx")));
    hs_onnx_close(m);
}

// What no file of protobuf can hold is told before anything is written.
static void too_large(void **state)
{
    (void)state;
    hs_onnx *m = small_model();
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = "vast", .type = HS_ONNX_F32, .n_dims = 2, .dim = { 30000, 20000 }, .data = weights });
    FAILS(USAGE, "at most 2 GB, these are 2.4 GB: weights must go into a file beside it",
          hs_onnx_write(&hs_io_system, scratch_path("vast.onnx"), m, NULL));
    assert_int_equal(access(scratch_path("vast.onnx"), F_OK), -1);
    hs_onnx_close(m);
}

// ---- files as others write them
static void put_model(const char *name, const hs_pb_out *graph)
{
    hs_pb_out o = { 0 }, opset = { 0 };
    hs_pb_put_varint(&o, 1, 8);
    hs_pb_put_varint(&opset, 2, 17);
    hs_pb_put_message(&o, 8, &opset);
    hs_pb_put_message(&o, 7, graph);
    scratch_write(name, o.p, o.n);
    hs_pb_out_free(&opset);
    hs_pb_out_free(&o);
}

typedef struct foreign { // one initializer: its message is made by `make`
    void (*make)(hs_pb_out *t);
    hs_status want;
    const char *part;
    hs_onnx_type type;
    const char *bytes;
    size_t n;
} foreign;

static void head(hs_pb_out *t, hs_onnx_type type, int64_t dim)
{
    hs_pb_put_text(t, 8, "t");
    hs_pb_put_varint(t, 2, type);
    hs_pb_put_varint(t, 1, (uint64_t)dim);
}
static void floats_apart(hs_pb_out *t)
{
    head(t, HS_ONNX_F32, 2);
    hs_pb_put_f32(t, 4, 1);
    hs_pb_put_f32(t, 4, 2);
}
static void floats_packed(hs_pb_out *t)
{
    head(t, HS_ONNX_F32, 2);
    hs_pb_put_bytes(t, 4, (const float[]){ 1, 2 }, 8);
}
static void halves(hs_pb_out *t)
{
    head(t, HS_ONNX_F16, 2);
    hs_pb_put_packed(t, 5, (const int64_t[]){ 0x3C00, 0xC000 }, 2);
}
static void bytes_of(hs_pb_out *t)
{
    head(t, HS_ONNX_I8, 3);
    hs_pb_put_packed(t, 5, (const int64_t[]){ 1, -1, -128 }, 3);
}
static void nibbles(hs_pb_out *t) // two in the low byte of each int32, as onnx.helper puts them
{
    head(t, HS_ONNX_U4, 3);
    hs_pb_put_packed(t, 5, (const int64_t[]){ 0xf1, 0x07 }, 2);
}
static void nibbles_each(hs_pb_out *t)
{
    head(t, HS_ONNX_U4, 3);
    hs_pb_put_packed(t, 5, (const int64_t[]){ 1, 15, 7 }, 3);
}
static void few(hs_pb_out *t)
{
    head(t, HS_ONNX_F32, 3);
    hs_pb_put_bytes(t, 4, (const float[]){ 1, 2 }, 8);
}
static void raw_short(hs_pb_out *t)
{
    head(t, HS_ONNX_F32, 3);
    hs_pb_put_bytes(t, 9, weights, 8);
}
static void torn(hs_pb_out *t)
{
    head(t, HS_ONNX_F32, 2);
    hs_pb_put_bytes(t, 4, weights, 7);
}
static void texts(hs_pb_out *t)
{
    head(t, (hs_onnx_type)8, 1);
    hs_pb_put_text(t, 6, "a");
}
static void vast(hs_pb_out *t)
{
    head(t, HS_ONNX_F32, INT64_MAX);
    hs_pb_put_varint(t, 1, 8);
    hs_pb_put_bytes(t, 9, weights, 8);
}
static void negative(hs_pb_out *t) { head(t, HS_ONNX_F32, -1); }
static void many_dims(hs_pb_out *t)
{
    for (int i = 0; i < 9; i++)
        head(t, HS_ONNX_F32, 1);
}
static void elsewhere(hs_pb_out *t, const char *file)
{
    hs_pb_out e = { 0 };
    head(t, HS_ONNX_F32, 2);
    hs_pb_put_text(&e, 1, "location");
    hs_pb_put_text(&e, 2, file);
    hs_pb_put_message(t, 13, &e);
    hs_pb_put_varint(t, 14, 1);
    hs_pb_out_free(&e);
}
static void outside(hs_pb_out *t) { elsewhere(t, "../secret"); }
static void upwards(hs_pb_out *t) { elsewhere(t, ".."); }
static void nowhere(hs_pb_out *t)
{
    head(t, HS_ONNX_F32, 2);
    hs_pb_put_varint(t, 14, 1);
}
static void wrong_kind(hs_pb_out *t) { hs_pb_put_varint(t, 8, 3); }

static const foreign others[] = {
    { floats_apart, HS_OK, NULL, HS_ONNX_F32, "\0\0\x80\x3f\0\0\0\x40", 8 },
    { floats_packed, HS_OK, NULL, HS_ONNX_F32, "\0\0\x80\x3f\0\0\0\x40", 8 },
    { halves, HS_OK, NULL, HS_ONNX_F16, "\0\x3c\0\xc0", 4 },
    { bytes_of, HS_OK, NULL, HS_ONNX_I8, "\x01\xff\x80", 3 },
    { nibbles, HS_OK, NULL, HS_ONNX_U4, "\xf1\x07", 2 },
    { nibbles_each, HS_CORRUPT, "holds 3 numbers, its shape 3 in pairs", 0, NULL, 0 },
    { few, HS_CORRUPT, "holds 2 numbers, its shape 3", 0, NULL, 0 },
    { raw_short, HS_CORRUPT, "has 8 bytes, its shape 12", 0, NULL, 0 },
    { torn, HS_CORRUPT, "ends in the middle of one", 0, NULL, 0 },
    { texts, HS_UNSUPPORTED, "tensor \"t\" is of type 8", 0, NULL, 0 },
    { vast, HS_CORRUPT, "more elements than can be counted", 0, NULL, 0 },
    { negative, HS_CORRUPT, "dimension 0 is below 0", 0, NULL, 0 },
    { many_dims, HS_UNSUPPORTED, "more than 8 dimensions", 0, NULL, 0 },
    { outside, HS_UNSUPPORTED, "external data in \"../secret\": only files of the same folder", 0, NULL, 0 },
    { upwards, HS_UNSUPPORTED, "external data in \"..\"", 0, NULL, 0 },
    { nowhere, HS_CORRUPT, "lies elsewhere, and nothing says where", 0, NULL, 0 },
    { wrong_kind, HS_CORRUPT, "field 8 of a tensor is of kind 0, not 2", 0, NULL, 0 },
};

static void other_writers(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(others); i++) {
        hs_pb_out t = { 0 }, graph = { 0 };
        hs_onnx *m;
        others[i].make(&t);
        hs_pb_put_message(&graph, 5, &t);
        put_model("other.onnx", &graph);
        hs_pb_out_free(&t);
        hs_pb_out_free(&graph);
        if (others[i].want != HS_OK) {
            expect_error(hs_onnx_open(&m, scratch_path("other.onnx")), others[i].want, others[i].part, __FILE__, __LINE__);
            continue;
        }
        OK(hs_onnx_open(&m, scratch_path("other.onnx")));
        assert_true(m->n_inits == 1 && m->init[0].type == others[i].type && m->init[0].bytes == others[i].n);
        assert_memory_equal(m->init[0].data, others[i].bytes, others[i].n);
        hs_onnx_close(m);
    }
}

// Cut anywhere, and every byte another one: read as something, or refused with one line; nothing else.
static void damage(void **state)
{
    (void)state;
    hs_onnx *m = small_model(), *back;
    size_t bytes;
    OK(hs_onnx_write(&hs_io_system, scratch_path("whole.onnx"), m, "whole.onnx_data"));
    hs_onnx_close(m);
    char *data = scratch_read("whole.onnx", &bytes);
    int refused = 0;
    for (size_t n = 1; n < bytes; n++) {
        scratch_write("cut.onnx", data, n);
        if (hs_onnx_open(&back, scratch_path("cut.onnx")) == HS_OK)
            hs_onnx_close(back);
        else
            refused++;
    }
    assert_true(refused > (int)bytes / 2);
    for (size_t at = 0; at < bytes; at++)
        for (int bit = 0; bit < 8; bit++) {
            data[at] = (char)(data[at] ^ 1 << bit);
            scratch_write("bit.onnx", data, bytes);
            if (hs_onnx_open(&back, scratch_path("bit.onnx")) == HS_OK)
                hs_onnx_close(back);
            else
                assert_true(strlen(hs_error()) > 0 && !strchr(hs_error(), '\n'));
            data[at] = (char)(data[at] ^ 1 << bit);
        }
    free(data);
    scratch_write("text.onnx", "hello, I am no model\n", 21);
    FAILS(CORRUPT, "text.onnx", hs_onnx_open(&back, scratch_path("text.onnx")));
    scratch_write("little.onnx", "\x08\x07", 2);
    FAILS(CORRUPT, "is no ONNX model: it has no graph", hs_onnx_open(&back, scratch_path("little.onnx")));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(varints),   cmocka_unit_test(bad_wire),      cmocka_unit_test(round_trip),
                                        cmocka_unit_test(too_large), cmocka_unit_test(other_writers), cmocka_unit_test(damage) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
