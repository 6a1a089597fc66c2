// SPDX-License-Identifier: BSL-1.0
// A network and hosts in memory: TUN devices and sockets for tests, samples and simulations. Folder: backends; one
// thread.
#ifndef WG_BACKENDS_LOOPBACK_HPP
#define WG_BACKENDS_LOOPBACK_HPP

#include "../policy.hpp"

#include <algorithm>
#include <deque>
#include <vector>

namespace wg { inline namespace WG_ABI {

/// A network and hosts in memory.
namespace loopback {

/// A TUN device whose host is the program: the engine reads the packets that the program puts in, and the program takes
/// the packets that the engine writes. The queues have no limit.
class tun {
public:
    /// `write` needs no room before a packet.
    static constexpr std::size_t headroom = 0;

    /// A device with this MTU and empty queues.
    explicit tun(std::size_t mtu_bytes = default_mtu_bytes) noexcept : mtu_(mtu_bytes) {}

    /// Sends a packet of the host into the tunnel.
    void put(bytes_view packet_data) { to_engine_.emplace_back(packet_data.begin(), packet_data.end()); }
    /// Returns: the oldest packet that came out of the tunnel; empty: none.
    std::vector<byte> take() {
        if (to_host_.empty()) return {};
        std::vector<byte> oldest = std::move(to_host_.front());
        to_host_.pop_front();
        return oldest;
    }
    /// Whether `read` would find a packet.
    bool ready() const noexcept { return !to_engine_.empty(); }

    /// Reads packets for the engine; cuts a packet that exceeds its window.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t count = 0;
        for (; count < packets.size() && !to_engine_.empty(); ++count) {
            std::vector<byte> const& next = to_engine_.front();
            packet& p = packets[count];
            p.length = static_cast<std::uint32_t>(std::min<std::size_t>(next.size(), p.capacity - p.offset));
            copy(p.view(), bytes_view(next).first(p.length));
            to_engine_.pop_front();
        }
        return count;
    }
    /// Takes packets from the engine. Returns: their number.
    std::size_t write(std::span<packet> packets) noexcept {
        for (packet const& p : packets) to_host_.emplace_back(p.view().begin(), p.view().end());
        return packets.size();
    }
    /// The MTU in bytes.
    std::size_t mtu() const noexcept { return mtu_; }

private:
    std::deque<std::vector<byte>> to_engine_, to_host_;
    std::size_t mtu_;
};

/// A datagram in flight.
struct sent_datagram {
    endpoint from{};           ///< the sender
    endpoint to{};             ///< the receiver
    std::uint8_t tos = 0;      ///< DSCP and ECN
    std::vector<byte> payload; ///< the UDP payload
};

/// Joins sockets: each datagram stays here until its receiver takes it. A test may change the datagrams before that.
struct network {
    std::deque<sent_datagram> in_flight; ///< oldest first
};

/// A socket at one address of a network.
class udp {
public:
    /// Longer datagrams are cut.
    static constexpr std::size_t receive_bytes = 2048;

    /// A closed socket. The network outlives it.
    udp(network& net, ip_address const& address) noexcept : network_(&net), address_(address) {}

    /// Opens the socket on a port (0: 51820). Returns: the port; never fails.
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        port_ = port != 0 ? port : std::uint16_t{51820};
        return port_;
    }
    /// Closes the socket: datagrams to it stay in the network.
    void close() noexcept { port_ = 0; }
    /// Whether `receive` would find a datagram.
    bool ready() const noexcept { return find() != network_->in_flight.end(); }

    /// Takes the datagrams to this socket from the network, oldest first. Returns: their number.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        std::size_t count = 0;
        for (auto at = find(); count < datagrams.size() && at != network_->in_flight.end(); at = find(), ++count) {
            datagram& d = datagrams[count];
            d.length = static_cast<std::uint32_t>(std::min<std::size_t>(at->payload.size(), d.capacity - d.offset));
            copy(d.view(), bytes_view(at->payload).first(d.length));
            d.where = {at->from, {at->to.address, 0}};
            d.tos = at->tos;
            network_->in_flight.erase(at);
        }
        return count;
    }
    /// Puts datagrams into the network. Returns: their number.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        for (datagram& d : datagrams) {
            network_->in_flight.push_back(
                {{address_, port_, 0}, d.where.remote, d.tos, {d.view().begin(), d.view().end()}});
            d.why = status::ok;
        }
        return datagrams.size();
    }

private:
    std::deque<sent_datagram>::iterator find() const noexcept {
        return std::find_if(network_->in_flight.begin(), network_->in_flight.end(), [this](sent_datagram const& f) {
            return port_ != 0 && f.to == endpoint{address_, port_, 0};
        });
    }

    network* network_;
    ip_address address_;
    std::uint16_t port_ = 0;
};

/// A waiter for hosts that share a thread: never sleeps.
class waiter {
public:
    /// Both outlive the waiter.
    waiter(tun const& t, udp const& u) noexcept : tun_(&t), udp_(&u) {}
    /// Returns at once: what is ready.
    readiness wait(instant) noexcept { return {tun_->ready(), udp_->ready(), 0}; }
    /// Does nothing.
    void wake() noexcept {}

private:
    tun const* tun_;
    udp const* udp_;
};

static_assert(tun_device<tun> && udp_socket<udp> && wg::waiter<waiter>);

} // namespace loopback

}} // namespace wg::WG_ABI

#endif
