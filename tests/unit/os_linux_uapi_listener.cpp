// SPDX-License-Identifier: BSL-1.0
// The configuration socket: rights, connections, slow and silent clients.
#include "wg/os/linux/process/uapi_listener.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/resource.h>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_linux_uapi_listener)

namespace {

using wg::os::unique_fd;

/// A reply that records its greatest size.
struct reply_text {
    std::string text;
    static inline std::size_t most = 0;
    wg::bytes_view view() const noexcept { return {reinterpret_cast<wg::byte const*>(text.data()), text.size()}; }
    bool empty() const noexcept { return text.empty(); }
    void release() noexcept { text.clear(); }
    void add(std::string const& more) {
        text += more;
        most = std::max(most, text.size());
    }
};
/// A session that collects lines; existing sessions are counted.
struct line_session {
    std::string line;
    static inline int alive = 0;
    line_session() { ++alive; }
    ~line_session() { --alive; }
    line_session(line_session const&) = delete;
};
using listener = wg::os::uapi_listener<line_session, reply_text, 4>;

/// Echoes lines in brackets; "big" makes a reply of a megabyte, "end" ends the connection.
wg::status echo(line_session& session, wg::bytes_view in, reply_text& out) noexcept {
    session.line.append(in.begin(), in.end());
    if (session.line.empty() || session.line.back() != '\n') return wg::status::ok;
    session.line.pop_back();
    std::string const line = std::exchange(session.line, {});
    if (line == "big") {
        out.add(std::string(1 << 20, 'b') + "\n");
    } else {
        out.add("[" + line + "]");
    }
    return line == "end" ? wg::status::protocol_error : wg::status::ok;
}

struct directory {
    std::string path;
    directory() {
        char pattern[] = "/tmp/wg-uapi-XXXXXX";
        BOOST_REQUIRE(::mkdtemp(pattern) != nullptr);
        path = pattern;
    }
    ~directory() {
        for (char const* const name : {"/wg0.sock", "/sub/wg0.sock", "/moved"}) ::unlink((path + name).c_str());
        ::rmdir((path + "/sub").c_str());
        ::rmdir(path.c_str());
    }
    std::string socket() const { return path + "/wg0.sock"; }
};

sockaddr_un address_of(std::string const& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), address.sun_path);
    return address;
}

unique_fd client_of(std::string const& path) {
    unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_un const address = address_of(path);
    if (::connect(fd.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0) fd.reset();
    return fd;
}

bool exists(std::string const& path) {
    struct stat found {};
    return ::lstat(path.c_str(), &found) == 0;
}

void say(unique_fd const& client, std::string const& text) {
    BOOST_REQUIRE(::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
}

/// Serves until nothing is left to do; false: the listener reports that its file was removed.
bool serve_all(listener& l) {
    for (int round = 0; round < 1000; ++round) {
        pollfd watched{l.fd(), POLLIN, 0};
        if (::poll(&watched, 1, 0) != 1) return true;
        if (l.serve(echo) == wg::status::gone) return false;
    }
    BOOST_FAIL("the listener never rests");
    return true;
}

/// All data that the client has received so far; "$" at the end: the connection has ended.
std::string heard_by(unique_fd const& client) {
    std::string all;
    char piece[4096];
    for (;;) {
        ssize_t const size = ::recv(client.get(), piece, sizeof piece, 0);
        if (size == 0) return all + "$";
        if (size < 0) return errno == EAGAIN ? all : all + "!";
        all.append(piece, static_cast<std::size_t>(size));
    }
}

struct serving {
    directory where;
    wg::os::error_text why;
    std::unique_ptr<listener> l = std::make_unique<listener>();
    serving() { BOOST_REQUIRE_MESSAGE(l->open("wg0", why, where.path.c_str()) == wg::status::ok, why.c_str()); }
    unique_fd client() const {
        unique_fd fd = client_of(where.socket());
        BOOST_REQUIRE(static_cast<bool>(fd));
        return fd;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(only_the_owner_can_use_the_socket_and_its_directory_is_created) {
    directory where;
    std::string const sub = where.path + "/sub";
    mode_t const before = ::umask(022);
    {
        listener l;
        wg::os::error_text why;
        BOOST_REQUIRE(l.open("wg0", why, sub.c_str()) == wg::status::ok);
        struct stat found {};
        BOOST_REQUIRE(::stat(sub.c_str(), &found) == 0);
        BOOST_TEST((found.st_mode & 07777) == 0755u);
        BOOST_REQUIRE(::stat((sub + "/wg0.sock").c_str(), &found) == 0);
        BOOST_TEST(S_ISSOCK(found.st_mode));
        BOOST_TEST((found.st_mode & 07777) == 0700u);
        BOOST_TEST(std::string(l.path()) == sub + "/wg0.sock");
    }
    BOOST_TEST(!exists(sub + "/wg0.sock")); // removed at the end
    BOOST_TEST(::umask(before) == 022u);    // the process's mask is restored
}

BOOST_AUTO_TEST_CASE(refuses_to_replace_a_socket_that_listens) {
    serving s;
    listener second;
    wg::os::error_text why;
    BOOST_TEST((second.open("wg0", why, s.where.path.c_str()) == wg::status::address_in_use));
    BOOST_TEST(std::string(why.c_str()).find("unix socket in use") != std::string::npos);
    unique_fd const client = s.client();
    say(client, "hello\n");
    serve_all(*s.l);
    BOOST_TEST(heard_by(client) == "[hello]");
}

BOOST_AUTO_TEST_CASE(replaces_a_stale_socket) {
    directory where;
    {
        unique_fd const dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un const address = address_of(where.socket());
        BOOST_REQUIRE(::bind(dead.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0);
    }
    BOOST_REQUIRE(exists(where.socket()));
    listener l;
    wg::os::error_text why;
    BOOST_REQUIRE_MESSAGE(l.open("wg0", why, where.path.c_str()) == wg::status::ok, why.c_str());
    unique_fd const client = client_of(where.socket());
    BOOST_REQUIRE(static_cast<bool>(client));
    say(client, "x\n");
    serve_all(l);
    BOOST_TEST(heard_by(client) == "[x]");
}

BOOST_AUTO_TEST_CASE(does_not_remove_another_kind_of_file) {
    directory where;
    unique_fd const file(::open(where.socket().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    BOOST_REQUIRE(static_cast<bool>(file));
    {
        listener l;
        wg::os::error_text why;
        BOOST_TEST((l.open("wg0", why, where.path.c_str()) == wg::status::address_in_use));
        BOOST_TEST(std::string(why.c_str()).find("no socket") != std::string::npos);
    }
    BOOST_TEST(exists(where.socket()));
}

BOOST_AUTO_TEST_CASE(refuses_impossible_paths) {
    directory where;
    listener l;
    wg::os::error_text why;
    BOOST_TEST((l.open("", why, where.path.c_str()) == wg::status::invalid));
    BOOST_TEST((l.open("a/b", why, where.path.c_str()) == wg::status::invalid));
    BOOST_TEST((l.open("wg0", why, std::string(120, 'd').c_str()) == wg::status::invalid));
    BOOST_TEST((l.open("wg0", why, "relative") == wg::status::invalid));
    { unique_fd const file(::open((where.path + "/moved").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); }
    for (std::string const directory : {"/moved", "/moved/sub"}) {
        BOOST_TEST((l.open("wg0", why, (where.path + directory).c_str()) == wg::status::io_error));
        BOOST_TEST(std::string(why.c_str()) ==
                   "cannot create the directory " + where.path + directory + ": Not a directory");
    }
}

BOOST_AUTO_TEST_CASE(creates_missing_directories_that_all_users_can_enter) {
    directory where;
    std::string const deep = where.path + "/sub/deep/wireguard";
    mode_t const before = ::umask(077);
    {
        listener l;
        wg::os::error_text why;
        BOOST_TEST_REQUIRE((l.open("wg0", why, deep.c_str()) == wg::status::ok), why.c_str());
        for (std::string const part : {"/sub", "/sub/deep", "/sub/deep/wireguard"}) {
            struct stat found {};
            BOOST_REQUIRE(::stat((where.path + part).c_str(), &found) == 0);
            BOOST_TEST((found.st_mode & 07777) == 0755u);
        }
        BOOST_TEST(exists(deep + "/wg0.sock"));
    }
    ::umask(before);
    ::rmdir(deep.c_str());
    ::rmdir((where.path + "/sub/deep").c_str());
}

BOOST_AUTO_TEST_CASE(creates_the_missing_target_of_a_symbolic_link) {
    directory where;
    for (std::string const& target : {where.path + "/sub", std::string("sub")}) {
        BOOST_REQUIRE(::symlink(target.c_str(), (where.path + "/moved").c_str()) == 0);
        {
            listener l;
            wg::os::error_text why;
            BOOST_TEST_REQUIRE((l.open("wg0", why, (where.path + "/moved").c_str()) == wg::status::ok), why.c_str());
            BOOST_TEST(exists(where.path + "/sub/wg0.sock"));
        }
        BOOST_REQUIRE(::unlink((where.path + "/moved").c_str()) == 0);
        BOOST_REQUIRE(::rmdir((where.path + "/sub").c_str()) == 0);
    }
}

BOOST_AUTO_TEST_CASE(removal_of_the_socket_is_noticed_and_a_change_of_rights_is_not) {
    serving s;
    BOOST_REQUIRE(::chmod(s.where.socket().c_str(), 0770) == 0);
    BOOST_TEST(serve_all(*s.l));
    BOOST_REQUIRE(::unlink(s.where.socket().c_str()) == 0);
    pollfd watched{s.l->fd(), POLLIN, 0};
    BOOST_REQUIRE(::poll(&watched, 1, 1000) == 1);
    BOOST_TEST((s.l->serve(echo) == wg::status::gone));

    serving moved;
    BOOST_REQUIRE(::rename(moved.where.socket().c_str(), (moved.where.path + "/moved").c_str()) == 0);
    BOOST_TEST(!serve_all(*moved.l));
}

BOOST_AUTO_TEST_CASE(does_not_remove_the_socket_of_another_process) {
    serving first;
    // Another process has replaced the socket.
    BOOST_REQUIRE(::unlink(first.where.socket().c_str()) == 0);
    listener second;
    wg::os::error_text why;
    BOOST_REQUIRE(second.open("wg0", why, first.where.path.c_str()) == wg::status::ok);
    first.l.reset();
    BOOST_TEST(exists(first.where.socket()));
    BOOST_TEST(static_cast<bool>(client_of(first.where.socket())));
}

BOOST_AUTO_TEST_CASE(takes_over_an_inherited_socket) {
    directory where;
    wg::os::error_text why;
    unique_fd inherited(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un const address = address_of(where.socket());
    BOOST_REQUIRE(::bind(inherited.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0);
    {
        listener l;
        BOOST_TEST(
            (l.adopt(inherited.get(), "wg0", why, where.path.c_str()) == wg::status::invalid)); // does not listen
        BOOST_TEST((l.adopt(-1, "wg0", why, where.path.c_str()) == wg::status::invalid));
        BOOST_REQUIRE(::listen(inherited.get(), 4) == 0);
        BOOST_REQUIRE(l.adopt(inherited.release(), "wg0", why, where.path.c_str()) == wg::status::ok);
        unique_fd const client = client_of(where.socket());
        say(client, "hello\n");
        serve_all(l);
        BOOST_TEST(heard_by(client) == "[hello]");
    }
    BOOST_TEST(!exists(where.socket()));
}

BOOST_AUTO_TEST_CASE(accepts_lines_in_pieces_and_several_at_once) {
    serving s;
    unique_fd const a = s.client(), b = s.client();
    say(a, "he");
    say(b, "one\ntwo\n\nthr");
    serve_all(*s.l);
    BOOST_TEST(heard_by(a) == "");
    BOOST_TEST(heard_by(b) == "[one][two][]");
    say(a, "llo\n");
    say(b, "ee\n");
    serve_all(*s.l);
    BOOST_TEST(heard_by(a) == "[hello]");
    BOOST_TEST(heard_by(b) == "[three]");
    std::string const longer(10'000, 'x');
    say(a, longer + "\n");
    serve_all(*s.l);
    BOOST_TEST((heard_by(a) == "[" + longer + "]"));
}

BOOST_AUTO_TEST_CASE(forgets_clients_that_disconnect) {
    serving s;
    {
        unique_fd const probe = s.client(); // as wg(8) checks whether a process listens
        serve_all(*s.l);
        BOOST_TEST(s.l->connections() == 1u);
        BOOST_TEST(line_session::alive == 1);
    }
    serve_all(*s.l);
    BOOST_TEST(s.l->connections() == 0u);
    BOOST_TEST(line_session::alive == 0);

    unique_fd const half = s.client(); // sends a request, shuts its side down, and still gets the answer
    say(half, "big\n");
    BOOST_REQUIRE(::shutdown(half.get(), SHUT_WR) == 0);
    std::string all;
    for (int i = 0; i < 1000 && (all.empty() || all.back() != '$'); ++i) {
        serve_all(*s.l);
        all += heard_by(half);
    }
    BOOST_TEST(all.size() == (1u << 20) + 2);
    BOOST_TEST(s.l->connections() == 0u);

    unique_fd rude = s.client(); // disconnects in the middle of its answer
    say(rude, "big\n");
    serve_all(*s.l);
    rude.reset();
    serve_all(*s.l);
    BOOST_TEST(s.l->connections() == 0u);
}

BOOST_AUTO_TEST_CASE(closes_the_connection_after_the_answer_to_an_error) {
    serving s;
    unique_fd const client = s.client();
    say(client, "end\nnot heard\n");
    serve_all(*s.l);
    BOOST_TEST(heard_by(client) == "[end]$");
    BOOST_TEST(s.l->connections() == 0u);
}

BOOST_AUTO_TEST_CASE(a_slow_reader_delays_no_other_client_and_holds_one_answer) {
    serving s;
    unique_fd const slow = s.client(), quick = s.client();
    std::string questions;
    for (int i = 0; i < 20; ++i) questions += "big\n";
    reply_text::most = 0;
    say(slow, questions);
    serve_all(*s.l); // has nothing to do although the slow client has not read
    BOOST_TEST(reply_text::most == (1u << 20) + 1);
    say(quick, "hello\n");
    serve_all(*s.l);
    BOOST_TEST(heard_by(quick) == "[hello]");
    std::size_t total = 0;
    for (int i = 0; i < 10'000 && total < 20 * ((1u << 20) + 1); ++i) {
        total += heard_by(slow).size();
        serve_all(*s.l);
    }
    BOOST_TEST(total == 20 * ((1u << 20) + 1));
    BOOST_TEST(reply_text::most == (1u << 20) + 1);
    BOOST_TEST(s.l->connections() == 2u);
}

BOOST_AUTO_TEST_CASE(closes_the_most_inactive_client_for_a_new_one) {
    serving s; // of 4
    std::vector<unique_fd> silent;
    for (int i = 0; i < 4; ++i) {
        silent.push_back(s.client());
        serve_all(*s.l);
    }
    say(silent[0], "not so silent\n");
    serve_all(*s.l);
    unique_fd const fifth = s.client();
    say(fifth, "hello\n");
    serve_all(*s.l);
    BOOST_TEST(heard_by(fifth) == "[hello]");
    BOOST_TEST(heard_by(silent[0]) == "[not so silent]");
    BOOST_TEST(heard_by(silent[1]) == "$"); // the client that was inactive longest
    BOOST_TEST(heard_by(silent[2]) == "");
    BOOST_TEST(s.l->connections() == 4u);
    BOOST_TEST(line_session::alive == 4);
}

BOOST_AUTO_TEST_CASE(closes_new_clients_at_once_when_no_descriptors_are_left) {
    serving s;
    unique_fd const client = s.client();
    rlimit before{};
    BOOST_REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    unique_fd const next_free(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    rlimit const none{static_cast<rlim_t>(next_free.get()) + 1, before.rlim_max};
    BOOST_REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    serve_all(*s.l);
    BOOST_REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    BOOST_TEST(heard_by(client) == "$");
    unique_fd const later = s.client();
    say(later, "hello\n");
    serve_all(*s.l);
    BOOST_TEST(heard_by(later) == "[hello]");
}

BOOST_AUTO_TEST_CASE(answers_many_clients_one_after_the_other) {
    serving s;
    for (int round = 0; round < 50; ++round) {
        unique_fd const client = s.client();
        std::string const text = std::to_string(round);
        say(client, text + "\n");
        serve_all(*s.l);
        BOOST_TEST(heard_by(client) == "[" + text + "]");
    }
}

BOOST_AUTO_TEST_SUITE_END()
