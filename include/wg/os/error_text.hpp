// SPDX-License-Identifier: BSL-1.0
// A sentence that says what went wrong and how to mend it. Folder: os. One thread at a time.
#ifndef WG_OS_ERROR_TEXT_HPP
#define WG_OS_ERROR_TEXT_HPP

#include "../base/abi.hpp"

#include <charconv>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os {

/// A text of at most 255 bytes; a longer one is cut. Empty until something fails.
class error_text {
public:
    /// The text, which ends with a zero.
    char const* c_str() const noexcept { return text_; }
    /// The text.
    std::string_view view() const noexcept { return {text_, size_}; }
    /// Whether there is no text.
    bool empty() const noexcept { return size_ == 0; }

    /// Replaces the text by the pieces, texts and numbers, one after the other. (printf would take a tenth of a small
    /// daemon.)
    template <class... Piece> void set(Piece const&... pieces) noexcept {
        piece const all[] = {piece(pieces)...};
        set_all(all, sizeof...(pieces));
    }

private:
    static constexpr std::size_t most = 255;

    /// A text or a number. One function puts all sentences together, so each call of `set` takes little code.
    struct piece {
        enum class kind : unsigned char { text, c_string, negative, number };
        kind is;
        char const* text = nullptr;
        std::uint64_t number = 0; ///< a number's absolute value; a text's length

        explicit piece(std::string_view t) noexcept : is(kind::text), text(t.data()), number(t.size()) {}
        explicit piece(char const* t) noexcept : is(kind::c_string), text(t) {}
        explicit piece(std::signed_integral auto n) noexcept
            : is(n < 0 ? kind::negative : kind::number),
              number(n < 0 ? 0 - static_cast<std::uint64_t>(n) : static_cast<std::uint64_t>(n)) {}
        explicit piece(std::unsigned_integral auto n) noexcept : is(kind::number), number(n) {}
    };

    void set_all(piece const* pieces, std::size_t count) noexcept {
        size_ = 0;
        for (piece const* p = pieces; p != pieces + count; ++p) {
            if (p->is == piece::kind::negative) append("-");
            if (p->is == piece::kind::text) append({p->text, static_cast<std::size_t>(p->number)});
            else if (p->is == piece::kind::c_string) append(p->text);
            else append_number(p->number);
        }
        text_[size_] = '\0';
    }

    void append(std::string_view more) noexcept {
        std::size_t const size = more.size() < most - size_ ? more.size() : most - size_;
        std::memcpy(text_ + size_, more.data(), size);
        size_ += size;
    }
    void append_number(std::uint64_t number) noexcept {
        char digits[24];
        append({digits, static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, number).ptr - digits)});
    }

    char text_[most + 1] = {};
    std::size_t size_ = 0;
};

}}} // namespace wg::WG_ABI::os

#endif
