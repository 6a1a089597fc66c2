// SPDX-License-Identifier: BSL-1.0
// Wipes what primitives leave on the stack beside their named objects. Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_WIPE_STACK_HPP
#define WG_BACKENDS_BUNDLED_WIPE_STACK_HPP

#include "../../base/secret.hpp"
#include "wipe_registers.hpp"
#include "wipe_stack_compact.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Bytes of stack that a primitive uses beside its named state: spilled and saved registers. With optimisation, g++ 12
/// and clang 16 use about half of this. Without optimisation they use more, and a part of that is not wiped.
inline constexpr std::size_t spill_bytes = compact ? compact_spill_bytes : 640;

/// `wipe` of a size that is known at compile time, a multiple of 16 with SSE2. For a few hundred bytes, stores are
/// faster than the string instruction that g++ uses.
template <std::size_t Bytes> [[gnu::always_inline]] inline void wipe_fixed(void* memory) noexcept {
#if defined(__SSE2__) && !defined(WG_COMPACT)
    typedef std::uint64_t pair __attribute__((vector_size(16)));
    pair zero = {};
    asm volatile("" : "+x"(zero)); // or the compiler would turn the loop into memset
    static_assert(Bytes % sizeof zero == 0);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Bytes; i += sizeof zero)
        std::memcpy(static_cast<byte*>(memory) + i, &zero, sizeof zero);
    asm volatile("" : : "r"(memory) : "memory");
#else
    wipe(memory, Bytes);
#endif
}

/// Overwrites at least `Bytes` bytes of stack with its own frame, and clears registers. See `wipe_stack`.
template <std::size_t Bytes> [[gnu::noinline]] inline void wipe_frame() noexcept {
    alignas(16) byte frame[(Bytes + 15) / 16 * 16];
    if constexpr (Bytes <= 1024) wipe_fixed<sizeof frame>(frame);
    else wipe(frame);
    wipe_baseline_registers();
}

/// Overwrites at least `Bytes` bytes of stack below the caller's frame, and clears registers. The owners of secret
/// objects wipe those objects, but a compiler also spills registers into stack slots that have no name. So functions
/// that work on secrets are kept out of line, and their caller ends with this call, which overwrites the stack that
/// their frames used.
template <std::size_t Bytes> [[gnu::always_inline]] inline void wipe_stack() noexcept {
    if constexpr (compact) wipe_stack_compact<Bytes>();
    else wipe_frame<Bytes>();
}

}}} // namespace wg::WG_ABI::bundled

#endif
