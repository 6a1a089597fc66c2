// SPDX-License-Identifier: BSL-1.0
// The one place in memory where a device's keys lie: locked, kept out of core dumps and of forks, between two guard
// pages, wiped at the end. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_SECRET_REGION_HPP
#define WG_OS_LINUX_SECRET_REGION_HPP

#include "../../base/secret.hpp"

#include <algorithm>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

namespace wg { inline namespace WG_ABI { namespace os {

/// Addresses are reserved once and made usable step by step, so memory that was given out never moves and nothing of
/// it is ever left behind in a smaller copy.
class secret_region {
public:
    static constexpr std::size_t alignment = 64;
    /// Addresses, not memory: enough for two million peers with three sessions each.
    static constexpr std::size_t default_capacity =
        sizeof(void*) >= 8 ? converted<std::size_t>(std::uint64_t{1} << 33) : std::size_t{1} << 26;
    static constexpr std::size_t step_bytes = 65536; ///< a multiple of every page size in use

    /// Reserves addresses for `capacity` bytes, but for no more than a quarter of the address space that the process
    /// may have (RLIMIT_AS). If that fails, every allocation does.
    explicit secret_region(std::size_t capacity = default_capacity) noexcept {
        auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        if (capacity > SIZE_MAX - step_bytes - 2 * page) return;
        rlimit space{};
        if (::getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
            capacity = static_cast<std::size_t>(std::min<rlim_t>(capacity, space.rlim_cur / 4));
        capacity = round_up(capacity, step_bytes);
        void* const start =
            ::mmap(nullptr, capacity + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == MAP_FAILED) return;
        mapping_ = start;
        mapping_bytes_ = capacity + 2 * page;
        first_ = static_cast<byte*>(start) + page;
        capacity_ = capacity;
        undumped_ = ::madvise(start, mapping_bytes_, MADV_DONTDUMP) == 0;
        unforked_ = ::madvise(start, mapping_bytes_, MADV_WIPEONFORK) == 0;
    }
    secret_region(secret_region&& other) noexcept : secret_region(nullptr) { swap(other); }
    secret_region& operator=(secret_region&& other) noexcept {
        secret_region taken(std::move(other));
        taken.swap(*this);
        return *this;
    }
    secret_region(secret_region const&) = delete;
    secret_region& operator=(secret_region const&) = delete;
    ~secret_region() {
        if (mapping_ == nullptr) return;
        wipe(first_, committed_);
        ::munmap(mapping_, mapping_bytes_);
    }

    /// Zeroed memory, aligned to 64 bytes, good until the region dies; nullptr if there is none left.
    void* allocate(std::size_t bytes) noexcept {
        if (bytes > capacity_ - used_) return nullptr;
        std::size_t const end = used_ + round_up(bytes, alignment); // at most capacity_, itself a multiple of 64
        if (end > committed_ && !commit(round_up(end, step_bytes))) return nullptr;
        return first_ + std::exchange(used_, end);
    }

    /// Whether all that was given out is locked into memory, so that none of it can reach a swap device. It needs
    /// RLIMIT_MEMLOCK or CAP_IPC_LOCK; without them keys work, but may be swapped.
    bool locked() const noexcept { return locked_; }
    /// Whether the kernel keeps the region out of core dumps.
    bool undumped() const noexcept { return undumped_; }
    /// Whether a forked child finds zeros here.
    bool unforked() const noexcept { return unforked_; }
    /// The memory that may hold secrets now.
    bytes_view committed() const noexcept { return {first_, committed_}; }

private:
    explicit secret_region(std::nullptr_t) noexcept {} ///< reserves nothing

    static constexpr std::size_t round_up(std::size_t n, std::size_t multiple) noexcept {
        return (n + multiple - 1) / multiple * multiple;
    }

    bool commit(std::size_t end) noexcept {
        byte* const from = first_ + committed_;
        std::size_t const more = end - committed_;
        if (::mprotect(from, more, PROT_READ | PROT_WRITE) != 0) return false;
        if (::mlock(from, more) != 0) locked_ = false;
        committed_ = end;
        return true;
    }

    void swap(secret_region& other) noexcept {
        std::swap(mapping_, other.mapping_);
        std::swap(mapping_bytes_, other.mapping_bytes_);
        std::swap(first_, other.first_);
        std::swap(capacity_, other.capacity_);
        std::swap(committed_, other.committed_);
        std::swap(used_, other.used_);
        std::swap(locked_, other.locked_);
        std::swap(undumped_, other.undumped_);
        std::swap(unforked_, other.unforked_);
    }

    void* mapping_ = nullptr; ///< guard page, capacity_ bytes from first_, guard page
    std::size_t mapping_bytes_ = 0;
    byte* first_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t committed_ = 0; ///< readable and writable, from first_
    std::size_t used_ = 0;
    bool locked_ = true;
    bool undumped_ = false;
    bool unforked_ = false;
};

}}} // namespace wg::WG_ABI::os

#endif
