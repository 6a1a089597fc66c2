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

#include <algorithm>
#include <array>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <memory>
#include <netinet/in.h>
#include <new>
#include <sys/socket.h>

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

    /// A question, or an answer of the kernel. `room` holds the description of a link without its statistics.
    struct message {
        alignas(nlmsghdr) byte room[4096] = {};
        std::size_t used = NLMSG_LENGTH(0);

        void append(void const* from, std::size_t size) noexcept {
            std::memcpy(room + used, from, size);
            used += NLMSG_ALIGN(size);
        }
        void append(unsigned type, void const* from, std::size_t size) noexcept {
            rtattr const attribute{static_cast<unsigned short>(RTA_LENGTH(size)), static_cast<unsigned short>(type)};
            append(&attribute, sizeof attribute);
            append(from, size);
        }
        template <class Value> void append_number(unsigned type, Value value) noexcept {
            append(type, &value, sizeof value);
        }
        bytes_view after(std::size_t header) const noexcept {
            std::size_t const begin = NLMSG_LENGTH(0) + NLMSG_ALIGN(header);
            return begin <= used ? bytes_view(room).subspan(begin, used - begin) : bytes_view{};
        }
    };

    verdict ask_route(path const& where, sender const& by) noexcept {
        message m;
        rtmsg route{};
        route.rtm_family = AF_INET;
        route.rtm_dst_len = route.rtm_src_len = 32;
        m.append(&route, sizeof route);
        m.append(RTA_DST, where.remote.address.octets.data(), 4);
        m.append(RTA_SRC, where.local.address.octets.data(), 4);
        if (by.mark != 0) m.append_number(RTA_MARK, by.mark);
        // Rules may look at ports (Linux 4.18; older kernels have no such rules and skip the attributes).
        byte port[2];
        m.append_number(RTA_IP_PROTO, static_cast<byte>(IPPROTO_UDP));
        store_be16(port, by.port);
        m.append(RTA_SPORT, port, sizeof port);
        store_be16(port, where.remote.port);
        m.append(RTA_DPORT, port, sizeof port);
        answer_kind const got = ask(m, RTM_GETROUTE, RTM_NEWROUTE);
        std::uint32_t interface_index = 0;
        if (got == answer_kind::content && read(m.after(sizeof route), RTA_OIF, interface_index))
            return interface_index == where.local.interface_index ? verdict::agrees : verdict::differs;
        // An error: the address is not the host's own, or no route leads from there to the peer.
        return got == answer_kind::none ? verdict::agrees : verdict::no_route;
    }

    std::uint32_t ask_vrf(std::uint32_t index) noexcept {
        message m;
        ifinfomsg link{};
        link.ifi_index = static_cast<int>(index);
        m.append(&link, sizeof link);
        m.append_number(IFLA_EXT_MASK, std::uint32_t{8}); // RTEXT_FILTER_SKIP_STATS
        if (ask(m, RTM_GETLINK, RTM_NEWLINK) != answer_kind::content) return 0;
        bytes_view const attributes = m.after(sizeof link);
        bytes_view const info = find(attributes, IFLA_LINKINFO);
        std::uint32_t master = 0;
        if (names_vrf(find(info, IFLA_INFO_KIND))) return index;
        if (names_vrf(find(info, IFLA_INFO_SLAVE_KIND)) && read(attributes, IFLA_MASTER, master)) return master;
        return 0;
    }

    static bool names_vrf(bytes_view kind) noexcept {
        return kind.size() >= 3 && std::memcmp(kind.data(), "vrf", 3) == 0 && (kind.size() == 3 || kind[3] == 0);
    }

    enum class answer_kind : std::uint8_t { none, error, content };

    /// Sends `m` as a request and takes the answer in its place.
    answer_kind ask(message& m, unsigned type, unsigned wanted) noexcept {
        if (!fd_) fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
        if (!fd_) return answer_kind::none;
        nlmsghdr header{};
        header.nlmsg_len = converted<std::uint32_t>(m.used);
        header.nlmsg_type = static_cast<std::uint16_t>(type);
        header.nlmsg_flags = NLM_F_REQUEST;
        header.nlmsg_seq = ++sequence_;
        std::memcpy(m.room, &header, sizeof header);
        // The kernel answers before `send` returns, so there is nothing to wait for.
        if (without_interruption([&] { return ::send(fd_.get(), m.room, m.used, 0); }) < 0) return answer_kind::none;
        for (;;) {
            ssize_t const got = without_interruption([&] { return ::recv(fd_.get(), m.room, sizeof m.room, 0); });
            if (got < static_cast<ssize_t>(sizeof header)) return answer_kind::none;
            std::memcpy(&header, m.room, sizeof header);
            if (header.nlmsg_seq != sequence_) continue; // the answer to an older question
            m.used = (std::min<std::size_t>)(static_cast<std::size_t>(got), header.nlmsg_len);
            return header.nlmsg_type == wanted ? answer_kind::content : answer_kind::error;
        }
    }

    /// The content of the first attribute of this type; empty: there is none.
    static bytes_view find(bytes_view attributes, unsigned type) noexcept {
        while (attributes.size() >= sizeof(rtattr)) {
            rtattr attribute;
            std::memcpy(&attribute, attributes.data(), sizeof attribute);
            if (attribute.rta_len < sizeof attribute || attribute.rta_len > attributes.size()) return {};
            if ((attribute.rta_type & 0x3fff) == type) // without NLA_F_NESTED
                return attributes.subspan(RTA_LENGTH(0), attribute.rta_len - RTA_LENGTH(0));
            attributes = attributes.subspan((std::min<std::size_t>)(attributes.size(), RTA_ALIGN(attribute.rta_len)));
        }
        return {};
    }

    static bool read(bytes_view attributes, unsigned type, std::uint32_t& out) noexcept {
        bytes_view const content = find(attributes, type);
        if (content.size() < sizeof out) return false;
        std::memcpy(&out, content.data(), sizeof out);
        return true;
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
