// SPDX-License-Identifier: BSL-1.0
// The options of the daemon, which are validated in the same way on the command line and in the environment.
#include "../../samples/wgd_options.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace {

using wgd_options::options, wgd_options::action, wgd_options::table;

using variables = std::vector<std::pair<std::string, std::string>>;

/// Unsets all variables of the table before and after a test.
struct environment {
    environment() { clear(); }
    ~environment() { clear(); }
    environment(environment const&) = delete;

    static void clear() {
        for (auto const& row : table)
            if (row.variable != nullptr) ::unsetenv(row.variable);
    }
};

struct outcome {
    action what{};
    options o{}; ///< its texts lie in `arguments`, or in the environment until the next `read`
    std::string why{};
    std::shared_ptr<std::vector<std::string>> arguments{};
};

outcome read(std::vector<std::string> arguments, variables const& set = {}) {
    environment::clear();
    for (auto const& [name, text] : set) ::setenv(name.c_str(), text.c_str(), 1);
    arguments.insert(arguments.begin(), "wgd");
    outcome got;
    got.arguments = std::make_shared<std::vector<std::string>>(std::move(arguments));
    std::vector<char*> pointers;
    for (std::string& a : *got.arguments) pointers.push_back(a.data());
    wg::os::error_text why;
    got.what = wgd_options::read(pointers, got.o, why);
    got.why = why.c_str();
    return got;
}

void is_refused(outcome const& got, std::string const& words) {
    BOOST_TEST((got.what == action::invalid));
    BOOST_TEST(got.why.find(words) != std::string::npos, "wanted `" << words << "` in: " << got.why);
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(wgd_options_table, environment)

BOOST_AUTO_TEST_CASE(without_arguments_options_have_their_defaults) {
    auto const got = read({"wg0"});
    BOOST_REQUIRE((got.what == action::serve));
    BOOST_TEST(got.o.interface_name == "wg0");
    BOOST_TEST(!got.o.foreground);
    BOOST_TEST(got.o.workers == wg::os::threads::processors());
    BOOST_TEST(got.o.memory_mib == 0u);
    BOOST_TEST(got.o.busy_poll);
    BOOST_TEST(!got.o.log_asked);
    BOOST_TEST((got.o.level == wgd_options::log_level::error));
    BOOST_TEST(got.o.tun_fd == -1);
}

BOOST_AUTO_TEST_CASE(each_option_is_read_from_the_command_line_and_from_the_environment) {
    auto const agree = [](std::vector<std::string> arguments, variables const& set, auto member, auto wanted) {
        arguments.push_back("wg0");
        for (auto const& got : {read(arguments), read({"wg0"}, set)}) {
            BOOST_REQUIRE_MESSAGE((got.what == action::serve), got.why);
            BOOST_TEST((got.o.*member == wanted));
        }
    };
    agree({"--workers", "3"}, {{"WG_WORKERS", "3"}}, &options::workers, 3u);
    agree({"--workers=3"}, {{"WG_WORKERS", "3"}}, &options::workers, 3u);
    agree({"--memory", "64"}, {{"WG_MEMORY_MIB", "64"}}, &options::memory_mib, 64u);
    agree({"--no-busy-poll"}, {{"WG_BUSY_POLL", "0"}}, &options::busy_poll, false);
    agree({"--no-congestion-drop"}, {{"WG_CONGESTION_DROP", "0"}}, &options::congestion_drop, false);
    agree({"--ratchet", "daily"}, {{"WG_RATCHET", "daily"}}, &options::ratchet_s, 86400u);
    agree({"--ratchet", "600"}, {{"WG_RATCHET", "600"}}, &options::ratchet_s, 600u);
    agree({"--ratchet", "0"}, {{"WG_RATCHET", "0"}}, &options::ratchet_s, 0u);
    agree({"--foreground"}, {{"WG_PROCESS_FOREGROUND", "1"}}, &options::foreground, true);
    agree({"-f"}, {{"WG_PROCESS_FOREGROUND", "1"}}, &options::foreground, true);
    for (auto const& got : {read({"--offload-off", "gso,uso", "wg0"}), read({"wg0"}, {{"WG_OFFLOAD_OFF", "gso,uso"}})})
        BOOST_TEST((!got.o.offloads.gso && !got.o.offloads.uso && got.o.offloads.gro));
}

BOOST_AUTO_TEST_CASE(the_command_line_wins_over_the_environment) {
    BOOST_TEST(read({"--workers", "2", "wg0"}, {{"WG_WORKERS", "5"}}).o.workers == 2u);
    BOOST_TEST(read({"--busy-poll", "wg0"}, {{"WG_BUSY_POLL", "0"}}).o.busy_poll);
    BOOST_TEST(!read({"wg0", "--no-foreground"}, {{"WG_PROCESS_FOREGROUND", "1"}}).o.foreground);
}

BOOST_AUTO_TEST_CASE(an_empty_variable_is_not_set) {
    variables all;
    for (auto const& row : table)
        if (row.variable != nullptr) all.push_back({row.variable, ""});
    auto const got = read({"wg0"}, all);
    BOOST_REQUIRE_MESSAGE((got.what == action::serve), got.why);
    BOOST_TEST(!got.o.log_asked);
    BOOST_TEST(got.o.workers == wg::os::threads::processors());
}

BOOST_AUTO_TEST_CASE(a_wrong_value_is_reported_with_its_option_and_the_allowed_values) {
    for (std::string const text : {"0", "65", "many", "-1", "4294967297"}) {
        is_refused(read({"--workers", text, "wg0"}), "--workers takes a number from 1 to 64, not " + text);
        is_refused(read({"wg0"}, {{"WG_WORKERS", text}}), "WG_WORKERS takes a number from 1 to 64, not " + text);
    }
    is_refused(read({"wg0", "--workers"}), "--workers takes a number from 1 to 64, not ");
    is_refused(read({"--memory=1x", "wg0"}), "--memory takes a number from 1 to 1048576, not 1x");
    is_refused(read({"wg0"}, {{"WG_BUSY_POLL", "maybe"}}), "WG_BUSY_POLL takes 1 (yes) or 0 (no), not maybe");
    is_refused(read({"wg0"}, {{"WG_OFFLOAD_OFF", "gso,warp"}}), "WG_OFFLOAD_OFF takes frames");
    is_refused(read({"wg0"}, {{"WG_CPU_OFF", "avx512,mmx"}}), "not avx512,mmx");
}

BOOST_AUTO_TEST_CASE(reports_unknown_options_and_a_second_interface) {
    is_refused(read({"--frobnicate", "wg0"}), "unknown option --frobnicate");
    is_refused(read({"--workers-and-more", "3", "wg0"}), "unknown option --workers-and-more");
    is_refused(read({"--foreground=1", "wg0"}), "unknown option --foreground=1");
    is_refused(read({"-x", "wg0"}), "unknown option -x");
    if (!wg::os::service_manager::exists) is_refused(read({"--service", "install", "wg0"}), "unknown option --service");
    is_refused(read({"-", "wg0"}), "unknown option -");
    is_refused(read({"wg0", "wg1"}), "not also wg1");
    is_refused(read({}), "interface is missing");
}

BOOST_AUTO_TEST_CASE(an_unknown_log_level_means_error_as_in_wireguard_go) {
    using wgd_options::log_level;
    for (auto const& [text, level] : {std::pair("verbose", log_level::verbose), std::pair("debug", log_level::verbose),
                                      std::pair("silent", log_level::silent), std::pair("info", log_level::error)}) {
        auto const got = read({"wg0"}, {{"LOG_LEVEL", text}});
        BOOST_REQUIRE((got.what == action::serve));
        BOOST_TEST((got.o.level == level));
        BOOST_TEST(got.o.log_asked);
    }
}

BOOST_AUTO_TEST_CASE(inherited_descriptors_must_be_open_not_standard_and_different) {
    wg::os::unique_fd const one(::open("/dev/null", O_RDWR)), other(::open("/dev/null", O_RDWR));
    std::string const first = std::to_string(one.get()), second = std::to_string(other.get());
    auto const got = read({"wg0"}, {{"WG_TUN_FD", first}, {"WG_UAPI_FD", second}});
    BOOST_REQUIRE_MESSAGE((got.what == action::serve), got.why);
    BOOST_TEST(got.o.tun_fd == one.get());
    BOOST_TEST(got.o.uapi_fd == other.get());
    is_refused(read({"wg0"}, {{"WG_TUN_FD", first}, {"WG_UAPI_FD", first}}), "must be two descriptors");
    for (std::string const variable : {"WG_TUN_FD", "WG_UAPI_FD"})
        for (std::string const text : {"0", "1", "2", "1023", "-1", "three", "99999999999"})
            is_refused(read({"wg0"}, {{variable, text}}),
                       variable + " takes the number of an open descriptor, 3 or greater, not " + text);
}

BOOST_AUTO_TEST_CASE(bind_takes_an_address_or_the_name_of_an_interface) {
    auto const v4 = read({"--bind", "192.0.2.1", "wg0"});
    BOOST_REQUIRE((v4.what == action::serve));
    BOOST_TEST((v4.o.bind_address.address == wg::ip_address::v4(192, 0, 2, 1)));
    BOOST_TEST(v4.o.bind_interface == nullptr);
    auto const v6 = read({"wg0"}, {{"WG_BIND", "fe80::1%lo"}});
    BOOST_REQUIRE((v6.what == action::serve));
    BOOST_TEST((v6.o.bind_address.address.kind == wg::family::v6));
    BOOST_TEST(v6.o.bind_address.scope_id == if_nametoindex("lo"));
    auto const name = read({"--bind=eth0.100", "wg0"}, {{"WG_BIND", "192.0.2.1"}});
    BOOST_REQUIRE((name.what == action::serve));
    BOOST_TEST(std::string(name.o.bind_interface) == "eth0.100");
    BOOST_TEST(!name.o.bind_address); // the command line replaces the whole value
    for (std::string const wrong : {"192.0.2.256", "1.2.3", "fe80::1%none-such", "2001:db8::x", "192.0.2.1:51820",
                                    "a-name-that-is-too-long", "a/b", "a b", ""})
        is_refused(read({"--bind", wrong, "wg0"}), "--bind takes an IPv4 or IPv6 address of this host, or the name of "
                                                   "an interface, not " +
                                                       wrong);
}

BOOST_AUTO_TEST_CASE(the_directory_of_the_socket_is_an_absolute_path) {
    BOOST_TEST(std::string(read({"wg0"}).o.socket_directory) == "/var/run/wireguard");
    BOOST_TEST(std::string(read({"--socket-dir=/run/x", "wg0"}).o.socket_directory) == "/run/x");
    BOOST_TEST(std::string(read({"wg0"}, {{"WG_SOCKET_DIR", "/run/y"}}).o.socket_directory) == "/run/y");
    is_refused(read({"--socket-dir", "run", "wg0"}), "--socket-dir takes an absolute path, not run");
}

BOOST_AUTO_TEST_CASE(help_is_shown_despite_mistakes_and_has_every_option) {
    BOOST_TEST((read({"--frobnicate", "--help"}, {{"WG_WORKERS", "x"}}).what == action::help));
    BOOST_TEST((read({"-h"}).what == action::help));
    BOOST_TEST((read({"wg0", "--version"}).what == action::version));
    std::string help;
    wgd_options::print_help([&](std::string_view text) { help += text; });
    std::set<std::string> names;
    for (auto const& row : table) {
        for (char const* const name : {row.name, row.variable}) {
            if (name == nullptr) continue;
            if (row.exists) BOOST_TEST(help.find(name) != std::string::npos, name << " is missing in the help");
            BOOST_TEST(names.insert(name).second, name << " stands twice in the table");
        }
        BOOST_TEST((row.name != nullptr || row.variable != nullptr));
        BOOST_TEST((help.find(row.help) != std::string::npos) == row.exists, row.help);
    }
}

BOOST_AUTO_TEST_SUITE_END()
