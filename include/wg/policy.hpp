// SPDX-License-Identifier: BSL-1.0
// Every concept that a user may model. Folder: include/wg.
//
// A bundle is one type that names all policies. `wg::default_policies` is one; your own bundle derives from it:
//
//     struct my_policies : wg::default_policies { using random_source = hardware_rng; };
//     wg::device<my_policies> device{hardware_rng{...}};
//
// What each member promises (sizes, units, errors, threads) stands in policy/archetypes.hpp, one documented class for
// each concept. Every member is noexcept. A member may be called by any thread where its documentation says so, else by
// one thread at a time.
//
// A policy may lack an optional member. A policy that has a member of that name with a wrong signature does not
// compile; the error names the member and its signature (policy/check.hpp).
#ifndef WG_POLICY_HPP
#define WG_POLICY_HPP

/// @file
/// The concepts that policies model. Each links to a documented class with its promises.
///
/// | concept                                     | supplies            | optional members                             |
/// |---------------------------------------------|---------------------|----------------------------------------------|
/// | @ref hash_backend_promises "hash_backend"   | BLAKE2s             | batch_hash_backend, hmac_hash_backend        |
/// | @ref dh_backend_promises "dh_backend"       | X25519              | batch_dh_backend                             |
/// | @ref aead_backend_promises "aead_backend"   | ChaCha20-Poly1305   | batch_aead_backend, single_call_aead_backend |
/// | @ref kem_backend_promises "kem_backend"     | ML-KEM-768          |                                              |
/// | @ref clock_source_promises "clock_source"   | time                |                                              |
/// | @ref random_source_promises "random_source" | random bytes        |                                              |
/// | @ref threads_promises "threads"             | mutexes, threads    | threads_with_cell and others                 |
/// | @ref storage_promises "storage"             | memory, limits      | engine_storage                               |
/// | @ref observer_promises "observer"           | a log of events     | observer_with_key and others                 |
/// | @ref tun_device_promises "tun_device"       | packets of the host | tun_device_with_settle and others            |
/// | @ref udp_socket_promises "udp_socket"       | the network         | udp_socket_with_share and others             |
/// | @ref waiter_promises "waiter"               | sleep               | waiter_with_busy_poll                        |
///
/// A bundle may also name a @ref snapshot_detector_promises "snapshot_detector", which notices that the host was
/// suspended or restored, and a @ref ratchet_storage_promises "ratchet_storage", with which preshared keys can be
/// replaced in each epoch.

#include "base/config.hpp"
#include "base/event.hpp"
#include "base/limits.hpp"
#include "base/packet.hpp"

#include <concepts>
#include <initializer_list>

namespace wg { inline namespace WG_ABI {

// --- hash_backend

/// One digest of a batch: the arguments of `blake2s(out, key, message, {})`.
struct hash_item {
    bytes out;          ///< 1-32 bytes; the size is the digest's length
    bytes_view key;     ///< 0-32 bytes; empty: not keyed
    bytes_view message; ///< any size
};

/// BLAKE2s. Promises: @ref hash_backend_promises "archetypes::hash_backend".
template <class Hash>
concept hash_backend = requires(Hash const& hash, bytes out, bytes_view in) {
    { hash.blake2s(out, in, in, in) } noexcept -> std::same_as<void>;
};

/// A hash_backend with the optional member `blake2s_batch`.
template <class Hash>
concept batch_hash_backend = hash_backend<Hash> && requires(Hash const& hash, std::span<hash_item const> items) {
    { hash.blake2s_batch(items) } noexcept -> std::same_as<void>;
};

/// A hash_backend with the optional member `hmac_blake2s`.
template <class Hash>
concept hmac_hash_backend =
    hash_backend<Hash> && requires(Hash const& hash, std::span<byte, key_bytes> out, key_view key, bytes_view input) {
        { hash.hmac_blake2s(out, key, input) } noexcept -> std::same_as<void>;
    };

// --- dh_backend

/// One operation of a batch: the arguments of `good = dh(*out, *scalar, point)`.
struct dh_item {
    secret<key_bytes>* out = nullptr;          ///< the shared secret; zero if `good` is false
    secret<key_bytes> const* scalar = nullptr; ///< the private key
    bytes_view point;                          ///< the public key, `key_bytes` bytes
    bool good = false;                         ///< the result of `dh`
};

/// X25519. Promises: @ref dh_backend_promises "archetypes::dh_backend".
template <class Dh>
concept dh_backend =
    requires(Dh const& dh, secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point, public_key& key) {
        { dh.dh(out, scalar, point) } noexcept -> std::same_as<bool>;
        { dh.dh_public(key, scalar) } noexcept -> std::same_as<void>;
    };

/// A dh_backend with the optional member `dh_batch`.
template <class Dh>
concept batch_dh_backend = dh_backend<Dh> && requires(Dh const& dh, std::span<dh_item> items) {
    { dh.dh_batch(items) } noexcept -> std::same_as<void>;
};

// --- aead_backend

/// One packet of a batch: the arguments of `seal(dst, src, {}, counter, *key)` or of `good = open(...)`.
struct aead_item {
    bytes dst;                              ///< sealed: `src.size() + tag_bytes`; opened: `src.size() - tag_bytes`
    bytes_view src;                         ///< starts where `dst` starts, or does not overlap it
    std::uint64_t counter = 0;              ///< the nonce
    secret<key_bytes> const* key = nullptr; ///< may differ from item to item
    bool good = false;                      ///< the result of `open`
};

/// ChaCha20-Poly1305 and HChaCha20. Promises: @ref aead_backend_promises "archetypes::aead_backend".
template <class Aead>
concept aead_backend = requires(Aead const& aead, bytes dst, bytes_view src, std::uint64_t counter,
                                secret<key_bytes>& out, secret<key_bytes> const& key, std::span<byte const, 16> nonce) {
    { aead.seal(dst, src, src, counter, key) } noexcept -> std::same_as<void>;
    { aead.open(dst, src, src, counter, key) } noexcept -> std::same_as<bool>;
    { aead.hchacha20(out, key, nonce) } noexcept -> std::same_as<void>;
};

/// An aead_backend with the optional members `seal_batch` and `open_batch`.
template <class Aead>
concept batch_aead_backend = aead_backend<Aead> && requires(Aead const& aead, std::span<aead_item> items) {
    { aead.seal_batch(items) } noexcept -> std::same_as<void>;
    { aead.open_batch(items) } noexcept -> std::same_as<void>;
};

/// An aead_backend with the optional member `run`.
template <class Aead>
concept single_call_aead_backend =
    aead_backend<Aead> && requires(Aead const& aead, bool seals, byte* dst, byte const* src, std::size_t size,
                                   std::uint64_t counter, secret<key_bytes> const& key) {
        { aead.run(seals, dst, src, size, src, size, counter, key) } noexcept -> std::same_as<bool>;
    };

// --- kem_backend

/// A key encapsulation mechanism. Promises: @ref kem_backend_promises "archetypes::kem_backend".
template <class Kem>
concept kem_backend =
    requires(Kem const& kem, std::span<byte, Kem::public_key_bytes> key, secret<Kem::private_key_bytes>& private_key,
             secret<Kem::private_key_bytes> const& own, std::span<byte, Kem::ciphertext_bytes> ciphertext,
             secret<key_bytes>& shared, std::span<byte const, Kem::public_key_bytes> other,
             std::span<byte const, Kem::ciphertext_bytes> received, secret<64> const& pair, secret<32> const& random) {
        { kem.generate(key, private_key, pair) } noexcept -> std::same_as<bool>;
        { kem.encapsulate(ciphertext, shared, other, random) } noexcept -> std::same_as<bool>;
        { kem.decapsulate(shared, own, received) } noexcept -> std::same_as<bool>;
    };

// --- clock_source, random_source

/// Time. Promises: @ref clock_source_promises "archetypes::clock_source".
template <class Clock>
concept clock_source = requires(Clock& clock, std::span<byte, timestamp_bytes> label) {
    { clock.now() } noexcept -> std::same_as<instant>;
    { clock.tai64n(label) } noexcept -> std::same_as<void>;
};

/// Random bytes. Promises: @ref random_source_promises "archetypes::random_source".
template <class Random>
concept random_source = requires(Random& random, bytes out) {
    { random.fill(out) } noexcept -> std::same_as<bool>;
};

// --- tun_device

/// The host's end of the tunnel: IP packets. Promises: @ref tun_device_promises "archetypes::tun_device".
template <class Tun>
concept tun_device = requires(Tun& tun, std::span<packet> packets) {
    { tun.read(packets) } noexcept -> std::same_as<result<std::size_t>>;
    { tun.write(packets) } noexcept -> std::same_as<std::size_t>;
    { tun.mtu() } noexcept -> std::same_as<std::size_t>;
    { Tun::headroom } -> std::convertible_to<std::size_t>;
};

/// A tun_device with the optional member `settle`.
template <class Tun>
concept tun_device_with_settle = tun_device<Tun> && requires(Tun& tun) {
    { tun.settle() } noexcept -> std::same_as<void>;
};

/// A tun_device with the optional member `share`, which `workers` need.
template <class Tun>
concept tun_device_with_share = tun_device<Tun> && requires(Tun& tun) {
    { tun.share() } noexcept -> std::same_as<result<Tun>>;
};

/// A tun_device with the optional member `has_more_for_others`.
template <class Tun>
concept tun_device_with_has_more_for_others = tun_device<Tun> && requires(Tun& tun) {
    { tun.has_more_for_others() } noexcept -> std::same_as<bool>;
};

/// A tun_device with the optional member `sparse_packets`.
template <class Tun>
concept tun_device_with_sparse_packets = tun_device<Tun> && requires(Tun& tun) {
    { tun.sparse_packets() } noexcept -> std::same_as<std::uint32_t>;
};

/// A tun_device with the optional member `longest_cut`.
template <class Tun>
concept tun_device_with_longest_cut = tun_device<Tun> && requires(Tun& tun) {
    { tun.longest_cut() } noexcept -> std::same_as<std::size_t>;
};

// --- udp_socket

/// The network's end of the tunnel: UDP datagrams. Promises: @ref udp_socket_promises "archetypes::udp_socket".
template <class Socket>
concept udp_socket = requires(Socket& socket, std::span<datagram> datagrams, std::uint16_t port) {
    { socket.open(port) } noexcept -> std::same_as<result<std::uint16_t>>;
    { socket.close() } noexcept -> std::same_as<void>;
    { socket.receive(datagrams) } noexcept -> std::same_as<result<std::size_t>>;
    { socket.send(datagrams) } noexcept -> std::same_as<std::size_t>;
    { Socket::receive_bytes } -> std::convertible_to<std::size_t>;
};

/// A udp_socket with the optional member `set_fwmark`.
template <class Socket>
concept udp_socket_with_set_fwmark = udp_socket<Socket> && requires(Socket& socket, std::uint32_t mark) {
    { socket.set_fwmark(mark) } noexcept -> std::same_as<status>;
};

/// A udp_socket with the optional member `share`, which `workers` need.
template <class Socket>
concept udp_socket_with_share = udp_socket<Socket> && requires(Socket& socket, Socket& other) {
    { socket.share(other) } noexcept -> std::same_as<bool>;
};

/// A udp_socket with the optional members `receive_handshakes`, `note_received` and `note_authentic`.
template <class Socket>
concept udp_socket_with_handshakes = udp_socket<Socket> && requires(Socket& socket, std::span<datagram> datagrams,
                                                                    std::size_t count, ip_address const& source) {
    { socket.receive_handshakes(datagrams) } noexcept -> std::same_as<result<std::size_t>>;
    { socket.note_received(count, count, count) } noexcept -> std::same_as<void>;
    { socket.note_authentic(source) } noexcept -> std::same_as<void>;
};

/// A udp_socket_with_handshakes with the optional member `separate_handshakes`.
template <class Socket>
concept udp_socket_with_separate_handshakes = udp_socket_with_handshakes<Socket> && requires(Socket& socket) {
    { socket.separate_handshakes() } noexcept -> std::same_as<void>;
};

/// A udp_socket with the optional member `keep_out_of`, which an engine calls once, before it opens the socket: its
/// datagrams must not enter the tunnel of this TUN device.
template <class Socket, class Tun>
concept udp_socket_with_tunnel = requires(Socket& socket, Tun const& device) {
    { socket.keep_out_of(device) } noexcept -> std::same_as<void>;
};

/// A udp_socket_with_handshakes with the optional member `handshakes_ready`.
template <class Socket>
concept udp_socket_with_handshakes_ready = udp_socket_with_handshakes<Socket> && requires(Socket& socket) {
    { socket.handshakes_ready() } noexcept -> std::same_as<bool>;
};

/// A udp_socket with the optional constants `send_headroom` and `send_tailroom`.
template <class Socket>
concept udp_socket_with_room = udp_socket<Socket> && requires {
    { Socket::send_headroom } -> std::convertible_to<std::size_t>;
    { Socket::send_tailroom } -> std::convertible_to<std::size_t>;
};

// --- waiter

/// What a waiter found.
struct readiness {
    bool tun = false;         ///< the TUN device has packets
    bool udp = false;         ///< the socket has datagrams
    std::uint32_t others = 0; ///< a bit for each further source of the host: a configuration socket, signals
};

/// Sleep until there is work. Promises: @ref waiter_promises "archetypes::waiter".
template <class Waiter>
concept waiter = requires(Waiter& waiter, instant deadline) {
    { waiter.wait(deadline) } noexcept -> std::same_as<readiness>;
    { waiter.wake() } noexcept -> std::same_as<void>;
};

/// A waiter that can poll before it sleeps: with the optional form `wait(deadline, busy_poll)`.
template <class Waiter>
concept waiter_with_busy_poll = waiter<Waiter> && requires(Waiter& waiter, instant deadline, duration busy_poll) {
    { waiter.wait(deadline, busy_poll) } noexcept -> std::same_as<readiness>;
};

// --- snapshot_detector

/// Notices that the host was suspended, or that its virtual machine was restored from a snapshot or cloned. Promises:
/// @ref snapshot_detector_promises "archetypes::snapshot_detector".
template <class Detector>
concept snapshot_detector = std::default_initializable<Detector> && requires(Detector& detector, instant now) {
    { detector.look(now) } noexcept -> std::same_as<void>;
    { detector.generation() } noexcept -> std::same_as<std::uint64_t>;
};

// --- threads

/// Mutexes, and optionally threads. Promises: @ref threads_promises "archetypes::threads".
template <class Threads>
concept threads = requires(typename Threads::mutex& mutex) {
    { Threads::parallel } -> std::convertible_to<bool>;
    { mutex.lock() } noexcept;
    { mutex.unlock() } noexcept;
};

/// A threads policy with the optional type `cell`, which `workers` need.
template <class Threads>
concept threads_with_cell = threads<Threads> && std::default_initializable<typename Threads::cell> &&
                            requires(typename Threads::cell& cell, std::uint32_t value) {
                                { cell.load() } noexcept -> std::same_as<std::uint32_t>;
                                { cell.store(value) } noexcept -> std::same_as<void>;
                                { cell.wait(value) } noexcept -> std::same_as<void>;
                            };

/// The work that `threads_with_thread` tries: none.
inline void no_work(int&) noexcept {}

/// A threads policy with the optional type `thread`, which `workers` need.
template <class Threads>
concept threads_with_thread = threads<Threads> && std::default_initializable<typename Threads::thread> &&
                              requires(typename Threads::thread& thread, int& context) {
                                  { thread.template start<&no_work>(context) } noexcept -> std::same_as<bool>;
                              };

/// A threads policy with the optional member `give_way`.
template <class Threads>
concept threads_with_give_way = threads<Threads> && requires {
    { Threads::give_way() } noexcept -> std::same_as<void>;
};

// --- storage

/// A pool of objects. Promises: @ref pool_promises "archetypes::pool".
template <class Pool, class T>
concept pool_of = requires(Pool& pool, T* object, std::size_t count) {
    { pool.acquire() } noexcept -> std::same_as<T*>;
    { pool.release(object) } noexcept -> std::same_as<void>;
    { pool.reserve(count) } noexcept -> std::same_as<bool>;
};

/// An array that can be made longer. Promises: @ref array_promises "archetypes::array".
template <class Array, class T>
concept array_of = std::movable<Array> && requires(Array& array, std::size_t count) {
    { array.resize(count) } noexcept -> std::same_as<bool>;
    { array.view() } noexcept -> std::same_as<std::span<T>>;
};

/// Where a device's memory comes from, and the limits of the device.
/// Promises: @ref storage_promises "archetypes::storage".
template <class Storage>
concept storage = requires {
    requires pool_of<typename Storage::template pool<std::uint64_t, 4>, std::uint64_t>;
    requires pool_of<typename Storage::template secret_pool<std::uint64_t, 4>, std::uint64_t>;
    requires array_of<typename Storage::template array<std::uint64_t, 4>, std::uint64_t>;
    requires std::constructible_from<typename Storage::template pool<std::uint64_t, 4>, Storage&>;
    requires std::constructible_from<typename Storage::template secret_pool<std::uint64_t, 4>, Storage&>;
    requires std::constructible_from<typename Storage::template array<std::uint64_t, 4>, Storage&>;
    { Storage::max_peers } -> std::convertible_to<std::size_t>;
    { Storage::max_allowed_ips } -> std::convertible_to<std::size_t>;
    { Storage::max_staged_packets } -> std::convertible_to<std::size_t>;
    { Storage::max_staged_packets_per_peer } -> std::convertible_to<std::size_t>;
    { Storage::max_queued_handshakes } -> std::convertible_to<std::size_t>;
    { Storage::max_limited_sources } -> std::convertible_to<std::size_t>;
    { Storage::replay_bits } -> std::convertible_to<std::size_t>;
};

/// A storage with the constants `batch` and `max_mtu_bytes`, which an engine needs.
template <class Storage>
concept engine_storage = storage<Storage> && requires {
    { Storage::batch } -> std::convertible_to<std::size_t>;
    { Storage::max_mtu_bytes } -> std::convertible_to<std::size_t>;
};

// --- observer

/// A log of events. Promises: @ref observer_promises "archetypes::observer".
template <class Observer>
concept observer = requires(Observer& observer, event_id id, std::uint32_t peer_number, std::uint64_t value) {
    { observer.event(id, peer_number, value) } noexcept -> std::same_as<void>;
    { Observer::enabled } -> std::convertible_to<bool>;
};

/// An observer that takes the peer's public key as well: with the optional form `event(id, peer_number, value, key)`.
template <class Observer>
concept observer_with_key = observer<Observer> && requires(Observer& observer, event_id id, std::uint32_t peer_number,
                                                           std::uint64_t value, public_key const& key) {
    { observer.event(id, peer_number, value, key) } noexcept -> std::same_as<void>;
};

/// A packet of the host, or a message of the network, as a device saw it.
struct seen_packet {
    bool outer = false;       ///< a message of the network, without IP and UDP headers; else an IP packet of the host
    bool outbound = false;    ///< on its way to the network; else from the network, or an ICMP error of the device
    status why = status::ok;  ///< ok, or the reason why it did not pass
    bytes_view data{};        ///< its first bytes, mostly all of them; valid during the call
    std::size_t length = 0;   ///< the bytes that it has in all
    endpoint remote{};        ///< of a message: the other end
    std::uint16_t port = 0;   ///< of a message: the port of this device
    std::uint8_t tos = 0;     ///< of a message: DSCP and ECN of its IP header
    public_key const* peer{}; ///< the peer's key, valid during the call; nullptr: the peer is not known
    byte_array<timestamp_bytes> label{}; ///< the wall clock as TAI64N, see `clock_source`
};

/// An observer that gets packets and messages: with the optional member `packet`.
template <class Observer>
concept observer_with_packets = observer<Observer> && requires(Observer& observer, seen_packet const& seen) {
    { observer.packet(seen) } noexcept -> std::same_as<void>;
};

/// The secrets from which the keys of a session follow, together with the two handshake messages.
struct handshake_secrets {
    secret<key_bytes> const& private_key;   ///< of this device
    public_key const& peer_key;             ///< the static public key of the peer
    secret<key_bytes> const& ephemeral_key; ///< of this device, for this handshake
    secret<key_bytes> const& preshared_key; ///< zero: none
};

/// An observer that gets the secrets of handshakes: with the optional member `handshake`. Only in a program that is
/// compiled with the macro WG_KEY_LOG; without it no observer gets a secret.
#ifdef WG_KEY_LOG
template <class Observer>
concept observer_with_secrets = observer<Observer> && requires(Observer& observer, handshake_secrets const& secrets) {
    { observer.handshake(secrets) } noexcept -> std::same_as<void>;
};
#else
template <class Observer>
concept observer_with_secrets = false;
#endif

// --- ratchet_storage

/// The size of what a `ratchet_storage` stores for a peer, in bytes.
inline constexpr std::size_t ratchet_record_bytes = 184;

/// Keeps the state of ratchets over a restart. Promises: @ref ratchet_storage_promises "archetypes::ratchet_storage".
template <class Storage>
concept ratchet_storage = requires(Storage& storage, public_key const& peer, std::span<byte, ratchet_record_bytes> to,
                                   std::span<byte const, ratchet_record_bytes> from) {
    { storage.load(peer, to) } noexcept -> std::same_as<bool>;
    { storage.store(peer, from) } noexcept -> std::same_as<bool>;
    { storage.erase(peer) } noexcept -> std::same_as<void>;
};

// --- bundles

/// The bundle of a device: no input or output.
template <class Policies>
concept policies = hash_backend<typename Policies::hash> && dh_backend<typename Policies::dh> &&
                   aead_backend<typename Policies::aead> && clock_source<typename Policies::clock_source> &&
                   random_source<typename Policies::random_source> && threads<typename Policies::threads> &&
                   storage<typename Policies::storage> && observer<typename Policies::observer>;

/// The bundle of an engine: a device, and a host to run on.
template <class Policies>
concept engine_policies =
    policies<Policies> && tun_device<typename Policies::tun_device> && udp_socket<typename Policies::udp_socket> &&
    waiter<typename Policies::waiter> && engine_storage<typename Policies::storage>;

/// A bundle that names a `ratchet_storage`: preshared keys can be replaced in each epoch, see protocol/ratchet.hpp.
template <class Policies>
concept policies_with_ratchet = policies<Policies> && requires { typename Policies::ratchet_storage; };

/// An engine's bundle that names a `snapshot_detector`.
template <class Policies>
concept policies_with_snapshot_detector =
    engine_policies<Policies> && requires { typename Policies::snapshot_detector; };

}} // namespace wg::WG_ABI

#endif
