// SPDX-License-Identifier: BSL-1.0
// The four bytes before each packet of a TUN device of macOS and the BSDs: the address family, big-endian (utun of
// macOS; tun(4) with TUNSIFHEAD; tun(4) of OpenBSD). Folder: os/posix/tun. Pure; any thread.
#ifndef WG_OS_POSIX_TUN_HEAD_HPP
#define WG_OS_POSIX_TUN_HEAD_HPP

#include "../../../base/bytes.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The length of the head in bytes.
inline constexpr std::size_t tun_head_bytes = 4;

/// The numbers of the address families, which differ between the systems.
struct tun_families {
    std::uint32_t v4 = 2;  ///< AF_INET
    std::uint32_t v6 = 10; ///< AF_INET6: 30 on macOS, 28 on FreeBSD, 24 on OpenBSD and NetBSD
};

/// Writes the head for `packet`. Returns: false if it is neither IPv4 nor IPv6.
inline bool write_head(bytes_view packet, tun_families const& families, std::span<byte, tun_head_bytes> head) noexcept {
    unsigned const version = packet.empty() ? 0 : packet[0] >> 4;
    if (version != 4 && version != 6) return false;
    store_be32(head.data(), version == 4 ? families.v4 : families.v6);
    return true;
}

/// The length in bytes that the header of an IP packet states; 0 if `packet` is too short to say, or no IP packet.
constexpr std::size_t stated_bytes(bytes_view packet) noexcept {
    if (packet.size() >= 4 && packet[0] >> 4 == 4) return load_be16(packet.data() + 2);
    if (packet.size() >= 6 && packet[0] >> 4 == 6) return std::size_t{40} + load_be16(packet.data() + 4);
    return 0;
}

}}}} // namespace wg::WG_ABI::os::posix

#endif
