// SPDX-License-Identifier: BSL-1.0
// The socket through which wg(8) configures an interface: listening, connections, replies that wait to be sent. A
// session of the program's reads requests and makes replies. Source: https://www.wireguard.com/xplatform/.
// Folder: os/posix/process. One thread at a time.
#ifndef WG_OS_POSIX_PROCESS_UAPI_LISTENER_HPP
#define WG_OS_POSIX_PROCESS_UAPI_LISTENER_HPP

#include "../../error_text.hpp"
#include "../../uapi_conversation.hpp"
#include "../sockets.hpp"
#include "directory.hpp"

#include <string_view>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Serves `MaxConnections` connections at most. A session and a reply are those of `uapi_conversation`. Nothing blocks:
/// while a client does not read its reply, no further request of that client is read. `Poller` is the system's:
/// `linux_poller` documents it.
template <class Session, class Reply, std::size_t MaxConnections, class Poller> class basic_uapi_listener {
public:
    static constexpr char const* default_directory = "/var/run/wireguard"; ///< the only one in which wg(8) looks

    /// Does not listen yet.
    basic_uapi_listener() noexcept : spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)) {}
    basic_uapi_listener(basic_uapi_listener const&) = delete;
    basic_uapi_listener& operator=(basic_uapi_listener const&) = delete;
    /// Closes all connections, and removes the socket's file unless another process has replaced it.
    ~basic_uapi_listener() {
        for (connection& c : connections_) end(c);
        if (listener_ && is_ours()) ::unlink(path_.sun_path);
    }

    /// Listens at `directory`/`name`.sock, to which only this process's user can connect. The directory and its parents
    /// are created (mode 0755) if they are missing. The socket of a process that has ended is replaced.
    /// Returns: `address_in_use` if another process listens there; `invalid` if the path is too long or `name` has a
    /// slash; else the status of errno. `why` then says how to mend it.
    status open(std::string_view name, error_text& why, char const* directory = default_directory) noexcept {
        status const named = set_path(name, directory, why);
        if (named != status::ok) return named;
        if (!make_directories(directory)) return failed("create the directory", directory, why);
        unique_fd fd(open_socket(AF_UNIX, SOCK_STREAM));
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

    /// Takes over the descriptor of a socket that listens at `directory`/`name`.sock already (WG_UAPI_FD).
    /// Returns: `invalid` if it is not a socket that listens; else as `open`.
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

    /// A descriptor that polls readable when `serve` has something to do. It stays the same for the object's life.
    int fd() const noexcept { return poller_.fd(); }
    /// The socket's path.
    char const* path() const noexcept { return path_.sun_path; }
    /// The number of open connections.
    std::size_t connections() const noexcept {
        std::size_t count = 0;
        for (connection const& c : connections_) count += static_cast<bool>(c.fd);
        return count;
    }

    /// Accepts connections, reads requests and sends replies, as far as possible without waiting. Input goes to
    /// `feed(Session&, bytes_view, Reply&) -> status`, one line or a part of a line at a time. If `feed` returns
    /// another status than ok, the connection is closed when its reply is sent.
    /// Returns: `gone` if the socket's file was removed, which is a request to end the daemon.
    template <class Feed> status serve(Feed&& feed) noexcept {
        bool removed = false;
        poller_.template each<MaxConnections + 2>([&](std::uint64_t number) noexcept {
            if (number == listener_number) accept_all();
            else if (number == Poller::removal_number) removed = !is_ours(); // it can also be a change of permissions
            else serve_connection(connections_[number - first_connection], feed);
        });
        return removed ? status::gone : status::ok;
    }

private:
    static constexpr std::uint64_t listener_number = 0, first_connection = 2;
    static_assert(Poller::removal_number == 1);
    static constexpr int most_reads = 16; ///< from one connection in one `serve`
    static constexpr int most_tries = 10; ///< to connect to a socket that may have a full backlog

    struct connection {
        unique_fd fd{};
        std::uint64_t last_active = 0; ///< `time_` when it was served last
        bool waits_for_room = false;   ///< to send the rest of its reply
        uapi_conversation<Session, Reply> talk{};
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

    /// Removes the socket's file if it is a socket on which no process listens. Returns: `address_in_use` if it is
    /// another kind of file or a process listens.
    status clear_stale(error_text& why) noexcept {
        struct stat found {};
        if (::lstat(path_.sun_path, &found) == 0 && !S_ISSOCK(found.st_mode)) {
            why.set(path_.sun_path, " is in the way and no socket: remove it");
            return status::address_in_use;
        }
        bool listens = false;
        // A process that listens makes room in its backlog soon.
        for (int tries = Poller::full_backlog_refuses ? most_tries : 1; !listens && tries > 0; --tries) {
            unique_fd const client(open_socket(AF_UNIX, SOCK_STREAM));
            if (!client) return failed("open a socket for", path_.sun_path, why);
            listens = ::connect(client.get(), address(), sizeof path_) == 0 || errno == EAGAIN;
            if (listens || errno != ECONNREFUSED) break;
            timespec const moment{0, tries > 1 ? 50'000'000 : 0};
            (void)::nanosleep(&moment, nullptr);
        }
        if (listens) {
            why.set("unix socket in use: somebody listens on ", path_.sun_path);
            return status::address_in_use;
        }
        if (::unlink(path_.sun_path) != 0 && errno != ENOENT) return failed("remove the old", path_.sun_path, why);
        return status::ok;
    }

    /// Watches the listening socket and its file.
    status begin(unique_fd fd, error_text& why) noexcept {
        struct stat file {};
        bool const watched = poller_.watch_removal(path_.sun_path) && ::lstat(path_.sun_path, &file) == 0 &&
                             poller_.watch(fd.get(), false, listener_number);
        if (!watched) return failed("watch", path_.sun_path, why);
        listener_ = std::move(fd);
        device_ = file.st_dev;
        inode_ = file.st_ino;
        return status::ok;
    }

    /// Whether the file at the path is still the socket of this object.
    bool is_ours() const noexcept {
        struct stat now {};
        return ::lstat(path_.sun_path, &now) == 0 && now.st_dev == device_ && now.st_ino == inode_;
    }

    void accept_all() noexcept {
        for (std::size_t i = 0; i < MaxConnections; ++i) {
            unique_fd fd(accept_connection(listener_.get()));
            if (!fd && (errno == EMFILE || errno == ENFILE)) {
                // A connection that is not accepted would keep the listener readable. The spare descriptor is closed
                // to accept the connection and close it.
                spare_.reset();
                fd.reset(accept_connection(listener_.get()));
                fd.reset();
                spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                return;
            }
            if (!fd) return;
            connection& c = free_connection();
            if (!poller_.watch(fd.get(), false, number_of(c))) continue;
            c.fd = std::move(fd);
            c.talk.begin();
            c.last_active = ++time_;
        }
    }

    /// A free place; if there is none, the connection that has been inactive longest is closed.
    connection& free_connection() noexcept {
        connection* oldest = &connections_[0];
        for (connection& c : connections_) {
            if (!c.fd) return c;
            if (c.last_active < oldest->last_active) oldest = &c;
        }
        end(*oldest);
        return *oldest;
    }

    void end(connection& c) noexcept {
        c.fd.reset();
        c.talk.end();
        c.waits_for_room = false;
    }

    template <class Feed> void serve_connection(connection& c, Feed& feed) noexcept {
        if (!c.fd) return; // `free_connection` has closed it in this `serve`
        c.last_active = ++time_;
        for (int reads = 0;;) {
            if (!send_reply(c)) return end(c);
            if (!c.talk.unsent().empty()) return wait_for_room(c, true);
            if (c.talk.ending()) return end(c);
            wait_for_room(c, false);
            if (c.talk.has_input()) {
                c.talk.feed_line(feed);
                continue;
            }
            if (reads++ == most_reads) return;
            auto const room = c.talk.input();
            ssize_t const size = without_interruption([&] { return ::recv(c.fd.get(), room.data(), room.size(), 0); });
            if (size < 0 && errno == EAGAIN) return;
            if (size <= 0) return end(c);
            c.talk.received(static_cast<std::size_t>(size));
        }
    }

    /// Sends as much of the reply as the client takes. Returns: false if the connection is broken.
    bool send_reply(connection& c) noexcept {
        for (bytes_view rest = c.talk.unsent(); !rest.empty(); rest = c.talk.unsent()) {
            ssize_t const size =
                without_interruption([&] { return ::send(c.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL); });
            if (size < 0) return errno == EAGAIN;
            c.talk.sent(static_cast<std::size_t>(size));
        }
        return true;
    }

    /// Waits for room to send if `wait`, else for input.
    void wait_for_room(connection& c, bool wait) noexcept {
        if (c.waits_for_room == wait) return;
        c.waits_for_room = wait;
        (void)poller_.watch(c.fd.get(), wait, number_of(c));
    }

    std::uint64_t number_of(connection const& c) const noexcept {
        return first_connection + static_cast<std::uint64_t>(&c - connections_);
    }

    Poller poller_{};
    unique_fd spare_;
    unique_fd listener_{};
    sockaddr_un path_{};
    dev_t device_ = 0;
    ino_t inode_ = 0;
    std::uint64_t time_ = 0; ///< counts calls of `serve_connection`
    connection connections_[MaxConnections];
};

}}} // namespace wg::WG_ABI::os

#endif
