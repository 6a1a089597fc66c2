// SPDX-License-Identifier: BSL-1.0
// Reads and changes the settings of a network interface (GetIpInterfaceEntry, SetIpInterfaceEntry). Folder:
// os/windows/net. Any thread. Link: iphlpapi.
#ifndef WG_OS_WINDOWS_NET_INTERFACE_CALLS_HPP
#define WG_OS_WINDOWS_NET_INTERFACE_CALLS_HPP

#include "../api.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls for settings of an interface. Each returns 0 or the error number; ERROR_CALL_NOT_IMPLEMENTED on Wine,
/// where version 8 ends a program that calls these functions.
struct interface_calls {
    /// Reads the settings of the interface and the family that `row` names: GetIpInterfaceEntry.
    static int get_interface(api_detail::interface_row& row) noexcept {
        return is_wine() ? api_detail::error_call_not_implemented : static_cast<int>(api_detail::get_interface(&row));
    }
    /// Changes the settings to those of `row`: SetIpInterfaceEntry.
    static int set_interface(api_detail::interface_row& row) noexcept {
        return is_wine() ? api_detail::error_call_not_implemented : static_cast<int>(api_detail::set_interface(&row));
    }
    /// Whether this is Wine and not Windows.
    static bool is_wine() noexcept {
        return api_detail::find_in<char const*() noexcept>(u"ntdll.dll", "wine_get_version") != nullptr;
    }
};

}}}} // namespace wg::WG_ABI::os::windows

#endif
