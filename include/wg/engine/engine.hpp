// SPDX-License-Identifier: BSL-1.0
// Joins a TUN device, a device and a UDP socket, and moves packets between them in batches. Layer 6.
//
//     wg::engine<my_policies> engine{device, tun, udp};
//     engine.up();
//     for (;;) engine.run_once(waiter.wait(engine.next_deadline()));
//
// The engine owns the buffers that packets live in; the device transforms them there. One thread at a time.
#ifndef WG_ENGINE_ENGINE_HPP
#define WG_ENGINE_ENGINE_HPP

#include "../device/device.hpp"

namespace wg::inline WG_ABI {

template <engine_policies Policies> class engine {
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

    /// What is joined outlives the engine. Buffers come from the device's storage.
    engine(device_type& core, tun_type& tun, socket_type& socket) noexcept
        : core_(core), tun_(tun), socket_(socket), outbound_(core.memory()), inbound_(core.memory()) {
        core_.down(now()); // until the socket is open
    }
    engine(engine const&) = delete;
    engine& operator=(engine const&) = delete;
    ~engine() { down(); }

    /// Opens the socket on the configured port and lets packets pass. address_in_use and others of the socket's:
    /// then the interface stays down. no_memory.
    status up() noexcept {
        if (status const why = refresh_mtu(); why != status::ok) return why;
        if (running_) return status::ok;
        result<std::uint16_t> const port = socket_.open(core_.listen_port());
        if (!port) return port.why();
        core_.set_listen_port(*port);
        running_ = true;
        core_.up();
        flush();
        return status::ok;
    }

    /// Closes the socket and ends all sessions.
    //= linux: an interface that is down has no socket
    void down() noexcept {
        running_ = false;
        socket_.close();
        core_.down(now());
    }

    bool is_up() const noexcept { return running_; }

    /// The TUN device's MTU may have changed. no_memory: larger packets than before do not pass.
    status refresh_mtu() noexcept {
        core_.set_mtu(tun_.mtu());
        std::size_t const stride = stride_for(tun_.mtu() != 0 ? tun_.mtu() : padded(default_mtu_bytes));
        if (stride > stride_) {
            if (!outbound_.resize(batch * stride)) return status::no_memory;
            stride_ = stride;
        }
        if (inbound_.view().empty() && !inbound_.resize(receive_batch * receive_stride)) return status::no_memory;
        return status::ok;
    }

    /// When `run_once` has to be called at the latest.
    instant next_deadline() noexcept {
        if (tun_unfinished_) return instant{};
        return running_ ? core_.next_deadline() : instant::never();
    }

    /// Moves what is ready, for a bounded time, and runs what is due. gone: the TUN device was removed.
    status run_once(readiness const& ready) noexcept {
        bool tun = ready.tun || tun_unfinished_, udp = ready.udp;
        tun_unfinished_ = false;
        for (int round = 0; round < max_rounds && (tun || udp); ++round) {
            if (udp) udp = running_ && pump_udp();
            if (tun) {
                result<std::size_t> const moved = pump_tun();
                if (!moved && moved.why() == status::gone) return status::gone;
                tun = moved && *moved == batch;
            }
        }
        tun_unfinished_ = tun;
        if (running_ && core_.next_deadline() <= now()) {
            core_.on_deadline(now());
            flush();
        }
        return status::ok;
    }

    /// As `device::configure`, and the socket follows: all changes or none. Also address_in_use, no_permission and
    /// what else the socket says.
    status configure(std::span<change const> changes) noexcept {
        if (status const why = core_.admit(changes); why != status::ok) return why;
        change const *port = nullptr, *mark = nullptr;
        for (change const& c : interface_changes(changes)) {
            if (c.what() == change::kind::listen_port) port = &c;
            if (c.what() == change::kind::fwmark) mark = &c;
        }
        if (mark != nullptr)
            if (status const why = set_fwmark(mark->number()); why != status::ok) return why;
        std::uint16_t bound = core_.listen_port();
        if (port != nullptr && running_) {
            result<std::uint16_t> const opened = socket_.open(static_cast<std::uint16_t>(port->number()));
            if (!opened) {
                if (mark != nullptr) (void)set_fwmark(core_.fwmark());
                return opened.why();
            }
            bound = *opened;
        }
        status const why = core_.configure(changes, now()); // admitted, so it is done
        if (port != nullptr && running_) core_.set_listen_port(bound);
        if (running_) flush();
        return why;
    }

    status configure(std::initializer_list<change> changes) noexcept {
        return configure(std::span(changes.begin(), changes.size()));
    }

    template <class Sink> void snapshot(Sink& sink) noexcept { core_.snapshot(sink); }

private:
    static constexpr int max_rounds = 16;
    static constexpr std::size_t front = packet_headroom_bytes + tun_type::headroom;
    static constexpr std::size_t receive_stride = (tun_type::headroom + socket_type::receive_bytes + 63) / 64 * 64;
    /// Room for a message with a packet as long as the MTU, which padding does not exceed, and not a byte more: then
    /// such messages lie one behind the other, and a socket that joins them gives the kernel one piece of memory.
    static constexpr std::size_t stride_for(std::size_t mtu_bytes) noexcept {
        return std::max<std::size_t>(front + mtu_bytes + tag_bytes, initiation_layout::size);
    }
    /// Where the MTU is not known, it does not bound padding.
    static constexpr std::size_t padded(std::size_t mtu_bytes) noexcept {
        return (mtu_bytes + padding_bytes - 1) / padding_bytes * padding_bytes;
    }
    static constexpr bool grows = storage::max_mtu_bytes == 0;
    static constexpr std::size_t most_outbound_bytes = grows ? 0 : batch * stride_for(padded(storage::max_mtu_bytes));
    static constexpr std::size_t most_inbound_bytes = grows ? 0 : receive_batch * receive_stride;

    instant now() noexcept { return core_.clock().now(); }

    status set_fwmark(std::uint32_t mark) noexcept {
        if constexpr (requires { socket_.set_fwmark(mark); })
            return socket_.set_fwmark(mark);
        else
            return mark == 0 ? status::ok : status::not_supported;
    }

    /// From the TUN device to the network; how many packets.
    result<std::size_t> pump_tun() noexcept {
        if (stride_ == 0) return discard();
        for (std::size_t i = 0; i < batch; ++i)
            packets_[i] = packet(outbound_.view().subspan(i * stride_, stride_ - tag_bytes), front);
        result<std::size_t> const got = tun_.read(std::span(packets_).first(batch));
        if (!got || *got == 0) return got;
        std::span<job_type> const jobs = std::span(jobs_).first(*got);
        for (std::size_t i = 0; i < *got; ++i) {
            jobs[i].data = packets_[i];
            jobs[i].data.capacity += static_cast<std::uint32_t>(tag_bytes);
        }
        core_.prepare_outbound(jobs, now());
        device_type::crypt(jobs, core_.aead());
        transmit(jobs);
        flush();
        return got;
    }

    /// Without buffers a packet is read and dropped, or its presence would wake the waiter for ever.
    result<std::size_t> discard() noexcept {
        byte sink[64];
        packet p(sink, 0);
        return tun_.read({&p, 1});
    }

    /// From the network to the TUN device. False: nothing was there.
    bool pump_udp() noexcept {
        for (std::size_t i = 0; i < wanted_; ++i)
            received_[i] = {packet(inbound_.view().subspan(i * receive_stride, receive_stride), tun_type::headroom)};
        result<std::size_t> const got = socket_.receive(std::span(received_).first(wanted_));
        if (!got || *got == 0) return false;
        std::size_t count = 0, segments = 0;
        for (datagram const& d : std::span(received_).first(*got)) {
            std::size_t const segment = d.segment_bytes != 0 ? d.segment_bytes : std::max<std::size_t>(d.length, 1);
            for (std::size_t at = 0; at < std::max<std::size_t>(d.length, 1); at += segment) {
                if (count == jobs_.size()) receive(std::span(jobs_).first(std::exchange(count, 0)));
                job_type& j = jobs_[count++];
                ++segments;
                j.data = d;
                j.data.offset += static_cast<std::uint32_t>(at);
                j.data.length = static_cast<std::uint32_t>(std::min<std::size_t>(segment, d.length - at));
                j.where = d.where;
                j.tos = d.tos;
            }
            if (count >= batch) receive(std::span(jobs_).first(std::exchange(count, 0)));
        }
        receive(std::span(jobs_).first(count));
        flush();
        // A step is about one batch, however many segments a datagram has: what goes the other way waits meanwhile, and
        // what was received is still in the cache when it is opened.
        wanted_ = std::min((batch * *got + segments - 1) / segments, receive_batch);
        return true;
    }

    void receive(std::span<job_type> jobs) noexcept {
        core_.prepare_inbound(jobs, now());
        device_type::crypt(jobs, core_.aead());
        core_.complete(jobs, now());
        deliver(jobs);
    }

    /// What the device has to say by itself: answers to some handshakes, then what waits to be sent. What is left after
    /// `max_rounds` comes at the next step; the device's deadline says so.
    void flush() noexcept {
        // The outbound packets of this step are gone by now, so their buffers are free.
        std::size_t const room = stride_ == 0 ? 0 : batch;
        for (int round = 0; round < max_rounds; ++round) {
            for (std::size_t i = 0; i < room; ++i)
                jobs_[i].data = packet(outbound_.view().subspan(i * stride_, stride_), 0);
            std::span<job_type> const jobs = std::span(jobs_).first(room);
            std::size_t const made =
                round == 0 ? core_.process_handshakes(jobs, now()) : core_.poll_transmit(jobs, now());
            if (made == 0 && round != 0) return;
            device_type::crypt(jobs.first(made), core_.aead());
            transmit(jobs.first(made));
        }
    }

    /// Sends what is to be sent, completes all, and delivers what goes back to the host.
    void transmit(std::span<job_type> jobs) noexcept {
        std::size_t count = 0;
        for (job_type const& j : jobs) {
            if (j.next != disposition::send) continue;
            datagram& d = sent_[count++];
            static_cast<packet&>(d) = j.data;
            d.where = j.where;
            d.tos = j.tos;
            d.why = status::ok;
        }
        if (count != 0) (void)socket_.send(std::span(sent_).first(count));
        count = 0;
        for (job_type& j : jobs) {
            if (j.next != disposition::send) continue;
            datagram const& d = sent_[count++];
            j.why = d.why;
            j.where.local = d.where.local;
        }
        core_.complete(jobs, now());
        deliver(jobs);
    }

    void deliver(std::span<job_type> jobs) noexcept {
        std::size_t count = 0;
        for (job_type const& j : jobs) {
            if (j.next != disposition::deliver) continue;
            packets_[count] = j.data;
            if constexpr (tun_type::headroom != 0) keep_headroom(packets_[count]);
            ++count;
        }
        if (count != 0) (void)tun_.write(std::span(packets_).first(count));
    }

    /// An ICMP answer may have taken all the room before the packet; then it left as much behind.
    static void keep_headroom(packet& p) noexcept {
        if (p.headroom() >= tun_type::headroom) return;
        packet const moved({p.buffer, p.capacity}, tun_type::headroom, p.length);
        std::memmove(moved.view().data(), p.view().data(), p.length);
        p = moved;
    }

    device_type& core_;
    tun_type& tun_;
    socket_type& socket_;
    bool tun_unfinished_ = false; ///< a TUN device may hold packets that its descriptor does not tell of
    typename storage::template array<byte, most_outbound_bytes> outbound_;
    typename storage::template array<byte, most_inbound_bytes> inbound_;
    std::size_t stride_ = 0;
    std::size_t wanted_ = receive_batch; ///< datagrams in the next receive
    bool running_ = false;

    // What a step works on. Here and not on the stack, where each step would have to clear it.
    std::array<job_type, most_jobs> jobs_;
    std::array<packet, most_jobs> packets_;
    std::array<datagram, batch> sent_;
    std::array<datagram, receive_batch> received_;
};

} // namespace wg::inline WG_ABI

#endif
