// SPDX-License-Identifier: BSL-1.0
// Splits a list of changes into those of the interface and those of each peer. Folder: device; pure functions.
#ifndef WG_DEVICE_CONFIGURATION_HPP
#define WG_DEVICE_CONFIGURATION_HPP

#include "../base/config.hpp"
#include "../base/status.hpp"
#include "../protocol/epoch.hpp"

namespace wg { inline namespace WG_ABI {

/// The changes of one peer.
struct peer_changes {
    key_view key;                     ///< its public key
    bool update_only = false;         ///< changes nothing if there is no such peer
    bool remove = false;              ///< removes the peer
    bool replace_allowed_ips = false; ///< removes its allowed IPs first
    std::span<change const> changes;  ///< those after `change::peer`

    /// Whether the peer's public key is `other`.
    bool key_is(key_view other) const noexcept { return std::memcmp(key.data(), other.data(), key_bytes) == 0; }
};

/// The changes of the interface: all changes before the first peer.
inline std::span<change const> interface_changes(std::span<change const> all) noexcept {
    std::size_t count = 0;
    while (count < all.size() && all[count].what() != change::kind::peer) ++count;
    return all.first(count);
}

/// Calls `each(peer_changes const&)` for each peer of a list, in order.
template <class Each> void for_each_peer(std::span<change const> all, Each&& each) noexcept {
    std::span<change const> rest = all.subspan(interface_changes(all).size());
    while (!rest.empty()) {
        std::span<change const> const own = interface_changes(rest.subspan(1));
        peer_changes of{rest[0].key(), false, false, false, own};
        for (change const& c : own) {
            of.update_only |= c.what() == change::kind::update_only;
            of.remove |= c.what() == change::kind::remove_peer;
            of.replace_allowed_ips |= c.what() == change::kind::replace_allowed_ips;
        }
        each(of);
        rest = rest.subspan(1 + own.size());
    }
}

/// Checks the place and the value of each change. Returns: ok, or invalid.
inline status check_changes(std::span<change const> all) noexcept {
    using kind = change::kind;
    bool in_peer = false;
    for (change const& c : all) {
        switch (c.what()) {
        case kind::private_key:
        case kind::fwmark:
        case kind::replace_peers:
            if (in_peer) return status::invalid;
            break;
        case kind::listen_port:
            if (in_peer || c.number() > UINT16_MAX) return status::invalid;
            break;
        case kind::peer: in_peer = true; break;
        case kind::endpoint:
            if (!in_peer || !c.where() || c.where().port == 0) return status::invalid;
            break;
        case kind::ratchet:
            if (!in_peer || !is_epoch_length(c.number())) return status::invalid;
            break;
        case kind::exchange:
            if (!in_peer || c.number() > static_cast<std::uint32_t>(post_quantum::require)) return status::invalid;
            break;
        case kind::persistent_keepalive:
            if (!in_peer || c.number() > UINT16_MAX) return status::invalid;
            break;
        case kind::allowed_ip:
        case kind::remove_allowed_ip:
            if (!in_peer || c.prefix().address.kind == family::none || c.prefix().bits > c.prefix().address.bits())
                return status::invalid;
            break;
        case kind::update_only:
        case kind::remove_peer:
        case kind::preshared_key:
        case kind::replace_allowed_ips:
            if (!in_peer) return status::invalid;
            break;
        }
    }
    return status::ok;
}

}} // namespace wg::WG_ABI

#endif
