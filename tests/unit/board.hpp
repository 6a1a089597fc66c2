// SPDX-License-Identifier: BSL-1.0
// Boards for tests: frames in memory, and a clock that the test moves.
#ifndef WG_TESTS_UNIT_BOARD_HPP
#define WG_TESTS_UNIT_BOARD_HPP

#include "wg/wg.hpp"

#include <deque>
#include <vector>

namespace boards {

using frame = std::vector<wg::byte>;

/// Sent frames are in `sent`; frames to receive are put into `arriving`.
struct test_board {
    explicit test_board(wg::byte last) : station{2, 0, 0, 0, 0, last} {}

    wg::instant now() noexcept { return time; }
    void tai64n(std::span<wg::byte, wg::timestamp_bytes> label) noexcept {
        wg::bare::store_boot_label(label, boots, time);
    }
    bool fill(wg::bytes out) noexcept {
        for (wg::byte& b : out) b = static_cast<wg::byte>((seed = seed * 6364136223846793005u + station[5] + 1) >> 56);
        return true;
    }
    wg::bare::mac_address mac() noexcept { return station; }
    std::size_t receive(wg::bytes room) noexcept {
        while (!arriving.empty()) {
            frame const next = std::move(arriving.front());
            arriving.pop_front();
            if (next.size() > room.size()) continue;
            wg::copy(room, next);
            return next.size();
        }
        return 0;
    }
    bool send(wg::bytes_view head, wg::bytes_view body) noexcept {
        frame f(head.begin(), head.end());
        f.insert(f.end(), body.begin(), body.end());
        if (f.size() < 60) f.resize(60);
        sent.push_back(std::move(f));
        return !broken;
    }

    wg::bare::mac_address station;
    wg::instant time = {1'000'000'000};
    std::uint32_t boots = 1;
    std::uint64_t seed = 1;
    bool broken = false;
    std::deque<frame> arriving, sent;
};
static_assert(wg::bare::board<test_board>);

/// Takes the oldest sent frame; the test fails if there is none.
inline frame take(test_board& b) {
    BOOST_REQUIRE(!b.sent.empty());
    frame f = std::move(b.sent.front());
    b.sent.pop_front();
    return f;
}

} // namespace boards

#endif
