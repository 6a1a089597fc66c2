// SPDX-License-Identifier: BSL-1.0
// The rounds of ChaCha20 (RFC 8439, section 2.3) for Cortex-M, in assembly: 720 instructions a block. The compiled
// portable code takes 1100. Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_CHACHA20_ARM_HPP
#define WG_BACKENDS_BUNDLED_CHACHA20_ARM_HPP

#include <cstdint>

#include "../../base/abi.hpp"

// Little-endian Thumb-2 only.
#if defined(WG_COMPACT) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN)
#define WG_ARM_ROUNDS

// On Arm, an instruction can rotate its second operand at no cost, so a quarter round needs no instructions that only
// rotate. The last rotations stay pending: before and after each quarter round, b has still to be rotated left by 7 and
// d by 8.
#define WG_ARM_QUARTER(a, b, c, d)                                                                                     \
    "add " #a ", " #a ", " #b ", ror #25\n\teor " #d ", " #a ", " #d ", ror #24\n\t"                                   \
    "add " #c ", " #c ", " #d ", ror #16\n\teor " #b ", " #c ", " #b ", ror #25\n\t"                                   \
    "add " #a ", " #a ", " #b ", ror #20\n\teor " #d ", " #a ", " #d ", ror #16\n\t"                                   \
    "add " #c ", " #c ", " #d ", ror #24\n\teor " #b ", " #c ", " #b ", ror #20\n\t"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// The twenty rounds on the 16 words of `from`, without the final addition of `from`. r0-r7 hold the words 0-7, and
/// r8-r11 hold 12-15. r12 and lr hold two of the words 8-11, the stack holds the other two.
[[gnu::naked, gnu::noinline]] inline void chacha20_rounds_arm([[maybe_unused]] std::uint32_t* to,
                                                              [[maybe_unused]] std::uint32_t const* from) noexcept {
    // clang-format off
    asm volatile("push {r0, r4-r11, lr}\n\t"
                 "sub sp, sp, #24\n\t"
                 "mov lr, r1\n\tldm lr!, {r0-r7}\n\tldm lr!, {r8-r11}\n\t"
                 "strd r8, r9, [sp]\n\tstrd r10, r11, [sp, #8]\n\tldm lr, {r8-r11}\n\t"
                 "ror r4, r4, #7\n\tror r5, r5, #7\n\tror r6, r6, #7\n\tror r7, r7, #7\n\t"
                 "ror r8, r8, #8\n\tror r9, r9, #8\n\tror r10, r10, #8\n\tror r11, r11, #8\n\t"
                 "mov r12, #10\n\tstr r12, [sp, #16]\n\tldrd r12, lr, [sp]\n\t"
                 "1:\n\t"
                 WG_ARM_QUARTER(r0, r4, r12, r8) WG_ARM_QUARTER(r1, r5, lr, r9)
                 "strd r12, lr, [sp]\n\t"
                 "ldr r12, [sp, #16]\n\tsubs r12, r12, #1\n\tstr r12, [sp, #16]\n\t" // `bne` tests these flags
                 "ldrd r12, lr, [sp, #8]\n\t"
                 WG_ARM_QUARTER(r2, r6, r12, r10) WG_ARM_QUARTER(r3, r7, lr, r11)
                 WG_ARM_QUARTER(r0, r5, r12, r11) WG_ARM_QUARTER(r1, r6, lr, r8)
                 "strd r12, lr, [sp, #8]\n\tldrd r12, lr, [sp]\n\t"
                 WG_ARM_QUARTER(r2, r7, r12, r9) WG_ARM_QUARTER(r3, r4, lr, r10)
                 "bne 1b\n\t"
                 "strd r12, lr, [sp]\n\t"
                 "ror r4, r4, #25\n\tror r5, r5, #25\n\tror r6, r6, #25\n\tror r7, r7, #25\n\t"
                 "ror r8, r8, #24\n\tror r9, r9, #24\n\tror r10, r10, #24\n\tror r11, r11, #24\n\t"
                 "ldr r12, [sp, #24]\n\tstm r12!, {r0-r7}\n\t"
                 "ldrd r0, r1, [sp]\n\tldrd r2, r3, [sp, #8]\n\tstm r12!, {r0-r3}\n\tstm r12, {r8-r11}\n\t"
                 "add sp, sp, #24\n\tpop {r0, r4-r11, pc}");
    // clang-format on
}

}}} // namespace wg::WG_ABI::bundled

#undef WG_ARM_QUARTER

#endif

#endif
