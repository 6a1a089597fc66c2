// SPDX-License-Identifier: BSL-1.0
// Base64 (RFC 4648 4) for logs of observers. Folder: backends. Pure; any thread. Indexes a table by what it prints:
// secrets are printed by key_log.hpp alone, which reveals them anyway.
#ifndef WG_BACKENDS_BASE64_HPP
#define WG_BACKENDS_BASE64_HPP

#include "../base/bytes.hpp"

namespace wg { inline namespace WG_ABI {

/// Writes `from` in base64, padded by `=`. `to` has four characters for each three bytes of `from`, rounded up.
constexpr void print_base64(bytes_view from, std::span<char> to) noexcept {
    constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    WG_ASSERT(to.size() == (from.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < to.size(); ++i) {
        std::size_t const first = i * 6 / 8; // the first of the two bytes that have bits of the digit
        std::uint32_t const high = first < from.size() ? from[first] : 0u;
        std::uint32_t const low = first + 1 < from.size() ? from[first + 1] : 0u;
        bool const is_padding = i * 6 >= from.size() * 8;
        to[i] = is_padding ? '=' : digits[(high << 8 | low) >> (10 - i * 6 % 8) & 63];
    }
}

}} // namespace wg::WG_ABI

#endif
