// SPDX-License-Identifier: BSL-1.0
// The Internet checksum of packets (RFC 1071), 32 bytes at a time. Sums are in the machine's byte order: by section
// 2 (B) the sum of swapped words is the swapped sum. Folder: os/tun. Pure; any thread.
#ifndef WG_OS_TUN_CHECKSUM_HPP
#define WG_OS_TUN_CHECKSUM_HPP

#include "../../base/bytes.hpp"

#include <utility>

namespace wg { inline namespace WG_ABI { namespace os {

namespace checksum_detail {

/// Adds the words of `from` to `sum`, and copies `from` to `to` if `Copies`.
template <bool Copies>
[[gnu::always_inline]] inline std::uint64_t add_words(std::uint64_t sum, [[maybe_unused]] byte* to,
                                                      bytes_view from) noexcept {
    // `all` sums 64-bit words modulo 2^64, `high` sums their upper halves, which are below 2^32 each and so do not
    // overflow. all - (high << 32) is the sum of the lower halves modulo 2^64, which does not overflow either. Every
    // processor has vectors of 16 bytes, and wider ones are not faster: the caches are the limit.
    using lanes [[gnu::vector_size(16)]] = std::uint64_t;
    byte const* at = from.data();
    std::size_t left = from.size();
    lanes all = {}, all2 = {}, high = {}, high2 = {}; // not arrays, which g++ 12 would keep on the stack
    for (; left >= 32; at += 32, left -= 32) {
        lanes a, b;
        std::memcpy(&a, at, sizeof a);
        std::memcpy(&b, at + sizeof a, sizeof b);
        if constexpr (Copies) {
            std::memcpy(to, &a, sizeof a);
            std::memcpy(to + sizeof a, &b, sizeof b);
            to += sizeof a + sizeof b;
        }
        all += a;
        high += a >> 32;
        all2 += b;
        high2 += b >> 32;
    }
    high += high2;
    lanes const both = (all + all2) - (high << 32) + high;
    sum += both[0] + both[1];
    for (; left >= 8; at += 8, left -= 8) {
        std::uint64_t word;
        std::memcpy(&word, at, sizeof word);
        if constexpr (Copies) std::memcpy(std::exchange(to, to + sizeof word), &word, sizeof word);
        sum += (word & 0xffffffff) + (word >> 32);
    }
    if (left >= 4) {
        std::uint32_t word;
        std::memcpy(&word, at, sizeof word);
        if constexpr (Copies) std::memcpy(std::exchange(to, to + sizeof word), &word, sizeof word);
        sum += word;
        at += 4, left -= 4;
    }
    if (left != 0) { // padded with zeros
        if constexpr (Copies) std::memcpy(to, at, left);
        byte const last[4] = {at[0], left > 1 ? at[1] : byte{0}, left > 2 ? at[2] : byte{0}, 0};
        std::uint32_t word;
        std::memcpy(&word, last, sizeof word);
        sum += word;
    }
    return sum;
}

} // namespace checksum_detail

/// Adds the 16-bit words of `data`, at most 1 MiB, to `sum`; an odd byte at the end is padded with zero. The result is
/// not folded.
inline std::uint64_t add_words(std::uint64_t sum, bytes_view data) noexcept {
    return checksum_detail::add_words<false>(sum, nullptr, data);
}

/// As `add_words`, and copies `data` to `to`, which must not overlap it.
inline std::uint64_t copy_and_add_words(std::uint64_t sum, byte* to, bytes_view data) noexcept {
    return checksum_detail::add_words<true>(sum, to, data);
}

/// Folds a sum to 16 bits. The checksum is the inverse of the result.
constexpr std::uint16_t fold_sum(std::uint64_t sum) noexcept {
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

/// A 16-bit number in network byte order, as a word that can be added to a sum.
constexpr std::uint16_t network_word(std::size_t number) noexcept {
    auto const word = static_cast<std::uint16_t>(number);
    return std::endian::native == std::endian::little ? __builtin_bswap16(word) : word;
}
/// Reads a word of a packet in the machine's byte order.
inline std::uint16_t load_word(byte const* from) noexcept {
    std::uint16_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}
/// Writes a word of a packet in the machine's byte order.
inline void store_word(byte* to, std::uint16_t word) noexcept { std::memcpy(to, &word, sizeof word); }

}}} // namespace wg::WG_ABI::os

#endif
