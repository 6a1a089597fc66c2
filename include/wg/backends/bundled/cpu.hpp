// SPDX-License-Identifier: BSL-1.0
// Which instruction sets the bundled kernels may use beyond those that the program was compiled for.
// Folder: backends/bundled; any thread.
//
// The kernel is a property of an object, not a global setting: `bundled::aead{detect_cpu() & ~cpu::avx512}` is an AEAD
// without AVX-512, and other objects may use AVX-512 at the same time. The default is `chosen_cpu()`.
#ifndef WG_BACKENDS_BUNDLED_CPU_HPP
#define WG_BACKENDS_BUNDLED_CPU_HPP

#include "../../base/abi.hpp"

#include <cstdint>
#include <string_view>

#if __STDC_HOSTED__
#include <cstdlib>
#endif

// Kernels beyond the baseline exist for 64-bit x86 only, where one program runs on processors twenty years apart. Other
// processors use the compiler's baseline; that of aarch64 has NEON. On Windows, g++ uses the baseline, too: it does not
// align vectors of more than 16 bytes on the stack (g++ bug 54412).
#if defined(__x86_64__) && !defined(WG_COMPACT) && (!defined(_WIN32) || defined(__clang__))
#define WG_X86_KERNELS
#include <cpuid.h>
#endif

// Sanitizers multiply the code size of a kernel, and then a kernel compiles for minutes. So functions for a vector unit
// are not sanitized; instead, tests put guard pages around the memory that these functions read and write.
#define WG_UNSANITIZED
#ifdef __clang__
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#undef WG_UNSANITIZED
#define WG_UNSANITIZED , clang::no_sanitize("address", "undefined")
#endif
#endif

// The function attributes of each kernel's instruction sets.
#define WG_TARGET_SSSE3 gnu::target("ssse3") WG_UNSANITIZED
#define WG_TARGET_AVX2 gnu::target("avx2,bmi,bmi2") WG_UNSANITIZED
// In clang 18 to 21, vectors of 512 bits are a separate feature (evex512) that the command line may have turned off.
#if defined(__clang__) && __clang_major__ >= 18 && __clang_major__ <= 21
#define WG_TARGET_EVEX512 "evex512,"
#else
#define WG_TARGET_EVEX512
#endif
#define WG_TARGET_AVX512_SETS WG_TARGET_EVEX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2"
#define WG_TARGET_AVX512 gnu::target(WG_TARGET_AVX512_SETS) WG_UNSANITIZED
#define WG_TARGET_IFMA gnu::target("avx512ifma,avx512vbmi2," WG_TARGET_AVX512_SETS) WG_UNSANITIZED

// If WG_SEPARATE_KERNELS is defined, the functions that choose a kernel are declared but not defined, and the compiler
// does not read the kernels of x86. This saves compile time. Exactly one translation unit of the program also defines
// WG_DEFINE_KERNELS; it contains all kernels. A translation unit that names a kernel, as tests do, defines
// WG_NAME_KERNELS.
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

/// A set of instruction sets of 64-bit x86, as flags.
enum class cpu : std::uint32_t {
    baseline = 0, ///< only the instructions that the program is compiled for
    ssse3 = 1,    ///< SSSE3: shuffles of bytes
    avx2 = 2,     ///< AVX2, BMI1 and BMI2
    adx = 4,      ///< ADX, which has two carry chains, and BMI2
    avx512 = 8,   ///< AVX-512 F, BW, DQ and VL
    ifma = 16,    ///< AVX512-IFMA, which has products of 52 bits, and AVX512-VBMI2
    all = 31,     ///< all of the above
};

/// The instruction sets that are in both sets.
constexpr cpu operator&(cpu a, cpu b) noexcept { return cpu(std::uint32_t(a) & std::uint32_t(b)); }
/// The instruction sets that are in at least one of the sets.
constexpr cpu operator|(cpu a, cpu b) noexcept { return cpu(std::uint32_t(a) | std::uint32_t(b)); }
/// The instruction sets of `cpu::all` that are not in `a`.
constexpr cpu operator~(cpu a) noexcept { return cpu(std::uint32_t(cpu::all) & ~std::uint32_t(a)); }
/// Whether `set` contains all of `wanted`.
constexpr bool has(cpu set, cpu wanted) noexcept { return (set & wanted) == wanted; }

/// `set` without the instruction sets whose prerequisites are not in `set`: without AVX2 there is no AVX-512, either.
constexpr cpu consistent(cpu set) noexcept {
    if (!has(set, cpu::ssse3)) set = set & ~cpu::avx2;
    if (!has(set, cpu::avx2)) set = set & ~(cpu::adx | cpu::avx512);
    if (!has(set, cpu::avx512)) set = set & ~cpu::ifma;
    return set;
}

/// The instruction sets that the processor has and whose registers the operating system saves. Any thread.
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

/// Parses names separated by commas, such as "avx512,adx", and writes their union to `set`.
/// Returns: false if a name is unknown; `set` is unchanged then.
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

/// `detect_cpu()` without the instruction sets that the environment variable `WG_CPU_OFF` names ("avx512,adx"; "all").
/// The first call computes the result, and later calls return it. Any thread. A variable with an unknown name turns off
/// nothing; a program can check the variable with `parse_cpu` and report the error.
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
