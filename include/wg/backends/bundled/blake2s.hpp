// SPDX-License-Identifier: BSL-1.0
// BLAKE2s (RFC 7693), keyed or not, and the default model of hash_backend.
// Folder: backends/bundled; any thread.
//
// This file is for hosts; blake2s_compact.hpp is for WG_COMPACT builds. `hash` is the model of the build.
//
// A single message is hashed word by word, or with AVX2 or AVX-512 in rows of four words (blake2s_rows.inl). In a
// batch, messages with the same number of blocks are hashed in parallel, one to each lane of a vector
// (blake2s_lanes.inl).
#ifndef WG_BACKENDS_BUNDLED_BLAKE2S_HPP
#define WG_BACKENDS_BUNDLED_BLAKE2S_HPP

#include "../../policy.hpp"
#include "blake2s_common.hpp"
#include "blake2s_compact.hpp"
#include "cpu.hpp"
#include "wipe_stack.hpp"

#include <algorithm>
#include <bit>
#include <type_traits>
#include <utility>

#ifdef WG_HAS_X86_KERNELS
#include <immintrin.h>
#endif

namespace wg { inline namespace WG_ABI { namespace bundled {

namespace blake2s_detail {

/// Copies less than a block. Does not call memcpy: vector code in memcpy leaves copies of secrets in registers that no
/// kernel clears, and the call takes time.
inline void copy_short(byte* to, byte const* from, std::size_t size) noexcept {
    auto const ends = [&]<std::size_t Size>(std::integral_constant<std::size_t, Size>) noexcept {
        std::memcpy(to, from, Size); // the first `Size` bytes and the last ones, which may overlap
        std::memcpy(to + size - Size, from + size - Size, Size);
    };
    if (size >= 32) return ends(std::integral_constant<std::size_t, 32>{});
    if (size >= 16) return ends(std::integral_constant<std::size_t, 16>{});
    if (size >= 8) return ends(std::integral_constant<std::size_t, 8>{});
    if (size >= 4) return ends(std::integral_constant<std::size_t, 4>{});
    for (std::size_t i = 0; i < size; ++i) to[i] = from[i];
}

/// Writes a block: `from`, which is shorter, then zeros.
inline void pad(byte* to, bytes_view from) noexcept {
    std::memset(to, 0, block_bytes);
    copy_short(to, from.data(), from.size());
}

/// The memory of a digest in one object, so that one wipe clears it.
struct work {
    std::uint32_t h[8];
    byte padded[block_bytes];

    ~work() { wipe_fixed<sizeof(work)>(this); }
};

/// The portable kernel: one message, word by word.
struct words {
    static constexpr std::size_t spill_bytes = 2 * bundled::spill_bytes; // clang vectorises the code and spills vectors

    /// Compresses `size` bytes; the last block is padded with zeros. `count_after`: the byte counter of that block.
    /// `last`: it is the last block of the message. Kept out of line, so that `wipe_stack` in a caller clears spilled
    /// registers.
    [[gnu::noinline]] static void compress(work& w, byte const* data, std::size_t size, std::uint64_t count_after,
                                           bool last) noexcept {
        std::uint64_t count = count_after - size;
        for (; size > block_bytes; size -= block_bytes, data += block_bytes)
            compress_block(w.h, data, count += block_bytes, false);
        if (size < block_bytes) {
            pad(w.padded, {data, size});
            data = w.padded;
        }
        compress_block(w.h, data, count_after, last);
    }

    /// The compression function F (RFC 7693, section 3.2). `count`: the byte counter of the block.
    [[gnu::noinline]] static void compress_block(std::uint32_t* h, byte const* block, std::uint64_t count,
                                                 bool last) noexcept {
        std::uint32_t v[16];
        std::uint32_t words[16];
        for (std::size_t i = 0; i < 16; ++i) words[i] = load_le32(block + 4 * i);
        auto const m = [&](std::size_t i) noexcept { return words[i]; };
        for (std::size_t i = 0; i < 8; ++i) v[i] = h[i], v[8 + i] = iv[i];
        v[12] ^= static_cast<std::uint32_t>(count);
        v[13] ^= static_cast<std::uint32_t>(count >> 32);
        if (last) v[14] = ~v[14];
#pragma GCC unroll 10
        for (auto const& p : sigma) {
            mix(v[0], v[4], v[8], v[12], m(p[0]), m(p[1]));
            mix(v[1], v[5], v[9], v[13], m(p[2]), m(p[3]));
            mix(v[2], v[6], v[10], v[14], m(p[4]), m(p[5]));
            mix(v[3], v[7], v[11], v[15], m(p[6]), m(p[7]));
            mix(v[0], v[5], v[10], v[15], m(p[8]), m(p[9]));
            mix(v[1], v[6], v[11], v[12], m(p[10]), m(p[11]));
            mix(v[2], v[7], v[8], v[13], m(p[12]), m(p[13]));
            mix(v[3], v[4], v[9], v[14], m(p[14]), m(p[15]));
        }
        for (std::size_t i = 0; i < 8; ++i) h[i] ^= v[i] ^ v[8 + i];
        // m and v are in registers or in this frame; the caller's `wipe_stack` clears both
    }
};

#ifdef WG_HAS_X86_KERNELS

/// The words of the block in the order of the rows kernel: for each half of a round, the first words of its four
/// mixings, then the second words. In the second half, element i holds b[i], which belongs to mixing i - 1 of the RFC.
inline constexpr struct row_order_table {
    alignas(32) std::uint32_t words[10][16];
} row_order = [] {
    row_order_table t{};
    for (std::size_t round = 0; round < 10; ++round)
        for (std::size_t i = 0; i < 4; ++i)
            for (std::size_t part = 0; part < 2; ++part) {
                t.words[round][4 * part + i] = sigma[round][2 * i + part];
                t.words[round][8 + 4 * part + i] = sigma[round][8 + 2 * ((i + 3) % 4) + part];
            }
    return t;
}();

// Clears the vector registers at the end of a kernel.
#define WG_BLAKE2S_CLEAR_YMM                                                                                           \
    asm volatile("vzeroall"                                                                                            \
                 :                                                                                                     \
                 :                                                                                                     \
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",   \
                   "xmm12", "xmm13", "xmm14", "xmm15")
#define WG_BLAKE2S_CLEAR_ZMM                                                                                           \
    asm volatile("vpxord %%xmm16, %%xmm16, %%xmm16\n\tvpxord %%xmm17, %%xmm17, %%xmm17\n\t"                            \
                 "vpxord %%xmm18, %%xmm18, %%xmm18\n\tvpxord %%xmm19, %%xmm19, %%xmm19\n\t"                            \
                 "vpxord %%xmm20, %%xmm20, %%xmm20\n\tvpxord %%xmm21, %%xmm21, %%xmm21\n\t"                            \
                 "vpxord %%xmm22, %%xmm22, %%xmm22\n\tvpxord %%xmm23, %%xmm23, %%xmm23\n\t"                            \
                 "vpxord %%xmm24, %%xmm24, %%xmm24\n\tvpxord %%xmm25, %%xmm25, %%xmm25\n\t"                            \
                 "vpxord %%xmm26, %%xmm26, %%xmm26\n\tvpxord %%xmm27, %%xmm27, %%xmm27\n\t"                            \
                 "vpxord %%xmm28, %%xmm28, %%xmm28\n\tvpxord %%xmm29, %%xmm29, %%xmm29\n\t"                            \
                 "vpxord %%xmm30, %%xmm30, %%xmm30\n\tvpxord %%xmm31, %%xmm31, %%xmm31"                                \
                 :                                                                                                     \
                 :                                                                                                     \
                 : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",  \
                   "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");                                                       \
    WG_BLAKE2S_CLEAR_YMM

struct rows_avx2 {
#define WG_ROWS_512 0
#define WG_ROWS_TARGET [[WG_TARGET_AVX2]]
#define WG_ROWS_WIPE WG_BLAKE2S_CLEAR_YMM
#include "blake2s_rows.inl"
#undef WG_ROWS_512
#undef WG_ROWS_TARGET
#undef WG_ROWS_WIPE
};

struct rows_avx512 {
#define WG_ROWS_512 1
#define WG_ROWS_TARGET [[WG_TARGET_AVX512]]
#define WG_ROWS_WIPE WG_BLAKE2S_CLEAR_ZMM
#include "blake2s_rows.inl"
#undef WG_ROWS_512
#undef WG_ROWS_TARGET
#undef WG_ROWS_WIPE
};

struct lanes_avx2 {
#define WG_LANES 8
#define WG_LANES_TARGET [[WG_TARGET_AVX2]]
#define WG_LANES_WIPE WG_BLAKE2S_CLEAR_YMM
#include "blake2s_lanes.inl"
#undef WG_LANES
#undef WG_LANES_TARGET
#undef WG_LANES_WIPE
};

struct lanes_avx512 {
#define WG_LANES 16
#define WG_LANES_TARGET [[WG_TARGET_AVX512]]
#define WG_LANES_WIPE WG_BLAKE2S_CLEAR_ZMM
#include "blake2s_lanes.inl"
#undef WG_LANES
#undef WG_LANES_TARGET
#undef WG_LANES_WIPE
};

#undef WG_BLAKE2S_CLEAR_YMM
#undef WG_BLAKE2S_CLEAR_ZMM

#endif

// Four lanes with the vectors that every processor of the architecture has.
#if defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__)
#define WG_BLAKE2S_LANES
struct lanes_baseline {
#define WG_LANES 4
#define WG_LANES_TARGET
#define WG_LANES_WIPE static_cast<void>(0)
#include "blake2s_lanes.inl"
#undef WG_LANES
#undef WG_LANES_TARGET
#undef WG_LANES_WIPE
};
#endif

/// Compresses the whole message, with the block of the key, into w.h. Whole blocks are read from the input without a
/// copy.
template <class Kernel> inline void absorb(work& w, bytes_view key, bytes_view a, bytes_view b) noexcept {
    std::uint64_t count = 0;
    if (!key.empty()) { // the key has its own block, which is the last if the message is empty
        bool const last = a.empty() && b.empty();
        Kernel::compress(w, key.data(), key.size(), count = block_bytes, last);
        if (last) return;
    }
    if (!b.empty()) {
        if (std::size_t const whole = a.size() / block_bytes * block_bytes; whole != 0) {
            Kernel::compress(w, a.data(), whole, count += whole, false);
            a = a.subspan(whole);
        }
        if (!a.empty()) { // one block has the end of a and the start of b
            std::size_t const taken = (std::min)(b.size(), block_bytes - a.size());
            byte_array<block_bytes> joined;
            pad(joined.data(), a);
            copy_short(&joined[a.size()], b.data(), taken);
            Kernel::compress(w, joined.data(), block_bytes, count += a.size() + taken, taken == b.size());
            wipe_fixed<block_bytes>(joined.data());
            if (taken == b.size()) return;
            b = b.subspan(taken);
        }
        a = b;
    }
    Kernel::compress(w, a.empty() ? w.padded : a.data(), a.size(), count + a.size(), true);
}

/// `blake2s` with one kernel. Secrets may remain on the stack below the caller's frame.
template <class Kernel>
[[gnu::noinline]] inline void digest(bytes out, bytes_view key, bytes_view a, bytes_view b) noexcept {
    work w;
    for (std::size_t i = 0; i < 8; ++i) w.h[i] = iv[i];
    w.h[0] ^= parameters(out.size(), key.size());
    absorb<Kernel>(w, key, a, b);
    for (std::size_t i = 0; i < 8; ++i) store_le32(w.padded + 4 * i, w.h[i]);
    copy_short(out.data(), w.padded, out.size());
}

/// `blake2s` with one kernel, with all its memory wiped.
template <class Kernel> inline void wiped_digest(bytes out, bytes_view key, bytes_view a, bytes_view b) noexcept {
    digest<Kernel>(out, key, a, b);
    wipe_stack<sizeof(work) + Kernel::spill_bytes>();
}

/// The blocks of a message, with the block of its key.
constexpr std::size_t blocks_of(hash_item const& item) noexcept {
    std::size_t const whole = (item.message.size() + block_bytes - 1) / block_bytes;
    return item.key.empty() ? (std::max<std::size_t>)(whole, 1) : whole + 1;
}

/// Hashes a batch: groups items with the same number of blocks, and hashes a group in lanes. `one(item)` hashes the
/// items of groups that are too small for lanes to be faster.
template <class Lanes, class One> inline void batch(std::span<hash_item const> items, One const& one) noexcept {
    constexpr std::size_t window = 64, fewest = 3;
    bool used_lanes = false;
    for (; !items.empty(); items = items.subspan((std::min)(window, items.size()))) {
        std::span<hash_item const> const here = items.first((std::min)(window, items.size()));
        std::uint64_t left = ~std::uint64_t{0} >> (window - here.size());
        while (left != 0) {
            std::size_t const blocks = blocks_of(here[static_cast<std::size_t>(std::countr_zero(left))]);
            hash_item const* group[Lanes::width];
            std::size_t count = 0;
            for (std::uint64_t rest = left; rest != 0 && count < Lanes::width; rest &= rest - 1) {
                hash_item const& item = here[static_cast<std::size_t>(std::countr_zero(rest))];
                if (blocks_of(item) != blocks) continue;
                left ^= rest & (~rest + 1);
                group[count++] = &item;
            }
            if (count < fewest) {
                for (std::size_t i = 0; i < count; ++i) one(*group[i]);
            } else {
                Lanes::digest(group, count, blocks);
                used_lanes = true;
            }
        }
    }
    if (used_lanes) Lanes::wipe_frames();
}

} // namespace blake2s_detail

/// A model of hash_backend that uses the fastest kernels that the processor has. Any thread.
class blake2s_hash {
public:
    blake2s_hash() noexcept
        : blake2s_hash(chosen_cpu()) {} ///< uses all features of the processor except those in `WG_CPU_OFF`
    /// Uses no more than `allowed`, which the processor must have.
    explicit blake2s_hash([[maybe_unused]] cpu allowed) noexcept
#ifdef WG_X86_KERNELS
        : allowed_(consistent(allowed))
#endif
    {
    }

    /// Hashes `a` and then `b`. `out` has 1-32 bytes, `key` 0-32. The call leaves neither key nor message on the stack.
    void blake2s(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
        WG_ASSERT(!out.empty() && out.size() <= blake2s_detail::max_digest_bytes);
        WG_ASSERT(key.size() <= blake2s_detail::max_digest_bytes);
        digest(out, key, a, b);
    }

    /// `blake2s` for each item. Items of equally many blocks share the lanes of vectors.
    void blake2s_batch(std::span<hash_item const> items) const noexcept;

private:
    void digest(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept;

#ifdef WG_X86_KERNELS
    cpu allowed_;
#endif
};

#ifdef WG_DEFINE_KERNELS

WG_CHOICE void blake2s_hash::blake2s_batch(std::span<hash_item const> items) const noexcept {
    using namespace blake2s_detail;
    auto const one = [this](hash_item const& item) noexcept { digest(item.out, item.key, item.message, {}); };
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::avx512)) return batch<lanes_avx512>(items, one);
    if (has(allowed_, cpu::avx2)) return batch<lanes_avx2>(items, one);
#endif
#ifdef WG_BLAKE2S_LANES
    batch<lanes_baseline>(items, one);
#else
    for (hash_item const& item : items) one(item);
#endif
}

WG_CHOICE void blake2s_hash::digest(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
    using namespace blake2s_detail;
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::avx512)) return wiped_digest<rows_avx512>(out, key, a, b);
    if (has(allowed_, cpu::avx2)) return wiped_digest<rows_avx2>(out, key, a, b);
#endif
    wiped_digest<words>(out, key, a, b);
}

#endif

/// The default model of hash_backend.
using hash = std::conditional_t<compact, compact_hash, blake2s_hash>;

static_assert(hash_backend<blake2s_hash>);

}}} // namespace wg::WG_ABI::bundled

#endif
