// SPDX-License-Identifier: BSL-1.0
// A lock that lets one process at a time serve an interface and its configuration socket (flock(2)).
// Folder: os/posix/process. One thread at a time.
//
// The driver keeps two processes from creating the same interface (IFF_TUN_EXCL), but it lets several processes share
// an interface with several queues. And a second process would mistake a configuration socket that is bound and does
// not listen yet for one that was left behind. The lock prevents both. Its file can only be opened by the user of the
// process, so no other user can hold the lock. The kernel releases the lock when the process ends in any way.
#ifndef WG_OS_POSIX_PROCESS_NAME_LOCK_HPP
#define WG_OS_POSIX_PROCESS_NAME_LOCK_HPP

#include "../../error_text.hpp"
#include "../fd.hpp"
#include "directory.hpp"

#include <sys/file.h>
#include <sys/stat.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// Holds the lock of a name, until it is destroyed.
class name_lock {
public:
    /// Holds nothing.
    name_lock() noexcept = default;
    /// Takes over the lock.
    name_lock(name_lock&&) noexcept = default;
    name_lock& operator=(name_lock&&) = delete;
    /// Removes the file before the lock is released, so that no other process can lock a file that is removed.
    ~name_lock() {
        if (file_) ::unlink(path_.c_str());
    }

    /// Takes the lock `directory`/`name`.lock, and creates that file and the directory if they are missing.
    /// Returns: `address_in_use` if another process holds the lock. If the file cannot be created, the object holds
    /// nothing; so a process without the right to create files can still serve a socket that it was given.
    static result<name_lock> take(std::string_view name, char const* directory, error_text& why) noexcept {
        if (name.empty() || name.find('/') != name.npos) return name_lock(); // not the name of an interface
        name_lock made;
        made.path_.set(directory, "/", name, ".lock");
        (void)make_directories(directory); // `uapi_listener` reports what is wrong with the directory
        for (;;) {
            unique_fd file(::open(made.path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
            if (!file) return name_lock();
            if (without_interruption([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) != 0) {
                if (errno != EWOULDBLOCK) return name_lock();
                why.set("`", name, "` is in use: another process serves it and holds ", made.path_.view());
                return status::address_in_use;
            }
            // The process that held the lock before may have removed the file between `open` and `flock`.
            struct stat ours = {};
            struct stat there = {};
            if (::fstat(file.get(), &ours) != 0) return name_lock();
            if (::lstat(made.path_.c_str(), &there) != 0 || ours.st_dev != there.st_dev || ours.st_ino != there.st_ino)
                continue;
            made.file_ = std::move(file);
            return made;
        }
    }

    /// Whether a file is locked.
    explicit operator bool() const noexcept { return static_cast<bool>(file_); }

private:
    unique_fd file_{};
    error_text path_{};
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
