// SPDX-License-Identifier: BSL-1.0
// The configuration file of wgproxy: the sections of wg-quick(8), and a section for each service. Files of wireproxy
// are accepted where they mean the same. At start-up, before other threads.
//
//     [Socks5]                     a SOCKS 5 proxy on this host; its connections go through the tunnel
//     BindAddress = 127.0.0.1:1080
//     Username = alice             optional, with Password
//     [http]                       the same for HTTP
//     [TCPClientTunnel]            connections to this host are forwarded through the tunnel
//     BindAddress = 127.0.0.1:5432 or unix:/run/db.sock
//     Target = db.office.internal:5432
//     [TCPServerTunnel]            connections that arrive in the tunnel are forwarded to this host, or beyond
//     ListenPort = 8080
//     Target = localhost:80        or unix:/run/app.sock
//     [UDPClientTunnel]            datagrams; InactivityTimeout ends a sender's flow, in seconds
//     [UDPServerTunnel]
//     [STDIOTunnel]                standard input and output
//     Target = ssh.office.internal:22
#ifndef WGPROXY_CONFIGURATION_HPP
#define WGPROXY_CONFIGURATION_HPP

#include <wg/control/quick.hpp>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace wgproxy {

/// A text that is wiped when its life ends.
class secret_text {
public:
    secret_text() noexcept = default;
    explicit secret_text(std::string_view text) noexcept : text_(text) {}
    secret_text(secret_text&& other) noexcept : text_(other.text_) { other.clear(); }
    secret_text& operator=(secret_text&& other) noexcept {
        if (this == &other) return *this;
        clear();
        text_ = other.text_; // a copy, because the moved-from buffer of a short text would keep it
        other.clear();
        return *this;
    }
    ~secret_text() { clear(); }

    std::string_view view() const noexcept { return text_; }
    bool empty() const noexcept { return text_.empty(); }

private:
    void clear() noexcept {
        wg::wipe(text_.data(), text_.size());
        text_.clear();
    }
    std::string text_{};
};

/// An end of a service: HOST:PORT, or a Unix socket.
struct place {
    std::string host{}; ///< a name or an address; empty: all addresses of this host
    std::uint16_t port = 0;
    std::string path{}; ///< of a Unix socket; empty: none

    /// As a user writes it.
    std::string text() const {
        if (!path.empty()) return "unix:" + path;
        bool const v6 = host.find(':') != std::string::npos;
        return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
    }
};

/// What a service does.
enum class kind : std::uint8_t { socks, http, tcp_client, tcp_server, udp_client, udp_server, stdio };

/// A service that the file or the command line asks for.
struct service {
    kind what = kind::socks;
    place listen{}; ///< where clients connect: on this host, or for a server tunnel a port in the tunnel
    place target{}; ///< of tunnels
    std::string user{};
    secret_text password{};
    unsigned inactivity_s = 60; ///< of UDP tunnels
    std::string section{};      ///< for errors: the name of the section or of the option
    unsigned line = 0;          ///< 0: from the command line
};

/// Everything that wgproxy needs to start.
struct settings {
    wg::quick::configuration tunnel{};
    std::vector<service> services{};
    std::vector<std::string> notes{}; ///< of keys without an effect, for the log
};

/// Reads `HOST:PORT`, `unix:/PATH` and, if `any` is allowed, `:PORT`. Returns: false if the text is something else.
inline bool parse_place(std::string_view text, bool any, place& to) noexcept {
    if (text.starts_with("unix:")) {
        constexpr std::size_t most_path_chars = 107; // unix(7)
        to.path = text.substr(5);
        return to.path.starts_with('/') && to.path.size() <= most_path_chars;
    }
    if (any && text.starts_with(':')) {
        auto const port = wg::text::parse_decimal<std::uint16_t>(text.substr(1));
        to.port = port ? *port : std::uint16_t{0};
        return to.port != 0;
    }
    auto where = wg::quick::parse_remote(text);
    if (!where) return false;
    to.host = std::move(where->host);
    to.port = where->port;
    return true;
}

namespace configuration_detail {

struct section_name {
    std::string_view name;
    kind what;
};
inline constexpr section_name sections[] = {
    {"Socks5", kind::socks},
    {"http", kind::http},
    {"TCPClientTunnel", kind::tcp_client},
    {"TCPServerTunnel", kind::tcp_server},
    {"UDPClientTunnel", kind::udp_client},
    {"UDPProxyTunnel", kind::udp_client}, // as wireproxy calls it
    {"UDPServerTunnel", kind::udp_server},
    {"STDIOTunnel", kind::stdio},
};

inline bool is_proxy(kind k) noexcept { return k == kind::socks || k == kind::http; }
inline bool is_server(kind k) noexcept { return k == kind::tcp_server || k == kind::udp_server; }
inline bool is_udp(kind k) noexcept { return k == kind::udp_client || k == kind::udp_server; }

struct reader {
    settings& to;
    std::string wg_config{}; ///< the value of WGConfig

    wg::quick::verdict operator()(wg::quick::entry const& what, std::string& why) noexcept {
        using wg::quick::same_word, wg::quick::verdict;
        if (what.section.empty()) {
            if (!same_word(what.key, "WGConfig")) return verdict::unknown;
            wg_config = what.value;
            return verdict::taken;
        }
        if (same_word(what.section, "Interface")) {
            if (!same_word(what.key, "CheckAlive") && !same_word(what.key, "CheckAliveInterval"))
                return verdict::unknown;
            to.notes.push_back(std::string(what.key) + " has no effect: wgproxy has no health endpoint");
            return verdict::taken;
        }
        if (same_word(what.section, "Peer")) return verdict::unknown;
        if (!what.key.empty()) return key(to.services.back(), what, why);
        for (section_name const& s : sections) {
            if (!same_word(what.section, s.name)) continue;
            to.services.emplace_back();
            to.services.back().what = s.what;
            to.services.back().section = "[" + std::string(s.name) + "]";
            to.services.back().line = what.line;
            return verdict::taken;
        }
        why = "this section is unknown; the sections are [Interface], [Peer]";
        for (section_name const& s : sections) why += ", [" + std::string(s.name) + "]";
        return verdict::wrong;
    }

    static wg::quick::verdict key(service& to, wg::quick::entry const& what, std::string& why) noexcept {
        using wg::quick::same_word, wg::quick::verdict;
        auto const wrong = [&](std::string_view reason) {
            why = std::string(what.key) + " of " + to.section + " " + std::string(reason);
            return verdict::wrong;
        };
        if (same_word(what.key, "BindAddress") && !is_server(to.what) && to.what != kind::stdio)
            return parse_place(what.value, true, to.listen) && (to.listen.path.empty() || !is_udp(to.what))
                       ? verdict::taken
                       : wrong(is_udp(to.what) ? "is ADDRESS:PORT" : "is ADDRESS:PORT or unix:/PATH");
        if (same_word(what.key, "ListenPort") && is_server(to.what)) {
            auto const port = wg::text::parse_decimal<std::uint16_t>(what.value);
            if (!port || *port == 0) return wrong("is a port from 1 to 65535");
            to.listen.port = *port;
            return verdict::taken;
        }
        if (same_word(what.key, "Target") && !is_proxy(to.what)) {
            bool const local = to.what == kind::tcp_server;
            return parse_place(what.value, false, to.target) && (to.target.path.empty() || local)
                       ? verdict::taken
                       : wrong(local ? "is HOST:PORT or unix:/PATH" : "is HOST:PORT");
        }
        if (same_word(what.key, "InactivityTimeout") && is_udp(to.what)) {
            auto const seconds = wg::text::parse_decimal<std::uint16_t>(what.value);
            if (!seconds || *seconds == 0) return wrong("is a number of seconds from 1 to 65535");
            to.inactivity_s = *seconds;
            return verdict::taken;
        }
        if (same_word(what.key, "Username") && is_proxy(to.what)) {
            to.user = what.value;
            return what.value.size() <= 255 ? verdict::taken : wrong("has at most 255 characters");
        }
        if (same_word(what.key, "Password") && is_proxy(to.what)) {
            to.password = secret_text(what.raw_value); // may contain `#`
            return what.raw_value.size() <= 255 ? verdict::taken : wrong("has at most 255 characters");
        }
        return verdict::unknown;
    }
};

inline wg::quick::verdict extend(void* context, wg::quick::entry const& what, std::string& why) noexcept {
    return (*static_cast<reader*>(context))(what, why);
}

inline char const* variable(char const* name) noexcept { return std::getenv(name); }

} // namespace configuration_detail

/// Checks a service after all of it was read. Returns: the error; empty: none.
inline std::string missing_in(service const& s) {
    using namespace configuration_detail;
    bool const listens = s.listen.port != 0 || !s.listen.path.empty();
    if (is_server(s.what) && !listens) return s.section + " has no ListenPort; add the port that peers connect to";
    if (s.what != kind::stdio && !listens)
        return s.section + " has no BindAddress; add one, for instance BindAddress = 127.0.0.1:1080";
    bool const aims = s.target.port != 0 || !s.target.path.empty();
    if (!is_proxy(s.what) && !aims) return s.section + " has no Target; add `Target = HOST:PORT`";
    if (s.user.empty() && !s.password.empty()) return s.section + " has a Password, but no Username; add it";
    if (!s.user.empty() && s.password.empty()) return s.section + " has a Username, but no Password; add it";
    return {};
}

/// Reads a file, and the file of its WGConfig. Adds its services to those of the command line.
/// Returns: false, and an error of one line, if something is wrong or missing.
inline bool read_configuration(std::string const& path, settings& to, std::string& why) noexcept {
    using namespace configuration_detail;
    reader extension{to};
    wg::quick::options const with{.variable = variable, .extension = extend, .context = &extension};
    auto own = wg::quick::load(path.c_str(), why, with);
    if (!own) return false;
    std::string source = path;
    if (!extension.wg_config.empty()) {
        source = extension.wg_config;
        if (!own->peers.empty() || !own->private_key.is_zero()) {
            why = path + ": has WGConfig and also [Interface] or [Peer]; keep these in one of the two files";
            return false;
        }
        own = wg::quick::load(source.c_str(), why, {.variable = variable});
        if (!own) return false;
    }
    to.tunnel = std::move(*own);
    auto const fail = [&](std::string const& file, std::string const& reason) {
        why = file + ": " + reason;
        return false;
    };
    for (service const& s : to.services)
        if (std::string const missing = missing_in(s); !missing.empty())
            return fail(s.line != 0 ? path + ":" + std::to_string(s.line) : "wgproxy", missing);
    if (to.tunnel.private_key.is_zero())
        return fail(source, "has no PrivateKey; add the one of this host, which `wg genkey` makes, to [Interface]");
    if (to.tunnel.addresses.empty())
        return fail(source, "has no Address; add the address of this host in the tunnel to [Interface]");
    if (to.tunnel.peers.empty()) return fail(source, "has no [Peer]; add one with its PublicKey");
    if (to.services.empty())
        return fail(path, "asks for no service; add a section such as [Socks5], or an option such as --socks");
    for (auto const& key : to.tunnel.ignored)
        to.notes.push_back(source + ":" + std::to_string(key.line) + ": " + key.name + " has no effect in wgproxy");
    // As wireproxy: a peer without AllowedIPs gets everything.
    for (auto& peer : to.tunnel.peers)
        if (peer.allowed_ips.empty())
            peer.allowed_ips = {wg::ip_prefix{wg::ip_address::v4(0, 0, 0, 0), 0},
                                wg::ip_prefix{wg::ip_address{{}, wg::family::v6}, 0}};
    return true;
}

} // namespace wgproxy

#endif
