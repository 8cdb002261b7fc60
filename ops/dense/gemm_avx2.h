// gemm_avx2: the k loops of a whole 6 x 16 tile in AVX2, written by hand. Included by gemm.c alone.
//
// Most AVX2 servers lend half of a core: with a busy sibling thread a core takes about 3.3 micro-ops a cycle, and a product is
// bound by those, not by its FMAs (2 a cycle). A loop of one word of k has 26 of them for 12 FMAs, these have 21. On two shared
// cores of Zen 3 that is 73 -> 91 % of the register peak with all data in L1. gcc 12 spills the same loop in C from 8 steps on.
//
// One accumulator per cell, words of k in their order: the bits are those of the loop in C that does the rest of k.
#ifndef HS_OPS_GEMM_AVX2_H
#define HS_OPS_GEMM_AVX2_H

enum { AVX2_STEP = 8 }; // words of k a body

// Word k of a panel of B into ymm12 and 13; then each row's word of A, by turns in ymm14 and 15, times both.
#define AVX2_B(k) "vmovups " #k "*64(%[b]), %%ymm12\n\tvmovups " #k "*64+32(%[b]), %%ymm13\n\t"
#define AVX2_ROW(i, word, t)                                                                                                               \
    "vbroadcastss " word ", %%" #t "\n\tvfmadd231ps %%ymm12, %%" #t ", %[s" #i "0]\n\tvfmadd231ps %%ymm13, %%" #t ", %[s" #i "1]\n\t"
#define AVX2_WORD(k, a0, a1, a2, a3, a4, a5)                                                                                               \
    AVX2_B(k)                                                                                                                              \
    AVX2_ROW(0, a0, ymm14) AVX2_ROW(1, a1, ymm15) AVX2_ROW(2, a2, ymm14) AVX2_ROW(3, a3, ymm15) AVX2_ROW(4, a4, ymm14) AVX2_ROW(5, a5, ymm15)
#define AVX2_8(word) word(0) word(1) word(2) word(3) word(4) word(5) word(6) word(7)
#define AVX2_SUMS                                                                                                                          \
    [s00] "+x"(s[0][0]), [s01] "+x"(s[0][1]), [s10] "+x"(s[1][0]), [s11] "+x"(s[1][1]), [s20] "+x"(s[2][0]), [s21] "+x"(s[2][1]),          \
        [s30] "+x"(s[3][0]), [s31] "+x"(s[3][1]), [s40] "+x"(s[4][0]), [s41] "+x"(s[4][1]), [s50] "+x"(s[5][0]), [s51] "+x"(s[5][1])
#define AVX2_CLOBBERS "ymm12", "ymm13", "ymm14", "ymm15", "memory"

// Rows of A `ld` bytes apart, c is the fourth | a panel [k][6] | k-major with words of k `ld` bytes apart, ld3 is 3 ld.
#define AVX2_OF_ROWS(k)                                                                                                                    \
    AVX2_WORD(k, #k "*4(%[a])", #k "*4(%[a],%[ld])", #k "*4(%[a],%[ld],2)", #k "*4(%[c])", #k "*4(%[c],%[ld])", #k "*4(%[c],%[ld],2)")
#define AVX2_OF_PANEL(k)                                                                                                                   \
    AVX2_WORD(k, #k "*24(%[a])", #k "*24+4(%[a])", #k "*24+8(%[a])", #k "*24+12(%[a])", #k "*24+16(%[a])", #k "*24+20(%[a])")
#define AVX2_AT(k, at)                                                                                                                     \
    AVX2_WORD(k, "(%[a]" at ")", "4(%[a]" at ")", "8(%[a]" at ")", "12(%[a]" at ")", "16(%[a]" at ")", "20(%[a]" at ")")

// As many words of k as make whole bodies; returns how many. `ask` bytes of what is read next are asked for with each word, once a body:
// once a word would cost 4 to 8 % of the tile, never as much of the product.
static inline __attribute__((always_inline)) int64_t avx2_bodies(const bool k_major, int64_t kw, int64_t lda, const gemm_word *a,
                                                                 const gemm_word *b, vec s[GEMM_MR][GEMM_NV], const char *next, int64_t ask)
{
    const int64_t n = kw / AVX2_STEP * AVX2_STEP, ld = 4 * lda, ld3 = 3 * ld;
    const gemm_word *const end = b + n * GEMM_NR, *c = a + ld3 / 4;
    ask *= AVX2_STEP;
    if (!k_major)
        for (; b < end; b += AVX2_STEP * GEMM_NR, a += AVX2_STEP, c += AVX2_STEP, next += ask) {
            __builtin_prefetch(next);
            __asm__(AVX2_8(AVX2_OF_ROWS) : AVX2_SUMS : [a] "r"(a), [c] "r"(c), [ld] "r"(ld), [b] "r"(b) : AVX2_CLOBBERS);
        }
    else if (lda == GEMM_MR)
        for (; b < end; b += AVX2_STEP * GEMM_NR, a += AVX2_STEP * GEMM_MR, next += ask) {
            __builtin_prefetch(next);
            __asm__(AVX2_8(AVX2_OF_PANEL) : AVX2_SUMS : [a] "r"(a), [b] "r"(b) : AVX2_CLOBBERS);
        }
    else
        for (; b < end; b += AVX2_STEP * GEMM_NR, next += ask) {
            __builtin_prefetch(next);
            __asm__(AVX2_AT(0, "") AVX2_AT(1, ",%[ld]") AVX2_AT(2, ",%[ld],2") AVX2_AT(3, ",%[ld3]") "lea (%[a],%[ld],4), %[a]\n\t"
                    AVX2_AT(4, "") AVX2_AT(5, ",%[ld]") AVX2_AT(6, ",%[ld],2") AVX2_AT(7, ",%[ld3]") "lea (%[a],%[ld],4), %[a]\n\t"
                    : AVX2_SUMS, [a] "+r"(a)
                    : [ld] "r"(ld), [ld3] "r"(ld3), [b] "r"(b)
                    : AVX2_CLOBBERS);
        }
    return n;
}

#endif
