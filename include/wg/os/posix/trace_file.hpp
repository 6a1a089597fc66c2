// SPDX-License-Identifier: BSL-1.0
// A file for the observers that write captures and key logs (open(2), writev(2)). Folder: os/posix. One thread at a
// time; the device's lock sees to that.
#ifndef WG_OS_POSIX_TRACE_FILE_HPP
#define WG_OS_POSIX_TRACE_FILE_HPP

#include "../../base/bytes.hpp"
#include "fd.hpp"

#include <sys/stat.h>
#include <sys/uio.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The system calls of a `trace_file`.
struct trace_file_calls {
    /// open(2): makes the file, or empties it
    static int open(char const* path) noexcept {
        return ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, S_IRUSR | S_IWUSR);
    }
    /// fchmod(2): the file may have been there with other rights
    static int make_private(int fd) noexcept { return ::fchmod(fd, S_IRUSR | S_IWUSR); }
    /// writev(2)
    static ssize_t write(int fd, iovec const* pieces, int count) noexcept { return ::writev(fd, pieces, count); }
};

/// Writes to a file that only its owner may read. After an error it writes nothing more: half a record would make the
/// rest of the file unreadable. A test replaces `Calls`.
template <class Calls = trace_file_calls> class basic_trace_file {
public:
    /// Opens `path` for writing, and empties it. Returns: 0, or errno.
    int open(char const* path) noexcept {
        fd_.reset(Calls::open(path));
        error_ = fd_ && Calls::make_private(fd_.get()) == 0 ? 0 : errno;
        return error_;
    }

    /// Appends the pieces to the file `context`, a `basic_trace_file`: the function that `pcapng_observer` and
    /// `key_log_observer` call. May block where the disk does.
    static void write(void* context, std::span<bytes_view const> pieces) noexcept {
        static_cast<basic_trace_file*>(context)->append(pieces);
    }

    /// The errno of the first call that failed; 0: none. ENOSPC: the disk is full.
    int error() const noexcept { return error_; }

private:
    static constexpr std::size_t most_pieces = 8;

    void append(std::span<bytes_view const> pieces) noexcept {
        WG_ASSERT(pieces.size() <= most_pieces);
        iovec parts[most_pieces];
        std::size_t count = 0;
        for (bytes_view const piece : pieces)
            if (!piece.empty()) parts[count++] = {const_cast<byte*>(piece.data()), piece.size()}; // only read
        for (iovec* next = parts; fd_ && error_ == 0 && count != 0;) {
            ssize_t const written =
                without_interruption([&] { return Calls::write(fd_.get(), next, converted<int>(count)); });
            if (written <= 0) {
                error_ = written == 0 ? EIO : errno;
                return;
            }
            auto left = static_cast<std::size_t>(written);
            for (; count != 0 && left >= next->iov_len; --count) left -= (next++)->iov_len;
            if (count == 0) return;
            next->iov_base = static_cast<byte*>(next->iov_base) + left;
            next->iov_len -= left;
        }
    }

    unique_fd fd_{};
    int error_ = 0;
};

/// A file for captures and key logs.
using trace_file = basic_trace_file<>;

}}}} // namespace wg::WG_ABI::os::posix

#endif
