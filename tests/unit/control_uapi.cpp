// SPDX-License-Identifier: BSL-1.0
// The configuration protocol of wg(8): the changes of a set, the reply to a get, and the errors of both.
#include "uapi_targets.hpp"

#include <random>

BOOST_AUTO_TEST_SUITE(control_uapi)

using namespace wg_tests;

namespace {

/// The changes that a set of these lines applies, or the error reply.
std::string effect(std::string const& lines) {
    recorder target;
    std::string const reply = talk(target, "set=1\n" + lines + "\n");
    if (reply != answer(0)) {
        BOOST_TEST(target.configured == 0u, "applied something, but answered " << reply);
        return reply;
    }
    BOOST_TEST(target.configured == 1u);
    std::string all;
    for (auto const& line : target.applied) all += line + "\n";
    return all;
}

std::string effect_in_peer(std::string const& lines) {
    std::string const all = effect(in_peer + lines);
    std::string const head = "peer " + key_a + "\n";
    return all.starts_with(head) ? all.substr(head.size()) : all;
}

constexpr int protocol_number = wg::for_windows ? 71 : EPROTO; // Windows answers with the number of Linux
std::string const invalid = answer(-EINVAL);
std::string const protocol_error = answer(-protocol_number);

static_assert(uapi::target<recorder> && uapi::target<small_device>);
struct no_snapshot {
    status configure(std::span<change const>) noexcept { return status::ok; }
};
struct configure_throws {
    status configure(std::span<change const>) { return status::ok; }
    void snapshot(auto&) noexcept {}
};
static_assert(!uapi::target<no_snapshot> && !uapi::target<configure_throws>);

strings const setconf_changes = {"private_key " + key_c,
                                 "listen_port 51820",
                                 "fwmark 51820",
                                 "replace_peers",
                                 "peer " + key_a,
                                 "preshared_key " + key_b,
                                 "endpoint 192.0.2.1:51820",
                                 "persistent_keepalive 25",
                                 "replace_allowed_ips",
                                 "allowed_ip 10.0.0.0/24",
                                 "allowed_ip fd00::/64",
                                 "peer " + key_b,
                                 "endpoint [fe80::1%2]:1",
                                 "replace_allowed_ips"};

} // namespace

BOOST_AUTO_TEST_CASE(reads_a_setconf_in_pieces_of_any_size) {
    for (std::size_t step = 1; step <= setconf.size(); ++step) {
        recorder target;
        BOOST_TEST(talk(target, setconf, step) == answer(0));
        BOOST_TEST(target.applied == setconf_changes, boost::test_tools::per_element());
    }
    for (std::size_t cut = 0; cut <= setconf.size(); ++cut) { // in two pieces, one of them possibly empty
        recorder target;
        uapi::session session{only_eth0};
        wg::secret_buffer reply;
        BOOST_TEST((session.feed(bytes_of(setconf).first(cut), target, reply) == status::ok));
        BOOST_TEST((session.feed(bytes_of(setconf).subspan(cut), target, reply) == status::ok));
        BOOST_TEST(reply.text() == answer(0));
        BOOST_TEST(target.applied == setconf_changes, boost::test_tools::per_element());
    }
}

BOOST_AUTO_TEST_CASE(applies_nothing_before_the_empty_line) {
    for (std::size_t cut = 0; cut < setconf.size(); ++cut) { // the connection ends after `cut` characters
        recorder target;
        BOOST_TEST(talk(target, setconf.substr(0, cut)) == "");
        BOOST_TEST(target.configured == 0u);
    }
}

BOOST_AUTO_TEST_CASE(reads_and_checks_private_key) {
    BOOST_TEST(effect("private_key=" + key_c + "\n") == "private_key " + key_c + "\n");
    BOOST_TEST(effect("private_key=" + no_key + "\n") == "private_key " + no_key + "\n");
    BOOST_TEST(effect("private_key=" + std::string(64, 'A') + "\n") == "private_key " + key_a + "\n");
    for (std::string const& bad :
         {std::string(), key_a.substr(1), key_a + "a", key_a.substr(1) + "g", " " + key_a.substr(1),
          std::string("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), key_a + "\r"})
        BOOST_TEST(effect("private_key=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_listen_port) {
    BOOST_TEST(effect("listen_port=0\n") == "listen_port 0\n");
    BOOST_TEST(effect("listen_port=65535\n") == "listen_port 65535\n");
    for (std::string const bad : {"", "65536", "-1", "+1", " 1", "1 ", "0x1", "random", "1=1"})
        BOOST_TEST(effect("listen_port=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_fwmark) {
    BOOST_TEST(effect("fwmark=0\n") == "fwmark 0\n");
    BOOST_TEST(effect("fwmark=4294967295\n") == "fwmark 4294967295\n");
    for (std::string const bad : {"", "4294967296", "-1", "0xca6c", "off"})
        BOOST_TEST(effect("fwmark=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_replace_peers) {
    BOOST_TEST(effect("replace_peers=true\n") == "replace_peers\n");
    for (std::string const bad : {"", "false", "1", "True", "true "})
        BOOST_TEST(effect("replace_peers=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_public_key) {
    BOOST_TEST(effect(in_peer) == "peer " + key_a + "\n");
    BOOST_TEST(effect(in_peer + "public_key=" + key_c + "\n") == "peer " + key_a + "\npeer " + key_c + "\n");
    BOOST_TEST(effect("public_key=" + no_key + "\n") ==
               "peer " + no_key + "\n"); // the parser accepts it; the device decides
    for (std::string const& bad : {std::string(), key_a.substr(1), key_a + "a", "x" + key_a.substr(1)}) {
        BOOST_TEST(effect("public_key=" + bad + "\n") == invalid, bad);
        BOOST_TEST(effect_in_peer("public_key=" + bad + "\n") == invalid, bad);
    }
}

BOOST_AUTO_TEST_CASE(update_only_must_precede_other_changes_of_the_peer) {
    BOOST_TEST(effect_in_peer("update_only=true\n") == "update_only\n");
    BOOST_TEST(effect_in_peer("update_only=true\nallowed_ip=::/0\n") == "update_only\nallowed_ip ::/0\n");
    BOOST_TEST(effect_in_peer("protocol_version=1\nupdate_only=true\n") == "update_only\n");
    BOOST_TEST(effect_in_peer("update_only=true\nremove=true\n") == "update_only\nremove_peer\n");
    BOOST_TEST(effect_in_peer("remove=true\nupdate_only=true\n") == "remove_peer\n"); // wgctrl sends this order
    for (std::string const& before :
         {"preshared_key=" + key_b, std::string("endpoint=192.0.2.1:1"), std::string("allowed_ip=::/0"),
          std::string("persistent_keepalive_interval=0"), std::string("replace_allowed_ips=true")})
        BOOST_TEST(effect_in_peer(before + "\nupdate_only=true\n") == invalid, before);
    BOOST_TEST(effect_in_peer("endpoint=192.0.2.1:1\npublic_key=" + key_b + "\nupdate_only=true\n") ==
               "endpoint 192.0.2.1:1\npeer " + key_b + "\nupdate_only\n");
    for (std::string const bad : {"", "false", "1"})
        BOOST_TEST(effect_in_peer("update_only=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(lines_after_remove_are_checked_but_not_applied) {
    BOOST_TEST(effect_in_peer("remove=true\n") == "remove_peer\n");
    BOOST_TEST(effect_in_peer("allowed_ip=::/0\nremove=true\nallowed_ip=10.0.0.0/8\nremove=true\n") ==
               "allowed_ip ::/0\nremove_peer\n");
    BOOST_TEST(effect_in_peer("remove=true\nallowed_ip=nonsense\n") == invalid);
    BOOST_TEST(effect_in_peer("remove=true\npublic_key=" + key_b + "\nallowed_ip=10.0.0.0/8\n") ==
               "remove_peer\npeer " + key_b + "\nallowed_ip 10.0.0.0/8\n");
    for (std::string const bad : {"", "false", "1"}) BOOST_TEST(effect_in_peer("remove=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_preshared_key) {
    BOOST_TEST(effect_in_peer("preshared_key=" + key_c + "\n") == "preshared_key " + key_c + "\n");
    BOOST_TEST(effect_in_peer("preshared_key=" + no_key + "\n") == "preshared_key " + no_key + "\n");
    for (std::string const& bad : {std::string(), key_a.substr(2), key_a + "00", "-" + key_a.substr(1)})
        BOOST_TEST(effect_in_peer("preshared_key=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_endpoint) {
    for (std::string const good : {"192.0.2.1:51820", "[2001:db8::1]:65535", "[fe80::1%5]:1"})
        BOOST_TEST(effect_in_peer("endpoint=" + good + "\n") == "endpoint " + good + "\n");
    BOOST_TEST(effect_in_peer("endpoint=[fe80::1%eth0]:1\n") == "endpoint [fe80::1%2]:1\n");
    for (std::string const bad :
         {"", "192.0.2.1", "192.0.2.1:65536", "example.com:51820", "[::1]", "::1:5", "[fe80::1%eth1]:1"})
        BOOST_TEST(effect_in_peer("endpoint=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_persistent_keepalive_interval) {
    BOOST_TEST(effect_in_peer("persistent_keepalive_interval=0\n") == "persistent_keepalive 0\n");
    BOOST_TEST(effect_in_peer("persistent_keepalive_interval=65535\n") == "persistent_keepalive 65535\n");
    for (std::string const bad : {"", "65536", "-1", "off", "25s"})
        BOOST_TEST(effect_in_peer("persistent_keepalive_interval=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_ratchet) {
    BOOST_TEST(effect_in_peer("ratchet=0\n") == "ratchet 0\n");
    BOOST_TEST(effect_in_peer("ratchet=86400\n") == "ratchet 86400\n");
    for (std::string const bad : {"", "4294967296", "-1", "daily", "86400s"})
        BOOST_TEST(effect_in_peer("ratchet=" + bad + "\n") == invalid, bad);
    BOOST_TEST(effect("ratchet=86400\n") == invalid);
}

BOOST_AUTO_TEST_CASE(get_prints_a_ratchet_and_its_epoch) {
    small_device device;
    talk(device, "set=1\n" + in_peer + "\n");
    BOOST_TEST(talk(device, "get=1\n\n").find("ratchet") == std::string::npos);
    device.peers[0].ratchet_s = 86400;
    BOOST_TEST(talk(device, "get=1\n\n").ends_with("interval=0\nratchet=86400\nerrno=0\n\n"));
    device.peers[0].ratchet_epoch = 20788;
    BOOST_TEST(talk(device, "get=1\n\n").ends_with("interval=0\nratchet=86400\nratchet_epoch=20788\nerrno=0\n\n"));
}

BOOST_AUTO_TEST_CASE(reads_and_checks_post_quantum) {
    BOOST_TEST(effect_in_peer("post_quantum=off\n") == "exchange 0\n");
    BOOST_TEST(effect_in_peer("post_quantum=prefer\n") == "exchange 1\n");
    BOOST_TEST(effect_in_peer("post_quantum=require\n") == "exchange 2\n");
    for (std::string const bad : {"", "1", "on", "Prefer", "require "})
        BOOST_TEST(effect_in_peer("post_quantum=" + bad + "\n") == invalid, bad);
    BOOST_TEST(effect("post_quantum=off\n") == invalid);
}

BOOST_AUTO_TEST_CASE(get_prints_exchanges) {
    small_device device;
    talk(device, "set=1\n" + in_peer + "\n");
    BOOST_TEST(talk(device, "get=1\n\n").find("post_quantum") == std::string::npos);
    device.peers[0].exchange = wg::post_quantum::prefer;
    BOOST_TEST(
        talk(device, "get=1\n\n").ends_with("interval=0\npost_quantum=prefer\npost_quantum_exchanges=12\nerrno=0\n\n"));
    device.peers[0].exchange = wg::post_quantum::require;
    device.peers[0].exchanged_s = 1796083200;
    BOOST_TEST(talk(device, "get=1\n\n")
                   .ends_with("post_quantum=require\npost_quantum_exchanges=12\n"
                              "post_quantum_since=1796083200\nerrno=0\n\n"));
}

BOOST_AUTO_TEST_CASE(reads_and_checks_replace_allowed_ips) {
    BOOST_TEST(effect_in_peer("replace_allowed_ips=true\n") == "replace_allowed_ips\n");
    for (std::string const bad : {"", "false", "1"})
        BOOST_TEST(effect_in_peer("replace_allowed_ips=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(reads_and_checks_allowed_ip) {
    BOOST_TEST(effect_in_peer("allowed_ip=10.1.2.3/8\n") == "allowed_ip 10.0.0.0/8\n");
    BOOST_TEST(effect_in_peer("allowed_ip=10.1.2.3\n") == "allowed_ip 10.1.2.3/32\n");
    BOOST_TEST(effect_in_peer("allowed_ip=::/0\n") == "allowed_ip ::/0\n");
    BOOST_TEST(effect_in_peer("allowed_ip=-fd00::1/64\n") == "remove_allowed_ip fd00::/64\n");
    for (std::string const bad :
         {"", "-", "--::/0", "+::/0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/8,::/0", "(none)"})
        BOOST_TEST(effect_in_peer("allowed_ip=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(accepts_protocol_version_1_only) {
    BOOST_TEST(effect_in_peer("protocol_version=1\n") == "");
    for (std::string const bad : {"", "0", "2", "01"})
        BOOST_TEST(effect_in_peer("protocol_version=" + bad + "\n") == invalid, bad);
}

BOOST_AUTO_TEST_CASE(rejects_unknown_and_misplaced_keys) {
    for (std::string const& line : {"private_key=" + key_a, std::string("listen_port=1"), std::string("fwmark=1"),
                                    std::string("replace_peers=true")})
        BOOST_TEST(effect_in_peer(line + "\n") == invalid, line);
    for (std::string const& line :
         {"preshared_key=" + key_a, std::string("endpoint=192.0.2.1:1"), std::string("remove=true"),
          std::string("update_only=true"), std::string("persistent_keepalive_interval=1"),
          std::string("allowed_ip=::/0"), std::string("replace_allowed_ips=true"), std::string("protocol_version=1")})
        BOOST_TEST(effect(line + "\n") == invalid, line);
    for (std::string const line :
         {"rx_bytes=1", "errno=0", "=", "=1", "Listen_port=1", " listen_port=1", "get=1", "set=1"}) {
        BOOST_TEST(effect(line + "\n") == invalid, line);
        BOOST_TEST(effect_in_peer(line + "\n") == invalid, line);
    }
}

BOOST_AUTO_TEST_CASE(a_line_without_equals_sign_is_a_protocol_error) {
    for (std::string const& line : strings{"listen_port", " ", "\r", "private_key " + key_a}) {
        BOOST_TEST(effect(line + "\n") == protocol_error, line);
        BOOST_TEST(effect_in_peer(line + "\n") == protocol_error, line);
    }
    BOOST_TEST(effect(std::string("listen_port\0=1\n", 15)) == invalid);
}

BOOST_AUTO_TEST_CASE(a_line_longer_than_any_valid_one_is_a_protocol_error) {
    auto const with_zeros = [](std::size_t chars) { return "listen_port=" + std::string(chars - 13, '0') + "5"; };
    BOOST_TEST(effect(with_zeros(uapi::longest_line_chars) + "\n") == "listen_port 5\n");
    for (std::size_t const chars : {uapi::longest_line_chars + 1, uapi::longest_line_chars * 2, std::size_t{100000}}) {
        for (std::size_t const step : {std::size_t{1}, std::size_t{7}, uapi::longest_line_chars, SIZE_MAX}) {
            recorder target;
            std::string const input = "set=1\n" + with_zeros(chars) + "\nfwmark=1\n\nset=1\nfwmark=2\n\n";
            BOOST_TEST(talk(target, input, step) == protocol_error + answer(0));
            BOOST_TEST(target.applied == strings{"fwmark 2"}, boost::test_tools::per_element());
        }
    }
    recorder target;
    BOOST_TEST(talk(target, "get=1\n" + std::string(300, 'x') + "\n\n") == answer(protocol_number));
    BOOST_TEST(talk(target, "set=1" + std::string(300, 'x') + "\n", SIZE_MAX, status::protocol_error) ==
               protocol_error);
    BOOST_TEST(talk(target, std::string(1000000, 'x')) == ""); // no reply, and no memory is used
}

BOOST_AUTO_TEST_CASE(an_error_in_any_line_discards_the_whole_set) {
    strings lines;
    for (std::size_t at = 0, end; at < setconf.size() - 1; at = end + 1) {
        end = setconf.find('\n', at);
        lines.push_back(setconf.substr(at, end + 1 - at));
    }
    for (std::size_t place = 1; place <= lines.size(); ++place) {
        for (std::size_t const step : {std::size_t{1}, std::size_t{13}, SIZE_MAX}) {
            recorder target;
            std::string input;
            for (std::size_t i = 0; i <= lines.size(); ++i) {
                if (i == place) input += "no_such_key=1\n";
                if (i < lines.size()) input += lines[i];
            }
            BOOST_TEST(talk(target, input + "\n" + setconf, step) == invalid + answer(0));
            BOOST_TEST(target.configured == 1u);
            BOOST_TEST(target.applied == setconf_changes, boost::test_tools::per_element());
        }
    }
}

BOOST_AUTO_TEST_CASE(the_reply_has_the_first_error) {
    BOOST_TEST(effect("fwmark=x\nnonsense\n") == invalid);
    BOOST_TEST(effect("nonsense\nfwmark=x\n") == protocol_error);
    BOOST_TEST(effect("nonsense\nset=1\nfwmark=1\n") == protocol_error);
}

BOOST_AUTO_TEST_CASE(the_status_of_the_device_is_reported_by_an_error_number) {
    std::pair<status, int> const pairs[] = {
        {status::ok, 0},
        {status::invalid, -EINVAL},
        {status::too_many_peers, -EINVAL},
        {status::protocol_error, -protocol_number},
        {status::address_in_use, wg::for_windows ? -98 : -EADDRINUSE},
        {status::no_permission, -EPERM},
        {status::no_memory, -ENOMEM},
        {status::not_supported, wg::for_windows ? -95 : -EOPNOTSUPP},
        {status::gone, -ENODEV},
        {status::device_down, wg::for_windows ? -100 : -ENETDOWN},
        {status::io_error, -EIO},
        {status::no_random, -EIO},
    };
    for (auto const& [given, number] : pairs) {
        recorder target;
        target.answer = given;
        BOOST_TEST(talk(target, "set=1\nlisten_port=1\n\nget=1\n\n") == answer(number) + answer(0));
    }
    for (std::size_t i = 1; i < wg::status_count; ++i) BOOST_TEST(uapi::errno_of(static_cast<status>(i)) > 0);
}

BOOST_AUTO_TEST_CASE(a_connection_carries_many_operations) {
    std::string const input =
        "set=1\n\nget=1\n\nset=1\nfwmark=1\n\nset=1\nfwmark=x\n\nget=1\nx\n\nget=1\n\nset=1\nfwmark=2\n\n";
    std::string const expected =
        answer(0) + answer(0) + answer(0) + answer(-EINVAL) + answer(EINVAL) + answer(0) + answer(0);
    for (std::size_t step = 1; step <= input.size(); ++step) {
        recorder target;
        BOOST_TEST(talk(target, input, step) == expected);
        BOOST_TEST(target.applied == (strings{"fwmark 1", "fwmark 2"}), boost::test_tools::per_element());
        BOOST_TEST(target.configured == 3u);
        BOOST_TEST(target.asked == 2u);
    }
}

BOOST_AUTO_TEST_CASE(an_unknown_operation_gets_an_error_and_ends_the_connection) {
    for (std::string const bad :
         {"", "set", "set=", "set=2", "get=0", "Set=1", "set=1 ", "get=1\r", "listen_port=1", "errno=0"}) {
        for (std::size_t const step : {std::size_t{1}, SIZE_MAX}) {
            recorder target;
            std::string const input = "set=1\nfwmark=1\n\n" + bad + "\nset=1\nfwmark=2\n\nget=1\n\n";
            BOOST_TEST(talk(target, input, step, status::protocol_error) == answer(0) + protocol_error);
            BOOST_TEST(target.applied == strings{"fwmark 1"}, boost::test_tools::per_element());
            BOOST_TEST(target.asked == 0u);
        }
    }
}

// The reply format of wg(8) of 2026-03: errno is negative after a set and positive after a get, an empty line ends both
// replies, and no time is negative.
BOOST_AUTO_TEST_CASE(replies_have_the_format_of_wg_8) {
    recorder target;
    BOOST_TEST(talk(target, "set=1\n\n") == "errno=0\n\n");
    BOOST_TEST(talk(target, "set=1\nlisten_port=\n\n") == "errno=-22\n\n");
    BOOST_TEST(talk(target, "set=1\nlisten_port\n\n") == "errno=-71\n\n");
    BOOST_TEST(talk(target, "get=1\n\n") == "errno=0\n\n");
    BOOST_TEST(talk(target, "get=1\nlisten_port=1\n\n") == "errno=22\n\n");
    small_device early;
    early.last_handshake_s = -1;
    talk(early, "set=1\n" + in_peer + "\n");
    BOOST_TEST(talk(early, "get=1\n\n").find("last_handshake_time_sec=0\nlast_handshake_time_nsec=0\n") !=
               std::string::npos);
}

BOOST_AUTO_TEST_CASE(get_prints_the_configuration) {
    small_device device;
    BOOST_TEST(talk(device, "get=1\n\n") == "errno=0\n\n");
    std::string const set_and_get = setconf + "get=1\n\n";
    std::string const counters = "last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\n"
                                 "tx_bytes=18446744073709551615\nrx_bytes=92\n";
    std::string const expected = "errno=0\n\n"
                                 "private_key=" +
                                 key_c +
                                 "\nlisten_port=51820\nfwmark=51820\n"
                                 "public_key=" +
                                 key_a + "\npreshared_key=" + key_b +
                                 "\nprotocol_version=1\n"
                                 "endpoint=192.0.2.1:51820\n" +
                                 counters +
                                 "persistent_keepalive_interval=25\n"
                                 "allowed_ip=10.0.0.0/24\nallowed_ip=fd00::/64\n"
                                 "public_key=" +
                                 key_b + "\npreshared_key=" + no_key +
                                 "\nprotocol_version=1\n"
                                 "endpoint=[fe80::1%2]:1\n" +
                                 counters +
                                 "persistent_keepalive_interval=0\n"
                                 "errno=0\n\n";
    BOOST_TEST(talk(device, set_and_get) == expected);
    talk(device, "set=1\nreplace_peers=true\n" + in_peer + "\n");
    BOOST_TEST(talk(device, "get=1\n\n").find("endpoint=") == std::string::npos); // an unknown endpoint is not printed
}

BOOST_AUTO_TEST_CASE(a_set_may_have_130000_allowed_ips) {
    recorder target;
    std::string input = "set=1\n" + in_peer;
    for (unsigned i = 0; i < 130000; ++i)
        input += "allowed_ip=10." + std::to_string(i >> 16) + "." + std::to_string(i >> 8 & 255) + "." +
                 std::to_string(i & 255) + "/32\n";
    BOOST_TEST(talk(target, input + "\n", 4096) == answer(0));
    BOOST_REQUIRE(target.applied.size() == 130001u);
    BOOST_TEST(target.applied[1] == "allowed_ip 10.0.0.0/32");
    BOOST_TEST(target.applied[130000] == "allowed_ip 10.1.251.207/32");
}

/// A million peers need more than 2^20 changes.
BOOST_AUTO_TEST_CASE(a_set_may_have_three_million_changes) {
    struct counter {
        std::size_t count = 0;
        wg::status configure(std::span<change const> changes) noexcept {
            count = changes.size();
            return wg::status::ok;
        }
        void snapshot(uapi::reply_printer&) noexcept {}
    } target;
    uapi::session session;
    wg::secret_buffer reply;
    std::string thousand;
    for (int i = 0; i < 1000; ++i) thousand += "fwmark=1\n";
    BOOST_TEST((session.feed(bytes_of("set=1\n"), target, reply) == status::ok));
    for (int i = 0; i < 3200; ++i) BOOST_TEST((session.feed(bytes_of(thousand), target, reply) == status::ok));
    BOOST_TEST((session.feed(bytes_of("\n"), target, reply) == status::ok));
    BOOST_TEST(reply.text() == answer(0));
    BOOST_TEST(target.count == 3'200'000u);
}

BOOST_AUTO_TEST_CASE(an_endless_set_is_rejected_at_the_cap) {
    recorder target;
    constexpr std::size_t most = 1 << 16;
    uapi::session session(nullptr, most);
    wg::secret_buffer reply;
    std::string thousand;
    for (int i = 0; i < 1024; ++i) thousand += "fwmark=1\n";
    auto const say = [&](std::string_view what) {
        BOOST_TEST((session.feed(bytes_of(what), target, reply) == status::ok));
    };
    say("set=1\n");
    for (std::size_t i = 0; i < most; i += 1024) say(thousand);
    say("\n");
    BOOST_TEST(reply.text() == answer(0));
    BOOST_TEST(target.applied.size() == most);
    reply.clear();
    say("set=1\n");
    for (std::size_t i = 0; i < most; i += 1024) say(thousand);
    say("fwmark=2\n");
    say(thousand);
    say("\n");
    BOOST_TEST(reply.text() == answer(-ENOMEM));
    BOOST_TEST(target.configured == 1u);
}

BOOST_AUTO_TEST_CASE(a_reply_beyond_its_cap_is_reported) {
    small_device device;
    talk(device, setconf);
    wg::secret_buffer reply;
    uapi::reply_printer whole(reply);
    device.snapshot(whole);
    BOOST_TEST((whole.outcome() == status::ok));
    std::size_t const size = reply.size();
    for (std::size_t cap = 0; cap <= size; ++cap) {
        reply.clear();
        uapi::reply_printer printer(reply, cap);
        device.snapshot(printer);
        BOOST_TEST((printer.outcome() == (cap < size ? status::no_memory : status::ok)));
        BOOST_TEST(reply.size() <= cap);
    }
}

// For any input, the count of applied sets and gets equals the count of errno=0 replies. The result does not depend on
// how the input is split.
BOOST_AUTO_TEST_CASE(mutated_input_gets_consistent_replies) {
    strings const pieces = {"set=1\n",
                            "get=1\n",
                            "\n",
                            "=",
                            "true",
                            "-",
                            "errno=0\n",
                            std::string(1, '\0'),
                            "\r\n",
                            "public_key=" + key_a + "\n",
                            "private_key=" + key_b + "\n",
                            "allowed_ip=::/0\n",
                            "remove=true\n",
                            "update_only=true\n",
                            "fwmark=4294967296\n",
                            std::string(400, 'y')};
    std::size_t refused = 0, accepted = 0;
    for (std::uint32_t seed = 1; seed <= 20000; ++seed) {
        std::mt19937 random(seed);
        std::string input = setconf + "get=1\n\n" + setconf;
        for (auto count = random() % 4; count > 0; --count) {
            auto const at = random() % (input.size() + 1);
            switch (random() % 5) {
            case 0: input.insert(at, pieces[random() % pieces.size()]); break;
            case 1: input.erase(at, random() % 20); break;
            case 2: input.insert(at, 1, static_cast<char>(random())); break;
            case 3:
                if (at < input.size()) input[at] = static_cast<char>(random());
                break;
            case 4: input.erase(at); break;
            }
        }
        recorder whole, cut;
        uapi::session first{only_eth0}, second{only_eth0};
        wg::secret_buffer reply, reply_cut;
        status const outcome = first.feed(bytes_of(input), whole, reply);
        status outcome_cut = status::ok;
        for (std::string_view left = input; !left.empty();) {
            std::string_view const part = left.substr(0, 1 + random() % 40);
            outcome_cut = second.feed(bytes_of(part), cut, reply_cut);
            left.remove_prefix(part.size());
        }
        std::size_t good = 0, all = 0;
        for (std::size_t at = 0; (at = reply.text().find("errno=", at)) != std::string_view::npos; ++at, ++all)
            good += reply.text().substr(at).starts_with(answer(0));
        BOOST_REQUIRE_MESSAGE(good == whole.configured + whole.asked, "seed " << seed);
        BOOST_REQUIRE_MESSAGE(outcome == outcome_cut && reply.text() == reply_cut.text(), "seed " << seed);
        BOOST_REQUIRE_MESSAGE(whole.applied == cut.applied, "seed " << seed);
        accepted += good;
        refused += all - good;
    }
    BOOST_TEST(accepted > 10000u);
    BOOST_TEST(refused > 1000u);
}

BOOST_AUTO_TEST_SUITE_END()
