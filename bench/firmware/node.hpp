// SPDX-License-Identifier: BSL-1.0
// A whole WireGuard node over a board of seven functions. It measures the size of a node.
#ifndef BENCH_FIRMWARE_NODE_HPP
#define BENCH_FIRMWARE_NODE_HPP

#include "wg/backends/bundled/bundled.hpp"
#include "wg/backends/observers.hpp"
#include "wg/backends/one_thread.hpp"
#include "wg/backends/storage.hpp"
#include "wg/device/device.hpp"

/// The functions of a board.
extern "C" {
std::int64_t board_now_ns();                       // time since the start; it never decreases
bool board_random(wg::byte* to, std::size_t size); // from a true random source; false: it failed
void board_tai64n(wg::byte* label);                // 12 bytes, greater than before the last restart
std::size_t board_datagram_in(wg::byte* to, std::size_t room, wg::endpoint* from); // size; 0: none
void board_datagram_out(wg::byte const* from, std::size_t size, wg::endpoint const* to, std::uint8_t tos);
std::size_t board_packet_in(wg::byte* to, std::size_t room); // from the IP stack of the tunnel: size; 0: none
void board_packet_out(wg::byte const* from, std::size_t size);
}

namespace firmware {

struct board_clock {
    wg::instant now() noexcept { return {board_now_ns()}; }
    void tai64n(std::span<wg::byte, wg::timestamp_bytes> label) noexcept { board_tai64n(label.data()); }
};

struct board_random_source {
    bool fill(wg::bytes out) noexcept { return board_random(out.data(), out.size()); }
};

/// One allowed IP of each family for each of `Peers` peers.
template <std::size_t Peers> struct capacity : wg::small_capacity {
    static constexpr std::size_t max_peers = Peers;
    static constexpr std::size_t max_allowed_ips = Peers;
};

template <std::size_t Peers> struct policies {
    using hash = wg::bundled::hash;
    using dh = wg::bundled::dh;
    using aead = wg::bundled::aead;
    using clock_source = board_clock;
    using random_source = board_random_source;
    using threads = wg::one_thread;
    using storage = wg::static_storage<capacity<Peers>>;
    using observer = wg::no_observer;
};

/// A device with one packet buffer, which serves received packets and the messages that the device sends itself.
template <std::size_t Peers> class node {
public:
    using device_type = wg::device<policies<Peers>>;
    using job = typename device_type::job_type;

    wg::status configure(wg::key_view private_key, wg::peer_settings const& peer) noexcept {
        device_.set_private_key(private_key);
        return device_.add_peer(peer);
    }

    /// Handles one packet of each direction, the timers that are due, and the messages that the device has to send.
    void step() noexcept {
        inbound();
        outbound();
        device_.on_deadline(device_.clock().now());
        transmit_pending();
    }

    [[gnu::noinline]] void inbound() noexcept {
        job j;
        std::size_t const size = board_datagram_in(buffer_, sizeof buffer_, &j.where.remote);
        if (size == 0) return;
        j.data = wg::packet(buffer_, 0, size);
        wg::instant const now = device_.clock().now();
        device_.prepare_inbound({&j, 1}, now);
        crypt_and_hand_over(j, now);
    }

    [[gnu::noinline]] void outbound() noexcept {
        job j;
        std::size_t const size = board_packet_in(buffer_ + wg::packet_headroom_bytes, mtu);
        if (size == 0) return;
        j.data = wg::packet(buffer_, wg::packet_headroom_bytes, size);
        wg::instant const now = device_.clock().now();
        device_.prepare_outbound({&j, 1}, now);
        crypt_and_hand_over(j, now);
    }

    /// Sends answers to handshakes, then all other messages of the device.
    [[gnu::noinline]] void transmit_pending() noexcept {
        job j;
        for (bool handshakes = true;; handshakes = false) {
            j.data = wg::packet(buffer_, 0);
            wg::instant const now = device_.clock().now();
            std::size_t const made =
                handshakes ? device_.process_handshakes({&j, 1}, now) : device_.poll_transmit({&j, 1}, now);
            if (made != 0) crypt_and_hand_over(j, now);
            else if (!handshakes) return;
        }
    }

    device_type& device() noexcept { return device_; }

    static constexpr std::size_t mtu = 1420, buffer_bytes = wg::packet_headroom_bytes + mtu + wg::packet_tailroom_bytes;

private:
    void crypt_and_hand_over(job& j, wg::instant_argument now) noexcept {
        device_type::crypt({&j, 1}, device_.aead());
        if (j.next == wg::disposition::send)
            board_datagram_out(j.data.view().data(), j.data.length, &j.where.remote, j.tos);
        device_.complete({&j, 1}, now);
        if (j.next == wg::disposition::deliver) board_packet_out(j.data.view().data(), j.data.length);
    }

    device_type device_;
    wg::byte buffer_[buffer_bytes];
};

} // namespace firmware

#endif
