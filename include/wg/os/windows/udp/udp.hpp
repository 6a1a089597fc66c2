// SPDX-License-Identifier: BSL-1.0
// UDP over IPv4 and IPv6 on one port. An answer leaves from the address that its peer has sent to. Where Windows can,
// several datagrams are one message (USO, URO). Folder: os/windows/udp. One thread at a time. Link: ws2_32.
#ifndef WG_OS_WINDOWS_UDP_UDP_HPP
#define WG_OS_WINDOWS_UDP_UDP_HPP

#include "../../../policy.hpp"
#include "../../offloads.hpp"
#include "sockets.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// Models `udp_socket`. A test replaces `Calls`.
template <class Calls = udp_calls> class basic_udp {
public:
    /// The room in bytes that a received datagram needs: Windows joins datagrams up to this size.
    static constexpr std::size_t receive_bytes = 65535;
    /// Datagrams that one message of a send holds at most.
    static constexpr std::size_t max_segments = 64;
    /// How long `send` waits in total for room in a full socket before it drops datagrams, unless `set_send_patience`
    /// says otherwise.
    static constexpr int send_patience_ms = 5;
    static constexpr bool binds_to_interfaces = true; ///< `set_bind_interface` can succeed

    /// Has no open socket. Of the offloads `wanted`, `gso` lets Windows cut a message into datagrams
    /// (UDP_SEND_MSG_SIZE), and `gro` join received ones (UDP_RECV_MAX_COALESCED_SIZE).
    explicit basic_udp(offloads const& wanted = {}) noexcept
        : started_(Calls::start() == 0), own_event_(Calls::create_event()), event_(own_event_.get()) {
        opener_.uso = wanted.gso;
        opener_.uro = wanted.gro;
    }
    basic_udp(basic_udp const&) = delete;
    basic_udp& operator=(basic_udp const&) = delete;
    ~basic_udp() {
        close();
        if (started_) Calls::stop();
    }

    /// Whether Winsock was started and there was an event for the object.
    explicit operator bool() const noexcept { return started_ && own_event_; }

    /// An event that is set while a datagram waits. It stays the same for the object's life. Null: no memory was left.
    void* event() const noexcept { return own_event_.get(); }
    /// The port, or 0 while closed.
    std::uint16_t port() const noexcept { return port_; }
    /// The error number of the last `open` that failed.
    int error() const noexcept { return error_; }

    /// Binds sockets that are opened later to an address of this host; its port is not used. Then only the socket of
    /// this address's family is opened. An address without a family: all addresses.
    void set_bind_address(endpoint const& where) noexcept { opener_.bind = where; }

    /// Sends the datagrams of sockets that are opened later only through the interface `name`; null: as
    /// `keep_out_of` says. An `open` without such an interface fails. `name` must outlive this object.
    void set_bind_interface(char const* name) noexcept { bind_name_ = name; }

    /// Sends datagrams through the interface of the default route that does not enter the tunnel `device`, each family
    /// for itself. Without such a route, the routes choose. Has an effect from the next `open` or `refresh_bind`.
    template <class Tun>
    void keep_out_of(Tun const& device) noexcept
        requires requires { device.luid(); }
    {
        tunnel_ = device.luid();
    }

    /// Looks for the interface again. To be called when routes or addresses of the host have changed.
    void refresh_bind() noexcept {
        std::uint32_t v4 = opener_.v4_interface, v6 = opener_.v6_interface;
        find_interfaces(v4, v6);
        if (v4 != opener_.v4_interface || v6 != opener_.v6_interface) (void)use_interfaces(v4, v6);
    }

    /// Sends the datagrams of open sockets, and of sockets that are opened later, only through these interfaces, in
    /// place of those of `keep_out_of`. 0: the routes choose.
    /// Returns: ok, or the status of the first family that Windows refuses; the other one is set anyway.
    status set_interfaces(std::uint32_t v4_index, std::uint32_t v6_index) noexcept {
        tunnel_ = 0;
        return use_interfaces(v4_index, v6_index);
    }

    /// Opens sockets for both families at `port`; 0: a free port. On failure nothing has changed, and a port that was
    /// open stays open.
    /// Returns: the port; `address_in_use`; `no_permission`; `not_supported` if the host has neither IPv4 nor IPv6, or
    /// no WSASendMsg; `io_error` and others; `error` then has the number.
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        if (port != 0 && port == port_) return port;
        if (!started_) return status::not_supported;
        if (event_ == nullptr) return status::no_memory;
        error_ = 0;
        find_interfaces(opener_.v4_interface, opener_.v6_interface);
        if (bind_name_ != nullptr && opener_.v4_interface == 0) {
            error_ = api_detail::error_file_not_found;
            return status_of(error_);
        }
        // A port that is free in IPv4 may be taken in IPv6: then another one is tried.
        for (int attempt = 1;; ++attempt) {
            socket v4, v6;
            std::uint16_t bound = port;
            int error = opener_.open(v4, family::v4, bound);
            if (error == 0) error = opener_.open(v6, family::v6, bound);
            if (error == api_detail::wsa_address_in_use && port == 0 && attempt < 100) continue;
            for (socket const* s : {&v4, &v6})
                if (error == 0 && *s && Calls::watch(s->get(), own_event_.get()) != 0) error = Calls::error();
            error_ = error;
            if (error != 0) return status_of(error);
            if (!v4 && !v6) return status::not_supported;
            v4_ = std::move(v4);
            v6_ = std::move(v6);
            port_ = bound;
            event_ = own_event_.get();
            refused_bytes_ = none_refused;
            return bound;
        }
    }

    /// Uses the open sockets of `of` for another thread, until `close`. This object must be closed before `of` is. Only
    /// `of` has an event to wait for. Returns: true.
    bool share(basic_udp const& of) noexcept {
        v4_.share(of.v4_);
        v6_.share(of.v6_);
        patience_ms_ = of.patience_ms_;
        port_ = of.port_;
        event_ = of.event_;
        return true;
    }

    /// Sets how long one `send` waits in total for room, rounded up to milliseconds; by default `send_patience_ms`.
    /// Zero: `send` never waits, for the thread of an event loop. A datagram without room is then lost at once
    /// (`would_block`).
    void set_send_patience(duration at_most) noexcept {
        patience_ms_ = converted<int>((at_most.nanoseconds + 999'999) / 1'000'000);
    }

    /// Closes all sockets.
    void close() noexcept {
        v4_ = {};
        v6_ = {};
        port_ = 0;
        event_ = own_event_.get();
    }

    /// Forgets which segments were refused. To be called when routes or addresses of the host have changed.
    void routes_changed() noexcept { refused_bytes_ = none_refused; }

    /// Reads the sockets, both families if both have datagrams, and never blocks. A datagram that did not fit its
    /// buffer has length 0. Returns: the number of datagrams; `io_error` if a socket cannot be used.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        if (datagrams.empty() || port_ == 0) return std::size_t{0};
        v6_first_ = !v6_first_;
        std::size_t filled = 0;
        bool usable = true;
        for (bool const v6 : {v6_first_, !v6_first_})
            usable = receive_from(v6 ? v6_ : v4_, datagrams, filled) && usable;
        if (filled == datagrams.size()) Calls::set_event(event_); // there may be more
        else usable = watch_again() && usable;
        if (!usable && filled == 0) return status::io_error;
        return filled;
    }

    /// Sends datagrams, and stores each one's status in `why` and Winsock's number in `error`. Where Windows can cut a
    /// message, consecutive datagrams of one path, tos and length (the last one may be shorter) leave as one message.
    /// Where the host refuses the source, `where.local` is cleared, and the routes choose the source. Where it refuses
    /// the tos, the datagram leaves without one. An IPv4-mapped IPv6 destination is replaced by the IPv4 one.
    /// `why`: ok; no_endpoint; not_supported (no socket of that family); would_block (no room in time, see
    /// `set_send_patience`); no_permission (a firewall); io_error and others.
    /// Returns: how many datagrams left.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        patience_left_ = patience_ms_ > 0;
        for (datagram& d : datagrams) d.where.remote = d.where.remote.unmapped();
        std::size_t sent = 0;
        for (std::size_t next = 0; next < datagrams.size();) {
            datagram& d = datagrams[next];
            socket& s = d.where.remote.address.kind == family::v6 ? v6_ : v4_;
            if (!d.where.remote || !s) {
                d.why = d.where.remote ? status::not_supported : status::no_endpoint;
                d.error = d.where.remote ? std::uint16_t{api_detail::wsa_family_not_supported} : std::uint16_t{0};
                ++next;
                continue;
            }
            std::size_t const count = s.segments ? joinable(datagrams.subspan(next)) : 1;
            sent += send_message(s, datagrams.subspan(next, count));
            next += count;
        }
        return sent;
    }

private:
    using socket = udp_detail::family_socket<Calls>;
    using opener = udp_detail::socket_opener<Calls>;
    using message = api_detail::message;

    static constexpr std::size_t max_joined_bytes = 65535 - ipv6_header_bytes - udp_header_bytes;
    static constexpr std::size_t none_refused = 65536; ///< longer than each datagram
    static constexpr int max_errors = 64;              ///< errors of earlier datagrams that one `receive` skips

    status use_interfaces(std::uint32_t v4_index, std::uint32_t v6_index) noexcept {
        opener_.v4_interface = v4_index;
        opener_.v6_interface = v6_index;
        refused_bytes_ = none_refused;
        int const error_v4 = v4_ ? opener::set_interface(v4_.get(), true, v4_index) : 0;
        int const error_v6 = v6_ ? opener::set_interface(v6_.get(), false, v6_index) : 0;
        return status_of(error_v4 != 0 ? error_v4 : error_v6);
    }

    void find_interfaces(std::uint32_t& v4, std::uint32_t& v6) const noexcept {
        if (bind_name_ != nullptr) {
            // While there is no such interface, the old number stays, so that no datagram leaves by another one.
            if (std::uint32_t const index = Calls::interface_index(bind_name_); index != 0) v4 = v6 = index;
        } else if (tunnel_ != 0) {
            v4 = Calls::default_interface(family::v4, tunnel_);
            v6 = Calls::default_interface(family::v6, tunnel_);
        }
    }

    /// How many datagrams from the front can be one message.
    std::size_t joinable(std::span<datagram const> datagrams) const noexcept {
        datagram const& first = datagrams[0];
        if (first.length == 0 || first.length >= refused_bytes_) return 1;
        std::size_t count = 1, total = first.length;
        while (count < datagrams.size() && count < max_segments) {
            datagram const& d = datagrams[count];
            if (d.length == 0 || d.length > first.length || d.tos != first.tos || d.where != first.where) break;
            if (total + d.length > max_joined_bytes) break;
            total += d.length;
            ++count;
            if (d.length != first.length) break; // a shorter datagram ends its message
        }
        return count;
    }

    /// Sends datagrams as one message; if Windows refuses that, singly. Each round sends, waits once in a `send`, or
    /// takes away the source or the tos. Returns: how many datagrams left.
    // NOLINTBEGIN(misc-no-recursion): one level deep, because a single datagram is not sent in parts
    std::size_t send_message(socket& s, std::span<datagram> parts) noexcept {
        udp_detail::socket_address address;
        udp_detail::control_messages control;
        api_detail::piece pieces[max_segments];
        message m{};
        m.name = &address;
        m.name_bytes = udp_detail::spell(parts[0].where.remote, address);
        m.pieces = pieces;
        m.piece_count = static_cast<std::uint32_t>(parts.size());
        for (std::size_t i = 0; i < parts.size(); ++i) pieces[i] = {parts[i].length, parts[i].buffer + parts[i].offset};
        for (;;) {
            control.write(m, parts[0], parts.size() > 1 ? parts[0].length : 0, s.ecn);
            std::uint32_t bytes_sent = 0;
            if (s.send(s.get(), &m, 0, &bytes_sent, nullptr, nullptr) == 0) return mark(parts, status::ok, 0);
            int const error = Calls::error();
            if (error == api_detail::wsa_would_block && wait_writable(s)) continue;
            if (parts.size() > 1 && refuses_segments(error)) return send_singly(s, parts, error);
            if (give_way(error, parts, s.ecn)) continue;
            mark(parts, status_of(error), error);
            return 0;
        }
    }

    /// Sends the datagrams of a refused message one by one. If they leave as they are, the size of the segments was the
    /// reason, or this host cannot cut.
    std::size_t send_singly(socket& s, std::span<datagram> parts, int error) noexcept {
        path const where = parts[0].where;
        std::uint8_t const tos = parts[0].tos;
        std::size_t sent = 0;
        for (std::size_t i = 0; i < parts.size(); ++i) sent += send_message(s, parts.subspan(i, 1));
        if (error != api_detail::wsa_invalid && error != api_detail::wsa_message_size) s.segments = false;
        else if (parts[0].why == status::ok && parts[0].where == where && parts[0].tos == tos)
            refused_bytes_ = (std::min)(refused_bytes_, std::size_t{parts[0].length});
        return sent;
    }
    // NOLINTEND(misc-no-recursion)

    bool wait_writable(socket const& s) noexcept {
        return std::exchange(patience_left_, false) && Calls::wait_writable(s.get(), patience_ms_) > 0;
    }

    /// Takes away what the host may have refused the datagrams for: their source, else their ECN bits. Returns: false
    /// if they have neither.
    static bool give_way(int error, std::span<datagram> parts, bool sends_ecn) noexcept {
        bool const has_source = concerns_source(error) && udp_detail::has_source(parts[0]);
        bool const has_ecn = sends_ecn && (parts[0].tos & udp_detail::control_messages::ecn_bits) != 0;
        if (!has_source && (error != api_detail::wsa_invalid || !has_ecn)) return false;
        for (datagram& d : parts) {
            if (has_source) d.where.local = {};
            else d.tos = 0;
        }
        return true;
    }

    static bool refuses_segments(int error) noexcept {
        return error == api_detail::wsa_invalid || error == api_detail::wsa_message_size ||
               error == api_detail::wsa_operation_not_supported || error == api_detail::wsa_no_protocol_option;
    }
    static bool concerns_source(int error) noexcept {
        return error == api_detail::wsa_invalid || error == api_detail::wsa_address_not_available ||
               error == api_detail::wsa_network_unreachable || error == api_detail::wsa_host_unreachable;
    }

    static bool is_unusable(int error) noexcept {
        return error == api_detail::wsa_bad_handle || error == api_detail::wsa_not_socket ||
               error == api_detail::wsa_invalid || error == api_detail::wsa_fault;
    }

    static std::size_t mark(std::span<datagram> parts, status why, int error) noexcept {
        for (datagram& d : parts) d.why = why, d.error = static_cast<std::uint16_t>(error);
        return parts.size();
    }

    /// Reads one socket until it is empty or the span is full, and counts in `filled`. An error of a datagram that
    /// was sent earlier counts as an empty socket. Returns: false if the socket cannot be used.
    bool receive_from(socket const& s, std::span<datagram> datagrams, std::size_t& filled) noexcept {
        if (!s) return true;
        for (int errors = 0; filled < datagrams.size() && errors < max_errors;) {
            datagram& d = datagrams[filled];
            udp_detail::socket_address address{};
            udp_detail::control_messages control;
            api_detail::piece piece{d.capacity - d.offset, d.buffer + d.offset};
            message m{};
            m.name = &address;
            m.name_bytes = sizeof address;
            m.pieces = &piece;
            m.piece_count = 1;
            control.prepare(m);
            std::uint32_t size = 0;
            bool const received = s.receive(s.get(), &m, &size, nullptr, nullptr) == 0;
            int const error = received ? 0 : Calls::error();
            if (error == api_detail::wsa_connection_reset || error == api_detail::wsa_network_reset) {
                ++errors; // of a datagram that was sent earlier
                continue;
            }
            if (!received && error != api_detail::wsa_message_size) return !is_unusable(error);
            bool const whole = received && (m.flags & api_detail::message_is_cut) == 0;
            d.length = whole ? size : 0;
            d.where.remote = udp_detail::read_address(address, m.name_bytes);
            udp_detail::control_messages::read(m, d);
            d.why = status::ok;
            ++filled;
        }
        return true;
    }

    /// Resets the event. Windows has set it once more for each datagram that waited behind another one. The calls after
    /// that set it if a datagram has arrived in the meantime. Returns: false if a socket cannot be used.
    bool watch_again() noexcept {
        Calls::reset_event(event_);
        bool usable = true;
        for (socket const* s : {&v4_, &v6_})
            if (*s && Calls::watch(s->get(), event_) != 0) usable = false;
        return usable;
    }

    bool started_; ///< Winsock
    basic_handle<Calls> own_event_;
    void* event_; ///< the own one, or that of the object that opened the sockets
    opener opener_{};
    char const* bind_name_ = nullptr; ///< null: no interface was chosen
    std::uint64_t tunnel_ = 0;        ///< NET_LUID of the tunnel; 0: none
    socket v4_{};
    socket v6_{};
    std::size_t refused_bytes_ = none_refused; ///< datagrams of this length and longer are sent singly
    std::uint16_t port_ = 0;
    bool v6_first_ = false;              ///< whether this receive begins with the IPv6 socket
    int patience_ms_ = send_patience_ms; ///< the longest wait of one send for room
    bool patience_left_ = false;         ///< whether this send has not waited yet
    int error_ = 0;
};

/// The UDP socket of a Windows host.
using udp = basic_udp<>;
static_assert(udp_socket<udp>);
static_assert(udp_socket_with_share<udp>);

}}}} // namespace wg::WG_ABI::os::windows

#endif
