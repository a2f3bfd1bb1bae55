/* The plain hash, which decides in the end, and the plan that the scans start from. */
#include "seal.h"
#include "../../ledger/native/sha256_rounds.h"

#include <string.h>

static const uint32_t initial_state[8] = {SEAL_H0,    0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

const uint32_t seal_round_constants[64] = SHA256_ROUND_CONSTANTS;

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
