// SPDX-License-Identifier: BSL-1.0
// The log of a daemon on Linux (proc(5), sigtimedwait(2)). Folder: os/linux/process. Any thread.
#ifndef WG_OS_LINUX_PROCESS_LOG_HPP
#define WG_OS_LINUX_PROCESS_LOG_HPP

#include "../../line_limit.hpp"
#include "../../posix/process/log.hpp"
#include "../threads.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

/// The calls of `log_writer`.
struct log_calls {
    static constexpr char const* syslog_path = "/dev/log"; ///< syslog's datagram socket

    /// Opens the pipe or terminal of `fd` once more, as a description of its own that does not block. Returns: -1
    /// without /proc or without the right to open it.
    static int open_again(int fd) noexcept {
        error_text path;
        path.set("/proc/self/fd/", fd);
        return ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    /// Takes the signal `number`, which is blocked, if it is pending.
    static void take_pending(int number) noexcept {
        sigset_t wanted;
        sigemptyset(&wanted);
        sigaddset(&wanted, number);
        timespec const at_once{};
        while (::sigtimedwait(&wanted, nullptr, &at_once) < 0 && errno == EINTR) {}
    }
};

/// The log of this system.
using log_writer = basic_log_writer<log_calls>;
/// The limit of log lines on this system.
using line_limit = basic_line_limit<threads::mutex>;

}}} // namespace wg::WG_ABI::os

#endif
