// SPDX-License-Identifier: BSL-1.0
// The arithmetic and the codes of ML-KEM in vectors. ml_kem_kernels.hpp includes this text once for each instruction
// set, inside a class. Folder: backends/bundled; pure.
//
// The including class defines `lanes`, the 16-bit numbers of a vector; `words`, a vector of them, and `pairs` and
// `quads`, the same bits as numbers of 32 and of 64 bits; and these operations on `words`:
//     multiply_high(a, b)     the upper halves of the products
//     multiply_rounded(a, b)  (a * b + 2^14) >> 15
//     multiply_pairs(a, b)    the sums of the products of two neighbours, as `pairs`
// The macro WG_KEM_TARGET is the attribute of every function, WG_KEM_INLINE that of a function that is inlined.
//
// A polynomial is `degree / lanes` vectors, and its coefficients keep their order. In the layers of the transform for
// distances of a vector or more, vectors are paired. Within a vector, all lanes are multiplied, a half of them for
// nothing; this takes less time than to move the coefficients apart and back.

static constexpr std::size_t vectors = degree / lanes; ///< of a polynomial

WG_KEM_INLINE static words load(std::int16_t const* from) noexcept {
    words x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}
WG_KEM_INLINE static void store(std::int16_t* to, words const& x) noexcept { __builtin_memcpy(to, &x, sizeof x); }
/// `x` in all lanes.
WG_KEM_INLINE static words same(std::int16_t x) noexcept { return words{} + x; }
/// The lower halves of the products.
WG_KEM_INLINE static words multiply_low(words const& a, words const& b) noexcept {
    return words(unsigned_words(a) * unsigned_words(b));
}
/// Of each two numbers that are `D` apart, the first one in both places. The indices are those of pairs.
template <std::size_t D, std::size_t... N>
WG_KEM_INLINE static words first_of(words const& x, std::index_sequence<N...>) noexcept {
    return words(__builtin_shufflevector(pairs(x), pairs(x), (N & ~(D / 2))...));
}
/// The second one in both places.
template <std::size_t D, std::size_t... N>
WG_KEM_INLINE static words second_of(words const& x, std::index_sequence<N...>) noexcept {
    return words(__builtin_shufflevector(pairs(x), pairs(x), (N | (D / 2))...));
}
/// Both, exchanged.
template <std::size_t D, std::size_t... N>
WG_KEM_INLINE static words exchange(words const& x, std::index_sequence<N...>) noexcept {
    return words(__builtin_shufflevector(pairs(x), pairs(x), (N ^ (D / 2))...));
}
/// All ones in the second place of each pair, zero in the first one.
template <std::size_t D, std::size_t... N> WG_KEM_INLINE static words is_second(std::index_sequence<N...>) noexcept {
    return words(pairs{(N & (D / 2) ? ~std::uint32_t{0} : 0)...});
}
static constexpr std::make_index_sequence<lanes / 2> all_pairs{};
/// a * factor / R modulo q, in (-q, q). `quotient` is the factor times 1 / q modulo R.
WG_KEM_INLINE static words product(words const& a, words const& factor, words const& quotient) noexcept {
    return multiply_high(a, factor) - multiply_high(multiply_low(a, quotient), same(q));
}
/// x modulo q, in (-q, q), for any x.
WG_KEM_INLINE static words reduced(words const& x) noexcept { return product(x, same(one), same(one_quotient)); }
/// x modulo q, in [0, q), for x in (-q, q).
WG_KEM_INLINE static words from_zero(words const& x) noexcept { return x + ((x >> 15) & q); }

// --- the transform

/// The layer for coefficients `distance` apart, a vector or more, for the `count` coefficients at `c`. `zeta`: the
/// factor of the first block.
WG_KEM_INLINE static void forward_layer(std::int16_t* c, std::size_t count, std::size_t distance,
                                        std::size_t zeta) noexcept {
    for (std::size_t start = 0; start < count; start += 2 * distance, ++zeta) {
        words const factor = same(zetas[zeta]), quotient = same(zeta_quotients[zeta]);
        for (std::size_t i = start; i < start + distance; i += lanes) {
            words const a = load(c + i), t = product(load(c + i + distance), factor, quotient);
            store(c + i, a + t);
            store(c + i + distance, a - t);
        }
    }
}
/// The layer for coefficients `Distance` apart in one vector, the vector of coefficients `at` and up.
template <std::size_t Distance> WG_KEM_INLINE static void forward_inside(words& x, std::size_t at) noexcept {
    x = first_of<Distance>(x, all_pairs) + product(second_of<Distance>(x, all_pairs),
                                                   load(forward_table<Distance>.factor + at),
                                                   load(forward_table<Distance>.quotient + at));
}
/// Same as `ring::transform`, but writes (-q, q).
WG_KEM_TARGET static void transform(polynomial& p) noexcept {
    for (std::size_t distance = 128; distance >= lanes; distance /= 2)
        forward_layer(p.c, degree, distance, 128 / distance);
    for (std::size_t at = 0; at < degree; at += lanes) {
        words x = load(p.c + at);
        if constexpr (lanes > 16) forward_inside<16>(x, at);
        if constexpr (lanes > 8) forward_inside<8>(x, at);
        forward_inside<4>(x, at);
        forward_inside<2>(x, at);
        store(p.c + at, reduced(x));
    }
}

/// Reverses `forward_inside`. The sums are reduced, too, so x stays in (-q, q).
template <std::size_t Distance> WG_KEM_INLINE static void inverse_inside(words& x, std::size_t at) noexcept {
    words const negated = (x ^ is_second<Distance>(all_pairs)) - is_second<Distance>(all_pairs);
    x = product(exchange<Distance>(x, all_pairs) + negated, load(inverse_table<Distance>.factor + at),
                load(inverse_table<Distance>.quotient + at));
}
/// Same as `ring::inverse_transform`.
WG_KEM_TARGET static void inverse_transform(polynomial& p) noexcept {
    for (std::size_t at = 0; at < degree; at += lanes) {
        words x = load(p.c + at);
        inverse_inside<2>(x, at);
        inverse_inside<4>(x, at);
        if constexpr (lanes > 8) inverse_inside<8>(x, at);
        if constexpr (lanes > 16) inverse_inside<16>(x, at);
        store(p.c + at, x);
    }
    std::size_t bound = 1; // |x| < bound * q
    for (std::size_t distance = lanes; distance <= 128; distance *= 2) {
        bound *= 2;
        bool const is_last = distance == 128, reduces = bound == 8 && !is_last;
        if (reduces) bound = 1;
        std::size_t zeta = 256 / distance - 1;
        for (std::size_t start = 0; start < degree; start += 2 * distance, --zeta) {
            words const factor = same(zetas[zeta]), quotient = same(zeta_quotients[zeta]);
            for (std::size_t i = start; i < start + distance; i += lanes) {
                words const a = load(p.c + i), b = load(p.c + i + distance);
                store(p.c + i, reduces ? reduced(a + b) : a + b);
                store(p.c + i + distance, product(b - a, factor, quotient));
            }
        }
    }
    for (std::size_t at = 0; at < degree; at += lanes)
        store(p.c + at, product(load(p.c + at), same(inverse_scale), same(inverse_scale_quotient)));
}

// --- products of transforms

/// A transform as the second factor of products.
struct factors {
    alignas(64) std::int16_t first[degree];  ///< coefficient 2i, then coefficient 2i + 1 times the root of the pair
    alignas(64) std::int16_t second[degree]; ///< coefficient 2i + 1, then coefficient 2i
};

/// Reads (-q, q).
WG_KEM_TARGET static void make_factors(factors& f, polynomial const& p) noexcept {
    for (std::size_t at = 0; at < degree; at += lanes) {
        words const x = load(p.c + at);
        store(f.first + at, product(x, load(root_table.factor + at), load(root_table.quotient + at)));
        pairs const both = pairs(x);
        store(f.second + at, words(both << 16 | both >> 16));
    }
}
/// c / R modulo q, in (-q, q), in the upper halves; the lower halves are zero. |c| < q * 2^15.
WG_KEM_INLINE static pairs reduced_pairs(pairs const& c) noexcept {
    words const low = multiply_low(words(c), words(pairs{} + (q_inverse & 0xffff)));
    return pairs(c) - pairs(multiply_pairs(low, words(pairs{} + std::uint32_t{q})));
}
/// p = the sum of the products of `rank` transforms, divided by R, in (-q, q).
WG_KEM_TARGET static void multiply(polynomial& p, polynomial const* a, factors const* b) noexcept {
    for (std::size_t at = 0; at < degree; at += lanes) {
        pairs even{}, odd{};
        for (std::size_t j = 0; j < rank; ++j) {
            words const x = load(a[j].c + at);
            even += pairs(multiply_pairs(x, load(b[j].first + at)));
            odd += pairs(multiply_pairs(x, load(b[j].second + at)));
        }
        store(p.c + at, words(reduced_pairs(even) >> 16 | reduced_pairs(odd)));
    }
}
/// Same as `ring::scale_and_add`, but writes (-q, q).
WG_KEM_TARGET static void scale_and_add(polynomial& p, polynomial const& other) noexcept {
    for (std::size_t at = 0; at < degree; at += lanes)
        store(p.c + at, reduced(product(load(p.c + at), same(montgomery_square), same(montgomery_square_quotient)) +
                                load(other.c + at)));
}
/// a += b, in (-q, q).
WG_KEM_TARGET static void add(polynomial& a, polynomial const& b) noexcept {
    for (std::size_t at = 0; at < degree; at += lanes) store(a.c + at, reduced(load(a.c + at) + load(b.c + at)));
}
/// a = b - a, in (-q, q).
WG_KEM_TARGET static void subtract_from(polynomial& a, polynomial const& b) noexcept {
    for (std::size_t at = 0; at < degree; at += lanes) store(a.c + at, reduced(load(b.c + at) - load(a.c + at)));
}

// --- codes. Four coefficients are gathered in a number of 64 bits, whose bytes are then stored.

static constexpr std::size_t numbers = degree / 4; ///< such numbers of a polynomial

WG_KEM_INLINE static quads load_quads(std::uint64_t const* from) noexcept {
    quads x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}
WG_KEM_INLINE static void store_quads(std::uint64_t* to, quads const& x) noexcept {
    __builtin_memcpy(to, &x, sizeof x);
}
/// Stores the lowest `Bytes` bytes of each number.
template <std::size_t Bytes>
WG_KEM_INLINE static void store_bytes(byte* to, std::uint64_t const (&from)[numbers]) noexcept {
    if constexpr (Bytes == 2) {
        for (std::uint64_t const x : from) store_le16(to, static_cast<std::uint16_t>(x)), to += Bytes;
    } else {
        for (std::size_t i = 0; i + 1 < numbers; ++i, to += Bytes) {
            asm("" : "+r"(to));      // or clang would scatter the numbers, whose addresses the tests cannot follow
            store_le64(to, from[i]); // the next number overwrites the bytes that are not wanted
        }
        byte last[8];
        store_le64(last, from[numbers - 1]);
        __builtin_memcpy(to, last, Bytes);
    }
}
/// Loads numbers of `Bytes` bytes. The other bytes of a number are arbitrary. No byte after the last one is read.
template <std::size_t Bytes>
WG_KEM_INLINE static void load_bytes(std::uint64_t (&to)[numbers], byte const* from) noexcept {
    if constexpr (Bytes == 2) {
        for (std::uint64_t& x : to) x = load_le16(from), from += Bytes;
    } else {
        for (std::size_t i = 0; i + 1 < numbers; ++i, from += Bytes) to[i] = load_le64(from);
        to[numbers - 1] = load_le64(from - (8 - Bytes)) >> (8 * (8 - Bytes));
    }
}
/// Four 16-bit numbers of at most `Bits` bits as one number of 4 * `Bits` bits.
template <unsigned Bits> WG_KEM_INLINE static quads gathered(words const& x) noexcept {
    quads const two = quads(multiply_pairs(x, words(pairs{} + (1u << Bits << 16 | 1u))));
    return (two & 0xffffffff) | two >> 32 << (2 * Bits);
}
/// Reverses `gathered`.
template <unsigned Bits> WG_KEM_INLINE static words spread(quads const& x) noexcept {
    constexpr std::uint64_t mask = (1u << Bits) - 1;
    return words((x & mask) | (x << (16 - Bits) & mask << 16) | (x << (32 - 2 * Bits) & mask << 32) |
                 (x << (48 - 3 * Bits) & mask << 48));
}

/// Same as `coding::encode`.
WG_KEM_TARGET static void encode(byte* to, polynomial const& p) noexcept {
    std::uint64_t all[numbers];
    for (std::size_t at = 0; at < degree; at += lanes)
        store_quads(all + at / 4, gathered<12>(from_zero(load(p.c + at))));
    store_bytes<6>(to, all);
}
/// Same as `coding::decode`.
WG_KEM_TARGET static void decode(polynomial& p, byte const* from) noexcept {
    std::uint64_t all[numbers];
    load_bytes<6>(all, from);
    for (std::size_t at = 0; at < degree; at += lanes) store(p.c + at, spread<12>(load_quads(all + at / 4)));
}
/// Same as `coding::is_reduced`.
WG_KEM_TARGET static bool is_reduced(byte const* from) noexcept {
    std::uint64_t all[numbers];
    load_bytes<6>(all, from);
    words below = same(-1);
    for (std::size_t at = 0; at < degree; at += lanes) below &= spread<12>(load_quads(all + at / 4)) - q;
    std::int16_t each[lanes];
    store(each, below);
    std::int16_t every = -1;
    for (std::int16_t const x : each) every = static_cast<std::int16_t>(every & x);
    return every < 0;
}

/// Compress of 32-bit numbers: see `compress`.
template <unsigned Bits> WG_KEM_INLINE static pairs compressed(pairs const& x) noexcept {
    using c = compression<Bits>;
    return (x * c::factor + c::offset) >> c::shift & ((1u << Bits) - 1);
}
/// Same as `coding::compress_to`.
template <unsigned Bits> WG_KEM_TARGET static void compress_to(byte* to, polynomial const& p) noexcept {
    std::uint64_t all[numbers];
    for (std::size_t at = 0; at < degree; at += lanes) {
        pairs const x = pairs(from_zero(load(p.c + at)));
        store_quads(all + at / 4,
                    gathered<Bits>(words(compressed<Bits>(x & 0xffff) | compressed<Bits>(x >> 16) << 16)));
    }
    if constexpr (Bits == 1)
        for (std::size_t i = 0; i < numbers; i += 2) *to++ = static_cast<byte>(all[i] | all[i + 1] << 4);
    else store_bytes<Bits / 2>(to, all);
}
/// Same as `coding::decompress_from`.
template <unsigned Bits> WG_KEM_TARGET static void decompress_from(polynomial& p, byte const* from) noexcept {
    std::uint64_t all[numbers];
    load_bytes<Bits / 2>(all, from);
    for (std::size_t at = 0; at < degree; at += lanes) {
        words const x = spread<Bits>(load_quads(all + at / 4));
        store(p.c + at, multiply_rounded(x << (15 - Bits), same(q)));
    }
}
/// Adds (q + 1) / 2 where the bit of the message is 1; (-q, q).
WG_KEM_TARGET static void add_message(polynomial& p, byte const* message) noexcept {
    std::uint64_t all[numbers];
    for (std::size_t i = 0; i < numbers; i += 2) {
        std::uint64_t const same_byte = message[i / 2] * std::uint64_t{0x0001000100010001};
        all[i] = same_byte & 0x0008000400020001;
        all[i + 1] = same_byte & 0x0080004000200010;
    }
    for (std::size_t at = 0; at < degree; at += lanes) {
        words const bits = words(load_quads(all + at / 4));
        words const is_set = (words{} - bits) >> 15; // the bits are positive numbers
        store(p.c + at, reduced(load(p.c + at) + (is_set & ((q + 1) / 2))));
    }
}
/// Same as `take_noise` of ml_kem_sampling.hpp. Reads `noise_bytes` bytes.
WG_KEM_TARGET static void take_noise(polynomial& p, std::uint64_t const (&random)[noise_bytes / 8]) noexcept {
    std::uint64_t differences[noise_bytes / 8]; // in each half of a byte: 4 and the coefficient
    for (std::size_t i = 0; i < noise_bytes / 8; i += lanes / 4) {
        pairs const bits = pairs(load_quads(random + i));
        pairs const sums = (bits & 0x55555555) + (bits >> 1 & 0x55555555);
        store_quads(differences + i, quads((sums & 0x33333333) + 0x44444444 - (sums >> 2 & 0x33333333)));
    }
    using few_bytes = byte __attribute__((vector_size(lanes / 2)));
    for (std::size_t at = 0; at < degree; at += lanes) {
        few_bytes some;
        __builtin_memcpy(&some, reinterpret_cast<byte const*>(differences) + at / 2, sizeof some);
        pairs const x = __builtin_convertvector(some, pairs);
        store(p.c + at, words((x | x << 12) & 0x000f000f) - 4);
    }
}
