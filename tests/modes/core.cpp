// SPDX-License-Identifier: BSL-1.0
// Instantiates every template of the core. Compiles for machines without sockets, heap and operating system.
#include "smallest.hpp"

#include "wg/wg.hpp"

template class wg::bundled::basic_aead<wg::bundled::plain_kernel<wg::bundled::limbs32>>;
template class wg::bundled::x25519<wg::bundled::limbs32>;
#ifdef __SIZEOF_INT128__
template class wg::bundled::x25519<wg::bundled::limbs64>;
#endif
#ifndef WG_COMPACT
template class wg::bundled::x25519_base<wg::bundled::limbs32>;
#endif
template class wg::noise<tests::smallest>;
template struct wg::keypair<64>;
template class wg::replay_window<64>;
template class wg::device<tests::smallest>;

// A board, and a complete node on it.
struct silent_board {
    wg::instant now() noexcept { return {}; }
    void tai64n(std::span<wg::byte, wg::timestamp_bytes> label) noexcept { wg::bare::store_boot_label(label, 1, {}); }
    bool fill(wg::bytes) noexcept { return false; }
    wg::bare::mac_address mac() noexcept { return {}; }
    std::size_t receive(wg::bytes) noexcept { return 0; }
    bool send(wg::bytes_view, wg::bytes_view) noexcept { return false; }
};
template class wg::bare::ethernet<silent_board>;
template class wg::bare::host<>;
template class wg::engine<wg::bare_policies<silent_board>>;
template struct wg::bare_node<silent_board>;
