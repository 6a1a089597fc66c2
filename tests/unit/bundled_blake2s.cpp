// SPDX-License-Identifier: BSL-1.0
// BLAKE2s against RFC 7693.
#include "wg/backends/bundled/blake2s.hpp"

#include "bundled_stack.hpp"
#include "bundled_vectors.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(bundled_blake2s)

using namespace wg_tests;

namespace {

using wg::bundled::cpu;

/// One hash for every combination of instruction sets that this processor supports.
std::vector<wg::bundled::hash> all_hashes() {
    std::vector<cpu> sets;
    for (std::uint32_t mask = 0; mask <= static_cast<std::uint32_t>(cpu::all); ++mask) {
        cpu const set = wg::bundled::consistent(wg::bundled::detect_cpu() & cpu(mask));
        if (std::find(sets.begin(), sets.end(), set) == sets.end()) sets.push_back(set);
    }
    std::vector<wg::bundled::hash> hashes;
    for (cpu const set : sets) hashes.emplace_back(set);
    return hashes;
}

buffer blake2s(wg::bundled::hash const& with, std::size_t size, wg::bytes_view key, wg::bytes_view a,
               wg::bytes_view b = {}) {
    buffer out(size);
    with.blake2s(out, key, a, b);
    return out;
}

/// The digest of the scalar code, the reference for all kernels.
buffer blake2s(std::size_t size, wg::bytes_view key, wg::bytes_view a, wg::bytes_view b = {}) {
    return blake2s(wg::bundled::hash(cpu::baseline), size, key, a, b);
}

/// The test sequence of RFC 7693, appendix E: the high bytes of a Fibonacci-like generator.
buffer selftest_sequence(std::size_t size, std::uint32_t seed) {
    buffer out(size);
    std::uint32_t previous = 0xdead4bad * seed, current = 1;
    for (auto& value : out) {
        std::uint32_t const next = previous + current;
        previous = current;
        current = next;
        value = static_cast<wg::byte>(next >> 24);
    }
    return out;
}

} // namespace

// RFC 7693, appendix B
BOOST_AUTO_TEST_CASE(digest_of_abc_matches_rfc_7693) {
    buffer const expected = hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
    for (auto const& with : all_hashes()) BOOST_TEST(blake2s(with, 32, {}, text("abc")) == expected);
    BOOST_TEST(blake2s(wg::bundled::hash{}, 32, {}, text("abc")) == expected);
}

// RFC 7693, appendix E: one digest over the digests of four sizes, of messages of six lengths, with and without a key
BOOST_AUTO_TEST_CASE(passes_the_selftest_of_rfc_7693) {
    buffer const expected = hex("6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
    for (auto const& with : all_hashes()) {
        buffer digests;
        for (std::size_t const size : {16u, 20u, 28u, 32u})
            for (std::size_t const length : {0u, 3u, 64u, 65u, 255u, 1024u}) {
                buffer const in = selftest_sequence(length, static_cast<std::uint32_t>(length));
                buffer const key = selftest_sequence(size, static_cast<std::uint32_t>(size));
                for (auto const& digest : {blake2s(with, size, {}, in), blake2s(with, size, key, in)})
                    digests.insert(digests.end(), digest.begin(), digest.end());
            }
        BOOST_TEST(blake2s(with, 32, {}, digests) == expected);
    }
}

BOOST_AUTO_TEST_CASE(a_message_in_two_parts_has_the_same_digest) {
    noise random(20);
    buffer const message = random.take(260), key = random.take(32);
    for (std::size_t size = 0; size <= message.size(); ++size) {
        wg::bytes_view const whole = std::span(message).first(size);
        for (wg::bytes_view const with_key : {wg::bytes_view{}, wg::bytes_view(key)}) {
            buffer const expected = blake2s(32, with_key, whole);
            for (auto const& with : all_hashes()) {
                BOOST_TEST(blake2s(with, 32, with_key, whole) == expected);
                for (std::size_t const split : {std::size_t{0}, size / 3, size / 2, size / 64 * 64, size - size / 8})
                    BOOST_TEST(blake2s(with, 32, with_key, whole.first(split), whole.subspan(split)) == expected);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(all_kernels_agree_for_all_key_and_digest_lengths) {
    noise random(24);
    buffer const message = random.take(180), key = random.take(32);
    for (auto const& with : all_hashes())
        for (std::size_t size = 1; size <= 32; ++size)
            for (std::size_t key_size = 0; key_size <= 32; ++key_size)
                for (std::size_t const length : {0u, 1u, 63u, 64u, 65u, 116u, 128u, 180u}) {
                    wg::bytes_view const k = std::span(key).first(key_size), m = std::span(message).first(length);
                    if (blake2s(with, size, k, m) != blake2s(size, k, m))
                        BOOST_ERROR("digest " << size << ", key " << key_size << ", message " << length);
                }
}

BOOST_AUTO_TEST_CASE(digest_does_not_depend_on_alignment) {
    noise random(21);
    buffer const message = random.take(200);
    buffer const expected = blake2s(32, {}, message);
    for (std::size_t at = 0; at < 16; ++at) {
        buffer in(216), out(48);
        std::copy(message.begin(), message.end(), in.begin() + static_cast<std::ptrdiff_t>(at));
        wg::bytes const digest = std::span(out).subspan(15 - at, 32);
        for (auto const& with : all_hashes()) {
            with.blake2s(digest, {}, std::span(in).subspan(at, 200), {});
            BOOST_TEST(std::equal(digest.begin(), digest.end(), expected.begin()));
            wg::fill_zero(digest);
        }
    }
}

BOOST_AUTO_TEST_CASE(digest_changes_with_every_length_and_message_bit) {
    noise random(22);
    buffer const key = random.take(32), message = random.take(70);
    std::vector<std::uint64_t> seen; // first 8 bytes of each digest: a short digest is not a prefix of a long one
    auto const add = [&](buffer const& digest) { seen.push_back(wg::load_le64(digest.data())); };
    for (std::size_t size = 8; size <= 32; ++size) add(blake2s(size, {}, message));
    for (std::size_t size = 1; size <= 32; ++size) add(blake2s(32, std::span(key).first(size), message));
    add(blake2s(32, buffer(32), message)); // a key of zeros is a key
    for (std::size_t bit = 0; bit < message.size() * 8; ++bit) {
        buffer other = message;
        other[bit / 8] = static_cast<wg::byte>(other[bit / 8] ^ (1 << bit % 8));
        add(blake2s(32, {}, other));
    }
    std::sort(seen.begin(), seen.end());
    BOOST_TEST((std::adjacent_find(seen.begin(), seen.end()) == seen.end()));
}

#ifndef WG_COMPACT
namespace {

/// The items of a batch and their memory. Guard bytes surround each digest; each input has a random alignment.
struct batch {
    std::vector<buffer> keys, messages, outs;
    std::vector<std::size_t> sizes, shifts;

    void add(noise& random, std::size_t key_size, std::size_t length, std::size_t size) {
        std::size_t const shift = random.next() % 16;
        keys.push_back(random.take(key_size));
        messages.push_back(random.take(shift + length));
        outs.push_back(buffer(shift + size + 8, 0xa5));
        sizes.push_back(size);
        shifts.push_back(shift);
    }
    wg::bytes_view message(std::size_t i) const { return std::span(messages[i]).subspan(shifts[i]); }

    /// Runs the batch and compares each digest with the digest of the same item hashed alone.
    void check(wg::bundled::hash const& with) {
        std::vector<wg::hash_item> items;
        for (std::size_t i = 0; i < outs.size(); ++i) {
            std::fill(outs[i].begin(), outs[i].end(), wg::byte{0xa5});
            items.push_back({std::span(outs[i]).subspan(shifts[i], sizes[i]), keys[i], message(i)});
        }
        with.blake2s_batch(items);
        for (std::size_t i = 0; i < outs.size(); ++i) {
            buffer expected(outs[i].size(), 0xa5);
            buffer const digest = blake2s(sizes[i], keys[i], message(i));
            std::copy(digest.begin(), digest.end(), expected.begin() + static_cast<std::ptrdiff_t>(shifts[i]));
            if (outs[i] != expected)
                BOOST_ERROR("item " << i << " of " << outs.size() << ": key " << keys[i].size() << ", message "
                                    << message(i).size() << ", digest " << sizes[i]);
        }
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_batch_gives_the_same_digests_as_single_items) {
    noise random(25);
    for (auto const& with : all_hashes())
        for (std::size_t count = 0; count <= 33; ++count) {
            batch alike, mixed, any; // the same lengths; two kinds with the same count of blocks; random lengths
            for (std::size_t i = 0; i < count; ++i) {
                alike.add(random, 32, 116, 16);
                mixed.add(random, i % 2 == 0 ? 0 : 1 + random.next() % 32, i % 2 == 0 ? 128 + 1 : 65, 1 + i % 32);
                any.add(random, random.next() % 33, random.next() % 261, 1 + random.next() % 32);
            }
            alike.check(with);
            mixed.check(with);
            any.check(with);
        }
}

BOOST_AUTO_TEST_CASE(a_batch_hashes_messages_of_every_length) {
    noise random(26);
    batch unkeyed, keyed;
    for (std::size_t length = 0; length <= 260; ++length) {
        unkeyed.add(random, 0, length, 32);
        keyed.add(random, 32, length, 32);
    }
    for (auto const& with : all_hashes()) {
        unkeyed.check(with);
        keyed.check(with);
    }
}
#endif

BOOST_AUTO_TEST_CASE(hash_of_compact_builds_matches_the_other_kernels) {
    noise random(28);
    wg::bundled::compact_hash const small;
    for (std::size_t const key_bytes : {0u, 1u, 32u})
        for (std::size_t const first : {0u, 1u, 63u, 64u, 65u, 200u})
            for (std::size_t const second : {0u, 1u, 64u, 129u}) {
                buffer const key = random.take(key_bytes), a = random.take(first), b = random.take(second);
                buffer out(32);
                small.blake2s(out, key, a, b);
                BOOST_TEST(out == blake2s(32, key, a, b));
            }
}

// HMAC (RFC 2104) by its definition: keys of 32 bytes are padded to a block of 64
BOOST_AUTO_TEST_CASE(hmac_of_compact_builds_is_two_nested_digests) {
    noise random(29);
    buffer const key = random.take(32);
    buffer inner(64, 0x36), outer(64, 0x5c);
    for (std::size_t i = 0; i < key.size(); ++i) inner[i] ^= key[i], outer[i] ^= key[i];
    for (std::size_t const size : {0u, 1u, 32u, 64u, 100u}) {
        buffer const input = random.take(size);
        buffer out(32);
        wg::bundled::compact_hash{}.hmac_blake2s(out, std::span(key).first<32>(), input);
        BOOST_TEST(out == blake2s(32, {}, outer, blake2s(32, {}, inner, input)));
    }
}

#ifdef WG_X86_KERNELS
// The byte count has two words. A message that fills the low word would take too long to hash.
BOOST_AUTO_TEST_CASE(kernels_agree_on_byte_counts_beyond_32_bits) {
    noise random(27);
    cpu const here = wg::bundled::detect_cpu();
    for (std::uint64_t const count : {(std::uint64_t{1} << 32) - 64, std::uint64_t{1} << 32, random.next()}) {
        buffer const message = random.take(192 + 7), start = random.take(32);
        auto const run = [&](auto compress) {
            wg::bundled::blake2s_detail::work w;
            std::memcpy(w.h, start.data(), sizeof w.h);
            compress(w, message.data(), message.size(), count + message.size(), true);
            return buffer(reinterpret_cast<wg::byte*>(w.h), reinterpret_cast<wg::byte*>(w.h + 8));
        };
        buffer const expected = run(wg::bundled::blake2s_detail::words::compress);
        if (has(here, cpu::avx2)) BOOST_TEST(run(wg::bundled::blake2s_detail::rows_avx2::compress) == expected);
        if (has(here, cpu::avx512)) BOOST_TEST(run(wg::bundled::blake2s_detail::rows_avx512::compress) == expected);
    }
}
#endif

#ifdef WG_TESTS_CAN_SEARCH_STACK
BOOST_AUTO_TEST_CASE(leaves_neither_key_nor_message_on_the_stack) {
    noise random(23);
    buffer const key = random.take(32), message = random.take(100);
    buffer out(32);
    for (auto const& with : all_hashes()) {
        auto const found = search_stack_after([&] { with.blake2s(out, key, message, message); });
        BOOST_TEST(!found.has(key));
        BOOST_TEST(!found.has(message));
        BOOST_TEST(!found.has(out));
    }
}

#ifndef WG_COMPACT
BOOST_AUTO_TEST_CASE(a_batch_leaves_neither_keys_nor_messages_on_the_stack) {
    noise random(28);
    for (auto const& with : all_hashes())
        for (std::size_t const count : {2u, 3u, 8u, 16u, 19u}) {
            std::vector<buffer> keys, messages, outs(count, buffer(32));
            std::vector<wg::hash_item> items;
            for (std::size_t i = 0; i < count; ++i) {
                keys.push_back(random.take(32));
                messages.push_back(random.take(100));
            }
            for (std::size_t i = 0; i < count; ++i) items.push_back({outs[i], keys[i], messages[i]});
            auto const found = search_stack_after([&] { with.blake2s_batch(items); });
            for (std::size_t i = 0; i < count; ++i) {
                BOOST_TEST(!found.has(keys[i]));
                BOOST_TEST(!found.has(messages[i]));
                BOOST_TEST(!found.has(outs[i]));
            }
        }
}
#endif

#ifdef WG_X86_KERNELS
namespace {

// clang-format off
#define WG_TESTS_ALL_32(what) \
    what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10) what(11) what(12) \
    what(13) what(14) what(15) what(16) what(17) what(18) what(19) what(20) what(21) what(22) what(23) what(24) \
    what(25) what(26) what(27) what(28) what(29) what(30) what(31)
#define WG_TESTS_CLEAR(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define WG_TESTS_STORE(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%0)\n\t"
// clang-format on

/// Clears the vector registers, calls `function(argument)` and stores the vector registers in `out`.
[[gnu::noinline, gnu::target("avx512f")]] void vector_registers_after(void (*function)(void const*),
                                                                      void const* argument, wg::byte (&out)[32][64]) {
    asm volatile(WG_TESTS_ALL_32(WG_TESTS_CLEAR)
                 :
                 :
                 : "memory"); // no clobbers: the call below may change every vector register, too
    function(argument);
    asm volatile(WG_TESTS_ALL_32(WG_TESTS_STORE) : : "r"(out) : "memory");
}

#undef WG_TESTS_ALL_32
#undef WG_TESTS_CLEAR
#undef WG_TESTS_STORE

bool has_word_of(wg::byte const (&registers)[32][64], buffer const& secret) {
    for (std::size_t i = 0; i + 4 <= secret.size(); i += 4)
        for (auto const& one : registers)
            for (std::size_t at = 0; at < 64; at += 4)
                if (std::memcmp(one + at, &secret[i], 4) == 0) return true;
    return false;
}

} // namespace

BOOST_AUTO_TEST_CASE(leaves_neither_key_nor_message_in_vector_registers) {
    if (!has(wg::bundled::detect_cpu(), cpu::avx512)) return; // without AVX-512 the test cannot read all of them
    noise random(29);
    buffer const key = random.take(32), message = random.take(116);
    for (cpu const set : {cpu::avx2, cpu::avx512}) {
        struct arguments {
            wg::bundled::hash with;
            std::vector<buffer> outs;
            std::vector<wg::hash_item> items;
        } use{wg::bundled::hash(cpu::ssse3 | cpu::avx2 | set), std::vector<buffer>(16, buffer(16)), {}};
        for (buffer& out : use.outs) use.items.push_back({out, key, message});
        static wg::byte registers[32][64];
        vector_registers_after(
            [](void const* from) {
                auto const& in = *static_cast<arguments const*>(from);
                in.with.blake2s(in.items[0].out, in.items[0].key, in.items[0].message, {});
            },
            &use, registers);
        BOOST_TEST(!has_word_of(registers, key));
        BOOST_TEST(!has_word_of(registers, message));
        vector_registers_after(
            [](void const* from) {
                auto const& in = *static_cast<arguments const*>(from);
                in.with.blake2s_batch(in.items);
            },
            &use, registers);
        BOOST_TEST(!has_word_of(registers, key));
        BOOST_TEST(!has_word_of(registers, message));
    }
}
#endif
#endif

BOOST_AUTO_TEST_SUITE_END()
