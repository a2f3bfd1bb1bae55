/* The hash in portable C, and which way this machine takes. */
#include "sha256.h"
#include "sha256_rounds.h"

#include <string.h>

const sha256_state sha256_start = {
    {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};

const uint32_t sha256_constants[64] = SHA256_ROUND_CONSTANTS;

static void store_words(uint8_t *bytes, const uint32_t *words, int count)
{
    for (int i = 0; i < count; i++, bytes += 4) {
        bytes[0] = (uint8_t)(words[i] >> 24);
        bytes[1] = (uint8_t)(words[i] >> 16);
        bytes[2] = (uint8_t)(words[i] >> 8);
        bytes[3] = (uint8_t)words[i];
    }
}

static uint32_t load_word(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

void sha256_compress_portable(sha256_state *state, const uint8_t *data, size_t blocks)
{
    for (; blocks; blocks--, data += SHA256_BLOCK) {
        uint32_t word[16]; /* the last sixteen of the schedule */
        uint32_t a = state->word[0], b = state->word[1], c = state->word[2], d = state->word[3];
        uint32_t e = state->word[4], f = state->word[5], g = state->word[6], h = state->word[7];
        _Pragma("GCC unroll 64") for (int i = 0; i < 64; i++) {
            uint32_t *now = &word[i & 15];
            if (i < 16)
                *now = load_word(data + 4 * i);
            else
                *now += SMALL_SIGMA0(word[(i + 1) & 15]) + word[(i + 9) & 15] + SMALL_SIGMA1(word[(i + 14) & 15]);
            uint32_t t1 = h + BIG_SIGMA1(e) + ((e & f) ^ (~e & g)) + sha256_constants[i] + *now;
            uint32_t t2 = BIG_SIGMA0(a) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + t1;
            d = c, c = b, b = a, a = t1 + t2;
        }
        const uint32_t sum[8] = {a, b, c, d, e, f, g, h};
        for (int i = 0; i < 8; i++)
            state->word[i] += sum[i];
    }
}

#ifdef SHA256_FOR_X86_64
#include <cpuid.h>

static bool has_sha_ni(void)
{
    const unsigned leaf1_ecx_sse4_1 = 1 << 19, leaf7_ebx_sha = 1 << 29;
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & leaf7_ebx_sha) &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & leaf1_ecx_sse4_1);
}

/* Does it do to three blocks what the portable one does? */
static bool is_right(sha256_compress *compress)
{
    uint8_t data[3 * SHA256_BLOCK];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i + 7);
    sha256_state ours = sha256_start, expected = sha256_start;
    compress(&ours, data, 3);
    sha256_compress_portable(&expected, data, 3);
    return memcmp(&ours, &expected, sizeof ours) == 0;
}
#endif

static sha256_compress *active = sha256_compress_portable;

const char *sha256_choose(void)
{
#ifdef SHA256_FOR_X86_64
    if (has_sha_ni() && is_right(sha256_compress_sha_ni)) {
        active = sha256_compress_sha_ni;
        return "sha-ni";
    }
#endif
    return "portable";
}

sha256_state sha256_after_block(const uint8_t block[SHA256_BLOCK])
{
    sha256_state state = sha256_start;
    active(&state, block, 1);
    return state;
}

void sha256_finish(const sha256_state *state, size_t before, const uint8_t *data, size_t size,
                   uint8_t digest[SHA256_SIZE])
{
    sha256_state now = *state;
    uint8_t tail[2 * SHA256_BLOCK] = {0};
    size_t whole = size < sizeof tail - 8 ? 0 : size / SHA256_BLOCK; /* a short message is one call, with its padding */
    size_t rest = size - whole * SHA256_BLOCK, tail_blocks = rest < SHA256_BLOCK - 8 ? 1 : 2;
    if (whole)
        active(&now, data, whole);
    if (rest)
        memcpy(tail, data + whole * SHA256_BLOCK, rest);
    tail[rest] = 0x80;
    uint64_t bits = ((uint64_t)before + size) * 8;
    const uint32_t length[2] = {(uint32_t)(bits >> 32), (uint32_t)bits};
    store_words(tail + tail_blocks * SHA256_BLOCK - 8, length, 2);
    active(&now, tail, tail_blocks);
    store_words(digest, now.word, 8);
}
