/* Compression with the SHA extensions of x86-64.
 *
 * The instructions want the state as ABEF and CDGH, A and C in the highest lane, and the schedule in quads: quad n is
 * the words 4n .. 4n+3.
 */
#include "sha256.h"

#ifdef SHA256_FOR_X86_64
#include <immintrin.h>

#define TARGET __attribute__((target("sha,sse4.1")))

TARGET void sha256_compress_sha_ni(sha256_state *state, const uint8_t *data, size_t blocks)
{
    const __m128i big_endian = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state->word), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state->word + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

    for (; blocks; blocks--, data += SHA256_BLOCK) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i quad[16];
        _Pragma("GCC unroll 16") for (int n = 0; n < 16; n++) {
            if (n < 4)
                quad[n] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * n)), big_endian);
            else {
                __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(quad[n - 4], quad[n - 3]),
                                            _mm_alignr_epi8(quad[n - 1], quad[n - 2], 4));
                quad[n] = _mm_sha256msg2_epu32(sum, quad[n - 1]);
            }
            __m128i constants = _mm_loadu_si128((const __m128i *)(sha256_constants + 4 * n));
            __m128i input = _mm_add_epi32(quad[n], constants);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, input);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(input, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }

    __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state->word, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state->word + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#endif
