// SPDX-License-Identifier: BSL-1.0
// The socket on which wg(8) configures an interface: who listens, who is connected, what waits to be sent. What is said
// is a session's matter. Source: https://www.wireguard.com/xplatform/. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_PROCESS_UAPI_LISTENER_HPP
#define WG_OS_LINUX_PROCESS_UAPI_LISTENER_HPP

#include "../../../base/secret.hpp"
#include "../error_text.hpp"
#include "../fd.hpp"
#include "directory.hpp"

#include <optional>
#include <string_view>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// `Session` is made anew, by its default constructor, for each connection. `Reply` collects what is to be sent to it:
/// `view() -> bytes_view`, `empty()`, and `release()`, which wipes. Nothing here blocks: a client that does not read
/// its reply is not heard until it does.
template <class Session, class Reply, std::size_t MaxConnections = 16> class uapi_listener {
public:
    static constexpr char const* default_directory = "/var/run/wireguard"; ///< the only one that wg(8) knows

    uapi_listener() noexcept
        : epoll_(::epoll_create1(EPOLL_CLOEXEC)), spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)) {}
    uapi_listener(uapi_listener const&) = delete;
    uapi_listener& operator=(uapi_listener const&) = delete;
    /// Removes the socket's file, if it is still ours.
    ~uapi_listener() {
        for (connection& c : connections_) end(c);
        if (listener_ && is_ours()) ::unlink(path_.sun_path);
    }

    /// Listens at `directory`/`name`.sock, which only the user of this process may use. The directory and its parents
    /// are made (mode 0755) if they are missing. A file left behind by a process that is no more is replaced.
    /// `address_in_use`: somebody listens there; `invalid`: too long a path.
    status open(std::string_view name, error_text& why, char const* directory = default_directory) noexcept {
        status const named = set_path(name, directory, why);
        if (named != status::ok) return named;
        if (!make_directories(directory)) return failed("create the directory", directory, why);
        unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!fd) return failed("open a socket for", path_.sun_path, why);
        if (!bind_private(fd.get())) {
            if (errno != EADDRINUSE) return failed("bind", path_.sun_path, why);
            status const cleared = clear_stale(why);
            if (cleared != status::ok) return cleared;
            if (!bind_private(fd.get())) return failed("bind", path_.sun_path, why);
        }
        if (::listen(fd.get(), SOMAXCONN) == 0) return begin(std::move(fd), why);
        status const why_not = failed("listen on", path_.sun_path, why);
        ::unlink(path_.sun_path);
        return why_not;
    }

    /// Takes over a socket that listens there already (WG_UAPI_FD).
    status adopt(int number, std::string_view name, error_text& why,
                 char const* directory = default_directory) noexcept {
        status const named = set_path(name, directory, why);
        if (named != status::ok) return named;
        int listens = 0;
        socklen_t size = sizeof listens;
        if (::getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0 ||
            !make_private(number)) {
            why.set("descriptor ", number, " is no socket that listens");
            return status::invalid;
        }
        return begin(unique_fd(number), why);
    }

    /// Polls readable when `serve` has something to do; the same descriptor for all of the object's life.
    int fd() const noexcept { return epoll_.get(); }
    char const* path() const noexcept { return path_.sun_path; }
    std::size_t connections() const noexcept {
        std::size_t count = 0;
        for (connection const& c : connections_) count += static_cast<bool>(c.fd);
        return count;
    }

    /// Does what can be done without waiting. What clients say goes, a line or a piece of one at a time, to
    /// `feed(Session&, bytes_view, Reply&) -> status`; anything but ok ends that connection once its reply is sent.
    /// `gone`: the socket's file was removed, which asks the daemon to end.
    template <class Feed> status serve(Feed&& feed) noexcept {
        epoll_event events[MaxConnections + 2];
        int const count = ::epoll_wait(epoll_.get(), events, static_cast<int>(MaxConnections + 2), 0);
        bool removed = false;
        for (int i = 0; i < count; ++i) {
            std::uint64_t const number = events[i].data.u64;
            if (number == listener_number) accept_all();
            else if (number == removal_number) removed = was_removed();
            else converse(connections_[number - first_connection], feed);
        }
        return removed ? status::gone : status::ok;
    }

private:
    static constexpr std::uint64_t listener_number = 0, removal_number = 1, first_connection = 2;
    static constexpr std::size_t input_bytes = 4096;
    static constexpr time_t look_interval_s = 1;
    static constexpr int most_reads = 16; ///< of one connection in one `serve`, then it is the next one's turn

    struct connection {
        unique_fd fd{};
        std::optional<Session> session{};
        Reply reply{};
        std::size_t sent = 0;           ///< of the reply
        std::size_t begin = 0, end = 0; ///< what is left of the input
        std::uint64_t last_heard = 0;
        bool waits_for_room = false;
        bool ending = false; ///< nothing more is heard; it ends when the reply is sent
        byte input[input_bytes];
    };

    status set_path(std::string_view name, char const* directory, error_text& why) noexcept {
        path_ = {};
        path_.sun_family = AF_UNIX;
        error_text path;
        path.set(directory, "/", name, ".sock");
        if (!name.empty() && name.find('/') == name.npos && path.view().size() < sizeof path_.sun_path) {
            std::memcpy(path_.sun_path, path.c_str(), path.view().size() + 1);
            return status::ok;
        }
        why.set("`", path.view(), "` cannot be the path of a socket");
        return status::invalid;
    }

    static status failed(char const* doing, char const* what, error_text& why) noexcept {
        status const s = status_of(errno);
        why.set("cannot ", doing, " ", what, ": ", std::strerror(errno),
                s == status::no_permission ? " (run as root)" : "");
        return s;
    }

    sockaddr const* address() const noexcept { return reinterpret_cast<sockaddr const*>(&path_); }

    bool bind_private(int fd) noexcept {
        mode_t const before = ::umask(0077);
        bool const bound = ::bind(fd, address(), sizeof path_) == 0;
        ::umask(before);
        return bound;
    }

    /// Removes a socket that nobody listens on; not another kind of file, and not one that somebody uses.
    status clear_stale(error_text& why) noexcept {
        struct stat found {};
        if (::lstat(path_.sun_path, &found) == 0 && !S_ISSOCK(found.st_mode)) {
            why.set(path_.sun_path, " is in the way and no socket: remove it");
            return status::address_in_use;
        }
        unique_fd const client(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!client) return failed("open a socket for", path_.sun_path, why);
        if (::connect(client.get(), address(), sizeof path_) == 0 || errno == EAGAIN) { // EAGAIN: many wait already
            why.set("unix socket in use: somebody listens on ", path_.sun_path);
            return status::address_in_use;
        }
        if (::unlink(path_.sun_path) != 0 && errno != ENOENT) return failed("remove the old", path_.sun_path, why);
        return status::ok;
    }

    status begin(unique_fd fd, error_text& why) noexcept {
        struct stat file {};
        unique_fd removal = watch_removal();
        bool const watched = epoll_ && removal && ::lstat(path_.sun_path, &file) == 0 &&
                             watch(epoll_.get(), fd.get(), EPOLLIN, listener_number) &&
                             watch(epoll_.get(), removal.get(), EPOLLIN, removal_number);
        if (!watched) return failed("watch", path_.sun_path, why);
        listener_ = std::move(fd);
        removal_ = std::move(removal);
        device_ = file.st_dev;
        inode_ = file.st_ino;
        return status::ok;
    }

    /// Something to read when the socket's file may have been removed. Where there is no inotify, or a user's instances
    /// and watches are used up, a timer: then removal is noticed within `look_interval_s`.
    unique_fd watch_removal() const noexcept {
        unique_fd removal(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
        constexpr std::uint32_t events = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
        if (removal && ::inotify_add_watch(removal.get(), path_.sun_path, events) >= 0) return removal;
        if (errno == ENOENT) return unique_fd(); // removed already
        removal.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
        itimerspec every{};
        every.it_value.tv_sec = every.it_interval.tv_sec = look_interval_s;
        if (removal && ::timerfd_settime(removal.get(), 0, &every, nullptr) != 0) removal.reset();
        return removal;
    }

    bool is_ours() const noexcept {
        struct stat now {};
        return ::lstat(path_.sun_path, &now) == 0 && now.st_dev == device_ && now.st_ino == inode_;
    }

    /// Reads away what inotify or the timer tells, which may be a mere change of permissions, and looks for itself.
    bool was_removed() noexcept {
        alignas(inotify_event) byte told[4096];
        while (::read(removal_.get(), told, sizeof told) > 0) {}
        return !is_ours();
    }

    void accept_all() noexcept {
        for (std::size_t i = 0; i < MaxConnections; ++i) {
            unique_fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!fd && (errno == EMFILE || errno == ENFILE)) {
                // Unanswered it would wake us for ever: a spare descriptor lets us turn it away.
                spare_.reset();
                fd.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
                fd.reset();
                spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                return;
            }
            if (!fd) return;
            connection& c = free_connection();
            if (!watch(epoll_.get(), fd.get(), EPOLLIN, number_of(c))) continue;
            c.fd = std::move(fd);
            c.session.emplace();
            c.last_heard = ++time_;
        }
    }

    /// One that is free; if none is, the one that has been silent longest ends.
    connection& free_connection() noexcept {
        connection* oldest = &connections_[0];
        for (connection& c : connections_) {
            if (!c.fd) return c;
            if (c.last_heard < oldest->last_heard) oldest = &c;
        }
        end(*oldest);
        return *oldest;
    }

    void end(connection& c) noexcept {
        c.fd.reset();
        c.session.reset();
        c.reply.release();
        wipe(c.input, sizeof c.input);
        c.sent = c.begin = c.end = 0;
        c.waits_for_room = c.ending = false;
    }

    template <class Feed> void converse(connection& c, Feed& feed) noexcept {
        if (!c.fd) return; // it ended for another one in this very round
        c.last_heard = ++time_;
        for (int reads = 0;;) {
            if (!send_reply(c)) return end(c);
            if (!c.reply.empty()) return wait_for_room(c, true);
            if (c.ending) return end(c);
            wait_for_room(c, false);
            if (c.begin < c.end) {
                hear_line(c, feed);
                continue;
            }
            if (reads++ == most_reads) return;
            ssize_t const size = without_interruption([&] { return ::recv(c.fd.get(), c.input, sizeof c.input, 0); });
            if (size < 0 && errno == EAGAIN) return;
            if (size <= 0) return end(c);
            c.begin = 0;
            c.end = static_cast<std::size_t>(size);
        }
    }

    /// A line at a time, so that a client with many questions gets one answer after the other, not all into memory.
    template <class Feed> void hear_line(connection& c, Feed& feed) noexcept {
        byte* const from = c.input + c.begin;
        std::size_t const left = c.end - c.begin;
        auto const* const newline = static_cast<byte const*>(std::memchr(from, '\n', left));
        std::size_t const size = newline != nullptr ? static_cast<std::size_t>(newline - from) + 1 : left;
        c.ending = feed(*c.session, bytes_view(from, size), c.reply) != status::ok;
        std::size_t const used = c.ending ? left : size;
        wipe(from, used);
        c.begin += used;
    }

    /// Sends what the client takes; false: it has left.
    bool send_reply(connection& c) noexcept {
        while (!c.reply.empty()) {
            bytes_view const rest = c.reply.view().subspan(c.sent);
            ssize_t const size =
                without_interruption([&] { return ::send(c.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL); });
            if (size < 0) return errno == EAGAIN;
            c.sent += static_cast<std::size_t>(size);
            if (c.sent < c.reply.view().size()) continue;
            c.reply.release();
            c.sent = 0;
        }
        return true;
    }

    void wait_for_room(connection& c, bool wait) noexcept {
        if (c.waits_for_room == wait) return;
        c.waits_for_room = wait;
        watch(epoll_.get(), c.fd.get(), wait ? EPOLLOUT : EPOLLIN, number_of(c));
    }

    std::uint64_t number_of(connection const& c) const noexcept {
        return first_connection + static_cast<std::uint64_t>(&c - connections_);
    }

    unique_fd epoll_;
    unique_fd spare_;
    unique_fd listener_{};
    unique_fd removal_{};
    sockaddr_un path_{};
    dev_t device_ = 0;
    ino_t inode_ = 0;
    std::uint64_t time_ = 0; ///< counts what was heard: who has been silent longest
    connection connections_[MaxConnections];
};

}}} // namespace wg::WG_ABI::os

#endif
