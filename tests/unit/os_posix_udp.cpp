// SPDX-License-Identifier: BSL-1.0
// The UDP socket of macOS and the BSDs: control messages in the form of each system, real datagrams over the loopback
// interface, and hosts that refuse.
#include "kqueue_twin.hpp"
#include "wg/os/posix/udp/udp.hpp"

#include <boost/test/unit_test.hpp>

#include <deque>
#include <functional>
#include <poll.h>

BOOST_AUTO_TEST_SUITE(os_posix_udp)

namespace {

using namespace wg_tests::kqueue;
using wg::datagram, wg::endpoint, wg::family, wg::ip_address, wg::status, posix::udp_message;

// The numbers of macOS and FreeBSD. Linux has the same levels of options.
constexpr posix::udp_numbers macos{true, 26, 26, 26, 27, 27, 3, 4, 61, 46, 35, 36, true};
constexpr posix::udp_numbers freebsd{false, 7, 7, 7, 68, 68, 3, 1, 36, 46, 57, 61};
constexpr posix::udp_numbers openbsd{false, 7, 7, 7, 0, 0, 0, 1, 36, 46, 57, 61};
// The numbers of Linux, for real datagrams.
constexpr posix::udp_numbers here{true,   IP_PKTINFO, IP_PKTINFO,       IP_PKTINFO,   IP_RECVTOS,      IP_TOS,
                                  IP_TOS, 1,          IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_RECVTCLASS, IPV6_TCLASS};

struct control_message {
    int level, type;
    std::vector<wg::byte> value;
    friend bool operator==(control_message const&, control_message const&) = default;
};

std::vector<control_message> written(msghdr& m) {
    std::vector<control_message> all;
    for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
        wg::byte const* const from = CMSG_DATA(c);
        all.push_back({c->cmsg_level, c->cmsg_type, {from, from + (c->cmsg_len - CMSG_LEN(0))}});
    }
    return all;
}
template <posix::udp_numbers const& Numbers> std::vector<control_message> written_for(datagram const& d) {
    posix::basic_control<Numbers> control;
    msghdr m{};
    control.write(m, d);
    return written(m);
}
/// Reads control messages as a received datagram has them.
template <posix::udp_numbers const& Numbers> datagram read_of(std::vector<control_message> const& all) {
    alignas(cmsghdr) wg::byte room[256] = {};
    std::size_t used = 0;
    for (control_message const& one : all) {
        auto* const c = reinterpret_cast<cmsghdr*>(room + used);
        c->cmsg_level = one.level;
        c->cmsg_type = one.type;
        c->cmsg_len = CMSG_LEN(one.value.size());
        std::copy(one.value.begin(), one.value.end(), CMSG_DATA(c));
        used += CMSG_SPACE(one.value.size());
    }
    msghdr m{};
    m.msg_control = room;
    m.msg_controllen = used;
    datagram d;
    d.tos = 77;
    d.where.local = {ip_address::v4(9, 9, 9, 9), 9};
    posix::basic_control<Numbers>::read(m, d);
    return d;
}

ip_address const four = ip_address::v4(192, 0, 2, 1);
ip_address const six = ip_address{{0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5}, family::v6};

datagram to(ip_address const& remote, ip_address const& local, std::uint32_t index, wg::byte tos) {
    datagram d;
    d.where = {{remote, 7, 0}, {local, index}};
    d.tos = tos;
    return d;
}

/// Calls that use real sockets, except where a test chooses another answer.
struct net_state {
    std::map<int, int> refused_families;                ///< domain: errno
    std::map<std::pair<int, int>, int> refused_options; ///< (level, name): errno
    std::vector<std::tuple<int, int, int>> options;     ///< (level, name, value)
    std::deque<int> bind_errors;                        ///< of the next binds; 0: succeeds
    std::deque<int> send_errors;                        ///< of the next sends; 0: succeeds
    std::deque<int> receive_errors;                     ///< of the next receives
    bool has_many = true;
    int most_at_once = 64, sends = 0, many_sends = 0, pauses = 0, waits = 0;
    int mark_error = 0, bind_interface_error = 0;
    bool bound_keep_marks = false; ///< as on OpenBSD
    std::vector<std::uint32_t> marks;
    std::map<std::string, unsigned> interfaces{{"eth0", 2}};
    std::vector<std::pair<bool, unsigned>> bound; ///< (IPv4, index)
    std::int64_t time = 0;
    int probes = 0, connect_error = 0;
    std::vector<std::pair<ip_address, unsigned>> addresses; ///< of interfaces
    std::vector<std::vector<control_message>> controls;     ///< of each message sent
};
net_state net;

struct udp_twin : calls {
    static constexpr posix::udp_numbers const& numbers = here;
    [[maybe_unused]] static constexpr bool can_bind_interface = true;

    static int socket(int domain) noexcept {
        if (auto const refused = net.refused_families.find(domain); refused != net.refused_families.end())
            return errno = refused->second, -1;
        return ::socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    static int bind(int fd, sockaddr const* address, socklen_t size) noexcept {
        if (!net.bind_errors.empty()) {
            int const error = net.bind_errors.front();
            net.bind_errors.pop_front();
            if (error != 0) return errno = error, -1;
        }
        return ::bind(fd, address, size);
    }
    static int name(int fd, sockaddr* address, socklen_t* size) noexcept { return ::getsockname(fd, address, size); }
    static int set_option(int fd, int level, int option, int value) noexcept {
        net.options.emplace_back(level, option, value);
        if (auto const r = net.refused_options.find({level, option}); r != net.refused_options.end())
            return errno = r->second, -1;
        if (level == SOL_SOCKET && value > 1 << 20) return errno = ENOBUFS, -1; // as above kern.ipc.maxsockbuf
        return ::setsockopt(fd, level, option, &value, sizeof value);
    }
    static bool refuses_send() noexcept {
        if (net.send_errors.empty()) return false;
        errno = net.send_errors.front();
        net.send_errors.pop_front();
        return errno != 0;
    }
    static ssize_t send(int fd, msghdr const& m) noexcept {
        ++net.sends;
        net.controls.push_back(written(const_cast<msghdr&>(m)));
        return refuses_send() ? -1 : ::sendmsg(fd, &m, MSG_DONTWAIT);
    }
    static ssize_t receive(int fd, msghdr& m) noexcept {
        if (!net.receive_errors.empty()) {
            errno = net.receive_errors.front();
            net.receive_errors.pop_front();
            return -1;
        }
        return ::recvmsg(fd, &m, MSG_DONTWAIT);
    }
    static int send_many(int fd, std::span<udp_message> messages) noexcept {
        if (!net.has_many) return errno = ENOSYS, -1;
        ++net.many_sends;
        int sent = 0;
        for (udp_message& m :
             messages.first(std::min<std::size_t>(messages.size(), static_cast<std::size_t>(net.most_at_once)))) {
            if (send(fd, m.header) < 0) return sent > 0 ? sent : -1;
            ++sent;
        }
        return sent;
    }
    static int receive_many(int fd, std::span<udp_message> messages) noexcept {
        if (!net.has_many) return errno = ENOSYS, -1;
        int got = 0;
        for (udp_message& m : messages) {
            ssize_t const size = receive(fd, m.header);
            if (size < 0) return got > 0 ? got : -1;
            m.length = static_cast<std::size_t>(size);
            ++got;
        }
        return got;
    }
    static int connect(int fd, sockaddr const* address, socklen_t size) noexcept {
        ++net.probes;
        return net.connect_error != 0 ? (errno = net.connect_error, -1) : ::connect(fd, address, size);
    }
    static unsigned interface_of(ip_address const& address) noexcept {
        for (auto const& [has, index] : net.addresses)
            if (has == address) return index;
        return 0;
    }
    static unsigned interface_index(char const* interface_name) noexcept { return net.interfaces[interface_name]; }
    static int bind_interface(int, bool is_v4, unsigned index) noexcept {
        if (net.bind_interface_error == 0) net.bound.emplace_back(is_v4, index);
        return net.bind_interface_error;
    }
    static int set_mark(int fd, std::uint32_t mark) noexcept {
        if (net.mark_error != 0) return net.mark_error;
        wg::os::socket_address own{};
        socklen_t size = sizeof own;
        if (net.bound_keep_marks && ::getsockname(fd, &own.any, &size) == 0 && wg::os::read_address(own).port != 0)
            return EBUSY;
        net.marks.push_back(mark);
        return 0;
    }
    static int can_mark(std::uint32_t) noexcept { return net.mark_error; }
    static bool wait_writable(int, wg::duration) noexcept {
        ++net.waits;
        net.time += 2'000'000;
        return true;
    }
    static bool pause() noexcept {
        ++net.pauses;
        net.time += 1'000'000;
        return true;
    }
    static wg::instant now() noexcept { return {net.time + 1}; }
};
using udp = posix::basic_udp<udp_twin>;
static_assert(wg::udp_socket<udp> && wg::udp_socket_with_share<udp> && wg::udp_socket_with_set_fwmark<udp>);

struct fixture {
    fixture() { net = {}; }
    fresh start{};
};

/// Datagrams with text or room.
struct datagrams {
    std::vector<std::string> memory;
    std::vector<datagram> all;
    void add(endpoint const& remote, std::string text) {
        memory.push_back(std::move(text));
        datagram d;
        d.where.remote = remote;
        all.push_back(d);
        for (std::size_t i = 0; i < memory.size(); ++i)
            static_cast<wg::packet&>(all[i]) =
                wg::packet({reinterpret_cast<wg::byte*>(memory[i].data()), memory[i].size()}, 0, memory[i].size());
    }
    static datagrams room(std::size_t count, std::size_t size = 2000) {
        datagrams made;
        for (std::size_t i = 0; i < count; ++i) made.add({}, std::string(size, '\0'));
        for (datagram& d : made.all) d.length = 0;
        return made;
    }
    std::string text(std::size_t i) const {
        auto const view = all[i].view();
        return {view.begin(), view.end()};
    }
};
endpoint loopback4(std::uint16_t port) { return {ip_address::v4(127, 0, 0, 1), port, 0}; }
endpoint loopback6(std::uint16_t port) {
    ip_address address{{}, family::v6};
    address.octets[15] = 1;
    return {address, port, 0};
}
bool is_readable(int fd) {
    pollfd p{fd, POLLIN, 0};
    return ::poll(&p, 1, 1000) == 1;
}

} // namespace

BOOST_AUTO_TEST_CASE(writes_the_source_in_the_form_of_each_system) {
    auto const d4 = to(four, ip_address::v4(10, 1, 2, 3), 6, 0);
    auto const mac = written_for<macos>(d4);
    BOOST_REQUIRE(mac.size() == 1u);
    BOOST_TEST((mac[0].level == 0 && mac[0].type == 26 && mac[0].value.size() == 12));
    BOOST_TEST((mac[0].value == std::vector<wg::byte>{0, 0, 0, 0, 10, 1, 2, 3, 0, 0, 0, 0}));
    BOOST_TEST((written_for<freebsd>(d4) == std::vector<control_message>{{0, 7, {10, 1, 2, 3}}}));
    auto const d6 = to(six, six, 5, 0);
    std::vector<wg::byte> info(six.octets.begin(), six.octets.end());
    info.insert(info.end(), {0, 0, 0, 0}); // the routes choose the interface
    BOOST_TEST((written_for<macos>(d6) == std::vector<control_message>{{41, 46, info}}));
    BOOST_TEST((written_for<freebsd>(d6) == std::vector<control_message>{{41, 46, info}}));
    ip_address link_local = six;
    link_local.octets[0] = 0xfe;
    link_local.octets[1] = 0x80;
    info[0] = 0xfe;
    info[1] = 0x80;
    info[16] = 5;
    BOOST_TEST((written_for<macos>(to(six, link_local, 5, 0)) == std::vector<control_message>{{41, 46, info}}));
}

BOOST_AUTO_TEST_CASE(writes_the_tos_in_the_form_of_each_system) {
    auto const d4 = to(four, {}, 0, 3), d6 = to(six, {}, 0, 3);
    BOOST_TEST((written_for<macos>(d4) == std::vector<control_message>{{0, 3, {3, 0, 0, 0}}}));
    BOOST_TEST((written_for<freebsd>(d4) == std::vector<control_message>{{0, 3, {3}}}));
    BOOST_TEST(written_for<openbsd>(d4).empty()); // the system takes none
    BOOST_TEST((written_for<openbsd>(d6) == std::vector<control_message>{{41, 61, {3, 0, 0, 0}}}));
    BOOST_TEST((written_for<macos>(d6) == std::vector<control_message>{{41, 36, {3, 0, 0, 0}}}));
}

BOOST_AUTO_TEST_CASE(writes_all_control_messages_of_a_datagram) {
    BOOST_TEST(written_for<macos>(to(four, four, 1, 1)).size() == 2u);
    BOOST_TEST(written_for<macos>(to(six, six, 1, 1)).size() == 2u);
    BOOST_TEST(written_for<macos>(to(four, six, 1, 0)).empty()); // a source of the other family
    BOOST_TEST(written_for<macos>(to(four, {}, 0, 0)).empty());
}

BOOST_AUTO_TEST_CASE(reads_the_local_address_in_the_form_of_each_system) {
    auto const mac = read_of<macos>({{0, 26, {4, 0, 0, 0, 0, 0, 0, 0, 10, 1, 2, 3}}});
    BOOST_TEST((mac.where.local == wg::local_source{ip_address::v4(10, 1, 2, 3), 4}));
    BOOST_TEST(mac.tos == 0);
    for (wg::byte const first : {wg::byte{0}, wg::byte{224}, wg::byte{255}}) // no address of a host
        BOOST_TEST(
            (read_of<macos>({{0, 26, {4, 0, 0, 0, 0, 0, 0, 0, first, 1, 2, 3}}}).where.local == wg::local_source{}));
    auto const bsd = read_of<freebsd>({{0, 7, {10, 1, 2, 3}}});
    BOOST_TEST((bsd.where.local == wg::local_source{ip_address::v4(10, 1, 2, 3), 0}));
    std::vector<wg::byte> info(six.octets.begin(), six.octets.end());
    info.insert(info.end(), {8, 0, 0, 0});
    BOOST_TEST((read_of<freebsd>({{41, 46, info}}).where.local == wg::local_source{six, 8}));
    info[0] = 0xff; // a multicast address
    BOOST_TEST((read_of<freebsd>({{41, 46, info}}).where.local == wg::local_source{}));
}

BOOST_AUTO_TEST_CASE(reads_the_tos_in_the_form_of_each_system) {
    BOOST_TEST(read_of<macos>({{0, 27, {1}}}).tos == 1);
    BOOST_TEST(read_of<freebsd>({{0, 68, {2}}}).tos == 2);
    BOOST_TEST(read_of<freebsd>({{41, 61, {3, 0, 0, 0}}}).tos == 3);
    BOOST_TEST(read_of<macos>({{41, 36, {3, 0, 0, 0}}, {0, 99, {1}}}).tos == 3);
}

BOOST_AUTO_TEST_CASE(ignores_control_messages_that_are_cut_or_unknown) {
    for (std::size_t size = 0; size < 12; ++size) {
        auto const d = read_of<macos>({{0, 26, std::vector<wg::byte>(size, 1)}});
        BOOST_TEST((d.where.local == wg::local_source{}));
    }
    BOOST_TEST(read_of<macos>({{41, 36, {1, 0, 0}}}).tos == 0);
    BOOST_TEST((read_of<openbsd>({{0, 0, {1, 2, 3, 4}}}).where.local == wg::local_source{})); // 0 stands for "none"
    BOOST_TEST((read_of<macos>({{1, 26, std::vector<wg::byte>(12, 1)}}).where.local == wg::local_source{}));
}

BOOST_AUTO_TEST_CASE(socket_addresses_are_written_and_read_alike) {
    endpoint link_local{six, 51820, 3};
    for (endpoint const& e : {endpoint{four, 51820, 0}, link_local}) {
        wg::os::socket_address address;
        BOOST_TEST(wg::os::spell(e, address) == (e.address.kind == family::v4 ? sizeof address.v4 : sizeof address.v6));
        BOOST_TEST((wg::os::read_address(address) == e));
    }
    wg::os::socket_address other{};
    other.any.sa_family = AF_UNIX;
    BOOST_TEST(!wg::os::read_address(other));
}

BOOST_FIXTURE_TEST_CASE(datagrams_pass_over_the_loopback_interface, fixture) {
    for (bool const has_many : {true, false}) {
        net = {};
        net.has_many = has_many;
        udp a, b;
        BOOST_REQUIRE(static_cast<bool>(a.open(0)));
        BOOST_REQUIRE(static_cast<bool>(b.open(0)));
        datagrams out;
        for (int i = 0; i < 70; ++i) out.add(loopback4(b.port()), "four " + std::to_string(i));
        for (datagram& d : out.all) d.tos = 2;
        BOOST_TEST(a.send(out.all) == 70u);
        BOOST_TEST(is_readable(b.fd()));
        auto in = datagrams::room(100);
        auto const count = b.receive(in.all);
        BOOST_REQUIRE(static_cast<bool>(count));
        BOOST_REQUIRE(*count == 70u);
        BOOST_TEST((in.text(0) == "four 0" && in.text(69) == "four 69"));
        BOOST_TEST((in.all[0].where.remote == loopback4(a.port()) && in.all[0].tos == 2));
        BOOST_TEST((in.all[0].where.local.address == ip_address::v4(127, 0, 0, 1)));
        BOOST_TEST(in.all[0].where.local.interface_index != 0u);
        // The answer leaves from the address that the datagram came to.
        datagrams back;
        back.add(in.all[0].where.remote, "answer");
        back.all[0].where.local = in.all[0].where.local;
        BOOST_TEST(b.send(back.all) == 1u);
        BOOST_TEST(is_readable(a.fd()));
        BOOST_REQUIRE(*a.receive(in.all) == 1u);
        BOOST_TEST(in.text(0) == "answer");
        BOOST_TEST(*a.receive(in.all) == 0u);
    }
}

BOOST_FIXTURE_TEST_CASE(both_families_pass_and_keep_their_order, fixture) {
    udp a, b;
    BOOST_REQUIRE(static_cast<bool>(a.open(0)));
    BOOST_REQUIRE(static_cast<bool>(b.open(0)));
    datagrams out;
    out.add(loopback6(b.port()), "six");
    out.add(loopback4(b.port()), "four");
    endpoint mapped = loopback4(b.port());
    mapped.address = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}, family::v6};
    out.add(mapped, "mapped");
    if (a.send(out.all) != 3) return; // this host has no IPv6
    auto in = datagrams::room(10);
    std::size_t got = 0;
    while (got < 3 && is_readable(b.fd())) got += *b.receive(std::span(in.all).subspan(got));
    BOOST_REQUIRE(got == 3u);
    std::multiset<std::string> const texts{in.text(0), in.text(1), in.text(2)};
    BOOST_TEST((texts == std::multiset<std::string>{"four", "mapped", "six"}));
}

BOOST_FIXTURE_TEST_CASE(a_datagram_that_is_too_long_for_its_room_has_length_0, fixture) {
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    datagrams out;
    out.add(loopback4(b.port()), std::string(100, 'x'));
    BOOST_TEST(a.send(out.all) == 1u);
    BOOST_TEST(is_readable(b.fd()));
    auto in = datagrams::room(1, 50);
    BOOST_TEST(*b.receive(in.all) == 1u);
    BOOST_TEST(in.all[0].length == 0u);
}

BOOST_FIXTURE_TEST_CASE(halves_buffers_until_the_system_takes_them, fixture) {
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(0)));
    std::vector<int> sizes;
    for (auto const& [level, name, value] : net.options)
        if (level == SOL_SOCKET && name == SO_RCVBUF) sizes.push_back(value);
    BOOST_TEST((sizes.size() >= 4 && sizes[0] == 7 << 20 && sizes[1] == 7 << 19 && sizes[2] == 7 << 18));
    BOOST_TEST(sizes[3] == 7 << 17); // taken
}

BOOST_FIXTURE_TEST_CASE(works_where_optional_options_are_refused, fixture) {
    for (auto const& [level, name] : {std::pair(IPPROTO_IP, IP_PKTINFO),
                                      {IPPROTO_IP, IP_RECVTOS},
                                      {IPPROTO_IPV6, IPV6_RECVPKTINFO},
                                      {IPPROTO_IPV6, IPV6_RECVTCLASS}})
        net.refused_options[{level, name}] = ENOPROTOOPT;
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    datagrams out;
    out.add(loopback4(b.port()), "x");
    BOOST_TEST(a.send(out.all) == 1u);
    BOOST_TEST(is_readable(b.fd()));
    auto in = datagrams::room(1);
    BOOST_TEST(*b.receive(in.all) == 1u);
    BOOST_TEST((in.all[0].where.local == wg::local_source{}));
    net.refused_options[{IPPROTO_IPV6, IPV6_V6ONLY}] = EINVAL; // not optional
    BOOST_TEST((a.open(0).why() == status::invalid));
}

BOOST_FIXTURE_TEST_CASE(opens_the_family_that_the_host_has, fixture) {
    net.refused_families = {{AF_INET6, EAFNOSUPPORT}};
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(0)));
    datagrams out;
    out.add(loopback6(9), "six");
    out.add({}, "nowhere");
    BOOST_TEST(socket.send(out.all) == 0u);
    BOOST_TEST((out.all[0].why == status::not_supported && out.all[0].error == EAFNOSUPPORT));
    BOOST_TEST((out.all[1].why == status::no_endpoint));
    net.refused_families[AF_INET] = EPROTONOSUPPORT;
    BOOST_TEST((socket.open(0).why() == status::not_supported));
}

BOOST_FIXTURE_TEST_CASE(a_failed_open_changes_nothing, fixture) {
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(0)));
    std::uint16_t const port = socket.port();
    for (auto const& [error, why] : {std::pair(EADDRINUSE, status::address_in_use),
                                     {EACCES, status::no_permission},
                                     {EADDRNOTAVAIL, status::io_error}}) {
        net.bind_errors = {error};
        BOOST_TEST((socket.open(1).why() == why));
        BOOST_TEST((socket.error() == error && socket.port() == port));
    }
    net.bind_errors = {0, EADDRNOTAVAIL}; // IPv6 is switched off
    BOOST_TEST(static_cast<bool>(socket.open(0)));
    net.bind_errors = {0, EADDRINUSE, 0, EADDRINUSE}; // another free port is tried
    BOOST_TEST(static_cast<bool>(socket.open(0)));
    net.bind_errors = std::deque<int>(1000, EADDRINUSE);
    BOOST_TEST((socket.open(0).why() == status::address_in_use));
}

BOOST_FIXTURE_TEST_CASE(binds_to_an_interface_and_follows_it, fixture) {
    udp socket;
    socket.set_bind_interface("eth0");
    BOOST_REQUIRE(static_cast<bool>(socket.open(0)));
    BOOST_TEST((net.bound.front() == std::pair(true, 2u)));
    net.bound.clear();
    socket.refresh_bind();
    BOOST_TEST(net.bound.empty());
    net.interfaces["eth0"] = 5;
    net.bind_interface_error = ENXIO;
    socket.refresh_bind(); // refused; the next call tries again
    net.bind_interface_error = 0;
    socket.refresh_bind();
    BOOST_TEST((!net.bound.empty() && net.bound.front().second == 5));
    net.interfaces.clear();
    BOOST_TEST((socket.open(0).why() == status::io_error && socket.error() == ENXIO));
    net.interfaces["eth0"] = 2;
    net.bind_interface_error = EOPNOTSUPP; // a BSD
    BOOST_TEST((socket.open(0).why() == status::not_supported));
}

BOOST_FIXTURE_TEST_CASE(sets_the_mark_of_all_sockets_or_of_none, fixture) {
    udp socket;
    BOOST_TEST((socket.set_fwmark(0) == status::ok && net.marks.empty()));
    BOOST_TEST((socket.set_fwmark(7) == status::ok)); // closed: sockets that are opened later get it
    BOOST_REQUIRE(static_cast<bool>(socket.open(0)));
    BOOST_TEST((!net.marks.empty() && net.marks.front() == 7));
    net.mark_error = EOPNOTSUPP;
    BOOST_TEST((socket.set_fwmark(8) == status::not_supported));
    BOOST_TEST((socket.open(0).why() == status::not_supported)); // a new socket would lack the mark
    net.mark_error = 0;
    net.marks.clear();
    BOOST_TEST(static_cast<bool>(socket.open(0)));
    BOOST_TEST(net.marks.front() == 7u);
}

BOOST_FIXTURE_TEST_CASE(takes_away_a_source_or_a_tos_that_the_host_refuses, fixture) {
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    for (int const error : {EADDRNOTAVAIL, EHOSTUNREACH, ENETUNREACH, EINVAL, ENXIO}) {
        net.send_errors = {error};
        datagrams out;
        out.add(loopback4(b.port()), "x");
        out.all[0].where.local = {ip_address::v4(127, 0, 0, 1), 0};
        BOOST_TEST(a.send(out.all) == 1u);
        BOOST_TEST((out.all[0].where.local == wg::local_source{} && out.all[0].why == status::ok));
    }
    net.send_errors = {EINVAL, EINVAL};
    datagrams out;
    out.add(loopback4(b.port()), "x");
    out.all[0].where.local = {ip_address::v4(127, 0, 0, 1), 0};
    out.all[0].tos = 1;
    BOOST_TEST(a.send(out.all) == 1u);
    BOOST_TEST((out.all[0].where.local == wg::local_source{} && out.all[0].tos == 0));
    BOOST_TEST(net.controls.back().empty());
    net.send_errors = {EHOSTUNREACH};
    BOOST_TEST(a.send(out.all) == 0u); // nothing is left to take away
    BOOST_TEST((out.all[0].why == status::io_error && out.all[0].error == EHOSTUNREACH));
}

BOOST_FIXTURE_TEST_CASE(keeps_a_source_only_if_the_routes_lead_through_its_interface, fixture) {
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    ip_address const lo = ip_address::v4(127, 0, 0, 1), other = ip_address::v4(127, 0, 0, 9);
    auto const kept = [&](ip_address const& source, std::uint32_t arrived = 0) {
        datagrams out;
        out.add(loopback4(b.port()), "x");
        out.all[0].where.local = {source, arrived};
        BOOST_TEST(a.send(out.all) == 1u);
        return out.all[0].where.local.address == source;
    };
    BOOST_TEST((kept(lo) && net.probes == 1)); // the routes choose the same address
    BOOST_TEST((kept(lo) && net.probes == 1)); // remembered
    net.addresses = {{lo, 1}, {other, 2}};
    BOOST_TEST(kept(other, 1)); // arrives where the routes lead to, whatever interface has the address
    BOOST_TEST(!kept(other, 2));
    net.addresses = {{lo, 2}, {other, 2}};
    BOOST_TEST(!kept(other, 2)); // remembered
    a.routes_changed();
    BOOST_TEST(kept(other, 2));
    BOOST_TEST(kept(other)); // a system that does not tell the interface
    net.addresses = {{lo, 1}};
    a.routes_changed();
    BOOST_TEST(!kept(other)); // the address is gone
    net.connect_error = ENETUNREACH;
    a.routes_changed();
    BOOST_TEST(kept(other)); // the routes cannot be asked
}

BOOST_FIXTURE_TEST_CASE(a_flood_of_new_destinations_asks_the_routes_a_limited_number_of_times, fixture) {
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    auto const begin = posix::clock_calls<CLOCK_MONOTONIC>::now();
    for (int i = 0; i < 6000; ++i) {
        datagrams out;
        out.add({ip_address::v4(127, 1, static_cast<wg::byte>(i >> 8), static_cast<wg::byte>(i)), b.port(), 0}, "x");
        out.all[0].where.local = {ip_address::v4(127, 0, 0, 1), 0};
        (void)a.send(out.all);
    }
    auto const seconds = (posix::clock_calls<CLOCK_MONOTONIC>::now() - begin).nanoseconds / 1'000'000'000 + 1;
    BOOST_TEST(net.probes >= 2000);
    BOOST_TEST(net.probes <= 2000 * (seconds + 1));
}

BOOST_FIXTURE_TEST_CASE(goes_on_behind_a_datagram_that_is_refused, fixture) {
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    datagrams out;
    for (int i = 0; i < 4; ++i) out.add(loopback4(b.port()), std::to_string(i));
    net.send_errors = {0, EACCES, EACCES}; // the second one, in the batch and again at the front of the rest
    BOOST_TEST(a.send(out.all) == 3u);
    BOOST_TEST((out.all[0].why == status::ok && out.all[1].why == status::no_permission));
    BOOST_TEST((out.all[1].error == EACCES && out.all[2].why == status::ok && out.all[3].why == status::ok));
    net.most_at_once = 1; // the kernel takes less than a batch
    BOOST_TEST(a.send(out.all) == 4u);
}

BOOST_FIXTURE_TEST_CASE(waits_for_room_for_a_bounded_time, fixture) {
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    datagrams out;
    out.add(loopback4(b.port()), "x");
    net.send_errors = {EAGAIN, EAGAIN};
    BOOST_TEST(a.send(out.all) == 1u);
    BOOST_TEST(net.waits == 2);
    net.send_errors = {ENOBUFS};
    BOOST_TEST(a.send(out.all) == 1u);
    BOOST_TEST(net.pauses == 1);
    for (int const error : {EAGAIN, ENOBUFS}) {
        net.send_errors = std::deque<int>(1000, error);
        std::int64_t const begun = net.time;
        BOOST_TEST(a.send(out.all) == 0u);
        BOOST_TEST((out.all[0].why == status::would_block));
        BOOST_TEST(net.time - begun <= 7'000'000);
    }
    a.set_send_patience({});
    for (int const error : {EAGAIN, ENOBUFS}) {
        net.send_errors = {error};
        net.waits = net.pauses = 0;
        BOOST_TEST(a.send(out.all) == 0u);
        BOOST_TEST((out.all[0].why == status::would_block));
        BOOST_TEST((net.waits == 0 && net.pauses == 0));
    }
}

BOOST_FIXTURE_TEST_CASE(falls_back_to_single_calls, fixture) {
    net.has_many = false;
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    datagrams out;
    for (int i = 0; i < 3; ++i) out.add(loopback4(b.port()), "x");
    BOOST_TEST(a.send(out.all) == 3u);
    BOOST_TEST((net.sends == 3 && net.many_sends == 0));
    net.has_many = true;
    udp without({.batches = false});
    BOOST_REQUIRE(static_cast<bool>(without.open(0)));
    BOOST_TEST(without.send(out.all) == 3u);
    BOOST_TEST(net.many_sends == 0);
}

BOOST_FIXTURE_TEST_CASE(errors_of_earlier_datagrams_do_not_end_the_socket, fixture) {
    udp a, b;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    datagrams out;
    out.add(loopback4(b.port()), "x");
    BOOST_TEST(a.send(out.all) == 1u);
    BOOST_TEST(is_readable(b.fd()));
    auto in = datagrams::room(4);
    net.receive_errors = {ECONNREFUSED, EHOSTUNREACH};
    BOOST_TEST(*b.receive(in.all) == 1u);
    BOOST_TEST(a.send(out.all) == 1u);
    BOOST_TEST(is_readable(b.fd()));
    net.receive_errors = {EBADF};
    BOOST_TEST((b.receive(in.all).why() == status::io_error));
    net.receive_errors = std::deque<int>(1000, ECONNREFUSED);
    BOOST_TEST(*b.receive(in.all) == 0u); // a bounded number of them in one call
}

BOOST_FIXTURE_TEST_CASE(objects_share_sockets, fixture) {
    udp a, b, other;
    BOOST_REQUIRE((a.open(0) && b.open(0)));
    BOOST_REQUIRE(other.share(a));
    datagrams out;
    out.add(loopback4(b.port()), "x");
    BOOST_TEST(other.send(out.all) == 1u);
    BOOST_TEST(is_readable(b.fd()));
    auto in = datagrams::room(4);
    BOOST_TEST(*b.receive(in.all) == 1u);
    BOOST_TEST((in.all[0].where.remote == loopback4(a.port())));
    out.all[0].where.remote = loopback4(a.port());
    BOOST_TEST(b.send(out.all) == 1u);
    BOOST_TEST(is_readable(a.fd()));
    BOOST_TEST(*other.receive(in.all) == 1u);
    other.close();
    BOOST_TEST(*other.receive(in.all) == 0u);
    BOOST_TEST(other.send(out.all) == 0u);
}

BOOST_FIXTURE_TEST_CASE(a_socket_without_a_queue_cannot_be_opened, fixture) {
    state.create_errno = EMFILE;
    udp socket;
    BOOST_TEST((!socket && socket.fd() == -1 && socket.open(0).why() == status::io_error));
}

BOOST_FIXTURE_TEST_CASE(sockets_that_cannot_change_their_mark_are_opened_again_at_their_port, fixture) {
    net.bound_keep_marks = true;
    udp socket;
    auto const port = socket.open(0);
    BOOST_REQUIRE(port);
    net.marks.clear();
    BOOST_TEST((socket.set_fwmark(5) == status::ok));
    BOOST_TEST(socket.port() == *port);
    BOOST_TEST((!net.marks.empty() && std::ranges::count(net.marks, 5u) == std::ssize(net.marks)));
    datagrams in;
    in.add({ip_address::v4(127, 0, 0, 1), *port, 0}, "still there");
    BOOST_TEST(socket.send(in.all) == 1u);

    for (std::size_t i = 0; i < 100; ++i) net.bind_errors.push_back(i == 0 ? EADDRINUSE : 0); // the new socket's
    BOOST_TEST((socket.set_fwmark(6) == status::address_in_use));
    BOOST_TEST(socket.port() == *port); // with the mark that it had
    BOOST_TEST((socket.set_fwmark(5) == status::ok));
    socket.close();
    BOOST_TEST((socket.set_fwmark(7) == status::ok)); // nothing is open
    BOOST_TEST(socket.port() == 0);
}

namespace {

constexpr posix::udp_numbers without_interface{false,           IP_PKTINFO, IP_PKTINFO, IP_PKTINFO,       IP_RECVTOS,
                                               IP_TOS,          IP_TOS,     1,          IPV6_RECVPKTINFO, IPV6_PKTINFO,
                                               IPV6_RECVTCLASS, IPV6_TCLASS};
struct freebsd_twin : udp_twin {
    static constexpr posix::udp_numbers const& numbers = without_interface;
};

} // namespace

BOOST_FIXTURE_TEST_CASE(a_socket_that_is_bound_to_an_address_sends_without_a_source, fixture) {
    posix::basic_udp<freebsd_twin> bound, shared;
    ip_address const own = ip_address::v4(127, 0, 0, 1);
    bound.set_bind_address({own, 0, 0});
    auto const port = bound.open(0);
    BOOST_REQUIRE((port && shared.share(bound)));
    for (auto* socket : {&bound, &shared}) {
        datagrams out;
        out.add({own, *port, 0}, "x");
        out.all[0].where.local = {own, 0}; // as it has received one
        net.controls.clear();
        BOOST_TEST(socket->send(out.all) == 1u);
        BOOST_REQUIRE(net.controls.size() == 1u); // FreeBSD refuses a source here, and a second try would be needed
        BOOST_TEST(net.controls[0].empty());
    }
}

BOOST_FIXTURE_TEST_CASE(messages_that_a_call_for_several_refuses_leave_one_by_one, fixture) {
    udp receiver;
    auto const port = receiver.open(0);
    BOOST_REQUIRE(port);
    unique_fd const fd(udp_twin::socket(AF_INET));
    wg::os::socket_address to{};
    socklen_t const size = wg::os::spell({ip_address::v4(127, 0, 0, 1), *port, 0}, to);
    char text[] = "x";
    iovec piece{text, 1};
    udp_message messages[5]{};
    for (udp_message& m : messages) {
        m.header.msg_name = &to;
        m.header.msg_namelen = size;
        m.header.msg_iov = &piece;
        m.header.msg_iovlen = 1;
    }
    BOOST_TEST(posix::send_each<udp_twin>(fd.get(), messages) == 5);
    BOOST_TEST(net.sends == 5);
    net.send_errors = {0, 0, EAGAIN};
    BOOST_TEST(posix::send_each<udp_twin>(fd.get(), messages) == 2);
    net.send_errors = {EINVAL};
    BOOST_TEST(posix::send_each<udp_twin>(fd.get(), messages) == -1);
    BOOST_TEST(errno == EINVAL);
}

BOOST_AUTO_TEST_SUITE_END()
