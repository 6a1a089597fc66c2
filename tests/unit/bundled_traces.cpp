// SPDX-License-Identifier: BSL-1.0
// No operation leaves secrets in registers or on the stack, with any combination of instruction sets.
#include "bundled_traces.hpp"

#include "bundled_mod_p.hpp"
#include "bundled_sets.hpp"
#include "wg/post_quantum.hpp"

#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(bundled_traces)

#ifdef WG_TESTS_CAN_SEARCH_REGISTERS

using namespace wg_tests;
using wg::bundled::detect_cpu;

namespace {

using key = wg::secret<32>;

/// Adds a number modulo p in the limbs of the kernels, and the multiples by 5 and 20 that multiplication uses.
void add_limbs(secrets& to, std::string const& what, mod_p const& number) {
    buffer const low = number.low();
    std::uint64_t const a = wg::load_le64(&low[0]), b = wg::load_le64(&low[8]);
    std::uint64_t const wide[3] = {a & 0xfffffffffff, (a >> 44 | b << 20) & 0xfffffffffff,
                                   b >> 24 | number.top() << 40};
    for (std::uint64_t const factor : {1u, 5u, 20u}) {
        for (std::uint64_t const limb : number.v) to.add_limb(what, limb * factor);
        for (std::uint64_t const limb : wide) to.add_limb(what, limb * factor);
    }
}

/// Adds all secrets that derive from a key and a counter: the key, the one-time key, powers of r, and keystream.
void add_packet(secrets& to, wg::key_view k, std::uint64_t counter) {
    one_time const once(k, counter);
    to.add("key", k);
    to.add("s", once.s);
    to.add("r", once.r.low());
    mod_p power = once.r;
    for (int i = 1; i <= 64; ++i, power = power * once.r) add_limbs(to, "powers of r", power);
    buffer stream(64 * 24 + 16);
    backend_with<wg::bundled::aead>(cpu::baseline)
        .seal(stream, wg::bytes_view(stream).first(64 * 24), {}, counter, key(k));
    to.add("keystream", wg::bytes_view(stream).first(64 * 24));
}

/// Adds a field element of 255 bits: its bytes, and its limbs of 51 bits.
void add_field(secrets& to, std::string const& what, wg::bytes_view b) {
    to.add(what, b);
    std::uint64_t const w[4] = {wg::load_le64(&b[0]), wg::load_le64(&b[8]), wg::load_le64(&b[16]),
                                wg::load_le64(&b[24])};
    std::uint64_t const mask = (std::uint64_t{1} << 51) - 1;
    std::uint64_t const limbs[5] = {w[0] & mask, (w[0] >> 51 | w[1] << 13) & mask, (w[1] >> 38 | w[2] << 26) & mask,
                                    (w[2] >> 25 | w[3] << 39) & mask, w[3] >> 12 & mask};
    for (std::uint64_t const limb : limbs) to.add_limb(what + "'s limbs", limb);
}

void add_scalar(secrets& to, wg::key_view scalar) {
    to.add("scalar", scalar);
    wg::byte_array<32> clamped;
    wg::copy(clamped, scalar);
    clamped[0] &= 248;
    clamped[31] = static_cast<wg::byte>((clamped[31] & 127) | 64);
    to.add("clamped scalar", clamped);
}

void expect_nothing(std::string const& left, std::string const& what) {
    BOOST_CHECK_MESSAGE(left.empty(), what << ": " << left);
}

template <class Aead> void aead_leaves_nothing(cpu set) {
    auto const aead = backend_with<Aead>(set);
    std::string const name = print_cpu(set);
    noise random(21);
    for (std::size_t const size : {0u, 1u, 16u, 64u, 65u, 128u, 256u, 300u, 576u, 1420u}) {
        key const k(fixed<32>(random.take(32)));
        std::uint64_t const counter = random.next();
        secrets hidden;
        add_packet(hidden, k.expose(), counter);
        buffer plain(size), sealed(size + 16), opened(size);
        std::string const what = name + ", " + std::to_string(size) + " bytes";
        expect_nothing(left_by(
                           set, [&] { aead.seal(sealed, plain, {}, counter, k); }, hidden),
                       "seal, " + what);
        bool good = false;
        expect_nothing(left_by(
                           set, [&] { good = aead.open(opened, sealed, {}, counter, k); }, hidden),
                       "open, " + what);
        BOOST_TEST(good);
        sealed.back() ^= 1;
        expect_nothing(left_by(
                           set, [&] { good = aead.open(opened, sealed, {}, counter, k); }, hidden),
                       "open of a forged packet, " + what);
        BOOST_TEST(!good);
    }
    key const k(fixed<32>(random.take(32)));
    buffer const nonce = random.take(16);
    key out;
    aead.hchacha20(out, k, fixed<16>(nonce));
    secrets hidden;
    hidden.add("key", k.expose());
    hidden.add("subkey", out.expose());
    expect_nothing(left_by(
                       set, [&] { aead.hchacha20(out, k, fixed<16>(nonce)); }, hidden),
                   "hchacha20, " + name);
}

template <class Aead> void batches_leave_nothing(cpu set) {
    auto const aead = backend_with<Aead>(set);
    std::string const name = print_cpu(set);
    if constexpr (requires(std::span<wg::aead_item> items) { aead.seal_batch(items), aead.open_batch(items); })
        for (std::size_t const count : {2u, 7u, 16u, 17u})
            for (std::size_t const size : {16u, 64u, 300u, 1420u}) {
                noise random(22);
                key const keys[2] = {key(fixed<32>(random.take(32))), key(fixed<32>(random.take(32)))};
                secrets hidden;
                std::vector<buffer> plain, sealed;
                std::vector<wg::aead_item> items(count);
                for (std::size_t i = 0; i < count; ++i) {
                    plain.emplace_back(size + i);
                    sealed.emplace_back(size + i + 16);
                }
                for (std::size_t i = 0; i < count; ++i) {
                    items[i] = {.dst = sealed[i], .src = plain[i], .counter = random.next(), .key = &keys[i % 2]};
                    add_packet(hidden, keys[i % 2].expose(), items[i].counter);
                }
                std::string const what = name + ", " + std::to_string(count) + " of " + std::to_string(size) + " bytes";
                expect_nothing(left_by(
                                   set, [&] { aead.seal_batch(items); }, hidden),
                               "seal_batch, " + what);
                for (std::size_t i = 0; i < count; ++i) items[i].dst = plain[i], items[i].src = sealed[i];
                sealed[1].back() ^= 1;
                expect_nothing(left_by(
                                   set, [&] { aead.open_batch(items); }, hidden),
                               "open_batch, " + what);
                for (std::size_t i = 0; i < count; ++i) BOOST_TEST(items[i].good == (i != 1));
            }
}

template <class Dh> void dh_leaves_nothing(cpu set) {
    auto const dh = backend_with<Dh>(set);
    std::string const name = print_cpu(set);
    noise random(23);
    key const k(fixed<32>(random.take(32)));
    wg::public_key point{}, own{};
    wg::copy(point, random.take(32));
    key shared;
    secrets hidden;
    add_scalar(hidden, k.expose());
    expect_nothing(left_by(
                       set, [&] { dh.dh_public(own, k); }, hidden),
                   "dh_public, " + name);
    if (!dh.dh(shared, k, point)) std::abort();
    add_field(hidden, "result", shared.expose());
    bool good = false;
    expect_nothing(left_by(
                       set, [&] { good = dh.dh(shared, k, point); }, hidden),
                   "dh, " + name);
    BOOST_TEST(good);
    if constexpr (requires(std::span<wg::dh_item> items) { dh.dh_batch(items); })
        for (std::size_t const count : {2u, 3u, 8u, 9u}) {
            std::vector<key> keys(count), results(count);
            std::vector<wg::dh_item> items(count);
            secrets all;
            for (std::size_t i = 0; i < count; ++i) {
                keys[i].assign(fixed<32>(random.take(32)));
                if (!dh.dh(results[i], keys[i], point)) std::abort();
                add_scalar(all, keys[i].expose());
                add_field(all, "result", results[i].expose());
                items[i] = {.out = &results[i], .scalar = &keys[i], .point = point};
            }
            expect_nothing(left_by(
                               set, [&] { dh.dh_batch(items); }, all),
                           "dh_batch of " + std::to_string(count) + ", " + name);
        }
}

template <class Hash> void hash_leaves_nothing(cpu set) {
    auto const hash = backend_with<Hash>(set);
    std::string const name = print_cpu(set);
    noise random(24);
    for (std::size_t const size : {0u, 32u, 64u, 116u, 200u}) {
        buffer const k = random.take(32), a = random.take(size), b = random.take(size / 2);
        buffer out(32);
        hash.blake2s(out, k, a, b);
        secrets hidden;
        hidden.add("key", k);
        hidden.add("digest", out);
        hidden.add("message", a);
        hidden.add("message's end", b);
        expect_nothing(left_by(
                           set, [&] { hash.blake2s(out, k, a, b); }, hidden),
                       "blake2s of " + std::to_string(size) + ", " + name);
    }
    if constexpr (requires(std::span<wg::hash_item const> items) { hash.blake2s_batch(items); })
        for (std::size_t const count : {2u, 8u, 16u, 17u}) {
            std::vector<buffer> keys, messages, outs;
            std::vector<wg::hash_item> items;
            secrets hidden;
            for (std::size_t i = 0; i < count; ++i) {
                keys.push_back(random.take(32));
                messages.push_back(random.take(116));
                outs.emplace_back(32);
                hash.blake2s(outs[i], keys[i], messages[i], {});
                hidden.add("key", keys[i]);
                hidden.add("digest", outs[i]);
                hidden.add("message", messages[i]);
            }
            for (std::size_t i = 0; i < count; ++i) items.push_back({outs[i], keys[i], messages[i]});
            std::span<wg::hash_item const> const view(items);
            expect_nothing(left_by(
                               set, [&] { hash.blake2s_batch(view); }, hidden),
                           "blake2s_batch of " + std::to_string(count) + ", " + name);
        }
}

/// Adds a vector of 12-bit coefficients: its bytes, and its coefficients in pairs, as numbers from 0 on and centered.
void add_coefficients(secrets& to, std::string const& what, wg::bytes_view encoded) {
    to.add(what, encoded);
    std::vector<std::int16_t> numbers;
    for (std::size_t i = 0; i + 3 <= encoded.size(); i += 3) {
        numbers.push_back(static_cast<std::int16_t>(encoded[i] | (encoded[i + 1] & 15) << 8));
        numbers.push_back(static_cast<std::int16_t>(encoded[i + 1] >> 4 | encoded[i + 2] << 4));
    }
    for (int pass = 0; pass < 2; ++pass)
        for (std::size_t i = 0; i < numbers.size(); i += 2) {
            std::uint32_t const low = static_cast<std::uint16_t>(numbers[i]),
                                high = static_cast<std::uint16_t>(numbers[i + 1]);
            to.add_limb(what + "'s coefficients", low | high << 16);
            for (std::size_t const j : {i, i + 1}) numbers[j] = numbers[j] > 1664 ? numbers[j] - 3329 : numbers[j];
        }
}

void kem_leaves_nothing(cpu set) {
    using kem_type = wg::bundled::ml_kem_768;
    kem_type const kem(set);
    std::string const name = print_cpu(set);
    noise random(27);
    wg::secret<64> seed(fixed<64>(random.take(64)));
    key message(fixed<32>(random.take(32))), shared;
    wg::byte_array<kem_type::public_key_bytes> public_key;
    wg::byte_array<kem_type::ciphertext_bytes> ciphertext;
    wg::secret<kem_type::private_key_bytes> private_key;
    bool good = kem.generate(public_key, private_key, seed) && kem.encapsulate(ciphertext, shared, public_key, message);
    secrets hidden;
    hidden.add("seed", seed.expose());
    hidden.add("message", message.expose());
    hidden.add("shared secret", shared.expose());
    add_coefficients(hidden, "private vector", private_key.expose().first(1152));
    buffer expanded(64), both(message.expose().begin(), message.expose().end());
    wg::bundled::keccak_hash(wg::bundled::sha3_512, expanded, seed.expose().first<32>(), buffer{3});
    hidden.add("seed of the private vector", std::span(expanded).last(32));
    both.resize(64);
    wg::bundled::keccak_hash(wg::bundled::sha3_256, std::span(both).last(32), public_key);
    wg::bundled::keccak_hash(wg::bundled::sha3_512, expanded, both);
    hidden.add("coins", std::span(expanded).last(32));
    expect_nothing(left_by(
                       set, [&] { good = kem.generate(public_key, private_key, seed) && good; }, hidden),
                   "generate, " + name);
    expect_nothing(left_by(
                       set, [&] { good = kem.encapsulate(ciphertext, shared, public_key, message) && good; }, hidden),
                   "encapsulate, " + name);
    expect_nothing(left_by(
                       set, [&] { good = kem.decapsulate(shared, private_key, ciphertext) && good; }, hidden),
                   "decapsulate, " + name);
    BOOST_TEST(good);
    ciphertext[3] ^= 1;
    hidden.add("rejection's seed", private_key.expose().last(32));
    expect_nothing(left_by(
                       set, [&] { good = kem.decapsulate(shared, private_key, ciphertext); }, hidden),
                   "decapsulate of a changed ciphertext, " + name);
    BOOST_TEST(good);
}

} // namespace

BOOST_AUTO_TEST_CASE(aead_leaves_no_secrets) {
    for (cpu const set : cpu_sets(detect_cpu())) aead_leaves_nothing<wg::bundled::aead>(set);
}
BOOST_AUTO_TEST_CASE(batches_of_packets_leave_no_secrets) {
    for (cpu const set : cpu_sets(detect_cpu())) batches_leave_nothing<wg::bundled::aead>(set);
}
BOOST_AUTO_TEST_CASE(dh_leaves_no_secrets) {
    for (cpu const set : cpu_sets(detect_cpu())) dh_leaves_nothing<wg::bundled::dh>(set);
}
BOOST_AUTO_TEST_CASE(kem_leaves_no_secrets) {
    for (cpu const set : cpu_sets(detect_cpu())) kem_leaves_nothing(set);
}
BOOST_AUTO_TEST_CASE(hash_leaves_no_secrets) {
    for (cpu const set : cpu_sets(detect_cpu())) hash_leaves_nothing<wg::bundled::hash>(set);
}

// The search itself finds planted secrets:

BOOST_AUTO_TEST_CASE(search_finds_planted_secrets_in_registers) {
    noise random(25);
    buffer const k = random.take(64);
    secrets hidden;
    hidden.add("planted", k);
    auto const general = [&] { asm volatile("mov %0, %%r10d" : : "m"(k[4]) : "r10"); };
    BOOST_TEST(left_by(detect_cpu(), general, hidden) == "registers: planted");
    auto const vector = [&] { asm volatile("movdqu %0, %%xmm14" : : "m"(k[0]) : "xmm14"); };
    BOOST_TEST(left_by(detect_cpu(), vector, hidden) == "registers: planted");
    if (has(detect_cpu(), cpu::avx512)) {
        // zmm9 is not named as changed: with -mavx the compiler would add vzeroupper, which clears its upper half.
        auto const upper = [&] {
            asm volatile("vpxorq %%zmm9, %%zmm9, %%zmm9\n\t"
                         "vinserti64x4 $1, %0, %%zmm9, %%zmm9"
                         :
                         : "m"(k[0]));
        };
        BOOST_TEST(left_by(detect_cpu(), upper, hidden) == "registers: planted");
    }
    BOOST_TEST(left_by(
                   detect_cpu(), [] {}, hidden) == "");
}

BOOST_AUTO_TEST_CASE(search_finds_planted_secrets_on_the_stack) {
    noise random(26);
    buffer const k = random.take(32);
    key const secret(fixed<32>(k));
    secrets hidden;
    for (int i = 1; i < 4; ++i) hidden.add_limb("limbs", wg::load_le64(&k[0]) >> i);
    auto const leave = [&](std::uint64_t last) {
        std::uint64_t const left[2] = {wg::load_le64(&k[0]) >> 1, last};
        asm volatile("" : : "r"(left) : "memory");
    };
    std::string const found = left_by(
        detect_cpu(), [&] { leave(wg::load_le64(&k[0]) >> 2); }, hidden);
    BOOST_TEST((found.find("stack: limbs") != std::string::npos), found);
    BOOST_TEST(left_by(
                   detect_cpu(), [&] { leave(0); }, hidden) == "");
}

BOOST_AUTO_TEST_SUITE_END()

#endif
