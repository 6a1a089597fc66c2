// SPDX-License-Identifier: BSL-1.0
// Views of bytes, and reading and writing integers in them. Folder: base. Pure; any thread.
#ifndef WG_BASE_BYTES_HPP
#define WG_BASE_BYTES_HPP

#include "abi.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace wg { inline namespace WG_ABI {

/// An octet.
using byte = std::uint8_t;
/// Writable bytes of another object.
using bytes = std::span<byte>;
/// Readable bytes of another object.
using bytes_view = std::span<byte const>;
/// `Size` bytes in place.
template <std::size_t Size> using byte_array = std::array<byte, Size>;

/// Converts a number to `To`, like `static_cast`. For types that are the same on some processors: a plain cast to the
/// same type draws the warning -Wuseless-cast.
template <class To, class From> constexpr To converted(From number) noexcept { return static_cast<To>(number); }

namespace bytes_detail {

template <class Word> constexpr Word swap_bytes(Word word) noexcept {
    if constexpr (sizeof(Word) == 2) return __builtin_bswap16(word);
    else if constexpr (sizeof(Word) == 4) return __builtin_bswap32(word);
    else return __builtin_bswap64(word);
}

// Compilers turn memcpy into one load from -O1 on. g++ does that with a loop over bytes only from -O3 on.
template <class Word, std::endian Order> constexpr Word load(byte const* from) noexcept {
    Word word = 0;
    if (std::is_constant_evaluated()) {
        for (std::size_t i = 0; i < sizeof(Word); ++i) {
            std::size_t const at = Order == std::endian::little ? i : sizeof(Word) - 1 - i;
            word = static_cast<Word>(word | static_cast<Word>(Word{from[i]} << (8 * at)));
        }
        return word;
    }
    std::memcpy(&word, from, sizeof word);
    return Order == std::endian::native ? word : swap_bytes(word);
}
template <std::endian Order, class Word> constexpr void store(byte* to, Word word) noexcept {
    if (std::is_constant_evaluated()) {
        for (std::size_t i = 0; i < sizeof(Word); ++i) {
            std::size_t const at = Order == std::endian::little ? i : sizeof(Word) - 1 - i;
            to[i] = static_cast<byte>(word >> (8 * at));
        }
        return;
    }
    if (Order != std::endian::native) word = swap_bytes(word);
    std::memcpy(to, &word, sizeof word);
}

} // namespace bytes_detail

// Each function below becomes one load or store, and a byte swap if needed. Any alignment.

/// Reads a little-endian integer of 2 bytes.
constexpr std::uint16_t load_le16(byte const* from) noexcept {
    return bytes_detail::load<std::uint16_t, std::endian::little>(from);
}
/// Reads a little-endian integer of 4 bytes.
constexpr std::uint32_t load_le32(byte const* from) noexcept {
    return bytes_detail::load<std::uint32_t, std::endian::little>(from);
}
/// Reads a little-endian integer of 8 bytes.
constexpr std::uint64_t load_le64(byte const* from) noexcept {
    return bytes_detail::load<std::uint64_t, std::endian::little>(from);
}
/// Reads a big-endian integer of 2 bytes.
constexpr std::uint16_t load_be16(byte const* from) noexcept {
    return bytes_detail::load<std::uint16_t, std::endian::big>(from);
}
/// Reads a big-endian integer of 4 bytes.
constexpr std::uint32_t load_be32(byte const* from) noexcept {
    return bytes_detail::load<std::uint32_t, std::endian::big>(from);
}
/// Reads a big-endian integer of 8 bytes.
constexpr std::uint64_t load_be64(byte const* from) noexcept {
    return bytes_detail::load<std::uint64_t, std::endian::big>(from);
}
/// Writes a little-endian integer of 2 bytes.
constexpr void store_le16(byte* to, std::uint16_t word) noexcept { bytes_detail::store<std::endian::little>(to, word); }
/// Writes a little-endian integer of 4 bytes.
constexpr void store_le32(byte* to, std::uint32_t word) noexcept { bytes_detail::store<std::endian::little>(to, word); }
/// Writes a little-endian integer of 8 bytes.
constexpr void store_le64(byte* to, std::uint64_t word) noexcept { bytes_detail::store<std::endian::little>(to, word); }
/// Writes a big-endian integer of 2 bytes.
constexpr void store_be16(byte* to, std::uint16_t word) noexcept { bytes_detail::store<std::endian::big>(to, word); }
/// Writes a big-endian integer of 4 bytes.
constexpr void store_be32(byte* to, std::uint32_t word) noexcept { bytes_detail::store<std::endian::big>(to, word); }
/// Writes a big-endian integer of 8 bytes.
constexpr void store_be64(byte* to, std::uint64_t word) noexcept { bytes_detail::store<std::endian::big>(to, word); }

/// Copies all of `from` to the start of `to`, which must be at least as long; they may overlap.
inline void copy(bytes to, bytes_view from) noexcept {
    WG_ASSERT(to.size() >= from.size());
    if (!from.empty()) std::memmove(to.data(), from.data(), from.size());
}

/// Fills with zero bytes. The compiler may remove this if the memory is not read again; use `wipe` for secrets. Always
/// inline, because a call of memset takes less code than a call with a span.
[[gnu::always_inline]] inline void fill_zero(bytes to) noexcept {
    if (!to.empty()) std::memset(to.data(), 0, to.size());
}

}} // namespace wg::WG_ABI

#endif
