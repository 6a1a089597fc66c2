// SPDX-License-Identifier: BSL-1.0
// Observers: nobody, or a function of the host. Layer 2; called by whichever thread caused the event.
#ifndef WG_BACKENDS_OBSERVERS_HPP
#define WG_BACKENDS_OBSERVERS_HPP

#include "../policy.hpp"

namespace wg { inline namespace WG_ABI {

/// Nobody looks: the calls vanish.
struct no_observer {
    static constexpr bool enabled = false;
    constexpr void event(event_id, std::uint32_t, std::uint64_t) noexcept {}
};
static_assert(observer<no_observer>);

/// Calls `function(context, id, peer_number, value)`, or nothing while there is none.
struct function_observer {
    static constexpr bool enabled = true;
    using function_type = void (*)(void* context, event_id, std::uint32_t peer_number, std::uint64_t value) noexcept;

    function_type function = nullptr;
    void* context = nullptr;

    void event(event_id id, std::uint32_t peer_number, std::uint64_t value) noexcept {
        if (function != nullptr) function(context, id, peer_number, value);
    }
};
static_assert(observer<function_observer>);

}} // namespace wg::WG_ABI

#endif
