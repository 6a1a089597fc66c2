// SPDX-License-Identifier: BSL-1.0
// The names of adapters, as WireGuard for Windows allows them. Folder: os/windows. Pure; any thread.
#ifndef WG_OS_WINDOWS_ADAPTER_NAME_HPP
#define WG_OS_WINDOWS_ADAPTER_NAME_HPP

#include "../../base/abi.hpp"

#include <cstddef>
#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The longest name of an adapter, in bytes.
inline constexpr std::size_t max_adapter_name_bytes = 32;

/// Whether `name` can name an adapter: 1 to 32 letters, digits and `_=+.-`, as in WireGuard for Windows.
constexpr bool is_adapter_name(std::string_view name) noexcept {
    if (name.empty() || name.size() > max_adapter_name_bytes) return false;
    for (char const c : name) {
        bool const letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool const digit = c >= '0' && c <= '9';
        if (!letter && !digit && std::string_view("_=+.-").find(c) == std::string_view::npos) return false;
    }
    return true;
}

}}}} // namespace wg::WG_ABI::os::windows

#endif
