// SPDX-License-Identifier: BSL-1.0
// The four functions that a compiler may call in any program. Those of the C library are optimised for speed and take
// 700 bytes.
#include <cstddef>
#include <cstdint>

extern "C" {

void* memmove(void* to, void const* from, std::size_t size) {
    auto* const out = static_cast<unsigned char*>(to);
    auto const* const in = static_cast<unsigned char const*>(from);
    if (out <= in)
        for (std::size_t i = 0; i < size; ++i) out[i] = in[i];
    else
        while (size-- > 0) out[size] = in[size];
    return to;
}
void* memcpy(void* to, void const* from, std::size_t size) { return memmove(to, from, size); }
/// Writes whole words where `to` is aligned, because every operation on a key wipes the stack with it.
void* memset(void* to, int value, std::size_t size) {
    auto* out = static_cast<unsigned char*>(to);
    std::uint32_t const word = static_cast<unsigned char>(value) * std::uint32_t{0x01010101};
    if (reinterpret_cast<std::uintptr_t>(to) % 4 == 0)
        for (; size >= 4; size -= 4, out += 4) *reinterpret_cast<std::uint32_t*>(out) = word;
    for (; size > 0; --size) *out++ = static_cast<unsigned char>(value);
    return to;
}
int memcmp(void const* left, void const* right, std::size_t size) {
    auto const *const a = static_cast<unsigned char const*>(left), *const b = static_cast<unsigned char const*>(right);
    for (std::size_t i = 0; i < size; ++i)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return 0;
}

} // extern "C"
