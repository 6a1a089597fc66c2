// SPDX-License-Identifier: BSL-1.0
// A lock that lets one process at a time serve an interface (CreateNamedPipeW). Folder: os/windows/process. One thread
// at a time. Link: advapi32.
//
// The lock is a pipe that takes one instance. Windows lets only administrators create pipes with this prefix, so no
// other user can hold the lock, as a user could hold a mutex. Windows removes the pipe when the process ends in any
// way.
#ifndef WG_OS_WINDOWS_PROCESS_NAME_LOCK_HPP
#define WG_OS_WINDOWS_PROCESS_NAME_LOCK_HPP

#include "../../../base/status.hpp"
#include "../../error_text.hpp"
#include "../adapter_name.hpp"
#include "pipe_calls.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// Holds the lock of a name, until it is destroyed. A test replaces `Calls`.
template <class Calls = pipe_calls> class basic_name_lock {
public:
    /// Holds nothing.
    basic_name_lock() noexcept = default;

    /// Takes the lock of `name`. `directory` is not used.
    /// Returns: `address_in_use` if another process holds the lock. If the lock cannot be created, the object holds
    /// nothing; the next step of the caller reports what is wrong.
    static result<basic_name_lock> take(std::string_view name, char const* /*directory*/, error_text& why) noexcept {
        basic_name_lock made;
        if (!is_adapter_name(name)) return made;
        constexpr std::u16string_view before = uR"(\\.\pipe\ProtectedPrefix\Administrators\wg lock\)";
        char16_t path[before.size() + max_adapter_name_bytes + 1] = {};
        std::copy(name.begin(), name.end(), std::copy(before.begin(), before.end(), path));
        void* const descriptor = Calls::descriptor_of(u"D:P(A;;GA;;;SY)(A;;GA;;;BA)");
        if (descriptor == nullptr) return made;
        made.pipe_.reset(Calls::create_pipe(path, true, 1, descriptor));
        int const error = made.pipe_ ? 0 : Calls::error();
        Calls::free_descriptor(descriptor);
        bool const is_taken = error == api_detail::error_pipe_busy ||
                              (error == api_detail::error_access_denied && Calls::pipe_exists(path));
        if (!is_taken) return made;
        why.set("`", name, "` is in use: another process serves it");
        return status::address_in_use;
    }

    /// Whether the lock is held.
    explicit operator bool() const noexcept { return static_cast<bool>(pipe_); }

private:
    basic_handle<Calls> pipe_{};
};

/// The lock of a Windows host.
using name_lock = basic_name_lock<>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
