// SPDX-License-Identifier: BSL-1.0
// Creates the directories of a daemon's files (mkdir(2)). Folder: os/posix/process. Any thread.
#ifndef WG_OS_POSIX_PROCESS_DIRECTORY_HPP
#define WG_OS_POSIX_PROCESS_DIRECTORY_HPP

#include "../../../base/abi.hpp"

#include <cerrno>
#include <climits>
#include <cstring>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// The longest path of a directory that `make_directories` takes, in bytes.
inline constexpr std::size_t max_directory_bytes = 255;

/// Creates one directory, mode 0755. If `path` is a symbolic link to a missing directory, creates the link's target.
/// Returns: false with errno.
inline bool make_directory(char const* path) noexcept {
    char target[PATH_MAX + max_directory_bytes + 1];
    std::size_t const folder = static_cast<std::size_t>(std::strrchr(path, '/') + 1 - path);
    ssize_t const size = ::readlink(path, target + folder, PATH_MAX - 1);
    if (size > 0) {
        target[folder + static_cast<std::size_t>(size)] = '\0';
        bool const absolute = target[folder] == '/';
        std::memcpy(target, path, folder);
        path = absolute ? target + folder : target;
    }
    if (::mkdir(path, 0755) != 0) return errno == EEXIST; // another process was faster
    return ::chmod(path, 0755) == 0;
}

/// Creates the missing directories of an absolute path, as `mkdir -p`. Their mode is 0755 whatever the umask is,
/// because other users must be able to enter them. If a part is a symbolic link to a missing directory (/var/run,
/// before /run exists), the target is created. Returns: false with errno.
inline bool make_directories(std::string_view path) noexcept {
    if (!path.starts_with('/')) return errno = EINVAL, false;
    char part[max_directory_bytes + 1] = {};
    if (path.size() >= sizeof part) return errno = ENAMETOOLONG, false;
    for (std::size_t end = 1; end <= path.size(); ++end) {
        if (end != path.size() && path[end] != '/') continue;
        std::memcpy(part, path.data(), end);
        part[end] = '\0';
        struct stat found {};
        if (::stat(part, &found) == 0) {
            if (!S_ISDIR(found.st_mode)) return errno = ENOTDIR, false;
        } else if (errno != ENOENT || !make_directory(part)) {
            return false;
        }
    }
    return true;
}

}}} // namespace wg::WG_ABI::os

#endif
