// SPDX-License-Identifier: BSL-1.0
// Opens the sockets of one UDP port (Winsock 2). Folder: os/windows/udp. One thread at a time.
#ifndef WG_OS_WINDOWS_UDP_SOCKETS_HPP
#define WG_OS_WINDOWS_UDP_SOCKETS_HPP

#include "../error.hpp"
#include "calls.hpp"
#include "control.hpp"

#include <utility>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows { namespace udp_detail {

/// The socket of one family. A shared socket is closed by the object that opened it.
template <class Calls> class family_socket {
public:
    family_socket() noexcept = default;
    explicit family_socket(api_detail::socket_handle socket) noexcept
        : socket_(socket), owned_(socket != api_detail::no_socket) {}
    family_socket(family_socket&& other) noexcept { swap(other); }
    family_socket& operator=(family_socket&& other) noexcept {
        family_socket taken(std::move(other));
        taken.swap(*this);
        return *this;
    }
    family_socket(family_socket const&) = delete;
    family_socket& operator=(family_socket const&) = delete;
    ~family_socket() {
        if (owned_) Calls::close_socket(socket_);
    }

    explicit operator bool() const noexcept { return socket_ != api_detail::no_socket; }
    api_detail::socket_handle get() const noexcept { return socket_; }
    /// Uses the socket of `of`, which closes it.
    void share(family_socket const& of) noexcept {
        *this = family_socket();
        socket_ = of.socket_;
        send = of.send;
        receive = of.receive;
        segments = of.segments;
        ecn = of.ecn;
    }

    api_detail::send_function send = nullptr;       ///< WSASendMsg of this socket
    api_detail::receive_function receive = nullptr; ///< WSARecvMsg of this socket
    bool segments = false;                          ///< USO exists, and has not failed for good
    bool ecn = false;                               ///< ECN bits can be sent

private:
    void swap(family_socket& other) noexcept {
        std::swap(socket_, other.socket_);
        std::swap(owned_, other.owned_);
        std::swap(send, other.send);
        std::swap(receive, other.receive);
        std::swap(segments, other.segments);
        std::swap(ecn, other.ecn);
    }

    api_detail::socket_handle socket_ = api_detail::no_socket;
    bool owned_ = false;
};

/// How sockets are opened.
template <class Calls> struct socket_opener {
    endpoint bind{};                ///< without a family: any address; its port is not used
    std::uint32_t v4_interface = 0; ///< IP_UNICAST_IF; 0: the routes choose
    std::uint32_t v6_interface = 0; ///< IPV6_UNICAST_IF; 0: the routes choose
    bool uso = true;                ///< UDP_SEND_MSG_SIZE is wanted
    bool uro = true;                ///< UDP_RECV_MAX_COALESCED_SIZE is wanted

    /// Opens the socket of one family at `port`; 0 means any free port, which is stored. `s` stays closed where the
    /// host lacks the family or `bind` is of the other one; that is no error. Returns: 0 or the error number.
    int open(family_socket<Calls>& s, family kind, std::uint16_t& port) const noexcept {
        bool const is_v4 = kind == family::v4;
        if (bind && bind.address.kind != kind) return 0;
        family_socket<Calls> fresh(Calls::socket(is_v4 ? api_detail::family_v4 : api_detail::family_v6));
        if (!fresh) {
            int const error = Calls::error();
            return error == api_detail::wsa_family_not_supported ? 0 : error;
        }
        if (int const error = configure(fresh, is_v4); error != 0) return error;
        socket_address any{};
        endpoint const wanted = bind ? endpoint{bind.address, port, bind.scope_id} : endpoint{{{}, kind}, port, 0};
        if (Calls::bind(fresh.get(), any, spell(wanted, any)) != 0) {
            int const error = Calls::error();
            return !is_v4 && !bind && error == api_detail::wsa_address_not_available ? 0 : error; // IPv6 is off
        }
        if (Calls::name(fresh.get(), any) != 0) return Calls::error();
        port = read_address(any, sizeof any).port;
        s = std::move(fresh);
        return 0;
    }

    /// Sends the datagrams of a socket only through one interface; 0: the routes choose. Returns: 0 or the error
    /// number.
    static int set_interface(api_detail::socket_handle socket, bool is_v4, std::uint32_t index) noexcept {
        std::uint32_t value = index; // IPv4 takes it in network order, IPv6 in host order
        if (is_v4) store_be32(reinterpret_cast<byte*>(&value), index);
        int const level = is_v4 ? api_detail::level_v4 : api_detail::level_v6;
        return Calls::set_option(socket, level, api_detail::option_unicast_if, value) == 0 ? 0 : Calls::error();
    }

private:
    static constexpr std::uint32_t buffer_bytes = 7 << 20;
    static constexpr std::uint32_t max_coalesced_bytes = 65535;

    int configure(family_socket<Calls>& s, bool is_v4) const noexcept {
        int const level = is_v4 ? api_detail::level_v4 : api_detail::level_v6;
        auto const set = [&](int at, int name, std::uint32_t value) {
            return Calls::set_option(s.get(), at, name, value) == 0;
        };
        s.send = Calls::find_send(s.get());
        s.receive = Calls::find_receive(s.get());
        if (s.send == nullptr || s.receive == nullptr) return api_detail::wsa_operation_not_supported;
        if (Calls::control(s.get(), api_detail::control_non_blocking, 1) != 0) return Calls::error();
        if (!is_v4 && !set(level, api_detail::option_v6_only, 1)) return Calls::error();
        // Without this another program of the same user could take the port over.
        set(api_detail::level_socket, api_detail::option_exclusive, 1);
        // Without these an ICMP error for a datagram that was sent would end a later receive.
        (void)Calls::control(s.get(), api_detail::control_reset, 0);
        (void)Calls::control(s.get(), api_detail::control_net_reset, 0);
        set(level, api_detail::option_packet_info, 1);
        set(level, api_detail::option_receive_tos, 1);
        s.ecn = set(level, api_detail::option_ecn, 1);
        set(api_detail::level_socket, api_detail::option_receive_buffer, buffer_bytes);
        set(api_detail::level_socket, api_detail::option_send_buffer, buffer_bytes);
        s.segments = uso && Calls::has_option(s.get(), api_detail::level_udp, api_detail::option_segment) == 0;
        if (uro) set(api_detail::level_udp, api_detail::option_coalesce, max_coalesced_bytes);
        std::uint32_t const index = is_v4 ? v4_interface : v6_interface;
        return index != 0 ? set_interface(s.get(), is_v4, index) : 0;
    }
};

}}}}} // namespace wg::WG_ABI::os::windows::udp_detail

#endif
