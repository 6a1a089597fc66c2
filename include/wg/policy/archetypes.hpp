// SPDX-License-Identifier: BSL-1.0
// The promises of every concept in policy.hpp: one class for each concept, whose members are documented and declared,
// but not defined. A policy of yours has these members; those marked "Optional" may be absent. Folder: policy; nothing
// is called.
//
// Every member is noexcept. Where nothing is said about threads, one thread at a time calls members of one object.
#ifndef WG_POLICY_ARCHETYPES_HPP
#define WG_POLICY_ARCHETYPES_HPP

#include "../policy.hpp"

namespace wg { inline namespace WG_ABI {

/// Documentation of the policies, as declarations. No program uses these classes.
namespace archetypes {

/// @anchor hash_backend_promises
/// Models `wg::hash_backend`: BLAKE2s (RFC 7693). Any thread, several at once.
class hash_backend {
public:
    /// Computes the digest of `a` followed by `b`.
    /// `out`: 1-32 bytes; its size is the digest's length. `key`: 0-32 bytes; empty: not keyed. `a` and `b` may be
    /// empty. `out` overlaps no input.
    void blake2s(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept;

    /// Optional (`wg::batch_hash_backend`). Computes all digests. No `out` overlaps an input or another `out`.
    void blake2s_batch(std::span<hash_item const> items) const noexcept;

    /// Optional (`wg::hmac_hash_backend`). Computes HMAC-BLAKE2s (RFC 2104), for a backend in which that takes less
    /// code than two calls of `blake2s`. `out`: 32 bytes, overlaps neither `key` nor `input`.
    void hmac_blake2s(bytes out, key_view key, bytes_view input) const noexcept;
};

/// @anchor dh_backend_promises
/// Models `wg::dh_backend`: X25519 (RFC 7748), in constant time. Any thread, several at once.
class dh_backend {
public:
    /// Computes the shared secret of a private key and a public key. Clamps `scalar` for itself (RFC 7748 section 5).
    /// Returns: false, with `out` zero, if the shared secret is zero (RFC 7748 section 6.1).
    bool dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept;

    /// Computes the public key of a private key. Clamps `scalar` for itself.
    void dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept;

    /// Optional (`wg::batch_dh_backend`). Does `dh` for each item, and stores its result in `good`.
    void dh_batch(std::span<dh_item> items) const noexcept;
};

/// @anchor aead_backend_promises
/// Models `wg::aead_backend`: ChaCha20-Poly1305 (RFC 8439) and HChaCha20. The nonce is 4 zero bytes and then `counter`
/// as 8 bytes, little-endian (whitepaper 5.4.6). Buffers have any alignment. Any thread, several at once.
class aead_backend {
public:
    /// Encrypts `src`, and appends the tag of 16 bytes. dst.size() == src.size() + 16. `dst` and `src` start at the
    /// same byte, or do not overlap.
    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept;

    /// Verifies the tag at the end of `src` in constant time, and decrypts. src.size() == dst.size() + 16. `dst` and
    /// `src` start at the same byte, or do not overlap. Returns: false, with `dst` zero, if the tag is wrong.
    bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept;

    /// Derives the subkey of XChaCha20 (draft-irtf-cfrg-xchacha section 2.2).
    void hchacha20(secret<key_bytes>& out, secret<key_bytes> const& key,
                   std::span<byte const, 16> nonce) const noexcept;

    /// Optional, together with `open_batch` (`wg::batch_aead_backend`). Does `seal` without `aad` for each item. Keys
    /// and sizes may differ. No `dst` overlaps the memory of another item.
    void seal_batch(std::span<aead_item> items) const noexcept;

    /// Optional, together with `seal_batch` (`wg::batch_aead_backend`). Does `open` without `aad` for each item, and
    /// stores its result in `good`. A wrong tag of one item does not affect another item.
    void open_batch(std::span<aead_item> items) const noexcept;

    /// Optional (`wg::single_call_aead_backend`). Does `seal` if `seals`, else `open`, for a backend in which one
    /// function takes less code than two. `size`: bytes of the plain text. Returns: true if `seals`, else the result of
    /// `open`.
    bool run(bool seals, byte* dst, byte const* src, std::size_t size, byte const* aad, std::size_t aad_bytes,
             std::uint64_t counter, secret<key_bytes> const& key) const noexcept;
};

/// @anchor kem_backend_promises
/// Models `wg::kem_backend`: ML-KEM-768 (FIPS 203), in constant time. No default policy names one. Any thread, several
/// at once.
class kem_backend {
public:
    static constexpr std::size_t public_key_bytes = 1184;  ///< of an encapsulation key
    static constexpr std::size_t private_key_bytes = 2400; ///< of a decapsulation key
    static constexpr std::size_t ciphertext_bytes = 1088;  ///< of an encapsulated secret

    /// Makes a key pair from 64 random bytes: d and then z (FIPS 203, algorithm 16). Equal bytes give equal keys.
    /// Returns: false, with both keys zero, if the library failed.
    bool generate(std::span<byte, public_key_bytes> public_key, secret<private_key_bytes>& private_key,
                  secret<64> const& random) const noexcept;

    /// Makes a shared secret from 32 random bytes, and encapsulates it for the owner of a public key. The same bytes
    /// give the same secret. No argument overlaps another one.
    /// Returns: false, with `ciphertext` and `shared` zero, if the key does not pass the checks of FIPS 203, section
    /// 7.2, or the library failed.
    bool encapsulate(std::span<byte, ciphertext_bytes> ciphertext, secret<key_bytes>& shared,
                     std::span<byte const, public_key_bytes> public_key, secret<32> const& random) const noexcept;

    /// Computes the shared secret of a ciphertext. A ciphertext that was not made for the key gives a secret that only
    /// the owner of the key can compute; neither result nor time tells that (implicit rejection).
    /// Returns: false, with `shared` zero, if the key does not pass the checks of FIPS 203, section 7.3, or the library
    /// failed.
    bool decapsulate(secret<key_bytes>& shared, secret<private_key_bytes> const& private_key,
                     std::span<byte const, ciphertext_bytes> ciphertext) const noexcept;
};

/// @anchor clock_source_promises
/// Models `wg::clock_source`. Any thread, several at once, if `threads::parallel`.
class clock_source {
public:
    /// Returns: the time since a point of the clock's choice. Never goes back. Goes on while the host is suspended,
    /// because a session ends 180 s after its handshake by the time of the peer (whitepaper 6.2).
    instant now() noexcept;

    /// Writes the wall clock as a TAI64N label: 8 bytes big-endian, seconds since 1970 TAI plus 2^62; 4 bytes
    /// big-endian, nanoseconds. Should not go back, also not across a restart: peers refuse older labels as replays
    /// (whitepaper 5.1). The device sends no label twice, even if the wall clock goes back.
    void tai64n(std::span<byte, timestamp_bytes> label) noexcept;
};

/// @anchor random_source_promises
/// Models `wg::random_source`. The device calls it under its lock.
class random_source {
public:
    /// Fills all of `out` from a cryptographic source. Returns: false, if that failed; then no handshake is made, and
    /// `out` is not used.
    bool fill(bytes out) noexcept;
};

/// @anchor tun_device_promises
/// Models `wg::tun_device`: the host's packets. Several objects can share one interface, each used by one thread.
class tun_device {
public:
    /// Bytes before each window that `write` may overwrite.
    static constexpr std::size_t headroom = 0;

    /// Reads packets of the host into the windows from the front: each at `packet::offset`, within `packet::capacity`;
    /// sets `packet::length`. Never blocks.
    /// Returns: the number of packets; 0: there are none. gone: the interface was removed. io_error: try again later.
    result<std::size_t> read(std::span<packet> packets) noexcept;

    /// Passes packets to the host, from the front. Never blocks; packets that the host does not take are dropped.
    /// Returns: the number of packets that the host took.
    std::size_t write(std::span<packet> packets) noexcept;

    /// Returns: the MTU in bytes; 0: it is not known.
    std::size_t mtu() noexcept;

    /// Optional (`wg::tun_device_with_settle`). The caller has sent all packets that it has read. Other objects of the
    /// same interface may now read on in the same flows.
    void settle() noexcept;

    /// Optional (`wg::tun_device_with_share`); `workers` need it. While one object has read packets of a flow and not
    /// called `settle`, no other object reads packets of that flow.
    /// Returns: an object for the same interface, for another thread; no_memory.
    result<tun_device> share() noexcept;

    /// Optional (`wg::tun_device_with_has_more_for_others`). Returns: whether the last `read` left packets that another
    /// object of the same interface can read now. Without this member: true.
    bool has_more_for_others() noexcept;

    /// Optional (`wg::tun_device_with_sparse_packets`). Returns: a counter, modulo 2^32, of small packets that all
    /// objects of the interface found alone in their queue: packets of flows that are no bulk transfer. See
    /// `lane_scheduler::should_yield`.
    std::uint32_t sparse_packets() noexcept;

    /// Optional (`wg::tun_device_with_longest_cut`). Returns: bytes of the longest packet so far that did not fit into
    /// its window; 0: all did fit. Starts anew when the host reports the MTU. An engine then makes longer buffers.
    std::size_t longest_cut() noexcept;
};

/// @anchor udp_socket_promises
/// Models `wg::udp_socket`: the network. Several objects can share the same sockets, each used by one thread.
class udp_socket {
public:
    /// Bytes that a received datagram needs at most, from `packet::offset` on.
    static constexpr std::size_t receive_bytes = 65536;

    /// Binds IPv4 and IPv6 to one port (0: any free port). Closes what was open before only after that succeeded.
    /// Returns: the port; address_in_use, no_permission or another status, with nothing changed.
    result<std::uint16_t> open(std::uint16_t port) noexcept;

    /// Closes what is open. Does nothing if nothing is open.
    void close() noexcept;

    /// Receives datagrams into the windows from the front: each at `packet::offset`, within `packet::capacity`, or in
    /// memory of the socket, with `packet::buffer` changed, that is valid until the next call of the engine; sets
    /// `packet::length`, `datagram::where`, `datagram::tos`, and `datagram::segment_bytes` if the host joined several
    /// datagrams. Never blocks. Returns: the number of datagrams; 0: there are none.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept;

    /// Sends each window to `where.remote`, from `where.local` unless that is none; clears `where.local` if that
    /// address is gone. Never blocks. Sets `datagram::why`, and `datagram::error` if the host has a number for the
    /// reason. Returns: the number of datagrams sent. A datagram that the network loses counts as sent.
    std::size_t send(std::span<datagram> datagrams) noexcept;

    /// Optional (`wg::udp_socket_with_set_fwmark`). Sets the firewall mark of open sockets and of those opened later.
    /// Returns: no_permission or not_supported, with nothing changed.
    status set_fwmark(std::uint32_t mark) noexcept;

    /// Optional (`wg::udp_socket_with_share`); `workers` need it. Opens the sockets that `other` has open, for another
    /// thread. Returns: false, if the host has no descriptors left.
    bool share(udp_socket const& other) noexcept;

    /// Optional, with `note_received` and `note_authentic` (`wg::udp_socket_with_handshakes`). As `receive`, for
    /// handshake messages that the host sorts out; `receive` may leave these out. The windows have 256 bytes; longer
    /// datagrams are cut.
    result<std::size_t> receive_handshakes(std::span<datagram> datagrams) noexcept;

    /// Optional, with `receive_handshakes`. Counts messages since the last call: `data`: received by `receive`;
    /// `useless`: those among them that no peer needed; `handshakes`: received by `receive_handshakes`. A socket may
    /// detect a flood by that, and filter it by source.
    void note_received(std::size_t data, std::size_t useless, std::size_t handshakes) noexcept;

    /// Optional, with `receive_handshakes`. `source` has sent authentic data; a filter lets it pass.
    void note_authentic(ip_address const& source) noexcept;

    /// Optional, with `receive_handshakes` (`wg::udp_socket_with_separate_handshakes`). From the next `open` on, the
    /// host sorts out handshake messages. An engine calls it once.
    void separate_handshakes() noexcept;

    /// Optional (`wg::udp_socket_with_tunnel`). The datagrams must not enter the tunnel of `device`. An engine calls it
    /// once, before `open`.
    void keep_out_of(tun_device const& device) noexcept;

    /// Optional, with `receive_handshakes` (`wg::udp_socket_with_handshakes_ready`). Returns: false, if
    /// `receive_handshakes` would find nothing. Without this member: true.
    bool handshakes_ready() noexcept;

    /// Optional (`wg::udp_socket_with_room`), both or none. Bytes that `send` may overwrite before and after the window
    /// of a datagram. The packets of an engine have this room; `packet::headroom` and `packet::tailroom` count it.
    static constexpr std::size_t send_headroom = 0;
    static constexpr std::size_t send_tailroom = 0; ///< see `send_headroom`
};

/// @anchor waiter_promises
/// Models `wg::waiter`.
class waiter {
public:
    /// Sleeps until something can be read, until the deadline, or until `wake`. Returns: what can be read.
    readiness wait(instant deadline) noexcept;

    /// Optional (`wg::waiter_with_busy_poll`). As `wait`, but polls for `busy_poll` before it sleeps, see
    /// `engine::busy_poll`.
    readiness wait(instant deadline, duration busy_poll) noexcept;

    /// Ends the `wait` that runs, or else the next one. Any thread.
    void wake() noexcept;
};

/// @anchor threads_promises
/// Models `wg::threads`. Only the types and static members are used, never an object.
class threads {
public:
    /// Whether several threads may use one device.
    static constexpr bool parallel = true;

    /// Can be empty, with functions that do nothing, if not `parallel`. Default-constructible; neither copied nor
    /// moved.
    class mutex {
    public:
        /// Waits until no other thread has the mutex.
        void lock() noexcept;
        /// Lets the next thread have the mutex.
        void unlock() noexcept;
    };

    /// Optional (`wg::threads_with_cell`); `workers` need it. A number, 0 at first, that threads can wait on. All
    /// operations are sequentially consistent. Any thread.
    class cell {
    public:
        /// Returns: the number.
        std::uint32_t load() noexcept;
        /// Changes the number, and wakes all threads that wait.
        void store(std::uint32_t value) noexcept;
        /// Returns when the number is not `old`, or earlier.
        void wait(std::uint32_t old) noexcept;
    };

    /// Optional (`wg::threads_with_thread`); `workers` need it. The destructor waits until the thread has ended.
    class thread {
    public:
        /// Runs `Work(context)` in a new thread. Called once. Returns: false, if the host has no threads left.
        template <auto Work, class Context> bool start(Context& context) noexcept;
    };

    /// Optional (`wg::threads_with_give_way`). Lets other threads that wait for this processor run first.
    static void give_way() noexcept;
};

/// @anchor pool_promises
/// Models `wg::pool_of`: memory for objects of type `T`.
template <class T> class pool {
public:
    /// Returns: a new object, default-initialised; nullptr, if there is no room.
    T* acquire() noexcept;
    /// Destroys an object of this pool. Its memory is used again.
    void release(T* object) noexcept;
    /// Returns: true, if the next `count` calls of `acquire` will succeed.
    bool reserve(std::size_t count) noexcept;
};

/// @anchor array_promises
/// Models `wg::array_of`: elements in a row. Can be moved, by construction and by assignment.
template <class T> class array {
public:
    /// Replaces all elements by `count` value-initialised elements; bytes may have any value.
    /// Returns: false, with nothing changed, if there is no room.
    bool resize(std::size_t count) noexcept;
    /// Returns: the elements. Valid until the next `resize`.
    std::span<T> view() noexcept;
};

/// @anchor storage_promises
/// Models `wg::storage` and `wg::engine_storage`: a device's memory and limits. Used under the device's lock.
class storage {
public:
    /// A pool of `Limit` objects at most; 0: no limit.
    template <class T, std::size_t Limit> class pool : public archetypes::pool<T> {
    public:
        /// Takes memory from `from`, which outlives the pool.
        explicit pool(storage& from) noexcept;
    };
    /// As `pool`, for objects that hold secrets: memory of a region that a host can lock and keep out of dumps. Memory
    /// is wiped before it is given out and when it is given back.
    template <class T, std::size_t Limit> class secret_pool : public archetypes::pool<T> {
    public:
        /// Takes memory from `from`, which outlives the pool.
        explicit secret_pool(storage& from) noexcept;
    };
    /// An array of `Limit` elements at most; 0: no limit.
    template <class T, std::size_t Limit> class array : public archetypes::array<T> {
    public:
        /// Takes memory from `from`, which outlives the array.
        explicit array(storage& from) noexcept;
    };

    /// Peers of the device; 0: no limit.
    static constexpr std::size_t max_peers = 0;
    /// Allowed IPs of all peers together; 0: no limit.
    static constexpr std::size_t max_allowed_ips = 0;
    /// Slots for packets that wait for a session, all peers together; 0: no limit. A slot takes 2048 bytes; it has room
    /// for 2028 bytes of a packet where pointers have 8 bytes, and for 2036 where they have 4.
    static constexpr std::size_t max_staged_packets = 2048;
    /// Packets of one peer that wait for a session; the oldest is dropped first.
    static constexpr std::size_t max_staged_packets_per_peer = 128;
    /// Handshake messages that wait: a power of two. handshake_queue.hpp has the part of it that is "under load".
    static constexpr std::size_t max_queued_handshakes = 4096;
    /// Source addresses whose handshake messages are counted: a power of two, at least 4.
    static constexpr std::size_t max_limited_sources = 8192;
    /// Counters of the replay window (whitepaper 5.4.6): a power of two, 32-65536.
    static constexpr std::size_t replay_bits = 8192;
    /// An engine needs it. Packets in one step, at least 1; `small_capacity` has 1, `host_capacity` 180.
    static constexpr std::size_t batch = 180;
    /// An engine needs it. The greatest MTU in bytes that an engine has buffers for; 0: buffers grow. If a packet of
    /// that size fits into one slot, the device relies on that, and drops longer packets that would wait.
    static constexpr std::size_t max_mtu_bytes = 0;
};

/// @anchor observer_promises
/// Models `wg::observer`. `event` and `packet` never get a secret of the device.
class observer {
public:
    /// Whether events are reported. If false, the calls are removed at compile time.
    static constexpr bool enabled = true;

    /// Something happened. `peer_number`: the peer, or `no_peer_number`. `value`: see `event_id`. Called outside the
    /// device's lock, by the thread that caused the event; several threads at once if `threads::parallel`.
    void event(event_id id, std::uint32_t peer_number, std::uint64_t value) noexcept;

    /// Optional (`wg::observer_with_key`). Called instead, with the peer's public key; the key is zero if the event
    /// concerns no peer, or a peer that was removed.
    void event(event_id id, std::uint32_t peer_number, std::uint64_t value, public_key const& key) noexcept;

    /// Optional (`wg::observer_with_packets`). A packet or a message passed or was dropped; `enabled` has no effect on
    /// it. Called under the device's lock, because the packet changes after the call: it must not call the device, and
    /// returns soon. What is seen, and when:
    /// - an inner packet, outbound: after its peer was looked up. `why`: ok, staged, or the reason of the drop. If the
    ///   packet is answered by an ICMP error, the error is seen in its place: inbound, with the reason.
    /// - an outer message, outbound: after it was given to the socket. `why`: ok, or why it was not sent.
    /// - an outer message, inbound: before it is opened. `why`: ok, queued for a handshake message, or the reason of
    ///   the drop. A message that cannot be opened is seen once more, with `decryption_failed` and its header only.
    /// - an inner packet, inbound: after it was opened. `why`: ok, or the reason of the drop.
    void packet(seen_packet const& seen) noexcept;

#ifdef WG_KEY_LOG
    /// Optional (`wg::observer_with_secrets`), only with the macro WG_KEY_LOG. This device has made an ephemeral key
    /// for an initiation or a response. Called under the device's lock. The secrets are valid during the call.
    void handshake(handshake_secrets const& secrets) noexcept;
#endif
};

/// @anchor snapshot_detector_promises
/// Models `wg::snapshot_detector`. An engine whose bundle names one has one object of it, which all its threads use at
/// the same time. Sessions are dropped when the generation has changed: at the start of each step, before received
/// datagrams are opened, and before sealed datagrams are sent.
class snapshot_detector {
public:
    /// Called at the start of each step, with the time. May look for a suspend, which changes the generation.
    void look(instant now) noexcept;

    /// Returns: a number that is another one after the machine was suspended, restored from a snapshot or cloned. The
    /// number must be new before any other instruction of the restored machine runs, because a step that has begun may
    /// send at once. Costs a memory read: it is called for each batch of packets.
    std::uint64_t generation() noexcept;
};

/// @anchor ratchet_storage_promises
/// Models `wg::ratchet_storage`. Keeps a secret record of `ratchet_record_bytes` for a peer over a restart. A record
/// that was replaced or erased must not be readable afterwards, as far as the medium permits. `store` is called by
/// the thread that calls `on_deadline`, outside the device's lock; the others by the thread that configures.
class ratchet_storage {
public:
    /// Reads the record of a peer into `to`. Returns: false if there is none.
    bool load(public_key const& peer, std::span<byte, ratchet_record_bytes> to) noexcept;
    /// Replaces the record of a peer. After a loss of power there is the old record or the new one. Returns: false if
    /// the record could not be written; the device tries again after the next session begins.
    bool store(public_key const& peer, std::span<byte const, ratchet_record_bytes> from) noexcept;
    /// Erases the record of a peer, if there is one.
    void erase(public_key const& peer) noexcept;
};

/// Models `wg::policies` and `wg::engine_policies`: a bundle. A device needs the first eight.
struct policies {
    using hash = archetypes::hash_backend;           ///< BLAKE2s
    using dh = archetypes::dh_backend;               ///< X25519
    using aead = archetypes::aead_backend;           ///< ChaCha20-Poly1305
    using clock_source = archetypes::clock_source;   ///< time
    using random_source = archetypes::random_source; ///< random bytes
    using threads = archetypes::threads;             ///< mutexes and threads
    using storage = archetypes::storage;             ///< memory and limits
    using observer = archetypes::observer;           ///< a log of events
    using tun_device = archetypes::tun_device;       ///< the host's packets; for an engine
    using udp_socket = archetypes::udp_socket;       ///< the network; for an engine
    using waiter = archetypes::waiter;               ///< sleep until there is work; for an engine
    using snapshot_detector =
        archetypes::snapshot_detector;                   ///< optional: suspends and restored snapshots; for an engine
    using ratchet_storage = archetypes::ratchet_storage; ///< optional: keeps ratchets of preshared keys
};

} // namespace archetypes

}} // namespace wg::WG_ABI

#endif
