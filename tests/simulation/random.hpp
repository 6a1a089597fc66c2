// SPDX-License-Identifier: BSL-1.0
// Random numbers from a seed (SplitMix64: Steele, Lea, Flood 2014). Not for real keys.
#ifndef WG_TESTS_SIMULATION_RANDOM_HPP
#define WG_TESTS_SIMULATION_RANDOM_HPP

#include "wg/base/bytes.hpp"

namespace simulation {

/// The same numbers for the same seed.
class seeded_random {
public:
    seeded_random() noexcept = default;
    explicit seeded_random(std::uint64_t seed) noexcept : state_(seed * 0x9e3779b97f4a7c15 + 1) {}

    std::uint64_t next() noexcept {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    std::uint64_t below(std::uint64_t limit) noexcept { return next() % limit; }
    std::int64_t between(std::int64_t from, std::int64_t to) noexcept {
        return from + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(to - from) + 1));
    }
    bool chance(double probability) noexcept { return static_cast<double>(next() >> 11) * 0x1p-53 < probability; }

    /// Makes this class a `random_source` policy.
    bool fill(wg::bytes out) noexcept {
        for (std::size_t i = 0; i < out.size(); i += 8) {
            wg::byte word[8];
            wg::store_le64(word, next());
            wg::copy(out.subspan(i), wg::bytes_view(word).first(out.size() - i < 8 ? out.size() - i : 8));
        }
        return true;
    }

private:
    std::uint64_t state_ = 1;
};

} // namespace simulation

#endif
