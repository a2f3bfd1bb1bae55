/* The scan with AVX2: 8 nonces a step. */
#include "seal.h"

#ifdef SEAL_FOR_X86_64
#include <immintrin.h>

#define SCAN seal_scan_avx2
#define TARGET __attribute__((target("avx2")))
#define reg __m256i
#define LANES 8
#define GROUPS 1 /* two do not fit into 16 registers */
#define REG_SPLAT(word) _mm256_set1_epi32((int)(word))
#define REG_LANE_NUMBERS _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)
#define REG_ADD(x, y) _mm256_add_epi32(x, y)
#define REG_ROTATE(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define REG_SHIFT(x, n) _mm256_srli_epi32(x, n)
#define REG_XOR3(x, y, z) _mm256_xor_si256(_mm256_xor_si256(x, y), z)
#define REG_CHOOSE(x, y, z) _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
#define REG_MAJORITY(x, y, z)                                                                                          \
    _mm256_or_si256(_mm256_and_si256(x, y), _mm256_and_si256(z, _mm256_or_si256(x, y)))
/* AVX2 compares signed words only; the smaller of x and word is x exactly where x is at most word. */
#define REG_AT_MOST(x, word)                                                                                           \
    (uint8_t) _mm256_movemask_ps(                                                                                      \
        _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_min_epu32(x, REG_SPLAT(word)), x)))

#include "lanes.h"
#endif
