// SPDX-License-Identifier: BSL-1.0
// XORs keystream into packets, for all instruction sets. Included inside the namespace of a kernel, after chacha20.inl.
//
// One packet: block 0 is the one-time key and the message uses the blocks after it, so one step makes the key and the
// first blocks of the message (`make_keystream`).
// Many packets: the blocks of all packets, and their one-time keys, fill the lanes one after the other (`block_queue`).
// So only the last step has idle lanes. The rounds are the same for all lanes; only the code that fills a lane and the
// code that uses its keystream distinguish packets.

/// The target of a step for one packet: the one-time key, if this step makes it, and then dst = src ^ keystream.
struct to_message {
    byte* dst;
    byte const* src;
    std::size_t size;   ///< bytes of the message; keystream beyond them is dropped
    byte* one_time_key; ///< gets the first block (64 bytes); nullptr: this step does not make the key

    /// Takes vector `Number` of the step's keystream.
    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        std::size_t at = Number * vector_bytes;
        if (one_time_key != nullptr) {
            if constexpr (Number * vector_bytes < chacha20_block_bytes)
                return store(one_time_key + Number * vector_bytes, keystream);
            at -= chacha20_block_bytes;
        }
        if (at < size) xor_vector(dst + at, src + at, keystream, size - at);
    }
};

/// One step for one packet. `words`: the state of its first block.
template <int Lanes, int Rows>
WG_TARGET_FUNCTION void make_keystream(std::uint32_t const* words, to_message const& to) noexcept {
    chacha20_step<Lanes, Rows>(consecutive_blocks{words}, to);
}

/// Makes steps of the size that `take_step` chooses.
struct keystream_maker {
    std::uint32_t* words; ///< the state of the next block
    to_message const& to;

    /// Makes one step and advances the block counter. Returns: the blocks of the step.
    template <int Lanes, int Rows> WG_TARGET std::size_t make() const noexcept {
        constexpr std::size_t made = Lanes * lane_blocks + Rows * row_blocks;
        make_keystream<Lanes, Rows>(words, to);
        words[12] += static_cast<std::uint32_t>(made);
        return made;
    }
};

/// Makes one step of a packet that needs `blocks` more blocks, and advances the block counter. Returns: the blocks of
/// the step, which may be fewer or more than `blocks`.
WG_TARGET std::size_t make_keystream(std::uint32_t* words, std::size_t blocks, to_message const& to) noexcept {
    return take_step(keystream_maker{words, to}, blocks);
}

/// Stores four words in one vector store.
WG_TARGET void set_words(std::uint32_t* to, std::uint32_t a, std::uint32_t b, std::uint32_t c,
                         std::uint32_t d) noexcept {
    std::uint32_t __attribute__((vector_size(16))) const words = {a, b, c, d};
    std::memcpy(to, &words, sizeof words);
}
/// Loads four little-endian words of any alignment, and stores them in one vector store.
WG_TARGET void copy_words(std::uint32_t* to, byte const* from) noexcept {
    set_words(to, load_le32(from), load_le32(from + 4), load_le32(from + 8), load_le32(from + 12));
}

/// The secrets of one packet that are in memory: its one-time key and its ChaCha20 state.
struct alignas(64) packet_secrets {
    byte one_time_key[chacha20_block_bytes]; ///< block 0; its second half is unused
    std::uint32_t words[16];                 ///< the state of the next block

    WG_TARGET packet_secrets(byte const* key, packet_nonce const& nonce) noexcept {
        // Stores of the same size as the later loads: the processor cannot forward several smaller stores to one load.
        set_words(words, 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574); // "expand 32-byte k"
        copy_words(words + 4, key);
        copy_words(words + 8, key + 16);
        set_words(words + 12, 0, nonce.words[0], nonce.words[1], nonce.words[2]);
    }
};

/// Blocks of keystream for a message of `size` bytes, including the block of the one-time key.
constexpr std::size_t blocks_of(std::size_t size) noexcept {
    return 1 + (size + chacha20_block_bytes - 1) / chacha20_block_bytes;
}

/// The target of one lane's block: dst = src ^ keystream.
struct lane_target {
    byte* dst;
    byte const* src;
    std::size_t size; ///< of the message from here on; a block uses at most 64 bytes of it
};

/// The target of a step for many packets: one `lane_target` for each block.
struct to_lanes {
    lane_target const* lanes;

    /// Takes vector `Number` of the step's keystream.
    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        constexpr std::size_t block = Number / block_vectors, at = Number % block_vectors * vector_bytes;
        lane_target const& to = lanes[block];
        if (at < to.size) xor_vector(to.dst + at, to.src + at, keystream, to.size - at);
    }
};

/// One step for many packets, of `Lanes` groups.
template <int Lanes> WG_TARGET_FUNCTION void make_lanes(vector const* words, lane_target const* to) noexcept {
    chacha20_step<Lanes, 0>(separate_blocks{words}, to_lanes{to});
}

/// Collects blocks of any packets until they fill a step, and then makes their keystream.
class block_queue {
public:
    static constexpr std::size_t capacity = batch_groups * lane_blocks; ///< blocks in a step

    /// `shared_key`: the key of all blocks, which is then written to the lanes only once; nullptr: blocks have keys of
    /// their own.
    WG_TARGET explicit block_queue(byte const* shared_key) noexcept : shared_(shared_key != nullptr) {
        constexpr std::uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
        for (std::size_t group = 0; group < 16 * batch_groups; group += 16) {
            for (std::size_t i = 0; i < 4; ++i) words_[group + i] = broadcast(sigma[i]);
            if (shared_)
                for (std::size_t i = 0; i < 8; ++i) words_[group + 4 + i] = broadcast(load_le32(shared_key + 4 * i));
            words_[group + 13] = broadcast(0);
        }
    }

    /// Adds `count` blocks of the keystream of `packet`, from block number `block` on. `to` is the target of the first
    /// block; the targets of the others follow it.
    WG_TARGET void add(aead_item const& packet, std::uint32_t block, std::size_t count, lane_target to) noexcept {
        while (count != 0) {
            std::size_t const group = count_ / lane_blocks, place = count_ % lane_blocks;
            std::size_t const now = (std::min)(count, lane_blocks - place);
            vector* const words = words_ + 16 * group;
            if (!shared_)
                for (std::size_t i = 0; i < 8; ++i)
                    set_lanes(words[4 + i], place, now, load_le32(packet.key->expose().data() + 4 * i));
            count_lanes(words[12], place, now, block);
            set_lanes(words[14], place, now, static_cast<std::uint32_t>(packet.counter));
            set_lanes(words[15], place, now, static_cast<std::uint32_t>(packet.counter >> 32));
            for (std::size_t i = count_; i < count_ + now; ++i) {
                targets_[i] = to;
                to.dst += chacha20_block_bytes, to.src += chacha20_block_bytes, to.size -= chacha20_block_bytes;
            }
            block += static_cast<std::uint32_t>(now), count -= now, count_ += now;
            if (count_ == capacity) flush();
        }
    }

    /// Adds all blocks of a message of `size` bytes. The one-time key is not among them.
    WG_TARGET void add_message(aead_item const& packet, std::size_t size) noexcept {
        add(packet, 1, blocks_of(size) - 1, {packet.dst.data(), packet.src.data(), size});
    }

    /// Makes the keystream of all blocks in the queue, and empties it. Lanes without a block have an empty target.
    WG_TARGET void flush() noexcept {
        if (count_ == 0) return;
        for (std::size_t lane = count_; lane < capacity; ++lane) targets_[lane] = {nullptr, nullptr, 0};
        if (count_ <= lane_blocks) make_lanes<1>(words_, targets_);
        else make_lanes<batch_groups>(words_, targets_);
        count_ = 0;
    }

private:
    vector words_[16 * batch_groups];
    lane_target targets_[capacity];
    std::size_t count_ = 0;
    bool shared_;
};
