// SPDX-License-Identifier: BSL-1.0
// Pseudorandom polynomials of ML-KEM (FIPS 203, section 4.2.2), in portable code. Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_ML_KEM_SAMPLING_HPP
#define WG_BACKENDS_BUNDLED_ML_KEM_SAMPLING_HPP

#include "keccak.hpp"
#include "ml_kem_ring.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

inline constexpr std::size_t seed_bytes = 32, hash_bytes = 32;
inline constexpr std::size_t noise_bytes = 128; ///< random bytes of a polynomial with eta = 2

/// Takes coefficients from `size` random bytes, a multiple of 3, by rejection. `count` coefficients are there already.
/// The bytes are public.
/// Returns: the number of coefficients then.
inline std::size_t take_uniform(polynomial& p, std::size_t count, byte const* from, std::size_t size) noexcept {
    for (byte const* const end = from + size; from != end && count < degree; from += 3) {
        std::int32_t const a = from[0] | (from[1] & 15) << 8, b = from[1] >> 4 | from[2] << 4;
        if (a < q) p.c[count++] = static_cast<std::int16_t>(a);
        if (b < q && count < degree) p.c[count++] = static_cast<std::int16_t>(b);
    }
    return count;
}

/// SamplePolyCBD with eta = 2: each coefficient is the difference of two sums of two bits. Reads `noise_bytes` bytes.
inline void take_noise(polynomial& p, byte const* from) noexcept {
    for (std::size_t i = 0; i < degree; i += 8, from += 4) {
        std::uint32_t const bits = load_le32(from);
        std::uint32_t const sums = (bits & 0x55555555) + (bits >> 1 & 0x55555555);
        for (unsigned j = 0; j < 8; ++j)
            p.c[i + j] = static_cast<std::int16_t>(static_cast<std::int32_t>(sums >> (4 * j) & 3) -
                                                   static_cast<std::int32_t>(sums >> (4 * j + 2) & 3));
    }
}

/// SampleNTT: the element of the public matrix for `seed`, with the two indices that follow the seed.
template <class Permutation>
[[gnu::noinline]] void sample_uniform(polynomial& p, byte const* seed, std::size_t first, std::size_t second) noexcept {
    byte const indices[2] = {static_cast<byte>(first), static_cast<byte>(second)};
    byte block[shake128.rate_bytes];
    keccak_sponge<Permutation> sponge(shake128);
    sponge.absorb({seed, seed_bytes});
    sponge.absorb(indices);
    sponge.finish();
    for (std::size_t count = 0; count < degree;) {
        sponge.squeeze(block);
        count = take_uniform(p, count, block, sizeof block);
    }
}

/// A secret polynomial with small coefficients for `seed` and the number that follows the seed.
template <class Permutation>
[[gnu::noinline]] void sample_noise(polynomial& p, byte const* seed, std::size_t number) noexcept {
    byte const last[1] = {static_cast<byte>(number)};
    byte random[noise_bytes];
    keccak_hash<Permutation>(shake256, random, {seed, seed_bytes}, last);
    take_noise(p, random);
}

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif
