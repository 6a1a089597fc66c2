// SPDX-License-Identifier: BSL-1.0
// A TUN interface, through which the host sends packets into the tunnel and receives packets from it (Linux,
// Documentation/networking/tuntap.rst). Folder: os/linux/tun. One thread at a time.
#ifndef WG_OS_LINUX_TUN_TUN_HPP
#define WG_OS_LINUX_TUN_TUN_HPP

#include "../../../base/limits.hpp"
#include "../../../policy.hpp"
#include "../../tun/coalescer.hpp"
#include "interface.hpp"
#include "../../tun/segmenter.hpp"
#include "tun_queues.hpp"

#include <algorithm>
#include <memory>
#include <new>
#include <string_view>
#include <sys/uio.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Joins packets into frames of pieces for writev(2).
using coalescer = basic_coalescer<iovec>;

/// Models `tun_device`. Where the kernel supports it, frames begin with a virtio header. Then a frame can hold up to
/// 64 KiB of TCP or UDP, and this class cuts and joins such frames. Else a frame is a packet. Callers see only packets.
template <class Calls = tun_calls> class basic_tun {
public:
    /// Bytes that `write` needs before a packet: none, because the virtio header is a piece of its own (writev).
    static constexpr std::size_t headroom = 0;
    /// Frames that each queue of a new interface holds, as many as with Linux's own WireGuard. 16 queues with full
    /// packets of an MTU of 1420 take at most 40 MB of the kernel's memory.
    static constexpr std::size_t queue_length = 1000;
    /// Descriptors that are left for other uses than queues: sockets, connections, timers, workers.
    static constexpr std::size_t other_descriptors = 40;

    /// Has no interface; `open` and `adopt` return an object that has one.
    basic_tun() noexcept = default;

    /// Creates the interface `name`, or takes over a persistent one that no other process uses. A new interface gets
    /// `mtu_bytes` and `queue_length`, and several queues where the driver supports them and memory and descriptors are
    /// left; the kernel deletes it when the object is destroyed. An interface that is taken over stays as it is.
    /// Returns: `invalid` if `name` cannot name an interface; `address_in_use` if another interface or process has the
    /// name; `no_permission`; `not_supported` without a TUN driver; `no_memory`. `why` then says how to mend it.
    static result<basic_tun> open(std::string_view name, error_text& why, std::size_t mtu_bytes = default_mtu_bytes,
                                  offloads const& wanted = {}) noexcept {
        if (!is_interface_name(name)) {
            why.set("`", name.substr(0, 40),
                    "` cannot name an interface: it takes 1 to 15 characters, without spaces, `/`, `:` and `%`");
            return status::invalid;
        }
        basic_tun made;
        bool existed = false;
        for (bool framed = wanted.frames;; framed = false) {
            ifreq request = tun_detail::request_for(name);
            std::unique_ptr<byte[]> frame = framed ? new_frame() : nullptr;
            result<unique_fd> fd = tun_detail::open_first_queue<Calls>(request, frame != nullptr, wanted.queues, why);
            if (!fd) return fd.why();
            int const flags = static_cast<unsigned short>(request.ifr_flags);
            if ((flags & IFF_VNET_HDR) == 0) frame.reset();
            ifreq now = request;
            existed = ::ioctl((*fd).get(), TUNGETIFF, &now) == 0 && (now.ifr_flags & IFF_PERSIST) != 0;
            std::unique_ptr<tun_queues> queues(new (std::nothrow) tun_queues);
            if (!queues || !queues->add(*fd)) {
                why.set("`", name, "`: no memory or no descriptors are left (ulimit -n)");
                return status::no_memory;
            }
            made = basic_tun(std::move(queues), request.ifr_name, std::move(frame));
            if (made.set_framing(wanted)) { // never fails without virtio headers, so the loop ends
                if (wanted.queues && (flags & IFF_MULTI_QUEUE) != 0) made.add_queues(request);
                break;
            }
            made = basic_tun();
        }
        made.refresh_mtu();
        if (existed) return made;
        if (made.set_mtu(mtu_bytes) != status::ok) {
            why.set("cannot set the MTU of `", name, "` to ", mtu_bytes, ": ", std::strerror(errno));
            return status_of(errno);
        }
        (void)made.link_.change(SIOCSIFTXQLEN, queue_length); // the driver's default is half as long
        return made;
    }

    /// Takes over an open TUN descriptor, which a process with more rights has opened (WG_TUN_FD). That process chose
    /// whether frames have virtio headers. On failure the descriptor stays the caller's.
    /// Returns: `invalid` if it is no TUN interface; `not_supported` if it is a TAP interface; `no_memory`; `io_error`.
    static result<basic_tun> adopt(int number, error_text& why, offloads const& wanted = {}) noexcept {
        ifreq request{};
        if (::ioctl(number, TUNGETIFF, &request) != 0) {
            why.set("descriptor ", number, " is no TUN interface: ", std::strerror(errno));
            return status::invalid;
        }
        unsigned const flags = static_cast<unsigned short>(request.ifr_flags);
        // IFF_NO_PI cannot be checked: Linux 6.18 says that it is set even where it is not.
        if ((flags & IFF_TUN) == 0) {
            why.set("descriptor ", number, " (`", request.ifr_name, "`) must be opened with IFF_TUN and IFF_NO_PI");
            return status::not_supported;
        }
        std::unique_ptr<byte[]> frame = (flags & IFF_VNET_HDR) != 0 ? new_frame() : nullptr;
        std::unique_ptr<tun_queues> queues(new (std::nothrow) tun_queues);
        unique_fd fd(number);
        if (((flags & IFF_VNET_HDR) != 0 && !frame) || !queues || !queues->add(fd)) {
            (void)fd.release(); // not taken over
            why.set("descriptor ", number, " (`", request.ifr_name, "`): no memory or no descriptors are left");
            return status::no_memory;
        }
        basic_tun made(std::move(queues), request.ifr_name, std::move(frame));
        if (!make_private(number) || !made.set_framing(wanted)) {
            why.set("descriptor ", number, ": ", std::strerror(errno));
            status const refused = status_of(errno);
            (void)made.queues_->release(); // not taken over
            return refused;
        }
        made.refresh_mtu();
        return made;
    }

    /// A descriptor that polls readable when a packet waits or the interface is gone; -1 without an interface. It does
    /// not poll readable for packets that a `read` has left behind because its span was full.
    int fd() const noexcept { return queues_ != nullptr ? queues_->pollable() : -1; }
    /// The interface's name, as `refresh_mtu` last found it.
    char const* name() const noexcept { return name_; }
    /// Whether frames begin with a virtio header.
    bool has_frames() const noexcept { return frame_ != nullptr; }
    /// How many queues of the interface this object reads and writes.
    std::size_t queue_count() const noexcept { return queues_->size(); }
    /// The interface's network namespace and its index there, as `refresh_mtu` last found them.
    link_place const& place() const noexcept { return link_.place(); }

    /// Reads packets until the span is full or no packet waits. Each queue that has packets gets an equal share of the
    /// span. A call that filled its span must be followed by another one, which begins with the rest. A packet that is
    /// longer than its room is cut; it is then shorter than its header says.
    /// Returns: the number of packets; `gone` if the interface was deleted; `io_error`.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t count = 0;
        while (segments_.pending() && count < packets.size()) next_segment(packets[count++]);
        if (count == packets.size()) return count;
        claimed_ |= queues_->ready();
        several_ = (claimed_ & (claimed_ - 1)) != 0;
        for (std::uint32_t ready = claimed_; ready != 0 && count < packets.size();) {
            std::size_t const left = packets.size() - count;
            std::size_t sharers = 0;
            for (std::uint32_t bits = ready; bits != 0; bits &= bits - 1) ++sharers;
            std::size_t const share = (std::max<std::size_t>)(1, left / sharers);
            for (std::size_t i = 0; i < queues_->size() && count < packets.size(); ++i) {
                next_queue_ = (next_queue_ + 1) % queues_->size();
                std::uint32_t const bit = std::uint32_t{1} << next_queue_;
                if ((ready & bit) == 0) continue;
                std::size_t const before = count;
                int const error = read_queue(next_queue_, packets, count, share);
                if (error == EAGAIN && count == before + 1 && packets[before].length <= most_sparse_bytes)
                    queues_->count_sparse_packet();
                if (error == 0) continue;
                ready &= ~bit;
                if (error == EAGAIN || count > 0) continue; // the next call finds the same error
                return error == EBADFD || error == EBADF ? status::gone : status::io_error;
            }
        }
        return count;
    }

    /// Whether the last `read` found packets in several queues, so that another object that shares them finds some too.
    bool has_more_for_others() const noexcept { return several_; }

    /// How many packets of at most 256 bytes were alone in their queue when they were read. All objects that share the
    /// interface return the same.
    std::uint32_t sparse_packets() const noexcept { return queues_->sparse_packets(); }

    /// Gives the queues back that `read` has claimed, so that other objects that share the interface can read them.
    /// Called when all packets of the last `read` are sent. A queue stays claimed while segments of
    /// its last frame are left.
    void settle() noexcept {
        std::uint32_t const kept = segments_.pending() ? std::uint32_t{1} << next_queue_ : 0;
        if ((claimed_ & ~kept) != 0) queues_->give_back(claimed_ & ~kept);
        claimed_ &= kept;
    }

    /// Makes an object for another thread that reads and writes the same interface. It must be destroyed before this
    /// object. Only this object may refresh or change the interface. Returns: `no_memory`.
    result<basic_tun> share() const noexcept {
        basic_tun other;
        queues_->share(claimed_);
        other.queues_ = queues_;
        other.frame_ = frame_ ? new_frame() : nullptr;
        if (frame_ && !other.frame_) return status::no_memory;
        std::memcpy(other.name_, name_, sizeof name_);
        other.joins_ = joins_;
        return other;
    }

    /// Hands packets to the host. Packets of one TCP connection or UDP flow can share a frame; they keep their order.
    /// A packet that the host refuses is dropped; if the interface is down or gone, all packets are.
    /// Returns: how many packets the host took.
    std::size_t write(std::span<packet> packets) noexcept {
        std::size_t taken = 0;
        while (!packets.empty()) {
            auto const some = packets.first((std::min)(packets.size(), coalescer::max_packets));
            packets = packets.subspan(some.size());
            if (!(frame_ ? write_frames(some, taken) : write_packets(some, taken))) break;
        }
        return taken;
    }

    /// The MTU in bytes as `refresh_mtu` last found it, or the length of a longer packet that was read since then; 0 if
    /// it is not known.
    std::size_t mtu() const noexcept { return (std::max)(mtu_, longest_cut()); }

    /// The length in bytes of the longest packet since the last `refresh_mtu` that did not fit its room; 0 if there was
    /// none. It shows that the MTU has grown. All objects that share the interface return the same.
    std::size_t longest_cut() const noexcept { return queues_->longest_cut(); }

    /// Asks the kernel for the interface's MTU, name and place, because each of them can change. If the interface is in
    /// a network namespace that the kernel reports nothing about, the known values stay.
    void refresh_mtu() noexcept {
        if (link_.refresh((*queues_)[0], name_) == status::ok) {
            mtu_ = link_.mtu();
            queues_->forget_cuts();
        }
        if (link_.name()[0] != 0) std::memcpy(name_, link_.name(), sizeof name_);
    }

    /// Sets the interface's MTU. Returns: `not_supported` if the interface is in another network namespace; else the
    /// status of errno, which then says why.
    status set_mtu(std::size_t bytes) noexcept {
        status const done = link_.change(SIOCSIFMTU, bytes);
        if (done == status::ok) mtu_ = bytes;
        return done;
    }

    /// Finds out whether the interface is up by a write, which also works while the interface is in another network
    /// namespace. The packet is one byte, the first of an IPv4 header; an interface that is up counts it as malformed.
    /// (Linux 6.18 refuses an empty write in the same way whether the interface is up or down.)
    /// Returns: `ok` if it is up, `device_down`, or `gone`.
    status link_state() const noexcept {
        byte no_packet[virtio_header_bytes + 1] = {};
        no_packet[virtio_header_bytes] = 0x40;
        std::size_t const unused = frame_ ? 0 : virtio_header_bytes;
        ssize_t const written =
            without_interruption([&] { return ::write((*queues_)[0], no_packet + unused, sizeof no_packet - unused); });
        if (written >= 0 || errno == EINVAL) return status::ok;
        return errno == EIO ? status::device_down : status::gone;
    }

private:
    basic_tun(std::unique_ptr<tun_queues> queues, char const* name, std::unique_ptr<byte[]> frame) noexcept
        : own_queues_(std::move(queues)), queues_(own_queues_.get()), frame_(std::move(frame)) {
        std::memcpy(name_, name, sizeof name_);
    }

    static constexpr std::size_t most_sparse_bytes = 256;
    static constexpr std::size_t frame_bytes = virtio_header_bytes + max_frame_packet_bytes;

    /// Not zeroed: the kernel provides no memory for pages that no frame ever reaches.
    static std::unique_ptr<byte[]> new_frame() noexcept {
        return std::unique_ptr<byte[]>(new (std::nothrow) byte[frame_bytes]);
    }

    /// The framing holds for the whole interface, so one queue stands for all. Returns: as `tun_detail::set_framing`.
    bool set_framing(offloads const& wanted) noexcept {
        return tun_detail::set_framing((*queues_)[0], frame_ != nullptr, wanted, joins_);
    }

    /// Opens as many queues as possible of the interface that `request` names, up to `tun_queues::most`, and leaves
    /// `other_descriptors` to the process.
    void add_queues(ifreq request) noexcept {
        request.ifr_flags = static_cast<short>(request.ifr_flags & ~int{IFF_TUN_EXCL});
        std::size_t const limit = Calls::descriptor_limit();
        while (queues_->size() < tun_queues::most) {
            unique_fd fd = tun_detail::open_device();
            if (!fd || static_cast<std::size_t>(fd.get()) + other_descriptors > limit ||
                Calls::set_interface(fd.get(), request) != 0 || !queues_->add(fd))
                return;
        }
    }

    /// Notes a packet that was cut: it fills its room and is shorter than its header says.
    void note_length(packet const& p) noexcept {
        if (p.length != p.capacity - p.offset) return;
        headers_detail::ip_view const ip(p.view());
        std::size_t const bytes = ip.is_v4() || ip.is_v6() ? ip.total_bytes() : 0;
        if (bytes > p.length) queues_->note_cut((std::min)(bytes, max_frame_packet_bytes));
    }

    void next_segment(packet& p) noexcept {
        segments_.next(p);
        note_length(p);
    }

    /// Reads about `share` packets of one queue into `packets` from `count` on, and adds them to `count`. The segments
    /// of a frame stay together. Returns: 0, or the errno of the first read that brought no packet.
    int read_queue(std::size_t number, std::span<packet> packets, std::size_t& count, std::size_t share) noexcept {
        for (std::size_t const end = (std::min)(packets.size(), count + share); count < end;) {
            packet& p = packets[count];
            byte* const to = frame_ ? frame_.get() : p.buffer + p.offset;
            std::size_t const room = frame_ ? frame_bytes : p.capacity - p.offset;
            ssize_t const size = without_interruption([&] { return ::read((*queues_)[number], to, room); });
            if (size < 0) return errno;
            bytes const read(to, static_cast<std::size_t>(size));
            if (!frame_) {
                p.length = static_cast<std::uint32_t>(size);
                queues_->came_from(number, read);
                note_length(p);
                ++count;
            } else if (segments_.begin(read)) {
                queues_->came_from(number, read.subspan(virtio_header_bytes));
                while (segments_.pending() && count < packets.size()) next_segment(packets[count++]);
            } else {
                p.length = 0; // a malformed frame
                ++count;
            }
        }
        return 0;
    }

    /// Writes one frame that consists of `pieces`; `packet` is one of the packets in it. Returns: 0 or the errno.
    int write_pieces(std::span<iovec const> pieces, bytes_view packet) noexcept {
        int const fd = (*queues_)[queues_->queue_for(packet)];
        auto const write = [&] { return ::writev(fd, pieces.data(), static_cast<int>(pieces.size())); };
        return without_interruption(write) < 0 ? errno : 0;
    }

    /// Whether the error means that the interface is down or gone.
    static bool takes_nothing(int error) noexcept { return error == EIO || error == EBADFD || error == EBADF; }

    /// Adds the packets that the host took to `taken`. Returns: false if the interface is down or gone.
    bool write_packets(std::span<packet const> packets, std::size_t& taken) noexcept {
        for (packet const& p : packets) {
            iovec const piece{p.buffer + p.offset, p.length};
            int const error = write_pieces({&piece, 1}, p.view());
            if (takes_nothing(error)) return false;
            taken += error == 0;
        }
        return true;
    }

    /// As `write_packets`, for frames with a virtio header. The packets of a refused frame are written one by one.
    bool write_frames(std::span<packet const> packets, std::size_t& taken) noexcept {
        coalescer plan(packets, joins_.tcp, joins_.udp);
        for (std::size_t i = 0; i < plan.frame_count(); ++i) {
            int const error = write_pieces(plan.pieces(i), plan.first_packet(i));
            if (takes_nothing(error)) return false;
            if (error == 0) taken += plan.packet_count(i);
            if (error != 0 && plan.packet_count(i) > 1)
                plan.each_packet(i, [&](packet const& p) noexcept {
                    byte none[virtio_header_bytes] = {};
                    iovec const pieces[] = {{none, sizeof none}, {p.buffer + p.offset, p.length}};
                    taken += write_pieces(pieces, p.view()) == 0;
                });
        }
        return true;
    }

    std::unique_ptr<tun_queues> own_queues_{}; ///< none if this object shares the queues of another one
    tun_queues* queues_ = nullptr;
    std::uint32_t claimed_ = 0;       ///< bits of the queues that only this object may read now
    bool several_ = false;            ///< the last `read` found packets in several queues
    std::size_t next_queue_ = 0;      ///< the queue that was read last
    std::unique_ptr<byte[]> frame_{}; ///< the frame that was read last; none if frames have no virtio header
    segmenter segments_{};            ///< the segments of `frame_` that `read` has not handed out yet
    char name_[IFNAMSIZ] = {};
    tun_detail::framing joins_{};
    std::size_t mtu_ = 0;
    basic_link<Calls> link_{};
};

/// The TUN device of a Linux host.
using tun = basic_tun<>;

static_assert(tun_device<tun>);

}}} // namespace wg::WG_ABI::os

#endif
