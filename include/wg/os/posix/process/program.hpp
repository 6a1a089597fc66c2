// SPDX-License-Identifier: BSL-1.0
// What the source of a program for several systems needs from this one: its properties, names and texts.
// Folder: os/posix/process. Any thread.
#ifndef WG_OS_POSIX_PROCESS_PROGRAM_HPP
#define WG_OS_POSIX_PROCESS_PROGRAM_HPP

#include "../../error_text.hpp"
#include "../fd.hpp"
#include "../net_if.hpp"

#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os {

namespace posix {

/// The properties of a system that the options and messages of a daemon depend on; some systems differ in a few.
struct system_traits {
    static constexpr bool has_descriptors = true;       ///< another program can hand over a device or a socket
    static constexpr bool starts_in_foreground = false; ///< a daemon stays in the foreground by default
    /// The directory of the configuration sockets in which wg(8) looks; null: configuration sockets are no files.
    static constexpr char const* socket_directory = "/var/run/wireguard";
    /// How to mend a lack of descriptors.
    static constexpr char const* more_descriptors = "raise `ulimit -n`";
    /// How to mend a lack of memory for keys.
    static constexpr char const* more_key_memory = "raise `ulimit -v` or --memory";
    /// The limit that keeps memory from being locked.
    static constexpr char const* lock_limit = "`ulimit -l`";
    /// What is wrong when `background::connect` or `enter` fails.
    static constexpr char const* no_background = "cannot go to the background";
    /// The limit that keeps `limit_memory` from succeeding.
    static constexpr char const* memory_limit = "`ulimit -d`";
    static constexpr bool limits_memory = true; ///< `limit_memory` has an effect
};

} // namespace posix

/// Starts daemons as services of the system. This system has no such interface for programs.
struct service_manager {
    static constexpr bool exists = false; ///< whether `command` can succeed
    /// Returns: `not_supported`.
    static status command(std::string_view /*verb*/, char const* /*interface_name*/, error_text& why) noexcept {
        why.set("this system has no service manager");
        return status::not_supported;
    }
};

inline constexpr int standard_output = STDOUT_FILENO; ///< for `print`
inline constexpr int standard_error = STDERR_FILENO;  ///< for `print` and `log_writer`

/// Writes `text` to `standard_output` or `standard_error`. Returns: false with errno if not all of it was written.
inline bool print(int descriptor, std::string_view text) noexcept {
    while (!text.empty()) {
        ssize_t const size = without_interruption([&] { return ::write(descriptor, text.data(), text.size()); });
        if (size <= 0) return false;
        text.remove_prefix(static_cast<std::size_t>(size));
    }
    return true;
}

/// Whether this process has an open descriptor of this number.
inline bool is_open_descriptor(int number) noexcept { return ::fcntl(number, F_GETFD) >= 0; }

/// The longest name of an interface, in bytes.
inline constexpr std::size_t max_interface_name_bytes = IFNAMSIZ - 1;

/// The number of the interface `name` (if_nametoindex(3)). Returns: 0 if there is none.
inline unsigned interface_index(char const* name) noexcept { return ::if_nametoindex(name); }

/// The number of the error of the last call that failed in this thread, for `describe_error`.
inline int last_error() noexcept { return errno; }

/// The text for an error number of the system.
inline error_text describe_error(int number) noexcept {
    error_text text;
    text.set(std::strerror(number));
    return text;
}

}}} // namespace wg::WG_ABI::os

#endif
