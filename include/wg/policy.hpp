// SPDX-License-Identifier: BSL-1.0
// Every concept that a user may model, with what each member promises, and nothing else. Layer 1; a
// member may be called by any thread where that is said, else by one at a time.
//
// A bundle is one type that names all policies; `wg::default_policies` is one, and a user's derives from it:
//
//     struct my_policies : wg::default_policies { using random_source = hardware_rng; };
//     wg::device<my_policies> device{hardware_rng{...}};
//
// All members are noexcept. What is optional is found with `if constexpr (requires ...)` and is named below.
#ifndef WG_POLICY_HPP
#define WG_POLICY_HPP

#include "base/config.hpp"
#include "base/event.hpp"
#include "base/packet.hpp"

#include <concepts>
#include <initializer_list>

namespace wg { inline namespace WG_ABI {

/// One digest of a batch: what `blake2s(out, key, message, {})` would do.
struct hash_item {
    bytes out;
    bytes_view key;
    bytes_view message;
};

// | member                          | promise                                                                         |
// |---------------------------------|---------------------------------------------------------------------------------|
// | blake2s(out, key, a, b)         | digest of a || b (RFC 7693). out: 1-32 bytes and sets the digest's length;      |
// |                                 | key: 0-32 bytes, empty is unkeyed; out overlaps no input. Any thread.           |
// | blake2s_batch(items)            | optional: the same for each item; no out overlaps an input or another out       |
// | hmac_blake2s(out, key, input)   | optional: HMAC of RFC 2104, where that takes less than two digests; out and     |
// |                                 | key: 32 bytes; out overlaps no input                                            |
template <class Hash>
concept hash_backend = requires(Hash const& hash, bytes out, bytes_view in) {
    { hash.blake2s(out, in, in, in) } noexcept -> std::same_as<void>;
};

template <class Hash>
concept batch_hash_backend = hash_backend<Hash> && requires(Hash const& hash, std::span<hash_item const> items) {
    { hash.blake2s_batch(items) } noexcept -> std::same_as<void>;
};

/// One operation of a batch: what `good = dh(*out, *scalar, point)` would do.
struct dh_item {
    secret<key_bytes>* out = nullptr;
    secret<key_bytes> const* scalar = nullptr;
    bytes_view point; ///< key_bytes
    bool good = false;
};

// | dh(out, secret, point) -> bool  | X25519 (RFC 7748), clamps `secret` for itself, in constant time. False, and     |
// |                                 | `out` zero, if the result is all zero. Any thread.                              |
// | dh_public(out, secret)          | the public key of `secret`                                                      |
// | dh_batch(items)                 | optional: the same for each item, and `good` says what `dh` would have returned |
template <class Dh>
concept dh_backend =
    requires(Dh const& dh, secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point, public_key& key) {
        { dh.dh(out, scalar, point) } noexcept -> std::same_as<bool>;
        { dh.dh_public(key, scalar) } noexcept -> std::same_as<void>;
    };

template <class Dh>
concept batch_dh_backend = dh_backend<Dh> && requires(Dh const& dh, std::span<dh_item> items) {
    { dh.dh_batch(items) } noexcept -> std::same_as<void>;
};

/// One packet of a batch: what `seal(dst, src, {}, counter, *key)` or `good = open(...)` would do.
struct aead_item {
    bytes dst;
    bytes_view src;
    std::uint64_t counter = 0;
    secret<key_bytes> const* key = nullptr;
    bool good = false;
};

// ChaCha20-Poly1305 (RFC 8439); the nonce is 4 zero bytes and `counter` as 8 bytes little-endian.
// | seal(dst, src, aad, counter,    | dst.size() == src.size() + 16; dst and src start at the same byte or do not     |
// |      key)                       | overlap. Any alignment. Any thread.                                             |
// | open(dst, src, aad, counter,    | src.size() == dst.size() + 16; the same overlap. False, and dst all zero, if    |
// |      key) -> bool               | the tag is wrong; compared in constant time.                                    |
// | run(seals, dst, src, size, aad, | optional: both of these in one, where that takes less code; what they would     |
// |     aad_bytes, counter, key)    | have returned, and true if it sealed. `size` is that of the plain text.         |
// |     -> bool                     |                                                                                 |
// | hchacha20(out, key, nonce)      | the subkey of XChaCha20 (draft-irtf-cfrg-xchacha, section 2.2), nonce 16 bytes  |
// | seal_batch(items)               | optional: `seal` with empty aad for each item; keys and sizes may differ;       |
// |                                 | no dst overlaps another item's memory                                           |
// | open_batch(items)               | optional: likewise `open`; `good` says what it would have returned, and a wrong |
// |                                 | tag of one touches no other                                                     |
template <class Aead>
concept aead_backend = requires(Aead const& aead, bytes dst, bytes_view src, std::uint64_t counter,
                                secret<key_bytes>& out, secret<key_bytes> const& key, std::span<byte const, 16> nonce) {
    { aead.seal(dst, src, src, counter, key) } noexcept -> std::same_as<void>;
    { aead.open(dst, src, src, counter, key) } noexcept -> std::same_as<bool>;
    { aead.hchacha20(out, key, nonce) } noexcept -> std::same_as<void>;
};

template <class Aead>
concept batch_aead_backend = aead_backend<Aead> && requires(Aead const& aead, std::span<aead_item> items) {
    { aead.seal_batch(items) } noexcept -> std::same_as<void>;
    { aead.open_batch(items) } noexcept -> std::same_as<void>;
};

// | now() -> instant                | never goes back; counts the time that the host was suspended. Any thread.       |
// | tai64n(label)                   | the wall clock as TAI64N: 8 bytes big-endian seconds since 1970 TAI plus 2^62,  |
// |                                 | 4 bytes big-endian nanoseconds. Should not go back; a device sends no label     |
// |                                 | twice, whatever comes.                                                          |
template <class Clock>
concept clock_source = requires(Clock& clock, std::span<byte, timestamp_bytes> label) {
    { clock.now() } noexcept -> std::same_as<instant>;
    { clock.tai64n(label) } noexcept -> std::same_as<void>;
};

// | fill(out) -> bool               | all of `out` from a cryptographic source. False: no handshake is made, never    |
// |                                 | one from weak bytes.                                                            |
template <class Random>
concept random_source = requires(Random& random, bytes out) {
    { random.fill(out) } noexcept -> std::same_as<bool>;
};

// | read(packets) -> result<size_t> | fills windows from the front, each at the offset it has, within its capacity;   |
// |                                 | how many; 0: none there now. status::gone: the interface was removed.           |
// |                                 | Never blocks.                                                                   |
// | write(packets) -> size_t        | how many were taken, from the front; the others are dropped. May use `headroom` |
// |                                 | bytes before each window.                                                       |
// | mtu() -> size_t                 | bytes; 0: not known                                                             |
// | headroom                        | constant, see write                                                             |
// | settle()                        | optional: what was read has been sent, so that others may read what follows     |
// | share() -> Tun                  | optional, for `workers`: the same interface, to be used by another thread. What |
// |                                 | one has read of a flow no other reads on before `settle`                        |
// | several() -> bool               | optional: whether the last `read` left something for another who shares it      |
// | lone_packets() -> uint32_t      | optional: small packets so far, modulo 2^32, that all who share the interface   |
// |                                 | found with no other of their flow: such are no bulk transfer                    |
// | longest_cut() -> size_t         | optional: bytes of the longest packet that its window was too short for, until  |
// |                                 | the host tells the MTU anew; 0: none. An engine makes longer windows then       |
template <class Tun>
concept tun_device = requires(Tun& tun, std::span<packet> packets) {
    { tun.read(packets) } noexcept -> std::same_as<result<std::size_t>>;
    { tun.write(packets) } noexcept -> std::same_as<std::size_t>;
    { tun.mtu() } noexcept -> std::same_as<std::size_t>;
    { Tun::headroom } -> std::convertible_to<std::size_t>;
};

// | open(port) -> result<uint16_t>  | binds IPv4 and IPv6 to one port (0: any free one) and returns it; what is open  |
// |                                 | already is closed after that, and stays as it is on failure                     |
// | close()                         |                                                                                 |
// | receive(datagrams)              | fills windows from the front, each at the offset it has; `where`, `tos`, and    |
// |    -> result<size_t>            | `segment_bytes` where the host coalesces. 0: none there now. Never blocks.      |
// | send(datagrams) -> size_t       | how many left, each window to `where.remote`, from `where.local` if that is not |
// |                                 | none; `why` says what failed, and `error`, if the host has a number for that. A |
// |                                 | lost datagram is no error.                                                      |
// | receive_bytes                   | constant: room that a received datagram needs                                   |
// | set_fwmark(mark) -> status      | optional; for open sockets and those opened later                               |
// | share(of) -> bool               | optional, for `workers`: takes part in what another has open, for a thread of   |
// |                                 | its own                                                                         |
// | receive_handshakes(datagrams)   | optional: as `receive`, of handshake messages that arrive apart from data; then |
// |    -> result<size_t>            | `receive` may leave them out. Windows have 256 bytes; longer datagrams are cut  |
// | separate_handshakes()           | with that: asks for it, from the next `open` on                                 |
// | handshakes_ready() -> bool      | optional, with that: false where `receive_handshakes` would find none           |
// | note_received(data, useless,    | with `receive_handshakes`: how many messages of data came, how many of them no  |
// |    handshakes)                  | peer needed, and how many handshake messages came. From these a socket may      |
// |                                 | tell a flood, and filter it by source                                           |
// | note_authentic(address)         | likewise: this source has sent authentic data, and is not to be filtered        |
template <class Socket>
concept udp_socket = requires(Socket& socket, std::span<datagram> datagrams, std::uint16_t port) {
    { socket.open(port) } noexcept -> std::same_as<result<std::uint16_t>>;
    { socket.close() } noexcept -> std::same_as<void>;
    { socket.receive(datagrams) } noexcept -> std::same_as<result<std::size_t>>;
    { socket.send(datagrams) } noexcept -> std::same_as<std::size_t>;
    { Socket::receive_bytes } -> std::convertible_to<std::size_t>;
};

/// What a waiter saw. `others` are sources of the host's own (a configuration socket, signals), a bit each.
struct readiness {
    bool tun = false;
    bool udp = false;
    std::uint32_t others = 0;
};

// | wait(deadline) -> readiness     | returns when something can be read, at the deadline, or after wake()            |
// | wait(deadline, busy_poll)       | optional: looks for so long before it sleeps (`engine::busy_poll`)              |
// | wake()                          | from any thread                                                                 |
template <class Waiter>
concept waiter = requires(Waiter& waiter, instant deadline) {
    { waiter.wait(deadline) } noexcept -> std::same_as<readiness>;
    { waiter.wake() } noexcept -> std::same_as<void>;
};

// | parallel                        | constant: whether a device may be used by several threads                       |
// | mutex                           | lock(), unlock(); empty where not parallel                                      |
// | cell                            | optional, what `workers` need: a 32-bit number, at first 0, that threads wait   |
// |                                 | on: load(), store(n), wait(old), which returns when it is not `old`, or earlier |
// | thread                          | likewise: start<work>(context) -> bool runs work(context); its end waits for it |
// | give_way()                      | optional: lets other threads of the host run before this one goes on            |
template <class Threads>
concept threads = requires(typename Threads::mutex& mutex) {
    { Threads::parallel } -> std::convertible_to<bool>;
    { mutex.lock() } noexcept;
    { mutex.unlock() } noexcept;
};

// | acquire() -> T*                 | a new T, default-initialised, or nullptr if there is no room left               |
// | release(T*)                     | destroys it; its memory is used again                                           |
// | reserve(n) -> bool              | whether the next n acquires will succeed                                        |
template <class Pool, class T>
concept pool_of = requires(Pool& pool, T* object, std::size_t count) {
    { pool.acquire() } noexcept -> std::same_as<T*>;
    { pool.release(object) } noexcept -> std::same_as<void>;
    { pool.reserve(count) } noexcept -> std::same_as<bool>;
};

// | resize(n) -> bool               | n value-initialised elements (bytes: of any value), old ones forgotten; false:  |
// |                                 | unchanged                                                                       |
// | view() -> span<T>               |                                                                                 |
// | move                            | construction and assignment: how a table grows                                  |
template <class Array, class T>
concept array_of = std::movable<Array> && requires(Array& array, std::size_t count) {
    { array.resize(count) } noexcept -> std::same_as<bool>;
    { array.view() } noexcept -> std::same_as<std::span<T>>;
};

// Where a device's memory comes from. Pools and arrays are made from the storage object: `pool<T, N>(storage)`.
// | pool<T, N>, array<T, N>         | N objects at most; N = 0 grows                                                  |
// | secret_pool<T, N>               | the same for what holds secrets: one region that a host can lock and keep out   |
// |                                 | of dumps; memory is wiped before it is given out or back                        |
// | max_peers, max_allowed_ips,     | constants; 0 grows                                                              |
// | max_staged_packets              | constant: slots for packets that wait for a session, all peers together         |
// | max_staged_packets_per_peer     | constant                                                                        |
// | max_queued_handshakes           | constant: a power of two; handshake_queue.hpp says what of it is "under load"   |
// | max_limited_sources             | constant: a power of two, 4 at least                                            |
// | replay_bits                     | constant: the replay window, a power of two, 32-65536                           |
// | batch, max_mtu_bytes            | constants, which an engine alone needs: packets in one step, 1-64, and the      |
// |                                 | greatest MTU that it has buffers for; 0 grows. A device takes the latter's word |
// |                                 | that a packet of 2036 bytes is not exceeded, and stages no longer one           |
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

// | event(id, peer_number, value)   | called outside locks, by the thread that caused it; never given a secret        |
// | event(id, peer_number, value,   | optional, called instead: the peer's public key as well; zero for what concerns |
// |       key)                      | no peer, and after the peer was removed                                         |
// | enabled                         | constant: false removes the calls                                               |
template <class Observer>
concept observer = requires(Observer& observer, event_id id, std::uint32_t peer_number, std::uint64_t value) {
    { observer.event(id, peer_number, value) } noexcept -> std::same_as<void>;
    { Observer::enabled } -> std::convertible_to<bool>;
};

/// What a device is made of: no input or output.
template <class Policies>
concept policies = hash_backend<typename Policies::hash> && dh_backend<typename Policies::dh> &&
                   aead_backend<typename Policies::aead> && clock_source<typename Policies::clock_source> &&
                   random_source<typename Policies::random_source> && threads<typename Policies::threads> &&
                   storage<typename Policies::storage> && observer<typename Policies::observer>;

/// What an engine is made of: a device, and a host to run on.
template <class Policies>
concept engine_policies = policies<Policies> && tun_device<typename Policies::tun_device> &&
                          udp_socket<typename Policies::udp_socket> && waiter<typename Policies::waiter> && requires {
                              { Policies::storage::batch } -> std::convertible_to<std::size_t>;
                              { Policies::storage::max_mtu_bytes } -> std::convertible_to<std::size_t>;
                          };

}} // namespace wg::WG_ABI

#endif
