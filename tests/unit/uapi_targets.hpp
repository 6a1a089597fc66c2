// SPDX-License-Identifier: BSL-1.0
// Stand-ins for the device that a configuration session changes, and the text of the tests' configurations.
#ifndef WG_TESTS_UAPI_TARGETS_HPP
#define WG_TESTS_UAPI_TARGETS_HPP

#include <boost/test/unit_test.hpp>

#include <wg/control/uapi.hpp>

#include <string>
#include <vector>

namespace wg_tests {

namespace uapi = wg::uapi;
using wg::change;
using wg::status;
using strings = std::vector<std::string>;

inline std::string const key_a(64, 'a');
inline std::string const key_b(64, 'b');
inline std::string const key_c = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";
inline std::string const no_key(64, '0');

inline std::string hex(wg::bytes_view from) {
    std::string digits(2 * from.size(), ' ');
    wg::text::print_hex(from, digits);
    return digits;
}

/// A change as text, with the key and the value of the protocol. A removal, which the protocol writes as a sign or a
/// value, has a name of its own.
inline std::string spell(change const& c) {
    using kind = change::kind;
    std::string const number = std::to_string(c.number());
    switch (c.what()) {
    case kind::private_key: return "private_key " + hex(c.key());
    case kind::listen_port: return "listen_port " + number;
    case kind::fwmark: return "fwmark " + number;
    case kind::replace_peers: return "replace_peers";
    case kind::peer: return "peer " + hex(c.key());
    case kind::update_only: return "update_only";
    case kind::remove_peer: return "remove_peer";
    case kind::preshared_key: return "preshared_key " + hex(c.key());
    case kind::endpoint: return "endpoint " + std::string(wg::text::print(c.where()).view());
    case kind::persistent_keepalive: return "persistent_keepalive " + number;
    case kind::replace_allowed_ips: return "replace_allowed_ips";
    case kind::allowed_ip: return "allowed_ip " + std::string(wg::text::print(c.prefix()).view());
    case kind::ratchet: return "ratchet " + number;
    case kind::exchange: return "exchange " + number;
    case kind::remove_allowed_ip: return "remove_allowed_ip " + std::string(wg::text::print(c.prefix()).view());
    }
    return "?";
}

/// Records the changes and the calls.
struct recorder {
    status answer = status::ok;
    strings applied;
    std::size_t configured = 0, asked = 0;

    status configure(std::span<change const> changes) noexcept {
        if (answer != status::ok) return answer;
        ++configured;
        for (change const& c : changes) applied.push_back(spell(c));
        return status::ok;
    }
    void snapshot(auto& sink) noexcept {
        ++asked;
        wg::secret<32> const none;
        sink.device(wg::interface_facts{none, 0, 0});
    }
};

inline wg::bytes_view bytes_of(std::string_view from) {
    return {reinterpret_cast<wg::byte const*>(from.data()), from.size()};
}

inline unsigned only_eth0(char const* name) { return std::string_view(name) == "eth0" ? 2 : 0; }

/// Sends `input` on a new connection, `step` characters at a time. Returns: the whole reply.
template <class Target>
std::string talk(Target& target, std::string_view input, std::size_t step = SIZE_MAX, status expected = status::ok) {
    uapi::session session{only_eth0};
    wg::secret_buffer reply;
    status last = status::ok;
    while (!input.empty()) {
        std::string_view const part = input.substr(0, step);
        last = session.feed(bytes_of(part), target, reply);
        input.remove_prefix(part.size());
    }
    BOOST_TEST((last == expected), "outcome " << wg::name_of(last));
    return std::string(reply.text());
}

inline std::string answer(int number) { return "errno=" + std::to_string(number) + "\n\n"; }

inline std::string const in_peer = "public_key=" + key_a + "\n";

/// A minimal device that stores a configuration and returns it on a get.
struct small_device {
    struct peer {
        wg::public_key key{};
        wg::secret<32> preshared_key;
        wg::endpoint endpoint{};
        std::uint16_t persistent_keepalive_s = 0;
        std::uint32_t ratchet_s = 0, ratchet_epoch = 0;
        wg::post_quantum exchange = wg::post_quantum::off;
        std::int64_t exchanged_s = 0;
        std::vector<wg::ip_prefix> allowed_ips;
    };
    wg::secret<32> private_key;
    std::uint16_t listen_port = 0;
    std::uint32_t fwmark = 0;
    std::vector<peer> peers;
    std::int64_t last_handshake_s = 1700000000;

    status configure(std::span<change const> changes) noexcept {
        using kind = change::kind;
        for (change const& c : changes) {
            if (c.what() == kind::private_key) private_key.assign(c.key());
            if (c.what() == kind::listen_port) listen_port = static_cast<std::uint16_t>(c.number());
            if (c.what() == kind::fwmark) fwmark = c.number();
            if (c.what() == kind::replace_peers) peers.clear();
            if (c.what() == kind::peer) std::ranges::copy(c.key(), peers.emplace_back().key.begin());
            if (c.what() == kind::preshared_key) peers.back().preshared_key.assign(c.key());
            if (c.what() == kind::endpoint) peers.back().endpoint = c.where();
            if (c.what() == kind::persistent_keepalive)
                peers.back().persistent_keepalive_s = static_cast<std::uint16_t>(c.number());
            if (c.what() == kind::ratchet) peers.back().ratchet_s = c.number();
            if (c.what() == kind::allowed_ip) peers.back().allowed_ips.push_back(c.prefix());
        }
        return status::ok;
    }
    void snapshot(auto& sink) noexcept {
        sink.device(wg::interface_facts{private_key, listen_port, fwmark});
        for (peer const& p : peers) {
            wg::peer_facts facts{p.key, p.preshared_key};
            facts.endpoint = p.endpoint;
            facts.last_handshake_s = last_handshake_s;
            facts.last_handshake_ns = 5;
            facts.tx_bytes = 18446744073709551615u;
            facts.rx_bytes = 92;
            facts.persistent_keepalive_s = p.persistent_keepalive_s;
            facts.ratchet_s = p.ratchet_s;
            facts.ratchet_epoch = p.ratchet_epoch;
            facts.exchange = p.exchange;
            facts.exchanges = 12;
            facts.exchanged_s = p.exchanged_s;
            sink.peer(facts);
            for (wg::ip_prefix const& prefix : p.allowed_ips) sink.allowed_ip(prefix);
        }
    }
};

// A set as `wg setconf` sends it.
inline std::string const setconf =
    "set=1\nprivate_key=" + key_c + "\nlisten_port=51820\nfwmark=51820\nreplace_peers=true\npublic_key=" + key_a +
    "\npreshared_key=" + key_b +
    "\nendpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n"
    "allowed_ip=10.0.0.0/24\nallowed_ip=fd00::/64\npublic_key=" +
    key_b + "\nendpoint=[fe80::1%eth0]:1\nreplace_allowed_ips=true\n\n";

} // namespace wg_tests

#endif
