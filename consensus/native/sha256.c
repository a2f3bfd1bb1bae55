/* The plain hash, which decides in the end, and the plan that the scans start from. */
#include "seal.h"

#include <string.h>

#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define BIG_SIGMA0(x) (ROTATE(x, 2) ^ ROTATE(x, 13) ^ ROTATE(x, 22))
#define BIG_SIGMA1(x) (ROTATE(x, 6) ^ ROTATE(x, 11) ^ ROTATE(x, 25))
#define SMALL_SIGMA0(x) (ROTATE(x, 7) ^ ROTATE(x, 18) ^ (x) >> 3)
#define SMALL_SIGMA1(x) (ROTATE(x, 17) ^ ROTATE(x, 19) ^ (x) >> 10)

static const uint32_t initial_state[8] = {SEAL_H0,    0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

const uint32_t seal_round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void fill_message(uint32_t word[64], const uint32_t root[8], uint32_t nonce_high, uint32_t nonce_low)
{
    memset(word, 0, 64 * sizeof word[0]);
    memcpy(word, root, 8 * sizeof word[0]);
    word[8] = nonce_high;
    word[SEAL_NONCE_LOW] = nonce_low;
    word[10] = 0x80000000;
    word[15] = 320;
}

static void run_rounds(uint32_t state[8], const uint32_t word[64], int first, int end)
{
    for (int t = first; t < end; t++) {
        uint32_t a = state[0], b = state[1], c = state[2], e = state[4], f = state[5], g = state[6];
        uint32_t t1 = state[7] + BIG_SIGMA1(e) + ((e & f) ^ (~e & g)) + seal_round_constants[t] + word[t];
        uint32_t t2 = BIG_SIGMA0(a) + ((a & b) ^ (a & c) ^ (b & c));
        memmove(state + 1, state, 7 * sizeof state[0]);
        state[4] += t1;
        state[0] = t1 + t2;
    }
}

void seal_hash(const uint32_t root[8], uint64_t nonce, uint32_t digest[8])
{
    uint32_t word[64];
    fill_message(word, root, (uint32_t)(nonce >> 32), (uint32_t)nonce);
    for (int t = 16; t < 64; t++)
        word[t] = SMALL_SIGMA1(word[t - 2]) + word[t - 7] + SMALL_SIGMA0(word[t - 15]) + word[t - 16];
    memcpy(digest, initial_state, sizeof initial_state);
    run_rounds(digest, word, 0, 64);
    for (int i = 0; i < 8; i++)
        digest[i] += initial_state[i];
}

void seal_make_plan(seal_plan *plan, const uint32_t root[8], uint32_t nonce_high, uint32_t top)
{
    uint32_t *known = plan->known;
    fill_message(known, root, nonce_high, 0);
    for (int t = 16; t < 64; t++) {
        known[t] = 0;
        if (!seal_word_varies(t - 2))
            known[t] += SMALL_SIGMA1(known[t - 2]);
        if (!seal_word_varies(t - 7))
            known[t] += known[t - 7];
        if (!seal_word_varies(t - 15))
            known[t] += SMALL_SIGMA0(known[t - 15]);
        if (!seal_word_varies(t - 16))
            known[t] += known[t - 16];
    }
    for (int t = 0; t < 64; t++)
        plan->input[t] = seal_round_constants[t] + (seal_word_varies(t) ? 0 : known[t]);

    memcpy(plan->after_round_7, initial_state, sizeof initial_state);
    run_rounds(plan->after_round_7, known, 0, 8);
    memcpy(plan->after_round_9, plan->after_round_7, sizeof initial_state);
    run_rounds(plan->after_round_9, known, 8, 10);
    plan->top = top;
}
