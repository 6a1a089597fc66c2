// SPDX-License-Identifier: BSL-1.0
// The server's side of SOCKS 5, without sockets. Sources: RFC 1928, RFC 1929 (user and password).
// One thread at a time. No heap: the caller keeps the received bytes until they are used.
#ifndef WGPROXY_SOCKS_HPP
#define WGPROXY_SOCKS_HPP

#include "sink.hpp"

#include <wg/base/secret.hpp>
#include <wg/control/text.hpp>

namespace wgproxy { namespace socks {

/// REP of a reply (RFC 1928 6).
enum class reply : wg::byte {
    succeeded = 0,
    failed = 1,
    not_allowed = 2,
    network_unreachable = 3,
    host_unreachable = 4,
    refused = 5,
    timed_out = 6, ///< "TTL expired" in the RFC; the usual code for a host that does not answer
    command_not_supported = 7,
    address_not_supported = 8,
};

/// What a client asks for.
enum class command : wg::byte { connect = 1, bind = 2, associate = 3 };

/// The longest request: 4 bytes, a name with its length, and a port.
inline constexpr std::size_t most_request_bytes = 4 + 1 + 255 + 2;
/// The longest message of a client: user and password.
inline constexpr std::size_t most_message_bytes = 3 + 255 + 255;
/// The longest reply, and the longest header of a datagram: 4 bytes, an IPv6 address and a port.
inline constexpr std::size_t most_reply_bytes = 4 + 16 + 2;

/// The end that a client names: an address, or the name of a host.
struct destination {
    wg::ip_address address{};         ///< family::none: `host` is a name
    wg::text::short_text<255> host{}; ///< the name, or the text of the address
    std::uint16_t port = 0;
};

namespace detail {

/// Reads ATYP, DST.ADDR and DST.PORT. `used` is their size if they are complete.
inline progress read_destination(wg::bytes_view in, destination& to, std::size_t& used) noexcept {
    if (in.empty()) return progress::more;
    bool const name = in[0] == 3;
    if (!name && in[0] != 1 && in[0] != 4) return progress::bad;
    if (name && in.size() < 2) return progress::more;
    std::size_t const start = name ? 2 : 1;
    std::size_t const size = name ? in[1] : in[0] == 1 ? 4 : 16;
    if (size == 0) return progress::bad;
    if (in.size() < start + size + 2) return progress::more;
    to = destination{};
    to.port = wg::load_be16(in.data() + start + size);
    used = start + size + 2;
    if (!name) {
        to.address = wg::ip_address::of(in[0] == 1 ? wg::family::v4 : wg::family::v6, in.data() + start);
        to.host.append(wg::text::print(to.address));
        return progress::done;
    }
    for (std::size_t i = start; i < start + size; ++i) {
        if (in[i] <= ' ' || in[i] > '~') return progress::bad;
        to.host.append(static_cast<char>(in[i]));
    }
    // Some clients send an address as a name.
    if (auto const address = wg::text::parse_address(to.host)) to.address = *address;
    return progress::done;
}

inline void write_address(wg::endpoint const& where, sink& out) noexcept {
    bool const v6 = where.address.kind == wg::family::v6;
    out.append(wg::byte{v6 ? wg::byte{4} : wg::byte{1}});
    out.append(wg::bytes_view(where.address.octets).first(v6 ? 16 : 4)); // no address: 0.0.0.0
    wg::byte port[2];
    wg::store_be16(port, where.port);
    out.append(wg::bytes_view(port));
}

} // namespace detail

/// Writes a reply to a request. `bound` is BND.ADDR and BND.PORT; without an address it is 0.0.0.0.
inline void write_reply(reply code, wg::endpoint const& bound, sink& out) noexcept {
    out.append(wg::byte{5});
    out.append(static_cast<wg::byte>(code));
    out.append(wg::byte{0});
    detail::write_address(bound, out);
}

/// Reads the header of a datagram (RFC 1928 7). Returns: the number of its bytes; 0 if it is no header, or one of a
/// fragment: those are dropped, as the RFC allows.
inline std::size_t read_datagram(wg::bytes_view in, destination& to) noexcept {
    if (in.size() < 3 || in[0] != 0 || in[1] != 0 || in[2] != 0) return 0;
    std::size_t used = 0;
    return detail::read_destination(in.subspan(3), to, used) == progress::done ? 3 + used : 0;
}

/// Writes the header of a datagram from `source`.
inline void write_datagram(wg::endpoint const& source, sink& out) noexcept {
    wg::byte const head[3] = {};
    out.append(wg::bytes_view(head));
    detail::write_address(source, out);
}

/// User and password that a client has to give. Views of texts that the caller keeps.
struct credentials {
    std::string_view user{}, password{};
};

/// The conversation up to the request. The caller feeds the received bytes, sends the replies, and answers the request
/// by `write_reply`.
class negotiation {
public:
    /// Without `needed`, any client is served. `needed` lives as long as this object.
    explicit negotiation(credentials const* needed) noexcept : needed_(needed) {}

    /// Reads one message from the front of `in`, and appends the answer to `out`. `used` is set to its size.
    /// Returns: more: call again when there are more bytes, or at once if `used` is not 0; done: `what` and `where` are
    /// the request; bad: send the answer, and close.
    progress advance(wg::bytes_view in, std::size_t& used, sink& out) noexcept {
        used = 0;
        switch (state_) {
        case state::greeting: return greet(in, used, out);
        case state::password: return check(in, used, out);
        case state::request: return request(in, used, out);
        default: return progress::bad;
        }
    }

    command what() const noexcept { return what_; }                  ///< the command, after `done`: no `bind`
    destination const& where() const noexcept { return where_; }     ///< the destination, after `done`
    bool wrong_password() const noexcept { return wrong_password_; } ///< why a negotiation was `bad`

private:
    enum class state : std::uint8_t { greeting, password, request, over };

    progress greet(wg::bytes_view in, std::size_t& used, sink& out) noexcept {
        if (in.empty()) return progress::more;
        if (in[0] != 5) return end();
        if (in.size() < 2 || in.size() < std::size_t{2} + in[1]) return progress::more;
        used = std::size_t{2} + in[1];
        wg::byte const method = needed_ != nullptr ? 2 : 0;
        bool offered = false;
        for (wg::byte const m : in.subspan(2, in[1])) offered = offered || m == method;
        out.append(wg::byte{5});
        out.append(offered ? method : wg::byte{0xff});
        if (!offered) return end();
        state_ = method == 2 ? state::password : state::request;
        return progress::more;
    }

    progress check(wg::bytes_view in, std::size_t& used, sink& out) noexcept {
        if (in.empty()) return progress::more;
        if (in[0] != 1) return end();
        if (in.size() < 2 || in.size() < std::size_t{3} + in[1]) return progress::more;
        std::size_t const user = in[1], password = in[2 + user];
        if (in.size() < 3 + user + password) return progress::more;
        used = 3 + user + password;
        bool const good = same(in.subspan(2, user), needed_->user);
        bool const right = same(in.subspan(3 + user, password), needed_->password);
        wrong_password_ = !(good && right);
        out.append(wg::byte{1});
        out.append(wg::byte{wrong_password_ ? wg::byte{1} : wg::byte{0}});
        if (wrong_password_) return end();
        state_ = state::request;
        return progress::more;
    }

    progress request(wg::bytes_view in, std::size_t& used, sink& out) noexcept {
        if (in.empty()) return progress::more;
        if (in[0] != 5) return end();
        if (in.size() < 4) return progress::more;
        std::size_t size = 0;
        progress const got = detail::read_destination(in.subspan(3), where_, size);
        if (got == progress::more) return progress::more;
        bool const known = in[1] == 1 || in[1] == 3;
        if (got == progress::bad || !known) {
            write_reply(known ? reply::address_not_supported : reply::command_not_supported, {}, out);
            return end();
        }
        used = 3 + size;
        what_ = static_cast<command>(in[1]);
        state_ = state::over;
        return progress::done;
    }

    static bool same(wg::bytes_view a, std::string_view b) noexcept {
        return wg::equal_in_constant_time(a, {reinterpret_cast<wg::byte const*>(b.data()), b.size()});
    }

    progress end() noexcept {
        state_ = state::over;
        return progress::bad;
    }

    credentials const* needed_;
    state state_ = state::greeting;
    command what_ = command::connect;
    bool wrong_password_ = false;
    destination where_{};
};

}} // namespace wgproxy::socks

#endif
