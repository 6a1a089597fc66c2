// SPDX-License-Identifier: BSL-1.0
// Lets one process at a time serve an interface and its configuration socket (flock(2)). Layer 7 (Linux); one thread.
//
// The driver keeps two processes from making one interface (IFF_TUN_EXCL), but it lets several share one that was made
// with several queues. And a second process would take a configuration socket that is bound, but does not listen yet,
// for one that was left behind. The lock covers both. Only the user of the process can open its file, so no other user
// can hold it. The kernel releases it when the process ends in any way.
#ifndef WG_OS_LINUX_PROCESS_NAME_LOCK_HPP
#define WG_OS_LINUX_PROCESS_NAME_LOCK_HPP

#include "../error_text.hpp"
#include "../fd.hpp"
#include "directory.hpp"

#include <sys/file.h>
#include <sys/stat.h>

namespace wg { inline namespace WG_ABI { namespace os {

class name_lock {
public:
    /// Holds nothing.
    name_lock() noexcept = default;
    name_lock(name_lock&&) noexcept = default;
    name_lock& operator=(name_lock&&) = delete;
    /// Removes the file before the lock is released, so that no other process holds that file then.
    ~name_lock() {
        if (file_) ::unlink(path_.c_str());
    }

    /// Takes the lock `directory`/`name`.lock, and makes that file and the directory where they are missing.
    /// `address_in_use`: another process holds it. Where no file can be made, as for a process that was given its
    /// socket and has no right to make one, the result holds nothing.
    static result<name_lock> take(std::string_view name, char const* directory, error_text& why) noexcept {
        if (name.empty() || name.find('/') != name.npos) return name_lock(); // no name of an interface
        name_lock made;
        made.path_.set(directory, "/", name, ".lock");
        (void)make_directories(directory); // the configuration socket says what is wrong with the directory
        for (;;) {
            unique_fd file(::open(made.path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
            if (!file) return name_lock();
            if (without_interruption([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) != 0) {
                if (errno != EWOULDBLOCK) return name_lock();
                why.set("`", name, "` is in use: another process serves it and holds ", made.path_.view());
                return status::address_in_use;
            }
            // The process that held the lock before may have removed the file after it was opened here.
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

}}} // namespace wg::WG_ABI::os

#endif
