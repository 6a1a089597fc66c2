// SPDX-License-Identifier: BSL-1.0
// Log lines: the program never waits or ends, whatever happens to the reader, and lost lines are counted.
#include "wg/os/linux/process/log.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cstdlib>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <thread>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_linux_log)

namespace {

using wg::os::unique_fd, wg::os::log_writer;

/// Runs `action` in a child in which signals have their defaults. Returns its exit status, 128 plus the number of the
/// signal that ended it, or 256 plus that of the signal that stopped it. SIGALRM ends a child that blocks.
template <class Action> int exit_code_of(Action action) {
    std::fflush(nullptr);
    pid_t const child = ::fork();
    if (child == 0) {
        for (int const number : {SIGPIPE, SIGXFSZ, SIGTTOU, SIGALRM, SIGSEGV, SIGABRT}) ::signal(number, SIG_DFL);
        ::alarm(10);
        ::_exit(action());
    }
    int how = -1;
    BOOST_REQUIRE_EQUAL(::waitpid(child, &how, WUNTRACED), child);
    if (!WIFSTOPPED(how)) return WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return 256 + WSTOPSIG(how);
}

struct two_ends {
    unique_fd from, to;
    explicit two_ends(int flags = 0) {
        int ends[2];
        BOOST_REQUIRE_EQUAL(::pipe2(ends, O_CLOEXEC | flags), 0);
        from.reset(ends[0]);
        to.reset(ends[1]);
    }
    static two_ends sockets() {
        two_ends made;
        int ends[2];
        BOOST_REQUIRE_EQUAL(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        made.from.reset(ends[0]);
        made.to.reset(ends[1]);
        return made;
    }
};

/// The text that can be read now.
std::string read_all(int fd) {
    std::string all;
    char piece[4096];
    pollfd watched{fd, POLLIN, 0};
    while (::poll(&watched, 1, 0) == 1) {
        ssize_t const size = ::read(fd, piece, sizeof piece);
        if (size <= 0) break;
        all.append(piece, static_cast<std::size_t>(size));
    }
    return all;
}

std::size_t count_of(std::string const& words, std::string const& in) {
    std::size_t count = 0;
    for (std::size_t at = in.find(words); at != in.npos; at = in.find(words, at + 1)) ++count;
    return count;
}

/// The sum of all numbers before " log lines were lost".
std::size_t told_lost(std::string const& in) {
    std::size_t sum = 0;
    for (std::size_t at = in.find(" log line"); at != in.npos; at = in.find(" log line", at + 1)) {
        std::size_t const begin = in.rfind(' ', at - 1) + 1;
        sum += std::stoul(in.substr(begin, at - begin));
    }
    return sum;
}

/// A syslog socket in a directory of its own.
struct syslog_server {
    char directory[32] = "/tmp/wg-log-XXXXXX";
    std::string path;
    unique_fd fd;
    syslog_server() {
        BOOST_REQUIRE(::mkdtemp(directory) != nullptr);
        path = std::string(directory) + "/log";
        start();
    }
    ~syslog_server() {
        stop();
        ::rmdir(directory);
    }
    void start() {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        fd.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        BOOST_REQUIRE_EQUAL(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    void stop() {
        fd.reset();
        ::unlink(path.c_str());
    }
    std::string received() const { return read_all(fd.get()); }
};

constexpr char nowhere[] = "/nonexistent/log";

} // namespace

BOOST_AUTO_TEST_CASE(a_line_begins_with_the_name_and_has_one_newline) {
    two_ends ends;
    log_writer log("prog", ends.to.get(), nowhere);
    errno = 77;
    log.info("wg0: port ", 51820, " is open");
    log.error(std::string(300, 'x'));
    BOOST_TEST(errno == 77);
    BOOST_TEST(read_all(ends.from.get()) == "prog: wg0: port 51820 is open\nprog: " + std::string(255, 'x') + "\n");
    BOOST_TEST(log.lost() == 0u);
}

BOOST_AUTO_TEST_CASE(without_a_reader_errors_go_to_syslog) {
    syslog_server syslog;
    for (int const kind : {0, 1, 2}) {
        BOOST_TEST(exit_code_of([&] {
                       two_ends ends = kind == 2 ? two_ends::sockets() : two_ends(kind == 1 ? O_NONBLOCK : 0);
                       log_writer log("prog", ends.to.get(), syslog.path.c_str());
                       ends.from.reset();
                       log.info("detail");
                       log.error("trouble");
                       return 3;
                   }) == 3);
        std::string const received = syslog.received();
        BOOST_TEST(received.find("<27>prog[") == 0u);
        BOOST_TEST(count_of("]: 1 log line was lost", received) == 1u);
        BOOST_TEST(count_of("]: trouble", received) == 1u);
        BOOST_TEST(count_of("detail", received) == 0u);
    }
}

BOOST_AUTO_TEST_CASE(a_full_pipe_does_not_block_and_lost_lines_are_reported) {
    for (int const kind : {0, 1, 2, 3}) {
        if (kind == 3 && ::geteuid() != 0)
            continue; // the fallback for writers without a description of their own, see below
        two_ends ends = kind == 2 ? two_ends::sockets() : two_ends(kind == 1 ? O_NONBLOCK : 0);
        int const flags = ::fcntl(ends.to.get(), F_GETFL);
        two_ends result;
        constexpr std::size_t lines = 20'000;
        BOOST_TEST(exit_code_of([&] {
                       // Another user may not open this pipe again, as where /proc is missing.
                       if (kind == 3 && ::seteuid(65534) != 0) return 50;
                       log_writer log("prog", ends.to.get(), nowhere);
                       for (std::size_t i = 0; i < lines; ++i) log.info("line of the first part");
                       std::string const first = read_all(ends.from.get());
                       std::size_t const lost = log.lost();
                       log.info("reader is back");
                       std::string const then = read_all(ends.from.get());
                       if (lost == 0 || count_of("line of", first) + lost != lines) return 51;
                       if (told_lost(then) != lost || count_of("reader is back\n", then) != 1) return 52;
                       return log.lost() == 0 ? 3 : 53;
                   }) == 3);
        BOOST_TEST(::fcntl(ends.to.get(), F_GETFL) == flags); // other programs may share it
    }
}

BOOST_AUTO_TEST_CASE(a_stopped_terminal_does_not_block) {
    unique_fd const master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!master || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0) {
        BOOST_TEST_MESSAGE("skip: no pseudo-terminals here");
        return;
    }
    unique_fd const terminal(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    BOOST_REQUIRE(static_cast<bool>(terminal));
    BOOST_TEST(exit_code_of([&] {
                   log_writer log("prog", terminal.get(), nowhere);
                   for (int i = 0; i < 20'000; ++i) log.info("a line that nobody sees");
                   return log.lost() > 0 ? 3 : 51;
               }) == 3);
}

BOOST_AUTO_TEST_CASE(a_background_job_is_not_stopped_by_its_log) {
    unique_fd const master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!master || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0) {
        BOOST_TEST_MESSAGE("skip: no pseudo-terminals here");
        return;
    }
    std::string const name = ::ptsname(master.get());
    BOOST_TEST(exit_code_of([&] {
                   if (::setsid() < 0) return 50;
                   int const terminal = ::open(name.c_str(), O_RDWR); // it becomes the controlling terminal
                   termios how{};
                   if (terminal < 0 || ::tcgetattr(terminal, &how) != 0) return 51;
                   how.c_lflag |= TOSTOP;
                   if (::tcsetattr(terminal, TCSANOW, &how) != 0) return 52;
                   return exit_code_of([&] {
                       if (::setpgid(0, 0) != 0) return 53; // a background job
                       log_writer log("prog", terminal, nowhere);
                       log.info("hello");
                       return log.lost() == 0 ? 3 : 54;
                   });
               }) == 3);
}

BOOST_AUTO_TEST_CASE(errors_go_to_syslog_when_the_disk_is_full) {
    syslog_server syslog;
    unique_fd const full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    BOOST_REQUIRE(static_cast<bool>(full));
    log_writer log("prog", full.get(), syslog.path.c_str());
    for (int i = 0; i < 3; ++i) log.info("detail");
    BOOST_TEST(log.lost() == 3u);
    log.error("trouble");
    BOOST_TEST(log.lost() == 0u);
    BOOST_TEST(count_of("3 log lines were lost", syslog.received()) == 1u);
}

BOOST_AUTO_TEST_CASE(a_file_size_limit_raises_no_signal_and_the_next_line_is_whole) {
    char path[] = "/tmp/wg-log-file-XXXXXX";
    unique_fd const file(::mkostemp(path, O_APPEND | O_CLOEXEC));
    BOOST_REQUIRE(static_cast<bool>(file));
    BOOST_TEST(exit_code_of([&] {
                   log_writer log("prog", file.get(), nowhere);
                   rlimit limit{};
                   if (::getrlimit(RLIMIT_FSIZE, &limit) != 0) return 50;
                   limit.rlim_cur = 40; // one line and a part of the second
                   if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 51;
                   for (int i = 0; i < 4; ++i) log.info("twenty-five bytes.");
                   if (log.lost() != 3) return 52;
                   limit.rlim_cur = limit.rlim_max;
                   if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 53;
                   log.info("room again");
                   return 3;
               }) == 3);
    BOOST_REQUIRE_EQUAL(::lseek(file.get(), 0, SEEK_SET), 0);
    BOOST_TEST(read_all(file.get()) == "prog: twenty-five bytes.\nprog: twenty-fi\nprog: 3 log lines were lost\n"
                                       "prog: room again\n");
    ::unlink(path);
}

BOOST_AUTO_TEST_CASE(a_pending_signal_of_the_program_stays_pending) {
    BOOST_TEST(exit_code_of([] {
                   sigset_t set;
                   ::sigemptyset(&set);
                   ::sigaddset(&set, SIGPIPE);
                   ::sigprocmask(SIG_BLOCK, &set, nullptr);
                   ::raise(SIGPIPE);
                   two_ends ends;
                   log_writer log("prog", ends.to.get(), nowhere);
                   ends.from.reset();
                   log.info("detail");
                   if (log.lost() != 1 || ::sigpending(&set) != 0) return 50;
                   return ::sigismember(&set, SIGPIPE) == 1 ? 3 : 51;
               }) == 3);
}

BOOST_AUTO_TEST_CASE(finds_a_syslog_that_starts_late_or_is_restarted) {
    syslog_server syslog;
    log_writer log("prog", -1, syslog.path.c_str()); // as a program whose stderr is gone
    log.error("one");
    BOOST_TEST(count_of("]: one", syslog.received()) == 1u);
    syslog.stop();
    log.error("two");
    log.info("detail");
    BOOST_TEST(log.lost() == 2u);
    syslog.start();
    log.error("three");
    std::string const received = syslog.received();
    BOOST_TEST(count_of("2 log lines were lost", received) == 1u);
    BOOST_TEST(count_of("]: three", received) == 1u);
}

BOOST_AUTO_TEST_CASE(a_syslog_that_does_not_read_does_not_block) {
    syslog_server syslog;
    BOOST_TEST(exit_code_of([&] {
                   log_writer log("prog", -1, syslog.path.c_str());
                   for (int i = 0; i < 20'000; ++i) log.error("trouble");
                   return log.lost() > 0 ? 3 : 51;
               }) == 3);
}

BOOST_AUTO_TEST_CASE(leave_descriptor_closes_the_own_description) {
    syslog_server syslog;
    two_ends ends;
    log_writer log("prog", ends.to.get(), syslog.path.c_str());
    log.info("before");
    log.leave_descriptor();
    log.error("after");
    ends.to.reset();
    BOOST_TEST(read_all(ends.from.get()) == "prog: before\n");
    char sink;
    BOOST_TEST(::read(ends.from.get(), &sink, 1) == 0); // the last writer has closed it
    BOOST_TEST(count_of("]: after", syslog.received()) == 1u);
}

BOOST_AUTO_TEST_CASE(lines_of_several_threads_are_whole_and_all_counted) {
    two_ends ends;
    log_writer log("prog", ends.to.get(), nowhere);
    constexpr std::size_t threads = 4, lines = 5000;
    std::string all;
    {
        std::vector<std::jthread> running;
        for (std::size_t t = 0; t < threads; ++t)
            running.emplace_back([&] {
                for (std::size_t i = 0; i < lines; ++i) log.info("a line of ", i);
            });
        for (int round = 0; round < 100; ++round) all += read_all(ends.from.get());
    }
    all += read_all(ends.from.get());
    log.info("the end");
    all += read_all(ends.from.get());
    BOOST_TEST(count_of("prog: a line of ", all) + told_lost(all) + log.lost() == threads * lines);
    for (std::size_t at = 0; at < all.size(); at = all.find('\n', at) + 1)
        BOOST_REQUIRE_EQUAL(all.compare(at, 6, "prog: "), 0);
}

namespace {

/// The log's calls on systems that cannot open a pipe again.
struct polled_calls : wg::os::log_calls {
    static int open_again(int) noexcept { return errno = ENOSYS, -1; }
};

} // namespace

BOOST_AUTO_TEST_CASE(threads_that_find_room_for_one_line_do_not_block) {
    int const code = exit_code_of([] {
        for (int round = 0; round < 50; ++round) {
            two_ends ends;
            if (::fcntl(ends.to.get(), F_SETPIPE_SZ, 8192) != 8192) return 50;
            std::string const half(4096, 'x');
            if (::write(ends.to.get(), half.data(), half.size()) != 4096) return 51;
            wg::os::basic_log_writer<polled_calls> log("prog", ends.to.get(), nowhere);
            std::atomic<int> ready{0};
            std::vector<std::thread> threads;
            constexpr int count = 20; // together longer than the room
            for (int i = 0; i < count; ++i)
                threads.emplace_back([&] {
                    for (++ready; ready < count;) std::this_thread::yield();
                    log.info(std::string_view(half).substr(0, 240));
                });
            for (std::thread& t : threads) t.join();
            std::size_t const written = count_of("prog: ", read_all(ends.from.get()));
            if (written == 0 || written + log.lost() != count) return 52;
        }
        return 0;
    });
    BOOST_TEST(code == 0);
}

BOOST_AUTO_TEST_CASE(line_limit_passes_new_lines_and_stops_repetitions) {
    wg::os::line_limit limit;
    wg::instant now{5};
    BOOST_TEST(limit.pass(7, 101, now));
    BOOST_TEST(!limit.pass(7, 101, now));
    BOOST_TEST(limit.pass(7, 113, now)); // another errno
    BOOST_TEST(limit.pass(8, 113, now)); // another peer
    now = now + wg::os::line_limit::interval - wg::duration{1};
    BOOST_TEST(!limit.pass(8, 113, now));
    BOOST_TEST(limit.pass(8, 113, now + wg::duration{1}));
}

BOOST_AUTO_TEST_CASE(line_limit_bounds_all_subjects_together) {
    wg::os::line_limit limit;
    wg::instant now = wg::instant{} + wg::seconds(1'000'000);
    std::uint32_t subject = 0, passed = 0;
    for (int i = 0; i < 1000; ++i) passed += limit.pass(subject++, 1, now);
    BOOST_TEST(passed == wg::os::line_limit::burst);
    for (int i = 0; i < 1000; ++i) passed += limit.pass(subject++, 1, now = now + wg::milliseconds(10));
    BOOST_TEST(passed == wg::os::line_limit::burst + 10); // ten seconds later
}

BOOST_AUTO_TEST_SUITE_END()
