// SPDX-License-Identifier: BSL-1.0
// `wipe_stack` for machines with a few kilobytes of memory. Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_WIPE_STACK_COMPACT_HPP
#define WG_BACKENDS_BUNDLED_WIPE_STACK_COMPACT_HPP

#include "wipe_registers.hpp"

#include <cstddef>
#include <cstdint>

namespace wg { inline namespace WG_ABI { namespace bundled {

/// `spill_bytes` of WG_COMPACT builds.
#ifdef __arm__
inline constexpr std::size_t compact_spill_bytes =
    96; // Arm has few registers. bench/firmware checks that only zeros are left.
#else
inline constexpr std::size_t compact_spill_bytes = 384;
#endif

#ifdef __thumb2__
/// Overwrites `size` bytes below the stack pointer; `size` is a multiple of four. Interrupts may use this memory
/// meanwhile.
[[gnu::naked, gnu::noinline]] inline void wipe_below([[maybe_unused]] std::size_t size) noexcept {
    asm volatile("mov r2, sp\n\tsubs r0, r2, r0\n\tmovs r1, #0\n\t"
                 "1: str r1, [r0], #4\n\tcmp r0, r2\n\tbne 1b\n\tbx lr");
}
/// Overwrites at least `Bytes` bytes of stack below the caller's frame. Thumb-2 needs no frame for it.
template <std::size_t Bytes> [[gnu::always_inline]] inline void wipe_compact_frame() noexcept {
    wipe_below((Bytes + 3) / 4 * 4);
}
#else
/// Overwrites at least `Bytes` bytes of stack with its own frame, and clears registers.
template <std::size_t Bytes> [[gnu::noinline]] inline void wipe_compact_frame() noexcept {
    std::uint32_t frame[(Bytes + 3) / 4]; // wiped by a loop: a call would use stack below this frame
    for (std::uint32_t& word : frame) {
        word = 0;
        asm volatile("" : : "r"(&word) : "memory");
    }
    wipe_baseline_registers();
}
#endif

/// `wipe_stack` of WG_COMPACT builds.
template <std::size_t Bytes> [[gnu::always_inline]] inline void wipe_stack_compact() noexcept {
    wipe_compact_frame<Bytes>();
    asm volatile(""); // prevents a tail call, which would free the caller's frame first: `Bytes` does not count it
}

}}} // namespace wg::WG_ABI::bundled

#endif
