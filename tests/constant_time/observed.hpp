// SPDX-License-Identifier: BSL-1.0
// Marks memory as secret or public for the tool that observes a run. For valgrind's memcheck, a secret is uninitialised
// memory. disassembly.py finds the calls of these functions in its recording.
//
// Include this header before any header of the library: it defines WG_DECLASSIFY.
#ifndef WG_TESTS_CONSTANT_TIME_OBSERVED_HPP
#define WG_TESTS_CONSTANT_TIME_OBSERVED_HPP

#include <cstddef>

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_UNDEFINED(at, size) static_cast<void>(0)
#define VALGRIND_MAKE_MEM_DEFINED(at, size) static_cast<void>(0)
#define RUNNING_ON_VALGRIND 0
#endif

// disassembly.py finds these two functions by name.
extern "C" {
[[gnu::noinline]] inline void wg_mark_secret(void* at, std::size_t size) {
    static_cast<void>(VALGRIND_MAKE_MEM_UNDEFINED(at, size));
    asm volatile("" : : "r"(at), "r"(size) : "memory");
}
[[gnu::noinline]] inline void wg_mark_public(void* at, std::size_t size) {
    static_cast<void>(VALGRIND_MAKE_MEM_DEFINED(at, size));
    asm volatile("" : : "r"(at), "r"(size) : "memory");
}
}

template <class Value> [[gnu::noinline]] Value observed_public(Value value) noexcept {
    wg_mark_public(&value, sizeof value);
    return value;
}
#define WG_DECLASSIFY(value) observed_public(value)

#endif
