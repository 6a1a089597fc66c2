// SPDX-License-Identifier: BSL-1.0
// Policies for a machine without heap, threads, clock and randomness, for tests that compile and run anywhere. They are
// not secure.
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

/// Deterministic bytes, so that a program prints the same output on every machine.
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
