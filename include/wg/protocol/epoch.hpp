// SPDX-License-Identifier: BSL-1.0
// Numbers of epochs, in which the preshared key of a peer is replaced; see ratchet.hpp. Folder: protocol. Pure; any
// thread.
#ifndef WG_PROTOCOL_EPOCH_HPP
#define WG_PROTOCOL_EPOCH_HPP

#include "../base/abi.hpp"

#include <cstdint>

namespace wg { inline namespace WG_ABI {

/// The number of an epoch: the seconds since 1970-01-01 00:00:00 UTC, divided by the length of an epoch.
using ratchet_epoch = std::uint32_t;

/// The clock of a host does not know the date.
inline constexpr ratchet_epoch no_epoch = UINT32_MAX;

inline constexpr std::uint32_t shortest_epoch_s = 10;             ///< two handshake attempts
inline constexpr std::uint32_t longest_epoch_s = 366 * 24 * 3600; ///< a year

/// A clock that shows an earlier time than 2026-01-01 00:00:00 UTC has not been set.
inline constexpr std::int64_t earliest_date_s = 1'767'225'600;

/// The epoch of a UNIX time. `epoch_s`: the length of an epoch in seconds.
constexpr ratchet_epoch epoch_at(std::int64_t unix_s, std::uint32_t epoch_s) noexcept {
    if (unix_s < earliest_date_s) return no_epoch;
    std::int64_t const number = unix_s / epoch_s;
    return number < std::int64_t{no_epoch} ? static_cast<ratchet_epoch>(number) : no_epoch;
}

/// Whether an epoch may have this length in seconds; 0 means that there are no epochs.
constexpr bool is_epoch_length(std::uint32_t epoch_s) noexcept {
    return epoch_s == 0 || (epoch_s >= shortest_epoch_s && epoch_s <= longest_epoch_s);
}

}} // namespace wg::WG_ABI

#endif
