// SPDX-License-Identifier: BSL-1.0
// Policies that a user might write: cryptography, clock, TUN device and socket; and two engines with them that exchange
// traffic. tests/user_policies_lines.py counts the lines between the marks: 40 at most for each policy.
#include "wg/wg.hpp"

#include "fixture.hpp"

#include <arpa/inet.h>
#include <chrono>
#include <unistd.h>

BOOST_AUTO_TEST_SUITE(user_policies)

namespace user {

using namespace wg;

// begin crypto
/// A toy with the interface of real cryptography, without any security: it shows how small a policy can be.
struct toy_hash {
    void blake2s(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
        std::uint64_t state = 0xcbf29ce484222325 + out.size();
        for (bytes_view const part : {key, a, b})
            for (byte const c : part) state = (state ^ c) * 0x100000001b3;
        for (byte& c : out) c = static_cast<byte>((state = state * 6364136223846793005 + 1442695040888963407) >> 56);
    }
};
struct toy_dh { // in the integers modulo 2^61 - 1
    static constexpr std::uint64_t prime = (std::uint64_t{1} << 61) - 1;
    static std::uint64_t power(std::uint64_t base, std::uint64_t exponent) noexcept {
        std::uint64_t result = 1;
        for (; exponent != 0; exponent >>= 1, base = multiply(base, base))
            if ((exponent & 1) != 0) result = multiply(result, base);
        return result;
    }
    static std::uint64_t multiply(std::uint64_t a, std::uint64_t b) noexcept {
        std::uint64_t sum = 0;
        for (; b != 0; b >>= 1, a = 2 * a % prime)
            if ((b & 1) != 0) sum = (sum + a) % prime;
        return sum;
    }
    bool dh(secret<32>& out, secret<32> const& scalar, key_view point) const noexcept {
        out.clear();
        store_le64(out.expose().data(), power(load_le64(point.data()) % prime, load_le64(scalar.expose().data())));
        return !out.is_zero();
    }
    void dh_public(public_key& out, secret<32> const& scalar) const noexcept {
        out = {};
        store_le64(out.data(), power(3, load_le64(scalar.expose().data())));
    }
};
// end crypto

// begin aead
struct toy_aead {
    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter, secret<32> const& key) const noexcept {
        apply(dst.data(), src, counter, key);
        make_tag(dst.last<16>(), dst.first(src.size()), aad, counter, key);
    }
    bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter, secret<32> const& key) const noexcept {
        byte_array<16> tag{};
        make_tag(tag, src.first(dst.size()), aad, counter, key);
        bool const genuine = equal_in_constant_time(tag, src.last<16>());
        if (genuine) apply(dst.data(), src.first(dst.size()), counter, key);
        else fill_zero(dst);
        return genuine;
    }
    void hchacha20(secret<32>& out, secret<32> const& key, std::span<byte const, 16> nonce) const noexcept {
        toy_hash{}.blake2s(out.expose(), key.expose(), nonce, {});
    }

private:
    static void apply(byte* dst, bytes_view src, std::uint64_t counter, secret<32> const& key) noexcept {
        std::uint64_t state = load_le64(key.expose().data()) + counter;
        for (byte const c : src) *dst++ = c ^ static_cast<byte>((state = state * 6364136223846793005 + 1) >> 56);
    }
    static void make_tag(std::span<byte, 16> tag, bytes_view sealed, bytes_view aad, std::uint64_t counter,
                         secret<32> const& key) noexcept {
        toy_hash{}.blake2s(tag, key.expose(), aad, sealed);
        store_le64(tag.data(), load_le64(tag.data()) ^ counter);
    }
};
// end aead

// begin clock
struct chrono_clock {
    instant now() noexcept { return {since_epoch<std::chrono::steady_clock>()}; }
    void tai64n(std::span<byte, timestamp_bytes> label) noexcept {
        std::int64_t const unix_ns = since_epoch<std::chrono::system_clock>();
        store_be64(label.data(), 0x400000000000000a + static_cast<std::uint64_t>(unix_ns / 1'000'000'000));
        store_be32(&label[8], static_cast<std::uint32_t>(unix_ns % 1'000'000'000));
    }

private:
    template <class Clock> static std::int64_t since_epoch() noexcept {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
    }
};
// end clock

// begin tun
struct queue_tun {
    static constexpr std::size_t headroom = 0;
    std::vector<std::vector<byte>> to_tunnel, from_tunnel;

    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t const count = std::min(packets.size(), to_tunnel.size());
        for (std::size_t i = 0; i < count; ++i) {
            packets[i].length = static_cast<std::uint32_t>(to_tunnel[i].size());
            copy(packets[i].view(), to_tunnel[i]);
        }
        to_tunnel.erase(to_tunnel.begin(), to_tunnel.begin() + static_cast<std::ptrdiff_t>(count));
        return count;
    }
    std::size_t write(std::span<packet> packets) noexcept {
        for (packet const& p : packets) from_tunnel.emplace_back(p.view().begin(), p.view().end());
        return packets.size();
    }
    std::size_t mtu() noexcept { return 1420; }
};
// end tun

// begin socket
struct ipv4_socket {
    static constexpr std::size_t receive_bytes = 2048;
    int fd = -1;

    ~ipv4_socket() { close(); }
    void close() noexcept {
        if (fd != -1) ::close(std::exchange(fd, -1));
    }
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        sockaddr_in where = address_of({ip_address::v4(127, 0, 0, 1), port});
        socklen_t size = sizeof where;
        ipv4_socket fresh{::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
        if (fresh.fd == -1 || ::bind(fresh.fd, raw(where), size) != 0) return status::address_in_use;
        ::getsockname(fresh.fd, raw(where), &size);
        std::swap(fd, fresh.fd); // `fresh` closes the old socket
        return ntohs(where.sin_port);
    }
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        sockaddr_in from{};
        socklen_t size = sizeof from;
        datagram& d = datagrams[0];
        auto const got = ::recvfrom(fd, d.buffer + d.offset, d.capacity - d.offset, 0, raw(from), &size);
        if (got < 0) return std::size_t{0};
        d.length = static_cast<std::uint32_t>(got);
        d.where.remote.address = ip_address::of(family::v4, reinterpret_cast<byte const*>(&from.sin_addr));
        d.where.remote.port = ntohs(from.sin_port);
        return std::size_t{1};
    }
    std::size_t send(std::span<datagram> datagrams) noexcept {
        for (datagram const& d : datagrams) {
            sockaddr_in to = address_of(d.where.remote);
            (void)::sendto(fd, d.view().data(), d.length, 0, raw(to), sizeof to);
        }
        return datagrams.size();
    }
    static sockaddr* raw(sockaddr_in& address) noexcept { return reinterpret_cast<sockaddr*>(&address); }
    static sockaddr_in address_of(endpoint const& e) noexcept {
        return {AF_INET, htons(e.port), {htonl(load_be32(e.address.octets.data()))}, {}};
    }
};
// end socket

struct my_policies : wg::default_policies {
    using hash = toy_hash;
    using dh = toy_dh;
    using aead = toy_aead;
    using clock_source = chrono_clock;
    using tun_device = queue_tun;
    using udp_socket = ipv4_socket;
};
static_assert(wg::engine_policies<my_policies>);

struct node {
    explicit node(byte number) : v4(wg_tests::inner_v4(number)), v6(wg_tests::inner_v6(number)) {
        wg::copy(private_key.expose(), wg_tests::noise(number).take(32));
        private_key.expose()[0] &= 248; // clamped, as the device clamps it
        private_key.expose()[31] = static_cast<byte>((private_key.expose()[31] & 127) | 64);
        toy_dh{}.dh_public(public_key, private_key);
        change const mine[] = {change::private_key(private_key.expose())};
        BOOST_TEST_REQUIRE(engine.configure(mine) == status::ok);
        BOOST_TEST_REQUIRE(engine.up() == status::ok);
    }
    void meet(node& other) {
        change const theirs[] = {change::peer(other.public_key),
                                 change::endpoint({ip_address::v4(127, 0, 0, 1), other.device.listen_port()}),
                                 change::allowed_ip(ip_prefix::of(other.v4, 32)),
                                 change::allowed_ip(ip_prefix::of(other.v6, 128))};
        BOOST_TEST_REQUIRE(engine.configure(theirs) == status::ok);
    }
    void run() { BOOST_TEST_REQUIRE(engine.run_once({true, true, 0}) == status::ok); }

    ip_address v4, v6;
    secret<key_bytes> private_key;
    wg::public_key public_key{};
    queue_tun tun;
    ipv4_socket socket;
    wg::device<my_policies> device;
    wg::engine<my_policies> engine{device, tun, socket};
};

} // namespace user

BOOST_AUTO_TEST_CASE(engines_with_user_policies_exchange_traffic) {
    user::node a(1), b(2);
    a.meet(b);
    b.meet(a);
    std::vector<std::vector<wg::byte>> sent[2];
    for (unsigned i = 0; i < 100; ++i) {
        auto const there = wg_tests::inner_packet(i % 2 == 0 ? a.v4 : a.v6, i % 2 == 0 ? b.v4 : b.v6, 60 + 13 * i, i);
        auto const back =
            wg_tests::inner_packet(i % 2 == 0 ? b.v4 : b.v6, i % 2 == 0 ? a.v4 : a.v6, 60 + 7 * i, 1000 + i);
        sent[0].push_back(there);
        sent[1].push_back(back);
    }
    auto const deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (unsigned i = 0; i < 100; ++i) { // one after the other, because a socket's buffer is limited
        a.tun.to_tunnel.push_back(sent[0][i]);
        while (b.tun.from_tunnel.size() <= i && std::chrono::steady_clock::now() < deadline) a.run(), b.run();
        b.tun.to_tunnel.push_back(sent[1][i]);
        while (a.tun.from_tunnel.size() <= i && std::chrono::steady_clock::now() < deadline) a.run(), b.run();
    }
    BOOST_TEST((b.tun.from_tunnel == sent[0]));
    BOOST_TEST((a.tun.from_tunnel == sent[1]));
    BOOST_TEST(a.device.counter(wg::status::decryption_failed) + b.device.counter(wg::status::decryption_failed) == 0u);
}

namespace user {

using named_policies = with<use_hash<toy_hash>, use_dh<toy_dh>, use_aead<toy_aead>, use_clock_source<chrono_clock>,
                            use_tun_device<queue_tun>, use_udp_socket<ipv4_socket>>;
static_assert(engine_policies<named_policies>);
static_assert(std::same_as<named_policies::aead, toy_aead> && std::same_as<named_policies::udp_socket, ipv4_socket>);
static_assert(std::same_as<named_policies::random_source, default_policies::random_source>);
static_assert(policies<with_base<core_policies, use_clock_source<chrono_clock>,
                                 use_random_source<default_policies::random_source>>>);

} // namespace user

BOOST_AUTO_TEST_CASE(a_bundle_of_named_policies_makes_a_device) {
    wg::device<user::named_policies> const device;
    BOOST_TEST(device.ready());
}

BOOST_AUTO_TEST_CASE(toy_aead_refuses_forgeries) {
    wg::secret<32> key;
    key.expose()[0] = 1;
    wg::byte_array<20> plain{}, opened{};
    wg::byte_array<36> sealed{};
    user::toy_aead{}.seal(sealed, plain, {}, 5, key);
    BOOST_TEST(user::toy_aead{}.open(opened, sealed, {}, 5, key));
    BOOST_TEST(!user::toy_aead{}.open(opened, sealed, {}, 6, key));
    for (wg::byte& b : sealed) {
        b ^= 1;
        BOOST_TEST(!user::toy_aead{}.open(opened, sealed, {}, 5, key));
        b ^= 1;
    }
}

BOOST_AUTO_TEST_SUITE_END()
