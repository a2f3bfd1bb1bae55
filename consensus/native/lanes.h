/* The scan over lanes: `LANES` consecutive nonces at a time, one in each lane of `vec`.
 *
 * Included once by every path that works this way, after it has defined
 *   TARGET                  the function attribute that allows its instructions
 *   LANES, vec              how many 32-bit words a vec holds
 *   splat(word)             the same word in every lane
 *   lane_numbers()          0, 1, 2 ... in lane order
 *   add, rotate_xor (two rotations and a shift), rotate_xor3, choose, majority
 *   at_most(x, word)        bit i set when lane i of x is <= word, unsigned
 * and it then has the static function scan_lanes, a seal_scan.
 *
 * Consecutive nonces in the lanes keep the contract simple: the lowest lane of the first step that has a candidate
 * is the smallest nonce. Lanes far apart (differing in the high word) would make words 16, 18, 20 and 22 scalars and
 * save 2 % of the instructions, but then a hit says nothing about the nonces between.
 */

#define SUM3(x, y, z) add(add(x, y), z)
#define SUM4(x, y, z, u) add(add(x, y), add(z, u))

#define BIG_SIGMA0(a) XOR3(rotate(a, 2), rotate(a, 13), rotate(a, 22))
#define BIG_SIGMA1(e) XOR3(rotate(e, 6), rotate(e, 11), rotate(e, 25))
#define SMALL_SIGMA0(w) XOR3(rotate(w, 7), rotate(w, 18), shift(w, 3))
#define SMALL_SIGMA1(w) XOR3(rotate(w, 17), rotate(w, 19), shift(w, 10))
#define FIXED(t) splat(plan->fixed[t])

#define ROUND(a, b, c, d, e, f, g, h, input)                                                                           \
    do {                                                                                                               \
        vec t1 = add(add(h, input), add(BIG_SIGMA1(e), choose(e, f, g)));                                              \
        d = add(d, t1);                                                                                                \
        h = SUM3(t1, majority(a, b, c), BIG_SIGMA0(a));                                                                \
    } while (0)

#define EIGHT_ROUNDS(t, in)                                                                                            \
    do {                                                                                                               \
        ROUND(a, b, c, d, e, f, g, h, in(t + 0));                                                                      \
        ROUND(h, a, b, c, d, e, f, g, in(t + 1));                                                                      \
        ROUND(g, h, a, b, c, d, e, f, in(t + 2));                                                                      \
        ROUND(f, g, h, a, b, c, d, e, in(t + 3));                                                                      \
        ROUND(e, f, g, h, a, b, c, d, in(t + 4));                                                                      \
        ROUND(d, e, f, g, h, a, b, c, in(t + 5));                                                                      \
        ROUND(c, d, e, f, g, h, a, b, in(t + 6));                                                                      \
        ROUND(b, c, d, e, f, g, h, a, in(t + 7));                                                                      \
    } while (0)

