// SPDX-License-Identifier: BSL-1.0
// Observers: one that ignores events, one that calls a function, and one that passes all to two others.
// Folder: backends; called by the thread that caused the event.
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

/// Passes everything to two observers, of which each gets what it takes: an observer of events and a capture, or a
/// capture and a key log.
template <observer First, observer Second> class observer_pair {
public:
    /// Whether one of the two takes events.
    static constexpr bool enabled = First::enabled || Second::enabled;

    /// Two default-constructed observers.
    observer_pair() noexcept = default;
    /// These two observers.
    observer_pair(First first, Second second) noexcept : first_(std::move(first)), second_(std::move(second)) {}

    /// Passes an event on.
    void event(event_id id, std::uint32_t peer_number, std::uint64_t value) noexcept {
        if constexpr (First::enabled) first_.event(id, peer_number, value);
        if constexpr (Second::enabled) second_.event(id, peer_number, value);
    }
    /// Passes an event on, with the key to those that take it.
    void event(event_id id, std::uint32_t peer_number, std::uint64_t value, public_key const& key) noexcept
        requires(observer_with_key<First> || observer_with_key<Second>)
    {
        pass(first_, id, peer_number, value, key);
        pass(second_, id, peer_number, value, key);
    }
    /// Passes a packet on.
    void packet(seen_packet const& seen) noexcept
        requires(observer_with_packets<First> || observer_with_packets<Second>)
    {
        if constexpr (observer_with_packets<First>) first_.packet(seen);
        if constexpr (observer_with_packets<Second>) second_.packet(seen);
    }
    /// Passes the secrets of a handshake on.
    void handshake(handshake_secrets const& secrets) noexcept
        requires(observer_with_secrets<First> || observer_with_secrets<Second>)
    {
        if constexpr (observer_with_secrets<First>) first_.handshake(secrets);
        if constexpr (observer_with_secrets<Second>) second_.handshake(secrets);
    }

private:
    template <class To>
    static void pass(To& to, event_id id, std::uint32_t peer_number, std::uint64_t value,
                     public_key const& key) noexcept {
        if constexpr (!To::enabled) return;
        else if constexpr (observer_with_key<To>) to.event(id, peer_number, value, key);
        else to.event(id, peer_number, value);
    }

    [[no_unique_address]] First first_{};
    [[no_unique_address]] Second second_{};
};
static_assert(observer<observer_pair<no_observer, function_observer>>);

}} // namespace wg::WG_ABI

#endif
