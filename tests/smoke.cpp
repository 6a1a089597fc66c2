// SPDX-License-Identifier: BSL-1.0
// What must work where Boost.Test does not: without exceptions, without RTTI, on any processor. Published vectors of
// two primitives, then two devices that shake hands, exchange packets both ways and refuse what is forged.
#include "modes/smallest.hpp"
#include "wg/device/device.hpp"

#include <cstdio>
#include <cstdlib>

namespace {

using namespace tests;

/// Not assert: this one is there in every build.
#define CHECK(condition) check((condition), #condition, __LINE__)

void check(bool good, char const* what, int line) {
    if (good) return;
    std::printf("smoke.cpp:%d: %s\n0 passed, 1 failed, 0 skipped\n", line, what);
    std::exit(1);
}

unsigned nibble(char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); }

byte_array<32> hex(char const (&text)[65]) {
    byte_array<32> out{};
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<byte>(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    return out;
}

/// RFC 7748, section 5.2, first vector.
template <class Limbs> void x25519_vector() {
    byte_array<32> out{};
    CHECK(bundled::x25519<Limbs>::multiply(out, hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                                           hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")));
    CHECK(out == hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));
}

/// RFC 7693, appendix B.
void blake2s_vector() {
    byte_array<32> out{};
    byte const abc[] = {'a', 'b', 'c'};
    bundled::hash{}.blake2s(out, {}, abc, {});
    auto const expected = hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
    CHECK(out == expected);
#ifndef WG_COMPACT
    byte_array<32> outs[5];
    hash_item items[5];
    for (std::size_t i = 0; i < 5; ++i) items[i] = {outs[i], {}, abc};
    bundled::hash{}.blake2s_batch(items);
    for (auto const& each : outs) CHECK(each == expected);
#endif
}

/// A device with the buffer that its messages are made in.
struct host {
    explicit host(std::uint32_t seed, byte number)
        : device(counting_random{seed}), address(ip_address::v4(10, 0, 0, number)) {
        counting_random keys{seed + 1000};
        CHECK(keys.fill(private_key.expose()));
        bundled::dh{}.dh_public(public_key, private_key);
        outer.address = ip_address::v4(192, 0, 2, number);
        outer.port = 51820;
    }

    void meet(host const& other, instant now) {
        change const changes[] = {change::private_key(private_key.expose()), change::peer(other.public_key),
                                  change::endpoint(other.outer), change::allowed_ip(ip_prefix::of(other.address, 32))};
        CHECK(device.configure(changes, now) == status::ok);
    }

    /// Seals a job and accounts for it as sent; the message. Empty: nothing is to be sent.
    bytes_view send(job<smallest>& j, instant now) {
        device.crypt({&j, 1}, device.aead());
        bool const sent = j.next == disposition::send;
        device.complete({&j, 1}, now);
        return sent ? bytes_view(j.data.view()) : bytes_view{};
    }

    /// What the device says by itself; empty: nothing.
    bytes_view transmit(instant now) {
        job<smallest> j;
        j.data = packet(buffer, 0);
        if (device.process_handshakes({&j, 1}, now) == 0 && device.poll_transmit({&j, 1}, now) == 0) return {};
        bytes_view const message = send(j, now);
        CHECK(!message.empty());
        return message;
    }

    /// What becomes of a packet from this host's user; the datagram, if it is sent.
    bytes_view write(bytes_view from_user, instant now) {
        job<smallest> j;
        j.data = packet(buffer, packet_headroom_bytes, from_user.size());
        copy(j.data.view(), from_user);
        device.prepare_outbound({&j, 1}, now);
        return send(j, now);
    }

    /// What becomes of a datagram; if it is delivered, the packet lies in `inner`.
    status receive(bytes_view datagram_bytes, host const& from, instant now) {
        job<smallest> j;
        j.data = packet(in_buffer, 0, datagram_bytes.size());
        copy(j.data.view(), datagram_bytes);
        j.where.remote = from.outer;
        device.prepare_inbound({&j, 1}, now);
        device.crypt({&j, 1}, device.aead());
        device.complete({&j, 1}, now);
        inner = j.next == disposition::deliver ? j.data.view() : bytes{};
        return j.why;
    }

    wg::device<smallest> device;
    secret<key_bytes> private_key;
    wg::public_key public_key{};
    ip_address address{};
    endpoint outer{};
    byte_array<2048> buffer{}, in_buffer{};
    bytes_view inner{};
};

/// An IPv4 packet of 64 bytes: what a device looks at is set, the rest counts up.
byte_array<64> ipv4(host const& from, host const& to) {
    byte_array<64> out{};
    for (std::size_t i = 20; i < out.size(); ++i) out[i] = static_cast<byte>(i);
    out[0] = 0x45;
    out[3] = 64;
    copy(bytes(out).subspan(12), from.address.view());
    copy(bytes(out).subspan(16), to.address.view());
    return out;
}

bool same(bytes_view a, bytes_view b) { return equal_in_constant_time(a, b); }

constexpr instant start{1'000'000'000};

void handshake_and_packets(host& a, host& b) {
    instant now = start;
    a.meet(b, now);
    b.meet(a, now);
    byte_array<64> const there = ipv4(a, b), back = ipv4(b, a);

    CHECK(a.write(there, now).empty()); // waits for a session
    bytes_view const initiation = a.transmit(now);
    CHECK(initiation.size() == initiation_layout::size);
    CHECK(b.receive(initiation, a, now) == status::queued);
    bytes_view const response = b.transmit(now);
    CHECK(response.size() == response_layout::size);
    byte_array<response_layout::size> forged{};
    copy(forged, response);
    forged[response_layout::encrypted_nothing] ^= 1;
    CHECK(a.receive(forged, b, now) == status::bad_mac1);
    CHECK(a.receive(response, b, now) == status::queued);
    bytes_view const first = a.transmit(now);
    CHECK(first.size() == there.size() + transport_overhead_bytes);
    CHECK(b.receive(first, a, now) == status::ok && same(b.inner, there));
    CHECK(b.receive(first, a, now) == status::replayed_counter && b.inner.empty());
    CHECK(a.transmit(now).empty());

    for (int i = 0; i < 100; ++i) {
        now = now + milliseconds(1);
        CHECK(a.receive(b.write(back, now), b, now) == status::ok && same(a.inner, back));
        CHECK(b.receive(a.write(there, now), a, now) == status::ok && same(b.inner, there));
    }
}

void forgeries(host& a, host& b) {
    instant const now = start + seconds(1);
    byte_array<64> const there = ipv4(a, b);
    for (std::size_t bit = 0; bit < 8 * (there.size() + transport_overhead_bytes); ++bit) {
        bytes_view const good = a.write(there, now);
        a.buffer[bit / 8] ^= static_cast<byte>(1 << (bit % 8)); // where the message lies
        CHECK(b.receive(good, a, now) != status::ok && b.inner.empty());
    }
    CHECK(b.receive(a.write(there, now), a, now) == status::ok && same(b.inner, there));
}

} // namespace

int main() {
    static host a(1, 1), b(2, 2); // on a microcontroller they would not fit the stack
    blake2s_vector();
    x25519_vector<bundled::limbs32>();
#ifdef __SIZEOF_INT128__
    x25519_vector<bundled::limbs64>();
#endif
    handshake_and_packets(a, b);
    forgeries(a, b);
    std::puts("4 passed, 0 failed, 0 skipped");
}
