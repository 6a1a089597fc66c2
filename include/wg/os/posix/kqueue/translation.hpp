// SPDX-License-Identifier: BSL-1.0
// Events of kqueue(2) in the form of each system: the structures and the numbers of the systems differ.
// Folder: os/posix/kqueue. Pure; any thread.
#ifndef WG_OS_POSIX_KQUEUE_TRANSLATION_HPP
#define WG_OS_POSIX_KQUEUE_TRANSLATION_HPP

#include "queue.hpp"

#include <time.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The numbers of a system's kqueue.
struct kqueue_numbers {
    std::int64_t read = 0;           ///< EVFILT_READ
    std::int64_t write = 0;          ///< EVFILT_WRITE
    std::int64_t vnode = 0;          ///< EVFILT_VNODE
    std::int64_t timer = 0;          ///< EVFILT_TIMER
    std::int64_t user = 0;           ///< EVFILT_USER
    bool has_user = false;           ///< the system has EVFILT_USER
    std::uint32_t add = 0;           ///< EV_ADD
    std::uint32_t erase = 0;         ///< EV_DELETE
    std::uint32_t enable = 0;        ///< EV_ENABLE
    std::uint32_t dispatch = 0;      ///< EV_DISPATCH
    std::uint32_t clear = 0;         ///< EV_CLEAR
    std::uint32_t trigger = 0;       ///< NOTE_TRIGGER
    std::uint32_t entry_changed = 0; ///< NOTE_WRITE | NOTE_DELETE | NOTE_RENAME: of a directory
    std::uint32_t timer_ms = 1000;   ///< the period of `event_kind::second` in the unit of EVFILT_TIMER
};

/// Fills `event`, the system's struct kevent, for a change. Returns: false if the system has no such event.
template <class Event>
bool fill_event(kqueue_numbers const& n, Event& event, event_kind kind, std::uintptr_t source, event_action action,
                std::uint64_t number) noexcept {
    event = {};
    std::int64_t filter = n.read;
    std::uint32_t fflags = 0;
    std::int64_t data = 0;
    switch (kind) {
    case event_kind::readable: break;
    case event_kind::writable: filter = n.write; break;
    case event_kind::file:
        filter = n.vnode;
        fflags = n.entry_changed;
        break;
    case event_kind::second:
        filter = n.timer;
        data = n.timer_ms;
        break;
    case event_kind::user:
        if (!n.has_user) return false;
        filter = n.user;
        break;
    case event_kind::other: return false;
    }
    std::uint32_t flags = 0;
    switch (action) {
    case event_action::add: flags = n.add; break;
    case event_action::add_once: flags = n.add | n.dispatch; break;
    case event_action::add_edge: flags = n.add | n.clear; break;
    case event_action::enable: flags = n.enable; break;
    case event_action::remove: flags = n.erase; break;
    case event_action::trigger:
        if (kind != event_kind::user) return false;
        fflags = n.trigger;
        break;
    }
    event.ident = source;
    event.filter = static_cast<decltype(event.filter)>(filter);
    event.flags = static_cast<decltype(event.flags)>(flags);
    event.fflags = static_cast<decltype(event.fflags)>(fflags);
    event.data = static_cast<decltype(event.data)>(data);
    // Systems pass the number through a pointer, which has 32 bits on some of them.
    event.udata = reinterpret_cast<decltype(event.udata)>(static_cast<std::uintptr_t>(number));
    return true;
}

/// Reads an event that the system reported. An error (EV_ERROR) is reported as its event, because a read then finds it.
template <class Event> queue_event read_event(kqueue_numbers const& n, Event const& event) noexcept {
    event_kind kind = event_kind::other;
    auto const is = [&](std::int64_t filter) { return event.filter == static_cast<decltype(event.filter)>(filter); };
    if (is(n.read)) kind = event_kind::readable;
    else if (is(n.write)) kind = event_kind::writable;
    else if (is(n.vnode)) kind = event_kind::file;
    else if (is(n.timer)) kind = event_kind::second;
    else if (n.has_user && is(n.user)) kind = event_kind::user;
    return {static_cast<std::uintptr_t>(event.ident), kind, reinterpret_cast<std::uintptr_t>(event.udata)};
}

/// A timeout as the system wants it: not negative, and not longer than a day, which a time_t of 32 bits holds.
constexpr timespec timeout_of(duration left) noexcept {
    constexpr duration longest = seconds(86400);
    if (left < duration{}) left = {};
    if (left > longest) left = longest;
    timespec at_most{};
    at_most.tv_sec = static_cast<time_t>(left.nanoseconds / 1'000'000'000);
    at_most.tv_nsec = static_cast<long>(left.nanoseconds % 1'000'000'000);
    return at_most;
}

}}}} // namespace wg::WG_ABI::os::posix

#endif
