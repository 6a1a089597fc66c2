// SPDX-License-Identifier: BSL-1.0
// Linux: a suspend is seen by CLOCK_BOOTTIME and CLOCK_MONOTONIC (clock_gettime(2)), a restored or cloned machine by
// the page that the hypervisor shares through /dev/vmclock0 (linux/vmclock-abi.h; Linux 6.13 and later, readable by
// root alone). Folder: os/linux. Any thread.
#ifndef WG_OS_LINUX_SNAPSHOT_DETECTOR_HPP
#define WG_OS_LINUX_SNAPSHOT_DETECTOR_HPP

#include "../snapshot_detector.hpp"
#include "fd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// The clocks of `suspend_counter`.
struct suspend_clocks {
    /// Nanoseconds since the start, time in suspend included.
    static std::int64_t total_ns() noexcept { return read(CLOCK_BOOTTIME); }
    /// Nanoseconds since the start without time in suspend.
    static std::int64_t awake_ns() noexcept {
#ifdef __ANDROID__
        return read(CLOCK_BOOTTIME); // Android suspends after each use: sessions stay, as in Linux's own WireGuard
#else
        return read(CLOCK_MONOTONIC);
#endif
    }

private:
    static std::int64_t read(clockid_t which) noexcept {
        timespec time{};
        ::clock_gettime(which, &time);
        return std::int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec;
    }
};

/// The file of `basic_vmclock`.
struct vmclock_calls {
    /// The device of the hypervisor's page.
    static char const* path() noexcept { return "/dev/vmclock0"; }
};

/// The hypervisor's page, mapped read-only; without one, the generation is always 0. A test replaces `Calls`.
template <class Calls = vmclock_calls> class basic_vmclock {
public:
    /// Maps the page, if the file is such a page. Keeps no descriptor.
    basic_vmclock() noexcept {
        unique_fd const file(::open(Calls::path(), O_RDONLY | O_CLOEXEC));
        if (!file) return;
        byte_array<layout_bytes> head{};
        ssize_t const got = without_interruption([&] { return ::pread(file.get(), head.data(), head.size(), 0); });
        if (got < static_cast<ssize_t>(least_bytes) || load_le32(head.data()) != magic || head[version_at] != 1 ||
            head[version_at + 1] != 0)
            return;
        mapped_bytes_ = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        void* const page = ::mmap(nullptr, mapped_bytes_, PROT_READ, MAP_SHARED, file.get(), 0);
        if (page == MAP_FAILED) return;
        page_ = static_cast<byte const*>(page);
        has_counter_ = got == static_cast<ssize_t>(layout_bytes) && load_le32(&head[size_at]) >= layout_bytes;
    }
    basic_vmclock(basic_vmclock const&) = delete;
    basic_vmclock& operator=(basic_vmclock const&) = delete;
    ~basic_vmclock() {
        if (page_ != nullptr) ::munmap(const_cast<byte*>(page_), mapped_bytes_);
    }

    /// Whether the hypervisor tells of restored machines.
    explicit operator bool() const noexcept { return page_ != nullptr; }

    /// Returns: a number made of the disruption marker, which changes after a live migration too, and of the counter of
    /// loaded snapshots, where the hypervisor has one. The hypervisor changes them while the machine stands still, so
    /// the page's sequence lock is not needed.
    std::uint64_t generation() const noexcept {
        if (page_ == nullptr) return 0;
        std::uint64_t sum =
            read(marker_at) * 0xff51'afd7'ed55'8ccd; // odd, so no marker gives the number of another one
        if (has_counter_ && (read(flags_at) & has_counter_flag) != 0) sum += read(counter_at);
        return sum;
    }

private:
    // struct vmclock_abi, version 1; numbers are little-endian.
    static constexpr std::uint32_t magic = 0x4b4c4356;
    static constexpr std::size_t size_at = 4, version_at = 8, marker_at = 16, flags_at = 24, counter_at = 104;
    static constexpr std::size_t least_bytes = 32, layout_bytes = 112;
    static constexpr std::uint64_t has_counter_flag = 1u << 8; ///< VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT

    std::uint64_t read(std::size_t at) const noexcept {
        std::uint64_t const raw = *reinterpret_cast<std::uint64_t const volatile*>(page_ + at); // the page is aligned
        byte_array<8> octets;
        std::memcpy(octets.data(), &raw, octets.size());
        return load_le64(octets.data());
    }

    byte const* page_ = nullptr;
    std::size_t mapped_bytes_ = 0;
    bool has_counter_ = false;
};
/// The page of this machine's hypervisor.
using vmclock = basic_vmclock<>;

/// The detector of a Linux host.
using snapshot_detector = basic_snapshot_detector<suspend_clocks, vmclock>;
static_assert(wg::snapshot_detector<snapshot_detector>);

}}} // namespace wg::WG_ABI::os

#endif
