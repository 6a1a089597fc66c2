// SPDX-License-Identifier: BSL-1.0
// wgd: a daemon that makes a WireGuard interface for wg(8) and wg-quick(8), composed of the library's parts.
#include "wgd_options.hpp"

#include <wg/wg.hpp>

#include <cstdlib>
#include <string_view>

namespace {

using wgd_options::log_level, wgd_options::options, wgd_options::action;

// The backend of cryptography: a namespace with hash, dh and aead.
#ifndef WGD_CRYPTOGRAPHY
#define WGD_CRYPTOGRAPHY wg::bundled
#endif

constexpr char version[] = "wgd " WG_VERSION_STRING "\n";

void print(std::string_view text) {
    if (!wg::os::print(wg::os::standard_output, text)) std::exit(EXIT_FAILURE);
}

/// Writes the log lines of one interface that LOG_LEVEL selects. Any thread.
class interface_log {
public:
    interface_log(wg::os::log_writer& log, options const& o) noexcept : log_(log), options_(o) {}

    template <class... Piece> void error(Piece const&... pieces) noexcept {
        if (options_.level != log_level::silent) log_.error(options_.interface_name, ": ", pieces...);
    }

    void event(wg::event_id id, std::uint32_t peer, std::uint64_t value, wg::public_key const& key) noexcept {
        if (options_.level == log_level::silent) return;
        if (id == wg::event_id::send_failed) return send_failed(peer, value, key);
        if (id == wg::event_id::congestion_marked) // happens once for each peer
            return error(name_of(peer, key).view(), wg::describe(id),
                         value != 0 ? ": such packets are dropped, see --no-congestion-drop" : ": such packets pass");
        if (id == wg::event_id::ratchet_not_saved) return error(name_of(peer, key).view(), wg::describe(id));
        if (options_.level != log_level::verbose) return;
        if (id == wg::event_id::ratchet_advanced)
            return log_.info(options_.interface_name, ": ", name_of(peer, key).view(), wg::describe(id), ": epoch ",
                             value);
        bool const dropped = id == wg::event_id::dropped;
        char const* const why = dropped ? wg::describe(static_cast<wg::status>(value)) : "";
        log_.info(options_.interface_name, ": ", name_of(peer, key).view(), wg::describe(id), dropped ? ": " : "", why);
    }

private:
    /// "peer(AbCdEfGh…): ", the first characters of the peer's public key.
    static wg::os::error_text name_of(std::uint32_t peer, wg::public_key const& key) noexcept {
        wg::os::error_text name;
        auto const text = wg::text::print_base64_key(key);
        if (peer != wg::no_peer_number) name.set("peer(", std::string_view(text.c_str(), 8), "…): ");
        return name;
    }

    void send_failed(std::uint32_t peer, std::uint64_t value, wg::public_key const& key) noexcept {
        auto const number = static_cast<int>(value >> 8);
        auto const why = static_cast<wg::status>(value & 0xff);
        if (!failures_.pass(peer, static_cast<std::uint32_t>(value), wg::os::clock().now())) return;
        error(name_of(peer, key).view(),
              "could not send: ", number != 0 ? wg::os::describe_error(number).c_str() : wg::describe(why));
    }

    wg::os::log_writer& log_;
    options const& options_;
    wg::os::line_limit failures_;
};

/// Models `observer`.
struct event_log {
    static constexpr bool enabled = true;
    interface_log* log = nullptr;

    void event(wg::event_id, std::uint32_t, std::uint64_t) noexcept {} // a device calls the overload with a key
    void event(wg::event_id id, std::uint32_t peer, std::uint64_t value, wg::public_key const& key) noexcept {
        if (log != nullptr) log->event(id, peer, value, key);
    }
};

struct daemon_policies : wg::default_policies {
    using hash = WGD_CRYPTOGRAPHY::hash;
    using dh = WGD_CRYPTOGRAPHY::dh;
    using aead = WGD_CRYPTOGRAPHY::aead;
    using threads = wg::os::threads;
    using observer = event_log;
    using ratchet_storage = wg::os::ratchet_files;
};

struct session : wg::uapi::session {
    session() noexcept : wg::uapi::session(wg::os::interface_index) {}
};
using listener = wg::os::uapi_listener<session, wg::secret_buffer>;
using workers = wg::workers_if_possible<daemon_policies>;

/// Serves one interface: its TUN device, UDP socket and configuration socket.
class wgd {
public:
    wgd(options const& o, interface_log& log, wg::os::tun&& tun, listener& configuration, wg::os::stop_signals& signals,
        wg::os::ratchet_files&& ratchets) noexcept
        : options_(o), log_(log), tun_(std::move(tun)), socket_(o.offloads), listener_(configuration),
          signals_(signals), device_(event_log{&log}, std::move(ratchets)), engine_(device_, tun_, socket_),
          workers_(engine_, tun_, socket_, o.workers - 1), waiter_(tun_, socket_) {
        socket_.set_bind_address(o.bind_address);
        socket_.set_bind_interface(o.bind_interface);
        network_.watch(tun_);
        device_.set_congestion_drop(o.congestion_drop);
        device_.set_ratchet(o.ratchet_s);
        waiter_.watch_other(configuration_bit, listener_);
        waiter_.watch_other(signal_bit, signals_);
        waiter_.watch_other(network_bit, network_);
    }

    /// Checks that all resources could be had. Returns: false, and `why` says what is missing.
    bool prepare(wg::os::error_text& why) noexcept {
        // 8 descriptors: for UDP sockets, connections of clients and workers, which are opened later.
        using host = wg::os::system_traits;
        if (!waiter_ || !signals_ || !socket_ || !network_ || !wg::os::can_open(8))
            why.set("too few descriptors are left: ", host::more_descriptors);
        if (!device_.ready()) why.set("there is no memory for the keys: ", host::more_key_memory);
        if (!why.empty()) return false;
        if (!device_.memory().secrets().locked())
            log_.error("keys may be written to swap: memory cannot be locked (", host::lock_limit, ")");
        return true;
    }

    /// Serves until the interface is deleted, the configuration socket is removed or a signal comes.
    void run() noexcept {
        wg::status running = refresh_link();
        while (running == wg::status::ok) running = run_once();
    }

private:
    static constexpr std::size_t configuration_bit = 0, signal_bit = 1, network_bit = 2;

    wg::status run_once() noexcept {
        wg::instant const check_at =
            std::min(retry_.due(), network_.reports_link() ? wg::instant::never() : link_checked_at_ + wg::seconds(1));
        wg::duration const busy_poll = options_.busy_poll ? engine_.busy_poll() : wg::duration{};
        wg::readiness const ready = waiter_.wait(std::min(engine_.next_deadline(), check_at), busy_poll);
        bool const check_link = device_.clock().now() >= check_at;
        if (check_link || ready.others != 0)
            if (wg::status const status = serve_host(ready, check_link); status != wg::status::ok) return status;
        wg::status const status = engine_.run_once(ready);
        if (engine_.busy()) workers_.help();
        return status;
    }

    /// Handles events of the host: signals, changes of the network, configuration. Returns: `gone` when wgd must end.
    wg::status serve_host(wg::readiness const& ready, bool check_link) noexcept {
        workers::pause const alone(workers_);
        auto const has = [&](std::size_t bit) { return (ready.others >> bit & 1) != 0; };
        if (has(signal_bit) && signals_.take() != 0) return wg::status::gone;
        if (has(network_bit)) {
            wg::os::network_changes const changes = network_.read();
            if (changes.routes) {
                socket_.refresh_bind();
                socket_.routes_changed();
            }
            check_link = check_link || changes.link || changes.link_left;
        }
        if (has(configuration_bit)) {
            auto const feed = [this](session& s, wg::bytes_view request, wg::secret_buffer& reply) noexcept {
                return s.feed(request, engine_, reply);
            };
            if (listener_.serve(feed) == wg::status::gone) return wg::status::gone;
            check_link = check_link || !engine_.is_up(); // another port may be configured now
        }
        return check_link ? refresh_link() : wg::status::ok;
    }

    /// Follows the interface: its place, its MTU, and whether it is up. Returns: `gone` if it was deleted.
    wg::status refresh_link() noexcept {
        link_checked_at_ = device_.clock().now();
        tun_.refresh_mtu();
        network_.watch(tun_);
        wg::status status = engine_.refresh_mtu();
        wg::status const link = tun_.link_state();
        if (link == wg::status::gone) return link;
        if (link == wg::status::device_down && engine_.is_up()) engine_.down();
        if (link == wg::status::ok && !engine_.is_up() && status == wg::status::ok) status = engine_.up();
        note_attempt(link == wg::status::ok ? status : wg::status::ok);
        return wg::status::ok;
    }

    /// Notes whether the engine could go up while the interface is up. A failure, such as a port that is in use, is
    /// logged once, and the attempt is repeated.
    void note_attempt(wg::status status) noexcept {
        if (status == wg::status::ok) {
            if (retry_.waits() && engine_.is_up()) log_.error("UDP port ", device_.listen_port(), " is open now");
            failed_with_ = status;
            return retry_.succeeded();
        }
        retry_.failed(link_checked_at_);
        if (std::exchange(failed_with_, status) == status) return;
        bool const has_errno = status == wg::status::io_error && socket_.error() != 0;
        log_.error("cannot open UDP port ", device_.listen_port(), ": ",
                   has_errno ? wg::os::describe_error(socket_.error()).c_str() : wg::describe(status),
                   "; trying again");
    }

    options const& options_;
    interface_log& log_;
    wg::os::tun tun_;
    wg::os::udp socket_;
    listener& listener_;
    wg::os::stop_signals& signals_;
    wg::os::network_monitor network_;
    wg::device<daemon_policies> device_;
    wg::engine<daemon_policies> engine_;
    workers workers_;
    wg::os::waiter waiter_;
    wg::instant link_checked_at_{};
    wg::os::backoff retry_;
    wg::status failed_with_ = wg::status::ok;
};

/// Makes room for the descriptors that wgd needs. If there is little, the TUN device gets only one queue. Returns:
/// false if there is not enough for the rest; `why` says how to mend it.
bool find_descriptors(options& o, wg::os::error_text& why) noexcept {
    constexpr std::size_t least = 32, queues = 16, of_worker = 4;
    auto const room = wg::os::make_descriptor_room(least + queues + of_worker * o.workers);
    if (room.left() < least + queues) o.offloads.queues = false;
    if (room.left() >= least) return true;
    why.set("too few descriptors: `ulimit -n` is ", room.limit, ", ", room.used, " are in use, and wgd needs ", least,
            " more: raise it to ", room.used + least);
    return false;
}

} // namespace

int main(int count, char** arguments) {
    bool const has_stderr = (wg::os::open_standard_descriptors() >> wg::os::standard_error & 1) == 0;
    wg::os::log_writer log("wgd", has_stderr ? wg::os::standard_error : -1);
    options o;
    wg::os::error_text why;
    auto const fail = [&](char const* text) {
        log.error(text);
        return EXIT_FAILURE;
    };
    switch (wgd_options::read({arguments, static_cast<std::size_t>(count)}, o, why)) {
    case action::help: wgd_options::print_help(print); return EXIT_SUCCESS;
    case action::version: print(version); return EXIT_SUCCESS;
    case action::service:
        return wg::os::service_manager::command(o.service, o.interface_name, why) == wg::status::ok ? EXIT_SUCCESS
                                                                                                    : fail(why.c_str());
    case action::invalid:
        log.error(why.view());
        log.flush();
        (void)wg::os::print(wg::os::standard_error, wgd_options::usage);
        return EXIT_FAILURE;
    case action::serve: break;
    }

    // First of all, because a service manager does not wait long. And the last object to be destroyed, because the end
    // of a service is reported when nothing of it is left.
    static auto background = o.foreground ? wg::os::background() : wg::os::background::connect();
    if (!background) return fail(wg::os::system_traits::no_background);
    if (!find_descriptors(o, why)) return fail(why.c_str());
    if (o.memory_mib != 0 && !wg::os::limit_memory(o.memory_mib << 20)) {
        why.set("cannot limit the memory to ", o.memory_mib,
                " MiB: ", wg::os::describe_error(wg::os::last_error()).view(), " (",
                wg::os::system_traits::memory_limit, ")");
        return fail(why.c_str());
    }

    // From here on, a signal ends the process only in `run`, where nothing is left behind.
    using hang_up = wg::os::stop_signals::hang_up;
    static wg::os::stop_signals signals(o.foreground && wg::os::has_terminal() ? hang_up::stops : hang_up::is_ignored);

    // All steps that can fail come before the process goes to the background, and all of them before the first secret.
    static auto const lock = wg::os::name_lock::take(o.interface_name, o.socket_directory, why);
    if (!lock) return fail(why.c_str());
    auto tun = o.tun_fd >= 0 ? wg::os::tun::adopt(o.tun_fd, why, o.offloads)
                             : wg::os::tun::open(o.interface_name, why, wg::default_mtu_bytes, o.offloads);
    if (!tun) return fail(why.c_str());
    static listener configuration; // its buffers are too large for a stack
    // The interface's name may be another one than was asked for: `utun` on macOS lets the system choose a number.
    wg::status const listening = o.uapi_fd >= 0
                                     ? configuration.adopt(o.uapi_fd, o.interface_name, why, o.socket_directory)
                                     : configuration.open(tun->name(), why, o.socket_directory);
    if (listening != wg::status::ok) return fail(why.c_str());
    wg::os::ratchet_files ratchets;
    if (o.ratchet_directory != nullptr) {
        auto opened = wg::os::ratchet_files::in(o.ratchet_directory, tun->name(), why);
        if (!opened) return fail(why.c_str());
        ratchets = std::move(*opened);
    }
    if (!o.foreground && background->enter() != wg::status::ok) return fail(wg::os::system_traits::no_background);
    (void)wg::os::keep_memory_private(); // on failure the region of secrets still is kept out of dumps

    interface_log of_interface(log, o);
    wgd serving(o, of_interface, std::move(*tun), configuration, signals, std::move(ratchets));
    if (!serving.prepare(why)) return fail(why.c_str());
    background->ready(o.log_asked);
    if (!o.foreground && !o.log_asked) log.leave_descriptor();
    (void)wg::os::notify_supervisor("READY=1");
    serving.run();
    (void)wg::os::notify_supervisor("STOPPING=1");
    return EXIT_SUCCESS;
}
