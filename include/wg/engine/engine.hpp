// SPDX-License-Identifier: BSL-1.0
// Joins a TUN device, a device and a UDP socket, and moves packets between them in batches. Folder: engine; one thread
// at a time. Where one thread is not enough, see workers.hpp.
//
//     wg::engine<my_policies> engine{device, tun, udp};
//     engine.up();
//     for (;;) engine.run_once(waiter.wait(engine.next_deadline()));
//
// The engine owns the packet buffers; the device encrypts and decrypts packets there.
#ifndef WG_ENGINE_ENGINE_HPP
#define WG_ENGINE_ENGINE_HPP

#include "../policy/check.hpp"
#include "lane.hpp"
#include "pace.hpp"

namespace wg { inline namespace WG_ABI {

/// A WireGuard interface with its input and output: a device, a TUN device and a UDP socket.
template <class Policies> class engine {
    static_assert(engine_policies<Policies>,
                  "the bundle lacks a policy or a member that an engine needs: see policy.hpp");
    static_assert(sizeof(check_engine_policies<Policies>) != 0);
    using device_type = device<Policies>;
    using tun_type = typename Policies::tun_device;
    using socket_type = typename Policies::udp_socket;

public:
    /// Packets in one step.
    static constexpr std::size_t batch = lane<Policies>::batch;

    /// Takes the interface down; `up` brings it up. All three arguments outlive the engine. Buffers come from the
    /// device's storage.
    engine(device_type& core, tun_type& tun, socket_type& socket) noexcept
        : core_(core), tun_(tun), socket_(socket), shared_{core}, lane_(shared_, tun, socket) {
        core_.down(now()); // until the socket is open
        if constexpr (udp_socket_with_tunnel<socket_type, tun_type>) socket_.keep_out_of(tun_);
        if constexpr (udp_socket_with_separate_handshakes<socket_type>) socket_.separate_handshakes();
    }
    engine(engine const&) = delete;
    engine& operator=(engine const&) = delete;
    /// Takes the interface down, see `down`. There are no `workers` any more.
    ~engine() {
        if constexpr (keeps_checks) WG_ASSERT(shared_.workers == 0);
        down();
    }

    /// Opens the socket on the configured port, and lets packets pass. If the interface is up, only takes over the MTU.
    /// Returns: no_memory, or what the socket returned, such as address_in_use; then the interface stays down.
    status up() noexcept {
        if (status const room = refresh_mtu(); room != status::ok) return room;
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

    /// Whether the interface is up: the socket is open and packets pass.
    bool is_up() const noexcept { return shared_.running; }

    /// Takes over the TUN device's MTU. To be called when the MTU may have changed.
    /// Returns: no_memory; then packets longer than before do not pass.
    status refresh_mtu() noexcept {
        core_.set_mtu(tun_.mtu());
        return lane_.make_room(tun_.mtu());
    }

    /// The latest time for the next call of `run_once`. In the past: at once; `instant::never()`: only for packets.
    instant next_deadline() noexcept {
        if (lane_.unfinished()) return instant{};
        return shared_.running ? core_.next_deadline() : instant::never();
    }

    /// Whether the last `run_once` left work that one more thread of `workers` could do.
    bool busy() const noexcept { return lane_.busy(); }

    /// What further lanes of this interface share with the engine's lane.
    lane_shared<Policies>& shared() noexcept { return shared_; }

    /// How long the waiter should poll before it sleeps: mostly zero, see pace.hpp.
    duration busy_poll() const noexcept { return pace_.busy_poll(); }

    /// Runs the timers that are due, then moves what is ready, about a batch each way. The waiter finds the rest at
    /// the next call. `ready`: what the waiter found. Returns: gone, when the TUN device was removed.
    status run_once(readiness const& ready) noexcept {
        lane_.look_for_snapshot(); // before the timers of sessions that this ends
        // After a suspend of the host, overdue timers run before packets. Otherwise the timer that zeroes keys would
        // end the handshake that a packet of this step begins.
        bool const due = shared_.running && core_.next_deadline() <= now();
        if (due) core_.on_deadline(now());
        if (status const moved = lane_.step(ready.tun, ready.udp); moved != status::ok) return moved;
        pace_.note(lane_.passed(), now());
        if (due) lane_.flush(!lane_.moved()); // a step that moved anything has answered all handshakes that it may
        return status::ok;
    }

    /// Configures the device (see `device::configure`), and opens the socket on a new port: all changes or none.
    /// After an `up` that failed to open the socket, a listen port that can be opened brings the interface up.
    /// Returns: what `device::configure` returns; also address_in_use, no_permission and other results of the socket.
    status configure(std::span<change const> changes) noexcept {
        if (status const admitted = core_.admit(changes); admitted != status::ok) return admitted;
        change const *port = nullptr, *mark = nullptr;
        for (change const& c : interface_changes(changes)) {
            if (c.what() == change::kind::listen_port) port = &c;
            if (c.what() == change::kind::fwmark) mark = &c;
        }
        if (mark != nullptr)
            if (status const marked = set_fwmark(mark->number()); marked != status::ok) return marked;
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
        status const configured = core_.configure(changes, now()); // `admit` passed, so this succeeds
        if (opens) core_.set_listen_port(bound);
        if (std::exchange(wants_socket_, wants_socket_ && !opens) && opens) go_up(bound);
        if (shared_.running) lane_.flush();
        return configured;
    }
    /// The same for a list in braces.
    status configure(std::initializer_list<change> changes) noexcept {
        return configure(std::span(changes.begin(), changes.size()));
    }

    /// The detector of suspends and restored snapshots that the bundle names.
    auto& snapshot_detector() noexcept
        requires policies_with_snapshot_detector<Policies>
    {
        return shared_.sessions.detector();
    }

    /// Reports the interface and its peers to `sink`, see `device::snapshot`.
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
        if constexpr (udp_socket_with_set_fwmark<socket_type>) return socket_.set_fwmark(mark);
        else return mark == 0 ? status::ok : status::not_supported;
    }

    device_type& core_;
    tun_type& tun_;
    socket_type& socket_;
    lane_shared<Policies> shared_;
    lane<Policies> lane_;
    pace pace_{};
    bool wants_socket_ = false; ///< the last `up` failed to open the socket
};

}} // namespace wg::WG_ABI

#endif
