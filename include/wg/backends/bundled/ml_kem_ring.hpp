// SPDX-License-Identifier: BSL-1.0
// The ring of ML-KEM: polynomials of 256 coefficients modulo q = 3329, and the number-theoretic transform (FIPS 203,
// section 4.3), in portable code. Folder: backends/bundled; pure.
//
// Coefficients are signed. Every function states the range of the coefficients that it reads and writes. `x * y / R`
// is the Montgomery product, R = 2^16; the transform absorbs the factors R.
#ifndef WG_BACKENDS_BUNDLED_ML_KEM_RING_HPP
#define WG_BACKENDS_BUNDLED_ML_KEM_RING_HPP

#include "../../base/secret.hpp"

#include <array>

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

inline constexpr std::size_t degree = 256; ///< coefficients of a polynomial
inline constexpr std::int16_t q = 3329;
inline constexpr std::int16_t q_inverse = -3327; ///< of q modulo 2^16

/// A polynomial, or its transform.
struct polynomial {
    std::int16_t c[degree];
};

/// x / R modulo q, in (-q, q), for |x| < q * 2^15.
[[gnu::always_inline]] constexpr std::int16_t montgomery_reduce(std::int32_t x) noexcept {
    std::int32_t const low = static_cast<std::int16_t>(static_cast<std::int16_t>(x) * q_inverse);
    return static_cast<std::int16_t>((x - low * q) >> 16);
}
/// a * b / R modulo q, in (-q, q), if the product is below q * 2^15.
[[gnu::always_inline]] constexpr std::int16_t montgomery_product(std::int16_t a, std::int16_t b) noexcept {
    return montgomery_reduce(std::int32_t{a} * b);
}
/// x modulo q, in [-q / 2, q / 2], for any x (Barrett).
[[gnu::always_inline]] constexpr std::int16_t centered(std::int16_t x) noexcept {
    constexpr std::int32_t v = ((1 << 26) + q / 2) / q;
    return static_cast<std::int16_t>(x - ((v * x + (1 << 25)) >> 26) * q);
}
/// x modulo q, in [0, q), for x in (-q, q).
[[gnu::always_inline]] constexpr std::int16_t canonical(std::int16_t x) noexcept {
    return static_cast<std::int16_t>(x + ((x >> 15) & q));
}

/// x modulo q, in [-q / 2, q / 2], for any x. For constants.
constexpr std::int16_t constant_modulo_q(std::int64_t x) noexcept {
    std::int64_t const rest = (x % q + q) % q;
    return static_cast<std::int16_t>(rest > q / 2 ? rest - q : rest);
}
/// 17^exponent modulo q: 17 is a primitive 256th root of unity. For constants.
constexpr std::int64_t power_of_root(std::size_t exponent) noexcept {
    std::int64_t power = 1;
    for (std::size_t i = 0; i < exponent; ++i) power = power * 17 % q;
    return power;
}
/// The lowest seven bits of `x` in reverse order.
constexpr std::size_t reversed_bits(std::size_t x) noexcept {
    std::size_t out = 0;
    for (std::size_t bit = 0; bit < 7; ++bit) out |= (x >> bit & 1) << (6 - bit);
    return out;
}

/// zetas[i] = R * 17^reversed_bits(i): the factors of the butterflies, in the order in which the transform uses them.
inline constexpr std::array<std::int16_t, 128> zetas = [] {
    std::array<std::int16_t, 128> table{};
    for (std::size_t i = 0; i < 128; ++i) table[i] = constant_modulo_q(65536 * power_of_root(reversed_bits(i)));
    return table;
}();

/// R^2: the Montgomery product with it multiplies by R.
inline constexpr std::int16_t montgomery_square = constant_modulo_q(std::int64_t{65536} * 65536);
/// R^2 / 128: the last factor of the inverse transform. 3303 is 1 / 128.
inline constexpr std::int16_t inverse_scale = constant_modulo_q(montgomery_square * std::int64_t{3303});
static_assert(3303 * 128 % q == 1);
/// Each factor times 1 / q modulo R.
inline constexpr std::int16_t montgomery_square_quotient = static_cast<std::int16_t>(montgomery_square * q_inverse),
                              inverse_scale_quotient = static_cast<std::int16_t>(inverse_scale * q_inverse);

/// A sum of products in 32 bits, which is reduced once.
struct wide_polynomial {
    std::int32_t c[degree];
};

/// The portable arithmetic.
struct ring {
    /// The transform, in place. Reads |x| < q; writes [-q / 2, q / 2].
    [[gnu::noinline]] static void transform(polynomial& p) noexcept {
        std::size_t next = 1;
        for (std::size_t distance = 128; distance >= 2; distance /= 2) // each layer adds less than q
            for (std::size_t start = 0; start < degree; start += 2 * distance) {
                std::int16_t const zeta = zetas[next++];
                for (std::size_t i = start; i < start + distance; ++i) {
                    std::int16_t const t = montgomery_product(zeta, p.c[i + distance]);
                    p.c[i + distance] = static_cast<std::int16_t>(p.c[i] - t);
                    p.c[i] = static_cast<std::int16_t>(p.c[i] + t);
                }
            }
        for (std::int16_t& x : p.c) x = centered(x); // from |x| < 8q
    }

    /// The inverse transform, times R, in place. Reads and writes |x| < q.
    [[gnu::noinline]] static void inverse_transform(polynomial& p) noexcept {
        std::size_t next = 127;
        for (std::size_t distance = 2; distance <= 128; distance *= 2) { // each layer doubles the sums
            for (std::size_t start = 0; start < degree; start += 2 * distance) {
                std::int16_t const zeta = zetas[next--];
                for (std::size_t i = start; i < start + distance; ++i) {
                    std::int16_t const a = p.c[i], b = p.c[i + distance];
                    p.c[i] = static_cast<std::int16_t>(a + b);
                    p.c[i + distance] = montgomery_product(zeta, static_cast<std::int16_t>(b - a));
                }
            }
            if (distance == 8) // |x| < 8q here; the other four layers lead from q / 2 to 8q
                for (std::int16_t& x : p.c) x = centered(x);
        }
        for (std::int16_t& x : p.c) x = montgomery_product(x, inverse_scale);
    }

    /// sum += a * b, for transforms with |a| < q and |b| < q. `sum` holds up to three such products.
    [[gnu::noinline]] static void multiply_add(wide_polynomial& sum, polynomial const& a,
                                               polynomial const& b) noexcept {
        // Coefficients 2i and 2i + 1 are a polynomial modulo X^2 - 17^(2 * reversed_bits(i) + 1) (FIPS 203,
        // section 4.3.1). For odd i that root is the negative of the root for i - 1.
        for (std::size_t i = 0; i < degree; i += 4) {
            std::int16_t const zeta = zetas[64 + i / 4];
            std::int32_t const first = montgomery_product(b.c[i + 1], zeta),
                               second = montgomery_product(b.c[i + 3], zeta);
            sum.c[i] += a.c[i] * b.c[i] + a.c[i + 1] * first;
            sum.c[i + 1] += a.c[i] * b.c[i + 1] + a.c[i + 1] * b.c[i];
            sum.c[i + 2] += a.c[i + 2] * b.c[i + 2] - a.c[i + 3] * second;
            sum.c[i + 3] += a.c[i + 2] * b.c[i + 3] + a.c[i + 3] * b.c[i + 2];
        }
    }
    /// to = sum / R; |x| < q.
    static void reduce(polynomial& to, wide_polynomial const& sum) noexcept {
        for (std::size_t i = 0; i < degree; ++i) to.c[i] = montgomery_reduce(sum.c[i]);
    }

    /// p = p * R + other, in [-q / 2, q / 2], for |p| < q and |other| < q.
    static void scale_and_add(polynomial& p, polynomial const& other) noexcept {
        for (std::size_t i = 0; i < degree; ++i)
            p.c[i] = centered(static_cast<std::int16_t>(montgomery_product(p.c[i], montgomery_square) + other.c[i]));
    }
    /// a += b, in [-q / 2, q / 2].
    static void add(polynomial& a, polynomial const& b) noexcept {
        for (std::size_t i = 0; i < degree; ++i) a.c[i] = centered(static_cast<std::int16_t>(a.c[i] + b.c[i]));
    }
    /// a = b - a, in [-q / 2, q / 2].
    static void subtract_from(polynomial& a, polynomial const& b) noexcept {
        for (std::size_t i = 0; i < degree; ++i) a.c[i] = centered(static_cast<std::int16_t>(b.c[i] - a.c[i]));
    }
};
static_assert(3 * 2 * std::int64_t{q} * q < q * std::int64_t{32768}, "three products fit montgomery_reduce");

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif
