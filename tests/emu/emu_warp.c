// emu_warp: what the lanes of a warp do together - shuffles, votes, sums, matrix products - and copies behind a thread's back.
//
// A call of some lanes is a post: each lane leaves its part and waits; the last one works out what all get. Lanes of one mask must meet in
// the same call; a lane that has returned is not waited for, and cannot be read.
#include "core/base/dtype.h"
#include "tests/emu/emu_impl.h"
#include <stdlib.h>

typedef struct post {
    emu_kind kind;
    emu_at at;
    unsigned mask, arrived;
    const void *pc; // of the first lane's call
    emu_part part[EMU_WARP];
} post;
static post posts[EMU_MAX_WARPS][EMU_WARP];
static unsigned open_posts[EMU_MAX_WARPS]; // bits; never all: the lane that asks is in none
static unsigned gone[EMU_MAX_WARPS];       // lanes that have returned, or never were
static uint32_t epochs[EMU_MAX_WARPS];

void emu_start_warps(void)
{
    for (int w = 0; w * EMU_WARP < emu.n; w++) {
        const int lanes = emu.n - w * EMU_WARP;
        gone[w] = lanes < EMU_WARP ? ~0u << lanes : 0;
        epochs[w] = 0, open_posts[w] = 0;
    }
}

static bool is_shuffle(emu_kind k) { return k >= EMU_SHFL_IDX && k <= EMU_SHFL_XOR; }

static int source(const emu_part *p, int lane) // of a shuffle
{
    const int first = lane & ~(p->width - 1), last = first + p->width - 1;
    if (p->kind == EMU_SHFL_IDX)
        return first | (p->lane & (p->width - 1));
    const int from = p->kind == EMU_SHFL_UP ? lane - p->lane : p->kind == EMU_SHFL_DOWN ? lane + p->lane : lane ^ p->lane;
    return (p->kind == EMU_SHFL_UP ? from < first : from > last) ? lane : from;
}

static uint64_t shuffled(const post *p, int warp, int lane)
{
    const int from = source(&p->part[lane], lane);
    if (!(p->mask >> from & 1))
        emu_fail("%s at %s:%d: lane %d reads lane %d, which its mask 0x%08x has not", p->at.what, emu_base(p->at.file), p->at.line, lane,
                 from, p->mask);
    if (gone[warp] >> from & 1)
        emu_fail("%s at %s:%d: lane %d reads lane %d, which has returned", p->at.what, emu_base(p->at.file), p->at.line, lane, from);
    return p->part[from].value;
}

static uint64_t ballot(const post *p)
{
    uint64_t bits = 0;
    for (int l = 0; l < EMU_WARP; l++)
        if (p->arrived >> l & 1 && p->part[l].value)
            bits |= 1u << l;
    return bits;
}
static uint64_t match(const post *p, int lane)
{
    uint64_t bits = 0;
    for (int l = 0; l < EMU_WARP; l++)
        if (p->arrived >> l & 1 && p->part[l].value == p->part[lane].value)
            bits |= 1u << l;
    return bits;
}

static uint32_t reduced(emu_kind k, uint32_t a, uint32_t b)
{
    const int32_t sa = (int32_t)a, sb = (int32_t)b;
    switch (k) {
    case EMU_ADD:
        return a + b;
    case EMU_MIN_U:
        return a < b ? a : b;
    case EMU_MAX_U:
        return a > b ? a : b;
    case EMU_MIN_S:
        return sa < sb ? a : b;
    case EMU_MAX_S:
        return sa > sb ? a : b;
    case EMU_BIT_AND:
        return a & b;
    case EMU_BIT_OR:
        return a | b;
    default:
        return a ^ b;
    }
}
static uint64_t reduction(const post *p)
{
    uint32_t all = 0;
    bool any = false;
    for (int l = 0; l < EMU_WARP; l++)
        if (p->arrived >> l & 1) {
            const uint32_t v = (uint32_t)p->part[l].value;
            all = any ? reduced(p->kind, all, v) : v, any = true;
        }
    return all;
}

// ---- matrices

static double half_at(const uint32_t *r, int i, bool bf)
{
    const uint16_t h = (uint16_t)(r[i / 2] >> 16 * (i & 1));
    return bf ? hs_bf16_f32(h) : hs_f16_f32(h);
}

static void multiply(const post *p)
{
    const bool bf = p->kind == EMU_MMA_BF16;
    double a[16][16], b[16][8], sum[16][8] = { { 0 } };
    for (int l = 0; l < EMU_WARP; l++) {
        const int g = l / 4, t = l % 4;
        for (int i = 0; i < 8; i++)
            a[g + (i / 2 % 2) * 8][2 * t + i % 2 + i / 4 * 8] = half_at(p->part[l].a, i, bf);
        for (int i = 0; i < 4; i++)
            b[2 * t + i % 2 + i / 2 * 8][g] = half_at(p->part[l].b, i, bf);
    }
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 16; k++)
            for (int col = 0; col < 8; col++)
                sum[row][col] += a[row][k] * b[k][col];
    for (int l = 0; l < EMU_WARP; l++) {
        float *d = p->part[l].d;
        for (int i = 0; i < 4; i++)
            d[i] = (float)(d[i] + sum[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2]);
    }
}

static void multiply_bytes(const post *p)
{
    int8_t a[16][32], b[32][8];
    for (int l = 0; l < EMU_WARP; l++) {
        const int g = l / 4, t = l % 4;
        const int8_t *av = p->part[l].a, *bv = p->part[l].b;
        for (int i = 0; i < 16; i++)
            a[g + (i / 4 % 2) * 8][4 * t + i % 4 + i / 8 * 16] = av[i];
        for (int i = 0; i < 8; i++)
            b[4 * t + i % 4 + i / 4 * 16][g] = bv[i];
    }
    for (int l = 0; l < EMU_WARP; l++) {
        uint32_t *d = p->part[l].d;
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 32; k++)
                d[i] += (uint32_t)(a[l / 4 + i / 2 * 8][k] * b[k][l % 4 * 2 + i % 2]);
    }
}

static void load_matrices(const post *p, int warp)
{
    const int n = p->part[0].width;
    uint16_t m[4][8][8];
    for (int l = 0; l < 8 * n; l++) {
        const void *row = p->part[l].a;
        if ((uintptr_t)row % 16)
            emu_fail("%s at %s:%d: the address of lane %d is no multiple of 16", p->at.what, emu_base(p->at.file), p->at.line, l);
        if (!emu_shared_name(row, 16, NULL))
            emu_fail("%s at %s:%d: the row of lane %d is outside of shared arrays", p->at.what, emu_base(p->at.file), p->at.line, l);
        if (emu_touch_as)
            emu_touch_as(warp * EMU_WARP + l, row, 16, EMU_READS, p->pc);
        memcpy(m[l / 8][l % 8], row, 16);
    }
    for (int l = 0; l < EMU_WARP; l++)
        for (int k = 0; k < n; k++) {
            const int g = l / 4, t = l % 4;
            const bool trans = p->kind == EMU_LDMATRIX_TRANS;
            const uint16_t low = trans ? m[k][2 * t][g] : m[k][g][2 * t], high = trans ? m[k][2 * t + 1][g] : m[k][g][2 * t + 1];
            ((uint32_t *)p->part[l].d)[k] = low | (uint32_t)high << 16;
        }
}

// ---- posts

static void serve(post *p, int warp)
{
    if (p->kind >= EMU_ADD && p->arrived != (p->kind >= EMU_MMA_BF16 ? ~0u : p->mask))
        emu_fail("%s at %s:%d: lanes 0x%08x are needed, only 0x%08x are there", p->at.what, emu_base(p->at.file), p->at.line,
                 p->kind >= EMU_MMA_BF16 ? ~0u : p->mask, p->arrived);
    if (p->kind == EMU_MMA_BF16 || p->kind == EMU_MMA_F16)
        multiply(p);
    else if (p->kind == EMU_MMA_I8)
        multiply_bytes(p);
    else if (p->kind >= EMU_LDMATRIX)
        load_matrices(p, warp);
    epochs[warp] += p->kind == EMU_SYNC;
    const uint64_t common = p->kind == EMU_BALLOT ? ballot(p) : p->kind >= EMU_ADD && p->kind <= EMU_BIT_XOR ? reduction(p) : 0;
    for (int l = 0; l < EMU_WARP; l++) {
        emu_thread *t = &emu.thread[warp * EMU_WARP + l];
        if (!(p->arrived >> l & 1))
            continue;
        t->result = is_shuffle(p->kind) ? shuffled(p, warp, l) : p->kind == EMU_MATCH ? match(p, l) : common;
        if (p->kind == EMU_SYNC)
            t->warp_epoch = epochs[warp];
        if (t->state == EMU_WAITS)
            emu_ready(warp * EMU_WARP + l);
    }
    open_posts[warp] &= ~(1u << (p - posts[warp]));
}

static post *find_post(int warp, int lane, emu_at at, const emu_part *part)
{
    for (unsigned left = open_posts[warp]; left; left &= left - 1) {
        post *p = &posts[warp][__builtin_ctz(left)];
        if (p->mask != part->mask || p->arrived >> lane & 1)
            continue;
        if (p->kind != part->kind || p->at.line != at.line)
            emu_fail("divergence: %s of %s:%d and %s of %s:%d meet in a warp", p->at.what, emu_base(p->at.file), p->at.line, at.what,
                     emu_base(at.file), at.line);
        return p;
    }
    const int spare = __builtin_ctz(~open_posts[warp]);
    post *p = &posts[warp][spare];
    open_posts[warp] |= 1u << spare;
    p->kind = part->kind, p->at = at, p->mask = part->mask, p->arrived = 0;
    return p;
}

uint64_t emu_together(emu_at at, const emu_part *part)
{
    const int warp = emu.id / EMU_WARP, lane = emu.id % EMU_WARP;
    if (!(part->mask >> lane & 1))
        emu_fail("%s at %s:%d: its mask 0x%08x has not lane %d, which calls it", at.what, emu_base(at.file), at.line, part->mask, lane);
    if (is_shuffle(part->kind) && (part->width < 1 || part->width > EMU_WARP || part->width & (part->width - 1)))
        emu_fail("%s at %s:%d: its width is %d, no power of two up to 32", at.what, emu_base(at.file), at.line, part->width);
    post *p = find_post(warp, lane, at, part);
    if (!p->arrived)
        p->pc = __builtin_return_address(0);
    p->arrived |= 1u << lane;
    p->part[lane] = *part;
    if ((p->mask & ~gone[warp]) == p->arrived)
        serve(p, warp);
    else
        emu_wait(at);
    return emu.thread[emu.id].result;
}

void emu_check_warp_exit(int thread)
{
    const int warp = thread / EMU_WARP;
    gone[warp] |= 1u << thread % EMU_WARP;
    for (unsigned left = open_posts[warp]; left; left &= left - 1) {
        post *p = &posts[warp][__builtin_ctz(left)];
        if ((p->mask & ~gone[warp]) == p->arrived)
            serve(p, warp);
    }
}

unsigned emu_active_lanes(void) { return ~gone[emu.id / EMU_WARP]; }

// ---- cp.async: the target holds nothing from the call on, and its bytes only when they are waited for

void emu_cp_async(emu_at at, void *to, const void *from, int bytes, bool live)
{
    emu_thread *t = &emu.thread[emu.id];
    if ((uintptr_t)to % (unsigned)bytes || (live && (uintptr_t)from % (unsigned)bytes))
        emu_fail("%s at %s:%d: %d bytes at an address that is no multiple of them", at.what, emu_base(at.file), at.line, bytes);
    if (!emu_shared_name(to, (size_t)bytes, NULL))
        emu_fail("%s at %s:%d: its target is outside of shared arrays", at.what, emu_base(at.file), at.line);
    if (emu_touch && live)
        emu_touch(from, (size_t)bytes, EMU_READS, __builtin_return_address(0));
    if (emu_touch)
        emu_touch(to, (size_t)bytes, EMU_WRITES, __builtin_return_address(0));
    memset(to, 0xFF, (size_t)bytes);
    if (t->n_copies == t->max_copies) {
        t->max_copies = t->max_copies ? 2 * t->max_copies : 32;
        t->copy = realloc(t->copy, (size_t)t->max_copies * sizeof *t->copy);
        if (!t->copy)
            abort();
    }
    t->copy[t->n_copies++] = (emu_copy){ to, from, bytes, t->group, live };
}

void emu_cp_async_commit(void) { emu.thread[emu.id].group++; }

void emu_cp_async_wait(int youngest)
{
    emu_thread *t = &emu.thread[emu.id];
    int kept = 0;
    for (int i = 0; i < t->n_copies; i++) {
        const emu_copy *c = &t->copy[i];
        if (c->group >= t->group - youngest) {
            t->copy[kept++] = *c;
            continue;
        }
        if (emu_touch)
            emu_touch(c->to, (size_t)c->bytes, EMU_WRITES, __builtin_return_address(0));
        if (c->live)
            memcpy(c->to, c->from, (size_t)c->bytes);
        else
            memset(c->to, 0, (size_t)c->bytes);
    }
    t->n_copies = kept;
}

// ---- atomics of integers

static uint64_t read_int(const void *p, int bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, (size_t)bytes);
    return v;
}

void emu_refuse_float(emu_at at)
{
    emu_fail("%s at %s:%d: atomics on floats add in an order that is not fixed", at.what, emu_base(at.file), at.line);
}

static void touch_atomic(emu_at at, void *p, int bytes, const void *pc)
{
    emu_aligned(at, p, (size_t)bytes);
    if (emu_touch)
        emu_touch(p, (size_t)bytes, EMU_ATOMIC, pc);
}

uint64_t emu_atomic_do(emu_at at, emu_atomic kind, void *p, int bytes, bool is_signed, uint64_t value)
{
    touch_atomic(at, p, bytes, __builtin_return_address(0));
    const uint64_t old = read_int(p, bytes);
    const bool less = !is_signed ? value < old : bytes == 4 ? (int32_t)value < (int32_t)old : (int64_t)value < (int64_t)old;
    const uint64_t now = kind == EMU_ATOMIC_ADD   ? old + value
                         : kind == EMU_ATOMIC_MIN ? (less ? value : old)
                         : kind == EMU_ATOMIC_MAX ? (less ? old : value)
                         : kind == EMU_ATOMIC_AND ? old & value
                         : kind == EMU_ATOMIC_OR  ? old | value
                         : kind == EMU_ATOMIC_XOR ? old ^ value
                                                  : value;
    memcpy(p, &now, (size_t)bytes);
    return old;
}

uint64_t emu_atomic_cas(emu_at at, void *p, int bytes, uint64_t expect, uint64_t value)
{
    touch_atomic(at, p, bytes, __builtin_return_address(0));
    const uint64_t old = read_int(p, bytes);
    if (old == expect)
        memcpy(p, &value, (size_t)bytes);
    return old;
}

void emu_aligned(emu_at at, const void *p, size_t bytes)
{
    if ((uintptr_t)p % bytes)
        emu_fail("%s at %s:%d: %zu bytes at an address that is no multiple of them", at.what, emu_base(at.file), at.line, bytes);
}
