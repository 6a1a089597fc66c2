// SPDX-License-Identifier: BSL-1.0
// The part of the C++ library that the daemon needs: memory without exceptions, and `std::abort` for programming
// errors.
#include <cstdlib>
#include <new>

std::nothrow_t const std::nothrow{};

void* operator new(std::size_t size, std::nothrow_t const&) noexcept { return std::malloc(size); }
void* operator new[](std::size_t size, std::nothrow_t const&) noexcept { return std::malloc(size); }
void* operator new(std::size_t size, std::align_val_t alignment, std::nothrow_t const&) noexcept {
    return std::aligned_alloc(static_cast<std::size_t>(alignment), size); // the caller rounds the size up
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }

_LIBCPP_BEGIN_NAMESPACE_STD
[[noreturn]] void __libcpp_verbose_abort(char const*, ...) noexcept { std::abort(); }
_LIBCPP_END_NAMESPACE_STD
