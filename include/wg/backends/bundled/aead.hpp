// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8): the default model of aead_backend.
// Folder: backends/bundled; any thread.
#ifndef WG_BACKENDS_BUNDLED_AEAD_HPP
#define WG_BACKENDS_BUNDLED_AEAD_HPP

#include "compact.hpp"
#include "kernels.hpp"
#include "wipe_stack.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// The portable kernel: ChaCha20 and Poly1305 in machine words, without vectors. Runs on any processor.
template <class Limbs = default_limbs> struct plain_kernel {
    /// Encrypts `size` bytes and appends the tag: `dst` has `size + 16` bytes, `key` has 32.
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        seal_message({dst, size + tag_bytes}, {src, size}, aad, nonce, key_view(key, key_bytes));
        wipe_stack<stack_bytes>();
    }
    /// Checks the tag, which follows the `size` bytes of `src`, before it decrypts a byte. `key` has 32 bytes.
    /// Returns: whether the tag is right. If not, `dst` is not written.
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool const genuine = open_message({dst, size}, {src, size + tag_bytes}, aad, nonce, key_view(key, key_bytes));
        wipe_stack<stack_bytes>();
        return genuine;
    }

private:
    static constexpr std::size_t stack_bytes =
        sizeof(chacha20) + sizeof(chacha20_words) + sizeof(poly1305<Limbs>) + spill_bytes;

    [[gnu::noinline]] static void seal_message(bytes dst, bytes_view src, bytes_view aad, packet_nonce const& nonce,
                                               key_view key) noexcept {
        chacha20 cipher(key, nonce.encode(), 0);
        secret<32> one_time_key;
        cipher.take_one_time_key(one_time_key.expose());
        poly1305<Limbs> mac(one_time_key.expose());
        bytes const ciphertext = dst.first(src.size());
        cipher.apply(ciphertext, src);
        authenticate(mac, ciphertext, aad);
        mac.finish(dst.last<tag_bytes>());
    }

    [[gnu::noinline]] static bool open_message(bytes dst, bytes_view src, bytes_view aad, packet_nonce const& nonce,
                                               key_view key) noexcept {
        chacha20 cipher(key, nonce.encode(), 0);
        secret<32> one_time_key;
        cipher.take_one_time_key(one_time_key.expose());
        poly1305<Limbs> mac(one_time_key.expose());
        bytes_view const ciphertext = src.first(dst.size());
        authenticate(mac, ciphertext, aad);
        secret<tag_bytes> tag; // wiped: a forged message with its right tag would be accepted
        mac.finish(tag.expose());
        if (!equal_in_constant_time(tag.expose(), src.last(tag_bytes))) return false;
        cipher.apply(dst, ciphertext);
        return true;
    }

    static void authenticate(poly1305<Limbs>& mac, bytes_view ciphertext, bytes_view aad) noexcept {
        byte_array<16> lengths;
        store_le64(lengths.data(), aad.size());
        store_le64(lengths.data() + 8, ciphertext.size());
        mac.update(aad);
        mac.pad();
        mac.update(ciphertext);
        mac.pad();
        mac.update(lengths);
    }
};

/// ChaCha20-Poly1305 by one kernel, as a model of aead_backend. Any thread.
template <class Kernel> class basic_aead {
public:
    using nonce_view = std::span<byte const, chacha20_nonce_bytes>; ///< a nonce of 12 bytes

    constexpr basic_aead() noexcept = default;                                 ///< uses a default-constructed kernel
    constexpr explicit basic_aead(Kernel kernel) noexcept : kernel_(kernel) {} ///< uses this kernel

    /// Encrypts `src` into `dst` and appends the tag. The nonce is four zero bytes and `counter`, little-endian. The
    /// rules for sizes and overlap are those of the overload for a nonce of 12 bytes.
    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept {
        seal(dst, src, aad, packet_nonce::of(counter), key);
    }
    /// Checks the tag and then decrypts `src` into `dst`. `counter` makes the nonce as in `seal`.
    /// Returns: whether the tag is right. If not, `dst` is zero.
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
                            secret<key_bytes> const& key) const noexcept {
        return open(dst, src, aad, packet_nonce::of(counter), key);
    }
    /// `seal` or `open` in one function, for kernels that are optimized for code size. See compact_kernel::run.
    /// Returns: false if it opened a message whose tag is wrong.
    bool run(bool seals, byte* dst, byte const* src, std::size_t size, byte const* aad, std::size_t aad_bytes,
             std::uint64_t counter, secret<key_bytes> const& key) const noexcept
        requires requires { Kernel::run; }
    {
        return kernel_.run(seals, dst, src, size, aad, aad_bytes, key.expose().data(), 0, counter);
    }
    /// Derives the subkey of `key` for the first 16 bytes of an XChaCha20 nonce. `out` may be `key`.
    void hchacha20(secret<key_bytes>& out, secret<key_bytes> const& key,
                   std::span<byte const, 16> nonce) const noexcept {
        bundled::hchacha20(out.expose(), key.expose(), nonce);
    }

    /// Seals with a nonce of 12 bytes. `dst.size() == src.size() + 16`. `dst` and `src` start at the same byte or do
    /// not overlap. `aad` may overlap `dst` only in bytes that the call leaves unchanged.
    void seal(bytes dst, bytes_view src, bytes_view aad, nonce_view nonce,
              secret<key_bytes> const& key) const noexcept {
        seal(dst, src, aad, packet_nonce::of(nonce), key);
    }
    /// Opens with a nonce of 12 bytes. `src.size() == dst.size() + 16`. The tag is checked before a byte is decrypted.
    /// Returns: whether the tag is right. If not, `dst` is zero.
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, nonce_view nonce,
                            secret<key_bytes> const& key) const noexcept {
        return open(dst, src, aad, packet_nonce::of(nonce), key);
    }

    /// Seals packets of any sizes and keys, without additional data. A larger batch leaves fewer vector lanes idle.
    void seal_batch(std::span<aead_item> items) const noexcept
        requires requires { Kernel::seal_batch; }
    {
        for ([[maybe_unused]] aead_item const& item : items) WG_ASSERT(item.dst.size() == item.src.size() + tag_bytes);
        kernel_.seal_batch(items);
    }
    /// Opens packets of any sizes and keys, without additional data. Sets `good` of each packet. Where `good` is false,
    /// `dst` is zero.
    void open_batch(std::span<aead_item> items) const noexcept
        requires requires { Kernel::open_batch; }
    {
        for ([[maybe_unused]] aead_item const& item : items) WG_ASSERT(item.src.size() == item.dst.size() + tag_bytes);
        kernel_.open_batch(items);
    }

private:
    void seal(bytes dst, bytes_view src, bytes_view aad, packet_nonce const& nonce,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(dst.size() == src.size() + tag_bytes);
        kernel_.seal(dst.data(), src.data(), src.size(), aad, nonce, key.expose().data());
    }
    bool open(bytes dst, bytes_view src, bytes_view aad, packet_nonce const& nonce,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(src.size() == dst.size() + tag_bytes);
        bool const genuine = kernel_.open(dst.data(), src.data(), dst.size(), aad, nonce, key.expose().data());
        if (!genuine) fill_zero(dst);
        return genuine;
    }

    [[no_unique_address]] Kernel kernel_;
};

/// The AEAD of one kernel that is chosen at compile time: without processor detection and calls through pointers.
template <class Kernel> using aead_fixed = basic_aead<Kernel>;

/// The kernel of the instruction set that the program is compiled for.
#if defined(WG_COMPACT)
using baseline_kernel = compact_kernel;
#elif defined(WG_X86_KERNELS) && !defined(WG_HAS_X86_KERNELS)
struct baseline_kernel; // defined in another translation unit
#elif defined(WG_VECTOR_KERNELS)
using baseline_kernel = kernel_vector128::kernel;
#else
using baseline_kernel = plain_kernel<>;
#endif

#ifdef WG_X86_KERNELS

/// A kernel that is chosen at run time: pointers to the functions of another kernel.
struct any_kernel {
    /// Seals one packet. The parameters are those of plain_kernel.
    void (*seal)(byte*, byte const*, std::size_t, bytes_view, packet_nonce const&, byte const*) noexcept;
    /// Opens one packet. The parameters are those of plain_kernel.
    bool (*open)(byte*, byte const*, std::size_t, bytes_view, packet_nonce const&, byte const*) noexcept;
    void (*seal_batch)(std::span<aead_item>) noexcept; ///< seals packets of any sizes and keys
    void (*open_batch)(std::span<aead_item>) noexcept; ///< opens packets of any sizes and keys

    /// Returns: the fastest kernel that needs no instruction sets outside `allowed`.
    static any_kernel of(cpu allowed) noexcept;

private:
    template <class Kernel> static constexpr any_kernel of() noexcept {
        return {Kernel::seal, Kernel::open, Kernel::seal_batch, Kernel::open_batch};
    }
};

#ifdef WG_DEFINE_KERNELS

WG_CHOICE any_kernel any_kernel::of(cpu allowed) noexcept {
    if (has(allowed, cpu::ifma)) return of<kernel_ifma::kernel>();
    if (has(allowed, cpu::avx512)) return of<kernel_avx512::kernel>();
    if (has(allowed, cpu::avx2)) return of<kernel_avx2::kernel>();
    if (has(allowed, cpu::ssse3)) return of<kernel_ssse3::kernel>();
    return of<baseline_kernel>();
}

#endif

/// The default AEAD: it uses the fastest kernel for this processor. Any thread.
struct aead : basic_aead<any_kernel> {
    aead() noexcept : aead(chosen_cpu()) {} ///< uses the instruction sets of `chosen_cpu()`
    /// Uses no instruction sets outside `allowed`. The processor must have all of `allowed`.
    explicit aead(cpu allowed) noexcept : basic_aead(any_kernel::of(consistent(allowed))) {}
};

#else

/// The default AEAD: it uses the kernel of the instruction set that the program is compiled for. Any thread.
struct aead : basic_aead<baseline_kernel> {
    aead() noexcept = default;     ///< uses the only kernel
    explicit aead(cpu) noexcept {} ///< ignores the argument: there is only one kernel
};

#endif

static_assert(aead_backend<aead>);

}}} // namespace wg::WG_ABI::bundled

#endif
