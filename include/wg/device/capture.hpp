// SPDX-License-Identifier: BSL-1.0
// Shows packets and messages to an observer with the member `packet`. With another observer all functions are empty.
// Folder: device; guarded by the device's lock.
#ifndef WG_DEVICE_CAPTURE_HPP
#define WG_DEVICE_CAPTURE_HPP

#include "../base/ip.hpp"
#include "../protocol/messages.hpp"
#include "state.hpp"

namespace wg { inline namespace WG_ABI {

/// What an observer is shown of a job, after each step: nothing.
template <policies Policies> struct capture {
    /// After `device::prepare_outbound` of the job.
    static void prepared_outbound(device_state<Policies>&, job<Policies> const&) noexcept {}
    /// After `device::prepare_inbound` of the job.
    static void prepared_inbound(device_state<Policies>&, job<Policies> const&) noexcept {}
    /// After an outbound job was given to the socket.
    static void sent(device_state<Policies>&, job<Policies> const&, peer<Policies> const&) noexcept {}
    /// After an inbound job was completed.
    static void opened(device_state<Policies>&, job<Policies> const&, peer<Policies> const&) noexcept {}
};

template <policies Policies>
    requires observer_with_packets<typename Policies::observer>
struct capture<Policies> {
private:
    using state_type = device_state<Policies>;
    using peer_type = peer<Policies>;
    using job_type = job<Policies>;

public:
    static void prepared_outbound(state_type& state, job_type const& j) noexcept {
        bytes_view data = j.data.view();
        if (j.keys != nullptr) { // a message in clear: header, packet, padding and the room of the tag
            bytes_view const padded = data.subspan(transport_header_bytes, data.size() - transport_overhead_bytes);
            data = padded.first(parse_ip(padded).total_bytes);
        }
        ip_header const header = parse_ip(data);
        peer_type const* const to =
            j.owner != nullptr ? j.owner
                               : (header ? state.peers.allowed().find(header.kind, header.destination) : nullptr);
        show(state, {.outbound = j.next != disposition::deliver, .why = j.why, .data = data}, to);
    }

    static void prepared_inbound(state_type& state, job_type const& j) noexcept {
        // `decryption_failed` only says that the message is not opened yet.
        status const why = j.owner != nullptr ? status::ok : j.why;
        show(state, {.outer = true, .why = why, .data = j.data.view(), .remote = j.where.remote, .tos = j.tos},
             j.owner);
    }

    static void sent(state_type& state, job_type const& j, peer_type const& to) noexcept {
        if (j.next != disposition::send) return;
        show(state,
             {.outer = true,
              .outbound = true,
              .why = j.why,
              .data = j.data.view(),
              .remote = j.where.remote,
              .tos = j.tos},
             &to);
    }

    static void opened(state_type& state, job_type const& j, peer_type const& from) noexcept {
        bytes_view const data = j.data.view();
        if (j.why == status::keepalive) return; // has no packet
        if (j.why != status::decryption_failed) return show(state, {.why = j.why, .data = data}, &from);
        // Only the header is left: the attempt to open the message has overwritten the rest.
        show(state,
             {.outer = true,
              .why = j.why,
              .data = data.first(transport_header_bytes),
              .length = data.size(),
              .remote = j.where.remote,
              .tos = j.tos},
             &from);
    }

private:
    static void show(state_type& state, seen_packet seen, peer_type const* peer) noexcept {
        seen.length = (std::max)(seen.length, seen.data.size());
        seen.port = state.listen_port;
        if (peer != nullptr && peer->secrets != nullptr) seen.peer = &peer->key();
        state.clock.tai64n(seen.label);
        state.observer.packet(seen);
    }
};

}} // namespace wg::WG_ABI

#endif
