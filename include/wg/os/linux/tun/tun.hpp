// SPDX-License-Identifier: BSL-1.0
// A TUN interface: the host's end of the tunnel (Linux, Documentation/networking/tuntap.rst). Layer 7 (Linux); one
// thread at a time.
#ifndef WG_OS_LINUX_TUN_TUN_HPP
#define WG_OS_LINUX_TUN_TUN_HPP

#include "../../../base/limits.hpp"
#include "../../../policy.hpp"
#include "../error_text.hpp"
#include "../net_if.hpp"
#include "../netlink/link.hpp"
#include "../offloads.hpp"
#include "coalescer.hpp"
#include "segmenter.hpp"
#include "tun_queues.hpp"

#include <algorithm>
#include <bit>
#include <linux/if_tun.h>
#include <memory>
#include <new>
#include <string_view>
#include <sys/resource.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Whether Linux takes `name` for an interface, and a file may be called so too: 1-15 characters, no white space,
/// control character, `/`, `:` or `%` (from which the kernel would make another name), and not `.` or `..`.
constexpr bool is_interface_name(std::string_view name) noexcept {
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
    for (char const c : name)
        if (c <= ' ' || c == '/' || c == ':' || c == '%' || c == '\x7f') return false;
    return true;
}

/// The system calls that an old kernel lacks or that missing rights refuse; a test puts its own in their place.
struct tun_calls : link_calls {
    static int features(int fd, unsigned& flags) noexcept { return ::ioctl(fd, TUNGETFEATURES, &flags); }
    static int set_interface(int fd, ifreq& request) noexcept { return ::ioctl(fd, TUNSETIFF, &request); }
    /// How many descriptors this process may have (`ulimit -n`).
    static std::size_t descriptor_limit() noexcept {
        rlimit limit{};
        return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? converted<std::size_t>(limit.rlim_cur) : SIZE_MAX;
    }
};

/// Models `tun_device`. Where the kernel can, frames begin with a virtio header: TCP and UDP then pass in pieces of up
/// to 64 KiB, which are cut and joined here. Else a packet is a frame. Either way only packets are seen from outside.
template <class Calls = tun_calls> class basic_tun {
public:
    static constexpr std::size_t headroom = 0; ///< a virtio header is written from elsewhere
    /// Frames that each queue of a new interface holds, as many as with Linux's own WireGuard. With 16 queues and full
    /// packets of an MTU of 1420 that is 40 MB of the kernel's memory at most.
    static constexpr std::size_t queue_length = 1000;
    /// Descriptors that a process keeps for other things than queues: sockets, connections, timers, workers.
    static constexpr std::size_t other_descriptors = 40;

    /// No interface; `open` and `adopt` make one.
    basic_tun() noexcept = default;

    /// Creates the interface `name`, or takes over one that was made to last and that no other process uses. A new one
    /// gets `mtu_bytes` and `queue_length`; it goes when the object goes. It has several queues, where the driver knows
    /// them and the kernel has memory and descriptors for them. A taken-over one has what it was made with.
    /// `invalid`: no name for an interface; `address_in_use`: taken; `no_permission`; `not_supported`: no TUN driver.
    static result<basic_tun> open(std::string_view name, error_text& why, std::size_t mtu_bytes = default_mtu_bytes,
                                  offloads const& wanted = {}) noexcept {
        if (!is_interface_name(name)) {
            why.set("`", name.substr(0, 40),
                    "` cannot name an interface: it takes 1 to 15 characters, without spaces, `/`, `:` and `%`");
            return status::invalid;
        }
        basic_tun made;
        bool lasted = false;
        for (bool framed = wanted.frames;; framed = false) {
            ifreq request = request_for(name);
            std::unique_ptr<byte[]> frame = framed ? new_frame() : nullptr;
            result<unique_fd> fd = open_first_queue(request, frame != nullptr, wanted.queues, why);
            if (!fd) return fd.why();
            int const flags = static_cast<unsigned short>(request.ifr_flags);
            if ((flags & IFF_VNET_HDR) == 0) frame.reset();
            ifreq now = request;
            lasted = ::ioctl((*fd).get(), TUNGETIFF, &now) == 0 && (now.ifr_flags & IFF_PERSIST) != 0;
            std::unique_ptr<tun_queues> queues(new (std::nothrow) tun_queues);
            if (!queues || !queues->add(std::move(*fd))) {
                why.set("`", name, "`: no memory or no descriptors are left (ulimit -n)");
                return status::no_memory;
            }
            made = basic_tun(std::move(queues), request.ifr_name, std::move(frame));
            if (made.set_framing(wanted)) { // which never fails without virtio headers
                if (wanted.queues && (flags & IFF_MULTI_QUEUE) != 0) made.add_queues(request);
                break;
            }
            made = basic_tun();
        }
        made.refresh_mtu();
        if (lasted) return made;
        if (made.set_mtu(mtu_bytes) != status::ok) {
            why.set("cannot set the MTU of `", name, "` to ", mtu_bytes, ": ", std::strerror(errno));
            return status_of(errno);
        }
        (void)made.link_.change(SIOCSIFTXQLEN, queue_length); // the driver's own is half as long
        return made;
    }

    /// Takes over an open TUN descriptor, which was made by someone with more rights (WG_TUN_FD). It has virtio headers
    /// or not as its maker chose.
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
        if (((flags & IFF_VNET_HDR) != 0 && !frame) || !queues || !queues->add(std::move(fd))) {
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

    /// Polls readable when a packet waits, and also when the interface is gone; but not for packets that a `read`
    /// which filled its span has left behind.
    int fd() const noexcept { return queues_ != nullptr ? queues_->pollable() : -1; }
    char const* name() const noexcept { return name_; }
    /// Whether frames begin with a virtio header.
    bool has_frames() const noexcept { return frame_ != nullptr; }
    std::size_t queue_count() const noexcept { return queues_->size(); }
    /// In which network namespace the interface was when it was last asked, and its index there.
    link_place const& place() const noexcept { return link_.place(); }

    /// Reads until the span is full or nothing is there, from each queue its share. What did not fit comes first in the
    /// next call, so that one which filled its span has to be followed by another. A packet that is too long for its
    /// room is cut, and then is shorter than its header says. `gone`: the interface was deleted.
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
    result<basic_tun> share() const noexcept {
        basic_tun other;
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

    /// What the interface had when it was last asked, by `refresh_mtu`, or the length of a longer packet that was read
    /// since then; 0: not known.
    std::size_t mtu() const noexcept { return (std::max)(mtu_, longest_cut()); }

    /// The length of the longest packet since the last `refresh_mtu` that its room was too short for, in bytes; 0:
    /// there was none. The same for all that share the interface. It shows that the MTU is greater than was known.
    std::size_t longest_cut() const noexcept { return queues_->longest_cut(); }

    /// Asks for the interface's MTU, name and place, for all may change. Where the kernel does not tell of another
    /// network namespace, what was known stays.
    void refresh_mtu() noexcept {
        if (link_.refresh((*queues_)[0], name_) == status::ok) {
            mtu_ = link_.mtu();
            queues_->forget_cuts();
        }
        if (link_.name()[0] != 0) std::memcpy(name_, link_.name(), sizeof name_);
    }

    /// Sets the interface's MTU; on failure errno says why. `not_supported`: it is in another network namespace.
    status set_mtu(std::size_t bytes) noexcept {
        status const done = link_.change(SIOCSIFMTU, bytes);
        if (done == status::ok) mtu_ = bytes;
        return done;
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
    basic_tun(std::unique_ptr<tun_queues> queues, char const* name, std::unique_ptr<byte[]> frame) noexcept
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

    /// Makes the interface that `request` names, or attaches to it, and leaves the flags that it has in `request`.
    static result<unique_fd> open_first_queue(ifreq& request, bool framed, bool many, error_text& why) noexcept {
        unique_fd fd = open_device();
        if (!fd) return device_missing(errno, why);
        // A driver that does not tell what it knows is asked for all, then for less.
        unsigned known = 0;
        bool const told = Calls::features(fd.get(), known) == 0;
        int const frames = framed && (!told || (known & IFF_VNET_HDR) != 0) ? IFF_VNET_HDR : 0;
        int const queues = many && (!told || (known & IFF_MULTI_QUEUE) != 0) ? IFF_MULTI_QUEUE : 0;
        auto const set = [&](int flags) noexcept {
            request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
            return Calls::set_interface(fd.get(), request) == 0 ? 0 : errno;
        };
        // An interface that another process makes at the same time must not be joined as one more of its queues. So
        // several queues are asked for only together with IFF_TUN_EXCL, which every driver has that has queues.
        int const tries[] = {int{IFF_TUN_EXCL} | queues | frames,
                             int{IFF_TUN_EXCL} | frames,
                             int{IFF_TUN_EXCL} | queues,
                             IFF_TUN_EXCL,
                             frames,
                             0};
        int error = EINVAL;
        for (int const flags : tries)
            if (error == EINVAL) error = set(flags);
        if (error == EBUSY) return attach(std::move(fd), request, frames, why);
        if (error == 0) return fd;
        return name_refused(request.ifr_name, error, why);
    }

    /// Attaches to an interface that exists.
    static result<unique_fd> attach(unique_fd fd, ifreq& request, int frames, error_text& why) noexcept {
        char const* const name = request.ifr_name;
        unique_fd const netlink = netlink_detail::open_socket();
        link_facts found;
        bool const told = netlink && ask_link(netlink.get(), own_namespace, name, found) == status::ok;
        auto const taken = [&](auto const&... what) noexcept {
            why.set("an interface `", name, "` exists already", what...,
                    ": choose another name, or delete it with `ip link delete dev ", name, "`");
            return status::address_in_use;
        };
        if (told && std::strcmp(found.kind, "tun") != 0) return taken(" and is no TUN interface");
        if (found.is_tap) return taken(" and is a TAP interface");
        if (found.described && (!found.lasts || found.queues_in_use != 0)) return taken(" and is in use");
        // The driver refuses an interface with one queue to a second user, and an interface that was made with
        // IFF_MULTI_QUEUE to a user who does not ask for that.
        int error = EINVAL;
        for (int const flags : {frames, 0, frames | IFF_MULTI_QUEUE, int{IFF_MULTI_QUEUE}}) {
            bool const many = (flags & IFF_MULTI_QUEUE) != 0;
            if (error != EINVAL || (many && !found.several_queues)) continue;
            request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
            error = Calls::set_interface(fd.get(), request) == 0 ? 0 : errno;
            if (error != 0 || !many) continue;
            // Several queues may have several users, who are not told of each other. Two that attach at once both see
            // two queues here, and both give up.
            if (ask_link(netlink.get(), own_namespace, name, found) != status::ok || found.queues_in_use > 1)
                return taken(" and is in use");
        }
        if (error == 0) return fd;
        if (error == EBUSY) return taken(" and is in use");
        if (error != EINVAL) return name_refused(name, error, why);
        why.set("the interface `", name, "` cannot be taken over, perhaps for its multi_queue flag: make it anew with ",
                "`ip tuntap del dev ", name, " mode tun multi_queue; ip tuntap add dev ", name, " mode tun`");
        return status::address_in_use;
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

    /// As many as there can be, of the interface that `request` made; those of an interface have one framing. Some
    /// descriptors are left for the rest of the process.
    void add_queues(ifreq request) noexcept {
        request.ifr_flags = static_cast<short>(request.ifr_flags & ~int{IFF_TUN_EXCL});
        std::size_t const limit = Calls::descriptor_limit();
        while (queues_->size() < tun_queues::most) {
            unique_fd fd = open_device();
            if (!fd || static_cast<std::size_t>(fd.get()) + other_descriptors > limit ||
                Calls::set_interface(fd.get(), request) != 0 || !queues_->add(std::move(fd)))
                return;
        }
    }

    /// Notes a packet that its room was too short for: it fills the room and is shorter than its header says.
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
                note_length(p);
                ++count;
            } else if (segments_.begin(read)) {
                queues_->came_from(number, read.subspan(virtio_header_bytes));
                while (segments_.pending() && count < packets.size()) next_segment(packets[count++]);
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

    static status name_refused(char const* name, int error, error_text& why) noexcept {
        if (error == EPERM || error == EACCES) {
            why.set("no permission to create the interface `", name, "`: run as root, or with CAP_NET_ADMIN");
            return status::no_permission;
        }
        if (error == EINVAL && ::if_nametoindex(name) != 0) { // of another kind; the driver does not know IFF_TUN_EXCL
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
    basic_link<Calls> link_{};
};

using tun = basic_tun<>;

static_assert(tun_device<tun>);

}}} // namespace wg::WG_ABI::os

#endif
