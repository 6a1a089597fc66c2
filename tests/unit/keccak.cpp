// SPDX-License-Identifier: BSL-1.0
// Keccak, SHA-3 and SHAKE against FIPS 202.
#include "wg/backends/bundled/keccak.hpp"

#include "bundled_vectors.hpp"

#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(bundled_keccak)

using namespace wg_tests;
using namespace wg::bundled;

namespace {

using permutations = std::tuple<keccak_words, keccak_small>;

template <class Permutation>
buffer hashed(keccak_function const& function, std::size_t size, wg::bytes_view a, wg::bytes_view b = {}) {
    buffer out(size);
    keccak_hash<Permutation>(function, out, a, b);
    return out;
}

/// `size` bytes: byte i is 167 * i + size.
buffer message(std::size_t size) {
    buffer out(size);
    for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<wg::byte>(167 * i + size);
    return out;
}

} // namespace

// https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values, and FIPS 202's empty messages
BOOST_AUTO_TEST_CASE_TEMPLATE(digests_match_published_examples, permutation, permutations) {
    BOOST_TEST(hashed<permutation>(sha3_256, 32, {}) ==
               hex("a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"));
    BOOST_TEST(hashed<permutation>(sha3_256, 32, text("abc")) ==
               hex("3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"));
    BOOST_TEST(hashed<permutation>(sha3_512, 64, text("abc")) ==
               hex("b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e"
                   "10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0"));
    BOOST_TEST(hashed<permutation>(shake128, 32, {}) ==
               hex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26"));
    BOOST_TEST(hashed<permutation>(shake256, 32, {}) ==
               hex("46b9dd2b0ba88d13233b3feb743eeb243fcd52ea62b81b82b50c27646ed5762f"));
}

// One digest over the outputs for 420 messages: several blocks of each function. Computed by Python's hashlib. The
// output of a SHAKE is as long as its message.
BOOST_AUTO_TEST_CASE_TEMPLATE(outputs_for_all_short_lengths_match_hashlib, permutation, permutations) {
    struct {
        keccak_function function;
        std::size_t size; ///< 0: as long as the message
        char const* expected;
    } const all[] = {
        {sha3_256, 32, "b5da5acad077744c2fd2af9d224ff1f91f90bfd91d6ea2f74566c6a93e728d04"},
        {sha3_512, 64,
         "ce93f5d84afc791655a82e76b7aaf37f3803d7c7786cac34c08d47a484701217"
         "a2c3ecd42d5678690af04072614e46192ec5df23356b81b1145eb94e80653a78"},
        {shake128, 0, "be477005bbcc2d81af845c16c5a760d08dead22b4e18eb2d0d8ce2a33e049571"},
        {shake256, 0, "83623c754ca6d1febc8e9c0ca8ef7712c17bb3b1970bd4c521185b06cad1d42e"},
    };
    for (auto const& [function, size, expected] : all) {
        buffer outputs;
        for (std::size_t n = 0; n < 420; ++n) {
            buffer const out = hashed<permutation>(function, size == 0 ? n : size, message(n));
            outputs.insert(outputs.end(), out.begin(), out.end());
        }
        buffer const digest = hex(expected);
        BOOST_TEST(hashed<permutation>(function, digest.size(), outputs) == digest);
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(message_and_output_in_parts_give_the_same_bytes, permutation, permutations) {
    noise random(31);
    for (std::size_t n = 0; n < 200; ++n) {
        buffer const in = random.take(random.next() % 500), expected = hashed<permutation>(shake128, 400, in);
        keccak_sponge<permutation> sponge(shake128);
        for (wg::bytes_view left = in; !left.empty();) {
            std::size_t const now = (std::min)(left.size(), std::size_t{random.next() % 200});
            sponge.absorb(left.first(now));
            left = left.subspan(now);
        }
        sponge.finish();
        buffer out(400);
        for (wg::bytes left = out; !left.empty();) {
            std::size_t const now = (std::min)(left.size(), std::size_t{random.next() % 200});
            sponge.squeeze(left.first(now));
            left = left.subspan(now);
        }
        BOOST_TEST(out == expected);
        std::size_t const split = in.size() / 3;
        BOOST_TEST(hashed<permutation>(shake128, 400, std::span(in).first(split), std::span(in).subspan(split)) ==
                   expected);
    }
}

BOOST_AUTO_TEST_CASE(output_may_overlap_the_message) {
    buffer both = message(64);
    buffer const expected = hashed<keccak_words>(sha3_512, 64, both);
    keccak_hash(sha3_512, both, both);
    BOOST_TEST(both == expected);
}

BOOST_AUTO_TEST_SUITE_END()
