// SPDX-License-Identifier: BSL-1.0
// The calls of Winsock that UDP sockets make. Folder: os/windows/udp. Any thread. Link: ws2_32.
#ifndef WG_OS_WINDOWS_UDP_CALLS_HPP
#define WG_OS_WINDOWS_UDP_CALLS_HPP

#include "../handle.hpp"
#include "../net/default_route.hpp"
#include "../net/interface_index.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_udp`. A test derives from this and replaces some. Those that return int return 0, or -1 with
/// `error`, except where they say otherwise.
struct udp_calls : handle_calls {
    /// Starts Winsock 2.2 for this process, which counts its users. Returns: 0 or the error number.
    static int start() noexcept {
        alignas(8) byte data[512]; // WSADATA has 408 bytes
        return api_detail::start_sockets(0x0202, data);
    }
    /// Ends the use of Winsock that `start` began.
    static void stop() noexcept { api_detail::stop_sockets(); }
    /// The interface of the default route outside a tunnel; 0: there is none.
    static std::uint32_t default_interface(family kind, std::uint64_t tunnel_luid) noexcept {
        return windows::default_interface(kind, tunnel_luid);
    }
    /// The number of the interface `name`; 0: there is none.
    static std::uint32_t interface_index(char const* name) noexcept { return windows::interface_index(name); }
    /// WSAGetLastError
    static int error() noexcept { return api_detail::last_socket_error(); }
    /// A UDP socket of AF_INET or AF_INET6, which child processes do not inherit; `no_socket` with `error`.
    static api_detail::socket_handle socket(int family) noexcept {
        constexpr int datagrams = 2, udp = 17;
        constexpr std::uint32_t overlapped = 0x01, not_inherited = 0x80;
        return api_detail::open_socket(family, datagrams, udp, nullptr, 0, overlapped | not_inherited);
    }
    /// closesocket
    static void close_socket(api_detail::socket_handle socket) noexcept { api_detail::close_socket(socket); }
    /// bind
    static int bind(api_detail::socket_handle socket, api_detail::socket_address const& where, int size) noexcept {
        return api_detail::bind_socket(socket, &where, size);
    }
    /// getsockname
    static int name(api_detail::socket_handle socket, api_detail::socket_address& where) noexcept {
        int size = sizeof where;
        return api_detail::socket_name(socket, &where, &size);
    }
    /// setsockopt for an option that is a number
    static int set_option(api_detail::socket_handle socket, int level, int name, std::uint32_t value) noexcept {
        return api_detail::set_socket_option(socket, level, name, &value, sizeof value);
    }
    /// getsockopt for an option that is a number. Returns: 0 if the system has the option.
    static int has_option(api_detail::socket_handle socket, int level, int name) noexcept {
        std::uint32_t value = 0;
        int size = sizeof value;
        return api_detail::get_socket_option(socket, level, name, &value, &size);
    }
    /// WSAIoctl with a number
    static int control(api_detail::socket_handle socket, std::uint32_t code, std::uint32_t value) noexcept {
        std::uint32_t out = 0, returned = 0;
        return api_detail::control_socket(socket, code, &value, sizeof value, &out, sizeof out, &returned, nullptr,
                                          nullptr);
    }
    /// WSASendMsg; null: this system lacks it
    static api_detail::send_function find_send(api_detail::socket_handle socket) noexcept {
        return find<api_detail::send_function>(socket, api_detail::send_function_id);
    }
    /// WSARecvMsg; null: this system lacks it
    static api_detail::receive_function find_receive(api_detail::socket_handle socket) noexcept {
        return find<api_detail::receive_function>(socket, api_detail::receive_function_id);
    }
    /// Has Winsock set `event` when the socket has a datagram, and at once if it has one now (WSAEventSelect).
    static int watch(api_detail::socket_handle socket, void* event) noexcept {
        return api_detail::select_events(socket, event, api_detail::event_read);
    }
    /// CreateEventW: an event that stays set until it is reset. Returns: null if there is no memory left.
    static void* create_event() noexcept { return api_detail::create_event(nullptr, 1, 0, nullptr); }
    /// SetEvent
    static void set_event(void* event) noexcept { api_detail::set_event(event); }
    /// ResetEvent
    static void reset_event(void* event) noexcept { api_detail::reset_event(event); }
    /// Waits until the socket has room for a datagram (WSAPoll). Returns: above 0 if it has; 0 after `milliseconds`.
    static int wait_writable(api_detail::socket_handle socket, int milliseconds) noexcept {
        api_detail::poll_entry entry{socket, api_detail::poll_write, 0};
        return api_detail::poll_sockets(&entry, 1, milliseconds);
    }

private:
    template <class Function>
    static Function find(api_detail::socket_handle socket, api_detail::guid const& id) noexcept {
        Function found = nullptr;
        std::uint32_t returned = 0;
        int const refused = api_detail::control_socket(socket, api_detail::control_find_function, &id, sizeof id,
                                                       &found, sizeof found, &returned, nullptr, nullptr);
        return refused == 0 && returned == sizeof found ? found : nullptr;
    }
};

}}}} // namespace wg::WG_ABI::os::windows

#endif
