/* The scan in plain C, one nonce at a time, for any machine. */
#include "seal.h"

#define SCAN seal_scan_portable
#define TARGET
#define reg uint32_t
#define LANES 1
#define GROUPS 1
#define REG_SPLAT(word) (word)
#define REG_LANE_NUMBERS 0
#define REG_ADD(x, y) ((x) + (y))
#define REG_ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define REG_SHIFT(x, n) ((x) >> (n))
#define REG_XOR3(x, y, z) ((x) ^ (y) ^ (z))
#define REG_CHOOSE(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define REG_MAJORITY(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))
#define REG_AT_MOST(x, word) ((x) <= (word))

#include "lanes.h"
