// SPDX-License-Identifier: BSL-1.0
// Addresses of Arm's MPS2 and MPS3 with the images AN385 (Cortex-M3), AN386 (M4), AN505 (M33) and AN547 (M55).
#ifndef WG_FIRMWARE_MPS2_HPP
#define WG_FIRMWARE_MPS2_HPP

#include "../cortex_m.hpp"

namespace firmware {

struct map {
    static constexpr std::uintptr_t uart = BOARD_UART, ethernet = BOARD_ETHERNET;
    static constexpr std::uint32_t clock_hz = BOARD_CLOCK_HZ;
};
using hardware = cortex_m<map>;

} // namespace firmware

#endif
