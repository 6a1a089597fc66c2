// SPDX-License-Identifier: BSL-1.0
// ChaCha20 (RFC 8439, section 2.3) in vectors: one text for all instruction sets. Text for the namespace of a kernel
// that defines WG_TARGET, the attributes of every function, and has included one of vector128.inl, vector256.inl and
// vector512.inl.
//
// Two layouts. In *lanes*, word i of as many blocks as a vector has words lies in vector i: no word has to move, and
// each lane may have a key of its own; but 16 vectors are at work, and have to be turned in the end. In *rows*, a
// vector holds one row of each of `row_blocks` blocks: good for few blocks, but words move twice in a double round.
// A step works on groups of both kinds at once: they are independent, so that one goes on where another has to wait.

inline constexpr std::size_t lane_blocks = vector_bytes / 4;
inline constexpr std::size_t row_blocks = vector_bytes / 16;
inline constexpr std::size_t block_vectors = chacha20_block_bytes / vector_bytes; ///< at least 1

/// a += b, d = (d ^ a) <<< Bits
template <int Bits> WG_TARGET void mix(vector& a, vector const& b, vector& d) noexcept {
    a += b;
    d ^= a;
    rotate<Bits>(d);
}

/// Which vector holds a row's word in the quarter round of this column (or diagonal).
template <int Diagonal> constexpr int word_of(int row, int column) noexcept {
    return 4 * row + (column + Diagonal * row) % 4;
}

template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_lanes(vector (&x)[16]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    mix<Bits>(x[at(A, 0)], x[at(B, 0)], x[at(D, 0)]);
    mix<Bits>(x[at(A, 1)], x[at(B, 1)], x[at(D, 1)]);
    mix<Bits>(x[at(A, 2)], x[at(B, 2)], x[at(D, 2)]);
    mix<Bits>(x[at(A, 3)], x[at(B, 3)], x[at(D, 3)]);
}

/// The quarter rounds of two columns; row 2 is apart.
template <int Diagonal, int Column> WG_TARGET void quarter_rounds_of_two(vector (&x)[16], vector (&row2)[4]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    constexpr int a = at(0, Column), b = at(1, Column), c = at(2, Column) - 8, d = at(3, Column);
    constexpr int a1 = at(0, Column + 1), b1 = at(1, Column + 1), c1 = at(2, Column + 1) - 8, d1 = at(3, Column + 1);
    mix<16>(x[a], x[b], x[d]), mix<16>(x[a1], x[b1], x[d1]);
    mix<12>(row2[c], x[d], x[b]), mix<12>(row2[c1], x[d1], x[b1]);
    mix<8>(x[a], x[b], x[d]), mix<8>(x[a1], x[b1], x[d1]);
    mix<7>(row2[c], x[d], x[b]), mix<7>(row2[c1], x[d1], x[b1]);
}
/// The twenty rounds where sixteen registers hold the lanes: too few for all, and compilers choose ill what is to wait
/// in memory. It is row 2, of which two vectors at a time are loaded.
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

/// What a step works on: groups of `lane_blocks` and of `row_blocks` blocks.
template <int Lanes, int Rows> struct chacha20_groups {
    vector x[Lanes > 0 ? Lanes : 1][16];
    vector y[Rows > 0 ? Rows : 1][4];

    template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_all() noexcept {
        if constexpr (Lanes > 0) mix_lanes<Diagonal, Bits, A, B, D>(x[0]);
        if constexpr (Rows > 0) mix<Bits>(y[0][A], y[0][B], y[0][D]);
        if constexpr (Rows > 1) mix<Bits>(y[1][A], y[1][B], y[1][D]);
        if constexpr (Rows > 2) mix<Bits>(y[2][A], y[2][B], y[2][D]);
        if constexpr (Lanes > 1) mix_lanes<Diagonal, Bits, A, B, D>(x[1]);
    }
    template <int Diagonal> WG_TARGET void quarter_rounds() noexcept {
        mix_all<Diagonal, 16, 0, 1, 3>();
        mix_all<Diagonal, 12, 2, 3, 1>();
        mix_all<Diagonal, 8, 0, 1, 3>();
        mix_all<Diagonal, 7, 2, 3, 1>();
    }
    template <int B, int C, int D> WG_TARGET void turn_rows() noexcept {
        if constexpr (Rows > 0) turn<B>(y[0][1]), turn<C>(y[0][2]), turn<D>(y[0][3]);
        if constexpr (Rows > 1) turn<B>(y[1][1]), turn<C>(y[1][2]), turn<D>(y[1][3]);
        if constexpr (Rows > 2) turn<B>(y[2][1]), turn<C>(y[2][2]), turn<D>(y[2][3]);
    }
    WG_TARGET void permute() noexcept {
        if constexpr (Lanes == 1 && Rows == 0 && vector_registers == 16) return permute_in_halves(x[0]);
#pragma GCC unroll 1 // ten times the code would only be more to load
        for (int i = 0; i < 10; ++i) {
            quarter_rounds<0>();
            turn_rows<1, 2, 3>();
            quarter_rounds<1>();
            turn_rows<3, 2, 1>();
        }
    }
};

/// The states of consecutive blocks of one key and nonce. 16 words, those of the first block.
struct consecutive_blocks {
    std::uint32_t const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept {
        vector x = broadcast(words[Word]);
        if constexpr (Word == 12) x += lane_numbers() + broadcast(Group * lane_blocks);
        return x;
    }
    template <int Row> WG_TARGET vector row(std::uint32_t blocks_before) const noexcept {
        vector x = broadcast_row(words + 4 * Row);
        if constexpr (Row == 3) x += row_numbers() + row_offset(blocks_before);
        return x;
    }
};

/// The states of any blocks, each with a key and nonce of its own: 16 vectors for each group of lanes.
struct separate_blocks {
    vector const* words;

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

/// Makes the keystream of `Lanes` times `lane_blocks` and then `Rows` times `row_blocks` blocks.
template <int Lanes, int Rows, class States, class To>
WG_TARGET void chacha20_step(States const& from, To const& to) noexcept {
    constexpr std::make_index_sequence<16> all{};
    constexpr std::uint32_t before = Lanes * lane_blocks; // blocks before the rows
    constexpr int lane_vectors = 16, row_vectors = 4;     // of a group
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
