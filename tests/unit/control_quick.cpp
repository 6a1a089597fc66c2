// SPDX-License-Identifier: BSL-1.0
#include <boost/test/unit_test.hpp>

#include <wg/control/quick.hpp>

#include <cstdlib>
#include <fstream>
#include <string>
#include <unistd.h>

BOOST_AUTO_TEST_SUITE(control_quick)

namespace {

namespace quick = wg::quick;
using wg::status;

// RFC 7748, section 6.1, in base64: the private key of Alice, and the public keys of Alice and Bob.
std::string const alice_private = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
std::string const alice_public = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
std::string const bob_public = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

std::string error_of(std::string const& text, quick::options const& with = {}) {
    std::string why;
    auto const got = quick::parse(text, "office.conf", why, with);
    return got ? "accepted" : why;
}

quick::configuration read(std::string const& text, quick::options const& with = {}) {
    std::string why;
    auto got = quick::parse(text, "office.conf", why, with);
    BOOST_TEST_REQUIRE(bool(got), why);
    BOOST_TEST(why.empty());
    return std::move(*got);
}

std::string base64(wg::key_view key) { return std::string(wg::text::print_base64_key(key).view()); }

std::string in_interface(std::string const& line) { return "[Interface]\n" + line + "\n"; }
std::string in_peer(std::string const& line) { return "[Peer]\nPublicKey = " + bob_public + "\n" + line + "\n"; }

std::string allowed_ips(quick::peer const& of) {
    std::string all;
    for (auto const& prefix : of.allowed_ips) all += std::string(wg::text::print(prefix).view()) + " ";
    return all;
}

void fails_with(std::string const& text, std::string const& error) { BOOST_TEST(error_of(text) == error); }
void fails_about(std::string const& text, std::string const& words) {
    std::string const error = error_of(text);
    BOOST_TEST(error.find(words) != std::string::npos, "wanted `" << words << "` in: " << error);
    BOOST_TEST(error.find('\n') == std::string::npos);
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_every_key_of_a_file) {
    auto const c = read("# the office\n"
                        "[Interface]\n"
                        "PrivateKey = " +
                        alice_private +
                        "\n"
                        "Address = 10.0.0.2/24, fd00::2/64\n"
                        "ListenPort = 51820\n"
                        "FwMark = 0xca6c\n"
                        "MTU = 1380\n"
                        "DNS = 10.0.0.1, office.internal, fd00::1\n"
                        "\n"
                        "[Peer]\n"
                        "PublicKey = " +
                        bob_public +
                        "\n"
                        "PresharedKey = " +
                        alice_public +
                        "\n"
                        "AllowedIPs = 10.0.0.0/24, fd00::/64\n"
                        "Endpoint = vpn.example.com:51821\n"
                        "PersistentKeepalive = 25\n"
                        "[Peer]\n"
                        "PublicKey = " +
                        alice_public +
                        "\n"
                        "Endpoint = [2001:db8::1]:7\n");
    BOOST_TEST(base64(c.private_key.expose()) == alice_private);
    BOOST_TEST_REQUIRE(c.addresses.size() == 2u);
    BOOST_TEST((c.addresses[0] == quick::interface_address{wg::ip_address::v4(10, 0, 0, 2), 24}));
    BOOST_TEST((c.addresses[1] == quick::interface_address{*wg::text::parse_address("fd00::2"), 64}));
    BOOST_TEST(c.listen_port == 51820);
    BOOST_TEST(c.fwmark == 0xca6cu);
    BOOST_TEST(c.mtu_bytes == 1380);
    BOOST_TEST_REQUIRE(c.dns_servers.size() == 2u);
    BOOST_TEST((c.dns_servers[1] == *wg::text::parse_address("fd00::1")));
    BOOST_TEST(c.search_domains == std::vector<std::string>{"office.internal"}, boost::test_tools::per_element());
    BOOST_TEST(c.ignored.empty());
    BOOST_TEST_REQUIRE(c.peers.size() == 2u);
    BOOST_TEST(base64(c.peers[0].public_key) == bob_public);
    BOOST_TEST(base64(c.peers[0].preshared_key.expose()) == alice_public);
    BOOST_TEST(allowed_ips(c.peers[0]) == "10.0.0.0/24 fd00::/64 ");
    BOOST_TEST(c.peers[0].endpoint.host == "vpn.example.com");
    BOOST_TEST(c.peers[0].endpoint.port == 51821);
    BOOST_TEST(!c.peers[0].endpoint.address);
    BOOST_TEST(c.peers[0].persistent_keepalive_s == 25);
    BOOST_TEST(c.peers[0].line == 10u);
    BOOST_TEST(c.peers[1].endpoint.host == "2001:db8::1");
    BOOST_TEST(wg::text::print(c.peers[1].endpoint.address).view() == "[2001:db8::1]:7");
    BOOST_TEST(c.peers[1].preshared_key.is_zero());
    BOOST_TEST(c.peers[1].persistent_keepalive_s == 0);
}

BOOST_AUTO_TEST_CASE(an_empty_file_is_an_empty_configuration) {
    for (std::string const text : {"", "\n", "# nothing", "[Interface]", "\r\n\r\n", "\xef\xbb\xbf"}) {
        auto const c = read(text);
        BOOST_TEST((c.private_key.is_zero() && c.peers.empty() && c.addresses.empty() && c.mtu_bytes == 0));
    }
}

BOOST_AUTO_TEST_CASE(accepts_any_case_white_space_comments_and_line_ends) {
    auto const c = read("\xef\xbb\xbf; a comment\r\n"
                        "  [INTERFACE]  # the own end\r\n"
                        "\tprivatekey=" +
                        alice_private.substr(0, 20) + " " + alice_private.substr(20) +
                        "#comment\r\n"
                        "Listen Port = 5 1820\v\f\r\n"
                        "ADDRESS = 10.0.0.2\t10.0.0.3/8,,  10.0.0.4,\r\n"
                        "  #[Peer]\r\n"
                        "[ peer ]\r\n"
                        "PUBLICKEY\t=\t" +
                        bob_public +
                        "\r\n"
                        "allowedips = 10.0.0.0 / 24,10.1.0.0/16 # , 10.2.0.0/16");
    BOOST_TEST(base64(c.private_key.expose()) == alice_private);
    BOOST_TEST(c.listen_port == 51820);
    BOOST_TEST(c.addresses.size() == 3u);
    BOOST_TEST(c.addresses[0].bits == 32);
    BOOST_TEST(c.addresses[1].bits == 8);
    BOOST_TEST_REQUIRE(c.peers.size() == 1u);
    BOOST_TEST(allowed_ips(c.peers[0]) == "10.0.0.0/24 10.1.0.0/16 ");
}

BOOST_AUTO_TEST_CASE(lists_add_up_and_other_keys_take_the_last_value) {
    auto const c = read("[Interface]\nPrivateKey = " + bob_public + "\nPrivateKey = " + alice_private +
                        "\nMTU = 1280\nMTU = 1400\nMTU =\nAddress = 10.0.0.1\nDNS = 10.0.0.9\n" +
                        in_peer("Endpoint = a:1\nEndpoint = b:2\nAllowedIPs = 10.0.0.0/8\nAllowedIPs = ::/0") +
                        "[Interface]\nAddress = 10.0.0.2\nDNS = example.com\n");
    BOOST_TEST(base64(c.private_key.expose()) == alice_private);
    BOOST_TEST(c.mtu_bytes == 1400);
    BOOST_TEST(c.addresses.size() == 2u);
    BOOST_TEST(c.dns_servers.size() == 1u);
    BOOST_TEST(c.search_domains.size() == 1u);
    BOOST_TEST(c.peers[0].endpoint.host == "b");
    BOOST_TEST(allowed_ips(c.peers[0]) == "10.0.0.0/8 ::/0 ");
}

BOOST_AUTO_TEST_CASE(a_second_section_of_a_peer_changes_the_first) {
    auto const c = read(in_peer("AllowedIPs = 10.0.0.0/8\nEndpoint = a:1\nPersistentKeepalive = 5") +
                        "[Peer]\nPublicKey = " + alice_public + "\n" +
                        in_peer("AllowedIPs = 10.1.0.0/16\nPresharedKey = " + alice_public));
    BOOST_TEST_REQUIRE(c.peers.size() == 2u);
    BOOST_TEST(base64(c.peers[0].public_key) == bob_public);
    BOOST_TEST(base64(c.peers[1].public_key) == alice_public);
    BOOST_TEST(allowed_ips(c.peers[0]) == "10.1.0.0/16 ");
    BOOST_TEST(c.peers[0].endpoint.host == "a");
    BOOST_TEST(c.peers[0].persistent_keepalive_s == 5);
    BOOST_TEST(base64(c.peers[0].preshared_key.expose()) == alice_public);
}

BOOST_AUTO_TEST_CASE(merges_thousands_of_sections) {
    std::string text;
    for (unsigned i = 0; i < 6000; ++i) {
        wg::byte_array<32> key{};
        wg::store_be32(key.data(), i % 4000);
        text += "[Peer]\nPublicKey = " + base64(key) + "\nAllowedIPs = 10." + std::to_string(i / 256) + "." +
                std::to_string(i % 256) + ".0/24\n";
    }
    auto const c = read(text);
    BOOST_TEST_REQUIRE(c.peers.size() == 4000u);
    BOOST_TEST(wg::load_be32(c.peers[1234].public_key.data()) == 1234u);
    BOOST_TEST(allowed_ips(c.peers[1234]) == "10.20.114.0/24 "); // the section 5234
    BOOST_TEST(allowed_ips(c.peers[3000]) == "10.11.184.0/24 ");
}

BOOST_AUTO_TEST_CASE(allowed_ips_may_be_removed_again) {
    auto const c = read(in_peer("AllowedIPs = 10.0.0.0/8, +10.1.0.0/16, -10.0.0.0/8\nAllowedIPs = -10.9.0.0/16"));
    BOOST_TEST(allowed_ips(c.peers[0]) == "10.1.0.0/16 ");
    BOOST_TEST(allowed_ips(read(in_peer("AllowedIPs = 10.1.2.3/8, 10.0.0.0/024, 0.0.0.0/0")).peers[0]) ==
               "10.0.0.0/8 10.0.0.0/24 0.0.0.0/0 ");
}

BOOST_AUTO_TEST_CASE(lists_keys_that_only_wg_quick_acts_on) {
    auto const c = read("[Interface]\nPostUp = wg set %i private-key <(cat key) # comment\nTable = off\npredown=x\n"
                        "PreUp =\nPostDown = a = b\nSaveConfig = true\n");
    std::string all;
    for (auto const& key : c.ignored) all += key.name + " " + std::to_string(key.line) + ", ";
    BOOST_TEST(all == "PostUp 2, Table 3, PreDown 4, PreUp 5, PostDown 6, SaveConfig 7, ");
}

BOOST_AUTO_TEST_CASE(reads_numbers_as_wg_does) {
    BOOST_TEST(read(in_interface("FwMark = off")).fwmark == 0u);
    BOOST_TEST(read(in_interface("FwMark = OFF")).fwmark == 0u);
    BOOST_TEST(read(in_interface("FwMark = 0xFFFFffff")).fwmark == 0xffffffffu);
    BOOST_TEST(read(in_interface("FwMark = 4294967295")).fwmark == 0xffffffffu);
    for (std::string const bad : {"0x100000000", "4294967296", "0x", "-1", "1 x", "0xg", "0X1", "on", ""})
        fails_about(in_interface("FwMark = " + bad), "it is `off`, or a number from 0 to 0xffffffff");
    BOOST_TEST(read(in_peer("PersistentKeepalive = off")).peers[0].persistent_keepalive_s == 0);
    BOOST_TEST(read(in_peer("PersistentKeepalive = 65535")).peers[0].persistent_keepalive_s == 65535);
    for (std::string const bad : {"65536", "-1", "on", "25s", ""})
        fails_about(in_peer("PersistentKeepalive = " + bad), "it is `off`, or seconds from 0 to 65535");
    BOOST_TEST(read(in_interface("ListenPort = 0")).listen_port == 0);
    for (std::string const bad : {"65536", "http", ""})
        fails_about(in_interface("ListenPort = " + bad), "a port is a number from 0 to 65535");
    BOOST_TEST(read(in_interface("MTU = 68")).mtu_bytes == 68);
    BOOST_TEST(read(in_interface("MTU = 65535")).mtu_bytes == 65535);
    for (std::string const bad : {"67", "65536", "auto"}) fails_about(in_interface("MTU = " + bad), "from 68 to 65535");
}

BOOST_AUTO_TEST_CASE(reads_endpoints_as_wg_does) {
    auto const print = [](std::string const& text) {
        auto const where = quick::parse_remote(text);
        return where ? where->host + " " + std::to_string(where->port) + (where->address ? " address" : "") : "invalid";
    };
    BOOST_TEST(print("192.0.2.1:51820") == "192.0.2.1 51820 address");
    BOOST_TEST(print("[2001:db8::1]:1") == "2001:db8::1 1 address");
    BOOST_TEST(print("2001:db8::1:65535") == "2001:db8::1 65535 address");
    BOOST_TEST(print("[fe80::1%7]:1") == "fe80::1%7 1 address");
    BOOST_TEST(print("vpn_1.Example.com.:1") == "vpn_1.Example.com. 1");
    BOOST_TEST(print("[vpn.example.com]:1") == "vpn.example.com 1");
    for (std::string const bad : {"",
                                  ":",
                                  ":1",
                                  "host",
                                  "host:",
                                  "host:0",
                                  "host:65536",
                                  "host:1x",
                                  "ho st:1",
                                  "[::1]",
                                  "[::1]1",
                                  "[::1:1",
                                  "300.0.0.1:1",
                                  "192.0.2:1",
                                  "::g:1",
                                  "[]:1",
                                  "a..b:1",
                                  ".a:1",
                                  "[fe80::1%nowhere]:1",
                                  "h\xc3\xb6st:1"})
        BOOST_TEST(print(bad) == "invalid", bad);
    BOOST_TEST(print(std::string(64, 'a') + ":1") == "invalid");
    BOOST_TEST(print(std::string(63, 'a') + ".b:1") != "invalid");
}

BOOST_AUTO_TEST_CASE(errors_name_file_line_and_mend) {
    fails_with(in_peer("\n\nPublicKey = " + bob_public.substr(1)),
               "office.conf:5: PublicKey of [Peer] has 43 characters; a key has 44, for instance from `wg genkey`");
    fails_with(in_interface("PrivateKey = "), "office.conf:2: PrivateKey of [Interface] has no value; a key has 44 "
                                              "characters, for instance from `wg genkey`");
    fails_with(in_interface("PrivateKey = " + std::string(44, 'a')),
               "office.conf:2: PrivateKey of [Interface] is no key; a key is 44 characters of base64 that end in `=`, "
               "for instance from `wg genkey`");
    fails_with(in_peer("PresharedKey = x"),
               "office.conf:3: PresharedKey of [Peer] has 1 character; a key has 44, for instance from `wg genpsk`");
    fails_with("[Interface]\n[Peer]\nAllowedIPs = ::/0\n[Peer]\n",
               "office.conf:2: this [Peer] has no PublicKey; add the public key of the peer, which `wg pubkey` prints "
               "there");
    fails_with(in_interface("Adress = 10.0.0.1"),
               "office.conf:2: `Adress` is no key of [Interface]; mend its spelling, "
               "or remove the line");
    fails_with(in_peer("Address = 10.0.0.1"),
               "office.conf:3: `Address` is a key of [Interface], not of [Peer]; move it below `[Interface]`");
    fails_with(in_interface("AllowedIPs = ::/0"),
               "office.conf:2: `AllowedIPs` is a key of [Peer], not of [Interface]; move it below `[Peer]`");
    fails_with("Address = 10.0.0.1\n",
               "office.conf:1: `Address` stands before any section; put `[Interface]` or `[Peer]` before it");
    fails_with("[Socks5]\n", "office.conf:1: `Socks5` is no section; the sections are [Interface] and [Peer]");
    fails_with("\n[Interface\n", "office.conf:2: a section is a line `[NAME]`; the closing bracket is missing");
    fails_with("[Interface]\nPrivateKey\n", "office.conf:2: this line is neither `[SECTION]` nor `KEY = VALUE`; mend "
                                            "it, or put `#` before it");
    fails_with(in_interface("Address = 10.0.0.1/33"), "office.conf:2: Address has `10.0.0.1/33`; it is addresses such "
                                                      "as 10.0.0.2/24, with commas between them");
    fails_with(in_peer("AllowedIPs = 10.0.0.1,,10.0.0.2"), "office.conf:3: AllowedIPs has an empty place; it is "
                                                           "networks such as 10.0.0.0/24, with commas between them");
    fails_about(in_peer("AllowedIPs = 10.0.0.0/24 10.1.0.0/24"), "AllowedIPs has `10.0.0.0/2410.1.0.0/24`");
    fails_about(in_interface("DNS = 1.1.1.1;8.8.8.8"), "DNS has `1.1.1.1;8.8.8.8`");
    fails_about(in_interface("DNS = 1.1.1"), "DNS has `1.1.1`");
    fails_about(in_peer("Endpoint = vpn.example.com"), "Endpoint is `vpn.example.com`; it is HOST:PORT");
    fails_about(std::string("[Interface]\nMTU = 14\0"
                            "20\n",
                            21),
                "office.conf:2: this is no text in UTF-8");
    fails_about("\xff\xfe[", "office.conf:1: this is no text in UTF-8");
}

BOOST_AUTO_TEST_CASE(errors_contain_no_part_of_a_key_wherever_it_stands) {
    std::string const half = alice_private.substr(0, 22);
    for (std::string const line :
         {"@", "PrivateKey @", "PrivateKey : @", "@ = x", "MTU = @", "FwMark = @", "[@]", "[@", "DNS = @!",
          "Address = @", "ListenPort = @", "PrivateKey = @@", "PrivateKey = @*", "@ =", "= @", "Private Key @ = 1",
          "Endpoint = @", "AllowedIPs = @", "PersistentKeepalive = @"})
        for (std::string const& key : {alice_private, alice_private.substr(0, 43), half}) {
            std::string with_key = line;
            for (std::size_t at; (at = with_key.find('@')) != std::string::npos;) with_key.replace(at, 1, key);
            for (std::string const& text : {in_interface(with_key), in_peer(with_key), with_key}) {
                std::string const error = error_of(text);
                BOOST_TEST(error.find(half) == std::string::npos, error);
            }
        }
}

BOOST_AUTO_TEST_CASE(errors_contain_no_control_characters) {
    BOOST_TEST(error_of(in_interface("MTU = 1\x1b[2J")) ==
               "office.conf:2: MTU is something else; it is a number from 68 to 65535, mostly 1420");
    BOOST_TEST(error_of(in_interface("M\x7fU = 1")) ==
               "office.conf:2: this is no key of [Interface]; mend its spelling, or remove the line");
}

namespace {
/// Records entries as text, and answers by the key.
quick::verdict record(void* context, quick::entry const& what, std::string& why) {
    static_cast<std::string*>(context)->append(std::to_string(what.line) + " [" + std::string(what.section) + "] " +
                                               std::string(what.key) + "=" + std::string(what.value) + "|" +
                                               std::string(what.raw_value) + "\n");
    if (what.key == "Unknown" || what.section == "Unknown") return quick::verdict::unknown;
    if (what.key != "Bad") return quick::verdict::taken;
    why = "Bad has no good value";
    return quick::verdict::wrong;
}
} // namespace

BOOST_AUTO_TEST_CASE(an_extension_gets_what_the_parser_does_not_know) {
    std::string seen;
    quick::options const with{.extension = record, .context = &seen};
    auto const c = read("WGConfig = other.conf\n[Interface]\nCheckAlive = 1.1.1.1\nMTU = 1300\n[Socks5]\n"
                        "MTU = 5\nPassword = a#b\n" +
                            in_peer("Weight = 3") + "[ Socks5 ]\n",
                        with);
    BOOST_TEST(seen == "1 [] WGConfig=other.conf|other.conf\n"
                       "3 [Interface] CheckAlive=1.1.1.1|1.1.1.1\n"
                       "5 [Socks5] =|\n"
                       "6 [Socks5] MTU=5|5\n"
                       "7 [Socks5] Password=a|a#b\n"
                       "10 [Peer] Weight=3|3\n"
                       "11 [Socks5] =|\n");
    BOOST_TEST(c.mtu_bytes == 1300);
    BOOST_TEST(error_of("[Socks5]\n\nBad = 1", with) == "office.conf:3: Bad has no good value");
    BOOST_TEST(error_of("[Socks5]\nUnknown = 1", with) ==
               "office.conf:2: `Unknown` is no key of this section; mend its spelling, or remove the line");
    BOOST_TEST(error_of("[Unknown]", with) ==
               "office.conf:1: `Unknown` is no section; the sections are [Interface] and [Peer]");
}

BOOST_AUTO_TEST_CASE(takes_values_from_variables_if_asked) {
    static std::string const key = alice_private;
    quick::options const with{.variable = [](char const* name) -> char const* {
        return std::string_view(name) == "OFFICE_KEY" ? key.c_str() : nullptr;
    }};
    BOOST_TEST(base64(read(in_interface("PrivateKey = $OFFICE_KEY"), with).private_key.expose()) == alice_private);
    BOOST_TEST(error_of(in_interface("DNS = $$OFFICE_KEY"), with).find("DNS has `$OFFICE_KEY`") != std::string::npos);
    BOOST_TEST(error_of(in_interface("PrivateKey = $OTHER"), with) ==
               "office.conf:2: `PrivateKey` takes its value from the environment, where `OTHER` is not set; set it, or "
               "write the value here");
    fails_about(in_interface("PrivateKey = $OFFICE_KEY"), "has 11 characters");
}

BOOST_AUTO_TEST_CASE(resolves_zones_of_endpoints_if_asked) {
    quick::options const with{
        .resolve_zone = [](char const* name) -> unsigned { return std::string_view(name) == "eth0" ? 4 : 0; }};
    auto const c = read(in_peer("Endpoint = [fe80::1%eth0]:7"), with);
    BOOST_TEST(wg::text::print(c.peers[0].endpoint.address).view() == "[fe80::1%4]:7");
    fails_about(in_peer("Endpoint = [fe80::1%eth0]:7"), "in a zone, an interface of this host");
}

BOOST_AUTO_TEST_CASE(becomes_changes_of_a_device) {
    auto const c = read("[Interface]\nPrivateKey = " + alice_private + "\nListenPort = 7\nFwMark = 9\n" +
                        in_peer("AllowedIPs = ::/0\nPresharedKey = " + alice_public +
                                "\nEndpoint = 192.0.2.1:1\nPersistentKeepalive = 3"));
    wg::secret_vector<wg::change> changes;
    BOOST_TEST(quick::append_changes(c, changes));
    std::vector<wg::change::kind> kinds;
    for (auto const& change : changes.view()) kinds.push_back(change.what());
    using enum wg::change::kind;
    BOOST_TEST((kinds == std::vector{private_key, listen_port, fwmark, peer, replace_allowed_ips, preshared_key,
                                     endpoint, persistent_keepalive, allowed_ip}));
    BOOST_TEST(base64(changes.view()[0].key()) == alice_private);
    BOOST_TEST(wg::text::print(changes.view()[6].where()).view() == "192.0.2.1:1");
}

namespace {

/// A file with this text, as long as the object lives.
struct temporary_file {
    std::string name = "/tmp/wg-quick-test-XXXXXX";

    explicit temporary_file(std::string const& text) {
        int const fd = ::mkstemp(name.data());
        BOOST_TEST_REQUIRE(fd >= 0);
        BOOST_TEST(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
        ::close(fd);
    }
    temporary_file(temporary_file const&) = delete;
    ~temporary_file() { ::unlink(name.c_str()); }
};

std::string output_of(std::string const& command) {
    std::string out;
    std::FILE* const pipe = ::popen(command.c_str(), "r");
    BOOST_TEST_REQUIRE(pipe != nullptr);
    char part[512];
    for (std::size_t size; (size = std::fread(part, 1, sizeof part, pipe)) > 0;) out.append(part, size);
    ::pclose(pipe);
    return out;
}

/// Whether `wg setconf` accepts the text. It reads the text before it finds that the interface does not exist.
bool wg_accepts(std::string const& text) {
    temporary_file const file(text);
    std::string const said = output_of("WG_ENDPOINT_RESOLUTION_RETRIES=0 wg setconf wg-none " + file.name + " 2>&1");
    bool const read = said.find("Unable to modify interface") != std::string::npos;
    bool const refused = said.find("Configuration parsing error") != std::string::npos ||
                         said.find("Invalid configuration") != std::string::npos;
    BOOST_TEST(read != refused, said);
    return read;
}

} // namespace

BOOST_AUTO_TEST_CASE(agrees_with_wg_about_lines) {
    if (std::system("command -v wg > /dev/null") != 0) {
        BOOST_TEST_MESSAGE("skipped: wg is not installed");
        return;
    }
    std::vector<std::string> texts;
    for (std::string const value : {"", "0", "1", "off", "OFF", "0x10", "0X10", "0x", "65535", "65536", "4294967296",
                                    "-1", "+1", "1 2", "1#2", "1.0", "007"}) {
        texts.push_back(in_interface("FwMark = " + value));
        // wg lets the C library cut a port to 16 bits
        bool const cut = value == "65536" || value == "4294967296" || value == "+1";
        if (!cut) texts.push_back(in_interface("ListenPort = " + value));
        texts.push_back(in_peer("PersistentKeepalive = " + value));
    }
    for (std::string const value : {"",
                                    "10.0.0.1",
                                    "10.0.0.1/8",
                                    "10.0.0.0/33",
                                    "10.0.0/8",
                                    "10.0.0.0/8,",
                                    ",10.0.0.0/8",
                                    "10.0.0.0/8,,::/0",
                                    "10.0.0.0 / 8 , ::/0",
                                    "10.0.0.0/8 ::/0",
                                    "::/129",
                                    "::1/128",
                                    "1::2::3",
                                    "010.0.0.1",
                                    "10.0.0.0/08",
                                    "10.0.0.0/",
                                    "+-10.0.0.0/8",
                                    "::ffff:10.0.0.1/96",
                                    "fe80::1%1/64",
                                    "::/ 0"})
        texts.push_back(in_peer("AllowedIPs = " + std::string(value)));
    for (std::string const value :
         {"", "192.0.2.1:1", "192.0.2.1", "192.0.2.1:", "[2001:db8::1]:1", "[2001:db8::1]", "[2001:db8::1]1",
          "2001:db8::1:1", "[192.0.2.1]:1", "192.0.2.1 : 5", "[::1:1", ":1"})
        texts.push_back(in_peer("Endpoint = " + std::string(value)));
    for (std::string const& key :
         {alice_private, alice_private.substr(1), "A" + alice_private, std::string(44, 'a'), alice_private + " ",
          "  " + alice_private + "\r", std::string(43, 'A') + "=",
          std::string(42, 'A') + "B=", alice_private.substr(0, 5) + " " + alice_private.substr(5)}) {
        texts.push_back(in_interface("PrivateKey=" + key));
        texts.push_back(in_peer("PresharedKey =" + key));
        texts.push_back("[Peer]\nPublicKey = " + key);
    }
    for (std::string const text :
         {"", "#", "[Interface]", "[interface]\r\n", " [ Interface ] # x", "[Interface", "Interface]", "[Peer]",
          "[Other]", "ListenPort = 1", "[Interface]\nListen Port = 1", "[Interface]\nListenPort", "[Interface]\n= 1",
          "[Interface]\nx = 1", "[Interface]\nAllowedIPs = ::/0",
          "[Interface]\nLISTENPORT=1\n[INTERFACE]\nlistenport=2", "[Interface] [Peer]"})
        texts.emplace_back(text);
    for (std::string const& text : texts) {
        bool const ours = error_of(text) == "accepted";
        BOOST_TEST(ours == wg_accepts(text), (ours ? "only wg refuses: " : "only wg accepts: ")
                                                 << text << error_of(text));
    }
}

BOOST_AUTO_TEST_CASE(reads_what_wg_quick_leaves_of_a_file) {
    if (std::system("command -v wg-quick > /dev/null") != 0 || ::geteuid() != 0) {
        BOOST_TEST_MESSAGE("skipped: wg-quick is not installed, or it would ask for a password");
        return;
    }
    std::string const text =
        "# head\n[interface]\r\naddress = 10.0.0.2/24 # own\nPrivateKey = " + alice_private +
        "\nDNS = 10.0.0.1, a.example\nMTU=1300\nTable = off\nPostUp = echo a#b\nListenPort = 7\n" +
        in_peer("AllowedIPs = 10.0.0.0/24\nEndpoint = 192.0.2.1:7\nPresharedKey = " + alice_public);
    char folder[] = "/tmp/wg-quick-test-XXXXXX";
    BOOST_TEST_REQUIRE(::mkdtemp(folder) != nullptr);
    std::string const name = std::string(folder) + "/office.conf";
    std::ofstream(name) << text;
    std::string const stripped = output_of("wg-quick strip " + name);
    ::unlink(name.c_str());
    ::rmdir(folder);
    auto const all = read(text), left = read(stripped);
    BOOST_TEST((all.addresses.size() == 1u && all.dns_servers.size() == 1u && all.search_domains.size() == 1u));
    BOOST_TEST((all.mtu_bytes == 1300 && all.ignored.size() == 2u));
    BOOST_TEST((left.addresses.empty() && left.dns_servers.empty() && left.search_domains.empty()));
    BOOST_TEST((left.mtu_bytes == 0 && left.ignored.empty()));
    wg::secret_vector<wg::change> from_all, from_left;
    BOOST_TEST((quick::append_changes(all, from_all) && quick::append_changes(left, from_left)));
    BOOST_TEST_REQUIRE(from_all.size() == from_left.size());
    for (std::size_t i = 0; i < from_all.size(); ++i) {
        wg::change const &a = from_all.view()[i], &b = from_left.view()[i];
        BOOST_TEST((a.what() == b.what() && a.number() == b.number() && a.where() == b.where()));
        BOOST_TEST(base64(a.key()) == base64(b.key()));
    }
}

BOOST_AUTO_TEST_CASE(loads_a_file) {
    std::string why, name;
    {
        temporary_file const file("[Interface]\nPrivateKey = " + alice_private + "\n" + std::string(10000, '#') + "\n" +
                                  in_peer(""));
        auto const c = quick::load(file.name.c_str(), why);
        BOOST_TEST_REQUIRE(bool(c), why);
        BOOST_TEST(base64(c->private_key.expose()) == alice_private);
        BOOST_TEST(c->peers.size() == 1u);
    }
    {
        temporary_file const file("MTU");
        BOOST_TEST((quick::load(file.name.c_str(), why).why() == status::invalid));
        BOOST_TEST(why.starts_with(file.name + ":1: "));
    }
    {
        temporary_file const file(std::string(quick::most_file_bytes + 1, '\n'));
        BOOST_TEST((quick::load(file.name.c_str(), why).why() == status::invalid));
        BOOST_TEST(why == file.name + ": has more than 16 MiB; is it a configuration?");
        name = file.name;
    }
    BOOST_TEST((quick::load(name.c_str(), why).why() == status::io_error));
    BOOST_TEST(why == name + ": No such file or directory");
    BOOST_TEST((quick::load("/tmp", why).why() == status::io_error));
    BOOST_TEST(why == "/tmp: Is a directory");
}

BOOST_AUTO_TEST_SUITE_END()
