// SPDX-License-Identifier: BSL-1.0
// The promises of hash_backend, dh_backend and aead_backend, by published vectors and against the bundled code; then a
// device with this backend against a device with the bundled one. In `unit` the backend is the bundled one itself.
#include "fixture.hpp"

#include "bundled_stack.hpp"

#include <algorithm>

BOOST_AUTO_TEST_SUITE(backends)

using namespace wg_tests;

namespace {

namespace reference = wg::bundled;
using hash = WG_TESTS_CRYPTOGRAPHY::hash;
using dh = WG_TESTS_CRYPTOGRAPHY::dh;
using aead = WG_TESTS_CRYPTOGRAPHY::aead;
using key = wg::secret<32>;

bool all_zero(wg::bytes_view in) {
    return std::all_of(in.begin(), in.end(), [](wg::byte b) { return b == 0; });
}

template <class Aead = aead>
buffer seal(buffer const& plaintext, buffer const& aad, std::uint64_t counter, key const& k) {
    buffer sealed(plaintext.size() + wg::tag_bytes);
    Aead{}.seal(sealed, plaintext, aad, counter, k);
    return sealed;
}

buffer multiply(buffer const& scalar, buffer const& point) {
    key out;
    if (!dh{}.dh(out, key(fixed<32>(scalar)), fixed<32>(point))) return {};
    return buffer(out.expose().begin(), out.expose().end());
}

/// Lengths around the blocks of ciphers and vectors, the length of a packet, and the longest.
std::vector<std::size_t> lengths() {
    std::vector<std::size_t> all;
    for (std::size_t size = 0; size <= 200; ++size) all.push_back(size);
    for (std::size_t block = 256; block <= 2048; block += 64)
        for (std::size_t const size : {block - 1, block, block + 1}) all.push_back(size);
    for (std::size_t const size : {1420u, 1424u, 65535u}) all.push_back(size);
    return all;
}

// RFC 8439, appendix A.5: its nonce begins with four zero bytes, as WireGuard's does
buffer const published_key = hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
constexpr std::uint64_t published_counter = 0x0807060504030201;
buffer const published_aad = hex("f33388860000000000004e91");
buffer const published_text =
    text("Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or "
         "obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference material "
         "or to cite them other than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d");
buffer const published_sealed =
    hex("64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0"
        "bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855"
        "9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e9"
        "9040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a"
        "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130"
        "305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38");

/// Devices with the bundled cryptography.
struct bundled_policies : test_policies {
    using hash = reference::hash;
    using dh = reference::dh;
    using aead = reference::aead;
};

} // namespace

BOOST_AUTO_TEST_CASE(seals_and_opens_the_vectors_of_rfc_8439) {
    key const k(fixed<32>(published_key));
    BOOST_TEST(seal(published_text, published_aad, published_counter, k) == published_sealed);
    buffer opened(published_text.size());
    BOOST_TEST(aead{}.open(opened, published_sealed, published_aad, published_counter, k));
    BOOST_TEST(opened == published_text);
}

// draft-irtf-cfrg-xchacha-03, appendix A.3.1: the nonce's first 16 bytes make a key, its last 8 are the counter
BOOST_AUTO_TEST_CASE(seals_the_xchacha20_poly1305_vector_of_the_draft) {
    key const k(fixed<32>(hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")));
    key subkey;
    aead{}.hchacha20(subkey, k, fixed<16>(hex("404142434445464748494a4b4c4d4e4f")));
    BOOST_TEST(seal(sunscreen(), hex("50515253c0c1c2c3c4c5c6c7"), 0x5756555453525150, subkey) ==
               hex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
                   "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
                   "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49"));
}

BOOST_AUTO_TEST_CASE(seals_as_the_bundled_code_at_every_length_and_alignment_in_place_and_apart) {
    noise random(4001);
    for (std::size_t const size : lengths()) {
        key const k(fixed<32>(random.take(32)));
        std::uint64_t const counter = random.next();
        buffer const plaintext = random.take(size), aad = random.take(random.next() % 40);
        buffer const expected = seal<reference::aead>(plaintext, aad, counter, k);
        std::size_t const at = random.next() % 16, to = random.next() % 16;

        buffer in(at + size + wg::tag_bytes), out(to + size + wg::tag_bytes);
        wg::bytes const place = std::span(in).subspan(at), source = place.first(size);
        wg::bytes const apart = std::span(out).subspan(to);
        wg::copy(source, plaintext);
        aead{}.seal(apart, source, aad, counter, k);
        BOOST_REQUIRE_MESSAGE(std::ranges::equal(apart, expected), size << " bytes apart");
        aead{}.seal(place, source, aad, counter, k);
        BOOST_REQUIRE_MESSAGE(std::ranges::equal(place, expected), size << " bytes in place");

        buffer opened(to + size, 0xaa);
        BOOST_REQUIRE_MESSAGE(aead{}.open(std::span(opened).subspan(to), place, aad, counter, k), size << " bytes");
        BOOST_REQUIRE(std::ranges::equal(std::span(opened).subspan(to), plaintext));
        BOOST_REQUIRE_MESSAGE(aead{}.open(source, place, aad, counter, k), size << " bytes in place");
        BOOST_REQUIRE(std::ranges::equal(source, plaintext));
    }
}

BOOST_AUTO_TEST_CASE(refuses_a_flipped_bit_and_leaves_zero) {
    noise random(4002);
    key const k(fixed<32>(random.take(32)));
    for (std::size_t const size : {0u, 1u, 16u, 63u, 300u, 1420u}) {
        buffer const plaintext = random.take(size), aad = random.take(21);
        buffer const sealed = seal(plaintext, aad, 5, k);
        std::size_t const bits = sealed.size() * 8;
        for (std::size_t bit = 0; bit < bits; bit += (bits > 3000 ? 1 + random.next() % 31 : 1)) {
            buffer forged = sealed, opened(size, 0xaa);
            forged[bit / 8] = static_cast<wg::byte>(forged[bit / 8] ^ (1 << bit % 8));
            BOOST_REQUIRE(!aead{}.open(opened, forged, aad, 5, k));
            BOOST_REQUIRE(all_zero(opened));
            BOOST_REQUIRE(!aead{}.open(std::span(forged).first(size), forged, aad, 5, k));
            BOOST_REQUIRE(all_zero(std::span(forged).first(size)));
        }
        buffer other = aad, opened(size, 0xaa);
        other.back() ^= 1;
        BOOST_TEST(!aead{}.open(opened, sealed, other, 5, k));
        BOOST_TEST(all_zero(opened));
        BOOST_TEST(!aead{}.open(opened, sealed, aad, 6, k));
    }
}

// RFC 7748, sections 5.2 and 6.1
BOOST_AUTO_TEST_CASE(computes_published_shared_secrets) {
    BOOST_TEST(multiply(hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                        hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")) ==
               hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"));
    BOOST_TEST(multiply(hex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
                        hex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493")) ==
               hex("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"));
    buffer k(32), u(32);
    k[0] = u[0] = 9;
    for (int i = 0; i < 1000; ++i) u = std::exchange(k, multiply(k, u));
    BOOST_TEST(k == hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
    wg::public_key alice;
    dh{}.dh_public(alice, key(fixed<32>(hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))));
    BOOST_TEST(buffer(alice.begin(), alice.end()) ==
               hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
}

// The u coordinates of all points of order 1, 2, 4 and 8, in every encoding
BOOST_AUTO_TEST_CASE(refuses_points_of_low_order_and_leaves_zero) {
    noise random(4003);
    for (char const* const point : {"0000000000000000000000000000000000000000000000000000000000000000",
                                    "0100000000000000000000000000000000000000000000000000000000000000",
                                    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                                    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                                    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"})
        for (wg::byte const high_bit : {wg::byte{0}, wg::byte{0x80}}) {
            buffer u = hex(point);
            u[31] |= high_bit;
            key out(fixed<32>(buffer(32, 0xaa)));
            BOOST_TEST(!dh{}.dh(out, key(fixed<32>(random.take(32))), fixed<32>(u)));
            BOOST_TEST(out.is_zero());
        }
}

// Scalars that are not clamped, points beyond p, points with the highest bit set, and random input
BOOST_AUTO_TEST_CASE(computes_the_shared_secrets_of_the_bundled_code) {
    noise random(4004);
    for (int round = 0; round < 200; ++round) {
        key const scalar(fixed<32>(random.take_edges(32)));
        buffer point = random.take_edges(32);
        if (round % 4 == 0) std::fill(point.begin() + 1, point.end(), wg::byte{0xff}); // p - 237 to p + 18
        key expected, got(fixed<32>(buffer(32, 0xaa)));
        bool const good = reference::dh{}.dh(expected, scalar, fixed<32>(point));
        BOOST_REQUIRE(dh{}.dh(got, scalar, fixed<32>(point)) == good);
        BOOST_REQUIRE(got.equals(expected));
        wg::public_key own{}, theirs{};
        reference::dh{}.dh_public(theirs, scalar);
        dh{}.dh_public(own, scalar);
        BOOST_REQUIRE(own == theirs);
    }
}

BOOST_AUTO_TEST_CASE(shared_secret_may_overwrite_the_scalar) {
    key const scalar(fixed<32>(noise(4005).take(32)));
    buffer const point = noise(4006).take(32);
    key expected, both;
    both.assign(scalar);
    BOOST_TEST(dh{}.dh(expected, scalar, fixed<32>(point)));
    BOOST_TEST(dh{}.dh(both, both, fixed<32>(point)));
    BOOST_TEST(both.equals(expected));
}

// RFC 7693, appendix B; then digests, keys and inputs of random sizes
BOOST_AUTO_TEST_CASE(computes_published_digests_and_those_of_the_bundled_code) {
    buffer out(32), expected(32);
    hash{}.blake2s(out, {}, text("abc"), {});
    BOOST_TEST(out == hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"));
    noise random(4007);
    for (int round = 0; round < 1000; ++round) {
        buffer const k = random.take(random.next() % 33), a = random.take(random.next() % 200),
                     b = random.take(random.next() % 5 == 0 ? random.next() % 2000 : random.next() % 100);
        std::size_t const size = 1 + random.next() % 32;
        hash{}.blake2s(std::span(out).first(size), k, a, b);
        reference::hash{}.blake2s(std::span(expected).first(size), k, a, b);
        BOOST_REQUIRE(std::ranges::equal(std::span(out).first(size), std::span(expected).first(size)));
    }
}

#ifdef WG_TESTS_CAN_SEARCH_STACK
BOOST_AUTO_TEST_CASE(leaves_no_secret_on_the_stack) {
    noise random(4008);
    buffer const raw = random.take(32), point = random.take(32);
    key const k(fixed<32>(raw));
    buffer one_time_key(64);
    reference::chacha20(fixed<32>(raw), fixed<12>(buffer(12)), 0).apply(one_time_key, one_time_key);
    for (std::size_t const size : {0u, 64u, 1420u}) {
        buffer plaintext(size), sealed(size + wg::tag_bytes);
        auto const found = search_stack_after([&] {
            aead{}.seal(sealed, plaintext, {}, 0, k);
            if (!aead{}.open(plaintext, sealed, {}, 0, k)) std::abort();
        });
        BOOST_TEST(!found.has(raw));
        BOOST_TEST(!found.has(one_time_key));
    }
    key product;
    auto const found = search_stack_after([&] {
        if (!dh{}.dh(product, k, fixed<32>(point))) std::abort();
    });
    BOOST_TEST(!found.has(raw));
    BOOST_TEST(!found.has(buffer(product.expose().begin(), product.expose().end())));
    buffer digest(32);
    auto const left = search_stack_after([&] { hash{}.blake2s(digest, raw, point, raw); });
    BOOST_TEST(!left.has(raw));
}
#endif

BOOST_AUTO_TEST_CASE(devices_with_both_backends_exchange_packets_whichever_begins) {
    for (bool const ours_begins : {true, false}) {
        world w;
        basic_host<test_policies> ours(w, 1);
        basic_host<bundled_policies> theirs(w, 2);
        introduce(ours, theirs);
        auto const settle = [&] {
            for (unsigned round = 0; round < 100; ++round) {
                ours.poll();
                theirs.poll();
                if (ours.outbox.empty() && theirs.outbox.empty()) return;
                for (; !ours.outbox.empty(); ours.outbox.pop_front()) theirs.receive(ours.outbox.front());
                for (; !theirs.outbox.empty(); theirs.outbox.pop_front()) ours.receive(theirs.outbox.front());
            }
            BOOST_TEST(false, "the hosts never stop sending");
        };
        std::vector<buffer> there, back;
        for (std::uint64_t stamp = 0; stamp < 40; ++stamp) {
            std::size_t const size = 28 + static_cast<std::size_t>(stamp) * 35;
            there.push_back(ipv4(ours, theirs, size, stamp));
            back.push_back(ipv6(theirs, ours, size + 20, stamp));
            for (bool const ours_now : {ours_begins, !ours_begins}) {
                static_cast<void>(ours_now ? ours.send(there.back()) : theirs.send(back.back()));
                settle();
            }
        }
        BOOST_TEST(theirs.received == there);
        BOOST_TEST(ours.received == back);
    }
}

BOOST_AUTO_TEST_SUITE_END()
