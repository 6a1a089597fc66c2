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
// `crypt` does not lock at all. One job is used by one thread at a time. Packets of a flow stay in order if their jobs
// are prepared and completed in order.
#ifndef WG_DEVICE_DEVICE_HPP
#define WG_DEVICE_DEVICE_HPP

#include "../policy.hpp"
#include "configuration.hpp"
#include "handshake_queue.hpp"
#include "ip.hpp"
#include "job.hpp"
#include "peer_table.hpp"
#include "rate_limiter.hpp"

#include <tuple>

namespace wg::inline WG_ABI {

template <policies Policies> class device {
    using storage = typename Policies::storage;
    using observer = typename Policies::observer;
    using peer_type = peer<Policies>;
    using keypair_type = typename peer_type::keypair_type;

public:
    using job_type = job<Policies>;

    /// A device is made from instances of its policies, in any order; those not named are default-constructed.
    template <class... Instances> explicit device(Instances... given) noexcept
        : device(parts{take_or_make<typename Policies::hash>(given...), take_or_make<typename Policies::dh>(given...),
                       take_or_make<typename Policies::aead>(given...),
                       take_or_make<typename Policies::clock_source>(given...),
                       take_or_make<typename Policies::random_source>(given...), take_or_make<observer>(given...),
                       take_or_make<storage>(given...)}) {}
    device(device const&) = delete;
    device& operator=(device const&) = delete;
    ~device() {
        for (peer_type* p = peers_.first(); p != nullptr; p = p->next) staging_.drop_all(p->staged);
        own_.release(identity_);
    }

    typename Policies::clock_source& clock() noexcept { return clock_; }
    typename Policies::aead const& aead() const noexcept { return with_.aead; }
    storage& memory() noexcept { return storage_; }

    // --- packets

    /// `data` of each job is an IP packet with `packet_headroom_bytes` before it and `packet_tailroom_bytes` after it.
    /// After this a job is to be sent, to be delivered (an ICMP answer to the host), or dropped: the packet waits for
    /// a session, or `why` says why not.
    void prepare_outbound(std::span<job_type> jobs, instant now) noexcept {
        locked const lock(*this);
        for (job_type& j : jobs) prepare_outbound(j, now);
    }

    /// `data` of each job is a datagram; `where` and `tos` are given.
    void prepare_inbound(std::span<job_type> jobs, instant now) noexcept {
        locked const lock(*this);
        for (job_type& j : jobs) prepare_inbound(j, now);
    }

    /// Seals and opens, in place. Any thread, any order, any batch.
    static void crypt(std::span<job_type> jobs, typename Policies::aead const& aead) noexcept {
        for (job_type& j : jobs) {
            if (j.keys == nullptr) continue;
            bytes const body = j.data.view().subspan(transport_layout::encrypted_packet);
            bytes const plain = body.first(body.size() - tag_bytes);
            if (j.outbound) {
                aead.seal(body, plain, {}, j.counter, j.keys->send_key);
            } else if (aead.open(plain, body, {}, j.counter, j.keys->receive_key)) {
                j.data.grow(-static_cast<std::ptrdiff_t>(transport_header_bytes),
                            -static_cast<std::ptrdiff_t>(tag_bytes));
            } else {
                j.why = status::decryption_failed;
            }
        }
    }

    /// Inbound: what was opened is judged, and to be delivered or dropped. Outbound: what was sent is accounted for
    /// (`why` tells of failure); call it after sending. In order for each peer.
    void complete(std::span<job_type> jobs, instant now) noexcept {
        locked const lock(*this);
        for (job_type& j : jobs) {
            if (j.owner == nullptr) continue;
            peer_type& owner = *j.owner;
            if (!up_) {
                if (!j.outbound) drop(j, status::device_down); // it came to a session that is gone
            } else if (!owner.removed) {
                if (j.outbound)
                    complete_outbound(j, owner, now);
                else
                    complete_inbound(j, owner, now);
                reschedule(owner);
            } else if (!j.outbound) {
                drop(j, status::unknown_index);
            }
            peers_.let_go(j);
        }
    }

    /// Handles waiting handshake messages and writes what they are answered with into the jobs' buffers (at least
    /// `initiation_layout::size` bytes), from the front; returns how many. At most one DH-heavy message a job.
    std::size_t process_handshakes(std::span<job_type> out, instant now) noexcept {
        locked const lock(*this);
        std::size_t made = 0, heavy = 0;
        for (std::size_t looked_at = 0; made < out.size() && heavy < out.size() && looked_at < 8 * out.size();
             ++looked_at) {
            waiting_handshake const* const message = handshakes_.front();
            if (message == nullptr) break;
            status const why = handle_handshake(*message, out[made], heavy, now);
            if (out[made].next == disposition::send) ++made;
            if (why != status::ok) count(why, nullptr);
            handshakes_.pop();
            if (handshakes_.size() == 0) watch_load(now);
        }
        return made;
    }

    /// What the device sends by itself, written into the jobs' buffers (each of at least the MTU and
    /// `transport_overhead_bytes` + `padding_bytes`), from the front; returns how many. 0: nothing left.
    std::size_t poll_transmit(std::span<job_type> out, instant now) noexcept {
        locked const lock(*this);
        std::size_t made = 0;
        while (made < out.size() && first_for_transmit_ != nullptr) {
            peer_type& to = *first_for_transmit_;
            if (transmit_one(to, out[made], now))
                ++made;
            else
                dequeue_for_transmit(to);
            reschedule(to);
        }
        return made;
    }

    // --- time

    /// When `on_deadline`, `process_handshakes` or `poll_transmit` has work; a moment in the past: now.
    instant next_deadline() noexcept {
        locked const lock(*this);
        if (first_for_transmit_ != nullptr || handshakes_.size() != 0) return instant{};
        return peers_.deadlines().next();
    }

    /// Runs the timers that are due; what they send comes out of `poll_transmit`.
    void on_deadline(instant now) noexcept {
        locked const lock(*this);
        while (peer_type* const due = peers_.deadlines().take_due(now)) {
            run_timers(*due, now);
            reschedule(*due);
        }
        watch_load(now);
    }

    // --- configuration

    /// Whether `configure` will accept these changes; makes room for them, and changes nothing else.
    /// invalid, too_many_peers, no_memory.
    status admit(std::span<change const> changes) noexcept {
        locked const lock(*this);
        return admit_locked(changes);
    }

    /// All changes or, if any is refused, none. invalid, too_many_peers, no_memory.
    status configure(std::span<change const> changes, instant now) noexcept {
        locked const lock(*this);
        if (status const why = admit_locked(changes); why != status::ok) return why;
        for (change const& c : interface_changes(changes)) apply(c, now);
        for_each_peer(changes, [&](peer_changes const& of) noexcept { apply(of, now); });
        return status::ok;
    }

    /// Tells `sink.device(interface_facts)`, then for each peer `sink.peer(peer_facts)` and for each of its prefixes
    /// `sink.allowed_ip(ip_prefix)`. The device is locked meanwhile.
    template <class Sink> void snapshot(Sink& sink) noexcept {
        locked const lock(*this);
        sink.device(interface_facts{identity_->private_key, listen_port_, fwmark_});
        for (peer_type* p = peers_.first(); p != nullptr; p = p->next) {
            peer_facts facts{p->key(), p->secrets->remote.preshared_key};
            facts.endpoint = p->where.remote;
            std::uint64_t const label_s = load_be64(p->last_handshake.data());
            if (label_s != 0) {
                facts.last_handshake_s = static_cast<std::int64_t>(label_s - tai64n_epoch);
                facts.last_handshake_ns = load_be32(&p->last_handshake[8]);
            }
            facts.tx_bytes = p->tx_bytes;
            facts.rx_bytes = p->rx_bytes;
            facts.persistent_keepalive_s = p->timers.persistent_keepalive_s();
            sink.peer(facts);
            allowed_ips<peer_type, storage>::for_each(*p, [&](ip_prefix const& prefix) { sink.allowed_ip(prefix); });
        }
    }

    /// The interface goes up: peers with persistent keepalive are greeted.
    void up() noexcept {
        locked const lock(*this);
        if (std::exchange(up_, true)) return;
        for (peer_type* p = peers_.first(); p != nullptr; p = p->next)
            if (p->timers.persistent_keepalive_s() != 0) want_keepalive(*p);
    }

    /// The interface goes down: sessions, handshakes and staged packets are gone, the configuration stays.
    void down(instant now) noexcept {
        locked const lock(*this);
        if (!std::exchange(up_, false)) return;
        while (handshakes_.front() != nullptr) handshakes_.pop();
        for (peer_type* p = peers_.first(); p != nullptr; p = p->next) {
            p->timers.stop();
            zero_keys(*p);
            dequeue_for_transmit(*p);
            p->wants_initiation = p->wants_keepalive = false;
            p->reset_last_sent_handshake(now);
        }
    }

    bool is_up() noexcept {
        locked const lock(*this);
        return up_;
    }

    /// The MTU of the TUN device in bytes, which padding does not exceed; 0: not known.
    void set_mtu(std::size_t mtu_bytes) noexcept {
        locked const lock(*this);
        mtu_ = mtu_bytes;
    }

    /// The port that the socket really got.
    void set_listen_port(std::uint16_t port) noexcept {
        locked const lock(*this);
        listen_port_ = port;
    }
    std::uint16_t listen_port() noexcept {
        locked const lock(*this);
        return listen_port_;
    }
    std::uint32_t fwmark() noexcept {
        locked const lock(*this);
        return fwmark_;
    }

    /// The host's routes or addresses changed: let it choose source addresses anew.
    void forget_sources() noexcept {
        locked const lock(*this);
        for (peer_type* p = peers_.first(); p != nullptr; p = p->next) p->where.local = {};
    }

    /// How often a packet met this fate, or a call failed so.
    std::uint64_t counter(status of) noexcept {
        locked const lock(*this);
        return counters_[static_cast<std::size_t>(of)];
    }
    std::size_t peer_count() noexcept {
        locked const lock(*this);
        return peers_.size();
    }

private:
    static constexpr std::uint64_t tai64n_epoch = 0x400000000000000aULL;

    /// The instances on their way in. (clang 16 crashes where a call's result initialises an empty member in place.)
    struct parts {
        typename Policies::hash hash;
        typename Policies::dh dh;
        typename Policies::aead aead;
        typename Policies::clock_source clock;
        typename Policies::random_source random;
        wg::device<Policies>::observer observer;
        wg::device<Policies>::storage storage;
    };
    explicit device(parts&& from) noexcept
        : with_{std::move(from.hash), std::move(from.dh), std::move(from.aead)}, clock_(std::move(from.clock)),
          random_(std::move(from.random)), observer_(std::move(from.observer)), storage_(std::move(from.storage)),
          own_(storage_), peers_(storage_, make_salt(random_)), staging_(storage_), handshakes_(storage_),
          limiter_(storage_), identity_(own_.acquire()) {
        WG_ASSERT(identity_ != nullptr);
        set_public_key();
    }

    // --- outbound

    void prepare_outbound(job_type& j, instant now) noexcept {
        begin(j, true);
        ip_header const header = parse_ip(j.data.view());
        if (!up_) return drop(j, status::device_down);
        if (!header) return drop(j, status::not_ip);
        peer_type* const to = peers_.allowed().find(header.kind, header.destination);
        if (to == nullptr) return refuse(j, header, status::no_peer, now);
        if (!to->where.remote) return refuse(j, header, status::no_endpoint, now);
        if (is_own_datagram(j.data.view(), header, to->where.remote, listen_port_))
            return drop(j, status::routing_loop);
        keypair_type* const keys = to->keypairs.current;
        if (keys != nullptr && to->staged.empty() && keys->can_send(now))
            return frame(j, *to, *keys, ecn_of(header.tos));
        stage(*to, j.data.view());
        drop(j, status::staged);
    }

    /// Says to the host that the destination cannot be reached, a thousand times a second at most.
    void refuse(job_type& j, ip_header const& header, status why, instant now) noexcept {
        constexpr duration cost = milliseconds(1), burst = cost * 50;
        drop(j, why);
        if (now - unreachables_since_ > burst) unreachables_since_ = now - burst;
        if (now - unreachables_since_ < cost || !make_unreachable(j.data, header)) return;
        unreachables_since_ = unreachables_since_ + cost;
        j.next = disposition::deliver;
    }

    void stage(peer_type& to, bytes_view packet_data) noexcept {
        for (std::size_t lost = staging_.stage(to.staged, packet_data); lost != 0; --lost)
            count(status::staging_full, &to);
        to.timers.new_attempt(); // the user asks anew; what already waits does not
        enqueue_for_transmit(to);
    }

    /// Makes a packet the body of a transport message, still in clear.
    void frame(job_type& j, peer_type& to, keypair_type& keys, std::uint8_t tos) noexcept {
        std::size_t const length = j.data.length, padding = padding_for(length);
        if (j.data.headroom() < transport_header_bytes || j.data.tailroom() < padding + tag_bytes)
            return drop(j, status::no_room);
        j.data.grow(transport_header_bytes, static_cast<std::ptrdiff_t>(padding + tag_bytes));
        bytes const message = j.data.view();
        j.counter = keys.send_counter++;
        store_le32(message.data(), static_cast<std::uint32_t>(message_type::transport));
        store_le32(&message[transport_layout::receiver], keys.remote_index);
        store_le64(&message[transport_layout::counter], j.counter);
        fill_zero(message.subspan(transport_header_bytes + length, padding));
        j.has_data = length != 0;
        j.tos = tos;
        send(j, to, &keys);
    }

    //= wp 5.4.6: padded with zeros to a multiple of 16, but not beyond the MTU
    std::size_t padding_for(std::size_t length) const noexcept {
        std::size_t const last = mtu_ != 0 && length > mtu_ ? length % mtu_ : length;
        std::size_t const padded = (last + padding_bytes - 1) / padding_bytes * padding_bytes;
        return (mtu_ != 0 && padded > mtu_ ? mtu_ : padded) - last;
    }

    void send(job_type& j, peer_type& to, keypair_type* keys) noexcept {
        j.where = to.where;
        j.next = disposition::send;
        j.why = status::ok;
        j.outbound = true;
        peers_.hold(j, to, keys);
    }

    void complete_outbound(job_type& j, peer_type& owner, instant now) noexcept {
        if (j.why == status::ok) owner.tx_bytes += j.data.length;
        // The socket found that the cached source address is gone.
        if (j.where.local == local_source{} && j.where.remote == owner.where.remote) owner.where.local = {};
        if (j.keys == nullptr) return; // a handshake message: its timers ran when it was made
        owner.timers.any_authenticated_packet_traversal(now);
        owner.timers.any_authenticated_packet_sent();
        if (j.has_data && !owner.timers.awaits_reply()) owner.timers.data_sent(now, jitter());
        keypair_type const* const current = owner.keypairs.current;
        if (current != nullptr && current->wants_rekey_after_sending(now)) want_initiation(owner);
        if (!j.has_data) report(event_id::keepalive_sent, &owner);
    }

    // --- inbound

    void prepare_inbound(job_type& j, instant now) noexcept {
        begin(j, false);
        bytes const data = j.data.view();
        message_type const type = type_of(data);
        if (!up_) return drop(j, status::device_down);
        if (type == message_type::none) return drop(j, status::malformed);
        if (type != message_type::transport) return prepare_handshake(j, type, now);
        auto const* const found = peers_.find_index(load_le32(&data[transport_layout::receiver]));
        if (found == nullptr || found->keys == nullptr) return drop(j, status::unknown_index);
        j.counter = load_le64(&data[transport_layout::counter]);
        if (!found->keys->can_receive(now) || j.counter >= reject_after_messages)
            return drop(j, status::expired_keypair);
        peers_.hold(j, *found->who, found->keys);
    }

    void prepare_handshake(job_type& j, message_type type, instant now) noexcept {
        bytes_view const message = j.data.view();
        //= wp 5.3: a wrong mac1 is not worth anything, not even a place in the queue
        if (type != message_type::cookie_reply && (!identity_->exists() || !checker().check_mac1(with_, message)))
            return drop(j, status::bad_mac1);
        bool const taken = handshakes_.push(message, j.where, now);
        watch_load(now);
        drop(j, taken ? status::queued : status::handshake_queue_full);
    }

    void complete_inbound(job_type& j, peer_type& from, instant now) noexcept {
        if (j.why != status::ok) return drop(j, j.why);
        std::size_t const message_bytes = j.data.length + transport_overhead_bytes;
        if (!j.keys->received.accept(j.counter)) return drop(j, status::replayed_counter);
        roam(from, j.where);
        if (from.keypairs.confirm(*j.keys, retire())) {
            complete_handshake(from);
            enqueue_for_transmit(from);
            report(event_id::session_started, &from, 0);
        }
        keypair_type const* const current = from.keypairs.current;
        if (current != nullptr && current->wants_rekey_after_receiving(now) && from.timers.take_last_minute_handshake())
            want_initiation(from);
        from.timers.any_authenticated_packet_received();
        from.timers.any_authenticated_packet_traversal(now);
        if (j.data.length == 0) {
            from.rx_bytes += message_bytes;
            report(event_id::keepalive_received, &from);
            return drop(j, status::keepalive);
        }
        from.timers.data_received(now);
        ip_header const header = parse_ip(j.data.view());
        if (!header) return drop(j, status::bad_inner_packet);
        j.data.grow(0, static_cast<std::ptrdiff_t>(header.total_bytes) - static_cast<std::ptrdiff_t>(j.data.length));
        if (peers_.allowed().find(header.kind, header.source) != &from) return drop(j, status::disallowed_source);
        if (!decapsulate_ecn(j.data.view(), header, j.tos)) return drop(j, status::congestion_lost);
        from.rx_bytes += message_bytes;
        j.next = disposition::deliver;
    }

    //= wp 2.1: the endpoint is where the last authenticated packet came from
    void roam(peer_type& who, path const& to) noexcept {
        if (who.where.remote != to.remote) report(event_id::endpoint_changed, &who, to.remote.port);
        who.where = to;
    }

    // --- handshakes

    status handle_handshake(waiting_handshake const& in, job_type& out, std::size_t& heavy, instant now) noexcept {
        begin(out, true);
        bytes_view const message = in.message();
        message_type const type = type_of(message);
        if (type == message_type::cookie_reply) return consume_cookie_reply(message, now);
        if (!identity_->exists()) return status::no_private_key;
        //= wp 5.3: under load mac1, then mac2, then the rate of the source, and only then a DH
        if (handshakes_.under_load(now)) {
            if (!checker().check_mac2(with_, message, in.where.remote, now))
                return send_cookie_reply(message, in.where, out, now);
            if (!limiter_.allow(with_.hash, random_, in.where.remote.address, now)) return status::rate_limited;
        }
        ++heavy;
        handshakes_.note_answer(now);
        return type == message_type::initiation ? consume_initiation(message, in.where, out, now)
                                                : consume_response(message, in.where, now);
    }

    status send_cookie_reply(bytes_view message, path const& where, job_type& out, instant now) noexcept {
        if (!room_for(out, cookie_reply_layout::size)) return status::no_room;
        std::uint32_t const receiver =
            load_le32(&message[initiation_layout::sender]); // at the same place in a response
        if (status const why =
                checker().create_reply(with_, random_, message, receiver, where.remote, now, out.data.view());
            why != status::ok)
            return why;
        out.where = where;
        out.tos = 0;
        out.next = disposition::send;
        report(event_id::cookie_reply_sent, nullptr);
        return status::cookie_sent;
    }

    status consume_cookie_reply(bytes_view message, instant now) noexcept {
        auto const* const found = peers_.find_index(load_le32(&message[cookie_reply_layout::receiver]));
        if (found == nullptr) return status::unknown_index;
        peer_type& from = *found->who;
        status const why = from.secrets->cookies.consume_reply(with_, from.key(), message, now);
        if (why == status::ok) report(event_id::cookie_reply_received, &from);
        return why;
    }

    status consume_initiation(bytes_view message, path const& where, job_type& out, instant now) noexcept {
        noise<Policies> const steps(with_);
        typename noise<Policies>::incoming_initiation in;
        if (status const why = steps.open_initiation(in, identity_->mine(), message); why != status::ok) return why;
        peer_type* const from = peers_.find(with_, in.remote_static);
        if (from == nullptr) return status::unknown_peer;
        if (status const why = steps.prove_initiation(in, from->secrets->remote, message); why != status::ok)
            return why;
        //= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
        if (std::memcmp(in.timestamp.data(), from->greatest_timestamp.data(), timestamp_bytes) <= 0)
            return status::replayed_initiation;
        if (now - from->last_initiation_consumption < initiation_interval) return status::initiation_flood;
        from->greatest_timestamp = in.timestamp;
        from->last_initiation_consumption = now;
        peers_.forget_handshake(*from);
        steps.accept_initiation(from->exchange(), in, message);
        roam(*from, where);
        from->rx_bytes += message.size();
        from->timers.any_authenticated_packet_received();
        from->timers.any_authenticated_packet_traversal(now);
        report(event_id::initiation_received, from);
        // If ours is under way, too, both are lost; so would be the next two when they cross within one latency.
        // Whoever has the greater key goes first next time.
        bool const first = std::memcmp(identity_->mine().public_key.data(), in.remote_static.data(), key_bytes) > 0;
        from->timers.initiation_crossed(now, first ? jitter() : rekey_timeout + jitter());
        status const why = send_response(*from, out, now);
        reschedule(*from);
        return why;
    }

    status send_response(peer_type& to, job_type& out, instant now) noexcept {
        if (!room_for(out, response_layout::size)) return status::no_room;
        noise<Policies> const steps(with_);
        result<std::uint32_t> const index = peers_.make_index(to, random_);
        if (!index) return index.why();
        to.last_sent_handshake = now;
        status why = steps.create_response(to.exchange(), to.secrets->remote, random_, *index, out.data.view());
        if (why == status::ok) why = begin_session(to, now, false);
        if (why != status::ok) {
            peers_.forget_handshake(to);
            return why;
        }
        to.secrets->cookies.add_macs(with_, to.key(), out.data.view(), now);
        send_handshake_message(out, to, now);
        report(event_id::response_sent, &to);
        return status::ok;
    }

    status consume_response(bytes_view message, path const& where, instant now) noexcept {
        auto const* const found = peers_.find_index(load_le32(&message[response_layout::receiver]));
        if (found == nullptr || found->keys != nullptr) return status::unknown_index;
        peer_type& from = *found->who;
        status why =
            noise<Policies>(with_).consume_response(from.exchange(), identity_->mine(), from.secrets->remote, message);
        if (why != status::ok) return why;
        roam(from, where);
        from.rx_bytes += message.size();
        from.timers.any_authenticated_packet_received();
        from.timers.any_authenticated_packet_traversal(now);
        report(event_id::response_received, &from);
        why = begin_session(from, now, true);
        if (why == status::ok) {
            complete_handshake(from);
            report(event_id::session_started, &from, 1);
            want_keepalive(from); // confirms the session, unless a staged packet does
        } else {
            peers_.forget_handshake(from);
        }
        reschedule(from);
        return why;
    }

    status begin_session(peer_type& with, instant now, bool initiator) noexcept {
        keypair_type* const fresh = peers_.make_keypair(with, now, initiator);
        if (fresh == nullptr) return status::no_memory;
        status const why = noise<Policies>(with_).begin_session(with.exchange(), fresh->send_key, fresh->receive_key);
        WG_ASSERT(why == status::ok);
        if (initiator)
            with.keypairs.add_as_initiator(*fresh, retire());
        else
            with.keypairs.add_as_responder(*fresh, retire());
        with.timers.session_derived(now);
        return why;
    }

    void complete_handshake(peer_type& with) noexcept {
        with.timers.handshake_complete();
        clock_.tai64n(with.last_handshake);
    }

    bool send_initiation(peer_type& to, job_type& out, instant now) noexcept {
        if (!identity_->exists() || !to.where.remote || !to.may_send_initiation(now)) return false;
        if (!room_for(out, initiation_layout::size)) return false;
        to.last_sent_handshake = now;
        to.timers.handshake_initiated(now, jitter()); // also if what follows fails: then it is tried again
        status why = status::no_random;
        if (result<std::uint32_t> const index = peers_.make_index(to, random_))
            why = noise<Policies>(with_).create_initiation(to.exchange(), identity_->mine(), to.secrets->remote,
                                                           random_, next_label(to), *index, out.data.view());
        else
            why = index.why();
        if (why != status::ok) {
            peers_.forget_handshake(to);
            count(why, &to);
            return false;
        }
        to.secrets->cookies.add_macs(with_, to.key(), out.data.view(), now);
        send_handshake_message(out, to, now);
        report(event_id::initiation_sent, &to, to.timers.attempts());
        return true;
    }

    void send_handshake_message(job_type& out, peer_type& to, instant now) noexcept {
        to.timers.any_authenticated_packet_traversal(now);
        to.timers.any_authenticated_packet_sent();
        out.tos = handshake_tos;
        send(out, to, nullptr);
    }

    /// The wall clock, coarse so that it tells little of this host's load, and greater than the label before.
    byte_array<timestamp_bytes> const& next_label(peer_type& to) noexcept {
        constexpr std::uint32_t grain_ns = std::uint32_t{1} << 24;
        byte_array<timestamp_bytes> label{};
        clock_.tai64n(label);
        store_be32(&label[8], load_be32(&label[8]) & ~(grain_ns - 1));
        if (std::memcmp(label.data(), to.last_label.data(), timestamp_bytes) <= 0) {
            label = to.last_label;
            std::uint32_t const ns = load_be32(&label[8]) + grain_ns;
            store_be32(&label[8], ns < 1'000'000'000 ? ns : 0);
            if (ns >= 1'000'000'000) store_be64(label.data(), load_be64(label.data()) + 1);
        }
        to.last_label = label;
        return to.last_label;
    }

    // --- what peers want to send

    /// Writes one message of `to` into `out`. False: there is none to be sent now.
    bool transmit_one(peer_type& to, job_type& out, instant now) noexcept {
        begin(out, true);
        if (std::exchange(to.wants_initiation, false) && send_initiation(to, out, now)) return true;
        if (to.staged.empty() && !to.wants_keepalive) return false;
        keypair_type* const keys = to.keypairs.current;
        if (keys == nullptr || !keys->can_send(now)) {
            if (keys != nullptr) keys->may_send = false;
            return send_initiation(to, out, now);
        }
        if (!to.where.remote) return false;
        to.wants_keepalive = false;
        std::size_t const length = to.staged.empty() ? 0 : staging_.oldest_bytes(to.staged);
        if (!room_for(out, length + transport_overhead_bytes + padding_bytes)) {
            if (length != 0) staging_.drop_oldest(to.staged);
            count(status::no_room, &to);
            return false;
        }
        out.data = packet({out.data.buffer, out.data.capacity}, packet_headroom_bytes, length);
        std::uint8_t tos = 0;
        if (length != 0) {
            staging_.unstage(to.staged, out.data.view());
            tos = ecn_of(parse_ip(out.data.view()).tos);
        }
        frame(out, to, *keys, tos);
        return out.next == disposition::send;
    }

    void enqueue_for_transmit(peer_type& p) noexcept {
        if (std::exchange(p.queued_for_transmit, true)) return;
        (last_for_transmit_ != nullptr ? last_for_transmit_->next_for_transmit : first_for_transmit_) = &p;
        last_for_transmit_ = &p;
    }
    void dequeue_for_transmit(peer_type& p) noexcept {
        if (!std::exchange(p.queued_for_transmit, false)) return;
        peer_type* before = nullptr;
        for (peer_type* at = first_for_transmit_; at != &p; at = at->next_for_transmit) before = at;
        (before != nullptr ? before->next_for_transmit : first_for_transmit_) = p.next_for_transmit;
        if (last_for_transmit_ == &p) last_for_transmit_ = before;
        p.next_for_transmit = nullptr;
    }
    void want_initiation(peer_type& p) noexcept {
        p.timers.new_attempt();
        p.wants_initiation = true;
        enqueue_for_transmit(p);
    }
    void want_keepalive(peer_type& p) noexcept {
        p.timers.new_attempt();
        p.wants_keepalive = true;
        enqueue_for_transmit(p);
    }

    // --- timers

    void run_timers(peer_type& p, instant now) noexcept {
        timer_actions const act = p.timers.expire(now);
        if (act.give_up) {
            for (std::size_t n = staging_.drop_all(p.staged); n != 0; --n) count(status::staging_full, &p);
            p.wants_keepalive = false;
            report(event_id::handshake_given_up, &p);
        }
        if (act.retry_initiation || act.initiate) p.where.local = {}; // perhaps it was the way that was dead
        if (act.retry_initiation) {
            p.wants_initiation = true;
            enqueue_for_transmit(p);
        }
        if (act.initiate) want_initiation(p);
        if (act.keepalive) want_keepalive(p);
        if (act.zero_keys) {
            zero_keys(p);
            report(event_id::keys_zeroed, &p);
        }
    }

    void zero_keys(peer_type& p) noexcept {
        peers_.forget_handshake(p);
        peers_.retire_all(p);
        staging_.drop_all(p.staged);
    }

    void reschedule(peer_type& p) noexcept { peers_.deadlines().schedule(p, p.timers.next_deadline()); }

    duration jitter() noexcept {
        byte_array<4> raw{};
        if (!random_.fill(raw)) return {};
        return {static_cast<std::int64_t>(load_le32(raw.data()) %
                                          static_cast<std::uint64_t>(rekey_timeout_jitter.nanoseconds))};
    }

    // --- configuration

    /// How many there will be after each step of a configuration, and how many at most.
    struct tally {
        std::size_t now, most = now, added = 0;

        void add() noexcept {
            ++added;
            most = std::max(most, ++now);
        }
        void drop(std::size_t count) noexcept { now -= count; }
    };

    status admit_locked(std::span<change const> changes) noexcept {
        if (status const why = check_changes(changes); why != status::ok) return why;
        bool replace = false;
        for (change const& c : interface_changes(changes)) replace |= c.what() == change::kind::replace_peers;
        tally peers{replace ? peers_.in_flight() : peers_.size()};
        tally v4{replace ? 0 : peers_.allowed().size(family::v4)}, v6{replace ? 0 : peers_.allowed().size(family::v6)};
        for_each_peer(changes, [&](peer_changes const& of) noexcept {
            peer_type* const known = replace ? nullptr : peers_.find(with_, of.key);
            bool const cleared = known != nullptr && (of.remove || of.replace_allowed_ips);
            if (cleared && !std::exchange(known->prefixes_discounted, true)) {
                v4.drop(known->allowed_v4.count);
                v6.drop(known->allowed_v6.count);
            }
            if (known != nullptr && of.remove && known->in_flight == 0 && !std::exchange(known->discounted, true))
                peers.drop(1);
            if (of.remove || (of.update_only && known == nullptr)) return;
            if (known == nullptr || known->discounted) peers.add();
            for (change const& c : of.changes) {
                if (c.what() != change::kind::allowed_ip) continue;
                if (!replace && !cleared && peers_.allowed().find_exact(c.prefix()) == known && known != nullptr)
                    continue;
                (c.prefix().address.kind == family::v4 ? v4 : v6).add();
            }
        });
        for_each_peer(changes, [&](peer_changes const& of) noexcept {
            if (peer_type* const known = peers_.find(with_, of.key))
                known->discounted = known->prefixes_discounted = false;
        });
        if (!peers_.allowed().reserve(v4.added, v4.most, v6.added, v6.most)) return status::no_memory;
        return peers_.reserve(peers.added, peers.most);
    }

    void apply(change const& c, instant now) noexcept {
        switch (c.what()) {
        case change::kind::private_key: set_private_key(c.key(), now); break;
        case change::kind::listen_port: listen_port_ = static_cast<std::uint16_t>(c.number()); break;
        case change::kind::fwmark:
            fwmark_ = c.number();
            for (peer_type* p = peers_.first(); p != nullptr; p = p->next) p->where.local = {};
            break;
        case change::kind::replace_peers:
            while (peers_.first() != nullptr) remove(*peers_.first());
            break;
        default: break; // those of peers
        }
    }

    void apply(peer_changes const& of, instant now) noexcept {
        peer_type* p = peers_.find(with_, of.key);
        if (of.remove) {
            if (p != nullptr) remove(*p);
            return;
        }
        if (p == nullptr) {
            bool const own = identity_->exists() && equal_in_constant_time(of.key, identity_->mine().public_key);
            if (of.update_only || own) return; // an interface is no peer of its own; nobody complains of that
            p = peers_.add(with_, of.key, now);
            if (p == nullptr) return count(status::no_memory, nullptr); // not after admit
            compute_static_static(*p);
            report(event_id::peer_added, p);
        }
        if (of.replace_allowed_ips) peers_.allowed().remove_all(*p);
        for (change const& c : of.changes) apply(c, *p);
        if (!p->staged.empty() || p->wants_keepalive) enqueue_for_transmit(*p);
    }

    void apply(change const& c, peer_type& p) noexcept {
        switch (c.what()) {
        case change::kind::preshared_key: p.secrets->remote.preshared_key.assign(c.key()); break;
        case change::kind::endpoint:
            if (p.where.remote != c.where()) p.where = {c.where(), {}};
            break;
        case change::kind::persistent_keepalive: {
            bool const begins = p.timers.persistent_keepalive_s() == 0 && c.number() != 0;
            p.timers.set_persistent_keepalive(static_cast<std::uint16_t>(c.number()));
            if (begins && up_) want_keepalive(p);
            break;
        }
        case change::kind::allowed_ip:
            if (!peers_.allowed().insert(c.prefix(), p)) count(status::no_memory, &p); // not after admit
            break;
        case change::kind::remove_allowed_ip: peers_.allowed().remove(c.prefix(), p); break;
        default: break; // seen to before
        }
    }

    void remove(peer_type& gone) noexcept {
        report(event_id::peer_removed, &gone);
        dequeue_for_transmit(gone);
        staging_.drop_all(gone.staged);
        peers_.remove(with_, gone);
    }

    void set_private_key(key_view key, instant now) noexcept {
        secret<key_bytes> fresh(key);
        if (!fresh.is_zero()) { // clamped, as X25519 would (RFC 7748, section 5)
            fresh.expose()[0] &= 248;
            fresh.expose()[31] = static_cast<byte>((fresh.expose()[31] & 127) | 64);
        }
        if (fresh.equals(identity_->private_key)) return;
        identity_->private_key = std::move(fresh);
        set_public_key();
        if (identity_->exists())
            if (peer_type* const own = peers_.find(with_, identity_->mine().public_key)) remove(*own);
        for (peer_type* p = peers_.first(); p != nullptr; p = p->next) {
            compute_static_static(*p);
            peers_.forget_handshake(*p);
            p->reset_last_sent_handshake(now);
            if (p->keypairs.current != nullptr) p->keypairs.current->may_send = false;
            if (p->keypairs.next != nullptr) p->keypairs.next->may_send = false;
            if (!p->staged.empty()) enqueue_for_transmit(*p);
        }
    }

    void set_public_key() noexcept {
        identity_->mine().public_key = {};
        if (identity_->exists()) with_.dh.dh_public(identity_->mine().public_key, identity_->private_key);
        checker().set_public_key(with_, identity_->mine().public_key);
    }

    void compute_static_static(peer_type& p) noexcept {
        remote_identity& remote = p.secrets->remote;
        if (!identity_->exists() || !with_.dh.dh(remote.static_static, identity_->private_key, remote.public_key))
            remote.static_static.clear(); // of low order: this peer gets and sends nothing
    }

    // --- bookkeeping

    /// The device's own secrets, in the storage's region.
    struct own_secrets : identity {
        cookie_checker<Policies> checker;

        identity& mine() noexcept { return *this; }
    };
    cookie_checker<Policies>& checker() noexcept { return identity_->checker; }

    static void begin(job_type& j, bool outbound) noexcept {
        j.keys = nullptr;
        j.owner = nullptr;
        j.next = disposition::drop;
        j.why = status::ok;
        j.outbound = outbound;
        j.has_data = false;
    }

    /// Makes the window the first `size` bytes of the job's buffer, if it has so many.
    static bool room_for(job_type& j, std::size_t size) noexcept {
        if (j.data.capacity < size) return false;
        j.data = packet({j.data.buffer, j.data.capacity}, 0, size);
        return true;
    }

    void drop(job_type& j, status why) noexcept {
        j.next = disposition::drop;
        j.why = why;
        count(why, j.owner);
    }

    void count(status why, peer_type const* whose) noexcept {
        ++counters_[static_cast<std::size_t>(why)];
        bool const lost =
            why != status::staged && why != status::queued && why != status::keepalive && why != status::cookie_sent;
        if (lost) report(event_id::dropped, whose, static_cast<std::uint64_t>(why));
    }

    void watch_load(instant now) noexcept {
        bool const loaded = handshakes_.under_load(now);
        if (std::exchange(was_under_load_, loaded) != loaded) report(event_id::under_load, nullptr, loaded);
    }

    auto retire() noexcept {
        return [this](keypair_type& old) noexcept { peers_.retire(old); };
    }

    template <class Wanted, class... Given> static Wanted take_or_make([[maybe_unused]] Given&... given) noexcept {
        if constexpr ((std::same_as<Wanted, Given> || ...))
            return std::move(std::get<Wanted&>(std::tie(given...)));
        else
            return Wanted{};
    }

    static std::uint64_t make_salt(typename Policies::random_source& random) noexcept {
        byte_array<8> raw{};
        return random.fill(raw) ? load_le64(raw.data()) : 0;
    }

    struct reported {
        event_id id{};
        std::uint32_t number = 0;
        std::uint64_t value = 0;
    };
    static constexpr std::size_t max_reported = observer::enabled ? 64 : 0;

    /// Remembers an event for the end of the call; what is beyond `max_reported` in one call is only counted.
    void report(event_id id, peer_type const* whose, std::uint64_t value = 0) noexcept {
        if constexpr (observer::enabled) {
            if (reported_count_ == max_reported) return;
            reported_[reported_count_++] = {id, whose != nullptr ? whose->number : no_peer_number, value};
        }
    }

    /// Holds the lock for a call, and tells the observer after it.
    class locked {
    public:
        explicit locked(device& d) noexcept : device_(d) { device_.mutex_.lock(); }
        locked(locked const&) = delete;
        locked& operator=(locked const&) = delete;
        ~locked() {
            if constexpr (observer::enabled) {
                std::array<reported, max_reported> told; // filled as far as there is something to tell
                std::size_t const count = std::exchange(device_.reported_count_, 0);
                std::copy_n(device_.reported_.begin(), count, told.begin());
                device_.mutex_.unlock();
                for (std::size_t i = 0; i < count; ++i)
                    device_.observer_.event(told[i].id, told[i].number, told[i].value);
            } else {
                device_.mutex_.unlock();
            }
        }

    private:
        device& device_;
    };

    primitives<Policies> with_;
    [[no_unique_address]] typename Policies::clock_source clock_;
    [[no_unique_address]] typename Policies::random_source random_;
    [[no_unique_address]] observer observer_;
    [[no_unique_address]] typename Policies::threads::mutex mutex_;
    storage storage_;
    typename storage::template secret_pool<own_secrets, 1> own_;
    peer_table<Policies> peers_;
    staging<storage> staging_;
    handshake_queue<storage> handshakes_;
    rate_limiter<storage> limiter_;
    own_secrets* identity_;

    peer_type* first_for_transmit_ = nullptr;
    peer_type* last_for_transmit_ = nullptr;
    std::size_t mtu_ = default_mtu_bytes;
    std::uint32_t fwmark_ = 0;
    std::uint16_t listen_port_ = 0;
    bool up_ = true;
    bool was_under_load_ = false;
    instant unreachables_since_{};
    std::array<std::uint64_t, status_count> counters_{};
    [[no_unique_address]] std::array<reported, max_reported> reported_;
    std::size_t reported_count_ = 0;
};

} // namespace wg::inline WG_ABI

#endif
