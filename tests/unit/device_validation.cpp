// SPDX-License-Identifier: BSL-1.0
// Wrong, forged and replayed messages: a device drops them silently.
#include "untrusted.hpp"

BOOST_AUTO_TEST_SUITE(device_validation)

using namespace wg_tests;
using wg::change;
using wg::message_type;
using wg::status;

namespace {

/// A transport message of `from` with a plaintext that was changed before it was sealed.
template <class Host, class Edit> wire sealed(Host& from, buffer const& inner, Edit edit) {
    auto const f = from.prepare(inner);
    BOOST_TEST_REQUIRE(f->job.keys != nullptr);
    edit(f->job.data.view().subspan(wg::transport_header_bytes));
    from.crypt(*f);
    from.complete(*f);
    wire const out = from.outbox.back();
    from.outbox.pop_back();
    return out;
}

/// Whether a device drops each datagram of this type and size as malformed.
bool is_malformed(std::uint32_t type, std::size_t size) {
    switch (type) {
    case 1: return size != 148;
    case 2: return size != 92;
    case 3: return size != 64;
    case 4: return size < 32;
    default: return true;
    }
}

constexpr char const* low_order_points[] = {"0000000000000000000000000000000000000000000000000000000000000000",
                                            "0100000000000000000000000000000000000000000000000000000000000000",
                                            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                                            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                                            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};

} // namespace

//= wp 5.4: type, three zero bytes, and the one size that a message has
BOOST_AUTO_TEST_CASE(drops_messages_with_any_reserved_bit) {
    pair p;
    wire const initiation = p.initiation(p.a);
    p.connect();
    wire const data = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    auto const before = p.b.report(p.a.public_key);
    std::uint64_t malformed = p.b.dropped(status::malformed);
    for (wire const& genuine : {initiation, data})
        for (unsigned bit = 8; bit < 32; ++bit) {
            BOOST_TEST(p.b.receive(changed(genuine, bit / 8, static_cast<wg::byte>(1u << bit % 8))) ==
                       status::malformed);
            BOOST_TEST(p.b.dropped(status::malformed) == ++malformed);
        }
    BOOST_TEST(untouched(p.b, before, p.a.public_key));
    BOOST_TEST(p.b.receive(data) == status::ok);
}

//= wp 5.4: type, three zero bytes, and the one size that a message has
BOOST_AUTO_TEST_CASE(drops_every_other_type_and_length) {
    pair p;
    p.connect();
    auto const before = p.b.report(p.a.public_key);
    for (std::uint32_t const type : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 255u}) {
        for (std::size_t size = 0; size <= 2000; ++size) {
            wire w{buffer(size, 0xa5), p.a.where, p.b.where};
            if (size >= 4) wg::store_le32(w.data.data(), type);
            status const why = p.b.receive(w).why;
            if ((why == status::malformed) != is_malformed(type, size))
                BOOST_ERROR("type " << type << " size " << size << " " << wg::name_of(why));
        }
    }
    BOOST_TEST(untouched(p.b, before, p.a.public_key));
    BOOST_TEST(p.passes(p.a, p.b));
}

BOOST_AUTO_TEST_CASE(drops_genuine_messages_cut_short_or_made_longer) {
    pair p;
    wire initiation = p.initiation(p.a);
    for (std::size_t const size : {147u, 149u, 92u, 31u}) {
        wire w = initiation;
        w.data.resize(size);
        BOOST_TEST(!(p.b.receive(w) == status::queued));
    }
    p.connect();
    wire const data = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    auto const before = p.b.report(p.a.public_key);
    for (std::size_t size = 0; size < data.data.size() + 20; ++size) {
        if (size == data.data.size()) continue;
        wire w = data;
        w.data.resize(size);
        BOOST_TEST(p.b.receive(w) == (size < 32 ? status::malformed : status::decryption_failed));
    }
    BOOST_TEST(untouched(p.b, before, p.a.public_key));
    BOOST_TEST(p.b.receive(data) == status::ok);
}

//= wp 5.3: a message with a wrong mac1 is worth nothing: no answer, no DH, no place in the queue
BOOST_AUTO_TEST_CASE(does_not_answer_wrong_mac1) {
    pair p;
    wire const initiation = p.initiation(p.a);
    auto const before = p.b.report(p.a.public_key);
    std::uint64_t const dhs = counted_dh::calls;
    for (std::size_t at = 4; at < 132; ++at) BOOST_TEST(p.b.receive(changed(initiation, at)) == status::bad_mac1);
    BOOST_TEST(counted_dh::calls == dhs);
    BOOST_TEST(untouched(p.b, before, p.a.public_key));
    BOOST_TEST(p.b.receive(initiation) == status::queued);
    wire const response = p.b.take_datagram();
    BOOST_TEST_REQUIRE(response.type() == message_type::response);
    std::uint64_t const dhs_later = counted_dh::calls;
    for (std::size_t at = 4; at < 76; ++at) BOOST_TEST(p.a.receive(changed(response, at)) == status::bad_mac1);
    BOOST_TEST(counted_dh::calls == dhs_later);
    BOOST_TEST(p.a.outbox.empty());
}

//= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
BOOST_AUTO_TEST_CASE(rejects_replayed_initiation) {
    pair p;
    wire const first = p.initiation(p.a);
    p.b.receive(first);
    p.b.take_datagram();
    p.advance_clock(wg::seconds(1));
    auto const before = p.b.report(p.a.public_key);
    wire replayed = first;
    replayed.from = elsewhere;
    p.b.receive(replayed);
    BOOST_TEST(p.b.dropped(status::replayed_initiation) == 1u);
    BOOST_TEST(untouched(p.b, before, p.a.public_key));
}

//= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
BOOST_AUTO_TEST_CASE(rejects_initiation_older_than_the_newest) {
    pair p;
    wire const first = p.initiation(p.a);
    p.advance_clock(wg::milliseconds(5400));
    p.a.tick();
    wire const second = p.a.take_datagram();
    p.b.receive(second);
    p.b.take_datagram();
    p.advance_clock(wg::seconds(1));
    p.b.receive(first);
    BOOST_TEST(p.b.dropped(status::replayed_initiation) == 1u);
    BOOST_TEST(p.b.outbox.empty());
}

//= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
BOOST_AUTO_TEST_CASE(keeps_greatest_timestamp_until_the_peer_is_removed) {
    pair p;
    wire const first = p.initiation(p.a);
    p.b.receive(first);
    p.b.outbox.clear();
    auto const refused = [&](char const* after) {
        std::uint64_t const before = p.b.dropped(status::replayed_initiation);
        p.b.receive(first);
        BOOST_TEST(p.b.dropped(status::replayed_initiation) == before + 1, after);
        BOOST_TEST(p.b.outbox.empty(), after);
    };
    p.advance_clock(wg::seconds(600));
    p.b.tick();
    BOOST_TEST(p.b.count(wg::event_id::keys_zeroed) == 1u);
    refused("zeroing");
    p.b.device.down(p.w.now);
    p.b.device.up();
    refused("down and up");
    BOOST_TEST(p.b.configure(change::peer(p.a.public_key), change::endpoint(elsewhere),
                             change::preshared_key(p.a.public_key),
                             change::preshared_key(wg::public_key{})) == status::ok);
    refused("configuration");
    BOOST_TEST(p.b.configure(change::peer(p.a.public_key), change::remove_peer()) == status::ok);
    add_peer(p.b, p.a);
    p.b.receive(first);
    BOOST_TEST((p.b.take_datagram().type() == message_type::response));
}

//= linux: at most one initiation in 20 ms from a peer; a refused one does not count as seen
BOOST_AUTO_TEST_CASE(rejects_second_initiation_within_20_ms) {
    pair p;
    wire const first = p.initiation(p.a);
    p.advance_clock(wg::milliseconds(5400));
    p.a.tick();
    wire const second = p.a.take_datagram();
    p.b.receive(first);
    p.advance_clock(wg::milliseconds(20) - wg::duration{1});
    p.b.receive(second);
    BOOST_TEST(p.b.dropped(status::initiation_flood) == 1u);
    p.advance_clock(wg::duration{1});
    p.b.receive(second);
    BOOST_TEST(p.b.count(wg::event_id::response_sent) == 2u);
}

//= wp 5.4.2: an initiation of an unknown key is dropped after one DH, before its timestamp is read
BOOST_AUTO_TEST_CASE(initiation_of_unknown_peer_costs_one_dh) {
    pair p;
    host stranger(p.w, 9);
    add_peer(stranger, p.b);
    stranger.send(ipv4(stranger, p.b, 100));
    std::uint64_t const dhs = counted_dh::calls;
    p.b.receive(stranger.take_datagram());
    BOOST_TEST(p.b.dropped(status::unknown_peer) == 1u);
    BOOST_TEST(counted_dh::calls == dhs + 1);
    BOOST_TEST(p.b.outbox.empty());
}

//= wp 5.4.2: what is not authenticated changes nothing
BOOST_AUTO_TEST_CASE(forged_initiations_change_nothing) {
    pair p;
    wire const genuine = p.initiation(p.a);
    auto const before = p.b.report(p.a.public_key);
    for (std::size_t at = 8; at < 116; ++at) {
        wire forged = changed(genuine, at);
        put_mac1(forged.data, p.b.public_key);
        forged.from = elsewhere;
        BOOST_TEST(p.b.receive(forged) == status::queued);
        if (!untouched(p.b, before, p.a.public_key)) BOOST_ERROR("byte " << at);
    }
    // byte 39 is the highest of the ephemeral key: its last bit is ignored by X25519, but not by the transcript
    BOOST_TEST(p.b.dropped(status::decryption_failed) == 108u);
    p.b.receive(genuine);
    BOOST_TEST((p.b.take_datagram().type() == message_type::response));
}

//= linux: a forged response does not end the handshake that waits for the genuine one
BOOST_AUTO_TEST_CASE(forged_responses_leave_the_handshake_pending) {
    pair p;
    p.b.receive(p.initiation(p.a));
    wire const genuine = p.b.take_datagram();
    auto const before = p.a.report(p.b.public_key);
    for (std::size_t at = 12; at < 60; ++at) {
        wire forged = changed(genuine, at);
        put_mac1(forged.data, p.a.public_key);
        forged.from = elsewhere;
        BOOST_TEST(p.a.receive(forged) == status::queued);
        if (!untouched(p.a, before, p.b.public_key)) BOOST_ERROR("byte " << at);
    }
    BOOST_TEST(p.a.dropped(status::decryption_failed) == 48u);
    for (std::size_t at = 8; at < 12; ++at) {
        wire forged = changed(genuine, at);
        put_mac1(forged.data, p.a.public_key);
        p.a.receive(forged);
    }
    BOOST_TEST(p.a.dropped(status::unknown_index) == 4u);
    p.a.receive(genuine);
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 1u);
}

//= wp 5.2: the preshared key is mixed into the response; a wrong one is like a forgery
BOOST_AUTO_TEST_CASE(response_with_another_preshared_key_leaves_the_handshake_pending) {
    pair p;
    BOOST_TEST(p.b.configure(change::peer(p.a.public_key), change::preshared_key(p.a.public_key)) == status::ok);
    p.b.receive(p.initiation(p.a));
    wire const response = p.b.take_datagram();
    p.a.receive(response);
    BOOST_TEST(p.a.dropped(status::decryption_failed) == 1u);
    BOOST_TEST(p.a.outbox.empty());
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::preshared_key(p.a.public_key)) == status::ok);
    p.a.receive(response);
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 1u);
}

//= linux: a response is taken while the initiation that it answers waits, and once
BOOST_AUTO_TEST_CASE(drops_second_response_to_the_same_initiation) {
    pair p;
    p.b.receive(p.initiation(p.a));
    wire const response = p.b.take_datagram();
    p.a.receive(response);
    p.net.settle();
    auto const before = p.a.report(p.b.public_key);
    wire again = response;
    again.from = elsewhere;
    p.a.receive(again);
    BOOST_TEST(p.a.dropped(status::unknown_index) == 1u); // the index belongs to a session now
    BOOST_TEST(untouched(p.a, before, p.b.public_key));
    BOOST_TEST(p.passes(p.a, p.b));
}

BOOST_AUTO_TEST_CASE(drops_messages_that_are_reflected_to_their_sender) {
    pair p;
    wire const initiation = p.initiation(p.a);
    BOOST_TEST(p.a.receive(initiation) == status::bad_mac1);
    p.b.receive(initiation);
    wire const response = p.b.take_datagram();
    BOOST_TEST(p.b.receive(response) == status::bad_mac1);
    p.a.receive(response);
    p.net.settle();
    wire const data = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    BOOST_TEST(p.a.receive(data) == status::unknown_index);
    p.a.device.on_deadline(p.w.now);
    wire own = data;
    auto const back = sealed(p.b, ipv4(p.b, p.a, 100), [](wg::bytes) {});
    std::copy_n(back.data.begin() + 4, 4, own.data.begin() + 4); // the index and the sending key of `a`
    BOOST_TEST(p.a.receive(own) == status::decryption_failed);
    BOOST_TEST(p.a.received.empty());
}

//= wp 2.1: the endpoint is where the last authenticated packet came from
BOOST_AUTO_TEST_CASE(endpoint_follows_each_kind_of_authenticated_message) {
    pair p;
    wire initiation = p.initiation(p.a);
    initiation.from = elsewhere;
    p.b.receive(initiation);
    BOOST_TEST(p.b.report(p.a.public_key).endpoint == elsewhere);
    wire response = p.b.take_datagram();
    BOOST_TEST(response.to == elsewhere);
    wg::endpoint const third{wg::ip_address::v4(203, 0, 113, 5), 1, 0};
    response.from = third;
    p.a.receive(response);
    BOOST_TEST(p.a.report(p.b.public_key).endpoint == third);
    wire data = p.a.take_datagram();
    BOOST_TEST(data.to == third);
    data.from = p.a.where;
    p.b.receive(data);
    BOOST_TEST(p.b.report(p.a.public_key).endpoint == p.a.where);
    BOOST_TEST(p.b.received.size() == 1u);
}

//= linux: decrypt, then the counter, and only then the endpoint
BOOST_AUTO_TEST_CASE(endpoint_ignores_forged_and_replayed_data) {
    pair p;
    p.connect();
    wire data = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    p.b.receive(data);
    auto const before = p.b.report(p.a.public_key);
    p.b.received.clear();
    data.from = elsewhere;
    BOOST_TEST(p.b.receive(data) == status::replayed_counter);
    BOOST_TEST(untouched(p.b, before, p.a.public_key));
    for (std::size_t at = 8; at < data.data.size(); ++at) {
        status const why = p.b.receive(changed(data, at)).why;
        // Bytes 8 to 15 are the counter, the lowest byte first. A greater counter is new, a smaller one may have been
        // seen. With the counter as it was, the packet is a replay, whatever else has changed.
        bool const as_expected = at >= 16   ? why == status::replayed_counter
                                 : at == 15 ? why == status::expired_keypair || why == status::decryption_failed
                                 : at == 8  ? why == status::decryption_failed || why == status::replayed_counter
                                            : why == status::decryption_failed;
        if (!as_expected) BOOST_ERROR("byte " << at << ' ' << wg::name_of(why));
    }
    BOOST_TEST(untouched(p.b, before, p.a.public_key));
    wire fresh = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    fresh.from = elsewhere;
    BOOST_TEST(p.b.receive(fresh) == status::ok);
    BOOST_TEST(p.b.report(p.a.public_key).endpoint == elsewhere);
}

//= wp 5.4.6: the counter is marked as seen only after the tag was found right
BOOST_AUTO_TEST_CASE(forged_counter_does_not_move_the_window) {
    pair p;
    p.connect();
    wire const first = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    wire forged = first;
    wg::store_le64(&forged.data[8], wg::reject_after_messages - 1);
    BOOST_TEST(p.b.receive(forged) == status::decryption_failed);
    BOOST_TEST(p.b.receive(first) == status::ok);
}

//= wp 5.4.6: sliding window: packets may come in any order within it, each once
BOOST_AUTO_TEST_CASE(accepts_data_in_any_order_but_once) {
    pair p;
    p.connect();
    std::vector<wire> all;
    for (unsigned i = 0; i < 200; ++i) all.push_back(sealed(p.a, ipv4(p.a, p.b, 60 + i, i), [](wg::bytes) {}));
    noise random(5);
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random.next() % i]);
    for (wire const& w : all) BOOST_TEST(p.b.receive(w) == status::ok);
    for (wire const& w : all) BOOST_TEST(p.b.receive(w) == status::replayed_counter);
    BOOST_TEST(p.b.received.size() == 200u);
    BOOST_TEST(p.b.dropped(status::replayed_counter) == 200u);
}

//= wp 5.4.6: a counter further back than the window is refused, seen or not
BOOST_AUTO_TEST_CASE(rejects_counter_older_than_window) {
    pair p;
    p.connect();
    wire const old = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    wire const within = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    constexpr std::uint64_t reach = wg::replay_window<wg::host_capacity::replay_bits>::reach;
    f->job.keys->send_counter = within.counter() + reach;
    p.a.complete(*f);
    p.a.outbox.clear();
    wire const newest = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    BOOST_TEST(newest.counter() == within.counter() + reach);
    BOOST_TEST(p.b.receive(newest) == status::ok);
    BOOST_TEST(p.b.receive(old) == status::replayed_counter);
    BOOST_TEST(p.b.receive(within) == status::ok);
}

//= wp 6.1: no key is used after Reject-After-Time or Reject-After-Messages
BOOST_AUTO_TEST_CASE(neither_sends_nor_accepts_counters_beyond_the_limit) {
    pair p;
    p.connect();
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    f->job.keys->send_counter = wg::reject_after_messages - 1;
    p.a.complete(*f);
    p.a.outbox.clear();
    wire const last = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    BOOST_TEST(last.counter() == wg::reject_after_messages - 1);
    BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100)) == status::staged);
    p.a.outbox.clear();
    for (std::uint64_t const counter : {wg::reject_after_messages, wg::reject_after_messages + 1, UINT64_MAX}) {
        wire beyond = last;
        wg::store_le64(&beyond.data[8], counter);
        BOOST_TEST(p.b.receive(beyond) == status::expired_keypair);
    }
    BOOST_TEST(p.b.receive(last) == status::ok);
}

//= wp 6.1: no key is used after Reject-After-Time or Reject-After-Messages
BOOST_AUTO_TEST_CASE(drops_data_of_expired_or_ended_session) {
    pair p;
    p.connect();
    wire const first = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    wire const second = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    p.advance_clock(wg::seconds(180) - wg::duration{1});
    BOOST_TEST(p.b.receive(first) == status::ok);
    p.advance_clock(wg::duration{1});
    auto const before = p.b.report(p.a.public_key);
    p.b.received.clear();
    p.b.outbox.clear();
    BOOST_TEST(p.b.receive(second) == status::expired_keypair);
    BOOST_TEST(untouched(p.b, before, p.a.public_key));
    p.advance_clock(wg::seconds(400));
    p.b.tick();
    BOOST_TEST(p.b.receive(second) == status::unknown_index);
}

//= RFC 7748 6.1: a shared secret of zero ends the handshake
BOOST_AUTO_TEST_CASE(sends_nothing_to_a_peer_with_a_key_of_low_order) {
    world w;
    host a(w, 1);
    network net(w, {&a});
    for (char const* const point : low_order_points) {
        buffer const key = hex(point);
        wg::endpoint const where{wg::ip_address::v4(192, 0, 2, 77), 7, 0};
        BOOST_TEST(a.configure(change::peer(fixed<32>(key)), change::endpoint(where), change::persistent_keepalive(1),
                               change::replace_allowed_ips(),
                               change::allowed_ip(wg::ip_prefix::of(inner_v4(77), 32))) == status::ok);
        BOOST_TEST(a.send(inner_packet(a.v4, inner_v4(77), 100)) == status::staged);
    }
    net.advance(wg::seconds(120));
    BOOST_TEST(net.log.empty());
    BOOST_TEST(a.dropped(status::bad_public_key) > 7u);
}

//= RFC 7748 6.1: a shared secret of zero ends the handshake
BOOST_AUTO_TEST_CASE(rejects_ephemeral_key_of_low_order) {
    for (char const* const point : low_order_points) {
        pair p;
        wire const initiation = p.initiation(p.a);
        auto const before = p.b.report(p.a.public_key);
        wire forged = initiation;
        wg::copy(wg::bytes(forged.data).subspan(8), hex(point));
        put_mac1(forged.data, p.b.public_key);
        p.b.receive(forged);
        BOOST_TEST(p.b.dropped(status::bad_public_key) == 1u);
        BOOST_TEST(untouched(p.b, before, p.a.public_key));
        p.b.receive(initiation);
        wire const response = p.b.take_datagram();
        forged = response;
        wg::copy(wg::bytes(forged.data).subspan(12), hex(point));
        put_mac1(forged.data, p.a.public_key);
        p.a.receive(forged);
        BOOST_TEST(p.a.dropped(status::bad_public_key) == 1u);
        p.a.receive(response);
        p.net.settle();
        BOOST_TEST(p.b.received.size() == 1u);
    }
}

//= wp 5.2: a preshared key of zeros is none
BOOST_AUTO_TEST_CASE(preshared_key_of_zeros_means_none) {
    pair p;
    wg::public_key const zeros{};
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::preshared_key(p.b.public_key),
                             change::preshared_key(zeros)) == status::ok);
    p.connect();
    BOOST_TEST(p.a.report(p.b.public_key).preshared_key == buffer(32));
}

//= wp 5.2: the preshared key is mixed into the response; a wrong one is like a forgery
BOOST_AUTO_TEST_CASE(sessions_need_the_same_preshared_key) {
    for (auto const& [same, arrives] : {std::pair{true, 1u}, std::pair{false, 0u}}) {
        pair p;
        buffer psk = noise(8).take(32);
        BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::preshared_key(fixed<32>(psk))) == status::ok);
        psk[31] = static_cast<wg::byte>(psk[31] ^ (same ? 0 : 0x80));
        BOOST_TEST(p.b.configure(change::peer(p.a.public_key), change::preshared_key(fixed<32>(psk))) == status::ok);
        p.a.send(ipv4(p.a, p.b, 100));
        p.net.settle();
        BOOST_TEST(p.b.received.size() == arrives);
    }
}

// --- decrypted packets

struct inner_case {
    char const* name;
    bool v4;
    std::size_t size;
    std::function<void(wg::bytes)> edit;
    status expected;
};

//= linux: version, length, then the source of what came in; what is wrong is dropped, but it was authenticated
BOOST_AUTO_TEST_CASE(drops_malformed_inner_packets) {
    using wg::store_be16;
    inner_case const cases[] = {
        {"version 5", true, 64, [](wg::bytes p) { p[0] = 0x55; }, status::bad_inner_packet},
        {"version 0", true, 64, [](wg::bytes p) { p[0] = 0x05; }, status::bad_inner_packet},
        {"v4 shorter than its header", true, 64, [](wg::bytes p) { store_be16(&p[2], 19); }, status::bad_inner_packet},
        {"v4 of no length", true, 64, [](wg::bytes p) { store_be16(&p[2], 0); }, status::bad_inner_packet},
        {"v4 longer than the packet", true, 64, [](wg::bytes p) { store_be16(&p[2], 65); }, status::bad_inner_packet},
        {"v4 of all length", true, 64, [](wg::bytes p) { store_be16(&p[2], 65535); }, status::bad_inner_packet},
        {"v6 longer than the packet", false, 64, [](wg::bytes p) { store_be16(&p[4], 25); }, status::bad_inner_packet},
        {"v6 whose length overflows 16 bits", false, 64, [](wg::bytes p) { store_be16(&p[4], 65535 - 39); },
         status::bad_inner_packet},
        {"v6 of all length", false, 64, [](wg::bytes p) { store_be16(&p[4], 65535); }, status::bad_inner_packet},
        {"v6 in 32 bytes", true, 32, [](wg::bytes p) { p[0] = 0x60; }, status::bad_inner_packet},
        {"somebody else's v4 source", true, 64, [](wg::bytes p) { p[15] ^= 4; }, status::disallowed_source},
        {"somebody else's v6 source", false, 64, [](wg::bytes p) { p[8] ^= 1; }, status::disallowed_source},
        {"nothing wrong with v4", true, 64, [](wg::bytes) {}, status::ok},
        {"nothing wrong with v6", false, 64, [](wg::bytes) {}, status::ok},
        {"v4, just a header", true, 64, [](wg::bytes p) { store_be16(&p[2], 20); }, status::ok},
        {"v6, just a header", false, 64, [](wg::bytes p) { store_be16(&p[4], 0); }, status::ok},
    };
    pair p;
    p.connect();
    for (inner_case const& c : cases) {
        p.b.received.clear();
        std::uint64_t const rx_before = p.b.report(p.a.public_key).rx_bytes;
        wire w = sealed(p.a, c.v4 ? ipv4(p.a, p.b, c.size) : ipv6(p.a, p.b, c.size), c.edit);
        BOOST_TEST(p.b.receive(w) == c.expected, c.name);
        BOOST_TEST(p.b.received.size() == (c.expected == status::ok ? 1u : 0u), c.name);
        //= linux: what is no packet of this peer's counts as an error, not as received
        BOOST_TEST(p.b.report(p.a.public_key).rx_bytes - rx_before == (c.expected == status::ok ? w.data.size() : 0u),
                   c.name);
        if (std::string_view(c.name).ends_with("header") && c.expected == status::ok && !p.b.received.empty())
            BOOST_TEST(p.b.received[0].size() == (c.v4 ? 20u : 40u), c.name); // padding is cut off
    }
}

//= wp 2.1: a source that is not the sender's is dropped, but the sender was authenticated: his endpoint follows
BOOST_AUTO_TEST_CASE(disallowed_source_still_updates_endpoint_and_timers) {
    pair p;
    p.connect();
    p.b.send(ipv4(p.b, p.a, 100)); // `b` waits for an answer
    p.b.outbox.clear();
    wire w = sealed(p.a, ipv4(p.a, p.b, 64), [](wg::bytes packet) { packet[15] ^= 4; });
    w.from = elsewhere;
    BOOST_TEST(p.b.receive(w) == status::disallowed_source);
    BOOST_TEST(p.b.report(p.a.public_key).endpoint == elsewhere);
    p.advance_clock(wg::seconds(16));
    p.b.tick();
    BOOST_TEST(p.net.count(message_type::initiation) == 0u);
    for (wire const& out : p.b.outbox) BOOST_TEST(out.is_keepalive());
    BOOST_TEST(p.b.outbox.size() == 1u); //= linux: data was received, even if nobody wanted it
}

//= wp 2: the source inside must be the sender's by the most specific of all allowed IPs
BOOST_AUTO_TEST_CASE(drops_source_with_a_more_specific_prefix_of_another_peer) {
    pair p;
    host other(p.w, 3);
    p.connect();
    BOOST_TEST(p.b.configure(change::peer(p.a.public_key), change::allowed_ip(wg::ip_prefix::of(inner_v4(0), 8)),
                             change::peer(other.public_key),
                             change::allowed_ip(wg::ip_prefix::of(other.v4, 32))) == status::ok);
    auto const from = [&](wg::ip_address const& source) {
        return sealed(p.a, ipv4(p.a, p.b, 64), [&](wg::bytes packet) { wg::copy(packet.subspan(12), source.view()); });
    };
    BOOST_TEST(p.b.receive(from(inner_v4(4))) == status::ok);
    BOOST_TEST(p.b.receive(from(other.v4)) == status::disallowed_source);
}

//= wp 5.4.6: the receiver takes any length, padded or not
BOOST_AUTO_TEST_CASE(accepts_data_without_padding) {
    pair p;
    p.connect();
    p.a.device.set_mtu(20); // padding stops at the MTU
    for (std::size_t size = 20; size < 60; ++size) {
        p.b.received.clear();
        wire const w = sealed(p.a, ipv4(p.a, p.b, size), [](wg::bytes) {});
        BOOST_TEST(p.b.receive(w) == status::ok);
        BOOST_TEST_REQUIRE(p.b.received.size() == 1u);
        BOOST_TEST(p.b.received[0] == ipv4(p.a, p.b, size));
    }
}

BOOST_AUTO_TEST_CASE(drops_everything_while_down) {
    pair p;
    p.connect();
    wire const data = sealed(p.a, ipv4(p.a, p.b, 100), [](wg::bytes) {});
    p.b.device.down(p.w.now);
    BOOST_TEST(p.b.receive(data) == status::device_down);
    BOOST_TEST(p.b.send(ipv4(p.b, p.a, 100)) == status::device_down);
    BOOST_TEST(p.b.outbox.empty());
}

//= wp 5.4: keys and indices are random, or there is no handshake
BOOST_AUTO_TEST_CASE(random_failure_makes_no_handshake) {
    pair p;
    p.a.random.works = false;
    BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100)) == status::staged);
    BOOST_TEST(p.a.outbox.empty());
    BOOST_TEST(p.a.dropped(status::no_random) == 1u);
    p.a.random.works = true;
    p.net.advance(wg::seconds(6)); // the device tries again
    BOOST_TEST(p.b.received.size() == 1u);

    pair q;
    q.b.random.works = false;
    q.b.receive(q.initiation(q.a));
    BOOST_TEST(q.b.outbox.empty());
    BOOST_TEST(q.b.dropped(status::no_random) == 1u);
    q.b.random.works = true;
    q.net.advance(wg::seconds(6));
    BOOST_TEST(q.b.received.size() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
