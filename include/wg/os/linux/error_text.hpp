// SPDX-License-Identifier: BSL-1.0
// A sentence that tells a person what went wrong and how to mend it. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_ERROR_TEXT_HPP
#define WG_OS_LINUX_ERROR_TEXT_HPP

#include "../../base/abi.hpp"

#include <charconv>
#include <concepts>
#include <cstring>
#include <string_view>

namespace wg::inline WG_ABI::os {

/// At most 255 characters; longer sentences are cut. Empty until something fails.
class error_text {
public:
    char const* c_str() const noexcept { return text_; }
    std::string_view view() const noexcept { return {text_, size_}; }
    bool empty() const noexcept { return size_ == 0; }

    /// Says what the pieces, texts and numbers, say one after the other. (printf would be a tenth of a small daemon.)
    template <class... Piece> void set(Piece const&... pieces) noexcept {
        size_ = 0;
        (append(pieces), ...);
        text_[size_] = '\0';
    }

private:
    static constexpr std::size_t most = 255;

    void append(std::string_view more) noexcept {
        std::size_t const size = more.size() < most - size_ ? more.size() : most - size_;
        std::memcpy(text_ + size_, more.data(), size);
        size_ += size;
    }
    void append(std::integral auto number) noexcept {
        char digits[24];
        append({digits, static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, number).ptr - digits)});
    }

    char text_[most + 1] = {};
    std::size_t size_ = 0;
};

} // namespace wg::inline WG_ABI::os

#endif
