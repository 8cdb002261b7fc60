// products_loop: the product of products.h for one type. Included twice by products.c, which says what REAL, VEC and the rest are: no
// guard.

typedef REAL VEC __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));

// MR rows of packed A [k][MR] times a panel of B [k][NV vectors]; the sums are added to what of C there is: rows x cols.
static void TILE(REAL *c, int64_t ldc, const REAL *a, const REAL *b, int k, int rows, int cols, REAL sign)
{
    VEC sum[MR][NV] = { 0 };
    for (int kk = 0; kk < k; kk++, a += MR, b += NV * LANES) {
        VEC right[NV];
        for (int v = 0; v < NV; v++)
            right[v] = *(const VEC *)(b + v * LANES);
        for (int i = 0; i < MR; i++)
            for (int v = 0; v < NV; v++)
                sum[i][v] += a[i] * right[v];
    }
    const REAL *s = (const REAL *)sum;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            c[i * ldc + j] += sign * s[i * NV * LANES + j];
}

static void SUM(REAL *c, int64_t ldc, const REAL *a, int64_t ai, int64_t ak, const REAL *b, int64_t ldb, int64_t m, int64_t n, int64_t k,
                REAL sign)
{
    enum { NR = NV * LANES };
    _Alignas(64) REAL left[MC * KB], panel[KB * NR];
    for (int64_t k0 = 0; k0 < k; k0 += KB)
        for (int64_t i0 = 0; i0 < m; i0 += MC) {
            const int kb = (int)(k - k0 < KB ? k - k0 : KB), mc = (int)(m - i0 < MC ? m - i0 : MC);
            for (int i = 0; i < (mc + MR - 1) / MR * MR; i++)
                for (int kk = 0; kk < kb; kk++)
                    left[(i / MR * kb + kk) * MR + i % MR] = i < mc ? a[(i0 + i) * ai + (k0 + kk) * ak] : 0;
            for (int64_t j0 = 0; j0 < n; j0 += NR) {
                const int nr = (int)(n - j0 < NR ? n - j0 : NR);
                for (int kk = 0; kk < kb; kk++)
                    for (int j = 0; j < NR; j++)
                        panel[kk * NR + j] = j < nr ? b[(k0 + kk) * ldb + j0 + j] : 0;
                for (int i = 0; i < mc; i += MR)
                    TILE(c + (i0 + i) * ldc + j0, ldc, left + i * kb, panel, kb, mc - i < MR ? mc - i : MR, nr, sign);
            }
        }
}
