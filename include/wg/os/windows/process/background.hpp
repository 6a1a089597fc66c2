// SPDX-License-Identifier: BSL-1.0
// Runs a daemon as a service of Windows (StartServiceCtrlDispatcherW, SetServiceStatus). Folder: os/windows/process.
// One object in a process. Link: advapi32.
#ifndef WG_OS_WINDOWS_PROCESS_BACKGROUND_HPP
#define WG_OS_WINDOWS_PROCESS_BACKGROUND_HPP

#include "../error.hpp"
#include "stop_signals.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_background`.
struct service_calls : stop_calls {
    /// CreateThread: runs `start` in a thread that the process does not wait for. Returns: false if Windows refuses.
    static bool start_thread(api_detail::thread_start start) noexcept {
        constexpr std::size_t stack_bytes = std::size_t{256} << 10;
        return static_cast<bool>(unique_handle(api_detail::create_thread(nullptr, stack_bytes, start, nullptr,
                                                                         api_detail::stack_is_reservation, nullptr)));
    }
    /// WaitForSingleObject. Returns: false if the time is over.
    static bool wait(void* event, std::uint32_t milliseconds) noexcept {
        return api_detail::wait_for_one(event, milliseconds) == api_detail::wait_object_0;
    }
    /// StartServiceCtrlDispatcherW: calls `main` in another thread, and returns when the service has stopped. Returns:
    /// 0 or the error number.
    static int dispatch(api_detail::service_main main) noexcept {
        api_detail::service_entry const table[] = {{u"", main}, {nullptr, nullptr}};
        return api_detail::dispatch_service(table) != 0 ? 0 : static_cast<int>(api_detail::last_error());
    }
    /// RegisterServiceCtrlHandlerExW. Returns: null if Windows refuses.
    static void* register_service(api_detail::service_handler handler) noexcept {
        return api_detail::register_service(u"", handler, nullptr);
    }
    /// SetServiceStatus
    static void set_status(void* service, api_detail::service_status& status) noexcept {
        (void)api_detail::set_service_status(service, &status);
    }
};

/// Connects the process to the service control manager. `StopRequests` gets the request to stop. A test replaces both.
template <class Calls = service_calls, class StopRequests = stop_signals> class basic_background {
public:
    /// Stays in the foreground: `ready` does nothing.
    basic_background() noexcept = default;
    /// Takes over the service.
    basic_background(basic_background&& other) noexcept
        : is_service_(std::exchange(other.is_service_, false)), is_ready_(other.is_ready_) {}
    basic_background& operator=(basic_background&&) = delete;
    /// Reports that the service has stopped: the last thing that it does, because Windows may start it again then. With
    /// an error if it was never ready, or if it has ended without being asked, as when the adapter was removed.
    ~basic_background() {
        if (!is_service_) return;
        auto const end = !is_ready_           ? exit_codes::not_started
                         : state.asked.load() ? exit_codes::none
                                              : exit_codes::ended_by_itself;
        report(api_detail::service_stopped, end);
        StopRequests::is_service(false);
    }

    /// Connects to the service control manager, which has started this process, and reports that the service starts. To
    /// be called early: the manager waits 30 s for it. From then on its request to stop is one of `stop_signals`.
    /// Returns: `not_supported` if another program has started this process; `no_memory`.
    static result<basic_background> connect() noexcept {
        basic_handle<Calls> connected(Calls::create_event());
        if (!connected) return status::no_memory;
        state.error.store(0);
        state.service.store(nullptr);
        state.asked.store(false);
        state.set_connected(connected.get());
        if (!Calls::start_thread(&dispatch)) {
            state.set_connected(nullptr);
            return status::no_memory;
        }
        bool const answered = Calls::wait(connected.get(), longest_connect_ms);
        state.set_connected(nullptr);
        if (state.error.load() == api_detail::error_no_controller) return status::not_supported;
        if (!answered || state.error.load() != 0 || state.service.load() == nullptr) return status::io_error;
        StopRequests::is_service(true);
        basic_background made;
        made.is_service_ = true;
        return made;
    }

    /// A service needs no other process. Returns: ok.
    static constexpr status enter() noexcept { return status::ok; }

    /// Reports that the service runs.
    void ready(bool /*keep_stderr*/) noexcept {
        is_ready_ = true;
        if (is_service_) report(api_detail::service_running);
    }

private:
    static constexpr std::uint32_t longest_connect_ms = 30'000;
    static constexpr std::uint32_t longest_step_ms = 60'000; ///< Wintun may have to install its driver

    /// The exit codes of the service.
    enum class exit_codes : std::uint32_t { none, not_started, ended_by_itself };

    struct shared_state {
        typename Calls::mutex mutex; ///< held while the event is set, so that it is not closed then
        void* connected = nullptr;   ///< the event that `connect` waits for; guarded by `mutex`
        std::atomic<void*> service{nullptr};
        std::atomic<int> error{0};
        std::atomic<bool> asked{false}; ///< to stop

        void set_connected(void* event) noexcept {
            mutex.lock();
            connected = event;
            mutex.unlock();
        }
    };
    static inline shared_state state{};

    static void tell_connected() noexcept {
        state.mutex.lock();
        if (state.connected != nullptr) Calls::set_event(state.connected);
        state.mutex.unlock();
    }

    /// The thread that calls `serve` and the handler.
    static std::uint32_t dispatch(void*) noexcept {
        if (int const error = Calls::dispatch(&serve); error != 0) {
            state.error.store(error);
            tell_connected();
        }
        return 0;
    }
    /// Begins the service. Returns at once: the process's first thread serves.
    static void serve(std::uint32_t, api_detail::wide**) noexcept {
        state.service.store(Calls::register_service(&handle));
        if (state.service.load() != nullptr) report(api_detail::service_start_pending);
        tell_connected();
    }
    static std::uint32_t handle(std::uint32_t control, std::uint32_t, void*, void*) noexcept {
        switch (control) {
        case api_detail::service_control_stop:
        case api_detail::service_control_shutdown:
            state.asked.store(true);
            report(api_detail::service_stop_pending);
            StopRequests::stop(StopRequests::terminated);
            return 0;
        case api_detail::service_control_interrogate: return 0;
        default: return api_detail::error_call_not_implemented;
        }
    }

    static void report(std::uint32_t now, exit_codes end = exit_codes::none) noexcept {
        bool const runs = now == api_detail::service_running, rests = runs || now == api_detail::service_stopped;
        api_detail::service_status status{};
        status.type = api_detail::service_own_process;
        status.state = now;
        status.accepted = runs ? api_detail::service_accepts_stop | api_detail::service_accepts_shutdown : 0;
        status.exit_code = end != exit_codes::none ? api_detail::error_service_specific : 0;
        status.specific_exit_code = static_cast<std::uint32_t>(end);
        status.wait_hint_ms = rests ? 0 : longest_step_ms;
        Calls::set_status(state.service.load(), status);
    }

    bool is_service_ = false;
    bool is_ready_ = false;
};

/// The service of a Windows host.
using background = basic_background<>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
