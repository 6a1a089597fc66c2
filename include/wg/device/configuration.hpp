// SPDX-License-Identifier: BSL-1.0
// A list of changes, cut into what concerns the interface and what concerns each peer. Layer 4; pure.
#ifndef WG_DEVICE_CONFIGURATION_HPP
#define WG_DEVICE_CONFIGURATION_HPP

#include "../base/config.hpp"
#include "../base/status.hpp"

namespace wg { inline namespace WG_ABI {

/// What a configuration says of one peer.
struct peer_changes {
    key_view key;
    bool update_only = false; ///< nothing, if there is no such peer
    bool remove = false;
    bool replace_allowed_ips = false;
    std::span<change const> changes; ///< those after `change::peer`

    bool key_is(key_view other) const noexcept { return std::memcmp(key.data(), other.data(), key_bytes) == 0; }
};

/// The changes of the interface: all before the first peer.
inline std::span<change const> interface_changes(std::span<change const> all) noexcept {
    std::size_t count = 0;
    while (count < all.size() && all[count].what() != change::kind::peer) ++count;
    return all.first(count);
}

/// Calls `each(peer_changes const&)` for every peer, in order.
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

/// Whether each change stands where it may and has a value that it may have. status::invalid otherwise.
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
