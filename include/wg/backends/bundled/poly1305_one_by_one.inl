// SPDX-License-Identifier: BSL-1.0
// Poly1305 of a kernel that has nothing better than whole registers. Text for its namespace.

using lanes_authenticator = scalar_authenticator;

WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    for (packet_tag& packet : packets) make_tag<scalar_authenticator>(packet);
}
