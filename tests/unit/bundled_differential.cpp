// SPDX-License-Identifier: BSL-1.0
// Compares every combination of instruction sets with every other, and with OpenSSL and libsodium if the build found
// them. Also constructs messages for chosen tags.
//
// With WG_TESTS_LONG in the environment the tests run for minutes instead of seconds, with a new random seed each time.
#include "bundled_mod_p.hpp"
#include "bundled_sets.hpp"
#include "bundled_vectors.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <random>

#ifdef WG_TESTS_OPENSSL
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#endif
#ifdef WG_TESTS_LIBSODIUM
#include <sodium.h>
#endif

BOOST_AUTO_TEST_SUITE(bundled_differential)

using namespace wg_tests;
using wg::bundled::consistent;
using wg::bundled::detect_cpu;

namespace {

using key = wg::secret<32>;

bool thorough() {
    static bool const is = std::getenv("WG_TESTS_LONG") != nullptr;
    return is;
}
/// The count of random repetitions.
int rounds(int quick, int factor = 20) { return thorough() ? quick * factor : quick; }

/// A fixed seed; in the long run a random seed, which the test prints.
std::uint64_t seed(std::uint64_t of_test) {
    if (!thorough()) return of_test;
    std::uint64_t const other = of_test + (std::uint64_t{std::random_device{}()} << 16);
    BOOST_TEST_MESSAGE("seed " << other);
    std::printf("seed %llu\n", static_cast<unsigned long long>(other));
    return other;
}

template <class Backend> struct of_set {
    std::string name;
    Backend backend;
};
/// One backend for each combination of instruction sets of this processor.
template <class Backend> std::vector<of_set<Backend>> const& all() {
    static std::vector<of_set<Backend>> const made = [] {
        std::vector<of_set<Backend>> out;
        for (cpu const set : cpu_sets(detect_cpu())) out.push_back({print_cpu(set), backend_with<Backend>(set)});
        return out;
    }();
    return made;
}
std::vector<of_set<wg::bundled::aead>> const& aeads() { return all<wg::bundled::aead>(); }
std::vector<of_set<wg::bundled::dh>> const& dhs() { return all<wg::bundled::dh>(); }
std::vector<of_set<wg::bundled::hash>> const& hashes() { return all<wg::bundled::hash>(); }

/// Bytes at a chosen offset from a multiple of 64, between guard bytes. A write to a guard byte is an error.
class fenced {
public:
    static constexpr std::size_t fence = 64;

    fenced(std::size_t size, std::size_t offset) : memory_(size + offset + 2 * fence + 64, mark), size_(size) {
        std::size_t const misplaced = reinterpret_cast<std::uintptr_t>(memory_.data()) % 64;
        at_ = fence + (64 - misplaced) % 64 + offset;
    }
    fenced(buffer const& from, std::size_t offset, std::size_t room = 0) : fenced(from.size() + room, offset) {
        wg::copy(view(), from);
    }

    wg::bytes view() { return wg::bytes(memory_).subspan(at_, size_); }
    bool holds(wg::bytes_view what) { return std::equal(what.begin(), what.end(), view().begin(), view().end()); }
    bool fences_stand() const {
        auto const untouched = [](wg::byte b) { return b == mark; };
        auto const begin = memory_.begin() + static_cast<std::ptrdiff_t>(at_);
        return std::all_of(memory_.begin(), begin, untouched) &&
               std::all_of(begin + static_cast<std::ptrdiff_t>(size_), memory_.end(), untouched);
    }

private:
    static constexpr wg::byte mark = 0xa5;

    buffer memory_;
    std::size_t size_, at_;
};

bool zero(wg::bytes_view in) {
    return std::all_of(in.begin(), in.end(), [](wg::byte b) { return b == 0; });
}

// ---- results of other libraries

[[maybe_unused]] buffer nonce_of(std::uint64_t counter) {
    buffer nonce(12);
    wg::store_le64(&nonce[4], counter);
    return nonce;
}

#ifdef WG_TESTS_OPENSSL
buffer sealed_by_openssl(buffer const& plain, buffer const& aad, std::uint64_t counter, key const& k) {
    buffer out(plain.size() + 16), nonce = nonce_of(counter);
    EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
    int now = 0;
    bool good = EVP_EncryptInit_ex(context, EVP_chacha20_poly1305(), nullptr, k.expose().data(), nonce.data()) == 1;
    if (!aad.empty())
        good = good && EVP_EncryptUpdate(context, nullptr, &now, aad.data(), static_cast<int>(aad.size())) == 1;
    if (!plain.empty())
        good = good && EVP_EncryptUpdate(context, out.data(), &now, plain.data(), static_cast<int>(plain.size())) == 1;
    good = good && EVP_EncryptFinal_ex(context, out.data() + plain.size(), &now) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, out.data() + plain.size()) == 1;
    EVP_CIPHER_CTX_free(context);
    BOOST_REQUIRE(good);
    return out;
}
/// Returns: the shared secret; empty if OpenSSL refused the point.
buffer agreed_by_openssl(wg::key_view scalar, wg::key_view point) {
    EVP_PKEY* const mine = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, scalar.data(), 32);
    EVP_PKEY* const theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, point.data(), 32);
    EVP_PKEY_CTX* const context = EVP_PKEY_CTX_new(mine, nullptr);
    buffer out(32);
    std::size_t size = 32;
    bool const good = EVP_PKEY_derive_init(context) == 1 && EVP_PKEY_derive_set_peer(context, theirs) == 1 &&
                      EVP_PKEY_derive(context, out.data(), &size) == 1;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(mine);
    EVP_PKEY_free(theirs);
    return good ? out : buffer();
}
buffer digest_by_openssl(std::size_t size, buffer const& k, buffer const& message) {
    buffer out(size);
    std::size_t made = 0;
    EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "BLAKE2SMAC", nullptr);
    EVP_MAC_CTX* const context = EVP_MAC_CTX_new(mac);
    OSSL_PARAM const parameters[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_END};
    bool const good = EVP_MAC_init(context, k.data(), k.size(), parameters) == 1 &&
                      EVP_MAC_update(context, message.data(), message.size()) == 1 &&
                      EVP_MAC_final(context, out.data(), &made, out.size()) == 1 && made == size;
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(mac);
    BOOST_REQUIRE(good);
    return out;
}
#endif

#ifdef WG_TESTS_LIBSODIUM
buffer sealed_by_libsodium(buffer const& plain, buffer const& aad, std::uint64_t counter, key const& k) {
    buffer out(plain.size() + 16);
    unsigned long long made = 0;
    BOOST_REQUIRE(crypto_aead_chacha20poly1305_ietf_encrypt(out.data(), &made, plain.data(), plain.size(), aad.data(),
                                                            aad.size(), nullptr, nonce_of(counter).data(),
                                                            k.expose().data()) == 0);
    return out;
}
#endif

/// The packet that the baseline seals. OpenSSL and libsodium, if present, must produce the same bytes.
buffer sealed(buffer const& plain, buffer const& aad, std::uint64_t counter, key const& k) {
    buffer out(plain.size() + 16);
    aeads()[0].backend.seal(out, plain, aad, counter, k);
#ifdef WG_TESTS_OPENSSL
    BOOST_REQUIRE(out == sealed_by_openssl(plain, aad, counter, k));
#endif
#ifdef WG_TESTS_LIBSODIUM
    BOOST_REQUIRE(out == sealed_by_libsodium(plain, aad, counter, k));
#endif
    return out;
}

buffer agreed(wg::key_view scalar, wg::key_view point) {
    key const mine(scalar);
    key shared;
    bool const good = dhs()[0].backend.dh(shared, mine, point);
    buffer const out(shared.expose().begin(), shared.expose().end());
    BOOST_REQUIRE(good == !zero(out));
#ifdef WG_TESTS_OPENSSL
    BOOST_REQUIRE((good ? out : buffer()) == agreed_by_openssl(scalar, point));
#endif
#ifdef WG_TESTS_LIBSODIUM
    buffer other(32);
    BOOST_REQUIRE(good == (crypto_scalarmult(other.data(), scalar.data(), point.data()) == 0));
    BOOST_REQUIRE((!good || out == other));
#endif
    return out;
}

// ---- one packet

/// Includes every size at which a kernel may take another path: 16, 64, 128, ... and their neighbours.
std::vector<std::size_t> sizes() {
    std::vector<std::size_t> out;
    for (std::size_t size = 0; size <= 2100; size += thorough() || size < 700 ? 1 : 1 + size % 3) out.push_back(size);
    for (std::size_t const size : {4095u, 4096u, 4097u, 16384u, 65535u}) out.push_back(size);
    return out;
}

void seals_and_opens(of_set<wg::bundled::aead> const& with, buffer const& plain, buffer const& aad,
                     std::uint64_t counter, key const& k, buffer const& expected, noise& random) {
    std::size_t const size = plain.size();
    std::size_t const from = random.next() % 64, to = random.next() % 64;
    std::string const what =
        with.name + ", " + std::to_string(size) + " bytes at " + std::to_string(from) + " and " + std::to_string(to);
    fenced source(plain, from), there(size + 16, to);
    with.backend.seal(there.view(), source.view(), aad, counter, k);
    BOOST_REQUIRE_MESSAGE(there.holds(expected), "sealed into another buffer: " << what);
    BOOST_REQUIRE_MESSAGE(source.holds(plain), "sealing changed the source: " << what);
    BOOST_REQUIRE_MESSAGE(there.fences_stand() && source.fences_stand(), "sealing wrote outside the buffers: " << what);

    fenced place(plain, to, 16);
    with.backend.seal(place.view(), place.view().first(size), aad, counter, k);
    BOOST_REQUIRE_MESSAGE(place.holds(expected) && place.fences_stand(), "sealed in place: " << what);

    fenced back(size, from);
    bool good = with.backend.open(back.view(), there.view(), aad, counter, k);
    BOOST_REQUIRE_MESSAGE(good && back.holds(plain), "opened into another buffer: " << what);
    BOOST_REQUIRE_MESSAGE(there.holds(expected), "opening changed the source: " << what);
    BOOST_REQUIRE_MESSAGE(there.fences_stand() && back.fences_stand(), "opening wrote outside the buffers: " << what);

    good = with.backend.open(place.view().first(size), place.view(), aad, counter, k);
    auto const opened = place.view().first(size);
    BOOST_REQUIRE_MESSAGE(good && std::equal(opened.begin(), opened.end(), plain.begin(), plain.end()) &&
                              place.fences_stand(),
                          "opened in place: " << what);
}

// ---- batches of packets

/// A packet of a batch, with its buffers and its expected result.
struct batched {
    buffer plain, expected;
    std::size_t key = 0;
    std::uint64_t counter = 0;
    bool in_place = false, genuine = true;
    fenced source, target;
};

batched make_batched(std::size_t size, std::size_t key_number, key const& k, noise& random) {
    buffer const plain = random.take(size);
    std::uint64_t const counter = random.next();
    batched b{.plain = plain,
              .expected = sealed(plain, {}, counter, k),
              .key = key_number,
              .counter = counter,
              .in_place = random.next() % 2 == 0,
              .genuine = true,
              .source = fenced(0, 0),
              .target = fenced(0, 0)};
    b.target = fenced(size + 16, random.next() % 64);
    b.source = fenced(plain, random.next() % 64);
    if (b.in_place) wg::copy(b.target.view(), plain);
    return b;
}

/// Packet sizes of a batch: one size for all, a few sizes, or random sizes.
std::size_t size_in_batch(int kind, std::size_t common, noise& random) {
    constexpr std::size_t typical[] = {0, 1, 16, 48, 64, 65, 128, 240, 256, 300, 576, 1024, 1400, 1420, 1424};
    if (kind == 0) return common;
    if (kind == 1) return typical[random.next() % std::size(typical)];
    return random.next() % 2100;
}

template <class Aead> void batch(of_set<Aead> const& with, std::size_t count, int kind, noise& random) {
    key const keys[3] = {key(fixed<32>(random.take(32))), key(fixed<32>(random.take(32))),
                         key(fixed<32>(random.take(32)))};
    std::size_t const common = random.next() % 1500, kinds_of_keys = 1 + random.next() % 3;
    std::string const what = with.name + ", batch of " + std::to_string(count) + ", kind " + std::to_string(kind);
    std::vector<batched> packets;
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t const which = random.next() % kinds_of_keys;
        packets.push_back(make_batched(size_in_batch(kind, common, random), which, keys[which], random));
    }
    std::vector<wg::aead_item> items(count);
    for (std::size_t i = 0; i < count; ++i) {
        auto& p = packets[i];
        items[i] = {.dst = p.target.view(),
                    .src = p.in_place ? p.target.view().first(p.plain.size()) : p.source.view(),
                    .counter = p.counter,
                    .key = &keys[p.key]};
    }
    with.backend.seal_batch(items);
    for (auto& p : packets) {
        BOOST_REQUIRE_MESSAGE(p.target.holds(p.expected), "sealed: " << what << ", size " << p.plain.size());
        BOOST_REQUIRE_MESSAGE(p.target.fences_stand() && p.source.fences_stand() && p.source.holds(p.plain),
                              "sealed beyond: " << what);
    }
    for (std::size_t i = 0; i < count; ++i) {
        auto& p = packets[i];
        p.source = fenced(p.plain.size(), random.next() % 64); // the destination of the opened packet
        if (random.next() % 4 == 0) {
            p.genuine = false;
            std::size_t const bit = random.next() % (8 * p.expected.size());
            p.target.view()[bit / 8] ^= static_cast<wg::byte>(1 << bit % 8);
        }
        items[i] = {.dst = p.in_place ? p.target.view().first(p.plain.size()) : p.source.view(),
                    .src = p.target.view(),
                    .counter = p.counter,
                    .key = &keys[p.key],
                    .good = !p.genuine};
    }
    with.backend.open_batch(items);
    for (std::size_t i = 0; i < count; ++i) {
        auto& p = packets[i];
        BOOST_REQUIRE_MESSAGE(items[i].good == p.genuine, "verdict: " << what << ", " << i);
        bool const right =
            p.genuine ? std::equal(p.plain.begin(), p.plain.end(), items[i].dst.begin()) : zero(items[i].dst);
        BOOST_REQUIRE_MESSAGE(right, "opened: " << what << ", " << i << ", size " << p.plain.size());
        BOOST_REQUIRE_MESSAGE(p.target.fences_stand() && p.source.fences_stand(),
                              "opening wrote outside the buffers, batch: " << what);
    }
}

/// Flips one bit of one tag in a batch of sixteen; repeats this for each bit of a tag.
template <class Aead> void flips_in_batch(of_set<Aead> const& with, noise& random) {
    key const k(fixed<32>(random.take(32)));
    std::vector<buffer> plain, cipher;
    for (std::size_t i = 0; i < 16; ++i) {
        plain.push_back(random.take(i % 4 == 0 ? 64 : random.next() % 400));
        cipher.push_back(sealed(plain.back(), {}, i, k));
    }
    for (std::size_t bit = 0; bit < 128; ++bit) {
        std::size_t const wrong = random.next() % 16;
        std::vector<buffer> forged = cipher, opened;
        forged[wrong][plain[wrong].size() + bit / 8] ^= static_cast<wg::byte>(1 << bit % 8);
        std::vector<wg::aead_item> items(16);
        for (std::size_t i = 0; i < 16; ++i) opened.emplace_back(plain[i].size(), wg::byte{0xaa});
        for (std::size_t i = 0; i < 16; ++i) items[i] = {.dst = opened[i], .src = forged[i], .counter = i, .key = &k};
        with.backend.open_batch(items);
        for (std::size_t i = 0; i < 16; ++i) {
            BOOST_REQUIRE_MESSAGE(items[i].good == (i != wrong), with.name << ", bit " << bit << ", packet " << i);
            BOOST_REQUIRE_MESSAGE(i == wrong ? zero(opened[i]) : opened[i] == plain[i], with.name << ", bit " << bit);
        }
    }
}

// ---- messages constructed for a tag

/// `blocks` blocks of ciphertext for which the final accumulator is `target`. The last block is computed backwards from
/// `target`. `fill` makes the blocks before it; the function retries until the last block has bit 128 set and bit 129
/// clear, as every full block has.
template <class Fill>
buffer message_for(mod_p const& target, one_time const& with, std::size_t blocks, Fill const& fill) {
    buffer lengths(16);
    wg::store_le64(&lengths[8], 16 * blocks);
    mod_p const back = with.r.inverse();
    // (((h + last) r) + lengths) r = target
    mod_p const wanted = (target * back - mod_p::of(lengths, 1)) * back;
    for (int tries = 0; tries < 1000; ++tries) {
        buffer const start = fill(16 * (blocks - 1));
        mod_p h;
        for (std::size_t i = 0; i + 1 < blocks; ++i)
            h = (h + mod_p::of(wg::bytes_view(start).subspan(16 * i, 16), 1)) * with.r;
        mod_p const last = wanted - h;
        if (last.top() != 1) continue;
        buffer out = start, end = last.low();
        out.insert(out.end(), end.begin(), end.end());
        return out;
    }
    return {};
}

template <class Backend> void packets_in_batches(std::vector<of_set<Backend>> const& sets) {
    if constexpr (requires(Backend b, std::span<wg::aead_item> items) { b.seal_batch(items); }) {
        noise random(seed(105));
        for (std::size_t count = 1; count <= 33; ++count)
            for (int kind = 0; kind < 3; ++kind)
                for (int round = 0; round < rounds(1); ++round)
                    for (auto const& with : sets) batch(with, count, kind, random);
    }
}

template <class Backend> void forged_in_batches(std::vector<of_set<Backend>> const& sets) {
    if constexpr (requires(Backend b, std::span<wg::aead_item> items) { b.open_batch(items); }) {
        noise random(seed(106));
        for (int round = 0; round < rounds(1); ++round)
            for (auto const& with : sets) flips_in_batch(with, random);
    }
}

buffer random_scalar(noise& random) { return random.next() % 3 == 0 ? random.take_edges(32) : random.take(32); }

/// Points of low order on the curve and its twist, and all coordinates from p - 2 on; each with and without the ignored
/// top bit.
std::vector<buffer> odd_points() {
    std::vector<buffer> out = {
        hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    };
    for (unsigned low = 0; low < 4; ++low) out.push_back(buffer(32, 0)), out.back()[0] = static_cast<wg::byte>(low);
    for (unsigned low = 0xeb; low <= 0xff; ++low) { // from p - 2 to 2^255 - 1
        out.push_back(buffer(32, 0xff));
        out.back()[0] = static_cast<wg::byte>(low);
        out.back()[31] = 0x7f;
    }
    for (std::size_t i = out.size(); i-- > 0;) {
        out.push_back(out[i]);
        out.back()[31] |= 0x80;
    }
    return out;
}

template <class Backend> void keys_in_batches(std::vector<of_set<Backend>> const& sets) {
    if constexpr (requires(Backend b, std::span<wg::dh_item> items) { b.dh_batch(items); }) {
        noise random(seed(108));
        std::vector<buffer> const odd = odd_points();
        for (std::size_t count = 1; count <= (thorough() ? 33 : 18); ++count) {
            std::vector<buffer> scalars, points, expected;
            for (std::size_t i = 0; i < count; ++i) {
                scalars.push_back(random_scalar(random));
                points.push_back(random.next() % 3 == 0 ? odd[random.next() % odd.size()] : random_scalar(random));
                expected.push_back(agreed(fixed<32>(scalars[i]), fixed<32>(points[i])));
            }
            for (auto const& with : sets) {
                std::vector<key> keys(count), shared(count);
                std::vector<wg::dh_item> items(count);
                for (std::size_t i = 0; i < count; ++i) {
                    keys[i].assign(fixed<32>(scalars[i]));
                    items[i] = {.out = &shared[i], .scalar = &keys[i], .point = points[i], .good = zero(expected[i])};
                }
                with.backend.dh_batch(items);
                for (std::size_t i = 0; i < count; ++i) {
                    BOOST_REQUIRE_MESSAGE(
                        std::equal(expected[i].begin(), expected[i].end(), shared[i].expose().begin()),
                        with.name << ", " << i << " of " << count);
                    BOOST_REQUIRE_MESSAGE(items[i].good == !zero(expected[i]), with.name << ", " << i);
                }
            }
        }
    }
}

template <class Backend> void digests_in_batches(std::vector<of_set<Backend>> const& sets) {
    if constexpr (requires(Backend b, std::span<wg::hash_item const> items) { b.blake2s_batch(items); }) {
        noise random(seed(110));
        for (std::size_t count = 0; count <= 33; ++count)
            for (int round = 0; round < rounds(6); ++round) {
                std::vector<buffer> keys, messages, expected;
                std::size_t const common = random.next() % 300;
                for (std::size_t i = 0; i < count; ++i) {
                    keys.push_back(random.take(round % 2 == 0 ? 32 : random.next() % 33));
                    messages.push_back(random.take(round % 3 == 0 ? common : random.next() % 300));
                    expected.emplace_back(round % 2 == 0 ? 16 : 1 + random.next() % 32);
                    sets[0].backend.blake2s(expected[i], keys[i], messages[i], {});
                }
                for (auto const& with : sets) {
                    std::vector<fenced> outs;
                    std::vector<wg::hash_item> items;
                    for (std::size_t i = 0; i < count; ++i) outs.emplace_back(expected[i].size(), random.next() % 64);
                    for (std::size_t i = 0; i < count; ++i) items.push_back({outs[i].view(), keys[i], messages[i]});
                    with.backend.blake2s_batch(std::span<wg::hash_item const>(items));
                    for (std::size_t i = 0; i < count; ++i)
                        BOOST_REQUIRE_MESSAGE(outs[i].holds(expected[i]) && outs[i].fences_stand(),
                                              with.name << ", " << i << " of " << count);
                }
            }
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(every_set_seals_and_opens_the_same_packets) {
    noise random(seed(101));
    for (std::size_t const size : sizes())
        for (int round = 0; round < rounds(1, 4); ++round) {
            key const k(fixed<32>(random.take(32)));
            buffer const plain = random.take(size), aad = random.take(random.next() % 3 == 0 ? random.next() % 80 : 0);
            std::uint64_t const counter = random.next();
            buffer const expected = sealed(plain, aad, counter, k);
            for (auto const& with : aeads()) seals_and_opens(with, plain, aad, counter, k, expected, random);
        }
}

BOOST_AUTO_TEST_CASE(every_set_rejects_every_flipped_bit) {
    noise random(seed(102));
    for (std::size_t const size : {0u, 1u, 16u, 63u, 64u, 65u, 129u, 256u, 300u, 513u, 1420u}) {
        key const k(fixed<32>(random.take(32)));
        buffer const plain = random.take(size), expected = sealed(plain, {}, 3, k);
        for (auto const& with : aeads()) {
            std::size_t const step = thorough() ? 1 : 1 + size / 8;
            for (std::size_t bit = 0; bit < 8 * expected.size(); bit += bit < 8 * size ? step : 1) {
                fenced forged(expected, random.next() % 64), opened(size, random.next() % 64);
                forged.view()[bit / 8] ^= static_cast<wg::byte>(1 << bit % 8);
                if (bit < 8 * size && bit + step > 8 * size) bit = 8 * size - step; // covers each bit of the tag
                BOOST_REQUIRE_MESSAGE(!with.backend.open(opened.view(), forged.view(), {}, 3, k),
                                      with.name << ", size " << size << ", bit " << bit);
                BOOST_REQUIRE(zero(opened.view()) && opened.fences_stand() && forged.fences_stand());
                BOOST_REQUIRE(!with.backend.open(forged.view().first(size), forged.view(), {}, 3, k));
                BOOST_REQUIRE(zero(forged.view().first(size)) && forged.fences_stand());
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(every_set_computes_the_tag_of_a_constructed_message) {
    noise random(seed(103));
    std::vector<mod_p> targets;
    for (std::uint64_t i = 0; i < 6; ++i) targets.push_back(mod_p::small(i)), targets.push_back(mod_p::minus(i + 1));
    for (unsigned const exponent : {26u, 44u, 52u, 64u, 88u, 104u, 127u, 128u, 129u}) {
        targets.push_back(mod_p::power_of_two(exponent));
        targets.push_back(mod_p::power_of_two(exponent) - mod_p::small(1));
        targets.push_back(mod_p{} - mod_p::power_of_two(exponent));
    }
    for (std::size_t blocks = 1; blocks <= (thorough() ? 300 : 70); ++blocks)
        for (std::size_t i = 0; i < targets.size(); i += thorough() ? 1 : 1 + random.next() % 6) {
            key const k(fixed<32>(random.take(32)));
            std::uint64_t const counter = random.next();
            one_time const with(k.expose(), counter);
            bool const edges = random.next() % 2 == 0;
            auto const fill = [&](std::size_t n) { return edges ? random.take_edges(n) : random.take(n); };
            buffer const message = message_for(targets[i], with, blocks, fill);
            if (message.empty())
                continue; // a message of one block has no free block: only one target in four is reachable
            buffer packet = message, opened(message.size());
            buffer const tag = with.tag(targets[i]);
            packet.insert(packet.end(), tag.begin(), tag.end());
            for (auto const& set : aeads()) {
                BOOST_REQUIRE_MESSAGE(set.backend.open(opened, packet, {}, counter, k),
                                      set.name << ", " << blocks << " blocks, target " << i);
                buffer again(packet.size());
                set.backend.seal(again, opened, {}, counter, k);
                BOOST_REQUIRE_MESSAGE(again == packet, set.name << ", " << blocks << " blocks, target " << i);
            }
        }
}

BOOST_AUTO_TEST_CASE(every_set_propagates_carries_through_all_limbs) {
    noise random(seed(104));
    for (std::size_t blocks = 0; blocks <= 70; ++blocks)
        for (int round = 0; round < rounds(3); ++round) {
            key const k(fixed<32>(random.take(32)));
            std::uint64_t const counter = random.next();
            one_time const with(k.expose(), counter);
            buffer packet = round == 0   ? buffer(16 * blocks, 0xff)
                            : round == 1 ? buffer(16 * blocks, 0)
                                         : random.take_edges(16 * blocks);
            buffer lengths(16);
            wg::store_le64(&lengths[8], packet.size());
            mod_p h;
            for (std::size_t i = 0; i < blocks; ++i)
                h = (h + mod_p::of(wg::bytes_view(packet).subspan(16 * i, 16), 1)) * with.r;
            buffer const tag = with.tag((h + mod_p::of(lengths, 1)) * with.r);
            packet.insert(packet.end(), tag.begin(), tag.end());
            buffer opened(16 * blocks);
            for (auto const& set : aeads())
                BOOST_REQUIRE_MESSAGE(set.backend.open(opened, packet, {}, counter, k),
                                      set.name << ", " << blocks << " blocks, round " << round);
        }
}

BOOST_AUTO_TEST_CASE(every_set_seals_and_opens_batches_like_single_packets) { packets_in_batches(aeads()); }

BOOST_AUTO_TEST_CASE(every_set_rejects_only_the_forged_packet_of_a_batch) { forged_in_batches(aeads()); }

BOOST_AUTO_TEST_CASE(every_set_computes_the_same_keys) {
    noise random(seed(107));
    std::vector<std::pair<buffer, buffer>> pairs;
    for (buffer const& point : odd_points()) pairs.emplace_back(random_scalar(random), point);
    for (int round = 0; round < rounds(40, 100); ++round)
        pairs.emplace_back(random_scalar(random), random_scalar(random));
    for (auto const& [scalar, point] : pairs) {
        buffer const expected = agreed(fixed<32>(scalar), fixed<32>(point));
        key const mine(fixed<32>(scalar));
        for (auto const& with : dhs()) {
            key shared(fixed<32>(random.take(32)));
            bool const good = with.backend.dh(shared, mine, fixed<32>(point));
            BOOST_REQUIRE_MESSAGE(std::equal(expected.begin(), expected.end(), shared.expose().begin()), with.name);
            BOOST_REQUIRE_MESSAGE(good == !zero(expected), with.name);
        }
        buffer base(32);
        base[0] = 9;
        buffer const own = agreed(fixed<32>(scalar), fixed<32>(base));
        for (auto const& with : dhs()) {
            wg::public_key made{};
            with.backend.dh_public(made, mine);
            BOOST_REQUIRE_MESSAGE(std::equal(own.begin(), own.end(), made.begin()), with.name << ", public key");
        }
    }
}

BOOST_AUTO_TEST_CASE(every_set_computes_the_same_keys_in_batches) { keys_in_batches(dhs()); }

// RFC 7748, section 5.2: the iterated test
BOOST_AUTO_TEST_CASE(every_set_passes_the_iterated_test_of_rfc_7748) {
    bool const million = thorough();
    buffer const expected = hex(million ? "7c3911e0ab2586fd864497297e575e6f3bc601c0883c30df5f4dd2d24f665424"
                                        : "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
    std::vector<of_set<wg::bundled::dh>> some = {dhs().front()};
    if (dhs().size() > 1) some.push_back(dhs().back());
    for (auto const& with : some) {
        key k, shared;
        k.expose()[0] = 9;
        wg::public_key u{9};
        for (int i = 0; i < (million ? 1'000'000 : 1000); ++i) {
            if (!with.backend.dh(shared, k, u)) std::abort();
            wg::copy(u, k.expose());
            k.assign(shared);
        }
        BOOST_TEST(std::equal(expected.begin(), expected.end(), k.expose().begin()), with.name);
    }
}

BOOST_AUTO_TEST_CASE(every_set_computes_the_same_digests) {
    noise random(seed(109));
    for (int round = 0; round < rounds(700); ++round) {
        buffer const k = random.take(random.next() % 33);
        buffer const a = random.take(random.next() % 300), b = random.take(random.next() % 300);
        std::size_t const size = 1 + random.next() % 32;
        buffer expected(size), message = a;
        message.insert(message.end(), b.begin(), b.end());
        hashes()[0].backend.blake2s(expected, k, a, b);
#ifdef WG_TESTS_OPENSSL
        if (!k.empty()) BOOST_REQUIRE(expected == digest_by_openssl(size, k, message));
#endif
        for (auto const& with : hashes()) {
            fenced out(size, random.next() % 64);
            with.backend.blake2s(out.view(), k, a, b);
            BOOST_REQUIRE_MESSAGE(out.holds(expected) && out.fences_stand(), with.name << ", " << a.size());
        }
    }
}

BOOST_AUTO_TEST_CASE(every_set_computes_the_same_digests_in_batches) { digests_in_batches(hashes()); }

BOOST_AUTO_TEST_SUITE_END()
