// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 against RFC 8439 and draft-irtf-cfrg-xchacha, and the contract of aead_backend.
#include "wg/backends/bundled/aead.hpp"

#include "bundled_stack.hpp"
#include "bundled_vectors.hpp"

#include <algorithm>
#include <boost/mpl/list.hpp>
#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(bundled_aead)

using namespace wg::bundled;
using namespace wg_tests;

namespace {

/// The kernel for those of the allowed instruction sets that this processor has.
template <cpu Allowed> struct aead_on : aead {
    aead_on() : aead(detect_cpu() & Allowed) {}
};

constexpr cpu up_to_ssse3 = cpu::ssse3, up_to_avx2 = up_to_ssse3 | cpu::avx2, up_to_avx512 = up_to_avx2 | cpu::avx512;

using plain32 = aead_fixed<plain_kernel<limbs32>>;
#if defined(WG_X86_KERNELS)
using aeads =
    boost::mpl::list<plain32, aead_fixed<compact_kernel>, aead_fixed<plain_kernel<>>, aead_fixed<baseline_kernel>,
                     aead_on<up_to_ssse3>, aead_on<up_to_avx2>, aead_on<up_to_avx512>, aead_on<cpu::all>>;
#elif defined(WG_VECTOR_KERNELS)
using aeads = boost::mpl::list<plain32, aead_fixed<compact_kernel>, aead_fixed<baseline_kernel>>;
#else
using aeads = boost::mpl::list<plain32, aead_fixed<compact_kernel>>;
#endif

using key = wg::secret<32>;

struct vector {
    buffer key, nonce, aad, plaintext, sealed;
};

// RFC 8439, section 2.8.2 and appendix A.5
std::vector<vector> const published = {
    {hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"), hex("070000004041424344454647"),
     hex("50515253c0c1c2c3c4c5c6c7"), sunscreen(),
     hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
         "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
         "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691")},
    {hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"), hex("000000000102030405060708"),
     hex("f33388860000000000004e91"),
     text("Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or "
          "obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference material "
          "or to cite them other than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d"),
     hex("64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0"
         "bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855"
         "9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e9"
         "9040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a"
         "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130"
         "305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38")},
};

template <class Aead> buffer seal(buffer const& plaintext, buffer const& aad, std::uint64_t counter, key const& k) {
    buffer sealed(plaintext.size() + 16);
    Aead{}.seal(sealed, plaintext, aad, counter, k);
    return sealed;
}

bool all_zero(wg::bytes_view in) {
    return std::all_of(in.begin(), in.end(), [](wg::byte b) { return b == 0; });
}

} // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(seals_and_opens_rfc_8439_vectors, Aead, aeads) {
    for (auto const& v : published) {
        key const k(fixed<32>(v.key));
        buffer sealed(v.plaintext.size() + 16), opened(v.plaintext.size());
        Aead{}.seal(sealed, v.plaintext, v.aad, fixed<12>(v.nonce), k);
        BOOST_TEST(sealed == v.sealed);
        BOOST_TEST(Aead{}.open(opened, v.sealed, v.aad, fixed<12>(v.nonce), k));
        BOOST_TEST(opened == v.plaintext);
    }
}

// draft-irtf-cfrg-xchacha-03, appendix A.3.1: the first 16 bytes of the nonce derive a key, the last 8 are the counter
BOOST_AUTO_TEST_CASE_TEMPLATE(seals_xchacha20_poly1305_draft_vector, Aead, aeads) {
    key const k(fixed<32>(hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")));
    buffer const nonce = hex("404142434445464748494a4b4c4d4e4f5051525354555657"), aad = hex("50515253c0c1c2c3c4c5c6c7");
    key subkey;
    Aead{}.hchacha20(subkey, k, fixed<16>(nonce));
    buffer const sealed = seal<Aead>(sunscreen(), aad, 0x5756555453525150, subkey);
    BOOST_TEST(sealed ==
               hex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
                   "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
                   "21f9664c97637da9768812f615c68b13b52e"
                   "c0875924c1c7987947deafd8780acf49"));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(counter_is_the_last_eight_bytes_of_the_nonce, Aead, aeads) {
    key const k(fixed<32>(noise(8).take(32)));
    buffer const plaintext = noise(9).take(100), aad = noise(10).take(5);
    buffer expected(116);
    Aead{}.seal(expected, plaintext, aad, fixed<12>(hex("00000000efcdab8967452301")), k);
    BOOST_TEST(seal<Aead>(plaintext, aad, 0x0123456789abcdef, k) == expected);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(every_kernel_gives_the_same_output_for_every_length_and_alignment, Aead, aeads) {
    noise random(11);
    key const k(fixed<32>(random.take(32)));
    std::vector<std::size_t> sizes;
    for (std::size_t size = 0; size <= 300; ++size) sizes.push_back(size);
    for (std::size_t size = 307; size <= 4200; size += 61)
        sizes.push_back(size); // sizes around every step and vector width
    for (std::size_t const size : {511u, 512u, 513u, 1419u, 1420u, 1421u, 1424u, 4095u, 4096u, 65535u})
        sizes.push_back(size);
    for (std::size_t const size : sizes)
        for (std::size_t at = size % 3; at < 16; at += 3) {
            std::size_t const to = random.next() % 16;
            std::uint64_t const counter = random.next();
            buffer const plaintext = random.take(size), aad = random.take(random.next() % 40);
            buffer const expected = seal<plain32>(plaintext, aad, counter, k);

            buffer in(at + size + 16), out(to + size + 16);
            std::copy(plaintext.begin(), plaintext.end(), in.begin() + static_cast<std::ptrdiff_t>(at));
            wg::bytes const text = std::span(in).subspan(at, size), place = std::span(in).subspan(at);
            wg::bytes const apart = std::span(out).subspan(to);
            Aead{}.seal(apart, text, aad, counter, k);
            BOOST_REQUIRE(std::equal(apart.begin(), apart.end(), expected.begin(), expected.end()));
            Aead{}.seal(place, text, aad, counter, k);
            BOOST_REQUIRE(std::equal(place.begin(), place.end(), expected.begin(), expected.end()));

            buffer opened(to + size, 0xaa);
            BOOST_REQUIRE(Aead{}.open(std::span(opened).subspan(to), place, aad, counter, k));
            BOOST_REQUIRE(
                std::equal(plaintext.begin(), plaintext.end(), opened.begin() + static_cast<std::ptrdiff_t>(to)));
            BOOST_REQUIRE(Aead{}.open(text, place, aad, counter, k));
            BOOST_REQUIRE(std::equal(plaintext.begin(), plaintext.end(), text.begin()));
        }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(rejects_every_flipped_bit_and_zeroes_the_output, Aead, aeads) {
    noise random(12);
    key const k(fixed<32>(random.take(32)));
    for (std::size_t const size : {0u, 1u, 16u, 63u, 200u}) {
        buffer const plaintext = random.take(size), aad = random.take(21);
        buffer const sealed = seal<Aead>(plaintext, aad, 5, k);
        for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
            buffer forged = sealed;
            forged[bit / 8] = static_cast<wg::byte>(forged[bit / 8] ^ (1 << bit % 8));
            buffer opened(size, 0xaa);
            BOOST_REQUIRE(!Aead{}.open(opened, forged, aad, 5, k));
            BOOST_REQUIRE(all_zero(opened));
            BOOST_REQUIRE(!Aead{}.open(std::span(forged).first(size), forged, aad, 5, k));
            BOOST_REQUIRE(all_zero(std::span(forged).first(size)));
        }
        for (std::size_t bit = 0; bit < aad.size() * 8; ++bit) {
            buffer other = aad, opened(size, 0xaa);
            other[bit / 8] = static_cast<wg::byte>(other[bit / 8] ^ (1 << bit % 8));
            BOOST_REQUIRE(!Aead{}.open(opened, sealed, other, 5, k));
            BOOST_REQUIRE(all_zero(opened));
        }
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(rejects_wrong_key_counter_or_aad_length, Aead, aeads) {
    noise random(13);
    buffer const bytes = random.take(32), plaintext = random.take(64);
    key const k(fixed<32>(bytes));
    buffer const sealed = seal<Aead>(plaintext, {}, 0, k);
    buffer opened(64);
    BOOST_TEST(Aead{}.open(opened, sealed, {}, 0, k));
    for (std::size_t bit = 0; bit < 64; ++bit) BOOST_TEST(!Aead{}.open(opened, sealed, {}, std::uint64_t{1} << bit, k));
    for (std::size_t bit = 0; bit < 256; ++bit) {
        buffer other = bytes;
        other[bit / 8] = static_cast<wg::byte>(other[bit / 8] ^ (1 << bit % 8));
        BOOST_TEST(!Aead{}.open(opened, sealed, {}, 0, key(fixed<32>(other))));
    }
    // 16 bytes of ciphertext passed as aad: the lengths are authenticated
    BOOST_TEST(
        !Aead{}.open(std::span(opened).first(48), std::span(sealed).subspan(16), std::span(sealed).first(16), 0, k));
}

#ifdef WG_VECTOR_KERNELS
/// The tag of a packet without additional data, computed with 32-bit limbs.
buffer tag_in_words(buffer const& key, buffer const& message) {
    buffer tag(16), lengths(16);
    wg::store_le64(lengths.data() + 8, message.size());
    poly1305<limbs32> mac(fixed<32>(key));
    mac.update(message);
    mac.pad();
    mac.update(lengths);
    mac.finish(std::span(tag).first<16>());
    return tag;
}

/// Limbs at their bounds: the largest multiplier, blocks of ones, edges. The sizes cover every count of blocks in the
/// first vector, in the last vector, and in between.
void check_tags(void (*make_tags)(std::span<packet_tag>) noexcept) {
    noise random(16);
    for (std::size_t size = 0; size <= 1500; size += size < 300 ? 1 : 1 + random.next() % 16)
        for (int kind = 0; kind < 4; ++kind) {
            buffer const key = kind & 1 ? random.take_edges(32) : buffer(32, 0xff);
            buffer const message = kind & 2 ? random.take_edges(size) : buffer(size, 0xff);
            packet_tag packet;
            std::copy(key.begin(), key.end(), packet.key);
            packet.message = message.data();
            packet.size = size;
            make_tags({&packet, 1});
            BOOST_REQUIRE(buffer(packet.tag, packet.tag + 16) == tag_in_words(key, message));
        }
}

BOOST_AUTO_TEST_CASE(vector_kernels_compute_the_same_tags_as_scalar_code) {
    check_tags(kernel_vector128::make_tags);
#ifdef WG_X86_KERNELS
    cpu const here = detect_cpu();
    if (has(here, cpu::ssse3)) check_tags(kernel_ssse3::make_tags);
    if (has(here, cpu::avx2)) check_tags(kernel_avx2::make_tags);
    if (has(here, cpu::avx512)) check_tags(kernel_avx512::make_tags);
    if (has(here, cpu::ifma)) check_tags(kernel_ifma::make_tags);
#endif
}
#endif

#ifdef WG_TESTS_CAN_SEARCH_STACK
/// Searches for words of the key and words of the one-time key, which is how the kernels store them.
BOOST_AUTO_TEST_CASE_TEMPLATE(leaves_no_key_on_the_stack, Aead, aeads) {
    noise random(14);
    buffer const bytes = random.take(32), nonce = buffer(12), aad = random.take(16);
    key const k(fixed<32>(bytes));
    buffer one_time_key(32);
    chacha20(fixed<32>(bytes), fixed<12>(nonce), 0).apply(one_time_key, one_time_key);
    buffer keystream(256);
    chacha20(fixed<32>(bytes), fixed<12>(nonce), 1).apply(keystream, keystream);
    for (std::size_t const size : {0u, 64u, 1420u}) {
        buffer plaintext(size), sealed(size + 16), opened(size);
        auto const found = search_stack_after([&] {
            Aead{}.seal(sealed, plaintext, aad, 0, k);
            if (!Aead{}.open(opened, sealed, aad, 0, k)) std::abort();
        });
        BOOST_TEST(!found.has(bytes));
        BOOST_TEST(!found.has(one_time_key));
        BOOST_TEST(!found.has(keystream));
    }
}

BOOST_AUTO_TEST_CASE(stack_search_finds_a_planted_key) {
    noise random(15);
    buffer const bytes = random.take(32);
    auto const found = search_stack_after([&] {
        wg::byte left[32];
        std::memcpy(left, bytes.data(), sizeof left);
        asm volatile("" : : "r"(left) : "memory");
    });
    BOOST_TEST(found.has(bytes));
}
#endif

BOOST_AUTO_TEST_SUITE_END()
