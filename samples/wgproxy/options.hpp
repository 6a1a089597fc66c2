// SPDX-License-Identifier: BSL-1.0
// The command line of wgproxy. To add an option, add a row to `table`. At start-up, before other threads.
#ifndef WGPROXY_OPTIONS_HPP
#define WGPROXY_OPTIONS_HPP

#include "configuration.hpp"

#include <wg/base/version.hpp>

#include <span>

namespace wgproxy {

/// What the command line asks for.
enum class action : std::uint8_t { serve, check, help, version, invalid };

/// The command line.
struct command_line {
    std::string config{};
    bool silent = false;
    std::vector<service> services{};
};

/// An option. Without `value` it is a switch.
struct option {
    char shorthand; ///< 0: none
    std::string_view name, value, help;
};

inline constexpr option table[] = {
    {'c', "config", "FILE", "Read the tunnel and the services from FILE. Needed."},
    {0, "socks", "BIND", "Serve SOCKS 5 at BIND, for instance 127.0.0.1:1080."},
    {0, "http", "BIND", "Serve as HTTP proxy at BIND."},
    {0, "forward", "BIND=TARGET", "Forward connections to BIND through the tunnel to TARGET."},
    {0, "forward-udp", "BIND=TARGET", "The same for datagrams."},
    {0, "remote", "PORT=TARGET", "Forward connections that arrive in the tunnel at PORT to TARGET, from this host."},
    {0, "remote-udp", "PORT=TARGET", "The same for datagrams."},
    {'n', "configtest", "", "Check FILE, and do nothing else."},
    {'s', "silent", "", "Write no progress, only errors that end wgproxy."},
    {'h', "help", "", "Print this text."},
    {'v', "version", "", "Print the version."},
};

inline constexpr std::string_view usage = "usage: wgproxy --config FILE [OPTION]... [stdio HOST:PORT]\n";

/// The text for --help.
inline std::string help_text() {
    std::string text(usage);
    text +=
        "Connects to a WireGuard network without an interface and without root, and serves it to other programs: as\n"
        "a proxy, by forwarded ports, or as standard input and output (`stdio`, for ProxyCommand of ssh). FILE is\n"
        "one of wg-quick(8), which may have sections for services: [Socks5], [http], [TCPClientTunnel],\n"
        "[TCPServerTunnel], [UDPClientTunnel], [UDPServerTunnel], [STDIOTunnel]. Options add services. BIND is\n"
        "ADDRESS:PORT, :PORT for all addresses, or for connections unix:/PATH. TARGET is HOST:PORT.\n\n";
    for (option const& o : table) {
        text += "  ";
        if (o.shorthand != 0) text += std::string("-") + o.shorthand + ", ";
        text += "--" + std::string(o.name) + (o.value.empty() ? "" : " " + std::string(o.value)) + "\n      " +
                std::string(o.help) + "\n";
    }
    return text;
}

namespace options_detail {

/// Adds the service of an option. Returns: false, and an error in `why`, if the value is wrong.
inline bool add_service(std::string_view name, std::string_view value, command_line& to, std::string& why) {
    service s;
    s.section = "--" + std::string(name);
    auto const wrong = [&](std::string_view form) {
        why = s.section + " takes " + std::string(form) + ", not `" + std::string(value) + "`";
        return false;
    };
    bool const udp = name.ends_with("-udp"), remote = name.starts_with("remote");
    if (name == "socks" || name == "http") {
        s.what = name == "socks" ? kind::socks : kind::http;
        if (!parse_place(value, true, s.listen)) return wrong("ADDRESS:PORT, :PORT or unix:/PATH");
        to.services.push_back(std::move(s));
        return true;
    }
    std::size_t const equals = value.find('=');
    std::string_view const from = value.substr(0, equals);
    std::string_view const target = equals == std::string_view::npos ? std::string_view() : value.substr(equals + 1);
    s.what = remote ? (udp ? kind::udp_server : kind::tcp_server) : (udp ? kind::udp_client : kind::tcp_client);
    bool good = parse_place(target, false, s.target) && (s.target.path.empty() || s.what == kind::tcp_server);
    if (remote) {
        auto const port = wg::text::parse_decimal<std::uint16_t>(from);
        good = good && port && *port != 0;
        if (good) s.listen.port = *port;
    } else good = good && parse_place(from, true, s.listen) && (s.listen.path.empty() || !udp);
    if (!good)
        return wrong(remote ? "PORT=HOST:PORT, for instance 8080=localhost:80"
                            : "ADDRESS:PORT=HOST:PORT, for instance 127.0.0.1:5432=db:5432");
    to.services.push_back(std::move(s));
    return true;
}

} // namespace options_detail

/// Reads the arguments after the program's name. Returns: the action; for `invalid`, `why` is an error of one line.
inline action read_command_line(std::span<char const* const> arguments, command_line& to, std::string& why) noexcept {
    action asked = action::serve;
    auto const fail = [&](std::string text) {
        why = std::move(text);
        return action::invalid;
    };
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        std::string_view const argument = arguments[i];
        if (argument == "stdio") {
            service s;
            s.what = kind::stdio;
            s.section = "stdio";
            if (i + 1 == arguments.size() || !parse_place(arguments[++i], false, s.target) || !s.target.path.empty())
                return fail("stdio takes HOST:PORT, for instance `stdio ssh.office.internal:22`");
            to.services.push_back(std::move(s));
            continue;
        }
        option const* found = nullptr;
        std::string_view const name = argument.substr(0, argument.find('='));
        for (option const& o : table) {
            bool const is_long = name.starts_with("--") && name.substr(2) == o.name;
            bool const is_short =
                o.shorthand != 0 && argument.size() == 2 && argument[0] == '-' && argument[1] == o.shorthand;
            if (is_long || is_short) found = &o;
        }
        if (found == nullptr)
            return fail("unknown argument `" + std::string(argument) + "`; `wgproxy --help` lists all");
        bool const attached = name.size() != argument.size();
        if (found->value.empty()) {
            if (attached) return fail("--" + std::string(found->name) + " takes no value");
            if (found->name == "silent") to.silent = true;
            else if (found->name == "help") return action::help;
            else if (found->name == "version") return action::version;
            else asked = action::check;
            continue;
        }
        if (!attached && i + 1 == arguments.size())
            return fail("--" + std::string(found->name) + " needs a value: " + std::string(found->value));
        std::string_view const value = attached ? argument.substr(name.size() + 1) : std::string_view(arguments[++i]);
        if (found->name == "config") to.config = value;
        else if (!options_detail::add_service(found->name, value, to, why)) return action::invalid;
    }
    if (to.config.empty()) return fail("the file with the tunnel is missing; give it by --config FILE");
    return asked;
}

} // namespace wgproxy

#endif
