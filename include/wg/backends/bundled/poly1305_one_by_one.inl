// SPDX-License-Identifier: BSL-1.0
// Poly1305 of many packets, one packet after the other. Included inside the namespace of a kernel, after its
// authenticators.

/// Computes the tags of a batch.
WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    for (packet_tag& packet : packets) make_tag(packet);
}
