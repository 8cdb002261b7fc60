// Attributes by their rows: rows that miss a byte of their struct are refused, and what is written as text is read back to the same
// bits, for every op and any value.
#include "core/base/rng.h"
#include "ops/attrs.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs some of the above
#include <cmocka.h>

typedef struct mixed {
    bool b;
    int32_t i, choice;
    float f;
    bool last;
    int64_t l;
} mixed;
static const hs_attr rows[] = {
    HS_ATTR(mixed, b), HS_ATTR(mixed, i),    HS_ATTR_WORDS(mixed, choice, "one|two|three"),
    HS_ATTR(mixed, f), HS_ATTR(mixed, last), HS_ATTR(mixed, l),
};
static const hs_op mixed_op = { .name = "mixed", .attr_bytes = sizeof(mixed), .attrs = rows, .n_attrs = HS_COUNT(rows) };

static void rows_cover_every_byte(void **s)
{
    (void)s;
    assert_null(hs_attrs_check(&mixed_op));
    for (int left_out = 0; left_out < mixed_op.n_attrs; left_out++) { // without any one of them
        hs_attr some[HS_COUNT(rows)];
        int n = 0;
        for (int i = 0; i < mixed_op.n_attrs; i++)
            if (i != left_out)
                some[n++] = rows[i];
        hs_op op = mixed_op;
        op.attrs = some, op.n_attrs = n;
        assert_non_null(hs_attrs_check(&op));
    }
    const hs_op none = { .name = "none" }, bytes = { .name = "bytes", .attr_bytes = 4 };
    assert_null(hs_attrs_check(&none));
    assert_non_null(hs_attrs_check(&bytes));
    hs_op more = mixed_op;
    more.attr_bytes += 8;
    assert_non_null(hs_attrs_check(&more));
    const hs_attr again[] = { { "x", HS_ATTR_I32, 0, NULL }, { "x", HS_ATTR_I32, 4, NULL } };
    assert_non_null(hs_attrs_check(&(hs_op){ .attr_bytes = 8, .attrs = again, .n_attrs = 2 }));
    const hs_attr words[] = { { "x", HS_ATTR_F32, 0, "a|b" } };
    assert_non_null(hs_attrs_check(&(hs_op){ .attr_bytes = 4, .attrs = words, .n_attrs = 1 }));
    for (int i = 0; i < HS_N_OPS; i++)
        assert_null(hs_attrs_check(hs_ops[i]));
}

static void there_and_back(const hs_op *op, const void *attr)
{
    char text[512], again[512];
    _Alignas(8) char copy[128] = { 0 };
    assert_true(op->attr_bytes <= sizeof copy);
    const size_t n = hs_attrs_text(op, attr, text, sizeof text);
    assert_true(n == strlen(text) && n < sizeof text);
    assert_int_equal(hs_attrs_parse(op, text, copy), HS_OK);
    hs_attrs_text(op, copy, again, sizeof again);
    assert_string_equal(text, again);
    for (int i = 0; i < op->n_attrs; i++) {
        const hs_attr *a = &op->attrs[i];
        if (a->type == HS_ATTR_F32)
            assert_memory_equal(copy + a->offset, (const char *)attr + a->offset, sizeof(float));
        else
            assert_true(hs_attr_int(a, copy) == hs_attr_int(a, attr));
    }
    char small[4];
    assert_int_equal(hs_attrs_text(op, attr, small, sizeof small), n); // as long as it would be
    assert_int_equal(strlen(small), n < sizeof small ? n : sizeof small - 1);
}

static void text_reads_back_to_the_same_bits(void **s)
{
    (void)s;
    for (int i = 0; i < HS_N_OPS; i++)
        for (int c = 0; c < hs_ops[i]->n_cases; c++)
            if (hs_ops[i]->cases[c].attr)
                there_and_back(hs_ops[i], hs_ops[i]->cases[c].attr);
    for (uint64_t k = 0; k < 2000; k++) {
        const uint64_t r = hs_mix2(7, k);
        mixed m = { .b = r & 1, .i = (int32_t)(r >> 3), .choice = (int32_t)(r % 3), .last = r & 2, .l = (int64_t)hs_mix2(r, 1) };
        m.f = hs_bits_f32((uint32_t)hs_mix2(r, 2));
        if (isfinite(m.f))
            there_and_back(&mixed_op, &m);
    }
    there_and_back(&mixed_op, &(mixed){ .i = INT32_MIN, .l = INT64_MIN, .f = 0x1p-149f });
    there_and_back(&mixed_op, &(mixed){ .i = INT32_MAX, .l = INT64_MAX, .f = -0.0f });

    char text[256];
    hs_attrs_text(hs_ops[HS_ID_attention], &(hs_attention_attr){ .heads = 12, .causal = true, .dropout = 0.1f }, text, sizeof text);
    assert_string_equal(text, "heads=12 causal=true dropout=0.1 scale=0 first_head=0 page_rows=0 longest=0 full=false library_masks=false any_order=false");
    hs_attrs_text(hs_ops[HS_ID_gelu], &(hs_gelu_attr){ HS_GELU_TANH }, text, sizeof text);
    assert_string_equal(text, "kind=tanh");
    for (int d = 0; d < HS_N_DTYPES; d++) {
        char want[32];
        snprintf(want, sizeof want, "dtype=%s", hs_dtype_name((hs_dtype)d));
        hs_attrs_text(hs_ops[HS_ID_cast], &(hs_cast_attr){ d }, text, sizeof text);
        assert_string_equal(text, want);
    }
    hs_attrs_text(hs_ops[HS_ID_add], NULL, text, sizeof text);
    assert_string_equal(text, "");
}

static void bad_text_is_refused(void **s)
{
    (void)s;
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "chioce=two", "nearest is choice" },
        { "choice=four", "one|two|three" },
        { "choice=1", "one|two|three" },
        { "i=2147483648", "i32" },
        { "i=1.5", "i32" },
        { "i=", "i32" },
        { "b=maybe", "true|false" },
        { "f=nan", "f32" },
        { "f=1e39", "f32" },
        { "f=1x", "f32" },
        { "l=99999999999999999999", "i64" },
        { "i", "attribute=value" },
        { "i=3 x=1", "no attribute x" },
        { "f=0.5,choice=", "one|two|three" },
    };
    for (int i = 0; i < HS_COUNT(bad); i++) {
        mixed m = { 0 };
        assert_int_equal(hs_attrs_parse(&mixed_op, bad[i].text, &m), HS_USAGE);
        assert_non_null(strstr(hs_error(), "mixed"));
        if (!strstr(hs_error(), bad[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].text, hs_error(), bad[i].says);
    }
    mixed m = { .i = 5, .l = 6 };
    assert_int_equal(hs_attrs_parse(&mixed_op, " choice=three,  b=true ", &m), HS_OK);
    assert_true(m.choice == 2 && m.b && m.i == 5 && m.l == 6); // what is not named stays
    assert_int_equal(hs_attrs_parse(&mixed_op, "", &m), HS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_cover_every_byte),
        cmocka_unit_test(text_reads_back_to_the_same_bits),
        cmocka_unit_test(bad_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
