// SPDX-License-Identifier: BSL-1.0
#include <boost/test/unit_test.hpp>

#include <wg/control/text.hpp>

#include <arpa/inet.h>

#include <random>
#include <string>

BOOST_AUTO_TEST_SUITE(control_text)

namespace {

namespace text = wg::text;

std::string reprint(std::string_view from) {
    auto const address = text::parse_address(from);
    return address ? std::string(text::print(*address).view()) : "invalid";
}
std::string reprint_prefix(std::string_view from) {
    auto const prefix = text::parse_prefix(from);
    return prefix ? std::string(text::print(*prefix).view()) : "invalid";
}
std::string reprint_endpoint(std::string_view from, text::zone_resolver resolve = nullptr) {
    auto const where = text::parse_endpoint(from, resolve);
    return where ? std::string(text::print(*where).view()) : "invalid";
}

unsigned two_interfaces(char const* name) {
    std::string_view const zone = name;
    return zone == "eth0" ? 2 : zone == "7" ? 70 : 0;
}

// RFC 7748, section 6.1: Alice's public key; the base64 form is Python's base64.b64encode of it.
constexpr std::string_view alice_hex = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
constexpr std::string_view alice_base64 = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

wg::byte_array<32> key_of(std::string_view hex) {
    wg::byte_array<32> key{};
    BOOST_REQUIRE(text::parse_hex(hex, key));
    return key;
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_and_prints_every_byte_as_hex) {
    for (unsigned value = 0; value < 256; ++value) {
        char expected[3];
        std::snprintf(expected, sizeof expected, "%02x", value);
        wg::byte_array<1> one{};
        BOOST_TEST(text::parse_hex({expected, 2}, one));
        BOOST_TEST(one[0] == value);
        char printed[2];
        text::print_hex(one, printed);
        BOOST_TEST(std::string_view(printed, 2) == std::string_view(expected, 2));
        std::snprintf(expected, sizeof expected, "%02X", value);
        BOOST_TEST(text::parse_hex({expected, 2}, one));
        BOOST_TEST(one[0] == value);
    }
}

BOOST_AUTO_TEST_CASE(hex_rejects_any_other_character_at_any_position) {
    std::string const good(alice_hex);
    wg::byte_array<32> key{};
    for (std::size_t place : {std::size_t{0}, std::size_t{1}, std::size_t{33}, std::size_t{63}}) {
        for (int code = 0; code < 256; ++code) {
            std::string tried = good;
            tried[place] = static_cast<char>(code);
            bool const digit = std::string_view("0123456789abcdefABCDEF").find(tried[place]) != std::string_view::npos;
            BOOST_TEST(text::parse_hex(tried, key) == digit, "code " << code << " at " << place);
        }
    }
    BOOST_TEST(!text::parse_hex(good.substr(1), key));
    BOOST_TEST(!text::parse_hex(good.substr(2), key));
    BOOST_TEST(!text::parse_hex(good + "0", key));
    BOOST_TEST(!text::parse_hex(good + "00", key));
    BOOST_TEST(!text::parse_hex("", key));
}

BOOST_AUTO_TEST_CASE(reads_and_prints_base64_keys) {
    struct {
        std::string_view hex, base64;
    } const pairs[] = {
        {alice_hex, alice_base64},
        {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
         "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
        {"fff8f1eae3dcd5cec7c0b9b2aba49d968f88817a736c655e575049423b342d26",
         "//jx6uPc1c7HwLmyq6Sdlo+IgXpzbGVeV1BJQjs0LSY="},
        {"0000000000000000000000000000000000000000000000000000000000000000",
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
    };
    for (auto const& pair : pairs) {
        wg::byte_array<32> const key = key_of(pair.hex);
        BOOST_TEST(text::print_base64_key(key).view() == pair.base64);
        wg::byte_array<32> read{};
        BOOST_TEST(text::parse_base64_key(pair.base64, read));
        BOOST_TEST(read == key, boost::test_tools::per_element());
    }
}

BOOST_AUTO_TEST_CASE(rejects_invalid_base64) {
    wg::byte_array<32> key{};
    std::string const good(alice_base64);
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t place : {std::size_t{0}, std::size_t{41}}) {
        for (int code = 0; code < 256; ++code) {
            std::string tried = good;
            tried[place] = static_cast<char>(code);
            BOOST_TEST(text::parse_base64_key(tried, key) == (alphabet.find(tried[place]) != std::string_view::npos));
        }
    }
    for (std::size_t value = 0; value < 64; ++value) { // the last digit has 4 data bits; the other 2 must be zero
        std::string tried = good;
        tried[42] = alphabet[value];
        BOOST_TEST(text::parse_base64_key(tried, key) == (value % 4 == 0), "digit " << alphabet[value]);
    }
    BOOST_TEST(!text::parse_base64_key(good.substr(0, 43), key));
    BOOST_TEST(!text::parse_base64_key(good.substr(0, 43) + "A", key));
    BOOST_TEST(!text::parse_base64_key(good + "=", key));
    BOOST_TEST(!text::parse_base64_key("", key));
}

BOOST_AUTO_TEST_CASE(rejects_invalid_and_out_of_range_decimals) {
    BOOST_TEST(*text::parse_decimal<std::uint16_t>("0") == 0);
    BOOST_TEST(*text::parse_decimal<std::uint16_t>("65535") == 65535);
    BOOST_TEST(*text::parse_decimal<std::uint16_t>("00000000000000000000000051820") == 51820);
    BOOST_TEST(*text::parse_decimal<std::uint32_t>("4294967295") == 4294967295u);
    BOOST_TEST(*text::parse_decimal<std::uint64_t>("18446744073709551615") == UINT64_MAX);
    BOOST_TEST(*text::parse_decimal<std::uint8_t>("255") == 255);
    for (std::string_view const bad : {"", " 1", "1 ", "+1", "-1", "-0", "0x10", "1e3", "1.0", "a", "65536", "99999",
                                       "655350", "18446744073709551616", "99999999999999999999999999", "1\n"})
        BOOST_TEST(!text::parse_decimal<std::uint16_t>(bad), bad);
    BOOST_TEST(!text::parse_decimal<std::uint16_t>(std::string_view("1\0", 2)));
    BOOST_TEST(!text::parse_decimal<std::uint8_t>("256"));
    BOOST_TEST(!text::parse_decimal<std::uint8_t>("260"));
    BOOST_TEST(!text::parse_decimal<std::uint32_t>("4294967296"));
    BOOST_TEST(!text::parse_decimal<std::uint64_t>("18446744073709551616"));
    BOOST_TEST(text::print_decimal(0).view() == "0");
    BOOST_TEST(text::print_decimal(UINT64_MAX).view() == "18446744073709551615");
}

BOOST_AUTO_TEST_CASE(reads_ipv4) {
    auto const address = text::parse_address("192.0.2.33");
    BOOST_REQUIRE(!!address);
    BOOST_TEST((*address == wg::ip_address::v4(192, 0, 2, 33)));
    BOOST_TEST(reprint("0.0.0.0") == "0.0.0.0");
    BOOST_TEST(reprint("255.255.255.255") == "255.255.255.255");
    for (std::string_view const bad :
         {"", "1", "1.2.3", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.4.5", "1.2.3.4.", "256.1.1.1", "1.2.3.256", "01.2.3.4",
          "1.2.3.00", "1.2.3.0x4", " 1.2.3.4", "1.2.3.4 ", "1.2.3.-4", "a.b.c.d", "1.2.3.4/32", "127.1"})
        BOOST_TEST(reprint(bad) == "invalid", bad);
}

// The examples of RFC 4291, section 2.2, and RFC 5952, sections 1, 2 and 4.
BOOST_AUTO_TEST_CASE(prints_ipv6_in_the_form_of_rfc_5952) {
    struct {
        std::string_view from, to;
    } const pairs[] = {
        {"ABCD:EF01:2345:6789:ABCD:EF01:2345:6789", "abcd:ef01:2345:6789:abcd:ef01:2345:6789"},
        {"2001:DB8:0:0:8:800:200C:417A", "2001:db8::8:800:200c:417a"},
        {"FF01:0:0:0:0:0:0:101", "ff01::101"},
        {"0:0:0:0:0:0:0:1", "::1"},
        {"0:0:0:0:0:0:0:0", "::"},
        {"::", "::"},
        {"0:0:0:0:0:0:13.1.68.3", "::d01:4403"},
        {"::FFFF:129.144.52.38", "::ffff:129.144.52.38"},
        {"::ffff:8190:3426", "::ffff:129.144.52.38"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"2001:db8:0000:0:1::1", "2001:db8::1:0:0:1"},
        {"2001:0db8::0001", "2001:db8::1"},
        {"2001:db8::0:1", "2001:db8::1"},
        {"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},
        {"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
        {"2001:db8:aaaa:bbbb:cccc:dddd::1", "2001:db8:aaaa:bbbb:cccc:dddd:0:1"},
        {"1:2:3:4:5:6::", "1:2:3:4:5:6::"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
        {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
        {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
    };
    for (auto const& pair : pairs)
        BOOST_TEST(reprint(pair.from) == pair.to, pair.from << " became " << reprint(pair.from));
}

BOOST_AUTO_TEST_CASE(rejects_invalid_ipv6_addresses) {
    for (std::string_view const bad : {":",
                                       ":::",
                                       "1",
                                       "1:",
                                       ":1",
                                       "1::2::3",
                                       "1:2:3:4:5:6:7",
                                       "1:2:3:4:5:6:7:8:9",
                                       "1:2:3:4:5:6:7:8:",
                                       ":1:2:3:4:5:6:7:8",
                                       "1:2:3:4:5:6:7:8::",
                                       "::1:2:3:4:5:6:7:8",
                                       "1:2:3:4::5:6:7:8",
                                       "12345::",
                                       "g::",
                                       "::1%eth0",
                                       "[::1]",
                                       "::1.2.3",
                                       "1.2.3.4::",
                                       "1.2.3.4:1",
                                       "::1.2.3.4:5",
                                       "::256.1.1.1",
                                       "1:2:3:4:5:6:7:1.2.3.4",
                                       "::/0",
                                       " ::",
                                       ":: ",
                                       "::-1",
                                       "::+1",
                                       "1:::2"})
        BOOST_TEST(reprint(bad) == "invalid", bad);
    BOOST_TEST(reprint(std::string_view("::1\0", 4)) == "invalid");
}

// Random texts close to valid addresses. The reference is inet_pton and inet_ntop of the host.
BOOST_AUTO_TEST_CASE(agrees_with_the_host_on_addresses) {
    constexpr std::string_view pieces[] = {":",    "::", ":",         ".",     "0", "1",   "fe80",
                                           "ffff", "00", "192.0.2.1", "12345", "g", "255", "256"};
    std::size_t valid = 0;
    for (std::uint32_t seed = 1; seed <= 60000; ++seed) {
        std::mt19937 random(seed);
        std::string tried;
        if (seed % 3 == 0) { // a valid address, with at most one character changed
            wg::byte_array<16> octets{};
            for (auto& octet : octets) octet = static_cast<wg::byte>(random() % 3 == 0 ? random() : 0);
            char printed[INET6_ADDRSTRLEN];
            tried = inet_ntop(random() % 2 ? AF_INET6 : AF_INET, octets.data(), printed, sizeof printed);
            if (random() % 2) tried[random() % tried.size()] = ":.0f"[random() % 4];
        } else if (seed % 3 == 1) { // about the right number of groups, possibly with a "::"
            auto const groups = 6 + random() % 4, gap = random() % 12;
            for (unsigned i = 0; i < groups; ++i) tried += i == gap ? "::1" : i == 0 ? "1" : ":1";
            if (gap == 10) tried += "::";
            if (gap == 11) tried += ":1.2.3.4";
        } else {
            for (auto count = 1 + random() % 14; count > 0; --count) tried += pieces[random() % std::size(pieces)];
        }
        wg::byte_array<16> expected{};
        bool const v6 = inet_pton(AF_INET6, tried.c_str(), expected.data()) == 1;
        bool const v4 = !v6 && inet_pton(AF_INET, tried.c_str(), expected.data()) == 1;
        auto const address = text::parse_address(tried);
        BOOST_REQUIRE_MESSAGE(!!address == (v4 || v6), "seed " << seed << ": " << tried);
        if (!address) continue;
        ++valid;
        BOOST_REQUIRE_MESSAGE((*address == wg::ip_address::of(v6 ? wg::family::v6 : wg::family::v4, expected.data())),
                              tried);
        bool compatible = v6; // ::a.b.c.d: the host prints dots, RFC 5952 does not
        for (std::size_t i = 0; i < 12; ++i) compatible = compatible && expected[i] == 0;
        if (compatible) continue;
        char printed[INET6_ADDRSTRLEN];
        inet_ntop(v6 ? AF_INET6 : AF_INET, expected.data(), printed, sizeof printed);
        BOOST_REQUIRE_MESSAGE(reprint(tried) == printed, "seed " << seed << ": " << tried);
    }
    BOOST_TEST(valid > 10000u);
}

BOOST_AUTO_TEST_CASE(masks_prefixes_and_rejects_too_long_ones) {
    BOOST_TEST(reprint_prefix("192.0.2.77/24") == "192.0.2.0/24");
    BOOST_TEST(reprint_prefix("192.0.2.77") == "192.0.2.77/32");
    BOOST_TEST(reprint_prefix("255.255.255.255/0") == "0.0.0.0/0");
    BOOST_TEST(reprint_prefix("10.255.0.0/9") == "10.128.0.0/9");
    BOOST_TEST(reprint_prefix("2001:db8:ffff::1/33") == "2001:db8:8000::/33");
    BOOST_TEST(reprint_prefix("2001:db8::1") == "2001:db8::1/128");
    BOOST_TEST(reprint_prefix("::/0") == "::/0");
    for (std::string_view const bad :
         {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08",
          "10.0.0.0/8/8", "10.0.0.0/256", "10.0.0.0/288", "10.0.0.0 /8", "10.0.0/8", "fe80::%1/64", "any"})
        BOOST_TEST(reprint_prefix(bad) == "invalid", bad);
}

BOOST_AUTO_TEST_CASE(reads_and_prints_endpoints) {
    for (std::string_view const same :
         {"192.0.2.1:51820", "0.0.0.0:0", "255.255.255.255:65535", "[2001:db8::1]:51820", "[::]:0",
          "[::fffe:c000:201]:1", "[fe80::1%2]:51820", "[fe80::1%4294967295]:65535",
          "[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535"})
        BOOST_TEST(reprint_endpoint(same) == same);
    for (std::string_view const bad : {"",
                                       ":",
                                       "192.0.2.1",
                                       "192.0.2.1:",
                                       "192.0.2.1:65536",
                                       "192.0.2.1:-1",
                                       "192.0.2.1:1:2",
                                       ":51820",
                                       "[192.0.2.1]:51820",
                                       "2001:db8::1:51820",
                                       "[2001:db8::1]",
                                       "[2001:db8::1]51820",
                                       "[2001:db8::1]:",
                                       "[2001:db8::1:51820",
                                       "2001:db8::1]:51820",
                                       "[[::1]]:1",
                                       "[]:1",
                                       "[::1]:1 ",
                                       "[::1] :1",
                                       "example.com:51820",
                                       "localhost:1",
                                       "192.0.2.1%2:1",
                                       "192.0.2.1/32:1",
                                       "[fe80::1%]:1",
                                       "[fe80::1%4294967296]:1",
                                       "[%1]:1",
                                       "[fe80::1%%1]:1"})
        BOOST_TEST(reprint_endpoint(bad) == "invalid", bad);
    BOOST_TEST(text::print(wg::endpoint{}).view() == "");
}

BOOST_AUTO_TEST_CASE(zones_are_numbers_or_names_that_the_resolver_finds) {
    BOOST_TEST(reprint_endpoint("[fe80::1%eth0]:51820", two_interfaces) == "[fe80::1%2]:51820");
    BOOST_TEST(reprint_endpoint("[fe80::1%7]:51820", two_interfaces) == "[fe80::1%70]:51820");
    BOOST_TEST(reprint_endpoint("[fe80::1%8]:51820", two_interfaces) == "[fe80::1%8]:51820");
    BOOST_TEST(reprint_endpoint("[fe80::1%eth1]:51820", two_interfaces) == "invalid");
    BOOST_TEST(reprint_endpoint("[fe80::1%eth0]:51820") == "invalid");
    BOOST_TEST(reprint_endpoint("[::ffff:192.0.2.1]:51820") ==
               "192.0.2.1:51820"); // the socket sends IPv4 to a mapped address
    BOOST_TEST(reprint_endpoint("[::FFFF:c000:201]:51820") == "192.0.2.1:51820");
    BOOST_TEST(reprint_endpoint("[::ffff:192.0.2.1%eth0]:51820", two_interfaces) == "192.0.2.1:51820");
    BOOST_TEST(reprint_endpoint("[::192.0.2.1]:51820") == "[::c000:201]:51820");
    BOOST_TEST(reprint_endpoint(std::string_view("[fe80::1%eth0\0x]:51820", 22), two_interfaces) == "invalid");
    std::string const longest(text::longest_zone_chars, '1');
    auto const any = [](char const* name) { return static_cast<unsigned>(std::strlen(name)); };
    BOOST_TEST(reprint_endpoint("[fe80::1%" + longest + "]:1", any) == "[fe80::1%63]:1");
    BOOST_TEST(reprint_endpoint("[fe80::1%" + longest + "1]:1", any) == "invalid");
}

BOOST_AUTO_TEST_CASE(text_conversions_work_at_compile_time) {
    static_assert(text::print(*text::parse_prefix("2001:DB8::1/32")).view() == "2001:db8::/32");
    static_assert(text::parse_decimal<std::uint16_t>("65536").why() == wg::status::invalid);
    constexpr auto roundtrip = [] {
        wg::byte_array<32> key{};
        bool const good = text::parse_base64_key(alice_base64, key);
        return good && text::print_base64_key(key).view() == alice_base64;
    };
    static_assert(roundtrip());
    BOOST_TEST(roundtrip());
}

BOOST_AUTO_TEST_SUITE_END()
