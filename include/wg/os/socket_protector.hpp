// SPDX-License-Identifier: BSL-1.0
// Has the platform keep a socket's datagrams out of the tunnel, where a system call of ours cannot: Android's
// VpnService.protect(int). Folder: os. Any thread.
#ifndef WG_OS_SOCKET_PROTECTOR_HPP
#define WG_OS_SOCKET_PROTECTOR_HPP

#include "../base/abi.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

/// A function of the program that is called for each new socket, before the socket is bound. The descriptor stays the
/// caller's. The function runs in the thread that opens the socket.
struct socket_protector {
    /// Returns: false if the socket could not be protected; the socket is then closed. Null: all sockets are allowed.
    bool (*protect)(void* context, int fd) noexcept = nullptr;
    void* context = nullptr; ///< the first argument of `protect`; outlives the sockets

    /// Returns: whether the socket may be used.
    bool allows(int fd) const noexcept { return protect == nullptr || protect(context, fd); }
};

}}} // namespace wg::WG_ABI::os

#endif
