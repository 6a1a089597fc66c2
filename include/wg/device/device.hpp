// SPDX-License-Identifier: BSL-1.0
// A whole WireGuard interface without input and output (whitepaper 2, 5, 6). Layer 4.
//
// The core decides, policies do: a device is handed packets and the time and hands packets back. A packet's way is
// cut where it is expensive:
//
//     prepare_outbound -> crypt -> (send to the network) -> complete
//     prepare_inbound  -> crypt -> complete -> (write to the TUN device)
//
// What the device has to say by itself comes from `process_handshakes` (answers) and `poll_transmit` (initiations,
// keepalives, packets that waited), as outbound jobs that go through `crypt`, the network and `complete` as well.
//
// Threads: any number at once if `Policies::threads` is parallel; a call locks the device once for all its jobs, and
// `crypt` does not lock at all; `process_handshakes` and `poll_transmit` hold the lock for a DH or two a job. One job
// is used by one thread at a time. Packets of a flow stay in order if their jobs are prepared and completed in order.
#ifndef WG_DEVICE_DEVICE_HPP
#define WG_DEVICE_DEVICE_HPP

#include "crypt.hpp"
#include "inbound.hpp"
#include "outbound.hpp"
#include "settings.hpp"

namespace wg { inline namespace WG_ABI {

template <policies Policies> class device {
    using storage = typename Policies::storage;
    using peer_type = peer<Policies>;

public:
    using job_type = job<Policies>;
    static constexpr std::size_t handshakes_at_once = 8;

    /// A device is made from instances of its policies, in any order; those not named are default-constructed.
    template <class... Instances>
    explicit device(Instances... given) noexcept : state_(device_state<Policies>::choose(given...)) {}
    device(device const&) = delete;
    device& operator=(device const&) = delete;

    /// False: there was no memory for the device's own secrets; then nothing else may be called.
    bool ready() const noexcept { return state_.own != nullptr; }

    typename Policies::clock_source& clock() noexcept { return state_.clock; }
    typename Policies::aead const& aead() const noexcept { return state_.with.aead; }
    storage& memory() noexcept { return state_.memory; }

    // --- packets

    /// `data` of each job is an IP packet with `packet_headroom_bytes` before it and, after it, `packet_tailroom_bytes`
    /// or as much as makes a message of the MTU's size of it.
    /// After this a job is to be delivered (an ICMP answer to the host) or dropped: the packet waits for a session, or
    /// `why` says why not. A packet that is to be sent is in clear until `crypt` has sealed it, and until then its job
    /// says `drop`, with `why` ok.
    void prepare_outbound(job_list<job_type> jobs, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        for (job_type& j : jobs) outbound<Policies>::prepare(state_, j, now);
    }

    /// `data` of each job is a datagram; `where` and `tos` are given.
    void prepare_inbound(job_list<job_type> jobs, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        typename inbound<Policies>::mac1_cache cache{jobs};
        for (job_type& j : jobs) inbound<Policies>::prepare(state_, j, cache, now);
    }

    /// Seals and opens, in place, once a job. Any thread, any order, any batch. What was sealed is to be sent.
    static void crypt(job_list<job_type> jobs, typename Policies::aead const& aead) noexcept {
        packet_crypt<Policies>::run(jobs, aead);
    }

    /// Inbound: what was opened is judged, and to be delivered or dropped. Outbound: what was sent is accounted for
    /// (`why` tells of failure); call it after sending. In order for each peer.
    void complete(job_list<job_type> jobs, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        for (job_type& j : jobs)
            if (j.owner != nullptr) complete(j, *j.owner, now);
    }

    /// Handles waiting handshake messages and writes what they are answered with into the jobs' buffers (at least
    /// `response_layout::size` bytes), from the front; returns how many. At most `handshakes_at_once` that cost a
    /// DH, for the lock is held meanwhile. Messages wait while the next buffer is smaller than that, which is counted
    /// as `no_room`.
    std::size_t process_handshakes(job_list<job_type> out, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        std::size_t made = 0, heavy = 0, looked_at = 0;
        std::size_t const most_heavy = (std::min)(out.size(), handshakes_at_once), most = 8 * out.size();
        while (made < out.size() && heavy < most_heavy && looked_at < most && state_.waiting.size() != 0) {
            // each has one answer at most, and costs one DH at most
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

    /// What the device sends by itself, written into the jobs' buffers (each of at least the MTU and
    /// `transport_overhead_bytes`, and of `initiation_layout::size`), from the front; returns how many. 0: nothing
    /// left, or the next message does not fit into its buffer. An initiation or a keepalive that does not fit is kept,
    /// and a packet that waited and does not fit is dropped; both count as `no_room`. A packet that waited is not
    /// passed by one that is prepared before the next call; so who calls again has sent what the last call wrote.
    std::size_t poll_transmit(job_list<job_type> out, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        return outbound<Policies>::transmit(state_, out, now);
    }

    // --- time

    /// When `on_deadline`, `process_handshakes` or `poll_transmit` has work; a moment in the past: now.
    instant next_deadline() noexcept {
        locked<Policies> const lock(state_);
        if (state_.next_for_transmit() != nullptr || state_.waiting.size() != 0) return instant{};
        return state_.peers.deadlines().next();
    }

    /// Runs the timers that are due; what they send comes out of `poll_transmit`.
    void on_deadline(instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        state_.peers.deadlines().run_due(now, [&](peer_type& p) noexcept {
            outbound<Policies>::run_timers(state_, p, now);
            state_.reschedule(p);
        });
        state_.watch_load(now);
    }

    // --- configuration

    /// Whether `configure` will accept these changes; makes room for them, and changes nothing else.
    /// invalid, too_many_peers, no_memory.
    status admit(std::span<change const> changes) noexcept {
        locked<Policies> const lock(state_);
        return settings<Policies>(state_).admit(changes);
    }

    /// All changes or, if any is refused, none. invalid, too_many_peers, no_memory.
    status configure(std::span<change const> changes, instant_argument) noexcept {
        locked<Policies> const lock(state_);
        if (status const why = settings<Policies>(state_).admit(changes); why != status::ok) return why;
        settings<Policies>(state_).apply(changes);
        return status::ok;
    }
    status configure(std::initializer_list<change> changes, instant_argument now) noexcept {
        return configure(std::span(changes.begin(), changes.size()), now);
    }

    /// For programs that know their configuration, in place of `configure`, whose code a microcontroller then lacks:
    /// the private key of a device that has no peers yet.
    void set_private_key(key_view key) noexcept {
        locked<Policies> const lock(state_);
        settings<Policies>(state_).set_first_private_key(key);
    }
    /// Likewise a new peer. invalid: known already, or ourselves; too_many_peers. no_memory: the peer is there, but
    /// not all of its allowed IPs found room.
    status add_peer(peer_settings const& of) noexcept {
        locked<Policies> const lock(state_);
        return settings<Policies>(state_).add(of);
    }

    /// Tells `sink.device(interface_facts)`, then for each peer `sink.peer(peer_facts)` and for each of its prefixes
    /// `sink.allowed_ip(ip_prefix)`. The device is locked meanwhile.
    template <class Sink> void snapshot(Sink& sink) noexcept {
        locked<Policies> const lock(state_);
        settings<Policies>(state_).snapshot(sink);
    }

    /// The interface goes up: peers with persistent keepalive are greeted.
    //= linux: persistent keepalive goes out at once when it is enabled, and when the interface goes up
    void up() noexcept {
        locked<Policies> const lock(state_);
        if (std::exchange(state_.up, true)) return;
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next)
            if (p->timers.persistent_keepalive_s() != 0) state_.want_keepalive(*p);
    }

    /// The interface goes down: sessions, handshakes and staged packets are gone, the configuration stays.
    //= linux: an interface that goes down forgets its sessions and says nothing more
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

    bool is_up() noexcept {
        locked<Policies> const lock(state_);
        return state_.up;
    }

    /// The MTU of the TUN device in bytes, which padding does not exceed; 0: not known.
    void set_mtu(std::size_t mtu_bytes) noexcept {
        locked<Policies> const lock(state_);
        state_.mtu = mtu_bytes != 0 ? mtu_bytes : SIZE_MAX;
    }

    /// What becomes of a packet that does not take congestion marks (not ECT) in a datagram that was marked congested
    /// (CE) on the way. True, the default: the packet is dropped, as RFC 6040 says, and counts as `congestion_lost`.
    /// False: the packet passes unchanged, as with Linux's WireGuard; for a network that marks everything. The observer
    /// is told of the first such packet, not of each.
    void set_congestion_drop(bool drop) noexcept {
        locked<Policies> const lock(state_);
        state_.congestion_drop = drop;
    }

    /// The port that the socket really got.
    void set_listen_port(std::uint16_t port) noexcept {
        locked<Policies> const lock(state_);
        state_.listen_port = port;
    }
    std::uint16_t listen_port() noexcept {
        locked<Policies> const lock(state_);
        return state_.listen_port;
    }
    std::uint32_t fwmark() noexcept {
        locked<Policies> const lock(state_);
        return state_.fwmark;
    }

    /// The host's routes or addresses changed: it chooses source addresses anew, but where `holds(path)` says that one
    /// may stay. Where nothing has changed for a peer, it goes on answering from the address that was dialled.
    template <class Holds> void forget_sources(Holds holds) noexcept {
        locked<Policies> const lock(state_);
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next)
            if (p->where.local != local_source{} && !holds(std::as_const(p->where))) p->where.local = {};
    }
    void forget_sources() noexcept {
        forget_sources([](path const&) noexcept { return false; });
    }

    /// How often a packet met this fate, or a call failed so. A bare device counts only if it has an observer.
    std::uint64_t counter(status of) noexcept
        requires device_state<Policies>::counts
    {
        locked<Policies> const lock(state_);
        return state_.counters[static_cast<std::size_t>(of)];
    }
    std::size_t peer_count() noexcept {
        locked<Policies> const lock(state_);
        return state_.peers.size();
    }

private:
    WG_FRAME void complete(job_type& j, peer_type& owner, instant_argument now) noexcept {
        // Its session ended, or its peer was removed, while the job was in flight.
        status const gone = !state_.up ? status::device_down : owner.removed ? status::unknown_index : status::ok;
        if (gone != status::ok) {
            if (!j.outbound) state_.drop(j, gone);
        } else {
            if (j.outbound) outbound<Policies>::complete(state_, j, owner, now);
            else inbound<Policies>::complete(state_, j, owner, now);
            state_.reschedule(owner);
        }
        state_.peers.release(j);
    }

    /// How many of the first buffers have room for an answer to any handshake message.
    static std::size_t buffers_for_answers(job_list<job_type const> out) noexcept {
        std::size_t count = 0;
        while (count < out.size() && out[count].data.capacity >= response_layout::size) ++count;
        return count;
    }

    device_state<Policies> state_;
};

}} // namespace wg::WG_ABI

#endif
