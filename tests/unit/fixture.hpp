// SPDX-License-Identifier: BSL-1.0
// Devices on a virtual clock with seeded random bytes, and a simulated network between them.
//
//     world w;
//     host a(w, 1), b(w, 2);
//     network net(w, {&a, &b});
//     introduce(a, b);                                  // peers of each other, endpoints and allowed IPs set
//     a.send(ipv4(a, b, 100));                          // an inner packet comes out of a's TUN device
//     net.settle();                                     // delivers datagrams until no host sends any
//     BOOST_TEST(b.received.size() == 1u);
//     net.advance(wg::seconds(10));                     // time passes from deadline to deadline
//
// `net.intercept` is called for each datagram, and may change it or lose it. `net.log` keeps all datagrams, so that a
// test can deliver one again.
#ifndef WG_TESTS_UNIT_FIXTURE_HPP
#define WG_TESTS_UNIT_FIXTURE_HPP

#include "wg/backends/bundled/bundled.hpp"
#ifdef WG_WITH_HACL
#include "wg/backends/hacl.hpp"
#endif
#ifdef WG_WITH_LIBSODIUM
#include "wg/backends/libsodium.hpp"
#endif
#include "wg/backends/observers.hpp"
#include "wg/backends/one_thread.hpp"
#include "wg/backends/storage.hpp"
#include "wg/device/device.hpp"

#include "bundled_vectors.hpp"

#include <boost/test/unit_test.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <ostream>
#include <utility>

// The cryptography of the devices: a namespace with hash, dh and aead. unit_libsodium and unit_hacl define another one.
#ifndef WG_TESTS_CRYPTOGRAPHY
#define WG_TESTS_CRYPTOGRAPHY wg::bundled
#endif

namespace wg { inline namespace WG_ABI {
inline std::ostream& operator<<(std::ostream& to, status s) { return to << name_of(s); }
inline std::ostream& operator<<(std::ostream& to, event_id id) { return to << describe(id); }
inline std::ostream& operator<<(std::ostream& to, duration d) { return to << d.nanoseconds << " ns"; }
inline std::ostream& operator<<(std::ostream& to, instant t) { return to << t.nanoseconds << " ns"; }
inline std::ostream& operator<<(std::ostream& to, message_type t) {
    return to << "message " << static_cast<unsigned>(t);
}
inline std::ostream& operator<<(std::ostream& to, disposition d) {
    return to << "disposition " << static_cast<unsigned>(d);
}
inline std::ostream& operator<<(std::ostream& to, endpoint const& e) {
    for (byte const octet : e.address.view()) to << +octet << '.';
    return to << ':' << e.port;
}
}} // namespace wg::WG_ABI

namespace wg_tests {

// --- policies

/// The time of all hosts of a test. The wall clock has an offset that a test may change.
struct world {
    wg::instant now = wg::instant{} + wg::seconds(1000);
    wg::duration wall_offset = wg::seconds(1'700'000'000); ///< UNIX time at instant 0
};

struct virtual_clock {
    world const* of = nullptr;

    wg::instant now() noexcept { return of->now; }
    void tai64n(std::span<wg::byte, wg::timestamp_bytes> label) noexcept {
        std::int64_t const ns = (of->now + of->wall_offset).nanoseconds;
        wg::store_be64(label.data(), 0x400000000000000aULL + static_cast<std::uint64_t>(ns / 1'000'000'000));
        wg::store_be32(label.data() + 8, static_cast<std::uint32_t>(ns % 1'000'000'000));
    }
};

/// Random bytes that are the same for the same seed. Fails while `works` is false.
struct random_state {
    noise from;
    bool works = true;
    std::uint64_t calls = 0;
};
struct seeded_random {
    random_state* state = nullptr;

    bool fill(wg::bytes out) noexcept {
        ++state->calls;
        if (!state->works) return false;
        for (wg::byte& b : out) b = static_cast<wg::byte>(state->from.next() >> 56);
        return true;
    }
};

struct event_record {
    wg::event_id id;
    std::uint32_t peer;
    std::uint64_t value;
};
struct recording_observer {
    static constexpr bool enabled = true;
    std::vector<event_record>* seen = nullptr;

    void event(wg::event_id id, std::uint32_t peer, std::uint64_t value) noexcept {
        seen->push_back({id, peer, value});
    }
};

/// Counts DH operations.
struct counted_dh {
    static inline std::uint64_t calls = 0; ///< without those of `dh_public`

    bool dh(wg::secret<32>& out, wg::secret<32> const& scalar, wg::key_view point) const noexcept {
        ++calls;
        return WG_TESTS_CRYPTOGRAPHY::dh{}.dh(out, scalar, point);
    }
    void dh_public(wg::public_key& out, wg::secret<32> const& scalar) const noexcept {
        WG_TESTS_CRYPTOGRAPHY::dh{}.dh_public(out, scalar);
    }
};

template <class Storage = wg::growing_storage<>> struct policies_with {
    using hash = WG_TESTS_CRYPTOGRAPHY::hash;
    using dh = counted_dh;
    using aead = WG_TESTS_CRYPTOGRAPHY::aead;
    using clock_source = virtual_clock;
    using random_source = seeded_random;
    using threads = wg::one_thread;
    using storage = Storage;
    using observer = recording_observer;
};
using test_policies = policies_with<>;
static_assert(wg::policies<test_policies>);

/// The capacity of a microcontroller: two peers, four prefixes of each family.
struct two_peers : wg::small_capacity {
    static constexpr std::size_t max_peers = 2;
};
using static_policies = policies_with<wg::static_storage<two_peers>>;

// --- inner packets

inline wg::ip_address inner_v4(unsigned number) {
    return wg::ip_address::v4(10, 0, static_cast<wg::byte>(number >> 8), static_cast<wg::byte>(number));
}
inline wg::ip_address inner_v6(unsigned number) {
    wg::ip_address address{{0xfd}, wg::family::v6};
    wg::store_be16(&address.octets[14], static_cast<std::uint16_t>(number));
    return address;
}

inline wg::ip_prefix prefix_v4(unsigned number, unsigned bits = 32) {
    return wg::ip_prefix::of(inner_v4(number), bits);
}
inline wg::ip_prefix prefix_v6(unsigned number, unsigned bits = 128) {
    return wg::ip_prefix::of(inner_v6(number), bits);
}

/// A public key for each number. No host has its private key.
inline wg::public_key numbered_key(unsigned number) {
    wg::public_key out{};
    wg::copy(out, noise(number).take(wg::key_bytes));
    return out;
}

inline constexpr wg::byte experimental = 253; ///< a protocol number for tests (RFC 3692)

/// A packet with a correct header, and a payload that depends on `stamp`. `size` includes the header.
inline buffer inner_packet(wg::ip_address const& source, wg::ip_address const& destination, std::size_t size,
                           std::uint64_t stamp = 1, wg::byte tos = 0, wg::byte protocol = experimental) {
    bool const v4 = source.kind == wg::family::v4;
    std::size_t const header = v4 ? wg::ipv4_header_bytes : wg::ipv6_header_bytes;
    buffer p = noise(stamp).take(std::max(size, header));
    if (v4) {
        p[0] = 0x45;
        p[1] = tos;
        wg::store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
        wg::store_be32(&p[4], 0);
        p[8] = 64;
        p[9] = protocol;
        wg::store_be16(&p[10], 0);
        wg::copy(wg::bytes(p).subspan(12), source.view());
        wg::copy(wg::bytes(p).subspan(16), destination.view());
        wg::store_be16(&p[10], wg::checksum_finish(wg::checksum_add(0, wg::bytes_view(p).first(20))));
    } else {
        wg::store_be32(&p[0], 0x60000000u | std::uint32_t{tos} << 20);
        wg::store_be16(&p[4], static_cast<std::uint16_t>(p.size() - header));
        p[6] = protocol;
        p[7] = 64;
        wg::copy(wg::bytes(p).subspan(8), source.view());
        wg::copy(wg::bytes(p).subspan(24), destination.view());
    }
    return p;
}

// --- hosts

/// A datagram on its way.
struct wire {
    buffer data;
    wg::endpoint from, to;
    std::uint8_t tos = 0;
    wg::instant at{}; ///< when it was sent

    wg::message_type type() const { return wg::type_of(data); }
    std::uint32_t sender() const { return wg::load_le32(&data[4]); } ///< of an initiation or response
    std::uint32_t receiver() const { return wg::load_le32(&data[type() == wg::message_type::response ? 8 : 4]); }
    std::uint64_t counter() const { return wg::load_le64(&data[8]); } ///< of transport data
    /// Whether an initiation or a response has a mac2.
    bool has_mac2() const {
        return std::any_of(data.end() - 16, data.end(), [](wg::byte b) { return b != 0; });
    }
    bool is_keepalive() const {
        return type() == wg::message_type::transport && data.size() == wg::transport_overhead_bytes;
    }
    bool is_data() const { return type() == wg::message_type::transport && !is_keepalive(); }
};

/// What `snapshot` reported about a peer.
struct peer_report {
    bool found = false;
    wg::endpoint endpoint{};
    std::int64_t last_handshake_s = 0;
    std::uint32_t last_handshake_ns = 0;
    std::uint64_t tx_bytes = 0, rx_bytes = 0;
    std::uint16_t persistent_keepalive_s = 0;
    buffer preshared_key;
    std::vector<wg::ip_prefix> allowed_ips;
};

/// A status that a test may ignore.
struct outcome {
    wg::status why = wg::status::ok;

    friend bool operator==(outcome a, wg::status b) { return a.why == b; }
    friend std::ostream& operator<<(std::ostream& to, outcome o) { return to << o.why; }
};

/// A device with an outer address and two inner addresses, and the packets that came out of both of its ends.
template <class Policies = test_policies> class basic_host {
public:
    using device_type = wg::device<Policies>;
    using job_type = typename device_type::job_type;

    /// A packet or datagram between two steps of the device.
    struct flight {
        buffer memory;
        job_type job;
        buffer packet() const { return buffer(job.data.view().begin(), job.data.view().end()); }
    };

    basic_host(world& w, unsigned number)
        : of(w), where{wg::ip_address::v4(192, 0, 2, static_cast<wg::byte>(number)),
                       static_cast<std::uint16_t>(50000 + number), 0},
          v4(inner_v4(number)), v6(inner_v6(number)), random{noise(number), true, 0},
          device(virtual_clock{&w}, seeded_random{&random}, recording_observer{&events}) {
        buffer const raw = noise(0x5eed'0000 + number).take(wg::key_bytes);
        wg::copy(private_key.expose(), raw);
        wg::bundled::dh{}.dh_public(public_key, private_key);
        device.set_listen_port(where.port);
        BOOST_TEST_REQUIRE(configure(wg::change::private_key(private_key.expose())) == wg::status::ok);
        device.on_deadline(of.now);
    }

    world& of;
    wg::endpoint where;
    wg::ip_address v4, v6;
    wg::secret<wg::key_bytes> private_key;
    wg::public_key public_key{};
    random_state random;
    std::vector<event_record> events;
    std::deque<wire> outbox;      ///< datagrams that were sent and not delivered yet
    std::vector<buffer> received; ///< packets that were written to the TUN device
    device_type device;

    template <class... Changes> wg::status configure(Changes&&... changes) {
        wg::change const list[] = {std::move(changes)...};
        return device.configure(list, of.now);
    }

    // Single steps.

    /// A packet from the TUN device after `prepare_outbound`.
    std::unique_ptr<flight> prepare(buffer const& inner) {
        auto f = make_flight(inner.size() + wg::packet_headroom_bytes + wg::packet_tailroom_bytes);
        f->job.data = wg::packet(f->memory, wg::packet_headroom_bytes, inner.size());
        wg::copy(f->job.data.view(), inner);
        device.prepare_outbound({&f->job, 1}, of.now);
        return f;
    }
    /// A datagram from the network after `prepare_inbound`.
    std::unique_ptr<flight> prepare(wire const& in) {
        auto f = make_flight(in.data.size());
        f->job.data = wg::packet(f->memory, 0, in.data.size());
        wg::copy(f->job.data.view(), in.data);
        f->job.where.remote = in.from;
        f->job.tos = in.tos;
        device.prepare_inbound({&f->job, 1}, of.now);
        return f;
    }
    void crypt(flight& f) { device_type::crypt({&f.job, 1}, device.aead()); }
    /// Sends the datagram of `f`, completes its job, and delivers its packet.
    outcome complete(flight& f) {
        if (f.job.next == wg::disposition::send)
            outbox.push_back({f.packet(), where, f.job.where.remote, f.job.tos, of.now});
        device.complete({&f.job, 1}, of.now);
        if (f.job.next == wg::disposition::deliver) received.push_back(f.packet());
        return {f.job.why};
    }

    // All steps.

    /// Sends an inner packet from the TUN device, and then the pending messages of the device.
    outcome send(buffer const& inner) {
        auto const f = prepare(inner);
        crypt(*f);
        outcome const why = complete(*f);
        poll();
        return why;
    }
    /// Receives a datagram from the network, processes its handshake, and sends the answers.
    outcome receive(wire const& in) {
        outcome const why = take(in);
        poll();
        return why;
    }
    /// As `receive`, but leaves a handshake message in the queue.
    outcome take(wire const& in) {
        auto const f = prepare(in);
        crypt(*f);
        return complete(*f);
    }
    /// Answers handshakes, and sends the pending messages of the device.
    void poll() {
        for (bool more = true; more;) {
            auto const f = make_flight(message_room);
            f->job.data = wg::packet(f->memory, 0, 0);
            f->job.tos = 0xff; // the device has to set it
            more = device.process_handshakes({&f->job, 1}, of.now) != 0;
            if (!more) more = device.poll_transmit({&f->job, 1}, of.now) != 0;
            if (!more) break;
            crypt(*f);
            complete(*f);
        }
    }
    /// Runs the timers that are due.
    void tick() {
        device.on_deadline(of.now);
        poll();
    }

    peer_report report(wg::public_key const& key) {
        struct collector {
            wg::public_key const& wanted;
            peer_report out{};
            bool mine = false;
            void device(wg::interface_facts const&) {}
            void peer(wg::peer_facts const& p) {
                mine = p.key == wanted;
                if (!mine) return;
                auto const psk = p.preshared_key.expose();
                out = {true,       p.endpoint, p.last_handshake_s,       p.last_handshake_ns,
                       p.tx_bytes, p.rx_bytes, p.persistent_keepalive_s, buffer(psk.begin(), psk.end()),
                       {}};
            }
            void allowed_ip(wg::ip_prefix const& prefix) {
                if (mine) out.allowed_ips.push_back(prefix);
            }
        } collect{key};
        device.snapshot(collect);
        return collect.out;
    }
    /// Takes the oldest datagram out of `outbox`.
    wire take_datagram() {
        BOOST_TEST_REQUIRE(!outbox.empty());
        wire const taken = std::move(outbox.front());
        outbox.pop_front();
        return taken;
    }
    std::size_t count(wg::event_id id) const {
        return static_cast<std::size_t>(
            std::count_if(events.begin(), events.end(), [id](event_record const& e) { return e.id == id; }));
    }
    std::uint64_t dropped(wg::status why) { return device.counter(why); }

private:
    static constexpr std::size_t message_room = 65536 + wg::transport_overhead_bytes + wg::padding_bytes;

    static std::unique_ptr<flight> make_flight(std::size_t size) {
        auto f = std::make_unique<flight>();
        f->memory.resize(size);
        return f;
    }
};
using host = basic_host<>;
using static_host = basic_host<static_policies>;

template <class A, class B>
buffer ipv4(A const& from, B const& to, std::size_t size, std::uint64_t stamp = 1, wg::byte tos = 0) {
    return inner_packet(from.v4, to.v4, size, stamp, tos);
}
template <class A, class B>
buffer ipv6(A const& from, B const& to, std::size_t size, std::uint64_t stamp = 1, wg::byte tos = 0) {
    return inner_packet(from.v6, to.v6, size, stamp, tos);
}

/// Makes `b` a peer of `a`, with endpoint and both inner addresses.
template <class A, class B> void add_peer(A& a, B const& b) {
    BOOST_TEST_REQUIRE(a.configure(wg::change::peer(b.public_key), wg::change::endpoint(b.where),
                                   wg::change::allowed_ip(wg::ip_prefix::of(b.v4, 32)),
                                   wg::change::allowed_ip(wg::ip_prefix::of(b.v6, 128))) == wg::status::ok);
}
template <class A, class B> void introduce(A& a, B& b) {
    add_peer(a, b);
    add_peer(b, a);
}

// --- the network between them

/// Delivers datagrams at once and in order, unless `intercept` changes or loses them.
template <class Host> class basic_network {
public:
    basic_network(world& w, std::vector<Host*> all) : hosts(std::move(all)), of_(w) {}

    std::vector<Host*> hosts;
    std::function<bool(wire&)> intercept; ///< false: lost
    std::vector<wire> log;                ///< all datagrams, as they were sent

    /// Delivers datagrams until no host sends any at this time.
    void settle() {
        for (unsigned round = 0;; ++round) {
            BOOST_TEST_REQUIRE(round < 100'000u, "the hosts never stop sending");
            bool moved = false;
            for (Host* const from : hosts) {
                from->poll();
                while (!from->outbox.empty()) {
                    wire next = std::move(from->outbox.front());
                    from->outbox.pop_front();
                    log.push_back(next);
                    moved = true;
                    if (!intercept || intercept(next)) deliver(next);
                }
            }
            if (!moved) return;
        }
    }

    /// Gives a datagram to the host that has its destination address.
    outcome deliver(wire const& what) {
        for (Host* const to : hosts)
            if (to->where == what.to) return to->receive(what);
        return {wg::status::gone};
    }

    /// Advances time from deadline to deadline. All datagrams are delivered in between.
    void advance(wg::duration by) {
        wg::instant const until = of_.now + by;
        settle();
        for (unsigned steps = 0;; ++steps) {
            BOOST_TEST_REQUIRE(steps < 1'000'000u, "a deadline that never passes");
            wg::instant next = until;
            for (Host* const h : hosts) next = std::min(next, h->device.next_deadline());
            of_.now = std::max(of_.now, next);
            for (Host* const h : hosts) h->tick();
            settle();
            if (next == until) return;
        }
    }

    /// The number of datagrams of the log, beginning with place `from`, that satisfy `which`.
    template <class Predicate> std::size_t count(Predicate which, std::size_t from = 0) const {
        return static_cast<std::size_t>(
            std::count_if(log.begin() + static_cast<std::ptrdiff_t>(from), log.end(), which));
    }
    std::size_t count(wg::message_type type, std::size_t from = 0) const {
        return count([type](wire const& w) { return w.type() == type; }, from);
    }

private:
    world& of_;
};
using network = basic_network<host>;

/// Two hosts that are peers of each other.
template <class Policies = test_policies> struct basic_pair {
    using host_type = basic_host<Policies>;
    world w;
    host_type a{w, 1}, b{w, 2};
    basic_network<host_type> net{w, {&a, &b}};

    basic_pair() { introduce(a, b); }

    /// Makes a session that `a` begins, and clears the logs.
    void connect() {
        a.send(ipv4(a, b, 100));
        net.settle();
        if (b.received.empty()) net.advance(wg::seconds(6)); // an initiation was lost just before
        BOOST_TEST_REQUIRE(!b.received.empty());
        clear_logs();
    }
    /// Advances time without running timers.
    void advance_clock(wg::duration by) { w.now = w.now + by; }
    void clear_logs() {
        for (host_type* const h : {&a, &b}) {
            h->received.clear();
            h->events.clear();
        }
        net.log.clear();
    }
    /// Whether a packet passes from one host to the other at once, without a handshake.
    template <class From, class To> bool passes(From& from, To& to, std::uint64_t stamp = 77) {
        std::size_t const before = to.received.size();
        buffer const p = ipv4(from, to, 120, stamp);
        if (!(from.send(p) == wg::status::ok)) return false;
        net.settle();
        return to.received.size() == before + 1 && to.received.back() == p;
    }
    /// An initiation of `from`, taken out of its outbox.
    wire initiation(host_type& from) {
        from.send(ipv4(from, &from == &a ? b : a, 100));
        wire const taken = from.take_datagram();
        BOOST_TEST_REQUIRE(taken.type() == wg::message_type::initiation);
        return taken;
    }
};
using pair = basic_pair<>;

/// Recomputes mac1 of a changed initiation or response to the host with that key.
inline void put_mac1(buffer& message, wg::public_key const& to) {
    wg::bundled::hash const hash;
    wg::byte_array<32> key;
    hash.blake2s(key, {}, text("mac1----"), to);
    wg::bytes const all(message);
    hash.blake2s(all.last(32).first(16), key, wg::bytes_view(message).first(message.size() - 32), {});
}

/// The keypair that a host sends with. No job holds it.
template <class Host> auto* current_keys(Host& from, buffer const& inner) {
    auto const f = from.prepare(inner);
    BOOST_TEST_REQUIRE(f->job.keys != nullptr);
    auto* const keys = f->job.keys;
    --keys->send_counter;
    f->job.next = wg::disposition::drop;
    f->job.why = wg::status::io_error;
    from.complete(*f);
    return keys;
}

} // namespace wg_tests

#endif
