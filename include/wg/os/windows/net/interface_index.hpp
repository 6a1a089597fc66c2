// SPDX-License-Identifier: BSL-1.0
// The number of a network interface (ConvertInterfaceAliasToLuid). Folder: os/windows/net. Any thread. Link: iphlpapi.
#ifndef WG_OS_WINDOWS_NET_INTERFACE_INDEX_HPP
#define WG_OS_WINDOWS_NET_INTERFACE_INDEX_HPP

#include "../api.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The longest name of an interface, in bytes (IF_MAX_STRING_SIZE).
inline constexpr std::size_t max_interface_name_bytes = 256;

/// The number of the interface `name`, in UTF-8, such as `Ethernet`. Returns: 0 if there is none.
inline unsigned interface_index(char const* name) noexcept {
    char16_t alias[max_interface_name_bytes + 1];
    constexpr int room = static_cast<int>(max_interface_name_bytes) + 1;
    std::uint64_t luid = 0;
    std::uint32_t index = 0;
    if (api_detail::to_wide(api_detail::code_page_utf8, 0, name, -1, alias, room) == 0) return 0; // too long
    if (api_detail::interface_of_alias(alias, &luid) != 0) return 0;
    return api_detail::index_of_interface(&luid, &index) == 0 ? index : 0;
}

}}}} // namespace wg::WG_ABI::os::windows

#endif
