// SPDX-License-Identifier: BSL-1.0
// An engine with a TUN device that holds packets which its descriptor does not show, as after a frame was read in part.
#include "wg/wg.hpp"

#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(tun_holds_packets)

namespace {

/// Holds `left` packets, and never polls readable.
struct full_tun {
    static constexpr std::size_t headroom = 0;
    std::size_t left = 0, most_at_once = 0;

    wg::result<std::size_t> read(std::span<wg::packet> packets) noexcept {
        std::size_t const count = std::min(left, packets.size());
        for (wg::packet& p : packets.first(count)) {
            p.length = 20;
            wg::fill_zero(p.view()); // not an IP packet, so the device drops it
        }
        left -= count;
        most_at_once = std::max(most_at_once, count);
        return count;
    }
    std::size_t write(std::span<wg::packet> packets) noexcept { return packets.size(); }
    std::size_t mtu() noexcept { return 1420; }
};

struct silent_socket {
    static constexpr std::size_t receive_bytes = 2048;
    wg::result<std::uint16_t> open(std::uint16_t) noexcept { return std::uint16_t{51820}; }
    void close() noexcept {}
    wg::result<std::size_t> receive(std::span<wg::datagram>) noexcept { return std::size_t{0}; }
    std::size_t send(std::span<wg::datagram> datagrams) noexcept { return datagrams.size(); }
};

struct quiet_policies : wg::default_policies {
    using tun_device = full_tun;
    using udp_socket = silent_socket;
};

} // namespace

BOOST_AUTO_TEST_CASE(engine_reads_on_without_readiness_until_the_tun_device_is_empty) {
    wg::device<quiet_policies> device;
    full_tun tun;
    silent_socket socket;
    wg::engine<quiet_policies> engine(device, tun, socket);
    BOOST_REQUIRE((engine.up() == wg::status::ok));
    BOOST_TEST((engine.next_deadline() == wg::instant::never()));
    for (bool const up : {true, false}) {
        if (!up) engine.down();
        tun.left = 40 * engine.batch;
        std::size_t rounds = 0;
        for (wg::readiness ready{true, false, 0}; rounds < 100; ready = {}, ++rounds) {
            BOOST_REQUIRE((engine.run_once(ready) == wg::status::ok));
            if (engine.next_deadline() == wg::instant::never()) break;
            BOOST_TEST((engine.next_deadline() <= device.clock().now()));
        }
        BOOST_TEST(tun.left == 0u);
        BOOST_TEST(rounds > 1u); // each step is bounded
    }
    BOOST_TEST(tun.most_at_once == engine.batch);
}

BOOST_AUTO_TEST_SUITE_END()
