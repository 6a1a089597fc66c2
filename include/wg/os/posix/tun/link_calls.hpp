// SPDX-License-Identifier: BSL-1.0
// What a host tells of a network interface: flags, MTU, name and index (netdevice(7), netintro(4)).
// Folder: os/posix/tun. Any thread.
#ifndef WG_OS_POSIX_TUN_LINK_CALLS_HPP
#define WG_OS_POSIX_TUN_LINK_CALLS_HPP

#include "../../../base/bytes.hpp"
#include "../net_if.hpp"
#include "../sockets.hpp"

#include <string_view>
#include <sys/ioctl.h>
#include <sys/uio.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The name of an interface, which ends with a zero; empty: none.
using interface_name = std::array<char, IFNAMSIZ>;

/// Copies a name; one that is too long is cut.
inline interface_name name_of(std::string_view text) noexcept {
    interface_name name{};
    std::memcpy(name.data(), text.data(), text.size() < name.size() ? text.size() : name.size() - 1);
    return name;
}

/// The calls that concern an interface. A test replaces them. Those that return int return 0 or an errno.
struct link_calls {
    /// The interface's flags, such as IFF_UP (SIOCGIFFLAGS).
    static int flags(interface_name const& name, unsigned& out) noexcept {
        ifreq request{};
        int const error = ask(name, SIOCGIFFLAGS, request);
        out = static_cast<unsigned short>(request.ifr_flags);
        return error;
    }
    /// The interface's MTU in bytes (SIOCGIFMTU).
    static int mtu(interface_name const& name, std::size_t& out) noexcept {
        ifreq request{};
        int const error = ask(name, SIOCGIFMTU, request);
        if (error == 0) out = static_cast<std::size_t>(request.ifr_mtu);
        return error;
    }
    /// Changes the interface's MTU (SIOCSIFMTU).
    static int set_mtu(interface_name const& name, std::size_t bytes) noexcept {
        ifreq request{};
        request.ifr_mtu = static_cast<int>(bytes);
        return ask(name, SIOCSIFMTU, request);
    }
    /// The interface's index; 0: there is no interface of this name (if_nametoindex(3)).
    static unsigned index(interface_name const& name) noexcept { return ::if_nametoindex(name.data()); }
    /// The name of the interface with this index (if_indextoname(3)). Returns: false if there is none.
    static bool name(unsigned index, interface_name& out) noexcept {
        return ::if_indextoname(index, out.data()) != nullptr;
    }
    /// Tells the driver which process reads the device now, after a fork(2). Nothing, where no driver asks.
    static void note_owner(int /*fd*/) noexcept {}
    /// readv(2): the head and a packet
    static ssize_t read(int fd, iovec const* pieces, int count) noexcept { return ::readv(fd, pieces, count); }
    /// writev(2): the head and a packet
    static ssize_t write(int fd, iovec const* pieces, int count) noexcept { return ::writev(fd, pieces, count); }

    /// Whether an error of a read, of a write or of a request means that the interface was deleted.
    static constexpr bool is_gone(int error) noexcept {
        return error == ENXIO || error == ENODEV || error == EBADF || error == ENOTCONN || error == ECONNRESET ||
               error == EPIPE;
    }

    /// Makes a request about the interface `name`, with a socket of its own. Returns: 0 or the errno.
    template <class Request>
    static int ask(interface_name const& name, unsigned long number, Request& request) noexcept {
        static_assert(sizeof request.ifr_name == sizeof name);
        std::memcpy(request.ifr_name, name.data(), sizeof name);
        unique_fd const fd(open_socket(AF_INET, SOCK_DGRAM));
        return fd && ::ioctl(fd.get(), number, &request) == 0 ? 0 : errno;
    }
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
