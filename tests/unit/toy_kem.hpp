// SPDX-License-Identifier: BSL-1.0
// A key encapsulation for tests of exchanges. It has the sizes and the behaviour of ML-KEM-768, and no security: the
// public key is enough to open a ciphertext.
#ifndef WG_TESTS_UNIT_TOY_KEM_HPP
#define WG_TESTS_UNIT_TOY_KEM_HPP

#include "wg/backends/bundled/bundled.hpp"
#include "wg/protocol/pq_exchange.hpp"

namespace wg_tests {

struct toy_kem {
    using layout = wg::pq_layout;
    static constexpr std::size_t public_key_bytes = layout::public_key_bytes, private_key_bytes = layout::seed_bytes,
                                 ciphertext_bytes = layout::ciphertext_bytes;
    static inline std::uint64_t calls = 0;

    bool generate(std::span<wg::byte, public_key_bytes> to, wg::secret<private_key_bytes>& key,
                  wg::secret<layout::seed_bytes> const& seed) const noexcept {
        ++calls;
        key.assign(seed);
        expand(to, seed.expose());
        return true;
    }
    /// Refuses keys that end in 255, as ML-KEM refuses keys that are not reduced.
    bool encapsulate(std::span<wg::byte, layout::ciphertext_bytes> to, wg::secret<32>& out,
                     std::span<wg::byte const, layout::public_key_bytes> key,
                     wg::secret<32> const& random) const noexcept {
        ++calls;
        if (key.back() == 255) return false;
        expand(to, random.expose());
        wg::byte_array<32> const mask = digest(key);
        for (std::size_t i = 0; i < 32; ++i) to[i] = random.expose()[i] ^ mask[i];
        wg::bundled::hash{}.blake2s(out.expose(), {}, random.expose(), mask);
        return true;
    }
    /// A changed ciphertext gives another secret.
    bool decapsulate(wg::secret<32>& out, wg::secret<private_key_bytes> const& key,
                     std::span<wg::byte const, ciphertext_bytes> text) const noexcept {
        ++calls;
        wg::byte_array<layout::public_key_bytes> public_key;
        expand(public_key, key.expose());
        wg::byte_array<32> const mask = digest(public_key);
        wg::secret<32> random, ignored;
        for (std::size_t i = 0; i < 32; ++i) random.expose()[i] = text[i] ^ mask[i];
        wg::byte_array<layout::ciphertext_bytes> again;
        --calls;
        (void)encapsulate(again, out, public_key, random);
        if (!std::equal(again.begin(), again.end(), text.begin()))
            wg::bundled::hash{}.blake2s(out.expose(), {}, key.expose(), text);
        return true;
    }

private:
    static wg::byte_array<32> digest(wg::bytes_view from) noexcept {
        wg::byte_array<32> out{};
        wg::bundled::hash{}.blake2s(out, {}, from, {});
        return out;
    }
    /// Fills `to` with bytes that follow from `seed`.
    static void expand(std::span<wg::byte> to, wg::bytes_view seed) noexcept {
        wg::byte_array<32> block = digest(seed);
        for (std::size_t i = 0; i < to.size(); ++i) {
            if (i != 0 && i % 32 == 0) block = digest(block);
            to[i] = block[i % 32] & 127;
        }
    }
};
static_assert(wg::exchange_kem<toy_kem>);

} // namespace wg_tests

#endif
