// SPDX-License-Identifier: BSL-1.0
// Messages that are not what they should be, and what they must not do.
#ifndef WG_TESTS_UNTRUSTED_HPP
#define WG_TESTS_UNTRUSTED_HPP

#include "fixture.hpp"

namespace wg_tests {

/// What the outside can change of a peer.
inline auto state(peer_report const& r) {
    return std::tuple(r.endpoint, r.rx_bytes, r.last_handshake_s, r.last_handshake_ns);
}

template <class Host> bool untouched(Host& h, peer_report const& before, wg::public_key const& of) {
    return state(h.report(of)) == state(before) && h.outbox.empty() && h.received.empty();
}

inline wg::endpoint const elsewhere{wg::ip_address::v4(198, 51, 100, 7), 4242, 0};

inline wire changed(wire what, std::size_t at, wg::byte by = 1) {
    what.data[at] = static_cast<wg::byte>(what.data[at] ^ by);
    return what;
}

} // namespace wg_tests

#endif
