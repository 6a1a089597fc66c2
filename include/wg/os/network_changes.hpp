// SPDX-License-Identifier: BSL-1.0
// The changes of a host's network that concern a tunnel. Folder: os. Pure; any thread.
#ifndef WG_OS_NETWORK_CHANGES_HPP
#define WG_OS_NETWORK_CHANGES_HPP

#include "../base/abi.hpp"

#include <cstdint>

namespace wg { inline namespace WG_ABI { namespace os {

/// All changes since the last `read` of a monitor.
struct network_changes {
    bool link = false;           ///< the interface was reported; `up` and `mtu_bytes` are the last values
    bool up = false;             ///< an administrator has set it up
    std::uint32_t mtu_bytes = 0; ///< 0: not reported
    bool link_left = false;      ///< it was deleted or moved to another namespace; `tun::link_state` finds out which
    bool routes = false;         ///< routes or rules changed, or an address was removed, IPv4 or IPv6
};

}}} // namespace wg::WG_ABI::os

#endif
