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

#include "handshakes.hpp"
#include "ip.hpp"
#include "settings.hpp"

#include <memory>

namespace wg { inline namespace WG_ABI {

template <policies Policies> class device {
    using storage = typename Policies::storage;
    using peer_type = peer<Policies>;
    using keypair_type = typename peer_type::keypair_type;

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
        for (job_type& j : jobs) prepare_outbound(j, now);
    }

    /// `data` of each job is a datagram; `where` and `tos` are given.
    void prepare_inbound(job_list<job_type> jobs, instant_argument now) noexcept {
        locked<Policies> const lock(state_);
        handshake_door door{jobs};
        for (job_type& j : jobs) prepare_inbound(j, door, now);
    }

    /// Seals and opens, in place, once a job. Any thread, any order, any batch. What was sealed is to be sent.
    static void crypt(job_list<job_type> jobs, typename Policies::aead const& aead) noexcept {
        constexpr std::size_t most = batch_size<batch_aead_backend<typename Policies::aead>>(64);
        if constexpr (most == 1) {
            for (job_type& j : jobs)
                if (j.keys != nullptr) crypt(j, aead);
        } else {
            crypt_together<most>(jobs, aead);
        }
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
        state_.begin_transmit_round();
        std::size_t made = 0;
        while (made < out.size()) {
            peer_type* const to = state_.next_for_transmit();
            if (to == nullptr) break;
            bool const written = transmit_one(*to, out[made], now);
            state_.reschedule(*to);
            if (written) {
                ++made;
                continue;
            }
            if (out[made].why == status::no_room) { // kept for a larger buffer
                state_.count(status::no_room, to);
                break;
            }
            state_.dequeue_for_transmit(*to);
        }
        return made;
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
            run_timers(p, now);
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
    // --- crypt

    static std::pair<bytes, bytes> sealed_and_plain(job_type& j) noexcept {
        bytes const body = j.data.view().subspan(transport_layout::encrypted_packet);
        return {body, body.first(body.size() - tag_bytes)};
    }

    static void crypt(job_type& j, typename Policies::aead const& aead) noexcept {
        byte* const body = j.data.buffer + j.data.offset + transport_layout::encrypted_packet;
        bool const good = seal_or_open(aead, j.outbound, body, body, j.data.length - transport_overhead_bytes, nullptr,
                                       0, j.counter, j.outbound ? j.keys->send_key : j.keys->receive_key);
        if (j.outbound) j.next = disposition::send;
        else judge(j, good);
    }

    template <std::size_t Most>
    static void crypt_together(job_list<job_type> jobs, typename Policies::aead const& aead) noexcept {
        union room { // not initialised: most calls have a few packets
            aead_item items[Most];
            room() noexcept {}
        } uses;
        job_type* whose[Most];
        std::size_t count = 0;
        auto const flush = [&]() noexcept { // all of one direction
            if (count == 0) return;
            std::span<aead_item> const items(uses.items, std::exchange(count, 0));
            if (whose[0]->outbound) {
                seal_all(aead, items);
                for (std::size_t i = 0; i < items.size(); ++i) whose[i]->next = disposition::send;
                return;
            }
            open_all(aead, items);
            for (std::size_t i = 0; i < items.size(); ++i) judge(*whose[i], items[i].good);
        };
        for (job_type& j : jobs) {
            if (j.keys == nullptr) continue;
            if (count == Most || (count != 0 && whose[0]->outbound != j.outbound)) flush();
            auto const [body, plain] = sealed_and_plain(j);
            whose[count] = &j;
            std::construct_at(uses.items + count++,
                              j.outbound ? aead_item{body, plain, j.counter, &j.keys->send_key, false}
                                         : aead_item{plain, body, j.counter, &j.keys->receive_key, false});
        }
        flush();
    }

    static void judge(job_type& j, bool genuine) noexcept {
        if (!genuine) return; // `why` is decryption_failed until here
        j.data.grow(-static_cast<std::ptrdiff_t>(transport_header_bytes), -static_cast<std::ptrdiff_t>(tag_bytes));
        j.why = status::ok;
    }

    // --- outbound

    void prepare_outbound(job_type& j, instant_argument now) noexcept {
        state_.begin(j, true);
        ip_header const header = parse_ip(j.data.view());
        if (!state_.up) return state_.drop(j, status::device_down);
        if (!header) return state_.drop(j, status::not_ip);
        peer_type* const to = state_.peers.allowed().find(header.kind, header.destination);
        if (to == nullptr) return refuse(j, header, status::no_peer, now);
        if (!to->where.remote) return refuse(j, header, status::no_endpoint, now);
        if (is_own(datagram_between(j.data.view(), header, state_.listen_port, to->where.remote), *to))
            return state_.drop(j, status::routing_loop);
        keypair_type* const keys = to->keypairs.current;
        if (keys != nullptr && !state_.has_waiting(*to) && keys->can_send(now))
            return frame(j, *to, *keys, ecn_of(header.tos));
        stage(*to, j.data.view(), now);
        state_.drop(j, status::staged);
    }

    /// Whether a datagram to the very endpoint of `to` is one that this device made, and no other tunnel's.
    bool is_own(bytes_view datagram, peer_type const& to) noexcept {
        switch (type_of(datagram)) {
        case message_type::transport: {
            std::uint32_t const receiver = load_le32(&datagram[transport_layout::receiver]);
            keypair_type const *const current = to.keypairs.current, *const previous = to.keypairs.previous;
            return (current != nullptr && current->remote_index == receiver) ||
                   (previous != nullptr && previous->remote_index == receiver);
        }
        case message_type::initiation:
        case message_type::response:
            return bool{state_.peers.find_index(load_le32(&datagram[initiation_layout::sender]))};
        default: return false;
        }
    }

    /// Says to the host that the destination cannot be reached, a thousand times a second at most.
    void refuse(job_type& j, [[maybe_unused]] ip_header const& header, status why,
                [[maybe_unused]] instant_argument now) noexcept {
#ifdef WG_BARE // the node is the host itself, and sees `why`
        state_.drop(j, why);
#else
        constexpr duration cost = milliseconds(1), burst = cost * 50;
        state_.drop(j, why);
        if (now - state_.unreachables_since > burst) state_.unreachables_since = now - burst;
        if (now - state_.unreachables_since < cost || !make_unreachable(j.data, header)) return;
        state_.unreachables_since = state_.unreachables_since + cost;
        j.next = disposition::deliver;
#endif
    }

    WG_OUTLINE void run_timers(peer_type& p, instant_argument now) noexcept {
        p.timers.expire(now, peer_actions{state_, p});
    }

    void stage(peer_type& to, bytes_view packet_data, instant_argument now) noexcept {
        // The host may have slept past the end of all sessions. The timer that zeroes keys runs first, or it would end
        // the handshake that this packet begins.
        run_timers(to, now);
        for (std::size_t lost = state_.staged.stage(to.staged, packet_data); lost != 0; --lost)
            state_.count(status::staging_full, &to);
        to.timers.new_attempt();                           // the user asks anew; what already waits does not
        if (to.staged.empty()) to.wants_initiation = true; // others have all the room; the next packet finds a session
        state_.enqueue_for_transmit(to);
    }

    /// Makes a packet the body of a transport message, still in clear.
    void frame(job_type& j, peer_type& to, keypair_type& keys, std::uint8_t tos) noexcept {
        std::size_t const length = j.data.length, padding = padding_for(length);
        if (j.data.headroom() < transport_header_bytes || j.data.tailroom() < padding + tag_bytes)
            return state_.drop(j, status::no_room);
        j.data.grow(transport_header_bytes, static_cast<std::ptrdiff_t>(padding + tag_bytes));
        bytes const message = j.data.view();
        j.counter = keys.send_counter++;
        store_le32(message.data(), static_cast<std::uint32_t>(message_type::transport));
        store_le32(&message[transport_layout::receiver], keys.remote_index);
        store_le64(&message[transport_layout::counter], j.counter);
        std::memset(message.data() + transport_header_bytes + length, 0, padding);
        j.has_data = length != 0;
        j.tos = tos;
        state_.send(j, to, &keys);
    }

    //= wp 5.4.6: padded with zeros to a multiple of 16, but not beyond the MTU
    std::size_t padding_for(std::size_t length) const noexcept {
        std::size_t const last = length < state_.mtu ? length : length % state_.mtu; // 0 takes no padding
        std::size_t const padded = (last + padding_bytes - 1) / padding_bytes * padding_bytes;
        return (std::min)(padded, state_.mtu) - last;
    }

    std::size_t message_bytes(std::size_t length) const noexcept {
        return transport_header_bytes + length + padding_for(length) + tag_bytes;
    }

    WG_FRAME void complete(job_type& j, peer_type& owner, instant_argument now) noexcept {
        // It came to a session that is gone, or to a peer.
        status const gone = !state_.up ? status::device_down : owner.removed ? status::unknown_index : status::ok;
        if (gone != status::ok) {
            if (!j.outbound) state_.drop(j, gone);
        } else {
            if (j.outbound) complete_outbound(j, owner, now);
            else complete_inbound(j, owner, now);
            state_.reschedule(owner);
        }
        state_.peers.let_go(j);
    }

    void complete_outbound(job_type& j, peer_type& owner, instant_argument now) noexcept {
        if (j.next != disposition::send) return; // not sealed, so not sent
        if (j.why == status::ok) owner.tx_bytes += j.data.length;
        else state_.note_failed(j, owner);
        // The socket found that the cached source address is gone.
        if (j.where.local == local_source{} && j.where.remote == owner.where.remote) owner.where.local = {};
        if (j.keys == nullptr) return; // a handshake message: its timers ran when it was made
        owner.timers.any_authenticated_packet_sent(now);
        if (j.has_data) owner.timers.data_sent(now, [this]() noexcept { return state_.jitter_ms(); });
        keypair_type const* const current = owner.keypairs.current;
        if (current != nullptr && current->wants_rekey_after_sending(now)) state_.want_initiation(owner);
        if (!j.has_data) state_.report(event_id::keepalive_sent, &owner);
    }

    // --- inbound

    /// Which handshake messages of a batch have a right mac1: of some jobs at a time, from the first that asks.
    struct handshake_door {
        job_list<job_type const> jobs;
        std::size_t begin = 0, end = 0; ///< whose bits are known
        std::uint32_t genuine = 0;
    };

    bool is_genuine(job_type const& j, handshake_door& door) noexcept {
        if constexpr (handshakes<Policies>::macs_at_once == 1)
            return handshakes<Policies>::check_mac1(state_, {&j, 1}) != 0;
        std::size_t const place = static_cast<std::size_t>(&j - door.jobs.data());
        if (place >= door.end) {
            door.begin = place;
            door.end = place + handshakes<Policies>::macs_at_once;
            door.genuine = handshakes<Policies>::check_mac1(state_, door.jobs.subspan(place));
        }
        return (door.genuine >> (place - door.begin) & 1) != 0;
    }

    void prepare_inbound(job_type& j, handshake_door& door, instant_argument now) noexcept {
        state_.begin(j, false);
        bytes const data = j.data.view();
        message_type const type = type_of(data);
        if (!state_.up) return state_.drop(j, status::device_down);
        if (type == message_type::none) return state_.drop(j, status::malformed);
        if (type != message_type::transport)
            return handshakes<Policies>::admit(state_, j, type,
                                               type != message_type::cookie_reply && is_genuine(j, door), now);
        auto const found = state_.peers.find_index(load_le32(&data[transport_layout::receiver]));
        if (found.keys == nullptr) return state_.drop(j, status::unknown_index);
        j.counter = load_le64(&data[transport_layout::counter]);
        if (!found.keys->can_receive(now) || j.counter >= reject_after_messages)
            return state_.drop(j, status::expired_keypair);
#ifndef WG_COMPACT
        // The window decides once the tag was found right; what it has seen already is not worth a decryption.
        if (found.keys->received.refuses(j.counter)) return state_.drop(j, status::replayed_counter);
#endif
        j.why = status::decryption_failed; // until `crypt` finds the tag right
        state_.peers.hold(j, *found.who, found.keys);
    }

    void complete_inbound(job_type& j, peer_type& from, instant_argument now) noexcept {
        if (j.why != status::ok) return state_.drop(j, j.why);
        std::size_t const message_bytes = j.data.length + transport_overhead_bytes;
        //= linux: decrypt, then the counter, and only then the endpoint
        if (!j.keys->received.accept(j.counter)) return state_.drop(j, status::replayed_counter);
        state_.roam(from, j.where);
        if (from.keypairs.confirm(*j.keys, state_.peers.retiring())) {
            handshakes<Policies>::confirm(state_, from);
            state_.enqueue_for_transmit(from);
            state_.report(event_id::session_started, &from, 0);
        }
        keypair_type const* const current = from.keypairs.current;
        if (current != nullptr && current->wants_rekey_after_receiving(now) && from.timers.take_last_minute_handshake())
            state_.want_initiation(from);
        from.timers.any_authenticated_packet_received(now);
        //= wp 6.5: a keepalive is no data: it is not answered
        if (j.data.length == 0) {
            from.received(message_bytes);
            state_.report(event_id::keepalive_received, &from);
            return state_.drop(j, status::keepalive);
        }
        from.timers.data_received(now);
        //= linux: version, length, then the source of what came in; what is wrong is dropped, but it was authenticated
        ip_header const header = parse_ip(j.data.view());
        if (!header) return state_.drop(j, status::bad_inner_packet);
        j.data.grow(0, static_cast<std::ptrdiff_t>(header.total_bytes) - static_cast<std::ptrdiff_t>(j.data.length));
        //= wp 2: the source inside must be the sender's by the most specific of all allowed IPs
        if (state_.peers.allowed().find(header.kind, header.source) != &from)
            return state_.drop(j, status::disallowed_source);
        if (!decapsulate_ecn(j.data.view(), header, j.tos)) {
            if (!std::exchange(state_.congestion_reported, true))
                state_.report(event_id::congestion_marked, &from, state_.congestion_drop);
            if (state_.congestion_drop) return state_.drop(j, status::congestion_lost);
        }
        from.received(message_bytes);
        j.next = disposition::deliver;
    }

    // --- what peers want to send

    /// How many of the first buffers an answer to any handshake message fits into.
    static std::size_t buffers_for_answers(job_list<job_type const> out) noexcept {
        std::size_t count = 0;
        while (count < out.size() && out[count].data.capacity >= response_layout::size) ++count;
        return count;
    }

    /// Writes one message of `to` into `out`. False: there is none to be sent now; `why` is no_room where one is kept
    /// that does not fit.
    bool transmit_one(peer_type& to, job_type& out, instant_argument now) noexcept {
        state_.begin(out, true);
        keypair_type* const keys = to.keypairs.current;
        bool const has_session = keys != nullptr && keys->can_send(now);
        bool const waits = !to.staged.empty() || to.wants_keepalive;
        if (waits && keys != nullptr && !has_session) keys->may_send = false;
        if (std::exchange(to.wants_initiation, false) || (waits && !has_session)) {
            if (handshakes<Policies>::send_initiation(state_, to, out, now)) return true;
            if (out.why == status::no_room) {
                to.wants_initiation = true;
                return false;
            }
        }
        return has_session && to.where.remote && transmit_waiting(to, *keys, out);
    }

    /// The same of a session's messages.
    bool transmit_waiting(peer_type& to, keypair_type& keys, job_type& out) noexcept {
        auto const fits = [&](std::size_t length) noexcept { return out.data.capacity >= message_bytes(length); };
        for (; !to.staged.empty() && !fits(state_.staged.oldest_bytes(to.staged)); state_.staged.drop_oldest(to.staged))
            state_.count(status::no_room, &to);
        bool const packet_waits = !to.staged.empty();
        if (!to.wants_keepalive && !packet_waits) return false;
        std::size_t const length = packet_waits ? state_.staged.oldest_bytes(to.staged) : 0;
        if (!fits(length)) {
            out.why = status::no_room;
            return false;
        }
        to.wants_keepalive = false;
        out.data = packet({out.data.buffer, out.data.capacity}, packet_headroom_bytes, length);
        std::uint8_t tos = 0;
        if (packet_waits) {
            state_.staged.unstage(to.staged, out.data.view());
            state_.note_unstaged(to);
            tos = ecn_of(parse_ip(out.data.view()).tos);
        }
        frame(out, to, keys, tos);
        return out.keys != nullptr;
    }

    // --- timers

    /// What the timers of a peer ask for.
    struct peer_actions {
        device_state<Policies>& state;
        peer_type& p;

        //= linux: giving up drops what waits; the next packet is a new beginning
        void give_up() noexcept {
            for (std::size_t n = state.staged.drop_all(p.staged); n != 0; --n) state.count(status::staging_full, &p);
            p.wants_keepalive = false;
            state.report(event_id::handshake_given_up, &p);
        }
        //= linux: a repetition forgets the source address, which may be what is dead
        void retry_initiation() noexcept {
            p.where.local = {};
            p.wants_initiation = true;
            state.enqueue_for_transmit(p);
        }
        void initiate() noexcept {
            p.where.local = {};
            state.want_initiation(p);
        }
        void keepalive() noexcept { state.want_keepalive(p); }
        void zero_keys() noexcept {
            state.zero_keys(p);
            state.report(event_id::keys_zeroed, &p);
        }
    };

    device_state<Policies> state_;
};

}} // namespace wg::WG_ABI

#endif
