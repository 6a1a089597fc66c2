// SPDX-License-Identifier: BSL-1.0
// The queues of a TUN interface. The host puts each flow into one of them. Because the queues are read in turn, a flow
// that fills its queue delays only the flows in the same queue, and a single packet need not wait behind a bulk
// transfer. Folder: os/linux/tun. Any thread once all queues are added.
#ifndef WG_OS_LINUX_TUN_TUN_QUEUES_HPP
#define WG_OS_LINUX_TUN_TUN_QUEUES_HPP

#include "../fd.hpp"
#include "flow.hpp"

#include <array>
#include <atomic>

namespace wg { inline namespace WG_ABI { namespace os {

/// The descriptors of an interface's queues, and which queue each flow uses.
class tun_queues {
public:
    static constexpr std::size_t most = 16; ///< queues that an object holds

    /// Has no queue.
    tun_queues() noexcept : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

    /// Adds a queue; there may be `most`. Returns: false if it cannot be watched; then `queue` stays as it is.
    bool add(unique_fd& queue) noexcept {
        WG_ASSERT(count_ < most);
        if (!epoll_ || !watch(epoll_.get(), queue.get(), EPOLLIN, count_)) return false;
        fds_[count_++] = std::move(queue);
        return true;
    }

    /// Prepares for several reading threads: from now on `ready` reports a queue to one thread only, until that thread
    /// calls `give_back`. So the packets of a queue stay in order. `claimed`: bits of the queues that `ready` has
    /// reported before.
    void share(std::uint32_t claimed) noexcept {
        if (shared_) return; // other threads may read `shared_`, so it is not written again
        shared_ = true;
        for (std::size_t i = 0; i < count_; ++i) {
            bool const free = (claimed >> i & 1) == 0;
            (void)watch(epoll_.get(), fds_[i].get(), (free ? std::uint32_t{EPOLLIN} : 0) | EPOLLONESHOT, i);
        }
    }

    /// The number of queues.
    std::size_t size() const noexcept { return count_; }
    /// The descriptor of a queue. Calls that concern the whole interface can use any queue.
    int operator[](std::size_t number) const noexcept { return fds_[number].get(); }
    /// A descriptor that polls readable when one of the queues does; -1 if no descriptors were left.
    int pollable() const noexcept { return epoll_.get(); }
    /// Gives up the only queue without closing it. Returns: its descriptor.
    int release() noexcept {
        (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fds_[0].get(), nullptr);
        return fds_[0].release();
    }

    /// Bits of the queues that have packets, or all if the interface is gone. Where several threads read, at most two
    /// queues are reported to one thread, so that other threads get queues as well.
    std::uint32_t ready() noexcept {
        if (count_ <= 1 && !shared_) return 1;
        epoll_event events[most];
        int const wanted = shared_ ? 2 : int{most};
        int const count = without_interruption([&] { return ::epoll_wait(epoll_.get(), events, wanted, 0); });
        std::uint32_t bits = 0;
        for (int i = 0; i < count; ++i) bits |= std::uint32_t{1} << events[i].data.u64;
        return bits;
    }
    /// Lets `ready` report these queues to any thread again.
    void give_back(std::uint32_t bits) noexcept {
        if (!shared_) return;
        for (std::size_t i = 0; bits != 0; ++i, bits >>= 1)
            if ((bits & 1) != 0) (void)watch(epoll_.get(), fds_[i].get(), EPOLLIN | EPOLLONESHOT, i);
    }

    /// Remembers that a packet of this flow was read from queue `number`. The host remembers for some seconds through
    /// which queue the packets of a flow were written, and puts the flow's packets into that queue; else it chooses a
    /// queue by a hash. If both directions use the same queue, the flow stays in it.
    void came_from(std::size_t number, bytes_view packet) noexcept {
        if (count_ <= 1) return;
        std::atomic<std::uint8_t>& known = queue_of_[flow_number(packet) % queue_of_.size()];
        auto const queue = static_cast<std::uint8_t>(number + 1);
        // All threads read this cache line, so it is written only if the value changes.
        if (known.load(std::memory_order_relaxed) != queue) known.store(queue, std::memory_order_relaxed);
    }
    /// The queue through which a packet of this flow must be written.
    std::size_t queue_for(bytes_view packet) const noexcept {
        if (count_ <= 1) return 0;
        std::uint32_t const flow = flow_number(packet);
        std::uint8_t const known = queue_of_[flow % queue_of_.size()].load(std::memory_order_relaxed);
        return known != 0 ? known - 1u : (flow >> 16) % count_;
    }

    /// How many small packets were alone in their queue when they were read. Their flows are no bulk transfers.
    std::uint32_t sparse_packets() const noexcept { return sparse_packets_.load(std::memory_order_relaxed); }
    /// Adds one to `sparse_packets`.
    void count_sparse_packet() noexcept { sparse_packets_.fetch_add(1, std::memory_order_relaxed); }

    /// The length in bytes of the longest packet since `forget_cuts` that did not fit its room; 0: there was none.
    std::size_t longest_cut() const noexcept { return longest_cut_.load(std::memory_order_relaxed); }
    /// Sets `longest_cut` to 0.
    void forget_cuts() noexcept { longest_cut_.store(0, std::memory_order_relaxed); }
    /// Notes a packet of this length that did not fit its room.
    void note_cut(std::size_t bytes) noexcept {
        auto const now = converted<std::uint32_t>(bytes);
        std::uint32_t before = longest_cut_.load(std::memory_order_relaxed);
        while (before < now && !longest_cut_.compare_exchange_weak(before, now, std::memory_order_relaxed)) {}
    }

private:
    unique_fd epoll_;
    std::array<unique_fd, most> fds_{};
    std::size_t count_ = 0;
    bool shared_ = false;                                    ///< written only while one thread reads
    std::array<std::atomic<std::uint8_t>, 1024> queue_of_{}; ///< by flow, the queue's number plus one; 0: not known
    std::atomic<std::uint32_t> sparse_packets_{0};
    std::atomic<std::uint32_t> longest_cut_{0};
};

}}} // namespace wg::WG_ABI::os

#endif
