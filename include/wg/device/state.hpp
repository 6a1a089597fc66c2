// SPDX-License-Identifier: BSL-1.0
// The state of a device: policies, tables, counters and events, with the operations that all parts of a device share.
// Folder: device; guarded by the device's lock.
#ifndef WG_DEVICE_STATE_HPP
#define WG_DEVICE_STATE_HPP

#include "../policy.hpp"
#include "handshake_queue.hpp"
#include "job.hpp"
#include "peer_table.hpp"
#include "rate_limiter.hpp"

#include <tuple>

namespace wg { inline namespace WG_ABI {

/// The `ratchet_storage` of a bundle, or an empty type.
template <class Policies> struct ratchet_storage_of {
    /// The type.
    struct type {};
};
template <policies_with_ratchet Policies> struct ratchet_storage_of<Policies> {
    using type = typename Policies::ratchet_storage; ///< the policy
};

/// The `pq_kem` of a bundle, or an empty type.
template <class Policies> struct pq_kem_of {
    /// The type.
    struct type {};
};
template <policies_with_exchange Policies> struct pq_kem_of<Policies> {
    using type = typename Policies::pq_kem; ///< the policy
    static_assert(exchange_kem<type>, "pq_kem: not a key encapsulation, see protocol/pq_exchange.hpp");
};

/// All members of a device. Its parts are static functions over this state.
template <policies Policies> struct device_state {
    using observer_type = typename Policies::observer; ///< the observer policy
    using storage_type = typename Policies::storage;   ///< the storage policy
    /// The optional policy that stores ratchets.
    using ratchet_storage_type = typename ratchet_storage_of<Policies>::type;
    using peer_type = peer<Policies>;                      ///< a peer
    using keypair_type = typename peer_type::keypair_type; ///< a session
    using job_type = job<Policies>;                        ///< a packet between two steps
    /// Whether there are counters.
    static constexpr bool counts = !hostless || observer_type::enabled; ///< on a bare node, jobs have a status instead
    /// Whether peers are searched one by one.
    static constexpr bool linear = is_linear(storage_type::max_peers);
    /// Whether the rate limiter searches its sources one by one.
    static constexpr bool linear_limiter = is_linear(storage_type::max_limited_sources);

    /// The device's own secrets. They lie in the storage's region for secrets.
    struct own_secrets : identity {
        cookie_checker<Policies> checker; ///< checks macs, and makes cookies

        /// The device's static keys.
        identity& mine() noexcept { return *this; }
    };

    /// The instances of the policies, for the constructor. (clang 16 crashes where a call's result initialises an empty
    /// member in place.)
    struct parts {
        typename Policies::hash hash;            ///< BLAKE2s
        typename Policies::dh dh;                ///< X25519
        typename Policies::aead aead;            ///< ChaCha20-Poly1305
        typename Policies::clock_source clock;   ///< time
        typename Policies::random_source random; ///< random bytes
        observer_type observer;                  ///< events
        storage_type memory;                     ///< memory
        ratchet_storage_type ratchet_records;    ///< ratchets over a restart
    };

    /// The number of policies of the bundle that have this type.
    template <class Type>
    static constexpr int roles_of =
        std::same_as<Type, typename Policies::hash> + std::same_as<Type, typename Policies::dh> +
        std::same_as<Type, typename Policies::aead> + std::same_as<Type, typename Policies::clock_source> +
        std::same_as<Type, typename Policies::random_source> + std::same_as<Type, observer_type> +
        std::same_as<Type, storage_type> + std::same_as<Type, ratchet_storage_type>;

    /// Assigns the given instances, in any order, to their policies. Policies without an instance are
    /// default-constructed. If several policies have the same type, the instance is given once, and copied.
    template <class... Given> static parts choose(Given&... given) noexcept {
        static_assert(((roles_of<Given> != 0) && ...), "an argument is no policy of this bundle: name its type there");
        static_assert(((roles_of<Given> <= 1 || std::copy_constructible<Given>)&&...),
                      "an argument is several policies of this bundle and cannot be copied");
        return {take_or_make<typename Policies::hash>(given...),
                take_or_make<typename Policies::dh>(given...),
                take_or_make<typename Policies::aead>(given...),
                take_or_make<typename Policies::clock_source>(given...),
                take_or_make<typename Policies::random_source>(given...),
                take_or_make<observer_type>(given...),
                take_or_make<storage_type>(given...),
                take_or_make<ratchet_storage_type>(given...)};
    }

    /// Takes the policies; see `choose`. `own` is nullptr if there was no memory.
    explicit device_state(parts&& from) noexcept
        : with{std::move(from.hash), std::move(from.dh), std::move(from.aead)}, clock(std::move(from.clock)),
          random(std::move(from.random)), observer(std::move(from.observer)), memory(std::move(from.memory)),
          ratchet_records(std::move(from.ratchet_records)), peers(memory, random), waiting(memory), limiter(memory),
          cookie_limiter(memory), secrets(memory), staged(memory) {
        if constexpr (policies_with_exchange<Policies>) exchange_interval = seconds(3600);
        own = secrets.acquire();
    }
    device_state(device_state const&) = delete;
    device_state& operator=(device_state const&) = delete;
    ~device_state() {
        for (peer_type* p = peers.first(); p != nullptr; p = p->next) {
            staged.drop_all(p->staged);
            end_exchange(*p);
        }
        if (own != nullptr) secrets.release(own);
    }

    // --- jobs

    /// Resets all members of a job except `data`, `tos` and `where`.
    WG_OUTLINE static void begin(job_type& j, bool outbound) noexcept {
        j.keys = nullptr;
        j.owner = nullptr;
        j.next = disposition::drop;
        j.why = status::ok;
        j.outbound = outbound;
        j.has_data = false;
    }

    /// Makes the window the first `size` bytes of the job's buffer. The buffer has at least `size` bytes.
    static void take_room(job_type& j, std::size_t size) noexcept {
        j.data = packet({j.data.buffer, j.data.capacity}, 0, size);
    }
    /// As `take_room`. Returns: false, and changes nothing, if the buffer has fewer bytes.
    static bool room_for(job_type& j, std::size_t size) noexcept {
        if (j.data.capacity < size) return false;
        take_room(j, size);
        return true;
    }

    /// Addresses an outbound message to `to`. A message with `keys` is still in clear: `crypt` seals it, and sets its
    /// disposition to send.
    WG_OUTLINE void send(job_type& j, peer_type& to, keypair_type* keys) noexcept {
        j.where = to.where;
        j.next = keys == nullptr ? disposition::send : disposition::drop;
        j.why = status::ok;
        j.outbound = true;
        peers.acquire(j, to, keys);
    }

    /// Drops a job and counts the reason.
    WG_OUTLINE void drop(job_type& j, status why) noexcept {
        j.next = disposition::drop;
        j.why = why;
        count(why, j.owner);
    }

    // --- counters and events

    /// Counts a status, and reports it if a packet was lost. `owner` is nullptr if no peer is known.
    WG_OUTLINE void count(status why, [[maybe_unused]] peer_type const* owner) noexcept {
        if constexpr (counts) ++counters[static_cast<std::size_t>(why)];
        if constexpr (!observer_type::enabled) return;
        bool const lost = why != status::staged && why != status::queued && why != status::keepalive &&
                          why != status::cookie_sent && why != status::exchange_message;
        if (lost) report(event_id::dropped, owner, static_cast<std::uint64_t>(why));
    }

    /// Counts and reports a datagram that the socket did not send.
    void note_failed([[maybe_unused]] job_type const& j, [[maybe_unused]] peer_type const& to) noexcept {
        if constexpr (counts) ++counters[static_cast<std::size_t>(j.why)];
        if constexpr (!hostless)
            report(event_id::send_failed, &to, static_cast<std::uint64_t>(j.why) | std::uint64_t{j.error} << 8);
    }

    /// Stores an event. At the end of the call, the lock is released, and then the observer is called for each stored
    /// event. A call stores at most `max_reported` events; later ones are lost.
    void report(event_id id, peer_type const* owner, std::uint64_t value = 0) noexcept {
        if constexpr (observer_type::enabled) {
            if (reported_count == max_reported) return;
            reported_event& e = reported[reported_count++];
            e.id = id;
            e.number = owner != nullptr ? owner->number : no_peer_number;
            e.value = value;
            if constexpr (names_peers) // the key of a removed peer is gone
                e.key = owner != nullptr && owner->secrets != nullptr ? owner->key() : public_key{};
        }
    }

    /// Reports when load begins or ends.
    void watch_load([[maybe_unused]] instant_argument now) noexcept {
        if constexpr (!observer_type::enabled) return;
        bool const loaded = waiting.under_load(now);
        if (std::exchange(was_under_load, loaded) != loaded) report(event_id::under_load, nullptr, loaded);
    }

    // --- peers

    /// The timestamp of the last initiation to a peer. A compact device has one for all peers, which saves 12 bytes a
    /// peer. Its timestamps do not run ahead of the clock either; see `handshakes`.
    byte_array<timestamp_bytes>& last_label_to([[maybe_unused]] peer_type& p) noexcept {
        if constexpr (compact) return last_label;
        else return p.last_label;
    }

    /// Makes the path of an authenticated packet the path to its peer.
    //= wp 2.1: the endpoint is where the last authenticated packet came from
    WG_OUTLINE void roam(peer_type& p, path const& to) noexcept {
        if (p.where.remote != to.remote) report(event_id::endpoint_changed, &p, to.remote.port);
        p.where = to;
    }

    // The transmit queue: peers with messages to send. With a linear search, the flag of each peer is enough.

    /// The first peer of the transmit queue; nullptr: none.
    peer_type* next_for_transmit() noexcept {
        if constexpr (!linear) return first_for_transmit;
        peer_type* p = peers.first();
        while (p != nullptr && !p->queued_for_transmit) p = p->next;
        return p;
    }
    /// Adds a peer to the end of the transmit queue, if it is not queued yet.
    void enqueue_for_transmit(peer_type& p) noexcept {
        if (std::exchange(p.queued_for_transmit, true) || linear) return;
        p.before_for_transmit = last_for_transmit;
        (last_for_transmit != nullptr ? last_for_transmit->next_for_transmit : first_for_transmit) = &p;
        last_for_transmit = &p;
    }
    /// Removes a peer from the transmit queue, if it is queued.
    void dequeue_for_transmit(peer_type& p) noexcept {
        if (!std::exchange(p.queued_for_transmit, false) || linear) return;
        peer_type *const before = p.before_for_transmit, *const after = p.next_for_transmit;
        (before != nullptr ? before->next_for_transmit : first_for_transmit) = after;
        (after != nullptr ? after->before_for_transmit : last_for_transmit) = before;
        p.before_for_transmit = p.next_for_transmit = nullptr;
    }
    /// Starts a new attempt of a handshake: `poll_transmit` sends an initiation.
    WG_OUTLINE void want_initiation(peer_type& p) noexcept {
        p.timers.new_attempt();
        p.wants_initiation = true;
        enqueue_for_transmit(p);
    }
    /// Makes `poll_transmit` send a keepalive, or an initiation where there is no session.
    WG_OUTLINE void want_keepalive(peer_type& p) noexcept {
        p.timers.new_attempt();
        p.wants_keepalive = true;
        enqueue_for_transmit(p);
    }

    // Staged packets go to the network before later packets, also where several threads send. Packets that a round of
    // `poll_transmit` took may not be sent yet until the next round begins.

    /// Begins a round of `poll_transmit`: the packets of the last round have been sent.
    void begin_transmit_round() noexcept {
        if constexpr (Policies::threads::parallel) ++transmit_round;
    }
    /// Notes that this round took a staged packet of `p`.
    void note_unstaged([[maybe_unused]] peer_type& p) noexcept {
        if constexpr (Policies::threads::parallel) p.unstaged_in = transmit_round;
    }
    /// Whether staged packets of `p` have not been sent yet.
    bool has_waiting(peer_type const& p) const noexcept {
        if constexpr (Policies::threads::parallel)
            if (p.unstaged_in == transmit_round && transmit_round != 0) return true;
        return !p.staged.empty();
    }

    /// Ends the handshake and the sessions of a peer, wipes their keys, and drops its staged packets.
    void zero_keys(peer_type& p) noexcept {
        peers.forget(p.exchange());
        peers.retire_all(p);
        staged.drop_all(p.staged);
        end_exchange(p);
    }
    /// Ends the exchange of preshared keys that is under way, because its session ends. The keys stay.
    void end_exchange([[maybe_unused]] peer_type& p) noexcept {
        if constexpr (policies_with_exchange<Policies>) {
            peer_exchange& of = p.secrets->exchanged;
            of.messages.clear();
            of.act_at = instant::never();
            staged.drop_all(of.outgoing);
        }
    }

    /// Puts a peer into the deadline queue after its timers changed.
    void reschedule(peer_type& p) noexcept { peers.deadlines().schedule(p, p.next_deadline()); }

    /// A random delay in [0, `rekey_timeout_jitter_ms`) milliseconds; 0 if there are no random bytes.
    WG_OUTLINE std::int32_t jitter_ms() noexcept {
        byte_array<4> raw{};
        if (!random.fill(raw)) return 0;
        return static_cast<std::int32_t>(load_le32(raw.data()) % rekey_timeout_jitter_ms);
    }

    /// Whether the observer takes the peer's public key too.
    static constexpr bool names_peers = observer_with_key<observer_type>;
    /// An event of the present call. Not initialised, because most calls have none.
    struct reported_event {
        event_id id;          ///< see `event_id`
        std::uint32_t number; ///< of the peer, or `no_peer_number`
        std::uint64_t value;  ///< see `event_id`
        /// Of the peer; zero without one.
        [[no_unique_address]] std::conditional_t<names_peers, public_key, empty_member<1>> key;
    };
    /// Events of one call.
    static constexpr std::size_t max_reported = observer_type::enabled ? 64 : 0;

    primitives<Policies> with;                                     ///< the cryptography
    [[no_unique_address]] typename Policies::clock_source clock;   ///< time
    [[no_unique_address]] typename Policies::random_source random; ///< random bytes
    [[no_unique_address]] observer_type observer;                  ///< called without the lock
    [[no_unique_address]] typename Policies::threads::mutex mutex; ///< the device's lock
    storage_type memory;                                           ///< where memory comes from
    [[no_unique_address]] ratchet_storage_type ratchet_records;    ///< called without the lock to store

    // Members that are small and used most come first, because small processors reach them with short instructions.
    bool up = true;                          ///< see `device::up`
    bool was_under_load = false;             ///< as reported
    bool congestion_drop = true;             ///< see `device::set_congestion_drop`
    bool congestion_reported = false;        ///< the observer was called
    std::uint16_t listen_port = 0;           ///< of the socket
    own_secrets* own;                        ///< nullptr: there was no memory, see `device::ready`
    peer_type* first_for_transmit = nullptr; ///< not used with a linear search
    peer_type* last_for_transmit = nullptr;  ///< not used with a linear search
    std::size_t mtu = default_mtu_bytes;     ///< of the TUN device
    [[no_unique_address]] typename peer_type::round_number transmit_round{}; ///< counts calls of `poll_transmit`
    std::uint32_t fwmark = 0;                                                ///< 0: none
    /// Compact: the timestamp of the last initiation to any peer. Else each peer has its own, and this is the greatest
    /// one of the removed peers: a peer may be removed and added again before the clock has moved on.
    byte_array<timestamp_bytes> last_label{};
    peer_table<Policies> peers;            ///< all peers and sessions
    handshake_queue<storage_type> waiting; ///< handshake messages, for `process_handshakes`
    rate_limiter<storage_type> limiter;    ///< of sources that have proven a cookie
    /// Of sources that are sent cookies.
    [[no_unique_address]] std::conditional_t<linear_limiter, empty_member<10>, rate_limiter<storage_type>>
        cookie_limiter;
    typename storage_type::template secret_pool<own_secrets, 1> secrets; ///< holds `own`
    staging<storage_type> staged;                                        ///< packets that wait for a session

    /// A ratchet is to be stored.
    [[no_unique_address]] std::conditional_t<policies_with_ratchet<Policies>, bool, empty_member<13>>
        unsaved_ratchets{};
    /// The length of an epoch for new peers, in seconds; 0: no ratchet.
    [[no_unique_address]] std::conditional_t<policies_with_ratchet<Policies>, std::uint32_t, empty_member<14>>
        ratchet_s{};
    [[no_unique_address]] typename pq_kem_of<Policies>::type kem{}; ///< of exchanges of preshared keys
    /// A key that an exchange made is replaced after that time.
    [[no_unique_address]] std::conditional_t<policies_with_exchange<Policies>, duration, empty_member<15>>
        exchange_interval{};

    /// The token bucket of ICMP answers: the time that has passed since then is the number of answers that are free.
    [[no_unique_address]] std::conditional_t<hostless, empty_member<12>, instant> unreachables_since{};
    /// How many packets or calls ended with each status.
    [[no_unique_address]] std::conditional_t<counts, std::array<std::uint64_t, device_status_count>, empty_member<2>>
        counters{};
    /// The events of the present call.
    [[no_unique_address]] std::array<reported_event, max_reported> reported;
    /// How many of them there are.
    [[no_unique_address]] std::conditional_t<max_reported != 0, std::size_t, empty_member<1>> reported_count{};

private:
    template <class Given> static decltype(auto) take(Given& given) noexcept {
        if constexpr (roles_of<Given> > 1) return std::as_const(given);
        else return std::move(given);
    }

    template <class Wanted, class... Given> static Wanted take_or_make([[maybe_unused]] Given&... given) noexcept {
        if constexpr ((std::same_as<Wanted, Given> || ...)) return take(std::get<Wanted&>(std::tie(given...)));
        else return Wanted{};
    }
};

/// Holds a device's lock for a call. After the call it releases the lock, and then calls the observer for each event.
template <policies Policies> class locked {
    using state_type = device_state<Policies>;

public:
    /// Locks the device of `state`.
    explicit locked(state_type& state) noexcept : state_(state) { state_.mutex.lock(); }
    locked(locked const&) = delete;
    locked& operator=(locked const&) = delete;
    ~locked() {
        if constexpr (Policies::observer::enabled) {
            decltype(state_.reported) events; // only the first `count` are initialised
            std::size_t const count = std::exchange(state_.reported_count, 0);
            std::copy_n(state_.reported.begin(), count, events.begin());
            state_.mutex.unlock();
            for (std::size_t i = 0; i < count; ++i) {
                if constexpr (state_type::names_peers)
                    state_.observer.event(events[i].id, events[i].number, events[i].value, events[i].key);
                else state_.observer.event(events[i].id, events[i].number, events[i].value);
            }
        } else {
            state_.mutex.unlock();
        }
    }

private:
    state_type& state_;
};

}} // namespace wg::WG_ABI

#endif
