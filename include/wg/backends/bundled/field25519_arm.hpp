// SPDX-License-Identifier: BSL-1.0
// The product of field25519<limbs32> for 32-bit Arm, in assembly: the compiled portable code takes twice the time.
// Folder: backends/bundled; pure.
//
// The product is computed row by row. Eight words of the sum stay in registers. The lowest word of a row is final and
// goes to the stack; its register becomes the carry of the next row. `umaal` (Arm from version 6 on; Cortex-M with the
// DSP extension) adds both the word and the carry to a product. Without `umaal` (Cortex-M3) this takes four
// instructions, and the time of a product may depend on its factors; see docs/security.md.
#ifndef WG_BACKENDS_BUNDLED_FIELD25519_ARM_HPP
#define WG_BACKENDS_BUNDLED_FIELD25519_ARM_HPP

#include <cstdint>

#include "../../base/abi.hpp"

// Thumb-2 only. The small profile uses the portable code, which is smaller.
#if defined(__thumb2__) && !defined(WG_SMALL) && !defined(__ARM_BIG_ENDIAN)
#define WG_ARM_PRODUCT

// r1 and r2 point to the factors; r12 is a word of the first factor. Each step multiplies it by two words of the
// second. FIRST: a step of the first row, where the sum is still zero. START: the first step of a row, where the
// carry is still zero.
// clang-format off
#ifdef __ARM_FEATURE_DSP
#define WG_ARM_LOAD(row) "ldr r12, [r1, #4*" #row "]\n\t"
#define WG_ARM_TWO(at) "ldrd r0, lr, [r2, #8*" #at "]\n\t"
#define WG_ARM_FIRST_START(x, y, carry)                                                                                \
    WG_ARM_TWO(0) "umull " #x ", " #carry ", r12, r0\n\tmov " #y ", #0\n\tumaal " #y ", " #carry ", r12, lr\n\t"
#define WG_ARM_FIRST(x, y, carry, at) "mov " #x ", #0\n\tmov " #y ", #0\n\t" WG_ARM_STEP(x, y, carry, at)
#define WG_ARM_START(x, y, carry) "mov " #carry ", #0\n\t" WG_ARM_STEP(x, y, carry, 0)
#define WG_ARM_STEP(x, y, carry, at)                                                                                   \
    WG_ARM_TWO(at) "umaal " #x ", " #carry ", r12, r0\n\tumaal " #y ", " #carry ", r12, lr\n\t"
#define WG_ARM_STEP_38(word, carry, factor) "umaal " #word ", " #carry ", " #factor ", r12\n\t"
#else
#define WG_ARM_LOAD(row) "ldr r1, [sp, #32]\n\tldr r12, [r1, #4*" #row "]\n\t"
#define WG_ARM_TWO(at) "ldrd lr, r1, [r2, #8*" #at "]\n\t"
#define WG_ARM_ADD(x, carry) "adds " #x ", " #carry "\n\tadc " #carry ", r0, #0\n\t"
#define WG_ARM_NEW(x, factor, carry) "umull " #x ", r0, r12, " #factor "\n\t" WG_ARM_ADD(x, carry)
#define WG_ARM_MORE(x, factor, carry) "mov r0, #0\n\tumlal " #x ", r0, r12, " #factor "\n\t" WG_ARM_ADD(x, carry)
#define WG_ARM_FIRST_START(x, y, carry) WG_ARM_TWO(0) "umull " #x ", " #carry ", r12, lr\n\t" WG_ARM_NEW(y, r1, carry)
#define WG_ARM_FIRST(x, y, carry, at) WG_ARM_TWO(at) WG_ARM_NEW(x, lr, carry) WG_ARM_NEW(y, r1, carry)
#define WG_ARM_START(x, y, carry)                                                                                      \
    "mov " #carry ", #0\n\t" WG_ARM_TWO(0) "umlal " #x ", " #carry ", r12, lr\n\t" WG_ARM_MORE(y, r1, carry)
#define WG_ARM_STEP(x, y, carry, at) WG_ARM_TWO(at) WG_ARM_MORE(x, lr, carry) WG_ARM_MORE(y, r1, carry)
#define WG_ARM_STEP_38(word, carry, factor)                                                                            \
    "mov lr, #0\n\tumlal " #word ", lr, " #factor ", r12\n\tadds " #word ", " #carry "\n\tadc " #carry ", lr, #0\n\t"
#endif

// A row: words a to h of the sum, the lowest first, and the carry. In the next row the words are b to h and this carry,
// and a is the new carry.
#define WG_ARM_ROW(row, a, b, c, d, e, f, g, h, carry)                                                                 \
    WG_ARM_LOAD(row) WG_ARM_START(a, b, carry) WG_ARM_STEP(c, d, carry, 1) WG_ARM_STEP(e, f, carry, 2)                 \
        WG_ARM_STEP(g, h, carry, 3) "str " #a ", [sp, #4*" #row "]\n\t"

namespace wg { inline namespace WG_ABI {
namespace bundled {

/// to = a b modulo 2^256 - 38. Each has eight words of any value; they may be the same. Secrets stay on the stack below
/// the caller's frame: the caller wipes them.
[[gnu::naked, gnu::noinline]] inline void multiply25519_arm([[maybe_unused]] std::uint32_t* to,
                                                            [[maybe_unused]] std::uint32_t const* a,
                                                            [[maybe_unused]] std::uint32_t const* b) noexcept {
    asm volatile("push {r0, r4-r11, lr}\n\t"
                 "push {r1}\n\t"
                 "sub sp, sp, #32\n\t"
                 "ldr r12, [r1]\n\t" WG_ARM_FIRST_START(r3, r4, r11) WG_ARM_FIRST(r5, r6, r11, 1)
                 WG_ARM_FIRST(r7, r8, r11, 2) WG_ARM_FIRST(r9, r10, r11, 3) "str r3, [sp]\n\t"
                 WG_ARM_ROW(1, r4, r5, r6, r7, r8, r9, r10, r11, r3)
                 WG_ARM_ROW(2, r5, r6, r7, r8, r9, r10, r11, r3, r4)
                 WG_ARM_ROW(3, r6, r7, r8, r9, r10, r11, r3, r4, r5)
                 WG_ARM_ROW(4, r7, r8, r9, r10, r11, r3, r4, r5, r6)
                 WG_ARM_ROW(5, r8, r9, r10, r11, r3, r4, r5, r6, r7)
                 WG_ARM_ROW(6, r9, r10, r11, r3, r4, r5, r6, r7, r8)
                 WG_ARM_ROW(7, r10, r11, r3, r4, r5, r6, r7, r8, r9)
                 // the upper half is in r11, r3-r9; the sum of 38 times it and the lower half goes to r0, r11, r3-r8,
                 // with the carry in r10
                 "mov r12, #38\n\tmov r10, #0\n\t"
                 "ldr r0, [sp]\n\t" WG_ARM_STEP_38(r0, r10, r11)
                 "ldr r11, [sp, #4]\n\t" WG_ARM_STEP_38(r11, r10, r3)
                 "ldr r3, [sp, #8]\n\t" WG_ARM_STEP_38(r3, r10, r4)
                 "ldr r4, [sp, #12]\n\t" WG_ARM_STEP_38(r4, r10, r5)
                 "ldr r5, [sp, #16]\n\t" WG_ARM_STEP_38(r5, r10, r6)
                 "ldr r6, [sp, #20]\n\t" WG_ARM_STEP_38(r6, r10, r7)
                 "ldr r7, [sp, #24]\n\t" WG_ARM_STEP_38(r7, r10, r8)
                 "ldr r8, [sp, #28]\n\t" WG_ARM_STEP_38(r8, r10, r9)
                 // the carry is <= 38; adding 38 times it may carry once more, and the sum is then small
                 "mul r10, r10, r12\n\tmov r9, #0\n\t"
                 "adds r0, r0, r10\n\tadcs r11, r11, #0\n\tadcs r3, r3, #0\n\tadcs r4, r4, #0\n\t"
                 "adcs r5, r5, #0\n\tadcs r6, r6, #0\n\tadcs r7, r7, #0\n\tadcs r8, r8, #0\n\t"
                 "adc r9, r9, #0\n\tmul r9, r9, r12\n\tadd r0, r0, r9\n\t"
                 "add sp, sp, #36\n\tpop {r12}\n\t"
                 "str r0, [r12]\n\tstr r11, [r12, #4]\n\tadd r12, r12, #8\n\tstm r12, {r3-r8}\n\t"
                 "pop {r4-r11, pc}");
}

// Eight additions or subtractions with carry, of the words at r1 and r2. `mask` then sets r1 to 38 if the top word
// carried or borrowed, else to 0. The chain and the mask run once more with r1, for a second carry.
#define WG_ARM_CHAIN(first, rest, mask, add_38)                                                                        \
    "push {r4-r9, lr}\n\t"                                                                                             \
    "ldm r1, {r3-r9, r12}\n\t"                                                                                         \
    "ldr lr, [r2]\n\t" first " r3, r3, lr\n\tldr lr, [r2, #4]\n\t" rest " r4, r4, lr\n\t"                              \
    "ldr lr, [r2, #8]\n\t" rest " r5, r5, lr\n\tldr lr, [r2, #12]\n\t" rest " r6, r6, lr\n\t"                          \
    "ldr lr, [r2, #16]\n\t" rest " r7, r7, lr\n\tldr lr, [r2, #20]\n\t" rest " r8, r8, lr\n\t"                         \
    "ldr lr, [r2, #24]\n\t" rest " r9, r9, lr\n\tldr lr, [r2, #28]\n\t" rest " r12, r12, lr\n\t" mask                  \
    first " r3, r3, r1\n\t" rest " r4, r4, #0\n\t" rest " r5, r5, #0\n\t" rest " r6, r6, #0\n\t" rest                  \
    " r7, r7, #0\n\t" rest " r8, r8, #0\n\t" rest " r9, r9, #0\n\t" rest " r12, r12, #0\n\t" mask add_38               \
    " r3, r3, r1\n\tstm r0, {r3-r9, r12}\n\tpop {r4-r9, pc}"

/// to = a + b modulo 2^256 - 38, with the conditions of multiply25519_arm. After a second carry the sum is < 38, so
/// there is no third.
[[gnu::naked, gnu::noinline]] inline void add25519_arm([[maybe_unused]] std::uint32_t* to,
                                                       [[maybe_unused]] std::uint32_t const* a,
                                                       [[maybe_unused]] std::uint32_t const* b) noexcept {
    asm volatile(WG_ARM_CHAIN("adds", "adcs", "sbc r1, r1, r1\n\tmvn r1, r1\n\tand r1, r1, #38\n\t", "add"));
}

/// to = a - b modulo 2^256 - 38, with the conditions of multiply25519_arm. After a second borrow the difference is
/// >= 2^256 - 38, so there is no third.
[[gnu::naked, gnu::noinline]] inline void subtract25519_arm([[maybe_unused]] std::uint32_t* to,
                                                            [[maybe_unused]] std::uint32_t const* a,
                                                            [[maybe_unused]] std::uint32_t const* b) noexcept {
    asm volatile(WG_ARM_CHAIN("subs", "sbcs", "sbc r1, r1, r1\n\tand r1, r1, #38\n\t", "sub"));
}

// clang-format on

/// The arithmetic of field25519<limbs32> by the functions above.
struct arm25519 {
    /// to = a + b.
    static void add(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        add25519_arm(to, a, b);
    }
    /// to = a - b.
    static void subtract(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        subtract25519_arm(to, a, b);
    }
    /// to = a b.
    static void multiply(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        multiply25519_arm(to, a, b);
    }
};

}}} // namespace wg::WG_ABI::bundled

#undef WG_ARM_CHAIN
#undef WG_ARM_ROW
#undef WG_ARM_LOAD
#undef WG_ARM_TWO
#undef WG_ARM_FIRST_START
#undef WG_ARM_FIRST
#undef WG_ARM_START
#undef WG_ARM_STEP
#undef WG_ARM_STEP_38
#ifndef __ARM_FEATURE_DSP
#undef WG_ARM_ADD
#undef WG_ARM_NEW
#undef WG_ARM_MORE
#endif

#endif

#endif
