// SPDX-License-Identifier: BSL-1.0
// Handshake messages that wait for their turn, and whether there are so many that the device is under load
// (whitepaper 5.3). Layer 4; one thread at a time.
//
// The whitepaper leaves open what load is. Linux takes a queue that is an eighth full. That is 512 messages, which a
// processor core answers in 25 ms, and peers behind one NAT that return together are more. Here a long queue is under
// load when it is full, or when its oldest message has waited for half a second: so load is judged by how long the
// work takes on this machine, and whether the processor has time for it. Load lasts for a second after that, as in
// Linux, and longer while as many messages as fill a queue are refused in that second.
#ifndef WG_DEVICE_HANDSHAKE_QUEUE_HPP
#define WG_DEVICE_HANDSHAKE_QUEUE_HPP

#include "../base/limits.hpp"
#include "../base/packet.hpp"
#include "../protocol/messages.hpp"
#include "linear.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI {

/// What was found out about a message under load, before it was queued.
enum class cookie_check : std::uint8_t {
    none,   ///< nothing yet: there was no load
    proven, ///< the sender has a valid cookie, and its source has not sent too much
    wanted, ///< the sender is to be sent a cookie
};

/// A message as it came: an initiation, a response or a cookie reply, its length checked.
struct waiting_handshake {
    byte_array<initiation_layout::size> bytes_{};
    std::uint8_t length = 0;
    cookie_check check = cookie_check::none;
    path where{};
    instant arrived{};

    bytes_view message() const noexcept { return bytes_view(bytes_).first(length); }
};

template <class Storage> class handshake_queue {
    static constexpr std::size_t capacity = Storage::max_queued_handshakes;
    static_assert(capacity != 0 && (capacity & (capacity - 1)) == 0);

public:
    explicit handshake_queue(Storage& storage) noexcept : storage_(storage), ring_(storage) {}

    /// False: the queue is full, or there is no memory for it.
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

    /// The oldest message, of which there is one; valid until `pop`.
    waiting_handshake const& oldest() noexcept { return ring_.view()[popped_ & (ring_.view().size() - 1)]; }
    /// The same, or nullptr: none.
    waiting_handshake const* front() noexcept { return at(0); }
    /// The oldest but `place`.
    waiting_handshake const* at(std::size_t place) noexcept {
        return place < size() ? &ring_.view()[(popped_ + place) & (ring_.view().size() - 1)] : nullptr;
    }
    void pop() noexcept { ++popped_; }

    /// An initiation or response costs DH operations. A queue of a few messages never looks full, so that more of
    /// these in a second than `max_answers_per_second` count as load too.
    void note_answer(instant_argument now) noexcept {
        if (passed<seconds(1)>(window_, now)) {
            window_ = now;
            answers_ = 0;
        }
        if (++answers_ > max_answers_per_second) begin_load(now);
    }

    /// A message was refused under load, or is answered by a cookie reply. A queue full of them makes load last.
    void note_refusal(instant_argument now) noexcept {
        if (++refusals_ >= capacity) begin_load(now);
    }

    bool under_load(instant_argument now) const noexcept { return !passed(loaded_until_, now); }
    std::size_t size() const noexcept { return pushed_ - popped_; }
    bool is_half_full() const noexcept { return size() >= capacity / 2; }

private:
    /// A queue of a few messages says nothing of how long the work takes: there two waiting messages are load, or the
    /// answers of `note_answer`.
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
    /// An array that has its elements inside is as large as it will ever be.
    static constexpr bool grows = capacity > 16 && sizeof(array) < sizeof(waiting_handshake);
    static constexpr std::size_t first_size = grows ? 16 : capacity;

    /// Makes room for twice as many: a host that nobody floods has a few messages here and no more.
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
