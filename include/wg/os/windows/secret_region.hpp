// SPDX-License-Identifier: BSL-1.0
// The region of memory that holds all keys of a device. It is locked, kept out of error reports, enclosed by two guard
// pages, and wiped in the end (VirtualAlloc, VirtualLock, WerRegisterExcludedMemoryBlock). Folder: os/windows. One
// thread at a time.
#ifndef WG_OS_WINDOWS_SECRET_REGION_HPP
#define WG_OS_WINDOWS_SECRET_REGION_HPP

#include "../../base/secret.hpp"
#include "error.hpp"

#include <utility>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_secret_region`. Those that return bool return false if Windows refuses.
struct region_calls {
    /// WerRegisterExcludedMemoryBlock; WerUnregisterExcludedMemoryBlock has its size as well. Returns: 0 or more if it
    /// succeeds.
    using exclude_function = std::int32_t(void const* from, std::uint32_t size) noexcept;
    /// WerUnregisterExcludedMemoryBlock
    using include_function = std::int32_t(void const* from) noexcept;

    /// Reserves addresses that cannot be used (MEM_RESERVE, PAGE_NOACCESS). Returns: null if there are none.
    static void* reserve(std::size_t size) noexcept {
        return api_detail::allocate_pages(nullptr, size, api_detail::mem_reserve, api_detail::page_no_access);
    }
    /// Makes reserved pages readable and writable, with zeros (MEM_COMMIT).
    static bool commit(void* from, std::size_t size) noexcept {
        return api_detail::allocate_pages(from, size, api_detail::mem_commit, api_detail::page_read_write) != nullptr;
    }
    /// Gives back all that `reserve` returned.
    static void release(void* from) noexcept { api_detail::free_pages(from, 0, api_detail::mem_release); }
    /// VirtualLock. Returns: 0 or the error number.
    static int lock(void* from, std::size_t size) noexcept {
        return api_detail::lock_pages(from, size) != 0 ? 0 : static_cast<int>(api_detail::last_error());
    }
    /// Lets this process lock `more` bytes more: raises its least and its greatest working set.
    static bool raise_working_set(std::size_t more) noexcept {
        std::size_t least = 0, most = 0;
        void* const self = api_detail::current_process();
        return api_detail::get_working_set(self, &least, &most) != 0 &&
               api_detail::set_working_set(self, least + more, most + more) != 0;
    }
    /// WerRegisterExcludedMemoryBlock; null before Windows 10 1703.
    static exclude_function* find_exclude() noexcept {
        return api_detail::find_in<exclude_function>(u"kernel32.dll", "WerRegisterExcludedMemoryBlock");
    }
    /// WerUnregisterExcludedMemoryBlock; null before Windows 10 1703.
    static include_function* find_include() noexcept {
        return api_detail::find_in<include_function>(u"kernel32.dll", "WerUnregisterExcludedMemoryBlock");
    }
};

/// Reserves addresses once and makes them usable step by step. So allocated memory never moves, and growth leaves no
/// copy of a secret behind. A test replaces `Calls`.
template <class Calls = region_calls> class basic_secret_region {
public:
    static constexpr std::size_t alignment = 64; ///< of every allocation, in bytes
    /// Bytes of addresses that are reserved: enough for two million peers with three sessions each. They take no
    /// memory.
    static constexpr std::size_t default_capacity =
        sizeof(void*) >= 8 ? converted<std::size_t>(std::uint64_t{1} << 33) : std::size_t{1} << 26;
    static constexpr std::size_t step_bytes = 65536; ///< by which usable memory grows: a multiple of any page size

    /// Reserves addresses for `capacity` bytes. If that fails, every allocation fails.
    explicit basic_secret_region(std::size_t capacity = default_capacity) noexcept {
        if (capacity > SIZE_MAX - step_bytes - 2 * page_bytes) return;
        capacity = round_up(capacity, step_bytes);
        void* const start = Calls::reserve(capacity + 2 * page_bytes);
        if (start == nullptr) return;
        mapping_ = start;
        first_ = static_cast<byte*>(start) + page_bytes;
        capacity_ = capacity;
        exclude_ = Calls::find_exclude();
        undumped_ = exclude_ != nullptr;
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
        if (auto* const include = exclude_ != nullptr ? Calls::find_include() : nullptr; include != nullptr)
            for (std::size_t at = 0; at < committed_; at += step_bytes) (void)include(first_ + at);
        Calls::release(mapping_);
    }

    /// Allocates zeroed memory, aligned to 64 bytes, for the life of the region. Returns: nullptr if none is left.
    void* allocate(std::size_t bytes) noexcept {
        if (bytes > capacity_ - used_) return nullptr;
        std::size_t const end = used_ + round_up(bytes, alignment); // at most capacity_, itself a multiple of 64
        while (end > committed_)
            if (!commit_step()) return nullptr;
        return first_ + std::exchange(used_, end);
    }

    /// Whether all allocated memory is locked, so that it cannot reach the page file. If it is not, keys work, but may
    /// be paged out.
    bool locked() const noexcept { return locked_; }
    /// Whether Windows keeps all allocated memory out of error reports and their dumps. It has room for 512 blocks in a
    /// process, which are 32 MiB. A dump that an administrator makes by other means has the region in it.
    bool undumped() const noexcept { return undumped_; }
    /// Whether a forked process has zeros in place of the region: true, because Windows forks no process.
    static constexpr bool unforked() noexcept { return true; }
    /// The memory that can hold secrets now.
    bytes_view committed() const noexcept { return {first_, committed_}; }

private:
    static constexpr std::size_t page_bytes = api_detail::page_bytes;

    explicit basic_secret_region(std::nullptr_t) noexcept {} ///< reserves nothing

    static constexpr std::size_t round_up(std::size_t n, std::size_t multiple) noexcept {
        return (n + multiple - 1) / multiple * multiple;
    }

    bool commit_step() noexcept {
        byte* const from = first_ + committed_;
        if (!Calls::commit(from, step_bytes)) return false;
        if (!lock_step(from)) locked_ = false;
        if (exclude_ == nullptr || exclude_(from, static_cast<std::uint32_t>(step_bytes)) < 0) undumped_ = false;
        committed_ += step_bytes;
        return true;
    }

    /// A process may lock a little less than its least working set, which is 200 KiB at first.
    static bool lock_step(byte* from) noexcept {
        int const error = Calls::lock(from, step_bytes);
        if (error != api_detail::error_working_set_quota) return error == 0;
        return Calls::raise_working_set(step_bytes) && Calls::lock(from, step_bytes) == 0;
    }

    void swap(basic_secret_region& other) noexcept {
        std::swap(mapping_, other.mapping_);
        std::swap(first_, other.first_);
        std::swap(exclude_, other.exclude_);
        std::swap(capacity_, other.capacity_);
        std::swap(committed_, other.committed_);
        std::swap(used_, other.used_);
        std::swap(locked_, other.locked_);
        std::swap(undumped_, other.undumped_);
    }

    void* mapping_ = nullptr; ///< a guard page, `capacity_` bytes from `first_` on, a guard page
    byte* first_ = nullptr;
    typename Calls::exclude_function* exclude_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t committed_ = 0; ///< bytes from `first_` on that are readable and writable
    std::size_t used_ = 0;
    bool locked_ = true;
    bool undumped_ = false;
};

/// The region of a Windows host.
using secret_region = basic_secret_region<>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
