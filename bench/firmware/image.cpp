// SPDX-License-Identifier: BSL-1.0
// The program that measures the size of a node. The node is configured at build time; its board does nothing.
#include "node.hpp"

namespace {

using node = firmware::node<1>;

alignas(node) wg::byte memory[sizeof(node)];

constexpr wg::byte_array<wg::key_bytes> own_key = {1}, peer_key = {9};
constexpr wg::endpoint peer_endpoint = {wg::ip_address::v4(192, 0, 2, 1), 51820, 0};
constexpr wg::ip_prefix peer_allowed_ips[] = {{wg::ip_address::v4(10, 0, 0, 0), 24}, {{{0xfd}, wg::family::v6}, 64}};
constexpr wg::peer_settings peer = {
    .key = peer_key, .endpoint = peer_endpoint, .allowed_ips = peer_allowed_ips, .persistent_keepalive_s = 25};

} // namespace

extern "C" {

// Volatile, so that the compiler cannot conclude that no packet ever arrives.
std::size_t volatile board_register;

// The asm tells the compiler that the memory at `to` is written. Otherwise it would conclude that each random index is
// zero, and remove the code that uses one.
static std::size_t board_read(void* to) {
    asm volatile("" : : "r"(to) : "memory");
    return board_register;
}

std::int64_t board_now_ns() { return static_cast<std::int64_t>(board_register); }
bool board_random(wg::byte* to, std::size_t) { return board_read(to) != 0; }
void board_tai64n(wg::byte* to) { board_read(to); }
std::size_t board_datagram_in(wg::byte* to, std::size_t, wg::endpoint* from) {
    static_cast<void>(board_read(from));
    return board_read(to);
}
void board_datagram_out(wg::byte const*, std::size_t, wg::endpoint const*, std::uint8_t) { board_register = 0; }
std::size_t board_packet_in(wg::byte* to, std::size_t) { return board_read(to); }
void board_packet_out(wg::byte const*, std::size_t) { board_register = 0; }

} // extern "C"

int main() {
    node& n = *::new (memory) node;
    if (n.configure(own_key, peer) != wg::status::ok) return 1;
    for (;;) n.step();
}
