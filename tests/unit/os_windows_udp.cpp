// SPDX-License-Identifier: BSL-1.0
// The UDP sockets of os/windows with a Winsock of the test: options, control messages, joined messages, refusals.
#include "wg/os/windows/udp/udp.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_windows_udp)

namespace {

namespace windows = wg::os::windows;
namespace api = wg::os::windows::api_detail;
using wg::status;

constexpr std::uintptr_t v4 = 1000, v6 = 2000; ///< the sockets of the first `open`; the later ones have higher numbers
constexpr int would_block = 10035, in_use = 10048, invalid = 10022;

struct received_message {
    std::string data;
    wg::endpoint from{};
    std::vector<wg::byte> control{};
    bool is_cut = false;
    int error = 0; ///< instead of a message
};
struct sent_message {
    std::uintptr_t socket;
    wg::endpoint to;
    std::vector<std::string> pieces;
    std::vector<wg::byte> control;
};

struct winsock {
    int started = 0, start_error = 0, events = 0, watches = 0;
    bool has_event = true, is_set = false, has_send = true, has_receive = true;
    std::uintptr_t next_v4 = v4, next_v6 = v6;
    std::map<std::uintptr_t, std::uint16_t> open;                          ///< sockets and their ports
    std::map<std::tuple<std::uintptr_t, int, int>, std::uint32_t> options; ///< (socket, level, name)
    std::map<std::pair<std::uintptr_t, std::uint32_t>, std::uint32_t> controls;
    std::map<std::pair<int, int>, int> refused_options; ///< (level, name): error
    std::map<int, int> refused_families;
    std::deque<int> bind_errors;
    std::map<std::uintptr_t, std::deque<received_message>> arriving;
    std::vector<sent_message> sent;
    std::vector<sent_message> refused;
    std::function<int(sent_message const&)> refuses = [](sent_message const&) { return 0; };
    std::function<void()> before_watch = [] {};
    int room_waits = 0;
    bool gets_room = false;
    int error = 0;
} net;

int fail(int error) {
    net.error = error;
    return -1;
}
bool is_v6(std::uintptr_t socket) { return socket >= v6; }

int test_send(std::uintptr_t socket, api::message* m, std::uint32_t, std::uint32_t*, void*, void*) noexcept {
    sent_message out{socket, windows::udp_detail::read_address(*m->name, m->name_bytes), {}, {}};
    for (std::uint32_t i = 0; i < m->piece_count; ++i)
        out.pieces.emplace_back(reinterpret_cast<char const*>(m->pieces[i].data), m->pieces[i].size);
    if (m->control.size != 0) out.control.assign(m->control.data, m->control.data + m->control.size);
    int const error = net.refuses(out);
    (error != 0 ? net.refused : net.sent).push_back(std::move(out));
    return error != 0 ? fail(error) : 0;
}

int test_receive(std::uintptr_t socket, api::message* m, std::uint32_t* size, void*, void*) noexcept {
    auto& queue = net.arriving[socket];
    if (queue.empty()) return fail(would_block);
    received_message const in = queue.front();
    if (in.error != 0) {
        queue.pop_front();
        return fail(in.error);
    }
    queue.pop_front();
    std::size_t const room = m->pieces[0].size;
    std::size_t const fits = std::min(room, in.data.size());
    std::copy_n(in.data.begin(), fits, m->pieces[0].data);
    *size = static_cast<std::uint32_t>(fits);
    m->name_bytes = windows::udp_detail::spell(in.from, *m->name);
    BOOST_REQUIRE(in.control.size() <= m->control.size);
    std::copy(in.control.begin(), in.control.end(), m->control.data);
    m->control.size = static_cast<std::uint32_t>(in.control.size());
    m->flags = in.is_cut ? api::message_is_cut : 0;
    return fits < in.data.size() ? fail(10040) : 0;
}

struct test_calls {
    static int start() noexcept {
        if (net.start_error == 0) ++net.started;
        return net.start_error;
    }
    static void stop() noexcept { --net.started; }
    static int error() noexcept { return net.error; }
    static std::uintptr_t socket(int family) noexcept {
        if (net.refused_families.count(family) != 0) {
            net.error = net.refused_families[family];
            return api::no_socket;
        }
        std::uintptr_t const socket = family == api::family_v6 ? net.next_v6++ : net.next_v4++;
        net.open[socket] = 0;
        return socket;
    }
    static void close_socket(std::uintptr_t socket) noexcept { BOOST_TEST(net.open.erase(socket) == 1u); }
    static int bind(std::uintptr_t socket, api::socket_address const& where, int size) noexcept {
        int const error = net.bind_errors.empty() ? 0 : net.bind_errors.front();
        if (!net.bind_errors.empty()) net.bind_errors.pop_front();
        if (error != 0) return fail(error);
        std::uint16_t const port = windows::udp_detail::read_address(where, size).port;
        net.open[socket] = port != 0 ? port : std::uint16_t{40000};
        return 0;
    }
    static int name(std::uintptr_t socket, api::socket_address& where) noexcept {
        wg::family const kind = is_v6(socket) ? wg::family::v6 : wg::family::v4;
        (void)windows::udp_detail::spell({{{}, kind}, net.open[socket], 0}, where);
        return 0;
    }
    static int set_option(std::uintptr_t socket, int level, int option, std::uint32_t value) noexcept {
        if (net.refused_options.count({level, option}) != 0) return fail(net.refused_options[{level, option}]);
        net.options[{socket, level, option}] = value;
        return 0;
    }
    static int has_option(std::uintptr_t, int level, int option) noexcept {
        return net.refused_options.count({level, option}) != 0 ? fail(net.refused_options[{level, option}]) : 0;
    }
    static int control(std::uintptr_t socket, std::uint32_t code, std::uint32_t value) noexcept {
        net.controls[{socket, code}] = value;
        return 0;
    }
    static api::send_function find_send(std::uintptr_t) noexcept { return net.has_send ? &test_send : nullptr; }
    static api::receive_function find_receive(std::uintptr_t) noexcept {
        return net.has_receive ? &test_receive : nullptr;
    }
    static int watch(std::uintptr_t socket, void*) noexcept {
        net.before_watch();
        ++net.watches;
        if (!net.arriving[socket].empty()) net.is_set = true;
        return 0;
    }
    static void* create_event() noexcept {
        net.events += net.has_event ? 1 : 0;
        return net.has_event ? &net : nullptr;
    }
    static void close(void*) noexcept { --net.events; }
    static void set_event(void*) noexcept { net.is_set = true; }
    static void reset_event(void*) noexcept { net.is_set = false; }
    static int wait_writable(std::uintptr_t, int) noexcept {
        ++net.room_waits;
        return net.gets_room ? 1 : 0;
    }
};
using udp = windows::basic_udp<test_calls>;

/// Begins a test with a new Winsock; in the end nothing is left open.
struct fresh_winsock {
    fresh_winsock() { net = {}; }
    ~fresh_winsock() {
        BOOST_TEST(net.open.empty());
        BOOST_TEST(net.started == 0);
        BOOST_TEST(net.events == 0);
    }
};

wg::ip_address address4(wg::byte last) { return wg::ip_address::v4(192, 0, 2, last); }
wg::ip_address address6(wg::byte last) {
    wg::ip_address address{{0x20, 0x01, 0x0d, 0xb8}, wg::family::v6};
    address.octets[15] = last;
    return address;
}

template <class Value> void append_control(std::vector<wg::byte>& to, int level, int type, Value const& value) {
    std::size_t const at = to.size();
    to.resize(at + 16 + (sizeof value + 7) / 8 * 8);
    api::control_header const header{16 + sizeof value, level, type};
    std::memcpy(to.data() + at, &header, sizeof header);
    std::memcpy(to.data() + at + 16, &value, sizeof value);
}
template <class Value> std::vector<wg::byte> control_of(int level, int type, Value const& value) {
    std::vector<wg::byte> made;
    append_control(made, level, type, value);
    return made;
}
api::packet_info_v4 info4(wg::ip_address const& address, std::uint32_t index) {
    api::packet_info_v4 info{{}, index};
    std::copy_n(address.octets.begin(), 4, info.address);
    return info;
}
api::packet_info_v6 info6(wg::ip_address const& address, std::uint32_t index) {
    api::packet_info_v6 info{{}, index};
    std::copy_n(address.octets.begin(), 16, info.address);
    return info;
}

/// Datagrams to send, with their memory.
struct outgoing {
    std::deque<std::string> texts;
    std::vector<wg::datagram> all;

    void add(wg::ip_address const& to, std::string text, wg::local_source const& from = {}, std::uint8_t tos = 0) {
        texts.push_back(std::move(text));
        wg::datagram d;
        d.buffer = reinterpret_cast<wg::byte*>(texts.back().data());
        d.capacity = d.length = static_cast<std::uint32_t>(texts.back().size());
        d.where = {{to, 51820, 0}, from};
        d.tos = tos;
        all.push_back(d);
    }
    std::size_t send(udp& by) { return by.send(all); }
};
outgoing run(std::size_t count, std::size_t size, wg::local_source const& from = {}, std::uint8_t tos = 0) {
    outgoing made;
    for (std::size_t i = 0; i < count; ++i) made.add(address4(1), std::string(size, char('a' + i % 26)), from, tos);
    return made;
}

/// Windows to receive into.
template <std::size_t Count, std::size_t Size = 2048> struct incoming {
    std::array<std::array<wg::byte, Size>, Count> buffers{};
    std::array<wg::datagram, Count> all{};

    incoming() {
        for (std::size_t i = 0; i < Count; ++i) static_cast<wg::packet&>(all[i]) = wg::packet(buffers[i], 16);
    }
    std::string text(std::size_t i) const {
        return {reinterpret_cast<char const*>(all[i].buffer) + all[i].offset, all[i].length};
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(opens_both_families_on_one_port) {
    fresh_winsock fresh;
    udp socket;
    auto const port = socket.open(51820);
    BOOST_REQUIRE(static_cast<bool>(port));
    BOOST_TEST((*port == 51820 && socket.port() == 51820));
    BOOST_TEST((net.open == std::map<std::uintptr_t, std::uint16_t>{{v4, 51820}, {v6, 51820}}));
    BOOST_TEST(*socket.open(51820) == 51820); // already open
    BOOST_TEST(net.open.size() == 2u);
    BOOST_TEST(*socket.open(0) == 40000);
    BOOST_TEST((net.open == std::map<std::uintptr_t, std::uint16_t>{{v4 + 1, 40000}, {v6 + 1, 40000}}));
    socket.close();
    BOOST_TEST((net.open.empty() && socket.port() == 0));
}

BOOST_AUTO_TEST_CASE(configures_sockets_before_it_binds_them) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(1)));
    for (std::uintptr_t const s : {v4, v6}) {
        int const level = s == v4 ? 0 : 41;
        BOOST_TEST((net.controls.at({s, 0x8004667e}) == 1));           // FIONBIO
        BOOST_TEST((net.controls.at({s, 0x9800000c}) == 0));           // SIO_UDP_CONNRESET
        BOOST_TEST((net.options.at({s, 0xffff, -5}) == 1));            // SO_EXCLUSIVEADDRUSE
        BOOST_TEST((net.options.at({s, level, 19}) == 1));             // IP_PKTINFO
        BOOST_TEST((net.options.at({s, level, 40}) == 1));             // IP_RECVTOS
        BOOST_TEST((net.options.at({s, 17, 3}) == 65535));             // UDP_RECV_MAX_COALESCED_SIZE
        BOOST_TEST((net.options.at({s, 0xffff, 0x1002}) > 1'000'000)); // SO_RCVBUF
        BOOST_TEST((net.options.count({s, level, 31}) == 0));          // IP_UNICAST_IF
    }
    BOOST_TEST((net.options.at({v6, 41, 27}) == 1)); // IPV6_V6ONLY
    udp without({false, false});
    BOOST_REQUIRE(static_cast<bool>(without.open(2)));
    BOOST_TEST((net.options.count({v4 + 1, 17, 3}) == 0));
    outgoing out = run(3, 100);
    BOOST_TEST(out.send(without) == 3u);
    BOOST_TEST(net.sent.size() == 3u);
}

BOOST_AUTO_TEST_CASE(works_where_windows_refuses_optional_options) {
    fresh_winsock fresh;
    for (auto const& [level, option] : {std::pair(0xffff, -5), {0, 19}, {0, 40}, {0, 50}, {17, 2}, {17, 3}, {41, 19}})
        net.refused_options[{level, option}] = 10042;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(1)));
    outgoing out = run(2, 100, {}, 3);
    BOOST_TEST(out.send(socket) == 2u);
    BOOST_TEST(net.sent.size() == 2u);       // no USO
    BOOST_TEST(net.sent[0].control.empty()); // no ECN
}

BOOST_AUTO_TEST_CASE(opens_the_family_that_the_host_has) {
    for (int const missing : {api::family_v4, api::family_v6}) {
        fresh_winsock fresh;
        net.refused_families[missing] = 10047;
        udp socket;
        BOOST_TEST(*socket.open(5) == 5);
        BOOST_TEST(net.open.size() == 1u);
        outgoing out;
        out.add(address4(1), "four");
        out.add(address6(1), "six");
        BOOST_TEST(out.send(socket) == 1u);
        wg::datagram const& refused = out.all[missing == api::family_v4 ? 0 : 1];
        BOOST_TEST((refused.why == status::not_supported && refused.error == 10047));
    }
    fresh_winsock fresh;
    net.bind_errors = {0, 10049}; // IPv6 is switched off
    udp socket;
    BOOST_TEST(*socket.open(5) == 5);
    BOOST_TEST(net.open.size() == 1u);
    net.refused_families = {{api::family_v4, 10047}, {api::family_v6, 10047}};
    BOOST_TEST((socket.open(6).why() == status::not_supported));
}

BOOST_AUTO_TEST_CASE(a_failed_open_changes_nothing) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(1000)));
    auto const before = net.open;
    for (auto const& [error, why] : {std::pair(in_use, status::address_in_use),
                                     {10013, status::no_permission},
                                     {10055, status::no_memory},
                                     {10050, status::io_error}}) {
        for (bool const second : {false, true}) {
            net.bind_errors = second ? std::deque<int>{0, error} : std::deque<int>{error};
            BOOST_TEST((socket.open(1001).why() == why));
            BOOST_TEST(socket.error() == error);
            BOOST_TEST((net.open == before && socket.port() == 1000));
        }
    }
    net.refused_options[{41, 27}] = invalid; // IPV6_V6ONLY
    BOOST_TEST((socket.open(1001).why() == status::invalid));
    BOOST_TEST((net.open == before));
}

BOOST_AUTO_TEST_CASE(tries_another_free_port_when_ipv6_has_the_first_one_taken) {
    fresh_winsock fresh;
    net.bind_errors = {0, in_use, 0, in_use, 0, 0};
    udp socket;
    BOOST_TEST(*socket.open(0) == 40000);
    BOOST_TEST(net.next_v6 == v6 + 3);
    net.bind_errors = std::deque<int>(1000, in_use);
    BOOST_TEST((socket.open(0).why() == status::address_in_use));
}

BOOST_AUTO_TEST_CASE(says_what_windows_lacks) {
    for (int const missing : {0, 1, 2, 3}) {
        fresh_winsock fresh;
        net.has_send = missing != 0;
        net.has_receive = missing != 1;
        net.start_error = missing == 2 ? 10091 : 0;
        net.has_event = missing != 3;
        udp socket;
        BOOST_TEST((socket.open(1).why() == (missing == 3 ? status::no_memory : status::not_supported)));
        BOOST_TEST(net.open.empty());
    }
}

BOOST_AUTO_TEST_CASE(opens_only_the_family_of_a_bind_address) {
    fresh_winsock fresh;
    udp socket;
    socket.set_bind_address({address6(9), 77, 0});
    BOOST_TEST(*socket.open(5) == 5);
    BOOST_TEST((net.open == std::map<std::uintptr_t, std::uint16_t>{{v6, 5}}));
    net.bind_errors = {10049};
    BOOST_TEST((socket.open(6).why() == status::io_error)); // the host does not have this address
    BOOST_TEST(socket.error() == 10049);
}

BOOST_AUTO_TEST_CASE(sends_only_through_the_given_interfaces) {
    fresh_winsock fresh;
    udp socket;
    BOOST_TEST((socket.set_interfaces(7, 8) == status::ok));
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    BOOST_TEST((net.options.at({v4, 0, 31}) == wg::load_be32(std::array<wg::byte, 4>{7, 0, 0, 0}.data()) ||
                net.options.at({v4, 0, 31}) == 0x07000000)); // in network order
    BOOST_TEST((net.options.at({v6, 41, 31}) == 8));         // in host order
    BOOST_TEST((socket.set_interfaces(0, 9) == status::ok));
    BOOST_TEST((net.options.at({v4, 0, 31}) == 0 && net.options.at({v6, 41, 31}) == 9));
    net.refused_options[{0, 31}] = invalid;
    BOOST_TEST((socket.set_interfaces(1, 10) == status::invalid));
    BOOST_TEST((net.options.at({v6, 41, 31}) == 10));
    BOOST_TEST((socket.open(6).why() == status::invalid));
}

BOOST_AUTO_TEST_CASE(receives_datagrams_with_both_ends_tos_and_segments) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    received_message four{"four", {address4(3), 1234, 0}, {}};
    append_control(four.control, 0, 19, info4(address4(9), 4));
    append_control(four.control, 0, 3, std::int32_t{0xb9});
    append_control(four.control, 17, 3, std::uint32_t{2});
    received_message six{"six", {address6(3), 4321, 6}, {}};
    append_control(six.control, 41, 50, std::int32_t{3});
    append_control(six.control, 41, 19, info6(address6(9), 6));
    net.arriving[v4] = {four};
    net.arriving[v6] = {six};
    incoming<4> in;
    auto const count = socket.receive(in.all);
    BOOST_REQUIRE((count && *count == 2));
    std::size_t const first = in.text(0) == "four" ? 0 : 1;
    wg::datagram const& a = in.all[first];
    BOOST_TEST(in.text(first) == "four");
    BOOST_TEST((a.where.remote == wg::endpoint{address4(3), 1234, 0}));
    BOOST_TEST((a.where.local == wg::local_source{address4(9), 4}));
    BOOST_TEST((a.tos == 0xb9 && a.segment_bytes == 2 && a.why == status::ok));
    wg::datagram const& b = in.all[1 - first];
    BOOST_TEST(in.text(1 - first) == "six");
    BOOST_TEST((b.where.remote == wg::endpoint{address6(3), 4321, 6}));
    BOOST_TEST((b.where.local == wg::local_source{address6(9), 6}));
    BOOST_TEST((b.tos == 3 && b.segment_bytes == 0));
    BOOST_TEST(*socket.receive(in.all) == 0u);
    BOOST_TEST(*socket.receive({}) == 0u);
    socket.close();
    BOOST_TEST(*socket.receive(in.all) == 0u);
}

BOOST_AUTO_TEST_CASE(takes_no_source_from_addresses_that_cannot_be_one) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    for (auto const& address :
         {wg::ip_address::v4(255, 255, 255, 255), wg::ip_address::v4(224, 0, 0, 1), wg::ip_address::v4(0, 0, 0, 0)})
        net.arriving[v4].push_back({"x", {address4(1), 1, 0}, control_of(0, 19, info4(address, 4))});
    net.arriving[v6] = {{"x", {address6(1), 1, 0}, control_of(41, 19, info6({{0xff, 2}, wg::family::v6}, 4))}};
    incoming<5> in;
    BOOST_REQUIRE(*socket.receive(in.all) == 4u);
    for (std::size_t i = 0; i < 4; ++i) BOOST_TEST((in.all[i].where.local == wg::local_source{}));
}

BOOST_AUTO_TEST_CASE(ignores_control_messages_that_are_wrong) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    auto const whole = control_of(0, 19, info4(address4(9), 4));
    for (std::size_t size = 0; size < whole.size(); ++size) // cut
        net.arriving[v4].push_back({"x", {address4(1), 1, 0}, {whole.begin(), whole.begin() + std::ptrdiff_t(size)}});
    for (std::size_t const size :
         {std::size_t{0}, std::size_t{15}, std::size_t{16}, std::size_t{23}, std::size_t{25}, SIZE_MAX, SIZE_MAX - 7}) {
        auto wrong = whole;
        std::memcpy(wrong.data(), &size, sizeof size);
        net.arriving[v4].push_back({"x", {address4(1), 1, 0}, wrong});
    }
    net.arriving[v4].push_back({"x", {address4(1), 1, 0}, control_of(17, 3, std::uint32_t{1})}); // one segment
    net.arriving[v4].push_back({"x", {address4(1), 1, 0}, control_of(77, 3, std::int32_t{1})});  // an unknown level
    std::size_t const messages = net.arriving[v4].size();
    incoming<64> in;
    BOOST_REQUIRE(*socket.receive(in.all) == messages);
    for (std::size_t i = 0; i < messages; ++i)
        BOOST_TEST((in.all[i].where.local == wg::local_source{} && in.all[i].tos == 0 && !in.all[i].segment_bytes));
}

BOOST_AUTO_TEST_CASE(a_datagram_that_was_cut_has_no_length) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    net.arriving[v4] = {{std::string(200, 'x'), {address4(1), 1, 0}},
                        {"y", {address4(1), 1, 0}, {}, true},
                        {std::string(48, 'z'), {address4(1), 1, 0}}};
    incoming<4, 64> in;
    BOOST_REQUIRE(*socket.receive(in.all) == 3u);
    BOOST_TEST((in.all[0].length == 0 && in.all[1].length == 0 && in.all[2].length == 48));
}

BOOST_AUTO_TEST_CASE(errors_of_sent_datagrams_end_no_receive) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    received_message const reset{"", {}, {}, false, 10054}, expired{"", {}, {}, false, 10052};
    net.arriving[v4] = {reset, expired, {"after", {address4(1), 1, 0}}};
    incoming<4> in;
    BOOST_REQUIRE(*socket.receive(in.all) == 1u);
    BOOST_TEST(in.text(0) == "after");
    net.arriving[v4] = std::deque<received_message>(100, reset); // not endless
    BOOST_TEST(*socket.receive(in.all) == 0u);
    BOOST_TEST(net.is_set);
    BOOST_TEST(net.arriving[v4].size() == 36u);
    net.arriving[v4] = {{"", {}, {}, false, 10055}};
    BOOST_TEST(*socket.receive(in.all) == 0u);
}

BOOST_AUTO_TEST_CASE(a_socket_that_cannot_be_used_is_an_error) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    incoming<4> in;
    for (int const error : {10038, 10009, 10022, 10014}) {
        net.arriving[v4] = {{"", {}, {}, false, error}};
        BOOST_TEST((socket.receive(in.all).why() == status::io_error));
        net.arriving[v4] = {{"", {}, {}, false, error}};
        net.arriving[v6] = {{"x", {address6(1), 1, 0}}};
        BOOST_TEST(*socket.receive(in.all) == 1u);
    }
}

BOOST_AUTO_TEST_CASE(the_event_is_set_while_a_datagram_waits) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    BOOST_TEST(socket.event() != nullptr);
    received_message const one{"x", {address4(1), 1, 0}};
    incoming<2> in;
    net.arriving[v4] = {one, one, one};
    net.is_set = true;
    BOOST_TEST(*socket.receive(in.all) == 2u);
    BOOST_TEST(net.is_set); // the third one waits
    BOOST_TEST(*socket.receive(in.all) == 1u);
    BOOST_TEST(!net.is_set);
    bool late = true;
    net.before_watch = [&] {
        if (!std::exchange(late, false)) return;
        net.arriving[v6].push_back(one); // arrives after the sockets were read
    };
    BOOST_TEST(*socket.receive(in.all) == 0u);
    BOOST_TEST(net.is_set);
    BOOST_TEST(*socket.receive(in.all) == 1u);
    BOOST_TEST(!net.is_set);
}

BOOST_AUTO_TEST_CASE(both_families_take_turns_in_a_full_receive) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    for (int i = 0; i < 4; ++i) {
        net.arriving[v4].push_back({"4", {address4(1), 1, 0}});
        net.arriving[v6].push_back({"6", {address6(1), 1, 0}});
    }
    incoming<2> in;
    std::string order;
    for (int i = 0; i < 4; ++i) {
        BOOST_REQUIRE(*socket.receive(in.all) == 2u);
        order += in.text(0);
    }
    BOOST_TEST((order == "6464" || order == "4646"));
}

BOOST_AUTO_TEST_CASE(joins_datagrams_of_one_path_tos_and_length) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    wg::local_source const from{address4(9), 4};
    outgoing out = run(3, 700, from);
    out.add(address4(1), "shorter ends it", from);
    out.add(address4(1), std::string(700, 'x'), from);
    out.add(address4(1), std::string(701, 'y'), from);    // longer
    out.add(address4(1), std::string(701, 'y'), from, 2); // another tos
    out.add(address4(2), std::string(701, 'z'), from, 2); // another destination
    out.add(address4(2), "", from, 2);
    out.add(address4(2), "", from, 2);
    BOOST_TEST(out.send(socket) == 10u);
    std::vector<std::size_t> sizes;
    for (auto const& m : net.sent) sizes.push_back(m.pieces.size());
    BOOST_TEST((sizes == std::vector<std::size_t>{4, 1, 1, 1, 1, 1, 1}));
    BOOST_TEST(net.sent[0].pieces[3] == "shorter ends it");
    std::vector<wg::byte> expected = control_of(0, 19, info4(address4(9), 4));
    BOOST_TEST((net.sent[1].control == expected));
    append_control(expected, 17, 2, std::uint32_t{700});
    BOOST_TEST((net.sent[0].control == expected));
    for (auto const& d : out.all) BOOST_TEST((d.why == status::ok && d.error == 0));
}

BOOST_AUTO_TEST_CASE(a_message_has_room_for_64_datagrams_and_64_kilobytes) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    outgoing small = run(130, 10);
    BOOST_TEST(small.send(socket) == 130u);
    BOOST_TEST((net.sent.size() == 3u && net.sent[0].pieces.size() == 64u && net.sent[2].pieces.size() == 2u));
    net.sent.clear();
    outgoing large = run(9, 9000);
    BOOST_TEST(large.send(socket) == 9u);
    BOOST_TEST((net.sent.size() == 2u && net.sent[0].pieces.size() == 7u));
}

BOOST_AUTO_TEST_CASE(sends_singly_where_segments_of_that_length_are_refused) {
    for (int const error : {invalid, 10040}) {
        fresh_winsock fresh;
        udp socket;
        BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
        net.refuses = [&](sent_message const& m) {
            return m.pieces.size() > 1 && m.pieces[0].size() >= 1400 ? error : 0;
        };
        for (int round = 0; round < 2; ++round) {
            outgoing out = run(3, 1400);
            BOOST_TEST(out.send(socket) == 3u);
        }
        BOOST_TEST((net.sent.size() == 6u && net.refused.size() == 1u)); // the second round remembers
        outgoing shorter = run(3, 1399);
        BOOST_TEST(shorter.send(socket) == 3u);
        BOOST_TEST((net.sent.size() == 7u));
        socket.routes_changed();
        outgoing again = run(3, 1400);
        BOOST_TEST(again.send(socket) == 3u);
        BOOST_TEST(net.refused.size() == 2u);
    }
}

BOOST_AUTO_TEST_CASE(never_joins_again_where_windows_cannot_cut) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    net.refuses = [](sent_message const& m) { return m.pieces.size() > 1 ? 10045 : 0; };
    outgoing first = run(3, 100), second = run(3, 50);
    BOOST_TEST(first.send(socket) == 3u);
    socket.routes_changed();
    BOOST_TEST(second.send(socket) == 3u);
    BOOST_TEST(net.refused.size() == 1u);
}

BOOST_AUTO_TEST_CASE(clears_a_source_that_the_host_refuses) {
    for (int const error : {invalid, 10049, 10051, 10065}) {
        for (std::size_t const count : {std::size_t{1}, std::size_t{2}}) {
            fresh_winsock fresh;
            udp socket;
            BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
            auto const info = control_of(0, 19, info4(address4(9), 4));
            net.refuses = [&](sent_message const& m) {
                return std::search(m.control.begin(), m.control.end(), info.begin(), info.end()) != m.control.end()
                           ? error
                           : 0;
            };
            outgoing out = run(count, 100, {address4(9), 4});
            BOOST_TEST(out.send(socket) == count);
            for (auto const& d : out.all) BOOST_TEST((d.where.local == wg::local_source{} && d.why == status::ok));
            net.sent.clear();
            outgoing joined = run(2, 1000);
            BOOST_TEST(joined.send(socket) == 2u);
            BOOST_TEST(net.sent.size() == 1u); // the segments were not the reason
        }
    }
}

BOOST_AUTO_TEST_CASE(sends_the_ecn_bits_alone_and_none_where_they_are_refused) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    outgoing out = run(1, 100, {}, 0xb9);
    out.add(address6(1), "six", {}, 0x02);
    out.add(address6(1), "none", {}, 0xb8);
    BOOST_TEST(out.send(socket) == 3u);
    BOOST_TEST((net.sent[0].control == control_of(0, 50, std::int32_t{1})));
    BOOST_TEST((net.sent[1].control == control_of(41, 50, std::int32_t{2})));
    BOOST_TEST(net.sent[2].control.empty());
    net.refuses = [](sent_message const& m) { return m.control.empty() ? 0 : invalid; };
    outgoing refused = run(1, 100, {address4(9), 4}, 0x03);
    BOOST_TEST(refused.send(socket) == 1u); // first without the source, then without ECN
    BOOST_TEST((refused.all[0].tos == 0 && refused.all[0].why == status::ok));
    BOOST_TEST(net.refused.size() == 2u);
}

BOOST_AUTO_TEST_CASE(waits_once_for_room_in_a_full_socket) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    net.refuses = [](sent_message const&) { return net.room_waits != 0 ? 0 : would_block; };
    net.gets_room = true;
    outgoing out = run(1, 100);
    BOOST_TEST(out.send(socket) == 1u);
    BOOST_TEST(net.room_waits == 1);
    net.refuses = [](sent_message const&) { return would_block; };
    for (bool const room : {true, false}) {
        net.room_waits = 0;
        net.gets_room = room;
        outgoing full = run(1, 100);
        full.add(address4(2), "x");
        BOOST_TEST(full.send(socket) == 0u);
        BOOST_TEST(net.room_waits == 1);
        for (auto const& d : full.all) BOOST_TEST((d.why == status::would_block && d.error == would_block));
    }
}

BOOST_AUTO_TEST_CASE(says_why_a_datagram_was_not_sent) {
    fresh_winsock fresh;
    udp socket;
    outgoing closed = run(1, 10);
    BOOST_TEST(closed.send(socket) == 0u);
    BOOST_TEST((closed.all[0].why == status::not_supported));
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    outgoing out = run(1, 10);
    out.all[0].where.remote = {};
    out.add(address4(1), "refused");
    out.add(address4(2), "sent");
    net.refuses = [](sent_message const& m) { return m.pieces[0] == "refused" ? 10013 : 0; };
    BOOST_TEST(out.send(socket) == 1u);
    BOOST_TEST((out.all[0].why == status::no_endpoint && out.all[0].error == 0));
    BOOST_TEST((out.all[1].why == status::no_permission && out.all[1].error == 10013));
    BOOST_TEST((out.all[2].why == status::ok));
}

BOOST_AUTO_TEST_CASE(sends_to_an_ipv4_mapped_address_by_ipv4) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    outgoing out;
    out.add({{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}, wg::family::v6}, "mapped", {address6(9), 4});
    BOOST_TEST(out.send(socket) == 1u);
    BOOST_TEST((net.sent[0].socket == v4 && net.sent[0].to == wg::endpoint{address4(1), 51820, 0}));
    BOOST_TEST(net.sent[0].control.empty()); // the source is of the other family
}

BOOST_AUTO_TEST_CASE(another_thread_uses_the_same_sockets) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    {
        udp other;
        BOOST_TEST(other.share(socket));
        BOOST_TEST(other.port() == 5);
        outgoing out = run(2, 10);
        BOOST_TEST(out.send(other) == 2u);
        BOOST_TEST((net.sent.size() == 1u && net.sent[0].socket == v4));
        net.arriving[v4] = {{"x", {address4(1), 1, 0}}};
        incoming<2> in;
        BOOST_TEST(*other.receive(in.all) == 1u);
        other.close();
        BOOST_TEST(net.open.size() == 2u);
        BOOST_TEST(out.send(other) == 0u);
        BOOST_TEST(other.share(socket));
    }
    BOOST_TEST(net.open.size() == 2u);
}

BOOST_AUTO_TEST_SUITE_END()
