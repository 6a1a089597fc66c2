// SPDX-License-Identifier: BSL-1.0
// Observers: one that ignores events, and one that calls a function. Folder: backends; called by the thread that caused
// the event.
#ifndef WG_BACKENDS_OBSERVERS_HPP
#define WG_BACKENDS_OBSERVERS_HPP

#include "../policy.hpp"

namespace wg { inline namespace WG_ABI {

/// Ignores events: the calls are removed at compile time.
struct no_observer {
    /// Events are not reported.
    static constexpr bool enabled = false;
    /// Never called.
    constexpr void event(event_id, std::uint32_t, std::uint64_t) noexcept {}
};
static_assert(observer<no_observer>);

/// Calls `function(context, id, peer_number, value)` for each event.
struct function_observer {
    /// Events are reported.
    static constexpr bool enabled = true;
    /// A function of the program. Several threads may call it at once if the device's `threads` policy is parallel.
    using function_type = void (*)(void* context, event_id, std::uint32_t peer_number, std::uint64_t value) noexcept;

    function_type function = nullptr; ///< nullptr: events are ignored
    void* context = nullptr;          ///< the first argument of `function`

    /// Calls the function.
    void event(event_id id, std::uint32_t peer_number, std::uint64_t value) noexcept {
        if (function != nullptr) function(context, id, peer_number, value);
    }
};
static_assert(observer<function_observer>);

}} // namespace wg::WG_ABI

#endif
