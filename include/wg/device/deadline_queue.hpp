// SPDX-License-Identifier: BSL-1.0
// Peers by deadline: a binary heap. Folder: device; one thread at a time.
//
// A deadline that moves to a later instant costs nothing: the peer keeps its place, and its timers run early once.
#ifndef WG_DEVICE_DEADLINE_QUEUE_HPP
#define WG_DEVICE_DEADLINE_QUEUE_HPP

#include "../base/bytes.hpp"
#include "../base/time.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace wg { inline namespace WG_ABI {

/// A queue of peers. `Peer` has a member `std::uint32_t deadline_position`, which is `not_queued` at first.
template <class Peer, class Storage> class deadline_queue {
public:
    static constexpr std::uint32_t not_queued = UINT32_MAX; ///< the position of a peer that is not in the queue

    /// The heap's memory comes from `storage`.
    explicit deadline_queue(Storage& storage) noexcept : heap_(storage) {
        if constexpr (Storage::max_peers != 0) (void)heap_.resize(Storage::max_peers);
    }

    /// Takes memory for `count` peers in all. Returns: false, and changes nothing, if there is no memory.
    bool reserve(std::size_t count, Storage& storage) noexcept {
        if (count <= heap_.view().size()) return true;
        if constexpr (Storage::max_peers == 0) {
            array larger(storage);
            if (!larger.resize(std::bit_ceil(count))) return false;
            for (std::size_t i = 0; i < size_; ++i) larger.view()[i] = heap_.view()[i];
            heap_ = std::move(larger);
            return true;
        }
        return false;
    }

    /// Puts `peer` into the queue, or moves it forward, so that it is taken out by `deadline` at the latest.
    void schedule(Peer& peer, instant deadline) noexcept {
        std::span<entry> const heap = heap_.view();
        if (peer.deadline_position == not_queued) {
            if (deadline == instant::never()) return;
            peer.deadline_position = converted<std::uint32_t>(size_);
            heap[size_++] = {deadline, &peer};
            rise(peer.deadline_position);
        } else if (deadline < heap[peer.deadline_position].due) {
            heap[peer.deadline_position].due = deadline;
            rise(peer.deadline_position);
        }
    }

    /// Removes `peer`, if it is queued.
    void remove(Peer& peer) noexcept {
        if (peer.deadline_position == not_queued) return;
        std::span<entry> const heap = heap_.view();
        std::size_t const hole = std::exchange(peer.deadline_position, not_queued);
        if (hole != --size_) {
            place(hole, heap[size_]);
            rise(hole);
            sink(heap_.view()[hole].peer->deadline_position);
        }
    }

    /// The earliest deadline; never if the queue is empty.
    instant next() noexcept { return size_ == 0 ? instant::never() : heap_.view()[0].due; }

    /// Takes out a peer with a deadline that has passed; nullptr: none.
    Peer* take_due(instant_argument now) noexcept {
        if (next() > now) return nullptr;
        if (size_ == 0) return nullptr;
        Peer* const peer = heap_.view()[0].peer;
        remove(*peer);
        return peer;
    }

    /// Takes out each peer with a deadline that has passed, and calls `run(Peer&)`, which may put it back.
    template <class Run> void run_due(instant_argument now, Run const& run) noexcept {
        while (Peer* const due = take_due(now)) run(*due);
    }

private:
    struct entry {
        instant due{};
        Peer* peer = nullptr;
    };
    using array = typename Storage::template array<entry, Storage::max_peers>;

    void place(std::size_t at, entry const& e) noexcept {
        heap_.view()[at] = e;
        e.peer->deadline_position = converted<std::uint32_t>(at);
    }
    void rise(std::size_t at) noexcept {
        entry const moving = heap_.view()[at];
        while (at != 0 && moving.due < heap_.view()[(at - 1) / 2].due) {
            place(at, heap_.view()[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        place(at, moving);
    }
    void sink(std::size_t at) noexcept {
        entry const moving = heap_.view()[at];
        for (std::size_t child = 2 * at + 1; child < size_; child = 2 * at + 1) {
            if (child + 1 < size_ && heap_.view()[child + 1].due < heap_.view()[child].due) ++child;
            if (moving.due <= heap_.view()[child].due) break;
            place(at, heap_.view()[child]);
            at = child;
        }
        place(at, moving);
    }

    array heap_;
    std::size_t size_ = 0;
};

}} // namespace wg::WG_ABI

#endif
