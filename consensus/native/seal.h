/* The nonce search of proof of credit assessment: F(W, S) = SHA-256(W || S).
 *
 * The root W is 32 bytes and the nonce S is 8 big-endian bytes, so the message fills one block with its padding and
 * an attempt is one compression of sixteen words:
 *
 *     word   0 .. 7   8           9          10           11 .. 14   15
 *            root     nonce high  nonce low  0x80000000   0          320 (length in bits)
 *
 * A scan walks word 9 and leaves the others alone. What does not depend on word 9 is computed once, into a plan.
 *
 *     sha256.c       the plain hash, and the plan
 *     scan_*.c       one scan for each set of instructions; lanes.h is what three of them share
 *     paths.c        which scans this machine has, and whether they work
 *     search.c       a range of 64-bit nonces, in slices, with cancellation
 *     module.c       the Python module consensus._seal
 */
#ifndef GRIDMERIT_SEAL_H
#define GRIDMERIT_SEAL_H

#include <stdbool.h>
#include <stdint.h>

/* Which scans the compiler can build: those that need instructions beyond the target's, by function attributes. */
#if defined(__x86_64__) && defined(__GNUC__)
#define SEAL_FOR_X86_64
#endif
#if defined(__aarch64__) && defined(__GNUC__)
#if !defined(__clang__) || __clang_major__ >= 16 || defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO)
#define SEAL_FOR_AARCH64 /* an older clang has the intrinsics only where the whole file may use them */
#endif
#endif

#define SEAL_NONCE_LOW 9 /* the message word that a scan walks */
#define SEAL_H0 0x6a09e667u /* digest word 0 is a + H0 */

/* What all nonces with the same high word have in common. */
typedef struct {
    /* a .. h after rounds 0-7, which read the root alone. */
    uint32_t after_round_7[8];
    /* a .. h after rounds 0-9 as if word 9 were 0: what word 9 is, is still to be added to a and to e. */
    uint32_t after_round_9[8];
    /* The message schedule without the terms that depend on word 9. Words that have no such term are complete;
     * from word 38 on nothing is left but 0. See seal_word_varies. */
    uint32_t known[64];
    /* What is known of the input of a round: its constant, and its word where that is complete. */
    uint32_t input[64];
    /* First word of the target. A digest whose first word is above it misses, at or below it is a candidate. */
    uint32_t top;
} seal_plan;

/* Does word t of the schedule depend on word 9? Folds away where t is a constant. */
static inline __attribute__((always_inline)) bool seal_word_varies(int t)
{
    return t == SEAL_NONCE_LOW || t == 16 || t == 18 || t == 20 || t >= 22;
}

/* Returns the distance of the first candidate from `low`, or `count` when low .. low + count - 1 has none.
 * `low + count` may reach 2^32. */
typedef uint32_t seal_scan(const seal_plan *plan, uint32_t low, uint32_t count);

seal_scan seal_scan_portable, seal_scan_avx2, seal_scan_avx512, seal_scan_sha_ni, seal_scan_armv8;

typedef struct {
    const char *name;
    seal_scan *scan;
    bool (*is_supported)(void);
    uint32_t slice; /* nonces between two looks at the stop flags: a fraction of a millisecond */
} seal_path;

/* Fastest first; the last one, portable C, always works. */
extern const seal_path seal_paths[];
extern const int seal_path_count;

/* Does the path's scan find what the plain hash finds? */
bool seal_path_is_right(const seal_path *path);

extern const uint32_t seal_round_constants[64];

void seal_hash(const uint32_t root[8], uint64_t nonce, uint32_t digest[8]);
void seal_make_plan(seal_plan *plan, const uint32_t root[8], uint32_t nonce_high, uint32_t top);

typedef struct {
    uint32_t root[8];
    uint32_t target[8];
    uint64_t first, last; /* both belong to the range */
    /* Either flag ends the search when its byte is not 0; NULL for none. Others write them meanwhile. */
    const volatile uint8_t *stop, *won;
} seal_job;

/* Finds the smallest nonce of the range whose hash is at most the target. False: there is none, or a flag was set. */
bool seal_search(const seal_path *path, const seal_job *job, uint64_t *nonce);

#endif
