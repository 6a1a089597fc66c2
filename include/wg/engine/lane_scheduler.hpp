// SPDX-License-Identifier: BSL-1.0
// How much of which work a lane does in one step. These are heuristics; their constants were measured on Linux.
// Folder: engine; one thread at a time.
#ifndef WG_ENGINE_LANE_SCHEDULER_HPP
#define WG_ENGINE_LANE_SCHEDULER_HPP

#include "../base/time.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace wg { inline namespace WG_ABI {

/// Decides how many datagrams a lane receives in one call, whether it answers handshakes in this step, and whether it
/// yields the processor after a batch. `Batch`: packets in one step; `ReceiveBatch`: datagrams in one receive call.
template <std::size_t Batch, std::size_t ReceiveBatch> class lane_scheduler {
public:
    /// A step begins.
    void begin_step() noexcept { may_answer_ = true; }
    /// The step ends. `passed`: packets that it moved from and to the host.
    void end_step(std::size_t passed) noexcept { passed_before_ = passed; }

    /// Datagrams to receive in the next call, 1 to `ReceiveBatch`.
    std::size_t datagrams_wanted() const noexcept {
        if constexpr (ReceiveBatch == 1) return 1;
        return wanted_;
    }

    /// A receive call returned `datagrams`, which held `segments` messages; both are at least 1.
    /// A step is about one batch of messages, however many segments a datagram has: packets of the other direction wait
    /// meanwhile, and received data should still be in the cache when it is decrypted. Long datagrams may follow a few
    /// short ones, so the number grows only as more datagrams arrive.
    void note_received([[maybe_unused]] std::size_t datagrams, [[maybe_unused]] std::size_t segments) noexcept {
        if constexpr (ReceiveBatch == 1) return;
        std::size_t const backlog = (std::max)(2 * datagrams, least_wanted);
        wanted_ = (std::min)({(Batch * datagrams + segments - 1) / segments, backlog, ReceiveBatch});
    }

    /// Whether to answer waiting handshakes now: at most once in a step, and after a step that moved a whole batch of
    /// packets only in every fourth step, because a few answers cost as much as a batch.
    bool takes_handshakes() noexcept {
        return std::exchange(may_answer_, false) && (passed_before_ < Batch || ++busy_steps_ % 4 == 0);
    }

    /// Whether a bulk transfer should let other threads run after a batch. `sparse_packets`: the counter of
    /// `tun_device::sparse_packets`. Yes while sparse packets pass often: twice within 50 ms, and the last one less
    /// than 50 ms ago. Where processors are short, bulk data then waits in the TUN device's queues, which keep flows
    /// apart, and not in the socket of its receiver, where a sparse packet would wait behind all of it.
    bool should_yield(std::uint32_t sparse_packets, instant now) noexcept {
        bool const recent = now < sparse_at_ + sparse_interval;
        if (sparse_packets != sparse_packets_) {
            sparse_packets_ = sparse_packets;
            sparse_at_ = now;
            sparse_often_ = recent;
        }
        return recent && sparse_often_;
    }

private:
    static constexpr std::size_t least_wanted = (std::min<std::size_t>)(4, ReceiveBatch); ///< long ones are a batch
    static constexpr duration sparse_interval = milliseconds(50);

    std::size_t wanted_ = least_wanted;
    std::size_t passed_before_ = 0;    ///< packets of the step before
    unsigned busy_steps_ = 0;          ///< steps after a whole batch
    bool may_answer_ = true;           ///< no handshake was answered in this step
    bool sparse_often_ = false;        ///< the last two sparse packets were less than `sparse_interval` apart
    std::uint32_t sparse_packets_ = 0; ///< the counter at the last call
    instant sparse_at_{};              ///< when the counter changed last
};

}} // namespace wg::WG_ABI

#endif
