// Parameters: the slab's layout, chunks that cover every element once and cross no logical tensor, values that follow from
// seed and name alone, and shards of 2 and 4 ranks that put together are the tensor of one.
#include "core/base/rng.h"
#include "core/graph/names.h"
#include "core/graph/params.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const hs_param_spec specs[] = {
    { .name = "wte.weight",
      .role = HS_EMBED,
      .shard = HS_SHARD_COL,
      .init = HS_INIT_NORMAL,
      .std = 0.02f,
      .pad_rows = 16,
      .n_dims = 2,
      .dim = { 101, 72 } },
    { .name = "h0.ln_1.weight", .role = HS_NORM, .init = HS_INIT_ONE, .n_dims = 1, .dim = { 72 } },
    { .name = "h0.attn.qkv.weight",
      .shard = HS_SHARD_COL,
      .init = HS_INIT_NORMAL,
      .std = 0.02f,
      .parts = 3,
      .n_dims = 2,
      .dim = { 3 * 80, 72 } },
    { .name = "h0.attn.qkv.bias", .role = HS_BIAS, .shard = HS_SHARD_COL, .init = HS_INIT_ONE, .parts = 3, .n_dims = 1, .dim = { 3 * 80 } },
    { .name = "h0.attn.proj.weight", .shard = HS_SHARD_ROW, .init = HS_INIT_NORMAL, .std = 0.01f, .n_dims = 2, .dim = { 72, 80 } },
    { .name = "h0.attn.proj.bias", .role = HS_BIAS, .init = HS_INIT_ZERO, .n_dims = 1, .dim = { 72 } },
};
enum { N_SPECS = HS_COUNT(specs) };

static hs_params *make(uint64_t seed, int rank, int size, bool reversed)
{
    hs_params *ps;
    hs_param *p;
    assert_int_equal(hs_params_new(&ps, seed, rank, size), HS_OK);
    for (int i = 0; i < N_SPECS; i++)
        assert_int_equal(hs_params_get(ps, &specs[reversed ? N_SPECS - 1 - i : i], &p), HS_OK);
    assert_int_equal(hs_params_freeze(ps, HS_WITH_GRAD | HS_WITH_MOMENTS, HS_BF16), HS_OK);
    return ps;
}

static int64_t logical_count(const hs_param *p) { return p->logical[0] * (p->n_dims > 1 ? p->logical[1] : 1); }

static void test_layout(void **state)
{
    (void)state;
    hs_params *ps = make(1, 0, 1, false);
    size_t end = 0, count = 0;
    for (int i = 0; i < N_SPECS; i++) {
        const hs_param *p = ps->param[i];
        assert_ptr_equal(hs_params_find(ps, specs[i].name), p);
        assert_int_equal(p->id, i);
        assert_int_equal(p->offset % 64, 0);
        assert_true(p->offset >= end);
        end = p->offset + p->n;
        count += (size_t)logical_count(p);
    }
    assert_int_equal(ps->param[0]->dim[0], 112); // 101 rows stored as 7 times 16
    assert_true(ps->n >= end && ps->n - end < 64);
    assert_int_equal(hs_params_count(ps), count);
    assert_int_equal((uintptr_t)ps->master % 64 | (uintptr_t)ps->low % 64 | (uintptr_t)ps->v % 64, 0);
    for (size_t i = 0; i < ps->n; i++) {
        assert_true(ps->grad[i] == 0 && ps->m[i] == 0 && ps->v[i] == 0);
        assert_int_equal(ps->low[i], hs_f32_bf16(ps->master[i]));
    }
    const hs_params_bytes b = hs_params_bytes_of(ps, HS_WITH_GRAD | HS_WITH_MOMENTS, HS_BF16);
    assert_true(b.master == 4 * ps->n && b.low == 2 * ps->n && b.grad == 4 * ps->n && b.moments == 8 * ps->n);
    assert_int_equal(hs_params_bytes_of(ps, 0, HS_F32).low, 0);
    hs_params_free(ps);
}

static void check_chunks(const hs_params *ps)
{
    unsigned char *seen = calloc(ps->n, 1);
    assert_non_null(seen);
    int logical = 0;
    for (int i = 0; i < ps->n_chunks; i++) {
        const hs_chunk *c = &ps->chunk[i];
        const hs_param *p = ps->param[c->param];
        const size_t part = p->n / (size_t)p->parts, first = c->offset - p->offset, last = first + (size_t)c->n - 1;
        assert_true(c->n >= 1 && c->n <= HS_CHUNK);
        assert_int_equal(first / part, last / part); // inside one part
        logical += i > 0 && (c->param != c[-1].param || first / part != (c[-1].offset - p->offset) / part);
        assert_int_equal(c->logical, logical);
        assert_int_equal(c->counted, p->shard != HS_SHARD_NONE || ps->tp_rank == 0);
        for (int k = 0; k < c->n; k++)
            assert_int_equal(seen[c->offset + (size_t)k]++, 0);
    }
    assert_int_equal(ps->n_logical, logical + 1);
    for (int i = 0; i < ps->n_params; i++) // padding rows too: nothing is left without its update
        for (size_t k = 0; k < ps->param[i]->n; k++)
            assert_int_equal(seen[ps->param[i]->offset + k], 1);
    free(seen);
}

static void test_chunks(void **state)
{
    (void)state;
    for (int size = 1; size <= 4; size *= 2)
        for (int rank = 0; rank < size; rank++) {
            hs_params *ps = make(1, rank, size, false);
            check_chunks(ps);
            hs_params_free(ps);
        }
}

static void test_values(void **state)
{
    (void)state;
    hs_params *a = make(1, 0, 1, false), *b = make(1, 0, 1, true), *c = make(2, 0, 1, false);
    for (int i = 0; i < N_SPECS; i++) {
        const hs_param *p = a->param[i], *q = hs_params_find(b, p->name);
        assert_memory_equal(a->master + p->offset, b->master + q->offset, p->n * sizeof(float)); // the order changes nothing
        const bool differs = memcmp(a->master + p->offset, c->master + p->offset, p->n * sizeof(float)) != 0;
        assert_int_equal(differs, p->init == HS_INIT_NORMAL); // the seed does
        float *logical = calloc((size_t)logical_count(p), sizeof *logical), *want = calloc((size_t)logical_count(p), sizeof *want);
        hs_param_export(p, a->master, logical);
        if (p->init == HS_INIT_NORMAL)
            hs_random_normal(want, logical_count(p), hs_mix2(1, hs_hash_string(p->name)), 0, 0, p->std);
        else
            for (int64_t k = 0; k < logical_count(p); k++)
                want[k] = p->init == HS_INIT_ONE;
        assert_memory_equal(logical, want, (size_t)logical_count(p) * sizeof(float));
        free(logical);
        free(want);
    }
    const hs_param *wte = a->param[0];
    for (size_t k = 101 * 72; k < wte->n; k++)
        assert_true(a->master[wte->offset + k] == 0);
    hs_params_free(a);
    hs_params_free(b);
    hs_params_free(c);
}

// Element by element, from what the header says, not from how the code slices.
static void test_shards(void **state)
{
    (void)state;
    hs_params *one = make(5, 0, 1, false);
    for (int size = 2; size <= 4; size *= 2)
        for (int rank = 0; rank < size; rank++) {
            hs_params *ps = make(5, rank, size, false);
            for (int i = 0; i < N_SPECS; i++) {
                const hs_param *p = ps->param[i], *whole = one->param[i];
                const int64_t rows = p->dim[0] / p->parts, cols = p->n_dims > 1 ? p->dim[1] : 1;
                const int64_t all_rows = p->logical[0] / p->parts, all_cols = p->n_dims > 1 ? p->logical[1] : 1;
                const int64_t whole_rows = whole->dim[0] / p->parts;
                if (p->shard == HS_SHARD_ROW)
                    assert_int_equal(cols * size, all_cols);
                if (p->shard == HS_SHARD_COL)
                    assert_true(rows * size >= all_rows && rows * size < all_rows + 16 * size);
                for (int64_t part = 0; part < p->parts; part++)
                    for (int64_t r = 0; r < rows; r++)
                        for (int64_t c = 0; c < cols; c++) {
                            const int64_t row = p->shard == HS_SHARD_COL ? rank * rows + r : r,
                                          col = p->shard == HS_SHARD_ROW ? rank * cols + c : c;
                            const float want =
                                row < all_rows ? one->master[whole->offset + (size_t)((part * whole_rows + row) * all_cols + col)] : 0;
                            assert_true(ps->master[p->offset + (size_t)((part * rows + r) * cols + c)] == want);
                        }
            }
            assert_int_equal(hs_params_count(ps), hs_params_count(one));
            hs_params_free(ps);
        }
    hs_params_free(one);
}

static void test_import_export(void **state)
{
    (void)state;
    hs_params *ps = make(1, 0, 1, false);
    for (int i = 0; i < N_SPECS; i++) {
        const hs_param *p = ps->param[i];
        const int64_t n = logical_count(p);
        float *in = malloc((size_t)n * sizeof *in), *out = malloc((size_t)n * sizeof *out);
        for (int64_t k = 0; k < n; k++)
            in[k] = (float)k + 1;
        for (size_t k = 0; k < p->n; k++)
            ps->m[p->offset + k] = -7; // padding must be cleared
        hs_param_import(p, ps->m, in);
        hs_param_export(p, ps->m, out);
        assert_memory_equal(in, out, (size_t)n * sizeof(float));
        size_t nonzero = 0;
        for (size_t k = 0; k < p->n; k++)
            nonzero += ps->m[p->offset + k] != 0;
        assert_int_equal(nonzero, n);
        free(in);
        free(out);
    }
    hs_params_free(ps);
}

static void test_refusals(void **state)
{
    (void)state;
    hs_params *ps = make(1, 0, 1, false), *two;
    hs_param *p;
    hs_param_spec s = specs[2];
    assert_int_equal(hs_params_get(ps, &s, &p), HS_OK); // again, the same: agreed
    assert_ptr_equal(p, ps->param[2]);
    s.dim[1] = 64;
    assert_int_equal(hs_params_get(ps, &s, &p), HS_USAGE);
    assert_non_null(strstr(hs_error(), "h0.attn.qkv.weight was made as [240,72] and is now asked for as [240,64]"));
    assert_null(p);
    s.name = "h1.attn.qkv.weight";
    assert_int_equal(hs_params_get(ps, &s, &p), HS_USAGE); // frozen
    assert_non_null(strstr(hs_error(), "h1.attn.qkv.weight is new"));
    assert_int_equal(hs_params_freeze(ps, 0, HS_F32), HS_INTERNAL);

    assert_int_equal(hs_params_new(&two, 1, 0, 3), HS_OK);
    assert_int_equal(hs_params_get(two, &specs[2], &p), HS_USAGE); // 80 rows over 3 ranks
    assert_int_equal(hs_params_get(two, &specs[4], &p), HS_USAGE); // 80 columns over 3 ranks
    assert_int_equal(hs_params_get(two, &specs[0], &p), HS_OK);    // padding makes 101 rows divide
    assert_int_equal(p->dim[0], 48);
    s = (hs_param_spec){ .name = "x", .parts = 2, .n_dims = 1, .dim = { 7 } };
    assert_int_equal(hs_params_get(two, &s, &p), HS_USAGE);
    s.dim[0] = 0;
    assert_int_equal(hs_params_get(two, &s, &p), HS_USAGE);
    assert_int_equal(two->n_params, 1);
    hs_params_free(two);
    hs_params_free(ps);
    hs_params_free(NULL);
    assert_int_equal(hs_params_new(&two, 1, 3, 3), HS_INTERNAL);
}

static void test_names(void **state)
{
    (void)state;
    static const hs_name_rule rules[] = {
        { "wte.weight", "transformer.wte.weight", false, 0 },
        { "h%d.attn.qkv.weight", "transformer.h.%d.attn.c_attn.weight", true, 0 },
    };
    const hs_name_rule *rule = NULL;
    char buf[128];
    assert_string_equal(hs_name_to_theirs(rules, 2, "h11.attn.qkv.weight", buf, sizeof buf, &rule), "transformer.h.11.attn.c_attn.weight");
    assert_ptr_equal(rule, &rules[1]);
    assert_string_equal(hs_name_to_theirs(rules, 2, "wte.weight", buf, sizeof buf, &rule), "transformer.wte.weight");
    static const char *const none[] = {
        "h.attn.qkv.weight", "hx.attn.qkv.weight", "h1.attn.qkv.bias", "h1.attn.qkv.weight2", "wte.weigh", "h-1.attn.qkv.weight", ""
    };
    strcpy(buf, "untouched");
    for (int i = 0; i < HS_COUNT(none); i++)
        assert_null(hs_name_to_theirs(rules, 2, none[i], buf, sizeof buf, &rule));
    assert_string_equal(buf, "untouched");
}

static void test_name_pieces(void **state)
{
    (void)state;
    static const hs_name_rule rules[] = {
        { "l%d.qkv.weight", "layer.%d.query.weight", false, 1 }, { "l%d.qkv.weight", "layer.%d.key.weight", false, 2 },
        { "l%d.qkv.weight", "layer.%d.value.weight", true, 3 },  { "l%d.out.weight", "layer.%d.dense.weight", true, 0 },
        { "l%d.kv.weight", "layer.%d.keys.weight", false, 1 },   { "l%d.kv.weight", "layer.%d.again.weight", false, 1 },
    };
    const int n_rules = HS_COUNT(rules);
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    assert_int_equal(hs_name_pieces(rules, n_rules, "l7.qkv.weight", 3, piece, &n), HS_OK);
    assert_int_equal(n, 3);
    assert_string_equal(piece[0].name, "layer.7.query.weight");
    assert_string_equal(piece[2].name, "layer.7.value.weight");
    assert_true(piece[0].part == 1 && piece[1].part == 2 && piece[2].part == 3 && !piece[1].transposed && piece[2].transposed);
    assert_int_equal(hs_name_pieces(rules, n_rules, "l7.out.weight", 1, piece, &n), HS_OK);
    assert_true(n == 1 && piece[0].part == 0 && piece[0].transposed);
    assert_int_equal(hs_name_pieces(rules, n_rules, "mine", 1, piece, &n), HS_OK); // a parameter of the user's own keeps its name
    assert_true(n == 1 && strcmp(piece[0].name, "mine") == 0 && piece[0].part == 0);
    assert_int_equal(hs_name_pieces(NULL, 0, "mine", 3, piece, &n), HS_OK);
    assert_int_equal(hs_name_pieces(rules, n_rules, "l7.qkv.weight", 4, piece, &n), HS_INTERNAL); // one part has no name
    assert_int_equal(hs_name_pieces(rules, n_rules, "l7.qkv.weight", 2, piece, &n), HS_INTERNAL); // there is no part 3
    assert_int_equal(hs_name_pieces(rules, n_rules, "l7.kv.weight", 2, piece, &n), HS_INTERNAL);  // one part twice, one never
    char longer[HS_NAME_BYTES + 1];
    memset(longer, 'x', sizeof longer);
    longer[HS_NAME_BYTES] = 0;
    assert_int_equal(hs_name_pieces(NULL, 0, longer, 1, piece, &n), HS_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_layout),        cmocka_unit_test(test_chunks),
                                        cmocka_unit_test(test_values),        cmocka_unit_test(test_shards),
                                        cmocka_unit_test(test_import_export), cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_names),         cmocka_unit_test(test_name_pieces) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
