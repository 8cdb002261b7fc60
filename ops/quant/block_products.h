// block_products: rows in 8 bits, panels of weights in 8 or 4 bits, and the loops that multiply them, all by blocks of 32 along the inner width.
// Internal to ops/quant; compiled once per ISA tier.
//
//   q = rint(x (1 / s)), ties to even      s = (largest |x| of the block) / 127, both rounded to f32 (i8_round.h: the rule of a row)
//   sum = (..(0 + d_0) + d_1 ..) + d_n     d_b = (float)(sum over the block's 32 of q w) * (s_x[b] s_w[o][b])
//
// The inner sum is of integers and exact, all else is one rounding of f32 for each multiply and each add, in this order (these files are
// compiled with -ffp-contract=off): the bits are the same in every tier, whatever rows stand beside. A block with a scale below 2^-126
// counts as zeros; one with a value that is not finite has the scale NaN, so that all sums over it are NaN.
#ifndef HS_OPS_BLOCK_PRODUCTS_H
#define HS_OPS_BLOCK_PRODUCTS_H
#include "core/cpu/rows.h"

enum {
    BLOCK = 32,      // elements that share a scale
    PANEL = 32,      // columns that lie together: outputs
    TILE_ROWS = 6,   // rows of one call of a loop, at most
    TILE_RECORD = 40 // bytes of a row's block: 32 codes, its scale, what its sums begin at
};

// Rows lie in tiles of TILE_ROWS, the last of what is left. A tile is a record for each block: 32 codes of each row, scales (f32) of each,
// starts (i32) of each. Of 4-bit products codes lie as panels have them, in each 8 the even ones before the odd ones.
static inline size_t blocks_rows_bytes(int64_t rows, int64_t in) { return ((size_t)(rows * (in / BLOCK)) * TILE_RECORD + 63) / 64 * 64; }

// A panel is a record for each block: codes of all columns, then their scales (f16). `group` bytes of a column lie together, those of the
// next column behind them. 4 bits: two codes a byte, the even one low, each plus 8. What has no column is 0.
static inline size_t blocks_record_bytes(bool four) { return BLOCK * PANEL / (four ? 2 : 1) + PANEL * sizeof(uint16_t); }
static inline int64_t blocks_panels(int64_t out) { return (out + PANEL - 1) / PANEL; }
static inline size_t blocks_panel_bytes(int64_t in, bool four) { return (size_t)(in / BLOCK) * blocks_record_bytes(four); }

typedef struct blocks_tile {
    const char *rows, *panel; // a tile and a panel
    int64_t blocks;
    float (*sum)[PANEL]; // of each row, written
} blocks_tile;

// One way to multiply. Those of a tier stand in an array by preference; the last runs on every CPU of the tier, and ends it.
typedef struct blocks_loops {
    const char *name;
    bool (*runs)(void); // on this CPU; NULL: as the tier does
    int group;          // bytes of a column that lie together; of 4 bits half as many, if it is more than 4
    bool lifted;        // 8-bit codes lie plus 128, without a sign
    void (*eight)(const blocks_tile *t, int rows), (*four)(const blocks_tile *t, int rows);
} blocks_loops;
#define blocks_all HS_TIERED(hs_blocks_all)
extern const blocks_loops blocks_all[];
#define blocks_best HS_TIERED(hs_blocks_best)
const blocks_loops *blocks_best(void);

// Row `row` of `rows`, of `in` elements, into the tiles at `to`.
#define blocks_quantize HS_TIERED(hs_blocks_quantize)
void blocks_quantize(const blocks_loops *l, char *to, const float *x, int64_t row, int64_t rows, int64_t in, bool four);
// Columns [first, first + PANEL) of codes [out, in] (I8, or U8 two a byte) and scales f16 [out, in / 32] into a panel.
#define blocks_pack HS_TIERED(hs_blocks_pack)
void blocks_pack(const blocks_loops *l, char *panel, const hs_ref *codes, const hs_ref *scales, int64_t first);

// Tile t of the rows at `rows`.
static inline const char *blocks_tile_at(const char *rows, int64_t t, int64_t in)
{
    return rows + (size_t)(t * TILE_ROWS * (in / BLOCK)) * TILE_RECORD;
}

#endif
