/* A range of 64-bit nonces, as slices that a scan can walk. */
#include "seal.h"

/* The flags are bytes that other threads write while we read; nothing else is read on the strength of them. */
static bool is_set(const volatile uint8_t *flag)
{
    return flag && *flag;
}

static bool meets_target(const seal_job *job, uint64_t nonce)
{
    uint32_t digest[8];
    seal_hash(job->root, nonce, digest);
    for (int i = 0; i < 8; i++)
        if (digest[i] != job->target[i])
            return digest[i] < job->target[i];
    return true;
}

/* Walks the part of the range under one high word: nonce .. last, as long as that word does not change. */
static bool search_under_high_word(const seal_path *path, const seal_job *job, uint64_t *nonce, uint64_t last)
{
    seal_plan plan;
    seal_make_plan(&plan, job->root, (uint32_t)(*nonce >> 32), job->target[0]);
    while (!is_set(job->stop) && !is_set(job->won)) {
        uint64_t left = last - *nonce; /* after this one, since a count might not fit */
        uint32_t count = left < path->slice ? (uint32_t)left + 1 : path->slice;
        uint32_t distance = path->scan(&plan, (uint32_t)*nonce, count);
        if (distance < count && meets_target(job, *nonce + distance)) {
            *nonce += distance;
            return true;
        }
        uint32_t walked = distance < count ? distance + 1 : count;
        if (walked > left)
            return false;
        *nonce += walked;
    }
    return false;
}

bool seal_search(const seal_path *path, const seal_job *job, uint64_t *nonce)
{
    *nonce = job->first;
    for (;;) {
        uint64_t last = *nonce | UINT32_MAX;
        if (last > job->last)
            last = job->last;
        if (search_under_high_word(path, job, nonce, last))
            return true;
        if (last == job->last || is_set(job->stop) || is_set(job->won))
            return false;
        *nonce = last + 1;
    }
}
