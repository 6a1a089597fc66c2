// SPDX-License-Identifier: BSL-1.0
// Creates a TUN interface or takes over one that exists, and sets the framing of its packets (Linux,
// Documentation/networking/tuntap.rst). Folder: os/linux/tun. One thread at a time.
#ifndef WG_OS_LINUX_TUN_INTERFACE_HPP
#define WG_OS_LINUX_TUN_INTERFACE_HPP

#include "../../error_text.hpp"
#include "../../posix/net_if.hpp"
#include "../netlink/link.hpp"
#include "../../offloads.hpp"
#include "../../tun/virtio.hpp"

#include <algorithm>
#include <bit>
#include <linux/if_tun.h>
#include <string_view>
#include <sys/resource.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Whether both an interface of Linux and a file can have this name: 1 to 15 characters, without white space, control
/// characters, slash, colon and percent sign (the kernel replaces "%d" by a number), and neither "." nor "..".
constexpr bool is_interface_name(std::string_view name) noexcept {
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
    for (char const c : name)
        if (c <= ' ' || c == '/' || c == ':' || c == '%' || c == '\x7f') return false;
    return true;
}

/// The system calls that an old kernel lacks or that fail without rights. A test replaces them.
struct tun_calls : link_calls {
    /// TUNGETFEATURES: the flags that the driver has.
    static int features(int fd, unsigned& flags) noexcept { return ::ioctl(fd, TUNGETFEATURES, &flags); }
    /// TUNSETIFF: creates an interface or attaches to one.
    static int set_interface(int fd, ifreq& request) noexcept { return ::ioctl(fd, TUNSETIFF, &request); }
    /// How many descriptors this process may have (`ulimit -n`).
    static std::size_t descriptor_limit() noexcept {
        rlimit limit{};
        return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? converted<std::size_t>(limit.rlim_cur) : SIZE_MAX;
    }
};

namespace tun_detail {

inline ifreq request_for(std::string_view name) noexcept {
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), (std::min<std::size_t>)(name.size(), IFNAMSIZ - 1));
    return request;
}

inline unique_fd open_device() noexcept { return unique_fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)); }

inline status device_missing(int error, error_text& why) noexcept {
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

inline status name_refused(char const* name, int error, error_text& why) noexcept {
    if (error == EPERM || error == EACCES) {
        why.set("no permission to create the interface `", name, "`: run as root, or with CAP_NET_ADMIN");
        return status::no_permission;
    }
    // A driver without IFF_TUN_EXCL answers so when the interface is of another kind.
    if (error == EINVAL && ::if_nametoindex(name) != 0) {
        why.set("an interface `", name, "` exists already: choose another name, or delete it with `ip link delete dev ",
                name, "`");
        return status::address_in_use;
    }
    why.set("cannot create the interface `", name, "`: ", std::strerror(error));
    return status_of(error);
}

/// Attaches `fd` to the interface of `request`, which exists already.
template <class Calls>
result<unique_fd> attach_to_existing(unique_fd fd, ifreq& request, int frames, error_text& why) noexcept {
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
    // The driver refuses a second user of an interface with one queue. An interface that was made with IFF_MULTI_QUEUE
    // can only be attached to with that flag.
    int error = EINVAL;
    for (int const flags : {frames, 0, frames | IFF_MULTI_QUEUE, int{IFF_MULTI_QUEUE}}) {
        bool const many = (flags & IFF_MULTI_QUEUE) != 0;
        if (error != EINVAL || (many && !found.several_queues)) continue;
        request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
        error = Calls::set_interface(fd.get(), request) == 0 ? 0 : errno;
        if (error != 0 || !many) continue;
        // Several queues can have several users, and the driver does not report other users. If two processes
        // attach at once, both see two queues here, and both give up.
        if (ask_link(netlink.get(), own_namespace, name, found) != status::ok || found.queues_in_use > 1)
            return taken(" and is in use");
    }
    if (error == 0) return fd;
    if (error == EBUSY) return taken(" and is in use");
    if (error != EINVAL) return name_refused(name, error, why);
    why.set("the interface `", name, "` cannot be taken over, perhaps because of its multi_queue flag: make it anew ",
            "with `ip tuntap del dev ", name, " mode tun multi_queue; ip tuntap add dev ", name, " mode tun`");
    return status::address_in_use;
}

/// Creates the interface of `request`, or attaches to it if it exists, and stores the flags that it has in `request`.
template <class Calls>
result<unique_fd> open_first_queue(ifreq& request, bool framed, bool many, error_text& why) noexcept {
    unique_fd fd = open_device();
    if (!fd) return device_missing(errno, why);
    // Where the driver does not report its features, all of them are tried first, then fewer.
    unsigned known = 0;
    bool const told = Calls::features(fd.get(), known) == 0;
    int const frames = framed && (!told || (known & IFF_VNET_HDR) != 0) ? IFF_VNET_HDR : 0;
    int const queues = many && (!told || (known & IFF_MULTI_QUEUE) != 0) ? IFF_MULTI_QUEUE : 0;
    auto const set = [&](int flags) noexcept {
        request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
        return Calls::set_interface(fd.get(), request) == 0 ? 0 : errno;
    };
    // An interface that another process creates at the same time must not be joined as one more of its queues. So
    // IFF_MULTI_QUEUE is only used together with IFF_TUN_EXCL, which is older than IFF_MULTI_QUEUE in every driver.
    int const tries[] = {int{IFF_TUN_EXCL} | queues | frames,
                         int{IFF_TUN_EXCL} | frames,
                         int{IFF_TUN_EXCL} | queues,
                         IFF_TUN_EXCL,
                         frames,
                         0};
    int error = EINVAL;
    for (int const flags : tries)
        if (error == EINVAL) error = set(flags);
    if (error == EBUSY) return attach_to_existing<Calls>(std::move(fd), request, frames, why);
    if (error == 0) return fd;
    return name_refused(request.ifr_name, error, why);
}

/// Which frames the driver takes that hold several packets.
struct framing {
    bool tcp = false;
    bool udp = false;
};

/// Has the driver leave checksums and the cutting of TCP and UDP to this process. An interface that lasts may remember
/// what an earlier user chose, so without virtio headers all of it is switched off.
/// Returns: false if the driver's virtio headers have another size or byte order; never without virtio headers.
inline bool set_framing(int fd, bool has_frames, offloads const& wanted, framing& out) noexcept {
    constexpr unsigned tun_f_uso4 = 0x20, tun_f_uso6 = 0x40; // Linux 6.2; older headers lack the names
    auto const offload = [&](unsigned flags) { return ::ioctl(fd, TUNSETOFFLOAD, flags) == 0; };
    out = {};
    if (!has_frames) {
        (void)offload(0);
        return true;
    }
    int header_bytes = virtio_header_bytes, bytes = header_bytes, yes = 1;
    bool const is_set = ::ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) == 0;
    if (!is_set && ::ioctl(fd, TUNGETVNETHDRSZ, &bytes) == 0 && bytes != header_bytes) return false;
    // Kernels without TUNSETVNETLE use the machine's byte order.
    bool const little = ::ioctl(fd, TUNSETVNETLE, &yes) == 0;
    if (!little && std::endian::native != std::endian::little) return false;
    unsigned const tcp = TUN_F_TSO4 | TUN_F_TSO6, udp = tun_f_uso4 | tun_f_uso6;
    // A driver that takes the flags for UDP also takes frames of UDP. Without any flag packets come one by one.
    out.udp = wanted.uso && offload(TUN_F_CSUM | udp);
    out.tcp = wanted.tso;
    unsigned const also = TUN_F_CSUM | (out.udp ? udp : 0);
    (void)((wanted.tso && (offload(also | tcp | TUN_F_TSO_ECN) || offload(also | tcp))) || offload(also) || offload(0));
    return true;
}

} // namespace tun_detail

}}} // namespace wg::WG_ABI::os

#endif
