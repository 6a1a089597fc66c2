// SPDX-License-Identifier: BSL-1.0
// Measures what an object file does not show: instructions, by the emulator's clock, and the depth of the stack, by the
// overwritten part of a painted stack. Two nodes on one machine send their datagrams to each other. Prints lines
// "NAME NUMBER".
#include "node.hpp"

namespace {

using namespace wg;

// --- semihosting: calls from the program to the emulator

int semihosting(int operation, void const* argument) {
    register int r0 asm("r0") = operation;
    register void const* r1 asm("r1") = argument;
    asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
void print(char const* text) { semihosting(4, text); }
[[noreturn]] void leave(bool good) {
    std::uint32_t const why[2] = {0x20026, good ? 0u : 1u}; // the reason "application exit", and the exit status
    semihosting(0x20, why);
    for (;;) {}
}
void print(char const* name, std::uint32_t number) {
    char digits[12] = {};
    std::size_t at = sizeof digits - 1;
    digits[--at] = '\n';
    do digits[--at] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    print(name);
    print(" ");
    print(digits + at);
}
void check(bool good, char const* what) {
    if (good) return;
    print("failed: ");
    print(what);
    print("\n");
    leave(false);
}

// --- instructions

// Timer 0 of Arm's CMSDK counts down at 25 MHz. With `-icount shift=6` an instruction takes 64 ns, which is 1.6 ticks.
struct timer {
    std::uint32_t volatile control, value, reload;
};
timer& clock = *reinterpret_cast<timer*>(0x40000000);

template <class Work> std::uint32_t ticks(Work&& work) {
    std::uint32_t const before = clock.value;
    work();
    return before - clock.value;
}

/// The instructions of a call, without those of the measurement itself.
template <class Work> std::uint32_t instructions(Work&& work) {
    std::uint32_t const nothing = ticks([] { asm volatile(""); });
    return (ticks(work) - nothing) * 5 / 8;
}

// --- stack

constexpr std::uint32_t paint = 0x5ca1ab1e;
constexpr std::size_t painted_words = 2048;

bool deepest_are_zero; ///< the last call left only zeros below the frames of its outermost functions

/// The depth below the caller's frame to which a call writes, in bytes.
template <class Work> [[gnu::noinline]] std::uint32_t depth(Work&& work) {
    std::uint32_t* top;
    asm volatile("mov %0, sp" : "=r"(top));
    std::uint32_t volatile* const bottom = top - painted_words;
    for (std::uint32_t volatile* at = bottom; at != top; ++at) *at = paint;
    work();
    std::uint32_t volatile* at = bottom;
    while (at != top && *at == paint) ++at;
    std::uint32_t const found = static_cast<std::uint32_t>(top - at) * 4;
    constexpr std::size_t outermost_words = 48;
    deepest_are_zero = true;
    for (; at < top - outermost_words; ++at) deepest_are_zero &= *at == 0 || *at == paint; // paint: never written
    return found;
}

/// The depth of a call that must wipe its stack.
template <class Work> std::uint32_t wiped_depth(Work&& work, char const* what) {
    std::uint32_t const found = depth(work);
    check(deepest_are_zero, what);
    return found;
}

// --- two boards

using node = firmware::node<1>;

struct board {
    byte datagram[node::buffer_bytes];
    std::size_t datagram_bytes = 0;
    byte packet[node::mtu];
    std::size_t packet_bytes = 0; ///< size of `packet`, which the node sends next; 0: none
    std::size_t received = 0;     ///< size of the last packet that the node delivered
    endpoint address{};
};
board boards[2];
std::size_t active_board; ///< the index of the board whose node runs
std::int64_t now_ns = 1'000'000'000;
std::uint32_t random_state = 1;

alignas(node) byte memory[2][sizeof(node)];
node& at(std::size_t i) { return *reinterpret_cast<node*>(memory[i]); }

byte_array<node::mtu> packet_between(std::size_t from, std::size_t to, std::size_t size, bool v6) {
    byte_array<node::mtu> p{};
    if (v6) {
        p[0] = 0x60;
        store_be16(&p[4], static_cast<std::uint16_t>(size - 40));
        p[8] = p[24] = 0xfd;
        p[23] = static_cast<byte>(from + 1);
        p[39] = static_cast<byte>(to + 1);
    } else {
        p[0] = 0x45;
        store_be16(&p[2], static_cast<std::uint16_t>(size));
        p[12] = p[16] = 10;
        p[15] = static_cast<byte>(from + 1);
        p[19] = static_cast<byte>(to + 1);
    }
    return p;
}

void configure(std::size_t me, byte_array<32> const& mine, byte_array<32> const& theirs) {
    endpoint where;
    where.address = ip_address::v4(192, 0, 2, static_cast<byte>(2 - me));
    where.port = 51820;
    boards[1 - me].address = where;
    ip_address six{{0xfd}, family::v6};
    six.octets[15] = static_cast<byte>(2 - me);
    ip_prefix const allowed_ips[] = {{ip_address::v4(10, 0, 0, static_cast<byte>(2 - me)), 32}, {six, 128}};
    ::new (memory[me]) node;
    check(at(me).configure(mine, {.key = theirs, .endpoint = where, .allowed_ips = allowed_ips}) == status::ok,
          "configure");
}

std::uint32_t deepest;
void run_board(std::size_t me, char const* name) {
    active_board = me;
    std::uint32_t const d = depth([me] { at(me).step(); });
    if (d > deepest) {
        deepest = d;
        print(name, d);
    }
    now_ns += 1'000'000;
}

void conversation() {
    byte_array<32> keys[2], publics[2];
    for (std::size_t i = 0; i < 2; ++i) {
        check(board_random(keys[i].data(), 32), "random");
        secret<32> const key(keys[i]);
        bundled::dh{}.dh_public(publics[i], key);
    }
    for (std::size_t i = 0; i < 2; ++i) configure(i, keys[i], publics[1 - i]);
    for (bool const v6 : {false, true})
        for (std::size_t const size : {100u, static_cast<unsigned>(node::mtu)})
            for (std::size_t from = 0; from < 2; ++from) {
                auto const p = packet_between(from, 1 - from, size, v6);
                copy(boards[from].packet, p);
                boards[from].packet_bytes = size;
                boards[1 - from].received = 0;
                for (int i = 0; i < 4; ++i) {
                    run_board(from, "deeper_stack_sender");
                    run_board(1 - from, "deeper_stack_receiver");
                }
                check(boards[1 - from].received == size, "a packet arrives");
            }
    // The other node starts a new session when the first is too old.
    now_ns += 121'000'000'000;
    for (std::size_t from = 2; from-- > 0;) {
        boards[from].packet_bytes = 100;
        copy(boards[from].packet, packet_between(from, 1 - from, 100, false));
        for (int i = 0; i < 6; ++i) run_board(from, "deeper_stack_rekey"), run_board(1 - from, "deeper_stack_rekey");
    }
    // A packet to an address of no peer.
    for (bool const v6 : {false, true}) {
        copy(boards[0].packet, packet_between(0, 7, 1000, v6));
        boards[0].packet_bytes = 1000;
        run_board(0, "deeper_stack_unroutable");
    }
    print("stack", deepest);
}

} // namespace

extern "C" {

std::int64_t board_now_ns() { return now_ns; }
bool board_random(byte* to, std::size_t size) {
    for (; size != 0; --size) *to++ = static_cast<byte>((random_state = random_state * 1664525u + 1013904223u) >> 24);
    return true;
}
void board_tai64n(byte* label) {
    store_be64(label, 0x400000000000000aULL + static_cast<std::uint64_t>(now_ns >> 24));
    store_be32(label + 8, 0);
}
std::size_t board_datagram_in(byte* to, std::size_t, endpoint* from) {
    board& b = boards[active_board];
    std::memcpy(to, b.datagram, b.datagram_bytes);
    *from = boards[1 - active_board].address;
    return std::exchange(b.datagram_bytes, 0u);
}
void board_datagram_out(byte const* from, std::size_t size, endpoint const*, std::uint8_t) {
    board& b = boards[1 - active_board];
    std::memcpy(b.datagram, from, size);
    b.datagram_bytes = size;
}
std::size_t board_packet_in(byte* to, std::size_t) {
    board& b = boards[active_board];
    std::memcpy(to, b.packet, b.packet_bytes);
    return std::exchange(b.packet_bytes, 0u);
}
void board_packet_out(byte const*, std::size_t size) { boards[active_board].received = size; }

} // extern "C"

int main() {
    clock.reload = 0xffffffff;
    clock.value = 0xffffffff;
    clock.control = 1;

    static byte buffer[1500 + 16];
    static byte_array<32> a, b;
    check(board_random(a.data(), 32) && board_random(b.data(), 32), "random");
    secret<32> key(a), out;
    static public_key point;
    bundled::dh const dh;
    bundled::aead const aead;
    bundled::hash const hash;
    bool good = true;
    print("x25519_public_insn", instructions([&] { dh.dh_public(point, key); }));
    print("x25519_insn", instructions([&] { good = dh.dh(out, key, point); }));
    check(good, "dh");
    for (std::size_t const size : {64u, 1420u}) {
        bytes const text(buffer, size), message(buffer, size + tag_bytes);
        print(size == 64 ? "aead64_insn" : "aead1420_insn",
              instructions([&] { aead.seal(message, text, {}, 7, key); }));
        print(size == 64 ? "aead64_open_insn" : "aead1420_open_insn",
              instructions([&] { good = aead.open(text, message, {}, 7, key); }));
        check(good, "open");
    }
    print("blake2s_64_insn", instructions([&] { hash.blake2s(b, {}, bytes_view(buffer, 64), {}); }));
    print("x25519_stack", wiped_depth([&] { good = dh.dh(out, key, point); }, "X25519 wipes its stack"));
    print("aead_stack", wiped_depth(
                            [&] {
                                aead.seal({buffer, 1436}, {buffer, 1420}, {}, 7, key);
                            },
                            "ChaCha20-Poly1305 wipes its stack"));
    print("blake2s_stack",
          wiped_depth([&] { hash.blake2s(b, a, bytes_view(buffer, 64), {}); }, "BLAKE2s wipes its stack"));

    using device1 = firmware::node<1>::device_type;
    using device2 = firmware::node<2>::device_type;
    using one = firmware::policies<1>;
    print("ram_device_whole", sizeof(device1));
    print("ram_peer", sizeof(device2) - sizeof(device1));
    // The parts whose sizes the capacity sets, apart from those of a device and its peers.
    print("ram_staging", sizeof(staging<one::storage>));
    print("ram_queue", sizeof(handshake_queue<one::storage>));
    print("ram_limiter", sizeof(rate_limiter<one::storage>));
    print("ram_device1", sizeof(device1) - sizeof(staging<one::storage>) - sizeof(handshake_queue<one::storage>) -
                             sizeof(rate_limiter<one::storage>));
    print("ram_job", sizeof(node::job));

    conversation();
    leave(true);
}
