// SPDX-License-Identifier: BSL-1.0
// An entry point for fuzzing takes any bytes, and ends the program if its parser breaks a promise. `driver.cpp` feeds
// it mutated seeds under ASan and UBSan; that is a test. libFuzzer of clang finds more, with the same file:
//
//     clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/quick.cpp -o fuzz_quick
//     ./fuzz_quick -max_total_time=600
#ifndef WG_TESTS_FUZZ_HPP
#define WG_TESTS_FUZZ_HPP

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

/// The entry point, as libFuzzer names it. Returns: 0.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace wg_fuzz {

/// Inputs that reach many branches. The driver mutates and joins them, and inserts their pieces.
std::span<std::string_view const> seeds();

/// Ends the program, so that the fuzzer keeps the input, if a promise is broken.
inline void promise(bool kept, char const* what) {
    if (kept) return;
    std::fprintf(stderr, "broken promise: %s\n", what);
    std::abort();
}

} // namespace wg_fuzz

#endif
