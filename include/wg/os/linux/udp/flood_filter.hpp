// SPDX-License-Identifier: BSL-1.0
// A filter against floods. While unwanted datagrams come faster than a limit, a program in the kernel drops datagrams
// that a source sends beyond its share, before they reach a socket's queue (bpf(2), socket(7)).
// Folder: os/linux/udp. One thread at a time.
//
// The program is eBPF and keeps one token bucket for each source address in a map of the kernel. An IPv6 source is its
// /64, as in rate_limiter.hpp. A source that has sent authentic data is trusted: all of its datagrams pass. Else an
// attacker who forges the address of a peer could use up the share of that peer, and the peer's handshake messages
// would be dropped, whatever cookie they prove.
//
// The filter needs Linux 5.8 and the right to load programs (CAP_BPF or CAP_SYS_ADMIN). Without them no filter is
// attached, and the process itself drops unwanted datagrams.
#ifndef WG_OS_LINUX_UDP_FLOOD_FILTER_HPP
#define WG_OS_LINUX_UDP_FLOOD_FILTER_HPP

#include "../../../base/endpoint.hpp"
#include "../../../base/time.hpp"
#include "../fd.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <utility>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55 // Linux 4.12; older C libraries lack the name
#endif

namespace wg { inline namespace WG_ABI { namespace os {

/// The system calls of `basic_flood_filter`. A test replaces them. Each returns what the system call returns.
struct flood_filter_calls {
    /// bpf(2)
    static int bpf(int command, bpf_attr& attributes) noexcept {
        return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes));
    }
    /// Attaches a program to a socket (SO_ATTACH_BPF).
    static int attach(int socket, int program) noexcept {
        return ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program);
    }
    /// Detaches the program of a socket (SO_DETACH_FILTER).
    static int detach(int socket) noexcept {
        int const unused = 0;
        return ::setsockopt(socket, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);
    }
    /// Datagrams that this socket has dropped since it was opened: those that the filter dropped, and those that found
    /// its queue full. 0 where the kernel does not report it.
    static std::uint32_t drops(int socket) noexcept {
        std::uint32_t facts[9] = {}; // SK_MEMINFO_VARS numbers; the last one is SK_MEMINFO_DROPS
        socklen_t size = sizeof facts;
        return ::getsockopt(socket, SOL_SOCKET, SO_MEMINFO, facts, &size) == 0 ? facts[8] : 0;
    }
};

/// Counts unwanted datagrams, and attaches and detaches the filters of a port's sockets.
template <class Calls = flood_filter_calls> class basic_flood_filter {
public:
    /// This many unwanted datagrams in one `window` are a flood: 30,000 a second. Many peers that return at once stay
    /// below it, because one processor core answers about 20,000 handshakes a second.
    static constexpr std::size_t flood_datagrams = 6000;
    /// While a filter is attached, this many unwanted datagrams in one `window` are a flood of many sources: 10,000 a
    /// second. The filter then lets fewer datagrams of each source pass.
    static constexpr std::size_t crowd_datagrams = 2000;
    static constexpr duration window = milliseconds(200); ///< over which unwanted datagrams are counted
    /// A filter is detached when its sockets have dropped fewer datagrams than this in `rest`.
    static constexpr std::uint32_t quiet_datagrams = 10'000;
    static constexpr duration rest = seconds(1); ///< the shortest time that a filter stays attached
    /// Sources that the kernel remembers: those that were active last. A source takes about 100 bytes of the kernel's
    /// memory, only while a filter is attached.
    static constexpr std::uint32_t max_sources = 16'384;

    /// How many datagrams of each source pass a filter.
    struct share {
        std::int64_t cost_ns;  ///< between two datagrams in the long run
        std::int64_t burst_ns; ///< after a silence, `burst_ns / cost_ns` datagrams pass at once
    };
    /// 1,000 data messages a second of a source that is not trusted, and 512 at once. These are enough for the first
    /// data of a peer that has moved to another address. The data is authentic, and so the source becomes trusted.
    static constexpr share data_share{1'000'000, 512LL * 1'000'000};
    /// 20 handshake messages a second, as Linux's own WireGuard, and 8 at once.
    static constexpr share handshake_share{50'000'000, 8LL * 50'000'000};
    /// The shares while a flood has many sources: 10 datagrams of data a second and 16 at once, 2 handshake messages a
    /// second and 4 at once. A peer repeats an initiation every 5 seconds (whitepaper 6.4), so a new peer still gets
    /// its cookie reply and its response.
    static constexpr share crowd_data_share{100'000'000, 16LL * 100'000'000};
    static constexpr share crowd_handshake_share{500'000'000, 4LL * 500'000'000};

    /// Descriptors of the sockets of a port; -1: none.
    struct sockets {
        int data[2];       ///< IPv4, IPv6
        int handshakes[2]; ///< IPv4, IPv6
    };

    /// Messages that were received since the last call.
    struct counts {
        std::size_t data = 0;       ///< on the sockets of data
        std::size_t useless = 0;    ///< those among `data` that no peer needed
        std::size_t handshakes = 0; ///< on the sockets of handshake messages
    };

    /// Adds `received` to the counts of this window. Returns: true if `end_window` must be called.
    bool add(counts const& received) noexcept {
        data_received_ += received.data;
        data_.unwanted += received.useless;
        handshake_.unwanted += received.handshakes;
        return received.useless + received.handshakes != 0 || is_attached();
    }

    /// If the window has ended, compares its counts, with the datagrams that found full queues, with `flood_datagrams`,
    /// and begins the next window. Returns: true if `apply` must be called.
    bool end_window(sockets const& of, instant now) noexcept {
        if (now < window_end_) return false;
        bool const is_rate = now < window_end_ + window; // the counts of a longer window are no rate
        window_end_ = now + window;
        written_ = {};
        // Of the datagrams that found the queue full, the same part is taken for useless as of the received ones.
        std::uint64_t const lost = new_drops(data_, of.data);
        if (data_received_ != 0) data_.unwanted += converted<std::size_t>(lost * data_.unwanted / data_received_);
        handshake_.unwanted += new_drops(handshake_, of.handshakes);
        data_received_ = 0;
        bool change = is_attached() && now >= rest_end_;
        for (guard* const g : {&data_, &handshake_}) {
            g->flooded = is_rate && can_filter_ && g->unwanted >= flood_datagrams;
            g->crowded = is_rate && g->attached && !g->is_new && g->unwanted >= crowd_datagrams;
            g->unwanted = 0;
            g->is_new = false;
            change = change || (g->flooded && !g->attached) || (g->crowded && !g->limits_crowd);
        }
        return change;
    }

    /// Attaches filters to sockets that are flooded, and detaches filters from sockets that are no longer flooded.
    void apply(sockets const& of, instant now) noexcept {
        bool const rested = now >= rest_end_;
        int const before = data_.attached + handshake_.attached;
        update(data_, of.data, data_share, crowd_data_share, rested);
        update(handshake_, of.handshakes, handshake_share, crowd_handshake_share, rested);
        // A filter that was attached just now stays for at least `rest`.
        if (rested || data_.attached + handshake_.attached > before) rest_end_ = now + rest;
        if (!is_attached()) map_.reset();
    }

    /// Lets all datagrams of `source` pass, until the kernel forgets the source. To be called for sources of authentic
    /// datagrams. The kernel's map is written once in a window for each source.
    void trust(ip_address const& source) noexcept {
        if (!is_attached()) return;
        source_key key = key_of(source);
        source_key& written = written_[(key.prefix * 0x9e3779b97f4a7c15ULL) >> 58];
        if (written.prefix == key.prefix && written.kind == key.kind) return;
        written = key;
        if (data_.attached) (void)write_map(key, trusted);
        key.kind += handshakes_v4 - data_v4;
        if (handshake_.attached) (void)write_map(key, trusted);
    }

    /// Forgets all filters. To be called when the sockets are closed, which detaches them.
    void forget() noexcept {
        data_ = handshake_ = {};
        map_.reset();
    }

    /// Forgets the filters of handshake messages. To be called when some of these sockets are closed.
    void forget_handshakes() noexcept {
        handshake_ = {};
        if (!is_attached()) map_.reset();
    }

    /// Whether a filter is attached to the sockets of data.
    bool filters_data() const noexcept { return data_.attached; }
    /// Whether a filter is attached to the sockets of handshake messages.
    bool filters_handshakes() const noexcept { return handshake_.attached; }
    /// Whether filters can be attached; false once the kernel has refused one.
    bool can_filter() const noexcept { return can_filter_; }

private:
    static constexpr std::uint64_t trusted = UINT64_MAX;

    /// The state of the filter of the data sockets, or of the sockets of handshake messages.
    struct guard {
        std::size_t unwanted = 0;          ///< datagrams in this window
        bool flooded = false;              ///< in the last window
        bool crowded = false;              ///< in the last window, with the filter attached
        bool attached = false;             ///< the sockets have the filter
        bool is_new = false;               ///< attached in the last window; the queue still holds earlier datagrams
        bool limits_crowd = false;         ///< the attached filter has the share for many sources
        std::uint32_t drops = 0;           ///< of the sockets, as `Calls::drops` last returned
        std::uint32_t dropped_in_rest = 0; ///< since the last check whether the filter can go
    };

    /// The key of the map. The value is when the next datagram may pass, in nanoseconds of the kernel's monotonic
    /// clock, or `trusted`.
    struct source_key {
        std::uint64_t prefix; ///< IPv4: the address; IPv6: its first 64 bits
        std::uint64_t kind;   ///< `data_v4` and so on
    };
    static constexpr std::uint64_t data_v4 = 1, data_v6 = 2, handshakes_v4 = 3, handshakes_v6 = 4;

    static source_key key_of(ip_address const& source) noexcept {
        bool const is_v4 = source.kind == family::v4;
        return {is_v4 ? load_be32(source.octets.data()) : load_be64(source.octets.data()), is_v4 ? data_v4 : data_v6};
    }

    bool is_attached() const noexcept { return data_.attached || handshake_.attached; }

    void update(guard& g, int const (&fds)[2], share const& usual, share const& crowd, bool rested) noexcept {
        if (g.flooded && !g.attached) {
            g.attached = attach(g, fds, usual);
            g.is_new = g.attached;
            g.limits_crowd = false;
            g.dropped_in_rest = 0;
        } else if (g.crowded && !g.limits_crowd) {
            g.limits_crowd = attach(g, fds, crowd); // replaces the filter; the buckets in the map stay
        } else if (g.attached && rested) {
            if (std::exchange(g.dropped_in_rest, 0) >= quiet_datagrams || g.flooded) return;
            for (int const fd : fds)
                if (fd >= 0) (void)Calls::detach(fd);
            g.attached = false;
        }
    }

    bool attach(guard const& g, int const (&fds)[2], share const& of) noexcept {
        room_for_maps const room;
        bool attached = false;
        for (bool const is_v4 : {true, false}) {
            int const fd = fds[is_v4 ? 0 : 1];
            if (fd < 0) continue;
            if (!map_ && !make_map()) {
                can_filter_ = is_temporary(errno);
                break;
            }
            std::uint64_t const kind = &g == &data_ ? (is_v4 ? data_v4 : data_v6)
                                       : is_v4      ? handshakes_v4
                                                    : handshakes_v6;
            unique_fd const program = load(is_v4, kind, of);
            if (!program || Calls::attach(fd, program.get()) != 0) { // on success the socket keeps the program
                int const error = errno;                             // before the program is closed
                if (!attached) can_filter_ = is_temporary(error);
                break;
            }
            attached = true;
        }
        return attached;
    }

    /// Whether the next window may try again: memory or descriptors were short, or a signal came while the kernel
    /// checked the program.
    static bool is_temporary(int error) noexcept {
        return error == ENOMEM || error == EMFILE || error == ENFILE || error == EAGAIN || error == EINTR;
    }

    /// Datagrams that the sockets have dropped since the last call; 0 if the filter has dropped them.
    static std::uint32_t new_drops(guard& g, int const (&fds)[2]) noexcept {
        std::uint32_t sum = 0;
        for (int const fd : fds)
            if (fd >= 0) sum += Calls::drops(fd);
        std::uint32_t const fresh = sum - std::exchange(g.drops, sum);
        g.dropped_in_rest += fresh;
        return g.attached ? 0 : fresh;
    }

    /// Zeroes all of the union. The kernel refuses attributes if bytes behind those of the command are not zero, and
    /// `bpf_attr{}` zeroes only the first member of the union, as g++ 15 does.
    static void clear(bpf_attr& attributes) noexcept { std::memset(&attributes, 0, sizeof attributes); }

    bool make_map() noexcept {
        bpf_attr attributes;
        clear(attributes);
        attributes.map_type = BPF_MAP_TYPE_LRU_HASH;
        attributes.key_size = sizeof(source_key);
        attributes.value_size = sizeof trusted;
        attributes.max_entries = max_sources;
        map_.reset(Calls::bpf(BPF_MAP_CREATE, attributes));
        return bool{map_};
    }

    bool write_map(source_key const& key, std::uint64_t value) noexcept {
        bpf_attr attributes;
        clear(attributes);
        attributes.map_fd = static_cast<std::uint32_t>(map_.get());
        attributes.key = reinterpret_cast<std::uintptr_t>(&key);
        attributes.value = reinterpret_cast<std::uintptr_t>(&value);
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

    static constexpr bpf_insn instruction(unsigned code, unsigned to, unsigned from, int offset,
                                          std::int32_t value) noexcept {
        return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(to & 15),
                static_cast<std::uint8_t>(from & 15), static_cast<std::int16_t>(offset), value};
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
        void load(unsigned to, unsigned from, int offset) noexcept {
            put(BPF_LDX | BPF_MEM | BPF_DW, to, from, offset);
        }
        void store(unsigned to, int offset, unsigned from) noexcept {
            put(BPF_STX | BPF_MEM | BPF_DW, to, from, offset);
        }
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
    unique_fd load(bool is_v4, std::uint64_t kind, share const& of) noexcept {
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
            w.set_wide(1, static_cast<std::uint64_t>(map_.get()), BPF_PSEUDO_MAP_FD);
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

        static constexpr char licence[] =
            "BSL-1.0"; // from Linux 5.8 on, none of the functions above needs a program under the GPL
        bpf_attr attributes;
        clear(attributes);
        attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
        attributes.insn_cnt = w.size;
        attributes.insns = reinterpret_cast<std::uintptr_t>(w.code.data());
        attributes.license = reinterpret_cast<std::uintptr_t>(licence);
        return unique_fd(Calls::bpf(BPF_PROG_LOAD, attributes));
    }

    guard data_{};
    guard handshake_{};
    std::size_t data_received_ = 0;
    instant window_end_{};
    instant rest_end_{};
    bool can_filter_ = true;
    unique_fd map_{};
    std::array<source_key, 64> written_{}; ///< sources that were written to the map as trusted in this window
};

/// The filter of a Linux host.
using flood_filter = basic_flood_filter<>;

}}} // namespace wg::WG_ABI::os

#endif
