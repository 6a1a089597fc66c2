// SPDX-License-Identifier: BSL-1.0
// The options of wgd: a table that is read from the environment and then from the command line. To add an option, add a
// member to `options` and a row to `table`. At start-up, before other threads.
#ifndef WGD_OPTIONS_HPP
#define WGD_OPTIONS_HPP

#include <wg/wg.hpp>

#include <cstdlib>
#include <span>
#include <string_view>

namespace wgd_options {

using namespace std::string_view_literals;

enum class log_level { silent, error, verbose };

struct options {
    char const* interface_name = nullptr;
    bool foreground = wg::os::system_traits::starts_in_foreground;
    std::size_t workers = wg::os::threads::processors();
    std::size_t memory_mib = 0; ///< 0: no limit
    bool busy_poll = true;
    bool congestion_drop = true;
    log_level level = log_level::error;
    bool log_asked = false; ///< LOG_LEVEL is set, so a daemon in the background keeps stderr open
    wg::os::offloads offloads{};
    wg::endpoint bind_address{};             ///< without a family: any; its port is not used
    char const* bind_interface = nullptr;    ///< null: any
    std::uint32_t ratchet_s = 0;             ///< the length of an epoch; 0: no ratchet
    char const* ratchet_directory = nullptr; ///< null: ratchets begin again after a restart
    char const* socket_directory = wg::os::system_traits::socket_directory;
    int tun_fd = -1;               ///< -1: wgd creates the interface
    int uapi_fd = -1;              ///< -1: wgd creates the configuration socket
    char const* service = nullptr; ///< the command for the service manager; null: none
};

/// An option is given on the command line (`--name`), in the environment (`variable`), or in either; null: not there.
/// An option without `value` is a switch: `--name` or `--no-name` on the command line, 1 or 0 in the environment. An
/// option with `exists` false is unknown on this system.
struct option {
    char const* name;
    char const* variable;
    char const* value; ///< the word for the value in the help
    char const* takes; ///< completes the error message "NAME takes ..., not VALUE"
    char const* help;
    bool (*parse)(options&, std::string_view text) noexcept; ///< false: `text` is no value of this option
    char shorthand = '\0';                                   ///< the letter of `-x`
    bool exists = true;
};

inline bool parse_number(std::size_t& to, std::size_t most, std::string_view text) noexcept {
    auto const number = wg::text::parse_decimal<std::uint32_t>(text);
    if (!number || *number < 1 || *number > most) return false;
    to = *number;
    return true;
}

inline bool parse_switch(bool& to, std::string_view text) noexcept {
    if (text != "0" && text != "1") return false;
    to = text == "1";
    return true;
}

/// The number of an open descriptor. It cannot be 0, 1 or 2, because a daemon replaces standard input, output and
/// error.
inline bool parse_descriptor(int& to, std::string_view text) noexcept {
    auto const number = wg::text::parse_decimal<std::uint16_t>(text);
    if (!number || *number <= wg::os::standard_error || !wg::os::is_open_descriptor(*number)) return false;
    to = *number;
    return true;
}

/// An unknown level means `error`, as in wireguard-go. So it is no mistake, because other programs have other levels.
inline bool parse_log_level(options& o, std::string_view text) noexcept {
    o.log_asked = true;
    o.level = text == "verbose" || text == "debug" ? log_level::verbose
              : text == "silent"                   ? log_level::silent
                                                   : log_level::error;
    return true;
}

/// An address, or the name of an interface that may not exist yet. A text of digits and dots, or with a colon, is taken
/// for an address.
inline bool parse_bind(options& o, std::string_view text) noexcept {
    o.bind_address = {};
    o.bind_interface = nullptr;
    bool const is_v6 = text.find(':') != text.npos;
    if (is_v6 || text.find_first_not_of("0123456789.") == text.npos) {
        wg::os::error_text with_port;
        with_port.set(is_v6 ? "[" : "", text, is_v6 ? "]:0" : ":0");
        auto const where = wg::text::parse_endpoint(with_port.view(), wg::os::interface_index);
        if (where) o.bind_address = *where;
        return static_cast<bool>(where);
    }
    o.bind_interface = text.data(); // ends with a zero, as all arguments and variables do
    return wg::os::udp::binds_to_interfaces && !text.empty() && text.size() <= wg::os::max_interface_name_bytes &&
           text.find_first_of(wg::for_windows ? "/" : "/ ") == text.npos;
}

/// The length of the epochs in which preshared keys are replaced: `daily`, or a number of seconds.
inline bool parse_ratchet(options& o, std::string_view text) noexcept {
    auto const number = wg::text::parse_decimal<std::uint32_t>(text == "daily" ? "86400"sv : text);
    if (!number || !wg::is_epoch_length(*number)) return false;
    o.ratchet_s = *number;
    return true;
}

inline constexpr char one_or_zero[] = "1 (yes) or 0 (no)";
inline constexpr char open_descriptor[] = "the number of an open descriptor, 3 or greater";

inline constexpr option table[] = {
    {"foreground", "WG_PROCESS_FOREGROUND", nullptr, one_or_zero,
     wg::os::system_traits::starts_in_foreground
         ? "Stay in the foreground. Default: yes. Only the service manager starts wgd with 0."
         : "Stay in the foreground. By default the command returns when the interface can be configured.",
     [](options& o, std::string_view text) noexcept { return parse_switch(o.foreground, text); }, 'f'},
    {"workers", "WG_WORKERS", "N", "a number from 1 to 64",
     "Use at most N threads for packets. Default: the number of processors.",
     [](options& o, std::string_view text) noexcept { return parse_number(o.workers, 64, text); }},
    {"memory", "WG_MEMORY_MIB", "MIB", "a number from 1 to 1048576",
     "Use at most MIB mebibytes of memory; peers beyond it are refused. Default: no limit.",
     [](options& o, std::string_view text) noexcept { return parse_number(o.memory_mib, 1 << 20, text); }, '\0',
     wg::os::system_traits::limits_memory},
    {"busy-poll", "WG_BUSY_POLL", nullptr, one_or_zero,
     "Poll for packets before sleeping, while single packets arrive less than 2 ms apart. Default: yes.",
     [](options& o, std::string_view text) noexcept { return parse_switch(o.busy_poll, text); }},
    {"congestion-drop", "WG_CONGESTION_DROP", nullptr, one_or_zero,
     "Drop a packet that does not support ECN if the network marked its datagram (RFC 6040). Default: yes.",
     [](options& o, std::string_view text) noexcept { return parse_switch(o.congestion_drop, text); }},
    {"offload-off", "WG_OFFLOAD_OFF", "NAMES",
     "frames, tso, uso, queues, gso, gro, batches or all, with commas between",
     "Do not use these offloads: frames, tso, uso, queues, gso, gro, batches, all.",
     [](options& o, std::string_view text) noexcept { return wg::os::switch_off(o.offloads, text); }},
    {"bind", "WG_BIND", wg::os::udp::binds_to_interfaces ? "ADDRESS|INTERFACE" : "ADDRESS",
     wg::os::udp::binds_to_interfaces ? "an IPv4 or IPv6 address of this host, or the name of an interface"
                                      : "an IPv4 or IPv6 address of this host (this system binds to no interface)",
     !wg::os::udp::binds_to_interfaces
         ? "Receive and send encrypted datagrams only at this address. Default: at all of them."
     : wg::for_windows
         ? "Receive and send at this address only, or send through this interface only. Default: at all."
         : "Receive and send encrypted datagrams only at this address or interface. Default: at all of them.",
     parse_bind},
    {"ratchet", "WG_RATCHET", "daily|SECONDS", "daily, or a number of seconds from 10 to 31622400, or 0",
     "Replace the preshared key of each peer that has one, every day or every SECONDS. Both ends do so. Default: "
     "never.",
     parse_ratchet},
    {"ratchet-dir", "WG_RATCHET_DIR", "DIR", "an absolute path",
     "Keep replaced preshared keys in DIR. Default: begin again at the configured key after a restart.",
     [](options& o, std::string_view text) noexcept {
         o.ratchet_directory = text.data(); // ends with a zero, as all arguments and variables do
         return text.starts_with('/');
     },
     '\0', wg::os::ratchet_files::exists},
    {"socket-dir", "WG_SOCKET_DIR", "DIR", "an absolute path",
     "Create the configuration socket in DIR. wg(8) only looks in the default, /var/run/wireguard.",
     [](options& o, std::string_view text) noexcept {
         o.socket_directory = text.data(); // ends with a zero, as all arguments and variables do
         return text.starts_with('/');
     },
     '\0', wg::os::system_traits::socket_directory != nullptr},
    {"service", nullptr, "COMMAND", "install, start, stop or remove",
     "Install, start, stop or remove INTERFACE as a service that starts with the system.",
     [](options& o, std::string_view text) noexcept {
         o.service = text.data(); // ends with a zero, as all arguments do
         return text == "install" || text == "start" || text == "stop" || text == "remove";
     },
     '\0', wg::os::service_manager::exists},
    {nullptr, "WG_CPU_OFF", "NAMES", "ssse3, avx2, adx, avx512, ifma or all, with commas between",
     "Do not use these instruction sets in cryptography: ssse3, avx2, adx, avx512, ifma, all.",
     [](options&, std::string_view text) noexcept { // the cryptography reads the variable itself
         wg::bundled::cpu off;
         return wg::bundled::parse_cpu(text, off);
     }},
    {nullptr, "LOG_LEVEL", "LEVEL", "verbose, error or silent",
     "Log everything (verbose), errors (error, the default) or nothing (silent).", parse_log_level},
    {nullptr, "WG_TUN_FD", "FD", open_descriptor, "Use this open TUN device.",
     [](options& o, std::string_view text) noexcept { return parse_descriptor(o.tun_fd, text); }, '\0',
     wg::os::system_traits::has_descriptors},
    {nullptr, "WG_UAPI_FD", "FD", open_descriptor, "Use this listening configuration socket.",
     [](options& o, std::string_view text) noexcept { return parse_descriptor(o.uapi_fd, text); }, '\0',
     wg::os::system_traits::has_descriptors},
};

inline constexpr char usage[] = "usage: wgd [OPTION]... INTERFACE\n       wgd --help | --version\n";

/// The help text, in pieces for `print(std::string_view)`.
template <class Print> void print_help(Print&& print) {
    print(usage);
    print(
        "Creates a WireGuard interface and serves it until SIGTERM or SIGINT comes, its configuration socket is\n"
        "removed, or the interface is deleted. Configure it with wg(8): `wg set INTERFACE ...` or\n"
        "`wg setconf INTERFACE FILE`.\n\n"
        "An option can be given on the command line or as an environment variable; the command line wins. A switch\n"
        "is 1 or 0 in the environment; on the command line, --NAME switches it on and --no-NAME switches it off.\n\n");
    for (option const& o : table) {
        if (!o.exists) continue;
        wg::os::error_text line;
        char const shorthand[] = {'-', o.shorthand, ',', ' ', '\0'};
        char const* const value = o.value != nullptr ? o.value : "1|0";
        if (o.name == nullptr) line.set("  ", o.variable, "=", value, "\n");
        else if (o.variable == nullptr) line.set("  --", o.name, " ", value, "\n");
        else
            line.set("  ", o.shorthand != '\0' ? shorthand : "", "--", o.name, o.value != nullptr ? " " : "",
                     o.value != nullptr ? o.value : "", "  ", o.variable, "=", value, "\n");
        print(line.view());
        line.set("      ", o.help, "\n");
        print(line.view());
    }
}

/// What the command line asks for.
enum class action { serve, service, help, version, invalid };

namespace detail {

inline bool apply(option const& row, options& to, char const* prefix, std::string_view name, std::string_view text,
                  wg::os::error_text& why) noexcept {
    if (row.parse(to, text)) return true;
    why.set(prefix, name, " takes ", row.takes, ", not ", text);
    return false;
}

/// Reads `--name`, `--no-name`, `--name=value`, `--name value` or `-x`. `used` becomes the number of arguments read.
inline bool read_argument(std::string_view argument, char const* next, options& to, std::size_t& used,
                          wg::os::error_text& why) noexcept {
    used = 1;
    for (option const& row : table) {
        if (!row.exists) continue;
        if (argument.size() == 2 && row.shorthand != '\0' && argument[1] == row.shorthand) return row.parse(to, "1");
        if (row.name == nullptr || !argument.starts_with("--")) continue;
        std::string_view const given = argument.substr(2), name = given.substr(0, given.find('='));
        bool const has_value = name.size() != given.size();
        if (row.value == nullptr) {
            bool const off = given.starts_with("no-") && given.substr(3) == row.name;
            if (off || given == row.name) return row.parse(to, off ? "0" : "1");
        } else if (name == row.name) {
            used = has_value || next == nullptr ? 1 : 2;
            std::string_view const text = has_value ? given.substr(name.size() + 1) : next != nullptr ? next : "";
            return apply(row, to, "--", name, text, why);
        }
    }
    why.set("unknown option ", argument);
    return false;
}

} // namespace detail

/// Reads the environment, and then the arguments after the program's name. An empty variable counts as not set.
/// Returns: the action; if it is `invalid`, `why` says the reason and `to` must not be used.
inline action read(std::span<char*> arguments, options& to, wg::os::error_text& why) noexcept {
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        if (arguments[i] == "--help"sv || arguments[i] == "-h"sv) return action::help;
        if (arguments[i] == "--version"sv) return action::version;
    }
    for (option const& row : table) {
        char const* const text = row.exists && row.variable != nullptr ? std::getenv(row.variable) : nullptr;
        if (text == nullptr || *text == '\0') continue;
        if (!detail::apply(row, to, "", row.variable, text, why)) return action::invalid;
    }
    std::size_t given = 0; // options on the command line
    for (std::size_t i = 1, used = 1; i < arguments.size(); i += used) {
        char const* const argument = arguments[i];
        used = 1;
        if (*argument == '-') {
            ++given;
            char const* const next = i + 1 < arguments.size() ? arguments[i + 1] : nullptr;
            if (!detail::read_argument(argument, next, to, used, why)) return action::invalid;
        } else if (to.interface_name != nullptr) {
            why.set("only one interface can be given, not also ", argument);
            return action::invalid;
        } else {
            to.interface_name = argument;
        }
    }
    if (to.interface_name == nullptr) {
        why.set("the name of the interface is missing");
        return action::invalid;
    }
    if (to.tun_fd >= 0 && to.tun_fd == to.uapi_fd) {
        why.set("WG_TUN_FD and WG_UAPI_FD are both ", to.tun_fd, ": they must be two descriptors");
        return action::invalid;
    }
    if (to.service == nullptr) return action::serve;
    if (given > 1) {
        why.set("--service takes no other options: set their variables in the environment of the system");
        return action::invalid;
    }
    return action::service;
}

} // namespace wgd_options

#endif
