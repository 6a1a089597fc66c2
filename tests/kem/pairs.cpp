// SPDX-License-Identifier: BSL-1.0
// ML-KEM-768 of wg for many random inputs, as one digest that oracles.py compares with that of another implementation.
//
//     pairs COUNT
//
// The inputs of operation i are SHAKE256 of i as 8 bytes, little-endian: d, z, the message, and a random ciphertext.
// The digest is SHA3-256 of all outputs: the keys, the ciphertext, its secret, the secret of the random ciphertext, and
// that of the ciphertext with one bit flipped. With WG_WITH_OPENSSL_KEM, OpenSSL must give the same outputs.
#include "wg/post_quantum.hpp"
#ifdef WG_WITH_OPENSSL_KEM
#include "wg/backends/openssl_kem.hpp"
#endif

#include <cstdio>
#include <cstdlib>

namespace {

using wg::bundled::ml_kem_768;

struct inputs {
    wg::byte bytes[64 + 32 + ml_kem_768::ciphertext_bytes];

    explicit inputs(std::uint64_t number) {
        wg::byte in[8];
        wg::store_le64(in, number);
        wg::bundled::keccak_hash(wg::bundled::shake256, bytes, in);
    }
    std::size_t flipped_bit() const { return wg::load_le16(bytes) % (8 * ml_kem_768::ciphertext_bytes); }
};

struct outputs {
    wg::byte bytes[ml_kem_768::public_key_bytes + ml_kem_768::private_key_bytes + ml_kem_768::ciphertext_bytes + 96];

    bool operator==(outputs const&) const = default;
};

template <class Kem> outputs outputs_of(Kem const& kem, inputs const& in) {
    wg::secret<64> seed(std::span(in.bytes).template first<64>());
    wg::secret<32> const message(std::span(in.bytes).template subspan<64, 32>());
    wg::byte_array<Kem::public_key_bytes> key;
    wg::byte_array<Kem::ciphertext_bytes> ciphertext;
    wg::secret<Kem::private_key_bytes> private_key;
    wg::secret<32> sent, received, other, changed;
    bool good = kem.generate(key, private_key, seed) && kem.encapsulate(ciphertext, sent, key, message) &&
                kem.decapsulate(received, private_key, ciphertext) && received.equals(sent) &&
                kem.decapsulate(other, private_key, std::span(in.bytes).template last<Kem::ciphertext_bytes>());
    outputs out;
    wg::byte* to = out.bytes;
    auto const put = [&](wg::bytes_view bytes) { to = std::copy(bytes.begin(), bytes.end(), to); };
    put(key), put(private_key.expose()), put(ciphertext), put(sent.expose()), put(other.expose());
    std::size_t const bit = in.flipped_bit();
    ciphertext[bit / 8] = static_cast<wg::byte>(ciphertext[bit / 8] ^ 1 << bit % 8);
    good = good && kem.decapsulate(changed, private_key, ciphertext);
    put(changed.expose());
    // Both must refuse a key with a coefficient of 4095, and a private key with a wrong hash.
    key[0] = 0xff, key[1] |= 0x0f;
    good = good && !kem.encapsulate(ciphertext, sent, key, message);
    private_key.expose()[Kem::private_key_bytes - 64] ^= 1;
    good = good && !kem.decapsulate(sent, private_key, ciphertext);
    if (!good) std::puts("an operation failed, or a wrong key was accepted"), std::exit(1);
    return out;
}

} // namespace

int main(int count, char** arguments) {
    std::uint64_t const pairs = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 100;
    ml_kem_768 const portable(wg::bundled::cpu::baseline), best;
    wg::bundled::keccak_sponge<> all(wg::bundled::sha3_256);
    for (std::uint64_t i = 0; i < pairs; ++i) {
        inputs const in(i);
        outputs const out = outputs_of(best, in);
        if (outputs_of(portable, in) != out) return std::printf("the kernels differ at %llu\n", 0ull + i), 1;
#ifdef WG_WITH_OPENSSL_KEM
        if (outputs_of(wg::openssl::ml_kem_768(), in) != out) return std::printf("differs at %llu\n", 0ull + i), 1;
#endif
        all.absorb(out.bytes);
    }
    all.finish();
    wg::byte digest[32];
    all.squeeze(digest);
    for (wg::byte const b : digest) std::printf("%02x", b);
    std::puts("");
}
