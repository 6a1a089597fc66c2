// SPDX-License-Identifier: BSL-1.0
// Keccak-f[1600], and SHA-3 and SHAKE on it (FIPS 202), for ML-KEM. Folder: backends/bundled; any thread.
//
// `keccak_hash` wipes its sponge. What the permutation spills stays on the stack: callers end with `wipe_stack`.
#ifndef WG_BACKENDS_BUNDLED_KECCAK_HPP
#define WG_BACKENDS_BUNDLED_KECCAK_HPP

#include "../../base/secret.hpp"
#include "cpu.hpp"
#include "wipe_stack.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>

namespace wg { inline namespace WG_ABI { namespace bundled {

namespace keccak_detail {

inline constexpr std::size_t rounds = 24, words = 25;

/// The constants of step iota (FIPS 202, section 3.2.5).
inline constexpr std::uint64_t constants[rounds] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000a, 0x000000008000808b, 0x800000000000008b, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};

/// Steps rho and pi along their one cycle of 24 words, from word 1 on: the next word, and by how many bits it is
/// rotated.
inline constexpr byte cycle[24][2] = {{10, 1},  {7, 3},   {11, 6},  {17, 10}, {18, 15}, {3, 21},  {5, 28},  {16, 36},
                                      {8, 45},  {21, 55}, {24, 2},  {4, 14},  {15, 27}, {23, 41}, {19, 56}, {13, 8},
                                      {12, 25}, {2, 43},  {20, 62}, {14, 18}, {22, 39}, {9, 61},  {6, 20},  {1, 44}};

} // namespace keccak_detail

/// The permutation in 64-bit words of the baseline: 24 unrolled rounds in pairs.
struct keccak_words {
    /// A lane of the state.
    using word = std::uint64_t;

#define WG_KECCAK_TARGET
    /// x rotated to the left.
    template <int Bits> static word rotate(word x) noexcept { return std::rotl(x, Bits); }
    /// a ^ b ^ c.
    static word xor_three(word a, word b, word c) noexcept { return a ^ b ^ c; }
    /// a ^ (~b & c).
    static word choose(word a, word b, word c) noexcept { return a ^ (~b & c); }
    /// The one element of a word.
    static word same(std::uint64_t x) noexcept { return x; }
#include "keccak_rounds.inl"
#undef WG_KECCAK_TARGET
};

/// The permutation as loops: a tenth of the code of `keccak_words`.
struct keccak_small {
    /// Permutes the 25 words of a state.
    [[gnu::noinline]] static void permute(std::uint64_t* a) noexcept {
        std::uint64_t row[5];
        for (std::uint64_t const constant : keccak_detail::constants) {
            for (std::size_t x = 0; x < 5; ++x) row[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
            for (std::size_t x = 0; x < 5; ++x) {
                std::uint64_t const mix = row[(x + 4) % 5] ^ std::rotl(row[(x + 1) % 5], 1);
                for (std::size_t y = x; y < keccak_detail::words; y += 5) a[y] ^= mix;
            }
            std::uint64_t moving = a[1];
            for (auto const& [to, bits] : keccak_detail::cycle) {
                std::uint64_t const next = a[to];
                a[to] = std::rotl(moving, bits);
                moving = next;
            }
            for (std::size_t y = 0; y < keccak_detail::words; y += 5) {
                std::copy_n(a + y, 5, row);
                for (std::size_t x = 0; x < 5; ++x) a[y + x] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
            }
            a[0] ^= constant;
        }
    }
};

/// The permutation of a build without kernels for an instruction set.
using keccak_baseline = std::conditional_t<small_code, keccak_small, keccak_words>;

/// A hash or an extendable-output function of FIPS 202.
struct keccak_function {
    std::size_t rate_bytes; ///< of input or output between two permutations
    byte domain;            ///< the bits that follow the message, and the first bit of the padding
};
inline constexpr keccak_function sha3_256{136, 0x06}, ///< output: 32 bytes
    sha3_512{72, 0x06},                               ///< output: 64 bytes
    shake128{168, 0x1f},                              ///< output: any size
    shake256{136, 0x1f};                              ///< output: any size

/// The sponge (FIPS 202, section 4). First any number of `absorb`, then `finish`, then any number of `squeeze`.
template <class Permutation = keccak_baseline> class keccak_sponge {
public:
    /// The sponge of an empty message.
    explicit keccak_sponge(keccak_function const& function) noexcept : function_(function) {}

    /// Appends to the message.
    void absorb(bytes_view in) noexcept {
        byte const* from = in.data();
        for (std::size_t left = in.size(); left != 0;) {
            if (at_ % 8 == 0 && left >= 8) {
                state_[at_ / 8] ^= load_le64(from);
                at_ += 8, from += 8, left -= 8;
            } else {
                add(at_, *from);
                ++at_, ++from, --left;
            }
            if (at_ == function_.rate_bytes) next_block();
        }
    }
    /// Ends the message.
    void finish() noexcept {
        add(at_, function_.domain);
        add(function_.rate_bytes - 1, 0x80);
        next_block();
    }
    /// Writes the next bytes of the output.
    void squeeze(bytes out) noexcept {
        byte* to = out.data();
        for (std::size_t left = out.size(); left != 0;) {
            if (at_ == function_.rate_bytes) next_block();
            if (!small_code && at_ % 8 == 0 && left >= 8) {
                store_le64(to, state_[at_ / 8]);
                at_ += 8, to += 8, left -= 8;
            } else {
                *to = static_cast<byte>(state_[at_ / 8] >> (at_ % 8 * 8));
                ++at_, ++to, --left;
            }
        }
    }

private:
    void add(std::size_t at, byte value) noexcept { state_[at / 8] ^= std::uint64_t{value} << (at % 8 * 8); }
    void next_block() noexcept {
        Permutation::permute(state_);
        at_ = 0;
    }

    std::uint64_t state_[keccak_detail::words] = {};
    keccak_function function_;
    std::size_t at_ = 0; ///< the next byte of the block
};

/// Writes the output of `function` for the message `a` followed by `b`. The output has any size; that of a hash is its
/// digest. `out` may overlap `a` and `b`.
template <class Permutation = keccak_baseline>
[[gnu::noinline]] void keccak_hash(keccak_function const& function, bytes out, bytes_view a,
                                   bytes_view b = {}) noexcept {
    keccak_sponge<Permutation> sponge(function);
    sponge.absorb(a);
    sponge.absorb(b);
    sponge.finish();
    sponge.squeeze(out);
    wipe(static_cast<void*>(&sponge), sizeof sponge);
}

}}} // namespace wg::WG_ABI::bundled

#endif
