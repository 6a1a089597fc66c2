// SPDX-License-Identifier: BSL-1.0
// The region of memory that holds all keys of a device. It is locked, kept out of core dumps and forked processes,
// enclosed by two guard pages, and wiped in the end (mlock(2), madvise(2)). Folder: os/linux. One thread at a time.
#ifndef WG_OS_LINUX_SECRET_REGION_HPP
#define WG_OS_LINUX_SECRET_REGION_HPP

#include "../../base/secret.hpp"

#include <algorithm>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

namespace wg { inline namespace WG_ABI { namespace os {

/// Reserves addresses once and makes them usable step by step. So allocated memory never moves, and growth leaves no
/// copy of a secret behind.
class secret_region {
public:
    static constexpr std::size_t alignment = 64; ///< of every allocation, in bytes
    /// Bytes of addresses that are reserved: enough for two million peers with three sessions each. They take no
    /// memory.
    static constexpr std::size_t default_capacity =
        sizeof(void*) >= 8 ? converted<std::size_t>(std::uint64_t{1} << 33) : std::size_t{1} << 26;
    static constexpr std::size_t step_bytes = 65536; ///< by which usable memory grows: a multiple of any page size

    /// Reserves addresses for `capacity` bytes, but at most a quarter of the process's limit (RLIMIT_AS). If that
    /// fails, every allocation fails.
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
    /// Takes over the memory of `other`, which has none then.
    secret_region(secret_region&& other) noexcept : secret_region(nullptr) { swap(other); }
    /// Wipes and frees its memory, and takes over that of `other`.
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

    /// Allocates zeroed memory, aligned to 64 bytes, for the life of the region. Returns: nullptr if none is left.
    void* allocate(std::size_t bytes) noexcept {
        if (bytes > capacity_ - used_) return nullptr;
        std::size_t const end = used_ + round_up(bytes, alignment); // at most capacity_, itself a multiple of 64
        if (end > committed_ && !commit(round_up(end, step_bytes))) return nullptr;
        return first_ + std::exchange(used_, end);
    }

    /// Whether all allocated memory is locked, so that it cannot reach a swap device. Locking needs RLIMIT_MEMLOCK or
    /// CAP_IPC_LOCK. Without them keys work, but may be swapped.
    bool locked() const noexcept { return locked_; }
    /// Whether the kernel keeps the region out of core dumps.
    bool undumped() const noexcept { return undumped_; }
    /// Whether a forked process has zeros in place of the region.
    bool unforked() const noexcept { return unforked_; }
    /// The memory that can hold secrets now.
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

    void* mapping_ = nullptr; ///< a guard page, `capacity_` bytes from `first_` on, a guard page
    std::size_t mapping_bytes_ = 0;
    byte* first_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t committed_ = 0; ///< bytes from `first_` on that are readable and writable
    std::size_t used_ = 0;
    bool locked_ = true;
    bool undumped_ = false;
    bool unforked_ = false;
};

}}} // namespace wg::WG_ABI::os

#endif
