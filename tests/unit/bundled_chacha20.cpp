// SPDX-License-Identifier: BSL-1.0
// The scalar ChaCha20 and HChaCha20 against RFC 8439 and draft-irtf-cfrg-xchacha.
#include "wg/backends/bundled/chacha20.hpp"

#include "bundled_vectors.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(bundled_chacha20)

using namespace wg::bundled;
using namespace wg_tests;

namespace {

struct vector {
    buffer key, nonce;
    std::uint32_t counter;
    buffer plaintext, ciphertext;
};

// RFC 8439, appendix A.1
std::vector<vector> const appendix_a_1 = {
    {buffer(32), hex("000000000000000000000000"), 0, buffer(64),
     hex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a37"
         "6a43b8f41518a11cc387b669b2ee6586")},
    {buffer(32), hex("000000000000000000000000"), 1, buffer(64),
     hex("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d5"
         "31ed1f28510afb45ace10a1f4b794d6f")},
    {hex("0000000000000000000000000000000000000000000000000000000000000001"), hex("000000000000000000000000"), 1,
     buffer(64),
     hex("3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a8eca00bbb4a73bdad192b5c42f73f2fd"
         "4e273644c8b36125a64addeb006c13a0")},
    {hex("00ff000000000000000000000000000000000000000000000000000000000000"), hex("000000000000000000000000"), 2,
     buffer(64),
     hex("72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca13b25aa26cb4a648cb9b9d1be65b2c09"
         "24a66c54d545ec1b7374f4872e99f096")},
    {buffer(32), hex("000000000000000000000002"), 0, buffer(64),
     hex("c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c78a970e0e955c14f3a88e741b97c286f7"
         "5f8fc299e8148362fa198a39531bed6d")},
};

// RFC 8439, appendix A.2
std::vector<vector> const appendix_a_2 = {
    {buffer(32), hex("000000000000000000000000"), 0, buffer(64),
     hex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a37"
         "6a43b8f41518a11cc387b669b2ee6586")},
    {hex("0000000000000000000000000000000000000000000000000000000000000001"), hex("000000000000000000000002"), 1,
     contribution(),
     hex("a3fbf07df3fa2fde4f376ca23e82737041605d9f4f4f57bd8cff2c1d4b7955ec2a97948bd3722915c8f3d337f7d37005"
         "0e9e96d647b7c39f56e031ca5eb6250d4042e02785ececfa4b4bb5e8ead0440e20b6e8db09d881a7c6132f420e527950"
         "42bdfa7773d8a9051447b3291ce1411c680465552aa6c405b7764d5e87bea85ad00f8449ed8f72d0d662ab052691ca66"
         "424bc86d2df80ea41f43abf937d3259dc4b2d0dfb48a6c9139ddd7f76966e928e635553ba76c5c879d7b35d49eb2e62b"
         "0871cdac638939e25e8a1e0ef9d5280fa8ca328b351c3c765989cbcf3daa8b6ccc3aaf9f3979c92b3720fc88dc95ed84"
         "a1be059c6499b9fda236e7e818b04b0bc39c1e876b193bfe5569753f88128cc08aaa9b63d1a16f80ef2554d7189c411f"
         "5869ca52c5b83fa36ff216b9c1d30062bebcfd2dc5bce0911934fda79a86f6e698ced759c3ff9b6477338f3da4f9cd85"
         "14ea9982ccafb341b2384dd902f3d1ab7ac61dd29c6f21ba5b862f3730e37cfdc4fd806c22f221")},
    {hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"), hex("000000000000000000000002"), 42,
     jabberwocky(),
     hex("62e6347f95ed87a45ffae7426f27a1df5fb69110044c0d73118effa95b01e5cf166d3df2d721caf9b21e5fb14c616871"
         "fd84c54f9d65b283196c7fe4f60553ebf39c6402c42234e32a356b3e764312a61a5532055716ead6962568f87d3f3f77"
         "04c6a8d1bcd1bf4d50d6154b6da731b187b58dfd728afa36757a797ac188d1")},
};

buffer encrypt(buffer const& key, buffer const& nonce, std::uint32_t counter, buffer const& in) {
    buffer out(in.size());
    chacha20(fixed<32>(key), fixed<12>(nonce), counter).apply(out, in);
    return out;
}

buffer counting(std::size_t size) {
    buffer out(size);
    for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<wg::byte>(i);
    return out;
}

} // namespace

// RFC 8439, section 2.1.1
BOOST_AUTO_TEST_CASE(quarter_round_matches_rfc_8439) {
    std::uint32_t a = 0x11111111, b = 0x01020304, c = 0x9b8d6f43, d = 0x01234567;
    chacha20_detail::quarter_round(a, b, c, d);
    BOOST_TEST(a == 0xea2a92f4u);
    BOOST_TEST(b == 0xcb1cf8ceu);
    BOOST_TEST(c == 0x4581472eu);
    BOOST_TEST(d == 0x5881c4bbu);
}

// RFC 8439, section 2.2.1
BOOST_AUTO_TEST_CASE(quarter_round_on_the_state_matches_rfc_8439) {
    chacha20_words x = {0x879531e0, 0xc5ecf37d, 0x516461b1, 0xc9a62f8a, 0x44c20ef3, 0x3390af7f, 0xd9fc690b, 0x2a5f714c,
                        0x53372767, 0xb00a5631, 0x974c541a, 0x359e9963, 0x5c971061, 0x3d631689, 0x2098d9d6, 0x91dbd320};
    chacha20_words const expected = {0x879531e0, 0xc5ecf37d, 0xbdb886dc, 0xc9a62f8a, 0x44c20ef3, 0x3390af7f,
                                     0xd9fc690b, 0xcfacafd2, 0xe46bea80, 0xb00a5631, 0x974c541a, 0x359e9963,
                                     0x5c971061, 0xccc07c79, 0x2098d9d6, 0x91dbd320};
    chacha20_detail::quarter_round(x[2], x[7], x[8], x[13]);
    BOOST_TEST(x == expected, boost::test_tools::per_element());
}

// RFC 8439, section 2.3.2
BOOST_AUTO_TEST_CASE(block_matches_rfc_8439) {
    buffer const expected =
        hex("10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d705d98b02a2"
            "b5129cd1de164eb9cbd083e8a2503c4e");
    BOOST_TEST(encrypt(counting(32), hex("000000090000004a00000000"), 1, buffer(64)) == expected);
}

// RFC 8439, section 2.4.2
BOOST_AUTO_TEST_CASE(ciphertext_matches_rfc_8439) {
    buffer const nonce = hex("000000000000004a00000000");
    buffer const keystream =
        hex("224f51f3401bd9e12fde276fb8631ded8c131f823d2c06e27e4fcaec9ef3cf788a3b0aa372600a92b57974cded2b9334"
            "794cba40c63e34cdea212c4cf07d41b769a6749f3f630f4122cafe28ec4dc47e26d4346d70b98c73f3e9c53ac40c5945"
            "398b6eda1a832c89c167eacd901d7e2bf363");
    buffer const ciphertext =
        hex("6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357"
            "1639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736"
            "5af90bbf74a35be6b40b8eedf2785e42874d");
    BOOST_TEST(encrypt(counting(32), nonce, 1, buffer(114)) == keystream);
    BOOST_TEST(encrypt(counting(32), nonce, 1, sunscreen()) == ciphertext);
}

BOOST_AUTO_TEST_CASE(passes_vectors_of_rfc_8439_appendix_a) {
    for (auto const* list : {&appendix_a_1, &appendix_a_2})
        for (auto const& v : *list) BOOST_TEST(encrypt(v.key, v.nonce, v.counter, v.plaintext) == v.ciphertext);
}

// RFC 8439, section 2.6.2 and appendix A.4: the one-time key is the first half of block 0, for any length
// of text after it
BOOST_AUTO_TEST_CASE(one_time_key_matches_rfc_8439) {
    struct {
        buffer key, nonce, one_time_key;
    } const vectors[] = {
        {hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"), hex("000000000001020304050607"),
         hex("8ad5a08b905f81cc815040274ab29471a833b637e3fd0da508dbb8e2fdd1a646")},
        {buffer(32), hex("000000000000000000000000"),
         hex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")},
        {hex("0000000000000000000000000000000000000000000000000000000000000001"), hex("000000000000000000000002"),
         hex("ecfa254f845f647473d3cb140da9e87606cb33066c447b87bc2666dde3fbb739")},
        {hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"), hex("000000000000000000000002"),
         hex("965e3bc6f9ec7ed9560808f4d229f94b137ff275ca9b3fcbdd59deaad23310ae")},
    };
    for (auto const& v : vectors)
        for (std::size_t const follows : {0u, 1u, 1000u}) {
            buffer key(32), text(follows);
            buffer const expected = encrypt(v.key, v.nonce, 1, buffer(follows));
            chacha20 cipher(fixed<32>(v.key), fixed<12>(v.nonce), 0);
            cipher.take_one_time_key(std::span(key).first<32>());
            BOOST_TEST(key == v.one_time_key);
            cipher.apply(text, text);
            BOOST_TEST(text == expected);
        }
}

// draft-irtf-cfrg-xchacha-03, section 2.2.1
BOOST_AUTO_TEST_CASE(hchacha20_matches_the_draft) {
    buffer out(32);
    hchacha20(std::span(out).first<32>(), fixed<32>(counting(32)), fixed<16>(hex("000000090000004a0000000031415927")));
    BOOST_TEST(out == hex("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"));
}

BOOST_AUTO_TEST_CASE(hchacha20_may_write_over_its_key) {
    buffer key = counting(32);
    hchacha20(std::span(key).first<32>(), fixed<32>(key), fixed<16>(hex("000000090000004a0000000031415927")));
    BOOST_TEST(key == hex("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"));
}

BOOST_AUTO_TEST_CASE(output_is_correct_for_every_length_and_alignment) {
    noise random(1);
    buffer const key = random.take(32), nonce = random.take(12);
    for (std::size_t size = 0; size <= 700; ++size) {
        buffer const plaintext = random.take(size);
        buffer expected;
        for (std::size_t block = 0; 64 * block < size; ++block) {
            buffer const one(plaintext.begin() + static_cast<std::ptrdiff_t>(64 * block),
                             plaintext.begin() + static_cast<std::ptrdiff_t>(std::min(64 * block + 64, size)));
            buffer const sealed = encrypt(key, nonce, static_cast<std::uint32_t>(7 + block), one);
            expected.insert(expected.end(), sealed.begin(), sealed.end());
        }
        std::size_t const at = size % 16, to = size / 16 % 16;
        buffer in(size + 16, 0xaa), out(size + 32, 0xaa);
        std::copy(plaintext.begin(), plaintext.end(), in.begin() + static_cast<std::ptrdiff_t>(at));
        wg::bytes const src = std::span(in).subspan(at, size), dst = std::span(out).subspan(to, size);

        chacha20(fixed<32>(key), fixed<12>(nonce), 7).apply(dst, src);
        BOOST_TEST(buffer(dst.begin(), dst.end()) == expected);
        BOOST_TEST(buffer(src.begin(), src.end()) == plaintext);
        for (std::size_t i = 0; i < out.size(); ++i)
            if (i < to || i >= to + size) BOOST_REQUIRE(out[i] == 0xaa);

        chacha20(fixed<32>(key), fixed<12>(nonce), 7).apply(src, src);
        BOOST_TEST(buffer(src.begin(), src.end()) == expected);
    }
}

BOOST_AUTO_TEST_CASE(consecutive_calls_continue_the_keystream) {
    noise random(2);
    buffer const key = random.take(32), nonce = random.take(12), plaintext = random.take(3000);
    buffer const expected = encrypt(key, nonce, 0, plaintext);
    for (int round = 0; round < 100; ++round) {
        buffer out(plaintext.size());
        chacha20 cipher(fixed<32>(key), fixed<12>(nonce), 0);
        for (std::size_t at = 0; at < out.size();) {
            std::size_t const now = std::min<std::size_t>(out.size() - at, random.next() % 400);
            cipher.apply(std::span(out).subspan(at, now), std::span(plaintext).subspan(at, now));
            at += now;
        }
        BOOST_TEST(out == expected);
    }
}

BOOST_AUTO_TEST_CASE(counter_overflow_does_not_carry_into_the_nonce) {
    noise random(3);
    buffer const key = random.take(32), nonce = random.take(12);
    buffer const whole = encrypt(key, nonce, 0xfffffffe, buffer(256));
    for (std::size_t block = 0; block < 4; ++block) {
        buffer const expected = encrypt(key, nonce, static_cast<std::uint32_t>(0xfffffffe + block), buffer(64));
        auto const at = whole.begin() + static_cast<std::ptrdiff_t>(64 * block);
        BOOST_TEST(buffer(at, at + 64) == expected);
    }
}

BOOST_AUTO_TEST_SUITE_END()
