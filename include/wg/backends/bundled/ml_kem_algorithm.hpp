// SPDX-License-Identifier: BSL-1.0
// ML-KEM-768 (FIPS 203) as a template over a kernel, and its portable kernel. Folder: backends/bundled; any thread.
//
// The functions leave secrets on the stack, and the three public ones of `ml_kem` wipe all of it at their end.
//
// No branch and no index depends on a secret. The seed of the matrix is part of the public key, so the time of the
// rejection sampling may depend on it.
#ifndef WG_BACKENDS_BUNDLED_ML_KEM_ALGORITHM_HPP
#define WG_BACKENDS_BUNDLED_ML_KEM_ALGORITHM_HPP

#include "../../base/limits.hpp"
#include "ml_kem_coding.hpp"
#include "limbs.hpp"
#include "ml_kem_lanes.hpp"
#include "ml_kem_sampling.hpp"
#include "wipe_stack.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

inline constexpr std::size_t rank = 3;                            ///< k: polynomials of a vector
inline constexpr std::size_t vector_bytes = rank * encoded_bytes; ///< of an encoded vector
inline constexpr std::size_t public_bytes = vector_bytes + seed_bytes;
/// The secret vector, the public key, its hash, and the seed of implicit rejection.
inline constexpr std::size_t private_bytes = vector_bytes + public_bytes + hash_bytes + seed_bytes;
inline constexpr unsigned vector_bits = 10, value_bits = 4; ///< d_u and d_v: bits of a compressed coefficient
inline constexpr std::size_t sealed_vector_bytes = rank * coded_bytes<vector_bits>;
inline constexpr std::size_t sealed_bytes = sealed_vector_bytes + coded_bytes<value_bits>;

/// The portable kernel. It makes the elements of the matrix one at a time, which saves memory.
struct portable_kernel {
    using permutation = keccak_baseline; ///< of a single state

    /// Stack below the functions of `ml_kem`: frames of hashes and of the permutation.
    static constexpr std::size_t stack_bytes = spill_bytes + 1024;

    /// The polynomials of an operation.
    struct work {
        polynomial noise[2 * rank + 1]; ///< the first `rank` become the vector that the matrix is multiplied by
        polynomial result;
        polynomial element;
        wide_polynomial sum;
        byte const* seed;
        bool transposed;
    };

    /// Begins an operation with the matrix for `seed`, and computes hashes.
    static void expand(work& w, byte const* seed, bool transposed, std::span<hash_job const> hashes) noexcept {
        w.seed = seed, w.transposed = transposed;
        for (hash_job const& job : hashes) hash(job);
    }
    /// Computes one hash.
    static void hash(hash_job const& job) noexcept {
        keccak_hash<permutation>(job.function, {job.out, hash_bytes}, job.first, job.second);
    }
    /// Makes `count` polynomials of noise for `secret_seed`.
    static void make_noise(work& w, byte const* secret_seed, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count; ++i) sample_noise<permutation>(w.noise[i], secret_seed, i);
    }
    /// Both.
    static void expand_with_noise(work& w, byte const* seed, byte const* secret_seed, std::size_t count) noexcept {
        expand(w, seed, false, {});
        make_noise(w, secret_seed, count);
    }
    static void transform(polynomial& p) noexcept { ring::transform(p); }
    static void inverse_transform(polynomial& p) noexcept { ring::inverse_transform(p); }
    /// Ends the changes of the vector in w.noise.
    static void prepare(work&) noexcept {}
    /// w.result = row `i` of the matrix times the vector, divided by R.
    static void multiply_row(work& w, std::size_t i) noexcept {
        w.sum = {};
        for (std::size_t j = 0; j < rank; ++j) {
            sample_uniform<permutation>(w.element, w.seed, w.transposed ? i : j, w.transposed ? j : i);
            ring::multiply_add(w.sum, w.element, w.noise[j]);
        }
        ring::reduce(w.result, w.sum);
    }
    /// w.result = an encoded vector times the vector, divided by R.
    static void multiply_encoded(work& w, byte const* encoded) noexcept {
        w.sum = {};
        for (std::size_t j = 0; j < rank; ++j) {
            coding::decode(w.element, encoded + j * encoded_bytes);
            ring::multiply_add(w.sum, w.element, w.noise[j]);
        }
        ring::reduce(w.result, w.sum);
    }
    static void scale_and_add(polynomial& p, polynomial const& other) noexcept { ring::scale_and_add(p, other); }
    static void add(polynomial& a, polynomial const& b) noexcept { ring::add(a, b); }
    static void subtract_from(polynomial& a, polynomial const& b) noexcept { ring::subtract_from(a, b); }
    static void add_message(polynomial& p, byte const* message) noexcept { coding::add_message(p, message); }
    static bool is_reduced(byte const* from) noexcept { return coding::is_reduced(from); }
    static void encode(byte* to, polynomial const& p) noexcept { coding::encode(to, p); }
    template <unsigned Bits> static void compress_to(byte* to, polynomial const& p) noexcept {
        coding::compress_to<Bits>(to, p);
    }
    template <unsigned Bits> static void decompress_from(polynomial& p, byte const* from) noexcept {
        coding::decompress_from<Bits>(p, from);
    }
    /// Clears the registers that only this kernel uses.
    static void wipe_registers() noexcept {}
};

/// The three algorithms. Sizes of the memory behind the pointers: `public_bytes`, `private_bytes`, `sealed_bytes`, and
/// 32 bytes for seeds, messages and shared secrets.
template <class Kernel> class ml_kem {
    using permutation = typename Kernel::permutation;

public:
    /// ML-KEM.KeyGen_internal (FIPS 203, algorithm 16). `seed`: d and then z, 64 bytes.
    static void generate(byte* public_key, byte* private_key, byte const* seed) noexcept {
        generate_key(public_key, private_key, seed);
        finish();
    }
    /// ML-KEM.Encaps_internal (algorithm 17). `message`: 32 random bytes.
    /// Returns: false if the key does not pass the modulus check of section 7.2; nothing is written then.
    static bool encapsulate(byte* sealed, byte* shared, byte const* public_key, byte const* message) noexcept {
        for (std::size_t i = 0; i < rank; ++i)
            if (!WG_DECLASSIFY(Kernel::is_reduced(public_key + i * encoded_bytes))) return false; // a public key
        encapsulate_secret(sealed, shared, public_key, message);
        finish();
        return true;
    }
    /// ML-KEM.Decaps_internal (algorithm 18). A ciphertext that does not belong to the key gives a pseudorandom secret.
    /// Returns: false if the key does not pass the hash check of section 7.3; nothing is written then.
    static bool decapsulate(byte* shared, byte const* private_key, byte const* sealed) noexcept {
        bool const intact = decapsulate_secret(shared, private_key, sealed);
        finish();
        return intact;
    }

private:
    using kernel_work = typename Kernel::work;

    /// Wipes the stack of an operation: its objects, and what the compiler has spilled.
    static void finish() noexcept {
        Kernel::wipe_registers();
        wipe_stack<sizeof(kernel_work) + sealed_bytes + Kernel::stack_bytes>();
    }

    [[gnu::noinline]] static void generate_key(byte* public_key, byte* private_key, byte const* seed) noexcept {
        kernel_work w;
        byte seeds[2 * seed_bytes]; // rho, which is public, and sigma
        byte const last[1] = {rank};
        keccak_hash<permutation>(sha3_512, seeds, {seed, seed_bytes}, last);
        byte_array<seed_bytes> rho;
        copy(rho, bytes_view(seeds).first(seed_bytes));
        rho = WG_DECLASSIFY(rho);
        Kernel::expand_with_noise(w, rho.data(), seeds + seed_bytes, 2 * rank);
        for (std::size_t i = 0; i < 2 * rank; ++i) Kernel::transform(w.noise[i]);
        Kernel::prepare(w);
        for (std::size_t i = 0; i < rank; ++i) {
            Kernel::encode(private_key + i * encoded_bytes, w.noise[i]);
            Kernel::multiply_row(w, i);
            Kernel::scale_and_add(w.result, w.noise[rank + i]);
            Kernel::encode(public_key + i * encoded_bytes, w.result);
        }
        std::copy_n(rho.data(), seed_bytes, public_key + vector_bytes);
        byte* to = std::copy_n(public_key, public_bytes, private_key + vector_bytes);
        Kernel::hash({sha3_256, {public_key, public_bytes}, {}, to});
        std::copy_n(seed + seed_bytes, seed_bytes, to + hash_bytes);
    }

    /// K-PKE.Encrypt (algorithm 14), after `expand`. `coins`: 32 bytes.
    [[gnu::noinline]] static void encrypt(kernel_work& w, byte* sealed, byte const* public_key, byte const* message,
                                          byte const* coins) noexcept {
        Kernel::make_noise(w, coins, 2 * rank + 1);
        for (std::size_t i = 0; i < rank; ++i) Kernel::transform(w.noise[i]);
        Kernel::prepare(w);
        for (std::size_t i = 0; i < rank; ++i) {
            Kernel::multiply_row(w, i);
            Kernel::inverse_transform(w.result);
            Kernel::add(w.result, w.noise[rank + i]);
            Kernel::template compress_to<vector_bits>(sealed + i * coded_bytes<vector_bits>, w.result);
        }
        Kernel::multiply_encoded(w, public_key);
        Kernel::inverse_transform(w.result);
        Kernel::add(w.result, w.noise[2 * rank]);
        Kernel::add_message(w.result, message);
        Kernel::template compress_to<value_bits>(sealed + sealed_vector_bytes, w.result);
    }

    /// K-PKE.Decrypt (algorithm 15).
    [[gnu::noinline]] static void decrypt(kernel_work& w, byte* message, byte const* private_key,
                                          byte const* sealed) noexcept {
        for (std::size_t i = 0; i < rank; ++i) {
            Kernel::template decompress_from<vector_bits>(w.noise[i], sealed + i * coded_bytes<vector_bits>);
            Kernel::transform(w.noise[i]);
        }
        Kernel::prepare(w);
        Kernel::multiply_encoded(w, private_key);
        Kernel::inverse_transform(w.result);
        Kernel::template decompress_from<value_bits>(w.noise[0], sealed + sealed_vector_bytes);
        Kernel::subtract_from(w.result, w.noise[0]);
        Kernel::template compress_to<1>(message, w.result);
    }

    [[gnu::noinline]] static void encapsulate_secret(byte* sealed, byte* shared, byte const* public_key,
                                                     byte const* message) noexcept {
        kernel_work w;
        byte both[2 * seed_bytes]; // the message and the hash of the key, then the shared secret and the coins
        std::copy_n(message, message_bytes, both);
        hash_job const hash[1] = {{sha3_256, {public_key, public_bytes}, {}, both + message_bytes}};
        Kernel::expand(w, public_key + vector_bytes, true, hash);
        keccak_hash<permutation>(sha3_512, both, both);
        std::copy_n(both, seed_bytes, shared);
        encrypt(w, sealed, public_key, message, both + seed_bytes);
    }

    [[gnu::noinline]] static bool decapsulate_secret(byte* shared, byte const* private_key,
                                                     byte const* sealed) noexcept {
        byte const* const public_key = private_key + vector_bytes;
        byte const* const hash = public_key + public_bytes;
        byte const* const rejection_seed = hash + hash_bytes;
        kernel_work w;
        byte message[message_bytes], both[2 * seed_bytes], other[hash_bytes], again[sealed_bytes];
        hash_job const hashes[2] = {
            {sha3_256, {public_key, public_bytes}, {}, both},
            {shake256, {rejection_seed, seed_bytes}, {sealed, sealed_bytes}, other},
        };
        Kernel::expand(w, public_key + vector_bytes, true, hashes);
        bool const intact = equal_in_constant_time(bytes_view(both).first(hash_bytes), {hash, hash_bytes});
        if (intact) {
            decrypt(w, message, private_key, sealed);
            keccak_hash<permutation>(sha3_512, both, message, {hash, hash_bytes});
            encrypt(w, again, public_key, message, both + seed_bytes);
            // Whether the ciphertexts are equal stays secret: an attacker could find the key by asking.
            std::uint64_t difference = 0;
            for (std::size_t i = 0; i < sealed_bytes; i += 8)
                difference |= load_le64(again + i) ^ load_le64(sealed + i);
            std::uint32_t const any = static_cast<std::uint32_t>(difference | difference >> 32);
            std::uint32_t const rejected = mask_of((any | (0 - any)) >> 31);
            for (std::size_t i = 0; i < key_bytes; ++i)
                shared[i] = static_cast<byte>(both[i] ^ ((both[i] ^ other[i]) & rejected));
        }
        return intact;
    }
};

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif
