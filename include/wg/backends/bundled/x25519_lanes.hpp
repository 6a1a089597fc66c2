// SPDX-License-Identifier: BSL-1.0
// The parts that all vector kernels of X25519 share: the bits of the scalar, the last division, and batches.
// Folder: backends/bundled; any thread.
#ifndef WG_BACKENDS_BUNDLED_X25519_LANES_HPP
#define WG_BACKENDS_BUNDLED_X25519_LANES_HPP

#include "cpu.hpp"
#include "field25519.hpp"
#include "wipe_stack.hpp"

#ifdef WG_HAS_X86_KERNELS

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Computes when the ladder exchanges its two points: bit i of `swaps` is set if bits i and i + 1 of the clamped scalar
/// differ. `scalar`: 32 bytes, which are clamped here.
inline void swaps_of_scalar(std::uint64_t (&swaps)[4], byte const* scalar) noexcept {
    std::uint64_t k[4];
    for (std::size_t i = 0; i < 4; ++i) k[i] = load_le64(scalar + 8 * i);
    k[0] &= ~std::uint64_t{7};
    k[3] = (k[3] & ~(std::uint64_t{1} << 63)) | std::uint64_t{1} << 62;
    for (std::size_t i = 0; i < 4; ++i) swaps[i] = k[i] ^ (k[i] >> 1 | (i < 3 ? k[i + 1] << 63 : 0));
    wipe(k);
}

/// Writes (a + b) / (a - b) as 32 bytes; 0 if a = b. Before: limbs < 2^51 + 2^44, so no limb of a - b + 2p is below
/// zero, and a + b and a - b are loose.
inline void quotient_of_halves(byte* out, field25519<limbs64> const& a, field25519<limbs64> const& b) noexcept {
    field25519<limbs64> x, z;
    field25519<limbs64>::add(x, a, b);
    field25519<limbs64>::subtract(z, a, b);
    invert(z);
    field25519<limbs64>::multiply(x, x, z);
    x.encode(out);
    wipe(x), wipe(z);
}
/// Writes x / z to the result of each item; 0 for z = 0. One inversion, of the product of all z, serves all items
/// (Montgomery's trick).
template <std::size_t N>
[[gnu::noinline]] void quotients(dh_item const* items, field25519<limbs64> (&x)[N],
                                 field25519<limbs64> (&z)[N]) noexcept {
    using field = field25519<limbs64>;
    field products[N], inverse;
    byte text[key_bytes];
    for (std::size_t j = 0; j < N; ++j) {
        z[j].encode(text);
        z[j].decode(text);
        // z = 0 is replaced by 1, so that the product is not zero, and x by 0
        std::uint64_t const zero = is_zero_in_constant_time(text), keep = mask_of(zero ^ 1);
        z[j].v[0] |= zero;
        for (std::uint64_t& limb : x[j].v) limb &= keep;
        products[j] = z[j];
        if (j > 0) field::multiply(products[j], products[j - 1], z[j]);
    }
    inverse = products[N - 1];
    invert(inverse);
    for (std::size_t j = N; j-- > 0;) {
        field::multiply(x[j], x[j], inverse);
        if (j > 0) {
            field::multiply(x[j], x[j], products[j - 1]);
            field::multiply(inverse, inverse, z[j]);
        }
        x[j].encode(items[j].out->expose().data());
    }
    wipe(products), wipe(inverse), wipe(text);
}

/// Does what `dh` does for each item, in the lanes of one vector. There are at most as many items as lanes; lanes
/// without an item repeat the first item.
template <class Kernel> inline void multiply_in_lanes(std::span<dh_item> items) noexcept {
    constexpr std::size_t lanes = Kernel::lanes;
    secret<key_bytes> unused;
    dh_item all[lanes];
    field25519<limbs64> x[lanes], z[lanes];
    for (std::size_t j = 0; j < lanes; ++j) {
        all[j] = items[j < items.size() ? j : 0];
        if (j >= items.size()) all[j].out = &unused;
    }
    Kernel::ladder(all, x, z);
    quotients(all, x, z);
    wipe(x), wipe(z);
    wipe_stack<Kernel::stack_bytes>();
    for (dh_item& item : items) item.good = !item.out->is_zero();
}

/// Does what `dh` does for each item of a batch of any size. From `Many::worth_it` items on, `Many` (one key to a lane)
/// is faster than `One` (one key at a time).
template <class One, class Many> inline void multiply_batch(std::span<dh_item> items) noexcept {
    while (items.size() >= Many::worth_it) {
        std::span<dh_item> const some = items.first(items.size() < Many::lanes ? items.size() : Many::lanes);
        multiply_in_lanes<Many>(some);
        items = items.subspan(some.size());
    }
    for (dh_item& item : items)
        item.good = One::multiply(item.out->expose(), item.scalar->expose(), key_view(item.point));
}

}}} // namespace wg::WG_ABI::bundled

#endif

#endif
