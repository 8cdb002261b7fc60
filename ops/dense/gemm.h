// gemm: the packed matrix product under linear, matmul and attention. Internal to ops/; compiled once per ISA tier.
//
//   C[m, n] (=|+=) scale * A[m, k] B[k, n] + bias[n]        f32 sums, rounded once where C is bf16 or f16
//
// Operands are made of 32-bit *words*: one f32, or a pair of bf16 neighbours in k where the tier multiplies bf16 natively
// ("dot"). B is packed into panels [k words][NR] that a register tile of MR x NR walks; A is read where it lies when it is
// row-major and of the right type, else packed into panels [k words][MR]. Goto, van de Geijn 2008 (doi:10.1145/1356052.1356053).
//
// The bits of C do not depend on the team: k is cut at constant blocks whose sums are added in order, and members divide
// rows or columns of C only. Another ISA is another set of the constants below and, for native bf16, of `madd` in gemm.c.
#ifndef HS_OPS_GEMM_H
#define HS_OPS_GEMM_H
#include "core/cpu/rows.h"

#if defined(__AVX512F__)
enum { GEMM_VL = 16, GEMM_MR = 6, GEMM_NV = 4 }; // 24 accumulators; width 64 divides every model's widths
#elif defined(__AVX2__)
enum { GEMM_VL = 8, GEMM_MR = 6, GEMM_NV = 2 };
#define GEMM_ROWS_TO_PANELS 1 // rows of A are packed too: a panel is one stream, six rows are six
#else
enum { GEMM_VL = 4, GEMM_MR = 4, GEMM_NV = 2 };
#endif
#if defined(__AVX512BF16__)
enum { GEMM_HAS_DOT = 1 };
#else
enum { GEMM_HAS_DOT = 0 };
#endif
// Matrix tiles (gemm_amx.h): products of bf16 go by 16 x 16 words, a member's rows by two of them; A is always laid in rows.
#if defined(__AMX_BF16__)
enum { GEMM_HAS_TILES = 1 };
#else
enum { GEMM_HAS_TILES = 0 };
#endif
enum {
    GEMM_NR = GEMM_VL * GEMM_NV,
    GEMM_KW = 512,          // words of one k block: a panel of B stays in L2
    GEMM_MC = 16 * GEMM_MR, // rows of A that share it
    GEMM_TILE_KW = 1024,    // the same of tiles, whose products take a quarter to an eighth of the time: what is read once more for every
    GEMM_TILE_MC = 288,     // block, sums that wait and B beyond L2, must be read so much less often
    GEMM_TILE_ROWS = 32,
};

typedef uint32_t __attribute__((may_alias)) gemm_word;

typedef struct gemm_in {
    const void *p;
    int64_t ld;     // elements between rows as stored
    hs_dtype dtype; // f32, bf16 or f16; f16 is widened to f32, f32 beside bf16 is narrowed to bf16
    bool k_major;   // stored [k, m] or [k, n]; else k is contiguous: [m, k] or [n, k]
} gemm_in;

typedef struct gemm_out {
    void *p;
    int64_t ld;
    hs_dtype dtype;
    bool add;
    const float *bias; // [n] or NULL
    float scale;
} gemm_out;

typedef struct gemm {
    int64_t m, n, k;
    gemm_in a, b;
    gemm_out c;
    const gemm_word *packed; // all of b by gemm_pack_share, or NULL: packed here. The bits are the same
    const uint8_t *pressed;  // of each panel in its order there, whether gemm_pack_share pressed it; NULL: none
    gemm_word *room;         // if pressed: this member's, for a panel (gemm_room_bytes)
    bool dot;                // multiply bf16: gemm_dot(type of the op's LOW operands), never with an f16 operand
    bool rows;               // member t reads and writes rows hs_part(t, m) of A and C, after a first hs_sync
    char *shared, *own;      // scratch of the team and of this member
} gemm;

static inline bool gemm_dot(hs_dtype low) { return GEMM_HAS_DOT && low == HS_BF16; }
static inline bool gemm_tiles(bool dot) { return GEMM_HAS_TILES && dot; }
static inline int64_t gemm_unit(bool dot) { return gemm_tiles(dot) ? GEMM_TILE_ROWS : GEMM_MR; } // rows that are one piece of work
static inline int64_t gemm_kw(bool dot) { return gemm_tiles(dot) ? GEMM_TILE_KW : GEMM_KW; }
static inline int64_t gemm_mc(bool dot) { return gemm_tiles(dot) ? GEMM_TILE_MC : GEMM_MC; }
static inline int64_t gemm_words(int64_t k, bool dot) { return dot ? (k + 1) / 2 : k; }
// Words from one panel of A to the next: not a multiple of 4 KiB, or the 16 panels being written would fight for one cache set.
static inline int64_t gemm_tile_words(int64_t kw) { return GEMM_MR * kw + 16; }
static inline int64_t gemm_panels(int64_t n) { return (n + GEMM_NR - 1) / GEMM_NR; }

// Every member of the team calls it with the same arguments; there is at least one hs_sync in it. If `rows` it may be the
// whole of a ROWS kernel that syncs first; else the caller has synced before, and syncs after if it uses `shared` or C again.
#define gemm_run HS_TIERED(hs_gemm_run)
void gemm_run(const gemm *g, hs_lane *lane);

// Scratch for shapes up to these (live counts may be smaller).
#define gemm_shared_bytes HS_TIERED(hs_gemm_shared_bytes)
size_t gemm_shared_bytes(int64_t n, int64_t k, bool dot);
#define gemm_own_bytes HS_TIERED(hs_gemm_own_bytes)
size_t gemm_own_bytes(int64_t m, int64_t n, int64_t k, bool dot, bool c_low);

// All of B [n, k] as gemm.packed wants it: k block by k block, the panels of each. This member's share; it does not sync.
static inline size_t gemm_packed_bytes(int64_t n, int64_t k, bool dot)
{
    return (size_t)(gemm_panels(n) * GEMM_NR * gemm_words(k, dot)) * 4;
}
#define gemm_pack_share HS_TIERED(hs_gemm_pack_share)
void gemm_pack_share(gemm_word *packed, const gemm_in *b, int64_t n, int64_t k, bool dot, const hs_lane *lane);
// The same, and those panels pressed that can be: below. pressed: [gemm_n_pressed], written.
#define gemm_press_share HS_TIERED(hs_gemm_press_share)
void gemm_press_share(gemm_word *packed, uint8_t *pressed, const gemm_in *b, int64_t n, int64_t k, bool dot, const hs_lane *lane);
static inline int64_t gemm_k_blocks(int64_t kw, bool dot) // of so many words
{
    return kw <= gemm_kw(dot) ? 1 : (kw + gemm_kw(dot) - 1) / gemm_kw(dot);
}
static inline int64_t gemm_n_pressed(int64_t n, int64_t k, bool dot) { return gemm_panels(n) * gemm_k_blocks(gemm_words(k, dot), dot); }
static inline size_t gemm_room_bytes(int64_t k, bool dot)
{
    const int64_t kw = gemm_words(k, dot);
    return (size_t)((kw < gemm_kw(dot) ? kw : gemm_kw(dot)) * GEMM_NR) * 4;
}

// ---- panels in which every four neighbours in k of a column have two values at most that are not 0 (gemm_2of4.c): few rows read half of
// the bytes. The bits are the same, but for the sign of a sum that underflowed to 0.
enum { GEMM_HAS_2OF4 = GEMM_VL > 4, GEMM_2OF4_ROWS = 4 };
// A panel [kw][GEMM_NR] is pressed in its place; false: it has other values, or the tier no loops, and nothing changed.
#define gemm_2of4_press HS_TIERED(hs_gemm_2of4_press)
bool gemm_2of4_press(gemm_word *panel, int64_t kw, bool dot);
#define gemm_2of4_expand HS_TIERED(hs_gemm_2of4_expand)
void gemm_2of4_expand(gemm_word *to, const gemm_word *panel, int64_t kw, bool dot);
// Columns [0, n) of m <= GEMM_2OF4_ROWS rows of words, all of them finite. sum: written; of tiles it goes on from what stands there. What
// lies at `next` is read soon.
#define gemm_2of4_sums HS_TIERED(hs_gemm_2of4_sums)
void gemm_2of4_sums(float sum[][GEMM_NR], int m, int64_t n, const gemm_word *const *a, const gemm_word *panel, int64_t kw, bool dot,
                    const gemm_word *next);

// ---- pieces, for fused kernels. Around all of a kernel's blocks: a thread's tiles are made ready, and given up. gemm_run does so itself.
#define gemm_begin HS_TIERED(hs_gemm_begin)
#define gemm_end   HS_TIERED(hs_gemm_end)
void gemm_begin(bool dot);
void gemm_end(bool dot);

// Panels of B for columns [j0, j0 + n) and k in [k0, k0 + k): panel[j][k words][GEMM_NR], what is missing is zero.
#define gemm_pack_b HS_TIERED(hs_gemm_pack_b)
void gemm_pack_b(gemm_word *panel, const gemm_in *b, int64_t k0, int64_t k, int64_t j0, int64_t n, bool dot);
// A k-major A as a k-major block of words, k by k behind each other: *lda below 0, and for whom tiles read so few columns that packing them
// into panels would take long beside it. m <= GEMM_MC, buf: GEMM_WIDE words a k.
enum { GEMM_WIDE = GEMM_MC + 16 }; // an odd number of cache lines, so that rows are of all cache sets
#define gemm_lay_wide HS_TIERED(hs_gemm_lay_wide)
const gemm_word *gemm_lay_wide(gemm_word *buf, const gemm_in *a, int64_t k0, int64_t k, int64_t i0, int64_t m, bool dot, int64_t *lda);
// Rows [i0, i0 + m) of A as words: where they lie, or in buf (gemm_tile_words for each GEMM_MR) - rows *lda words apart, or panels
// [k words][GEMM_MR] if *lda is 0. Without buf (they must be in place) where they lie.
#define gemm_lay_rows HS_TIERED(hs_gemm_lay_rows) // in buf, converted, whatever else a tier likes: of an A that is row-major
#define gemm_lay_a    HS_TIERED(hs_gemm_lay_a)
const gemm_word *gemm_lay_rows(gemm_word *buf, const gemm_in *a, int64_t k0, int64_t k, int64_t i0, int64_t m, bool dot, int64_t *lda);
const gemm_word *gemm_lay_a(gemm_word *buf, const gemm_in *a, int64_t k0, int64_t k, int64_t i0, int64_t m, bool dot, int64_t *lda);
static inline bool gemm_in_place(const gemm_in *a, int64_t k0, int64_t k, bool dot)
{
    return !a->k_major && a->dtype == (dot ? HS_BF16 : HS_F32) && (!dot || !((a->ld | k0 | k) & 1)) && (uintptr_t)a->p % 4 == 0;
}

// A row times a B that lies k-major and is read there: sum[n] goes on by k of its words, in their order. n: a multiple of 8.
// B may be i8 here: numbers, no scale.
#define gemm_chain HS_TIERED(hs_gemm_chain)
void gemm_chain(float *sum, const gemm_word *a, const gemm_in *b, int64_t k, int64_t n, bool dot);

// One block: A as rows of words lda apart (tile_words 0), or k-major: word (k, i) of the tile at rows i at a[k * lda], tiles
// tile_words apart - panels (GEMM_MR, gemm_tile_words), or a plain k-major block (lda, GEMM_MR), which is read up to GEMM_MR - 1
// words past its end. B as panels `ldb` words apart, whose first kw words of k are used.
typedef struct gemm_block {
    int64_t m, n, kw;
    const gemm_word *a, *b;
    int64_t lda, tile_words, ldb;
    bool dot;
    bool pressed;      // b is columns of one pressed panel, ldb as of whole ones; A in rows, few and finite
    const float *base; // added to the product: [m, n], ld_base apart; NULL: none
    int64_t ld_base;
    const float *bias; // [n] or NULL
    float scale;
    gemm_out to;       // bias and scale of it are not read; add: onto low precision C
    const char *fetch; // f32 that are packed behind this block, asked for meanwhile: rows of n, fetch_ld bytes apart; or NULL
    int64_t fetch_rows, fetch_ld;
} gemm_block;
// Rows of A as gemm_lay_a(.., &lda) gave them, from row r of these on: a whole tile's first. Below 0: a k-major block, -lda words a k.
static inline void gemm_block_rows(gemm_block *b, const gemm_word *a, int64_t lda, int64_t r)
{
    if (lda < 0) {
        b->lda = -lda, b->tile_words = GEMM_MR, b->a = a + r;
        return;
    }
    b->lda = lda ? lda : GEMM_MR, b->tile_words = lda ? 0 : gemm_tile_words(b->kw);
    b->a = a + (lda ? r * lda : r / GEMM_MR * b->tile_words);
}
#define gemm_block_run HS_TIERED(hs_gemm_block_run)
void gemm_block_run(const gemm_block *b);

#endif
