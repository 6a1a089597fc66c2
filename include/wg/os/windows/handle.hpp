// SPDX-License-Identifier: BSL-1.0
// An owned handle of Windows. Folder: os/windows. Any thread; a handle has one owner.
#ifndef WG_OS_WINDOWS_HANDLE_HPP
#define WG_OS_WINDOWS_HANDLE_HPP

#include "api.hpp"

#include <utility>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The call of `basic_handle`.
struct handle_calls {
    /// CloseHandle
    static void close(void* handle) noexcept { api_detail::close_handle(handle); }
};

/// Owns a handle, and closes it in the end. Null and INVALID_HANDLE_VALUE (-1) are no handles. A test replaces `Calls`.
template <class Calls = handle_calls> class basic_handle {
public:
    /// Owns none.
    constexpr basic_handle() noexcept = default;
    /// Owns `handle`.
    explicit basic_handle(void* handle) noexcept : handle_(is_handle(handle) ? handle : nullptr) {}
    /// Takes over the handle of `other`.
    constexpr basic_handle(basic_handle&& other) noexcept : handle_(other.release()) {}
    /// Closes its handle and takes over that of `other`.
    basic_handle& operator=(basic_handle&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    basic_handle(basic_handle const&) = delete;
    basic_handle& operator=(basic_handle const&) = delete;
    ~basic_handle() { reset(); }

    /// Whether it owns a handle.
    constexpr explicit operator bool() const noexcept { return handle_ != nullptr; }
    /// The handle, or null.
    constexpr void* get() const noexcept { return handle_; }
    /// Gives up the handle without closing it. Returns: the handle, or null.
    constexpr void* release() noexcept { return std::exchange(handle_, nullptr); }
    /// Closes its handle and owns `handle` from now on.
    void reset(void* handle = nullptr) noexcept {
        if (handle_ != nullptr) Calls::close(handle_);
        handle_ = is_handle(handle) ? handle : nullptr;
    }

private:
    static bool is_handle(void* handle) noexcept { return reinterpret_cast<std::uintptr_t>(handle) + 1 > 1; }

    void* handle_ = nullptr;
};

/// Owns a handle of Windows.
using unique_handle = basic_handle<>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
