// SPDX-License-Identifier: BSL-1.0
// QEMU's RISC-V machine `virt`: a 16550 UART, the timer of the CLINT, Ethernet by virtio.
#ifndef WG_FIRMWARE_VIRT_HPP
#define WG_FIRMWARE_VIRT_HPP

#include "../virtio_net.hpp"

namespace firmware {

/// The functions of `wg::bare::board` but for `fill` and `tai64n`, and a UART.
class hardware {
public:
    /// Starts Ethernet.
    void start() noexcept {
        if (!ethernet_.start()) fault();
    }

    wg::instant now() noexcept {
        std::uint32_t high, low;
        do {
            high = word(timer + 4);
            low = word(timer);
        } while (high != word(timer + 4));
        return {static_cast<std::int64_t>((std::uint64_t{high} << 32 | low) * (1'000'000'000 / timer_hz))};
    }
    wg::bare::mac_address mac() noexcept { return ethernet_.address(); }
    std::size_t receive(wg::bytes frame) noexcept { return ethernet_.receive(frame); }
    bool send(wg::bytes_view head, wg::bytes_view body) noexcept { return ethernet_.send(head, body); }

    /// The next character of the UART; -1: none.
    int read() noexcept { return (octet(uart + 5) & 1) != 0 ? static_cast<int>(octet(uart)) : -1; }
    /// Writes a character to the UART.
    void write(char c) noexcept {
        while ((octet(uart + 5) & 0x20) == 0) {}
        *reinterpret_cast<unsigned char volatile*>(uart) = static_cast<unsigned char>(c);
    }
    /// Sleeps for a millisecond at most. The pending timer ends `wfi`; no interrupt is taken.
    void rest() noexcept {
        std::uint64_t const then =
            static_cast<std::uint64_t>(now().nanoseconds) / (1'000'000'000 / timer_hz) + timer_hz / 1000;
        *reinterpret_cast<std::uint32_t volatile*>(compare + 4) = 0xffffffff; // no event while it is half written
        *reinterpret_cast<std::uint32_t volatile*>(compare) = static_cast<std::uint32_t>(then);
        *reinterpret_cast<std::uint32_t volatile*>(compare + 4) = static_cast<std::uint32_t>(then >> 32);
        __asm__ volatile("csrs mie, %0\n\twfi" : : "r"(1u << 7));
    }

private:
    static constexpr std::uintptr_t uart = 0x10000000, timer = 0x0200bff8, compare = 0x02004000;
    static constexpr std::uint32_t timer_hz = 10'000'000;

    static std::uint32_t word(std::uintptr_t at) noexcept { return *reinterpret_cast<std::uint32_t volatile*>(at); }
    static unsigned octet(std::uintptr_t at) noexcept { return *reinterpret_cast<unsigned char volatile*>(at); }

    virtio_net ethernet_;
};

} // namespace firmware

int main();

extern "C" {

extern std::uint32_t bss_begin[], bss_end[];

// NOLINTBEGIN(misc-definitions-in-headers): only main.cpp includes this header, and runtime.cpp calls `fault`
/// Stops the board after an error of the program.
[[noreturn]] void fault() {
    for (;;) __asm__ volatile("csrw mie, zero\n\twfi");
}

[[noreturn, gnu::used]] void begin() {
    for (std::uint32_t* to = bss_begin; to != bss_end;) *to++ = 0;
    main();
    __builtin_unreachable();
}

/// The first instructions: set the stack and the trap handler. The loader has initialized the variables.
[[gnu::naked, gnu::section(".reset"), gnu::used]] void reset() {
    __asm__ volatile("la sp, stack_top\n\t"
                     "la t0, 1f\n\t"
                     "csrw mtvec, t0\n\t"
                     "j begin\n\t"
                     ".balign 4\n"
                     "1: j fault");
}
// NOLINTEND(misc-definitions-in-headers)

} // extern "C"

#endif
