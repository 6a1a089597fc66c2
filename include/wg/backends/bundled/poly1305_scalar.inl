// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in general-purpose registers. Included inside the namespace of a kernel,
// which defines WG_TARGET.

/// Authenticates a packet while another function encrypts it: `start`, then `absorb` after each step of the encryption,
/// then `finish`. Suits short packets, because it needs no powers of r.
class scalar_authenticator {
public:
    static constexpr std::size_t least_bytes = 0;        ///< any packet
    static constexpr std::size_t stack_bytes = 640;      ///< stack of a function that seals with it
    static constexpr std::size_t tags_stack_bytes = 640; ///< stack of `make_tags`

    /// Starts with the one-time key (32 bytes) and the additional data. `message`: the ciphertext, `size` bytes, which
    /// the caller may not have written yet.
    WG_TARGET void start(byte const* key, byte const* message, std::size_t size, bytes_view aad) noexcept {
        message_ = message, size_ = size, aad_bytes_ = aad.size();
        state_.start(key);
        absorb_padded(aad.data(), aad.size());
    }

    /// Authenticates the whole blocks in the first `available` bytes of ciphertext, which the caller has written.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::size_t const blocks = (available - done_) / poly1305_block_bytes;
        state_.absorb(message_ + done_, blocks, 1);
        done_ += blocks * poly1305_block_bytes;
    }

    /// Authenticates the rest of the ciphertext and the lengths, and writes the tag.
    WG_TARGET void finish(byte* tag, byte const* key) noexcept {
        absorb_padded(message_ + done_, size_ - done_);
        byte lengths[poly1305_block_bytes];
        store_le64(lengths, aad_bytes_);
        store_le64(lengths + 8, size_);
        state_.absorb(lengths, 1, 1);
        state_.finish(tag, key + poly1305_block_bytes);
    }

private:
    /// Authenticates `size` bytes, padded with zeros to whole blocks.
    WG_TARGET void absorb_padded(byte const* from, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes, over = size % poly1305_block_bytes;
        state_.absorb(from, whole, 1);
        if (over == 0) return;
        byte last[poly1305_block_bytes] = {};
        std::memcpy(last, from + (size - over), over);
        state_.absorb(last, 1, 1);
    }

    poly1305_state<default_limbs> state_{};
    byte const* message_ = nullptr;
    std::size_t size_ = 0, aad_bytes_ = 0, done_ = 0; ///< `done_`: bytes of ciphertext that are authenticated
};

/// Computes the tag of a packet whose ciphertext is complete. No additional data.
template <class Authenticator> WG_TARGET void make_tag(packet_tag& packet) noexcept {
    Authenticator mac;
    mac.start(packet.key, packet.message, packet.size, {});
    mac.finish(packet.tag, packet.key);
}
