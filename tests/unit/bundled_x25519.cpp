// SPDX-License-Identifier: BSL-1.0
// X25519 against RFC 7748. All fields and kernels give the same results.
#include "wg/backends/bundled/x25519.hpp"

#include "bundled_stack.hpp"
#include "bundled_vectors.hpp"

#include <algorithm>
#include <array>
#include <boost/mpl/list.hpp>
#include <boost/test/unit_test.hpp>
#include <iterator>

BOOST_AUTO_TEST_SUITE(bundled_x25519)

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

/// RFC 7748, section 5.2: in each step the product becomes k, and the old k becomes u.
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

/// Every consistent combination of instruction sets of this processor, each once.
std::vector<cpu> selections() {
    std::vector<cpu> all;
    for (std::uint32_t mask = 0; mask <= std::uint32_t(cpu::all); ++mask) {
        cpu const set = consistent(detect_cpu() & cpu(mask));
        if (std::find(all.begin(), all.end(), set) == all.end()) all.push_back(set);
    }
    return all;
}

/// The result of `dh`; empty if `dh` returns false.
buffer shared(dh const& with, buffer const& scalar, buffer const& point) {
    wg::secret<32> const key(fixed<32>(scalar));
    wg::secret<32> out(fixed<32>(buffer(32, 0xaa)));
    if (!with.dh(out, key, fixed<32>(point))) {
        BOOST_TEST(out.is_zero());
        return {};
    }
    return buffer(out.expose().begin(), out.expose().end());
}

buffer public_of(dh const& with, buffer const& scalar) {
    wg::secret<32> const key(fixed<32>(scalar));
    wg::public_key out;
    with.dh_public(out, key);
    return buffer(out.begin(), out.end());
}

/// A product computed by the 32-bit code; empty if it is zero. That code is slow, so each product is computed once for
/// all selections.
struct known {
    buffer scalar, point, expected;

    known(buffer const& k, buffer const& u) : scalar(k), point(u), expected(multiply<limbs32>(k, u)) {}
};

/// The items of a batch, their memory and their expected results.
struct batch {
    struct one {
        wg::secret<32> scalar, out;
        buffer point, expected;
    };
    std::vector<one> ones;
    std::vector<wg::dh_item> items;

    explicit batch(std::size_t size) : ones(size), items(size) {
        for (std::size_t i = 0; i < size; ++i) {
            ones[i].out.assign(fixed<32>(buffer(32, 0xaa)));
            ones[i].point = buffer(32);
            items[i].out = &ones[i].out;
            items[i].scalar = &ones[i].scalar;
        }
    }
    void set(std::size_t i, known const& what) {
        ones[i].scalar.assign(fixed<32>(what.scalar));
        ones[i].point = what.point;
        ones[i].expected = what.expected;
        items[i].point = ones[i].point;
        items[i].good = ones[i].expected.empty(); // the opposite of the expected verdict
    }
    bool right(std::size_t i) const {
        if (items[i].good == ones[i].expected.empty()) return false;
        wg::secret<32> const expected(fixed<32>(items[i].good ? ones[i].expected : buffer(32)));
        return ones[i].out.equals(expected);
    }
};

/// A random point: one in eight has low order, one in eight is not below p, and some have long runs of zeros and ones.
buffer some_point(noise& random) {
    std::uint64_t const kind = random.next() % 8;
    if (kind == 0) return hex(low_order[random.next() % std::size(low_order)]);
    if (kind == 1) {
        buffer large(32, 0xff);
        large[0] = static_cast<wg::byte>(0xed + random.next() % 19);
        return large;
    }
    return kind < 5 ? random.take_edges(32) : random.take(32);
}
buffer some_scalar(noise& random) { return random.next() % 2 ? random.take_edges(32) : random.take(32); }
std::vector<known> some_products(noise& random, std::size_t count) {
    std::vector<known> out;
    while (out.size() < count) {
        buffer const scalar = some_scalar(random);
        out.emplace_back(scalar, some_point(random));
    }
    return out;
}

} // namespace

// RFC 7748, section 5.2
BOOST_AUTO_TEST_CASE_TEMPLATE(products_match_rfc_7748, Limbs, all_limbs) {
    BOOST_TEST(multiply<Limbs>(hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                               hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")) ==
               hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));
    BOOST_TEST(multiply<Limbs>(hex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
                               hex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493")) ==
               hex("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(iterated_products_match_rfc_7748, Limbs, all_limbs) {
    BOOST_TEST(iterate<Limbs>(1) == hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
    BOOST_TEST(iterate<Limbs>(1000) == hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
}

BOOST_AUTO_TEST_CASE(every_selection_matches_rfc_7748) {
    for (cpu const set : selections()) {
        BOOST_TEST_CONTEXT("cpu " << std::uint32_t(set)) {
            dh const with(set);
            BOOST_TEST(shared(with, hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                              hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")) ==
                       hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));
            buffer k(32), u(32);
            k[0] = u[0] = 9;
            for (int i = 0; i < 1000; ++i) {
                buffer product = shared(with, k, u);
                u = std::move(k);
                k = std::move(product);
            }
            BOOST_TEST(k == hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
        }
    }
}

// The same test in batches: each lane runs the same chain
BOOST_AUTO_TEST_CASE(every_selection_matches_rfc_7748_in_batches) {
    for (cpu const set : selections()) {
        dh const with(set);
        std::size_t const lanes = 8;
        batch b(lanes);
        buffer k(32), u(32);
        k[0] = u[0] = 9;
        for (auto& one : b.ones) one.scalar.assign(fixed<32>(k));
        for (int i = 0; i < 1000; ++i) {
            for (auto& item : b.items) item.point = u;
            with.dh_batch(b.items);
            auto const scalar = b.ones[0].scalar.expose();
            u.assign(scalar.begin(), scalar.end());
            for (auto& one : b.ones) {
                BOOST_REQUIRE(one.out.equals(b.ones[0].out));
                one.scalar.assign(one.out);
            }
        }
        buffer const expected = hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
        BOOST_TEST(b.ones[0].scalar.equals(wg::secret<32>(fixed<32>(expected))));
    }
}

// RFC 7748, section 6.1
BOOST_AUTO_TEST_CASE(both_sides_compute_the_shared_secret_of_rfc_7748) {
    buffer const alice = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    buffer const bob = hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    buffer const alice_public = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    buffer const bob_public = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    buffer const expected = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    for (cpu const set : selections()) {
        dh const with(set);
        BOOST_TEST(public_of(with, alice) == alice_public);
        BOOST_TEST(public_of(with, bob) == bob_public);
        BOOST_TEST(shared(with, alice, bob_public) == expected);
        BOOST_TEST(shared(with, bob, alice_public) == expected);
    }
}

BOOST_AUTO_TEST_CASE(every_selection_agrees_with_the_32_bit_code) {
    std::uint64_t const seed = 40;
    BOOST_TEST_MESSAGE("seed " << seed);
    noise random(seed);
    std::vector<known> const products = some_products(random, 200);
    for (cpu const set : selections()) {
        dh const with(set);
        for (known const& one : products) BOOST_REQUIRE(shared(with, one.scalar, one.point) == one.expected);
    }
}

BOOST_AUTO_TEST_CASE(public_keys_are_products_of_the_base_point) {
    std::uint64_t const seed = 41;
    BOOST_TEST_MESSAGE("seed " << seed);
    noise random(seed);
    buffer base(32);
    base[0] = 9;
    std::vector<buffer> scalars = {buffer(32), buffer(32, 0xff), buffer(32, 0x55), buffer(32, 0xaa)};
    while (scalars.size() < 50) scalars.push_back(some_scalar(random));
    for (std::size_t bit = 3; bit < 254; ++bit) { // exactly one bit set
        buffer one(32);
        one[bit / 8] = static_cast<wg::byte>(1u << bit % 8);
        scalars.push_back(one);
    }
    for (buffer const& scalar : scalars) {
        buffer const expected = multiply<limbs32>(scalar, base);
        for (cpu const set : selections()) BOOST_REQUIRE(public_of(dh(set), scalar) == expected);
#ifndef WG_COMPACT
        buffer out(32);
        x25519_base<limbs32>::multiply(std::span(out).first<32>(), fixed<32>(scalar));
        BOOST_REQUIRE(out == expected);
#endif
    }
}

BOOST_AUTO_TEST_CASE(batches_of_any_size_give_the_same_results_as_single_keys) {
    std::uint64_t const seed = 42;
    BOOST_TEST_MESSAGE("seed " << seed);
    noise random(seed);
    std::vector<known> const products = some_products(random, 100);
    for (cpu const set : selections()) {
        dh const with(set);
        for (std::size_t size = 0; size <= 33; ++size) {
            batch b(size);
            for (std::size_t i = 0; i < size; ++i) b.set(i, products[random.next() % products.size()]);
            with.dh_batch(b.items);
            for (std::size_t i = 0; i < size; ++i)
                BOOST_REQUIRE_MESSAGE(b.right(i), "cpu " << std::uint32_t(set) << ", item " << i << " of " << size);
        }
    }
}

// A zero denominator at any position of a batch must not spoil the other results.
BOOST_AUTO_TEST_CASE(a_point_of_low_order_does_not_affect_the_rest_of_a_batch) {
    noise random(43);
    std::vector<known> zero, other;
    for (char const* const point : low_order) zero.emplace_back(random.take(32), hex(point));
    while (other.size() < 30) other.emplace_back(random.take(32), random.take(32));
    for (cpu const set : selections()) {
        for (unsigned mask = 0; mask < 256; mask += 1 + static_cast<unsigned>(random.next() % 5)) {
            batch b(8);
            for (std::size_t i = 0; i < 8; ++i)
                b.set(i, mask >> i & 1 ? zero[random.next() % zero.size()] : other[random.next() % other.size()]);
            dh(set).dh_batch(b.items);
            for (std::size_t i = 0; i < 8; ++i) BOOST_REQUIRE(b.right(i));
        }
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(points_of_low_order_return_false_and_zero, Limbs, all_limbs) {
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

BOOST_AUTO_TEST_CASE(every_selection_rejects_points_of_low_order) {
    buffer const scalar = noise(31).take(32);
    for (cpu const set : selections())
        for (char const* const point : low_order)
            for (unsigned const high_bit : {0u, 0x80u}) {
                buffer u = hex(point);
                u[31] = static_cast<wg::byte>(u[31] | high_bit);
                BOOST_TEST(shared(dh(set), scalar, u).empty()); // `shared` checks that the result is zero
            }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(clamps_the_scalar_and_ignores_the_high_bit_of_the_point, Limbs, all_limbs) {
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

BOOST_AUTO_TEST_CASE_TEMPLATE(points_not_below_p_are_reduced_modulo_p, Limbs, all_limbs) {
    buffer const scalar = noise(33).take(32);
    for (unsigned value = 2; value < 19; ++value) { // p + value is at most 2^255 - 1
        buffer small(32), large(32, 0xff);
        small[0] = static_cast<wg::byte>(value);
        large[0] = static_cast<wg::byte>(0xed + value);
        large[31] = 0x7f;
        BOOST_TEST(multiply<Limbs>(scalar, large) == multiply<Limbs>(scalar, small));
        for (cpu const set : selections()) BOOST_TEST(shared(dh(set), scalar, large) == shared(dh(set), scalar, small));
    }
}

BOOST_AUTO_TEST_CASE(the_result_may_overwrite_the_scalar) {
    wg::secret<32> const scalar(fixed<32>(noise(34).take(32)));
    buffer const point = noise(35).take(32);
    for (cpu const set : selections()) {
        wg::secret<32> expected, both;
        both.assign(scalar);
        BOOST_TEST(dh(set).dh(expected, scalar, fixed<32>(point)));
        BOOST_TEST(dh(set).dh(both, both, fixed<32>(point)));
        BOOST_TEST(both.equals(expected));
        std::vector<wg::secret<32>> all(8);
        std::vector<wg::dh_item> items(8);
        for (std::size_t i = 0; i < 8; ++i) {
            all[i].assign(scalar);
            items[i] = {&all[i], &all[i], point, false};
        }
        dh(set).dh_batch(items);
        for (auto const& one : all) BOOST_TEST(one.equals(expected));
    }
}

#ifdef __SIZEOF_INT128__
BOOST_AUTO_TEST_CASE(both_fields_give_the_same_products) {
    noise random(36);
    for (int round = 0; round < 300; ++round) {
        buffer const scalar = random.take_edges(32), point = random.take_edges(32);
        BOOST_REQUIRE(multiply<limbs32>(scalar, point) == multiply<limbs64>(scalar, point));
    }
}
#endif

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

BOOST_AUTO_TEST_CASE(no_selection_leaves_scalar_or_result_on_the_stack) {
    noise random(39);
    for (cpu const set : selections()) {
        BOOST_TEST_CONTEXT("cpu " << std::uint32_t(set)) {
            dh const with(set);
            buffer const scalar = random.take(32), point = random.take(32);
            wg::secret<32> const key(fixed<32>(scalar));
            wg::secret<32> out;
            auto const one = search_stack_after([&] { static_cast<void>(with.dh(out, key, fixed<32>(point))); });
            buffer result(out.expose().begin(), out.expose().end());
            BOOST_TEST(!one.has(scalar));
            BOOST_TEST(!one.has(result));
            wg::public_key public_key;
            auto const base = search_stack_after([&] { with.dh_public(public_key, key); });
            BOOST_TEST(!base.has(scalar));
            for (std::size_t const size : {3u, 5u, 8u}) {
                batch b(size);
                for (std::size_t i = 0; i < size; ++i) b.set(i, known(random.take(32), random.take(32)));
                auto const many = search_stack_after([&] { with.dh_batch(b.items); });
                for (auto const& each : b.ones) {
                    auto const words = each.scalar.expose();
                    BOOST_TEST(!many.has(buffer(words.begin(), words.end())));
                    BOOST_TEST(!many.has(each.expected));
                }
            }
        }
    }
}
#endif

BOOST_AUTO_TEST_SUITE_END()
