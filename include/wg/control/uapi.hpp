// SPDX-License-Identifier: BSL-1.0
// The cross-platform configuration protocol of wg(8), without the stream that it runs over.
// Source: https://www.wireguard.com/xplatform/. Folder: control. A session is used by one thread at a time.
//
// Each connection has one session. The session takes received bytes in pieces of any size, and appends replies:
//
//     wg::uapi::session session{if_nametoindex};
//     wg::secret_buffer reply;
//     while (bytes const chunk = read_some(socket, memory); !chunk.empty()) {
//         wg::status const s = session.feed(chunk, target, reply);    // target: see the concept below
//         write_all(socket, reply.view()), reply.clear(), wg::wipe(chunk.data(), chunk.size());
//         if (s != wg::status::ok) break;                             // answered; close
//     }
//
// An operation is `set=1` or `get=1`, lines `key=value`, and an empty line; a connection may carry many.
// - A `set` is read to its end before any of it is applied. The first error in it is the answer, nothing changes, and
//   the rest up to the empty line is skipped. A connection that ends before the empty line changes nothing.
// - Errors are `errno=-N` for a set and `errno=N` for a get: wg(8) understands only these.
// - If a line other than `set=1` or `get=1` stands where an operation should begin, the answer is `errno=-EPROTO`, and
//   the connection ends, because the start of the next operation is unknown. wg(8) reports a protocol error.
// - Lines longer than any valid one are a protocol error. Pending changes and replies have an upper bound too.
// - Beyond the protocol of wg(8), a peer has `ratchet=N`: its preshared key is replaced every N seconds, 0: never. A
//   reply has that line too, and `ratchet_epoch=N` after the first session. It also has `post_quantum=off`, `prefer` or
//   `require`; a reply has that line, `post_quantum_exchanges=N`, and the UNIX time of the last one in
//   `post_quantum_since=N`. wg(8) ignores these lines.
// Lines, changes and replies may hold keys. They are wiped as soon as they have been used.
#ifndef WG_CONTROL_UAPI_HPP
#define WG_CONTROL_UAPI_HPP

#include "../base/config.hpp"
#include "../base/status.hpp"
#include "secret_buffer.hpp"
#include "text.hpp"

#include <cerrno>
#include <concepts>

namespace wg { inline namespace WG_ABI { namespace uapi {

inline constexpr std::size_t longest_line_chars = 255; ///< the longest valid line, an endpoint, has about 125
/// The most changes of one `set`. A million peers take three or four million changes, of 64 bytes each.
inline constexpr std::size_t most_changes = std::size_t{1} << 24;
/// The most characters of replies that the host has not taken yet. A million peers take 400 MB.
inline constexpr std::size_t most_reply_chars = std::size_t{1} << 30;

/// The error number that `errno=` reports: that of this system, by which wg(8) finds the text. Numbers differ between
/// systems, and between the processors of Linux. On Windows it is the number of Linux, as wireguard-go writes it,
/// because the C libraries of Windows do not agree.
constexpr int errno_of(status s) noexcept {
    switch (s) {
    case status::ok: return 0;
    case status::invalid:
    case status::too_many_peers: return EINVAL; // as wireguard-go answers
    case status::protocol_error: return for_windows ? 71 : EPROTO;
    case status::address_in_use: return for_windows ? 98 : EADDRINUSE;
    case status::no_permission: return EPERM;
    case status::no_memory: return ENOMEM;
    case status::not_supported: return for_windows ? 95 : EOPNOTSUPP;
    case status::would_block: return EAGAIN;
    case status::gone: return ENODEV;
    case status::device_down: return for_windows ? 100 : ENETDOWN;
    default: return EIO;
    }
}

/// The value of the key `post_quantum`.
constexpr std::string_view name_of(post_quantum mode) noexcept {
    return mode == post_quantum::off ? "off" : mode == post_quantum::prefer ? "prefer" : "require";
}

/// Reads the lines of a `set` into a list of changes. Values are checked here. The device checks the rest, for example
/// whether a peer exists and a port is free.
template <class Memory = heap_memory> class basic_set_parser {
public:
    /// A `set` may grow to `most` changes.
    explicit basic_set_parser(text::zone_resolver resolve = nullptr, std::size_t most = most_changes) noexcept
        : resolve_(resolve), most_(most) {}

    /// Reads a line without its newline. After an error, call `clear`.
    /// Returns: invalid if the key is unknown or the value is bad; protocol_error if there is no `=`; no_memory if
    /// there are too many changes or no memory.
    status line(std::string_view from) noexcept {
        std::size_t const equals = from.find('=');
        if (equals == std::string_view::npos) return status::protocol_error;
        std::string_view const key = from.substr(0, equals);
        std::string_view const value = from.substr(equals + 1);
        if (key == "public_key") return begin_peer(value);
        return where_ == place::device ? interface_line(key, value) : peer_line(key, value);
    }

    /// The changes of the lines so far.
    std::span<change const> changes() const noexcept { return changes_.view(); }

    /// Wipes all changes. The next line begins another `set`.
    void clear() noexcept {
        changes_.release();
        where_ = place::device;
    }

private:
    enum class place : std::uint8_t {
        device,
        new_peer, ///< no other line of this peer was read: `update_only` is allowed
        peer,
        removed_peer, ///< the following lines are checked, and have no effect
    };

    status interface_line(std::string_view key, std::string_view value) noexcept {
        if (key == "private_key") return add_key(value, &change::private_key);
        if (key == "listen_port") return add_number<std::uint16_t>(value, &change::listen_port);
        if (key == "fwmark") return add_number<std::uint32_t>(value, &change::fwmark);
        if (key == "replace_peers") return add_if(value == "true", change::replace_peers());
        return status::invalid;
    }

    status begin_peer(std::string_view value) noexcept {
        where_ = place::new_peer;
        return add_key(value, &change::peer);
    }

    status peer_line(std::string_view key, std::string_view value) noexcept {
        if (key == "protocol_version") return value == "1" ? status::ok : status::invalid;
        if (key == "update_only") return update_only(value);
        if (key == "remove") return remove(value);
        if (where_ == place::new_peer) where_ = place::peer;
        if (key == "allowed_ip") return allowed_ip(value);
        if (key == "preshared_key") return add_key(value, &change::preshared_key);
        if (key == "endpoint") return endpoint(value);
        if (key == "replace_allowed_ips") return add_if(value == "true", change::replace_allowed_ips());
        if (key == "persistent_keepalive_interval")
            return add_number<std::uint16_t>(value, &change::persistent_keepalive);
        if (key == "post_quantum") return exchange(value);
        if (key == "ratchet") return add_number<std::uint32_t>(value, &change::ratchet);
        return status::invalid;
    }

    /// Must stand before other changes of the peer. After `remove` it has no effect (wgctrl sends that order).
    status update_only(std::string_view value) noexcept {
        if (where_ == place::peer) return status::invalid;
        return add_if(value == "true", change::update_only());
    }

    status remove(std::string_view value) noexcept {
        status const s = add_if(value == "true", change::remove_peer());
        if (s == status::ok) where_ = place::removed_peer;
        return s;
    }

    status allowed_ip(std::string_view value) noexcept {
        bool const minus = value.starts_with('-');
        auto const prefix = text::parse_prefix(value.substr(minus));
        if (!prefix) return status::invalid;
        return add(minus ? change::remove_allowed_ip(*prefix) : change::allowed_ip(*prefix));
    }

    status exchange(std::string_view value) noexcept {
        for (post_quantum mode : {post_quantum::off, post_quantum::prefer, post_quantum::require})
            if (value == uapi::name_of(mode)) return add(change::exchange(mode));
        return status::invalid;
    }

    status endpoint(std::string_view value) noexcept {
        auto const where = text::parse_endpoint(value, resolve_);
        return where ? add(change::endpoint(*where)) : status::invalid;
    }

    status add_key(std::string_view value, change (*make)(key_view) noexcept) noexcept {
        secret<key_bytes> key;
        if (!text::parse_hex(value, key.expose())) return status::invalid;
        return add(make(key.expose()));
    }

    template <class Number> status add_number(std::string_view value, change (*make)(Number) noexcept) noexcept {
        auto const number = text::parse_decimal<Number>(value);
        return number ? add(make(*number)) : status::invalid;
    }

    status add_if(bool valid, change&& what) noexcept { return valid ? add(std::move(what)) : status::invalid; }

    status add(change&& what) noexcept {
        if (where_ == place::removed_peer) return status::ok;
        if (changes_.size() == most_ || !changes_.append(std::move(what))) return status::no_memory;
        return status::ok;
    }

    text::zone_resolver resolve_;
    std::size_t most_;
    place where_ = place::device;
    secret_vector<change, Memory> changes_;
};

/// Appends the facts of a device to a reply. It is a sink of `device::snapshot`, which calls `device` once, then for
/// each peer `peer`, followed by `allowed_ip` for each of its allowed IPs.
template <class Memory = heap_memory> class basic_reply_printer {
public:
    /// The reply may grow to `most_chars`.
    explicit basic_reply_printer(basic_secret_buffer<Memory>& reply, std::size_t most_chars = most_reply_chars) noexcept
        : reply_(reply), most_chars_(most_chars) {}

    /// Appends the lines of the interface.
    void device(interface_facts const& facts) noexcept {
        if (!facts.private_key.is_zero()) line_key("private_key", facts.private_key.expose());
        if (facts.listen_port != 0) line_number("listen_port", facts.listen_port);
        if (facts.fwmark != 0) line_number("fwmark", facts.fwmark);
    }

    /// Appends the lines of a peer.
    void peer(peer_facts const& facts) noexcept {
        line_key("public_key", facts.key);
        line_key("preshared_key", facts.preshared_key.expose());
        line("protocol_version", "1");
        if (facts.endpoint) line("endpoint", text::print(facts.endpoint));
        // wg(8) takes no sign here: a clock before 1970 must not make the whole answer unreadable
        bool const representable = facts.last_handshake_s >= 0;
        line_number("last_handshake_time_sec", representable ? static_cast<std::uint64_t>(facts.last_handshake_s) : 0);
        line_number("last_handshake_time_nsec", representable ? facts.last_handshake_ns : 0);
        line_number("tx_bytes", facts.tx_bytes);
        line_number("rx_bytes", facts.rx_bytes);
        line_number("persistent_keepalive_interval", facts.persistent_keepalive_s);
        if (facts.ratchet_s != 0) {
            line_number("ratchet", facts.ratchet_s);
            if (facts.ratchet_epoch != 0) line_number("ratchet_epoch", facts.ratchet_epoch);
        }
        if (facts.exchange != post_quantum::off) {
            line("post_quantum", uapi::name_of(facts.exchange));
            line_number("post_quantum_exchanges", facts.exchanges);
            if (facts.exchanged_s > 0) line_number("post_quantum_since", static_cast<std::uint64_t>(facts.exchanged_s));
        }
    }

    /// Appends the line of an allowed IP.
    void allowed_ip(ip_prefix const& prefix) noexcept { line("allowed_ip", text::print(prefix)); }

    /// Returns: no_memory if the reply is incomplete, because it is too long or there is no memory.
    status outcome() const noexcept { return outcome_; }

private:
    void line(std::string_view key, std::string_view value) noexcept {
        append(key);
        append("=");
        append(value);
        append("\n");
    }
    void line_number(std::string_view key, std::uint64_t value) noexcept { line(key, text::print_decimal(value)); }
    void line_key(std::string_view key, key_view value) noexcept {
        append(key);
        append("=");
        if (char* const digits = make_room(text::hex_key_chars)) text::print_hex(value, {digits, text::hex_key_chars});
        append("\n");
    }

    void append(std::string_view more) noexcept {
        if (char* const place = make_room(more.size())) std::memcpy(place, more.data(), more.size());
    }
    char* make_room(std::size_t size) noexcept {
        if (outcome_ != status::ok) return nullptr;
        char* const place = reply_.size() + size <= most_chars_ ? reply_.extend(size) : nullptr;
        if (place == nullptr) outcome_ = status::no_memory;
        return place;
    }

    basic_secret_buffer<Memory>& reply_;
    std::size_t most_chars_;
    status outcome_ = status::ok;
};

/// The target that a session configures: a device, together with the lock and the time of the host's calls.
/// - `configure(changes)` applies all changes in order, or none. Returns: a status.
/// - `snapshot(sink)` reports the interface and every peer to the sink, a `basic_reply_printer`.
template <class Target, class Memory = heap_memory>
concept target = requires(Target& target, std::span<change const> changes, basic_reply_printer<Memory>& sink) {
    { target.configure(changes) } noexcept -> std::same_as<status>;
    { target.snapshot(sink) } noexcept;
};

/// One connection. It may end at any time: an incomplete operation has no effect.
template <class Memory = heap_memory> class basic_session {
public:
    /// `resolve` turns the zone of an endpoint into a number, like `if_nametoindex`. Without it, zones are numbers.
    /// A `set` may grow to `most` changes.
    explicit basic_session(text::zone_resolver resolve = nullptr, std::size_t most = most_changes) noexcept
        : parser_(resolve, most) {}
    basic_session(basic_session&&) = delete; // a moved line would leave a copy of its keys

    /// Takes received bytes, and appends the answers to `reply`. The caller wipes both after use.
    /// Returns: protocol_error: send the reply, then close; the rest of `read` and later input are ignored.
    /// no_memory: there was no memory for an answer; close.
    template <target<Memory> Target>
    status feed(bytes_view read, Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        while (!read.empty() && outcome_ == status::ok) {
            auto const* const end = static_cast<byte const*>(std::memchr(read.data(), '\n', read.size()));
            std::size_t const size = end != nullptr ? static_cast<std::size_t>(end - read.data()) : read.size();
            collect(read.first(size));
            read = read.subspan(size + (end != nullptr));
            if (end != nullptr) finish_line(target, reply);
        }
        return outcome_;
    }

private:
    enum class operation : std::uint8_t { none, set, get };

    void collect(bytes_view part) noexcept {
        if (part.size() > longest_line_chars - line_size_) {
            too_long_ = true;
            part = {};
        }
        copy(bytes(line_.expose()).subspan(line_size_), part);
        line_size_ += part.size();
    }

    template <class Target> void finish_line(Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        auto const line = bytes(line_.expose()).first(line_size_);
        bool const too_long = std::exchange(too_long_, false);
        take({reinterpret_cast<char const*>(line.data()), line.size()}, too_long, target, reply);
        wipe(line.data(), line.size());
        line_size_ = 0;
    }

    template <class Target>
    void take(std::string_view line, bool too_long, Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        bool const last = line.empty() && !too_long;
        switch (running_) {
        case operation::none:
            if (line == "set=1" && !too_long) return begin(operation::set);
            if (line == "get=1" && !too_long) return begin(operation::get);
            outcome_ = status::protocol_error;
            return answer(-errno_of(status::protocol_error), reply);
        case operation::set:
            if (last) return finish_set(target, reply);
            if (failure_ == status::ok) failure_ = too_long ? status::protocol_error : parser_.line(line);
            if (failure_ != status::ok) parser_.clear(); // the rest of this `set` has no effect
            return;
        case operation::get: // has no lines
            if (last) return finish_get(target, reply);
            if (failure_ == status::ok) failure_ = too_long ? status::protocol_error : status::invalid;
            return;
        }
    }

    void begin(operation what) noexcept {
        running_ = what;
        failure_ = status::ok;
    }

    template <class Target> void finish_set(Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        running_ = operation::none;
        if (failure_ == status::ok) failure_ = target.configure(parser_.changes());
        parser_.clear();
        answer(-errno_of(failure_), reply);
    }

    template <class Target> void finish_get(Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        running_ = operation::none;
        std::size_t const before = reply.size();
        if (failure_ == status::ok) {
            basic_reply_printer<Memory> printer(reply);
            target.snapshot(printer);
            failure_ = printer.outcome();
        }
        if (failure_ != status::ok) reply.truncate(before);
        answer(errno_of(failure_), reply);
    }

    /// Ends a reply: `errno=N` and an empty line.
    void answer(int number, basic_secret_buffer<Memory>& reply) noexcept {
        text::short_text<32> text;
        text.append("errno=");
        if (number < 0) text.append('-');
        text.append_number(static_cast<std::uint64_t>(number < 0 ? -number : number));
        text.append("\n\n");
        if (!reply.append(text)) outcome_ = status::no_memory;
    }

    basic_set_parser<Memory> parser_;
    secret<longest_line_chars> line_;
    std::size_t line_size_ = 0;
    bool too_long_ = false;
    operation running_ = operation::none;
    status failure_ = status::ok; ///< of the running operation
    status outcome_ = status::ok; ///< of the connection
};

/// A parser with memory of the heap.
using set_parser = basic_set_parser<>;
/// A printer with memory of the heap.
using reply_printer = basic_reply_printer<>;
/// A session with memory of the heap.
using session = basic_session<>;

}}} // namespace wg::WG_ABI::uapi

#endif
