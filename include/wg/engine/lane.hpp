// SPDX-License-Identifier: BSL-1.0
// One worker's way through an interface: the steps that move packets between a TUN device, a device and a UDP socket.
// Folder: engine; one thread at a time, but several lanes of an interface at the same time.
//
// What keeps the packets of a flow in order when there are several lanes:
// - out: a lane has the TUN queue that it read from to itself until it has sent the packets (`tun_device::settle`);
// - in: lanes receive one after the other, decrypt at the same time, and complete and deliver in the order of receiving
//   (`reception_order`);
// - packets that waited for a session are sent by one lane at a time, and the device lets no later packet pass them.
#ifndef WG_ENGINE_LANE_HPP
#define WG_ENGINE_LANE_HPP

#include "../device/device.hpp"
#include "lane_buffers.hpp"
#include "lane_scheduler.hpp"
#include "reception_order.hpp"

namespace wg { inline namespace WG_ABI {

/// Drops the sessions of a device when its host was suspended or restored from a snapshot. Without a
/// `snapshot_detector` in the bundle: empty, does nothing. Any thread.
template <class Policies> class session_guard {
public:
    /// What a lane remembers between two calls: nothing.
    using seen = empty_member<21>;

    /// Returns: what a new lane remembers.
    seen begin() noexcept { return {}; }
    /// Does nothing.
    void look(instant_argument) noexcept {}
    /// Does nothing. Returns: false.
    bool drop_sessions(device<Policies>&, seen&) noexcept { return false; }
};
template <policies_with_snapshot_detector Policies> class session_guard<Policies> {
public:
    /// What a lane remembers between two calls: the generation for which sessions were dropped.
    using seen = std::uint64_t;

    session_guard() noexcept : dropped_for_(detector_.generation()) {}

    /// Returns: what a new lane remembers. If the host was restored since the last drop, the lane notices it.
    seen begin() noexcept {
        mutex_.lock();
        seen const now = dropped_for_;
        mutex_.unlock();
        return now;
    }
    /// Lets the detector look for a suspend.
    void look(instant_argument now) noexcept { detector_.look(now); }
    /// Drops all sessions if the generation is not that of `lane`. If several lanes notice a change, one drops, and the
    /// others wait for it. Returns: true after a change; then the lane must not send what it has sealed before.
    bool drop_sessions(device<Policies>& core, seen& lane) noexcept {
        if (detector_.generation() == lane) return false;
        mutex_.lock();
        lane = detector_.generation();
        if (std::exchange(dropped_for_, lane) != lane) core.drop_sessions();
        mutex_.unlock();
        return true;
    }
    /// The detector, for programs that have to set it up.
    typename Policies::snapshot_detector& detector() noexcept { return detector_; }

private:
    typename Policies::snapshot_detector detector_{};
    std::uint64_t dropped_for_; ///< guarded by `mutex_`
    [[no_unique_address]] typename Policies::threads::mutex mutex_{};
};

/// What the lanes of an interface share. An engine has one, see `engine::shared`.
template <policies Policies> struct lane_shared {
    device<Policies>& core; ///< the device of the interface
    bool running = false;   ///< the socket is open; changes only while no lane steps
    /// The order of received datagrams.
    [[no_unique_address]] reception_order<typename Policies::threads> order{};
    /// Held while a lane sends what the device has to send by itself.
    [[no_unique_address]] typename Policies::threads::mutex flushing{};
    /// How many `workers` use the engine; for checks.
    [[no_unique_address]] std::conditional_t<keeps_checks, std::size_t, empty_member<20>> workers{};
    /// Drops sessions after a suspend of the host.
    [[no_unique_address]] session_guard<Policies> sessions{};
};

/// Moves packets both ways in batches, in buffers of its own. An engine has one lane, each thread of `workers` another.
template <engine_policies Policies> class lane {
    using device_type = device<Policies>;
    using job_type = typename device_type::job_type;
    using tun_type = typename Policies::tun_device;
    using socket_type = typename Policies::udp_socket;
    using buffers = lane_buffers<Policies>;

public:
    /// Packets in one step.
    static constexpr std::size_t batch = buffers::batch;
    /// Datagrams in one receive call. Each datagram may hold up to `batch` segments.
    static constexpr std::size_t receive_batch = buffers::receive_batch;
    /// Jobs at a time: a batch, and the segments by which its last datagram exceeds the batch. A datagram has up to 64
    /// segments, and it is cheaper to handle all of them together.
    static constexpr std::size_t max_jobs = receive_batch == 1 ? batch : batch + 64;

    /// All three arguments outlive the lane. Buffers come from the device's storage.
    lane(lane_shared<Policies>& shared, tun_type& tun, socket_type& socket) noexcept
        : shared_(shared), core_(shared.core), tun_(tun), socket_(socket), seen_(shared.sessions.begin()),
          buffers_(core_.memory()) {}
    lane(lane const&) = delete;
    lane& operator=(lane const&) = delete;

    /// Makes buffers for packets of up to `mtu_bytes` (0: the MTU is not known).
    /// Returns: no_memory; then packets longer than before do not pass.
    status make_room(std::size_t mtu_bytes) noexcept { return buffers_.make_room(mtu_bytes); }

    /// Drops all sessions if the host was suspended or restored from a snapshot since the last look. Called before each
    /// step.
    void look_for_snapshot() noexcept {
        if constexpr (policies_with_snapshot_detector<Policies>) {
            shared_.sessions.look(now());
            (void)shared_.sessions.drop_sessions(core_, seen_);
        }
    }

    /// Moves what is ready, about a batch each way: so packets that become ready meanwhile wait for a short time only,
    /// and a backlog is noticed early. `tun`, `udp`: what is ready. Returns: gone, when the TUN device was removed.
    status step(bool tun, bool udp) noexcept {
        tun = tun || tun_unfinished_;
        tun_unfinished_ = false;
        moved_ = false;
        passed_ = 0;
        scheduler_.begin_step();
        make_room_for_longer_packets();
        for (std::size_t round = 0; round < rounds_of_step && (tun || udp); ++round) {
            if (udp) {
                udp = shared_.running && pump_udp();
                if constexpr (separates_handshakes)
                    if (shared_.running) pump_handshakes();
            }
            if (tun) {
                result<std::size_t> const moved = pump_tun();
                if (!moved && moved.why() == status::gone) return status::gone;
                moved_ |= moved && *moved != 0;
                tun = moved && *moved == batch;
                if (tun) yield_to_others();
            }
        }
        scheduler_.end_step(passed_);
        tun_unfinished_ = tun;
        busy_ = udp || (tun && has_more_for_others());
        return status::ok;
    }

    /// Whether the last step found anything to move.
    bool moved() const noexcept { return moved_; }
    /// Whether the last step left work that another lane could do.
    bool busy() const noexcept { return busy_; }
    /// Packets that the last step moved from and to the host. Datagrams that no peer sent do not count.
    std::size_t passed() const noexcept { return passed_; }
    /// Whether the TUN device holds packets for this lane that its descriptor does not show.
    bool unfinished() const noexcept { return tun_unfinished_; }

    /// Sends what the device has to send by itself: answers to some handshakes if `answers`, then initiations,
    /// keepalives and packets that waited for a session. The amount is bounded; the rest follows at the next step, and
    /// the device's deadline is due until then.
    void flush(bool answers = true) noexcept {
        shared_.flushing.lock();
        for (int round = 0; round < rounds_of_flush && transmit_pending(answers && round == 0); ++round) {}
        shared_.flushing.unlock();
    }

private:
    static constexpr std::size_t rounds_of_step = (std::max<std::size_t>)(16 / batch, 1);
    static constexpr int rounds_of_flush = 16;
    static constexpr bool separates_handshakes = udp_socket_with_handshakes<socket_type>;

    instant now() noexcept { return core_.clock().now(); }

    /// A packet that did not fit shows that the interface's MTU is greater than the host has reported. Makes buffers in
    /// which the next packets of that length fit.
    void make_room_for_longer_packets() noexcept {
        if constexpr (tun_device_with_longest_cut<tun_type>) {
            std::size_t const longest = tun_.longest_cut();
            if (longest != 0 && buffers_.is_too_short_for(longest) && make_room(longest) == status::ok)
                core_.set_mtu(longest);
        }
    }

    /// Moves a batch from the TUN device to the network. Returns: the number of packets read.
    result<std::size_t> pump_tun() noexcept {
        result<std::size_t> const got = buffers_.outbound_count() == 0 ? discard() : read_and_send();
        if constexpr (tun_device_with_settle<tun_type>) tun_.settle();
        if (got && *got != 0) flush_bounded();
        if (got) passed_ += *got;
        return got;
    }

    result<std::size_t> read_and_send() noexcept {
        for (std::size_t i = 0; i < batch; ++i) packets_[i] = buffers_.read_window(i);
        result<std::size_t> const got = tun_.read(std::span(packets_).first(batch));
        if (!got || *got == 0) return got;
        job_list<job_type> const jobs = std::span(jobs_).first(*got);
        for (std::size_t i = 0; i < *got; ++i) {
            jobs[i].data = packets_[i];
            jobs[i].data.capacity += static_cast<std::uint32_t>(tag_bytes);
        }
        core_.prepare_outbound(jobs, now());
        device_type::crypt(jobs, core_.aead());
        transmit(jobs);
        return got;
    }

    /// Reads and drops one packet while there are no buffers; otherwise the waiter would return at once for ever.
    result<std::size_t> discard() noexcept {
        byte sink[64];
        packet p(sink, 0);
        return tun_.read({&p, 1});
    }

    bool has_more_for_others() const noexcept {
        if constexpr (tun_device_with_has_more_for_others<tun_type>) return tun_.has_more_for_others();
        else return true;
    }

    void yield_to_others() noexcept {
        if constexpr (tun_device_with_sparse_packets<tun_type> && threads_with_give_way<typename Policies::threads>) {
            instant const at = now();
            if (scheduler_.should_yield(tun_.sparse_packets(), at)) Policies::threads::give_way();
        }
    }

    /// Moves datagrams from the network to the TUN device. Returns: whether there may be more.
    bool pump_udp() noexcept {
        std::size_t const wanted = scheduler_.datagrams_wanted();
        auto const into = buffers_.data_windows(wanted);
        received const got = take_in(into, [&] { return socket_.receive(into); });
        if (got.datagrams == 0) return false;
        flush_bounded();
        scheduler_.note_received(got.datagrams, got.segments);
        return got.datagrams == wanted;
    }

    /// Moves datagrams from the sockets of handshake messages, at most `receive_batch` of them, so that a flood takes a
    /// bounded part of a step.
    void pump_handshakes() noexcept
        requires separates_handshakes
    {
        std::size_t const data = std::exchange(messages_, 0), useless = std::exchange(useless_, 0);
        received got;
        if (may_have_handshakes()) {
            auto const into = buffers_.handshake_windows();
            got = take_in(into, [&] { return socket_.receive_handshakes(into); });
        }
        if (got.datagrams != 0) flush_bounded();
        messages_ = useless_ = 0;
        socket_.note_received(data, useless, got.segments);
    }

    /// Lanes receive one after the other. A lane that would find nothing should not wait for another lane first.
    bool may_have_handshakes() noexcept {
        if constexpr (udp_socket_with_handshakes_ready<socket_type>) return socket_.handshakes_ready();
        else return true;
    }

    struct received {
        std::size_t datagrams = 0;
        std::size_t segments = 0; ///< messages in the datagrams
    };

    /// Receives datagrams, and moves the messages in them through the device to the TUN device.
    template <class Receive> received take_in(std::span<datagram> into, Receive receive) noexcept {
        received sum;
        shared_.order.begin_receive();
        result<std::size_t> const got = receive();
        if (!got || *got == 0) {
            shared_.order.cancel_receive();
            return sum;
        }
        std::uint32_t const place = shared_.order.end_receive();
        sum.datagrams = *got;
        moved_ = true;
        std::size_t count = 0;
        for (datagram const& d : into.first(*got)) {
            std::size_t const segment = d.segment_bytes != 0 ? d.segment_bytes : (std::max<std::size_t>)(d.length, 1);
            for (std::size_t at = 0; at < (std::max<std::size_t>)(d.length, 1); at += segment) {
                if (count == jobs_.size()) open(std::span(jobs_).first(std::exchange(count, 0)), place);
                job_type& j = jobs_[count++];
                ++sum.segments;
                j.data = d;
                j.data.offset += converted<std::uint32_t>(at);
                j.data.length = static_cast<std::uint32_t>(std::min<std::size_t>(segment, d.length - at));
                j.where = d.where;
                j.tos = d.tos;
            }
            if (count >= batch) open(std::span(jobs_).first(std::exchange(count, 0)), place);
        }
        open(std::span(jobs_).first(count), place);
        shared_.order.finish(place);
        return sum;
    }

    void open(job_list<job_type> jobs, std::uint32_t place) noexcept {
        // The replay windows of a restored machine would accept old packets again.
        (void)shared_.sessions.drop_sessions(core_, seen_);
        core_.prepare_inbound(jobs, now());
        device_type::crypt(jobs, core_.aead());
        shared_.order.wait_for_turn(place);
        core_.complete(jobs, now());
        note(jobs);
        deliver(jobs);
    }

    /// Reports useless datagrams and authentic sources to the socket, which filters floods by them.
    void note([[maybe_unused]] job_list<job_type const> jobs) noexcept {
        if constexpr (separates_handshakes) {
            messages_ += jobs.size();
            endpoint const* last = nullptr;
            for (job_type const& j : jobs) {
                if (j.next == disposition::deliver || j.why == status::keepalive) {
                    if (last == nullptr || last->address != j.where.remote.address)
                        socket_.note_authentic(j.where.remote.address);
                    last = &j.where.remote;
                } else {
                    ++useless_;
                }
            }
        }
    }

    /// As `flush`, but answers handshakes only where the scheduler allows it.
    void flush_bounded() noexcept {
        bool const answers = scheduler_.takes_handshakes();
        flush(answers);
    }

    /// Sends a batch of answers to handshakes, or of what else the device has to send.
    /// Returns: false, when there was nothing else.
    bool transmit_pending(bool handshakes) noexcept {
        // The outbound packets of this step are sent by now, so their buffers are free.
        std::size_t const room = buffers_.outbound_count();
        for (std::size_t i = 0; i < room; ++i) jobs_[i].data = buffers_.message_window(i);
        job_list<job_type> const jobs = std::span(jobs_).first(room);
        std::size_t const made = handshakes ? core_.process_handshakes(jobs, now()) : core_.poll_transmit(jobs, now());
        if (made == 0) return handshakes;
        device_type::crypt(jobs.first(made), core_.aead());
        transmit(jobs.first(made));
        return true;
    }

    /// Sends the jobs that are to be sent, completes all of them, and delivers ICMP answers to the host.
    void transmit(job_list<job_type> jobs) noexcept {
        // A snapshot that is taken after this line holds these messages as they are, and both copies of the machine
        // send the same bytes. Before it, the copies could seal different packets with the same nonces.
        if (shared_.sessions.drop_sessions(core_, seen_)) core_.withhold(jobs);
        std::size_t count = 0;
        for (job_type const& j : jobs) {
            if (j.next != disposition::send) continue;
            datagram& d = sent_[count++];
            static_cast<packet&>(d) = j.data;
            add_send_room<socket_type>(d);
            d.where = j.where;
            d.tos = j.tos;
            d.why = status::ok;
            d.error = 0;
        }
        if (count != 0) (void)socket_.send(std::span(sent_).first(count));
        count = 0;
        for (job_type& j : jobs) {
            if (j.next != disposition::send) continue;
            datagram const& d = sent_[count++];
            j.why = d.why;
#ifndef WG_BARE
            j.error = d.error;
#endif
            j.where.local = d.where.local;
        }
        core_.complete(jobs, now());
        deliver(jobs);
    }

    void deliver(job_list<job_type> jobs) noexcept {
        std::size_t count = 0;
        for (job_type const& j : jobs) {
            if (j.next != disposition::deliver) continue;
            packets_[count] = j.data;
            if constexpr (tun_type::headroom != 0) keep_headroom(packets_[count]);
            ++count;
        }
        if (count != 0) (void)tun_.write(std::span(packets_).first(count));
        passed_ += count;
    }

    /// An ICMP answer may have taken the room before the packet; the room that it left is behind the answer.
    static void keep_headroom(packet& p) noexcept {
        if (p.headroom() >= tun_type::headroom) return;
        packet const moved({p.buffer, p.capacity}, tun_type::headroom, p.length);
        std::memmove(moved.view().data(), p.view().data(), p.length);
        p = moved;
    }

    lane_shared<Policies>& shared_;
    device_type& core_;
    tun_type& tun_;
    socket_type& socket_;
    bool tun_unfinished_ = false;
    bool moved_ = false;
    bool busy_ = false;
    std::size_t passed_ = 0;
    std::size_t messages_ = 0; ///< messages received since the last `note_received`
    std::size_t useless_ = 0;  ///< messages among them that no peer needed
    [[no_unique_address]] typename session_guard<Policies>::seen seen_;
    lane_scheduler<batch, receive_batch> scheduler_;
    buffers buffers_;

    // The working set of a step. These are members and not local variables, which each step would have to clear.
    std::array<job_type, max_jobs> jobs_;
    std::array<packet, max_jobs> packets_;
    std::array<datagram, batch> sent_;
};

}} // namespace wg::WG_ABI

#endif
