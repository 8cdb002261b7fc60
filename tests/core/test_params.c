// Parameters: who lies where in each slab, chunks that cover every trained element once and cross no logical tensor, values that follow
// from seed and name alone, shards of 2 and 4 ranks that put together are the tensor of one, and freezing by name.
#include "core/base/rng.h"
#include "core/graph/names.h"
#include "core/graph/params.h"
#include "tests/support/support_params.h"
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

static const hs_slab_spec moment = { .name = "test.m", .dtype = HS_F32, .trainable_only = true, .saved = true };

static hs_params *make(uint64_t seed, int rank, int size, bool reversed)
{
    hs_params *ps;
    hs_param *p;
    assert_int_equal(hs_params_new(&ps, seed, rank, size), HS_OK);
    for (int i = 0; i < N_SPECS; i++)
        assert_int_equal(hs_params_get(ps, &specs[reversed ? N_SPECS - 1 - i : i], &p), HS_OK);
    assert_int_equal(hs_params_declare(ps, &moment), HS_OK);
    assert_int_equal(hs_params_declare_grad(ps), HS_OK);
    assert_int_equal(hs_params_declare_low(ps, HS_BF16), HS_OK);
    assert_int_equal(hs_params_alloc(ps, NULL, true), HS_OK);
    return ps;
}

static int64_t logical_count(const hs_param *p) { return p->logical[0] * (p->n_dims > 1 ? p->logical[1] : 1); }

static void test_layout(void **state)
{
    (void)state;
    hs_params *ps = make(1, 0, 1, false);
    static const char *const names[] = { "master", "low", "grad", "test.m" };
    static const size_t element[] = { 4, 2, 4, 4 };
    size_t count = 0, stored = 0, all = 0;
    for (int i = 0; i < N_SPECS; i++) {
        const hs_param *p = ps->param[i];
        assert_ptr_equal(hs_params_find(ps, specs[i].name), p);
        assert_int_equal(p->id, i);
        count += (size_t)logical_count(p), stored += p->n;
    }
    assert_int_equal(ps->param[0]->dim[0], 112); // 101 rows stored as 7 times 16
    assert_int_equal(hs_params_count(ps), count);
    assert_int_equal(ps->n_slabs, 4);
    for (int k = 0; k < 4; k++) {
        const hs_slab *s = hs_params_slab(ps, names[k]);
        size_t end = 0;
        assert_int_equal((uintptr_t)s->p % 64, 0);
        for (int i = 0; i < N_SPECS; i++) {
            const hs_place at = s->place[i];
            assert_int_equal(at.offset % 64, 0);
            assert_true(at.offset >= end);
            assert_int_equal(at.bytes, ps->param[i]->n * element[k]);
            assert_ptr_equal(hs_slab_at(s, ps->param[i]), s->p + at.offset);
            end = at.offset + at.bytes;
        }
        assert_true(s->bytes >= end && s->bytes - end < 64 * element[k]);
        all += s->bytes;
    }
    float *master = flat_copy(ps, "master"), *low = flat_copy(ps, "low"), *grad = flat_copy(ps, "grad"), *m = flat_copy(ps, "test.m");
    for (size_t i = 0; i < stored; i++) {
        assert_true(grad[i] == 0 && m[i] == 0);
        assert_true(low[i] == hs_bf16_f32(hs_value_bf16(hs_f32_bits(master[i]))));
    }
    free(master), free(low), free(grad), free(m);
    const hs_params_bytes b = hs_params_bytes_of(ps);
    assert_true(b.master == ps->master->bytes && b.low == ps->low->bytes && b.grad == ps->grad->bytes && b.saved == b.grad);
    assert_int_equal(b.all, all);
    hs_params_free(ps);
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_params_declare_low(ps, HS_F32), HS_OK); // none
    assert_null(ps->low);
    assert_null(hs_params_slab(ps, "low"));
    hs_params_free(ps);
}

static void check_chunks(const hs_params *ps)
{
    unsigned char *seen = calloc(flat_count(ps), 1);
    assert_non_null(seen);
    int logical = 0;
    for (int i = 0; i < ps->n_chunks; i++) {
        const hs_chunk *c = &ps->chunk[i];
        const hs_param *p = ps->param[c->param];
        const size_t part = p->n / (size_t)p->parts, first = c->first, last = first + (size_t)c->n - 1;
        assert_true(c->n >= 1 && c->n <= HS_CHUNK);
        assert_int_equal(first / part, last / part); // inside one part
        logical += i > 0 && (c->param != c[-1].param || first / part != c[-1].first / part);
        assert_int_equal(c->logical, logical);
        assert_int_equal(c->counted, p->shard != HS_SHARD_NONE || ps->tp_rank == 0);
        for (int k = 0; k < c->n; k++)
            assert_int_equal(seen[flat_at(ps, p) + first + (size_t)k]++, 0);
    }
    assert_int_equal(ps->n_logical, logical + 1);
    for (int i = 0; i < ps->n_params; i++) // padding rows too: nothing is left without its update
        for (size_t k = 0; k < ps->param[i]->n; k++)
            assert_int_equal(seen[flat_at(ps, ps->param[i]) + k], !ps->param[i]->frozen);
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
        assert_memory_equal(hs_slab_at(a->master, p), hs_slab_at(b->master, q), p->n * sizeof(float)); // the order changes nothing
        const bool differs = memcmp(hs_slab_at(a->master, p), hs_slab_at(c->master, p), p->n * sizeof(float)) != 0;
        assert_int_equal(differs, p->init == HS_INIT_NORMAL); // the seed does
        float *logical = calloc((size_t)logical_count(p), sizeof *logical), *want = calloc((size_t)logical_count(p), sizeof *want);
        hs_param_export(p, hs_slab_at(a->master, p), logical);
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
        assert_true(flat_get(a, "master", wte, k) == 0);
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
                const float *mine = hs_slab_at(ps->master, p), *theirs = hs_slab_at(one->master, whole);
                if (p->shard == HS_SHARD_ROW)
                    assert_int_equal(cols * size, all_cols);
                if (p->shard == HS_SHARD_COL)
                    assert_true(rows * size >= all_rows && rows * size < all_rows + 16 * size);
                for (int64_t part = 0; part < p->parts; part++)
                    for (int64_t r = 0; r < rows; r++)
                        for (int64_t c = 0; c < cols; c++) {
                            const int64_t row = p->shard == HS_SHARD_COL ? rank * rows + r : r,
                                          col = p->shard == HS_SHARD_ROW ? rank * cols + c : c;
                            const float want = row < all_rows ? theirs[(part * whole_rows + row) * all_cols + col] : 0;
                            assert_true(mine[(part * rows + r) * cols + c] == want);
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
        hs_slab *slab = hs_params_slab(ps, "test.m");
        float *stored = hs_slab_at(slab, p);
        for (int64_t k = 0; k < n; k++)
            in[k] = (float)k + 1;
        for (size_t k = 0; k < p->n; k++)
            stored[k] = -7; // padding must be cleared
        assert_int_equal(hs_params_import(ps, slab, p, in), HS_OK);
        hs_param_export(p, stored, out);
        assert_memory_equal(in, out, (size_t)n * sizeof(float));
        size_t nonzero = 0;
        for (size_t k = 0; k < p->n; k++)
            nonzero += stored[k] != 0;
        assert_int_equal(nonzero, n);
        free(in);
        free(out);
    }
    hs_params_free(ps);
}

// Slices of stored ranges, cut anywhere, have every element of the logical tensor once, with its value.
static void cut_up(const hs_params *ps, const hs_param *p, size_t piece, const float *logical, uint8_t *seen)
{
    const float *stored = hs_slab_at(ps->master, p);
    hs_param_slice s[3];
    for (size_t first = 0; first < p->n; first += piece) {
        const size_t n = first + piece < p->n ? piece : p->n - first;
        for (int part = 0; part < p->parts; part++) {
            const int count = hs_param_slices(p, ps->tp_rank, part, first, n, s);
            assert_in_range(count, 0, 3);
            for (int i = 0; i < count; i++)
                for (int64_t k = 0; k < s[i].rows * s[i].cols; k++) {
                    const int64_t row = part * hs_param_part_rows(p) + s[i].row + k / s[i].cols;
                    const int64_t at = row * hs_param_cols(p) + s[i].col + k % s[i].cols;
                    assert_true(s[i].stored + (size_t)k >= first && s[i].stored + (size_t)k < first + n);
                    assert_true(stored[s[i].stored + (size_t)k] == logical[at]);
                    seen[at]++;
                }
        }
    }
}

static void test_slices(void **state)
{
    (void)state;
    static const size_t pieces[] = { 1, 71, 4096, SIZE_MAX / 2 };
    hs_params *one = make(9, 0, 1, false);
    for (int size = 1; size <= 4; size *= 2)
        for (int i = 0; i < N_SPECS; i++)
            for (int k = 0; k < HS_COUNT(pieces); k++) {
                const int64_t n = logical_count(one->param[i]);
                float *logical = malloc((size_t)n * sizeof *logical);
                uint8_t *seen = calloc((size_t)n, 1);
                hs_params_export(one, one->master, one->param[i], logical);
                for (int rank = 0; rank < size; rank++) {
                    hs_params *ps = make(9, rank, size, false);
                    cut_up(ps, ps->param[i], pieces[k], logical, seen);
                    hs_params_free(ps);
                }
                for (int64_t e = 0; e < n; e++)
                    assert_int_equal(seen[e], specs[i].shard == HS_SHARD_NONE ? size : 1);
                free(logical), free(seen);
            }
    hs_params_free(one);
}

// Values of which a rank has a part: drawn and given they are those of the whole, and the low copy has all of them.
static void test_divided_values(void **state)
{
    (void)state;
    for (int part = 0; part < 3; part++) {
        hs_params *whole = make(4, 1, 2, false), *ps;
        hs_param *p;
        assert_int_equal(hs_params_new(&ps, 4, 1, 2), HS_OK);
        for (int i = 0; i < N_SPECS; i++)
            assert_int_equal(hs_params_get(ps, &specs[i], &p), HS_OK);
        assert_int_equal(hs_params_declare_low(ps, HS_BF16), HS_OK);
        hs_slab *m = ps->master;
        m->bytes = 0;
        for (int i = 0; i < N_SPECS; i++) { // rank 2 has nothing of the last
            const size_t n = ps->param[i]->n, first = i == N_SPECS - 1 ? (part ? n : 0) : n * (size_t)part / 3,
                         end = i == N_SPECS - 1 ? n : n * (size_t)(part + 1) / 3;
            m->place[i] = (hs_place){ .offset = m->bytes, .bytes = (end - first) * sizeof(float), .first = first, .width = sizeof(float) };
            m->bytes += (m->place[i].bytes + 255) / 256 * 256;
        }
        assert_int_equal(hs_params_alloc(ps, NULL, true), HS_OK);
        for (int again = 0; again < 2; again++) {
            for (int i = 0; i < N_SPECS; i++) {
                const float *v = hs_slab_at(whole->master, whole->param[i]);
                assert_true(m->place[i].bytes == 0 || !memcmp(hs_slab_at(m, ps->param[i]), v + m->place[i].first, m->place[i].bytes));
                assert_memory_equal(hs_slab_at(ps->low, ps->param[i]), hs_slab_at(whole->low, whole->param[i]), ps->param[i]->n * 2);
            }
            for (int i = 0; i < N_SPECS; i++) { // the same again, from a logical tensor
                float *logical = calloc((size_t)logical_count(ps->param[i]), sizeof *logical);
                hs_params_export(whole, whole->master, whole->param[i], logical);
                memset(hs_slab_at(ps->low, ps->param[i]), 0x77, ps->param[i]->n * 2); // padding must be cleared
                assert_int_equal(hs_params_import(ps, m, ps->param[i], logical), HS_OK);
                free(logical);
            }
            hs_params_refresh_low(ps);
        }
        hs_params_free(whole), hs_params_free(ps);
    }
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
    assert_int_equal(hs_params_get(ps, &s, &p), HS_USAGE); // laid out
    assert_non_null(strstr(hs_error(), "h1.attn.qkv.weight is new"));
    assert_int_equal(hs_params_alloc(ps, NULL, true), HS_INTERNAL);

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

static hs_params *frozen(const char *patterns)
{
    hs_params *ps;
    hs_param *p;
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_params_declare_grad(ps), HS_OK); // before there are any
    assert_int_equal(hs_params_freeze(ps, patterns, "train.freeze"), HS_OK);
    for (int i = 0; i < N_SPECS; i++)
        assert_int_equal(hs_params_get(ps, &specs[i], &p), HS_OK);
    return ps;
}

// A name, a scope, wildcards, several of them; what is frozen has no place in the gradients and no chunk.
static void test_freeze_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *patterns, *fits; // by spec: 'x' frozen
    } cases[] = {
        { NULL, "......" },           { "", "......" },
        { "wte.weight", "x....." },   { "wte", "x....." },
        { "h0.attn", "..xxxx" },      { "h0.attn.qkv", "..xx.." },
        { "*.bias", "...x.x" },       { "h?.ln_1, wte", "xx...." },
        { "h0.*.weight,", ".xx.x." },
    };
    for (int i = 0; i < HS_COUNT(cases); i++) {
        hs_params *ps = frozen(cases[i].patterns);
        assert_int_equal(hs_params_check_freeze(ps), HS_OK);
        assert_int_equal(hs_params_alloc(ps, NULL, true), HS_OK);
        size_t trained = 0;
        for (int k = 0; k < N_SPECS; k++) {
            const hs_param *p = ps->param[k];
            assert_int_equal(p->frozen, cases[i].fits[k] == 'x');
            assert_int_equal(hs_slab_has(ps->grad, p), !p->frozen);
            assert_true(hs_slab_has(ps->master, p));
            assert_true((hs_slab_at(ps->grad, p) == NULL) == p->frozen);
            trained += p->frozen ? 0 : p->n;
        }
        assert_int_equal(ps->n_trained, trained);
        assert_true(ps->grad->bytes >= 4 * trained && ps->grad->bytes < 4 * (trained + 64 * N_SPECS));
        check_chunks(ps);
        hs_params_free(ps);
    }
    static const char *const slips[] = { ",wte", "wte,,h0", "," };
    hs_params *ps;
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    for (int i = 0; i < HS_COUNT(slips); i++) {
        assert_int_equal(hs_params_freeze(ps, slips[i], "train.freeze"), HS_USAGE);
        assert_non_null(strstr(hs_error(), "a pattern of it is empty"));
    }
    hs_params_free(ps);
    ps = frozen("h0.atn");
    assert_int_equal(hs_params_check_freeze(ps), HS_USAGE);
    assert_non_null(strstr(hs_error(), "train.freeze: \"h0.atn\" fits none of the model's 6 parameters"));
    hs_params_free(ps);
    ps = frozen("wt.weight, h0");
    assert_int_equal(hs_params_check_freeze(ps), HS_USAGE);
    assert_non_null(strstr(hs_error(), "\"wt.weight\" fits none of the model's 6 parameters, nearest is wte.weight"));
    hs_params_free(ps);
    ps = frozen("*");
    assert_int_equal(hs_params_check_freeze(ps), HS_USAGE);
    assert_non_null(strstr(hs_error(), "all 6 parameters are frozen: nothing is left to train"));
    assert_int_equal(hs_params_freeze(ps, "wte", "train.freeze"), HS_INTERNAL); // too late
    hs_params_free(ps);
    // A model function freezes too; two traces must agree.
    hs_param *p;
    hs_param_spec s = specs[1];
    ps = frozen(NULL);
    s.frozen = true;
    assert_int_equal(hs_params_get(ps, &s, &p), HS_USAGE);
    assert_non_null(strstr(hs_error(), "h0.ln_1.weight was made to be trained"));
    s.name = "teacher.ln";
    assert_int_equal(hs_params_get(ps, &s, &p), HS_OK);
    assert_true(p->frozen);
    hs_params_free(ps);
}

static size_t one_byte_per_weight(const hs_param *p, const void *user)
{
    assert_string_equal(user, "mine");
    return p->role == HS_WEIGHT ? p->n : 0;
}

// A slab of another kind: its own bytes, some parameters only, declared when all the others have their memory.
static void test_slab_of_its_own(void **state)
{
    (void)state;
    hs_params *ps = make(1, 0, 1, false);
    const hs_slab_spec mask = { .name = "mask", .dtype = HS_U8, .bytes = one_byte_per_weight, .user = "mine" };
    assert_int_equal(hs_params_declare(ps, &mask), HS_OK);
    assert_int_equal(hs_params_declare(ps, &mask), HS_OK); // there already
    const hs_slab *s = hs_params_slab(ps, "mask");
    size_t bytes = 0;
    for (int i = 0; i < N_SPECS; i++) {
        const hs_param *p = ps->param[i];
        assert_int_equal(hs_slab_has(s, p), p->role == HS_WEIGHT);
        for (size_t k = 0; k < s->place[i].bytes; k++)
            assert_int_equal(((uint8_t *)hs_slab_at(s, p))[k], 0);
        memset(s->p + s->place[i].offset, i + 1, s->place[i].bytes);
        bytes += s->place[i].bytes;
    }
    for (int i = 0; i < N_SPECS; i++) // nobody shares a byte
        for (size_t k = 0; k < s->place[i].bytes; k++)
            assert_int_equal(s->p[s->place[i].offset + k], i + 1);
    assert_true(bytes > 0 && hs_params_bytes_of(ps).other == s->bytes && s->bytes >= bytes);
    hs_slab_spec other = mask;
    other.dtype = HS_F32;
    assert_int_equal(hs_params_declare(ps, &other), HS_INTERNAL);
    float small[4];
    assert_int_equal(hs_params_lend(ps, ps->grad, small, sizeof small), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "grad needs"));
    hs_params_free(ps);
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

// Values that lie elsewhere: read where they are, refused to whoever writes, and no memory of the slab's.
static void test_adopted(void **state)
{
    (void)state;
    enum { WTE = 0, PROJ = 4 };
    float *wte = malloc(112 * 72 * sizeof *wte), *proj = malloc((72 * 80 + 1) * sizeof *proj), *back = malloc(112 * 72 * sizeof *back);
    assert_true(wte && proj && back);
    for (int i = 0; i < 112 * 72; i++)
        wte[i] = (float)i;
    for (int i = 0; i <= 72 * 80; i++)
        proj[i] = (float)-i;
    hs_params *ps;
    hs_param *p[N_SPECS];
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    for (int i = 0; i < N_SPECS; i++)
        assert_int_equal(hs_params_get(ps, &specs[i], &p[i]), HS_OK);
    assert_int_equal(hs_params_declare_low(ps, HS_BF16), HS_OK);
    const size_t before = ps->master->bytes;
    const void *host[N_SPECS] = { [WTE] = wte, [PROJ] = (char *)proj + 2 };
    assert_int_equal(hs_params_adopt(ps, ps->master, NULL, host), HS_INTERNAL); // no address of a float
    hs_params_free(ps);

    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    for (int i = 0; i < N_SPECS; i++)
        assert_int_equal(hs_params_get(ps, &specs[i], &p[i]), HS_OK);
    assert_int_equal(hs_params_declare_low(ps, HS_BF16), HS_OK);
    host[PROJ] = proj + 1;
    assert_int_equal(hs_params_adopt(ps, ps->master, NULL, host), HS_OK);
    assert_int_equal(hs_params_adopt(ps, ps->master, NULL, host), HS_INTERNAL); // once
    assert_int_equal(ps->master->bytes, before - (112 * 72 + 72 * 80) * sizeof(float));
    assert_int_equal(hs_params_bytes_of(ps).adopted, (112 * 72 + 72 * 80) * sizeof(float));
    assert_int_equal(hs_params_bytes_of(ps).all, ps->master->bytes + ps->low->bytes);
    assert_int_equal(hs_params_alloc(ps, NULL, false), HS_OK);
    size_t end = 0;
    for (int i = 0; i < N_SPECS; i++) {
        const bool adopted = i == WTE || i == PROJ;
        assert_int_equal(hs_slab_adopted(ps->master, p[i]), adopted);
        assert_ptr_equal(hs_slab_at(ps->master, p[i]), adopted ? host[i] : ps->master->p + end);
        assert_ptr_equal(hs_slab_bound(ps->master, p[i]), hs_slab_at(ps->master, p[i]));
        assert_false(hs_slab_adopted(ps->low, p[i]));
        end += adopted ? 0 : (ps->master->place[i].bytes + 255) / 256 * 256;
    }
    assert_int_equal(end, ps->master->bytes);
    hs_params_refresh_low(ps);
    float *low = flat_copy(ps, "low");
    assert_true(low[flat_at(ps, p[PROJ]) + 1000] == hs_bf16_f32(hs_f32_bf16(-1001)));
    free(low);
    assert_int_equal(hs_params_write(ps, ps->master, p[WTE], proj), HS_INTERNAL);
    assert_int_equal(hs_params_import(ps, ps->master, p[PROJ], wte), HS_INTERNAL);
    assert_int_equal(hs_params_clear(ps, ps->master, p[PROJ]), HS_INTERNAL);
    assert_int_equal(hs_params_clear(ps, ps->master, p[1]), HS_OK);
    assert_int_equal(hs_params_init_values(ps), HS_INTERNAL);
    assert_int_equal(hs_params_declare_grad(ps), HS_INTERNAL);
    for (int i = 0; i < ps->n_params; i++)
        hs_params_trim(ps, ps->master, ps->param[i]);
    hs_params_read(ps, ps->master, p[WTE], back);
    assert_memory_equal(back, wte, 112 * 72 * sizeof *wte);
    hs_params_free(ps);
    assert_true(wte[112 * 72 - 1] == 112 * 72 - 1 && proj[72 * 80] == -72 * 80);

    ps = make(1, 0, 1, false); // laid out, and with gradients
    assert_int_equal(hs_params_adopt(ps, ps->master, NULL, host), HS_INTERNAL);
    hs_params_free(ps);
    free(wte), free(proj), free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_layout),         cmocka_unit_test(test_chunks),
                                        cmocka_unit_test(test_values),         cmocka_unit_test(test_shards),
                                        cmocka_unit_test(test_import_export),  cmocka_unit_test(test_slices),
                                        cmocka_unit_test(test_divided_values), cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_names),          cmocka_unit_test(test_name_pieces),
                                        cmocka_unit_test(test_freeze_by_name), cmocka_unit_test(test_slab_of_its_own),
                                        cmocka_unit_test(test_adopted) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
