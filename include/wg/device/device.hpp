// SPDX-License-Identifier: BSL-1.0
// A whole WireGuard interface without input and output (whitepaper 2, 5, 6). Folder: device.
//
// The caller gives a device packets and the time, and gets packets back. A packet passes these steps; the expensive one
// stands between the others:
//
//     prepare_outbound -> crypt -> (send to the network) -> complete
//     prepare_inbound  -> crypt -> complete -> (write to the TUN device)
//
// Messages that the device begins itself come from `process_handshakes` (answers) and `poll_transmit` (initiations,
// keepalives, staged packets). They are outbound jobs: they pass `crypt`, the network and `complete` as well.
//
// Threads: any number at once if `Policies::threads` is parallel. Each call locks the device once for all its jobs;
// `crypt` takes no lock; `process_handshakes` and `poll_transmit` hold the lock for one or two DH operations a job. One
// thread uses a job at a time. Packets of a flow stay in order if their jobs are prepared and completed in order.
//
// The parts of a device (outbound.hpp, inbound.hpp, handshakes.hpp) are static functions over `device_state`.
// `settings` is an object, because it collects DH operations during a call.
#ifndef WG_DEVICE_DEVICE_HPP
#define WG_DEVICE_DEVICE_HPP

#include "../policy/check.hpp"
#include "capture.hpp"
#include "crypt.hpp"
#include "inbound.hpp"
#include "outbound.hpp"
#include "settings.hpp"

namespace wg { inline namespace WG_ABI {

/// A WireGuard interface: peers, sessions, timers and cryptokey routing, without input and output.
template <class Policies> class device {
    static_assert(policies<Policies>, "the bundle lacks a policy or a member that a device needs: see policy.hpp");
    static_assert(sizeof(check_policies<Policies>) != 0);
    using storage = typename Policies::storage;
    using peer_type = peer<Policies>;

public:
    using job_type = job<Policies>; ///< one packet or datagram between two steps

    /// The most handshake messages with DH operations that one call processes. The device is locked during the call, so
    /// the number is small.
    static constexpr std::size_t handshakes_at_once = 8;

    /// Makes a device from instances of its policies, in any order. Policies that are not given are
    /// default-constructed.
    template <class... Instances>
    explicit device(Instances... given) noexcept : state_(device_state<Policies>::choose(given...)) {}
    device(device const&) = delete;
    device& operator=(device const&) = delete;
    /// All jobs have been completed.
    ~device() { WG_ASSERT(!state_.peers.has_jobs()); }

    /// Whether there was memory for the device's own secrets. If not, no other member may be called.
    bool ready() const noexcept { return state_.own != nullptr; }

    /// The clock of this device.
    typename Policies::clock_source& clock() noexcept { return state_.clock; }
    /// The AEAD of this device, for `crypt`.
    typename Policies::aead const& aead() const noexcept { return state_.with.aead; }
    /// The storage that the device's memory comes from.
    storage& memory() noexcept { return state_.memory; }

    // --- packets

    /// Finds the peer and the session for packets from the TUN device. The `data` of each job is an IP packet with
    /// `packet_headroom_bytes` before it; after it, `packet_tailroom_bytes`, or as much as a message of the MTU's size
    /// needs. Each job then has one of these states:
    /// - keys are set: a message in clear, which `crypt` seals. Until then, `next` is drop and `why` is ok.
    /// - `next` is deliver: the packet was replaced by an ICMP answer to the host.
    /// - `next` is drop: `why` says the reason; staged means that the packet waits for a session.
    void prepare_outbound(job_list<job_type> jobs, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        for (job_type& j : jobs) {
            outbound<Policies>::prepare(state_, j, now);
            capture<Policies>::prepared_outbound(state_, j);
        }
    }

    /// Finds the session for datagrams from the network, and queues handshake messages. The `data` of each job is a
    /// datagram; the caller sets `where` and `tos`.
    void prepare_inbound(job_list<job_type> jobs, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        typename inbound<Policies>::mac1_cache cache{jobs};
        for (job_type& j : jobs) {
            inbound<Policies>::prepare(state_, j, cache, now);
            capture<Policies>::prepared_inbound(state_, j);
        }
    }

    /// Seals or opens each job, in place. Called once for each job, from any thread, in any order and batch. After
    /// it, `next` of each sealed job is send.
    static void crypt(job_list<job_type> jobs, typename Policies::aead const& aead) noexcept {
        packet_crypt<Policies>::run(jobs, aead);
    }

    /// Ends each job. Inbound: checks the opened message, and sets `next` to deliver or drop. Outbound: accounts for
    /// the sent message (`why` says whether sending failed), so the caller sends before this call. The jobs of a peer
    /// are completed in order.
    void complete(job_list<job_type> jobs, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        for (job_type& j : jobs)
            if (j.owner != nullptr) complete(j, *j.owner, now);
    }

    /// Processes queued handshake messages, and writes the answers into the buffers of `out`, from the front. Each
    /// buffer has at least `response_layout::size` bytes; where the next one is shorter, the messages wait, which
    /// counts as `no_room`. At most `handshakes_at_once` messages cost DH operations.
    /// Returns: the number of answers.
    std::size_t process_handshakes(job_list<job_type> out, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        std::size_t made = 0, heavy = 0, looked_at = 0;
        std::size_t const most_heavy = (std::min)(out.size(), handshakes_at_once), most = 8 * out.size();
        while (made < out.size() && heavy < most_heavy && looked_at < most && state_.waiting.size() != 0) {
            // Each message has at most one answer.
            std::size_t const room =
                buffers_for_answers(out.subspan(made, (std::min)(out.size() - made, most_heavy - heavy)));
            if (room == 0) { // the message waits for a larger buffer
                state_.count(status::no_room, nullptr);
                break;
            }
            auto const done =
                handshakes<Policies>::handle(state_, out.subspan(made), (std::min)(room, most - looked_at), now);
            looked_at += done.messages;
            made += done.answers;
            heavy += done.heavy;
        }
        return made;
    }

    /// Writes initiations, keepalives and staged packets into the buffers of `out`, from the front. Each buffer has at
    /// least the MTU and `transport_overhead_bytes`, and at least `initiation_layout::size`. An initiation or a
    /// keepalive that does not fit is kept; a staged packet that does not fit is dropped. Both count as `no_room`.
    /// The caller sends the messages of a call before the next call: until then, no packet that is prepared later
    /// passes a staged one.
    /// Returns: the number of messages; 0 if there is none, or if the next one does not fit.
    std::size_t poll_transmit(job_list<job_type> out, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        return outbound<Policies>::transmit(state_, out, now);
    }

    // --- time

    /// Returns: the time at which `on_deadline`, `process_handshakes` or `poll_transmit` has work. It is in the past if
    /// there is work now.
    instant next_deadline() noexcept {
        locked<Policies> const lock(state_);
        if (state_.next_for_transmit() != nullptr || state_.waiting.size() != 0) return instant{};
        if constexpr (policies_with_ratchet<Policies>)
            if (state_.unsaved_ratchets) return instant{};
        return state_.peers.deadlines().next();
    }

    /// Runs the timers that are due. Their messages come out of `poll_transmit`. Stores replaced preshared keys, if the
    /// bundle has a `ratchet_storage`.
    void on_deadline(instant_argument now) noexcept {
        run_timers(now);
        if constexpr (policies_with_ratchet<Policies>) save_ratchets();
    }

    // --- configuration

    /// Whether `configure` will accept these changes. Takes the memory for them; changes nothing else.
    /// Returns: ok, invalid, not_supported, too_many_peers, no_memory.
    status admit(std::span<change const> changes) noexcept {
        locked<Policies> const lock(state_);
        return settings<Policies>(state_).admit(changes);
    }

    /// Applies all changes or, if any of them is refused, none. Admits them again after `admit`: the device was not
    /// locked in between, and other threads may have used the memory.
    /// Returns: ok, invalid, not_supported, too_many_peers, no_memory.
    status configure(std::span<change const> changes, instant_argument) noexcept {
        locked<Policies> const lock(state_);
        if (status const why = settings<Policies>(state_).admit(changes); why != status::ok) return why;
        settings<Policies>(state_).apply(changes);
        return status::ok;
    }
    status configure(std::initializer_list<change> changes, instant_argument now) noexcept {
        return configure(std::span(changes.begin(), changes.size()), now);
    }

    /// Sets the private key of a device without peers. Together with `add_peer` it replaces `configure` in programs
    /// with a fixed configuration: a microcontroller then does not contain the code of `configure`.
    void set_private_key(key_view key) noexcept {
        locked<Policies> const lock(state_);
        settings<Policies>(state_).set_first_private_key(key);
    }
    /// Adds a peer; see `set_private_key`.
    /// Returns: ok; invalid if there is a peer with this key, or if the key is this device's own; too_many_peers;
    /// no_memory if the peer was added, but not all of its allowed IPs.
    status add_peer(peer_settings const& of) noexcept {
        locked<Policies> const lock(state_);
        return settings<Policies>(state_).add(of);
    }

    /// As above; the preshared key of the peer is replaced every `ratchet_s` seconds, see `change::ratchet`.
    status add_peer(peer_settings const& of, std::uint32_t ratchet_s) noexcept
        requires policies_with_ratchet<Policies>
    {
        locked<Policies> const lock(state_);
        return settings<Policies>(state_).add(of, ratchet_s);
    }

    /// Sets the ratchet of peers that are added from now on and have no `change::ratchet` of their own: the length of
    /// an epoch in seconds, see `change::ratchet`. 0, the default: none. A peer without a preshared key has no ratchet.
    void set_ratchet(std::uint32_t epoch_s) noexcept
        requires policies_with_ratchet<Policies>
    {
        WG_ASSERT(is_epoch_length(epoch_s));
        locked<Policies> const lock(state_);
        state_.ratchet_s = epoch_s;
    }

    /// A key that an exchange made is replaced when the session is renewed after that time. 0: whenever it is renewed.
    /// The default is an hour.
    void set_exchange_interval(duration interval) noexcept
        requires policies_with_exchange<Policies>
    {
        locked<Policies> const lock(state_);
        state_.exchange_interval = interval;
    }

    /// Reports the configuration and the counters: calls `sink.device(interface_facts)`, then for each peer
    /// `sink.peer(peer_facts)` and, for each of its prefixes, `sink.allowed_ip(ip_prefix)`. The device is locked during
    /// the call.
    template <class Sink> void snapshot(Sink& sink) noexcept {
        locked<Policies> const lock(state_);
        settings<Policies>(state_).snapshot(sink);
    }

    /// Brings the interface up. Peers with a persistent keepalive are sent one.
    //= linux: persistent keepalive goes out at once when it is enabled, and when the interface goes up
    void up() noexcept {
        locked<Policies> const lock(state_);
        if (std::exchange(state_.up, true)) return;
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next)
            if (p->timers.persistent_keepalive_s() != 0) state_.want_keepalive(*p);
    }

    /// Brings the interface down. Ends sessions and handshakes, and drops staged packets; the configuration stays.
    //= linux: an interface that goes down forgets its sessions and sends nothing more
    void down(instant_argument) noexcept {
        locked<Policies> const lock(state_);
        if (!std::exchange(state_.up, false)) return;
        while (state_.waiting.front() != nullptr) state_.waiting.pop();
        while (peer_type* const p = state_.next_for_transmit()) state_.dequeue_for_transmit(*p);
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) {
            p->timers.stop();
            state_.zero_keys(*p);
            p->wants_initiation = p->wants_keepalive = false;
            p->may_initiate_at = {};
        }
    }

    /// Ends all sessions and handshakes, and wipes their keys, because the host was suspended, or restored from a
    /// snapshot: a restored session would use its nonces twice and accept replayed packets. Staged packets stay, and
    /// begin new handshakes; so do peers with a persistent keepalive. Messages that were sealed before the call must
    /// not be sent after it, see `withhold`. An engine with a `snapshot_detector` calls both.
    //= wp 5.4.6: a nonce is used once
    //= linux: a host that resumes from a suspend has no sessions; nor has a restored virtual machine
    void drop_sessions() noexcept {
        locked<Policies> const lock(state_);
        std::uint64_t ended = 0;
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) {
            for (auto const* keys : {p->keypairs.current, p->keypairs.previous, p->keypairs.next})
                ended += keys != nullptr;
            state_.peers.forget(p->exchange());
            state_.peers.retire_all(*p);
            state_.end_exchange(*p);
            p->timers.stop();
            p->wants_initiation = p->wants_keepalive = false;
            p->may_initiate_at = p->may_be_initiated_at = {}; // the restored clock may be behind them
            if (state_.up && !p->staged.empty()) state_.enqueue_for_transmit(*p);
            if (state_.up && p->timers.persistent_keepalive_s() != 0) state_.want_keepalive(*p);
            state_.reschedule(*p);
        }
        state_.report(event_id::sessions_dropped, nullptr, ended);
    }

    /// Marks all jobs that are to be sent as dropped (`session_dropped`). They must still be completed.
    void withhold(job_list<job_type> jobs) noexcept {
        locked<Policies> const lock(state_);
        for (job_type& j : jobs)
            if (j.next == disposition::send) state_.drop(j, status::session_dropped);
    }

    /// Whether the interface is up.
    bool is_up() noexcept {
        locked<Policies> const lock(state_);
        return state_.up;
    }

    /// Sets the MTU of the TUN device in bytes, which padding does not exceed. 0: not known.
    void set_mtu(std::size_t mtu_bytes) noexcept {
        locked<Policies> const lock(state_);
        state_.mtu = mtu_bytes != 0 ? mtu_bytes : SIZE_MAX;
    }

    /// Sets what happens to a packet that takes no congestion marks (not ECT) in a datagram that was marked congested
    /// (CE) on the way. True, the default: the packet is dropped, as RFC 6040 requires, and counts as
    /// `congestion_lost`. False: the packet passes unchanged, as in Linux's WireGuard; this suits a network that marks
    /// every datagram. The observer is called for the first such packet only.
    void set_congestion_drop(bool drop) noexcept {
        locked<Policies> const lock(state_);
        state_.congestion_drop = drop;
    }

    /// Sets the port that the socket is bound to.
    void set_listen_port(std::uint16_t port) noexcept {
        locked<Policies> const lock(state_);
        state_.listen_port = port;
    }
    /// The configured port, or the one that `set_listen_port` set after that.
    std::uint16_t listen_port() noexcept {
        locked<Policies> const lock(state_);
        return state_.listen_port;
    }
    /// The configured firewall mark of datagrams; 0: none.
    std::uint32_t fwmark() noexcept {
        locked<Policies> const lock(state_);
        return state_.fwmark;
    }

    /// Forgets the source address of each peer for which `holds(path)` is false: the host chooses a new one. Called
    /// after the host's routes or addresses changed. A peer whose path still holds gets answers from the address that
    /// it sent to.
    template <class Holds> void forget_sources(Holds holds) noexcept {
        locked<Policies> const lock(state_);
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next)
            if (p->where.local != local_source{} && !holds(std::as_const(p->where))) p->where.local = {};
    }
    void forget_sources() noexcept {
        forget_sources([](path const&) noexcept { return false; });
    }

    /// How many packets or calls ended with this status. A bare device counts only if its observer is enabled.
    std::uint64_t counter(status of) noexcept
        requires device_state<Policies>::counts
    {
        locked<Policies> const lock(state_);
        auto const number = static_cast<std::size_t>(of);
        return number < device_status_count ? state_.counters[number] : 0;
    }
    /// The number of peers.
    std::size_t peer_count() noexcept {
        locked<Policies> const lock(state_);
        return state_.peers.size();
    }

private:
    void run_timers(instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        state_.peers.deadlines().run_due(now, [&](peer_type& p) noexcept {
            outbound<Policies>::run_timers(state_, p, now);
            state_.reschedule(p);
        });
        state_.watch_load(now);
    }

    /// Stores the ratchets that have advanced. The device is not locked while the storage works.
    void save_ratchets() noexcept
        requires policies_with_ratchet<Policies>
    {
        for (;;) {
            secret<ratchet_record_bytes> record;
            public_key key;
            {
                locked<Policies> const lock(state_);
                peer_type* const p = ratchets<Policies>::take_unsaved(state_);
                if (p == nullptr) return;
                ratchets<Policies>::of(*p).store(record.expose());
                key = p->key();
            }
            bool const stored = state_.ratchet_records.store(key, record.expose());
            locked<Policies> const lock(state_);
            peer_type* const p = state_.peers.find(state_.with, key);
            if (p == nullptr) continue; // removed in the meantime
            p->secrets->ratchet.not_saved = !stored;
            if (!stored) state_.report(event_id::ratchet_not_saved, p);
        }
    }

    WG_FRAME void complete(job_type& j, peer_type& owner, instant_argument now) noexcept {
        // While the job was in flight, its session may have ended and its peer may have been removed.
        if (j.outbound) capture<Policies>::sent(state_, j, owner);
        status const gone = !state_.up ? status::device_down : owner.removed ? status::unknown_index : status::ok;
        if (gone != status::ok) {
            if (!j.outbound) state_.drop(j, gone);
        } else {
            if (j.outbound) outbound<Policies>::complete(state_, j, owner, now);
            else inbound<Policies>::complete(state_, j, owner, now);
            if (!j.outbound) capture<Policies>::opened(state_, j, owner);
            state_.reschedule(owner);
        }
        state_.peers.release(j);
    }

    /// Returns: the number of leading buffers that have room for an answer to any handshake message.
    static std::size_t buffers_for_answers(job_list<job_type const> out) noexcept {
        std::size_t count = 0;
        while (count < out.size() && out[count].data.capacity >= response_layout::size) ++count;
        return count;
    }

    device_state<Policies> state_;
};

}} // namespace wg::WG_ABI

#endif
