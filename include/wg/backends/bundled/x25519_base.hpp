// SPDX-License-Identifier: BSL-1.0
// X25519 of the base point (RFC 7748, section 4.1) with a table.
// Folder: backends/bundled; any thread.
//
// The point with u = 9 is that with y = 4/5 on the curve -x^2 + y^2 = 1 + d x^2 y^2 (edwards25519), u = (1+y)/(1-y).
// There points are added by one complete formula (Hisil, Wong, Carter, Dawson, "Twisted Edwards curves revisited",
// 2008; the curve's a is a square and d is not), so no case is special and nothing depends on the scalar.
//
// The scalar is written with digits 1 and -1 only, 260 of them, and these are taken in four combs of five teeth, 13
// apart (Hamburg, "Fast and compact elliptic-curve cryptography", 2012): all digits at the same place between their
// teeth are added at once. A comb has 16 points and their negatives; which one is needed is found by reading all 16.
// That makes 52 additions and 12 doublings with a table of 6 KiB.
#ifndef WG_BACKENDS_BUNDLED_X25519_BASE_HPP
#define WG_BACKENDS_BUNDLED_X25519_BASE_HPP

#include "field25519.hpp"

#ifndef WG_COMPACT

namespace wg { inline namespace WG_ABI { namespace bundled {

struct comb25519 {
    static constexpr std::size_t combs = 4, teeth = 5, distance = 13, points = 16, words = 12;

    /// Point i of comb j: with weights w_h = 2^(13 (5 j + h)), w_4 + the sum over h < 4 of w_h if bit h of i is set,
    /// else -w_h, times the base point. Of such a point x, y: (y - x) / 2, (y + x) / 2 and d x y, below p.
    alignas(64) static constexpr std::uint64_t table[combs * points * words] = {
#include "x25519_base_table.inl"
    };

    /// The digits: bit i is set if digit i is 1, clear if it is -1.
    std::uint64_t bits[5];

    /// Of the clamped scalar k. The sum of digits is 2 bits - (2^260 - 1), so bits = (k + L + 2^260 - 1) / 2 where L,
    /// the order of the base point, makes an even number of the sum; k is even: k / 2 + (L - 1) / 2 + 2^259.
    explicit comb25519(byte const* scalar) noexcept {
        constexpr std::uint64_t half[4] = {0x2c09318d2e7ae9f6, 0x0a6f7cef517bce6b, 0, 0x0800000000000000};
        std::uint64_t k[5];
        for (std::size_t i = 0; i < 4; ++i) k[i] = load_le64(scalar + 8 * i);
        k[0] &= ~std::uint64_t{7};
        k[3] = (k[3] & ~(std::uint64_t{1} << 63)) | std::uint64_t{1} << 62;
        k[4] = 0;
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            std::uint64_t const a = k[i] >> 1 | k[i + 1] << 63, sum = a + half[i];
            bits[i] = sum + carry;
            // a sum that overflows is not 2^64 - 1, so the carry does not make it overflow again
            carry = static_cast<std::uint64_t>(sum < a) | static_cast<std::uint64_t>(bits[i] < carry);
        }
        bits[4] = 8 + carry; // the sum of the four words is < 2^255: there is no carry
        wipe(k);
    }
    ~comb25519() { wipe(bits); }
    comb25519(comb25519 const&) = delete;
    comb25519& operator=(comb25519 const&) = delete;

    /// Which point of comb `j` is to be added for place `place`, and whether its negative.
    struct digit {
        std::uint32_t index;
        std::uint32_t negative;
    };
    digit at(std::size_t j, std::size_t place) const noexcept {
        std::uint32_t tooth[teeth];
        for (std::size_t h = 0; h < teeth; ++h) {
            std::size_t const bit = distance * (teeth * j + h) + place;
            tooth[h] = static_cast<std::uint32_t>(bits[bit / 64] >> (bit % 64)) & 1;
        }
        std::uint32_t const low = tooth[0] | tooth[1] << 1 | tooth[2] << 2 | tooth[3] << 3;
        std::uint32_t const negative = tooth[4] ^ 1;
        return {low ^ (15 & (0 - negative)), negative}; // of a negative sum all digits change
    }
};

/// With the table, in a field of these limbs.
template <class Limbs = default_limbs> class x25519_base {
public:
    /// The scalar is clamped here.
    static void multiply(std::span<byte, key_bytes> out, key_view scalar) noexcept {
        comb(out.data(), scalar.data());
        wipe_stack<sizeof(work) + 2 * spill_bytes>();
    }

private:
    using field = field25519<Limbs>;

    /// Extended coordinates: x = X/Z, y = Y/Z, T = XY/Z.
    struct work : field25519_scratch<field> {
        field x, y, z, t, e, f, g, h;
        byte entry[3 * key_bytes];

        ~work() { wipe(static_cast<void*>(this), sizeof *this); }
    };

    [[gnu::noinline]] static void comb(byte* out, byte const* scalar) noexcept {
        comb25519 const digits(scalar);
        work w;
        w.x.set_small(0), w.y.set_small(1), w.z.set_small(1), w.t.set_small(0);
        for (std::size_t place = comb25519::distance; place-- > 0;) {
            if (place != comb25519::distance - 1) twice(w);
            for (std::size_t j = 0; j < comb25519::combs; ++j) {
                comb25519::digit const digit = digits.at(j, place);
                select(w, j, digit);
                plus(w);
            }
        }
        // Z - Y is not zero: the point is not the neutral one, for k is 8 times a number that is not 0 and less than L
        field::subtract(w.x, w.z, w.y);
        field::add(w.y, w.z, w.y);
        invert(w.x, w);
        field::multiply(w.y, w.y, w.x);
        w.y.encode(out);
    }

    /// The point to add: (y - x) / 2 in a, (y + x) / 2 in b, d x y in c; of the negative x is -x.
    [[gnu::noinline]] static void select(work& w, std::size_t j, comb25519::digit digit) noexcept {
        std::uint64_t found[comb25519::words] = {};
        for (std::uint32_t i = 0; i < comb25519::points; ++i) {
            std::uint32_t const other = i ^ digit.index;
            std::uint64_t const keep = mask_of<std::uint64_t>(((other - 1) >> 31) & 1); // other is < 16
            std::uint64_t const* const from = comb25519::table + (j * comb25519::points + i) * comb25519::words;
            for (std::size_t k = 0; k < comb25519::words; ++k) found[k] |= from[k] & keep;
        }
        for (std::size_t k = 0; k < comb25519::words; ++k) store_le64(w.entry + 8 * k, found[k]);
        w.a.decode(w.entry);
        w.b.decode(w.entry + key_bytes);
        w.c.decode(w.entry + 2 * key_bytes);
        field::swap_if(digit.negative, w.a, w.b);
        w.h.set_small(0);
        field::subtract(w.h, w.h, w.c);
        w.g.set_small(1);
        field::multiply(w.h, w.h, w.g); // tight again
        field::swap_if(digit.negative, w.c, w.h);
        wipe(found);
    }

    /// Adds the point in a, b, c. All four products of the textbook are halves here.
    [[gnu::noinline]] static void plus(work& w) noexcept {
        field::subtract(w.e, w.y, w.x);
        field::add(w.f, w.y, w.x);
        field::multiply(w.a, w.e, w.a);
        field::multiply(w.b, w.f, w.b);
        field::multiply(w.c, w.t, w.c);
        field::subtract(w.e, w.b, w.a);
        field::subtract(w.f, w.z, w.c);
        field::add(w.g, w.z, w.c);
        field::add(w.h, w.b, w.a);
        finish(w);
    }

    /// Doubles the point. The textbook has -f and -h; changing both changes the sign of all coordinates.
    [[gnu::noinline]] static void twice(work& w) noexcept {
        field::add(w.e, w.x, w.y);
        field::square(w.c, w.e);
        field::square(w.a, w.x);
        field::square(w.b, w.y);
        field::square(w.z, w.z);
        field::add(w.h, w.a, w.b);
        field::subtract(w.g, w.b, w.a);
        w.t.set_small(1);
        field::multiply(w.h, w.h, w.t); // tight, to be subtracted from
        field::multiply(w.g, w.g, w.t);
        field::subtract(w.e, w.c, w.h);
        field::add(w.f, w.z, w.z);
        field::multiply(w.f, w.f, w.t);
        field::subtract(w.f, w.f, w.g);
        finish(w);
    }

    static void finish(work& w) noexcept {
        field::multiply(w.x, w.e, w.f);
        field::multiply(w.y, w.g, w.h);
        field::multiply(w.t, w.e, w.h);
        field::multiply(w.z, w.f, w.g);
    }
};

}}} // namespace wg::WG_ABI::bundled

#endif

#endif
