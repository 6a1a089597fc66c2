// SPDX-License-Identifier: BSL-1.0
// The TUN device of os/windows with a wintun.dll of the test, and the choice of the default route's interface.
#include "wg/os/windows/net/default_route.hpp"
#include "wg/os/windows/tun/tun.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_windows_tun)

namespace {

namespace windows = wg::os::windows;
namespace api = wg::os::windows::api_detail;
using wg::status;

constexpr int no_more_items = 259, end_of_file = 38, invalid_data = 13, buffer_overflow = 111, not_found = 1168;

struct wintun_state {
    std::string calls; ///< one letter each: Load, Create, Start, End, close (K), Unload
    std::string name;
    int load_error = 0, create_error = 0, start_error = 0, error = 0;
    std::string missing; ///< a function that the library lacks
    std::deque<std::string> to_read;
    int read_end = no_more_items; ///< after the packets of `to_read`
    std::vector<std::string> written;
    std::size_t ring_room = 1000; ///< packets that the ring takes
    int held = 0;                 ///< packets received and not released, or allocated and not sent
    int events_set = 0;
    std::map<int, std::uint32_t> mtus{{api::family_v4, 1500}, {api::family_v6, 1500}};
    std::map<int, std::uint32_t> site_prefixes;
    std::map<int, bool> forwards; ///< by family
    int set_error = 0;
    std::string buffer;
    std::size_t longest = 65535; ///< for which the ring has room
} host;

template <class Value> Value fail(int error, Value value) {
    host.error = error;
    return value;
}

int adapter_place, session_place, event_place, library_place;
constexpr std::uint64_t luid = 0x1234'5678'9abc'def0;

void* create_adapter(char16_t const* name, char16_t const* type, api::guid const*) noexcept {
    host.calls += 'C';
    BOOST_TEST((std::u16string(type) == u"wg"));
    for (; *name != 0; ++name) host.name += static_cast<char>(*name);
    return host.create_error == 0 ? &adapter_place : fail<int*>(host.create_error, nullptr);
}
void close_adapter(void*) noexcept { host.calls += 'K'; }
void get_luid(void*, std::uint64_t* to) noexcept { *to = luid; }
void* start_session(void*, std::uint32_t ring_bytes) noexcept {
    host.calls += 'S';
    BOOST_TEST((ring_bytes >= 0x20000 && ring_bytes <= 0x4000000 && (ring_bytes & (ring_bytes - 1)) == 0));
    return host.start_error == 0 ? &session_place : fail<int*>(host.start_error, nullptr);
}
void end_session(void*) noexcept { host.calls += 'E'; }
void* read_event(void*) noexcept { return &event_place; }
wg::byte* receive_packet(void*, std::uint32_t* size) noexcept {
    if (host.to_read.empty()) return fail<wg::byte*>(host.read_end, nullptr);
    ++host.held;
    *size = static_cast<std::uint32_t>(host.to_read.front().size());
    return reinterpret_cast<wg::byte*>(host.to_read.front().data());
}
void release_packet(void*, wg::byte const*) noexcept {
    --host.held;
    host.to_read.pop_front();
}
wg::byte* allocate_packet(void*, std::uint32_t size) noexcept {
    if (host.written.size() == host.ring_room || size > host.longest) return fail<wg::byte*>(buffer_overflow, nullptr);
    ++host.held;
    host.buffer.assign(size, '?');
    return reinterpret_cast<wg::byte*>(host.buffer.data());
}
void send_packet(void*, wg::byte const*) noexcept {
    --host.held;
    host.written.push_back(host.buffer);
}

struct test_calls {
    static void* load() noexcept {
        host.calls += 'L';
        return host.load_error == 0 ? &library_place : fail<int*>(host.load_error, nullptr);
    }
    static void unload(void*) noexcept { host.calls += 'U'; }
    static api::function find(void*, char const* name) noexcept {
        std::map<std::string, api::function> const all = {
            {"WintunCreateAdapter", reinterpret_cast<api::function>(&create_adapter)},
            {"WintunCloseAdapter", reinterpret_cast<api::function>(&close_adapter)},
            {"WintunGetAdapterLUID", reinterpret_cast<api::function>(&get_luid)},
            {"WintunStartSession", reinterpret_cast<api::function>(&start_session)},
            {"WintunEndSession", reinterpret_cast<api::function>(&end_session)},
            {"WintunGetReadWaitEvent", reinterpret_cast<api::function>(&read_event)},
            {"WintunReceivePacket", reinterpret_cast<api::function>(&receive_packet)},
            {"WintunReleaseReceivePacket", reinterpret_cast<api::function>(&release_packet)},
            {"WintunAllocateSendPacket", reinterpret_cast<api::function>(&allocate_packet)},
            {"WintunSendPacket", reinterpret_cast<api::function>(&send_packet)}};
        auto const found = all.find(name);
        return found == all.end() || name == host.missing ? nullptr : found->second;
    }
    static int error() noexcept { return host.error; }
    static void set_event(void* event) noexcept {
        BOOST_TEST(event == &event_place);
        ++host.events_set;
    }
    static int get_interface(api::interface_row& row) noexcept {
        BOOST_TEST(row.luid == luid);
        if (host.mtus.count(row.family) == 0) return not_found;
        row.mtu = host.mtus[row.family];
        row.site_prefix_bits = 64;
        row.forwards = host.forwards[row.family];
        return 0;
    }
    static int set_interface(api::interface_row& row) noexcept {
        if (host.set_error != 0) return host.set_error;
        host.mtus[row.family] = row.mtu;
        host.site_prefixes[row.family] = row.site_prefix_bits;
        return 0;
    }
    struct text {
        std::string_view view() const noexcept { return "the text of Windows"; }
    };
    static text text_of(int) noexcept { return {}; }
};
using tun = windows::basic_tun<test_calls>;

/// Opens an adapter that must not fail.
tun opened() {
    wg::os::error_text why;
    auto made = tun::open("wg0", why);
    BOOST_REQUIRE_MESSAGE(static_cast<bool>(made), why.view());
    return std::move(*made);
}

struct failure {
    status why;
    std::string text;
};
failure open_fails(std::string_view name = "wg0") {
    wg::os::error_text why;
    auto const made = tun::open(name, why);
    BOOST_TEST(!made);
    return {made.why(), std::string(why.view())};
}
bool has(std::string const& text, char const* part) { return text.find(part) != std::string::npos; }

/// Windows to read into, and packets to write.
template <std::size_t Count, std::size_t Size = 100> struct packets {
    std::array<std::array<wg::byte, Size + 16>, Count> buffers{};
    std::array<wg::packet, Count> all;

    packets() {
        for (std::size_t i = 0; i < Count; ++i) all[i] = wg::packet(buffers[i], 16);
    }
    std::string text(std::size_t i) const {
        return {reinterpret_cast<char const*>(all[i].buffer) + all[i].offset, all[i].length};
    }
    void set(std::size_t i, std::string const& text) {
        std::copy(text.begin(), text.end(), all[i].buffer + all[i].offset);
        all[i].length = static_cast<std::uint32_t>(text.size());
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(adapters_have_the_names_of_wireguard_for_windows) {
    for (char const* const name : {"wg0", "a", "Office_VPN-2.0+x=y", "12345678901234567890123456789012"})
        BOOST_TEST(windows::is_adapter_name(name));
    for (char const* const name : {"", "a b", "a/b", "a\\b", "ä", "123456789012345678901234567890123", "a\n", "a:b"}) {
        BOOST_TEST(!windows::is_adapter_name(name));
        host = {};
        BOOST_TEST((open_fails(name).why == status::invalid));
        BOOST_TEST(host.calls.empty());
    }
}

BOOST_AUTO_TEST_CASE(creates_an_adapter_and_removes_it_in_the_end) {
    host = {};
    {
        tun device = opened();
        BOOST_TEST(host.name == "wg0");
        BOOST_TEST(std::string(device.name()) == "wg0");
        BOOST_TEST((device.luid() == luid && device.event() == &event_place && device.mtu() == wg::default_mtu_bytes));
        BOOST_TEST(host.mtus[api::family_v4] == wg::default_mtu_bytes);
        BOOST_TEST(host.mtus[api::family_v6] == wg::default_mtu_bytes);
        BOOST_TEST(host.site_prefixes[api::family_v4] == 0u); // else Windows refuses the row
        tun moved = std::move(device);
        BOOST_TEST((device.event() == nullptr && moved.luid() == luid));
        BOOST_TEST(host.calls == "LCS");
    }
    BOOST_TEST(host.calls == "LCSEKU");
}

BOOST_AUTO_TEST_CASE(says_where_to_get_a_missing_library) {
    for (int const error : {126, 2, 3, 193}) {
        host = {};
        host.load_error = error;
        auto const said = open_fails();
        BOOST_TEST((said.why == status::not_supported));
        BOOST_TEST((has(said.text, "https://www.wintun.net") && has(said.text, "beside the program")));
        BOOST_TEST(has(said.text, "another processor") == (error == 193));
        BOOST_TEST(host.calls == "L");
    }
    host = {};
    host.load_error = 5;
    auto const refused = open_fails();
    BOOST_TEST((refused.why == status::no_permission && has(refused.text, "the text of Windows")));
    for (char const* const name : {"WintunCreateAdapter", "WintunSendPacket"}) {
        host = {};
        host.missing = name;
        auto const old = open_fails();
        BOOST_TEST((old.why == status::not_supported && has(old.text, name) && has(old.text, "0.14")));
        BOOST_TEST(host.calls == "LU");
    }
}

BOOST_AUTO_TEST_CASE(says_why_an_adapter_cannot_be_created) {
    for (auto const& [error, why, text] : {std::tuple(5, status::no_permission, "administrator"),
                                           {183, status::address_in_use, "exists already"},
                                           {31, status::io_error, "the text of Windows"}}) {
        host = {};
        host.create_error = error;
        auto const said = open_fails();
        BOOST_TEST((said.why == why && has(said.text, text)));
        BOOST_TEST(host.calls == "LCU");
    }
    host = {};
    host.start_error = 8;
    auto const session = open_fails();
    BOOST_TEST((session.why == status::no_memory && has(session.text, "session")));
    BOOST_TEST(host.calls == "LCSKU");
    host = {};
    host.set_error = 87;
    auto const mtu = open_fails();
    BOOST_TEST((mtu.why == status::invalid && has(mtu.text, "MTU")));
    BOOST_TEST(host.calls == "LCSEKU");
    host = {};
    host.set_error = 120; // Wine cannot set it
    BOOST_TEST(opened().mtu() == wg::default_mtu_bytes);
}

BOOST_AUTO_TEST_CASE(sets_the_mtu_of_the_families_that_the_host_has) {
    for (int const missing : {api::family_v4, api::family_v6}) {
        host = {};
        host.mtus.erase(missing);
        tun device = opened();
        BOOST_TEST(device.set_mtu(1280) == 0);
        BOOST_TEST(device.mtu() == 1280u);
        BOOST_TEST(host.mtus.begin()->second == 1280u);
        BOOST_TEST(host.mtus.size() == 1u);
    }
    host = {};
    tun device = opened();
    host.mtus.clear();
    BOOST_TEST(device.set_mtu(1280) == not_found);
    BOOST_TEST(!device.refresh_mtu());
    BOOST_TEST(device.mtu() == wg::default_mtu_bytes);
    host.mtus = {{api::family_v4, 1400}, {api::family_v6, 1300}};
    BOOST_TEST(device.refresh_mtu());
    BOOST_TEST(device.mtu() == 1300u);
}

BOOST_AUTO_TEST_CASE(reads_packets_until_the_ring_is_empty) {
    host = {};
    tun device = opened();
    host.to_read = {"first", "second"};
    packets<4> in;
    auto count = device.read(in.all);
    BOOST_REQUIRE((count && *count == 2));
    BOOST_TEST((in.text(0) == "first" && in.text(1) == "second" && in.all[0].offset == 16));
    BOOST_TEST((host.held == 0 && host.events_set == 0)); // the driver sets the event again
    BOOST_TEST(*device.read(in.all) == 0u);
    BOOST_TEST(*device.read({}) == 0u);
}

BOOST_AUTO_TEST_CASE(sets_the_event_again_when_packets_are_left) {
    host = {};
    tun device = opened();
    host.to_read = {"1", "2", "3", "4", "5"};
    packets<2> in;
    BOOST_TEST(*device.read(in.all) == 2u);
    BOOST_TEST(host.events_set == 1);
    BOOST_TEST(*device.read(in.all) == 2u);
    BOOST_TEST(host.events_set == 2);
    BOOST_TEST(*device.read(in.all) == 1u);
    BOOST_TEST(host.events_set == 2);
}

BOOST_AUTO_TEST_CASE(drops_packets_that_are_longer_than_their_window) {
    host = {};
    tun device = opened();
    packets<2, 100> in;
    host.to_read = {std::string(101, 'x'), std::string(100, 'y'), std::string(300, 'x'), std::string(200, 'x'), "z"};
    BOOST_TEST(*device.read(in.all) == 2u);
    BOOST_TEST((in.text(0) == std::string(100, 'y') && in.text(1) == "z"));
    BOOST_TEST(device.longest_cut() == 300u);
    BOOST_TEST(device.set_mtu(1400) == 0);
    BOOST_TEST(device.longest_cut() == 0u);
    host.to_read = std::deque<std::string>(1000, std::string(101, 'x')); // not endless
    host.events_set = 0;
    BOOST_TEST(*device.read(in.all) == 0u);
    BOOST_TEST((host.to_read.size() == 744u && host.events_set == 1));
    BOOST_TEST(host.held == 0);
}

BOOST_AUTO_TEST_CASE(reports_an_adapter_that_was_removed) {
    for (auto const& [end, why] :
         {std::pair(end_of_file, status::gone), {invalid_data, status::gone}, {31, status::io_error}}) {
        host = {};
        tun device = opened();
        host.to_read = {"last"};
        host.read_end = end;
        packets<4> in;
        BOOST_TEST(*device.read(in.all) == 1u);
        BOOST_TEST((device.read(in.all).why() == why));
    }
    tun none;
    packets<1> in;
    BOOST_TEST((none.read(in.all).why() == status::gone));
    in.set(0, "x");
    BOOST_TEST(none.write(in.all) == 0u);
    BOOST_TEST((none.mtu() == 0u && none.luid() == 0u && std::string(none.name()).empty()));
}

BOOST_AUTO_TEST_CASE(writes_packets_until_the_ring_is_full) {
    host = {};
    tun device = opened();
    packets<3> out;
    out.set(0, "first");
    out.set(1, "");
    out.set(2, "second");
    BOOST_TEST(device.write(out.all) == 2u);
    BOOST_TEST((host.written == std::vector<std::string>{"first", "second"}));
    host.ring_room = 3;
    BOOST_TEST(device.write(out.all) == 1u);
    BOOST_TEST(device.write(out.all) == 0u);
    BOOST_TEST(host.held == 0);
    host.ring_room = 1000;
    std::vector<wg::byte> large(65536);
    std::array<wg::packet, 2> sizes = {wg::packet(large, 0, 65536), wg::packet(large, 0, 65535)};
    BOOST_TEST(device.write(sizes) == 1u);
    BOOST_TEST(host.written.back().size() == 65535u);
}

namespace {

/// A segment of a TCP connection over IPv4 or IPv6, with right checksums.
std::string segment(bool v4, std::uint32_t sequence, std::string const& payload, wg::byte flags = 16,
                    std::uint16_t port = 80) {
    std::size_t const ip_bytes = v4 ? 20 : 40, size = ip_bytes + 20 + payload.size();
    std::vector<wg::byte> p(size);
    p[0] = v4 ? 0x45 : 0x60;
    if (v4) {
        p[6] = 0x40; // must not be fragmented
        p[8] = 64, p[9] = 6, p[12] = p[16] = 10, p[15] = 1, p[19] = 2;
    } else {
        p[6] = 6, p[7] = 64, p[8] = p[24] = 0xfd, p[23] = 1, p[39] = 2;
    }
    wg::os::headers_detail::finish_ip(p.data(), ip_bytes, size);
    wg::byte* const tcp = &p[ip_bytes];
    wg::store_be16(tcp, port);
    wg::store_be16(tcp + 2, 4000);
    wg::store_be32(tcp + 4, sequence);
    tcp[12] = 0x50;
    tcp[13] = flags;
    std::copy(payload.begin(), payload.end(), tcp + 20);
    std::size_t const bytes = size - ip_bytes;
    wg::os::store_word(tcp + 16, static_cast<std::uint16_t>(~wg::os::fold_sum(wg::os::add_words(
                                     wg::os::headers_detail::pseudo_header_sum(p.data(), 6, bytes), {tcp, bytes}))));
    return {p.begin(), p.end()};
}

/// The packets that reach the host when these are written in one call.
std::vector<std::string> written_of(tun& device, std::vector<std::string> all) {
    std::vector<wg::packet> out;
    for (std::string& text : all)
        out.push_back(wg::packet({reinterpret_cast<wg::byte*>(text.data()), text.size()}, 0, text.size()));
    host.written.clear();
    BOOST_TEST(device.write(out) == out.size());
    BOOST_TEST(host.held == 0);
    return host.written;
}

} // namespace

BOOST_AUTO_TEST_CASE(segments_of_a_connection_are_joined_to_one_packet_with_right_checksums) {
    host = {};
    tun device = opened();
    for (bool const v4 : {true, false}) {
        for (std::size_t const size : {1000u, 999u, 1u}) { // an odd size shifts the words of the checksum
            std::string const a(size, 'a'), b(size, 'b'), c((size + 1) / 2, 'c');
            auto const sent =
                written_of(device, {segment(v4, 7, a), segment(v4, 7 + static_cast<std::uint32_t>(size), b),
                                    segment(v4, 7 + 2 * static_cast<std::uint32_t>(size), c, 16 | 8)});
            BOOST_REQUIRE(sent.size() == 1u);
            BOOST_TEST(sent[0] == segment(v4, 7, a + b + c, 16 | 8));
        }
    }
}

BOOST_AUTO_TEST_CASE(joined_packets_have_at_most_65535_bytes_and_keep_the_order_of_connections) {
    host = {};
    tun device = opened();
    std::vector<std::string> all;
    std::string stream;
    for (std::uint32_t i = 0; i < 300; ++i) {
        std::string const payload(1380, static_cast<char>('a' + i % 26));
        stream += payload;
        all.push_back(segment(true, i * 1380, payload));
        all.push_back(segment(true, i * 5, "other", 16, 81));
    }
    auto const sent = written_of(device, all);
    std::string arrived, other;
    for (std::string const& p : sent) {
        BOOST_TEST(p.size() <= 65535u);
        (p[21] == 80 ? arrived : other) += p.substr(40);
    }
    BOOST_TEST(arrived == stream);
    BOOST_TEST(other.size() == 1500u);
    BOOST_TEST(sent.size() < 20u);
}

BOOST_AUTO_TEST_CASE(nothing_is_joined_that_a_host_would_notice) {
    host = {};
    tun device = opened();
    std::string const payload(1000, 'x');
    std::string wrong = segment(true, 1000, payload);
    wrong[100] ^= 1; // its checksum is wrong now
    for (auto const& all : {std::vector{segment(true, 0, payload), segment(true, 2000, payload)}, // one is missing
                            std::vector{segment(true, 0, payload), wrong},
                            std::vector{segment(true, 0, payload), segment(true, 1000, payload, 16 | 1)}, // FIN
                            std::vector{segment(true, 0, payload), segment(true, 1000, payload, 16, 81)}})
        BOOST_TEST((written_of(device, all) == all));
    std::vector<std::string> datagrams(2, segment(true, 0, payload));
    for (std::string& d : datagrams) d[9] = 17;
    BOOST_TEST((written_of(device, datagrams) == datagrams));
}

BOOST_AUTO_TEST_CASE(nothing_is_joined_for_a_host_that_forwards_or_that_wants_no_joined_packets) {
    std::string const payload(1000, 'x');
    std::vector const all = {segment(true, 0, payload), segment(true, 1000, payload)};
    for (int const kind : {api::family_v4, api::family_v6}) {
        host = {};
        host.forwards[kind] = true;
        tun device = opened();
        BOOST_TEST((!device.joins() && written_of(device, all) == all));
        host.forwards[kind] = false;
        BOOST_TEST(device.refresh_mtu());
        BOOST_TEST((device.joins() && written_of(device, all).size() == 1u));
        host.forwards[kind] = true;
        BOOST_TEST(device.refresh_mtu());
        BOOST_TEST((!device.joins() && written_of(device, all) == all));
    }
    host = {};
    wg::os::error_text why;
    auto plain = tun::open("wg0", why, wg::default_mtu_bytes, {.tso = false});
    BOOST_REQUIRE(plain);
    BOOST_TEST((written_of(*plain, all) == all));
}

BOOST_AUTO_TEST_CASE(a_joined_packet_without_room_in_the_ring_is_written_in_segments) {
    host = {};
    tun device = opened();
    std::string const payload(1000, 'x');
    std::vector const all = {segment(true, 0, payload), segment(true, 1000, payload), segment(true, 2000, payload)};
    host.longest = 1500;
    BOOST_TEST((written_of(device, all) == all));
    host.longest = 65535;
    host.ring_room = all.size(); // the ring is full now
    std::string text = all[0];
    wg::packet one({reinterpret_cast<wg::byte*>(text.data()), text.size()}, 0, text.size());
    BOOST_TEST(device.write({&one, 1}) == 0u);
}

BOOST_AUTO_TEST_CASE(one_object_at_a_time_reads_an_adapter_that_several_share) {
    host = {};
    tun device = opened();
    {
        auto other = device.share();
        BOOST_REQUIRE(other);
        BOOST_TEST((other->event() == device.event() && other->luid() == luid && other->mtu() == device.mtu()));
        BOOST_TEST(std::string(other->name()) == "wg0");
        packets<4> in;
        host.to_read = {"1", "2", std::string(101, 'x')};
        BOOST_TEST(*device.read(in.all) == 2u);
        BOOST_TEST(other->longest_cut() == 101u);
        host.to_read = {"3"};
        BOOST_TEST(*other->read(in.all) == 0u); // the packets of the first read may not be sent yet
        BOOST_TEST(host.to_read.size() == 1u);
        BOOST_TEST(host.events_set == 0);
        device.settle();
        BOOST_TEST(host.events_set == 1); // a wait for the event that is past has found nothing
        BOOST_TEST(*other->read(in.all) == 1u);
        BOOST_TEST(in.text(0) == "3");
        other->settle();
        BOOST_TEST(host.events_set == 1); // nobody waits
        BOOST_TEST(*other->read(in.all) == 0u);
        BOOST_TEST(written_of(*other, {"from another thread"}) == std::vector<std::string>{"from another thread"});
        BOOST_TEST(host.calls == "LCS");
    } // gives back what it has claimed, and leaves the adapter
    packets<1> in;
    host.to_read = {"4"};
    BOOST_TEST(*device.read(in.all) == 1u);
    BOOST_TEST(host.calls == "LCS");
    BOOST_TEST((tun().share().why() == status::gone));
}

namespace {

struct routes_state {
    std::vector<api::route_row> rows;
    std::map<std::uint64_t, std::uint32_t> metrics; ///< of interfaces, by LUID
    bool refuses = false, has_no_metrics = false;
    int tables = 0, wanted_family = 0;
} routing;

struct route_test_calls {
    static api::route_table* routes(int kind) noexcept {
        routing.wanted_family = kind;
        if (routing.refuses) return nullptr;
        ++routing.tables;
        std::size_t const rows_at = offsetof(api::route_table, first);
        static std::array<std::uint64_t, 1024> room;
        auto* const bytes = reinterpret_cast<wg::byte*>(room.data());
        BOOST_REQUIRE(rows_at + routing.rows.size() * sizeof(api::route_row) <= sizeof room);
        auto const count = static_cast<std::uint32_t>(routing.rows.size());
        std::memcpy(bytes, &count, sizeof count);
        if (count != 0) std::memcpy(bytes + rows_at, routing.rows.data(), count * sizeof(api::route_row));
        return reinterpret_cast<api::route_table*>(bytes);
    }
    static void release(api::route_table*) noexcept { --routing.tables; }
    static int get_interface(api::interface_row& row) noexcept {
        if (routing.has_no_metrics) return 120;
        BOOST_TEST(row.family == routing.wanted_family);
        if (routing.metrics.count(row.luid) == 0) return not_found;
        row.metric = routing.metrics[row.luid];
        return 0;
    }
};

void add_route(std::uint64_t to_luid, std::uint32_t index, std::uint32_t metric, wg::byte bits = 0) {
    api::route_row row{};
    row.luid = to_luid;
    row.index = index;
    row.metric = metric;
    row.destination.bits = bits;
    routing.rows.push_back(row);
}
std::uint32_t found(std::uint64_t own = 99, wg::family kind = wg::family::v4) {
    std::uint32_t const index = windows::default_interface<route_test_calls>(kind, own);
    BOOST_TEST(routing.tables == 0);
    return index;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_default_interface_has_the_lowest_metric_outside_the_tunnel) {
    routing = {};
    BOOST_TEST(found() == 0u);
    routing.metrics = {{1, 50}, {2, 10}, {3, 0}, {99, 0}};
    add_route(99, 9, 0); // the tunnel's own
    BOOST_TEST(found() == 0u);
    add_route(3, 7, 0, 8); // no default route
    BOOST_TEST(found() == 0u);
    add_route(1, 4, 0);
    BOOST_TEST(found() == 4u);
    add_route(2, 5, 45); // 55 in all, more than 50
    BOOST_TEST(found() == 4u);
    add_route(2, 6, 39); // 49 in all
    BOOST_TEST(found() == 6u);
    add_route(4, 8, 0); // an interface that was removed
    BOOST_TEST(found(99, wg::family::v6) == 6u);
    BOOST_TEST(routing.wanted_family == api::family_v6);
    BOOST_TEST(found(2) == 9u); // with another tunnel
    routing.metrics[1] = 0xffffffff;
    routing.rows.resize(3);
    routing.rows[2].metric = 0xffffffff; // the sum is no overflow
    BOOST_TEST(found() == 4u);
    routing.has_no_metrics = true; // Wine: the route's alone
    add_route(2, 6, 7);
    BOOST_TEST(found() == 6u);
    routing.refuses = true;
    BOOST_TEST(found() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
