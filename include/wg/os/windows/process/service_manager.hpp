// SPDX-License-Identifier: BSL-1.0
// Installs, starts, stops and removes a daemon as a service of Windows (CreateServiceW). Folder: os/windows/process.
// Any thread. Link: advapi32.
#ifndef WG_OS_WINDOWS_PROCESS_SERVICE_MANAGER_HPP
#define WG_OS_WINDOWS_PROCESS_SERVICE_MANAGER_HPP

#include "../../error_text.hpp"
#include "../adapter_name.hpp"
#include "../error.hpp"

#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_service_manager`. Those that return an int return 0 or the error number.
struct manager_calls {
    using status = api_detail::service_status; ///< the state of a service

    /// GetLastError
    static int error() noexcept { return static_cast<int>(api_detail::last_error()); }
    /// The text of Windows for an error number.
    static system_text text_of(int error) noexcept { return system_text(error); }
    /// GetModuleFileNameW: the path of this program. Returns: its characters; `room` if it is longer.
    static std::uint32_t program_path(char16_t* path, std::uint32_t room) noexcept {
        return api_detail::module_path(nullptr, path, room);
    }
    /// OpenSCManagerW. Returns: null with `error`.
    static void* open_manager(bool creates) noexcept {
        return api_detail::open_manager(
            nullptr, nullptr, api_detail::manager_connect | (creates ? api_detail::manager_create_service : 0));
    }
    /// CreateServiceW: a service of LocalSystem that starts with the system. Returns: null with `error`.
    static void* create(void* manager, char16_t const* name, char16_t const* command) noexcept {
        return api_detail::create_service(manager, name, name, api_detail::service_change_config,
                                          api_detail::service_own_process, api_detail::service_auto_start,
                                          api_detail::service_error_normal, command, nullptr, nullptr, u"Nsi\0TcpIp\0",
                                          nullptr, nullptr);
    }
    /// ChangeServiceConfig2W: the text that the list of services shows.
    static void describe(void* service, char16_t const* text) noexcept {
        (void)api_detail::configure_service(service, api_detail::service_description, &text);
    }
    /// OpenServiceW with the rights to query, start, stop and delete. Returns: null with `error`.
    static void* open(void* manager, char16_t const* name) noexcept {
        return api_detail::open_service(manager, name,
                                        api_detail::service_query_status | api_detail::service_start_right |
                                            api_detail::service_stop_right | api_detail::service_delete_right);
    }
    /// CloseServiceHandle
    static void close(void* object) noexcept { api_detail::close_service(object); }
    /// StartServiceW
    static int start(void* service) noexcept {
        return api_detail::start_service(service, 0, nullptr) != 0 ? 0 : error();
    }
    /// ControlService with SERVICE_CONTROL_STOP
    static int stop(void* service) noexcept {
        status now{};
        return api_detail::control_service(service, api_detail::service_control_stop, &now) != 0 ? 0 : error();
    }
    /// QueryServiceStatus
    static int query(void* service, status& now) noexcept {
        return api_detail::query_service(service, &now) != 0 ? 0 : error();
    }
    /// DeleteService
    static int remove(void* service) noexcept { return api_detail::delete_service(service) != 0 ? 0 : error(); }
    /// Sleep
    static void sleep(std::uint32_t milliseconds) noexcept { api_detail::sleep(milliseconds); }
};

/// Controls the services of this program, one for each interface. A test replaces `Calls`.
template <class Calls = manager_calls> class basic_service_manager {
public:
    static constexpr bool exists = true; ///< whether `command` can succeed
    /// How long `command` waits for a service to start or to stop.
    static constexpr std::uint32_t longest_wait_ms = 30'000;

    /// Installs, starts, stops or removes (`verb`) the service of an interface. The service is called wgd$NAME, and its
    /// command line is `"PROGRAM" --no-foreground NAME`. `remove` stops a service that runs. Waits until the service
    /// runs or has stopped.
    /// Returns: `invalid` for another verb or a name that cannot name an interface; `no_permission`; `address_in_use`
    /// if the service exists or runs already; `gone` if it does not exist; `io_error` and others. `why` then says how
    /// to mend it.
    static status command(std::string_view verb, char const* interface_name, error_text& why) noexcept {
        std::string_view const name(interface_name);
        bool const installs = verb == "install";
        if (!installs && verb != "start" && verb != "stop" && verb != "remove") {
            why.set("the commands for a service are install, start, stop and remove, not ", verb);
            return status::invalid;
        }
        if (!is_adapter_name(name)) {
            why.set("`", name.substr(0, 40), "` cannot name an interface: it takes 1 to 32 letters, digits and _=+.-");
            return status::invalid;
        }
        owned const manager{Calls::open_manager(installs)};
        if (manager.object == nullptr) return failed(Calls::error(), "reach the service manager for", name, why);
        text path;
        path.append(u"wgd$");
        path.append(name);
        if (installs) return install(manager.object, path, name, why);
        owned const service{Calls::open(manager.object, path.units)};
        if (service.object == nullptr) return failed(Calls::error(), "open the service of", name, why);
        if (verb == "start") return start(service.object, name, why);
        status const stopped = stop(service.object, name, why, verb == "remove");
        if (verb == "stop" || stopped != status::ok) return stopped;
        int const error = Calls::remove(service.object);
        return error == 0 ? status::ok : failed(error, "remove the service of", name, why);
    }

private:
    static constexpr std::uint32_t step_ms = 100;

    /// Closes a handle of the service manager in the end.
    struct owned {
        void* object;
        explicit owned(void* of) noexcept : object(of) {}
        owned(owned const&) = delete;
        owned& operator=(owned const&) = delete;
        ~owned() {
            if (object != nullptr) Calls::close(object);
        }
    };

    /// A text of Windows.
    struct text {
        static constexpr std::size_t most = 1023;
        char16_t units[most + 1] = {};
        std::size_t size = 0;

        /// Appends as much as there is room for.
        template <class View> void append(View const& more) noexcept {
            for (auto const unit : more)
                if (unit != 0 && size < most) units[size++] = static_cast<char16_t>(unit);
        }
    };

    static status install(void* manager, text const& service_name, std::string_view name, error_text& why) noexcept {
        text line;
        line.append(u"\"");
        constexpr std::uint32_t room = 900; // the rest of the line has less than 100 characters
        std::uint32_t const size = Calls::program_path(line.units + line.size, room);
        if (size == 0 || size >= room) {
            why.set("cannot install a service of `", name, "`: the path of this program is too long");
            return status::invalid;
        }
        line.size += size;
        line.append(u"\" --no-foreground ");
        line.append(name);
        owned const service{Calls::create(manager, service_name.units, line.units)};
        if (service.object == nullptr) return failed(Calls::error(), "install a service of", name, why);
        text described;
        described.append(u"Serves the WireGuard interface ");
        described.append(name);
        Calls::describe(service.object, described.units);
        return status::ok;
    }

    static status start(void* service, std::string_view name, error_text& why) noexcept {
        if (int const error = Calls::start(service); error != 0)
            return failed(error, "start the service of", name, why);
        typename Calls::status now{};
        int const error = wait_for_change(service, api_detail::service_start_pending, now);
        if (error != 0) return failed(error, "query the service of", name, why);
        if (now.state == api_detail::service_running) return status::ok;
        why.set("the service of `", name, "` ",
                now.state == api_detail::service_start_pending ? "still starts" : "has stopped at once",
                ": the event log has its messages");
        return status::io_error;
    }

    static status stop(void* service, std::string_view name, error_text& why, bool may_rest) noexcept {
        int error = Calls::stop(service);
        if (error == api_detail::error_service_not_active && may_rest) return status::ok;
        if (error != 0) return failed(error, "stop the service of", name, why);
        typename Calls::status now{};
        error = wait_for_change(service, api_detail::service_stop_pending, now);
        if (error != 0) return failed(error, "query the service of", name, why);
        if (now.state == api_detail::service_stopped) return status::ok;
        why.set("the service of `", name, "` does not stop: end its process");
        return status::io_error;
    }

    /// Waits until the service leaves the state `pending`, or has left a state that it was in before. Returns: the
    /// error number of the query.
    static int wait_for_change(void* service, std::uint32_t pending, typename Calls::status& now) noexcept {
        for (std::uint32_t waited = 0;; waited += step_ms) {
            if (int const error = Calls::query(service, now); error != 0) return error;
            bool const still = now.state == pending || (pending == api_detail::service_stop_pending &&
                                                        now.state != api_detail::service_stopped);
            if (!still || waited >= longest_wait_ms) return 0;
            Calls::sleep(step_ms);
        }
    }

    static status failed(int error, char const* doing, std::string_view name, error_text& why) noexcept {
        auto const say = [&](auto const&... reason) { why.set("cannot ", doing, " `", name, "`: ", reason...); };
        switch (error) {
        case api_detail::error_access_denied: say("run this program as an administrator"); return status::no_permission;
        case api_detail::error_service_exists:
            say("it is installed already; remove it first");
            return status::address_in_use;
        case api_detail::error_service_running: say("it runs already"); return status::address_in_use;
        case api_detail::error_no_service: say("it is not installed"); return status::gone;
        case api_detail::error_service_not_active: say("it does not run"); return status::gone;
        case api_detail::error_service_is_removed:
            say("Windows still removes it: close the programs that show services");
            return status::address_in_use;
        case api_detail::error_service_disabled:
            say("it is disabled: enable it in the list of services");
            return status::no_permission;
        default: break;
        }
        say(Calls::text_of(error).view());
        status const found = status_of(error);
        return found == status::ok ? status::io_error : found;
    }
};

/// The service manager of a Windows host.
using service_manager = basic_service_manager<>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
