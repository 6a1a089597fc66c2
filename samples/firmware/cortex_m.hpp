// SPDX-License-Identifier: BSL-1.0
// The common part of the sample's Cortex-M boards: a tick of a millisecond, a UART, Ethernet by a LAN9118.
#ifndef WG_FIRMWARE_CORTEX_M_HPP
#define WG_FIRMWARE_CORTEX_M_HPP

#include "lan9118.hpp"

namespace firmware {

/// Milliseconds since power-on, counted by the interrupt of the system tick.
inline std::uint32_t volatile ticks_low, ticks_high;

/// The six functions of `wg::bare::board` but for `fill` and `tai64n`, and a UART. `Map` has the addresses and the
/// clock of a board.
template <class Map> class cortex_m {
public:
    /// Starts the tick, the UART and Ethernet.
    void start() noexcept {
        set(systick + 4, Map::clock_hz / 1000 - 1); // reload
        set(systick + 8, 0);                        // counter
        set(systick, 7);                            // the processor's clock, with interrupt, on
        set(Map::uart + 0x10, 16);                  // divisor; the emulator's UART has no speed
        set(Map::uart + 8, 3);                      // transmit and receive
        mac_.start();
    }

    wg::instant now() noexcept {
        std::uint32_t high, low;
        do {
            high = ticks_high;
            low = ticks_low;
        } while (high != ticks_high);
        return wg::instant{} + wg::milliseconds(static_cast<std::int64_t>(std::uint64_t{high} << 32 | low));
    }
    wg::bare::mac_address mac() noexcept { return mac_.address(); }
    std::size_t receive(wg::bytes frame) noexcept { return mac_.receive(frame); }
    bool send(wg::bytes_view head, wg::bytes_view body) noexcept { return mac_.send(head, body); }

    /// The next character of the UART; -1: none.
    int read() noexcept { return (get(Map::uart + 4) & 2) != 0 ? static_cast<int>(get(Map::uart) & 0xff) : -1; }
    /// Writes a character to the UART.
    void write(char c) noexcept {
        while ((get(Map::uart + 4) & 1) != 0) {}
        set(Map::uart, static_cast<unsigned char>(c));
    }
    /// Sleeps until an interrupt, at most until the next tick.
    void rest() noexcept { __asm__ volatile("wfi"); }

private:
    static constexpr std::uintptr_t systick = 0xe000e010;
    static std::uint32_t get(std::uintptr_t at) noexcept { return *reinterpret_cast<std::uint32_t volatile*>(at); }
    static void set(std::uintptr_t at, std::uint32_t value) noexcept {
        *reinterpret_cast<std::uint32_t volatile*>(at) = value;
    }

    lan9118<Map::ethernet> mac_;
};

} // namespace firmware

// ------------------------------------------------------------------------------------------ from reset to the program

int main();

extern "C" {

extern std::uint32_t stack_top[], data_begin[], data_end[], data_image[], bss_begin[], bss_end[];

// NOLINTBEGIN(misc-definitions-in-headers): only main.cpp includes this header, and runtime.cpp calls `fault`
[[noreturn]] void reset() {
    std::uint32_t const* from = data_image;
    for (std::uint32_t* to = data_begin; to != data_end;) *to++ = *from++;
    for (std::uint32_t* to = bss_begin; to != bss_end;) *to++ = 0;
    main();
    __builtin_unreachable();
}

/// Stops the board after an error of the program.
[[noreturn]] void fault() {
    for (;;) __asm__ volatile("wfi");
}

/// The interrupt of the system tick.
void tick() {
    std::uint32_t const next = firmware::ticks_low + 1;
    firmware::ticks_low = next;
    if (next == 0) firmware::ticks_high = firmware::ticks_high + 1;
}
// NOLINTEND(misc-definitions-in-headers)

struct vector_table {
    void const* stack;
    void (*handlers[15])();
};
[[gnu::section(".vectors"), gnu::used]] vector_table const vectors = {
    stack_top,
    {reset, fault, fault, fault, fault, fault, fault, nullptr, nullptr, nullptr, fault, fault, nullptr, fault, tick}};

} // extern "C"

#endif
