// SPDX-License-Identifier: BSL-1.0
// What must work where Boost.Test does not: without exceptions, without RTTI, on any processor. Two ends shake hands
// and exchange a packet by the steps of the protocol, with published vectors of the primitives before that.
#undef NDEBUG
#include "modes/smallest.hpp"
#include "wg/protocol/noise.hpp"

#include <cassert>
#include <cstdio>

namespace {

using namespace tests;

unsigned nibble(char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); }

byte_array<32> hex(char const (&text)[65]) {
    byte_array<32> out{};
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<byte>(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    return out;
}

/// RFC 7748, section 5.2, first vector.
template <class Limbs> void x25519_vector() {
    byte_array<32> out{};
    assert(bundled::x25519<Limbs>::multiply(
        out, hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")));
    assert(out == hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));
}

/// RFC 7693, appendix B.
void blake2s_vector() {
    byte_array<32> out{};
    byte const abc[] = {'a', 'b', 'c'};
    bundled::hash{}.blake2s(out, {}, abc, {});
    assert(out == hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"));
}

struct host {
    identity mine;
    remote_identity theirs;
    handshake shake;
    secret<key_bytes> send_key, receive_key;
};

void meet(host& a, host& b, counting_random& random) {
    bundled::dh const dh;
    for (host* const h : {&a, &b}) {
        assert(random.fill(h->mine.private_key.expose()));
        dh.dh_public(h->mine.public_key, h->mine.private_key);
    }
    for (auto const& [one, other] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
        one->theirs.public_key = other->mine.public_key;
        assert(dh.dh(one->theirs.static_static, one->mine.private_key, other->mine.public_key));
    }
}

void handshake_and_packet() {
    counting_random random;
    host a, b;
    meet(a, b, random);

    primitives<smallest> const with{};
    noise<smallest> const steps(with);
    byte_array<initiation_layout::size> initiation{};
    byte_array<response_layout::size> response{};
    byte_array<timestamp_bytes> const timestamp = {0x40, 0, 0, 0, 0, 0, 0, 1};
    assert(steps.create_initiation(a.shake, a.mine, a.theirs, random, timestamp, 0x01020304, initiation) == status::ok);

    noise<smallest>::incoming_initiation in;
    assert(steps.open_initiation(in, b.mine, initiation) == status::ok);
    assert(in.remote_static == a.mine.public_key);
    assert(steps.prove_initiation(in, b.theirs, initiation) == status::ok);
    assert(in.timestamp == timestamp);
    steps.accept_initiation(b.shake, in, initiation);
    assert(steps.create_response(b.shake, b.theirs, random, 0x05060708, response) == status::ok);

    response[response_layout::encrypted_nothing] ^= 1;
    assert(steps.consume_response(a.shake, a.mine, a.theirs, response) == status::decryption_failed);
    response[response_layout::encrypted_nothing] ^= 1;
    assert(steps.consume_response(a.shake, a.mine, a.theirs, response) == status::ok);
    assert(a.shake.remote_index == 0x05060708 && b.shake.remote_index == 0x01020304);
    assert(steps.begin_session(a.shake, a.send_key, a.receive_key) == status::ok);
    assert(steps.begin_session(b.shake, b.send_key, b.receive_key) == status::ok);
    assert(a.send_key.equals(b.receive_key) && b.send_key.equals(a.receive_key) && !a.send_key.equals(a.receive_key));

    byte_array<100> sent{}, received{};
    byte_array<sent.size() + tag_bytes> sealed{};
    assert(random.fill(sent));
    with.aead.seal(sealed, sent, {}, 7, a.send_key);
    assert(!with.aead.open(received, sealed, {}, 8, b.receive_key));
    assert(with.aead.open(received, sealed, {}, 7, b.receive_key));
    assert(received == sent);
}

} // namespace

int main() {
    blake2s_vector();
    x25519_vector<bundled::limbs32>();
#ifdef __SIZEOF_INT128__
    x25519_vector<bundled::limbs64>();
#endif
    handshake_and_packet();
    std::puts("4 passed, 0 failed, 0 skipped");
}
