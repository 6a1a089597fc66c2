// SPDX-License-Identifier: BSL-1.0
// Poly1305 of a kernel that has nothing better than whole registers. Text for its namespace, after poly1305_scalar.inl.

using lanes_authenticator = scalar_authenticator;

WG_TARGET void make_tag(packet_tag& packet) noexcept { make_tag<scalar_authenticator>(packet); }
