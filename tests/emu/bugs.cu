// bugs: small kernels, each right with BUG 0, and with another number wrong in the way the table at the end says.
#include "core/cuda/mma.cuh"
#include "tests/emu/bugs.h"
#include <stdlib.h>

enum { ROWS = 40, COLS = 64, N = 512 };

// Bytes of the host's that a kernel may touch, exactly so many, filled with NaN.
template <class T> struct buffer {
    T *p;
    buffer(const char *name, int n, bool writable = true)
    {
        void *bytes;
        if (posix_memalign(&bytes, 64, n * sizeof(T) + 64))
            abort();
        p = static_cast<T *>(bytes);
        memset(bytes, 0xFF, n * sizeof(T) + 64);
        emu_watch(name, p, n * sizeof(T), writable);
    }
    ~buffer() { free(p); }
};
static float value(int i) { return (float)(i * 37 % 101) / 16; }
static void fill(float *p, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = value(i);
}
static int differ(const float *y, const float *want, int n)
{
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += !(fabsf(y[i] - want[i]) <= 1e-3f * (1 + fabsf(want[i])));
    return wrong;
}

// ---- sums of columns: four warps share the rows
enum { NO_BARRIER = 1, A_ROW_MORE, NOT_SET, WRITES_INPUT, SHARED_OVERRUN, TWO_BLOCKS, ATOMIC_FLOAT, A_ROW_BEFORE };
template <int BUG> static __global__ void columns(float *x, float *y, int rows)
{
    HS_SHARED(float, part, [4][32]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
    float sum = 0;
    for (int r = warp - (BUG == A_ROW_BEFORE); r < rows + (BUG == A_ROW_MORE ? 1 : 0); r += 4)
        sum += x[r * COLS + c];
    if (BUG != NOT_SET || warp)
        part[warp][lane] = sum;
    if (BUG == SHARED_OVERRUN)
        (&part[0][0])[128 + lane] = sum;
    if (BUG != NO_BARRIER)
        __syncthreads();
    if (BUG == WRITES_INPUT)
        x[c] = 0;
    if (BUG == ATOMIC_FLOAT)
        atomicAdd(&y[c], sum);
    else if (warp == 0 || BUG == TWO_BLOCKS) {
        const int at = BUG == TWO_BLOCKS ? lane : c;
        if (warp == 0)
            y[at] = part[0][lane] + part[1][lane] + part[2][lane] + part[3][lane];
    }
}
template <int BUG> static int run_columns()
{
    buffer<float> x("x", ROWS * COLS, false), y("y", COLS);
    float want[COLS] = {};
    fill(x.p, ROWS * COLS);
    for (int i = 0; i < ROWS * COLS; i++)
        want[i % COLS] += x.p[i];
    HS_LAUNCH((columns<BUG>), COLS / 32, 128, 0, 0, x.p, y.p, ROWS);
    return differ(y.p, want, COLS);
}

// ---- the sum of N values by one block, twice
enum { SHORT_MASK = 1, RETURNS_EARLY, TWO_SHUFFLES, HALF_WARP, NO_LAST_BARRIER, TWO_BARRIERS, ODD_WIDTH, REDUCES_RETURNED, OTHER_MASKS };
template <int BUG> static __device__ float sum_of(float v, float *at)
{
    const int lane = threadIdx.x % 32;
    for (int k = 16; k > 0; k /= 2)
        v += __shfl_xor_sync(BUG == SHORT_MASK && lane < 16 ? 0x0000FFFFu : ~0u, v, k, BUG == ODD_WIDTH ? 31 : 32);
    if (lane == 0)
        at[threadIdx.x / 32] = v;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < 4; w++)
        sum += at[w];
    if (BUG != NO_LAST_BARRIER)
        __syncthreads();
    return sum;
}
template <int BUG> static __global__ void twice(const float *x, float *y, int n)
{
    HS_SHARED(float, at, [4]);
    const int i = threadIdx.x;
    if (BUG == RETURNS_EARLY && i >= 100)
        return;
    if (BUG == REDUCES_RETURNED && i % 32 == 31)
        return;
    if (BUG == REDUCES_RETURNED)
        y[0] = (float)__reduce_add_sync(~0u, i);
    float a = 0, b;
    for (int k = i; k < n; k += 128)
        a += x[k];
    if (BUG == HALF_WARP) {
        if (i % 32 < 16)
            a += 0 * __shfl_sync(~0u, a, 0);
        __syncthreads();
    }
    if (BUG == TWO_SHUFFLES) {
        if (i % 2)
            a += 0 * __shfl_xor_sync(~0u, a, 2);
        else
            a += 0 * __shfl_xor_sync(~0u, a, 2);
    }
    if (BUG == TWO_BARRIERS && i < 64)
        __syncthreads();
    else if (BUG == TWO_BARRIERS)
        __syncthreads();
    a = sum_of<BUG>(a, at);
    b = sum_of<BUG>(2 * x[i], at);
    if (i == 0)
        y[0] = a, y[1] = b;
}
template <int BUG> static int run_twice()
{
    buffer<float> x("x", N, false), y("y", 2);
    fill(x.p, N);
    float want[2] = {};
    for (int i = 0; i < N; i++)
        want[0] += x.p[i], want[1] += i < 128 ? 2 * x.p[i] : 0;
    HS_LAUNCH((twice<BUG>), 1, 128, 0, 0, x.p, y.p, N);
    return differ(y.p, want, 2);
}

// ---- the gradient of a loss in place of its logits, a block per row
enum { LABEL_RACES = 1 };
template <int BUG> static __global__ void in_place(float *x, const int *label)
{
    float *row = x + blockIdx.x * COLS;
    const int c = threadIdx.x;
    const float before = BUG == LABEL_RACES ? 0 : row[label[blockIdx.x]];
    if (BUG != LABEL_RACES)
        __syncthreads();
    row[c] = row[c] - (BUG == LABEL_RACES ? row[label[blockIdx.x]] : before);
}
template <int BUG> static int run_in_place()
{
    buffer<float> x("logits", ROWS * COLS);
    buffer<int> label("labels", ROWS, false);
    float want[ROWS * COLS];
    fill(x.p, ROWS * COLS);
    for (int r = 0; r < ROWS; r++)
        label.p[r] = r * 13 % COLS;
    for (int i = 0; i < ROWS * COLS; i++)
        want[i] = x.p[i] - x.p[i / COLS * COLS + label.p[i / COLS]];
    HS_LAUNCH((in_place<BUG>), ROWS, COLS, 0, 0, x.p, label.p);
    return differ(x.p, want, ROWS * COLS);
}

// ---- c[16, 8] = a[16, K] b[K, 8]: tiles of 16 through shared memory, two under way
enum {
    K = 64,
    NO_RAW = 1,
    NO_WAR,
    WAITS_FOR_LESS,
    COPIES_EARLY,
    ROW_ASKEW,
    ROW_OUTSIDE,
    HALF_PRODUCT,
    COPIES_BEYOND,
    COPY_ASKEW,
    NO_COMMIT
};
template <int BUG> static __global__ void product(const bf16 *a, const bf16 *b, float *c)
{
    HS_SHARED(bf16, ta, [2][16][16]);
    HS_SHARED(bf16, tb, [2][16][8]);
    const int l = threadIdx.x % 32, warp = threadIdx.x / 32; // the second warp brings b
    auto bring = [&](int k, int to) {
        if (warp == 0)
            cp_async<16>(&ta[to][l / 2][l % 2 * 8], a + l / 2 * K + k + l % 2 * 8 + (BUG == COPY_ASKEW));
        else if (l < 16)
            cp_async<16>(&tb[to][l][0], b + (k + l + (BUG == COPIES_BEYOND)) * 8);
        if (BUG != NO_COMMIT)
            cp_async_commit();
    };
    float d[4] = {};
    bring(0, 0);
    for (int k = 0; k < K; k += 16) {
        const int at = k / 16 % 2, next = (at + 1) % 2;
        if (BUG == COPIES_EARLY && k + 16 < K)
            bring(k + 16, at);
        else if (k + 16 < K)
            bring(k + 16, next);
        if (BUG == WAITS_FOR_LESS || k + 16 < K)
            cp_async_wait<1>();
        else
            cp_async_wait<0>();
        if (BUG != NO_RAW)
            __syncthreads();
        if (warp == 0) {
            uint32_t ra[4], rb[2];
            ldmatrix(ra, &ta[at][l % 16][l / 16 * 8 + (BUG == ROW_ASKEW)]);
            ldmatrix_trans(rb, BUG == ROW_OUTSIDE ? &tb[1][15][0] + 8 + l * 0 : &tb[at][l % 16][0]);
            if (BUG == HALF_PRODUCT && l >= 16)
                return;
            mma<bf16>(d, ra, rb);
        }
        if (BUG != NO_WAR)
            __syncthreads();
    }
    if (warp == 0)
        for (int i = 0; i < 4; i++)
            c[(l / 4 + i / 2 * 8) * 8 + l % 4 * 2 + i % 2] = d[i];
}
template <int BUG> static int run_product()
{
    buffer<bf16> a("a", 16 * K, false), b("b", K * 8, false);
    buffer<float> c("c", 128);
    float want[128] = {};
    for (int i = 0; i < 16 * K; i++)
        from_f(a.p[i], (float)(i * 7 % 11 - 5));
    for (int i = 0; i < K * 8; i++)
        from_f(b.p[i], (float)(i * 5 % 13 - 6));
    for (int i = 0; i < 128; i++)
        for (int k = 0; k < K; k++)
            want[i] += to_f(a.p[i / 8 * K + k]) * to_f(b.p[k * 8 + i % 8]);
    HS_LAUNCH((product<BUG>), 1, 64, 0, 0, a.p, b.p, c.p);
    return differ(c.p, want, 128);
}

// ---- y = x, a warp per block turns 32 values round, by way of dynamic shared memory
enum {
    NO_SYNCWARP = 1,
    NEEDS_ORDER,
    LDG_ASKEW,
    RAW_ASKEW,
    LOCAL_OVERRUN,
    DYNAMIC_OVERRUN,
    HOST_MEMORY,
    OTHERS_STACK,
    STATIC_DATA,
    ATOMIC_AND_READ,
    NARROW_OVERRUN,
    WARPS_SHARE_A_CELL
};
float of_the_program;
template <int BUG> static __global__ void turned(const float *x, float *y, const float *host, unsigned *count)
{
    HS_DYN_SHARED(float, at);
    HS_SHARED(float *, mine, [32]);
    const int l = threadIdx.x, base = blockIdx.x * 32;
    if (BUG == DYNAMIC_OVERRUN && l == 0)
        at[32] = 0;
    at[l] = x[base + l];
    if (BUG != NO_SYNCWARP)
        __syncwarp();
    float v = at[31 - l];
    if (BUG == NEEDS_ORDER && blockIdx.x > 0)
        v += 0 * y[base - 1];
    if (BUG == LDG_ASKEW)
        v += 0 * (float)__ldg(reinterpret_cast<const uint4 *>(x + 1)).x;
    if (BUG == RAW_ASKEW)
        v += 0 * reinterpret_cast<const float4 *>(x + 1)->x;
    if (BUG == LOCAL_OVERRUN) {
        float own[8] = {};
        for (int i = 0; i <= 8; i++)
            own[(l + i) % 9] = v;
        v += 0 * own[l % 8];
    }
    if (BUG == HOST_MEMORY)
        v += 0 * *host;
    if (BUG == OTHERS_STACK) {
        float own = v;
        mine[l] = &own;
        __syncwarp();
        v += 0 * *mine[31 - l];
        __syncwarp();
    }
    if (BUG == STATIC_DATA)
        of_the_program = v;
    if (BUG == ATOMIC_AND_READ) {
        if (l == 0)
            atomicAdd(count, 1);
        v = *count > 77 ? 0 : v;
    } else
        atomicAdd(count, 1);
    if (BUG == NARROW_OVERRUN && blockIdx.x == 1 && l == 31)
        reinterpret_cast<unsigned char *>(y)[64 * sizeof(float)] = 0;
    if (BUG == WARPS_SHARE_A_CELL)
        y[0] = v;
    y[base + l] = v;
}
template <int BUG> static int run_turned()
{
    buffer<float> x("x", 64, false), y("y", 64);
    buffer<unsigned> count("count", 1);
    float want[64], *host = static_cast<float *>(calloc(1, sizeof *host));
    *count.p = 0;
    fill(x.p, 64);
    for (int i = 0; i < 64; i++)
        want[i] = x.p[i / 32 * 32 + 31 - i % 32];
    HS_LAUNCH((turned<BUG>), 2, 32, 32 * sizeof(float), 0, x.p, y.p, host, count.p);
    free(host);
    return differ(y.p, want, 64);
}

// ---- launches that a device refuses
enum { NO_BLOCKS = 1, TOO_MANY_THREADS, TOO_MUCH_SHARED, TOO_MUCH_STATIC, NO_DYNAMIC };
template <int BUG> static __global__ void nothing()
{
    HS_SHARED(char, bytes, [BUG == TOO_MUCH_STATIC ? 50000 : 500]);
    HS_DYN_SHARED(char, more);
    bytes[threadIdx.x % 500] = more[threadIdx.x] = 0;
}
template <int BUG> static int run_nothing()
{
    HS_LAUNCH((nothing<BUG>), BUG == NO_BLOCKS ? 0 : 1, BUG == TOO_MANY_THREADS ? 1025 : 256,
              BUG == NO_DYNAMIC        ? 0
              : BUG == TOO_MUCH_SHARED ? 164 * 1024
                                       : 1024,
              0);
    return 0;
}

#define BUG(kernel, bug, what, ...)                                                                                                        \
    {                                                                                                                                      \
        what, run_##kernel<0>, run_##kernel<bug>, __VA_ARGS__                                                                              \
    }
extern "C" const emu_bug emu_bugs[] = {
    BUG(columns, NO_BARRIER, "sums of columns without a barrier", "", "race on part"),
    BUG(columns, A_ROW_MORE, "a row too many", nullptr, "reads 4 bytes outside of x, 0 bytes from its end"),
    BUG(columns, A_ROW_BEFORE, "a row before the first", nullptr, "bytes from its start", true),
    BUG(columns, NOT_SET, "shared memory that nobody set", "", ""),
    BUG(columns, WRITES_INPUT, "writes to an input", nullptr, "which is only to be read"),
    BUG(columns, SHARED_OVERRUN, "behind a shared array", nullptr, "outside of shared arrays"),
    BUG(columns, TWO_BLOCKS, "two blocks write one cell", "", "of another block"),
    BUG(columns, ATOMIC_FLOAT, "atomics on floats", "atomics on floats", "atomics on floats"),
    BUG(twice, SHORT_MASK, "a mask without the lane that is read", "which its mask", "which its mask"),
    BUG(twice, RETURNS_EARLY, "a lane that has returned is read", "which has returned", "which has returned"),
    BUG(twice, TWO_SHUFFLES, "lanes shuffle in two lines", "divergence: __shfl_xor_sync", "divergence: __shfl_xor_sync"),
    BUG(twice, HALF_WARP, "half a warp with the mask of all", "deadlock", "deadlock"),
    BUG(twice, NO_LAST_BARRIER, "a sum's cells are written again while they are read", nullptr, "race on at"),
    BUG(twice, TWO_BARRIERS, "barriers in two branches", "divergence: __syncthreads", "divergence: __syncthreads"),
    BUG(twice, ODD_WIDTH, "a shuffle's width is no power of two", "no power of two", "no power of two"),
    BUG(twice, REDUCES_RETURNED, "a sum over lanes that have returned", "are needed, only", "are needed, only"),
    BUG(in_place, LABEL_RACES, "a cell is read that another thread overwrites", "", "race on logits"),
    BUG(product, NO_RAW, "a tile is read before it is there", nullptr, "race on"),
    BUG(product, NO_WAR, "a tile is overwritten while it is read", "", "race on"),
    BUG(product, WAITS_FOR_LESS, "cp.async: the last group is not waited for", "", ""),
    BUG(product, COPIES_EARLY, "cp.async: into the tile that is read", "", ""),
    BUG(product, NO_COMMIT, "cp.async: no group is closed", "", ""),
    BUG(product, COPIES_BEYOND, "cp.async: from behind a buffer", nullptr, "outside of b"),
    BUG(product, COPY_ASKEW, "cp.async: 16 bytes that are not aligned", "no multiple", "no multiple"),
    BUG(product, ROW_ASKEW, "ldmatrix: a row that is not aligned", "no multiple of 16", "no multiple of 16"),
    BUG(product, ROW_OUTSIDE, "ldmatrix: a row outside", "outside of shared arrays", "outside of shared arrays"),
    BUG(product, HALF_PRODUCT, "mma by half a warp", "are needed, only", "are needed, only"),
    BUG(turned, NO_SYNCWARP, "no __syncwarp between lanes", "", "race on dynamic shared memory"),
    BUG(turned, NEEDS_ORDER, "blocks that need an order", "", "of another block"),
    BUG(turned, LDG_ASKEW, "__ldg of 16 bytes that are not aligned", "no multiple", "no multiple"),
    BUG(turned, RAW_ASKEW, "16 bytes that are not aligned", nullptr, "no multiple of 16"),
    BUG(turned, LOCAL_OVERRUN, "behind a local array", nullptr, "outside of its array", true),
    BUG(turned, DYNAMIC_OVERRUN, "behind dynamic shared memory", nullptr, "outside of shared arrays"),
    BUG(turned, HOST_MEMORY, "follows an address of the host's", nullptr, "outside of"),
    BUG(turned, OTHERS_STACK, "reads another thread's local variable", nullptr, "stack of another thread"),
    BUG(turned, STATIC_DATA, "writes static data", nullptr, "static data"),
    BUG(turned, ATOMIC_AND_READ, "reads what another lane's atomic changes", nullptr, "race on count"),
    BUG(turned, NARROW_OVERRUN, "one byte behind a buffer", nullptr, "writes 1 bytes outside of y, 0 bytes from its end"),
    BUG(turned, WARPS_SHARE_A_CELL, "all lanes write one cell", "", "race on y"),
    BUG(nothing, NO_BLOCKS, "a launch without blocks", "is refused", "is refused"),
    BUG(nothing, TOO_MANY_THREADS, "a block of 1,025 threads", "is refused", "is refused"),
    BUG(nothing, TOO_MUCH_SHARED, "more dynamic shared memory than there is", "is refused", "is refused"),
    BUG(nothing, TOO_MUCH_STATIC, "more static shared memory than there is", "HS_SHARED arrays take", "HS_SHARED arrays take"),
    BUG(nothing, NO_DYNAMIC, "dynamic shared memory that the launch does not give", "gives no bytes", "gives no bytes"),
};
extern "C" const int emu_n_bugs = sizeof emu_bugs / sizeof *emu_bugs;
