// SPDX-License-Identifier: BSL-1.0
// BLAKE2s (RFC 7693), keyed or not, and the default model of hash_backend.
// Folder: backends/bundled; any thread.
//
// A single message is hashed word by word, or with AVX2 or AVX-512 in rows of four words (blake2s_rows.inl). In a
// batch, messages with the same number of blocks are hashed in parallel, one to each lane of a vector
// (blake2s_lanes.inl).
#ifndef WG_BACKENDS_BUNDLED_BLAKE2S_HPP
#define WG_BACKENDS_BUNDLED_BLAKE2S_HPP

#include "../../policy.hpp"
#include "cpu.hpp"
#include "limbs.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#ifdef WG_HAS_X86_KERNELS
#include <immintrin.h>
#endif

namespace wg { inline namespace WG_ABI { namespace bundled {

namespace blake2s_detail {

inline constexpr std::size_t block_bytes = 64;
inline constexpr std::size_t max_digest_bytes = 32;

inline constexpr std::uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/// The word of the block that each step of each round takes (RFC 7693, section 2.7).
inline constexpr std::uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

#ifdef WG_COMPACT
/// `sigma` in half rounds: four bits for each step, the first step in the lowest bits. It takes half the memory.
inline constexpr std::array<std::uint32_t, 20> packed_sigma = [] {
    std::array<std::uint32_t, 20> packed{};
    for (std::size_t i = 0; i < 160; ++i) packed[i / 8] |= std::uint32_t{sigma[i / 16][i % 16]} << (4 * (i % 8));
    return packed;
}();
#endif

/// The first word of the parameter block (RFC 7693, section 2.5): digest length, key length, fanout 1, depth 1. The
/// other words are zero.
constexpr std::uint32_t parameters(std::size_t digest_bytes, std::size_t key_bytes) noexcept {
    return 0x01010000u ^ converted<std::uint32_t>(key_bytes << 8) ^ converted<std::uint32_t>(digest_bytes);
}

/// Copies less than a block. Does not call memcpy, except in compact builds: vector code in memcpy leaves copies of
/// secrets in registers that no kernel clears, and the call takes time.
inline void copy_short(byte* to, byte const* from, std::size_t size) noexcept {
#ifdef WG_COMPACT
    if (size != 0) std::memcpy(to, from, size); // memcpy of a null pointer is undefined even for size 0
#else
    auto const ends = [&]<std::size_t Size>(std::integral_constant<std::size_t, Size>) noexcept {
        std::memcpy(to, from, Size); // the first `Size` bytes and the last ones, which may overlap
        std::memcpy(to + size - Size, from + size - Size, Size);
    };
    if (size >= 32) return ends(std::integral_constant<std::size_t, 32>{});
    if (size >= 16) return ends(std::integral_constant<std::size_t, 16>{});
    if (size >= 8) return ends(std::integral_constant<std::size_t, 8>{});
    if (size >= 4) return ends(std::integral_constant<std::size_t, 4>{});
    for (std::size_t i = 0; i < size; ++i) to[i] = from[i];
#endif
}

/// Writes a block: `from`, which is shorter, then zeros.
inline void pad(byte* to, bytes_view from) noexcept {
    std::memset(to, 0, block_bytes);
    copy_short(to, from.data(), from.size());
}

/// The mixing function G (RFC 7693, section 3.1).
[[gnu::always_inline]] inline void mix(std::uint32_t& a, std::uint32_t& b, std::uint32_t& c, std::uint32_t& d,
                                       std::uint32_t x, std::uint32_t y) noexcept {
    a += b + x, d = std::rotr(d ^ a, 16);
    c += d, b = std::rotr(b ^ c, 12);
    a += b + y, d = std::rotr(d ^ a, 8);
    c += d, b = std::rotr(b ^ c, 7);
}

/// The memory of a digest in one object, so that one wipe clears it.
struct work {
    std::uint32_t h[8];
    byte padded[block_bytes];
#ifdef WG_COMPACT
    std::size_t held; ///< bytes of `padded` that begin the message: 0, or `block_bytes` with a key
    std::size_t key_bytes;
    byte* out;
    std::size_t out_bytes;
    struct {
        byte const* data;
        std::size_t size;
    } in[2]; ///< the rest of the message, in two parts
#endif

    ~work() { wipe_fixed<sizeof(work)>(this); }
};

/// The portable kernel: one message, word by word.
struct words {
#ifdef WG_COMPACT
    static constexpr std::size_t spill_bytes = bundled::spill_bytes + 80; // the words of the state
#else
    static constexpr std::size_t spill_bytes = 2 * bundled::spill_bytes; // clang vectorises the code and spills vectors
#endif

#ifndef WG_COMPACT
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
#endif

#ifdef WG_COMPACT
    using counter = std::uint32_t; ///< counts bytes; compact builds hash less than 4 GiB
#else
    using counter = std::uint64_t;                                       ///< counts bytes
#endif
    /// The compression function F (RFC 7693, section 3.2). `count`: the byte counter of the block.
    [[gnu::noinline]] static void compress_block(std::uint32_t* h, byte const* block, counter count,
                                                 bool last) noexcept {
        std::uint32_t v[16];
#ifdef WG_COMPACT
        auto const m = [&](std::size_t i) noexcept { return load_le32(block + 4 * i); };
#else
        std::uint32_t words[16];
        for (std::size_t i = 0; i < 16; ++i) words[i] = load_le32(block + 4 * i);
        auto const m = [&](std::size_t i) noexcept { return words[i]; };
#endif
        for (std::size_t i = 0; i < 8; ++i) v[i] = h[i], v[8 + i] = iv[i];
        v[12] ^= converted<std::uint32_t>(count);
#ifndef WG_COMPACT
        v[13] ^= static_cast<std::uint32_t>(count >> 32);
#endif
        if (last) v[14] = ~v[14];
#ifdef WG_COMPACT
        std::uint32_t* all = v;
        asm("" : "+r"(all));   // words are addressed by index then, and not by their distance to the frame's end
        unsigned diagonal = 0; // 0: the columns, 1: the diagonals
        for (std::uint32_t p : packed_sigma) {
#pragma GCC unroll 1
            for (unsigned i = 0; i < 4; ++i, p >>= 8) {
                unsigned const second = 4 + (i + diagonal) % 4, third = 8 + (i + 2 * diagonal) % 4,
                               fourth = 12 + (i + 3 * diagonal) % 4;
                std::uint32_t a = all[i], b = all[second], c = all[third], d = all[fourth];
                mix(a, b, c, d, m(p % 16), m(p / 16 % 16));
                all[i] = a, all[second] = b, all[third] = c, all[fourth] = d;
            }
            diagonal ^= 1;
        }
#else
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
#endif
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
#if !defined(WG_COMPACT) && (defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__))
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

#ifndef WG_COMPACT
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
#endif

#ifdef WG_COMPACT

/// Hashes the input of `w`. Every block is copied to w.padded first, which takes little code. A full block is
/// compressed only when another byte follows, because the last block is compressed differently.
template <class Kernel> [[gnu::noinline]] inline void digest(work& w) noexcept {
    std::memcpy(w.h, iv, sizeof iv);
    w.h[0] ^= parameters(w.out_bytes, w.key_bytes);
    typename Kernel::counter count = 0;
    std::size_t held = w.held;
    for (auto const& in : w.in) {
        byte const* from = in.data;
        for (std::size_t left = in.size; left != 0;) {
            if (held == block_bytes) {
                Kernel::compress_block(w.h, w.padded, count += block_bytes, false);
                std::memset(w.padded, 0, block_bytes);
                held = 0;
            }
            std::size_t const now = (std::min)(left, block_bytes - held);
            std::memcpy(w.padded + held, from, now);
            held += now, from += now, left -= now;
        }
    }
    Kernel::compress_block(w.h, w.padded, count + static_cast<typename Kernel::counter>(held), true);
    store_words(w.padded, w.h, 8);
    copy_short(w.out, w.padded, w.out_bytes);
}

// The functions below take pointers and sizes and not spans, which compilers for 32-bit machines pass on the stack.

/// `blake2s`, with all its memory wiped.
template <class Kernel>
[[gnu::noinline]] inline void wiped_digest(byte* out, std::size_t out_bytes, byte const* a, std::size_t a_bytes,
                                           byte const* b, std::size_t b_bytes, byte const* key,
                                           std::size_t key_bytes) noexcept {
    {
        work w;
        pad(w.padded, {key, key_bytes});
        w.held = key_bytes == 0 ? 0 : block_bytes;
        w.key_bytes = key_bytes;
        w.out = out, w.out_bytes = out_bytes;
        w.in[0] = {a, a_bytes};
        w.in[1] = {b, b_bytes};
        digest<Kernel>(w);
    }
    wipe_stack<Kernel::spill_bytes>(); // the frames of `digest` and `compress_block`; ~work wiped the rest
}

/// HMAC (RFC 2104) with one `work` for both digests, and all its memory wiped. `out` holds the inner digest meanwhile.
template <class Kernel>
[[gnu::noinline]] inline void wiped_hmac(byte* out, byte const* key, byte const* input, std::size_t size) noexcept {
    {
        work w;
        w.key_bytes = 0;
        w.out = out, w.out_bytes = max_digest_bytes;
        w.in[0] = {input, size};
        w.in[1] = {nullptr, 0};
        for (byte const filler : {byte{0x36}, byte{0x5c}}) {
            std::memset(w.padded, filler, block_bytes);
            for (std::size_t i = 0; i < max_digest_bytes; ++i) w.padded[i] ^= key[i];
            w.held = block_bytes;
            digest<Kernel>(w);
            w.in[0] = {out, max_digest_bytes};
        }
    }
    wipe_stack<Kernel::spill_bytes>();
}

#else

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

#endif

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

/// The default model of hash_backend: it uses the fastest kernels that the processor has. Any thread.
class hash {
public:
    hash() noexcept : hash(chosen_cpu()) {} ///< uses all features of the processor except those in `WG_CPU_OFF`
    /// Uses no more than `allowed`, which the processor must have.
    explicit hash([[maybe_unused]] cpu allowed) noexcept
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

#ifdef WG_COMPACT
    /// HMAC-BLAKE2s with a key of 32 bytes. `out` has 32 bytes and overlaps neither key nor input.
    void hmac_blake2s(bytes out, key_view key, bytes_view input) const noexcept {
        WG_ASSERT(out.size() == key_bytes);
        blake2s_detail::wiped_hmac<blake2s_detail::words>(out.data(), key.data(), input.data(), input.size());
    }
#else
    /// `blake2s` for each item. Items of equally many blocks share the lanes of vectors.
    void blake2s_batch(std::span<hash_item const> items) const noexcept;
#endif

private:
    void digest(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept;

#ifdef WG_X86_KERNELS
    cpu allowed_;
#endif
};

#ifdef WG_DEFINE_KERNELS

#ifndef WG_COMPACT
WG_CHOICE void hash::blake2s_batch(std::span<hash_item const> items) const noexcept {
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
#endif

WG_CHOICE void hash::digest(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
    using namespace blake2s_detail;
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::avx512)) return wiped_digest<rows_avx512>(out, key, a, b);
    if (has(allowed_, cpu::avx2)) return wiped_digest<rows_avx2>(out, key, a, b);
#endif
#ifdef WG_COMPACT
    wiped_digest<words>(out.data(), out.size(), a.data(), a.size(), b.data(), b.size(), key.data(), key.size());
#else
    wiped_digest<words>(out, key, a, b);
#endif
}

#endif

static_assert(hash_backend<hash>);

}}} // namespace wg::WG_ABI::bundled

#endif
