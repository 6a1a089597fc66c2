// SPDX-License-Identifier: BSL-1.0
// The configuration of an interface as values: a list of changes goes in, a list of facts comes out. Layer 0.
//
// A list is read from front to back, as the lines of the cross-platform configuration protocol are: first what
// concerns the interface, then for each peer `peer(key)` and what concerns that peer.
//
//     wg::change const changes[] = {
//         wg::change::private_key(mine), wg::change::listen_port(51820),
//         wg::change::peer(theirs), wg::change::endpoint(where), wg::change::allowed_ip(prefix)};
//     device.configure(changes, now);
#ifndef WG_BASE_CONFIG_HPP
#define WG_BASE_CONFIG_HPP

#include "endpoint.hpp"
#include "limits.hpp"
#include "secret.hpp"

namespace wg { inline namespace WG_ABI {

using key_view = std::span<byte const, key_bytes>;
using public_key = byte_array<key_bytes>;

/// One step of a configuration. Made by the functions below; movable, and its key is wiped when it dies.
class change {
public:
    enum class kind : std::uint8_t {
        private_key,   ///< all zero: none
        listen_port,   ///< 0: any free one
        fwmark,        ///< 0: off
        replace_peers, ///< remove all peers first
        peer,          ///< what follows concerns this peer, who is added if new
        update_only,   ///< but not if new: then skip all that follows up to the next peer
        remove_peer,
        preshared_key, ///< all zero: none
        endpoint,
        persistent_keepalive, ///< seconds, 0: off
        replace_allowed_ips,  ///< remove all of the peer's allowed IPs first
        allowed_ip,           ///< add, taking it from whoever has it
        remove_allowed_ip,    ///< nothing happens if it is not this peer's
    };

    static change private_key(key_view key) noexcept { return change(kind::private_key, key); }
    static change listen_port(std::uint16_t port) noexcept { return change(kind::listen_port, port); }
    static change fwmark(std::uint32_t mark) noexcept { return change(kind::fwmark, mark); }
    static change replace_peers() noexcept { return change(kind::replace_peers, 0u); }
    static change peer(key_view key) noexcept { return change(kind::peer, key); }
    static change update_only() noexcept { return change(kind::update_only, 0u); }
    static change remove_peer() noexcept { return change(kind::remove_peer, 0u); }
    static change preshared_key(key_view key) noexcept { return change(kind::preshared_key, key); }
    /// An IPv4-mapped IPv6 address counts as IPv4.
    static change endpoint(wg::endpoint const& where) noexcept {
        change c(kind::endpoint, 0u);
        c.endpoint_ = where.unmapped();
        return c;
    }
    static change persistent_keepalive(std::uint16_t interval_s) noexcept {
        return change(kind::persistent_keepalive, interval_s);
    }
    static change replace_allowed_ips() noexcept { return change(kind::replace_allowed_ips, 0u); }
    static change allowed_ip(ip_prefix const& prefix) noexcept { return change(kind::allowed_ip, prefix); }
    static change remove_allowed_ip(ip_prefix const& prefix) noexcept {
        return change(kind::remove_allowed_ip, prefix);
    }

    constexpr kind what() const noexcept { return what_; }
    /// Of private_key, peer, preshared_key.
    key_view key() const noexcept { return key_.expose(); }
    /// Of listen_port, fwmark, persistent_keepalive.
    constexpr std::uint32_t number() const noexcept { return number_; }
    /// Of endpoint.
    constexpr wg::endpoint const& where() const noexcept { return endpoint_; }
    /// Of allowed_ip, remove_allowed_ip.
    constexpr ip_prefix prefix() const noexcept { return {endpoint_.address, static_cast<std::uint8_t>(number_)}; }

private:
    change(kind what, key_view key) noexcept : what_(what), key_(key) {}
    change(kind what, std::uint32_t number) noexcept : what_(what), number_(number) {}
    change(kind what, ip_prefix const& prefix) noexcept : what_(what), number_(prefix.bits) {
        endpoint_.address = prefix.address;
    }

    kind what_;
    std::uint32_t number_ = 0;
    wg::endpoint endpoint_{};
    secret<key_bytes> key_{};
};

/// A peer as a node knows it whose configuration is in its program. Views are good during the call.
struct peer_settings {
    public_key const& key;
    wg::endpoint endpoint{}; ///< family::none: not known until the peer speaks
    std::span<ip_prefix const> allowed_ips{};
    std::uint16_t persistent_keepalive_s = 0; ///< 0: off
    secret<key_bytes> const* preshared_key = nullptr;
};

/// What `device::snapshot` tells of the interface. Views are good during the call.
struct interface_facts {
    secret<key_bytes> const& private_key; ///< all zero: none
    std::uint16_t listen_port = 0;
    std::uint32_t fwmark = 0;
};

/// What `device::snapshot` tells of a peer. Views are good during the call.
struct peer_facts {
    public_key const& key;
    secret<key_bytes> const& preshared_key; ///< all zero: none
    std::uint32_t number = 0;               ///< by which the observer is told of this peer
    wg::endpoint endpoint{};                ///< family::none: not known
    std::int64_t last_handshake_s = 0;      ///< UNIX time; 0 with 0 ns: never
    std::uint32_t last_handshake_ns = 0;
    std::uint64_t tx_bytes = 0; ///< UDP payload, handshakes included
    std::uint64_t rx_bytes = 0;
    std::uint16_t persistent_keepalive_s = 0;
};

}} // namespace wg::WG_ABI

#endif
