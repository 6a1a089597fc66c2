// SPDX-License-Identifier: BSL-1.0
// Notices a suspend of the host by two clocks: one of them stops during a suspend. Notices a restored or cloned
// virtual machine by a number that the hypervisor changes. Folder: os. Any thread.
#ifndef WG_OS_SNAPSHOT_DETECTOR_HPP
#define WG_OS_SNAPSHOT_DETECTOR_HPP

#include "../policy.hpp"

#include <atomic>

namespace wg { inline namespace WG_ABI { namespace os {

/// Counts suspends that took a second or longer. `Clocks::total_ns()` counts time in suspend and `Clocks::awake_ns()`
/// does not, both in nanoseconds.
template <class Clocks> class suspend_counter {
public:
    /// Begins to count now.
    suspend_counter() noexcept : asleep_(measure().least) {}

    /// Compares the clocks if `now` is a second or more after the last comparison, or before it. Costs a memory read
    /// otherwise: a suspend of a second is such a gap itself.
    void look(instant now) noexcept {
        auto const at = static_cast<std::uint32_t>(now.nanoseconds >> gap_shift);
        if (at - looked_at_.load(std::memory_order_relaxed) < units_of_gap) return;
        looked_at_.store(at, std::memory_order_relaxed);
        std::uint32_t known = asleep_.load(std::memory_order_relaxed);
        bounds const asleep = measure();
        // Both bounds are on the same side, so a thread that was interrupted between two readings proves no suspend.
        bool const grew = after(asleep.least, known) >= tenths_of_suspend;
        bool const shrank = after(known, asleep.most) >= tenths_of_suspend; // a restored process (CRIU)
        if (!grew && !shrank) return;
        // If several threads notice a suspend, one of them counts it.
        if (asleep_.compare_exchange_strong(known, asleep.least, std::memory_order_relaxed))
            count_.fetch_add(1, std::memory_order_relaxed);
    }

    /// Returns: the suspends that were noticed, modulo 2^32.
    std::uint32_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

private:
    // Numbers of 32 bits, because not every 32-bit processor has atomic operations on 64 bits.
    static constexpr int gap_shift = 20;               ///< units of 2^20 ns, about a millisecond
    static constexpr std::uint32_t units_of_gap = 953; ///< less than a second
    static constexpr std::int32_t tenths_of_suspend = 9;

    /// How long the host was suspended in all, in tenths of a second, modulo 2^32.
    struct bounds {
        std::uint32_t least, most;
    };
    static bounds measure() noexcept {
        std::int64_t const before = Clocks::total_ns(), awake = Clocks::awake_ns(), after = Clocks::total_ns();
        return {tenths(before - awake), tenths(after - awake)};
    }
    static std::uint32_t tenths(std::int64_t ns) noexcept { return static_cast<std::uint32_t>(ns / 100'000'000); }
    static std::int32_t after(std::uint32_t a, std::uint32_t b) noexcept { return static_cast<std::int32_t>(a - b); }

    std::atomic<std::uint32_t> looked_at_{0};
    std::atomic<std::uint32_t> asleep_;
    std::atomic<std::uint32_t> count_{0};
};

/// Stands for the hypervisor's number where the system shows none to programs.
struct no_machine_generation {
    /// Returns: always 0.
    std::uint64_t generation() const noexcept { return 0; }
};

/// Models `snapshot_detector`. `Clocks`: see `suspend_counter`. `Machine::generation()` is a number that the hypervisor
/// changes before a restored or cloned machine runs.
template <class Clocks, class Machine = no_machine_generation> class basic_snapshot_detector {
public:
    /// Looks for a suspend.
    void look(instant now) noexcept { suspends_.look(now); }
    /// Returns: a number that changes after a suspend, a restore and a clone.
    std::uint64_t generation() const noexcept {
        return machine_.generation() + std::uint64_t{suspends_.count()} * 0x9e37'79b9'7f4a'7c15; // 2^64 / golden ratio
    }
    /// The source of the hypervisor's number.
    Machine const& machine() const noexcept { return machine_; }

private:
    suspend_counter<Clocks> suspends_{};
    [[no_unique_address]] Machine machine_{};
};

}}} // namespace wg::WG_ABI::os

#endif
