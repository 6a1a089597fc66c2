// SPDX-License-Identifier: BSL-1.0
// Opens the TUN interface of FreeBSD, OpenBSD and NetBSD, `tunN`: a file /dev/tunN (tun(4)). Folder: os/bsd. One thread
// at a time.
#ifndef WG_OS_BSD_TUN_OPENER_HPP
#define WG_OS_BSD_TUN_OPENER_HPP

#include "../posix/tun/tun.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace bsd {

inline constexpr long any_tun = -1;       ///< of `tun_number`: the first free number
inline constexpr long no_tun_number = -2; ///< of `tun_number`: no name of the driver

/// The number in a name `tunN`: 0 to 32766. Returns: `any_tun` for `tun`; `no_tun_number` for all other texts.
constexpr long tun_number(std::string_view name) noexcept {
    if (!name.starts_with("tun")) return no_tun_number;
    name.remove_prefix(3);
    if (name.empty()) return any_tun;
    if (name.size() > 5 || (name.size() > 1 && name[0] == '0')) return no_tun_number;
    long number = 0;
    for (char const c : name) {
        if (c < '0' || c > '9') return no_tun_number;
        number = number * 10 + (c - '0');
    }
    return number <= 0x7ffe ? number : no_tun_number;
}

/// Whether an interface can be renamed to `name`, and a file can have the name: 1 to 15 characters, without white
/// space, control characters and slash, and neither "." nor "..".
constexpr bool can_be_renamed_to(std::string_view name) noexcept {
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
    for (char const c : name)
        if (c <= ' ' || c == '/' || c == '\x7f') return false;
    return true;
}

/// Opens interfaces. `Calls` makes the system calls; `tun_calls` documents them.
template <class Calls> struct tun_opener {
    static constexpr long most_tried = 256; ///< numbers that are tried for the name `tun`

    /// Creates the interface `name`: `tunN`, or `tun` for the first free number. Where an interface can be renamed, as
    /// on FreeBSD, also any other name.
    static status open(std::string_view name, posix::opened_tun& out, error_text& why) noexcept {
        long const number = tun_number(name);
        if (number == no_tun_number && !(Calls::can_rename && can_be_renamed_to(name))) {
            why.set("`", name.substr(0, 40), "` cannot name an interface: use `tun`, or `tun` and a number",
                    Calls::can_rename ? ", or another name of 1 to 15 characters without spaces and `/`" : "");
            return status::invalid;
        }
        if (number != any_tun && Calls::index(posix::name_of(name)) != 0) {
            why.set("an interface `", name, "` exists already: choose another name, or delete it with `ifconfig ", name,
                    " destroy`");
            return status::address_in_use;
        }
        if (status const s = open_device(number, out, why); s != status::ok) return s;
        out.is_new = true;
        int error = make_private(out.fd.get()) ? Calls::device_name(out.fd.get(), out.name) : errno;
        if (error == 0) error = Calls::prepare(out.fd.get(), out.name);
        if (error == 0 && number == no_tun_number) {
            posix::interface_name const wanted = posix::name_of(name);
            error = Calls::rename(out.name, wanted);
            if (error == 0) out.name = wanted;
        }
        out.index = Calls::index(out.name);
        if (error == 0) return status::ok;
        why.set("cannot set up the interface `", out.name.data(), "`: ", std::strerror(error));
        close(out);
        return error == EEXIST ? status::address_in_use : status_of(error);
    }

    /// Takes over a descriptor of an interface. Returns: `invalid` if it is none; then it stays the caller's.
    static status adopt(int number, posix::opened_tun& out, error_text& why) noexcept {
        int error = Calls::device_name(number, out.name);
        if (error == 0) error = Calls::prepare(number, out.name);
        if (error == EBUSY) error = 0; // FreeBSD changes the mode of no interface that is up
        if (error != 0) {
            why.set("descriptor ", number, " is no TUN interface: ", std::strerror(error));
            return status::invalid;
        }
        out.fd.reset(number);
        return status::ok;
    }

    /// Closes the descriptor, and deletes an interface that `open` has created, whatever its name is now.
    static void close(posix::opened_tun& opened) noexcept {
        opened.fd.reset();
        posix::interface_name now = opened.name;
        if (!opened.is_new || (opened.index != 0 && !Calls::name(opened.index, now))) return;
        Calls::destroy(now);
    }

private:
    /// Opens the device of a number, or the first free one.
    static status open_device(long number, posix::opened_tun& out, error_text& why) noexcept {
        error_text path;
        int error = 0;
        long const first = number >= 0 ? number : 0, end = number >= 0 ? number + 1 : most_tried;
        if (number < 0 && Calls::has_clone_device) { // its first user gets a free number
            path.set("/dev/tun");
            out.fd.reset(Calls::open_device(path.c_str()));
            if (!out.fd) error = errno;
        } else {
            for (long n = first; n < end && !out.fd; ++n) {
                path.set("/dev/tun", n);
                // An idle interface of this name belongs to the administrator, and our end would delete it.
                error = EBUSY;
                if (number < 0 && Calls::index(posix::name_of(path.view().substr(5))) != 0) continue;
                out.fd.reset(Calls::open_device(path.c_str()));
                if (out.fd) break;
                error = errno;
                if (error != EBUSY) break;
            }
        }
        if (out.fd) return status::ok;
        switch (error) {
        case EACCES:
        case EPERM: why.set("no permission to open ", path.view(), ": run as root"); return status::no_permission;
        case EBUSY:
            why.set(path.view(), " is in use: choose another interface, or `tun` for a free one");
            return status::address_in_use;
        case ENOENT:
        case ENXIO:
        case ENODEV: why.set("there is no ", path.view(), ": ", Calls::missing_device); return status::not_supported;
        default: why.set("cannot open ", path.view(), ": ", std::strerror(error)); return status_of(error);
        }
    }
};

}}}} // namespace wg::WG_ABI::os::bsd

#endif
