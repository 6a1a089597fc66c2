// SPDX-License-Identifier: BSL-1.0
// The process around a tunnel on Windows: requests to stop, the service, its installation, the lock of a name, the log.
#include "wg/os/windows/process/background.hpp"
#include "wg/os/windows/process/log.hpp"
#include "wg/os/windows/process/name_lock.hpp"
#include "wg/os/windows/process/service_manager.hpp"

#include <boost/test/unit_test.hpp>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_windows_process)

namespace {

namespace windows = wg::os::windows;
namespace api = wg::os::windows::api_detail;
using wg::status;
using numbers = std::vector<std::uint32_t>;

std::string narrow(char16_t const* text) {
    std::string all;
    for (; *text != 0; ++text) all += static_cast<char>(*text);
    return all;
}

// --- requests to stop, and the service

struct host_state {
    int handles = 0, events_set = 0;
    bool has_event = true, is_locked = false;
    api::console_handler console = nullptr;
    numbers sleeps;
    // The service control manager:
    int dispatch_error = 0;
    bool starts_threads = true, registers = true, dispatches = true;
    api::service_handler handler = nullptr;
    numbers states;
    api::service_status last{};
} host;
int event_place, service_place;

struct test_calls {
    struct mutex {
        void lock() noexcept { BOOST_TEST(!std::exchange(host.is_locked, true)); }
        void unlock() noexcept { BOOST_TEST(std::exchange(host.is_locked, false)); }
    };
    static void close(void*) noexcept {
        BOOST_TEST(!host.is_locked); // an event is closed only when no other thread can set it
        --host.handles;
    }
    static void* create_event() noexcept { return host.has_event ? (++host.handles, &event_place) : nullptr; }
    static void set_event(void*) noexcept {
        BOOST_TEST(host.is_locked);
        ++host.events_set;
    }
    static void handle_console_events(api::console_handler handler, bool add) noexcept {
        host.console = add ? handler : nullptr;
    }
    static void sleep(std::uint32_t milliseconds) noexcept { host.sleeps.push_back(milliseconds); }

    static bool start_thread(api::thread_start start) noexcept {
        if (host.starts_threads) start(nullptr); // Windows runs it beside this thread
        return host.starts_threads;
    }
    static bool wait(void*, std::uint32_t) noexcept { return host.events_set != 0; }
    static int dispatch(api::service_main main) noexcept {
        if (host.dispatch_error == 0 && host.dispatches) main(0, nullptr);
        return host.dispatch_error;
    }
    static void* register_service(api::service_handler handler) noexcept {
        host.handler = handler;
        return host.registers ? &service_place : nullptr;
    }
    static void set_status(void* service, api::service_status& now) noexcept {
        BOOST_TEST(service == &service_place);
        host.states.push_back(now.state);
        host.last = now;
    }
};
using stop_signals = windows::basic_stop_signals<test_calls>;
using background = windows::basic_background<test_calls, stop_signals>;

struct fixture {
    fixture() { host = {}; }
    ~fixture() { BOOST_TEST(host.handles == 0); }
};

} // namespace

BOOST_FIXTURE_TEST_CASE(keys_of_the_console_stop_the_daemon, fixture) {
    stop_signals signals;
    BOOST_TEST((signals && signals.event() == &event_place && signals.take() == 0));
    for (std::uint32_t const key : {api::console_ctrl_c, api::console_ctrl_break}) {
        host.events_set = 0;
        BOOST_TEST(host.console(key) == 1);
        BOOST_TEST(host.events_set == 1);
        BOOST_TEST(signals.take() == stop_signals::interrupted);
        BOOST_TEST(signals.take() == 0);
    }
    BOOST_TEST(host.sleeps.empty());
    BOOST_TEST(host.console(99) == 0); // Windows handles other events
}

BOOST_FIXTURE_TEST_CASE(the_end_of_the_console_waits_until_the_daemon_has_cleaned_up, fixture) {
    stop_signals signals(stop_signals::hang_up::is_ignored);
    for (std::uint32_t const end : {api::console_close, api::console_logoff, api::console_shutdown}) {
        BOOST_TEST(host.console(end) == 1);
        BOOST_TEST(signals.take() == stop_signals::terminated);
    }
    BOOST_TEST((host.sleeps == numbers{10'000, 10'000, 10'000}));
}

BOOST_FIXTURE_TEST_CASE(a_service_goes_on_when_a_user_logs_off, fixture) {
    stop_signals signals;
    stop_signals::is_service(true);
    BOOST_TEST(host.console(api::console_logoff) == 1);
    BOOST_TEST((signals.take() == 0 && host.sleeps.empty() && host.events_set == 0));
    stop_signals::is_service(false);
}

BOOST_FIXTURE_TEST_CASE(the_destructor_gives_the_console_back, fixture) {
    {
        stop_signals signals;
        BOOST_TEST(host.console != nullptr);
    }
    BOOST_TEST(host.console == nullptr);
    stop_signals::stop(1); // has no event to set
    BOOST_TEST(host.events_set == 0);
    host.has_event = false;
    stop_signals without;
    BOOST_TEST(!without);
}

BOOST_FIXTURE_TEST_CASE(a_service_reports_each_of_its_states, fixture) {
    stop_signals signals;
    {
        auto service = background::connect();
        BOOST_REQUIRE(static_cast<bool>(service));
        BOOST_TEST((host.states == numbers{api::service_start_pending} && host.last.accepted == 0));
        BOOST_TEST((service->enter() == status::ok));
        service->ready(true);
        BOOST_TEST((host.states.back() == api::service_running && host.last.accepted == 5 && host.last.type == 0x10));
        BOOST_TEST(host.handler(api::service_control_interrogate, 0, nullptr, nullptr) == 0u);
        BOOST_TEST(host.handler(13, 0, nullptr, nullptr) == 120u); // a control that it does not know
        BOOST_TEST(signals.take() == 0);
        host.events_set = 0;
        BOOST_TEST(host.handler(api::service_control_stop, 0, nullptr, nullptr) == 0u);
        BOOST_TEST((host.states.back() == api::service_stop_pending && host.last.wait_hint_ms != 0));
        BOOST_TEST((host.events_set == 1 && signals.take() == stop_signals::terminated));
    }
    BOOST_TEST((host.states.back() == api::service_stopped && host.last.exit_code == 0 && host.states.size() == 4));
}

BOOST_FIXTURE_TEST_CASE(a_shutdown_of_windows_stops_the_service, fixture) {
    stop_signals signals;
    auto service = background::connect();
    BOOST_REQUIRE(static_cast<bool>(service));
    BOOST_TEST(host.handler(api::service_control_shutdown, 0, nullptr, nullptr) == 0u);
    BOOST_TEST(signals.take() == stop_signals::terminated);
}

BOOST_FIXTURE_TEST_CASE(a_service_that_was_never_ready_ends_with_an_error, fixture) {
    { BOOST_TEST(static_cast<bool>(background::connect())); }
    BOOST_TEST((host.states == numbers{api::service_start_pending, api::service_stopped}));
    BOOST_TEST((host.last.exit_code == 1066 && host.last.specific_exit_code == 1));
}

BOOST_FIXTURE_TEST_CASE(a_service_that_ends_without_being_asked_ends_with_an_error, fixture) {
    {
        auto service = background::connect();
        BOOST_REQUIRE(static_cast<bool>(service));
        service->ready(true); // and then its adapter is removed
    }
    BOOST_TEST((host.last.exit_code == 1066 && host.last.specific_exit_code == 2));
    {
        stop_signals signals;
        auto service = background::connect(); // what was asked of an earlier one does not count
        BOOST_REQUIRE(static_cast<bool>(service));
        service->ready(true);
        BOOST_TEST(host.handler(api::service_control_stop, 0, nullptr, nullptr) == 0u);
    }
    BOOST_TEST((host.last.exit_code == 0 && host.last.specific_exit_code == 0));
}

BOOST_FIXTURE_TEST_CASE(only_the_service_manager_can_start_a_service, fixture) {
    host.dispatch_error = api::error_no_controller;
    BOOST_TEST((background::connect().why() == status::not_supported));
    host.dispatch_error = 5;
    BOOST_TEST((background::connect().why() == status::io_error));
    host.dispatch_error = 0;
    host.registers = false;
    BOOST_TEST((background::connect().why() == status::io_error));
    host.events_set = 0;
    host.dispatches = false; // Windows does not answer
    BOOST_TEST((background::connect().why() == status::io_error));
    host.starts_threads = false;
    BOOST_TEST((background::connect().why() == status::no_memory));
    host.has_event = false;
    BOOST_TEST((background::connect().why() == status::no_memory));
    BOOST_TEST(host.states.empty());
}

BOOST_FIXTURE_TEST_CASE(the_foreground_reports_nothing, fixture) {
    {
        background stays;
        stays.ready(true);
        background taken(std::move(stays));
    }
    BOOST_TEST(host.states.empty());
}

// --- the installation of services

namespace {

struct service {
    std::string command, description;
    std::uint32_t state = api::service_stopped;
};
struct manager_state {
    std::map<std::string, service> services;
    std::string program = R"(C:\Program Files\wgd\wgd.exe)";
    std::string calls;                       ///< one letter each: Create, Start, sTop, Remove, sLeep
    std::vector<std::uint32_t> states_ahead; ///< that the next queries find
    int open_error = 0, create_error = 0, start_error = 0, stop_error = 0, remove_error = 0, error = 0, open = 0;
    std::uint32_t end_state = api::service_running;
} manager;

struct manager_calls {
    using status = api::service_status;
    struct text {
        std::string_view view() const noexcept { return "the text of Windows"; }
    };
    static void* fail(int error) noexcept {
        manager.error = error;
        return nullptr;
    }
    static service& of(void* object) { return *static_cast<service*>(object); }
    static int error() noexcept { return manager.error; }
    static text text_of(int) noexcept { return {}; }
    static std::uint32_t program_path(char16_t* path, std::uint32_t room) noexcept {
        std::uint32_t size = 0;
        for (char const c : manager.program)
            if (size < room) path[size++] = static_cast<char16_t>(c);
        return size;
    }
    static void* open_manager(bool) noexcept {
        if (manager.open_error != 0) return fail(manager.open_error);
        ++manager.open;
        return &manager;
    }
    static void* create(void*, char16_t const* name, char16_t const* command) noexcept {
        if (manager.create_error != 0) return fail(manager.create_error);
        if (manager.services.count(narrow(name)) != 0) return fail(api::error_service_exists);
        manager.calls += 'C';
        ++manager.open;
        return &(manager.services[narrow(name)] = {narrow(command), {}});
    }
    static void describe(void* object, char16_t const* text) noexcept { of(object).description = narrow(text); }
    static void* open(void*, char16_t const* name) noexcept {
        auto const found = manager.services.find(narrow(name));
        if (found == manager.services.end()) return fail(api::error_no_service);
        ++manager.open;
        return &found->second;
    }
    static void close(void*) noexcept { --manager.open; }
    static int start(void* object) noexcept {
        if (manager.start_error != 0) return manager.start_error;
        if (of(object).state == api::service_running) return api::error_service_running;
        manager.calls += 'S';
        of(object).state = manager.end_state;
        return 0;
    }
    static int stop(void* object) noexcept {
        if (manager.stop_error != 0) return manager.stop_error;
        if (of(object).state == api::service_stopped) return api::error_service_not_active;
        manager.calls += 'T';
        of(object).state = manager.end_state;
        return 0;
    }
    static int query(void* object, status& now) noexcept {
        now.state = of(object).state;
        if (manager.states_ahead.empty()) return 0;
        now.state = manager.states_ahead.front();
        manager.states_ahead.erase(manager.states_ahead.begin());
        return 0;
    }
    static int remove(void* object) noexcept {
        if (manager.remove_error != 0) return manager.remove_error;
        manager.calls += 'R';
        for (auto const& [name, each] : manager.services)
            if (&each == object) return manager.services.erase(name), 0;
        return 6;
    }
    static void sleep(std::uint32_t) noexcept { manager.calls += 'L'; }
};

struct services {
    services() { manager = {}; }
    ~services() { BOOST_TEST(manager.open == 0); }
    status command(std::string_view verb, char const* name = "wg0") {
        why = {};
        return windows::basic_service_manager<manager_calls>::command(verb, name, why);
    }
    wg::os::error_text why;
};

} // namespace

BOOST_FIXTURE_TEST_CASE(installs_a_service_for_an_interface, services) {
    BOOST_TEST((command("install") == status::ok && why.empty()));
    BOOST_REQUIRE(manager.services.count("wgd$wg0") == 1u);
    service const& made = manager.services["wgd$wg0"];
    BOOST_TEST(made.command == R"("C:\Program Files\wgd\wgd.exe" --no-foreground wg0)");
    BOOST_TEST(made.description == "Serves the WireGuard interface wg0");
    BOOST_TEST((command("install") == status::address_in_use));
    BOOST_TEST(why.view() == "cannot install a service of `wg0`: it is installed already; remove it first");
    BOOST_TEST((command("install", "wg1") == status::ok && manager.services.size() == 2));
}

BOOST_FIXTURE_TEST_CASE(waits_until_the_service_runs_and_until_it_has_stopped, services) {
    (void)command("install");
    manager.states_ahead = {api::service_start_pending, api::service_start_pending};
    BOOST_TEST((command("start") == status::ok && manager.calls == "CSLL"));
    BOOST_TEST((command("start") == status::address_in_use));
    BOOST_TEST(why.view() == "cannot start the service of `wg0`: it runs already");
    manager.end_state = api::service_stopped;
    manager.states_ahead = {api::service_running, api::service_stop_pending};
    BOOST_TEST((command("stop") == status::ok && manager.calls == "CSLLTLL"));
    BOOST_TEST((command("stop") == status::gone));
    BOOST_TEST(why.view() == "cannot stop the service of `wg0`: it does not run");
}

BOOST_FIXTURE_TEST_CASE(says_that_a_service_did_not_start_or_stop, services) {
    (void)command("install");
    manager.end_state = api::service_stopped;
    BOOST_TEST((command("start") == status::io_error));
    BOOST_TEST(why.view() == "the service of `wg0` has stopped at once: the event log has its messages");
    manager.end_state = api::service_start_pending;
    BOOST_TEST((command("start") == status::io_error));
    BOOST_TEST(why.view() == "the service of `wg0` still starts: the event log has its messages");
    manager.end_state = api::service_stop_pending;
    BOOST_TEST((command("stop") == status::io_error));
    BOOST_TEST(why.view() == "the service of `wg0` does not stop: end its process");
    BOOST_TEST(manager.calls.size() < 1000u); // it does not wait for ever
}

BOOST_FIXTURE_TEST_CASE(remove_stops_a_service_that_runs, services) {
    (void)command("install");
    BOOST_TEST((command("remove") == status::ok && manager.calls == "CR" && manager.services.empty()));
    (void)command("install");
    (void)command("start");
    manager.end_state = api::service_stopped;
    BOOST_TEST((command("remove") == status::ok && manager.calls == "CRCSTR" && manager.services.empty()));
    BOOST_TEST((command("remove") == status::gone));
    BOOST_TEST(why.view() == "cannot open the service of `wg0`: it is not installed");
}

BOOST_FIXTURE_TEST_CASE(says_how_to_mend_what_windows_refuses, services) {
    manager.open_error = api::error_access_denied;
    BOOST_TEST((command("install") == status::no_permission));
    BOOST_TEST(why.view() == "cannot reach the service manager for `wg0`: run this program as an administrator");
    manager.open_error = 0;
    manager.create_error = api::error_service_is_removed;
    BOOST_TEST((command("install") == status::address_in_use));
    BOOST_TEST(why.view().find("close the programs that show services") != std::string_view::npos);
    manager.create_error = 0;
    (void)command("install");
    manager.start_error = api::error_service_disabled;
    BOOST_TEST((command("start") == status::no_permission));
    manager.start_error = 1234;
    BOOST_TEST((command("start") == status::io_error));
    BOOST_TEST(why.view() == "cannot start the service of `wg0`: the text of Windows");
    manager.remove_error = api::error_service_is_removed;
    BOOST_TEST((command("remove") == status::address_in_use));
}

BOOST_FIXTURE_TEST_CASE(refuses_other_commands_names_and_paths, services) {
    BOOST_TEST((command("restart") == status::invalid));
    BOOST_TEST(why.view() == "the commands for a service are install, start, stop and remove, not restart");
    for (char const* const name : {"", "a b", "a\"b", "a/b"}) BOOST_TEST((command("install", name) == status::invalid));
    manager.program = std::string(1000, 'x');
    BOOST_TEST((command("install") == status::invalid && manager.services.empty()));
}

// --- the lock of a name

namespace {

struct lock_state {
    std::map<std::string, int> pipes;
    int error = 0, create_error = 0, handles = 0, descriptors = 0;
    bool has_descriptor = true;
} locks;

struct lock_calls {
    static void close(void* handle) noexcept {
        --locks.handles;
        locks.pipes.erase(*static_cast<std::string*>(handle));
        delete static_cast<std::string*>(handle);
    }
    static int error() noexcept { return locks.error; }
    static void* descriptor_of(char16_t const*) noexcept {
        return locks.has_descriptor ? (++locks.descriptors, &locks) : nullptr;
    }
    static void free_descriptor(void*) noexcept { --locks.descriptors; }
    static void* create_pipe(char16_t const* path, bool first, std::uint32_t max_instances, void*) noexcept {
        BOOST_TEST((first && max_instances == 1));
        locks.error = locks.create_error != 0 ? locks.create_error : api::error_access_denied;
        if (locks.create_error != 0 || locks.pipes.count(narrow(path)) != 0) return nullptr;
        ++locks.pipes[narrow(path)];
        ++locks.handles;
        return new std::string(narrow(path));
    }
    static bool pipe_exists(char16_t const* path) noexcept { return locks.pipes.count(narrow(path)) != 0; }
};
using name_lock = windows::basic_name_lock<lock_calls>;

} // namespace

BOOST_AUTO_TEST_CASE(one_process_at_a_time_holds_the_lock_of_a_name) {
    locks = {};
    {
        wg::os::error_text why;
        auto const held = name_lock::take("wg0", nullptr, why);
        BOOST_REQUIRE((held && *held));
        BOOST_TEST(locks.pipes.count(R"(\\.\pipe\ProtectedPrefix\Administrators\wg lock\wg0)") == 1u);
        BOOST_TEST((name_lock::take("wg0", nullptr, why).why() == status::address_in_use));
        BOOST_TEST(why.view() == "`wg0` is in use: another process serves it");
        BOOST_TEST(static_cast<bool>(name_lock::take("wg1", nullptr, why)));
    }
    wg::os::error_text why;
    auto const again = name_lock::take("wg0", nullptr, why);
    BOOST_TEST((again && *again && why.empty()));
}

BOOST_AUTO_TEST_CASE(a_lock_that_cannot_be_created_is_left_to_the_next_step) {
    locks = {};
    wg::os::error_text why;
    locks.create_error = api::error_access_denied; // no administrator
    auto const refused = name_lock::take("wg0", nullptr, why);
    BOOST_TEST((refused && !*refused && why.empty()));
    locks.create_error = api::error_pipe_busy; // Wine's number for a pipe that exists
    BOOST_TEST((name_lock::take("wg0", nullptr, why).why() == status::address_in_use));
    locks.has_descriptor = false;
    BOOST_TEST(static_cast<bool>(name_lock::take("wg0", nullptr, why)));
    auto const no_name = name_lock::take("a/b", nullptr, why);
    BOOST_TEST((no_name && !*no_name && locks.descriptors == 0));
}

// --- the log

namespace {

struct log_state {
    std::vector<std::string> written, reported;
    bool takes = true, has_event = true, has_thread = true, ends = true;
    int handles = 0, waits = 0;
    api::thread_start start = nullptr;
    void* context = nullptr;
    std::function<void()> during_write = [] {};
} logs;

struct log_calls {
    struct mutex {
        bool locked = false;
        void lock() noexcept {
            BOOST_TEST(!locked);
            locked = true;
        }
        void unlock() noexcept { locked = false; }
    };
    static void close(void*) noexcept { --logs.handles; }
    static void* create_event() noexcept { return logs.has_event ? (++logs.handles, &logs) : nullptr; }
    static void set_event(void*) noexcept {}
    /// Without another thread, a wait of the destructor runs the thread to its end.
    static bool wait(void* object, std::uint32_t) noexcept {
        ++logs.waits;
        if (object == &logs.start && logs.ends) logs.start(logs.context);
        return logs.ends;
    }
    static void* start_thread(api::thread_start start, void* context) noexcept {
        if (!logs.has_thread) return nullptr;
        logs.start = start;
        logs.context = context;
        ++logs.handles;
        return &logs.start;
    }
    static bool write(int descriptor, std::string_view text) noexcept {
        BOOST_TEST(descriptor == 2);
        if (logs.takes) logs.written.emplace_back(text);
        logs.during_write();
        return logs.takes;
    }
    static bool report(char const* name, char const* text) noexcept {
        BOOST_TEST(std::string(name) == "wgd");
        logs.reported.emplace_back(text);
        return true;
    }
};
using log_writer = windows::basic_log_writer<log_calls>;
using strings = std::vector<std::string>;

} // namespace

BOOST_AUTO_TEST_CASE(writes_each_line_by_its_thread) {
    logs = {};
    {
        log_writer log("wgd");
        log.error("port ", 51820, " is taken");
        log.info("again");
        BOOST_TEST((logs.written.empty() && logs.start != nullptr)); // no call writes, so none can block
    }
    BOOST_TEST((logs.written == strings{"wgd: port 51820 is taken\n", "wgd: again\n"}));
    BOOST_TEST((logs.reported.empty() && logs.handles == 0));
}

BOOST_AUTO_TEST_CASE(errors_that_standard_error_does_not_take_go_to_the_event_log) {
    logs = {};
    logs.takes = false;
    {
        log_writer log("wgd");
        log.error("one");
        log.info("two");
    }
    BOOST_TEST((logs.reported == strings{"one"}));
    logs = {};
    {
        log_writer service("wgd", -1);
        service.error("three");
        service.info("four");
    }
    BOOST_TEST((logs.written.empty() && logs.reported == strings{"three"}));
    logs = {};
    {
        log_writer log("wgd");
        log.leave_descriptor();
        log.error("five");
    }
    BOOST_TEST((logs.written.empty() && logs.reported == strings{"five"}));
}

BOOST_AUTO_TEST_CASE(lines_without_room_are_dropped_and_counted) {
    logs = {};
    {
        log_writer log("wgd");
        for (int i = 0; i < 70; ++i) log.info("line ", i);
        BOOST_TEST(log.lost() == 6u);
    }
    BOOST_TEST((logs.written.size() == 64 && logs.written.back() == "wgd: line 63\n"));
}

BOOST_AUTO_TEST_CASE(the_next_line_states_how_many_were_lost) {
    logs = {};
    {
        log_writer log("wgd");
        for (int i = 0; i < 65; ++i) log.info("line");
        // Another thread logs while the third line is written: two lines fit then.
        logs.during_write = [&log] {
            if (logs.written.size() == 3) log.info("after");
        };
    }
    BOOST_REQUIRE(logs.written.size() == 66u);
    BOOST_TEST(logs.written[64] == "wgd: 1 log line was lost\n");
    BOOST_TEST(logs.written[65] == "wgd: after\n");
}

BOOST_AUTO_TEST_CASE(a_flush_waits_for_the_thread_but_not_for_ever) {
    logs = {};
    {
        log_writer log("wgd");
        log.flush(); // nothing was logged
        BOOST_TEST(logs.waits == 0);
        log.error("one");
        logs.ends = false; // the console takes no line
        log.flush();
        BOOST_TEST(logs.waits == 1);
        logs.ends = true; // Windows has set the event once too often
        log.flush();
        BOOST_TEST((logs.waits > 1 && logs.waits < 100));
    }
    BOOST_TEST((logs.written == strings{"wgd: one\n"}));
}

BOOST_AUTO_TEST_CASE(writes_at_once_where_there_is_no_thread) {
    for (bool const has_event : {false, true}) {
        logs = {};
        logs.has_event = has_event;
        logs.has_thread = false;
        log_writer log("wgd");
        log.error("one");
        BOOST_TEST((logs.written == strings{"wgd: one\n"}));
    }
}

BOOST_AUTO_TEST_CASE(does_not_wait_for_ever_for_a_console_that_takes_no_line) {
    logs = {};
    logs.ends = false;
    {
        log_writer log("wgd");
        log.error("one");
    }
    BOOST_TEST(logs.written.empty());
    std::free(logs.context); // that the thread still would use
}

BOOST_AUTO_TEST_SUITE_END()
