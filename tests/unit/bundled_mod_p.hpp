// SPDX-License-Identifier: BSL-1.0
// The arithmetic of Poly1305 and its one-time keys, written plainly and independent of the library's arithmetic.
#ifndef WG_TESTS_UNIT_BUNDLED_MOD_P_HPP
#define WG_TESTS_UNIT_BUNDLED_MOD_P_HPP

#include "bundled_vectors.hpp"

#include <algorithm>
#include <bit>

namespace wg_tests {

/// An integer modulo p = 2^130 - 5: five limbs of 26 bits, always reduced below p.
struct mod_p {
    std::uint64_t v[5] = {};

    static constexpr std::uint64_t mask = (1 << 26) - 1;

    static mod_p of(wg::bytes_view sixteen, std::uint64_t top) {
        mod_p out;
        std::uint32_t w[4];
        for (std::size_t i = 0; i < 4; ++i) w[i] = wg::load_le32(sixteen.data() + 4 * i);
        out.v[0] = w[0] & mask;
        out.v[1] = (w[0] >> 26 | std::uint64_t{w[1]} << 6) & mask;
        out.v[2] = (w[1] >> 20 | std::uint64_t{w[2]} << 12) & mask;
        out.v[3] = (w[2] >> 14 | std::uint64_t{w[3]} << 18) & mask;
        out.v[4] = w[3] >> 8 | top << 24;
        return out.reduced();
    }
    static mod_p small(std::uint64_t value) {
        mod_p out;
        out.v[0] = value;
        return out;
    }
    /// p - value
    static mod_p minus(std::uint64_t value) { return mod_p{} - small(value); }
    static mod_p power_of_two(unsigned exponent) {
        mod_p out;
        out.v[exponent / 26] = std::uint64_t{1} << exponent % 26;
        return out.reduced();
    }

    friend mod_p operator+(mod_p const& a, mod_p const& b) {
        mod_p out;
        for (std::size_t i = 0; i < 5; ++i) out.v[i] = a.v[i] + b.v[i];
        return out.reduced();
    }
    friend mod_p operator-(mod_p const& a, mod_p const& b) {
        mod_p out; // a + 2p - b
        for (std::size_t i = 0; i < 5; ++i) out.v[i] = a.v[i] + 2 * (i == 0 ? mask - 4 : mask) - b.v[i];
        return out.reduced();
    }
    friend mod_p operator*(mod_p const& a, mod_p const& b) {
        mod_p out;
        for (std::size_t i = 0; i < 5; ++i)
            for (std::size_t j = 0; j < 5; ++j) // < 25 * 5 * 2^52 < 2^59
                out.v[(i + j) % 5] += a.v[i] * b.v[j] * (i + j < 5 ? 1 : 5);
        return out.reduced();
    }
    friend bool operator==(mod_p const&, mod_p const&) = default;

    /// a^(p - 2)
    mod_p inverse() const {
        mod_p out = small(1); // p - 2 = 2^130 - 7: all bits are one except bits 1 and 2
        for (unsigned bit = 130; bit-- > 0;) {
            out = out * out;
            if (bit != 1 && bit != 2) out = out * *this;
        }
        return out;
    }
    /// Bits 128 and 129.
    std::uint64_t top() const { return v[4] >> 24; }
    buffer low() const {
        buffer out(16);
        wg::store_le32(&out[0], static_cast<std::uint32_t>(v[0] | v[1] << 26));
        wg::store_le32(&out[4], static_cast<std::uint32_t>(v[1] >> 6 | v[2] << 20));
        wg::store_le32(&out[8], static_cast<std::uint32_t>(v[2] >> 12 | v[3] << 14));
        wg::store_le32(&out[12], static_cast<std::uint32_t>(v[3] >> 18 | v[4] << 8));
        return out;
    }

private:
    mod_p reduced() const {
        mod_p out = *this;
        for (int again = 0; again < 3; ++again) {
            for (std::size_t i = 0; i < 4; ++i) out.v[i + 1] += out.v[i] >> 26, out.v[i] &= mask;
            out.v[0] += 5 * (out.v[4] >> 26), out.v[4] &= mask;
        }
        bool const from_p =
            out.v[0] >= mask - 4 && out.v[1] == mask && out.v[2] == mask && out.v[3] == mask && out.v[4] == mask;
        return from_p ? small(out.v[0] - (mask - 4)) : out;
    }
};

/// The halves r and s of the AEAD's one-time key, computed from the keystream.
struct one_time {
    mod_p r;
    buffer s;

    one_time(wg::key_view k, std::uint64_t counter) : s(16) {
        std::uint32_t state[16], x[16];
        constexpr char const sigma[] = "expand 32-byte k";
        for (std::size_t i = 0; i < 4; ++i) state[i] = wg::load_le32(reinterpret_cast<wg::byte const*>(sigma) + 4 * i);
        for (std::size_t i = 0; i < 8; ++i) state[4 + i] = wg::load_le32(k.data() + 4 * i);
        state[12] = state[13] = 0;
        state[14] = static_cast<std::uint32_t>(counter), state[15] = static_cast<std::uint32_t>(counter >> 32);
        std::copy(std::begin(state), std::end(state), std::begin(x));
        auto const quarter = [&](int a, int b, int c, int d) {
            x[a] += x[b], x[d] = std::rotl(x[d] ^ x[a], 16), x[c] += x[d], x[b] = std::rotl(x[b] ^ x[c], 12);
            x[a] += x[b], x[d] = std::rotl(x[d] ^ x[a], 8), x[c] += x[d], x[b] = std::rotl(x[b] ^ x[c], 7);
        };
        for (int round = 0; round < 10; ++round) {
            for (int i = 0; i < 4; ++i) quarter(i, 4 + i, 8 + i, 12 + i);
            for (int i = 0; i < 4; ++i) quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
        buffer half(32);
        for (std::size_t i = 0; i < 8; ++i) wg::store_le32(&half[4 * i], x[i] + state[i]);
        for (std::size_t const i : {3u, 7u, 11u, 15u}) half[i] &= 15;
        for (std::size_t const i : {4u, 8u, 12u}) half[i] &= 252;
        r = mod_p::of(wg::bytes_view(half).first(16), 0);
        std::copy(half.begin() + 16, half.end(), s.begin());
    }

    /// (h mod 2^128) + s
    buffer tag(mod_p const& h) const {
        buffer out = h.low();
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < 16; i += 4) {
            carry += std::uint64_t{wg::load_le32(&out[i])} + wg::load_le32(&s[i]);
            wg::store_le32(&out[i], static_cast<std::uint32_t>(carry));
            carry >>= 32;
        }
        return out;
    }
};

} // namespace wg_tests

#endif
