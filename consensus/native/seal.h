/* The nonce search: F(W, S) = SHA-256(W || S), the root W 32 bytes, the nonce S 8 big-endian bytes.
 *
 * The message is 40 bytes, so its padding fits in the same block and an attempt is one compression of
 *
 *     word    0 .. 7     8            9           10           11 .. 14   15
 *             root       nonce high   nonce low   0x80000000   0          320 (length in bits)
 *
 * A search walks the low nonce word under a fixed high one, so all of it that does not depend on word 9 is computed
 * once (seal_plan) and the scan of one path repeats the rest.
 */
#ifndef GRIDMERIT_SEAL_H
#define GRIDMERIT_SEAL_H

#include <stdbool.h>
#include <stdint.h>

extern const uint32_t seal_round_constants[64];

/* The part of the hash that all nonces with one high word share. */
typedef struct {
    /* a .. h after round 9 (the first to use word 9) as if the low word were 0: it then adds to a and to e alone. */
    uint32_t state[8];
    /* The message schedule with every term that depends on word 9 left out. Words 0-8, 10-15, 17, 19 and 21 have
     * no such term: for them this is the word. From word 38 on nothing is left. */
    uint32_t fixed[64];
    /* The round constant plus `fixed`: what a round adds when its word is known in advance. */
    uint32_t keyed[64];
    /* A digest whose first word is above this misses the target; at or below, it is a candidate. */
    uint32_t top;
} seal_plan;

/* Returns how far below `lo + count` the first candidate is: its distance from `lo`, or `count` when there is none.
 * `lo + count` may reach 2^32 but not pass it. */
typedef uint32_t seal_scan(const seal_plan *plan, uint32_t lo, uint32_t count);

/* One way to search on this machine. */
typedef struct {
    const char *name;
    seal_scan *scan;
    /* Nonces between two looks at the stop flag: well under a millisecond of work. */
    uint32_t slice;
    bool (*is_supported)(void);
} seal_path;

/* Compiled-in paths, fastest first; the last is portable and always works. */
extern const seal_path seal_paths[];
extern const unsigned seal_path_count;

void seal_hash(const uint32_t root[8], uint64_t nonce, uint32_t digest[8]);
void seal_make_plan(seal_plan *plan, const uint32_t root[8], uint32_t nonce_high, uint32_t target_top);

#endif
