// SPDX-License-Identifier: BSL-1.0
// Policies for a machine with nothing: no heap, no threads, no clock, no randomness. For tests of what compiles and
// runs anywhere; a device must not be run with these.
#ifndef TESTS_MODES_SMALLEST_HPP
#define TESTS_MODES_SMALLEST_HPP

#include "wg/backends/bundled/bundled.hpp"
#include "wg/backends/observers.hpp"
#include "wg/backends/one_thread.hpp"
#include "wg/backends/storage.hpp"

namespace tests {

using namespace wg;

struct still_clock {
    instant now() noexcept { return {}; }
    void tai64n(std::span<byte, timestamp_bytes> label) noexcept { fill_zero(label); }
};

/// Not random at all: the same program prints the same, wherever it runs.
struct counting_random {
    std::uint32_t state = 1;
    bool fill(bytes out) noexcept {
        for (byte& b : out) b = static_cast<byte>((state = state * 1664525u + 1013904223u) >> 24);
        return true;
    }
};

struct smallest {
    using hash = bundled::hash;
    using dh = bundled::dh;
    using aead = bundled::aead;
    using clock_source = still_clock;
    using random_source = counting_random;
    using threads = one_thread;
    using storage = static_storage<>;
    using observer = no_observer;
};

static_assert(policies<smallest>);

} // namespace tests

#endif
