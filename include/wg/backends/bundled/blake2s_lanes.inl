// SPDX-License-Identifier: BSL-1.0
// BLAKE2s of several messages in parallel (RFC 7693): element i of a vector belongs to message i. blake2s.hpp includes
// this text of a kernel once for each instruction set.
// Folder: backends/bundled; any thread.
//
// The including file defines WG_LANES, the number of messages: 4, 8 or 16; WG_LANES_TARGET, the attribute of every
// function; and WG_LANES_WIPE, which clears the vector registers.

static constexpr std::size_t width = WG_LANES; ///< messages in parallel
typedef std::uint32_t lanes __attribute__((vector_size(4 * WG_LANES)));
typedef std::uint64_t pairs __attribute__((vector_size(4 * WG_LANES)));
typedef std::uint32_t quad __attribute__((vector_size(16)));
using each_lane = std::make_index_sequence<WG_LANES>;

/// Rotates every word by `Bytes` bytes to the right.
template <std::size_t Bytes, std::size_t... N>
WG_LANES_TARGET [[gnu::always_inline]] static inline void rotate_bytes(lanes& x, std::index_sequence<N...>) noexcept {
    typedef std::uint8_t octets __attribute__((vector_size(4 * WG_LANES)));
    octets const o = octets(x);
    x = lanes(__builtin_shufflevector(o, o, (N / 4 * 4 + (N + Bytes) % 4)...));
}

/// Rotates every word by `Bits` bits to the right.
template <int Bits> WG_LANES_TARGET [[gnu::always_inline]] static inline void rotate(lanes& x) noexcept {
#if WG_LANES == 8
    // AVX2 has no rotation of words. For whole bytes, one shuffle replaces two shifts and an or.
    if constexpr (Bits % 8 == 0) return rotate_bytes<Bits / 8>(x, std::make_index_sequence<4 * WG_LANES>{});
#elif WG_LANES == 4 && defined(__SSE2__) && !defined(__AVX512VL__)
    typedef std::uint16_t halves __attribute__((vector_size(16)));
    if constexpr (Bits == 16) {
        halves const h = halves(x);
        x = lanes(__builtin_shufflevector(h, h, 1, 0, 3, 2, 5, 4, 7, 6));
        return;
    }
#endif
    x = (x >> Bits) | (x << (32 - Bits));
}

/// Half a round: the four mixings of v[i], v[4 + (i + Turn) % 4], v[8 + (i + 2 Turn) % 4], v[12 + (i + 3 Turn) % 4].
/// Each step is done for all four mixings before the next step: steps of one mixing depend on each other, and those of
/// different mixings run side by side.
template <std::size_t Turn>
WG_LANES_TARGET [[gnu::always_inline]] static inline void mix_four(lanes (&v)[16], lanes const (&m)[16],
                                                                   std::uint8_t const* p) noexcept {
    constexpr std::size_t b = Turn, c = 2 * Turn, d = 3 * Turn;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[i] += m[p[2 * i]], v[i] += v[4 + (i + b) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[12 + (i + d) % 4] ^= v[i], rotate<16>(v[12 + (i + d) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + (i + c) % 4] += v[12 + (i + d) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[4 + (i + b) % 4] ^= v[8 + (i + c) % 4], rotate<12>(v[4 + (i + b) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[i] += m[p[2 * i + 1]], v[i] += v[4 + (i + b) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[12 + (i + d) % 4] ^= v[i], rotate<8>(v[12 + (i + d) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + (i + c) % 4] += v[12 + (i + d) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[4 + (i + b) % 4] ^= v[8 + (i + c) % 4], rotate<7>(v[4 + (i + b) % 4]);
}

/// `word` in every element.
WG_LANES_TARGET [[gnu::always_inline]] static inline void fill(lanes& to, std::uint32_t word) noexcept {
    to = lanes{} + word;
}

/// Interleaves, in each 16 bytes, the elements of the lower (Upper 0) or upper (Upper 1) halves of a and b.
template <std::size_t Upper, class Vector, std::size_t... N>
WG_LANES_TARGET [[gnu::always_inline]] static inline void zip(Vector& to, Vector const& a, Vector const& b,
                                                              std::index_sequence<N...>) noexcept {
    constexpr std::size_t count = sizeof...(N), group = 4 * count / WG_LANES;
    to = __builtin_shufflevector(a, b, (N % 2 * count + N / group * group + Upper * group / 2 + N % group / 2)...);
}

/// Reads four little-endian words.
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_words(quad& to, byte const* at) noexcept {
    if constexpr (std::endian::native == std::endian::little) std::memcpy(&to, at, sizeof to);
    else to = quad{load_le32(at), load_le32(at + 4), load_le32(at + 8), load_le32(at + 12)};
}

/// Writes four little-endian words.
WG_LANES_TARGET [[gnu::always_inline]] static inline void store_words(byte* at, quad const& from) noexcept {
    if constexpr (std::endian::native == std::endian::little) std::memcpy(at, &from, sizeof from);
    else
        for (std::size_t i = 0; i < 4; ++i) store_le32(at + 4 * i, from[i]);
}

/// Loads four words of each of the messages `first`, `first` + 4, ..., from byte `at` on.
template <std::size_t... N>
WG_LANES_TARGET [[gnu::always_inline]] static inline void
load_row(lanes& row, byte const* const* from, std::size_t first, std::size_t at, std::index_sequence<N...>) noexcept {
#if WG_LANES == 4
    load_words(row, from[first] + at);
#elif WG_LANES == 8
    quad a, b;
    load_words(a, from[first] + at);
    load_words(b, from[first + 4] + at);
    row = __builtin_shufflevector(a, b, N...);
#else
    typedef std::uint32_t eight __attribute__((vector_size(32)));
    quad a, b, c, d;
    load_words(a, from[first] + at);
    load_words(b, from[first + 4] + at);
    load_words(c, from[first + 8] + at);
    load_words(d, from[first + 12] + at);
    eight const ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
    eight const cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
    row = __builtin_shufflevector(ab, cd, N...);
#endif
}

/// Transposes the 4 by 4 words in each 16 bytes of four rows.
WG_LANES_TARGET [[gnu::always_inline]] static inline void transpose(lanes (&r)[4]) noexcept {
    using each_pair = std::make_index_sequence<WG_LANES / 2>;
    lanes low01, low23, high01, high23;
    zip<0>(low01, r[0], r[1], each_lane{});
    zip<0>(low23, r[2], r[3], each_lane{});
    zip<1>(high01, r[0], r[1], each_lane{});
    zip<1>(high23, r[2], r[3], each_lane{});
    pairs p0, p1, p2, p3;
    zip<0>(p0, pairs(low01), pairs(low23), each_pair{});
    zip<1>(p1, pairs(low01), pairs(low23), each_pair{});
    zip<0>(p2, pairs(high01), pairs(high23), each_pair{});
    zip<1>(p3, pairs(high01), pairs(high23), each_pair{});
    r[0] = lanes(p0), r[1] = lanes(p1), r[2] = lanes(p2), r[3] = lanes(p3);
}

/// Overwrites `Bytes` bytes with zeros, in whole vectors.
template <std::size_t Bytes>
WG_LANES_TARGET [[gnu::always_inline]] static inline void wipe_lanes(void* memory) noexcept {
    lanes zero = {};
    asm volatile("" : "+m"(zero)); // keeps the compiler from calling memset
    static_assert(Bytes % sizeof zero == 0);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Bytes; i += sizeof zero)
        std::memcpy(static_cast<byte*>(memory) + i, &zero, sizeof zero);
    asm volatile("" : : "r"(memory) : "memory");
}

/// The memory of a group of messages in one object, so that one wipe clears it.
struct group {
    lanes h[8];
    lanes m[16];
    alignas(4 * WG_LANES) byte padded[WG_LANES][block_bytes];
};

/// `wipe_stack` for the frames of `digest`. Compilers that do not reuse the memory of objects with separate lifetimes
/// need twice the size of `group` and more.
WG_LANES_TARGET [[gnu::noinline]] static inline void wipe_frames() noexcept {
    alignas(4 * WG_LANES) byte frame[2 * sizeof(group) + 512];
    wipe_lanes<sizeof frame>(frame);
    wipe_baseline_registers();
}

/// Writes a block: `from`, which is shorter, then zeros.
WG_LANES_TARGET [[gnu::always_inline]] static inline void pad_lane(byte* to, bytes_view from) noexcept {
#if WG_LANES == 16
    __mmask64 const there = (__mmask64{1} << from.size()) - 1;
    _mm512_store_si512(to, _mm512_maskz_loadu_epi8(there, from.data()));
#else
    pad(to, from);
#endif
}

/// Reads block number `block` of every message: word i of all messages goes to m[i].
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_block(group& g, hash_item const* const* items,
                                                                     std::size_t count, std::size_t block) noexcept {
    byte const* from[WG_LANES] = {};
    for (std::size_t i = 0; i < WG_LANES; ++i) {
        from[i] = from[0]; // a lane without a message repeats the first message
        if (i >= count) continue;
        hash_item const& item = *items[i];
        bytes_view rest = item.key;
        if (item.key.empty()) rest = item.message.subspan(block_bytes * block);
        else if (block != 0) rest = item.message.subspan(block_bytes * (block - 1));
        from[i] = rest.data();
        if (rest.size() >= block_bytes) continue;
        pad_lane(g.padded[i], rest);
        from[i] = g.padded[i];
    }
    for (std::size_t i = 0; i < 16; i += 4) {
        lanes r[4];
        load_row(r[0], from, 0, 4 * i, each_lane{});
        load_row(r[1], from, 1, 4 * i, each_lane{});
        load_row(r[2], from, 2, 4 * i, each_lane{});
        load_row(r[3], from, 3, 4 * i, each_lane{});
        transpose(r);
        g.m[i] = r[0], g.m[i + 1] = r[1], g.m[i + 2] = r[2], g.m[i + 3] = r[3];
    }
}

/// Writes the digests to the items.
WG_LANES_TARGET [[gnu::always_inline]] static inline void store_digests(group& g, hash_item const* const* items,
                                                                        std::size_t count) noexcept {
    for (std::size_t part = 0; part < 8; part += 4) {
        lanes r[4];
        for (std::size_t j = 0; j < 4; ++j) r[j] = g.h[part + j];
        transpose(r);
        for (std::size_t j = 0; j < 4; ++j) g.h[part + j] = r[j];
    }
    for (std::size_t i = 0; i < count; ++i) { // words 0-3 of message i are in row i % 4, and 4-7 in row 4 + i % 4
        for (std::size_t part = 0; part < 2; ++part) {
            quad words;
            std::memcpy(&words, reinterpret_cast<byte const*>(&g.h[4 * part + i % 4]) + i / 4 * 16, 16);
            store_words(g.padded[i] + 16 * part, words);
        }
        copy_short(items[i]->out.data(), g.padded[i], items[i]->out.size());
    }
}

/// The compression function F (RFC 7693, section 3.2) in every lane. `low`, `high`: the words of the byte counters.
WG_LANES_TARGET [[gnu::always_inline]] static inline void compress(group& g, lanes const& low, lanes const& high,
                                                                   bool last) noexcept {
    lanes v[16];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) {
        v[i] = g.h[i];
        fill(v[8 + i], iv[i]);
    }
    v[12] ^= low, v[13] ^= high;
    if (last) v[14] = ~v[14];
        // Not unrolled: loading the 16 indices of a round takes less time than its vector operations, and hides behind
        // them.
#pragma GCC unroll 1
    for (auto const& p : sigma) {
        mix_four<0>(v, g.m, p);
        mix_four<1>(v, g.m, p + 8);
    }
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) g.h[i] ^= v[i] ^ v[8 + i];
}

/// Hashes 1 to WG_LANES messages. Each has `blocks` blocks, with the block of its key.
WG_LANES_TARGET [[gnu::noinline]] static inline void digest(hash_item const* const* items, std::size_t count,
                                                            std::size_t blocks) noexcept {
    group g;
    std::uint32_t low[WG_LANES], high[WG_LANES], first[WG_LANES];
    for (std::size_t i = 0; i < WG_LANES; ++i) {
        hash_item const* item = items[i < count ? i : 0];
        asm("" : "+r"(item)); // keeps clang from gathering the sizes in vectors, which is slower
        std::uint64_t const all = item->message.size() + (item->key.empty() ? 0 : block_bytes);
        low[i] = static_cast<std::uint32_t>(all);
        high[i] = static_cast<std::uint32_t>(all >> 32);
        first[i] = parameters(item->out.size(), item->key.size());
    }
    for (std::size_t i = 0; i < 8; ++i) fill(g.h[i], iv[i]);
    lanes low_all, high_all, parameter_words; // the last byte counters, and the first words of the parameter blocks
    std::memcpy(&low_all, low, sizeof low);
    std::memcpy(&high_all, high, sizeof high);
    std::memcpy(&parameter_words, first, sizeof first);
    g.h[0] ^= parameter_words;
    for (std::size_t block = 0; block + 1 < blocks; ++block) {
        load_block(g, items, count, block);
        std::uint64_t const so_far = block_bytes * (block + 1);
        lanes so_far_low, so_far_high;
        fill(so_far_low, static_cast<std::uint32_t>(so_far));
        fill(so_far_high, static_cast<std::uint32_t>(so_far >> 32));
        compress(g, so_far_low, so_far_high, false);
    }
    load_block(g, items, count, blocks - 1);
    compress(g, low_all, high_all, true);
    store_digests(g, items, count);
    wipe_lanes<sizeof g>(&g);
    WG_LANES_WIPE;
}
