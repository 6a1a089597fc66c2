// SPDX-License-Identifier: BSL-1.0
// What the C++ library would bring, and with it exceptions and a heap: here an error of the program stops the board.
extern "C" [[noreturn]] void fault();

namespace std {
[[noreturn]] void __throw_out_of_range_fmt(char const*, ...) { fault(); }
[[noreturn]] void __throw_length_error(char const*) { fault(); }
} // namespace std

extern "C" {
int __cxa_guard_acquire(long long*); // no static in a function waits for its first use
void __cxa_pure_virtual() { fault(); }
void abort() { fault(); }
}
