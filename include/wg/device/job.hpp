// SPDX-License-Identifier: BSL-1.0
// A packet on its way through a device: the seam between deciding and doing. Layer 4; a value that moves along.
#ifndef WG_DEVICE_JOB_HPP
#define WG_DEVICE_JOB_HPP

#include "peer.hpp"

namespace wg { inline namespace WG_ABI {

/// What the caller does with a job's data next.
enum class disposition : std::uint8_t {
    drop,    ///< nothing; `why` says why, and is ok for what `crypt` has not sealed yet
    send,    ///< to the network, at `where`: sealed, or a handshake message
    deliver, ///< to the TUN device
};

/// One packet or datagram. The caller fills in `data` (and of a datagram `where` and `tos`); the device does the rest
/// in that buffer. Whatever a device has prepared or transmitted goes back to `complete` once, sent or not: until then
/// the job keeps its peer and its keys alive.
template <policies Policies> struct job {
    packet data{};
    std::uint8_t tos = 0;
    disposition next = disposition::drop;
    status why = status::ok;
    bool outbound = false;
    bool has_data = false; ///< not a keepalive nor a handshake message
    /// Sent: the host's own number for `why`. A bare node has no host.
    [[no_unique_address]] std::conditional_t<hostless, empty_member<11>, std::uint16_t> error{};
    path where{};
    std::uint64_t counter = 0;
    typename peer<Policies>::keypair_type* keys = nullptr; ///< what `crypt` uses; nullptr: nothing to do
    peer<Policies>* owner = nullptr;
};

/// A std::span of jobs, and whatever one is made of. A class of its own has no member types: because of those of a span
/// g++ for 32-bit Arm notes, at every function that takes one, that its calling convention changed in version 7.1, and
/// no pragma silences that.
template <class Job> struct job_list : std::span<Job> {
    using std::span<Job>::span;
    constexpr job_list(std::span<Job> const& all) noexcept : std::span<Job>(all) {}
};

}} // namespace wg::WG_ABI

#endif
