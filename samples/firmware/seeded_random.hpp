// SPDX-License-Identifier: BSL-1.0
// A random source for boards whose hardware has none: BLAKE2s, keyed with a seed, of a counter. As good as the seed,
// which somebody has to bring anew at every start; a board with a generator of its own does without this file.
#ifndef WG_FIRMWARE_SEEDED_RANDOM_HPP
#define WG_FIRMWARE_SEEDED_RANDOM_HPP

#include <wg/wg.hpp>

namespace firmware {

class seeded_random {
public:
    /// `hex`: 64 hexadecimal digits. False: it is not; the source stays as it was.
    bool seed(std::string_view hex) noexcept {
        wg::secret<wg::key_bytes> fresh;
        if (hex.size() != 2 * wg::key_bytes || !wg::text::parse_hex(hex, fresh.expose())) return false;
        wg::copy(key_.expose(), fresh.expose());
        seeded_ = true;
        return true;
    }

    /// False as long as there is no seed: then a device makes no handshake.
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
