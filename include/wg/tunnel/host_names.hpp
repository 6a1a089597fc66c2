// SPDX-License-Identifier: BSL-1.0
// Names of peers, asked from the system. Folder: tunnel. Any thread.
#ifndef WG_TUNNEL_HOST_NAMES_HPP
#define WG_TUNNEL_HOST_NAMES_HPP

#include "../base/endpoint.hpp"
#include "../base/status.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <string>

namespace wg { inline namespace WG_ABI {

/// Asks the system for the address of a peer; blocks as long as getaddrinfo(3) does. Returns: the first address;
/// name_not_found; not_supported, if it is of another family; no_memory.
inline result<ip_address> resolve_on_host(std::string const& name) noexcept {
    addrinfo wanted{};
    wanted.ai_socktype = SOCK_DGRAM;
    wanted.ai_flags = AI_ADDRCONFIG;
    addrinfo* found = nullptr;
    int const why = ::getaddrinfo(name.c_str(), nullptr, &wanted, &found);
    if (why != 0) return why == EAI_MEMORY ? status::no_memory : status::name_not_found;
    result<ip_address> address = status::not_supported;
    if (found->ai_family == AF_INET) {
        sockaddr_in of;
        std::memcpy(&of, found->ai_addr, sizeof of);
        address = ip_address::of(family::v4, reinterpret_cast<byte const*>(&of.sin_addr));
    } else if (found->ai_family == AF_INET6) {
        sockaddr_in6 of;
        std::memcpy(&of, found->ai_addr, sizeof of);
        address = ip_address::of(family::v6, reinterpret_cast<byte const*>(&of.sin6_addr));
    }
    ::freeaddrinfo(found);
    return address;
}

}} // namespace wg::WG_ABI

#endif
