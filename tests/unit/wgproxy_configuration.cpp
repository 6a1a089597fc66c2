// SPDX-License-Identifier: BSL-1.0
#include "../../samples/wgproxy/options.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <unistd.h>

BOOST_AUTO_TEST_SUITE(wgproxy_configuration)

namespace {

using wgproxy::action, wgproxy::kind;

std::string const own_key = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="; // RFC 7748, section 6.1
std::string const peer_key = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
std::string const interface = "[Interface]\nPrivateKey = " + own_key + "\nAddress = 10.0.0.2\n";
std::string const tunnel = interface + "[Peer]\nPublicKey = " + peer_key + "\nEndpoint = 192.0.2.1:51820\n";

struct temporary_file {
    std::string name = "/tmp/wgproxy-test-XXXXXX";

    explicit temporary_file(std::string const& text) {
        int const fd = ::mkstemp(name.data());
        BOOST_TEST_REQUIRE(fd >= 0);
        BOOST_TEST(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
        ::close(fd);
    }
    temporary_file(temporary_file const&) = delete;
    ~temporary_file() { ::unlink(name.c_str()); }
};

struct outcome {
    wgproxy::settings got{};
    std::string why{}; ///< without the name of the file
    bool good = false;

    explicit outcome(std::string const& text) {
        temporary_file const file(text);
        good = wgproxy::read_configuration(file.name, got, why);
        for (std::size_t at; (at = why.find(file.name)) != std::string::npos;)
            why.replace(at, file.name.size(), "FILE");
    }
};

void refuses(std::string const& text, std::string const& error) { BOOST_TEST(outcome(text).why == error); }

struct parsed {
    wgproxy::command_line to{};
    std::string why{};
    action what;

    explicit parsed(std::vector<char const*> arguments) : what(wgproxy::read_command_line(arguments, to, why)) {}
};

} // namespace

// The sample file of wireproxy's README, with its keys.
BOOST_AUTO_TEST_CASE(accepts_a_file_of_wireproxy) {
    ::setenv("WGPROXY_TEST_KEY", own_key.c_str(), 1);
    outcome const o("[Interface]\nAddress = 10.200.200.2/32 # The subnet should be /32\n# MTU = 1420 (optional)\n"
                    "PrivateKey = $WGPROXY_TEST_KEY\nDNS = 10.200.200.1\nCheckAlive = 1.1.1.1\n\n"
                    "[Peer]\nPublicKey = " +
                    peer_key +
                    "\nEndpoint = my.ddns.example.com:51820\n"
                    "[TCPClientTunnel]\nBindAddress = 127.0.0.1:25565\nTarget = play.cubecraft.net:25565\n"
                    "[TCPServerTunnel]\nListenPort = 3422\nTarget = localhost:25545\n"
                    "[STDIOTunnel]\nTarget = ssh.myserver.net:22\n"
                    "[Socks5]\nBindAddress = 127.0.0.1:25344\n#Username = ...\n"
                    "[http]\nBindAddress = :25345\nUsername = alice\nPassword = a#b\n");
    ::unsetenv("WGPROXY_TEST_KEY");
    BOOST_TEST_REQUIRE(o.good, o.why);
    BOOST_TEST_REQUIRE(o.got.services.size() == 5u);
    auto const& s = o.got.services;
    BOOST_TEST((s[0].what == kind::tcp_client));
    BOOST_TEST(s[0].listen.text() == "127.0.0.1:25565");
    BOOST_TEST(s[0].target.text() == "play.cubecraft.net:25565");
    BOOST_TEST((s[1].what == kind::tcp_server));
    BOOST_TEST(s[1].listen.port == 3422);
    BOOST_TEST(s[1].target.text() == "localhost:25545");
    BOOST_TEST((s[2].what == kind::stdio));
    BOOST_TEST((s[3].what == kind::socks));
    BOOST_TEST((s[4].what == kind::http));
    BOOST_TEST(s[4].listen.text() == ":25345");
    BOOST_TEST(s[4].user == "alice");
    BOOST_TEST(s[4].password.view() == "a#b");
    BOOST_TEST(o.got.tunnel.peers[0].allowed_ips.size() == 2u); // everything, as wireproxy
    BOOST_TEST_REQUIRE(o.got.notes.size() == 1u);
    BOOST_TEST(o.got.notes[0] == "CheckAlive has no effect: wgproxy has no health endpoint");
}

BOOST_AUTO_TEST_CASE(takes_the_tunnel_from_another_file) {
    temporary_file const other(tunnel + "AllowedIPs = 10.0.0.0/8\n");
    outcome const o("WGConfig = " + other.name + "\n[Socks5]\nBindAddress = unix:/run/socks.sock\n");
    BOOST_TEST_REQUIRE(o.good, o.why);
    BOOST_TEST(o.got.tunnel.peers[0].allowed_ips.size() == 1u);
    BOOST_TEST(o.got.services[0].listen.path == "/run/socks.sock");
    BOOST_TEST(outcome("WGConfig = " + other.name + "\n" + tunnel).why ==
               "FILE: has WGConfig and also [Interface] or [Peer]; keep these in one of the two files");
    BOOST_TEST(outcome("WGConfig = /nowhere\n").why == "/nowhere: No such file or directory");
}

BOOST_AUTO_TEST_CASE(reads_tunnels_of_datagrams) {
    outcome const o(tunnel + "[UDPProxyTunnel]\nBindAddress = [::1]:53\nTarget = 10.0.0.1:53\nInactivityTimeout = 5\n"
                             "[UDPServerTunnel]\nListenPort = 123\nTarget = [::1]:123\n");
    BOOST_TEST_REQUIRE(o.good, o.why);
    BOOST_TEST((o.got.services[0].what == kind::udp_client));
    BOOST_TEST(o.got.services[0].listen.text() == "[::1]:53");
    BOOST_TEST(o.got.services[0].inactivity_s == 5u);
    BOOST_TEST(o.got.services[1].inactivity_s == 60u);
}

BOOST_AUTO_TEST_CASE(errors_name_the_line_and_the_mend) {
    refuses(tunnel + "[Socks5]\n", "FILE:7: [Socks5] has no BindAddress; add one, for instance BindAddress = "
                                   "127.0.0.1:1080");
    refuses(tunnel + "[Socks5]\nBindAddress = 1080\n", "FILE:8: BindAddress of [Socks5] is ADDRESS:PORT or unix:/PATH");
    refuses(tunnel + "[Socks5]\nTarget = a:1\n",
            "FILE:8: `Target` is no key of this section; mend its spelling, or remove the line");
    refuses(tunnel + "[Socks5]\nBindAddress = :1\nUsername = a\n",
            "FILE:7: [Socks5] has a Username, but no Password; add it");
    refuses(tunnel + "[http]\nBindAddress = :1\nPassword = a\n",
            "FILE:7: [http] has a Password, but no Username; add it");
    refuses(tunnel + "[TCPClientTunnel]\nBindAddress = :1\n",
            "FILE:7: [TCPClientTunnel] has no Target; add `Target = HOST:PORT`");
    refuses(tunnel + "[TCPClientTunnel]\nTarget = unix:/x\n", "FILE:8: Target of [TCPClientTunnel] is HOST:PORT");
    refuses(tunnel + "[TCPServerTunnel]\nTarget = a:1\n",
            "FILE:7: [TCPServerTunnel] has no ListenPort; add the port that peers connect to");
    refuses(tunnel + "[TCPServerTunnel]\nListenPort = 0\n",
            "FILE:8: ListenPort of [TCPServerTunnel] is a port from 1 to 65535");
    refuses(tunnel + "[UDPClientTunnel]\nBindAddress = unix:/x\n", "FILE:8: BindAddress of [UDPClientTunnel] is "
                                                                   "ADDRESS:PORT");
    refuses(tunnel + "[UDPClientTunnel]\nInactivityTimeout = 0\n",
            "FILE:8: InactivityTimeout of [UDPClientTunnel] is a number of seconds from 1 to 65535");
    refuses(
        tunnel + "[Sock5]\n",
        "FILE:7: this section is unknown; the sections are [Interface], [Peer], [Socks5], [http], [TCPClientTunnel], "
        "[TCPServerTunnel], [UDPClientTunnel], [UDPProxyTunnel], [UDPServerTunnel], [STDIOTunnel]");
    refuses(tunnel, "FILE: asks for no service; add a section such as [Socks5], or an option such as --socks");
    refuses("[Interface]\n",
            "FILE: has no PrivateKey; add the one of this host, which `wg genkey` makes, to [Interface]");
    refuses("[Interface]\nPrivateKey = " + own_key,
            "FILE: has no Address; add the address of this host in the tunnel to [Interface]");
    refuses(interface, "FILE: has no [Peer]; add one with its PublicKey");
    refuses("Config = x\n", "FILE:1: `Config` stands before any section, and is no key there; remove the line");
}

BOOST_AUTO_TEST_CASE(lists_keys_without_an_effect) {
    outcome const o(interface + "PostUp = x\n[Peer]\nPublicKey = " + peer_key + "\n[Socks5]\nBindAddress = :1\n");
    BOOST_TEST_REQUIRE(o.good, o.why);
    BOOST_TEST_REQUIRE(o.got.notes.size() == 1u);
    BOOST_TEST(o.got.notes[0].ends_with(":4: PostUp has no effect in wgproxy"));
}

BOOST_AUTO_TEST_CASE(reads_the_command_line) {
    parsed const p({"-c", "office.conf", "--socks=127.0.0.1:1080", "--http", ":3128", "--forward", "unix:/a=b:1", "-s",
                    "--remote", "80=unix:/b", "--forward-udp", "[::1]:53=[fd00::1]:53", "--remote-udp=53=localhost:53",
                    "stdio", "ssh:22"});
    BOOST_TEST_REQUIRE((p.what == action::serve), p.why);
    BOOST_TEST(p.to.config == "office.conf");
    BOOST_TEST(p.to.silent);
    std::string all;
    for (auto const& s : p.to.services) all += s.section + " " + s.listen.text() + " " + s.target.text() + "\n";
    BOOST_TEST(all == "--socks 127.0.0.1:1080 :0\n--http :3128 :0\n--forward unix:/a b:1\n--remote :80 unix:/b\n"
                      "--forward-udp [::1]:53 [fd00::1]:53\n--remote-udp :53 localhost:53\nstdio :0 ssh:22\n");
    BOOST_TEST((parsed({"-c", "x", "-n"}).what == action::check));
    BOOST_TEST((parsed({"--help"}).what == action::help));
    BOOST_TEST((parsed({"-v"}).what == action::version));
    for (auto const& o : wgproxy::table) BOOST_TEST(wgproxy::help_text().find(o.name) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(errors_of_the_command_line_say_what_is_expected) {
    BOOST_TEST(parsed({}).why == "the file with the tunnel is missing; give it by --config FILE");
    BOOST_TEST(parsed({"--socks"}).why == "--socks needs a value: BIND");
    BOOST_TEST(parsed({"--socks", "x"}).why == "--socks takes ADDRESS:PORT, :PORT or unix:/PATH, not `x`");
    BOOST_TEST(parsed({"--forward", "a:1"}).why ==
               "--forward takes ADDRESS:PORT=HOST:PORT, for instance 127.0.0.1:5432=db:5432, not `a:1`");
    BOOST_TEST((parsed({"--forward-udp", "unix:/a=b:1"}).what == action::invalid));
    BOOST_TEST(parsed({"--remote", "a:1=b:2"}).why ==
               "--remote takes PORT=HOST:PORT, for instance 8080=localhost:80, not `a:1=b:2`");
    BOOST_TEST(parsed({"--silent=1"}).why == "--silent takes no value");
    BOOST_TEST(parsed({"--daemon"}).why == "unknown argument `--daemon`; `wgproxy --help` lists all");
    BOOST_TEST(parsed({"stdio"}).why == "stdio takes HOST:PORT, for instance `stdio ssh.office.internal:22`");
}

BOOST_AUTO_TEST_SUITE_END()
