// SPDX-License-Identifier: BSL-1.0
// The machine words that the bundled primitives calculate with, and functions that wipe the stack and registers.
// Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_LIMBS_HPP
#define WG_BACKENDS_BUNDLED_LIMBS_HPP

#include "../../base/secret.hpp"

#include <cstdint>

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Selects limbs of 32 bits and products of 64 bits: for any processor.
struct limbs32 {};

#ifdef __SIZEOF_INT128__
/// Selects limbs of 64 bits and products of 128 bits: for processors with such a multiplication.
struct limbs64 {};
/// A product of two 64-bit words. The keyword silences -Wpedantic.
__extension__ typedef unsigned __int128 uint128;
#endif

/// The widest limbs that the compiler supports; in a WG_COMPACT build always `limbs32`.
#if defined(__SIZEOF_INT128__) && !defined(WG_COMPACT)
using default_limbs = limbs64;
#else
using default_limbs = limbs32;
#endif

/// Loads `count` little-endian words of 32 bits from `4 * count` bytes of any alignment.
WG_OUTLINE inline void load_words(std::uint32_t* to, byte const* from, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) to[i] = load_le32(from + 4 * i);
}
/// Stores `count` words of 32 bits as `4 * count` little-endian bytes of any alignment.
WG_OUTLINE inline void store_words(byte* to, std::uint32_t const* from, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) store_le32(to + 4 * i, from[i]);
}

/// All ones if `bit` is 1, zero if `bit` is 0. The asm hides from the compiler that the mask has only two values;
/// otherwise the compiler could replace a selection by mask with a branch, whose timing depends on `bit`.
template <class Word> inline Word mask_of(Word bit) noexcept {
    Word mask = static_cast<Word>(Word{0} - bit);
    asm volatile("" : "+r"(mask));
    return mask;
}

/// Bytes of stack that a primitive uses beside its named state: spilled and saved registers. With optimisation, g++ 12
/// and clang 16 use about half of this. Without optimisation they use more, and a part of that is not wiped.
#if defined(__arm__) && defined(WG_COMPACT)
inline constexpr std::size_t spill_bytes = 96; // few registers of 4 bytes; bench/firmware checks what is left
#elif defined(WG_COMPACT)
inline constexpr std::size_t spill_bytes = 384;
#else
inline constexpr std::size_t spill_bytes = 640;
#endif

/// Clears the registers that a function may change without saving them. A kernel that uses wider registers than the
/// program's baseline clears those itself.
[[gnu::always_inline]] inline void wipe_baseline_registers() noexcept {
#if defined(__x86_64__)
    asm volatile(".irp r,eax,ecx,edx,esi,edi,r8d,r9d,r10d,r11d\n\txor %%\\r, %%\\r\n\t.endr\n\t"
#ifdef __AVX512F__
                 ".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                 "vpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr\n\t"
#endif
#ifdef __AVX__
                 "vzeroall"
#else
                 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tpxor %%xmm\\n, %%xmm\\n\n\t.endr"
#endif
                 :
                 :
                 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
#ifdef __AVX512F__
                   "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",
                   "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",
#endif
                   "cc");
#elif defined(__aarch64__)
    asm volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\n\tmov x\\n, xzr\n\t.endr\n\t"
                 ".irp n,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\tmovi v\\n\\().2d, #0\n\t"
                 ".endr"
                 :
                 :
                 : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                   "x16", "x17", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20",
                   "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#endif
}

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

#if defined(WG_COMPACT) && defined(__thumb2__)
/// Overwrites `size` bytes below the stack pointer; `size` is a multiple of four. Interrupts may use this memory
/// meanwhile.
[[gnu::naked, gnu::noinline]] inline void wipe_below([[maybe_unused]] std::size_t size) noexcept {
    asm volatile("mov r2, sp\n\tsubs r0, r2, r0\n\tmovs r1, #0\n\t"
                 "1: str r1, [r0], #4\n\tcmp r0, r2\n\tbne 1b\n\tbx lr");
}
#else
/// Overwrites at least `Bytes` bytes of stack with its own frame, and clears registers. See `wipe_stack`.
template <std::size_t Bytes> [[gnu::noinline]] inline void wipe_frame() noexcept {
#ifdef WG_COMPACT
    std::uint32_t frame[(Bytes + 3) / 4]; // wiped by a loop: a call would use stack below this frame
    for (std::uint32_t& word : frame) {
        word = 0;
        asm volatile("" : : "r"(&word) : "memory");
    }
#else
    alignas(16) byte frame[(Bytes + 15) / 16 * 16];
    if constexpr (Bytes <= 1024) wipe_fixed<sizeof frame>(frame);
    else wipe(frame);
#endif
    wipe_baseline_registers();
}
#endif

/// Overwrites at least `Bytes` bytes of stack below the caller's frame, and clears registers. The owners of secret
/// objects wipe those objects, but a compiler also spills registers into stack slots that have no name. So functions
/// that work on secrets are kept out of line, and their caller ends with this call, which overwrites the stack that
/// their frames used.
template <std::size_t Bytes> [[gnu::always_inline]] inline void wipe_stack() noexcept {
#if defined(WG_COMPACT) && defined(__thumb2__)
    wipe_below((Bytes + 3) / 4 * 4);
#else
    wipe_frame<Bytes>();
#endif
#ifdef WG_COMPACT // prevents a tail call, which would free the caller's frame first: `Bytes` does not count that frame
    asm volatile("");
#endif
}

}}} // namespace wg::WG_ABI::bundled

#endif
