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

#include "../../../base/time.hpp"
#include "flood_program.hpp"

#include <array>
#include <cstddef>
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
    /// If this many handshake messages pass an attached filter in one `window`, they are many: 3,000 a second.
    static constexpr std::size_t many_handshakes = 600;
    static constexpr duration window = milliseconds(200); ///< over which unwanted datagrams are counted
    /// A filter is detached when its sockets have dropped fewer datagrams than this in `rest`.
    static constexpr std::uint32_t quiet_datagrams = 10'000;
    static constexpr duration rest = seconds(1); ///< the shortest time that a filter stays attached
    /// Sources that the kernel remembers: those that were active last. A source takes about 100 bytes of the kernel's
    /// memory, only while a filter is attached.
    static constexpr std::uint32_t max_sources = flood_detail::max_sources;

    /// How many datagrams of each source pass a filter.
    using share = flood_detail::share;
    /// 1,000 data messages a second of a source that is not trusted, and 512 at once. These are enough for the first
    /// data of a peer that has moved to another address. The data is authentic, and so the source becomes trusted.
    static constexpr share data_share{1'000'000, 512LL * 1'000'000};
    /// 20 handshake messages a second, as Linux's own WireGuard, and 8 at once.
    static constexpr share handshake_share{50'000'000, 8LL * 50'000'000};
    /// While a flood has many sources: 50 datagrams of data a second and 32 at once.
    static constexpr share crowd_data_share{20'000'000, 32LL * 20'000'000};
    /// While a flood has many sources: 5 handshake messages a second and 8 at once. A peer repeats an initiation every
    /// 5 seconds (whitepaper 6.4), so a new peer still gets its cookie reply and its response.
    static constexpr share crowd_handshake_share{200'000'000, 8LL * 200'000'000};

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
        passes_many_ = is_rate && handshake_.attached && handshake_.unwanted >= many_handshakes;
        bool change = is_attached() && now >= rest_end_;
        for (guard* const g : {&data_, &handshake_}) {
            g->flooded = is_rate && can_filter_ && g->unwanted >= flood_datagrams;
            g->crowded = is_rate && g->attached && g->new_windows == 0 && g->unwanted >= crowd_datagrams;
            g->unwanted = 0;
            if (g->new_windows != 0) --g->new_windows;
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
        source_key key = flood_detail::key_of(source);
        source_key& written = written_[(key.prefix * 0x9e3779b97f4a7c15ULL) >> 58];
        if (written.prefix == key.prefix && written.kind == key.kind) return;
        written = key;
        if (data_.attached) (void)flood_detail::trust<Calls>(map_.get(), key);
        key.kind += flood_detail::handshakes_v4 - flood_detail::data_v4;
        if (handshake_.attached) (void)flood_detail::trust<Calls>(map_.get(), key);
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
    /// Whether a filter is attached and `many_handshakes` passed it in the last window.
    bool passes_many_handshakes() const noexcept { return passes_many_ && handshake_.attached; }
    /// Whether filters can be attached; false once the kernel has refused one.
    bool can_filter() const noexcept { return can_filter_; }

private:
    using source_key = flood_detail::source_key;

    /// The state of the filter of the data sockets, or of the sockets of handshake messages.
    struct guard {
        std::size_t unwanted = 0;          ///< datagrams in this window
        bool flooded = false;              ///< in the last window
        bool crowded = false;              ///< in the last window, with the filter attached
        bool attached = false;             ///< the sockets have the filter
        std::uint8_t new_windows = 0;      ///< windows in which the queue may hold datagrams from before the filter
        bool limits_crowd = false;         ///< the share for many sources was attached, or the kernel has refused it
        std::uint32_t drops = 0;           ///< of the sockets, as `Calls::drops` last returned
        std::uint32_t dropped_in_rest = 0; ///< since the last check whether the filter can go
    };

    bool is_attached() const noexcept { return data_.attached || handshake_.attached; }

    void update(guard& g, int const (&fds)[2], share const& usual, share const& crowd, bool rested) noexcept {
        if (g.flooded && !g.attached) {
            g.attached = attach(g, fds, usual);
            g.new_windows = 3;
            g.limits_crowd = false;
            g.dropped_in_rest = 0;
        } else if (g.crowded && !g.limits_crowd) {
            // Replaces the filter; the buckets in the map stay. If the kernel refuses, the present filter stays.
            g.limits_crowd = true;
            bool const could_filter = can_filter_;
            (void)attach(g, fds, crowd);
            can_filter_ = could_filter;
        } else if (g.attached && rested) {
            if (std::exchange(g.dropped_in_rest, 0) >= quiet_datagrams || g.flooded) return;
            for (int const fd : fds)
                if (fd >= 0) (void)Calls::detach(fd);
            g.attached = false;
        }
    }

    bool attach(guard const& g, int const (&fds)[2], share const& of) noexcept {
        using namespace flood_detail;
        room_for_maps const room;
        bool attached = false;
        for (bool const is_v4 : {true, false}) {
            int const fd = fds[is_v4 ? 0 : 1];
            if (fd < 0) continue;
            if (!map_) map_ = make_map<Calls>();
            if (!map_) {
                can_filter_ = is_temporary(errno);
                break;
            }
            std::uint64_t const kind = &g == &data_ ? (is_v4 ? data_v4 : data_v6)
                                       : is_v4      ? handshakes_v4
                                                    : handshakes_v6;
            unique_fd const program = load_program<Calls>(map_.get(), is_v4, kind, of);
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

    guard data_{};
    guard handshake_{};
    std::size_t data_received_ = 0;
    instant window_end_{};
    instant rest_end_{};
    bool can_filter_ = true;
    bool passes_many_ = false;
    unique_fd map_{};
    std::array<source_key, 64> written_{}; ///< sources that were written to the map as trusted in this window
};

/// The filter of a Linux host.
using flood_filter = basic_flood_filter<>;

}}} // namespace wg::WG_ABI::os

#endif
