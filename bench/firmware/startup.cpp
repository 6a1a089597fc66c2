// SPDX-License-Identifier: BSL-1.0
// The code from reset to main: initialises memory as C++ expects it. There are no static constructors to run.
#include <cstdint>

extern "C" {

extern std::uint32_t const data_from[];
extern std::uint32_t data_begin[], data_end[], bss_begin[], bss_end[], stack_end[];

int main();

[[noreturn]] void reset() {
    std::uint32_t const* from = data_from;
    for (std::uint32_t volatile* to = data_begin; to != data_end;) *to++ = *from++;
    for (std::uint32_t volatile* to = bss_begin; to != bss_end;) *to++ = 0;
    main();
    for (;;) {}
}

[[noreturn]] void fault() {
    for (;;) {}
}

} // extern "C"

// The stack pointer, then the vectors of reset, NMI, hard fault and the other exceptions of the core. There are no
// interrupts.
[[gnu::section(".vectors"), gnu::used]] static void const* const vectors[16] = {
    stack_end, reinterpret_cast<void const*>(&reset), reinterpret_cast<void const*>(&fault),
    reinterpret_cast<void const*>(&fault)};
