// SPDX-License-Identifier: BSL-1.0
// What the relay needs of a network: this host, or the tunnel. Nothing here blocks. Each object that is asked for names
// a task: when the object may have more to do, it wakes the task, and the task tries again.
// All calls come from the thread of the loop.
#ifndef WGPROXY_NETWORK_HPP
#define WGPROXY_NETWORK_HPP

#include "configuration.hpp"

#include <memory>

namespace wgproxy {

/// The number by which a task is woken; never reused.
using task_id = std::uint64_t;

/// What a call of a stream or of a socket did.
struct transfer {
    enum class result : std::uint8_t {
        moved,  ///< `count` bytes
        wait,   ///< none at present: the task is woken
        ended,  ///< the other end has finished: no bytes will come
        failed, ///< the connection is broken
    };
    result what = result::wait;
    std::size_t count = 0;
};

/// How far a stream is connected.
enum class connection_state : std::uint8_t {
    pending,
    open,
    refused,      ///< nothing listens there
    unreachable,  ///< no route, or no peer for the address
    timed_out,    ///< no answer
    no_such_host, ///< the name does not exist
    failed,       ///< another reason
};

/// A phrase for a user.
constexpr std::string_view describe(connection_state s) noexcept {
    switch (s) {
    case connection_state::pending: return "not connected yet";
    case connection_state::open: return "connected";
    case connection_state::refused: return "the connection was refused";
    case connection_state::unreachable: return "no route to the host";
    case connection_state::timed_out: return "no answer in time";
    case connection_state::no_such_host: return "the name of the host is unknown";
    case connection_state::failed: break;
    }
    return "the connection failed";
}

/// A connection. Its destructor closes it.
class stream {
public:
    virtual ~stream() = default;
    virtual connection_state state() noexcept = 0;
    /// Reads up to `to.size()` bytes.
    virtual transfer read(wg::bytes to) noexcept = 0;
    /// Writes the first bytes of `from`.
    virtual transfer write(wg::bytes_view from) noexcept = 0;
    /// Tells the other end that no more bytes follow.
    virtual void finish() noexcept = 0;
    /// Lets the destructor reset the connection, so that the other end sees an error.
    virtual void reset_on_close() noexcept {}
    /// The own address, and that of the other end; without a family if there is none.
    virtual wg::endpoint local() noexcept { return {}; }
    virtual wg::endpoint remote() noexcept { return {}; }
};

/// A port that accepts connections.
class listener {
public:
    virtual ~listener() = default;
    /// Takes a connection, which wakes `task`. Returns: nullptr if there is none.
    virtual std::unique_ptr<stream> accept(task_id task) noexcept = 0;
};

/// A socket for datagrams.
class datagrams {
public:
    virtual ~datagrams() = default;
    /// Takes a datagram, the first `to.size()` bytes of it. `ended` and `failed` do not happen.
    virtual transfer receive(wg::bytes to, wg::endpoint& from) noexcept = 0;
    /// Sends a datagram, or drops it if there is no room.
    virtual void send(wg::bytes_view from, wg::endpoint const& to) noexcept = 0;
    virtual wg::endpoint local() noexcept { return {}; }
};

/// The answer to a question for an address.
struct found_address {
    connection_state state = connection_state::pending; ///< open: `address` is known
    wg::ip_address address{};
};

/// A network.
class network {
public:
    virtual ~network() = default;
    /// Begins a connection. Returns: nullptr, with the reason in `why`, if that is impossible at once.
    virtual std::unique_ptr<stream> dial(place const& to, task_id task, std::string& why) noexcept = 0;
    /// Accepts connections. Returns: nullptr with a reason.
    virtual std::unique_ptr<listener> listen(place const& at, task_id task, std::string& why) noexcept = 0;
    /// Opens a socket. A port of 0 is any. Returns: nullptr with a reason.
    virtual std::unique_ptr<datagrams> open(place const& at, task_id task, std::string& why) noexcept = 0;
    /// Finds the address of a host for datagrams. While it is `pending`, the task is woken and asks again.
    virtual found_address resolve(std::string const& host, task_id task) noexcept = 0;
    /// What a user should look at if nothing answers; empty: nothing in particular.
    virtual std::string_view hint() noexcept { return {}; }
};

} // namespace wgproxy

#endif
