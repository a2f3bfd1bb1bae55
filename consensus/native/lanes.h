/* A scan in lanes: each 32-bit lane of a register, and of GROUPS registers side by side, hashes one nonce.
 *
 * A path includes this once, having defined
 *     SCAN                   the name of its seal_scan
 *     TARGET                 the attribute that lets a function use its instructions
 *     reg, LANES, GROUPS     the register type, its lanes, and how many registers are in flight to hide latency
 *     REG_SPLAT(word), REG_LANE_NUMBERS
 *     REG_ADD(x, y), REG_ROTATE(x, n), REG_SHIFT(x, n), REG_XOR3(x, y, z), REG_CHOOSE(x, y, z), REG_MAJORITY(x, y, z)
 *     REG_AT_MOST(x, word)   a mask: bit i says that lane i of x is <= word, unsigned
 *
 * The lanes hold consecutive nonces, so the lowest lane of the first step with a candidate is the smallest nonce and
 * a scan may stop there. Lanes that differ in the *high* word would turn words 16, 18, 20 and 22 into scalars, which
 * saves 2 % of the instructions, but a hit would then leave gaps of 2^32 nonces to search before it is the smallest.
 */
#include "seal.h"

#define STEP_SIZE (LANES * GROUPS)
#define INLINE static inline __attribute__((always_inline)) TARGET

typedef struct {
    reg group[GROUPS];
} vec;

#define EACH_GROUP _Pragma("GCC unroll 4") for (int i = 0; i < GROUPS; i++)

INLINE vec splat(uint32_t word)
{
    vec x;
    EACH_GROUP x.group[i] = REG_SPLAT(word);
    return x;
}

INLINE vec lane_numbers(void)
{
    vec x;
    EACH_GROUP x.group[i] = REG_ADD(REG_LANE_NUMBERS, REG_SPLAT((uint32_t)(LANES * i)));
    return x;
}

INLINE vec add(vec x, vec y)
{
    EACH_GROUP x.group[i] = REG_ADD(x.group[i], y.group[i]);
    return x;
}

INLINE vec choose(vec x, vec y, vec z)
{
    EACH_GROUP x.group[i] = REG_CHOOSE(x.group[i], y.group[i], z.group[i]);
    return x;
}

INLINE vec majority(vec x, vec y, vec z)
{
    EACH_GROUP x.group[i] = REG_MAJORITY(x.group[i], y.group[i], z.group[i]);
    return x;
}

/* Rotation counts must be literals where the instruction has them as an immediate, hence a macro for four functions. */
#define DEFINE_SIGMA(name, n1, n2, REG_LAST, n3)                                                                       \
    INLINE vec name(vec x)                                                                                             \
    {                                                                                                                  \
        EACH_GROUP x.group[i] = REG_XOR3(REG_ROTATE(x.group[i], n1), REG_ROTATE(x.group[i], n2),                       \
                                         REG_LAST(x.group[i], n3));                                                    \
        return x;                                                                                                      \
    }

DEFINE_SIGMA(big_sigma0, 2, 13, REG_ROTATE, 22)
DEFINE_SIGMA(big_sigma1, 6, 11, REG_ROTATE, 25)
DEFINE_SIGMA(small_sigma0, 7, 18, REG_SHIFT, 3)
DEFINE_SIGMA(small_sigma1, 17, 19, REG_SHIFT, 10)

INLINE uint64_t at_most(vec x, uint32_t word)
{
    uint64_t mask = 0;
    EACH_GROUP mask |= (uint64_t)REG_AT_MOST(x.group[i], word) << (LANES * i);
    return mask;
}

/* Word t of the schedule, for a t that varies: the known part and the varying terms, the latest one last since the
 * others are long there when it arrives. With t a constant all the conditions fold away. */
INLINE vec expand(const seal_plan *plan, const vec word[64], int t)
{
    if (t == 16)
        return add(word[SEAL_NONCE_LOW], splat(plan->known[16]));
    vec sum = t < 38 ? splat(plan->known[t]) : word[t - 16];
    if (t < 38 && seal_word_varies(t - 16))
        sum = add(sum, word[t - 16]);
    if (seal_word_varies(t - 7))
        sum = add(sum, word[t - 7]);
    if (seal_word_varies(t - 15))
        sum = add(sum, small_sigma0(word[t - 15]));
    if (seal_word_varies(t - 2))
        sum = add(sum, small_sigma1(word[t - 2]));
    return sum;
}

typedef struct {
    vec a, b, c, d, e, f, g, h;
} rounds_state;

INLINE void run_round(const seal_plan *plan, rounds_state *s, vec word[64], int t)
{
    vec input = splat(plan->input[t]);
    if (seal_word_varies(t)) {
        word[t] = expand(plan, word, t);
        input = add(word[t], input);
    }
    vec t1 = add(add(add(s->h, input), choose(s->e, s->f, s->g)), big_sigma1(s->e));
    vec t2 = add(majority(s->a, s->b, s->c), big_sigma0(s->a));
    s->h = s->g, s->g = s->f, s->f = s->e, s->e = add(s->d, t1);
    s->d = s->c, s->c = s->b, s->b = s->a, s->a = add(t1, t2);
}

INLINE void run_six_rounds(const seal_plan *plan, rounds_state *s, vec word[64], int t)
{
    run_round(plan, s, word, t);
    run_round(plan, s, word, t + 1);
    run_round(plan, s, word, t + 2);
    run_round(plan, s, word, t + 3);
    run_round(plan, s, word, t + 4);
    run_round(plan, s, word, t + 5);
}

/* Digest word 0 alone: it settles all but one in 2^32 of the nonces that miss.
 *
 * The nine calls are not a loop because GCC would unroll it too late to keep `word` in registers: a fifth slower. */
INLINE vec digest_word_0(const seal_plan *plan, vec nonce_low)
{
    const uint32_t *start = plan->after_round_9;
    rounds_state s = {splat(start[0]), splat(start[1]), splat(start[2]), splat(start[3]),
                      splat(start[4]), splat(start[5]), splat(start[6]), splat(start[7])};
    s.a = add(s.a, nonce_low);
    s.e = add(s.e, nonce_low);
    vec word[64];
    word[SEAL_NONCE_LOW] = nonce_low;

    run_six_rounds(plan, &s, word, 10);
    run_six_rounds(plan, &s, word, 16);
    run_six_rounds(plan, &s, word, 22);
    run_six_rounds(plan, &s, word, 28);
    run_six_rounds(plan, &s, word, 34);
    run_six_rounds(plan, &s, word, 40);
    run_six_rounds(plan, &s, word, 46);
    run_six_rounds(plan, &s, word, 52);
    run_six_rounds(plan, &s, word, 58);
    return add(s.a, splat(SEAL_H0));
}

TARGET uint32_t SCAN(const seal_plan *plan, uint32_t low, uint32_t count)
{
    vec nonce_low = add(splat(low), lane_numbers());
    for (uint32_t done = 0; done < count; done += STEP_SIZE) {
        uint64_t candidates = at_most(digest_word_0(plan, nonce_low), plan->top);
        if (candidates) {
            uint32_t found = done + (uint32_t)__builtin_ctzll(candidates);
            return found < count ? found : count; /* the last step may look past the end */
        }
        nonce_low = add(nonce_low, splat(STEP_SIZE));
    }
    return count;
}
