// SPDX-License-Identifier: BSL-1.0
// The numbers by which netlink requests name other network namespaces (network_namespaces(7), RTM_GETNSID).
// Folder: os/linux/netlink. One thread at a time.
#ifndef WG_OS_LINUX_NETLINK_NAMESPACES_HPP
#define WG_OS_LINUX_NETLINK_NAMESPACES_HPP

#include "message.hpp"

#include <linux/net_namespace.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// The number that this process's network namespace has for a network namespace.
using namespace_number = std::int32_t;
inline constexpr namespace_number own_namespace = -1;     ///< this process's own namespace
inline constexpr namespace_number unknown_namespace = -2; ///< the kernel does not say which namespace it is

namespace netlink_detail {

/// Makes a request about an interface one about an interface in namespace `net`. The own namespace is the default.
inline void set_namespace(request& about, namespace_number net) noexcept {
    constexpr std::uint16_t target_netnsid = 46; // IFLA_TARGET_NETNSID, Linux 4.15
    if (net >= 0) about.attribute(target_netnsid, net);
}

/// Asks for the number of the namespace behind the descriptor `fd`, and has the kernel make a number if there is none.
/// Returns: `unknown_namespace` if the kernel refuses.
inline namespace_number number_of(int netlink, int fd) noexcept {
    for (int round = 0; round < 2; ++round) {
        rtgenmsg const body{};
        request question(RTM_GETNSID, 0, body);
        question.attribute(NETNSA_FD, fd);
        alignas(nlmsghdr) byte room[256];
        namespace_number net = NETNSA_NSID_NOT_ASSIGNED;
        if (message const answer = ask(netlink, question, room); answer.type == RTM_NEWNSID)
            each_attribute(answer.attributes<rtgenmsg>(), [&](std::uint16_t type, bytes_view value) noexcept {
                if (type == NETNSA_NSID) net = number_in(value, net);
            });
        if (net >= 0 || round == 1) return net >= 0 ? net : unknown_namespace;
        request made(RTM_NEWNSID, NLM_F_ACK, body);
        made.attribute(NETNSA_FD, fd);
        made.attribute(NETNSA_NSID, namespace_number{-1}); // any free number
        (void)ask(netlink, made, room);
    }
    return unknown_namespace;
}

} // namespace netlink_detail

}}} // namespace wg::WG_ABI::os

#endif
