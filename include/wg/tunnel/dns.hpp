// SPDX-License-Identifier: BSL-1.0
// Questions to a DNS server, its answers, a cache of answers, and the names that a search list makes of a name.
// Sources: RFC 1034 and 1035; RFC 2181 8 (TTL), RFC 2308 (negative answers), RFC 6891 (EDNS), resolv.conf(5).
// Folder: tunnel. No input and output, no heap. An object is used by one thread at a time.
//
//     wg::dns::name name;
//     for (wg::dns::search names("db", configuration.search_domains); names.next(name);) {
//         auto question = wg::dns::question::create(name, wg::dns::record::a, random);
//         send(question->message());                        // to port 53 of a server, from a random port
//         wg::dns::answer const got = wg::dns::parse(receive(), *question);
//         if (got.what == wg::dns::outcome::not_ours) ...   // wait for another datagram
//         if (got.needs_stream()) ...                       // once more over TCP, with `stream_message`
//         if (got.what == wg::dns::outcome::no_edns) ...    // once more after `omit_edns`
//         if (got.what != wg::dns::outcome::no_such_name) return got.addresses();
//     }
//
// A forged answer has to guess the id (16 bits), the port of the question, and the case of each letter of its name: the
// question has letters of random case, and servers copy the question into the answer.
#ifndef WG_TUNNEL_DNS_HPP
#define WG_TUNNEL_DNS_HPP

#include "../base/endpoint.hpp"
#include "../base/status.hpp"
#include "../base/time.hpp"

#include <algorithm>
#include <string_view>

namespace wg { inline namespace WG_ABI { namespace dns {

inline constexpr std::uint16_t server_port = 53;                ///< of UDP and TCP
inline constexpr std::size_t most_name_bytes = 255;             ///< of a name in a message (RFC 1035 2.3.4)
inline constexpr std::size_t most_label_chars = 63;             ///< of a part of a name between dots
inline constexpr std::uint16_t most_udp_bytes = 1232;           ///< of an answer over UDP that no path has to fragment
inline constexpr std::size_t most_stream_bytes = 65535;         ///< of an answer over TCP, without its length
inline constexpr std::size_t most_addresses = 8;                ///< of an answer that are kept
inline constexpr unsigned most_aliases = 8;                     ///< that one answer follows
inline constexpr duration longest_ttl = seconds(86400);         ///< longer ones are cut
inline constexpr duration longest_negative_ttl = seconds(3600); ///< of an answer without addresses (RFC 2308 5)

/// The type of the records that are asked for.
enum class record : std::uint16_t {
    a = 1,     ///< IPv4 addresses
    aaaa = 28, ///< IPv6 addresses (RFC 3596)
};

/// A name in the form of a message, in lower case. The default is the root.
class name {
public:
    /// Reads a name such as `db.example.com`, with or without a dot at the end. Parts have 1 to 63 characters: letters,
    /// digits, `-` and `_`. Returns: invalid if the text is something else, or too long.
    static constexpr result<name> from_text(std::string_view text) noexcept {
        name made;
        if (text.ends_with('.')) text.remove_suffix(1);
        if (text.empty() || !made.append(text)) return status::invalid;
        return made;
    }

    /// Appends the parts of a text. Returns: false, and the name is unspecified, if the result is no name.
    [[nodiscard]] constexpr bool append(std::string_view text) noexcept {
        std::size_t at = size_ - 1; // of the root, which ends each name
        while (true) {
            std::size_t const dot = text.find('.');
            std::string_view const label = text.substr(0, dot);
            if (label.empty() || label.size() > most_label_chars || at + 1 + label.size() + 1 > most_name_bytes)
                return false;
            wire_[at++] = static_cast<byte>(label.size());
            for (char const c : label) {
                byte const letter = lower(static_cast<byte>(c));
                bool const allowed = (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ||
                                     letter == '-' || letter == '_';
                if (!allowed) return false;
                wire_[at++] = letter;
            }
            wire_[at] = 0;
            size_ = static_cast<std::uint16_t>(at + 1);
            if (dot == std::string_view::npos) return true;
            text.remove_prefix(dot + 1);
        }
    }

    /// The labels, each after its length, and the empty one of the root.
    constexpr bytes_view wire() const noexcept { return {wire_.data(), size_}; }

    friend constexpr bool operator==(name const& a, name const& b) noexcept {
        return std::equal(a.wire().begin(), a.wire().end(), b.wire().begin(), b.wire().end());
    }

    /// Reads a name at `at` of a message, and moves `at` behind it. Letters become lower case. A pointer (RFC 1035
    /// 4.1.4) must lead to an earlier place than the labels before it, so that a loop is impossible.
    /// Returns: false if there is no name.
    [[nodiscard]] constexpr bool read(bytes_view message, std::size_t& at) noexcept {
        std::size_t here = at, limit = at;
        bool jumped = false;
        size_ = 0;
        while (here < message.size()) {
            byte const length = message[here];
            if ((length & 0xc0) == 0xc0) {
                if (here + 1 >= message.size()) return false;
                if (!jumped) at = here + 2;
                here = static_cast<std::size_t>(length & 0x3f) << 8 | message[here + 1];
                if (here >= limit) return false;
                limit = here;
                jumped = true;
                continue;
            }
            if (length > most_label_chars || length >= message.size() - here) return false;
            if (size_ + 1u + length + (length != 0 ? 1u : 0u) > most_name_bytes) return false;
            wire_[size_++] = length;
            for (std::size_t i = 1; i <= length; ++i) wire_[size_++] = lower(message[here + i]);
            here += 1u + length;
            if (length != 0) continue;
            if (!jumped) at = here;
            return true;
        }
        return false;
    }

    /// The lower case of an ASCII letter, and any other byte as it is.
    static constexpr byte lower(byte c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<byte>(c + 32) : c; }

private:
    byte_array<most_name_bytes> wire_{};
    std::uint16_t size_ = 1;
};

namespace dns_detail {

inline constexpr std::size_t header_bytes = 12, question_tail_bytes = 4, opt_bytes = 11, record_head_bytes = 10;
inline constexpr std::uint16_t class_internet = 1, type_cname = 5, type_soa = 6, type_opt = 41;
inline constexpr std::uint16_t flag_answer = 0x8000, flag_truncated = 0x0200, flag_recursion = 0x0100,
                               opcode_mask = 0x7800, rcode_mask = 0x000f;

} // namespace dns_detail

/// A question, as the message for a server. It asks for recursion.
class question {
public:
    /// Makes a question with a random id and letters of random case. `random` has `bool fill(bytes)`.
    /// Returns: no_random if it fails.
    template <class Random> static result<question> create(name const& host, record type, Random& random) noexcept {
        using namespace dns_detail;
        byte_array<2 + (most_name_bytes + 7) / 8> noise{};
        if (!random.fill(noise)) return status::no_random;
        question made;
        made.host_ = host;
        made.type_ = type;
        byte* const to = made.bytes_.data() + 2;
        std::copy_n(noise.data(), 2, to);
        store_be16(to + 2, flag_recursion);
        store_be16(to + 4, 1);  // one question
        store_be16(to + 10, 1); // one additional record: OPT
        std::size_t at = header_bytes;
        for (std::size_t i = 0; i < host.wire().size(); ++i) {
            byte const c = host.wire()[i]; // a length is below 64: no letter
            bool const letter = c >= 'a' && c <= 'z';
            bool const upper = letter && (noise[2 + i / 8] >> (i % 8) & 1) != 0;
            to[at++] = upper ? static_cast<byte>(c - 32) : c;
        }
        store_be16(to + at, static_cast<std::uint16_t>(type));
        store_be16(to + at + 2, class_internet);
        at += question_tail_bytes;
        store_be16(to + at + 1, type_opt); // its name is the root, a zero byte
        store_be16(to + at + 3, most_udp_bytes);
        at += opt_bytes; // extended code, version, flags and length are zero
        made.set_size(at);
        return made;
    }

    /// Leaves out EDNS, for servers that do not know it (RFC 6891 6.2.2).
    constexpr void omit_edns() noexcept {
        if (!has_edns()) return;
        bytes_[2 + 11] = 0;
        set_size(size_ - dns_detail::opt_bytes);
    }
    /// Whether the question has EDNS.
    constexpr bool has_edns() const noexcept { return bytes_[2 + 11] != 0; }

    /// The payload of a UDP datagram.
    constexpr bytes_view message() const noexcept { return {bytes_.data() + 2, size_}; }
    /// The bytes for a TCP connection: the length in 2 bytes, and the message (RFC 1035 4.2.2).
    constexpr bytes_view stream_message() const noexcept { return {bytes_.data(), size_ + std::size_t{2}}; }
    /// The name.
    constexpr name const& host() const noexcept { return host_; }
    /// The type of records.
    constexpr record type() const noexcept { return type_; }

private:
    constexpr void set_size(std::size_t size) noexcept {
        size_ = static_cast<std::uint16_t>(size);
        store_be16(bytes_.data(), size_);
    }

    byte_array<2 + dns_detail::header_bytes + most_name_bytes + dns_detail::question_tail_bytes + dns_detail::opt_bytes>
        bytes_{};
    std::uint16_t size_ = 0;
    record type_ = record::a;
    name host_{};

    template <class> friend class wg::result; // its value is empty until it is assigned
    constexpr question() noexcept = default;
};

/// What an answer says.
enum class outcome : std::uint8_t {
    found,         ///< there are addresses
    no_data,       ///< the name exists, and has no records of this type
    no_such_name,  ///< the name does not exist (NXDOMAIN)
    truncated,     ///< the answer is longer than a datagram: ask over TCP
    case_changed,  ///< the letters of the name have another case: forged, or the server does not copy it: ask over TCP
    no_edns,       ///< the server does not know EDNS: ask without
    server_failed, ///< SERVFAIL and other errors of the server: ask another server
    refused,       ///< REFUSED: ask another server
    malformed,     ///< the answer to this question, but it breaks the format
    not_ours,      ///< another question, no answer, or no message of DNS: wait for another datagram
};

/// An answer.
struct answer {
    outcome what = outcome::not_ours;              ///< what it says
    std::uint8_t count = 0;                        ///< of `list`
    std::array<ip_address, most_addresses> list{}; ///< the addresses, in the order of the server
    duration ttl{};                                ///< how long the answer holds; 0: it is not cached

    /// The addresses.
    constexpr std::span<ip_address const> addresses() const noexcept { return {list.data(), count}; }
    /// Whether the question has to be asked over TCP.
    constexpr bool needs_stream() const noexcept { return what == outcome::truncated || what == outcome::case_changed; }
    /// Whether the server has said for certain which addresses there are, even if none.
    constexpr bool is_final() const noexcept {
        return what == outcome::found || what == outcome::no_data || what == outcome::no_such_name;
    }
};

namespace dns_detail {

/// The head of a record, and the place of its data.
struct record_head {
    name owner{};
    std::uint16_t type = 0, class_ = 0;
    std::uint32_t ttl_s = 0;
    std::size_t data = 0, size = 0;
};

constexpr duration ttl_of(std::uint32_t ttl_s) noexcept { // RFC 2181 8: the highest bit means zero
    duration const ttl = seconds(ttl_s >> 31 != 0 ? 0 : ttl_s);
    return ttl < longest_ttl ? ttl : longest_ttl;
}

class reader {
public:
    constexpr reader(bytes_view message, question const& asked, bool stream) noexcept
        : message_(message), asked_(asked), stream_(stream) {}

    constexpr answer read() noexcept {
        answer got;
        got.what = read_all(got);
        if (got.what != outcome::found) got.count = 0;
        if (!got.is_final()) got.ttl = {};
        return got;
    }

private:
    constexpr outcome read_all(answer& got) noexcept {
        if (message_.size() < header_bytes) return outcome::not_ours;
        std::uint16_t const flags = word(2), questions = word(4);
        if (word(0) != load_be16(asked_.message().data()) || (flags & (flag_answer | opcode_mask)) != flag_answer)
            return outcome::not_ours;
        unsigned code = flags & rcode_mask;
        std::size_t at = header_bytes;
        // A server that cannot read a question may leave it out of its error.
        if (questions == 0 && code != 0 && code != 3) return error(code, false);
        if (questions != 1) return outcome::not_ours;
        bool same_case = true;
        if (!skip_question(at, same_case)) return outcome::not_ours;
        if (!same_case && !stream_) return outcome::case_changed;
        if ((flags & flag_truncated) != 0 && !stream_) return outcome::truncated;

        std::size_t const answers = at;
        if (!walk(at, word(6), [](record_head const&) {})) return outcome::malformed;
        duration negative{};
        if (!walk(at, word(8), [&](record_head const& r) { read_soa(r, negative); })) return outcome::malformed;
        bool edns = false;
        if (!walk(at, word(10), [&](record_head const& r) {
                if (r.type != type_opt || r.owner != name()) return;
                edns = true;
                code |= r.ttl_s >> 24 << 4;
            }))
            return outcome::malformed;
        if (code != 0 && code != 3) return error(code, edns);

        outcome const said = code == 3 ? outcome::no_such_name : follow(answers, got);
        if (said != outcome::found) got.ttl = negative < longest_negative_ttl ? negative : longest_negative_ttl;
        return said;
    }

    constexpr outcome error(unsigned code, bool edns) const noexcept {
        bool const bad_format = code == 1 || code == 4; // FORMERR, NOTIMP
        if (asked_.has_edns() && ((bad_format && !edns) || code == 16)) return outcome::no_edns;
        return code == 5 ? outcome::refused : outcome::server_failed;
    }

    constexpr std::uint16_t word(std::size_t at) const noexcept { return load_be16(message_.data() + at); }

    /// Compares the question with ours, byte by byte. Returns: false if it is another one.
    constexpr bool skip_question(std::size_t& at, bool& same_case) const noexcept {
        bytes_view const ours =
            asked_.message().subspan(header_bytes, asked_.host().wire().size() + question_tail_bytes);
        if (message_.size() - at < ours.size()) return false;
        for (std::size_t i = 0; i < ours.size(); ++i) {
            byte const theirs = message_[at + i];
            bool const in_name = i + question_tail_bytes < ours.size();
            if (theirs == ours[i]) continue;
            if (!in_name || name::lower(theirs) != name::lower(ours[i])) return false;
            same_case = false;
        }
        at += ours.size();
        return true;
    }

    /// Calls `use` for `count` records, and moves `at` behind them. Returns: false if a record does not fit.
    template <class Use> constexpr bool walk(std::size_t& at, unsigned count, Use use) const noexcept {
        record_head head;
        for (; count > 0; --count) {
            if (!head.owner.read(message_, at) || message_.size() - at < record_head_bytes) return false;
            head.type = word(at);
            head.class_ = word(at + 2);
            head.ttl_s = load_be32(message_.data() + at + 4);
            head.size = word(at + 8);
            head.data = at + record_head_bytes;
            if (message_.size() - head.data < head.size) return false;
            at = head.data + head.size;
            use(head);
        }
        return true;
    }

    /// RFC 2308 5: a negative answer holds for the smaller of the TTL and the last field of the SOA record.
    constexpr void read_soa(record_head const& head, duration& ttl) const noexcept {
        if (head.type != type_soa || head.class_ != class_internet) return;
        std::size_t at = head.data;
        name ignored;
        constexpr std::size_t numbers_bytes = 20;
        if (!ignored.read(message_, at) || !ignored.read(message_, at) || at + numbers_bytes != head.data + head.size)
            return;
        ttl = std::min(ttl_of(head.ttl_s), ttl_of(load_be32(message_.data() + at + 16)));
    }

    /// Follows the aliases from our name, and collects addresses. Records may stand in any order.
    constexpr outcome follow(std::size_t answers, answer& got) const noexcept {
        name owner = asked_.host();
        got.ttl = longest_ttl;
        for (unsigned aliases = 0; aliases <= most_aliases; ++aliases) {
            bool alias = false, broken = false;
            name target;
            std::size_t at = answers;
            bool const whole = walk(at, word(6), [&](record_head const& head) {
                if (head.class_ != class_internet || head.owner != owner) return;
                if (head.type == static_cast<std::uint16_t>(asked_.type())) broken = !collect(head, got) || broken;
                else if (head.type == type_cname && !alias) {
                    std::size_t end = head.data;
                    alias = target.read(message_, end) && end == head.data + head.size;
                    broken = broken || !alias;
                } else return;
                got.ttl = std::min(got.ttl, ttl_of(head.ttl_s));
            });
            if (!whole || broken) return outcome::malformed;
            if (got.count > 0) return outcome::found;
            if (!alias) return outcome::no_data;
            owner = target;
        }
        return outcome::malformed; // a loop, or a chain that is longer than any honest one
    }

    constexpr bool collect(record_head const& head, answer& got) const noexcept {
        bool const v4 = asked_.type() == record::a;
        if (head.size != (v4 ? 4u : 16u)) return false;
        if (got.count == most_addresses) return true;
        ip_address& to = got.list[got.count++];
        to.kind = v4 ? family::v4 : family::v6;
        std::copy_n(message_.data() + head.data, head.size, to.octets.data());
        return true;
    }

    bytes_view message_;
    question const& asked_;
    bool stream_;
};

} // namespace dns_detail

/// Reads the answer to a question. `stream`: it came over TCP, without its length. There the case of letters does not
/// matter, because the connection has proved the sender.
constexpr answer parse(bytes_view message, question const& asked, bool stream = false) noexcept {
    return dns_detail::reader(message, asked, stream).read();
}

/// The names that a text stands for, in the order in which a resolver asks for them (resolv.conf(5), `search` and
/// `ndots`): a name that ends with a dot stands for itself. A name with `ndots` dots or more is tried as it is first,
/// then with each search domain. A name with fewer dots is tried with the domains first.
/// `Domains` is a range of texts, which live as long as this object, like `host`.
template <class Domains> class search {
public:
    /// A name with at least `ndots` dots is tried as it is first.
    constexpr search(std::string_view host, Domains const& domains, unsigned ndots = 1) noexcept
        : host_(host), domains_(domains) {
        auto const dots = static_cast<unsigned>(std::count(host.begin(), host.end(), '.'));
        absolute_ = host.ends_with('.');
        itself_first_ = absolute_ || dots >= ndots;
    }

    /// Takes the next name. Names that would be too long or have wrong characters are left out.
    /// Returns: false if there is none left.
    [[nodiscard]] constexpr bool next(name& to) noexcept {
        while (true) {
            std::size_t const count = absolute_ ? 0 : std::size(domains_);
            if (at_ > count) return false;
            std::size_t const place = at_++;
            if (place == (itself_first_ ? 0 : count)) {
                auto const made = name::from_text(host_);
                if (!made) continue;
                to = *made;
                return true;
            }
            std::string_view domain = domains_[itself_first_ ? place - 1 : place];
            if (domain.ends_with('.')) domain.remove_suffix(1);
            auto made = name::from_text(host_);
            if (!made || !made->append(domain)) continue;
            to = *made;
            return true;
        }
    }

private:
    std::string_view host_;
    Domains const& domains_;
    std::size_t at_ = 0;
    bool absolute_ = false, itself_first_ = false;
};

/// Final answers until their TTL ends, `Capacity` at most. A full cache drops the answer whose time ends first.
template <std::size_t Capacity = 64> class cache {
    static_assert(Capacity > 0);

public:
    /// Returns: the answer, of which the TTL is the rest; `not_ours` if there is none.
    constexpr answer find(name const& host, record type, instant now) const noexcept {
        for (entry const& e : entries_) {
            if (e.until <= now || e.type != type || e.host != host) continue;
            answer found = e.what;
            found.ttl = e.until - now;
            return found;
        }
        return {};
    }

    /// Keeps a final answer with a TTL, in place of an older one.
    constexpr void store(question const& asked, answer const& what, instant now) noexcept {
        if (!what.is_final() || what.ttl <= duration{}) return;
        entry* place = &entries_[0];
        for (entry& e : entries_) {
            if (e.type == asked.type() && e.host == asked.host()) {
                place = &e;
                break;
            }
            if (e.until < place->until) place = &e;
        }
        *place = {asked.host(), asked.type(), now + what.ttl, what};
    }

    /// Forgets all answers, for instance when the servers change.
    constexpr void clear() noexcept {
        for (entry& e : entries_) e.until = instant{INT64_MIN};
    }

private:
    struct entry {
        name host{};
        record type = record::a;
        instant until{INT64_MIN};
        answer what{};
    };
    std::array<entry, Capacity> entries_{};
};

}}} // namespace wg::WG_ABI::dns

#endif
