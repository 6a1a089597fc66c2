// SPDX-License-Identifier: BSL-1.0
// TAI64N labels: the timestamps of handshake initiations (whitepaper 5.1; https://cr.yp.to/libtai/tai64.html).
// Folder: base. Pure; any thread.
//
// A label is 12 bytes: big-endian seconds, then big-endian nanoseconds. Receivers compare labels byte by byte. Leap
// seconds are not counted, as in Linux's WireGuard.
#ifndef WG_BASE_TAI64N_HPP
#define WG_BASE_TAI64N_HPP

#include "bytes.hpp"
#include "limits.hpp"

namespace wg { inline namespace WG_ABI {

/// The seconds of a label at 1970-01-01 00:00:00 UTC: 2^62, and the ten seconds that TAI was ahead of UTC then.
inline constexpr std::uint64_t tai64n_epoch = (std::uint64_t{1} << 62) + 10;

/// Writes the label of a time after the UNIX epoch. `ns` is below 10^9.
inline void store_tai64n(std::span<byte, timestamp_bytes> label, std::uint64_t unix_s, std::uint32_t ns) noexcept {
    store_be64(label.data(), tai64n_epoch + unix_s);
    store_be32(label.data() + 8, ns);
}

/// The seconds of a label since the UNIX epoch; negative: before it.
inline std::int64_t unix_seconds_of(std::span<byte const, timestamp_bytes> label) noexcept {
    return static_cast<std::int64_t>(load_be64(label.data()) - tai64n_epoch);
}
/// The nanoseconds of a label, as they stand in it.
inline std::uint32_t nanoseconds_of(std::span<byte const, timestamp_bytes> label) noexcept {
    return load_be32(label.data() + 8);
}

/// Whether label `a` is greater than label `b`. Labels are public, so this is not in constant time.
inline bool is_later_label(std::span<byte const, timestamp_bytes> a,
                           std::span<byte const, timestamp_bytes> b) noexcept {
    return std::memcmp(a.data(), b.data(), timestamp_bytes) > 0;
}

/// Rounds a label down to 2^24 ns, about 17 ms.
inline void round_down_label(std::span<byte, timestamp_bytes> label) noexcept { label[9] = label[10] = label[11] = 0; }

/// Adds one to a label, as one big-endian number of 12 bytes: receivers compare labels in that order.
inline void increment_label(std::span<byte, timestamp_bytes> label) noexcept {
    for (std::size_t at = timestamp_bytes; at-- != 0 && ++label[at] == 0;) {}
}

}} // namespace wg::WG_ABI

#endif
