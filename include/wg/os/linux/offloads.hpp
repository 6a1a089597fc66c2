// SPDX-License-Identifier: BSL-1.0
// What the kernel may do for us in one go. Each is asked for when a device or socket is opened, and done without where
// the kernel, the driver or the user refuses. Layer 7 (Linux); pure.
#ifndef WG_OS_LINUX_OFFLOADS_HPP
#define WG_OS_LINUX_OFFLOADS_HPP

#include "../../base/abi.hpp"

#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os {

struct offloads {
    bool frames = true;  ///< TUN: packets come with a virtio header, and so without a checksum; for the next two
    bool tso = true;     ///< TUN: TCP in pieces of up to 64 KiB
    bool uso = true;     ///< TUN: UDP likewise (Linux 6.2)
    bool queues = true;  ///< TUN: flows are kept apart in several queues (Linux 3.8)
    bool gso = true;     ///< socket: equal datagrams leave as one message (UDP_SEGMENT, Linux 4.18)
    bool gro = true;     ///< socket: and arrive as one (UDP_GRO, Linux 5.0)
    bool batches = true; ///< socket: several messages in a call (sendmmsg, recvmmsg)
};

/// Switches off what `names` names, with commas between; `all` names everything. False: a name is not known, and
/// nothing has changed.
constexpr bool switch_off(offloads& which, std::string_view names) noexcept {
    struct {
        std::string_view name;
        bool offloads::*which;
    } constexpr known[] = {{"frames", &offloads::frames},  {"tso", &offloads::tso}, {"uso", &offloads::uso},
                           {"queues", &offloads::queues},  {"gso", &offloads::gso}, {"gro", &offloads::gro},
                           {"batches", &offloads::batches}};
    offloads wanted = which;
    while (!names.empty()) {
        std::string_view const name = names.substr(0, names.find(','));
        names.remove_prefix(name.size() < names.size() ? name.size() + 1 : name.size());
        bool found = false;
        for (auto const& k : known)
            if (name == k.name || name == "all") wanted.*k.which = false, found = true;
        if (!found) return false;
    }
    which = wanted;
    return true;
}

}}} // namespace wg::WG_ABI::os

#endif
