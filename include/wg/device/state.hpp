// SPDX-License-Identifier: BSL-1.0
// What a device is made of: its policies, its tables, its counters; and what all its parts do with them. Layer 4;
// guarded by the device's lock.
#ifndef WG_DEVICE_STATE_HPP
#define WG_DEVICE_STATE_HPP

#include "../policy.hpp"
#include "handshake_queue.hpp"
#include "job.hpp"
#include "peer_table.hpp"
#include "rate_limiter.hpp"

#include <tuple>

namespace wg { inline namespace WG_ABI {

template <policies Policies> struct device_state {
    using observer_type = typename Policies::observer;
    using storage_type = typename Policies::storage;
    using peer_type = peer<Policies>;
    using keypair_type = typename peer_type::keypair_type;
    using job_type = job<Policies>;
    static constexpr bool counts = !hostless || observer_type::enabled; ///< a bare node's jobs say what became of them
    static constexpr bool linear = is_linear(storage_type::max_peers);
    static constexpr bool linear_limiter = is_linear(storage_type::max_limited_sources);

    /// The device's own secrets, in the storage's region.
    struct own_secrets : identity {
        cookie_checker<Policies> checker;

        identity& mine() noexcept { return *this; }
    };

    /// The instances of the policies on their way in. (clang 16 crashes where a call's result initialises an empty
    /// member in place.)
    struct parts {
        typename Policies::hash hash;
        typename Policies::dh dh;
        typename Policies::aead aead;
        typename Policies::clock_source clock;
        typename Policies::random_source random;
        observer_type observer;
        storage_type memory;
    };

    /// How many policies of the bundle are of this type.
    template <class Type>
    static constexpr int roles_of =
        std::same_as<Type, typename Policies::hash> + std::same_as<Type, typename Policies::dh> +
        std::same_as<Type, typename Policies::aead> + std::same_as<Type, typename Policies::clock_source> +
        std::same_as<Type, typename Policies::random_source> + std::same_as<Type, observer_type> +
        std::same_as<Type, storage_type>;

    /// From instances of policies in any order; those not given are default-constructed. A type that is several
    /// policies is given once and copied.
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
                take_or_make<storage_type>(given...)};
    }

    explicit device_state(parts&& from) noexcept
        : with{std::move(from.hash), std::move(from.dh), std::move(from.aead)}, clock(std::move(from.clock)),
          random(std::move(from.random)), observer(std::move(from.observer)), memory(std::move(from.memory)),
          peers(memory, random), waiting(memory), limiter(memory), cookie_limiter(memory), secrets(memory),
          staged(memory) {
        own = secrets.acquire();
    }
    device_state(device_state const&) = delete;
    device_state& operator=(device_state const&) = delete;
    ~device_state() {
        for (peer_type* p = peers.first(); p != nullptr; p = p->next) staged.drop_all(p->staged);
        if (own != nullptr) secrets.release(own);
    }

    // --- jobs

    WG_OUTLINE static void begin(job_type& j, bool outbound) noexcept {
        j.keys = nullptr;
        j.owner = nullptr;
        j.next = disposition::drop;
        j.why = status::ok;
        j.outbound = outbound;
        j.has_data = false;
    }

    /// Makes the window the first `size` bytes of the job's buffer, which has so many.
    static void take_room(job_type& j, std::size_t size) noexcept {
        j.data = packet({j.data.buffer, j.data.capacity}, 0, size);
    }
    /// The same; false, and unchanged: the buffer is smaller.
    static bool room_for(job_type& j, std::size_t size) noexcept {
        if (j.data.capacity < size) return false;
        take_room(j, size);
        return true;
    }

    /// What has `keys` is still in clear: `crypt` seals it, and only then is it to be sent.
    WG_OUTLINE void send(job_type& j, peer_type& to, keypair_type* keys) noexcept {
        j.where = to.where;
        j.next = keys == nullptr ? disposition::send : disposition::drop;
        j.why = status::ok;
        j.outbound = true;
        peers.acquire(j, to, keys);
    }

    WG_OUTLINE void drop(job_type& j, status why) noexcept {
        j.next = disposition::drop;
        j.why = why;
        count(why, j.owner);
    }

    // --- counters and events

    WG_OUTLINE void count(status why, [[maybe_unused]] peer_type const* whose) noexcept {
        if constexpr (counts) ++counters[static_cast<std::size_t>(why)];
        if constexpr (!observer_type::enabled) return;
        bool const lost =
            why != status::staged && why != status::queued && why != status::keepalive && why != status::cookie_sent;
        if (lost) report(event_id::dropped, whose, static_cast<std::uint64_t>(why));
    }

    /// The socket did not send a job's datagram.
    void note_failed([[maybe_unused]] job_type const& j, [[maybe_unused]] peer_type const& to) noexcept {
        if constexpr (counts) ++counters[static_cast<std::size_t>(j.why)];
        if constexpr (!hostless)
            report(event_id::send_failed, &to, static_cast<std::uint64_t>(j.why) | std::uint64_t{j.error} << 8);
    }

    /// Remembers an event for the end of the call; what is beyond `max_reported` in one call is only counted.
    void report(event_id id, peer_type const* whose, std::uint64_t value = 0) noexcept {
        if constexpr (observer_type::enabled) {
            if (reported_count == max_reported) return;
            reported_event& e = reported[reported_count++];
            e.id = id;
            e.number = whose != nullptr ? whose->number : no_peer_number;
            e.value = value;
            if constexpr (names_peers) // of a removed peer only jobs in flight are left
                e.key = whose != nullptr && whose->secrets != nullptr ? whose->key() : public_key{};
        }
    }

    void watch_load([[maybe_unused]] instant_argument now) noexcept {
        if constexpr (!observer_type::enabled) return;
        bool const loaded = waiting.under_load(now);
        if (std::exchange(was_under_load, loaded) != loaded) report(event_id::under_load, nullptr, loaded);
    }

    // --- peers

    /// The timestamp of the last initiation to a peer. A small device has one for all peers, which saves 12 bytes a
    /// peer; labels do not run ahead of the clock there either, see `next_label`.
    byte_array<timestamp_bytes>& last_label_to([[maybe_unused]] peer_type& p) noexcept {
        if constexpr (compact) return last_label;
        else return p.last_label;
    }

    //= wp 2.1: the endpoint is where the last authenticated packet came from
    WG_OUTLINE void roam(peer_type& who, path const& to) noexcept {
        if (who.where.remote != to.remote) report(event_id::endpoint_changed, &who, to.remote.port);
        who.where = to;
    }

    // Who has something to send: a list, or where there are few, whoever says so.
    peer_type* next_for_transmit() noexcept {
        if constexpr (!linear) return first_for_transmit;
        peer_type* p = peers.first();
        while (p != nullptr && !p->queued_for_transmit) p = p->next;
        return p;
    }
    void enqueue_for_transmit(peer_type& p) noexcept {
        if (std::exchange(p.queued_for_transmit, true) || linear) return;
        p.before_for_transmit = last_for_transmit;
        (last_for_transmit != nullptr ? last_for_transmit->next_for_transmit : first_for_transmit) = &p;
        last_for_transmit = &p;
    }
    void dequeue_for_transmit(peer_type& p) noexcept {
        if (!std::exchange(p.queued_for_transmit, false) || linear) return;
        peer_type *const before = p.before_for_transmit, *const after = p.next_for_transmit;
        (before != nullptr ? before->next_for_transmit : first_for_transmit) = after;
        (after != nullptr ? after->before_for_transmit : last_for_transmit) = before;
        p.before_for_transmit = p.next_for_transmit = nullptr;
    }
    WG_OUTLINE void want_initiation(peer_type& p) noexcept {
        p.timers.new_attempt();
        p.wants_initiation = true;
        enqueue_for_transmit(p);
    }
    WG_OUTLINE void want_keepalive(peer_type& p) noexcept {
        p.timers.new_attempt();
        p.wants_keepalive = true;
        enqueue_for_transmit(p);
    }

    // Packets that waited go to the network before later ones, also where several threads send: until the next round
    // of `poll_transmit` begins, those that the last one took are still on their way.
    void begin_transmit_round() noexcept {
        if constexpr (Policies::threads::parallel) ++transmit_round;
    }
    void note_unstaged([[maybe_unused]] peer_type& p) noexcept {
        if constexpr (Policies::threads::parallel) p.unstaged_in = transmit_round;
    }
    bool has_waiting(peer_type const& p) const noexcept {
        if constexpr (Policies::threads::parallel)
            if (p.unstaged_in == transmit_round && transmit_round != 0) return true;
        return !p.staged.empty();
    }

    void zero_keys(peer_type& p) noexcept {
        peers.forget(p.exchange());
        peers.retire_all(p);
        staged.drop_all(p.staged);
    }

    void reschedule(peer_type& p) noexcept { peers.deadlines().schedule(p, p.timers.next_deadline()); }

    WG_OUTLINE std::int32_t jitter_ms() noexcept {
        byte_array<4> raw{};
        if (!random.fill(raw)) return 0;
        return static_cast<std::int32_t>(load_le32(raw.data()) % rekey_timeout_jitter_ms);
    }

    /// Whether the observer also takes the peer's public key.
    static constexpr bool names_peers = requires(observer_type& o, public_key const& key) {
        o.event(event_id{}, std::uint32_t{}, std::uint64_t{}, key);
    };
    struct reported_event { // not initialised: each call of a device has room for many, and mostly none
        event_id id;
        std::uint32_t number;
        std::uint64_t value;
        [[no_unique_address]] std::conditional_t<names_peers, public_key, empty_member<1>> key;
    };
    static constexpr std::size_t max_reported = observer_type::enabled ? 64 : 0;

    primitives<Policies> with;
    [[no_unique_address]] typename Policies::clock_source clock;
    [[no_unique_address]] typename Policies::random_source random;
    [[no_unique_address]] observer_type observer;
    [[no_unique_address]] typename Policies::threads::mutex mutex;
    storage_type memory;

    // What is small and used most lies first, where small processors reach it with short instructions.
    bool up = true;
    bool was_under_load = false;
    bool congestion_drop = true;      ///< see `device::set_congestion_drop`
    bool congestion_reported = false; ///< the observer has been told
    std::uint16_t listen_port = 0;
    own_secrets* own;
    peer_type* first_for_transmit = nullptr; // of few peers neither is used
    peer_type* last_for_transmit = nullptr;
    std::size_t mtu = default_mtu_bytes;
    [[no_unique_address]] typename peer_type::round_number transmit_round{};
    std::uint32_t fwmark = 0;
    /// With WG_COMPACT the timestamp of the last initiation to any peer. Elsewhere each peer has its own, and this is
    /// the greatest one of a peer that was removed: the peer may be added again before the clock has moved on.
    byte_array<timestamp_bytes> last_label{};
    peer_table<Policies> peers;
    handshake_queue<storage_type> waiting;
    rate_limiter<storage_type> limiter; ///< of sources that have proven a cookie
    /// Of sources that are sent cookies.
    [[no_unique_address]] std::conditional_t<linear_limiter, empty_member<10>, rate_limiter<storage_type>>
        cookie_limiter;
    typename storage_type::template secret_pool<own_secrets, 1> secrets;
    staging<storage_type> staged;

    /// The bucket of ICMP answers: what has not been used since.
    [[no_unique_address]] std::conditional_t<hostless, empty_member<12>, instant> unreachables_since{};
    [[no_unique_address]] std::conditional_t<counts, std::array<std::uint64_t, status_count>, empty_member<2>>
        counters{};
    [[no_unique_address]] std::array<reported_event, max_reported> reported;
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

/// Holds a device's lock for a call, and tells the observer after it what happened.
template <policies Policies> class locked {
    using state_type = device_state<Policies>;

public:
    explicit locked(state_type& state) noexcept : state_(state) { state_.mutex.lock(); }
    locked(locked const&) = delete;
    locked& operator=(locked const&) = delete;
    ~locked() {
        if constexpr (Policies::observer::enabled) {
            decltype(state_.reported) told; // filled as far as there is something to tell
            std::size_t const count = std::exchange(state_.reported_count, 0);
            std::copy_n(state_.reported.begin(), count, told.begin());
            state_.mutex.unlock();
            for (std::size_t i = 0; i < count; ++i) {
                if constexpr (state_type::names_peers)
                    state_.observer.event(told[i].id, told[i].number, told[i].value, told[i].key);
                else state_.observer.event(told[i].id, told[i].number, told[i].value);
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
