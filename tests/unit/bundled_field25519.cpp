// SPDX-License-Identifier: BSL-1.0
// The field and point arithmetic of X25519. All representations of the field modulo 2^255 - 19 agree, also at the ends
// of their ranges, and the table of the base point follows from the curve equation.
#include "wg/backends/bundled/x25519.hpp"

#include "bundled_vectors.hpp"

#include <array>
#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(bundled_field25519)

using namespace wg::bundled;
using namespace wg_tests;

#ifdef __SIZEOF_INT128__
BOOST_AUTO_TEST_CASE(both_fields_agree_in_every_operation) {
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

BOOST_AUTO_TEST_CASE(small_and_portable_arithmetic_agree) {
    using field = field25519<limbs32>;
    noise random(38);
    auto const same = [](std::uint32_t const(&a)[8], std::uint32_t const(&b)[8]) {
        field x, y;
        wg::byte p[32], q[32];
        std::copy_n(a, 8, x.v), std::copy_n(b, 8, y.v);
        x.encode(p), y.encode(q);
        return std::memcmp(p, q, 32) == 0;
    };
    for (int round = 0; round < 5'000; ++round) {
        buffer const x = random.take_edges(32), y = random.take_edges(32);
        std::uint32_t a[8], b[8], r[8], s[8];
        for (std::size_t i = 0; i < 8; ++i) { // all 256 bits
            a[i] = wg::load_le32(x.data() + 4 * i);
            b[i] = wg::load_le32(y.data() + 4 * i);
        }
        small25519::multiply(r, a, b), portable25519::multiply(s, a, b);
        BOOST_REQUIRE(same(r, s));
        small25519::add(r, a, b), portable25519::add(s, a, b);
        BOOST_REQUIRE(same(r, s));
        small25519::subtract(r, a, b), portable25519::subtract(s, a, b);
        BOOST_REQUIRE(same(r, s));
    }
}

// Values near 2^256 - 1, 2p and p are congruent to small numbers. They exercise every carry fold of the 32-bit field.
BOOST_AUTO_TEST_CASE(values_not_below_p_are_reduced) {
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

#ifndef WG_COMPACT
// Computes the table from the curve equation: d = -121665/121666; the base point has y = 4/5 and an even x.
BOOST_AUTO_TEST_CASE(table_of_the_base_point_follows_from_the_curve_equation) {
    using field = field25519<limbs32>;
    field25519_scratch<field> scratch;
    auto const number = [](std::uint32_t value) {
        field r;
        r.set_small(value);
        return r;
    };
    auto const times = [](field a, field const& b) {
        field::multiply(a, a, b);
        return a;
    };
    auto const inverse = [&](field a) {
        invert(a, scratch);
        return a;
    };
    auto const sum = [](field a, field const& b) {
        field::add(a, a, b);
        return a;
    };
    auto const difference = [](field a, field const& b) {
        field::subtract(a, a, b);
        return a;
    };
    auto const encoded = [](field const& a) {
        buffer out(32);
        a.encode(out.data());
        return out;
    };
    struct point {
        field x, y;
    };
    field const one = number(1), half = inverse(number(2));
    field const d = times(difference(number(0), number(121665)), inverse(number(121666)));
    // -x^2 + y^2 = 1 + d x^2 y^2; x occurs only as a square
    auto const add = [&](point const& p, point const& q) {
        field const k = times(times(d, times(p.x, q.x)), times(p.y, q.y));
        return point{times(sum(times(p.x, q.y), times(q.x, p.y)), inverse(sum(one, k))),
                     times(sum(times(p.y, q.y), times(p.x, q.x)), inverse(difference(one, k)))};
    };
    auto const negative = [&](point p) {
        p.x = difference(number(0), p.x);
        return p;
    };
    field x, y = times(number(4), inverse(number(5)));
    // RFC 8032, section 5.1
    x.decode(hex("1ad5258f602d56c9b2a7259560c72c695cdcd6fd31e2a4c0fe536ecdd3366921").data());
    field const xx = times(x, x), yy = times(y, y);
    BOOST_REQUIRE(encoded(difference(yy, xx)) == encoded(sum(one, times(d, times(xx, yy)))));
    BOOST_REQUIRE(encoded(x)[0] % 2 == 0);

    std::vector<point> powers = {{x, y}}; // 2^i times the base point
    while (powers.size() < comb25519::combs * comb25519::teeth * comb25519::distance)
        powers.push_back(add(powers.back(), powers.back()));
    std::uint64_t const* at = comb25519::table;
    for (std::size_t j = 0; j < comb25519::combs; ++j)
        for (std::size_t i = 0; i < comb25519::points; ++i) {
            point p = powers[comb25519::distance * (comb25519::teeth * j + 4)];
            for (std::size_t h = 0; h < 4; ++h) {
                point const& weight = powers[comb25519::distance * (comb25519::teeth * j + h)];
                p = add(p, i >> h & 1 ? weight : negative(weight));
            }
            field const elements[] = {times(half, difference(p.y, p.x)), times(half, sum(p.y, p.x)),
                                      times(d, times(p.x, p.y))};
            for (field const& element : elements) {
                buffer const expected = encoded(element);
                for (std::size_t k = 0; k < 4; ++k) BOOST_REQUIRE_EQUAL(*at++, wg::load_le64(expected.data() + 8 * k));
            }
            // no limb of the last element exceeds the same limb of p, so a kernel may subtract it limb by limb
            BOOST_REQUIRE((at[-4] & ((std::uint64_t{1} << 51) - 1)) <= (std::uint64_t{1} << 51) - 19);
        }
    BOOST_TEST((at == comb25519::table + std::size(comb25519::table)));
}
#endif

#ifdef WG_X86_KERNELS
// The fields of the vector kernels at the ends of their ranges. Each structure documents the range of its limbs.

/// The sum of the limbs modulo p, as 32 bytes. Limb i + 1 lies `bits(i)` bits above limb i.
template <std::size_t N> buffer value_of(std::array<std::uint64_t, N> const& limbs, int (*bits)(int)) {
    using field = field25519<limbs64>;
    field r, limb, shift;
    r.set_small(0);
    for (std::size_t i = N; i-- > 0;) {
        shift.set_small(std::uint64_t{1} << bits(static_cast<int>(i)) % 51);
        if (bits(static_cast<int>(i)) >= 51) shift = {{0, std::uint64_t{1} << bits(static_cast<int>(i)) % 51, 0, 0, 0}};
        field::multiply(r, r, shift);
        limb = {{limbs[i] & field::mask, limbs[i] >> 51, 0, 0, 0}};
        field::add(r, r, limb);
    }
    buffer out(32);
    shift.set_small(1);
    field::multiply(r, r, shift);
    r.encode(out.data());
    return out;
}
buffer product_of(buffer const& a, buffer const& b) {
    using field = field25519<limbs32>;
    field x, y;
    x.decode(a.data()), y.decode(b.data());
    field::multiply(x, x, y);
    buffer out(32);
    x.encode(out.data());
    return out;
}
buffer sum_of(buffer const& a, buffer const& b) {
    using field = field25519<limbs32>;
    field x, y;
    x.decode(a.data()), y.decode(b.data());
    field::add(x, x, y);
    buffer out(32);
    x.encode(out.data());
    return out;
}
/// A random limb up to `most`; often exactly `most` or zero.
std::uint64_t some_limb(noise& random, std::uint64_t most) {
    std::uint64_t const kind = random.next() % 4;
    if (kind < 2) return kind == 0 ? most : 0;
    if (kind == 2) return most - random.next() % 256;
    return most == ~std::uint64_t{0} ? random.next() : random.next() % (most + 1);
}

int bits_of_51(int) { return 51; }
int bits_of_52(int) { return 52; }
int bits_of_25_5(int i) { return i % 2 == 0 ? 26 : 25; }

template <class Vectors, std::size_t Lanes, std::size_t Limbs> struct limbs_of_lanes {
    alignas(64) std::uint64_t v[Limbs][Lanes];

    Vectors load() const {
        Vectors r;
        static_assert(sizeof r == sizeof v);
        std::memcpy(static_cast<void*>(&r), v, sizeof v);
        return r;
    }
    void store(Vectors const& from) { std::memcpy(v, static_cast<void const*>(&from), sizeof v); }
    std::array<std::uint64_t, Limbs> lane(std::size_t j, std::uint64_t mask = ~std::uint64_t{0}) const {
        std::array<std::uint64_t, Limbs> out;
        for (std::size_t i = 0; i < Limbs; ++i) out[i] = v[i][j] & (i + 1 < Limbs ? mask : ~std::uint64_t{0});
        return out;
    }
    template <class Most> void fill(noise& random, Most const& most) {
        for (std::size_t i = 0; i < Limbs; ++i)
            for (auto& limb : v[i]) limb = some_limb(random, most(i));
    }
};

using quads = limbs_of_lanes<quad25519, 4, 5>;
using eights = limbs_of_lanes<lanes25519, 8, 5>;
using narrows = limbs_of_lanes<narrow25519, 4, 10>;

#define IFMA [[WG_TARGET_IFMA, gnu::noinline]]
#define AVX2 [[WG_TARGET_AVX2, gnu::noinline]]

IFMA void quad_product(quads& r, quads const& a, quads const& b, quads const& given) {
    quad25519 x = a.load(), y = b.load(), z = given.load();
    ifma_x25519::multiply(x, x, y, z);
    ifma_x25519::carry(x, x);
    r.store(x);
}
IFMA void quad_carry(quads& r) {
    quad25519 x = r.load();
    ifma_x25519::carry(x, x);
    r.store(x);
}
IFMA void eight_product(eights& r, eights const& a, eights const& b, eights const& given) {
    lanes25519 x = a.load(), y = b.load(), z = given.load();
    ifma8_x25519::multiply(x, x, y, z);
    r.store(x);
}
IFMA void eight_products(eights& r, eights const& a, eights const& b, eights const& given, eights& r2) {
    lanes25519 x = a.load(), y = b.load(), z = given.load(), w;
    ifma8_x25519::multiply(x, x, y, z, w, y, y, z);
    r.store(x);
    r2.store(w);
}
IFMA void eight_squares(eights& r, eights const& a, eights& r2, eights const& b) {
    lanes25519 x = a.load(), y = b.load();
    ifma8_x25519::squares(x, x, y, y);
    r.store(x);
    r2.store(y);
}
IFMA void eight_carry(eights& r) {
    lanes25519 x = r.load();
    ifma8_x25519::carry(x);
    r.store(x);
}
IFMA void eight_words(std::uint64_t (&to)[4][8], eights const& a) { ifma8_x25519::unpack(to, a.load()); }
AVX2 void narrow_product(narrows& r, narrows const& a, narrows const& b) {
    narrow25519 x = a.load(), y = b.load();
    avx2_x25519::multiply(x, x, y);
    r.store(x);
}
AVX2 void narrow_square(narrows& r, narrows const& a) {
    narrow25519 x = a.load();
    avx2_x25519::square(x, x);
    r.store(x);
}
AVX2 void narrow_carry(narrows& r) {
    narrow25519 x = r.load();
    avx2_x25519::carry(x);
    r.store(x);
}

BOOST_AUTO_TEST_CASE(four_lane_ifma_products_are_correct_at_the_limits) {
    if (!has(detect_cpu(), cpu::ifma)) return;
    std::uint64_t const seed = 50, tight = (std::uint64_t{1} << 51) + (1 << 16) - 1;
    BOOST_TEST_MESSAGE("seed " << seed);
    noise random(seed);
    for (int round = 0; round < 3000; ++round) {
        quads a, b, given, r;
        a.fill(random, [&](std::size_t) { return tight; });
        b.fill(random, [&](std::size_t) { return tight; });
        given.fill(random, [&](std::size_t) { return (std::uint64_t{1} << 61) + (std::uint64_t{1} << 60); });
        if (round == 0)
            for (quads* const x : {&a, &b})
                for (auto& row : x->v) std::fill(std::begin(row), std::end(row), tight);
        quad_product(r, a, b, given);
        for (std::size_t j = 0; j < 4; ++j) {
            buffer const expected = sum_of(product_of(value_of(a.lane(j), bits_of_51), value_of(b.lane(j), bits_of_51)),
                                           value_of(given.lane(j), bits_of_51));
            BOOST_REQUIRE(value_of(r.lane(j), bits_of_51) == expected);
            for (auto const limb : r.lane(j)) BOOST_REQUIRE_LE(limb, tight);
        }
        a.fill(random, [](std::size_t) { return (std::uint64_t{1} << 62) - 1; });
        r = a;
        quad_carry(r);
        for (std::size_t j = 0; j < 4; ++j) {
            BOOST_REQUIRE(value_of(r.lane(j), bits_of_51) == value_of(a.lane(j), bits_of_51));
            for (auto const limb : r.lane(j)) BOOST_REQUIRE_LE(limb, tight);
        }
    }
}

BOOST_AUTO_TEST_CASE(eight_lane_ifma_products_are_correct_at_the_limits) {
    if (!has(detect_cpu(), cpu::ifma)) return;
    std::uint64_t const seed = 51, low = (std::uint64_t{1} << 52) - 1, top = (std::uint64_t{1} << 47) + (1 << 12) - 1;
    BOOST_TEST_MESSAGE("seed " << seed);
    noise random(seed);
    // bits from 52 on were carried already, so they may be random
    auto const carried = [&](std::size_t i) { return i == 4 ? top : ~std::uint64_t{0}; };
    auto const value = [&](eights const& x, std::size_t j) { return value_of(x.lane(j, low), bits_of_52); };
    auto const wide = [](eights const& x, std::size_t j) { return value_of(x.lane(j), bits_of_52); };
    for (int round = 0; round < 1500; ++round) {
        eights a, b, given, r, r2;
        a.fill(random, carried);
        b.fill(random, carried);
        given.fill(random, [](std::size_t) { return std::uint64_t{1} << 61; });
        if (round == 0)
            for (eights* const x : {&a, &b})
                for (std::size_t i = 0; i < 5; ++i) std::fill(std::begin(x->v[i]), std::end(x->v[i]), carried(i));
        eight_product(r, a, b, given);
        for (std::size_t j = 0; j < 8; ++j) {
            BOOST_REQUIRE(wide(r, j) == sum_of(product_of(value(a, j), value(b, j)), wide(given, j)));
            for (std::size_t i = 0; i < 5; ++i) BOOST_REQUIRE_LT(r.v[i][j] - given.v[i][j], std::uint64_t{11} << 52);
        }
        eight_products(r, a, b, given, r2);
        for (std::size_t j = 0; j < 8; ++j) {
            BOOST_REQUIRE(wide(r, j) == sum_of(product_of(value(a, j), value(b, j)), wide(given, j)));
            BOOST_REQUIRE(wide(r2, j) == sum_of(product_of(value(b, j), value(b, j)), wide(given, j)));
        }
        eight_squares(r, a, r2, b);
        for (std::size_t j = 0; j < 8; ++j) {
            BOOST_REQUIRE(wide(r, j) == product_of(value(a, j), value(a, j)));
            BOOST_REQUIRE(wide(r2, j) == product_of(value(b, j), value(b, j)));
            // keeps a difference from falling below zero
            for (std::size_t i = 0; i < 5; ++i) BOOST_REQUIRE_GE(r.v[i][j], ifma8_x25519::bias(static_cast<int>(i)));
            for (std::size_t i = 0; i < 5; ++i) BOOST_REQUIRE_LE(r2.v[i][j], ifma8_x25519::bias(static_cast<int>(i)));
        }
        a.fill(random, [](std::size_t) { return (std::uint64_t{1} << 63) - 1; });
        r = a;
        eight_carry(r);
        for (std::size_t j = 0; j < 8; ++j) {
            BOOST_REQUIRE(value(r, j) == wide(a, j));
            BOOST_REQUIRE_LE(r.v[4][j], top);
        }
        // values around p are reduced to values below p
        if (round % 4 == 0)
            for (std::size_t j = 0; j < 8; ++j) {
                for (std::size_t i = 1; i < 4; ++i) a.v[i][j] = low;
                a.v[0][j] = low - 18 + random.next() % 38 - 19;
                a.v[4][j] = (std::uint64_t{1} << 47) - 1;
            }
        std::uint64_t words[4][8];
        eight_words(words, a);
        for (std::size_t j = 0; j < 8; ++j) {
            buffer out(32);
            for (std::size_t i = 0; i < 4; ++i) wg::store_le64(out.data() + 8 * i, words[i][j]);
            BOOST_REQUIRE(out == wide(a, j));
        }
    }
}

BOOST_AUTO_TEST_CASE(four_lane_avx2_products_are_correct_at_the_limits) {
    if (!has(detect_cpu(), cpu::avx2)) return;
    std::uint64_t const seed = 52;
    BOOST_TEST_MESSAGE("seed " << seed);
    noise random(seed);
    auto const unit = [](std::size_t i) { return std::uint64_t{1} << (i % 2 == 0 ? 26 : 25); };
    auto const loose = [&](std::size_t i) { return 3 * unit(i) + (1 << 17) - 1; };
    auto const value = [](narrows const& x, std::size_t j) { return value_of(x.lane(j), bits_of_25_5); };
    for (int round = 0; round < 3000; ++round) {
        narrows a, b, r;
        a.fill(random, loose);
        b.fill(random, loose);
        if (round == 0)
            for (narrows* const x : {&a, &b})
                for (std::size_t i = 0; i < 10; ++i) std::fill(std::begin(x->v[i]), std::end(x->v[i]), loose(i));
        narrow_product(r, a, b);
        for (std::size_t j = 0; j < 4; ++j) {
            BOOST_REQUIRE(value(r, j) == product_of(value(a, j), value(b, j)));
            for (auto const limb : r.lane(j)) BOOST_REQUIRE_LT(limb, std::uint64_t{1} << 63);
        }
        narrow_square(r, a);
        for (std::size_t j = 0; j < 4; ++j) BOOST_REQUIRE(value(r, j) == product_of(value(a, j), value(a, j)));
        a.fill(random, [](std::size_t) { return (std::uint64_t{1} << 63) - 1; });
        r = a;
        narrow_carry(r);
        for (std::size_t j = 0; j < 4; ++j) {
            BOOST_REQUIRE(value(r, j) == value(a, j));
            for (std::size_t i = 0; i < 10; ++i) {
                BOOST_REQUIRE_LT(r.v[i][j], unit(i) + (1 << 17));
                BOOST_REQUIRE_LE(r.v[i][j], avx2_x25519::two_p(static_cast<int>(i)));
            }
        }
    }
}
#endif

#ifdef __SIZEOF_INT128__
BOOST_AUTO_TEST_CASE(both_inversion_algorithms_agree) {
    std::uint64_t const seed = 53;
    BOOST_TEST_MESSAGE("seed " << seed);
    noise random(seed);
    std::vector<buffer> numbers = {buffer(32), buffer(32, 0xff)};
    for (unsigned k = 0; k < 256; ++k) { // 2^k, and numbers around p and 2p
        buffer power(32), near(32, 0xff);
        power[k / 8] = static_cast<wg::byte>(1u << k % 8);
        near[0] = static_cast<wg::byte>(k);
        near[31] = k % 2 ? 0x7f : 0xff;
        numbers.push_back(power);
        numbers.push_back(near);
    }
    while (numbers.size() < 3000) numbers.push_back(random.take_edges(32));
    for (buffer const& any : numbers) {
        field25519<limbs32> z = {{}};
        field25519_scratch<field25519<limbs32>> scratch;
        for (std::size_t i = 0; i < 8; ++i) z.v[i] = wg::load_le32(any.data() + 4 * i); // all 256 bits
        buffer number(32);
        z.encode(number.data());
        std::uint64_t words[4];
        for (std::size_t i = 0; i < 4; ++i) words[i] = wg::load_le64(number.data() + 8 * i);
        inversion25519::invert(words, words);
        buffer inverse(32);
        for (std::size_t i = 0; i < 4; ++i) wg::store_le64(inverse.data() + 8 * i, words[i]);
        invert(z, scratch);
        buffer expected(32);
        z.encode(expected.data());
        BOOST_REQUIRE(inverse == expected);
    }
}
#endif

BOOST_AUTO_TEST_SUITE_END()
