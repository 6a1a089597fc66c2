// SPDX-License-Identifier: BSL-1.0
// Runs every operation on marked secrets. A tool observes the run and checks that no branch and no address depends on
// a secret.
//
//     operations --sets                prints the combinations of instruction sets to observe here, one per line
//     operations --groups              prints the groups of operations
//     operations GROUP,... SET         runs the groups with this combination
//     operations GROUP,... SET FILE    also records every instruction in FILE; runs fewer batches
//
// The groups named plant_... leak a secret, to prove that the tool finds leaks.
#include "observed.hpp"
#include "recording.hpp"

#include "../modes/smallest.hpp"
#include "../unit/bundled_sets.hpp"
#include "../unit/bundled_vectors.hpp"
#include "wg/post_quantum.hpp"
#include "wg/protocol/noise.hpp"

#include <algorithm>
#include <cstring>

#ifdef WG_X86_KERNELS
#include <immintrin.h>
#endif

namespace {

using namespace wg_tests;
using wg::bundled::has;

constexpr std::size_t lengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256, 400, 576, 900, 1024, 1420, 2100};
constexpr std::size_t all_batches[] = {1, 2, 7, 8, 9, 16, 17}, few_batches[] = {2, 9, 17};
std::span<std::size_t const> batches = all_batches;

noise random_bytes(1);

void demand(bool good, char const* what) {
    if (good) return;
    std::printf("%s\n", what);
    std::exit(3);
}

/// Random bytes, made with few instructions: the run records these, too.
buffer public_bytes(std::size_t size) {
    buffer out((size + 7) / 8 * 8);
    for (std::size_t i = 0; i < size; i += 8) wg::store_le64(&out[i], random_bytes.next());
    out.resize(size);
    return out;
}
buffer secret_bytes(std::size_t size) {
    buffer out = public_bytes(size);
    wg_mark_secret(out.data(), out.size());
    return out;
}
wg::secret<32> secret_key() {
    wg::secret<32> key(fixed<32>(public_bytes(32)));
    wg_mark_secret(key.expose().data(), 32);
    return key;
}
void make_public(wg::bytes bytes) { wg_mark_public(bytes.data(), bytes.size()); }

// ---- one packet

template <class Aead> void seal_and_open(Aead const& aead, std::size_t size, std::size_t aad_bytes) {
    wg::secret<32> const key = secret_key();
    buffer const aad = public_bytes(aad_bytes);
    buffer plain = secret_bytes(size), sealed(size + 16), opened(size);
    aead.seal(sealed, plain, aad, 7, key);
    make_public(sealed);
    demand(aead.open(opened, sealed, aad, 7, key), "a genuine packet was refused");
    make_public(opened);

    buffer place = sealed;
    demand(aead.open(wg::bytes(place).first(size), place, aad, 7, key), "a genuine packet was refused in place");
    aead.seal(place, wg::bytes(place).first(size), aad, 7, key);
    make_public(place);
    demand(place == sealed, "the packet sealed in place differs from the packet sealed into another buffer");

    place.back() ^= 1;
    demand(!aead.open(opened, place, aad, 7, key), "a forged packet was accepted");
    make_public(opened);
}

template <class Aead> void all_lengths(Aead const& aead) {
    for (std::size_t const size : lengths) {
        seal_and_open(aead, size, 0);
        if (size < 600) seal_and_open(aead, size, 32);
    }
    wg::secret<32> const key = secret_key();
    wg::secret<32> out;
    buffer const nonce = public_bytes(16);
    aead.hchacha20(out, key, fixed<16>(nonce));
}

void one_packet(cpu set) { all_lengths(backend_with<wg::bundled::aead>(set)); }

// ---- batches of packets

/// A batch with `few` different lengths in turn, and three keys unless `few` is 1. Every fifth packet is forged.
template <class Aead> void batch(Aead const& aead, std::size_t count, std::size_t first_length, std::size_t few) {
    wg::secret<32> const keys[3] = {secret_key(), secret_key(), secret_key()};
    std::vector<buffer> plain, sealed, opened;
    std::vector<wg::aead_item> items(count);
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t const size = lengths[(first_length + i % few) % std::size(lengths)];
        plain.push_back(secret_bytes(size));
        sealed.emplace_back(size + 16);
        opened.emplace_back(size);
    }
    auto const item = [&](std::size_t i, wg::bytes dst, wg::bytes_view src) {
        items[i] = {.dst = dst, .src = src, .counter = i, .key = &keys[few == 1 ? 0 : i % 3]};
    };
    for (std::size_t i = 0; i < count; ++i) item(i, sealed[i], plain[i]);
    aead.seal_batch(items);
    for (std::size_t i = 0; i < count; ++i) {
        make_public(sealed[i]);
        if (i % 5 == 3) sealed[i][sealed[i].size() - 16] ^= 1;
        if (i % 2 == 0) item(i, opened[i], sealed[i]);
        else item(i, wg::bytes(sealed[i]).first(opened[i].size()), sealed[i]);
    }
    aead.open_batch(items);
    for (std::size_t i = 0; i < count; ++i) demand(items[i].good == (i % 5 != 3), "a wrong verdict in a batch");
}

template <class Aead> void seal_and_open_batches(Aead const& aead) {
    if constexpr (requires(std::span<wg::aead_item> items) { aead.seal_batch(items), aead.open_batch(items); })
        for (std::size_t const count : batches)
            for (std::size_t const few : {1u, 2u, 16u})
                for (std::size_t const first : {2u, 6u, 11u, 14u}) batch(aead, count, first, few);
}

void many_packets(cpu set) { seal_and_open_batches(backend_with<wg::bundled::aead>(set)); }

// ---- keys

template <class Dh> void agree(Dh const& dh) {
    wg::secret<32> const key = secret_key();
    wg::secret<32> shared;
    wg::public_key own{}, other{};
    dh.dh_public(own, key);
    make_public(own);
    wg::copy(other, public_bytes(32));
    demand(dh.dh(shared, key, other), "no key from a good point");
    wg::public_key const zero{};
    demand(!dh.dh(shared, key, zero), "a key from a point of low order");
    if constexpr (requires(std::span<wg::dh_item> items) { dh.dh_batch(items); })
        for (std::size_t const count : batches) {
            std::vector<wg::secret<32>> keys(count), out(count);
            std::vector<wg::dh_item> items(count);
            for (std::size_t i = 0; i < count; ++i) {
                keys[i] = secret_key();
                items[i] = {.out = &out[i], .scalar = &keys[i], .point = i == 3 ? zero : other};
            }
            dh.dh_batch(items);
            for (std::size_t i = 0; i < count; ++i) demand(items[i].good == (i != 3), "a wrong verdict in a batch");
        }
}

void agreement(cpu set) { agree(backend_with<wg::bundled::dh>(set)); }

// ---- encapsulation of secrets

/// A key pair, a secret for it, and its decapsulation from the genuine ciphertext and from a changed one.
template <class Kem> void encapsulate(Kem const& kem) {
    using kem_type = wg::bundled::ml_kem_768;
    wg::byte_array<kem_type::public_key_bytes> key;
    wg::byte_array<kem_type::ciphertext_bytes> ciphertext;
    wg::secret<kem_type::private_key_bytes> private_key;
    wg::secret<64> seed(fixed<64>(public_bytes(64)));
    wg_mark_secret(seed.expose().data(), 64);
    wg::secret<32> const message = secret_key();
    wg::secret<32> sent, received, rejected;
    demand(kem.generate(key, private_key, seed), "no key pair");
    make_public(key);
    // The private key contains the public key and its digest, which are public.
    make_public(private_key.expose().subspan(1152, kem_type::public_key_bytes + 32));
    demand(kem.encapsulate(ciphertext, sent, key, message), "a good public key was refused");
    make_public(ciphertext);
    demand(kem.decapsulate(received, private_key, ciphertext), "a good private key was refused");
    demand(sent.equals(received), "the secrets of the ends differ");
    ciphertext[700] ^= 1;
    demand(kem.decapsulate(rejected, private_key, ciphertext), "a good private key was refused");
    demand(!rejected.equals(sent), "a changed ciphertext gave the same secret");
}

/// The kernel of processors without vectors.
struct portable_kem {
    using kernel = wg::bundled::ml_kem_detail::ml_kem<wg::bundled::ml_kem_detail::portable_kernel>;

    bool generate(wg::bytes key, wg::secret<2400>& private_key, wg::secret<64> const& seed) const {
        kernel::generate(key.data(), private_key.expose().data(), seed.expose().data());
        return true;
    }
    bool encapsulate(wg::bytes out, wg::secret<32>& shared, wg::bytes_view key, wg::secret<32> const& random) const {
        return kernel::encapsulate(out.data(), shared.expose().data(), key.data(), random.expose().data());
    }
    bool decapsulate(wg::secret<32>& shared, wg::secret<2400> const& key, wg::bytes_view ciphertext) const {
        return kernel::decapsulate(shared.expose().data(), key.expose().data(), ciphertext.data());
    }
};

void encapsulation(cpu set) { encapsulate(wg::bundled::ml_kem_768(set)); }

// ---- code for other processors

/// Scalar code with limbs of each width, which does not depend on the instruction sets.
void plain(cpu) {
    all_lengths(wg::bundled::aead_fixed<wg::bundled::plain_kernel<wg::bundled::limbs32>>{});
    all_lengths(wg::bundled::aead_fixed<wg::bundled::plain_kernel<wg::bundled::limbs64>>{});
    all_lengths(wg::bundled::aead_fixed<wg::bundled::compact_kernel>{});
    wg::secret<32> const key = secret_key();
    wg::secret<32> shared;
    wg::public_key point{9};
    demand(wg::bundled::x25519<wg::bundled::limbs32>::multiply(shared.expose(), key.expose(), point), "no key");
#ifndef WG_COMPACT
    wg::bundled::x25519_base<wg::bundled::limbs32>::multiply(point, key.expose());
#endif
    encapsulate(portable_kem{});
}

// ---- hash

template <class Hash> void digests(Hash const& hash) {
    for (std::size_t const size : {0u, 1u, 32u, 63u, 64u, 65u, 127u, 128u, 129u, 256u}) {
        buffer const key = secret_bytes(size % 33), a = secret_bytes(size), b = secret_bytes(size / 2);
        buffer out(size % 2 == 0 ? 32 : 16);
        hash.blake2s(out, key, a, b);
    }
    if constexpr (requires(std::span<wg::hash_item const> items) { hash.blake2s_batch(items); })
        for (std::size_t const count : batches)
            for (std::size_t const size : {0u, 64u, 116u, 200u}) {
                std::vector<buffer> keys, messages, outs;
                std::vector<wg::hash_item> items;
                for (std::size_t i = 0; i < count; ++i) {
                    keys.push_back(secret_bytes(32));
                    messages.push_back(secret_bytes(size + (size == 200 ? i : 0)));
                    outs.emplace_back(16);
                }
                for (std::size_t i = 0; i < count; ++i) items.push_back({outs[i], keys[i], messages[i]});
                hash.blake2s_batch(std::span<wg::hash_item const>(items));
            }
}

void hashing(cpu set) { digests(backend_with<wg::bundled::hash>(set)); }

// ---- the handshake, from its first message to the keys of the session

struct secret_random {
    bool fill(wg::bytes out) noexcept {
        wg::copy(out, public_bytes(out.size()));
        wg_mark_secret(out.data(), out.size());
        return true;
    }
};

struct end {
    wg::identity mine;
    wg::remote_identity theirs;
    wg::handshake shake;
    wg::secret<32> send_key, receive_key;
};

void handshake(cpu set) {
    using policies = tests::smallest;
    wg::primitives<policies> const with(backend_with<wg::bundled::hash>(set), backend_with<wg::bundled::dh>(set),
                                        backend_with<wg::bundled::aead>(set));
    wg::noise<policies> const noise(with);
    end i, r;
    for (end* const e : {&i, &r}) {
        e->mine.private_key = secret_key();
        with.dh.dh_public(e->mine.public_key, e->mine.private_key);
        make_public(e->mine.public_key);
    }
    wg::secret<32> const preshared = secret_key();
    for (auto const& [one, other] : {std::pair{&i, &r}, std::pair{&r, &i}}) {
        one->theirs.public_key = other->mine.public_key;
        one->theirs.preshared_key.assign(preshared);
        demand(with.dh.dh(one->theirs.static_static, one->mine.private_key, other->mine.public_key), "no key");
    }
    secret_random random;
    buffer initiation(148), response(92);
    wg::byte_array<12> const timestamp{};
    using steps = wg::noise<policies>;
    steps::incoming_initiation in;
    steps::outgoing_response outgoing;
    steps::incoming_response incoming;
    in.why = outgoing.why = incoming.why = wg::status::ok;
    wg::status why[6];
    why[0] = noise.create_initiation(i.shake, i.mine, i.theirs, random, timestamp, initiation);
    make_public(initiation);
    in.read(initiation.data());
    noise.open_initiations(steps::batch<steps::incoming_initiation>(&in, 1), r.mine);
    why[1] = in.why;
    make_public(in.remote_static); // secret on the wire, but the device looks it up
    why[2] = noise.prove_initiation(in, r.theirs);
    noise.accept_initiation(r.shake, in);
    noise.begin_response(outgoing, r.shake, r.theirs, response.data(), random);
    noise.create_responses(steps::batch<steps::outgoing_response>(&outgoing, 1));
    why[3] = outgoing.why;
    make_public(response);
    noise.begin_response(incoming, i.shake, i.mine, i.theirs, response.data());
    noise.open_responses(steps::batch<steps::incoming_response>(&incoming, 1));
    why[4] = incoming.why;
    if (why[4] == wg::status::ok) noise.accept_response(i.shake, incoming);
    why[5] = noise.begin_session(i.shake, i.send_key, i.receive_key);
    for (wg::status const w : why) demand(w == wg::status::ok, "the handshake failed");
    demand(noise.begin_session(r.shake, r.send_key, r.receive_key) == wg::status::ok, "no session");
    demand(i.send_key.equals(r.receive_key) && r.send_key.equals(i.receive_key), "the keys of the ends differ");
}

// ---- planted leaks

std::uint32_t table[256];
std::uint32_t volatile sink = 1;

/// A branch on the lowest bit of a secret. (A conditional move would be no leak.)
void plant_branch(cpu) {
    buffer const secret = secret_bytes(16);
    if (secret[5] & 1) sink = 2;
    asm volatile("");
}
/// A load from an address that depends on a secret.
void plant_index(cpu) {
    buffer const secret = secret_bytes(16);
    sink = table[secret[5]];
}
/// A loop whose length depends on a secret that was stored on the stack.
void plant_length(cpu) {
    buffer const secret = secret_bytes(16);
    std::uint32_t volatile left = secret[3] * 3u;
    for (std::uint32_t i = left & 7; i > 0; --i) sink = i;
}
/// A division, whose time depends on its operands. memcheck does not check divisions.
void plant_division(cpu) {
    buffer const secret = secret_bytes(16);
    sink = 1000u / (secret[3] | 1u);
}

#ifdef WG_X86_KERNELS
[[gnu::target("avx2"), gnu::noinline]] void leak_avx2(wg::byte const* from) {
    __m256i const x = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(from));
    __m256i const y = _mm256_add_epi32(_mm256_shuffle_epi32(x, 0x1b), x);
    if (_mm256_movemask_epi8(y) & 4) sink = 3;
}
[[gnu::target("avx2"), gnu::noinline]] void leak_gather_avx2(wg::byte const* from) {
    __m256i const x = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(from));
    __m256i const y = _mm256_i32gather_epi32(reinterpret_cast<int const*>(table), _mm256_srli_epi32(x, 24), 4);
    sink = static_cast<std::uint32_t>(_mm256_extract_epi32(y, 3));
}
[[gnu::target("avx512f,avx512bw"), gnu::noinline]] void leak_avx512(wg::byte const* from) {
    __m512i const x = _mm512_loadu_si512(from);
    __mmask16 const k = _mm512_cmpgt_epu32_mask(_mm512_maskz_rol_epi32(0xffff, x, 7), _mm512_set1_epi32(1 << 30));
    if (k & 1) sink = 4;
}
/// A permutation by secrets takes constant time. A load whose address is an element of the result leaks.
[[gnu::target("avx512f,avx512bw"), gnu::noinline]] void leak_permuted_avx512(wg::byte const* from) {
    __m512i const x = _mm512_loadu_si512(from);
    __m512i const places = _mm512_and_si512(x, _mm512_set1_epi32(15));
    __m512i const y = _mm512_maskz_permutexvar_epi32(0xffff, places, _mm512_set1_epi32(3));
    std::uint32_t lanes[16];
    _mm512_storeu_si512(lanes, _mm512_add_epi32(y, _mm512_and_si512(x, _mm512_set1_epi32(63))));
    sink = table[*static_cast<std::uint32_t volatile*>(lanes + 2)];
}
#endif

void plant_mask(cpu set) {
    buffer const secret = secret_bytes(64);
#ifdef WG_X86_KERNELS
    if (has(set, cpu::avx512)) return leak_avx512(secret.data());
    if (has(set, cpu::avx2)) return leak_avx2(secret.data());
#endif
    static_cast<void>(set);
    sink = table[secret[0]];
}
void plant_gather(cpu set) {
    buffer const secret = secret_bytes(64);
#ifdef WG_X86_KERNELS
    if (has(set, cpu::avx512)) return leak_permuted_avx512(secret.data());
    if (has(set, cpu::avx2)) return leak_gather_avx2(secret.data());
#endif
    static_cast<void>(set);
    sink = table[secret[0]];
}

struct {
    char const* name;
    void (*run)(cpu);
} const groups[] = {
    {"one_packet", one_packet},         {"many_packets", many_packets},
    {"agreement", agreement},           {"hashing", hashing},
    {"handshake", handshake},           {"plain", plain},
    {"encapsulation", encapsulation},   {"plant_branch", plant_branch},
    {"plant_index", plant_index},       {"plant_length", plant_length},
    {"plant_mask", plant_mask},         {"plant_gather", plant_gather},
    {"plant_division", plant_division},
};

/// The instruction sets that can be observed. valgrind's cpuid hides those that valgrind lacks, and also ADX, which it
/// supports.
cpu observable() {
    cpu const there = wg::bundled::detect_cpu();
    return RUNNING_ON_VALGRIND ? consistent(there | cpu::adx) : there;
}

} // namespace

int main(int count, char** arguments) {
    std::string const first = count > 1 ? arguments[1] : "";
    if (first == "--sets") {
        for (cpu const set : cpu_sets(observable())) std::printf("%s\n", print_cpu(set).c_str());
        return 0;
    }
    if (first == "--groups") {
        for (auto const& group : groups) std::printf("%s\n", group.name);
        return 0;
    }
    if (count < 3) return std::printf("usage: operations GROUP SET [FILE]\n"), 2;
    if (count > 3) recording::open(arguments[3]), batches = few_batches;
    cpu set = cpu::baseline;
    if (std::strcmp(arguments[2], "baseline") != 0 && !wg::bundled::parse_cpu(arguments[2], set))
        return std::printf("unknown instruction set: %s\n", arguments[2]), 2;
    if (!has(observable(), set)) return std::printf("not supported by this processor: %s\n", arguments[2]), 2;
    for (std::size_t at = 0; at <= first.size();) {
        std::string const name = first.substr(at, first.find(',', at) - at);
        at += name.size() + 1;
        auto const found = std::find_if(std::begin(groups), std::end(groups), [&](auto& g) { return name == g.name; });
        if (found == std::end(groups)) return std::printf("unknown group: %s\n", name.c_str()), 2;
        recording::start();
        found->run(set);
        recording::stop();
    }
    std::printf("done\n");
}
