// SPDX-License-Identifier: BSL-1.0
// Runs a function on a separate stack and searches that stack for secrets afterwards.
#ifndef WG_TESTS_UNIT_BUNDLED_STACK_HPP
#define WG_TESTS_UNIT_BUNDLED_STACK_HPP

#include "bundled_vectors.hpp"

#include <cstdlib> // defines __GLIBC__ if the C library is glibc

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WG_TESTS_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define WG_TESTS_SANITIZED
#endif
#endif

// Without optimisation every inlined function keeps its temporaries in slots of the caller's frame. A sanitizer moves
// objects to its own stacks. In both cases the search would not describe release builds.
#if defined(__GLIBC__) && defined(__OPTIMIZE__) && !defined(WG_TESTS_SANITIZED)
#define WG_TESTS_CAN_SEARCH_STACK

#include <memory>
#include <ucontext.h>

namespace wg_tests {

class stack_image {
public:
    static constexpr std::size_t size_bytes = 256 * 1024;

    stack_image() : memory_(static_cast<wg::byte*>(std::aligned_alloc(4096, size_bytes))) {
        std::memset(memory_.get(), 0, size_bytes);
    }
    wg::byte* data() const { return memory_.get(); }

    /// Whether the stack contains any aligned 32-bit word of `secret`, as a number or as bytes. The search finds vector
    /// lanes and full-word limbs. A match by chance occurs in about one run of 10^9.
    bool has(buffer const& secret) const {
        for (std::size_t i = 0; i + 4 <= secret.size(); i += 4) {
            std::uint32_t const value = wg::load_le32(secret.data() + i);
            for (std::size_t at = 0; at + 4 <= size_bytes; at += 4) {
                std::uint32_t word;
                std::memcpy(&word, memory_.get() + at, 4);
                if (word == value || std::memcmp(memory_.get() + at, secret.data() + i, 4) == 0) return true;
            }
        }
        return false;
    }

private:
    struct release {
        void operator()(wg::byte* memory) const { std::free(memory); }
    };
    std::unique_ptr<wg::byte, release> memory_;
};

/// Runs `function` at the upper end of a new stack and returns an image of that stack. Nothing else runs on it.
template <class Function> stack_image search_stack_after(Function const& function) {
    static Function const* what;
    static ucontext_t here, there;
    stack_image image;
    what = &function;
    if (getcontext(&there) != 0) std::abort();
    there.uc_stack.ss_sp = image.data();
    there.uc_stack.ss_size = stack_image::size_bytes;
    there.uc_link = &here;
    makecontext(
        &there, +[] { (*what)(); }, 0);
    if (swapcontext(&here, &there) != 0) std::abort();
    return image;
}

} // namespace wg_tests

#endif

#endif
