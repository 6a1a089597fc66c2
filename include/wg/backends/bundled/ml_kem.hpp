// SPDX-License-Identifier: BSL-1.0
// ML-KEM-768 (FIPS 203), the default model of kem_backend. Folder: backends/bundled; any thread.
#ifndef WG_BACKENDS_BUNDLED_ML_KEM_HPP
#define WG_BACKENDS_BUNDLED_ML_KEM_HPP

#include "../../policy.hpp"
#include "ml_kem_algorithm.hpp"
#include "ml_kem_kernels.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// ML-KEM-768 with the fastest kernels that the processor has. Any thread.
class ml_kem_768 {
public:
    static constexpr std::size_t public_key_bytes = ml_kem_detail::public_bytes;   ///< an encapsulation key
    static constexpr std::size_t private_key_bytes = ml_kem_detail::private_bytes; ///< a decapsulation key
    static constexpr std::size_t ciphertext_bytes = ml_kem_detail::sealed_bytes;   ///< an encapsulated secret

    ml_kem_768() noexcept : ml_kem_768(chosen_cpu()) {} ///< uses what `chosen_cpu` returns
    /// Uses no more than `allowed`, which the processor must have.
    explicit ml_kem_768([[maybe_unused]] cpu allowed) noexcept
#ifdef WG_X86_KERNELS
        : allowed_(consistent(allowed))
#endif
    {
    }

    /// Makes a key pair from 64 random bytes (FIPS 203, algorithm 16: d, then z). The same bytes give the same pair.
    /// Returns: true.
    [[nodiscard]] bool generate(std::span<byte, public_key_bytes> public_key, secret<private_key_bytes>& private_key,
                                secret<64> const& random) const noexcept;
    /// Makes a secret from 32 random bytes, and encapsulates it for the owner of a public key (algorithm 17).
    /// Returns: false, with `ciphertext` and `shared` zero, if a coefficient of the key is not below 3329
    /// (section 7.2).
    [[nodiscard]] bool encapsulate(std::span<byte, ciphertext_bytes> ciphertext, secret<key_bytes>& shared,
                                   std::span<byte const, public_key_bytes> public_key,
                                   secret<32> const& random) const noexcept;
    /// Finds the secret that was encapsulated (algorithm 18). Any other ciphertext gives a secret that nobody else can
    /// compute, and takes the same time (implicit rejection).
    /// Returns: false, with `shared` zero, if the private key does not contain its own hash (section 7.3).
    [[nodiscard]] bool decapsulate(secret<key_bytes>& shared, secret<private_key_bytes> const& private_key,
                                   std::span<byte const, ciphertext_bytes> ciphertext) const noexcept;

private:
#ifdef WG_X86_KERNELS
    cpu allowed() const noexcept { return allowed_; }
    cpu allowed_;
#else
    static cpu allowed() noexcept { return cpu::baseline; }
#endif
};

#ifdef WG_DEFINE_KERNELS

namespace ml_kem_detail {

/// Calls `with(ml_kem<Kernel>())` for the fastest kernel within `allowed`.
template <class With>
[[gnu::always_inline]] inline auto choose_kernel([[maybe_unused]] cpu allowed, With with) noexcept {
#ifdef WG_X86_KERNELS
    if (has(allowed, cpu::ifma)) return with(ml_kem<kernel_kem_ifma>());
    if (has(allowed, cpu::avx512)) return with(ml_kem<kernel_kem_avx512>());
    if (has(allowed, cpu::avx2)) return with(ml_kem<kernel_kem_avx2>());
#endif
#ifdef WG_KEM_VECTOR128
    return with(ml_kem<kernel_kem_vector128>());
#else
    return with(ml_kem<portable_kernel>());
#endif
}

} // namespace ml_kem_detail

WG_CHOICE bool ml_kem_768::generate(std::span<byte, public_key_bytes> public_key,
                                    secret<private_key_bytes>& private_key, secret<64> const& random) const noexcept {
    ml_kem_detail::choose_kernel(allowed(), [&](auto kernel) noexcept {
        kernel.generate(public_key.data(), private_key.expose().data(), random.expose().data());
    });
    return true;
}

WG_CHOICE bool ml_kem_768::encapsulate(std::span<byte, ciphertext_bytes> ciphertext, secret<key_bytes>& shared,
                                       std::span<byte const, public_key_bytes> public_key,
                                       secret<32> const& random) const noexcept {
    bool const good = ml_kem_detail::choose_kernel(allowed(), [&](auto kernel) noexcept {
        return kernel.encapsulate(ciphertext.data(), shared.expose().data(), public_key.data(), random.expose().data());
    });
    if (!good) fill_zero(ciphertext), shared.clear();
    return good;
}

WG_CHOICE bool ml_kem_768::decapsulate(secret<key_bytes>& shared, secret<private_key_bytes> const& private_key,
                                       std::span<byte const, ciphertext_bytes> ciphertext) const noexcept {
    bool const good = ml_kem_detail::choose_kernel(allowed(), [&](auto kernel) noexcept {
        return kernel.decapsulate(shared.expose().data(), private_key.expose().data(), ciphertext.data());
    });
    if (!good) shared.clear();
    return good;
}

#endif

/// `ml_kem_768` by the name that bundles of policies use.
using kem = ml_kem_768;

static_assert(kem_backend<kem>);

}}} // namespace wg::WG_ABI::bundled

#endif
