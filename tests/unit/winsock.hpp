// SPDX-License-Identifier: BSL-1.0
// A Winsock of the tests, with options, refusals and arriving messages as a test chooses.
#ifndef WG_TESTS_WINSOCK_HPP
#define WG_TESTS_WINSOCK_HPP

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

namespace wg_tests { namespace winsock {

namespace windows = wg::os::windows;
namespace api = wg::os::windows::api_detail;
using wg::status;

inline constexpr std::uintptr_t v4 = 1000,
                                v6 = 2000; ///< the sockets of the first `open`; the later ones have higher numbers
inline constexpr int would_block = 10035, in_use = 10048, invalid = 10022;

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

struct winsock_state {
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
    std::uint32_t default_v4 = 0, default_v6 = 0;    ///< interfaces of the default routes
    std::map<std::string, std::uint32_t> interfaces; ///< (name, index)
    int room_waits = 0;
    bool gets_room = false;
    int error = 0;
};
inline winsock_state net;

inline int fail(int error) {
    net.error = error;
    return -1;
}
inline bool is_v6(std::uintptr_t socket) { return socket >= v6; }

inline int test_send(std::uintptr_t socket, api::message* m, std::uint32_t, std::uint32_t*, void*, void*) noexcept {
    sent_message out{socket, windows::udp_detail::read_address(*m->name, m->name_bytes), {}, {}};
    for (std::uint32_t i = 0; i < m->piece_count; ++i)
        out.pieces.emplace_back(reinterpret_cast<char const*>(m->pieces[i].data), m->pieces[i].size);
    if (m->control.size != 0) out.control.assign(m->control.data, m->control.data + m->control.size);
    int const error = net.refuses(out);
    (error != 0 ? net.refused : net.sent).push_back(std::move(out));
    return error != 0 ? fail(error) : 0;
}

inline int test_receive(std::uintptr_t socket, api::message* m, std::uint32_t* size, void*, void*) noexcept {
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
    static std::uint32_t default_interface(wg::family kind, std::uint64_t tunnel_luid) noexcept {
        BOOST_TEST(tunnel_luid == 77u);
        return kind == wg::family::v4 ? net.default_v4 : net.default_v6;
    }
    static std::uint32_t interface_index(char const* name) noexcept {
        auto const found = net.interfaces.find(name);
        return found == net.interfaces.end() ? 0 : found->second;
    }
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

inline wg::ip_address address4(wg::byte last) { return wg::ip_address::v4(192, 0, 2, last); }
inline wg::ip_address address6(wg::byte last) {
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
inline api::packet_info_v4 info4(wg::ip_address const& address, std::uint32_t index) {
    api::packet_info_v4 info{{}, index};
    std::copy_n(address.octets.begin(), 4, info.address);
    return info;
}
inline api::packet_info_v6 info6(wg::ip_address const& address, std::uint32_t index) {
    api::packet_info_v6 info{{}, index};
    std::copy_n(address.octets.begin(), 16, info.address);
    return info;
}

/// Datagrams to send, with their memory.
struct outgoing {
    std::deque<std::string> texts;
    std::vector<wg::datagram> all;

    void add(wg::ip_address const& to, std::string_view text, wg::local_source const& from = {}, std::uint8_t tos = 0) {
        texts.emplace_back(text); // g++ 12 warns at -O3 that moving a std::string would read beyond its object
        wg::datagram d;
        d.buffer = reinterpret_cast<wg::byte*>(texts.back().data());
        d.capacity = d.length = static_cast<std::uint32_t>(texts.back().size());
        d.where = {{to, 51820, 0}, from};
        d.tos = tos;
        all.push_back(d);
    }
    std::size_t send(udp& by) { return by.send(all); }
};
inline outgoing run(std::size_t count, std::size_t size, wg::local_source const& from = {}, std::uint8_t tos = 0) {
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

}} // namespace wg_tests::winsock

#endif
