// SPDX-License-Identifier: BSL-1.0
// The queue of received handshake messages, and whether the device is under load (whitepaper 5.3). Folder: device.
// One thread at a time.
//
// The whitepaper does not define load. In Linux load begins when the queue is an eighth full. That is 512 messages,
// which a processor core answers in 25 ms; peers behind one NAT that return together send more. Here load begins when a
// long queue is full, or when its oldest message has waited for half a second. So load depends on how long the work
// takes on this machine, and on whether the processor has time for it. Load lasts for a second after its cause, as in
// Linux. It lasts longer if enough messages to fill the queue are refused in that second.
#ifndef WG_DEVICE_HANDSHAKE_QUEUE_HPP
#define WG_DEVICE_HANDSHAKE_QUEUE_HPP

#include "../base/limits.hpp"
#include "../base/packet.hpp"
#include "../protocol/messages.hpp"
#include "linear.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI {

/// The result of checking a message under load, before it was queued.
enum class cookie_check : std::uint8_t {
    none,   ///< not checked: there was no load
    proven, ///< mac2 is right, and the source is within its rate
    wanted, ///< the sender gets a cookie reply
};

/// A received initiation, response or cookie reply. Its length is checked.
struct waiting_handshake {
    byte_array<initiation_layout::size> bytes_{}; ///< the message, in the first `length` bytes
    std::uint8_t length = 0;                      ///< bytes of the message
    cookie_check check = cookie_check::none;      ///< the result of the check before it was queued
    path where{};                                 ///< the ends of its datagram
    instant arrived{};                            ///< when it was queued

    /// The bytes of the message.
    bytes_view message() const noexcept { return bytes_view(bytes_).first(length); }
};

/// The queue: first in, first out.
template <class Storage> class handshake_queue {
    static constexpr std::size_t capacity = Storage::max_queued_handshakes;
    static_assert(capacity != 0 && (capacity & (capacity - 1)) == 0);

public:
    /// An empty queue. Its memory comes from `storage`.
    explicit handshake_queue(Storage& storage) noexcept : storage_(storage), ring_(storage) {}

    /// Adds a message. Returns: false if the queue is full, or there is no memory for it.
    bool push(bytes_view message, path const& where, instant_argument now,
              cookie_check check = cookie_check::none) noexcept {
        bool const has_room = size() != ring_.view().size() || grow();
        if (has_room) {
            waiting_handshake& slot = ring_.view()[pushed_++ & (ring_.view().size() - 1)];
            std::memcpy(slot.bytes_.data(), message.data(), message.size());
            slot.length = static_cast<std::uint8_t>(message.size());
            slot.check = check;
            slot.where = where;
            slot.arrived = now;
        }
        if (is_overdue(now)) begin_load(now);
        return has_room;
    }

    /// The oldest message; the queue is not empty. Valid until `pop`.
    waiting_handshake const& oldest() noexcept { return ring_.view()[popped_ & (ring_.view().size() - 1)]; }
    /// The oldest message, or nullptr if the queue is empty.
    waiting_handshake const* front() noexcept { return at(0); }
    /// The message at `place`, or nullptr; the oldest one is at 0.
    waiting_handshake const* at(std::size_t place) noexcept {
        return place < size() ? &ring_.view()[(popped_ + place) & (ring_.view().size() - 1)] : nullptr;
    }
    /// Removes the oldest message; the queue is not empty.
    void pop() noexcept { ++popped_; }

    /// Notes a message that costs DH operations. A short queue is rarely full, so more of these messages in a second
    /// than `max_answers_per_second` begin load, too.
    void note_answer(instant_argument now) noexcept {
        if (passed<seconds(1)>(window_, now)) {
            window_ = now;
            answers_ = 0;
        }
        if (++answers_ > max_answers_per_second) begin_load(now);
    }

    /// Notes a message that is refused under load, or answered by a cookie reply. Enough of these messages to fill the
    /// queue prolong load.
    void note_refusal(instant_argument now) noexcept {
        if (++refusals_ >= capacity) begin_load(now);
    }

    /// Whether there is load now.
    bool under_load(instant_argument now) const noexcept { return !passed(loaded_until_, now); }
    /// The number of messages.
    std::size_t size() const noexcept { return pushed_ - popped_; }
    /// Whether half of the capacity is used.
    bool is_half_full() const noexcept { return size() >= capacity / 2; }

private:
    /// The length of a short queue does not show how long the work takes. A short queue is under load if it holds two
    /// messages, or after many calls of `note_answer`.
    static constexpr bool is_short = capacity < 64;
    static constexpr std::size_t load_threshold = is_short ? 2 : capacity;
    static constexpr std::uint32_t max_answers_per_second = is_short ? 10 : UINT32_MAX;
    static constexpr duration max_wait = milliseconds(500);

    bool is_overdue(instant_argument now) noexcept {
        if (size() >= load_threshold) return true;
        if constexpr (is_short) return false;
        return size() != 0 && passed<max_wait>(oldest().arrived, now);
    }
    //= linux: load lasts for a second after its cause
    void begin_load(instant_argument now) noexcept {
        set_after<under_load_linger>(loaded_until_, now);
        refusals_ = 0;
    }

    using array = inline_or_array<Storage, waiting_handshake, capacity>;
    /// An array with its elements in place has a fixed size.
    static constexpr bool grows = capacity > 16 && sizeof(array) < sizeof(waiting_handshake);
    static constexpr std::size_t first_size = grows ? 16 : capacity;

    /// Doubles the room, up to the capacity. A host that is not flooded needs room for a few messages only.
    bool grow() noexcept {
        std::size_t const room = ring_.view().size(), count = size();
        if (room == 0) return ring_.resize(first_size);
        if (room == capacity) return false;
        if constexpr (grows) {
            array larger(storage_);
            if (!larger.resize(2 * room)) return false;
            for (std::size_t i = 0; i < count; ++i) larger.view()[i] = *at(i);
            ring_ = std::move(larger);
            popped_ = 0;
            pushed_ = count;
        }
        return true;
    }

    Storage& storage_;
    std::size_t pushed_ = 0, popped_ = 0;
    std::uint32_t answers_ = 0;
    std::uint32_t refusals_ = 0;
    instant loaded_until_{};
    instant window_{};
    array ring_;
};

}} // namespace wg::WG_ABI

#endif
