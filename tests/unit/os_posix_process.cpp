// SPDX-License-Identifier: BSL-1.0
// The parts of a daemon on systems without signalfd, futex and inotify: signals, threads, clock, random bytes, and the
// configuration socket on a queue of events.
#include "kqueue_twin.hpp"
#include "wg/os/posix/clock.hpp"
#include "wg/os/posix/kqueue/poller.hpp"
#include "wg/os/posix/process/stop_signals.hpp"
#include "wg/os/posix/process/uapi_listener.hpp"
#include "wg/os/posix/random.hpp"
#include "wg/os/posix/threads.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <poll.h>
#include <sys/wait.h>
#include <thread>

BOOST_AUTO_TEST_SUITE(os_posix_process)

namespace {

using namespace wg_tests::kqueue;
using wg::status, wg::os::error_text;
using signals = posix::stop_signals;

/// Runs `action` in a child. Returns its exit status, or 128 plus the number of the signal that ends it.
template <class Action> int exit_code_of(Action action) {
    std::fflush(nullptr);
    pid_t const child = ::fork();
    if (child == 0) {
        for (int const number : {SIGSEGV, SIGABRT, SIGTERM, SIGINT, SIGALRM}) ::signal(number, SIG_DFL);
        ::_exit(action());
    }
    int how = 0;
    ::waitpid(child, &how, 0);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}
bool is_readable(int fd, int milliseconds = 1000) {
    pollfd p{fd, POLLIN, 0};
    return ::poll(&p, 1, milliseconds) == 1;
}

struct entropy {
    static inline int left = 0;
    static inline std::vector<std::size_t> asked{};
    static int get_entropy(void* to, std::size_t size) noexcept {
        asked.push_back(size);
        if (left-- <= 0) return errno = EIO, -1;
        std::memset(to, 0xab, size);
        return 0;
    }
};

/// Two threads answer each other.
struct shared_cells {
    posix::threads::cell asked, answered;
    static void work(shared_cells& with) noexcept {
        for (std::uint32_t turn = 0; turn < 2000; ++turn) {
            while (with.asked.load() == turn) with.asked.wait(turn);
            with.answered.store(turn + 1);
        }
    }
};

struct reply_text {
    std::string text;
    wg::bytes_view view() const noexcept { return {reinterpret_cast<wg::byte const*>(text.data()), text.size()}; }
    bool empty() const noexcept { return text.empty(); }
    void release() noexcept { text.clear(); }
};
struct line_session {
    std::string line;
};
using listener = wg::os::basic_uapi_listener<line_session, reply_text, 4, posix::basic_poller<calls>>;

/// Echoes lines in brackets; "big" makes a reply of a megabyte, "end" ends the connection.
status echo(line_session& session, wg::bytes_view in, reply_text& out) noexcept {
    session.line.append(in.begin(), in.end());
    if (session.line.empty() || session.line.back() != '\n') return status::ok;
    session.line.pop_back();
    std::string const line = std::exchange(session.line, {});
    out.text += line == "big" ? std::string(1 << 20, 'b') : "[" + line + "]";
    return line == "end" ? status::protocol_error : status::ok;
}

struct directory {
    std::string path;
    directory() {
        char pattern[] = "/tmp/wg-posix.XXXXXX";
        BOOST_REQUIRE(::mkdtemp(pattern) != nullptr);
        path = pattern;
    }
    ~directory() {
        for (char const* const name : {"/wg0.sock", "/moved"}) ::unlink((path + name).c_str());
        ::rmdir(path.c_str());
    }
    std::string socket() const { return path + "/wg0.sock"; }
};

unique_fd client_of(std::string const& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), address.sun_path);
    unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0) fd.reset();
    return fd;
}
void send_text(unique_fd const& fd, std::string const& text) {
    BOOST_REQUIRE_EQUAL(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}
/// What came so far; "closed" at the end of the connection.
std::string text_from(unique_fd const& fd) {
    char data[65536];
    ssize_t const size = ::recv(fd.get(), data, sizeof data, 0);
    return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : size == 0 ? "closed" : "";
}

struct fixture {
    fresh start{};
    directory where{};
    error_text why{};
    std::unique_ptr<listener> l = std::make_unique<listener>();
    void open() {
        status const opened = l->open("wg0", why, where.path.c_str());
        BOOST_REQUIRE_MESSAGE(opened == status::ok, why.view());
    }
    status serve() {
        status last = status::ok;
        for (int i = 0; i < 3 && last == status::ok; ++i) last = l->serve(echo);
        return last;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(signals_that_stop_a_daemon_arrive_through_the_descriptor) {
    for (int const number : {SIGTERM, SIGINT, SIGQUIT, SIGHUP}) {
        int const code = exit_code_of([&] {
            ::signal(number, SIG_DFL); // nohup ignores SIGHUP, which stays ignored
            signals s(signals::hang_up::stops);
            if (!s || s.take() != 0 || is_readable(s.fd(), 0)) return 1;
            ::raise(number);
            if (!is_readable(s.fd())) return 2;
            if (s.take() != number) return 3;
            return s.take() == 0 ? 0 : 4;
        });
        BOOST_TEST(code == 0);
    }
}

BOOST_AUTO_TEST_CASE(signals_arrive_in_a_child_that_went_to_the_background) {
    int const code = exit_code_of([] {
        signals s;
        pid_t const child = ::fork();
        if (child != 0) { // the process that the shell has started
            int how = 0;
            ::waitpid(child, &how, 0);
            return WIFEXITED(how) ? WEXITSTATUS(how) : 5;
        }
        ::raise(SIGTERM);
        return is_readable(s.fd()) && s.take() == SIGTERM ? 0 : 1;
    });
    BOOST_TEST(code == 0);
}

BOOST_AUTO_TEST_CASE(a_hang_up_is_ignored_in_the_background_and_under_nohup) {
    BOOST_TEST(exit_code_of([] {
                   signals s(signals::hang_up::is_ignored);
                   ::raise(SIGHUP);
                   return s.take();
               }) == 0);
    BOOST_TEST(exit_code_of([] {
                   ::signal(SIGHUP, SIG_IGN); // nohup
                   signals s(signals::hang_up::stops);
                   ::raise(SIGHUP);
                   return s.take();
               }) == 0);
}

BOOST_AUTO_TEST_CASE(other_signals_do_not_end_the_process) {
    for (int const number : {SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXFSZ, SIGTTOU})
        BOOST_TEST(exit_code_of([&] {
                       signals s;
                       ::raise(number);
                       return s.take();
                   }) == 0);
}

BOOST_AUTO_TEST_CASE(the_destructor_restores_the_signals) {
    BOOST_TEST(exit_code_of([] {
                   { signals s; }
                   ::raise(SIGTERM);
                   return 0;
               }) == 128 + SIGTERM);
    BOOST_TEST(exit_code_of([] {
                   ::signal(SIGUSR1, SIG_DFL);
                   { signals s; }
                   ::raise(SIGUSR1);
                   return 0;
               }) == 128 + SIGUSR1);
}

BOOST_AUTO_TEST_CASE(a_flood_of_signals_does_not_block_the_handler) {
    BOOST_TEST(exit_code_of([] {
                   ::alarm(20);
                   signals s;
                   for (int i = 0; i < 100'000; ++i) ::raise(SIGINT); // more than a pipe holds
                   return s.take() == SIGINT ? 0 : 1;
               }) == 0);
}

BOOST_AUTO_TEST_CASE(a_cell_wakes_the_threads_that_wait) {
    shared_cells both;
    posix::threads::thread other;
    BOOST_REQUIRE(other.start<&shared_cells::work>(both));
    for (std::uint32_t turn = 0; turn < 2000; ++turn) {
        both.asked.store(turn + 1);
        while (both.answered.load() == turn) both.answered.wait(turn);
    }
    BOOST_TEST(both.answered.load() == 2000u);
    both.asked.wait(5); // another number than the cell has: returns at once
    BOOST_TEST(posix::threads::processors() >= 1u);
    posix::threads::give_way();
}

BOOST_AUTO_TEST_CASE(ticks_become_nanoseconds) {
    using posix::nanoseconds_of;
    BOOST_TEST(nanoseconds_of(24, 125, 3) == 1000);                                              // arm64: 24 MHz
    BOOST_TEST(nanoseconds_of(5, 1, 1) == 5);                                                    // x86-64
    BOOST_TEST(nanoseconds_of(24'000'000ull * 86400 * 3650, 125, 3) == 315'360'000'000'000'000); // ten years
    BOOST_TEST(nanoseconds_of(1, 125, 3) == 41);
    BOOST_TEST(nanoseconds_of(1, 1, 0) == 0); // no answer of the system
}

BOOST_AUTO_TEST_CASE(the_clock_goes_on) {
    posix::basic_clock<posix::clock_calls<CLOCK_MONOTONIC>> clock;
    static_assert(wg::clock_source<decltype(clock)>);
    auto const first = clock.now();
    BOOST_TEST((clock.now() >= first));
    wg::byte label[wg::timestamp_bytes] = {};
    clock.tai64n(label);
    BOOST_TEST(label[0] == 0x40);
}

BOOST_AUTO_TEST_CASE(random_bytes_come_in_pieces_that_the_system_allows) {
    posix::basic_random<entropy> random;
    static_assert(wg::random_source<decltype(random)>);
    std::array<wg::byte, 600> out{};
    entropy::left = 3;
    entropy::asked.clear();
    BOOST_TEST(random.fill(out));
    BOOST_TEST((entropy::asked == std::vector<std::size_t>{256, 256, 88}));
    BOOST_TEST((out[0] == 0xab && out[599] == 0xab));
    entropy::left = 2;
    BOOST_TEST(!random.fill(out));
    BOOST_TEST((out[0] == 0 && out[300] == 0 && out[599] == 0)); // nothing half random is left
    BOOST_TEST(random.fill({}));
}

BOOST_FIXTURE_TEST_CASE(answers_requests_and_ends_connections, fixture) {
    open();
    unique_fd const client = client_of(where.socket());
    BOOST_REQUIRE(static_cast<bool>(client));
    BOOST_TEST(is_readable(l->fd()));
    BOOST_TEST((serve() == status::ok && l->connections() == 1));
    send_text(client, "one\ntw");
    BOOST_TEST((serve() == status::ok && text_from(client) == "[one]"));
    send_text(client, "o\nend\nnever\n");
    BOOST_TEST((serve() == status::ok && text_from(client) == "[two][end]"));
    BOOST_TEST((text_from(client) == "closed" && l->connections() == 0));
}

BOOST_FIXTURE_TEST_CASE(a_long_reply_waits_until_the_client_reads, fixture) {
    open();
    unique_fd const client = client_of(where.socket());
    send_text(client, "big\n");
    BOOST_TEST((serve() == status::ok));
    std::size_t got = 0;
    for (int i = 0; i < 1000 && got < (1 << 20); ++i) {
        got += text_from(client).size();
        (void)serve();
    }
    BOOST_TEST(got == std::size_t{1} << 20);
    send_text(client, "x\n");
    BOOST_TEST((serve() == status::ok && text_from(client) == "[x]")); // requests are read again
}

BOOST_FIXTURE_TEST_CASE(the_inactive_connection_is_closed_for_a_new_one, fixture) {
    open();
    std::vector<unique_fd> clients;
    for (int i = 0; i < 4; ++i) {
        clients.push_back(client_of(where.socket()));
        (void)serve();
    }
    send_text(clients[0], "x\n");
    (void)serve();
    BOOST_TEST(text_from(clients[0]) == "[x]");
    clients.push_back(client_of(where.socket()));
    (void)serve();
    BOOST_TEST((text_from(clients[1]) == "closed" && l->connections() == 4));
    send_text(clients[4], "new\n");
    (void)serve();
    BOOST_TEST(text_from(clients[4]) == "[new]");
}

BOOST_FIXTURE_TEST_CASE(the_removal_of_the_file_is_reported, fixture) {
    open();
    BOOST_TEST((serve() == status::ok && !is_readable(l->fd(), 0)));
    unique_fd other(::open((where.path + "/moved").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    BOOST_TEST((is_readable(l->fd()) && serve() == status::ok)); // another file of the directory
    ::unlink(where.socket().c_str());
    BOOST_TEST((is_readable(l->fd()) && serve() == status::gone));
}

BOOST_FIXTURE_TEST_CASE(the_replacement_of_the_file_is_reported, fixture) {
    open();
    std::string const moved = where.path + "/moved";
    unique_fd other(::open(moved.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    BOOST_REQUIRE_EQUAL(::rename(moved.c_str(), where.socket().c_str()), 0);
    BOOST_TEST((is_readable(l->fd()) && serve() == status::gone));
    l.reset();
    BOOST_TEST(::access(where.socket().c_str(), F_OK) == 0); // the file of the other process stays
}

BOOST_FIXTURE_TEST_CASE(the_file_is_looked_at_each_second_where_its_directory_cannot_be_watched, fixture) {
    state.refused = {event_kind::file};
    open();
    ::unlink(where.socket().c_str());
    BOOST_TEST((is_readable(l->fd(), 3000) && serve() == status::gone));
}

BOOST_FIXTURE_TEST_CASE(fails_where_nothing_can_be_watched, fixture) {
    state.refused = {event_kind::file, event_kind::second};
    BOOST_TEST((l->open("wg0", why, where.path.c_str()) == status::invalid));
    BOOST_TEST(!why.empty());
    l.reset();
    BOOST_TEST((client_of(where.socket()).get() == -1));
}

static sockaddr_un unix_address(std::string const& path) {
    sockaddr_un made{};
    made.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), made.sun_path);
    return made;
}

BOOST_FIXTURE_TEST_CASE(a_socket_whose_backlog_is_full_for_a_moment_is_not_replaced, fixture) {
    std::string const path = where.socket();
    sockaddr_un address = unix_address(path);
    unique_fd const other(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    BOOST_REQUIRE(::bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    // Until it listens, it refuses connections, as the BSDs do while the backlog is full.
    std::thread listens([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        (void)::listen(other.get(), 1);
    });
    BOOST_TEST((l->open("wg0", why, where.path.c_str()) == status::address_in_use));
    listens.join();
    BOOST_TEST(static_cast<bool>(client_of(path)));
}

BOOST_FIXTURE_TEST_CASE(the_socket_of_a_process_that_has_ended_is_replaced, fixture) {
    std::string const path = where.socket();
    sockaddr_un address = unix_address(path);
    {
        unique_fd const other(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        BOOST_REQUIRE(::bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    }
    open();
    unique_fd const client = client_of(path);
    BOOST_REQUIRE(static_cast<bool>(client));
    send_text(client, "hello\n");
    (void)serve();
    BOOST_TEST(text_from(client) == "[hello]");
}

BOOST_FIXTURE_TEST_CASE(a_listener_that_was_opened_before_a_fork_serves_in_the_child, fixture) {
    open();
    int const before = l->fd();
    state.process = 2;
    ::close(before);                                      // the child has no queue
    unique_fd const taken(::open("/dev/null", O_RDONLY)); // ... and the number may be another file's
    unique_fd const client = client_of(where.socket());
    send_text(client, "x\n");
    BOOST_TEST((l->fd() >= 0 && l->fd() != taken.get()));
    BOOST_TEST(is_readable(l->fd()));
    BOOST_TEST((serve() == status::ok && text_from(client) == "[x]"));
    ::unlink(where.socket().c_str());
    BOOST_TEST((is_readable(l->fd()) && serve() == status::gone));
    BOOST_TEST(::fcntl(taken.get(), F_GETFD) >= 0);
}

BOOST_AUTO_TEST_SUITE_END()
