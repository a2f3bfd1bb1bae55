/* The state tree in memory: the compressed sparse Merkle tree that ledger/state_tree.py specifies.
 *
 * Nodes never change once they stand in a tree. They count who refers to them, trees and branches, so versions share
 * what they have in common and a version costs what it changed. Counts are plain: whoever holds the GIL may touch
 * them, and without it only nodes that nobody else has seen.
 *
 * NULL is the empty subtree.
 */
#ifndef GRIDMERIT_TREE_H
#define GRIDMERIT_TREE_H

#include "sha256.h"

enum { TREE_DEPTH = 256 };

/* What a branch and a leaf begin with. A count of 2^32 references would take more than 2^32 objects, 137 GB. */
typedef struct tree_node {
    uint32_t references;
    uint32_t key_size; /* of a leaf; TREE_BRANCH for a branch */
    uint8_t hash[SHA256_SIZE];
} tree_node;

typedef struct {
    tree_node node;
    tree_node *child[2]; /* left and right; not both are empty, nor one empty and the other a leaf */
} tree_branch;

/* The path of a leaf is not kept: its key's hash is computed again where it is asked for, which is seldom. */
typedef struct {
    tree_node node;
    size_t value_size;
    uint8_t bytes[]; /* the key, then the value */
} tree_leaf;

#define TREE_BRANCH UINT32_MAX
#define TREE_MAX_KEY (TREE_BRANCH - 1)

static inline bool tree_is_branch(const tree_node *node)
{
    return node && node->key_size == TREE_BRANCH;
}

static inline const tree_node *tree_child(const tree_node *branch, int right)
{
    return ((const tree_branch *)branch)->child[right];
}

static inline const uint8_t *tree_value(const tree_leaf *leaf)
{
    return leaf->bytes + leaf->node.key_size;
}

/* Bit `depth` of a path: 1 turns right. */
static inline int tree_turn(const uint8_t path[SHA256_SIZE], unsigned depth)
{
    return path[depth >> 3] >> (7 - (depth & 7)) & 1;
}

/* Before all else; returns how this machine hashes. */
const char *tree_prepare(void);

tree_node *tree_retain(tree_node *node);
void tree_release(tree_node *node);

void tree_path_of(const uint8_t *key, size_t size, uint8_t path[SHA256_SIZE]);
void tree_value_hash_of(const uint8_t *value, size_t size, uint8_t hash[SHA256_SIZE]);
bool tree_has_key(const tree_leaf *leaf, const uint8_t *key, size_t size);

/* One key's new value, or its deletion, on its way into a tree. */
typedef struct {
    uint64_t head;   /* of the path: the first 64 turns, which nearly always suffice */
    size_t position; /* in the batch: of two changes to one key the later counts */
    tree_leaf *leaf;
} tree_change;

typedef struct {
    tree_change *changes;
    size_t count, capacity;
} tree_batch;

/* Value NULL: delete. The key is at most TREE_MAX_KEY long. False: no memory. */
bool tree_batch_add(tree_batch *batch, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size);
void tree_batch_clear(tree_batch *batch);

/* The tree after the batch, which is used up, as a new reference: `root` itself where nothing changes.
 * `growth` says by how many keys it is larger. False: no memory, and nothing has happened. */
bool tree_update(tree_node *root, tree_batch *batch, tree_node **result, ptrdiff_t *growth);

#endif
