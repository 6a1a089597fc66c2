// SPDX-License-Identifier: BSL-1.0
// Chooses the source address and the interface of a datagram that answers another one, by the rule of Linux's own
// WireGuard (send4 and send6 in its socket.c), and asks the host's routes where the rule needs them (rtnetlink(7),
// RTM_GETROUTE and RTM_GETLINK). Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_UDP_RETURN_ROUTE_HPP
#define WG_OS_LINUX_UDP_RETURN_ROUTE_HPP

#include "../../../base/endpoint.hpp"
#include "../../../base/status.hpp"
#include "../../../base/time.hpp"
#include "../fd.hpp"
#include "../netlink/message.hpp"

#include <algorithm>
#include <array>
#include <linux/if_link.h>
#include <memory>
#include <netinet/in.h>
#include <new>

namespace wg { inline namespace WG_ABI { namespace os {

/// Remembers the answers of the host: a question costs about 4 us. It asks once for each path until `forget`, and not
/// more often than `questions_a_second`, however many paths there are.
class return_route {
public:
    static constexpr unsigned questions_a_second = 2000; ///< under 1 % of a processor
    static constexpr std::size_t most_answers = 16384;   ///< of 20 bytes; the memory grows with the number of paths

    /// The socket that sends.
    struct sender {
        std::uint32_t mark = 0;
        std::uint16_t port = 0;
        bool bound = false; ///< to an interface (SO_BINDTODEVICE), which then carries every datagram
    };

    /// Forgets what the host answered: routes, rules, addresses or the socket have changed.
    void forget() noexcept {
        known_.reset();
        room_ = used_ = 0;
        interfaces_ = {};
    }

    /// What the kernel is to be told of the source of a datagram to `where.remote`. `where.local` is the address that
    /// the peer dialled and the interface on which the peer's datagram arrived. The answer is one of:
    /// - nothing: the host's routes choose the address and the interface;
    /// - the address alone: the host's routes choose the interface;
    /// - the address and an interface.
    ///
    /// IPv4: the address stays if a route leads from this address to the peer and leaves by the interface of the
    /// arrival, else nothing stays. IPv6: the address stays. A link-local source stays with its interface, because the
    /// address means nothing without one. An interface in a VRF stays as that VRF, because only the VRF's routes lead
    /// back. Where the host does not answer, or has been asked too often, the address stays. The kernel refuses an
    /// address that is no longer the host's own, so none of this has to ask for that.
    local_source choose(path const& where, sender const& by, instant now) noexcept {
        local_source const& arrived = where.local;
        if (arrived.interface_index == 0 || is_link_local(arrived.address)) return arrived;
        local_source const address_alone{arrived.address, 0};
        if (by.bound) return address_alone;
        if (std::uint32_t const vrf = vrf_of(arrived.interface_index, now); vrf != 0) return {arrived.address, vrf};
        if (arrived.address.kind == family::v6 || agrees(where, by, now)) return address_alone;
        return {};
    }

private:
    struct known_interface {
        std::uint32_t index = 0; ///< 0: not known
        std::uint32_t vrf = 0;   ///< 0: none
    };
    /// How the route from the source address to the peer leaves: by the interface of the arrival, by another one, or
    /// not at all.
    enum class verdict : std::uint8_t { agrees, differs, no_route };

    struct answer {
        byte_array<4> remote{};
        byte_array<4> local{};
        std::uint32_t interface_index = 0; ///< 0: an empty place
        std::uint16_t port = 0;
        verdict what = verdict::agrees;
        byte second = 0; ///< when no route led there, of the clock

        bool is_for(answer const& other) const noexcept {
            return interface_index == other.interface_index && remote == other.remote && local == other.local &&
                   port == other.port;
        }
    };
    /// The places of an answer follow each other; a full row gives up its first answer.
    static constexpr std::size_t row = 8;
    static constexpr std::size_t answer_bytes = 4096; ///< holds the description of a link without its statistics

    static bool is_link_local(ip_address const& address) noexcept {
        return address.kind == family::v6 && address.octets[0] == 0xfe && (address.octets[1] & 0xc0) == 0x80;
    }

    // --- what is remembered

    bool agrees(path const& where, sender const& by, instant now) noexcept {
        answer wanted{};
        std::memcpy(wanted.remote.data(), where.remote.address.octets.data(), wanted.remote.size());
        std::memcpy(wanted.local.data(), where.local.address.octets.data(), wanted.local.size());
        wanted.interface_index = where.local.interface_index;
        wanted.port = where.remote.port;
        for (std::size_t n = 0; n < (std::min)(row, room_); ++n) {
            answer const& a = place(wanted, n);
            if (a.interface_index == 0) break;
            if (!a.is_for(wanted)) continue;
            // An address can come back without a change of routes, and then `forget` is not called.
            if (a.what == verdict::no_route && a.second != second_of(now)) break;
            return a.what == verdict::agrees;
        }
        if (!may_ask(now)) return true;
        wanted.what = ask_route(where, by);
        wanted.second = second_of(now);
        remember(wanted);
        return wanted.what == verdict::agrees;
    }

    static byte second_of(instant now) noexcept { return static_cast<byte>(now.nanoseconds / 1'000'000'000 & 0xff); }

    answer& place(answer const& of, std::size_t n) noexcept {
        std::uint32_t const spread = (load_le32(of.remote.data()) * 0x9e3779b1u ^ load_le32(of.local.data()) ^
                                      std::uint32_t{of.port} << 16 ^ of.interface_index) *
                                     0x85ebca6bu;
        return known_[((spread >> 16 ^ spread) + n) & (room_ - 1)];
    }

    void remember(answer const& a) noexcept {
        if (used_ * 2 >= room_ && room_ < most_answers) grow();
        if (room_ != 0) put(a);
    }

    void put(answer const& a) noexcept {
        for (std::size_t n = 0; n < row; ++n) {
            answer& p = place(a, n);
            if (p.interface_index != 0 && !p.is_for(a)) continue;
            used_ += p.interface_index == 0;
            p = a;
            return;
        }
        place(a, 0) = a;
    }

    /// Without memory all stays as it is: the host is asked again.
    void grow() noexcept {
        std::size_t const before = std::exchange(room_, (std::max<std::size_t>)(64, room_ * 2));
        std::unique_ptr<answer[]> old(new (std::nothrow) answer[room_]);
        if (!old) {
            room_ = before;
            return;
        }
        known_.swap(old);
        used_ = 0;
        for (std::size_t i = 0; i < before; ++i)
            if (old[i].interface_index != 0) put(old[i]);
    }

    bool may_ask(instant now) noexcept {
        if (now - asking_since_ >= seconds(1)) {
            asking_since_ = now;
            asked_ = 0;
        }
        return asked_ < questions_a_second && ++asked_ != 0;
    }

    /// The VRF that the interface is, or is a port of; 0: none.
    std::uint32_t vrf_of(std::uint32_t index, instant now) noexcept {
        known_interface& known = interfaces_[index % interfaces_.size()];
        if (known.index != index) {
            if (!may_ask(now)) return 0;
            known = {index, ask_vrf(index)};
        }
        return known.vrf;
    }

    // --- what is asked

    verdict ask_route(path const& where, sender const& by) noexcept {
        rtmsg route{};
        route.rtm_family = AF_INET;
        route.rtm_dst_len = route.rtm_src_len = 32;
        netlink_detail::request question(RTM_GETROUTE, 0, route);
        question.attribute(RTA_DST, where.remote.address.octets.data(), 4);
        question.attribute(RTA_SRC, where.local.address.octets.data(), 4);
        if (by.mark != 0) question.attribute(RTA_MARK, by.mark);
        // Rules may look at ports (Linux 4.18; older kernels have no such rules and skip the attributes).
        byte port[2];
        question.attribute(RTA_IP_PROTO, static_cast<byte>(IPPROTO_UDP));
        store_be16(port, by.port);
        question.attribute(RTA_SPORT, port);
        store_be16(port, where.remote.port);
        question.attribute(RTA_DPORT, port);
        alignas(nlmsghdr) byte room[answer_bytes];
        netlink_detail::message const got = ask(question, room);
        if (got.type == 0) return verdict::agrees; // no answer
        // An error: the address is not the host's own, or no route leads from there to the peer.
        std::uint32_t interface_index = 0;
        if (got.type == RTM_NEWROUTE)
            netlink_detail::each_attribute(got.attributes<rtmsg>(), [&](std::uint16_t type, bytes_view value) noexcept {
                if (type == RTA_OIF) interface_index = netlink_detail::number_in(value, interface_index);
            });
        if (interface_index == 0) return verdict::no_route;
        return interface_index == where.local.interface_index ? verdict::agrees : verdict::differs;
    }

    std::uint32_t ask_vrf(std::uint32_t index) noexcept {
        ifinfomsg link{};
        link.ifi_index = static_cast<int>(index);
        netlink_detail::request question(RTM_GETLINK, 0, link);
        question.attribute(IFLA_EXT_MASK, netlink_detail::without_statistics);
        alignas(nlmsghdr) byte room[answer_bytes];
        netlink_detail::message const got = ask(question, room);
        if (got.type != RTM_NEWLINK) return 0;
        bool is_vrf = false, is_port = false;
        std::uint32_t master = 0;
        auto const info = [&](std::uint16_t type, bytes_view value) noexcept {
            is_vrf = is_vrf || (type == IFLA_INFO_KIND && names_vrf(value));
            is_port = is_port || (type == IFLA_INFO_SLAVE_KIND && names_vrf(value));
        };
        netlink_detail::each_attribute(got.attributes<ifinfomsg>(), [&](std::uint16_t type, bytes_view value) noexcept {
            if (type == IFLA_LINKINFO) netlink_detail::each_attribute(value, info);
            if (type == IFLA_MASTER) master = netlink_detail::number_in(value, master);
        });
        return is_vrf ? index : is_port ? master : 0;
    }

    static bool names_vrf(bytes_view kind) noexcept {
        return kind.size() >= 3 && std::memcmp(kind.data(), "vrf", 3) == 0 && (kind.size() == 3 || kind[3] == 0);
    }

    netlink_detail::message ask(netlink_detail::request& question, bytes room) noexcept {
        if (!fd_) fd_ = netlink_detail::open_socket();
        return fd_ ? netlink_detail::ask(fd_.get(), question, room, ++sequence_) : netlink_detail::message{};
    }

    std::unique_ptr<answer[]> known_{}; ///< `room_` places, a power of two
    std::size_t room_ = 0;
    std::size_t used_ = 0;
    std::array<known_interface, 32> interfaces_{};
    unique_fd fd_{};
    std::uint32_t sequence_ = 0;
    instant asking_since_{};
    unsigned asked_ = 0; ///< since then
};

}}} // namespace wg::WG_ABI::os

#endif
