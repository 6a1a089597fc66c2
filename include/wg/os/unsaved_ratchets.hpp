// SPDX-License-Identifier: BSL-1.0
// For hosts without a place for the ratchets of preshared keys: after a restart, a ratchet begins again at the
// configured key. Folder: os. Any thread.
#ifndef WG_OS_UNSAVED_RATCHETS_HPP
#define WG_OS_UNSAVED_RATCHETS_HPP

#include "../policy.hpp"
#include "error_text.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

/// Models `ratchet_storage`, and stores nothing.
struct unsaved_ratchets {
    static constexpr bool exists = false; ///< there are no files

    /// Returns: not_supported.
    static result<unsaved_ratchets> in(char const*, std::string_view, error_text& why) noexcept {
        why.set("this system has no place for replaced preshared keys");
        return status::not_supported;
    }
    /// Returns: false.
    bool load(public_key const&, std::span<byte, ratchet_record_bytes>) noexcept { return false; }
    /// Returns: true, so that the device does not try again.
    bool store(public_key const&, std::span<byte const, ratchet_record_bytes>) noexcept { return true; }
    /// Does nothing.
    void erase(public_key const&) noexcept {}
};
static_assert(ratchet_storage<unsaved_ratchets>);

}}} // namespace wg::WG_ABI::os

#endif
