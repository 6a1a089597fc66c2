// SPDX-License-Identifier: BSL-1.0
// The messages of a post-quantum exchange, and the preshared keys that it makes. Python computed the vector, with the
// code that docs/post-quantum.md shows; its key encapsulation is one with fixed bytes.
#include "fixture.hpp"
#include "toy_kem.hpp"
#include "wg/post_quantum.hpp"

BOOST_AUTO_TEST_SUITE(protocol_pq_exchange)

using namespace wg_tests;
using wg::pq_exchange, wg::pq_keys;
using at = wg::pq_layout;
using key = wg::secret<wg::key_bytes>;

namespace {

WG_TESTS_CRYPTOGRAPHY::hash const hash;
constexpr char const* key_vector = "2a8cad3d35c8cb31e92515678c23fc4d829006aff99c09e5b1a5535e2768105e";
constexpr char const* tag_vector = "ed77db8b4653ed5c52d6d0f2164077fe";

buffer ascending(wg::byte first, std::size_t size) {
    buffer out(size);
    for (wg::byte& b : out) b = first++;
    return out;
}

/// Its bytes ascend: the public key from 1, the ciphertext from 2, the secret from 3.
struct fixed_kem {
    static constexpr std::size_t public_key_bytes = at::public_key_bytes, private_key_bytes = 1,
                                 ciphertext_bytes = at::ciphertext_bytes;
    bool generate(std::span<wg::byte, public_key_bytes> to, wg::secret<private_key_bytes>&,
                  wg::secret<at::seed_bytes> const&) const noexcept {
        wg::copy(to, wg::bytes_view(ascending(1, to.size())));
        return true;
    }
    bool encapsulate(std::span<wg::byte, at::ciphertext_bytes> to, key& out,
                     std::span<wg::byte const, at::public_key_bytes>, key const&) const noexcept {
        wg::copy(to, wg::bytes_view(ascending(2, to.size())));
        out.assign(fixed<32>(ascending(3, 32)));
        return true;
    }
    bool decapsulate(key& out, wg::secret<private_key_bytes> const&,
                     std::span<wg::byte const, ciphertext_bytes>) const noexcept {
        out.assign(fixed<32>(ascending(3, 32)));
        return true;
    }
};

/// Random bytes that ascend from 0x40, and count up with each call.
struct scripted_random {
    bool works = true;
    wg::byte next = 0x40;
    bool fill(wg::bytes out) noexcept {
        if (!works) return false;
        for (wg::byte& b : out) b = next++;
        return true;
    }
};

/// Two ends of a session, the first one its initiator.
template <class Kem = toy_kem> struct ends {
    Kem kem{};
    scripted_random random_a{}, random_b{true, 0x90};
    pq_exchange a{}, b{};
    key exported{fixed<32>(ascending(0x10, 32))}, key_a{}, key_b{};
    wg::public_key public_a{}, public_b{};
    wg::byte_array<at::offer_bytes> offer{};
    wg::byte_array<at::answer_bytes> answer{};

    ends() {
        wg::copy(public_a, wg::bytes_view(ascending(0xa0, 32)));
        wg::copy(public_b, wg::bytes_view(ascending(0xb0, 32)));
        BOOST_TEST_REQUIRE(a.begin(random_a));
        BOOST_TEST_REQUIRE(a.write_offer(kem, offer));
    }
    bool respond(wg::bytes_view to) {
        return b.answer(hash, kem, random_b, exported, public_a, public_b, to, answer, key_b);
    }
    bool finish(wg::bytes_view from) { return a.finish(hash, kem, exported, public_a, public_b, from, key_a); }
};

} // namespace

BOOST_AUTO_TEST_CASE(both_ends_have_the_same_key) {
    ends<> e;
    BOOST_TEST(e.respond(e.offer));
    BOOST_TEST(e.a.offering());
    BOOST_TEST(e.finish(e.answer));
    BOOST_TEST(!e.a.offering());
    BOOST_TEST(e.key_a.equals(e.key_b));
    BOOST_TEST(!e.key_a.is_zero());
    BOOST_TEST(!e.finish(e.answer)); // the answer again
}

BOOST_AUTO_TEST_CASE(both_ends_have_the_same_key_with_ml_kem) {
    ends<wg::bundled::ml_kem_768> e;
    BOOST_TEST(e.respond(e.offer));
    auto changed = e.answer;
    changed[at::content] ^= 1; // another ciphertext: another secret, and so another tag
    BOOST_TEST(!e.finish(changed));
    BOOST_TEST(e.finish(e.answer));
    BOOST_TEST(e.key_a.equals(e.key_b));
    BOOST_TEST(!e.key_a.is_zero());
}

BOOST_AUTO_TEST_CASE(an_offer_with_a_key_that_is_not_reduced_gets_no_answer) {
    ends<wg::bundled::ml_kem_768> e;
    std::fill_n(&e.offer[at::content], 384, wg::byte{0xff});
    BOOST_TEST(!e.respond(e.offer));
}

BOOST_AUTO_TEST_CASE(key_and_tag_equal_those_of_another_implementation) {
    ends<fixed_kem> e;
    BOOST_TEST(e.offer == wg::bytes_view([] {
                   buffer wanted = hex("01010100404142434445464748494a4b");
                   buffer const content = ascending(1, at::public_key_bytes);
                   wanted.insert(wanted.end(), content.begin(), content.end());
                   return wanted;
               }()),
               boost::test_tools::per_element());
    BOOST_TEST(e.respond(e.offer));
    BOOST_TEST(wg::bytes_view(e.answer).last(16) == hex(tag_vector), boost::test_tools::per_element());
    BOOST_TEST(e.key_b.expose() == wg::bytes_view(hex(key_vector)), boost::test_tools::per_element());
    BOOST_TEST(e.finish(e.answer));
    BOOST_TEST(e.key_a.equals(e.key_b));
}

BOOST_AUTO_TEST_CASE(an_offer_that_comes_again_has_the_same_answer) {
    ends<> e;
    BOOST_TEST(e.respond(e.offer));
    auto const answer = e.answer;
    key const first(e.key_b.expose());
    wg::byte_array<at::offer_bytes> again{};
    BOOST_TEST(e.a.write_offer(e.kem, again));
    BOOST_TEST((again == e.offer));
    buffer padded(again.begin(), again.end());
    padded.resize(padded.size() + 32); // zeros after the inner packet
    BOOST_TEST(e.respond(padded));
    BOOST_TEST((e.answer == answer));
    BOOST_TEST(e.key_b.equals(first));
    e.b.forget_answer();
    BOOST_TEST(e.respond(again));
    BOOST_TEST(!e.key_b.equals(first));
}

BOOST_AUTO_TEST_CASE(changed_cut_and_foreign_messages_are_refused) {
    ends<> e;
    for (std::size_t size = 0; size < at::offer_bytes; size += 7)
        BOOST_TEST(!e.respond(wg::bytes_view(e.offer).first(size)));
    for (std::size_t place : {0u, 1u, 2u, 3u}) {
        auto wrong = e.offer;
        wrong[place] ^= 0x10;
        BOOST_TEST(!e.respond(wrong));
        wrong = e.offer;
        wrong[place] ^= 3;
        BOOST_TEST(!e.respond(wrong));
    }
    auto wrong_key = e.offer;
    wrong_key.back() = 255;
    BOOST_TEST(!e.respond(wrong_key)); // the check of FIPS 203, 7.2
    BOOST_TEST(e.respond(e.offer));
    for (std::size_t size = 0; size < at::answer_bytes; size += 7)
        BOOST_TEST(!e.finish(wg::bytes_view(e.answer).first(size)));
    for (std::size_t place = 0; place < at::answer_bytes; place += place < 20 ? 1 : 61) {
        auto changed = e.answer;
        changed[place] ^= 1;
        BOOST_TEST(!e.finish(changed), "place " << place);
    }
    BOOST_TEST(!e.finish(e.offer)); // reflected
    BOOST_TEST(e.a.offering());
    BOOST_TEST(e.key_a.is_zero());
    BOOST_TEST(e.finish(e.answer)); // the genuine one is still taken
    BOOST_TEST(e.key_a.equals(e.key_b));
}

BOOST_AUTO_TEST_CASE(the_key_depends_on_the_session_both_static_keys_and_the_encapsulated_secret) {
    for (int what = 0; what < 3; ++what) {
        ends<> e;
        BOOST_TEST(e.respond(e.offer));
        if (what == 0) e.exported.expose()[31] ^= 1;
        if (what == 1) e.public_a[0] ^= 1;
        if (what == 2) e.public_b[0] ^= 1;
        BOOST_TEST(!e.finish(e.answer));
    }
}

BOOST_AUTO_TEST_CASE(without_random_bytes_there_is_no_exchange) {
    ends<> e;
    pq_exchange other;
    e.random_a.works = false;
    BOOST_TEST(!other.begin(e.random_a));
    BOOST_TEST(!other.offering());
    e.random_b.works = false;
    BOOST_TEST(!e.respond(e.offer));
}

BOOST_AUTO_TEST_CASE(a_message_costs_a_bounded_number_of_key_operations) {
    ends<> e;
    toy_kem::calls = 0;
    BOOST_TEST(e.respond(e.offer));
    BOOST_TEST(toy_kem::calls == 1u);
    e.a.stop();
    BOOST_TEST(!e.finish(e.answer));
    BOOST_TEST(toy_kem::calls == 1u);
    BOOST_TEST(!e.respond(e.answer));
    BOOST_TEST(toy_kem::calls == 1u);
}

BOOST_AUTO_TEST_CASE(ip_packets_are_no_messages_and_messages_are_no_ip_packets) {
    for (unsigned first = 0; first < 256; ++first) {
        buffer packet(60);
        packet[0] = static_cast<wg::byte>(first);
        wg::store_be16(&packet[2], 60);
        bool const message = pq_exchange::is_message(packet);
        BOOST_TEST(message == (first < 16));
        if (message) BOOST_TEST(!wg::parse_ip(packet));
    }
    BOOST_TEST(!pq_exchange::is_message({}));
}

BOOST_AUTO_TEST_CASE(exported_secrets_differ_from_session_keys) {
    key const chaining(fixed<32>(ascending(7, 32)));
    key exported, send, receive;
    pq_exchange::export_secret(hash, chaining, exported);
    wg::kdf(hash, chaining, {}, send, receive);
    BOOST_TEST(!exported.equals(send));
    BOOST_TEST(!exported.equals(receive));
    BOOST_TEST(!exported.equals(chaining));
}

// --- the keys of both ends

namespace {

key numbered(wg::byte n) { return key(fixed<32>(ascending(n, 32))); }

/// Whether the initiator finds the key that the responder chooses; `n`: the number of responses that were tried.
bool agree(pq_keys& responder, pq_keys const& initiator, bool early, int& n) {
    for (n = 1; n <= 3; ++n) {
        wg::pq_key_number const chosen = responder.choose(early);
        if (chosen == 0) return true; // both have the configured key
        if (initiator.find([&](key const& one) { return one.equals(responder.key(chosen)); }) != 0) return true;
    }
    return false;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_key_replaces_the_one_before_it_after_data_came_in_under_it) {
    pq_keys keys;
    BOOST_TEST(keys.choose(false) == 0u);
    keys.add(numbered(1));
    wg::pq_key_number const first = keys.fresh();
    BOOST_TEST(first != 0u);
    BOOST_TEST(!keys.received(0, true));
    BOOST_TEST(keys.made() == 0u);
    BOOST_TEST(keys.received(first, true));
    BOOST_TEST(keys.made() == first);
    BOOST_TEST(keys.fresh() == 0u);
    keys.add(numbered(1)); // an answer that was repeated
    BOOST_TEST(keys.fresh() == 0u);
    keys.add(numbered(2));
    BOOST_TEST(keys.key(keys.made()).equals(numbered(1)));
    BOOST_TEST(keys.key(keys.fresh()).equals(numbered(2)));
    BOOST_TEST(!keys.received(first, true));
    BOOST_TEST(keys.received(keys.fresh(), false));
    BOOST_TEST(keys.key(keys.made()).equals(numbered(2)));
    keys.clear();
    BOOST_TEST(keys.made() == 0u);
    BOOST_TEST(keys.choose(false) == 0u);
}

BOOST_AUTO_TEST_CASE(ends_with_different_keys_agree_within_three_responses) {
    // Bits: 1: the key in use, 2: the newest key.
    for (int both = 0; both < 8; ++both) {
        bool const early = both >= 4;
        int const left = both % 4;
        for (int right = 0; right < 4; ++right) {
            pq_keys a, b;
            for (auto* const one : {&a, &b}) {
                int const has = one == &a ? left : right;
                if ((has & 1) != 0) {
                    one->add(numbered(1));
                    (void)one->received(one->fresh(), true);
                }
                if ((has & 2) != 0) one->add(numbered(2));
            }
            int n = 0;
            BOOST_TEST(agree(a, b, early, n));
            if (left == right) BOOST_TEST(n == 1);
            if (early) BOOST_TEST(n <= 2);
            // A lost response alone does not lead ends that prefer, and have a key in common, to the configured one.
            if (left == right && (left & 1) != 0 && !early) BOOST_TEST(a.choose(early) == a.made());
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
