// SPDX-License-Identifier: BSL-1.0
// Opens the TUN interface of macOS, `utunN`: a socket of the kernel's control "com.apple.net.utun_control" (XNU,
// bsd/net/if_utun.h). Folder: os/darwin. One thread at a time.
#ifndef WG_OS_DARWIN_UTUN_HPP
#define WG_OS_DARWIN_UTUN_HPP

#include "../posix/tun/tun.hpp"

#include <cstdlib>

namespace wg { inline namespace WG_ABI { namespace os { namespace darwin {

/// The number in a name `utunN`: 0 to 2^31 - 2. Returns: -1 for `utun`, which lets the kernel choose; -2 for all other
/// texts.
constexpr long utun_number(std::string_view name) noexcept {
    if (!name.starts_with("utun")) return -2;
    name.remove_prefix(4);
    if (name.empty()) return -1;
    if (name.size() > 10 || (name.size() > 1 && name[0] == '0')) return -2;
    std::int64_t number = 0;
    for (char const c : name) {
        if (c < '0' || c > '9') return -2;
        number = number * 10 + (c - '0');
    }
    return number < 0x7fffffff ? static_cast<long>(number) : -2;
}

/// Opens interfaces. `Calls` makes the system calls; `utun_calls` documents them.
template <class Calls> struct utun_opener {
    /// Creates the interface `name`: `utunN`, or `utun` for the first free number. If the environment variable
    /// WG_TUN_NAME_FILE is set, the interface's name is written to the file of that name, as wg-quick(8) expects.
    static status open(std::string_view name, posix::opened_tun& out, error_text& why) noexcept {
        long const number = utun_number(name);
        if (number < -1) {
            why.set("`", name.substr(0, 40), "` cannot name an interface of macOS: use `utun` or `utun` and a number");
            return status::invalid;
        }
        unique_fd fd(Calls::open_control());
        if (!fd) return refused("open a socket of the kernel's control of utun", errno, why);
        // The unit is the number plus one; 0 means any.
        if (Calls::connect(fd.get(), static_cast<std::uint32_t>(number + 1)) != 0) {
            int const error = errno;
            if (error != EBUSY) return refused("create an interface utun", error, why);
            why.set("an interface `", name, "` exists already: choose another name, or `utun` for a free one");
            return status::address_in_use;
        }
        if (!make_private(fd.get()) || Calls::name(fd.get(), out.name) != 0)
            return refused("find out the name of the interface", errno, why);
        if (char const* const path = Calls::name_file(); path != nullptr && *path != '\0')
            if (status const s = write_name(path, out.name, why); s != status::ok) return s;
        out.fd = std::move(fd);
        out.is_new = true;
        return status::ok;
    }

    /// Takes over a descriptor of an interface. Returns: `invalid` if it is none; then it stays the caller's.
    static status adopt(int number, posix::opened_tun& out, error_text& why) noexcept {
        if (Calls::name(number, out.name) != 0) {
            why.set("descriptor ", number, " is no utun interface: ", std::strerror(errno));
            return status::invalid;
        }
        out.fd.reset(number);
        return status::ok;
    }

    /// Closes the descriptor; the kernel then deletes the interface.
    static void close(posix::opened_tun& opened) noexcept { opened.fd.reset(); }

private:
    static status refused(char const* doing, int error, error_text& why) noexcept {
        status const s = status_of(error);
        why.set("cannot ", doing, ": ", std::strerror(error), s == status::no_permission ? " (run as root)" : "");
        return s;
    }

    static status write_name(char const* path, posix::interface_name const& name, error_text& why) noexcept {
        error_text line;
        line.set(name.data(), "\n");
        if (Calls::write_file(path, line.view()) == 0) return status::ok;
        int const error = errno;
        why.set("cannot write the interface's name to WG_TUN_NAME_FILE, `", path, "`: ", std::strerror(error));
        return status_of(error);
    }
};

}}}} // namespace wg::WG_ABI::os::darwin

#endif
