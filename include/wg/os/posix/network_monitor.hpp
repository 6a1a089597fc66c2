// SPDX-License-Identifier: BSL-1.0
// Follows a TUN interface, and the routes and addresses of the host, by a routing socket (route(4)). Folder: os/posix.
// One thread at a time.
#ifndef WG_OS_POSIX_NETWORK_MONITOR_HPP
#define WG_OS_POSIX_NETWORK_MONITOR_HPP

#include "fd.hpp"
#include "route_messages.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// Watches routes and addresses, and one interface. `Calls` has `layout`, a `route_layout`; `open()`, which returns a
/// routing socket that does not block, or -1; and `read(fd, to, size)`, which is read(2).
template <class Calls> class basic_network_monitor {
public:
    static constexpr int most_reads = 256; ///< messages that one `read` takes; the rest is for the next one

    /// Watches routes and addresses, and no interface yet.
    basic_network_monitor() noexcept : fd_(Calls::open()) {}

    /// Follows the interface of `device` from now on. To be called again after each change that `read` reports.
    template <class Tun> void watch(Tun const& device) noexcept { index_ = device.index(); }

    /// Whether changes of the interface are reported.
    bool reports_link() const noexcept { return fd_ && index_ != 0; }

    /// A descriptor that polls readable when `read` has something to read; -1 if no descriptors were left.
    int fd() const noexcept { return fd_.get(); }
    /// Whether the system had a descriptor for the object.
    explicit operator bool() const noexcept { return static_cast<bool>(fd_); }

    /// Reads all changes without blocking. If the kernel had to drop messages, everything counts as changed.
    network_changes read() noexcept {
        network_changes changes;
        for (int reads = 0; fd_ && reads < most_reads; ++reads) {
            alignas(8) byte message[2048];
            ssize_t const size = without_interruption([&] { return Calls::read(fd_.get(), message, sizeof message); });
            if (size > 0) {
                take_route_messages(Calls::layout, {message, static_cast<std::size_t>(size)}, index_, changes);
            } else if (size < 0 && errno == ENOBUFS) { // the socket is empty then, or has later messages
                changes.link = changes.routes = true;
            } else {
                break;
            }
        }
        return changes;
    }

private:
    unique_fd fd_;
    std::uint32_t index_ = 0; ///< of the watched interface; 0: none
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
