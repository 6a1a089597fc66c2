// SPDX-License-Identifier: BSL-1.0
// X25519 of the base point (RFC 7748, section 4.1) with a table of multiples, which makes public keys of private ones.
// Folder: backends/bundled; any thread.
//
// The point u = 9 corresponds to the point y = 4/5 of the curve -x^2 + y^2 = 1 + d x^2 y^2 (edwards25519), where
// u = (1+y)/(1-y). That curve has one complete formula for additions (Hisil, Wong, Carter, Dawson, "Twisted Edwards
// curves revisited", 2008; the curve's a is a square and d is not). So there are no special cases, and neither the time
// nor the memory accesses depend on the scalar.
//
// The scalar is written as 260 digits, each 1 or -1. Four combs of five teeth, 13 digits apart, select the digits
// (Hamburg, "Fast and compact elliptic-curve cryptography", 2012): one addition serves the five digits under the teeth
// of a comb. For each comb the table holds 16 points; the other 16 are their negatives. A look-up reads all 16 points.
// A multiplication takes 52 additions and 12 doublings, where the ladder takes 255 steps. The table has 6 KiB.
#ifndef WG_BACKENDS_BUNDLED_X25519_BASE_HPP
#define WG_BACKENDS_BUNDLED_X25519_BASE_HPP

#include "field25519.hpp"
#include "wipe_stack.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// The digits of a scalar for the combs, and the table of points.
struct comb25519 {
    static constexpr std::size_t combs = 4, ///< combs in the 260 digits
        teeth = 5,                          ///< digits that one addition serves
        distance = 13,                      ///< digits between the teeth of a comb
        points = 16,                        ///< points of a comb in the table
        words = 12;                         ///< words of a point in the table

    /// Point i of comb j is the base point times w_4 + the sum over h < 4 of (w_h if bit h of i is set, else -w_h),
    /// where w_h = 2^(13 (5 j + h)). A point x, y is stored as (y - x) / 2, (y + x) / 2 and d x y, each below p, in
    /// four words, the lowest first: these are the factors that the formula for additions needs.
    alignas(64) static constexpr std::uint64_t table[combs * points * words] = {
#include "x25519_base_table.inl"
    };

    /// Bit i is set if digit i is 1, and clear if digit i is -1.
    std::uint64_t bits[5];

    /// Computes the digits of the scalar k, which is clamped here. The digits represent 2 bits - (2^260 - 1), so
    /// bits = (k + L + 2^260 - 1) / 2. L is the order of the base point; adding it makes the sum even and does not
    /// change the result. As k is even, bits = k / 2 + (L - 1) / 2 + 2^259.
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
            // at most one of the additions overflows: a sum that overflowed is not 2^64 - 1
            carry = static_cast<std::uint64_t>(sum < a) | static_cast<std::uint64_t>(bits[i] < carry);
        }
        bits[4] = 8 + carry; // 2^259; the sum of the four words is < 2^255, so `carry` is 0
        wipe(k);
    }
    ~comb25519() { wipe(bits); }
    comb25519(comb25519 const&) = delete;
    comb25519& operator=(comb25519 const&) = delete;

    /// The five digits under the teeth of a comb.
    struct digit {
        std::uint32_t index;    ///< the point in the table of the comb, 0-15
        std::uint32_t negative; ///< 1 if the negative of the point is to be added, else 0
    };
    /// The digits of comb `j` with its first tooth at `place`, 0-12.
    digit at(std::size_t j, std::size_t place) const noexcept {
        std::uint32_t tooth[teeth];
        for (std::size_t h = 0; h < teeth; ++h) {
            std::size_t const bit = distance * (teeth * j + h) + place;
            tooth[h] = static_cast<std::uint32_t>(bits[bit / 64] >> (bit % 64)) & 1;
        }
        std::uint32_t const low = tooth[0] | tooth[1] << 1 | tooth[2] << 2 | tooth[3] << 3;
        std::uint32_t const negative = tooth[4] ^ 1;
        return {low ^ (15 & (0 - negative)), negative}; // negating a sum changes all its digits
    }
};

/// The portable multiplication of the base point. `Limbs`: the words of the field, limbs32 or limbs64.
template <class Limbs = default_limbs> class x25519_base {
public:
    /// Multiplies the base point by the scalar, which is clamped here.
    static void multiply(std::span<byte, key_bytes> out, key_view scalar) noexcept {
        comb(out.data(), scalar.data());
        wipe_stack<sizeof(work) + 2 * spill_bytes>();
    }

private:
    using field = field25519<Limbs>;

    /// The elements of the multiplication in one object, so that one wipe clears them. The point is in extended
    /// coordinates: x = X/Z, y = Y/Z, T = XY/Z.
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
        // Z - Y is not zero, because the point is not the neutral one: k = 8 n with 0 < n < L
        field::subtract(w.x, w.z, w.y);
        field::add(w.y, w.z, w.y);
        invert(w.x, w);
        field::multiply(w.y, w.y, w.x);
        w.y.encode(out);
    }

    /// Looks up the point for a digit: a = (y - x) / 2, b = (y + x) / 2, c = d x y. The negative of a point has -x for
    /// x.
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
        field::multiply(w.h, w.h, w.g); // times 1, which makes the element tight
        field::swap_if(digit.negative, w.c, w.h);
        wipe(found);
    }

    /// Adds the point in a, b, c. The four products are half those of the paper, because the table holds halves: this
    /// saves doubling Z, and the point is the same.
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

    /// Doubles the point. The paper has -f and -h in place of f and h. This changes the sign of all coordinates, which
    /// leaves the point the same.
    [[gnu::noinline]] static void twice(work& w) noexcept {
        field::add(w.e, w.x, w.y);
        field::square(w.c, w.e);
        field::square(w.a, w.x);
        field::square(w.b, w.y);
        field::square(w.z, w.z);
        field::add(w.h, w.a, w.b);
        field::subtract(w.g, w.b, w.a);
        w.t.set_small(1);
        field::multiply(w.h, w.h, w.t); // times 1, which makes the element tight for `subtract`
        field::multiply(w.g, w.g, w.t);
        field::subtract(w.e, w.c, w.h);
        field::add(w.f, w.z, w.z);
        field::multiply(w.f, w.f, w.t);
        field::subtract(w.f, w.f, w.g);
        finish(w);
    }

    /// The last four products of an addition and of a doubling.
    static void finish(work& w) noexcept {
        field::multiply(w.x, w.e, w.f);
        field::multiply(w.y, w.g, w.h);
        field::multiply(w.t, w.e, w.h);
        field::multiply(w.z, w.f, w.g);
    }
};

}}} // namespace wg::WG_ABI::bundled

#endif
