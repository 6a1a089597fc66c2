// SPDX-License-Identifier: BSL-1.0
// The configuration of an interface as values: a list of changes goes in, a list of facts comes out. Folder: base.
//
// A list is read from front to back, like the lines of the cross-platform configuration protocol: first the changes of
// the interface, then for each peer `peer(key)` and the changes of that peer.
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

/// A key of 32 bytes in another object.
using key_view = std::span<byte const, key_bytes>;
/// A Curve25519 public key.
using public_key = byte_array<key_bytes>;

/// Whether two peers agree on preshared keys by a post-quantum exchange.
enum class post_quantum : std::uint8_t {
    off,     ///< no
    prefer,  ///< yes, if the peer does
    require, ///< yes, and user data passes only under such a key
};

/// One step of a configuration, made by its static functions. Can be moved, but not copied. Its destructor wipes its
/// key.
class change {
public:
    /// What a change does.
    enum class kind : std::uint8_t {
        private_key,          ///< all zero: none
        listen_port,          ///< 0: any free one
        fwmark,               ///< 0: off
        replace_peers,        ///< remove all peers first
        peer,                 ///< the following changes concern this peer, which is added if new
        update_only,          ///< do not add a new peer: skip all changes up to the next peer
        remove_peer,          ///< remove this peer
        preshared_key,        ///< all zero: none
        endpoint,             ///< the address of the peer
        persistent_keepalive, ///< seconds; 0: off
        replace_allowed_ips,  ///< remove all of the peer's allowed IPs first
        allowed_ip,           ///< add; another peer that has it loses it
        remove_allowed_ip,    ///< has no effect if another peer has it
        ratchet,              ///< seconds; 0: off
        exchange,             ///< a `post_quantum`
    };

    /// Sets the private key of the interface. All zero: none.
    static change private_key(key_view key) noexcept { return change(kind::private_key, key); }
    /// Sets the UDP port of the interface. 0: any free port.
    static change listen_port(std::uint16_t port) noexcept { return change(kind::listen_port, port); }
    /// Sets the firewall mark of sent datagrams. 0: none.
    static change fwmark(std::uint32_t mark) noexcept { return change(kind::fwmark, mark); }
    /// Removes all peers.
    static change replace_peers() noexcept { return change(kind::replace_peers, 0u); }
    /// Selects the peer with this public key for the following changes, and adds it if it is new.
    static change peer(key_view key) noexcept { return change(kind::peer, key); }
    /// Skips the changes up to the next peer if the selected peer is new: the peer is not added.
    static change update_only() noexcept { return change(kind::update_only, 0u); }
    /// Removes the selected peer.
    static change remove_peer() noexcept { return change(kind::remove_peer, 0u); }
    /// Sets the preshared key of the selected peer. All zero: none.
    static change preshared_key(key_view key) noexcept { return change(kind::preshared_key, key); }
    /// Sets the endpoint of the selected peer. An IPv4-mapped IPv6 address counts as IPv4.
    static change endpoint(wg::endpoint const& where) noexcept {
        change c(kind::endpoint, 0u);
        c.endpoint_ = where.unmapped();
        return c;
    }
    /// Sets the interval of persistent keepalives to the selected peer, in seconds. 0: off.
    static change persistent_keepalive(std::uint16_t interval_s) noexcept {
        return change(kind::persistent_keepalive, interval_s);
    }
    /// Removes all allowed IPs of the selected peer.
    static change replace_allowed_ips() noexcept { return change(kind::replace_allowed_ips, 0u); }
    /// Adds an allowed IP to the selected peer, and removes it from another peer that has it.
    static change allowed_ip(ip_prefix const& prefix) noexcept { return change(kind::allowed_ip, prefix); }
    /// Removes an allowed IP from the selected peer. Has no effect if another peer has it.
    static change remove_allowed_ip(ip_prefix const& prefix) noexcept {
        return change(kind::remove_allowed_ip, prefix);
    }

    /// Replaces the preshared key of the selected peer every `epoch_s` seconds, see protocol/ratchet.hpp: 10 seconds to
    /// 366 days. 0: off. To change the length later or to switch the ratchet off, give `preshared_key` again, because
    /// the configured key is wiped after the first session.
    static change ratchet(std::uint32_t epoch_s) noexcept { return change(kind::ratchet, epoch_s); }

    /// Makes the selected peer and this end agree on preshared keys, see protocol/pq_exchange.hpp, if both ask for it.
    static change exchange(post_quantum mode) noexcept {
        return change(kind::exchange, static_cast<std::uint32_t>(mode));
    }

    /// Returns: the kind of this change.
    constexpr kind what() const noexcept { return what_; }
    /// Returns: the key of a change of kind private_key, peer or preshared_key; all zero for other kinds.
    key_view key() const noexcept { return key_.expose(); }
    /// Returns: the number of a change of kind listen_port, fwmark, persistent_keepalive, ratchet or exchange.
    constexpr std::uint32_t number() const noexcept { return number_; }
    /// Returns: the endpoint of a change of kind endpoint.
    constexpr wg::endpoint const& where() const noexcept { return endpoint_; }
    /// Returns: the network of a change of kind allowed_ip or remove_allowed_ip.
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

/// A peer whose configuration is part of the program, for `device::add_peer`. Views are read during the call only.
struct peer_settings {
    public_key const& key;                            ///< the public key of the peer
    wg::endpoint endpoint{};                          ///< family::none: not known until the peer sends a message
    std::span<ip_prefix const> allowed_ips{};         ///< the networks of the peer
    std::uint16_t persistent_keepalive_s = 0;         ///< seconds; 0: off
    secret<key_bytes> const* preshared_key = nullptr; ///< nullptr: none
};

/// The facts of the interface that `device::snapshot` reports. Views are valid during the call.
struct interface_facts {
    secret<key_bytes> const& private_key; ///< all zero: none
    std::uint16_t listen_port = 0;        ///< UDP port
    std::uint32_t fwmark = 0;             ///< firewall mark of sent datagrams; 0: none
};

/// The facts of a peer that `device::snapshot` reports. Views are valid during the call.
struct peer_facts {
    public_key const& key;                     ///< the public key of the peer
    secret<key_bytes> const& preshared_key;    ///< as configured; all zero: none, or wiped by the ratchet
    std::uint32_t number = 0;                  ///< the peer number in events
    wg::endpoint endpoint{};                   ///< family::none: not known
    std::int64_t last_handshake_s = 0;         ///< UNIX time in seconds; with 0 ns, 0 means never
    std::uint32_t last_handshake_ns = 0;       ///< nanoseconds after `last_handshake_s`
    std::uint64_t tx_bytes = 0;                ///< UDP payload sent, handshakes included
    std::uint64_t rx_bytes = 0;                ///< UDP payload received, handshakes included
    std::uint16_t persistent_keepalive_s = 0;  ///< seconds; 0: off
    std::uint32_t ratchet_s = 0;               ///< the length of an epoch in seconds; 0: no ratchet
    std::uint32_t ratchet_epoch = 0;           ///< of the last session that was confirmed; 0: none yet
    post_quantum exchange = post_quantum::off; ///< as configured
    std::uint32_t exchanges = 0;               ///< keys that exchanges made, and under which a session was confirmed
    std::int64_t exchanged_s = 0;              ///< UNIX time of the last one in seconds; 0: never
};

}} // namespace wg::WG_ABI

#endif
