// SPDX-License-Identifier: BSL-1.0
// Follows the routes and addresses of the host and one interface (NotifyIpInterfaceChange, NotifyRouteChange2,
// NotifyUnicastIpAddressChange). Folder: os/windows/net. One thread at a time. Link: iphlpapi.
#ifndef WG_OS_WINDOWS_NET_NETWORK_MONITOR_HPP
#define WG_OS_WINDOWS_NET_NETWORK_MONITOR_HPP

#include "../../network_changes.hpp"
#include "../handle.hpp"
#include "interface_calls.hpp"

#include <atomic>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_network_monitor`. Those that return an int return 0 or the error number.
struct network_calls : handle_calls {
    /// CreateEventW: an event that a wait resets. Returns: null if there is no memory left.
    static void* create_event() noexcept { return api_detail::create_event(nullptr, 0, 0, nullptr); }
    /// SetEvent
    static void set_event(void* event) noexcept { api_detail::set_event(event); }
    /// CreateWaitableTimerW, SetWaitableTimer: an object that is set each `period_ms`; a wait resets it. Returns: null
    /// if there is no memory left.
    static void* create_timer(int period_ms) noexcept {
        unique_handle timer(api_detail::create_timer(nullptr, 0, nullptr));
        std::int64_t const due = -std::int64_t{10'000} * period_ms; // in 100 ns, from now on
        bool const set = timer && api_detail::set_timer(timer.get(), &due, period_ms, nullptr, nullptr, 0) != 0;
        return set ? timer.release() : nullptr;
    }
    /// NotifyIpInterfaceChange. Wine 8 takes the call and never reports a change.
    static int watch_interfaces(api_detail::interface_callback told, void* context, void** watch) noexcept {
        if (interface_calls::is_wine()) return api_detail::error_call_not_implemented;
        return static_cast<int>(api_detail::watch_interfaces(0, told, context, 0, watch));
    }
    /// NotifyRouteChange2
    static int watch_routes(api_detail::row_callback told, void* context, void** watch) noexcept {
        if (interface_calls::is_wine()) return api_detail::error_call_not_implemented;
        return static_cast<int>(api_detail::watch_routes(0, told, context, 0, watch));
    }
    /// NotifyUnicastIpAddressChange
    static int watch_addresses(api_detail::row_callback told, void* context, void** watch) noexcept {
        if (interface_calls::is_wine()) return api_detail::error_call_not_implemented;
        return static_cast<int>(api_detail::watch_addresses(0, told, context, 0, watch));
    }
    /// CancelMibChangeNotify2: waits until no callback runs.
    static void stop_watch(void* watch) noexcept { (void)api_detail::stop_watch(watch); }
};

/// Watches routes, addresses and one interface. Where Windows does not report changes, its event is set each second,
/// and `read` then reports that routes may have changed. A test replaces `Calls`.
template <class Calls = network_calls> class basic_network_monitor {
public:
    static constexpr int look_interval_ms = 1000; ///< where Windows does not report changes

    /// Watches routes and addresses, and no interface yet.
    basic_network_monitor() noexcept : event_(Calls::create_event()) {
        if (!event_) return;
        reports_ = Calls::watch_interfaces(&interface_changed, this, &watches_[0]) == 0 &&
                   Calls::watch_routes(&routes_changed, this, &watches_[1]) == 0 &&
                   Calls::watch_addresses(&routes_changed, this, &watches_[2]) == 0;
        if (reports_) return;
        stop();
        event_.reset(Calls::create_timer(look_interval_ms));
    }
    basic_network_monitor(basic_network_monitor const&) = delete;
    basic_network_monitor& operator=(basic_network_monitor const&) = delete;
    ~basic_network_monitor() { stop(); }

    /// Follows the interface of `device` from now on.
    template <class Tun> void watch(Tun const& device) noexcept { luid_.store(device.luid()); }

    /// Whether changes of the interface are reported. Else the caller has to check the interface from time to time.
    bool reports_link() const noexcept { return reports_; }

    /// An event that is set when `read` has something to read. A wait resets it. Null: no memory was left.
    void* event() const noexcept { return event_.get(); }
    /// Whether Windows had an event for the object.
    explicit operator bool() const noexcept { return static_cast<bool>(event_); }

    /// Reads all changes without blocking. The MTU and the state of the interface are not reported: the TUN device asks
    /// Windows for them.
    network_changes read() noexcept {
        std::uint32_t const told = told_.exchange(0);
        network_changes changes;
        changes.link = (told & link) != 0;
        changes.up = changes.link;
        changes.link_left = (told & link_left) != 0;
        changes.routes = !reports_ || (told & routes) != 0;
        return changes;
    }

private:
    enum : std::uint32_t { link = 1, link_left = 2, routes = 4 };

    /// Runs in a thread of Windows.
    void tell(std::uint32_t what) noexcept {
        told_.fetch_or(what);
        Calls::set_event(event_.get());
    }
    static void interface_changed(void* context, api_detail::interface_row* row, int kind) noexcept {
        auto& self = *static_cast<basic_network_monitor*>(context);
        if (row == nullptr || row->luid != self.luid_.load()) return;
        self.tell(kind == api_detail::row_is_deleted ? link_left : link);
    }
    static void routes_changed(void* context, void* /*row*/, int /*kind*/) noexcept {
        static_cast<basic_network_monitor*>(context)->tell(routes);
    }

    void stop() noexcept {
        for (void*& watch : watches_)
            if (watch != nullptr) Calls::stop_watch(std::exchange(watch, nullptr));
    }

    basic_handle<Calls> event_;
    void* watches_[3] = {};
    std::atomic<std::uint64_t> luid_{0};
    std::atomic<std::uint32_t> told_{0};
    bool reports_ = false;
};

/// The network monitor of a Windows host.
using network_monitor = basic_network_monitor<>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
