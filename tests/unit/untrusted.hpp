// SPDX-License-Identifier: BSL-1.0
// Helpers for tests with wrong messages.
#ifndef WG_TESTS_UNTRUSTED_HPP
#define WG_TESTS_UNTRUSTED_HPP

#include "fixture.hpp"

namespace wg_tests {

/// The state of a peer that messages can change.
inline auto state(peer_report const& r) {
    return std::tuple(r.endpoint, r.rx_bytes, r.last_handshake_s, r.last_handshake_ns);
}

/// Whether the peer `of` is as `before`, and the host has sent and delivered nothing.
template <class Host> bool untouched(Host& h, peer_report const& before, wg::public_key const& of) {
    return state(h.report(of)) == state(before) && h.outbox.empty() && h.received.empty();
}

/// An endpoint that no host has.
inline wg::endpoint const elsewhere{wg::ip_address::v4(198, 51, 100, 7), 4242, 0};

/// The datagram with some bits of one byte inverted.
inline wire changed(wire what, std::size_t at, wg::byte by = 1) {
    what.data[at] = static_cast<wg::byte>(what.data[at] ^ by);
    return what;
}

} // namespace wg_tests

#endif
