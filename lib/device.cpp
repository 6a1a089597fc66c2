// SPDX-License-Identifier: BSL-1.0
// The functions wg_device_* of wg.h over wg::core. Folder: lib. One thread at a time for each device.
#include "values.hpp"

#include <wg/default_policies.hpp>
#include <wg/device/core.hpp>
#include <wg/tunnel/host_names.hpp>

namespace {

using namespace wg;
using c::from_c;
using c::to_c;

constexpr std::size_t most_mtu_bytes = 9000; ///< of jumbo frames

/// Passes what leaves a device to the functions of the program.
struct functions {
    wg_device_options of{};

    status send(bytes_view data, path const& where, std::uint8_t tos) noexcept {
        wg_address const to = to_c(where.remote);
        return of.send(of.context, data.data(), data.size(), &to, tos) >= 0 ? status::ok : status::io_error;
    }
    void deliver(bytes_view ip_packet) noexcept { of.deliver(of.context, ip_packet.data(), ip_packet.size()); }
};

/// Configures the device. Returns: ok, or the reason with a sentence in `why`.
template <class Device> status configure(Device& device, quick::configuration const& from, std::string& why) noexcept {
    if (from.private_key.is_zero()) {
        why = "[Interface] has no PrivateKey";
        return status::no_private_key;
    }
    if (from.mtu_bytes > most_mtu_bytes) {
        why = "MTU: at most " + std::to_string(most_mtu_bytes);
        return status::invalid;
    }
    secret_vector<change> changes;
    if (!quick::append_changes(from, changes)) return status::no_memory;
    for (quick::peer const& p : from.peers) {
        if (p.endpoint.host.empty() || p.endpoint.address) continue;
        auto const found = resolve_on_host(p.endpoint.host);
        if (!found) {
            why = "Endpoint " + p.endpoint.host + " in line " + std::to_string(p.line) + ": " + describe(found.why());
            return found.why();
        }
        if (!changes.append(change::peer(p.public_key)) ||
            !changes.append(change::endpoint({*found, p.endpoint.port, 0})))
            return status::no_memory;
    }
    device.set_mtu(from.mtu_bytes != 0 ? from.mtu_bytes : default_mtu_bytes);
    return device.configure(changes.view(), device.clock().now());
}

} // namespace

/// The state behind the opaque type of wg.h.
struct wg_device {
    functions calls{};
    core<default_policies, functions, most_mtu_bytes> inner{calls};
};

extern "C" {

int wg_device_open_text(wg_device** device, char const* text, wg_device_options const* options, char* why,
                        size_t why_size) {
    *device = nullptr;
    c::say(why, why_size, "");
    auto const failed = [&](int reason, std::string_view sentence) {
        c::say(why, why_size, sentence.empty() ? std::string_view(wg_describe(reason)) : sentence);
        return reason;
    };
    std::unique_ptr<wg_device> made(new (std::nothrow) wg_device);
    if (!made || !made->inner.device().ready()) return failed(WG_NO_MEMORY, {});
    if (int const read = c::read_versioned(made->calls.of, options); read != WG_OK)
        return failed(read, c::why_not_read(read));
    if (made->calls.of.send == nullptr || made->calls.of.deliver == nullptr)
        return failed(WG_INVALID, "options.send and options.deliver are needed");
    std::string sentence;
    auto const read = quick::parse(text, "configuration", sentence);
    if (!read) return failed(to_c(read.why()), sentence);
    if (status const done = configure(made->inner.device(), *read, sentence); done != status::ok)
        return failed(to_c(done), sentence);
    *device = made.release();
    return WG_OK;
}

void wg_device_close(wg_device* device) { delete device; }

int wg_device_outbound(wg_device* device, void const* packet, size_t size) {
    status const why = device->inner.outbound(bytes_view(static_cast<byte const*>(packet), size));
    return why == status::staged ? WG_OK : to_c(why);
}

int wg_device_inbound(wg_device* device, void* datagram, size_t size, wg_address const* from, uint8_t tos) {
    auto const where = from_c(*from);
    if (!where) return WG_INVALID;
    status const why = device->inner.inbound(bytes(static_cast<byte*>(datagram), size), *where, tos);
    return why == status::queued || why == status::keepalive ? WG_OK : to_c(why);
}

int wg_device_tick(wg_device* device) {
    device->inner.tick();
    duration const left = device->inner.next_deadline() - device->inner.device().clock().now();
    return static_cast<int>(std::clamp<std::int64_t>((left.nanoseconds + 999'999) / 1'000'000, 0, 1000));
}

int wg_device_change_peer(wg_device* device, wg_peer_change const* asked) {
    secret_vector<change> changes;
    if (int const why = c::append_changes(asked, changes); why != WG_OK) return why;
    auto& inner = device->inner.device();
    return to_c(inner.configure(changes.view(), inner.clock().now()));
}

} // extern "C"
