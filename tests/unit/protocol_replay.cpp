// SPDX-License-Identifier: BSL-1.0
// The sliding window against Linux's vectors and against a model that stores every counter.
#include "wg/protocol/replay.hpp"

#include "bundled_vectors.hpp"

#include <boost/test/unit_test.hpp>

#include <set>
#include <tuple>

BOOST_AUTO_TEST_SUITE(protocol_replay)

using namespace wg_tests;

namespace {

using sizes = std::tuple<wg::replay_window<32>, wg::replay_window<64>, wg::replay_window<128>, wg::replay_window<8192>>;

constexpr std::uint64_t limit = wg::reject_after_messages;

/// Accepts a counter below the limit that is new and at most `reach` below the greatest counter.
class model {
public:
    explicit model(std::uint64_t reach) : reach_(reach) {}

    bool accept(std::uint64_t counter) {
        if (counter >= limit || (!seen_.empty() && *seen_.rbegin() > counter && *seen_.rbegin() - counter > reach_))
            return false;
        return seen_.insert(counter).second;
    }

private:
    std::uint64_t reach_;
    std::set<std::uint64_t> seen_;
};

} // namespace

//= wp 5.4.6: a counter further back than the window is refused, seen or not
BOOST_AUTO_TEST_CASE(each_window_has_its_documented_reach) {
    BOOST_TEST(wg::replay_window<32>::reach == 31u);
#ifdef WG_COMPACT // words of 32 bits
    BOOST_TEST(wg::replay_window<64>::reach == 32u);
    BOOST_TEST(wg::replay_window<128>::reach == 96u);
    BOOST_TEST(wg::replay_window<8192>::reach == 8160u);
#else
    BOOST_TEST(wg::replay_window<64>::reach == 63u);
    BOOST_TEST(wg::replay_window<128>::reach == 64u);
    BOOST_TEST(wg::replay_window<8192>::reach == 8128u);
#endif
}

// The sequence of Linux's drivers/net/wireguard/selftest/counter.c, adapted to the reach and the limit of this window.
//= wp 5.4.6: sliding window: packets may come in any order within it, each once
BOOST_AUTO_TEST_CASE_TEMPLATE(passes_the_vectors_of_linux, window, sizes) {
    constexpr std::uint64_t reach = window::reach, t = reach + 1;
    window w;
    int number = 0;
    auto const expect = [&](std::uint64_t counter, bool accepted) {
        ++number;
        BOOST_TEST(w.accept(counter) == accepted, number << ": " << counter);
    };
    expect(0, true);
    expect(1, true);
    expect(1, false);
    expect(9, true);
    expect(8, true);
    expect(7, true);
    expect(7, false);
    expect(t, true);
    expect(t - 1, true);
    expect(t - 1, false);
    expect(t - 2, true);
    expect(2, true);
    expect(2, false);
    expect(t + 16, true);
    expect(3, false);
    expect(t + 16, false);
    expect(t * 4, true);
    expect(t * 4 - (t - 1), true);
    expect(10, false);
    expect(t * 4 - t, false);
    expect(t * 4 - (t + 1), false);
    expect(t * 4 - (t - 2), true);
    expect(t * 4 + 1 - t, false);
    expect(0, false);
    expect(limit, false);
    expect(limit - 1, true);
    expect(limit, false);
    expect(limit - 1, false);
    expect(limit - 2, true);
    expect(limit + 1, false);
    expect(limit + 2, false);
    expect(limit - 2, false);
    expect(limit - 3, true);
    expect(0, false);

    w = {};
    number = 100;
    for (std::uint64_t i = 1; i <= reach; ++i) expect(i, true);
    expect(0, true);
    expect(0, false);

    w = {};
    number = 10'000;
    for (std::uint64_t i = 2; i <= reach + 1; ++i) expect(i, true);
    expect(1, true);
    expect(0, false);

    w = {};
    number = 20'000;
    for (std::uint64_t i = reach + 1; i-- > 0;) expect(i, true);

    w = {};
    number = 30'000;
    for (std::uint64_t i = reach + 2; i-- > 1;) expect(i, true);
    expect(0, false);

    w = {};
    number = 40'000;
    for (std::uint64_t i = reach + 1; i-- > 1;) expect(i, true);
    expect(reach + 1, true);
    expect(0, false);

    w = {};
    number = 50'000;
    for (std::uint64_t i = reach + 1; i-- > 1;) expect(i, true);
    expect(0, true);
    expect(reach + 1, true);
}

//= wp 5.4.6: sliding window: packets may come in any order within it, each once
BOOST_AUTO_TEST_CASE_TEMPLATE(agrees_with_a_model_that_stores_every_counter, window, sizes) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        noise random(seed);
        window w;
        model m(window::reach);
        std::uint64_t at = seed % 2 == 0 ? 0 : random.next() >> (seed * 7 % 60);
        for (int i = 0; i < 3000; ++i) {
            std::uint64_t const r = random.next();
            if (r % 16 == 0) at += (r >> 8) % (3 * window::reach);
            else if (r % 4 == 0) ++at;
            std::uint64_t const back = (r >> 32) % (window::reach + window::reach / 4 + 2);
            std::uint64_t const counter = back > at ? at : at - back;
            bool const expected = m.accept(counter);
            if (w.accept(counter) != expected) {
                BOOST_ERROR("seed " << seed << " step " << i << " counter " << counter << " expected " << expected);
                break;
            }
        }
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_jump_beyond_the_window_clears_it, window, sizes) {
    for (std::uint64_t jump = window::reach; jump < 3 * window::reach + 200;
         jump += jump < window::reach + 130 ? 1 : 61) {
        window w;
        model m(window::reach);
        for (std::uint64_t i = 0; i < 70; ++i) BOOST_TEST(w.accept(i) == m.accept(i));
        BOOST_TEST(w.accept(69 + jump) == m.accept(69 + jump));
        for (std::uint64_t i = 0; i < 70; ++i)
            if (w.accept(i + jump) != m.accept(i + jump)) BOOST_ERROR("jump " << jump << " counter " << i + jump);
    }
}

BOOST_AUTO_TEST_SUITE_END()
