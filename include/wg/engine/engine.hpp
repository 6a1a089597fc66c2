// SPDX-License-Identifier: BSL-1.0
// Joins a TUN device, a device and a UDP socket, and moves packets between them in batches. Layer 6.
//
//     wg::engine<my_policies> engine{device, tun, udp};
//     engine.up();
//     for (;;) engine.run_once(waiter.wait(engine.next_deadline()));
//
// The engine owns the buffers that packets live in; the device transforms them there. One thread at a time; where that
// is not enough, see workers.hpp.
#ifndef WG_ENGINE_ENGINE_HPP
#define WG_ENGINE_ENGINE_HPP

#include "lane.hpp"
#include "pace.hpp"

namespace wg { inline namespace WG_ABI {

template <engine_policies Policies> class engine {
    using device_type = device<Policies>;
    using tun_type = typename Policies::tun_device;
    using socket_type = typename Policies::udp_socket;

public:
    static constexpr std::size_t batch = lane<Policies>::batch; ///< packets in one step

    /// What is joined outlives the engine. Buffers come from the device's storage.
    engine(device_type& core, tun_type& tun, socket_type& socket) noexcept
        : core_(core), tun_(tun), socket_(socket), shared_{core}, lane_(shared_, tun, socket) {
        core_.down(now()); // until the socket is open
        if constexpr (requires { socket_.separate_handshakes(); }) socket_.separate_handshakes();
    }
    engine(engine const&) = delete;
    engine& operator=(engine const&) = delete;
    ~engine() { down(); }

    /// Opens the socket on the configured port and lets packets pass. address_in_use and others of the socket's:
    /// then the interface stays down. no_memory.
    status up() noexcept {
        if (status const why = refresh_mtu(); why != status::ok) return why;
        if (shared_.running) return status::ok;
        result<std::uint16_t> const port = socket_.open(core_.listen_port());
        wants_socket_ = !port;
        if (!port) return port.why();
        go_up(*port);
        return status::ok;
    }

    /// Closes the socket and ends all sessions.
    //= linux: an interface that is down has no socket
    void down() noexcept {
        wants_socket_ = false;
        shared_.running = false;
        socket_.close();
        core_.down(now());
    }

    bool is_up() const noexcept { return shared_.running; }

    /// The TUN device's MTU may have changed. no_memory: larger packets than before do not pass.
    status refresh_mtu() noexcept {
        core_.set_mtu(tun_.mtu());
        return lane_.make_room(tun_.mtu());
    }

    /// When `run_once` has to be called at the latest.
    instant next_deadline() noexcept {
        if (lane_.unfinished()) return instant{};
        return shared_.running ? core_.next_deadline() : instant::never();
    }

    /// Whether the last `run_once` ended with work left that one more of `workers` could do.
    bool busy() const noexcept { return lane_.busy(); }
    /// For further lanes.
    junction<Policies>& shared() noexcept { return shared_; }

    /// For how long the waiter should look for packets before it sleeps; mostly zero.
    duration busy_poll() const noexcept { return pace_.busy_poll(); }

    /// Runs the timers that are due, then moves what is ready, about a batch each way; what is left is for the waiter
    /// to find next.
    /// gone: the TUN device was removed.
    status run_once(readiness const& ready) noexcept {
        // After a long sleep of the host, timers that are overdue run before packets: else one that zeroes keys would
        // end the handshake that a packet of this step begins.
        bool const due = shared_.running && core_.next_deadline() <= now();
        if (due) core_.on_deadline(now());
        if (status const why = lane_.step(ready.tun, ready.udp); why != status::ok) return why;
        pace_.note(lane_.passed(), now());
        if (due) lane_.flush(!lane_.moved()); // a step that moved anything has answered as many handshakes as it may
        return status::ok;
    }

    /// As `device::configure`, and the socket follows: all changes or none. Also address_in_use, no_permission and
    /// what else the socket says. After an `up` that found no socket, a listen port with which there is one brings the
    /// interface up.
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
        bool const opens = port != nullptr && (shared_.running || wants_socket_);
        if (opens) {
            result<std::uint16_t> const opened = socket_.open(static_cast<std::uint16_t>(port->number()));
            if (!opened) {
                if (mark != nullptr) (void)set_fwmark(core_.fwmark());
                return opened.why();
            }
            bound = *opened;
        }
        status const why = core_.configure(changes, now()); // admitted, so it is done
        if (opens) core_.set_listen_port(bound);
        if (std::exchange(wants_socket_, wants_socket_ && !opens) && opens) go_up(bound);
        if (shared_.running) lane_.flush();
        return why;
    }

    status configure(std::initializer_list<change> changes) noexcept {
        return configure(std::span(changes.begin(), changes.size()));
    }

    template <class Sink> void snapshot(Sink& sink) noexcept { core_.snapshot(sink); }

private:
    instant now() noexcept { return core_.clock().now(); }

    void go_up(std::uint16_t port) noexcept {
        core_.set_listen_port(port);
        shared_.running = true;
        core_.up();
        lane_.flush();
    }

    status set_fwmark(std::uint32_t mark) noexcept {
        if constexpr (requires { socket_.set_fwmark(mark); }) return socket_.set_fwmark(mark);
        else return mark == 0 ? status::ok : status::not_supported;
    }

    device_type& core_;
    tun_type& tun_;
    socket_type& socket_;
    junction<Policies> shared_;
    lane<Policies> lane_;
    pace pace_{};
    bool wants_socket_ = false; ///< the last `up` failed for want of one
};

}} // namespace wg::WG_ABI

#endif
