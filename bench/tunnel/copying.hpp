// SPDX-License-Identifier: BSL-1.0
// No cryptography: packets are copied, and their tags are zeros. A daemon of it shows what all else costs, so it is the
// limit of a machine for this engine. It protects nothing, and exists in the benchmark alone.
#ifndef WG_BENCH_COPYING_HPP
#define WG_BENCH_COPYING_HPP

#include <wg/wg.hpp>

namespace copying {

using hash = wg::bundled::hash;
using dh = wg::bundled::dh;

struct aead : wg::bundled::aead {
    static void seal(wg::bytes dst, wg::bytes_view src, wg::bytes_view, std::uint64_t,
                     wg::secret<wg::key_bytes> const&) noexcept {
        if (dst.data() != src.data()) wg::copy(dst, src);
        wg::fill_zero(dst.last(wg::tag_bytes));
    }
    static bool open(wg::bytes dst, wg::bytes_view src, wg::bytes_view, std::uint64_t,
                     wg::secret<wg::key_bytes> const&) noexcept {
        if (dst.data() != src.data()) wg::copy(dst, src.first(dst.size()));
        return true;
    }
    static void seal_batch(std::span<wg::aead_item> items) noexcept {
        for (wg::aead_item& i : items) seal(i.dst, i.src, {}, i.counter, *i.key);
    }
    static void open_batch(std::span<wg::aead_item> items) noexcept {
        for (wg::aead_item& i : items) i.good = open(i.dst, i.src, {}, i.counter, *i.key);
    }
};

} // namespace copying

#endif
