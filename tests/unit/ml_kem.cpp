// SPDX-License-Identifier: BSL-1.0
// ML-KEM-768 against FIPS 203: published vectors, the input checks, implicit rejection.
#include "wg/backends/bundled/ml_kem.hpp"

#include "bundled_sets.hpp"
#include "bundled_vectors.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>

BOOST_AUTO_TEST_SUITE(bundled_ml_kem)

using namespace wg_tests;
using namespace wg::bundled;
namespace detail = wg::bundled::ml_kem_detail;

namespace {

/// `ml_kem_768` for some instruction sets, or the portable kernel, which processors with vectors do not use.
class kem_type : public ml_kem_768 {
public:
    using ml_kem_768::ml_kem_768;
    static kem_type portable() {
        kem_type kem(cpu::baseline);
        kem.is_portable_ = true;
        return kem;
    }

    bool generate(std::span<wg::byte, public_key_bytes> public_key, wg::secret<private_key_bytes>& private_key,
                  wg::secret<64> const& random) const {
        if (!is_portable_) return ml_kem_768::generate(public_key, private_key, random);
        kernel::generate(public_key.data(), private_key.expose().data(), random.expose().data());
        return true;
    }
    bool encapsulate(std::span<wg::byte, ciphertext_bytes> ciphertext, wg::secret<32>& shared,
                     std::span<wg::byte const, public_key_bytes> public_key, wg::secret<32> const& random) const {
        if (!is_portable_) return ml_kem_768::encapsulate(ciphertext, shared, public_key, random);
        if (kernel::encapsulate(ciphertext.data(), shared.expose().data(), public_key.data(), random.expose().data()))
            return true;
        wg::fill_zero(ciphertext), shared.clear();
        return false;
    }
    bool decapsulate(wg::secret<32>& shared, wg::secret<private_key_bytes> const& private_key,
                     std::span<wg::byte const, ciphertext_bytes> ciphertext) const {
        if (!is_portable_) return ml_kem_768::decapsulate(shared, private_key, ciphertext);
        if (kernel::decapsulate(shared.expose().data(), private_key.expose().data(), ciphertext.data())) return true;
        shared.clear();
        return false;
    }

private:
    using kernel = detail::ml_kem<detail::portable_kernel>;
    bool is_portable_ = false;
};

/// A key pair in plain memory, and the three operations on buffers.
struct pair {
    kem_type kem;
    buffer public_key = buffer(kem_type::public_key_bytes);
    wg::secret<kem_type::private_key_bytes> private_key;

    pair(kem_type const& with, wg::bytes_view d, wg::bytes_view z) : kem(with) {
        wg::secret<64> seed;
        wg::copy(seed.expose(), d);
        wg::copy(seed.expose().subspan(32), z);
        BOOST_TEST(kem.generate(std::span<wg::byte, kem_type::public_key_bytes>(public_key), private_key, seed));
    }
    buffer private_bytes() const {
        auto const bytes = private_key.expose();
        return buffer(bytes.begin(), bytes.end());
    }
    void set_private(buffer const& bytes) { private_key.assign(fixed<kem_type::private_key_bytes>(bytes)); }
};

struct sealed {
    bool good;
    buffer ciphertext, shared;
};
sealed encapsulate(kem_type const& kem, buffer const& public_key, wg::bytes_view message) {
    sealed out{false, buffer(kem_type::ciphertext_bytes, 0xaa), buffer(32)};
    wg::secret<32> shared, random;
    wg::copy(shared.expose(), buffer(32, 0xaa));
    wg::copy(random.expose(), message);
    out.good = kem.encapsulate(std::span<wg::byte, kem_type::ciphertext_bytes>(out.ciphertext), shared,
                               fixed<kem_type::public_key_bytes>(public_key), random);
    wg::copy(out.shared, shared.expose());
    return out;
}
/// The shared secret; empty if the key was refused.
buffer decapsulate(pair const& with, buffer const& ciphertext) {
    wg::secret<32> shared;
    wg::copy(shared.expose(), buffer(32, 0xaa));
    bool const good = with.kem.decapsulate(shared, with.private_key, fixed<kem_type::ciphertext_bytes>(ciphertext));
    if (!good) BOOST_TEST(shared.is_zero());
    return good ? buffer(shared.expose().begin(), shared.expose().end()) : buffer();
}

buffer digest(wg::bytes_view of) {
    buffer out(32);
    keccak_hash(sha3_256, out, of);
    return out;
}
/// The secret of a rejected ciphertext: SHAKE256(z, ciphertext), 32 bytes (FIPS 203, algorithm 18).
buffer rejection(pair const& with, buffer const& ciphertext) {
    buffer const private_bytes = with.private_bytes();
    buffer out(32);
    keccak_hash(shake256, out, std::span(private_bytes).last(32), ciphertext);
    return out;
}

std::vector<kem_type> all_kems() {
    std::vector<kem_type> kems = {kem_type::portable()};
    for (cpu const set : cpu_sets(detect_cpu())) kems.emplace_back(set);
    return kems;
}
pair random_pair(kem_type const& kem, noise& random) { return {kem, random.take(32), random.take(32)}; }

} // namespace

// --- published vectors

// C2SP Wycheproof, mlkem_768_test.json number 2 and mlkem_768_encaps_test.json number 14, from the official seeds of
// round 3: d, z and m, and the digests (SHA3-256) of keys and ciphertext.
BOOST_AUTO_TEST_CASE(keys_ciphertext_and_secret_match_published_vectors) {
    for (kem_type const& kem : all_kems()) {
        pair const keys(kem, hex("7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d"),
                        hex("8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f"));
        BOOST_TEST(digest(keys.public_key) == hex("f57262661358cde8d3ebf990e5fd1d5b896c992ccfaadb5256b68bbf5943b132"));
        BOOST_TEST(digest(keys.private_key.expose()) ==
                   hex("7deef44965b03d76de543ad6ef9e74a2772fa5a9fa0e761120dac767cf0152ef"));
        sealed const made =
            encapsulate(kem, keys.public_key, hex("147c03f7a5bebba406c8fae1874d7f13c80efe79a3a9a874cc09fe76f6997615"));
        buffer const shared = hex("e7184a0975ee3470878d2d159ec83129c8aec253d4ee17b4810311d198cd0368");
        BOOST_TEST(made.good);
        BOOST_TEST(digest(made.ciphertext) == hex("6e777e2cf8054659136a971d9e70252f301226930c19c470ee0688163a63c15b"));
        BOOST_TEST(made.shared == shared);
        BOOST_TEST(decapsulate(keys, made.ciphertext) == shared);
    }
}

// The standard library of Go, TestAccumulated of crypto/mlkem: all inputs are the output of SHAKE128 for an empty
// message, and the digest is SHAKE128 of all outputs. The same procedure with the draft of FIPS 203:
// https://c2sp.org/CCTV/ML-KEM.
BOOST_AUTO_TEST_CASE(many_operations_match_the_published_digest) {
    bool const is_long = std::getenv("WG_TESTS_LONG") != nullptr;
    struct {
        int count;
        char const* digest;
    } const known[] = {{100, "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415"},
                       {10000, "8a518cc63da366322a8e7a818c7a0d63483cb3528d34a4cf42f35d5ad73f22fc"},
                       {1000000, "424bf8f0e8ae99b78d788a6e2e8e9cdaf9773fc0c08a6f433507cb559edfd0f0"}};
    for (kem_type const& kem : {kem_type::portable(), kem_type(cpu::baseline), kem_type(detect_cpu())}) {
        keccak_sponge<> random(shake128), all(shake128);
        random.finish();
        buffer d(32), z(32), m(32), other(kem_type::ciphertext_bytes);
        for (int i = 0; i < (is_long ? 1000000 : 10000);) {
            for (buffer* const to : {&d, &z, &m, &other}) random.squeeze(*to);
            pair const keys(kem, d, z);
            sealed const made = encapsulate(kem, keys.public_key, m);
            if (!made.good || decapsulate(keys, made.ciphertext) != made.shared) BOOST_FAIL("no common secret");
            for (buffer const& out : {keys.public_key, made.ciphertext, made.shared, decapsulate(keys, other)})
                all.absorb(out);
            ++i;
            for (auto const& at : known) {
                if (at.count != i) continue;
                keccak_sponge<> until_here = all;
                until_here.finish();
                buffer got(32);
                until_here.squeeze(got);
                BOOST_TEST(got == hex(at.digest));
            }
        }
    }
}

// --- rejection

BOOST_AUTO_TEST_CASE(every_changed_ciphertext_gives_the_secret_of_implicit_rejection) {
    noise random(41);
    for (kem_type const& kem : all_kems()) {
        pair const keys = random_pair(kem, random);
        sealed const made = encapsulate(kem, keys.public_key, random.take(32));
        for (std::size_t at = 0; at < made.ciphertext.size(); at += kem_type::ciphertext_bytes / 64) {
            buffer changed = made.ciphertext;
            changed[at] = static_cast<wg::byte>(changed[at] ^ 1 << random.next() % 8);
            buffer const secret = decapsulate(keys, changed);
            BOOST_TEST(secret == rejection(keys, changed));
            BOOST_TEST(secret != made.shared);
            BOOST_TEST(secret == decapsulate(keys, changed));
        }
        buffer last = made.ciphertext;
        last.back() ^= 0x80;
        BOOST_TEST(decapsulate(keys, last) == rejection(keys, last));
        for (wg::byte const all : {wg::byte{0}, wg::byte{255}}) {
            buffer const nonsense(kem_type::ciphertext_bytes, all);
            BOOST_TEST(decapsulate(keys, nonsense) == rejection(keys, nonsense));
        }
    }
}

BOOST_AUTO_TEST_CASE(ciphertext_for_another_key_is_rejected) {
    noise random(42);
    pair const one = random_pair(kem_type(), random), other = random_pair(kem_type(), random);
    sealed const made = encapsulate(one.kem, one.public_key, random.take(32));
    BOOST_TEST(decapsulate(other, made.ciphertext) == rejection(other, made.ciphertext));
}

// --- input checks (FIPS 203, sections 7.2 and 7.3). Sizes are types here.

BOOST_AUTO_TEST_CASE(encapsulation_refuses_every_coefficient_that_is_not_reduced) {
    noise random(43);
    for (kem_type const& kem : {kem_type::portable(), kem_type(cpu::baseline), kem_type(detect_cpu())}) {
        pair const keys = random_pair(kem, random);
        buffer const message = random.take(32);
        for (std::size_t i = 0; i < 768; ++i) {
            unsigned const value = i == 5 ? 3329 : i == 6 ? 4095 : 3329 + static_cast<unsigned>(random.next() % 767);
            buffer changed = keys.public_key;
            wg::byte* const at = &changed[i / 2 * 3];
            if (i % 2 == 0)
                at[0] = static_cast<wg::byte>(value), at[1] = static_cast<wg::byte>((at[1] & 0xf0) | value >> 8);
            else at[1] = static_cast<wg::byte>((at[1] & 15) | value << 4), at[2] = static_cast<wg::byte>(value >> 4);
            sealed const made = encapsulate(kem, changed, message);
            BOOST_TEST(!made.good);
            BOOST_TEST(made.shared == buffer(32));
            BOOST_TEST(made.ciphertext == buffer(kem_type::ciphertext_bytes));
        }
        buffer largest = keys.public_key; // 3328 is the largest value that passes
        for (std::size_t i = 0; i < 1152; i += 3) largest[i] = 0x00, largest[i + 1] = 0x0d, largest[i + 2] = 0xd0;
        BOOST_TEST(encapsulate(kem, largest, message).good);
    }
}

BOOST_AUTO_TEST_CASE(decapsulation_refuses_a_private_key_whose_hash_does_not_match) {
    noise random(44);
    for (kem_type const& kem : {kem_type::portable(), kem_type(cpu::baseline), kem_type(detect_cpu())}) {
        pair keys = random_pair(kem, random);
        sealed const made = encapsulate(kem, keys.public_key, random.take(32));
        buffer const intact = keys.private_bytes();
        for (std::size_t const at : {1152u, 1700u, 2303u, 2335u, 2336u, 2367u}) { // the public key and its hash
            buffer changed = intact;
            changed[at] ^= 4;
            keys.set_private(changed);
            BOOST_TEST(decapsulate(keys, made.ciphertext).empty());
        }
        for (std::size_t const at : {0u, 1151u}) { // another secret vector is a key of its own
            buffer changed = intact;
            changed[at] ^= 4;
            keys.set_private(changed);
            BOOST_TEST(!decapsulate(keys, made.ciphertext).empty());
        }
    }
}

// --- the same bytes from every kernel

BOOST_AUTO_TEST_CASE(all_kernels_give_the_same_bytes) {
    noise random(45);
    for (int i = 0; i < 100; ++i) {
        buffer const d = random.take_edges(32), z = random.take(32), m = random.take_edges(32),
                     wrong = random.take_edges(kem_type::ciphertext_bytes);
        pair const expected(kem_type::portable(), d, z);
        sealed const made = encapsulate(expected.kem, expected.public_key, m);
        for (kem_type const& kem : all_kems()) {
            pair const keys(kem, d, z);
            BOOST_TEST(keys.public_key == expected.public_key);
            BOOST_TEST(keys.private_bytes() == expected.private_bytes());
            sealed const again = encapsulate(kem, keys.public_key, m);
            BOOST_TEST(again.ciphertext == made.ciphertext);
            BOOST_TEST(again.shared == made.shared);
            BOOST_TEST(decapsulate(keys, made.ciphertext) == made.shared);
            BOOST_TEST(decapsulate(keys, wrong) == rejection(expected, wrong));
        }
    }
}

// --- arithmetic

BOOST_AUTO_TEST_CASE(compression_is_exact_for_all_coefficients) {
    auto const rounded = [](std::uint32_t x, unsigned bits) { return ((x << bits) + 1664) / 3329 % (1u << bits); };
    for (std::uint32_t x = 0; x < 3329; ++x) {
        BOOST_TEST(detail::compress<1>(x) == rounded(x, 1));
        BOOST_TEST(detail::compress<4>(x) == rounded(x, 4));
        BOOST_TEST(detail::compress<10>(x) == rounded(x, 10));
    }
    for (std::uint32_t y = 0; y < 1024; ++y) {
        BOOST_TEST(detail::decompress<10>(y) == static_cast<int>((y * 3329 * 2 + 1024) / 2048));
        BOOST_TEST(detail::compress<10>(static_cast<std::uint32_t>(detail::decompress<10>(y))) == y);
    }
}

BOOST_AUTO_TEST_CASE(reductions_are_exact_for_all_numbers) {
    auto const congruent = [](std::int64_t a, std::int64_t b) { return (a - b) % 3329 == 0; };
    for (std::int32_t x = -32768; x < 32768; ++x) {
        std::int32_t const rest = detail::centered(static_cast<std::int16_t>(x));
        if (!congruent(rest, x) || rest < -1664 || rest > 1664) BOOST_FAIL("centered(" << x << ") = " << rest);
    }
    constexpr std::int32_t most = 3329 * 32768 - 1;
    noise random(46);
    for (int i = 0; i < 100000; ++i) {
        std::int32_t x = static_cast<std::int32_t>(random.next() % (2u * most)) - most;
        if (i < 4) x = i % 2 == 0 ? most - i : i - most;
        std::int32_t const rest = detail::montgomery_reduce(x);
        if (!congruent(std::int64_t{rest} * 65536, x) || rest <= -3329 || rest >= 3329)
            BOOST_FAIL("montgomery_reduce(" << x << ") = " << rest);
    }
}

BOOST_AUTO_TEST_CASE(inverse_transform_undoes_the_transform_at_the_ends_of_the_range) {
    noise random(47);
    for (int round = 0; round < 200; ++round) {
        detail::polynomial p, original;
        for (std::size_t i = 0; i < 256; ++i)
            p.c[i] = static_cast<std::int16_t>(round == 0   ? 3328
                                               : round == 1 ? -3328
                                               : round < 20 ? (random.next() & 1 ? 3328 : -3328)
                                                            : static_cast<int>(random.next() % 6657) - 3328);
        original = p;
        detail::ring::transform(p);
        for (std::int16_t& x : p.c) { // the inverse also multiplies by R
            if (x < -1664 || x > 1664) BOOST_FAIL("out of range: " << x);
            x = detail::montgomery_reduce(x);
        }
        detail::ring::inverse_transform(p);
        for (std::size_t i = 0; i < 256; ++i)
            if ((p.c[i] - original.c[i]) % 3329 != 0) BOOST_FAIL("coefficient " << i << " differs in round " << round);
    }
}

BOOST_AUTO_TEST_SUITE_END()
