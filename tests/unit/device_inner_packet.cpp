// SPDX-License-Identifier: BSL-1.0
// Inner packets: headers, congestion marks, ICMP answers and datagrams of this tunnel.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_inner_packet)

using namespace wg_tests;
using wg::family;

namespace {

/// The one's complement sum of all words, as in RFC 1071; 0xffff if the checksum in `data` is right.
std::uint32_t ones_sum(wg::bytes_view data, std::uint32_t sum = 0) {
    for (std::size_t i = 0; i < data.size(); ++i) sum += i % 2 == 0 ? data[i] * 256u : data[i];
    while (sum > 0xffff) sum = sum / 0x10000 + sum % 0x10000;
    return sum;
}

wg::ip_address const here4 = inner_v4(1), there4 = inner_v4(2), here6 = inner_v6(1), there6 = inner_v6(2);

/// The ICMP answer to a packet in a buffer with `front` and `back` bytes around the packet; empty: none.
buffer unreachable(buffer const& inner, std::size_t front = 64, std::size_t back = 64) {
    buffer room(front + inner.size() + back, 0xcc);
    wg::packet data(room, front, inner.size());
    wg::copy(data.view(), inner);
    wg::ip_header const header = wg::parse_ip(data.view());
    BOOST_TEST_REQUIRE(static_cast<bool>(header));
    if (!wg::make_unreachable(data, header)) return {};
    return buffer(data.view().begin(), data.view().end());
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_headers_of_both_families) {
    buffer const four = inner_packet(here4, there4, 60, 1, 0xb9, 17),
                 six = inner_packet(here6, there6, 70, 1, 0xb9, 17);
    wg::ip_header h = wg::parse_ip(four);
    BOOST_TEST((h.kind == family::v4));
    BOOST_TEST(h.total_bytes == 60u);
    BOOST_TEST(h.header_bytes == 20u);
    BOOST_TEST(+h.tos == 0xb9);
    BOOST_TEST(+h.protocol == 17);
    BOOST_TEST(h.first_fragment);
    BOOST_TEST(
        (wg::ip_address::of(family::v4, h.source) == here4 && wg::ip_address::of(family::v4, h.destination) == there4));
    h = wg::parse_ip(six);
    BOOST_TEST((h.kind == family::v6));
    BOOST_TEST(h.total_bytes == 70u);
    BOOST_TEST(+h.tos == 0xb9);
    BOOST_TEST(+h.protocol == 17);
    BOOST_TEST(
        (wg::ip_address::of(family::v6, h.source) == here6 && wg::ip_address::of(family::v6, h.destination) == there6));
}

BOOST_AUTO_TEST_CASE(rejects_impossible_total_lengths) {
    for (std::size_t size : {20u, 21u, 60u, 200u}) {
        buffer p = inner_packet(here4, there4, size);
        for (unsigned total = 0; total < 65536; total += total < 256 ? 1 : 509) {
            wg::store_be16(&p[2], static_cast<std::uint16_t>(total));
            if (static_cast<bool>(wg::parse_ip(p)) != (total >= 20 && total <= size))
                BOOST_ERROR("v4 " << size << ' ' << total);
        }
    }
    for (std::size_t size : {40u, 41u, 60u, 200u}) {
        buffer p = inner_packet(here6, there6, size);
        for (unsigned payload = 0; payload < 65536; payload += payload < 256 ? 1 : 509) {
            wg::store_be16(&p[4], static_cast<std::uint16_t>(payload));
            if (static_cast<bool>(wg::parse_ip(p)) != (payload + 40 <= size))
                BOOST_ERROR("v6 " << size << ' ' << payload);
        }
        wg::store_be16(&p[4], 65535); // together with the header more than 16 bits hold
        BOOST_TEST(!wg::parse_ip(p));
    }
}

BOOST_AUTO_TEST_CASE(rejects_other_versions_and_short_headers) {
    buffer p = inner_packet(here6, there6, 64);
    wg::store_be16(&p[2], 64);
    for (unsigned first = 0; first < 256; ++first) {
        p[0] = static_cast<wg::byte>(first);
        BOOST_TEST(static_cast<bool>(wg::parse_ip(p)) == (first >> 4 == 4 || first >> 4 == 6), first);
    }
    for (std::size_t size = 0; size < 40; ++size) {
        buffer six(size, 0);
        if (size != 0) six[0] = 0x60;
        BOOST_TEST(!wg::parse_ip(six));
        if (size < 20) {
            buffer four(size, 0);
            if (size != 0) four[0] = 0x45;
            if (size > 3) four[3] = static_cast<wg::byte>(size);
            BOOST_TEST(!wg::parse_ip(four));
        }
    }
}

BOOST_AUTO_TEST_CASE(ignores_impossible_header_length) {
    for (unsigned words = 0; words < 16; ++words) {
        buffer p = inner_packet(here4, there4, 40);
        p[0] = static_cast<wg::byte>(0x40 | words);
        wg::ip_header const h = wg::parse_ip(p);
        BOOST_TEST(h.header_bytes == (words >= 5 && words <= 10 ? words * 4 : 20));
    }
}

BOOST_AUTO_TEST_CASE(checksum_is_that_of_rfc_1071) {
    // RFC 1071, section 3: 0001 f203 f4f5 f6f7 sums to ddf2
    buffer const words = hex("0001f203f4f5f6f7");
    BOOST_TEST(wg::checksum_finish(wg::checksum_add(0, words)) == static_cast<std::uint16_t>(~0xddf2u));
    noise random(6);
    for (std::size_t size = 0; size < 200; ++size) {
        buffer const data = random.take(size);
        BOOST_TEST(wg::checksum_finish(wg::checksum_add(0, data)) == static_cast<std::uint16_t>(~ones_sum(data)));
    }
    buffer const most(65535, 0xff);
    BOOST_TEST(wg::checksum_finish(wg::checksum_add(0x1ffff, most)) ==
               static_cast<std::uint16_t>(~ones_sum(most, 0x1ffff)));
}

//= RFC 6040 4.2: congestion on the way is told to the inner packet, or drops it
BOOST_AUTO_TEST_CASE(combines_congestion_marks_by_rfc_6040) {
    constexpr int drop = -1;
    constexpr int not_ect = 0, ect1 = 1, ect0 = 2, ce = 3;
    // rows: inner mark; columns: outer mark in the order of values: Not-ECT, ECT(1), ECT(0), CE
    constexpr int table[4][4] = {
        {not_ect, not_ect, not_ect, drop}, // inner Not-ECT
        {ect1, ect1, ect1, ce},            // inner ECT(1)
        {ect0, ect1, ect0, ce},            // inner ECT(0)
        {ce, ce, ce, ce},                  // inner CE
    };
    for (unsigned inner = 0; inner < 4; ++inner) {
        for (unsigned outer = 0; outer < 4; ++outer) {
            for (unsigned const dscp : {0x00u, 0xfcu, 0x88u}) {
                for (bool const six : {false, true}) {
                    auto const make = [&](unsigned mark) {
                        auto const tos = static_cast<wg::byte>(dscp | mark);
                        return six ? inner_packet(here6, there6, 60, 3, tos) : inner_packet(here4, there4, 60, 3, tos);
                    };
                    buffer p = make(inner);
                    bool const kept = wg::decapsulate_ecn(p, wg::parse_ip(p), static_cast<std::uint8_t>(outer | 0xb8));
                    int const expected = table[inner][outer];
                    BOOST_TEST(kept == (expected != drop), inner << ' ' << outer);
                    if (expected != drop)
                        BOOST_TEST(p == make(static_cast<unsigned>(expected)),
                                   inner << ' ' << outer); // checksum and all
                }
            }
        }
    }
}

/// RFC 1624: the updated checksum is right for every old checksum.
BOOST_AUTO_TEST_CASE(changed_mark_keeps_the_header_checksum_right) {
    noise random(8);
    for (int i = 0; i < 5000; ++i) {
        buffer p =
            inner_packet(here4, there4, 20, 1, static_cast<wg::byte>(random.next() % 64 * 4 + 1 + random.next() % 2));
        wg::store_be16(&p[4], static_cast<std::uint16_t>(random.next()));
        wg::store_be32(&p[12], static_cast<std::uint32_t>(random.next()));
        wg::store_be16(&p[10], 0);
        wg::store_be16(&p[10], static_cast<std::uint16_t>(~ones_sum(p)));
        BOOST_TEST(wg::decapsulate_ecn(p, wg::parse_ip(p), 3));
        BOOST_TEST((p[1] & 3) == 3);
        BOOST_TEST(ones_sum(p) == 0xffffu);
    }
}

//= RFC 792: host unreachable; RFC 4443 3.1: address unreachable
BOOST_AUTO_TEST_CASE(icmp_answer_is_a_correct_packet_to_the_sender) {
    for (bool const six : {false, true}) {
        for (std::size_t const size : {60u, 548u, 549u, 1232u, 1233u, 1420u}) {
            buffer const inner = six ? inner_packet(here6, there6, size) : inner_packet(here4, there4, size);
            for (auto const& [front, back] :
                 {std::pair{64u, 64u}, std::pair{16u, 64u}, std::pair{0u, 48u}, std::pair{16u, 31u}}) {
                buffer const out = unreachable(inner, front, back);
                std::size_t const head = six ? 40 : 20, most = six ? 1280 : 576;
                std::size_t const quoted = std::min({size, most - head - 8, front + size + back - head - 8});
                BOOST_TEST_REQUIRE(out.size() == head + 8 + quoted);
                wg::ip_header const h = wg::parse_ip(out);
                BOOST_TEST(h.total_bytes == out.size());
                BOOST_TEST((wg::ip_address::of(h.kind, h.source) == (six ? there6 : there4)));
                BOOST_TEST((wg::ip_address::of(h.kind, h.destination) == (six ? here6 : here4)));
                BOOST_TEST(+h.protocol == (six ? 58 : 1));
                BOOST_TEST(+out[head] == (six ? 1 : 3));
                BOOST_TEST(+out[head + 1] == (six ? 3 : 1));
                BOOST_TEST(std::equal(out.begin() + static_cast<std::ptrdiff_t>(head + 8), out.end(), inner.begin()));
                wg::bytes_view const icmp = wg::bytes_view(out).subspan(head);
                if (six) {
                    auto const pseudo = static_cast<std::uint32_t>(icmp.size() + 58);
                    BOOST_TEST(ones_sum(icmp, ones_sum(wg::bytes_view(out).subspan(8, 32), pseudo)) == 0xffffu);
                } else {
                    BOOST_TEST(ones_sum(wg::bytes_view(out).first(20)) == 0xffffu);
                    BOOST_TEST(ones_sum(icmp) == 0xffffu);
                }
            }
        }
    }
}

//= RFC 1122 3.2.2: no error about an error, a multicast, a fragment that is not the first, or a packet from nowhere
BOOST_AUTO_TEST_CASE(sends_no_icmp_answer_to_errors_multicast_and_fragments) {
    for (unsigned type = 0; type < 256; ++type) {
        buffer four = inner_packet(here4, there4, 60, 1, 0, 1), six = inner_packet(here6, there6, 60, 1, 0, 58);
        four[20] = six[40] = static_cast<wg::byte>(type);
        BOOST_TEST(unreachable(four).empty() == !(type == 8 || type == 13 || type == 17), type);
        BOOST_TEST(unreachable(six).empty() == (type < 128), type);
    }
    BOOST_TEST(unreachable(inner_packet(here4, wg::ip_address::v4(224, 0, 0, 1), 60)).empty());
    BOOST_TEST(unreachable(inner_packet(here4, wg::ip_address::v4(255, 255, 255, 255), 60)).empty());
    BOOST_TEST(unreachable(inner_packet(wg::ip_address::v4(0, 0, 0, 0), there4, 60)).empty());
    BOOST_TEST(unreachable(inner_packet(wg::ip_address::v4(230, 0, 0, 1), there4, 60)).empty());
    wg::ip_address multicast = there6;
    multicast.octets[0] = 0xff;
    BOOST_TEST(unreachable(inner_packet(here6, multicast, 60)).empty());
    BOOST_TEST(unreachable(inner_packet(multicast, there6, 60)).empty());
    BOOST_TEST(unreachable(inner_packet(wg::ip_address{{}, family::v6}, there6, 60)).empty());
    buffer fragment = inner_packet(here4, there4, 60);
    wg::store_be16(&fragment[6], 0x2000); // the first, more to come
    BOOST_TEST(!unreachable(fragment).empty());
    wg::store_be16(&fragment[6], 0x0001);
    BOOST_TEST(unreachable(fragment).empty());
    BOOST_TEST(unreachable(inner_packet(here4, there4, 20), 0, 0).empty()); // no room
}

/// An extension header of `words` times 8 bytes. Its first two bytes are the next header and its length.
buffer extension(wg::byte kind, wg::byte next, std::size_t words = 1) {
    buffer out(words * 8);
    out[0] = next;
    if (kind == 44) return out; // a fragment header has no length
    out[1] = static_cast<wg::byte>(kind == 51 ? out.size() / 4 - 2 : words - 1);
    return out;
}

/// An IPv6 packet with these extension headers, then ICMPv6 of that type.
buffer icmp_behind(std::vector<std::pair<wg::byte, std::size_t>> const& headers, wg::byte type) {
    buffer chain;
    for (std::size_t i = 0; i < headers.size(); ++i) {
        wg::byte const next = i + 1 < headers.size() ? headers[i + 1].first : wg::ip_protocol_icmp_v6;
        buffer const one = extension(headers[i].first, next, headers[i].second);
        chain.insert(chain.end(), one.begin(), one.end());
    }
    wg::byte const first = headers.empty() ? wg::ip_protocol_icmp_v6 : headers[0].first;
    buffer out = inner_packet(here6, there6, 40 + chain.size() + 48, 1, 0, first);
    std::copy(chain.begin(), chain.end(), out.begin() + 40);
    out[40 + chain.size()] = type;
    return out;
}

//= RFC 4443 2.4: no error about an error, also behind extension headers
BOOST_AUTO_TEST_CASE(sends_no_icmp_answer_to_errors_behind_extension_headers) {
    std::vector<std::vector<std::pair<wg::byte, std::size_t>>> const chains = {
        {},        {{0, 1}},   {{43, 3}},  {{60, 2}},  {{44, 1}},
        {{51, 3}}, {{135, 1}}, {{139, 5}}, {{140, 1}}, {{0, 1}, {60, 1}, {43, 3}, {44, 1}, {51, 3}, {60, 2}}};
    for (auto const& chain : chains) {
        for (int const error : {1, 2, 3, 4, 100, 127})
            BOOST_TEST(unreachable(icmp_behind(chain, static_cast<wg::byte>(error))).empty());
        for (int const other : {128, 129, 135})
            BOOST_TEST(!unreachable(icmp_behind(chain, static_cast<wg::byte>(other))).empty());
    }
    // The protocol behind a cut header, or in a fragment that is not the first, is not known.
    buffer cut = icmp_behind({{60, 1}}, 128);
    cut[41] = 200;
    BOOST_TEST(unreachable(cut).empty());
    buffer fragment = icmp_behind({{44, 1}}, 128);
    wg::store_be16(&fragment[42], 0x0008);
    BOOST_TEST(unreachable(fragment).empty());
    wg::store_be16(&fragment[42], 0x0001); // the first, more to come
    BOOST_TEST(!unreachable(fragment).empty());
    // Another protocol behind the same headers is answered.
    buffer udp = icmp_behind({{60, 1}}, 1);
    udp[40] = wg::ip_protocol_udp;
    BOOST_TEST(!unreachable(udp).empty());
    // A chain of any length ends.
    for (std::uint64_t seed = 1; seed < 2000; ++seed) {
        buffer random = inner_packet(here6, there6, 40 + seed % 90, seed, 0, 0);
        for (std::size_t i = 40; i < random.size(); ++i)
            if (seed % 3 == 0 || random[i] % 2 == 0) random[i] = wg::byte{0};
        (void)unreachable(random);
    }
}

BOOST_AUTO_TEST_CASE(finds_payload_of_datagrams_between_two_ports) {
    for (bool const six : {false, true}) {
        wg::endpoint const remote{six ? there6 : there4, 51820, 0};
        std::size_t const head = six ? 40 : 20;
        buffer p = six ? inner_packet(here6, there6, 100, 1, 0, 17) : inner_packet(here4, there4, 100, 1, 0, 17);
        wg::store_be16(&p[head], 1234);
        wg::store_be16(&p[head + 2], 51820);
        auto const own = [&](wg::endpoint const& to, std::uint16_t port) {
            return wg::datagram_between(p, wg::parse_ip(p), port, to).size() == p.size() - head - 8;
        };
        BOOST_TEST(own(remote, 1234));
        BOOST_TEST(!own(remote, 1235));
        BOOST_TEST(!own({remote.address, 51821, 0}, 1234));
        BOOST_TEST(!own({six ? here6 : here4, 51820, 0}, 1234));
        BOOST_TEST(!own({six ? there4 : there6, 51820, 0}, 1234));
        p[six ? 6 : 9] = 6; // TCP
        BOOST_TEST(!own(remote, 1234));
        buffer const bare = six ? inner_packet(here6, there6, 47, 1, 0, 17) : inner_packet(here4, there4, 27, 1, 0, 17);
        BOOST_TEST(wg::datagram_between(bare, wg::parse_ip(bare), wg::load_be16(&bare[head]), remote).empty());
    }
}

BOOST_AUTO_TEST_SUITE_END()
