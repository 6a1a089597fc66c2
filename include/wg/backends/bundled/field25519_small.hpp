// SPDX-License-Identifier: BSL-1.0
// The arithmetic of field25519<limbs32> in the least code, for WG_SMALL builds.
// Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_FIELD25519_SMALL_HPP
#define WG_BACKENDS_BUNDLED_FIELD25519_SMALL_HPP

#include "field25519_words.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Sums, differences and products modulo 2^256 - 38. Each operand has eight words of any value, the lowest first; the
/// result may be the same object as an operand.
struct small25519 {
    /// to = a + b if `minus` is 0, to = a - b if `minus` is all ones. The complement of b is 2^256 - 1 - b = 37 - b
    /// modulo p. Adding the constant 2p - 37 = 2^256 - 75 to it makes -b. One function for both saves code size.
    [[gnu::noinline]] static void add_signed(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b,
                                             std::uint32_t minus) noexcept {
        std::uint64_t t = 0;
        std::uint32_t constant = minus & ~std::uint32_t{74};
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a[i]} + (b[i] ^ minus) + constant; // <= 3 * (2^32 - 1) + 2
            to[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
            constant = minus;
        }
        field25519_detail::fold(to, static_cast<std::uint32_t>(t));
    }
    /// to = a + b.
    static void add(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        add_signed(to, a, b, 0);
    }
    /// to = a - b.
    static void subtract(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        add_signed(to, a, b, 0xffffffff);
    }

    /// to = a b.
    static void multiply(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        std::uint32_t product[16]; // lies in this frame: a caller's `wipe_stack` clears it
        for (std::size_t i = 0; i < 8; ++i) product[i] = 0;
        for (std::size_t i = 0;; ++i) { // the ninth row adds the upper half times 38 to the lower half
            bool const last = i == 8;
            std::uint32_t const top = add_product(product + (last ? 0 : i), last ? 38 : a[i], last ? product + 8 : b);
            if (last) return field25519_detail::fold(to, product, top); // <= 38
            product[i + 8] = top;
        }
    }

private:
    /// Adds a * b to the eight words of `to`. Returns: the carry out of the top word.
    [[gnu::always_inline]] static std::uint32_t add_product(std::uint32_t* to, std::uint32_t a,
                                                            std::uint32_t const* b) noexcept {
        std::uint32_t carry = 0;
#ifdef __thumb2__
        std::uint32_t const* const end = b + 8;
        std::uint32_t x, y, low, next, high;
        asm("1:\n\tldrd %[x], %[y], [%[b]], #8\n\tldrd %[low], %[next], [%[to]]\n\t"
            "mov %[high], #0\n\tumlal %[low], %[high], %[a], %[x]\n\t"
            "adds %[low], %[low], %[carry]\n\tadc %[carry], %[high], #0\n\t"
            "mov %[high], #0\n\tumlal %[next], %[high], %[a], %[y]\n\t"
            "adds %[next], %[next], %[carry]\n\tadc %[carry], %[high], #0\n\t"
            "strd %[low], %[next], [%[to]], #8\n\tcmp %[b], %[end]\n\tbne 1b"
            : [x] "=&r"(x), [y] "=&r"(y), [low] "=&r"(low), [next] "=&r"(next), [high] "=&r"(high), [to] "+r"(to),
              [b] "+r"(b), [carry] "+r"(carry)
            : [a] "r"(a), [end] "r"(end)
            : "cc", "memory");
#else
        for (std::size_t i = 0; i < 8; ++i) {
            // (2^32 - 1)^2 + 2 * (2^32 - 1) = 2^64 - 1
            std::uint64_t const t = std::uint64_t{a} * b[i] + to[i] + carry;
            to[i] = static_cast<std::uint32_t>(t);
            carry = static_cast<std::uint32_t>(t >> 32);
        }
#endif
        return carry;
    }
};

/// z = z^(p - 2), as `invert` of field25519.hpp, bit by bit: less code than the chain there, with twice the
/// multiplications. `base` is a temporary.
template <class Field> inline void small_invert(Field& z, Field& base) noexcept {
    base = z;
    for (int bit = 254; bit-- > 0;) {
        Field::multiply(z, z, z);
        if (bit != 2 && bit != 4) Field::multiply(z, z, base);
    }
}

}}} // namespace wg::WG_ABI::bundled

#endif
