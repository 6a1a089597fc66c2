// SPDX-License-Identifier: BSL-1.0
// A TUN interface: the host's end of the tunnel (Linux, Documentation/networking/tuntap.rst). Layer 7 (Linux); one
// thread at a time.
#ifndef WG_OS_LINUX_TUN_HPP
#define WG_OS_LINUX_TUN_HPP

#include "../../base/limits.hpp"
#include "../../policy.hpp"
#include "coalescer.hpp"
#include "error_text.hpp"
#include "frame_limit.hpp"
#include "offloads.hpp"
#include "segmenter.hpp"
#include "tun_queues.hpp"

#include <algorithm>
#include <bit>
#include <linux/if_tun.h>
#include <memory>
#include <net/if.h>
#include <new>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace wg::inline WG_ABI::os {

/// Whether Linux takes `name` for an interface, and a file may be called so too: 1-15 characters, no white space,
/// control character, `/`, `:` or `%` (from which the kernel would make another name), and not `.` or `..`.
constexpr bool is_interface_name(std::string_view name) noexcept {
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
    for (char const c : name)
        if (c <= ' ' || c == '/' || c == ':' || c == '%' || c == '\x7f') return false;
    return true;
}

/// Models `tun_device`. Where the kernel can, frames begin with a virtio header: TCP and UDP then pass in pieces of up
/// to 64 KiB, which are cut and joined here. Else a packet is a frame. Either way only packets are seen from outside.
class tun {
public:
    static constexpr std::size_t headroom = 0; ///< a virtio header is written from elsewhere

    /// No interface; `open` and `adopt` make one.
    tun() noexcept = default;

    /// Creates the interface `name`, or takes over one that was made to last and that nobody else uses; a new one gets
    /// `mtu_bytes`. It goes when the object goes, unless it was made to last. A new one has several queues, where the
    /// kernel has memory for them.
    /// `invalid`: no name for an interface; `address_in_use`: taken; `no_permission`; `not_supported`: no TUN driver.
    static result<tun> open(std::string_view name, error_text& why, std::size_t mtu_bytes = default_mtu_bytes,
                            offloads const& wanted = {}) noexcept {
        if (!is_interface_name(name)) {
            why.set("`", name.substr(0, 40),
                    "` cannot name an interface: it takes 1 to 15 characters, without spaces, `/`, `:` and `%`");
            return status::invalid;
        }
        ifreq request = request_for(name);
        bool const existed = ::if_nametoindex(request.ifr_name) != 0;
        tun made;
        for (bool framed = wanted.frames;; framed = false) {
            unique_fd fd = open_device();
            if (!fd) return device_missing(errno, why);
            std::unique_ptr<byte[]> frame = framed && has_virtio_headers(fd.get()) ? new_frame() : nullptr;
            // One that exists is not asked for several queues: others could be its user's.
            bool const many = wanted.queues && !existed;
            int const flags = IFF_TUN | IFF_NO_PI | (frame ? IFF_VNET_HDR : 0) | (many ? IFF_MULTI_QUEUE : 0);
            request.ifr_flags = static_cast<short>(flags);
            if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return name_refused(request.ifr_name, errno, existed, why);
            std::unique_ptr<tun_queues> queues(new (std::nothrow) tun_queues);
            if (!queues || !queues->add(std::move(fd))) {
                why.set("`", name, "`: no memory or no descriptors are left");
                return status::no_memory;
            }
            made = tun(std::move(queues), request.ifr_name, std::move(frame));
            if (made.set_framing(wanted)) { // which never fails without virtio headers
                if (many) made.add_queues(request);
                break;
            }
            made = tun();
        }
        if (!existed && made.set_mtu(mtu_bytes) != status::ok) {
            why.set("cannot set the MTU of `", made.name_, "` to ", mtu_bytes, ": ", std::strerror(errno));
            return status_of(errno);
        }
        made.refresh_mtu();
        return made;
    }

    /// Takes over an open TUN descriptor, which was made by someone with more rights (WG_TUN_FD). It has virtio headers
    /// or not as its maker chose.
    static result<tun> adopt(int number, error_text& why, offloads const& wanted = {}) noexcept {
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
        if (((flags & IFF_VNET_HDR) != 0 && !frame) || !queues || !queues->add(std::move(fd))) {
            (void)fd.release(); // not taken over
            why.set("descriptor ", number, " (`", request.ifr_name, "`): no memory or no descriptors are left");
            return status::no_memory;
        }
        tun made(std::move(queues), request.ifr_name, std::move(frame));
        if (!make_private(number) || !made.set_framing(wanted)) {
            why.set("descriptor ", number, ": ", std::strerror(errno));
            status const refused = status_of(errno);
            (void)made.queues_->release(); // not taken over
            return refused;
        }
        made.refresh_mtu();
        return made;
    }

    /// Polls readable when a packet waits, and also when the interface is gone; but not for packets that a `read`
    /// which filled its span has left behind.
    int fd() const noexcept { return queues_ != nullptr ? queues_->pollable() : -1; }
    char const* name() const noexcept { return name_; }
    /// Whether frames begin with a virtio header.
    bool has_frames() const noexcept { return frame_ != nullptr; }
    std::size_t queue_count() const noexcept { return queues_->size(); }
    /// The interface's number here, for the monitor of routes; 0 if it is not in this network namespace.
    std::uint32_t index() const noexcept { return ::if_nametoindex(name_); }

    /// Reads until the span is full or nothing is there, from each queue its share. What did not fit comes first in the
    /// next call, so that one which filled its span has to be followed by another. A packet that is too long for its
    /// room is cut, and then is shorter than its header says. `gone`: the interface was deleted.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t count = 0;
        while (segments_.pending() && count < packets.size()) segments_.next(packets[count++]);
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
                if (error == EAGAIN && count == before + 1 && packets[before].length <= most_lone_bytes)
                    queues_->count_lone_packet();
                if (error == 0) continue;
                ready &= ~bit;
                if (error == EAGAIN || count > 0) continue; // what is wrong will still be wrong at the next call
                return error == EBADFD || error == EBADF ? status::gone : status::io_error;
            }
        }
        return count;
    }

    /// Whether several queues had packets when `read` last asked, so that another who shares them finds some as well.
    bool several() const noexcept { return several_; }

    /// Small packets so far that all who share the interface found alone in their queues.
    std::uint32_t lone_packets() const noexcept { return queues_->lone_packets(); }

    /// What was read has been sent: others that share the interface may read on from the same queues, but for one from
    /// which segments are left.
    void settle() noexcept {
        std::uint32_t const kept = segments_.pending() ? std::uint32_t{1} << next_queue_ : 0;
        if ((claimed_ & ~kept) != 0) queues_->give_back(claimed_ & ~kept);
        claimed_ &= kept;
    }

    /// The same interface, to be read and written by another thread as well; to be gone before this one. The link is
    /// this one's concern. no_memory.
    result<tun> share() const noexcept {
        tun other;
        queues_->share(claimed_);
        other.queues_ = queues_;
        other.frame_ = frame_ ? new_frame() : nullptr;
        if (frame_ && !other.frame_) return status::no_memory;
        std::memcpy(other.name_, name_, sizeof name_);
        other.joins_tcp_ = joins_tcp_;
        other.joins_udp_ = joins_udp_;
        return other;
    }

    /// How many the host took. One that it refuses is dropped alone; with the interface down or gone, all are.
    /// Packets of one TCP connection or UDP flow may pass as one; they keep their order.
    std::size_t write(std::span<packet> packets) noexcept {
        std::size_t taken = 0;
        while (!packets.empty()) {
            auto const some = packets.first((std::min)(packets.size(), coalescer::max_packets));
            packets = packets.subspan(some.size());
            if (!(frame_ ? write_frames(some, taken) : write_packets(some, taken))) break;
        }
        return taken;
    }

    /// What the interface had when it was last asked, by `refresh_mtu`; 0: not known.
    std::size_t mtu() const noexcept { return mtu_; }

    /// Asks the interface, also for its name, for both may change. In another network namespace it cannot be asked;
    /// then what was known stays.
    void refresh_mtu() noexcept {
        ifreq request{};
        if (::ioctl((*queues_)[0], TUNGETIFF, &request) == 0) std::memcpy(name_, request.ifr_name, sizeof name_);
        request = request_for(name_);
        if (!ask_interface(SIOCGIFMTU, request) || request.ifr_mtu <= 0) return;
        mtu_ = static_cast<std::size_t>(request.ifr_mtu);
        if (joins_tcp_ && std::exchange(limited_for_mtu_, mtu_) != mtu_) limit_frames(index(), mtu_);
    }

    /// Sets the interface's MTU; on failure errno says why.
    status set_mtu(std::size_t bytes) noexcept {
        ifreq request = request_for(name_);
        request.ifr_mtu = static_cast<int>(bytes);
        if (!ask_interface(SIOCSIFMTU, request)) return status_of(errno);
        mtu_ = bytes;
        return status::ok;
    }

    /// `ok`: the interface is up; `device_down`; `gone`. Asks the device itself, and so also works from another network
    /// namespace, where netlink tells nothing. An interface that is up counts one malformed packet for it: a first
    /// byte of IPv4 and nothing more. (Linux 6.18 refuses a write of no bytes in either state alike.)
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
    tun(std::unique_ptr<tun_queues> queues, char const* name, std::unique_ptr<byte[]> frame) noexcept
        : own_queues_(std::move(queues)), queues_(own_queues_.get()), frame_(std::move(frame)) {
        std::memcpy(name_, name, sizeof name_);
    }

    static constexpr unsigned tun_f_uso4 = 0x20, tun_f_uso6 = 0x40; ///< Linux 6.2; older headers lack the names
    static constexpr std::size_t most_lone_bytes = 256;
    static constexpr std::size_t frame_bytes = virtio_header_bytes + max_frame_packet_bytes;

    /// Not zeroed: of memory that no big frame ever comes to, the kernel makes none.
    static std::unique_ptr<byte[]> new_frame() noexcept {
        return std::unique_ptr<byte[]>(new (std::nothrow) byte[frame_bytes]);
    }

    static bool has_virtio_headers(int fd) noexcept {
        unsigned features = 0;
        return ::ioctl(fd, TUNGETFEATURES, &features) == 0 && (features & IFF_VNET_HDR) != 0;
    }

    /// Has the kernel leave checksums and the cutting of TCP and UDP to us, or, without virtio headers, nothing: an
    /// interface that was made to last may remember what an earlier user wanted. False: the framing cannot be had.
    bool set_framing(offloads const& wanted) noexcept {
        auto const offload = [&](unsigned flags) { return ::ioctl((*queues_)[0], TUNSETOFFLOAD, flags) == 0; };
        if (!frame_) {
            (void)offload(0);
            return true;
        }
        int header_bytes = virtio_header_bytes, bytes = header_bytes, yes = 1;
        bool const is_set = ::ioctl((*queues_)[0], TUNSETVNETHDRSZ, &header_bytes) == 0;
        if (!is_set && ::ioctl((*queues_)[0], TUNGETVNETHDRSZ, &bytes) == 0 && bytes != header_bytes) return false;
        // Kernels that do not know it have the machine's order.
        bool const little = ::ioctl((*queues_)[0], TUNSETVNETLE, &yes) == 0;
        if (!little && std::endian::native != std::endian::little) return false;
        unsigned const tcp = TUN_F_TSO4 | TUN_F_TSO6, udp = tun_f_uso4 | tun_f_uso6;
        // Of UDP it is also a promise that it will be taken. Without any of them packets come one by one.
        joins_udp_ = wanted.uso && offload(TUN_F_CSUM | udp);
        unsigned const also = TUN_F_CSUM | (joins_udp_ ? udp : 0);
        joins_tcp_ = wanted.tso;
        (void)((wanted.tso && (offload(also | tcp | TUN_F_TSO_ECN) || offload(also | tcp))) || offload(also) ||
               offload(0));
        return true;
    }

    static unique_fd open_device() noexcept {
        return unique_fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    }

    /// As many as there can be, of the interface that `request` made; those of an interface have one framing.
    void add_queues(ifreq request) noexcept {
        while (queues_->size() < tun_queues::most) {
            unique_fd fd = open_device();
            if (!fd || ::ioctl(fd.get(), TUNSETIFF, &request) != 0 || !queues_->add(std::move(fd))) return;
        }
    }

    /// Reads packets to `packets[count]` and on, some `share` of them; counts them. 0, or the errno when there are no
    /// more. A frame's segments stay together.
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
                ++count;
            } else if (segments_.begin(read)) {
                queues_->came_from(number, read.subspan(virtio_header_bytes));
                while (segments_.pending() && count < packets.size()) segments_.next(packets[count++]);
            } else {
                p.length = 0; // of a malformed frame no packet is left
                ++count;
            }
        }
        return 0;
    }

    /// 0 or the errno. Pieces of packets of one flow, of which `packet` is one.
    int write_pieces(std::span<iovec const> pieces, bytes_view packet) noexcept {
        int const fd = (*queues_)[queues_->queue_for(packet)];
        auto const write = [&] { return ::writev(fd, pieces.data(), static_cast<int>(pieces.size())); };
        return without_interruption(write) < 0 ? errno : 0;
    }

    static bool takes_nothing(int error) noexcept { return error == EIO || error == EBADFD || error == EBADF; }

    /// False: the host takes nothing at present.
    bool write_packets(std::span<packet const> packets, std::size_t& taken) noexcept {
        for (packet const& p : packets) {
            iovec const piece{p.buffer + p.offset, p.length};
            int const error = write_pieces({&piece, 1}, p.view());
            if (takes_nothing(error)) return false;
            taken += error == 0;
        }
        return true;
    }

    bool write_frames(std::span<packet const> packets, std::size_t& taken) noexcept {
        coalescer plan(packets, joins_tcp_, joins_udp_);
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

    static ifreq request_for(std::string_view name) noexcept {
        ifreq request{};
        std::memcpy(request.ifr_name, name.data(), (std::min<std::size_t>)(name.size(), IFNAMSIZ - 1));
        return request;
    }

    static bool ask_interface(unsigned long what, ifreq& request) noexcept {
        // Any socket will do; this family exists everywhere.
        unique_fd any(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        return any && ::ioctl(any.get(), what, &request) == 0;
    }

    static status device_missing(int error, error_text& why) noexcept {
        switch (error) {
        case EACCES:
        case EPERM:
            why.set("no permission to open /dev/net/tun: run as root, or with CAP_NET_ADMIN");
            return status::no_permission;
        case ENOENT:
        case ENXIO:
        case ENODEV:
            why.set("there is no /dev/net/tun: load the driver with `modprobe tun`, or give the container that device");
            return status::not_supported;
        default: why.set("cannot open /dev/net/tun: ", std::strerror(error)); return status_of(error);
        }
    }

    static status name_refused(char const* name, int error, bool existed, error_text& why) noexcept {
        if (error == EPERM || error == EACCES) {
            why.set("no permission to create the interface `", name, "`: run as root, or with CAP_NET_ADMIN");
            return status::no_permission;
        }
        if (error == EBUSY || existed) { // EINVAL: an interface of another kind
            why.set("an interface `", name,
                    "` exists already: choose another name, or delete it with `ip link delete dev ", name, "`");
            return status::address_in_use;
        }
        why.set("cannot create the interface `", name, "`: ", std::strerror(error));
        return status_of(error);
    }

    std::unique_ptr<tun_queues> own_queues_{}; ///< none: those of another
    tun_queues* queues_ = nullptr;
    std::uint32_t claimed_ = 0;       ///< bits of those that nobody else may read now
    bool several_ = false;            ///< whether there was more than one of them
    std::size_t next_queue_ = 0;      ///< whose turn was last
    std::unique_ptr<byte[]> frame_{}; ///< what was read last; none: a packet is a frame
    segmenter segments_{};            ///< of `frame_`, those that were not given out yet
    char name_[IFNAMSIZ] = {};
    bool joins_tcp_ = false;
    bool joins_udp_ = false;
    std::size_t mtu_ = 0;
    std::size_t limited_for_mtu_ = 0; ///< the length of frames
};

static_assert(tun_device<tun>);

} // namespace wg::inline WG_ABI::os

#endif
