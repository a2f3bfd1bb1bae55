/* The scan with the SHA-2 extension of AArch64: STREAMS nonces at a time, one to a stream.
 *
 * Laid out like scan_sha_ni.c, but the instructions run four rounds on ABCD and EFGH with A and E in lane 0, so the
 * scan starts from the state after round 7, at a multiple of four.
 */
#include "seal.h"

#ifdef SEAL_FOR_AARCH64
#include <arm_neon.h>

#if defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO)
#define TARGET
#elif defined(__clang__)
#define TARGET __attribute__((target("sha2")))
#else
#define TARGET __attribute__((target("+crypto")))
#endif
#define INLINE static inline __attribute__((always_inline)) TARGET
#define STREAMS 4
#define EACH_STREAM _Pragma("GCC unroll 4") for (int i = 0; i < STREAMS; i++)

typedef struct {
    uint32x4_t abcd[STREAMS], efgh[STREAMS], quad[16][STREAMS];
} stream_set;

/* Rounds 4n .. 4n+3. */
INLINE void run_four_rounds(stream_set *s, int n)
{
    uint32x4_t constants = vld1q_u32(seal_round_constants + 4 * n), input[STREAMS], abcd[STREAMS];
    EACH_STREAM input[i] = vaddq_u32(s->quad[n][i], constants);
    EACH_STREAM abcd[i] = s->abcd[i];
    EACH_STREAM s->abcd[i] = vsha256hq_u32(abcd[i], s->efgh[i], input[i]);
    EACH_STREAM s->efgh[i] = vsha256h2q_u32(s->efgh[i], abcd[i], input[i]);
}

INLINE void expand(stream_set *s, int n)
{
    EACH_STREAM s->quad[n][i] = vsha256su1q_u32(vsha256su0q_u32(s->quad[n - 4][i], s->quad[n - 3][i]),
                                                s->quad[n - 2][i], s->quad[n - 1][i]);
}

INLINE void expand_and_run(stream_set *s, int n)
{
    expand(s, n);
    run_four_rounds(s, n);
}

/* Bit i: digest word 0 of stream i is at most `top`. */
INLINE uint32_t at_most(const uint32x4_t abcd[STREAMS], uint32_t top)
{
    uint32_t mask = 0;
    EACH_STREAM mask |= (uint32_t)(vgetq_lane_u32(abcd[i], 0) + SEAL_H0 <= top) << i;
    return mask;
}

TARGET uint32_t seal_scan_armv8(const seal_plan *plan, uint32_t low, uint32_t count)
{
    const uint32x4_t abcd = vld1q_u32(plan->after_round_7), efgh = vld1q_u32(plan->after_round_7 + 4);
    const uint32x4_t quad0 = vld1q_u32(plan->known), quad1 = vld1q_u32(plan->known + 4);
    const uint32x4_t quad2 = vld1q_u32(plan->known + 8), quad3 = vld1q_u32(plan->known + 12);

    for (uint32_t done = 0; done < count; done += STREAMS) {
        stream_set s;
        EACH_STREAM {
            s.abcd[i] = abcd;
            s.efgh[i] = efgh;
            s.quad[0][i] = quad0;
            s.quad[1][i] = quad1;
            s.quad[2][i] = vsetq_lane_u32(low + done + (uint32_t)i, quad2, SEAL_NONCE_LOW % 4);
            s.quad[3][i] = quad3;
        }
        run_four_rounds(&s, 2);
        run_four_rounds(&s, 3);
        expand_and_run(&s, 4);
        expand_and_run(&s, 5);
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

        uint32_t candidates = at_most(s.abcd, plan->top);
        if (candidates) {
            uint32_t found = done + (uint32_t)__builtin_ctz(candidates);
            return found < count ? found : count;
        }
    }
    return count;
}
#endif
