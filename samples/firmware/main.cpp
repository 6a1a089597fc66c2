// SPDX-License-Identifier: BSL-1.0
// A WireGuard node on a board without an operating system: answers ping and UDP echo (port 7) inside the tunnel, over
// IPv4 and IPv6, and is configured over its UART. The build chooses the board, see Makefile.
#include BOARD_HEADER

#include "console.hpp"
#include "seeded_random.hpp"

namespace firmware {

/// The hardware, with a random source and a count of starts, which the hardware lacks.
struct board : hardware {
    seeded_random random;
    std::uint32_t boots = 0;

    bool fill(wg::bytes out) noexcept { return random.fill(out); }
    void tai64n(std::span<wg::byte, wg::timestamp_bytes> label) noexcept {
        wg::bare::store_boot_label(label, boots, now());
    }
};
static_assert(wg::bare::board<board>);

struct capacity : wg::small_capacity {
    static constexpr std::size_t max_peers = 4;
    static constexpr std::size_t max_allowed_ips = 16;
    static constexpr std::size_t max_queued_handshakes = 16;
};
using node = wg::bare_node<board, wg::bare_policies<board, capacity>>;

constexpr std::uint16_t echo_port = 7; // RFC 862

void echo(void* context, wg::endpoint const& from, std::uint16_t to_port, wg::bytes_view payload) noexcept {
    if (to_port == echo_port) (void)static_cast<node*>(context)->host.send(from, echo_port, payload);
}

// All memory of the program except the stack. The objects are made in `main`, because a static object that is made on
// first use needs a lock.
alignas(board) wg::byte board_memory[sizeof(board)];
alignas(node) wg::byte node_memory[sizeof(node)];

} // namespace firmware

int main() {
    using namespace firmware;
    board& b = *::new (board_memory) board;
    b.start();
    node& n = *::new (node_memory) node(b);
    n.host.set_receiver(echo, &n);
    (void)n.engine.up();
    console<board, node> typed(b, n);
    for (;;) {
        n.run_once();
        if (!typed.run_once()) b.rest();
    }
}
