// SPDX-License-Identifier: BSL-1.0
// A packet between two steps of a device. Folder: device; a value, used by one thread at a time.
#ifndef WG_DEVICE_JOB_HPP
#define WG_DEVICE_JOB_HPP

#include "peer.hpp"

namespace wg { inline namespace WG_ABI {

/// What the caller does with a job's data next.
enum class disposition : std::uint8_t {
    drop,    ///< nothing; `why` says the reason, and is ok for a message that `crypt` has not sealed yet
    send,    ///< to the network, at `where`: sealed, or a handshake message
    deliver, ///< to the TUN device
};

/// One packet or datagram. The caller sets `data`, and for a datagram `where` and `tos`; the device works in that
/// buffer. Each job that a device has prepared or transmitted is given to `complete` once, sent or not: until then the
/// job keeps its peer and its keys alive.
template <policies Policies> struct job {
    packet data{};                        ///< the caller's buffer, and the window of it that is in use
    std::uint8_t tos = 0;                 ///< DSCP and ECN of the outer header
    disposition next = disposition::drop; ///< what the caller does with `data`
    status why = status::ok;              ///< the reason of a drop, or of a failure to send
    bool outbound = false;                ///< to the network; else from it
    bool has_data = false;                ///< neither a keepalive nor a handshake message
    /// Sent: the host's own number for `why`. A bare node has no host.
    [[no_unique_address]] std::conditional_t<hostless, empty_member<11>, std::uint16_t> error{};
    path where{};              ///< the outer addresses: to where it goes, or from where it came
    std::uint64_t counter = 0; ///< of the transport message
    typename peer<Policies>::keypair_type* keys = nullptr; ///< `crypt` uses these; nullptr: `crypt` has nothing to do
    peer<Policies>* owner = nullptr;                       ///< in flight with this peer; nullptr: with none
};

/// A std::span of jobs that converts from every range of jobs. It is not std::span itself, because g++ for 32-bit Arm
/// prints a note for every function with a parameter of type std::span: that its calling convention changed in version
/// 7.1. No pragma disables the note.
template <class Job> struct job_list : std::span<Job> {
    using std::span<Job>::span;
    /// The jobs of `all`.
    constexpr job_list(std::span<Job> const& all) noexcept : std::span<Job>(all) {}
};

}} // namespace wg::WG_ABI

#endif
