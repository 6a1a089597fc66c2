// SPDX-License-Identifier: BSL-1.0
// Events of a device, from the thread of the engine to the thread that calls the user's function. Folder: lib.
#ifndef WG_LIB_EVENTS_HPP
#define WG_LIB_EVENTS_HPP

#include "values.hpp"

#include <wg/default_policies.hpp>
#include <wg/tunnel/events.hpp>

#include <array>
#include <cstring>
#include <mutex>

namespace wg { inline namespace WG_ABI { namespace c {

/// Events that wait for the user's function. Bounded: what does not fit is counted. Any thread.
class event_queue {
public:
    static constexpr std::size_t most = 128; ///< events that wait

    wg::event added{}; ///< called after an event was added

    /// Adds an event.
    void add(wg_event_kind kind, std::uint64_t value, public_key const& peer) noexcept {
        {
            std::lock_guard const held(mutex_);
            if (count_ == most) {
                ++lost_;
                return;
            }
            wg_event& e = events_[(first_ + count_++) % most];
            e = {};
            e.size = sizeof e;
            e.kind = kind;
            e.value = value;
            std::memcpy(e.peer, peer.data(), sizeof e.peer);
        }
        added();
    }
    /// Takes the oldest event. Returns: false if there is none.
    bool take(wg_event& into) noexcept {
        std::lock_guard const held(mutex_);
        if (count_ != 0) {
            into = events_[first_];
            first_ = (first_ + 1) % most;
            --count_;
            return true;
        }
        if (lost_ == 0) return false;
        into = {};
        into.size = sizeof into;
        into.kind = WG_EVENT_LOST;
        into.value = std::exchange(lost_, 0u);
        return true;
    }

private:
    std::mutex mutex_;
    std::array<wg_event, most> events_{};
    std::size_t first_ = 0, count_ = 0;
    std::uint64_t lost_ = 0;
};

/// An observer that puts events into a queue. A device makes its observer itself, so the queue is the one that the
/// thread has chosen by `scope`.
class queue_observer {
public:
    static constexpr bool enabled = true; ///< events are made

    /// Refers to the chosen queue, or to none.
    queue_observer() noexcept : queue_(chosen) {}

    /// Without a key: no peer is concerned.
    void event(event_id, std::uint32_t, std::uint64_t) noexcept {}
    /// Adds the event, if the C interface has it.
    void event(event_id id, std::uint32_t, std::uint64_t, public_key const& key) noexcept {
        if (queue_ == nullptr) return;
        switch (id) {
        case event_id::session_started: return queue_->add(WG_EVENT_SESSION, 0, key);
        case event_id::handshake_given_up: return queue_->add(WG_EVENT_HANDSHAKE_FAILED, 0, key);
        case event_id::endpoint_changed: return queue_->add(WG_EVENT_ENDPOINT, 0, key);
        case event_id::peer_added: return queue_->add(WG_EVENT_PEER_ADDED, 0, key);
        case event_id::peer_removed: return queue_->add(WG_EVENT_PEER_REMOVED, 0, key);
        default: return;
        }
    }

    /// Chooses the queue of observers that this thread makes meanwhile; nullptr: none.
    class scope {
    public:
        explicit scope(event_queue* queue) noexcept { chosen = queue; }
        scope(scope const&) = delete;
        scope& operator=(scope const&) = delete;
        ~scope() { chosen = nullptr; }
    };

private:
    static inline thread_local event_queue* chosen = nullptr;
    event_queue* queue_;
};
static_assert(observer_with_key<queue_observer>);

}}} // namespace wg::WG_ABI::c

#endif
