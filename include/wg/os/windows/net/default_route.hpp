// SPDX-License-Identifier: BSL-1.0
// The interface of the default route outside the tunnel (GetIpForwardTable2). Folder: os/windows/net. Any thread.
// Link: iphlpapi.
#ifndef WG_OS_WINDOWS_NET_DEFAULT_ROUTE_HPP
#define WG_OS_WINDOWS_NET_DEFAULT_ROUTE_HPP

#include "../../../base/endpoint.hpp"
#include "interface_calls.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `default_interface`.
struct route_calls : interface_calls {
    /// GetIpForwardTable2 for AF_INET or AF_INET6. Returns: null if it fails.
    static api_detail::route_table* routes(int family) noexcept {
        api_detail::route_table* table = nullptr;
        return api_detail::get_routes(static_cast<std::uint16_t>(family), &table) == 0 ? table : nullptr;
    }
    /// FreeMibTable
    static void release(api_detail::route_table* table) noexcept { api_detail::free_table(table); }
};

/// The index of the interface of the default route with the lowest metric, for `udp::set_interfaces`. Routes through
/// the interface `own_luid`, which is the tunnel, do not count. Windows adds the metric of the route to that of its
/// interface. Returns: 0 if there is no such route.
template <class Calls = route_calls> std::uint32_t default_interface(family kind, std::uint64_t own_luid) noexcept {
    int const number = kind == family::v4 ? api_detail::family_v4 : api_detail::family_v6;
    api_detail::route_table* const table = Calls::routes(number);
    if (table == nullptr) return 0;
    std::uint32_t best = 0;
    std::uint64_t best_metric = UINT64_MAX;
    for (std::uint32_t i = 0; i < table->count; ++i) {
        api_detail::route_row const& route = (&table->first)[i];
        if (route.destination.bits != 0 || route.luid == own_luid) continue;
        api_detail::interface_row link{};
        link.family = static_cast<std::uint16_t>(number);
        link.luid = route.luid;
        int const error = Calls::get_interface(link);
        if (error != 0 && error != api_detail::error_call_not_implemented) continue; // removed in the meantime
        std::uint64_t const metric = std::uint64_t{route.metric} + link.metric;
        if (metric >= best_metric) continue;
        best = route.index;
        best_metric = metric;
    }
    Calls::release(table);
    return best;
}

}}}} // namespace wg::WG_ABI::os::windows

#endif
