// SPDX-License-Identifier: BSL-1.0
// Bytes of polynomials (FIPS 203, section 4.2.1), in portable code. Folder: backends/bundled; pure.
//
// A division by q takes a time that depends on its operands on many processors. So the quotients are products with a
// reciprocal, which give the exact quotient for every coefficient; tests/unit/ml_kem.cpp tries all.
#ifndef WG_BACKENDS_BUNDLED_ML_KEM_CODING_HPP
#define WG_BACKENDS_BUNDLED_ML_KEM_CODING_HPP

#include "ml_kem_ring.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

inline constexpr std::size_t encoded_bytes = 384; ///< of a polynomial with 12 bits for each coefficient
inline constexpr std::size_t message_bytes = 32;  ///< of a polynomial with 1 bit for each coefficient

/// The bytes of a polynomial with `Bits` bits for each coefficient.
template <unsigned Bits> inline constexpr std::size_t coded_bytes = degree * Bits / 8;

/// The constants of `compress`. Of all offsets with which every result is exact, the middle.
template <unsigned Bits> struct compression;
template <> struct compression<1> {
    static constexpr std::uint32_t factor = 645084, offset = 536870912, shift = 30;
};
template <> struct compression<4> {
    static constexpr std::uint32_t factor = 645084, offset = 67108864, shift = 27;
};
template <> struct compression<10> {
    static constexpr std::uint32_t factor = 645084, offset = 1048082, shift = 21;
};

/// Compress (FIPS 203, equation 4.7): round(x * 2^Bits / q) modulo 2^Bits, for x in [0, q).
template <unsigned Bits> [[gnu::always_inline]] constexpr std::uint32_t compress(std::uint32_t x) noexcept {
    using c = compression<Bits>;
    return (x * c::factor + c::offset) >> c::shift & ((1u << Bits) - 1);
}
/// Decompress (FIPS 203, equation 4.8): round(x * q / 2^Bits).
template <unsigned Bits> [[gnu::always_inline]] constexpr std::int16_t decompress(std::uint32_t x) noexcept {
    return static_cast<std::int16_t>((x * q + (1u << (Bits - 1))) >> Bits);
}

/// The portable codes.
struct coding {
    /// ByteEncode12: reads |x| < q, writes `encoded_bytes` bytes.
    [[gnu::noinline]] static void encode(byte* to, polynomial const& p) noexcept {
        for (std::size_t i = 0; i < degree; i += 2, to += 3) {
            auto const a = static_cast<std::uint32_t>(canonical(p.c[i])),
                       b = static_cast<std::uint32_t>(canonical(p.c[i + 1]));
            to[0] = static_cast<byte>(a);
            to[1] = static_cast<byte>(a >> 8 | b << 4);
            to[2] = static_cast<byte>(b >> 4);
        }
    }
    /// ByteDecode12 without the reduction modulo q: reads `encoded_bytes` bytes, writes [0, 4096).
    [[gnu::noinline]] static void decode(polynomial& p, byte const* from) noexcept {
        for (std::size_t i = 0; i < degree; i += 2, from += 3) {
            p.c[i] = static_cast<std::int16_t>(from[0] | (from[1] & 15) << 8);
            p.c[i + 1] = static_cast<std::int16_t>(from[1] >> 4 | from[2] << 4);
        }
    }
    /// Whether all 12-bit numbers in `encoded_bytes` public bytes are less than q.
    static bool is_reduced(byte const* from) noexcept {
        std::int32_t all = -1;
        for (std::size_t i = 0; i < encoded_bytes; i += 3, from += 3) {
            all &= (from[0] | (from[1] & 15) << 8) - q;
            all &= (from[1] >> 4 | from[2] << 4) - q;
        }
        return all < 0;
    }

    /// Compresses each coefficient to `Bits` bits, and packs these to `coded_bytes<Bits>` bytes. Reads |x| < q.
    template <unsigned Bits> [[gnu::noinline]] static void compress_to(byte* to, polynomial const& p) noexcept {
        std::uint32_t held = 0;
        unsigned bits = 0;
        for (std::int16_t const x : p.c) {
            held |= compress<Bits>(static_cast<std::uint32_t>(canonical(x))) << bits;
            for (bits += Bits; bits >= 8; bits -= 8, held >>= 8) *to++ = static_cast<byte>(held);
        }
    }
    /// Reverses `compress_to`, but for the rounding. Writes [0, q).
    template <unsigned Bits> [[gnu::noinline]] static void decompress_from(polynomial& p, byte const* from) noexcept {
        std::uint32_t held = 0;
        unsigned bits = 0;
        for (std::int16_t& x : p.c) {
            for (; bits < Bits; bits += 8) held |= std::uint32_t{*from++} << bits;
            x = decompress<Bits>(held & ((1u << Bits) - 1));
            held >>= Bits, bits -= Bits;
        }
    }
    /// Adds (q + 1) / 2 where the bit of the message is 1; the result is in [-q / 2, q / 2].
    static void add_message(polynomial& p, byte const* message) noexcept {
        for (std::size_t i = 0; i < degree; ++i) {
            std::int32_t mask = -(message[i / 8] >> (i % 8) & 1);
            asm volatile("" : "+r"(mask)); // or clang would branch on the bit, which is secret
            p.c[i] = centered(static_cast<std::int16_t>(p.c[i] + (mask & (q + 1) / 2)));
        }
    }
};

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif
