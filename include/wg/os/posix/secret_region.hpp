// SPDX-License-Identifier: BSL-1.0
// The region of memory that holds all keys of a device. It is locked, kept out of core dumps and forked processes,
// enclosed by two guard pages, and wiped in the end (mmap(2), mlock(2)). Folder: os/posix. One thread at a time.
#ifndef WG_OS_POSIX_SECRET_REGION_HPP
#define WG_OS_POSIX_SECRET_REGION_HPP

#include "../../base/secret.hpp"

#include <algorithm>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

namespace wg { inline namespace WG_ABI { namespace os {

/// The calls that all systems share; `region_calls` of a system derives from this and adds the others.
struct common_region_calls {
    /// Reserves addresses that cannot be used, with more flags of mmap(2). Returns: null if there are none.
    static void* reserve(std::size_t bytes, int more_flags = 0) noexcept {
        int flags = MAP_PRIVATE | MAP_ANON | more_flags;
#ifdef MAP_NORESERVE
        flags |= MAP_NORESERVE;
#endif
        void* const start = ::mmap(nullptr, bytes, PROT_NONE, flags, -1, 0);
        return start == MAP_FAILED ? nullptr : start;
    }
    /// Gives back what `reserve` returned.
    static void release(void* from, std::size_t bytes) noexcept { ::munmap(from, bytes); }
    /// Makes reserved pages readable and writable, with zeros.
    static bool commit(void* from, std::size_t bytes) noexcept {
        return ::mprotect(from, bytes, PROT_READ | PROT_WRITE) == 0;
    }
    /// Keeps pages from being swapped out.
    static bool lock(void* from, std::size_t bytes) noexcept { return ::mlock(from, bytes) == 0; }
    /// How many bytes of addresses this process may have; SIZE_MAX: no limit.
    static std::size_t address_limit() noexcept {
#ifdef RLIMIT_AS
        rlimit space{};
        if (::getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
            return converted<std::uint64_t>(space.rlim_cur) < SIZE_MAX ? converted<std::size_t>(space.rlim_cur)
                                                                       : SIZE_MAX;
#endif
        return SIZE_MAX;
    }
};

/// Reserves addresses once and makes them usable step by step. So allocated memory never moves, and growth leaves no
/// copy of a secret behind. `Calls` is `region_calls` of the system.
template <class Calls> class basic_secret_region {
public:
    static constexpr std::size_t alignment = 64; ///< of every allocation, in bytes
    /// Bytes of addresses that are reserved: enough for two million peers with three sessions each. They take no
    /// memory.
    static constexpr std::size_t default_capacity =
        sizeof(void*) >= 8 ? converted<std::size_t>(std::uint64_t{1} << 33) : std::size_t{1} << 26;
    static constexpr std::size_t step_bytes = 65536; ///< by which usable memory grows: a multiple of any page size

    /// Reserves addresses for `capacity` bytes, but at most a quarter of the process's limit (RLIMIT_AS). If that
    /// fails, every allocation fails.
    explicit basic_secret_region(std::size_t capacity = default_capacity) noexcept {
        auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        if (capacity > SIZE_MAX - step_bytes - 2 * page) return;
        if (std::size_t const limit = Calls::address_limit(); limit != SIZE_MAX)
            capacity = (std::min)(capacity, limit / 4);
        capacity = round_up(capacity, step_bytes);
        void* const start = Calls::reserve(capacity + 2 * page);
        if (start == nullptr) return;
        mapping_ = start;
        mapping_bytes_ = capacity + 2 * page;
        first_ = static_cast<byte*>(start) + page;
        capacity_ = capacity;
        undumped_ = Calls::exclude_from_dumps(start, mapping_bytes_);
        unforked_ = Calls::exclude_from_forks(start, mapping_bytes_);
    }
    /// Takes over the memory of `other`, which has none then.
    basic_secret_region(basic_secret_region&& other) noexcept : basic_secret_region(nullptr) { swap(other); }
    /// Wipes and frees its memory, and takes over that of `other`.
    basic_secret_region& operator=(basic_secret_region&& other) noexcept {
        basic_secret_region taken(std::move(other));
        taken.swap(*this);
        return *this;
    }
    basic_secret_region(basic_secret_region const&) = delete;
    basic_secret_region& operator=(basic_secret_region const&) = delete;
    ~basic_secret_region() {
        if (mapping_ == nullptr) return;
        wipe(first_, committed_);
        Calls::release(mapping_, mapping_bytes_);
    }

    /// Allocates zeroed memory, aligned to 64 bytes, for the life of the region. Returns: nullptr if none is left.
    void* allocate(std::size_t bytes) noexcept {
        if (bytes > capacity_ - used_) return nullptr;
        std::size_t const end = used_ + round_up(bytes, alignment); // at most capacity_, itself a multiple of 64
        if (end > committed_ && !commit(round_up(end, step_bytes))) return nullptr;
        return first_ + std::exchange(used_, end);
    }

    /// Whether all allocated memory is locked, so that it cannot reach a swap device. A limit of the
    /// process (RLIMIT_MEMLOCK) can prevent that. Then keys work, but may be swapped.
    bool locked() const noexcept { return locked_; }
    /// Whether the kernel keeps the region out of core dumps.
    bool undumped() const noexcept { return undumped_; }
    /// Whether a forked process has zeros, or nothing, in place of the region.
    bool unforked() const noexcept { return unforked_; }
    /// The memory that can hold secrets now.
    bytes_view committed() const noexcept { return {first_, committed_}; }

private:
    explicit basic_secret_region(std::nullptr_t) noexcept {} ///< reserves nothing

    static constexpr std::size_t round_up(std::size_t n, std::size_t multiple) noexcept {
        return (n + multiple - 1) / multiple * multiple;
    }

    bool commit(std::size_t end) noexcept {
        byte* const from = first_ + committed_;
        std::size_t const more = end - committed_;
        if (!Calls::commit(from, more)) return false;
        if (!Calls::lock(from, more)) locked_ = false;
        committed_ = end;
        return true;
    }

    void swap(basic_secret_region& other) noexcept {
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
