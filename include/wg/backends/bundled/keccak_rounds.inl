// SPDX-License-Identifier: BSL-1.0
// The rounds of Keccak-f[1600] (FIPS 202, section 3.3) on one state, or on several states in the lanes of vectors.
// keccak.hpp and ml_kem_kernels.hpp include this text once for each instruction set, inside a class.
// Folder: backends/bundled; pure.
//
// The including class defines `word`, a lane of the state; `rotate<Bits>(word)`; `xor_three(a, b, c)`;
// `choose(a, b, c)`, which is a ^ (~b & c); and `same(std::uint64_t)`, which sets all elements of a word. The macro
// WG_KECCAK_TARGET is the attribute of every function.

/// Theta's word for column `X` of the state: the parity of the column before it and of the rotated column after it.
template <int X> WG_KECCAK_TARGET [[gnu::always_inline]] static inline word mix(word const (&parity)[5]) noexcept {
    return parity[(X + 4) % 5] ^ rotate<1>(parity[(X + 1) % 5]);
}
/// The parity of column `X`.
template <int X> WG_KECCAK_TARGET [[gnu::always_inline]] static inline word parity_of(word const (&a)[25]) noexcept {
    return xor_three(xor_three(a[X], a[X + 5], a[X + 10]), a[X + 15], a[X + 20]);
}
/// Rho and pi for word `From`, after theta.
template <int From, int Bits>
WG_KECCAK_TARGET [[gnu::always_inline]] static inline word moved(word const (&a)[25], word const (&d)[5]) noexcept {
    if constexpr (Bits == 0) return a[From] ^ d[From % 5];
    else return rotate<Bits>(a[From] ^ d[From % 5]);
}
/// Chi for the row at `to`.
WG_KECCAK_TARGET [[gnu::always_inline]] static inline void
choose_row(word* to, word const& b0, word const& b1, word const& b2, word const& b3, word const& b4) noexcept {
    to[0] = choose(b0, b1, b2);
    to[1] = choose(b1, b2, b3);
    to[2] = choose(b2, b3, b4);
    to[3] = choose(b3, b4, b0);
    to[4] = choose(b4, b0, b1);
}
/// One round, from `a` to `to`.
WG_KECCAK_TARGET [[gnu::always_inline]] static inline void round(word (&to)[25], word const (&a)[25],
                                                                 std::uint64_t constant) noexcept {
    word const parity[5] = {parity_of<0>(a), parity_of<1>(a), parity_of<2>(a), parity_of<3>(a), parity_of<4>(a)};
    word const d[5] = {mix<0>(parity), mix<1>(parity), mix<2>(parity), mix<3>(parity), mix<4>(parity)};
    choose_row(to, moved<0, 0>(a, d), moved<6, 44>(a, d), moved<12, 43>(a, d), moved<18, 21>(a, d),
               moved<24, 14>(a, d));
    to[0] ^= same(constant);
    choose_row(to + 5, moved<3, 28>(a, d), moved<9, 20>(a, d), moved<10, 3>(a, d), moved<16, 45>(a, d),
               moved<22, 61>(a, d));
    choose_row(to + 10, moved<1, 1>(a, d), moved<7, 6>(a, d), moved<13, 25>(a, d), moved<19, 8>(a, d),
               moved<20, 18>(a, d));
    choose_row(to + 15, moved<4, 27>(a, d), moved<5, 36>(a, d), moved<11, 10>(a, d), moved<17, 15>(a, d),
               moved<23, 56>(a, d));
    choose_row(to + 20, moved<2, 62>(a, d), moved<8, 55>(a, d), moved<14, 39>(a, d), moved<15, 41>(a, d),
               moved<21, 2>(a, d));
}
/// All 24 rounds. `state`: 25 words of any alignment.
WG_KECCAK_TARGET [[gnu::noinline]] static inline void permute(std::uint64_t* state) noexcept {
    word a[25], b[25];
    __builtin_memcpy(a, state, sizeof a);
#pragma GCC unroll 1
    for (std::size_t i = 0; i < keccak_detail::rounds; i += 2) {
        round(b, a, keccak_detail::constants[i]);
        round(a, b, keccak_detail::constants[i + 1]);
    }
    __builtin_memcpy(state, a, sizeof a);
}
