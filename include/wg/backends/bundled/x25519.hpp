// SPDX-License-Identifier: BSL-1.0
// X25519 (RFC 7748, section 5), and the default model of dh_backend.
// Folder: backends/bundled; any thread.
//
// The portable ladder is a template over two fields modulo p = 2^255 - 19. x86 with AVX2 or IFMA has its own kernels;
// `x25519_dh` selects the code. No branch and no index depends on a secret. On a processor whose multiplication takes
// longer for larger factors (Cortex-M3) the time depends on secrets nevertheless.
#ifndef WG_BACKENDS_BUNDLED_X25519_HPP
#define WG_BACKENDS_BUNDLED_X25519_HPP

#include "field25519.hpp"
#include "wipe_stack.hpp"
#include "x25519_base.hpp"
#include "x25519_ifma8.hpp"
#include "x25519_small.hpp"

#include <type_traits>

namespace wg { inline namespace WG_ABI { namespace bundled {

namespace x25519_detail {

/// All secrets of the ladder in one object, so that one wipe clears them. The points x2:z2 and x3:z3 differ by the
/// point x1.
template <class Field> struct points : field25519_scratch<Field> {
    Field x1, x2, z2;

    ~points() { wipe(static_cast<void*>(this), sizeof *this); }

    /// Sets x2:z2 to the neutral point and z3 to 1.
    void start() noexcept {
        x2.set_small(1);
        z2.set_small(0);
        this->z3.set_small(1);
    }

    /// Doubles x2:z2 and adds the old x2:z2 to x3:z3 (RFC 7748, section 5). Every operand of add and subtract is tight;
    /// every result of them is a factor of a product.
    [[gnu::noinline]] static void step(points& w) noexcept {
        Field::add(w.a, w.x2, w.z2);
        Field::subtract(w.b, w.x2, w.z2);
        Field::add(w.c, w.x3, w.z3);
        Field::subtract(w.d, w.x3, w.z3);
        Field::multiply(w.d, w.d, w.a);
        Field::multiply(w.c, w.c, w.b);
        Field::add(w.x3, w.d, w.c);
        Field::subtract(w.z3, w.d, w.c);
        Field::square(w.x3, w.x3);
        Field::square(w.z3, w.z3);
        Field::multiply(w.z3, w.z3, w.x1);
        Field::square(w.a, w.a);
        Field::square(w.b, w.b);
        Field::multiply(w.x2, w.a, w.b);
        Field::subtract(w.b, w.a, w.b);
        Field::multiply_small(w.c, w.b, 121665); // (486662 - 2) / 4
        Field::add(w.c, w.c, w.a);
        Field::multiply(w.z2, w.b, w.c);
    }
};

} // namespace x25519_detail

/// The portable X25519 ladder. `Limbs`: the words of the field, limbs32 or limbs64.
template <class Limbs = default_limbs> class x25519 {
public:
    /// Multiplies `point` by the scalar, which is clamped here.
    /// Returns: whether the result is not zero. The time does not depend on it.
    static bool multiply(std::span<byte, key_bytes> out, key_view scalar, key_view point) noexcept {
        ladder(out, scalar, point);
        wipe_stack<sizeof(work) + 2 * spill_bytes>(); // products twice as wide as words spill more
        return !is_zero_in_constant_time(out);
    }

private:
    using field = field25519<Limbs>;

    using work = std::conditional_t<small_code, x25519_detail::small_points<field>, x25519_detail::points<field>>;

    [[gnu::noinline]] static void ladder(std::span<byte, key_bytes> out, key_view scalar, key_view point) noexcept {
        work w;
        w.start();
        w.x1.decode(point.data());
        w.x3 = w.x1;

        std::uint32_t swapped = 0;
        for (std::size_t bit = 255; bit-- > 0;) {
            std::uint32_t now = (scalar[bit / 8] >> (bit % 8)) & 1u;
            if (bit == 254) now = 1; // clamped
            if (bit < 3) now = 0;
            swap_points(swapped ^ now, w);
            swapped = now;
            work::step(w);
        }
        // The lowest bits of a clamped scalar are clear, so `swapped` is 0. The call costs next to nothing.
        swap_points(swapped, w);
        invert(w.z2, w);
        field::multiply(w.x2, w.x2, w.z2);
        w.x2.encode(out.data());
    }

    static void swap_points(std::uint32_t swap, work& w) noexcept {
        if constexpr (std::is_same_v<Limbs, limbs32>) {
            std::uint32_t const all = mask_of(swap);
            auto* const two = reinterpret_cast<std::uint32_t*>(&w.x2); // z2 follows x2 in memory
            auto* const three = reinterpret_cast<std::uint32_t*>(&w.x3);
            for (std::size_t i = 0; i < 16; ++i) {
                std::uint32_t const x = (two[i] ^ three[i]) & all;
                two[i] ^= x, three[i] ^= x;
            }
        } else {
            field::swap_if(swap, w.x2, w.x3);
            field::swap_if(swap, w.z2, w.z3);
        }
    }
};

/// The default model of dh_backend, with `dh_batch`: it uses the fastest kernels that the processor has. Any thread.
/// The class cannot be named `dh`, because its member function is.
class x25519_dh {
public:
    /// Uses no more than `allowed`, which the processor must have.
    explicit x25519_dh(cpu allowed = chosen_cpu()) noexcept : allowed_(consistent(allowed)) {}

    /// Multiplies `point` by the scalar, which is clamped here.
    /// Returns: false if the result is zero; then `point` has a low order. The time does not depend on it.
    [[nodiscard]] bool dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept;
    /// Multiplies the base point: the public key of a private key.
    void dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept;
    /// Does `dh` for each item and stores the result in its `good`. Items of one batch share the lanes of vectors.
    void dh_batch(std::span<dh_item> items) const noexcept;

private:
    cpu allowed_;
};

#ifdef WG_DEFINE_KERNELS

WG_CHOICE bool x25519_dh::dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept {
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::ifma)) return ifma_x25519::multiply(out.expose(), scalar.expose(), point);
    if (has(allowed_, cpu::avx2)) return avx2_x25519::multiply(out.expose(), scalar.expose(), point);
#endif
    return x25519<>::multiply(out.expose(), scalar.expose(), point);
}

WG_CHOICE void x25519_dh::dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept {
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::ifma)) return ifma_x25519::multiply_base(out, scalar.expose());
    if (has(allowed_, cpu::avx2)) return avx2_x25519::multiply_base(out, scalar.expose());
#endif
    if constexpr (compact) {
        out = {9}; // the base point; `multiply` reads it before it writes the result
        static_cast<void>(x25519<>::multiply(out, scalar.expose(), out)); // never zero: the point has prime order
    } else {
        x25519_base<>::multiply(out, scalar.expose());
    }
}

WG_CHOICE void x25519_dh::dh_batch(std::span<dh_item> items) const noexcept {
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::ifma)) return multiply_batch<ifma_x25519, ifma8_x25519>(items);
    if (has(allowed_, cpu::avx2)) return multiply_batch<avx2_x25519, avx2_x25519_of_four>(items);
#endif
    for (dh_item& item : items) item.good = dh(*item.out, *item.scalar, key_view(item.point));
}

#endif

/// `x25519_dh` by the name that bundles of policies use.
using dh = x25519_dh;

static_assert(dh_backend<dh>);

}}} // namespace wg::WG_ABI::bundled

#endif
