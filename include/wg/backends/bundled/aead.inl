// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) of one packet, for all instruction sets. Included inside the namespace of a
// kernel, after keystream.inl and after the kernel's authenticators. The kernel defines WG_TARGET (the attributes of
// inlined functions) and WG_TARGET_FUNCTION (the attributes of functions that are called).

/// Encrypts `size` bytes of `src` into `dst` and appends the tag. The ciphertext of each step is authenticated while it
/// is still in the cache.
template <class Authenticator>
WG_TARGET_FUNCTION void seal_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    packet_secrets secrets(key, nonce);
    std::size_t done =
        make_keystream(secrets.words, blocks_of(size), to_message{dst, src, size, secrets.one_time_key}) - 1;
    Authenticator mac;
    mac.start(secrets.one_time_key, dst, size, aad);
    for (done *= chacha20_block_bytes; done < size;) {
        mac.absorb(done);
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    mac.finish(dst + size, secrets.one_time_key);
}

/// Checks the tag before it decrypts a byte. Before the check, one step makes the one-time key and, so that no lane is
/// idle, more keystream: up to `Blocks` blocks in all. The blocks after the first decrypt the start of the message.
/// Returns: whether the tag is right. If not, `dst` is not written.
template <class Authenticator, std::size_t Blocks>
WG_TARGET_FUNCTION bool open_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    static constexpr byte zeros[Blocks * chacha20_block_bytes] = {};
    alignas(64) byte keystream[Blocks * chacha20_block_bytes]; // the first block is the one-time key
    constexpr std::size_t message_bytes = sizeof keystream - chacha20_block_bytes;
    packet_secrets secrets(key, nonce);
    std::size_t const made =
        make_keystream(secrets.words, (std::min)(Blocks, blocks_of(size)),
                       to_message{keystream + chacha20_block_bytes, zeros, message_bytes, keystream});
    Authenticator mac;
    secret<tag_bytes> tag; // wiped: a forged message with its right tag would be accepted
    mac.start(keystream, src, size, aad);
    mac.finish(tag.expose().data(), keystream);
    if (!equal_in_constant_time(tag.expose(), {src + size, tag_bytes})) return false;
    std::size_t done = 0;
    for (; done < size && done < (made - 1) * chacha20_block_bytes; done += vector_bytes)
        xor_vector(dst + done, src + done, load(keystream + chacha20_block_bytes + done), size - done);
    while (done < size) {
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    return true;
}
