// SPDX-License-Identifier: BSL-1.0
// Chooses the source address and the interface of a datagram that answers another one, by the rule of Linux's own
// WireGuard (send4 and send6 in its socket.c). Where the rule needs routes, the kernel is asked (rtnetlink(7),
// RTM_GETROUTE and RTM_GETLINK). Folder: os/linux/udp. One thread at a time.
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

/// Chooses sources, and remembers the kernel's answers, because a question takes about 4 us. The kernel is asked once
/// for each path until `forget`, and at most `questions_a_second` times for all paths together.
class return_route {
public:
    static constexpr unsigned questions_a_second = 2000; ///< they take less than 1 % of a processor
    /// Answers of 20 bytes that are remembered at most; the memory grows with the number of paths.
    static constexpr std::size_t most_answers = 16384;

    /// The socket that sends.
    struct sender {
        std::uint32_t mark = 0; ///< SO_MARK
        std::uint16_t port = 0; ///< its local port
        bool bound = false;     ///< to an interface (SO_BINDTODEVICE), through which every datagram then leaves
    };

    /// Forgets all answers. To be called when routes, rules, addresses or the socket have changed.
    void forget() noexcept {
        known_.reset();
        room_ = used_ = 0;
        interfaces_ = {};
    }

    /// Chooses the source of a datagram to `where.remote`. `where.local` is the address to which the peer sent, and the
    /// interface by which its datagram arrived. Returns one of:
    /// - nothing: the host's routes choose the address and the interface;
    /// - the address alone: the host's routes choose the interface;
    /// - the address and an interface.
    ///
    /// IPv4: the address is kept if the route from it to the peer leaves by the interface of the arrival; else
    /// nothing is kept. IPv6: the address is kept. A link-local address is kept with its interface, because it has no
    /// meaning without one. If the interface belongs to a VRF, the address is kept with the VRF, because only the VRF's
    /// routes lead back. If the kernel does not answer, or has been asked too often, the address is kept. Whether the
    /// host still has the address is not asked: the kernel refuses a source that is not its own.
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
        std::uint32_t index = 0; ///< 0: an empty place
        std::uint32_t vrf = 0;   ///< the index of its VRF; 0: none
    };
    /// How the route from the source address to the peer leaves: by the interface of the arrival, or by another one; or
    /// there is no route.
    enum class verdict : std::uint8_t { agrees, differs, no_route };

    struct answer {
        byte_array<4> remote{};
        byte_array<4> local{};
        std::uint32_t interface_index = 0; ///< 0: an empty place
        std::uint16_t port = 0;
        verdict what = verdict::agrees;
        byte second = 0; ///< when the kernel answered, as `second_of` the clock

        bool is_for(answer const& other) const noexcept {
            return interface_index == other.interface_index && remote == other.remote && local == other.local &&
                   port == other.port;
        }
    };
    /// An answer can be at `row` consecutive places. If all are taken, the first one is overwritten.
    static constexpr std::size_t row = 8;
    static constexpr std::size_t answer_bytes = 4096; ///< holds the description of a link without its statistics

    static bool is_link_local(ip_address const& address) noexcept {
        return address.kind == family::v6 && address.octets[0] == 0xfe && (address.octets[1] & 0xc0) == 0x80;
    }

    /// Whether the route from the source to the peer leaves by the interface of the arrival, as far as is known.
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
            // An address can come back without a change of routes, so `forget` is not called. So a missing route is
            // asked for again after a second.
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

    /// Doubles the memory. If there is none, nothing changes, and the kernel is asked more often.
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

    /// Whether another question fits into this second; counts it.
    bool may_ask(instant now) noexcept {
        if (now - asking_since_ >= seconds(1)) {
            asking_since_ = now;
            asked_ = 0;
        }
        return asked_ < questions_a_second && ++asked_ != 0;
    }

    /// The index of the VRF that the interface is or belongs to; 0: none.
    std::uint32_t vrf_of(std::uint32_t index, instant now) noexcept {
        known_interface& known = interfaces_[index % interfaces_.size()];
        if (known.index != index) {
            if (!may_ask(now)) return 0;
            known = {index, ask_vrf(index)};
        }
        return known.vrf;
    }

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
    std::size_t used_ = 0; ///< places that have an answer
    std::array<known_interface, 32> interfaces_{};
    unique_fd fd_{};
    std::uint32_t sequence_ = 0;
    instant asking_since_{};
    unsigned asked_ = 0; ///< questions since then
};

}}} // namespace wg::WG_ABI::os

#endif
