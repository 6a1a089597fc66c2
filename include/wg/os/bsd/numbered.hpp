// SPDX-License-Identifier: BSL-1.0
// What OpenBSD and NetBSD share and FreeBSD does otherwise. Folder: os/bsd, for OpenBSD and NetBSD alone. Threads: as
// each type says.
#ifndef WG_OS_BSD_NUMBERED_HPP
#define WG_OS_BSD_NUMBERED_HPP

#include "system.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace bsd {

/// The calls of `tun_opener` where the number of an interface is that of a file in /dev: OpenBSD and NetBSD.
struct numbered_tun_calls : common_tun_calls {
    static constexpr bool can_rename = false;       ///< an interface keeps its name
    static constexpr bool has_clone_device = false; ///< each interface has a file of its own
    /// How to mend a lack of the device.
    static constexpr char const* missing_device = "make it with `cd /dev && sh MAKEDEV`, the word `tun` and the number";

    /// Returns: EOPNOTSUPP.
    static constexpr int rename(posix::interface_name const&, posix::interface_name const&) noexcept {
        return EOPNOTSUPP;
    }
};

/// The numbers of control messages of OpenBSD and NetBSD. Neither has one for the tos of IPv4.
constexpr posix::udp_numbers numbers_without_v4_tos() noexcept {
    posix::udp_numbers numbers;
    numbers.has_v4_interface = false;
    numbers.v4_receive_local = numbers.v4_received_local = IP_RECVDSTADDR;
    numbers.v4_local = IP_SENDSRCADDR;
    numbers.v6_receive_local = IPV6_RECVPKTINFO;
    numbers.v6_local = IPV6_PKTINFO;
    numbers.v6_receive_tos = IPV6_RECVTCLASS;
    numbers.v6_tos = IPV6_TCLASS;
    return numbers;
}

}}}} // namespace wg::WG_ABI::os::bsd

#endif
