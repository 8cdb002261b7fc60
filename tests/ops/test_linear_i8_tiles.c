// The tiles of int8 products by their rules (Intel SDM 2A: TILELOADD, TILESTORED, TDPBSSD), for machines that have none: gemm_i8.c compiled
// once more, with what those instructions do in plain C. What is not live is filled with what must not count.
#define HS_TIER emulated
#if defined(__x86_64__)
#include <immintrin.h> // has its own names for them
#endif
#include <stdint.h>
#include <string.h>

typedef struct tile_register {
    int8_t row[16][64];
} tile_register;
static tile_register tile[8];
static int begun;

static void emu_zero(int t) { memset(&tile[t], 0, sizeof tile[t]); }
static void emu_load(int t, const void *p, int64_t stride)
{
    for (int r = 0; r < 16; r++)
        memcpy(tile[t].row[r], (const char *)p + r * stride, 64);
}
static void emu_store(int t, void *p, int64_t stride)
{
    for (int r = 0; r < 16; r++)
        memcpy((char *)p + r * stride, tile[t].row[r], 64);
}
static void emu_multiply(int to, int a, int b)
{
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            uint32_t sum;
            memcpy(&sum, tile[to].row[m] + 4 * n, 4);
            for (int k = 0; k < 64; k++)
                sum += (uint32_t)(tile[a].row[m][k] * tile[b].row[k / 4][4 * n + k % 4]);
            memcpy(tile[to].row[m] + 4 * n, &sum, 4);
        }
}
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#define _tile_zero(t)              emu_zero(t)
#define _tile_loadd(t, p, stride)  emu_load(t, p, stride)
#define _tile_stored(t, p, stride) emu_store(t, p, stride)
#define _tile_dpbssd(to, a, b)     emu_multiply(to, a, b)
#ifndef __AMX_INT8__
#define __AMX_INT8__ 1
#endif
#include "core/cpu/narrow.c"
#include "ops/quant/gemm_i8.c"

void gemm_begin(bool dot)
{
    (void)dot;
    begun++;
}
void gemm_end(bool dot)
{
    (void)dot;
    begun--;
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

static void *filled(size_t n, int with) { return memset(aligned_alloc(64, (n + 127) / 64 * 64), with, (n + 127) / 64 * 64); }

static const i8_loops *tiles(void)
{
    const i8_loops *l = i8_loops_list;
    while (l->name && !l->tiles)
        l++;
    assert_non_null(l->name);
    return l;
}

static void check(int64_t m, int64_t k, int64_t n, int64_t r0, bool packed)
{
    const i8_loops *l = tiles();
    const int64_t ld = i8_ld(l, k), whole = (m + I8_ROWS - 1) / I8_ROWS * I8_ROWS;
    float *x = filled((size_t)(m * k) * 4, 0), *buf = filled((size_t)k * 4, 0xFF), *scales = filled((size_t)n * 4, 0);
    float *bias = filled((size_t)n * 4, 0), *y = filled((size_t)(m * n) * 4, 0xFF), *x_scale = filled(4, 0);
    int8_t *codes = filled((size_t)(n * k), 0);
    for (int64_t i = 0; i < m * k; i++)
        x[i] = (float)((i * 37 + i / k * 11) % 255 - 127) * 0.5f;
    for (int64_t i = 0; i < n * k; i++)
        codes[i] = (int8_t)((i * 101 + i / k * 7) % 255 - 127);
    for (int64_t j = 0; j < n; j++)
        scales[j] = (float)(1 + j % 3), bias[j] = (float)j;
    *x_scale = 0.5f;
    i8_product g = {
        .loops = l, .m = m, .n = n, .k = k, .codes = codes, .scales = scales, .bias = bias, .own = filled(i8_own_bytes(l, k), 0x55)
    };
    g.x = (i8_rows){ filled((size_t)(whole * ld), 0x55), ld, filled((size_t)whole * 4, 0), filled((size_t)whole * 4, 0) };
    g.y = (hs_ref){ .p = (char *)y, .rows = m, .cols = n, .dtype = HS_F32 };
    const hs_ref xr = { .p = (char *)x, .rows = m, .cols = k, .dtype = HS_F32 };
    i8_quantize(l, &g.x, &xr, 0, m, x_scale, buf);
    char *panels = filled(i8_panel_bytes(l, k) * (size_t)i8_panels(l, n), 0x55);
    if (packed) {
        i8_pack(l, panels, codes, n, k, 0, i8_panels(l, n));
        g.packed = panels, g.codes = NULL;
    }
    i8_run(&g, r0, m, 0, i8_panels(l, n));
    assert_int_equal(begun, 0);
    for (int64_t r = 0; r < m; r++)
        for (int64_t j = 0; j < n; j++) {
            int32_t sum = 0;
            for (int64_t c = 0; c < k; c++)
                sum += (int32_t)(x[r * k + c] * 2) * codes[j * k + c];
            const float want = (float)sum * (0.5f * scales[j]) + bias[j];
            if (r >= r0 && memcmp(&want, &y[r * n + j], 4))
                fail_msg("%lld x %lld x %lld: y[%lld][%lld] is %g, should be %g", (long long)m, (long long)k, (long long)n, (long long)r,
                         (long long)j, (double)y[r * n + j], (double)want);
            if (r < r0)
                assert_int_equal(hs_f32_bits(y[r * n + j]), 0xFFFFFFFFu);
        }
    void *all[] = { x, buf, scales, bias, y, x_scale, codes, g.own, g.x.q, g.x.scale, g.x.sum, panels };
    for (int i = 0; i < HS_COUNT(all); i++)
        free(all[i]);
}

static void products_by_tiles(void **state)
{
    (void)state;
    static const int64_t rows[] = { 1, 2, 15, 16, 17, 31, 32, 33, 65, 96 }, depths[] = { 8, 64, 72, 200, 640 },
                         columns[] = { 8, 32, 40, 104 };
    for (int i = 0; i < HS_COUNT(rows); i++)
        for (int d = 0; d < HS_COUNT(depths); d++)
            for (int c = 0; c < HS_COUNT(columns); c++)
                for (int packed = 0; packed < 2; packed++)
                    check(rows[i], depths[d], columns[c], 0, packed);
    check(96, 136, 72, 32, true); // a member's rows
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(products_by_tiles) };
    return cmocka_run_group_tests_name("ops: linear_i8 by tiles", tests, NULL, NULL);
}
