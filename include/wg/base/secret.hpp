// SPDX-License-Identifier: BSL-1.0
// Secret bytes: wiped when their lifetime ends, compared in constant time, never copied by accident. Folder: base.
// A secret is used by one thread at a time.
#ifndef WG_BASE_SECRET_HPP
#define WG_BASE_SECRET_HPP

#include "bytes.hpp"

#include <type_traits>

namespace wg { inline namespace WG_ABI {

/// Overwrites `size` bytes with zero. The compiler does not remove it, even if the memory is not read again.
WG_OUTLINE inline void wipe(void* memory, std::size_t size) noexcept {
    if (size == 0) return;
    std::memset(memory, 0, size);
    asm volatile("" : : "r"(memory) : "memory"); // the stores are observed, so they have to happen
}

/// Wipes a trivially copyable object: words, arrays, plain structures.
template <class Plain> void wipe(Plain& object) noexcept {
    static_assert(std::is_trivially_copyable_v<Plain> && !std::is_pointer_v<Plain>);
    wipe(static_cast<void*>(&object), sizeof object);
}

namespace secret_detail {

// The barriers prevent an early exit: they hide from the compiler that a sum is nonzero already.

WG_OUTLINE inline bool equal(byte const* a, byte const* b, std::size_t size) noexcept {
    std::uint32_t difference = 0;
    std::size_t i = 0;
#ifndef WG_COMPACT
    for (; i + 4 <= size; i += 4) {
        difference |= load_le32(a + i) ^ load_le32(b + i);
        asm volatile("" : "+r"(difference));
    }
#endif
    for (; i < size; ++i) {
        difference |= static_cast<std::uint32_t>(a[i] ^ b[i]);
        asm volatile("" : "+r"(difference));
    }
    // The highest bit is set unless the difference is 0.
    return WG_DECLASSIFY(((difference | (0 - difference)) >> 31) == 0);
}

WG_OUTLINE inline bool is_zero(byte const* a, std::size_t size) noexcept {
    std::uint32_t any = 0;
    for (std::size_t i = 0; i < size; ++i) {
        any |= a[i];
        asm volatile("" : "+r"(any));
    }
    return WG_DECLASSIFY(((any - 1) >> 31) != 0);
}

} // namespace secret_detail

/// Whether two views hold the same bytes, in time that depends on their sizes alone. Different sizes are unequal. The
/// answer is public.
[[nodiscard]] inline bool equal_in_constant_time(bytes_view a, bytes_view b) noexcept {
    return a.size() == b.size() && secret_detail::equal(a.data(), b.data(), a.size());
}

/// Whether all bytes are zero, in time that depends on the size alone. The answer is public.
[[nodiscard]] inline bool is_zero_in_constant_time(bytes_view a) noexcept {
    return secret_detail::is_zero(a.data(), a.size());
}

/// A tag for a secret that is written before it is read, and so is not set to zero first.
struct not_zeroed {};

/// `Size` secret bytes, zero at first. Moving wipes the source. Copying takes a call of `assign`.
template <std::size_t Size> class secret {
public:
    /// The size in bytes.
    static constexpr std::size_t size_bytes = Size;

    /// All bytes are zero.
    constexpr secret() noexcept : value_{} {}
    /// The bytes have any value.
    explicit secret(not_zeroed) noexcept { asm volatile("" : "=m"(value_)); } // or compilers would warn
    /// Copies `from`, which the caller wipes.
    explicit secret(std::span<byte const, Size> from) noexcept { copy(value_, from); }
    secret(secret&& other) noexcept : value_(other.value_) { other.clear(); }
    secret& operator=(secret&& other) noexcept {
        if (this != &other) {
            value_ = other.value_;
            other.clear();
        }
        return *this;
    }
    secret(secret const&) = delete;
    secret& operator=(secret const&) = delete;
    ~secret() { clear(); }

    /// Copies the bytes of `other`.
    void assign(secret const& other) noexcept { value_ = other.value_; }
    void assign(std::span<byte const, Size> from) noexcept { copy(value_, from); }
    /// Wipes the bytes: they are zero then.
    void clear() noexcept { wipe(value_); }

    /// Whether all bytes are zero, in constant time. The answer is public.
    [[nodiscard]] bool is_zero() const noexcept { return is_zero_in_constant_time(value_); }
    /// Whether both are equal, in constant time. The answer is public.
    [[nodiscard]] bool equals(secret const& other) const noexcept {
        return equal_in_constant_time(value_, other.value_);
    }

    /// The bytes themselves, for the primitives that work on them.
    [[nodiscard]] std::span<byte, Size> expose() noexcept { return value_; }
    [[nodiscard]] std::span<byte const, Size> expose() const noexcept { return value_; }

private:
    byte_array<Size> value_;
};

}} // namespace wg::WG_ABI

#endif
