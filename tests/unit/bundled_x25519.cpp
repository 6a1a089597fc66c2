// SPDX-License-Identifier: BSL-1.0
// X25519 against RFC 7748; both fields give the same results everywhere.
#include "wg/backends/bundled/x25519.hpp"

#include "bundled_stack.hpp"
#include "bundled_vectors.hpp"

#include <boost/mpl/list.hpp>
#include <boost/test/unit_test.hpp>
#include <cstdlib>

using namespace wg::bundled;
using namespace wg_tests;

namespace {

#ifdef __SIZEOF_INT128__
using all_limbs = boost::mpl::list<limbs32, limbs64>;
#else
using all_limbs = boost::mpl::list<limbs32>;
#endif

template <class Limbs> buffer multiply(buffer const& scalar, buffer const& point) {
    buffer out(32);
    if (!x25519<Limbs>::multiply(std::span(out).template first<32>(), fixed<32>(scalar), fixed<32>(point))) return {};
    return out;
}

/// RFC 7748, section 5.2: k becomes the product, u the old k.
template <class Limbs> buffer iterate(int times) {
    buffer k(32), u(32);
    k[0] = u[0] = 9;
    for (int i = 0; i < times; ++i) {
        buffer product = multiply<Limbs>(k, u);
        u = std::move(k);
        k = std::move(product);
    }
    return k;
}

// The u coordinates of all points of order 1, 2, 4 and 8, on the curve and its twist, in every encoding of 255 bits:
// 0, 1, the two of order 8, p - 1, p, p + 1.
char const* const low_order[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

} // namespace

BOOST_AUTO_TEST_SUITE(bundled_x25519)

// RFC 7748, section 5.2
BOOST_AUTO_TEST_CASE_TEMPLATE(products_are_as_published, Limbs, all_limbs) {
    BOOST_TEST(multiply<Limbs>(hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                               hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")) ==
               hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));
    BOOST_TEST(multiply<Limbs>(hex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
                               hex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493")) ==
               hex("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(iterated_products_are_as_published, Limbs, all_limbs) {
    BOOST_TEST(iterate<Limbs>(1) == hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
    BOOST_TEST(iterate<Limbs>(1000) == hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
    if (std::getenv("WG_LONG_TESTS") == nullptr) return;
    BOOST_TEST(iterate<Limbs>(1'000'000) == hex("7c3911e0ab2586fd864497297e575e6f3bc601c0883c30df5f4dd2d24f665424"));
}

// RFC 7748, section 6.1
BOOST_AUTO_TEST_CASE(two_sides_agree_as_published) {
    wg::secret<32> const alice(fixed<32>(hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")));
    wg::secret<32> const bob(fixed<32>(hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")));
    wg::public_key alice_public, bob_public;
    dh{}.dh_public(alice_public, alice);
    dh{}.dh_public(bob_public, bob);
    BOOST_TEST(buffer(alice_public.begin(), alice_public.end()) ==
               hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    BOOST_TEST(buffer(bob_public.begin(), bob_public.end()) ==
               hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    wg::secret<32> const expected(fixed<32>(hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")));
    wg::secret<32> shared;
    BOOST_TEST(dh{}.dh(shared, alice, bob_public));
    BOOST_TEST(shared.equals(expected));
    shared.clear();
    BOOST_TEST(dh{}.dh(shared, bob, alice_public));
    BOOST_TEST(shared.equals(expected));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(points_of_low_order_give_zero_and_false, Limbs, all_limbs) {
    noise random(30);
    for (char const* const point : low_order)
        for (int round = 0; round < 4; ++round) {
            buffer u = hex(point);
            buffer const scalar = random.take(32);
            for (bool const high_bit : {false, true}) {
                if (high_bit) u[31] |= 0x80;
                buffer out(32, 0xaa);
                BOOST_TEST(
                    !x25519<Limbs>::multiply(std::span(out).template first<32>(), fixed<32>(scalar), fixed<32>(u)));
                BOOST_TEST(out == buffer(32));
            }
        }
}

BOOST_AUTO_TEST_CASE(backend_reports_points_of_low_order) {
    wg::secret<32> const scalar(fixed<32>(noise(31).take(32)));
    for (char const* const point : low_order) {
        wg::secret<32> out(fixed<32>(buffer(32, 0xaa)));
        BOOST_TEST(!dh{}.dh(out, scalar, fixed<32>(hex(point))));
        BOOST_TEST(out.is_zero());
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(scalar_is_clamped_and_high_bit_of_point_ignored, Limbs, all_limbs) {
    noise random(32);
    buffer const scalar = random.take(32), point = random.take(32);
    buffer const expected = multiply<Limbs>(scalar, point);
    BOOST_TEST(expected.size() == 32u);
    for (unsigned const bit : {0u, 1u, 2u, 254u, 255u}) {
        buffer other = scalar;
        other[bit / 8] = static_cast<wg::byte>(other[bit / 8] ^ (1u << bit % 8));
        BOOST_TEST(multiply<Limbs>(other, point) == expected);
    }
    for (unsigned const bit : {3u, 100u, 253u}) {
        buffer other = scalar;
        other[bit / 8] = static_cast<wg::byte>(other[bit / 8] ^ (1u << bit % 8));
        BOOST_TEST(multiply<Limbs>(other, point) != expected);
    }
    buffer other = point;
    other[31] ^= 0x80;
    BOOST_TEST(multiply<Limbs>(scalar, other) == expected);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(points_from_p_on_are_taken_modulo_p, Limbs, all_limbs) {
    buffer const scalar = noise(33).take(32);
    for (unsigned value = 2; value < 19; ++value) { // p + value is at most 2^255 - 1
        buffer small(32), large(32, 0xff);
        small[0] = static_cast<wg::byte>(value);
        large[0] = static_cast<wg::byte>(0xed + value);
        large[31] = 0x7f;
        BOOST_TEST(multiply<Limbs>(scalar, large) == multiply<Limbs>(scalar, small));
    }
}

BOOST_AUTO_TEST_CASE(result_may_replace_the_scalar) {
    wg::secret<32> const scalar(fixed<32>(noise(34).take(32)));
    buffer const point = noise(35).take(32);
    wg::secret<32> expected, both;
    both.assign(scalar);
    BOOST_TEST(dh{}.dh(expected, scalar, fixed<32>(point)));
    BOOST_TEST(dh{}.dh(both, both, fixed<32>(point)));
    BOOST_TEST(both.equals(expected));
}

#ifdef __SIZEOF_INT128__
BOOST_AUTO_TEST_CASE(products_of_both_fields_agree) {
    noise random(36);
    for (int round = 0; round < 300; ++round) {
        buffer const scalar = random.take_edges(32), point = random.take_edges(32);
        BOOST_REQUIRE(multiply<limbs32>(scalar, point) == multiply<limbs64>(scalar, point));
    }
}

BOOST_AUTO_TEST_CASE(every_operation_of_both_fields_agrees) {
    using wide = field25519<limbs64>;
    using narrow = field25519<limbs32>;
    noise random(37);
    auto const same = [](wide const& a, narrow const& b) {
        wg::byte x[32], y[32];
        a.encode(x);
        b.encode(y);
        return std::memcmp(x, y, 32) == 0;
    };
    for (int round = 0; round < 20'000; ++round) {
        buffer const x = random.take_edges(32), y = random.take_edges(32);
        auto const factor = static_cast<std::uint32_t>(random.next() & 0x1ffff);
        wide a, b, r;
        narrow c, d, s;
        a.decode(x.data()), b.decode(y.data()), c.decode(x.data()), d.decode(y.data());
        BOOST_REQUIRE(same(a, c));
        wide::multiply(r, a, b), narrow::multiply(s, c, d);
        BOOST_REQUIRE(same(r, s));
        wide::square(r, a), narrow::square(s, c);
        BOOST_REQUIRE(same(r, s));
        wide::multiply_small(r, a, factor), narrow::multiply_small(s, c, factor);
        BOOST_REQUIRE(same(r, s));
        wide::add(r, a, b), narrow::add(s, c, d);
        wide::multiply(r, r, r), narrow::multiply(s, s, s);
        BOOST_REQUIRE(same(r, s));
        wide::subtract(r, a, b), narrow::subtract(s, c, d);
        wide::square(r, r), narrow::square(s, s);
        BOOST_REQUIRE(same(r, s));
    }
}
#endif

// 2^256 - 1 and its like stand for small numbers: every fold at the top of the word field, and p itself, comes up
BOOST_AUTO_TEST_CASE(words_beyond_p_are_reduced) {
    using field = field25519<limbs32>;
    auto const encoded = [](field const& x) {
        buffer out(32);
        x.encode(out.data());
        return out;
    };
    auto const number = [](std::uint32_t value) {
        buffer out(32);
        wg::store_le32(out.data(), value);
        return out;
    };
    field const ones = {{~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u}}; // 2^256 - 1 = 37
    field const two_p = {{~0u - 37, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u}};
    field const p = {{~0u - 18, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x7fffffff}};
    field const zero = {{}}, one = {{1}};
    field r;
    BOOST_TEST(encoded(ones) == number(37));
    BOOST_TEST(encoded(two_p) == number(0));
    BOOST_TEST(encoded(p) == number(0));
    field::add(r, ones, ones);
    BOOST_TEST(encoded(r) == number(74));
    field::add(r, two_p, one);
    BOOST_TEST(encoded(r) == number(1));
    field::multiply(r, ones, ones);
    BOOST_TEST(encoded(r) == number(37 * 37));
    field::multiply_small(r, ones, 121665);
    BOOST_TEST(encoded(r) == number(37 * 121665));
    field::subtract(r, zero, ones);
    field::add(r, r, one);
    field::multiply(r, r, r);
    BOOST_TEST(encoded(r) == number(36 * 36));
    field::subtract(r, one, ones);
    field::multiply(r, r, r);
    BOOST_TEST(encoded(r) == number(36 * 36));
}

#ifdef WG_TESTS_CAN_SEARCH_STACK
BOOST_AUTO_TEST_CASE_TEMPLATE(leaves_neither_scalar_nor_result_on_the_stack, Limbs, all_limbs) {
    noise random(38);
    buffer const scalar = random.take(32), point = random.take(32);
    buffer out(32);
    auto const found = search_stack_after([&] {
        static_cast<void>(
            x25519<Limbs>::multiply(std::span(out).template first<32>(), fixed<32>(scalar), fixed<32>(point)));
    });
    BOOST_TEST(!found.has(scalar));
    BOOST_TEST(!found.has(out));
}
#endif

BOOST_AUTO_TEST_SUITE_END()
