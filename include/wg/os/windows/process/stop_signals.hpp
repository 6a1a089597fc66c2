// SPDX-License-Identifier: BSL-1.0
// Receives the events that stop a daemon: of its console (SetConsoleCtrlHandler), and of the service control manager.
// Folder: os/windows/process. At start-up, before other threads; one object in a process.
#ifndef WG_OS_WINDOWS_PROCESS_STOP_SIGNALS_HPP
#define WG_OS_WINDOWS_PROCESS_STOP_SIGNALS_HPP

#include "../handle.hpp"
#include "../threads.hpp"

#include <atomic>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_stop_signals`.
struct stop_calls : handle_calls {
    using mutex = threads::mutex; ///< guards the event

    /// CreateEventW: an event that a wait resets. Returns: null if there is no memory left.
    static void* create_event() noexcept { return api_detail::create_event(nullptr, 0, 0, nullptr); }
    /// SetEvent
    static void set_event(void* event) noexcept { api_detail::set_event(event); }
    /// SetConsoleCtrlHandler
    static void handle_console_events(api_detail::console_handler handler, bool add) noexcept {
        (void)api_detail::handle_console_events(handler, add ? 1 : 0);
    }
    /// Sleep
    static void sleep(std::uint32_t milliseconds) noexcept { api_detail::sleep(milliseconds); }
};

/// Receives the events that stop a daemon through an event of Windows. A test replaces `Calls`.
template <class Calls = stop_calls> class basic_stop_signals {
public:
    /// The effect of the end of the console. Windows ends the process in both cases, so both stop the daemon.
    enum class hang_up {
        stops,     ///< the process stops
        is_ignored ///< none
    };

    static constexpr int interrupted = 2; ///< Ctrl+C or Ctrl+Break was pressed
    static constexpr int terminated = 15; ///< the console is closed, the user logs off, or the service is stopped

    /// Handles the events of the console from now on. By default they would end the process before it has cleaned up.
    explicit basic_stop_signals(hang_up = hang_up::stops) noexcept : event_(Calls::create_event()) {
        state.number.store(0);
        state.set_event(event_.get());
        Calls::handle_console_events(&on_console_event, true);
    }
    basic_stop_signals(basic_stop_signals const&) = delete;
    basic_stop_signals& operator=(basic_stop_signals const&) = delete;
    ~basic_stop_signals() {
        Calls::handle_console_events(&on_console_event, false);
        state.set_event(nullptr);
    }

    /// An event that is set when the daemon is to stop. Null: no memory was left.
    void* event() const noexcept { return event_.get(); }
    /// Whether Windows had an event for the object.
    explicit operator bool() const noexcept { return static_cast<bool>(event_); }
    /// Takes a request to stop. Returns: its number; 0 if none has come.
    int take() noexcept { return state.number.exchange(0); }

    /// Asks the daemon to stop. Any thread.
    static void stop(int number) noexcept {
        state.number.store(number);
        state.mutex.lock();
        if (state.event != nullptr) Calls::set_event(state.event);
        state.mutex.unlock();
    }
    /// Notes that the process is a service. Windows tells services when any user logs off.
    static void is_service(bool is) noexcept { state.is_service.store(is); }

private:
    static constexpr std::uint32_t longest_end_ms = 10'000;

    struct shared_state {
        typename Calls::mutex mutex; ///< held while the event is set, so that it is not closed then
        void* event = nullptr;       ///< guarded by `mutex`
        std::atomic<int> number{0};
        std::atomic<bool> is_service{false};

        void set_event(void* now) noexcept {
            mutex.lock();
            event = now;
            mutex.unlock();
        }
    };
    static inline shared_state state{};

    /// Runs in a thread of Windows. Windows ends the process when this returns after the last three events, so it
    /// waits until the process has ended by itself.
    static int on_console_event(std::uint32_t event) noexcept {
        bool const is_key = event == api_detail::console_ctrl_c || event == api_detail::console_ctrl_break;
        bool const is_end = event == api_detail::console_close || event == api_detail::console_logoff ||
                            event == api_detail::console_shutdown;
        if (!is_key && !is_end) return 0;
        if (event == api_detail::console_logoff && state.is_service.load()) return 1;
        stop(is_key ? interrupted : terminated);
        if (is_end) Calls::sleep(longest_end_ms);
        return 1;
    }

    basic_handle<Calls> event_;
};

/// The requests to stop of a Windows host.
using stop_signals = basic_stop_signals<>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
