// SPDX-License-Identifier: BSL-1.0
// A sentence that tells a person what went wrong and how to mend it. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_ERROR_TEXT_HPP
#define WG_OS_LINUX_ERROR_TEXT_HPP

#include "../../base/abi.hpp"

#include <cstdarg>
#include <cstdio>

namespace wg::inline WG_ABI::os {

/// At most 255 characters; longer sentences are cut. Empty until something fails.
class error_text {
public:
    char const* c_str() const noexcept { return text_; }
    bool empty() const noexcept { return text_[0] == '\0'; }

    [[gnu::format(printf, 2, 3)]] void set(char const* format, ...) noexcept {
        std::va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text_, sizeof text_, format, arguments);
        va_end(arguments);
    }

private:
    char text_[256] = {};
};

} // namespace wg::inline WG_ABI::os

#endif
