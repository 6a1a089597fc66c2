// SPDX-License-Identifier: BSL-1.0
// The four functions that any compiler may call, by the byte: the library's are made for speed, and take 700 bytes.
#include <cstddef>

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
void* memset(void* to, int value, std::size_t size) {
    auto* const out = static_cast<unsigned char*>(to);
    for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(value);
    return to;
}
int memcmp(void const* left, void const* right, std::size_t size) {
    auto const *const a = static_cast<unsigned char const*>(left), *const b = static_cast<unsigned char const*>(right);
    for (std::size_t i = 0; i < size; ++i)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return 0;
}

} // extern "C"
