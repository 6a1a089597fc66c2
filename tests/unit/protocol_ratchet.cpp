// SPDX-License-Identifier: BSL-1.0
// The ratchet of preshared keys. Python's hmac and hashlib.blake2s computed the vectors, with the twelve lines that
// docs/post-quantum.md shows. The configured key ascends from 0x20.
#include "fixture.hpp"

#include "wg/protocol/ratchet.hpp"

#include <vector>

BOOST_AUTO_TEST_SUITE(protocol_ratchet)

using namespace wg_tests;
using wg::ratchet_epoch, wg::no_epoch;

namespace {

constexpr std::uint32_t day_s = 86400;
constexpr ratchet_epoch today = 20788; // 2026-12-01

struct vector {
    std::uint32_t epoch_s;
    ratchet_epoch epoch;
    char const* key;
};
vector const vectors[] = {
    {86400, 0u, "f8c2143ccd9d678d3cfbfec1ff40c737ed85ea1862ef3910e36673f9138488c7"},
    {86400, 1u, "64c3f9cfbbd79b2342c20d9713178db233383d6bea5991e1e6fbd36686a0066e"},
    {86400, 20788u, "fd15d8f28823ee00f0a524e7710e36be3366a87b56f58e8a901bab3dec1c5480"},
    {86400, 20789u, "5a5e755ffd1263e8aa58507a95aa24b584f5ca97a7087f367e03e7bc7d2fed3b"},
    {86400, 20991u, "ece253e8ac49662e6370d15e28dd6e824e46ea7e434f17e041470963024493f3"},
    {86400, 20992u, "7651bf1cb2d0c09b54fd8d6a09138b765e961cadc2d2381884646ce0c59d4e4c"},
    {600, 16909060u, "5e24f43c9e70447f860fc8db07bdde355cbbf618ffe766d5e9ec87c3747fb2b8"},
    {10, 4294967294u, "4c9e941c85d2f0f11ddb2297bc2bd22d34f1022eb1aaa6fc065fda370dad677e"},
};

wg::byte_array<32> configured(wg::byte first = 0x20) {
    wg::byte_array<32> key{};
    for (wg::byte& b : key) b = first++;
    return key;
}

using key = wg::secret<wg::key_bytes>;
WG_TESTS_CRYPTOGRAPHY::hash const hash;

wg::ratchet_keys keys_at(ratchet_epoch epoch, std::uint32_t epoch_s = day_s) {
    wg::ratchet_keys keys;
    keys.begin(hash, configured(), epoch_s);
    keys.advance(hash, epoch);
    return keys;
}

bool contains(wg::bytes_view where, wg::bytes_view wanted) {
    return std::search(where.begin(), where.end(), wanted.begin(), wanted.end()) != where.end();
}

/// One end of a pair: a ratchet and a clock. Handshakes are reduced to the comparison of preshared keys.
struct end {
    wg::ratchet ratchet;
    ratchet_epoch clock = today;
    ratchet_epoch session = 0; ///< the epoch of the last session, as the initiator found it

    explicit end(ratchet_epoch at = today) : clock(at) { start(); }
    void start() { ratchet.begin(hash, configured(), day_s); }

    /// A restart: what `store` wrote comes back, or nothing.
    void restart(bool with_state) {
        wg::byte_array<wg::ratchet::stored_bytes> stored{};
        bool const has = with_state && ratchet.confirmed();
        if (has) ratchet.store(stored);
        ratchet = {};
        if (!has) return start();
        BOOST_REQUIRE(ratchet.load(hash, stored, configured(), day_s));
    }

    /// The response of this end to an initiation of `from`.
    key respond(end const& from) {
        key used;
        ratchet.choose(hash, from.clock, clock, used);
        ratchet.response_created();
        return used;
    }
    bool consume(key const& used) {
        unsigned tried = 0;
        if (!ratchet.find(hash, clock, [&](key const& one) { return ++tried, one.equals(used); })) return false;
        BOOST_TEST(tried <= 70u);
        ratchet.response_accepted();
        return true;
    }
};

/// A handshake of `a` with `b`, which loses nothing. Returns: whether there is a session.
bool handshake(end& a, end& b) {
    key const used = b.respond(a);
    if (!a.consume(used)) return false;
    b.ratchet.confirm_as_responder(hash);
    a.ratchet.confirm_as_initiator(hash);
    BOOST_TEST(a.ratchet.epoch() == b.ratchet.epoch());
    return true;
}

/// The number of handshakes until one succeeds; 9: none did.
int attempts(end& a, end& b) {
    for (int n = 1; n < 9; ++n)
        if (handshake(a, b)) return n;
    return 9;
}

} // namespace

BOOST_AUTO_TEST_CASE(keys_equal_those_of_another_implementation) {
    for (vector const& v : vectors)
        BOOST_TEST(keys_at(v.epoch, v.epoch_s).key().expose() == wg::bytes_view(hex(v.key)),
                   boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(each_way_to_an_epoch_gives_the_same_key) {
    ratchet_epoch const marks[] = {1,     254,   255,   256,      257,       511,      512,
                                   65535, 65536, 65537, 0xffffff, 0x1000000, 0x10000ff};
    wg::ratchet_keys walked = keys_at(0);
    for (ratchet_epoch const mark : marks) {
        walked.advance(hash, mark);
        BOOST_TEST(walked.epoch() == mark);
        BOOST_TEST(walked.key().equals(keys_at(mark).key()));
    }
    wg::ratchet_keys stepped = keys_at(today - 300);
    for (ratchet_epoch e = today - 300; e <= today; ++e) stepped.advance(hash, e);
    BOOST_TEST(stepped.key().equals(keys_at(today).key()));
}

BOOST_AUTO_TEST_CASE(an_earlier_epoch_changes_nothing) {
    wg::ratchet_keys keys = keys_at(today);
    keys.advance(hash, today - 1);
    BOOST_TEST(keys.epoch() == today);
    BOOST_TEST(keys.key().equals(keys_at(today).key()));
}

BOOST_AUTO_TEST_CASE(another_length_of_an_epoch_gives_other_keys) {
    BOOST_TEST(!keys_at(today, 86400).key().equals(keys_at(today, 86401).key()));
}

BOOST_AUTO_TEST_CASE(what_is_stored_has_no_secret_of_an_earlier_epoch) {
    // At `after` all digits of the epoch differ, so each stored secret has been replaced.
    ratchet_epoch const before = 0x01020304, after = 0x02030405;
    using stored_keys = wg::byte_array<wg::ratchet_keys::stored_bytes>;
    stored_keys old{}, stored{};
    keys_at(before).store(old);
    keys_at(after).store(stored);
    for (std::size_t at = 4; at < old.size(); at += wg::key_bytes)
        BOOST_TEST(!contains(stored, wg::bytes_view(old).subspan(at, wg::key_bytes)));
    for (ratchet_epoch e = after - 300; e < after; ++e) BOOST_TEST(!contains(stored, keys_at(e).key().expose()));
    BOOST_TEST(contains(stored, keys_at(after).key().expose()));
}

BOOST_AUTO_TEST_CASE(epochs_count_from_1970_once_the_clock_is_set) {
    BOOST_TEST(wg::epoch_at(1796083200, day_s) == today);
    BOOST_TEST(wg::epoch_at(1796083199, day_s) == today - 1);
    BOOST_TEST(wg::epoch_at(wg::earliest_date_s - 1, day_s) == no_epoch);
    BOOST_TEST(wg::epoch_at(-1, day_s) == no_epoch);
    BOOST_TEST(wg::epoch_at(INT64_MAX, 10) == no_epoch);
}

BOOST_AUTO_TEST_CASE(ends_with_equal_clocks_agree_every_day) {
    end a, b;
    for (int day = 0; day < 400; ++day, ++a.clock, ++b.clock) {
        BOOST_TEST(handshake(day % 3 != 0 ? a : b, day % 3 != 0 ? b : a));
        BOOST_TEST(a.ratchet.epoch() == a.clock);
    }
}

BOOST_AUTO_TEST_CASE(ends_whose_clocks_differ_by_an_epoch_agree_at_the_first_attempt) {
    for (int difference : {-1, 1}) {
        end a, b;
        b.clock += static_cast<ratchet_epoch>(difference);
        for (int day = 0; day < 50; ++day, ++a.clock, ++b.clock)
            BOOST_TEST(handshake(day % 2 != 0 ? a : b, day % 2 != 0 ? b : a));
    }
}

BOOST_AUTO_TEST_CASE(any_pair_of_clocks_agrees_within_two_attempts_while_sessions_go_on) {
    for (unsigned difference : {2u, 7u, 50u, 1000u, 20000u})
        for (bool ahead : {false, true}) {
            end a, b;
            BOOST_TEST(handshake(a, b));
            a.clock = ahead ? today + difference : today - difference;
            for (int day = 0; day < 40; ++day, ++a.clock, ++b.clock) {
                BOOST_TEST(attempts(a, b) <= 2);
                BOOST_TEST(attempts(b, a) <= 3);
            }
            a.clock = b.clock; // mended
            BOOST_TEST(attempts(b, a) <= 2);
            BOOST_TEST(attempts(a, b) == 1);
        }
}

BOOST_AUTO_TEST_CASE(a_false_clock_at_one_end_moves_no_key) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    a.clock = today + 10000;
    (void)attempts(a, b);
    (void)attempts(b, a);
    BOOST_TEST(a.ratchet.epoch() <= today + 1);
    BOOST_TEST(b.ratchet.epoch() <= today + 1);
    a.clock = today + 1;
    BOOST_TEST(handshake(a, b));
    BOOST_TEST(handshake(b, a));
}

BOOST_AUTO_TEST_CASE(a_false_clock_before_the_first_session_locks_no_one_out) {
    end a(today + 10000), b;
    BOOST_TEST(attempts(a, b) == 9);
    a.clock = today;
    BOOST_TEST(attempts(a, b) <= 3);
}

BOOST_AUTO_TEST_CASE(clocks_that_both_go_back_keep_the_epoch) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    for (end* one : {&a, &b}) one->clock -= 100;
    BOOST_TEST(handshake(a, b));
    BOOST_TEST(handshake(b, a));
    BOOST_TEST(a.ratchet.epoch() == today);
}

BOOST_AUTO_TEST_CASE(a_long_silence_is_passed_in_one_step) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    for (end* one : {&a, &b}) one->clock += 5000;
    BOOST_TEST(handshake(a, b));
    BOOST_TEST(b.ratchet.epoch() == today + 5000);
}

BOOST_AUTO_TEST_CASE(a_lost_state_begins_again_at_the_configured_key) {
    end a, b;
    for (int day = 0; day < 30; ++day, ++a.clock, ++b.clock) BOOST_TEST(handshake(a, b));
    a.restart(false);
    BOOST_TEST(handshake(a, b));
    b.restart(false);
    BOOST_TEST(handshake(a, b));
    a.restart(true);
    BOOST_TEST(handshake(b, a));
}

BOOST_AUTO_TEST_CASE(a_state_from_a_backup_goes_forward) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    wg::byte_array<wg::ratchet::stored_bytes> backup{};
    a.ratchet.store(backup);
    for (int day = 0; day < 200; ++day, ++a.clock, ++b.clock) BOOST_TEST(handshake(a, b));
    BOOST_TEST(a.ratchet.load(hash, backup, configured(), day_s));
    BOOST_TEST(handshake(a, b));
    BOOST_TEST(a.ratchet.load(hash, backup, configured(), day_s));
    BOOST_TEST(handshake(b, a));
}

BOOST_AUTO_TEST_CASE(a_host_without_a_date_follows_its_peer) {
    end board(no_epoch), server;
    BOOST_TEST(handshake(server, board)); // it learns the date from the first initiation
    for (int day = 0; day < 100; ++day, ++server.clock) {
        BOOST_TEST(attempts(board, server) == 1);
        BOOST_TEST(board.ratchet.epoch() == server.clock);
        BOOST_TEST(attempts(server, board) == 1);
        board.restart(true);
    }
    server.clock += 50; // it was switched off for 50 days
    BOOST_TEST(attempts(board, server) == 1);
    server.clock += 500;
    BOOST_TEST(attempts(board, server) == 9); // too many epochs to try: the server has to begin
    BOOST_TEST(attempts(server, board) <= 3);
}

BOOST_AUTO_TEST_CASE(two_hosts_without_a_date_keep_one_key) {
    end a(no_epoch), b(no_epoch);
    BOOST_TEST(handshake(a, b));
    BOOST_TEST(handshake(b, a));
    (void)b.respond(a); // unconfirmed
    BOOST_TEST(handshake(a, b));
    BOOST_TEST(a.ratchet.epoch() == 0u);
}

BOOST_AUTO_TEST_CASE(lost_responses_end_in_a_session_and_move_no_further_than_the_clocks) {
    end a, b;
    for (int day = 0; day < 20; ++day, ++a.clock, ++b.clock)
        for (int lost = 0; lost < 7; ++lost) {
            for (int i = 0; i < lost; ++i) (void)b.respond(a);
            BOOST_TEST(handshake(a, b));
            BOOST_TEST(b.ratchet.epoch() <= b.clock + 1);
        }
}

BOOST_AUTO_TEST_CASE(a_key_is_kept_until_the_other_end_has_confirmed_a_later_one) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    ++a.clock, ++b.clock;
    BOOST_TEST(a.consume(b.respond(a))); // and then everything is lost: neither end has received data
    BOOST_TEST(a.ratchet.epoch() == today);
    BOOST_TEST(b.ratchet.epoch() == today);
    b.restart(true);
    BOOST_TEST(handshake(b, a));
    BOOST_TEST(b.ratchet.epoch() == today + 1);
    BOOST_TEST(a.ratchet.epoch() == today + 1);
}

BOOST_AUTO_TEST_CASE(an_end_that_has_proven_an_epoch_is_answered_under_no_earlier_one) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    ++a.clock, ++b.clock;
    BOOST_TEST(a.consume(b.respond(a)));
    b.ratchet.confirm_as_responder(hash); // the data of `a` came in; the answer is lost
    --a.clock;                            // and the clock of `a` goes back
    BOOST_TEST(handshake(b, a));
}

BOOST_AUTO_TEST_CASE(a_peer_that_tries_one_key_gets_it_within_three_attempts) {
    // Linux's WireGuard has one key at a time, which a timer of that host sets.
    for (int lag : {-1, 0, 1}) {
        end linux_host, b;
        for (int day = 0; day < 20; ++day, ++linux_host.clock, ++b.clock) {
            key const only = [&] {
                wg::ratchet_keys keys = keys_at(linux_host.clock + static_cast<ratchet_epoch>(lag));
                key copy;
                copy.assign(keys.key());
                return copy;
            }();
            int attempt = 1;
            while (!b.respond(linux_host).equals(only) && attempt < 9) ++attempt;
            BOOST_TEST(attempt <= 3);
            b.ratchet.confirm_as_responder(hash);
            BOOST_TEST(b.consume(only)); // as initiator it takes any of the keys at once
        }
    }
}

BOOST_AUTO_TEST_CASE(the_configured_key_is_known_again) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    BOOST_TEST(a.ratchet.began_with(hash, configured(), day_s));
    BOOST_TEST(!a.ratchet.began_with(hash, configured(), day_s + 1));
    BOOST_TEST(!a.ratchet.began_with(hash, configured(0x21), day_s));
    BOOST_TEST(!wg::ratchet().began_with(hash, configured(), 0));
    a.ratchet.begin(hash, configured(0x21), day_s);
    BOOST_TEST(!a.ratchet.confirmed());
    BOOST_TEST(attempts(a, b) == 9);
}

BOOST_AUTO_TEST_CASE(a_stored_state_is_refused_if_it_is_of_another_key_or_length) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    wg::byte_array<wg::ratchet::stored_bytes> stored{};
    a.ratchet.store(stored);
    wg::ratchet other;
    BOOST_TEST(!other.load(hash, stored, configured(0x21), day_s));
    BOOST_TEST(!other.load(hash, stored, configured(), day_s + 1));
    BOOST_TEST(!other.load(hash, stored, configured(), 0));
    BOOST_TEST(!other.active());
    BOOST_TEST(other.load(hash, stored, wg::byte_array<32>{}, day_s)); // the configuration has no key any more
    BOOST_TEST(other.epoch() == today);
}

BOOST_AUTO_TEST_CASE(clear_leaves_no_key) {
    end a, b;
    BOOST_TEST(handshake(a, b));
    a.ratchet.clear();
    BOOST_TEST(!a.ratchet.active());
    wg::byte_array<wg::ratchet::stored_bytes> stored{};
    a.ratchet.store(stored);
    BOOST_TEST(wg::is_zero_in_constant_time(stored));
}

BOOST_AUTO_TEST_SUITE_END()
