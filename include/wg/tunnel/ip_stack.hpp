// SPDX-License-Identifier: BSL-1.0
// The concept of a TCP/IP stack inside the process, for wg::basic_tunnel. tunnel/lwip_stack.hpp is a model.
// Folder: tunnel.
#ifndef WG_TUNNEL_IP_STACK_HPP
#define WG_TUNNEL_IP_STACK_HPP

#include "../policy.hpp"
#include "events.hpp"

#include <concepts>
#include <memory>
#include <mutex>

namespace wg { inline namespace WG_ABI {

/// A TCP/IP stack. One lock, `mutex()`, guards all of its objects: every member is called while the lock is held,
/// except `tun_device`'s members and `has_waiting` of `interface`, which take it themselves. An object calls its event
/// `changed` under the lock when one of its results may have changed; the function that is called does not call the
/// stack. `interface::add` names the function that wakes the thread that reads the interface.
template <class Stack>
concept ip_stack = requires(typename Stack::interface& interface, typename Stack::connection& connection,
                            typename Stack::acceptor& acceptor, typename Stack::datagram_port& port,
                            typename Stack::echo& echo, ip_address const& address, endpoint& where, bytes into,
                            bytes_view data, std::uint16_t number, std::size_t count) {
    requires tun_device<typename Stack::interface>;
    { Stack::mutex() } noexcept -> std::same_as<std::mutex&>;
    { Stack::run_timers() } noexcept -> std::same_as<duration>;
    { interface.add(count, nullptr, nullptr) } noexcept -> std::same_as<status>;
    { interface.add_address(address) } noexcept -> std::same_as<status>;
    { interface.remove() } noexcept -> std::same_as<void>;
    { interface.has_waiting() } noexcept -> std::same_as<bool>;
    { interface.has_family(address.kind) } noexcept -> std::same_as<bool>;
    { interface.is_flushed() } noexcept -> std::same_as<bool>;
    { connection.connect(interface, where) } noexcept -> std::same_as<status>;
    { connection.state() } noexcept -> std::same_as<status>;
    { connection.readable() } noexcept -> std::same_as<bool>;
    { connection.writable() } noexcept -> std::same_as<bool>;
    { connection.read(into) } noexcept -> std::same_as<result<std::size_t>>;
    { connection.write(data) } noexcept -> std::same_as<result<std::size_t>>;
    { connection.finish() } noexcept -> std::same_as<void>;
    { connection.close() } noexcept -> std::same_as<void>;
    { connection.abort() } noexcept -> std::same_as<void>;
    { connection.local() } noexcept -> std::same_as<endpoint>;
    { connection.remote() } noexcept -> std::same_as<endpoint>;
    { acceptor.open(interface, number, count) } noexcept -> std::same_as<result<std::uint16_t>>;
    { acceptor.take() } noexcept -> std::same_as<std::unique_ptr<typename Stack::connection>>;
    { acceptor.has_waiting() } noexcept -> std::same_as<bool>;
    { acceptor.close() } noexcept -> std::same_as<void>;
    { port.open(interface, number) } noexcept -> std::same_as<result<std::uint16_t>>;
    { port.readable() } noexcept -> std::same_as<bool>;
    { port.receive(into, where) } noexcept -> std::same_as<result<std::size_t>>;
    { port.send(data, where) } noexcept -> std::same_as<status>;
    { port.close() } noexcept -> std::same_as<void>;
    { echo.send(interface, address, number) } noexcept -> std::same_as<status>;
    { echo.is_answered() } noexcept -> std::same_as<bool>;
    { echo.close() } noexcept -> std::same_as<void>;
    requires std::same_as<decltype(connection.changed), event> && std::same_as<decltype(acceptor.changed), event> &&
                 std::same_as<decltype(port.changed), event> && std::same_as<decltype(echo.changed), event>;
};

}} // namespace wg::WG_ABI

#endif
