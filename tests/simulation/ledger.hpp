// SPDX-License-Identifier: BSL-1.0
// The inner packets of a simulation: makes them, and checks the packets that come out of tunnels. A packet may come out
// at most once, unmodified, and only at its destination.
#ifndef WG_TESTS_SIMULATION_LEDGER_HPP
#define WG_TESTS_SIMULATION_LEDGER_HPP

#include "random.hpp"

#include "wg/base/endpoint.hpp"

#include <algorithm>
#include <vector>

namespace simulation {

using wg::byte;
using wg::bytes;
using wg::bytes_view;

/// A checksum of all bytes.
inline std::uint64_t checksum(bytes_view data) noexcept {
    std::uint64_t sum = 0xcbf29ce484222325; // FNV-1a
    for (byte const b : data) sum = (sum ^ b) * 0x100000001b3;
    return sum;
}

/// The address of a host inside the tunnel.
inline wg::ip_address inner_address(wg::family kind, unsigned host) {
    if (kind == wg::family::v4) return wg::ip_address::v4(10, 0, 0, static_cast<byte>(host + 1));
    wg::ip_address address{{0xfd}, kind};
    address.octets[15] = static_cast<byte>(host + 1);
    return address;
}

/// All packets of a simulation.
class ledger {
public:
    struct entry {
        unsigned from, to;    ///< numbers of hosts
        std::int64_t sent_ns; ///< virtual time
        std::uint64_t sum;    ///< `checksum`
        std::size_t size;     ///< bytes
        bool delivered;
        bool forged; ///< has the source address of another host, and so may not come out
    };

    /// Makes an IPv4 or IPv6 packet of a random size up to `largest` bytes, with its number and random content. Its
    /// source address is that of the host `claimed`.
    std::vector<byte> make(unsigned from, unsigned claimed, unsigned to, std::int64_t now_ns, std::size_t largest,
                           seeded_random& dice) {
        bool const v4 = dice.chance(0.7);
        std::size_t const header = v4 ? 20 : 40, smallest = header + number_bytes;
        std::size_t const size =
            dice.chance(0.1) ? largest : smallest + dice.below(std::min<std::size_t>(largest - smallest, 400) + 1);
        std::vector<byte> out(size);
        dice.fill(out);
        std::fill_n(out.begin(), header, byte{0});
        out[0] = v4 ? 0x45 : 0x60;
        wg::store_be16(&out[v4 ? 2 : 4], static_cast<std::uint16_t>(v4 ? size : size - header));
        out[v4 ? 9 : 6] = 253; // for experiments (RFC 3692)
        wg::family const kind = v4 ? wg::family::v4 : wg::family::v6;
        wg::copy(bytes(out).subspan(v4 ? 12 : 8), inner_address(kind, claimed).view());
        wg::copy(bytes(out).subspan(v4 ? 16 : 24), inner_address(kind, to).view());
        wg::store_be64(&out[header], entries_.size());
        entries_.push_back({from, to, now_ns, checksum(out), size, false, from != claimed});
        return out;
    }

    /// Checks a packet that came out at host `at`. Returns: an error; nullptr: none.
    char const* deliver(unsigned at, bytes_view data) {
        std::size_t const header = !data.empty() && data[0] >> 4 == 4 ? 20 : 40;
        if (data.size() < header + number_bytes) return "delivered a packet that no host sent";
        std::uint64_t const number = wg::load_be64(&data[header]);
        if (number >= entries_.size()) return "delivered a packet that no host sent";
        entry& e = entries_[number];
        if (e.size != data.size() || e.sum != checksum(data)) return "delivered a modified packet";
        if (e.to != at) return "delivered to the wrong peer";
        if (e.forged) return "delivered from a forged source";
        if (e.delivered) return "delivered twice";
        e.delivered = true;
        return nullptr;
    }

    std::vector<entry> const& entries() const { return entries_; }

private:
    static constexpr std::size_t number_bytes = 8;
    std::vector<entry> entries_;
};

} // namespace simulation

#endif
