// SPDX-License-Identifier: BSL-1.0
// The queues of a TUN interface. The host puts each flow into one of them; asked in turn, a flow that fills its queue
// delays only those that share it. So a lone packet does not wait behind a bulk transfer, at no cost to that. Layer 7
// (Linux); one thread at a time.
#ifndef WG_OS_LINUX_TUN_QUEUES_HPP
#define WG_OS_LINUX_TUN_QUEUES_HPP

#include "fd.hpp"
#include "flow.hpp"

#include <array>

namespace wg::inline WG_ABI::os {

class tun_queues {
public:
    static constexpr std::size_t most = 8;

    tun_queues() noexcept = default;
    explicit tun_queues(unique_fd first) noexcept { fds_[count_++] = std::move(first); }

    /// A further one, which is closed if it cannot be watched; at most `most`.
    bool add(unique_fd queue) noexcept {
        WG_ASSERT(count_ < most);
        if (count_ == 1) {
            epoll_ = unique_fd(::epoll_create1(EPOLL_CLOEXEC));
            if (!epoll_ || !watch(epoll_.get(), fds_[0].get(), EPOLLIN, 0)) return false;
        }
        if (!watch(epoll_.get(), queue.get(), EPOLLIN, count_)) return false;
        fds_[count_++] = std::move(queue);
        return true;
    }

    std::size_t size() const noexcept { return count_; }
    /// Any of them, for what concerns the interface.
    int operator[](std::size_t number) const noexcept { return fds_[number].get(); }
    /// Polls readable when one of them does.
    int pollable() const noexcept { return count_ > 1 ? epoll_.get() : fds_[0].get(); }
    /// Gives away the only one.
    int release() noexcept { return fds_[0].release(); }

    /// Bits of those that have something, or whose interface is gone.
    std::uint32_t ready() const noexcept {
        if (count_ <= 1) return 1;
        epoll_event events[most];
        int const count = without_interruption([&] { return ::epoll_wait(epoll_.get(), events, int{most}, 0); });
        std::uint32_t bits = 0;
        for (int i = 0; i < count; ++i) bits |= std::uint32_t{1} << events[i].data.u64;
        return bits;
    }

    /// The host remembers for some seconds through which queue packets of a flow came to it, and answers there; else it
    /// chooses by a hash. So packets to it take the queue that those from it took, and the flow stays in one.
    void came_from(std::size_t number, bytes_view packet) noexcept {
        if (count_ > 1) queue_of_[flow_number(packet) % queue_of_.size()] = static_cast<std::uint8_t>(number + 1);
    }
    std::size_t queue_for(bytes_view packet) const noexcept {
        if (count_ <= 1) return 0;
        std::uint32_t const flow = flow_number(packet);
        std::uint8_t const known = queue_of_[flow % queue_of_.size()];
        return known != 0 ? known - 1u : (flow >> 16) % count_;
    }

private:
    std::array<unique_fd, most> fds_{};
    std::size_t count_ = 0;
    unique_fd epoll_{};
    std::array<std::uint8_t, 1024> queue_of_{}; ///< by flow; 0: none is known
};

} // namespace wg::inline WG_ABI::os

#endif
