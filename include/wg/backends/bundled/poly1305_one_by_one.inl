// SPDX-License-Identifier: BSL-1.0
// Poly1305 of many packets, one after the other. Text for a kernel's namespace, after its authenticators.

WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    for (packet_tag& packet : packets) make_tag(packet);
}
