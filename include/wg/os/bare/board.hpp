// SPDX-License-Identifier: BSL-1.0
// The functions that a board without an operating system supplies, and the policies that are made of them.
// Folder: os/bare. One thread; no interrupt handler calls into wg.
#ifndef WG_OS_BARE_BOARD_HPP
#define WG_OS_BARE_BOARD_HPP

#include "../../base/tai64n.hpp"
#include "../../policy.hpp"

namespace wg { inline namespace WG_ABI { namespace bare {

/// The address of a station on Ethernet.
using mac_address = byte_array<6>;

inline constexpr std::size_t ethernet_header_bytes = 14; ///< of an Ethernet frame
inline constexpr std::size_t ethernet_mtu_bytes = 1500;  ///< of an Ethernet frame's payload
inline constexpr std::size_t max_frame_bytes = ethernet_header_bytes + ethernet_mtu_bytes; ///< without its checksum

/// A board: the functions that a host without an operating system supplies.
/// - `now()` returns the time since power-on, an `instant`. It never goes back and does not wrap.
/// - `tai64n(label)` writes a label as a `clock_source` does: by `store_tai64n` of a wall clock, or by
///   `store_boot_label` of a counter that survives a reset.
/// - `fill(out)` fills `out` from a hardware source that is fit for keys. Returns: false if the source failed.
/// - `mac()` returns the MAC address of this station.
/// - `receive(frame)` copies the oldest frame that has arrived, from its destination address to its last byte without
///   the checksum. Accepts frames to `mac()`, broadcast and multicast frames. A frame that is longer than `frame` is
///   dropped. Does not block. Returns: bytes of the frame; 0: none has arrived.
/// - `send(head, body)` sends one frame: `head`, then `body`, padded to 60 bytes; the hardware adds the checksum. May
///   block for the time of a frame. Both buffers are free on return. Returns: false if the frame was dropped.
template <class Board>
concept board = requires(Board& b, std::span<byte, timestamp_bytes> label, bytes out, bytes_view piece) {
    { b.now() } noexcept -> std::same_as<instant>;
    { b.tai64n(label) } noexcept -> std::same_as<void>;
    { b.fill(out) } noexcept -> std::same_as<bool>;
    { b.mac() } noexcept -> std::same_as<mac_address>;
    { b.receive(out) } noexcept -> std::same_as<std::size_t>;
    { b.send(piece, piece) } noexcept -> std::same_as<bool>;
};

using wg::store_tai64n;

/// Writes a label for a board without a wall clock. The seconds of the label are 2^62 + (boots << 32) + the seconds
/// since the start, the nanoseconds are those since the start. Peers only compare labels. `boots` is counted up and
/// stored before the first label of a start is made, so it is at least 1. `now` is the time since the start.
///
/// Until 30 November 2026 the seconds of the label were 2^62 + 10 + boots, and every sixtieth initiation added one. For
/// a label of that kind to exceed one of this kind, with the same count of 1 or more, a board has to send
/// 60 * (2^32 - 10) initiations: at one every 5 s to each of 16 peers that takes 2,500 years. So a peer that has
/// received labels of the old kind accepts those of the new kind at once.
inline void store_boot_label(std::span<byte, timestamp_bytes> label, std::uint32_t boots, instant now) noexcept {
    auto const ns = static_cast<std::uint64_t>(now.nanoseconds);
    store_be64(label.data(), (std::uint64_t{1} << 62) + (std::uint64_t{boots} << 32) + ns / 1'000'000'000);
    store_be32(&label[8], static_cast<std::uint32_t>(ns % 1'000'000'000));
}

/// Models `clock_source` and `random_source` on a board. The board must outlive it.
template <class Board> class board_source {
public:
    /// Uses this board.
    explicit board_source(Board& b) noexcept : board_(&b) {}

    /// The time since power-on.
    instant now() noexcept { return board_->now(); }
    /// Writes a label for a handshake.
    void tai64n(std::span<byte, timestamp_bytes> label) noexcept { board_->tai64n(label); }
    /// Fills `out` with random bytes. Returns: false if the board's source failed.
    bool fill(bytes out) noexcept { return board_->fill(out); }

private:
    Board* board_;
};

/// Models `waiter` without sleeping: both sides count as ready at any time. For a board that can sleep until a frame
/// arrives or a deadline passes, write another waiter.
struct polling_waiter {
    /// Returns at once.
    readiness wait(instant) noexcept { return {true, true, 0}; }
    /// Does nothing.
    void wake() noexcept {}
};
static_assert(waiter<polling_waiter>);

}}} // namespace wg::WG_ABI::bare

#endif
