// SPDX-License-Identifier: BSL-1.0
// Unit tests of message classification, of the three session slots and of a peer's timers.
#include "wg/protocol/keypair.hpp"
#include "wg/protocol/messages.hpp"
#include "wg/protocol/timers.hpp"

#include "bundled_vectors.hpp"

#include <boost/test/unit_test.hpp>

using namespace wg_tests;
using wg::instant;
using wg::message_type;
using wg::milliseconds;
using wg::seconds;

namespace {

constexpr instant start = instant{} + seconds(1000);
constexpr wg::duration tick{1};
constexpr std::int32_t no_jitter = 0;

using keypair = wg::keypair<64>;

/// The slots, and the keypairs that left them, in order.
struct slots {
    wg::keypair_slots<keypair> it;
    std::vector<keypair*> retired;
    auto retire() {
        return [this](keypair& k) { retired.push_back(&k); };
    }
    void add(keypair& fresh, bool initiator) {
        it.make_room(initiator, retire());
        it.add(fresh, initiator);
    }
    bool are(keypair* current, keypair* previous, keypair* next) const {
        return it.current == current && it.previous == previous && it.next == next;
    }
};

/// The actions that expired timers request.
struct actions {
    bool retry_initiation = false, initiate = false, give_up = false, keepalive = false, zero_keys = false;
};
actions expire(wg::peer_timers& timers, instant now) {
    struct peer {
        actions& asked;
        void retry_initiation() { asked.retry_initiation = true; }
        void initiate() { asked.initiate = true; }
        void give_up() { asked.give_up = true; }
        void keepalive() { asked.keepalive = true; }
        void zero_keys() { asked.zero_keys = true; }
    };
    actions asked;
    timers.expire(now, peer{asked});
    return asked;
}
bool nothing(actions const& a) {
    return !a.retry_initiation && !a.initiate && !a.give_up && !a.keepalive && !a.zero_keys;
}

} // namespace

BOOST_AUTO_TEST_SUITE(protocol_messages)

//= wp 5.4: type, three zero bytes, and the one size that a message has
BOOST_AUTO_TEST_CASE(rejects_messages_whose_length_does_not_match_their_type) {
    for (std::uint32_t type = 0; type < 8; ++type) {
        for (std::size_t size = 0; size <= 2000; ++size) {
            buffer datagram(size);
            if (size >= 4) wg::store_le32(datagram.data(), type);
            bool const fits = (type == 1 && size == 148) || (type == 2 && size == 92) || (type == 3 && size == 64) ||
                              (type == 4 && size >= 32);
            message_type const expected = fits ? static_cast<message_type>(type) : message_type::none;
            if (wg::type_of(datagram) != expected) BOOST_ERROR("type " << type << " size " << size);
        }
    }
}

//= wp 5.4: type, three zero bytes, and the one size that a message has
BOOST_AUTO_TEST_CASE(rejects_messages_with_nonzero_reserved_bytes) {
    for (auto const& [type, size] : {std::pair{1u, 148u}, std::pair{2u, 92u}, std::pair{3u, 64u}, std::pair{4u, 32u}}) {
        buffer datagram(size);
        for (unsigned bit = 8; bit < 32; ++bit) {
            wg::store_le32(datagram.data(), type | 1u << bit);
            BOOST_TEST((wg::type_of(datagram) == message_type::none));
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(protocol_keypair)

//= wp 6.1: no key is used after Reject-After-Time or Reject-After-Messages
//= wp 6.2: a new handshake after Rekey-After-Messages, and for the initiator after Rekey-After-Time
//= wp 6.2: an initiator that receives renews Keepalive-Timeout + Rekey-Timeout before Reject-After-Time
BOOST_AUTO_TEST_CASE(a_session_expires_by_age_and_by_message_count) {
    keypair k;
    k.created = start;
    k.initiator = true;
    BOOST_TEST(k.can_send(start));
    BOOST_TEST(k.can_send(start + seconds(180) - tick));
    BOOST_TEST(!k.can_send(start + seconds(180)));
    BOOST_TEST(k.can_receive(start + seconds(180) - tick));
    BOOST_TEST(!k.can_receive(start + seconds(180)));
    BOOST_TEST(!k.wants_rekey_after_sending(start + seconds(120) - tick));
    BOOST_TEST(k.wants_rekey_after_sending(start + seconds(120)));
    BOOST_TEST(!k.wants_rekey_after_receiving(start + seconds(165) - tick));
    BOOST_TEST(k.wants_rekey_after_receiving(start + seconds(165)));
    k.initiator = false;
    BOOST_TEST(!k.wants_rekey_after_sending(start + seconds(179)));
    BOOST_TEST(!k.wants_rekey_after_receiving(start + seconds(179)));
    k.send_counter = wg::rekey_after_messages;
    BOOST_TEST(!k.wants_rekey_after_sending(start)); //= linux: more than that
    ++k.send_counter;
    BOOST_TEST(k.wants_rekey_after_sending(start));
    k.send_counter = wg::reject_after_messages - 1;
    BOOST_TEST(k.can_send(start));
    ++k.send_counter;
    BOOST_TEST(!k.can_send(start));
    k.send_counter = 0;
    k.may_send = false;
    BOOST_TEST(!k.can_send(start));
    BOOST_TEST(k.can_receive(start));
    BOOST_TEST(!k.wants_rekey_after_sending(start + seconds(150)));
    BOOST_TEST(wg::rekey_after_messages == (1ull << 60));
    BOOST_TEST(wg::reject_after_messages == UINT64_MAX - 8192); //= wp 6.1: Reject-After-Messages is 2^64 - 2^13 - 1
}

//= linux: initiator: the new session is current, current becomes previous
BOOST_AUTO_TEST_CASE(an_initiator_uses_the_new_session_at_once) {
    slots s;
    keypair one, two, three;
    s.add(one, true);
    BOOST_TEST(s.are(&one, nullptr, nullptr));
    s.add(two, true);
    BOOST_TEST(s.are(&two, &one, nullptr));
    BOOST_TEST(s.retired.empty());
    s.add(three, true);
    BOOST_TEST(s.are(&three, &two, nullptr));
    BOOST_TEST((s.retired == std::vector{&one}));
}

//= linux: an unconfirmed next becomes previous, and current goes with the previous one
BOOST_AUTO_TEST_CASE(an_initiator_keeps_the_unconfirmed_session_as_previous) {
    slots s;
    keypair one, two, next, fresh;
    s.add(one, true);
    s.add(two, true);
    s.add(next, false);
    BOOST_TEST((s.retired == std::vector{&one}));
    s.add(fresh, true);
    BOOST_TEST(s.are(&fresh, &next, nullptr));
    BOOST_TEST((s.retired == std::vector{&one, &two}));
}

//= linux: responder: the new session is next; next and previous before it die at once
BOOST_AUTO_TEST_CASE(a_responder_uses_the_new_session_after_the_first_packet) {
    slots s;
    keypair one, two, three, four;
    s.add(one, false);
    BOOST_TEST(s.are(nullptr, nullptr, &one));
    BOOST_TEST(s.it.confirm(one, s.retire()));
    BOOST_TEST(s.are(&one, nullptr, nullptr));
    BOOST_TEST(!s.it.confirm(one, s.retire())); // a session is confirmed once
    s.add(two, false);
    BOOST_TEST(!s.it.confirm(one, s.retire())); // packets of the old session confirm nothing
    BOOST_TEST(s.are(&one, nullptr, &two));
    BOOST_TEST(s.it.confirm(two, s.retire()));
    BOOST_TEST(s.are(&two, &one, nullptr));
    BOOST_TEST(s.retired.empty());
    s.add(three, false);
    BOOST_TEST(s.are(&two, nullptr, &three));
    s.add(four, false);
    BOOST_TEST(s.are(&two, nullptr, &four));
    BOOST_TEST((s.retired == std::vector{&one, &three}));
    s.it.clear(s.retire());
    BOOST_TEST(s.are(nullptr, nullptr, nullptr));
    BOOST_TEST(s.retired.size() == 4u);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(protocol_timers)

BOOST_AUTO_TEST_CASE(no_timer_runs_at_first) {
    wg::peer_timers t;
    BOOST_TEST((t.next_deadline() == instant::never()));
    BOOST_TEST(nothing(expire(t, start + seconds(100'000))));
}

//= wp 6.5: an empty packet when data came in and nothing went out for Keepalive-Timeout
BOOST_AUTO_TEST_CASE(a_keepalive_is_due_10_s_after_received_data) {
    wg::peer_timers t;
    t.data_received(start);
    t.data_received(start + seconds(3));
    BOOST_TEST((t.next_deadline() == start + seconds(10)));
    BOOST_TEST(nothing(expire(t, start + seconds(10) - tick)));
    actions const act = expire(t, start + seconds(10));
    BOOST_TEST(act.keepalive);
    BOOST_TEST((!act.initiate && !act.zero_keys && !act.retry_initiation && !act.give_up));
    //= linux: what came in while it ran is owed another, unless the keepalive itself goes out
    BOOST_TEST((t.next_deadline() == start + seconds(20)));
    t.any_authenticated_packet_sent(start + seconds(10));
    BOOST_TEST((t.next_deadline() == instant::never()));
    t.data_received(start + seconds(30));
    t.any_authenticated_packet_sent(start + seconds(30));
    BOOST_TEST(nothing(expire(t, start + seconds(100))));
}

//= linux: new handshake when data went out and nothing came in for Keepalive-Timeout + Rekey-Timeout, and a jitter
BOOST_AUTO_TEST_CASE(a_handshake_is_due_15_s_after_unanswered_data) {
    wg::peer_timers t;
    t.data_sent(start, [] { return 100; });
    t.data_sent(start + seconds(9), [] { return 300; });
    BOOST_TEST(t.awaits_reply());
    BOOST_TEST((t.next_deadline() == start + milliseconds(15'100)));
    BOOST_TEST(nothing(expire(t, start + milliseconds(15'100) - tick)));
    BOOST_TEST(expire(t, start + milliseconds(15'100)).initiate);
    BOOST_TEST(!t.awaits_reply());
    t.data_sent(start + seconds(20), [] { return no_jitter; });
    t.any_authenticated_packet_received(start + seconds(20));
    BOOST_TEST(!t.awaits_reply());
    BOOST_TEST(nothing(expire(t, start + seconds(100))));
}

//= wp 6.4: give up after Rekey-Attempt-Time
//= linux: the keys are zeroed 540 s after giving up, if no session does so before
BOOST_AUTO_TEST_CASE(retransmission_ends_after_90_s) {
    wg::peer_timers t;
    instant now = start;
    t.new_attempt();
    int initiations = 1;
    t.handshake_initiated(now, no_jitter);
    t.data_received(now + seconds(90));
    for (;;) {
        BOOST_TEST_REQUIRE((t.next_deadline() != instant::never()));
        now = t.next_deadline();
        actions const act = expire(t, now);
        if (act.give_up) break;
        if (!act.retry_initiation) continue;
        ++initiations;
        t.handshake_initiated(now, no_jitter);
        BOOST_TEST_REQUIRE(initiations < 100);
    }
    BOOST_TEST(initiations == 20);
    BOOST_TEST((now == start + seconds(100)));
    BOOST_TEST((t.next_deadline() == now + seconds(540)));
    BOOST_TEST(expire(t, now + seconds(540)).zero_keys);
    // a new attempt restarts the count
    t.new_attempt();
    t.handshake_initiated(now, no_jitter);
    BOOST_TEST(expire(t, now + seconds(5)).retry_initiation);
    BOOST_TEST(t.attempts() == 1u);
    t.handshake_initiated(now, no_jitter);
    t.handshake_complete();
    BOOST_TEST(t.attempts() == 0u);
    BOOST_TEST((t.next_deadline() == instant::never()));
}

//= linux: two initiations that cross end in a session, by their jitters
BOOST_AUTO_TEST_CASE(a_crossed_initiation_delays_a_pending_initiation) {
    wg::peer_timers t;
    t.initiation_crossed(start, false, true, 5000);
    BOOST_TEST((t.next_deadline() == instant::never()));
    t.handshake_initiated(start, no_jitter);
    t.initiation_crossed(start + seconds(1), false, false, 5000); // the initiation under way may still be answered
    BOOST_TEST((t.next_deadline() == start + seconds(5)));
    t.initiation_crossed(start + seconds(2), false, true, 5000);
    BOOST_TEST((t.next_deadline() == start + seconds(12)));
    BOOST_TEST(expire(t, start + seconds(12)).retry_initiation);
    t.initiation_crossed(start + seconds(20), true, false, 5000); // an initiation that was due is postponed, too
    BOOST_TEST(expire(t, start + seconds(30)).retry_initiation);
}

//= wp 6.1: keys are zeroed three times Reject-After-Time after the last session began
BOOST_AUTO_TEST_CASE(each_session_postpones_the_zeroing_of_keys) {
    wg::peer_timers t;
    t.session_derived(start);
    t.session_derived(start + seconds(120));
    BOOST_TEST(nothing(expire(t, start + seconds(660) - tick)));
    BOOST_TEST(expire(t, start + seconds(660)).zero_keys);
    BOOST_TEST(nothing(expire(t, start + seconds(6600))));
}

//= linux: persistent keepalive counts from the last packet in either direction
BOOST_AUTO_TEST_CASE(persistent_keepalive_counts_from_the_last_packet) {
    wg::peer_timers t;
    t.any_authenticated_packet_received(start);
    BOOST_TEST((t.next_deadline() == instant::never())); // the persistent keepalive is off
    t.set_persistent_keepalive(25);
    t.any_authenticated_packet_received(start);
    t.any_authenticated_packet_received(start + seconds(20));
    BOOST_TEST(nothing(expire(t, start + seconds(45) - tick)));
    BOOST_TEST(expire(t, start + seconds(45)).keepalive);
    t.any_authenticated_packet_received(start + seconds(45));
    t.set_persistent_keepalive(0);
    BOOST_TEST(nothing(expire(t, start + seconds(100)))); // switched off while the timer ran
    t.set_persistent_keepalive(UINT16_MAX);
    t.any_authenticated_packet_received(start);
    BOOST_TEST((t.next_deadline() == start + seconds(65535)));
}

//= linux: an initiator that only receives renews a session once
BOOST_AUTO_TEST_CASE(the_last_minute_handshake_starts_once_per_session) {
    wg::peer_timers t;
    BOOST_TEST(t.take_last_minute_handshake());
    BOOST_TEST(!t.take_last_minute_handshake());
    t.handshake_complete();
    BOOST_TEST(t.take_last_minute_handshake());
    t.stop();
    BOOST_TEST(t.take_last_minute_handshake());
}

BOOST_AUTO_TEST_CASE(stop_clears_all_timers_and_keeps_the_configuration) {
    wg::peer_timers t;
    t.set_persistent_keepalive(25);
    t.any_authenticated_packet_received(start);
    t.data_sent(start, [] { return no_jitter; });
    t.data_received(start);
    t.data_received(start);
    t.handshake_initiated(start, no_jitter);
    t.session_derived(start);
    t.stop();
    BOOST_TEST(nothing(expire(t, start + seconds(10'000))));
    BOOST_TEST(t.persistent_keepalive_s() == 25);
}

BOOST_AUTO_TEST_CASE(all_timers_due_at_once_act) {
    wg::peer_timers t;
    t.data_sent(start, [] { return no_jitter; });
    t.data_received(start);
    t.handshake_initiated(start, no_jitter);
    t.session_derived(start);
    actions const act = expire(t, start + seconds(1000));
    BOOST_TEST((act.initiate && act.keepalive && act.retry_initiation && act.zero_keys && !act.give_up));
}

BOOST_AUTO_TEST_SUITE_END()
