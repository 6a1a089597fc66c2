// SPDX-License-Identifier: BSL-1.0
// Keeps the ratchet of each peer in a file of its own (open(2), fsync(2), rename(2)). Folder: os/posix/process. One
// thread at a time.
//
// A record is written to a new file, and reaches the disk before the old file is overwritten with zeros and replaced.
// After a loss of power at any point, one of the two files is complete. Overwriting removes the old key where the file
// system writes in place; on file systems and disks that write elsewhere, an old key may stay readable until its place
// is used again.
#ifndef WG_OS_POSIX_PROCESS_RATCHET_FILES_HPP
#define WG_OS_POSIX_PROCESS_RATCHET_FILES_HPP

#include "../../../policy.hpp"
#include "../../error_text.hpp"
#include "../fd.hpp"
#include "directory.hpp"

#include <cstdio>
#include <sys/stat.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The system calls of `ratchet_files`.
struct ratchet_file_calls {
    /// Opens a file that only its owner may read.
    static int open(char const* path, int flags) noexcept { return ::open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0600); }
    /// As write(2).
    static ssize_t write(int fd, void const* from, std::size_t size) noexcept { return ::write(fd, from, size); }
    /// As fsync(2).
    static int fsync(int fd) noexcept { return ::fsync(fd); }
    /// As rename(2).
    static int rename(char const* from, char const* to) noexcept { return std::rename(from, to); }
    /// As unlink(2).
    static int unlink(char const* path) noexcept { return ::unlink(path); }
};

/// Models `ratchet_storage`. Without a directory it stores nothing, and `store` succeeds.
template <class Calls = ratchet_file_calls> class basic_ratchet_files {
public:
    static constexpr bool exists = true; ///< there are files

    /// Stores nothing.
    basic_ratchet_files() noexcept = default;

    /// Keeps records in the directory `parent`/`name`, which is created if it is missing. Only this user may enter it.
    /// Returns: no_permission or io_error if there is none; `why` says how to mend it.
    static result<basic_ratchet_files> in(char const* parent, std::string_view name, error_text& why) noexcept {
        basic_ratchet_files made;
        std::size_t const size = std::strlen(parent) + 1 + name.size();
        if (size > most_path_bytes || name.empty() || name.find('/') != name.npos) {
            why.set("the path ", parent, "/", name, " is too long: give one of at most ", most_path_bytes, " bytes");
            return status::io_error;
        }
        made.directory_.set(parent, "/", name);
        bool const there = make_directories(parent) &&
                           (::mkdir(made.directory_.c_str(), 0700) == 0 || errno == EEXIST) &&
                           ::access(made.directory_.c_str(), R_OK | W_OK | X_OK) == 0;
        if (there) return made;
        why.set("cannot keep keys in ", made.directory_.view(), ": ", std::strerror(errno),
                ": give a directory that this user may write to");
        return status_of(errno) == status::no_permission ? status::no_permission : status::io_error;
    }

    /// Reads the record of a peer into `to`. Returns: false if there is none.
    bool load(public_key const& peer, std::span<byte, ratchet_record_bytes> to) noexcept {
        if (directory_.empty()) return false;
        return read(path_of(peer, ""), to) || read(path_of(peer, ".new"), to);
    }

    /// Replaces the record of a peer, and waits for the disk. Returns: false if it was not written.
    bool store(public_key const& peer, std::span<byte const, ratchet_record_bytes> from) noexcept {
        if (directory_.empty()) return true;
        secret<file_bytes> content;
        std::memcpy(content.expose().data(), mark, mark_bytes);
        std::memcpy(content.expose().data() + mark_bytes, from.data(), from.size());
        std::memcpy(content.expose().data() + mark_bytes + from.size(), mark, mark_bytes);
        error_text const path = path_of(peer, ""), fresh = path_of(peer, ".new");
        if (!write(fresh, O_CREAT | O_TRUNC, content.expose())) {
            (void)Calls::unlink(fresh.c_str()); // a part of a record
            return false;
        }
        blank(path);
        if (Calls::rename(fresh.c_str(), path.c_str()) != 0) return false;
        unique_fd const directory(Calls::open(directory_.c_str(), O_RDONLY | O_DIRECTORY));
        return directory && Calls::fsync(directory.get()) == 0;
    }

    /// Erases the record of a peer, if there is one.
    void erase(public_key const& peer) noexcept {
        if (directory_.empty()) return;
        for (char const* const ending : {"", ".new"}) {
            error_text const path = path_of(peer, ending);
            blank(path);
            (void)Calls::unlink(path.c_str());
        }
    }

private:
    static constexpr std::size_t mark_bytes = 8;
    static constexpr char mark[mark_bytes + 1] = "wgratch1"; ///< at both ends of a file
    static constexpr std::size_t file_bytes = ratchet_record_bytes + 2 * mark_bytes;
    static constexpr std::size_t most_path_bytes = 180; ///< the name of a file has 70

    /// The file of a peer: its public key in hexadecimal digits.
    error_text path_of(public_key const& peer, char const* ending) const noexcept {
        char digits[2 * key_bytes + 1] = {};
        for (std::size_t i = 0; i < key_bytes; ++i) {
            digits[2 * i] = "0123456789abcdef"[peer[i] >> 4];
            digits[2 * i + 1] = "0123456789abcdef"[peer[i] & 15];
        }
        error_text path;
        path.set(directory_.view(), "/", digits, ending);
        return path;
    }

    static bool read(error_text const& path, std::span<byte, ratchet_record_bytes> to) noexcept {
        unique_fd const file(Calls::open(path.c_str(), O_RDONLY));
        if (!file) return false;
        secret<file_bytes + 1> content;
        byte* const at = content.expose().data();
        std::size_t size = 0;
        for (ssize_t more = 1; more > 0 && size < content.expose().size(); size += static_cast<std::size_t>(more)) {
            more = without_interruption([&] { return ::read(file.get(), at + size, content.expose().size() - size); });
            if (more < 0) return false;
        }
        if (size != file_bytes || std::memcmp(at, mark, mark_bytes) != 0 ||
            std::memcmp(at + file_bytes - mark_bytes, mark, mark_bytes) != 0)
            return false;
        std::memcpy(to.data(), at + mark_bytes, to.size());
        return true;
    }

    /// Writes a file, and waits for the disk.
    static bool write(error_text const& path, int flags, bytes_view content) noexcept {
        unique_fd const file(Calls::open(path.c_str(), O_WRONLY | flags));
        if (!file) return false;
        while (!content.empty()) {
            ssize_t const done =
                without_interruption([&] { return Calls::write(file.get(), content.data(), content.size()); });
            if (done <= 0) return false;
            content = content.subspan(static_cast<std::size_t>(done));
        }
        return without_interruption([&] { return Calls::fsync(file.get()); }) == 0;
    }

    /// Overwrites a file with zeros, if it exists.
    static void blank(error_text const& path) noexcept {
        byte_array<file_bytes> const zeros{};
        (void)write(path, 0, zeros);
    }

    error_text directory_{};
};

/// A directory with a file for each peer.
using ratchet_files = basic_ratchet_files<>;
static_assert(ratchet_storage<ratchet_files>);

}}}} // namespace wg::WG_ABI::os::posix

#endif
