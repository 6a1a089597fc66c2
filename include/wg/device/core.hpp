// SPDX-License-Identifier: BSL-1.0
// A device with all steps of a packet in one call, for programs that own their loop and their sockets. Folder: device.
// One thread at a time.
//
//     struct my_network {
//         wg::status send(wg::bytes_view datagram, wg::path const& where, std::uint8_t tos) noexcept;
//         void deliver(wg::bytes_view ip_packet) noexcept;
//     };
//     wg::core<my_policies, my_network> core(network);
//     core.device().configure(...);
//     core.outbound(ip_packet);          // from the host
//     core.inbound(datagram, from);      // from the network
//     core.tick();                       // at core.next_deadline()
#ifndef WG_DEVICE_CORE_HPP
#define WG_DEVICE_CORE_HPP

#include "device.hpp"

namespace wg { inline namespace WG_ABI {

/// What a program supplies to a `core`:
/// - `send` sends a datagram to `where.remote` with this DSCP and ECN. Returns: ok, or why it was not sent.
/// - `deliver` takes an IP packet for the host.
/// Both get memory that is valid until they return, and must not call the core.
template <class Io>
concept core_io = requires(Io& io, bytes_view data, path const& where, std::uint8_t tos) {
    { io.send(data, where, tos) } noexcept -> std::same_as<status>;
    { io.deliver(data) } noexcept -> std::same_as<void>;
};

/// A device and one buffer for the messages that it makes. Packets of the host have `MtuBytes` at most. Each call runs
/// all steps of its packet, and then sends what the device has to send.
template <class Policies, core_io Io, std::size_t MtuBytes = default_mtu_bytes> class core {
public:
    using device_type = wg::device<Policies>; ///< the device

    /// Makes the device from instances of its policies (see `device`). `io` outlives this object.
    template <class... Instances> explicit core(Io& io, Instances... given) noexcept : io_(io), device_(given...) {
        if (device_.ready()) device_.set_mtu(MtuBytes);
    }

    /// The device, for its configuration, counters and `ready`. Its messages leave with the next call of this object.
    device_type& device() noexcept { return device_; }

    /// Sends a packet of the host, which is copied. Returns: ok; staged if it waits for a session; no_room if it is
    /// longer than `MtuBytes`; else why it was dropped, or what `send` returned.
    status outbound(bytes_view ip_packet) noexcept {
        if (ip_packet.size() > MtuBytes) return status::no_room;
        packet data(buffer_, packet_headroom_bytes, ip_packet.size());
        copy(data.view(), ip_packet);
        return outbound(data);
    }
    /// Sends a packet of the host in place. There are `packet_headroom_bytes` before it and `packet_tailroom_bytes`
    /// after it. Returns: as above.
    status outbound(packet ip_packet) noexcept {
        job_type job;
        job.data = ip_packet;
        device_.prepare_outbound({&job, 1}, device_.clock().now());
        finish_outbound(job);
        transmit();
        return job.why;
    }

    /// Takes a datagram from the network, and decrypts it in place. Returns: ok if `deliver` has got its packet, or if
    /// it was a keepalive; queued for a handshake message; else why it was dropped.
    status inbound(bytes datagram, endpoint const& from, std::uint8_t tos = 0, local_source const& at = {}) noexcept {
        job_type job;
        job.data = packet(datagram, 0, datagram.size());
        job.where = {from, at};
        job.tos = tos;
        instant const now = device_.clock().now();
        device_.prepare_inbound({&job, 1}, now);
        device_type::crypt({&job, 1}, device_.aead());
        device_.complete({&job, 1}, now);
        if (job.next == disposition::deliver) io_.deliver(job.data.view());
        transmit();
        return job.why;
    }

    /// Runs the timers that are due. To be called at `next_deadline`, or every second or so, and after a change of the
    /// configuration.
    void tick() noexcept {
        device_.on_deadline(device_.clock().now());
        transmit();
    }

    /// When `tick` has work; in the past if it has work now.
    instant next_deadline() noexcept { return device_.next_deadline(); }

private:
    using job_type = typename device_type::job_type;
    static_assert(MtuBytes >= 576, "IPv4 needs an MTU of 576 bytes (RFC 791)");

    void finish_outbound(job_type& job) noexcept {
        device_type::crypt({&job, 1}, device_.aead());
        if (job.next == disposition::send) job.why = io_.send(job.data.view(), job.where, job.tos);
        if (job.next == disposition::deliver) io_.deliver(job.data.view()); // an ICMP error
        device_.complete({&job, 1}, device_.clock().now());
    }

    /// Sends answers to handshake messages, and then initiations, keepalives and staged packets.
    void transmit() noexcept {
        for (bool answers = true;;) {
            job_type job;
            job.data = packet(buffer_, 0);
            instant const now = device_.clock().now();
            std::size_t const made =
                answers ? device_.process_handshakes({&job, 1}, now) : device_.poll_transmit({&job, 1}, now);
            if (made != 0) finish_outbound(job);
            else if (answers) answers = false;
            else return;
        }
    }

    Io& io_;
    device_type device_;
    alignas(8) byte buffer_[packet_headroom_bytes + MtuBytes + packet_tailroom_bytes];
};

}} // namespace wg::WG_ABI

#endif
