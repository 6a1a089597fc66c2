// SPDX-License-Identifier: BSL-1.0
// Reads the configuration files of wg-quick(8) and wg(8).
// Sources: wg-quick(8), wg(8), and the parsers of wireguard-tools. Folder: control. Pure, but for `load`; any thread.
//
//     std::string why;
//     auto office = wg::quick::load("office.conf", why);
//     if (!office) return failed(why); // office.conf:7: PublicKey of [Peer] has 43 characters; a key has 44, ...
//
// The rules of these programs:
// - Names of sections and keys are read in any case. White space in a line does not count for a key of wg(8).
// - `#` starts a comment. Lines end with LF or CR LF. A byte order mark of UTF-8 is skipped.
// - `Address`, `DNS` and `AllowedIPs` may be repeated and add up; of any other key the last value counts. Sections may
//   be repeated too. A second [Peer] with the same public key changes the first: its allowed IPs are replaced.
// - What only wg-quick does (`PostUp`, `Table`, ...) has no effect here. `configuration::ignored` lists it.
// This parser also accepts comments that start a line with `;`, and numeric ports and addresses only: no name of a
// service, and the name of a host is left to the caller.
//
// An error is one line of text: the file, the number of the line, what is wrong and how to mend it. It never contains
// the text of a key, nor a text that may be one. The heap is used, and a program ends if it is exhausted.
#ifndef WG_CONTROL_QUICK_HPP
#define WG_CONTROL_QUICK_HPP

#include "../base/config.hpp"
#include "../base/status.hpp"
#include "secret_buffer.hpp"
#include "text.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace wg { inline namespace WG_ABI { namespace quick {

inline constexpr std::size_t most_file_bytes = std::size_t{16} << 20; ///< of a file that `load` reads: 100,000 peers
inline constexpr std::uint16_t least_mtu_bytes = 68;                  ///< RFC 791: every IPv4 host takes 68 bytes

/// An address of the interface, and the length of the prefix of its network.
struct interface_address {
    ip_address address{};  ///< with host bits
    std::uint8_t bits = 0; ///< 0 to 32 or 128

    friend constexpr bool operator==(interface_address const&, interface_address const&) noexcept = default;
};

/// The endpoint of a peer: an address, or the name of a host that the caller resolves.
struct remote {
    std::string host{};     ///< a name or an address, without brackets; empty: no endpoint
    std::uint16_t port = 0; ///< UDP port
    endpoint address{};     ///< family::none if `host` is a name
};

/// A [Peer] section.
struct peer {
    wg::public_key public_key{};              ///< PublicKey
    secret<key_bytes> preshared_key{};        ///< PresharedKey; all zero: none
    std::vector<ip_prefix> allowed_ips{};     ///< AllowedIPs, in the order of the file
    remote endpoint{};                        ///< Endpoint
    std::uint16_t persistent_keepalive_s = 0; ///< PersistentKeepalive in seconds; 0: off
    unsigned line = 0;                        ///< the line of [Peer]
};

/// A key that has no effect here, because only wg-quick acts on it.
struct ignored_key {
    std::string name{}; ///< as in wg-quick(8); its value may be a secret, and is not kept
    unsigned line = 0;  ///< the line of the key
};

/// The contents of a file. Can be moved, but not copied. Keys are wiped when it is destroyed.
struct configuration {
    secret<key_bytes> private_key{};            ///< PrivateKey; all zero: none
    std::vector<interface_address> addresses{}; ///< Address
    std::uint16_t listen_port = 0;              ///< ListenPort; 0: any free one
    std::uint16_t mtu_bytes = 0;                ///< MTU; 0: not given
    std::uint32_t fwmark = 0;                   ///< FwMark; 0: off
    std::vector<ip_address> dns_servers{};      ///< addresses of DNS
    std::vector<std::string> search_domains{};  ///< other words of DNS
    std::vector<peer> peers{};                  ///< one for each public key
    std::vector<ignored_key> ignored{};         ///< keys without an effect, in the order of the file
};

/// A line of the file that the parser does not know.
struct entry {
    std::string_view section{};   ///< the name between brackets, as the file spells it; empty: before any section
    std::string_view key{};       ///< empty: the section begins
    std::string_view value{};     ///< without a comment and without space around it
    std::string_view raw_value{}; ///< with the comment
    unsigned line = 0;            ///< counts from 1
};

/// What an extension says of an entry.
enum class verdict : std::uint8_t {
    unknown, ///< not an entry of the extension: an error
    taken,   ///< used
    wrong,   ///< the extension has put the error into `why`, without file and line
};

/// What a caller may add to the parser.
struct options {
    /// Turns the zone of an endpoint into a number, like `if_nametoindex`. nullptr: zones are numbers.
    text::zone_resolver resolve_zone = nullptr;
    /// A value `$NAME` is replaced by the result, like `getenv`, and `$$` at its beginning by `$`. nullptr: `$` is an
    /// ordinary character.
    char const* (*variable)(char const* name) = nullptr;
    /// Is called for each section and each key that the parser does not know. nullptr: all of these are errors.
    verdict (*extension)(void* context, entry const& what, std::string& why) = nullptr;
    /// The first argument of `extension`.
    void* context = nullptr;
};

/// Whether both are the same, if ASCII letters of either case are equal.
constexpr bool same_word(std::string_view a, std::string_view b) noexcept {
    auto const lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return lower(x) == lower(y); });
}

/// White space of the C locale.
constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// The text without white space at its ends.
constexpr std::string_view trimmed(std::string_view from) noexcept {
    while (!from.empty() && is_space(from.front())) from.remove_prefix(1);
    while (!from.empty() && is_space(from.back())) from.remove_suffix(1);
    return from;
}

/// Whether `text` without its white space is `word`, in any case. Makes no copy: the text may be a misplaced key.
constexpr bool same_word_spaced(std::string_view text, std::string_view word) noexcept {
    std::size_t matched = 0;
    for (char const& c : text) {
        if (is_space(c)) continue;
        if (matched == word.size() || !same_word({&c, 1}, word.substr(matched, 1))) return false;
        ++matched;
    }
    return matched == word.size();
}

/// Whether the text may be the name of a host or a domain: letters, digits, `-`, `_` and single dots (RFC 1123 2.1), at
/// most 253 characters, and labels of at most 63. A dot at the end is allowed.
constexpr bool is_host_name(std::string_view name) noexcept {
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.empty() || name.size() > 253) return false;
    std::size_t label = 0;
    for (char const c : name) {
        bool const letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (c == '.' ? label == 0 : !letter && c != '-' && c != '_') return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63) return false;
    }
    return label > 0;
}

/// Reads `HOST:PORT` or `[ADDRESS]:PORT`. The port is 1 to 65535. `ADDRESS` may have a zone, see `parse_endpoint`.
/// Returns: invalid if the text is something else.
inline result<remote> parse_remote(std::string_view from, text::zone_resolver resolve = nullptr) noexcept {
    bool const brackets = from.starts_with('[');
    std::size_t const end = brackets ? from.find(']') : from.rfind(':');
    if (end == std::string_view::npos) return status::invalid;
    std::string_view const tail = from.substr(end + brackets);
    auto const port = text::parse_decimal<std::uint16_t>(tail.substr(!tail.empty()));
    if (!tail.starts_with(':') || !port || *port == 0) return status::invalid;
    remote where;
    where.host = from.substr(brackets, end - brackets);
    where.port = *port;
    bool const v6 = where.host.find(':') != std::string::npos;
    bool const v4 = where.host.find_first_not_of("0123456789.") == std::string::npos;
    if (!v6 && !v4) return is_host_name(where.host) ? result<remote>(std::move(where)) : status::invalid;
    std::string const whole = (v6 ? "[" + where.host + "]" : where.host) + ":" + std::to_string(*port);
    auto const address = text::parse_endpoint(whole, resolve);
    if (!address) return status::invalid;
    where.address = *address;
    return where;
}

namespace quick_detail {

/// An address with or without `/BITS`. Host bits stay.
inline result<interface_address> parse_network(std::string_view from) noexcept {
    std::size_t const slash = from.find('/');
    auto const address = text::parse_address(from.substr(0, slash));
    if (!address) return status::invalid;
    interface_address network{*address, static_cast<std::uint8_t>(address->bits())};
    if (slash == std::string_view::npos) return network;
    auto const bits = text::parse_decimal<std::uint32_t>(from.substr(slash + 1));
    if (!bits || *bits > address->bits()) return status::invalid;
    network.bits = static_cast<std::uint8_t>(*bits);
    return network;
}

/// Keys that wg-quick or an application acts on, and this parser does not. The last two are those of Android.
inline constexpr std::string_view without_effect[] = {
    "Table", "PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig", "IncludedApplications", "ExcludedApplications"};

class reader {
public:
    reader(std::string_view from, std::string_view file, std::string& why, options const& with) noexcept
        : rest_(from), file_(file), why_(why), with_(with) {}

    result<configuration> read() noexcept {
        why_.clear();
        bool const utf16 = rest_.starts_with("\xff\xfe") || rest_.starts_with("\xfe\xff");
        if (rest_.starts_with("\xef\xbb\xbf")) rest_.remove_prefix(3);
        while (!rest_.empty()) {
            ++line_;
            std::size_t const end = rest_.find('\n');
            std::string_view const line = rest_.substr(0, end);
            rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
            if (utf16 || line.find('\0') != std::string_view::npos) {
                fail({"this is no text in UTF-8; save the file as UTF-8, without zero bytes"});
                return status::invalid;
            }
            if (!read_line(line)) return status::invalid;
        }
        if (!check_peer() || !merge_peers()) return status::invalid;
        return std::move(to_);
    }

private:
    enum class place : std::uint8_t { nowhere, in_interface, in_peer, elsewhere };

    bool read_line(std::string_view line) noexcept {
        std::string_view const code = trimmed(line.substr(0, line.find('#')));
        if (code.empty() || code.front() == ';') return true;
        if (code.front() == '[') return begin_section(code);
        std::size_t const equals = code.find('=');
        std::string_view const key = trimmed(code.substr(0, equals));
        if (equals == std::string_view::npos || key.empty())
            return fail({"this line is neither `[SECTION]` nor `KEY = VALUE`; mend it, or put `#` before it"});
        std::string_view value = trimmed(code.substr(equals + 1));
        std::string_view raw = trimmed(line.substr(line.find('=') + 1));
        if (with_.variable != nullptr && value.starts_with('$')) {
            if (!substitute(key, value)) return false;
            raw = value;
        }
        switch (place_) {
        case place::in_interface: return interface_line(key, value, raw);
        case place::in_peer: return peer_line(key, value, raw);
        default: return other_line(key, value, raw);
        }
    }

    bool begin_section(std::string_view code) noexcept {
        if (!code.ends_with(']')) return fail({"a section is a line `[NAME]`; the closing bracket is missing"});
        if (!check_peer()) return false;
        section_ = trimmed(code.substr(1, code.size() - 2));
        place_ = place::elsewhere;
        if (same_word(section_, "Interface")) {
            place_ = place::in_interface;
            return true;
        }
        if (same_word(section_, "Peer")) {
            place_ = place::in_peer;
            to_.peers.emplace_back();
            to_.peers.back().line = line_;
            has_key_ = false;
            return true;
        }
        return ask(entry{section_, {}, {}, {}, line_}, "is no section; the sections are [Interface] and [Peer]",
                   section_);
    }

    bool interface_line(std::string_view key, std::string_view value, std::string_view raw) noexcept {
        for (std::string_view const name : without_effect) {
            if (!same_word(key, name)) continue;
            to_.ignored.push_back({std::string(name), line_});
            return true;
        }
        if (same_word(key, "Address")) return each_word(value, &reader::add_address);
        if (same_word(key, "DNS")) return each_word(value, &reader::add_dns);
        if (same_word(key, "MTU")) return value.empty() || mtu(value);
        if (same_word_spaced(key, "PrivateKey"))
            return read_key("PrivateKey of [Interface]", value, to_.private_key.expose());
        if (same_word_spaced(key, "ListenPort")) return port("ListenPort", without_space(value));
        if (same_word_spaced(key, "FwMark")) return fwmark(without_space(value));
        return ask(entry{section_, key, value, raw, line_},
                   is_peer_key(key) ? "is a key of [Peer], not of [Interface]; move it below `[Peer]`"
                                    : "is no key of [Interface]; mend its spelling, or remove the line",
                   key);
    }

    bool peer_line(std::string_view key, std::string_view value, std::string_view raw) noexcept {
        peer& to = to_.peers.back();
        if (same_word_spaced(key, "PublicKey")) {
            has_key_ = true;
            return read_key("PublicKey of [Peer]", value, to.public_key);
        }
        if (same_word_spaced(key, "PresharedKey"))
            return read_key("PresharedKey of [Peer]", value, to.preshared_key.expose(), "`wg genpsk`");
        if (same_word_spaced(key, "AllowedIPs")) return allowed_ips(without_space(value));
        if (same_word_spaced(key, "Endpoint")) return remote_end(without_space(value));
        if (same_word_spaced(key, "PersistentKeepalive")) return keepalive(without_space(value));
        return ask(entry{section_, key, value, raw, line_},
                   is_interface_key(key) ? "is a key of [Interface], not of [Peer]; move it below `[Interface]`"
                                         : "is no key of [Peer]; mend its spelling, or remove the line",
                   key);
    }

    bool other_line(std::string_view key, std::string_view value, std::string_view raw) noexcept {
        bool const known = is_interface_key(key) || is_peer_key(key);
        return ask(entry{section_, key, value, raw, line_},
                   place_ == place::elsewhere ? "is no key of this section; mend its spelling, or remove the line"
                   : known                    ? "stands before any section; put `[Interface]` or `[Peer]` before it"
                                              : "stands before any section, and is no key there; remove the line",
                   key);
    }

    static bool is_peer_key(std::string_view key) noexcept {
        for (std::string_view const name :
             {"PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"})
            if (same_word_spaced(key, name)) return true;
        return false;
    }
    static bool is_interface_key(std::string_view key) noexcept {
        for (std::string_view const name : {"PrivateKey", "ListenPort", "FwMark", "Address", "DNS", "MTU"})
            if (same_word_spaced(key, name)) return true;
        for (std::string_view const name : without_effect)
            if (same_word_spaced(key, name)) return true;
        return false;
    }

    /// Asks the extension. `problem` is the error if the extension does not know the entry.
    bool ask(entry const& what, std::string_view problem, std::string_view name) noexcept {
        std::string reason;
        verdict const said =
            with_.extension != nullptr ? with_.extension(with_.context, what, reason) : verdict::unknown;
        if (said == verdict::taken) return true;
        if (said == verdict::wrong) return fail({reason});
        return fail({shown(name, "this"), " ", problem});
    }

    /// Replaces `$NAME` by the value of the variable. The value belongs to the caller of the parser.
    bool substitute(std::string_view key, std::string_view& value) noexcept {
        if (value.starts_with("$$")) {
            value.remove_prefix(1);
            return true;
        }
        std::string const name(value.substr(1));
        char const* const found = with_.variable(name.c_str());
        if (found == nullptr)
            return fail({shown(key, "this key"), " takes its value from the environment, where ",
                         shown(name, "that variable"), " is not set; set it, or write the value here"});
        value = trimmed(found);
        return true;
    }

    bool read_key(std::string_view name, std::string_view value, std::span<byte, key_bytes> to,
                  std::string_view source = "`wg genkey`") noexcept {
        char chars[text::base64_key_chars] = {}; // wg(8) ignores white space inside
        std::size_t count = 0;
        for (char const c : value) {
            if (is_space(c)) continue;
            if (count < sizeof chars) chars[count] = c;
            ++count;
        }
        bool const good = count == sizeof chars && text::parse_base64_key({chars, count}, to);
        wipe(chars);
        if (good) return true;
        wipe(to.data(), to.size());
        if (count == 0) return fail({name, " has no value; a key has 44 characters, for instance from ", source});
        if (count != sizeof chars)
            return fail({name, " has ", std::to_string(count), count == 1 ? " character" : " characters",
                         "; a key has 44, for instance from ", source});
        return fail({name, " is no key; a key is 44 characters of base64 that end in `=`, for instance from ", source});
    }

    bool port(std::string_view name, std::string_view value) noexcept {
        auto const number = text::parse_decimal<std::uint16_t>(value);
        if (!number) return fail({name, " is ", shown(value), "; a port is a number from 0 to 65535"});
        to_.listen_port = *number;
        return true;
    }

    bool mtu(std::string_view value) noexcept {
        auto const number = text::parse_decimal<std::uint16_t>(value);
        if (!number || *number < least_mtu_bytes)
            return fail({"MTU is ", shown(value), "; it is a number from 68 to 65535, mostly 1420"});
        to_.mtu_bytes = *number;
        return true;
    }

    bool fwmark(std::string_view value) noexcept {
        bool const hexadecimal = value.size() > 2 && value.starts_with("0x");
        result<std::uint32_t> number = std::uint32_t{0};
        if (hexadecimal) number = parse_hexadecimal(value.substr(2));
        else if (!same_word(value, "off")) number = text::parse_decimal<std::uint32_t>(value);
        if (!number) return fail({"FwMark is ", shown(value), "; it is `off`, or a number from 0 to 0xffffffff"});
        to_.fwmark = *number;
        return true;
    }

    static result<std::uint32_t> parse_hexadecimal(std::string_view digits) noexcept {
        std::uint32_t valid = ~0u;
        std::uint64_t number = 0;
        for (char const c : digits) {
            number = number << 4 | text::text_detail::hex_value(c, valid);
            if (valid == 0 || number > UINT32_MAX) return status::invalid;
        }
        return static_cast<std::uint32_t>(number);
    }

    bool keepalive(std::string_view value) noexcept {
        auto number = text::parse_decimal<std::uint16_t>(value);
        if (same_word(value, "off")) number = std::uint16_t{0};
        if (!number)
            return fail({"PersistentKeepalive is ", shown(value), "; it is `off`, or seconds from 0 to 65535"});
        to_.peers.back().persistent_keepalive_s = *number;
        return true;
    }

    bool remote_end(std::string_view value) noexcept {
        auto where = parse_remote(value, with_.resolve_zone);
        if (!where)
            return fail({"Endpoint is ", shown(value),
                         "; it is HOST:PORT, ADDRESS:PORT or [IPV6-ADDRESS]:PORT, with a ",
                         "port from 1 to 65535 and, in a zone, an interface of this host"});
        to_.peers.back().endpoint = std::move(*where);
        return true;
    }

    /// Networks separated by commas. `-` before a network removes it from those before it; `+` has no effect (wg(8)).
    bool allowed_ips(std::string_view value) noexcept {
        std::vector<ip_prefix>& list = to_.peers.back().allowed_ips;
        while (true) {
            std::size_t const comma = value.find(',');
            std::string_view word = value.substr(0, comma);
            bool const minus = word.starts_with('-');
            if (minus || word.starts_with('+')) word.remove_prefix(1);
            auto const network = parse_network(word);
            if (!network)
                return fail({"AllowedIPs has ", word.empty() ? "an empty place" : shown(word),
                             "; it is networks such as 10.0.0.0/24, with commas between them"});
            auto const prefix = ip_prefix::of(network->address, network->bits);
            if (minus) std::erase(list, prefix);
            else list.push_back(prefix);
            if (comma == std::string_view::npos) return true;
            value.remove_prefix(comma + 1);
        }
    }

    bool add_address(std::string_view word) noexcept {
        auto const network = parse_network(word);
        if (!network)
            return fail(
                {"Address has ", shown(word), "; it is addresses such as 10.0.0.2/24, with commas between them"});
        to_.addresses.push_back(*network);
        return true;
    }

    bool add_dns(std::string_view word) noexcept {
        bool const is_address =
            word.find(':') != std::string_view::npos || word.find_first_not_of("0123456789.") == std::string_view::npos;
        auto const address = text::parse_address(word);
        if (is_address ? !address : !is_host_name(word))
            return fail({"DNS has ", shown(word),
                         "; it is addresses of servers and names of search domains, with commas between them"});
        if (is_address) to_.dns_servers.push_back(*address);
        else to_.search_domains.emplace_back(word);
        return true;
    }

    /// Calls `add` for each word. Words are separated by commas and white space; there may be none.
    bool each_word(std::string_view value, bool (reader::*add)(std::string_view) noexcept) noexcept {
        auto const separates = [](char c) { return c == ',' || is_space(c); };
        while (true) {
            while (!value.empty() && separates(value.front())) value.remove_prefix(1);
            if (value.empty()) return true;
            std::size_t size = 0;
            while (size < value.size() && !separates(value[size])) ++size;
            if (!(this->*add)(value.substr(0, size))) return false;
            value.remove_prefix(size);
        }
    }

    /// At the end of a [Peer] section.
    bool check_peer() noexcept {
        if (place_ != place::in_peer || has_key_) return true;
        line_ = to_.peers.back().line;
        return fail({"this [Peer] has no PublicKey; add the public key of the peer, which `wg pubkey` prints there"});
    }

    /// Makes one peer of all sections with the same public key, as the changes of a device do.
    bool merge_peers() noexcept {
        std::vector<std::size_t> order(to_.peers.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::sort(order.begin(), order.end(), [this](std::size_t a, std::size_t b) {
            auto const& x = to_.peers[a].public_key;
            auto const& y = to_.peers[b].public_key;
            return x != y ? x < y : a < b;
        });
        std::vector<bool> merged(order.size());
        for (std::size_t i = 1, first = 0; i < order.size(); ++i) {
            peer& to = to_.peers[order[first]];
            peer& from = to_.peers[order[i]];
            if (to.public_key != from.public_key) {
                first = i;
                continue;
            }
            merged[order[i]] = true;
            to.allowed_ips = std::move(from.allowed_ips);
            if (!from.preshared_key.is_zero()) to.preshared_key = std::move(from.preshared_key);
            if (from.endpoint.port != 0) to.endpoint = std::move(from.endpoint);
            if (from.persistent_keepalive_s != 0) to.persistent_keepalive_s = from.persistent_keepalive_s;
        }
        std::size_t kept = 0;
        for (std::size_t i = 0; i < to_.peers.size(); ++i) {
            if (merged[i]) continue;
            if (kept != i) to_.peers[kept] = std::move(to_.peers[i]);
            ++kept;
        }
        to_.peers.erase(to_.peers.begin() + static_cast<std::ptrdiff_t>(kept), to_.peers.end());
        return true;
    }

    /// A text for an error, or `instead` if the text is long, or could be a piece of a key: if it has more than 20
    /// characters of base64 in a row.
    static std::string shown(std::string_view value, std::string_view instead = "something else") noexcept {
        if (value.empty()) return "empty";
        if (value.size() > 64) return std::string(instead);
        std::size_t run = 0;
        for (char const c : value) {
            std::uint32_t valid = ~0u;
            (void)text::text_detail::base64_value(c, valid);
            run = valid != 0 ? run + 1 : 0;
            if (run > 20 || c < ' ' || c > '~') return std::string(instead);
        }
        return "`" + std::string(value) + "`";
    }

    /// Only for values that are no secrets: the copy is not wiped.
    static std::string without_space(std::string_view from) noexcept {
        std::string out;
        for (char const c : from)
            if (!is_space(c)) out.push_back(c);
        return out;
    }

    bool fail(std::initializer_list<std::string_view> pieces) noexcept {
        why_ = std::string(file_) + ":" + std::to_string(line_) + ": ";
        for (std::string_view const piece : pieces) why_ += piece;
        return false;
    }

    std::string_view rest_, file_, section_{};
    std::string& why_;
    options const& with_;
    configuration to_{};
    unsigned line_ = 0;
    place place_ = place::nowhere;
    bool has_key_ = false;
};

} // namespace quick_detail

/// Reads the text of a configuration file. `file` is its name for errors. The caller wipes `from`.
/// Returns: invalid, and an error in `why`, if the text has a mistake.
inline result<configuration> parse(std::string_view from, std::string_view file, std::string& why,
                                   options const& with = {}) noexcept {
    return quick_detail::reader(from, file, why, with).read();
}

/// Reads a file of at most `most_file_bytes`. Its text is wiped. Blocks for as long as the file system does.
/// Returns: invalid, and an error in `why`, if the text has a mistake; io_error if the file cannot be read; no_memory.
inline result<configuration> load(char const* path, std::string& why, options const& with = {}) noexcept {
    auto const failed = [&](status s, char const* reason) {
        why = std::string(path) + ": " + reason;
        return s;
    };
    struct closer {
        void operator()(std::FILE* file) const noexcept { (void)std::fclose(file); }
    };
    std::unique_ptr<std::FILE, closer> const file(std::fopen(path, "rb"));
    if (!file) return failed(status::io_error, std::strerror(errno));
    (void)std::setvbuf(file.get(), nullptr, _IONBF, 0); // a buffer of the C library would keep keys
    secret_buffer content;
    constexpr std::size_t piece_bytes = 4096;
    while (true) {
        std::size_t const before = content.size();
        char* const place = content.extend(piece_bytes);
        if (place == nullptr) return failed(status::no_memory, "no memory for its text");
        std::size_t const size = std::fread(place, 1, piece_bytes, file.get());
        content.truncate(before + size);
        if (content.size() > most_file_bytes)
            return failed(status::invalid, "has more than 16 MiB; is it a configuration?");
        if (size == piece_bytes) continue;
        if (std::ferror(file.get()) != 0) return failed(status::io_error, std::strerror(errno));
        break;
    }
    return parse(content.text(), path, why, with);
}

/// The changes that give a device this configuration: keys, port, mark and peers. A peer whose endpoint is a name gets
/// no endpoint: the caller resolves the name, and adds `change::endpoint`.
/// Returns: false if there is no memory.
[[nodiscard]] inline bool append_changes(configuration const& from, secret_vector<change>& to) noexcept {
    bool good = to.append(change::private_key(from.private_key.expose())) &&
                to.append(change::listen_port(from.listen_port)) && to.append(change::fwmark(from.fwmark));
    for (peer const& p : from.peers) {
        good = good && to.append(change::peer(p.public_key)) && to.append(change::replace_allowed_ips());
        if (!p.preshared_key.is_zero()) good = good && to.append(change::preshared_key(p.preshared_key.expose()));
        if (p.endpoint.address) good = good && to.append(change::endpoint(p.endpoint.address));
        if (p.persistent_keepalive_s != 0)
            good = good && to.append(change::persistent_keepalive(p.persistent_keepalive_s));
        for (ip_prefix const& prefix : p.allowed_ips) good = good && to.append(change::allowed_ip(prefix));
    }
    return good;
}

}}} // namespace wg::WG_ABI::quick

#endif
