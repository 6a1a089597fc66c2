// SPDX-License-Identifier: BSL-1.0
// Which instruction sets the bundled kernels may use beyond those that the program was compiled for.
// Folder: backends/bundled; any thread.
//
// A kernel is chosen by an object, never by a global: `bundled::aead{detect_cpu() & ~cpu::avx512}` is an AEAD that
// does without AVX-512, beside others that use it. What is not named is `chosen_cpu()`.
#ifndef WG_BACKENDS_BUNDLED_CPU_HPP
#define WG_BACKENDS_BUNDLED_CPU_HPP

#include "../../base/abi.hpp"

#include <cstdint>
#include <string_view>

#if __STDC_HOSTED__
#include <cstdlib>
#endif

// Kernels beyond the baseline exist for 64-bit x86, where one program meets processors twenty years apart. Elsewhere
// the compiler's baseline is what there is: NEON belongs to aarch64. On Windows g++ does not align vectors of more than
// 16 bytes on the stack (its bug 54412), so there the baseline is what there is with g++, too.
#if defined(__x86_64__) && !defined(WG_COMPACT) && (!defined(_WIN32) || defined(__clang__))
#define WG_X86_KERNELS
#include <cpuid.h>
#endif

// Sanitizers make many times the code of a kernel, and minutes of its compilation. So what is compiled for a vector
// unit is left to the tests, which lay guard pages around its memory.
#define WG_UNSANITIZED
#ifdef __clang__
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#undef WG_UNSANITIZED
#define WG_UNSANITIZED , clang::no_sanitize("address", "undefined")
#endif
#endif

// The instruction sets of kernels, as attributes of functions.
#define WG_TARGET_SSSE3 gnu::target("ssse3") WG_UNSANITIZED
#define WG_TARGET_AVX2 gnu::target("avx2,bmi,bmi2") WG_UNSANITIZED
// In clang 18 to 21 vectors of 512 bits are a feature of their own, which a command line may have switched off.
#if defined(__clang__) && __clang_major__ >= 18 && __clang_major__ <= 21
#define WG_TARGET_EVEX512 "evex512,"
#else
#define WG_TARGET_EVEX512
#endif
#define WG_TARGET_AVX512_SETS WG_TARGET_EVEX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2"
#define WG_TARGET_AVX512 gnu::target(WG_TARGET_AVX512_SETS) WG_UNSANITIZED
#define WG_TARGET_IFMA gnu::target("avx512ifma,avx512vbmi2," WG_TARGET_AVX512_SETS) WG_UNSANITIZED

// With WG_SEPARATE_KERNELS defined, the functions that choose a kernel are only declared, and the kernels of x86 are
// left out: the compiler neither reads nor compiles them. One unit of the program defines WG_DEFINE_KERNELS as well,
// and has all of them. A unit that names such a kernel, as tests do, defines WG_NAME_KERNELS.
#ifdef WG_SEPARATE_KERNELS
#define WG_CHOICE
#else
#define WG_CHOICE inline
#ifndef WG_DEFINE_KERNELS
#define WG_DEFINE_KERNELS
#endif
#endif
#if defined(WG_X86_KERNELS) && (defined(WG_DEFINE_KERNELS) || defined(WG_NAME_KERNELS))
#define WG_HAS_X86_KERNELS
#endif

namespace wg { inline namespace WG_ABI { namespace bundled {

/// A set of instruction sets.
enum class cpu : std::uint32_t {
    baseline = 0,
    ssse3 = 1,
    avx2 = 2,   ///< with BMI1 and BMI2
    adx = 4,    ///< two carry chains; with BMI2
    avx512 = 8, ///< F, BW, DQ, VL
    ifma = 16,  ///< AVX512-IFMA, products of 52 bits, with VBMI2
    all = 31,
};

constexpr cpu operator&(cpu a, cpu b) noexcept { return cpu(std::uint32_t(a) & std::uint32_t(b)); }
constexpr cpu operator|(cpu a, cpu b) noexcept { return cpu(std::uint32_t(a) | std::uint32_t(b)); }
constexpr cpu operator~(cpu a) noexcept { return cpu(std::uint32_t(cpu::all) & ~std::uint32_t(a)); }
/// Whether `set` has all of `wanted`.
constexpr bool has(cpu set, cpu wanted) noexcept { return (set & wanted) == wanted; }

/// A set without what rests on something that is not in it: no AVX-512 where AVX2 was turned off.
constexpr cpu consistent(cpu set) noexcept {
    if (!has(set, cpu::ssse3)) set = set & ~cpu::avx2;
    if (!has(set, cpu::avx2)) set = set & ~(cpu::adx | cpu::avx512);
    if (!has(set, cpu::avx512)) set = set & ~cpu::ifma;
    return set;
}

/// What the processor has and the operating system keeps the registers of.
inline cpu detect_cpu() noexcept {
#ifdef WG_X86_KERNELS
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return cpu::baseline;
    cpu set = cpu::baseline;
    if (c & bit_SSSE3) set = set | cpu::ssse3;
    if (!(c & bit_OSXSAVE)) return set;
    unsigned saved, unused;
    asm volatile("xgetbv" : "=a"(saved), "=d"(unused) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return set;
    constexpr unsigned ymm = 6, zmm = 0xe6; // bits of XCR0
    constexpr unsigned wide = bit_AVX2 | bit_BMI | bit_BMI2,
                       wider = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if ((saved & ymm) == ymm && (b & wide) == wide) set = set | cpu::avx2;
    if ((b & bit_ADX) && (b & bit_BMI2)) set = set | cpu::adx;
    if ((saved & zmm) == zmm && (b & wider) == wider) set = set | cpu::avx512;
    if ((b & bit_AVX512IFMA) && (c & bit_AVX512VBMI2)) set = set | cpu::ifma;
    return consistent(set);
#else
    return cpu::baseline;
#endif
}

/// Reads names separated by commas, such as "avx512,adx". False, and `set` unchanged, if one is none.
[[nodiscard]] constexpr bool parse_cpu(std::string_view names, cpu& set) noexcept {
    constexpr struct {
        std::string_view name;
        cpu what;
    } known[] = {{"ssse3", cpu::ssse3},   {"avx2", cpu::avx2}, {"adx", cpu::adx},
                 {"avx512", cpu::avx512}, {"ifma", cpu::ifma}, {"all", cpu::all}};
    cpu found = cpu::baseline;
    while (!names.empty()) {
        std::string_view const name = names.substr(0, names.find(','));
        cpu here = cpu::baseline;
        for (auto const& k : known)
            if (k.name == name) here = k.what;
        if (here == cpu::baseline) return false;
        found = found | here;
        names.remove_prefix(name.size() < names.size() ? name.size() + 1 : names.size());
    }
    set = found;
    return true;
}

/// What there is, less what the environment variable `WG_CPU_OFF` names ("avx512,adx"; "all"). Found out once.
/// A variable with a wrong name in it turns off nothing: a program may check it with `parse_cpu` and say so.
inline cpu chosen_cpu() noexcept {
#ifdef WG_X86_KERNELS
    static cpu const chosen = [] {
        cpu off = cpu::baseline;
#if __STDC_HOSTED__
        if (char const* const names = std::getenv("WG_CPU_OFF")) static_cast<void>(parse_cpu(names, off));
#endif
        return consistent(detect_cpu() & ~off);
    }();
    return chosen;
#else
    return cpu::baseline;
#endif
}

}}} // namespace wg::WG_ABI::bundled

#endif
