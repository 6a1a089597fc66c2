// SPDX-License-Identifier: BSL-1.0
// Messages of routing sockets in the form of each system, and the monitor that reads them.
#include "kqueue_twin.hpp"
#include "wg/os/posix/network_monitor.hpp"

#include <boost/test/unit_test.hpp>

#include <deque>

BOOST_AUTO_TEST_SUITE(os_posix_routes)

namespace {

using namespace wg_tests::kqueue;
using wg::os::network_changes;

// Where the systems have the fields, by their headers: on 64-bit processors. tests/systems.py compares them.
constexpr posix::route_layout macos{};
constexpr posix::route_layout freebsd{.announcement = 0x11};
constexpr posix::route_layout openbsd{.announcement = 0xf,
                                      .overflow = 0x10,
                                      .route_flags = 16,
                                      .link_index = 6,
                                      .link_flags = 16,
                                      .link_mtu = 28,
                                      .announcement_index = 6,
                                      .announcement_what = 8};
constexpr posix::route_layout netbsd{.version = 4,
                                     .new_address = 0x16,
                                     .removed_address = 0x17,
                                     .link = 0x14,
                                     .announcement = 0x10,
                                     .route_flags = 8,
                                     .link_mtu = 24,
                                     .link_mtu_bytes = 8};
constexpr posix::route_layout const* systems[] = {&macos, &freebsd, &openbsd, &netbsd};

/// A message of a routing socket.
struct message {
    std::vector<wg::byte> data;

    message(posix::route_layout const& at, wg::byte type, std::size_t size = 160) : data(size) {
        put(0, static_cast<std::uint16_t>(size));
        data[2] = at.version;
        data[3] = type;
    }
    template <class Number> message& put(std::size_t at, Number number) {
        std::memcpy(data.data() + at, &number, sizeof number);
        return *this;
    }
};
message link_message(posix::route_layout const& at, std::uint16_t index, std::uint32_t flags, std::uint32_t mtu,
                     std::size_t size = 160) {
    message m(at, at.link, size);
    m.put(at.link_index, index).put(at.link_flags, flags);
    if (at.link_mtu_bytes == 8) m.put(at.link_mtu, std::uint64_t{mtu});
    else m.put(at.link_mtu, mtu);
    return m;
}
network_changes take(posix::route_layout const& at, std::initializer_list<message> all, std::uint32_t index = 7) {
    std::vector<wg::byte> read;
    for (message const& m : all) read.insert(read.end(), m.data.begin(), m.data.end());
    network_changes changes;
    posix::take_route_messages(at, read, index, changes);
    return changes;
}
bool is_none(network_changes const& c) { return !c.link && !c.up && c.mtu_bytes == 0 && !c.link_left && !c.routes; }

struct socket_state {
    bool opens = true;
    std::deque<std::pair<int, message>> reads; ///< (errno or 0, message)
};
socket_state routing;
struct route_twin {
    static constexpr posix::route_layout layout = freebsd;
    static int open() noexcept { return routing.opens ? ::open("/dev/null", O_RDONLY) : -1; }
    static ssize_t read(int, void* to, std::size_t size) noexcept {
        if (routing.reads.empty()) return errno = EAGAIN, -1;
        auto const [error, m] = routing.reads.front();
        routing.reads.pop_front();
        if (error != 0) return errno = error, -1;
        std::size_t const bytes = std::min(size, m.data.size());
        std::memcpy(to, m.data.data(), bytes);
        return static_cast<ssize_t>(bytes);
    }
};
using monitor = posix::basic_network_monitor<route_twin>;
struct interface {
    unsigned number;
    unsigned index() const noexcept { return number; }
};

} // namespace

BOOST_AUTO_TEST_CASE(reports_the_flags_and_the_mtu_of_the_interface) {
    for (auto const* const at : systems) {
        auto const c = take(*at, {link_message(*at, 7, 0x8843, 1420)});
        BOOST_TEST((c.link && c.up && c.mtu_bytes == 1420 && !c.link_left && !c.routes));
        auto const down = take(*at, {link_message(*at, 7, 0x8842, 1280)});
        BOOST_TEST((down.link && !down.up && down.mtu_bytes == 1280));
    }
}

BOOST_AUTO_TEST_CASE(ignores_other_interfaces) {
    for (auto const* const at : systems) {
        BOOST_TEST(is_none(take(*at, {link_message(*at, 8, 1, 1500)})));
        BOOST_TEST(is_none(take(*at, {link_message(*at, 0, 1, 1500)}, 0))); // none is watched
    }
}

BOOST_AUTO_TEST_CASE(the_last_of_several_messages_counts) {
    for (auto const* const at : systems) {
        auto const c =
            take(*at, {link_message(*at, 7, 1, 1500), link_message(*at, 9, 0, 9000), link_message(*at, 7, 0, 1400)});
        BOOST_TEST((c.link && !c.up && c.mtu_bytes == 1400));
    }
}

BOOST_AUTO_TEST_CASE(reports_changed_routes_and_addresses) {
    for (auto const* const at : systems) {
        for (wg::byte const type : {at->add, at->remove, at->change, at->new_address, at->removed_address}) {
            auto const c = take(*at, {message(*at, type)});
            BOOST_TEST((c.routes && !c.link));
        }
        BOOST_TEST(is_none(take(*at, {message(*at, 0x7)}))); // RTM_MISS
    }
}

BOOST_AUTO_TEST_CASE(ignores_routes_to_neighbours) {
    for (auto const* const at : systems) {
        BOOST_TEST(is_none(take(*at, {message(*at, at->add).put(at->route_flags, std::uint32_t{0x405})})));
        BOOST_TEST(take(*at, {message(*at, at->add).put(at->route_flags, std::uint32_t{0x3})}).routes);
    }
}

BOOST_AUTO_TEST_CASE(reports_that_the_interface_left) {
    for (auto const* const at : {&freebsd, &openbsd, &netbsd}) {
        auto const left = [&](std::uint16_t index, std::uint16_t what) {
            message m(*at, at->announcement, 26);
            m.put(at->announcement_index, index).put(at->announcement_what, what);
            return take(*at, {m});
        };
        BOOST_TEST((left(7, 1).link_left && !left(7, 1).link));
        BOOST_TEST(is_none(left(7, 0)));
        BOOST_TEST(is_none(left(8, 1)));
    }
    BOOST_TEST(is_none(take(macos, {message(macos, 0)}))); // macOS has no such message
}

BOOST_AUTO_TEST_CASE(messages_of_every_length_are_read_within_their_bounds) {
    for (auto const* const at : systems) {
        for (wg::byte const type : {at->add, at->new_address, at->link, at->announcement}) {
            for (std::size_t size = 4; size < 64; ++size) {
                // A copy of exactly this size: a read behind it is found by the address sanitizer.
                std::vector<wg::byte> exact(size);
                std::uint16_t const length = static_cast<std::uint16_t>(size);
                std::memcpy(exact.data(), &length, 2);
                exact[2] = at->version;
                exact[3] = type;
                std::uint16_t const index = 7;
                if (type == at->link && size >= at->link_index + 2)
                    std::memcpy(exact.data() + at->link_index, &index, 2);
                network_changes c;
                posix::take_route_messages(*at, exact, 7, c);
                bool const fields = size >= at->link_index + 2 && size >= at->link_flags + 4;
                if (type == at->link) BOOST_TEST(c.link == fields);
                if (type == at->add) BOOST_TEST(c.routes == (size >= at->route_flags + 4));
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(stops_at_impossible_lengths) {
    for (unsigned const length : {0u, 1u, 3u, 321u, 65535u}) {
        auto m = link_message(freebsd, 7, 1, 1500);
        m.put(0, static_cast<std::uint16_t>(length));
        BOOST_TEST(is_none(take(freebsd, {m, link_message(freebsd, 7, 1, 1500)}))); // no start of the next one is known
    }
    for (std::size_t rest = 1; rest < 4; ++rest) {
        message whole = link_message(freebsd, 7, 1, 1500);
        whole.data.resize(whole.data.size() + rest);
        BOOST_TEST(take(freebsd, {whole}).link);
    }
    BOOST_TEST(is_none(take(freebsd, {})));
}

BOOST_AUTO_TEST_CASE(messages_need_no_alignment) {
    for (std::size_t shift = 0; shift < 8; ++shift) {
        auto const m = link_message(openbsd, 7, 1, 1400, 168 + shift);
        auto const c = take(openbsd, {m, message(openbsd, openbsd.add, 60 + shift), m});
        BOOST_TEST((c.link && c.mtu_bytes == 1400 && c.routes));
    }
}

BOOST_AUTO_TEST_CASE(skips_messages_of_other_versions) {
    auto m = link_message(freebsd, 7, 1, 1500);
    m.data[2] = 3;
    BOOST_TEST(take(freebsd, {m, message(freebsd, freebsd.add)}).routes);
    BOOST_TEST(is_none(take(freebsd, {m})));
}

BOOST_AUTO_TEST_CASE(an_mtu_that_cannot_be_is_not_reported) {
    message m = link_message(netbsd, 7, 1, 0);
    m.put(netbsd.link_mtu, std::uint64_t{1} << 40);
    BOOST_TEST((take(netbsd, {m}).link && take(netbsd, {m}).mtu_bytes == 0));
}

BOOST_AUTO_TEST_CASE(after_dropped_messages_everything_counts_as_changed) {
    auto const c = take(openbsd, {message(openbsd, openbsd.overflow, 8)});
    BOOST_TEST((c.link && c.routes));
    BOOST_TEST(is_none(take(macos, {message(macos, 0x10, 8)})));
}

BOOST_AUTO_TEST_CASE(the_monitor_reads_all_messages) {
    routing = {};
    monitor m;
    BOOST_REQUIRE(static_cast<bool>(m));
    BOOST_TEST((m.fd() >= 0 && !m.reports_link()));
    BOOST_TEST(is_none(m.read()));
    m.watch(interface{7});
    BOOST_TEST(m.reports_link());
    routing.reads = {{0, link_message(freebsd, 7, 1, 1380)},
                     {EINTR, message(freebsd, 0)},
                     {0, message(freebsd, freebsd.removed_address)}};
    auto const c = m.read();
    BOOST_TEST((c.link && c.up && c.mtu_bytes == 1380 && c.routes));
    BOOST_TEST(routing.reads.empty());
    m.watch(interface{0});
    BOOST_TEST(!m.reports_link());
}

BOOST_AUTO_TEST_CASE(everything_counts_as_changed_when_messages_were_lost) {
    routing = {};
    monitor m;
    m.watch(interface{7});
    routing.reads = {{ENOBUFS, message(freebsd, 0)}, {0, link_message(freebsd, 7, 0, 1380)}};
    auto const c = m.read();
    BOOST_TEST((c.link && c.routes && c.mtu_bytes == 1380));
    routing.reads = {{EIO, message(freebsd, 0)}, {0, link_message(freebsd, 7, 0, 1380)}};
    BOOST_TEST(is_none(m.read())); // the next call goes on
    BOOST_TEST(m.read().link);
}

BOOST_AUTO_TEST_CASE(one_read_takes_a_bounded_number_of_messages) {
    routing = {};
    monitor m;
    routing.reads.assign(1000, {0, message(freebsd, freebsd.add)});
    BOOST_TEST(m.read().routes);
    BOOST_TEST(routing.reads.size() == 1000u - monitor::most_reads);
}

BOOST_AUTO_TEST_CASE(a_monitor_without_a_descriptor_says_so) {
    routing = {};
    routing.opens = false;
    monitor m;
    m.watch(interface{7});
    BOOST_TEST((!m && m.fd() == -1 && !m.reports_link() && is_none(m.read())));
}

BOOST_AUTO_TEST_SUITE_END()
