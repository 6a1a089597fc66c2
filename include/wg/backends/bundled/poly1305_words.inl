// SPDX-License-Identifier: BSL-1.0
// Poly1305 of a kernel that has no Poly1305 in lanes: it uses general-purpose registers for packets of all sizes.
// Included inside the namespace of the kernel, after poly1305_scalar.inl.

/// The authenticator for long packets.
using lanes_authenticator = scalar_authenticator;

/// Computes the tag of a packet.
WG_TARGET void make_tag(packet_tag& packet) noexcept { make_tag<scalar_authenticator>(packet); }
