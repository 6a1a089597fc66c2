// SPDX-License-Identifier: BSL-1.0
// Follows a TUN interface through the network namespaces of the host, and the routes of this process's namespace
// (rtnetlink(7)). Folder: os/linux/netlink. One thread at a time.
#ifndef WG_OS_LINUX_NETLINK_NETWORK_MONITOR_HPP
#define WG_OS_LINUX_NETLINK_NETWORK_MONITOR_HPP

#include "routes.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

/// Watches routes, rules and addresses, and one interface wherever it is.
class network_monitor {
public:
    /// Watches routes, rules and addresses, and no interface yet.
    network_monitor() noexcept : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        if (auto monitor = route_monitor::open(0)) here_ = std::move(*monitor);
        if (here_.fd() >= 0 && !os::watch(epoll_.get(), here_.fd(), EPOLLIN, 0)) here_ = {};
    }

    /// Follows the interface of `device` from now on, with or without success. To be called again after each change
    /// that `read` reports, because the interface may be in another namespace then.
    template <class Tun> void watch(Tun const& device) noexcept {
        link_place const place = device.place();
        if (place == watched_ && watched_.index != 0) return;
        watched_ = place;
        bool const is_here = place.net == own_namespace;
        bool const watches_here = here_.fd() >= 0 && here_.watch_link(is_here ? place.index : 0);
        elsewhere_ = {};
        if (place.net >= 0)
            if (auto monitor = route_monitor::open_elsewhere(place)) elsewhere_ = std::move(*monitor);
        if (elsewhere_.fd() >= 0 && !os::watch(epoll_.get(), elsewhere_.fd(), EPOLLIN, 0)) elsewhere_ = {};
        reports_link_ = is_here ? watches_here : elsewhere_.fd() >= 0;
    }

    /// Whether changes of the interface are reported. If the kernel cannot report them, or rights are missing, the
    /// caller has to check the interface from time to time.
    bool reports_link() const noexcept { return reports_link_; }

    /// A descriptor that polls readable when `read` has something to read; -1 if no descriptors were left.
    int fd() const noexcept { return epoll_.get(); }
    /// Whether the kernel had a descriptor for the object.
    explicit operator bool() const noexcept { return static_cast<bool>(epoll_); }

    /// Reads all changes without blocking.
    network_changes read() noexcept {
        network_changes changes = here_.read();
        network_changes const elsewhere = elsewhere_.read();
        if (elsewhere.link) {
            changes.link = true;
            changes.up = elsewhere.up;
            changes.mtu_bytes = elsewhere.mtu_bytes;
        }
        changes.link_left = changes.link_left || elsewhere.link_left;
        return changes;
    }

private:
    unique_fd epoll_;         ///< watches both monitors
    route_monitor here_;      ///< watches this process's namespace
    route_monitor elsewhere_; ///< watches the interface while it is in another namespace
    link_place watched_{};
    bool reports_link_ = false;
};

}}} // namespace wg::WG_ABI::os

#endif
