// SPDX-License-Identifier: BSL-1.0
// The offloads of the kernel that move several packets in one call. Each is tried when a device or socket is opened,
// and left out where the kernel, the driver or the user refuses it. Folder: os. Pure; any thread.
#ifndef WG_OS_OFFLOADS_HPP
#define WG_OS_OFFLOADS_HPP

#include "../base/abi.hpp"

#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os {

/// Which offloads may be used.
struct offloads {
    bool frames = true;  ///< TUN: packets have a virtio header and may lack a checksum; `tso` and `uso` need it
    bool tso = true;     ///< TUN: frames of up to 64 KiB of TCP
    bool uso = true;     ///< TUN: frames of up to 64 KiB of UDP (Linux 6.2)
    bool queues = true;  ///< TUN: flows are in several queues (Linux 3.8)
    bool gso = true;     ///< socket: datagrams of one size leave as one message (UDP_SEGMENT, Linux 4.18)
    bool gro = true;     ///< socket: datagrams of one flow arrive as one message (UDP_GRO, Linux 5.0)
    bool batches = true; ///< socket: several messages in one call (sendmmsg, recvmmsg)
};

/// Switches off the offloads in `names`, names of members with commas between; `all` stands for all of them.
/// Returns: false if a name is unknown; then nothing has changed.
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
