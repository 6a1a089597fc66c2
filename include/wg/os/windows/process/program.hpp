// SPDX-License-Identifier: BSL-1.0
// What the source of a program for several systems needs from this one: its properties, names, texts and standard
// output. Folder: os/windows/process. Any thread.
#ifndef WG_OS_WINDOWS_PROCESS_PROGRAM_HPP
#define WG_OS_WINDOWS_PROCESS_PROGRAM_HPP

#include "../../error_text.hpp"
#include "../error.hpp"

#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The properties of this system that the options and messages of a daemon depend on.
struct system_traits {
    static constexpr bool has_descriptors = false;     ///< another program can hand over a device or a socket
    static constexpr bool starts_in_foreground = true; ///< a daemon stays in the foreground by default
    /// Null: configuration pipes are no files.
    static constexpr char const* socket_directory = nullptr;
    /// How to mend a lack of handles.
    static constexpr char const* more_descriptors = "Windows has no memory left for handles";
    /// How to mend a lack of memory for keys.
    static constexpr char const* more_key_memory = "raise --memory, or end other programs";
    /// The limit that keeps memory from being locked.
    static constexpr char const* lock_limit = "the working set of the process cannot grow";
    /// What is wrong when `background::connect` or `enter` fails.
    static constexpr char const* no_background =
        "only the service manager can start wgd with --no-foreground: leave it away, or use --service start";
    /// The limit that keeps `limit_memory` from succeeding.
    static constexpr char const* memory_limit = "the job object of the process";
    static constexpr bool limits_memory = true; ///< `limit_memory` has an effect
};

inline constexpr int standard_output = 1; ///< for `print`
inline constexpr int standard_error = 2;  ///< for `print` and `log_writer`

/// The handle of standard input (0), output (1) or error (2); null: the process has none.
inline void* standard_stream(int number) noexcept {
    std::uint32_t const which = number == 0                 ? api_detail::std_input_handle
                                : number == standard_output ? api_detail::std_output_handle
                                                            : api_detail::std_error_handle;
    void* const found = api_detail::standard_handle(which);
    return reinterpret_cast<std::uintptr_t>(found) + 1 > 1 ? found : nullptr; // neither null nor INVALID_HANDLE_VALUE
}

/// Finds out which standard streams are missing. Returns: a bit, 1 << number, for each that is.
inline unsigned open_standard_descriptors() noexcept {
    unsigned missing = 0;
    for (int const number : {0, standard_output, standard_error})
        if (standard_stream(number) == nullptr) missing |= 1u << number;
    return missing;
}

/// Whether this process has a console. When the console is closed, Windows ends the process.
inline bool has_terminal() noexcept { return api_detail::console_code_page() != 0; }

/// Writes `text`, UTF-8, to `standard_output` or `standard_error`. May block. Returns: false if not all of it was
/// written.
inline bool print(int descriptor, std::string_view text) noexcept {
    void* const stream = standard_stream(descriptor);
    if (stream == nullptr) return false;
    std::uint32_t mode = 0, done = 0;
    bool const is_console = api_detail::console_mode(stream, &mode) != 0;
    while (!text.empty()) {
        auto size = static_cast<std::uint32_t>(text.size() < 512 ? text.size() : 512);
        if (is_console) { // a console takes UTF-16; no character is cut in two
            while (size > 1 && size < text.size() && (text[size] & 0xc0) == 0x80) --size;
            char16_t wide[512];
            int const units = api_detail::to_wide(api_detail::code_page_utf8, 0, text.data(), static_cast<int>(size),
                                                  wide, static_cast<int>(sizeof wide / sizeof *wide));
            auto const wanted = static_cast<std::uint32_t>(units);
            if (units <= 0 || api_detail::write_console(stream, wide, wanted, &done, nullptr) == 0) return false;
        } else {
            if (api_detail::write_file(stream, text.data(), size, &done, nullptr) == 0 || done == 0) return false;
            size = done;
        }
        text.remove_prefix(size);
    }
    return true;
}

/// Windows has no descriptors that another program hands over. Returns: false.
inline bool is_open_descriptor(int /*number*/) noexcept { return false; }

/// The number of the error of the last call that failed in this thread, for `describe_error`.
inline int last_error() noexcept { return static_cast<int>(api_detail::last_error()); }

/// The text for an error number of the system, in UTF-8.
inline error_text describe_error(int number) noexcept {
    error_text text;
    text.set(system_text(number).view());
    return text;
}

/// No supervisor waits for a notice. `background` reports to the service control manager. Returns: true.
inline bool notify_supervisor(char const* /*state*/) noexcept { return true; }

}}}} // namespace wg::WG_ABI::os::windows

#endif
