// SPDX-License-Identifier: BSL-1.0
// Privacy of a process's memory (prctl(2)). Folder: os/linux/process. At start-up, before other threads.
#ifndef WG_OS_LINUX_PROCESS_PRIVACY_HPP
#define WG_OS_LINUX_PROCESS_PRIVACY_HPP

#include "../../posix/process/limits.hpp"

#include <sys/prctl.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Keeps other processes of the same user from reading or tracing this one, and the kernel from writing core dumps.
/// Returns: whether both succeeded.
inline bool keep_memory_private() noexcept {
    bool const no_core = forbid_core_dumps();
    return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && no_core;
}

}}} // namespace wg::WG_ABI::os

#endif
