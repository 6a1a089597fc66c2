// SPDX-License-Identifier: BSL-1.0
// Going to the background, signals, privacy of memory, notification of the supervisor.
#include "wg/os/posix/process/background.hpp"
#include "wg/os/backoff.hpp"
#include "wg/os/linux/process/privacy.hpp"
#include "wg/os/posix/process/program.hpp"
#include "wg/os/linux/process/stop_signals.hpp"
#include "wg/os/posix/process/supervisor.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <poll.h>
#include <string>
#include <sys/stat.h>

BOOST_AUTO_TEST_SUITE(os_linux_daemon)

namespace {

using wg::os::unique_fd;

/// Runs `action` in a child. Returns its exit status, or 128 plus the number of the signal that ends it.
template <class Action> int exit_code_of(Action action) {
    std::fflush(nullptr);
    pid_t const child = ::fork();
    if (child == 0) {
        for (int const number : {SIGSEGV, SIGABRT, SIGTERM, SIGINT}) ::signal(number, SIG_DFL);
        ::_exit(action());
    }
    int how = -1;
    BOOST_REQUIRE_EQUAL(::waitpid(child, &how, 0), child);
    return WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
}

/// The text that was written to a pipe until its end, for ten seconds at most.
std::string all_of(int fd) {
    std::string all;
    char piece[256];
    pollfd watched{fd, POLLIN, 0};
    while (::poll(&watched, 1, 10'000) == 1) {
        ssize_t const size = ::read(fd, piece, sizeof piece);
        if (size <= 0) return all;
        all.append(piece, static_cast<std::size_t>(size));
    }
    return all + " and then silence";
}

struct two_ends {
    unique_fd from, to;
    two_ends() {
        int ends[2];
        BOOST_REQUIRE_EQUAL(::pipe2(ends, O_CLOEXEC), 0);
        from.reset(ends[0]);
        to.reset(ends[1]);
    }
};

void say(int fd, std::string const& text) {
    if (::write(fd, text.data(), text.size()) < 0) ::_exit(99);
}

} // namespace

BOOST_AUTO_TEST_CASE(parent_succeeds_only_when_the_child_is_ready) {
    two_ends report, go;
    int const code = exit_code_of([&] {
        pid_t const starter = ::getpid();
        auto self = wg::os::posix::background::connect();
        if (!self || self->enter() != wg::status::ok || ::getpid() == starter) return 50;
        say(report.to.get(), "started ");
        if (::getsid(0) != ::getpid()) return 51;
        self->ready(true);
        std::array<char, 64> where{};
        char const* const directory = ::getcwd(where.data(), where.size());
        char wait = 0;
        if (::read(go.from.get(), &wait, 1) != 1) return 52; // lives longer than its parent
        say(report.to.get(), directory != nullptr ? std::string("in ") + directory : "nowhere");
        return 0;
    });
    BOOST_TEST(code == 0);
    BOOST_REQUIRE_EQUAL(::write(go.to.get(), "x", 1), 1);
    report.to.reset();
    BOOST_TEST(all_of(report.from.get()) == "started in /");
}

BOOST_AUTO_TEST_CASE(parent_fails_when_the_child_ends_before_it_is_ready) {
    for (int const how : {0, 7, SIGTERM}) { // also with exit status 0, and by a signal
        int const code = exit_code_of([&] {
            auto self = wg::os::posix::background::connect();
            if (!self || self->enter() != wg::status::ok) return 50;
            if (how == SIGTERM) ::raise(SIGTERM);
            return how;
        });
        BOOST_TEST(code == 1);
    }
}

BOOST_AUTO_TEST_CASE(ready_leaves_the_terminal_but_may_keep_stderr) {
    for (bool const keep : {false, true}) {
        two_ends terminal, done;
        int const code = exit_code_of([&] {
            ::dup2(terminal.to.get(), STDIN_FILENO);
            ::dup2(terminal.to.get(), STDOUT_FILENO);
            ::dup2(terminal.to.get(), STDERR_FILENO);
            auto self = wg::os::posix::background::connect();
            if (!self || self->enter() != wg::status::ok) return 50;
            terminal.to.reset();
            self->ready(keep);
            say(STDOUT_FILENO, "to nobody");
            say(STDERR_FILENO, keep ? "an error" : "to nobody");
            char sink;
            say(done.to.get(), ::read(STDIN_FILENO, &sink, 1) == 0 ? "end of input" : "something");
            return 0;
        });
        BOOST_TEST(code == 0);
        terminal.to.reset();
        done.to.reset();
        BOOST_TEST(all_of(done.from.get()) == "end of input");
        BOOST_TEST(all_of(terminal.from.get()) == (keep ? "an error" : ""));
    }
}

BOOST_AUTO_TEST_CASE(foreground_changes_nothing) {
    BOOST_TEST(exit_code_of([] {
                   wg::os::posix::background self;
                   self.ready(false);
                   return ::fcntl(STDERR_FILENO, F_GETFD) >= 0 && ::getsid(0) != ::getpid() ? 3 : 4;
               }) == 3);
}

BOOST_AUTO_TEST_CASE(opens_only_standard_descriptors_that_are_closed) {
    for (unsigned closed = 0; closed < 8; ++closed)
        BOOST_TEST(exit_code_of([=] {
                       unique_fd const file(::open("/", O_RDONLY | O_CLOEXEC));
                       for (int fd = 0; fd < 3; ++fd) (closed >> fd & 1) != 0 ? ::close(fd) : ::dup2(file.get(), fd);
                       if (wg::os::open_standard_descriptors() != closed) return 50;
                       struct stat null {
                       }, other{}, found{};
                       if (::stat("/dev/null", &null) != 0 || ::fstat(file.get(), &other) != 0) return 51;
                       for (int fd = 0; fd < 3; ++fd) {
                           if (::fstat(fd, &found) != 0) return 52;
                           bool const is_null = found.st_rdev == null.st_rdev && S_ISCHR(found.st_mode);
                           if (is_null != ((closed >> fd & 1) != 0)) return 53;
                       }
                       return wg::os::open_standard_descriptors() == 0 ? 3 : 54;
                   }) == 3);
}

BOOST_AUTO_TEST_CASE(ignores_signals_that_a_daemon_does_not_use) {
    constexpr int strays[] = {SIGPIPE,   SIGXFSZ, SIGUSR1, SIGUSR2, SIGALRM,
                              SIGVTALRM, SIGPROF, SIGPOLL, SIGPWR,  SIGTTOU};
    for (int const number : strays) {
        BOOST_TEST(exit_code_of([=] {
                       ::signal(number, SIG_DFL);
                       wg::os::stop_signals stop;
                       ::raise(number);
                       return stop.take() == 0 ? 3 : 50;
                   }) == 3);
        BOOST_TEST(exit_code_of([=] {
                       ::signal(number, SIG_DFL);
                       { wg::os::stop_signals stop; }
                       struct sigaction now {};
                       return ::sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_DFL ? 3 : 50;
                   }) == 3);
    }
}

BOOST_AUTO_TEST_CASE(ignores_sighup_without_a_terminal) {
    BOOST_TEST(exit_code_of([] {
                   ::signal(SIGHUP, SIG_DFL);
                   wg::os::stop_signals stop(wg::os::stop_signals::hang_up::is_ignored);
                   ::raise(SIGHUP);
                   if (stop.take() != 0) return 50;
                   ::raise(SIGQUIT);
                   return stop.take();
               }) == SIGQUIT);
    BOOST_TEST(exit_code_of([] { return ::setsid() >= 0 && !wg::os::has_terminal() ? 3 : 50; }) == 3);
}

BOOST_AUTO_TEST_CASE(raises_the_soft_limit_of_descriptors_and_reports_the_hard_limit) {
    BOOST_TEST(exit_code_of([] {
                   for (int fd = 3; fd < 100; ++fd) ::close(fd);
                   for (int fd = 0; fd < 3; ++fd)
                       if (::fcntl(fd, F_GETFD) < 0) return 50;
                   rlimit limit{};
                   if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < 60) return 51;
                   auto room = wg::os::make_descriptor_room(30);
                   if (room.left() != 30 || room.used != 3) return 52;
                   limit = {10, 60};
                   if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 53;
                   room = wg::os::make_descriptor_room(30);
                   if (room.left() != 30 || ::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur != 33) return 54;
                   if (::fcntl(0, F_DUPFD, 20) != 20) return 55;
                   room = wg::os::make_descriptor_room(1000);
                   return room.limit == 60 && room.used == 4 && room.left() == 56 ? 3 : 56;
               }) == 3);
}

BOOST_AUTO_TEST_CASE(backoff_doubles_its_pause_up_to_a_limit) {
    wg::os::backoff retry;
    wg::instant now = wg::instant{} + wg::seconds(100);
    BOOST_TEST(!retry.waits());
    BOOST_TEST((retry.due() == wg::instant::never()));
    for (int const ms : {250, 500, 1000, 2000, 4000, 4000, 4000}) {
        retry.failed(now);
        BOOST_TEST(retry.waits());
        BOOST_TEST((retry.due() == now + wg::milliseconds(ms)));
        now = retry.due();
    }
    retry.succeeded();
    BOOST_TEST(!retry.waits());
    retry.failed(now);
    BOOST_TEST((retry.due() == now + wg::milliseconds(250)));
}

BOOST_AUTO_TEST_CASE(stop_signals_are_reported_and_do_not_kill) {
    for (int const number : {SIGINT, SIGTERM, SIGQUIT, SIGHUP}) {
        BOOST_TEST(exit_code_of([=] {
                       ::signal(SIGHUP, SIG_DFL);
                       wg::os::stop_signals stop;
                       if (stop.take() != 0) return 50;
                       ::raise(number);
                       pollfd watched{stop.fd(), POLLIN, 0};
                       if (::poll(&watched, 1, 1000) != 1) return 51;
                       return stop.take();
                   }) == number);
    }
    BOOST_TEST(exit_code_of([] { // nohup: the signal stays ignored
                   ::signal(SIGHUP, SIG_IGN);
                   wg::os::stop_signals stop;
                   ::raise(SIGHUP);
                   return stop.take();
               }) == 0);
    BOOST_TEST(exit_code_of([] { // the earlier state is restored
                   { wg::os::stop_signals stop; }
                   ::raise(SIGTERM);
                   return 0;
               }) == 128 + SIGTERM);
}

BOOST_AUTO_TEST_CASE(writing_to_a_closed_socket_is_an_error_and_no_signal) {
    auto const write_to_nobody = [] {
        int ends[2];
        if (::pipe(ends) != 0) return 50;
        ::close(ends[0]);
        return ::write(ends[1], "x", 1) < 0 && errno == EPIPE ? 3 : 4;
    };
    BOOST_TEST(exit_code_of([&] {
                   ::signal(SIGPIPE, SIG_DFL);
                   wg::os::stop_signals stop;
                   return write_to_nobody();
               }) == 3);
    BOOST_TEST(exit_code_of([&] { // without `keep_memory_private`
                   ::signal(SIGPIPE, SIG_DFL);
                   return write_to_nobody();
               }) == 128 + SIGPIPE);
}

BOOST_AUTO_TEST_CASE(memory_is_private) {
    BOOST_TEST(exit_code_of([] {
                   rlimit core{};
                   if (::prctl(PR_GET_DUMPABLE) != 1) return 50; // without `keep_memory_private`
                   if (!wg::os::keep_memory_private()) return 51;
                   if (::getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0) return 52;
                   return ::prctl(PR_GET_DUMPABLE) == 0 ? 3 : 53;
               }) == 3);
}

BOOST_AUTO_TEST_CASE(notifies_the_supervisor_by_path_and_by_abstract_name) {
    std::string const id = std::to_string(::getpid());
    for (std::string const& name : {"/tmp/wg-notify-" + id, "@wg-notify-" + id}) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::copy(name.begin(), name.end(), address.sun_path);
        if (name[0] == '@') address.sun_path[0] = '\0';
        unique_fd const server(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        BOOST_REQUIRE(::bind(server.get(), reinterpret_cast<sockaddr*>(&address),
                             static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())) == 0);
        BOOST_TEST(wg::os::notify_supervisor("READY=1", name.c_str()));
        char told[64] = {};
        BOOST_TEST(::recv(server.get(), told, sizeof told, 0) == 7);
        BOOST_TEST(std::string(told) == "READY=1");
        if (name[0] == '/') ::unlink(name.c_str());
    }
    BOOST_TEST(wg::os::notify_supervisor("READY=1", nullptr)); // there is no supervisor
    BOOST_TEST(wg::os::notify_supervisor("READY=1", ""));
    BOOST_TEST(!wg::os::notify_supervisor("READY=1", ("/tmp/wg-nobody-" + id).c_str()));
    BOOST_TEST(!wg::os::notify_supervisor("READY=1", "relative"));
    BOOST_TEST(!wg::os::notify_supervisor("READY=1", std::string(1, '/').append(200, 'x').c_str()));
}

BOOST_AUTO_TEST_CASE(print_writes_all_of_a_text_or_reports_failure) {
    two_ends pipe;
    BOOST_TEST(wg::os::print(pipe.to.get(), "all of it"));
    BOOST_TEST(wg::os::is_open_descriptor(pipe.to.get()));
    int const number = pipe.to.get();
    pipe.to.reset();
    BOOST_TEST(!wg::os::is_open_descriptor(number));
    BOOST_TEST(all_of(pipe.from.get()) == "all of it");
    BOOST_TEST(!wg::os::print(pipe.from.get(), "into the wrong end"));
    BOOST_TEST(wg::os::last_error() == EBADF);
    BOOST_TEST(wg::os::describe_error(EBADF).view() == "Bad file descriptor");
}

BOOST_AUTO_TEST_CASE(without_a_service_manager_each_command_is_refused) {
    wg::os::error_text why;
    BOOST_TEST((wg::os::service_manager::command("install", "wg0", why) == wg::status::not_supported));
    BOOST_TEST(!why.empty());
}

BOOST_AUTO_TEST_SUITE_END()
