// SPDX-License-Identifier: BSL-1.0
// Refuses, at compile time, a policy that has an optional member with a wrong signature. Without this check the member
// would be ignored. Folder: policy; nothing runs.
#ifndef WG_POLICY_CHECK_HPP
#define WG_POLICY_CHECK_HPP

#include "../policy.hpp"

#include <type_traits>

namespace wg { inline namespace WG_ABI {

/// @cond
namespace policy_detail {

// The address of a member can be taken exactly if the member is accessible, not overloaded, and not removed by a
// `requires` clause. So a class template that has a member in some specialisations only is not refused for it.
#define WG_NAMES_MEMBER(member)                                                                                        \
    template <class Policy>                                                                                            \
    concept names_##member = requires { &Policy::member; };
WG_NAMES_MEMBER(blake2s_batch)
WG_NAMES_MEMBER(hmac_blake2s)
WG_NAMES_MEMBER(dh_batch)
WG_NAMES_MEMBER(seal_batch)
WG_NAMES_MEMBER(open_batch)
WG_NAMES_MEMBER(run)
WG_NAMES_MEMBER(settle)
WG_NAMES_MEMBER(share)
WG_NAMES_MEMBER(has_more_for_others)
WG_NAMES_MEMBER(sparse_packets)
WG_NAMES_MEMBER(longest_cut)
WG_NAMES_MEMBER(set_fwmark)
WG_NAMES_MEMBER(receive_handshakes)
WG_NAMES_MEMBER(note_received)
WG_NAMES_MEMBER(note_authentic)
WG_NAMES_MEMBER(separate_handshakes)
WG_NAMES_MEMBER(handshakes_ready)
WG_NAMES_MEMBER(keep_out_of)
WG_NAMES_MEMBER(send_headroom)
WG_NAMES_MEMBER(send_tailroom)
WG_NAMES_MEMBER(give_way)
WG_NAMES_MEMBER(packet)
WG_NAMES_MEMBER(handshake)
#undef WG_NAMES_MEMBER

template <class Threads>
concept names_cell = requires { typename Threads::cell; } || requires { &Threads::cell; };
template <class Threads>
concept names_thread = requires { typename Threads::thread; } || requires { &Threads::thread; };

// A class that derives from a tun_device inherits a `share` that returns the base. That is enough for an engine;
// `workers` then refuse the bundle.
template <class Tun>
concept shares_base = requires(Tun& tun) {
    { tun.share() } noexcept;
    requires std::derived_from<Tun, std::remove_cvref_t<decltype(*tun.share())>>;
};

// An optional form of a required member is found by a call.
template <class Waiter>
concept takes_busy_poll =
    requires(Waiter& waiter, instant deadline, duration busy_poll) { waiter.wait(deadline, busy_poll); };
template <class Observer>
concept takes_key = requires(Observer& observer, event_id id, std::uint32_t number, std::uint64_t value,
                             public_key const& key) { observer.event(id, number, value, key); };

} // namespace policy_detail
/// @endcond

/// Checks the optional members of a hash_backend.
template <hash_backend Hash> struct check_hash_backend {
    static_assert(!policy_detail::names_blake2s_batch<Hash> || batch_hash_backend<Hash>,
                  "hash_backend: not `void blake2s_batch(std::span<hash_item const>) const noexcept`");
    static_assert(!policy_detail::names_hmac_blake2s<Hash> || hmac_hash_backend<Hash>,
                  "hash_backend: not `void hmac_blake2s(bytes out, key_view key, bytes_view input) const noexcept`");
};

/// Checks the optional member of a dh_backend.
template <dh_backend Dh> struct check_dh_backend {
    static_assert(!policy_detail::names_dh_batch<Dh> || batch_dh_backend<Dh>,
                  "dh_backend: not `void dh_batch(std::span<dh_item>) const noexcept`");
};

/// Checks the optional members of an aead_backend.
template <aead_backend Aead> struct check_aead_backend {
    static_assert((!policy_detail::names_seal_batch<Aead> && !policy_detail::names_open_batch<Aead>) ||
                      batch_aead_backend<Aead>,
                  "aead_backend: not both of `void seal_batch(std::span<aead_item const>) const noexcept` and "
                  "`void open_batch(std::span<aead_item>) const noexcept`");
    static_assert(!policy_detail::names_run<Aead> || single_call_aead_backend<Aead>,
                  "aead_backend: not `bool run(bool seals, byte* dst, byte const* src, std::size_t size, "
                  "byte const* aad, std::size_t aad_bytes, std::uint64_t counter, secret<key_bytes> const& key) const "
                  "noexcept`");
};

/// Checks the optional members of a tun_device.
template <tun_device Tun> struct check_tun_device {
    static_assert(!policy_detail::names_settle<Tun> || tun_device_with_settle<Tun>,
                  "tun_device: not `void settle() noexcept`");
    static_assert(!policy_detail::names_share<Tun> || policy_detail::shares_base<Tun>,
                  "tun_device: not `result<Tun> share() noexcept`");
    static_assert(!policy_detail::names_has_more_for_others<Tun> || tun_device_with_has_more_for_others<Tun>,
                  "tun_device: not `bool has_more_for_others() noexcept`");
    static_assert(!policy_detail::names_sparse_packets<Tun> || tun_device_with_sparse_packets<Tun>,
                  "tun_device: not `std::uint32_t sparse_packets() noexcept`");
    static_assert(!policy_detail::names_longest_cut<Tun> || tun_device_with_longest_cut<Tun>,
                  "tun_device: not `std::size_t longest_cut() noexcept`");
};

/// Checks the optional members of a udp_socket.
template <udp_socket Socket> struct check_udp_socket {
private:
    static constexpr bool names_handshakes = policy_detail::names_receive_handshakes<Socket> ||
                                             policy_detail::names_note_received<Socket> ||
                                             policy_detail::names_note_authentic<Socket>;
    static constexpr bool is_refused = names_handshakes && !udp_socket_with_handshakes<Socket>; ///< one error is enough

public:
    static_assert(!policy_detail::names_set_fwmark<Socket> || udp_socket_with_set_fwmark<Socket>,
                  "udp_socket: not `status set_fwmark(std::uint32_t mark) noexcept`");
    static_assert(!policy_detail::names_share<Socket> || udp_socket_with_share<Socket>,
                  "udp_socket: not `bool share(Socket const& other) noexcept`");
    static_assert(!names_handshakes || udp_socket_with_handshakes<Socket>,
                  "udp_socket: not all of `result<std::size_t> receive_handshakes(std::span<datagram>) noexcept`, "
                  "`void note_received(std::size_t data, std::size_t useless, std::size_t handshakes) noexcept` and "
                  "`void note_authentic(ip_address const& source) noexcept`");
    static_assert(!policy_detail::names_separate_handshakes<Socket> || is_refused ||
                      udp_socket_with_separate_handshakes<Socket>,
                  "udp_socket: not `void separate_handshakes() noexcept`, with `receive_handshakes`");
    static_assert(!policy_detail::names_handshakes_ready<Socket> || is_refused ||
                      udp_socket_with_handshakes_ready<Socket>,
                  "udp_socket: not `bool handshakes_ready() noexcept`, with `receive_handshakes`");
    static_assert((!policy_detail::names_send_headroom<Socket> && !policy_detail::names_send_tailroom<Socket>) ||
                      udp_socket_with_room<Socket>,
                  "udp_socket: not both of `static constexpr std::size_t send_headroom` and `send_tailroom`");
};

/// Checks the optional form of `wait` of a waiter.
template <waiter Waiter> struct check_waiter {
    static_assert(!policy_detail::takes_busy_poll<Waiter> || waiter_with_busy_poll<Waiter>,
                  "waiter: not `readiness wait(instant deadline, duration busy_poll) noexcept`");
};

/// Checks the optional members of a threads policy.
template <threads Threads> struct check_threads {
    static_assert(
        !policy_detail::names_cell<Threads> || threads_with_cell<Threads>,
        "threads: not a type `cell` with `std::uint32_t load() noexcept`, `void store(std::uint32_t) noexcept` "
        "and `void wait(std::uint32_t old) noexcept`");
    static_assert(!policy_detail::names_thread<Threads> || threads_with_thread<Threads>,
                  "threads: not a type `thread` with `template <auto Work, class Context> "
                  "bool start(Context&) noexcept`");
    static_assert(!policy_detail::names_give_way<Threads> || threads_with_give_way<Threads>,
                  "threads: not `static void give_way() noexcept`");
};

/// Checks the optional members of an observer.
template <observer Observer> struct check_observer {
    static_assert(!policy_detail::takes_key<Observer> || observer_with_key<Observer>,
                  "observer: not `void event(event_id, std::uint32_t peer_number, std::uint64_t value, "
                  "public_key const& key) noexcept`");
    static_assert(!policy_detail::names_packet<Observer> || observer_with_packets<Observer>,
                  "observer: not `void packet(seen_packet const&) noexcept`");
    static_assert(!policy_detail::names_handshake<Observer> || observer_with_secrets<Observer>,
                  "observer: not `void handshake(handshake_secrets const&) noexcept`, or WG_KEY_LOG is not defined");
};

/// Checks the optional policy `ratchet_storage` of a bundle.
template <class Policies> struct check_ratchet_storage {};
template <policies_with_ratchet Policies> struct check_ratchet_storage<Policies> {
    static_assert(ratchet_storage<typename Policies::ratchet_storage>,
                  "ratchet_storage: not all of `bool load(public_key const&, std::span<byte, 184>) noexcept`, "
                  "`bool store(public_key const&, std::span<byte const, 184>) noexcept` and "
                  "`void erase(public_key const&) noexcept`");
};

/// Checks the optional members of all policies of a device's bundle: `sizeof` this class instantiates the checks.
template <policies Policies>
struct check_policies : check_hash_backend<typename Policies::hash>,
                        check_dh_backend<typename Policies::dh>,
                        check_aead_backend<typename Policies::aead>,
                        check_threads<typename Policies::threads>,
                        check_observer<typename Policies::observer>,
                        check_ratchet_storage<Policies> {};

/// Checks the optional policy `snapshot_detector` of a bundle.
template <class Policies> struct check_snapshot_detector {};
template <policies_with_snapshot_detector Policies> struct check_snapshot_detector<Policies> {
    static_assert(snapshot_detector<typename Policies::snapshot_detector>,
                  "snapshot_detector: not both of `void look(instant now) noexcept` and "
                  "`std::uint64_t generation() noexcept`");
};

/// Checks the optional members of the further policies of an engine's bundle.
template <engine_policies Policies>
struct check_engine_policies : check_tun_device<typename Policies::tun_device>,
                               check_udp_socket<typename Policies::udp_socket>,
                               check_waiter<typename Policies::waiter>,
                               check_snapshot_detector<Policies> {
    static_assert(!policy_detail::names_keep_out_of<typename Policies::udp_socket> ||
                      udp_socket_with_tunnel<typename Policies::udp_socket, typename Policies::tun_device>,
                  "udp_socket: not `void keep_out_of(tun_device const& device) noexcept`");
};

}} // namespace wg::WG_ABI

#endif
