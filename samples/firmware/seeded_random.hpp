// SPDX-License-Identifier: BSL-1.0
// A random source for boards without one in hardware: BLAKE2s of a counter, keyed with a seed. It is as good as the
// seed, which must be another one at every start. A board with a hardware source does not need this file.
#ifndef WG_FIRMWARE_SEEDED_RANDOM_HPP
#define WG_FIRMWARE_SEEDED_RANDOM_HPP

#include <wg/wg.hpp>

namespace firmware {

/// Random bytes from a seed.
class seeded_random {
public:
    /// Takes a seed of 64 hexadecimal digits. Returns: false if `hex` is not that; then nothing has changed.
    bool seed(std::string_view hex) noexcept {
        wg::secret<wg::key_bytes> fresh;
        if (hex.size() != 2 * wg::key_bytes || !wg::text::parse_hex(hex, fresh.expose())) return false;
        wg::copy(key_.expose(), fresh.expose());
        seeded_ = true;
        return true;
    }

    /// Fills `out`. Returns: false as long as there is no seed; then a device makes no handshake.
    bool fill(wg::bytes out) noexcept {
        while (seeded_ && !out.empty()) {
            wg::byte number[8];
            wg::store_le64(number, counter_++);
            wg::bytes const part = out.first(std::min(out.size(), wg::key_bytes));
            wg::bundled::hash{}.blake2s(part, key_.expose(), number, {});
            out = out.subspan(part.size());
        }
        return seeded_;
    }

private:
    wg::secret<wg::key_bytes> key_;
    std::uint64_t counter_ = 0;
    bool seeded_ = false;
};

} // namespace firmware

#endif
