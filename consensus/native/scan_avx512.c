/* The scan with AVX-512F: 32 nonces a step. */
#include "seal.h"

#ifdef SEAL_FOR_X86_64
#include <immintrin.h>

#define SCAN seal_scan_avx512
#define TARGET __attribute__((target("avx512f")))
#define reg __m512i
#define LANES 16
#define GROUPS 2 /* one alone waits for its own results; three do not fit into 32 registers */
#define REG_SPLAT(word) _mm512_set1_epi32((int)(word))
#define REG_LANE_NUMBERS _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#define REG_ADD(x, y) _mm512_add_epi32(x, y)
#define REG_ROTATE(x, n) _mm512_ror_epi32(x, n)
#define REG_SHIFT(x, n) _mm512_srli_epi32(x, n)
/* The byte is the truth table of the three inputs. */
#define REG_XOR3(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define REG_CHOOSE(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define REG_MAJORITY(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe8)
#define REG_AT_MOST(x, word) _mm512_cmple_epu32_mask(x, REG_SPLAT(word))

#include "lanes.h"
#endif
