// SPDX-License-Identifier: BSL-1.0
// How a translation unit was compiled: assertions, declassification of secrets, the ABI namespace. Folder: base.
#ifndef WG_BASE_ABI_HPP
#define WG_BASE_ABI_HPP

// With an older standard this is the first error. wg.hpp then leaves out everything else.
#if __cplusplus < 202002L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 202002L)
#error "wg needs C++20: compile with -std=c++20 or a newer standard"
#else
/// Defined if the standard is C++20 or newer.
#define WG_HAS_CXX20
#endif

/// Defined if `WG_ASSERT` checks: without `NDEBUG`, or if a program defines it before the first include.
#if !defined(WG_CHECKED) && !defined(NDEBUG)
#define WG_CHECKED
#endif

/// `WG_DECLASSIFY(value)` is `value`. It marks a value that was computed from secrets and is public from here on, such
/// as whether a tag is right. No other value of a secret may decide a branch or an address. The constant-time test
/// defines it to its own hook before the first include.
#ifndef WG_DECLASSIFY
#define WG_DECLASSIFY(value) (value)
#endif

// WG_COMPACT is for machines that handle one packet at a time and have kilobytes of memory: no batches, no tables of
// precomputed points. It is the default for Cortex-M. WG_SMALL implies it, and selects the smallest cryptography.
// WG_BARE is for a node without an operating system: it leaves out what only a host with routes needs.
#if !defined(WG_COMPACT) && (defined(WG_SMALL) || (defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'))
#define WG_COMPACT
#endif
#if !defined(WG_BARE) && defined(WG_COMPACT) && !defined(__unix__) && !defined(__APPLE__) && !defined(_WIN32)
#define WG_BARE
#endif

/// For `WG_ASSERT` only: defined on systems with a standard error, if it checks.
#if defined(WG_CHECKED) && !defined(WG_COMPACT) && !defined(WG_BARE) &&                                                \
    (defined(__unix__) || defined(__APPLE__) || defined(_WIN32))
#define WG_ASSERT_PRINTS
#endif

/// `WG_ASSERT(condition)` guards against programming errors, never against input. If the condition is false, it writes
/// file, line and condition to standard error, and ends the program by a trap. Small machines only trap. Without
/// `WG_CHECKED` it does nothing. A program may define it to its own hook before the first include.
#ifndef WG_ASSERT
#if !defined(WG_CHECKED)
#define WG_ASSERT(condition) static_cast<void>(0)
#elif !defined(WG_ASSERT_PRINTS)
#define WG_ASSERT(condition) ((condition) ? static_cast<void>(0) : __builtin_trap())
#else
#include <cstdio>
#define WG_ASSERT(condition) ((condition) ? static_cast<void>(0) : ::wg::fail_assertion(#condition, __FILE__, __LINE__))
#endif
#endif

/// A function with many callers. Small machines keep one body of it, to save flash.
#ifdef WG_COMPACT
#define WG_OUTLINE [[gnu::noinline]]
#else
#define WG_OUTLINE
#endif

/// A function with a large frame. Small machines keep it out of line so that its frame is gone before deeper calls.
#ifdef WG_COMPACT
#define WG_FRAME [[gnu::noinline]]
#else
#define WG_FRAME
#endif

// The linker keeps one body of each inline function. Two units built for different processors, or one with checks and
// one without, must therefore not share a symbol. So the baseline instruction set, the checking mode and the size are
// part of every name. Passing a wg type between two such units fails to link, instead of failing when it runs.
#define WG_JOIN_(a, b, c, d, e) a##b##c##d##e
/// For `WG_ABI` only: expands five macros and joins them to one name.
#define WG_JOIN(a, b, c, d, e) WG_JOIN_(a, b, c, d, e)

/// For `WG_ABI` only: the baseline instruction set of this translation unit.
#if defined(__AVX512F__)
#define WG_ABI_ISA avx512
#elif defined(__AVX2__)
#define WG_ABI_ISA avx2
#elif defined(__SSSE3__)
#define WG_ABI_ISA ssse3
#elif defined(__ARM_NEON)
#define WG_ABI_ISA neon
#else
#define WG_ABI_ISA base
#endif

/// For `WG_ABI` only: whether `WG_ASSERT` checks.
#ifdef WG_CHECKED
#define WG_ABI_CHECKS _checked
#else
#define WG_ABI_CHECKS
#endif

/// For `WG_ABI` only: whether `WG_SMALL` or `WG_COMPACT` is defined.
#if defined(WG_SMALL)
#define WG_ABI_SIZE _small
#elif defined(WG_COMPACT)
#define WG_ABI_SIZE _compact
#else
#define WG_ABI_SIZE
#endif

/// For `WG_ABI` only: whether `WG_BARE` is defined.
#ifdef WG_BARE
#define WG_ABI_HOST _bare
#else
#define WG_ABI_HOST
#endif

/// The inline namespace of all names in `wg`. Users write `wg::NAME`.
#define WG_ABI WG_JOIN(abi1_, WG_ABI_ISA, WG_ABI_SIZE, WG_ABI_HOST, WG_ABI_CHECKS)

namespace wg { inline namespace WG_ABI {

/// WG_COMPACT as a constant, for `if constexpr`.
#ifdef WG_COMPACT
inline constexpr bool compact = true;
#else
inline constexpr bool compact = false;
#endif

/// WG_SMALL as a constant, for `if constexpr`.
#ifdef WG_SMALL
inline constexpr bool small_code = true;
#else
inline constexpr bool small_code = false;
#endif

/// WG_BARE as a constant, for `if constexpr`.
#ifdef WG_BARE
inline constexpr bool hostless = true;
#else
inline constexpr bool hostless = false;
#endif

/// Whether the program is for Windows, for `if constexpr`.
#ifdef _WIN32
inline constexpr bool for_windows = true;
#else
inline constexpr bool for_windows = false;
#endif

/// Whether objects keep state for checks: WG_CHECKED as a constant, and false on small machines.
#ifdef WG_ASSERT_PRINTS
inline constexpr bool keeps_checks = true;
#else
inline constexpr bool keeps_checks = false;
#endif

#ifdef WG_ASSERT_PRINTS
/// Writes what `WG_ASSERT` found to standard error, and ends the program by a trap.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_assertion(char const* condition, char const* file,
                                                                  int line) noexcept {
    (void)std::fprintf(stderr, "%s:%d: WG_ASSERT(%s) failed\n", file, line, condition);
    __builtin_trap();
}
#endif

}} // namespace wg::WG_ABI

#endif
