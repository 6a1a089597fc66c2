// SPDX-License-Identifier: BSL-1.0
// Asks the host by which interface it would answer (rtnetlink(7), RTM_GETROUTE). Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_RETURN_ROUTE_HPP
#define WG_OS_LINUX_RETURN_ROUTE_HPP

#include "../../base/endpoint.hpp"
#include "../../base/status.hpp"
#include "fd.hpp"

#include <algorithm>
#include <array>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace wg::inline WG_ABI::os {

/// Answers of the host's routes, the last 64 of them remembered: a question costs some microseconds.
class return_route {
public:
    /// Forgets what it was told: the routes have changed, or the mark.
    void forget() noexcept { known_ = {}; }

    /// Whether datagrams to `where.remote` with this source address and mark would leave by the interface that
    /// `where.local` names. False where nothing leads there, or the host does not say.
    bool agrees(path const& where, std::uint32_t mark) noexcept {
        // Whoever hits the same slot only asks more often.
        std::uint32_t const spread = load_le32(where.remote.address.octets.data()) ^
                                     load_le32(where.remote.address.octets.data() + 12) ^ where.remote.port;
        answer& a = known_[spread * 0x9e3779b1u >> 26];
        if (!a.where.remote || a.where != where) a = {where, ask(where, mark) == where.local.interface_index};
        return a.agrees;
    }

private:
    struct answer {
        path where{};
        bool agrees = false;
    };

    /// The interface; 0: none.
    std::uint32_t ask(path const& where, std::uint32_t mark) noexcept {
        if (!fd_) fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
        bool const is_v4 = where.remote.address.kind == family::v4;
        std::size_t const address_bytes = is_v4 ? 4 : 16;

        alignas(nlmsghdr) byte buffer[1024] = {};
        rtmsg route{};
        route.rtm_family = is_v4 ? AF_INET : AF_INET6;
        route.rtm_dst_len = route.rtm_src_len = static_cast<unsigned char>(8 * address_bytes);
        std::size_t used = NLMSG_LENGTH(0);
        append(buffer, used, &route, sizeof route);
        append_attribute(buffer, used, RTA_DST, where.remote.address.octets.data(), address_bytes);
        append_attribute(buffer, used, RTA_SRC, where.local.address.octets.data(), address_bytes);
        if (mark != 0) append_attribute(buffer, used, RTA_MARK, &mark, sizeof mark);
        if (where.remote.scope_id != 0) // a link-local address means nothing without its interface
            append_attribute(buffer, used, RTA_OIF, &where.remote.scope_id, sizeof where.remote.scope_id);
        nlmsghdr header{};
        header.nlmsg_len = converted<std::uint32_t>(used);
        header.nlmsg_type = RTM_GETROUTE;
        header.nlmsg_flags = NLM_F_REQUEST;
        header.nlmsg_seq = ++sequence_;
        std::memcpy(buffer, &header, sizeof header);

        // The kernel answers before `send` returns, so there is nothing to wait for.
        if (without_interruption([&] { return ::send(fd_.get(), buffer, used, 0); }) < 0) return 0;
        for (;;) {
            ssize_t const got = without_interruption([&] { return ::recv(fd_.get(), buffer, sizeof buffer, 0); });
            if (got < static_cast<ssize_t>(sizeof header)) return 0;
            std::memcpy(&header, buffer, sizeof header);
            if (header.nlmsg_seq != sequence_) continue; // an answer that came late after all
            std::size_t const size = (std::min<std::size_t>)(static_cast<std::size_t>(got), header.nlmsg_len);
            if (header.nlmsg_type != RTM_NEWROUTE || size < NLMSG_LENGTH(sizeof route)) return 0;
            return outgoing_interface({buffer + NLMSG_LENGTH(sizeof route), size - NLMSG_LENGTH(sizeof route)});
        }
    }

    static std::uint32_t outgoing_interface(bytes_view attributes) noexcept {
        while (attributes.size() >= sizeof(rtattr)) {
            rtattr attribute;
            std::memcpy(&attribute, attributes.data(), sizeof attribute);
            if (attribute.rta_len < sizeof attribute || attribute.rta_len > attributes.size()) return 0;
            std::uint32_t index;
            if (attribute.rta_type == RTA_OIF && attribute.rta_len >= RTA_LENGTH(sizeof index)) {
                std::memcpy(&index, attributes.data() + RTA_LENGTH(0), sizeof index);
                return index;
            }
            attributes = attributes.subspan(std::min<std::size_t>(attributes.size(), RTA_ALIGN(attribute.rta_len)));
        }
        return 0;
    }

    static void append(byte* buffer, std::size_t& used, void const* from, std::size_t size) noexcept {
        std::memcpy(buffer + used, from, size);
        used += NLMSG_ALIGN(size);
    }
    static void append_attribute(byte* buffer, std::size_t& used, unsigned type, void const* from,
                                 std::size_t size) noexcept {
        rtattr const attribute{static_cast<unsigned short>(RTA_LENGTH(size)), static_cast<unsigned short>(type)};
        append(buffer, used, &attribute, sizeof attribute);
        append(buffer, used, from, size);
    }

    std::array<answer, 64> known_{};
    unique_fd fd_{};
    std::uint32_t sequence_ = 0;
};

} // namespace wg::inline WG_ABI::os

#endif
