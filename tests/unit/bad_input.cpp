// SPDX-License-Identifier: BSL-1.0
// Thousands of bad messages. The device must drop each one silently, count one reason and change nothing else. Each
// test compares the device's visible state before and after each message. At the end, the device must still accept the
// genuine messages from which the bad ones were made.
#include "fixture.hpp"

#include <set>
#include <sstream>

BOOST_AUTO_TEST_SUITE(bad_input)

using namespace wg_tests;
using wg::change;
using wg::event_id;
using wg::message_type;
using wg::seconds;
using wg::status;

namespace {

/// A short handshake queue, so that two waiting messages count as load.
struct few_handshakes : wg::host_capacity {
    static constexpr std::size_t max_queued_handshakes = 16;
};
using easily_loaded = policies_with<wg::growing_storage<wg::heap_region, few_handshakes>>;

/// A snapshot as text.
struct transcript {
    std::ostringstream text;

    void add(wg::bytes_view data) {
        for (wg::byte const b : data) text << +b << ' ';
    }
    void device(wg::interface_facts const& f) {
        add(f.private_key.expose());
        text << f.listen_port << ' ' << f.fwmark << '\n';
    }
    void peer(wg::peer_facts const& f) {
        add(f.key);
        add(f.preshared_key.expose());
        text << f.endpoint << ' ' << f.last_handshake_s << ' ' << f.last_handshake_ns << ' ' << f.tx_bytes << ' '
             << f.rx_bytes << ' ' << f.persistent_keepalive_s << '\n';
    }
    void allowed_ip(wg::ip_prefix const& p) {
        add(p.address.view());
        text << +p.bits << '\n';
    }
};

using reasons = std::set<status>;

/// A victim that has a session with `friend_`, waits for the response of `called` and has yet to receive the initiation
/// of `caller`.
struct siege {
    world w;
    host victim{w, 1}, friend_{w, 2}, caller{w, 4};
    basic_host<easily_loaded> called{w, 3};
    wire data;             ///< transport data of the session, not delivered yet
    wire initiation;       ///< from `caller`
    wire response, cookie; ///< two replies of `called` to the victim's initiation
    wire old_data, own_data, own_initiation;
    reasons seen;
    std::size_t messages = 0;

    siege() {
        introduce(victim, friend_);
        introduce(victim, caller);
        introduce(victim, called);
        network net(w, {&victim, &friend_});
        friend_.send(ipv4(friend_, victim, 100));
        net.settle();
        old_data = send(friend_, victim);
        BOOST_TEST_REQUIRE(victim.receive(old_data) == status::ok);
        own_data = send(victim, friend_);
        BOOST_TEST_REQUIRE(friend_.receive(own_data) == status::ok);
        data = send(friend_, victim);

        victim.send(ipv4(victim, called, 100));
        own_initiation = victim.take_datagram();
        called.take(own_initiation);
        called.take(own_initiation);
        called.poll();
        cookie = called.take_datagram();
        called.outbox.clear();
        w.now = w.now + seconds(2);
        called.receive(own_initiation);
        response = called.take_datagram();
        caller.send(ipv4(caller, victim, 100));
        initiation = caller.take_datagram();

        BOOST_TEST_REQUIRE((data.type() == message_type::transport && initiation.type() == message_type::initiation));
        BOOST_TEST_REQUIRE((response.type() == message_type::response && cookie.type() == message_type::cookie_reply));
        quiet();
    }

    /// The victim accepts each genuine message from which a bad one was made.
    void teardown() {
        BOOST_TEST(messages > 0u);
        quiet();
        BOOST_TEST(victim.receive(data) == status::ok);
        BOOST_TEST(victim.received.size() == 1u);
        victim.receive(cookie);
        BOOST_TEST(victim.count(event_id::cookie_reply_received) == 1u);
        victim.receive(response);
        BOOST_TEST(victim.count(event_id::session_started) == 1u);
        BOOST_TEST_REQUIRE(victim.outbox.size() == 1u);
        BOOST_TEST(called.receive(victim.take_datagram()) == status::ok);
        BOOST_TEST(called.received.size() == 1u); // the packet that the victim staged before the handshake
        victim.receive(initiation);
        BOOST_TEST_REQUIRE(victim.outbox.size() == 1u);
        caller.receive(victim.take_datagram());
        BOOST_TEST(caller.count(event_id::session_started) == 1u);
        BOOST_TEST(victim.receive(caller.take_datagram()) == status::ok);
        BOOST_TEST(victim.received.size() == 2u);
        BOOST_TEST(friend_.receive(send(victim, friend_)) == status::ok);
    }

    template <class From, class To> wire send(From& from, To const& to) {
        BOOST_TEST_REQUIRE(from.send(ipv4(from, to, 100)) == status::ok);
        wire const out = from.outbox.back();
        from.outbox.pop_back();
        return out;
    }

    void quiet() {
        victim.outbox.clear();
        victim.received.clear();
        victim.events.clear();
    }

    std::string state() {
        transcript t;
        victim.device.snapshot(t);
        t.text << victim.device.next_deadline() << ' ' << victim.device.is_up();
        return t.text.str();
    }

    std::array<std::uint64_t, wg::status_count> counters() {
        std::array<std::uint64_t, wg::status_count> out{};
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = victim.dropped(static_cast<status>(i));
        return out;
    }

    /// Delivers `bad` to the victim, which must drop it for one of the `expected` reasons and do nothing else. Failure
    /// messages name the bad message by `what` and `number`.
    void ignores(wire const& bad, reasons const& expected, char const* what, std::size_t number) {
        std::string const before = state();
        auto const counted = counters();
        quiet();
        victim.receive(bad);
        ++messages;
        auto const now_counted = counters();
        std::size_t dropped = 0, queued = 0;
        status why = status::ok;
        for (std::size_t i = 0; i < counted.size(); ++i) {
            std::size_t const more = now_counted[i] - counted[i];
            if (static_cast<status>(i) == status::queued) {
                queued += more;
            } else if (more != 0) {
                dropped += more;
                why = static_cast<status>(i);
            }
        }
        seen.insert(why);
        bool const told = victim.events.size() == 1 && victim.events[0].id == event_id::dropped &&
                          victim.events[0].value == static_cast<std::uint64_t>(why);
        if (!victim.outbox.empty() || !victim.received.empty()) BOOST_ERROR(what << ' ' << number << ": not silent");
        if (dropped != 1 || queued > 1) BOOST_ERROR(what << ' ' << number << ": counted " << dropped << " times");
        if (!told) BOOST_ERROR(what << ' ' << number << ": reported " << victim.events.size() << " events");
        if (!expected.contains(why)) BOOST_ERROR(what << ' ' << number << ": dropped as " << why);
        if (state() != before) BOOST_ERROR(what << ' ' << number << ": changed the state");
    }

    /// The reasons seen so far are exactly `expected`.
    void saw(reasons const& expected) {
        for (status const s : expected) BOOST_TEST(seen.contains(s), "never dropped as " << s);
        BOOST_TEST(seen.size() == expected.size());
    }

    /// A datagram from an unknown address.
    wire from_nobody(buffer content) {
        return {std::move(content), {wg::ip_address::v4(203, 0, 113, 9), 999, 0}, victim.where, 0, w.now};
    }
    /// A genuine message with changed content, from an unknown address.
    template <class Edit> wire changed(wire const& genuine, Edit edit) {
        buffer content = genuine.data;
        edit(content);
        return from_nobody(std::move(content));
    }
    std::array<std::pair<wire const*, char const*>, 4> genuine() const {
        return {{{&initiation, "initiation"},
                 {&response, "response"},
                 {&cookie, "cookie reply"},
                 {&data, "transport data"}}};
    }
};

void flip(buffer& in, std::size_t bit) { in[bit / 8] = static_cast<wg::byte>(in[bit / 8] ^ 1u << bit % 8); }

} // namespace

BOOST_FIXTURE_TEST_CASE(ignores_random_content_of_every_type_and_length, siege) {
    noise dice(7);
    for (std::uint32_t type = 0; type <= 5; ++type) {
        for (std::size_t size = 0; size <= 2000; ++size) {
            buffer content = dice.take(size);
            if (size >= 4) wg::store_le32(content.data(), type);
            ignores(from_nobody(content), {status::malformed, status::bad_mac1, status::unknown_index}, "size", size);
        }
    }
    saw({status::malformed, status::bad_mac1, status::unknown_index});
}

BOOST_FIXTURE_TEST_CASE(ignores_random_content_of_every_length_with_a_valid_index, siege) {
    noise dice(8);
    for (std::size_t size = 0; size <= 2000; ++size) {
        buffer content = dice.take(size);
        if (size >= 4) wg::store_le32(content.data(), 4);
        if (size >= 8) wg::store_le32(&content[4], data.receiver());
        if (size >= 16) wg::store_le64(&content[8], size); // a counter within the window
        ignores(from_nobody(content), {size < 32 ? status::malformed : status::decryption_failed}, "size", size);
    }
    saw({status::malformed, status::decryption_failed});
}

BOOST_FIXTURE_TEST_CASE(ignores_random_content_with_a_valid_mac1, siege) {
    noise dice(9);
    for (std::size_t i = 0; i < 300; ++i) {
        for (std::uint32_t const type : {1u, 2u}) {
            buffer content = dice.take(type == 1 ? wg::initiation_layout::size : wg::response_layout::size);
            wg::store_le32(content.data(), type);
            bool const aimed = type == 2 && i % 2 == 0; // addresses the victim's pending handshake
            if (aimed) wg::store_le32(&content[8], own_initiation.sender());
            put_mac1(content, victim.public_key);
            ignores(from_nobody(content), {type == 1 || aimed ? status::decryption_failed : status::unknown_index},
                    "message", i);
        }
        buffer content = dice.take(wg::cookie_reply_layout::size);
        wg::store_le32(content.data(), 3);
        wg::store_le32(&content[4], own_initiation.sender());
        ignores(from_nobody(content), {status::decryption_failed}, "cookie reply", i);
    }
    saw({status::decryption_failed, status::unknown_index});
}

BOOST_FIXTURE_TEST_CASE(ignores_messages_with_any_reserved_bit, siege) {
    for (auto const& [message, name] : genuine())
        for (std::size_t bit = 8; bit < 32; ++bit)
            ignores(changed(*message, [&](buffer& b) { flip(b, bit); }), {status::malformed}, name, bit);
}

BOOST_FIXTURE_TEST_CASE(ignores_messages_of_unknown_types, siege) {
    for (auto const& [message, name] : genuine())
        for (std::uint32_t type = 0; type < 256; ++type)
            if (type != static_cast<std::uint32_t>(message->type()) && type != 4) // type 4 accepts any length from 32
                ignores(changed(*message, [&](buffer& b) { b[0] = static_cast<wg::byte>(type); }), {status::malformed},
                        name, type);
}

BOOST_FIXTURE_TEST_CASE(ignores_truncated_and_extended_messages, siege) {
    for (auto const& [message, name] : genuine()) {
        bool const any_length = message == &data;
        for (std::size_t size = 0; size <= 2000; ++size) {
            if (size == message->data.size()) continue;
            status const why = any_length && size >= 32 ? status::decryption_failed : status::malformed;
            ignores(changed(*message, [&](buffer& b) { b.resize(size); }), {why}, name, size);
        }
    }
}

BOOST_FIXTURE_TEST_CASE(ignores_messages_with_any_flipped_bit, siege) {
    // Without load the device ignores mac2 (whitepaper 5.3).
    for (std::size_t bit = 0; bit < 8 * wg::initiation_layout::mac2; ++bit)
        ignores(changed(initiation, [&](buffer& b) { flip(b, bit); }),
                {bit < 32 ? status::malformed : status::bad_mac1}, "initiation", bit);
    for (std::size_t bit = 0; bit < 8 * wg::response_layout::mac2; ++bit)
        ignores(changed(response, [&](buffer& b) { flip(b, bit); }), {bit < 32 ? status::malformed : status::bad_mac1},
                "response", bit);
    for (std::size_t bit = 0; bit < 8 * wg::cookie_reply_layout::size; ++bit) {
        status const why = bit < 32 ? status::malformed : bit < 64 ? status::unknown_index : status::decryption_failed;
        ignores(changed(cookie, [&](buffer& b) { flip(b, bit); }), {why}, "cookie reply", bit);
    }
    for (std::size_t bit = 0; bit < 8 * data.data.size(); ++bit) {
        status const why = bit < 32 ? status::malformed : bit < 64 ? status::unknown_index : status::decryption_failed;
        reasons expected{why};
        if (bit >= 64 && bit < 128)
            expected.insert(status::replayed_counter); // the flipped bit may give an earlier counter
        ignores(changed(data, [&](buffer& b) { flip(b, bit); }), expected, "transport data", bit);
    }
}

BOOST_FIXTURE_TEST_CASE(ignores_messages_with_a_flipped_bit_and_a_valid_mac1, siege) {
    // Anyone with the public key can compute mac1. Nothing else covers the sender index, so this test does not flip it.
    auto const forged = [&](wire const& genuine, std::size_t bit) {
        return changed(genuine, [&](buffer& b) {
            flip(b, bit);
            put_mac1(b, victim.public_key);
        });
    };
    for (std::size_t bit = 64; bit < 8 * wg::initiation_layout::mac1; ++bit)
        ignores(forged(initiation, bit), {status::decryption_failed}, "initiation", bit);
    for (std::size_t bit = 64; bit < 8 * wg::response_layout::mac1; ++bit)
        ignores(forged(response, bit), {bit < 96 ? status::unknown_index : status::decryption_failed}, "response", bit);
}

BOOST_FIXTURE_TEST_CASE(ignores_replayed_messages, siege) {
    ignores(old_data, {status::replayed_counter}, "transport data", 0);
    ignores(changed(old_data, [](buffer&) {}), {status::replayed_counter}, "transport data from elsewhere", 0);
    // An initiation that was answered, and a response that was accepted.
    pair other;
    wire const first = other.initiation(other.a);
    other.b.receive(first);
    wire const answer = other.b.take_datagram();
    other.a.receive(answer);
    other.net.settle();
    BOOST_TEST_REQUIRE(other.passes(other.a, other.b));
    other.clear_logs();
    std::size_t const replays = 50;
    for (std::size_t i = 0; i < replays; ++i) {
        other.w.now = other.w.now + wg::milliseconds(30);
        other.b.receive(first);
        other.a.receive(answer);
    }
    BOOST_TEST(other.b.dropped(status::replayed_initiation) == replays);
    BOOST_TEST(other.a.dropped(status::unknown_index) == replays);
    BOOST_TEST((other.a.outbox.empty() && other.b.outbox.empty()));
    BOOST_TEST(other.a.events.size() == replays);
    BOOST_TEST(other.b.events.size() == replays);
    BOOST_TEST(other.passes(other.a, other.b));
    BOOST_TEST(other.passes(other.b, other.a));
}

BOOST_FIXTURE_TEST_CASE(ignores_messages_reflected_to_their_sender, siege) {
    wire back = own_initiation;
    std::swap(back.from, back.to);
    ignores(back, {status::bad_mac1}, "initiation", 0);
    back = own_data;
    std::swap(back.from, back.to);
    ignores(back, {status::unknown_index}, "transport data", 0);
    // A host receives its own response, and a host receives its own cookie reply.
    pair other;
    wire const first = other.initiation(other.a);
    other.b.receive(first);
    wire answer = other.b.take_datagram();
    std::swap(answer.from, answer.to);
    other.b.events.clear();
    BOOST_TEST(other.b.receive(answer) == status::bad_mac1);
    BOOST_TEST(other.b.outbox.empty());
    wire reflected_cookie = cookie; // sent by `called`
    std::swap(reflected_cookie.from, reflected_cookie.to);
    called.receive(reflected_cookie);
    BOOST_TEST(called.dropped(status::unknown_index) == 1u);
    BOOST_TEST(called.outbox.empty());
}

BOOST_FIXTURE_TEST_CASE(ignores_forged_future_counters, siege) {
    for (std::size_t bit = 8; bit < 64; ++bit) // a forged counter does not move the window
        ignores(changed(data, [&](buffer& b) { wg::store_le64(&b[8], std::uint64_t{1} << bit); }),
                {status::decryption_failed}, "2 to the", bit);
    for (std::uint64_t back = 1; back <= 8193; back += 64) // Reject-After-Messages is 2^64 - 8193
        ignores(changed(data, [&](buffer& b) { wg::store_le64(&b[8], 0 - back); }), {status::expired_keypair},
                "counter -", back);
}

BOOST_FIXTURE_TEST_CASE(ignores_data_for_a_session_that_is_not_established, siege) {
    // The peer already uses a new session, but its response has not arrived at the other host yet.
    pair other;
    other.connect();
    other.w.now = other.w.now + seconds(125);
    BOOST_TEST_REQUIRE(other.a.send(ipv4(other.a, other.b, 100)) == status::ok);
    other.a.outbox.pop_front(); // removes the packet; the next datagram is the initiation of the next session
    other.b.receive(other.a.take_datagram());
    wire const held_back = other.b.take_datagram();
    buffer content = noise(3).take(100);
    wg::store_le32(content.data(), 4);
    wg::store_le32(&content[4], held_back.receiver()); // the index of a handshake, not of a session
    BOOST_TEST(other.a.receive({content, other.b.where, other.a.where}) == status::unknown_index);
    other.a.receive(held_back);
    other.net.settle();
    BOOST_TEST(other.passes(other.b, other.a));
    content = noise(4).take(100);
    wg::store_le32(content.data(), 4);
    wg::store_le32(&content[4], own_initiation.sender());
    ignores(from_nobody(content), {status::unknown_index}, "data for a handshake", 0);
}

BOOST_AUTO_TEST_SUITE_END()
