// products: f32 and f64 of one ISA tier, from one loop (products_loop.h).
#include "infer/quant/products.h"
#include "core/cpu/rows.h"

#if defined(__AVX512F__)
enum { VECTOR = 64, MR = 6, NV = 4 };
#elif defined(__AVX2__)
enum { VECTOR = 32, MR = 6, NV = 2 };
#else
enum { VECTOR = 16, MR = 4, NV = 2 };
#endif
enum { KB = 128, MC = 16 * MR }; // k and rows of A that are packed at once: A's block stays in L2, B's panel in L1

#define REAL  float
#define SUM   product_f32
#define TILE  tile_f32
#define VEC   vec_f32
#define LANES ((int)(VECTOR / sizeof(float)))
#include "infer/quant/products_loop.h"
#undef REAL
#undef SUM
#undef TILE
#undef VEC
#undef LANES
#define REAL  double
#define SUM   product_f64
#define TILE  tile_f64
#define VEC   vec_f64
#define LANES ((int)(VECTOR / sizeof(double)))
#include "infer/quant/products_loop.h"

extern const hs_quant_products HS_TIERED(hs_quant_products);
const hs_quant_products HS_TIERED(hs_quant_products) = { product_f32, product_f64 };
