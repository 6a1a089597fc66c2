// SPDX-License-Identifier: BSL-1.0
// Notifies the supervisor that has started this process (sd_notify(3)). Folder: os/posix/process. Any thread.
#ifndef WG_OS_POSIX_PROCESS_SUPERVISOR_HPP
#define WG_OS_POSIX_PROCESS_SUPERVISOR_HPP

#include "../../../base/bytes.hpp"
#include "../sockets.hpp"

#include <cstdlib>
#include <cstring>
#include <sys/un.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Sends `state`, such as "READY=1" or "STOPPING=1", to the supervisor that has started this process. `socket` is a
/// path, or `@` and a name in the abstract namespace; null: there is no supervisor, and nothing is sent.
/// Returns: false if it could not be sent.
inline bool notify_supervisor(char const* state, char const* socket = std::getenv("NOTIFY_SOCKET")) noexcept {
    if (socket == nullptr || *socket == '\0') return true;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::size_t const length = std::strlen(socket);
    if ((socket[0] != '/' && socket[0] != '@') || length >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, socket, length);
    if (socket[0] == '@') address.sun_path[0] = '\0';
    unique_fd const fd(open_blocking_socket(AF_UNIX, SOCK_DGRAM));
    auto const size = converted<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    return fd && without_interruption([&] {
                     return ::sendto(fd.get(), state, std::strlen(state), MSG_NOSIGNAL,
                                     reinterpret_cast<sockaddr const*>(&address), size);
                 }) >= 0;
}

}}} // namespace wg::WG_ABI::os

#endif
