// SPDX-License-Identifier: BSL-1.0
// Writes log lines without ever waiting: a line that cannot be written at once is dropped and counted. Lines go to a
// descriptor, mostly stderr. Errors that the descriptor does not take go to syslog (write(2), syslog(3), RFC 3164).
// Folder: os/posix/process. Any thread.
#ifndef WG_OS_POSIX_PROCESS_LOG_HPP
#define WG_OS_POSIX_PROCESS_LOG_HPP

#include "../../error_text.hpp"
#include "../sockets.hpp"

#include <atomic>
#include <csignal>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// The severity of a line, with the numbers of syslog.
enum class severity : std::uint8_t {
    error = 3, ///< goes to syslog if the descriptor does not take it
    info = 6   ///< goes to the descriptor only
};

/// Writes lines of at most 255 bytes, "NAME: TEXT". No call blocks, raises a signal or changes errno. A regular file is
/// the exception: no system has a write to a file that cannot wait for the disk. `Calls` is `log_calls` of the system.
template <class Calls> class basic_log_writer {
public:
    static constexpr char const* default_syslog = Calls::syslog_path; ///< the path of syslog's datagram socket

    /// Writes to `fd`, which is neither owned nor changed; -1: none. `name` is the program's. `name` and `syslog`, the
    /// path of syslog's datagram socket, must outlive this object.
    explicit basic_log_writer(char const* name, int fd = STDERR_FILENO, char const* syslog = default_syslog) noexcept
        : name_(name), syslog_path_(syslog), syslog_(open_socket(AF_UNIX, SOCK_DGRAM)) {
        choose(fd);
    }
    basic_log_writer(basic_log_writer const&) = delete;
    basic_log_writer& operator=(basic_log_writer const&) = delete;

    /// Each line is written when its call returns, so there is nothing to wait for.
    void flush() const noexcept {}

    /// Stops using the descriptor: errors then go to syslog, and other lines are dropped. No other thread may write
    /// meanwhile.
    void leave_descriptor() noexcept {
        own_.reset();
        kind_ = kind::none;
    }

    /// Writes the pieces, texts and numbers, as one line of an error.
    template <class... Piece> void error(Piece const&... pieces) noexcept { write(severity::error, pieces...); }
    /// Writes the pieces, texts and numbers, as one line of information.
    template <class... Piece> void info(Piece const&... pieces) noexcept { write(severity::info, pieces...); }

    /// The number of lines that were lost since the last line that reported lost lines.
    std::uint32_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

private:
    enum class kind : std::uint8_t {
        none,
        plain,  ///< never blocks, or is the writer's own non-blocking description
        polled, ///< can block: polled for room before each write
        socket, ///< sent to with MSG_DONTWAIT
    };

    template <class... Piece> void write(severity of, Piece const&... pieces) noexcept {
        error_text line;
        line.set(pieces...);
        write(of, line);
    }

    void write(severity of, error_text const& line) noexcept {
        int const kept = errno;
        // Relaxed, because no other memory depends on the count.
        if (std::uint32_t const lost = lost_.exchange(0, std::memory_order_relaxed); lost != 0) {
            error_text told;
            told.set(lost, lost == 1 ? " log line was lost" : " log lines were lost");
            if (!put(of, told.view())) lost_.fetch_add(lost, std::memory_order_relaxed);
        }
        if (!put(of, line.view())) lost_.fetch_add(1, std::memory_order_relaxed);
        errno = kept;
    }

    bool put(severity of, std::string_view text) noexcept {
        return write_line(text) || (of == severity::error && send_to_syslog(of, text));
    }

    /// Finds out how to write to `fd` without blocking. O_NONBLOCK belongs to the open description, which other
    /// programs may share, as a shell shares its terminal. So O_NONBLOCK is not set on it: a new description is opened.
    void choose(int fd) noexcept {
        struct stat file {};
        if (fd < 0 || ::fstat(fd, &file) != 0) return;
        fd_ = fd;
        kind_ = kind::plain;
        if (S_ISSOCK(file.st_mode)) kind_ = kind::socket;
        int const flags = ::fcntl(fd, F_GETFL);
        bool const may_block = S_ISFIFO(file.st_mode) || (S_ISCHR(file.st_mode) && ::isatty(fd) != 0);
        if (!may_block || (flags >= 0 && (flags & O_NONBLOCK) != 0)) return;
        own_.reset(Calls::open_again(fd));
        struct stat same {};
        bool const good =
            own_ && ::fstat(own_.get(), &same) == 0 && same.st_dev == file.st_dev && same.st_ino == file.st_ino;
        if (good) {
            fd_ = own_.get();
        } else { // the system cannot open it again, or this process may not
            own_.reset();
            kind_ = kind::polled;
        }
    }

    bool write_line(std::string_view text) noexcept {
        if (kind_ == kind::none) return false;
        char line[512];
        std::size_t size = 0;
        auto const append = [&](std::string_view more) {
            std::size_t const part = (std::min)(more.size(), sizeof line - 1 - size); // 1: the end of the line
            std::memcpy(line + size, more.data(), part);
            size += part;
        };
        if (mid_line_.load(std::memory_order_relaxed)) append("\n");
        append(name_);
        append(": ");
        append(text);
        line[size++] = '\n';
        ssize_t const written =
            kind_ == kind::socket
                ? without_interruption([&] { return ::send(fd_, line, size, MSG_DONTWAIT | MSG_NOSIGNAL); })
                : write_without_signals(line, size);
        if (written > 0) mid_line_.store(written != static_cast<ssize_t>(size), std::memory_order_relaxed);
        return written == static_cast<ssize_t>(size);
    }

    /// Lets one thread at a time poll and write. The room that a thread has found could be taken by another one before
    /// the write, which would then block. A thread writes for microseconds, so the others wait that long.
    class turn {
    public:
        explicit turn(basic_log_writer& of) noexcept : of_(of), has_(of.kind_ != kind::polled) {
            for (int tries = 0; !has_ && tries < most_tries; ++tries) {
                has_ = !of_.writes_.exchange(true, std::memory_order_acquire);
                if (!has_) (void)::sched_yield();
            }
        }
        turn(turn const&) = delete;
        turn& operator=(turn const&) = delete;
        ~turn() {
            if (has_ && of_.kind_ == kind::polled) of_.writes_.store(false, std::memory_order_release);
        }
        explicit operator bool() const noexcept { return has_; }

    private:
        static constexpr int most_tries = 1000; ///< a thread that was interrupted in its write costs others a line
        basic_log_writer& of_;
        bool has_;
    };

    /// Writes, and keeps the signals of a failing write from the program. SIGPIPE (no reader) and SIGXFSZ (a file's
    /// size limit) would end it, SIGTTOU (a background job writes to its terminal) would stop it.
    ssize_t write_without_signals(char const* line, std::size_t size) noexcept {
        turn const mine(*this);
        pollfd room{fd_, POLLOUT, 0};
        if (kind_ == kind::polled && (!mine || ::poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0)) return -1;
        sigset_t of_writes, before;
        sigemptyset(&of_writes);
        for (int const number : {SIGPIPE, SIGXFSZ, SIGTTOU}) sigaddset(&of_writes, number);
        if (::pthread_sigmask(SIG_BLOCK, &of_writes, &before) != 0) return -1;
        ssize_t const written = without_interruption([&] { return ::write(fd_, line, size); });
        if (written < 0 && (errno == EPIPE || errno == EFBIG)) {
            int const raised = errno == EPIPE ? SIGPIPE : SIGXFSZ;
            if (sigismember(&before, raised) == 0) Calls::take_pending(raised); // else it may be the program's own
        }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        return written;
    }

    /// Sends a line to syslog. The socket is not connected, so a syslog that was restarted is found again.
    bool send_to_syslog(severity of, std::string_view text) noexcept {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::size_t const length = std::strlen(syslog_path_);
        if (!syslog_ || length >= sizeof address.sun_path) return false;
        std::memcpy(address.sun_path, syslog_path_, length);
        constexpr int daemon_facility = 3;
        error_text head;
        int const priority = daemon_facility * 8 + static_cast<int>(of);
        head.set("<", priority, ">", name_, "[", static_cast<long>(::getpid()), "]: ");
        iovec pieces[2] = {{const_cast<char*>(head.c_str()), head.view().size()},
                           {const_cast<char*>(text.data()), text.size()}};
        msghdr message{};
        message.msg_name = &address;
        message.msg_namelen = sizeof address;
        message.msg_iov = pieces;
        message.msg_iovlen = 2;
        return without_interruption([&] { return ::sendmsg(syslog_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL); }) >=
               0;
    }

    char const* name_;
    char const* syslog_path_;
    int fd_ = -1;
    kind kind_ = kind::none;
    unique_fd own_{}; ///< a non-blocking description of the pipe or terminal
    unique_fd syslog_;
    std::atomic<std::uint32_t> lost_{0};
    std::atomic<bool> writes_{false};   ///< a thread polls or writes, see `turn`
    std::atomic<bool> mid_line_{false}; ///< the last write took only a part of its line
};

}}} // namespace wg::WG_ABI::os

#endif
