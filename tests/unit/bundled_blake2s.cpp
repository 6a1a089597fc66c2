// SPDX-License-Identifier: BSL-1.0
// BLAKE2s against RFC 7693.
#include "wg/backends/bundled/blake2s.hpp"

#include "bundled_stack.hpp"
#include "bundled_vectors.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

using namespace wg_tests;

namespace {

buffer blake2s(std::size_t size, wg::bytes_view key, wg::bytes_view a, wg::bytes_view b = {}) {
    buffer out(size);
    wg::bundled::hash{}.blake2s(out, key, a, b);
    return out;
}

/// The sequence that RFC 7693, appendix E, tests with: the high bytes of a Fibonacci-like generator.
buffer selftest_sequence(std::size_t size, std::uint32_t seed) {
    buffer out(size);
    std::uint32_t previous = 0xdead4bad * seed, current = 1;
    for (auto& value : out) {
        std::uint32_t const next = previous + current;
        previous = current;
        current = next;
        value = static_cast<wg::byte>(next >> 24);
    }
    return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(bundled_blake2s)

// RFC 7693, appendix B
BOOST_AUTO_TEST_CASE(digest_of_abc_is_as_published) {
    buffer const expected = hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
    BOOST_TEST(blake2s(32, {}, text("abc")) == expected);
}

// RFC 7693, appendix E: one digest over digests of four lengths, of messages of six, with key and without
BOOST_AUTO_TEST_CASE(passes_the_published_selftest) {
    buffer digests;
    for (std::size_t const size : {16u, 20u, 28u, 32u})
        for (std::size_t const length : {0u, 3u, 64u, 65u, 255u, 1024u}) {
            buffer const in = selftest_sequence(length, static_cast<std::uint32_t>(length));
            buffer const key = selftest_sequence(size, static_cast<std::uint32_t>(size));
            for (auto const& digest : {blake2s(size, {}, in), blake2s(size, key, in)})
                digests.insert(digests.end(), digest.begin(), digest.end());
        }
    BOOST_TEST(blake2s(32, {}, digests) == hex("6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"));
}

BOOST_AUTO_TEST_CASE(two_parts_are_one_message) {
    noise random(20);
    buffer const message = random.take(260), key = random.take(32);
    for (std::size_t size = 0; size <= message.size(); ++size) {
        wg::bytes_view const whole = std::span(message).first(size);
        buffer const expected = blake2s(32, key, whole);
        for (std::size_t const split : {std::size_t{0}, size / 3, size / 2, size - size / 8, size})
            BOOST_TEST(blake2s(32, key, whole.first(split), whole.subspan(split)) == expected);
    }
}

BOOST_AUTO_TEST_CASE(alignment_does_not_matter) {
    noise random(21);
    buffer const message = random.take(200);
    buffer const expected = blake2s(32, {}, message);
    for (std::size_t at = 0; at < 16; ++at) {
        buffer in(216), out(48);
        std::copy(message.begin(), message.end(), in.begin() + static_cast<std::ptrdiff_t>(at));
        wg::bytes const digest = std::span(out).subspan(15 - at, 32);
        wg::bundled::hash{}.blake2s(digest, {}, std::span(in).subspan(at, 200), {});
        BOOST_TEST(std::equal(digest.begin(), digest.end(), expected.begin()));
    }
}

BOOST_AUTO_TEST_CASE(lengths_of_digest_and_key_and_every_bit_count) {
    noise random(22);
    buffer const key = random.take(32), message = random.take(70);
    std::vector<std::uint64_t> seen; // starts of digests: a shorter one is not the start of a longer one
    auto const add = [&](buffer const& digest) { seen.push_back(wg::load_le64(digest.data())); };
    for (std::size_t size = 8; size <= 32; ++size) add(blake2s(size, {}, message));
    for (std::size_t size = 1; size <= 32; ++size) add(blake2s(32, std::span(key).first(size), message));
    add(blake2s(32, buffer(32), message)); // a key of zeros is a key
    for (std::size_t bit = 0; bit < message.size() * 8; ++bit) {
        buffer other = message;
        other[bit / 8] = static_cast<wg::byte>(other[bit / 8] ^ (1 << bit % 8));
        add(blake2s(32, {}, other));
    }
    std::sort(seen.begin(), seen.end());
    BOOST_TEST((std::adjacent_find(seen.begin(), seen.end()) == seen.end()));
}

#ifdef WG_TESTS_CAN_SEARCH_STACK
BOOST_AUTO_TEST_CASE(leaves_neither_key_nor_message_on_the_stack) {
    noise random(23);
    buffer const key = random.take(32), message = random.take(100);
    buffer out(32);
    auto const found = search_stack_after([&] { wg::bundled::hash{}.blake2s(out, key, message, message); });
    BOOST_TEST(!found.has(key));
    BOOST_TEST(!found.has(message));
    BOOST_TEST(!found.has(out));
}
#endif

BOOST_AUTO_TEST_SUITE_END()
