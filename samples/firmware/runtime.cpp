// SPDX-License-Identifier: BSL-1.0
// Stands in for the C++ library, which would bring exceptions and a heap along. An error of the program stops the
// board.
extern "C" [[noreturn]] void fault();

namespace std {
[[noreturn]] void __throw_out_of_range_fmt(char const*, ...) { fault(); }
[[noreturn]] void __throw_length_error(char const*) { fault(); }
} // namespace std

extern "C" {
int __cxa_guard_acquire(long long*); // not defined: no function may have a static object that is made on first use
void __cxa_pure_virtual() { fault(); }
void abort() { fault(); }
}
