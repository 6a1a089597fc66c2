// SPDX-License-Identifier: BSL-1.0
// Compares MACs and cookies with bytes computed without this library.
//
// The vectors continue those of protocol_noise.cpp. Python's hashlib.blake2s computed mac1 and mac2. XChaCha20-Poly1305
// was composed of an HChaCha20 written in Python (checked with draft-irtf-cfrg-xchacha, 2.2.1) and ChaCha20Poly1305 of
// python3-cryptography. The cookie secret ascends from 0x60, the nonce from 0xa0; the sender's port is 51820.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(protocol_cookie)

using namespace wg_tests;
using wg::status;

namespace {

using checker = wg::cookie_checker<test_policies>;
using jar = wg::cookie_jar<test_policies>;

constexpr char const* public_responder = "79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a";
constexpr char const* initiation_without_macs =
    "010000004433221123b7bb8c91ae008711fb12846780bcdf1e065f821bdfec49f57e7c7dcd4c48237c9f087a47c7776566936c12f69cdefeb0"
    "172eed"
    "5225b21ffd5b64d7cbdcc06f5db9067ffb754a97052851ac628edb82dd2c601dbc24131a5828bd9621d3b700e0f2663851c8c30c555b367b";
constexpr char const* mac1_vector = "61c27601fc7506f3889d0dc899310607";

struct address_vector {
    wg::endpoint from;
    char const *reply, *mac2;
};
address_vector const vectors[] = {
    {{wg::ip_address::v4(192, 0, 2, 1), 51820, 0},
     "0300000044332211a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b78c14ab1065c40955a6ba4b77503c9a4d7553eedc50e60204d"
     "d07721c22da434f",
     "b2e7b73e6be4f08c36adccc6fa909479"},
    {{{{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, wg::family::v6}, 51820, 0},
     "0300000044332211a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b70fe00af7821345f74946b816b27ee3d30d27fd7056ad9edfa"
     "8ce3368dabd0b8a",
     "4d11a46e56fd2c8335644624d25244ae"}};

/// Returns ascending bytes: 32 bytes from 0x60 for the cookie secret, other sizes from 0xa0. Counts its calls.
struct scripted_random {
    unsigned asked = 0;
    bool works = true;
    bool fill(wg::bytes out) noexcept {
        ++asked;
        if (!works) return false;
        wg::byte next = out.size() == 32 ? 0x60 : 0xa0;
        for (wg::byte& b : out) b = next++;
        return true;
    }
};

struct exchange {
    wg::primitives<test_policies> with{};
    checker responder;
    jar initiator;
    scripted_random random;
    buffer const key = hex(public_responder);
    buffer message = hex(initiation_without_macs);
    buffer reply = buffer(64);
    wg::instant now = wg::instant{} + wg::seconds(1000);

    exchange() {
        message.resize(148);
        responder.set_public_key(with, fixed<32>(key));
    }
    void add_macs() { initiator.add_macs(with, fixed<32>(key), message, now); }
    status answer(wg::endpoint const& from) { return responder.create_reply(with, random, message, from, now, reply); }
    status consume() { return initiator.consume_reply(with, fixed<32>(key), reply, now); }
    bool mac2_is_right(wg::endpoint const& from) { return responder.check_mac2(with, message, from, now); }
    buffer mac1() const { return buffer(message.begin() + 116, message.begin() + 132); }
    buffer mac2() const { return buffer(message.begin() + 132, message.end()); }
};

} // namespace

BOOST_AUTO_TEST_CASE(macs_and_cookies_match_vectors_of_another_implementation) {
    for (address_vector const& v : vectors) {
        exchange e;
        e.add_macs();
        BOOST_TEST(e.mac1() == hex(mac1_vector));
        BOOST_TEST(e.mac2() == buffer(16)); //= wp 5.4.4: mac2 is zero without a fresh cookie
        BOOST_TEST(e.responder.check_mac1(e.with, e.message));
        BOOST_TEST(e.answer(v.from) == status::ok);
        BOOST_TEST(e.reply == hex(v.reply));
        BOOST_TEST(e.consume() == status::ok);
        e.add_macs();
        BOOST_TEST(e.mac2() == hex(v.mac2));
        BOOST_TEST(e.mac2_is_right(v.from));
    }
}

BOOST_AUTO_TEST_CASE(mac1_detects_every_flipped_bit_of_the_message) {
    exchange e;
    e.add_macs();
    for (std::size_t bit = 0; bit < 132 * 8; ++bit) {
        buffer other = e.message;
        other[bit / 8] = static_cast<wg::byte>(other[bit / 8] ^ (1u << bit % 8));
        if (e.responder.check_mac1(e.with, other)) BOOST_ERROR("bit " << bit);
    }
    buffer const stranger = noise(1).take(32);
    e.responder.set_public_key(e.with, fixed<32>(stranger));
    BOOST_TEST(!e.responder.check_mac1(e.with, e.message));
}

//= wp 5.4.7: a cookie is good for one address and port
BOOST_AUTO_TEST_CASE(mac2_is_bound_to_address_port_and_message) {
    exchange e;
    wg::endpoint const from = vectors[0].from;
    e.add_macs();
    BOOST_TEST(!e.mac2_is_right(from)); // no cookie was issued yet
    BOOST_TEST(e.answer(from) == status::ok);
    BOOST_TEST(!e.mac2_is_right(from)); // an all-zero mac2 is invalid
    BOOST_TEST(e.consume() == status::ok);
    e.add_macs();
    wg::endpoint other = from;
    other.port ^= 1;
    BOOST_TEST(!e.mac2_is_right(other));
    other = from;
    other.address.octets[0] ^= 1;
    BOOST_TEST(!e.mac2_is_right(other));
    other = from;
    other.scope_id = 3; // the scope is not part of the MAC input
    BOOST_TEST(e.mac2_is_right(other));
    for (std::size_t at = 0; at < 148; ++at) {
        e.message[at] ^= 1;
        if (e.mac2_is_right(from)) BOOST_ERROR("byte " << at);
        e.message[at] ^= 1;
    }
    BOOST_TEST(e.mac2_is_right(from));
}

//= wp 5.4.7: the cookie secret changes every two minutes
BOOST_AUTO_TEST_CASE(the_cookie_secret_is_replaced_after_120_s) {
    exchange e;
    wg::endpoint const from = vectors[0].from;
    e.add_macs();
    BOOST_TEST(e.answer(from) == status::ok);
    BOOST_TEST(e.random.asked == 2u); // secret and nonce
    BOOST_TEST(e.consume() == status::ok);
    e.add_macs();
    e.now = e.now + wg::seconds(120) - wg::duration{1};
    BOOST_TEST(e.mac2_is_right(from));
    BOOST_TEST(e.answer(from) == status::ok);
    BOOST_TEST(e.random.asked == 3u);
    e.now = e.now + wg::duration{1};
    BOOST_TEST(!e.mac2_is_right(from));
    BOOST_TEST(e.answer(from) == status::ok);
    BOOST_TEST(e.random.asked == 5u);
}

//= linux: a cookie is used for 115 s
BOOST_AUTO_TEST_CASE(a_cookie_is_used_for_115_s) {
    exchange e;
    e.add_macs();
    BOOST_TEST(e.answer(vectors[0].from) == status::ok);
    BOOST_TEST(e.consume() == status::ok);
    e.now = e.now + wg::seconds(115) - wg::duration{1};
    e.add_macs();
    BOOST_TEST(e.mac2() != buffer(16));
    e.now = e.now + wg::duration{1};
    e.add_macs();
    BOOST_TEST(e.mac2() == buffer(16));
}

//= linux: one cookie reply is taken for each message sent
//= wp 5.4.7: a cookie reply is sealed for one message, by its mac1
BOOST_AUTO_TEST_CASE(a_cookie_reply_is_accepted_once_and_only_for_the_last_message) {
    exchange e;
    BOOST_TEST(e.consume() == status::stale_cookie); // nothing was sent
    e.add_macs();
    BOOST_TEST(e.answer(vectors[0].from) == status::ok);
    e.message[10] ^= 1;
    e.add_macs(); // another message has another mac1
    BOOST_TEST(e.consume() == status::decryption_failed);
    BOOST_TEST(e.answer(vectors[0].from) == status::ok);
    for (std::size_t at = 8; at < 64; ++at) {
        e.reply[at] ^= 0x10;
        BOOST_TEST(e.consume() == status::decryption_failed, at);
        e.reply[at] ^= 0x10;
    }
    BOOST_TEST(e.consume() == status::ok);
    BOOST_TEST(e.consume() == status::stale_cookie);
}

BOOST_AUTO_TEST_CASE(no_cookie_reply_is_made_without_randomness) {
    exchange e;
    e.add_macs();
    e.random.works = false;
    BOOST_TEST(e.answer(vectors[0].from) == status::no_random);
    e.random.works = true;
    BOOST_TEST(e.answer(vectors[0].from) == status::ok);
    e.random.works = false;
    BOOST_TEST(e.answer(vectors[0].from) == status::no_random); // the nonce is random, too
}

BOOST_AUTO_TEST_SUITE_END()
