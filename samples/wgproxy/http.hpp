// SPDX-License-Identifier: BSL-1.0
// The requests that an HTTP/1.1 proxy reads, and what it sends to the server. Without sockets.
// Sources: RFC 9110 (7.6: fields of one hop, 9.3.6: CONNECT, 11.7: authentication), RFC 9112 (3, 6, 7.1).
// One thread at a time. No heap: a head is read in the caller's buffer, and refers to it.
//
// One request is forwarded on each connection: `Connection: close` tells the server to end the response by closing.
// The proxy then needs to know where the request ends, but not the response. What two parsers may read differently is
// refused: two lengths, folded lines, space before a colon, control characters.
#ifndef WGPROXY_HTTP_HPP
#define WGPROXY_HTTP_HPP

#include "sink.hpp"

#include <wg/base/secret.hpp>
#include <wg/control/text.hpp>

#include <array>
#include <utility>

namespace wgproxy { namespace http {

inline constexpr std::size_t most_head_bytes = 16384; ///< of a request without its body; longer ones get a 431
inline constexpr std::size_t most_fields = 100;       ///< of a request
inline constexpr std::size_t added_bytes = 320;       ///< by which `write_request` may lengthen a head

/// A field of a head.
struct field {
    std::string_view name{}, value{};
};

/// How the body of a request ends.
enum class body : std::uint8_t { none, length, chunked };

/// The head of a request. Its texts are those of the caller's buffer.
struct request {
    std::string_view method{};
    std::string_view host{}; ///< a name or an address, without brackets
    std::uint16_t port = 0;
    std::string_view version{};   ///< `HTTP/1.1` or `HTTP/1.0`
    bool connect = false;         ///< CONNECT: bytes follow
    std::string_view path{};      ///< of a plain request: path and query; may lack the first `/`
    std::string_view authority{}; ///< of a plain request: as the client has written it
    body framing = body::none;
    std::uint64_t body_bytes = 0;     ///< for `body::length`
    std::string_view authorization{}; ///< the value of Proxy-Authorization
    std::size_t head_bytes = 0;       ///< of the head, with the empty line
    std::size_t field_count = 0;      ///< of `fields`
    std::array<field, most_fields> fields{};

    unsigned error = 0;         ///< if it is bad: the status for the answer
    std::string_view problem{}; ///< if it is bad: a line for the answer
};

/// Whether both are the same, if ASCII letters of either case are equal.
constexpr bool same_word(std::string_view a, std::string_view b) noexcept {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        auto const lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
        if (lower(a[i]) != lower(b[i])) return false;
    }
    return true;
}

namespace detail {

/// RFC 9110 5.6.2.
constexpr bool is_token(std::string_view text) noexcept {
    for (char const c : text) {
        bool const letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && std::string_view("!#$%&'*+-.^_`|~").find(c) == std::string_view::npos) return false;
    }
    return !text.empty();
}

constexpr std::string_view trimmed(std::string_view text) noexcept {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

/// Takes the next member of a list with commas. Returns: false at its end.
constexpr bool next_member(std::string_view& list, std::string_view& member) noexcept {
    if (list.empty()) return false;
    std::size_t const comma = list.find(',');
    member = trimmed(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    return true;
}

/// Reads `host`, `host:port` or `[address]:port`. `standard`: the port if there is none; 0: there must be one.
constexpr bool read_authority(std::string_view text, std::uint16_t standard, request& to) noexcept {
    bool const brackets = text.starts_with('[');
    std::size_t const end = brackets ? text.find(']') : text.find(':');
    if (brackets && end == std::string_view::npos) return false;
    to.host = text.substr(brackets, end == std::string_view::npos ? end : end - brackets);
    std::string_view tail = end == std::string_view::npos ? std::string_view() : text.substr(end + brackets);
    to.port = standard;
    if (!tail.empty() && tail != ":") {
        if (tail.front() != ':') return false;
        auto const port = wg::text::parse_decimal<std::uint16_t>(tail.substr(1));
        if (!port) return false;
        to.port = *port;
    }
    if (to.host.empty() || to.host.size() > 255 || to.port == 0) return false;
    auto const address = wg::text::parse_address(to.host);
    if (brackets) return address && address->kind == wg::family::v6;
    for (char const c : to.host) {
        bool const letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '-' && c != '_' && c != '.') return false;
    }
    return true;
}

constexpr progress fail(request& to, unsigned error, std::string_view problem) noexcept {
    to.error = error;
    to.problem = problem;
    return progress::bad;
}

inline progress read_request_line(std::string_view line, request& to) noexcept {
    std::size_t const first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) return fail(to, 400, "no request line of HTTP/1.1");
    to.method = line.substr(0, first);
    std::string_view const target = line.substr(first + 1, last - first - 1), version = line.substr(last + 1);
    if (!is_token(to.method)) return fail(to, 400, "the method is no token");
    if (version != "HTTP/1.1" && version != "HTTP/1.0") return fail(to, 505, "the version is not HTTP/1.0 or HTTP/1.1");
    to.version = version;
    for (char const c : target)
        if (c <= ' ' || c == '\x7f') return fail(to, 400, "the target has space, control or other wrong characters");
    to.connect = to.method == "CONNECT";
    if (to.connect) return read_authority(target, 0, to) ? progress::done : fail(to, 400, "CONNECT needs HOST:PORT");
    constexpr std::string_view scheme = "http://";
    if (same_word(target.substr(0, scheme.size()), scheme)) {
        std::string_view const rest = target.substr(scheme.size());
        std::size_t const end = rest.find_first_of("/?#");
        to.authority = rest.substr(0, end);
        to.path = end == std::string_view::npos ? std::string_view() : rest.substr(end);
        to.path = to.path.substr(0, to.path.find('#'));
        return read_authority(to.authority, 80, to) ? progress::done
                                                    : fail(to, 400, "the URL has no host that a proxy can reach");
    }
    if (same_word(target.substr(0, 8), "https://")) return fail(to, 400, "https:// needs the method CONNECT");
    return fail(to, 400, "this is a proxy: the target has to be a URL that begins with http://");
}

inline progress read_field(std::string_view line, request& to, bool& has_length) noexcept {
    std::size_t const colon = line.find(':');
    field f{line.substr(0, colon), colon == std::string_view::npos ? line : trimmed(line.substr(colon + 1))};
    if (colon == std::string_view::npos || !is_token(f.name)) return fail(to, 400, "a line of the head is no field");
    for (char const c : f.value)
        if ((static_cast<unsigned char>(c) < ' ' && c != '\t') || c == '\x7f')
            return fail(to, 400, "a field has control characters");
    if (same_word(f.name, "Content-Length")) {
        auto const length = wg::text::parse_decimal<std::uint64_t>(f.value);
        if (!length || (has_length && *length != to.body_bytes)) return fail(to, 400, "Content-Length is no number");
        to.body_bytes = *length;
        if (std::exchange(has_length, true)) return progress::done; // once is enough
    }
    if (same_word(f.name, "Transfer-Encoding")) {
        if (to.framing == body::chunked || !same_word(f.value, "chunked"))
            return fail(to, 501, "Transfer-Encoding other than `chunked` is not supported");
        to.framing = body::chunked;
    }
    if (same_word(f.name, "Proxy-Authorization")) to.authorization = f.value;
    if (to.field_count == most_fields) return fail(to, 431, "too many fields");
    to.fields[to.field_count++] = f;
    return progress::done;
}

/// Whether a field concerns one hop only, so that a proxy does not forward it (RFC 9110 7.6.1). `Transfer-Encoding`
/// stays, because the body is forwarded as it is.
inline bool is_of_one_hop(request const& of, std::string_view name) noexcept {
    for (std::string_view const hop : {"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate",
                                       "Proxy-Authorization", "TE", "Upgrade", "HTTP2-Settings"})
        if (same_word(name, hop)) return true;
    if (same_word(name, "Transfer-Encoding") || same_word(name, "Content-Length")) return false;
    for (std::size_t i = 0; i < of.field_count; ++i) {
        if (!same_word(of.fields[i].name, "Connection")) continue;
        std::string_view list = of.fields[i].value, member;
        while (next_member(list, member))
            if (same_word(member, name)) return true;
    }
    return false;
}

} // namespace detail

/// Reads the head of a request from the front of `in`.
/// Returns: more: wait for more bytes; bad: answer `error` and `problem`, and close; done.
inline progress read_request(std::string_view in, request& to) noexcept {
    to = request{};
    std::size_t at = 0;
    // RFC 9112 2.2: empty lines before a request are ignored.
    while (at < in.size() && at < 4 && (in[at] == '\r' || in[at] == '\n')) ++at;
    bool has_length = false;
    for (bool first = true;; first = false) {
        std::size_t const end = in.substr(0, most_head_bytes).find('\n', at);
        if (end == std::string_view::npos)
            return in.size() < most_head_bytes ? progress::more : detail::fail(to, 431, "the head is too long");
        std::string_view line = in.substr(at, end - at);
        if (line.ends_with('\r')) line.remove_suffix(1);
        at = end + 1;
        if (line.empty() && !first) break;
        progress const got = first ? detail::read_request_line(line, to) : detail::read_field(line, to, has_length);
        if (got != progress::done) return got;
    }
    to.head_bytes = at;
    if (to.framing == body::chunked && to.version == "HTTP/1.0")
        return detail::fail(to, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (to.framing == body::chunked && has_length)
        return detail::fail(to, 400, "Content-Length and Transfer-Encoding contradict each other");
    if (has_length && to.body_bytes > 0) to.framing = body::length;
    return progress::done;
}

/// Writes the head for the server of a plain request: the path instead of the URL, the host of the URL, no fields of
/// one hop. Returns: false if it does not fit. `most_head_bytes + added_bytes` always suffice.
inline bool write_request(request const& from, sink& out) noexcept {
    out.append(from.method);
    out.append(" ");
    // RFC 9112 3.2.4: OPTIONS of a URL without path and query is about the server as a whole.
    if (from.path.empty() && from.method == "OPTIONS") out.append("*");
    else if (!from.path.starts_with('/')) out.append("/");
    out.append(from.path);
    out.append(" ");
    out.append(from.version); // the response must suit the client
    out.append("\r\nHost: ");
    out.append(from.authority);
    out.append("\r\n");
    for (std::size_t i = 0; i < from.field_count; ++i) {
        field const& f = from.fields[i];
        if (same_word(f.name, "Host") || detail::is_of_one_hop(from, f.name)) continue;
        out.append(f.name);
        out.append(": ");
        out.append(f.value);
        out.append("\r\n");
    }
    out.append("Via: 1.1 wgproxy\r\nConnection: close\r\n\r\n");
    return out.complete();
}

/// Whether the request has the user and password of `expected`, which is `USER:PASSWORD` in base64.
inline bool is_authorized(request const& from, std::string_view expected) noexcept {
    std::string_view const value = from.authorization;
    if (!same_word(value.substr(0, 6), "Basic ")) return false;
    std::string_view const given = detail::trimmed(value.substr(6));
    return wg::equal_in_constant_time({reinterpret_cast<wg::byte const*>(given.data()), given.size()},
                                      {reinterpret_cast<wg::byte const*>(expected.data()), expected.size()});
}

/// Writes `data` in base64 (RFC 4648 4).
inline void write_base64(std::string_view data, sink& out) noexcept {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < data.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k)
            group = group << 8 | (i + k < data.size() ? static_cast<unsigned char>(data[i + k]) : 0u);
        for (std::size_t k = 0; k < 4; ++k)
            out.append(k > data.size() - i ? std::string_view("=") : digits.substr(group >> (18 - 6 * k) & 63, 1));
    }
}

/// The answer to CONNECT, after which bytes follow.
inline constexpr std::string_view connected = "HTTP/1.1 200 Connection established\r\n\r\n";

/// Writes an answer that ends the connection: a status and a line of text.
inline void write_error(unsigned error, std::string_view problem, sink& out) noexcept {
    std::string_view const name = error == 400   ? "Bad Request"
                                  : error == 403 ? "Forbidden"
                                  : error == 407 ? "Proxy Authentication Required"
                                  : error == 431 ? "Request Header Fields Too Large"
                                  : error == 501 ? "Not Implemented"
                                  : error == 502 ? "Bad Gateway"
                                  : error == 504 ? "Gateway Timeout"
                                  : error == 505 ? "HTTP Version Not Supported"
                                                 : "Error";
    out.append("HTTP/1.1 ");
    out.append(wg::text::print_decimal(error).view());
    out.append(" ");
    out.append(name);
    if (error == 407) out.append("\r\nProxy-Authenticate: Basic realm=\"wgproxy\"");
    out.append("\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ");
    out.append(wg::text::print_decimal(problem.size() + 1).view());
    out.append("\r\n\r\n");
    out.append(problem);
    out.append("\n");
}

/// Finds the end of the body of a request, of which the bytes pass by.
class body_meter {
public:
    body_meter() noexcept = default;
    explicit body_meter(request const& of) noexcept
        : state_(of.framing == body::none     ? state::over
                 : of.framing == body::length ? state::data
                                              : state::size),
          chunked_(of.framing == body::chunked), left_(of.framing == body::length ? of.body_bytes : 0) {}

    /// Returns: how many of the bytes belong to the body.
    std::size_t take(wg::bytes_view in) noexcept {
        std::size_t at = 0;
        while (at < in.size() && state_ != state::over && state_ != state::bad) {
            if (state_ != state::data) {
                step(static_cast<char>(in[at++]));
                continue;
            }
            std::size_t const part = left_ < in.size() - at ? static_cast<std::size_t>(left_) : in.size() - at;
            at += part;
            left_ -= part;
            if (left_ == 0) state_ = chunked_ ? state::data_end : state::over;
        }
        return at;
    }

    bool over() const noexcept { return state_ == state::over; } ///< the body has ended
    bool bad() const noexcept { return state_ == state::bad; }   ///< its chunks break the format: close

private:
    enum class state : std::uint8_t { size, extension, data, data_end, trailer, trailer_line, over, bad };
    static constexpr std::uint32_t most_line_chars = 4096; // of an extension, and of all trailers together

    void step(char c) noexcept {
        switch (state_) {
        case state::size: {
            std::uint32_t valid = ~0u;
            std::uint32_t const digit = wg::text::text_detail::hex_value(c, valid);
            if (valid != 0) {
                if (++digits_ > 15) state_ = state::bad;
                left_ = left_ << 4 | digit;
            } else if (digits_ == 0) state_ = state::bad;
            else if (c == '\n') end_size();
            else if (c == ';' || c == '\r' || c == ' ' || c == '\t') state_ = state::extension;
            else state_ = state::bad;
            return;
        }
        case state::extension:
            if (c == '\n') end_size();
            else if (++line_ > most_line_chars) state_ = state::bad;
            return;
        case state::data_end:
            if (c == '\n') begin_size();
            else if (c != '\r') state_ = state::bad;
            return;
        case state::trailer: // at the beginning of a line
            if (c == '\n') state_ = state::over;
            else if (c != '\r') state_ = state::trailer_line;
            return;
        default: // in a line of the trailer
            if (c == '\n') state_ = state::trailer;
            else if (++line_ > most_line_chars) state_ = state::bad;
        }
    }
    void begin_size() noexcept {
        state_ = state::size;
        left_ = 0;
        digits_ = 0;
        line_ = 0;
    }
    void end_size() noexcept {
        state_ = left_ == 0 ? state::trailer : state::data;
        line_ = 0;
    }

    state state_ = state::over;
    bool chunked_ = false;
    std::uint8_t digits_ = 0;
    std::uint32_t line_ = 0;
    std::uint64_t left_ = 0;
};

}} // namespace wgproxy::http

#endif
