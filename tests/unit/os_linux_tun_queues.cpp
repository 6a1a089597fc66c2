// SPDX-License-Identifier: BSL-1.0
// The queues of a TUN interface, and several handles that read them.
#include "tun_host.hpp"

#include <netinet/udp.h>
#include <numeric>
#include <sys/eventfd.h>
#include <thread>

BOOST_AUTO_TEST_SUITE(os_linux_tun_queues)

using namespace wg_tests;

/// Adds a descriptor that stands in for a queue.
bool add_event(wg::os::tun_queues& queues, unsigned events) {
    unique_fd fd(::eventfd(events, EFD_CLOEXEC));
    return queues.add(fd) && !fd;
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_cannot_be_watched_stays_with_the_caller) {
    wg::os::tun_queues queues;
    unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); // epoll refuses regular files
    BOOST_REQUIRE(file);
    BOOST_TEST(!queues.add(file));
    BOOST_TEST(queues.size() == 0u);
    BOOST_TEST(::fcntl(file.get(), F_GETFD) >= 0);
}

/// Sends 300 packets of one flow and then one of another flow, several times. Returns: the least number of the 300
/// packets that are read before that one.
std::size_t packets_before_a_single_one(wg::os::offloads const& wanted) {
    tun_host a("wgt0", "10.9.0.1", wanted, SOCK_DGRAM);
    packet_buffers buffers(16, 1420);
    std::size_t least = SIZE_MAX;
    for (std::uint16_t port = 6000; port < 6012; ++port) { // some of these flows share a queue with the first
        for (int i = 0; i <= 300; ++i) {
            sockaddr_in const to = ipv4_address("10.9.0.2", i == 300 ? port : std::uint16_t{5999});
            BOOST_REQUIRE(::sendto(a.socket.get(), &i, sizeof i, 0, reinterpret_cast<sockaddr const*>(&to),
                                   sizeof to) == sizeof i);
        }
        std::size_t before = 0, last = 0;
        for (std::size_t got = buffers.windows.size(); got == buffers.windows.size();) {
            got = *a.tun.read(buffers.windows);
            for (wg::packet const& p : std::span(buffers.windows).first(got)) {
                auto const view = p.view();
                if (view.size() != 32 || view[0] != 0x45) continue; // packets of the host's own
                int number;
                std::memcpy(&number, &view[28], sizeof number);
                if (number == 300) {
                    least = std::min(least, before);
                } else {
                    BOOST_TEST(static_cast<std::size_t>(number) == last++); // in order
                    ++before;
                }
            }
        }
        BOOST_TEST(last == 300u);
    }
    return least;
}

BOOST_AUTO_TEST_CASE(a_single_packet_does_not_wait_behind_a_bulk_flow) {
    REQUIRE_NETWORK();
    BOOST_TEST(packets_before_a_single_one({}) < 16u);
    BOOST_TEST(packets_before_a_single_one({.queues = false}) == 300u);
}

BOOST_AUTO_TEST_CASE(small_packets_alone_in_their_queues_are_counted_for_all_handles) {
    REQUIRE_NETWORK();
    tun_host a("wgt0", "10.9.0.1", {}, SOCK_DGRAM);
    auto const other = a.tun.share();
    BOOST_REQUIRE(other);
    packet_buffers buffers(16, 1420);
    while (*a.tun.read(buffers.windows) != 0) a.tun.settle();
    auto const counted = [&](std::vector<std::size_t> const& sizes) {
        std::uint32_t const before = a.tun.sparse_packets();
        sockaddr_in const to = ipv4_address("10.9.0.2", 5400);
        for (std::size_t const bytes : sizes) {
            std::vector<char> const datagram(bytes - 28);
            BOOST_REQUIRE(::sendto(a.socket.get(), datagram.data(), datagram.size(), 0,
                                   reinterpret_cast<sockaddr const*>(&to), sizeof to) >= 0);
        }
        BOOST_TEST(*a.tun.read(buffers.windows) == sizes.size());
        a.tun.settle();
        BOOST_TEST(other->sparse_packets() == a.tun.sparse_packets());
        return a.tun.sparse_packets() - before;
    };
    BOOST_TEST(counted({84}) == 1u);
    BOOST_TEST(counted({256}) == 1u);
    BOOST_TEST(counted({257}) == 0u);
    BOOST_TEST(counted({84, 84}) == 0u);
    BOOST_TEST(counted({60}) == 1u);
}

BOOST_AUTO_TEST_CASE(a_flow_stays_in_the_queue_that_it_came_from) {
    REQUIRE_NETWORK();
    BOOST_TEST(made("wgt0", {.queues = false}).queue_count() == 1u);
    wg::os::tun const tun = made("wgt0");
    BOOST_TEST(tun.queue_count() == wg::os::tun_queues::most);

    wg::os::tun_queues queues;
    BOOST_REQUIRE(add_event(queues, 0));
    BOOST_TEST(queues.queue_for(ipv4_udp({10, 9, 0, 1}, {10, 9, 0, 2}, 5000, "x")) == 0u);
    for (int i = 0; i < 3; ++i) BOOST_REQUIRE(add_event(queues, 0));
    for (std::uint16_t port = 1; port < 200; ++port) {
        auto out = ipv4_udp({10, 9, 0, 1}, {10, 9, 0, 2}, port, "x"),
             in = ipv4_udp({10, 9, 0, 2}, {10, 9, 0, 1}, 0, "");
        wg::store_be16(&in[20], port);
        wg::store_be16(&in[22], 9);
        BOOST_TEST(queues.queue_for(in) < 4u);
        queues.came_from(port % 4, out);
        BOOST_TEST(queues.queue_for(in) == port % 4u);
        BOOST_TEST(queues.queue_for(out) == port % 4u);
    }
}

BOOST_AUTO_TEST_CASE(sharing_again_while_other_threads_read_is_no_race) { // for -fsanitize=thread
    wg::os::tun_queues queues;
    for (int i = 0; i < 3; ++i) BOOST_REQUIRE(add_event(queues, 1));
    queues.share(0);
    std::thread reader([&] {
        for (int i = 0; i < 1000; ++i) queues.give_back(queues.ready());
    });
    for (int i = 0; i < 1000; ++i) queues.share(0);
    reader.join();
    BOOST_TEST(queues.ready() != 0u);
}

BOOST_AUTO_TEST_CASE(another_handle_finds_packets_where_several_queues_have_some) {
    REQUIRE_NETWORK();
    tun_host a("wgt0", "10.9.0.1", {}, SOCK_DGRAM);
    packet_buffers buffers(4, 1420);
    auto const send = [&](std::uint16_t port, int count) {
        sockaddr_in const to = ipv4_address("10.9.0.2", port);
        for (int i = 0; i < count; ++i)
            BOOST_REQUIRE(::sendto(a.socket.get(), &i, sizeof i, 0, reinterpret_cast<sockaddr const*>(&to),
                                   sizeof to) == sizeof i);
    };
    auto const read = [&] {
        std::size_t const got = *a.tun.read(buffers.windows);
        a.tun.settle();
        return got;
    };
    while (read() != 0) {}
    for (std::uint16_t port = 6000; port < 6050; ++port) send(port, 1); // fifty flows do not all share one queue
    BOOST_TEST(read() == 4u);
    BOOST_TEST(a.tun.has_more_for_others());
    while (read() != 0) {}
    bool alone = false; // packets of the host's own do not count
    for (int tries = 0; tries < 10 && !alone; ++tries) {
        send(6000, 20);
        BOOST_TEST(read() == 4u);
        alone = !a.tun.has_more_for_others();
        while (read() != 0) {}
    }
    BOOST_TEST(alone);
}

/// The numbers of the datagrams of one flow that a handle of an interface reads, in order.
std::vector<int> numbers_read(wg::os::tun& tun, packet_buffers& buffers) {
    std::vector<int> numbers;
    auto const got = tun.read(buffers.windows);
    BOOST_REQUIRE(got);
    for (wg::packet const& p : std::span(buffers.windows).first(*got)) {
        auto const view = p.view();
        if (view.size() != 32 || view[0] != 0x45) continue; // packets of the host's own
        numbers.emplace_back();
        std::memcpy(&numbers.back(), &view[28], sizeof(int));
    }
    return numbers;
}

/// Of several handles, one reads a flow until it calls `settle`; then others may read it.
void share_a_flow(bool as_frames, bool while_reading = false) {
    REQUIRE_NETWORK();
    if (as_frames && !takes_datagrams_in_frames()) {
        BOOST_TEST_MESSAGE("skipped: this kernel has no frames of datagrams");
        return;
    }
    constexpr int count = 80;
    tun_host a("wgt0", "10.9.0.1", {}, SOCK_DGRAM);
    wg::result<wg::os::tun> other = wg::status::not_supported;
    auto const share = [&] {
        other = a.tun.share();
        BOOST_REQUIRE(other);
        BOOST_TEST(other->has_frames());
    };
    if (!while_reading) share();
    sockaddr_in const where = ipv4_address("10.9.0.2", 5400);
    BOOST_REQUIRE(::connect(a.socket.get(), reinterpret_cast<sockaddr const*>(&where), sizeof where) == 0);
    std::array<int, count> all;
    std::iota(all.begin(), all.end(), 0);
    if (as_frames) {
        int const segment_bytes = sizeof(int);
        BOOST_REQUIRE(::setsockopt(a.socket.get(), IPPROTO_UDP, UDP_SEGMENT, &segment_bytes, sizeof segment_bytes) ==
                      0);
        for (std::size_t const from : {std::size_t{0}, all.size() / 2}) // the second waits for the end of the first
            BOOST_REQUIRE(::send(a.socket.get(), &all[from], sizeof all / 2, 0) == sizeof all / 2);
    } else {
        for (int const& n : all) BOOST_REQUIRE(::send(a.socket.get(), &n, sizeof n, 0) == sizeof n);
    }
    packet_buffers buffers(16, 1420);
    std::vector<int> in_order;
    while (while_reading && in_order.empty()) {
        in_order = numbers_read(a.tun, buffers);
        a.tun.settle();
    }
    if (while_reading) share();
    wg::os::tun *reads = &a.tun, *waits = &*other;
    for (int tries = 0; in_order.size() < count && tries < 100; ++tries) {
        auto const some = numbers_read(*reads, buffers);
        in_order.insert(in_order.end(), some.begin(), some.end());
        if (!some.empty()) BOOST_TEST(numbers_read(*waits, buffers).empty());
        reads->settle();
        // Only the handle that read a frame gets the rest of it.
        if (as_frames && in_order.size() % (count / 2) != 0) BOOST_TEST(numbers_read(*waits, buffers).empty());
        waits->settle();
        if (!as_frames) std::swap(reads, waits);
    }
    BOOST_TEST(in_order == std::vector<int>(all.begin(), all.end()), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(handles_of_an_interface_keep_the_order_of_a_flow) { share_a_flow(false); }
BOOST_AUTO_TEST_CASE(handles_of_an_interface_do_not_split_a_frame) { share_a_flow(true); }
BOOST_AUTO_TEST_CASE(a_frame_that_is_being_read_is_not_shared) { share_a_flow(true, true); }

BOOST_AUTO_TEST_CASE(handles_share_an_interface_with_one_queue_or_without_frames) {
    REQUIRE_NETWORK();
    for (wg::os::offloads const& wanted : {wg::os::offloads{.queues = false}, wg::os::offloads{.frames = false}}) {
        wg::os::tun first = made("wgt0", wanted);
        auto const second = first.share();
        BOOST_REQUIRE(second);
        BOOST_TEST(second->has_frames() == first.has_frames());
        BOOST_TEST(second->queue_count() == first.queue_count());
        BOOST_TEST(std::string(second->name()) == "wgt0");
        BOOST_TEST(second->fd() == first.fd());
    }
}

BOOST_AUTO_TEST_SUITE_END()
