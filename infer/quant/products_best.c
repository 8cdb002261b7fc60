// products_best: the tier of products that is best on this CPU.
#include "core/cpu/cpu.h"
#include "infer/quant/products.h"

extern const hs_quant_products hs_quant_products_portable, hs_quant_products_avx2, hs_quant_products_avx512;

static const hs_quant_products *const tiers[HS_N_ISA] = {
    [HS_ISA_PORTABLE] = &hs_quant_products_portable,
#ifdef HS_HAVE_TIER_AVX2
    [HS_ISA_AVX2] = &hs_quant_products_avx2,
#endif
#ifdef HS_HAVE_TIER_AVX512
    [HS_ISA_AVX512] = &hs_quant_products_avx512,
#endif
};

const hs_quant_products *hs_quant_products_best(void)
{
    unsigned built = 0;
    hs_isa isa;
    for (int i = 0; i < HS_N_ISA; i++)
        built |= tiers[i] ? 1u << i : 0;
    return hs_isa_choose(NULL, built, &isa) == HS_OK ? tiers[isa] : tiers[HS_ISA_PORTABLE];
}
