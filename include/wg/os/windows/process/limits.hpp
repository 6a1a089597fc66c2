// SPDX-License-Identifier: BSL-1.0
// Limits of a process: its memory, and what a crash report takes of it (job objects, WerSetFlags). Folder:
// os/windows/process. At start-up, before other threads.
#ifndef WG_OS_WINDOWS_PROCESS_LIMITS_HPP
#define WG_OS_WINDOWS_PROCESS_LIMITS_HPP

#include "../handle.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// Keeps the heap out of reports of a crash, and shows no dialog in a crash. Windows itself keeps processes with fewer
/// rights from reading the memory of an administrator's process. Returns: whether reports leave the heap out.
inline bool keep_memory_private() noexcept {
    (void)api_detail::set_error_mode(api_detail::no_error_dialogs);
    using set_flags = std::int32_t(std::uint32_t) noexcept;
    auto* const set = api_detail::find_in<set_flags>(u"kernel32.dll", "WerSetFlags");
    return set != nullptr && set(api_detail::crash_reports_without_heap) >= 0;
}

/// Limits the memory that this process may commit: heap, buffers, stacks of threads. Further allocations fail, which
/// the whole library handles. Returns: false with `last_error` if Windows refuses.
inline bool limit_memory(std::size_t bytes) noexcept {
    unique_handle const job(api_detail::create_job(nullptr, nullptr));
    api_detail::job_limits limits{};
    limits.flags = api_detail::job_limits_process_memory;
    limits.process_memory = bytes;
    return job && api_detail::limit_job(job.get(), api_detail::extended_job_limits, &limits, sizeof limits) != 0 &&
           api_detail::join_job(job.get(), api_detail::current_process()) != 0;
}

/// The result of `make_descriptor_room`.
struct descriptor_room {
    std::size_t limit = 0; ///< handles that the process may have
    std::size_t used = 0;  ///< how many of them are in use
    /// How many of them are free.
    std::size_t left() const noexcept { return limit - used; }
};
/// Windows limits handles only by memory. Returns: room for `wanted`.
inline descriptor_room make_descriptor_room(std::size_t wanted) noexcept { return {wanted, 0}; }

/// Windows limits handles only by memory. Returns: true.
inline bool can_open(std::size_t /*count*/) noexcept { return true; }

}}}} // namespace wg::WG_ABI::os::windows

#endif
