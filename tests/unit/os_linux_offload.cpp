// SPDX-License-Identifier: BSL-1.0
// Frames with a virtio header: cut into packets, and joined from packets.
#include "wg/os/tun/segmenter.hpp"
#include "wg/os/linux/tun/tun.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_linux_offload)

namespace {

using buffer = std::vector<wg::byte>;
using packets = std::vector<buffer>;
using header = wg::os::virtio_header;

buffer from_hex(std::string const& text) {
    buffer out;
    for (std::size_t i = 0; i < text.size(); i += 2)
        out.push_back(static_cast<wg::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
    return out;
}

buffer framed(header const& h, buffer const& packet) {
    buffer frame = {h.flags, h.segments};
    for (unsigned const number : {h.header_bytes, h.segment_bytes, h.checksum_start, h.checksum_offset})
        for (unsigned const shift : {0u, 8u}) frame.push_back(static_cast<wg::byte>(number >> shift));
    std::size_t const header_bytes = frame.size();
    frame.resize(header_bytes + packet.size()); // g++ 14 warns of bytes that are inserted
    std::ranges::copy(packet, frame.begin() + static_cast<std::ptrdiff_t>(header_bytes));
    frame.shrink_to_fit();
    return frame;
}

/// The packets that a segmenter makes of a frame; each has `room` octets. Buffers have exactly the given sizes.
packets cut(buffer frame, std::size_t room = 65535) {
    wg::os::segmenter segments;
    packets out;
    if (!segments.begin(frame)) {
        BOOST_TEST(!segments.pending());
        return out;
    }
    while (segments.pending()) {
        BOOST_REQUIRE(out.size() < 70000u);
        std::unique_ptr<wg::byte[]> const memory(new wg::byte[room + 5]);
        wg::packet p({memory.get(), room + 5}, 5);
        segments.next(p);
        BOOST_REQUIRE((p.offset == 5 && p.length <= room));
        auto const view = p.view();
        out.emplace_back(view.begin(), view.end());
    }
    return out;
}

/// The frames that a coalescer makes of at most 64 packets, as the device would get them.
packets joined(packets const& in) {
    packets const before = in;
    std::vector<wg::packet> windows;
    for (buffer const& p : in) windows.emplace_back(wg::bytes(const_cast<wg::byte*>(p.data()), p.size()), 0, p.size());
    wg::os::coalescer plan(windows, true, true);
    packets frames;
    std::size_t count = 0;
    for (std::size_t i = 0; i < plan.frame_count(); ++i) {
        buffer frame;
        for (iovec const& piece : plan.pieces(i)) {
            auto const* const from = static_cast<wg::byte const*>(piece.iov_base);
            frame.insert(frame.end(), from, from + piece.iov_len);
        }
        frames.push_back(std::move(frame));
        std::size_t mine = 0;
        plan.each_packet(i, [&](wg::packet const&) { ++mine; });
        BOOST_TEST(mine == plan.packet_count(i));
        count += mine;
    }
    BOOST_TEST(count == in.size()); // no packet is lost or doubled
    BOOST_TEST((in == before));
    return frames;
}

header header_of(buffer const& frame) {
    BOOST_REQUIRE(frame.size() >= 10u);
    auto const number = [&](std::size_t at) { return static_cast<std::uint16_t>(frame[at] | frame[at + 1] << 8); };
    return {frame[0], frame[1], number(2), number(4), number(6), number(8)};
}

// --- an independent implementation, octet by octet as the RFCs describe it

std::uint32_t plain_sum(wg::byte const* from, std::size_t size, std::uint32_t sum = 0) {
    for (std::size_t i = 0; i < size; ++i) sum += i % 2 == 0 ? std::uint32_t{from[i]} << 8 : from[i];
    while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
    return sum;
}

/// The fields of a TCP or UDP packet.
struct shape {
    bool v4 = true, udp = false;
    std::uint8_t tos = 0, ttl = 64, host = 2;
    std::uint16_t id = 100, port = 5201, window = 1000, urgent = 0;
    std::uint16_t fragment = 0x4000;
    std::uint32_t sequence = 1, ack = 77, flow_label = 0;
    unsigned flags = 0x10;
    std::string options{};
    std::string payload{};
};

std::size_t ip_bytes_of(buffer const& p) { return p[0] >> 4 == 4 ? 20 : 40; }

/// Sets the right checksums; only the sum of the pseudo header if `partial`.
void set_checksums(buffer& p, bool partial = false) {
    std::size_t const ip = ip_bytes_of(p), size = p.size() - ip;
    bool const udp = p[ip == 20 ? 9 : 6] == 17;
    std::size_t const at = ip + (udp ? 6 : 16);
    if (ip == 20) {
        p[10] = p[11] = 0;
        wg::store_be16(&p[10], static_cast<std::uint16_t>(~plain_sum(p.data(), 20)));
    }
    std::uint32_t const pseudo =
        plain_sum(&p[ip == 20 ? 12 : 8], ip == 20 ? 8 : 32, static_cast<std::uint32_t>((udp ? 17 : 6) + size));
    if (p.size() < at + 2) return;
    p[at] = p[at + 1] = 0;
    auto const sum = static_cast<std::uint16_t>(partial ? pseudo : ~plain_sum(&p[ip], size, pseudo));
    wg::store_be16(&p[at], udp && sum == 0 ? std::uint16_t{0xffff} : sum);
}

buffer packet_of(shape const& s, bool partial = false) {
    std::size_t const ip = s.v4 ? 20 : 40;
    std::size_t const size = ip + (s.udp ? 8 : 20 + s.options.size()) + s.payload.size();
    buffer p(size);
    if (s.v4) {
        p[0] = 0x45;
        p[1] = s.tos;
        wg::store_be16(&p[2], static_cast<std::uint16_t>(size));
        wg::store_be16(&p[4], s.id);
        wg::store_be16(&p[6], s.fragment);
        p[8] = s.ttl;
        p[9] = s.udp ? 17 : 6;
        wg::store_be32(&p[12], 0x0a090001);
        wg::store_be32(&p[16], 0x0a090000u + s.host);
    } else {
        wg::store_be32(&p[0], 0x60000000u | std::uint32_t{s.tos} << 20 | s.flow_label);
        wg::store_be16(&p[4], static_cast<std::uint16_t>(size - 40));
        p[6] = s.udp ? 17 : 6;
        p[7] = s.ttl;
        p[8] = p[24] = 0xfd;
        p[23] = 1;
        p[39] = s.host;
    }
    wg::byte* const segment = &p[ip];
    wg::store_be16(segment, 40000);
    wg::store_be16(segment + 2, s.port);
    if (s.udp) {
        wg::store_be16(segment + 4, static_cast<std::uint16_t>(size - ip));
    } else {
        wg::store_be32(segment + 4, s.sequence);
        wg::store_be32(segment + 8, s.ack);
        wg::store_be16(segment + 12, static_cast<std::uint16_t>((20 + s.options.size()) / 4 << 12 | s.flags));
        wg::store_be16(segment + 14, s.window);
        wg::store_be16(segment + 18, s.urgent);
        std::copy(s.options.begin(), s.options.end(), p.begin() + static_cast<std::ptrdiff_t>(ip + 20));
    }
    std::copy(s.payload.begin(), s.payload.end(), p.end() - static_cast<std::ptrdiff_t>(s.payload.size()));
    set_checksums(p, partial);
    return p;
}

/// The header of a frame that is to be cut.
header cut_at(shape const& s, std::size_t segment_bytes) {
    std::uint8_t const tcp = s.v4 ? header::tcp_v4 : header::tcp_v6;
    return {header::needs_checksum,
            s.udp ? std::uint8_t{header::udp} : tcp,
            0,
            static_cast<std::uint16_t>(segment_bytes),
            static_cast<std::uint16_t>(s.v4 ? 20 : 40),
            static_cast<std::uint16_t>(s.udp ? 6 : 16)};
}

/// `count` consecutive packets of `size` octets each; IPv4 identifications count up.
packets stream(shape s, std::size_t count, std::size_t size) {
    packets out;
    for (std::size_t i = 0; i < count; ++i) {
        s.payload = std::string(size, static_cast<char>('a' + i % 26));
        out.push_back(packet_of(s));
        s.sequence += static_cast<std::uint32_t>(size);
        ++s.id;
    }
    return out;
}

/// The number of packets in each frame that is made of these packets.
std::vector<std::size_t> sizes_of_frames(packets const& in) {
    std::vector<std::size_t> sizes;
    for (buffer const& f : joined(in)) sizes.push_back(cut(f).size());
    return sizes;
}

using generator = std::mt19937;
std::size_t below(generator& g, std::size_t limit) { return g() % limit; }
std::string some_text(generator& g, std::size_t size) {
    std::string out(size, 0);
    for (char& c : out) c = static_cast<char>(g());
    return out;
}
shape some_shape(generator& g) {
    shape s;
    s.v4 = g() % 2 == 0;
    s.tos = static_cast<std::uint8_t>(g());
    s.ttl = static_cast<std::uint8_t>(g());
    s.id = static_cast<std::uint16_t>(g());
    s.window = static_cast<std::uint16_t>(g());
    s.fragment = g() % 2 == 0 ? 0x4000 : 0;
    s.sequence = g() % 4 == 0 ? 0xfffffff0u : static_cast<std::uint32_t>(g());
    s.ack = static_cast<std::uint32_t>(g());
    s.flow_label = static_cast<std::uint32_t>(g()) & 0xfffff;
    s.options = some_text(g, 4 * below(g, 11));
    return s;
}

} // namespace

// The packets in hexadecimal were computed in Python, with `struct` and an independent checksum.

BOOST_AUTO_TEST_CASE(cuts_ipv4_with_options_as_computed) {
    shape const v4;
    auto const out = cut(framed(
        cut_at(v4, 10), from_hex("4502004dffff4000400626950a0900010a0900029c401451fffffff60102030480d901f6145400"
                                 "000101080a11223344556677884142434445464748494a4b4c4d4e4f50515253545556575859")));
    BOOST_REQUIRE(out.size() == 3u);
    // Identification and sequence number wrap around; the first segment has CWR, the last one has FIN and PSH.
    BOOST_TEST((out[0] == from_hex("4502003effff4000400626a40a0900010a0900029c401451fffffff60102030480d001f63fa60000"
                                   "0101080a11223344556677884142434445464748494a")));
    BOOST_TEST((out[1] == from_hex("4502003e00004000400626a40a0900010a0900029c4014510000000001020304805001f60deb0000"
                                   "0101080a11223344556677884b4c4d4e4f5051525354")));
    BOOST_TEST((out[2] == from_hex("4502003900014000400626a80a0900010a0900029c4014510000000a01020304805901f694bf0000"
                                   "0101080a11223344556677885556575859")));
}

BOOST_AUTO_TEST_CASE(cuts_ipv6_as_computed) {
    shape v6;
    v6.v4 = false;
    auto const frame =
        from_hex("60212345002d0639fd000000000000000000000000000001fd0000010002000300040005000600079c40145"
                 "100000007000000095018fffffa5100004142434445464748494a4b4c4d4e4f50515253545556575859");
    packets const expected = {
        from_hex(
            "6021234500210639fd000000000000000000000000000001fd0000010002000300040005000600079c4014510000000700000009"
            "5010ffff125c00004142434445464748494a4b4c4d"),
        from_hex(
            "6021234500200639fd000000000000000000000000000001fd0000010002000300040005000600079c4014510000001400000009"
            "5018ffff10fa00004e4f50515253545556575859")};
    BOOST_TEST((cut(framed(cut_at(v6, 13), frame)) == expected));
    header with_ecn = cut_at(v6, 13);
    with_ecn.segments |= header::ecn;
    BOOST_TEST((cut(framed(with_ecn, frame)) == expected));
    // Joined again they are that frame. Only the length of the headers, a hint for the host, differs.
    auto const again = joined(expected);
    BOOST_REQUIRE(again.size() == 1u);
    header wanted = cut_at(v6, 13);
    wanted.header_bytes = 60;
    BOOST_TEST((again[0] == framed(wanted, frame)));
}

BOOST_AUTO_TEST_CASE(completes_checksums_as_computed) {
    struct {
        char const *partial, *whole;
        std::uint16_t start, offset;
    } const vectors[] = {
        {"4502002100014000401126b50a0900010a09000200010002000d143368656c6c6f",
         "4502002100014000401126b50a0900010a09000200010002000da7ea68656c6c6f", 20, 6},
        // UDP with a checksum of zero, which must not be stored as zero
        {"60212345000a1139fd000000000000000000000000000001fd00000100020003000400050006000700010002000afa3905b9",
         "60212345000a1139fd000000000000000000000000000001fd00000100020003000400050006000700010002000affff05b9", 40, 6},
        {"4502002800054000400626b50a0900010a09000200010002000000030000000050020064142f0000",
         "4502002800054000400626b50a0900010a090002000100020000000300000000500200649b640000", 20, 16}};
    for (auto const& v : vectors) {
        header h;
        BOOST_TEST((cut(framed(h, from_hex(v.whole))) == packets{from_hex(v.whole)})); // complete already
        h.flags = header::needs_checksum;
        h.checksum_start = v.start;
        h.checksum_offset = v.offset;
        BOOST_TEST((cut(framed(h, from_hex(v.partial))) == packets{from_hex(v.whole)}));
    }
}

BOOST_AUTO_TEST_CASE(sums_any_length_and_alignment) {
    generator g(1);
    auto const text = some_text(g, 3000);
    auto const* const from = reinterpret_cast<wg::byte const*>(text.data());
    for (std::size_t size = 0; size < 200; ++size)
        for (std::size_t at = 0; at < 9; ++at) {
            wg::byte stored[2];
            auto const sum = wg::os::fold_sum(wg::os::add_words(0, {from + at, size}));
            std::memcpy(stored, &sum, 2);
            BOOST_REQUIRE(wg::load_be16(stored) == plain_sum(from + at, size));
            buffer copied(size + 1, 0x55);
            BOOST_REQUIRE(wg::os::fold_sum(wg::os::copy_and_add_words(0, copied.data(), {from + at, size})) == sum);
            BOOST_REQUIRE((std::equal(from + at, from + at + size, copied.begin()) && copied[size] == 0x55));
        }
    buffer const ones(1 << 20, 0xff); // the greatest possible sum
    BOOST_TEST(wg::os::fold_sum(wg::os::add_words(0, ones)) == 0xffff);
}

BOOST_AUTO_TEST_CASE(drops_malformed_frames) {
    for (bool const is_v4 : {true, false}) {
        shape s;
        s.v4 = is_v4;
        s.payload = std::string(100, 'x');
        buffer const packet = packet_of(s, true);
        header const good = cut_at(s, 40);
        BOOST_REQUIRE(cut(framed(good, packet)).size() == 3u);
        std::size_t const ip = is_v4 ? 20 : 40;
        struct {
            char const* what;
            std::function<void(header&, buffer&)> change;
        } const faults[] = {
            {"no segment size", [](header& h, buffer&) { h.segment_bytes = 0; }},
            {"no checksum wanted", [](header& h, buffer&) { h.flags = 0; }},
            {"UDP fragments", [](header& h, buffer&) { h.segments = 3; }},
            {"UDP segments", [](header& h, buffer&) { h.segments = 5; }},
            {"ECN of nothing", [](header& h, buffer&) { h.segments = 0x80; }},
            {"the other version", [&](header& h, buffer&) { h.segments = is_v4 ? 4 : 1; }},
            {"no IP", [](header&, buffer& p) { p[0] = 0x75; }},
            {"TCP inside the IP header", [](header& h, buffer&) { h.checksum_start -= 4; }},
            {"TCP nowhere", [](header& h, buffer&) { h.checksum_start = 0xffff; }},
            {"checksum elsewhere", [](header& h, buffer&) { h.checksum_offset = 6; }},
            {"not TCP", [&](header&, buffer& p) { p[is_v4 ? 9 : 6] = 17; }},
            {"longer than it says", [](header&, buffer& p) { p.push_back(0); }},
            {"shorter than it says", [](header&, buffer& p) { p.pop_back(); }},
            {"TCP header too short", [&](header&, buffer& p) { p[ip + 12] = 0x40; }},
            {"TCP header longer than all",
             [&](header&, buffer& p) {
                 p[ip + 12] = 0xf0;
                 p.resize(ip + 60);
                 if (is_v4) wg::store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
                 else wg::store_be16(&p[4], static_cast<std::uint16_t>(p.size() - 40));
             }},
            {"nothing but a header", [](header&, buffer& p) { p.clear(); }},
        };
        for (auto const& fault : faults) {
            header h = good;
            buffer p = packet;
            fault.change(h, p);
            BOOST_TEST(cut(framed(h, p)).empty(), fault.what);
        }
        if (is_v4) {
            for (unsigned const fragment : {0x2000u, 1u}) {
                s.fragment = static_cast<std::uint16_t>(fragment);
                BOOST_TEST(cut(framed(good, packet_of(s, true))).empty());
            }
        }
        // A checksum outside of the packet, which is not to be cut.
        for (std::size_t const start : {99 + ip + 20, std::size_t{0xffff}}) {
            header h = good;
            h.segments = header::no_segments;
            h.checksum_start = static_cast<std::uint16_t>(start);
            h.checksum_offset = 0xffff;
            BOOST_TEST(cut(framed(h, packet)).empty());
        }
        for (std::size_t const from_end : {1u, 2u}) { // the last possible place of a checksum
            header h = good;
            h.segments = header::no_segments;
            h.checksum_start = static_cast<std::uint16_t>(ip);
            h.checksum_offset = static_cast<std::uint16_t>(packet.size() - from_end - ip);
            BOOST_TEST(cut(framed(h, packet)).size() == from_end - 1);
        }
        for (std::size_t size = 0; size <= 10; ++size) BOOST_TEST(cut(buffer(size)).empty());
    }
    BOOST_TEST(cut(buffer(65545)).size() == 1u);
    BOOST_TEST(cut(buffer(65546)).empty());
}

BOOST_AUTO_TEST_CASE(cuts_packets_that_do_not_fit_their_room) {
    shape s;
    s.payload = std::string(250, 'x');
    auto const whole = cut(framed(cut_at(s, 100), packet_of(s, true)));
    for (std::size_t const room : {0u, 1u, 20u, 40u, 41u, 139u}) {
        auto const short_ones = cut(framed(cut_at(s, 100), packet_of(s, true)), room);
        BOOST_REQUIRE(short_ones.size() == whole.size());
        for (std::size_t i = 0; i < whole.size(); ++i) {
            buffer expected = whole[i];
            expected.resize(std::min(room, expected.size()));
            BOOST_TEST((short_ones[i] == expected));
        }
    }
    BOOST_TEST(cut(framed({}, whole[0]), 30)[0].size() == 30u);
}

BOOST_AUTO_TEST_CASE(random_frames_are_cut_correctly_and_joined_again) {
    for (unsigned seed = 1; seed <= 4000; ++seed) {
        BOOST_TEST_CONTEXT("seed " << seed) {
            generator g(seed);
            shape s = some_shape(g);
            s.udp = seed % 4 == 0;
            s.flags |= (g() % 2 ? 0x08u : 0u) | (g() % 4 == 0 ? 0x40u : 0u) | (g() % 8 == 0 ? 0x01u : 0u) |
                       (g() % 8 == 0 ? 0x80u : 0u);
            std::size_t const most = 65535 - 100, segment = 1 + below(g, seed % 3 == 0 ? 100 : 1500);
            std::size_t const bytes = std::min(most, 1 + below(g, 64 * segment));
            s.payload = some_text(g, bytes);
            packets const out = cut(framed(cut_at(s, segment), packet_of(s, true)));
            std::size_t const count = (bytes + segment - 1) / segment;
            BOOST_REQUIRE(out.size() == count);
            for (std::size_t i = 0; i < count; ++i) { // each segment as its host would have made it
                shape part = s;
                part.payload = s.payload.substr(i * segment, segment);
                part.sequence += static_cast<std::uint32_t>(i * segment);
                part.id = static_cast<std::uint16_t>(s.id + i);
                if (i != 0) part.flags &= ~0x80u;
                if (i + 1 != count) part.flags &= ~0x09u;
                BOOST_REQUIRE((out[i] == packet_of(part)));
            }
            // A packet with FIN or CWR is not joined.
            bool const fin = !s.udp && (s.flags & 1) != 0, cwr = !s.udp && (s.flags & 0x80) != 0;
            std::size_t const alone = count == 1 ? 0 : std::size_t{fin} + cwr;
            packets const again = joined(out);
            BOOST_REQUIRE(again.size() == alone + (count > alone));
            packets back;
            for (buffer const& frame : again)
                for (buffer& p : cut(frame)) back.push_back(std::move(p));
            BOOST_REQUIRE((back == out));
        }
    }
}

BOOST_AUTO_TEST_CASE(joins_a_run_and_no_packet_that_differs) {
    for (bool const is_v4 : {true, false}) {
        shape base;
        base.v4 = is_v4;
        base.options = std::string("\1\1\x08\x0a\0\0\0\1\0\0\0\2", 12);
        packets const run = stream(base, 5, 100);
        using sizes = std::vector<std::size_t>;
        BOOST_TEST((sizes_of_frames(run) == sizes{5}));
        header const h = header_of(joined(run)[0]);
        BOOST_TEST((h.flags == header::needs_checksum && h.segments == (is_v4 ? header::tcp_v4 : header::tcp_v6)));
        BOOST_TEST((h.segment_bytes == 100 && h.header_bytes == (is_v4 ? 52 : 72) && h.checksum_offset == 16));

        // The third packet differs: the first two are joined, and the third is not.
        std::size_t const ip = is_v4 ? 20 : 40;
        struct {
            char const* what;
            std::function<void(buffer&)> change;
            sizes expected;
            bool repair = true; ///< the checksums are right
        } const differences[] = {
            {"wrong TCP checksum", [&](buffer& p) { p[ip + 16] ^= 1; }, {2, 1, 2}, false},
            {"wrong payload", [](buffer& p) { p.back() ^= 1; }, {2, 1, 2}, false},
            {"acknowledgement", [&](buffer& p) { p[ip + 11] ^= 1; }, {2, 1, 2}},
            {"window", [&](buffer& p) { p[ip + 15] ^= 1; }, {2, 1, 2}},
            {"urgent pointer", [&](buffer& p) { p[ip + 19] ^= 1; }, {2, 1, 2}},
            {"options", [&](buffer& p) { p[ip + 31] ^= 1; }, {2, 1, 2}},
            {"ECE", [&](buffer& p) { p[ip + 13] ^= 0x40; }, {2, 1, 2}},
            {"CWR", [&](buffer& p) { p[ip + 13] ^= 0x80; }, {2, 1, 2}},
            {"FIN", [&](buffer& p) { p[ip + 13] ^= 1; }, {2, 1, 2}},
            {"SYN", [&](buffer& p) { p[ip + 13] ^= 2; }, {2, 1, 2}},
            {"RST", [&](buffer& p) { p[ip + 13] ^= 4; }, {2, 1, 2}},
            {"URG", [&](buffer& p) { p[ip + 13] ^= 0x20; }, {2, 1, 2}},
            {"no ACK", [&](buffer& p) { p[ip + 13] ^= 0x10; }, {2, 1, 2}},
            {"AE", [&](buffer& p) { p[ip + 12] ^= 1; }, {2, 1, 2}},
            {"PSH ends a run", [&](buffer& p) { p[ip + 13] ^= 8; }, {3, 2}},
            {"sequence", [&](buffer& p) { p[ip + 7] ^= 1; }, {2, 1, 2}},
            {"time to live", [&](buffer& p) { p[is_v4 ? 8 : 7] ^= 1; }, {2, 1, 2}},
            {"tos", [&](buffer& p) { p[1] ^= is_v4 ? 4 : 0x40; }, {2, 1, 2}},
            {"ECN", [&](buffer& p) { p[1] ^= is_v4 ? 3 : 0x30; }, {2, 1, 2}},
            {"flow label, or don't fragment", [&](buffer& p) { p[is_v4 ? 6 : 3] ^= 0x40; }, {2, 1, 2}},
            {"source: another connection", [&](buffer& p) { p[is_v4 ? 15 : 23] ^= 8; }, {2, 1, 2}},
            {"destination", [&](buffer& p) { p[is_v4 ? 19 : 39] ^= 8; }, {2, 1, 2}},
            {"source port", [&](buffer& p) { p[ip] ^= 8; }, {2, 1, 2}},
            {"destination port", [&](buffer& p) { p[ip + 3] ^= 8; }, {2, 1, 2}},
            {"a later fragment, or an extension header", [&](buffer& p) { p[is_v4 ? 7 : 6] ^= 0x2a; }, {2, 1, 2}},
            {"longer than it says", [](buffer& p) { p.push_back(0); }, {2, 1, 2}, false},
            {"shorter than it says", [](buffer& p) { p.pop_back(); }, {2, 1, 2}, false},
        };
        for (auto const& d : differences) {
            packets in = run;
            d.change(in[2]);
            if (d.repair) set_checksums(in[2]);
            BOOST_TEST((sizes_of_frames(in) == d.expected), d.what << (is_v4 ? ", IPv4" : ", IPv6"));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_run_ends_where_size_or_identification_breaks_it) {
    using sizes = std::vector<std::size_t>;
    shape s;
    packets in = stream(s, 2, 100);
    s.sequence += 200;
    s.id += 2;
    s.payload = std::string(60, 'y');
    in.push_back(packet_of(s)); // a shorter packet ends its run
    s.sequence += 60;
    s.id += 1;
    for (buffer& p : stream(s, 2, 60)) in.push_back(std::move(p));
    BOOST_TEST((sizes_of_frames(in) == sizes{3, 2}));

    shape first;
    first.payload = std::string(60, 'y');
    shape longer = first;
    longer.sequence += 60;
    ++longer.id;
    longer.payload = std::string(61, 'y');
    BOOST_TEST((sizes_of_frames({packet_of(first), packet_of(longer)}) == sizes{1, 1}));

    // Without "don't fragment" the identification is used, and must count up.
    for (unsigned const fragment : {0u, 0x4000u}) {
        shape a, b;
        a.payload = b.payload = "text";
        b.sequence += 4;
        a.fragment = b.fragment = static_cast<std::uint16_t>(fragment);
        BOOST_TEST((sizes_of_frames({packet_of(a), packet_of(b)}) == (fragment ? sizes{2} : sizes{1, 1})));
        ++b.id;
        BOOST_TEST((sizes_of_frames({packet_of(a), packet_of(b)}) == sizes{2}));
    }
    // A wrong header checksum; IPv6 has none.
    packets broken = stream(shape{}, 3, 100);
    broken[0][10] ^= 1;
    BOOST_TEST((sizes_of_frames(broken) == sizes{1, 2}));
    // At most 65535 octets.
    BOOST_TEST((sizes_of_frames(stream(shape{}, 50, 1460)) == sizes{44, 6}));
    BOOST_TEST((sizes_of_frames(stream(shape{}, 64, 1)) == sizes{64}));
    // Packets without payload: acknowledgements are not joined.
    BOOST_TEST((sizes_of_frames(stream(shape{}, 3, 0)) == sizes{1, 1, 1}));
    BOOST_TEST(joined({}).empty());
}

BOOST_AUTO_TEST_CASE(joins_each_of_several_interleaved_connections) {
    shape a, b;
    b.port = 80;
    packets const of_a = stream(a, 10, 500), of_b = stream(b, 10, 300);
    packets in;
    for (std::size_t i = 0; i < 10; ++i) in.push_back(of_a[i]), in.push_back(of_b[i]);
    auto const frames = joined(in);
    BOOST_REQUIRE(frames.size() == 2u);
    BOOST_TEST((cut(frames[0]) == of_a));
    BOOST_TEST((cut(frames[1]) == of_b));

    // A packet that may belong to any connection is not overtaken.
    buffer fragment = of_b[0];
    wg::store_be16(&fragment[6], 0x0010);
    packets parted(of_a.begin(), of_a.begin() + 5);
    parted.push_back(fragment);
    parted.insert(parted.end(), of_a.begin() + 5, of_a.end());
    BOOST_TEST((sizes_of_frames(parted) == std::vector<std::size_t>{5, 1, 5}));
    // A packet of UDP may be overtaken.
    parted[5] = of_b[0];
    parted[5][9] = 17;
    BOOST_TEST((sizes_of_frames(parted) == std::vector<std::size_t>{10, 1}));
}

BOOST_AUTO_TEST_CASE(joins_datagrams_of_a_flow_with_equal_lengths) {
    using sizes = std::vector<std::size_t>;
    for (bool const is_v4 : {true, false}) {
        shape base;
        base.v4 = is_v4;
        base.udp = true;
        packets const run = stream(base, 5, 100);
        BOOST_TEST((sizes_of_frames(run) == sizes{5}));
        header const h = header_of(joined(run)[0]);
        BOOST_TEST((h.flags == header::needs_checksum && h.segments == header::udp && h.segment_bytes == 100));
        BOOST_TEST((h.header_bytes == (is_v4 ? 28 : 48) && h.checksum_offset == 6));

        std::size_t const ip = is_v4 ? 20 : 40;
        auto const third = [&](auto change, bool repair) {
            packets in = run;
            change(in[2]);
            if (repair) set_checksums(in[2]);
            return sizes_of_frames(in);
        };
        auto const resized = [&](std::size_t payload) {
            return [=](buffer& p) {
                shape s = base;
                s.id = static_cast<std::uint16_t>(base.id + 2);
                s.payload = std::string(payload, 'y');
                p = packet_of(s);
            };
        };
        BOOST_TEST((third(resized(99), true) == sizes{3, 2})); // a shorter datagram ends its run
        BOOST_TEST((third(resized(101), true) == sizes{2, 2, 1}));
        BOOST_TEST((third(resized(0), true) == sizes{2, 1, 2}));
        BOOST_TEST((third([&](buffer& p) { p[ip + 6] ^= 1; }, false) == sizes{2, 1, 2}));
        BOOST_TEST(
            (third([&](buffer& p) { p[ip + 6] = p[ip + 7] = 0; }, false) == sizes{2, 1, 2}));      // without a checksum
        BOOST_TEST((third([&](buffer& p) { p[ip + 5] ^= 1; }, true) == sizes{2, 1, 2}));           // a wrong length
        BOOST_TEST((third([&](buffer& p) { p[ip + 3] ^= 8; }, true) == sizes{4, 1}));              // another port
        BOOST_TEST((third([&](buffer& p) { p[1] ^= is_v4 ? 4 : 0x40; }, true) == sizes{2, 1, 2})); // the tos
        BOOST_TEST((third([&](buffer& p) { p[is_v4 ? 8 : 7] ^= 1; }, true) == sizes{2, 1, 2}));    // time to live
        BOOST_TEST((third([&](buffer& p) { p[is_v4 ? 9 : 6] ^= 17 ^ 6; }, false) == sizes{4, 1})); // TCP
    }
    // At most as many in a frame as the host takes.
    shape udp;
    udp.udp = true;
    BOOST_TEST((sizes_of_frames(stream(udp, 130, 1)) == sizes{64, 64, 2}));
    // Where the host takes no such frames, nothing is joined; the same for TCP.
    packets mixed = stream(udp, 3, 50);
    for (buffer const& p : stream({}, 3, 50)) mixed.push_back(p);
    std::vector<wg::packet> windows;
    for (buffer& p : mixed) windows.emplace_back(p, 0, p.size());
    BOOST_TEST(wg::os::coalescer(windows, true, true).frame_count() == 2u);
    BOOST_TEST(wg::os::coalescer(windows, true, false).frame_count() == 4u);
    BOOST_TEST(wg::os::coalescer(windows, false, true).frame_count() == 4u);
    BOOST_TEST(wg::os::coalescer(windows, false, false).frame_count() == 6u);
}

// Random packets of several connections, many of them changed at random. Frames, cut again, give back the same packets,
// and packets of one connection keep their order.
BOOST_AUTO_TEST_CASE(joining_and_cutting_gives_back_the_same_segments) {
    std::size_t joined_packets = 0;
    for (unsigned seed = 1; seed <= 3000; ++seed) {
        BOOST_TEST_CONTEXT("seed " << seed) {
            generator g(seed);
            std::vector<shape> flows;
            for (std::size_t i = 0; i < 4; ++i) {
                flows.push_back(some_shape(g));
                flows.back().port = static_cast<std::uint16_t>(i);
                flows.back().udp = i == 3;
            }
            packets in;
            std::size_t const count = below(g, 65);
            while (in.size() < count) {
                shape& s = flows[below(g, flows.size())];
                s.payload = some_text(g, below(g, 10) == 0 ? below(g, 30) : 30);
                s.flags = below(g, 12) == 0 ? 0x18 : 0x10;
                in.push_back(packet_of(s));
                buffer& p = in.back();
                s.sequence += static_cast<std::uint32_t>(s.payload.size());
                ++s.id;
                if (below(g, 8) == 0) {
                    for (std::size_t i = 1 + below(g, 3); i-- > 0;) p[below(g, p.size())] ^= static_cast<wg::byte>(g());
                    if (g() % 2 == 0 && p[0] == 0x45) set_checksums(p);
                    if (below(g, 4) == 0) p.resize(below(g, p.size() + 1));
                    p.shrink_to_fit();
                }
            }
            // Sorts by addresses, ports and protocol, as far as a packet has them; each connection keeps its order.
            auto const by_connection = [](packets const& all) {
                std::map<std::string, packets> sorted;
                for (buffer p : all) {
                    bool const v4 = p.size() >= 24 && p[0] == 0x45;
                    bool const known = v4 || (p.size() >= 44 && p[0] >> 4 == 6);
                    std::string key;
                    if (known) key.assign(p.begin() + (v4 ? 12 : 8), p.begin() + (v4 ? 24 : 44));
                    if (known) key += static_cast<char>(p[v4 ? 9 : 6]);
                    if (v4 &&
                        (p[6] & 0x40) != 0) { // the identification is unused, and the header's checksum follows it
                        wg::store_be16(&p[10], static_cast<std::uint16_t>(plain_sum(p.data(), 20)));
                        p[4] = p[5] = 0;
                    }
                    sorted[key].push_back(std::move(p));
                }
                return sorted;
            };
            packets out;
            for (buffer const& frame : joined(in)) {
                if (header_of(frame).segments != header::no_segments) {
                    packets const some = cut(frame);
                    BOOST_REQUIRE(some.size() > 1u);
                    joined_packets += some.size();
                    out.insert(out.end(), some.begin(), some.end());
                } else {
                    out.emplace_back(frame.begin() + 10, frame.end());
                }
            }
            BOOST_REQUIRE((by_connection(out) == by_connection(in)));
        }
    }
    BOOST_TEST(joined_packets > 10000u); // enough packets were joined
}

// Random frames, and good frames with a few octets changed. Their buffers end where they end, so that a sanitizer finds
// accesses beyond them.
BOOST_AUTO_TEST_CASE(survives_random_bytes) {
    std::size_t taken = 0, dropped = 0;
    for (unsigned seed = 1; seed <= 30000; ++seed) {
        generator g(seed);
        shape s = some_shape(g);
        s.payload = some_text(g, below(g, 400));
        s.udp = seed % 3 == 0;
        buffer frame = framed(cut_at(s, 1 + below(g, 100)), packet_of(s, true));
        if (seed % 5 == 0) {
            auto const text = some_text(g, below(g, 100));
            frame.assign(text.begin(), text.end());
        }
        for (std::size_t i = below(g, 5); i-- > 0 && !frame.empty();)
            frame[below(g, g() % 2 ? std::min<std::size_t>(frame.size(), 80) : frame.size())] =
                static_cast<wg::byte>(g());
        if (seed % 7 == 0) frame.resize(below(g, frame.size() + 1));
        frame.shrink_to_fit();
        packets const out = cut(frame, below(g, 600));
        out.empty() ? ++dropped : ++taken;
    }
    BOOST_TEST(taken > 1000u);
    BOOST_TEST(dropped > 1000u);
}

BOOST_AUTO_TEST_SUITE_END()
