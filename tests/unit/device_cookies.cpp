// SPDX-License-Identifier: BSL-1.0
// A device under load: cookie replies, mac2 and the rate limit of handshakes (whitepaper 5.3, 5.4.7).
#include "untrusted.hpp"

BOOST_AUTO_TEST_SUITE(device_cookies)

using namespace wg_tests;
using wg::message_type;
using wg::status;

namespace {

/// A short handshake queue, so that two waiting messages count as load.
struct few_handshakes : wg::host_capacity {
    static constexpr std::size_t max_queued_handshakes = 16;
};
using loadable = policies_with<wg::growing_storage<wg::heap_region, few_handshakes>>;

} // namespace

//= wp 5.3: a responder that is not under load ignores mac2
BOOST_AUTO_TEST_CASE(mac2_is_ignored_without_load) {
    pair p;
    wire initiation = p.initiation(p.a);
    for (std::size_t at = 132; at < 148; ++at) BOOST_TEST(+initiation.data[at] == 0);
    for (std::size_t at = 132; at < 148; ++at) initiation.data[at] = 0x5a;
    BOOST_TEST(p.b.receive(initiation) == status::queued);
    BOOST_TEST((p.b.take_datagram().type() == message_type::response));
}

/// Two hosts. A stranger that has the public key of `b` puts `b` under load.
struct loaded_pair : basic_pair<loadable> {
    host_type stranger{w, 9};

    loaded_pair() { add_peer(stranger, b); }

    /// An initiation of the stranger, which is no peer of `b`, with a correct mac1.
    wire noise_initiation() {
        stranger.send(ipv4(stranger, b, 100));
        wire const out = stranger.take_datagram();
        stranger.device.down(w.now); // allows the next initiation at once
        stranger.device.up();
        return out;
    }
    void load(host_type& h, wg::public_key const& key) {
        for (int i = 0; i < 2; ++i) {
            wire junk = noise_initiation();
            put_mac1(junk.data, key);
            BOOST_TEST(h.take(junk) == status::queued);
        }
    }
    void load() { load(b, b.public_key); }
};

//= wp 5.3: under load mac1, then mac2, then the rate of the source, and only then a DH
BOOST_AUTO_TEST_CASE(initiation_under_load_needs_a_cookie) {
    loaded_pair p;
    wire const first = p.initiation(p.a);
    p.load();
    std::uint64_t const dhs = counted_dh::calls;
    BOOST_TEST(p.b.receive(first) == status::queued);
    BOOST_TEST(counted_dh::calls == dhs);
    BOOST_TEST(p.b.dropped(status::cookie_sent) == 3u);
    BOOST_TEST_REQUIRE(p.b.outbox.size() == 3u); // two cookie replies go to the stranger
    wire const reply = p.b.outbox.back();
    p.b.outbox.clear();
    BOOST_TEST((reply.type() == message_type::cookie_reply));
    BOOST_TEST(reply.receiver() == first.sender());
    BOOST_TEST((reply.to == p.a.where));
    BOOST_TEST(+reply.tos == 0); //= linux: only handshake messages are marked AF41

    auto const before = p.a.report(p.b.public_key);
    BOOST_TEST(p.a.receive(reply) == status::queued);
    BOOST_TEST(p.a.count(wg::event_id::cookie_reply_received) == 1u);
    BOOST_TEST(untouched(p.a, before, p.b.public_key)); //= wp 6.6: the initiation is repeated no earlier than without
    p.advance_clock(wg::milliseconds(5400));
    p.a.tick();
    wire const second = p.a.take_datagram();
    BOOST_TEST((second.type() == message_type::initiation));
    BOOST_TEST(second.has_mac2());
    p.load();
    BOOST_TEST(p.b.receive(changed(second, 140)) == status::queued); // a wrong mac2 is treated like a missing one
    BOOST_TEST(p.b.dropped(status::cookie_sent) == 6u);
    p.b.outbox.clear();
    BOOST_TEST(p.b.receive(second) == status::queued);
    BOOST_TEST_REQUIRE(p.b.outbox.size() == 1u);
    BOOST_TEST((p.b.outbox.front().type() == message_type::response));
}

//= wp 5.4.7: a cookie is good for one address and port
BOOST_AUTO_TEST_CASE(rejects_a_cookie_from_another_address_or_port) {
    loaded_pair p;
    wire const first = p.initiation(p.a);
    p.load();
    p.b.receive(first);
    p.a.receive(p.b.outbox.back());
    p.advance_clock(wg::milliseconds(5400));
    p.a.tick();
    wire second = p.a.take_datagram();
    BOOST_TEST(second.has_mac2());
    wg::endpoint const right = second.from;
    wg::endpoint other_port = right, other_address = right;
    other_port.port ^= 1;
    other_address.address.octets[3] ^= 1;
    for (wg::endpoint const& from : {other_port, other_address}) {
        p.load();
        p.b.poll();
        p.b.outbox.clear();
        second.from = from;
        p.b.receive(second);
        BOOST_TEST_REQUIRE(p.b.outbox.size() == 1u);
        BOOST_TEST((p.b.outbox.front().type() == message_type::cookie_reply));
    }
    p.b.outbox.clear();
    second.from = right;
    p.b.receive(second);
    BOOST_TEST((p.b.take_datagram().type() == message_type::response));
}

//= wp 5.4.7: a response may be answered by a cookie reply just as an initiation may
BOOST_AUTO_TEST_CASE(response_under_load_needs_a_cookie) {
    loaded_pair p;
    add_peer(p.stranger, p.a);
    p.b.receive(p.initiation(p.a));
    wire const response = p.b.take_datagram();
    p.load(p.a, p.a.public_key);
    std::uint64_t const dhs = counted_dh::calls;
    p.a.receive(response);
    BOOST_TEST(counted_dh::calls == dhs);
    BOOST_TEST_REQUIRE(p.a.outbox.size() == 3u);
    wire const reply = p.a.outbox.back();
    BOOST_TEST((reply.type() == message_type::cookie_reply));
    BOOST_TEST(reply.receiver() == response.sender()); // this index belongs to a keypair now
    p.a.outbox.clear();
    p.b.receive(reply);
    BOOST_TEST(p.b.count(wg::event_id::cookie_reply_received) == 1u);

    p.advance_clock(wg::milliseconds(5400));
    p.a.tick();
    p.b.receive(p.a.take_datagram());
    wire const second = p.b.take_datagram();
    BOOST_TEST((second.type() == message_type::response));
    BOOST_TEST(second.has_mac2());
    p.load(p.a, p.a.public_key);
    p.a.poll();
    p.a.outbox.clear();
    p.a.receive(second);
    BOOST_TEST(p.a.count(wg::event_id::session_started) == 1u);
}

//= linux: a source that sends too much under load gets no answer, not even a cookie
//= wp 5.3: under load mac1, then mac2, then the rate of the source, and only then a DH
BOOST_AUTO_TEST_CASE(valid_mac2_beyond_the_rate_is_dropped_silently) {
    loaded_pair p;
    wire const first = p.initiation(p.a);
    p.load();
    p.b.receive(first);
    p.a.receive(p.b.outbox.back());
    p.advance_clock(wg::milliseconds(5400));
    p.a.tick();
    wire const second = p.a.take_datagram();
    p.load();
    p.b.poll();
    p.b.outbox.clear();
    for (int i = 0; i < 5; ++i)
        p.b.receive(second); // the first is answered, the others are replays, and all count for the rate
    BOOST_TEST(p.b.outbox.size() == 1u);
    BOOST_TEST(p.b.dropped(status::replayed_initiation) == 4u);
    std::uint64_t const dhs = counted_dh::calls;
    p.b.receive(second);
    BOOST_TEST(p.b.dropped(status::rate_limited) == 1u);
    BOOST_TEST(counted_dh::calls == dhs);
    BOOST_TEST(p.b.outbox.size() == 1u);
}

//= linux: under load is an eighth of the queue, and a second after
BOOST_AUTO_TEST_CASE(load_ends_one_second_after_the_queue_was_long) {
    loaded_pair p;
    wire const first = p.initiation(p.a);
    p.load();
    p.b.poll();
    p.b.outbox.clear();
    BOOST_TEST(p.b.count(wg::event_id::under_load) == 1u);
    p.advance_clock(wg::milliseconds(999));
    p.b.receive(first);
    BOOST_TEST((p.b.take_datagram().type() == message_type::cookie_reply));
    p.advance_clock(wg::milliseconds(1));
    p.b.tick();
    BOOST_TEST(p.b.count(wg::event_id::under_load) == 2u);
    p.b.receive(first);
    BOOST_TEST((p.b.take_datagram().type() == message_type::response));
}

BOOST_AUTO_TEST_CASE(a_full_queue_drops_and_counts_new_messages) {
    loaded_pair p;
    wire const junk = p.noise_initiation();
    for (std::size_t i = 0; i < few_handshakes::max_queued_handshakes; ++i)
        BOOST_TEST(p.b.take(junk) == status::queued);
    BOOST_TEST(p.b.take(junk) == status::handshake_queue_full);
    for (int i = 0; i < 3; ++i) p.b.poll(); // one call handles up to eight messages
    // A source without a cookie gets a burst of five cookie replies.
    BOOST_TEST(p.b.dropped(status::cookie_sent) == 5u);
    BOOST_TEST(p.b.dropped(status::rate_limited) == few_handshakes::max_queued_handshakes - 5u);
    BOOST_TEST(p.b.take(junk) == status::queued);
}

/// A queue that is long enough to count as load only when it is full.
struct long_queue : wg::host_capacity {
    static constexpr std::size_t max_queued_handshakes = 64;
};
struct host_under_load : basic_pair<policies_with<wg::growing_storage<wg::heap_region, long_queue>>> {
    host_type stranger{w, 9};
    wire junk;

    host_under_load() {
        add_peer(stranger, b);
        stranger.send(ipv4(stranger, b, 100));
        junk = stranger.take_datagram();
        for (std::size_t i = 0; i < long_queue::max_queued_handshakes; ++i) BOOST_TEST(b.take(junk) == status::queued);
        BOOST_TEST(b.take(junk) == status::handshake_queue_full);
        for (int i = 0; i < 10; ++i) b.poll();
        b.outbox.clear();
    }
};

/// Under load a message without a cookie that exceeds the rate of its source is refused before it is queued.
BOOST_AUTO_TEST_CASE(under_load_a_rate_limited_message_is_not_queued) {
    host_under_load p;
    BOOST_TEST(p.b.take(p.junk) == status::rate_limited);
    // The honest peer has another source address and gets a cookie reply.
    p.a.send(ipv4(p.a, p.b, 100));
    BOOST_TEST(p.b.take(p.a.take_datagram()) == status::queued);
    p.b.poll();
    bool sent = false;
    while (!p.b.outbox.empty()) {
        wire const reply = p.b.take_datagram();
        sent = sent || (reply.type() == message_type::cookie_reply && reply.to == p.a.where);
    }
    BOOST_TEST(sent);
}

/// Messages from many forged sources each get a cookie reply. They fill at most half of the queue, so that a message
/// with a valid cookie finds room.
BOOST_AUTO_TEST_CASE(messages_without_a_cookie_fill_at_most_half_of_the_queue) {
    host_under_load p;
    p.a.send(ipv4(p.a, p.b, 100));
    BOOST_TEST(p.b.take(p.a.take_datagram()) == status::queued);
    p.b.poll();
    while (!p.b.outbox.empty()) {
        wire const reply = p.b.take_datagram();
        if (reply.to == p.a.where) p.a.receive(reply);
    }
    BOOST_TEST_REQUIRE(p.a.count(wg::event_id::cookie_reply_received) == 1u);
    p.advance_clock(wg::milliseconds(5400));
    p.a.tick();
    wire const second = p.a.take_datagram();
    BOOST_TEST_REQUIRE(second.has_mac2());

    for (std::size_t i = 0; i < long_queue::max_queued_handshakes; ++i) BOOST_TEST(p.b.take(p.junk) == status::queued);
    for (int i = 0; i < 10; ++i) p.b.poll(); // the device is under load again
    p.b.outbox.clear();
    std::size_t queued = 0;
    for (std::size_t i = 0; i < 2 * long_queue::max_queued_handshakes; ++i) {
        wire forged = p.junk;
        forged.from.address = wg::ip_address::v4(10, static_cast<std::uint8_t>(i), 1, 1);
        queued += p.b.take(forged) == status::queued;
    }
    BOOST_TEST(queued == long_queue::max_queued_handshakes / 2);
    BOOST_TEST(p.b.take(second) == status::queued);
    for (int i = 0; i < 10; ++i) p.b.poll();
    BOOST_TEST(p.b.count(wg::event_id::response_sent) == 1u);
}

/// A pair in which `a` sent an initiation. `reply` is the cookie reply to it, not delivered yet.
struct cookie_pair : loaded_pair {
    wire reply;
    cookie_pair() {
        wire const first = initiation(a);
        load();
        b.receive(first);
        reply = b.outbox.back();
        b.outbox.clear();
    }
    wire retransmission() {
        advance_clock(wg::milliseconds(5400));
        a.tick();
        return a.take_datagram();
    }
};

//= wp 5.4.7: a cookie reply is sealed for one message, by its mac1
BOOST_AUTO_TEST_CASE(forged_cookie_replies_change_nothing) {
    cookie_pair p;
    for (std::size_t at = 8; at < 64; ++at) BOOST_TEST(p.a.receive(changed(p.reply, at)) == status::queued);
    BOOST_TEST(p.a.dropped(status::decryption_failed) == 56u);
    for (std::size_t at = 4; at < 8; ++at) p.a.receive(changed(p.reply, at));
    BOOST_TEST(p.a.dropped(status::unknown_index) == 4u);
    BOOST_TEST(!p.retransmission().has_mac2());
    // the new initiation has another mac1, so the old reply does not match it
    wire late = p.reply;
    p.a.receive(late);
    BOOST_TEST(p.a.dropped(status::unknown_index) == 5u);
    BOOST_TEST(!p.retransmission().has_mac2());
}

//= linux: one cookie reply is taken for each message sent
BOOST_AUTO_TEST_CASE(a_cookie_reply_is_accepted_once) {
    cookie_pair p;
    p.a.receive(p.reply);
    BOOST_TEST(p.a.count(wg::event_id::cookie_reply_received) == 1u);
    p.a.receive(p.reply);
    BOOST_TEST(p.a.count(wg::event_id::cookie_reply_received) == 1u);
    BOOST_TEST(p.a.dropped(status::stale_cookie) == 1u);
}

//= linux: a cookie reply moves no endpoint, counts for no traffic and stirs no timer
BOOST_AUTO_TEST_CASE(a_cookie_reply_from_another_address_changes_no_endpoint_or_timer) {
    cookie_pair p;
    auto const before = p.a.report(p.b.public_key);
    wg::instant const deadline = p.a.device.next_deadline();
    p.reply.from = elsewhere;
    p.a.receive(p.reply);
    BOOST_TEST(p.a.count(wg::event_id::cookie_reply_received) == 1u);
    BOOST_TEST(untouched(p.a, before, p.b.public_key));
    BOOST_TEST(p.a.device.next_deadline() == deadline);
}

//= linux: a cookie is used for 115 s
BOOST_AUTO_TEST_CASE(mac2_is_zero_once_the_cookie_is_115_s_old) {
    for (auto const& [age, has] : {std::pair{wg::milliseconds(114'999), true}, std::pair{wg::seconds(115), false}}) {
        cookie_pair p;
        p.a.receive(p.reply);
        p.advance_clock(age);
        p.a.device.down(p.w.now); // cancels the timers, keeps the cookie
        p.a.device.up();
        BOOST_TEST(p.initiation(p.a).has_mac2() == has);
    }
}

/// Peers behind one NAT lose the connection to the hub and reconnect at the same time. As long as the hub keeps up, it
/// answers them without cookies and without a rate limit for their common address.
BOOST_AUTO_TEST_CASE(a_thousand_peers_behind_one_address_are_answered_at_once) {
    world w;
    host hub{w, 1};
    std::size_t const count = 1000;
    for (std::size_t i = 0; i < count; ++i) {
        host peer{w, static_cast<unsigned>(2 + i)};
        add_peer(peer, hub);
        add_peer(hub, peer);
        peer.send(ipv4(peer, hub, 100));
        wire initiation = peer.take_datagram();
        initiation.from = {wg::ip_address::v4(203, 0, 113, 7), static_cast<std::uint16_t>(2000 + i), 0};
        BOOST_TEST(hub.take(initiation) == status::queued);
    }
    while (hub.dropped(status::queued) != 0 && hub.count(wg::event_id::response_sent) < count) hub.poll();
    BOOST_TEST(hub.count(wg::event_id::response_sent) == count);
    BOOST_TEST(hub.count(wg::event_id::cookie_reply_sent) == 0u);
    BOOST_TEST(hub.count(wg::event_id::under_load) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
