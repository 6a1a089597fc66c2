// SPDX-License-Identifier: BSL-1.0
// Errors of Windows as a status and as a text. Folder: os/windows. Any thread.
#ifndef WG_OS_WINDOWS_ERROR_HPP
#define WG_OS_WINDOWS_ERROR_HPP

#include "../../base/status.hpp"
#include "api.hpp"

#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The status for an error number of GetLastError or WSAGetLastError; `io_error` for those that have none of their own.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case api_detail::error_access_denied:
    case api_detail::error_privilege_not_held:
    case api_detail::wsa_access: return status::no_permission;
    case api_detail::error_already_exists:
    case api_detail::error_object_already_exists:
    case api_detail::wsa_address_in_use: return status::address_in_use;
    case api_detail::error_not_supported:
    case api_detail::error_call_not_implemented:
    case api_detail::error_procedure_not_found:
    case api_detail::wsa_no_protocol_option:
    case api_detail::wsa_protocol_not_supported:
    case api_detail::wsa_operation_not_supported:
    case api_detail::wsa_family_not_supported: return status::not_supported;
    case api_detail::error_not_enough_memory:
    case api_detail::error_out_of_memory:
    case api_detail::error_no_system_resources:
    case api_detail::wsa_too_many_files:
    case api_detail::wsa_no_buffers: return status::no_memory;
    case api_detail::wsa_would_block: return status::would_block;
    case api_detail::error_invalid_parameter:
    case api_detail::wsa_invalid: return status::invalid;
    default: return status::io_error;
    }
}

/// The call of `basic_system_text`.
struct message_calls {
    /// FormatMessageW for an error number, in UTF-8. Returns: the bytes of the text; 0: there is none.
    static std::uint32_t message(int error, char* text, std::uint32_t size) noexcept {
        char16_t wide[256];
        std::uint32_t const units = api_detail::format_message(
            api_detail::message_from_system, nullptr, static_cast<std::uint32_t>(error), 0, wide, 256, nullptr);
        if (units == 0) return 0;
        int const bytes = api_detail::from_wide(api_detail::code_page_utf8, 0, wide, static_cast<int>(units), text,
                                                static_cast<int>(size), nullptr, nullptr);
        return bytes > 0 ? static_cast<std::uint32_t>(bytes) : 0;
    }
};

/// The text of Windows for an error number, in the language of the user, without the full stop and the line break at
/// its end. At most 255 bytes. A test replaces `Calls`.
template <class Calls = message_calls> class basic_system_text {
public:
    /// Looks up the text of `error`.
    explicit basic_system_text(int error) noexcept {
        std::uint32_t const size = Calls::message(error, text_, sizeof text_);
        size_ = size < sizeof text_ ? size : 0;
        while (size_ != 0 && is_end(text_[size_ - 1])) --size_;
    }
    /// The text; "unknown error" if Windows has none.
    std::string_view view() const noexcept {
        return size_ != 0 ? std::string_view{text_, size_} : std::string_view{"unknown error"};
    }

private:
    static bool is_end(char c) noexcept { return c == '\r' || c == '\n' || c == ' ' || c == '.'; }

    char text_[256];
    std::size_t size_;
};

/// The text of Windows for an error number.
using system_text = basic_system_text<>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
