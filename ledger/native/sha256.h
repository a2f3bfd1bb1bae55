/* SHA-256 (FIPS 180-4) of bytes in memory: what the state tree is made of.
 *
 *     sha256.c           the hash in portable C, and which way this machine takes
 *     sha256_sha_ni.c    the SHA extensions of x86-64
 *     tree.c             the tree
 *     module.c           the Python module ledger._state_tree
 */
#ifndef GRIDMERIT_SHA256_H
#define GRIDMERIT_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SHA256_PORTABLE_ONLY: for tests, which would otherwise never take this way on a machine with instructions of its own. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(SHA256_PORTABLE_ONLY)
#define SHA256_FOR_X86_64
#endif

enum { SHA256_SIZE = 32, SHA256_BLOCK = 64 };

/* The eight words between two blocks. */
typedef struct {
    uint32_t word[8];
} sha256_state;

typedef void sha256_compress(sha256_state *state, const uint8_t *data, size_t blocks);

sha256_compress sha256_compress_portable, sha256_compress_sha_ni;

extern const uint32_t sha256_constants[64];
extern const sha256_state sha256_start;

/* Settles, once and before any other call, which way is taken; returns its name. */
const char *sha256_choose(void);

/* The state after one block. */
sha256_state sha256_after_block(const uint8_t block[SHA256_BLOCK]);

/* The digest of a message of which `before` bytes, whole blocks, have led to `state`, and data is the rest. */
void sha256_finish(const sha256_state *state, size_t before, const uint8_t *data, size_t size,
                   uint8_t digest[SHA256_SIZE]);

#endif
