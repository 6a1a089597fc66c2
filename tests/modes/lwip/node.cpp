// SPDX-License-Identifier: BSL-1.0
// A complete node on lwIP's raw API, for a processor without an operating system.
#include "wg/wg.hpp"

#ifndef WG_BARE
#error "compile this file for a bare machine"
#endif

namespace {

struct clock_and_random {
    wg::instant now() noexcept { return {}; }
    void tai64n(std::span<wg::byte, wg::timestamp_bytes> label) noexcept { wg::bare::store_boot_label(label, 1, {}); }
    bool fill(wg::bytes) noexcept { return false; }
};

struct node_policies : wg::default_policies {
    using clock_source = clock_and_random;
    using random_source = clock_and_random;
    using storage = wg::static_storage<wg::small_capacity>;
    using tun_device = wg::bare::lwip_tun<>;
    using udp_socket = wg::bare::lwip_udp<>;
    using waiter = wg::bare::polling_waiter;
};

} // namespace

template class wg::bare::lwip_udp<>;
template class wg::bare::lwip_tun<>;
template class wg::device<node_policies>;
template class wg::engine<node_policies>;
