// SPDX-License-Identifier: BSL-1.0
// Values of wg.h from those of the library, and the reverse. Folder: lib. Plain functions.
#ifndef WG_LIB_VALUES_HPP
#define WG_LIB_VALUES_HPP

#pragma GCC visibility push(default) // all else in the library is hidden
#include <wg.h>
#pragma GCC visibility pop
#include <wg/control/quick.hpp>

#include <algorithm>
#include <cstring>

namespace wg { inline namespace WG_ABI { namespace c {

/// The number of the C interface for a status.
constexpr int to_c(status s) noexcept {
    switch (s) {
    case status::ok: return WG_OK;
    case status::invalid: return WG_INVALID;
    case status::no_memory: return WG_NO_MEMORY;
    case status::io_error: return WG_IO_ERROR;
    case status::no_permission: return WG_NO_PERMISSION;
    case status::not_supported: return WG_NOT_SUPPORTED;
    case status::address_in_use: return WG_ADDRESS_IN_USE;
    case status::refused: return WG_REFUSED;
    case status::reset: return WG_RESET;
    case status::timed_out: return WG_TIMED_OUT;
    case status::cancelled: return WG_CANCELLED;
    case status::name_not_found: return WG_NAME_NOT_FOUND;
    case status::would_block: return WG_WOULD_BLOCK;
    case status::gone: return WG_GONE;
    case status::no_private_key: return WG_NO_PRIVATE_KEY;
    case status::no_random: return WG_NO_RANDOM;
    case status::too_many_peers: return WG_TOO_MANY_PEERS;
    case status::unknown_peer: return WG_UNKNOWN;
    case status::no_room: return WG_TOO_LONG;
    default: return WG_FAILED;
    }
}

/// An address as the C interface has it.
inline wg_address to_c(endpoint const& from) noexcept {
    wg_address made{};
    made.family = static_cast<std::uint8_t>(from.address.kind);
    made.port = from.port;
    made.scope = from.scope_id;
    std::memcpy(made.bytes, from.address.octets.data(), sizeof made.bytes);
    return made;
}
/// The reverse. Returns: invalid, if the family is none.
inline result<endpoint> from_c(wg_address const& from) noexcept {
    if (from.family != 4 && from.family != 6) return status::invalid;
    return endpoint{ip_address::of(static_cast<family>(from.family), from.bytes), from.port, from.scope};
}

/// Writes a sentence and a zero byte, cut to `size`.
inline void say(char* why, std::size_t size, std::string_view sentence) noexcept {
    if (why == nullptr || size == 0) return;
    std::size_t const length = (std::min)(sentence.size(), size - 1);
    std::memcpy(why, sentence.data(), length);
    why[length] = '\0';
}

/// Copies a struct whose first member is its size, as the program knows it. Members that the program does not know are
/// 0. Returns: WG_NOT_SUPPORTED, if the program sets a member that this library does not know; WG_INVALID.
template <class Versioned> int read_versioned(Versioned& into, Versioned const* from) noexcept {
    into = {};
    std::size_t const size = from->size;
    if (size < sizeof size || size > 4096) return WG_INVALID;
    auto const* const octets = reinterpret_cast<unsigned char const*>(from);
    for (std::size_t i = sizeof into; i < size; ++i)
        if (octets[i] != 0) return WG_NOT_SUPPORTED;
    std::memcpy(&into, octets, (std::min)(size, sizeof into));
    return WG_OK;
}

/// A sentence for a result of `read_versioned` that is not WG_OK.
constexpr char const* why_not_read(int result) noexcept {
    return result == WG_INVALID ? "options.size is not the size of the struct"
                                : "options has a member that this version of libwg does not know";
}
/// Appends what a program asks to change of a peer. Returns: WG_OK; WG_INVALID; WG_NOT_SUPPORTED; WG_NO_MEMORY.
inline int append_changes(wg_peer_change const* of_program, secret_vector<change>& changes) noexcept {
    struct wiped : wg_peer_change {
        ~wiped() { wipe(preshared_key, sizeof preshared_key); }
    } copy{};
    if (int const read = read_versioned<wg_peer_change>(copy, of_program); read != WG_OK) return read;
    wg_peer_change const* const asked = &copy;
    constexpr std::uint32_t known = 63;
    if ((asked->flags & ~known) != 0) return WG_NOT_SUPPORTED;
    auto const has = [&](std::uint32_t flag) { return (asked->flags & flag) != 0; };
    bool good = changes.append(change::peer(key_view(asked->public_key, key_bytes)));
    if (has(WG_PEER_UPDATE_ONLY)) good = good && changes.append(change::update_only());
    if (has(WG_PEER_REMOVE)) good = good && changes.append(change::remove_peer());
    if (has(WG_PEER_SET_PRESHARED_KEY))
        good = good && changes.append(change::preshared_key(key_view(asked->preshared_key, key_bytes)));
    if (has(WG_PEER_SET_ENDPOINT)) {
        auto const where = from_c(asked->endpoint);
        if (!where || where->port == 0) return WG_INVALID;
        good = good && changes.append(change::endpoint(*where));
    }
    if (has(WG_PEER_SET_KEEPALIVE)) good = good && changes.append(change::persistent_keepalive(asked->keepalive_s));
    if (has(WG_PEER_REPLACE_ALLOWED_IPS)) good = good && changes.append(change::replace_allowed_ips());
    for (std::size_t i = 0; i < asked->allowed_ip_count; ++i) {
        wg_prefix const& from = asked->allowed_ips[i];
        if ((from.family != 4 && from.family != 6) || from.bits > (from.family == 4 ? 32 : 128)) return WG_INVALID;
        auto const address = ip_address::of(static_cast<family>(from.family), from.bytes);
        good = good && changes.append(change::allowed_ip(ip_prefix::of(address, from.bits)));
    }
    return good ? WG_OK : WG_NO_MEMORY;
}

}}} // namespace wg::WG_ABI::c

#endif
