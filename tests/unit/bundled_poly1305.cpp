// SPDX-License-Identifier: BSL-1.0
// Poly1305 against RFC 8439. Both widths of limbs give the same tags.
#include "wg/backends/bundled/poly1305.hpp"

#include "bundled_vectors.hpp"

#include <algorithm>
#include <boost/mpl/list.hpp>
#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(bundled_poly1305)

using namespace wg::bundled;
using namespace wg_tests;

namespace {

#ifdef __SIZEOF_INT128__
using all_limbs = boost::mpl::list<limbs32, limbs64>;
#else
using all_limbs = boost::mpl::list<limbs32>;
#endif

struct vector {
    buffer key, message, tag;
};

// RFC 8439, section 2.5.2 and appendix A.3
std::vector<vector> const published = {
    {hex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b"),
     text("Cryptographic Forum Research Group"), hex("a8061dc1305136c6c22b8baf0c0127a9")},
    {buffer(32), buffer(64), hex("00000000000000000000000000000000")},
    {hex("0000000000000000000000000000000036e5f6b5c5e06070f0efca96227a863e"), contribution(),
     hex("36e5f6b5c5e06070f0efca96227a863e")},
    {hex("36e5f6b5c5e06070f0efca96227a863e00000000000000000000000000000000"), contribution(),
     hex("f3477e7cd95417af89a6b8794c310cf0")},
    {hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"), jabberwocky(),
     hex("4541669a7eaaee61e708dc7cbcc5eb62")},
    {hex("0200000000000000000000000000000000000000000000000000000000000000"), hex("ffffffffffffffffffffffffffffffff"),
     hex("03000000000000000000000000000000")},
    {hex("02000000000000000000000000000000ffffffffffffffffffffffffffffffff"), hex("02000000000000000000000000000000"),
     hex("03000000000000000000000000000000")},
    {hex("0100000000000000000000000000000000000000000000000000000000000000"),
     hex("fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff11000000000000000000000000000000"),
     hex("05000000000000000000000000000000")},
    {hex("0100000000000000000000000000000000000000000000000000000000000000"),
     hex("fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe01010101010101010101010101010101"),
     hex("00000000000000000000000000000000")},
    {hex("0200000000000000000000000000000000000000000000000000000000000000"), hex("fdffffffffffffffffffffffffffffff"),
     hex("faffffffffffffffffffffffffffffff")},
    {hex("0100000000000000040000000000000000000000000000000000000000000000"),
     hex("e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000"
         "01000000000000000000000000000000"),
     hex("14000000000000005500000000000000")},
    {hex("0100000000000000040000000000000000000000000000000000000000000000"),
     hex("e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000"),
     hex("13000000000000000000000000000000")},
};

template <class Limbs> buffer tag_of(buffer const& key, wg::bytes_view message) {
    buffer tag(16);
    poly1305<Limbs> mac(fixed<32>(key));
    mac.update(message);
    mac.finish(std::span(tag).template first<16>());
    return tag;
}

/// h = (h + block) * r modulo 2^130 - 5, as in RFC 8439, section 2.5.1. Works bit by bit, slowly, without code of the
/// library.
class bit_by_bit {
public:
    static buffer tag_of(buffer const& key, buffer const& message) {
        number r{}, h{};
        for (std::size_t i = 0; i < 16; ++i) r[i] = key[i];
        for (std::size_t const i : {3u, 7u, 11u, 15u}) r[i] &= 15;
        for (std::size_t const i : {4u, 8u, 12u}) r[i] &= 252;
        for (std::size_t at = 0; at < message.size(); at += 16) {
            number block{};
            std::size_t const size = std::min<std::size_t>(16, message.size() - at);
            for (std::size_t i = 0; i < size; ++i) block[i] = message[at + i];
            block[size] = 1;
            h = add(h, block);
            number product{};
            for (std::size_t bit = 130; bit-- > 0;) {
                product = add(product, product);
                if (r[bit / 8] >> (bit % 8) & 1) product = add(product, h);
            }
            h = product;
        }
        buffer tag(16);
        unsigned carry = 0;
        for (std::size_t i = 0; i < 16; ++i) {
            carry += h[i] + key[16 + i];
            tag[i] = static_cast<wg::byte>(carry & 255);
            carry >>= 8;
        }
        return tag;
    }

private:
    using number = std::array<unsigned, 18>; // little-endian bytes

    static number add(number const& a, number const& b) {
        number sum{};
        unsigned carry = 0;
        for (std::size_t i = 0; i < sum.size(); ++i) {
            carry += a[i] + b[i];
            sum[i] = carry & 255;
            carry >>= 8;
        }
        for (number less; (less = minus_p(sum)).back() < 128;) sum = less;
        return sum;
    }
    static number minus_p(number const& a) {
        number out{};
        int carry = 0;
        for (std::size_t i = 0; i < out.size(); ++i) {
            carry += static_cast<int>(a[i]) - (i == 0 ? 0xfb : i < 16 ? 0xff : i == 16 ? 3 : 0);
            out[i] = static_cast<unsigned>(carry & 255);
            carry = carry < 0 ? -1 : 0;
        }
        return out;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(tags_match_rfc_8439, Limbs, all_limbs) {
    for (auto const& v : published) BOOST_TEST(tag_of<Limbs>(v.key, v.message) == v.tag);
}

BOOST_AUTO_TEST_CASE(the_test_reference_matches_rfc_8439) {
    for (auto const& v : published) BOOST_TEST(bit_by_bit::tag_of(v.key, v.message) == v.tag);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(tags_match_the_bitwise_reference, Limbs, all_limbs) {
    noise random(4);
    for (std::size_t size = 0; size <= 130; ++size)
        for (bool const edges : {false, true}) {
            buffer const key = edges ? random.take_edges(32) : random.take(32);
            buffer const message = edges ? random.take_edges(size) : random.take(size);
            BOOST_TEST(tag_of<Limbs>(key, message) == bit_by_bit::tag_of(key, message));
        }
}

#ifdef __SIZEOF_INT128__
BOOST_AUTO_TEST_CASE(both_limb_widths_give_the_same_tags) {
    noise random(5);
    for (int round = 0; round < 20'000; ++round) {
        bool const edges = round % 4 != 0;
        std::size_t const size = random.next() % 300;
        buffer const key = edges ? random.take_edges(32) : random.take(32);
        buffer const message = edges ? random.take_edges(size) : random.take(size);
        BOOST_REQUIRE(tag_of<limbs32>(key, message) == tag_of<limbs64>(key, message));
    }
    for (std::size_t const size : {4096u, 65535u}) {
        buffer const key(32, 0xff), message(size, 0xff);
        BOOST_TEST(tag_of<limbs32>(key, message) == tag_of<limbs64>(key, message));
    }
}
#endif

BOOST_AUTO_TEST_CASE_TEMPLATE(a_message_in_unaligned_pieces_has_the_same_tag, Limbs, all_limbs) {
    noise random(6);
    buffer const key = random.take(32);
    for (std::size_t size = 0; size <= 300; ++size) {
        buffer in(16 + size);
        buffer const message = random.take(size);
        buffer const expected = tag_of<Limbs>(key, message);
        auto const at = static_cast<std::ptrdiff_t>(size % 16);
        std::copy(message.begin(), message.end(), in.begin() + at);
        wg::bytes_view rest = std::span(in).subspan(static_cast<std::size_t>(at), size);

        buffer tag(16);
        poly1305<Limbs> mac(fixed<32>(key));
        while (!rest.empty()) {
            std::size_t const now = std::min<std::size_t>(rest.size(), random.next() % 40);
            mac.update(rest.first(now));
            rest = rest.subspan(now);
        }
        mac.finish(std::span(tag).template first<16>());
        BOOST_TEST(tag == expected);
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(pad_fills_with_zero_bytes, Limbs, all_limbs) {
    noise random(7);
    buffer const key = random.take(32);
    for (std::size_t size = 0; size <= 48; ++size) {
        buffer message = random.take(size), tag(16);
        poly1305<Limbs> mac(fixed<32>(key));
        mac.update(message);
        mac.pad();
        mac.finish(std::span(tag).template first<16>());
        message.resize((size + 15) / 16 * 16);
        BOOST_TEST(tag == tag_of<Limbs>(key, message));
    }
}

BOOST_AUTO_TEST_SUITE_END()
