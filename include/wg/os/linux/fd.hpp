// SPDX-License-Identifier: BSL-1.0
// Owned descriptors, and a watch of epoll(7) that the files of os/linux use. Folder: os/linux. Any thread.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP

#include "../posix/fd.hpp"

#include <sys/epoll.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Has `epoll` watch `fd` for `events` and report them under `number`; replaces what it watched `fd` for before.
/// Returns: false with errno.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0) return true;
    return errno == ENOENT && ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}}} // namespace wg::WG_ABI::os

#endif
