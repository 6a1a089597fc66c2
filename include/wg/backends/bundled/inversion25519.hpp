// SPDX-License-Identifier: BSL-1.0
// The inverse modulo p = 2^255 - 19 (RFC 7748) in words of 64 bits.
// Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_INVERSION25519_HPP
#define WG_BACKENDS_BUNDLED_INVERSION25519_HPP

#include "limbs.hpp"

#ifdef __SIZEOF_INT128__

namespace wg { inline namespace WG_ABI { namespace bundled {

/// 1/x modulo p by division steps (Bernstein, Yang, "Fast constant-time gcd computation and modular inversion", 2019),
/// in the variant that starts with delta = 1/2: 590 steps compute gcd(p, x) for every x < 2^256 (Wuille, "The safegcd
/// implementation in libsecp256k1 explained", 2021). 59 steps read the lowest words of f and g only. Their effect is a
/// matrix, which is then applied to f, g and to d, e, where f = d x and g = e x modulo p.
/// This is twice as fast as the power p - 2. The steps and their number are the same for every x.
class inversion25519 {
public:
    /// to = 1/x, and 0 for x = 0. Both are words, the lowest first, of values below p.
    static void invert(std::uint64_t (&to)[4], std::uint64_t const (&x)[4]) noexcept {
        inversion25519 w;
        w.f = {{-19, 0, 0, 0, 128}};
        w.g = {{to_limb(x[0]), to_limb(x[0] >> 62 | x[1] << 2), to_limb(x[1] >> 60 | x[2] << 4),
                to_limb(x[2] >> 58 | x[3] << 6), static_cast<std::int64_t>(x[3] >> 56)}};
        w.d = {{0, 0, 0, 0, 0}};
        w.e = {{1, 0, 0, 0, 0}};
        std::int64_t minus_delta = -1; // -delta - 1/2, an integer
        for (int i = 0; i < 10; ++i) {
            w.steps(minus_delta);
            apply_modulo_p(w.d, w.e, w.m);
            apply(w.f, w.g, w.m);
        }
        w.finish(to);
    }

private:
    __extension__ typedef __int128 int128;
    static constexpr std::uint64_t limb_mask = (std::uint64_t{1} << 62) - 1;

    /// Five limbs of 62 bits, the lowest first; the highest holds the sign.
    struct number {
        std::int64_t v[5];
    };
    /// The effect of 59 steps: f, g become (u f + v g) / 2^62, (q f + r g) / 2^62. |u| + |v| <= 2^62,
    /// |q| + |r| <= 2^62.
    struct matrix {
        std::int64_t u, v, q, r;
    };

    number f, g, d, e;
    matrix m;

    inversion25519() noexcept {}
    ~inversion25519() { wipe(static_cast<void*>(this), sizeof *this); }

    static std::int64_t to_limb(std::uint64_t word) noexcept { return static_cast<std::int64_t>(word & limb_mask); }
    static std::int64_t low(int128 x) noexcept { return to_limb(static_cast<std::uint64_t>(x)); }
    static int128 wide(std::int64_t a, std::int64_t b) noexcept { return int128{a} * b; }

    /// Sets m to the matrix of the next 59 steps. A step: if g is odd and delta > 0, then f, g = g, (g - f) / 2 and
    /// delta = 1 - delta. Else g = (g + f) / 2 if g is odd, g = g / 2 if g is even, and delta = 1 + delta. The matrix
    /// has integers only: where a step halves g, the row of f is doubled instead.
    void steps(std::int64_t& minus_delta) noexcept {
        std::uint64_t a = static_cast<std::uint64_t>(f.v[0]) | static_cast<std::uint64_t>(f.v[1]) << 62;
        std::uint64_t b = static_cast<std::uint64_t>(g.v[0]) | static_cast<std::uint64_t>(g.v[1]) << 62;
        matrix const x = some_steps(30, a, b, minus_delta), y = some_steps(29, a, b, minus_delta);
        // y x, and 2^62 = 8 * 2^59
        m = {8 * (y.u * x.u + y.v * x.q), 8 * (y.u * x.v + y.v * x.r), 8 * (y.q * x.u + y.r * x.q),
             8 * (y.q * x.v + y.r * x.r)};
    }

    /// The matrix of `count` steps, at most 30: |u| + |v| <= 2^30, so one word holds both as u + 2^32 v, and one
    /// addition serves both. a and b are the low words of f and g. They may wrap: n further steps
    /// read only the n lowest bits.
    [[gnu::always_inline]] static matrix some_steps(int count, std::uint64_t& a, std::uint64_t& b,
                                                    std::int64_t& minus_delta) noexcept {
        std::uint64_t uv = 1, qr = std::uint64_t{1} << 32, delta = static_cast<std::uint64_t>(minus_delta);
        for (int i = 0; i < count; ++i) {
            std::uint64_t const odd = mask_of(b & 1), positive = mask_of(delta >> 63), both = odd & positive;
            delta = (delta ^ both) - 1;
            // The loop is one chain of dependent operations. To keep it short, values that depend on nothing recent
            // come first, and f is selected by a mask and not computed as f + (g - f).
            std::uint64_t const minus_a = (a ^ positive) - positive, minus_uv = (uv ^ positive) - positive;
            a ^= (a ^ b) & both;
            uv ^= (uv ^ qr) & both;
            b += minus_a & odd;
            qr += minus_uv & odd;
            b >>= 1;
            uv <<= 1;
        }
        minus_delta = static_cast<std::int64_t>(delta);
        std::int64_t const u = static_cast<std::int32_t>(static_cast<std::uint32_t>(uv)),
                           q = static_cast<std::int32_t>(static_cast<std::uint32_t>(qr));
        return {u, (static_cast<std::int64_t>(uv) - u) >> 32, q, (static_cast<std::int64_t>(qr) - q) >> 32};
    }

    /// x, y = (u x + v y) / 2^62, (q x + r y) / 2^62. The divisions are exact. |x|, |y| < 2^256 before and after.
    static void apply(number& x, number& y, matrix const& m) noexcept {
        int128 s = wide(m.u, x.v[0]) + wide(m.v, y.v[0]), t = wide(m.q, x.v[0]) + wide(m.r, y.v[0]);
        for (int i = 1; i < 5; ++i) { // sums < 2^62 * 2^62 + 2^63
            s = (s >> 62) + wide(m.u, x.v[i]) + wide(m.v, y.v[i]);
            t = (t >> 62) + wide(m.q, x.v[i]) + wide(m.r, y.v[i]);
            x.v[i - 1] = low(s);
            y.v[i - 1] = low(t);
        }
        x.v[4] = static_cast<std::int64_t>(s >> 62);
        y.v[4] = static_cast<std::int64_t>(t >> 62);
    }

    /// `apply` modulo p: multiples of p are added first, so that the divisions are exact. x and y are > -2p and < p,
    /// before and after.
    static void apply_modulo_p(number& x, number& y, matrix const& m) noexcept {
        // p is added to a negative x or y, so that |x|, |y| < p. The sums are then > -2^62 p and < 2^62 p.
        std::int64_t const x_sign = x.v[4] >> 63, y_sign = y.v[4] >> 63;
        int128 s = wide(m.u, x.v[0]) + wide(m.v, y.v[0]), t = wide(m.q, x.v[0]) + wide(m.r, y.v[0]);
        std::int64_t const k = multiple((m.u & x_sign) + (m.v & y_sign), s),
                           l = multiple((m.q & x_sign) + (m.r & y_sign), t);
        s -= wide(19, k);
        t -= wide(19, l);
        for (int i = 1; i < 5; ++i) {
            s = (s >> 62) + wide(m.u, x.v[i]) + wide(m.v, y.v[i]);
            t = (t >> 62) + wide(m.q, x.v[i]) + wide(m.r, y.v[i]);
            if (i == 4) { // p = 2^255 - 19, 255 = 4 * 62 + 7
                s += wide(128, k);
                t += wide(128, l);
            }
            x.v[i - 1] = low(s);
            y.v[i - 1] = low(t);
        }
        x.v[4] = static_cast<std::int64_t>(s >> 62);
        y.v[4] = static_cast<std::int64_t>(t >> 62);
    }

    /// The greatest k <= `most` for which the lowest 62 bits of sum + k p are zero: 19 k = sum modulo 2^62.
    static std::int64_t multiple(std::int64_t most, int128 sum) noexcept {
        constexpr std::uint64_t inverse_of_19 = 0x86bca1af286bca1b; // modulo 2^64
        static_assert(inverse_of_19 * 19 == 1);
        std::uint64_t const k = static_cast<std::uint64_t>(sum) * inverse_of_19;
        return most - static_cast<std::int64_t>((static_cast<std::uint64_t>(most) - k) & limb_mask);
    }

    /// Writes the result, d times the sign of f. f is 1 or -1 after the last step. For x = 0, f is still p and d is 0.
    void finish(std::uint64_t (&to)[4]) const noexcept {
        std::int64_t const sign = f.v[4] >> 63;
        number x = d;
        add_p(x, x.v[4] >> 63); // > -p, < p
        std::int64_t t = 0;
        for (int i = 0; i < 5; ++i) {
            t += (x.v[i] ^ sign) - sign;
            x.v[i] = i < 4 ? t & static_cast<std::int64_t>(limb_mask) : t;
            t >>= 62;
        }
        add_p(x, x.v[4] >> 63); // >= 0, < p
        std::uint64_t w[5];
        for (int i = 0; i < 5; ++i) w[i] = static_cast<std::uint64_t>(x.v[i]);
        to[0] = w[0] | w[1] << 62;
        to[1] = w[1] >> 2 | w[2] << 60;
        to[2] = w[2] >> 4 | w[3] << 58;
        to[3] = w[3] >> 6 | w[4] << 56;
        wipe(x);
        wipe(w);
    }

    /// Adds p to x if `all` is all ones, and nothing if it is 0. Then carries.
    static void add_p(number& x, std::int64_t all) noexcept {
        x.v[0] -= 19 & all;
        x.v[4] += 128 & all;
        for (int i = 0; i < 4; ++i) x.v[i + 1] += x.v[i] >> 62, x.v[i] &= static_cast<std::int64_t>(limb_mask);
    }
};

}}} // namespace wg::WG_ABI::bundled

#endif

#endif
