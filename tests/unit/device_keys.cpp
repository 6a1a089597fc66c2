// SPDX-License-Identifier: BSL-1.0
// Changes of keys, and the erasure of keys that are no longer needed.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_keys)

using namespace wg_tests;
using wg::change;
using wg::message_type;
using wg::status;

namespace {

/// Whether 16 bytes of the key are in `memory`. The object there may be destroyed already: the pool owns the memory.
bool holds(void const* memory, std::size_t size, buffer const& key) {
    auto const* const at = static_cast<wg::byte const*>(memory);
    for (std::size_t i = 0; i + 16 <= size; ++i)
        if (std::memcmp(at + i, key.data(), 16) == 0 || std::memcmp(at + i, key.data() + 16, 16) == 0) return true;
    return false;
}
template <class Secret> buffer copy_of(Secret const& key) { return buffer(key.expose().begin(), key.expose().end()); }

} // namespace

// --- changes of keys

//= linux: a new private key takes effect at once: sessions send no more, but receive what is under way
BOOST_AUTO_TEST_CASE(a_new_private_key_starts_new_sessions_at_once) {
    pair p;
    p.connect();
    p.b.send(ipv4(p.b, p.a, 100));
    wire const under_way = p.b.take_datagram();
    buffer const fresh = noise(99).take(32);
    wg::public_key const old_public = p.a.public_key;
    BOOST_TEST(p.a.configure(change::private_key(fixed<32>(fresh))) == status::ok);
    wg::copy(p.a.private_key.expose(), fresh);
    wg::bundled::dh{}.dh_public(p.a.public_key, p.a.private_key);
    BOOST_TEST(p.a.receive(under_way) == status::ok);
    BOOST_TEST(p.b.configure(change::peer(old_public), change::remove_peer()) == status::ok);
    add_peer(p.b, p.a);
    p.clear_logs();
    BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100)) == status::staged); // the last initiation was less than 5 s ago
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 1u);
    BOOST_TEST(p.net.count(message_type::initiation) == 1u);
}

//= linux: a new private key takes effect at once: sessions send no more, but receive what is under way
BOOST_AUTO_TEST_CASE(packets_staged_without_a_private_key_are_sent_once_it_is_set) {
    pair p;
    BOOST_TEST(p.a.configure(change::private_key(wg::public_key{})) == status::ok);
    BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100)) == status::staged);
    BOOST_TEST(p.a.outbox.empty());
    BOOST_TEST(p.a.configure(change::private_key(p.a.private_key.expose())) == status::ok);
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 1u);
}

//= linux: the same private key again changes nothing
BOOST_AUTO_TEST_CASE(the_same_private_key_again_changes_nothing) {
    pair p;
    p.connect();
    buffer key = copy_of(p.a.private_key);
    key[0] = static_cast<wg::byte>(key[0] ^ 7); // the same key after clamping
    BOOST_TEST(p.a.configure(change::private_key(fixed<32>(key))) == status::ok);
    BOOST_TEST(p.passes(p.a, p.b));
    BOOST_TEST(p.net.count(message_type::initiation) == 0u);
}

//= linux: an interface is no peer of its own
BOOST_AUTO_TEST_CASE(a_peer_with_the_public_key_of_the_interface_is_removed_and_ignored) {
    pair p;
    p.connect();
    wg::public_key const b_public = p.b.public_key;
    BOOST_TEST(p.a.configure(change::private_key(p.b.private_key.expose())) == status::ok);
    BOOST_TEST(!p.a.report(b_public).found);
    BOOST_TEST(p.a.device.peer_count() == 0u);
    BOOST_TEST(p.a.configure(change::peer(b_public), change::allowed_ip(wg::ip_prefix::of(p.b.v4, 32))) == status::ok);
    BOOST_TEST(p.a.device.peer_count() == 0u);
    BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100)) == status::no_peer);
}

//= wp 4: without a private key an interface answers nobody and begins nothing
BOOST_AUTO_TEST_CASE(without_a_private_key_there_are_no_handshakes) {
    pair p;
    wire const initiation = p.initiation(p.a);
    BOOST_TEST(p.b.configure(change::private_key(wg::public_key{})) == status::ok);
    std::uint64_t const dhs = counted_dh::calls;
    BOOST_TEST(p.b.receive(initiation) == status::bad_mac1);
    BOOST_TEST(p.b.send(ipv4(p.b, p.a, 100)) == status::staged);
    p.net.advance(wg::seconds(30));
    BOOST_TEST(p.b.count(wg::event_id::initiation_sent) == 0u);
    BOOST_TEST(p.b.count(wg::event_id::response_sent) == 0u);
    BOOST_TEST(counted_dh::calls <= dhs + 60); // the attempts of `a`
}

struct private_key_reader {
    buffer key;
    void device(wg::interface_facts const& f) { key = copy_of(f.private_key); }
    void peer(wg::peer_facts const&) {}
    void allowed_ip(wg::ip_prefix const&) {}
};

//= RFC 7748 5: a private key is clamped when it is set, and read back clamped
BOOST_AUTO_TEST_CASE(the_private_key_is_read_back_clamped) {
    world w;
    host a(w, 1);
    buffer key(32, 0xff);
    BOOST_TEST(a.configure(change::private_key(fixed<32>(key))) == status::ok);
    private_key_reader reader;
    a.device.snapshot(reader);
    key[0] = 0xf8;
    key[31] = 0x7f;
    BOOST_TEST(reader.key == key);
    BOOST_TEST(a.configure(change::private_key(wg::public_key{})) == status::ok);
    a.device.snapshot(reader);
    BOOST_TEST(reader.key == buffer(32)); // zeros are not clamped: there is no key
}

//= linux: a preshared key counts from the next handshake on
BOOST_AUTO_TEST_CASE(a_new_preshared_key_does_not_change_the_session) {
    pair p;
    p.connect();
    buffer const psk = noise(3).take(32);
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::preshared_key(fixed<32>(psk))) == status::ok);
    BOOST_TEST(p.passes(p.a, p.b));
    BOOST_TEST(p.passes(p.b, p.a));
    p.net.advance(wg::seconds(120));
    p.clear_logs();
    BOOST_TEST(p.passes(p.a, p.b));
    BOOST_TEST(p.a.count(wg::event_id::session_started) == 0u); // the other host does not have the new key
    BOOST_TEST(p.b.configure(change::peer(p.a.public_key), change::preshared_key(fixed<32>(psk))) == status::ok);
    p.net.advance(wg::seconds(6));
    BOOST_TEST(p.a.count(wg::event_id::session_started) == 1u);
}

// --- erasure of keys

//= wp 6.1: keys are zeroed three times Reject-After-Time after the last session began
BOOST_AUTO_TEST_CASE(keys_are_wiped_after_540_s_and_the_peer_remains) {
    pair p;
    p.connect();
    wg::instant const born = p.w.now;
    auto* const keys = current_keys(p.a, ipv4(p.a, p.b, 100));
    buffer const send_key = copy_of(keys->send_key), receive_key = copy_of(keys->receive_key);
    p.net.advance(wg::seconds(540) - wg::duration{1});
    BOOST_TEST(holds(keys, sizeof *keys, send_key));
    BOOST_TEST(p.a.count(wg::event_id::keys_zeroed) == 0u);
    p.net.advance(wg::duration{1});
    BOOST_TEST((p.w.now == born + wg::seconds(540)));
    BOOST_TEST(p.a.count(wg::event_id::keys_zeroed) == 1u);
    BOOST_TEST(p.b.count(wg::event_id::keys_zeroed) == 1u);
    BOOST_TEST(!holds(keys, sizeof *keys, send_key));
    BOOST_TEST(!holds(keys, sizeof *keys, receive_key));
    p.clear_logs();
    p.b.send(ipv4(p.b, p.a, 100));
    p.net.settle();
    BOOST_TEST(p.a.received.size() == 1u);
}

//= wp 6.1: keys are zeroed three times Reject-After-Time after the last session began
BOOST_AUTO_TEST_CASE(zeroing_drops_staged_packets_and_the_pending_handshake) {
    pair p;
    p.connect();
    p.net.intercept = [](wire const&) { return false; };
    p.net.advance(wg::seconds(535));
    p.a.send(ipv4(p.a, p.b, 100));
    wire const initiation = p.a.take_datagram();
    p.b.receive(initiation);
    wire const response = p.b.take_datagram();
    p.net.advance(wg::seconds(5));
    BOOST_TEST(p.a.count(wg::event_id::keys_zeroed) == 1u);
    p.a.receive(response);
    BOOST_TEST(p.a.dropped(status::unknown_index) == 1u);
    p.net.intercept = {};
    p.net.advance(wg::seconds(60));
    BOOST_TEST(p.b.received.empty());
}

/// A job still holds the keypair when the peer is removed.
//= linux: a removed peer lives on in its packets in flight, and nowhere else
BOOST_AUTO_TEST_CASE(a_peer_may_be_removed_while_packets_are_in_flight) {
    pair p;
    p.connect();
    wire const incoming = [&] {
        p.b.send(ipv4(p.b, p.a, 100));
        return p.b.take_datagram();
    }();
    auto const out = p.a.prepare(ipv4(p.a, p.b, 100));
    auto const in = p.a.prepare(incoming);
    auto* const keys = out->job.keys;
    BOOST_TEST_REQUIRE(keys != nullptr);
    BOOST_TEST((in->job.keys == keys));
    buffer const send_key = copy_of(keys->send_key), receive_key = copy_of(keys->receive_key);
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::remove_peer()) == status::ok);
    BOOST_TEST(p.a.device.peer_count() == 0u);
    BOOST_TEST(holds(keys, sizeof *keys, send_key));
    p.a.crypt(*out);
    p.a.crypt(*in);
    BOOST_TEST(p.a.complete(*out) == status::ok);
    BOOST_TEST(holds(keys, sizeof *keys, receive_key));
    BOOST_TEST(p.a.complete(*in) == status::unknown_index);
    BOOST_TEST(!holds(keys, sizeof *keys, send_key));
    BOOST_TEST(!holds(keys, sizeof *keys, receive_key));
    BOOST_TEST(p.a.received.empty());
    BOOST_TEST(p.b.receive(p.a.take_datagram()) == status::ok); // a prepared packet may still be sent
    BOOST_TEST(p.a.receive(incoming) == status::unknown_index);
    p.advance_clock(wg::seconds(1)); // a new peer's first timestamp must be greater than the removed one's last
    add_peer(p.a, p.b);
    p.a.send(ipv4(p.a, p.b, 100, 5));
    p.net.settle();
    BOOST_TEST(p.b.received.back() == ipv4(p.a, p.b, 100, 5));
}

//= linux: a session is wiped as soon as no packet in flight holds it
BOOST_AUTO_TEST_CASE(a_session_that_a_job_holds_is_wiped_when_the_job_is_complete) {
    pair p;
    p.connect();
    auto const out = p.a.prepare(ipv4(p.a, p.b, 100));
    auto* const keys = out->job.keys;
    buffer const send_key = copy_of(keys->send_key);
    p.a.device.down(p.w.now);
    BOOST_TEST(holds(keys, sizeof *keys, send_key));
    p.a.crypt(*out);
    p.a.complete(*out);
    BOOST_TEST(!holds(keys, sizeof *keys, send_key));
}

//= linux: a removed peer lives on in its packets in flight, and nowhere else
BOOST_AUTO_TEST_CASE(a_peer_may_be_removed_during_a_handshake) {
    pair p;
    p.b.receive(p.initiation(p.a));
    wire const response = p.b.take_datagram();
    BOOST_TEST(p.a.configure(change::replace_peers()) == status::ok);
    p.a.receive(response);
    BOOST_TEST(p.a.dropped(status::unknown_index) == 1u);
    p.net.advance(wg::seconds(100));
    BOOST_TEST(p.a.count(wg::event_id::initiation_sent) == 1u);
    wire waiting = p.net.log.empty() ? wire{} : p.net.log.back();
    BOOST_TEST(p.net.count([&](wire const& w) { return w.from == p.a.where; }) == 0u);
}

BOOST_AUTO_TEST_CASE(removing_and_adding_a_peer_leaks_no_slots) {
    pair p;
    for (int round = 0; round < 40; ++round) { // 40 * 128 packets are more than the device's 2048 slots
        for (unsigned i = 0; i < 128; ++i) BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100, i)) == status::staged);
        BOOST_TEST(p.a.configure(change::replace_peers()) == status::ok);
        add_peer(p.a, p.b);
    }
    BOOST_TEST(p.a.dropped(status::staging_full) == 0u);
    BOOST_TEST(p.a.dropped(status::no_memory) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
