/* Which scans this machine can run. */
#include "seal.h"

#ifdef SEAL_FOR_X86_64
#include <cpuid.h>

enum {
    XCR0_YMM = 1 << 1 | 1 << 2,                     /* SSE and AVX state */
    XCR0_ZMM = XCR0_YMM | 1 << 5 | 1 << 6 | 1 << 7, /* opmask, upper halves of zmm0-15, zmm16-31 */
    LEAF1_ECX_SSE4_1 = 1 << 19,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16,
    LEAF7_EBX_SHA = 1 << 29,
};

static bool cpu_has(unsigned leaf7_ebx)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & leaf7_ebx) == leaf7_ebx;
}

/* A processor has wide registers for us only when the operating system saves them at a task switch. */
static bool system_saves(unsigned state)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & LEAF1_ECX_OSXSAVE))
        return false;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (eax & state) == state;
}

/* The compiler's own check is asked as well: it knows of processors whose claims are not to be trusted. */
static bool has_avx512(void)
{
    __builtin_cpu_init();
    return cpu_has(LEAF7_EBX_AVX512F) && system_saves(XCR0_ZMM) && __builtin_cpu_supports("avx512f");
}

static bool has_avx2(void)
{
    __builtin_cpu_init();
    return cpu_has(LEAF7_EBX_AVX2) && system_saves(XCR0_YMM) && __builtin_cpu_supports("avx2");
}

static bool has_sha_ni(void)
{
    unsigned eax, ebx, ecx, edx;
    return cpu_has(LEAF7_EBX_SHA) && __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & LEAF1_ECX_SSE4_1);
}
#endif

#ifdef SEAL_FOR_AARCH64
#if defined(__linux__)
#include <sys/auxv.h>
#endif

static bool has_armv8_sha2(void)
{
#if defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO) || defined(__APPLE__)
    return true;
#elif defined(__linux__)
    const unsigned long hwcap_sha2 = 1 << 6; /* HWCAP_SHA2 of the kernel's interface */
    return getauxval(AT_HWCAP) & hwcap_sha2;
#else
    return false;
#endif
}
#endif

static bool always(void)
{
    return true;
}

const seal_path seal_paths[] = {
#ifdef SEAL_FOR_X86_64
    {"avx512", seal_scan_avx512, has_avx512, 1 << 14},
    {"sha-ni", seal_scan_sha_ni, has_sha_ni, 1 << 14},
    {"avx2", seal_scan_avx2, has_avx2, 1 << 14},
#endif
#ifdef SEAL_FOR_AARCH64
    {"armv8", seal_scan_armv8, has_armv8_sha2, 1 << 14},
#endif
    {"portable", seal_scan_portable, always, 1 << 11},
};
const int seal_path_count = sizeof seal_paths / sizeof seal_paths[0];

/* Compares every lane or stream with the plain hash over some 1/8 hits. A scan that errs is not offered: seal_search
 * never returns a wrong nonce, but it cannot notice one that a scan passed over. */
bool seal_path_is_right(const seal_path *path)
{
    enum { WINDOW = 200 }; /* no multiple of a step, so that the end is looked at too */
    const uint32_t root[8] = {0x00010203, 0x04050607, 0x08090a0b, 0x0c0d0e0f,
                              0x10111213, 0x14151617, 0x18191a1b, 0x1c1d1e1f};
    const uint32_t high = 0x20212223, low = UINT32_MAX - WINDOW + 1, top = UINT32_MAX / 8;
    seal_plan plan;
    seal_make_plan(&plan, root, high, top);

    uint32_t next = 0; /* where the scan says that the next candidate is */
    for (uint32_t i = 0; i < WINDOW; i++) {
        uint32_t digest[8];
        seal_hash(root, (uint64_t)high << 32 | (low + i), digest);
        if (next <= i)
            next = i + path->scan(&plan, low + i, WINDOW - i);
        if ((next == i) != (digest[0] <= top))
            return false;
        if (next == i)
            next++;
    }
    return true;
}
