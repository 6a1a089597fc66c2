// SPDX-License-Identifier: BSL-1.0
// Policies for devices that are used by several threads.
#ifndef WG_TESTS_PARALLEL_HPP
#define WG_TESTS_PARALLEL_HPP

#include "fixture.hpp"

#include <atomic>

namespace wg_tests {

/// A clock. All threads read it, and one thread advances it.
struct shared_clock {
    std::atomic<std::int64_t> const* now_ns = nullptr;

    wg::instant now() noexcept { return {now_ns->load()}; }
    void tai64n(std::span<wg::byte, wg::timestamp_bytes> label) noexcept {
        wg::store_be64(label.data(), 0x400000000000000a + static_cast<std::uint64_t>(now_ns->load() / 1'000'000'000));
        wg::store_be32(&label[8], static_cast<std::uint32_t>(now_ns->load() % 1'000'000'000));
    }
};

/// Random bytes. Each device has its own source, and uses it under its lock.
struct own_random {
    noise from{1};
    bool fill(wg::bytes out) noexcept {
        for (wg::byte& b : out) b = static_cast<wg::byte>(from.next() >> 56);
        return true;
    }
};

/// All policies but threads and observer.
struct parallel_policies {
    using hash = wg::bundled::hash;
    using dh = wg::bundled::dh;
    using aead = wg::bundled::aead;
    using clock_source = shared_clock;
    using random_source = own_random;
    using storage = wg::growing_storage<>;
};

} // namespace wg_tests

#endif
