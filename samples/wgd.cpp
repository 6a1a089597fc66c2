// SPDX-License-Identifier: BSL-1.0
// wgd: a WireGuard interface for wg(8) and wg-quick(8), put together from the library's parts.
#include "wgd_options.hpp"

#include <wg/wg.hpp>

#include <cstdlib>
#include <string_view>

namespace {

using wgd_options::log_level, wgd_options::options, wgd_options::wish;

// Whose cryptography: a namespace with hash, dh and aead.
#ifndef WGD_CRYPTOGRAPHY
#define WGD_CRYPTOGRAPHY wg::bundled
#endif

struct daemon_policies : wg::default_policies {
    using hash = WGD_CRYPTOGRAPHY::hash;
    using dh = WGD_CRYPTOGRAPHY::dh;
    using aead = WGD_CRYPTOGRAPHY::aead;
    using threads = wg::os::threads;
    using observer = wg::function_observer;
};

struct session : wg::uapi::session {
    session() noexcept : wg::uapi::session(if_nametoindex) {}
};
using listener = wg::os::uapi_listener<session, wg::secret_buffer>;

constexpr char version[] = "wgd 0.1.0\n";

// Standard output and error without buffers: a line is a write, and a small daemon needs no stdio.
void print(int fd, std::string_view text) {
    if (::write(fd, text.data(), text.size()) < 0) std::exit(EXIT_FAILURE);
}

template <class... Piece> void complain(Piece const&... pieces) {
    wg::os::error_text line;
    line.set("wgd: ", pieces..., "\n");
    print(STDERR_FILENO, line.view());
    if (!line.view().ends_with('\n')) print(STDERR_FILENO, "\n"); // it was cut
}

template <class... Piece> void say(options const& o, Piece const&... pieces) {
    if (o.level != log_level::silent) complain(o.interface_name, ": ", pieces...);
}

void log_event(void* context, wg::event_id id, std::uint32_t peer, std::uint64_t value) noexcept {
    options const& o = *static_cast<options const*>(context);
    bool const dropped = id == wg::event_id::dropped;
    char const* const why = dropped ? wg::describe(static_cast<wg::status>(value)) : "";
    if (peer != wg::no_peer_number)
        say(o, "peer ", peer, " ", wg::describe(id), dropped ? ": " : "", why);
    else
        say(o, wg::describe(id), dropped ? ": " : "", why);
}

/// The interface, its socket and its configuration socket.
class wgd {
public:
    wgd(options& o, wg::os::tun&& tun, listener& configuration) noexcept
        : options_(o), tun_(std::move(tun)), socket_(o.offloads), listener_(configuration),
          device_(wg::function_observer{o.level == log_level::verbose ? log_event : nullptr, &o}),
          engine_(device_, tun_, socket_), workers_(engine_, tun_, socket_, o.workers - 1),
          waiter_(tun_.fd(), socket_.fd()) {
        if (auto monitor = wg::os::route_monitor::open(tun_.index())) routes_ = std::move(*monitor);
        waiter_.watch_other(configuration_bit, listener_.fd());
        waiter_.watch_other(signal_bit, signals_.fd());
        waiter_.watch_other(routes_bit, routes_.fd());
    }

    /// Whether everything is there; `why` says what is not.
    bool prepare(wg::os::error_text& why) noexcept {
        if (!waiter_ || signals_.fd() < 0 || socket_.fd() < 0) why.set("no descriptors are left (ulimit -n)");
        if (!device_.ready()) why.set("there is no memory for the keys");
        if (!why.empty()) return false;
        if (!device_.memory().secrets().locked()) say(options_, "keys may be written to swap: memory cannot be locked");
        return true;
    }

    void run() noexcept {
        wg::status running = look_at_link();
        while (running == wg::status::ok) running = run_once();
    }

private:
    static constexpr std::size_t configuration_bit = 0, signal_bit = 1, routes_bit = 2;

    wg::status run_once() noexcept {
        // Netlink speaks of this network namespace; an interface that was moved to another one has to be asked.
        wg::instant const look_at = moved_away_ ? looked_at_ + wg::seconds(1) : wg::instant::never();
        wg::duration const busy_poll = options_.busy_poll ? engine_.busy_poll() : wg::duration{};
        wg::readiness const ready = waiter_.wait(std::min(engine_.next_deadline(), look_at), busy_poll);
        bool const look = device_.clock().now() >= look_at;
        if (look || ready.others != 0)
            if (wg::status const why = look_at_host(ready, look); why != wg::status::ok) return why;
        wg::status const why = engine_.run_once(ready);
        if (engine_.busy()) workers_.help();
        return why;
    }

    /// What does not come through the tunnel: signals, changes of the network, configuration. gone: it is time to end.
    wg::status look_at_host(wg::readiness const& ready, bool look) noexcept {
        wg::workers<daemon_policies>::pause const alone(workers_);
        auto const has = [&](std::size_t bit) { return (ready.others >> bit & 1) != 0; };
        if (has(signal_bit) && signals_.take() != 0) return wg::status::gone;
        if (has(routes_bit)) {
            wg::os::network_changes const changes = routes_.read();
            if (changes.routes) socket_.routes_changed();
            moved_away_ = moved_away_ || changes.link_left;
            look = look || changes.link || changes.link_left;
        }
        if (has(configuration_bit)) {
            auto const feed = [this](session& s, wg::bytes_view said, wg::secret_buffer& reply) noexcept {
                return s.feed(said, engine_, reply);
            };
            if (listener_.serve(feed) == wg::status::gone) return wg::status::gone;
            look = look || !engine_.is_up(); // perhaps it has a free port now
        }
        return look ? look_at_link() : wg::status::ok;
    }

    /// Follows the interface: up or down, and its MTU. gone: deleted.
    wg::status look_at_link() noexcept {
        looked_at_ = device_.clock().now();
        tun_.refresh_mtu();
        wg::status why = engine_.refresh_mtu();
        wg::status const link = tun_.link_state();
        if (link == wg::status::gone) return link;
        if (link == wg::status::device_down && engine_.is_up()) engine_.down();
        if (link == wg::status::ok && !engine_.is_up() && why == wg::status::ok) why = engine_.up();
        if (why != wg::status::ok && link == wg::status::ok)
            say(options_, "cannot go up with UDP port ", device_.listen_port(), ": ", wg::describe(why));
        return wg::status::ok;
    }

    options& options_;
    wg::os::tun tun_;
    wg::os::udp socket_;
    listener& listener_;
    wg::os::stop_signals signals_;
    wg::os::route_monitor routes_;
    wg::device<daemon_policies> device_;
    wg::engine<daemon_policies> engine_;
    wg::workers<daemon_policies> workers_;
    wg::os::waiter waiter_;
    wg::instant looked_at_{};
    bool moved_away_ = false;
};

} // namespace

int main(int count, char** arguments) {
    options o;
    wg::os::error_text why;
    auto const fail = [&](char const* text) {
        complain(text);
        return EXIT_FAILURE;
    };
    switch (wgd_options::read({arguments, static_cast<std::size_t>(count)}, o, why)) {
    case wish::help: wgd_options::print_help([](std::string_view text) { print(STDOUT_FILENO, text); }); return 0;
    case wish::version: print(STDOUT_FILENO, version); return 0;
    case wish::wrong:
        complain(why.view());
        print(STDERR_FILENO, wgd_options::usage);
        return EXIT_FAILURE;
    case wish::serve: break;
    }

    if (o.memory_mib != 0 && !wg::os::limit_memory(o.memory_mib << 20)) return fail("cannot limit the memory");

    // What can fail comes before the process goes to the background, and all of that before the first secret.
    auto tun = o.tun_fd >= 0 ? wg::os::tun::adopt(o.tun_fd, why, o.offloads)
                             : wg::os::tun::open(o.interface_name, why, wg::default_mtu_bytes, o.offloads);
    if (!tun) return fail(why.c_str());
    static listener configuration; // its buffers are too large for a stack
    wg::status const listening =
        o.uapi_fd >= 0 ? configuration.adopt(o.uapi_fd, o.interface_name, why) : configuration.open(o.interface_name, why);
    if (listening != wg::status::ok) return fail(why.c_str());
    auto background = o.foreground ? wg::os::background() : wg::os::background::enter();
    if (!background) return fail("cannot go to the background");
    (void)wg::os::keep_memory_private(); // where that is forbidden, the region for secrets still is kept out of dumps

    wgd serving(o, std::move(*tun), configuration);
    if (!serving.prepare(why)) return fail(why.c_str());
    background->ready(o.log_asked);
    (void)wg::os::notify_supervisor("READY=1");
    serving.run();
    (void)wg::os::notify_supervisor("STOPPING=1");
    return EXIT_SUCCESS;
}
