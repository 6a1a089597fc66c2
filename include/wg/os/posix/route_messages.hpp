// SPDX-License-Identifier: BSL-1.0
// The messages of a routing socket: changes of interfaces, addresses and routes (route(4)). Folder: os/posix. Pure; any
// thread.
#ifndef WG_OS_POSIX_ROUTE_MESSAGES_HPP
#define WG_OS_POSIX_ROUTE_MESSAGES_HPP

#include "../../base/bytes.hpp"
#include "../network_changes.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// Where a system has the fields of its messages, in bytes from the start, and the numbers in them. Each message starts
/// with its length (2 bytes), the version and the type (1 byte each), in the order of the host.
struct route_layout {
    byte version = 5; ///< RTM_VERSION; messages of other versions are not understood

    byte add = 0x1;             ///< RTM_ADD: a route was added
    byte remove = 0x2;          ///< RTM_DELETE: a route was removed
    byte change = 0x3;          ///< RTM_CHANGE: a route was changed
    byte new_address = 0xc;     ///< RTM_NEWADDR: an interface has a new address
    byte removed_address = 0xd; ///< RTM_DELADDR: an address was removed
    byte link = 0xe;            ///< RTM_IFINFO: the flags or the data of an interface have changed
    byte announcement = 0;      ///< RTM_IFANNOUNCE: an interface came or left; 0: the system has no such message

    byte overflow = 0; ///< RTM_DESYNC: messages were dropped; 0: the system has no such message

    std::size_t route_flags = 8;               ///< rtm_flags, 4 bytes
    std::uint32_t flags_of_neighbours = 0x400; ///< RTF_LLINFO and others: the route leads to no other network
    std::size_t link_index = 12;               ///< ifm_index, 2 bytes
    std::size_t link_flags = 8;                ///< ifm_flags, 4 bytes
    std::size_t link_mtu = 24;                 ///< ifm_data.ifi_mtu
    std::size_t link_mtu_bytes = 4;            ///< 4 or 8
    std::uint32_t up = 0x1;                    ///< IFF_UP
    std::size_t announcement_index = 4;        ///< ifan_index, 2 bytes
    std::size_t announcement_what = 22;        ///< ifan_what, 2 bytes
    std::uint16_t departure = 1;               ///< IFAN_DEPARTURE
};

namespace route_detail {

template <class Number> Number load(bytes_view from, std::size_t at) noexcept {
    Number number = 0;
    if (from.size() >= sizeof number && at <= from.size() - sizeof number)
        std::memcpy(&number, from.data() + at, sizeof number);
    return number;
}
constexpr bool has(bytes_view message, std::size_t at, std::size_t size) noexcept {
    return message.size() >= size && at <= message.size() - size;
}

/// Adds what one message says. A message that is too short for a field is ignored.
inline void take_one(route_layout const& at, bytes_view message, std::uint32_t index,
                     network_changes& changes) noexcept {
    byte const type = message[3];
    if (type == at.overflow && at.overflow != 0) {
        changes.link = changes.routes = true; // anything may have changed
    } else if (type == at.add || type == at.remove || type == at.change) {
        if (!has(message, at.route_flags, 4)) return;
        bool const is_neighbour = (load<std::uint32_t>(message, at.route_flags) & at.flags_of_neighbours) != 0;
        changes.routes = changes.routes || !is_neighbour;
    } else if (type == at.new_address || type == at.removed_address) {
        changes.routes = true;
    } else if (type == at.link) {
        if (!has(message, at.link_index, 2) || !has(message, at.link_flags, 4)) return;
        if (index == 0 || load<std::uint16_t>(message, at.link_index) != index) return;
        changes.link = true;
        changes.link_left = false;
        changes.up = (load<std::uint32_t>(message, at.link_flags) & at.up) != 0;
        if (!has(message, at.link_mtu, at.link_mtu_bytes)) return;
        std::uint64_t const mtu = at.link_mtu_bytes == 8 ? load<std::uint64_t>(message, at.link_mtu)
                                                         : load<std::uint32_t>(message, at.link_mtu);
        if (mtu != 0 && mtu <= 0xffff'ffff) changes.mtu_bytes = static_cast<std::uint32_t>(mtu);
    } else if (type == at.announcement && at.announcement != 0) {
        if (!has(message, at.announcement_index, 2) || !has(message, at.announcement_what, 2)) return;
        bool const is_ours = index != 0 && load<std::uint16_t>(message, at.announcement_index) == index;
        if (is_ours && load<std::uint16_t>(message, at.announcement_what) == at.departure) changes.link_left = true;
    }
}

} // namespace route_detail

/// Adds what the messages in `read`, back to back, say about the host's routes and about the interface `index` (0:
/// none). Stops at a message that is longer than the rest or shorter than its first fields.
inline void take_route_messages(route_layout const& at, bytes_view read, std::uint32_t index,
                                network_changes& changes) noexcept {
    while (read.size() >= 4) {
        std::size_t const size = route_detail::load<std::uint16_t>(read, 0);
        if (size < 4 || size > read.size()) return;
        if (read[2] == at.version) route_detail::take_one(at, read.first(size), index, changes);
        read = read.subspan(size);
    }
}

}}}} // namespace wg::WG_ABI::os::posix

#endif
