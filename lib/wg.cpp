// SPDX-License-Identifier: BSL-1.0
// The functions of wg.h over wg::tunnel. Folder: lib. Any thread.
#include "values.hpp"

#include "events.hpp"
#include "mover.hpp"

#include <cstdlib>

namespace {

using namespace wg;
using c::from_c;
using c::read_versioned;
using c::say;
using c::to_c;

struct policies : default_policies {
    using observer = c::queue_observer;
};
using inner_tunnel = basic_tunnel<lwip_stack, policies>;

duration timeout_of(int milliseconds_or_forever) noexcept {
    return milliseconds_or_forever < 0 ? forever : milliseconds(milliseconds_or_forever);
}

} // namespace

/// The state behind the opaque type of wg.h.
struct wg_tunnel {
    c::event_queue events{}; ///< first: the tunnel's observer refers to it
    inner_tunnel tunnel{};
    inner_tunnel::canceller ends{};
    c::mover<inner_tunnel> mover{};
    void (*on_event)(void*, wg_event const*) = nullptr;
    void* context = nullptr;
    std::atomic<unsigned> calls{0}; ///< of other threads, at present

    wg_tunnel() noexcept = default;
    wg_tunnel(wg_tunnel const&) = delete;
    wg_tunnel& operator=(wg_tunnel const&) = delete;
    /// Ends the tunnel's thread first, because its events wake the mover.
    ~wg_tunnel() { tunnel.close(duration{}); }

    /// A call that waits: `wg_tunnel_close` ends it, and waits for its return.
    class call {
    public:
        explicit call(wg_tunnel& of) noexcept : of_(of) { of_.calls.fetch_add(1); }
        call(call const&) = delete;
        call& operator=(call const&) = delete;
        ~call() {
            of_.calls.fetch_sub(1);
            of_.calls.notify_all();
        }

    private:
        wg_tunnel& of_;
    };

    void deliver() noexcept {
        wg_event e;
        while (events.take(e))
            if (on_event != nullptr) on_event(context, &e);
    }
};

namespace {

int open(wg_tunnel** made_tunnel, wg_options const* options, char* why, std::size_t why_size,
         result<inner_tunnel> (*make)(char const*, std::string&), char const* from) noexcept {
    *made_tunnel = nullptr;
    say(why, why_size, "");
    auto const failed = [&](int reason, std::string_view sentence) {
        say(why, why_size, sentence.empty() ? std::string_view(wg_describe(reason)) : sentence);
        return reason;
    };
    std::unique_ptr<wg_tunnel> t(new (std::nothrow) wg_tunnel);
    if (!t) return failed(WG_NO_MEMORY, {});
    wg_options known{};
    if (int const read = options != nullptr ? read_versioned(known, options) : WG_OK; read != WG_OK)
        return failed(read, c::why_not_read(read));
    t->on_event = known.on_event;
    t->context = known.context;
    t->events.added = {[](void* mover) noexcept { static_cast<c::mover<inner_tunnel>*>(mover)->wake(); }, &t->mover};
    event const deliver{[](void* self) noexcept { static_cast<wg_tunnel*>(self)->deliver(); }, t.get()};
    std::string sentence;
    {
        c::queue_observer::scope const queue(t->on_event != nullptr ? &t->events : nullptr);
        auto made = make(from, sentence);
        if (!made) return failed(to_c(made.why()), sentence);
        t->tunnel = std::move(*made);
    }
    if (int const started = t->mover.start(deliver); started != WG_OK) return failed(started, {});
    *made_tunnel = t.release();
    return WG_OK;
}

/// The addresses of `host`, an address or a name.
result<std::vector<ip_address>> addresses_of(wg_tunnel& t, std::string_view host, duration timeout) noexcept {
    if (auto const literal = text::parse_address(host)) return std::vector{*literal};
    return t.tunnel.resolve(host, timeout, &t.ends);
}

} // namespace

extern "C" {

int wg_api_version(void) { return WG_API_VERSION; }

char const* wg_describe(int status) {
    switch (status) {
    case WG_OK: return "ok";
    case WG_INVALID: return describe(wg::status::invalid);
    case WG_NO_MEMORY: return describe(wg::status::no_memory);
    case WG_NO_DESCRIPTOR: return "no descriptor is left (RLIMIT_NOFILE)";
    case WG_IO_ERROR: return describe(wg::status::io_error);
    case WG_NO_PERMISSION: return describe(wg::status::no_permission);
    case WG_NOT_SUPPORTED: return "not supported here, for instance no address of this family";
    case WG_ADDRESS_IN_USE: return describe(wg::status::address_in_use);
    case WG_REFUSED: return describe(wg::status::refused);
    case WG_RESET: return describe(wg::status::reset);
    case WG_TIMED_OUT: return describe(wg::status::timed_out);
    case WG_CANCELLED: return "the tunnel was closed meanwhile";
    case WG_NAME_NOT_FOUND: return describe(wg::status::name_not_found);
    case WG_WOULD_BLOCK: return describe(wg::status::would_block);
    case WG_GONE: return describe(wg::status::gone);
    case WG_NO_PRIVATE_KEY: return describe(wg::status::no_private_key);
    case WG_NO_RANDOM: return describe(wg::status::no_random);
    case WG_TOO_MANY_PEERS: return describe(wg::status::too_many_peers);
    case WG_UNKNOWN: return "no such peer or connection";
    case WG_TOO_LONG: return "too long for the MTU or the buffer";
    default: return status > 0 ? "ok" : "failed";
    }
}

int wg_parse_address(char const* text, wg_address* address) {
    if (auto const plain = text::parse_address(text)) {
        *address = to_c(endpoint{*plain, 0, 0});
        return WG_OK;
    }
    auto const read = text::parse_endpoint(text);
    if (!read) return WG_INVALID;
    *address = to_c(*read);
    return WG_OK;
}

int wg_print_address(wg_address const* address, char* text, size_t size) {
    auto const from = from_c(*address);
    if (!from) return WG_INVALID;
    auto const print = [&](std::string_view printed) -> int {
        if (printed.size() >= size) return WG_TOO_LONG;
        say(text, size, printed);
        return static_cast<int>(printed.size());
    };
    return from->port != 0 ? print(text::print(*from).view()) : print(text::print(from->address).view());
}

int wg_parse_key(char const* text, uint8_t key[32]) {
    return text::parse_base64_key(text, std::span<byte, key_bytes>(key, key_bytes)) ? WG_OK : WG_INVALID;
}

void wg_print_key(uint8_t const key[32], char text[45]) {
    text::print_base64_key(std::span<byte const, key_bytes>(key, key_bytes), std::span<char, 44>(text, 44));
    text[44] = '\0';
}

int wg_tunnel_open_file(wg_tunnel** tunnel, char const* path, wg_options const* options, char* why, size_t why_size) {
    return open(
        tunnel, options, why, why_size,
        [](char const* from, std::string& sentence) { return inner_tunnel::from_file(from, sentence); }, path);
}

int wg_tunnel_open_text(wg_tunnel** tunnel, char const* text, wg_options const* options, char* why, size_t why_size) {
    return open(
        tunnel, options, why, why_size,
        [](char const* from, std::string& sentence) { return inner_tunnel::from_text(from, sentence); }, text);
}

void wg_tunnel_close(wg_tunnel* tunnel, int linger_ms) {
    if (tunnel == nullptr) return;
    tunnel->ends.cancel();
    for (unsigned calls = tunnel->calls.load(); calls != 0; calls = tunnel->calls.load()) tunnel->calls.wait(calls);
    time_left const time(timeout_of(linger_ms));
    tunnel->mover.drain(time.at_most(seconds(86'400)));
    tunnel->mover.stop();
    tunnel->mover.clear(); // the other ends learn that the connections end, as at the end of a process
    tunnel->tunnel.close(time.left());
    delete tunnel;
}

int wg_dial(wg_tunnel* tunnel, char const* host_and_port, int timeout_ms) {
    wg_tunnel::call const call(*tunnel);
    auto made = tunnel->tunnel.dial(std::string_view(host_and_port), timeout_of(timeout_ms), &tunnel->ends);
    if (!made) return to_c(made.why());
    return tunnel->mover.add(std::move(*made));
}

int wg_listen(wg_tunnel* tunnel, uint16_t port, int backlog, uint16_t* bound) {
    if (backlog < 1 || backlog > 255) return WG_INVALID;
    wg_tunnel::call const call(*tunnel);
    auto made = tunnel->tunnel.listen(port, static_cast<std::size_t>(backlog));
    if (!made) return to_c(made.why());
    if (bound != nullptr) *bound = made->port();
    return tunnel->mover.add(std::move(*made));
}

} // extern "C"

namespace {

/// Waits until `fd` is readable. Returns: WG_OK; WG_WOULD_BLOCK; WG_TIMED_OUT; WG_INVALID, if it is no descriptor.
int wait_until_readable(int fd, time_left const& time, int timeout_ms) noexcept {
    if (fd < 0) return WG_INVALID;
    for (;;) {
        duration const left = time.left();
        int const patience =
            left == forever ? -1 : static_cast<int>((left.nanoseconds + 999'999) / 1'000'000); // rounded up
        pollfd p{fd, POLLIN, 0};
        int const found = ::poll(&p, 1, patience);
        if (found > 0) return (p.revents & POLLNVAL) != 0 ? WG_INVALID : WG_OK;
        if (found == 0) return timeout_ms == 0 ? WG_WOULD_BLOCK : WG_TIMED_OUT;
        if (errno != EINTR) return WG_IO_ERROR;
    }
}

/// Receives one message and a descriptor. Returns: the size of the message, or -1 and errno.
ssize_t receive_descriptor(int from, wg_address& remote, int& attached) noexcept {
    iovec part{&remote, sizeof remote};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t const got = ::recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    attached = -1;
    cmsghdr const* const head = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
    if (head != nullptr && head->cmsg_type == SCM_RIGHTS) std::memcpy(&attached, CMSG_DATA(head), sizeof attached);
    return got;
}

} // namespace

extern "C" {

int wg_accept(int listener, int timeout_ms, wg_address* remote) {
    time_left const time(timeout_of(timeout_ms));
    for (;;) {
        if (int const why = wait_until_readable(listener, time, timeout_ms); why != WG_OK) return why;
        wg_address where{};
        int made = -1;
        ssize_t const got = receive_descriptor(listener, where, made);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) return WG_GONE;
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue; // another thread has taken the connection
        if (got < 0) return WG_INVALID;
        if (made < 0) return got == sizeof where ? WG_NO_DESCRIPTOR : WG_INVALID;
        c::accepted_note const note{c::cookie_of(made), made, ::getpid()};
        (void)!::send(listener, &note, sizeof note, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (remote != nullptr) *remote = where;
        return made;
    }
}

int wg_state(wg_tunnel* tunnel, int fd) { return tunnel->mover.state_of(fd); }

int wg_addresses(wg_tunnel* tunnel, int fd, wg_address* local, wg_address* remote) {
    endpoint of_this, of_other;
    if (!tunnel->mover.addresses_of(fd, of_this, of_other)) return WG_UNKNOWN;
    if (local != nullptr) *local = to_c(of_this);
    if (remote != nullptr) *remote = to_c(of_other);
    return WG_OK;
}

int wg_udp(wg_tunnel* tunnel, uint16_t port, uint16_t* bound) {
    wg_tunnel::call const call(*tunnel);
    auto made = tunnel->tunnel.udp(port);
    if (!made) return to_c(made.why());
    if (bound != nullptr) *bound = made->port();
    return tunnel->mover.add(std::move(*made), endpoint{});
}

int wg_udp_dial(wg_tunnel* tunnel, char const* host_and_port, int timeout_ms) {
    wg_tunnel::call const call(*tunnel);
    std::string_view const text(host_and_port);
    auto to = text::parse_endpoint(text);
    if (!to) {
        std::size_t const colon = text.rfind(':');
        if (colon == std::string_view::npos) return WG_INVALID;
        to = text::parse_endpoint(std::string("0.0.0.0").append(text.substr(colon)));
        if (!to) return WG_INVALID;
        auto const found = addresses_of(*tunnel, text.substr(0, colon), timeout_of(timeout_ms));
        if (!found) return to_c(found.why());
        to->address = found->front();
    }
    auto made = tunnel->tunnel.udp();
    if (!made) return to_c(made.why());
    return tunnel->mover.add(std::move(*made), *to);
}

int wg_send_to(int udp, void const* data, size_t size, wg_address const* to) {
    if (!from_c(*to)) return WG_INVALID;
    if (size > 65507) return WG_TOO_LONG;
    iovec parts[] = {{const_cast<wg_address*>(to), sizeof *to}, {const_cast<void*>(data), size}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    for (;;) {
        if (::sendmsg(udp, &message, MSG_NOSIGNAL) >= 0) return WG_OK;
        if (errno == EINTR) continue;
        return errno == EAGAIN                         ? WG_WOULD_BLOCK
               : errno == EPIPE || errno == ECONNRESET ? WG_GONE
               : errno == EMSGSIZE                     ? WG_TOO_LONG
               : errno == ENOBUFS || errno == ENOMEM   ? WG_NO_MEMORY
                                                       : WG_INVALID;
    }
}

int wg_receive_from(int udp, void* data, size_t size, wg_address* from, int timeout_ms) {
    time_left const time(timeout_of(timeout_ms));
    wg_address head;
    iovec parts[] = {{&head, sizeof head}, {data, (std::min<std::size_t>)(size, INT32_MAX)}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    for (;;) {
        if (int const why = wait_until_readable(udp, time, timeout_ms); why != WG_OK) return why;
        ssize_t const got = ::recvmsg(udp, &message, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) return WG_GONE;
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got < static_cast<ssize_t>(sizeof head)) return WG_INVALID;
        if (from != nullptr) *from = head;
        return static_cast<int>(got - static_cast<ssize_t>(sizeof head));
    }
}

int wg_resolve(wg_tunnel* tunnel, char const* host, wg_address* addresses, size_t size, int timeout_ms) {
    wg_tunnel::call const call(*tunnel);
    auto const found = addresses_of(*tunnel, host, timeout_of(timeout_ms));
    if (!found) return to_c(found.why());
    for (std::size_t i = 0; i < found->size() && i < size; ++i) addresses[i] = to_c(endpoint{(*found)[i], 0, 0});
    return static_cast<int>(found->size());
}

int wg_ping(wg_tunnel* tunnel, char const* host, int timeout_ms, uint64_t* took_ns) {
    wg_tunnel::call const call(*tunnel);
    time_left const time(timeout_of(timeout_ms));
    auto const found = addresses_of(*tunnel, host, time.left());
    if (!found) return to_c(found.why());
    auto const took = tunnel->tunnel.ping(found->front(), time.left(), &tunnel->ends);
    if (!took) return to_c(took.why());
    if (took_ns != nullptr) *took_ns = static_cast<std::uint64_t>(took->nanoseconds);
    return WG_OK;
}

int wg_peers(wg_tunnel* tunnel, size_t peer_size, wg_peer** peers) {
    *peers = nullptr;
    // Peers of later headers are longer: what this library does not know is 0.
    if (peer_size < offsetof(wg_peer, allowed_ips) || peer_size % alignof(wg_peer) != 0) return WG_INVALID;
    wg_tunnel::call const call(*tunnel);
    std::vector<tunnel_peer> const found = tunnel->tunnel.peers();
    if (found.empty()) return 0;
    std::size_t prefixes = 0;
    for (tunnel_peer const& p : found) prefixes += p.allowed_ips.size();
    auto* const list =
        static_cast<unsigned char*>(std::calloc(1, found.size() * peer_size + prefixes * sizeof(wg_prefix)));
    if (list == nullptr) return WG_NO_MEMORY;
    unsigned char* at = list;
    auto* prefix = reinterpret_cast<wg_prefix*>(list + found.size() * peer_size);
    for (tunnel_peer const& p : found) {
        wg_peer made{};
        std::memcpy(made.public_key, p.key.data(), sizeof made.public_key);
        made.endpoint = to_c(p.endpoint);
        made.last_handshake_s = p.last_handshake_s;
        made.sent_bytes = p.sent_bytes;
        made.received_bytes = p.received_bytes;
        made.allowed_ips = prefix;
        made.allowed_ip_count = p.allowed_ips.size();
        for (ip_prefix const& from : p.allowed_ips) {
            prefix->family = static_cast<std::uint8_t>(from.address.kind);
            prefix->bits = from.bits;
            std::memcpy(prefix->bytes, from.address.octets.data(), sizeof prefix->bytes);
            ++prefix;
        }
        std::memcpy(at, &made, (std::min)(peer_size, sizeof made));
        at += peer_size;
    }
    *peers = reinterpret_cast<wg_peer*>(list);
    return static_cast<int>(found.size());
}

void wg_peers_free(wg_peer* peers) { std::free(peers); }

int wg_change_peer(wg_tunnel* tunnel, wg_peer_change const* asked) {
    secret_vector<change> changes;
    if (int const why = c::append_changes(asked, changes); why != WG_OK) return why;
    wg_tunnel::call const call(*tunnel);
    return to_c(tunnel->tunnel.configure(changes.view()));
}

int wg_listen_port(wg_tunnel* tunnel) {
    wg_tunnel::call const call(*tunnel);
    return tunnel->tunnel.listen_port();
}

} // extern "C"
