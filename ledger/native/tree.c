/* The state tree in memory. */
#include "tree.h"

#include <stdlib.h>
#include <string.h>

#define DELETION SIZE_MAX /* as the size of a value */
#define HEAD_BITS 64

static sha256_state path_tag, value_tag; /* after the block that a tag fills (BIP 340) */

static sha256_state after_tag(const char *tag)
{
    uint8_t block[SHA256_BLOCK];
    sha256_finish(&sha256_start, 0, (const uint8_t *)tag, strlen(tag), block);
    memcpy(block + SHA256_SIZE, block, SHA256_SIZE);
    return sha256_after_block(block);
}

const char *tree_prepare(void)
{
    const char *name = sha256_choose();
    path_tag = after_tag("gridmerit/state/path");
    value_tag = after_tag("gridmerit/state/value");
    return name;
}

/* --- nodes ------------------------------------------------------------------------------------- */

tree_node *tree_retain(tree_node *node)
{
    if (node)
        node->references++;
    return node;
}

/* Calls itself for the left child alone, so at most once a level. */
void tree_release(tree_node *node)
{
    while (node && --node->references == 0) {
        tree_node *next = NULL;
        if (tree_is_branch(node)) {
            tree_release(((tree_branch *)node)->child[0]);
            next = ((tree_branch *)node)->child[1];
        }
        free(node);
        node = next;
    }
}

#ifdef TREE_PATH_IS_KEY
/* For tests: nobody finds keys whose hashes agree in two hundred bits, but anybody can write such keys down. */
void tree_path_of(const uint8_t *key, size_t size, uint8_t path[SHA256_SIZE])
{
    memset(path, 0, SHA256_SIZE);
    memcpy(path, key, size < SHA256_SIZE ? size : SHA256_SIZE);
}
#else
void tree_path_of(const uint8_t *key, size_t size, uint8_t path[SHA256_SIZE])
{
    sha256_finish(&path_tag, SHA256_BLOCK, key, size, path);
}
#endif

void tree_value_hash_of(const uint8_t *value, size_t size, uint8_t hash[SHA256_SIZE])
{
    sha256_finish(&value_tag, SHA256_BLOCK, value, size, hash);
}

/* SHA-256 of a prefix and two hashes: the leaf prefix 0, or 1 for a branch. */
static void hash_pair(uint8_t prefix, const uint8_t *left, const uint8_t *right, uint8_t hash[SHA256_SIZE])
{
    uint8_t message[1 + 2 * SHA256_SIZE];
    message[0] = prefix;
    memcpy(message + 1, left, SHA256_SIZE);
    memcpy(message + 1 + SHA256_SIZE, right, SHA256_SIZE);
    sha256_finish(&sha256_start, 0, message, sizeof message, hash);
}

bool tree_has_key(const tree_leaf *leaf, const uint8_t *key, size_t size)
{
    return leaf->node.key_size == size && memcmp(leaf->bytes, key, size) == 0;
}

/* The node above two children, whose references it takes: a leaf with an empty sibling moves up, and so does
 * emptiness. False: no memory. */
static bool join(tree_node *left, tree_node *right, tree_node **result)
{
    static const uint8_t empty_hash[SHA256_SIZE];
    *result = left ? left : right;
    if ((!left || !right) && !tree_is_branch(*result))
        return true;
    tree_branch *branch = malloc(sizeof *branch);
    if (!branch) {
        tree_release(left);
        tree_release(right);
        return false;
    }
    *branch = (tree_branch){.node = {.references = 1, .key_size = TREE_BRANCH}, .child = {left, right}};
    hash_pair(1, left ? left->hash : empty_hash, right ? right->hash : empty_hash, branch->node.hash);
    *result = &branch->node;
    return true;
}

/* --- a batch of changes ------------------------------------------------------------------------ */

static bool grow(tree_batch *batch)
{
    size_t capacity = batch->capacity ? batch->capacity + batch->capacity / 2 : 16;
    if (capacity > SIZE_MAX / sizeof *batch->changes)
        return false;
    tree_change *changes = realloc(batch->changes, capacity * sizeof *changes);
    if (!changes)
        return false;
    batch->changes = changes;
    batch->capacity = capacity;
    return true;
}

bool tree_batch_add(tree_batch *batch, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size)
{
    if (batch->count == batch->capacity && !grow(batch))
        return false;
    size_t stored = value ? value_size : 0, fixed = sizeof(tree_leaf) + key_size;
    tree_leaf *leaf = stored <= SIZE_MAX - fixed ? malloc(fixed + stored) : NULL;
    if (!leaf)
        return false;
    leaf->node = (tree_node){.references = 1, .key_size = (uint32_t)key_size};
    leaf->value_size = value ? value_size : DELETION;
    memcpy(leaf->bytes, key, key_size);
    uint8_t path[SHA256_SIZE], value_hash[SHA256_SIZE];
    tree_path_of(key, key_size, path);
    if (value) {
        memcpy(leaf->bytes + key_size, value, value_size);
        tree_value_hash_of(value, value_size, value_hash);
        hash_pair(0, path, value_hash, leaf->node.hash);
    }
    uint64_t head = 0;
    for (int i = 0; i < 8; i++)
        head = head << 8 | path[i];
    batch->changes[batch->count] = (tree_change){.head = head, .position = batch->count, .leaf = leaf};
    batch->count++;
    return true;
}

void tree_batch_clear(tree_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        tree_release(&batch->changes[i].leaf->node);
    free(batch->changes);
    *batch = (tree_batch){0};
}

/* --- a batch on its way through the tree ------------------------------------------------------- */

static int turn_of(const tree_change *change, unsigned depth)
{
    if (depth < HEAD_BITS)
        return change->head >> (HEAD_BITS - 1 - depth) & 1;
    uint8_t path[SHA256_SIZE];
    tree_path_of(change->leaf->bytes, change->leaf->node.key_size, path);
    return tree_turn(path, depth);
}

/* Puts those that turn left at `depth` before those that turn right, and returns how many they are. */
static size_t split(tree_change *changes, size_t count, unsigned depth)
{
    size_t low = 0, high = count;
    while (low < high) {
        if (!turn_of(&changes[low], depth))
            low++;
        else {
            tree_change change = changes[low];
            changes[low] = changes[--high];
            changes[high] = change;
        }
    }
    return low;
}

static bool is_same_key(const tree_leaf *one, const tree_leaf *other)
{
    return tree_has_key(one, other->bytes, other->node.key_size);
}

/* Are the changes, and the leaf `old` where there is one, all of one key? Not asked of several while their heads may
 * still part them. */
static bool are_of_one_key(const tree_leaf *old, const tree_change *changes, size_t count, unsigned depth)
{
    if (count > 1 && depth < HEAD_BITS)
        return false;
    for (size_t i = 1; i < count; i++)
        if (!is_same_key(changes[i].leaf, changes->leaf))
            return false;
    return !old || is_same_key(old, changes->leaf);
}

static tree_change *latest(tree_change *changes, size_t count)
{
    tree_change *last = changes;
    for (size_t i = 1; i < count; i++)
        if (changes[i].position > last->position)
            last = &changes[i];
    return last;
}

/* What stands in the place of `old`, a leaf of the same key or nothing, after one change. */
static tree_node *replace(tree_node *old, tree_leaf *leaf, ptrdiff_t *growth)
{
    if (leaf->value_size == DELETION) {
        *growth -= old != NULL;
        return NULL;
    }
    if (old && memcmp(old->hash, leaf->node.hash, SHA256_SIZE) == 0)
        return tree_retain(old);
    *growth += old == NULL;
    return tree_retain(&leaf->node);
}

/* The subtree `old`, at `depth` below the root, after changes that all pass through it; a new reference.
 *
 * A leaf stands for all the branches above it that it would need, so on the way down it is on one side and nothing is
 * on the other. `old_path` is its path, NULL while that is not known. False: no memory. */
static bool update(tree_node *old, const uint8_t *old_path, tree_change *changes, size_t count, unsigned depth,
                   tree_node **result, ptrdiff_t *growth)
{
    if (count == 0) {
        *result = tree_retain(old);
        return true;
    }
    tree_leaf *old_leaf = tree_is_branch(old) ? NULL : (tree_leaf *)old;
    bool is_end = !tree_is_branch(old) && are_of_one_key(old_leaf, changes, count, depth);
    if (is_end || depth == TREE_DEPTH) { /* two keys with one path: nobody knows any */
        *result = replace(old, latest(changes, count)->leaf, growth);
        return true;
    }

    uint8_t path[SHA256_SIZE];
    tree_node *left = NULL, *right = NULL, *new_left, *new_right;
    if (old_leaf) {
        if (!old_path) {
            tree_path_of(old_leaf->bytes, old->key_size, path);
            old_path = path;
        }
        *(tree_turn(old_path, depth) ? &right : &left) = old;
    } else if (old) {
        left = ((tree_branch *)old)->child[0];
        right = ((tree_branch *)old)->child[1];
    }
    size_t middle = split(changes, count, depth);
    if (!update(left, old_path, changes, middle, depth + 1, &new_left, growth))
        return false;
    if (!update(right, old_path, changes + middle, count - middle, depth + 1, &new_right, growth)) {
        tree_release(new_left);
        return false;
    }
    if (tree_is_branch(old) && new_left == left && new_right == right) {
        tree_release(new_left);
        tree_release(new_right);
        *result = tree_retain(old);
        return true;
    }
    return join(new_left, new_right, result);
}

bool tree_update(tree_node *root, tree_batch *batch, tree_node **result, ptrdiff_t *growth)
{
    *growth = 0;
    bool is_done = update(root, NULL, batch->changes, batch->count, 0, result, growth);
    tree_batch_clear(batch);
    return is_done;
}
