// SPDX-License-Identifier: BSL-1.0
// The functions of a kernel that code outside its namespace calls. Included inside the namespace of a kernel, after all
// its other .inl files. `short_packets` is the namespace of the code that is fastest for packets of few blocks. Packets
// with additional data use it as well.

/// `wipe_registers` as a function to call, because its callers are not compiled for this instruction set.
WG_TARGET_FUNCTION void wipe_all_registers() noexcept { wipe_registers(); }

/// The kernel of this instruction set. Its functions wipe their part of the stack and the vector registers.
struct kernel {
    /// Encrypts `size` bytes and appends the tag: `dst` has `size + 16` bytes, `key` has 32.
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            short_packets::seal_packet<short_packets::scalar_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<short_stack_bytes>();
        } else {
            seal_packet<lanes_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + step_stack_bytes>();
        }
    }
    /// Checks the tag, which follows the `size` bytes of `src`, before it decrypts a byte. `key` has 32 bytes.
    /// Returns: whether the tag is right. If not, `dst` is not written.
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool genuine;
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            genuine = short_packets::open_packet<short_packets::scalar_authenticator, short_packets::most_blocks>(
                dst, src, size, aad, nonce, key);
            leave_nothing<short_stack_bytes + short_packets::most_blocks * chacha20_block_bytes>();
        } else {
            genuine = open_packet<lanes_authenticator, most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + most_blocks * chacha20_block_bytes + step_stack_bytes>();
        }
        return genuine;
    }
    /// Seals packets of any sizes and keys, up to `batch_capacity` at once.
    static void seal_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan((std::min)(batch_capacity, items.size()))) {
            seal_packets(items.first((std::min)(batch_capacity, items.size())), make_tags);
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item const& one : items)
            seal(one.dst.data(), one.src.data(), one.src.size(), {}, packet_nonce::of(one.counter),
                 one.key->expose().data());
    }
    /// Opens packets of any sizes and keys, up to `batch_capacity` at once, and sets `good` of each. Where `good` is
    /// false, `dst` is zero.
    static void open_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan((std::min)(batch_capacity, items.size()))) {
            open_packets(items.first((std::min)(batch_capacity, items.size())), make_tags);
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item& one : items) {
            one.good = open(one.dst.data(), one.src.data(), one.dst.size(), {}, packet_nonce::of(one.counter),
                            one.key->expose().data());
            if (!one.good) fill_zero(one.dst);
        }
    }

private:
    static constexpr std::size_t short_stack_bytes =
        short_packets::scalar_authenticator::stack_bytes + short_packets::step_stack_bytes;
    static constexpr std::size_t batch_stack_bytes =
        sizeof(batch_secrets) + (std::max)(lanes_authenticator::tags_stack_bytes, step_stack_bytes) + 2048;

    template <std::size_t Bytes> static void leave_nothing() noexcept {
        wipe_stack<Bytes>();
        wipe_all_registers();
    }
};
