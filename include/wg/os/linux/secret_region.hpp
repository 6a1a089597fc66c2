// SPDX-License-Identifier: BSL-1.0
// The memory of keys on Linux (madvise(2)). Folder: os/linux. One thread at a time.
#ifndef WG_OS_LINUX_SECRET_REGION_HPP
#define WG_OS_LINUX_SECRET_REGION_HPP

#include "../posix/secret_region.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

/// The calls of `secret_region`. Each returns false if the kernel refuses.
struct region_calls : common_region_calls {
    /// MADV_DONTDUMP
    static bool exclude_from_dumps(void* from, std::size_t bytes) noexcept {
        return ::madvise(from, bytes, MADV_DONTDUMP) == 0;
    }
    /// MADV_WIPEONFORK: a forked process has zeros there.
    static bool exclude_from_forks(void* from, std::size_t bytes) noexcept {
        return ::madvise(from, bytes, MADV_WIPEONFORK) == 0;
    }
};

/// The region of a Linux host. Locking needs RLIMIT_MEMLOCK or CAP_IPC_LOCK.
using secret_region = basic_secret_region<region_calls>;

}}} // namespace wg::WG_ABI::os

#endif
