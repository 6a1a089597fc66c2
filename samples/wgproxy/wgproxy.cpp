// SPDX-License-Identifier: BSL-1.0
// wgproxy: a WireGuard network for other programs, without an interface and without root: as a SOCKS 5 and HTTP proxy,
// by forwarded ports, and as standard input and output.
#include "options.hpp"
#include "relay.hpp"
#include "tunnel_network.hpp"

#include <csignal>
#include <sys/resource.h>
#include <sys/signalfd.h>

namespace {

using namespace wgproxy;

void print(std::string const& line) { std::fprintf(stderr, "wgproxy: %s\n", line.c_str()); }

int failed(std::string const& why) {
    print(why);
    return 2;
}

/// Each connection takes a descriptor, and the usual limit of a user is 1024 of more that are allowed.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Ends the relay on SIGINT and SIGTERM.
class stopper final : public task {
public:
    stopper(relay& shared, task_id id) noexcept : shared_(shared) {
        ::sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGINT);
        ::sigaddset(&set, SIGTERM);
        ::sigprocmask(SIG_BLOCK, &set, nullptr); // inherited by the threads that start later
        fd_.reset(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
        (void)shared.events.watch(fd_.get(), id);
    }
    bool step(wg::instant) noexcept override {
        signalfd_siginfo info;
        if (::read(fd_.get(), &info, sizeof info) == sizeof info) shared_.stop = 1;
        return true;
    }

private:
    relay& shared_;
    wg::os::unique_fd fd_{};
};

/// Writes a line when the first handshake with a peer is complete.
class peer_watch final : public task {
public:
    peer_watch(relay& shared, wg::tunnel const& of) noexcept : shared_(shared), tunnel_(of) {}

    bool step(wg::instant now) noexcept override {
        next_ = now + wg::seconds(1);
        auto const peers = tunnel_.peers();
        for (wg::tunnel_peer const& peer : peers) {
            bool const known = std::find(connected_.begin(), connected_.end(), peer.key) != connected_.end();
            if (peer.last_handshake_s == 0 || known) continue;
            connected_.push_back(peer.key);
            shared_.log("connected to peer " + std::string(wg::text::print_base64_key(peer.key).view().substr(0, 8)) +
                        "... at " + std::string(wg::text::print(peer.endpoint).view()));
        }
        return connected_.size() < peers.size();
    }
    wg::instant deadline() const noexcept override { return next_; }

private:
    relay& shared_;
    wg::tunnel const& tunnel_;
    std::vector<wg::public_key> connected_{};
    wg::instant next_{};
};

int serve(command_line const& asked, settings const& with) {
    loop events;
    if (!events.good()) return failed(std::string("cannot wait for events: ") + std::strerror(errno));
    host_network host(events);
    wg::tunnel tunnel;
    tunnel_network inside(events, tunnel);
    relay shared(events, host, inside, [&](std::string const& line) {
        if (!asked.silent) print(line);
    });
    task_id const stop_id = shared.new_id();
    auto stop = std::make_unique<stopper>(shared, stop_id); // before the threads of the tunnel

    std::string why;
    auto made = wg::tunnel::from(with.tunnel, why);
    if (!made) return failed(why.empty() ? wg::describe(made.why()) : why);
    tunnel = std::move(*made);
    shared.start(stop_id, std::move(stop));
    for (std::string const& note : with.notes) shared.log(note);
    for (service const& s : with.services)
        if (!shared.add(s, why)) return failed(why);
    shared.start(shared.new_id(), std::make_unique<peer_watch>(shared, tunnel));
    return shared.run();
}

} // namespace

int main(int count, char** arguments) {
    std::signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    command_line asked;
    settings with;
    std::string why;
    std::span<char const* const> const rest(arguments + 1, count > 0 ? static_cast<std::size_t>(count - 1) : 0);
    action const what = read_command_line(rest, asked, why);
    if (what == action::invalid) return failed(why);
    if (what == action::help) return std::fputs(help_text().c_str(), stdout) < 0;
    if (what == action::version) return std::puts("wgproxy " WG_VERSION_STRING) < 0;
    with.services = std::move(asked.services);
    if (!read_configuration(asked.config, with, why)) return failed(why);
    if (what == action::check) return std::printf("%s: good\n", asked.config.c_str()) < 0;
    return serve(asked, with);
}
