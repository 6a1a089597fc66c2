// SPDX-License-Identifier: BSL-1.0
// The eBPF program of `flood_filter` and its map (bpf(2)). Folder: os/linux/udp. One thread at a time.
#ifndef WG_OS_LINUX_UDP_FLOOD_PROGRAM_HPP
#define WG_OS_LINUX_UDP_FLOOD_PROGRAM_HPP

#include "../../../base/endpoint.hpp"
#include "../fd.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <sys/resource.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace flood_detail {

/// How many datagrams of each source pass a filter.
struct share {
    std::int64_t cost_ns;  ///< between two datagrams in the long run
    std::int64_t burst_ns; ///< after a silence, `burst_ns / cost_ns` datagrams pass at once
};

/// Sources that the map remembers.
inline constexpr std::uint32_t max_sources = 16'384;

/// The value of a source all of whose datagrams pass.
inline constexpr std::uint64_t trusted = UINT64_MAX;

/// The key of the map. The value is when the next datagram may pass, in nanoseconds of the kernel's monotonic
/// clock, or `trusted`.
struct source_key {
    std::uint64_t prefix; ///< IPv4: the address; IPv6: its first 64 bits
    std::uint64_t kind;   ///< `data_v4` and so on
};
/// Values of `source_key::kind`.
inline constexpr std::uint64_t data_v4 = 1, data_v6 = 2, handshakes_v4 = 3, handshakes_v6 = 4;

/// The key of a source of data; `handshakes_v4 - data_v4` more is its `kind` for handshake messages.
inline source_key key_of(ip_address const& source) noexcept {
    bool const is_v4 = source.kind == family::v4;
    return {is_v4 ? load_be32(source.octets.data()) : load_be64(source.octets.data()), is_v4 ? data_v4 : data_v6};
}

/// Zeroes all of the union. The kernel refuses attributes if bytes behind those of the command are not zero, and
/// `bpf_attr{}` zeroes only the first member of the union, as g++ 15 does.
inline void clear(bpf_attr& attributes) noexcept { std::memset(&attributes, 0, sizeof attributes); }

/// Creates the map. Returns: none with errno if the kernel refuses.
template <class Calls> unique_fd make_map() noexcept {
    bpf_attr attributes;
    clear(attributes);
    attributes.map_type = BPF_MAP_TYPE_LRU_HASH;
    attributes.key_size = sizeof(source_key);
    attributes.value_size = sizeof trusted;
    attributes.max_entries = max_sources;
    return unique_fd(Calls::bpf(BPF_MAP_CREATE, attributes));
}

/// Lets all datagrams of a source pass. Returns: false with errno.
template <class Calls> bool trust(int map, source_key const& key) noexcept {
    bpf_attr attributes;
    clear(attributes);
    attributes.map_fd = static_cast<std::uint32_t>(map);
    attributes.key = reinterpret_cast<std::uintptr_t>(&key);
    attributes.value = reinterpret_cast<std::uintptr_t>(&trusted);
    return Calls::bpf(BPF_MAP_UPDATE_ELEM, attributes) == 0;
}

/// Raises the limit of locked memory (RLIMIT_MEMLOCK) as far as allowed for the life of the object. Until Linux
/// 5.10 maps and programs count as locked memory, whose usual limit is 64 kB.
class room_for_maps {
public:
    room_for_maps() noexcept : is_known_(::getrlimit(RLIMIT_MEMLOCK, &before_) == 0) {
        if (!is_known_) return;
        rlimit const all{RLIM_INFINITY, RLIM_INFINITY}, allowed{before_.rlim_max, before_.rlim_max};
        if (::setrlimit(RLIMIT_MEMLOCK, &all) != 0) (void)::setrlimit(RLIMIT_MEMLOCK, &allowed);
    }
    ~room_for_maps() {
        if (is_known_) (void)::setrlimit(RLIMIT_MEMLOCK, &before_);
    }
    room_for_maps(room_for_maps const&) = delete;
    room_for_maps& operator=(room_for_maps const&) = delete;

private:
    rlimit before_{};
    bool is_known_;
};

/// One instruction of eBPF. Registers are `to` and `from`.
constexpr bpf_insn instruction(unsigned code, unsigned to, unsigned from, int offset, std::int32_t value) noexcept {
    return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(to & 15), static_cast<std::uint8_t>(from & 15),
            static_cast<std::int16_t>(offset), value};
}

/// Writes instructions one after the other. A jump gets its target when `land` is called.
struct writer {
    std::array<bpf_insn, 64> code{};
    std::uint32_t size = 0;

    std::uint32_t put(unsigned op, unsigned to = 0, unsigned from = 0, int offset = 0,
                      std::int32_t value = 0) noexcept {
        code[size] = instruction(op, to, from, offset, value);
        return size++;
    }
    void move(unsigned to, unsigned from) noexcept { put(BPF_ALU64 | BPF_MOV | BPF_X, to, from); }
    void set(unsigned to, std::int32_t value) noexcept { put(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
    /// Sets a register to 64 bits; with BPF_PSEUDO_MAP_FD as `pseudo`, to the map with this descriptor.
    void set_wide(unsigned to, std::uint64_t value, unsigned pseudo = 0) noexcept {
        put(BPF_LD | BPF_DW | BPF_IMM, to, pseudo, 0, static_cast<std::int32_t>(value));
        put(0, 0, 0, 0, static_cast<std::int32_t>(value >> 32));
    }
    void load(unsigned to, unsigned from, int offset) noexcept { put(BPF_LDX | BPF_MEM | BPF_DW, to, from, offset); }
    void store(unsigned to, int offset, unsigned from) noexcept { put(BPF_STX | BPF_MEM | BPF_DW, to, from, offset); }
    /// Sets r0 to the 32 bits at this offset of the IP header, in the machine's byte order.
    void load_ip(int offset) noexcept { put(BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, SKF_NET_OFF + offset); }
    void call(std::int32_t function) noexcept { put(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
    void land(std::uint32_t jump) noexcept { code[jump].off = static_cast<std::int16_t>(size - jump - 1); }
    void leave(std::int32_t accepted_bytes) noexcept {
        set(0, accepted_bytes);
        put(BPF_JMP | BPF_EXIT);
    }
};

/// Loads the program for the sockets of one family and kind. It has a token bucket for each source, as
/// rate_limiter.hpp has. Returns: its descriptor; none with errno if the kernel refuses it.
template <class Calls> unique_fd load_program(int map, bool is_v4, std::uint64_t kind, share const& of) noexcept {
    constexpr int key = -16, fresh = -24; // on the program's stack, below r10
    constexpr unsigned bucket = 8, now = 9, stack = 10;
    constexpr int source_v4 = 12, source_v6 = 8;
    writer w;
    w.move(6, 1); // BPF_ABS reads the datagram that r6 points to
    if (is_v4) {
        w.load_ip(source_v4);
        w.move(7, 0);
    } else {
        w.load_ip(source_v6);
        w.move(7, 0);
        w.put(BPF_ALU64 | BPF_LSH | BPF_K, 7, 0, 0, 32);
        w.load_ip(source_v6 + 4);
        w.put(BPF_ALU64 | BPF_OR | BPF_X, 7, 0);
    }
    w.store(stack, key, 7);
    w.set(7, static_cast<std::int32_t>(kind));
    w.store(stack, key + 8, 7);
    w.call(BPF_FUNC_ktime_get_ns);
    w.move(now, 0);
    auto const arguments = [&]() noexcept {
        w.set_wide(1, static_cast<std::uint64_t>(map), BPF_PSEUDO_MAP_FD);
        w.move(2, stack);
        w.put(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, key);
    };
    arguments();
    w.call(BPF_FUNC_map_lookup_elem);
    w.move(bucket, 0);
    w.move(7, now); // r7 becomes the time of a full bucket
    w.set_wide(2, static_cast<std::uint64_t>(of.burst_ns - of.cost_ns));
    w.put(BPF_ALU64 | BPF_SUB | BPF_X, 7, 2);
    std::uint32_t const unknown = w.put(BPF_JMP | BPF_JEQ | BPF_K, bucket, 0, 0, 0);
    w.load(1, bucket, 0);
    std::uint32_t const is_trusted = w.put(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0, -1);
    std::uint32_t const is_recent = w.put(BPF_JMP | BPF_JSGE | BPF_X, 1, 7);
    w.move(1, 7);
    w.land(is_recent);
    std::uint32_t const is_empty = w.put(BPF_JMP | BPF_JSGT | BPF_X, 1, now);
    w.put(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, static_cast<std::int32_t>(of.cost_ns));
    w.store(bucket, 0, 1);
    w.land(is_trusted);
    w.leave(0x7fffffff);
    w.land(unknown);
    w.store(stack, fresh, 7);
    arguments();
    w.move(3, stack);
    w.put(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, fresh);
    w.set(4, BPF_ANY);
    w.call(BPF_FUNC_map_update_elem);
    w.leave(0x7fffffff);
    w.land(is_empty);
    w.leave(0);

    // From Linux 5.8 on, none of the functions above needs a program under the GPL.
    static constexpr char licence[] = "BSL-1.0";
    bpf_attr attributes;
    clear(attributes);
    attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
    attributes.insn_cnt = w.size;
    attributes.insns = reinterpret_cast<std::uintptr_t>(w.code.data());
    attributes.license = reinterpret_cast<std::uintptr_t>(licence);
    return unique_fd(Calls::bpf(BPF_PROG_LOAD, attributes));
}

}}}} // namespace wg::WG_ABI::os::flood_detail

#endif
