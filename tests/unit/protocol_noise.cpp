// SPDX-License-Identifier: BSL-1.0
// Compares the handshake with bytes computed without this library, and tests inputs that it must reject.
//
// The vectors come from whitepaper 5.4, transcribed into 50 lines of Python with hashlib.blake2s, hmac and
// python3-cryptography (X25519, ChaCha20Poly1305). Private keys are 32 ascending bytes: the initiator's static key
// from 0x10, the responder's from 0x40, the ephemeral ones from 0x70 and 0xa0; the preshared key ascends from 0xd0;
// indices are 0x11223344 and 0x55667788, the timestamp is 40000000 655a1b2c 3d000000.
#include "fixture.hpp"

namespace wg { inline namespace WG_ABI {
inline std::ostream& operator<<(std::ostream& to, handshake_state s) {
    return to << "state " << static_cast<unsigned>(s);
}
}} // namespace wg::WG_ABI

BOOST_AUTO_TEST_SUITE(protocol_noise)

using namespace wg_tests;
using wg::handshake_state;
using wg::status;

namespace {

using policies = test_policies;
using steps = wg::noise<policies>;

constexpr char const* public_initiator = "d89e3bad79437dbed9f843418304f460ff05c7fe81fe4a9577a804cb9367ff66";
constexpr char const* public_responder = "79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a";
constexpr char const* initiation_vector =
    "010000004433221123b7bb8c91ae008711fb12846780bcdf1e065f821bdfec49f57e7c7dcd4c48237c9f087a47c7776566936c12f69cdefeb0"
    "172eed"
    "5225b21ffd5b64d7cbdcc06f5db9067ffb754a97052851ac628edb82dd2c601dbc24131a5828bd9621d3b700e0f2663851c8c30c555b367b";
constexpr char const* response_vector = "020000008877665544332211605a725d2a4adfeeb1a29e17edd621c1b7593ee8cdbc44ac6c4ab6"
                                        "e2f805d23c6999cbd93692c9e9cd45d203db7b4081";
constexpr char const* key_from_initiator = "24538fbb2f7b0840790ff8bf90b1ba327f60abf80e70035d8814528477206e03";
constexpr char const* key_from_responder = "5d2d3fc0fc221c39f0fa4884d050609578db6fd101c6eaf565603d96f46ac756";
constexpr char const* transport_vector =
    "0400000088776655070000000000000056e24fc4af4ec1aa94da64719ec08c621516582fcade7e29ca230b5c58db492d";

constexpr std::uint32_t index_i = 0x11223344, index_r = 0x55667788;

buffer ascending(unsigned from, std::size_t size = 32) {
    buffer out(size);
    for (wg::byte& b : out) b = static_cast<wg::byte>(from++);
    return out;
}
template <std::size_t Size> bool is(wg::secret<Size> const& s, buffer const& expected) {
    return std::equal(s.expose().begin(), s.expose().end(), expected.begin(), expected.end());
}

/// Returns the bytes of `bytes` in order, then fails.
struct scripted_random {
    buffer bytes;
    bool fill(wg::bytes out) noexcept {
        if (bytes.size() < out.size()) return false;
        wg::copy(out, std::span(bytes).first(out.size()));
        bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(out.size()));
        return true;
    }
};

struct end {
    wg::identity mine;
    wg::remote_identity theirs;
    wg::handshake shake;
    scripted_random random;
    wg::secret<32> send_key, receive_key;

    end(unsigned static_from, unsigned ephemeral_from) : random{ascending(ephemeral_from)} {
        mine.private_key.assign(fixed<32>(ascending(static_from)));
        wg::bundled::dh{}.dh_public(mine.public_key, mine.private_key);
    }
};

struct both {
    wg::primitives<policies> with{};
    steps noise{with};
    end i{0x10, 0x70}, r{0x40, 0xa0};
    wg::byte_array<12> timestamp{};
    buffer initiation = buffer(148), response = buffer(92);

    both() {
        for (auto const& [one, other] : {std::pair{&i, &r}, std::pair{&r, &i}}) {
            one->theirs.public_key = other->mine.public_key;
            BOOST_TEST_REQUIRE(
                wg::bundled::dh{}.dh(one->theirs.static_static, one->mine.private_key, other->mine.public_key));
            one->theirs.preshared_key.assign(fixed<32>(ascending(0xd0)));
        }
        wg::copy(timestamp, hex("40000000655a1b2c3d000000"));
    }
    status initiate() {
        i.shake.local_index = index_i;
        return noise.create_initiation(i.shake, i.mine, i.theirs, i.random, timestamp, initiation);
    }
    status open(steps::incoming_initiation& in) {
        in.why = status::ok;
        in.read(initiation.data());
        noise.open_initiations(steps::batch<steps::incoming_initiation>(&in, 1), r.mine);
        return in.why;
    }
    status consume(steps::incoming_initiation& in) {
        if (status const why = open(in); why != status::ok) return why;
        return noise.prove_initiation(in, r.theirs);
    }
    status respond() {
        steps::incoming_initiation in;
        if (status const why = consume(in); why != status::ok) return why;
        noise.accept_initiation(r.shake, in);
        r.shake.local_index = index_r;
        steps::outgoing_response out;
        out.why = status::ok;
        noise.begin_response(out, r.shake, r.theirs, response.data(), r.random);
        noise.create_responses(steps::batch<steps::outgoing_response>(&out, 1));
        return out.why;
    }
    status finish() {
        steps::incoming_response in;
        in.why = status::ok;
        noise.begin_response(in, i.shake, i.mine, i.theirs, response.data());
        noise.open_responses(steps::batch<steps::incoming_response>(&in, 1));
        if (in.why == status::ok) noise.accept_response(i.shake, in);
        return in.why;
    }
};

bool same(wg::handshake const& a, wg::handshake const& b) {
    return a.state == b.state && a.local_index == b.local_index && a.remote_index == b.remote_index &&
           a.ephemeral.equals(b.ephemeral) && a.symmetric.chaining_key.equals(b.symmetric.chaining_key) &&
           a.symmetric.hash.equals(b.symmetric.hash);
}
void assign(wg::handshake& to, wg::handshake const& from) {
    to.state = from.state;
    to.local_index = from.local_index;
    to.remote_index = from.remote_index;
    to.ephemeral.assign(from.ephemeral);
    to.symmetric.assign(from.symmetric);
}

} // namespace

// RFC 2104 over BLAKE2s; computed by Python's hmac. Key: 0, 1, 2, ...; input: 0, 7, 14, ...
BOOST_AUTO_TEST_CASE(hmac_matches_vectors_of_another_implementation) {
    std::pair<std::size_t, char const*> const vectors[] = {
        {0, "e2641d24dfa8dd89e8cb77f1cdc77d8c006e5bebdfc4d6a3a3a6f8d5b7586fb0"},
        {1, "3c657ea8362eeb115466cc90a81a36d2994b7153729c01f50a19be2ca3cce643"},
        {32, "aa39541ab1636960ffc27873e0f7e63450365f92500b446f9cceb6365b1bfd09"},
        {64, "2fd59823df2e0caf578403b14d9789b60b1ea7b2054efe65ba47f0efa4b4bcee"},
        {65, "60fba06e01ce65b79af2f215aeb9ffbf712827a42a9c3c05c5a7de6a826598ac"},
        {200, "95a19e5ec3a41608ce05082200ad359bce5208a8a24905a3ceab4484212f1bed"}};
    buffer const key = ascending(0);
    for (auto const& [size, expected] : vectors) {
        buffer in(size);
        for (std::size_t i = 0; i < size; ++i) in[i] = static_cast<wg::byte>(i * 7);
        wg::byte_array<32> out{};
        wg::hmac(wg::bundled::hash{}, out, fixed<32>(key), in);
        BOOST_TEST(buffer(out.begin(), out.end()) == hex(expected), size);
    }
}

//= wp 5.4: KDF1, KDF2 and KDF3 are the first outputs of one chain
BOOST_AUTO_TEST_CASE(kdf_matches_vectors_of_another_implementation) {
    buffer const expected[] = {hex("87b7f70b24183c6db5dc4f6d9f4c47cdb203321aa2a0bef714896adb3107a040"),
                               hex("538a02e1eb2e31b7e4d4b82476d1fe2acf50085d3fb584537279195f5d1f5824"),
                               hex("9ad858025593be88de0f9442a589cfe84a88dc19e4753d93684d1c5efc4837f9")};
    wg::secret<32> const key(fixed<32>(ascending(0)));
    wg::secret<32> a, b, c;
    wg::kdf(wg::bundled::hash{}, key, text("input"), a, b, c);
    BOOST_TEST((is(a, expected[0]) && is(b, expected[1]) && is(c, expected[2])));
    wg::secret<32> d, e, f;
    wg::kdf(wg::bundled::hash{}, key, text("input"), d, e);
    wg::kdf(wg::bundled::hash{}, key, text("input"), f);
    BOOST_TEST((is(d, expected[0]) && is(e, expected[1]) && is(f, expected[0])));
    wg::secret<32> in_place(fixed<32>(ascending(0))); // an output may overwrite the key
    wg::kdf(wg::bundled::hash{}, in_place, text("input"), in_place, e);
    BOOST_TEST((is(in_place, expected[0]) && is(e, expected[1])));
    wg::secret<32> input(fixed<32>(hex(public_initiator))), apart;
    wg::kdf(wg::bundled::hash{}, key, input.expose(), apart);
    wg::kdf(wg::bundled::hash{}, key, input.expose(), input); // or overwrite the input
    BOOST_TEST(input.equals(apart));
}

BOOST_AUTO_TEST_CASE(messages_and_keys_match_vectors_of_another_implementation) {
    both b;
    BOOST_TEST((buffer(b.i.mine.public_key.begin(), b.i.mine.public_key.end()) == hex(public_initiator)));
    BOOST_TEST((buffer(b.r.mine.public_key.begin(), b.r.mine.public_key.end()) == hex(public_responder)));
    BOOST_TEST(b.initiate() == status::ok);
    BOOST_TEST(buffer(b.initiation.begin(), b.initiation.begin() + 116) == hex(initiation_vector));
    BOOST_TEST(buffer(b.initiation.begin() + 116, b.initiation.end()) == buffer(32)); // the cookie code writes the MACs
    BOOST_TEST(b.i.shake.state == handshake_state::initiation_created);
    BOOST_TEST(b.respond() == status::ok);
    BOOST_TEST(buffer(b.response.begin(), b.response.begin() + 60) == hex(response_vector));
    BOOST_TEST(b.r.shake.remote_index == index_i);
    BOOST_TEST(b.finish() == status::ok);
    BOOST_TEST(b.i.shake.remote_index == index_r);
    BOOST_TEST(b.noise.begin_session(b.i.shake, b.i.send_key, b.i.receive_key) == status::ok);
    BOOST_TEST(b.noise.begin_session(b.r.shake, b.r.send_key, b.r.receive_key) == status::ok);
    BOOST_TEST(is(b.i.send_key, hex(key_from_initiator)));
    BOOST_TEST(is(b.i.receive_key, hex(key_from_responder)));
    BOOST_TEST(is(b.r.send_key, hex(key_from_responder)));
    BOOST_TEST(is(b.r.receive_key, hex(key_from_initiator)));

    // whitepaper 5.4.6, with counter 7 and 16 bytes of payload
    buffer message = hex(transport_vector);
    buffer opened(16);
    BOOST_TEST(b.with.aead.open(opened, std::span(message).subspan(16), {}, 7, b.r.receive_key));
    BOOST_TEST(opened == text("sixteen bytes ok"));
}

BOOST_AUTO_TEST_CASE(the_responder_decrypts_the_static_key_and_the_timestamp) {
    both b;
    BOOST_TEST(b.initiate() == status::ok);
    steps::incoming_initiation in;
    BOOST_TEST(b.consume(in) == status::ok);
    BOOST_TEST((in.remote_static == b.i.mine.public_key));
    BOOST_TEST((in.timestamp == b.timestamp));
    BOOST_TEST(b.r.shake.state == handshake_state::none); // the handshake is not accepted yet
}

//= wp 5.4.5: the keys of a session come out of the handshake, which is then forgotten
BOOST_AUTO_TEST_CASE(begin_session_wipes_the_handshake) {
    both b;
    BOOST_TEST(b.initiate() == status::ok);
    wg::secret<32> one, two;
    BOOST_TEST(b.noise.begin_session(b.i.shake, one, two) == status::wrong_state);
    BOOST_TEST(b.respond() == status::ok);
    BOOST_TEST(b.finish() == status::ok);
    for (end* const e : {&b.i, &b.r}) {
        BOOST_TEST(b.noise.begin_session(e->shake, one, two) == status::ok);
        BOOST_TEST(e->shake.state == handshake_state::none);
        BOOST_TEST(e->shake.ephemeral.is_zero());
        BOOST_TEST(e->shake.symmetric.chaining_key.is_zero());
        BOOST_TEST(e->shake.symmetric.hash.is_zero());
        BOOST_TEST(b.noise.begin_session(e->shake, one, two) == status::wrong_state);
    }
}

BOOST_AUTO_TEST_CASE(rejects_every_flipped_bit_of_an_initiation) {
    both b;
    BOOST_TEST(b.initiate() == status::ok);
    buffer const genuine = b.initiation;
    for (std::size_t bit = 8 * 8; bit < 116 * 8; bit += 3) {
        b.initiation = genuine;
        b.initiation[bit / 8] = static_cast<wg::byte>(b.initiation[bit / 8] ^ (1u << bit % 8));
        steps::incoming_initiation in;
        if (b.consume(in) != status::decryption_failed) BOOST_ERROR("bit " << bit);
    }
    b.initiation = genuine;
    steps::incoming_initiation in;
    BOOST_TEST(b.consume(in) == status::ok);
}

//= linux: a forged response does not end the handshake that waits for the genuine one
BOOST_AUTO_TEST_CASE(rejects_every_flipped_bit_of_a_response_without_a_state_change) {
    both b;
    BOOST_TEST(b.initiate() == status::ok);
    BOOST_TEST(b.respond() == status::ok);
    wg::handshake before;
    assign(before, b.i.shake);
    buffer const genuine = b.response;
    for (std::size_t bit = 12 * 8; bit < 60 * 8; bit += 3) {
        b.response = genuine;
        b.response[bit / 8] = static_cast<wg::byte>(b.response[bit / 8] ^ (1u << bit % 8));
        if (b.finish() != status::decryption_failed || !same(before, b.i.shake)) BOOST_ERROR("bit " << bit);
    }
    b.response = genuine;
    BOOST_TEST(b.finish() == status::ok);
    BOOST_TEST(b.finish() == status::wrong_state); // a response is accepted once
}

//= wp 5.2: the preshared key is mixed into the response; a wrong one is like a forgery
BOOST_AUTO_TEST_CASE(the_handshake_fails_if_the_keys_differ) {
    {
        both b; // another preshared key: opening the response fails
        b.r.theirs.preshared_key.clear();
        BOOST_TEST(b.initiate() == status::ok);
        BOOST_TEST(b.respond() == status::ok);
        BOOST_TEST(b.finish() == status::decryption_failed);
        b.i.theirs.preshared_key.clear();
        BOOST_TEST(b.finish() == status::ok);
    }
    {
        both b; // another responder cannot open the initiation
        BOOST_TEST(b.initiate() == status::ok);
        b.r.mine.private_key.expose()[5] ^= 1;
        steps::incoming_initiation in;
        BOOST_TEST(b.open(in) == status::decryption_failed);
    }
    {
        both b; // a sender without the claimed private key has a wrong static-static secret
        b.i.theirs.static_static.expose()[0] ^= 1;
        BOOST_TEST(b.initiate() == status::ok);
        steps::incoming_initiation in;
        BOOST_TEST(b.open(in) == status::ok);
        BOOST_TEST(b.noise.prove_initiation(in, b.r.theirs) == status::decryption_failed);
    }
}

//= RFC 7748 6.1: a shared secret of zero ends the handshake
BOOST_AUTO_TEST_CASE(rejects_points_of_low_order) {
    both b;
    b.i.theirs.static_static.clear(); // the device stores zeros for a peer with such a key
    BOOST_TEST(b.initiate() == status::bad_public_key);
    BOOST_TEST(b.i.shake.state == handshake_state::none);

    both c;
    BOOST_TEST(c.initiate() == status::ok);
    steps::incoming_initiation in;
    BOOST_TEST(c.open(in) == status::ok);
    c.r.theirs.static_static.clear();
    BOOST_TEST(c.noise.prove_initiation(in, c.r.theirs) == status::bad_public_key);
    std::fill_n(c.initiation.begin() + 8, 32, wg::byte{0});
    BOOST_TEST(c.open(in) == status::bad_public_key);

    both d;
    BOOST_TEST(d.initiate() == status::ok);
    BOOST_TEST(d.respond() == status::ok);
    buffer const genuine = d.response;
    std::fill_n(d.response.begin() + 12, 32, wg::byte{0});
    BOOST_TEST(d.finish() == status::bad_public_key);
    d.response = genuine;
    BOOST_TEST(d.finish() == status::ok);
}

//= wp 5.4: keys and indices are random, or there is no handshake
BOOST_AUTO_TEST_CASE(no_message_is_made_without_randomness) {
    both b;
    b.i.random.bytes.clear();
    BOOST_TEST(b.initiate() == status::no_random);
    BOOST_TEST(b.i.shake.state == handshake_state::none);
    b.i.random.bytes = ascending(0x70);
    BOOST_TEST(b.initiate() == status::ok);
    b.r.random.bytes.clear();
    BOOST_TEST(b.respond() == status::no_random);
    BOOST_TEST(b.r.shake.state == handshake_state::initiation_consumed);
}

BOOST_AUTO_TEST_SUITE_END()
