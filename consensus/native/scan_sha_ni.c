/* The scan with the SHA extensions of x86-64: STREAMS nonces at a time, one to a stream.
 *
 * A stream is bound by the latency of sha256rnds2, so several run side by side. The state is held as the
 * instructions want it, ABEF and CDGH with A and C in the highest lane, and the schedule in quads: quad n is the
 * words 4n .. 4n+3.
 */
#include "seal.h"

#ifdef SEAL_FOR_X86_64
#include <immintrin.h>

#define TARGET __attribute__((target("sha,sse4.1")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define STREAMS 4
#define EACH_STREAM _Pragma("GCC unroll 4") for (int i = 0; i < STREAMS; i++)

typedef struct {
    __m128i abef[STREAMS], cdgh[STREAMS], quad[16][STREAMS];
} stream_set;

INLINE __m128i words(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3)
{
    return _mm_setr_epi32((int)w0, (int)w1, (int)w2, (int)w3);
}

INLINE __m128i load_quad(const uint32_t word[64], int n)
{
    return _mm_loadu_si128((const __m128i *)(word + 4 * n));
}

/* Rounds 4n .. 4n+3: each instruction runs two, on the low half of the input. */
INLINE void run_four_rounds(stream_set *s, int n)
{
    __m128i constants = load_quad(seal_round_constants, n), input[STREAMS];
    EACH_STREAM input[i] = _mm_add_epi32(s->quad[n][i], constants);
    EACH_STREAM s->cdgh[i] = _mm_sha256rnds2_epu32(s->cdgh[i], s->abef[i], input[i]);
    EACH_STREAM input[i] = _mm_shuffle_epi32(input[i], 0x0e);
    EACH_STREAM s->abef[i] = _mm_sha256rnds2_epu32(s->abef[i], s->cdgh[i], input[i]);
}

INLINE void expand(stream_set *s, int n)
{
    __m128i x[STREAMS];
    EACH_STREAM x[i] = _mm_sha256msg1_epu32(s->quad[n - 4][i], s->quad[n - 3][i]);
    EACH_STREAM x[i] = _mm_add_epi32(x[i], _mm_alignr_epi8(s->quad[n - 1][i], s->quad[n - 2][i], 4));
    EACH_STREAM s->quad[n][i] = _mm_sha256msg2_epu32(x[i], s->quad[n - 1][i]);
}

INLINE void expand_and_run(stream_set *s, int n)
{
    expand(s, n);
    run_four_rounds(s, n);
}

/* Bit i: digest word 0 of stream i is at most `top`. */
INLINE uint32_t at_most(const __m128i abef[STREAMS], uint32_t top)
{
    __m128i high01 = _mm_unpackhi_epi32(abef[0], abef[1]), high23 = _mm_unpackhi_epi32(abef[2], abef[3]);
    __m128i a = _mm_unpackhi_epi64(high01, high23);
    __m128i digest = _mm_add_epi32(a, _mm_set1_epi32((int)SEAL_H0));
    __m128i smaller = _mm_min_epu32(digest, _mm_set1_epi32((int)top)); /* comparisons are signed */
    return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(smaller, digest)));
}

TARGET uint32_t seal_scan_sha_ni(const seal_plan *plan, uint32_t low, uint32_t count)
{
    const uint32_t *start = plan->after_round_9, *known = plan->known;
    const __m128i one_a_and_e = words(0, 1, 0, 1), one_in_front = words(1, 0, 0, 0), one_in_second = words(0, 1, 0, 0);

    /* Rounds 0-9 and quads 0 and 1 are the same for all. Word 9 goes into A, E and quad 2, and into word 16. */
    __m128i abef_low = words(start[5], start[4] + low, start[1], start[0] + low);
    __m128i cdgh = words(start[7], start[6], start[3], start[2]);
    __m128i input_10_11 = words(plan->input[10], plan->input[11], 0, 0);
    __m128i quad2_low = words(known[8], low, known[10], known[11]);
    __m128i quad3 = load_quad(known, 3);
    __m128i quad4_low = _mm_add_epi32(_mm_sha256msg1_epu32(load_quad(known, 0), load_quad(known, 1)),
                                      _mm_alignr_epi8(quad3, words(0, low, known[10], known[11]), 4));
    __m128i quad5_known = _mm_add_epi32(_mm_sha256msg1_epu32(load_quad(known, 1), load_quad(known, 2)),
                                        words(known[13], known[14], known[15], 0));

    for (uint32_t done = 0; done < count; done += STREAMS) {
        stream_set s;
        EACH_STREAM {
            s.cdgh[i] = abef_low;
            s.quad[2][i] = quad2_low;
            s.quad[3][i] = quad3;
            s.quad[4][i] = _mm_sha256msg2_epu32(quad4_low, quad3);
            abef_low = _mm_add_epi32(abef_low, one_a_and_e);
            quad2_low = _mm_add_epi32(quad2_low, one_in_second);
            quad4_low = _mm_add_epi32(quad4_low, one_in_front);
        }
        EACH_STREAM s.abef[i] = _mm_sha256rnds2_epu32(cdgh, s.cdgh[i], input_10_11);
        run_four_rounds(&s, 3);
        run_four_rounds(&s, 4);
        EACH_STREAM s.quad[5][i] = _mm_sha256msg2_epu32(
            _mm_add_epi32(quad5_known, _mm_slli_si128(s.quad[4][i], 12)), s.quad[4][i]);
        run_four_rounds(&s, 5);
        expand_and_run(&s, 6);
        expand_and_run(&s, 7);
        expand_and_run(&s, 8);
        expand_and_run(&s, 9);
        expand_and_run(&s, 10);
        expand_and_run(&s, 11);
        expand_and_run(&s, 12);
        expand_and_run(&s, 13);
        expand_and_run(&s, 14);
        expand_and_run(&s, 15);

        uint32_t candidates = at_most(s.abef, plan->top);
        if (candidates) {
            uint32_t found = done + (uint32_t)__builtin_ctz(candidates);
            return found < count ? found : count;
        }
    }
    return count;
}
#endif
