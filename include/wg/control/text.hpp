// SPDX-License-Identifier: BSL-1.0
// Keys, numbers, addresses and endpoints as text, and back: without heap, without locale, without a resolver.
// Sources: RFC 4291 2.2 and RFC 5952 (IPv6 addresses), RFC 4007 11 (zones), RFC 4648 4 (base64).
// Folder: control. Pure; any thread.
//
// Keys are read and printed by arithmetic: no table is indexed by a secret, and no branch depends on its digits.
//
//     auto const where = wg::text::parse_endpoint("[fe80::1%eth0]:51820", if_nametoindex);
//     if (where) log(wg::text::print(*where).view());
#ifndef WG_CONTROL_TEXT_HPP
#define WG_CONTROL_TEXT_HPP

#include "../base/endpoint.hpp"
#include "../base/limits.hpp"
#include "../base/status.hpp"

#include <concepts>
#include <limits>
#include <string_view>

namespace wg { inline namespace WG_ABI { namespace text {

inline constexpr std::size_t hex_key_chars = 2 * key_bytes; ///< length of a key in hexadecimal
inline constexpr std::size_t base64_key_chars = 44;         ///< length of a key in base64
inline constexpr std::size_t longest_zone_chars = 63;       ///< of the zone of an IPv6 address

/// At most `Capacity` characters, held in place.
template <std::size_t Capacity> class short_text {
public:
    /// The text.
    constexpr std::string_view view() const noexcept { return {chars_, size_}; }
    /// The text.
    constexpr operator std::string_view() const noexcept { return view(); }
    /// The text, with a zero byte after it.
    constexpr char const* c_str() const noexcept { return chars_; }

    /// Appends text, for which there must be room.
    /// @{
    constexpr void append(char c) noexcept {
        WG_ASSERT(size_ < Capacity);
        chars_[size_++] = c;
    }
    constexpr void append(std::string_view more) noexcept {
        for (char const c : more) append(c);
    }
    /// @}
    /// Appends a number without leading zeros, with lower-case digits.
    constexpr void append_number(std::uint64_t value, unsigned base = 10) noexcept {
        char digits[20]{}; // 2^64 - 1 has 20 digits
        std::size_t count = 0;
        do {
            auto const digit = static_cast<unsigned>(value % base);
            digits[count++] = static_cast<char>(digit < 10 ? '0' + digit : 'a' + digit - 10);
            value /= base;
        } while (value != 0);
        while (count > 0) append(digits[--count]);
    }

private:
    char chars_[Capacity + 1]{};
    std::size_t size_ = 0;
};

namespace text_detail {

/// All ones if low <= value <= high, else zero. All three are below 2^31: a difference wraps exactly if it is negative.
constexpr std::uint32_t mask_between(std::uint32_t value, std::uint32_t low, std::uint32_t high) noexcept {
    std::uint32_t const at_least_low = low - 1 - value;
    std::uint32_t const at_most_high = value - (high + 1);
    return 0u - ((at_least_low & at_most_high) >> 31);
}

constexpr std::uint32_t code_of(char c) noexcept { return static_cast<unsigned char>(c); }

/// The value of a hexadecimal digit. Clears `valid` if `c` is not a digit.
constexpr std::uint32_t hex_value(char c, std::uint32_t& valid) noexcept {
    std::uint32_t const code = code_of(c);
    std::uint32_t const digit = mask_between(code, '0', '9');
    std::uint32_t const lower = mask_between(code, 'a', 'f');
    std::uint32_t const upper = mask_between(code, 'A', 'F');
    valid &= digit | lower | upper;
    return (digit & (code - '0')) | (lower & (code - 'a' + 10)) | (upper & (code - 'A' + 10));
}

constexpr char hex_digit(std::uint32_t value) noexcept {
    return static_cast<char>('0' + value + (mask_between(value, 10, 15) & ('a' - '0' - 10)));
}

constexpr std::uint32_t base64_value(char c, std::uint32_t& valid) noexcept {
    std::uint32_t const code = code_of(c);
    std::uint32_t const upper = mask_between(code, 'A', 'Z');
    std::uint32_t const lower = mask_between(code, 'a', 'z');
    std::uint32_t const digit = mask_between(code, '0', '9');
    std::uint32_t const plus = mask_between(code, '+', '+');
    std::uint32_t const slash = mask_between(code, '/', '/');
    valid &= upper | lower | digit | plus | slash;
    return (upper & (code - 'A')) | (lower & (code - 'a' + 26)) | (digit & (code - '0' + 52)) | (plus & 62) |
           (slash & 63);
}

constexpr char base64_digit(std::uint32_t value) noexcept {
    std::uint32_t const upper = mask_between(value, 0, 25) & (value + 'A');
    std::uint32_t const lower = mask_between(value, 26, 51) & (value - 26 + 'a');
    std::uint32_t const digit = mask_between(value, 52, 61) & (value - 52 + '0');
    std::uint32_t const plus = mask_between(value, 62, 62) & '+';
    std::uint32_t const slash = mask_between(value, 63, 63) & '/';
    return static_cast<char>(upper | lower | digit | plus | slash);
}

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

} // namespace text_detail

/// Reads exactly `2 * to.size()` hexadecimal digits of either case. Returns: false if the text is something else; `to`
/// is unspecified then. The time depends on the sizes only.
[[nodiscard]] constexpr bool parse_hex(std::string_view from, bytes to) noexcept {
    if (from.size() != 2 * to.size()) return false;
    std::uint32_t valid = ~0u;
    for (std::size_t i = 0; i < to.size(); ++i) {
        std::uint32_t const high = text_detail::hex_value(from[2 * i], valid);
        to[i] = static_cast<byte>(high << 4 | text_detail::hex_value(from[2 * i + 1], valid));
    }
    return valid != 0;
}

/// Writes `from` as lower-case digits; `to` is twice as long.
constexpr void print_hex(bytes_view from, std::span<char> to) noexcept {
    WG_ASSERT(to.size() == 2 * from.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
        to[2 * i] = text_detail::hex_digit(from[i] >> 4);
        to[2 * i + 1] = text_detail::hex_digit(from[i] & 15u);
    }
}

/// Reads a key in the format of `wg genkey`: 44 characters, the last of them `=`, no stray bits. Returns: false if the
/// text is something else; `to` is unspecified then. The time depends on the size only.
[[nodiscard]] constexpr bool parse_base64_key(std::string_view from, std::span<byte, key_bytes> to) noexcept {
    if (from.size() != base64_key_chars || from.back() != '=') return false;
    std::uint32_t valid = ~0u;
    std::uint32_t bits = 0; // the last 4 sextets or less, 24 bits
    for (std::size_t i = 0; i < base64_key_chars - 1; ++i) {
        bits = (bits << 6 | text_detail::base64_value(from[i], valid)) & 0xffffff;
        if (i % 4 != 3) continue;
        to[i / 4 * 3] = static_cast<byte>(bits >> 16);
        to[i / 4 * 3 + 1] = static_cast<byte>(bits >> 8);
        to[i / 4 * 3 + 2] = static_cast<byte>(bits);
    }
    // 43 sextets: after ten whole groups there are 18 bits left, 16 of them the last two bytes
    to[30] = static_cast<byte>(bits >> 10);
    to[31] = static_cast<byte>(bits >> 2);
    return (valid & text_detail::mask_between(bits & 3, 0, 0)) != 0;
}

/// Writes a key in the format of `wg genkey`. The caller wipes the text of a secret key, and does not log it.
constexpr void print_base64_key(std::span<byte const, key_bytes> from, std::span<char, base64_key_chars> to) noexcept {
    for (std::size_t i = 0; i < base64_key_chars - 1; ++i) {
        std::size_t const first = i * 6 / 8; // at most 31
        byte const second = first + 1 < key_bytes ? from[first + 1] : byte{0};
        auto const pair = static_cast<std::uint32_t>(from[first] << 8 | second);
        to[i] = text_detail::base64_digit(pair >> (10 - i * 6 % 8) & 63);
    }
    to[base64_key_chars - 1] = '=';
}

/// Returns: a public key in the format of `wg genkey`.
constexpr short_text<base64_key_chars> print_base64_key(std::span<byte const, key_bytes> from) noexcept {
    char chars[base64_key_chars]{};
    print_base64_key(from, chars);
    short_text<base64_key_chars> text;
    text.append({chars, base64_key_chars});
    return text;
}

/// Reads decimal digits. Returns: invalid if there is no digit, if there is another character, or if the number
/// is too large.
template <std::unsigned_integral Number> constexpr result<Number> parse_decimal(std::string_view from) noexcept {
    if (from.empty()) return status::invalid;
    constexpr Number most = (std::numeric_limits<Number>::max)();
    Number value = 0;
    for (char const c : from) {
        if (!text_detail::is_digit(c)) return status::invalid;
        auto const digit = static_cast<Number>(c - '0');
        if (value > most / 10 || (value == most / 10 && digit > most % 10)) return status::invalid;
        value = static_cast<Number>(value * 10 + digit);
    }
    return value;
}

/// The number in decimal digits.
constexpr short_text<20> print_decimal(std::uint64_t value) noexcept {
    short_text<20> text;
    text.append_number(value);
    return text;
}

namespace text_detail {

/// Like `parse_decimal`, but refuses leading zeros: some programs read such a number as octal.
constexpr result<std::uint8_t> parse_octet(std::string_view from) noexcept {
    if (from.size() > 1 && from.front() == '0') return status::invalid;
    return parse_decimal<std::uint8_t>(from);
}

constexpr bool parse_v4(std::string_view from, std::span<byte, 4> to) noexcept {
    for (std::size_t i = 0; i < 4; ++i) {
        std::size_t const end = i < 3 ? from.find('.') : from.size();
        if (end == std::string_view::npos) return false;
        auto const octet = parse_octet(from.substr(0, end));
        if (!octet) return false;
        to[i] = *octet;
        from.remove_prefix(i < 3 ? end + 1 : end);
    }
    return true;
}

/// One to four hexadecimal digits.
constexpr bool parse_group(std::string_view from, std::uint16_t& group) noexcept {
    if (from.empty() || from.size() > 4) return false;
    std::uint32_t valid = ~0u;
    std::uint32_t value = 0;
    for (char const c : from) value = value << 4 | hex_value(c, valid);
    group = static_cast<std::uint16_t>(value);
    return valid != 0;
}

constexpr bool parse_v6(std::string_view from, byte_array<16>& to) noexcept {
    constexpr std::size_t none = 17; // no offset in an address, not even its end
    std::size_t filled = 0;
    std::size_t gap = none; // where `::` stands
    if (from.starts_with("::")) {
        gap = 0;
        from.remove_prefix(2);
    }
    while (!from.empty()) {
        std::size_t const end = from.find(':');
        std::string_view const part = from.substr(0, end);
        if (end == std::string_view::npos && part.find('.') != std::string_view::npos) {
            if (filled > 12 || !parse_v4(part, std::span<byte, 16>(to).subspan(filled).first<4>())) return false;
            filled += 4;
            break;
        }
        std::uint16_t group = 0;
        if (filled > 14 || !parse_group(part, group)) return false;
        store_be16(to.data() + filled, group);
        filled += 2;
        if (end == std::string_view::npos) break;
        from.remove_prefix(end + 1);
        if (from.empty()) return false; // a lone colon at the end
        if (from.front() != ':') continue;
        if (gap != none) return false;
        gap = filled;
        from.remove_prefix(1);
    }
    if (gap == none) return filled == 16;
    if (filled == 16) return false; // `::` stands for one group at least
    for (std::size_t i = 0; i < filled - gap; ++i) to[15 - i] = to[filled - 1 - i];
    for (std::size_t i = gap; i < gap + (16 - filled); ++i) to[i] = 0;
    return true;
}

} // namespace text_detail

/// Reads `192.0.2.1` or `2001:db8::1`, in any spelling of RFC 4291, without a zone.
constexpr result<ip_address> parse_address(std::string_view from) noexcept {
    ip_address address;
    bool const v6 = from.find(':') != std::string_view::npos;
    address.kind = v6 ? family::v6 : family::v4;
    bool const good = v6 ? text_detail::parse_v6(from, address.octets)
                         : text_detail::parse_v4(from, std::span<byte, 16>(address.octets).first<4>());
    if (!good) return status::invalid;
    return address;
}

/// Reads `address/bits`, or an address alone for all of its bits. Host bits are masked.
constexpr result<ip_prefix> parse_prefix(std::string_view from) noexcept {
    std::size_t const slash = from.find('/');
    auto const address = parse_address(from.substr(0, slash));
    if (!address) return status::invalid;
    if (slash == std::string_view::npos) return ip_prefix::of(*address, address->bits());
    auto const bits = text_detail::parse_octet(from.substr(slash + 1));
    if (!bits || *bits > address->bits()) return status::invalid;
    return ip_prefix::of(*address, *bits);
}

/// Finds the number of the interface with this name, like `if_nametoindex`. Returns: 0 if there is none.
using zone_resolver = unsigned (*)(char const* name);

namespace text_detail {

/// A name that `resolve` finds takes precedence over a number, because an interface may be called `7`.
inline result<std::uint32_t> parse_zone(std::string_view zone, zone_resolver resolve) noexcept {
    if (zone.empty() || zone.size() > longest_zone_chars) return status::invalid;
    if (zone.find('\0') != std::string_view::npos) return status::invalid;
    if (resolve != nullptr) {
        char name[longest_zone_chars + 1]{};
        std::memcpy(name, zone.data(), zone.size());
        if (unsigned const index = resolve(name); index != 0) return std::uint32_t{index};
    }
    return parse_decimal<std::uint32_t>(zone);
}

} // namespace text_detail

/// Reads `192.0.2.1:51820`, `[2001:db8::1]:51820` or `[fe80::1%zone]:51820`. The zone is a number, or a name that
/// `resolve` finds. No host names. An IPv4-mapped address is returned as IPv4.
inline result<endpoint> parse_endpoint(std::string_view from, zone_resolver resolve = nullptr) noexcept {
    bool const v6 = from.starts_with('[');
    std::size_t const end = v6 ? from.find(']') : from.find(':');
    if (end == std::string_view::npos) return status::invalid;
    std::string_view host = from.substr(v6, end - v6);
    std::string_view const tail = from.substr(end + v6);
    if (!tail.starts_with(':')) return status::invalid;
    auto const port = parse_decimal<std::uint16_t>(tail.substr(1));
    if (!port) return status::invalid;

    endpoint where;
    where.port = *port;
    if (std::size_t const percent = host.find('%'); v6 && percent != std::string_view::npos) {
        auto const zone = text_detail::parse_zone(host.substr(percent + 1), resolve);
        if (!zone) return status::invalid;
        where.scope_id = *zone;
        host = host.substr(0, percent);
    }
    auto const address = parse_address(host);
    if (!address || address->kind != (v6 ? family::v6 : family::v4)) return status::invalid;
    where.address = *address;
    return where.unmapped();
}

namespace text_detail {

template <std::size_t Capacity> constexpr void append_v4(short_text<Capacity>& text, byte const* octets) noexcept {
    for (std::size_t i = 0; i < 4; ++i) {
        if (i > 0) text.append('.');
        text.append_number(octets[i]);
    }
}

/// RFC 5952: lower case, no leading zeros, `::` for the longest run of two or more zero groups, the first of equals;
/// an IPv4-mapped address ends in dotted decimal.
template <std::size_t Capacity> constexpr void append_v6(short_text<Capacity>& text, byte const* octets) noexcept {
    bool mapped = true;
    for (std::size_t i = 0; i < 12; ++i) mapped = mapped && octets[i] == (i < 10 ? 0 : 0xff);
    if (mapped) {
        text.append("::ffff:");
        return append_v4(text, octets + 12);
    }
    std::size_t best = 8, best_length = 1, length = 0; // a run of one group is not shortened
    for (std::size_t i = 0; i < 8; ++i) {
        length = load_be16(octets + 2 * i) == 0 ? length + 1 : 0;
        if (length <= best_length) continue;
        best_length = length;
        best = i + 1 - length;
    }
    for (std::size_t i = 0; i < 8; ++i) {
        if (i == best) {
            text.append("::");
            i += best_length - 1;
            continue;
        }
        if (i > 0 && i != best + best_length) text.append(':');
        text.append_number(load_be16(octets + 2 * i), 16);
    }
}

template <std::size_t Capacity>
constexpr void append_address(short_text<Capacity>& text, ip_address const& address) noexcept {
    if (address.kind == family::v4) append_v4(text, address.octets.data());
    if (address.kind == family::v6) append_v6(text, address.octets.data());
}

} // namespace text_detail

/// `192.0.2.1` or `2001:db8::1` (RFC 5952); empty for no address.
constexpr short_text<39> print(ip_address const& address) noexcept {
    short_text<39> text;
    text_detail::append_address(text, address);
    return text;
}

/// An address and a prefix length: `192.0.2.0/24`.
constexpr short_text<43> print(ip_prefix const& prefix) noexcept {
    short_text<43> text;
    text_detail::append_address(text, prefix.address);
    text.append('/');
    text.append_number(prefix.bits);
    return text;
}

/// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%2]:51820`; empty for none. The zone is a number.
constexpr short_text<58> print(endpoint const& where) noexcept {
    short_text<58> text;
    if (!where) return text;
    bool const v6 = where.address.kind == family::v6;
    if (v6) text.append('[');
    text_detail::append_address(text, where.address);
    if (v6 && where.scope_id != 0) {
        text.append('%');
        text.append_number(where.scope_id);
    }
    text.append(v6 ? "]:" : ":");
    text.append_number(where.port);
    return text;
}

}}} // namespace wg::WG_ABI::text

#endif
