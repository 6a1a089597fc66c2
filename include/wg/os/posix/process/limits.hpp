// SPDX-License-Identifier: BSL-1.0
// Limits of a process: memory, core dumps, descriptors (setrlimit(2)).
// Folder: os/posix/process. At start-up, before other threads.
#ifndef WG_OS_POSIX_PROCESS_LIMITS_HPP
#define WG_OS_POSIX_PROCESS_LIMITS_HPP

#include "../../../base/bytes.hpp"
#include "../fd.hpp"

#include <algorithm>
#include <sys/resource.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Keeps the kernel from writing core dumps of this process. Returns: whether it succeeded.
inline bool forbid_core_dumps() noexcept {
    rlimit const none{0, 0};
    return ::setrlimit(RLIMIT_CORE, &none) == 0;
}

namespace posix {

/// Limits the memory of this process by a limit of setrlimit(2): RLIMIT_DATA (heap, buffers, stacks of threads) where
/// the kernel counts what mmap(2) provides, else RLIMIT_AS (all addresses, those of the program and its libraries too).
/// Further allocations fail, which the whole library handles. Returns: false if the process had a lower limit.
template <auto Limit> bool limit_memory_by(std::size_t bytes) noexcept {
    rlimit const most{converted<rlim_t>(bytes), converted<rlim_t>(bytes)};
    return ::setrlimit(Limit, &most) == 0;
}

} // namespace posix

/// The result of `make_descriptor_room`.
struct descriptor_room {
    std::size_t limit = 0; ///< numbers of descriptors that were examined, from 0 on
    std::size_t used = 0;  ///< how many of them are in use
    /// How many of them are free.
    std::size_t left() const noexcept { return limit - used; }
};
/// Finds out whether `wanted` more descriptors can be opened, and raises the soft limit (`ulimit -Sn`) if necessary, as
/// far as the hard limit allows. Returns: if fewer are free, `limit` is the process's limit.
inline descriptor_room make_descriptor_room(std::size_t wanted) noexcept {
    rlimit now{};
    if (::getrlimit(RLIMIT_NOFILE, &now) != 0) return {wanted, 0};
    descriptor_room room;
    auto const look = [&] { // ends when enough are found, because the limit can be a million
        room = {};
        std::size_t const most = now.rlim_cur == RLIM_INFINITY ? SIZE_MAX : converted<std::size_t>(now.rlim_cur);
        for (; room.limit < most && room.left() < wanted; ++room.limit)
            room.used += ::fcntl(static_cast<int>(room.limit), F_GETFD) >= 0;
    };
    look();
    if (room.left() >= wanted || now.rlim_cur == now.rlim_max) return room;
    rlimit raised = now;
    rlim_t const enough = converted<rlim_t>(room.used + wanted);
    raised.rlim_cur = now.rlim_max == RLIM_INFINITY ? enough : (std::min)(now.rlim_max, enough);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) now = raised;
    look();
    return room;
}

}}} // namespace wg::WG_ABI::os

#endif
