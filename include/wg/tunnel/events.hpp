// SPDX-License-Identifier: BSL-1.0
// A function that is called when something has changed. Folder: tunnel.
#ifndef WG_TUNNEL_EVENTS_HPP
#define WG_TUNNEL_EVENTS_HPP

#include "../base/abi.hpp"

namespace wg { inline namespace WG_ABI {

/// A function and its argument; without a function, the call does nothing.
struct event {
    void (*function)(void* context) noexcept = nullptr; ///< what is called
    void* context = nullptr;                            ///< its argument

    /// Calls the function.
    void operator()() const noexcept {
        if (function != nullptr) function(context);
    }
};

}} // namespace wg::WG_ABI

#endif
