// SPDX-License-Identifier: BSL-1.0
// The queues of a TUN interface. The host puts each flow into one of them; asked in turn, a flow that fills its queue
// delays only those that share it. So a lone packet does not wait behind a bulk transfer, at no cost to that. Layer 7
// (Linux); any thread once all are added.
#ifndef WG_OS_LINUX_TUN_TUN_QUEUES_HPP
#define WG_OS_LINUX_TUN_TUN_QUEUES_HPP

#include "../fd.hpp"
#include "flow.hpp"

#include <array>
#include <atomic>

namespace wg { inline namespace WG_ABI { namespace os {

class tun_queues {
public:
    static constexpr std::size_t most = 16;

    tun_queues() noexcept : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

    /// At most `most`. False: it cannot be watched, and is closed.
    bool add(unique_fd queue) noexcept {
        WG_ASSERT(count_ < most);
        if (!epoll_ || !watch(epoll_.get(), queue.get(), EPOLLIN, count_)) return false;
        fds_[count_++] = std::move(queue);
        return true;
    }

    /// Several threads will read: from now on what `ready` tells one of them it tells no other before `give_back`, so
    /// that the packets of a queue stay in order. `claimed`: bits of those that were told already.
    void share(std::uint32_t claimed) noexcept {
        if (shared_) return; // which others read by now
        shared_ = true;
        for (std::size_t i = 0; i < count_; ++i) {
            bool const free = (claimed >> i & 1) == 0;
            (void)watch(epoll_.get(), fds_[i].get(), (free ? std::uint32_t{EPOLLIN} : 0) | EPOLLONESHOT, i);
        }
    }

    std::size_t size() const noexcept { return count_; }
    /// Any of them, for what concerns the interface.
    int operator[](std::size_t number) const noexcept { return fds_[number].get(); }
    /// Polls readable when one of them does; -1: there are no descriptors left.
    int pollable() const noexcept { return epoll_.get(); }
    /// Gives away the only one.
    int release() noexcept {
        (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fds_[0].get(), nullptr);
        return fds_[0].release();
    }

    /// Bits of those that have something, or whose interface is gone; for one of several threads just two, so that
    /// others find some as well.
    std::uint32_t ready() noexcept {
        if (count_ <= 1 && !shared_) return 1;
        epoll_event events[most];
        int const wanted = shared_ ? 2 : int{most};
        int const count = without_interruption([&] { return ::epoll_wait(epoll_.get(), events, wanted, 0); });
        std::uint32_t bits = 0;
        for (int i = 0; i < count; ++i) bits |= std::uint32_t{1} << events[i].data.u64;
        return bits;
    }
    void give_back(std::uint32_t bits) noexcept {
        if (!shared_) return;
        for (std::size_t i = 0; bits != 0; ++i, bits >>= 1)
            if ((bits & 1) != 0) (void)watch(epoll_.get(), fds_[i].get(), EPOLLIN | EPOLLONESHOT, i);
    }

    /// The host remembers for some seconds through which queue packets of a flow came to it, and answers there; else it
    /// chooses by a hash. So packets to it take the queue that those from it took, and the flow stays in one.
    void came_from(std::size_t number, bytes_view packet) noexcept {
        if (count_ <= 1) return;
        std::atomic<std::uint8_t>& known = queue_of_[flow_number(packet) % queue_of_.size()];
        auto const queue = static_cast<std::uint8_t>(number + 1);
        // A line of memory that all threads read is only written to where there is news.
        if (known.load(std::memory_order_relaxed) != queue) known.store(queue, std::memory_order_relaxed);
    }
    std::size_t queue_for(bytes_view packet) const noexcept {
        if (count_ <= 1) return 0;
        std::uint32_t const flow = flow_number(packet);
        std::uint8_t const known = queue_of_[flow % queue_of_.size()].load(std::memory_order_relaxed);
        return known != 0 ? known - 1u : (flow >> 16) % count_;
    }

    /// Small packets that were found alone in their queues: those of a flow that is no bulk transfer.
    std::uint32_t sparse_packets() const noexcept { return sparse_packets_.load(std::memory_order_relaxed); }
    void count_sparse_packet() noexcept { sparse_packets_.fetch_add(1, std::memory_order_relaxed); }

    /// The length of the longest packet since `forget_cuts` that was longer than its room, in bytes; 0: none was.
    std::size_t longest_cut() const noexcept { return longest_cut_.load(std::memory_order_relaxed); }
    void forget_cuts() noexcept { longest_cut_.store(0, std::memory_order_relaxed); }
    void note_cut(std::size_t bytes) noexcept {
        auto const now = static_cast<std::uint32_t>(bytes);
        std::uint32_t before = longest_cut_.load(std::memory_order_relaxed);
        while (before < now && !longest_cut_.compare_exchange_weak(before, now, std::memory_order_relaxed)) {}
    }

private:
    unique_fd epoll_;
    std::array<unique_fd, most> fds_{};
    std::size_t count_ = 0;
    bool shared_ = false;                                    ///< written only while one thread reads
    std::array<std::atomic<std::uint8_t>, 1024> queue_of_{}; ///< by flow; 0: none is known
    std::atomic<std::uint32_t> sparse_packets_{0};
    std::atomic<std::uint32_t> longest_cut_{0};
};

}}} // namespace wg::WG_ABI::os

#endif
