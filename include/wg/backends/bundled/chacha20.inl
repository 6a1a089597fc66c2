// SPDX-License-Identifier: BSL-1.0
// ChaCha20 (RFC 8439, section 2.3) in vectors, for all instruction sets. Included inside the namespace of a kernel,
// after one of vector128.inl, vector256.inl and vector512.inl. The kernel defines WG_TARGET, the attributes of every
// function.
//
// There are two layouts:
// - *Lanes*: vector i holds word i of `lane_blocks` blocks, one block in each lane. The rounds move no words between
//   lanes, and each block may have its own key. But a group of blocks takes 16 vectors, and these have to be transposed
//   at the end.
// - *Rows*: a vector holds one row (four words) of each of `row_blocks` blocks. A group takes only 4 vectors, so this
//   layout suits few blocks. But the words of rows 1-3 have to be moved twice in each double round.
// A step works on one or more groups of either layout at once. The groups are independent of each other, so the
// processor works on one group while the instructions of another wait for their operands.

inline constexpr std::size_t lane_blocks = vector_bytes / 4;                      ///< blocks in a group of lanes
inline constexpr std::size_t row_blocks = vector_bytes / 16;                      ///< blocks in a group of rows
inline constexpr std::size_t block_vectors = chacha20_block_bytes / vector_bytes; ///< vectors of a block; at least 1

/// a += b, d = (d ^ a) <<< Bits
template <int Bits> WG_TARGET void mix(vector& a, vector const& b, vector& d) noexcept {
    a += b;
    d ^= a;
    rotate<Bits>(d);
}

/// The number of the word that the quarter round of this column (or diagonal) takes from row `row`.
template <int Diagonal> constexpr int word_of(int row, int column) noexcept {
    return 4 * row + (column + Diagonal * row) % 4;
}

/// `mix` of the rows A, B and D, in all four columns (or diagonals).
template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_lanes(vector (&x)[16]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    mix<Bits>(x[at(A, 0)], x[at(B, 0)], x[at(D, 0)]);
    mix<Bits>(x[at(A, 1)], x[at(B, 1)], x[at(D, 1)]);
    mix<Bits>(x[at(A, 2)], x[at(B, 2)], x[at(D, 2)]);
    mix<Bits>(x[at(A, 3)], x[at(B, 3)], x[at(D, 3)]);
}

/// The quarter rounds of two columns (or diagonals). Row 2 is in `row2`, not in `x`.
template <int Diagonal, int Column> WG_TARGET void quarter_rounds_of_two(vector (&x)[16], vector (&row2)[4]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    constexpr int a = at(0, Column), b = at(1, Column), c = at(2, Column) - 8, d = at(3, Column);
    constexpr int a1 = at(0, Column + 1), b1 = at(1, Column + 1), c1 = at(2, Column + 1) - 8, d1 = at(3, Column + 1);
    mix<16>(x[a], x[b], x[d]), mix<16>(x[a1], x[b1], x[d1]);
    mix<12>(row2[c], x[d], x[b]), mix<12>(row2[c1], x[d1], x[b1]);
    mix<8>(x[a], x[b], x[d]), mix<8>(x[a1], x[b1], x[d1]);
    mix<7>(row2[c], x[d], x[b]), mix<7>(row2[c1], x[d1], x[b1]);
}
/// The twenty rounds of 16 vectors on a processor with 16 vector registers. These are too few, because the rounds need
/// registers for intermediate results, too. Compilers choose badly which vectors to keep in memory, so this code
/// decides: row 2 is in memory, and each half of a round loads two of its vectors.
WG_TARGET void permute_in_halves(vector (&x)[16]) noexcept {
    vector row2[4] = {x[8], x[9], x[10], x[11]};
    for (int i = 0; i < 10; ++i) {
        quarter_rounds_of_two<0, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<0, 2>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 2>(x, row2);
        asm("" : "+m"(row2));
    }
    x[8] = row2[0], x[9] = row2[1], x[10] = row2[2], x[11] = row2[3];
}

/// The state of a step: `Lanes` groups of `lane_blocks` blocks, and `Rows` groups of `row_blocks` blocks.
template <int Lanes, int Rows> struct chacha20_groups {
    vector x[Lanes > 0 ? Lanes : 1][16]; ///< the groups of lanes
    vector y[Rows > 0 ? Rows : 1][4];    ///< the groups of rows

    /// `mix` of the rows A, B and D in all groups. The instructions of different groups are independent.
    template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_all() noexcept {
        if constexpr (Lanes > 0) mix_lanes<Diagonal, Bits, A, B, D>(x[0]);
        if constexpr (Rows > 0) mix<Bits>(y[0][A], y[0][B], y[0][D]);
        if constexpr (Rows > 1) mix<Bits>(y[1][A], y[1][B], y[1][D]);
        if constexpr (Rows > 2) mix<Bits>(y[2][A], y[2][B], y[2][D]);
        if constexpr (Lanes > 1) mix_lanes<Diagonal, Bits, A, B, D>(x[1]);
    }
    /// The quarter rounds of all columns (Diagonal = 0) or diagonals (Diagonal = 1).
    template <int Diagonal> WG_TARGET void quarter_rounds() noexcept {
        mix_all<Diagonal, 16, 0, 1, 3>();
        mix_all<Diagonal, 12, 2, 3, 1>();
        mix_all<Diagonal, 8, 0, 1, 3>();
        mix_all<Diagonal, 7, 2, 3, 1>();
    }
    /// Rotates the words of rows 1, 2 and 3 by B, C and D places, so that diagonals become columns or the reverse.
    template <int B, int C, int D> WG_TARGET void rotate_rows() noexcept {
        if constexpr (Rows > 0) rotate_words<B>(y[0][1]), rotate_words<C>(y[0][2]), rotate_words<D>(y[0][3]);
        if constexpr (Rows > 1) rotate_words<B>(y[1][1]), rotate_words<C>(y[1][2]), rotate_words<D>(y[1][3]);
        if constexpr (Rows > 2) rotate_words<B>(y[2][1]), rotate_words<C>(y[2][2]), rotate_words<D>(y[2][3]);
    }
    /// The twenty rounds, without the final addition.
    WG_TARGET void permute() noexcept {
        if constexpr (Lanes == 1 && Rows == 0 && vector_registers == 16) return permute_in_halves(x[0]);
#pragma GCC unroll 1 // ten times the code would only take more of the instruction cache
        for (int i = 0; i < 10; ++i) {
            quarter_rounds<0>();
            rotate_rows<1, 2, 3>();
            quarter_rounds<1>();
            rotate_rows<3, 2, 1>();
        }
    }
};

/// The source of the states of consecutive blocks with one key and nonce.
struct consecutive_blocks {
    std::uint32_t const* words; ///< the 16 words of the first block

    /// Word `Word` of each block of group `Group` of lanes.
    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept {
        vector x = broadcast(words[Word]);
        if constexpr (Word == 12) x += lane_numbers() + broadcast(Group * lane_blocks);
        return x;
    }
    /// Row `Row` of each block of the group of rows that follows `blocks_before` blocks.
    template <int Row> WG_TARGET vector row(std::uint32_t blocks_before) const noexcept {
        vector x = broadcast_row(words + 4 * Row);
        if constexpr (Row == 3) x += row_numbers() + row_offset(blocks_before);
        return x;
    }
};

/// The source of the states of independent blocks, each with its own key and nonce. Only for groups of lanes.
struct separate_blocks {
    vector const* words; ///< 16 vectors for each group

    /// Word `Word` of each block of group `Group`.
    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept { return words[16 * Group + Word]; }
};

template <int Group, class States, std::size_t... Word>
WG_TARGET void load_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] = from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <int Group, class States, std::size_t... Word>
WG_TARGET void add_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] += from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <class States>
WG_TARGET void load_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] = from.template row<0>(0), y[1] = from.template row<1>(0), y[2] = from.template row<2>(0);
    y[3] = from.template row<3>(blocks_before);
}
template <class States>
WG_TARGET void add_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] += from.template row<0>(0), y[1] += from.template row<1>(0), y[2] += from.template row<2>(0);
    y[3] += from.template row<3>(blocks_before);
}

/// Makes the keystream of `Lanes * lane_blocks` blocks and of the `Rows * row_blocks` blocks after these. Passes
/// vector i of the keystream to `to.put<i>()`.
template <int Lanes, int Rows, class States, class To>
WG_TARGET void chacha20_step(States const& from, To const& to) noexcept {
    constexpr std::make_index_sequence<16> all{};
    constexpr std::uint32_t before = Lanes * lane_blocks; // blocks in lanes, which come before those in rows
    constexpr int lane_vectors = 16, row_vectors = 4;     // vectors in a group
    chacha20_groups<Lanes, Rows> g;
    if constexpr (Lanes > 0) load_lanes<0>(g.x[0], from, all);
    if constexpr (Lanes > 1) load_lanes<1>(g.x[1], from, all);
    if constexpr (Rows > 0) load_rows(g.y[0], from, before);
    if constexpr (Rows > 1) load_rows(g.y[1], from, before + row_blocks);
    if constexpr (Rows > 2) load_rows(g.y[2], from, before + 2 * row_blocks);
    g.permute();
    if constexpr (Lanes > 0) add_lanes<0>(g.x[0], from, all), put_lanes<0>(g.x[0], to);
    if constexpr (Lanes > 1) add_lanes<1>(g.x[1], from, all), put_lanes<lane_vectors>(g.x[1], to);
    constexpr int after = Lanes * lane_vectors;
    if constexpr (Rows > 0) add_rows(g.y[0], from, before), put_rows<after>(g.y[0], to);
    if constexpr (Rows > 1) add_rows(g.y[1], from, before + row_blocks), put_rows<after + row_vectors>(g.y[1], to);
    if constexpr (Rows > 2)
        add_rows(g.y[2], from, before + 2 * row_blocks), put_rows<after + 2 * row_vectors>(g.y[2], to);
}
