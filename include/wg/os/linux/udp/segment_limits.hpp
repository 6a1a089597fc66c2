// SPDX-License-Identifier: BSL-1.0
// Remembers which sizes of segments the kernel refused on the way to which destination. The kernel refuses to cut a
// message (UDP_SEGMENT) whose segments are longer than the path MTU, but fragments a datagram of that size.
// Folder: os/linux/udp. One thread at a time.
#ifndef WG_OS_LINUX_UDP_SEGMENT_LIMITS_HPP
#define WG_OS_LINUX_UDP_SEGMENT_LIMITS_HPP

#include "../../../base/endpoint.hpp"

#include <algorithm>
#include <array>

namespace wg { inline namespace WG_ABI { namespace os {

/// Remembers 64 destinations at most. Where one destination takes the place of another, one more attempt is made.
class segment_limits {
public:
    /// Notes that the kernel refused segments of `bytes` on the way to `remote`.
    void refuse(ip_address const& remote, std::size_t bytes) noexcept {
        entry& e = entries_[place(remote)];
        if (e.remote == remote && e.refused_bytes <= bytes) return;
        e = {remote, static_cast<std::uint16_t>((std::min<std::size_t>)(bytes, 0xffff))};
        empty_ = false;
    }

    /// Whether the kernel has refused segments of `bytes`, or shorter ones, on the way to `remote`.
    bool refused(ip_address const& remote, std::size_t bytes) const noexcept {
        if (empty_) return false;
        entry const& e = entries_[place(remote)];
        return e.remote == remote && bytes >= e.refused_bytes;
    }

    /// Forgets all destinations.
    void forget() noexcept {
        if (!empty_) *this = {};
    }

private:
    struct entry {
        ip_address remote{};
        std::uint16_t refused_bytes = 0; ///< the shortest refused size
    };

    static std::size_t place(ip_address const& remote) noexcept {
        byte const* const o = remote.octets.data();
        std::uint32_t const spread =
            (load_le32(o) ^ load_le32(o + 4) ^ load_le32(o + 8) ^ load_le32(o + 12)) * 0x9e3779b1u;
        return spread >> 26;
    }

    std::array<entry, 64> entries_{};
    bool empty_ = true;
};

}}} // namespace wg::WG_ABI::os

#endif
