// SPDX-License-Identifier: BSL-1.0
// Handshake messages that wait for their turn, and whether there are so many that the device is under load
// (whitepaper 5.3; Linux: an eighth of the queue, and for a second after). Layer 4; one thread at a time.
#ifndef WG_DEVICE_HANDSHAKE_QUEUE_HPP
#define WG_DEVICE_HANDSHAKE_QUEUE_HPP

#include "../base/limits.hpp"
#include "../base/packet.hpp"
#include "../protocol/messages.hpp"
#include "few.hpp"

#include <algorithm>

namespace wg::inline WG_ABI {

/// A message as it came: an initiation, a response or a cookie reply, its length checked.
struct waiting_handshake {
    byte_array<initiation_layout::size> bytes_{};
    std::uint8_t length = 0;
    path where{};

    bytes_view message() const noexcept { return bytes_view(bytes_).first(length); }
};

template <class Storage> class handshake_queue {
    static constexpr std::size_t capacity = Storage::max_queued_handshakes;
    static_assert(capacity != 0 && (capacity & (capacity - 1)) == 0);

public:
    explicit handshake_queue(Storage& storage) noexcept : storage_(storage), ring_(storage) {}

    /// False: the queue is full, or there is no memory for it.
    bool push(bytes_view message, path const& where, moment now) noexcept {
        if (size() == ring_.view().size() && !grow()) return false;
        waiting_handshake& slot = ring_.view()[pushed_++ & (ring_.view().size() - 1)];
        std::memcpy(slot.bytes_.data(), message.data(), message.size());
        slot.length = static_cast<std::uint8_t>(message.size());
        slot.where = where;
        if (size() >= load_threshold) set_after<under_load_linger>(loaded_until_, now);
        return true;
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
    void note_answer(moment now) noexcept {
        if (passed<seconds(1)>(window_, now)) {
            window_ = now;
            answers_ = 0;
        }
        if (++answers_ > max_answers_per_second) set_after<under_load_linger>(loaded_until_, now);
    }

    bool under_load(moment now) const noexcept { return !passed(loaded_until_, now); }
    std::size_t size() const noexcept { return pushed_ - popped_; }

private:
    //= linux: under load is an eighth of the queue, and a second after
    static constexpr std::size_t load_threshold = std::max<std::size_t>(2, capacity / 8);
    static constexpr std::uint32_t max_answers_per_second = capacity >= 64 ? UINT32_MAX : 10;

    using array = few_or_array<Storage, waiting_handshake, capacity>;
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
    instant loaded_until_{};
    instant window_{};
    array ring_;
};

} // namespace wg::inline WG_ABI

#endif
