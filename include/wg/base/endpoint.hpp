// SPDX-License-Identifier: BSL-1.0
// Addresses of hosts, of networks, and of the two ends of a datagram. Folder: base. Plain values.
#ifndef WG_BASE_ENDPOINT_HPP
#define WG_BASE_ENDPOINT_HPP

#include "bytes.hpp"

namespace wg { inline namespace WG_ABI {

/// The IP version; the value is the version number.
enum class family : std::uint8_t {
    none = 0, ///< no address
    v4 = 4,   ///< IPv4
    v6 = 6    ///< IPv6
};

/// An IPv4 or IPv6 address in network order; IPv4 takes the first 4 bytes and leaves the others zero.
struct ip_address {
    byte_array<16> octets{};    ///< the address; IPv4: in the first 4 bytes
    family kind = family::none; ///< the IP version

    /// The IPv4 address a.b.c.d.
    static constexpr ip_address v4(byte a, byte b, byte c, byte d) noexcept { return {{a, b, c, d}, family::v4}; }
    /// Copies an address from a packet. `from` holds 4 bytes for `family::v4`, 16 for `family::v6`.
    static ip_address of(family kind, byte const* from) noexcept {
        ip_address address{{}, kind};
        std::memcpy(address.octets.data(), from, kind == family::v4 ? 4 : 16);
        return address;
    }

    /// The length of the address in bits; 0 for `family::none`.
    constexpr unsigned bits() const noexcept { return kind == family::v4 ? 32 : kind == family::v6 ? 128 : 0; }
    /// The 4 or 16 bytes of the address.
    bytes_view view() const noexcept { return bytes_view(octets).first(bits() / 8); }
    friend constexpr bool operator==(ip_address const& a, ip_address const& b) noexcept {
        if (a.kind != b.kind) return false;
        if (std::is_constant_evaluated()) return a.octets == b.octets;
        return std::memcmp(a.octets.data(), b.octets.data(), 16) == 0; // a constant length: compilers emit no call
    }
};

/// A network: the first `bits` bits of `address`; the others are zero.
struct ip_prefix {
    ip_address address{};  ///< the first address of the network
    std::uint8_t bits = 0; ///< the length of the prefix, 0 to 32 or 128

    /// The network of `bits` bits that contains `address`: clears the host bits. `bits` is at most `address.bits()`.
    static constexpr ip_prefix of(ip_address address, unsigned bits) noexcept {
        WG_ASSERT(bits <= address.bits());
        for (unsigned i = 0; i < 16; ++i) {
            unsigned const keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;
            address.octets[i] = static_cast<byte>(address.octets[i] & (0xff00u >> keep));
        }
        return {address, static_cast<std::uint8_t>(bits)};
    }
    friend constexpr bool operator==(ip_prefix const&, ip_prefix const&) noexcept = default;
};

/// The address and the port of one end of a UDP flow.
struct endpoint {
    ip_address address{};       ///< `family::none`: not known
    std::uint16_t port = 0;     ///< UDP port
    std::uint32_t scope_id = 0; ///< the interface of a link-local IPv6 address, else 0

    /// Whether there is an address.
    constexpr explicit operator bool() const noexcept { return address.kind != family::none; }
    /// The same endpoint, but an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) as IPv4: a datagram to that address is an
    /// IPv4 datagram, and sockets of IPv6 alone refuse to send it.
    constexpr endpoint unmapped() const noexcept {
        if (address.kind != family::v6 || address.octets[10] != 0xff || address.octets[11] != 0xff) return *this;
        for (std::size_t i = 0; i < 10; ++i)
            if (address.octets[i] != 0) return *this;
        return {ip_address::v4(address.octets[12], address.octets[13], address.octets[14], address.octets[15]), port,
                0};
    }
    WG_OUTLINE friend constexpr bool operator==(endpoint const&, endpoint const&) noexcept = default;
};

/// The local address and interface that a peer's datagrams arrive at, and that answers leave from ("sticky source").
/// The default, none, leaves the choice to the host's routes. A bare node has one address, so it stores nothing.
#ifdef WG_BARE
struct local_source {
    constexpr local_source() noexcept = default;
    constexpr local_source(ip_address const&, std::uint32_t) noexcept {}
    friend constexpr bool operator==(local_source, local_source) noexcept { return true; }
};
#else
struct local_source {
    ip_address address{};              ///< `family::none`: the host chooses the address
    std::uint32_t interface_index = 0; ///< the host's number of the interface; 0: the host chooses it

    friend constexpr bool operator==(local_source const&, local_source const&) noexcept = default;
};
#endif

/// Both ends of a datagram.
struct path {
    endpoint remote{};                          ///< the end of the peer
    [[no_unique_address]] local_source local{}; ///< the end of this host

    friend constexpr bool operator==(path const&, path const&) noexcept = default;
};

}} // namespace wg::WG_ABI

#endif
