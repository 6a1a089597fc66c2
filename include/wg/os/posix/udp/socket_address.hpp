// SPDX-License-Identifier: BSL-1.0
// An endpoint as a socket address (ip(7), ip(4)). Folder: os/posix/udp. Pure; any thread.
#ifndef WG_OS_POSIX_UDP_SOCKET_ADDRESS_HPP
#define WG_OS_POSIX_UDP_SOCKET_ADDRESS_HPP

#include "../../../base/endpoint.hpp"

#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// A socket address of either family.
union socket_address {
    sockaddr any;    ///< has the family
    sockaddr_in v4;  ///< IPv4
    sockaddr_in6 v6; ///< IPv6
};

/// Writes `where` as a socket address. Returns: its length in bytes. The field for the length, which some
/// systems have, stays 0: the kernel fills it in.
inline socklen_t spell(endpoint const& where, socket_address& out) noexcept {
    if (where.address.kind == family::v4) {
        out.v4 = {};
        out.v4.sin_family = AF_INET;
        store_be16(reinterpret_cast<byte*>(&out.v4.sin_port), where.port);
        std::memcpy(&out.v4.sin_addr, where.address.octets.data(), 4);
        return sizeof out.v4;
    }
    out.v6 = {};
    out.v6.sin6_family = AF_INET6;
    store_be16(reinterpret_cast<byte*>(&out.v6.sin6_port), where.port);
    std::memcpy(&out.v6.sin6_addr, where.address.octets.data(), 16);
    out.v6.sin6_scope_id = where.scope_id;
    return sizeof out.v6;
}

/// Reads a socket address. Returns: an endpoint without a family if the address is neither IPv4 nor IPv6.
inline endpoint read_address(socket_address const& from) noexcept {
    if (from.any.sa_family == AF_INET)
        return {ip_address::of(family::v4, reinterpret_cast<byte const*>(&from.v4.sin_addr)),
                load_be16(reinterpret_cast<byte const*>(&from.v4.sin_port)), 0};
    if (from.any.sa_family == AF_INET6)
        return {ip_address::of(family::v6, reinterpret_cast<byte const*>(&from.v6.sin6_addr)),
                load_be16(reinterpret_cast<byte const*>(&from.v6.sin6_port)), from.v6.sin6_scope_id};
    return {};
}

}}} // namespace wg::WG_ABI::os

#endif
