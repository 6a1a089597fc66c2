// SPDX-License-Identifier: BSL-1.0
// Writes the keys of handshakes in the format of Wireshark's preference "Key log file" for WireGuard
// (https://www.wireshark.org/docs/wsug_html_chunked/ChWireGuard.html; packet-wireguard.c of Wireshark). Folder:
// backends; called under the device's lock.
//
// Whoever has this file reads all traffic of these sessions, and can be this device from then on. So the header is
// empty unless the program is compiled with the macro WG_KEY_LOG.
#ifndef WG_BACKENDS_KEY_LOG_HPP
#define WG_BACKENDS_KEY_LOG_HPP

#include "../policy.hpp"
#include "base64.hpp"

#ifdef WG_KEY_LOG

namespace wg { inline namespace WG_ABI {

/// An observer that writes four lines for each handshake: this device's private key, the peer's public key, this
/// device's ephemeral key, and the preshared key. The log of one end is enough to read both directions.
class key_log_observer {
public:
    /// Events are not reported.
    static constexpr bool enabled = false;
    /// Writes the pieces one after the other to the end of the log. `context`: see the constructor.
    using write_type = void (*)(void* context, std::span<bytes_view const> pieces) noexcept;

    /// Writes nothing.
    key_log_observer() noexcept = default;
    /// Writes by `write(context, pieces)`; `context` outlives the device.
    key_log_observer(write_type write, void* context) noexcept : write_(write), context_(context) {}

    /// Never called.
    void event(event_id, std::uint32_t, std::uint64_t) noexcept {}

    /// Writes the lines of a handshake.
    void handshake(handshake_secrets const& secrets) noexcept {
        if (write_ == nullptr) return;
        struct {
            char const* name;
            key_view key;
        } const lines[] = {{"LOCAL_STATIC_PRIVATE_KEY = ", secrets.private_key.expose()},
                           {"REMOTE_STATIC_PUBLIC_KEY = ", secrets.peer_key},
                           {"LOCAL_EPHEMERAL_PRIVATE_KEY = ", secrets.ephemeral_key.expose()},
                           {"PRESHARED_KEY = ", secrets.preshared_key.expose()}};
        secret<320> text; // wiped in the end
        char* end = reinterpret_cast<char*>(text.expose().data());
        for (auto [name, key] : lines) {
            while (*name != '\0') *end++ = *name++;
            print_base64(key, std::span(end, key_chars));
            end += key_chars;
            *end++ = '\n';
        }
        auto const size = reinterpret_cast<byte const*>(end) - text.expose().data();
        bytes_view const piece = text.expose().first(static_cast<std::size_t>(size));
        write_(context_, std::span(&piece, 1));
    }

private:
    static constexpr std::size_t key_chars = 44; ///< of a key in base64

    write_type write_ = nullptr;
    void* context_ = nullptr;
};
static_assert(observer_with_secrets<key_log_observer>);

}} // namespace wg::WG_ABI

#endif // WG_KEY_LOG
#endif
