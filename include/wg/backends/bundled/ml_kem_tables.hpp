// SPDX-License-Identifier: BSL-1.0
// The constants of the vector kernels of ML-KEM. Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_ML_KEM_TABLES_HPP
#define WG_BACKENDS_BUNDLED_ML_KEM_TABLES_HPP

#include "ml_kem_ring.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

/// Factors of Montgomery products, one for each coefficient, beside each factor times 1 / q modulo R.
struct factor_table {
    alignas(64) std::int16_t factor[degree];
    alignas(64) std::int16_t quotient[degree];

    constexpr void set(std::size_t i, std::int32_t value) noexcept {
        factor[i] = constant_modulo_q(value);
        quotient[i] = static_cast<std::int16_t>(factor[i] * q_inverse);
    }
};

inline constexpr std::int16_t one = constant_modulo_q(65536); ///< R: the product with it only reduces
inline constexpr std::int16_t one_quotient = static_cast<std::int16_t>(one * q_inverse);

/// zetas[i] / q modulo R.
inline constexpr std::array<std::int16_t, 128> zeta_quotients = [] {
    std::array<std::int16_t, 128> table{};
    for (std::size_t i = 0; i < 128; ++i) table[i] = static_cast<std::int16_t>(zetas[i] * q_inverse);
    return table;
}();

/// The layer of the transform for coefficients `Distance` apart: zeta for the first one of each pair, -zeta for the
/// other one.
template <std::size_t Distance>
inline constexpr factor_table forward_table = [] {
    factor_table table{};
    for (std::size_t i = 0; i < degree; ++i) {
        std::int32_t const zeta = zetas[128 / Distance + i / (2 * Distance)];
        table.set(i, i % (2 * Distance) < Distance ? zeta : -zeta);
    }
    return table;
}();
/// The layer of the inverse transform: R for the first coefficient of each pair, and the negative of the factor of
/// `ring::inverse_transform` for the other one, because the kernels subtract the other way.
template <std::size_t Distance>
inline constexpr factor_table inverse_table = [] {
    factor_table table{};
    for (std::size_t i = 0; i < degree; ++i)
        table.set(i, i % (2 * Distance) < Distance ? one : -zetas[256 / Distance - 1 - i / (2 * Distance)]);
    return table;
}();
/// The products of transforms: R for coefficient 2i, the root of the pair for coefficient 2i + 1.
inline constexpr factor_table root_table = [] {
    factor_table table{};
    for (std::size_t i = 0; i < degree; ++i)
        table.set(i, i % 2 == 0 ? one : i % 4 == 1 ? zetas[64 + i / 4] : -zetas[64 + i / 4]);
    return table;
}();

/// For a mask of eight words: the bytes of the words whose bits are set, in order, then bytes of other words.
inline constexpr std::array<std::uint64_t, 256> chosen_words = [] {
    std::array<std::uint64_t, 256> table{};
    for (std::size_t mask = 0; mask < 256; ++mask) {
        unsigned place = 0;
        for (std::uint64_t word = 0; word < 8; ++word)
            if (mask >> word & 1) table[mask] |= 2 * word << (8 * place++); // the number of the word's first byte
    }
    return table;
}();

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif
