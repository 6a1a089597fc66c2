// SPDX-License-Identifier: BSL-1.0
// One worker's way through an interface: the buffers that packets live in, and the steps that move them between a TUN
// device, a device and a UDP socket. Layer 6; one thread at a time, but several lanes of an interface at once.
//
// What keeps the packets of a flow in order where there are several lanes:
// - out: what a lane read from a queue of the TUN device it has for itself until it is sent (`tun_device::settle`);
// - in: lanes receive one after the other, open at once, and complete and deliver in the order of receiving;
// - packets that waited for a session are sent by one lane at a time, and the device lets no later one pass them.
#ifndef WG_ENGINE_LANE_HPP
#define WG_ENGINE_LANE_HPP

#include "../device/device.hpp"

namespace wg { inline namespace WG_ABI {

/// The order in which lanes complete what they received. Where threads have nothing to wait on there is one lane.
template <class Threads> class reception_order {
public:
    void begin() noexcept {}
    void abandon() noexcept {}
    std::uint32_t received() noexcept { return 0; }
    void await(std::uint32_t) noexcept {}
    void end(std::uint32_t) noexcept {}
};

template <class Threads>
    requires requires { typename Threads::cell; }
class reception_order<Threads> {
public:
    /// Who receives is alone until `abandon`, for there was nothing, or until `received`, which gives a place.
    void begin() noexcept { receiving_.lock(); }
    void abandon() noexcept { receiving_.unlock(); }
    std::uint32_t received() noexcept {
        std::uint32_t const place = next_++;
        receiving_.unlock();
        return place;
    }
    /// Waits until all before `place` have ended. They never wait for one behind them.
    void await(std::uint32_t place) noexcept {
        for (std::uint32_t at = served_.load(); at != place; at = served_.load()) served_.wait(at);
    }
    void end(std::uint32_t place) noexcept { served_.store(place + 1); }

private:
    typename Threads::mutex receiving_;
    std::uint32_t next_ = 0;        ///< guarded by `receiving_`
    typename Threads::cell served_; ///< whose turn it is
};

/// What the lanes of an interface share.
template <policies Policies> struct junction {
    device<Policies>& core;
    bool running = false; ///< changes only while no lane steps
    [[no_unique_address]] reception_order<typename Policies::threads> order{};
    [[no_unique_address]] typename Policies::threads::mutex flushing{}; ///< held by who sends what waited
};

template <engine_policies Policies> class lane {
    using device_type = device<Policies>;
    using job_type = typename device_type::job_type;
    using tun_type = typename Policies::tun_device;
    using socket_type = typename Policies::udp_socket;
    using storage = typename Policies::storage;

public:
    static constexpr std::size_t batch = storage::batch; ///< packets in one step
    /// Datagrams in one call, which may hold `batch` segments each.
    static constexpr std::size_t receive_batch = batch < 4 ? 1 : batch / 4;
    /// A batch, and what is more than that in its last datagram: such pieces are better moved together.
    static constexpr std::size_t most_jobs = receive_batch == 1 ? batch : batch + 64;

    /// What is joined outlives the lane. Buffers come from the device's storage.
    lane(junction<Policies>& shared, tun_type& tun, socket_type& socket) noexcept
        : shared_(shared), core_(shared.core), tun_(tun), socket_(socket), outbound_(core_.memory()),
          inbound_(core_.memory()), handshakes_(core_.memory()) {}
    lane(lane const&) = delete;
    lane& operator=(lane const&) = delete;

    /// Buffers for packets of this MTU, 0: not known. no_memory: larger ones than before do not pass.
    status make_room(std::size_t mtu_bytes) noexcept {
        std::size_t const stride = stride_for(mtu_bytes != 0 ? mtu_bytes : padded(default_mtu_bytes));
        if (stride > stride_) {
            if (!outbound_.resize(batch * stride)) return status::no_memory;
            stride_ = stride;
        }
        if (inbound_.view().empty() && !inbound_.resize(receive_batch * receive_stride)) return status::no_memory;
        if constexpr (separates_handshakes)
            if (handshakes_.view().empty() && !handshakes_.resize(receive_batch * handshake_stride))
                return status::no_memory;
        return status::ok;
    }

    /// Moves what is ready, about a batch each way: what becomes ready meanwhile does not wait for long, and a backlog
    /// is soon known of. gone: the TUN device was removed.
    status step(bool tun, bool udp) noexcept {
        tun = tun || tun_unfinished_;
        tun_unfinished_ = false;
        moved_ = false;
        passed_ = 0;
        may_answer_ = true;
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
                if (tun) give_way();
            }
        }
        passed_before_ = passed_;
        tun_unfinished_ = tun;
        busy_ = udp || (tun && has_several(tun_));
        return status::ok;
    }

    /// Whether the last step found something to move, and whether it ended with work left that another lane could do.
    bool moved() const noexcept { return moved_; }
    bool busy() const noexcept { return busy_; }
    /// How many packets came from the host in the last step, or went to it; what strangers send does not count.
    std::size_t passed() const noexcept { return passed_; }

    /// Whether the TUN device holds packets for this lane, of which its descriptor does not tell.
    bool unfinished() const noexcept { return tun_unfinished_; }

    /// What the device has to say by itself: answers to some handshakes, if they are asked for, then what waits to be
    /// sent. What is left comes at the next step; the device's deadline says so.
    void flush(bool answers = true) noexcept {
        shared_.flushing.lock();
        for (int round = 0; round < rounds_of_flush && speak(answers && round == 0); ++round) {}
        shared_.flushing.unlock();
    }

private:
    static constexpr std::size_t rounds_of_step = (std::max<std::size_t>)(16 / batch, 1);
    static constexpr int rounds_of_flush = 16;
    static constexpr std::size_t least_wanted = (std::min<std::size_t>)(4, receive_batch); ///< long ones are a batch
    static constexpr duration lone_interval = milliseconds(50);
    static constexpr std::size_t front = packet_headroom_bytes + tun_type::headroom;
    /// Whether the socket has handshake messages apart from data (`receive_handshakes`, `note_received`,
    /// `note_authentic`).
    static constexpr bool separates_handshakes = requires(socket_type& socket, std::span<datagram> into) {
        { socket.receive_handshakes(into) } noexcept -> std::same_as<result<std::size_t>>;
    };
    /// Room for the longest handshake message, and to spare: longer datagrams are cut there, and are malformed.
    static constexpr std::size_t handshake_stride = 256;
    static constexpr std::size_t receive_stride = (tun_type::headroom + socket_type::receive_bytes + 63) / 64 * 64;
    /// Room for a message with a packet as long as the MTU, which padding does not exceed, and not a byte more: then
    /// such messages lie one behind the other, and a socket that joins them gives the kernel one piece of memory.
    static constexpr std::size_t stride_for(std::size_t mtu_bytes) noexcept {
        return (std::max<std::size_t>)(front + mtu_bytes + tag_bytes, initiation_layout::size);
    }
    /// Where the MTU is not known, it does not bound padding.
    static constexpr std::size_t padded(std::size_t mtu_bytes) noexcept {
        return (mtu_bytes + padding_bytes - 1) / padding_bytes * padding_bytes;
    }
    static constexpr bool grows = storage::max_mtu_bytes == 0;
    static constexpr std::size_t most_outbound_bytes = grows ? 0 : batch * stride_for(padded(storage::max_mtu_bytes));
    static constexpr std::size_t most_inbound_bytes = grows ? 0 : receive_batch * receive_stride;
    static constexpr std::size_t most_handshake_bytes = grows ? 0 : receive_batch * handshake_stride;

    instant now() noexcept { return core_.clock().now(); }

    /// A packet that was cut shows that the interface's MTU is greater than the host has told. The next ones of that
    /// length pass.
    void make_room_for_longer_packets() noexcept {
        if constexpr (requires { tun_.longest_cut(); }) {
            std::size_t const longest = tun_.longest_cut();
            if (longest != 0 && stride_for(longest) > stride_ && make_room(longest) == status::ok)
                core_.set_mtu(longest);
        }
    }

    /// From the TUN device to the network; how many packets.
    result<std::size_t> pump_tun() noexcept {
        result<std::size_t> const got = stride_ == 0 ? discard() : read_and_send();
        if constexpr (requires { tun_.settle(); }) tun_.settle();
        if (got && *got != 0) flush_bounded();
        if (got) passed_ += *got;
        return got;
    }

    result<std::size_t> read_and_send() noexcept {
        for (std::size_t i = 0; i < batch; ++i)
            packets_[i] = packet(outbound_.view().subspan(i * stride_, stride_ - tag_bytes), front);
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

    /// Without buffers a packet is read and dropped, or its presence would wake the waiter for ever.
    result<std::size_t> discard() noexcept {
        byte sink[64];
        packet p(sink, 0);
        return tun_.read({&p, 1});
    }

    static bool has_several(tun_type const& tun) noexcept {
        if constexpr (requires { tun.several(); }) return tun.several();
        else return true;
    }

    /// While small packets of other flows pass as well, a bulk transfer lets others run after each batch. Where
    /// processors are short, what is under way then waits in the TUN device's queues, where flows are apart, and not
    /// in the socket of its receiver, where such a packet would wait behind all of it.
    void give_way() noexcept {
        if constexpr (requires { tun_.lone_packets(), Policies::threads::give_way(); }) {
            instant const at = now();
            bool const lately = at < lone_since_ + lone_interval;
            if (std::uint32_t const count = tun_.lone_packets(); count != lone_packets_) {
                lone_packets_ = count;
                lone_since_ = at;
                lone_often_ = lately;
            }
            if (lately && lone_often_) Policies::threads::give_way();
        }
    }

    /// From the network to the TUN device. False: nothing more is there.
    bool pump_udp() noexcept {
        auto const into = windows(inbound_.view(), receive_stride, wanted_);
        received const got = take_in(into, [&] { return socket_.receive(into); });
        if (got.datagrams == 0) return false;
        flush_bounded();
        // A step is about one batch, however many segments a datagram has: what goes the other way waits meanwhile, and
        // what was received is still in the cache when it is opened. After a few short datagrams there may be long
        // ones, so more are asked for only as more come.
        bool const more = got.datagrams == wanted_;
        std::size_t const backlog = (std::max)(2 * got.datagrams, least_wanted);
        wanted_ = (std::min)({(batch * got.datagrams + got.segments - 1) / got.segments, backlog, receive_batch});
        return more;
    }

    /// The same from the sockets of handshake messages, at most `receive_batch` of them: what a flood may take of a
    /// step is bounded.
    void pump_handshakes() noexcept
        requires separates_handshakes
    {
        std::size_t const data = std::exchange(messages_, 0), useless = std::exchange(useless_, 0);
        received got;
        if (may_have_handshakes()) {
            auto const into = windows(handshakes_.view(), handshake_stride, receive_batch);
            got = take_in(into, [&] { return socket_.receive_handshakes(into); });
        }
        if (got.datagrams != 0) flush_bounded();
        messages_ = useless_ = 0;
        socket_.note_received(data, useless, got.segments);
    }

    /// Lanes receive one after the other, so a lane that finds nothing would wait for another one in vain.
    bool may_have_handshakes() noexcept {
        if constexpr (requires { socket_.handshakes_ready(); }) return socket_.handshakes_ready();
        else return true;
    }

    /// Buffers of `stride` bytes for `count` datagrams.
    std::span<datagram> windows(bytes from, std::size_t stride, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count; ++i)
            received_[i] = {packet(from.subspan(i * stride, stride), tun_type::headroom)};
        return std::span(received_).first(count);
    }

    struct received {
        std::size_t datagrams = 0;
        std::size_t segments = 0; ///< messages in them
    };

    /// Receives datagrams, and takes the messages in them through the device to the TUN device.
    template <class Receive> received take_in(std::span<datagram> into, Receive receive) noexcept {
        received sum;
        shared_.order.begin();
        result<std::size_t> const got = receive();
        if (!got || *got == 0) {
            shared_.order.abandon();
            return sum;
        }
        std::uint32_t const place = shared_.order.received();
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
        shared_.order.end(place);
        return sum;
    }

    void open(job_list<job_type> jobs, std::uint32_t place) noexcept {
        core_.prepare_inbound(jobs, now());
        device_type::crypt(jobs, core_.aead());
        shared_.order.await(place);
        core_.complete(jobs, now());
        note(jobs);
        deliver(jobs);
    }

    /// Tells the socket of datagrams that no peer needed, and of sources that sent authentic ones: by these it filters
    /// floods.
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

    /// `flush`, but handshakes are answered at most once in a step, and while the step before moved a whole batch of
    /// packets only in every fourth step: several answers cost as much as a batch.
    void flush_bounded() noexcept {
        bool const answers = std::exchange(may_answer_, false) && (passed_before_ < batch || ++busy_steps_ % 4 == 0);
        flush(answers);
    }

    /// False: there is nothing more to be said.
    bool speak(bool handshakes) noexcept {
        // The outbound packets of this step are gone by now, so their buffers are free.
        std::size_t const room = stride_ == 0 ? 0 : batch;
        for (std::size_t i = 0; i < room; ++i)
            jobs_[i].data = packet(outbound_.view().subspan(i * stride_, stride_), 0);
        job_list<job_type> const jobs = std::span(jobs_).first(room);
        std::size_t const made = handshakes ? core_.process_handshakes(jobs, now()) : core_.poll_transmit(jobs, now());
        if (made == 0) return handshakes;
        device_type::crypt(jobs.first(made), core_.aead());
        transmit(jobs.first(made));
        return true;
    }

    /// Sends what is to be sent, completes all, and delivers what goes back to the host.
    void transmit(job_list<job_type> jobs) noexcept {
        std::size_t count = 0;
        for (job_type const& j : jobs) {
            if (j.next != disposition::send) continue;
            datagram& d = sent_[count++];
            static_cast<packet&>(d) = j.data;
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

    /// An ICMP answer may have taken all the room before the packet; then it left as much behind.
    static void keep_headroom(packet& p) noexcept {
        if (p.headroom() >= tun_type::headroom) return;
        packet const moved({p.buffer, p.capacity}, tun_type::headroom, p.length);
        std::memmove(moved.view().data(), p.view().data(), p.length);
        p = moved;
    }

    junction<Policies>& shared_;
    device_type& core_;
    tun_type& tun_;
    socket_type& socket_;
    bool tun_unfinished_ = false;
    bool moved_ = false;
    bool busy_ = false;
    bool may_answer_ = true; ///< handshakes, in this step
    std::size_t passed_ = 0;
    std::size_t passed_before_ = 0;  ///< in the step before
    std::size_t messages_ = 0;       ///< that were received since the socket was told last
    std::size_t useless_ = 0;        ///< those of them that no peer needed
    unsigned busy_steps_ = 0;        ///< that moved whole batches
    std::uint32_t lone_packets_ = 0; ///< of the TUN device, when it was last asked
    instant lone_since_{};           ///< when there were new ones
    bool lone_often_ = false;        ///< whether the time between these and those before was short
    typename storage::template array<byte, most_outbound_bytes> outbound_;
    typename storage::template array<byte, most_inbound_bytes> inbound_;
    using handshake_array = typename storage::template array<byte, most_handshake_bytes>;
    using handshake_room = std::conditional_t<separates_handshakes, handshake_array, empty_member<9>>;
    [[no_unique_address]] handshake_room handshakes_;
    std::size_t stride_ = 0;
    std::size_t wanted_ = least_wanted; ///< datagrams in the next receive

    // What a step works on. Here and not on the stack, where each step would have to clear it.
    std::array<job_type, most_jobs> jobs_;
    std::array<packet, most_jobs> packets_;
    std::array<datagram, batch> sent_;
    std::array<datagram, receive_batch> received_;
};

}} // namespace wg::WG_ABI

#endif
